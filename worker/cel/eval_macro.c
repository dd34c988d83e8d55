/* cel/eval_macro.c - the macros that loop; see eval.h.
 *
 * Source:   cel-spec langdef.md, Macros; two-variable comprehensions (cel-go, ext/comprehensions.go); min_by, max_by and sort_by
 *           are ours.
 * Invariants:
 *   I1 scratch of an iteration that only answers yes or no is given back to the arena, so that loops of tests use no memory.
 */
#include <stdlib.h>
#include <string.h>

#include "cel/eval.h"

#define FIRST_ITEMS 16

/* One loop: the range, its place, and the values that were kept so far. */
struct loop {
    struct vd_cel_run *run;
    const struct vd_cel_node *node;
    const struct vd_cel_node *filter; /* NULL when there is none */
    const struct vd_cel_node *body;
    struct vd_cel_value range;
    struct vd_cel_iter it;
    struct vd_cel_value *kept;
    size_t count;
    size_t cap;
};

static bool start(struct loop *l, struct vd_cel_run *run, const struct vd_cel_node *node,
                  struct vd_cel_value *ret)
{
    *l = (struct loop){.run = run, .node = node};
    if (!vd_cel_run_node(run, node->args[0], &l->range)) {
        *ret = l->range;
        return false;
    }
    run->node = node;
    if (l->range.kind != VD_CEL_LIST && l->range.kind != VD_CEL_MAP)
        return vd_cel_fail(run, ret, "no such overload: a macro over %s",
                           vd_cel_kind_name(l->range.kind));
    l->filter = node->u.macro.has_filter ? node->args[1] : NULL;
    l->body = node->args[node->arg_count - 1];
    l->it = vd_cel_iterate(&l->range);
    return true;
}

/* Bind the next item. One variable is the item of a list, the key of a map; two are index and item, or key and value. */
static bool next(struct loop *l)
{
    struct vd_cel_value *locals = &l->run->locals[l->node->u.macro.first_local];
    struct vd_cel_value key;
    struct vd_cel_value value;

    if (!vd_cel_next(&l->it, &key, &value))
        return false;
    if (l->node->u.macro.has_index) {
        locals[0] = key;
        locals[1] = value;
    } else {
        locals[0] = l->range.kind == VD_CEL_LIST ? value : key;
    }
    return true;
}

/* A condition that must be a bool, into *ret_yes. */
static bool test(struct loop *l, const struct vd_cel_node *condition, bool *ret_yes,
                 struct vd_cel_value *ret)
{
    struct vd_arena_mark mark = vd_arena_mark(l->run->arena);
    struct vd_cel_value v;

    if (!vd_cel_run_node(l->run, condition, &v)) {
        *ret = v;
        return false;
    }
    l->run->node = l->node;
    if (v.kind != VD_CEL_BOOL)
        return vd_cel_fail(l->run, ret, "no such overload: the condition of a macro is %s",
                           vd_cel_kind_name(v.kind));
    *ret_yes = v.u.b;
    vd_arena_rewind(l->run->arena, mark); /* I1 */
    return true;
}

static bool keep(struct loop *l, const struct vd_cel_value *v, struct vd_cel_value *ret)
{
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? FIRST_ITEMS : l->cap * 2;
        struct vd_cel_value *bigger = vd_cel_alloc(l->run, ret, cap, sizeof(struct vd_cel_value));

        if (bigger == NULL)
            return false;
        if (l->count > 0)
            memcpy(bigger, l->kept, l->count * sizeof(*bigger));
        l->kept = bigger;
        l->cap = cap;
    }
    l->kept[l->count++] = *v;
    return true;
}

static bool finish_list(struct loop *l, struct vd_cel_value *ret)
{
    struct vd_cel_list *list = vd_cel_alloc(l->run, ret, 1, sizeof(*list));

    if (list == NULL)
        return false;
    list->count = l->count;
    list->items = l->kept;
    *ret = (struct vd_cel_value){.kind = VD_CEL_LIST, .u.list = list};
    return true;
}

/* -- all, exists, exists_one ------------------------------------------------------------------------------------- */

