/* tests/unit/test_policy_load.c - what loads, what is refused and how it is said, identity, sets of policies. */
#include "policy_unit.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/set.h"

static void test_the_smallest_policy_has_the_defaults(void **state)
{
    struct vd_policy *p = load_policy(&(struct parts){0});

    (void)state;
    assert_string_equal(p->id, "t.policy");
    assert_int_equal(p->mode, VD_MODE_SHADOW);
    assert_int_equal(p->budget.deadline_ms, 10000);
    assert_int_equal(p->budget.max_model_calls, 3);
    assert_int_equal(p->budget.max_repairs, 1);
    assert_int_equal(p->max_queue_per_key, 64);
    assert_int_equal(p->rationale_max_chars, VD_RATIONALE_MAX_CHARS);
    assert_int_equal(strlen(p->hash_hex), 64);
    assert_true(vd_policy_reads(p, VD_LIT("t")));
    assert_false(vd_policy_reads(p, VD_LIT("tt")));
    assert_string_equal(p->actions[0].output_type, "verdict.decision.t.policy.go");
    vd_policy_free(p);
}

static void test_every_mistake_is_refused_with_its_words(void **state)
{
#define ACT(params, rest)                                                                          \
    .actions = "actions = { go = { params = { n = { " params " }; }; " rest " }; stop = { }; };"
    static const struct {
        struct parts parts;
        const char *says;
    } rows[] = {
        {{.head = "policy = { id = \"A\"; version = 1; };"}, "small letters"},
        {{.head = "policy = { version = 1; };"}, "policy.id is missing"},
        {{.head = "policy = { id = \"a\"; version = 0; };"}, "policy.version is 0"},
        {{.head = ""}, "policy is missing"},
        {{.head = "policy = { id = \"a\"; version = 1; mode = \"canary\"; };"},
         "there is no canary section"},
        {{.input = "input = { topics = []; when = \"true\"; key = \"k\"; };"},
         "input.topics is empty"},
        {{.input = "input = { topics = [\"a/b\"]; when = \"true\"; key = \"k\"; };"},
         "is no topic name"},
        {{.input = "input = { topics = [\"a\"]; when = \"1 + 1\"; key = \"k\"; };"},
         "is a int, it must be a bool"},
        {{.input = "input = { topics = [\"a\"]; when = \"evnt.x\"; key = \"k\"; };"}, "input.when"},
        {{.input = "input = { topics = [\"a\"]; when = \"false\"; key = \"k\"; };"},
         "always false"},
        {{.input = "input = { topics = [\"a\"]; when = \"true\"; key = \"{event.id\"; };"},
         "never closed"},
        {{.input = "input = { topics = [\"a\"]; when = \"true\"; key = \"k}\"; };"},
         "closes nothing"},
        {{.input = "input = { topics = [\"a\"]; when = \"true\"; key = \"k\"; dedupe = { id = "
                   "\"{c.id}\"; }; };",
          .context = "context = { c = { redis = \"HGETALL c:{event.id}\"; }; };"},
         "input.dedupe.id is evaluated before the context is read"},
        {{.input =
              "input = { topics = [\"a\"]; when = \"true\"; key = \"k\"; dedupe = { window_s = "
              "0; }; };"},
         "input.dedupe.window_s"},
        {{.input = "input = { topics = [\"a\"]; when = \"true\"; key = \"k\"; dedupe = { "
                   "window_s = 7776001; }; };"},
         "1 to 7776000"},
        {{.input = "input = { topics = [\"a\"]; when = \"true\"; key = \"k\"; dedupe = "
                   "\"{event.id}\"; };"},
         "input.dedupe"},
        {{.input =
              "input = { topics = [\"a\"]; when = \"true\"; key = \"k\"; schema = \"x.json\"; };"},
         "\"x.json\""},
        {{.let = "let = { a = \"b\"; b = \"a\"; };"}, "let.a depends on itself"},
        {{.let = "let = { event = \"1\"; };"}, "\"event\" is taken"},
        {{.let = "let = { a-b = \"1\"; };"}, "is not a name"},
        {{.let = "let = { a = 1; };"}, "let.a is a integer"},
        {{.context = "context = { c = { redis = \"KEYS *\"; }; };"}, "is no read"},
        {{.context = "context = { c = { redis = \"GET\"; }; };"}, "is no read"},
        {{.context = "context = { c = { redis = \"LRANGE k 0 -1\"; }; };"}, "literal bounds"},
        {{.context = "context = { c = { redis = \"LRANGE k 0 {event.n}\"; }; };"},
         "literal bounds"},
        {{.context = "context = { c = { redis = \"ZRANGE k 0 999999\"; }; };"}, "literal bounds"},
        {{.context = "context = { c = { redis = \"HMGET k\"; }; };"}, "at least 2 words"},
        {{.context = "context = { c = { redis = \"{event.x} k\"; }; };"}, "is no read"},
        {{.context = "context = { c = { redis = \"GET {d.x}\"; }; d = { redis = \"GET y\"; }; };"},
         "one round trip"},
        {{.context = "context = { c = { redis = \"GET x\"; required = true; default = 1; }; };"},
         "has no default"},
        {{.context = "context = { c = { redis = \"GET x\"; }; };", .let = "let = { c = \"1\"; };"},
         "there is a context of that name"},
        {{.context = "context = { c = { redis = \"GET x\"; }; };",
          .input = "input = { topics = [\"a\"]; when = \"c == 'x'\"; key = \"k\"; };"},
         "before the context is read"},
        {{.context = "context = { c = { redis = \"GET x\"; }; };",
          .let = "let = { d = \"c\"; };",
          .input = "input = { topics = [\"a\"]; when = \"true\"; key = \"{d}\"; };"},
         "before the context is read"},
        {{.actions = "actions = { };"}, "actions is empty"},
        {{ACT("type = \"int\";", "")}, "\"integer\" or \"number\""},
        {{ACT("type = \"string\";", "")}, "nothing bounds"},
        {{ACT("type = \"string\"; pattern = \"a+\";", "")}, "no max_len"},
        {{ACT("type = \"string\"; pattern = \"a(\"; max_len = 3;", "")}, "n"},
        {{ACT("type = \"array\";", "")}, "items nothing bounds"},
        {{ACT("type = \"object\";", "")}, "without fields"},
        {{ACT("type = \"integer\"; pattern = \"a\";", "")},
         "says nothing about a param of type integer"},
        {{ACT("type = \"integer\"; on_fail = \"clamp\";", "")}, "no numeric bound to clamp to"},
        {{ACT("type = \"integer\"; min = 2; max = 1;", "")}, "allows nothing"},
        {{ACT("type = \"integer\"; min = 1.5;", "")}, "is no bound"},
        {{ACT("type = \"integer\"; enum = [\"a\"];", "")}, "of another type"},
        {{ACT("type = \"integer\"; from = \"1\";", "")}, "must be a list"},
        {{ACT("type = \"integer\";",
              "require = { r = { expr = \"params.m < 1\"; why = \"w\"; }; };")},
         "\"m\""},
        {{ACT("type = \"integer\";", "require = { r = { expr = \"params.n < 1\"; }; };")},
         "why is missing"},
        {{ACT("type = \"integer\";", "require = { r = { expr = \"params.n\"; why = \"w\"; }; };")},
         "must be a bool"},
        {{ACT("type = \"integer\";", "enable = \"1 > 2\";")}, "can never be chosen: enable"},
        {{ACT("type = \"integer\";", "require = { r = { expr = \"1 > 2\"; why = \"w\"; }; };")},
         "can never be chosen: rule r"},
        {{.reasoning = "reasoning = { goal = \"g\"; show = []; };"}, "reasoning.show is empty"},
        {{.reasoning = "reasoning = { goal = \"g\"; show = [\"/evnt/x\"]; };"}, "write: event"},
        {{.reasoning = "reasoning = { goal = \"g\"; show = [\"/now\"]; };"}, "starts with no name"},
        {{.reasoning = "reasoning = { goal = \"g\"; show = [\"/event\"]; confidence = 2; };"},
         "confidence is 2"},
        {{.fallback = "fallback = { action = \"stp\"; };"}, "write: stop"},
        {{.fallback = "fallback = { action = \"go\"; };"}, "param n of go is missing"},
        {{.fallback = "fallback = { action = \"go\"; params = { n = 1; m = 2; }; };"},
         "has no such param"},
        {{.fallback = "fallback = { action = \"go\"; params = { n = 11; }; };"},
         "fallback can never pass: param n"},
        {{ACT("type = \"integer\";",
              "require = { r = { expr = \"params.n < 5\"; why = \"w\"; }; };"),
          .fallback = "fallback = { action = \"go\"; params = { n = 5; }; };"},
         "fallback can never pass: rule r"},
        {{.fallback = "fallback = { action = \"stop\"; otherwise = \"shrug\"; };"},
         "otherwise is \"shrug\""},
        {{.fallback = ""}, "fallback is missing"},
        {{.more = "shortcut = { s = { when = \"true\"; action = \"nope\"; }; };"},
         "there is no action \"nope\""},
        {{.more = "escalate = { e = { when = \"true\"; }; };"}, "why is missing"},
        {{.more = "redact = ( { path = \"/event/x\"; op = \"mask\"; at = [\"moon\"]; } );"},
         "is no place"},
        {{.more = "redact = ( { path = \"/moon/x\"; op = \"mask\"; at = [\"log\"]; } );"},
         "starts with no name"},
        {{.more = "redact = { };"}, "redact is a group"},
        {{.more = "budget = { max_tool_calls = 1; };"}, "max_tool_calls has no tools to bound"},
        {{.more = "budget = { on_unavailable = \"give_up\"; };"}, "fallback"},
        {{.more = "budget = { max_model_calls = 21; };"}, "max_model_calls is 21"},
        {{.more = "state = { };"}, "state.fields is missing"},
        {{.more = "memory = { };"}, "memory.write is missing"},
        {{.more = "canary = { };"}, "canary says nothing unless"},
        {{.more = "lmits = { };"}, "write: limits"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        refuse_policy(&rows[i].parts, rows[i].says);
#undef ACT
}

static void test_lets_are_ordered_by_need(void **state)
{
    struct vd_policy *p = load_policy(
        &(struct parts){.let = "let = { c = \"b + 1\"; b = \"a + 1\"; a = \"event.data.n\"; };"});

    (void)state;
    assert_string_equal(p->lets[0].name, "a");
    assert_string_equal(p->lets[1].name, "b");
    assert_string_equal(p->lets[2].name, "c");
    assert_true(p->lets[2].early);
    vd_policy_free(p);
}

static void test_a_let_is_trusted_when_all_it_uses_is(void **state)
{
    struct vd_policy *p = load_policy(&(struct parts){
        .context = "context = { a = { redis = \"GET a\"; trusted = true; }; b = { redis = \"GET "
                   "b\"; }; };",
        .let = "let = { x = \"a\"; y = \"x + b\"; z = \"event.id\"; k = \"1\"; };"});

    (void)state;
    for (size_t i = 0; i < p->let_count; i++)
        assert_int_equal(p->lets[i].trusted, strchr("xk", p->lets[i].name[0]) != NULL);
    vd_policy_free(p);
}

/* input.trusted names /event/data/kind, /event/data/paid and the ids of /event/data/items; a is ours, b is not. */
static void test_a_let_over_the_event_is_trusted_when_input_trusted_covers_it(void **state)
{
    static const struct {
        const char *expr;
        bool trusted;
    } rows[] = {
        {"event.data.kind", true},
        {"event.data['kind']", true},
        {"event['data'].kind", true},
        {"event.data.paid.amount * 2 + 1", true},
        {"event.data.paid['by'][0]", true},
        {"has(event.data.kind) && has(event.data.paid.at)", true},
        {"event.data.kind == 'x' ? a : event.data.paid", true},
        {"{'x': 1, 'y': 2}[event.data.kind]", true},
        {"event.data.paid.parts.map(p, p.amount).sum()", true},
        {"a.filter(x, x == event.data.kind)", true},
        {"event.data.items[0].id", true},
        {"get(event.data.kind, 'none')", true},
        {"get(event.data.paid.amount, a)", true},
        {"[1, 2].map(event, event)", true}, /* a variable of the macro, nothing of the event */
        {"first + event.data.kind", true},
        /* one place that is not named */
        {"event.data.note", false},
        {"event.data.kind + event.data.note", false},
        {"event.data.note == '' ? event.data.kind : ''", false},
        {"event.data.kind == '' && has(event.data.note)", false},
        {"get(event.data.kind, event.data.note)", false},
        {"get(event.data.note, event.data.kind)", false},
        {"event.data.paid.parts.map(p, event.data.note)", false},
        {"a.filter(x, x == event.data.note)", false},
        {"event.data.paid[event.data.note]", false},
        {"{'x': event.data.note}", false},
        {"{event.data.note: 1}", false},
        {"string(event.data.note)", false},
        {"event.data.kind + b", false},
        {"event.data.kind + second", false},
        /* more than what is named */
        {"event.data", false},
        {"event.data != null", false},
        {"has(event.data)", false},
        {"size(event) > 0", false},
        {"[event][0].data.kind", false},
        {"event.data.items", false},
        {"event.data.items[0]", false},
        {"event.data.items.size()", false},
        {"event.data.items.map(i, i.id)", false},
        {"[event.data].map(d, d.kind)", false},
        /* not written out, or something else by the same letters */
        {"event.data['ki' + 'nd']", true}, /* a constant */
        {"event.data['ki' + string(a)]", false},
        {"event[a].kind", false},
        {"event.data.items[a].id", false},
        {"event.data.items['0'].id", false},
        {"event.kind", false},
        {"event.data.kinds", false},
        {"event.data.x.kind", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char let[300];
        struct vd_policy *p;

        (void)snprintf(let, sizeof(let),
                       "let = { it = \"%s\"; first = \"event.data.kind\"; second = "
                       "\"event.data.note\"; };",
                       rows[i].expr);
        p = load_policy(&(struct parts){
            .input = "input = { topics = [\"t\"]; when = \"true\"; key = \"k\"; trusted = "
                     "[\"/event/data/kind\", \"/event/data/paid\", \"/event/data/items/*/id\"]; };",
            .context = "context = { a = { redis = \"GET a\"; trusted = true; }; b = { redis = "
                       "\"GET b\"; }; };",
            .let = let});
        for (size_t l = 0; l < p->let_count; l++)
            if (strcmp(p->lets[l].name, "it") == 0 && p->lets[l].trusted != rows[i].trusted)
                fail_msg("%s: trusted is %d", rows[i].expr, p->lets[l].trusted);
        vd_policy_free(p);
    }
}

static void test_a_let_over_all_of_a_trusted_event_is_trusted(void **state)
{
    struct vd_policy *p = load_policy(&(struct parts){
        .input =
            "input = { topics = [\"t\"]; when = \"true\"; key = \"k\"; trusted = [\"/event\"]; };",
        .let = "let = { whole = \"size(event)\"; part = \"event.data[event.type]\"; };"});

    (void)state;
    assert_true(p->lets[0].trusted && p->lets[1].trusted);
    vd_policy_free(p);
}

static void test_a_comparison_has_sides_and_others_have_none(void **state)
{
    static const struct {
        const char *expr;
        enum vd_rule_op op;
    } rows[] = {
        {"params.n < event.data.a", VD_RULE_LT},
        {"params.n <= event.data.a", VD_RULE_LE},
        {"params.n > event.data.a", VD_RULE_GT},
        {"params.n >= event.data.a", VD_RULE_GE},
        {"params.n == event.data.a", VD_RULE_OPAQUE},
        {"params.n < 1 || event.data.b", VD_RULE_OPAQUE},
        {"!(params.n < event.data.a)", VD_RULE_OPAQUE},
        {"[1, 2].exists(x, x < params.n)", VD_RULE_OPAQUE},
        {"event.data.a == '<'", VD_RULE_OPAQUE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char actions[512];
        struct vd_policy *p;

        snprintf(actions, sizeof(actions),
                 "actions = { go = { params = { n = { type = \"integer\"; }; }; require = { r = { "
                 "expr = \"%s\"; why = \"w\"; }; }; }; stop = { }; };",
                 rows[i].expr);
        p = load_policy(&(struct parts){.actions = actions});
        assert_int_equal(p->actions[0].rules[0].op, rows[i].op);
        vd_policy_free(p);
    }
}

static void test_the_hash_is_of_the_content(void **state)
{
    struct vd_policy *a = load_policy(&(struct parts){0});
    struct vd_policy *same = load_policy(&(struct parts){.more = "# a comment\n\n"});
    struct vd_policy *other =
        load_policy(&(struct parts){.more = "budget = { deadline_ms = 10001; };"});

    (void)state;
    assert_string_equal(a->hash_hex, same->hash_hex);
    assert_string_not_equal(a->hash_hex, other->hash_hex);
    vd_policy_free(a);
    vd_policy_free(same);
    vd_policy_free(other);
}

static void test_models_must_exist_and_a_money_budget_needs_prices(void **state)
{
    static const struct vd_policy_model models[] = {{"big", true, false}, {"free", false, false}};
    struct vd_policy_options options = {.models = models, .model_count = 2};
    static const struct {
        const char *models, *says;
    } rows[] = {
        {"[\"big\"]", NULL}, {"[\"bigg\"]", "no model \"bigg\""}, {"[\"free\"]", "has no prices"}};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char reasoning[200];
        struct parts parts = {.more = "budget = { max_cost_microusd = 5; };",
                              .reasoning = reasoning};
        struct vd_policy *p = NULL;
        struct vd_diags diags;
        char *text;
        enum vd_code rc;

        snprintf(reasoning, sizeof(reasoning),
                 "reasoning = { goal = \"g\"; show = [\"/event\"]; models = %s; };",
                 rows[i].models);
        text = policy_text(&parts);
        vd_diags_init(&diags);
        rc = vd_policy_parse(vd_span_of(text), "p", &options, &diags, &p, NULL);
        assert_int_equal(rc, rows[i].says == NULL ? VD_OK : VD_E_CONFIG);
        if (rows[i].says != NULL)
            assert_non_null(strstr(diags.items[0].what, rows[i].says));
        vd_diags_fini(&diags);
        vd_policy_free(p);
        vd_free(text);
    }
}

/* -- sets -------------------------------------------------------------------------------------------------------- */

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/vdpolicyXXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int drop_dir(void **state)
{
    static const char *const names[] = {"a.cfg", "b.cfg", "c.txt"};
    char path[128];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    return rmdir(dir);
}

static void write_policy(const char *name, const struct parts *parts)
{
    char path[128];
    char *text = policy_text(parts);
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    vd_free(text);
}

static enum vd_code load_set(struct vd_policy_set **ret, struct vd_diags *diags)
{
    const char *paths[] = {dir};

    vd_diags_init(diags);
    return vd_policy_set_load(paths, 1, NULL, diags, ret, NULL);
}

static void test_a_set_refuses_two_policies_of_one_id(void **state)
{
    struct vd_policy_set *set = NULL;
    struct vd_diags diags;

    (void)state;
    write_policy("a.cfg", &(struct parts){0});
    write_policy("b.cfg", &(struct parts){0});
    assert_int_equal(load_set(&set, &diags), VD_E_CONFIG);
    assert_non_null(strstr(diags.items[0].what, "is also that of"));
    vd_diags_fini(&diags);
}

static void test_a_set_names_the_errors_of_all_its_files(void **state)
{
    struct vd_policy_set *set = NULL;
    struct vd_diags diags;

    (void)state;
    write_policy("a.cfg", &(struct parts){.fallback = ""});
    write_policy("b.cfg", &(struct parts){.actions = "actions = { };", .fallback = ""});
    assert_int_equal(load_set(&set, &diags), VD_E_CONFIG);
    assert_true(diags.errors >= 3);
    vd_diags_fini(&diags);
}

static void test_one_version_has_one_content_and_going_back_is_said(void **state)
{
    struct vd_policy_set *one = NULL, *two = NULL;
    struct vd_diags diags;

    (void)state;
    write_policy("a.cfg", &(struct parts){.head = "policy = { id = \"p\"; version = 2; };"});
    write_policy("b.cfg", &(struct parts){0});
    assert_int_equal(load_set(&one, &diags), VD_OK);
    assert_int_equal(vd_policy_set_count(one), 2);
    assert_non_null(vd_policy_set_find(one, VD_LIT("p")));

    assert_int_equal(load_set(&two, &diags), VD_OK);
    assert_int_equal(vd_policy_set_may_replace(one, two, &diags, NULL), VD_OK);
    assert_int_equal(diags.warnings, 0);
    vd_policy_set_release(two);

    write_policy("a.cfg",
                 &(struct parts){.head = "policy = { id = \"p\"; version = 2; owner = \"x\"; };"});
    assert_int_equal(load_set(&two, &diags), VD_OK);
    assert_int_equal(vd_policy_set_may_replace(one, two, &diags, NULL), VD_E_CONFIG);
    vd_policy_set_release(two);
    vd_diags_fini(&diags);

    write_policy("a.cfg",
                 &(struct parts){.head = "policy = { id = \"p\"; version = 1; owner = \"x\"; };"});
    assert_int_equal(load_set(&two, &diags), VD_OK);
    assert_int_equal(vd_policy_set_may_replace(one, two, &diags, NULL), VD_OK);
    assert_int_equal(diags.warnings, 1);
    vd_policy_set_release(two);
    assert_ptr_equal(vd_policy_set_retain(one), one);
    vd_policy_set_release(one);
    assert_int_equal(vd_policy_set_count(one), 2); /* still held once */
    vd_policy_set_release(one);
    vd_diags_fini(&diags);
}

static void test_no_allocation_failure_leaks_or_crashes(void **state)
{
    struct parts parts = {
        .let = "let = { a = \"event.data.n + 1\"; };",
        .context = "context = { c = { redis = \"GET k:{event.id}\"; default = { x = 1; }; }; };",
        .more = "escalate = { e = { when = \"a > 1\"; why = \"w\"; }; }; redact = ( { path = "
                "\"/c/x\"; op = \"hash\"; at = [\"log\"]; } );"};
    char *text = policy_text(&parts);
    bool loaded = false;
    long tries = 0;

    (void)state;
    for (long n = 0; n < 20000 && !loaded; n++) {
        struct vd_policy *p = NULL;
        struct vd_diags diags;
        struct vd_err err = {.msg = ""};

        vd_diags_init(&diags);
        vd_alloc_fail_after(n);
        loaded = vd_policy_parse(vd_span_of(text), "p", NULL, &diags, &p, &err) == VD_OK;
        vd_alloc_fail_after(-1);
        vd_policy_free(p);
        vd_diags_fini(&diags);
        if (!loaded && err.code != VD_E_NOMEM)
            fail_msg("allocation %ld: %s", n, err.msg);
        tries = n;
    }
    assert_true(loaded);
    assert_true(tries > 20);
    vd_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_smallest_policy_has_the_defaults),
        cmocka_unit_test(test_every_mistake_is_refused_with_its_words),
        cmocka_unit_test(test_lets_are_ordered_by_need),
        cmocka_unit_test(test_a_let_is_trusted_when_all_it_uses_is),
        cmocka_unit_test(test_a_let_over_the_event_is_trusted_when_input_trusted_covers_it),
        cmocka_unit_test(test_a_let_over_all_of_a_trusted_event_is_trusted),
        cmocka_unit_test(test_a_comparison_has_sides_and_others_have_none),
        cmocka_unit_test(test_the_hash_is_of_the_content),
        cmocka_unit_test(test_models_must_exist_and_a_money_budget_needs_prices),
        cmocka_unit_test(test_a_set_refuses_two_policies_of_one_id),
        cmocka_unit_test(test_a_set_names_the_errors_of_all_its_files),
        cmocka_unit_test(test_one_version_has_one_content_and_going_back_is_said),
        cmocka_unit_test(test_no_allocation_failure_leaks_or_crashes),
    };

    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
