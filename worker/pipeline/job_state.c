/* pipeline/job_state.c - see job.h: the policy's state and memory, read before the decision and changed by it.
 *
 * Events of one state or memory must not overtake each other, also where these have keys of their own: the job stands in the queue
 * of each such key, and its effect keeps those places until the changes are made (pipeline.c).
 */
#include "pipeline/job_internal.h"
#include "pipeline/operations.h"
#include "policy/memory.h"
#include "policy/state.h"

bool vd_job_writes(const struct vd_job *job)
{
    return job->s->effects != NULL &&
           (job->policy->mode == VD_MODE_ENFORCE || job->policy->mode == VD_MODE_CANARY);
}

/* -- keys -------------------------------------------------------------------------------------------------------- */

/* Another queue, unless the job stands in one of that name. */
static enum vd_code add_key(struct vd_job *job, const char *what, struct vd_span key,
                            struct vd_err *err)
{
    struct vd_job_key *k = &job->keys[job->key_count];
    const char *scope = vd_arena_printf(&job->arena, "%s#%s", job->policy->id, what);

    if (scope == NULL)
        return vd_err_nomem(err, "key");
    *k = (struct vd_job_key){.entry = {.job = job}, .scope = vd_span_of(scope), .key = key};
    job->key_count++;
    return VD_OK;
}

enum vd_code vd_job_state_keys(struct vd_job *job, struct vd_err *err)
{
    const struct vd_policy *p = job->policy;
    enum vd_code rc = VD_OK;

    if (p->state != NULL) {
        rc = vd_facts_state_key(job->facts, &job->state_key, err);
        if (rc == VD_OK && vd_job_writes(job) && !vd_span_eq(job->state_key, job->key))
            rc = add_key(job, "state", job->state_key, err);
    }
    if (rc == VD_OK && p->notes != NULL) {
        rc = vd_facts_memory_key(job->facts, &job->memory_key, err);
        if (rc == VD_OK && vd_job_writes(job) && !vd_span_eq(job->memory_key, job->key))
            rc = add_key(job, "memory", job->memory_key, err);
    }
    return rc;
}

/* -- reading ----------------------------------------------------------------------------------------------------- */

/* "state:POLICY:KEY", with the prefix of all keys or without; NULL when memory is out. */
static const char *redis_key(struct vd_job *job, const char *prefix, const char *what,
                             struct vd_span key)
{
    return vd_arena_printf(&job->arena, "%s%s:%s:%.*s", prefix, what, job->policy->id, (int)key.len,
                           key.ptr);
}

static bool add_read(struct vd_job *job, struct vd_read *reads, size_t *count, const char *command,
                     const char *key, const char *last)
{
    struct vd_span *argv = vd_arena_array(&job->arena, 4, sizeof(*argv));

    if (argv == NULL || key == NULL || last == NULL)
        return false;
    argv[0] = vd_span_of(command);
    argv[1] = vd_span_of(key);
    argv[2] = VD_LIT("0");
    argv[3] = vd_span_of(last);
    reads[(*count)++] = (struct vd_read){.argv = argv, .argc = *last == '\0' ? 2 : 4};
    return true;
}

enum vd_code vd_job_state_reads(struct vd_job *job, struct vd_read *reads, size_t *count,
                                struct vd_err *err)
{
    const struct vd_policy *p = job->policy;
    const char *prefix = job->s->redis_prefix != NULL ? job->s->redis_prefix : "";
    bool ok = true;

    if (p->state != NULL)
        ok = add_read(job, reads, count, "HGETALL", redis_key(job, prefix, "state", job->state_key),
                      "");
    if (ok && p->notes != NULL)
        ok =
            add_read(job, reads, count, "LRANGE", redis_key(job, prefix, "memory", job->memory_key),
                     vd_arena_printf(&job->arena, "%zu", p->notes->read_last - 1));
    return ok ? VD_OK : vd_err_nomem(err, "state");
}

void vd_job_state_keep(struct vd_job *job, cJSON **values, size_t at)
{
    job->raw_known = true;
    if (job->policy->state != NULL) {
        job->raw_state = values[at];
        values[at++] = NULL;
    }
    if (job->policy->notes != NULL) {
        job->raw_memory = values[at];
        values[at] = NULL;
    }
}

void vd_job_state_given(struct vd_job *job, const cJSON *given)
{
    job->raw_known = true;
    job->raw_state = vd_json_copy(vd_json_get(given, "state"));
    job->raw_memory = vd_json_copy(vd_json_get(given, "memory"));
}

enum vd_code vd_job_state_bind(struct vd_job *job, struct vd_err *err)
{
    const struct vd_policy *p = job->policy;
    enum vd_code rc = VD_OK;

