/* ---- the objective: hides words and predicts each from the words around it ------------------- */

typedef struct objective {
  const ablate_host *host;
  double rate;
} objective;

static ablate_str schema(void) {
  return ablate_text(
      "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
      "\"rate\":{\"type\":\"number\",\"exclusiveMinimum\":0,\"exclusiveMaximum\":1,\"default\":0.15,"
      "\"description\":\"Share of words that are hidden.\"}}}");
}

static ablate_status create(const ablate_host *host, ablate_str config, void **instance) {
  objective made = {host, 0.15};
  const key keys[] = {{"rate", &made.rate}};
  ablate_status status = read_config(host, config, keys, 1);
  if (status != ABLATE_OK) return status;
  if (!(made.rate > 0 && made.rate < 1))
    return fail(host, ABLATE_CONFIG, "`rate` is between 0 and 1");
  objective *self = malloc(sizeof *self);
  if (!self) return fail(host, ABLATE_INTERNAL, "out of memory");
  *self = made;
  *instance = self;
  return ABLATE_OK;
}

static ablate_status weight(void *instance, double *weight) {
  (void)instance;
  *weight = 1;
  return ABLATE_OK;
}

static ablate_status needs(void *instance, uint32_t *needs) {
  (void)instance;
  *needs = 0; /* single texts will do; ABLATE_NEEDS_SENTENCE_PAIRS asks for pairs */
  return ABLATE_OK;
}

static ablate_status features(void *instance, ablate_declarations *into) {
  const objective *self = instance;
  const ablate_declare_api *declare = self->host->get_extension(ablate_text(ABLATE_DECLARE_API));
  if (!declare) return fail(self->host, ABLATE_UNSUPPORTED, "this host has no " ABLATE_DECLARE_API);
  ablate_feature_spec labels = {.struct_size = sizeof labels,
                                .layout = ABLATE_LAYOUT_PER_TOKEN,
                                .name = ablate_text("labels"),
                                .classes = 0, /* the vocabulary */
                                .density = self->rate};
  return declare->feature(into, &labels);
}

/* Hides words of a batch, and says how many. */
static ablate_status hide(const objective *self, const ablate_random_api *random,
                          const ablate_batch_view *batch, int64_t *labels, uint32_t *numbers,
                          double *units) {
  for (uint64_t row = 0; row < batch->rows; row++) {
    /* A row's random numbers are its own: the same row, the same words, in any batch. */
    ablate_status status = random->words(batch->row_keys[row], 0, 0, numbers, batch->seq);
    if (status != ABLATE_OK) return status;
    for (uint64_t i = 0; i < batch->seq; i++) {
      uint64_t at = row * batch->seq + i;
      if (batch->special_tokens_mask[at] || numbers[i] / 4294967296.0 >= self->rate) continue;
      labels[at] = batch->input_ids[at];
      batch->input_ids[at] = batch->mask_id;
      *units += 1;
    }
  }
  return ABLATE_OK;
}

static ablate_status prepare(void *instance, ablate_batch_context *cx,
                             const ablate_batch_view *batch, double *units) {
  const objective *self = instance;
  const ablate_host *host = self->host;
  const ablate_random_api *random = host->get_extension(ablate_text(ABLATE_RANDOM_API));
  const ablate_batch_api *write = host->get_extension(ablate_text(ABLATE_BATCH_API));
  if (!random) return fail(host, ABLATE_UNSUPPORTED, "this host has no " ABLATE_RANDOM_API);
  if (!write) return fail(host, ABLATE_UNSUPPORTED, "this host has no " ABLATE_BATCH_API);
  size_t cells = (size_t)(batch->batch * batch->seq);
  int64_t *labels = malloc(cells * sizeof *labels);
  uint32_t *numbers = malloc((size_t)batch->seq * sizeof *numbers);
  ablate_status status = ABLATE_OK;
  if (!labels || !numbers) status = fail(host, ABLATE_INTERNAL, "out of memory");
  *units = 0;
  for (size_t at = 0; status == ABLATE_OK && at < cells; at++) labels[at] = -100; /* ignored */
  if (status == ABLATE_OK) status = hide(self, random, batch, labels, numbers, units);
  if (status == ABLATE_OK) status = write->write_feature(cx, ablate_text("labels"), labels, cells);
  free(labels);
  free(numbers);
  return status;
}

/* The loss of a batch as nodes of the graph, summed over its hidden words. */
static ablate_status build(void *instance, ablate_graph_context *cx, ablate_tensor *loss_sum) {
  const ablate_host *host = ((objective *)instance)->host;
  const ablate_graph_api *g = host->get_extension(ablate_text(ABLATE_GRAPH_API));
  const ablate_model_api *m = host->get_extension(ablate_text(ABLATE_MODEL_API));
  if (!g) return fail(host, ABLATE_UNSUPPORTED, "this host has no " ABLATE_GRAPH_API);
  if (!m) return fail(host, ABLATE_UNSUPPORTED, "this host has no " ABLATE_MODEL_API);
  ablate_tensor states, positions, table, bias, logits, labels, weights, losses;
  double rows, seq, width, vocabulary;
  ablate_status s = m->number(cx, ablate_text(ABLATE_NUMBER_BATCH), &rows);
  if (s == ABLATE_OK) s = m->number(cx, ablate_text(ABLATE_NUMBER_SEQ), &seq);
  if (s == ABLATE_OK) s = m->number(cx, ablate_text(ABLATE_NUMBER_HIDDEN_SIZE), &width);
  if (s == ABLATE_OK) s = m->number(cx, ablate_text(ABLATE_NUMBER_VOCAB_SIZE), &vocabulary);
  if (s != ABLATE_OK) return s;
  const uint64_t flat[] = {(uint64_t)(rows * seq), (uint64_t)width};
  const uint64_t classes[] = {(uint64_t)vocabulary};
  const uint32_t axis[] = {0};
  s = m->tensor(cx, ablate_text(ABLATE_TENSOR_HIDDEN), &states);
  if (s == ABLATE_OK) s = m->tensor(cx, ablate_text(ABLATE_TENSOR_WORD_EMBEDDINGS), &table);
  if (s == ABLATE_OK) s = m->feature(cx, ablate_text("labels.positions"), &positions);
  if (s == ABLATE_OK) s = m->feature(cx, ablate_text("labels.values"), &labels);
  /* Weights are 0 where the graph has room and the batch no label. */
  if (s == ABLATE_OK) s = m->feature(cx, ablate_text("labels.weights"), &weights);
  if (s == ABLATE_OK)
    s = m->parameter(cx, ablate_text("{{snake}}.bias"), classes, 1, ABLATE_ROLE_BIAS, &bias);
  if (s == ABLATE_OK) s = g->reshape(cx, states, flat, 2, &states);
  if (s == ABLATE_OK) s = g->gather(cx, states, positions, &states);
  if (s == ABLATE_OK) s = g->linear(cx, states, table, bias, &logits);
  if (s == ABLATE_OK) s = g->cross_entropy(cx, logits, labels, weights, &losses);
  if (s == ABLATE_OK) s = g->reduce(cx, ABLATE_REDUCE_SUM, losses, axis, 1, 0, loss_sum);
  return s;
}

static const ablate_objective_api api = {
    .struct_size = sizeof(ablate_objective_api),
    .create = create,
    .destroy = free,
    .weight = weight,
    .needs = needs,
    .features = features,
    .prepare = prepare,
    .build = build,
};
