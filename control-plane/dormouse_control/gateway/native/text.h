/* Bytes that somebody else holds: the buffers of Envoy's ABI have this shape. */
#ifndef DORMOUSE_TEXT_H
#define DORMOUSE_TEXT_H

#include <stddef.h>

struct text {
  const char *at;
  size_t length;
};

#endif
