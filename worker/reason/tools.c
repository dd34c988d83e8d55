/* reason/tools.c - see reason.h: tools in the loop. What a call may be is policy/tools.h; carrying it out is the driver's.
 *
 * A call that is refused gets its refusal as result and costs the turn only; one that is requested counts against both budgets, also when
 * it fails: whoever answers it has been asked.
 */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "policy/redact.h"
#include "reason/internal.h"

/* -- offering ---------------------------------------------------------------------------------------------------- */

/* Schemas of the tools that can be called for this event. */
enum vd_code vd_reason_offer_tools(struct vd_reason *r, struct vd_err *err)
{
    const struct vd_policy *p = vd_facts_policy(r->facts);

    if (p->tool_count == 0)
        return VD_OK;
    r->tools = vd_arena_array(r->arena, p->tool_count, sizeof(*r->tools));
    r->tool_calls = vd_arena_array(r->arena, p->tool_count, sizeof(*r->tool_calls));
    if (r->tools == NULL || r->tool_calls == NULL)
        return vd_err_nomem(err, "tools");
    for (size_t i = 0; i < p->tool_count; i++) {
        struct vd_offered_tool *o = &r->tools[r->tool_count];
        bool possible = true;
        enum vd_code rc =
            vd_tool_schema(r->facts, &p->tools[i], VD_FORM_FULL, &o->full, &possible, err);

        if (rc == VD_OK)
            rc = vd_tool_schema(r->facts, &p->tools[i], VD_FORM_ANTHROPIC_TOOL, &o->reduced,
                                &possible, err);
        if (rc != VD_OK)
            return rc;
        if (!possible)
            continue;
        o->name = vd_span_of(p->tools[i].name);
        o->description = vd_span_of(p->tools[i].why);
        r->tool_bytes += o->name.len + o->description.len + o->full.len;
        r->tool_count++;
    }
    return VD_OK;
}

/* -- calls ------------------------------------------------------------------------------------------------------- */

/* Ids are ours: nine letters and digits, which every endpoint takes, and the same in each run of the job. */
static const char *call_id(struct vd_reason *r, size_t i)
{
    return vd_arena_printf(r->arena, "call%02zu%03zu", r->step_count, i);
}

/* A name that an endpoint takes back: what the model called may be anything. */
static const char *plain_name(struct vd_reason *r, struct vd_span name)
{
    char text[65];
    size_t n = 0;

    for (size_t i = 0; i < name.len && n + 1 < sizeof(text); i++)
        text[n++] = isalnum((unsigned char)name.ptr[i]) ? name.ptr[i] : '_';
    if (n == 0)
        text[n++] = '_';
    return vd_arena_strndup(r->arena, (struct vd_span){text, n});
}

/* Arguments as they go back: clean, and an object whatever was written. */
static enum vd_code plain_arguments(struct vd_reason *r, struct vd_span said, struct vd_span *ret,
                                    struct vd_err *err)
{
    struct vd_span text = vd_span_trim(vd_span_sub(said, 0, VD_TOOL_ARGS_MAX_BYTES));
    cJSON *tree = NULL;

    *ret = VD_LIT("{}");
    if (said.len <= VD_TOOL_ARGS_MAX_BYTES && vd_json_parse(text, &tree, NULL) == VD_OK &&
        vd_json_kind(tree) == VD_JSON_OBJECT && vd_prompt_clean(r->arena, text, ret) != VD_OK) {
        vd_json_free(tree);
        return vd_err_nomem(err, "tool");
    }
    vd_json_free(tree);
    return VD_OK;
}

/* Which budget refuses a call of this tool; NULL: none. */
static const char *spent(const struct vd_reason *r, const struct vd_tool *tool)
{
    const struct vd_policy *p = vd_facts_policy(r->facts);

    if (r->usage.tool_calls >= p->budget.max_tool_calls)
        return "no tool calls are left; decide by what you know";
    if (tool->max_calls > 0 && r->tool_calls[tool - p->tools] >= tool->max_calls)
        return "this tool has been called as often as it may be";
    if (r->step_count == r->step_max)
        return "there is no time for an answer";
    return NULL;
}

