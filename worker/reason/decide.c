/* reason/decide.c - see decide.h. */
#include "reason/decide.h"

#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "policy/context.h"
#include "policy/state.h"

/* -- events ------------------------------------------------------------------------------------------------------ */

static const char *const attributes[] = {"id", "type", "source", "subject", "time"};

enum vd_code vd_event_view(const cJSON *body, cJSON **ret_view, struct vd_err *err)
{
    bool envelope = vd_json_kind(body) == VD_JSON_OBJECT &&
                    vd_json_get_string(body, "type").len > 0 && vd_json_get(body, "data") != NULL &&
                    vd_json_kind(vd_json_get(body, "data")) == VD_JSON_OBJECT;
    cJSON *view = envelope ? vd_json_copy(body) : cJSON_CreateObject();
    bool ok = view != NULL;

    for (size_t i = 0; i < sizeof(attributes) / sizeof(*attributes) && ok; i++)
        if (vd_json_get(view, attributes[i]) == NULL)
            ok = vd_json_put(view, attributes[i], cJSON_CreateNull());
    if (ok && !envelope)
        ok = vd_json_put(view, "data", vd_json_copy(body));
    if (!ok) {
        vd_json_free(view);
        return vd_err_nomem(err, "event");
    }
    *ret_view = view;
    return VD_OK;
}

/* -- answers ----------------------------------------------------------------------------------------------------- */

/* {"error": "deadline"}: words that stop reasoning, and words that are a bad end of an answer. */
static const struct {
    const char *word;
    enum vd_answer_kind kind;
} bad_ends[] = {
    {"tool", VD_ANSWER_TOOL},
    {"cut", VD_ANSWER_CUT},
    {"refused", VD_ANSWER_REFUSED},
    {"empty", VD_ANSWER_EMPTY},
};

static bool stop_of(struct vd_span word, enum vd_stop *ret)
{
    for (int i = 0; i <= VD_STOP_NO_MODEL; i++)
        if (vd_span_eq_c(word, vd_stop_name((enum vd_stop)i))) {
            *ret = (enum vd_stop)i;
            return true;
        }
    return false;
}

static enum vd_code give_text(struct vd_reason *reason, enum vd_answer_kind kind,
                              struct vd_span text, struct vd_err *err)
{
    struct vd_answer answer = {.kind = kind, .text = text, .model = "case", .provider = "scripted"};

    answer.input_tokens = vd_reason_ask(reason)->input_tokens_estimate;
    answer.output_tokens = (int64_t)(text.len / VD_PROMPT_BYTES_PER_TOKEN) + 1;
    return vd_reason_answer(reason, &answer, err);
}

/* One call, or the calls of one answer. */
static enum vd_code give_calls(struct vd_reason *reason, const cJSON *answer, struct vd_err *err)
{
    const cJSON *list = vd_json_get(answer, "tools");
    const cJSON *one = list != NULL ? list->child : answer;
    struct vd_tool_call calls[VD_TOOL_MAX_TURN];
    struct vd_buf texts[VD_TOOL_MAX_TURN];
    struct vd_answer a = {
        .kind = VD_ANSWER_TOOL, .calls = calls, .model = "case", .provider = "scripted"};
    enum vd_code rc = VD_OK;

    for (; one != NULL && a.call_count < VD_TOOL_MAX_TURN && rc == VD_OK;
         one = list != NULL ? one->next : NULL) {
        const cJSON *args = vd_json_get(one, "args");
        struct vd_buf *text = &texts[a.call_count];

        vd_buf_init(text, VD_ANSWER_MAX_BYTES * 2);
        if (vd_json_kind(args) == VD_JSON_STRING)
            (void)vd_buf_add(text, vd_json_string(args));
        else if (args != NULL)
            (void)vd_json_write(text, args);
        calls[a.call_count++] = (struct vd_tool_call){.name = vd_json_get_string(one, "tool"),
                                                      .arguments = vd_buf_span(text)};
        if (text->failed != VD_OK)
            rc = vd_err_nomem(err, "answer");
    }
    a.input_tokens = vd_reason_ask(reason)->input_tokens_estimate;
    a.output_tokens = 1;
    if (rc == VD_OK)
        rc = vd_reason_answer(reason, &a, err);
    for (size_t i = 0; i < a.call_count; i++)
        vd_buf_free(&texts[i]);
    return rc;
}

