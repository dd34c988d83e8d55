/* policy/load.c - see policy.h and load.h: the file's sections, and the names that its expressions see. */
#include "policy/load.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "policy/context.h"

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
    {"id", VD_CONF_T_STRING, ROW(head, id), NULL, 1, 100, NULL, VD_CONF_REQUIRED,
     "id = \"billing.dunning\"", NULL},
    {"version", VD_CONF_T_INT, ROW(head, version), NULL, 1, INT32_MAX, NULL, VD_CONF_REQUIRED,
     "version = 1", NULL},
    {"owner", VD_CONF_T_STRING, ROW(head, owner), "", 0, 200, NULL, 0, "who answers for it", NULL},
    {"mode", VD_CONF_T_ENUM, ROW(head, mode), "shadow", 0, 0, NULL, 0, "what its decisions do",
     mode_words},
    END_OF_TABLE,
};

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
    int64_t max_tool_calls;
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
    {"max_tool_calls", VD_CONF_T_INT, ROW(budget, max_tool_calls), "0", 0, 1000, NULL, 0,
     "tool calls", NULL},
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

/* -- helpers ----------------------------------------------------------------------------------------------------- */

void vd_ld_nomem(struct vd_loader *ld)
{
    ld->rc = VD_E_NOMEM;
}

void *vd_ld_array(struct vd_loader *ld, size_t n, size_t size)
{
    void *p = vd_arena_array(ld->arena, n == 0 ? 1 : n, size);

    if (p == NULL)
        vd_ld_nomem(ld);
    return p;
}

const char *vd_ld_string(struct vd_loader *ld, struct vd_span s)
{
    const char *copy = vd_arena_strndup(ld->arena, s);

    if (copy == NULL)
        vd_ld_nomem(ld);
    return copy;
}

void vd_ld_own(struct vd_loader *ld, vd_release_fn *release, void *thing)
{
    struct vd_owned *owned = vd_arena_alloc(ld->arena, sizeof(*owned));

    if (owned == NULL || thing == NULL) {
        if (thing != NULL)
            (void)release(thing);
        vd_ld_nomem(ld);
        return;
    }
    *owned = (struct vd_owned){release, thing, ld->policy->memory->owned};
    ld->policy->memory->owned = owned;
}

void vd_ld_read(struct vd_loader *ld, const struct vd_conf_node *group,
                const struct vd_conf_row *rows, void *target)
{
    if (vd_conf_read(ld->conf, group, rows, target, NULL, ld->diags, NULL) != VD_OK)
        vd_ld_nomem(ld);
}

/* Release functions of the one shape that vd_owned keeps. */
static void *release_program(void *thing)
{
    return vd_cel_program_free(thing);
}

static void *release_template(void *thing)
{
    return vd_template_free(thing);
}

static void *release_json(void *thing)
{
    return vd_json_free(thing);
}

const struct vd_cel_program *vd_ld_compile(struct vd_loader *ld, const struct vd_cel_env *env,
                                           struct vd_span source, const struct vd_conf_node *node,
                                           enum vd_cel_kind wants)
{
    struct vd_cel_program *program;
    struct vd_err err;
    enum vd_cel_kind kind;
    enum vd_code rc = vd_cel_compile(env, source, &program, &err);

    if (rc == VD_E_NOMEM) {
        vd_ld_nomem(ld);
        return NULL;
    }
    if (rc != VD_OK) {
        vd_diag_error(ld->diags, node->file, node->line, NULL, "%s: %s in \"%.*s\"", node->path,
                      err.msg, (int)(source.len > 100 ? 100 : source.len), source.ptr);
        return NULL;
    }
    vd_ld_own(ld, release_program, program);
    kind = vd_cel_result_kind(program);
    if (wants != VD_CEL_ERROR && kind != VD_CEL_ERROR && kind != wants)
        vd_diag_error(ld->diags, node->file, node->line, NULL,
                      "%s: \"%.*s\" is a %s, it must be a %s", node->path,
                      (int)(source.len > 100 ? 100 : source.len), source.ptr,
                      vd_cel_kind_name(kind), vd_cel_kind_name(wants));
    return program;
}

