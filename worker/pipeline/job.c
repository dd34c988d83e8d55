/* pipeline/job.c - see job.h. */
#include "pipeline/job.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "pipeline/ask.h"
#include "pipeline/decision.h"
#include "pipeline/identity.h"
#include "pipeline/lookup.h"
#include "policy/context.h"
#include "policy/redact.h"
#include "reason/reason.h"

#define CONTEXT_GRACE_MS                                                                           \
    250 /* a job past its deadline still reads its context: the fallback is judged by it */
#define REDIS_RETRY_MS    200
#define DEADLINE_SLACK_MS 20 /* the router and our timer wait for the same moment */

enum state { NEW, MATCHED, WAITING, CONTEXT, REASON, SETTLED };

struct vd_job {
    const struct vd_job_services *s;
    struct vd_record *rec;
    const struct vd_event *event;
    struct vd_policy_set *set;
    const struct vd_policy *policy;
    int64_t clock_ms; /* wall clock, pinned when the record was read */
    enum state state;
    bool detached; /* canceled or freed by the owner: say nothing any more (I4) */
    bool freed;
    unsigned pending; /* callbacks outstanding */

    struct vd_arena arena;
    struct vd_facts *facts;
    char id[VD_SHA256_HEX_SIZE];
    struct vd_span key;
    struct vd_key_entry key_entry;
    int64_t waiting_since_ms;
    bool forced; /* decide without a model, because of: */
    bool forced_review;
    enum vd_stop forced_stop;
    const char *forced_why;

    struct vd_lookup *lookup;
    struct vd_read *reads;
    cJSON **contexts; /* policy->context_count */
    struct vd_reason *reason;
    struct vd_ask_call *ask;
    int64_t calls; /* requests sent, retries included */
    struct vd_timer *timer;

    struct vd_output *outputs;
    struct vd_job *next;
};

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
    (void)vd_output_free(job->outputs);
    (void)vd_policy_set_release(job->set);
    vd_arena_fini(&job->arena);
    (void)vd_free(job);
}

void *vd_job_free(struct vd_job *job)
{
    if (job == NULL)
        return NULL;
    assert(job->key_entry.queue == NULL);
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
    if (job->lookup != NULL)
        vd_lookup_cancel(job->lookup);
    job->lookup = NULL;
    if (job->ask != NULL)
        vd_ask_cancel(job->ask);
    job->ask = NULL;
}

/* A callback came. False: the owner has gone, and maybe the job with it now. */
static bool came_back(struct vd_job *job)
{
    assert(job->pending > 0);
    job->pending--;
    if (job->freed && job->pending == 0) {
        release(job);
        return false;
    }
    return !job->detached;
}

/* -- settling -------------------------------------------------------------------------------------------------------- */

static void fatal(struct vd_job *job, const struct vd_err *err)
{
    job->state = SETTLED;
    job->timer = vd_timer_free(job->timer);
    job->s->fatal(job->s->arg, err);
}

/* The end of every path. started: the pipeline waits for settled(). */
static void settle(struct vd_job *job, struct vd_output *take_outputs, bool started)
{
    assert(job->state != SETTLED); /* I1 */
    job->state = SETTLED;
    job->outputs = take_outputs;
    job->timer = vd_timer_free(job->timer);
    if (started && !job->detached)
        job->s->settled(job->s->arg, job);
}

static void dead_letter(struct vd_job *job, enum vd_stage stage, const struct vd_err *why,
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
        fatal(job, &err);
        return;
    }
    vd_metric_add(job->s->metrics, VD_M_DEAD_LETTERS, vd_stage_name(stage), "", 1);
    /* Not the reason: it may quote the event. It stands in the dead letter. */
    vd_log(VD_WARN, "event.dead_letter", VD_F_STR("stage", vd_stage_name(stage)),
           VD_F_STR("policy", job->policy->id), VD_F_STR("topic", job->rec->topic),
           VD_F_INT("partition", job->rec->partition), VD_F_INT("offset", job->rec->offset));
    settle(job, out, started);
}

