/* pipeline/job.c - see job.h: life, and the calls of the pipeline. */
#include "pipeline/job_internal.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "pipeline/effects.h"
#include "pipeline/identity.h"
#include "redis/client.h"

/* -- life ---------------------------------------------------------------------------------------------------------- */

enum vd_code vd_job_new(const struct vd_job_services *services, struct vd_record *rec,
                        const struct vd_event *event, struct vd_policy_set *set,
                        const struct vd_policy *policy, int64_t now_wall_ms,
                        struct vd_job **ret_job, struct vd_err *err)
{
    struct vd_job *job = vd_alloc(sizeof(*job));
    enum vd_code rc;

    if (job == NULL)
        return vd_err_nomem(err, "job");
    job->s = services;
    job->rec = rec;
    job->event = event;
    job->set = vd_policy_set_retain(set);
    job->policy = policy;
    job->clock_ms = now_wall_ms;
    vd_arena_init(&job->arena, VD_JOB_ARENA_MAX_BYTES);
    rc = vd_facts_new(policy, event->tree, now_wall_ms, &job->arena, &job->facts, err);
    if (rc != VD_OK) {
        (void)vd_job_free(job);
        return rc;
    }
    *ret_job = job;
    return VD_OK;
}

static void release(struct vd_job *job)
{
    (void)vd_reason_free(job->reason);
    (void)vd_facts_free(job->facts);
    for (size_t i = 0; job->contexts != NULL && i < job->policy->context_count; i++)
        (void)vd_json_free(job->contexts[i]);
    (void)vd_json_free(job->journal);
    vd_job_state_release(job);
    (void)vd_json_free(job->operations);
    (void)vd_effect_free(job->effect);
    (void)vd_output_free(job->ready);
    (void)vd_output_free(job->outputs);
    (void)vd_policy_set_release(job->set);
    vd_arena_fini(&job->arena);
    (void)vd_free(job);
}

void *vd_job_free(struct vd_job *job)
{
    if (job == NULL)
        return NULL;
    for (size_t i = 0; i < job->key_count; i++)
        assert(job->keys[i].entry.queue == NULL);
    vd_job_cancel(job);
    job->freed = true;
    if (job->pending == 0)
        release(job);
    return NULL;
}

void vd_job_cancel(struct vd_job *job)
{
    job->detached = true;
    job->timer = vd_timer_free(job->timer);
    vd_job_wait_over(job);
    if (job->dedupe != NULL)
        vd_redis_cancel(job->dedupe);
    job->dedupe = NULL;
    if (job->lookup != NULL)
        vd_lookup_cancel(job->lookup);
    job->lookup = NULL;
    vd_job_limits_cancel(job);
    if (job->ask != NULL)
        vd_ask_orphan(job->ask);
    job->ask = NULL;
    if (job->tools != NULL)
        vd_tools_cancel(job->tools);
    job->tools = NULL;
    job->effect = vd_effect_free(job->effect);
}

/* A callback came. False: the owner has gone, and maybe the job with it now. */
bool vd_job_came_back(struct vd_job *job)
{
    assert(job->pending > 0);
    job->pending--;
    if (job->freed && job->pending == 0) {
        release(job);
        return false;
    }
    return !job->detached;
}

int64_t vd_job_deadline_mono_ms(const struct vd_job *job)
{
    return job->rec->fetched_mono_ms + job->policy->budget.deadline_ms + job->stood_ms;
}

/* -- the pipeline's calls --------------------------------------------------------------------------------------------- */

bool vd_job_match(struct vd_job *job)
{
    struct vd_err err;
    bool match = false;

    if (!vd_decision_id(job->s->cluster_id, job->rec, job->event, job->policy->id, job->id)) {
        (void)vd_err_nomem(&err, "decision id");
        vd_job_fatal(job, &err);
        return false;
    }
    if (vd_facts_when(job->facts, &match, &err) != VD_OK) {
        vd_job_dead_letter(job, VD_STAGE_ROUTE, &err, false);
        return true;
    }
    if (match)
        job->state = VD_JOB_MATCHED;
    return match;
}

