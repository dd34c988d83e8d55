/* tests/unit/test_limits.c - limits across decisions, without Redis: what is refused at load, what a decision wants, and what
 * becomes of it when there is so much left, and when there is not. */
#include "policy_unit.h"
#include "reason_unit.h"

#include <stdlib.h>

#include "reason/decide.h"

#define INPUT                                                                                      \
    "input = { topics = [\"t\"]; when = \"event.type == 'x'\"; key = \"{event.data.id}\"; };"
#define ACTIONS                                                                                    \
    "actions = { go = { params = { n = { type = \"integer\"; min = 0; max = 100; }; }; }; stop = " \
    "{ }; };"
#define LIMIT                                                                                      \
    "limits = { cap = { key = \"all\"; window_s = 60; max = 10; measure = \"params.n\"; "          \
    "when = \"action == 'go'\"; why = \"Ten an hour.\"; "
#define EVENT                                                                                      \
    "{\"type\":\"x\",\"data\":{\"id\":\"7\",\"room\":10,\"kind\":\"offer\",\"lines\":[{\"sku\":"   \
    "\"a\",\"n\":2},{\"sku\":\"b c\",\"n\":3}]}}"

#define GO(n)                                                                                      \
    "{\"action\":\"go\",\"params\":{\"n\":" #n "},\"confidence\":0.9,\"rationale\":\"\","          \
    "\"evidence\":[]}"

/* -- loading ------------------------------------------------------------------------------------------------------- */

