/* An Ablate plugin in C, with two capabilities: the optimizer `sign_descent` and the stopping rule
 * `token_budget`. Build it next to Ablate's sources:
 *
 *   cc -std=c11 -O2 -shared -fPIC -I ../../abi/include -o c_plugin.so plugin.c
 *
 * and name the library under `plugins:` in a recipe.
 */
#include "ablate_plugin.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- what both need -------------------------------------------------------------------------- */

static ablate_status fail(const ablate_host *host, ablate_status status, const char *message) {
  host->set_error(ablate_text(message));
  return status;
}

/* What follows `word` and the spaces in front of it, or NULL. */
static const char *past(const char *at, const char *word) {
  if (!at) return NULL;
  at += strspn(at, " \t\r\n");
  return strncmp(at, word, strlen(word)) == 0 ? at + strlen(word) : NULL;
}

/* Reads `{}` or `{"key": number}`; 0 for anything else. Enough for one key; `ablate plugin new --lang c`
 * writes a reader for several, and a plugin with texts and lists brings a JSON parser. */
static int read_number(ablate_str config, const char *key, double *value) {
  char text[512], quoted[64], *behind;
  if (config.len >= sizeof text) return 0;
  memcpy(text, config.ptr, config.len);
  text[config.len] = 0;
  snprintf(quoted, sizeof quoted, "\"%s\"", key);
  const char *inside = past(text, "{"), *end = past(inside, "}");
  if (!end) {
    const char *number = past(past(inside, quoted), ":");
    if (!number) return 0;
    *value = strtod(number, &behind);
    end = behind == number ? NULL : past(behind, "}");
  }
  return end && *end == 0;
}

/* ---- sign_descent: p - learning_rate * sign(gradient) ---------------------------------------- */

typedef struct sign_descent {
  const ablate_host *host;
  double learning_rate;
} sign_descent;

static ablate_status sign_create(const ablate_host *host, ablate_str config, void **instance) {
  double learning_rate = 1e-3;
  if (!read_number(config, "learning_rate", &learning_rate) || !(learning_rate > 0))
    return fail(host, ABLATE_CONFIG, "`learning_rate` is a number above 0");
  sign_descent *self = malloc(sizeof *self);
  if (!self) return fail(host, ABLATE_INTERNAL, "out of memory");
  self->host = host;
  self->learning_rate = learning_rate;
  *instance = self;
  return ABLATE_OK;
}

static ablate_status sign_rate(void *instance, double *rate) {
  *rate = ((sign_descent *)instance)->learning_rate;
  return ABLATE_OK;
}

static ablate_status sign_slots(void *instance, const ablate_parameter_info *parameter,
                                ablate_declarations *into) {
  (void)instance, (void)parameter, (void)into;
  return ABLATE_OK; /* keeps nothing from step to step */
}

static ablate_status sign_scalar_names(void *instance, ablate_declarations *into) {
  const ablate_host *host = ((sign_descent *)instance)->host;
  const ablate_declare_api *declare = host->get_extension(ablate_text(ABLATE_DECLARE_API));
  if (!declare) return fail(host, ABLATE_UNSUPPORTED, "this host is too old: no " ABLATE_DECLARE_API);
  return declare->scalar(into, ablate_text("learning_rate"));
}

static ablate_status sign_scalars(void *instance, uint64_t step, double learning_rate,
                                  double *values, size_t count) {
  (void)instance, (void)step;
  if (count == 1) values[0] = learning_rate;
  return count == 1 ? ABLATE_OK : ABLATE_INVALID;
}

static ablate_status sign_update(void *instance, ablate_graph_context *cx,
                                 const ablate_update_input *input, ablate_update_output *output) {
  const ablate_host *host = ((sign_descent *)instance)->host;
  const ablate_graph_api *graph = host->get_extension(ablate_text(ABLATE_GRAPH_API));
  if (!graph) return fail(host, ABLATE_UNSUPPORTED, "this host is too old: no " ABLATE_GRAPH_API);
  ablate_tensor sign, step;
  ablate_status status = graph->unary(cx, ABLATE_SIGN, input->gradient, &sign);
  if (status == ABLATE_OK) status = graph->binary(cx, ABLATE_MUL, sign, input->scalars[0], &step);
  if (status == ABLATE_OK)
    status = graph->binary(cx, ABLATE_SUB, input->parameter, step, &output->parameter);
  return status;
}

static const ablate_optimizer_api sign_api = {
    .struct_size = sizeof(ablate_optimizer_api),
    .create = sign_create,
    .destroy = free,
    .base_learning_rate = sign_rate,
    .slots = sign_slots,
    .scalar_names = sign_scalar_names,
    .scalars = sign_scalars,
    .update = sign_update,
};

