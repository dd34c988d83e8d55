/* schema/uri.c - see uri.h. */
#include "schema/uri.h"

/* Cuts s at the first c: returns what is before it, leaves what is behind it in *s and sets *found. */
static struct vd_span cut(struct vd_span *s, char c, bool *found)
{
    size_t at = vd_span_find(*s, c);
    struct vd_span before = vd_span_sub(*s, 0, at);

    *found = at < s->len;
    *s = vd_span_sub(*s, at + 1, s->len);
    return before;
}

static bool is_scheme(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++) {
        char low = (char)(s.ptr[i] | 0x20);
        bool letter = low >= 'a' && low <= 'z';
        bool other = (s.ptr[i] >= '0' && s.ptr[i] <= '9') || s.ptr[i] == '+' || s.ptr[i] == '-' ||
                     s.ptr[i] == '.';

        if (!letter && (i == 0 || !other))
            return false;
    }
    return s.len > 0;
}

void vd_uri_split(struct vd_span text, struct vd_uri *ret)
{
    struct vd_span rest = text;
    size_t colon;

    *ret = (struct vd_uri){.has_scheme = false};
    text = cut(&rest, '#', &ret->has_fragment);
    ret->fragment = rest;
    rest = text;
    text = cut(&rest, '?', &ret->has_query);
    ret->query = rest;
    colon = vd_span_find(text, ':');
    if (colon < text.len && is_scheme(vd_span_sub(text, 0, colon))) {
        ret->has_scheme = true;
        ret->scheme = vd_span_sub(text, 0, colon);
        text = vd_span_sub(text, colon + 1, text.len);
    }
    if (vd_span_starts(text, VD_LIT("//"))) {
        ret->has_authority = true;
        text = vd_span_sub(text, 2, text.len);
        ret->authority = vd_span_sub(text, 0, vd_span_find(text, '/'));
        text = vd_span_sub(text, ret->authority.len, text.len);
    }
    ret->path = text;
}

/* Drops the last segment of what was added since from, with the slash before it (section 5.2.4, 2C). */
static void drop_segment(struct vd_buf *out, size_t from)
{
    while (out->len > from && out->ptr[--out->len] != '/')
        ;
}

/* RFC 3986 section 5.2.4. */
static void add_path(struct vd_buf *out, struct vd_span path)
{
    size_t from = out->len;

    while (path.len > 0) {
        size_t slash;

        if (vd_span_starts(path, VD_LIT("../")) || vd_span_starts(path, VD_LIT("./"))) {
            path = vd_span_sub(path, path.ptr[1] == '.' ? 3 : 2, path.len);
        } else if (vd_span_starts(path, VD_LIT("/./"))) {
            path = vd_span_sub(path, 2, path.len);
        } else if (vd_span_eq_c(path, "/.")) {
            path = VD_LIT("/");
        } else if (vd_span_starts(path, VD_LIT("/../"))) {
            path = vd_span_sub(path, 3, path.len);
            drop_segment(out, from);
        } else if (vd_span_eq_c(path, "/..")) {
            path = VD_LIT("/");
            drop_segment(out, from);
        } else if (vd_span_eq_c(path, ".") || vd_span_eq_c(path, "..")) {
            return;
        } else {
            slash = 1 + vd_span_find(vd_span_sub(path, 1, path.len), '/');
            (void)vd_buf_add(out, vd_span_sub(path, 0, slash));
            path = vd_span_sub(path, slash, path.len);
        }
    }
}

/* Section 5.2.3: the reference's path in the place of the base's last segment. */
static void add_merged(struct vd_buf *out, const struct vd_uri *base, struct vd_span path)
{
    struct vd_buf merged;
    size_t keep = base->path.len;

    vd_buf_init(&merged, base->path.len + path.len + 1);
    while (keep > 0 && base->path.ptr[keep - 1] != '/')
        keep--;
    if (base->has_authority && base->path.len == 0)
        (void)vd_buf_add_char(&merged, '/');
    (void)vd_buf_add(&merged, vd_span_sub(base->path, 0, keep));
    (void)vd_buf_add(&merged, path);
    if (merged.failed != VD_OK)
        out->failed = merged.failed;
    else
        add_path(out, vd_buf_span(&merged));
    vd_buf_free(&merged);
}

static void add_prefix(struct vd_buf *out, const struct vd_uri *scheme_of,
                       const struct vd_uri *authority_of)
{
    if (scheme_of->has_scheme) {
        (void)vd_buf_add(out, scheme_of->scheme);
        (void)vd_buf_add_char(out, ':');
    }
    if (authority_of->has_authority) {
        (void)vd_buf_add_c(out, "//");
        (void)vd_buf_add(out, authority_of->authority);
    }
}

enum vd_code vd_uri_resolve(struct vd_buf *out, struct vd_span base_text, struct vd_span reference)
{
    struct vd_uri base;
    struct vd_uri ref;
    const struct vd_uri *query_of = &ref;

    vd_uri_split(base_text, &base);
    vd_uri_split(reference, &ref);
    if (ref.has_scheme || ref.has_authority) {
        add_prefix(out, ref.has_scheme ? &ref : &base, &ref);
        add_path(out, ref.path);
    } else {
        add_prefix(out, &base, &base);
        if (ref.path.len == 0) {
            (void)vd_buf_add(out, base.path);
            query_of = ref.has_query ? &ref : &base;
        } else if (ref.path.ptr[0] == '/') {
            add_path(out, ref.path);
        } else {
            add_merged(out, &base, ref.path);
        }
    }
    if (query_of->has_query) {
        (void)vd_buf_add_char(out, '?');
        (void)vd_buf_add(out, query_of->query);
    }
    return out->failed;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool vd_uri_decode(struct vd_buf *out, struct vd_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '%') {
            int high = i + 2 < text.len ? hex(text.ptr[i + 1]) : -1;
            int low = high >= 0 ? hex(text.ptr[i + 2]) : -1;

            if (low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        (void)vd_buf_add_char(out, c);
    }
    return true;
}
