/* model/extract.c - see extract.h. */
#include "model/extract.h"

#include "base/limits.h"
#include "json/json.h"

/* Length of the bracketed text at s (s begins with '{'), braces in strings not counted; 0 when it does not end. */
static size_t bracketed(struct vd_span s)
{
    size_t depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{') {
            depth++;
        } else if (c == '}' && --depth == 0) {
            return i + 1;
        }
    }
    return 0;
}

bool vd_model_extract(struct vd_span text, struct vd_span *ret_object)
{
    struct vd_span found = {0};
    size_t at = 0;

    for (int tries = 0; at < text.len; tries++) {
        struct vd_span rest;
        size_t len;

        at += vd_span_find(vd_span_sub(text, at, text.len), '{');
        if (at >= text.len)
            break;
        if (tries == VD_MODEL_EXTRACT_MAX_TRIES)
            return false;
        rest = vd_span_sub(text, at, text.len);
        len = bracketed(rest);
        if (len == 0 || vd_json_check(vd_span_sub(rest, 0, len), NULL) != VD_OK) {
            at++;
            continue;
        }
        if (found.len > 0)
            return false;
        found = vd_span_sub(rest, 0, len);
        at += len;
    }
    if (found.len == 0)
        return false;
    *ret_object = found;
    return true;
}
