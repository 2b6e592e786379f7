/* What we use of the ABI of Envoy's dynamic modules, as Envoy 1.40 has it:
 * https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/advanced/dynamic_modules
 *
 * The ABI may change with every minor version; `compiling.py` loads the module into none but this.
 */
#ifndef DORMOUSE_ABI_H
#define DORMOUSE_ABI_H

#include <stdbool.h>
#include <stddef.h>

#include "text.h"

#define ENVOY_ABI_VERSION "v0.2.0"

typedef void *stream; /* Envoy's side of a filter */

enum header_map { REQUEST_HEADERS = 0 };
enum body { RECEIVED_REQUEST_BODY = 0, BUFFERED_REQUEST_BODY = 1 };
enum headers_status { HEADERS_CONTINUE = 0, HEADERS_STOP = 1 };
enum body_status { BODY_CONTINUE = 0, BODY_STOP_AND_BUFFER = 1 };

#define CALLBACK(name) envoy_dynamic_module_callback_http_##name

bool CALLBACK(get_header)(stream, enum header_map, struct text key, struct text *value,
                          size_t index, size_t *count);
bool CALLBACK(set_header)(stream, enum header_map, struct text key, struct text value);
size_t CALLBACK(get_body_size)(stream, enum body);
size_t CALLBACK(get_body_chunks_size)(stream, enum body);
bool CALLBACK(get_body_chunks)(stream, enum body, struct text *chunks);
void CALLBACK(set_dynamic_metadata_bool)(stream, struct text space, struct text key, bool value);

#endif
