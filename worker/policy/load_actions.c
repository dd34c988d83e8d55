/* policy/load_actions.c - see load.h: actions with their rules, and the choices that shortcuts and the fallback make. */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "policy/load.h"
#include "policy/params.h"

#define ROW(s, f) offsetof(struct s, f)
#define END_OF_TABLE                                                                               \
    {                                                                                              \
        .name = NULL                                                                               \
    }

struct action {
    const char *enable, *output_type, *why;
    const struct vd_conf_node *params, *require;
    int64_t valid_for_s;
};

static const struct vd_conf_row action_rows[] = {
    {"enable", VD_CONF_T_STRING, ROW(action, enable), NULL, 0, 0, NULL, 0, "enable = \"CEL\"",
     NULL},
    {"params", VD_CONF_T_NODE, ROW(action, params), NULL, 0, 0, NULL, 0, "params", NULL},
    {"require", VD_CONF_T_NODE, ROW(action, require), NULL, 0, 0, NULL, 0, "rules", NULL},
    {"valid_for_s", VD_CONF_T_INT, ROW(action, valid_for_s), "0", 0, INT32_MAX, "s", 0,
     "until when it holds", NULL},
    {"output_type", VD_CONF_T_STRING, ROW(action, output_type), NULL, 1, 249, NULL, 0,
     "CloudEvents type", NULL},
    {"why", VD_CONF_T_STRING, ROW(action, why), NULL, 1, 1024, NULL, 0,
     "what it means, for the model", NULL},
    END_OF_TABLE,
};

struct rule {
    const char *expr, *why;
    int on_fail;
};

static const char *const on_fail_words[] = {"repair", "reject", "escalate", NULL};

static const struct vd_conf_row rule_rows[] = {
    {"expr", VD_CONF_T_STRING, ROW(rule, expr), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "expr = \"CEL\"", NULL},
    {"why", VD_CONF_T_STRING, ROW(rule, why), NULL, 1, 1024, NULL, VD_CONF_REQUIRED,
     "why = \"what the model is told\"", NULL},
    {"on_fail", VD_CONF_T_ENUM, ROW(rule, on_fail), "repair", 0, 0, NULL, 0, "when it fails",
     on_fail_words},
    END_OF_TABLE,
};

struct choice {
    const char *action, *when, *otherwise;
    const struct vd_conf_node *params;
};

#define CHOICE_ROWS                                                                                \
    {"action", VD_CONF_T_STRING, ROW(choice, action), NULL, 0, 0,                                  \
     NULL,     VD_CONF_REQUIRED, "action = \"NAME\"", NULL},                                       \
    {                                                                                              \
        "params", VD_CONF_T_NODE, ROW(choice, params), NULL, 0, 0, NULL, 0, "params", NULL         \
    }

static const struct vd_conf_row fallback_rows[] = {
    CHOICE_ROWS,
    {"otherwise", VD_CONF_T_STRING, ROW(choice, otherwise), "escalate", 0, 0, NULL, 0, "escalate",
     NULL},
    END_OF_TABLE,
};

static const struct vd_conf_row shortcut_rows[] = {
    CHOICE_ROWS,
    {"when", VD_CONF_T_STRING, ROW(choice, when), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "when = \"CEL\"", NULL},
    END_OF_TABLE,
};

static void *release_program(void *thing)
{
    return vd_cel_program_free(thing);
}

/* -- rules ------------------------------------------------------------------------------------------------------- */

/* Where the one comparison of an expression is, when it is `left OP right` at the top and nothing looser stands beside it. */
static enum vd_rule_op split_comparison(struct vd_span e, struct vd_span *left,
                                        struct vd_span *right)
{
    enum vd_rule_op op = VD_RULE_OPAQUE;
    size_t depth = 0;
    char quote = '\0';

    for (size_t i = 0; i < e.len; i++) {
        char c = e.ptr[i], next = i + 1 < e.len ? e.ptr[i + 1] : '\0';
        size_t width;

        if (quote != '\0') {
            if (c == '\\')
                i++;
            else if (c == quote)
                quote = '\0';
            continue;
        }
        if (c == '\'' || c == '"')
            quote = c;
        else if (c == '(' || c == '[' || c == '{')
            depth++;
        else if (c == ')' || c == ']' || c == '}')
            depth -= depth > 0 ? 1 : 0;
        if (depth > 0 || quote != '\0')
            continue;
        if (c == '?' || c == '&' || c == '|' || (c == '=' && next == '=') ||
            (c == '!' && next == '='))
            return VD_RULE_OPAQUE;
        if (c == 'i' && next == 'n' && i > 0 && e.ptr[i - 1] == ' ' && i + 2 < e.len &&
            e.ptr[i + 2] == ' ')
            return VD_RULE_OPAQUE;
        if (c != '<' && c != '>')
            continue;
        if (op != VD_RULE_OPAQUE)
            return VD_RULE_OPAQUE;
        width = next == '=' ? 2 : 1;
        op = c == '<' ? (width == 2 ? VD_RULE_LE : VD_RULE_LT)
                      : (width == 2 ? VD_RULE_GE : VD_RULE_GT);
        *left = vd_span_trim(vd_span_sub(e, 0, i));
        *right = vd_span_trim(vd_span_sub(e, i + width, e.len));
        i += width - 1;
    }
    return op;
}

