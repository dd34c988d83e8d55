/* schema/format_uri.c - URI, IRI and URI templates; see format.h. RFC 3986 appendix A, RFC 3987 section 2.2, RFC 6570 section 2. */
#include <string.h>

#include "json/utf8.h"
#include "schema/format.h"
#include "schema/uri.h"

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static bool in(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* ucschar of RFC 3987; private use only in queries. */
static bool is_ucs(uint32_t c, bool query)
{
    if (query && ((c >= 0xE000 && c <= 0xF8FF) || c >= 0xF0000))
        return (c & 0xFFFF) <= 0xFFFD;
    return (c >= 0xA0 && c <= 0xD7FF) || (c >= 0xF900 && c <= 0xFDCF) ||
           (c >= 0xFDF0 && c <= 0xFFEF) ||
           (c >= 0x10000 && c <= 0xEFFFD && (c & 0xFFFF) <= 0xFFFD &&
            !(c >= 0xE0000 && c < 0xE1000));
}

/* Only unreserved characters, sub-delims, %XX and those of extra; with iri, also characters beyond ASCII. */
static bool all_of(struct vd_span s, const char *extra, bool iri, bool query)
{
    for (size_t i = 0; i < s.len;) {
        char c = s.ptr[i];
        size_t len = 1;

        if (c == '%') {
            if (s.len - i < 3 || !is_hex(s.ptr[i + 1]) || !is_hex(s.ptr[i + 2]))
                return false;
            len = 3;
        } else if ((unsigned char)c >= 0x80) {
            if (!iri || !is_ucs(vd_utf8_get(s.ptr + i, &len), query))
                return false;
        } else if (!is_alpha(c) && !is_digit(c) && !in(c, "-._~!$&'()*+,;=") && !in(c, extra)) {
            return false;
        }
        i += len;
    }
    return true;
}

/* [IPv6] or [vX.future] */
static bool is_ip_literal(struct vd_span s)
{
    size_t dot;

    if (s.len == 0 || (s.ptr[0] | 0x20) != 'v')
        return vd_is_ipv6(s);
    dot = vd_span_find(s, '.');
    for (size_t i = 1; i < dot && i < s.len; i++)
        if (!is_hex(s.ptr[i]))
            return false;
    return dot > 1 && dot + 1 < s.len && vd_span_find(s, '%') == s.len &&
           all_of(vd_span_sub(s, dot + 1, s.len), ":", false, false);
}

static bool is_port(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_digit(s.ptr[i]))
            return false;
    return true;
}

static bool is_authority(struct vd_span s, bool iri)
{
    size_t at = vd_span_find(s, '@');
    size_t end;

    if (at < s.len) {
        if (!all_of(vd_span_sub(s, 0, at), ":", iri, false))
            return false;
        s = vd_span_sub(s, at + 1, s.len);
    }
    if (s.len > 0 && s.ptr[0] == '[') {
        end = vd_span_find(s, ']');
        if (end == s.len || !is_ip_literal(vd_span_sub(s, 1, end - 1)))
            return false;
        s = vd_span_sub(s, end + 1, s.len);
        return s.len == 0 || (s.ptr[0] == ':' && is_port(vd_span_sub(s, 1, s.len)));
    }
    end = vd_span_find(s, ':');
    return all_of(vd_span_sub(s, 0, end), "", iri, false) &&
           is_port(vd_span_sub(s, end + 1, s.len));
}

static bool check(struct vd_span text, bool iri, bool absolute)
{
    struct vd_uri uri;

    vd_uri_split(text, &uri);
    if (absolute && !uri.has_scheme)
        return false;
    if (uri.has_authority && !is_authority(uri.authority, iri))
        return false;
    if (!all_of(uri.path, "/:@", iri, false) || !all_of(uri.query, "/?:@", iri, true) ||
        !all_of(uri.fragment, "/?:@", iri, false))
        return false;
    /* The first segment of a relative reference has no colon: it would be a scheme. */
    return uri.has_scheme || uri.has_authority ||
           vd_span_find(uri.path, ':') >= vd_span_find(uri.path, '/');
}

bool vd_is_uri(struct vd_span text)
{
    return check(text, false, true);
}

bool vd_is_uri_reference(struct vd_span text)
{
    return check(text, false, false);
}

bool vd_is_iri(struct vd_span text)
{
    return check(text, true, true);
}

bool vd_is_iri_reference(struct vd_span text)
{
    return check(text, true, false);
}

/* varname: letters, digits, _ and %XX, with single dots between. */
static bool is_variable(struct vd_span s)
{
    bool after_char = false;

    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if (c == '%') {
            if (s.len - i < 3 || !is_hex(s.ptr[i + 1]) || !is_hex(s.ptr[i + 2]))
                return false;
            i += 2;
        } else if (c == '.') {
            if (!after_char)
                return false;
            after_char = false;
            continue;
        } else if (!is_alpha(c) && !is_digit(c) && c != '_') {
            return false;
        }
        after_char = true;
    }
    return after_char;
}

/* varname, then * or :1 to :9999 */
static bool is_varspec(struct vd_span s)
{
    size_t colon = vd_span_find(s, ':');
    uint64_t length;

    if (s.len > 0 && s.ptr[s.len - 1] == '*')
        return is_variable(vd_span_sub(s, 0, s.len - 1));
    if (colon < s.len) {
        struct vd_span digits = vd_span_sub(s, colon + 1, s.len);

        if (digits.len > 4 || !vd_parse_u64(digits, 9999, &length) || digits.ptr[0] == '0')
            return false;
    }
    return is_variable(vd_span_sub(s, 0, colon));
}

static bool is_expression(struct vd_span s)
{
    if (s.len > 0 && in(s.ptr[0], "+#./;?&=,!@|"))
        s = vd_span_sub(s, 1, s.len);
    for (;;) {
        size_t comma = vd_span_find(s, ',');

        if (!is_varspec(vd_span_sub(s, 0, comma)))
            return false;
        if (comma == s.len)
            return true;
        s = vd_span_sub(s, comma + 1, s.len);
    }
}

bool vd_is_uri_template(struct vd_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '{') {
            struct vd_span rest = vd_span_sub(text, i + 1, text.len);
            size_t close = vd_span_find(rest, '}');

            if (close == rest.len || !is_expression(vd_span_sub(rest, 0, close)))
                return false;
            i += close + 1;
        } else if (c == '%') {
            if (text.len - i < 3 || !is_hex(text.ptr[i + 1]) || !is_hex(text.ptr[i + 2]))
                return false;
            i += 2;
        } else if ((unsigned char)c <= 0x20 || c == 0x7F || in(c, "\"'<>\\^`|}")) {
            return false;
        }
    }
    return true;
}
