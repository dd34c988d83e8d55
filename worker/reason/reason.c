/* reason/reason.c - see reason.h: the loop. The audit record of it is record.c. */
#include "reason/internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "policy/redact.h"

static const char *const stop_names[] = {
    [VD_STOP_DEADLINE] = "deadline",
    [VD_STOP_MODEL_UNAVAILABLE] = "model_unavailable",
    [VD_STOP_QUOTA] = "quota",
    [VD_STOP_KILL_SWITCH] = "kill_switch",
    [VD_STOP_STALE] = "stale",
    [VD_STOP_OVERFLOW] = "overflow",
    [VD_STOP_SHUTDOWN] = "shutdown",
    [VD_STOP_CONTEXT_UNAVAILABLE] = "context_unavailable",
    [VD_STOP_DEDUPE_UNAVAILABLE] = "dedupe_unavailable",
    [VD_STOP_BUDGET_PER_KEY] = "budget_per_key",
    [VD_STOP_NO_MODEL] = "no_model",
};
static const char *const status_names[] = {"decided", "fallback", "escalated"};

const char *vd_stop_name(enum vd_stop stop)
{
    return stop_names[stop];
}

const char *vd_status_name(enum vd_status status)
{
    return status_names[status];
}

enum vd_reason_state vd_reason_state(const struct vd_reason *reason)
{
    return reason->state;
}

const struct vd_ask *vd_reason_ask(const struct vd_reason *reason)
{
    assert(reason->state == VD_REASON_ASK);
    return &reason->ask;
}

const struct vd_outcome *vd_reason_outcome(const struct vd_reason *reason)
{
    assert(reason->state == VD_REASON_DONE);
    return &reason->outcome;
}

/* -- settling ---------------------------------------------------------------------------------------------------- */

static void drop_judgement(struct vd_reason *r)
{
    if (r->judged)
        vd_judgement_fini(&r->judgement);
    r->judged = false;
}

/* Rules, action and params of the judgement become the outcome's. */
static void take_judgement(struct vd_reason *r)
{
    r->outcome.rules = r->judgement.rules;
    r->outcome.rule_count = r->judgement.rule_count;
    r->outcome.action = r->judgement.params != NULL ? r->judgement.action : NULL;
    vd_json_free(r->params);
    r->params = r->judgement.params;
    r->judgement.params = NULL;
    r->outcome.params = r->params;
}

static void done(struct vd_reason *r, enum vd_status status, enum vd_decided_by by)
{
    r->outcome.status = status;
    r->outcome.decided_by = by;
    r->outcome.usage = r->usage;
    r->state = VD_REASON_DONE;
    drop_judgement(r);
    assert(status == VD_ESCALATED ||
           (r->outcome.action != NULL && r->outcome.params != NULL)); /* I2 */
}

static const char *failed_rules_text(struct vd_reason *r)
{
    for (size_t i = 0; i < r->outcome.rule_count; i++) {
        const struct vd_rule_result *rule = &r->outcome.rules[i];

        if (rule->verdict == VD_FAIL || rule->verdict == VD_ERROR_VERDICT)
            return vd_arena_printf(r->arena, "%s: %s", rule->id, rule->why);
    }
    return NULL;
}

static enum vd_code settle_reserved(struct vd_reason *r, struct vd_err *err);

/* An accepted choice: a person still decides where an escalate rule holds; else there must be room in the limits. */
static enum vd_code settle_accepted(struct vd_reason *r, enum vd_status status,
                                    enum vd_decided_by by, struct vd_err *err)
{
    const struct vd_escalate *e = vd_judge_escalates(r->facts, false);
    bool asks = false;
    enum vd_code rc;

