/* policy/tools.c - see tools.h. */
#include "policy/tools.h"

#include <string.h>

#include "base/limits.h"
#include "policy/params.h"
#include "policy/redact.h"

const struct vd_tool *vd_policy_tool(const struct vd_policy *policy, struct vd_span name)
{
    for (size_t i = 0; i < policy->tool_count; i++)
        if (vd_span_eq_c(name, policy->tools[i].name))
            return &policy->tools[i];
    return NULL;
}

bool vd_tool_host_fits(const struct vd_tool_allowed *allowed, const struct vd_tool *tool)
{
    return strcmp(allowed->host.name, tool->host.name) == 0 &&
           allowed->host.port == tool->host.port && (allowed->plain_http || !tool->plain_http);
}

/* -- arguments --------------------------------------------------------------------------------------------------- */

static const char *refusal(struct vd_facts *facts, const struct vd_param *arg,
                           const struct vd_rule_result *result)
{
    return vd_arena_printf(vd_facts_arena(facts), "the argument %s is refused%s%s%s", arg->name,
                           result->verdict == VD_ERROR_VERDICT
                               ? ": its choices cannot be computed for this event"
                               : "",
                           result->allowed != NULL ? "; allowed: " : "",
                           result->allowed != NULL ? result->allowed : "");
}

/* Copies one judged argument into args. *ret_why is set where it is refused. */
static enum vd_code take_arg(struct vd_facts *facts, const struct vd_param *arg, const cJSON *given,
                             cJSON *args, const char **ret_why, struct vd_err *err)
{
    const cJSON *value = vd_json_get(given, arg->name);
    struct vd_rule_result result = {.id = arg->name};
    cJSON *judged = NULL;
    enum vd_code rc;

    if (value == NULL) {
        *ret_why = vd_arena_printf(vd_facts_arena(facts), "the argument %s is missing", arg->name);
        return *ret_why != NULL ? VD_OK : vd_err_nomem(err, "tool");
    }
    rc = vd_param_check(facts, arg, value, &result, &judged, err);
    if (rc != VD_OK)
        return rc;
    if (judged == NULL) {
        *ret_why = refusal(facts, arg, &result);
        return *ret_why != NULL ? VD_OK : vd_err_nomem(err, "tool");
    }
    return vd_json_put(args, arg->name, judged) ? VD_OK : vd_err_nomem(err, "tool");
}

static bool has_unknown(const struct vd_tool *tool, const cJSON *given)
{
    const cJSON *member;

    cJSON_ArrayForEach(member, given)
    {
        bool known = false;

        for (size_t i = 0; i < tool->arg_count; i++)
            known = known || strcmp(tool->args[i].name, member->string) == 0;
        if (!known)
            return true;
    }
    return false;
}

static enum vd_code take_args(struct vd_facts *facts, const struct vd_tool *tool,
                              const cJSON *given, cJSON *args, const char **ret_why,
                              struct vd_err *err)
{
    enum vd_code rc = VD_OK;

    if (vd_json_kind(given) != VD_JSON_OBJECT)
        *ret_why = "the arguments are not a JSON object";
    else if (has_unknown(tool, given))
        *ret_why = "there are arguments that the tool does not have";
    for (size_t i = 0; i < tool->arg_count && rc == VD_OK && *ret_why == NULL; i++)
        rc = take_arg(facts, &tool->args[i], given, args, ret_why, err);
    return rc;
}

enum vd_code vd_tool_args(struct vd_facts *facts, const struct vd_tool *tool,
                          struct vd_span arguments, cJSON **ret_args, const char **ret_why,
                          struct vd_err *err)
{
    cJSON *given = NULL, *args = NULL;
    enum vd_code rc = VD_OK;

