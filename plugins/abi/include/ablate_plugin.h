/* The C ABI between Ablate and its plugins. C11 or C++17, no library needed.
 *
 * Generated from the Rust crate ablate-abi; do not edit.
 *
 * The border in one paragraph
 *
 * A shared library exports one function, `ablate_plugin_entry`. It returns a constant
 * `ablate_plugin` descriptor that lists capabilities (an objective, an optimizer, a schedule, a
 * stopping rule, a data operator), each with the string ids of the function tables that it has,
 * such as `"ablate.objective/1"`. The host asks `ablate_plugin.get_extension` for the newest that
 * it knows. The other way round, the host hands every instance an `ablate_host` table, from which
 * further host tables are asked for by id (`"ablate.host.graph/1"`). A plugin never computes on
 * tensors: it builds graph nodes through `ablate_graph_api` over opaque handles, and the host
 * differentiates, fuses and runs them.
 *
 * Versions
 *
 * This is version 1.0: `ABLATE_ABI_MAJOR` and `ABLATE_ABI_MINOR`, which have nothing to do with
 * Ablate's product version. There are three ways in which the border grows, from the smallest on:
 *
 * 1. A minor version adds fields at the end of tables and structs, operation codes, string ids and
 *    names. Old and new work together with what both know: a reader sees what is beyond the other
 *    side's size as absent, and an operation that is not known is refused with
 *    `ABLATE_UNSUPPORTED`. A plugin that cannot do without says so by
 *    `ablate_plugin.abi_minor_needed`.
 * 2. A new version of one table gets a new id (`ablate.objective/2`) beside the old one. A plugin
 *    may list both, and a host may answer both.
 * 3. A major version changes what is here. Both sides must have the same; a host refuses any other
 *    and says which side to renew.
 *
 * Rules that hold everywhere
 *
 * - Growth. Tables and structs only grow at their end, within one `ABLATE_ABI_MAJOR`. Each begins
 *   with its own size in bytes, `struct_size`; a reader takes at most that many bytes and treats
 *   the rest as absent (null), as `read_sized` does in Rust and `ABLATE_HAS` asks in C.
 *   `ABLATE_ABI_MINOR` counts the additions. Operation codes and string ids are only ever added.
 *   Who makes a struct sets `struct_size` to its size and reserved fields to 0. A few small structs
 *   have no size and never grow: `ablate_str`, the elements of arrays (`ablate_metric`,
 *   `ablate_series`), and the two of the Arrow specification.
 * - Ownership. Memory stays with the side that made it. Views (`ablate_str`, pointers to arrays)
 *   passed into a call are valid until that call returns, unless its documentation says otherwise;
 *   who wants to keep one, copies it. Results of unknown length go to the caller through a
 *   `ablate_sink` or a declare function, so nobody frees the other side's memory.
 * - Threads. Each function, or its table for all of them, says one of three things. "Any thread":
 *   at any time, also while other calls run. "One thread at a time": the host calls an instance
 *   from one thread at a time, not always the same one; different instances may be called at the
 *   same time. "Inside the call": a host function that takes a context, to be called only before
 *   the call that received this context returns, on its thread.
 * - Errors. A call that can fail returns an `ablate_status`. The failing side leaves a message with
 *   the host: a plugin by `ablate_host.set_error` before it returns, the host by itself, readable
 *   with `ablate_host.last_error`. A status other than 0 without a message is allowed, and less
 *   helpful.
 * - Unwinding. No panic, exception or `longjmp` may leave a function of this ABI, in either
 *   direction.
 */
#ifndef ABLATE_PLUGIN_H
#define ABLATE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define ABLATE_EXPORT __declspec(dllexport)
#else
#define ABLATE_EXPORT __attribute__((visibility("default")))
#endif

/* Whether the struct behind `pointer` (of type `type`) has `field`, by the size that it announces. */
#define ABLATE_HAS(pointer, type, field) \
  ((pointer)->struct_size >= offsetof(type, field) + sizeof((pointer)->field))

typedef struct ablate_str ablate_str;
typedef struct ablate_plugin ablate_plugin;
typedef struct ablate_capability ablate_capability;
typedef struct ablate_host ablate_host;
typedef struct ablate_random_api ablate_random_api;
typedef struct ablate_declare_api ablate_declare_api;
typedef struct ablate_batch_api ablate_batch_api;
typedef struct ablate_graph_api ablate_graph_api;
typedef struct ablate_model_api ablate_model_api;
typedef struct ablate_pretrained_api ablate_pretrained_api;
typedef struct ablate_feature_spec ablate_feature_spec;
typedef struct ablate_batch_view ablate_batch_view;
typedef struct ablate_objective_setup ablate_objective_setup;
typedef struct ablate_objective_api ablate_objective_api;
typedef struct ablate_slot_spec ablate_slot_spec;
typedef struct ablate_parameter_info ablate_parameter_info;
typedef struct ablate_update_input ablate_update_input;
typedef struct ablate_update_output ablate_update_output;
typedef struct ablate_optimizer_api ablate_optimizer_api;
typedef struct ablate_schedule_input ablate_schedule_input;
typedef struct ablate_schedule_api ablate_schedule_api;
typedef struct ablate_metric ablate_metric;
typedef struct ablate_series ablate_series;
typedef struct ablate_event ablate_event;
typedef struct ablate_stopping_api ablate_stopping_api;
typedef struct ablate_operator_api ablate_operator_api;

/* ---- The C ABI between Ablate and its plugins -------------------------------------------------- */

/* The version of this border that must be equal on both sides. */
#define ABLATE_ABI_MAJOR 1

/* Additions within `ABLATE_ABI_MAJOR`. A side may be older or newer than the other. */
#define ABLATE_ABI_MINOR 0

/* Outcome of a call: 0 is success, everything else one of `ABLATE_OK ...`. */
typedef int32_t ablate_status;

/* Values of `ablate_status`. Codes are only added; an unknown one counts as `ABLATE_INTERNAL`. */
enum {
  /* It worked. */
  ABLATE_OK = 0,
  /* An argument is wrong: a stale handle, a bad axis, shapes that do not fit. */
  ABLATE_INVALID = 1,
  /* The configuration cannot be used; the message names the key. */
  ABLATE_CONFIG = 2,
  /* A name (feature, model tensor, metric) that the other side does not have. */
  ABLATE_UNKNOWN_NAME = 3,
  /* An operation code or function that this host (or plugin) is too old to know. */
  ABLATE_UNSUPPORTED = 4,
  /* Saved state that cannot be read back. */
  ABLATE_STATE = 5,
  /* The plugin panicked; the message is the panic's. */
  ABLATE_PANIC = 6,
  /* Anything else. */
  ABLATE_INTERNAL = 7,
};

