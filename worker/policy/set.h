/* policy/set.h - all policies of a worker, and what a new version of them may change.
 *
 * Why:      reload is: load a new set off the loop, check it, run its cases, compare with the running one, swap. Any failure keeps
 *           the old one.
 * Thread:   load anywhere; retain and release from any thread (atomic count); const otherwise.
 * Owns:     its policies, until the last release. A job that runs retains the set that it began with.
 */
#ifndef VD_POLICY_SET_H
#define VD_POLICY_SET_H

#include <stddef.h>

#include "base/diag.h"
#include "base/err.h"
#include "policy/policy.h"

struct vd_policy_set;

/* paths: policy files, and folders that are searched for *.cfg, sorted by path. options->root NULL: each folder is its own root.
 * Two files with one id are an error, unless one is the other's candidate (canary.h). On errors *ret_set is NULL and diags has all of them. */
enum vd_code vd_policy_set_load(const char *const *paths, size_t path_count,
                                const struct vd_policy_options *options, struct vd_diags *diags,
                                struct vd_policy_set **ret_set, struct vd_err *err) VD_MUST_CHECK;
struct vd_policy_set *vd_policy_set_retain(const struct vd_policy_set *set);
void *vd_policy_set_release(struct vd_policy_set *set); /* NULL-safe; returns NULL */

/* All that were loaded, candidates of a canary (VD_MODE_CANARY) too; the pipeline comes to those through their current version. */
size_t vd_policy_set_count(const struct vd_policy_set *set);
const struct vd_policy *vd_policy_set_get(const struct vd_policy_set *set, size_t i);
/* The current version of that id. */
const struct vd_policy *vd_policy_set_find(const struct vd_policy_set *set, struct vd_span id);

/* May next replace running? The same id and version with another hash is an error; a lower version is a warning. */
enum vd_code vd_policy_set_may_replace(const struct vd_policy_set *running,
                                       const struct vd_policy_set *next, struct vd_diags *diags,
                                       struct vd_err *err) VD_MUST_CHECK;

/* The policy files that paths name, sorted; each with the root it belongs to. For `verdict test`. */
struct vd_policy_files {
    struct vd_policy_file {
        char *path;
        char *root;
    } * items;
    size_t count;
};
enum vd_code vd_policy_files_find(const char *const *paths, size_t path_count,
                                  struct vd_policy_files *ret, struct vd_err *err) VD_MUST_CHECK;
void vd_policy_files_fini(struct vd_policy_files *files);

#endif
