/* reason/reason.h - one job from its facts to its outcome: shortcut, model, judge, repair, fallback, escalation. Without I/O.
 *
 * Why:      the pipeline drives it with real models, `verdict test` and `verdict decide` with a list of answers; both run the same code,
 *           so what a case shows is what production does.
 * Thread:   one owner at a time.
 * Owns:     messages, outcome and record live until vd_reason_free(); the facts are borrowed and must outlive it.
 *
 *       vd_reason_new()
 *            |  early escalate rule, shortcut, or no budget: straight to DONE
 *            v
 *          ASK --vd_reason_answer()--> judged --> ASK again (repair, next try) or DONE
 *         ^ |                     |
 *         | |                     +--> tools were called --> TOOLS, or ASK again where each call is refused
 *         | |                                                  |
 *         +-|--------vd_reason_tool_results()------------------+
 *           |
 *           +--vd_reason_stop()------> fallback --> DONE       (from TOOLS too)
 *
 * Whatever is accepted (an answer, a shortcut, the fallback) and uses limits across decisions comes to RESERVE before DONE:
 *
 *       RESERVE --vd_reason_reserved()--> DONE, or for what is not left: ASK again, fallback, DONE (escalated)
 *
 * Errors:   a vd_code only for memory and the job's own limits; whatever a model says leads to an outcome.
 * Invariants:
 *   I1 at most budget.max_model_calls ASK states, at most budget.max_repairs of them after a refused or unreadable answer.
 *   I2 the outcome's action and params passed vd_judge(), or the status is VD_ESCALATED.
 *   I3 the same facts, marker key and answers give the same messages and outcome.
 *   I4 at most budget.max_tool_calls requests of tools, at most max_calls of each; each is aimed by arguments that the policy allows.
 */
#ifndef VD_REASON_REASON_H
#define VD_REASON_REASON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "json/json.h"
#include "policy/facts.h"
#include "policy/judge.h"
#include "policy/limits.h"
#include "policy/prompt.h"
#include "policy/tools.h"

struct vd_reason;

enum vd_reason_state { VD_REASON_ASK, VD_REASON_TOOLS, VD_REASON_RESERVE, VD_REASON_DONE };

/* What a call to a model did. */
enum vd_answer_kind {
    VD_ANSWER_TEXT, /* a normal stop: text is the answer (a proposal tool's arguments count as text) */
    VD_ANSWER_TOOL,    /* it called tools; text is what it wrote beside, or a tool's name */
    VD_ANSWER_CUT,     /* stopped by length: not a decision */
    VD_ANSWER_REFUSED, /* refusal or content filter: not a decision */
    VD_ANSWER_EMPTY,   /* no choice, no content */
};

struct vd_answer {
    enum vd_answer_kind kind;
    struct vd_span text;              /* borrowed during the call; any bytes */
    const struct vd_tool_call *calls; /* TOOL; the same, as the model wrote them */
    size_t call_count;
    const char *model; /* borrowed during the call; NULL: unknown */
    const char *provider;
    int64_t input_tokens, output_tokens;
    int64_t cost_microusd;
    int64_t model_ms;
    bool from_journal; /* received before; costs nothing now */
};

/* Why no answer will come. Each becomes the outcome's degraded_reason, by vd_stop_name(). */
enum vd_stop {
    VD_STOP_DEADLINE,
    VD_STOP_MODEL_UNAVAILABLE, /* every model of the list failed */
    VD_STOP_QUOTA,
    VD_STOP_KILL_SWITCH,
    VD_STOP_STALE,    /* input.on_stale = "fallback" */
    VD_STOP_OVERFLOW, /* input.on_overflow = "fallback" */
    VD_STOP_SHUTDOWN,
    VD_STOP_CONTEXT_UNAVAILABLE, /* Redis did not answer before the deadline */
    VD_STOP_DEDUPE_UNAVAILABLE, /* Redis did not say before the deadline whether this is a duplicate */
    VD_STOP_BUDGET_PER_KEY,     /* budget.per_key is spent */
    VD_STOP_NO_MODEL,           /* no model is configured */
};
const char *vd_stop_name(enum vd_stop stop);      /* "deadline", "model_unavailable", ... */
#define VD_REASON_LIMIT_EXCEEDED "limit_exceeded" /* degraded_reason: a limit is used up */