/* A borrowed view of UTF-8 text, not terminated by zero. `ptr` may be null when `len` is 0. */
struct ablate_str {
  /* First byte. */
  const uint8_t *ptr;
  /* Number of bytes. */
  size_t len;
};

/* A view of a string literal, for initialisers. */
#define ABLATE_STR(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

/* A view of zero-terminated text. */
static inline ablate_str ablate_text(const char *text) {
  ablate_str view = {(const uint8_t *)text, strlen(text)};
  return view;
}

/* Whether a view is this text. */
static inline int ablate_equal(ablate_str view, const char *text) {
  return view.len == strlen(text) && (view.len == 0 || memcmp(view.ptr, text, view.len) == 0);
}

/* ---- The descriptor that the entry function returns -------------------------------------------- */

/* What `ablate_plugin.magic` holds: the bytes `ABLATEPL` read as a little-endian number. */
#define ABLATE_PLUGIN_MAGIC UINT64_C(0x4C504554414C4241)

/* The exported function: gets the host's ABI version, returns the plugin's constant descriptor.
 *
 * Any thread. Called at least once, before anything else of the plugin. It must do no work: no
 * file, no thread, no output. The returned memory is the plugin's; it lives and stays unchanged
 * until the process ends (a loaded library is never unloaded). Null says that the plugin cannot
 * work with this host; most plugins leave that to `ablate_plugin.abi_minor_needed`, which gives a
 * better message.
 */
ABLATE_EXPORT const ablate_plugin *ablate_plugin_entry(uint32_t abi_major, uint32_t abi_minor);

/* What a library offers. Constant, the plugin's, alive until the process ends; so is all that it
 * points to.
 *
 * `struct_size`, `abi_major`, `abi_minor` and `magic` keep their place in every major version, so
 * that any host can say what is wrong with any plugin.
 */
struct ablate_plugin {
  /* `struct_size` of this descriptor in bytes. */
  uint32_t struct_size;
  /* `ABLATE_ABI_MAJOR` that the plugin was built with. */
  uint16_t abi_major;
  /* `ABLATE_ABI_MINOR` that the plugin was built with. */
  uint16_t abi_minor;
  /* `ABLATE_PLUGIN_MAGIC`. */
  uint64_t magic;
  /* Name of the plugin: lower case, digits, `_` and `-`. */
  ablate_str name;
  /* The plugin's own version, a semantic version such as `0.1.0`. */
  ablate_str version;
  /* SPDX expression, such as `MIT OR Apache-2.0`. */
  ablate_str license;
  /* One sentence. */
  ablate_str description;
  /* `capability_count` pointers, each to a constant `ablate_capability`. */
  const ablate_capability *const *capabilities;
  /* Number of capabilities. */
  size_t capability_count;
  /* Gives the table `id` of the capability called `capability` (empty: of the plugin as a whole),
   * or null where the plugin has none. Any thread. Does no work. The texts are the host's and end
   * with the call; the table is the plugin's, constant until the process ends.
   */
  const void *(*get_extension)(ablate_str capability, ablate_str id);
  /* The oldest `ABLATE_ABI_MINOR` of a host that the plugin can work with. An older host refuses it
   * and says so. 0 where the plugin checks for each newer function before it calls it.
   */
  uint32_t abi_minor_needed;
  /* Not used, 0. */
  uint32_t reserved;
};

/* One thing that a plugin adds to recipes. Constant, the plugin's, alive until the process ends.
 *
 * What it is follows from the ids in `extensions`: `ablate.optimizer/1` is an optimizer by version
 * 1 of that table. A plugin may offer several versions of a table; the host takes the newest that
 * it knows. A capability of which the host knows no id is listed and otherwise ignored.
 */
struct ablate_capability {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* The name that recipes use: `adamw`. Unique per kind over all plugins of a process. */
  ablate_str name;
  /* One sentence. */
  ablate_str description;
  /* JSON Schema (2020-12) of the configuration, an object. Any thread. May compute it at the first
   * call; the text is the plugin's, constant until the process ends.
   */
  ablate_str (*config_schema)(void);
  /* `extension_count` ids that `ablate_plugin.get_extension` answers for this capability, such as
   * `ablate.optimizer/1`.
   */
  const ablate_str *extensions;
  /* Number of extension ids. */
  size_t extension_count;
};

/* ---- What the host gives to plugins ------------------------------------------------------------ */

/* A node of the graph under construction: an opaque number, valid until the call into the plugin
 * that received or made it returns. `ABLATE_NO_TENSOR` stands for "none". A stale or invented
 * handle is refused with `ABLATE_INVALID`.
 */
typedef uint64_t ablate_tensor;

/* "No tensor", for optional operands. */
#define ABLATE_NO_TENSOR 0

/* Most dimensions of a tensor. */
#define ABLATE_MAX_RANK 6

/* A graph under construction; opaque, the host's, gone when the call that received it returns. */
typedef struct ablate_graph_context ablate_graph_context;

/* A micro-batch under preparation; opaque, the host's, gone when the call that received it returns.
 */
typedef struct ablate_batch_context ablate_batch_context;

/* Where a plugin declares features, slots or scalars; opaque, the host's, gone when the call that
 * received it returns.
 */
typedef struct ablate_declarations ablate_declarations;

/* Where a plugin writes bytes; opaque, the host's, gone when the call that received it returns. */
typedef struct ablate_sink ablate_sink;

/* The base table, handed to every instance at its creation. Constant, the host's, valid until the
 * process ends.
 */
struct ablate_host {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* `ABLATE_ABI_MAJOR` of the host. */
  uint16_t abi_major;
  /* `ABLATE_ABI_MINOR` of the host. */
  uint16_t abi_minor;
  /* Name of the host program, for messages. */
  ablate_str name;
  /* Product version of the host program, for messages; compare ABI versions, never this. */
  ablate_str version;
  /* Gives the host table `id` (`ablate.host.graph/1`), or null where this host has none. Any
   * thread. The table is constant, the host's, valid until the process ends.
   */
  const void *(*get_extension)(ablate_str id);
  /* Leaves the message for the status that the plugin is about to return. Any thread. The text is
   * the plugin's and is copied; each thread has one message, that of the thread of the call counts.
   */
  void (*set_error)(ablate_str message);
  /* The message of the last host function that failed on this thread. Any thread. The text is the
   * host's, valid until the next call of a host function on this thread.
   */
  ablate_str (*last_error)(void);
  /* Writes one line to the host's log at a `ABLATE_LOG_...`. Any thread. The text is copied. */
  void (*log)(uint32_t level, ablate_str message);
  /* Appends bytes to a sink. Inside the call. They are copied. */
  ablate_status (*write)(ablate_sink *sink, const uint8_t *bytes, size_t length);
};

