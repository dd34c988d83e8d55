/* base/conf.c - see conf.h: files to a tree. The tables are conf_table.c. */
#include "base/conf.h"

#include <errno.h>
#include <libconfig.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/conf_scan.h"
#include "base/conf_tree.h"
#include "base/file.h"
#include "base/limits.h"

static const char *const kind_names[] = {
    [VD_CONF_BOOL] = "boolean",  [VD_CONF_INT] = "integer", [VD_CONF_FLOAT] = "number",
    [VD_CONF_STRING] = "string", [VD_CONF_GROUP] = "group", [VD_CONF_LIST] = "list",
};

const char *vd_conf_kind_name(enum vd_conf_kind kind)
{
    return kind_names[kind];
}

const struct vd_conf_node *vd_conf_root(const struct vd_conf *conf)
{
    return conf->root;
}

const struct vd_conf_node *vd_conf_get(const struct vd_conf_node *group, const char *name)
{
    if (group == NULL || group->kind != VD_CONF_GROUP)
        return NULL;
    for (const struct vd_conf_node *n = group->first; n != NULL; n = n->next)
        if (strcmp(n->name, name) == 0)
            return n;
    return NULL;
}

const struct vd_conf_node *vd_conf_find(const struct vd_conf_node *group, const char *path)
{
    while (group != NULL && *path != '\0') {
        size_t len = vd_span_find(vd_span_of(path), '.');
        char name[128];

        if (len >= sizeof(name))
            return NULL;
        memcpy(name, path, len);
        name[len] = '\0';
        group = vd_conf_get(group, name);
        path += len + (path[len] == '.' ? 1 : 0);
    }
    return group;
}

void vd_conf_show(const struct vd_conf_node *node, char *out, size_t size)
{
    switch (node->kind) {
    case VD_CONF_BOOL:
        (void)snprintf(out, size, "%s", node->u.b ? "true" : "false");
        break;
    case VD_CONF_INT:
        (void)snprintf(out, size, "%lld", (long long)node->u.i);
        break;
    case VD_CONF_FLOAT:
        (void)snprintf(out, size, "%g", node->u.d);
        break;
    case VD_CONF_STRING:
        (void)snprintf(out, size, "\"%.40s%s\"", node->u.s.ptr, node->u.s.len > 40 ? "..." : "");
        break;
    default:
        (void)snprintf(out, size, "a %s", kind_names[node->kind]);
        break;
    }
}

void *vd_conf_free(struct vd_conf *conf)
{
    if (conf != NULL) {
        vd_arena_fini(&conf->arena);
        vd_free(conf);
    }
    return NULL;
}

enum vd_code vd_conf_empty(struct vd_conf **ret_conf, struct vd_err *err)
{
    struct vd_conf *conf = vd_alloc(sizeof(*conf));

    if (conf == NULL)
        return vd_err_nomem(err, "settings");
    vd_arena_init(&conf->arena, VD_CONF_ARENA_MAX_BYTES);
    conf->root = vd_arena_alloc(&conf->arena, sizeof(*conf->root));
    if (conf->root == NULL) {
        vd_conf_free(conf);
        return vd_err_nomem(err, "settings");
    }
    conf->root->kind = VD_CONF_GROUP;
    conf->root->path = "";
    conf->root->line = 1;
    *ret_conf = conf;
    return VD_OK;
}

/* -- libconfig's tree to ours ------------------------------------------------------------------------------------ */

static bool set_value(struct vd_conf *conf, struct vd_conf_node *node, const config_setting_t *s,
                      struct vd_diags *diags)
{
    const char *text;

    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
        node->kind = VD_CONF_INT;
        node->u.i = config_setting_get_int(s);
        return true;
    case CONFIG_TYPE_INT64:
        node->kind = VD_CONF_INT;
        node->u.i = config_setting_get_int64(s);
        return true;
    case CONFIG_TYPE_FLOAT:
        node->kind = VD_CONF_FLOAT;
        node->u.d = config_setting_get_float(s);
        if (!isfinite(node->u.d))
            vd_diag_error(diags, node->file, node->line, "a number that a double can hold",
                          "%s is too large", node->path);
        return true;
    case CONFIG_TYPE_BOOL:
        node->kind = VD_CONF_BOOL;
        node->u.b = config_setting_get_bool(s) != 0;
        return true;
    case CONFIG_TYPE_STRING:
        node->kind = VD_CONF_STRING;
        text = config_setting_get_string(s);
        return vd_arena_dup(&conf->arena, vd_span_of(text == NULL ? "" : text), &node->u.s) ==
                   VD_OK &&
               (node->u.s.ptr != NULL ||
                (node->u.s.ptr = vd_arena_strndup(&conf->arena, VD_LIT(""))) != NULL);
    case CONFIG_TYPE_GROUP:
        node->kind = VD_CONF_GROUP;
        return true;
    default:
        node->kind = VD_CONF_LIST;
        return true;
    }
}

