/* policy/load_tools.c - see load.h: tools, and what keeps a model from reading what is not its business. */
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "policy/context.h"
#include "policy/load.h"
#include "policy/params.h"
#include "policy/tools.h"

#define ROW(f) offsetof(struct written, f)
#define END_OF_TABLE                                                                               \
    {                                                                                              \
        .name = NULL                                                                               \
    }

struct written {
    const char *why, *redis, *http;
    const struct vd_conf_node *args;
    int64_t max_calls, timeout_ms, max_bytes;
    bool trusted;
};

static const struct vd_conf_row rows[] = {
    {"why", VD_CONF_T_STRING, ROW(why), NULL, 1, 1024, NULL, VD_CONF_REQUIRED,
     "why = \"what the model is told that it is for\"", NULL},
    {"redis", VD_CONF_T_STRING, ROW(redis), NULL, 1, 0, NULL, 0, "a read, with {args.NAME}", NULL},
    {"http", VD_CONF_T_STRING, ROW(http), NULL, 1, 0, NULL, 0, "a URL, with {args.NAME}", NULL},
    {"args", VD_CONF_T_NODE, ROW(args), NULL, 0, 0, NULL, 0, "what the model chooses", NULL},
    {"max_calls", VD_CONF_T_INT, ROW(max_calls), "0", 0, VD_TOOL_MAX_CALLS, NULL, 0,
     "for one event; 0: budget.max_tool_calls", NULL},
    {"timeout_ms", VD_CONF_T_INT, ROW(timeout_ms), "2000", 10, 60000, "ms", 0, "of one call", NULL},
    {"max_bytes", VD_CONF_T_INT, ROW(max_bytes), "16384", 16, VD_TOOL_MAX_BYTES, "bytes", 0,
     "longest answer", NULL},
    {"trusted", VD_CONF_T_BOOL, ROW(trusted), "false", 0, 0, NULL, 0, "its facts are ours", NULL},
    END_OF_TABLE,
};

static void *release_template(void *thing)
{
    return vd_template_free(thing);
}

static void *release_json(void *thing)
{
    return vd_json_free(thing);
}

static void complain(struct vd_loader *ld, const struct vd_conf_node *node, const char *hint,
                     const char *what)
{
    vd_diag_error(ld->diags, node->file, node->line, hint, "%s %s", node->path, what);
}

/* -- arguments --------------------------------------------------------------------------------------------------- */

/* A short list of whole numbers: a wide range would be other customers' ids. */
static bool is_short_range(const struct vd_param *arg)
{
    int64_t low, high;

    return arg->type == VD_PARAM_INTEGER && vd_json_int(arg->min.literal, &low) &&
           vd_json_int(arg->max.literal, &high) && high >= low &&
           (uint64_t)high - (uint64_t)low < VD_CHOICES_MAX;
}

/* What a model supplies ends up in a key or a URL, so it must be one of a short closed list. */
static void check_arg(struct vd_loader *ld, const struct vd_conf_node *node,
                      const struct vd_param *arg)
{
    bool scalar = arg->type == VD_PARAM_INTEGER || arg->type == VD_PARAM_STRING ||
                  arg->type == VD_PARAM_BOOLEAN;

    if (vd_conf_get(node, "type") == NULL)
        return; /* said already */
    if (!scalar)
        complain(ld, node, "type = \"string\", \"integer\" or \"boolean\"",
                 "cannot stand in a key or URL");
    else if (arg->type != VD_PARAM_BOOLEAN && arg->choices == NULL && arg->from == NULL &&
             !is_short_range(arg))
        complain(ld, node,
                 arg->type == VD_PARAM_INTEGER
                     ? "from = \"CEL list\"; or enum = [...]; or min and max, at most 1000 numbers"
                     : "from = \"CEL list\"; or enum = [...];",
                 "is chosen by the model and ends up in a key or URL: it must be one of a list");
    if (vd_conf_get(node, "on_fail") != NULL)
        complain(ld, vd_conf_get(node, "on_fail"), "nothing",
                 "says nothing about an argument: the model is told what is wrong");
}

static void load_args(struct vd_loader *ld, const struct vd_conf_node *node, struct vd_tool *tool)
{
    if (node == NULL)
        return;
    vd_ld_params(ld, node, "", 0, &tool->args, &tool->arg_count);
    for (size_t i = 0; i < tool->arg_count && ld->rc == VD_OK; i++)
        check_arg(ld, vd_conf_get(node, tool->args[i].name), &tool->args[i]);
}

/* What a hole may name: the facts, and args, which takes the place that params has in rules. */
static struct vd_cel_env *make_env(struct vd_loader *ld, const struct vd_tool *tool)
{
    cJSON *types = vd_params_types(tool->args, tool->arg_count);
    struct vd_cel_env *env = types == NULL ? NULL : vd_ld_env(ld, false, NULL);
    unsigned slot = 0;