/* Levels of `ablate_host.log`. */
enum {
  /* Something failed. */
  ABLATE_LOG_ERROR = 1,
  /* Something is doubtful. */
  ABLATE_LOG_WARN = 2,
  /* Worth knowing. */
  ABLATE_LOG_INFO = 3,
  /* For the author of the plugin. */
  ABLATE_LOG_DEBUG = 4,
};

/* Extension id of `ablate_random_api`. */
#define ABLATE_RANDOM_API "ablate.host.random/1"

/* Random numbers by key and counter (Philox4x32-10): no state, any order, any thread. A plugin that
 * draws only from here resumes to the same bits.
 */
struct ablate_random_api {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* Key of the stream `name` under `seed`. Any thread. */
  uint64_t (*stream)(uint64_t seed, ablate_str name);
  /* Key of child `index` of the stream `key`, independent of its siblings and its parent. Any
   * thread.
   */
  uint64_t (*child)(uint64_t key, uint64_t index);
  /* Words `first..first + count` of the stream `key` at `step`, each uniform over `uint32_t`. Any
   * thread. The array is the plugin's.
   */
  ablate_status (*words)(uint64_t key, uint64_t step, uint64_t first, uint32_t *words,
                         size_t count);
};

/* Extension id of `ablate_declare_api`. */
#define ABLATE_DECLARE_API "ablate.host.declare/1"

/* How a plugin answers with a list. Specs and texts are the plugin's and are copied.
 *
 * Inside the call.
 */
struct ablate_declare_api {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* Adds a feature; in `ablate_objective_api.features`. */
  ablate_status (*feature)(ablate_declarations *into, const ablate_feature_spec *spec);
  /* Adds a slot; in `ablate_optimizer_api.slots`. */
  ablate_status (*slot)(ablate_declarations *into, const ablate_slot_spec *spec);
  /* Adds a scalar; in `ablate_optimizer_api.scalar_names`. */
  ablate_status (*scalar)(ablate_declarations *into, ablate_str name);
};

/* Extension id of `ablate_batch_api`. */
#define ABLATE_BATCH_API "ablate.host.batch/1"

/* What an objective's data hook can do beside changing `input_ids`.
 *
 * Inside the call. Only in `ablate_objective_api.prepare`.
 */
struct ablate_batch_api {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* Writes the declared feature `name`: `count` labels, row-major, -100 where ignored. Copied. */
  ablate_status (*write_feature)(ablate_batch_context *cx, ablate_str name, const int64_t *labels,
                                 size_t count);
};

/* ---- The graph builder ------------------------------------------------------------------------- */

/* Extension id of `ablate_graph_api`. */
#define ABLATE_GRAPH_API "ablate.host.graph/1"

/* Operations of `ablate_graph_api.unary`. */
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
  /* `x / 2 * (1 + erf(x / sqrt(2)))` */
  ABLATE_GELU = 18,
  /* The approximation by tanh. */
  ABLATE_GELU_TANH = 19,
  ABLATE_SILU = 20,
  /* 1 where the operand is 0, else 0. */
  ABLATE_NOT = 21,
  /* The operand, copied to row-major order. */
  ABLATE_CONTIGUOUS = 22,
  /* The operand, through which no gradient flows. */
  ABLATE_STOP_GRADIENT = 23,
};

/* Operations of `ablate_graph_api.binary` and `ablate_graph_api.binary_scalar`. Comparisons give 1
 * or 0.
 */
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
  /* Power; the exponent must be a scalar (`binary_scalar`). */
  ABLATE_POW = 13,
};

/* Operations of `ablate_graph_api.reduce`. */
enum {
  ABLATE_REDUCE_SUM = 1,
  ABLATE_REDUCE_MEAN = 2,
  ABLATE_REDUCE_MAX = 3,
  /* Population variance (divided by n). */
  ABLATE_REDUCE_VARIANCE = 4,
};

/* Builds graph nodes. Elementwise operations broadcast as numpy does, from the right; axes count
 * from 0; values are f32; every function writes a new handle to `out` and computes nothing. Arrays
 * and texts are the plugin's and are copied.
 *
 * Inside the call. Only in `ablate_objective_api.build` and `ablate_optimizer_api.update`.
 *
 * Refused with `ABLATE_INVALID` and a message that names operation and shapes: shapes that do not
 * fit, a stale handle. With `ABLATE_UNSUPPORTED`: an operation code the host does not know.
 */
