/* policy/path.h - JSON Pointers that start at a binding, with `*` for every array item.
 *
 * Source:   RFC 6901; design: "/event/data/...", "/sub/email", `*` matches every array item.
 * Thread:   const after parsing; pure.
 */
#ifndef VD_POLICY_PATH_H
#define VD_POLICY_PATH_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"
#include "cel/cel.h"

struct vd_path_segment {
    struct vd_span name; /* unescaped */
    bool every;          /* `*` */
};

struct vd_path {
    const char *text;
    const struct vd_path_segment *segments; /* the first is the binding's name */
    size_t count;
};

/* Parse into the arena; needs at least the binding. */
enum vd_code vd_path_parse(struct vd_arena *arena, struct vd_span text, struct vd_path *ret,
                           struct vd_err *err) VD_MUST_CHECK;
/* Does the pointer (no `*`) lie at or below path? Array indexes match `*`. False for a malformed pointer. */
bool vd_path_covers(const struct vd_path *path, struct vd_span pointer);
/* The same for a place that an expression reads of the binding `name`. An item matches `*` only. */
bool vd_path_covers_steps(const struct vd_path *path, const char *name,
                          const struct vd_cel_step *steps, size_t count);

#endif
