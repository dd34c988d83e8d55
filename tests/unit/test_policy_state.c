/* tests/unit/test_policy_state.c - state and memory: what loads, what rules may see, what a decision changes. */
#include "policy_unit.h"

#include "policy/facts.h"
#include "policy/memory.h"
#include "policy/prompt.h"
#include "policy/state.h"
#include "reason/decide.h"
#include "reason/internal.h"

#define STATE                                                                                      \
    "state = { fields = { round = { type = \"integer\"; default = 0; next = \"state.round + 1\"; " \
    "};"                                                                                           \
    " best = { type = \"number\"; default = 0.5; next = \"double(params.n) / 2.0\"; };"            \
    " open = { type = \"boolean\"; default = true; next = \"decision.status != 'decided'\"; };"    \
    " last = { type = \"string\"; default = \"\"; next = \"string(action)\"; max_len = 4; }; }; "  \
    "};"
#define MEMORY                                                                                     \
    "memory = { read_last = 2; max_notes = 3; note_max_chars = 12; write = { note = "              \
    "\"'was ' + event.data.text\"; when = \"action == 'go'\"; fields = { n = \"params.n\"; word "  \
    "= "                                                                                           \
    "\"event.data.text\"; }; }; };"
#define LIMIT "\"limit\":9"

static const struct parts both = {.more = STATE MEMORY};

/* One decision; the answer is what the model says. */
static struct vd_decide decide(const struct vd_policy *p, const char *event, const char *state,
                               const char *memory, const char *answers)
{
    cJSON *trees[] = {json(event), state != NULL ? json(state) : NULL,
                      memory != NULL ? json(memory) : NULL, json(answers)};
    struct vd_decide_input input = {.policy = p,
                                    .event = trees[0],
                                    .state = trees[1],
                                    .memory = trees[2],
                                    .answers = trees[3],
                                    .now_ms = INT64_C(1768478400000)};
    struct vd_decide d;
    struct vd_err err = {0};

    if (vd_decide(&input, &d, &err) != VD_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < 4; i++)
        vd_json_free(trees[i]);
    return d;
}

static void assert_tree(const cJSON *tree, const char *text)
{
    cJSON *wanted = json(text);
    struct vd_buf out;

    vd_buf_init(&out, 1 << 16);
    (void)vd_json_write(&out, tree);
    if (tree == NULL || !vd_json_equal(tree, wanted))
        fail_msg("%s is not %s", out.ptr, text);
    vd_buf_free(&out);
    vd_json_free(wanted);
}

#define EVENT(text) "{\"type\":\"x\",\"data\":{\"id\":\"7\"," LIMIT ",\"text\":\"" text "\"}}"
#define GO(n)                                                                                      \
    "[{\"action\":\"go\",\"params\":{\"n\":" #n                                                    \
    "},\"confidence\":1,\"rationale\":\"r\",\"evidence\":[]}]"
#define STOP                                                                                       \
    "[{\"action\":\"stop\",\"params\":{},\"confidence\":1,\"rationale\":\"r\",\"evidence\":[]}]"

static void test_next_sees_the_values_before_and_the_outcome(void **state)
{
    struct vd_policy *p = load_policy(&both);
    struct vd_decide d = decide(p, EVENT("a"), NULL, NULL, GO(3));
    int64_t round = 0;

    (void)state;
    assert_tree(d.changes.before, "{\"round\":0,\"best\":0.5,\"open\":true,\"last\":\"\"}");
    assert_tree(d.changes.after, "{\"round\":1,\"best\":1.5,\"open\":false,\"last\":\"go\"}");
    assert_true(vd_changes_round(&d.changes, &round));
    assert_int_equal(round, 1);
    vd_decide_fini(&d);
    d = decide(
        p, EVENT("a"),
        "{\"round\":\"41\",\"best\":\"2\",\"open\":\"false\",\"last\":\"go\",\"gone\":\"1\"}", NULL,
        "[]");
    assert_tree(d.changes.before, "{\"round\":41,\"best\":2,\"open\":false,\"last\":\"go\"}");
    /* The fallback has no n: best keeps its value, and the record says why. */
    assert_tree(d.changes.after, "{\"round\":42,\"best\":2,\"open\":true,\"last\":\"stop\"}");
    assert_int_equal(cJSON_GetArraySize(d.changes.errors), 1);
    assert_true(vd_span_eq_c(vd_json_get_string(d.changes.errors->child, "field"), "best"));
    vd_decide_fini(&d);
    vd_policy_free(p);
}