    if (env != NULL && (vd_cel_env_declare(env, "args", types, &slot, NULL) != VD_OK ||
                        slot != ld->policy->slot_args))
        env = vd_cel_env_free(env);
    if (env == NULL)
        vd_ld_nomem(ld);
    vd_ld_own(ld, release_json, types);
    return env;
}

/* -- Redis ------------------------------------------------------------------------------------------------------- */

static void load_redis(struct vd_loader *ld, const struct vd_cel_env *env,
                       const struct vd_conf_node *node, struct vd_tool *tool)
{
    enum vd_redis_shape shape;
    struct vd_span *words;
    struct vd_err err;
    enum vd_code rc =
        vd_template_argv_compile(env, vd_arena_printf(ld->arena, "tools.%s.redis", tool->name),
                                 node->u.s, &tool->redis, &err);

    if (rc == VD_E_NOMEM) {
        vd_ld_nomem(ld);
        return;
    }
    if (rc != VD_OK) {
        vd_diag_error(ld->diags, node->file, node->line, NULL, "%s: %s in \"%.100s\"", node->path,
                      err.msg, node->u.s.ptr);
        return;
    }
    for (size_t i = 0; i < tool->redis.count; i++)
        vd_ld_own(ld, release_template, tool->redis.items[i]);
    vd_ld_own(ld, vd_free, tool->redis.items);
    words = vd_ld_array(ld, tool->redis.count, sizeof(*words));
    if (words == NULL)
        return;
    for (size_t i = 0; i < tool->redis.count; i++)
        words[i] = vd_template_source(tool->redis.items[i]);
    if (vd_redis_read_allowed(words, tool->redis.count, &shape, &err) != VD_OK)
        vd_diag_error(ld->diags, node->file, node->line, err.msg,
                      "%s: \"%.60s\" is no read that a policy may use", node->path, node->u.s.ptr);
}

/* -- HTTP -------------------------------------------------------------------------------------------------------- */

static bool is_url_text(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~' || strchr("#\\\"<>^`{|}", *c) != NULL)
            return false;
    return true;
}

/* The operator's list decides, not the policy. */
static void check_host(struct vd_loader *ld, const struct vd_conf_node *node,
                       const struct vd_tool *tool)
{
    const struct vd_policy_options *o = ld->options;

    for (size_t i = 0; i < o->tool_host_count; i++)
        if (vd_tool_host_fits(&o->tool_hosts[i], tool))
            return;
    if (o->tool_hosts != NULL)
        vd_diag_error(
            ld->diags, node->file, node->line,
            tool->plain_http
                ? "tools = { hosts = ( { host = \"...\"; http = true; } ); }; in the settings"
                : "tools = { hosts = ( { host = \"...\"; } ); }; in the settings",
            "%s: the settings do not allow %s port %u%s", node->path, tool->host.name,
            tool->host.port, tool->plain_http ? " without TLS" : "");
}

static void load_http(struct vd_loader *ld, const struct vd_cel_env *env,
                      const struct vd_conf_node *node, struct vd_tool *tool)
{
    struct vd_span rest = node->u.s, authority;
    struct vd_template *url = NULL;
    struct vd_err err;
    enum vd_code rc;

    tool->plain_http = vd_span_starts(rest, VD_LIT("http://"));
    if (!tool->plain_http && !vd_span_starts(rest, VD_LIT("https://"))) {
        complain(ld, node, "http = \"https://host/path/{args.id}\";", "is no https:// URL");
        return;
    }
    rest = vd_span_sub(rest, tool->plain_http ? 7 : 8, rest.len);
    authority = vd_span_sub(rest, 0, vd_span_find(rest, '/'));
    if (authority.len == rest.len) {
        complain(ld, node, "http = \"https://host/path/{args.id}\";", "has no path");
        return;
    }
    rc = vd_tool_host_parse(authority, tool->plain_http ? 80 : 443, &tool->host, &err);
    if (rc != VD_OK) { /* a hole, a user name: neither is of a host */
        vd_diag_error(ld->diags, node->file, node->line, NULL, "%s: %s", node->path, err.msg);
        return;
    }
    rc = vd_template_compile(env, vd_arena_printf(ld->arena, "tools.%s.http", tool->name),
                             node->u.s, &url, &err);
    if (rc == VD_E_NOMEM) {
        vd_ld_nomem(ld);
        return;
    }
    if (rc != VD_OK) {
        vd_diag_error(ld->diags, node->file, node->line, NULL, "%s: %s in \"%.100s\"", node->path,
                      err.msg, node->u.s.ptr);
        return;
    }
    vd_ld_own(ld, release_template, url);
    tool->url = url;
    if (!is_url_text(vd_template_literals(url)))
        complain(ld, node, "plain URL characters, others as %20",
                 "has characters that a URL does not have");
    check_host(ld, node, tool);
}

