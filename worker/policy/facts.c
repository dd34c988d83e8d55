/* policy/facts.c - see facts.h. */
#include "policy/facts.h"

#include <limits.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "policy/tools.h"

struct vd_facts {
    const struct vd_policy *policy;
    struct vd_arena *arena;
    struct vd_cel_value *values; /* policy->rule_slot_count, and `item` */
    const cJSON **trees;         /* policy->rule_slot_count; NULL where there is none (yet) */
    cJSON **made;                /* owned trees of lets, by let */
    struct vd_cel_eval_context eval;
    int64_t now_ms;
};

static struct vd_cel_value error_value(const char *text)
{
    return (struct vd_cel_value){.kind = VD_CEL_ERROR, .u.s = vd_span_of(text)};
}

static struct vd_cel_value time_value(int64_t ms)
{
    struct vd_cel_value v = {.kind = VD_CEL_TIMESTAMP};
    int64_t rest = ms % 1000;

    v.u.t.s = ms / 1000 - (rest < 0 ? 1 : 0);
    v.u.t.ns = (int32_t)((rest < 0 ? rest + 1000 : rest) * 1000000);
    return v;
}

/* A let that fails binds its error; only memory and the job's step budget stop the job. */
static enum vd_code bind_let(struct vd_facts *f, const struct vd_policy_let *let,
                             struct vd_err *err)
{
    struct vd_err cause = {0};
    enum vd_code rc = vd_facts_eval(f, let->program, &f->values[let->slot], &cause);
    char *text;

    if (rc == VD_OK)
        return VD_OK;
    if (rc != VD_E_INPUT) {
        if (err != NULL)
            *err = cause;
        return vd_err_wrap(err, rc, "let.%s", let->name);
    }
    text = vd_arena_printf(f->arena, "let.%s: %s", let->name, cause.msg);
    if (text == NULL)
        return vd_err_nomem(err, "facts");
    f->values[let->slot] = error_value(text);
    return VD_OK;
}

static enum vd_code bind_lets(struct vd_facts *f, bool early, struct vd_err *err)
{
    enum vd_code rc = VD_OK;

    for (size_t i = 0; i < f->policy->let_count && rc == VD_OK; i++)
        if (f->policy->lets[i].early == early)
            rc = bind_let(f, &f->policy->lets[i], err);
    return rc;
}

enum vd_code vd_facts_new(const struct vd_policy *policy, const cJSON *event, int64_t now_ms,
                          struct vd_arena *arena, struct vd_facts **ret_facts, struct vd_err *err)
{
    struct vd_facts *f = vd_arena_alloc(arena, sizeof(*f));
    enum vd_code rc;

    if (f == NULL)
        return vd_err_nomem(err, "facts");
    f->policy = policy;
    f->arena = arena;
    f->now_ms = now_ms;
    f->values = vd_arena_array(arena, policy->rule_slot_count + 1, sizeof(*f->values));
    f->trees = vd_arena_array(arena, policy->rule_slot_count, sizeof(*f->trees));
    f->made = vd_arena_array(arena, policy->let_count, sizeof(*f->made));
    if (f->values == NULL || f->trees == NULL || f->made == NULL)
        return vd_err_nomem(err, "facts");
    for (unsigned i = 0; i <= policy->rule_slot_count; i++)
        f->values[i] = error_value("not known at this point");
    f->values[VD_SLOT_EVENT] = vd_cel_from_json(event);
    f->trees[VD_SLOT_EVENT] = event;
    f->values[VD_SLOT_NOW] = time_value(now_ms);
    f->eval = (struct vd_cel_eval_context){
        .values = f->values,
        .count = policy->rule_slot_count + 1,
        .arena = arena,
        .max_steps = VD_CEL_MAX_STEPS, /* of all evaluations of the job together */
    };
    rc = bind_lets(f, true, err);
    if (rc == VD_OK)
        *ret_facts = f;
    return rc;
}

void *vd_facts_free(struct vd_facts *facts)
{
    if (facts != NULL)
        for (size_t i = 0; i < facts->policy->let_count; i++)
            facts->made[i] = vd_json_free(facts->made[i]);
    return NULL;
}

