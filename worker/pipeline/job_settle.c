/* pipeline/job_settle.c - see job.h: the end of every path. */
#include "pipeline/job_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "json/members.h"
#include "pipeline/decision.h"
#include "pipeline/effects.h"
#include "policy/redact.h"

void vd_job_fatal(struct vd_job *job, const struct vd_err *err)
{
    job->state = VD_JOB_SETTLED;
    job->timer = vd_timer_free(job->timer);
    job->s->fatal(job->s->arg, err);
}

/* The end of every path. started: the pipeline waits for settled(). */
void vd_job_settle(struct vd_job *job, struct vd_output *take_outputs, bool started)
{
    assert(job->state != VD_JOB_SETTLED); /* I1 */
    job->state = VD_JOB_SETTLED;
    vd_job_wait_over(job);
    vd_job_limits_over(job, job->reserved);
    job->outputs = take_outputs;
    job->timer = vd_timer_free(job->timer);
    if (started && !job->detached)
        job->s->settled(job->s->arg, job);
}

void vd_job_dead_letter(struct vd_job *job, enum vd_stage stage, const struct vd_err *why,
                        bool started)
{
    struct vd_dead_letter letter = {
        .topic = job->s->topics->dead_letter,
        .stage = stage,
        .reason = why->msg,
        .policy_id = job->policy->id,
        .decision_id = job->id[0] != '\0' ? job->id : NULL,
        .wall_ms = vd_wall_ms(),
        .max_bytes = job->s->dead_letter_max_bytes,
    };
    struct vd_output *out = vd_dead_letter_new(job->rec, &letter);
    struct vd_err err;

    if (out == NULL) {
        (void)vd_err_nomem(&err, "dead letter");
        vd_job_fatal(job, &err);
        return;
    }
    vd_metric_add(job->s->metrics, VD_M_DEAD_LETTERS, vd_stage_name(stage), "", 1);
    /* Not the reason: it may quote the event. It stands in the dead letter. */
    vd_log(VD_WARN, "event.dead_letter", VD_F_STR("stage", vd_stage_name(stage)),
           VD_F_STR("policy", job->policy->id), VD_F_STR("topic", job->rec->topic),
           VD_F_INT("partition", job->rec->partition), VD_F_INT("offset", job->rec->offset));
    vd_job_settle(job, out, started);
}

static void count_failure(void *arg, const struct vd_rule_result *rule)
{
    const struct vd_job *job = arg;

    vd_metric_add(job->s->metrics, VD_M_RULE_FAILURES, job->policy->id, rule->id, 1);
}

/* What a person switched off, what came too late or in too great a number, and a limit that is used up say nothing of the models:
 * else the first customer over a budget, and every cap that is reached by noon, would stop the events of everybody. */
static enum vd_job_health health_of(const struct vd_job *job, const struct vd_outcome *o)
{
    static const enum vd_stop not_models[] = {VD_STOP_STALE,    VD_STOP_OVERFLOW,
                                              VD_STOP_NO_MODEL, VD_STOP_KILL_SWITCH,
                                              VD_STOP_SHUTDOWN, VD_STOP_BUDGET_PER_KEY};
    bool fallback = o->status == VD_FALLBACK || o->decided_by == VD_BY_FALLBACK;

    if (job->policy->mode == VD_MODE_SHADOW)
        return VD_JOB_UNCOUNTED;
    if (o->degraded_reason != NULL && strcmp(o->degraded_reason, VD_REASON_LIMIT_EXCEEDED) == 0)
        return VD_JOB_UNCOUNTED;
    for (size_t i = 0; i < sizeof(not_models) / sizeof(not_models[0]); i++)
        if (o->degraded_reason != NULL &&
            strcmp(o->degraded_reason, vd_stop_name(not_models[i])) == 0)
            return VD_JOB_UNCOUNTED;
    return fallback ? VD_JOB_FELL_BACK : VD_JOB_HEALTHY;
}

