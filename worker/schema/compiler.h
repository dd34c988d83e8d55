/* schema/compiler.h - from schema text to nodes; for this folder only.
 *
 * Why:      three steps that know nothing of each other's insides: load.c finds documents, resources and anchors; keywords.c is the
 *           table of keywords; compile.c drives them from a queue, so that no schema makes it recurse.
 * Errors:   VD_E_CONFIG naming the place; VD_E_LIMIT; VD_E_NOMEM.
 */
#ifndef VD_SCHEMA_COMPILER_H
#define VD_SCHEMA_COMPILER_H

#include "schema/model.h"

#define VD_MAX_OPS 64 /* more than there are keywords */

struct vd_keyword;

struct vd_compiler {
    struct vd_schema *schema;
    const struct vd_schema_options *options;
    struct vd_err *err;
    struct vd_node **table; /* by source, open addressing */
    size_t table_size;      /* a power of two */
    size_t table_used;
    struct vd_node *queue; /* to compile */
    size_t document_count;
    /* the node in work */
    struct vd_op ops[VD_MAX_OPS];
    size_t op_count;
    struct vd_members *members;
    struct vd_items *items;
};

/* -- load.c ------------------------------------------------------------------------------------------------------ */

/* Copy a document, register it under uri, find its resources and anchors. *ret_root: the node of the whole. */
enum vd_code vd_load_document(struct vd_compiler *c, const cJSON *source, const char *uri,
                              struct vd_node **ret_root) VD_MUST_CHECK;
/* The node that reference names, seen from a schema in resource. *ret_anchor: the fragment when it is a name (else NULL). */
enum vd_code vd_load_reference(struct vd_compiler *c, struct vd_resource *resource,
                               struct vd_span reference, struct vd_node **ret_node,
                               const char **ret_anchor) VD_MUST_CHECK;
/* The node of a place that was found when its document was loaded. */
struct vd_node *vd_load_node(struct vd_compiler *c, const cJSON *source);

/* -- keywords.c -------------------------------------------------------------------------------------------------- */

/* Where the schemas inside a keyword's value are. */
enum vd_shape {
    VD_SHAPE_NONE,
    VD_SHAPE_ONE,         /* a schema */
    VD_SHAPE_LIST,        /* an array of schemas */
    VD_SHAPE_MAP,         /* an object of schemas */
    VD_SHAPE_ONE_OR_LIST, /* draft-07 "items" */
    VD_SHAPE_MAP_OR_NAMES /* "dependencies": schemas or arrays of names */
};

struct vd_keyword {
    const char *name;
    unsigned drafts;
    unsigned vocabulary;
    enum vd_shape shape;
    /* NULL: an annotation, or read by another keyword. */
    enum vd_code (*compile)(struct vd_compiler *c, struct vd_node *node,
                            const struct vd_keyword *kw, const cJSON *value);
};

extern const struct vd_keyword vd_keywords[]; /* in order of evaluation; ends with a NULL name */

/* -- compile.c --------------------------------------------------------------------------------------------------- */

/* The node of a schema that is a direct part of this one, queued for compiling. NULL with c->err set never happens: a part
 * that is no schema was refused when its document was loaded. */
struct vd_node *vd_compile_part(struct vd_compiler *c, const cJSON *source);
void vd_compile_later(struct vd_compiler *c, struct vd_node *node);
/* A new op of the node in work. */
struct vd_op *vd_compile_op(struct vd_compiler *c, struct vd_node *node, const char *keyword,
                            vd_op_fn *eval, unsigned kinds);
enum vd_code vd_compile_bad(struct vd_compiler *c, const struct vd_node *node, const char *keyword,
                            const char *reason);
enum vd_code vd_compile_nomem(struct vd_compiler *c);
enum vd_code vd_compile_regex(struct vd_compiler *c, const struct vd_node *node,
                              const char *keyword, struct vd_span pattern,
                              const struct vd_regex **ret) VD_MUST_CHECK;

#endif
