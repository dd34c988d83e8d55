/* cel/value.h - what CEL values point at, and the operations on values that evaluation shares with everybody else.
 *
 * Why:      lists and maps come in two forms, wrapped JSON and arena built; code outside this file should not care which.
 * Source:   cel-spec langdef.md: Values, Equality and Ordering (heterogeneous, numbers compare across types).
 * Thread:   any; pure.
 * Shapes:   JSON trees are walked, never converted; only scalars become values, when they are looked at.
 */
#ifndef VD_CEL_VALUE_H
#define VD_CEL_VALUE_H

#include "cel/cel.h"

struct vd_cel_list {
    size_t count;
    struct vd_cel_value *items;
};

struct vd_cel_entry {
    struct vd_cel_value key;
    struct vd_cel_value value;
};

struct vd_cel_map {
    size_t count;
    struct vd_cel_entry *entries; /* keys are distinct; the order is the order of writing */
};

/* A set of kinds, one bit each: what an expression may be, what a function accepts. */
#define VD_CEL_M(kind)  (1u << (kind))
#define VD_CEL_M_INT    VD_CEL_M(VD_CEL_INT)
#define VD_CEL_M_STRING VD_CEL_M(VD_CEL_STRING)
#define VD_CEL_M_NUMBER (VD_CEL_M(VD_CEL_INT) | VD_CEL_M(VD_CEL_UINT) | VD_CEL_M(VD_CEL_DOUBLE))
#define VD_CEL_M_DYN    (VD_CEL_M(VD_CEL_ERROR) - 1)

/* Walks a list's items, a map's keys, or both; `while (vd_cel_next(&it, &key, &value))`. For a list key is the index. The source
 * must be a LIST or a MAP and must outlive the iterator. */
struct vd_cel_iter {
    const struct vd_cel_value *source;
    const cJSON *node;
    size_t i;
};

struct vd_cel_iter vd_cel_iterate(const struct vd_cel_value *source);
bool vd_cel_next(struct vd_cel_iter *it, struct vd_cel_value *ret_key,
                 struct vd_cel_value *ret_value);

struct vd_cel_value vd_cel_bool(bool b);
struct vd_cel_value vd_cel_int(int64_t i);
struct vd_cel_value vd_cel_uint(uint64_t u);
struct vd_cel_value vd_cel_double(double d);
struct vd_cel_value vd_cel_string(struct vd_span s);
struct vd_cel_value vd_cel_type_of(const struct vd_cel_value *v); /* a TYPE */

/* The type name that CEL code sees: "int", "null_type", "google.protobuf.Duration". Static. */
const char *vd_cel_type_name(enum vd_cel_kind kind);

/* The value under key in a MAP: false when there is none. Numbers find numeric keys of any type. */
bool vd_cel_map_get(const struct vd_cel_value *map, const struct vd_cel_value *key,
                    struct vd_cel_value *ret);

/* As vd_cel_equal(); *steps is reduced by the work done, and the answer is false once it is below zero. */
bool vd_cel_equal_within(const struct vd_cel_value *a, const struct vd_cel_value *b,
                         int64_t *steps);

bool vd_cel_utf8_valid(struct vd_span s);
/* Byte offset of character i of valid UTF-8; the length when there are fewer. */
size_t vd_cel_utf8_offset(struct vd_span s, size_t i);

/* Shortest decimal text that reads back equal, as ECMAScript writes numbers: 1, 0.001, 1e+21; NaN, Infinity, -Infinity.
 * Returns the length. */
#define VD_CEL_DOUBLE_TEXT 32
size_t vd_cel_double_text(double d, char ret[VD_CEL_DOUBLE_TEXT]);

#endif
