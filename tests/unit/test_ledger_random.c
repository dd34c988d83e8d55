/* tests/unit/test_ledger_random.c - a million random schedules against a naive model.
 *
 * A schedule is one small log with holes, one ledger, one broker that stores the committed text, and a few dozen random
 * steps: deliveries, completions out of order, commits, aborts, ends of partition, redeliveries, and crashes or revocations, also
 * while the result of a commit is unknown. The model is one byte an offset. After every step both must agree; at the end of the
 * schedule everything is finished, and each record must have been published exactly once.
 *
 * LEDGER_SCHEDULES changes the number; a failing schedule prints the seed that LEDGER_SEED repeats.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kafka/ledger.h"

#define LOG_MAX 72

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SCHEDULES 100000 /* sanitizers make each schedule about ten times slower */
#else
#define SCHEDULES 1000000
#endif

enum state { UNSEEN, OPEN, STAGED, FINISHED };

struct world {
    uint64_t seed, random;
    int64_t start; /* offset of the log's first slot */
    int length;
    bool exists[LOG_MAX]; /* a record that a consumer gets to see */
    uint8_t state[LOG_MAX];
    uint8_t published[LOG_MAX]; /* by committed transactions */
    uint32_t span;
    int position; /* the consumer's */
    struct vd_ledger *ledger;
    char stored[VD_LEDGER_TEXT_SIZE]; /* what the broker has */
    int64_t stored_offset;
};

static uint32_t draw(struct world *w, uint32_t below)
{
    w->random ^= w->random << 13; /* xorshift64 */
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (uint32_t)((w->random >> 33) % below);
}

static void expect(const struct world *w, bool holds, const char *what)
{
    if (holds)
        return;
    print_error("seed %" PRIu64 ": %s (base %" PRId64 " next %" PRId64 " log start %" PRId64 ")\n",
                w->seed, what, vd_ledger_base(w->ledger), vd_ledger_next(w->ledger), w->start);
    fail();
}

static int model_base(const struct world *w)
{
    int i = 0;

    while (i < w->length && w->state[i] == FINISHED)
        i++;
    return i;
}

static void compare(const struct world *w)
{
    size_t open = 0;
    int i;

    for (i = 0; i < w->length; i++) {
        expect(w, vd_ledger_finished(w->ledger, w->start + i) == (w->state[i] == FINISHED),
               "finished differs");
        open += w->state[i] == OPEN || w->state[i] == STAGED;
        expect(w, w->published[i] <= 1, "published twice");
        expect(w, w->published[i] == 0 || w->exists[i], "published what does not exist");
    }
    expect(w, vd_ledger_open(w->ledger) == open, "open count differs");
    expect(w, vd_ledger_base(w->ledger) == w->start + model_base(w), "base differs");
}

static void model_gap(struct world *w, int to)
{
    int i;

    for (i = 0; i < to; i++)
        if (w->state[i] == UNSEEN)
            w->state[i] = FINISHED;
}

static void step_deliver(struct world *w)
{
    enum vd_ledger_verdict got;
    int base;

    while (w->position < w->length && !w->exists[w->position])
        w->position++;
    if (w->position == w->length) {
        model_gap(w, w->length);
        vd_ledger_gap(w->ledger, w->start + w->length);
        return;
    }
    got = vd_ledger_deliver(w->ledger, w->start + w->position);
    model_gap(w, w->position);
    base = model_base(w);
    if (w->state[w->position] != UNSEEN) {
        expect(w, got == VD_LEDGER_SKIP, "finished, but not skipped");
    } else if (w->position >= base + (int)w->span) {
        expect(w, got == VD_LEDGER_FULL, "beyond the span, but taken");
        return;
    } else {
        expect(w, got == VD_LEDGER_TAKE, "not taken");
        w->state[w->position] = OPEN;
    }
    w->position++;
}

static void step_crash(struct world *w)
{
    struct vd_ledger_map map;
    int i;

    (void)vd_ledger_free(w->ledger);
    w->ledger = NULL;
    assert_int_equal(vd_ledger_decode(vd_span_of(w->stored), &map), VD_LEDGER_READ_OK);
    assert_int_equal(map.base, w->stored_offset);
    w->ledger = vd_ledger_restore(&map, w->span);
    assert_non_null(w->ledger);
    for (i = 0; i < w->length; i++)
        w->state[i] = vd_ledger_map_finished(&map, w->start + i) ? FINISHED : UNSEEN;
    /* What the broker holds says nothing but the truth. */
    for (i = 0; i < w->length; i++) {
        expect(w, w->state[i] != FINISHED || !w->exists[i] || w->published[i] == 1,
               "finished, but never published");
        expect(w, w->state[i] == FINISHED || w->published[i] == 0, "published, but forgotten");
    }
    w->position = (int)(map.base - w->start);
}

