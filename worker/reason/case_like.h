/* reason/case_like.h - a case that is another one but for a few values.
 *
 * Why:      most cases of a policy share their event and context; written out each time, nobody sees what differs.
 * Shapes:   {"name", "like": NAME, "set": {POINTER: value}, "unset": [POINTER], ...}
 *             like   an earlier case of the file: each of its members that this case does not have itself is taken over, but
 *                    not what it expects
 *             set    then, values at places of this case: RFC 6901 pointers such as /event/data/note. The place itself may be
 *                    new, what holds it must be there
 *             unset  members that go away; each must be there
 * Thread:   any; pure.
 */
#ifndef VD_REASON_CASE_LIKE_H
#define VD_REASON_CASE_LIKE_H

#include "base/err.h"
#include "json/json.h"

/* Writes `one`, an item of cases, out in full, in place: no like, set or unset is left. Those before it must have been written out.
 * VD_E_CONFIG when it cannot be, with the reason. */
enum vd_code vd_case_write_out(const cJSON *cases, cJSON *one, struct vd_err *err) VD_MUST_CHECK;

#endif
