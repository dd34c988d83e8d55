/* policy/set.c - see set.h. */
#include "policy/set.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"
#include "policy/canary.h"

struct vd_policy_set {
    atomic_uint references;
    struct vd_policy **items;
    size_t count;
};

/* -- finding files ----------------------------------------------------------------------------------------------- */

void vd_policy_files_fini(struct vd_policy_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        vd_free(files->items[i].path);
        vd_free(files->items[i].root);
    }
    vd_free(files->items);
    *files = (struct vd_policy_files){NULL, 0};
}

static enum vd_code add_file(struct vd_policy_files *files, const char *path, const char *root,
                             struct vd_err *err)
{
    struct vd_policy_file *file = &files->items[files->count];

    if (files->count == VD_POLICY_MAX_FILES)
        return vd_err_set(err, VD_E_LIMIT, false, "more than %d policies", VD_POLICY_MAX_FILES);
    for (size_t i = 0; i < files->count; i++)
        if (strcmp(files->items[i].path, path) == 0)
            return VD_OK;
    file->path = vd_strdup(path);
    file->root = vd_strdup(root);
    files->count++; /* fini frees a half one */
    return file->path == NULL || file->root == NULL ? vd_err_nomem(err, "policies") : VD_OK;
}

static bool is_policy_name(const char *name)
{
    size_t n = strlen(name);

    return name[0] != '.' && n > 4 && strcmp(name + n - 4, ".cfg") == 0;
}

static enum vd_code walk(struct vd_policy_files *files, const char *dir, const char *root,
                         unsigned depth, struct vd_err *err)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;
    enum vd_code rc = VD_OK;

    if (d == NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "%s: %s", dir, strerror(errno));
    while (rc == VD_OK && (entry = readdir(d)) != NULL) {
        char *path;

        if (entry->d_name[0] == '.')
            continue;
        path = vd_path_join(dir, entry->d_name);
        if (path == NULL)
            rc = vd_err_nomem(err, "policies");
        else if (vd_file_is_folder(path) && depth < VD_POLICY_FOLDER_DEPTH)
            rc = walk(files, path, root, depth + 1, err);
        else if (is_policy_name(entry->d_name) && !vd_file_is_folder(path))
            rc = add_file(files, path, root, err);
        vd_free(path);
    }
    (void)closedir(d);
    return rc;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct vd_policy_file *)a)->path,
                  ((const struct vd_policy_file *)b)->path);
}

enum vd_code vd_policy_files_find(const char *const *paths, size_t path_count,
                                  struct vd_policy_files *ret, struct vd_err *err)
{
    struct vd_policy_files files = {vd_alloc_array(VD_POLICY_MAX_FILES + 1, sizeof(*files.items)),
                                    0};
    enum vd_code rc = files.items == NULL ? vd_err_nomem(err, "policies") : VD_OK;

    for (size_t i = 0; i < path_count && rc == VD_OK; i++) {
        if (vd_file_is_folder(paths[i])) {
            rc = walk(&files, paths[i], paths[i], 0, err);
        } else {
            char *folder = vd_path_folder(paths[i]);

            rc = folder == NULL ? vd_err_nomem(err, "policies")
                                : add_file(&files, paths[i], folder, err);
            vd_free(folder);
        }
    }
    if (rc != VD_OK) {
        vd_policy_files_fini(&files);
        return rc;
    }
    qsort(files.items, files.count, sizeof(*files.items), by_path);
    *ret = files;
    return VD_OK;
}

/* -- the set ----------------------------------------------------------------------------------------------------- */

struct vd_policy_set *vd_policy_set_retain(const struct vd_policy_set *set)
{
    struct vd_policy_set *mine =
        (struct vd_policy_set *)set; /* the count is the only thing that changes */

    atomic_fetch_add(&mine->references, 1);
    return mine;
}

void *vd_policy_set_release(struct vd_policy_set *set)
{
    if (set == NULL || atomic_fetch_sub(&set->references, 1) != 1)
        return NULL;
    for (size_t i = 0; i < set->count; i++)
        vd_policy_free(set->items[i]);
    vd_free(set->items);
    return vd_free(set);
}

size_t vd_policy_set_count(const struct vd_policy_set *set)
{
    return set->count;
}

const struct vd_policy *vd_policy_set_get(const struct vd_policy_set *set, size_t i)
{
    return set->items[i];
}

const struct vd_policy *vd_policy_set_find(const struct vd_policy_set *set, struct vd_span id)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->items[i]->mode != VD_MODE_CANARY && vd_span_eq_c(id, set->items[i]->id))
            return set->items[i];
    return NULL;
}

static enum vd_code load_files(struct vd_policy_set *set, const struct vd_policy_files *files,
                               const struct vd_policy_options *options, struct vd_diags *diags,
                               struct vd_err *err)
{
    for (size_t i = 0; i < files->count; i++) {
        struct vd_policy_options own = options != NULL ? *options : (struct vd_policy_options){0};
        struct vd_policy *policy;
        enum vd_code rc;

        if (own.root == NULL)
            own.root = files->items[i].root;
        rc = vd_policy_load(files->items[i].path, &own, diags, &policy, err);
        if (rc == VD_E_NOMEM)
            return rc;
        if (rc != VD_OK)
            continue; /* said in diags; the others are looked at too */
        set->items[set->count++] = policy;
    }
    return VD_OK;
}

