/* model/router.h - which model is asked, when, how often, and when not at all.
 *
 * Why:      retries, breakers and concurrency are the same for every provider and belong in one place, inside one deadline.
 * Source:   design/reasoning.md "Providers"; full jitter; AIMD.
 * Thread:   loop thread.
 * Owns:     provider instances and queues. Borrows a submitted request until its done callback.
 * Units:    milliseconds, monotonic (the loop's clock). Money in micro-USD.
 *
 * One call:
 *
 *   submit -> QUEUED (model's concurrency, its quota) -> ADMITTING (where it has a quota) -> ASKING -> done
 *                ^   ^                          |
 *                |   +---- next model <---------+  FATAL QUOTA TOO_LARGE LENGTH REFUSED CONTENT_FILTER MALFORMED, breaker open
 *                +-- WAITING (retry-after or full jitter) <--+  RETRY, TIMEOUT, while attempts and time are left
 *
 * Invariants:
 *   I1 each accepted call gets exactly one done callback, also on cancel and free, by its deadline plus one loop turn.
 *   I2 done never runs inside vd_router_submit() or vd_router_cancel(); it runs on a later loop turn, or inside vd_router_free().
 *   I3 nothing is sent after the deadline, and nothing waits past it.
 */
#ifndef VD_MODEL_ROUTER_H
#define VD_MODEL_ROUTER_H

#include "base/hash.h"
#include "model/provider.h"

struct vd_router;
struct vd_router_call; /* valid until its done callback returns */

/* -- quotas: what all workers together may ask of a model ------------------------------------------------------------ */

struct vd_router_use {
    uint64_t requests, tokens, cost_microusd;
};

struct vd_router_admission {
    int64_t wait_ms; /* 0: reserved. Above: ask again then. Below: it will never fit */
    int64_t
        each_ms; /* while waiting: how long one such request keeps the quota busy; the next in the queue waits so much longer */
};

typedef void vd_router_admit_fn(void *arg, const struct vd_router_admission *answer);

/* Asked before each request to a model for which limited() is true, retries included. */
struct vd_router_quota {
    bool (*limited)(void *arg, size_t model);
    /* Reserve use. done comes once, on a later turn. VD_OK, or VD_E_NOMEM (no done). */
    enum vd_code (*reserve)(void *arg, size_t model, const struct vd_router_use *use,
                            vd_router_admit_fn *done, void *done_arg, void **ret_handle);
    /* Before done: there will be none; what was reserved is given back. */
    void (*cancel)(void *arg, void *handle);
    /* What the request used in truth. */
    void (*correct)(void *arg, size_t model, const struct vd_router_use *reserved,
                    const struct vd_router_use *used);
    void *arg;
};

struct vd_router_conf {
    const struct vd_model_conf *models;
    size_t model_count;
    uint32_t max_attempts;  /* of one call on one model, the first included; 0: 3 */
    uint32_t retry_base_ms; /* 0: 250; doubles */
    uint32_t
        retry_cap_ms; /* 0: 8000; also the longest retry-after that is waited for, else the next model */
    uint32_t
        retry_percent; /* retries at most so much of calls, over a minute; 0: 20; always at least 10 */
    uint32_t breaker_min;       /* calls in the window before it may open; 0: 10 */
    uint32_t breaker_percent;   /* failures in the window that open it; 0: 50 */
    uint32_t breaker_window_ms; /* 0: 30000 */
    uint32_t breaker_open_ms;   /* 0: 5000, doubled on each failed probe up to 60 s, jittered */
    uint64_t seed;              /* of the jitter; 0: from the system */
    const struct vd_router_quota *quota; /* NULL: none; copied */
};

/* Copies conf and its models, but for scripts. All errors name the model entry. */
enum vd_code vd_router_new(struct vd_loop *loop, const struct vd_router_conf *conf,
                           struct vd_router **ret_router, struct vd_err *err) VD_MUST_CHECK;
/* Outstanding calls get their done callback (VD_MODEL_CANCELED) inside this call. Not from inside a done callback. NULL-safe. */
void *vd_router_free(struct vd_router *router);

size_t vd_router_model_count(const struct vd_router *router);
/* Index of the entry, or -1. */
int vd_router_find(const struct vd_router *router, struct vd_span name);
const struct vd_model_conf *vd_router_model(const struct vd_router *router, size_t model);

