/* model/extract.h - the JSON object in what a model wrote, for endpoints that cannot promise JSON.
 *
 * Why:      models put answers into code fences and sentences. Only one object may be found: with two, the choice could be made
 *           by whoever wrote the text that the model quotes.
 * Thread:   any; pure. Bounded by VD_MODEL_EXTRACT_MAX_TRIES scans of the text.
 */
#ifndef VD_MODEL_EXTRACT_H
#define VD_MODEL_EXTRACT_H

#include <stdbool.h>

#include "base/span.h"

/* The only JSON object that stands in text, nested ones not counted; false when there is none or more than one. */
bool vd_model_extract(struct vd_span text, struct vd_span *ret_object);

#endif
