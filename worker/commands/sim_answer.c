/* commands/sim_answer.c - see sim_answer.h. */
#include "commands/sim_answer.h"

#include <ctype.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"

#define TEXT_MAX     (8u << 20)
#define SCHEMA_MARK  "JSON Schema:\n"
#define MAX_EVIDENCE 3
#define POINTER_MAX  200
#define DEPTH_MAX    32

/* -- reading the request ------------------------------------------------------------------------------------------------- */

static void add_content(struct vd_sim_request *r, const cJSON *content)
{
    const cJSON *part;

    if (content == NULL)
        return;
    if (vd_json_kind(content) == VD_JSON_STRING) {
        (void)vd_buf_add(&r->text, vd_json_string(content));
        (void)vd_buf_add_char(&r->text, '\n');
    } else if (cJSON_IsArray(content)) {
        cJSON_ArrayForEach(part, content)
        {
            if (vd_json_get(part, "text") != NULL)
                add_content(r, vd_json_get(part, "text"));
            if (vd_span_eq_c(vd_json_get_string(part, "type"), "tool_result")) {
                r->has_tool_result = true;
                add_content(r, vd_json_get(part, "content"));
            }
        }
    }
}

/* Does the assistant's message call tools? What was asked of them is no proposal that was refused. */
static bool calls_tools(const cJSON *message)
{
    const cJSON *content = vd_json_get(message, "content"), *part;

    if (vd_json_get(message, "tool_calls") != NULL)
        return true;
    if (content == NULL || !cJSON_IsArray(content))
        return false;
    cJSON_ArrayForEach(part, content)
    {
        if (vd_span_eq_c(vd_json_get_string(part, "type"), "tool_use"))
            return true;
    }
    return false;
}

static void read_messages(struct vd_sim_request *r)
{
    const cJSON *messages = vd_json_get(r->body, "messages"), *m;

    if (!cJSON_IsArray(messages))
        return;
    cJSON_ArrayForEach(m, messages)
    {
        struct vd_span role = vd_json_get_string(m, "role");

        r->turns += vd_span_eq_c(role, "assistant") && !calls_tools(m);
        r->has_tool_result = r->has_tool_result || vd_span_eq_c(role, "tool");
        if (vd_span_eq_c(role, "user") || vd_span_eq_c(role, "tool"))
            add_content(r, vd_json_get(m, "content"));
    }
}

static struct vd_span system_text(const struct vd_sim_request *r)
{
    const cJSON *messages = vd_json_get(r->body, "messages");
    struct vd_span text = vd_json_get_string(r->body, "system");

    if (text.len == 0 && cJSON_IsArray(messages))
        text = vd_json_get_string(messages->child, "content");
    return text;
}

/* The worker puts the proposal's tool last and demands a call. */
static void read_tools(struct vd_sim_request *r)
{
    const cJSON *tools = vd_json_get(r->body, "tools"), *tool, *last = NULL;
    const cJSON *choice = vd_json_get(r->body, "tool_choice");
    bool demanded =
        choice != NULL && (vd_json_kind(choice) == VD_JSON_OBJECT
                               ? !vd_span_eq_c(vd_json_get_string(choice, "type"), "auto")
                               : vd_span_eq_c(vd_json_string(choice), "required"));

    if (!cJSON_IsArray(tools))
        return;
    cJSON_ArrayForEach(tool, tools) last = tool;
    if (demanded && r->schema == NULL && last != NULL) {
        const cJSON *function = vd_json_get(last, "function");

        r->tool = vd_json_get_string(function != NULL ? function : last, "name");
        r->schema = function != NULL ? vd_json_get(function, "parameters")
                                     : vd_json_get(last, "input_schema");
        if (tools->child != last)
            r->first_tool = tools->child;
    } else {
        r->first_tool = tools->child;
    }
}

void vd_sim_request_init(struct vd_sim_request *r, const cJSON *body, bool anthropic)
{
    const cJSON *format = vd_json_get(body, "response_format");
    struct vd_span system;

    *r = (struct vd_sim_request){.anthropic = anthropic, .body = body};
    vd_buf_init(&r->text, TEXT_MAX);
    r->schema = vd_json_get(vd_json_get(format, "json_schema"), "schema");
    if (r->schema == NULL)
        r->schema = vd_json_get(format, "schema");
    read_tools(r);
    read_messages(r);
    system = system_text(r);
    for (size_t i = 0; r->schema == NULL && i + sizeof(SCHEMA_MARK) < system.len; i++) {
        struct vd_span rest = vd_span_sub(system, i, system.len);

        if (!vd_span_starts(rest, VD_LIT(SCHEMA_MARK)))
            continue;
        rest = vd_span_sub(rest, sizeof(SCHEMA_MARK) - 1, rest.len);
        if (vd_json_parse(rest, &r->schema_tree, NULL) == VD_OK)
            r->schema = r->schema_tree;
    }
}

