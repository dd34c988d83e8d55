/* cel/eval.h - one running evaluation, as the evaluator and the functions see it.
 *
 * Why:      functions must be able to fail, to charge for their work and to allocate, and nothing else.
 * Thread:   one run belongs to one thread.
 * Owns:     everything a run makes lives in the arena of its context.
 * Errors:   a CEL error is a value of kind ERROR; && || and macros may absorb it. A limit or missing memory sets `fatal`, which
 *           nothing absorbs: whoever loops or absorbs must look at it.
 * Invariants:
 *   I1 once fatal is set, every evaluation in the run gives an ERROR.
 */
#ifndef VD_CEL_EVAL_H
#define VD_CEL_EVAL_H

#include "base/limits.h"
#include "cel/ast.h"

struct vd_cel_run {
    const struct vd_cel_value *values; /* by slot */
    struct vd_arena *arena;
    int64_t left; /* steps */
    enum vd_code fatal;
    const struct vd_cel_node *node; /* being evaluated: the place that an error names */
    vd_cel_verified_fn *verified;
    void *verified_arg;
    struct vd_cel_value locals[VD_CEL_MAX_LOCALS]; /* macro variables, set before they are read */
};

/* Evaluate into *ret; false (and an ERROR in *ret) when that fails. */
bool vd_cel_run_node(struct vd_cel_run *run, const struct vd_cel_node *node,
                     struct vd_cel_value *ret);
/* A whole macro node. In eval_macro.c. */
bool vd_cel_run_macro(struct vd_cel_run *run, const struct vd_cel_node *node,
                      struct vd_cel_value *ret);
/* + - * / % on two values, unary minus. In arithmetic.c. */
bool vd_cel_run_arithmetic(struct vd_cel_run *run, enum vd_cel_op op, const struct vd_cel_value *a,
                           const struct vd_cel_value *b, struct vd_cel_value *ret);
bool vd_cel_run_negate(struct vd_cel_run *run, const struct vd_cel_value *v,
                       struct vd_cel_value *ret);

/* All return false, so that `return vd_cel_fail(...)` reads well. */
bool vd_cel_fail(struct vd_cel_run *run, struct vd_cel_value *ret, const char *fmt, ...)
    VD_PRINTF(3, 4);
bool vd_cel_fail_nomem(struct vd_cel_run *run, struct vd_cel_value *ret);
bool vd_cel_fail_limit(struct vd_cel_run *run, struct vd_cel_value *ret, const char *what);
/* "no such overload: string + int"; sign is what stands between, "" for a function's (a, b). */
bool vd_cel_fail_overload(struct vd_cel_run *run, struct vd_cel_value *ret, const char *sign,
                          const struct vd_cel_value *a, const struct vd_cel_value *b);

/* Pay for work; false when the budget is used up. Ask before doing the work. */
bool vd_cel_charge(struct vd_cel_run *run, struct vd_cel_value *ret, size_t steps);
/* Arena memory, paid for by its size. NULL and an ERROR in *ret when there is none. */
void *vd_cel_alloc(struct vd_cel_run *run, struct vd_cel_value *ret, size_t count, size_t size);

/* Equality that charges the run; false with an ERROR in *ret when the budget ends, else the answer in *ret_equal. */
bool vd_cel_run_equal(struct vd_cel_run *run, const struct vd_cel_value *a,
                      const struct vd_cel_value *b, bool *ret_equal, struct vd_cel_value *ret);

/* -- building text in the arena ---------------------------------------------------------------------------------- */

struct vd_cel_text {
    struct vd_cel_run *run;
    struct vd_cel_value *ret; /* gets the error */
    char *ptr;
    size_t len;
    size_t cap;
    bool failed; /* sticky: add many pieces and look once */
};

void vd_cel_text_init(struct vd_cel_text *t, struct vd_cel_run *run, struct vd_cel_value *ret);
void vd_cel_text_add(struct vd_cel_text *t, struct vd_span s);
void vd_cel_text_add_c(struct vd_cel_text *t, const char *cstr);
/* The text as a STRING in t->ret; false when something failed. */
bool vd_cel_text_finish(struct vd_cel_text *t);

#endif
