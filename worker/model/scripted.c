/* model/scripted.c - see scripted.h. */
#include "model/scripted.h"

#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "loop/loop.h"
#include "model/extract.h"
#include "model/ops.h"
#include "model/wire.h"

struct script_call {
    TAILQ_ENTRY(script_call) link;
    const struct vd_model_request *request;
    size_t body_bytes;
    bool canceled;
    vd_model_done_fn *done;
    void *arg;
};

TAILQ_HEAD(script_calls, script_call);

struct script {
    const cJSON *answers; /* borrowed; NULL is an empty list */
    const cJSON *next;
    size_t used;
    struct vd_timer *soon;
    struct script_calls calls;
};

static enum vd_model_outcome find_outcome(struct vd_span name)
{
    for (int i = 0; i < VD_MODEL_OUTCOME_COUNT; i++)
        if (vd_span_eq_c(name, vd_model_outcome_name((enum vd_model_outcome)i)))
            return (enum vd_model_outcome)i;
    return VD_MODEL_MALFORMED;
}

/* Text of a string, or of the JSON of anything else, which is written to out. */
static struct vd_span text_of(const cJSON *node, struct vd_buf *out)
{
    if (node == NULL)
        return (struct vd_span){0};
    if (vd_json_kind(node) == VD_JSON_STRING)
        return vd_json_string(node);
    (void)vd_json_write(out, node);
    return vd_buf_span(out);
}

/* What the result points into. */
struct texts {
    struct vd_buf bufs[VD_MODEL_MAX_TOOL_CALLS];
    struct vd_model_tool_call calls[VD_MODEL_MAX_TOOL_CALLS];
};

static void answer_calls(const cJSON *list, struct texts *texts, struct vd_model_result *result)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, list)
    {
        size_t i = result->tool_call_count;

        if (i == VD_MODEL_MAX_TOOL_CALLS)
            break;
        texts->calls[i].id = vd_json_get_string(one, "id");
        if (texts->calls[i].id.len == 0)
            texts->calls[i].id = VD_LIT("call_scripted");
        texts->calls[i].name = vd_json_get_string(one, "name");
        texts->calls[i].arguments = text_of(vd_json_get(one, "arguments"), &texts->bufs[i]);
        result->tool_call_count++;
    }
    result->tool_calls = texts->calls;
    result->finish_reason = VD_LIT("tool_calls");
}

static void answer(const struct script_call *call, const cJSON *item, struct texts *texts,
                   struct vd_model_result *result)
{
    const cJSON *outcome = vd_json_get(item, "outcome");
    const cJSON *list = vd_json_get(item, "tool_calls");

    result->model = VD_LIT("scripted");
    result->sent = true;
    result->usage_known = true;
    result->usage.input_tokens = vd_model_estimate_tokens(call->body_bytes);
    if (outcome != NULL && vd_json_kind(outcome) == VD_JSON_STRING) {
        vd_model_fail(result, find_outcome(vd_json_string(outcome)), "as the script says");
    } else if (list != NULL && vd_json_kind(list) == VD_JSON_ARRAY) {
        answer_calls(list, texts, result);
    } else {
        struct vd_span object;

        result->raw = text_of(item, &texts->bufs[0]);
        result->answer = vd_span_trim(result->raw);
        result->finish_reason = VD_LIT("stop");
        if (call->request->schema != NULL && vd_model_extract(result->answer, &object))
            result->answer = object;
    }
    result->usage.output_tokens = vd_model_estimate_tokens(result->raw.len);
}

static void run_done(struct script *script, struct script_call *call)
{
    struct vd_model_result result = {.retry_after_ms = -1};
    struct texts texts = {0};

    for (size_t i = 0; i < VD_MODEL_MAX_TOOL_CALLS; i++)
        vd_buf_init(&texts.bufs[i], VD_MODEL_RESPONSE_MAX_BYTES);
    if (call->canceled) {
        vd_model_fail(&result, VD_MODEL_CANCELED, "canceled");
    } else if (script->next == NULL) {
        vd_model_fail(&result, VD_MODEL_FATAL, "the script has no more answers");
    } else {
        const cJSON *item = script->next;

        script->next = item->next;
        script->used++;
        answer(call, item, &texts, &result);
    }
    call->done(call->arg, &result);
    for (size_t i = 0; i < VD_MODEL_MAX_TOOL_CALLS; i++)
        vd_buf_free(&texts.bufs[i]);
    (void)vd_free(call);
}

static void on_soon(void *arg)
{
    struct script *script = arg;
    struct script_call *last = TAILQ_LAST(&script->calls, script_calls);
    struct script_call *call;

    /* What a done callback submits is answered in a later turn. */
    while ((call = TAILQ_FIRST(&script->calls)) != NULL) {
        bool stop = call == last;

        TAILQ_REMOVE(&script->calls, call, link);
        run_done(script, call);
        if (stop)
            break;
    }
    if (!TAILQ_EMPTY(&script->calls))
        vd_timer_start(script->soon, 0, 0);
}

static void destroy(void *instance)
{
    struct script *script = instance;
    struct script_call *call;

    if (script == NULL)
        return;
    while ((call = TAILQ_FIRST(&script->calls)) != NULL) {
        TAILQ_REMOVE(&script->calls, call, link);
        call->canceled = true;
        run_done(script, call);
    }
    (void)vd_timer_free(script->soon);
    (void)vd_free(script);
}

static enum vd_code create(struct vd_loop *loop, const struct vd_model_conf *conf,
                           void **ret_instance, struct vd_err *err)
{
    struct script *script;

    if (conf->script != NULL && vd_json_kind(conf->script) != VD_JSON_ARRAY)
        return vd_err_set(err, VD_E_CONFIG, false, "model %s: the script must be a list of answers",
                          conf->name);
    script = vd_alloc(sizeof(*script));
    if (script == NULL || vd_timer_new(loop, on_soon, script, &script->soon) != VD_OK) {
        (void)vd_free(script);
        return vd_err_nomem(err, "model");
    }
    TAILQ_INIT(&script->calls);
    script->next = conf->script != NULL ? conf->script->child : NULL;
    *ret_instance = script;
    return VD_OK;
}

/* Any text that shows what was asked: OpenAI's form. */
static enum vd_code encode(void *instance, const struct vd_model_request *request,
                           struct vd_buf *out, struct vd_err *err)
{
    static const struct vd_model_conf as = {.name = "scripted", .model = "scripted"};

    (void)instance;
    return vd_model_openai_codec.encode(&as, request, out, err);
}

static enum vd_code submit(void *instance, const struct vd_model_request *request,
                           struct vd_span body, uint32_t timeout_ms, vd_model_done_fn *done,
                           void *arg, void **ret_call, struct vd_err *err)
{
    struct script *script = instance;
    struct script_call *call = vd_alloc(sizeof(*call));

    (void)timeout_ms;
    if (call == NULL)
        return vd_err_nomem(err, "model call");
    call->request = request;
    call->body_bytes = body.len;
    call->done = done;
    call->arg = arg;
    TAILQ_INSERT_TAIL(&script->calls, call, link);
    vd_timer_start(script->soon, 0, 0);
    *ret_call = call;
    return VD_OK;
}

static void cancel(void *instance, void *call)
{
    (void)instance;
    ((struct script_call *)call)->canceled = true;
}

size_t vd_model_scripted_used(const void *instance)
{
    return ((const struct script *)instance)->used;
}

const struct vd_model_ops vd_model_scripted = {
    .name = "scripted",
    .create = create,
    .encode = encode,
    .submit = submit,
    .cancel = cancel,
    .destroy = destroy,
};
