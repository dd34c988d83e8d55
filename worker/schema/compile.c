/* schema/compile.c - drives the compiling of a schema; see compiler.h and schema.h. */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "schema/compiler.h"

/* -- for the keyword table --------------------------------------------------------------------------------------- */

enum vd_code vd_compile_nomem(struct vd_compiler *c)
{
    /* The arena does not say why it failed: when most of it is used, it was its cap. */
    if (c->schema->arena.used > VD_SCHEMA_MAX_COMPILED_BYTES / 2)
        return vd_err_set(c->err, VD_E_LIMIT, false, "the schema is too large");
    return vd_err_nomem(c->err, "schema");
}

enum vd_code vd_compile_bad(struct vd_compiler *c, const struct vd_node *node, const char *keyword,
                            const char *reason)
{
    return vd_err_set(c->err, VD_E_CONFIG, false, "at %s/%s: %s", node->path, keyword, reason);
}

void vd_compile_later(struct vd_compiler *c, struct vd_node *node)
{
    if (node->compiled)
        return;
    node->compiled = true;
    node->queued = c->queue;
    c->queue = node;
}

struct vd_node *vd_compile_part(struct vd_compiler *c, const cJSON *source)
{
    struct vd_node *node = vd_load_node(c, source);

    if (node != NULL)
        vd_compile_later(c, node);
    return node;
}

struct vd_op *vd_compile_op(struct vd_compiler *c, struct vd_node *node, const char *keyword,
                            vd_op_fn *eval, unsigned kinds)
{
    struct vd_op *op = &c->ops[c->op_count++];

    assert(c->op_count <= VD_MAX_OPS);
    *op = (struct vd_op){.eval = eval, .node = node, .keyword = keyword, .kinds = kinds};
    return op;
}

enum vd_code vd_compile_regex(struct vd_compiler *c, const struct vd_node *node,
                              const char *keyword, struct vd_span pattern,
                              const struct vd_regex **ret)
{
    struct vd_expression *e;
    enum vd_code rc;

    for (e = c->schema->expressions; e != NULL; e = e->next) {
        if (vd_span_eq_c(pattern, e->pattern)) {
            *ret = e->regex;
            return VD_OK;
        }
    }
    e = vd_arena_alloc(&c->schema->arena, sizeof(*e));
    if (e == NULL)
        return vd_compile_nomem(c);
    e->pattern = vd_arena_strndup(&c->schema->arena, pattern);
    if (e->pattern == NULL)
        return vd_compile_nomem(c);
    rc = vd_regex_compile(pattern, &e->regex, c->err);
    if (rc != VD_OK) {
        if (c->err != NULL)
            (void)vd_err_wrap(c->err, rc, "at %s/%s", node->path, keyword);
        return rc;
    }
    e->next = c->schema->expressions;
    c->schema->expressions = e;
    *ret = e->regex;
    return VD_OK;
}

/* -- nodes ------------------------------------------------------------------------------------------------------- */

static enum vd_code compile_keywords(struct vd_compiler *c, struct vd_node *node)
{
    /* draft-07: "All other properties in a "$ref" object MUST be ignored." */
    bool only_ref = node->resource->draft == VD_D7 && vd_json_get(node->source, "$ref") != NULL;

    for (const struct vd_keyword *kw = vd_keywords; kw->name != NULL; kw++) {
        const cJSON *value;
        enum vd_code rc;

        if (kw->compile == NULL || (kw->drafts & node->resource->draft) == 0 ||
            (kw->vocabulary & node->resource->vocabularies) == 0 ||
            (only_ref && strcmp(kw->name, "$ref") != 0))
            continue;
        value = vd_json_get(node->source, kw->name);
        if (value == NULL)
            continue;
        rc = kw->compile(c, node, kw, value);
        if (rc != VD_OK)
            return rc;
    }
    return VD_OK;
}

static enum vd_code compile_node(struct vd_compiler *c, struct vd_node *node)
{
    enum vd_code rc;

    if (cJSON_IsBool(node->source)) {
        node->boolean = true;
        node->verdict = cJSON_IsTrue(node->source);
        return VD_OK;
    }
    c->op_count = 0;
    c->members = NULL;
    c->items = NULL;
    rc = compile_keywords(c, node);
    if (rc != VD_OK)
        return rc;
    if (c->op_count == 0) { /* says nothing: as good as true */
        node->boolean = node->verdict = true;
        return VD_OK;
    }
    node->ops = vd_arena_array(&c->schema->arena, c->op_count, sizeof(*node->ops));
    if (node->ops == NULL)
        return vd_compile_nomem(c);
    memcpy(node->ops, c->ops, c->op_count * sizeof(*node->ops));
    node->op_count = c->op_count;
    return VD_OK;
}

static enum vd_code compile_queue(struct vd_compiler *c)
{
    while (c->queue != NULL) {
        struct vd_node *node = c->queue;
        enum vd_code rc;

        c->queue = node->queued;
        rc = compile_node(c, node);
        if (rc != VD_OK)
            return rc;
    }
    return VD_OK;
}

/* A $dynamicRef may end at any dynamic anchor of the resources that take part; compiling one may load more of them. */
static enum vd_code compile_all(struct vd_compiler *c)
{
    const struct vd_resource *newest = NULL;
    enum vd_code rc = compile_queue(c);

    while (rc == VD_OK && newest != c->schema->resources) {
        newest = c->schema->resources;
        for (const struct vd_resource *r = newest; r != NULL; r = r->next)
            for (const struct vd_anchor *a = r->anchors; a != NULL; a = a->next)
                if (a->dynamic)
                    vd_compile_later(c, a->node);
        rc = compile_queue(c);
    }
    return rc;
}

enum vd_code vd_schema_compile(const cJSON *source, const struct vd_schema_options *options,
                               struct vd_schema **ret_schema, struct vd_err *err)
{
    static const struct vd_schema_options none = {.draft = VD_SCHEMA_2020_12};
    struct vd_compiler *c = vd_alloc(sizeof(*c));
    struct vd_schema *schema = vd_alloc(sizeof(*schema));
    enum vd_code rc;

    if (c == NULL || schema == NULL) {
        rc = vd_err_nomem(err, "schema");
        goto out;
    }
    vd_arena_init(&schema->arena, VD_SCHEMA_MAX_COMPILED_BYTES);
    *c = (struct vd_compiler){
        .schema = schema, .options = options != NULL ? options : &none, .err = err};
    rc = vd_load_document(c, source, c->options->base_uri != NULL ? c->options->base_uri : "",
                          &schema->root);
    if (rc != VD_OK)
        goto out;
    vd_compile_later(c, schema->root);
    rc = compile_all(c);
    if (rc != VD_OK)
        goto out;
    *ret_schema = schema;
    schema = NULL; /* transferred */
out:
    if (c != NULL)
        (void)vd_free(c->table);
    (void)vd_free(c);
    (void)vd_schema_free(schema);
    return rc;
}

void *vd_schema_free(struct vd_schema *schema)
{
    if (schema == NULL)
        return NULL;
    for (struct vd_tree *t = schema->trees; t != NULL; t = t->next)
        (void)vd_json_free(t->json);
    for (struct vd_expression *e = schema->expressions; e != NULL; e = e->next)
        (void)vd_regex_free(e->regex);
    vd_arena_fini(&schema->arena);
    return vd_free(schema);
}