static void test_what_does_not_go_together_is_refused(void **state)
{
    static const struct {
        const char *limit, *says;
    } rows[] = {
        {"key = \"a\"; max = 1;", "neither window_s nor hold_s"},
        {"key = \"a\"; window_s = 60;", "max"},
        {"window_s = 60; max = 1;", "key"},
        {"key = \"a\"; window_s = 60; max = -1;", "from 0 to 2^53"},
        {"key = \"a\"; window_s = 60; max = 1.5;", "from 0 to 2^53"},
        {"key = \"a\"; window_s = 60; max = 9007199254740993L;", "from 0 to 2^53"},
        {"key = \"a\"; window_s = 60; max = \"'x'\";", "is a string"},
        {"key = \"a\"; window_s = 60; max = 1; measure = \"true\";", "is a bool"},
        {"key = \"a\"; window_s = 60; max = 1; each = \"1\";", "must be a list"},
        {"key = \"a\"; window_s = 60; max = 1; when = \"1\";", "must be a bool"},
        {"key = \"a\"; window_s = 60; max = 1; confirm = \"true\";", "can be confirmed"},
        {"key = \"a\"; window_s = 60; max = 1; release = \"true\";", "can be released"},
        {"key = \"a\"; hold_s = 60; window_s = 60; max = 1;", "nothing confirms it"},
        {"key = \"{item.sku}\"; window_s = 60; max = 1;", "item"},
        {"key = \"{nothing}\"; window_s = 60; max = 1;", "nothing"},
        {"key = \"a\"; window_s = 60; max = 1; on_exceed = \"clamp\";", "on_exceed"},
        {"key = \"a\"; window_s = 60; max = 1; windows = 1;", "windows"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char more[400];

        (void)snprintf(more, sizeof(more), "limits = { l = { %s }; };", rows[i].limit);
        refuse_policy(&(struct parts){.more = more}, rows[i].says);
    }
    refuse_policy(&(struct parts){.more = "budget = { per_key = { window_s = 60; }; };"},
                  "max_model_calls");
    refuse_policy(&(struct parts){.let = "let = { item = \"1\"; };"}, "\"item\" is taken");
}

static void test_how_long_a_limit_is_closed_after_a_loss(void **state)
{
    struct vd_policy *p = load_policy(&(struct parts){
        .more =
            "limits = { a = { key = \"k\"; window_s = 60; max = 1; };"
            "b = { key = \"k\"; hold_s = 300; max = 1; release = \"true\"; };"
            "c = { key = \"k\"; hold_s = 300; max = 1; confirm = \"true\"; };"
            "d = { key = \"k\"; hold_s = 300; window_s = 7200; max = 1; confirm = \"true\"; };"
            "e = { key = \"k\"; hold_s = 300; window_s = 60; max = 1; confirm = \"true\"; }; };"});
    const struct vd_limit *l = p->limits;

    (void)state;
    assert_int_equal(p->limit_count, 5);
    assert_true(!l[0].holds && l[0].keep_ms == 60000 && l[0].closed_ms == 60000);
    assert_true(l[1].holds && l[1].keep_ms == 300000 && l[1].closed_ms == 300000);
    assert_true(l[2].confirmed_ms == 2592000000 && l[2].closed_ms == 2592000000);
    assert_true(l[3].confirmed_ms == 7200000 && l[3].closed_ms == 7200000);
    assert_true(l[4].confirmed_ms == 60000 && l[4].closed_ms == 300000);
    assert_string_equal(l[0].id, "limits.a");
    assert_string_equal(l[0].base, "limit:t.policy:a");
    (void)vd_policy_free(p);
}

/* -- deciding ------------------------------------------------------------------------------------------------------ */

struct scene {
    struct vd_policy *policy;
    cJSON *event, *answers, *limits;
    struct vd_decide d;
};

/* answers: a JSON array; used: an object. */
static const struct vd_outcome *decide(struct scene *s, const struct parts *parts,
                                       const char *answers, const char *used)
{
    struct parts mine = *parts;
    struct vd_decide_input input = {0};
    struct vd_err err = {.msg = ""};

    mine.input = INPUT;
    if (mine.actions == NULL)
        mine.actions = ACTIONS;
    *s = (struct scene){.policy = load_policy(&mine),
                        .event = json(EVENT),
                        .answers = json(answers),
                        .limits = json(used)};
    input = (struct vd_decide_input){
        .policy = s->policy, .event = s->event, .answers = s->answers, .limits = s->limits};
    if (vd_decide(&input, &s->d, &err) != VD_OK || s->d.failed_stage != NULL)
        fail_msg("%s", err.msg);
    return vd_reason_outcome(s->d.reason);
}

static void end(struct scene *s)
{
    vd_decide_fini(&s->d);
    vd_json_free(s->event);
    vd_json_free(s->answers);
    vd_json_free(s->limits);
    (void)vd_policy_free(s->policy);
}

static const struct vd_rule_result *rule(const struct vd_outcome *o, const char *id)
{
    for (size_t i = 0; i < o->rule_count; i++)
        if (strcmp(o->rules[i].id, id) == 0)
            return &o->rules[i];
    return NULL;
}

/* The same where it must be there. */
static const struct vd_rule_result *rule_of(const struct vd_outcome *o, const char *id)
{
    const struct vd_rule_result *found = rule(o, id);

    if (found == NULL) {
        fail_msg("there is no rule %s", id);
        abort(); /* fail_msg() does not come back, which the compiler does not know */
    }
    return found;
}

static void test_what_exactly_fits_is_decided(void **state)
{
    struct scene s;
    const struct vd_outcome *o =
        decide(&s, &(struct parts){.more = LIMIT "}; };"}, "[" GO(4) "]", "{\"cap\":6}");

    (void)state;
    assert_int_equal(o->status, VD_DECIDED);
    assert_int_equal(rule_of(o, "limits.cap")->verdict, VD_PASS);
    assert_true(rule_of(o, "limits.cap")->has_headroom && rule_of(o, "limits.cap")->headroom == 0);
    assert_int_equal(o->plan->want_count, 1);
    assert_int_equal(o->plan->wants[0].amount, 4);
    assert_int_equal(o->plan->wants[0].max, 10);
    assert_span_equal(o->plan->wants[0].key, "all");
    assert_int_equal(o->reserved[0].used, 6);
    end(&s);
}

static void test_one_more_goes_back_with_what_is_left(void **state)
{
    struct scene s;
    const struct vd_outcome *o =
        decide(&s, &(struct parts){.more = LIMIT "}; };"}, "[" GO(5) "," GO(4) "]", "{\"cap\":6}");
    cJSON *record = NULL;
    char *text;

    (void)state;
    assert_int_equal(o->status, VD_DECIDED);
    assert_int_equal(o->usage.repairs, 1);
    record = record_of(s.d.reason);
    text = cJSON_PrintUnformatted(record);
    assert_non_null(strstr(text, "limits.cap: Ten an hour. Allowed: at most 4 left."));
    assert_non_null(strstr(text, "{\"id\":\"limits.cap\",\"verdict\":\"fail\",\"headroom\":-1}"));
    assert_non_null(strstr(text, "\"answer\":\"exceeded\""));
    assert_non_null(strstr(text, "\"answer\":\"reserved\""));
    cJSON_free(text);
    vd_json_free(record);
    end(&s);
}

static void test_what_is_done_about_a_limit_that_is_reached(void **state)
{
    static const struct {
        const char *more;
        enum vd_status status;
        const char *action, *degraded;
    } rows[] = {
        {LIMIT "on_exceed = \"repair\"; }; }; budget = { max_repairs = 0; };", VD_FALLBACK, "stop",
         "repairs_spent"},
        {LIMIT "on_exceed = \"reject\"; }; };", VD_FALLBACK, "stop", "limit_exceeded"},
        {LIMIT "on_exceed = \"escalate\"; }; };", VD_ESCALATED, "go", NULL},
    };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct scene s;
        const struct vd_outcome *o = decide(&s, &(struct parts){.more = rows[i].more},
                                            "[" GO(5) "," GO(1) "]", "{\"cap\":6}");

        assert_int_equal(o->status, rows[i].status);
        assert_string_equal(o->action->name, rows[i].action);
        if (rows[i].degraded != NULL)
            assert_string_equal(o->degraded_reason, rows[i].degraded);
        else
            assert_string_equal(o->reason_text, "limits.cap: Ten an hour.");
        assert_true(rows[i].status == VD_ESCALATED || o->plan == NULL || o->plan->want_count == 0);
        end(&s);
    }
}

