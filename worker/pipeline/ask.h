/* pipeline/ask.h - one ask of the reasoning, carried to a model and back.
 *
 * Why:      reasoning speaks of messages and answers, the router of requests and providers; this is the only place that knows both.
 * Thread:   loop thread.
 * Owns:     the request's texts until done. Borrows the reasoning, which must outlive the call.
 * Journal:  an answer is journaled when it is received, before done is called.
 * Invariants:
 *   I1 each accepted ask gets exactly one done callback, on a later turn, also on cancel.
 */
#ifndef VD_PIPELINE_ASK_H
#define VD_PIPELINE_ASK_H

#include "base/metrics.h"
#include "pipeline/journal.h"
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
    int64_t calls_left;             /* requests that may be sent, at least 1 */
    struct vd_journal *journal;     /* NULL: none is kept */
    const char *decision_id;        /* with a journal; borrowed until done */
    struct vd_journal_start *start; /* the same; what the first answer is kept with */
};

struct vd_ask_result {
    bool stopped; /* no answer: stop says why */
    enum vd_stop stop;
    struct vd_answer answer; /* borrowed until done returns */
    int64_t calls;           /* requests sent */
    bool
        no_model; /* stopped by nothing in this request: overload, quota, key, network, a breaker */
    int64_t refused; /* of calls: the model said no before it did anything */
};

typedef void vd_ask_fn(void *arg, const struct vd_ask_result *result);

enum vd_code vd_ask_start(const struct vd_ask_request *request, vd_ask_fn *done, void *arg,
                          struct vd_ask_call **ret_call, struct vd_err *err) VD_MUST_CHECK;
void vd_ask_cancel(struct vd_ask_call *call);
/* Nobody waits for it any more, but what is under way may be paid for: it goes on until its answer, which is journaled, or its
 * deadline. Nothing new is sent. Without a journal this is vd_ask_cancel(). done follows in any case. */
void vd_ask_orphan(struct vd_ask_call *call);

/* The answer to this very request, from entry of the journal; counted as a hit, or as one to another request. False: ask. Only
 * memory is an error (err->code; VD_OK otherwise). Strings are in arena. */
bool vd_ask_recall(const struct vd_ask_request *request, const cJSON *entry, struct vd_arena *arena,
                   struct vd_journal_answer *ret, struct vd_err *err);
/* Could one of its models be asked now? False: *ret_retry_ms says when to look again. */
bool vd_ask_available(const struct vd_ask_request *request, int64_t *ret_retry_ms);
/* Good answers of its models, ever and to anybody. */
uint64_t vd_ask_answers(const struct vd_ask_request *request);
/* Requests sent so far, one without an answer yet included. */
int64_t vd_ask_sent(const struct vd_ask_call *call);

#endif
