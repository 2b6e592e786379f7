/* The model of plain bodies, as model_name.lua finds it; whatever is not plain is left to it. */
#define _GNU_SOURCE /* memmem */
#include "model_name.h"

#include <stdint.h>
#include <string.h>

#define MAX_NAME 128
#define NONE SIZE_MAX

static const char MODEL[] = "\"model\"";
static const char PRIORITY[] = "\"priority\"";

/* Of ASCII: locales have no say. */
static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}
static bool is_name(char c) { return is_alphanumeric(c) || (c && strchr("._:/-", c)); }

static size_t find(struct text text, size_t from, const char *word, size_t length) {
  const char *found = memmem(text.at + from, text.length - from, word, length);
  return found ? (size_t)(found - text.at) : NONE;
}

static size_t after_spaces(struct text text, size_t at) {
  while (at < text.length && is_space(text.at[at])) at++;
  return at;
}

/* Where the value begins, if `at` stands behind a key. */
static size_t value_at(struct text text, size_t at) {
  at = after_spaces(text, at);
  return at < text.length && text.at[at] == ':' ? after_spaces(text, at + 1) : NONE;
}

static bool name_at(struct text text, size_t at, struct text *name) {
  if (at >= text.length || text.at[at] != '"') return false;
  size_t first = ++at;
  while (at < text.length && at - first <= MAX_NAME && is_name(text.at[at])) at++;
  size_t length = at - first;
  if (at >= text.length || text.at[at] != '"' || length == 0 || length > MAX_NAME) return false;
  if (!is_alphanumeric(text.at[first])) return false;
  *name = (struct text){text.at + first, length};
  return true;
}

/* One key in the whole body: if it is nested, the predictor finds no model and refuses. */
static bool only_model(struct text body, struct text *model) {
  size_t key = find(body, 0, MODEL, sizeof MODEL - 1);
  size_t value = key == NONE ? NONE : value_at(body, key + sizeof MODEL - 1);
  return value != NONE && name_at(body, value, model) &&
         find(body, value, MODEL, sizeof MODEL - 1) == NONE;
}

/* The closing quote of the string that begins at `at`; NONE for one with escapes or without end. */
static size_t string_end(struct text text, size_t at) {
  while (++at < text.length && text.at[at] != '\\')
    if (text.at[at] == '"') return at;
  return NONE;
}

/* The end of any string: what it says does not matter. */
static size_t skipped(struct text text, size_t at) {
  while (++at < text.length) {
    if (text.at[at] == '"') return at;
    if (text.at[at] == '\\') at++;
  }
  return NONE;
}

/* The first key "model" of the top level; nested values are skipped by counting brackets. */
static bool first_model(struct text head, struct text *model) {
  int depth = 0;
  bool expect_key = false;
  for (size_t at = 0; at < head.length; at++) {
    char c = head.at[at];
    if (c == '"') {
      bool is_key = depth == 1 && expect_key;
      size_t end = is_key ? string_end(head, at) : skipped(head, at);
      if (end == NONE) return false;
      if (is_key && end - at == sizeof MODEL - 2 && memcmp(head.at + at, MODEL, end - at) == 0)
        return name_at(head, value_at(head, end + 1), model);
      expect_key = expect_key && !is_key;
      at = end;
    } else if (c == '{' || c == '[') {
      if (++depth == 1) {
        if (c == '[') return false;
        expect_key = true;
      }
    } else if (c == '}' || c == ']') {
      if (--depth <= 0) return false;
    } else if (c == ',' && depth == 1) {
      expect_key = true;
    }
  }
  return false;
}

bool plain_model(struct text part, bool whole, bool priority, struct text *model) {
  if (priority && find(part, 0, PRIORITY, sizeof PRIORITY - 1) != NONE) return false;
  return whole ? only_model(part, model) : first_model(part, model);
}
