/* The C ABI between Ablate and its plugins. C11, no library needed.
 *
 * This header says the same as the Rust crate ablate-abi, which explains every type and function at
 * length (who owns what, which thread, how long it lives); a test compiles the two against each
 * other. In short:
 *
 * - Export `ablate_plugin_entry`. It returns a constant descriptor that lists capabilities. For each
 *   the host asks `get_extension` for a function table by string id.
 * - Every struct begins with its own size (`struct_size`) and grows only at its end within one
 *   ABLATE_ABI_MAJOR. Before using a field that is newer than the minor version you need, check the
 *   other side's struct_size (ABLATE_HAS).
 * - Memory stays with the side that made it; views passed into a call end with that call. Tables,
 *   descriptors and the ablate_host live until the process ends.
 * - One instance is used by one thread at a time, not always the same one. Contexts may be used only
 *   inside the call that received them, on its thread.
 * - On failure leave a message with ablate_host.set_error and return a status other than 0.
 * - No exception and no longjmp may leave a function.
 */
#ifndef ABLATE_PLUGIN_H
#define ABLATE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ABLATE_ABI_MAJOR 1
#define ABLATE_ABI_MINOR 0
#define ABLATE_MAX_RANK 6
#define ABLATE_NO_TENSOR 0
/* The bytes "ABLATEPL" as a little-endian number. */
#define ABLATE_PLUGIN_MAGIC UINT64_C(0x4C504554414C4241)

#if defined(_WIN32)
#define ABLATE_EXPORT __declspec(dllexport)
#else
#define ABLATE_EXPORT __attribute__((visibility("default")))
#endif

/* Whether the struct behind `pointer` (of type `type`) has `field`. */
#define ABLATE_HAS(pointer, type, field) \
  ((pointer)->struct_size >= offsetof(type, field) + sizeof((pointer)->field))

/* ---- plain values ---------------------------------------------------------------------------- */

/* 0 is success. */
typedef int32_t ablate_status;
enum {
  ABLATE_OK = 0,
  ABLATE_INVALID = 1,      /* a wrong argument: stale handle, bad axis, shapes that do not fit */
  ABLATE_CONFIG = 2,       /* a configuration that cannot be used; the message names the key */
  ABLATE_UNKNOWN_NAME = 3, /* a feature, model tensor or metric that is not there */
  ABLATE_UNSUPPORTED = 4,  /* an operation that the other side is too old for */
  ABLATE_STATE = 5,        /* saved state that cannot be read back */
  ABLATE_PANIC = 6,        /* the plugin crashed inside and caught it */
  ABLATE_INTERNAL = 7
};

/* A view of UTF-8 text, not terminated by zero; ptr may be null when len is 0. */
typedef struct ablate_str {
  const uint8_t *ptr;
  size_t len;
} ablate_str;

/* A view of a string literal, also for static initialisers. */
#define ABLATE_STR(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

static inline ablate_str ablate_text(const char *text) {
  ablate_str view = {(const uint8_t *)text, strlen(text)};
  return view;
}

static inline int ablate_equal(ablate_str view, const char *text) {
  return view.len == strlen(text) && (view.len == 0 || memcmp(view.ptr, text, view.len) == 0);
}

/* A node of the graph under construction, valid until the call that received or made it returns. */
typedef uint64_t ablate_tensor;

typedef struct ablate_graph_context ablate_graph_context;
typedef struct ablate_batch_context ablate_batch_context;
typedef struct ablate_declarations ablate_declarations;
typedef struct ablate_sink ablate_sink;

/* ---- the descriptor -------------------------------------------------------------------------- */

enum { ABLATE_KIND_OBJECTIVE = 1, ABLATE_KIND_OPTIMIZER = 2, ABLATE_KIND_STOPPING_RULE = 3 };

typedef struct ablate_capability {
  uint32_t struct_size;
  uint32_t kind; /* ABLATE_KIND_* */
  ablate_str name; /* the name that recipes use */
  ablate_str description; /* one sentence */
  ablate_str (*config_schema)(void); /* JSON Schema of the configuration; constant text */
  const ablate_str *extensions; /* ids that get_extension answers for this capability */
  size_t extension_count;
} ablate_capability;

