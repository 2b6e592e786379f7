#ifndef DORMOUSE_MODEL_NAME_H
#define DORMOUSE_MODEL_NAME_H

#include <stdbool.h>

#include "text.h"

#define EDGE 8192
#define SHORT (4 * EDGE) /* bytes: of longer bodies only the first EDGE are looked at */

/* Whether `part` is some plain call's, and then which model it asks for: a text in `part`. False
 * says nothing about the call: model_name.lua looks into it. `whole` is false for the first EDGE
 * bytes of a body longer than SHORT. With `priority` the body must not say one. */
bool plain_model(struct text part, bool whole, bool priority, struct text *model);

#endif
