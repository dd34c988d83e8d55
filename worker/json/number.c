/* json/number.c - see number.h. */
#include "json/number.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPONENT_CAP (1LL << 40)

__extension__ typedef unsigned __int128 u128;

size_t vd_double_text(double v, char out[VD_DOUBLE_TEXT_MAX])
{
    /* Any decimal of 15 digits survives a double, except where doubles run out of bits. */
    int first = fabs(v) < DBL_MIN ? 1 : 15;
    int n = 0;

    for (int precision = first; precision <= 17; precision++) {
        n = snprintf(out, VD_DOUBLE_TEXT_MAX, "%.*g", precision, v);
        if (strtod(out, NULL) == v)
            break;
    }
    if (strpbrk(out, ".e") == NULL)
        n += snprintf(out + n, VD_DOUBLE_TEXT_MAX - (size_t)n, ".0");
    return (size_t)n;
}

/* Short decimals without an exponent, which most are: digits and power of ten are exact doubles, so that one division rounds once. */
static bool short_decimal(struct vd_span text, double *ret)
{
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    size_t point = text.len, i = text.len > 0 && text.ptr[0] == '-';
    uint64_t digits = 0;

    if (text.len > DBL_DIG || FLT_EVAL_METHOD != 0)
        return false;
    for (; i < text.len; i++) {
        if (text.ptr[i] == '.' && point == text.len)
            point = i + 1;
        else if (text.ptr[i] >= '0' && text.ptr[i] <= '9')
            digits = digits * 10 + (uint64_t)(text.ptr[i] - '0');
        else
            return false;
    }
    *ret = (double)digits / powers[text.len - point];
    if (text.ptr[0] == '-')
        *ret = -*ret;
    return true;
}

double vd_double_of_text(struct vd_span text)
{
    char copy[VD_JSON_MAX_NUMBER_LEN + 1];
    double v;

    if (text.len == 0 || text.len > VD_JSON_MAX_NUMBER_LEN)
        return NAN; /* only in trees made by hand */
    if (short_decimal(text, &v))
        return v;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return strtod(copy, NULL); /* the locale is always "C" */
}

static int64_t exponent_of_text(struct vd_span text)
{
    bool negative = text.len > 0 && text.ptr[0] == '-';
    int64_t v = 0;

    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] >= '0' && text.ptr[i] <= '9' && v < EXPONENT_CAP)
            v = v * 10 + (text.ptr[i] - '0');
    if (v > EXPONENT_CAP)
        v = EXPONENT_CAP;
    return negative ? -v : v;
}

void vd_decimal_of_text(struct vd_span text, struct vd_decimal *ret)
{
    bool fraction = false;

    ret->negative = text.len > 0 && text.ptr[0] == '-';
    ret->exponent = 0;
    ret->len = 0;
    for (size_t i = ret->negative; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == 'e' || c == 'E') {
            ret->exponent += exponent_of_text(vd_span_sub(text, i + 1, text.len));
            break;
        }
        if (c == '.') {
            fraction = true;
        } else {
            ret->exponent -= fraction;
            if ((ret->len > 0 || c != '0') && ret->len < sizeof(ret->digits))
                ret->digits[ret->len++] = c;
        }
    }
    while (ret->len > 0 && ret->digits[ret->len - 1] == '0') {
        ret->len--;
        ret->exponent++;
    }
    if (ret->len == 0)
        ret->exponent = ret->negative = 0;
}

bool vd_decimal_of(const cJSON *node, struct vd_decimal *ret)
{
    char text[VD_DOUBLE_TEXT_MAX];

    switch (node->type & 0xFF) {
    case cJSON_Raw:
        vd_decimal_of_text(vd_json_string(node), ret);
        return true;
    case cJSON_Number:
        if (!isfinite(node->valuedouble))
            return false;
        vd_decimal_of_text((struct vd_span){text, vd_double_text(node->valuedouble, text)}, ret);
        return true;
    default:
        return false;
    }
}

static int compare_magnitude(const struct vd_decimal *a, const struct vd_decimal *b)
{
    /* Both are 0.d1d2... times ten to this power. */
    int64_t pa = a->exponent + (int64_t)a->len;
    int64_t pb = b->exponent + (int64_t)b->len;
    size_t shared = a->len < b->len ? a->len : b->len;
    int order;

    if (a->len == 0 || b->len == 0)
        return (a->len > 0) - (b->len > 0);
    if (pa != pb)
        return pa < pb ? -1 : 1;
    order = memcmp(a->digits, b->digits, shared);
    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

int vd_decimal_compare(const struct vd_decimal *a, const struct vd_decimal *b)
{
    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    return a->negative ? compare_magnitude(b, a) : compare_magnitude(a, b);
}

bool vd_decimal_is_whole(const struct vd_decimal *d)
{
    return d->exponent >= 0; /* trailing zeros are in the exponent */
}

static uint64_t remainder_of_digits(const struct vd_decimal *d, uint64_t divisor)
{
    uint64_t r = 0;

    for (size_t i = 0; i < d->len; i++)
        r = (r * 10u + (uint64_t)(d->digits[i] - '0')) % divisor; /* divisor < 10^18: no overflow */
    return r;
}

static uint64_t power_of_ten_modulo(uint64_t exponent, uint64_t divisor)
{
    u128 result = 1 % divisor;
    u128 base = 10 % divisor;

    for (; exponent > 0; exponent >>= 1) {
        if ((exponent & 1) != 0)
            result = result * base % divisor;
        base = base * base % divisor;
    }
    return (uint64_t)result;
}

bool vd_decimal_is_multiple(const struct vd_decimal *a, const struct vd_decimal *b)
{
    uint64_t divisor = 0;

    if (a->len == 0)
        return true;
    /* With more places than the divisor, a's last digit, which is not zero, is left over. */
    if (a->exponent < b->exponent)
        return false;
    for (size_t i = 0; i < b->len && i < VD_DECIMAL_DIVISOR_DIGITS; i++)
        divisor = divisor * 10u + (uint64_t)(b->digits[i] - '0');
    if (divisor == 0)
        return false;
    return (u128)remainder_of_digits(a, divisor) *
               power_of_ten_modulo((uint64_t)(a->exponent - b->exponent), divisor) % divisor ==
           0;
}

/* An int or a double against another, where doubles decide. */
static int order_of(double a, double b)
{
    return (a > b) - (a < b);
}

int vd_json_compare_numbers(const cJSON *a, const cJSON *b)
{
    struct vd_decimal da;
    struct vd_decimal db;

    /* Integers held as doubles are exact, so two doubles compare as themselves. */
    if ((a->type & 0xFF) == cJSON_Number && (b->type & 0xFF) == cJSON_Number)
        return order_of(a->valuedouble, b->valuedouble);
    if (!vd_decimal_of(a, &da) || !vd_decimal_of(b, &db))
        return 0;
    return vd_decimal_compare(&da, &db);
}