typedef struct ablate_plugin {
  uint32_t struct_size;
  uint16_t abi_major;
  uint16_t abi_minor;
  uint64_t magic;
  ablate_str name;
  ablate_str version;
  ablate_str license; /* SPDX expression */
  ablate_str description; /* one sentence */
  const ablate_capability *const *capabilities;
  size_t capability_count;
  /* The table `id` of a capability (empty: of the plugin as a whole), or null. Does no work. */
  const void *(*get_extension)(ablate_str capability, ablate_str id);
} ablate_plugin;

/* The one exported function. Called once, on any thread; does no work; the result is constant and
 * lives until the process ends. Null: this plugin cannot work with this host. */
ABLATE_EXPORT const ablate_plugin *ablate_plugin_entry(uint32_t abi_major, uint32_t abi_minor);

/* ---- host tables ----------------------------------------------------------------------------- */

enum { ABLATE_LOG_ERROR = 1, ABLATE_LOG_WARN = 2, ABLATE_LOG_INFO = 3, ABLATE_LOG_DEBUG = 4 };

/* Handed to every instance at its creation; valid until the process ends. */
typedef struct ablate_host {
  uint32_t struct_size;
  uint16_t abi_major;
  uint16_t abi_minor;
  ablate_str name;
  ablate_str version;
  const void *(*get_extension)(ablate_str id); /* ABLATE_*_API, or null */
  void (*set_error)(ablate_str message); /* copied; one per thread */
  ablate_str (*last_error)(void); /* of the last host function that failed on this thread */
  void (*log)(uint32_t level, ablate_str message);
  ablate_status (*write)(ablate_sink *sink, const uint8_t *bytes, size_t length);
} ablate_host;

#define ABLATE_RANDOM_API "ablate.host.random/1"
/* Random numbers by key and counter: no state, any order, any thread. */
typedef struct ablate_random_api {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t (*stream)(uint64_t seed, ablate_str name);
  uint64_t (*child)(uint64_t key, uint64_t index);
  ablate_status (*words)(uint64_t key, uint64_t step, uint64_t first, uint32_t *words, size_t count);
} ablate_random_api;

enum { ABLATE_LAYOUT_PER_TOKEN = 1, ABLATE_LAYOUT_PER_SEQUENCE = 2 };

/* Labels that an objective writes in `prepare` and reads in `build`; -100 is "ignored". */
typedef struct ablate_feature_spec {
  uint32_t struct_size;
  uint32_t layout; /* ABLATE_LAYOUT_* */
  ablate_str name;
  uint64_t classes; /* labels are in 0..classes; 0: the size of the vocabulary */
  double density; /* expected share of labels that are not ignored; 0: unknown */
} ablate_feature_spec;

typedef struct ablate_slot_spec {
  uint32_t struct_size;
  uint32_t rank;
  ablate_str name;
  const uint64_t *dims;
  double initial;
} ablate_slot_spec;

#define ABLATE_DECLARE_API "ablate.host.declare/1"
typedef struct ablate_declare_api {
  uint32_t struct_size;
  uint32_t reserved;
  ablate_status (*feature)(ablate_declarations *into, const ablate_feature_spec *spec);
  ablate_status (*slot)(ablate_declarations *into, const ablate_slot_spec *spec);
  ablate_status (*scalar)(ablate_declarations *into, ablate_str name);
} ablate_declare_api;

#define ABLATE_BATCH_API "ablate.host.batch/1"
typedef struct ablate_batch_api {
  uint32_t struct_size;
  uint32_t reserved;
  ablate_status (*write_feature)(ablate_batch_context *cx, ablate_str name, const int64_t *labels,
                                 size_t count);
} ablate_batch_api;

/* Names for ablate_model_api.number. */
#define ABLATE_NUMBER_BATCH "batch"
#define ABLATE_NUMBER_SEQ "seq"
#define ABLATE_NUMBER_PREDICTIONS "predictions"
#define ABLATE_NUMBER_TRAINING "training"
#define ABLATE_NUMBER_VOCAB_SIZE "vocab_size"
#define ABLATE_NUMBER_HIDDEN_SIZE "hidden_size"
#define ABLATE_NUMBER_LAYER_NORM_EPS "layer_norm_eps"
#define ABLATE_NUMBER_HIDDEN_DROPOUT "hidden_dropout_prob"
/* Names for ablate_model_api.tensor. */
#define ABLATE_TENSOR_HIDDEN "hidden"                   /* [batch, seq, hidden] */
#define ABLATE_TENSOR_POOLED "pooled"                   /* [batch, hidden] */
#define ABLATE_TENSOR_WORD_EMBEDDINGS "word_embeddings" /* [vocab, hidden] */

