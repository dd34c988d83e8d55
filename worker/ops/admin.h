/* ops/admin.h - the admin port: /healthz, /readyz, /status, /metrics.
 *
 * Why:      Kubernetes, Prometheus and the person on call ask; the loop must not wait for them.
 * Source:   libmicrohttpd; design/operations.md "Health".
 * Thread:   its own. The loop hands it snapshots; metrics are atomic.
 * Safety:   GET only; /status needs a bearer token as soon as the address is not loopback; without one it is refused there.
 */
#ifndef VD_OPS_ADMIN_H
#define VD_OPS_ADMIN_H

#include <stdbool.h>

#include "base/err.h"
#include "base/metrics.h"
#include "loop/loop.h"

struct vd_admin;

struct vd_admin_conf {
    const char *listen; /* "127.0.0.1:9464"; port 0 chooses one */
    const char *token;  /* NULL: none */
    struct vd_metrics *metrics;
    const struct vd_loop *loop; /* /healthz: it ticked within 10 s */
};

/* Copies conf; metrics and loop are borrowed. */
enum vd_code vd_admin_start(const struct vd_admin_conf *conf, struct vd_admin **ret_admin,
                            struct vd_err *err) VD_MUST_CHECK;
void *vd_admin_stop(struct vd_admin *admin);            /* NULL-safe; returns NULL */
const char *vd_admin_url(const struct vd_admin *admin); /* "http://127.0.0.1:9464" */

/* Any thread. take_status: JSON text from vd_buf_take(), shown until the next one. */
void vd_admin_publish(struct vd_admin *admin, char *take_status, bool ready,
                      const char *not_ready_reason);

#endif