bool vd_ld_tool_path(struct vd_loader *ld, const struct vd_path *path,
                     const struct vd_conf_node *node)
{
    if (!vd_span_eq_c(path->segments[0].name, "tools"))
        return false;
    if (path->count < 2 || vd_policy_tool(ld->policy, path->segments[1].name) == NULL)
        vd_diag_error(ld->diags, node->file, node->line, "/tools/NAME/... of a declared tool",
                      "%s: \"%.100s\" is of no tool", node->path, path->text);
    return true;
}

/* -- a tool ------------------------------------------------------------------------------------------------------ */

static bool uses_args(const struct vd_loader *ld, const struct vd_tool *tool)
{
    bool uses = tool->url != NULL && vd_template_uses(tool->url, ld->policy->slot_args);

    for (size_t i = 0; i < tool->redis.count; i++)
        uses = uses || vd_template_uses(tool->redis.items[i], ld->policy->slot_args);
    return uses;
}

static void load_tool(struct vd_loader *ld, const struct vd_conf_node *node, struct vd_tool *tool)
{
    const struct vd_conf_node *redis = vd_conf_get(node, "redis"),
                              *http = vd_conf_get(node, "http");
    struct written w = {0};
    struct vd_cel_env *env;

    vd_ld_read(ld, node, rows, &w);
    tool->name = vd_ld_string(ld, vd_span_of(node->name));
    tool->why = vd_ld_string(ld, vd_span_of(w.why));
    tool->kind = w.http != NULL ? VD_TOOL_HTTP : VD_TOOL_REDIS;
    tool->max_calls = w.max_calls;
    tool->timeout_ms = (uint32_t)w.timeout_ms;
    tool->max_bytes = (size_t)w.max_bytes;
    tool->trusted = w.trusted;
    load_args(ld, w.args, tool);
    if (ld->rc != VD_OK || node->kind != VD_CONF_GROUP)
        return;
    if ((w.redis == NULL) == (w.http == NULL)) {
        complain(ld, node, "redis = \"HGETALL order:{args.id}\"; or http = \"https://...\";",
                 "reads from one place: redis or http");
        return;
    }
    env = make_env(ld, tool);
    if (env != NULL && redis != NULL)
        load_redis(ld, env, redis, tool);
    else if (env != NULL)
        load_http(ld, env, http, tool);
    if (ld->rc == VD_OK && tool->arg_count > 0 && (tool->url != NULL || tool->redis.count > 0) &&
        !uses_args(ld, tool))
        complain(ld, w.args, "{args.NAME} in redis or http, or no args", "are used nowhere");
    vd_cel_env_free(env);
}

/* A tool needs a call, the call a second question. */
static void check_budget(struct vd_loader *ld, const struct vd_conf_node *node,
                         const struct vd_conf_node *budget)
{
    const struct vd_budget *b = &ld->policy->budget;
    const struct vd_conf_node *max = vd_conf_get(budget, "max_tool_calls");

    if (ld->policy->tool_count == 0 && b->max_tool_calls > 0)
        complain(ld, max, "tools, or max_tool_calls = 0", "has no tools to bound");
    if (ld->policy->tool_count == 0)
        return;
    if (b->max_tool_calls == 0)
        complain(ld, node, "budget = { max_tool_calls = 3; };",
                 "can never be called: budget.max_tool_calls is 0");
    else if (b->max_model_calls < 2)
        complain(ld, node, "budget = { max_model_calls = 3; };",
                 "can never be used: what one answers needs a second model call");
}

void vd_ld_tools(struct vd_loader *ld, const struct vd_conf_node *node,
                 const struct vd_conf_node *budget)
{
    size_t count = vd_ld_count(ld, node), n = 0;
    struct vd_tool *tools = vd_ld_array(ld, count, sizeof(*tools));

    for (const struct vd_conf_node *t = count > 0 ? node->first : NULL;
         t != NULL && tools != NULL && ld->rc == VD_OK; t = t->next) {
        if (!vd_ld_name(ld, t, false))
            continue;
        if (strcmp(t->name, VD_TOOL_PROPOSAL) == 0)
            complain(ld, t, "another name", "is what the decision itself is called");
        load_tool(ld, t, &tools[n++]);
    }
    ld->policy->tools = tools;
    ld->policy->tool_count = tools == NULL ? 0 : n;
    if (ld->rc == VD_OK)
        check_budget(ld, node, budget);
}
