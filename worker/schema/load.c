/* schema/load.c - documents, resources, anchors and references; see compiler.h.
 *
 * Source:   JSON Schema Core 2020-12 sections 8 and 9; draft-07 Core section 8.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "schema/compiler.h"
#include "schema/metaschemas.h"
#include "schema/uri.h"

#define URI_MAX 4096 /* longer than any URI in use; file systems and browsers agree on less */

/* -- nodes by source --------------------------------------------------------------------------------------------- */

static size_t slot_of(const struct vd_compiler *c, const cJSON *source)
{
    size_t i = (size_t)(((uintptr_t)source >> 4) * 0x9E3779B97F4A7C15u >> 20) & (c->table_size - 1);

    while (c->table[i] != NULL && c->table[i]->source != source)
        i = (i + 1) & (c->table_size - 1);
    return i;
}

struct vd_node *vd_load_node(struct vd_compiler *c, const cJSON *source)
{
    return c->table_size == 0 ? NULL : c->table[slot_of(c, source)];
}

static enum vd_code grow_table(struct vd_compiler *c)
{
    struct vd_node **old = c->table;
    size_t old_size = c->table_size;
    size_t size = old_size == 0 ? 256 : old_size * 2;
    struct vd_node **table = vd_alloc_array(size, sizeof(struct vd_node *));

    if (table == NULL)
        return vd_compile_nomem(c);
    c->table = table;
    c->table_size = size;
    for (size_t i = 0; i < old_size; i++)
        if (old[i] != NULL)
            c->table[slot_of(c, old[i]->source)] = old[i];
    (void)vd_free(old);
    return VD_OK;
}

static enum vd_code add_node(struct vd_compiler *c, const cJSON *source,
                             struct vd_resource *resource, const char *path, struct vd_node **ret)
{
    enum vd_code rc = c->table_used * 2 >= c->table_size ? grow_table(c) : VD_OK;
    struct vd_node *node = rc == VD_OK ? vd_arena_alloc(&c->schema->arena, sizeof(*node)) : NULL;

    if (node == NULL)
        return vd_compile_nomem(c);
    node->source = source;
    node->resource = resource;
    node->path = path;
    c->table[slot_of(c, source)] = node;
    c->table_used++;
    *ret = node;
    return VD_OK;
}

/* -- resources --------------------------------------------------------------------------------------------------- */

static enum vd_code refuse(struct vd_compiler *c, const char *path, const char *reason)
{
    return vd_err_set(c->err, VD_E_CONFIG, false, "at %s: %s",
                      path[0] == '\0' ? "the schema" : path, reason);
}

static struct vd_resource *find_resource(struct vd_compiler *c, struct vd_span uri)
{
    for (struct vd_resource *r = c->schema->resources; r != NULL; r = r->next)
        if (vd_span_eq_c(uri, r->uri) || (r->alias != NULL && vd_span_eq_c(uri, r->alias)))
            return r;
    return NULL;
}

/* The absolute URI of reference without fragment, in the arena. */
static enum vd_code resolve_uri(struct vd_compiler *c, const char *base, struct vd_span reference,
                                const char **ret)
{
    struct vd_buf out;
    enum vd_code rc;

    vd_buf_init(&out, URI_MAX);
    rc = vd_uri_resolve(&out, vd_span_of(base), reference);
    if (rc == VD_E_LIMIT)
        rc = vd_err_set(c->err, VD_E_CONFIG, false, "a URI is longer than %d bytes", URI_MAX);
    else if (rc != VD_OK)
        rc = vd_compile_nomem(c);
    if (rc == VD_OK) {
        *ret = vd_arena_strndup(&c->schema->arena, vd_buf_span(&out));
        if (*ret == NULL)
            rc = vd_compile_nomem(c);
    }
    vd_buf_free(&out);
    return rc;
}

