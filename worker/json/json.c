/* json/json.c - parsing, and reading scalars; see json.h. Trees are built and copied in build.c, written in write.c. */
#include "json/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "json/strict.h"

#define SMALL_TEXT                                                                                 \
    8192 /* most events: copied on the stack, since the heap is the slowest part of this */
#define CJSON_NUMBER_LEN 63 /* 1.7.15 reads this much of a number and trips over the rest */

static void free_hook(void *p)
{
    (void)vd_free(p);
}

void vd_json_init(void)
{
    cJSON_Hooks hooks = {.malloc_fn = vd_alloc, .free_fn = free_hook};

    cJSON_InitHooks(&hooks);
}

/* -- text to tree ------------------------------------------------------------------------------------------------ */

/* cJSON reads behind the end of a text that is not NUL-terminated (CVE-2023-53154), so it gets a copy. In the copy, numbers
 * too long for it are blanked: apply_note() puts them back. */
static char *copy_for_cjson(struct vd_span text, const struct vd_json_notes *notes, char *small)
{
    char *copy = text.len < SMALL_TEXT ? small : vd_realloc(NULL, text.len + 1);

    if (copy == NULL)
        return NULL;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    for (size_t i = 0; i < notes->count; i++) {
        const struct vd_json_note *n = &notes->items[i];

        if (n->what != VD_JSON_NOTE_NUL && n->len > CJSON_NUMBER_LEN) {
            memset(copy + n->at, ' ', n->len);
            copy[n->at] = '0';
        }
    }
    return copy;
}

