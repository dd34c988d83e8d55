/* tests/unit/test_policy_tools.c - tools of a policy: what the loader refuses, which hosts there are, what a model may put where. */
#include "policy_unit.h"

#include "policy/tools.h"

#define BUDGET "budget = { max_model_calls = 3; max_tool_calls = 2; };"
#define TOOL   "why = \"w\"; "
#define ID     "args = { id = { type = \"string\"; from = \"[event.data.id, event.data.other]\"; }; }; "

static const struct {
    const char *tools, *says;
} mistakes[] = {
    /* What the model chooses must be one of a list. */
    {"t = { " TOOL "redis = \"GET k:{args.id}\"; args = { id = { type = \"string\"; pattern = "
     "\"[0-9]+\"; max_len = 9; }; }; };",
     "p.cfg:8: error: tools.t.args.id is chosen by the model and ends up in a key or URL"},
    {"t = { " TOOL "redis = \"GET k:{args.id}\"; args = { id = { type = \"integer\"; }; }; };",
     "ends up in a key or URL"},
    {"t = { " TOOL
     "redis = \"GET k:{args.id}\"; args = { id = { type = \"integer\"; min = 1; }; }; };",
     "ends up in a key or URL"},
    {"t = { " TOOL "redis = \"GET k:{args.id}\"; args = { id = { type = \"integer\"; min = 1; max "
     "= 1001; }; }; };",
     "at most 1000 numbers"},
    {"t = { " TOOL
     "redis = \"GET k:{args.id}\"; args = { id = { type = \"integer\"; min = 1; max = "
     "\"event.data.limit\"; }; }; };",
     "ends up in a key or URL"},
    {"t = { " TOOL
     "redis = \"GET k:{args.id}\"; args = { id = { type = \"number\"; min = 1; max = 2; "
     "}; }; };",
     "cannot stand in a key or URL"},
    {"t = { " TOOL
     "redis = \"GET k:{args.id}\"; args = { id = { type = \"array\"; from = \"[1]\"; }; "
     "}; };",
     "cannot stand in a key or URL"},
    {"t = { " TOOL
     "redis = \"GET k:{args.id}\"; args = { id = { type = \"string\"; enum = [\"a\"]; "
     "on_fail = \"reject\"; }; }; };",
     "says nothing about an argument"},
    {"t = { " TOOL "redis = \"GET k:{event.data.id}\"; " ID "};", "are used nowhere"},
    {"t = { " TOOL "redis = \"GET k:{args.other}\"; " ID "};", "args.other"},
    {"t = { " TOOL "redis = \"GET k:{params.n}\"; };", "params"},
    /* Redis. */
    {"t = { " TOOL "redis = \"DEL k:{args.id}\"; " ID "};", "is no read that a policy may use"},
    {"t = { " TOOL "redis = \"LRANGE k 0 {args.id}\"; " ID "};",
     "is no read that a policy may use"},
    {"t = { " TOOL "redis = \"{args.id} k\"; " ID "};", "is no read that a policy may use"},
    /* HTTP. */
    {"t = { " TOOL "http = \"ftp://h.example/{args.id}\"; " ID "};", "is no https:// URL"},
    {"t = { " TOOL "http = \"{args.id}\"; " ID "};", "is no https:// URL"},
    {"t = { " TOOL "http = \"https://h.example\"; };", "has no path"},
    {"t = { " TOOL "http = \"https://{args.id}.example/x\"; " ID "};", "a host is letters"},
    {"t = { " TOOL "http = \"https://h.example:{args.id}/x\"; " ID "};", "a port is a number"},
    {"t = { " TOOL "http = \"https://user@h.example/x\"; };", "a host is letters"},
    {"t = { " TOOL "http = \"https://h.example:443@10.0.0.1/x\"; };", "a port is a number"},
    {"t = { " TOOL "http = \"https://h.example\\\\@10.0.0.1/x\"; };", "a host is letters"},
    {"t = { " TOOL "http = \"https://h.example#@10.0.0.1/x\"; };", "a host is letters"},
    {"t = { " TOOL "http = \"https://h.example/x#y\"; };", "characters that a URL does not have"},
    {"t = { " TOOL "http = \"https://h.example/a b\"; };", "characters that a URL does not have"},
    /* The whole. */
    {"t = { " TOOL "};", "reads from one place"},
    {"t = { " TOOL "redis = \"GET k\"; http = \"https://h.example/x\"; };", "reads from one place"},
    {"t = { redis = \"GET k\"; };", "tools.t.why"},
    {"t = { " TOOL "redis = \"GET k\"; max_bites = 3; };", "max_bites"},
    {"t = { " TOOL "redis = \"GET k\"; max_bytes = 1000000; };", "max_bytes"},
    {"t = { " TOOL "redis = \"GET k\"; timeout_ms = 100000; };", "timeout_ms"},
    {"proposal = { " TOOL "redis = \"GET k\"; };", "is what the decision itself is called"},
};

