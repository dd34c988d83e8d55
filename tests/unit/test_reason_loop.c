/* tests/unit/test_reason_loop.c - the bounded loop: budgets at their edges, repairs, bad answers, fallbacks, and the record of it all. */
#include "policy_unit.h"
#include "reason_unit.h"

#include "reason/decide.h"
#include "reason/proposal.h"

struct scene {
    struct vd_policy *policy;
    struct vd_arena arena;
    struct vd_facts *facts;
    struct vd_reason *reason;
    cJSON *event;
};

#define EVENT                                                                                      \
    "{\"type\":\"x\",\"data\":{\"id\":\"7\",\"limit\":5,\"text\":\"bob \\\"b\\\" @mail\"}}"
#define GOOD                                                                                       \
    "{\"action\":\"go\",\"params\":{\"n\":3},\"confidence\":0.9,\"rationale\":\"r\",\"evidence\":" \
    "[\"/event/data/limit\"]}"
#define BAD                                                                                        \
    "{\"action\":\"go\",\"params\":{\"n\":9},\"confidence\":0.9,\"rationale\":\"r\",\"evidence\":" \
    "[]}"

static void begin(struct scene *s, const struct parts *parts)
{
    struct vd_reason_start start = {
        .decision_id = VD_LIT("id"), .marker_key = VD_LIT("mk"), .redact_key = VD_LIT("rk")};

    *s = (struct scene){.policy = load_policy(parts), .event = json(EVENT)};
    vd_arena_init(&s->arena, VD_JOB_ARENA_MAX_BYTES);
    assert_int_equal(vd_facts_new(s->policy, s->event, 0, &s->arena, &s->facts, NULL), VD_OK);
    assert_int_equal(vd_facts_complete(s->facts, NULL), VD_OK);
    start.facts = s->facts;
    assert_int_equal(vd_reason_new(&start, &s->reason, NULL), VD_OK);
}

static void end(struct scene *s)
{
    vd_reason_free(s->reason);
    vd_facts_free(s->facts);
    vd_json_free(s->event);
    vd_arena_fini(&s->arena);
    vd_policy_free(s->policy);
}

static void answer_with(struct scene *s, enum vd_answer_kind kind, const char *text, int64_t in,
                        int64_t out, int64_t cost)
{
    struct vd_answer a = {.kind = kind,
                          .text = vd_span_of(text),
                          .model = "m",
                          .provider = "p",
                          .input_tokens = in,
                          .output_tokens = out,
                          .cost_microusd = cost};

    assert_int_equal(vd_reason_state(s->reason), VD_REASON_ASK);
    assert_int_equal(vd_reason_answer(s->reason, &a, NULL), VD_OK);
}

static void answer(struct scene *s, const char *text)
{
    answer_with(s, VD_ANSWER_TEXT, text, 10, 10, 1);
}

static const struct vd_outcome *outcome(const struct scene *s)
{
    assert_int_equal(vd_reason_state(s->reason), VD_REASON_DONE);
    return vd_reason_outcome(s->reason);
}

static void assert_fallback(const struct scene *s, const char *reason)
{
    assert_int_equal(outcome(s)->status, VD_FALLBACK);
    assert_int_equal(outcome(s)->decided_by, VD_BY_FALLBACK);
    assert_string_equal(outcome(s)->degraded_reason, reason);
    assert_string_equal(outcome(s)->action->name, "stop");
}

static void test_a_good_answer_decides(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, &(struct parts){0});
    assert_int_equal(vd_reason_ask(s.reason)->message_count, 2);
    assert_int_equal(vd_reason_ask(s.reason)->step, 1);
    answer(&s, GOOD);
    assert_int_equal(outcome(&s)->status, VD_DECIDED);
    assert_int_equal(outcome(&s)->decided_by, VD_BY_MODEL);
    assert_null(outcome(&s)->degraded_reason);
    assert_true(outcome(&s)->has_confidence && outcome(&s)->confidence == 0.9);
    assert_span_equal(outcome(&s)->rationale, "r");
    assert_int_equal(cJSON_GetArraySize(outcome(&s)->evidence), 1);
    assert_int_equal(outcome(&s)->usage.model_calls, 1);
    assert_int_equal(outcome(&s)->usage.input_tokens, 10);
    assert_string_equal(outcome(&s)->usage.model, "m");
    end(&s);
}

