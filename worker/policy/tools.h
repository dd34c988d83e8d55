/* policy/tools.h - what a model may look up while it reasons: which reads, with which arguments, and what it is shown of the answer.
 *
 * Why:      the model chooses the arguments, and what an event's text says may choose them for it; so an argument is a value of a short
 *           closed list, judged by the same C code as an action's params, and the rest of the read is the policy's.
 * Source:   design/reasoning.md "Hostile text"; RFC 3986 for URLs.
 * Thread:   the facts' owner.
 * Shapes:   a Redis tool is a read of policy/context.h; an HTTP tool is a GET of https://host[:port]/path, whose host has no holes.
 *           `args.NAME` in a hole is the model's argument; every hole is percent-encoded.
 * Rules:    where an answer is shown it is without hidden characters, redacted, cut, and JSON: untrusted text.
 * Invariants:
 *   I1 a target is made only of arguments that vd_tool_args() returned.
 */
#ifndef VD_POLICY_TOOLS_H
#define VD_POLICY_TOOLS_H

#include "base/limits.h"
#include "policy/facts.h"
#include "policy/prompt.h"

#define VD_TOOL_PROPOSAL "proposal" /* the decision's own name, where it is a tool call */

enum vd_tool_kind { VD_TOOL_REDIS, VD_TOOL_HTTP };

/* Where an HTTP tool goes: lower case, "api.example.com", "10.0.0.7", "[::1]". */
struct vd_tool_host {
    char name[VD_TOOL_HOST_MAX_BYTES + 1];
    uint16_t port;
};

struct vd_tool {
    const char *name;
    const char *why; /* what it is for, for the model */
    enum vd_tool_kind kind;
    const struct vd_param *args; /* all required */
    size_t arg_count;
    struct vd_template_argv redis; /* REDIS; argv[0] is an allowed read */
    const struct vd_template *url; /* HTTP */
    bool plain_http;               /* http:// and not https:// */
    struct vd_tool_host host;      /* HTTP */
    int64_t max_calls;             /* for one event; 0: only the budget's bound */
    uint32_t timeout_ms;
    size_t max_bytes; /* of an answer */
    bool trusted;     /* what it answers counts for verified() */
};

/* A host that the operator's settings allow. */
struct vd_tool_allowed {
    struct vd_tool_host host;
    bool plain_http; /* http:// too */
};
bool vd_tool_host_fits(const struct vd_tool_allowed *allowed, const struct vd_tool *tool);

/* NULL: not declared. */
const struct vd_tool *vd_policy_tool(const struct vd_policy *policy, struct vd_span name);

/* "name", "name:port", "[v6]:port". VD_E_CONFIG says what to write: other spellings of an address (decimal, octal, hex, short), user
 * names and a trailing dot are refused, so that one host has one name. */
enum vd_code vd_tool_host_parse(struct vd_span text, uint16_t default_port,
                                struct vd_tool_host *ret, struct vd_err *err) VD_MUST_CHECK;

/* The model's arguments, JSON text, judged by the policy. *ret_args: an owned object with exactly the declared arguments; NULL when they
 * are refused, and *ret_why then says why in words for the model, without quoting it. */
enum vd_code vd_tool_args(struct vd_facts *facts, const struct vd_tool *tool,
                          struct vd_span arguments, cJSON **ret_args, const char **ret_why,
                          struct vd_err *err) VD_MUST_CHECK;

/* What is read, in the facts' arena. */
struct vd_tool_target {
    const struct vd_span *argv; /* REDIS */
    size_t argc;
    struct vd_span url; /* HTTP */
};

/* args from vd_tool_args(). VD_E_INPUT: a hole is empty, too long or would leave its place in the path. */
enum vd_code vd_tool_aim(struct vd_facts *facts, const struct vd_tool *tool, const cJSON *args,
                         struct vd_tool_target *ret, struct vd_err *err) VD_MUST_CHECK;

/* JSON Schema of the arguments for this event, as text in the facts' arena. *ret_possible false: a `from` is empty now, the tool cannot
 * be called. */
enum vd_code vd_tool_schema(struct vd_facts *facts, const struct vd_tool *tool,
                            enum vd_schema_form form, struct vd_span *ret, bool *ret_possible,
                            struct vd_err *err) VD_MUST_CHECK;

/* An answer as it is shown, and as the audit record keeps it. */
struct vd_tool_shown {
    struct vd_span text; /* JSON for the model, at most the tool's max_bytes; in the facts' arena */
    struct vd_span audit; /* the same for the audit */
    bool cut;             /* something of it is not there */
    cJSON *tree;          /* owned: what was shown, before the last cut, for evidence */
};

/* value: what was answered, NULL for nothing. Redacted by paths that start with /tools/NAME. */
enum vd_code vd_tool_show(struct vd_facts *facts, const struct vd_tool *tool,
                          struct vd_span redact_key, const cJSON *value, struct vd_tool_shown *ret,
                          struct vd_err *err) VD_MUST_CHECK;

#endif