    *ret_args = NULL;
    *ret_why = NULL;
    arguments = vd_span_trim(arguments);
    if (arguments.len == 0) /* some endpoints send nothing for no arguments */
        arguments = VD_LIT("{}");
    if (arguments.len > VD_TOOL_ARGS_MAX_BYTES) {
        *ret_why = "the arguments are too long";
        return VD_OK;
    }
    rc = vd_json_parse(arguments, &given, NULL);
    if (rc == VD_E_NOMEM)
        return vd_err_nomem(err, "tool");
    if (rc != VD_OK) {
        *ret_why = "the arguments are not JSON";
        return VD_OK;
    }
    args = cJSON_CreateObject();
    rc = args == NULL ? vd_err_nomem(err, "tool")
                      : take_args(facts, tool, given, args, ret_why, err);
    if (rc == VD_OK && *ret_why == NULL) {
        *ret_args = args;
        args = NULL;
    }
    vd_json_free(args);
    vd_json_free(given);
    return rc;
}

/* -- aiming ------------------------------------------------------------------------------------------------------ */

/* A value of "." or ".." is plain in a template, and would climb in the path: servers and libcurl resolve it. */
static bool has_dot_segment(struct vd_span url)
{
    struct vd_span path = vd_span_sub(url, 0, vd_span_find(url, '?'));

    for (size_t i = 0; i < path.len; i++) {
        struct vd_span rest = vd_span_sub(path, i + 1, path.len);
        struct vd_span segment = vd_span_sub(rest, 0, vd_span_find(rest, '/'));

        if (path.ptr[i] == '/' && (vd_span_eq_c(segment, ".") || vd_span_eq_c(segment, "..")))
            return true;
    }
    return false;
}

static enum vd_code aim_redis(struct vd_facts *facts, const struct vd_tool *tool,
                              struct vd_tool_target *ret, struct vd_err *err)
{
    struct vd_span *argv =
        vd_arena_array(vd_facts_arena(facts), tool->redis.count, sizeof(struct vd_span));
    enum vd_code rc;

    if (argv == NULL)
        return vd_err_nomem(err, "tool");
    rc = vd_facts_render_argv(facts, &tool->redis, argv, err);
    if (rc == VD_OK)
        *ret = (struct vd_tool_target){.argv = argv, .argc = tool->redis.count};
    return rc;
}

static enum vd_code aim_http(struct vd_facts *facts, const struct vd_tool *tool,
                             struct vd_tool_target *ret, struct vd_err *err)
{
    struct vd_span url;
    enum vd_code rc = vd_facts_render(facts, tool->url, &url, err);

    if (rc != VD_OK)
        return rc;
    if (has_dot_segment(url))
        return vd_err_set(err, VD_E_INPUT, false, "tools.%s.http: a part of the path is dots only",
                          tool->name);
    *ret = (struct vd_tool_target){.url = url};
    return VD_OK;
}

enum vd_code vd_tool_aim(struct vd_facts *facts, const struct vd_tool *tool, const cJSON *args,
                         struct vd_tool_target *ret, struct vd_err *err)
{
    unsigned slot = vd_facts_policy(facts)->slot_args;
    enum vd_code rc;

    vd_facts_bind(facts, slot, vd_cel_from_json(args));
    rc = tool->kind == VD_TOOL_REDIS ? aim_redis(facts, tool, ret, err)
                                     : aim_http(facts, tool, ret, err);
    vd_facts_bind(facts, slot, (struct vd_cel_value){.kind = VD_CEL_ERROR});
    return rc;
}

/* -- for the model ----------------------------------------------------------------------------------------------- */

enum vd_code vd_tool_schema(struct vd_facts *facts, const struct vd_tool *tool,
                            enum vd_schema_form form, struct vd_span *ret, bool *ret_possible,
                            struct vd_err *err)
{
    struct vd_buf text;
    cJSON *tree = NULL;
    enum vd_code rc =
        vd_params_schema(facts, tool->args, tool->arg_count, form, &tree, ret_possible, err);

    vd_buf_init(&text, VD_PROPOSAL_SCHEMA_MAX_BYTES);
    if (rc == VD_OK && vd_json_write(&text, tree) != VD_OK)
        rc = vd_err_set(err, text.failed, false, "tools.%s: its schema is too large", tool->name);
    if (rc == VD_OK && vd_arena_dup(vd_facts_arena(facts), vd_buf_span(&text), ret) != VD_OK)
        rc = vd_err_nomem(err, "tool");
    vd_buf_free(&text);
    vd_json_free(tree);
    return rc;
}

