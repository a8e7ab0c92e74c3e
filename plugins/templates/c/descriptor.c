
/* ---- the descriptor -------------------------------------------------------------------------- */

static const ablate_str extensions[] = {ABLATE_STR({{API}})};

static const ablate_capability capability = {
    .struct_size = sizeof(ablate_capability),
    .name = ABLATE_STR("{{snake}}"),
    .description = ABLATE_STR("{{sentence}}"),
    .config_schema = schema,
    .extensions = extensions,
    .extension_count = 1,
};

static const void *get_extension(ablate_str name, ablate_str id) {
  return ablate_equal(name, "{{snake}}") && ablate_equal(id, {{API}}) ? &api : NULL;
}

static const ablate_capability *const capabilities[] = {&capability};

static const ablate_plugin plugin = {
    .struct_size = sizeof(ablate_plugin),
    .abi_major = ABLATE_ABI_MAJOR,
    .abi_minor = ABLATE_ABI_MINOR,
    .magic = ABLATE_PLUGIN_MAGIC,
    .name = ABLATE_STR("{{name}}"),
    .version = ABLATE_STR("0.1.0"),
    .license = ABLATE_STR("MIT OR Apache-2.0"),
    .description = ABLATE_STR("The {{kind}} {{snake}}."),
    .capabilities = capabilities,
    .capability_count = 1,
    .get_extension = get_extension,
};

const ablate_plugin *ablate_plugin_entry(uint32_t abi_major, uint32_t abi_minor) {
  (void)abi_major, (void)abi_minor; /* the host compares, and says what is wrong */
  return &plugin;
}
