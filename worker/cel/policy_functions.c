/* cel/policy_functions.c - what policies need beside CEL's own functions; see function.h and cel.h.
 *
 * Source:   design: policies; ISO 4217 for the places of currencies.
 */
#include <math.h>

#include "cel/function.h"

#define M(kind) VD_CEL_M(VD_CEL_##kind)

/* -- sums and extremes ------------------------------------------------------------------------------------------- */

static bool add_to(struct vd_cel_run *run, struct vd_cel_value *total, const struct vd_cel_value *v,
                   struct vd_cel_value *ret)
{
    struct vd_cel_value a = *total;
    struct vd_cel_value b = *v;

    if (a.kind == VD_CEL_DOUBLE && b.kind == VD_CEL_INT)
        b = vd_cel_double((double)b.u.i);
    else if (a.kind == VD_CEL_INT && b.kind == VD_CEL_DOUBLE)
        a = vd_cel_double((double)a.u.i);
    return vd_cel_run_arithmetic(run, VD_CEL_OP_ADD, &a, &b, ret);
}

/* Of nothing: 0. Amounts in JSON are now 10, now 10.5, so ints and doubles may meet here, and only here. */
static bool call_sum(struct vd_cel_run *run, const struct vd_cel_node *node,
                     const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_cel_iter it = vd_cel_iterate(a);
    struct vd_cel_value total = vd_cel_int(0);
    struct vd_cel_value key;
    struct vd_cel_value item;

    (void)node;
    while (vd_cel_next(&it, &key, &item)) {
        if ((VD_CEL_M(item.kind) & (VD_CEL_M_NUMBER | M(DURATION))) == 0)
            return vd_cel_fail(run, ret, "no such overload: sum of a list with %s",
                               vd_cel_kind_name(item.kind));
        if (!vd_cel_charge(run, ret, 1))
            return false;
        if (key.u.i == 0)
            total = item;
        else if (!add_to(run, &total, &item, ret))
            return false;
        else
            total = *ret;
    }
    *ret = total;
    return true;
}

/* The first of the least (sign -1) or greatest (sign 1) of a list's items, or of several arguments. */
static bool extreme(struct vd_cel_run *run, const struct vd_cel_node *node,
                    const struct vd_cel_value *a, int sign, struct vd_cel_value *ret)
{
    struct vd_cel_list args = {node->arg_count, (struct vd_cel_value *)a};
    struct vd_cel_value all = {.kind = VD_CEL_LIST, .u.list = &args};
    struct vd_cel_iter it;
    struct vd_cel_value best = {.kind = VD_CEL_ERROR};
    struct vd_cel_value key;
    struct vd_cel_value item;
    int c = 0;

    if (node->arg_count == 1)
        all = *a;
    it = vd_cel_iterate(&all);
    while (vd_cel_next(&it, &key, &item)) {
        if (!vd_cel_charge(run, ret, 1))
            return false;
        if (!vd_cel_compare(&item, best.kind == VD_CEL_ERROR ? &item : &best, &c))
            return vd_cel_fail(run, ret, "no such overload: %s of %s and %s",
                               sign < 0 ? "min" : "max",
                               vd_cel_kind_name(best.kind == VD_CEL_ERROR ? item.kind : best.kind),
                               vd_cel_kind_name(item.kind));
        if (best.kind == VD_CEL_ERROR || c * sign > 0)
            best = item;
    }
    if (best.kind == VD_CEL_ERROR)
        return vd_cel_fail(run, ret, "%s of an empty list", sign < 0 ? "min" : "max");
    *ret = best;
    return true;
}

static bool call_min(struct vd_cel_run *run, const struct vd_cel_node *node,
                     const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    return extreme(run, node, a, -1, ret);
}

static bool call_max(struct vd_cel_run *run, const struct vd_cel_node *node,
                     const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    return extreme(run, node, a, 1, ret);
}

static bool call_abs(struct vd_cel_run *run, const struct vd_cel_node *node,
                     const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    (void)node;
    if (a->kind == VD_CEL_DOUBLE) {
        *ret = vd_cel_double(fabs(a->u.d));
        return true;
    }
    if (a->kind == VD_CEL_UINT || a->u.i >= 0) {
        *ret = *a;
        return true;
    }
    return vd_cel_run_negate(run, a, ret);
}

static bool call_index_of(struct vd_cel_run *run, const struct vd_cel_node *node,
                          const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_cel_iter it = vd_cel_iterate(a);
    struct vd_cel_value key;
    struct vd_cel_value item;
    bool equal = false;

    (void)node;
    while (!equal && vd_cel_next(&it, &key, &item))
        if (!vd_cel_run_equal(run, &item, &a[1], &equal, ret))
            return false;
    *ret = equal ? key : vd_cel_int(-1);
    return true;
}

/* -- money ------------------------------------------------------------------------------------------------------- */

/* ISO 4217 codes by their places, four characters each. */
static const char two_places[] = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND "
                                 "BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE "
                                 "CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB "
                                 "EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD "
                                 "HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK "
                                 "LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP "
                                 "MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN "
                                 "PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR "
                                 "SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT "
                                 "TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED "
                                 "VES WST XCD XCG YER ZAR ZMW ZWG ZWL ";
