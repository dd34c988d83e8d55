/* json/members.h - a JSON object written member by member, without a tree.
 *
 * Why:      what is only ever published needs no nodes: a decision and its audit record have two hundred members.
 * Thread:   any; pure.
 * Shapes:   keys are the caller's own words: nothing in them is escaped. Commas come by themselves: whatever does not follow an opening
 *           bracket gets one. Failures stay in the buffer (vd_buf.failed).
 */
#ifndef VD_JSON_MEMBERS_H
#define VD_JSON_MEMBERS_H

#include <string.h>

#include "base/buf.h"
#include "json/json.h"

/* An item of an array, or the root: only the comma. */
void vd_json_next(struct vd_buf *out);
void vd_json_key_n(struct vd_buf *out, const char *key, size_t len);

/* Inline, since the length of a literal is known to the compiler. */
static inline void vd_json_key(struct vd_buf *out, const char *key)
{
    vd_json_key_n(out, key, strlen(key));
}

/* A member that is an object or array; what follows goes into it until the closing bracket. */
static inline void vd_json_open(struct vd_buf *out, const char *key, char bracket)
{
    vd_json_key(out, key);
    (void)vd_buf_add_char(out, bracket);
}

static inline void vd_json_close(struct vd_buf *out, char bracket)
{
    (void)vd_buf_add_char(out, bracket);
}

/* value.ptr NULL: null. */
static inline void vd_json_text(struct vd_buf *out, const char *key, struct vd_span value)
{
    vd_json_key(out, key);
    if (value.ptr == NULL)
        (void)vd_buf_add(out, VD_LIT("null"));
    else
        (void)vd_buf_add_json_string(out, value);
}

/* NULL: null. */
static inline void vd_json_word(struct vd_buf *out, const char *key, const char *value)
{
    vd_json_text(out, key, (struct vd_span){value, vd_span_of(value).len});
}

static inline void vd_json_null(struct vd_buf *out, const char *key)
{
    vd_json_text(out, key, (struct vd_span){NULL, 0});
}

static inline void vd_json_integer(struct vd_buf *out, const char *key, int64_t value)
{
    vd_json_key(out, key);
    (void)vd_buf_add_i64(out, value);
}

static inline void vd_json_boolean(struct vd_buf *out, const char *key, bool value)
{
    vd_json_key(out, key);
    (void)vd_buf_add(out, value ? VD_LIT("true") : VD_LIT("false"));
}

/* 15 digits, whole numbers without a point; null where it is not known or not finite. */
void vd_json_number_value(struct vd_buf *out, bool known, double value);

static inline void vd_json_number(struct vd_buf *out, const char *key, bool known, double value)
{
    vd_json_key(out, key);
    vd_json_number_value(out, known, value);
}

/* NULL: null. */
void vd_json_tree_value(struct vd_buf *out, const cJSON *tree);

static inline void vd_json_tree(struct vd_buf *out, const char *key, const cJSON *tree)
{
    vd_json_key(out, key);
    vd_json_tree_value(out, tree);
}

#endif