static void test_a_fallback_and_a_shortcut_are_reserved_too(void **state)
{
    static const char fallback[] = "fallback = { action = \"go\"; params = { n = 3; }; };";
    static const char shortcut[] =
        "shortcut = { s = { when = \"true\"; action = \"go\"; params = { n = 3; }; }; };";
    char more[500];
    struct scene s;
    const struct vd_outcome *o;

    (void)state;
    o = decide(&s, &(struct parts){.fallback = fallback, .more = LIMIT "}; };"}, "[]",
               "{\"cap\":7}");
    assert_int_equal(o->status, VD_FALLBACK);
    assert_int_equal(o->plan->wants[0].amount, 3);
    end(&s);
    o = decide(&s, &(struct parts){.fallback = fallback, .more = LIMIT "}; };"}, "[]",
               "{\"cap\":8}");
    assert_int_equal(o->status, VD_ESCALATED);
    assert_string_equal(o->degraded_reason, "model_unavailable");
    assert_string_equal(o->reason_text, "limits.cap: Ten an hour.");
    assert_null(o->plan);
    end(&s);
    (void)snprintf(more, sizeof(more), LIMIT "}; }; %s", shortcut);
    o = decide(&s, &(struct parts){.more = more}, "[]", "{\"cap\":7}");
    assert_int_equal(o->decided_by, VD_BY_SHORTCUT);
    assert_int_equal(o->status, VD_DECIDED);
    end(&s);
    o = decide(&s, &(struct parts){.more = more}, "[]", "{\"cap\":8}");
    assert_int_equal(o->status, VD_ESCALATED);
    assert_string_equal(o->degraded_reason, "limit_exceeded");
    end(&s);
}

static void test_zero_and_other_actions_need_nothing(void **state)
{
    struct scene s;
    const struct vd_outcome *o =
        decide(&s, &(struct parts){.more = LIMIT "}; };"}, "[" GO(0) "]", "{\"cap\":10}");

    (void)state;
    assert_int_equal(o->status, VD_DECIDED);
    assert_null(rule(o, "limits.cap"));
    assert_int_equal(o->plan->want_count, 0);
    end(&s);
    o = decide(&s, &(struct parts){.more = LIMIT "}; };"}, "[]", "{\"cap\":10}");
    assert_int_equal(o->status, VD_FALLBACK);
    assert_null(rule(o, "limits.cap"));
    end(&s);
}