/* The sides of a comparison, so that the distance between them can be recorded. The whole expression has compiled already, so a side that
 * does not is no mistake of the author: the rule stays opaque. */
static void split_rule(struct vd_loader *ld, const struct vd_cel_env *env, struct vd_span source,
                       struct vd_rule *rule)
{
    struct vd_span sides[2];
    struct vd_cel_program *programs[2] = {NULL, NULL};
    enum vd_rule_op op = split_comparison(source, &sides[0], &sides[1]);
    enum vd_code rc = VD_OK;

    for (int i = 0; i < 2 && op != VD_RULE_OPAQUE && rc == VD_OK; i++)
        rc = vd_cel_compile(env, sides[i], &programs[i], NULL);
    if (rc == VD_E_NOMEM)
        vd_ld_nomem(ld);
    if (rc != VD_OK || op == VD_RULE_OPAQUE) {
        vd_cel_program_free(programs[0]);
        return;
    }
    for (int i = 0; i < 2; i++)
        vd_ld_own(ld, release_program, programs[i]);
    rule->op = op;
    rule->left = programs[0];
    rule->right = programs[1];
}

static void load_rules(struct vd_loader *ld, const struct vd_conf_node *node,
                       const struct vd_cel_env *env, struct vd_action *action)
{
    size_t count = vd_ld_count(ld, node), n = 0;
    struct vd_rule *rules = vd_ld_array(ld, count, sizeof(*rules));

    for (const struct vd_conf_node *r = count > 0 ? node->first : NULL; r != NULL && rules != NULL;
         r = r->next) {
        const struct vd_conf_node *expr = vd_conf_get(r, "expr");
        struct rule read = {0};

        if (!vd_ld_name(ld, r, false))
            continue;
        vd_ld_read(ld, r, rule_rows, &read);
        rules[n].name = vd_ld_string(ld, vd_span_of(r->name));
        rules[n].why = vd_ld_string(ld, vd_span_of(read.why));
        rules[n].on_fail = (enum vd_on_fail)read.on_fail;
        rules[n].program = vd_ld_program(ld, env, expr, VD_CEL_BOOL);
        if (rules[n].program == NULL)
            continue;
        split_rule(ld, env, expr->u.s, &rules[n]);
        n++;
    }
    action->rules = rules;
    action->rule_count = rules == NULL ? 0 : n;
}

/* -- actions ----------------------------------------------------------------------------------------------------- */

static void load_action(struct vd_loader *ld, const struct vd_conf_node *node,
                        struct vd_action *out)
{
    struct action read = {0};
    struct vd_cel_env *env;
    cJSON *types;

    vd_ld_read(ld, node, action_rows, &read);
    out->name = vd_ld_string(ld, vd_span_of(node->name));
    out->why = read.why == NULL ? NULL : vd_ld_string(ld, vd_span_of(read.why));
    out->valid_for_s = read.valid_for_s;
    out->output_type =
        read.output_type != NULL
            ? vd_ld_string(ld, vd_span_of(read.output_type))
            : vd_arena_printf(ld->arena, "verdict.decision.%s.%s",
                              ld->policy->id != NULL ? ld->policy->id : "", node->name);
    out->enable = vd_ld_program(ld, ld->env, vd_conf_get(node, "enable"), VD_CEL_BOOL);
    vd_ld_params(ld, read.params, "", 0, &out->params, &out->param_count);
    if (ld->rc != VD_OK)
        return;
    types = vd_params_types(out->params, out->param_count);
    env = types == NULL ? NULL : vd_ld_env(ld, true, types);
    if (env != NULL)
        load_rules(ld, read.require, env, out);
    else
        vd_ld_nomem(ld);
    vd_cel_env_free(env);
    vd_json_free(types);
}

