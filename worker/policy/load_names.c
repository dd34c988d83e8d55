/* policy/load_names.c - see load.h: input, context and let, and the names that expressions see. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "policy/context.h"
#include "policy/load.h"

#define ROW(s, f) offsetof(struct s, f)
#define END_OF_TABLE                                                                               \
    {                                                                                              \
        .name = NULL                                                                               \
    }

struct input {
    struct vd_conf_strings topics, trusted;
    const char *when, *key, *schema;
    const struct vd_conf_node *dedupe;
    int64_t max_event_age_s, max_queue_per_key;
    int on_stale, on_overflow;
};

static const char *const stale_words[] = {"skip", "fallback", "review", NULL};
static const char *const overflow_words[] = {"fallback", "review", NULL};

static const struct vd_conf_row input_rows[] = {
    {"topics", VD_CONF_T_STRINGS, ROW(input, topics), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "topics = [\"orders\"]", NULL},
    {"when", VD_CONF_T_STRING, ROW(input, when), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "when = \"event.type == '...'\"", NULL},
    {"key", VD_CONF_T_STRING, ROW(input, key), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "key = \"{event.data.customer}\"", NULL},
    {"schema", VD_CONF_T_STRING, ROW(input, schema), NULL, 0, 0, NULL, 0, "JSON Schema of `event`",
     NULL},
    {"dedupe", VD_CONF_T_NODE, ROW(input, dedupe), NULL, 0, 0, NULL, 0, "dedupe", NULL},
    {"max_event_age_s", VD_CONF_T_INT, ROW(input, max_event_age_s), "0", 0, INT32_MAX, "s", 0,
     "older events are stale", NULL},
    {"on_stale", VD_CONF_T_ENUM, ROW(input, on_stale), "skip", 0, 0, NULL, 0,
     "what happens to them", stale_words},
    {"max_queue_per_key", VD_CONF_T_INT, ROW(input, max_queue_per_key), "64", 1, 100000, NULL, 0,
     "events of one key that wait", NULL},
    {"on_overflow", VD_CONF_T_ENUM, ROW(input, on_overflow), "fallback", 0, 0, NULL, 0,
     "what happens beyond", overflow_words},
    {"trusted", VD_CONF_T_STRINGS, ROW(input, trusted), NULL, 0, 0, NULL, 0,
     "pointers to facts of the event that are ours", NULL},
    END_OF_TABLE,
};

struct dedupe {
    const char *id;
    int64_t window_s;
};

static const struct vd_conf_row dedupe_rows[] = {
    {"id", VD_CONF_T_STRING, ROW(dedupe, id), NULL, 1, 0, NULL, 0,
     "what two deliveries of one event have in common; default: \"{event.id}\"", NULL},
    {"window_s", VD_CONF_T_INT, ROW(dedupe, window_s), "86400", 1, VD_DEDUPE_MAX_WINDOW_S, "s", 0,
     "how long an id is remembered", NULL},
    END_OF_TABLE,
};

struct context {
    const char *redis, *schema;
    int64_t max_bytes;
    bool required, trusted;
    const struct vd_conf_node *fallback;
};

static const struct vd_conf_row context_rows[] = {
    {"redis", VD_CONF_T_STRING, ROW(context, redis), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "redis = \"HGETALL sub:{event.data.id}\"", NULL},
    {"schema", VD_CONF_T_STRING, ROW(context, schema), NULL, 0, 0, NULL, 0, "its JSON Schema",
     NULL},
    {"max_bytes", VD_CONF_T_INT, ROW(context, max_bytes), "65536", 1, 1 << 20, "bytes", 0,
     "longest reply", NULL},
    {"required", VD_CONF_T_BOOL, ROW(context, required), "false", 0, 0, NULL, 0,
     "absent is a dead letter", NULL},
    {"default", VD_CONF_T_NODE, ROW(context, fallback), NULL, 0, 0, NULL, 0, "bound when absent",
     NULL},
    {"trusted", VD_CONF_T_BOOL, ROW(context, trusted), "false", 0, 0, NULL, 0, "its facts are ours",
     NULL},
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

/* -- names ------------------------------------------------------------------------------------------------------- */

#define DECISION_SCHEMA(more)                                                                      \
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"action\":{\"type\":"    \
    "\"string\"},\"params\":{\"type\":\"object\"},\"confidence\":{\"type\":\"number\"},"           \
    "\"evidence\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"                           \
    "\"decided_by\":{\"type\":[\"string\",\"null\"]}" more "}}"