static void test_max_may_be_computed(void **state)
{
    static const struct {
        const char *max;
        int64_t n;
    } rows[] = {{"event.data.room - 3", 7},
                {"double(event.data.room) * 0.25", 2},
                {"event.data.room - 100", 0},
                {"uint(event.data.room)", 10},
                {"event.data.room * 1000", 10000}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct scene s;
        char more[300];
        const struct vd_outcome *o;

        (void)snprintf(more, sizeof(more),
                       "limits = { cap = { key = \"all\"; window_s = 60; max = \"%s\"; measure = "
                       "\"has(params.n) ? params.n : 0\"; on_exceed = \"reject\"; }; };",
                       rows[i].max);
        o = decide(&s, &(struct parts){.more = more}, "[" GO(1) "]", "{}");
        if (rows[i].n > 0)
            assert_int_equal(o->plan->wants[0].max, rows[i].n);
        else
            assert_string_equal(o->degraded_reason, "limit_exceeded");
        end(&s);
    }
}

/* Whatever cannot be evaluated counts as exceeded; nobody is asked then. */
static void test_faults_count_as_exceeded(void **state)
{
    static const char *const limits[] = {
        "key = \"all\"; max = \"event.data.none\";",
        "key = \"all\"; max = \"event.data.kind\";",
        "key = \"all\"; max = 10; measure = \"event.data.none\";",
        "key = \"all\"; max = 10; measure = \"params.n - 5\";",
        "key = \"all\"; max = 10; measure = \"1.5\";",
        "key = \"all\"; max = 10; measure = \"event.data.kind\";",
        "key = \"all\"; max = 10; measure = \"9007199254740993\";",
        "key = \"{event.data.none}\"; max = 10;",
        "key = \"{event.data.lines}\"; max = 10;",
        "key = \"all\"; max = 10; each = \"event.data.none\";",
        "key = \"all\"; max = 10; each = \"event.data.kind\";",
        "key = \"{item.none}\"; max = 10; each = \"event.data.lines\";",
        "key = \"all\"; max = 10; when = \"event.data.none\";",
        "key = \"all\"; max = 10; when = \"event.data.kind\";",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
        struct scene s;
        char more[300];
        const struct vd_outcome *o;

        (void)snprintf(more, sizeof(more),
                       "limits = { cap = { window_s = 60; on_exceed = \"escalate\"; %s }; };",
                       limits[i]);
        o = decide(&s, &(struct parts){.more = more}, "[" GO(1) "]", "{}");
        if (o->status != VD_ESCALATED || rule(o, "limits.cap") == NULL ||
            rule_of(o, "limits.cap")->verdict != VD_ERROR_VERDICT)
            fail_msg("%s was let through", limits[i]);
        assert_null(o->plan);
        end(&s);
    }
}

static void test_each_item_is_reserved_and_none_or_all(void **state)
{
    static const char more[] =
        "limits = { stock = { key = \"sku:{item.sku}\"; hold_s = 60; each = \"event.data.lines\"; "
        "measure = \"item.n\"; max = \"item.sku == 'a' ? 100 : 5\"; when = \"action == 'go'\"; }; "
        "};";
    struct scene s;
    const struct vd_outcome *o =
        decide(&s, &(struct parts){.more = more}, "[" GO(1) "]", "{\"stock\":2}");

    (void)state;
    assert_int_equal(o->status, VD_DECIDED);
    assert_int_equal(o->plan->want_count, 2);
    assert_span_equal(o->plan->wants[0].key, "sku:a");
    assert_span_equal(o->plan->wants[1].key, "sku:b%20c");
    assert_int_equal(o->plan->wants[1].amount, 3);
    assert_int_equal(o->plan->wants[1].max, 5);
    assert_true(rule_of(o, "limits.stock")->headroom == 0);
    end(&s);
    o = decide(&s, &(struct parts){.more = more}, "[" GO(1) "," GO(1) "]", "{\"stock\":3}");
    assert_int_equal(o->status, VD_FALLBACK);
    assert_string_equal(o->degraded_reason, "repairs_spent");
    assert_null(rule(o, "limits.stock"));
    end(&s);
}

static void test_too_many_items_are_refused(void **state)
{
    for (int n = VD_LIMIT_MAX_ITEMS; n <= VD_LIMIT_MAX_ITEMS + 1; n++) {
        struct scene s;
        struct vd_buf more;
        const struct vd_outcome *o;

        (void)state;
        vd_buf_init(&more, 1 << 16);
        (void)vd_buf_add_c(&more,
                           "limits = { l = { key = \"{item}\"; window_s = 60; max = 1; "
                           "on_exceed = \"escalate\"; when = \"action == 'go'\"; each = \"[0");
        for (int i = 1; i < n; i++)
            (void)vd_buf_addf(&more, ",%d", i);
        (void)vd_buf_add_c(&more, "]\"; }; };");
        o = decide(&s, &(struct parts){.more = more.ptr}, "[" GO(1) "]", "{}");
        assert_int_equal(o->status, n <= VD_LIMIT_MAX_ITEMS ? VD_DECIDED : VD_ESCALATED);
        end(&s);
        vd_buf_free(&more);
    }
}

