/* tests/unit/test_policy_prompt.c - what a model is shown: selected, redacted, cleaned, cut, split by trust; and the answer's schema. */
#include "policy_unit.h"

#include "policy/context.h"
#include "policy/prompt.h"
#include "policy/redact.h"

struct scene {
    struct vd_policy *policy;
    struct vd_arena arena;
    struct vd_facts *facts;
    cJSON *event, *context;
    struct vd_shown shown;
};

static void begin(struct scene *s, const struct parts *parts, const char *event,
                  const char *context)
{
    *s = (struct scene){.policy = load_policy(parts), .event = json(event)};
    vd_arena_init(&s->arena, VD_JOB_ARENA_MAX_BYTES);
    assert_int_equal(vd_facts_new(s->policy, s->event, 0, &s->arena, &s->facts, NULL), VD_OK);
    if (context != NULL) {
        s->context = json(context);
        vd_facts_set_context(s->facts, 0, s->context);
    }
    assert_int_equal(vd_facts_complete(s->facts, NULL), VD_OK);
}

static void end(struct scene *s)
{
    vd_shown_fini(&s->shown);
    vd_facts_free(s->facts);
    vd_json_free(s->event);
    vd_json_free(s->context);
    vd_arena_fini(&s->arena);
    vd_policy_free(s->policy);
}

static void show(struct scene *s, size_t max)
{
    vd_shown_fini(&s->shown);
    assert_int_equal(vd_prompt_show(s->facts, VD_LIT("key"), max, &s->shown, NULL), VD_OK);
}

static void assert_json(const cJSON *node, const char *text)
{
    struct vd_buf out;

    vd_buf_init(&out, 1 << 20);
    if (node != NULL)
        assert_int_equal(vd_json_write_canonical(&out, node), VD_OK);
    if (!vd_span_eq_c(vd_buf_span(&out), text))
        fail_msg("%s is not %s", out.ptr != NULL ? out.ptr : "", text);
    vd_buf_free(&out);
}

#define SHOW(paths) .reasoning = "reasoning = { goal = \"g\"; show = [" paths "]; };"

