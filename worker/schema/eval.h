/* schema/eval.h - the machine that runs compiled schemas; for this folder only.
 *
 * Why:      one place bounds steps and depth, keeps the dynamic scope, and turns failures into errors.
 * Invariants:
 *   I1 run->rc != VD_OK means the result is unknown: every function returns false at once, up to vd_schema_validate().
 *   I2 without run->errors nothing but the verdict counts, and evaluation stops at the first failure.
 */
#ifndef VD_SCHEMA_EVAL_H
#define VD_SCHEMA_EVAL_H

#include "schema/model.h"

/* Where in the instance; a chain on the C stack. */
struct vd_place {
    const struct vd_place *parent; /* NULL: the whole instance */
    const cJSON *node;
    const char *key; /* NULL: an item */
    size_t index;
};

/* Which members or items of one place were evaluated: what unevaluatedProperties and unevaluatedItems ask for. */
struct vd_seen_block {
    struct vd_seen_block *next; /* while it is free */
    size_t word_count;
    uint64_t words[];
};

struct vd_seen {
    uint64_t *words;
    size_t word_count;
    uint64_t small;              /* the words of a place with up to 64 members */
    struct vd_seen_block *block; /* the words of a larger one */
};

struct vd_scope {
    const struct vd_resource *resource;
    const struct vd_scope *outer;
};

struct vd_run {
    struct vd_arena *arena;
    enum vd_code rc;
    unsigned long steps;
    unsigned depth;
    const struct vd_scope *scope;
    struct vd_regex_matcher *matcher; /* made when first needed */
    struct vd_seen_block
        *free_blocks;               /* used again, so that short-lived ones do not fill the arena */
    struct vd_schema_error *errors; /* NULL: only the verdict */
    size_t error_count;
    size_t error_max;
    struct vd_err *err;
};

bool vd_eval(struct vd_run *run, const struct vd_node *node, const struct vd_place *at,
             struct vd_seen *seen);
/* As vd_eval(), for a schema that may fail without its parent failing: on failure, seen is as before. */
bool vd_eval_maybe(struct vd_run *run, const struct vd_node *node, const struct vd_place *at,
                   struct vd_seen *seen);
/* Only the verdict: no errors are kept. */
bool vd_eval_quietly(struct vd_run *run, const struct vd_node *node, const struct vd_place *at,
                     struct vd_seen *seen);

/* Counts work; false (and run->rc set) when the budget is spent. */
bool vd_run_spend(struct vd_run *run, unsigned long steps);
static inline bool vd_run_is_fast(const struct vd_run *run)
{
    return run->errors == NULL;
}
/* Does regex match in text? False also when run->rc is set. */
bool vd_run_search(struct vd_run *run, const struct vd_regex *regex, struct vd_span text);

void vd_seen_mark(struct vd_seen *seen, size_t index);
bool vd_seen_has(const struct vd_seen *seen, size_t index);

/* Keep the error that op (or a keyword of node) failed here, if errors are wanted. Returns false. */
bool vd_run_fail(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                 const char *fmt, ...) VD_PRINTF(4, 5);
bool vd_run_fail_as(struct vd_run *run, const struct vd_node *node, const char *keyword,
                    const struct vd_place *at, const char *fmt, ...) VD_PRINTF(5, 6);
/* The instance in a few words: "3", "\"abc\"", "an array of 4"; at most 60 bytes of it are quoted. */
struct vd_shown {
    char text[96];
};
struct vd_shown vd_show(const cJSON *node);
struct vd_shown vd_show_name(const char *name); /* in quotes, cut and escaped in the same way */

#endif