static void test_a_refused_proposal_goes_back_with_the_reason(void **state)
{
    struct scene s;
    const struct vd_ask *ask;

    (void)state;
    begin(&s, &(struct parts){0});
    answer(&s, BAD);
    ask = vd_reason_ask(s.reason);
    assert_int_equal(ask->step, 2);
    assert_int_equal(ask->message_count, 4);
    assert_int_equal(ask->messages[2].role, VD_ROLE_ASSISTANT);
    assert_true(has(ask->messages[2].text, "\"n\":9"));
    assert_true(has(ask->messages[3].text, "small"));
    answer(&s, GOOD);
    assert_int_equal(outcome(&s)->status, VD_DECIDED);
    assert_int_equal(outcome(&s)->usage.repairs, 1);
    end(&s);
}

static void test_repairs_end_at_their_number(void **state)
{
    (void)state;
    for (int max = 0; max <= 2; max++) {
        char more[100];
        struct scene s;

        snprintf(more, sizeof(more), "budget = { max_model_calls = 9; max_repairs = %d; };", max);
        begin(&s, &(struct parts){.more = more});
        for (int i = 0; i <= max; i++)
            answer(&s, i % 2 == 0 ? BAD : "not json");
        assert_fallback(&s, max % 2 == 0 ? "repairs_spent" : "answer_unreadable");
        assert_int_equal(outcome(&s)->usage.model_calls, max + 1);
        assert_int_equal(outcome(&s)->usage.repairs, max);
        end(&s);
    }
}

static void test_calls_end_at_their_number(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, &(struct parts){.more = "budget = { max_model_calls = 0; };"});
    assert_fallback(&s, "budget_model_calls");
    end(&s);
    begin(&s, &(struct parts){.more = "budget = { max_model_calls = 2; max_repairs = 9; };"});
    answer(&s, BAD);
    answer(&s, BAD);
    assert_fallback(&s, "budget_model_calls");
    assert_int_equal(outcome(&s)->usage.model_calls, 2);
    end(&s);
}

/* One token less than the first question needs asks nothing; what was spent counts for the second. */
static void test_input_tokens_are_measured_before_they_are_sent(void **state)
{
    char more[120];
    struct scene s;
    int64_t first;

    (void)state;
    begin(&s, &(struct parts){.more = "budget = { max_model_calls = 5; };"});
    first = vd_reason_ask(s.reason)->input_tokens_estimate;
    assert_true(first > 100);
    end(&s);
    snprintf(more, sizeof(more), "budget = { max_model_calls = 5; max_input_tokens = %lld; };",
             (long long)first);
    begin(&s, &(struct parts){.more = more});
    assert_int_equal(vd_reason_state(s.reason), VD_REASON_ASK);
    answer_with(&s, VD_ANSWER_TEXT, BAD, first, 10, 1);
    assert_fallback(&s, "budget_input_tokens");
    end(&s);
    begin(&s, &(struct parts){.more = "budget = { max_model_calls = 5; max_input_tokens = 50; };"});
    assert_fallback(&s, "budget_input_tokens");
    assert_int_equal(outcome(&s)->usage.model_calls, 0);
    end(&s);
}