/* Rules that refused a proposal, also one that was repaired afterwards. Without a model there is only the outcome's own. */
static void count_failures(const struct vd_job *job, const cJSON *reasoning,
                           const struct vd_outcome *o)
{
    const cJSON *step, *rule;
    bool asked = false;

    cJSON_ArrayForEach(step, vd_json_get(reasoning, "steps"))
    {
        asked = true;
        cJSON_ArrayForEach(rule, vd_json_get(step, "rules"))
        {
            struct vd_span verdict = vd_json_get_string(rule, "verdict"),
                           id = vd_json_get_string(rule, "id");
            char name[96];

            if (!vd_span_eq_c(verdict, "fail") && !vd_span_eq_c(verdict, "error"))
                continue;
            (void)snprintf(name, sizeof(name), "%.*s", (int)id.len, id.ptr);
            vd_metric_add(job->s->metrics, VD_M_RULE_FAILURES, job->policy->id, name, 1);
        }
    }
    for (size_t i = 0; i < o->rule_count && !asked; i++)
        if (o->rules[i].verdict == VD_FAIL || o->rules[i].verdict == VD_ERROR_VERDICT)
            vd_metric_add(job->s->metrics, VD_M_RULE_FAILURES, job->policy->id, o->rules[i].id, 1);
}

static void count_outcome(const struct vd_job *job, const struct vd_outcome *o, int64_t total_ms)
{
    struct vd_metrics *m = job->s->metrics;

    vd_metric_add(m, VD_M_DECISIONS, job->policy->id, vd_status_name(o->status), 1);
    vd_metric_observe_ms(m, VD_M_DECISION_TIME, job->policy->id, total_ms);
    if (o->degraded_reason != NULL)
        vd_metric_add(m, VD_M_DEGRADED, job->policy->id, o->degraded_reason, 1);
    if (o->usage.repairs > 0)
        vd_metric_add(m, VD_M_REPAIRS, job->policy->id, "", (uint64_t)o->usage.repairs);
}

/* Context values by name, redacted for the audit (borrowed where nothing is); NULL when memory is out. */
static cJSON *context_for_audit(struct vd_job *job, struct vd_err *err)
{
    bool redacts = vd_redacts(job->policy, VD_REDACT_AUDIT);
    cJSON *document = cJSON_CreateObject();
    size_t changed;

    for (size_t i = 0; i < job->policy->context_count && document != NULL; i++) {
        const char *name = job->policy->contexts[i].name;
        const cJSON *value = job->contexts[i];
        bool ok = value == NULL ? vd_json_put(document, name, cJSON_CreateNull())
                  : redacts     ? vd_json_put(document, name, vd_json_copy(value))
                                : vd_json_put_borrowed(document, name, value);

        if (!ok)
            document = vd_json_free(document);
    }
    if (document == NULL) {
        (void)vd_err_nomem(err, "audit");
        return NULL;
    }
    if (vd_redact(job->policy, VD_REDACT_AUDIT, job->s->redact_key, document, &changed, err) !=
        VD_OK)
        document = vd_json_free(document);
    return document;
}

/* The decision's and the audit record of d, as a list. */
static enum vd_code make_outputs(struct vd_job *job, const struct vd_decision *d,
                                 struct vd_output **ret, struct vd_err *err)
{
    const struct vd_pipeline_topics *topics = job->s->topics;
    struct vd_audit_parts parts = {.clock_ms = job->clock_ms};
    cJSON *reasoning = NULL;
    cJSON *context = NULL;
    struct vd_output *out = NULL;
    struct vd_buf json;
    enum vd_code rc;

