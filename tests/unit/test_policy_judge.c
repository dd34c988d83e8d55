/* tests/unit/test_policy_judge.c - nothing outside the policy is accepted: every kind of bound at its edge, and errors refuse. */
#include "policy_unit.h"

#include "policy/judge.h"

struct scene {
    struct vd_policy *policy;
    struct vd_arena arena;
    struct vd_facts *facts;
    cJSON *event, *contexts[4], *params, *shown;
    struct vd_judgement judgement;
};

static void scene_begin(struct scene *s, const struct parts *parts, const char *event)
{
    struct vd_err err;

    *s = (struct scene){.policy = load_policy(parts), .event = json(event)};
    vd_arena_init(&s->arena, VD_JOB_ARENA_MAX_BYTES);
    assert_int_equal(vd_facts_new(s->policy, s->event, 1768478400000, &s->arena, &s->facts, &err),
                     VD_OK);
}

static void scene_end(struct scene *s)
{
    vd_judgement_fini(&s->judgement);
    vd_facts_free(s->facts);
    vd_json_free(s->event);
    vd_json_free(s->params);
    vd_json_free(s->shown);
    for (size_t i = 0; i < 4; i++)
        vd_json_free(s->contexts[i]);
    vd_arena_fini(&s->arena);
    vd_policy_free(s->policy);
}

static enum vd_judged judge(struct scene *s, const char *action, const char *params)
{
    struct vd_proposal proposal = {.action = vd_span_of(action)};

    assert_int_equal(vd_facts_complete(s->facts, NULL), VD_OK);
    vd_judgement_fini(&s->judgement);
    vd_json_free(s->params);
    s->params = params != NULL ? json(params) : NULL;
    proposal.params = s->params;
    assert_int_equal(vd_judge(s->facts, &proposal, &s->judgement, NULL), VD_OK);
    return s->judgement.judged;
}

static const struct vd_rule_result *rule(const struct scene *s, const char *id)
{
    for (size_t i = 0; i < s->judgement.rule_count; i++)
        if (strcmp(s->judgement.rules[i].id, id) == 0)
            return &s->judgement.rules[i];
    fail_msg("no rule %s", id);
    return NULL;
}

#define EVENT                                                                                      \
    "{\"type\":\"x\",\"data\":{\"id\":\"7\",\"limit\":5,\"list\":[\"a\",\"b\",\"c\"],\"low\":2,"   \
    "\"high\":4,\"zero\":0}}"

/* One param of action go, judged with value: accepted, and as what. */
struct param_row {
    const char *param, *value;
    const char *becomes; /* NULL: refused */
    enum vd_verdict verdict;
};

static void check_params(const struct param_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char actions[1024], params[256];
        struct vd_buf out;
        struct scene s;
        enum vd_judged judged;

        snprintf(actions, sizeof(actions),
                 "actions = { go = { params = { n = { %s }; }; }; stop = { }; };", rows[i].param);
        snprintf(params, sizeof(params), "{\"n\":%s}", rows[i].value);
        scene_begin(&s, &(struct parts){.actions = actions}, EVENT);
        judged = judge(&s, "go", params);
        vd_buf_init(&out, 4096);
        if (judged == VD_ACCEPT)
            assert_int_equal(vd_json_write(&out, vd_json_get(s.judgement.params, "n")), VD_OK);
        if ((judged == VD_ACCEPT) != (rows[i].becomes != NULL) ||
            rule(&s, "params.n")->verdict != rows[i].verdict ||
            (rows[i].becomes != NULL && !vd_span_eq_c(vd_buf_span(&out), rows[i].becomes)))
            fail_msg("row %zu: %s with %s: %s, %s, %.*s", i, rows[i].param, rows[i].value,
                     vd_judged_name(judged), vd_verdict_name(rule(&s, "params.n")->verdict),
                     (int)out.len, out.ptr != NULL ? out.ptr : "");
        vd_buf_free(&out);
        scene_end(&s);
    }
}