static void test_output_tokens_and_cost_stop_the_next_call_at_their_edge(void **state)
{
    static const struct {
        const char *more, *reason;
        int64_t out, cost;
        bool stops;
    } rows[] = {
        {"budget = { max_repairs = 5; max_output_tokens = 100; };", "budget_output_tokens", 99, 0,
         false},
        {"budget = { max_repairs = 5; max_output_tokens = 100; };", "budget_output_tokens", 100, 0,
         true},
        {"budget = { max_repairs = 5; max_cost_microusd = 100; };", "budget_cost", 0, 99, false},
        {"budget = { max_repairs = 5; max_cost_microusd = 100; };", "budget_cost", 0, 100, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct scene s;

        begin(&s, &(struct parts){.more = rows[i].more});
        answer_with(&s, VD_ANSWER_TEXT, BAD, 10, rows[i].out, rows[i].cost);
        if (rows[i].stops)
            assert_fallback(&s, rows[i].reason);
        else if (rows[i].out > 0)
            assert_int_equal(vd_reason_ask(s.reason)->max_output_tokens, 1);
        end(&s);
    }
}

static void test_ends_of_answers_that_are_no_decision(void **state)
{
    static const struct {
        enum vd_answer_kind kind;
        const char *reason; /* NULL: a second chance */
    } rows[] = {{VD_ANSWER_CUT, "answer_cut"},
                {VD_ANSWER_REFUSED, "answer_refused"},
                {VD_ANSWER_EMPTY, "answer_empty"},
                {VD_ANSWER_TOOL, NULL}};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct scene s;

        begin(&s, &(struct parts){0});
        answer_with(&s, rows[i].kind, GOOD, 1, 1, 0);
        if (rows[i].reason != NULL)
            assert_fallback(&s, rows[i].reason);
        else
            assert_int_equal(vd_reason_state(s.reason), VD_REASON_ASK);
        end(&s);
    }
}

static void test_a_stop_decides_by_the_fallback(void **state)
{
    (void)state;
    for (int stop = VD_STOP_DEADLINE; stop <= VD_STOP_NO_MODEL; stop++) {
        struct scene s;

        begin(&s, &(struct parts){0});
        assert_int_equal(vd_reason_stop(s.reason, (enum vd_stop)stop, NULL), VD_OK);
        assert_fallback(&s, vd_stop_name((enum vd_stop)stop));
        assert_int_equal(vd_reason_stop(s.reason, VD_STOP_SHUTDOWN, NULL), VD_OK);
        assert_fallback(&s, vd_stop_name((enum vd_stop)stop)); /* the first one stays */
        end(&s);
    }
}

static void test_shortcuts_and_fallbacks_are_judged_too(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, &(struct parts){.more = "shortcut = { a = { when = \"event.data.none\"; action = "
                                      "\"stop\"; }; b = { when = \"event.data.limit == 5\"; action "
                                      "= \"go\"; params = { n = \"=event.data.limit\"; }; }; };"});
    assert_int_equal(outcome(&s)->status, VD_DECIDED);
    assert_int_equal(outcome(&s)->decided_by, VD_BY_SHORTCUT);
    assert_string_equal(outcome(&s)->source, "b");
    assert_int_equal(vd_reason_stop(s.reason, VD_STOP_DEADLINE, NULL), VD_OK);
    assert_int_equal(outcome(&s)->decided_by, VD_BY_SHORTCUT);
    assert_int_equal(vd_reason_stop(s.reason, VD_STOP_STALE, NULL), VD_OK);
    assert_fallback(&s, "stale");
    end(&s);
    begin(&s, &(struct parts){.more = "shortcut = { b = { when = \"true\"; action = \"go\"; params "
                                      "= { n = \"=event.data.limit + 1\"; }; }; };"});
    assert_int_equal(outcome(&s)->status, VD_ESCALATED);
    assert_string_equal(outcome(&s)->degraded_reason, "shortcut_refused");
    assert_null(outcome(&s)->action);
    end(&s);
    begin(&s,
          &(struct parts){
              .fallback =
                  "fallback = { action = \"go\"; params = { n = \"=event.data.limit + 1\"; }; };"});
    assert_int_equal(vd_reason_stop(s.reason, VD_STOP_DEADLINE, NULL), VD_OK);
    assert_int_equal(outcome(&s)->status, VD_ESCALATED);
    assert_string_equal(outcome(&s)->degraded_reason, "deadline");
    assert_non_null(strstr(outcome(&s)->reason_text, "small"));
    end(&s);
}