enum vd_status { VD_DECIDED, VD_FALLBACK, VD_ESCALATED };
const char *vd_status_name(enum vd_status status); /* "decided" "fallback" "escalated" */

struct vd_usage {
    const char *model; /* of the last answer; NULL: none */
    const char *provider;
    int64_t model_calls, tool_calls, repairs;
    int64_t input_tokens, output_tokens;
    int64_t cost_microusd;
    int64_t model_ms;
    int64_t journal_hits;
};

/* What is known of one reservation. */
struct vd_reserved {
    int64_t used; /* by others */
    bool ok;
    int64_t closed_until_ms; /* wall clock: since what was used before is lost; 0: not closed */
};

enum vd_reserve {
    VD_RESERVE_OK,          /* all of it is reserved */
    VD_RESERVE_EXCEEDED,    /* at least one is not ok, and nothing is reserved */
    VD_RESERVE_UNAVAILABLE, /* nobody could say before the deadline: counts as exceeded */
};

struct vd_outcome {
    enum vd_status status;
    enum vd_decided_by decided_by;  /* ESCALATED: who proposed what was escalated */
    const struct vd_action *action; /* NULL: none (escalated before or without a valid proposal) */
    const cJSON *params;            /* NULL: none */
    const struct vd_rule_result *rules; /* of the proposal the outcome rests on */
    size_t rule_count;
    const char *degraded_reason; /* a word from a closed set, NULL for a plain decision */
    const char *reason_text;     /* for people: which rule, which escalation, its why; NULL: none */
    const char *source;          /* name of the shortcut or escalate rule; NULL: none */
    bool has_confidence;
    double confidence;
    struct vd_span rationale; /* cleaned; ptr NULL: none */
    const cJSON *evidence;    /* array of strings; NULL: none */
    struct vd_usage usage;
    const struct vd_limit_plan *plan;   /* of limits, for what is decided; NULL: it uses none */
    const struct vd_reserved *reserved; /* of each of plan->wants; NULL with plan */
};

struct vd_reason_start {
    struct vd_facts *facts;     /* complete */
    struct vd_span decision_id; /* seed of the markers; borrowed during vd_reason_new() */
    struct vd_span marker_key;  /* secret of this installation; the same */
    struct vd_span redact_key;  /* the same */
    bool no_limits;             /* nothing is reserved, as in shadow mode: RESERVE never comes */
};

/* A tool as a model is told of it. */
struct vd_offered_tool {
    struct vd_span name, description;
    struct vd_span full,
        reduced; /* JSON Schema of the arguments, VD_FORM_FULL and VD_FORM_ANTHROPIC_TOOL */
};

/* What to ask now. Borrowed until the next answer or stop. */
struct vd_ask {
    const struct vd_message *messages;
    size_t message_count;
    const struct vd_offered_tool
        *tools; /* the same at each step: they are at the front of the request */
    size_t tool_count;
    bool tools_closed; /* none may be called any more: no call of a tool or of a model is left */
    unsigned step;     /* 1, 2, ...: the journal's step */
    int64_t max_output_tokens; /* what is left of the budget; 0: unbounded */
    size_t input_bytes;        /* measured before it is sent */
    int64_t input_tokens_estimate;
};

enum vd_code vd_reason_new(const struct vd_reason_start *start, struct vd_reason **ret_reason,
                           struct vd_err *err) VD_MUST_CHECK;
void *vd_reason_free(struct vd_reason *reason); /* NULL-safe; returns NULL */
enum vd_reason_state vd_reason_state(const struct vd_reason *reason);