/* all is && over the items, exists is ||: what decides wins over errors, wherever it stands. */
static bool run_quantifier(struct loop *l, struct vd_cel_value *ret)
{
    bool deciding = l->node->u.macro.kind == VD_CEL_MACRO_EXISTS;
    struct vd_cel_value first_error = {.kind = VD_CEL_NULL};
    struct vd_cel_value error;
    bool yes = false;

    while (next(l)) {
        if (test(l, l->body, &yes, &error)) {
            if (yes == deciding) {
                *ret = vd_cel_bool(deciding);
                return true;
            }
            continue;
        }
        if (first_error.kind == VD_CEL_NULL || l->run->fatal != VD_OK)
            first_error = error;
        if (l->run->fatal != VD_OK)
            break;
    }
    *ret = first_error.kind == VD_CEL_ERROR ? first_error : vd_cel_bool(!deciding);
    return first_error.kind != VD_CEL_ERROR;
}

static bool run_exists_one(struct loop *l, struct vd_cel_value *ret)
{
    size_t count = 0;
    bool yes = false;

    while (next(l)) {
        if (!test(l, l->body, &yes, ret))
            return false;
        count += yes;
    }
    *ret = vd_cel_bool(count == 1);
    return true;
}

/* -- map, filter, transform... ----------------------------------------------------------------------------------- */

static bool run_filter(struct loop *l, struct vd_cel_value *ret)
{
    const struct vd_cel_value *item = &l->run->locals[l->node->u.macro.first_local];
    bool yes = false;

    while (next(l)) {
        if (!test(l, l->body, &yes, ret) || (yes && !keep(l, item, ret)))
            return false;
    }
    return finish_list(l, ret);
}

/* The value of the body for each item that the filter lets through. */
static bool run_to_list(struct loop *l, struct vd_cel_value *ret)
{
    struct vd_cel_value v;
    bool yes = true;

    while (next(l)) {
        if (l->filter != NULL && !test(l, l->filter, &yes, ret))
            return false;
        if (!yes)
            continue;
        if (!vd_cel_run_node(l->run, l->body, &v)) {
            *ret = v;
            return false;
        }
        if (!keep(l, &v, ret))
            return false;
    }
    return finish_list(l, ret);
}

/* Entries are kept as key, value, key, value; the entry array has the same layout. */
_Static_assert(sizeof(struct vd_cel_entry) == 2 * sizeof(struct vd_cel_value),
               "an entry is two values");

static bool keep_entry(struct loop *l, const struct vd_cel_value *key,
                       const struct vd_cel_value *value, struct vd_cel_value *ret)
{
    for (size_t i = 0; i < l->count; i += 2) {
        bool equal;

        if (!vd_cel_run_equal(l->run, &l->kept[i], key, &equal, ret))
            return false;
        if (equal)
            return vd_cel_fail(l->run, ret, "a map has the same key twice");
    }
    return keep(l, key, ret) && keep(l, value, ret);
}

/* The body of transformMapEntry is a map; its entries join the result. */
static bool keep_entries(struct loop *l, const struct vd_cel_value *map, struct vd_cel_value *ret)
{
    struct vd_cel_iter it;
    struct vd_cel_value key;
    struct vd_cel_value value;

    l->run->node = l->node;
    if (map->kind != VD_CEL_MAP)
        return vd_cel_fail(l->run, ret, "no such overload: transformMapEntry to %s",
                           vd_cel_kind_name(map->kind));
    it = vd_cel_iterate(map);
    while (vd_cel_next(&it, &key, &value))
        if (!keep_entry(l, &key, &value, ret))
            return false;
    return true;
}

static bool run_to_map(struct loop *l, struct vd_cel_value *ret)
{
    const struct vd_cel_value *locals = &l->run->locals[l->node->u.macro.first_local];
    struct vd_cel_map *map;
    struct vd_cel_value v;
    bool yes = true;
    bool ok;

    while (next(l)) {
        if (l->filter != NULL && !test(l, l->filter, &yes, ret))
            return false;
        if (!yes)
            continue;
        if (!vd_cel_run_node(l->run, l->body, &v)) {
            *ret = v;
            return false;
        }
        if (l->node->u.macro.kind ==
            VD_CEL_MACRO_TO_MAP) /* keys of the range are distinct already */
            ok = keep(l, &locals[0], ret) && keep(l, &v, ret);
        else
            ok = keep_entries(l, &v, ret);
        if (!ok)
            return false;
    }
    map = vd_cel_alloc(l->run, ret, 1, sizeof(*map));
    if (map == NULL)
        return false;
    map->count = l->count / 2;
    map->entries = (struct vd_cel_entry *)(void *)l->kept;
    *ret = (struct vd_cel_value){.kind = VD_CEL_MAP, .u.map = map};
    return true;
}