/* The bytes that would be sent to that model, appended to out. */
enum vd_code vd_router_encode(const struct vd_router *router, size_t model,
                              const struct vd_model_request *request, struct vd_buf *out,
                              struct vd_err *err) VD_MUST_CHECK;

#define VD_ROUTER_MAX_MODELS   8  /* in one call's list */
#define VD_ROUTER_MAX_ATTEMPTS 16 /* kept of one call */

struct vd_router_attempt {
    size_t model;
    enum vd_model_outcome outcome;
    int http_status;
    int64_t total_us; /* 0 when nothing was sent */
    uint64_t cost_microusd;
    struct vd_model_usage usage;
};

struct vd_router_result {
    struct vd_model_result model;             /* of the last attempt */
    size_t model_index;                       /* that it was made with */
    uint64_t cost_microusd;                   /* of all attempts */
    struct vd_model_usage usage;              /* of all attempts */
    uint32_t calls;                           /* requests that were sent */
    const struct vd_router_attempt *attempts; /* borrowed until done returns */
    size_t attempt_count;
    int64_t queue_ms;           /* spent waiting for a model's concurrency, */
    int64_t quota_ms;           /* for its quota, */
    int64_t retry_ms;           /* and between retries */
    struct vd_sha256 body_hash; /* of the request as last sent, where hash_body was asked for */
};

typedef void vd_router_done_fn(void *arg, const struct vd_router_result *result);

struct vd_router_request {
    const struct vd_model_request *request; /* borrowed until done */
    const size_t *models;                   /* indexes in order of preference; copied */
    size_t model_count;                     /* 1 to VD_ROUTER_MAX_MODELS */
    int64_t deadline_mono_ms;               /* of vd_loop_now_ms() */
    uint32_t max_calls; /* requests sent, over all models; 0: no bound but max_attempts */
    bool hash_body;     /* while its bytes are still in the processor's cache */
};

enum vd_code vd_router_submit(struct vd_router *router, const struct vd_router_request *request,
                              vd_router_done_fn *done, void *arg, struct vd_router_call **ret_call,
                              struct vd_err *err) VD_MUST_CHECK;
/* done comes on a later turn with VD_MODEL_CANCELED. */
void vd_router_cancel(struct vd_router_call *call);
/* Nothing more is sent for it: what is being asked goes on to its answer, what waits is canceled. */
void vd_router_let_finish(struct vd_router_call *call);
/* Requests sent so far, one without an answer yet included: it may cost money already. */
uint32_t vd_router_sent(const struct vd_router_call *call);

/* Could any of these models be asked now? False: each breaker is open or out of quota; *ret_retry_ms then says when to look again. */
bool vd_router_available(const struct vd_router *router, const size_t *models, size_t model_count,
                         int64_t *ret_retry_ms);

/* -- status ------------------------------------------------------------------------------------------------------- */

enum vd_breaker_state { VD_BREAKER_CLOSED, VD_BREAKER_OPEN, VD_BREAKER_HALF_OPEN };

struct vd_router_status {
    const char *name;
    enum vd_breaker_state breaker;
    int64_t open_for_ms; /* until the next probe; 0 when closed */
    bool quota_exhausted;
    bool key_missing;
    uint32_t in_flight;
    uint32_t queued;
    uint32_t concurrency; /* what is allowed now, */
    uint32_t max_concurrency;
    const char *last_error; /* "" when there was none; borrowed until the next loop turn */
    int64_t last_error_mono_ms;
    /* Counters, ever. */
    uint64_t calls; /* sent */
    uint64_t retries;
    uint64_t outcomes[VD_MODEL_OUTCOME_COUNT];
    uint64_t breaker_opens;
    struct vd_model_usage usage;
    uint64_t cost_microusd;
    uint64_t queue_ms; /* waited for concurrency */
    uint64_t retry_ms; /* waited between retries */
    uint64_t quota_ms; /* waited for the quota */
    uint64_t
        quota_denied; /* calls that went on without this model, as its quota would not have let them in time */
    int64_t quota_wait_ms; /* until the quota has room again; 0: it has */
};

struct vd_router_status vd_router_status(const struct vd_router *router, size_t model);
const char *vd_breaker_state_name(enum vd_breaker_state state);

#endif
