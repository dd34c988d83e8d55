/* policy/load_files.c - see load.h: schemas and prompts that a policy names, and the hash over all of it. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"
#include "policy/load.h"

#define FOLDERS_UP 4 /* policies/billing/dunning.cfg finds ./schemas in three */

static void *release_json(void *thing)
{
    return vd_json_free(thing);
}

static void *release_schema(void *thing)
{
    return vd_schema_free(thing);
}

/* The schemas folder: as given, else the nearest one beside the policy or above it. Owned by the caller; NULL: none. */
static char *schemas_folder(const struct vd_loader *ld)
{
    char *dir, *found = NULL;

    if (ld->options->schemas_dir != NULL)
        return vd_strdup(ld->options->schemas_dir);
    dir = vd_path_folder(ld->policy->file);
    for (int up = 0; up < FOLDERS_UP && dir != NULL && found == NULL; up++) {
        char *candidate = vd_path_join(dir, "schemas");
        char *above = vd_path_join(dir, "..");

        if (candidate != NULL && vd_file_is_folder(candidate)) {
            found = candidate;
            candidate = NULL;
        }
        vd_free(candidate);
        vd_free(dir);
        dir = above;
    }
    vd_free(dir);
    return found;
}

/* Read the file name in dir into out, after a check that it is inside. */
static bool read_inside(struct vd_loader *ld, const char *dir, const char *root, const char *name,
                        const struct vd_conf_node *node, struct vd_buf *out)
{
    char *path = dir == NULL ? NULL : vd_path_join(dir, name);
    struct vd_err err;
    bool ok = false;

    if (path == NULL)
        vd_diag_error(ld->diags, node->file, node->line, "a `schemas` folder beside the policies",
                      "%s: \"%.100s\" cannot be found", node->path, name);
    else if (!vd_path_inside(path, root))
        vd_diag_error(ld->diags, node->file, node->line, "the path of a file inside that folder",
                      "%s: \"%.100s\" is no file inside %.100s", node->path, name, root);
    else if (vd_file_read(path, out, &err) != VD_OK)
        vd_diag_error(ld->diags, node->file, node->line, NULL, "%s: %s", node->path, err.msg);
    else
        ok = true;
    vd_free(path);
    return ok;
}

static void remember(struct vd_loader *ld, const char *name, struct vd_span text)
{
    if (vd_json_get(ld->files, name) == NULL &&
        !vd_json_put(ld->files, name, vd_json_new_string(text)))
        vd_ld_nomem(ld);
}

static void remember_tree(struct vd_loader *ld, const char *name, const cJSON *tree)
{
    struct vd_buf text;

    vd_buf_init(&text, VD_CONF_MAX_BYTES * 2);
    if (vd_json_write_canonical(&text, tree) == VD_OK)
        remember(ld, name, vd_buf_span(&text));
    else
        vd_ld_nomem(ld);
    vd_buf_free(&text);
}

static void compile_schema(struct vd_loader *ld, const char *name, const struct vd_conf_node *node,
                           struct vd_span text, const cJSON **ret_tree,
                           const struct vd_schema **ret_schema)
{
    struct vd_schema_options options = {.draft = VD_SCHEMA_2020_12, .assert_format = true};
    struct vd_schema *schema = NULL;
    cJSON *tree = NULL;
    struct vd_err err;

    if (vd_json_parse(text, &tree, &err) != VD_OK) {
        vd_diag_error(ld->diags, node->file, node->line, NULL, "%s: %s: %s", node->path, name,
                      err.msg);
        return;
    }
    vd_ld_own(ld, release_json, tree);
    if (ld->rc == VD_OK && vd_schema_compile(tree, &options, &schema, &err) != VD_OK) {
        vd_diag_error(ld->diags, node->file, node->line, NULL, "%s: %s does not compile: %s",
                      node->path, name, err.msg);
        return;
    }
    if (ld->rc == VD_OK)
        vd_ld_own(ld, release_schema, schema);
    if (ld->rc != VD_OK)
        return;
    remember_tree(ld, name, tree);
    *ret_tree = tree;
    *ret_schema = schema;
}