/* Judges the call and, where it is allowed, aims it. */
static enum vd_code prepare(struct vd_reason *r, struct called *c, size_t i,
                            struct vd_span arguments, struct vd_err *err)
{
    struct vd_tool_request *request = &r->requests[r->request_count];
    struct vd_tool_target target;
    struct vd_err why;
    enum vd_code rc;

    c->refused = spent(r, c->tool);
    if (c->refused != NULL)
        return VD_OK;
    rc = vd_tool_args(r->facts, c->tool, arguments, &c->args, &c->refused, err);
    if (rc != VD_OK || c->args == NULL)
        return rc;
    rc = vd_tool_aim(r->facts, c->tool, c->args, &target, &why);
    if (rc == VD_E_INPUT) { /* the facts, not the arguments: an id of the event is empty, say */
        c->refused = "it cannot be called for this event";
        return VD_OK;
    }
    if (rc != VD_OK)
        return vd_err_set(err, rc, false, "%s", why.msg);
    *request = (struct vd_tool_request){.tool = c->tool, .args = c->args, .target = target};
    (void)snprintf(request->name, sizeof(request->name), "%zu.t%zu", r->step_count, i);
    c->request = r->request_count++;
    r->usage.tool_calls++;
    r->tool_calls[c->tool - vd_facts_policy(r->facts)->tools]++;
    return VD_OK;
}

static enum vd_code take_call(struct vd_reason *r, const struct vd_tool_call *call, size_t i,
                              struct called *c, struct vd_err *err)
{
    const char *id = call_id(r, i), *name = plain_name(r, call->name);
    enum vd_code rc;

    if (id == NULL || name == NULL)
        return vd_err_nomem(err, "tool");
    c->said.id = vd_span_of(id);
    c->said.name = vd_span_of(name);
    rc = plain_arguments(r, call->arguments, &c->said.arguments, err);
    if (rc != VD_OK)
        return rc;
    c->tool = vd_policy_tool(vd_facts_policy(r->facts), call->name);
    if (c->tool != NULL)
        return prepare(r, c, i, call->arguments, err);
    c->refused = "there is no such tool";
    return VD_OK;
}

/* The results of all calls, one message each, and the next question. */
static enum vd_code tell(struct vd_reason *r, const struct step *step, struct vd_err *err)
{
    enum vd_code rc = VD_OK;

    for (size_t i = 0; i < step->call_count && rc == VD_OK; i++) {
        const struct called *c = &step->calls[i];
        const char *why = c->refused != NULL ? c->refused : c->failed;
        struct vd_message m = {.role = VD_ROLE_TOOL, .call_id = c->said.id, .failed = why != NULL};

        if (why != NULL) {
            const char *text = vd_arena_printf(
                r->arena, c->refused != NULL ? "Refused: %s.\n" : "No answer: %s.\n", why);

            m.text = vd_span_of(text);
            rc = text == NULL ? vd_err_nomem(err, "tool") : VD_OK;
        } else {
            rc = vd_prompt_tool_result(r->facts, r->marker, c->shown.text, c->shown.cut, &m.text,
                                       err);
        }
        if (rc == VD_OK)
            rc = vd_reason_add_message(r, m, err);
    }
    return rc == VD_OK ? vd_reason_ask_again(r, err) : rc;
}

enum vd_code vd_reason_call_tools(struct vd_reason *r, const struct vd_answer *answer,
                                  struct step *step, struct vd_err *err)
{
    size_t count = answer->call_count < VD_TOOL_MAX_TURN ? answer->call_count : VD_TOOL_MAX_TURN;
    struct vd_tool_call *said = vd_arena_array(r->arena, count, sizeof(*said));
    struct vd_message m = {.role = VD_ROLE_ASSISTANT, .text = step->answer, .calls = said};
    enum vd_code rc;

