/* policy/load.c - see policy.h and load.h: the file's sections, and the names that its expressions see. */
#include "policy/load.h"

#include <ctype.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "policy/prompt.h"

#define ROW(s, f) offsetof(struct s, f)
#define END_OF_TABLE                                                                               \
    {                                                                                              \
        .name = NULL                                                                               \
    }

/* -- sections ---------------------------------------------------------------------------------------------------- */

struct sections {
    const struct vd_conf_node *policy, *input, *context, *let, *state, *memory, *shortcut, *actions,
        *limits, *tools, *reasoning, *budget, *fallback, *escalate, *redact, *canary, *output;
};

#define SECTION(n, flags, doc)                                                                     \
    {                                                                                              \
#n, VD_CONF_T_NODE, ROW(sections, n), NULL, 0, 0, NULL, flags, doc, NULL                   \
    }

static const struct vd_conf_row section_rows[] = {
    SECTION(policy, VD_CONF_REQUIRED, "policy = { id = \"domain.name\"; version = 1; };"),
    SECTION(input, VD_CONF_REQUIRED,
            "input = { topics = [\"...\"]; when = \"CEL\"; key = \"{CEL}\"; };"),
    SECTION(context, 0, "Redis reads"),
    SECTION(let, 0, "named expressions"),
    SECTION(state, 0, "state"),
    SECTION(memory, 0, "memory"),
    SECTION(shortcut, 0, "decisions without a model"),
    SECTION(actions, VD_CONF_REQUIRED, "actions = { NAME = { params = { }; require = { }; }; };"),
    SECTION(limits, 0, "limits across decisions"),
    SECTION(tools, 0, "tools"),
    SECTION(reasoning, VD_CONF_REQUIRED,
            "reasoning = { goal = \"...\"; show = [\"/event/...\"]; };"),
    SECTION(budget, 0, "budget"),
    SECTION(fallback, VD_CONF_REQUIRED, "fallback = { action = \"NAME\"; params = { }; };"),
    SECTION(escalate, 0, "when a person decides"),
    SECTION(redact, 0, "what must not leave"),
    SECTION(canary, 0, "canary"),
    SECTION(output, 0, "output"),
    END_OF_TABLE,
};

struct head {
    const char *id, *owner;
    int64_t version;
    int mode;
};

static const char *const mode_words[] = {"off", "shadow", "enforce", "canary", NULL};

static const struct vd_conf_row head_rows[] = {
    {"id", VD_CONF_T_STRING, ROW(head, id), NULL, 1, VD_POLICY_ID_MAX_BYTES, NULL, VD_CONF_REQUIRED,
     "id = \"billing.dunning\"", NULL},
    {"version", VD_CONF_T_INT, ROW(head, version), NULL, 1, INT32_MAX, NULL, VD_CONF_REQUIRED,
     "version = 1", NULL},
    {"owner", VD_CONF_T_STRING, ROW(head, owner), "", 0, 200, NULL, 0, "who answers for it", NULL},
    {"mode", VD_CONF_T_ENUM, ROW(head, mode), "shadow", 0, 0, NULL, 0, "what its decisions do",
     mode_words},
    END_OF_TABLE,
};

struct reasoning {
    const char *goal, *prompt;
    struct vd_conf_strings show, models;
    double confidence;
    int64_t rationale_max_chars;
};

static const struct vd_conf_row reasoning_rows[] = {
    {"goal", VD_CONF_T_STRING, ROW(reasoning, goal), NULL, 1, 4096, NULL, VD_CONF_REQUIRED,
     "goal = \"what a good decision is\"", NULL},
    {"prompt", VD_CONF_T_STRING, ROW(reasoning, prompt), NULL, 1, 255, NULL, 0,
     "file beside the policy", NULL},
    {"show", VD_CONF_T_STRINGS, ROW(reasoning, show), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "show = [\"/event/data/amount\"]", NULL},
    {"models", VD_CONF_T_STRINGS, ROW(reasoning, models), NULL, 0, 0, NULL, 0,
     "models of the settings, in order", NULL},
    {"confidence", VD_CONF_T_NUMBER, ROW(reasoning, confidence), "0", 0, 1, NULL, 0,
     "below it a person decides", NULL},
    {"rationale_max_chars", VD_CONF_T_INT, ROW(reasoning, rationale_max_chars), "500", 0,
     VD_RATIONALE_MAX_CHARS, NULL, 0, "longest rationale", NULL},
    END_OF_TABLE,
};