struct ablate_graph_api {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* Writes the sizes of `t` to `dims` (room for `ABLATE_MAX_RANK`) and their number to `rank`. */
  ablate_status (*shape)(ablate_graph_context *cx, ablate_tensor t, uint64_t *dims, uint32_t *rank);
  /* The constant `value`, rounded to f32, of shape `[]`. */
  ablate_status (*scalar)(ablate_graph_context *cx, double value, ablate_tensor *out);
  /* `0, 1, .. n - 1`. */
  ablate_status (*iota)(ablate_graph_context *cx, uint64_t n, ablate_tensor *out);
  /* Uniform numbers over `[0, 1)` from the named stream, new ones at every step. */
  ablate_status (*uniform)(ablate_graph_context *cx, ablate_str stream, const uint64_t *dims,
                           uint32_t rank, ablate_tensor *out);
  /* One of `ABLATE_NEG ...` of `a`. */
  ablate_status (*unary)(ablate_graph_context *cx, uint32_t op, ablate_tensor a,
                         ablate_tensor *out);
  /* One of `ABLATE_ADD ...` of `a` and `b`. */
  ablate_status (*binary)(ablate_graph_context *cx, uint32_t op, ablate_tensor a, ablate_tensor b,
                          ablate_tensor *out);
  /* One of `ABLATE_ADD ...` of `a` and a constant. */
  ablate_status (*binary_scalar)(ablate_graph_context *cx, uint32_t op, ablate_tensor a, double b,
                                 ablate_tensor *out);
  /* `a` where `condition` is not 0, else `b`. */
  ablate_status (*select)(ablate_graph_context *cx, ablate_tensor condition, ablate_tensor a,
                          ablate_tensor b, ablate_tensor *out);
  /* One of `ABLATE_REDUCE_...` over `axis_count` axes, kept as size 1 where `keep` is 1. */
  ablate_status (*reduce)(ablate_graph_context *cx, uint32_t op, ablate_tensor a,
                          const uint32_t *axes, uint32_t axis_count, uint32_t keep,
                          ablate_tensor *out);
  /* Dimension `i` of the result is dimension `order[i]` of `a`. */
  ablate_status (*permute)(ablate_graph_context *cx, ablate_tensor a, const uint32_t *order,
                           uint32_t rank, ablate_tensor *out);
  /* The same elements in row-major order under another shape. */
  ablate_status (*reshape)(ablate_graph_context *cx, ablate_tensor a, const uint64_t *dims,
                           uint32_t rank, ablate_tensor *out);
  /* `a` repeated to `dims` by the rules of broadcasting. */
  ablate_status (*expand)(ablate_graph_context *cx, ablate_tensor a, const uint64_t *dims,
                          uint32_t rank, ablate_tensor *out);
  /* Elements `start..end` along `axis`. */
  ablate_status (*slice)(ablate_graph_context *cx, ablate_tensor a, uint32_t axis, uint64_t start,
                         uint64_t end, ablate_tensor *out);
  /* Zeros before and after along `axis`. */
  ablate_status (*pad)(ablate_graph_context *cx, ablate_tensor a, uint32_t axis, uint64_t before,
                       uint64_t after, ablate_tensor *out);
  /* `count` tensors joined along `axis`. */
  ablate_status (*concat)(ablate_graph_context *cx, const ablate_tensor *tensors, uint32_t count,
                          uint32_t axis, ablate_tensor *out);
  /* Matrix product over the last two axes, batch axes broadcast. With `transpose_b` = 1, `b` is
   * `[.., n, k]`.
   */
  ablate_status (*matmul)(ablate_graph_context *cx, ablate_tensor a, ablate_tensor b,
                          uint32_t transpose_b, ablate_tensor *out);
  /* `x [.., in]` times `weight [out, in]` transposed, plus `bias [out]` unless `ABLATE_NO_TENSOR`.
   */
  ablate_status (*linear)(ablate_graph_context *cx, ablate_tensor x, ablate_tensor weight,
                          ablate_tensor bias, ablate_tensor *out);
  /* Rows of `table [rows, width]` at `index [..]`: `[.., width]`. */
  ablate_status (*gather)(ablate_graph_context *cx, ablate_tensor table, ablate_tensor index,
                          ablate_tensor *out);
  /* `[.., n]`: 1 where the last index equals the value of `index`, else 0. */
  ablate_status (*one_hot)(ablate_graph_context *cx, ablate_tensor index, uint64_t n,
                           ablate_tensor *out);
  /* Softmax along `axis`; its logarithm where `log` is 1. */
  ablate_status (*softmax)(ablate_graph_context *cx, ablate_tensor a, uint32_t axis, uint32_t log,
                           ablate_tensor *out);
  /* Layer norm over the last axis. */
  ablate_status (*layer_norm)(ablate_graph_context *cx, ablate_tensor x, ablate_tensor gamma,
                              ablate_tensor beta, double eps, ablate_tensor *out);
  /* Zeroes elements with probability `rate` and scales the rest by `1 / (1 - rate)`, with numbers
   * from the stream `dropout/<site>`.
   */
  ablate_status (*dropout)(ablate_graph_context *cx, ablate_tensor x, double rate, ablate_str site,
                           ablate_tensor *out);
  /* Losses `[..]` of `logits [.., classes]` against whole-number `labels [..]`, times `weights
   * [..]` unless `ABLATE_NO_TENSOR`.
   */
  ablate_status (*cross_entropy)(ablate_graph_context *cx, ablate_tensor logits,
                                 ablate_tensor labels, ablate_tensor weights, ablate_tensor *out);
  /* Nodes made until `pop_scope` carry `name` in their label path. The host closes what the plugin
   * left open.
   */
  ablate_status (*push_scope)(ablate_graph_context *cx, ablate_str name);
  /* Ends the innermost scope that the plugin opened. */
  ablate_status (*pop_scope)(ablate_graph_context *cx);
};

/* ---- What the host tells an objective's graph hook about the model, and what it takes from it -- */

/* Extension id of `ablate_model_api`. */
#define ABLATE_MODEL_API "ablate.host.model/1"

/* Names that `ablate_model_api.number` knows; more may be added. */
/* Rows of a micro-batch. */
#define ABLATE_NUMBER_BATCH "batch"
/* Tokens per row. */
#define ABLATE_NUMBER_SEQ "seq"
/* Entries of a sparse per-token feature. */
#define ABLATE_NUMBER_PREDICTIONS "predictions"
/* 1 in a training graph, 0 in an evaluation graph. */
#define ABLATE_NUMBER_TRAINING "training"
/* Size of the vocabulary. */
#define ABLATE_NUMBER_VOCAB_SIZE "vocab_size"
/* Width of the hidden states. */
#define ABLATE_NUMBER_HIDDEN_SIZE "hidden_size"
/* The model's layer-norm epsilon. */
#define ABLATE_NUMBER_LAYER_NORM_EPS "layer_norm_eps"
/* The model's dropout rate, to be applied in training graphs only. */
#define ABLATE_NUMBER_HIDDEN_DROPOUT "hidden_dropout_prob"
/* The model's dropout rate on attention probabilities. */
#define ABLATE_NUMBER_ATTENTION_DROPOUT "attention_probs_dropout_prob"

/* Names that `ablate_model_api.tensor` knows; more may be added. */
/* Last hidden states `[batch, seq, hidden]`, a row for each example. Those of padding are no states
 * to build on: zero where the trial packs its batches (`train.packed`), else whatever padding
 * attends to.
 */
#define ABLATE_TENSOR_HIDDEN "hidden"
/* Pooler output `[batch, hidden]`; the pooler exists only where somebody asks for it. */
#define ABLATE_TENSOR_POOLED "pooled"
/* Word embeddings `[vocab, hidden]`, for tied decoders. */
#define ABLATE_TENSOR_WORD_EMBEDDINGS "word_embeddings"
/* `[batch, seq]`, 1 for a token, 0 for padding. */
#define ABLATE_TENSOR_ATTENTION_MASK "attention_mask"

