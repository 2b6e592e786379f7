/* Plays Envoy to the compiled filter, so that it can run under the compiler's sanitizers.
 *
 * fake_envoy CONFIG reads calls from stdin, each as numbers of four bytes: the length of the
 * priority (with none: 0), content-length, how many frames, and the length of each; then the bytes
 * of priority and frames. It answers each with a line: the credential that the call goes on with.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "abi.h"
#include "model_name.h"

#define CREDENTIAL "Bearer somebody"
#define MOST 20000

const void *envoy_dynamic_module_on_http_filter_config_new(void *, struct text, struct text);
void envoy_dynamic_module_on_http_filter_config_destroy(const void *);
const void *envoy_dynamic_module_on_http_filter_new(const void *, stream);
void envoy_dynamic_module_on_http_filter_destroy(const void *);
enum headers_status envoy_dynamic_module_on_http_filter_request_headers(stream, const void *, bool);
enum body_status envoy_dynamic_module_on_http_filter_request_body(stream, const void *, bool);

struct request {
  struct text priority, length, credential;
  struct text buffered[MOST], received;
  size_t count;
};

static bool is(struct text key, const char *name) {
  return key.length == strlen(name) && memcmp(key.at, name, key.length) == 0;
}

/* A copy that ends where its memory does. */
static struct text held(const char *at, size_t length) {
  char *copy = malloc(length ? length : 1);
  memcpy(copy, at, length);
  return (struct text){copy, length};
}

static struct text read_text(size_t length) {
  char *bytes = malloc(length ? length : 1);
  if (fread(bytes, 1, length, stdin) != length) exit(1);
  return (struct text){bytes, length};
}

static void drop(struct text text) { free((void *)text.at); }

bool CALLBACK(get_header)(stream stream, enum header_map map, struct text key, struct text *value,
                          size_t index, size_t *count) {
  struct request *request = stream;
  *value = (struct text){0};
  if (map != REQUEST_HEADERS || index != 0) exit(2);
  if (is(key, ":method")) *value = (struct text){"POST", 4};
  if (is(key, ":path")) *value = (struct text){"/v1/chat/completions", 20};
  if (is(key, "authorization")) *value = request->credential;
  if (is(key, "content-length")) *value = request->length;
  if (is(key, "x-dormouse-priority")) *value = request->priority;
  *count = value->length ? 1 : 0;
  return *count;
}

bool CALLBACK(set_header)(stream stream, enum header_map map, struct text key, struct text value) {
  struct request *request = stream;
  if (map == REQUEST_HEADERS && is(key, "authorization")) {
    drop(request->credential);
    request->credential = held(value.at, value.length);
  }
  return true;
}

size_t CALLBACK(get_body_size)(stream stream, enum body which) {
  struct request *request = stream;
  size_t sum = 0;
  if (which == RECEIVED_REQUEST_BODY) return request->received.length;
  for (size_t i = 0; i < request->count; i++) sum += request->buffered[i].length;
  return sum;
}

size_t CALLBACK(get_body_chunks_size)(stream stream, enum body which) {
  return which == RECEIVED_REQUEST_BODY ? 1 : ((struct request *)stream)->count;
}

bool CALLBACK(get_body_chunks)(stream stream, enum body which, struct text *chunks) {
  struct request *request = stream;
  if (which == RECEIVED_REQUEST_BODY) *chunks = request->received;
  else memcpy(chunks, request->buffered, request->count * sizeof *chunks);
  return true;
}

void CALLBACK(set_dynamic_metadata_bool)(stream stream, struct text space, struct text key,
                                         bool value) {
  if (!stream || !is(space, "dormouse") || !is(key, "admitted") || !value) exit(3);
}

/* The same of a body that ends where its memory does: the filter's own buffer is longer. */
static void look(const struct request *request, size_t length) {
  size_t wanted = length <= SHORT ? length : EDGE, have = 0;
  char *part = malloc(wanted ? wanted : 1);
  struct text model;
  for (size_t i = 0; i < request->count && have < wanted; i++) {
    struct text piece = request->buffered[i];
    size_t more = piece.length < wanted - have ? piece.length : wanted - have;
    memcpy(part + have, piece.at, more);
    have += more;
  }
  plain_model((struct text){part, have}, length <= SHORT, true, &model);
  free(part);
}

static void play(const void *config, const uint32_t head[3]) {
  static struct request request;
  uint32_t *lengths = calloc(head[2] + 1, sizeof *lengths);
  if (head[2] > MOST || fread(lengths, sizeof *lengths, head[2], stdin) != head[2]) exit(1);
  char digits[16];
  int count = snprintf(digits, sizeof digits, "%u", head[1]);
  request = (struct request){.priority = read_text(head[0]), .length = held(digits, count)};
  request.credential = held(CREDENTIAL, sizeof CREDENTIAL - 1);
  const void *filter = envoy_dynamic_module_on_http_filter_new(config, &request);
  bool waits = envoy_dynamic_module_on_http_filter_request_headers(&request, filter, head[1] == 0);
  for (uint32_t i = 0; i < head[2]; i++) {
    bool end = i + 1 == head[2];
    request.received = read_text(lengths[i]);
    if (waits)
      waits = envoy_dynamic_module_on_http_filter_request_body(&request, filter, end);
    if (waits && end) exit(4); /* it would wait for ever */
    request.buffered[request.count++] = request.received;
  }
  look(&request, head[1]);
  printf("%.*s\n", (int)request.credential.length, request.credential.at);
  envoy_dynamic_module_on_http_filter_destroy(filter);
  for (size_t i = 0; i < request.count; i++) drop(request.buffered[i]);
  drop(request.priority), drop(request.length), drop(request.credential);
  free(lengths);
}

int main(int count, char **arguments) {
  if (count != 2 || prctl(PR_SET_NAME, "wrk:worker_0") != 0) return 1;
  struct text said = {arguments[1], strlen(arguments[1])};
  const void *config = envoy_dynamic_module_on_http_filter_config_new(NULL, said, said);
  if (!config) return 5;
  uint32_t head[3];
  while (fread(head, sizeof head, 1, stdin) == 1) play(config, head);
  envoy_dynamic_module_on_http_filter_config_destroy(config);
}