static void test_numbers_at_their_edges(void **state)
{
    static const struct param_row rows[] = {
        {"type = \"integer\"; min = 1; max = 10;", "1", "1", VD_PASS},
        {"type = \"integer\"; min = 1; max = 10;", "10", "10", VD_PASS},
        {"type = \"integer\"; min = 1; max = 10;", "0", NULL, VD_FAIL},
        {"type = \"integer\"; min = 1; max = 10;", "11", NULL, VD_FAIL},
        {"type = \"integer\";", "4.0", "4", VD_PASS},
        {"type = \"integer\";", "4.5", NULL, VD_FAIL},
        {"type = \"integer\";", "\"4\"", NULL, VD_FAIL},
        {"type = \"integer\";", "true", NULL, VD_FAIL},
        {"type = \"integer\";", "null", NULL, VD_FAIL},
        {"type = \"integer\";", "1e300", NULL, VD_FAIL},
        {"type = \"integer\";", "1e999", NULL, VD_FAIL},
        {"type = \"integer\";", "9223372036854775808", NULL, VD_FAIL},
        {"type = \"integer\"; max = 9223372036854775806L;", "9223372036854775807", NULL, VD_FAIL},
        {"type = \"integer\"; min = \"event.data.low\"; max = \"event.data.high\";", "4", "4",
         VD_PASS},
        {"type = \"integer\"; min = \"event.data.low\"; max = \"event.data.high\";", "5", NULL,
         VD_FAIL},
        {"type = \"integer\"; max = \"event.data.none\";", "1", NULL, VD_ERROR_VERDICT},
        {"type = \"integer\"; max = \"event.data.list\";", "1", NULL, VD_ERROR_VERDICT},
        {"type = \"integer\"; max = \"1 / event.data.zero\";", "1", NULL, VD_ERROR_VERDICT},
        {"type = \"integer\"; max = \"0.0 / double(event.data.zero)\";", "1", NULL,
         VD_ERROR_VERDICT},
        {"type = \"integer\"; enum = [3, 5];", "5", "5", VD_PASS},
        {"type = \"integer\"; enum = [3, 5];", "4", NULL, VD_FAIL},
        {"type = \"number\"; min = 0.5; max = 1;", "0.5", "0.5", VD_PASS},
        {"type = \"number\"; min = 0.5; max = 1;", "1", "1", VD_PASS},
        {"type = \"number\"; min = 0.5; max = 1;", "1.0000001", NULL, VD_FAIL},
        {"type = \"number\";", "\"1\"", NULL, VD_FAIL},
        {"type = \"number\";", "1e999", NULL, VD_FAIL},
    };

    (void)state;
    check_params(rows, sizeof(rows) / sizeof(*rows));
}

static void test_clamping_takes_the_nearest_allowed_value(void **state)
{
    static const struct param_row rows[] = {
        {"type = \"integer\"; min = 1; max = 10; on_fail = \"clamp\";", "400", "10", VD_CLAMPED},
        {"type = \"integer\"; min = 1; max = 10; on_fail = \"clamp\";", "-4", "1", VD_CLAMPED},
        {"type = \"integer\"; min = 1; max = 10; on_fail = \"clamp\";", "10", "10", VD_PASS},
        {"type = \"integer\"; min = \"2.5\"; max = \"7.5\"; on_fail = \"clamp\";", "1", "3",
         VD_CLAMPED},
        {"type = \"integer\"; min = \"2.5\"; max = \"7.5\"; on_fail = \"clamp\";", "9", "7",
         VD_CLAMPED},
        {"type = \"number\"; max = 0.5; on_fail = \"clamp\";", "0.75", "0.5", VD_CLAMPED},
        {"type = \"integer\"; min = \"event.data.high\"; max = \"event.data.low\"; on_fail = "
         "\"clamp\";",
         "3", NULL, VD_FAIL},
        {"type = \"integer\"; max = \"event.data.none\"; on_fail = \"clamp\";", "3", NULL,
         VD_ERROR_VERDICT},
        {"type = \"integer\"; max = 10; enum = [1, 2]; on_fail = \"clamp\";", "400", NULL, VD_FAIL},
        {"type = \"integer\"; max = 10; on_fail = \"clamp\";", "\"400\"", NULL, VD_FAIL},
    };

    (void)state;
    check_params(rows, sizeof(rows) / sizeof(*rows));
}

