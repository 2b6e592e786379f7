#ifndef DORMOUSE_SHA256_H
#define DORMOUSE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

void sha256(const uint8_t *message, size_t length, uint8_t digest[SHA256_BYTES]);

#endif