struct budget {
    struct vd_budget b;
    const struct vd_conf_node *per_key;
    int on_unavailable;
};

static const char *const unavailable_words[] = {"fallback", "wait", NULL};

static const struct vd_conf_row budget_rows[] = {
    {"deadline_ms", VD_CONF_T_INT, ROW(budget, b.deadline_ms), "10000", 50, 3600000, "ms", 0,
     "from the fetch", NULL},
    {"max_model_calls", VD_CONF_T_INT, ROW(budget, b.max_model_calls), "3", 0, VD_REASON_MAX_CALLS,
     NULL, 0, "calls for one event", NULL},
    {"max_repairs", VD_CONF_T_INT, ROW(budget, b.max_repairs), "1", 0, VD_REASON_MAX_CALLS, NULL, 0,
     "second chances", NULL},
    {"max_tool_calls", VD_CONF_T_INT, ROW(budget, b.max_tool_calls), "0", 0, VD_TOOL_MAX_CALLS,
     NULL, 0, "tool calls for one event", NULL},
    {"max_input_tokens", VD_CONF_T_INT, ROW(budget, b.max_input_tokens), "0", 0, 100000000, NULL, 0,
     "for one event", NULL},
    {"max_output_tokens", VD_CONF_T_INT, ROW(budget, b.max_output_tokens), "0", 0, 100000000, NULL,
     0, "for one event", NULL},
    {"max_cost_microusd", VD_CONF_T_INT, ROW(budget, b.max_cost_microusd), "0", 0, INT32_MAX,
     "micro-USD", 0, "for one event", NULL},
    {"per_key", VD_CONF_T_NODE, ROW(budget, per_key), NULL, 0, 0, NULL, 0, "per_key", NULL},
    {"on_unavailable", VD_CONF_T_ENUM, ROW(budget, on_unavailable), "fallback", 0, 0, NULL, 0,
     "no model answers", unavailable_words},
    END_OF_TABLE,
};

struct when_why {
    const char *when, *why;
};

static const struct vd_conf_row escalate_rows[] = {
    {"when", VD_CONF_T_STRING, ROW(when_why, when), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "when = \"CEL\"", NULL},
    {"why", VD_CONF_T_STRING, ROW(when_why, why), NULL, 1, 1024, NULL, VD_CONF_REQUIRED,
     "why = \"for the person who decides\"", NULL},
    END_OF_TABLE,
};

struct redact {
    const char *path;
    int op;
    struct vd_conf_strings at;
};

static const char *const op_words[] = {"remove", "hash", "mask", NULL};

static const struct vd_conf_row redact_rows[] = {
    {"path", VD_CONF_T_STRING, ROW(redact, path), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "path = \"/event/data/email\"", NULL},
    {"op", VD_CONF_T_ENUM, ROW(redact, op), NULL, 0, 0, NULL, VD_CONF_REQUIRED, "op = \"mask\"",
     op_words},
    {"at", VD_CONF_T_STRINGS, ROW(redact, at), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "at = [\"prompt\", \"audit\", \"log\"]", NULL},
    END_OF_TABLE,
};

struct output {
    const char *topic;
};

static const struct vd_conf_row output_rows[] = {
    {"topic", VD_CONF_T_STRING, ROW(output, topic), NULL, 1, 249, NULL, 0, "topic of its decisions",
     NULL},
    END_OF_TABLE,
};

const char *vd_mode_name(enum vd_mode mode)
{
    return mode_words[mode];
}

/* -- input ------------------------------------------------------------------------------------------------------- */

