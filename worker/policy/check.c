/* policy/check.c - see load.h: mistakes that only the whole policy shows. */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "policy/facts.h"
#include "policy/judge.h"
#include "policy/load.h"
#include "policy/params.h"

/* Reads nothing of the event, the context or the model: the same for every event. */
static bool is_constant(const struct vd_policy *p, const struct vd_cel_program *program,
                        bool with_params)
{
    for (unsigned slot = 0; slot < p->rule_slot_count; slot++)
        if (vd_cel_uses(program, slot) &&
            !(with_params && (slot == p->slot_params || slot == p->slot_action)))
            return false;
    return true;
}

/* The binding that a path starts with must exist, and the path must not contradict its schema. */
static void check_path(struct vd_loader *ld, const struct vd_path *path,
                       const struct vd_conf_node *node)
{
    const struct vd_policy *p = ld->policy;
    const char *names[VD_POLICY_MAX_NAMES * 2 + 6] = {NULL};
    const cJSON *schema;
    unsigned slot = p->slot_count;

    for (unsigned i = 0; i < p->slot_count; i++) {
        names[i] = p->slot_names[i];
        if (vd_span_eq_c(path->segments[0].name, p->slot_names[i]))
            slot = i;
    }
    if (slot == p->slot_count || slot == VD_SLOT_NOW) {
        char first[80];

        (void)snprintf(first, sizeof(first), "%.*s",
                       (int)(path->segments[0].name.len > 70 ? 70 : path->segments[0].name.len),
                       path->segments[0].name.ptr);
        vd_diag_error(ld->diags, node->file, node->line, vd_closest(first, names),
                      "%s: \"%.100s\" starts with no name of this policy", node->path, path->text);
        return;
    }
    /* What is shown of a note has its text, which the schema of what rules see does not. */
    schema = p->notes != NULL && slot == p->notes->slot ? NULL : vd_ld_slot_schema(p, slot);
    for (size_t i = 1; i < path->count && schema != NULL; i++) {
        const cJSON *properties = vd_json_get(schema, "properties");
        const cJSON *next = path->segments[i].every
                                ? vd_json_get(schema, "items")
                                : vd_json_get_span(properties, path->segments[i].name);
        bool open = true;
        const cJSON *other = vd_json_get(schema, "additionalProperties");

        if (other != NULL && vd_json_kind(other) == VD_JSON_BOOL)
            (void)vd_json_bool(other, &open);
        if (next == NULL && !open && !path->segments[i].every &&
            vd_json_get(schema, "patternProperties") == NULL)
            vd_diag_error(ld->diags, node->file, node->line, "a path that the schema has",
                          "%s: \"%.100s\" is not in the schema", node->path, path->text);
        schema = next;
    }
}

static void check_paths(struct vd_loader *ld, const struct vd_conf_node *root)
{
    const struct vd_policy *p = ld->policy;
    const struct vd_conf_node *trusted = vd_conf_find(root, "input.trusted");
    const struct vd_conf_node *item = vd_conf_find(root, "redact");

    for (size_t i = 0; i < p->show_count; i++)
        check_path(ld, &p->show[i], vd_ld_item(vd_conf_find(root, "reasoning.show"), i));
    for (size_t i = 0; i < p->trusted_count; i++) {
        if (!vd_span_eq_c(p->trusted[i].segments[0].name, "event"))
            vd_diag_error(ld->diags, trusted->file, trusted->line,
                          "/event/...; for Redis: trusted = true in the context",
                          "input.trusted: \"%.100s\" is not of the event", p->trusted[i].text);
        else
            check_path(ld, &p->trusted[i], vd_ld_item(trusted, i));
    }
    item = item == NULL ? NULL : item->first;
    for (size_t i = 0; i < p->redact_count && item != NULL; i++, item = item->next)
        if (!vd_ld_tool_path(ld, &p->redacts[i].path, item))
            check_path(ld, &p->redacts[i].path, item);
}