static ablate_str sign_schema(void) {
  return ablate_text("{\"type\":\"object\",\"additionalProperties\":false,\"properties\":"
                     "{\"learning_rate\":{\"type\":\"number\",\"exclusiveMinimum\":0}}}");
}

static const ablate_str sign_extensions[] = {ABLATE_STR(ABLATE_OPTIMIZER_API)};
static const ablate_capability sign_capability = {
    .struct_size = sizeof(ablate_capability),
    .name = ABLATE_STR("sign_descent"),
    .description = ABLATE_STR("Steps of one size along the sign of the gradient."),
    .config_schema = sign_schema,
    .extensions = sign_extensions,
    .extension_count = 1,
};

/* ---- token_budget: stops after a number of tokens -------------------------------------------- */

typedef struct token_budget {
  const ablate_host *host;
  uint64_t tokens;
} token_budget;

static ablate_status tokens_create(const ablate_host *host, ablate_str config, void **instance) {
  double tokens = 0;
  if (!read_number(config, "tokens", &tokens) || !(tokens >= 1 && tokens < 1e18) ||
      tokens != (double)(uint64_t)tokens)
    return fail(host, ABLATE_CONFIG, "`tokens` is a number from 1 on");
  token_budget *self = malloc(sizeof *self);
  if (!self) return fail(host, ABLATE_INTERNAL, "out of memory");
  self->host = host;
  self->tokens = (uint64_t)tokens;
  *instance = self;
  return ABLATE_OK;
}

static ablate_status tokens_observe(void *instance, const ablate_event *event, uint32_t *decision,
                                    ablate_sink *reason) {
  const token_budget *self = instance;
  *decision = ABLATE_CONTINUE;
  if (event->tokens < self->tokens) return ABLATE_OK;
  char text[96];
  snprintf(text, sizeof text, "%llu tokens are seen, the budget was %llu",
           (unsigned long long)event->tokens, (unsigned long long)self->tokens);
  *decision = ABLATE_STOP;
  return self->host->write(reason, (const uint8_t *)text, strlen(text));
}

/* Events carry the token count, so there is nothing to remember. */
static ablate_status tokens_save(void *instance, ablate_sink *state) {
  (void)instance, (void)state;
  return ABLATE_OK;
}

static ablate_status tokens_load(void *instance, const uint8_t *state, size_t length) {
  (void)instance, (void)state;
  return length == 0 ? ABLATE_OK : ABLATE_STATE;
}

static const ablate_stopping_api tokens_api = {
    .struct_size = sizeof(ablate_stopping_api),
    .create = tokens_create,
    .destroy = free,
    .observe = tokens_observe,
    .save = tokens_save,
    .load = tokens_load,
};

static ablate_str tokens_schema(void) {
  return ablate_text("{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"tokens\"],"
                     "\"properties\":{\"tokens\":{\"type\":\"integer\",\"minimum\":1}}}");
}

static const ablate_str tokens_extensions[] = {ABLATE_STR(ABLATE_STOPPING_API)};
static const ablate_capability tokens_capability = {
    .struct_size = sizeof(ablate_capability),
    .name = ABLATE_STR("token_budget"),
    .description = ABLATE_STR("Stops after a number of tokens."),
    .config_schema = tokens_schema,
    .extensions = tokens_extensions,
    .extension_count = 1,
};

/* ---- the descriptor -------------------------------------------------------------------------- */

static const void *get_extension(ablate_str capability, ablate_str id) {
  if (ablate_equal(capability, "sign_descent") && ablate_equal(id, ABLATE_OPTIMIZER_API))
    return &sign_api;
  if (ablate_equal(capability, "token_budget") && ablate_equal(id, ABLATE_STOPPING_API))
    return &tokens_api;
  return NULL;
}

static const ablate_capability *const capabilities[] = {&sign_capability, &tokens_capability};
static const ablate_plugin plugin = {
    .struct_size = sizeof(ablate_plugin),
    .abi_major = ABLATE_ABI_MAJOR,
    .abi_minor = ABLATE_ABI_MINOR,
    .magic = ABLATE_PLUGIN_MAGIC,
    .name = ABLATE_STR("c-plugin"),
    .version = ABLATE_STR("0.1.0"),
    .license = ABLATE_STR("MIT OR Apache-2.0"),
    .description = ABLATE_STR("An optimizer and a stopping rule in C."),
    .capabilities = capabilities,
    .capability_count = 2,
    .get_extension = get_extension,
};

const ablate_plugin *ablate_plugin_entry(uint32_t abi_major, uint32_t abi_minor) {
  (void)abi_major, (void)abi_minor; /* the host compares, and says what is wrong */
  return &plugin;
}