const struct vd_cel_program *vd_ld_program(struct vd_loader *ld, const struct vd_cel_env *env,
                                           const struct vd_conf_node *node, enum vd_cel_kind wants)
{
    if (node == NULL || node->kind != VD_CONF_STRING)
        return NULL; /* absent, or said already */
    return vd_ld_compile(ld, env, node->u.s, node, wants);
}

cJSON *vd_conf_to_json(const struct vd_conf_node *node)
{
    cJSON *json = NULL;

    switch (node->kind) {
    case VD_CONF_BOOL:
        return cJSON_CreateBool(node->u.b);
    case VD_CONF_INT:
        return vd_json_new_int(node->u.i);
    case VD_CONF_FLOAT:
        return vd_json_new_double(node->u.d);
    case VD_CONF_STRING:
        return vd_json_new_string(node->u.s);
    case VD_CONF_GROUP:
        json = cJSON_CreateObject();
        for (const struct vd_conf_node *n = node->first; n != NULL && json != NULL; n = n->next)
            if (!vd_json_put(json, n->name, vd_conf_to_json(n)))
                json = vd_json_free(json);
        return json;
    case VD_CONF_LIST:
        json = cJSON_CreateArray();
        for (const struct vd_conf_node *n = node->first; n != NULL && json != NULL; n = n->next)
            if (!vd_json_append(json, vd_conf_to_json(n)))
                json = vd_json_free(json);
        return json;
    }
    return NULL;
}

const cJSON *vd_ld_json(struct vd_loader *ld, const struct vd_conf_node *node)
{
    cJSON *json = vd_conf_to_json(node);

    vd_ld_own(ld, release_json, json);
    return ld->rc == VD_OK ? json : NULL;
}

bool vd_ld_name(struct vd_loader *ld, const struct vd_conf_node *node, bool binding)
{
    static const char *const reserved[] = {"event",    "now",   "params", "action", "evidence",
                                           "decision", "state", "memory", "true",   "false",
                                           "null",     "in",    NULL};
    bool ok =
        node->name != NULL && strlen(node->name) <= 64 && isalpha((unsigned char)node->name[0]);

    for (const char *p = node->name; ok && *p != '\0'; p++)
        ok = isalnum((unsigned char)*p) || *p == '_';
    if (!ok)
        vd_diag_error(ld->diags, node->file, node->line,
                      "a letter, then letters, digits and _, at most 64", "%s is not a name",
                      node->path);
    for (size_t i = 0; ok && binding && reserved[i] != NULL; i++)
        if (strcmp(node->name, reserved[i]) == 0) {
            vd_diag_error(ld->diags, node->file, node->line, "another name", "%s: \"%s\" is taken",
                          node->path, node->name);
            ok = false;
        }
    return ok;
}

size_t vd_ld_count(struct vd_loader *ld, const struct vd_conf_node *node)
{
    if (node == NULL)
        return 0;
    if (node->kind != VD_CONF_GROUP) {
        vd_diag_error(ld->diags, node->file, node->line, "a group: { NAME = { ... }; }",
                      "%s is a %s", node->path, vd_conf_kind_name(node->kind));
        return 0;
    }
    if (node->count > VD_POLICY_MAX_NAMES) {
        vd_diag_error(ld->diags, node->file, node->line, "fewer", "%s has more than %d members",
                      node->path, VD_POLICY_MAX_NAMES);
        return 0;
    }
    return node->count;
}

static void refuse(struct vd_loader *ld, const struct vd_conf_node *node, const char *hint)
{
    if (node != NULL)
        vd_diag_error(ld->diags, node->file, node->line, hint,
                      "%s is not supported by this version of verdict", node->path);
}

/* -- names ------------------------------------------------------------------------------------------------------- */

static const char *const decision_schema_text =
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"action\":{\"type\":"
    "\"string\"},"
    "\"params\":{\"type\":\"object\"},\"confidence\":{\"type\":\"number\"},\"evidence\":{\"type\":"
    "\"array\","
    "\"items\":{\"type\":\"string\"}},\"decided_by\":{\"type\":\"string\"}}}";