void vd_sim_request_fini(struct vd_sim_request *r)
{
    r->schema_tree = vd_json_free(r->schema_tree);
    vd_buf_free(&r->text);
}

/* -- a value for a schema -------------------------------------------------------------------------------------------------- */

struct maker {
    const struct vd_sim_request *request;
    const cJSON *root;
    uint64_t hash; /* of the text: what is chosen where there is a choice */
    bool modest;   /* was told no before: the smallest values */
};

static cJSON *make(struct maker *m, const cJSON *schema, const char *name, int depth);

static const cJSON *follow(const struct maker *m, const cJSON *schema)
{
    for (int i = 0; i < DEPTH_MAX; i++) {
        struct vd_span ref = vd_json_get_string(schema, "$ref");

        if (ref.len == 0)
            break;
        schema = vd_json_pointer(m->root, vd_span_sub(ref, 1, ref.len));
    }
    return schema;
}

static double number_at(const cJSON *schema, const char *key, double otherwise)
{
    const cJSON *node = vd_json_get(schema, key);
    double v;

    return node != NULL && vd_json_double(node, &v) ? v : otherwise;
}

static cJSON *make_number(const struct maker *m, const cJSON *schema, bool whole)
{
    double low = number_at(schema, "minimum", number_at(schema, "exclusiveMinimum", 0));
    double high = number_at(schema, "maximum", number_at(schema, "exclusiveMaximum", low + 10));
    double step = number_at(schema, "multipleOf", whole ? 1 : 0);
    double v = low;

    if (vd_json_get(schema, "exclusiveMinimum") != NULL)
        v = whole ? low + 1 : low + (high - low) / 1000;
    if (!m->modest && high > v)
        v += (high - v) * (double)(m->hash % 64) / 256; /* the lower quarter */
    if (whole)
        v = floor(v);
    if (step > 0)
        v = ceil(v / step) * step;
    if (v > high)
        v = high;
    return whole ? vd_json_new_int((int64_t)v)
                 : vd_json_new_double(round(v * 100) / 100 >= low ? round(v * 100) / 100 : v);
}

/* JSON Pointers that stand in the text: facts that were shown. */
static bool next_pointer(struct vd_span text, size_t *at, struct vd_span *ret)
{
    for (; *at + 2 < text.len; (*at)++) {
        size_t end = *at + 1;

        if (text.ptr[*at] != '/' || !isalpha((unsigned char)text.ptr[end]) ||
            (*at > 0 && (isalnum((unsigned char)text.ptr[*at - 1]) ||
                         strchr("/:<", text.ptr[*at - 1]) != NULL)))
            continue;
        while (end < text.len &&
               (isalnum((unsigned char)text.ptr[end]) || strchr("_/~-", text.ptr[end]) != NULL))
            end++;
        *ret = vd_span_sub(text, *at, end - *at);
        *at = end;
        if (ret->len <= POINTER_MAX)
            return true;
    }
    return false;
}

static bool has_item(const cJSON *array, struct vd_span s)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, array)
    {
        if (vd_json_kind(item) == VD_JSON_STRING && vd_span_eq(vd_json_string(item), s))
            return true;
    }
    return false;
}

static bool is_named(const char *name, const char *wanted)
{
    return name != NULL && strcasecmp(name, wanted) == 0;
}

static cJSON *make_array(struct maker *m, const cJSON *schema, const char *name, int depth)
{
    const cJSON *items = follow(m, vd_json_get(schema, "items")), *choice;
    const cJSON *choices = vd_json_get(items, "enum");
    size_t least = (size_t)number_at(schema, "minItems", 0);
    size_t most = (size_t)number_at(schema, "maxItems", 100);
    size_t want = is_named(name, "evidence") && least < MAX_EVIDENCE ? MAX_EVIDENCE : least;
    cJSON *array = cJSON_CreateArray();
    size_t n = 0, at = 0;
    struct vd_span pointer;

    if (want > most)
        want = most;
    if (choices != NULL && cJSON_IsArray(choices)) {
        cJSON_ArrayForEach(choice, choices)
        {
            if (n++ < want)
                (void)vd_json_append(array, vd_json_copy(choice));
        }
    } else if (is_named(name, "evidence")) {
        while (n < want && next_pointer(vd_buf_span(&m->request->text), &at, &pointer))
            if (!has_item(array, pointer)) {
                (void)vd_json_append(array, vd_json_new_string(pointer));
                n++;
            }
    }
    for (; n < least && n < 1000; n++)
        (void)vd_json_append(array, make(m, items, NULL, depth + 1));
    return array;
}