static void test_texts_lists_and_objects_at_their_edges(void **state)
{
#define FROM "type = \"string\"; from = \"event.data.list\";"
#define RANK                                                                                       \
    "type = \"array\"; from = \"event.data.list\"; unique = true; min_items = "                    \
    "\"size(event.data.list)\"; max_items = 3;"
#define LINES                                                                                      \
    "type = \"array\"; min_items = 1; max_items = 2; items = { type = \"object\"; fields = { sku " \
    "= { " FROM " }; "                                                                             \
    "q = { type = \"integer\"; min = 1; max = 9; }; }; };"
    static const struct param_row rows[] = {
        {"type = \"string\"; enum = [\"a\", \"b\"];", "\"b\"", "\"b\"", VD_PASS},
        {"type = \"string\"; enum = [\"a\", \"b\"];", "\"B\"", NULL, VD_FAIL},
        {"type = \"string\"; enum = [\"a\", \"b\"];", "\"a\\u0000\"", NULL, VD_FAIL},
        {FROM, "\"c\"", "\"c\"", VD_PASS},
        {FROM, "\"d\"", NULL, VD_FAIL},
        {"type = \"string\"; from = \"event.data.none\";", "\"a\"", NULL, VD_ERROR_VERDICT},
        {"type = \"string\"; from = \"event.data.limit\";", "\"a\"", NULL, VD_ERROR_VERDICT},
        {"type = \"string\"; pattern = \"[a-z]+\"; max_len = 3;", "\"abc\"", "\"abc\"", VD_PASS},
        {"type = \"string\"; pattern = \"[a-z]+\"; max_len = 3;", "\"abcd\"", NULL, VD_FAIL},
        {"type = \"string\"; pattern = \"[a-z]+\"; max_len = 3;", "\"a1\"", NULL, VD_FAIL},
        {"type = \"string\"; pattern = \"[a-z]+\"; max_len = 3;", "\"a\\n\"", NULL, VD_FAIL},
        {"type = \"string\"; pattern = \"a|b\"; max_len = 9;", "\"ax\"", NULL, VD_FAIL},
        {"type = \"string\"; pattern = \".*\"; max_len = 2;", "\"\\u00e9\\u00e9\"",
         "\"\xc3\xa9\xc3\xa9\"", VD_PASS},
        {"type = \"boolean\";", "false", "false", VD_PASS},
        {"type = \"boolean\";", "0", NULL, VD_FAIL},
        {RANK, "[\"c\",\"a\",\"b\"]", "[\"c\",\"a\",\"b\"]", VD_PASS},
        {RANK, "[\"c\",\"a\"]", NULL, VD_FAIL},
        {RANK, "[\"c\",\"a\",\"a\"]", NULL, VD_FAIL},
        {RANK, "[\"c\",\"a\",\"b\",\"b\"]", NULL, VD_FAIL},
        {RANK, "[\"c\",\"a\",\"x\"]", NULL, VD_FAIL},
        {LINES, "[{\"sku\":\"a\",\"q\":1}]", "[{\"sku\":\"a\",\"q\":1}]", VD_PASS},
        {LINES, "[{\"sku\":\"a\",\"q\":0}]", NULL, VD_FAIL},
        {LINES, "[{\"sku\":\"z\",\"q\":1}]", NULL, VD_FAIL},
        {LINES, "[{\"sku\":\"a\"}]", NULL, VD_FAIL},
        {LINES, "[{\"sku\":\"a\",\"q\":1,\"x\":2}]", NULL, VD_FAIL},
        {LINES, "[]", NULL, VD_FAIL},
        {LINES, "{}", NULL, VD_FAIL},
        {"type = \"array\"; items = { type = \"integer\"; min = \"event.data.none\"; };", "[1]",
         NULL, VD_ERROR_VERDICT},
    };

    (void)state;
    check_params(rows, sizeof(rows) / sizeof(*rows));
}