void vd_ld_actions(struct vd_loader *ld, const struct vd_conf_node *node)
{
    size_t count = vd_ld_count(ld, node), n = 0;
    struct vd_action *actions = vd_ld_array(ld, count, sizeof(*actions));

    for (const struct vd_conf_node *a = count > 0 ? node->first : NULL;
         a != NULL && actions != NULL && ld->rc == VD_OK; a = a->next)
        if (vd_ld_name(ld, a, false))
            load_action(ld, a, &actions[n++]);
    ld->policy->actions = actions;
    ld->policy->action_count = actions == NULL ? 0 : n;
    if (node != NULL && node->kind == VD_CONF_GROUP && count == 0)
        vd_diag_error(ld->diags, node->file, node->line, "at least one action", "actions is empty");
}

/* -- choices ----------------------------------------------------------------------------------------------------- */

static bool has_param(const struct vd_action *action, const char *name)
{
    for (size_t i = 0; i < action->param_count; i++)
        if (strcmp(action->params[i].name, name) == 0)
            return true;
    return false;
}

static void load_given(struct vd_loader *ld, const struct vd_conf_node *node,
                       struct vd_given *given)
{
    given->name = vd_ld_string(ld, vd_span_of(node->name));
    if (node->kind == VD_CONF_STRING && node->u.s.len > 0 && node->u.s.ptr[0] == '=')
        given->program = vd_ld_compile(ld, ld->env, vd_span_sub(node->u.s, 1, node->u.s.len), node,
                                       VD_CEL_ERROR);
    else
        given->literal = vd_ld_json(ld, node);
}

static void load_choice(struct vd_loader *ld, const struct vd_conf_node *node,
                        const struct choice *read, struct vd_choice *out)
{
    const struct vd_conf_node *where = vd_conf_get(node, "action");
    size_t count = vd_ld_count(ld, read->params);
    struct vd_given *given = vd_ld_array(ld, count, sizeof(*given));
    const char *names[VD_POLICY_MAX_NAMES + 1] = {NULL};
    const struct vd_action *action;

    if (where == NULL || read->action == NULL || given == NULL)
        return;
    action = vd_policy_action(ld->policy, vd_span_of(read->action));
    for (size_t i = 0; i < ld->policy->action_count; i++)
        names[i] = ld->policy->actions[i].name;
    if (action == NULL) {
        vd_diag_error(ld->diags, where->file, where->line, vd_closest(read->action, names),
                      "%s: there is no action \"%.60s\"", where->path, read->action);
        return;
    }
    for (const struct vd_conf_node *g = count > 0 ? read->params->first : NULL; g != NULL;
         g = g->next) {
        if (!has_param(action, g->name))
            vd_diag_error(ld->diags, g->file, g->line, NULL, "%s: action %s has no such param",
                          g->path, action->name);
        load_given(ld, g, &given[out->param_count++]);
    }
    for (size_t i = 0; i < action->param_count; i++)
        if (vd_conf_get(read->params, action->params[i].name) == NULL)
            vd_diag_error(ld->diags, node->file, node->line, "all params of the action",
                          "%s: param %s of %s is missing", node->path, action->params[i].name,
                          action->name);
    out->action = action;
    out->params = given;
}

void vd_ld_fallback(struct vd_loader *ld, const struct vd_conf_node *node)
{
    struct choice read = {0};

    if (node == NULL)
        return;
    vd_ld_read(ld, node, fallback_rows, &read);
    load_choice(ld, node, &read, &ld->policy->fallback);
    if (read.otherwise != NULL && strcmp(read.otherwise, "escalate") != 0)
        vd_diag_error(ld->diags, node->file, vd_conf_get(node, "otherwise")->line,
                      "otherwise = \"escalate\"", "fallback.otherwise is \"%.60s\"",
                      read.otherwise);
}

void vd_ld_shortcuts(struct vd_loader *ld, const struct vd_conf_node *node)
{
    size_t count = vd_ld_count(ld, node), n = 0;
    struct vd_shortcut *shortcuts = vd_ld_array(ld, count, sizeof(*shortcuts));

    for (const struct vd_conf_node *s = count > 0 ? node->first : NULL;
         s != NULL && shortcuts != NULL; s = s->next) {
        struct choice read = {0};

        if (!vd_ld_name(ld, s, false))
            continue;
        vd_ld_read(ld, s, shortcut_rows, &read);
        shortcuts[n].name = vd_ld_string(ld, vd_span_of(s->name));
        shortcuts[n].when = vd_ld_program(ld, ld->env, vd_conf_get(s, "when"), VD_CEL_BOOL);
        load_choice(ld, s, &read, &shortcuts[n].choice);
        if (shortcuts[n].when != NULL && shortcuts[n].choice.action != NULL)
            n++;
    }
    ld->policy->shortcuts = shortcuts;
    ld->policy->shortcut_count = shortcuts == NULL ? 0 : n;
}
