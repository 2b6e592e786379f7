/* Envoy's HTTP filter that lets plain calls through; model_name.lua takes all others.
 *
 * It only ever says yes: whatever it does not understand goes on as it came, to the Lua and the
 * check behind it. Nothing here may depend on a call being honest.
 */
#include <linux/limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "admission.h"
#include "model_name.h"

#define ON(name) envoy_dynamic_module_on_http_##name
#define TEXT_OF(literal) ((struct text){literal, sizeof literal - 1})
#define MAX_CHUNKS 64

enum state { PASSES, WAITS_FOR_BODY };

/* Of all streams. */
struct config {
  size_t longest; /* bytes of a body */
  char decisions[PATH_MAX];
};

/* Of one stream. */
struct filter {
  const struct config *config;
  enum state state;
  size_t bytes; /* of the body, by the client's word, which Envoy holds it to */
};

static bool is(struct text text, const char *word) {
  return text.length == strlen(word) && memcmp(text.at, word, text.length) == 0;
}

/* How often the request has the header; `value` is the first. */
static size_t header(stream stream, struct text key, struct text *value) {
  size_t count = 0;
  if (!CALLBACK(get_header)(stream, REQUEST_HEADERS, key, value, 0, &count)) return 0;
  return count;
}

static bool number_of(struct text text, size_t *number) {
  if (text.length == 0 || text.length > 12) return false;
  *number = 0;
  for (size_t i = 0; i < text.length; i++) {
    if (text.at[i] < '0' || text.at[i] > '9') return false;
    *number = *number * 10 + (size_t)(text.at[i] - '0');
  }
  return true;
}

/* What of a call stands in its headers; false if the call is not plain. */
static bool read_headers(stream stream, struct call *call, bool *says_priority) {
  struct text other;
  if (header(stream, TEXT_OF("authorization"), &call->credential) != 1 ||
      header(stream, TEXT_OF(":path"), &call->path) != 1 ||
      header(stream, TEXT_OF("x-dormouse-model"), &other) != 0 ||
      header(stream, TEXT_OF("content-encoding"), &other) != 0)
    return false;
  size_t priorities = header(stream, TEXT_OF("x-dormouse-priority"), &call->priority);
  *says_priority = priorities == 1;
  if (priorities == 0) call->priority = TEXT_OF("1");
  return priorities <= 1 && call->credential.length <= MAX_CREDENTIAL &&
         call->path.length <= MAX_PATH && call->priority.length <= MAX_PRIORITY &&
         strncmp(call->path.at, "/m/", call->path.length < 3 ? call->path.length : 3) != 0;
}