static void test_every_mistake_in_a_tool_is_refused_with_its_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(*mistakes); i++) {
        char more[600];

        (void)snprintf(more, sizeof(more), "tools = { %s }; " BUDGET, mistakes[i].tools);
        refuse_policy(&(struct parts){.more = more}, mistakes[i].says);
    }
}

static void test_tools_and_their_budget_need_each_other(void **state)
{
    (void)state;
    refuse_policy(&(struct parts){.more = "tools = { t = { why = \"w\"; redis = \"GET k\"; }; };"},
                  "budget.max_tool_calls is 0");
    refuse_policy(&(struct parts){.more = BUDGET}, "has no tools to bound");
    refuse_policy(
        &(struct parts){.more = "tools = { t = { why = \"w\"; redis = \"GET k\"; }; }; budget = "
                                "{ max_tool_calls = 1; max_model_calls = 1; };"},
        "needs a second model call");
    refuse_policy(&(struct parts){.more =
                                      BUDGET "tools = { t = { why = \"w\"; redis = \"GET k\"; }; "
                                             "}; redact = ( { path = \"/tools/u/x\"; op = "
                                             "\"mask\"; at = [\"prompt\"]; } );"},
                  "is of no tool");
    refuse_policy(&(struct parts){.context = "context = { tools = { redis = \"GET k\"; }; };"},
                  "is taken");
}

static void test_hosts_have_one_spelling(void **state)
{
    static const struct {
        const char *text, *name;
        unsigned port;
    } good[] = {
        {"api.example.com", "api.example.com", 443},
        {"API.Example.com:8443", "api.example.com", 8443},
        {"10.0.0.7:80", "10.0.0.7", 80},
        {"[::1]", "[::1]", 443},
        {"[0:0:0:0:0:0:0:1]:9", "[::1]", 9},
        {"localhost", "localhost", 443},
    };
    static const char *const bad[] = {
        "",
        "a b",
        "h.example.",
        ".h",
        "-h",
        "h-",
        "h..e",
        "u@h",
        "u:p@h",
        "h:0",
        "h:65536",
        "h:",
        "h:x",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "127.1",
        "127.0.0.01",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.0.0",
        "256.0.0.1",
        "[::1",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[fe80::1%eth0]",
        "[]",
        "h/x",
        "h\\x",
        "h%2ee",
        "\xC3\xA4.example",
        "1.2.3.4x",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        struct vd_tool_host host;

        assert_int_equal(vd_tool_host_parse(vd_span_of(good[i].text), 443, &host, NULL), VD_OK);
        assert_string_equal(host.name, good[i].name);
        assert_int_equal(host.port, good[i].port);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct vd_tool_host host;
        struct vd_err err;

        if (vd_tool_host_parse(vd_span_of(bad[i]), 443, &host, &err) != VD_E_CONFIG)
            fail_msg("\"%s\" is taken", bad[i]);
    }
}

