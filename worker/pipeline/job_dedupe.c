/* pipeline/job_dedupe.c - see job.h: has another record of the same event been decided, or is it being decided? (input.dedupe)
 *
 * The first record that comes claims the event's id in Redis with its decision id; whoever finds another decision id there is a
 * duplicate and skipped. A replay of the same record finds its own. A claim is never taken back: when the first record ends as a
 * dead letter its duplicates were skipped, and redriving it (which keeps its decision id) decides the event.
 */
#include "pipeline/job_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "redis/client.h"

#define GRACE_MS                                                                                   \
    250 /* past its deadline a job still looks: a second fallback for one event is one too many */
#define RETRY_MS 200

static void claim(void *arg);

/* Without an answer it cannot be told: the fallback decides, and the decision says why. */
static void undetected(struct vd_job *job)
{
    job->timer = vd_timer_free(job->timer);
    job->dedupe_missed = true;
    vd_job_begin_context(job);
}

static void retry(struct vd_job *job)
{
    struct vd_err err;

    if (vd_job_deadline_mono_ms(job) - vd_mono_ms() <= RETRY_MS) {
        undetected(job);
        return;
    }
    if (job->timer == NULL && vd_timer_new(job->s->loop, claim, job, &job->timer) != VD_OK) {
        (void)vd_err_nomem(&err, "timer");
        vd_job_failed(job, &err);
        return;
    }
    vd_timer_start(job->timer, RETRY_MS, 0);
}

static void on_claim(void *arg, const struct vd_redis_result *result)
{
    struct vd_job *job = arg;
    const struct vd_redis_reply *holder;

    if (!vd_job_came_back(job))
        return;
    job->dedupe = NULL;
    vd_metric_add(job->s->metrics, VD_M_WAIT, "redis", "", (uint64_t)result->wait_ms);
    if (result->err.code != VD_OK || result->replies[0]->kind == VD_REDIS_ERROR ||
        result->replies[1]->kind != VD_REDIS_STRING) {
        vd_metric_add(job->s->metrics, VD_M_REDIS_ERRORS, "", "", 1);
        retry(job);
        return;
    }
    holder = result->replies[1];
    if (vd_span_eq_c(holder->s, job->id)) {
        job->timer = vd_timer_free(job->timer);
        vd_job_begin_context(job);
        return;
    }
    vd_metric_add(job->s->metrics, VD_M_SKIPPED, "duplicate", "", 1);
    vd_job_settle(job, NULL, true);
}

static void claim(void *arg)
{
    struct vd_job *job = arg;
    int64_t left_ms = vd_job_deadline_mono_ms(job) - vd_mono_ms();
    char window[24];
    struct vd_span set[] = {VD_LIT("SET"), job->dedupe_key, vd_span_of(job->id),
                            VD_LIT("NX"),  VD_LIT("EX"),    VD_LIT("")};
    struct vd_span get[] = {VD_LIT("GET"), job->dedupe_key};
    const struct vd_redis_command commands[] = {{set, 6}, {get, 2}};
    struct vd_redis_options options = {.timeout_ms = job->s->redis_timeout_ms};
    struct vd_err err;
    enum vd_code rc;

    if (job->detached)
        return;
    if (left_ms < GRACE_MS)
        left_ms = GRACE_MS;
    if ((int64_t)options.timeout_ms > left_ms)
        options.timeout_ms = (uint32_t)left_ms;
    (void)snprintf(window, sizeof(window), "%" PRId64, job->policy->dedupe_window_s);
    set[5] = vd_span_of(window);
    rc = vd_redis_submit(job->s->redis, commands, 2, &options, on_claim, job, &job->dedupe, &err);
    if (rc == VD_OK)
        job->pending++;
    else if (rc == VD_E_NOMEM)
        vd_job_failed(job, &err);
    else
        retry(job);
}

void vd_job_begin_dedupe(struct vd_job *job)
{
    /* What shadow mode has seen must not stop the real decision. */
    const char *kind = job->policy->mode == VD_MODE_SHADOW ? "dedupe-shadow" : "dedupe";
    struct vd_span id = job->dedupe_id;
    const char *key;
    struct vd_err err;

    if (id.len == 0 || job->s->context != NULL) { /* `verdict decide` claims nothing */
        vd_job_begin_context(job);
        return;
    }
    job->state = VD_JOB_CONTEXT;
    if (job->s->redis == NULL) {
        undetected(job);
        return;
    }
    key = vd_arena_printf(&job->arena, "%s%s:%s:%.*s", job->s->redis_prefix, kind, job->policy->id,
                          (int)id.len, id.ptr);
    if (key == NULL) {
        (void)vd_err_nomem(&err, "dedupe");
        vd_job_failed(job, &err);
        return;
    }
    job->dedupe_key = vd_span_of(key);
    claim(job);
}
