/* schema/ops_apply.c - schemas applied to the value itself, to its members and to its items; see ops.h. */
#include <inttypes.h>
#include <string.h>

#include "schema/eval.h"
#include "schema/ops.h"

/* -- references -------------------------------------------------------------------------------------------------- */

bool vd_op_ref(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
               struct vd_seen *seen)
{
    return vd_eval(run, op->arg.one, at, seen);
}

/* Core 2020-12 section 8.2.3.2: the outermost resource of the dynamic scope that has the anchor. */
bool vd_op_dynamic_ref(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                       struct vd_seen *seen)
{
    const struct vd_node *target = op->arg.dynamic.fallback;

    for (const struct vd_scope *s = run->scope; s != NULL && op->arg.dynamic.anchor != NULL;
         s = s->outer) {
        if (!vd_run_spend(run, 1))
            return false;
        for (const struct vd_anchor *a = s->resource->anchors; a != NULL; a = a->next)
            if (a->dynamic && strcmp(a->name, op->arg.dynamic.anchor) == 0)
                target = a->node;
    }
    return vd_eval(run, target, at, seen);
}

/* -- logic ------------------------------------------------------------------------------------------------------- */

bool vd_op_all_of(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                  struct vd_seen *seen)
{
    bool ok = true;

    for (size_t i = 0; i < op->arg.many.count; i++) {
        if (vd_eval(run, op->arg.many.items[i], at, seen))
            continue;
        ok = false;
        if (vd_run_is_fast(run) || run->rc != VD_OK)
            return false;
    }
    return ok;
}

/* Say why each alternative failed. */
static bool explain_all(struct vd_run *run, const struct vd_op *op, const struct vd_place *at)
{
    if (vd_run_is_fast(run) || run->rc != VD_OK)
        return false;
    (void)vd_run_fail(run, op, at, "matches none of the %zu alternatives", op->arg.many.count);
    for (size_t i = 0; i < op->arg.many.count; i++)
        (void)vd_eval(run, op->arg.many.items[i], at, NULL);
    return false;
}

bool vd_op_any_of(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                  struct vd_seen *seen)
{
    bool ok = false;

    for (size_t i = 0; i < op->arg.many.count; i++) {
        if (vd_eval_quietly(run, op->arg.many.items[i], at, seen))
            ok = true;
        if (run->rc != VD_OK)
            return false;
        if (ok && seen == NULL)
            return true;
    }
    return ok || explain_all(run, op, at);
}

bool vd_op_one_of(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                  struct vd_seen *seen)
{
    size_t matched = 0;
    size_t first = 0;

    for (size_t i = 0; i < op->arg.many.count; i++) {
        if (!vd_eval_quietly(run, op->arg.many.items[i], at, seen)) {
            if (run->rc != VD_OK)
                return false;
            continue;
        }
        if (matched++ == 0)
            first = i;
        else
            return vd_run_fail(run, op, at,
                               "must match exactly one alternative, matches %zu and %zu", first, i);
    }
    return matched == 1 || explain_all(run, op, at);
}

bool vd_op_not(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
               struct vd_seen *seen)
{
    (void)seen;
    if (!vd_eval_quietly(run, op->arg.one, at, NULL))
        return run->rc == VD_OK;
    return vd_run_fail(run, op, at, "must not match the schema, but does");
}

bool vd_op_condition(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                     struct vd_seen *seen)
{
    const struct vd_condition *c = op->arg.condition;
    const struct vd_node *next = vd_eval_quietly(run, c->test, at, seen) ? c->then : c->otherwise;

    if (run->rc != VD_OK)
        return false;
    return next == NULL || vd_eval(run, next, at, seen);
}

/* -- members ----------------------------------------------------------------------------------------------------- */

static const struct vd_member_rule *find_rule(const struct vd_members *m, const char *key)
{
    size_t len;
    uint64_t hash = vd_member_hash(key, &len);

    for (size_t i = hash & m->rule_mask; m->rules[i].key != NULL; i = (i + 1) & m->rule_mask)
        if (m->rules[i].hash == hash && strcmp(m->rules[i].key, key) == 0)
            return &m->rules[i];
    return NULL;
}

static bool report_missing(struct vd_run *run, const struct vd_op *op, const struct vd_place *at)
{
    const cJSON *name;

    if (vd_run_is_fast(run))
        return false;
    cJSON_ArrayForEach(name, vd_json_get(op->node->source, "required"))
    {
        if (vd_json_get_span(at->node, vd_json_string(name)) == NULL)
            (void)vd_run_fail_as(run, op->node, "required", at, "must have the member %s",
                                 vd_show(name).text);
    }
    return false;
}

static bool eval_additional(struct vd_run *run, const struct vd_op *op, const struct vd_place *at)
{
    const struct vd_node *node = op->arg.members->additional;

    if (node->boolean && !node->verdict)
        return vd_run_fail_as(run, op->node, "additionalProperties", at,
                              "is not a member that the schema knows");
    return vd_eval(run, node, at, NULL);
}

static bool eval_member(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                        const struct vd_member_rule *rule, bool *ret_evaluated)
{
    const struct vd_members *m = op->arg.members;
    bool ok = true;
    bool matched = rule != NULL && rule->node != NULL;

    if (matched && !vd_eval(run, rule->node, at, NULL))
        ok = false;
    for (size_t i = 0; i < m->pattern_count && run->rc == VD_OK; i++) {
        if (!vd_run_search(run, m->patterns[i].regex, vd_span_of(at->key)))
            continue;
        matched = true;
        if (!vd_eval(run, m->patterns[i].node, at, NULL))
            ok = false;
    }
    *ret_evaluated = matched || m->additional != NULL;
    if (!matched && m->additional != NULL && run->rc == VD_OK && !eval_additional(run, op, at))
        ok = false;
    return ok && run->rc == VD_OK;
}

