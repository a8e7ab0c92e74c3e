/* `{{snake}}`, {{article_small}} {{kind}} for Ablate. Build it with
 *
 *   cc -std=c11 -O2 -shared -fPIC -o {{library}} {{snake}}.c -lm
 */
#include "ablate_plugin.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- errors and the configuration ------------------------------------------------------------ */

static ablate_status fail(const ablate_host *host, ablate_status status, const char *message) {
  host->set_error(ablate_text(message));
  return status;
}

/* A key of the configuration and the place of its number. */
typedef struct key {
  const char *name;
  double *value;
} key;

static size_t after_spaces(ablate_str text, size_t at) {
  while (at < text.len && (text.ptr[at] == ' ' || text.ptr[at] == '\n' || text.ptr[at] == '\t' ||
                           text.ptr[at] == '\r'))
    at++;
  return at;
}

static int is_at(ablate_str text, size_t at, char c) {
  return at < text.len && text.ptr[at] == (uint8_t)c;
}

/* Reads a JSON object whose values are numbers. Whatever else the host sends is refused, with the
 * key in the message; a configuration with texts or lists needs a JSON library. */
static ablate_status read_config(const ablate_host *host, ablate_str config, const key *keys,
                                 size_t count) {
  char message[128];
  size_t at = after_spaces(config, 0);
  if (!is_at(config, at, '{')) return fail(host, ABLATE_CONFIG, "a configuration is an object");
  at = after_spaces(config, at + 1);
  while (is_at(config, at, '"')) {
    size_t begin = ++at;
    while (at < config.len && config.ptr[at] != '"') at += config.ptr[at] == '\\' ? 2 : 1;
    if (at >= config.len) break;
    ablate_str name = {config.ptr + begin, at - begin};
    const key *found = NULL;
    for (size_t i = 0; i < count; i++)
      if (ablate_equal(name, keys[i].name)) found = &keys[i];
    if (!found) {
      int shown = name.len < 40 ? (int)name.len : 40;
      snprintf(message, sizeof message, "there is no key `%.*s`", shown, (const char *)name.ptr);
      return fail(host, ABLATE_CONFIG, message);
    }
    at = after_spaces(config, at + 1);
    if (!is_at(config, at, ':')) break;
    at = after_spaces(config, at + 1);
    char number[40], *end = number;
    size_t length = 0;
    while (at < config.len && length + 1 < sizeof number && config.ptr[at] != 0 &&
           strchr("+-.0123456789eE", config.ptr[at]))
      number[length++] = (char)config.ptr[at++];
    number[length] = 0;
    *found->value = strtod(number, &end);
    if (length == 0 || *end != 0 || !isfinite(*found->value)) {
      snprintf(message, sizeof message, "`%s` is a number", found->name);
      return fail(host, ABLATE_CONFIG, message);
    }
    at = after_spaces(config, at);
    if (!is_at(config, at, ',')) break;
    at = after_spaces(config, at + 1);
  }
  if (!is_at(config, at, '}') || after_spaces(config, at + 1) != config.len)
    return fail(host, ABLATE_CONFIG, "a configuration is an object of keys and numbers");
  return ABLATE_OK;
}