    if (!job->raw_known)
        return VD_OK;
    if (p->state != NULL) {
        cJSON *tree;

        rc = vd_state_accept(p->state, job->raw_state, &tree, err);
        if (rc != VD_OK)
            return rc;
        vd_json_free(job->state_tree);
        job->state_tree = tree;
        vd_facts_set_state(job->facts, tree);
    }
    if (p->notes != NULL) {
        struct vd_memory memory;

        rc = vd_memory_accept(p->notes, job->raw_memory, job->clock_ms, &memory, err);
        if (rc != VD_OK)
            return rc;
        vd_memory_fini(&job->memory);
        job->memory = memory;
        vd_facts_set_memory(job->facts, memory.rules, memory.shown);
    }
    return rc;
}

/* -- changing ---------------------------------------------------------------------------------------------------- */

static bool put_span(cJSON *object, const char *key, struct vd_span text)
{
    return vd_json_put(object, key, vd_json_new_string(text));
}

static struct vd_span writer_before(const struct vd_job *job)
{
    return vd_json_get_string(job->raw_state, VD_STATE_WRITER);
}

/* A state that a decision leaves as it is, is not written again. */
static bool changes_state(const struct vd_job *job)
{
    return job->changes.after != NULL && !vd_json_equal(job->changes.before, job->changes.after);
}

static cJSON *state_part(const struct vd_job *job)
{
    const struct vd_changes *c = &job->changes;
    cJSON *part = cJSON_CreateObject();
    bool ok =
        part != NULL && put_span(part, "key", job->state_key) &&
        vd_json_put(part, "ttl_s", vd_json_new_int(job->policy->state->ttl_s)) &&
        put_span(part, "previous", writer_before(job)) &&
        vd_json_put(part, "before",
                    c->before != NULL ? vd_json_copy(c->before) : cJSON_CreateNull()) &&
        vd_json_put(part, "after",
                    c->after != NULL ? vd_json_copy(c->after) : cJSON_CreateNull()) &&
        vd_json_put(part, "written", cJSON_CreateBool(vd_job_writes(job) && changes_state(job)));

    return ok ? part : vd_json_free(part);
}

static cJSON *memory_part(const struct vd_job *job)
{
    const struct vd_policy_notes *notes = job->policy->notes;
    const cJSON *note = job->changes.note, *one;
    cJSON *part = cJSON_CreateObject(), *read = cJSON_CreateArray();
    bool ok = part != NULL && read != NULL;

    cJSON_ArrayForEach(one, job->memory.rules)
    {
        const cJSON *id = vd_json_get(one, "decision_id");

        ok = ok && vd_json_append(read, vd_json_copy(id));
    }
    ok = vd_json_put(part, "read", ok ? read : vd_json_free(read)) && ok;
    ok = ok && put_span(part, "key", job->memory_key) &&
         vd_json_put(part, "ttl_s", vd_json_new_int(notes->ttl_s)) &&
         vd_json_put(part, "max_notes", vd_json_new_int((int64_t)notes->max_notes)) &&
         vd_json_put(part, "note", note != NULL ? vd_json_copy(note) : cJSON_CreateNull()) &&
         vd_json_put(part, "written", cJSON_CreateBool(vd_job_writes(job) && note != NULL));
    return ok ? part : vd_json_free(part);
}

enum vd_code vd_job_changes(struct vd_job *job, cJSON **ret_part, struct vd_err *err)
{
    const struct vd_policy *p = job->policy;
    cJSON *part;
    enum vd_code rc;
    bool ok;

    *ret_part = NULL;
    if (p->state == NULL && p->notes == NULL)
        return VD_OK;
    rc = vd_reason_changes(job->reason, vd_span_of(job->id), &job->changes, err);
    if (rc != VD_OK)
        return rc;
    part = cJSON_CreateObject();
    ok = part != NULL &&
         vd_json_put(part, "state", p->state != NULL ? state_part(job) : cJSON_CreateNull()) &&
         vd_json_put(part, "memory", p->notes != NULL ? memory_part(job) : cJSON_CreateNull()) &&
         vd_json_put(part, "errors",
                     job->changes.errors != NULL ? vd_json_copy(job->changes.errors)
                                                 : cJSON_CreateArray());
    if (!ok) {
        vd_json_free(part);
        return vd_err_nomem(err, "changes");
    }
    *ret_part = part;
    return VD_OK;
}

enum vd_code vd_job_state_operations(struct vd_job *job, cJSON *operations, struct vd_err *err)
{
    const struct vd_policy *p = job->policy;
    bool ok = true;

    if (changes_state(job))
        ok = vd_json_append(operations,
                            vd_state_operation(p->id, job->state_key, job->changes.after,
                                               p->state->ttl_s, job->clock_ms, writer_before(job)));
    if (ok && job->changes.note != NULL)
        ok = vd_json_append(operations,
                            vd_note_operation(p->id, job->memory_key, job->changes.note,
                                              (int64_t)p->notes->max_notes, p->notes->ttl_s));
    return ok ? VD_OK : vd_err_nomem(err, "changes");
}

void vd_job_state_release(struct vd_job *job)
{
    vd_changes_fini(&job->changes);
    vd_memory_fini(&job->memory);
    job->state_tree = vd_json_free(job->state_tree);
    job->raw_state = vd_json_free(job->raw_state);
    job->raw_memory = vd_json_free(job->raw_memory);
}