static void load_head(struct vd_loader *ld, const struct vd_conf_node *node)
{
    struct vd_policy *p = ld->policy;
    struct head h = {0};

    if (node == NULL)
        return;
    vd_ld_read(ld, node, head_rows, &h);
    p->id = vd_ld_string(ld, vd_span_of(h.id));
    p->owner = vd_ld_string(ld, vd_span_of(h.owner));
    p->version = h.version;
    p->mode = (enum vd_mode)h.mode;
    for (const char *c = h.id; c != NULL && *c != '\0'; c++)
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) &&
            strchr("._-", *c) == NULL) {
            const struct vd_conf_node *id = vd_conf_get(node, "id");

            vd_diag_error(ld->diags, id->file, id->line,
                          "small letters, digits, \".\", \"-\" and \"_\"", "policy.id is \"%s\"",
                          h.id);
            break;
        }
}

/* -- reasoning, budget, escalate, redact ------------------------------------------------------------------------- */

static void load_reasoning(struct vd_loader *ld, const struct vd_conf_node *node)
{
    struct vd_policy *p = ld->policy;
    struct reasoning r = {0};
    const struct vd_conf_node *show = vd_conf_get(node, "show");

    if (node == NULL)
        return;
    vd_ld_read(ld, node, reasoning_rows, &r);
    p->goal = vd_ld_string(ld, vd_span_of(r.goal));
    p->prompt = vd_ld_prompt(ld, r.prompt, vd_conf_get(node, "prompt"));
    p->show = vd_ld_paths(ld, r.show, show, &p->show_count);
    if (show != NULL && r.show.count == 0)
        vd_diag_error(ld->diags, show->file, show->line, "show = [\"/event/data/amount\"]",
                      "reasoning.show is empty");
    p->models = vd_ld_strings(ld, r.models, &p->model_count);
    p->min_confidence = r.confidence;
    p->rationale_max_chars = (size_t)r.rationale_max_chars;
}

static void load_budget(struct vd_loader *ld, const struct vd_conf_node *node)
{
    struct budget b = {0};

    vd_ld_read(ld, node, budget_rows, &b);
    ld->policy->budget = b.b;
    vd_ld_budget_per_key(ld, b.per_key);
    ld->policy->budget.wait = b.on_unavailable == 1;
}

static void load_escalates(struct vd_loader *ld, const struct vd_conf_node *node)
{
    struct vd_policy *p = ld->policy;
    size_t count = vd_ld_count(ld, node), n = 0;
    struct vd_escalate *escalates = vd_ld_array(ld, count, sizeof(*escalates));
    struct vd_cel_env *env = count > 0 && ld->rc == VD_OK ? vd_ld_env(ld, true, NULL) : NULL;

    for (const struct vd_conf_node *e = env != NULL ? node->first : NULL; e != NULL; e = e->next) {
        struct when_why read = {0};
        const struct vd_cel_program *when;

        if (!vd_ld_name(ld, e, false))
            continue;
        vd_ld_read(ld, e, escalate_rows, &read);
        when = vd_ld_program(ld, env, vd_conf_get(e, "when"), VD_CEL_BOOL);
        if (when == NULL)
            continue;
        escalates[n] = (struct vd_escalate){.name = vd_ld_string(ld, vd_span_of(e->name)),
                                            .when = when,
                                            .why = vd_ld_string(ld, vd_span_of(read.why)),
                                            .early = true};
        for (unsigned slot = p->slot_count; slot < p->rule_slot_count; slot++)
            escalates[n].early = escalates[n].early && !vd_cel_uses(when, slot);
        n++;
    }
    vd_cel_env_free(env);
    p->escalates = escalates;
    p->escalate_count = n;
}

static unsigned redact_places(struct vd_loader *ld, struct vd_conf_strings at,
                              const struct vd_conf_node *node)
{
    static const char *const words[] = {"prompt", "audit", "log"};
    unsigned places = 0;

    for (size_t i = 0; i < at.count; i++) {
        unsigned found = 0;

        for (unsigned w = 0; w < 3; w++)
            if (strcmp(at.items[i], words[w]) == 0)
                found = 1u << w;
        if (found == 0)
            vd_diag_error(ld->diags, node->file, node->line, "\"prompt\", \"audit\", \"log\"",
                          "%s: \"%.40s\" is no place", node->path, at.items[i]);
        places |= found;
    }
    return places;
}