/* -- candidates -------------------------------------------------------------------------------------------------- */

/* The candidate of policy: found beside it, or loaded now where only the policy's own file was named. NULL after a diagnostic. */
static struct vd_policy *candidate_of(struct vd_policy_set *set, const struct vd_policy *policy,
                                      const struct vd_policy_options *options,
                                      struct vd_diags *diags, struct vd_err *err)
{
    struct vd_policy *candidate = NULL;

    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->items[i]->file, policy->candidate_file) == 0)
            return set->items[i];
    if (access(policy->candidate_file, F_OK) != 0)
        vd_diag_error(diags, policy->file, policy->canary_line, "a policy file in the same folder",
                      "canary.candidate: there is no usable %s", policy->candidate_file);
    else if (vd_policy_load(policy->candidate_file, options, diags, &candidate, err) == VD_OK)
        set->items[set->count++] = candidate;
    return candidate;
}

/* Policies that another names are its candidate and decide nothing by themselves. */
static enum vd_code attach_candidates(struct vd_policy_set *set,
                                      const struct vd_policy_options *options,
                                      struct vd_diags *diags, struct vd_err *err)
{
    size_t count = set->count;

    for (size_t i = 0; i < count; i++) {
        struct vd_policy *policy = set->items[i], *candidate;
        struct vd_err why = {.code = VD_OK};

        if (policy->candidate_file == NULL)
            continue;
        candidate = candidate_of(set, policy, options, diags, &why);
        if (why.code == VD_E_NOMEM)
            return vd_err_nomem(err, "candidate");
        if (candidate == NULL || !vd_canary_check(policy, candidate, diags))
            continue;
        candidate->mode = VD_MODE_CANARY;
        policy->candidate = candidate;
    }
    return VD_OK;
}

/* As a candidate, by some policy: what keeps it from being one has been said. */
static bool is_named(const struct vd_policy_set *set, const struct vd_policy *policy)
{
    bool named = false;

    for (size_t i = 0; i < set->count; i++)
        named = named || (set->items[i]->candidate_file != NULL &&
                          strcmp(set->items[i]->candidate_file, policy->file) == 0);
    return named;
}

static void check_ids(const struct vd_policy_set *set, struct vd_diags *diags)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct vd_policy *policy = set->items[i];
        const struct vd_policy *first = vd_policy_set_find(set, vd_span_of(policy->id));

        if (policy->mode != VD_MODE_CANARY && first != policy && !is_named(set, policy))
            vd_diag_error(diags, policy->file, 0, "another id",
                          "policy.id \"%s\" is also that of %s", policy->id, first->file);
    }
}

enum vd_code vd_policy_set_load(const char *const *paths, size_t path_count,
                                const struct vd_policy_options *options, struct vd_diags *diags,
                                struct vd_policy_set **ret_set, struct vd_err *err)
{
    struct vd_policy_set *set = vd_alloc(sizeof(*set));
    struct vd_policy_files files = {NULL, 0};
    enum vd_code rc;

    if (set == NULL)
        return vd_err_nomem(err, "policies");
    atomic_init(&set->references, 1);
    rc = vd_policy_files_find(paths, path_count, &files, err);
    if (rc == VD_OK)
        set->items = vd_alloc_array(2 * files.count + 1, sizeof(struct vd_policy *));
    if (rc == VD_OK)
        rc = set->items == NULL ? vd_err_nomem(err, "policies")
                                : load_files(set, &files, options, diags, err);
    if (rc == VD_OK)
        rc = attach_candidates(set, options, diags, err);
    if (rc == VD_OK)
        check_ids(set, diags);
    if (rc == VD_OK)
        rc = vd_diags_result(diags, err);
    vd_policy_files_fini(&files);
    if (rc != VD_OK) {
        vd_policy_set_release(set);
        return rc;
    }
    *ret_set = set;
    return VD_OK;
}

enum vd_code vd_policy_set_may_replace(const struct vd_policy_set *running,
                                       const struct vd_policy_set *next, struct vd_diags *diags,
                                       struct vd_err *err)
{
    size_t before = diags->errors;

    for (size_t i = 0; i < next->count; i++) {
        const struct vd_policy *p = next->items[i];
        const struct vd_policy *old = vd_policy_set_find(running, vd_span_of(p->id));

        for (size_t r = 0; r < running->count; r++)
            if (strcmp(running->items[r]->id, p->id) == 0 &&
                running->items[r]->version == p->version &&
                strcmp(running->items[r]->hash_hex, p->hash_hex) != 0)
                vd_diag_error(diags, p->file, 0, "a higher version",
                              "%s version %lld is running with another content", p->id,
                              (long long)p->version);
        if (old != NULL && p->mode != VD_MODE_CANARY && p->version < old->version)
            vd_diag_warning(diags, p->file, 0, NULL, "%s goes back from version %lld to %lld",
                            p->id, (long long)old->version, (long long)p->version);
    }
    return diags->errors == before ? VD_OK : vd_diags_result(diags, err);
}
