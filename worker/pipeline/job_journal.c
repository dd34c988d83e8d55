/* pipeline/job_journal.c - see job.h: what an earlier run of the same job saw and was answered. */
#include "pipeline/job_internal.h"

#include "json/members.h"
#include "pipeline/journal.h"

bool vd_job_journals(const struct vd_job *job)
{
    return job->s->journal != NULL && job->s->router != NULL && !job->forced &&
           !job->s->stop_models && vd_journal_readable(job->s->journal);
}

bool vd_job_journal_read(struct vd_job *job, struct vd_read *ret_read)
{
    *ret_read = (struct vd_read){.max_bytes = VD_JOURNAL_MAX_BYTES, .optional = true};
    job->journal_read = true;
    return vd_journal_read(job->s->journal, job->id, &job->arena, &ret_read->argv,
                           &ret_read->argc) == VD_OK;
}

/* -- seeing again ------------------------------------------------------------------------------------------------- */

static void drop_contexts(struct vd_job *job)
{
    for (size_t i = 0; i < job->policy->context_count; i++)
        job->contexts[i] = vd_json_free(job->contexts[i]);
}

/* The clock and the contexts of seen in place of this run's. *ret_taken false: it is not as this policy needs it. */
static enum vd_code see_again(struct vd_job *job, const cJSON *seen, bool *ret_taken,
                              struct vd_err *err)
{
    const cJSON *values = vd_json_get(seen, "context");
    struct vd_facts *facts;
    int64_t clock_ms;
    enum vd_code rc;

    if (!vd_json_int(vd_json_get(seen, "clock_ms"), &clock_ms) ||
        vd_json_kind(values) != VD_JSON_ARRAY ||
        (size_t)cJSON_GetArraySize(values) != job->policy->context_count)
        return VD_OK;
    rc = vd_facts_new(job->policy, job->event->tree, clock_ms, &job->arena, &facts, err);
    if (rc != VD_OK)
        return rc;
    (void)vd_facts_free(job->facts);
    job->facts = facts;
    job->clock_ms = clock_ms;
    drop_contexts(job);
    for (size_t i = 0; i < job->policy->context_count; i++) {
        const cJSON *value = cJSON_GetArrayItem(values, (int)i);

        if (vd_json_kind(value) != VD_JSON_NULL && (job->contexts[i] = vd_json_copy(value)) == NULL)
            return vd_err_nomem(err, "journal");
        vd_facts_set_context(job->facts, i, job->contexts[i]);
    }
    rc = vd_job_state_bind(
        job,
        err); /* by the clock of then; nothing else has changed since, as the job held its keys */
    *ret_taken = rc == VD_OK;
    return rc;
}

bool vd_job_journal_take(struct vd_job *job, cJSON *take_entry, struct vd_err *err)
{
    char event_hash[VD_SHA256_HEX_SIZE];
    cJSON *seen;
    bool taken = false;

    *err = (struct vd_err){0};
    if (take_entry == NULL) {
        job->start.absent = true;
        return false;
    }
    vd_sha256_hex(&job->event->value_hash, event_hash);
    seen = vd_journal_seen(job->s->journal, take_entry, job->policy->hash_hex, event_hash);
    if (seen == NULL || see_again(job, seen, &taken, err) != VD_OK || !taken) {
        (void)vd_json_free(take_entry);
    } else {
        job->journal = take_entry;
        job->journal_begun = true;
        job->start.written = true;
    }
    (void)vd_json_free(seen);
    return taken && err->code == VD_OK;
}

/* -- being seen --------------------------------------------------------------------------------------------------- */

/* Contexts as they are bound, in the policy's order. */
static void add_contexts(const struct vd_job *job, struct vd_buf *out)
{
    (void)vd_buf_add_c(out, ",\"context\":[");
    for (size_t i = 0; i < job->policy->context_count; i++) {
        if (i > 0)
            (void)vd_buf_add_char(out, ',');
        if (job->contexts[i] == NULL)
            (void)vd_buf_add_c(out, "null");
        else
            (void)vd_json_write(out, job->contexts[i]);
    }
    (void)vd_buf_add_char(out, ']');
}

void vd_job_journal_begin(struct vd_job *job)
{
    char event_hash[VD_SHA256_HEX_SIZE];
    struct vd_buf text;

    if (job->s->journal == NULL || job->journal_begun)
        return;
    job->journal_begun = true;
    vd_sha256_hex(&job->event->value_hash, event_hash);
    vd_buf_init(&text, VD_JOURNAL_SEEN_MAX_BYTES + 1);
    (void)vd_buf_add(&text, VD_LIT("{\"v\":1"));
    vd_json_word(&text, "event", event_hash);
    vd_json_word(&text, "policy", job->policy->hash_hex);
    vd_json_integer(&text, "clock_ms", job->clock_ms);
    add_contexts(job, &text);
    (void)vd_buf_add_char(&text, '}');
    if (text.failed == VD_OK)
        vd_journal_see(job->s->journal, &job->start, vd_buf_span(&text), &job->arena);
    else
        vd_journal_count(job->s->journal, VD_JOURNAL_TOO_LARGE);
    vd_buf_free(&text);
}
