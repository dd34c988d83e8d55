/* pipeline/ask.c - see ask.h. */
#include "pipeline/ask.h"

#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "model/router.h"

struct vd_ask_call {
    struct vd_router *router;
    struct vd_router_call *call;
    struct vd_metrics *metrics;
    const char *policy_id;
    struct vd_journal *journal;
    const char *decision_id;
    struct vd_journal_start *start;
    unsigned step;
    bool orphan;
    struct vd_model_message *messages; /* of the ask */
    struct vd_model_tool_call *calls;  /* of all messages */
    struct vd_model_tool *tools;
    struct vd_model_schema schema;
    struct vd_model_request request;
    vd_ask_fn *done;
    void *arg;
};

static void *free_ask(struct vd_ask_call *c)
{
    (void)vd_free(c->messages);
    (void)vd_free(c->calls);
    (void)vd_free(c->tools);
    return vd_free(c);
}

/* -- the answer ------------------------------------------------------------------------------------------------------ */

static void count_attempts(const struct vd_ask_call *c, const struct vd_router_result *r)
{
    for (size_t i = 0; i < r->attempt_count; i++) {
        const struct vd_router_attempt *a = &r->attempts[i];
        const char *model = vd_router_model(c->router, a->model)->name;

        vd_metric_add(c->metrics, VD_M_MODEL_CALLS, model, vd_model_outcome_name(a->outcome), 1);
        vd_metric_add(c->metrics, VD_M_TOKENS, model, "input", a->usage.input_tokens);
        vd_metric_add(c->metrics, VD_M_TOKENS, model, "output", a->usage.output_tokens);
        vd_metric_add(c->metrics, VD_M_COST, c->policy_id, model, a->cost_microusd);
        if (a->total_us > 0)
            vd_metric_observe_ms(c->metrics, VD_M_MODEL_TIME, model, a->total_us / 1000);
    }
    vd_metric_add(c->metrics, VD_M_WAIT, "concurrency", "", (uint64_t)r->queue_ms);
    vd_metric_add(c->metrics, VD_M_WAIT, "retry", "", (uint64_t)r->retry_ms);
    vd_metric_add(c->metrics, VD_M_WAIT, "model_quota", "", (uint64_t)r->quota_ms);
}

/* Does the failure say that the model cannot be asked, and not that this request is bad? */
static bool is_away(enum vd_model_outcome outcome, int http_status)
{
    switch (outcome) {
    case VD_MODEL_RETRY:
    case VD_MODEL_TIMEOUT:
    case VD_MODEL_QUOTA:
    case VD_MODEL_UNAVAILABLE:
        return true;
    case VD_MODEL_FATAL:
        return http_status == 0 || http_status == 401 || http_status == 403 || http_status == 404;
    default:
        return false;
    }
}

/* Sent, and refused before anything was made of it: not the budget's money. */
static int64_t count_refused(const struct vd_router_result *r)
{
    int64_t n = 0;

    for (size_t i = 0; i < r->attempt_count; i++) {
        const struct vd_router_attempt *a = &r->attempts[i];
        bool begun = a->http_status >= 200 && a->http_status < 300;

        n += is_away(a->outcome, a->http_status) && a->outcome != VD_MODEL_TIMEOUT && !begun;
    }
    return n < (int64_t)r->calls ? n : (int64_t)r->calls;
}

/* Where the policy has no tools, the text says which one was called. */
static void translate_calls(const struct vd_ask_call *c, const struct vd_router_result *r,
                            struct vd_tool_call *called, struct vd_answer *answer)
{
    answer->kind = VD_ANSWER_TOOL;
    answer->text = c->request.tool_count > 0 ? r->model.raw : r->model.tool_calls[0].name;
    answer->calls = called;
    for (size_t i = 0; i < r->model.tool_call_count && i < VD_MODEL_MAX_TOOL_CALLS; i++)
        called[answer->call_count++] =
            (struct vd_tool_call){r->model.tool_calls[i].id, r->model.tool_calls[i].name,
                                  r->model.tool_calls[i].arguments};
}

/* What the router's last attempt means to the reasoning. called: room for the tools that were. */
static void translate(const struct vd_ask_call *c, const struct vd_router_result *r,
                      struct vd_tool_call *called, struct vd_ask_result *out)
{
    const struct vd_model_conf *conf = vd_router_model(c->router, r->model_index);