enum vd_code vd_facts_eval(struct vd_facts *facts, const struct vd_cel_program *program,
                           struct vd_cel_value *ret, struct vd_err *err)
{
    return vd_cel_eval(program, &facts->eval, ret, err);
}

enum vd_code vd_facts_test(struct vd_facts *facts, const struct vd_cel_program *program, bool *ret,
                           struct vd_err *err)
{
    struct vd_arena_mark mark = vd_arena_mark(facts->arena);
    struct vd_cel_value value;
    enum vd_code rc = vd_facts_eval(facts, program, &value, err);

    if (rc == VD_OK && value.kind != VD_CEL_BOOL)
        rc = vd_err_set(err, VD_E_INPUT, false, "is a %s, not true or false",
                        vd_cel_kind_name(value.kind));
    if (rc == VD_OK)
        *ret = value.u.b;
    vd_arena_rewind(facts->arena, mark);
    return rc;
}

enum vd_code vd_facts_render(struct vd_facts *facts, const struct vd_template *template,
                             struct vd_span *ret, struct vd_err *err)
{
    return vd_template_render(template, &facts->eval, ret, err);
}

enum vd_code vd_facts_render_argv(struct vd_facts *facts, const struct vd_template_argv *argv,
                                  struct vd_span *args, struct vd_err *err)
{
    return vd_template_argv_render(argv, &facts->eval, args, err);
}

enum vd_code vd_facts_when(struct vd_facts *facts, bool *ret_match, struct vd_err *err)
{
    enum vd_code rc = vd_facts_test(facts, facts->policy->when, ret_match, err);

    return rc == VD_OK ? VD_OK : vd_err_wrap(err, rc, "input.when");
}

enum vd_code vd_facts_key(struct vd_facts *facts, struct vd_span *ret_key, struct vd_err *err)
{
    return vd_template_render(facts->policy->key, &facts->eval, ret_key, err);
}

enum vd_code vd_facts_dedupe(struct vd_facts *facts, struct vd_span *ret_id, struct vd_err *err)
{
    *ret_id = VD_LIT("");
    if (facts->policy->dedupe_id == NULL)
        return VD_OK;
    return vd_template_render(facts->policy->dedupe_id, &facts->eval, ret_id, err);
}

enum vd_code vd_facts_validate(struct vd_facts *facts, struct vd_err *err)
{
    struct vd_arena_mark mark = vd_arena_mark(facts->arena);
    struct vd_schema_result result;
    enum vd_code rc;

    if (facts->policy->event_schema == NULL)
        return VD_OK;
    rc = vd_schema_validate(facts->policy->event_schema, facts->trees[VD_SLOT_EVENT], 1,
                            facts->arena, &result, err);
    if (rc == VD_OK && !result.valid)
        rc = result.error_count > 0
                 ? vd_err_set(err, VD_E_INPUT, false, "event%s %s", result.errors[0].instance_path,
                              result.errors[0].reason)
                 : vd_err_set(err, VD_E_INPUT, false, "event does not match input.schema");
    vd_arena_rewind(facts->arena, mark);
    return rc;
}

enum vd_code vd_facts_redis(struct vd_facts *facts, size_t i, const struct vd_span **ret_args,
                            struct vd_err *err)
{
    const struct vd_template_argv *argv = &facts->policy->contexts[i].redis;
    struct vd_span *args = vd_arena_array(facts->arena, argv->count, sizeof(*args));
    enum vd_code rc;

    if (args == NULL)
        return vd_err_nomem(err, "facts");
    rc = vd_template_argv_render(argv, &facts->eval, args, err);
    if (rc == VD_OK)
        *ret_args = args;
    return rc;
}

void vd_facts_set_context(struct vd_facts *facts, size_t i, const cJSON *tree)
{
    unsigned slot = facts->policy->contexts[i].slot;

    facts->values[slot] = vd_cel_from_json(tree);
    facts->trees[slot] = tree;
}

enum vd_code vd_facts_state_key(struct vd_facts *facts, struct vd_span *ret_key, struct vd_err *err)
{
    const struct vd_template *key = facts->policy->state->key;