    vd_buf_init(&json, VD_DECISION_MAX_BYTES);
    rc = vd_decision_write(d, &json);
    if (rc != VD_OK) {
        rc = vd_err_set(err, rc, false, "decision record: %s", vd_code_name(rc));
        goto done;
    }
    rc = vd_reason_record(job->reason, &reasoning, err);
    if (rc != VD_OK)
        goto done;
    context = context_for_audit(job, err);
    if (context == NULL) {
        rc = err->code;
        goto done;
    }
    count_failures(job, reasoning, d->outcome);
    parts.reasoning = reasoning;
    parts.context = context;
    out = vd_decision_output(d, topics, vd_buf_span(&json));
    if (out != NULL)
        out->next = vd_audit_output(d, &parts, topics, vd_buf_span(&json), job->s->audit_max_bytes);
    if (out == NULL || out->next == NULL) {
        out = vd_output_free(out);
        rc = vd_err_nomem(err, "decision");
        goto done;
    }
    *ret = out;
done:
    (void)vd_json_free(reasoning);
    (void)vd_json_free(context);
    vd_buf_free(&json);
    return rc;
}

static void settle_outcome(struct vd_job *job)
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
    struct vd_err err;

    if (d.usage.model_calls < job->calls)
        d.usage.model_calls = job->calls;
    if (make_outputs(job, &d, &outputs, &err) != VD_OK) {
        if (err.code == VD_E_NOMEM)
            fatal(job, &err);
        else
            dead_letter(job, VD_STAGE_PUBLISH, &err, true);
        return;
    }
    count_outcome(job, o, d.total_ms);
    settle(job, outputs, true);
}

/* -- reasoning ------------------------------------------------------------------------------------------------------- */

static void advance(struct vd_job *job);

/* An event that needs more than a job may have is a dead letter; only memory that is really out stops the worker. */
static void failed(struct vd_job *job, const struct vd_err *err)
{
    struct vd_err capped;

    if (err->code != VD_E_NOMEM) {
        dead_letter(job, VD_STAGE_REASON, err, true);
    } else if (job->arena.capped) {
        (void)vd_err_set(&capped, VD_E_LIMIT, false,
                         "deciding this event needs more than %zu bytes (%s)", job->arena.max,
                         err->msg);
        dead_letter(job, VD_STAGE_REASON, &capped, true);
    } else {
        fatal(job, err);
    }
}

static void stop_reasoning(struct vd_job *job, enum vd_stop stop)
{
    struct vd_err err;

    if (vd_reason_stop(job->reason, stop, &err) != VD_OK)
        failed(job, &err);
    else
        settle_outcome(job);
}

static int64_t deadline_mono_ms(const struct vd_job *job)
{
    return job->rec->fetched_mono_ms + job->policy->budget.deadline_ms;
}

static void on_answer(void *arg, const struct vd_ask_result *result)
{
    struct vd_job *job = arg;
    struct vd_err err;

    if (!came_back(job))
        return;
    job->ask = NULL;
    job->calls += result->calls;
    if (job->state != REASON)
        return; /* the deadline decided first */
    if (result->stopped) {
        /* The router gives up at the same deadline, maybe a turn earlier than our timer. */
        bool late = vd_mono_ms() + DEADLINE_SLACK_MS >= deadline_mono_ms(job);

        stop_reasoning(job, late ? VD_STOP_DEADLINE : result->stop);
        return;
    }
    if (vd_reason_answer(job->reason, &result->answer, &err) != VD_OK)
        failed(job, &err);
    else
        advance(job);
}

/* Ask, or settle. */
static void advance(struct vd_job *job)
{
    struct vd_ask_request request = {
        .router = job->s->router,
        .metrics = job->s->metrics,
        .policy = job->policy,
        .reason = job->reason,
        .default_models = job->s->default_models,
        .default_model_count = job->s->default_model_count,
        .deadline_mono_ms = deadline_mono_ms(job),
        .calls_left = job->policy->budget.max_model_calls - job->calls,
    };
    struct vd_err err;
    enum vd_code rc;

    if (vd_reason_state(job->reason) == VD_REASON_DONE) {
        settle_outcome(job);
        return;
    }
    if (job->s->router == NULL || job->s->stop_models) {
        stop_reasoning(job, job->s->router == NULL ? VD_STOP_NO_MODEL : VD_STOP_KILL_SWITCH);
        return;
    }
    if (request.calls_left <= 0) {
        stop_reasoning(job, VD_STOP_MODEL_UNAVAILABLE);
        return;
    }
    rc = vd_ask_start(&request, on_answer, job, &job->ask, &err);
    if (rc == VD_OK)
        job->pending++;
    else if (rc == VD_E_NOMEM)
        failed(job, &err);
    else
        stop_reasoning(job, VD_STOP_MODEL_UNAVAILABLE);
}

