/* cel/check.h - the second phase: names become slots, functions, types; what cannot be right is refused.
 *
 * Source:   cel-spec langdef.md, Name Resolution and Gradual Type Checking, with types as sets of kinds instead of a full inference:
 *           what is unknown is accepted, and fails when it is evaluated.
 * Thread:   any; pure. Reads time zone files for constant zones.
 * Errors:   strict: VD_E_CONFIG "column N: reason; did you mean ...?". Lenient: only VD_E_NOMEM; bad parts become FAIL nodes.
 */
#ifndef VD_CEL_CHECK_H
#define VD_CEL_CHECK_H

#include "cel/ast.h"

struct vd_cel_name {
    char *name;
    const cJSON *schema;
};

struct vd_cel_env {
    struct vd_cel_name *names; /* by slot */
    size_t count;
    size_t cap;
    char *container; /* NULL: the root */
    bool lenient;
};

/* Rewrites program->root in place and fills program->uses and program->regexes. */
enum vd_code vd_cel_check(const struct vd_cel_env *env, struct vd_cel_program *program,
                          struct vd_err *err) VD_MUST_CHECK;

/* In check_type.c: what an operator gives on these sets of kinds; 0 when there is no overload for any pair. *ret_partial: some
 * pairs have none. */
uint32_t vd_cel_check_operator(enum vd_cel_op op, uint32_t a, uint32_t b, bool *ret_partial);
/* "string", "int or double", "anything", into text. */
void vd_cel_kinds_text(uint32_t kinds, char *text, size_t size);

/* In suggest.c: remembers the name nearest to `wanted` among those it is shown. */
struct vd_cel_nearest {
    struct vd_span wanted;
    const char *best;
    size_t distance;
};
void vd_cel_nearest_visit(void *arg, const char *name); /* arg is a struct vd_cel_nearest */
/* "; did you mean \"x\"?", or "" when nothing is near. */
void vd_cel_nearest_text(const struct vd_cel_nearest *n, char *text, size_t size);

#endif