const cJSON *vd_ld_slot_schema(const struct vd_policy *p, unsigned slot)
{
    if (slot == VD_SLOT_EVENT)
        return p->event_schema_tree;
    for (size_t i = 0; i < p->context_count; i++)
        if (p->contexts[i].slot == slot)
            return p->contexts[i].schema_tree;
    if (p->state != NULL && p->state->slot == slot)
        return p->state->schema;
    return p->notes != NULL && p->notes->slot == slot ? p->notes->schema : NULL;
}

bool vd_ld_early_slot(const struct vd_policy *p, unsigned slot)
{
    for (size_t i = 0; i < p->let_count; i++)
        if (p->lets[i].slot == slot)
            return p->lets[i].early;
    return slot == VD_SLOT_EVENT || slot == VD_SLOT_NOW;
}

/* Declares what every expression of the policy may name; slots come out as the policy has them. */
static struct vd_cel_env *make_env(struct vd_loader *ld, unsigned count, const cJSON *params_schema,
                                   const char *decision_schema)
{
    struct vd_policy *p = ld->policy;
    struct vd_cel_env *env = vd_cel_env_new();
    cJSON *decision = NULL;
    enum vd_code rc = env == NULL ? VD_E_NOMEM : VD_OK;

    if (rc == VD_OK && count > p->slot_count) {
        rc = vd_json_parse(vd_span_of(decision_schema), &decision, NULL);
        vd_ld_own(ld, release_json, decision);
    }
    for (unsigned i = 0; i < count && rc == VD_OK && ld->rc == VD_OK; i++) {
        const cJSON *schema = i == p->slot_params     ? params_schema
                              : i == p->slot_decision ? decision
                                                      : vd_ld_slot_schema(p, i);
        unsigned slot;

        rc = vd_cel_env_declare(env, p->slot_names[i], schema, &slot, NULL);
    }
    if (rc != VD_OK || ld->rc != VD_OK) {
        vd_cel_env_free(env);
        vd_ld_nomem(ld);
        return NULL;
    }
    return env;
}

struct vd_cel_env *vd_ld_env(struct vd_loader *ld, bool rules, const cJSON *params_schema)
{
    const struct vd_policy *p = ld->policy;

    return make_env(ld, rules ? p->rule_slot_count : p->slot_count, params_schema,
                    DECISION_SCHEMA(""));
}

struct vd_cel_env *vd_ld_outcome_env(struct vd_loader *ld)
{
    return make_env(ld, ld->policy->rule_slot_count, NULL,
                    DECISION_SCHEMA(",\"status\":{\"type\":\"string\"}"));
}

/* Slots: event, now, contexts, lets, state and memory, then the four of rules. */
static void number_slots(struct vd_loader *ld, const struct vd_conf_node *contexts,
                         const struct vd_conf_node *lets)
{
    static const char *const last[] = {"params", "action", "evidence", "decision"};
    struct vd_policy *p = ld->policy;
    size_t max = 8 + vd_ld_count(ld, contexts) + vd_ld_count(ld, lets);
    const char **names = vd_ld_array(ld, max, sizeof(*names));
    unsigned n = 0;

    if (names == NULL)
        return;
    names[n++] = "event";
    names[n++] = "now";
    for (size_t i = 0; i < p->context_count; i++)
        names[n++] = p->contexts[i].name;
    for (size_t i = 0; i < p->let_count; i++)
        names[n++] = p->lets[i].name;
    if (p->state != NULL) {
        ((struct vd_policy_state *)p->state)->slot = n;
        names[n++] = "state";
    }
    if (p->notes != NULL) {
        ((struct vd_policy_notes *)p->notes)->slot = n;
        names[n++] = "memory";
    }
    p->slot_count = n;
    p->slot_args = n;
    for (size_t i = 0; i < 4; i++)
        names[n++] = last[i];
    p->rule_slot_count = n;
    p->slot_params = n - 4;
    p->slot_action = n - 3;
    p->slot_evidence = n - 2;
    p->slot_decision = n - 1;
    p->slot_item = n;
    p->slot_names = names;
}

/* -- input --- */