    return vd_template_render(key != NULL ? key : facts->policy->key, &facts->eval, ret_key, err);
}

enum vd_code vd_facts_memory_key(struct vd_facts *facts, struct vd_span *ret_key,
                                 struct vd_err *err)
{
    const struct vd_template *key = facts->policy->notes->key;

    return vd_template_render(key != NULL ? key : facts->policy->key, &facts->eval, ret_key, err);
}

void vd_facts_set_state(struct vd_facts *facts, const cJSON *tree)
{
    unsigned slot = facts->policy->state->slot;

    facts->values[slot] = vd_cel_from_json(tree);
    facts->trees[slot] = tree;
}

void vd_facts_set_memory(struct vd_facts *facts, const cJSON *rules, const cJSON *shown)
{
    unsigned slot = facts->policy->notes->slot;

    facts->values[slot] = vd_cel_from_json(rules);
    facts->trees[slot] = shown;
}

enum vd_code vd_facts_complete(struct vd_facts *facts, struct vd_err *err)
{
    return bind_lets(facts, false, err);
}

const struct vd_policy *vd_facts_policy(const struct vd_facts *facts)
{
    return facts->policy;
}

struct vd_arena *vd_facts_arena(struct vd_facts *facts)
{
    return facts->arena;
}

void vd_facts_bind(struct vd_facts *facts, unsigned slot, struct vd_cel_value value)
{
    facts->values[slot] = value;
    if (value.kind == VD_CEL_ERROR && value.u.s.ptr == NULL)
        facts->values[slot] = error_value("not known at this point");
}

const cJSON *vd_facts_tree(struct vd_facts *facts, unsigned slot)
{
    const struct vd_policy *p = facts->policy;

    if (slot >= p->slot_count)
        return NULL;
    for (size_t i = 0; i < p->let_count && facts->trees[slot] == NULL; i++) {
        if (p->lets[i].slot != slot || facts->values[slot].kind == VD_CEL_ERROR)
            continue;
        if (vd_cel_to_json(&facts->values[slot], &facts->made[i], NULL) == VD_OK)
            facts->trees[slot] = facts->made[i];
    }
    return facts->trees[slot];
}

unsigned vd_facts_slot(const struct vd_facts *facts, struct vd_span name)
{
    for (unsigned i = 0; i < facts->policy->rule_slot_count; i++)
        if (vd_span_eq_c(name, facts->policy->slot_names[i]))
            return i;
    return UINT_MAX;
}

bool vd_facts_trusted(const struct vd_facts *facts, struct vd_span pointer)
{
    const struct vd_policy *p = facts->policy;
    struct vd_span rest = vd_span_sub(pointer, 1, pointer.len);
    unsigned slot = vd_facts_slot(facts, vd_span_sub(rest, 0, vd_span_find(rest, '/')));

    if (vd_span_starts(rest, VD_LIT("tools/"))) {
        struct vd_span below = vd_span_sub(rest, 6, rest.len);
        const struct vd_tool *tool =
            vd_policy_tool(p, vd_span_sub(below, 0, vd_span_find(below, '/')));

        return tool != NULL && tool->trusted;
    }
    for (size_t i = 0; i < p->trusted_count; i++)
        if (vd_path_covers(&p->trusted[i], pointer))
            return true;
    for (size_t i = 0; i < p->context_count; i++)
        if (p->contexts[i].slot == slot)
            return p->contexts[i].trusted;
    for (size_t i = 0; i < p->let_count; i++)
        if (p->lets[i].slot == slot)
            return p->lets[i].trusted;
    if (p->state != NULL && p->state->slot == slot)
        return p->state->trusted;
    return false;
}

void vd_facts_set_verified(struct vd_facts *facts, vd_cel_verified_fn *fn, void *arg)
{
    facts->eval.verified = fn;
    facts->eval.verified_arg = arg;
}

uint64_t vd_facts_steps(const struct vd_facts *facts)
{
    return facts->eval.steps;
}

int64_t vd_facts_now_ms(const struct vd_facts *facts)
{
    return facts->now_ms;
}