static void load_redacts(struct vd_loader *ld, const struct vd_conf_node *node)
{
    struct vd_redact_rule *rules;
    size_t n = 0;

    if (node == NULL)
        return;
    if (node->kind != VD_CONF_LIST) {
        vd_diag_error(ld->diags, node->file, node->line,
                      "redact = ( { path = \"...\"; op = \"mask\"; at = [\"prompt\"]; } );",
                      "redact is a %s", vd_conf_kind_name(node->kind));
        return;
    }
    rules = vd_ld_array(ld, node->count, sizeof(*rules));
    for (const struct vd_conf_node *r = rules != NULL ? node->first : NULL; r != NULL;
         r = r->next) {
        struct redact read = {0};

        vd_ld_read(ld, r, redact_rows, &read);
        if (read.path == NULL)
            continue;
        rules[n].op = (enum vd_redact_op)read.op;
        rules[n].at = redact_places(ld, read.at, r);
        if (vd_ld_path(ld, read.path, r, &rules[n].path))
            n++;
    }
    ld->policy->redacts = rules;
    ld->policy->redact_count = n;
}

static void fix_texts(struct vd_loader *ld, const struct vd_conf_node *root)
{
    struct vd_err err;
    enum vd_code rc = vd_prompt_fix(ld->policy, ld->arena, &err);

    if (rc == VD_E_NOMEM)
        vd_ld_nomem(ld);
    else if (rc != VD_OK)
        vd_diag_error(ld->diags, root->file, root->line, "fewer or shorter actions", "%s", err.msg);
}

static void load_sections(struct vd_loader *ld)
{
    const struct vd_conf_node *root = vd_conf_root(ld->conf);
    struct sections s = {0};
    struct output out = {0};

    vd_ld_read(ld, root, section_rows, &s);
    load_head(ld, s.policy);
    if (s.input != NULL)
        vd_ld_input(ld, s.input);
    vd_ld_names(ld, root);
    if (ld->rc != VD_OK)
        return;
    load_reasoning(ld, s.reasoning);
    load_budget(ld, s.budget);
    vd_ld_tools(ld, s.tools, s.budget);
    vd_ld_actions(ld, s.actions);
    vd_ld_shortcuts(ld, s.shortcut);
    vd_ld_fallback(ld, s.fallback);
    load_escalates(ld, s.escalate);
    vd_ld_limits(ld, s.limits);
    load_redacts(ld, s.redact);
    vd_ld_state(ld, root);
    vd_ld_read(ld, s.output, output_rows, &out);
    ld->policy->output_topic = out.topic == NULL ? NULL : vd_ld_string(ld, vd_span_of(out.topic));
    vd_ld_canary(ld, s.canary, s.policy);
    if (ld->rc == VD_OK)
        vd_ld_hash(ld);
    if (ld->rc == VD_OK && ld->diags->errors == 0)
        vd_ld_check(ld, root);
    if (ld->rc == VD_OK && ld->diags->errors == 0)
        fix_texts(ld, root);
}

/* -- whole files ------------------------------------------------------------------------------------------------- */

void *vd_policy_free(struct vd_policy *policy)
{
    if (policy != NULL && policy->memory != NULL) {
        for (struct vd_owned *o = policy->memory->owned, *next; o != NULL; o = next) {
            next = o->next;
            (void)o->release(o->thing);
            (void)vd_free(o);
        }
        vd_arena_fini(&policy->memory->arena);
        vd_free(policy->memory);
    }
    return vd_free(policy);
}

static const char *domain_of(struct vd_loader *ld, const char *path)
{
    struct vd_span whole = vd_span_of(path);
    const char *end = strrchr(path, '/');
    const char *from = end;

    if (end == NULL)
        return vd_ld_string(ld, VD_LIT("default"));
    while (from > whole.ptr && from[-1] != '/')
        from--;
    if (end == from || *from == '.')
        return vd_ld_string(ld, VD_LIT("default"));
    return vd_ld_string(ld, (struct vd_span){from, (size_t)(end - from)});
}