    if (e != NULL) {
        take_judgement(r);
        r->outcome.source = e->name;
        r->outcome.reason_text = e->why;
        done(r, VD_ESCALATED, by);
        return VD_OK;
    }
    rc = vd_reserve_plan(r, status, by, &asks, err);
    if (rc != VD_OK)
        return rc;
    if (!asks) {
        take_judgement(r);
        done(r, status, by);
        return VD_OK;
    }
    if (r->tries[r->try_count - 1].plan.fault_count == 0) {
        r->state = VD_REASON_RESERVE;
        return VD_OK;
    }
    rc = vd_reserve_judge(r, VD_RESERVE_EXCEEDED, NULL, err);
    return rc == VD_OK ? settle_reserved(r, err) : rc;
}

/* A shortcut or the fallback: judged by the same rules, and nobody repairs it. */
static enum vd_code settle_choice(struct vd_reason *r, const struct vd_choice *choice,
                                  enum vd_status status, enum vd_decided_by by, struct vd_err *err)
{
    struct vd_proposal proposal = {.action = vd_span_of(choice->action->name), .by = by};
    cJSON *params;
    enum vd_code rc = vd_choice_params(r->facts, choice, &params, err);

    if (rc != VD_OK)
        return rc;
    drop_judgement(r);
    proposal.params = params;
    rc = vd_judge(r->facts, &proposal, &r->judgement, err);
    vd_json_free(params);
    if (rc != VD_OK)
        return rc;
    r->judged = true;
    if (r->judgement.judged == VD_ACCEPT)
        return settle_accepted(r, status, by, err);
    take_judgement(r);
    if (r->outcome.degraded_reason == NULL)
        r->outcome.degraded_reason = by == VD_BY_SHORTCUT ? "shortcut_refused" : "fallback_refused";
    r->outcome.reason_text = failed_rules_text(r);
    done(r, VD_ESCALATED, by);
    return VD_OK;
}

static enum vd_code settle_fallback(struct vd_reason *r, const char *degraded_reason,
                                    struct vd_err *err)
{
    r->outcome = (struct vd_outcome){.degraded_reason = degraded_reason};
    return settle_choice(r, &vd_facts_policy(r->facts)->fallback, VD_FALLBACK, VD_BY_FALLBACK, err);
}

/* -- asking ------------------------------------------------------------------------------------------------------ */

static int64_t tokens_of(size_t bytes)
{
    return (int64_t)((bytes + VD_PROMPT_BYTES_PER_TOKEN - 1) / VD_PROMPT_BYTES_PER_TOKEN);
}

/* Room in an array of the arena for one more. Arrays begin small: most decisions take one call. NULL when memory is out. */
static void *room_for_one(struct vd_arena *arena, void *array, size_t count, size_t *room,
                          size_t size)
{
    size_t wanted = *room == 0 ? 2 : 2 * *room;
    void *grown;

    if (count < *room)
        return array;
    grown = vd_arena_array(arena, wanted, size);
    if (grown == NULL)
        return NULL;
    if (count > 0)
        memcpy(grown, array, count * size);
    *room = wanted;
    return grown;
}

enum vd_code vd_reason_add_message(struct vd_reason *r, struct vd_message message,
                                   struct vd_err *err)
{
    void *messages;

    if (r->message_count == r->message_max)
        return vd_err_set(err, VD_E_LIMIT, false, "more than %zu messages", r->message_max);
    messages = room_for_one(r->arena, r->messages, r->message_count, &r->message_room,
                            sizeof(*r->messages));
    if (messages == NULL)
        return vd_err_nomem(err, "reasoning");
    r->messages = messages;
    r->messages[r->message_count++] = message;
    r->message_bytes += message.text.len;
    for (size_t i = 0; i < message.call_count; i++)
        r->message_bytes += message.calls[i].name.len + message.calls[i].arguments.len;
    return VD_OK;
}

static enum vd_code add_message(struct vd_reason *r, enum vd_role role, struct vd_span text,
                                struct vd_err *err)
{
    return vd_reason_add_message(r, (struct vd_message){.role = role, .text = text}, err);
}

