/* model/router_internal.h - what the router's files share. Nobody else includes it.
 *
 * router.c         its life, and the callers' calls
 * router_ask.c     which model is asked, and when: breaker, concurrency, quota, deadline
 * router_answer.c  what an answer means: to the caller, to the breaker, to the concurrency, to the quota
 */
#ifndef VD_MODEL_ROUTER_INTERNAL_H
#define VD_MODEL_ROUTER_INTERNAL_H

#include <sys/queue.h>

#include "base/prng.h"
#include "loop/loop.h"
#include "model/breaker.h"
#include "model/router.h"

#define VD_ROUTER_CALL_MAGIC    0x524f5554u
#define VD_ROUTER_LEAST_TIME_MS 20 /* a call that has less left is not made */
#define VD_ROUTER_RETRY_TOKENS                                                                     \
    10.0 /* retries that are always allowed: a bucket's start and floor */

enum vd_router_step {
    STEP_NEW,
    STEP_QUEUED,
    STEP_WAITING,
    STEP_ADMITTING,
    STEP_ASKING,
    STEP_FINISHED
};

struct vd_router_call {
    unsigned magic;
    struct vd_router *router;
    enum vd_router_step step;
    uint64_t number;                  /* in the order of submits */
    TAILQ_ENTRY(vd_router_call) link; /* all */
    TAILQ_ENTRY(vd_router_call) by_queue;
    TAILQ_ENTRY(vd_router_call) by_finish;
    const struct vd_model_request *request;
    size_t models[VD_ROUTER_MAX_MODELS];
    size_t model_count;
    size_t at; /* in models */
    int64_t deadline_mono_ms;
    uint32_t max_calls;
    uint32_t tries; /* on the model at hand */
    uint32_t asked; /* calls to providers */
    struct vd_buf body;
    bool hash_body;
    size_t body_model; /* that body was encoded for, plus one; 0: none */
    struct vd_timer *timer;
    void *provider_call;
    void *reservation;             /* ADMITTING: being made */
    struct vd_router_use reserved; /* for the request at hand; zero: nothing */
    bool denied;                   /* by the quota of some model */
    bool probe;
    int64_t timeout_ms;                 /* of the request at hand */
    int64_t step_mono_ms;               /* when it began to queue, wait or ask */
    struct vd_router_attempt *attempts; /* VD_ROUTER_MAX_ATTEMPTS, from the first on */
    struct vd_router_result result;
    bool canceled;
    vd_router_done_fn *done;
    void *arg;
};

TAILQ_HEAD(vd_router_calls, vd_router_call);

struct vd_router_model {
    struct vd_model_conf conf; /* strings are copies */
    const struct vd_model_ops *ops;
    void *instance;
    struct vd_breaker breaker;
    struct vd_aimd aimd;
    struct vd_router_calls queue;
    struct vd_router_status status; /* counters and gauges; the rest is filled when asked for */
    bool quota_exhausted;           /* as the provider says */
    bool limited;                   /* by a quota of ours */
    bool narrow;        /* it said no: from now on one asks at a time, in order, until none waits */
    unsigned admitting; /* calls that ask it now; each holds a place as if it were in flight */
    int64_t quota_until_ms; /* nobody asks before */
    int64_t quota_each_ms;
    struct vd_timer *quota_timer;
    struct vd_router *router; /* of quota_timer */
    int64_t typical_ms;       /* of good answers, moving average */
    char last_error[240];
};

struct vd_router {
    struct vd_loop *loop;
    struct vd_router_conf conf;
    struct vd_router_quota quota; /* where some model is limited */
    struct vd_router_model *models;
    size_t model_count;
    struct vd_prng prng;
    double retry_tokens; /* a bucket: each call adds a share, each retry takes one */
    int64_t retry_tokens_ms;
    uint64_t submitted;
    struct vd_router_calls all;
    struct vd_router_calls finished;
    struct vd_timer *soon;
    bool draining;
    bool closing;
};

/* router.c. The end of a call, which is not QUEUED: done follows in vd_router_drain(). why NULL: the last answer says it all. */
void vd_router_finish(struct vd_router_call *call, enum vd_model_outcome outcome, const char *why);
void vd_router_drain(struct vd_router *router);

/* router_ask.c. From NEW to QUEUED, ADMITTING, ASKING or FINISHED; true when finished. Never calls done. */
bool vd_router_advance(struct vd_router_call *call);
void vd_router_serve_queue(struct vd_router *router, struct vd_router_model *m);
struct vd_router_model *vd_router_model_at(const struct vd_router_call *call);
void vd_router_leave_queue(struct vd_router_call *call);
/* End ADMITTING without an answer. */
void vd_router_give_up_reservation(struct vd_router_call *call);
/* False: out of memory, which ends the call. */
bool vd_router_set_timer(struct vd_router_call *call, int64_t after_ms);
void vd_router_on_quota_timer(void *arg); /* a struct vd_router_model */

/* router_answer.c. A provider's done callback; arg is the call. */
void vd_router_on_answer(void *arg, const struct vd_model_result *r);
void vd_router_note_attempt(struct vd_router_call *call, struct vd_router_model *m,
                            const struct vd_model_result *r);
/* Put what r used in the place of what was reserved for it. */
void vd_router_correct_quota(struct vd_router_call *call, const struct vd_router_model *m,
                             const struct vd_model_result *r);

#endif