void vd_ld_input(struct vd_loader *ld, const struct vd_conf_node *node)
{
    struct vd_policy *p = ld->policy;
    const struct vd_conf_node *topics = vd_conf_get(node, "topics");
    struct input in = {0};
    struct dedupe dedupe = {0};

    vd_ld_read(ld, node, input_rows, &in);
    p->topics = vd_ld_strings(ld, in.topics, &p->topic_count);
    if (topics != NULL && p->topic_count == 0)
        vd_diag_error(ld->diags, topics->file, topics->line, "topics = [\"orders\"]",
                      "input.topics is empty");
    for (size_t i = 0; i < p->topic_count; i++) {
        size_t n =
            p->topics[i] == NULL
                ? 0
                : strspn(p->topics[i],
                         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

        if (p->topics[i] != NULL && (n == 0 || n > 249 || p->topics[i][n] != '\0'))
            vd_diag_error(ld->diags, topics->file, topics->line,
                          "letters, digits, \".\", \"_\" and \"-\"",
                          "input.topics: \"%.80s\" is no topic name", p->topics[i]);
    }
    p->max_event_age_s = in.max_event_age_s;
    p->on_stale = (enum vd_on_stale)in.on_stale;
    p->max_queue_per_key = in.max_queue_per_key;
    p->on_overflow = (enum vd_on_overflow)in.on_overflow;
    p->trusted = vd_ld_paths(ld, in.trusted, vd_conf_get(node, "trusted"), &p->trusted_count);
    if (in.dedupe != NULL)
        vd_ld_read(ld, in.dedupe, dedupe_rows, &dedupe);
    p->dedupe_window_s = dedupe.window_s;
    vd_ld_schema(ld, in.schema, vd_conf_get(node, "schema"), &p->event_schema_tree,
                 &p->event_schema);
}

/* -- context and let --------------------------------------------------------------------------------------------- */

static void load_contexts(struct vd_loader *ld, const struct vd_conf_node *node)
{
    size_t count = vd_ld_count(ld, node);
    struct vd_policy_context *contexts = vd_ld_array(ld, count, sizeof(*contexts));
    size_t n = 0;

    if (contexts == NULL || count == 0)
        return;
    for (const struct vd_conf_node *c = node->first; c != NULL; c = c->next) {
        struct context read = {0};
        struct vd_policy_context *out = &contexts[n];

        if (!vd_ld_name(ld, c, true))
            continue;
        vd_ld_read(ld, c, context_rows, &read);
        out->name = vd_ld_string(ld, vd_span_of(c->name));
        out->slot = 2 + (unsigned)n;
        out->max_bytes = (size_t)read.max_bytes;
        out->required = read.required;
        out->trusted = read.trusted;
        vd_ld_schema(ld, read.schema, vd_conf_get(c, "schema"), &out->schema_tree, &out->schema);
        if (read.fallback != NULL && read.required)
            vd_diag_error(ld->diags, read.fallback->file, read.fallback->line, "one of the two",
                          "%s: a required context has no default", c->path);
        else if (read.fallback != NULL)
            out->fallback = vd_ld_json(ld, read.fallback);
        n++;
    }
    ld->policy->contexts = contexts;
    ld->policy->context_count = n;
}

/* The default must be what the schema says, or the rules would see something undeclared. */
static void check_default(struct vd_loader *ld, const struct vd_policy_context *c,
                          const struct vd_conf_node *node)
{
    struct vd_schema_result result;
    const char *path = "", *reason = "does not match";

    if (c->fallback == NULL || c->schema == NULL)
        return;
    if (vd_schema_validate(c->schema, c->fallback, 1, ld->arena, &result, NULL) != VD_OK ||
        result.valid)
        return;
    if (result.error_count > 0) {
        path = result.errors[0].instance_path;
        reason = result.errors[0].reason;
    }
    vd_diag_error(ld->diags, node->file, node->line, "a default that the schema allows",
                  "%s.default%s %s", node->path, path, reason);
}

/* Needs no context: usable before Redis was asked. */
static bool is_early(const struct vd_policy *p, const struct vd_cel_program *program)
{
    for (unsigned slot = 0; slot < p->slot_count; slot++)
        if (vd_cel_uses(program, slot) && !vd_ld_early_slot(p, slot))
            return false;
    return true;
}

static void compile_redis(struct vd_loader *ld, struct vd_policy_context *c,
                          const struct vd_conf_node *node)
{
    const struct vd_conf_node *redis = vd_conf_get(node, "redis");
    struct vd_policy *p = ld->policy;
    struct vd_err err;
    struct vd_span *words;
    enum vd_code rc;

    if (redis == NULL || redis->kind != VD_CONF_STRING)
        return;
    rc = vd_template_argv_compile(ld->env, vd_arena_printf(ld->arena, "context.%s.redis", c->name),
                                  redis->u.s, &c->redis, &err);
    if (rc == VD_E_NOMEM) {
        vd_ld_nomem(ld);
        return;
    }
    if (rc != VD_OK) {
        vd_diag_error(ld->diags, redis->file, redis->line, NULL, "%s: %s in \"%.100s\"",
                      redis->path, err.msg, redis->u.s.ptr);
        return;
    }
    for (size_t i = 0; i < c->redis.count; i++)
        vd_ld_own(ld, release_template, c->redis.items[i]);
    vd_ld_own(ld, vd_free, c->redis.items);
    words = vd_ld_array(ld, c->redis.count, sizeof(*words));
    if (words == NULL)
        return;
    for (size_t i = 0; i < c->redis.count; i++)
        words[i] = vd_template_source(c->redis.items[i]);
    if (vd_redis_read_allowed(words, c->redis.count, &c->shape, &err) != VD_OK)
        vd_diag_error(ld->diags, redis->file, redis->line, err.msg,
                      "%s: \"%.60s\" is no read that a policy may use", redis->path,
                      redis->u.s.ptr);
    for (unsigned slot = 0; slot < p->slot_count; slot++)
        for (size_t a = 0; a < c->redis.count; a++)
            if (!vd_ld_early_slot(p, slot) && vd_template_uses(c->redis.items[a], slot))
                vd_diag_error(ld->diags, redis->file, redis->line,
                              "event, or a let that needs no context",
                              "%s: all reads are one round trip, it cannot use %s", redis->path,
                              p->slot_names[slot]);
}

/* Is a place of the event at or below one of input.trusted? */
static bool is_trusted_place(void *arg, const struct vd_cel_step *steps, size_t count)
{
    const struct vd_policy *p = arg;

    for (size_t i = 0; i < p->trusted_count; i++)
        if (vd_path_covers_steps(&p->trusted[i], "event", steps, count))
            return true;
    return false;
}

bool vd_ld_trusts_event(const struct vd_policy *p, const struct vd_cel_program *program)
{
    return vd_cel_every_read(program, VD_SLOT_EVENT, is_trusted_place, (void *)p);
}

static bool is_trusted_let(const struct vd_policy *p, const struct vd_policy_let *let)
{
    /* Whether state is ours is known only when its expressions are, which may use lets: it counts as not. */
    if (!vd_ld_trusts_event(p, let->program) ||
        (p->state != NULL && vd_cel_uses(let->program, p->state->slot)) ||
        (p->notes != NULL && vd_cel_uses(let->program, p->notes->slot)))
        return false;
    for (size_t i = 0; i < p->context_count; i++)
        if (vd_cel_uses(let->program, p->contexts[i].slot) && !p->contexts[i].trusted)
            return false;
    for (size_t i = 0; i < p->let_count; i++)
        if (vd_cel_uses(let->program, p->lets[i].slot) && !p->lets[i].trusted)
            return false;
    return true;
}

/* Puts lets in dependency order, by taking in turn each that needs only taken ones; what is left is a cycle. */
static void order_lets(struct vd_loader *ld, struct vd_policy_let *lets, size_t count,
                       const struct vd_conf_node *node)
{
    size_t done = 0;
    bool moved = true;

    while (done < count && moved) {
        moved = false;
        for (size_t i = done; i < count; i++) {
            bool ready = lets[i].program != NULL;

            for (size_t j = done; j < count && ready; j++)
                ready = !vd_cel_uses(lets[i].program, lets[j].slot);
            if (ready) {
                struct vd_policy_let let = lets[i];

                memmove(&lets[done + 1], &lets[done], (i - done) * sizeof(let));
                lets[done++] = let;
                moved = true;
            }
        }
    }
    for (size_t i = done; i < count; i++) {
        const struct vd_conf_node *n = vd_conf_get(node, lets[i].name);

        if (lets[i].program != NULL)
            vd_diag_error(ld->diags, n->file, n->line, "lets that do not lead back to themselves",
                          "%s depends on itself", n->path);
    }
    for (size_t i = 0; i < done; i++) {
        lets[i].early = is_early(ld->policy, lets[i].program);
        lets[i].trusted = is_trusted_let(ld->policy, &lets[i]);
    }
}

static struct vd_policy_let *name_lets(struct vd_loader *ld, const struct vd_conf_node *node)
{
    size_t count = vd_ld_count(ld, node);
    struct vd_policy_let *lets = vd_ld_array(ld, count, sizeof(*lets));
    size_t n = 0;

    for (const struct vd_conf_node *l = count > 0 ? node->first : NULL; l != NULL && lets != NULL;
         l = l->next) {
        if (!vd_ld_name(ld, l, true))
            continue;
        if (vd_conf_get(vd_conf_get(node->parent, "context"), l->name) != NULL) {
            vd_diag_error(ld->diags, l->file, l->line, "another name",
                          "%s: there is a context of that name", l->path);
            continue;
        }
        if (l->kind != VD_CONF_STRING)
            vd_diag_error(ld->diags, l->file, l->line, "\"CEL\"", "%s is a %s", l->path,
                          vd_conf_kind_name(l->kind));
        lets[n].name = vd_ld_string(ld, vd_span_of(l->name));
        lets[n].slot = 2 + (unsigned)(ld->policy->context_count + n);
        n++;
    }
    ld->policy->lets = lets;
    ld->policy->let_count = lets == NULL ? 0 : n;
    return lets;
}

static void check_early(struct vd_loader *ld, const struct vd_cel_program *program,
                        const struct vd_conf_node *node)
{
    if (program != NULL && !is_early(ld->policy, program))
        vd_diag_error(ld->diags, node->file, node->line, "event, or a let that needs no context",
                      "%s is evaluated before the context is read", node->path);
}

/* A template that is rendered before the context is read; NULL after a diagnostic at node. */
static const struct vd_template *compile_early(struct vd_loader *ld, const char *name,
                                               struct vd_span source,
                                               const struct vd_conf_node *node)
{
    const struct vd_policy *p = ld->policy;
    struct vd_template *template;
    struct vd_err err;
    enum vd_code rc = vd_template_compile(ld->env, name, source, &template, &err);

    if (rc == VD_E_NOMEM) {
        vd_ld_nomem(ld);
        return NULL;
    }
    if (rc != VD_OK) {
        vd_diag_error(ld->diags, node->file, node->line, NULL, "%s: %s in \"%.100s\"", name,
                      err.msg, source.ptr);
        return NULL;
    }
    vd_ld_own(ld, release_template, template);
    for (unsigned slot = 2; slot < p->slot_count && ld->rc == VD_OK; slot++)
        if (!vd_ld_early_slot(p, slot) && vd_template_uses(template, slot))
            vd_diag_error(ld->diags, node->file, node->line,
                          "event, or a let that needs no context",
                          "%s is evaluated before the context is read", name);
    return template;
}

static void compile_input(struct vd_loader *ld, const struct vd_conf_node *node)
{
    const struct vd_conf_node *when = vd_conf_get(node, "when"), *key = vd_conf_get(node, "key"),
                              *dedupe = vd_conf_get(node, "dedupe"), *id;
    struct vd_policy *p = ld->policy;

    p->when = vd_ld_program(ld, ld->env, when, VD_CEL_BOOL);
    check_early(ld, p->when, when);
    if (key != NULL && key->kind == VD_CONF_STRING)
        p->key = compile_early(ld, "input.key", key->u.s, key);
    if (dedupe == NULL || dedupe->kind != VD_CONF_GROUP)
        return;
    id = vd_conf_get(dedupe, "id");
    if (id == NULL)
        p->dedupe_id = compile_early(ld, "input.dedupe.id", VD_LIT("{event.id}"), dedupe);
    else if (id->kind == VD_CONF_STRING)
        p->dedupe_id = compile_early(ld, "input.dedupe.id", id->u.s, id);
}

void vd_ld_names(struct vd_loader *ld, const struct vd_conf_node *root)
{
    struct vd_policy *p = ld->policy;
    struct vd_policy_let *lets;
    const struct vd_conf_node *contexts = vd_conf_get(root, "context"),
                              *let = vd_conf_get(root, "let");

    load_contexts(ld, contexts);
    vd_ld_state_names(ld, root);
    lets = name_lets(ld, let);
    number_slots(ld, contexts, let);
    if (ld->rc == VD_OK)
        ld->env = vd_ld_env(ld, false, NULL);
    if (ld->rc != VD_OK)
        return;
    for (size_t i = 0; i < p->let_count; i++)
        lets[i].program = vd_ld_program(ld, ld->env, vd_conf_get(let, lets[i].name), VD_CEL_ERROR);
    order_lets(ld, lets, p->let_count, let);
    for (size_t i = 0; i < p->context_count; i++) {
        const struct vd_conf_node *node = vd_conf_get(contexts, p->contexts[i].name);
        struct vd_policy_context *c = (struct vd_policy_context *)&p->contexts[i];

        compile_redis(ld, c, node);
        check_default(ld, c, node);
    }
    compile_input(ld, vd_conf_get(root, "input"));
}
