/* json/utf8.c - see utf8.h. */
#include "json/utf8.h"

#include <string.h>

static bool continues(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

size_t vd_utf8_len(const char *p, const char *end)
{
    const unsigned char *u = (const unsigned char *)p;
    size_t room = (size_t)(end - p);

    if (u[0] < 0x80)
        return 1;
    if (u[0] < 0xC2 || u[0] > 0xF4)
        return 0;
    if (u[0] < 0xE0)
        return room >= 2 && continues(u[1]) ? 2 : 0;
    if (u[0] < 0xF0) {
        if (room < 3 || !continues(u[1]) || !continues(u[2]))
            return 0;
        if ((u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F))
            return 0; /* overlong; surrogate */
        return 3;
    }
    if (room < 4 || !continues(u[1]) || !continues(u[2]) || !continues(u[3]))
        return 0;
    if ((u[0] == 0xF0 && u[1] < 0x90) || (u[0] == 0xF4 && u[1] > 0x8F))
        return 0; /* overlong; above U+10FFFF */
    return 4;
}

uint32_t vd_utf8_get(const char *p, size_t *ret_len)
{
    const unsigned char *u = (const unsigned char *)p;

    if (u[0] < 0x80) {
        *ret_len = 1;
        return u[0];
    }
    if (u[0] < 0xE0) {
        *ret_len = 2;
        return (uint32_t)(u[0] & 0x1F) << 6 | (u[1] & 0x3F);
    }
    if (u[0] < 0xF0) {
        *ret_len = 3;
        return (uint32_t)(u[0] & 0x0F) << 12 | (uint32_t)(u[1] & 0x3F) << 6 | (u[2] & 0x3F);
    }
    *ret_len = 4;
    return (uint32_t)(u[0] & 0x07) << 18 | (uint32_t)(u[1] & 0x3F) << 12 |
           (uint32_t)(u[2] & 0x3F) << 6 | (u[3] & 0x3F);
}

size_t vd_utf8_put(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

bool vd_utf8_valid(struct vd_span text)
{
    const uint64_t tops = UINT64_C(0x8080808080808080);
    const char *p = text.ptr, *end = text.ptr + text.len;
    size_t n;

    while (p < end) {
        uint64_t word = tops;

        if (end - p >= 8)
            memcpy(&word, p, 8);
        n = (word & tops) == 0 ? 8 : vd_utf8_len(p, end); /* eight of ASCII at once */
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

size_t vd_utf8_count(struct vd_span text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++)
        count += !continues((unsigned char)text.ptr[i]);
    return count;
}