/* ASK only. */
const struct vd_ask *vd_reason_ask(const struct vd_reason *reason);
/* Proposal schema for the ask, as JSON text, in the form that the chosen model takes; made once for each form, borrowed until free. */
enum vd_code vd_reason_schema(struct vd_reason *reason, enum vd_schema_form form,
                              struct vd_span *ret_schema, struct vd_err *err) VD_MUST_CHECK;
enum vd_code vd_reason_answer(struct vd_reason *reason, const struct vd_answer *answer,
                              struct vd_err *err) VD_MUST_CHECK;

/* One read that the model asked for, and the policy allows. */
struct vd_tool_request {
    /* "2.t0": the step, and the call's place in that answer; the same in each run of the job. */
    char name[48];
    const struct vd_tool *tool;
    const cJSON *args;
    struct vd_tool_target target;
};

struct vd_tool_result {
    /* NULL, or why there is no answer: our own words, borrowed during the call. */
    const char *failed;
    const cJSON *value; /* borrowed during the call; NULL: nothing is there */
    int64_t ms;
    bool from_journal;
};

/* TOOLS only: at least one, in order. Borrowed until the results, a stop or free. */
const struct vd_tool_request *vd_reason_tool_requests(const struct vd_reason *reason,
                                                      size_t *ret_count);
/* TOOLS only: one result for each request, in order. */
enum vd_code vd_reason_tool_results(struct vd_reason *reason, const struct vd_tool_result *results,
                                    struct vd_err *err) VD_MUST_CHECK;

/* RESERVE only: what must be reserved, all of it or nothing. Borrowed until the next call. */
const struct vd_limit_plan *vd_reason_reservations(const struct vd_reason *reason);
/* RESERVE only. items: one for each of the plan's wants, copied; NULL when it is UNAVAILABLE. */
enum vd_code vd_reason_reserved(struct vd_reason *reason, enum vd_reserve answer,
                                const struct vd_reserved *items, struct vd_err *err) VD_MUST_CHECK;
/* The same without asking anybody: used is what others use, by the limit's name (an object; NULL or absent: 0). */
enum vd_code vd_reason_assume_reserved(struct vd_reason *reason, const cJSON *used,
                                       struct vd_err *err) VD_MUST_CHECK;
/* In any state; in DONE and RESERVE it changes nothing, but for what an event's age, the queue or Redis decide about a shortcut. */
enum vd_code vd_reason_stop(struct vd_reason *reason, enum vd_stop stop,
                            struct vd_err *err) VD_MUST_CHECK;
/* Straight to a person (input.on_stale = "review", ...): ESCALATED without action; why is kept as reason_text. */
enum vd_code vd_reason_review(struct vd_reason *reason, const char *degraded_reason,
                              const char *why, struct vd_err *err) VD_MUST_CHECK;
/* Call before the first vd_reason_ask() where stop or review is already known: vd_reason_new() asks no model by itself. */

/* DONE only. Borrowed until vd_reason_free(). */
const struct vd_outcome *vd_reason_outcome(const struct vd_reason *reason);

/* Appends everything that happened, for the audit record, as JSON: {"steps": [{"step", "messages", "answer", "kind", "tools", "judged",
 * "rules", "usage"}], "limits", "shown", "cuts", "redacted", "journal_hits", "cost_microusd": of this run}. Texts are redacted for the
 * audit. Returns out->failed. */
enum vd_code vd_reason_record(const struct vd_reason *reason, struct vd_buf *out);

/* Rules as the records have them: [{"id","verdict","headroom"}]. */
void vd_rules_write(struct vd_buf *out, const struct vd_rule_result *rules, size_t count);

/* Each rule that refused something, also a proposal that was repaired afterwards. */
typedef void vd_rule_fn(void *arg, const struct vd_rule_result *rule);
void vd_reason_each_failure(const struct vd_reason *reason, vd_rule_fn *fn, void *arg);

#endif
