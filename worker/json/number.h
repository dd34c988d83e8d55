/* json/number.h - JSON numbers as exact decimals.
 *
 * Why:      0.1 is not a double, 1e400 is not one either, and order ids have 20 digits. What a person wrote is decimal, and rules
 *           like "a multiple of 0.01" mean the decimal. A double stands for the shortest decimal that reads back as it.
 * Thread:   any; pure, no allocation.
 * Shapes:   value = digits * 10^exponent; digits without leading and trailing zeros; no digits at all is zero.
 */
#ifndef VD_JSON_NUMBER_H
#define VD_JSON_NUMBER_H

#include "base/limits.h"
#include "json/json.h"

struct vd_decimal {
    bool negative;
    int64_t exponent;
    size_t len;
    char digits[VD_JSON_MAX_NUMBER_LEN + 8]; /* '0' to '9', not NUL-terminated */
};

#define VD_DOUBLE_TEXT_MAX 32

/* The shortest text of a finite v that reads back equal; always shows that it is no integer ("4.0"). Returns its length. */
size_t vd_double_text(double v, char out[VD_DOUBLE_TEXT_MAX]);

/* The double nearest to a JSON number; infinite where it is beyond them, NaN where text is none. */
double vd_double_of_text(struct vd_span text);

/* JSON number text to decimal. Exponents saturate at +-2^40. */
void vd_decimal_of_text(struct vd_span text, struct vd_decimal *ret);
/* False when node is no number. */
bool vd_decimal_of(const cJSON *node, struct vd_decimal *ret);
int vd_decimal_compare(const struct vd_decimal *a, const struct vd_decimal *b);
/* No fraction: 4.0 and 1e400 are whole. */
bool vd_decimal_is_whole(const struct vd_decimal *d);

/* Is a a multiple of b? b is not zero and has at most VD_DECIMAL_DIVISOR_DIGITS digits. */
#define VD_DECIMAL_DIVISOR_DIGITS 18
bool vd_decimal_is_multiple(const struct vd_decimal *a, const struct vd_decimal *b);

#endif