/* value as /tools/NAME, so that the policy's paths find it; redacted for at. NULL: out of memory. */
static cJSON *as_document(const struct vd_facts *facts, const struct vd_tool *tool, unsigned at,
                          struct vd_span redact_key, const cJSON *value)
{
    cJSON *document = cJSON_CreateObject(), *tools = cJSON_CreateObject();
    bool ok =
        vd_json_put(tools, tool->name, value != NULL ? vd_json_copy(value) : cJSON_CreateNull());

    if (!ok)
        tools = vd_json_free(tools);
    if (!vd_json_put(document, "tools", tools) ||
        vd_redact(vd_facts_policy(facts), at, redact_key, document, NULL, NULL) != VD_OK)
        document = vd_json_free(document);
    return document;
}

/* JSON of node, at most max bytes, whole characters. */
static enum vd_code cut_text(struct vd_facts *facts, const cJSON *node, size_t max,
                             struct vd_span *ret, bool *ret_cut, struct vd_err *err)
{
    struct vd_buf text;
    enum vd_code rc = VD_OK;
    size_t kept;

    vd_buf_init(&text, VD_TOOL_MAX_BYTES * 8);
    if (vd_json_write(&text, node) != VD_OK)
        rc = vd_err_nomem(err, "tool");
    kept = text.len < max ? text.len : max;
    while (kept > 0 && kept < text.len && ((unsigned char)text.ptr[kept] & 0xC0) == 0x80)
        kept--;
    *ret_cut = *ret_cut || kept < text.len;
    if (rc == VD_OK &&
        vd_arena_dup(vd_facts_arena(facts), vd_span_sub(vd_buf_span(&text), 0, kept), ret) != VD_OK)
        rc = vd_err_nomem(err, "tool");
    vd_buf_free(&text);
    return rc;
}

static enum vd_code show_for(struct vd_facts *facts, const struct vd_tool *tool, unsigned at,
                             struct vd_span redact_key, const cJSON *value, struct vd_span *ret,
                             bool *ret_cut, cJSON **ret_tree, struct vd_err *err)
{
    cJSON *document = as_document(facts, tool, at, redact_key, value), *clean = NULL;
    const cJSON *mine = vd_json_get(vd_json_get(document, "tools"), tool->name);
    enum vd_code rc = document == NULL ? vd_err_nomem(err, "tool") : VD_OK;

    if (rc == VD_OK && mine != NULL)
        rc = vd_prompt_clean_tree(facts, mine, &clean, ret_cut, err);
    else if (rc == VD_OK)
        clean = cJSON_CreateNull(); /* a rule removed all of it */
    if (rc == VD_OK && clean == NULL)
        rc = vd_err_nomem(err, "tool");
    if (rc == VD_OK)
        rc = cut_text(facts, clean, tool->max_bytes, ret, ret_cut, err);
    if (rc == VD_OK && ret_tree != NULL) {
        *ret_tree = clean;
        clean = NULL;
    }
    vd_json_free(clean);
    vd_json_free(document);
    return rc;
}

enum vd_code vd_tool_show(struct vd_facts *facts, const struct vd_tool *tool,
                          struct vd_span redact_key, const cJSON *value, struct vd_tool_shown *ret,
                          struct vd_err *err)
{
    struct vd_tool_shown shown = {.tree = NULL};
    bool cut = false;
    enum vd_code rc = show_for(facts, tool, VD_REDACT_PROMPT, redact_key, value, &shown.text,
                               &shown.cut, &shown.tree, err);

    shown.audit = shown.text;
    if (rc == VD_OK && vd_redacts(vd_facts_policy(facts), VD_REDACT_AUDIT))
        rc = show_for(facts, tool, VD_REDACT_AUDIT, redact_key, value, &shown.audit, &cut, NULL,
                      err);
    if (rc != VD_OK) {
        vd_json_free(shown.tree);
        return rc;
    }
    *ret = shown;
    return VD_OK;
}