void vd_ld_schema(struct vd_loader *ld, const char *name, const struct vd_conf_node *node,
                  const cJSON **ret_tree, const struct vd_schema **ret_schema)
{
    struct vd_buf text;
    char *dir;

    if (name == NULL || node == NULL)
        return;
    dir = schemas_folder(ld);
    vd_buf_init(&text, VD_CONF_MAX_BYTES);
    if (read_inside(ld, dir, dir, name, node, &text))
        compile_schema(ld, name, node, vd_buf_span(&text), ret_tree, ret_schema);
    vd_buf_free(&text);
    vd_free(dir);
}

const char *vd_ld_prompt(struct vd_loader *ld, const char *name, const struct vd_conf_node *node)
{
    const char *prompt = "";
    struct vd_buf text, json;
    char *dir;

    if (name == NULL || node == NULL)
        return vd_ld_string(ld, VD_LIT(""));
    dir = vd_path_folder(ld->policy->file);
    vd_buf_init(&text, VD_PROMPT_FILE_MAX_BYTES);
    vd_buf_init(&json, VD_PROMPT_FILE_MAX_BYTES * 6 + 2);
    if (dir == NULL) {
        vd_ld_nomem(ld);
    } else if (read_inside(ld, dir, ld->options->root != NULL ? ld->options->root : dir, name, node,
                           &text)) {
        /* The strict reader knows UTF-8: quoted, the text must be a JSON string. */
        if (vd_buf_add_json_string(&json, vd_buf_span(&text)) != VD_OK ||
            vd_json_check(vd_buf_span(&json), NULL) != VD_OK)
            vd_diag_error(ld->diags, node->file, node->line, "UTF-8 text",
                          "%s: \"%.100s\" is not UTF-8 text", node->path, name);
        else
            remember(ld, "(prompt)", vd_buf_span(&text));
        prompt = vd_ld_string(ld, vd_span_trim(vd_buf_span(&text)));
    }
    vd_buf_free(&json);
    vd_buf_free(&text);
    vd_free(dir);
    return prompt;
}

/* Which share of the keys a candidate has is no part of what a version decides: a reload may move it. */
static bool leave_canary_out(cJSON *content)
{
    cJSON *head = cJSON_GetObjectItemCaseSensitive(content, "policy");

    if (vd_json_get(content, "canary") == NULL)
        return true;
    cJSON_DeleteItemFromObjectCaseSensitive(content, "canary");
    if (!cJSON_IsObject(head))
        return true; /* said already: there is no policy section */
    cJSON_DeleteItemFromObjectCaseSensitive(head, "mode");
    return vd_json_put(head, "mode", vd_json_new_string(VD_LIT("enforce")));
}

void vd_ld_hash(struct vd_loader *ld)
{
    cJSON *content = vd_conf_to_json(vd_conf_root(ld->conf));
    struct vd_hasher *hasher = vd_hasher_new();
    struct vd_buf text, files;

    vd_buf_init(&text, VD_CONF_ARENA_MAX_BYTES);
    vd_buf_init(&files, VD_CONF_ARENA_MAX_BYTES);
    if (content == NULL || hasher == NULL || !leave_canary_out(content) ||
        vd_json_write_canonical(&text, content) != VD_OK ||
        vd_json_write_canonical(&files, ld->files) != VD_OK)
        vd_ld_nomem(ld);
    if (hasher != NULL) {
        vd_hasher_part(hasher, VD_LIT("verdict policy 1"));
        vd_hasher_part(hasher, vd_buf_span(&text));
        vd_hasher_part(hasher, vd_buf_span(&files));
        ld->policy->hash = vd_hasher_finish(hasher);
        vd_sha256_hex(&ld->policy->hash, ld->policy->hash_hex);
    }
    vd_buf_free(&files);
    vd_buf_free(&text);
    vd_json_free(content);
}
