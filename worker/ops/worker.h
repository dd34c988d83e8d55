/* ops/worker.h - the worker put together: settings and policies in, a running loop, a clean end.
 *
 * Why:      `verdict run` and `verdict demo` run the same thing.
 * Thread:   the caller's thread becomes the loop thread in vd_worker_run().
 * Owns:     loop, adapters, pipeline, admin port. Borrows the settings.
 *
 *   STARTING -> RUNNING -> DRAINING (no new records; calls finish) -> STOPPING (publish, leave the group) -> ended
 */
#ifndef VD_OPS_WORKER_H
#define VD_OPS_WORKER_H

#include <stdbool.h>

#include "base/diag.h"
#include "base/err.h"
#include "base/metrics.h"
#include "ops/settings.h"
#include "policy/set.h"

struct vd_worker;

struct vd_worker_options {
    bool embedded;    /* the brokers are an embedded mock cluster */
    bool own_signals; /* SIGTERM and SIGINT drain, SIGHUP reloads */
};

/* Loads the policies, makes every part; connects to nothing. Problems with files: VD_E_CONFIG, all in diags. options may be NULL. */
enum vd_code vd_worker_new(const struct vd_settings *settings,
                           const struct vd_worker_options *options, struct vd_diags *diags,
                           struct vd_worker **ret_worker, struct vd_err *err) VD_MUST_CHECK;
/* Runs until drained or a fatal error, which is then in err. */
enum vd_code vd_worker_run(struct vd_worker *worker, struct vd_err *err) VD_MUST_CHECK;
/* Any thread: drain and end. A second call ends without waiting for calls. */
void vd_worker_stop(struct vd_worker *worker);
void *vd_worker_free(struct vd_worker *worker);

const char *vd_worker_admin_url(const struct vd_worker *worker); /* NULL: off */
/* Any thread: a member of the group once. */
bool vd_worker_ready(const struct vd_worker *worker);

#endif