/* Which budget forbids another call, as degraded_reason; NULL: none. */
static const char *spent(const struct vd_reason *r)
{
    const struct vd_budget *b = &vd_facts_policy(r->facts)->budget;

    if (r->usage.model_calls >= b->max_model_calls)
        return "budget_model_calls";
    if (b->max_input_tokens > 0 &&
        r->usage.input_tokens + tokens_of(r->message_bytes + r->tool_bytes) > b->max_input_tokens)
        return "budget_input_tokens";
    if (b->max_output_tokens > 0 && r->usage.output_tokens >= b->max_output_tokens)
        return "budget_output_tokens";
    if (b->max_cost_microusd > 0 && r->spent_microusd >= b->max_cost_microusd)
        return "budget_cost";
    return NULL;
}

enum vd_code vd_reason_ask_again(struct vd_reason *r, struct vd_err *err)
{
    const struct vd_budget *b = &vd_facts_policy(r->facts)->budget;
    const char *why = spent(r);
    void *steps;
    struct step *step;

    if (why != NULL)
        return settle_fallback(r, why, err);
    assert(r->step_count < r->step_max); /* I1: spent() allows no more */
    steps = room_for_one(r->arena, r->steps, r->step_count, &r->step_room, sizeof(*r->steps));
    if (steps == NULL)
        return vd_err_nomem(err, "reasoning");
    r->steps = steps;
    step = &r->steps[r->step_count++];
    step->message_count = r->message_count;
    r->ask = (struct vd_ask){
        .messages = r->messages,
        .message_count = r->message_count,
        .tools = r->tools,
        .tool_count = r->tool_count,
        .tools_closed = r->usage.tool_calls >= b->max_tool_calls || r->step_count == r->step_max,
        .step = (unsigned)r->step_count,
        .max_output_tokens =
            b->max_output_tokens > 0 ? b->max_output_tokens - r->usage.output_tokens : 0,
        .input_bytes = r->message_bytes + r->tool_bytes,
        .input_tokens_estimate = tokens_of(r->message_bytes + r->tool_bytes),
    };
    r->state = VD_REASON_ASK;
    return VD_OK;
}

/* The marker of a decision: HMAC of its id and step, so that a repeated job sends the same bytes. */
static void make_marker(struct vd_reason *r, const struct vd_reason_start *start)
{
    char hex[VD_SHA256_HEX_SIZE];
    struct vd_sha256 digest;
    struct vd_buf text;

    vd_buf_init(&text, 4096);
    (void)vd_buf_add(&text, start->decision_id);
    (void)vd_buf_add_c(&text, "|1");
    digest = vd_hmac_sha256(start->marker_key, vd_buf_span(&text));
    vd_buf_free(&text);
    vd_sha256_hex(&digest, hex);
    memcpy(r->marker, hex, sizeof(r->marker) - 1);
    r->marker[sizeof(r->marker) - 1] = '\0';
}

/* How many steps and messages the budget allows: two messages first, two for each repair, or one for each tool called. */
static enum vd_code set_bounds(struct vd_reason *r, struct vd_err *err)
{
    const struct vd_policy *p = vd_facts_policy(r->facts);

    r->step_max = (size_t)p->budget.max_model_calls;
    r->message_max = 2 + r->step_max * (p->tool_count > 0 ? 1 + VD_TOOL_MAX_TURN : 2);
    if (p->tool_count == 0)
        return VD_OK;
    r->requests = vd_arena_array(r->arena, VD_TOOL_MAX_TURN, sizeof(*r->requests));
    return r->requests == NULL ? vd_err_nomem(err, "reasoning") : VD_OK;
}

/* The first question: what is shown is cut until it fits the budget. */
static enum vd_code first_ask(struct vd_reason *r, const struct vd_reason_start *start,
                              struct vd_err *err)
{
    const struct vd_budget *b = &vd_facts_policy(r->facts)->budget;
    const struct vd_fixed_texts *fixed = &vd_facts_policy(r->facts)->fixed;
    struct vd_message system = {
        .role = VD_ROLE_SYSTEM, .text = fixed->system, .json = fixed->system_json};
    struct vd_span user;
    size_t room = 0;
    enum vd_code rc = set_bounds(r, err);