/* The operator's list decides: name, port, and whether without TLS. */
static void test_a_host_must_be_allowed_by_the_settings(void **state)
{
    static const struct {
        const char *url, *says; /* NULL: allowed */
    } rows[] = {
        {"https://api.example.com/x", NULL},
        {"https://API.example.com:443/x", NULL},
        {"http://api.example.com:443/x", "without TLS"},
        {"https://api.example.com:444/x", "do not allow api.example.com port 444"},
        {"https://other.example.com/x", "do not allow other.example.com port 443"},
        {"http://plain.example.com/x", NULL},
        {"https://plain.example.com:80/x", NULL},
        {"https://plain.example.com/x", "port 443"},
    };
    struct vd_tool_allowed hosts[2];
    struct vd_policy_options options = {.tool_hosts = hosts, .tool_host_count = 2};

    (void)state;
    memset(hosts, 0, sizeof(hosts));
    assert_int_equal(vd_tool_host_parse(VD_LIT("api.example.com"), 443, &hosts[0].host, NULL),
                     VD_OK);
    assert_int_equal(vd_tool_host_parse(VD_LIT("plain.example.com"), 80, &hosts[1].host, NULL),
                     VD_OK);
    hosts[1].plain_http = true;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char more[300];
        char *text;
        struct vd_policy *policy = NULL;
        struct vd_diags diags;
        struct vd_buf says;

        (void)snprintf(more, sizeof(more),
                       "tools = { t = { why = \"w\"; http = \"%s\"; }; }; " BUDGET, rows[i].url);
        text = policy_text(&(struct parts){.more = more});
        vd_diags_init(&diags);
        vd_buf_init(&says, 1 << 16);
        assert_int_equal(
            vd_policy_parse(vd_span_of(text), "p.cfg", &options, &diags, &policy, NULL),
            rows[i].says == NULL ? VD_OK : VD_E_CONFIG);
        assert_int_equal(vd_diags_write(&diags, &says), VD_OK);
        if (rows[i].says != NULL && strstr(says.ptr, rows[i].says) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", rows[i].says, says.ptr);
        vd_policy_free(policy);
        vd_diags_fini(&diags);
        vd_buf_free(&says);
        vd_free(text);
    }
}

static void test_a_policy_with_tools_needs_a_model_that_can_call_them(void **state)
{
    static const struct vd_policy_model models[] = {{"plain", false, true}, {"able", false, false}};
    static const struct {
        const char *reasoning;
        size_t count;
        bool good;
    } rows[] = {
        {"reasoning = { goal = \"g\"; show = [\"/event/data\"]; };", 1, false},
        {"reasoning = { goal = \"g\"; show = [\"/event/data\"]; };", 2, true},
        {"reasoning = { goal = \"g\"; show = [\"/event/data\"]; models = [\"plain\"]; };", 2,
         false},
        {"reasoning = { goal = \"g\"; show = [\"/event/data\"]; models = [\"plain\", \"able\"]; };",
         2, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct vd_policy_options options = {.models = models, .model_count = rows[i].count};
        struct vd_policy *policy = NULL;
        struct vd_diags diags;
        char *text = policy_text(&(struct parts){
            .reasoning = rows[i].reasoning,
            .more = "tools = { t = { why = \"w\"; redis = \"GET k\"; }; }; " BUDGET});

        vd_diags_init(&diags);
        assert_int_equal(
            vd_policy_parse(vd_span_of(text), "p.cfg", &options, &diags, &policy, NULL),
            rows[i].good ? VD_OK : VD_E_CONFIG);
        vd_policy_free(policy);
        vd_diags_fini(&diags);
        vd_free(text);
    }
}

/* -- arguments --------------------------------------------------------------------------------------------------- */

struct scene {
    struct vd_policy *policy;
    struct vd_arena arena;
    struct vd_facts *facts;
    cJSON *event;
};

static void begin(struct scene *s, const char *tools, const char *event)
{
    char more[800];

    (void)snprintf(more, sizeof(more), "tools = { %s }; " BUDGET, tools);
    *s = (struct scene){.policy = load_policy(&(struct parts){.more = more}), .event = json(event)};
    vd_arena_init(&s->arena, VD_JOB_ARENA_MAX_BYTES);
    assert_int_equal(vd_facts_new(s->policy, s->event, 0, &s->arena, &s->facts, NULL), VD_OK);
    assert_int_equal(vd_facts_complete(s->facts, NULL), VD_OK);
}

static void end(struct scene *s)
{
    vd_facts_free(s->facts);
    vd_json_free(s->event);
    vd_arena_fini(&s->arena);
    vd_policy_free(s->policy);
}

#define EVENT "{\"type\":\"x\",\"data\":{\"id\":\"c7\",\"other\":\"a b/..\"}}"
#define MANY                                                                                       \
    "t = { " TOOL "redis = \"HGET k:{args.id}:{event.data.id} {args.n}\"; args = { id = { type = " \
    "\"string\"; from = \"[event.data.id, event.data.other]\"; }; n = { type = \"integer\"; min "  \
    "= 1; "                                                                                        \
    "max = 9; }; }; };"

static void test_only_declared_arguments_of_the_list_pass(void **state)
{
    static const struct {
        const char *arguments, *why; /* NULL: allowed */
    } rows[] = {
        {"{\"id\":\"c7\",\"n\":1}", NULL},
        {" {\"n\":9,\"id\":\"a b/..\"} ", NULL},
        {"{\"id\":\"c8\",\"n\":1}", "the argument id is refused; allowed"}, /* another customer's */
        {"{\"id\":\"c7 \",\"n\":1}", "the argument id is refused"},
        {"{\"id\":\"C7\",\"n\":1}", "the argument id is refused"},
        {"{\"id\":[\"c7\"],\"n\":1}", "the argument id is refused"},
        {"{\"id\":null,\"n\":1}", "the argument id is refused"},
        {"{\"id\":\"c7\",\"n\":0}", "the argument n is refused"},
        {"{\"id\":\"c7\",\"n\":10}", "the argument n is refused"},
        {"{\"id\":\"c7\",\"n\":1.5}", "the argument n is refused"},
        {"{\"id\":\"c7\",\"n\":\"1\"}", "the argument n is refused"},
        {"{\"id\":\"c7\"}", "the argument n is missing"},
        {"", "the argument id is missing"},
        {"{\"id\":\"c7\",\"n\":1,\"key\":\"admin\"}", "arguments that the tool does not have"},
        {"{\"id\":\"c7\",\"id\":\"c8\",\"n\":1}", "are not JSON"},
        {"{\"id\":\"c7\",\"n\":1} {}", "are not JSON"},
        {"[\"c7\",1]", "are not a JSON object"},
        {"\"c7\"", "are not a JSON object"},
    };
    struct scene s;

    (void)state;
    begin(&s, MANY, EVENT);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *why = NULL;
        cJSON *args = NULL;

        assert_int_equal(vd_tool_args(s.facts, &s.policy->tools[0], vd_span_of(rows[i].arguments),
                                      &args, &why, NULL),
                         VD_OK);
        if ((args != NULL) != (rows[i].why == NULL) ||
            (rows[i].why != NULL && strstr(why, rows[i].why) == NULL))
            fail_msg("%s: %s", rows[i].arguments, why != NULL ? why : "allowed");
        vd_json_free(args);
    }
    end(&s);
}

