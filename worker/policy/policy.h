/* policy/policy.h - one policy file, loaded, checked and compiled; const from then on.
 *
 * Why:      the pipeline, the judge and the prompt all read the same struct; nothing parses a policy twice.
 * Source:   the policy language (policies/README.md); libconfig through base/conf.h.
 * Thread:   load anywhere; a loaded policy is const and may be read by any thread.
 * Owns:     everything it points at, until vd_policy_free().
 * Shapes:   arrays are (pointer, count). Programs are compiled against one list of slots:
 *               0 event, 1 now, then contexts, lets, state and memory where there are such, then params, action, evidence, decision (the
 *               last four for rules only).
 * Errors:   everything a person must correct goes to a struct vd_diags, all at once; what this version cannot do end to end is such
 *           an error, never parsed and ignored.
 * Invariants:
 *   I1 lets are in dependency order: a let uses only lets before it.
 *   I2 fallback and shortcut actions are declared, and their params are exactly the action's params.
 */
#ifndef VD_POLICY_POLICY_H
#define VD_POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/diag.h"
#include "base/err.h"
#include "base/hash.h"
#include "cel/cel.h"
#include "json/json.h"
#include "policy/path.h"
#include "policy/template.h"
#include "schema/schema.h"

struct vd_tool;
struct vd_tool_allowed;

enum vd_mode {
    VD_MODE_OFF,
    VD_MODE_SHADOW,
    VD_MODE_ENFORCE,
    VD_MODE_CANARY, /* the candidate of another policy; a file that says "canary" is enforced for the other keys */
};
enum vd_on_stale { VD_ON_STALE_SKIP, VD_ON_STALE_FALLBACK, VD_ON_STALE_REVIEW };
enum vd_on_overflow { VD_ON_OVERFLOW_FALLBACK, VD_ON_OVERFLOW_REVIEW };
enum vd_on_fail {
    VD_ON_FAIL_REPAIR,   /* tell the model why, then the fallback */
    VD_ON_FAIL_REJECT,   /* the fallback decides */
    VD_ON_FAIL_ESCALATE, /* a person decides */
    VD_ON_FAIL_CLAMP,    /* numeric bounds only: the nearest allowed value; both are recorded */
};

const char *vd_mode_name(enum vd_mode mode); /* "off", "shadow", "enforce", "canary" */

/* What a program sees, by slot; see the block above. */
#define VD_SLOT_EVENT 0u
#define VD_SLOT_NOW   1u

enum vd_redis_shape {
    VD_SHAPE_STRING, /* GET, HGET: a string, or JSON text where the schema does not say string */
    VD_SHAPE_HASH,   /* HGETALL: an object of strings */
    VD_SHAPE_FIELDS, /* HMGET: an object by the names given */
    VD_SHAPE_LIST,   /* LRANGE, SMEMBERS-like, ZRANGE, MGET: an array of strings */
    VD_SHAPE_NUMBER, /* EXISTS, HLEN, LLEN, SCARD, ZCARD, TTL: an integer */
};

/* One Redis read; its result is bound under name. Converting and validating a reply: policy/context.h. */
struct vd_policy_context {
    const char *name;
    unsigned slot;
    struct vd_template_argv redis; /* argv[0] is an allowed command */
    enum vd_redis_shape shape;
    const cJSON *schema_tree; /* NULL: none */
    const struct vd_schema *schema;
    size_t max_bytes;      /* of the reply */
    bool required;         /* absent: dead letter; otherwise fallback, or null */
    const cJSON *fallback; /* `default`; NULL: null is bound */
    bool trusted;          /* its facts count for verified() */
};

struct vd_policy_let {
    const char *name;
    unsigned slot;
    const struct vd_cel_program *program;
    bool early;   /* needs no context: usable in when, key and redis */
    bool trusted; /* computed from trusted facts only, whatever chose between them included */
};

enum vd_param_type {
    VD_PARAM_INTEGER,
    VD_PARAM_NUMBER,
    VD_PARAM_BOOLEAN,
    VD_PARAM_STRING,
    VD_PARAM_ARRAY,
    VD_PARAM_OBJECT,
};

/* A bound that is a literal or computed for each event. Neither: absent. */
struct vd_bound {
    const cJSON *literal;
    const struct vd_cel_program *program;
};

struct vd_param {
    const char *name; /* "items" for an array's items */
    const char *path; /* "after_hours", "lines.items.sku": for messages and rule ids */
    enum vd_param_type type;
    enum vd_on_fail on_fail;
    const char *why;                      /* NULL: none */
    struct vd_bound min, max;             /* INTEGER, NUMBER */
    struct vd_bound min_items, max_items; /* ARRAY */
    bool unique;                          /* ARRAY */
    const cJSON *choices;                 /* `enum`: an array; NULL: none */
    const struct vd_cel_program *from; /* a CEL list; NULL: none. On an ARRAY it bounds the items */
    const char *pattern;               /* STRING; PCRE2 as JSON Schema has it; NULL: none */
    const struct vd_schema *pattern_schema;
    size_t max_len;                /* STRING: characters */
    const struct vd_param *items;  /* ARRAY: one */
    const struct vd_param *fields; /* OBJECT */
    size_t field_count;
};