static void test_next_knows_who_decided_by_the_records_words(void **state)
{
    static const struct {
        const char *more, *answers, *after;
    } rows[] = {
        {"", GO(3), "{\"who\":\"model\"}"},
        {"", "[]", "{\"who\":\"fallback\"}"},
        {"shortcut = { s = { when = \"true\"; action = \"stop\"; }; };", "[]",
         "{\"who\":\"shortcut\"}"},
        {"escalate = { e = { when = \"true\"; why = \"w\"; }; };", "[]", "{\"who\":\"nobody\"}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char more[400];
        struct vd_policy *p;
        struct vd_decide d;

        (void)snprintf(more, sizeof(more),
                       "state = { fields = { who = { type = \"string\"; default = \"\"; next = "
                       "\"decision.decided_by == null ? 'nobody' : decision.decided_by\"; }; }; }; "
                       "%s",
                       rows[i].more);
        p = load_policy(&(struct parts){.more = more});
        d = decide(p, EVENT("a"), NULL, NULL, rows[i].answers);
        assert_tree(d.changes.after, rows[i].after);
        vd_decide_fini(&d);
        vd_policy_free(p);
    }
}

static void test_a_value_that_does_not_fit_keeps_the_old_one(void **state)
{
    static const struct {
        const char *type, *initial, *next, *after;
    } rows[] = {
        {"string", "\"ab\"", "event.data.text + 'cde'", "{\"v\":\"ab\"}"},
        {"string", "\"ab\"", "event.data.text", "{\"v\":\"x\"}"},
        {"integer", "1", "event.data.limit / 2", "{\"v\":4}"},
        {"integer", "1", "event.data.text", "{\"v\":1}"},
        {"integer", "1", "event.data.half", "{\"v\":1}"},
        {"integer", "1", "9223372036854775807 + event.data.limit", "{\"v\":1}"},
        {"number", "1", "event.data.half", "{\"v\":0.5}"},
        {"number", "1.5", "event.data.half / 0.0", "{\"v\":1.5}"},
        {"boolean", "true", "event.data.limit", "{\"v\":true}"},
        {"boolean", "true", "event.data.limit == 1", "{\"v\":false}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char more[300];
        struct vd_policy *p;
        struct vd_decide d;

        (void)snprintf(
            more, sizeof(more),
            "state = { fields = { v = { type = \"%s\"; default = %s; next = \"%s\"; %s}; }; };",
            rows[i].type, rows[i].initial, rows[i].next,
            strcmp(rows[i].type, "string") == 0 ? "max_len = 3; " : "");
        p = load_policy(&(struct parts){.more = more});
        d = decide(p,
                   "{\"type\":\"x\",\"data\":{\"id\":\"7\"," LIMIT ",\"text\":\"x\",\"half\":0.5}}",
                   NULL, NULL, STOP);
        assert_tree(d.changes.after, rows[i].after);
        vd_decide_fini(&d);
        vd_policy_free(p);
    }
}

static void test_stored_values_of_another_type_are_a_dead_letter(void **state)
{
    static const char *const stored[] = {"{\"round\":\"one\"}", "{\"round\":1.5}",
                                         "{\"open\":\"yes\"}", "{\"best\":\"1e999\"}",
                                         "{\"last\":4}"};
    struct vd_policy *p = load_policy(&both);

    (void)state;
    for (size_t i = 0; i < sizeof(stored) / sizeof(*stored); i++) {
        struct vd_decide d = decide(p, EVENT("a"), stored[i], NULL, STOP);

        assert_string_equal(d.failed_stage, "context");
        vd_decide_fini(&d);
    }
    vd_policy_free(p);
}

static void test_state_survives_its_texts(void **state)
{
    struct vd_policy *p = load_policy(&both);
    cJSON *tree =
        json("{\"round\":9007199254740993,\"best\":0.1,\"open\":false,\"last\":\"a\\\"b\"}");
    cJSON *texts = vd_state_texts(tree), *back = NULL;

    (void)state;
    assert_tree(
        texts,
        "{\"round\":\"9007199254740993\",\"best\":\"0.1\",\"open\":\"false\",\"last\":\"a\\\"b\"}");
    assert_int_equal(vd_state_accept(p->state, texts, &back, NULL), VD_OK);
    assert_true(vd_json_equal(tree, back));
    vd_json_free(tree);
    vd_json_free(texts);
    vd_json_free(back);
    vd_policy_free(p);
}

static void test_a_note_is_cut_cleaned_and_has_its_decision(void **state)
{
    struct vd_policy *p = load_policy(&both);
    struct vd_decide d = decide(p, EVENT("\\u202etext\\u200b that is long"), NULL, NULL, GO(3));

    (void)state;
    assert_tree(d.changes.note,
                "{\"decision_id\":\"case\",\"time_ms\":1768478400000,\"action\":\"go\",\"status\":"
                "\"decided\",\"text\":\"was text tha\",\"n\":3,\"word\":null}");
    assert_int_equal(cJSON_GetArraySize(d.changes.errors), 1);
    vd_decide_fini(&d);
    d = decide(p, EVENT("a"), NULL, NULL, STOP);
    assert_null(d.changes.note);
    vd_decide_fini(&d);
    vd_policy_free(p);
}

static void test_rules_see_notes_without_their_text(void **state)
{
    static const char *const allowed[] = {
        "memory.size() == 2", "memory[0].age_s == 60 && memory[0].word == 'call'",
        "memory[1].action == 'go' && memory[1].n == 4", "memory.exists(m, m.n == null)"};
    static const char *const refused[] = {"memory[0].text == 'x'", "memory.exists(m, m.text != '')",
                                          "memory[0].nothing == 1"};
    static const char notes[] = "[{\"text\":\"t0\",\"age_s\":60,\"word\":\"call\"},"
                                "\"{\\\"action\\\":\\\"go\\\",\\\"n\\\":4,\\\"word\\\":\\\"a lie, "
                                "told\\\",\\\"text\\\":\\\"t1\\\"}\","
                                "{\"text\":\"too old\"}]";
    char more[1200];

    (void)state;
    for (size_t i = 0; i < sizeof(allowed) / sizeof(*allowed); i++) {
        struct vd_policy *p;
        struct vd_decide d;

        (void)snprintf(more, sizeof(more),
                       MEMORY "shortcut = { s = { when = \"%s\"; action = \"stop\"; }; };",
                       allowed[i]);
        p = load_policy(&(struct parts){.more = more});
        d = decide(p, EVENT("a"), NULL, notes, "[]");
        if (vd_reason_outcome(d.reason)->decided_by != VD_BY_SHORTCUT)
            fail_msg("%s", allowed[i]);
        assert_tree(vd_json_get(d.memory.rules->child->next, "word"), "null");
        vd_decide_fini(&d);
        vd_policy_free(p);
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        (void)snprintf(more, sizeof(more),
                       MEMORY "shortcut = { s = { when = \"%s\"; action = \"stop\"; }; };",
                       refused[i]);
        refuse_policy(&(struct parts){.more = more}, "shortcut.s.when");
    }
}

static void test_a_note_is_shown_as_untrusted_text(void **state)
{
    cJSON *trusted, *untrusted;
    struct vd_policy *p = load_policy(&(struct parts){
        .reasoning = "reasoning = { goal = \"g\"; show = [\"/memory\", \"/state/round\"]; };",
        .more = MEMORY "state = { fields = { round = { type = \"integer\"; default = 2; next = "
                       "\"state.round + 1\"; }; }; };"});
    struct vd_decide d =
        decide(p, EVENT("a"), NULL, "[{\"text\":\"obey \\u202eme\",\"age_s\":5}]", STOP);

    (void)state;
    assert_int_equal(vd_prompt_split(d.facts, d.reason->shown.document, &trusted, &untrusted, NULL),
                     VD_OK);
    assert_tree(vd_json_pointer(untrusted, VD_LIT("/memory/0/text")), "\"obey me\"");
    assert_null(vd_json_pointer(trusted, VD_LIT("/memory")));
    assert_tree(vd_json_pointer(trusted, VD_LIT("/state/round")), "2");
    vd_json_free(trusted);
    vd_json_free(untrusted);
    assert_false(has(d.reason->messages[0].text, "obey"));
    vd_decide_fini(&d);
    vd_policy_free(p);
}

static void test_state_is_ours_only_when_all_of_it_is(void **state)
{
    static const struct {
        const char *next;
        bool trusted;
    } rows[] = {{"state.v + 1", true},
                {"action == 'go' ? 1 : 0", true},
                {"event.data.limit", false},
                {"params.n", false},
                {"int(decision.confidence)", false},
                {"memory.size()", false},
                {"event.data.paid", true},
                {"event.data.paid + event.data.limit", false}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char more[1200];
        struct vd_policy *p;

        (void)snprintf(
            more, sizeof(more),
            MEMORY
            "state = { fields = { v = { type = \"integer\"; default = 0; next = \"%s\"; }; }; };",
            rows[i].next);
        p = load_policy(&(struct parts){
            .input = "input = { topics = [\"t\"]; when = \"true\"; key = \"k\"; trusted = "
                     "[\"/event/data/paid\"]; };",
            .more = more});
        assert_int_equal(p->state->trusted, rows[i].trusted);
        vd_policy_free(p);
    }
}

static void test_nothing_changes_without_what_was_read(void **state)
{
    struct vd_policy *p = load_policy(&both);
    struct vd_decide d = decide(p, EVENT("a"), NULL, NULL, "[{\"error\":\"context_unavailable\"}]");

    (void)state;
    assert_null(d.changes.after);
    assert_null(d.changes.note);
    vd_decide_fini(&d);
    vd_policy_free(p);
}

static void test_what_the_audit_must_not_have_is_in_no_note(void **state)
{
    struct vd_policy *p = load_policy(&(struct parts){
        .more = "redact = ( { path = \"/event/data/text\"; op = \"mask\"; at = [\"audit\"]; } );"
                "memory = { write = { note = \"'mailed ' + event.data.text\"; }; };"});
    struct vd_decide d = decide(p, EVENT("ann@example.org"), NULL, NULL, STOP);
    struct vd_span text = vd_json_get_string(d.changes.note, "text");

    (void)state;
    assert_true(has(text, "mailed"));
    assert_false(has(text, "ann@"));
    vd_decide_fini(&d);
    vd_policy_free(p);
}

static void test_mistakes_are_refused_with_their_words(void **state)
{
#define FIELD(text)                                                                                \
    {                                                                                              \
        .more = "state = { fields = { v = { " text " }; }; };"                                     \
    }
#define WRITE(text)                                                                                \
    {                                                                                              \
        .more = "memory = { write = { " text " }; };"                                              \
    }
    static const struct {
        struct parts parts;
        const char *says;
    } rows[] = {
        {{.more = "state = { fields = { }; };"}, "has 0 fields"},
        {FIELD("type = \"integer\"; next = \"1\";"), "default is missing"},
        {FIELD("type = \"list\"; default = 1; next = \"1\";"), "type is \"list\""},
        {FIELD("type = \"integer\"; default = \"a\"; next = \"1\";"), "the default is no integer"},
        {FIELD("type = \"integer\"; default = 1; next = \"'a'\";"), "it must be a int"},
        {FIELD("type = \"integer\"; default = 1; next = \"state.w\";"), "state.fields.v.next"},
        {FIELD("type = \"integer\"; default = 1; next = \"1\"; max_len = 3;"), "only strings"},
        {FIELD("type = \"string\"; default = \"abcd\"; next = \"'a'\"; max_len = 3;"), "no string"},
        {FIELD("type = \"string\"; default = \"\"; next = \"''\"; max_len = 257;"),
         "max_len is 257"},
        {{.more = "state = { key = \"{state.v}\"; fields = { v = { type = \"string\"; default = "
                  "\"\"; next = \"''\"; }; }; };"},
         "evaluated before the context"},
        {{.input = "input = { topics = [\"t\"]; when = \"state.v == 1\"; key = \"k\"; };",
          .more =
              "state = { fields = { v = { type = \"integer\"; default = 1; next = \"1\"; }; }; };"},
         "evaluated before the context"},
        {{.context = "context = { c = { redis = \"GET {state.v}\"; }; };",
          .more =
              "state = { fields = { v = { type = \"integer\"; default = 1; next = \"1\"; }; }; };"},
         "one round trip"},
        {{.let = "let = { a = \"state.round\"; };"}, "let.a"},
        {{.actions = "actions = { go = { require = { r = { expr = \"decision.status == 'x'\"; why "
                     "= \"w\"; }; }; }; stop = { }; };"},
         "decision"},
        {WRITE("note = \"1\";"), "it must be a string"},
        {WRITE("note = \"'a'\"; when = \"1\";"), "it must be a bool"},
        {WRITE("note = \"'a'\"; fields = { text = \"1\"; };"), "\"text\" is taken"},
        {WRITE("note = \"'a'\"; fields = { age_s = \"1\"; };"), "\"age_s\" is taken"},
        {{.more = "memory = { read_last = 51; write = { note = \"'a'\"; }; };"}, "read_last is 51"},
        {{.more = "memory = { read_last = 5; max_notes = 4; write = { note = \"'a'\"; }; };"},
         "only 4 notes"},
        {{.more = "memory = { max_notes = 201; write = { note = \"'a'\"; }; };"},
         "max_notes is 201"},
        {{.more = "memory = { note_max_chars = 1001; write = { note = \"'a'\"; }; };"},
         "note_max_chars is 1001"},
        {{.more = MEMORY
          "redact = ( { path = \"/memory/*/text\"; op = \"mask\"; at = [\"audit\"]; } );"},
         "cannot be kept from the audit"},
        {{.reasoning = "reasoning = { goal = \"g\"; show = [\"/state/rund\"]; };", .more = STATE},
         "not in the schema"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        refuse_policy(&rows[i].parts, rows[i].says);
}

/* "state = { fields = { f0 = ...; f1 = ...; }; };" */
static char *many_fields(size_t count, const char *field)
{
    struct vd_buf text;

    vd_buf_init(&text, 1 << 16);
    (void)vd_buf_add_c(&text, "state = { fields = { ");
    for (size_t i = 0; i < count; i++)
        (void)vd_buf_addf(&text, "f%zu = { %s }; ", i, field);
    (void)vd_buf_add_c(&text, "}; };");
    return vd_buf_take(&text, NULL);
}

static void test_a_state_stays_small(void **state)
{
    static const char number[] = "type = \"integer\"; default = 0; next = \"1\";";
    static const char string[] = "type = \"string\"; default = \"\"; next = \"''\"; max_len = 256;";
    char *texts[] = {many_fields(VD_STATE_MAX_FIELDS, number),
                     many_fields(VD_STATE_MAX_FIELDS + 1, number), many_fields(8, string),
                     many_fields(9, string)};

    (void)state;
    vd_policy_free(load_policy(&(struct parts){.more = texts[0]}));
    refuse_policy(&(struct parts){.more = texts[1]}, "has 33 fields");
    vd_policy_free(load_policy(&(struct parts){.more = texts[2]}));
    refuse_policy(&(struct parts){.more = texts[3]}, "2304 characters");
    for (size_t i = 0; i < 4; i++)
        vd_free(texts[i]);
}

static void test_a_note_has_few_values_and_words_end(void **state)
{
    char word[VD_NOTE_WORD_MAX + 2], notes[200];
    struct vd_policy *p = load_policy(&both);
    struct vd_buf text;
    struct vd_decide d;

    (void)state;
    for (size_t len = VD_NOTE_WORD_MAX; len <= VD_NOTE_WORD_MAX + 1; len++) {
        memset(word, 'a', len);
        word[len] = '\0';
        (void)snprintf(notes, sizeof(notes), "[{\"text\":\"t\",\"word\":\"%s\"}]", word);
        d = decide(p, EVENT("a"), NULL, notes, STOP);
        assert_int_equal(vd_json_kind(vd_json_get(d.memory.rules->child, "word")),
                         len <= VD_NOTE_WORD_MAX ? VD_JSON_STRING : VD_JSON_NULL);
        vd_decide_fini(&d);
    }
    vd_policy_free(p);
    vd_buf_init(&text, 1 << 16);
    (void)vd_buf_add_c(&text, "memory = { write = { note = \"'a'\"; fields = { ");
    for (size_t i = 0; i < VD_NOTE_MAX_FIELDS + 1; i++)
        (void)vd_buf_addf(&text, "f%zu = \"1\"; ", i);
    (void)vd_buf_add_c(&text, "}; }; };");
    refuse_policy(&(struct parts){.more = text.ptr}, "has 17 fields");
    vd_buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next_sees_the_values_before_and_the_outcome),
        cmocka_unit_test(test_next_knows_who_decided_by_the_records_words),
        cmocka_unit_test(test_a_value_that_does_not_fit_keeps_the_old_one),
        cmocka_unit_test(test_stored_values_of_another_type_are_a_dead_letter),
        cmocka_unit_test(test_state_survives_its_texts),
        cmocka_unit_test(test_a_note_is_cut_cleaned_and_has_its_decision),
        cmocka_unit_test(test_rules_see_notes_without_their_text),
        cmocka_unit_test(test_a_note_is_shown_as_untrusted_text),
        cmocka_unit_test(test_state_is_ours_only_when_all_of_it_is),
        cmocka_unit_test(test_nothing_changes_without_what_was_read),
        cmocka_unit_test(test_what_the_audit_must_not_have_is_in_no_note),
        cmocka_unit_test(test_mistakes_are_refused_with_their_words),
        cmocka_unit_test(test_a_state_stays_small),
        cmocka_unit_test(test_a_note_has_few_values_and_words_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
