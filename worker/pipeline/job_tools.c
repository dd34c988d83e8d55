/* pipeline/job_tools.c - see job.h: what the model looks up, now or in an earlier run of the same job. */
#include "pipeline/job_internal.h"

#include "pipeline/journal.h"

/* What the model was told must be told again when the job runs again: also that there was no answer. */
static void keep(struct vd_job *job, const struct vd_tool_request *requests,
                 const struct vd_tool_result *results, size_t count)
{
    for (size_t i = 0; i < count && job->s->journal != NULL && job->start.written; i++) {
        cJSON *tree;
        struct vd_buf text;

        if (results[i].from_journal)
            continue;
        tree = vd_tools_keep(&results[i]);
        vd_buf_init(&text, VD_TOOL_MAX_BYTES * 8);
        if (tree != NULL && vd_json_write(&text, tree) == VD_OK)
            vd_journal_put(job->s->journal, job->id, requests[i].name, vd_buf_span(&text));
        else
            vd_journal_count(job->s->journal, VD_JOURNAL_TOO_LARGE);
        vd_buf_free(&text);
        (void)vd_json_free(tree);
    }
}

static void on_tools(void *arg, const struct vd_tool_result *results, size_t count)
{
    struct vd_job *job = arg;
    struct vd_err err;
    size_t requested;

    if (!vd_job_came_back(job))
        return;
    job->tools = NULL;
    if (job->state != VD_JOB_REASON || vd_reason_state(job->reason) != VD_REASON_TOOLS)
        return; /* the deadline decided first */
    keep(job, vd_reason_tool_requests(job->reason, &requested), results, count);
    if (vd_reason_tool_results(job->reason, results, &err) != VD_OK)
        vd_job_failed(job, &err);
    else
        vd_job_ask(job);
}

/* From the journal's entry; NULL: nothing is there. */
static cJSON *kept_result(const struct vd_job *job, const struct vd_tool_request *request)
{
    struct vd_span text = vd_journal_get(job->journal, request->name);
    cJSON *tree = NULL;

    if (text.ptr == NULL || vd_json_parse(text, &tree, NULL) != VD_OK)
        return NULL;
    return tree;
}

void vd_job_call_tools(struct vd_job *job)
{
    struct vd_tools_services services = {
        .loop = job->s->loop,
        .redis = job->s->redis,
        .hosts = job->s->tool_hosts,
        .metrics = job->s->metrics,
        .policy_id = job->policy->id,
    };
    size_t count;
    const struct vd_tool_request *requests = vd_reason_tool_requests(job->reason, &count);
    cJSON *kept[VD_TOOL_MAX_TURN] = {NULL};
    struct vd_err err;
    enum vd_code rc;

    for (size_t i = 0; i < count && job->recalled; i++)
        kept[i] = kept_result(job, &requests[i]);
    rc = vd_tools_start(&services, requests, count, (const cJSON *const *)kept,
                        vd_job_deadline_mono_ms(job), on_tools, job, &job->tools, &err);
    for (size_t i = 0; i < count; i++)
        (void)vd_json_free(kept[i]);
    if (rc == VD_OK)
        job->pending++;
    else
        vd_job_failed(job, &err);
}