static void test_a_list_without_a_bound_still_has_one(void **state)
{
    struct vd_buf text;
    struct scene s;

    (void)state;
    vd_buf_init(&text, 1 << 20);
    (void)vd_buf_add_c(&text, "{\"n\":[");
    for (int i = 0; i <= VD_PARAM_MAX_ITEMS; i++)
        (void)vd_buf_add_c(&text, i == 0 ? "1" : ",1");
    (void)vd_buf_add_c(&text, "]}");
    scene_begin(&s,
                &(struct parts){.actions =
                                    "actions = { go = { params = { n = { type = \"array\"; items = "
                                    "{ type = \"integer\"; }; }; }; }; stop = { }; };"},
                EVENT);
    assert_int_equal(judge(&s, "go", text.ptr), VD_REPAIR);
    text.ptr[text.len - 4] = ' ';
    text.ptr[text.len - 3] = ' ';
    assert_int_equal(judge(&s, "go", text.ptr), VD_ACCEPT);
    vd_buf_free(&text);
    scene_end(&s);
}

/* -- actions and rules ------------------------------------------------------------------------------------------- */

static void test_only_declared_enabled_and_complete_actions_pass(void **state)
{
    struct scene s;

    (void)state;
    scene_begin(&s,
                &(struct parts){.actions = "actions = { go = { enable = \"event.data.limit > 4\"; "
                                           "params = { n = { type = \"integer\"; }; }; };"
                                           " off = { enable = \"event.data.limit > 5\"; }; broken "
                                           "= { enable = \"event.data.none\"; }; stop = { }; };"},
                EVENT);
    assert_int_equal(judge(&s, "go", "{\"n\":1}"), VD_ACCEPT);
    assert_string_equal(s.judgement.action->name, "go");
    assert_int_equal(judge(&s, "stop", NULL), VD_ACCEPT);
    assert_int_equal(judge(&s, "GO", "{\"n\":1}"), VD_REPAIR);
    assert_int_equal(rule(&s, "action.declared")->verdict, VD_FAIL);
    assert_null(s.judgement.params);
    assert_int_equal(judge(&s, "off", NULL), VD_REPAIR);
    assert_int_equal(rule(&s, "action.enabled")->verdict, VD_FAIL);
    assert_int_equal(judge(&s, "broken", NULL), VD_REPAIR);
    assert_int_equal(rule(&s, "action.enabled")->verdict, VD_ERROR_VERDICT);
    assert_int_equal(judge(&s, "go", "{}"), VD_REPAIR);
    assert_int_equal(rule(&s, "params.known")->verdict, VD_FAIL);
    assert_int_equal(judge(&s, "go", "{\"n\":1,\"m\":1}"), VD_REPAIR);
    assert_int_equal(rule(&s, "params.known")->verdict, VD_FAIL);
    assert_int_equal(judge(&s, "go", "[1]"), VD_REPAIR);
    scene_end(&s);
}

#define RULES(rules)                                                                               \
    "actions = { go = { params = { n = { type = \"integer\"; }; }; require = { " rules             \
    " }; }; stop = { }; };"

static void test_all_rules_are_judged_and_errors_refuse(void **state)
{
    struct scene s;

    (void)state;
    scene_begin(
        &s,
        &(struct parts){
            .actions = RULES("a = { expr = \"params.n < event.data.limit\"; why = \"wa\"; };"
                             " b = { expr = \"event.data.none\"; why = \"wb\"; };"
                             " c = { expr = \"event.data.limit\"; why = \"wc\"; };"
                             " d = { expr = \"params.n > 0 && action == 'go'\"; why = \"wd\"; };")},
        EVENT);
    assert_int_equal(judge(&s, "go", "{\"n\":9}"), VD_REPAIR);
    assert_int_equal(rule(&s, "a")->verdict, VD_FAIL);
    assert_true(rule(&s, "a")->has_headroom && rule(&s, "a")->headroom == -4.0);
    assert_int_equal(rule(&s, "b")->verdict, VD_ERROR_VERDICT);
    assert_int_equal(rule(&s, "c")->verdict, VD_ERROR_VERDICT);
    assert_int_equal(rule(&s, "d")->verdict, VD_PASS);
    assert_int_equal(s.judgement.failed, 3);
    scene_end(&s);
}

