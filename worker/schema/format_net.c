/* schema/format_net.c - IP addresses and email; see format.h. RFC 2673 section 3.2, RFC 4291 section 2.2, RFC 5321 section 4.1.2. */
#include <string.h>

#include "json/utf8.h"
#include "schema/format.h"

bool vd_is_ipv4(struct vd_span text)
{
    for (int part = 0; part < 4; part++) {
        size_t end = vd_span_find(text, '.');
        struct vd_span digits = vd_span_sub(text, 0, end);
        uint64_t v;

        if ((end < text.len) != (part < 3) || digits.len > 3 || !vd_parse_u64(digits, 255, &v) ||
            (digits.len > 1 && digits.ptr[0] == '0'))
            return false;
        text = vd_span_sub(text, end + 1, text.len);
    }
    return true;
}

static bool is_hex_group(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++) {
        char low = (char)(s.ptr[i] | 0x20);

        if (!(s.ptr[i] >= '0' && s.ptr[i] <= '9') && !(low >= 'a' && low <= 'f'))
            return false;
    }
    return s.len >= 1 && s.len <= 4;
}

/* Counts the groups of a run without "::"; an IPv4 address counts two and may only stand last. False: malformed. */
static bool count_groups(struct vd_span s, bool may_end_in_ipv4, unsigned *ret)
{
    *ret = 0;
    if (s.len == 0)
        return true;
    for (;;) {
        size_t colon = vd_span_find(s, ':');
        struct vd_span group = vd_span_sub(s, 0, colon);

        if (colon == s.len && may_end_in_ipv4 && vd_is_ipv4(group)) {
            *ret += 2;
            return true;
        }
        if (!is_hex_group(group))
            return false;
        ++*ret;
        if (colon == s.len)
            return true;
        s = vd_span_sub(s, colon + 1, s.len);
    }
}

bool vd_is_ipv6(struct vd_span text)
{
    unsigned before;
    unsigned after;

    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.ptr[i] != ':' || text.ptr[i + 1] != ':')
            continue;
        return count_groups(vd_span_sub(text, 0, i), false, &before) &&
               count_groups(vd_span_sub(text, i + 2, text.len), true, &after) &&
               before + after <= 7;
    }
    return count_groups(text, true, &before) && before == 8;
}

static bool is_atom_char(unsigned char c, bool idn)
{
    if (c >= 0x80)
        return idn;
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* Atoms with single dots between. */
static bool is_dot_string(struct vd_span s, bool idn)
{
    for (size_t i = 0; i < s.len; i++) {
        bool edge = i == 0 || i + 1 == s.len || s.ptr[i - 1] == '.';

        if (s.ptr[i] == '.' ? edge : !is_atom_char((unsigned char)s.ptr[i], idn))
            return false;
    }
    return s.len > 0;
}

static bool is_quoted_string(struct vd_span s, bool idn)
{
    if (s.len < 2 || s.ptr[0] != '"' || s.ptr[s.len - 1] != '"')
        return false;
    for (size_t i = 1; i + 1 < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c == '\\' && i + 2 < s.len)
            c = (unsigned char)s.ptr[++i];
        else if (c == '"' || c == '\\')
            return false;
        if (c < 0x20 || c == 0x7F || (c >= 0x80 && !idn))
            return false;
    }
    return true;
}

static bool is_address_literal(struct vd_span s)
{
    struct vd_span inner;

    if (s.len < 2 || s.ptr[0] != '[' || s.ptr[s.len - 1] != ']')
        return false;
    inner = vd_span_sub(s, 1, s.len - 2);
    if (vd_span_starts_nocase(inner, VD_LIT("IPv6:")))
        return vd_is_ipv6(vd_span_sub(inner, 5, inner.len));
    return vd_is_ipv4(inner);
}

static bool is_mailbox(struct vd_span text, bool idn)
{
    size_t at = text.len;
    struct vd_span local;
    struct vd_span domain;

    while (at > 0 && text.ptr[at - 1] != '@')
        at--;
    if (at == 0)
        return false;
    local = vd_span_sub(text, 0, at - 1);
    domain = vd_span_sub(text, at, text.len);
    if (local.len > 64 && !idn)
        return false;
    return (is_dot_string(local, idn) || is_quoted_string(local, idn)) &&
           (is_address_literal(domain) ||
            (idn ? vd_is_idn_hostname(domain) : vd_is_hostname(domain)));
}

bool vd_is_email(struct vd_span text)
{
    return is_mailbox(text, false);
}

bool vd_is_idn_email(struct vd_span text)
{
    return is_mailbox(text, true);
}