static const struct {
    const char *uri;
    unsigned bit;
} vocabularies[] = {
    {"https://json-schema.org/draft/2020-12/vocab/core", VD_VOCAB_CORE},
    {"https://json-schema.org/draft/2020-12/vocab/applicator", VD_VOCAB_APPLICATOR},
    {"https://json-schema.org/draft/2020-12/vocab/unevaluated", VD_VOCAB_UNEVALUATED},
    {"https://json-schema.org/draft/2020-12/vocab/validation", VD_VOCAB_VALIDATION},
    {"https://json-schema.org/draft/2020-12/vocab/meta-data", VD_VOCAB_METADATA},
    {"https://json-schema.org/draft/2020-12/vocab/format-annotation", VD_VOCAB_FORMAT},
    {"https://json-schema.org/draft/2020-12/vocab/format-assertion", VD_VOCAB_FORMAT_ASSERTION},
    {"https://json-schema.org/draft/2020-12/vocab/content", VD_VOCAB_CONTENT},
};

/* "$vocabulary" of a custom metaschema: what is not listed is not understood; what is required must be known. */
static enum vd_code read_vocabularies(struct vd_compiler *c, const cJSON *list,
                                      struct vd_resource *r)
{
    const cJSON *child;

    r->vocabularies = VD_VOCAB_CORE;
    cJSON_ArrayForEach(child, list)
    {
        unsigned bit = 0;

        for (size_t i = 0; i < sizeof(vocabularies) / sizeof(vocabularies[0]); i++)
            if (strcmp(child->string, vocabularies[i].uri) == 0)
                bit = vocabularies[i].bit;
        if (bit == 0 && cJSON_IsTrue(child))
            return vd_err_set(c->err, VD_E_CONFIG, false, "unknown vocabulary is required: %.120s",
                              child->string);
        r->vocabularies |= bit;
    }
    return VD_OK;
}

static bool known_draft(struct vd_span uri, unsigned *ret)
{
    static const struct {
        const char *uri;
        unsigned draft;
    } rows[] = {
        {"https://json-schema.org/draft/2020-12/schema", VD_D2020},
        {"http://json-schema.org/draft-07/schema", VD_D7},
        {"https://json-schema.org/draft-07/schema", VD_D7},
        {"http://json-schema.org/draft-06/schema", VD_D7}, /* draft-07 only adds keywords to it */
    };

    if (uri.len > 0 && uri.ptr[uri.len - 1] == '#')
        uri.len--;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (vd_span_eq_c(uri, rows[i].uri)) {
            *ret = rows[i].draft;
            return true;
        }
    }
    return false;
}

/* What "$schema" says about the resource: a known draft, or a metaschema that resolve() knows. */
static enum vd_code read_dialect(struct vd_compiler *c, const cJSON *source, const char *path,
                                 struct vd_resource *r)
{
    const cJSON *schema = vd_json_get(source, "$schema");
    const cJSON *meta;

    r->vocabularies = VD_VOCAB_STANDARD;
    if (schema == NULL)
        return VD_OK;
    if (!cJSON_IsString(schema))
        return refuse(c, path, "$schema must be a string");
    if (known_draft(vd_json_string(schema), &r->draft))
        return VD_OK;
    meta = c->options->resolve != NULL
               ? c->options->resolve(c->options->resolve_arg, schema->valuestring)
               : NULL;
    if (meta == NULL)
        return vd_err_set(c->err, VD_E_CONFIG, false,
                          "at %s: unknown $schema \"%.100s\" (known: draft 2020-12 and draft-07)",
                          path[0] == '\0' ? "the schema" : path, schema->valuestring);
    if (!known_draft(vd_json_get_string(meta, "$schema"), &r->draft))
        return refuse(c, path, "$schema names a metaschema of an unknown draft");
    if (r->draft == VD_D2020 && vd_json_get(meta, "$vocabulary") != NULL)
        return read_vocabularies(c, vd_json_get(meta, "$vocabulary"), r);
    return VD_OK;
}

