/* reason/internal.h - inside of struct vd_reason, shared by reason.c, tools.c and record.c. */
#ifndef VD_REASON_INTERNAL_H
#define VD_REASON_INTERNAL_H

#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "reason/proposal.h"
#include "reason/reason.h"

/* One tool call of an answer. */
struct called {
    struct vd_tool_call said;   /* as it goes back to the model */
    const struct vd_tool *tool; /* NULL: not declared */
    cJSON *args;                /* judged, owned; NULL: refused */
    const char *refused;        /* why; NULL: it was requested */
    size_t request;             /* index of its request */
    bool answered;              /* the result came */
    const char *failed;         /* why there is no answer */
    struct vd_tool_shown shown; /* of an answer */
    int64_t ms;
    bool from_journal;
};

/* One question and its answer. */
struct step {
    size_t message_count; /* of the messages, those that were sent */
    bool answered;
    enum vd_answer_kind kind;
    struct vd_span answer; /* cleaned, cut */
    size_t answer_bytes;   /* as received */
    const char *model, *provider;
    int64_t input_tokens, output_tokens, cost_microusd, model_ms;
    bool from_journal;
    struct called *calls;
    size_t call_count;
    const char *unreadable; /* why; NULL: it was read */
    bool was_judged;
    enum vd_judged judged;
    const struct vd_rule_result *rules;
    size_t rule_count;
};

/* One try to reserve. */
struct reserve_try {
    struct vd_limit_plan plan;
    struct vd_reserved *items; /* plan.want_count; NULL: nobody was asked, or nobody answered */
    enum vd_reserve answer;
    enum vd_decided_by by;
    enum vd_status status; /* what it is once it is reserved */
};

struct vd_reason {
    enum vd_reason_state state;
    struct vd_facts *facts;
    struct vd_arena *arena;
    char marker[33];
    struct vd_buf redact_key;
    struct vd_shown shown;
    bool has_shown;
    struct vd_message *messages; /* in the arena, with the steps; max is what the budget allows */
    size_t message_count, message_room, message_max;
    size_t message_bytes;
    struct vd_ask ask;
    struct vd_offered_tool *tools; /* that can be called for this event */
    size_t tool_count, tool_bytes;
    int64_t *tool_calls;              /* made so far, by index in the policy */
    struct vd_tool_request *requests; /* in the arena, VD_TOOL_MAX_TURN; where there are tools */
    size_t request_count;
    struct step *steps;
    size_t step_count, step_room, step_max;
    struct vd_span schemas[VD_SCHEMA_FORMS]; /* by form; in the arena or the policy */
    struct vd_judgement judgement;
    bool judged; /* judgement holds something */
    bool no_limits;
    struct reserve_try
        *tries; /* in the arena, as many as there may be; the last is the one at hand */
    size_t try_count;
    struct vd_usage usage;
    int64_t
        spent_microusd; /* by all answers, journaled ones too: a repeated job stops where it stopped */
    struct vd_outcome outcome;
    cJSON *params, *evidence; /* the outcome's */
};

/* text without the values that the policy keeps from `at`; out is initialised here and freed by the caller. */
enum vd_code vd_reason_redact_at(const struct vd_reason *reason, unsigned at, struct vd_span text,
                                 struct vd_buf *out, struct vd_err *err) VD_MUST_CHECK;
/* reserve.c: what the accepted proposal wants of limits. *ret_asks: it is the last of the tries now, and must be reserved (or has
 * faults); else its plan, if it has one, is the outcome's already. */
enum vd_code vd_reserve_plan(struct vd_reason *reason, enum vd_status status, enum vd_decided_by by,
                             bool *ret_asks, struct vd_err *err) VD_MUST_CHECK;
/* Adds a rule for each limit of the last try to the judgement, and concludes again. */
enum vd_code vd_reserve_judge(struct vd_reason *reason, enum vd_reserve answer,
                              const struct vd_reserved *items, struct vd_err *err) VD_MUST_CHECK;
/* Why it was not reserved, as degraded_reason. */
const char *vd_reserve_refusal(const struct vd_reason *reason);
/* All tries, and what becomes of holds: the member "limits" of the audit record. */
void vd_reserve_record(const struct vd_reason *reason, struct vd_buf *out);

/* The same for the audit. */
enum vd_code vd_reason_redact_text(const struct vd_reason *reason, struct vd_span text,
                                   struct vd_buf *out, struct vd_err *err) VD_MUST_CHECK;

/* reason.c, for tools.c */
enum vd_code vd_reason_add_message(struct vd_reason *reason, struct vd_message message,
                                   struct vd_err *err) VD_MUST_CHECK;
enum vd_code vd_reason_ask_again(struct vd_reason *reason, struct vd_err *err) VD_MUST_CHECK;

/* tools.c */
enum vd_code vd_reason_offer_tools(struct vd_reason *reason, struct vd_err *err) VD_MUST_CHECK;
/* The answer's calls: to TOOLS, or to ASK again. */
enum vd_code vd_reason_call_tools(struct vd_reason *reason, const struct vd_answer *answer,
                                  struct step *step, struct vd_err *err) VD_MUST_CHECK;
/* What the model has seen, for its evidence: {"event": ..., "tools": {NAME: the last answer}}. Owned; it borrows. NULL: out of memory. */
cJSON *vd_reason_all_shown(const struct vd_reason *reason);
void vd_reason_free_calls(struct vd_reason *reason);

#endif