    step->calls = vd_arena_array(r->arena, count, sizeof(*step->calls));
    if (said == NULL || step->calls == NULL)
        return vd_err_nomem(err, "tools");
    r->request_count = 0;
    for (size_t i = 0; i < count; i++) {
        step->call_count++;
        rc = take_call(r, &answer->calls[i], i, &step->calls[i], err);
        if (rc != VD_OK)
            return rc;
        said[m.call_count++] = step->calls[i].said;
    }
    rc = vd_reason_add_message(r, m, err);
    if (rc != VD_OK)
        return rc;
    if (r->request_count == 0)
        return tell(r, step, err);
    r->state = VD_REASON_TOOLS;
    return VD_OK;
}

/* -- results ----------------------------------------------------------------------------------------------------- */

const struct vd_tool_request *vd_reason_tool_requests(const struct vd_reason *reason,
                                                      size_t *ret_count)
{
    assert(reason->state == VD_REASON_TOOLS && reason->request_count > 0);
    *ret_count = reason->request_count;
    return reason->requests;
}

/* A value that is kept from the prompt may come back by another way. */
static enum vd_code hide_known(struct vd_reason *r, struct vd_span *text, struct vd_err *err)
{
    struct vd_buf out;
    enum vd_code rc;

    if (!vd_redacts(vd_facts_policy(r->facts), VD_REDACT_PROMPT))
        return VD_OK;
    rc = vd_reason_redact_at(r, VD_REDACT_PROMPT, *text, &out, err);
    if (rc == VD_OK && vd_arena_dup(r->arena, vd_buf_span(&out), text) != VD_OK)
        rc = vd_err_nomem(err, "tool");
    vd_buf_free(&out);
    return rc;
}

static enum vd_code take_result(struct vd_reason *r, struct called *c,
                                const struct vd_tool_result *result, struct vd_err *err)
{
    enum vd_code rc;

    c->ms = result->ms;
    c->from_journal = result->from_journal;
    if (result->failed != NULL) {
        c->failed = vd_arena_strndup(r->arena, vd_span_of(result->failed));
        rc = c->failed == NULL ? vd_err_nomem(err, "tool") : VD_OK;
    } else {
        rc = vd_tool_show(r->facts, c->tool, vd_buf_span(&r->redact_key), result->value, &c->shown,
                          err);
        if (rc == VD_OK)
            rc = hide_known(r, &c->shown.text, err);
    }
    c->answered = rc == VD_OK;
    return rc;
}

enum vd_code vd_reason_tool_results(struct vd_reason *reason, const struct vd_tool_result *results,
                                    struct vd_err *err)
{
    struct step *step = &reason->steps[reason->step_count - 1];

    assert(reason->state == VD_REASON_TOOLS);
    for (size_t i = 0; i < step->call_count; i++) {
        struct called *c = &step->calls[i];
        enum vd_code rc =
            c->refused != NULL ? VD_OK : take_result(reason, c, &results[c->request], err);

        if (rc != VD_OK)
            return rc;
    }
    reason->request_count = 0;
    return tell(reason, step, err);
}

void vd_reason_free_calls(struct vd_reason *r)
{
    for (size_t s = 0; s < r->step_count; s++)
        for (size_t i = 0; i < r->steps[s].call_count; i++) {
            vd_json_free(r->steps[s].calls[i].args);
            vd_json_free(r->steps[s].calls[i].shown.tree);
        }
}

cJSON *vd_reason_all_shown(const struct vd_reason *r)
{
    cJSON *all = cJSON_CreateObject(), *tools = cJSON_CreateObject();
    const cJSON *member;
    bool ok = all != NULL && tools != NULL;

    cJSON_ArrayForEach(member, r->shown.document) ok =
        ok && vd_json_put_borrowed(all, member->string, member);
    for (size_t s = r->step_count; s > 0 && ok; s--)
        for (size_t i = r->steps[s - 1].call_count; i > 0 && ok; i--) {
            const struct called *c = &r->steps[s - 1].calls[i - 1];

            if (c->shown.tree != NULL && vd_json_get(tools, c->tool->name) == NULL)
                ok = vd_json_put_borrowed(tools, c->tool->name, c->shown.tree);
        }
    if (!ok) {
        vd_json_free(tools);
        return vd_json_free(all);
    }
    if (tools->child == NULL)
        vd_json_free(tools);
    else if (!vd_json_put(all, "tools", tools))
        all = vd_json_free(all);
    return all;
}