/* What a declared parameter is, which decides its initial values and its weight decay. */
enum {
  /* A weight matrix `[out, in]`: drawn from the model's initialiser, decayed. */
  ABLATE_ROLE_WEIGHT = 1,
  /* A bias: zeros, not decayed. */
  ABLATE_ROLE_BIAS = 2,
  /* The scale of a layer norm: ones, not decayed. */
  ABLATE_ROLE_NORM_SCALE = 3,
  /* The shift of a layer norm: zeros, not decayed. */
  ABLATE_ROLE_NORM_BIAS = 4,
  /* An embedding table: drawn from the model's initialiser, decayed. */
  ABLATE_ROLE_EMBEDDING = 5,
};

/* What an objective's graph hook knows about the model. Texts and arrays are the plugin's and are
 * copied.
 *
 * Inside the call. Only in `ablate_objective_api.build`.
 */
struct ablate_model_api {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* A number by its `ABLATE_NUMBER_...`. */
  ablate_status (*number)(ablate_graph_context *cx, ablate_str name, double *value);
  /* A tensor by its `ABLATE_TENSOR_...`. */
  ablate_status (*tensor)(ablate_graph_context *cx, ablate_str name, ablate_tensor *out);
  /* The model's activation function (GELU, as configured) of `x`. */
  ablate_status (*activation)(ablate_graph_context *cx, ablate_tensor x, ablate_tensor *out);
  /* A declared feature as the graph sees it. A per-token feature `labels` is `labels.positions`
   * (row-major index into `[batch, seq]`), `labels.values` and `labels.weights`, each
   * `[predictions]`; a per-sequence feature is `labels.values` and `labels.weights`, each
   * `[batch]`. Weights are 0 where there is no label, and 1 elsewhere.
   */
  ablate_status (*feature)(ablate_graph_context *cx, ablate_str name, ablate_tensor *out);
  /* Declares a parameter of the objective's own head, with one of `ABLATE_ROLE_...`, and gives its
   * tensor. `name` is its key in exported models. Objectives of one recipe that declare the same
   * name with the same dims and role share the parameter.
   */
  ablate_status (*parameter)(ablate_graph_context *cx, ablate_str name, const uint64_t *dims,
                             uint32_t rank, uint32_t role, ablate_tensor *out);
  /* Reports the scalar `sum` over the units of the micro-batch as metric `name`; the trainer
   * divides it like the loss. `accuracy` is the number of correct predictions.
   */
  ablate_status (*metric)(ablate_graph_context *cx, ablate_str name, ablate_tensor sum);
  /* Runs the model's encoder once more over the tokens of the micro-batch, with the same
   * parameters: hidden states `[batch, seq, hidden]`. With `dropout` = 1 the model's dropouts are
   * in, in evaluation graphs too, with numbers of their own that `pass` names; with 0 there are
   * none. A `pass` of an earlier call gives that call's states.
   */
  ablate_status (*encode)(ablate_graph_context *cx, ablate_str pass, uint32_t dropout,
                          ablate_tensor *out);
};

/* ---- Encoders from Hugging Face folders, as constants of an objective's graph ------------------ */

/* Extension id of `ablate_pretrained_api`. */
#define ABLATE_PRETRAINED_API "ablate.host.pretrained/1"

/* A trained BERT in an objective's graph: a teacher. A `folder` holds `config.json` and
 * `model.safetensors`; relative paths count from the current folder. The host reads it once for
 * each instance and keeps its weights beside the parameters: they are not trained, not exported,
 * and no gradient flows into them. Its operations and memory count as the objective's own.
 *
 * Inside the call. Only in `ablate_objective_api.build`. Refused with `ABLATE_INVALID` where the
 * folder cannot be read or does not fit the micro-batch.
 */
struct ablate_pretrained_api {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* A number of the folder's configuration by its `ABLATE_NUMBER_...`. */
  ablate_status (*number)(ablate_graph_context *cx, ablate_str folder, ablate_str name,
                          double *value);
  /* Last hidden states `[batch, seq, hidden]` of the folder's encoder over the tokens of the
   * micro-batch, without dropout.
   */
  ablate_status (*hidden)(ablate_graph_context *cx, ablate_str folder, ablate_tensor *out);
  /* A tensor of the folder by its name as of `BertForPreTraining`, such as `cls.predictions.bias`.
   * `ABLATE_UNKNOWN_NAME` where the folder has none.
   */
  ablate_status (*weight)(ablate_graph_context *cx, ablate_str folder, ablate_str name,
                          ablate_tensor *out);
  /* The activation function of the folder's model of `x`. */
  ablate_status (*activation)(ablate_graph_context *cx, ablate_str folder, ablate_tensor x,
                              ablate_tensor *out);
};

/* ---- Objectives -------------------------------------------------------------------------------- */

/* Extension id of `ablate_objective_api`. */
#define ABLATE_OBJECTIVE_API "ablate.objective/1"

/* What an objective needs of the data; bits of `ablate_objective_api.needs`. */
enum {
  /* Examples are pairs of segments with a next-sentence label. */
  ABLATE_NEEDS_SENTENCE_PAIRS = 1,
  /* Examples are pairs of segments that stood one behind the other, in order or swapped, with a
   * segment-order label. Not together with `ABLATE_SENTENCE_PAIRS`.
   */
  ABLATE_NEEDS_ORDERED_PAIRS = 2,
};

/* Values of `ablate_feature_spec.layout`. */
enum {
  /* One label per token, `[batch, seq]`; most are ignored. */
  ABLATE_LAYOUT_PER_TOKEN = 1,
  /* One label per sequence, `[batch]`. */
  ABLATE_LAYOUT_PER_SEQUENCE = 2,
};

/* A label array that an objective writes in `prepare` and reads in `build`. */
struct ablate_feature_spec {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* One of `ABLATE_LAYOUT_...`. */
  uint32_t layout;
  /* Name, unique among the objectives of a recipe. */
  ablate_str name;
  /* Labels are whole numbers in `0..classes`, or -100 for "ignored". 0 stands for the size of the
   * vocabulary.
   */
  uint64_t classes;
  /* Expected share of labels that are not ignored, in `0..=1`; 0 where unknown. Only a hint from
   * which the host chooses how much room the graph gives to labelled tokens.
   */
  double density;
};