static void test_confirm_and_release_go_with_what_is_decided(void **state)
{
    static const char more[] =
        "limits = { h = { key = \"all\"; hold_s = 60; max = 10; when = \"false\"; "
        "confirm = \"action == 'go'\"; release = \"action == 'stop'\"; };"
        "e = { key = \"all\"; hold_s = 60; max = 10; when = \"false\"; confirm = "
        "\"event.data.none\"; release = \"event.data.kind\"; }; };";
    struct scene s;
    const struct vd_outcome *o = decide(&s, &(struct parts){.more = more}, "[" GO(1) "]", "{}");

    (void)state;
    assert_int_equal(o->plan->change_count, 1);
    assert_true(o->plan->changes[0].confirm && !o->plan->changes[0].release);
    end(&s);
    o = decide(&s, &(struct parts){.more = more}, "[]", "{}");
    assert_int_equal(o->plan->change_count, 1);
    assert_true(!o->plan->changes[0].confirm && o->plan->changes[0].release);
    end(&s);
}

static void test_a_person_s_decision_reserves_nothing(void **state)
{
    struct scene s;
    const struct vd_outcome *o =
        decide(&s,
               &(struct parts){.more = LIMIT
                               "}; }; escalate = { big = { when = \"decision.params.n > 3\"; "
                               "why = \"big\"; }; };"},
               "[" GO(4) "]", "{\"cap\":10}");

    (void)state;
    assert_int_equal(o->status, VD_ESCALATED);
    assert_string_equal(o->source, "big");
    assert_null(o->plan);
    end(&s);
}

/* -- the state RESERVE, driven by hand ------------------------------------------------------------------------------ */

struct hand {
    struct vd_policy *policy;
    struct vd_arena arena;
    struct vd_facts *facts;
    struct vd_reason *reason;
    cJSON *event;
};

static void take_in_hand(struct hand *h, const struct parts *parts, bool no_limits)
{
    struct vd_reason_start start = {.decision_id = VD_LIT("id"),
                                    .marker_key = VD_LIT("m"),
                                    .redact_key = VD_LIT("r"),
                                    .no_limits = no_limits};
    struct parts mine = *parts;

    mine.input = INPUT;
    mine.actions = ACTIONS;
    *h = (struct hand){.policy = load_policy(&mine), .event = json(EVENT)};
    vd_arena_init(&h->arena, VD_JOB_ARENA_MAX_BYTES);
    assert_int_equal(vd_facts_new(h->policy, h->event, 0, &h->arena, &h->facts, NULL), VD_OK);
    assert_int_equal(vd_facts_complete(h->facts, NULL), VD_OK);
    start.facts = h->facts;
    assert_int_equal(vd_reason_new(&start, &h->reason, NULL), VD_OK);
}

static void answer(struct hand *h, const char *text)
{
    struct vd_answer a = {.kind = VD_ANSWER_TEXT, .text = vd_span_of(text)};

    assert_int_equal(vd_reason_state(h->reason), VD_REASON_ASK);
    assert_int_equal(vd_reason_answer(h->reason, &a, NULL), VD_OK);
}

static void put_down(struct hand *h)
{
    vd_reason_free(h->reason);
    vd_facts_free(h->facts);
    vd_json_free(h->event);
    vd_arena_fini(&h->arena);
    (void)vd_policy_free(h->policy);
}

static void test_shadow_reserves_nothing(void **state)
{
    struct hand h;

    (void)state;
    take_in_hand(&h, &(struct parts){.more = LIMIT "}; };"}, true);
    answer(&h, GO(50));
    assert_int_equal(vd_reason_outcome(h.reason)->status, VD_DECIDED);
    assert_null(vd_reason_outcome(h.reason)->plan);
    put_down(&h);
}

