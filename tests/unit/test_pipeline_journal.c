/* The journal's texts: what is kept, what is refused, what is counted. Its ways through Redis: tests/integration/test_journal.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "loop/loop.h"
#include "pipeline/journal.h"
#include "redis/client.h"

struct world {
    struct vd_loop *loop;
    struct vd_redis *redis;
    struct vd_journal *journal;
    struct vd_arena arena;
};

static int set_up(void **state)
{
    struct world *w = vd_alloc(sizeof(*w));
    struct vd_redis_conf redis = {.address = "127.0.0.1:1", .db = -1};
    struct vd_journal_conf conf = {.prefix = "t:", .ttl_s = 10, .timeout_ms = 100};
    struct vd_err err;

    if (w == NULL || vd_loop_new(&w->loop, &err) != VD_OK ||
        vd_redis_new(w->loop, &redis, NULL, NULL, &w->redis, &err) != VD_OK)
        return -1;
    conf.redis = w->redis;
    vd_arena_init(&w->arena, 4u << 20);
    *state = w;
    return vd_journal_new(&conf, &w->journal, &err) == VD_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    (void)vd_redis_free(w->redis);
    (void)vd_journal_free(w->journal);
    (void)vd_loop_free(w->loop);
    vd_arena_fini(&w->arena);
    (void)vd_free(w);
    return 0;
}

static uint64_t counted(const struct world *w, enum vd_journal_event event)
{
    return vd_journal_status(w->journal).events[event];
}

/* An entry with one step. */
static cJSON *entry_of(const char *step, const char *text)
{
    cJSON *entry = cJSON_CreateObject();

    assert_true(vd_json_put(entry, step, vd_json_new_string(vd_span_of(text))));
    return entry;
}

#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define ANSWER(hash, kind, rest)                                                                   \
    "{\"request\":\"" hash "\",\"kind\":" kind ",\"model\":\"main\",\"input_tokens\":5,"           \
    "\"output_tokens\":6,\"cost_microusd\":7,\"model_ms\":8,\"calls\":2" rest "}"

static void test_an_answer_reads_back_as_it_was_received(void **state)
{
    struct world *w = *state;
    cJSON *entry = entry_of("3", ANSWER(HASH, "2", ",\"text\":\"{\\\"action\\\":\""));
    struct vd_journal_answer a;

    assert_false(vd_journal_get_answer(w->journal, entry, 2, &w->arena, &a)); /* another step */
    assert_true(vd_journal_get_answer(w->journal, entry, 3, &w->arena, &a));
    assert_int_equal(a.answer.kind, VD_ANSWER_CUT);
    assert_true(vd_span_eq_c(a.answer.text, "{\"action\":"));
    assert_string_equal(a.answer.model, "main");
    assert_true(a.answer.from_journal);
    assert_int_equal(a.answer.input_tokens, 5);
    assert_int_equal(a.answer.output_tokens, 6);
    assert_int_equal(a.answer.cost_microusd, 7);
    assert_int_equal(a.calls, 2);
    assert_int_equal(a.request.bytes[0], 0x00);
    assert_int_equal(a.request.bytes[31], 0xff);
    assert_int_equal(counted(w, VD_JOURNAL_UNREADABLE), 0);
    (void)vd_json_free(entry);
}

static void test_bytes_that_are_no_text_are_kept_as_base64(void **state)
{
    struct world *w = *state;
    cJSON *entry = entry_of("1", ANSWER(HASH, "0", ",\"base64\":\"/wBh\""));
    struct vd_journal_answer a;

    assert_true(vd_journal_get_answer(w->journal, entry, 1, &w->arena, &a));
    assert_int_equal(a.answer.text.len, 3);
    assert_memory_equal(a.answer.text.ptr, "\xff\0a", 3);
    (void)vd_json_free(entry);
}

static void test_what_is_no_answer_is_counted_and_not_used(void **state)
{
    static const char *const rows[] = {
        "",
        "{",
        "[]",
        "null",
        ANSWER("00", "0", ",\"text\":\"x\""),
        ANSWER("zz112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "0",
               ",\"text\":\"x\""),
        ANSWER(HASH, "5", ",\"text\":\"x\""),  /* no such kind */
        ANSWER(HASH, "-1", ",\"text\":\"x\""), /* the same */
        ANSWER(HASH, "0", ""),                 /* no text */
        ANSWER(HASH, "0", ",\"text\":1"),
        ANSWER(HASH, "0", ",\"base64\":\"%\""),
    };
    struct world *w = *state;
    struct vd_journal_answer a;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cJSON *entry = entry_of("1", rows[i]);

        if (vd_journal_get_answer(w->journal, entry, 1, &w->arena, &a))
            fail_msg("taken: %s", rows[i]);
        (void)vd_json_free(entry);
        assert_int_equal(counted(w, VD_JOURNAL_UNREADABLE), i + 1);
    }
    assert_false(vd_journal_get_answer(w->journal, NULL, 1, &w->arena, &a));
}

