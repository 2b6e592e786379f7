#ifndef DORMOUSE_ADMISSION_H
#define DORMOUSE_ADMISSION_H

#include <stdbool.h>

#include "text.h"

#define MAX_CREDENTIAL 2048
#define MAX_PATH 256
#define MAX_PRIORITY 16
#define MAX_MODEL 128

struct call {
  struct text credential, path, priority, model;
  double bytes; /* how long the body is */
};

/* A copy of what the authorizer decided, and the value of x-dormouse-limits. */
struct admitted {
  struct text token, address, limits;
  char held[TEXT_BYTES], written[TEXT_BYTES + 64];
};

/* Maps the file of decisions, unless that is done; false as long as there is none. */
bool have_decisions(const char *path);

/* Takes one of the calling worker's permits for the call; false: nobody decided, or none is left. */
bool admit(const struct call *call, struct admitted *admitted);

#endif