/* A micro-batch as `prepare` sees it. Arrays are row-major and belong to the host; they are valid
 * until `prepare` returns.
 */
struct ablate_batch_view {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* Rows that hold an example; rows from here to `batch` are padding. */
  uint64_t rows;
  /* Rows of the arrays. */
  uint64_t batch;
  /* Tokens per row. */
  uint64_t seq;
  /* `[batch, seq]` token ids, which the objective may change in place. */
  int64_t *input_ids;
  /* `[batch, seq]` segment ids. */
  const int64_t *token_type_ids;
  /* `[batch, seq]`, 1 for a token, 0 for padding. */
  const int64_t *attention_mask;
  /* `[batch, seq]`, 1 for special tokens and padding. */
  const uint8_t *special_tokens_mask;
  /* `[batch]`, 1 where the second segment is a random one, -100 in padding rows; null where the
   * examples are no pairs.
   */
  const int64_t *next_sentence_label;
  /* `[batch]` identity of each example, stable over epochs. */
  const uint64_t *example_ids;
  /* `[batch]` random keys for `ablate_random_api`: a function of seed, example and epoch alone, so
   * the same whatever the order of the batches.
   */
  const uint64_t *row_keys;
  /* Number of tokens in the vocabulary. */
  uint64_t vocab_size;
  /* Id of `[MASK]`. */
  int64_t mask_id;
  /* Id of `[PAD]`. */
  int64_t pad_id;
  /* `special_count` ids that are never predicted and never put in as a random word, ascending. */
  const int64_t *special_ids;
  /* Number of special ids. */
  size_t special_count;
  /* `[vocab_size]`, 1 for tokens that continue a word (`##ing`); null where unknown. */
  const uint8_t *continues_word;
  /* One of `ABLATE_SPLIT_...`: whether the model learns from the batch or is measured by it. */
  uint32_t split;
  /* Not used, 0. */
  uint32_t reserved_2;
  /* The optimizer step that the batch belongs to, from 1; 0 in held-out batches. */
  uint64_t step;
  /* Epoch, from 0; 0 in held-out batches. */
  uint64_t epoch;
  /* `[batch]`, 1 where the two segments are swapped, 0 where they are in order, -100 in padding
   * rows; null where the examples are no such pairs.
   */
  const int64_t *segment_order_label;
  /* `[batch, seq]` token ids before any objective changed them. */
  const int64_t *original_ids;
  /* `[batch, seq]`, 1 where an objective predicts the token that stood there. An objective that
   * hides tokens sets it, so that objectives after it can predict the same ones, or leave them
   * alone.
   */
  uint8_t *predicted;
};

/* What a recipe says beside an objective's own configuration. The host's, as all that it points to;
 * valid until the call returns.
 */
struct ablate_objective_setup {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* The place of this objective among `objectives`, from 0. */
  uint32_t index;
  /* `objective_count` names in the order of the recipe, in which their data hooks run. */
  const ablate_str *objectives;
  /* Number of objectives. */
  size_t objective_count;
  /* The model's dropout rate on hidden states. */
  double hidden_dropout;
  /* The model's dropout rate on attention probabilities. */
  double attention_dropout;
  /* Tokens per row in training. */
  uint64_t sequence_length;
  /* `vocab_size` tokens by id; null where the vocabulary is not known yet, because it will be
   * trained.
   */
  const ablate_str *vocabulary;
  /* Number of tokens of the vocabulary; 0 where it is not known yet. */
  uint64_t vocab_size;
};

/* Functions of an objective. An instance is one use of the objective in one trial.
 *
 * One thread at a time.
 */
struct ablate_objective_api {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* Makes an instance from its configuration, a JSON object in UTF-8. `host` is valid until the
   * process ends, `config` until the call returns. On success `*instance`, the plugin's memory, is
   * passed back to every other function; it may be null. After a failure it is not used.
   */
  ablate_status (*create)(const ablate_host *host, ablate_str config, void **instance);
  /* Frees the instance; the last call that it gets. */
  void (*destroy)(void *instance);
  /* The factor of this objective's mean loss in the cumulative loss. */
  ablate_status (*weight)(void *instance, double *weight);
  /* Bits of `ABLATE_NEEDS_...`. */
  ablate_status (*needs)(void *instance, uint32_t *needs);
  /* Declares every feature that `prepare` writes, through `ablate_declare_api.feature`. Called
   * before all batches and graphs.
   */
  ablate_status (*features)(void *instance, ablate_declarations *into);
  /* Data hook: changes `input_ids`, writes each declared feature by
   * `ablate_batch_api.write_feature`, and says in `*units` how many units (masked tokens, pairs)
   * the micro-batch has. The trainer divides summed losses by the units of the whole accumulation
   * window.
   *
   * A function of the configuration and the batch alone. The host may make two instances of one
   * configuration for a trial and call `prepare` of one on a thread that works ahead of training,
   * while it calls the other's functions: `prepare` and `build` must not rely on each other, nor on
   * how often they were called.
   */
  ablate_status (*prepare)(void *instance, ablate_batch_context *cx, const ablate_batch_view *batch,
                           double *units);
  /* Graph hook: builds the loss of one micro-batch, summed over its units, a scalar. Sums for
   * metrics go to `ablate_model_api.metric`. Called once for each graph (training, evaluation).
   */
  ablate_status (*build)(void *instance, ablate_graph_context *cx, ablate_tensor *loss_sum);
  /* Refuses a recipe in which the objective cannot work, with a message. Called before any work,
   * and again once the vocabulary is known. May be null: then everything is accepted.
   */
  ablate_status (*check)(void *instance, const ablate_objective_setup *setup);
};

/* ---- Optimizers -------------------------------------------------------------------------------- */

/* Extension id of `ablate_optimizer_api`. */
#define ABLATE_OPTIMIZER_API "ablate.optimizer/1"

/* A tensor that the optimizer keeps for a parameter from step to step. */
struct ablate_slot_spec {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Number of dimensions, at most `ABLATE_MAX_RANK`. */
  uint32_t rank;
  /* Name, unique within the optimizer: `exp_avg`. */
  ablate_str name;
  /* `rank` sizes. */
  const uint64_t *dims;
  /* Value of every element before the first step. */
  double initial;
};

