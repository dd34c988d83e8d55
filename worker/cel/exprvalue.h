/* cel/exprvalue.h - values in the form that CEL's public suite writes them: {"int64Value":"1"}.
 *
 * Source:   cel-spec proto/cel/expr/value.proto in protobuf's JSON mapping; timestamps and durations are objectValue with @type.
 * Thread:   any; pure.
 */
#ifndef VD_CEL_EXPRVALUE_H
#define VD_CEL_EXPRVALUE_H

#include "base/buf.h"
#include "cel/value.h"

/* Lists, maps and bytes are built in the arena; strings are borrowed from the tree. */
enum vd_code vd_cel_exprvalue_read(const cJSON *node, struct vd_arena *arena,
                                   struct vd_cel_value *ret, struct vd_err *err) VD_MUST_CHECK;
/* Failure is in out->failed, or VD_E_LIMIT for a value that is too deep. */
enum vd_code vd_cel_exprvalue_write(struct vd_buf *out, const struct vd_cel_value *v,
                                    struct vd_err *err) VD_MUST_CHECK;

#endif