/* What the case says that the tools answer, one after the other for each. */
static enum vd_code give_results(struct vd_reason *reason, const cJSON *tools, size_t *used,
                                 const struct vd_policy *policy, struct vd_err *err)
{
    struct vd_tool_result results[VD_TOOL_MAX_TURN] = {{.failed = NULL}};
    size_t count;
    const struct vd_tool_request *requests = vd_reason_tool_requests(reason, &count);

    for (size_t i = 0; i < count; i++) {
        const cJSON *list = vd_json_get(tools, requests[i].tool->name);
        size_t n = used[requests[i].tool - policy->tools]++;
        const cJSON *value =
            vd_json_kind(list) == VD_JSON_ARRAY ? cJSON_GetArrayItem(list, (int)n) : NULL;
        const cJSON *error = vd_json_get(value, "error");

        if (value == NULL)
            return vd_err_set(err, VD_E_CONFIG, false,
                              "\"tools\" has no answer for call %zu of %.60s", n + 1,
                              requests[i].tool->name);
        if (vd_json_kind(error) == VD_JSON_STRING && error->next == NULL && error->prev == error)
            results[i].failed = error->valuestring;
        else
            results[i].value = value;
    }
    return vd_reason_tool_results(reason, results, err);
}

static enum vd_code give_answer(struct vd_reason *reason, const cJSON *answer, struct vd_err *err)
{
    struct vd_span word = vd_json_get_string(answer, "error");
    struct vd_buf text;
    enum vd_stop stop;
    enum vd_code rc;

    if (vd_json_kind(answer) == VD_JSON_STRING)
        return give_text(reason, VD_ANSWER_TEXT, vd_json_string(answer), err);
    if (word.len > 0) {
        if (stop_of(word, &stop))
            return vd_reason_stop(reason, stop, err);
        for (size_t i = 0; i < sizeof(bad_ends) / sizeof(*bad_ends); i++)
            if (vd_span_eq_c(word, bad_ends[i].word))
                return give_text(reason, bad_ends[i].kind, VD_LIT(""), err);
        return vd_err_set(err, VD_E_CONFIG, false, "no such error of a model: \"%.*s\"",
                          (int)(word.len > 40 ? 40 : word.len), word.ptr);
    }
    if (vd_json_get_string(answer, "tool").len > 0 ||
        (vd_json_get(answer, "tools") != NULL && vd_json_get(answer, "action") == NULL))
        return give_calls(reason, answer, err);
    vd_buf_init(&text, VD_ANSWER_MAX_BYTES * 2);
    rc = vd_json_write(&text, answer) == VD_OK
             ? give_text(reason, VD_ANSWER_TEXT, vd_buf_span(&text), err)
             : vd_err_nomem(err, "answer");
    vd_buf_free(&text);
    return rc;
}

static enum vd_code reason_through(struct vd_reason *reason, const struct vd_decide_input *input,
                                   struct vd_err *err)
{
    const cJSON *next = input->answers == NULL ? NULL : input->answers->child;
    size_t used[VD_POLICY_MAX_NAMES] = {0}; /* answers of each tool */
    enum vd_code rc = VD_OK;
    enum vd_stop stop;

    /* What is known before anything was asked: a stale event, a full queue, no context. */
    if (next != NULL && stop_of(vd_json_get_string(next, "error"), &stop))
        rc = vd_reason_stop(reason, stop, err);
    while (rc == VD_OK && vd_reason_state(reason) != VD_REASON_DONE) {
        if (vd_reason_state(reason) == VD_REASON_TOOLS) {
            rc = give_results(reason, input->tools, used, input->policy, err);
            continue;
        }
        if (vd_reason_state(reason) == VD_REASON_RESERVE) {
            rc = vd_reason_assume_reserved(reason, input->limits, err);
        } else if (next == NULL) {
            rc = vd_reason_stop(reason, VD_STOP_MODEL_UNAVAILABLE, err);
        } else {
            rc = give_answer(reason, next, err);
            next = next->next;
        }
    }
    return rc;
}

/* -- all of it --------------------------------------------------------------------------------------------------- */

static enum vd_code bind_state(const struct vd_decide_input *input, struct vd_decide *d,
                               struct vd_err *err)
{
    const struct vd_policy *p = input->policy;
    struct vd_span key;
    enum vd_code rc = VD_OK;