/* Copies s and all below it; the scan has bounded the depth. */
static struct vd_conf_node *convert(struct vd_conf *conf, const config_setting_t *s,
                                    const struct vd_conf_node *parent, size_t index,
                                    const char *file, struct vd_diags *diags)
{
    struct vd_conf_node *node = vd_arena_alloc(&conf->arena, sizeof(*node));
    const char *name = config_setting_name(s);
    const char *source = config_setting_source_file(s);
    struct vd_conf_node *last = NULL;

    if (node == NULL)
        return NULL;
    node->parent = parent;
    node->line = config_setting_source_line(s);
    node->file = source != NULL ? vd_arena_strndup(&conf->arena, vd_span_of(source)) : file;
    if (name != NULL)
        node->name = vd_arena_strndup(&conf->arena, vd_span_of(name));
    if (parent == NULL)
        node->path = "";
    else if (name != NULL)
        node->path = vd_arena_printf(&conf->arena, "%s%s%s", parent->path,
                                     parent->path[0] != '\0' ? "." : "", name);
    else
        node->path = vd_arena_printf(&conf->arena, "%s[%zu]", parent->path, index);
    if (node->path == NULL || node->file == NULL || (name != NULL && node->name == NULL) ||
        !set_value(conf, node, s, diags))
        return NULL;
    if (node->kind != VD_CONF_GROUP && node->kind != VD_CONF_LIST)
        return node;
    for (int i = 0; i < config_setting_length(s); i++) {
        struct vd_conf_node *child =
            convert(conf, config_setting_get_elem(s, (unsigned)i), node, (size_t)i, file, diags);

        if (child == NULL)
            return NULL;
        if (last == NULL)
            node->first = child;
        else
            last->next = child;
        last = child;
        node->count++;
    }
    return node;
}

static enum vd_code parse(struct vd_span text, const char *name, const char *include_dir,
                          struct vd_diags *diags, struct vd_conf **ret_conf, struct vd_err *err)
{
    struct vd_conf *conf = NULL;
    config_t cfg;
    char *copy = NULL;
    enum vd_code rc;

    config_init(&cfg);
    if (include_dir != NULL)
        config_set_include_dir(&cfg, include_dir);
    rc = vd_conf_empty(&conf, err);
    if (rc != VD_OK)
        goto out;
    copy = vd_strndup(text);
    if (copy == NULL) {
        rc = vd_err_nomem(err, "settings");
        goto out;
    }
    if (config_read_string(&cfg, copy) != CONFIG_TRUE) {
        const char *file = config_error_file(&cfg);
        const char *cause = config_error_text(&cfg);

        vd_diag_error(
            diags, file != NULL ? file : name, (unsigned)config_error_line(&cfg),
            cause != NULL && strstr(cause, "duplicate") != NULL
                ? "each name once in its group"
                : "name = value; with a value that is a number, true, false, \"text\", { } or [ ]",
            "%s near this line", cause != NULL ? cause : "cannot be read");
        rc = vd_diags_result(diags, err);
        goto out;
    }
    conf->root = convert(conf, config_root_setting(&cfg), NULL, 0,
                         vd_arena_strndup(&conf->arena, vd_span_of(name)), diags);
    rc = conf->root == NULL ? vd_err_nomem(err, name) : vd_diags_result(diags, err);
    if (rc != VD_OK)
        goto out;
    *ret_conf = conf;
    conf = NULL;
out:
    vd_free(copy);
    vd_conf_free(conf);
    config_destroy(&cfg);
    return rc;
}