static const char no_places[] =
    "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF ";
static const char three_places[] = "BHD IQD JOD KWD LYD OMR TND ";
static const char four_places[] = "CLF UYW ";

static bool is_listed(const char *codes, struct vd_span code)
{
    for (; *codes != '\0'; codes += 4)
        if (vd_span_eq_nocase((struct vd_span){codes, 3}, code)) /* payment APIs write "usd" */
            return true;
    return false;
}

/* -1: no such currency. */
static int places_of(struct vd_span code)
{
    return is_listed(two_places, code)     ? 2
           : is_listed(no_places, code)    ? 0
           : is_listed(three_places, code) ? 3
           : is_listed(four_places, code)  ? 4
                                           : -1;
}

static bool take_digit(int64_t *v, char digit)
{
    return digit >= '0' && digit <= '9' && !__builtin_mul_overflow(*v, 10, v) &&
           !__builtin_sub_overflow(*v, digit - '0', v);
}

/* -?DIGITS[.DIGITS] times 10^places; digits beyond the places must be 0. */
static bool parse_amount(struct vd_span s, int places, int64_t *ret)
{
    bool is_negative = s.len > 0 && s.ptr[0] == '-';
    struct vd_span whole;
    struct vd_span fraction;
    int64_t v = 0; /* summed below zero, where there is one more */

    if (is_negative)
        s = vd_span_sub(s, 1, s.len);
    whole = vd_span_sub(s, 0, vd_span_find(s, '.'));
    fraction = vd_span_sub(s, whole.len + 1, s.len);
    if (whole.len == 0 || whole.len + 1 == s.len)
        return false;
    for (size_t i = 0; i < whole.len; i++)
        if (!take_digit(&v, whole.ptr[i]))
            return false;
    for (int i = 0; i < places; i++)
        if (!take_digit(&v, (size_t)i < fraction.len ? fraction.ptr[i] : '0'))
            return false;
    for (size_t i = (size_t)places; i < fraction.len; i++)
        if (fraction.ptr[i] != '0')
            return false;
    if (!is_negative && v == INT64_MIN)
        return false;
    *ret = is_negative ? v : -v;
    return true;
}

static bool call_minor_units(struct vd_cel_run *run, const struct vd_cel_node *node,
                             const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    int places = places_of(a[1].u.s);
    int64_t v;

    (void)node;
    if (places < 0)
        return vd_cel_fail(run, ret, "minor_units: unknown currency \"%.*s\"",
                           a[1].u.s.len > 8 ? 8 : (int)a[1].u.s.len, a[1].u.s.ptr);
    if (!parse_amount(a[0].u.s, places, &v))
        return vd_cel_fail(run, ret, "minor_units: the string is no amount with at most %d places",
                           places);
    *ret = vd_cel_int(v);
    return true;
}

/* -- evidence ---------------------------------------------------------------------------------------------------- */

static bool call_verified(struct vd_cel_run *run, const struct vd_cel_node *node,
                          const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    (void)node;
    if (run->verified == NULL)
        return vd_cel_fail(run, ret, "verified() has no evidence to look at here");
    *ret = vd_cel_bool(run->verified(run->verified_arg, a));
    return true;
}

#define COMPARABLE (VD_CEL_M_NUMBER | M(STRING) | M(BYTES) | M(BOOL) | M(TIMESTAMP) | M(DURATION))

const struct vd_cel_function vd_cel_functions_policy[] = {
    {"sum", VD_CEL_EITHER, 1, 1, {M(LIST)}, VD_CEL_M_NUMBER | M(DURATION), call_sum, 1, 0},
    {"min", VD_CEL_EITHER, 1, 1, {M(LIST)}, COMPARABLE, call_min, 1, 0},
    {"max", VD_CEL_EITHER, 1, 1, {M(LIST)}, COMPARABLE, call_max, 1, 0},
    {"min",
     VD_CEL_GLOBAL,
     2,
     32,
     {COMPARABLE, COMPARABLE, COMPARABLE, COMPARABLE},
     COMPARABLE,
     call_min,
     1,
     0},
    {"max",
     VD_CEL_GLOBAL,
     2,
     32,
     {COMPARABLE, COMPARABLE, COMPARABLE, COMPARABLE},
     COMPARABLE,
     call_max,
     1,
     0},
    {"abs", VD_CEL_EITHER, 1, 1, {VD_CEL_M_NUMBER}, VD_CEL_M_NUMBER, call_abs, 1, 0},
    {"index_of", VD_CEL_EITHER, 2, 2, {M(LIST), VD_CEL_M_DYN}, M(INT), call_index_of, 1, 0},
    {"minor_units", VD_CEL_GLOBAL, 2, 2, {M(STRING), M(STRING)}, M(INT), call_minor_units, 5, 0},
    {"verified", VD_CEL_GLOBAL, 1, 1, {VD_CEL_M_DYN}, M(BOOL), call_verified, 10, VD_CEL_F_IMPURE},
    {.name = NULL},
};
