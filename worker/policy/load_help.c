/* policy/load_help.c - see load.h: memory, tables, programs and small values of a policy that is being loaded. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "policy/load.h"

void vd_ld_nomem(struct vd_loader *ld)
{
    ld->rc = VD_E_NOMEM;
}

void *vd_ld_array(struct vd_loader *ld, size_t n, size_t size)
{
    void *p = vd_arena_array(ld->arena, n == 0 ? 1 : n, size);

    if (p == NULL)
        vd_ld_nomem(ld);
    return p;
}

const char *vd_ld_string(struct vd_loader *ld, struct vd_span s)
{
    const char *copy = vd_arena_strndup(ld->arena, s);

    if (copy == NULL)
        vd_ld_nomem(ld);
    return copy;
}

void vd_ld_own(struct vd_loader *ld, vd_release_fn *release, void *thing)
{
    struct vd_owned *owned = ld->spare;

    if (thing == NULL) {
        vd_ld_nomem(ld);
        return;
    }
    if (owned == NULL)
        owned = vd_alloc(sizeof(*owned));
    if (owned != NULL) {
        *owned = (struct vd_owned){release, thing, ld->policy->memory->owned};
        ld->policy->memory->owned = owned;
    }
    ld->spare = vd_alloc(sizeof(*ld->spare));
    if (owned == NULL || ld->spare == NULL)
        vd_ld_nomem(ld);
}

void vd_ld_read(struct vd_loader *ld, const struct vd_conf_node *group,
                const struct vd_conf_row *rows, void *target)
{
    if (vd_conf_read(ld->conf, group, rows, target, NULL, ld->diags, NULL) != VD_OK)
        vd_ld_nomem(ld);
}

/* Release functions of the one shape that vd_owned keeps. */
static void *release_program(void *thing)
{
    return vd_cel_program_free(thing);
}

static void *release_json(void *thing)
{
    return vd_json_free(thing);
}

const struct vd_cel_program *vd_ld_compile(struct vd_loader *ld, const struct vd_cel_env *env,
                                           struct vd_span source, const struct vd_conf_node *node,
                                           enum vd_cel_kind wants)
{
    struct vd_cel_program *program;
    struct vd_err err;
    enum vd_cel_kind kind;
    enum vd_code rc = vd_cel_compile(env, source, &program, &err);

    if (rc == VD_E_NOMEM) {
        vd_ld_nomem(ld);
        return NULL;
    }
    if (rc != VD_OK) {
        vd_diag_error(ld->diags, node->file, node->line, NULL, "%s: %s in \"%.*s\"", node->path,
                      err.msg, (int)(source.len > 100 ? 100 : source.len), source.ptr);
        return NULL;
    }
    vd_ld_own(ld, release_program, program);
    kind = vd_cel_result_kind(program);
    if (wants != VD_CEL_ERROR && kind != VD_CEL_ERROR && kind != wants)
        vd_diag_error(ld->diags, node->file, node->line, NULL,
                      "%s: \"%.*s\" is a %s, it must be a %s", node->path,
                      (int)(source.len > 100 ? 100 : source.len), source.ptr,
                      vd_cel_kind_name(kind), vd_cel_kind_name(wants));
    return program;
}

const struct vd_cel_program *vd_ld_program(struct vd_loader *ld, const struct vd_cel_env *env,
                                           const struct vd_conf_node *node, enum vd_cel_kind wants)
{
    if (node == NULL || node->kind != VD_CONF_STRING)
        return NULL; /* absent, or said already */
    return vd_ld_compile(ld, env, node->u.s, node, wants);
}

cJSON *vd_conf_to_json(const struct vd_conf_node *node)
{
    cJSON *json = NULL;

    switch (node->kind) {
    case VD_CONF_BOOL:
        return cJSON_CreateBool(node->u.b);
    case VD_CONF_INT:
        return vd_json_new_int(node->u.i);
    case VD_CONF_FLOAT:
        return vd_json_new_double(node->u.d);
    case VD_CONF_STRING:
        return vd_json_new_string(node->u.s);
    case VD_CONF_GROUP:
        json = cJSON_CreateObject();
        for (const struct vd_conf_node *n = node->first; n != NULL && json != NULL; n = n->next)
            if (!vd_json_put(json, n->name, vd_conf_to_json(n)))
                json = vd_json_free(json);
        return json;
    case VD_CONF_LIST:
        json = cJSON_CreateArray();
        for (const struct vd_conf_node *n = node->first; n != NULL && json != NULL; n = n->next)
            if (!vd_json_append(json, vd_conf_to_json(n)))
                json = vd_json_free(json);
        return json;
    }
    return NULL;
}

