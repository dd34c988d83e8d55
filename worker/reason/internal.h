/* reason/internal.h - inside of struct vd_reason, shared by reason.c and record.c. */
#ifndef VD_REASON_INTERNAL_H
#define VD_REASON_INTERNAL_H

#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "reason/proposal.h"
#include "reason/reason.h"

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
    const char *unreadable; /* why; NULL: it was read */
    bool was_judged;
    enum vd_judged judged;
    const struct vd_rule_result *rules;
    size_t rule_count;
};

struct vd_reason {
    enum vd_reason_state state;
    struct vd_facts *facts;
    struct vd_arena *arena;
    char marker[33];
    struct vd_buf redact_key;
    struct vd_shown shown;
    bool has_shown;
    struct vd_message *messages; /* in the arena, with the steps: as many as the budget allows */
    size_t message_count, message_max;
    size_t message_bytes;
    struct vd_ask ask;
    struct step *steps;
    size_t step_count, step_max;
    struct vd_span schemas[VD_SCHEMA_FORMS]; /* by form; in the arena or the policy */
    struct vd_judgement judgement;
    bool judged; /* judgement holds something */
    struct vd_usage usage;
    int64_t
        spent_microusd; /* by all answers, journaled ones too: a repeated job stops where it stopped */
    struct vd_outcome outcome;
    cJSON *params, *evidence; /* the outcome's */
};

/* text without the values that the policy keeps from the audit; out is initialised here and freed by the caller. */
enum vd_code vd_reason_redact_text(const struct vd_reason *reason, struct vd_span text,
                                   struct vd_buf *out, struct vd_err *err) VD_MUST_CHECK;

#endif