/* Declares what every expression of the policy may name; slots come out as the policy has them. */
struct vd_cel_env *vd_ld_env(struct vd_loader *ld, bool rules, const cJSON *params_schema)
{
    struct vd_policy *p = ld->policy;
    struct vd_cel_env *env = vd_cel_env_new();
    cJSON *decision = NULL;
    unsigned count = rules ? p->rule_slot_count : p->slot_count;
    enum vd_code rc = env == NULL ? VD_E_NOMEM : VD_OK;

    if (rc == VD_OK && rules) {
        rc = vd_json_parse(vd_span_of(decision_schema_text), &decision, NULL);
        vd_ld_own(ld, release_json, decision);
    }
    for (unsigned i = 0; i < count && rc == VD_OK && ld->rc == VD_OK; i++) {
        const cJSON *schema = i == VD_SLOT_EVENT      ? p->event_schema_tree
                              : i == p->slot_params   ? params_schema
                              : i == p->slot_decision ? decision
                                                      : NULL;
        unsigned slot;

        for (size_t c = 0; c < p->context_count; c++)
            if (p->contexts[c].slot == i)
                schema = p->contexts[c].schema_tree;
        rc = vd_cel_env_declare(env, p->slot_names[i], schema, &slot, NULL);
    }
    if (rc != VD_OK || ld->rc != VD_OK) {
        vd_cel_env_free(env);
        vd_ld_nomem(ld);
        return NULL;
    }
    return env;
}

/* Slots: event, now, contexts, lets, then the four of rules. */
static void number_slots(struct vd_loader *ld, const struct vd_conf_node *contexts,
                         const struct vd_conf_node *lets)
{
    static const char *const last[] = {"params", "action", "evidence", "decision"};
    struct vd_policy *p = ld->policy;
    size_t max = 6 + vd_ld_count(ld, contexts) + vd_ld_count(ld, lets);
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
    p->slot_count = n;
    for (size_t i = 0; i < 4; i++)
        names[n++] = last[i];
    p->rule_slot_count = n;
    p->slot_params = n - 4;
    p->slot_action = n - 3;
    p->slot_evidence = n - 2;
    p->slot_decision = n - 1;
    p->slot_names = names;
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
    if (h.mode == 3)
        refuse(ld, vd_conf_get(node, "mode"), "mode = \"shadow\" or \"enforce\"");
}

static const char *const *load_strings(struct vd_loader *ld, struct vd_conf_strings from,
                                       size_t *ret_count)
{
    const char **items = vd_ld_array(ld, from.count, sizeof(*items));

    for (size_t i = 0; items != NULL && i < from.count; i++)
        items[i] = vd_ld_string(ld, vd_span_of(from.items[i]));
    *ret_count = items == NULL ? 0 : from.count;
    return items;
}

static bool load_path(struct vd_loader *ld, const char *text, const struct vd_conf_node *node,
                      struct vd_path *ret)
{
    struct vd_err err;
    enum vd_code rc = vd_path_parse(ld->arena, vd_span_of(text), ret, &err);

    if (rc == VD_E_NOMEM)
        vd_ld_nomem(ld);
    else if (rc != VD_OK)
        vd_diag_error(ld->diags, node->file, node->line, err.msg, "%s: \"%.80s\" is not a path",
                      node->path, text);
    return rc == VD_OK;
}

static const struct vd_path *load_paths(struct vd_loader *ld, struct vd_conf_strings from,
                                        const struct vd_conf_node *node, size_t *ret_count)
{
    struct vd_path *paths = vd_ld_array(ld, from.count, sizeof(*paths));

    *ret_count = 0;
    for (size_t i = 0; paths != NULL && i < from.count; i++)
        if (load_path(ld, from.items[i], node, &paths[*ret_count]))
            (*ret_count)++;
    return paths;
}