static enum vd_code aim(struct scene *s, const char *arguments, struct vd_tool_target *ret)
{
    const char *why = NULL;
    cJSON *args = NULL;
    enum vd_code rc;

    assert_int_equal(
        vd_tool_args(s->facts, &s->policy->tools[0], vd_span_of(arguments), &args, &why, NULL),
        VD_OK);
    assert_non_null(args);
    rc = vd_tool_aim(s->facts, &s->policy->tools[0], args, ret, NULL);
    vd_json_free(args);
    return rc;
}

static void test_arguments_are_encoded_where_they_stand(void **state)
{
    struct vd_tool_target target;
    struct scene s;

    (void)state;
    begin(&s, MANY, EVENT);
    assert_int_equal(aim(&s, "{\"id\":\"a b/..\",\"n\":4}", &target), VD_OK);
    assert_int_equal(target.argc, 3);
    assert_span_equal(target.argv[0], "HGET");
    assert_span_equal(target.argv[1], "k:a%20b%2F..:c7");
    assert_span_equal(target.argv[2], "4");
    end(&s);
    begin(&s, "t = { " TOOL "http = \"https://h.example/c/{args.id}?v={args.id}\"; " ID "};",
          EVENT);
    assert_int_equal(aim(&s, "{\"id\":\"a b/..\"}", &target), VD_OK);
    assert_span_equal(target.url, "https://h.example/c/a%20b%2F..?v=a%20b%2F..");
    end(&s);
}

