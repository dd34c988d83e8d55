/* cel/reads.c - what of a variable an expression reads, without evaluating it; see cel.h.
 *
 * Why:      whose fact a result is depends on every place it was computed from, also the ones that only chose between others.
 * Thread:   any; pure.
 * Shapes:   a place ends where its next step is computed: in x.list[n].id it is x.list, and what n reads is a place of its own.
 *           get(x.a.b, other) says what stands at x.a.b, or that nothing does: it is one place.
 */
#include <assert.h>

#include "base/limits.h"
#include "cel/ast.h"
#include "cel/cel.h"

struct reading {
    unsigned slot;
    vd_cel_read_fn *fn;
    void *arg;
    struct vd_cel_step steps[VD_CEL_MAX_HEIGHT]; /* the place that is looked at */
    size_t count;
};

static void add_step(struct reading *r, struct vd_cel_step step)
{
    assert(r->count < VD_CEL_MAX_HEIGHT); /* ast.h I1: each step was a level of its own */
    r->steps[r->count++] = step;
}

/* Is n an index that is written out? */
static bool is_step(const struct vd_cel_node *n, struct vd_cel_step *ret)
{
    const struct vd_cel_value *v = &n->u.constant;

    if (n->op != VD_CEL_OP_CONST || (v->kind != VD_CEL_STRING && v->kind != VD_CEL_INT))
        return false;
    *ret = (struct vd_cel_step){.is_item = v->kind == VD_CEL_INT};
    if (v->kind == VD_CEL_STRING)
        ret->field = v->u.s;
    return true;
}

/* Is n the variable, or steps from it that are all written out? Then r->steps lead there. */
static bool find_place(struct reading *r, const struct vd_cel_node *n)
{
    struct vd_cel_step step = {0};

    switch (n->op) {
    case VD_CEL_OP_PATH:
        if (n->u.path.is_local || n->u.path.slot != r->slot)
            return false;
        r->count = 0;
        for (uint32_t i = 0; i < n->u.path.count; i++)
            add_step(r, (struct vd_cel_step){.field = n->u.path.fields[i]});
        return true;
    case VD_CEL_OP_SELECT:
    case VD_CEL_OP_HAS:
        step.field = n->u.call.name;
        break;
    case VD_CEL_OP_INDEX:
        if (!is_step(n->args[1], &step))
            return false;
        break;
    default:
        return false;
    }
    if (!find_place(r, n->args[0]))
        return false;
    add_step(r, step);
    return true;
}

static bool visit(struct reading *r, const struct vd_cel_node *n)
{
    if (find_place(r, n))
        return r->fn(r->arg, r->steps, r->count);
    /* The condition of a get() asks step by step for what its second part reads. */
    for (uint32_t i = n->op == VD_CEL_OP_IF && n->u.is_get ? 1 : 0; i < n->arg_count; i++)
        if (!visit(r, n->args[i]))
            return false;
    return true;
}

bool vd_cel_every_read(const struct vd_cel_program *program, unsigned slot, vd_cel_read_fn *fn,
                       void *arg)
{
    struct reading reading = {.slot = slot, .fn = fn, .arg = arg};

    return visit(&reading, program->root);
}