/* Rules, escalate and the record say it in the same words. */
static void test_rules_know_who_decides_by_the_records_words(void **state)
{
    static const char actions[] =
        "actions = { go = { params = { n = { type = \"integer\"; }; }; require = { by = { expr = "
        "\"decision.decided_by == '%s'\"; why = \"w\"; }; }; }; stop = { }; };";
    static const struct {
        const char *more;
        enum vd_decided_by by;
    } rows[] = {
        {"", VD_BY_MODEL},
        {"shortcut = { s = { when = \"true\"; action = \"go\"; params = { n = 1; }; }; };",
         VD_BY_SHORTCUT},
        {"budget = { max_model_calls = 1; };", VD_BY_FALLBACK},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        for (int said = VD_BY_MODEL; said <= VD_BY_FALLBACK; said++) {
            char text[400];
            struct scene s;

            (void)snprintf(text, sizeof(text), actions,
                           vd_decided_by_name((enum vd_decided_by)said));
            begin(&s, &(struct parts){.actions = text,
                                      .fallback =
                                          "fallback = { action = \"go\"; params = { n = 1; }; };",
                                      .more = rows[i].more});
            if (rows[i].by == VD_BY_MODEL)
                answer(&s, GOOD);
            else if (rows[i].by == VD_BY_FALLBACK)
                assert_int_equal(vd_reason_stop(s.reason, VD_STOP_DEADLINE, NULL), VD_OK);
            if (rows[i].by != VD_BY_MODEL || said == VD_BY_MODEL) {
                assert_int_equal(outcome(&s)->decided_by, rows[i].by);
                assert_int_equal(outcome(&s)->status != VD_ESCALATED, (int)rows[i].by == said);
            } else {
                assert_int_equal(vd_reason_state(s.reason), VD_REASON_ASK); /* to be repaired */
            }
            end(&s);
        }
}

static void test_what_a_person_decides(void **state)
{
    struct scene s;

    (void)state;
    begin(
        &s,
        &(struct parts){
            .more = "escalate = { e = { when = \"event.data.limit == 5\"; why = \"five\"; }; };"});
    assert_int_equal(outcome(&s)->status, VD_ESCALATED);
    assert_int_equal(outcome(&s)->decided_by, VD_BY_NONE);
    assert_string_equal(outcome(&s)->reason_text, "five");
    end(&s);
    begin(&s, &(struct parts){.more = "escalate = { e = { when = \"action == 'go' && params.n > "
                                      "2\"; why = \"much\"; }; };"});
    answer(&s, GOOD);
    assert_int_equal(outcome(&s)->status, VD_ESCALATED);
    assert_int_equal(outcome(&s)->decided_by, VD_BY_MODEL);
    assert_string_equal(outcome(&s)->action->name, "go");
    assert_string_equal(outcome(&s)->source, "e");
    end(&s);
    begin(&s, &(struct parts){0});
    assert_int_equal(vd_reason_review(s.reason, "stale", "too old", NULL), VD_OK);
    assert_int_equal(outcome(&s)->status, VD_ESCALATED);
    assert_string_equal(outcome(&s)->degraded_reason, "stale");
    end(&s);
}

static void test_the_same_facts_ask_the_same_bytes(void **state)
{
    struct scene a, b;

    (void)state;
    begin(&a, &(struct parts){0});
    begin(&b, &(struct parts){0});
    answer(&a, BAD);
    answer(&b, BAD);
    for (size_t i = 0; i < 4; i++)
        assert_true(vd_span_eq(vd_reason_ask(a.reason)->messages[i].text,
                               vd_reason_ask(b.reason)->messages[i].text));
    end(&a);
    end(&b);
}

static void test_the_record_has_every_step_without_what_is_redacted(void **state)
{
    struct scene s;
    cJSON *record = NULL;
    struct vd_buf out;

    (void)state;
    begin(&s,
          &(struct parts){
              .more =
                  "redact = ( { path = \"/event/data/text\"; op = \"mask\"; at = [\"audit\"]; },"
                  " { path = \"/event/data/id\"; op = \"remove\"; at = [\"prompt\"]; } );"});
    assert_true(has(vd_reason_ask(s.reason)->messages[1].text, "bob \\\"b\\\" @mail"));
    answer(&s, "no, bob \"b\" @mail");
    answer(&s, GOOD);
    record = record_of(s.reason);
    assert_int_equal(cJSON_GetArraySize(vd_json_get(record, "steps")), 2);
    assert_int_equal(cJSON_GetArraySize(vd_json_pointer(record, VD_LIT("/steps/0/messages"))), 2);
    assert_int_equal(cJSON_GetArraySize(vd_json_pointer(record, VD_LIT("/steps/1/messages"))), 2);
    assert_true(
        has(vd_json_string(vd_json_pointer(record, VD_LIT("/steps/0/unreadable"))), "not JSON"));
    assert_span_equal(vd_json_string(vd_json_pointer(record, VD_LIT("/steps/0/answer"))),
                      "no, ***");
    assert_span_equal(vd_json_string(vd_json_pointer(record, VD_LIT("/steps/1/judged"))), "accept");
    assert_null(vd_json_pointer(record, VD_LIT("/shown/event/data/id")));
    assert_span_equal(vd_json_string(vd_json_pointer(record, VD_LIT("/shown/event/data/text"))),
                      "***");
    vd_buf_init(&out, 1 << 20);
    assert_int_equal(vd_json_write(&out, record), VD_OK);
    assert_true(has(vd_buf_span(&out), "limit"));
    assert_false(has(vd_buf_span(&out), "@mail"));
    vd_buf_free(&out);
    vd_json_free(record);
    end(&s);
}

/* -- proposals --------------------------------------------------------------------------------------------------- */

static void test_answers_are_read_strictly(void **state)
{
    static const struct {
        const char *text, *says; /* says NULL: it is a proposal */
    } rows[] = {
        {GOOD, NULL},
        {"```json\n" GOOD "\n```", NULL},
        {"  \n" GOOD "\n", NULL},
        {"{\"action\":\"stop\",\"confidence\":1}", NULL},
        {"{\"action\":\"stop\",\"params\":null,\"confidence\":1,\"rationale\":\"\",\"evidence\":[]"
         "}",
         NULL},
        {"{\"action\":\"go\",\"params\":{\"go\":{\"n\":3},\"stop\":null},\"confidence\":1}", NULL},
        {"{\"action\":\"go\",\"params\":{\"go\":{\"n\":3},\"stop\":{}},\"confidence\":1}",
         "another action"},
        {"Sure! " GOOD, "not JSON"},
        {GOOD GOOD, "not JSON"},
        {"[" GOOD "]", "not a JSON object"},
        {"{\"action\":\"stop\"}", "confidence is missing"},
        {"{\"confidence\":1}", "action is missing"},
        {"{\"action\":1,\"confidence\":1}", "action must be a text"},
        {"{\"action\":\"stop\",\"confidence\":1.01}", "from 0 to 1"},
        {"{\"action\":\"stop\",\"confidence\":-0.01}", "from 0 to 1"},
        {"{\"action\":\"stop\",\"confidence\":\"1\"}", "from 0 to 1"},
        {"{\"action\":\"stop\",\"confidence\":1e999}", "from 0 to 1"},
        {"{\"action\":\"stop\",\"confidence\":1,\"params\":[]}", "params must be an object"},
        {"{\"action\":\"stop\",\"confidence\":1,\"evidence\":\"/a\"}", "evidence must be"},
        {"{\"action\":\"stop\",\"confidence\":1,\"evidence\":[1]}", "evidence must be"},
        {"{\"action\":\"stop\",\"confidence\":1,\"rationale\":1}", "rationale must be"},
        {"{\"action\":\"stop\",\"confidence\":1,\"note\":1}", "members beside"},
        {"{\"action\":\"stop\",\"action\":\"go\",\"confidence\":1}", "not JSON"},
        {"{\"action\":\"\xff\",\"confidence\":1}", "not JSON"},
        {"", "not JSON"},
        {"``````", "not JSON"},
    };
    struct vd_policy *policy = load_policy(&(struct parts){0});

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct vd_read_proposal p = {0};
        struct vd_arena arena;
        struct vd_err err = {.msg = ""};
        enum vd_code rc;

        vd_arena_init(&arena, 1 << 20);
        rc = vd_proposal_read(policy, vd_span_of(rows[i].text), &arena, &p, &err);
        if ((rc == VD_OK) != (rows[i].says == NULL) ||
            (rows[i].says != NULL && strstr(err.msg, rows[i].says) == NULL))
            fail_msg("row %zu: %s: %s", i, rows[i].text, err.msg);
        if (rc == VD_OK && vd_span_eq_c(p.action, "go"))
            assert_non_null(vd_json_get(p.params, "n"));
        vd_proposal_fini(&p);
        vd_arena_fini(&arena);
    }
    vd_policy_free(policy);
}