enum vd_code vd_conf_parse(struct vd_span text, const char *name, struct vd_diags *diags,
                           struct vd_conf **ret_conf, struct vd_err *err)
{
    if (text.len > VD_CONF_MAX_BYTES)
        vd_diag_error(diags, name, 0, "a smaller file", "larger than %u bytes", VD_CONF_MAX_BYTES);
    else
        vd_conf_scan(text, name, diags, NULL, NULL);
    if (diags->errors > 0)
        return vd_diags_result(diags, err);
    return parse(text, name, NULL, diags, ret_conf, err);
}

/* -- includes ---------------------------------------------------------------------------------------------------- */

struct includes {
    const char *dir;  /* where libconfig looks: the first file's folder */
    const char *root; /* what they must stay in */
    const char *file; /* that is scanned now */
    struct vd_diags *diags;
    size_t count;
    size_t depth;
    size_t bytes;
};

static void scan_file(struct includes *inc, const char *path, const char *from, unsigned line);

static void on_include(void *arg, struct vd_span name, unsigned line)
{
    struct includes *inc = arg;
    const char *from = inc->file;
    char *relative = vd_strndup(name);
    char *path = relative != NULL ? vd_path_join(inc->dir, relative) : NULL;

    if (path == NULL)
        vd_diag_error(inc->diags, from, line, NULL, "out of memory");
    else if (name.len == 0 || name.ptr[0] == '/' || memchr(name.ptr, '\\', name.len) != NULL)
        vd_diag_error(inc->diags, from, line, "a path that starts in this file's folder",
                      "@include \"%.60s\" is not a relative path", relative);
    else if (inc->count == VD_CONF_MAX_INCLUDES || inc->depth == VD_CONF_MAX_INCLUDES)
        vd_diag_error(inc->diags, from, line, "fewer files", "more than %d files included",
                      VD_CONF_MAX_INCLUDES);
    else if (!vd_path_inside(path, inc->root))
        vd_diag_error(inc->diags, from, line, "a file inside that folder",
                      "@include \"%.60s\" is not a file inside %.80s", relative, inc->root);
    else
        scan_file(inc, path, from, line);
    inc->file = from;
    vd_free(path);
    vd_free(relative);
}

static void scan_file(struct includes *inc, const char *path, const char *from, unsigned line)
{
    struct vd_buf text;
    struct vd_err err;

    vd_buf_init(&text, VD_CONF_MAX_BYTES - inc->bytes);
    inc->count++;
    inc->depth++;
    inc->file = path;
    if (vd_file_is_folder(path) || vd_file_read(path, &text, &err) != VD_OK) {
        vd_diag_error(inc->diags, from, line, "a file that can be read, of a smaller size",
                      "@include: cannot read %.100s", path);
    } else {
        inc->bytes += text.len;
        vd_conf_scan(vd_buf_span(&text), path, inc->diags, on_include, inc);
    }
    inc->depth--;
    vd_buf_free(&text);
}

enum vd_code vd_conf_load(const char *path, const char *root, struct vd_diags *diags,
                          struct vd_conf **ret_conf, struct vd_err *err)
{
    struct includes inc = {.file = path, .diags = diags};
    struct vd_buf text;
    char *dir = vd_path_folder(path);
    enum vd_code rc;

    vd_buf_init(&text, VD_CONF_MAX_BYTES);
    if (dir == NULL) {
        rc = vd_err_nomem(err, path);
        goto out;
    }
    inc.dir = dir;
    inc.root = root != NULL ? root : dir;
    if (vd_file_is_folder(path)) {
        rc = vd_err_set(err, VD_E_CONFIG, false, "%s: is a folder, not a file", path);
        goto out;
    }
    rc = vd_file_read(path, &text, err);
    if (rc != VD_OK)
        goto out;
    inc.bytes = text.len;
    vd_conf_scan(vd_buf_span(&text), path, diags, on_include, &inc);
    rc = vd_diags_result(diags, err);
    if (rc == VD_OK)
        rc = parse(vd_buf_span(&text), path, dir, diags, ret_conf, err);
out:
    vd_buf_free(&text);
    vd_free(dir);
    return rc;
}