    out->calls = r->calls;
    out->no_model = is_away(r->model.outcome, r->model.http_status);
    out->refused = count_refused(r);
    out->answer = (struct vd_answer){
        .kind = VD_ANSWER_TEXT,
        .text = r->model.answer,
        .model = conf->name,
        .provider = conf->provider,
        .input_tokens = (int64_t)r->usage.input_tokens,
        .output_tokens = (int64_t)r->usage.output_tokens,
        .cost_microusd = (int64_t)r->cost_microusd,
        .model_ms = r->model.total_us / 1000,
    };
    switch (r->model.outcome) {
    case VD_MODEL_OK:
        if (r->model.tool_call_count > 0)
            translate_calls(c, r, called, &out->answer);
        break;
    case VD_MODEL_LENGTH:
        out->answer.kind = VD_ANSWER_CUT;
        out->answer.text = r->model.raw;
        break;
    case VD_MODEL_REFUSED:
    case VD_MODEL_CONTENT_FILTER:
        out->answer.kind = VD_ANSWER_REFUSED;
        out->answer.text = r->model.raw;
        break;
    case VD_MODEL_QUOTA:
        out->stopped = true;
        out->stop = VD_STOP_QUOTA;
        break;
    default:
        out->stopped = true;
        out->stop = VD_STOP_MODEL_UNAVAILABLE;
        break;
    }
}

static void keep(const struct vd_ask_call *c, const struct vd_router_result *r,
                 const struct vd_ask_result *result)
{
    struct vd_journal_answer kept = {result->answer, r->body_hash, result->calls};

    vd_journal_put_answer(c->journal, c->decision_id, c->step, &kept, c->start);
    if (c->orphan)
        vd_journal_count(c->journal, VD_JOURNAL_LATE);
}

static void on_done(void *arg, const struct vd_router_result *r)
{
    struct vd_ask_call *c = arg;
    struct vd_ask_result result = {.stopped = false};
    struct vd_tool_call called[VD_MODEL_MAX_TOOL_CALLS];

    count_attempts(c, r);
    translate(c, r, called, &result);
    if (c->journal != NULL && !result.stopped)
        keep(c, r, &result);
    if (c->orphan)
        vd_journal_orphaned(c->journal, -1);
    c->done(c->arg, &result);
    (void)free_ask(c);
}

/* -- the request ------------------------------------------------------------------------------------------------------ */

static enum vd_model_role role_of(enum vd_role role)
{
    return role == VD_ROLE_ASSISTANT ? VD_MODEL_ASSISTANT
           : role == VD_ROLE_TOOL    ? VD_MODEL_TOOL
                                     : VD_MODEL_USER;
}

static enum vd_code set_messages(struct vd_ask_call *c, const struct vd_ask *ask,
                                 struct vd_err *err)
{
    size_t count = 0, calls = 0;

    for (size_t i = 0; i < ask->message_count; i++)
        calls += ask->messages[i].call_count;
    c->messages = vd_alloc_array(ask->message_count, sizeof(*c->messages));
    c->calls = vd_alloc_array(calls + 1, sizeof(*c->calls));
    if (c->messages == NULL || c->calls == NULL)
        return vd_err_nomem(err, "model request");
    calls = 0;
    for (size_t i = 0; i < ask->message_count; i++) {
        const struct vd_message *m = &ask->messages[i];

        if (m->role == VD_ROLE_SYSTEM) {
            c->request.system = m->text;
            c->request.system_json = m->json;
            continue;
        }
        c->messages[count++] = (struct vd_model_message){.role = role_of(m->role),
                                                         .text = m->text,
                                                         .tool_calls = &c->calls[calls],
                                                         .tool_call_count = m->call_count,
                                                         .tool_call_id = m->call_id,
                                                         .failed = m->failed};
        for (size_t k = 0; k < m->call_count; k++)
            c->calls[calls++] = (struct vd_model_tool_call){m->calls[k].id, m->calls[k].name,
                                                            m->calls[k].arguments};
    }
    c->request.messages = c->messages;
    c->request.message_count = count;
    return VD_OK;
}