/* Nobody says what is left: asking the model again would change nothing. */
static void test_without_an_answer_a_limit_counts_as_exceeded(void **state)
{
    struct vd_reserved closed = {.used = 0, .ok = false, .closed_until_ms = 5};
    struct hand h;

    (void)state;
    for (int i = 0; i < 2; i++) {
        take_in_hand(&h, &(struct parts){.more = LIMIT "}; };"}, false);
        answer(&h, GO(1));
        assert_int_equal(vd_reason_state(h.reason), VD_REASON_RESERVE);
        assert_int_equal(vd_reason_reservations(h.reason)->want_count, 1);
        assert_int_equal(vd_reason_stop(h.reason, VD_STOP_NO_MODEL, NULL), VD_OK);
        assert_int_equal(vd_reason_state(h.reason), VD_REASON_RESERVE);
        assert_int_equal(vd_reason_reserved(h.reason,
                                            i == 0 ? VD_RESERVE_UNAVAILABLE : VD_RESERVE_EXCEEDED,
                                            i == 0 ? NULL : &closed, NULL),
                         VD_OK);
        assert_int_equal(vd_reason_outcome(h.reason)->status, VD_FALLBACK);
        assert_string_equal(vd_reason_outcome(h.reason)->degraded_reason,
                            i == 0 ? "limits_unavailable" : "limits_closed");
        put_down(&h);
    }
}

/* The fallback of a refused proposal may need an amount as well. */
static void test_an_exceeded_fallback_is_escalated(void **state)
{
    struct vd_reserved full = {.used = 9};
    struct hand h;

    (void)state;
    take_in_hand(
        &h,
        &(struct parts){.fallback = "fallback = { action = \"go\"; params = { n = 2; }; };",
                        .more = LIMIT "on_exceed = \"reject\"; }; };"},
        false);
    answer(&h, GO(5));
    assert_int_equal(vd_reason_reserved(h.reason, VD_RESERVE_EXCEEDED, &full, NULL), VD_OK);
    assert_int_equal(vd_reason_state(h.reason), VD_REASON_RESERVE);
    assert_int_equal(vd_reason_reservations(h.reason)->wants[0].amount, 2);
    assert_int_equal(vd_reason_reserved(h.reason, VD_RESERVE_EXCEEDED, &full, NULL), VD_OK);
    assert_int_equal(vd_reason_outcome(h.reason)->status, VD_ESCALATED);
    assert_string_equal(vd_reason_outcome(h.reason)->degraded_reason, "limit_exceeded");
    put_down(&h);
}

static void test_an_event_that_is_stale_goes_before_a_shortcut(void **state)
{
    struct hand h;

    (void)state;
    take_in_hand(&h,
                 &(struct parts){.more = LIMIT "}; }; shortcut = { s = { when = \"true\"; action = "
                                               "\"go\"; params = { n = 3; }; }; };"},
                 false);
    assert_int_equal(vd_reason_state(h.reason), VD_REASON_RESERVE);
    assert_int_equal(vd_reason_stop(h.reason, VD_STOP_STALE, NULL), VD_OK);
    assert_int_equal(vd_reason_outcome(h.reason)->status, VD_FALLBACK);
    assert_string_equal(vd_reason_outcome(h.reason)->degraded_reason, "stale");
    put_down(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_does_not_go_together_is_refused),
        cmocka_unit_test(test_how_long_a_limit_is_closed_after_a_loss),
        cmocka_unit_test(test_what_exactly_fits_is_decided),
        cmocka_unit_test(test_one_more_goes_back_with_what_is_left),
        cmocka_unit_test(test_what_is_done_about_a_limit_that_is_reached),
        cmocka_unit_test(test_a_fallback_and_a_shortcut_are_reserved_too),
        cmocka_unit_test(test_zero_and_other_actions_need_nothing),
        cmocka_unit_test(test_max_may_be_computed),
        cmocka_unit_test(test_faults_count_as_exceeded),
        cmocka_unit_test(test_each_item_is_reserved_and_none_or_all),
        cmocka_unit_test(test_too_many_items_are_refused),
        cmocka_unit_test(test_confirm_and_release_go_with_what_is_decided),
        cmocka_unit_test(test_a_person_s_decision_reserves_nothing),
        cmocka_unit_test(test_shadow_reserves_nothing),
        cmocka_unit_test(test_without_an_answer_a_limit_counts_as_exceeded),
        cmocka_unit_test(test_an_exceeded_fallback_is_escalated),
        cmocka_unit_test(test_an_event_that_is_stale_goes_before_a_shortcut),
    };

    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
