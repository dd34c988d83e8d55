/* json/json.h - strict JSON text to a cJSON tree and back.
 *
 * Why:      cJSON's trees, and its functions on them, but not its reader: that is lenient (trailing garbage, control characters, bad UTF-8,
 *           duplicate keys), keeps numbers as doubles, and makes an allocation of each node, key and string. The strict reader makes the
 *           same trees, loses nothing of the text (order ids beyond 2^53 keep their digits), and takes half the time.
 * Source:   RFC 8259 (grammar), RFC 3629 (UTF-8), RFC 7493 section 2 (duplicate keys, lone surrogates), RFC 6901 (JSON Pointer);
 *           conformance: nst/JSONTestSuite.
 * Thread:   any; pure.
 * Shapes:   a tree is cJSON's own; walk it with cJSON_ArrayForEach. Read scalars through the functions below, never through
 *           valuestring/valueint/valuedouble, since
 *             - a string may hold U+0000: its length in bytes is kept in valueint,
 *             - an integer beyond 2^53, and a number that overflows a double, is a cJSON_Raw node with its digits,
 *             - VD_JSON_INTEGER in `type` tells 4 from 4.0.
 *           Trees made with cJSON's own functions may be mixed in; their numbers count as DOUBLE. Copy with vd_json_copy(): cJSON_Duplicate()
 *           cuts strings at U+0000.
 * Errors:   VD_E_INPUT with line, column and reason; VD_E_LIMIT for depth and number length; VD_E_NOMEM.
 */
#ifndef VD_JSON_JSON_H
#define VD_JSON_JSON_H

#include <cjson/cJSON.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

#define VD_JSON_INTEGER (1 << 10) /* set in cJSON.type: written without fraction and exponent */

enum vd_json_kind {
    VD_JSON_NULL,
    VD_JSON_BOOL,
    VD_JSON_INT,    /* fits int64_t and was written as an integer */
    VD_JSON_DOUBLE, /* has a fraction or an exponent, finite */
    VD_JSON_BIGNUM, /* an integer beyond int64_t, or a number beyond double: only its digits are exact */
    VD_JSON_STRING,
    VD_JSON_ARRAY,
    VD_JSON_OBJECT,
};

/* Is text exactly one RFC 8259 value, in UTF-8 without BOM, without duplicate keys, at most VD_JSON_MAX_DEPTH deep? */
enum vd_code vd_json_check(struct vd_span text, struct vd_err *err) VD_MUST_CHECK;
/* The same, but keys may repeat, which RFC 8259 section 4 only advises against. For tools; the worker never trusts such a text. */
enum vd_code vd_json_check_rfc8259(struct vd_span text, struct vd_err *err) VD_MUST_CHECK;

/* The tree of text. *ret_tree is owned by the caller: vd_json_free(). A key that holds U+0000 is refused (VD_E_INPUT). */
enum vd_code vd_json_parse(struct vd_span text, cJSON **ret_tree, struct vd_err *err) VD_MUST_CHECK;
void *vd_json_free(cJSON *tree); /* NULL-safe; returns NULL */

/* node may be NULL in all of these: an absent member reads as null. */
enum vd_json_kind vd_json_kind(const cJSON *node);
const char *
vd_json_kind_name(enum vd_json_kind kind);         /* "null", "boolean", "integer", "number", ... */
struct vd_span vd_json_string(const cJSON *node);  /* bytes of a string; the digits of a BIGNUM */
bool vd_json_int(const cJSON *node, int64_t *ret); /* INT only; 4.0 is not an integer here */
bool vd_json_double(const cJSON *node,
                    double *ret); /* INT, DOUBLE, and BIGNUM as nearest (may be infinite) */
bool vd_json_bool(const cJSON *node, bool *ret);

/* A member by exact key; NULL when absent or when object is NULL or no object. Borrowed. */
const cJSON *vd_json_get(const cJSON *object, const char *key);
const cJSON *vd_json_get_span(const cJSON *object, struct vd_span key);
/* The string at key, or the empty span when absent or not a string. */
struct vd_span vd_json_get_string(const cJSON *object, const char *key);

/* RFC 6901: the node at pointer ("" is root), NULL when there is none or the pointer is malformed. */
const cJSON *vd_json_pointer(const cJSON *root, struct vd_span pointer);

/* Equal as JSON Schema means it: 1 and 1.0 are equal, member order does not count. */
bool vd_json_equal(const cJSON *a, const cJSON *b);
/* Nodes that are equal have the same hash; not for untrusted tables without a bound. */
uint64_t vd_json_hash(const cJSON *node);
/* Order of two numbers by their decimal value, exact for BIGNUM too: below 0, 0, above 0. Both must be numbers. */
int vd_json_compare_numbers(const cJSON *a, const cJSON *b);

/* Building: nodes made with these keep I64 digits and string lengths. NULL when memory is out. */
cJSON *vd_json_new_int(int64_t v);
cJSON *vd_json_new_double(double v);         /* NaN and infinities become null, as JSON has none */
cJSON *vd_json_new_string(struct vd_span s); /* bytes must be UTF-8 */
/* Add take_item under key; frees take_item and returns false when memory is out or take_item is NULL. */
bool vd_json_put(cJSON *object, const char *key, cJSON *take_item);
/* The same without a copy: item, whose tree must outlive object's and stay as it is, remains the caller's. False without memory. */
bool vd_json_put_borrowed(cJSON *object, const char *key, const cJSON *item);
/* A node that stands for item in another tree, without a copy: item must outlive it and stay as it is. Nothing may be put into it. */
cJSON *vd_json_borrow(const cJSON *item);
bool vd_json_append(cJSON *array, cJSON *take_item);
/* Order children by key bytes (object) or by their string's bytes (array of strings): what came in no order gets one. False when
 * memory is out (the order is then as before). */
bool vd_json_sort(cJSON *container);
cJSON *vd_json_copy(const cJSON *node); /* deep; keeps everything described above */

/* Compact text. Numbers keep their digits; doubles are the shortest text that reads back equal. */
enum vd_code vd_json_write(struct vd_buf *out, const cJSON *node);
/* Canonical text for hashing: as vd_json_write, with members sorted by key bytes. */
enum vd_code vd_json_write_canonical(struct vd_buf *out, const cJSON *node);
/* For people: two spaces a level. */
enum vd_code vd_json_write_pretty(struct vd_buf *out, const cJSON *node);

#endif