/* What is known of a parameter before any graph. The host's, valid until the call returns. */
struct ablate_parameter_info {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* One of `ABLATE_ROLE_...`: its group. */
  uint32_t role;
  /* Name in Hugging Face's form, for messages and special cases. */
  ablate_str name;
  /* `rank` sizes. */
  const uint64_t *dims;
  /* Number of dimensions. */
  uint32_t rank;
  /* 1 where weight decay applies to this parameter, else 0 (biases, layer norms). */
  uint32_t decay;
};

/* One parameter as the graph hook sees it. The host's, as its arrays; valid until `update` returns.
 */
struct ablate_update_input {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Which of the update graphs is built, from 0; see `ablate_optimizer_api.variant`. */
  uint32_t variant;
  /* Name, group, shape and decay. */
  const ablate_parameter_info *info;
  /* The parameter before the step. */
  ablate_tensor parameter;
  /* Gradient of the cumulative loss, clipped, of the parameter's shape. */
  ablate_tensor gradient;
  /* Slots before the step, in the order of their declaration. */
  const ablate_tensor *slots;
  /* Number of slots. */
  size_t slot_count;
  /* The step's scalars `[]`, in the order of their declaration. */
  const ablate_tensor *scalars;
  /* Number of scalars. */
  size_t scalar_count;
};

/* Where the graph hook puts its results. The host's, as its array; the plugin writes it. */
struct ablate_update_output {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* The parameter after the step, of its shape. */
  ablate_tensor parameter;
  /* Room for the slots after the step, as many and in the order as in `ablate_update_input.slots`.
   */
  ablate_tensor *slots;
};

/* Functions of an optimizer. An instance belongs to one trial; what it remembers from step to step
 * lives in slots, not in the instance, so a checkpoint has it all.
 *
 * One thread at a time.
 */
struct ablate_optimizer_api {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* As `ablate_objective_api.create`. */
  ablate_status (*create)(const ablate_host *host, ablate_str config, void **instance);
  /* Frees the instance; the last call that it gets. */
  void (*destroy)(void *instance);
  /* The learning rate of the configuration, which the schedule scales. */
  ablate_status (*base_learning_rate)(void *instance, double *rate);
  /* Declares the slots of a parameter by `ablate_declare_api.slot`. Parameters of different roles
   * or shapes may have different slots.
   */
  ablate_status (*slots)(void *instance, const ablate_parameter_info *parameter,
                         ablate_declarations *into);
  /* Declares the names of the step's scalars by `ablate_declare_api.scalar`. */
  ablate_status (*scalar_names)(void *instance, ablate_declarations *into);
  /* Host hook, every step: writes the `count` scalars of step `step` (from 1) at the scheduled
   * `learning_rate`, computed in double precision.
   */
  ablate_status (*scalars)(void *instance, uint64_t step, double learning_rate, double *values,
                           size_t count);
  /* Graph hook, once for each parameter: builds the new parameter and slots. */
  ablate_status (*update)(void *instance, ablate_graph_context *cx,
                          const ablate_update_input *input, ablate_update_output *output);
  /* How many different update graphs there are; asked once, after `create`. May be null: then one.
   * With several, `update` is called for each parameter and each of them, and a step runs one.
   */
  ablate_status (*variants)(void *instance, uint32_t *count);
  /* Host hook, every step: writes which of the update graphs step `step` (from 1) runs, so that
   * work that only some steps do costs the others nothing. The same step, the same graph: nothing
   * of it is saved. May be null where `variants` is.
   */
  ablate_status (*variant)(void *instance, uint64_t step, uint32_t *variant);
};

/* ---- Schedules --------------------------------------------------------------------------------- */

/* Extension id of `ablate_schedule_api`. */
#define ABLATE_SCHEDULE_API "ablate.schedule/1"

/* What a schedule may depend on. The host's, valid until `factor` returns. */
struct ablate_schedule_input {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* The optimizer step that is about to be taken, from 1. */
  uint64_t step;
};

/* Functions of a schedule. An instance belongs to one trial. It remembers nothing: its factor is a
 * function of the configuration and of `ablate_schedule_input`, so that a trial goes on to the same
 * bits.
 *
 * A configuration key `total_steps` that the recipe does not write is filled with the steps of the
 * recipe's `max_steps` rule.
 */
struct ablate_schedule_api {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* As `ablate_objective_api.create`. One thread at a time. */
  ablate_status (*create)(const ablate_host *host, ablate_str config, void **instance);
  /* Frees the instance; the last call that it gets. One thread at a time. */
  void (*destroy)(void *instance);
  /* Writes the factor on the base learning rate, a finite number from 0 on, in double precision.
   * One thread at a time. Any step may be asked for, in any order, more than once.
   */
  ablate_status (*factor)(void *instance, const ablate_schedule_input *input, double *factor);
};

/* ---- Stopping rules ---------------------------------------------------------------------------- */

/* Extension id of `ablate_stopping_api`. */
#define ABLATE_STOPPING_API "ablate.stopping-rule/1"

/* Values of `ablate_event.split`. */
enum {
  /* A training step: metrics of the step's own batch. */
  ABLATE_SPLIT_TRAIN = 0,
  /* An evaluation on the validation split. */
  ABLATE_SPLIT_VALIDATION = 1,
};

/* Values that `ablate_stopping_api.observe` decides on. */
enum {
  /* Train on. */
  ABLATE_CONTINUE = 0,
  /* End the trial: it is finished. */
  ABLATE_STOP = 1,
  /* End the trial: it failed, the message is a diagnosis. */
  ABLATE_ABORT = 2,
};

/* A number with a name. An element of arrays, so it never grows within a major version. */
struct ablate_metric {
  /* `loss`, `grad_norm`, `mlm_loss`, `mlm_accuracy`, ... */
  ablate_str name;
  /* The value; losses in nats per unit. May be NaN or infinite. */
  double value;
};

/* The values of one metric so far, oldest first, the present one included. An element of arrays, so
 * it never grows within a major version.
 */
struct ablate_series {
  /* Name of the metric. */
  ablate_str name;
  /* One of `ABLATE_SPLIT_...`. */
  uint32_t split;
  /* Not used, 0. */
  uint32_t reserved;
  /* `count` steps, ascending. */
  const uint64_t *steps;
  /* `count` values. */
  const double *values;
  /* Number of values, at most `ablate_stopping_api.history_length`. */
  size_t count;
};