enum vd_rule_op { VD_RULE_OPAQUE, VD_RULE_LT, VD_RULE_LE, VD_RULE_GT, VD_RULE_GE };

struct vd_rule {
    const char *name;
    const struct vd_cel_program *program;
    enum vd_rule_op
        op; /* a single comparison: both sides are evaluated, so that its headroom is known */
    const struct vd_cel_program *left, *right;
    const char *why; /* never NULL */
    enum vd_on_fail on_fail;
};

struct vd_action {
    const char *name;
    const char *why;                     /* what it means, for the model; NULL: none */
    const struct vd_cel_program *enable; /* NULL: always */
    const struct vd_param *params;
    size_t param_count;
    const struct vd_rule *rules;
    size_t rule_count;
    int64_t valid_for_s;     /* 0: no end */
    const char *output_type; /* CloudEvents type of the decision */
};

/* One parameter of a fallback or shortcut: a literal, or a program ("=CEL"). */
struct vd_given {
    const char *name;
    const cJSON *literal;
    const struct vd_cel_program *program;
};

/* An action with its params, as fallback and shortcuts give it. */
struct vd_choice {
    const struct vd_action *action;
    const struct vd_given *params;
    size_t param_count;
};

struct vd_shortcut {
    const char *name;
    const struct vd_cel_program *when;
    struct vd_choice choice;
};

struct vd_escalate {
    const char *name;
    const struct vd_cel_program *when;
    const char *why;
    bool early; /* needs no proposal: evaluated before a model is asked */
};

/* One value of `state`; policy/state.h. */
struct vd_policy_field {
    const char *name;
    enum vd_param_type type;           /* INTEGER, NUMBER, BOOLEAN, STRING */
    const cJSON *initial;              /* `default`, of its type */
    const struct vd_cel_program *next; /* its value after a decision */
    size_t max_len;                    /* STRING: characters */
};

struct vd_policy_state {
    unsigned slot;
    const struct vd_template *key; /* NULL: input.key's */
    int64_t ttl_s;                 /* since it was last written */
    const struct vd_policy_field *fields;
    size_t field_count;
    const cJSON *schema; /* of the value, for the checker */
    bool
        trusted; /* every `next` uses only facts that are ours, nothing the model chose but which action */
};

/* A value of a note that rules may read. */
struct vd_note_field {
    const char *name;
    const struct vd_cel_program *value;
};

/* `memory`; policy/memory.h. */
struct vd_policy_notes {
    unsigned slot;
    const struct vd_template *key; /* NULL: input.key's */
    size_t read_last;
    const struct vd_cel_program *note; /* the text */
    const struct vd_cel_program *when; /* NULL: every decision leaves a note */
    const struct vd_note_field *fields;
    size_t field_count;
    size_t max_notes, note_max_chars;
    int64_t ttl_s;       /* since the last note */
    const cJSON *schema; /* of what rules see */
};

#define VD_REDACT_PROMPT 1u
#define VD_REDACT_AUDIT  2u
#define VD_REDACT_LOG    4u
enum vd_redact_op { VD_REDACT_REMOVE, VD_REDACT_HASH, VD_REDACT_MASK };

struct vd_redact_rule {
    struct vd_path path;
    enum vd_redact_op op;
    unsigned at; /* VD_REDACT_* */
};

/* Of one policy key; counted in Redis. */
struct vd_budget_per_key {
    int64_t window_s;        /* 0: none */
    int64_t max_model_calls; /* within it */
};

struct vd_budget {
    int64_t deadline_ms; /* from the fetch */
    int64_t max_model_calls;
    int64_t max_repairs;
    int64_t max_tool_calls;    /* calls of tools that are carried out; 0: none are offered */
    int64_t max_input_tokens;  /* all calls of one event together; 0: unbounded */
    int64_t max_output_tokens; /* the same */
    int64_t max_cost_microusd; /* the same */
    bool
        wait; /* on_unavailable: while no model can be asked, the event waits and its deadline stands still */
    struct vd_budget_per_key per_key;
};

#define VD_SCHEMA_FORMS 3 /* enum vd_schema_form, policy/prompt.h */

