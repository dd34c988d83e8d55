/* json/members.c - see members.h. */
#include "json/members.h"

#include <math.h>

#define FRACTION_DIGITS 4
#define FRACTION_SCALE  10000
#define EXACT_DIGITS    1e15 /* what %.15g writes without an exponent */

static bool follows(const struct vd_buf *out)
{
    char last = out->len == 0 ? '{' : out->ptr[out->len - 1];

    return last != '{' && last != '[';
}

void vd_json_next(struct vd_buf *out)
{
    if (follows(out))
        (void)vd_buf_add_char(out, ',');
}

void vd_json_key_n(struct vd_buf *out, const char *key, size_t len)
{
    char *at;

    if (vd_buf_reserve(out, len + 4) != VD_OK)
        return;
    at = out->ptr + out->len;
    if (follows(out))
        *at++ = ',';
    *at++ = '"';
    memcpy(at, key, len);
    at += len;
    *at++ = '"';
    *at++ = ':';
    *at = '\0';
    out->len = (size_t)(at - out->ptr);
}

/* Short fractions, such as a confidence, without printf: the same text where dividing gives the same double back. */
static void fraction(struct vd_buf *out, double value)
{
    double scaled = fabs(value) * FRACTION_SCALE;
    int64_t digits = (int64_t)(scaled + 0.5);
    char text[FRACTION_DIGITS + 2] = ".";
    size_t n = FRACTION_DIGITS;

    if (scaled > 1e12 || (double)digits / FRACTION_SCALE != fabs(value)) {
        (void)vd_buf_addf(out, "%.15g", value);
        return;
    }
    if (value < 0)
        (void)vd_buf_add_char(out, '-');
    (void)vd_buf_add_i64(out, digits / FRACTION_SCALE);
    for (int64_t rest = digits % FRACTION_SCALE, i = FRACTION_DIGITS; i > 0; i--, rest /= 10)
        text[i] = (char)('0' + rest % 10);
    while (text[n] == '0')
        n--;
    (void)vd_buf_add(out, (struct vd_span){text, n + 1});
}

void vd_json_number_value(struct vd_buf *out, bool known, double value)
{
    if (!known || !isfinite(value))
        (void)vd_buf_add(out, VD_LIT("null"));
    else if (value == trunc(value) && fabs(value) < EXACT_DIGITS)
        (void)vd_buf_add_i64(out, (int64_t)value); /* most headrooms are whole */
    else
        fraction(out, value);
}

void vd_json_tree_value(struct vd_buf *out, const cJSON *tree)
{
    enum vd_code rc = tree == NULL ? vd_buf_add(out, VD_LIT("null")) : vd_json_write(out, tree);

    if (rc != VD_OK && out->failed == VD_OK)
        out->failed = rc;
}
