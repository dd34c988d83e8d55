/* cel/get_macro.c - get(a.b.c, other): a.b.c, or other where a step of it is absent or null.
 *
 * Why:      what public APIs send is null or left out at any depth; has(a.b) && a.b != null && has(a.b.c) && ... hides the rule.
 * Thread:   any; pure.
 * Shapes:   becomes has(a.b) && a.b != null && has(a.b.c) && a.b.c != null ? a.b.c : other, so that a schema checks each step. Only a
 *           path of names: what stands under has() more than once must cost nothing.
 */
#include "cel/parser.h"

#include "base/limits.h"

/* Nodes of one expansion; once memory is out, all are NULL. */
struct maker {
    struct vd_arena *arena;
    const struct vd_cel_node *at;
};

static struct vd_cel_node *make(const struct maker *m, enum vd_cel_op op, uint32_t count,
                                struct vd_cel_node *a, struct vd_cel_node *b, struct vd_cel_node *c)
{
    struct vd_cel_node *n = vd_cel_node_new(m->arena, op, m->at->line, m->at->column);
    struct vd_cel_node *args[] = {a, b, c};

    if (n == NULL || (count > 0 && (n->args = vd_arena_array(
                                        m->arena, count, sizeof(struct vd_cel_node *))) == NULL))
        return NULL;
    n->arg_count = count;
    for (uint32_t i = 0; i < count; i++) {
        if (args[i] == NULL)
            return NULL;
        n->args[i] = args[i];
        if (args[i]->height >= n->height)
            n->height = (uint16_t)(args[i]->height + 1);
    }
    return n;
}

/* A copy of a path of names, with op for its last step: the checker rewrites nodes in place, so none may stand twice. */
static struct vd_cel_node *copy(const struct maker *m, const struct vd_cel_node *path,
                                enum vd_cel_op op)
{
    struct vd_cel_node *n =
        path->op == VD_CEL_OP_IDENT
            ? make(m, VD_CEL_OP_IDENT, 0, NULL, NULL, NULL)
            : make(m, op, 1, copy(m, path->args[0], VD_CEL_OP_SELECT), NULL, NULL);

    if (n != NULL) {
        n->line = path->line;
        n->column = path->column;
        n->u.call = path->u.call;
    }
    return n;
}

static struct vd_cel_node *is_there(const struct maker *m, const struct vd_cel_node *path)
{
    struct vd_cel_node *null = make(m, VD_CEL_OP_CONST, 0, NULL, NULL, NULL);

    if (null != NULL)
        null->u.constant = (struct vd_cel_value){.kind = VD_CEL_NULL};
    return make(m, VD_CEL_OP_AND, 2, copy(m, path, VD_CEL_OP_HAS),
                make(m, VD_CEL_OP_NE, 2, copy(m, path, VD_CEL_OP_SELECT), null, NULL), NULL);
}

bool vd_cel_is_get_path(const struct vd_cel_node *path)
{
    unsigned steps = 0;

    for (; path->op == VD_CEL_OP_SELECT; path = path->args[0])
        steps++;
    return path->op == VD_CEL_OP_IDENT && steps > 0 && steps <= VD_CEL_MAX_GET_STEPS;
}

struct vd_cel_node *vd_cel_make_get(struct vd_arena *arena, struct vd_cel_node *path,
                                    struct vd_cel_node *other)
{
    struct maker m = {arena, path};
    struct vd_cel_node *test = is_there(&m, path);

    for (const struct vd_cel_node *p = path->args[0]; p->op == VD_CEL_OP_SELECT && test != NULL;
         p = p->args[0])
        test = make(&m, VD_CEL_OP_AND, 2, is_there(&m, p), test, NULL);
    test = make(&m, VD_CEL_OP_IF, 3, test, path, other);
    if (test != NULL)
        test->u.is_get = true;
    return test;
}