static void apply(struct world *w, const char *text, int64_t offset)
{
    int i;

    memcpy(w->stored, text, strlen(text) + 1);
    w->stored_offset = offset;
    for (i = 0; i < w->length; i++)
        w->published[i] = (uint8_t)(w->published[i] + (w->state[i] == STAGED));
}

/* Stage some, then commit, abort, or crash with either result. */
static void step_transaction(struct world *w, bool stage_all)
{
    char text[VD_LEDGER_TEXT_SIZE];
    uint32_t fate = stage_all ? 0 : draw(w, 8);
    int64_t offset;
    int i;

    for (i = 0; i < w->length; i++) {
        if (w->state[i] != OPEN || (!stage_all && draw(w, 2) == 0))
            continue;
        expect(w, vd_ledger_stage(w->ledger, w->start + i), "cannot stage");
        w->state[i] = STAGED;
    }
    (void)vd_ledger_encode(w->ledger, text, &offset);
    if (!stage_all && draw(w, 3) == 0)
        step_deliver(w); /* while the commit is under way */
    if (fate <= 4) {
        apply(w, text, offset);
        (void)vd_ledger_commit(w->ledger);
        for (i = 0; i < w->length; i++)
            if (w->state[i] == STAGED)
                w->state[i] = FINISHED;
    } else if (fate == 5) {
        (void)vd_ledger_abort(w->ledger);
        for (i = 0; i < w->length; i++)
            if (w->state[i] == STAGED)
                w->state[i] = OPEN;
    } else {
        if (fate == 6)
            apply(w, text, offset);
        step_crash(w);
    }
}

static void step_redeliver(struct world *w)
{
    int at = (int)draw(w, (uint32_t)w->length);

    if (w->start + at < vd_ledger_next(w->ledger))
        expect(w, vd_ledger_deliver(w->ledger, w->start + at) == VD_LEDGER_SKIP,
               "seen, but not skipped");
}

static void begin(struct world *w, uint64_t seed)
{
    int i;

    *w = (struct world){.seed = seed, .random = seed * UINT64_C(0x9E3779B97F4A7C15) | 1};
    w->start = draw(w, 3) == 0 ? 0 : (int64_t)draw(w, 1u << 31);
    w->length = 1 + (int)draw(w, LOG_MAX);
    w->span = 1 + draw(w, 80);
    for (i = 0; i < w->length; i++)
        w->exists[i] = draw(w, 4) != 0;
    w->ledger = vd_ledger_new(w->start, w->span);
    assert_non_null(w->ledger);
    (void)vd_ledger_encode_plain(w->start, 0, w->stored);
    w->stored_offset = w->start;
}

static void run(uint64_t seed)
{
    struct world w;
    int steps, i;

    begin(&w, seed);
    steps = 4 + (int)draw(&w, 40);
    while (steps-- > 0) {
        switch (draw(&w, 16)) {
        default:
            step_deliver(&w);
            break;
        case 1:
        case 2:
        case 3:
        case 4:
            step_transaction(&w, false);
            break;
        case 5:
            step_redeliver(&w);
            break;
        case 6:
            if (draw(&w, 3) == 0)
                step_crash(&w);
            break;
        }
        compare(&w);
    }
    /* Everything comes to an end. */
    for (i = 0; model_base(&w) < w.length; i++) {
        expect(&w, i < 4 * LOG_MAX, "does not come to an end");
        step_deliver(&w);
        if (w.position == w.length || i % 8 == 7 || !vd_ledger_has_room(w.ledger) || w.span < 8)
            step_transaction(&w, true);
    }
    compare(&w);
    for (i = 0; i < w.length; i++)
        expect(&w, w.published[i] == w.exists[i], "not published exactly once");
    (void)vd_ledger_free(w.ledger);
}

static void each_record_is_published_exactly_once_whatever_happens(void **state)
{
    const char *seed = getenv("LEDGER_SEED"), *count = getenv("LEDGER_SCHEDULES");
    uint64_t from = seed == NULL ? 1 : strtoull(seed, NULL, 10);
    uint64_t n = seed != NULL ? 1 : count == NULL ? SCHEDULES : strtoull(count, NULL, 10);
    uint64_t i;

    (void)state;
    for (i = 0; i < n; i++)
        run(from + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_record_is_published_exactly_once_whatever_happens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