static void test_only_the_same_policy_and_event_are_seen_again(void **state)
{
    static const struct {
        const char *text;
        enum vd_journal_event event;
    } rows[] = {
        {"{\"v\":1,\"policy\":\"q\",\"event\":\"e\"}", VD_JOURNAL_OTHER_POLICY},
        {"{\"v\":1,\"policy\":\"p\",\"event\":\"f\"}", VD_JOURNAL_OTHER_EVENT},
        {"{\"v\":2,\"policy\":\"p\",\"event\":\"e\"}", VD_JOURNAL_UNREADABLE},
        {"{\"policy\":\"p\",\"event\":\"e\"}", VD_JOURNAL_UNREADABLE},
        {"[", VD_JOURNAL_UNREADABLE},
    };
    struct world *w = *state;
    cJSON *entry = entry_of("0", "{\"v\":1,\"policy\":\"p\",\"event\":\"e\",\"clock_ms\":5}");
    cJSON *seen = vd_journal_seen(w->journal, entry, "p", "e");

    assert_non_null(seen);
    (void)vd_json_free(seen);
    (void)vd_json_free(entry);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t before = counted(w, rows[i].event);

        entry = entry_of("0", rows[i].text);
        assert_null(vd_journal_seen(w->journal, entry, "p", "e"));
        assert_int_equal(counted(w, rows[i].event), before + 1);
        (void)vd_json_free(entry);
    }
}

static void test_a_step_above_its_bound_is_not_kept(void **state)
{
    struct world *w = *state;
    char *text = vd_alloc(VD_JOURNAL_STEP_MAX_BYTES + 1);
    struct vd_journal_answer a = {.answer = {.model = "main"}};
    struct vd_journal_start start = {.absent = true};
    char *large = vd_alloc(VD_JOURNAL_SEEN_MAX_BYTES + 1);

    memset(large, 'a', VD_JOURNAL_SEEN_MAX_BYTES + 1);
    memset(text, 'a', VD_JOURNAL_STEP_MAX_BYTES + 1);
    vd_journal_put(w->journal, "d", "1.t0", (struct vd_span){text, VD_JOURNAL_STEP_MAX_BYTES + 1});
    assert_int_equal(counted(w, VD_JOURNAL_TOO_LARGE), 1);
    assert_int_equal(vd_redis_status(w->redis).waiting, 0);
    a.answer.text = (struct vd_span){text, VD_JOURNAL_STEP_MAX_BYTES};
    vd_journal_see(w->journal, &start, VD_LIT("{}"), &w->arena);
    vd_journal_put_answer(w->journal, "d", 1, &a, &start);
    assert_int_equal(counted(w, VD_JOURNAL_TOO_LARGE), 2);
    assert_false(start.written);
    start.seen = (struct vd_span){0};
    vd_journal_see(w->journal, &start, (struct vd_span){large, VD_JOURNAL_SEEN_MAX_BYTES + 1},
                   &w->arena);
    assert_int_equal(counted(w, VD_JOURNAL_TOO_LARGE), 3);
    a.answer.text = VD_LIT("{}"); /* small, but of a decision that cannot be seen again */
    vd_journal_put_answer(w->journal, "d", 1, &a, &start);
    assert_int_equal(vd_redis_status(w->redis).waiting, 0);
    vd_journal_put(w->journal, "d", "1.t0", (struct vd_span){text, VD_JOURNAL_STEP_MAX_BYTES});
    assert_int_equal(counted(w, VD_JOURNAL_TOO_LARGE), 3);
    assert_int_equal(vd_redis_status(w->redis).waiting, 1);
    (void)vd_free(large);
    (void)vd_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_answer_reads_back_as_it_was_received, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_bytes_that_are_no_text_are_kept_as_base64, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_answer_is_counted_and_not_used, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_only_the_same_policy_and_event_are_seen_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_step_above_its_bound_is_not_kept, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