static void check_models(struct vd_loader *ld, const struct vd_conf_node *root)
{
    const struct vd_policy_options *o = ld->options;
    const struct vd_policy *p = ld->policy;
    const struct vd_conf_node *models = vd_conf_find(root, "reasoning.models");
    const struct vd_conf_node *cost = vd_conf_find(root, "budget.max_cost_microusd");

    for (size_t i = 0; o->models != NULL && i < p->model_count; i++) {
        const struct vd_policy_model *found = NULL;

        for (size_t m = 0; m < o->model_count; m++)
            if (strcmp(o->models[m].name, p->models[i]) == 0)
                found = &o->models[m];
        if (found == NULL)
            vd_diag_error(ld->diags, models->file, models->line,
                          "a name of `models` in the settings",
                          "reasoning.models: the settings have no model \"%.60s\"", p->models[i]);
        else if (!found->priced && p->budget.max_cost_microusd > 0)
            vd_diag_error(ld->diags, cost->file, cost->line,
                          "prices for the model in the settings, or no budget of money",
                          "%s: model \"%.60s\" has no prices", cost->path, p->models[i]);
    }
    for (size_t m = 0; o->models != NULL && p->model_count == 0 &&
                       p->budget.max_cost_microusd > 0 && m < o->model_count;
         m++)
        if (!o->models[m].priced)
            vd_diag_error(ld->diags, cost->file, cost->line,
                          "prices for the model in the settings, or no budget of money",
                          "%s: model \"%.60s\" has no prices", cost->path, o->models[m].name);
}

/* A request with tools goes past a model that has none; somebody must be left. */
static void check_tool_models(struct vd_loader *ld, const struct vd_conf_node *root)
{
    const struct vd_policy_options *o = ld->options;
    const struct vd_policy *p = ld->policy;
    const struct vd_conf_node *tools = vd_conf_get(root, "tools");
    size_t able = 0, candidates = 0;

    for (size_t m = 0; m < o->model_count; m++) {
        bool named = p->model_count == 0;

        for (size_t i = 0; i < p->model_count; i++)
            named = named || strcmp(p->models[i], o->models[m].name) == 0;
        candidates += named ? 1 : 0;
        able += named && !o->models[m].no_tools ? 1 : 0;
    }
    if (p->tool_count > 0 && candidates > 0 && able == 0)
        vd_diag_error(ld->diags, tools->file, tools->line,
                      "a model with tools = true in the settings, or no tools",
                      "tools: no model of this policy can call them");
}

/* Facts that know nothing: enough for what is the same for every event. */
static struct vd_facts *blank_facts(struct vd_loader *ld, struct vd_arena *arena)
{
    struct vd_facts *facts = NULL;

    if (vd_facts_new(ld->policy, NULL, 0, arena, &facts, NULL) != VD_OK)
        vd_ld_nomem(ld);
    return facts;
}

static bool always_false(struct vd_loader *ld, struct vd_facts *facts,
                         const struct vd_cel_program *program, bool with_params)
{
    bool value = true;
    enum vd_code rc;

    if (program == NULL || !is_constant(ld->policy, program, with_params))
        return false;
    rc = vd_facts_test(facts, program, &value, NULL);
    if (rc == VD_E_NOMEM) {
        vd_ld_nomem(ld);
        return false;
    }
    return rc != VD_OK || !value;
}

static void check_actions(struct vd_loader *ld, struct vd_facts *facts,
                          const struct vd_conf_node *root)
{
    const struct vd_policy *p = ld->policy;

    for (size_t i = 0; i < p->action_count; i++) {
        const struct vd_conf_node *node =
            vd_conf_get(vd_conf_get(root, "actions"), p->actions[i].name);

        if (always_false(ld, facts, p->actions[i].enable, false))
            vd_diag_error(ld->diags, node->file, vd_conf_get(node, "enable")->line,
                          "an expression that can be true, or no such action",
                          "%s can never be chosen: enable is always false", node->path);
        for (size_t r = 0; r < p->actions[i].rule_count; r++)
            if (always_false(ld, facts, p->actions[i].rules[r].program, false))
                vd_diag_error(ld->diags, node->file, node->line,
                              "a rule that can be true, or no such action",
                              "%s can never be chosen: rule %s is always false", node->path,
                              p->actions[i].rules[r].name);
    }
    if (always_false(ld, facts, p->when, false))
        vd_diag_error(ld->diags, p->file, vd_conf_find(root, "input.when")->line,
                      "an expression that can be true",
                      "input.when is always false: the policy never decides");
}

