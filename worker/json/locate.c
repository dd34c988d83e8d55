/* json/locate.c - see locate.h. Walks the text once; it is known to be well-formed, so what it skips is not checked again. */
#include "json/locate.h"

#include "base/buf.h"
#include "json/json.h"
#include "json/utf8.h"

struct walk {
    const char *p;
    const char *end;
};

static void skip_blanks(struct walk *w)
{
    while (w->p < w->end && (*w->p == ' ' || *w->p == '\t' || *w->p == '\n' || *w->p == '\r'))
        w->p++;
}

static void skip_string(struct walk *w)
{
    for (w->p++; w->p < w->end && *w->p != '"'; w->p++)
        if (*w->p == '\\')
            w->p++;
    w->p++;
}

/* To behind the value at w->p. */
static void skip_value(struct walk *w)
{
    size_t depth = 0;

    do {
        skip_blanks(w);
        if (w->p >= w->end)
            return;
        if (*w->p == '"') {
            skip_string(w);
            continue;
        }
        if (*w->p == '{' || *w->p == '[')
            depth++;
        if (*w->p == '}' || *w->p == ']')
            depth--;
        w->p++;
        if (depth == 0 && w->p[-1] != '}' && w->p[-1] != ']')
            while (w->p < w->end && *w->p != ',' && *w->p != '}' && *w->p != ']' && *w->p > ' ')
                w->p++;
    } while (depth > 0);
}

/* Is the key literal (with quotes) the one that the pointer's token names? Done with the tree's own words, which know
 * escapes: {key: null} has a member at /token or it has not. */
static bool key_is(struct vd_span literal, struct vd_span token)
{
    struct vd_buf text;
    struct vd_buf pointer;
    cJSON *tree = NULL;
    bool same = false;

    vd_buf_init(&text, literal.len + 16);
    vd_buf_init(&pointer, token.len + 2);
    (void)vd_buf_add_char(&text, '{');
    (void)vd_buf_add(&text, literal);
    (void)vd_buf_add_c(&text, ":null}");
    (void)vd_buf_add_char(&pointer, '/');
    (void)vd_buf_add(&pointer, token);
    if (text.failed == VD_OK && pointer.failed == VD_OK &&
        vd_json_parse(vd_buf_span(&text), &tree, NULL) == VD_OK)
        same = vd_json_pointer(tree, vd_buf_span(&pointer)) != NULL;
    (void)vd_json_free(tree);
    vd_buf_free(&text);
    vd_buf_free(&pointer);
    return same;
}

/* Into the container at w->p, to the child that token names. False: there is none. */
static bool enter(struct walk *w, struct vd_span token)
{
    bool object = w->p < w->end && *w->p == '{';
    uint64_t index = 0;

    if (w->p >= w->end || (*w->p != '{' && *w->p != '['))
        return false;
    if (!object && !vd_parse_u64(token, SIZE_MAX, &index))
        return false;
    for (w->p++;; w->p++) {
        skip_blanks(w);
        if (w->p >= w->end || *w->p == '}' || *w->p == ']')
            return false;
        if (object) {
            const char *key = w->p;
            bool found;

            skip_string(w);
            found = key_is((struct vd_span){key, (size_t)(w->p - key)}, token);
            skip_blanks(w);
            w->p++; /* the colon */
            skip_blanks(w);
            if (found)
                return true;
        } else if (index-- == 0) {
            return true;
        }
        skip_value(w);
        skip_blanks(w);
        if (w->p >= w->end || *w->p != ',')
            return false;
    }
}

static struct vd_json_position position_of(struct vd_span text, const char *at)
{
    struct vd_json_position pos = {.line = 1};
    const char *line = text.ptr;

    for (const char *p = text.ptr; p < at; p++) {
        if (*p == '\n') {
            pos.line++;
            line = p + 1;
        }
    }
    pos.column = vd_utf8_count((struct vd_span){line, (size_t)(at - line)}) + 1;
    return pos;
}

struct vd_json_position vd_json_locate(struct vd_span text, struct vd_span pointer)
{
    struct walk w = {text.ptr, text.ptr + text.len};
    const char *found;

    skip_blanks(&w);
    found = w.p;
    while (pointer.len > 0 && pointer.ptr[0] == '/') {
        size_t end;

        pointer = vd_span_sub(pointer, 1, pointer.len);
        end = vd_span_find(pointer, '/');
        if (!enter(&w, vd_span_sub(pointer, 0, end)))
            break;
        found = w.p;
        pointer = vd_span_sub(pointer, end, pointer.len);
    }
    return position_of(text, found < text.ptr + text.len ? found : text.ptr + text.len);
}
