/* json/members.c - see members.h. */
#include "json/members.h"

#include <math.h>

#define EXACT_DIGITS 1e15 /* what %.15g writes without an exponent */

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

void vd_json_number_value(struct vd_buf *out, bool known, double value)
{
    if (!known || !isfinite(value))
        (void)vd_buf_add(out, VD_LIT("null"));
    else if (value == trunc(value) && fabs(value) < EXACT_DIGITS)
        (void)vd_buf_add_i64(out, (int64_t)value); /* most headrooms are whole */
    else
        (void)vd_buf_addf(out, "%.15g", value);
}

void vd_json_tree_value(struct vd_buf *out, const cJSON *tree)
{
    enum vd_code rc = tree == NULL ? vd_buf_add(out, VD_LIT("null")) : vd_json_write(out, tree);

    if (rc != VD_OK && out->failed == VD_OK)
        out->failed = rc;
}
