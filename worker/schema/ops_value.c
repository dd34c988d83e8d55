/* schema/ops_value.c - assertions about one value; see ops.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "json/utf8.h"
#include "schema/eval.h"
#include "schema/format.h"
#include "schema/ops.h"

/* -- any value --------------------------------------------------------------------------------------------------- */

bool vd_is_whole(const cJSON *number)
{
    struct vd_decimal d;

    if ((number->type & VD_JSON_INTEGER) != 0)
        return true;
    if ((number->type & 0xFF) == cJSON_Number)
        return floor(number->valuedouble) == number->valuedouble;
    return vd_decimal_of(number, &d) && vd_decimal_is_whole(&d);
}

static void list_types(unsigned types, char *out, size_t room)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {
        {VD_KIND(VD_JSON_NULL), "null"},     {VD_KIND(VD_JSON_BOOL), "boolean"},
        {VD_TYPE_INTEGER, "integer"},        {VD_KIND(VD_JSON_DOUBLE), "number"},
        {VD_KIND(VD_JSON_STRING), "string"}, {VD_KIND(VD_JSON_ARRAY), "array"},
        {VD_KIND(VD_JSON_OBJECT), "object"},
    };
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && n < room; i++)
        if ((types & names[i].bit) != 0)
            n += (size_t)snprintf(out + n, room - n, "%s%s", n > 0 ? " or " : "", names[i].name);
}

bool vd_op_type(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                struct vd_seen *seen)
{
    enum vd_json_kind kind = vd_json_kind(at->node);
    char wanted[80];

    (void)seen;
    if ((op->arg.types & VD_KIND(kind)) != 0)
        return true;
    if ((op->arg.types & VD_TYPE_INTEGER) != 0 && (VD_KIND(kind) & VD_KINDS_NUMBER) != 0 &&
        vd_is_whole(at->node))
        return true;
    if (vd_run_is_fast(run))
        return false;
    list_types(op->arg.types, wanted, sizeof(wanted));
    return vd_run_fail(run, op, at, "must be %s, is %s", wanted, vd_json_kind_name(kind));
}

bool vd_op_const(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                 struct vd_seen *seen)
{
    (void)seen;
    if (vd_json_equal(at->node, op->arg.value))
        return true;
    if (vd_run_is_fast(run))
        return false;
    return vd_run_fail(run, op, at, "must be %s, is %s", vd_show(op->arg.value).text,
                       vd_show(at->node).text);
}

bool vd_op_enum(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                struct vd_seen *seen)
{
    const struct vd_values *values = op->arg.values;
    uint64_t hash = values->hashes != NULL ? vd_json_hash(at->node) : 0;

    (void)seen;
    for (size_t i = 0; i < values->count; i++)
        if ((values->hashes == NULL || values->hashes[i] == hash) &&
            vd_json_equal(at->node, values->items[i]))
            return true;
    if (vd_run_is_fast(run))
        return false;
    if (values->count == 1)
        return vd_run_fail(run, op, at, "must be %s, is %s", vd_show(values->items[0]).text,
                           vd_show(at->node).text);
    return vd_run_fail(run, op, at, "must be one of the %zu values listed, is %s", values->count,
                       vd_show(at->node).text);
}

/* -- numbers ----------------------------------------------------------------------------------------------------- */

static bool limit_failed(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                         const char *what)
{
    if (vd_run_is_fast(run))
        return false;
    return vd_run_fail(run, op, at, "must be %s %s, is %s", what, vd_show(op->arg.value).text,
                       vd_show(at->node).text);
}

bool vd_op_minimum(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                   struct vd_seen *seen)
{
    (void)seen;
    return vd_json_compare_numbers(at->node, op->arg.value) >= 0 ||
           limit_failed(run, op, at, "at least");
}

bool vd_op_exclusive_minimum(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                             struct vd_seen *seen)
{
    (void)seen;
    return vd_json_compare_numbers(at->node, op->arg.value) > 0 ||
           limit_failed(run, op, at, "more than");
}

bool vd_op_maximum(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                   struct vd_seen *seen)
{
    (void)seen;
    return vd_json_compare_numbers(at->node, op->arg.value) <= 0 ||
           limit_failed(run, op, at, "at most");
}

bool vd_op_exclusive_maximum(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                             struct vd_seen *seen)
{
    (void)seen;
    return vd_json_compare_numbers(at->node, op->arg.value) < 0 ||
           limit_failed(run, op, at, "less than");
}

bool vd_op_multiple_of(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                       struct vd_seen *seen)
{
    struct vd_decimal d;

    (void)seen;
    if (vd_decimal_of(at->node, &d) && vd_decimal_is_multiple(&d, op->arg.divisor))
        return true;
    if (vd_run_is_fast(run))
        return false;
    return vd_run_fail(run, op, at, "must be a multiple of %s%.*se%" PRId64 ", is %s",
                       op->arg.divisor->negative ? "-" : "", (int)op->arg.divisor->len,
                       op->arg.divisor->digits, op->arg.divisor->exponent, vd_show(at->node).text);
}

/* -- strings ----------------------------------------------------------------------------------------------------- */

bool vd_op_min_length(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                      struct vd_seen *seen)
{
    size_t n = vd_utf8_count(vd_json_string(at->node));

    (void)seen;
    return n >= op->arg.count ||
           vd_run_fail(run, op, at, "must have at least %" PRIu64 " characters, has %zu",
                       op->arg.count, n);
}

bool vd_op_max_length(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                      struct vd_seen *seen)
{
    size_t n = vd_utf8_count(vd_json_string(at->node));

    (void)seen;
    return n <= op->arg.count ||
           vd_run_fail(run, op, at, "must have at most %" PRIu64 " characters, has %zu",
                       op->arg.count, n);
}