/* "." and ".." need no encoding, and would climb out of /c/ on the way. */
static void test_a_value_of_dots_does_not_climb_in_a_path(void **state)
{
    static const char *const ids[] = {".", ".."};
    struct vd_tool_target target;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char event[100], arguments[40];
        struct scene s;

        (void)snprintf(event, sizeof(event),
                       "{\"type\":\"x\",\"data\":{\"id\":\"%s\",\"other\":1}}", ids[i]);
        (void)snprintf(arguments, sizeof(arguments), "{\"id\":\"%s\"}", ids[i]);
        begin(&s, "t = { " TOOL "http = \"https://h.example/c/{args.id}/orders\"; " ID "};", event);
        assert_int_equal(aim(&s, arguments, &target), VD_E_INPUT);
        end(&s);
        begin(&s, "t = { " TOOL "http = \"https://h.example/c/{args.id}\"; " ID "};", event);
        assert_int_equal(aim(&s, arguments, &target), VD_E_INPUT);
        end(&s);
        begin(&s, "t = { " TOOL "http = \"https://h.example/c?id={args.id}\"; " ID "};", event);
        assert_int_equal(aim(&s, arguments, &target), VD_OK);
        end(&s);
    }
}

/* -- answers ----------------------------------------------------------------------------------------------------- */

static void test_answers_are_shown_clean_redacted_and_cut(void **state)
{
    struct vd_tool_shown shown;
    struct scene s;
    cJSON *value;

    (void)state;
    begin(
        &s,
        "t = { " TOOL "redis = \"GET k\"; max_bytes = 60; }; }; redact = ( { path = "
        "\"/tools/t/mail\"; op = \"mask\"; at = [\"prompt\"]; }, { path = \"/tools/t/name\"; op = "
        "\"remove\"; at = [\"audit\"]; } ); let = {",
        EVENT);
    value = json("{\"mail\":\"a@b.example\",\"name\":\"Bob\",\"t\":\"a\\u202Eb\\u0007\"}");
    assert_int_equal(vd_tool_show(s.facts, &s.policy->tools[0], VD_LIT("rk"), value, &shown, NULL),
                     VD_OK);
    assert_span_equal(shown.text, "{\"mail\":\"***\",\"name\":\"Bob\",\"t\":\"ab\"}");
    assert_span_equal(shown.audit, "{\"mail\":\"a@b.example\",\"t\":\"ab\"}");
    assert_false(shown.cut);
    vd_json_free(shown.tree);
    vd_json_free(value);
    value = json("[\"0123456789\",\"0123456789\",\"0123456789\",\"0123456789\","
                 "\"\\u00e4\\u00e4\\u00e4\\u00e4\"]");
    assert_int_equal(vd_tool_show(s.facts, &s.policy->tools[0], VD_LIT("rk"), value, &shown, NULL),
                     VD_OK);
    assert_true(shown.cut);
    assert_true(shown.text.len == 60 || shown.text.len == 59); /* whole characters */
    vd_json_free(shown.tree);
    vd_json_free(value);
    assert_int_equal(vd_tool_show(s.facts, &s.policy->tools[0], VD_LIT("rk"), NULL, &shown, NULL),
                     VD_OK);
    assert_span_equal(shown.text, "null");
    vd_json_free(shown.tree);
    end(&s);
}

static void test_trust_in_a_tool_is_the_policys(void **state)
{
    struct scene s;

    (void)state;
    begin(&s,
          "t = { " TOOL "redis = \"GET k\"; }; u = { " TOOL "redis = \"GET k\"; trusted = true; };",
          EVENT);
    assert_false(vd_facts_trusted(s.facts, VD_LIT("/tools/t/x")));
    assert_true(vd_facts_trusted(s.facts, VD_LIT("/tools/u/x")));
    assert_true(vd_facts_trusted(s.facts, VD_LIT("/tools/u")));
    assert_false(vd_facts_trusted(s.facts, VD_LIT("/tools/v/x")));
    assert_false(vd_facts_trusted(s.facts, VD_LIT("/tools")));
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_mistake_in_a_tool_is_refused_with_its_words),
        cmocka_unit_test(test_tools_and_their_budget_need_each_other),
        cmocka_unit_test(test_hosts_have_one_spelling),
        cmocka_unit_test(test_a_host_must_be_allowed_by_the_settings),
        cmocka_unit_test(test_a_policy_with_tools_needs_a_model_that_can_call_them),
        cmocka_unit_test(test_only_declared_arguments_of_the_list_pass),
        cmocka_unit_test(test_arguments_are_encoded_where_they_stand),
        cmocka_unit_test(test_a_value_of_dots_does_not_climb_in_a_path),
        cmocka_unit_test(test_answers_are_shown_clean_redacted_and_cut),
        cmocka_unit_test(test_trust_in_a_tool_is_the_policys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