/* What a model is told that no event changes, written once. Empty: it does depend on the event. */
struct vd_fixed_texts {
    struct vd_span system;                  /* the whole system message; never empty */
    struct vd_span system_json;             /* the same as a JSON string, with its quotes */
    struct vd_span choices;                 /* of the user message */
    struct vd_span schema[VD_SCHEMA_FORMS]; /* of the proposal, by form */
};

struct vd_policy {
    /* policy */
    const char *file;
    const char *id;
    int64_t version;
    const char *owner; /* "" when not given */
    enum vd_mode mode;
    struct vd_sha256 hash; /* of the canonical content, prompt and schemas included */
    char hash_hex[VD_SHA256_HEX_SIZE];
    const char *domain; /* name of the file's folder: "billing" */

    /* input */
    const char *const *topics;
    size_t topic_count;
    const struct vd_cel_program *when;
    const struct vd_template *key;
    const struct vd_template *dedupe_id; /* NULL: every record is another event */
    int64_t dedupe_window_s;
    const cJSON *event_schema_tree; /* of `event` as CEL sees it; NULL: none */
    const struct vd_schema *event_schema;
    int64_t max_event_age_s; /* 0: unbounded */
    enum vd_on_stale on_stale;
    int64_t max_queue_per_key;
    enum vd_on_overflow on_overflow;
    const struct vd_path *trusted;
    size_t trusted_count;

    /* names */
    unsigned slot_count;      /* event, now, contexts, lets, state, memory */
    unsigned rule_slot_count; /* and params, action, evidence, decision */
    unsigned slot_params, slot_action, slot_evidence, slot_decision;
    unsigned slot_args; /* in tools' templates only: the slot of params, which nothing sees then */
    unsigned slot_item; /* of limits' `each`: behind all others */
    const char *const *slot_names; /* rule_slot_count */
    const struct vd_policy_context *contexts;
    size_t context_count;
    const struct vd_policy_let *lets;
    size_t let_count;
    const struct vd_policy_state *state; /* NULL: none */
    const struct vd_policy_notes *notes; /* `memory`; NULL: none */

    const struct vd_tool *tools; /* what a model may look up; policy/tools.h */
    size_t tool_count;

    /* deciding */
    const struct vd_shortcut *shortcuts;
    size_t shortcut_count;
    const struct vd_action *actions;
    size_t action_count;
    const char *goal;
    const char *prompt; /* text of the prompt file; "" when there is none */
    struct vd_fixed_texts fixed;
    const struct vd_path *show;
    size_t show_count;
    const char *const *models; /* entries of the settings, in order; none: the settings' default */
    size_t model_count;
    double min_confidence; /* below it a person decides; 0: never */
    size_t rationale_max_chars;
    struct vd_budget budget;
    struct vd_choice fallback;
    const struct vd_escalate *escalates;
    size_t escalate_count;
    const struct vd_limit *limits; /* policy/limits.h */
    size_t limit_count;
    const struct vd_redact_rule *redacts;
    size_t redact_count;
    const char *output_topic; /* NULL: decisions.<domain> */

    /* canary; see canary.h */
    const char *candidate_file;        /* path; NULL: none */
    unsigned canary_line;              /* of the section */
    unsigned canary_share;             /* of VD_CANARY_SHARES */
    const struct vd_policy *candidate; /* of the same set; NULL: none, or loaded alone */

    struct vd_policy_memory *memory; /* what all of the above lives in */
};

/* What the settings know and a policy refers to. */
struct vd_policy_model {
    const char *name;
    bool priced;
    bool no_tools; /* cannot call tools */
};

struct vd_policy_options {
    const char
        *root; /* policies folder, @include and prompts stay in it; NULL: the file's folder */
    const char *schemas_dir; /* NULL: the nearest `schemas` folder beside the file or above it */
    const struct vd_policy_model *models; /* NULL: model names are not checked */
    size_t model_count;
    const struct vd_tool_allowed *tool_hosts; /* NULL: hosts of tools are not checked */
    size_t tool_host_count;
};

/* Parse, check and compile one file. Problems: VD_E_CONFIG, all of them in diags. options may be NULL. */
enum vd_code vd_policy_load(const char *path, const struct vd_policy_options *options,
                            struct vd_diags *diags, struct vd_policy **ret_policy,
                            struct vd_err *err) VD_MUST_CHECK;
/* The same from memory, for tests and the fuzzer; schemas and prompts are read only when options names the folders. */
enum vd_code vd_policy_parse(struct vd_span text, const char *name,
                             const struct vd_policy_options *options, struct vd_diags *diags,
                             struct vd_policy **ret_policy, struct vd_err *err) VD_MUST_CHECK;
void *vd_policy_free(struct vd_policy *policy);

/* Does the policy read this topic? */
bool vd_policy_reads(const struct vd_policy *policy, struct vd_span topic);
const struct vd_action *vd_policy_action(const struct vd_policy *policy, struct vd_span name);

#endif