static void test_only_what_show_names_is_shown_at_its_own_place(void **state)
{
    static const struct {
        const char *show, *shown;
    } rows[] = {
        {"\"/event/data/a\"", "{\"event\":{\"data\":{\"a\":1}}}"},
        {"\"/event/data/a\", \"/event/type\"", "{\"event\":{\"data\":{\"a\":1},\"type\":\"x\"}}"},
        {"\"/event/data/l/*/k\"", "{\"event\":{\"data\":{\"l\":[{\"k\":1},{\"k\":2},{}]}}}"},
        {"\"/event/data/l/1/k\"", "{\"event\":{\"data\":{\"l\":[null,{\"k\":2},null]}}}"},
        {"\"/event/data/l/*/k\", \"/event/data/l/0/s\"",
         "{\"event\":{\"data\":{\"l\":[{\"k\":1,\"s\":\"x\"},{\"k\":2},{}]}}}"},
        {"\"/event/data/l/*/k\", \"/event/data/a/b\"",
         "{\"event\":{\"data\":{\"a\":null,\"l\":[{\"k\":1},{\"k\":2},{}]}}}"},
        {"\"/event/data/none\"", "{\"event\":{\"data\":{}}}"},
        {"\"/event/data/n~1m\"", "{\"event\":{\"data\":{\"n/m\":3}}}"},
        {"\"/twice\"", "{\"twice\":2}"},
        {"\"/broken\"", "{}"},
        {"\"/c\"", "{\"c\":{\"x\":[1,2]}}"},
        {"\"/c/x/*\"", "{\"c\":{\"x\":[1,2]}}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char reasoning[300];
        struct scene s;

        snprintf(reasoning, sizeof(reasoning), "reasoning = { goal = \"g\"; show = [%s]; };",
                 rows[i].show);
        begin(&s,
              &(struct parts){
                  .reasoning = reasoning,
                  .context = "context = { c = { redis = \"GET c\"; }; };",
                  .let = "let = { twice = \"event.data.a * 2\"; broken = \"event.data.none\"; };"},
              "{\"type\":\"x\",\"secret\":9,\"data\":{\"a\":1,\"n/"
              "m\":3,\"l\":[{\"k\":1,\"s\":\"x\"},{\"k\":2},{}]}}",
              "{\"x\":[1,2]}");
        show(&s, 0);
        assert_json(s.shown.document, rows[i].shown);
        end(&s);
    }
}

static void test_hidden_characters_do_not_reach_the_model(void **state)
{
    struct vd_arena arena;
    struct vd_span out;

    (void)state;
    vd_arena_init(&arena, 1 << 16);
    assert_int_equal(
        vd_prompt_clean(
            &arena,
            VD_LIT("a\x01\x1b[0m\xe2\x80\xae"
                   "b\xe2\x80\x8b\xe2\x81\xa6\xf3\xa0\x81\x81\xef\xbb\xbf\xc2\xad\xff\xc3"
                   "c\n\td\xc2\x85\xee\x80\x80\xe2\x80\xa8\x7f"),
            &out),
        VD_OK);
    assert_span_equal(out, "a[0mbc\n\td");
    assert_int_equal(vd_prompt_clean(&arena, VD_LIT("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"), &out),
                     VD_OK);
    assert_span_equal(out, "gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80");
    vd_arena_fini(&arena);
}

static void test_what_is_too_long_is_cut_and_the_cut_is_recorded(void **state)
{
    struct vd_buf event;
    struct scene s;

    (void)state;
    vd_buf_init(&event, 1 << 20);
    (void)vd_buf_add_c(&event, "{\"type\":\"x\",\"data\":{\"id\":1,\"long\":\"");
    for (int i = 0; i < VD_PROMPT_MAX_STRING - 1; i++)
        (void)vd_buf_add_char(&event, 'x');
    (void)vd_buf_add_c(&event, "\xc3\xbc\",\"list\":[0");
    for (int i = 0; i < VD_PROMPT_MAX_ITEMS; i++)
        (void)vd_buf_add_c(&event, ",1");
    (void)vd_buf_add_c(&event, "],\"short\":\"y\"}}");
    begin(&s,
          &(struct parts){SHOW("\"/event/data/id\", \"/event/data/long\", \"/event/data/list\"")},
          event.ptr, NULL);
    show(&s, 0);
    assert_int_equal(s.shown.cut_count, 2);
    assert_string_equal(s.shown.cuts[0].path, "/event/data/long");
    assert_int_equal(s.shown.cuts[0].kept,
                     VD_PROMPT_MAX_STRING - 1); /* the last character is whole or gone */
    assert_int_equal(s.shown.cuts[0].of, VD_PROMPT_MAX_STRING + 1);
    assert_string_equal(s.shown.cuts[1].path, "/event/data/list");
    assert_int_equal(s.shown.cuts[1].kept, VD_PROMPT_MAX_ITEMS);
    assert_int_equal(s.shown.cuts[1].of, VD_PROMPT_MAX_ITEMS + 1);
    /* Entries go from the last one, until it fits. */
    show(&s, 4300);
    assert_null(vd_json_pointer(s.shown.document, VD_LIT("/event/data/list")));
    assert_non_null(vd_json_pointer(s.shown.document, VD_LIT("/event/data/long")));
    show(&s, 30);
    assert_json(s.shown.document, "{\"event\":{\"data\":{\"id\":1}}}");
    assert_int_equal(s.shown.cut_count, 2);
    assert_string_equal(s.shown.cuts[0].path, "/event/data/long");
    assert_int_equal(s.shown.cuts[0].kept, 0);
    end(&s);
    vd_buf_free(&event);
}

static void test_trusted_facts_stand_apart(void **state)
{
    cJSON *trusted, *untrusted;
    struct scene s;

    (void)state;
    begin(&s,
          &(struct parts){.input = "input = { topics = [\"t\"]; when = \"true\"; key = \"k\"; "
                                   "trusted = [\"/event/data/a\", \"/event/data/l/*/k\"]; };",
                          .context = "context = { c = { redis = \"GET c\"; trusted = true; }; };",
                          SHOW("\"/event/data\", \"/c\"")},
          "{\"data\":{\"a\":1,\"b\":\"text\",\"l\":[{\"k\":1,\"s\":\"x\"},{\"k\":2}]}}",
          "{\"x\":1}");
    show(&s, 0);
    assert_int_equal(vd_prompt_split(s.facts, s.shown.document, &trusted, &untrusted, NULL), VD_OK);
    assert_json(trusted,
                "{\"c\":{\"x\":1},\"event\":{\"data\":{\"a\":1,\"l\":[{\"k\":1},{\"k\":2}]}}}");
    assert_json(untrusted, "{\"event\":{\"data\":{\"b\":\"text\",\"l\":[{\"s\":\"x\"},null]}}}");
    vd_json_free(trusted);
    vd_json_free(untrusted);
    end(&s);
}

static void test_untrusted_text_is_only_between_the_markers(void **state)
{
    struct scene s;
    struct vd_span system, user;
    const char *open, *close, *where;

    (void)state;
    begin(&s,
          &(struct parts){SHOW("\"/event/data\""),
                          .actions = "actions = { go = { params = { n = { type = \"string\"; from "
                                     "= \"event.data.list\"; }; }; }; stop = { }; };"},
          "{\"type\":\"x\",\"data\":{\"id\":\"INJECTED\",\"list\":[\"INJECTED too\"]}}", NULL);
    show(&s, 0);
    system = vd_facts_policy(s.facts)->fixed.system;
    assert_int_equal(vd_prompt_user(s.facts, &s.shown, "mark42", &user, NULL), VD_OK);
    assert_false(has(system, "INJECTED"));
    open = memmem(user.ptr, user.len, "<<<mark42\n", 10);
    close = memmem(user.ptr, user.len, "\nmark42>>>", 10);
    assert_non_null(open);
    assert_non_null(close);
    for (where = user.ptr;
         (where = memmem(where, (size_t)(user.ptr + user.len - where), "INJECTED", 8)) != NULL;
         where++)
        assert_true(where > open && where < close);
    end(&s);
}

static void test_the_repair_names_rule_why_and_range(void **state)
{
    struct scene s;
    struct vd_judgement j;
    struct vd_span text;
    cJSON *params = json("{\"n\":50}");
    struct vd_proposal proposal = {.action = VD_LIT("go"), .params = params};

    (void)state;
    begin(&s, &(struct parts){.let = NULL}, "{\"type\":\"x\",\"data\":{\"id\":1,\"limit\":5}}",
          NULL);
    assert_int_equal(vd_judge(s.facts, &proposal, &j, NULL), VD_OK);
    assert_int_equal(vd_prompt_repair(s.facts, &j, &text, NULL), VD_OK);
    assert_true(has(text, "- params.n: "));
    assert_true(has(text, "Allowed: from 1 to 10."));
    assert_true(has(text, "- small: small"));
    assert_false(has(text, "action.enabled"));
    vd_judgement_fini(&j);
    vd_json_free(params);
    end(&s);
}

/* -- schemas ----------------------------------------------------------------------------------------------------- */

#define SCHEMA_ACTIONS                                                                             \
    .actions = "actions = { go = { params = { n = { type = \"integer\"; min = 1; max = "           \
               "\"event.data.max\"; };"                                                            \
               " w = { type = \"string\"; from = \"event.data.list\"; }; t = { type = "            \
               "\"string\"; pattern = \"[a-z]+\"; max_len = 5; };"                                 \
               " r = { type = \"array\"; unique = true; max_items = 3; from = "                    \
               "\"event.data.list\"; }; }; };"                                                     \
               " off = { enable = \"false || event.data.max > 99\"; }; none = { params = { x = { " \
               "type = \"string\"; from = \"event.data.empty\"; }; }; }; stop = { }; };"

static bool valid(const cJSON *schema, const char *instance)
{
    struct vd_schema *compiled = NULL;
    struct vd_schema_result result;
    struct vd_arena arena;
    struct vd_err err;
    cJSON *tree = json(instance);

    vd_arena_init(&arena, 1 << 20);
    if (vd_schema_compile(schema, NULL, &compiled, &err) != VD_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(vd_schema_validate(compiled, tree, 0, &arena, &result, NULL), VD_OK);
    vd_schema_free(compiled);
    vd_json_free(tree);
    vd_arena_fini(&arena);
    return result.valid;
}

#define REST        ",\"confidence\":0.5,\"rationale\":\"\",\"evidence\":[]}"
#define GO(n, w, r) "{\"n\":" n ",\"w\":\"" w "\",\"t\":\"abc\",\"r\":" r "}"

static void test_the_full_schema_says_what_the_judge_says(void **state)
{
    static const struct {
        const char *proposal;
        bool valid;
    } rows[] = {
        {"{\"action\":\"go\",\"params\":" GO("1", "a", "[\"b\",\"a\"]") REST, true},
        {"{\"action\":\"go\",\"params\":" GO("8", "a", "[]") REST, false},
        {"{\"action\":\"go\",\"params\":" GO("7", "z", "[]") REST, false},
        {"{\"action\":\"go\",\"params\":" GO("7", "a", "[\"a\",\"a\"]") REST, false},
        {"{\"action\":\"stop\",\"params\":{}" REST, true},
        {"{\"action\":\"stop\",\"params\":{\"n\":1}" REST, false},
        {"{\"action\":\"off\",\"params\":{}" REST, false},
        {"{\"action\":\"none\",\"params\":{\"x\":\"a\"}" REST, false},
        {"{\"action\":\"stop\",\"params\":{},\"confidence\":2,\"rationale\":\"\",\"evidence\":[]}",
         false},
        {"{\"action\":\"stop\",\"params\":{},\"extra\":1" REST, false},
    };
    struct scene s;
    cJSON *schema = NULL;

    (void)state;
    begin(&s, &(struct parts){SCHEMA_ACTIONS},
          "{\"type\":\"x\",\"data\":{\"id\":1,\"max\":7,\"list\":[\"a\",\"b\"],\"empty\":[]}}",
          NULL);
    assert_int_equal(vd_prompt_schema(s.facts, VD_FORM_FULL, &schema, NULL), VD_OK);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (valid(schema, rows[i].proposal) != rows[i].valid)
            fail_msg("row %zu: %s", i, rows[i].proposal);
    vd_json_free(schema);
    end(&s);
}

static void test_texts_are_written_at_load_exactly_where_no_event_changes_them(void **state)
{
    static const struct {
        const char *actions;
        bool fixed;
    } rows[] = {
        {"actions = { go = { params = { n = { type = \"integer\"; max = 5; }; }; }; stop = { }; };",
         true},
        {"actions = { go = { params = { n = { type = \"integer\"; max = \"event.data.m\"; }; }; "
         "}; "
         "stop = { }; };",
         false},
        {"actions = { go = { params = { n = { type = \"string\"; from = \"event.data.list\"; }; }; "
         "}; stop = { }; };",
         false},
        {"actions = { go = { enable = \"event.data.m > 1\"; }; stop = { }; };", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct scene s;

        begin(&s, &(struct parts){.actions = rows[i].actions},
              "{\"type\":\"x\",\"data\":{\"m\":7,\"list\":[\"a\"]}}", NULL);
        for (int form = 0; form < VD_SCHEMA_FORMS; form++) {
            struct vd_span text;
            struct vd_buf made;
            cJSON *schema;

            vd_buf_init(&made, 1 << 20);
            assert_int_equal(vd_prompt_schema(s.facts, (enum vd_schema_form)form, &schema, NULL),
                             VD_OK);
            assert_int_equal(vd_json_write(&made, schema), VD_OK);
            assert_int_equal(vd_prompt_schema_text(s.facts, (enum vd_schema_form)form, &text, NULL),
                             VD_OK);
            assert_true(vd_span_eq(text, vd_buf_span(&made)));
            if ((text.ptr == s.policy->fixed.schema[form].ptr) != rows[i].fixed)
                fail_msg("row %zu, form %d", i, form);
            vd_json_free(schema);
            vd_buf_free(&made);
        }
        end(&s);
    }
}

/* OpenAI's strict mode: closed objects with all properties required, no root anyOf, known keywords only. */
static void check_strict(const cJSON *node, const char *const *allowed, bool root)
{
    const cJSON *child, *properties = vd_json_get(node, "properties");

    if (root)
        assert_null(vd_json_get(node, "anyOf"));
    cJSON_ArrayForEach(child, node)
    {
        bool known = false;

        for (size_t i = 0; allowed[i] != NULL; i++)
            known = known || strcmp(child->string, allowed[i]) == 0;
        if (!known)
            fail_msg("keyword %s", child->string);
    }
    if (vd_span_eq_c(vd_json_get_string(node, "type"), "object")) {
        assert_true(cJSON_IsFalse(vd_json_get(node, "additionalProperties")));
        assert_int_equal(cJSON_GetArraySize(properties),
                         cJSON_GetArraySize(vd_json_get(node, "required")));
    }
    cJSON_ArrayForEach(child, properties) check_strict(child, allowed, false);
    cJSON_ArrayForEach(child, vd_json_get(node, "anyOf")) check_strict(child, allowed, false);
    if (vd_json_get(node, "items") != NULL)
        check_strict(vd_json_get(node, "items"), allowed, false);
}

static void test_the_reduced_schemas_use_only_what_the_provider_takes(void **state)
{
    static const char *const openai[] = {
        "type",     "properties", "required", "additionalProperties",
        "enum",     "anyOf",      "items",    "description",
        "pattern",  "minimum",    "maximum",  "minItems",
        "maxItems", NULL};
    static const char *const anthropic[] = {
        "type",  "properties",  "required", "additionalProperties", "enum", "anyOf",
        "items", "description", NULL};
    struct scene s;
    cJSON *schema = NULL;

    (void)state;
    begin(&s, &(struct parts){SCHEMA_ACTIONS},
          "{\"type\":\"x\",\"data\":{\"id\":1,\"max\":7,\"list\":[\"a\",\"b\"],\"empty\":[]}}",
          NULL);
    for (int form = VD_FORM_OPENAI_STRICT; form <= VD_FORM_ANTHROPIC_TOOL; form++) {
        assert_int_equal(vd_prompt_schema(s.facts, (enum vd_schema_form)form, &schema, NULL),
                         VD_OK);
        assert_string_equal(vd_json_get_string(schema, "type").ptr, "object");
        check_strict(schema, form == VD_FORM_OPENAI_STRICT ? openai : anthropic, true);
        assert_true(valid(schema, "{\"action\":\"go\",\"params\":{\"go\":" GO(
                                      "1", "a", "[\"b\"]") ",\"stop\":null}" REST));
        assert_false(
            valid(schema, "{\"action\":\"off\",\"params\":{\"go\":null,\"stop\":null}" REST));
        assert_null(vd_json_pointer(schema, VD_LIT("/properties/params/properties/none")));
        schema = vd_json_free(schema);
    }
    end(&s);
}

/* -- redaction --------------------------------------------------------------------------------------------------- */

static void test_redaction_by_place_and_kind(void **state)
{
    static const char *const document =
        "{\"event\":{\"data\":{\"email\":\"bob@mail.example\",\"items\":[{\"name\":\"Bob\"},{"
        "\"name\":\"Eve\"}],\"ids\":[1,2]}}}";
    struct scene s;
    cJSON *doc = json(document), *again = json(document);
    size_t count = 0;
    struct vd_buf out;
    struct vd_span hash;

    (void)state;
    begin(&s,
          &(struct parts){
              .more = "redact = ( { path = \"/event/data/email\"; op = \"hash\"; at = [\"prompt\", "
                      "\"audit\"]; },"
                      " { path = \"/event/data/items/*/name\"; op = \"mask\"; at = [\"audit\"]; },"
                      " { path = \"/event/data/ids/*\"; op = \"remove\"; at = [\"audit\"]; }, { "
                      "path = \"/event/data/items\"; op = \"remove\"; at = [\"log\"]; } );"},
          "{\"type\":\"x\",\"data\":{\"id\":1}}", NULL);
    assert_int_equal(vd_redact(s.policy, VD_REDACT_AUDIT, VD_LIT("k1"), doc, &count, NULL), VD_OK);
    assert_int_equal(count, 5);
    hash = vd_json_string(vd_json_pointer(doc, VD_LIT("/event/data/email")));
    assert_true(vd_span_starts(hash, VD_LIT("hmac:")) && hash.len == 37);
    assert_span_equal(vd_json_string(vd_json_pointer(doc, VD_LIT("/event/data/items/1/name"))),
                      "***");
    assert_int_equal(cJSON_GetArraySize(vd_json_pointer(doc, VD_LIT("/event/data/ids"))), 2);
    assert_true(cJSON_IsNull(vd_json_pointer(doc, VD_LIT("/event/data/ids/0"))));
    /* Another key, another hash; another place, other rules. */
    assert_int_equal(vd_redact(s.policy, VD_REDACT_PROMPT, VD_LIT("k2"), again, &count, NULL),
                     VD_OK);
    assert_int_equal(count, 1);
    assert_false(
        vd_span_eq(vd_json_string(vd_json_pointer(again, VD_LIT("/event/data/email"))), hash));
    assert_span_equal(vd_json_string(vd_json_pointer(again, VD_LIT("/event/data/items/0/name"))),
                      "Bob");
    vd_json_free(doc);
    doc = json(document);
    vd_buf_init(&out, 4096);
    assert_int_equal(vd_redact_text(s.policy, VD_REDACT_AUDIT, doc,
                                    VD_LIT("write to bob@mail.example, Bob!"), &out, NULL),
                     VD_OK);
    assert_span_equal(vd_buf_span(&out),
                      "write to ***, Bob!"); /* "Bob" is shorter than VD_REDACT_MIN_TEXT */
    vd_buf_free(&out);
    vd_json_free(doc);
    vd_json_free(again);
    end(&s);
}

/* -- templates and context --------------------------------------------------------------------------------------- */

static void test_template_values_cannot_change_the_key(void **state)
{
    static const struct {
        const char *id, *key; /* NULL: refused */
        const char *says;
    } rows[] = {
        {"\"abc-1.2_X\"", "k:abc-1.2_X", NULL},
        {"7", "k:7", NULL},
        {"7.0", "k:7", NULL},
        {"true", "k:true", NULL},
        {"\"a b:*\\r\\n\"", "k:a%20b%3A%2A%0D%0A", NULL},
        {"\"%41\"", "k:%2541", NULL},
        {"\"\\u00fc\"", "k:%C3%BC", NULL},
        {"\"\"", NULL, "input.key: {event.data.id} is empty"},
        {"null", NULL, "is a null"},
        {"[1]", NULL, "is a list"},
        {"1.5", NULL, "is a double"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char event[200];
        struct vd_span key;
        struct vd_err err = {.msg = ""};
        struct scene s;
        enum vd_code rc;

        snprintf(event, sizeof(event), "{\"type\":\"x\",\"data\":{\"id\":%s}}", rows[i].id);
        begin(
            &s,
            &(struct parts){
                .input =
                    "input = { topics = [\"t\"]; when = \"true\"; key = \"k:{event.data.id}\"; };"},
            event, NULL);
        rc = vd_facts_key(s.facts, &key, &err);
        assert_int_equal(rc, rows[i].key != NULL ? VD_OK : VD_E_INPUT);
        if (rows[i].key != NULL)
            assert_span_equal(key, rows[i].key);
        else if (strstr(err.msg, rows[i].says) == NULL)
            fail_msg("%s", err.msg);
        end(&s);
    }
}

static void test_a_template_value_has_a_length(void **state)
{
    (void)state;
    for (int n = VD_TEMPLATE_MAX_VALUE; n <= VD_TEMPLATE_MAX_VALUE + 1; n++) {
        struct vd_buf event;
        struct vd_span key;
        struct scene s;

        vd_buf_init(&event, 1 << 12);
        (void)vd_buf_add_c(&event, "{\"type\":\"x\",\"data\":{\"id\":\"");
        for (int i = 0; i < n; i++)
            (void)vd_buf_add_char(&event, 'x');
        (void)vd_buf_add_c(&event, "\"}}");
        begin(&s, &(struct parts){.let = NULL}, event.ptr, NULL);
        assert_int_equal(vd_facts_key(s.facts, &key, NULL),
                         n == VD_TEMPLATE_MAX_VALUE ? VD_OK : VD_E_INPUT);
        end(&s);
        vd_buf_free(&event);
    }
}

static void test_a_hole_never_makes_an_argument(void **state)
{
    const struct vd_span *args;
    struct scene s;

    (void)state;
    begin(&s,
          &(struct parts){.context = "context = { c = { redis = \"HMGET  k:{event.data.id}:{{x}} f "
                                     "{ event.data.id + ' g' }\"; }; };"},
          "{\"type\":\"x\",\"data\":{\"id\":\"a b\"}}", NULL);
    assert_int_equal(s.policy->contexts[0].redis.count, 4);
    assert_int_equal(vd_facts_redis(s.facts, 0, &args, NULL), VD_OK);
    assert_span_equal(args[0], "HMGET");
    assert_span_equal(args[1], "k:a%20b:{x}");
    assert_span_equal(args[2], "f");
    assert_span_equal(args[3], "a%20b%20g");
    end(&s);
}

static void test_context_is_converted_by_its_schema(void **state)
{
    static const struct {
        const char *schema, *raw, *typed; /* NULL: refused */
    } rows[] = {
        {"{\"properties\":{\"n\":{\"type\":\"integer\"},\"d\":{\"type\":\"number\"},\"b\":{"
         "\"type\":\"boolean\"},\"s\":{\"type\":\"string\"}}}",
         "{\"n\":\"12\",\"d\":\"1.5\",\"b\":\"true\",\"s\":\"12\"}",
         "{\"b\":true,\"d\":1.5,\"n\":12,\"s\":\"12\"}"},
        {"{\"properties\":{\"n\":{\"type\":\"integer\"}}}", "{\"n\":\"1x\"}", NULL},
        {"{\"properties\":{\"n\":{\"type\":\"integer\"}}}", "{\"n\":12}", "{\"n\":12}"},
        {"{\"properties\":{\"n\":{\"type\":[\"integer\",\"null\"]}}}", "{\"n\":\"\"}",
         "{\"n\":null}"},
        {"{\"additionalProperties\":{\"type\":\"object\",\"properties\":{\"q\":{\"type\":"
         "\"integer\"}}}}",
         "{\"east\":\"{\\\"q\\\":\\\"3\\\"}\"}", "{\"east\":{\"q\":3}}"},
        {"{\"additionalProperties\":{\"type\":\"object\"}}", "{\"east\":\"{broken\"}", NULL},
        {"{\"properties\":{\"l\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}}}",
         "{\"l\":\"[1,2]\"}", "{\"l\":[1,2]}"},
        {"{\"required\":[\"n\"]}", "{\"m\":\"1\"}", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        cJSON *schema_tree = json(rows[i].schema), *raw = json(rows[i].raw), *tree = NULL;
        struct vd_schema *schema = NULL;
        struct vd_policy_context context = {
            .name = "c", .shape = VD_SHAPE_HASH, .schema_tree = schema_tree, .max_bytes = 1000};
        struct vd_arena arena;
        enum vd_code rc;

        vd_arena_init(&arena, 1 << 20);
        assert_int_equal(vd_schema_compile(schema_tree, NULL, &schema, NULL), VD_OK);
        context.schema = schema;
        rc = vd_context_accept(&context, raw, &arena, &tree, NULL);
        assert_int_equal(rc, rows[i].typed != NULL ? VD_OK : VD_E_INPUT);
        if (rc == VD_OK)
            assert_json(tree, rows[i].typed);
        vd_json_free(tree);
        vd_json_free(raw);
        vd_json_free(schema_tree);
        vd_schema_free(schema);
        vd_arena_fini(&arena);
    }
}

static void test_absent_context_is_required_or_defaulted(void **state)
{
    cJSON *fallback = json("{\"x\":1}"), *nothing = json("{}"), *tree = NULL,
          *nils = json("{\"a\":null}"), *big = json("\"0123456789\"");
    struct vd_policy_context context = {.name = "c", .shape = VD_SHAPE_HASH, .max_bytes = 100};
    struct vd_arena arena;

    (void)state;
    vd_arena_init(&arena, 1 << 16);
    assert_int_equal(vd_context_accept(&context, NULL, &arena, &tree, NULL), VD_OK);
    assert_null(tree);
    context.fallback = fallback;
    assert_int_equal(vd_context_accept(&context, nothing, &arena, &tree, NULL), VD_OK);
    assert_json(tree, "{\"x\":1}");
    vd_json_free(tree);
    context.shape = VD_SHAPE_FIELDS;
    assert_int_equal(vd_context_accept(&context, nils, &arena, &tree, NULL), VD_OK);
    assert_json(tree, "{\"x\":1}");
    vd_json_free(tree);
    context.required = true;
    assert_int_equal(vd_context_accept(&context, nils, &arena, &tree, NULL), VD_E_INPUT);
    assert_int_equal(vd_context_accept(&context, NULL, &arena, &tree, NULL), VD_E_INPUT);
    context.max_bytes = 11;
    assert_int_equal(vd_context_accept(&context, big, &arena, &tree, NULL), VD_E_INPUT);
    context.max_bytes = 12;
    assert_int_equal(vd_context_accept(&context, big, &arena, &tree, NULL), VD_OK);
    vd_json_free(tree);
    vd_json_free(fallback);
    vd_json_free(nothing);
    vd_json_free(nils);
    vd_json_free(big);
    vd_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_what_show_names_is_shown_at_its_own_place),
        cmocka_unit_test(test_hidden_characters_do_not_reach_the_model),
        cmocka_unit_test(test_what_is_too_long_is_cut_and_the_cut_is_recorded),
        cmocka_unit_test(test_trusted_facts_stand_apart),
        cmocka_unit_test(test_untrusted_text_is_only_between_the_markers),
        cmocka_unit_test(test_the_repair_names_rule_why_and_range),
        cmocka_unit_test(test_the_full_schema_says_what_the_judge_says),
        cmocka_unit_test(test_the_reduced_schemas_use_only_what_the_provider_takes),
        cmocka_unit_test(test_redaction_by_place_and_kind),
        cmocka_unit_test(test_template_values_cannot_change_the_key),
        cmocka_unit_test(test_a_template_value_has_a_length),
        cmocka_unit_test(test_a_hole_never_makes_an_argument),
        cmocka_unit_test(test_texts_are_written_at_load_exactly_where_no_event_changes_them),
        cmocka_unit_test(test_context_is_converted_by_its_schema),
        cmocka_unit_test(test_absent_context_is_required_or_defaulted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
