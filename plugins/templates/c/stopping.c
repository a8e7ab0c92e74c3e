/* ---- the rule: stops when the validation loss has risen several times in a row --------------- */

typedef struct rule {
  const ablate_host *host;
  double rises_needed;
  /* What it remembers. */
  double last;
  uint64_t evaluations, rises;
} rule;

/* What is saved; the first byte of a version that is to come will be another one. */
typedef struct state {
  uint64_t version, evaluations, rises;
  double last;
} state;

static ablate_str schema(void) {
  return ablate_text(
      "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
      "\"rises\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000,\"default\":3,"
      "\"description\":\"Rises in a row that end a trial.\"}}}");
}

static ablate_status create(const ablate_host *host, ablate_str config, void **instance) {
  rule made = {.host = host, .rises_needed = 3};
  const key keys[] = {{"rises", &made.rises_needed}};
  ablate_status status = read_config(host, config, keys, 1);
  if (status != ABLATE_OK) return status;
  if (!(made.rises_needed >= 1 && made.rises_needed <= 1e6) ||
      made.rises_needed != floor(made.rises_needed))
    return fail(host, ABLATE_CONFIG, "`rises` is a whole number from 1 to 1000000");
  rule *self = malloc(sizeof *self);
  if (!self) return fail(host, ABLATE_INTERNAL, "out of memory");
  *self = made;
  *instance = self;
  return ABLATE_OK;
}

static ablate_status observe(void *instance, const ablate_event *event, uint32_t *decision,
                             ablate_sink *reason) {
  rule *self = instance;
  *decision = ABLATE_CONTINUE;
  if (event->split != ABLATE_SPLIT_VALIDATION) return ABLATE_OK;
  for (size_t i = 0; i < event->metric_count; i++) {
    if (!ablate_equal(event->metrics[i].name, "loss")) continue;
    double value = event->metrics[i].value;
    self->rises = self->evaluations > 0 && value > self->last ? self->rises + 1 : 0;
    self->evaluations++;
    self->last = value;
    if ((double)self->rises < self->rises_needed) return ABLATE_OK;
    char text[96];
    snprintf(text, sizeof text, "the validation loss has risen %llu times in a row, to %.4f",
             (unsigned long long)self->rises, value);
    *decision = ABLATE_STOP;
    return self->host->write(reason, (const uint8_t *)text, strlen(text));
  }
  return fail(self->host, ABLATE_UNKNOWN_NAME, "the validation split has no metric `loss`");
}

static ablate_status save(void *instance, ablate_sink *sink) {
  const rule *self = instance;
  state saved = {1, self->evaluations, self->rises, self->last};
  return self->host->write(sink, (const uint8_t *)&saved, sizeof saved);
}

static ablate_status load(void *instance, const uint8_t *bytes, size_t length) {
  rule *self = instance;
  state saved;
  if (length != sizeof saved)
    return fail(self->host, ABLATE_STATE, "this is no state of `{{snake}}`: its length is another");
  memcpy(&saved, bytes, sizeof saved);
  if (saved.version != 1)
    return fail(self->host, ABLATE_STATE, "this is state of another version of `{{snake}}`");
  self->evaluations = saved.evaluations;
  self->rises = saved.rises;
  self->last = saved.last;
  return ABLATE_OK;
}

static const ablate_stopping_api api = {
    .struct_size = sizeof(ablate_stopping_api),
    .create = create,
    .destroy = free,
    .observe = observe,
    .save = save,
    .load = load,
};
