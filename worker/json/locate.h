/* json/locate.h - where in a text a value stands, for messages to people.
 *
 * Thread:   any; pure. The text has passed vd_json_check().
 */
#ifndef VD_JSON_LOCATE_H
#define VD_JSON_LOCATE_H

#include "base/span.h"

struct vd_json_position {
    size_t line;   /* from 1 */
    size_t column; /* characters, from 1 */
};

/* The value that the JSON Pointer names (a member's key stands before it); the start of the innermost that exists. */
struct vd_json_position vd_json_locate(struct vd_span text, struct vd_span pointer);

#endif