static void load_input(struct vd_loader *ld, const struct vd_conf_node *node, struct input *in)
{
    struct vd_policy *p = ld->policy;
    const struct vd_conf_node *topics = vd_conf_get(node, "topics");

    vd_ld_read(ld, node, input_rows, in);
    p->topics = load_strings(ld, in->topics, &p->topic_count);
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
    p->max_event_age_s = in->max_event_age_s;
    p->on_stale = (enum vd_on_stale)in->on_stale;
    p->max_queue_per_key = in->max_queue_per_key;
    p->on_overflow = (enum vd_on_overflow)in->on_overflow;
    p->trusted = load_paths(ld, in->trusted, vd_conf_get(node, "trusted"), &p->trusted_count);
    refuse(ld, in->dedupe, "the policy without input.dedupe");
    vd_ld_schema(ld, in->schema, vd_conf_get(node, "schema"), &p->event_schema_tree,
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
    for (size_t i = 0; i < p->context_count; i++)
        if (vd_cel_uses(program, p->contexts[i].slot))
            return false;
    for (size_t i = 0; i < p->let_count; i++)
        if (vd_cel_uses(program, p->lets[i].slot) && !p->lets[i].early)
            return false;
    return true;
}

static void compile_redis(struct vd_loader *ld, struct vd_policy_context *c,
                          const struct vd_conf_node *node)
{
    const struct vd_conf_node *redis = vd_conf_get(node, "redis");
    struct vd_policy *p = ld->policy;
    struct vd_err err;
    enum vd_code rc;
    bool known;

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
    known =
        vd_redis_read_allowed(vd_template_source(c->redis.items[0]), c->redis.count - 1, &c->shape);
    if (!known)
        vd_diag_error(
            ld->diags, redis->file, redis->line,
            "GET key, HGETALL key, HMGET key field..., LRANGE key from to, ZRANGE key from to, ...",
            "%s: \"%.60s\" is no read that a policy may use, or has not its arguments", redis->path,
            redis->u.s.ptr);
    for (size_t i = 0; i < p->context_count; i++)
        for (size_t a = 0; a < c->redis.count; a++)
            if (vd_template_uses(c->redis.items[a], p->contexts[i].slot))
                vd_diag_error(ld->diags, redis->file, redis->line,
                              "event, or a let that needs no context",
                              "%s: all reads are one round trip, it cannot use %s", redis->path,
                              p->contexts[i].name);
    for (size_t i = 0; i < p->let_count; i++)
        for (size_t a = 0; a < c->redis.count; a++)
            if (!p->lets[i].early && vd_template_uses(c->redis.items[a], p->lets[i].slot))
                vd_diag_error(ld->diags, redis->file, redis->line, "a let that needs no context",
                              "%s: %s needs context itself", redis->path, p->lets[i].name);
}

static bool is_trusted_let(const struct vd_policy *p, const struct vd_policy_let *let)
{
    if (vd_cel_uses(let->program, VD_SLOT_EVENT))
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

static void compile_input(struct vd_loader *ld, const struct vd_conf_node *node)
{
    const struct vd_conf_node *when = vd_conf_get(node, "when"), *key = vd_conf_get(node, "key");
    struct vd_policy *p = ld->policy;
    struct vd_template *template;
    struct vd_err err;
    enum vd_code rc;

    p->when = vd_ld_program(ld, ld->env, when, VD_CEL_BOOL);
    check_early(ld, p->when, when);
    if (key == NULL || key->kind != VD_CONF_STRING)
        return;
    rc = vd_template_compile(ld->env, "input.key", key->u.s, &template, &err);
    if (rc == VD_E_NOMEM) {
        vd_ld_nomem(ld);
        return;
    }
    if (rc != VD_OK) {
        vd_diag_error(ld->diags, key->file, key->line, NULL, "%s: %s in \"%.100s\"", key->path,
                      err.msg, key->u.s.ptr);
        return;
    }
    vd_ld_own(ld, release_template, template);
    p->key = template;
    for (unsigned slot = 2; slot < p->slot_count && ld->rc == VD_OK; slot++) {
        bool late = slot < 2 + p->context_count;

        for (size_t i = 0; i < p->let_count; i++)
            late = late || (p->lets[i].slot == slot && !p->lets[i].early);
        if (late && vd_template_uses(template, slot))
            vd_diag_error(ld->diags, key->file, key->line, "event, or a let that needs no context",
                          "%s is evaluated before the context is read", key->path);
    }
}

static void load_names(struct vd_loader *ld, const struct sections *s)
{
    struct vd_policy *p = ld->policy;
    struct vd_policy_let *lets;

    load_contexts(ld, s->context);
    lets = name_lets(ld, s->let);
    number_slots(ld, s->context, s->let);
    if (ld->rc == VD_OK)
        ld->env = vd_ld_env(ld, false, NULL);
    if (ld->rc != VD_OK)
        return;
    for (size_t i = 0; i < p->let_count; i++)
        lets[i].program =
            vd_ld_program(ld, ld->env, vd_conf_get(s->let, lets[i].name), VD_CEL_ERROR);
    order_lets(ld, lets, p->let_count, s->let);
    for (size_t i = 0; i < p->context_count; i++) {
        const struct vd_conf_node *node = vd_conf_get(s->context, p->contexts[i].name);
        struct vd_policy_context *c = (struct vd_policy_context *)&p->contexts[i];

        compile_redis(ld, c, node);
        check_default(ld, c, node);
    }
    compile_input(ld, s->input);
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
    p->show = load_paths(ld, r.show, show, &p->show_count);
    if (show != NULL && r.show.count == 0)
        vd_diag_error(ld->diags, show->file, show->line, "show = [\"/event/data/amount\"]",
                      "reasoning.show is empty");
    p->models = load_strings(ld, r.models, &p->model_count);
    p->min_confidence = r.confidence;
    p->rationale_max_chars = (size_t)r.rationale_max_chars;
}

static void load_budget(struct vd_loader *ld, const struct vd_conf_node *node)
{
    struct budget b = {0};

    vd_ld_read(ld, node, budget_rows, &b);
    ld->policy->budget = b.b;
    refuse(ld, b.per_key, "the policy without budget.per_key");
    if (b.max_tool_calls > 0)
        refuse(ld, vd_conf_get(node, "max_tool_calls"), "max_tool_calls = 0");
    if (b.on_unavailable == 1)
        refuse(ld, vd_conf_get(node, "on_unavailable"), "on_unavailable = \"fallback\"");
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
        if (load_path(ld, read.path, r, &rules[n].path))
            n++;
    }
    ld->policy->redacts = rules;
    ld->policy->redact_count = n;
}

static void refuse_sections(struct vd_loader *ld, const struct sections *s)
{
    refuse(ld, s->state, "the policy without state");
    refuse(ld, s->memory, "the policy without memory");
    refuse(ld, s->limits, "the policy without limits");
    refuse(ld, s->tools, "the policy without tools");
    refuse(ld, s->canary, "the policy without canary; shadow mode publishes beside enforce");
}

static void load_sections(struct vd_loader *ld)
{
    const struct vd_conf_node *root = vd_conf_root(ld->conf);
    struct sections s = {0};
    struct output out = {0};
    struct input in = {0};

    vd_ld_read(ld, root, section_rows, &s);
    load_head(ld, s.policy);
    if (s.input != NULL)
        load_input(ld, s.input, &in);
    refuse_sections(ld, &s);
    load_names(ld, &s);
    if (ld->rc != VD_OK)
        return;
    load_reasoning(ld, s.reasoning);
    load_budget(ld, s.budget);
    vd_ld_actions(ld, s.actions);
    vd_ld_shortcuts(ld, s.shortcut);
    vd_ld_fallback(ld, s.fallback);
    load_escalates(ld, s.escalate);
    load_redacts(ld, s.redact);
    vd_ld_read(ld, s.output, output_rows, &out);
    ld->policy->output_topic = out.topic == NULL ? NULL : vd_ld_string(ld, vd_span_of(out.topic));
    if (ld->rc == VD_OK)
        vd_ld_hash(ld);
    if (ld->rc == VD_OK && ld->diags->errors == 0)
        vd_ld_check(ld, root);
}

/* -- whole files ------------------------------------------------------------------------------------------------- */

void *vd_policy_free(struct vd_policy *policy)
{
    if (policy != NULL && policy->memory != NULL) {
        for (struct vd_owned *o = policy->memory->owned; o != NULL; o = o->next)
            (void)o->release(o->thing);
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
    if (ld.policy == NULL || ld.policy->memory == NULL || ld.files == NULL) {
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