bool vd_op_members(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                   struct vd_seen *seen)
{
    const struct vd_members *m = op->arg.members;
    struct vd_place member = {.parent = at};
    size_t required = 0;
    bool ok = true;

    for (member.node = at->node->child; member.node != NULL; member.node = member.node->next) {
        const struct vd_member_rule *rule;
        bool evaluated;

        member.key = member.node->string;
        rule = find_rule(m, member.key);
        required += rule != NULL && rule->required;
        if (!eval_member(run, op, &member, rule, &evaluated)) {
            ok = false;
            if (vd_run_is_fast(run) || run->rc != VD_OK)
                return false;
        }
        if (evaluated)
            vd_seen_mark(seen, member.index);
        member.index++;
        if (!vd_run_spend(run, 1))
            return false;
    }
    if (required < m->required_count)
        return report_missing(run, op, at);
    return ok;
}

bool vd_op_property_names(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                          struct vd_seen *seen)
{
    const cJSON *child;
    bool ok = true;

    (void)seen;
    cJSON_ArrayForEach(child, at->node)
    {
        cJSON name = {.type = cJSON_String, .valuestring = child->string};
        struct vd_place place = {
            .parent = at->parent, .node = &name, .key = at->key, .index = at->index};

        if (vd_eval_quietly(run, op->arg.one, &place, NULL))
            continue;
        if (vd_run_is_fast(run) || run->rc != VD_OK)
            return false;
        ok = vd_run_fail(run, op, at, "has a member whose name is not allowed: %s",
                         vd_show_name(child->string).text);
        (void)vd_eval(run, op->arg.one, &place, NULL);
    }
    return ok;
}

bool vd_op_unevaluated_properties(struct vd_run *run, const struct vd_op *op,
                                  const struct vd_place *at, struct vd_seen *seen)
{
    struct vd_place member = {.parent = at};
    bool ok = true;

    for (member.node = at->node->child; member.node != NULL; member.node = member.node->next) {
        member.key = member.node->string;
        if (!vd_seen_has(seen, member.index)) {
            if (op->arg.one->boolean && !op->arg.one->verdict)
                ok = vd_run_fail(run, op, &member, "is not a member that the schema knows");
            else if (!vd_eval(run, op->arg.one, &member, NULL))
                ok = false;
            if (!ok && (vd_run_is_fast(run) || run->rc != VD_OK))
                return false;
            vd_seen_mark(seen, member.index);
        }
        member.index++;
    }
    return ok;
}

/* -- items ------------------------------------------------------------------------------------------------------- */

static bool eval_item(struct vd_run *run, const struct vd_op *op, const struct vd_place *item)
{
    const struct vd_items *items = op->arg.items;

    if (item->index < items->prefix.count)
        return vd_eval(run, items->prefix.items[item->index], item, NULL);
    if (items->rest->boolean && !items->rest->verdict)
        return vd_run_fail_as(run, op->node, items->rest_keyword, item,
                              "is one item more than allowed");
    return vd_eval(run, items->rest, item, NULL);
}

bool vd_op_items(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                 struct vd_seen *seen)
{
    const struct vd_items *items = op->arg.items;
    struct vd_place item = {.parent = at};
    bool ok = true;

    for (item.node = at->node->child; item.node != NULL; item.node = item.node->next) {
        if (item.index >= items->prefix.count && items->rest == NULL)
            break;
        if (!eval_item(run, op, &item)) {
            ok = false;
            if (vd_run_is_fast(run) || run->rc != VD_OK)
                return false;
        }
        vd_seen_mark(seen, item.index);
        item.index++;
    }
    return ok;
}

bool vd_op_contains(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                    struct vd_seen *seen)
{
    const struct vd_contains *c = op->arg.contains;
    struct vd_seen *marks = c->marks ? seen : NULL;
    struct vd_place item = {.parent = at};
    uint64_t found = 0;

    for (item.node = at->node->child; item.node != NULL;
         item.node = item.node->next, item.index++) {
        if (vd_eval_quietly(run, c->node, &item, NULL)) {
            found++;
            vd_seen_mark(marks, item.index);
        }
        if (run->rc != VD_OK)
            return false;
        if (marks == NULL && found >= c->min && c->max == UINT64_MAX)
            return true;
    }
    if (found < c->min)
        return vd_run_fail_as(run, op->node, c->min == 1 ? "contains" : "minContains", at,
                              "must have at least %" PRIu64 " matching items, has %" PRIu64, c->min,
                              found);
    if (found > c->max)
        return vd_run_fail_as(run, op->node, "maxContains", at,
                              "must have at most %" PRIu64 " matching items, has %" PRIu64, c->max,
                              found);
    return true;
}

bool vd_op_unevaluated_items(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                             struct vd_seen *seen)
{
    struct vd_place item = {.parent = at};
    bool ok = true;

    for (item.node = at->node->child; item.node != NULL;
         item.node = item.node->next, item.index++) {
        if (vd_seen_has(seen, item.index))
            continue;
        if (op->arg.one->boolean && !op->arg.one->verdict)
            ok = vd_run_fail(run, op, &item, "is an item that the schema does not know");
        else if (!vd_eval(run, op->arg.one, &item, NULL))
            ok = false;
        if (!ok && (vd_run_is_fast(run) || run->rc != VD_OK))
            return false;
        vd_seen_mark(seen, item.index);
    }
    return ok;
}
