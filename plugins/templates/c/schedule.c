/* ---- the schedule: a linear warm-up, then the inverse square root of the step ---------------- */

typedef struct schedule {
  double warmup_steps;
} schedule;

static ablate_str schema(void) {
  return ablate_text(
      "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
      "\"warmup_steps\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000000,\"default\":100,"
      "\"description\":\"Steps until the base rate is reached.\"}}}");
}

static ablate_status create(const ablate_host *host, ablate_str config, void **instance) {
  schedule made = {100};
  const key keys[] = {{"warmup_steps", &made.warmup_steps}};
  ablate_status status = read_config(host, config, keys, 1);
  if (status != ABLATE_OK) return status;
  if (!(made.warmup_steps >= 1 && made.warmup_steps <= 1e9) ||
      made.warmup_steps != floor(made.warmup_steps))
    return fail(host, ABLATE_CONFIG, "`warmup_steps` is a whole number from 1 to 1000000000");
  schedule *self = malloc(sizeof *self);
  if (!self) return fail(host, ABLATE_INTERNAL, "out of memory");
  *self = made;
  *instance = self;
  return ABLATE_OK;
}

/* The factor on the learning rate at a step, counted from 1. */
static ablate_status factor(void *instance, const ablate_schedule_input *input, double *factor) {
  double t = (double)input->step / ((schedule *)instance)->warmup_steps;
  *factor = t < 1 ? t : 1 / sqrt(t);
  return ABLATE_OK;
}

static const ablate_schedule_api api = {
    .struct_size = sizeof(ablate_schedule_api),
    .create = create,
    .destroy = free,
    .factor = factor,
};
