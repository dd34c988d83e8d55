/* policy/load_state.c - see load.h: state and memory.
 *
 * In two goes: their names and types stand before the first expression is compiled, their own expressions see all other names.
 */
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

struct state {
    const char *key;
    int64_t ttl_s;
    const struct vd_conf_node *fields;
};

static const struct vd_conf_row state_rows[] = {
    {"key", VD_CONF_T_STRING, ROW(state, key), NULL, 0, 0, NULL, 0, "input.key's, or another",
     NULL},
    {"ttl_s", VD_CONF_T_INT, ROW(state, ttl_s), "2592000", 60, INT32_MAX, "s", 0,
     "forgotten so long after it was last written", NULL},
    {"fields", VD_CONF_T_NODE, ROW(state, fields), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "fields = { round = { type = \"integer\"; default = 0; next = \"state.round + 1\"; }; };",
     NULL},
    END_OF_TABLE,
};

struct field {
    int type;
    const struct vd_conf_node *initial;
    const char *next;
    int64_t max_len;
};

/* In the order of enum vd_param_type. */
static const char *const type_words[] = {"integer", "number", "boolean", "string", NULL};

static const struct vd_conf_row field_rows[] = {
    {"type", VD_CONF_T_ENUM, ROW(field, type), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "type = \"integer\"", type_words},
    {"default", VD_CONF_T_NODE, ROW(field, initial), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "default = 0", NULL},
    {"next", VD_CONF_T_STRING, ROW(field, next), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "next = \"its value after a decision\"", NULL},
    {"max_len", VD_CONF_T_INT, ROW(field, max_len), "64", 1, VD_STATE_MAX_STRING, "characters", 0,
     "longest string", NULL},
    END_OF_TABLE,
};

struct memory {
    const char *key;
    int64_t read_last, max_notes, ttl_s, note_max_chars;
    const struct vd_conf_node *write;
};

static const struct vd_conf_row memory_rows[] = {
    {"key", VD_CONF_T_STRING, ROW(memory, key), NULL, 0, 0, NULL, 0, "input.key's, or another",
     NULL},
    {"read_last", VD_CONF_T_INT, ROW(memory, read_last), "10", 1, VD_MEMORY_MAX_READ, "notes", 0,
     "notes that a decision sees", NULL},
    {"max_notes", VD_CONF_T_INT, ROW(memory, max_notes), "50", 1, VD_MEMORY_MAX_NOTES, "notes", 0,
     "notes that are kept", NULL},
    {"ttl_s", VD_CONF_T_INT, ROW(memory, ttl_s), "31536000", 60, INT32_MAX, "s", 0,
     "forgotten so long after the last note", NULL},
    {"note_max_chars", VD_CONF_T_INT, ROW(memory, note_max_chars), "280", 1, VD_NOTE_MAX_CHARS,
     "characters", 0, "longest text of a note", NULL},
    {"write", VD_CONF_T_NODE, ROW(memory, write), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "write = { note = \"'offered ' + params.plan\"; };", NULL},
    END_OF_TABLE,
};

struct write {
    const char *note, *when;
    const struct vd_conf_node *fields;
};

