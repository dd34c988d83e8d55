/* cel/arithmetic.c - + - * / % and unary minus; see eval.h.
 *
 * Source:   cel-spec langdef.md, Overflow: int and uint results out of range, and times out of range, are errors. Doubles follow
 *           IEEE 754. There is no arithmetic across types.
 */
#include "cel/eval.h"

#include <string.h>

#include "cel/timestamp.h"

static const char *sign_of(enum vd_cel_op op)
{
    static const char *const signs[] = {"+", "-", "*", "/", "%"};

    return signs[op - VD_CEL_OP_ADD];
}

static bool on_ints(struct vd_cel_run *run, enum vd_cel_op op, int64_t a, int64_t b,
                    struct vd_cel_value *ret)
{
    int64_t r = 0;
    bool overflow = false;

    if ((op == VD_CEL_OP_DIV || op == VD_CEL_OP_MOD) && b == 0)
        return vd_cel_fail(run, ret, op == VD_CEL_OP_DIV ? "division by zero" : "modulus by zero");
    switch (op) {
    case VD_CEL_OP_ADD:
        overflow = __builtin_add_overflow(a, b, &r);
        break;
    case VD_CEL_OP_SUB:
        overflow = __builtin_sub_overflow(a, b, &r);
        break;
    case VD_CEL_OP_MUL:
        overflow = __builtin_mul_overflow(a, b, &r);
        break;
    case VD_CEL_OP_DIV:
        overflow = a == INT64_MIN && b == -1;
        r = overflow ? 0 : a / b;
        break;
    default:
        overflow = a == INT64_MIN && b == -1;
        r = overflow ? 0 : a % b;
        break;
    }
    if (overflow)
        return vd_cel_fail(run, ret, "int overflow");
    *ret = vd_cel_int(r);
    return true;
}

static bool on_uints(struct vd_cel_run *run, enum vd_cel_op op, uint64_t a, uint64_t b,
                     struct vd_cel_value *ret)
{
    uint64_t r = 0;
    bool overflow = false;

    if ((op == VD_CEL_OP_DIV || op == VD_CEL_OP_MOD) && b == 0)
        return vd_cel_fail(run, ret, op == VD_CEL_OP_DIV ? "division by zero" : "modulus by zero");
    switch (op) {
    case VD_CEL_OP_ADD:
        overflow = __builtin_add_overflow(a, b, &r);
        break;
    case VD_CEL_OP_SUB:
        overflow = __builtin_sub_overflow(a, b, &r);
        break;
    case VD_CEL_OP_MUL:
        overflow = __builtin_mul_overflow(a, b, &r);
        break;
    case VD_CEL_OP_DIV:
        r = a / b;
        break;
    default:
        r = a % b;
        break;
    }
    if (overflow)
        return vd_cel_fail(run, ret, "uint overflow");
    *ret = vd_cel_uint(r);
    return true;
}

/* IEEE 754 gives infinities and NaN where the others give errors; the sanitizer must not mind. */
#if defined(__clang__)
__attribute__((no_sanitize("float-divide-by-zero")))
#endif
static double
divide(double a, double b)
{
    return a / b;
}

static bool on_doubles(struct vd_cel_run *run, enum vd_cel_op op, const struct vd_cel_value *a,
                       const struct vd_cel_value *b, struct vd_cel_value *ret)
{
    switch (op) {
    case VD_CEL_OP_ADD:
        *ret = vd_cel_double(a->u.d + b->u.d);
        return true;
    case VD_CEL_OP_SUB:
        *ret = vd_cel_double(a->u.d - b->u.d);
        return true;
    case VD_CEL_OP_MUL:
        *ret = vd_cel_double(a->u.d * b->u.d);
        return true;
    case VD_CEL_OP_DIV:
        *ret = vd_cel_double(divide(a->u.d, b->u.d));
        return true;
    default:
        return vd_cel_fail_overload(run, ret, sign_of(op), a, b);
    }
}

static bool concat_text(struct vd_cel_run *run, const struct vd_cel_value *a,
                        const struct vd_cel_value *b, struct vd_cel_value *ret)
{
    char *joined = vd_cel_alloc(run, ret, a->u.s.len + b->u.s.len, 1);

    if (joined == NULL)
        return false;
    if (a->u.s.len > 0)
        memcpy(joined, a->u.s.ptr, a->u.s.len);
    if (b->u.s.len > 0)
        memcpy(joined + a->u.s.len, b->u.s.ptr, b->u.s.len);
    *ret = (struct vd_cel_value){.kind = a->kind, .u.s = {joined, a->u.s.len + b->u.s.len}};
    return true;
}

static bool concat_lists(struct vd_cel_run *run, const struct vd_cel_value *a,
                         const struct vd_cel_value *b, struct vd_cel_value *ret)
{
    struct vd_cel_list *list = vd_cel_alloc(run, ret, 1, sizeof(*list));
    const struct vd_cel_value *both[] = {a, b};
    struct vd_cel_value key;

    if (list == NULL)
        return false;
    list->items =
        vd_cel_alloc(run, ret, vd_cel_size(a) + vd_cel_size(b), sizeof(struct vd_cel_value));
    if (list->items == NULL)
        return false;
    for (int i = 0; i < 2; i++) {
        struct vd_cel_iter it = vd_cel_iterate(both[i]);

        while (vd_cel_next(&it, &key, &list->items[list->count]))
            list->count++;
    }
    *ret = (struct vd_cel_value){.kind = VD_CEL_LIST, .u.list = list};
    return true;
}

bool vd_cel_run_arithmetic(struct vd_cel_run *run, enum vd_cel_op op, const struct vd_cel_value *a,
                           const struct vd_cel_value *b, struct vd_cel_value *ret)
{
    if (a->kind == b->kind) {
        switch (a->kind) {
        case VD_CEL_INT:
            return on_ints(run, op, a->u.i, b->u.i, ret);
        case VD_CEL_UINT:
            return on_uints(run, op, a->u.u, b->u.u, ret);
        case VD_CEL_DOUBLE:
            return on_doubles(run, op, a, b, ret);
        case VD_CEL_STRING:
        case VD_CEL_BYTES:
            if (op == VD_CEL_OP_ADD)
                return concat_text(run, a, b, ret);
            break;
        case VD_CEL_LIST:
            if (op == VD_CEL_OP_ADD)
                return concat_lists(run, a, b, ret);
            break;
        default:
            break;
        }
    }
    if (op == VD_CEL_OP_ADD || op == VD_CEL_OP_SUB) {
        switch (vd_cel_time_add(a, b, op == VD_CEL_OP_SUB, ret)) {
        case VD_CEL_TIME_OK:
            return true;
        case VD_CEL_TIME_RANGE:
            return vd_cel_fail(run, ret, "%s out of range",
                               a->kind == b->kind ? "duration" : "timestamp");
        case VD_CEL_TIME_KINDS:
            break;
        }
    }
    return vd_cel_fail_overload(run, ret, sign_of(op), a, b);
}

bool vd_cel_run_negate(struct vd_cel_run *run, const struct vd_cel_value *v,
                       struct vd_cel_value *ret)
{
    if (v->kind == VD_CEL_DOUBLE) {
        *ret = vd_cel_double(-v->u.d);
        return true;
    }
    if (v->kind != VD_CEL_INT)
        return vd_cel_fail(run, ret, "no such overload: -%s", vd_cel_kind_name(v->kind));
    if (v->u.i == INT64_MIN)
        return vd_cel_fail(run, ret, "int overflow");
    *ret = vd_cel_int(-v->u.i);
    return true;
}