/* input.max_event_age_s. False: skipped. */
static bool look_at_age(struct vd_job *job)
{
    int64_t age_s = (job->clock_ms - job->event->time_ms) / 1000;

    if (job->policy->max_event_age_s == 0 || job->event->time_ms < 0 ||
        age_s <= job->policy->max_event_age_s)
        return true;
    if (job->policy->on_stale == VD_ON_STALE_SKIP) {
        vd_metric_add(job->s->metrics, VD_M_SKIPPED, "stale", "", 1);
        vd_job_settle(job, NULL, false);
        return false;
    }
    job->forced = true;
    job->forced_stop = VD_STOP_STALE;
    job->forced_review = job->policy->on_stale == VD_ON_STALE_REVIEW;
    job->forced_why = "The event is older than input.max_event_age_s allows.";
    return true;
}

bool vd_job_admit(struct vd_job *job)
{
    struct vd_err err;

    if (vd_facts_validate(job->facts, &err) != VD_OK) {
        vd_job_dead_letter(job, VD_STAGE_VALIDATE, &err, false);
        return false;
    }
    job->key_count = 1;
    if (vd_facts_key(job->facts, &job->key, &err) != VD_OK ||
        vd_job_state_keys(job, &err) != VD_OK ||
        vd_facts_dedupe(job->facts, &job->dedupe_id, &err) != VD_OK) {
        vd_job_dead_letter(job, VD_STAGE_KEY, &err, false);
        return false;
    }
    job->keys[0] = (struct vd_job_key){
        .entry = {.job = job}, .scope = vd_span_of(job->policy->id), .key = job->key};
    if (!look_at_age(job))
        return false;
    job->state = VD_JOB_WAITING;
    job->waiting_since_ms = vd_mono_ms();
    if (job->policy->budget.wait && job->s->hold != NULL)
        job->stood_ms = job->s->stood_ms(job->s->arg, job); /* until start: what it was before */
    return true;
}

void vd_job_start(struct vd_job *job)
{
    assert(job->state == VD_JOB_WAITING);
    vd_metric_add(job->s->metrics, VD_M_WAIT, "key", "",
                  (uint64_t)(vd_mono_ms() - job->waiting_since_ms));
    if (job->policy->budget.wait && job->s->hold != NULL)
        job->stood_ms = job->s->stood_ms(job->s->arg, job) - job->stood_ms;
    vd_job_begin_dedupe(job);
}

void vd_job_overflow(struct vd_job *job)
{
    job->forced = true;
    job->forced_stop = VD_STOP_OVERFLOW;
    job->forced_review = job->policy->on_overflow == VD_ON_OVERFLOW_REVIEW;
    job->forced_why = "Too many events of this key were waiting (input.max_queue_per_key).";
}

struct vd_span vd_job_key(const struct vd_job *job)
{
    return job->key;
}

bool vd_job_waits(const struct vd_job *job)
{
    return job->state == VD_JOB_WAITING;
}

bool vd_job_settled(const struct vd_job *job)
{
    return job->state == VD_JOB_SETTLED;
}

struct vd_output *vd_job_take_outputs(struct vd_job *job)
{
    struct vd_output *outputs = job->outputs;

    job->outputs = NULL;
    return outputs;
}

struct vd_effect *vd_job_take_effect(struct vd_job *job)
{
    struct vd_effect *effect = job->effect;

    job->effect = NULL;
    return effect;
}

size_t vd_job_key_count(const struct vd_job *job)
{
    return job->key_count;
}

struct vd_job_key *vd_job_key_at(struct vd_job *job, size_t i)
{
    return &job->keys[i];
}

bool vd_job_holds_keys(const struct vd_job *job)
{
    return job->policy->state != NULL || job->policy->notes != NULL;
}

bool vd_job_start_blind(struct vd_job *job)
{
    int64_t stood_ms = job->policy->budget.wait && job->s->hold != NULL
                           ? job->s->stood_ms(job->s->arg, job) - job->stood_ms
                           : 0;

    if (job->state != VD_JOB_WAITING ||
        vd_mono_ms() < job->rec->fetched_mono_ms + job->policy->budget.deadline_ms + stood_ms)
        return false;
    job->blind = true;
    vd_job_start(job);
    return true;
}

const struct vd_policy *vd_job_policy(const struct vd_job *job)
{
    return job->policy;
}

const char *vd_job_state_name(const struct vd_job *job)
{
    static const char *const names[] = {"new", "new", "key", "redis", "model", "redis", "commit"};

    return job->waits ? "outage" : names[job->state];
}

struct vd_job *vd_job_next(const struct vd_job *job)
{
    return job->next;
}

void vd_job_set_next(struct vd_job *job, struct vd_job *next)
{
    job->next = next;
}

struct vd_record *vd_job_record(const struct vd_job *job)
{
    return job->rec;
}