enum vd_job_health vd_job_health(const struct vd_job *job)
{
    return job->health;
}

static void count_outcome(const struct vd_job *job, const struct vd_outcome *o, int64_t total_ms)
{
    struct vd_metrics *m = job->s->metrics;

    vd_metric_add(m, VD_M_DECISIONS, job->policy->id, vd_status_name(o->status), 1);
    if (job->policy->mode == VD_MODE_CANARY)
        vd_metric_add(m, VD_M_CANARY, job->policy->id, vd_status_name(o->status), 1);
    vd_metric_observe_ms(m, VD_M_DECISION_TIME, job->policy->id, total_ms);
    if (o->degraded_reason != NULL)
        vd_metric_add(m, VD_M_DEGRADED, job->policy->id, o->degraded_reason, 1);
    if (o->usage.repairs > 0)
        vd_metric_add(m, VD_M_REPAIRS, job->policy->id, "", (uint64_t)o->usage.repairs);
}

/* -- the parts of the audit record: vd_audit_part.write ------------------------------------------------------------- */

static enum vd_code write_reasoning(void *arg, struct vd_buf *out)
{
    const struct vd_job *job = arg;

    return vd_reason_record(job->reason, out);
}

/* A copy of the values by name, without what the audit may not have. */
static enum vd_code redacted_context(const struct vd_job *job, cJSON **ret)
{
    cJSON *document = cJSON_CreateObject();
    enum vd_code rc = VD_E_NOMEM;
    size_t changed;

    for (size_t i = 0; i < job->policy->context_count && document != NULL; i++) {
        cJSON *copy =
            job->contexts[i] == NULL ? cJSON_CreateNull() : vd_json_copy(job->contexts[i]);

        if (!vd_json_put(document, job->policy->contexts[i].name, copy))
            document = vd_json_free(document);
    }
    if (document != NULL)
        rc = vd_redact(job->policy, VD_REDACT_AUDIT, job->s->redact_key, document, &changed, NULL);
    if (rc != VD_OK)
        document = vd_json_free(document);
    *ret = document;
    return rc;
}

static enum vd_code write_context(void *arg, struct vd_buf *out)
{
    const struct vd_job *job = arg;
    cJSON *document = NULL;

    if (vd_redacts(job->policy, VD_REDACT_AUDIT)) {
        enum vd_code rc = redacted_context(job, &document);

        if (rc != VD_OK)
            return rc;
        vd_json_tree_value(out, document);
        (void)vd_json_free(document);
        return out->failed;
    }
    (void)vd_buf_add_char(out, '{');
    for (size_t i = 0; i < job->policy->context_count; i++)
        vd_json_tree(out, job->policy->contexts[i].name, job->contexts[i]);
    vd_json_close(out, '}');
    return out->failed;
}

static enum vd_code write_tree(void *arg, struct vd_buf *out)
{
    return vd_json_write(out, arg);
}

/* The decision's and the audit record of d, as a list. changes may be NULL. */
static enum vd_code make_outputs(struct vd_job *job, const struct vd_decision *d, cJSON *changes,
                                 struct vd_output **ret, struct vd_err *err)
{
    const struct vd_pipeline_topics *topics = job->s->topics;
    struct vd_audit_parts parts = {
        .reasoning = {write_reasoning, job},
        .context = {write_context, job},
        .changes = {changes == NULL ? NULL : write_tree, changes},
        .clock_ms = job->clock_ms,
    };
    struct vd_output *decision = NULL, *audit = NULL;
    struct vd_buf json;
    enum vd_code rc;