static cJSON *make_object(struct maker *m, const cJSON *schema, int depth)
{
    const cJSON *properties = vd_json_get(schema, "properties"), *property;
    cJSON *object = cJSON_CreateObject();

    if (properties == NULL)
        return object;
    cJSON_ArrayForEach(property, properties)(void)
        vd_json_put(object, property->string, make(m, property, property->string, depth + 1));
    return object;
}

static cJSON *make_string(const struct maker *m, const cJSON *schema, const char *name)
{
    static const char rationale[] = "The facts shown support this within the given limits.";
    size_t most = (size_t)number_at(schema, "maxLength", 500);
    size_t least = (size_t)number_at(schema, "minLength", 0);
    char text[64] = "x";
    size_t len = 1;

    (void)m;
    if (is_named(name, "rationale") || is_named(name, "reason")) {
        len = sizeof(rationale) - 1;
        memcpy(text, rationale, len);
    }
    while (len < least && len < sizeof(text))
        text[len++] = 'x';
    return vd_json_new_string((struct vd_span){text, len < most ? len : most});
}

static const cJSON *nth(const cJSON *array, uint64_t n)
{
    int count = cJSON_GetArraySize(array);

    return count <= 0 ? NULL : cJSON_GetArrayItem(array, (int)(n % (uint64_t)count));
}

static struct vd_span type_of(const cJSON *schema)
{
    const cJSON *type = vd_json_get(schema, "type"), *one;

    if (type != NULL && cJSON_IsArray(type)) {
        cJSON_ArrayForEach(one, type)
        {
            if (!vd_span_eq_c(vd_json_string(one), "null"))
                return vd_json_string(one);
        }
        return VD_LIT("null");
    }
    if (type == NULL)
        return vd_json_get(schema, "properties") != NULL ? VD_LIT("object") : VD_LIT("string");
    return vd_json_string(type);
}

static cJSON *make(struct maker *m, const cJSON *schema, const char *name, int depth)
{
    const cJSON *part;
    struct vd_span type;

    schema = follow(m, schema);
    if (schema == NULL || depth > DEPTH_MAX)
        return cJSON_CreateNull();
    part = vd_json_get(schema, "const");
    if (part != NULL)
        return vd_json_copy(part);
    part = vd_json_get(schema, "enum");
    if (part != NULL && cJSON_IsArray(part))
        return vd_json_copy(
            nth(part, is_named(name, "action") ? m->hash + m->request->turns : m->hash >> 8));
    part = vd_json_get(schema, "anyOf") != NULL ? vd_json_get(schema, "anyOf")
                                                : vd_json_get(schema, "oneOf");
    if (part != NULL && cJSON_IsArray(part))
        return make(m, nth(part, m->hash + m->request->turns), name, depth + 1);
    type = type_of(schema);
    if (vd_span_eq_c(type, "object"))
        return make_object(m, schema, depth);
    if (vd_span_eq_c(type, "array"))
        return make_array(m, schema, name, depth);
    if (is_named(name, "confidence"))
        return vd_json_new_double(0.9);
    if (vd_span_eq_c(type, "integer") || vd_span_eq_c(type, "number"))
        return make_number(m, schema, vd_span_eq_c(type, "integer"));
    if (vd_span_eq_c(type, "boolean"))
        return cJSON_CreateBool(!m->modest && m->hash % 2 == 0);
    if (vd_span_eq_c(type, "null"))
        return cJSON_CreateNull();
    return make_string(m, schema, name);
}

/* -- obeying -------------------------------------------------------------------------------------------------------------- */

static bool contains(struct vd_span text, const char *word)
{
    size_t len = strlen(word);

    for (size_t i = 0; i + len <= text.len; i++)
        if (strncasecmp(text.ptr + i, word, len) == 0)
            return true;
    return false;
}

/* Is someone giving orders in the text? */
static bool has_order(struct vd_span text)
{
    static const char *const signs[] = {
        "ignore previous", "ignore all", "ignore your",      "disregard",           "you must",
        "system:",         "override",   "new instructions", "as the administrator"};

    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
        if (contains(text, signs[i]))
            return true;
    return false;
}

/* The largest amount after a dollar sign or before a currency's name, in minor units; else the largest number after the order. 0:
 * none. */
static int64_t demanded_amount(struct vd_span text)
{
    int64_t best = 0;

    for (size_t i = 0; i < text.len; i++) {
        bool dollar = i > 0 && text.ptr[i - 1] == '$';
        int64_t v = 0;
        size_t end = i;

        if (!isdigit((unsigned char)text.ptr[i]) ||
            (i > 0 && (isalnum((unsigned char)text.ptr[i - 1]) || text.ptr[i - 1] == '_')))
            continue;
        for (; end < text.len && (isdigit((unsigned char)text.ptr[end]) || text.ptr[end] == ',');
             end++)
            if (text.ptr[end] != ',' && v < INT64_C(1000000000000))
                v = v * 10 + (text.ptr[end] - '0');
        dollar =
            dollar ||
            vd_span_starts_nocase(vd_span_trim(vd_span_sub(text, end, 12)), VD_LIT("dollar")) ||
            vd_span_starts_nocase(vd_span_trim(vd_span_sub(text, end, 12)), VD_LIT("usd"));
        if (dollar && v * 100 > best)
            best = v * 100;
        i = end;
    }
    return best;
}