static enum vd_code set_tools(struct vd_ask_call *c, const struct vd_ask *ask, struct vd_err *err)
{
    if (ask->tool_count == 0)
        return VD_OK;
    c->tools = vd_alloc_array(ask->tool_count, sizeof(*c->tools));
    if (c->tools == NULL)
        return vd_err_nomem(err, "model request");
    for (size_t i = 0; i < ask->tool_count; i++)
        c->tools[i] = (struct vd_model_tool){.name = ask->tools[i].name,
                                             .description = ask->tools[i].description,
                                             .schema = ask->tools[i].full,
                                             .reduced = ask->tools[i].reduced};
    c->request.tools = c->tools;
    c->request.tool_count = ask->tool_count;
    c->request.tools_closed = ask->tools_closed;
    return VD_OK;
}

static enum vd_schema_form form_of(const struct vd_model_conf *conf)
{
    if (strcmp(conf->provider, "anthropic") == 0)
        return VD_FORM_ANTHROPIC_TOOL;
    return conf->schema_mode == VD_MODEL_SCHEMA_STRICT ? VD_FORM_OPENAI_STRICT : VD_FORM_FULL;
}

/* Only the forms that one of the models takes are made. */
static enum vd_code set_schema(struct vd_ask_call *c, struct vd_reason *reason,
                               const size_t *models, size_t count, struct vd_err *err)
{
    struct vd_span *const forms[3] = {&c->schema.full, &c->schema.strict, &c->schema.reduced};

    c->schema.name = VD_LIT(VD_TOOL_PROPOSAL);
    for (size_t i = 0; i < count; i++) {
        enum vd_schema_form form = form_of(vd_router_model(c->router, models[i]));
        enum vd_code rc = vd_reason_schema(reason, form, forms[form], err);

        if (rc != VD_OK)
            return rc;
    }
    if (c->schema.full.len == 0)
        c->schema.full = c->schema.strict.len > 0 ? c->schema.strict : c->schema.reduced;
    c->request.schema = &c->schema;
    return VD_OK;
}

/* Router indexes of the policy's models, or the settings' default. */
static size_t choose_models(const struct vd_ask_request *request, size_t out[VD_ROUTER_MAX_MODELS])
{
    const struct vd_policy *policy = request->policy;
    size_t count = 0;

    for (size_t i = 0; i < policy->model_count && count < VD_ROUTER_MAX_MODELS; i++) {
        int index = vd_router_find(request->router, vd_span_of(policy->models[i]));

        if (index >= 0)
            out[count++] = (size_t)index;
    }
    for (size_t i = 0; policy->model_count == 0 && i < request->default_model_count &&
                       count < VD_ROUTER_MAX_MODELS;
         i++)
        out[count++] = request->default_models[i];
    return count;
}

/* Everything but sending. *ret_call is the caller's. */
static enum vd_code make_call(const struct vd_ask_request *request, const size_t *models,
                              size_t model_count, struct vd_ask_call **ret_call, struct vd_err *err)
{
    const struct vd_ask *ask = vd_reason_ask(request->reason);
    struct vd_ask_call *c = vd_alloc(sizeof(*c));
    enum vd_code rc;

    if (c == NULL)
        return vd_err_nomem(err, "model request");
    c->router = request->router;
    c->metrics = request->metrics;
    c->policy_id = request->policy->id;
    c->journal = request->journal;
    c->decision_id = request->decision_id;
    c->start = request->start;
    c->step = ask->step;
    c->request.temperature = 0;
    c->request.max_output_tokens =
        ask->max_output_tokens > 0 && ask->max_output_tokens < VD_OUTPUT_TOKENS_DEFAULT
            ? (uint32_t)ask->max_output_tokens
            : VD_OUTPUT_TOKENS_DEFAULT;
    rc = set_messages(c, ask, err);
    if (rc == VD_OK)
        rc = set_tools(c, ask, err);
    if (rc == VD_OK)
        rc = set_schema(c, request->reason, models, model_count, err);
    if (rc != VD_OK) {
        (void)free_ask(c);
        return rc;
    }
    *ret_call = c;
    return VD_OK;
}