bool vd_op_pattern(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                   struct vd_seen *seen)
{
    const cJSON *pattern;

    (void)seen;
    if (vd_run_search(run, op->arg.regex, vd_json_string(at->node)))
        return true;
    if (vd_run_is_fast(run) || run->rc != VD_OK)
        return false;
    pattern = vd_json_get(op->node->source, op->keyword);
    return vd_run_fail(run, op, at, "must match the pattern %s, is %s",
                       pattern != NULL ? vd_show(pattern).text : "", vd_show(at->node).text);
}

bool vd_op_format(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                  struct vd_seen *seen)
{
    (void)seen;
    if (vd_format_check(op->arg.format, vd_json_string(at->node)))
        return true;
    if (vd_run_is_fast(run))
        return false;
    return vd_run_fail(run, op, at, "must be %s, is %s", vd_format_about(op->arg.format),
                       vd_show(at->node).text);
}

/* -- arrays and objects ------------------------------------------------------------------------------------------ */

static bool count_at_least(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                           const char *what)
{
    size_t n = vd_count_children(at->node);

    return n >= op->arg.count ||
           vd_run_fail(run, op, at, "must have at least %" PRIu64 " %s, has %zu", op->arg.count,
                       what, n);
}

static bool count_at_most(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                          const char *what)
{
    size_t n = vd_count_children(at->node);

    return n <= op->arg.count ||
           vd_run_fail(run, op, at, "must have at most %" PRIu64 " %s, has %zu", op->arg.count,
                       what, n);
}

bool vd_op_min_items(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                     struct vd_seen *seen)
{
    (void)seen;
    return count_at_least(run, op, at, "items");
}

bool vd_op_max_items(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                     struct vd_seen *seen)
{
    (void)seen;
    return count_at_most(run, op, at, "items");
}

bool vd_op_min_properties(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                          struct vd_seen *seen)
{
    (void)seen;
    return count_at_least(run, op, at, "members");
}

bool vd_op_max_properties(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                          struct vd_seen *seen)
{
    (void)seen;
    return count_at_most(run, op, at, "members");
}

static bool repeated(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                     size_t first, size_t second)
{
    return vd_run_fail(run, op, at, "items must be unique, but %zu and %zu are equal", first,
                       second);
}

static bool unique_few(struct vd_run *run, const struct vd_op *op, const struct vd_place *at)
{
    size_t i = 0;

    for (const cJSON *a = at->node->child; a != NULL; a = a->next, i++) {
        size_t j = 0;

        for (const cJSON *b = at->node->child; b != a; b = b->next, j++) {
            if (!vd_run_spend(run, 1))
                return false;
            if (vd_json_equal(a, b))
                return repeated(run, op, at, j, i);
        }
    }
    return true;
}

struct slot {
    const cJSON *item; /* NULL: free */
    uint64_t hash;
    size_t index;
};

/* Items of equal hash are compared; each comparison is paid for, so that made-up collisions end in the budget. */
static bool unique_many(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                        size_t count)
{
    size_t mask = 63;
    struct vd_arena_mark mark = vd_arena_mark(run->arena);
    struct slot *slots;
    size_t index = 0;
    bool ok = true;

    while (mask < count * 2)
        mask = mask * 2 + 1;
    slots = vd_arena_array(run->arena, mask + 1, sizeof(*slots));
    if (slots == NULL) {
        run->rc = vd_err_nomem(run->err, "uniqueItems");
        return false;
    }
    for (const cJSON *item = at->node->child; ok && item != NULL; item = item->next, index++) {
        uint64_t hash = vd_json_hash(item);
        size_t i = hash & mask;

        for (; ok && slots[i].item != NULL; i = (i + 1) & mask) {
            ok = vd_run_spend(run, 1);
            if (ok && slots[i].hash == hash && vd_json_equal(slots[i].item, item)) {
                size_t first = slots[i].index;

                vd_arena_rewind(run->arena, mark);
                return repeated(run, op, at, first, index);
            }
        }
        slots[i] = (struct slot){item, hash, index};
        ok = ok && vd_run_spend(run, 1);
    }
    vd_arena_rewind(run->arena, mark);
    return ok;
}

bool vd_op_unique_items(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                        struct vd_seen *seen)
{
    size_t count = vd_count_children(at->node);

    (void)seen;
    return count <= 16 ? unique_few(run, op, at) : unique_many(run, op, at, count);
}

static bool missing_dependency(struct vd_run *run, const struct vd_op *op,
                               const struct vd_place *at, const char *missing, const char *present)
{
    if (vd_run_is_fast(run))
        return false;
    return vd_run_fail(run, op, at, "must have the member %s, because it has %s",
                       vd_show_name(missing).text, vd_show_name(present).text);
}

/* "dependentRequired", "dependentSchemas" and draft-07's "dependencies". */
bool vd_op_dependent(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                     struct vd_seen *seen)
{
    const struct vd_dependencies *all = op->arg.dependencies;
    bool ok = true;

    for (size_t i = 0; i < all->count; i++) {
        const struct vd_dependency *d = &all->items[i];

        if (!vd_run_spend(run, 1))
            return false;
        if (vd_json_get(at->node, d->key) == NULL)
            continue;
        for (size_t r = 0; r < d->required_count; r++)
            if (vd_json_get(at->node, d->required[r]) == NULL)
                ok = missing_dependency(run, op, at, d->required[r], d->key);
        if (d->node != NULL && !vd_eval(run, d->node, at, seen))
            ok = false;
        if (!ok && vd_run_is_fast(run))
            return false;
    }
    return ok;
}
