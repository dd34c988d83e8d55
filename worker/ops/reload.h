/* ops/reload.h - the next policies and settings, loaded, checked and tried beside the running ones.
 *
 * Why:      a reload must not cost a decision: everything that can be wrong is found on a pool thread, and the running set stays until
 *           the next one has passed.
 * Thread:   vd_reload_start() and done on the loop thread; the work between them on the loop's pool.
 * Source:   design/policies.md "Identity and change".
 */
#ifndef VD_OPS_RELOAD_H
#define VD_OPS_RELOAD_H

#include <stdbool.h>

#include "base/diag.h"
#include "base/err.h"
#include "ops/settings.h"
#include "policy/set.h"

struct vd_loop;

/* What the worker runs with; borrowed until done. */
struct vd_reload_conf {
    const struct vd_settings *settings;
    struct vd_policy_set *running;    /* retained until done has returned */
    const char *const *output_topics; /* those it made sure of at start */
    size_t output_topic_count;
    bool redis_keeps; /* Redis was asked whether it evicts */
};

struct vd_reload_result {
    enum vd_code rc;                    /* VD_OK: next may replace the running set */
    const struct vd_err *err;           /* why not */
    struct vd_policy_set *take_next;    /* the callback's; NULL unless VD_OK */
    const struct vd_settings *settings; /* the file as it is now; NULL: unreadable, or none */
    const struct vd_diags *diags;       /* every mistake and warning */
};

typedef void vd_reload_fn(void *arg, const struct vd_reload_result *result);

/* done is called once, on a later turn, also while the worker ends. */
enum vd_code vd_reload_start(struct vd_loop *loop, const struct vd_reload_conf *conf,
                             vd_reload_fn *done, void *arg, struct vd_err *err) VD_MUST_CHECK;

/* All policies of the settings' folder. */
enum vd_code vd_reload_policies(const struct vd_settings *settings, struct vd_diags *diags,
                                struct vd_policy_set **ret_set, struct vd_err *err) VD_MUST_CHECK;
/* Does a policy keep something in Redis that must not be forgotten: state, memory, limits, what was seen before? */
bool vd_reload_keeps(const struct vd_policy_set *set);

#endif
