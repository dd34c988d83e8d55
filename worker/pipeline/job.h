/* pipeline/job.h - one record, one policy, one outcome.
 *
 * Why:      the state machine that every decision goes through; the only place that turns what happened into an outcome.
 * Thread:   loop thread.
 * Owns:     its arena, facts, context trees and reasoning. Borrows the record, its event and the policy set until it is freed.
 *
 *   NEW --vd_job_match--> MATCHED --vd_job_admit--> WAITING (in its key's queue) --vd_job_start--> CONTEXT --> REASON --> SETTLED
 *                            |            |                                                          |           |  \       ^
 *                            +------------+--------- dead letter ------------------------------------+-----------+   STORE -+
 *
 *   STORE: the decision changes something in Redis, and that is being written down (effects.h).
 *
 * Invariants:
 *   I1 services.settled is called exactly once for each started or dead-lettered job, unless it is canceled first.
 *   I2 a settled job has outputs, or is a counted skip.
 *   I3 nothing waits past the deadline, which runs from the record's fetch, and stands still only where budget.on_unavailable says so;
 *      but STORE does while Redis is away.
 *   I4 a job that is canceled or freed while a callback is outstanding stays in memory, and silent, until that callback came.
 */
#ifndef VD_PIPELINE_JOB_H
#define VD_PIPELINE_JOB_H

#include <stdbool.h>

#include "base/metrics.h"
#include "kafka/kafka.h"
#include "loop/loop.h"
#include "pipeline/dead_letter.h"
#include "pipeline/event.h"
#include "pipeline/keys.h"
#include "pipeline/topics.h"
#include "policy/set.h"

struct vd_job;
struct vd_journal;
struct vd_redis;
struct vd_limiter;
struct vd_router;
struct vd_tool_hosts;

struct vd_job_services {
    struct vd_loop *loop;
    struct vd_redis
        *redis; /* NULL: no Redis is configured; policies with contexts are refused at load */
    struct vd_tool_hosts *tool_hosts; /* NULL: no HTTP tool may be called */
    struct vd_journal *journal;       /* NULL: none is kept */
    struct vd_limiter
        *limiter;             /* NULL: no Redis: limits count as exceeded, in a dry run as unused */
    bool limits_dry;          /* `verdict decide`: look at limits, reserve nothing */
    struct vd_router *router; /* NULL: no model is configured: fallbacks decide */
    struct vd_effects *effects; /* NULL: decisions change nothing in Redis */
    struct vd_metrics *metrics;
    const cJSON *context; /* `verdict decide`: values by context name instead of Redis; else NULL */
    const char *cluster_id;                        /* NULL: none */
    size_t audit_max_bytes, dead_letter_max_bytes; /* of a whole record, as the topics allow */
    const struct vd_pipeline_topics *topics;
    const char *worker;       /* this worker's name, in every decision */
    const char *source;       /* CloudEvents source of decisions */
    const char *redis_prefix; /* of every key that is written; NULL where nothing is */
    struct vd_span marker_key, redact_key;
    const size_t *default_models; /* router indexes for policies that name none */
    size_t default_model_count;
    uint32_t redis_timeout_ms;
    bool stop_models; /* kill switch: fallbacks decide */
    void (*settled)(void *arg, struct vd_job *job);
    /* The job waits for a model (on), or does no more: its partition takes nothing new meanwhile. NULL (`verdict decide`): none
     * ever waits. */
    void (*hold)(void *arg, struct vd_job *job, bool on);
    int64_t (*stood_ms)(void *arg, struct vd_job *job); /* how long its partition was held, ever */
    void (*fatal)(void *arg,
                  const struct vd_err *err); /* out of memory where going on would lose something */
    void *arg;
};

/* set is retained until the job is freed; policy is one of its policies. */
enum vd_code vd_job_new(const struct vd_job_services *services, struct vd_record *rec,
                        const struct vd_event *event, struct vd_policy_set *set,
                        const struct vd_policy *policy, int64_t now_wall_ms,
                        struct vd_job **ret_job, struct vd_err *err) VD_MUST_CHECK;
/* NULL-safe. With callbacks outstanding the memory goes when they came (I4). */
void *vd_job_free(struct vd_job *job);

/* Does input.when match? An error makes the job SETTLED with a dead letter, and counts as a match. */
bool vd_job_match(struct vd_job *job);
/* Validate the event, look at its age, make the key. False: the job is SETTLED (dead letter or skip); settled() is not called. */
bool vd_job_admit(struct vd_job *job);
struct vd_span vd_job_key(const struct vd_job *job); /* after admit */
/* Begin. overflow: too many were ahead of it; it is decided without a model. settled() comes now or later. */
void vd_job_start(struct vd_job *job);
/* Too many events of its key wait in front of it: decide it, in its turn, as input.on_overflow says. */
void vd_job_overflow(struct vd_job *job);
/* Stop everything; no settled() any more. */
void vd_job_cancel(struct vd_job *job);

bool vd_job_waits(const struct vd_job *job); /* admitted, not started */
bool vd_job_settled(const struct vd_job *job);
/* After settling: what to publish, a list or NULL for a skip; the caller's. */
struct vd_output *vd_job_take_outputs(struct vd_job *job);
/* After settling: what it changes in Redis, written down; the caller's. NULL: nothing. */
struct vd_effect *vd_job_take_effect(struct vd_job *job);
/* The queues it stands in, after admit: the policy's key, and those of its state and memory where they are others. */
#define VD_JOB_MAX_KEYS 3
struct vd_job_key {
    struct vd_key_entry entry;
    struct vd_span scope, key; /* scope: the policy's id, and more */
};
size_t vd_job_key_count(const struct vd_job *job);
struct vd_job_key *vd_job_key_at(struct vd_job *job, size_t i);
/* Must the next event of these keys wait until the job's changes are made? */
bool vd_job_holds_keys(const struct vd_job *job);
/* Its deadline has passed while the changes before it could not be made: start it without what Redis remembers. False: not yet, or
 * it was started. */
bool vd_job_start_blind(struct vd_job *job);
const struct vd_policy *vd_job_policy(const struct vd_job *job);
const char *vd_job_state_name(
    const struct vd_job *job); /* "key", "redis", "model", "outage": what it waits for */

/* After settling: did a fallback decide where a model should have? Uncounted: shadow, dead letters, skips, and what was not for a
 * model to decide. */
enum vd_job_health { VD_JOB_UNCOUNTED, VD_JOB_HEALTHY, VD_JOB_FELL_BACK };
enum vd_job_health vd_job_health(const struct vd_job *job);

/* Links of whoever owns the job. */
struct vd_job *vd_job_next(const struct vd_job *job);
void vd_job_set_next(struct vd_job *job, struct vd_job *next);
struct vd_record *vd_job_record(const struct vd_job *job);

#endif