static bool is_plain(stream stream, struct filter *filter) {
  struct text method, length;
  struct call call;
  bool says_priority;
  return header(stream, TEXT_OF(":method"), &method) == 1 && is(method, "POST") &&
         header(stream, TEXT_OF("content-length"), &length) == 1 &&
         number_of(length, &filter->bytes) && filter->bytes > 0 &&
         filter->bytes <= filter->config->longest && read_headers(stream, &call, &says_priority);
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Copies the first `wanted` bytes of a buffer to `to`; false if they cannot be had. */
static bool copied(stream stream, enum body which, char *to, size_t wanted) {
  struct text chunks[MAX_CHUNKS];
  if (wanted == 0) return true;
  size_t count = CALLBACK(get_body_chunks_size)(stream, which), length = 0;
  if (count > MAX_CHUNKS || !CALLBACK(get_body_chunks)(stream, which, chunks)) return false;
  for (size_t i = 0; i < count && length < wanted; i++) {
    size_t part = least(chunks[i].length, wanted - length);
    memcpy(to + length, chunks[i].at, part);
    length += part;
  }
  return length == wanted;
}

static void let_through(stream stream, const struct admitted *admitted) {
  CALLBACK(set_header)(stream, REQUEST_HEADERS, TEXT_OF("authorization"), admitted->token);
  CALLBACK(set_header)
  (stream, REQUEST_HEADERS, TEXT_OF("x-envoy-original-dst-host"), admitted->address);
  CALLBACK(set_header)(stream, REQUEST_HEADERS, TEXT_OF("x-dormouse-limits"), admitted->limits);
  CALLBACK(set_dynamic_metadata_bool)(stream, TEXT_OF("dormouse"), TEXT_OF("admitted"), true);
}

static void look(const struct filter *filter, stream stream, struct text part) {
  struct call call = {.bytes = (double)filter->bytes};
  bool says_priority;
  /* Asked for anew: Envoy's texts live no longer than an event. */
  if (!read_headers(stream, &call, &says_priority)) return;
  bool whole = filter->bytes <= SHORT;
  if (!plain_model(part, whole, !says_priority, &call.model)) return;
  struct admitted admitted;
  if (admit(&call, &admitted)) let_through(stream, &admitted);
}

const char *envoy_dynamic_module_on_program_init(void) { return ENVOY_ABI_VERSION; }

/* `said` is how long a body may be, a space, and the path of the file of decisions. */
const void *ON(filter_config_new)(void *envoy, struct text name, struct text said) {
  (void)envoy, (void)name;
  const char *space = memchr(said.at, ' ', said.length);
  struct config *config = calloc(1, sizeof *config);
  if (!config || !space) return NULL;
  size_t digits = (size_t)(space - said.at), path = said.length - digits - 1;
  if (path >= sizeof config->decisions ||
      !number_of((struct text){said.at, digits}, &config->longest))
    return NULL;
  memcpy(config->decisions, space + 1, path);
  return config;
}

void ON(filter_config_destroy)(const void *config) { free((void *)config); }

const void *ON(filter_new)(const void *module, stream stream) {
  (void)stream;
  const struct config *config = module;
  struct filter *filter = calloc(1, sizeof *filter);
  if (!filter) return NULL;
  filter->config = config;
  filter->state = have_decisions(config->decisions) ? WAITS_FOR_BODY : PASSES;
  return filter;
}

void ON(filter_destroy)(const void *filter) { free((void *)filter); }

enum headers_status ON(filter_request_headers)(stream stream, const void *module, bool end) {
  struct filter *filter = (struct filter *)module;
  if (end || filter->state != WAITS_FOR_BODY || !is_plain(stream, filter)) {
    filter->state = PASSES;
    return HEADERS_CONTINUE;
  }
  return HEADERS_STOP;
}

enum body_status ON(filter_request_body)(stream stream, const void *module, bool end) {
  struct filter *filter = (struct filter *)module;
  if (filter->state != WAITS_FOR_BODY) return BODY_CONTINUE;
  /* One of a worker's calls is looked at at a time. */
  static __thread char part[SHORT];
  size_t wanted = filter->bytes <= SHORT ? filter->bytes : EDGE;
  size_t before = least(CALLBACK(get_body_size)(stream, BUFFERED_REQUEST_BODY), wanted);
  size_t now = CALLBACK(get_body_size)(stream, RECEIVED_REQUEST_BODY);
  if (before + now < wanted && !end) return BODY_STOP_AND_BUFFER;
  filter->state = PASSES;
  if (before + now >= wanted && copied(stream, BUFFERED_REQUEST_BODY, part, before) &&
      copied(stream, RECEIVED_REQUEST_BODY, part + before, wanted - before))
    look(filter, stream, (struct text){part, wanted});
  return BODY_CONTINUE;
}

/* What else Envoy looks up, and we have no part in. 0 is to go on. */
int ON(filter_request_trailers)(void) { return 0; }
int ON(filter_response_headers)(void) { return 0; }
int ON(filter_response_body)(void) { return 0; }
int ON(filter_response_trailers)(void) { return 0; }
void ON(filter_stream_complete)(void) {}
void ON(filter_http_callout_done)(void) {}
void ON(filter_http_stream_headers)(void) {}
void ON(filter_http_stream_data)(void) {}
void ON(filter_http_stream_trailers)(void) {}
void ON(filter_http_stream_complete)(void) {}
void ON(filter_http_stream_reset)(void) {}
void ON(filter_scheduled)(void) {}
void ON(filter_downstream_above_write_buffer_high_watermark)(void) {}
void ON(filter_downstream_below_write_buffer_low_watermark)(void) {}