enum vd_code vd_ask_start(const struct vd_ask_request *request, vd_ask_fn *done, void *arg,
                          struct vd_ask_call **ret_call, struct vd_err *err)
{
    size_t models[VD_ROUTER_MAX_MODELS];
    struct vd_router_request routed = {
        .models = models,
        .model_count = choose_models(request, models),
        .deadline_mono_ms = request->deadline_mono_ms,
        .max_calls = (uint32_t)request->calls_left,
        .hash_body = request->journal != NULL,
    };
    struct vd_ask_call *c;
    enum vd_code rc;

    if (routed.model_count == 0)
        return vd_err_set(err, VD_E_CONFIG, false, "no model for policy %s", request->policy->id);
    rc = make_call(request, models, routed.model_count, &c, err);
    if (rc != VD_OK)
        return rc;
    c->done = done;
    c->arg = arg;
    routed.request = &c->request;
    rc = vd_router_submit(request->router, &routed, on_done, c, &c->call, err);
    if (rc != VD_OK) {
        (void)free_ask(c);
        return rc;
    }
    *ret_call = c;
    return VD_OK;
}

/* Is what this model would be sent now what that answer answers? */
static enum vd_code same_request(const struct vd_ask_call *c, size_t model,
                                 const struct vd_journal_answer *kept, bool *ret,
                                 struct vd_err *err)
{
    struct vd_sha256 hash;
    struct vd_buf body;
    enum vd_code rc;

    vd_buf_init(&body, VD_MODEL_REQUEST_MAX_BYTES);
    rc = vd_router_encode(c->router, model, &c->request, &body, err);
    hash = vd_sha256(vd_buf_span(&body));
    vd_buf_free(&body);
    *ret = rc == VD_OK && memcmp(hash.bytes, kept->request.bytes, sizeof(hash.bytes)) == 0;
    return rc == VD_E_NOMEM ? rc : VD_OK;
}

bool vd_ask_recall(const struct vd_ask_request *request, const cJSON *entry, struct vd_arena *arena,
                   struct vd_journal_answer *ret, struct vd_err *err)
{
    unsigned step = vd_reason_ask(request->reason)->step;
    size_t models[VD_ROUTER_MAX_MODELS], count = choose_models(request, models), i = 0;
    struct vd_ask_call *c;
    bool same = false;
    enum vd_code rc;

    *err = (struct vd_err){0};
    if (count == 0 || !vd_journal_get_answer(request->journal, entry, step, arena, ret))
        return false;
    while (i < count &&
           strcmp(vd_router_model(request->router, models[i])->name, ret->answer.model) != 0)
        i++;
    if (i < count) {
        rc = make_call(request, models, count, &c, err);
        if (rc == VD_OK) {
            ret->answer.provider = vd_router_model(request->router, models[i])->provider;
            rc = same_request(c, models[i], ret, &same, err);
            (void)free_ask(c);
        }
        if (rc != VD_OK)
            return false;
    }
    *err = (struct vd_err){0};
    vd_journal_count(request->journal, same ? VD_JOURNAL_HIT : VD_JOURNAL_OTHER_REQUEST);
    return same;
}

void vd_ask_cancel(struct vd_ask_call *call)
{
    vd_router_cancel(call->call);
}

int64_t vd_ask_sent(const struct vd_ask_call *call)
{
    return (int64_t)vd_router_sent(call->call);
}

void vd_ask_orphan(struct vd_ask_call *call)
{
    if (call->journal == NULL) {
        vd_router_cancel(call->call);
        return;
    }
    call->orphan = true;
    vd_journal_orphaned(call->journal, 1);
    vd_router_let_finish(call->call);
}

bool vd_ask_available(const struct vd_ask_request *request, int64_t *ret_retry_ms)
{
    size_t models[VD_ROUTER_MAX_MODELS], count = choose_models(request, models);

    return vd_router_available(request->router, models, count, ret_retry_ms);
}

uint64_t vd_ask_answers(const struct vd_ask_request *request)
{
    size_t models[VD_ROUTER_MAX_MODELS], count = choose_models(request, models);
    uint64_t answers = 0;

    for (size_t i = 0; i < count; i++)
        answers += vd_router_status(request->router, models[i]).outcomes[VD_MODEL_OK];
    return answers;
}