    if (rc == VD_OK)
        rc = vd_reason_offer_tools(r, err);
    if (rc != VD_OK)
        return rc;
    if (b->max_input_tokens > 0) {
        size_t all = (size_t)b->max_input_tokens * VD_PROMPT_BYTES_PER_TOKEN;
        size_t frame = system.text.len + r->tool_bytes + VD_PROMPT_FRAME_BYTES;

        /* 1 byte: so little that every entry of show is cut; the budget then says no by itself. */
        room = all > frame ? all - frame : 1;
    }
    rc = vd_prompt_show(r->facts, vd_buf_span(&r->redact_key), room, &r->shown, err);
    if (rc != VD_OK)
        return rc;
    r->has_shown = true;
    make_marker(r, start);
    rc = vd_prompt_user(r->facts, &r->shown, r->marker, &user, err);
    if (rc == VD_OK)
        rc = vd_reason_add_message(r, system, err);
    if (rc == VD_OK)
        rc = add_message(r, VD_ROLE_USER, user, err);
    return rc == VD_OK ? vd_reason_ask_again(r, err) : rc;
}

/* -- beginning --------------------------------------------------------------------------------------------------- */

/* The first shortcut that holds; an error is false: the model is asked then. */
static const struct vd_shortcut *find_shortcut(struct vd_reason *r)
{
    const struct vd_policy *p = vd_facts_policy(r->facts);

    for (size_t i = 0; i < p->shortcut_count; i++) {
        bool holds = false;

        if (vd_facts_test(r->facts, p->shortcuts[i].when, &holds, NULL) == VD_OK && holds)
            return &p->shortcuts[i];
    }
    return NULL;
}

static enum vd_code begin(struct vd_reason *r, const struct vd_reason_start *start,
                          struct vd_err *err)
{
    const struct vd_escalate *e = vd_judge_escalates(r->facts, true);
    const struct vd_shortcut *shortcut;

    if (e != NULL) {
        r->outcome.source = e->name;
        r->outcome.reason_text = e->why;
        done(r, VD_ESCALATED, VD_BY_NONE);
        return VD_OK;
    }
    shortcut = find_shortcut(r);
    if (shortcut != NULL) {
        r->outcome.source = shortcut->name;
        return settle_choice(r, &shortcut->choice, VD_DECIDED, VD_BY_SHORTCUT, err);
    }
    return first_ask(r, start, err);
}

enum vd_code vd_reason_new(const struct vd_reason_start *start, struct vd_reason **ret_reason,
                           struct vd_err *err)
{
    struct vd_reason *r = vd_alloc(sizeof(*r));
    enum vd_code rc;

    if (r == NULL)
        return vd_err_nomem(err, "reasoning");
    r->facts = start->facts;
    r->arena = vd_facts_arena(start->facts);
    r->no_limits = start->no_limits;
    vd_buf_init(&r->redact_key, 4096);
    rc = vd_buf_add(&r->redact_key, start->redact_key) == VD_OK ? VD_OK
                                                                : vd_err_nomem(err, "reasoning");
    if (rc == VD_OK)
        rc = begin(r, start, err);
    if (rc != VD_OK) {
        vd_reason_free(r);
        return rc;
    }
    *ret_reason = r;
    return VD_OK;
}

void *vd_reason_free(struct vd_reason *reason)
{
    if (reason == NULL)
        return NULL;
    drop_judgement(reason);
    vd_reason_free_calls(reason);
    vd_shown_fini(&reason->shown);
    vd_json_free(reason->params);
    vd_json_free(reason->evidence);
    vd_buf_free(&reason->redact_key);
    return vd_free(reason);
}