static char *keep_bytes(struct vd_span s)
{
    char *copy = cJSON_malloc(s.len + 1);

    if (copy == NULL)
        return NULL;
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

static double nearest_double(struct vd_span digits)
{
    char copy[VD_JSON_MAX_NUMBER_LEN + 1];

    if (digits.len == 0 || digits.len > VD_JSON_MAX_NUMBER_LEN)
        return NAN; /* only in trees made by hand */
    memcpy(copy, digits.ptr, digits.len);
    copy[digits.len] = '\0';
    return strtod(copy, NULL); /* the locale is always "C" */
}

static bool keep_digits(cJSON *node, struct vd_span digits, int flags)
{
    node->valuestring = keep_bytes(digits);
    if (node->valuestring == NULL)
        return false;
    node->type = cJSON_Raw | flags;
    return true;
}

static bool apply_note(cJSON *node, const struct vd_json_note *n, struct vd_span text)
{
    struct vd_span digits = vd_span_sub(text, n->at, n->len);

    switch (n->what) {
    case VD_JSON_NOTE_INT:
        node->type |= VD_JSON_INTEGER;
        return true;
    case VD_JSON_NOTE_DIGITS:
        return keep_digits(node, digits, VD_JSON_INTEGER);
    case VD_JSON_NOTE_REAL:
        if (n->len > CJSON_NUMBER_LEN)
            node->valuedouble = nearest_double(digits);
        return isfinite(node->valuedouble) || keep_digits(node, digits, 0);
    case VD_JSON_NOTE_NUL:
        node->valueint = (int)n->len;
        return true;
    }
    return true;
}

/* Walks the tree in document order beside the notes. */
static bool apply_notes(cJSON *root, const struct vd_json_notes *notes, struct vd_span text)
{
    cJSON *parents[VD_JSON_MAX_DEPTH];
    size_t depth = 0;
    uint32_t ordinal = 0;
    size_t next = 0;

    for (cJSON *node = root; next < notes->count && node != NULL; ordinal++) {
        if (notes->items[next].node == ordinal && !apply_note(node, &notes->items[next++], text))
            return false;
        if (node->child != NULL) {
            parents[depth++] = node;
            node = node->child;
            continue;
        }
        while (node->next == NULL && depth > 0)
            node = parents[--depth];
        node = node == root ? NULL : node->next;
    }
    return true;
}

enum vd_code vd_json_parse(struct vd_span text, cJSON **ret_tree, struct vd_err *err)
{
    struct vd_json_notes notes;
    char small[SMALL_TEXT];
    char *copy = NULL;
    cJSON *tree = NULL;
    enum vd_code rc;

    vd_json_notes_init(&notes);
    rc = vd_json_scan(text, &notes, err);
    if (rc != VD_OK)
        goto out;
    copy = copy_for_cjson(text, &notes, small);
    if (copy != NULL)
        tree = cJSON_ParseWithLengthOpts(copy, text.len + 1, NULL, 1);
    if (tree == NULL || !apply_notes(tree, &notes, text)) {
        rc = vd_err_nomem(err, "JSON tree");
        goto out;
    }
    *ret_tree = tree;
    tree = NULL; /* transferred */
out:
    (void)vd_json_free(tree);
    if (copy != small)
        (void)vd_free(copy);
    vd_json_notes_fini(&notes);
    return rc;
}

void *vd_json_free(cJSON *tree)
{
    cJSON_Delete(tree);
    return NULL;
}

/* -- scalars ----------------------------------------------------------------------------------------------------- */

static struct vd_span bytes_of(const cJSON *node)
{
    if (node->valuestring == NULL)
        return (struct vd_span){NULL, 0};
    if ((node->type & 0xFF) == cJSON_String && node->valueint > 0)
        return (struct vd_span){node->valuestring, (size_t)node->valueint};
    return vd_span_of(node->valuestring);
}

enum vd_json_kind vd_json_kind(const cJSON *node)
{
    if (node == NULL)
        return VD_JSON_NULL;
    int64_t v;

    switch (node->type & 0xFF) {
    case cJSON_True:
    case cJSON_False:
        return VD_JSON_BOOL;
    case cJSON_Number:
        return (node->type & VD_JSON_INTEGER) != 0 ? VD_JSON_INT : VD_JSON_DOUBLE;
    case cJSON_Raw:
        return (node->type & VD_JSON_INTEGER) != 0 && vd_parse_i64(bytes_of(node), &v)
                   ? VD_JSON_INT
                   : VD_JSON_BIGNUM;
    case cJSON_String:
        return VD_JSON_STRING;
    case cJSON_Array:
        return VD_JSON_ARRAY;
    case cJSON_Object:
        return VD_JSON_OBJECT;
    default:
        return VD_JSON_NULL;
    }
}

const char *vd_json_kind_name(enum vd_json_kind kind)
{
    static const char *const names[] = {
        [VD_JSON_NULL] = "null",     [VD_JSON_BOOL] = "boolean",  [VD_JSON_INT] = "integer",
        [VD_JSON_DOUBLE] = "number", [VD_JSON_BIGNUM] = "number", [VD_JSON_STRING] = "string",
        [VD_JSON_ARRAY] = "array",   [VD_JSON_OBJECT] = "object",
    };

    return names[kind];
}

static int type_of(const cJSON *node)
{
    return node == NULL ? cJSON_Invalid : node->type & 0xFF;
}

struct vd_span vd_json_string(const cJSON *node)
{
    int type = type_of(node);

    return type == cJSON_String || type == cJSON_Raw ? bytes_of(node) : (struct vd_span){NULL, 0};
}

bool vd_json_int(const cJSON *node, int64_t *ret)
{
    if (node == NULL || (node->type & VD_JSON_INTEGER) == 0)
        return false;
    if ((node->type & 0xFF) == cJSON_Raw)
        return vd_parse_i64(bytes_of(node), ret);
    if ((node->type & 0xFF) != cJSON_Number)
        return false;
    *ret = (int64_t)node->valuedouble; /* exact: within 2^53 */
    return true;
}

bool vd_json_double(const cJSON *node, double *ret)
{
    int type = type_of(node);

    if (type == cJSON_Number)
        *ret = node->valuedouble;
    else if (type == cJSON_Raw)
        *ret = nearest_double(bytes_of(node));
    else
        return false;
    return true;
}

bool vd_json_bool(const cJSON *node, bool *ret)
{
    int type = type_of(node);

    if (type != cJSON_True && type != cJSON_False)
        return false;
    *ret = type == cJSON_True;
    return true;
}

/* -- members ----------------------------------------------------------------------------------------------------- */

const cJSON *vd_json_get(const cJSON *object, const char *key)
{
    const cJSON *child =
        object != NULL && (object->type & 0xFF) == cJSON_Object ? object->child : NULL;

    while (child != NULL && (child->string == NULL || strcmp(child->string, key) != 0))
        child = child->next;
    return child;
}

static bool key_is(const cJSON *child, struct vd_span key)
{
    return child->string != NULL &&
           strncmp(child->string, key.len > 0 ? key.ptr : "", key.len) == 0 &&
           child->string[key.len] == '\0';
}

const cJSON *vd_json_get_span(const cJSON *object, struct vd_span key)
{
    const cJSON *child =
        object != NULL && (object->type & 0xFF) == cJSON_Object ? object->child : NULL;

    if (vd_span_find(key, '\0') < key.len)
        return NULL; /* no key of a tree holds U+0000, and strncmp would stop there */
    while (child != NULL && !key_is(child, key))
        child = child->next;
    return child;
}

struct vd_span vd_json_get_string(const cJSON *object, const char *key)
{
    const cJSON *node = vd_json_get(object, key);

    return node != NULL && (node->type & 0xFF) == cJSON_String ? bytes_of(node)
                                                               : (struct vd_span){NULL, 0};
}

/* Does the escaped token name this key? ~1 is a slash and ~0 a tilde; anything else after ~ names nothing. */
static bool token_names(struct vd_span token, const char *key)
{
    for (size_t i = 0; i < token.len; i++, key++) {
        char c = token.ptr[i];

        if (c == '~') {
            if (++i == token.len || (token.ptr[i] != '0' && token.ptr[i] != '1'))
                return false;
            c = token.ptr[i] == '0' ? '~' : '/';
        }
        if (c == '\0' || c != *key)
            return false;
    }
    return *key == '\0';
}

static const cJSON *step_into(const cJSON *node, struct vd_span token)
{
    const cJSON *child = node->child;
    uint64_t index;

    if ((node->type & 0xFF) == cJSON_Object) {
        while (child != NULL && (child->string == NULL || !token_names(token, child->string)))
            child = child->next;
        return child;
    }
    if ((node->type & 0xFF) != cJSON_Array || (token.len > 1 && token.ptr[0] == '0') ||
        !vd_parse_u64(token, UINT32_MAX, &index))
        return NULL;
    while (child != NULL && index-- > 0)
        child = child->next;
    return child;
}

const cJSON *vd_json_pointer(const cJSON *root, struct vd_span pointer)
{
    const cJSON *node = root;

    while (node != NULL && pointer.len > 0) {
        size_t end;

        if (pointer.ptr[0] != '/')
            return NULL;
        pointer = vd_span_sub(pointer, 1, pointer.len);
        end = vd_span_find(pointer, '/');
        node = step_into(node, vd_span_sub(pointer, 0, end));
        pointer = vd_span_sub(pointer, end, pointer.len);
    }
    return node;
}
