/* pipeline/job_context.c - see job.h: one round trip to Redis before reasoning. */
#include "pipeline/job_internal.h"

#include "base/clock.h"
#include "policy/context.h"

#define CONTEXT_GRACE_MS                                                                           \
    250 /* a job past its deadline still reads its context: the fallback is judged by it */
#define REDIS_RETRY_MS 200

static void read_context(void *arg);

/* Redis did not answer: again, until the deadline; then without. */
static void retry_context(struct vd_job *job)
{
    int64_t left_ms = vd_job_deadline_mono_ms(job) - vd_mono_ms();
    struct vd_err err;

    if (left_ms <= REDIS_RETRY_MS) {
        vd_job_begin_reasoning(job, true);
        return;
    }
    if (job->timer == NULL && vd_timer_new(job->s->loop, read_context, job, &job->timer) != VD_OK) {
        (void)vd_err_nomem(&err, "timer");
        vd_job_failed(job, &err);
        return;
    }
    vd_timer_start(job->timer, REDIS_RETRY_MS, 0);
}

/* All values came: bind them, and reason. values[i] NULL: absent. */
static void accept_context(struct vd_job *job, const cJSON *const *values)
{
    struct vd_err err;

    for (size_t i = 0; i < job->policy->context_count; i++) {
        if (vd_context_accept(&job->policy->contexts[i], values[i], &job->arena, &job->contexts[i],
                              &err) != VD_OK) {
            vd_job_dead_letter(job, VD_STAGE_CONTEXT, &err, true);
            return;
        }
        vd_facts_set_context(job->facts, i, job->contexts[i]);
    }
    if (vd_job_state_bind(job, &err) == VD_OK)
        vd_job_begin_reasoning(job, false);
    else if (err.code == VD_E_NOMEM)
        vd_job_failed(job, &err);
    else
        vd_job_dead_letter(job, VD_STAGE_CONTEXT, &err, true);
}

static void take_given_context(struct vd_job *job)
{
    const cJSON *values[VD_LOOKUP_MAX] = {NULL};

    for (size_t i = 0; i < job->policy->context_count && i < VD_LOOKUP_MAX; i++)
        values[i] = vd_json_get(job->s->context, job->policy->contexts[i].name);
    vd_job_state_given(job, job->s->context);
    accept_context(job, values);
}

/* An earlier run of this job saw other values: those count. False: there was none. */
static bool recall(struct vd_job *job, struct vd_lookup_result *result)
{
    size_t at = job->read_count - 1; /* the last */
    struct vd_err err = {0};
    bool taken;

    if (!job->journal_asked)
        return false;
    taken = vd_job_journal_take(job, result->values[at], &err);
    result->values[at] = NULL;
    if (taken)
        vd_job_begin_reasoning(job, false);
    else if (err.code == VD_E_INPUT)
        vd_job_dead_letter(job, VD_STAGE_CONTEXT, &err, true);
    else if (err.code != VD_OK)
        vd_job_failed(job, &err);
    return taken || err.code != VD_OK;
}

static const char *name_of(const struct vd_job *job, size_t read)
{
    const struct vd_policy *p = job->policy;

    if (read < p->context_count)
        return p->contexts[read].name;
    return p->state != NULL && read == p->context_count ? "state" : "memory";
}

static void on_values(void *arg, struct vd_lookup_result *result)
{
    struct vd_job *job = arg;
    struct vd_err err = result->err;

    if (!vd_job_came_back(job))
        return;
    job->lookup = NULL;
    vd_metric_add(job->s->metrics, VD_M_WAIT, "redis", "", (uint64_t)result->wait_ms);
    if (err.code == VD_E_REMOTE || err.code == VD_E_TIMEOUT) {
        vd_metric_add(job->s->metrics, VD_M_REDIS_ERRORS, "", "", 1);
        retry_context(job);
        return;
    }
    job->timer = vd_timer_free(job->timer);
    if (err.code == VD_OK)
        vd_job_state_keep(job, result->values, job->policy->context_count);
    if (err.code == VD_OK && recall(job, result))
        return;
    if (err.code != VD_OK) {
        (void)vd_err_wrap(&err, err.code, "context %s", name_of(job, result->failed));
        vd_job_dead_letter(job, VD_STAGE_CONTEXT, &err, true);
        return;
    }
    accept_context(job, (const cJSON *const *)result->values);
}

static void read_context(void *arg)
{
    struct vd_job *job = arg;
    int64_t left_ms = vd_job_deadline_mono_ms(job) - vd_mono_ms();
    uint32_t timeout_ms = job->s->redis_timeout_ms;
    struct vd_err err;
    enum vd_code rc;

    if (job->detached)
        return;
    if (left_ms < CONTEXT_GRACE_MS)
        left_ms = CONTEXT_GRACE_MS;
    if ((int64_t)timeout_ms > left_ms)
        timeout_ms = (uint32_t)left_ms;
    rc = vd_lookup_start(job->s->redis, job->reads, job->read_count, timeout_ms, on_values, job,
                         &job->lookup, &err);
    if (rc == VD_OK)
        job->pending++;
    else if (rc == VD_E_NOMEM)
        vd_job_failed(job, &err);
    else
        retry_context(job);
}

void vd_job_begin_context(struct vd_job *job)
{
    size_t count = job->policy->context_count;
    struct vd_err err;

    job->state = VD_JOB_CONTEXT;
    job->contexts = vd_arena_array(&job->arena, count, sizeof(cJSON *));
    job->reads = vd_arena_array(&job->arena, count + 3, sizeof(*job->reads));
    if (job->contexts == NULL || job->reads == NULL) {
        (void)vd_err_nomem(&err, "context");
        vd_job_failed(job, &err);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct vd_span *argv;

        if (vd_facts_redis(job->facts, i, &argv, &err) != VD_OK) {
            vd_job_dead_letter(job, VD_STAGE_CONTEXT, &err, true);
            return;
        }
        job->reads[i] = (struct vd_read){argv, job->policy->contexts[i].redis.count,
                                         job->policy->contexts[i].max_bytes, false};
    }
    if (vd_job_state_reads(job, job->reads, &count, &err) != VD_OK) {
        vd_job_failed(job, &err);
        return;
    }
    job->read_count = count;
    if (count > 0 && job->s->context == NULL && vd_job_journals(job) &&
        vd_job_journal_read(job, &job->reads[count])) {
        job->read_count++;
        job->journal_asked = true;
    }
    if (count == 0)
        vd_job_begin_reasoning(job, false);
    else if (job->blind)
        vd_job_begin_reasoning(job, true);
    else if (job->s->context != NULL)
        take_given_context(job);
    else if (job->s->redis == NULL)
        vd_job_begin_reasoning(job, true);
    else
        read_context(job);
}