    vd_buf_init(&json, VD_DECISION_MAX_BYTES);
    rc = vd_decision_write(d, &json);
    if (rc != VD_OK) {
        rc = vd_err_set(err, rc, false, "decision record: %s", vd_code_name(rc));
        goto out;
    }
    audit = vd_audit_output(d, &parts, topics, vd_buf_span(&json), job->s->audit_max_bytes);
    decision = audit == NULL ? NULL : vd_decision_output(d, topics, &json);
    if (decision == NULL) {
        rc = vd_err_nomem(err, "decision");
        goto out;
    }
    decision->next = audit;
    audit = NULL;
    *ret = decision;
out:
    (void)vd_output_free(audit);
    vd_buf_free(&json);
    return rc;
}

/* What the decision changes in Redis, as an effect; job->effect stays NULL where it changes nothing. */
static enum vd_code write_down(struct vd_job *job, struct vd_err *err)
{
    enum vd_code rc;

    if (job->operations == NULL)
        job->operations = cJSON_CreateArray();
    if (job->operations == NULL)
        return vd_err_nomem(err, "changes");
    rc = vd_job_state_operations(job, job->operations, err);
    if (rc == VD_OK)
        rc = vd_job_limit_operations(job, job->operations, err);
    if (rc == VD_OK && job->operations->child != NULL)
        rc = vd_effect_new(job->s->effects, job->rec, job->id, job->operations, &job->effect, err);
    return rc;
}

static void on_stored(void *arg)
{
    struct vd_job *job = arg;
    struct vd_output *outputs = job->ready;

    job->ready = NULL;
    vd_job_settle(job, outputs, true);
}

void vd_job_settle_outcome(struct vd_job *job)
{
    const struct vd_outcome *o = vd_reason_outcome(job->reason);
    struct vd_decision d = {
        .id = job->id,
        .policy = job->policy,
        .rec = job->rec,
        .event = job->event,
        .outcome = o,
        .usage = o->usage,
        .key = job->key,
        .now_ms = vd_wall_ms(),
        .total_ms = vd_mono_ms() - job->rec->fetched_mono_ms,
        .worker = job->s->worker,
        .source = job->s->source,
    };
    struct vd_output *outputs = NULL;
    cJSON *changes = NULL;
    struct vd_err err;
    enum vd_code rc;

    if (d.usage.model_calls < job->calls)
        d.usage.model_calls = job->calls;
    rc = vd_job_changes(job, &changes, &err);
    if (rc == VD_OK) {
        d.has_round = vd_changes_round(&job->changes, &d.round);
        rc = make_outputs(job, &d, changes, &outputs, &err);
        if (rc == VD_OK)
            vd_reason_each_failure(job->reason, count_failure, job);
    }
    (void)vd_json_free(changes);
    if (rc == VD_OK && vd_job_writes(job))
        rc = write_down(job, &err);
    if (rc != VD_OK) {
        outputs = vd_output_free(outputs);
        if (err.code == VD_E_NOMEM)
            vd_job_fatal(job, &err);
        else
            vd_job_dead_letter(job, VD_STAGE_PUBLISH, &err, true);
        return;
    }
    count_outcome(job, o, d.total_ms);
    job->health = health_of(job, o);
    job->reserved = o->plan != NULL && o->plan->want_count > 0;
    if (job->effect == NULL) {
        vd_job_settle(job, outputs, true);
        return;
    }
    job->state = VD_JOB_STORE;
    job->timer = vd_timer_free(job->timer);
    job->ready = outputs;
    vd_effect_store(job->effect, on_stored, job);
}

/* An event that needs more than a job may have is a dead letter; only memory that is really out stops the worker. */
void vd_job_failed(struct vd_job *job, const struct vd_err *err)
{
    struct vd_err capped;

    if (err->code != VD_E_NOMEM) {
        vd_job_dead_letter(job, VD_STAGE_REASON, err, true);
    } else if (job->arena.capped) {
        (void)vd_err_set(&capped, VD_E_LIMIT, false,
                         "deciding this event needs more than %zu bytes (%s)", job->arena.max,
                         err->msg);
        vd_job_dead_letter(job, VD_STAGE_REASON, &capped, true);
    } else {
        vd_job_fatal(job, err);
    }
}
