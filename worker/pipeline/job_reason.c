/* pipeline/job_reason.c - see job.h: the reasoning, driven by models and the deadline. */
#include "pipeline/job_internal.h"

#include "base/clock.h"

#define DEADLINE_SLACK_MS 20 /* the router and our timer wait for the same moment */
#define JOURNAL_SHARE     4  /* of the time left: so much may be spent on waiting for the entry */

void vd_job_stop(struct vd_job *job, enum vd_stop stop)
{
    struct vd_err err;

    if (vd_reason_stop(job->reason, stop, &err) != VD_OK)
        vd_job_failed(job, &err);
    else
        vd_job_ask(job);
}

static void on_answer(void *arg, const struct vd_ask_result *result)
{
    struct vd_job *job = arg;
    struct vd_err err;

    if (!vd_job_came_back(job))
        return;
    if (job->given_up_asks > 0) {
        job->given_up_asks--;
        return;
    }
    job->ask = NULL;
    job->calls += result->calls;
    vd_job_calls_made(job, result->calls);
    if (job->state != VD_JOB_REASON || vd_reason_state(job->reason) != VD_REASON_ASK)
        return; /* the deadline decided first */
    if (result->stopped && vd_job_wait_after(job, result))
        return;
    if (result->stopped) {
        /* The router gives up at the same deadline, maybe a turn earlier than our timer. */
        bool late = vd_mono_ms() + DEADLINE_SLACK_MS >= vd_job_deadline_mono_ms(job);
        bool switched_off = job->holds && job->s->stop_models;

        vd_job_stop(job, switched_off ? VD_STOP_KILL_SWITCH
                         : late       ? VD_STOP_DEADLINE
                                      : result->stop);
        return;
    }
    vd_job_wait_over(job);
    job->recalled = false;
    if (vd_reason_answer(job->reason, &result->answer, &err) != VD_OK)
        vd_job_failed(job, &err);
    else
        vd_job_ask(job);
}

/* -- the journal --------------------------------------------------------------------------------------------------- */

/* A policy without context reads its entry only here, where a model is about to be asked. */
static void on_entry(void *arg, struct vd_lookup_result *result)
{
    struct vd_job *job = arg;
    struct vd_err err = {0};

    if (!vd_job_came_back(job))
        return;
    job->lookup = NULL;
    if (job->state != VD_JOB_REASON || vd_reason_state(job->reason) != VD_REASON_ASK)
        return; /* the deadline decided first */
    vd_metric_add(job->s->metrics, VD_M_WAIT, "redis", "", (uint64_t)result->wait_ms);
    if (result->err.code != VD_OK) {
        vd_metric_add(job->s->metrics, VD_M_REDIS_ERRORS, "", "", 1);
        vd_job_ask(job);
        return;
    }
    if (vd_job_journal_take(job, result->values[0], &err)) {
        job->reason = vd_reason_free(job->reason);
        vd_job_begin_reasoning(job, false);
    } else if (err.code != VD_OK) {
        vd_job_failed(job, &err);
    } else {
        vd_job_ask(job);
    }
    result->values[0] = NULL;
}

/* True: on_entry() follows. */
static bool read_entry(struct vd_job *job)
{
    int64_t left_ms = vd_job_deadline_mono_ms(job) - vd_mono_ms();
    int64_t timeout_ms = left_ms / JOURNAL_SHARE;
    struct vd_read read;
    struct vd_err err;

    if (job->journal_read || !vd_job_journals(job) || !vd_job_journal_read(job, &read))
        return false;
    if (timeout_ms > (int64_t)job->s->redis_timeout_ms)
        timeout_ms = (int64_t)job->s->redis_timeout_ms;
    if (timeout_ms <= 0 || vd_lookup_start(job->s->redis, &read, 1, (uint32_t)timeout_ms, on_entry,
                                           job, &job->lookup, &err) != VD_OK)
        return false;
    job->pending++;
    return true;
}

/* An earlier run of this job was answered already. True: that was taken, or failed. */
static bool recall_answer(struct vd_job *job, const struct vd_ask_request *request)
{
    struct vd_journal_answer kept;
    struct vd_err err = {0};

    if (!vd_ask_recall(request, job->journal, &job->arena, &kept, &err)) {
        if (err.code == VD_OK)
            return false;
        vd_job_failed(job, &err);
        return true;
    }
    job->calls += kept.calls;
    job->recalled = true;
    if (vd_reason_answer(job->reason, &kept.answer, &err) != VD_OK)
        vd_job_failed(job, &err);
    else
        vd_job_ask(job); /* at most budget.max_model_calls deep */
    return true;
}

/* -- asking --------------------------------------------------------------------------------------------------------- */

