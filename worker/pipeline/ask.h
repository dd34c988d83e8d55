/* pipeline/ask.h - one ask of the reasoning, carried to a model and back.
 *
 * Why:      reasoning speaks of messages and answers, the router of requests and providers; this is the only place that knows both.
 * Thread:   loop thread.
 * Owns:     the request's texts until done. Borrows the reasoning, which must outlive the call.
 * Invariants:
 *   I1 each accepted ask gets exactly one done callback, on a later turn, also on cancel.
 */
#ifndef VD_PIPELINE_ASK_H
#define VD_PIPELINE_ASK_H

#include "base/metrics.h"
#include "policy/policy.h"
#include "reason/reason.h"

struct vd_router;
struct vd_ask_call;

struct vd_ask_request {
    struct vd_router *router;
    struct vd_metrics *metrics;
    const struct vd_policy *policy;
    struct vd_reason *reason; /* in state VD_REASON_ASK */
    const size_t *default_models;
    size_t default_model_count;
    int64_t deadline_mono_ms;
    int64_t calls_left; /* requests that may be sent, at least 1 */
};

struct vd_ask_result {
    bool stopped; /* no answer: stop says why */
    enum vd_stop stop;
    struct vd_answer answer; /* borrowed until done returns */
    int64_t calls;           /* requests sent */
};

typedef void vd_ask_fn(void *arg, const struct vd_ask_result *result);

enum vd_code vd_ask_start(const struct vd_ask_request *request, vd_ask_fn *done, void *arg,
                          struct vd_ask_call **ret_call, struct vd_err *err) VD_MUST_CHECK;
void vd_ask_cancel(struct vd_ask_call *call);
/* Requests sent so far, one without an answer yet included. */
int64_t vd_ask_sent(const struct vd_ask_call *call);

#endif