static void test_an_answer_has_a_size(void **state)
{
    struct vd_policy *policy = load_policy(&(struct parts){0});
    struct vd_read_proposal p = {0};
    struct vd_arena arena;
    struct vd_buf text;

    (void)state;
    vd_arena_init(&arena, 1 << 20);
    vd_buf_init(&text, 1 << 20);
    (void)vd_buf_add_c(&text, GOOD);
    while (text.len < VD_ANSWER_MAX_BYTES)
        (void)vd_buf_add_char(&text, ' ');
    assert_int_equal(vd_proposal_read(policy, vd_buf_span(&text), &arena, &p, NULL), VD_OK);
    vd_proposal_fini(&p);
    (void)vd_buf_add_char(&text, ' ');
    assert_int_equal(vd_proposal_read(policy, vd_buf_span(&text), &arena, &p, NULL), VD_E_INPUT);
    vd_buf_free(&text);
    vd_arena_fini(&arena);
    vd_policy_free(policy);
}

static void test_a_rationale_is_plain_short_text(void **state)
{
    static const struct {
        const char *text, *clean;
    } rows[] = {
        {"Paid <b>twice</b>, see https://evil.example/x?y=1 now", "Paid twice, see now"},
        {"[click](http://a.example/b) www.evil.example", "click("},
        {"  a\n\n b\t\x01 c  ", "a b c"},
        {"<script>alert(1)</script>ok", "alert(1)ok"},
        {"<img src=x", ""},
        {"**bold** `code` # head", "bold code head"},
        {"5 < 6 and 7 > 3", "5 6 and 7 3"},
        {"javascript:alert(1) mailto:a@b.example done", "done"},
        {"a wide web: www.a.example WWW.b.example, was it? what", "a wide web: was it? what"},
        {"a.b+http://c.example a.b.www.d.example e-mailto:f end", "a.b. e- end"},
        {"2-3 of 10.5: fine", "2-3 of 10.5: fine"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"a\xe2\x80\xae"
         "b",
         "ab"},
    };
    struct vd_arena arena;
    struct vd_span out;
    char scheme[600];

    (void)state;
    vd_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        assert_int_equal(vd_rationale_clean(&arena, vd_span_of(rows[i].text), 500, &out), VD_OK);
        if (!vd_span_eq_c(out, rows[i].clean))
            fail_msg("\"%s\" became \"%.*s\"", rows[i].text, (int)out.len, out.ptr);
    }
    assert_int_equal(vd_rationale_clean(&arena, VD_LIT("\xc3\xbc\xc3\xbc\xc3\xbc"), 2, &out),
                     VD_OK);
    assert_span_equal(out, "\xc3\xbc\xc3\xbc");
    assert_int_equal(vd_rationale_clean(&arena, VD_LIT("short words"), 8, &out), VD_OK);
    assert_span_equal(out, "short wo");
    memset(scheme, 'a', 499); /* the longest that could be seen whole */
    memcpy(scheme + 499, "://evil.example ok", 19);
    assert_int_equal(vd_rationale_clean(&arena, vd_span_of(scheme), 500, &out), VD_OK);
    assert_span_equal(out, "ok");
    vd_arena_fini(&arena);
}