static enum vd_code build(struct vd_conf *conf, const char *path,
                          const struct vd_policy_options *options, struct vd_diags *diags,
                          struct vd_policy **ret_policy, struct vd_err *err)
{
    static const struct vd_policy_options no_options = {0};
    struct vd_loader ld = {
        .conf = conf, .options = options != NULL ? options : &no_options, .diags = diags};
    size_t errors = diags->errors;
    enum vd_code rc;

    ld.policy = vd_alloc(sizeof(*ld.policy));
    if (ld.policy != NULL)
        ld.policy->memory = vd_alloc(sizeof(*ld.policy->memory));
    ld.files = cJSON_CreateObject();
    ld.spare = vd_alloc(sizeof(*ld.spare));
    if (ld.policy == NULL || ld.policy->memory == NULL || ld.files == NULL || ld.spare == NULL) {
        rc = vd_err_nomem(err, path);
        goto out;
    }
    vd_arena_init(&ld.policy->memory->arena, VD_POLICY_ARENA_MAX_BYTES);
    ld.arena = &ld.policy->memory->arena;
    ld.policy->file = vd_ld_string(&ld, vd_span_of(path));
    ld.policy->domain = domain_of(&ld, path);
    if (ld.rc == VD_OK)
        load_sections(&ld);
    rc = ld.rc == VD_OK ? VD_OK : vd_err_nomem(err, path);
    if (rc == VD_OK && diags->errors > errors)
        rc = vd_diags_result(diags, err);
    if (rc != VD_OK)
        goto out;
    *ret_policy = ld.policy;
    ld.policy = NULL;
out:
    vd_cel_env_free(ld.env);
    vd_json_free(ld.files);
    (void)vd_free(ld.spare);
    vd_policy_free(ld.policy);
    return rc;
}

/* Each file is judged by itself: errors of files before it must not fail it. */
static void move_diags(struct vd_diags *to, struct vd_diags *from)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct vd_diag *d = &from->items[i];

        if (d->level == VD_DIAG_ERROR)
            vd_diag_error(to, d->file, d->line, d->hint, "%s", d->what);
        else
            vd_diag_warning(to, d->file, d->line, d->hint, "%s", d->what);
    }
    vd_diags_fini(from);
}

enum vd_code vd_policy_load(const char *path, const struct vd_policy_options *options,
                            struct vd_diags *diags, struct vd_policy **ret_policy,
                            struct vd_err *err)
{
    struct vd_conf *conf = NULL;
    struct vd_diags own;
    enum vd_code rc;

    vd_diags_init(&own);
    rc = vd_conf_load(path, options != NULL ? options->root : NULL, &own, &conf, err);
    if (rc == VD_OK)
        rc = build(conf, path, options, &own, ret_policy, err);
    else if (rc == VD_E_CONFIG && own.errors == 0 && err != NULL)
        vd_diag_error(&own, path, 0, NULL, "%s", err->msg);
    move_diags(diags, &own);
    vd_conf_free(conf);
    return rc;
}

enum vd_code vd_policy_parse(struct vd_span text, const char *name,
                             const struct vd_policy_options *options, struct vd_diags *diags,
                             struct vd_policy **ret_policy, struct vd_err *err)
{
    struct vd_conf *conf = NULL;
    struct vd_diags own;
    enum vd_code rc;

    vd_diags_init(&own);
    rc = vd_conf_parse(text, name, &own, &conf, err);
    if (rc == VD_OK)
        rc = build(conf, name, options, &own, ret_policy, err);
    move_diags(diags, &own);
    vd_conf_free(conf);
    return rc;
}

bool vd_policy_reads(const struct vd_policy *policy, struct vd_span topic)
{
    for (size_t i = 0; i < policy->topic_count; i++)
        if (vd_span_eq_c(topic, policy->topics[i]))
            return true;
    return false;
}

const struct vd_action *vd_policy_action(const struct vd_policy *policy, struct vd_span name)
{
    for (size_t i = 0; i < policy->action_count; i++)
        if (vd_span_eq_c(name, policy->actions[i].name))
            return &policy->actions[i];
    return NULL;
}
