/* ---- the operator: keeps documents of at least some number of words -------------------------- */

typedef struct word_filter {
  const ablate_host *host;
  double words;
} word_filter;

static ablate_str schema(void) {
  return ablate_text(
      "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
      "\"words\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000,\"default\":5,"
      "\"description\":\"Fewest words of a document that stays.\"}}}");
}

static ablate_status create(const ablate_host *host, ablate_str config, void **instance) {
  word_filter made = {host, 5};
  const key keys[] = {{"words", &made.words}};
  ablate_status status = read_config(host, config, keys, 1);
  if (status != ABLATE_OK) return status;
  if (!(made.words >= 1 && made.words <= 1e6) || made.words != floor(made.words))
    return fail(host, ABLATE_CONFIG, "`words` is a whole number from 1 to 1000000");
  word_filter *self = malloc(sizeof *self);
  if (!self) return fail(host, ABLATE_INTERNAL, "out of memory");
  *self = made;
  *instance = self;
  return ABLATE_OK;
}

static int is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* The texts of a batch: a column of the Arrow format `u` (32-bit offsets, then bytes). */
static const struct ArrowArray *texts(const struct ArrowSchema *schema,
                                      const struct ArrowArray *batch) {
  for (int64_t i = 0; i < schema->n_children && i < batch->n_children; i++)
    if (strcmp(schema->children[i]->name, ABLATE_COLUMN_TEXT) == 0 &&
        strcmp(schema->children[i]->format, "u") == 0)
      return batch->children[i];
  return NULL;
}

/* Says of each row whether it stays. */
static ablate_status filter(void *instance, struct ArrowSchema *schema, struct ArrowArray *batch,
                            uint8_t *keep) {
  const word_filter *self = instance;
  const struct ArrowArray *column = texts(schema, batch);
  if (!column) return fail(self->host, ABLATE_INVALID, "the batch has no column `text`");
  const int32_t *offsets = (const int32_t *)column->buffers[1] + column->offset;
  const char *bytes = column->buffers[2];
  for (int64_t row = 0; row < batch->length; row++) {
    double words = 0;
    for (int32_t at = offsets[row]; at < offsets[row + 1]; at++)
      if (!is_space(bytes[at]) && (at == offsets[row] || is_space(bytes[at - 1]))) words++;
    keep[row] = words >= self->words;
  }
  return ABLATE_OK;
}

static const ablate_operator_api api = {
    .struct_size = sizeof(ablate_operator_api),
    .create = create,
    .destroy = free,
    .filter = filter,
};