/* -- whole decisions --------------------------------------------------------------------------------------------- */

static void test_no_allocation_failure_leaks_or_decides(void **state)
{
    struct vd_policy *policy = load_policy(&(struct parts){
        .context =
            "context = { c = { redis = \"GET k:{event.data.id}\"; default = { a = 1; }; }; };",
        .let = "let = { d = \"c.a + 1\"; };",
        .reasoning = "reasoning = { goal = \"g\"; show = [\"/event/data\", \"/d\"]; };",
        .more = "redact = ( { path = \"/event/data/text\"; op = \"hash\"; at = [\"prompt\", "
                "\"audit\"]; } );"});
    cJSON *event = json(EVENT), *answers = json("[\""
                                                "no"
                                                "\"," GOOD "]");
    struct vd_decide_input input = {.policy = policy, .event = event, .answers = answers};
    bool clean = false;

    (void)state;
    for (long n = 0; n < 5000 && !clean; n++) {
        struct vd_decide d;
        struct vd_err err = {.msg = ""};
        struct vd_buf record;
        enum vd_code rc;

        vd_buf_init(&record, 1 << 20);
        vd_alloc_fail_after(n);
        rc = vd_decide(&input, &d, &err);
        if (rc == VD_OK && d.reason != NULL)
            rc = vd_reason_record(d.reason, &record);
        vd_alloc_fail_after(-1);
        if (rc == VD_OK) {
            assert_int_equal(vd_reason_outcome(d.reason)->status, VD_DECIDED);
            clean = true;
        } else {
            assert_int_equal(rc, VD_E_NOMEM);
        }
        vd_buf_free(&record);
        vd_decide_fini(&d);
    }
    assert_true(clean);
    vd_json_free(event);
    vd_json_free(answers);
    vd_policy_free(policy);
}

