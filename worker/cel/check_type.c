/* cel/check_type.c - which operators exist for which kinds; see check.h.
 *
 * Source:   cel-spec langdef.md, List of Standard Definitions: the overloads of operators. Equality and order compare numbers of
 *           all types, as evaluation does.
 */
#include "cel/check.h"

#include <stdio.h>

#define M(kind)  VD_CEL_M(VD_CEL_##kind)
#define ORDERED  (M(STRING) | M(BYTES) | M(BOOL) | M(TIMESTAMP) | M(DURATION))
#define MAP_KEYS (VD_CEL_M_NUMBER | M(STRING) | M(BOOL))
#define KINDS    VD_CEL_ERROR /* kinds of values; ERROR is none */

static bool is_in(enum vd_cel_kind kind, uint32_t mask)
{
    return (mask >> kind & 1) != 0;
}

static uint32_t arithmetic_result(enum vd_cel_op op, enum vd_cel_kind a, enum vd_cel_kind b)
{
    static const uint32_t same[] = {
        [VD_CEL_OP_ADD - VD_CEL_OP_ADD] =
            VD_CEL_M_NUMBER | M(STRING) | M(BYTES) | M(LIST) | M(DURATION),
        [VD_CEL_OP_SUB - VD_CEL_OP_ADD] = VD_CEL_M_NUMBER | M(DURATION),
        [VD_CEL_OP_MUL - VD_CEL_OP_ADD] = VD_CEL_M_NUMBER,
        [VD_CEL_OP_DIV - VD_CEL_OP_ADD] = VD_CEL_M_NUMBER,
        [VD_CEL_OP_MOD - VD_CEL_OP_ADD] = M(INT) | M(UINT),
    };

    if (a == b && is_in(a, same[op - VD_CEL_OP_ADD]))
        return VD_CEL_M(a);
    if (op == VD_CEL_OP_SUB && a == VD_CEL_TIMESTAMP && b == VD_CEL_TIMESTAMP)
        return M(DURATION);
    if ((op == VD_CEL_OP_ADD || op == VD_CEL_OP_SUB) && a == VD_CEL_TIMESTAMP &&
        b == VD_CEL_DURATION)
        return M(TIMESTAMP);
    if (op == VD_CEL_OP_ADD && a == VD_CEL_DURATION && b == VD_CEL_TIMESTAMP)
        return M(TIMESTAMP);
    return 0;
}

static uint32_t pair_result(enum vd_cel_op op, enum vd_cel_kind a, enum vd_cel_kind b)
{
    bool numbers = is_in(a, VD_CEL_M_NUMBER) && is_in(b, VD_CEL_M_NUMBER);

    switch (op) {
    case VD_CEL_OP_EQ:
    case VD_CEL_OP_NE:
        return a == b || numbers ? M(BOOL) : 0;
    case VD_CEL_OP_LT:
    case VD_CEL_OP_LE:
    case VD_CEL_OP_GT:
    case VD_CEL_OP_GE:
        return numbers || (a == b && is_in(a, ORDERED)) ? M(BOOL) : 0;
    case VD_CEL_OP_IN:
        return b == VD_CEL_LIST || b == VD_CEL_MAP ? M(BOOL) : 0;
    case VD_CEL_OP_INDEX:
        return (a == VD_CEL_LIST && is_in(b, VD_CEL_M_NUMBER)) ||
                       (a == VD_CEL_MAP && is_in(b, MAP_KEYS))
                   ? VD_CEL_M_DYN
                   : 0;
    default:
        return arithmetic_result(op, a, b);
    }
}

uint32_t vd_cel_check_operator(enum vd_cel_op op, uint32_t a, uint32_t b, bool *ret_partial)
{
    uint32_t result = 0;

    *ret_partial = false;
    if ((op == VD_CEL_OP_EQ || op == VD_CEL_OP_NE) && (a == M(NULL) || b == M(NULL)))
        return M(BOOL); /* anything may be asked whether it is null */
    for (unsigned i = 0; i < KINDS; i++) {
        for (unsigned j = 0; j < KINDS; j++) {
            uint32_t one = 0;

            if (!is_in(i, a) || !is_in(j, b))
                continue;
            one = pair_result(op, (enum vd_cel_kind)i, (enum vd_cel_kind)j);
            result |= one;
            *ret_partial = *ret_partial || one == 0;
        }
    }
    return result;
}

void vd_cel_kinds_text(uint32_t kinds, char *text, size_t size)
{
    size_t len = 0;

    text[0] = '\0';
    if (kinds == VD_CEL_M_DYN) {
        (void)snprintf(text, size, "anything");
        return;
    }
    for (unsigned i = 0; i < KINDS && len < size; i++) {
        int n = 0;

        if (is_in(i, kinds))
            n = snprintf(text + len, size - len, "%s%s", len > 0 ? " or " : "",
                         vd_cel_kind_name((enum vd_cel_kind)i));
        len += n > 0 ? (size_t)n : 0;
    }
}
