/* json/utf8.h - UTF-8, one character at a time.
 *
 * Source:   RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
 * Thread:   any; pure.
 */
#ifndef VD_JSON_UTF8_H
#define VD_JSON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/* Bytes of the character at p (1 to 4), 0 when there is none or it is malformed. p < end. */
size_t vd_utf8_len(const char *p, const char *end);
/* The character at p of well-formed text; its length goes to *ret_len. */
uint32_t vd_utf8_get(const char *p, size_t *ret_len);
/* Write c (a Unicode scalar value) to out, which has room for 4 bytes; returns the bytes written. */
size_t vd_utf8_put(char *out, uint32_t c);
/* Is all of it well-formed? */
bool vd_utf8_valid(struct vd_span text);
/* Characters in well-formed text. */
size_t vd_utf8_count(struct vd_span text);

#endif