/* The words of an action's name, in any order of writing: full_refund is meant by "full refund". */
static bool mentions(struct vd_span text, struct vd_span action)
{
    char words[64];

    if (action.len == 0 || action.len >= sizeof(words))
        return false;
    for (size_t i = 0; i < action.len; i++)
        words[i] = action.ptr[i] == '_' || action.ptr[i] == '-' ? ' ' : action.ptr[i];
    words[action.len] = '\0';
    return contains(text, words);
}

static void order_numbers(cJSON *node, int64_t amount)
{
    for (cJSON *child = node->child; child != NULL; child = child->next) {
        enum vd_json_kind kind = vd_json_kind(child);

        if (kind == VD_JSON_OBJECT || kind == VD_JSON_ARRAY)
            order_numbers(child, amount);
        else if ((kind == VD_JSON_INT || kind == VD_JSON_DOUBLE) &&
                 !is_named(child->string, "confidence"))
            (void)cJSON_SetNumberHelper(child, (double)amount);
    }
}

/* Try each way the schema can be chosen until its action is one that the text names. */
static cJSON *obeyed(struct maker *m, const cJSON *schema)
{
    struct vd_span text = vd_buf_span(&m->request->text);
    int64_t amount = demanded_amount(text);
    uint64_t first = m->hash;
    cJSON *proposal = NULL;

    for (uint64_t i = 0; i < 16; i++) {
        (void)vd_json_free(proposal);
        m->hash = first + i;
        proposal = make(m, schema, NULL, 0);
        if (mentions(text, vd_json_get_string(proposal, "action")))
            break;
    }
    if (proposal != NULL && amount > 0)
        order_numbers(proposal, amount);
    return proposal;
}

/* In OpenAI's strict form params has a member for each action, null but for the chosen one. */
static cJSON *one_action(struct maker *m, cJSON *proposal)
{
    const cJSON *schema =
        follow(m, vd_json_get(vd_json_get(follow(m, m->root), "properties"), "params"));
    const cJSON *forms = vd_json_get(schema, "properties"), *form;
    struct vd_span action = vd_json_get_string(proposal, "action");
    const cJSON *params = vd_json_get(proposal, "params");

    if (params == NULL || vd_json_get_span(forms, action) == NULL)
        return proposal;
    cJSON_ArrayForEach(form, forms)
    {
        const cJSON *variant, *variants = vd_json_get(form, "anyOf");
        cJSON *value = NULL;

        if (vd_span_eq_c(action, form->string)) {
            if (vd_json_kind(vd_json_get(params, form->string)) != VD_JSON_NULL)
                continue;
            cJSON_ArrayForEach(variant, variants) if (value == NULL &&
                                                      vd_json_get(variant, "properties") != NULL)
                value = make(m, variant, form->string, 2);
            if (value == NULL)
                continue;
        } else {
            value = cJSON_CreateNull();
        }
        (void)cJSON_ReplaceItemInObjectCaseSensitive((cJSON *)(uintptr_t)params, form->string,
                                                     value);
    }
    return proposal;
}

static cJSON *propose(const struct vd_sim_request *r, bool obey);

cJSON *vd_sim_propose(const struct vd_sim_request *r, bool obey)
{
    struct maker m = {r, r->schema, vd_hash64(1, vd_buf_span(&r->text)), r->turns > 0};

    return one_action(&m, propose(r, obey));
}

static cJSON *propose(const struct vd_sim_request *r, bool obey)
{
    struct maker m = {r, r->schema, vd_hash64(1, vd_buf_span(&r->text)), r->turns > 0};

    if (r->schema == NULL)
        return cJSON_CreateObject();
    if (r->turns > 0) /* the same first choice as before it was told no: turns move it on */
        m.hash = 0;
    if (obey && r->turns == 0 && has_order(vd_buf_span(&r->text)))
        return obeyed(&m, r->schema);
    return make(&m, r->schema, NULL, 0);
}

cJSON *vd_sim_arguments(const struct vd_sim_request *r, const cJSON *tool)
{
    const cJSON *function = vd_json_get(tool, "function");
    const cJSON *schema =
        function != NULL ? vd_json_get(function, "parameters") : vd_json_get(tool, "input_schema");
    struct maker m = {r, schema, vd_hash64(1, vd_buf_span(&r->text)), false};

    return schema == NULL ? cJSON_CreateObject() : make(&m, schema, NULL, 0);
}
