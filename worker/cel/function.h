/* cel/function.h - functions are rows of tables; adding one is adding a row.
 *
 * Thread:   any; tables are const.
 * Invariants:
 *   I1 (name, style, argument count) names at most one row; what differs by type is told apart inside the function.
 *   I2 arguments reach `call` with a kind that the row allows.
 */
#ifndef VD_CEL_FUNCTION_H
#define VD_CEL_FUNCTION_H

#include "cel/eval.h"

#define VD_CEL_FUNCTION_ARGS 4

enum vd_cel_style {
    VD_CEL_GLOBAL = 1, /* f(a, b) */
    VD_CEL_METHOD = 2, /* a.f(b) */
    VD_CEL_EITHER = 3,
};

#define VD_CEL_F_IMPURE 1 /* its answer is not in its arguments: never folded */
#define VD_CEL_F_REGEX  2 /* argument 1 is a pattern; a constant one is compiled with the program */
#define VD_CEL_F_ZONE   4 /* argument 1 is a time zone; a constant one is read with the program */

typedef bool vd_cel_function_fn(struct vd_cel_run *run, const struct vd_cel_node *node,
                                const struct vd_cel_value *args, struct vd_cel_value *ret);

struct vd_cel_function {
    const char *name; /* NULL ends a table */
    enum vd_cel_style style;
    uint8_t arg_min; /* the receiver counts */
    uint8_t arg_max; /* more than VD_CEL_FUNCTION_ARGS: the last mask is for the rest too */
    uint32_t args[VD_CEL_FUNCTION_ARGS]; /* kinds allowed: VD_CEL_M bits */
    uint32_t result;
    vd_cel_function_fn *call;
    uint8_t cost;  /* steps beside those for the size of string arguments */
    uint8_t flags; /* VD_CEL_F_... */
};

extern const struct vd_cel_function vd_cel_functions_convert[];
extern const struct vd_cel_function vd_cel_functions_string[];
extern const struct vd_cel_function vd_cel_functions_time[];
extern const struct vd_cel_function vd_cel_functions_policy[];

const struct vd_cel_function *vd_cel_function_find(struct vd_span name, bool is_method,
                                                   size_t arg_count);
/* Is there a function of that name in any style? */
bool vd_cel_function_exists(struct vd_span name);
/* Call visit for each name, for "did you mean". */
void vd_cel_function_names(bool is_method, void (*visit)(void *arg, const char *name), void *arg);

/* The kinds that argument i may have. */
uint32_t vd_cel_function_mask(const struct vd_cel_function *f, size_t i);

/* For rows whose implementation is in another file. */
vd_cel_function_fn vd_cel_format_call;

#endif
