/* policy/path.c - see path.h. */
#include "policy/path.h"

#include <string.h>

/* "~1" is "/", "~0" is "~" (RFC 6901 section 4). */
static enum vd_code unescape(struct vd_arena *arena, struct vd_span text, struct vd_span *ret)
{
    char *out = vd_arena_alloc(arena, text.len + 1);
    size_t n = 0;

    if (out == NULL)
        return VD_E_NOMEM;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '~') {
            out[n++] = text.ptr[i];
            continue;
        }
        if (i + 1 == text.len || (text.ptr[i + 1] != '0' && text.ptr[i + 1] != '1'))
            return VD_E_CONFIG;
        out[n++] = text.ptr[++i] == '0' ? '~' : '/';
    }
    *ret = (struct vd_span){out, n};
    return VD_OK;
}

enum vd_code vd_path_parse(struct vd_arena *arena, struct vd_span text, struct vd_path *ret,
                           struct vd_err *err)
{
    struct vd_path path = {.text = vd_arena_strndup(arena, text)};
    struct vd_path_segment *segments;
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == '/' ? 1 : 0;
    if (text.len < 2 || text.ptr[0] != '/' || text.ptr[1] == '/')
        return vd_err_set(err, VD_E_CONFIG, false,
                          "a path starts with / and a name: \"/event/data/amount\"");
    segments = vd_arena_array(arena, count, sizeof(*segments));
    if (segments == NULL || path.text == NULL)
        return vd_err_nomem(err, "path");
    for (size_t i = 0; i < count; i++) {
        struct vd_span rest = vd_span_sub(text, 1, text.len);
        size_t len = vd_span_find(rest, '/');
        enum vd_code rc = unescape(arena, vd_span_sub(rest, 0, len), &segments[i].name);

        if (rc == VD_E_NOMEM)
            return vd_err_nomem(err, "path");
        if (rc != VD_OK)
            return vd_err_set(err, VD_E_CONFIG, false, "~ is written ~0 in a path, / is ~1");
        segments[i].every = len == 1 && rest.ptr[0] == '*';
        text = vd_span_sub(rest, len, rest.len);
    }
    if (segments[0].every)
        return vd_err_set(err, VD_E_CONFIG, false, "a path starts with the name of a binding");
    path.segments = segments;
    path.count = count;
    *ret = path;
    return VD_OK;
}

/* Is the escaped pointer segment text the same name? */
static bool same_name(struct vd_span escaped, struct vd_span name)
{
    size_t n = 0;

    for (size_t i = 0; i < escaped.len; i++, n++) {
        char c = escaped.ptr[i];

        if (c == '~') {
            if (++i == escaped.len)
                return false;
            c = escaped.ptr[i] == '0' ? '~' : '/';
        }
        if (n >= name.len || name.ptr[n] != c)
            return false;
    }
    return n == name.len;
}

static bool is_index(struct vd_span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
    return text.len > 0;
}

bool vd_path_covers(const struct vd_path *path, struct vd_span pointer)
{
    for (size_t i = 0; i < path->count; i++) {
        struct vd_span rest, segment;

        if (pointer.len == 0 || pointer.ptr[0] != '/')
            return false;
        rest = vd_span_sub(pointer, 1, pointer.len);
        segment = vd_span_sub(rest, 0, vd_span_find(rest, '/'));
        if (path->segments[i].every ? !is_index(segment)
                                    : !same_name(segment, path->segments[i].name))
            return false;
        pointer = vd_span_sub(rest, segment.len, rest.len);
    }
    return true;
}

bool vd_path_covers_steps(const struct vd_path *path, const char *name,
                          const struct vd_cel_step *steps, size_t count)
{
    if (!vd_span_eq_c(path->segments[0].name, name) || path->count - 1 > count)
        return false;
    for (size_t i = 1; i < path->count; i++) {
        const struct vd_path_segment *segment = &path->segments[i];
        const struct vd_cel_step *step = &steps[i - 1];

        if (segment->every ? !step->is_item
                           : step->is_item || !vd_span_eq(segment->name, step->field))
            return false;
    }
    return true;
}