enum vd_code vd_reason_schema(struct vd_reason *reason, enum vd_schema_form form,
                              struct vd_span *ret_schema, struct vd_err *err)
{
    if (reason->schemas[form].len == 0) {
        enum vd_code rc = vd_prompt_schema_text(reason->facts, form, &reason->schemas[form], err);

        if (rc != VD_OK)
            return rc;
    }
    *ret_schema = reason->schemas[form];
    return VD_OK;
}

/* -- answers ----------------------------------------------------------------------------------------------------- */

/* Text of the answer as it may go back to the model and into the record. */
static enum vd_code keep_answer(struct vd_reason *r, const struct vd_answer *answer,
                                struct step *step, struct vd_err *err)
{
    struct vd_span text = vd_span_sub(answer->text, 0, VD_ANSWER_MAX_BYTES);

    step->answer_bytes = answer->text.len;
    if (vd_prompt_clean(r->arena, text, &step->answer) != VD_OK)
        return vd_err_nomem(err, "answer");
    return VD_OK;
}

static void add_usage(struct vd_reason *r, const struct vd_answer *answer, struct step *step)
{
    struct vd_usage *u = &r->usage;

    u->model_calls++;
    u->journal_hits += answer->from_journal ? 1 : 0;
    u->input_tokens += answer->input_tokens;
    u->output_tokens += answer->output_tokens;
    r->spent_microusd += answer->cost_microusd;
    u->cost_microusd += answer->from_journal ? 0 : answer->cost_microusd;
    u->model_ms += answer->model_ms;
    u->model =
        answer->model != NULL ? vd_arena_strndup(r->arena, vd_span_of(answer->model)) : u->model;
    u->provider = answer->provider != NULL
                      ? vd_arena_strndup(r->arena, vd_span_of(answer->provider))
                      : u->provider;
    step->kind = answer->kind;
    step->model = u->model;
    step->provider = u->provider;
    step->input_tokens = answer->input_tokens;
    step->output_tokens = answer->output_tokens;
    step->cost_microusd = answer->cost_microusd;
    step->model_ms = answer->model_ms;
    step->from_journal = answer->from_journal;
}

/* Another try with what was wrong, if a repair is left. */
static enum vd_code repair(struct vd_reason *r, const struct step *step, struct vd_span message,
                           const char *otherwise, struct vd_err *err)
{
    enum vd_code rc;

    if (r->usage.repairs >= vd_facts_policy(r->facts)->budget.max_repairs)
        return settle_fallback(r, otherwise, err);
    r->usage.repairs++;
    rc = add_message(r, VD_ROLE_ASSISTANT,
                     step->answer.len > 0 ? step->answer : VD_LIT("(no answer)"), err);
    if (rc == VD_OK)
        rc = add_message(r, VD_ROLE_USER, message, err);
    return rc == VD_OK ? vd_reason_ask_again(r, err) : rc;
}

static enum vd_code unreadable(struct vd_reason *r, struct step *step, const char *reason,
                               struct vd_err *err)
{
    struct vd_span message;
    enum vd_code rc;

    step->unreadable = vd_arena_strndup(r->arena, vd_span_of(reason));
    if (step->unreadable == NULL)
        return vd_err_nomem(err, "answer");
    rc = vd_prompt_unreadable(r->facts, reason, &message, err);
    return rc == VD_OK ? repair(r, step, message, "answer_unreadable", err) : rc;
}

/* The rationale leaves the process in the decision: what must not be in the audit is not in it either. */
static enum vd_code keep_rationale(struct vd_reason *r, struct vd_span rationale,
                                   struct vd_err *err)
{
    struct vd_buf text;
    enum vd_code rc = vd_reason_redact_text(r, rationale, &text, err);