static void test_comparisons_hold_at_their_edge_only_where_they_say_so(void **state)
{
    static const struct {
        const char *op;
        bool below, at, above;
    } rows[] = {{"<", true, false, false},
                {"<=", true, true, false},
                {">", false, false, true},
                {">=", false, true, true}};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char actions[400];
        struct scene s;

        snprintf(actions, sizeof(actions),
                 RULES("r = { expr = \"params.n %s event.data.limit\"; why = \"w\"; };"),
                 rows[i].op);
        scene_begin(&s, &(struct parts){.actions = actions}, EVENT);
        assert_int_equal(judge(&s, "go", "{\"n\":4}") == VD_ACCEPT, rows[i].below);
        assert_true(rule(&s, "r")->has_headroom);
        assert_int_equal(judge(&s, "go", "{\"n\":5}") == VD_ACCEPT, rows[i].at);
        assert_true(rule(&s, "r")->headroom == 0.0);
        assert_int_equal(judge(&s, "go", "{\"n\":6}") == VD_ACCEPT, rows[i].above);
        scene_end(&s);
    }
}

static void test_what_a_failed_rule_leads_to(void **state)
{
    static const struct {
        const char *a, *b;
        enum vd_judged judged;
    } rows[] = {
        {"repair", "repair", VD_REPAIR},       {"reject", "repair", VD_REJECT},
        {"escalate", "escalate", VD_ESCALATE}, {"escalate", "repair", VD_REPAIR},
        {"escalate", "reject", VD_REJECT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char actions[512];
        struct scene s;

        snprintf(actions, sizeof(actions),
                 RULES("a = { expr = \"params.n < 1\"; why = \"w\"; on_fail = \"%s\"; }; b = { "
                       "expr = \"params.n < 2\"; why = \"w\"; on_fail = \"%s\"; };"),
                 rows[i].a, rows[i].b);
        scene_begin(&s, &(struct parts){.actions = actions}, EVENT);
        assert_int_equal(judge(&s, "go", "{\"n\":5}"), rows[i].judged);
        assert_int_equal(s.judgement.params != NULL, rows[i].judged == VD_ESCALATE);
        assert_int_equal(judge(&s, "go", "{\"n\":0}"), VD_ACCEPT);
        scene_end(&s);
    }
}

static void test_names_of_rules_are_unbound_outside_a_judgement(void **state)
{
    struct scene s;
    struct vd_cel_value v;

    (void)state;
    scene_begin(&s,
                &(struct parts){.actions = RULES("a = { expr = \"params.n < 1\"; why = \"w\"; };")},
                EVENT);
    assert_int_equal(judge(&s, "go", "{\"n\":0}"), VD_ACCEPT);
    assert_int_equal(vd_facts_eval(s.facts, s.policy->actions[0].rules[0].program, &v, NULL),
                     VD_OK);
    vd_judgement_fini(&s.judgement);
    assert_int_equal(vd_facts_eval(s.facts, s.policy->actions[0].rules[0].program, &v, NULL),
                     VD_E_INPUT);
    scene_end(&s);
}

static void test_a_job_has_a_budget_of_steps(void **state)
{
    struct scene s;
    struct vd_err err = {.msg = ""};
    enum vd_code rc = VD_OK;
    struct vd_cel_value v;

    (void)state;
    scene_begin(&s,
                &(struct parts){
                    .actions = RULES("a = { expr = \"event.data.list.all(x, event.data.list.all(y, "
                                     "x + y != ''))\"; why = \"w\"; };")},
                EVENT);
    for (long i = 0; i < 10000000 && rc == VD_OK; i++) {
        struct vd_arena_mark mark = vd_arena_mark(&s.arena);

        rc = vd_facts_eval(s.facts, s.policy->actions[0].rules[0].program, &v, &err);
        vd_arena_rewind(&s.arena, mark);
    }
    assert_int_equal(rc, VD_E_LIMIT);
    assert_int_equal(judge(&s, "go", "{\"n\":0}"), VD_REPAIR); /* and refuses from then on */
    scene_end(&s);
}

/* -- evidence and confidence ------------------------------------------------------------------------------------- */

static enum vd_judged judge_model(struct scene *s, const char *evidence, double confidence)
{
    cJSON *list = evidence != NULL ? json(evidence) : NULL;
    struct vd_proposal proposal = {.action = VD_LIT("go"),
                                   .by = VD_BY_MODEL,
                                   .has_confidence = true,
                                   .confidence = confidence,
                                   .evidence = list,
                                   .shown = s->shown};

    vd_judgement_fini(&s->judgement);
    vd_json_free(s->params);
    s->params = json("{\"n\":1}");
    proposal.params = s->params;
    assert_int_equal(vd_judge(s->facts, &proposal, &s->judgement, NULL), VD_OK);
    vd_json_free(list);
    return s->judgement.judged;
}

static void test_verified_needs_facts_that_exist_and_one_that_is_trusted(void **state)
{
    static const struct {
        const char *evidence;
        enum vd_verdict evidence_rule, proven;
    } rows[] = {
        {"[\"/event/data/limit\"]", VD_PASS, VD_PASS},
        {"[\"/event/data/limit\",\"/event/data/id\"]", VD_PASS, VD_PASS},
        {"[\"/event/data/id\"]", VD_PASS, VD_FAIL},
        {"[]", VD_PASS, VD_FAIL},
        {NULL, VD_PASS, VD_FAIL},
        {"[\"/event/data/limit\",\"/event/data/nothing\"]", VD_FAIL, VD_FAIL},
        {"[\"/event/data/list\"]", VD_FAIL, VD_FAIL}, /* exists, but was not shown */
        {"[\"\"]", VD_FAIL, VD_FAIL},
        {"[5]", VD_FAIL, VD_FAIL},
        {"[\"event.data.limit\"]", VD_FAIL, VD_FAIL},
    };
    struct scene s;

    (void)state;
    scene_begin(&s,
                &(struct parts){
                    .input = "input = { topics = [\"t\"]; when = \"true\"; key = \"k\"; trusted = "
                             "[\"/event/data/limit\"]; };",
                    .actions = RULES("proven = { expr = \"verified(evidence)\"; why = \"w\"; };")},
                EVENT);
    s.shown = json("{\"event\":{\"data\":{\"limit\":5,\"id\":\"7\"}}}");
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        enum vd_judged judged = judge_model(&s, rows[i].evidence, 1);

        if (rule(&s, "evidence")->verdict != rows[i].evidence_rule ||
            rule(&s, "proven")->verdict != rows[i].proven)
            fail_msg("row %zu: evidence %s, proven %s", i,
                     vd_verdict_name(rule(&s, "evidence")->verdict),
                     vd_verdict_name(rule(&s, "proven")->verdict));
        assert_int_equal(judged == VD_ACCEPT, rows[i].proven == VD_PASS);
    }
    scene_end(&s);
}

