/* schema/model.h - a compiled schema from inside; for this folder only.
 *
 * Why:      compiling and evaluating share these shapes.
 * Shapes:   a schema object becomes a node; each of its keywords that can fail becomes an op, a function and its argument. Nodes
 *           point at nodes: a $ref costs one call. Everything is in the schema's arena and const once compiled.
 *
 *     document --- resource ("$id") --- node (a place where a schema stands) --- op (a keyword) ---> nodes
 */
#ifndef VD_SCHEMA_MODEL_H
#define VD_SCHEMA_MODEL_H

#include "json/number.h"
#include "schema/regex.h"
#include "schema/schema.h"

#define VD_KIND(kind)   (1u << (kind))
#define VD_KINDS_NUMBER (VD_KIND(VD_JSON_INT) | VD_KIND(VD_JSON_DOUBLE) | VD_KIND(VD_JSON_BIGNUM))
#define VD_KINDS_ALL    0xFFFFu

struct vd_run;
struct vd_place;
struct vd_seen;
struct vd_node;
struct vd_op;

/* False: the instance fails the keyword, or run->rc is set. */
typedef bool vd_op_fn(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                      struct vd_seen *seen);

/* "properties", "patternProperties", "additionalProperties" and "required" in one walk over the members. */
struct vd_member_rule {
    const char *key; /* NULL: a free slot */
    uint64_t hash;
    struct vd_node *node; /* NULL: only required */
    bool required;
};

struct vd_pattern_rule {
    const struct vd_regex *regex;
    struct vd_node *node;
};

struct vd_members {
    struct vd_member_rule *rules; /* open addressing, a power of two */
    size_t rule_mask;
    size_t rule_count;
    size_t required_count;
    struct vd_pattern_rule *patterns;
    size_t pattern_count;
    struct vd_node *additional; /* may be NULL */
};

struct vd_nodes {
    struct vd_node **items;
    size_t count;
};

/* "prefixItems" and "items", in draft-07 "items" and "additionalItems". */
struct vd_items {
    struct vd_nodes prefix;
    struct vd_node *rest; /* may be NULL */
    const char *prefix_keyword;
    const char *rest_keyword;
};

struct vd_contains {
    struct vd_node *node;
    uint64_t min;
    uint64_t max;
    bool marks; /* matching items count as evaluated (not in draft-07) */
};

struct vd_condition {
    struct vd_node *test;
    struct vd_node *then; /* may be NULL */
    struct vd_node *otherwise;
};

struct vd_values {
    const cJSON **items;
    uint64_t *hashes; /* NULL when there are few */
    size_t count;
};

/* When the member is present: these must be too, or the schema applies. */
struct vd_dependency {
    const char *key;
    const char **required;
    size_t required_count;
    struct vd_node *node; /* may be NULL */
};

struct vd_dependencies {
    struct vd_dependency *items;
    size_t count;
};

struct vd_format;

struct vd_op {
    vd_op_fn *eval;
    const struct vd_node *node; /* whose keyword this is */
    const char *keyword;
    unsigned kinds; /* of instances it looks at; others pass */
    union {
        unsigned types;
        uint64_t count;
        const cJSON *value; /* also the number of a limit */
        const struct vd_decimal *divisor;
        struct vd_node *one;
        struct vd_nodes many;
        struct vd_members *members;
        struct vd_items *items;
        struct vd_contains *contains;
        struct vd_condition *condition;
        struct vd_values *values;
        struct vd_dependencies *dependencies;
        const struct vd_regex *regex;
        const struct vd_format *format;
        struct {
            struct vd_node *fallback; /* what it means without dynamic scope */
            const char *anchor;       /* NULL: behaves like $ref */
        } dynamic;
    } arg;
};

struct vd_anchor {
    const char *name;
    struct vd_node *node;
    bool dynamic;
    struct vd_anchor *next;
};

struct vd_resource {
    const char *uri;   /* absolute, or "" */
    const char *alias; /* where its document was found, or NULL */
    const cJSON *root;
    unsigned draft;        /* VD_D7 or VD_D2020 */
    unsigned vocabularies; /* VD_VOCAB_* */
    struct vd_node *node;  /* of root */
    struct vd_anchor *anchors;
    struct vd_resource *next;
};

enum {
    VD_D7 = 1,
    VD_D2020 = 2,
    VD_D_ALL = 3,
};

enum {
    VD_VOCAB_CORE = 1,
    VD_VOCAB_APPLICATOR = 2,
    VD_VOCAB_UNEVALUATED = 4,
    VD_VOCAB_VALIDATION = 8,
    VD_VOCAB_METADATA = 16,
    VD_VOCAB_FORMAT = 32,
    VD_VOCAB_FORMAT_ASSERTION = 64,
    VD_VOCAB_CONTENT = 128,
    VD_VOCAB_STANDARD = 255 & ~64,
};

struct vd_node {
    const cJSON *source;
    struct vd_resource *resource;
    const char *path; /* for people: JSON Pointer in the main document, URI#pointer elsewhere */
    struct vd_op *ops;
    size_t op_count;
    bool compiled;
    bool boolean;           /* is true or false itself */
    bool verdict;           /* which of them */
    bool tracks;            /* has unevaluatedProperties or unevaluatedItems */
    struct vd_node *queued; /* next to compile */
};

struct vd_schema {
    struct vd_arena arena;
    struct vd_node *root;
    struct vd_resource *resources;
    struct vd_tree *trees; /* copies of the documents; nodes and ops point into them */
    struct vd_expression *expressions;
};

/* Things on the heap that the schema frees. */
struct vd_tree {
    cJSON *json;
    struct vd_tree *next;
};

struct vd_expression {
    struct vd_regex *regex;
    const char *pattern;
    struct vd_expression *next;
};

static inline size_t vd_count_children(const cJSON *node)
{
    const cJSON *child;
    size_t n = 0;

    cJSON_ArrayForEach(child, node) n++;
    return n;
}

static inline uint64_t vd_member_hash(const char *key, size_t *ret_len)
{
    uint64_t h = 0;
    size_t n = 0;

    for (; key[n] != '\0'; n++)
        h = (h ^ (unsigned char)key[n]) * 0x9E3779B97F4A7C15u;
    *ret_len = n;
    return h ^ h >> 29;
}

#endif