enum {
  ABLATE_ROLE_WEIGHT = 1,
  ABLATE_ROLE_BIAS = 2,
  ABLATE_ROLE_NORM_SCALE = 3,
  ABLATE_ROLE_NORM_BIAS = 4,
  ABLATE_ROLE_EMBEDDING = 5
};

#define ABLATE_MODEL_API "ablate.host.model/1"
/* Only inside ablate_objective_api.build. */
typedef struct ablate_model_api {
  uint32_t struct_size;
  uint32_t reserved;
  ablate_status (*number)(ablate_graph_context *cx, ablate_str name, double *value);
  ablate_status (*tensor)(ablate_graph_context *cx, ablate_str name, ablate_tensor *out);
  ablate_status (*activation)(ablate_graph_context *cx, ablate_tensor x, ablate_tensor *out);
  /* `labels.positions`, `labels.values`, `labels.weights` of a per-token feature, [predictions];
   * `labels.values`, `labels.weights` of a per-sequence one, [batch]. */
  ablate_status (*feature)(ablate_graph_context *cx, ablate_str name, ablate_tensor *out);
  ablate_status (*parameter)(ablate_graph_context *cx, ablate_str name, const uint64_t *dims,
                             uint32_t rank, uint32_t role, ablate_tensor *out);
  ablate_status (*metric)(ablate_graph_context *cx, ablate_str name, ablate_tensor sum);
} ablate_model_api;

enum {
  ABLATE_NEG = 1,
  ABLATE_RECIP = 2,
  ABLATE_SQRT = 3,
  ABLATE_RSQRT = 4,
  ABLATE_SQUARE = 5,
  ABLATE_EXP = 6,
  ABLATE_LOG = 7,
  ABLATE_EXP2 = 8,
  ABLATE_LOG2 = 9,
  ABLATE_SIN = 10,
  ABLATE_COS = 11,
  ABLATE_ABS = 12,
  ABLATE_SIGN = 13,
  ABLATE_RELU = 14,
  ABLATE_TANH = 15,
  ABLATE_SIGMOID = 16,
  ABLATE_ERF = 17,
  ABLATE_GELU = 18,
  ABLATE_GELU_TANH = 19,
  ABLATE_SILU = 20,
  ABLATE_NOT = 21,
  ABLATE_CONTIGUOUS = 22,
  ABLATE_STOP_GRADIENT = 23
};

enum {
  ABLATE_ADD = 1,
  ABLATE_SUB = 2,
  ABLATE_MUL = 3,
  ABLATE_DIV = 4,
  ABLATE_MAXIMUM = 5,
  ABLATE_MINIMUM = 6,
  ABLATE_LESS = 7,
  ABLATE_GREATER = 8,
  ABLATE_LESS_EQUAL = 9,
  ABLATE_GREATER_EQUAL = 10,
  ABLATE_EQUAL = 11,
  ABLATE_NOT_EQUAL = 12,
  ABLATE_POW = 13 /* binary_scalar only */
};

enum {
  ABLATE_REDUCE_SUM = 1,
  ABLATE_REDUCE_MEAN = 2,
  ABLATE_REDUCE_MAX = 3,
  ABLATE_REDUCE_VARIANCE = 4 /* divided by n */
};

#define ABLATE_GRAPH_API "ablate.host.graph/1"
/* Builds nodes; nothing is computed. Only inside `build` and `update`, on their thread. Elementwise
 * operations broadcast as numpy does; axes count from 0. */