static void test_a_let_over_trusted_facts_of_the_event_verifies(void **state)
{
    static const struct {
        const char *evidence;
        enum vd_verdict proven;
    } rows[] = {
        {"[\"/half\"]", VD_PASS},
        {"[\"/half\",\"/named\"]", VD_PASS},
        {"[\"/named\"]", VD_FAIL},
        {"[\"/mixed\"]", VD_FAIL},
    };
    struct scene s;

    (void)state;
    scene_begin(&s,
                &(struct parts){
                    .input = "input = { topics = [\"t\"]; when = \"true\"; key = \"k\"; trusted = "
                             "[\"/event/data/limit\"]; };",
                    .let =
                        "let = { half = \"event.data.limit / 2\"; named = \"event.data.id\"; mixed "
                        "= \"event.data.id == '7' ? event.data.limit : 0\"; };",
                    .actions = RULES("proven = { expr = \"verified(evidence)\"; why = \"w\"; };")},
                EVENT);
    s.shown = json("{\"half\":2,\"named\":\"7\",\"mixed\":5}");
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        (void)judge_model(&s, rows[i].evidence, 1);
        assert_int_equal(rule(&s, "evidence")->verdict, VD_PASS);
        if (rule(&s, "proven")->verdict != rows[i].proven)
            fail_msg("row %zu", i);
    }
    scene_end(&s);
}