    if (rc == VD_OK && vd_arena_dup(r->arena, vd_buf_span(&text), &r->outcome.rationale) != VD_OK)
        rc = vd_err_nomem(err, "rationale");
    if (rc == VD_OK && r->outcome.rationale.ptr == NULL)
        r->outcome.rationale = VD_LIT("");
    vd_buf_free(&text);
    return rc;
}

static enum vd_code keep_proposal(struct vd_reason *r, const struct vd_read_proposal *p,
                                  struct vd_err *err)
{
    vd_json_free(r->evidence);
    r->evidence = p->evidence != NULL ? vd_json_copy(p->evidence) : cJSON_CreateArray();
    if (r->evidence == NULL)
        return vd_err_nomem(err, "evidence");
    r->outcome = (struct vd_outcome){
        .has_confidence = true, .confidence = p->confidence, .evidence = r->evidence};
    return keep_rationale(r, p->rationale, err);
}

static enum vd_code settle_judged(struct vd_reason *r, const struct step *step, struct vd_err *err)
{
    struct vd_span message;
    enum vd_code rc;

    switch (r->judgement.judged) {
    case VD_ACCEPT:
        return settle_accepted(r, VD_DECIDED, VD_BY_MODEL, err);
    case VD_ESCALATE:
        take_judgement(r);
        r->outcome.reason_text = failed_rules_text(r);
        done(r, VD_ESCALATED, VD_BY_MODEL);
        return VD_OK;
    case VD_REJECT:
        return settle_fallback(r, "rejected", err);
    case VD_REPAIR:
        break;
    }
    rc = vd_prompt_repair(r->facts, &r->judgement, &message, err);
    return rc == VD_OK ? repair(r, step, message, "repairs_spent", err) : rc;
}

static enum vd_code judge_answer(struct vd_reason *r, const struct vd_answer *answer,
                                 struct step *step, struct vd_err *err)
{
    struct vd_read_proposal p;
    struct vd_proposal proposal;
    struct vd_err why;
    cJSON *all = NULL; /* with what tools answered */
    enum vd_code rc = vd_proposal_read(vd_facts_policy(r->facts), answer->text, r->arena, &p, &why);

    if (rc == VD_E_INPUT)
        return unreadable(r, step, why.msg, err);
    if (rc != VD_OK) {
        if (err != NULL)
            *err = why;
        return rc;
    }
    drop_judgement(r);
    if (r->tool_count > 0) {
        all = vd_reason_all_shown(r);
        if (all == NULL) {
            vd_proposal_fini(&p);
            return vd_err_nomem(err, "evidence");
        }
    }
    proposal = (struct vd_proposal){.action = p.action,
                                    .params = p.params,
                                    .by = VD_BY_MODEL,
                                    .has_confidence = true,
                                    .confidence = p.confidence,
                                    .rationale = p.rationale,
                                    .evidence = p.evidence,
                                    .shown = all != NULL ? all : r->shown.document};
    rc = vd_judge(r->facts, &proposal, &r->judgement, err);
    vd_json_free(all);
    if (rc == VD_OK) {
        r->judged = true;
        step->was_judged = true;
        step->judged = r->judgement.judged;
        step->rules = r->judgement.rules;
        step->rule_count = r->judgement.rule_count;
        rc = keep_proposal(r, &p, err);
    }
    vd_proposal_fini(&p);
    return rc == VD_OK ? settle_judged(r, step, err) : rc;
}

enum vd_code vd_reason_answer(struct vd_reason *reason, const struct vd_answer *answer,
                              struct vd_err *err)
{
    struct step *step;
    enum vd_code rc;