static void test_a_body_becomes_the_view_that_policies_see(void **state)
{
    static const struct {
        const char *body, *view;
    } rows[] = {
        {"{\"id\":1,\"type\":\"t\",\"data\":{\"a\":1}}",
         "{\"data\":{\"a\":1},\"id\":1,\"source\":null,\"subject\":null,\"time\":null,\"type\":"
         "\"t\"}"},
        {"{\"a\":1}", "{\"data\":{\"a\":1},\"id\":null,\"source\":null,\"subject\":null,\"time\":"
                      "null,\"type\":null}"},
        {"{\"type\":5,\"data\":{}}", "{\"data\":{\"data\":{},\"type\":5},\"id\":null,\"source\":"
                                     "null,\"subject\":null,\"time\":null,\"type\":null}"},
        {"[1]",
         "{\"data\":[1],\"id\":null,\"source\":null,\"subject\":null,\"time\":null,\"type\":null}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        cJSON *body = json(rows[i].body), *view = NULL;
        struct vd_buf out;

        vd_buf_init(&out, 4096);
        assert_int_equal(vd_event_view(body, &view, NULL), VD_OK);
        assert_int_equal(vd_json_write_canonical(&out, view), VD_OK);
        assert_span_equal(vd_buf_span(&out), rows[i].view);
        vd_buf_free(&out);
        vd_json_free(view);
        vd_json_free(body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_answer_decides),
        cmocka_unit_test(test_a_refused_proposal_goes_back_with_the_reason),
        cmocka_unit_test(test_repairs_end_at_their_number),
        cmocka_unit_test(test_calls_end_at_their_number),
        cmocka_unit_test(test_input_tokens_are_measured_before_they_are_sent),
        cmocka_unit_test(test_output_tokens_and_cost_stop_the_next_call_at_their_edge),
        cmocka_unit_test(test_ends_of_answers_that_are_no_decision),
        cmocka_unit_test(test_a_stop_decides_by_the_fallback),
        cmocka_unit_test(test_shortcuts_and_fallbacks_are_judged_too),
        cmocka_unit_test(test_rules_know_who_decides_by_the_records_words),
        cmocka_unit_test(test_what_a_person_decides),
        cmocka_unit_test(test_the_same_facts_ask_the_same_bytes),
        cmocka_unit_test(test_the_record_has_every_step_without_what_is_redacted),
        cmocka_unit_test(test_answers_are_read_strictly),
        cmocka_unit_test(test_an_answer_has_a_size),
        cmocka_unit_test(test_a_rationale_is_plain_short_text),
        cmocka_unit_test(test_no_allocation_failure_leaks_or_decides),
        cmocka_unit_test(test_a_body_becomes_the_view_that_policies_see),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