static void test_a_model_below_the_confidence_escalates(void **state)
{
    struct scene s;

    (void)state;
    scene_begin(
        &s,
        &(struct parts){.reasoning =
                            "reasoning = { goal = \"g\"; show = [\"/event\"]; confidence = 0.5; };",
                        .actions = RULES("")},
        EVENT);
    assert_int_equal(judge_model(&s, NULL, 0.5), VD_ACCEPT);
    assert_int_equal(judge_model(&s, NULL, 0.49), VD_ESCALATE);
    assert_non_null(s.judgement.params);
    assert_int_equal(judge(&s, "go", "{\"n\":1}"),
                     VD_ACCEPT); /* the policy's own choice is certain */
    scene_end(&s);
}

static void test_escalation_holds_on_true_and_on_error(void **state)
{
    static const struct {
        const char *when;
        bool escalates, early;
    } rows[] = {
        {"event.data.limit > 4", true, true},
        {"event.data.limit > 5", false, true},
        {"event.data.none", true, true},
        {"event.data.limit", true, true},
        {"params.n > 4", true, false},
        {"params.n > 5", false, false},
        {"decision.confidence < 0.5", false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char more[200];
        struct scene s;

        snprintf(more, sizeof(more), "escalate = { e = { when = \"%s\"; why = \"w\"; }; };",
                 rows[i].when);
        scene_begin(&s, &(struct parts){.more = more, .actions = RULES("")}, EVENT);
        assert_int_equal(s.policy->escalates[0].early, rows[i].early);
        assert_int_equal(vd_judge_escalates(s.facts, true) != NULL,
                         rows[i].escalates && rows[i].early);
        assert_int_equal(judge(&s, "go", "{\"n\":5}"), VD_ACCEPT);
        assert_int_equal(vd_judge_escalates(s.facts, false) != NULL, rows[i].escalates);
        scene_end(&s);
    }
}

static void test_a_choice_whose_expression_fails_is_refused(void **state)
{
    struct scene s;
    cJSON *params = NULL;

    (void)state;
    scene_begin(
        &s,
        &(struct parts){
            .actions = RULES(""),
            .fallback = "fallback = { action = \"go\"; params = { n = \"=event.data.none\"; }; };"},
        EVENT);
    assert_int_equal(vd_choice_params(s.facts, &s.policy->fallback, &params, NULL), VD_OK);
    assert_null(params->child);
    vd_json_free(params);
    scene_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_at_their_edges),
        cmocka_unit_test(test_clamping_takes_the_nearest_allowed_value),
        cmocka_unit_test(test_texts_lists_and_objects_at_their_edges),
        cmocka_unit_test(test_a_list_without_a_bound_still_has_one),
        cmocka_unit_test(test_only_declared_enabled_and_complete_actions_pass),
        cmocka_unit_test(test_all_rules_are_judged_and_errors_refuse),
        cmocka_unit_test(test_comparisons_hold_at_their_edge_only_where_they_say_so),
        cmocka_unit_test(test_what_a_failed_rule_leads_to),
        cmocka_unit_test(test_names_of_rules_are_unbound_outside_a_judgement),
        cmocka_unit_test(test_a_job_has_a_budget_of_steps),
        cmocka_unit_test(test_verified_needs_facts_that_exist_and_one_that_is_trusted),
        cmocka_unit_test(test_a_let_over_trusted_facts_of_the_event_verifies),
        cmocka_unit_test(test_a_model_below_the_confidence_escalates),
        cmocka_unit_test(test_escalation_holds_on_true_and_on_error),
        cmocka_unit_test(test_a_choice_whose_expression_fails_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