/* -- min_by, max_by, sort_by ------------------------------------------------------------------------------------- */

/* Key and item for each item of the range, in kept. Keys must compare with each other. */
static bool keep_keyed(struct loop *l, struct vd_cel_value *ret)
{
    const struct vd_cel_value *item = &l->run->locals[l->node->u.macro.first_local];
    struct vd_cel_value key;
    int c;

    while (next(l)) {
        if (!vd_cel_run_node(l->run, l->body, &key)) {
            *ret = key;
            return false;
        }
        l->run->node = l->node;
        if (!vd_cel_compare(&key, l->count > 0 ? &l->kept[0] : &key, &c))
            return vd_cel_fail(l->run, ret, "no such overload: order by %s and %s",
                               vd_cel_kind_name(l->count > 0 ? l->kept[0].kind : key.kind),
                               vd_cel_kind_name(key.kind));
        if (!keep(l, &key, ret) || !keep(l, item, ret))
            return false;
    }
    return true;
}

static bool run_extreme_by(struct loop *l, struct vd_cel_value *ret)
{
    int sign = l->node->u.macro.kind == VD_CEL_MACRO_MIN_BY ? -1 : 1;
    size_t best = 0;
    int c = 0;

    if (!keep_keyed(l, ret))
        return false;
    if (l->count == 0)
        return vd_cel_fail(l->run, ret, "%s of an empty list", sign < 0 ? "min_by" : "max_by");
    for (size_t i = 2; i < l->count; i += 2)
        if (vd_cel_compare(&l->kept[i], &l->kept[best], &c) && c * sign > 0)
            best = i;
    *ret = l->kept[best + 1];
    return true;
}

static int by_key(const void *a, const void *b)
{
    const struct vd_cel_value *x = a;
    const struct vd_cel_value *y = b;
    int c = 0;

    (void)vd_cel_compare(x, y, &c);
    return c;
}

/* Merge sort, for it is stable. pairs and scratch have room for count pairs of key and item. */
static void sort_pairs(struct vd_cel_entry *pairs, struct vd_cel_entry *scratch, size_t count)
{
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t from = 0; from < count; from += 2 * width) {
            size_t mid = from + width < count ? from + width : count;
            size_t to = mid + width < count ? mid + width : count;
            size_t a = from;
            size_t b = mid;

            for (size_t i = from; i < to; i++) {
                bool take_a = b == to || (a < mid && by_key(&pairs[a].key, &pairs[b].key) <= 0);

                scratch[i] = take_a ? pairs[a++] : pairs[b++];
            }
        }
        memcpy(pairs, scratch, count * sizeof(*pairs));
    }
}

static bool run_sort_by(struct loop *l, struct vd_cel_value *ret)
{
    struct vd_cel_entry *scratch;
    size_t count;

    if (!keep_keyed(l, ret))
        return false;
    count = l->count / 2;
    scratch = vd_cel_alloc(l->run, ret, count, sizeof(*scratch));
    if (scratch == NULL || !vd_cel_charge(l->run, ret, count * 16)) /* 2^16 items: 16 rounds */
        return false;
    if (count > 0)
        sort_pairs((struct vd_cel_entry *)(void *)l->kept, scratch, count);
    for (size_t i = 0; i < count; i++)
        l->kept[i] = l->kept[2 * i + 1];
    l->count = count;
    return finish_list(l, ret);
}

bool vd_cel_run_macro(struct vd_cel_run *run, const struct vd_cel_node *node,
                      struct vd_cel_value *ret)
{
    static bool (*const runs[])(struct loop *, struct vd_cel_value *) = {
        [VD_CEL_MACRO_ALL] = run_quantifier,        [VD_CEL_MACRO_EXISTS] = run_quantifier,
        [VD_CEL_MACRO_EXISTS_ONE] = run_exists_one, [VD_CEL_MACRO_TO_LIST] = run_to_list,
        [VD_CEL_MACRO_FILTER] = run_filter,         [VD_CEL_MACRO_TO_MAP] = run_to_map,
        [VD_CEL_MACRO_TO_MAP_ENTRY] = run_to_map,   [VD_CEL_MACRO_MIN_BY] = run_extreme_by,
        [VD_CEL_MACRO_MAX_BY] = run_extreme_by,     [VD_CEL_MACRO_SORT_BY] = run_sort_by,
    };
    struct loop l;

    return start(&l, run, node, ret) && runs[node->u.macro.kind](&l, ret);
}
