/* cel/text.c - positions in UTF-8 and the text of doubles; see value.h. */
#include "cel/value.h"

#include <math.h>
#include <stdio.h>

#include "json/number.h"
#include "json/utf8.h"

bool vd_cel_utf8_valid(struct vd_span s)
{
    for (size_t pos = 0; pos < s.len;) {
        size_t n = vd_utf8_len(s.ptr + pos, s.ptr + s.len);

        if (n == 0)
            return false;
        pos += n;
    }
    return true;
}

size_t vd_cel_utf8_offset(struct vd_span s, size_t i)
{
    size_t pos = 0;

    while (pos < s.len && i-- > 0)
        do
            pos++;
        while (pos < s.len && ((unsigned char)s.ptr[pos] & 0xC0) == 0x80);
    return pos;
}

/* ECMA-262 Number::toString: plain digits while they are readable, an exponent beyond. */
size_t vd_cel_double_text(double d, char ret[VD_CEL_DOUBLE_TEXT])
{
    char text[VD_DOUBLE_TEXT_MAX];
    const char *sign = signbit(d) && !isnan(d) ? "-" : "";
    struct vd_decimal dec;
    int point; /* value = 0.DIGITS * 10^point */
    int n;
    int len;

    if (isnan(d) || isinf(d))
        return (size_t)snprintf(ret, VD_CEL_DOUBLE_TEXT, "%s%s", sign,
                                isnan(d) ? "NaN" : "Infinity");
    if (d == 0)
        return (size_t)snprintf(ret, VD_CEL_DOUBLE_TEXT, "%s0", sign);
    vd_decimal_of_text((struct vd_span){text, vd_double_text(fabs(d), text)}, &dec);
    n = (int)dec.len;
    point = n + (int)dec.exponent;
    if (point > 21 || point < -5)
        len = snprintf(ret, VD_CEL_DOUBLE_TEXT, "%s%c%s%.*se%+03d", sign, dec.digits[0],
                       n > 1 ? "." : "", n - 1, dec.digits + 1, point - 1);
    else if (point <= 0)
        len =
            snprintf(ret, VD_CEL_DOUBLE_TEXT, "%s0.%.*s%.*s", sign, -point, "00000", n, dec.digits);
    else if (point >= n)
        len = snprintf(ret, VD_CEL_DOUBLE_TEXT, "%s%.*s%.*s", sign, n, dec.digits, point - n,
                       "000000000000000000000");
    else
        len = snprintf(ret, VD_CEL_DOUBLE_TEXT, "%s%.*s.%.*s", sign, point, dec.digits, n - point,
                       dec.digits + point);
    return (size_t)len;
}