typedef struct ablate_graph_api {
  uint32_t struct_size;
  uint32_t reserved;
  ablate_status (*shape)(ablate_graph_context *cx, ablate_tensor t, uint64_t *dims /* [6] */,
                         uint32_t *rank);
  ablate_status (*scalar)(ablate_graph_context *cx, double value, ablate_tensor *out);
  ablate_status (*iota)(ablate_graph_context *cx, uint64_t n, ablate_tensor *out);
  ablate_status (*uniform)(ablate_graph_context *cx, ablate_str stream, const uint64_t *dims,
                           uint32_t rank, ablate_tensor *out);
  ablate_status (*unary)(ablate_graph_context *cx, uint32_t op, ablate_tensor a, ablate_tensor *out);
  ablate_status (*binary)(ablate_graph_context *cx, uint32_t op, ablate_tensor a, ablate_tensor b,
                          ablate_tensor *out);
  ablate_status (*binary_scalar)(ablate_graph_context *cx, uint32_t op, ablate_tensor a, double b,
                                 ablate_tensor *out);
  ablate_status (*select)(ablate_graph_context *cx, ablate_tensor condition, ablate_tensor a,
                          ablate_tensor b, ablate_tensor *out);
  ablate_status (*reduce)(ablate_graph_context *cx, uint32_t op, ablate_tensor a,
                          const uint32_t *axes, uint32_t axis_count, uint32_t keep,
                          ablate_tensor *out);
  ablate_status (*permute)(ablate_graph_context *cx, ablate_tensor a, const uint32_t *order,
                           uint32_t rank, ablate_tensor *out);
  ablate_status (*reshape)(ablate_graph_context *cx, ablate_tensor a, const uint64_t *dims,
                           uint32_t rank, ablate_tensor *out);
  ablate_status (*expand)(ablate_graph_context *cx, ablate_tensor a, const uint64_t *dims,
                          uint32_t rank, ablate_tensor *out);
  ablate_status (*slice)(ablate_graph_context *cx, ablate_tensor a, uint32_t axis, uint64_t start,
                         uint64_t end, ablate_tensor *out);
  ablate_status (*pad)(ablate_graph_context *cx, ablate_tensor a, uint32_t axis, uint64_t before,
                       uint64_t after, ablate_tensor *out);
  ablate_status (*concat)(ablate_graph_context *cx, const ablate_tensor *tensors, uint32_t count,
                          uint32_t axis, ablate_tensor *out);
  ablate_status (*matmul)(ablate_graph_context *cx, ablate_tensor a, ablate_tensor b,
                          uint32_t transpose_b, ablate_tensor *out);
  ablate_status (*linear)(ablate_graph_context *cx, ablate_tensor x, ablate_tensor weight,
                          ablate_tensor bias, ablate_tensor *out);
  ablate_status (*gather)(ablate_graph_context *cx, ablate_tensor table, ablate_tensor index,
                          ablate_tensor *out);
  ablate_status (*one_hot)(ablate_graph_context *cx, ablate_tensor index, uint64_t n,
                           ablate_tensor *out);
  ablate_status (*softmax)(ablate_graph_context *cx, ablate_tensor a, uint32_t axis, uint32_t log,
                           ablate_tensor *out);
  ablate_status (*layer_norm)(ablate_graph_context *cx, ablate_tensor x, ablate_tensor gamma,
                              ablate_tensor beta, double eps, ablate_tensor *out);
  ablate_status (*dropout)(ablate_graph_context *cx, ablate_tensor x, double rate, ablate_str site,
                           ablate_tensor *out);
  ablate_status (*cross_entropy)(ablate_graph_context *cx, ablate_tensor logits,
                                 ablate_tensor labels, ablate_tensor weights, ablate_tensor *out);
  ablate_status (*push_scope)(ablate_graph_context *cx, ablate_str name);
  ablate_status (*pop_scope)(ablate_graph_context *cx);
} ablate_graph_api;

/* ---- objectives ------------------------------------------------------------------------------ */

enum { ABLATE_NEEDS_SENTENCE_PAIRS = 1 };

/* A micro-batch; arrays are row-major, the host's, and valid until `prepare` returns. */
typedef struct ablate_batch_view {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t rows;  /* rows that hold an example; the rest is padding */
  uint64_t batch; /* rows of the arrays */
  uint64_t seq;
  int64_t *input_ids;                 /* [batch, seq], may be changed */
  const int64_t *token_type_ids;      /* [batch, seq] */
  const int64_t *attention_mask;      /* [batch, seq] */
  const uint8_t *special_tokens_mask; /* [batch, seq], 1 for special tokens and padding */
  const int64_t *next_sentence_label; /* [batch], 1 = random next; null without pairs */
  const uint64_t *example_ids;        /* [batch] */
  const uint64_t *row_keys;           /* [batch] keys for ablate_random_api */
  uint64_t vocab_size;
  int64_t mask_id;
  int64_t pad_id;
  const int64_t *special_ids; /* never predicted, never put in as a random word; ascending */
  size_t special_count;
  const uint8_t *continues_word; /* [vocab_size], or null */
} ablate_batch_view;