    if (p->state != NULL) {
        rc = vd_facts_state_key(d->facts, &key, err);
        if (rc == VD_OK)
            rc = vd_state_accept(p->state, input->state, &d->state, err);
        if (rc == VD_OK)
            vd_facts_set_state(d->facts, d->state);
    }
    if (rc == VD_OK && p->notes != NULL) {
        rc = vd_facts_memory_key(d->facts, &key, err);
        if (rc == VD_OK)
            rc = vd_memory_accept(p->notes, input->memory, input->now_ms, &d->memory, err);
        if (rc == VD_OK)
            vd_facts_set_memory(d->facts, d->memory.rules, d->memory.shown);
    }
    return rc;
}

static enum vd_code bind_contexts(const struct vd_decide_input *input, struct vd_decide *d,
                                  struct vd_err *err)
{
    const struct vd_policy *p = input->policy;
    enum vd_code rc;

    d->context_count = p->context_count;
    d->contexts = vd_alloc_array(p->context_count + 1, sizeof(cJSON *));
    if (d->contexts == NULL)
        return vd_err_nomem(err, "context");
    for (size_t i = 0; i < p->context_count; i++) {
        const cJSON *raw = vd_json_get(input->context, p->contexts[i].name);
        const struct vd_span *args;

        rc = vd_facts_redis(d->facts, i, &args, err);
        if (rc == VD_OK)
            rc = vd_context_accept(&p->contexts[i], raw, &d->arena, &d->contexts[i], err);
        if (rc != VD_OK)
            return rc;
        vd_facts_set_context(d->facts, i, d->contexts[i]);
    }
    rc = bind_state(input, d, err);
    return rc == VD_OK ? vd_facts_complete(d->facts, err) : rc;
}

/* Data that is not what it must be is a dead letter at this stage; anything else is this call's failure. */
static enum vd_code dead_letter(struct vd_decide *d, enum vd_code rc, const char *stage)
{
    if (rc != VD_E_INPUT && rc != VD_E_LIMIT)
        return rc;
    d->failed_stage = stage;
    return VD_OK;
}

enum vd_code vd_decide(const struct vd_decide_input *input, struct vd_decide *ret,
                       struct vd_err *err)
{
    struct vd_reason_start start = {
        .decision_id = VD_LIT("case"), .marker_key = VD_LIT("case"), .redact_key = VD_LIT("case")};
    struct vd_span id;
    enum vd_code rc;

    *ret = (struct vd_decide){0};
    vd_arena_init(&ret->arena, VD_JOB_ARENA_MAX_BYTES);
    rc = vd_event_view(input->event, &ret->event, err);
    if (rc == VD_OK)
        rc = vd_facts_new(input->policy, ret->event, input->now_ms, &ret->arena, &ret->facts, err);
    if (rc != VD_OK)
        return dead_letter(ret, rc, "route");
    rc = vd_facts_when(ret->facts, &ret->matched, err);
    if (rc != VD_OK || !ret->matched)
        return dead_letter(ret, rc, "route");
    rc = vd_facts_validate(ret->facts, err);
    if (rc != VD_OK)
        return dead_letter(ret, rc, "validate");
    rc = vd_facts_key(ret->facts, &ret->key, err);
    if (rc == VD_OK)
        rc = vd_facts_dedupe(ret->facts, &id, err);
    if (rc != VD_OK)
        return dead_letter(ret, rc, "key");
    rc = bind_contexts(input, ret, err);
    if (rc != VD_OK)
        return dead_letter(ret, rc, "context");
    start.facts = ret->facts;
    rc = vd_reason_new(&start, &ret->reason, err);
    if (rc == VD_OK)
        rc = reason_through(ret->reason, input, err);
    if (rc == VD_OK)
        rc = vd_reason_changes(ret->reason, start.decision_id, &ret->changes, err);
    return dead_letter(ret, rc, "reason");
}

void vd_decide_fini(struct vd_decide *decide)
{
    vd_changes_fini(&decide->changes);
    vd_reason_free(decide->reason);
    vd_facts_free(decide->facts);
    for (size_t i = 0; i < decide->context_count && decide->contexts != NULL; i++)
        vd_json_free(decide->contexts[i]);
    vd_free(decide->contexts);
    vd_json_free(decide->state);
    vd_memory_fini(&decide->memory);
    vd_json_free(decide->event);
    vd_arena_fini(&decide->arena);
    *decide = (struct vd_decide){0};
}