struct vd_ask_request vd_job_ask_request(struct vd_job *job)
{
    return (struct vd_ask_request){
        .router = job->s->router,
        .metrics = job->s->metrics,
        .policy = job->policy,
        .reason = job->reason,
        .default_models = job->s->default_models,
        .default_model_count = job->s->default_model_count,
        .deadline_mono_ms = vd_job_deadline_mono_ms(job),
        .calls_left = job->policy->budget.max_model_calls - (job->calls - job->refused_calls),
        .journal = job->s->journal,
        .decision_id = job->id,
        .start = &job->start,
    };
}

void vd_job_ask(struct vd_job *job)
{
    struct vd_ask_request request = vd_job_ask_request(job);
    struct vd_err err;
    enum vd_code rc;

    if (vd_reason_state(job->reason) == VD_REASON_DONE) {
        vd_job_settle_outcome(job);
        return;
    }
    if (vd_reason_state(job->reason) == VD_REASON_RESERVE) {
        vd_job_reserve(job);
        return;
    }
    if (job->s->router == NULL || job->s->stop_models) {
        vd_job_stop(job, job->s->router == NULL ? VD_STOP_NO_MODEL : VD_STOP_KILL_SWITCH);
        return;
    }
    if (vd_reason_state(job->reason) == VD_REASON_TOOLS) {
        vd_job_call_tools(job);
        return;
    }
    if (read_entry(job) || (job->journal != NULL && recall_answer(job, &request)))
        return;
    if (request.calls_left <= 0) {
        vd_job_stop(job, VD_STOP_MODEL_UNAVAILABLE);
        return;
    }
    if (vd_job_wait_before(job, &request) || vd_job_count_calls(job, &request))
        return;
    vd_job_journal_begin(job);
    rc = vd_ask_start(&request, on_answer, job, &job->ask, &err);
    if (rc == VD_OK)
        job->pending++;
    else if (rc == VD_E_NOMEM)
        vd_job_failed(job, &err);
    else
        vd_job_stop(job, VD_STOP_MODEL_UNAVAILABLE);
}

static void on_deadline(void *arg)
{
    struct vd_job *job = arg;

    /* What is accepted is reserved at once, or not at all. */
    if (job->state != VD_JOB_REASON || vd_reason_state(job->reason) == VD_REASON_RESERVE ||
        vd_job_wait_at_deadline(job))
        return;
    vd_job_limits_cancel(job);
    if (job->ask != NULL) {
        vd_job_calls_made(job, vd_ask_sent(job->ask));
        job->calls += vd_ask_sent(job->ask); /* spent, though nobody waits for the answer */
        vd_ask_cancel(job->ask);
        job->ask = NULL;
    }
    if (job->lookup != NULL)
        vd_lookup_cancel(job->lookup);
    job->lookup = NULL;
    if (job->tools != NULL) {
        vd_tools_cancel(job->tools);
        job->tools = NULL;
    }
    vd_job_stop(job, VD_STOP_DEADLINE);
}

void vd_job_begin_reasoning(struct vd_job *job, bool context_missing)
{
    struct vd_reason_start start = {
        .facts = job->facts,
        .decision_id = vd_span_of(job->id),
        .marker_key = job->s->marker_key,
        .redact_key = job->s->redact_key,
        .no_limits = job->policy->mode == VD_MODE_SHADOW && !job->s->limits_dry,
    };
    int64_t left_ms = vd_job_deadline_mono_ms(job) - vd_mono_ms();
    struct vd_err err;

    job->state = VD_JOB_REASON;
    if (vd_facts_complete(job->facts, &err) != VD_OK ||
        vd_reason_new(&start, &job->reason, &err) != VD_OK) {
        vd_job_failed(job, &err);
    } else if (job->forced_review) {
        if (vd_reason_review(job->reason, vd_stop_name(job->forced_stop), job->forced_why, &err) !=
            VD_OK)
            vd_job_failed(job, &err);
        else
            vd_job_settle_outcome(job);
    } else if (job->forced) {
        vd_job_stop(job, job->forced_stop);
    } else if (context_missing) {
        vd_job_stop(job, VD_STOP_CONTEXT_UNAVAILABLE);
    } else if (job->dedupe_missed) {
        vd_job_stop(job, VD_STOP_DEDUPE_UNAVAILABLE);
    } else if (vd_reason_state(job->reason) != VD_REASON_ASK) {
        vd_job_ask(job); /* a shortcut, or a person decides */
    } else if (left_ms <= 0) {
        vd_job_stop(job, VD_STOP_DEADLINE);
    } else if (job->timer == NULL &&
               vd_timer_new(job->s->loop, on_deadline, job, &job->timer) != VD_OK) {
        (void)vd_err_nomem(&err, "timer");
        vd_job_failed(job, &err);
    } else {
        vd_timer_start(job->timer, (uint64_t)left_ms, 0);
        vd_job_ask(job);
    }
}