static enum vd_code add_anchor(struct vd_compiler *c, struct vd_node *node, const char *name,
                               bool dynamic)
{
    struct vd_anchor *a;

    for (a = node->resource->anchors; a != NULL; a = a->next)
        if (strcmp(a->name, name) == 0 && a->node != node)
            return refuse(c, node->path, "this anchor exists twice in its resource");
    a = vd_arena_alloc(&c->schema->arena, sizeof(*a));
    if (a == NULL)
        return vd_compile_nomem(c);
    *a = (struct vd_anchor){
        .name = name, .node = node, .dynamic = dynamic, .next = node->resource->anchors};
    node->resource->anchors = a;
    return VD_OK;
}

static enum vd_code add_anchors(struct vd_compiler *c, struct vd_node *node)
{
    static const char *const keywords[] = {"$anchor", "$dynamicAnchor"};

    if (node->resource->draft == VD_D7)
        return VD_OK;
    for (size_t i = 0; i < 2; i++) {
        const cJSON *value = vd_json_get(node->source, keywords[i]);
        enum vd_code rc;

        if (value == NULL)
            continue;
        if (!cJSON_IsString(value) || value->valuestring[0] == '\0')
            return refuse(c, node->path, "an anchor must be a name");
        rc = add_anchor(c, node, value->valuestring, i == 1);
        if (rc != VD_OK)
            return rc;
    }
    return VD_OK;
}

/* A new resource starts at source. parent is NULL at the root of a document, whose URI then is base. */
static enum vd_code add_resource(struct vd_compiler *c, const cJSON *source,
                                 const struct vd_resource *parent, const char *base,
                                 struct vd_span id, const char *path, struct vd_resource **ret)
{
    struct vd_resource *r = vd_arena_alloc(&c->schema->arena, sizeof(*r));
    enum vd_code rc;

    if (r == NULL)
        return vd_compile_nomem(c);
    r->root = source;
    r->draft = parent != NULL                            ? parent->draft
               : c->options->draft == VD_SCHEMA_DRAFT_07 ? VD_D7
                                                         : VD_D2020;
    rc = resolve_uri(c, base, id, &r->uri);
    if (rc == VD_OK)
        rc = read_dialect(c, source, path, r);
    if (rc != VD_OK)
        return rc;
    if (parent != NULL && vd_json_get(source, "$schema") == NULL)
        r->vocabularies = parent->vocabularies;
    if (parent == NULL)
        r->alias = base;
    if (parent != NULL && find_resource(c, vd_span_of(r->uri)) != NULL)
        return refuse(c, path, "this $id exists twice");
    r->next = c->schema->resources;
    c->schema->resources = r;
    *ret = r;
    return VD_OK;
}

/* -- finding the schemas of a document --------------------------------------------------------------------------- */

static enum vd_code scan(struct vd_compiler *c, const cJSON *source, struct vd_resource *resource,
                         const char *path, size_t depth);

/* "$id" at source. In draft-07 a "#name" is an anchor, and beside "$ref" an id means nothing. */
static enum vd_code enter(struct vd_compiler *c, const cJSON *source, const char *path,
                          struct vd_resource **resource, struct vd_span *ret_anchor)
{
    const cJSON *id = vd_json_get(source, "$id");
    struct vd_span text;
    struct vd_uri uri;

    *ret_anchor = (struct vd_span){NULL, 0};
    if (id == NULL)
        return VD_OK;
    if (!cJSON_IsString(id))
        return refuse(c, path, "$id must be a string");
    if ((*resource)->draft == VD_D7 && vd_json_get(source, "$ref") != NULL)
        return VD_OK;
    text = vd_json_string(id);
    vd_uri_split(text, &uri);
    if (uri.fragment.len > 0) {
        const cJSON *schema = vd_json_get(source, "$schema");
        unsigned draft = (*resource)->draft;

        if (schema != NULL && cJSON_IsString(schema))
            (void)known_draft(vd_json_string(schema), &draft);
        if (draft != VD_D7)
            return refuse(c, path, "$id must not have a fragment: use $anchor");
        *ret_anchor = uri.fragment;
        if (text.ptr[0] == '#')
            return VD_OK;
    }
    if ((*resource)->root == source) /* the root of a document was entered already */
        return VD_OK;
    return add_resource(c, source, *resource, (*resource)->uri, text, path, resource);
}