    assert(reason->state == VD_REASON_ASK);
    step = &reason->steps[reason->step_count - 1];
    add_usage(reason, answer, step);
    step->answered = true;
    rc = keep_answer(reason, answer, step, err);
    if (rc != VD_OK)
        return rc;
    switch (answer->kind) {
    case VD_ANSWER_TEXT:
        return judge_answer(reason, answer, step, err);
    case VD_ANSWER_TOOL:
        if (vd_facts_policy(reason->facts)->tool_count == 0 || answer->call_count == 0)
            return unreadable(reason, step, "it called a tool, and there are none", err);
        drop_judgement(reason); /* args take the place of params */
        return vd_reason_call_tools(reason, answer, step, err);
    case VD_ANSWER_CUT:
        return settle_fallback(reason, "answer_cut", err);
    case VD_ANSWER_REFUSED:
        return settle_fallback(reason, "answer_refused", err);
    case VD_ANSWER_EMPTY:
        return settle_fallback(reason, "answer_empty", err);
    }
    return settle_fallback(reason, "answer_empty", err);
}

/* -- limits -------------------------------------------------------------------------------------------------------- */

/* The judgement has the limits' rules too now. */
static enum vd_code settle_reserved(struct vd_reason *r, struct vd_err *err)
{
    const struct reserve_try *try = &r->tries[r->try_count - 1];
    struct step *step = r->step_count > 0 ? &r->steps[r->step_count - 1] : NULL;

    if (r->judgement.judged == VD_ACCEPT) {
        take_judgement(r);
        r->outcome.plan = &try->plan;
        r->outcome.reserved = try->items;
        done(r, try->status, try->by);
        return VD_OK;
    }
    if (try->by == VD_BY_MODEL) {
        step->judged = r->judgement.judged;
        step->rules = r->judgement.rules;
        step->rule_count = r->judgement.rule_count;
        return r->judgement.judged == VD_REJECT ? settle_fallback(r, vd_reserve_refusal(r), err)
                                                : settle_judged(r, step, err);
    }
    take_judgement(r);
    if (r->outcome.degraded_reason == NULL)
        r->outcome.degraded_reason = vd_reserve_refusal(r);
    r->outcome.reason_text = failed_rules_text(r);
    done(r, VD_ESCALATED, try->by);
    return VD_OK;
}

const struct vd_limit_plan *vd_reason_reservations(const struct vd_reason *reason)
{
    assert(reason->state == VD_REASON_RESERVE);
    return &reason->tries[reason->try_count - 1].plan;
}

enum vd_code vd_reason_reserved(struct vd_reason *reason, enum vd_reserve answer,
                                const struct vd_reserved *items, struct vd_err *err)
{
    enum vd_code rc;

    assert(reason->state == VD_REASON_RESERVE);
    rc = vd_reserve_judge(reason, answer, items, err);
    return rc == VD_OK ? settle_reserved(reason, err) : rc;
}

/* -- from outside ------------------------------------------------------------------------------------------------ */

enum vd_code vd_reason_stop(struct vd_reason *reason, enum vd_stop stop, struct vd_err *err)
{
    bool forced = stop == VD_STOP_STALE || stop == VD_STOP_OVERFLOW ||
                  stop == VD_STOP_CONTEXT_UNAVAILABLE || stop == VD_STOP_DEDUPE_UNAVAILABLE;

    /* What the event's age or the queue decides goes before a shortcut; an escalation stays one. */
    if (reason->state == VD_REASON_DONE &&
        !(forced && reason->outcome.decided_by == VD_BY_SHORTCUT))
        return VD_OK;
    if (reason->state == VD_REASON_RESERVE &&
        !(forced && reason->tries[reason->try_count - 1].by == VD_BY_SHORTCUT))
        return VD_OK;
    return settle_fallback(reason, vd_stop_name(stop), err);
}

enum vd_code vd_reason_review(struct vd_reason *reason, const char *degraded_reason,
                              const char *why, struct vd_err *err)
{
    const char *copy = vd_arena_strndup(reason->arena, vd_span_of(why));

    if (copy == NULL)
        return vd_err_nomem(err, "review");
    reason->params = vd_json_free(reason->params);
    reason->outcome = (struct vd_outcome){.degraded_reason = degraded_reason, .reason_text = copy};
    done(reason, VD_ESCALATED, VD_BY_NONE);
    return VD_OK;
}