static const struct vd_conf_row write_rows[] = {
    {"note", VD_CONF_T_STRING, ROW(write, note), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "note = \"'offered ' + params.plan\"", NULL},
    {"when", VD_CONF_T_STRING, ROW(write, when), NULL, 0, 0, NULL, 0,
     "which decisions leave a note", NULL},
    {"fields", VD_CONF_T_NODE, ROW(write, fields), NULL, 0, 0, NULL, 0,
     "values that rules may read", NULL},
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

/* -- names and types --------------------------------------------------------------------------------------------- */

/* {"type": "object", "additionalProperties": false, "properties": {}}; owned by the policy. */
static cJSON *object_schema(struct vd_loader *ld, cJSON **ret_properties)
{
    cJSON *schema = cJSON_CreateObject();
    cJSON *properties = cJSON_CreateObject();
    bool ok = vd_json_put(schema, "type", vd_json_new_string(VD_LIT("object"))) &&
              vd_json_put(schema, "additionalProperties", cJSON_CreateFalse());

    ok = vd_json_put(schema, "properties", ok ? properties : vd_json_free(properties)) && ok;
    vd_ld_own(ld, release_json, ok ? schema : vd_json_free(schema));
    *ret_properties = properties;
    return ld->rc == VD_OK ? schema : NULL;
}

static void add_property(struct vd_loader *ld, cJSON *properties, const char *name,
                         const char *type)
{
    cJSON *property = cJSON_CreateObject();

    if (type != NULL && !vd_json_put(property, "type", vd_json_new_string(vd_span_of(type))))
        property = vd_json_free(property);
    if (!vd_json_put(properties, name, property))
        vd_ld_nomem(ld);
}

static bool fits(const struct vd_policy_field *field, const cJSON *value)
{
    enum vd_json_kind kind = vd_json_kind(value);

    switch (field->type) {
    case VD_PARAM_INTEGER:
        return kind == VD_JSON_INT;
    case VD_PARAM_NUMBER:
        return kind == VD_JSON_INT || kind == VD_JSON_DOUBLE;
    case VD_PARAM_BOOLEAN:
        return kind == VD_JSON_BOOL;
    default:
        return kind == VD_JSON_STRING && vd_json_string(value).len <= field->max_len;
    }
}

static bool name_field(struct vd_loader *ld, const struct vd_conf_node *node, cJSON *properties,
                       struct vd_policy_field *out)
{
    struct field read = {0};

    if (!vd_ld_name(ld, node, false))
        return false;
    vd_ld_read(ld, node, field_rows, &read);
    out->name = vd_ld_string(ld, vd_span_of(node->name));
    out->type = (enum vd_param_type)read.type;
    out->max_len = (size_t)read.max_len;
    if (out->type != VD_PARAM_STRING && vd_conf_get(node, "max_len") != NULL)
        vd_diag_error(ld->diags, node->file, vd_conf_get(node, "max_len")->line, "no max_len",
                      "%s: only strings have a max_len", node->path);
    if (read.initial != NULL) {
        out->initial = vd_ld_json(ld, read.initial);
        if (out->initial != NULL && !fits(out, out->initial))
            vd_diag_error(ld->diags, read.initial->file, read.initial->line,
                          "a default of the field's type", "%s: the default is no %s", node->path,
                          vd_param_type_name(out->type));
    }
    add_property(ld, properties, node->name, type_words[out->type]);
    return ld->rc == VD_OK && read.initial != NULL;
}

static void name_state(struct vd_loader *ld, const struct vd_conf_node *node)
{
    struct vd_policy_state *state = vd_ld_array(ld, 1, sizeof(*state));
    struct vd_policy_field *fields;
    struct state read = {0};
    cJSON *properties;
    size_t n = 0, chars = 0, count;

    vd_ld_read(ld, node, state_rows, &read);
    count = vd_ld_count(ld, read.fields);
    if (read.fields != NULL && (count == 0 || count > VD_STATE_MAX_FIELDS))
        vd_diag_error(ld->diags, read.fields->file, read.fields->line, "1 to 32 fields",
                      "%s has %zu fields", read.fields->path, count);
    fields = vd_ld_array(ld, count, sizeof(*fields));
    if (state == NULL || fields == NULL)
        return;
    state->ttl_s = read.ttl_s;
    state->schema = object_schema(ld, &properties);
    for (const struct vd_conf_node *f = count > 0 ? read.fields->first : NULL;
         f != NULL && ld->rc == VD_OK; f = f->next)
        if (name_field(ld, f, properties, &fields[n]))
            chars += fields[n].type == VD_PARAM_STRING ? fields[n].max_len : 0, n++;
    if (chars > VD_STATE_MAX_CHARS)
        vd_diag_error(ld->diags, read.fields->file, read.fields->line, "shorter strings: max_len",
                      "%s: the strings have %zu characters together, at most %d are kept",
                      read.fields->path, chars, VD_STATE_MAX_CHARS);
    state->fields = fields;
    state->field_count = n;
    ld->policy->state = state;
}

/* Of what rules see; the text is not in it. */
static const struct {
    const char *name, *type;
} note_members[] = {
    {"decision_id", NULL}, {"time", "string"}, {"age_s", "integer"},
    {"action", NULL},      {"status", NULL},
};

static bool name_note_field(struct vd_loader *ld, const struct vd_conf_node *node,
                            cJSON *properties, struct vd_note_field *out)
{
    bool taken = strcmp(node->name, "text") == 0;

    if (!vd_ld_name(ld, node, false))
        return false;
    for (size_t i = 0; i < sizeof(note_members) / sizeof(*note_members); i++)
        taken = taken || strcmp(node->name, note_members[i].name) == 0;
    taken = taken || strcmp(node->name, "time_ms") == 0;
    if (taken) {
        vd_diag_error(ld->diags, node->file, node->line, "another name", "%s: \"%s\" is taken",
                      node->path, node->name);
        return false;
    }
    if (node->kind != VD_CONF_STRING) {
        vd_diag_error(ld->diags, node->file, node->line, "\"CEL\"", "%s is a %s", node->path,
                      vd_conf_kind_name(node->kind));
        return false;
    }
    out->name = vd_ld_string(ld, vd_span_of(node->name));
    add_property(ld, properties, node->name, NULL);
    return ld->rc == VD_OK;
}

static void name_memory(struct vd_loader *ld, const struct vd_conf_node *node)
{
    struct vd_policy_notes *notes = vd_ld_array(ld, 1, sizeof(*notes));
    const struct vd_conf_node *list;
    struct vd_note_field *fields;
    struct memory read = {0};
    cJSON *properties, *schema = cJSON_CreateObject(), *items;
    size_t count, n = 0;

    vd_ld_read(ld, node, memory_rows, &read);
    list = vd_conf_get(read.write, "fields");
    count = vd_ld_count(ld, list);
    if (count > VD_NOTE_MAX_FIELDS) {
        vd_diag_error(ld->diags, list->file, list->line, "at most 16", "%s has %zu fields",
                      list->path, count);
        count = 0;
    }
    fields = vd_ld_array(ld, count, sizeof(*fields));
    vd_ld_own(ld, release_json, schema);
    if (notes == NULL || fields == NULL || ld->rc != VD_OK)
        return;
    items = object_schema(ld, &properties);
    for (size_t i = 0; i < sizeof(note_members) / sizeof(*note_members) && items != NULL; i++)
        add_property(ld, properties, note_members[i].name, note_members[i].type);
    for (const struct vd_conf_node *f = count > 0 ? list->first : NULL; f != NULL && items != NULL;
         f = f->next)
        n += name_note_field(ld, f, properties, &fields[n]) ? 1 : 0;
    if (items == NULL || !vd_json_put(schema, "type", vd_json_new_string(VD_LIT("array"))) ||
        !vd_json_put(schema, "items", vd_json_copy(items)))
        vd_ld_nomem(ld);
    if (read.read_last > read.max_notes)
        vd_diag_error(ld->diags, node->file, node->line, "read_last up to max_notes",
                      "%s: read_last is %lld, and only %lld notes are kept", node->path,
                      (long long)read.read_last, (long long)read.max_notes);
    notes->schema = schema;
    notes->read_last = (size_t)read.read_last;
    notes->max_notes = (size_t)read.max_notes;
    notes->ttl_s = read.ttl_s;
    notes->note_max_chars = (size_t)read.note_max_chars;
    notes->fields = fields;
    notes->field_count = n;
    ld->policy->notes = notes;
}

void vd_ld_state_names(struct vd_loader *ld, const struct vd_conf_node *root)
{
    const struct vd_conf_node *state = vd_conf_get(root, "state"),
                              *memory = vd_conf_get(root, "memory");

    if (state != NULL)
        name_state(ld, state);
    if (memory != NULL)
        name_memory(ld, memory);
}

/* -- expressions ------------------------------------------------------------------------------------------------- */

/* A key of its own; NULL: input.key's. */
static const struct vd_template *compile_key(struct vd_loader *ld, const struct vd_conf_node *group,
                                             const char *name)
{
    const struct vd_conf_node *key = vd_conf_get(group, "key");
    const struct vd_policy *p = ld->policy;
    struct vd_template *template;
    struct vd_err err;
    enum vd_code rc;

    if (key == NULL || key->kind != VD_CONF_STRING)
        return NULL;
    rc = vd_template_compile(ld->env, name, key->u.s, &template, &err);
    if (rc == VD_E_NOMEM) {
        vd_ld_nomem(ld);
        return NULL;
    }
    if (rc != VD_OK) {
        vd_diag_error(ld->diags, key->file, key->line, NULL, "%s: %s in \"%.100s\"", key->path,
                      err.msg, key->u.s.ptr);
        return NULL;
    }
    vd_ld_own(ld, release_template, template);
    if (ld->rc != VD_OK)
        return NULL;
    for (unsigned slot = 2; slot < p->slot_count; slot++)
        if (!vd_ld_early_slot(p, slot) && vd_template_uses(template, slot))
            vd_diag_error(ld->diags, key->file, key->line, "event, or a let that needs no context",
                          "%s is evaluated before the context is read", key->path);
    return template;
}

/* Uses only facts that are ours: what input.trusted names, a trusted context, a let of such, the state itself, the clock, and which action it was. */
static bool is_ours(const struct vd_policy *p, const struct vd_cel_program *program)
{
    for (unsigned slot = 0; slot < p->rule_slot_count; slot++) {
        bool ours = slot == VD_SLOT_NOW || slot == p->state->slot || slot == p->slot_action ||
                    (slot == VD_SLOT_EVENT && vd_ld_trusts_event(p, program));

        for (size_t i = 0; i < p->context_count; i++)
            ours = ours || (p->contexts[i].slot == slot && p->contexts[i].trusted);
        for (size_t i = 0; i < p->let_count; i++)
            ours = ours || (p->lets[i].slot == slot && p->lets[i].trusted);
        if (!ours && vd_cel_uses(program, slot))
            return false;
    }
    return true;
}

static enum vd_cel_kind kind_of(enum vd_param_type type)
{
    return type == VD_PARAM_BOOLEAN   ? VD_CEL_BOOL
           : type == VD_PARAM_STRING  ? VD_CEL_STRING
           : type == VD_PARAM_INTEGER ? VD_CEL_INT
                                      : VD_CEL_ERROR;
}

static void compile_state(struct vd_loader *ld, const struct vd_conf_node *node,
                          const struct vd_cel_env *env)
{
    struct vd_policy_state *state = (struct vd_policy_state *)ld->policy->state;
    const struct vd_conf_node *fields = vd_conf_get(node, "fields");

    state->key = compile_key(ld, node, "state.key");
    state->trusted = true;
    for (size_t i = 0; i < state->field_count; i++) {
        struct vd_policy_field *field = (struct vd_policy_field *)&state->fields[i];

        field->next = vd_ld_program(ld, env, vd_conf_get(vd_conf_get(fields, field->name), "next"),
                                    kind_of(field->type));
        state->trusted = state->trusted && field->next != NULL && is_ours(ld->policy, field->next);
    }
}

static void compile_memory(struct vd_loader *ld, const struct vd_conf_node *node,
                           const struct vd_cel_env *env)
{
    struct vd_policy_notes *notes = (struct vd_policy_notes *)ld->policy->notes;
    const struct vd_conf_node *write = vd_conf_get(node, "write"),
                              *fields = vd_conf_get(write, "fields");
    struct write read = {0};

    notes->key = compile_key(ld, node, "memory.key");
    if (write == NULL)
        return;
    vd_ld_read(ld, write, write_rows, &read);
    notes->note = vd_ld_program(ld, env, vd_conf_get(write, "note"), VD_CEL_STRING);
    notes->when = vd_ld_program(ld, env, vd_conf_get(write, "when"), VD_CEL_BOOL);
    for (size_t i = 0; i < notes->field_count; i++) {
        struct vd_note_field *field = (struct vd_note_field *)&notes->fields[i];

        field->value = vd_ld_program(ld, env, vd_conf_get(fields, field->name), VD_CEL_ERROR);
    }
}

/* Redis is rebuilt from the audit topic: what is not there is lost. */
static void check_redacts(struct vd_loader *ld, const struct vd_conf_node *root)
{
    const struct vd_policy *p = ld->policy;

    for (size_t i = 0; i < p->redact_count; i++) {
        const struct vd_path *path = &p->redacts[i].path;
        const struct vd_conf_node *node = vd_ld_item(vd_conf_get(root, "redact"), i);

        if ((p->redacts[i].at & VD_REDACT_AUDIT) == 0 ||
            (!vd_span_eq_c(path->segments[0].name, "state") &&
             !vd_span_eq_c(path->segments[0].name, "memory")))
            continue;
        vd_diag_error(
            ld->diags, node->file, node->line,
            "not to write it there; values redacted elsewhere are left out of notes",
            "redact: \"%.100s\" cannot be kept from the audit, which Redis is rebuilt from",
            path->text);
    }
}

void vd_ld_state(struct vd_loader *ld, const struct vd_conf_node *root)
{
    struct vd_cel_env *env;

    if (ld->policy->state == NULL && ld->policy->notes == NULL)
        return;
    env = vd_ld_outcome_env(ld);
    if (env != NULL && ld->policy->state != NULL)
        compile_state(ld, vd_conf_get(root, "state"), env);
    if (env != NULL && ld->policy->notes != NULL)
        compile_memory(ld, vd_conf_get(root, "memory"), env);
    vd_cel_env_free(env);
    check_redacts(ld, root);
}