static void on_deadline(void *arg)
{
    struct vd_job *job = arg;

    if (job->state != REASON)
        return;
    if (job->ask != NULL) {
        vd_ask_cancel(job->ask);
        job->ask = NULL;
    }
    stop_reasoning(job, VD_STOP_DEADLINE);
}

static void begin_reasoning(struct vd_job *job, bool context_missing)
{
    struct vd_reason_start start = {
        .facts = job->facts,
        .decision_id = vd_span_of(job->id),
        .marker_key = job->s->marker_key,
        .redact_key = job->s->redact_key,
    };
    int64_t left_ms = deadline_mono_ms(job) - vd_mono_ms();
    struct vd_err err;

    job->state = REASON;
    if (vd_facts_complete(job->facts, &err) != VD_OK ||
        vd_reason_new(&start, &job->reason, &err) != VD_OK) {
        failed(job, &err);
    } else if (job->forced_review) {
        if (vd_reason_review(job->reason, vd_stop_name(job->forced_stop), job->forced_why, &err) !=
            VD_OK)
            failed(job, &err);
        else
            settle_outcome(job);
    } else if (job->forced) {
        stop_reasoning(job, job->forced_stop);
    } else if (context_missing) {
        stop_reasoning(job, VD_STOP_CONTEXT_UNAVAILABLE);
    } else if (vd_reason_state(job->reason) == VD_REASON_DONE) {
        settle_outcome(job);
    } else if (left_ms <= 0) {
        stop_reasoning(job, VD_STOP_DEADLINE);
    } else if (vd_timer_new(job->s->loop, on_deadline, job, &job->timer) != VD_OK) {
        (void)vd_err_nomem(&err, "timer");
        failed(job, &err);
    } else {
        vd_timer_start(job->timer, (uint64_t)left_ms, 0);
        advance(job);
    }
}

/* -- context --------------------------------------------------------------------------------------------------------- */

static void read_context(void *arg);

/* Redis did not answer: again, until the deadline; then without. */
static void retry_context(struct vd_job *job)
{
    int64_t left_ms = deadline_mono_ms(job) - vd_mono_ms();
    struct vd_err err;

    if (left_ms <= REDIS_RETRY_MS) {
        begin_reasoning(job, true);
        return;
    }
    if (job->timer == NULL && vd_timer_new(job->s->loop, read_context, job, &job->timer) != VD_OK) {
        (void)vd_err_nomem(&err, "timer");
        failed(job, &err);
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
            dead_letter(job, VD_STAGE_CONTEXT, &err, true);
            return;
        }
        vd_facts_set_context(job->facts, i, job->contexts[i]);
    }
    begin_reasoning(job, false);
}

static void take_given_context(struct vd_job *job)
{
    const cJSON *values[VD_LOOKUP_MAX] = {NULL};

    for (size_t i = 0; i < job->policy->context_count && i < VD_LOOKUP_MAX; i++)
        values[i] = vd_json_get(job->s->context, job->policy->contexts[i].name);
    accept_context(job, values);
}

static void on_values(void *arg, struct vd_lookup_result *result)
{
    struct vd_job *job = arg;
    struct vd_err err = result->err;

    if (!came_back(job))
        return;
    job->lookup = NULL;
    vd_metric_add(job->s->metrics, VD_M_WAIT, "redis", "", (uint64_t)result->wait_ms);
    if (err.code == VD_E_REMOTE || err.code == VD_E_TIMEOUT) {
        vd_metric_add(job->s->metrics, VD_M_REDIS_ERRORS, "", "", 1);
        retry_context(job);
        return;
    }
    job->timer = vd_timer_free(job->timer);
    if (err.code != VD_OK) {
        (void)vd_err_wrap(&err, err.code, "context %s", job->policy->contexts[result->failed].name);
        dead_letter(job, VD_STAGE_CONTEXT, &err, true);
        return;
    }
    accept_context(job, (const cJSON *const *)result->values);
}

