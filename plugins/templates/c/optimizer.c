/* ---- the optimizer: m <- momentum m + gradient, p <- (1 - rate decay) p - rate m ----------- */

typedef struct optimizer {
  const ablate_host *host;
  double learning_rate, momentum, weight_decay;
} optimizer;

static ablate_str schema(void) {
  return ablate_text(
      "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
      "\"learning_rate\":{\"type\":\"number\",\"exclusiveMinimum\":0,\"default\":0.01,"
      "\"description\":\"Step size before the schedule.\"},"
      "\"momentum\":{\"type\":\"number\",\"minimum\":0,\"exclusiveMaximum\":1,\"default\":0.9,"
      "\"description\":\"Share of the last step that is kept.\"},"
      "\"weight_decay\":{\"type\":\"number\",\"minimum\":0,\"default\":0.01,"
      "\"description\":\"Decay per unit of learning rate.\"}}}");
}

static ablate_status create(const ablate_host *host, ablate_str config, void **instance) {
  optimizer made = {host, 0.01, 0.9, 0.01};
  const key keys[] = {{"learning_rate", &made.learning_rate},
                      {"momentum", &made.momentum},
                      {"weight_decay", &made.weight_decay}};
  ablate_status status = read_config(host, config, keys, 3);
  if (status != ABLATE_OK) return status;
  if (!(made.learning_rate > 0)) return fail(host, ABLATE_CONFIG, "`learning_rate` is above 0");
  if (!(made.momentum >= 0 && made.momentum < 1))
    return fail(host, ABLATE_CONFIG, "`momentum` is from 0 to below 1");
  if (!(made.weight_decay >= 0)) return fail(host, ABLATE_CONFIG, "`weight_decay` is from 0 on");
  optimizer *self = malloc(sizeof *self);
  if (!self) return fail(host, ABLATE_INTERNAL, "out of memory");
  *self = made;
  *instance = self;
  return ABLATE_OK;
}

static ablate_status base_learning_rate(void *instance, double *rate) {
  *rate = ((optimizer *)instance)->learning_rate;
  return ABLATE_OK;
}

static const ablate_declare_api *declarations(const ablate_host *host) {
  return host->get_extension(ablate_text(ABLATE_DECLARE_API));
}

/* What is kept for a parameter from step to step. */
static ablate_status slots(void *instance, const ablate_parameter_info *parameter,
                           ablate_declarations *into) {
  const ablate_host *host = ((optimizer *)instance)->host;
  const ablate_declare_api *declare = declarations(host);
  if (!declare) return fail(host, ABLATE_UNSUPPORTED, "this host has no " ABLATE_DECLARE_API);
  ablate_slot_spec slot = {.struct_size = sizeof slot,
                           .rank = parameter->rank,
                           .name = ablate_text("momentum"),
                           .dims = parameter->dims,
                           .initial = 0};
  return declare->slot(into, &slot);
}

static ablate_status scalar_names(void *instance, ablate_declarations *into) {
  const ablate_host *host = ((optimizer *)instance)->host;
  const ablate_declare_api *declare = declarations(host);
  if (!declare) return fail(host, ABLATE_UNSUPPORTED, "this host has no " ABLATE_DECLARE_API);
  ablate_status status = declare->scalar(into, ablate_text("learning_rate"));
  if (status == ABLATE_OK) status = declare->scalar(into, ablate_text("decay_factor"));
  return status;
}

/* Numbers of a step, computed on the host in double precision. */
static ablate_status scalars(void *instance, uint64_t step, double learning_rate, double *values,
                             size_t count) {
  const optimizer *self = instance;
  (void)step;
  if (count != 2) return fail(self->host, ABLATE_INVALID, "there are two scalars");
  values[0] = learning_rate;
  values[1] = 1 - learning_rate * self->weight_decay;
  return ABLATE_OK;
}

/* The update of one parameter, as nodes of the graph. */
static ablate_status update(void *instance, ablate_graph_context *cx,
                            const ablate_update_input *input, ablate_update_output *output) {
  const optimizer *self = instance;
  const ablate_graph_api *g = self->host->get_extension(ablate_text(ABLATE_GRAPH_API));
  if (!g) return fail(self->host, ABLATE_UNSUPPORTED, "this host has no " ABLATE_GRAPH_API);
  ablate_tensor kept, momentum, step, decayed = input->parameter;
  ablate_status s = g->binary_scalar(cx, ABLATE_MUL, input->slots[0], self->momentum, &kept);
  if (s == ABLATE_OK) s = g->binary(cx, ABLATE_ADD, kept, input->gradient, &momentum);
  if (s == ABLATE_OK) s = g->binary(cx, ABLATE_MUL, momentum, input->scalars[0], &step);
  if (s == ABLATE_OK && input->info->decay)
    s = g->binary(cx, ABLATE_MUL, input->parameter, input->scalars[1], &decayed);
  if (s == ABLATE_OK) s = g->binary(cx, ABLATE_SUB, decayed, step, &output->parameter);
  if (s == ABLATE_OK) output->slots[0] = momentum;
  return s;
}

static const ablate_optimizer_api api = {
    .struct_size = sizeof(ablate_optimizer_api),
    .create = create,
    .destroy = free,
    .base_learning_rate = base_learning_rate,
    .slots = slots,
    .scalar_names = scalar_names,
    .scalars = scalars,
    .update = update,
};
