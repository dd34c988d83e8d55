/* policy/prompt.h - what a model is told, and the form its answer must have.
 *
 * Why:      untrusted text never enters the system message, and what a model may choose is generated from the same policy that judges.
 * Source:   JSON Schema 2020-12; the subsets of OpenAI strict mode and of Anthropic tools.
 * Thread:   the facts' owner.
 * Shapes:   the user message has two parts: facts (trusted) and, between markers that are different in each request, untrusted data as
 *           JSON with control, bidi, zero-width and tag characters removed.
 * Rules:    cutting, in this order, each cut recorded: strings to VD_PROMPT_MAX_STRING bytes, arrays to VD_PROMPT_MAX_ITEMS items, then
 *           whole entries of `show` from the last one, until VD_PROMPT_MAX_DATA bytes and the token budget hold.
 * Invariants:
 *   I1 the same facts and marker give the same bytes: the journal finds its answers again.
 */
#ifndef VD_POLICY_PROMPT_H
#define VD_POLICY_PROMPT_H

#include "base/err.h"
#include "json/json.h"
#include "policy/facts.h"
#include "policy/judge.h"

enum vd_role {
    VD_ROLE_SYSTEM,
    VD_ROLE_USER,
    VD_ROLE_ASSISTANT,
    VD_ROLE_TOOL, /* the result of one tool call */
};
const char *vd_role_name(enum vd_role role);

struct vd_tool_call {
    struct vd_span id, name;
    struct vd_span arguments; /* JSON text */
};

struct vd_message {
    enum vd_role role;
    struct vd_span text;              /* UTF-8 */
    struct vd_span json;              /* the same as a JSON string, where it is known; else empty */
    const struct vd_tool_call *calls; /* ASSISTANT: tools that it called */
    size_t call_count;
    struct vd_span call_id; /* TOOL: whose result it is, */
    bool failed;            /* and text says why there is none */
};

/* What was left out: `path` kept `kept` of `of` bytes or items; kept 0: the entry is gone. */
struct vd_prompt_cut {
    const char *path;
    size_t kept;
    size_t of;
    bool items; /* counts items, not bytes */
};

/* What show selects, redacted for the prompt, cleaned and cut: {"event": {...}, "sub": {...}}. Array indexes are those of the originals
 * (what is not shown is null), so that evidence pointers hold in both. */
struct vd_shown {
    cJSON *document;                  /* owned: vd_shown_fini() */
    const struct vd_prompt_cut *cuts; /* in the arena */
    size_t cut_count;
    size_t redacted;
};

/* max_bytes 0: VD_PROMPT_MAX_DATA. */
enum vd_code vd_prompt_show(struct vd_facts *facts, struct vd_span redact_key, size_t max_bytes,
                            struct vd_shown *ret, struct vd_err *err) VD_MUST_CHECK;
void vd_shown_fini(struct vd_shown *shown);
/* What of document the policy trusts, and the rest; NULL where there is none. Both borrow from document; free them before it. */
enum vd_code vd_prompt_split(struct vd_facts *facts, const cJSON *document, cJSON **ret_trusted,
                             cJSON **ret_untrusted, struct vd_err *err) VD_MUST_CHECK;

/* The loader's last step: writes policy->fixed into arena. */
enum vd_code vd_prompt_fix(struct vd_policy *policy, struct vd_arena *arena,
                           struct vd_err *err) VD_MUST_CHECK;

/* Texts in the facts' arena. marker: printable, different for each request, unknown to whoever wrote the event. */
enum vd_code vd_prompt_user(struct vd_facts *facts, const struct vd_shown *shown,
                            const char *marker, struct vd_span *ret,
                            struct vd_err *err) VD_MUST_CHECK;
/* Why a proposal was refused: each failed rule's name, why and allowed range. */
enum vd_code vd_prompt_repair(struct vd_facts *facts, const struct vd_judgement *judgement,
                              struct vd_span *ret, struct vd_err *err) VD_MUST_CHECK;
/* The answer could not be read at all; reason from reason/proposal.h. */
enum vd_code vd_prompt_unreadable(struct vd_facts *facts, const char *reason, struct vd_span *ret,
                                  struct vd_err *err) VD_MUST_CHECK;

/* What a tool answered, as JSON between the markers. */
enum vd_code vd_prompt_tool_result(struct vd_facts *facts, const char *marker, struct vd_span json,
                                   bool cut, struct vd_span *ret, struct vd_err *err) VD_MUST_CHECK;

enum vd_schema_form {
    VD_FORM_FULL, /* everything the policy says, 2020-12 */
    VD_FORM_OPENAI_STRICT, /* one object, no root anyOf, all required, additionalProperties false, allowed keywords only */
    VD_FORM_ANTHROPIC_TOOL, /* input_schema of a tool: an object at the root, no bounds or patterns */
};

/* JSON Schema of the proposal {action, params, confidence, rationale, evidence} for this event: enabled actions only, from and computed
 * bounds filled in. Owned by the caller. In both reduced forms params is one object with a member for each enabled action,
 * {"action":"retry","params":{"retry":{...},"stop":null}}; vd_proposal_parse() reads it back. */
enum vd_code vd_prompt_schema(struct vd_facts *facts, enum vd_schema_form form, cJSON **ret_schema,
                              struct vd_err *err) VD_MUST_CHECK;
/* The same as JSON text, at most VD_PROPOSAL_SCHEMA_MAX_BYTES; the policy's own text where no event changes it. */
enum vd_code vd_prompt_schema_text(struct vd_facts *facts, enum vd_schema_form form,
                                   struct vd_span *ret, struct vd_err *err) VD_MUST_CHECK;

/* Copy of text without control (but \n and \t), bidi, zero-width, Unicode tag, variation and private characters, and bad UTF-8. */
enum vd_code vd_prompt_clean(struct vd_arena *arena, struct vd_span text, struct vd_span *ret);
/* The same for each string of a tree, which is cut as what is shown is: long strings and arrays. *ret_tree is owned; *ret_cut is set where
 * something was cut. */
enum vd_code vd_prompt_clean_tree(struct vd_facts *facts, const cJSON *tree, cJSON **ret_tree,
                                  bool *ret_cut, struct vd_err *err) VD_MUST_CHECK;

#endif