static const char *child_path(struct vd_compiler *c, const char *path, const char *keyword,
                              const char *key)
{
    struct vd_buf out;
    char *copy = NULL;

    vd_buf_init(&out, VD_SCHEMA_MAX_COMPILED_BYTES);
    (void)vd_buf_add_c(&out, path);
    (void)vd_buf_add_char(&out, '/');
    (void)vd_buf_add_c(&out, keyword);
    if (key != NULL)
        (void)vd_buf_add_char(&out, '/');
    for (; key != NULL && *key != '\0'; key++) {
        if (*key == '~' || *key == '/')
            (void)vd_buf_add_c(&out, *key == '~' ? "~0" : "~1");
        else
            (void)vd_buf_add_char(&out, *key);
    }
    if (out.failed == VD_OK)
        copy = vd_arena_strndup(&c->schema->arena, vd_buf_span(&out));
    vd_buf_free(&out);
    return copy;
}

static enum vd_code scan_child(struct vd_compiler *c, const cJSON *child,
                               struct vd_resource *resource, const char *path, const char *keyword,
                               const char *key, size_t depth)
{
    const char *full = child_path(c, path, keyword, key);

    return full == NULL ? vd_compile_nomem(c) : scan(c, child, resource, full, depth + 1);
}

static enum vd_code scan_children(struct vd_compiler *c, const cJSON *value,
                                  struct vd_resource *resource, const char *path,
                                  const struct vd_keyword *kw, size_t depth)
{
    bool list = cJSON_IsArray(value);
    const cJSON *child;
    char index[24];
    size_t i = 0;
    enum vd_code rc = VD_OK;

    cJSON_ArrayForEach(child, value)
    {
        if (kw->shape == VD_SHAPE_MAP_OR_NAMES && cJSON_IsArray(child))
            continue;
        (void)snprintf(index, sizeof(index), "%zu", i++);
        rc = scan_child(c, child, resource, path, kw->name, list ? index : child->string, depth);
        if (rc != VD_OK)
            return rc;
    }
    return rc;
}

static enum vd_code scan_keyword(struct vd_compiler *c, const cJSON *value,
                                 struct vd_resource *resource, const char *path,
                                 const struct vd_keyword *kw, size_t depth)
{
    switch (kw->shape) {
    case VD_SHAPE_NONE:
        return VD_OK;
    case VD_SHAPE_ONE:
        return scan_child(c, value, resource, path, kw->name, NULL, depth);
    case VD_SHAPE_ONE_OR_LIST:
        if (!cJSON_IsArray(value))
            return scan_child(c, value, resource, path, kw->name, NULL, depth);
        return scan_children(c, value, resource, path, kw, depth);
    case VD_SHAPE_LIST:
        if (!cJSON_IsArray(value))
            return refuse(c, child_path(c, path, kw->name, NULL), "must be an array of schemas");
        return scan_children(c, value, resource, path, kw, depth);
    case VD_SHAPE_MAP:
    case VD_SHAPE_MAP_OR_NAMES:
        if (!cJSON_IsObject(value))
            return refuse(c, child_path(c, path, kw->name, NULL), "must be an object of schemas");
        return scan_children(c, value, resource, path, kw, depth);
    }
    return VD_OK;
}