static bool bounds_constant(const struct vd_policy *p, const struct vd_param *param)
{
    const struct vd_bound *bounds[] = {&param->min, &param->max, &param->min_items,
                                       &param->max_items};

    for (size_t i = 0; i < 4; i++)
        if (bounds[i]->program != NULL && !is_constant(p, bounds[i]->program, false))
            return false;
    for (size_t i = 0; i < param->field_count; i++)
        if (!bounds_constant(p, &param->fields[i]))
            return false;
    return (param->from == NULL || is_constant(p, param->from, false)) &&
           (param->items == NULL || bounds_constant(p, param->items));
}

/* A choice whose params are literals must pass what does not depend on the event. */
static void check_choice(struct vd_loader *ld, struct vd_facts *facts,
                         const struct vd_choice *choice, const struct vd_conf_node *node)
{
    const struct vd_policy *p = ld->policy;
    cJSON *params = cJSON_CreateObject();
    bool literal = true;

    for (size_t i = 0; i < choice->param_count && params != NULL; i++) {
        const struct vd_given *given = &choice->params[i];
        const struct vd_param *param = NULL;
        struct vd_rule_result result = {0};
        cJSON *value = NULL;

        for (size_t k = 0; k < choice->action->param_count; k++)
            if (strcmp(choice->action->params[k].name, given->name) == 0)
                param = &choice->action->params[k];
        if (given->literal == NULL || param == NULL || !bounds_constant(p, param)) {
            literal = literal && given->literal != NULL;
            if (given->literal != NULL &&
                !vd_json_put(params, given->name, vd_json_copy(given->literal)))
                vd_ld_nomem(ld);
            continue;
        }
        if (vd_param_check(facts, param, given->literal, &result, &value, NULL) != VD_OK)
            vd_ld_nomem(ld);
        else if (value == NULL)
            vd_diag_error(ld->diags, node->file, node->line, result.allowed,
                          "%s can never pass: param %s is not allowed", node->path, given->name);
        else if (!vd_json_put(params, given->name, vd_json_copy(value)))
            vd_ld_nomem(ld);
        vd_json_free(value);
    }
    vd_facts_bind(facts, p->slot_params,
                  literal ? vd_cel_from_json(params) : (struct vd_cel_value){.kind = VD_CEL_ERROR});
    vd_facts_bind(
        facts, p->slot_action,
        (struct vd_cel_value){.kind = VD_CEL_STRING, .u.s = vd_span_of(choice->action->name)});
    for (size_t r = 0; r < choice->action->rule_count && literal; r++)
        if (always_false(ld, facts, choice->action->rules[r].program, true))
            vd_diag_error(ld->diags, node->file, node->line, "params that the action's rules allow",
                          "%s can never pass: rule %s of %s refuses it", node->path,
                          choice->action->rules[r].name, choice->action->name);
    vd_facts_bind(facts, p->slot_params, (struct vd_cel_value){.kind = VD_CEL_ERROR});
    vd_facts_bind(facts, p->slot_action, (struct vd_cel_value){.kind = VD_CEL_ERROR});
    vd_json_free(params);
}

void vd_ld_check(struct vd_loader *ld, const struct vd_conf_node *root)
{
    const struct vd_policy *p = ld->policy;
    struct vd_arena scratch;
    struct vd_facts *facts;

    check_paths(ld, root);
    check_models(ld, root);
    check_tool_models(ld, root);
    vd_arena_init(&scratch, VD_JOB_ARENA_MAX_BYTES);
    facts = blank_facts(ld, &scratch);
    if (facts != NULL) {
        check_actions(ld, facts, root);
        check_choice(ld, facts, &p->fallback, vd_conf_get(root, "fallback"));
        for (size_t i = 0; i < p->shortcut_count; i++)
            check_choice(ld, facts, &p->shortcuts[i].choice,
                         vd_conf_get(vd_conf_get(root, "shortcut"), p->shortcuts[i].name));
    }
    vd_facts_free(facts);
    vd_arena_fini(&scratch);
}