#define ABLATE_OBJECTIVE_API "ablate.objective/1"
typedef struct ablate_objective_api {
  uint32_t struct_size;
  uint32_t reserved;
  ablate_status (*create)(const ablate_host *host, ablate_str config, void **instance);
  void (*destroy)(void *instance);
  ablate_status (*weight)(void *instance, double *weight);
  ablate_status (*needs)(void *instance, uint32_t *needs);
  ablate_status (*features)(void *instance, ablate_declarations *into);
  /* Changes input_ids, writes the declared features, says how many units the micro-batch has. A
   * function of configuration and batch alone: the host may make two instances of one configuration
   * and call `prepare` of one on a thread that works ahead, while it calls the other's functions. */
  ablate_status (*prepare)(void *instance, ablate_batch_context *cx, const ablate_batch_view *batch,
                           double *units);
  /* Builds the scalar sum of the loss over the units; metrics by ablate_model_api.metric. */
  ablate_status (*build)(void *instance, ablate_graph_context *cx, ablate_tensor *loss_sum);
} ablate_objective_api;

/* ---- optimizers ------------------------------------------------------------------------------ */

typedef struct ablate_update_input {
  uint32_t struct_size;
  uint32_t decay; /* 1 where weight decay applies */
  ablate_str name;
  ablate_tensor parameter;
  ablate_tensor gradient;
  const ablate_tensor *slots;
  size_t slot_count;
  const ablate_tensor *scalars;
  size_t scalar_count;
} ablate_update_input;

typedef struct ablate_update_output {
  uint32_t struct_size;
  uint32_t reserved;
  ablate_tensor parameter;
  ablate_tensor *slots; /* room for slot_count */
} ablate_update_output;

#define ABLATE_OPTIMIZER_API "ablate.optimizer/1"
typedef struct ablate_optimizer_api {
  uint32_t struct_size;
  uint32_t reserved;
  ablate_status (*create)(const ablate_host *host, ablate_str config, void **instance);
  void (*destroy)(void *instance);
  ablate_status (*base_learning_rate)(void *instance, double *rate);
  ablate_status (*slots)(void *instance, const uint64_t *dims, uint32_t rank,
                         ablate_declarations *into);
  ablate_status (*scalar_names)(void *instance, ablate_declarations *into);
  /* Every step, counted from 1: the values of the scalars, in double precision. */
  ablate_status (*scalars)(void *instance, uint64_t step, double learning_rate, double *values,
                           size_t count);
  ablate_status (*update)(void *instance, ablate_graph_context *cx,
                          const ablate_update_input *input, ablate_update_output *output);
} ablate_optimizer_api;

/* ---- stopping rules -------------------------------------------------------------------------- */

enum { ABLATE_SPLIT_TRAIN = 0, ABLATE_SPLIT_VALIDATION = 1 };
enum { ABLATE_CONTINUE = 0, ABLATE_STOP = 1, ABLATE_ABORT = 2 };

typedef struct ablate_metric {
  ablate_str name;
  double value;
} ablate_metric;

typedef struct ablate_event {
  uint32_t struct_size;
  uint32_t split; /* ABLATE_SPLIT_* */
  uint64_t step;
  uint64_t tokens;
  const ablate_metric *metrics;
  size_t metric_count;
} ablate_event;

#define ABLATE_STOPPING_API "ablate.stopping-rule/1"
typedef struct ablate_stopping_api {
  uint32_t struct_size;
  uint32_t reserved;
  ablate_status (*create)(const ablate_host *host, ablate_str config, void **instance);
  void (*destroy)(void *instance);
  /* Writes ABLATE_CONTINUE, _STOP or _ABORT; for the latter two also why, with ablate_host.write. */
  ablate_status (*observe)(void *instance, const ablate_event *event, uint32_t *decision,
                           ablate_sink *reason);
  ablate_status (*save)(void *instance, ablate_sink *state);
  ablate_status (*load)(void *instance, const uint8_t *state, size_t length);
} ablate_stopping_api;

#ifdef __cplusplus
}
#endif
#endif