/* Makes nodes of source and of all schemas inside it, as far as keywords tell that they are schemas. */
static enum vd_code scan(struct vd_compiler *c, const cJSON *source, struct vd_resource *resource,
                         const char *path, size_t depth)
{
    struct vd_span anchor = {NULL, 0};
    struct vd_node *node = NULL;
    enum vd_code rc = VD_OK;

    if (depth > VD_JSON_MAX_TREE_DEPTH)
        return vd_err_set(c->err, VD_E_LIMIT, false, "the schema is nested too deeply");
    if (vd_load_node(c, source) != NULL)
        return VD_OK;
    if (!cJSON_IsObject(source) && !cJSON_IsBool(source))
        return refuse(c, path, "a schema must be an object, true or false");
    rc = enter(c, source, path, &resource, &anchor);
    if (rc == VD_OK)
        rc = add_node(c, source, resource, path, &node);
    if (rc == VD_OK && resource->root == source)
        resource->node = node;
    if (rc == VD_OK)
        rc = add_anchors(c, node);
    if (rc == VD_OK && anchor.len > 0) {
        const char *name = vd_arena_strndup(&c->schema->arena, anchor);

        rc = name == NULL ? vd_compile_nomem(c) : add_anchor(c, node, name, false);
    }
    for (const struct vd_keyword *kw = vd_keywords; rc == VD_OK && kw->name != NULL; kw++) {
        const cJSON *value = (kw->drafts & resource->draft) != 0 && kw->shape != VD_SHAPE_NONE
                                 ? vd_json_get(source, kw->name)
                                 : NULL;

        if (value != NULL)
            rc = scan_keyword(c, value, resource, path, kw, depth);
    }
    return rc;
}

enum vd_code vd_load_document(struct vd_compiler *c, const cJSON *source, const char *uri,
                              struct vd_node **ret_root)
{
    struct vd_tree *tree = vd_arena_alloc(&c->schema->arena, sizeof(*tree));
    struct vd_resource *resource = NULL;
    const cJSON *id;
    bool main_document = c->document_count == 0;
    enum vd_code rc;

    if (++c->document_count > VD_SCHEMA_MAX_DOCUMENTS)
        return vd_err_set(c->err, VD_E_LIMIT, false, "the schema refers to more than %d documents",
                          VD_SCHEMA_MAX_DOCUMENTS);
    if (tree == NULL)
        return vd_compile_nomem(c);
    tree->json = vd_json_copy(source);
    if (tree->json == NULL)
        return vd_compile_nomem(c);
    tree->next = c->schema->trees;
    c->schema->trees = tree;
    if (!cJSON_IsObject(tree->json) && !cJSON_IsBool(tree->json))
        return refuse(c, uri, "a schema must be an object, true or false");
    id = vd_json_get(tree->json, "$id");
    rc = add_resource(c, tree->json, NULL, uri,
                      id != NULL && cJSON_IsString(id) ? vd_json_string(id) : VD_LIT(""), "",
                      &resource);
    if (rc == VD_OK)
        rc = scan(c, tree->json, resource,
                  main_document ? "" : vd_arena_printf(&c->schema->arena, "%s#", uri), 0);
    if (rc == VD_OK)
        *ret_root = resource->node;
    return rc;
}

/* -- references -------------------------------------------------------------------------------------------------- */

static enum vd_code load_metaschema(struct vd_compiler *c, const char *uri, struct vd_span text,
                                    struct vd_node **ret)
{
    cJSON *tree = NULL;
    enum vd_code rc = vd_json_parse(text, &tree, c->err);

    if (rc == VD_OK)
        rc = vd_load_document(c, tree, uri, ret);
    (void)vd_json_free(tree);
    return rc;
}

/* The resource with this URI; its document is loaded if need be. */
static enum vd_code load_resource(struct vd_compiler *c, const char *uri, struct vd_resource **ret)
{
    struct vd_span text = vd_metaschema(vd_span_of(uri));
    const cJSON *document = NULL;
    struct vd_node *root = NULL;
    enum vd_code rc;

    *ret = find_resource(c, vd_span_of(uri));
    if (*ret != NULL)
        return VD_OK;
    if (text.len == 0 && c->options->resolve != NULL)
        document = c->options->resolve(c->options->resolve_arg, uri);
    if (text.len > 0)
        rc = load_metaschema(c, uri, text, &root);
    else if (document != NULL)
        rc = vd_load_document(c, document, uri, &root);
    else
        rc = vd_err_set(c->err, VD_E_CONFIG, false,
                        "no schema with the URI \"%.120s\" (nothing is fetched)", uri);
    if (rc == VD_OK)
        *ret = root->resource;
    return rc;
}