static void read_context(void *arg)
{
    struct vd_job *job = arg;
    int64_t left_ms = deadline_mono_ms(job) - vd_mono_ms();
    uint32_t timeout_ms = job->s->redis_timeout_ms;
    struct vd_err err;
    enum vd_code rc;

    if (job->detached)
        return;
    if (left_ms < CONTEXT_GRACE_MS)
        left_ms = CONTEXT_GRACE_MS;
    if ((int64_t)timeout_ms > left_ms)
        timeout_ms = (uint32_t)left_ms;
    rc = vd_lookup_start(job->s->redis, job->reads, job->policy->context_count, timeout_ms,
                         on_values, job, &job->lookup, &err);
    if (rc == VD_OK)
        job->pending++;
    else if (rc == VD_E_NOMEM)
        failed(job, &err);
    else
        retry_context(job);
}

static void begin_context(struct vd_job *job)
{
    size_t count = job->policy->context_count;
    struct vd_err err;

    job->state = CONTEXT;
    job->contexts = vd_arena_array(&job->arena, count, sizeof(cJSON *));
    job->reads = vd_arena_array(&job->arena, count, sizeof(*job->reads));
    if (job->contexts == NULL || job->reads == NULL) {
        (void)vd_err_nomem(&err, "context");
        failed(job, &err);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct vd_span *argv;

        if (vd_facts_redis(job->facts, i, &argv, &err) != VD_OK) {
            dead_letter(job, VD_STAGE_CONTEXT, &err, true);
            return;
        }
        job->reads[i] = (struct vd_read){argv, job->policy->contexts[i].redis.count,
                                         job->policy->contexts[i].max_bytes};
    }
    if (count == 0)
        begin_reasoning(job, false);
    else if (job->s->context != NULL)
        take_given_context(job);
    else if (job->s->redis == NULL)
        begin_reasoning(job, true);
    else
        read_context(job);
}

/* -- the pipeline's calls --------------------------------------------------------------------------------------------- */

bool vd_job_match(struct vd_job *job)
{
    struct vd_err err;
    bool match = false;

    if (!vd_decision_id(job->s->cluster_id, job->rec, job->event, job->policy->id, job->id)) {
        (void)vd_err_nomem(&err, "decision id");
        fatal(job, &err);
        return false;
    }
    if (vd_facts_when(job->facts, &match, &err) != VD_OK) {
        dead_letter(job, VD_STAGE_ROUTE, &err, false);
        return true;
    }
    if (match)
        job->state = MATCHED;
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
        settle(job, NULL, false);
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
        dead_letter(job, VD_STAGE_VALIDATE, &err, false);
        return false;
    }
    if (vd_facts_key(job->facts, &job->key, &err) != VD_OK) {
        dead_letter(job, VD_STAGE_KEY, &err, false);
        return false;
    }
    if (!look_at_age(job))
        return false;
    job->state = WAITING;
    job->key_entry.job = job;
    job->waiting_since_ms = vd_mono_ms();
    return true;
}

void vd_job_start(struct vd_job *job)
{
    assert(job->state == WAITING);
    vd_metric_add(job->s->metrics, VD_M_WAIT, "key", "",
                  (uint64_t)(vd_mono_ms() - job->waiting_since_ms));
    begin_context(job);
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

bool vd_job_settled(const struct vd_job *job)
{
    return job->state == SETTLED;
}

struct vd_output *vd_job_take_outputs(struct vd_job *job)
{
    struct vd_output *outputs = job->outputs;

    job->outputs = NULL;
    return outputs;
}

struct vd_key_entry *vd_job_key_entry(struct vd_job *job)
{
    return &job->key_entry;
}

const struct vd_policy *vd_job_policy(const struct vd_job *job)
{
    return job->policy;
}

const char *vd_job_state_name(const struct vd_job *job)
{
    static const char *const names[] = {"new", "new", "key", "redis", "model", "commit"};

    return names[job->state];
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