const cJSON *vd_ld_json(struct vd_loader *ld, const struct vd_conf_node *node)
{
    cJSON *json = vd_conf_to_json(node);

    vd_ld_own(ld, release_json, json);
    return ld->rc == VD_OK ? json : NULL;
}

bool vd_ld_name(struct vd_loader *ld, const struct vd_conf_node *node, bool binding)
{
    static const char *const reserved[] = {
        "event", "now",  "params", "action", "evidence", "decision", "state", "memory",
        "tools", "args", "item",   "true",   "false",    "null",     "in",    NULL};
    bool ok =
        node->name != NULL && strlen(node->name) <= 64 && isalpha((unsigned char)node->name[0]);

    for (const char *p = node->name; ok && *p != '\0'; p++)
        ok = isalnum((unsigned char)*p) || *p == '_';
    if (!ok)
        vd_diag_error(ld->diags, node->file, node->line,
                      "a letter, then letters, digits and _, at most 64", "%s is not a name",
                      node->path);
    for (size_t i = 0; ok && binding && reserved[i] != NULL; i++)
        if (strcmp(node->name, reserved[i]) == 0) {
            vd_diag_error(ld->diags, node->file, node->line, "another name", "%s: \"%s\" is taken",
                          node->path, node->name);
            ok = false;
        }
    return ok;
}

size_t vd_ld_count(struct vd_loader *ld, const struct vd_conf_node *node)
{
    if (node == NULL)
        return 0;
    if (node->kind != VD_CONF_GROUP) {
        vd_diag_error(ld->diags, node->file, node->line, "a group: { NAME = { ... }; }",
                      "%s is a %s", node->path, vd_conf_kind_name(node->kind));
        return 0;
    }
    if (node->count > VD_POLICY_MAX_NAMES) {
        vd_diag_error(ld->diags, node->file, node->line, "fewer", "%s has more than %d members",
                      node->path, VD_POLICY_MAX_NAMES);
        return 0;
    }
    return node->count;
}

const char *const *vd_ld_strings(struct vd_loader *ld, struct vd_conf_strings from,
                                 size_t *ret_count)
{
    const char **items = vd_ld_array(ld, from.count, sizeof(*items));

    for (size_t i = 0; items != NULL && i < from.count; i++)
        items[i] = vd_ld_string(ld, vd_span_of(from.items[i]));
    *ret_count = items == NULL ? 0 : from.count;
    return items;
}

bool vd_ld_path(struct vd_loader *ld, const char *text, const struct vd_conf_node *node,
                struct vd_path *ret)
{
    struct vd_err err;
    enum vd_code rc = vd_path_parse(ld->arena, vd_span_of(text), ret, &err);

    if (rc == VD_E_NOMEM)
        vd_ld_nomem(ld);
    else if (rc != VD_OK)
        vd_diag_error(ld->diags, node->file, node->line, err.msg, "%s: \"%.80s\" is not a path",
                      node->path, text);
    return rc == VD_OK;
}

const struct vd_conf_node *vd_ld_item(const struct vd_conf_node *node, size_t i)
{
    const struct vd_conf_node *item = node->kind == VD_CONF_LIST ? node->first : NULL;

    for (; item != NULL && i > 0; i--)
        item = item->next;
    return item != NULL ? item : node;
}

const struct vd_path *vd_ld_paths(struct vd_loader *ld, struct vd_conf_strings from,
                                  const struct vd_conf_node *node, size_t *ret_count)
{
    struct vd_path *paths = vd_ld_array(ld, from.count, sizeof(*paths));

    *ret_count = 0;
    for (size_t i = 0; paths != NULL && i < from.count; i++)
        if (vd_ld_path(ld, from.items[i], vd_ld_item(node, i), &paths[*ret_count]))
            (*ret_count)++;
    return paths;
}