/* What a rule observes. The host's, as its arrays; valid until `observe` returns. */
struct ablate_event {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* One of `ABLATE_SPLIT_...`. */
  uint32_t split;
  /* Optimizer steps done, from 1. */
  uint64_t step;
  /* Tokens seen in training so far, without padding. */
  uint64_t tokens;
  /* `metric_count` metrics. */
  const ablate_metric *metrics;
  /* Number of metrics. */
  size_t metric_count;
  /* `history_count` series, one for each metric of each split, where the rule asked for them by
   * `ablate_stopping_api.history_length`.
   */
  const ablate_series *history;
  /* Number of series. */
  size_t history_count;
  /* Floating-point operations of the matrix products in training so far. */
  double flops;
  /* Seconds since the trial began, by the wall clock: the one number that another run does not
   * repeat. Evaluations and runs before a resume are counted.
   */
  double seconds;
};

/* Functions of a stopping rule. An instance belongs to one trial.
 *
 * One thread at a time.
 */
struct ablate_stopping_api {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* As `ablate_objective_api.create`. */
  ablate_status (*create)(const ablate_host *host, ablate_str config, void **instance);
  /* Frees the instance; the last call that it gets. */
  void (*destroy)(void *instance);
  /* Called after every step and every evaluation. Writes one of `ABLATE_CONTINUE ...`; for anything
   * but `CONTINUE` it says why, in one sentence, to `reason` (`ablate_host.write`). After `STOP` it
   * may be called again: a recipe can ask that several rules hold at the same time.
   */
  ablate_status (*observe)(void *instance, const ablate_event *event, uint32_t *decision,
                           ablate_sink *reason);
  /* Writes all that `load` needs to go on as if never interrupted, by `ablate_host.write`. The
   * bytes are the plugin's own matter and should begin with a version. The history is saved by the
   * host.
   */
  ablate_status (*save)(void *instance, ablate_sink *state);
  /* Takes over what `save` of the same plugin (or an older version of it) wrote, into an instance
   * of the same configuration. The bytes are the host's, valid until the call returns.
   */
  ablate_status (*load)(void *instance, const uint8_t *state, size_t length);
  /* How many values of each metric the host shall keep for `ablate_event.history`; asked once,
   * after `create`. May be null: then none.
   */
  ablate_status (*history_length)(void *instance, uint64_t *length);
};

/* ---- The two structures of the Arrow C data interface ------------------------------------------ */

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
/* Type and name of an array. */
struct ArrowSchema {
  /* Format string, zero-terminated: `u` is UTF-8 text with 32-bit offsets, `U` with 64-bit offsets,
   * `+s` a struct.
   */
  const char *format;
  /* Name of the field, zero-terminated, or null. */
  const char *name;
  /* Key-value metadata in the specification's binary form, or null. */
  const char *metadata;
  /* Bits: 1 dictionary ordered, 2 nullable, 4 map keys sorted. */
  int64_t flags;
  /* Number of children. */
  int64_t n_children;
  /* `n_children` pointers to child schemas. */
  struct ArrowSchema **children;
  /* Schema of the dictionary, or null. */
  struct ArrowSchema *dictionary;
  /* Frees everything behind the structure and sets `release` to null; null in a structure that was
   * released or moved. Any thread.
   */
  void (*release)(struct ArrowSchema *schema);
  /* The producer's own. */
  void *private_data;
};

/* Values of an array. */
struct ArrowArray {
  /* Number of rows. */
  int64_t length;
  /* Number of nulls, or -1 where it is not known. */
  int64_t null_count;
  /* Rows to skip at the beginning of the buffers. */
  int64_t offset;
  /* Number of buffers. */
  int64_t n_buffers;
  /* Number of children. */
  int64_t n_children;
  /* `n_buffers` buffers; the validity bitmap comes first and may be null. */
  const void **buffers;
  /* `n_children` pointers to child arrays. */
  struct ArrowArray **children;
  /* Values of the dictionary, or null. */
  struct ArrowArray *dictionary;
  /* Frees everything behind the structure and sets `release` to null; null in a structure that was
   * released or moved. Any thread.
   */
  void (*release)(struct ArrowArray *array);
  /* The producer's own. */
  void *private_data;
};
#endif

/* ---- Data operators ---------------------------------------------------------------------------- */

/* Extension id of `ablate_operator_api`. */
#define ABLATE_OPERATOR_API "ablate.operator/1"

/* Names of the columns of a batch of documents. */
/* The document's id, UTF-8 text (`u`), no nulls, no two alike in a corpus. */
#define ABLATE_COLUMN_ID "id"
/* The document's text, UTF-8 text (`u`), no nulls. */
#define ABLATE_COLUMN_TEXT "text"

/* Functions of a data operator. An instance sees one split once, its documents in order, as record
 * batches: a struct array (`+s`) without nulls whose children are the columns of
 * `ABLATE_COLUMN_...`. Further columns may be added; look them up by name. The host chooses the
 * size of a batch; an operator gives the same result whatever it is, and may remember what it needs
 * from batch to batch.
 *
 * One of `filter` and `map` is there, or both; the host then calls `filter`.
 *
 * Both get `schema` and `batch` from the host, valid until the call returns. The plugin may move
 * them out as the Arrow specification says (copy the structure, set the original's `release` to
 * null) and must then release the copy itself; what it leaves, the host releases after the call.
 */
struct ablate_operator_api {
  /* Size of this struct in bytes. */
  uint32_t struct_size;
  /* Not used, 0. */
  uint32_t reserved;
  /* As `ablate_objective_api.create`. One thread at a time. */
  ablate_status (*create)(const ablate_host *host, ablate_str config, void **instance);
  /* Frees the instance; the last call that it gets. One thread at a time. */
  void (*destroy)(void *instance);
  /* Writes to `keep`, an array of the host with one byte a row, 1 where the row stays and 0 where
   * it is removed. One thread at a time.
   */
  ablate_status (*filter)(void *instance, struct ArrowSchema *schema, struct ArrowArray *batch,
                          uint8_t *keep);
  /* Writes the batch that takes the place of `batch`: fewer rows, or other texts, or both, with the
   * same columns `id` and `text` (`u` or `U`), rows in the order of the batch, ids unchanged. One
   * thread at a time. Both results are the plugin's memory with a release callback, which the host
   * calls, on any thread, when it has copied the rows. Results that are left as they come
   * (`release` null) say that every row stays as it is.
   */
  ablate_status (*map)(void *instance, struct ArrowSchema *schema, struct ArrowArray *batch,
                       struct ArrowSchema *out_schema, struct ArrowArray *out_batch);
};

#ifdef __cplusplus
}
#endif
#endif