/* The path of a place that is no schema by its keyword, but is used as one. */
static const char *pointer_path(struct vd_compiler *c, const struct vd_resource *resource,
                                struct vd_span pointer)
{
    return vd_arena_printf(&c->schema->arena, "%s%.*s", resource->node->path, (int)pointer.len,
                           pointer.len > 0 ? pointer.ptr : "");
}

/* The innermost known resource on the way from the root of resource along pointer. */
static struct vd_resource *resource_along(struct vd_compiler *c, struct vd_resource *resource,
                                          struct vd_span pointer)
{
    for (size_t n = pointer.len; n > 0; n--) {
        const cJSON *place;
        struct vd_node *node;

        if (pointer.ptr[n - 1] != '/')
            continue;
        place = vd_json_pointer(resource->root, vd_span_sub(pointer, 0, n - 1));
        node = place == NULL ? NULL : vd_load_node(c, place);
        if (node != NULL)
            return node->resource;
    }
    return resource;
}

static enum vd_code find_pointer(struct vd_compiler *c, struct vd_resource *resource,
                                 struct vd_span pointer, struct vd_node **ret)
{
    const cJSON *place = vd_json_pointer(resource->root, pointer);
    const char *path;
    enum vd_code rc = VD_OK;

    *ret = NULL;
    if (place == NULL)
        return VD_OK;
    if (vd_load_node(c, place) == NULL) {
        path = pointer_path(c, resource, pointer);
        rc = path == NULL ? vd_compile_nomem(c)
                          : scan(c, place, resource_along(c, resource, pointer), path, 0);
    }
    if (rc == VD_OK)
        *ret = vd_load_node(c, place);
    return rc;
}

static enum vd_code find_fragment(struct vd_compiler *c, struct vd_resource *resource,
                                  struct vd_span fragment, struct vd_node **ret,
                                  const char **ret_anchor)
{
    if (fragment.len == 0) {
        *ret = resource->node;
        return VD_OK;
    }
    if (fragment.ptr[0] == '/')
        return find_pointer(c, resource, fragment, ret);
    for (const struct vd_anchor *a = resource->anchors; a != NULL; a = a->next) {
        if (vd_span_eq_c(fragment, a->name)) {
            *ret = a->node;
            if (a->dynamic)
                *ret_anchor = a->name;
        }
    }
    return VD_OK;
}

enum vd_code vd_load_reference(struct vd_compiler *c, struct vd_resource *resource,
                               struct vd_span reference, struct vd_node **ret_node,
                               const char **ret_anchor)
{
    struct vd_resource *target = NULL;
    struct vd_uri parts;
    struct vd_buf fragment;
    const char *uri = NULL;
    enum vd_code rc = resolve_uri(c, resource->uri, reference, &uri);

    *ret_node = NULL;
    *ret_anchor = NULL;
    vd_buf_init(&fragment, reference.len + 1);
    vd_uri_split(reference, &parts);
    /* "#..." is this resource, whatever its URI: two documents may both have none. */
    if (rc == VD_OK && reference.len > 0 && reference.ptr[0] == '#')
        target = resource;
    else if (rc == VD_OK)
        rc = load_resource(c, uri, &target);
    if (rc == VD_OK && !vd_uri_decode(&fragment, parts.fragment))
        rc = vd_err_set(c->err, VD_E_CONFIG, false,
                        "a %% is not followed by two hexadecimal digits");
    if (rc == VD_OK && fragment.failed != VD_OK)
        rc = vd_compile_nomem(c);
    if (rc == VD_OK)
        rc = find_fragment(c, target, vd_buf_span(&fragment), ret_node, ret_anchor);
    vd_buf_free(&fragment);
    if (rc == VD_OK && *ret_node == NULL)
        rc = vd_err_set(c->err, VD_E_CONFIG, false, "nothing is at \"%.*s\"",
                        (int)(reference.len > 120 ? 120 : reference.len), reference.ptr);
    return rc;
}
