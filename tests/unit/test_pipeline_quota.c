/* Quotas of a model: the arithmetic at its exact boundaries, and a router that holds to them. Redis: tests/integration/test_quota.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "json/json.h"
#include "loop/loop.h"
#include "pipeline/quota.h"

#define CALLS 32

struct world {
    struct vd_loop *loop;
    struct vd_quota *quota;
    struct vd_router_quota hooks;
    struct vd_router *router;
    cJSON *script[2];
};

struct asked {
    int answers;
    struct vd_router_admission last;
};

static void on_admission(void *arg, const struct vd_router_admission *a)
{
    struct asked *asked = arg;

    asked->answers++;
    asked->last = *a;
}

static int set_up(void **state)
{
    struct world *w = vd_alloc(sizeof(*w));

    *state = w;
    return w != NULL && vd_loop_new(&w->loop, NULL) == VD_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    (void)vd_router_free(w->router);
    (void)vd_quota_free(w->quota);
    (void)vd_loop_free(w->loop);
    (void)vd_json_free(w->script[0]);
    (void)vd_json_free(w->script[1]);
    (void)vd_free(w);
    return 0;
}

static void open_quota(struct world *w, struct vd_quota_limits first)
{
    struct vd_quota_model models[] = {{"first", first}, {"second", {0, 0, 0}}};
    struct vd_quota_conf conf = {.models = models, .model_count = 2, .prefix = "t:"};

    assert_int_equal(vd_quota_new(w->loop, &conf, &w->quota, NULL), VD_OK);
    w->hooks = vd_quota_hooks(w->quota);
}

/* 0 when use was reserved, else what the answer said. */
static int64_t reserve(struct world *w, struct vd_router_use use)
{
    struct asked asked = {0};
    void *handle;

    assert_int_equal(w->hooks.reserve(w->hooks.arg, 0, &use, on_admission, &asked, &handle), VD_OK);
    assert_int_equal(asked.answers, 0); /* never inside the call */
    for (int i = 0; i < 10 && asked.answers == 0; i++)
        vd_loop_turn(w->loop, 20);
    assert_int_equal(asked.answers, 1);
    return asked.last.wait_ms;
}

static struct vd_router_use requests(uint64_t n)
{
    return (struct vd_router_use){.requests = n};
}

static void test_n_requests_pass_at_once_and_the_next_waits_for_its_share(void **state)
{
    static const int64_t most[] = {1, 3, 7, 13, 600};
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
        int64_t began = vd_mono_ms(), wait, share = 60000 / most[i];

        open_quota(w, (struct vd_quota_limits){.requests_per_minute = most[i]});
        for (int64_t n = 0; n < most[i]; n++)
            assert_int_equal(reserve(w, requests(1)), 0);
        wait = reserve(w, requests(1));
        /* One share, less what passed meanwhile. */
        assert_true(wait <= share + 1 && wait >= share - (vd_mono_ms() - began) - 1);
        w->quota = vd_quota_free(w->quota);
    }
}

static void test_tokens_and_money_have_their_own_boundaries(void **state)
{
    struct world *w = *state;
    struct vd_router_use all = {1, 1000, 0}, one = {1, 1, 0};

    open_quota(w, (struct vd_quota_limits){.tokens_per_minute = 1000});
    assert_int_equal(reserve(w, (struct vd_router_use){1, 1001, 0}), -1); /* will never fit */
    assert_int_equal(reserve(w, all), 0);
    assert_in_range(reserve(w, one), 1, 61);
    w->quota = vd_quota_free(w->quota);

    open_quota(w, (struct vd_quota_limits){.cost_microusd_per_hour = 3600});
    assert_int_equal(reserve(w, (struct vd_router_use){1, 0, 3600}), 0);
    assert_in_range(reserve(w, (struct vd_router_use){1, 0, 10}), 9000, 10001); /* a second each */
}

static void test_all_limits_are_reserved_or_none(void **state)
{
    struct world *w = *state;

    open_quota(w, (struct vd_quota_limits){.requests_per_minute = 2, .tokens_per_minute = 100});
    assert_int_equal(reserve(w, (struct vd_router_use){1, 100, 0}), 0);
    for (int i = 0; i < 5; i++) /* refused for tokens: takes no request */
        assert_true(reserve(w, (struct vd_router_use){1, 100, 0}) > 0);
    assert_int_equal(reserve(w, requests(1)), 0);
    assert_true(reserve(w, requests(1)) > 0);
}

static void test_the_estimate_gives_way_to_the_truth(void **state)
{
    struct world *w = *state;
    struct vd_router_use reserved = {1, 1000, 0}, used = {1, 400, 0}, more = {1, 700, 0};

    open_quota(w, (struct vd_quota_limits){.tokens_per_minute = 1000});
    assert_int_equal(reserve(w, reserved), 0);
    w->hooks.correct(w->hooks.arg, 0, &reserved, &used);
    assert_int_equal(reserve(w, (struct vd_router_use){1, 600, 0}), 0); /* what was not used */
    assert_true(reserve(w, (struct vd_router_use){1, 10, 0}) > 0);
    w->hooks.correct(w->hooks.arg, 0, &used, &more); /* more than reserved: a debt of 300 */
    assert_in_range(reserve(w, (struct vd_router_use){1, 1, 0}), 17000, 18100);
}

static void test_a_canceled_reservation_is_given_back(void **state)
{
    struct world *w = *state;
    struct vd_router_use one = requests(1);
    struct asked asked = {0};
    void *handle;

    open_quota(w, (struct vd_quota_limits){.requests_per_minute = 1});
    assert_int_equal(w->hooks.reserve(w->hooks.arg, 0, &one, on_admission, &asked, &handle), VD_OK);
    w->hooks.cancel(w->hooks.arg, handle);
    for (int i = 0; i < 3; i++)
        vd_loop_turn(w->loop, 10);
    assert_int_equal(asked.answers, 0);
    assert_int_equal(reserve(w, one), 0);
}

/* -- the router ------------------------------------------------------------------------------------------------------ */

struct done {
    int calls;
    enum vd_model_outcome outcome[CALLS];
    size_t model[CALLS];
    int64_t quota_ms[CALLS];
};

static void on_done(void *arg, const struct vd_router_result *r)
{
    struct done *done = arg;

    done->outcome[done->calls] = r->model.outcome;
    done->model[done->calls] = r->model_index;
    done->quota_ms[done->calls++] = r->quota_ms;
}

static void open_router(struct world *w, struct vd_quota_limits limits, const char *script)
{
    struct vd_model_conf models[2];
    struct vd_router_conf conf = {
        .models = models, .model_count = 2, .seed = 42, .retry_base_ms = 1};
    struct vd_err err;

    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(vd_json_parse(vd_span_of(script), &w->script[i], NULL), VD_OK);
        models[i] = (struct vd_model_conf){.name = i == 0 ? "first" : "second",
                                           .provider = "scripted",
                                           .model = "m",
                                           .prices = {1000000, 0, 1000000},
                                           .script = w->script[i]};
    }
    open_quota(w, limits);
    conf.quota = &w->hooks;
    if (vd_router_new(w->loop, &conf, &w->router, &err) != VD_OK)
        fail_msg("%s", err.msg);
}

static struct vd_router_call *ask(struct world *w, size_t model_count, int64_t deadline_ms,
                                  struct done *done)
{
    static const struct vd_model_message message = {.role = VD_MODEL_USER, .text = {"hello", 5}};
    static const struct vd_model_request request = {
        .messages = &message, .message_count = 1, .max_output_tokens = 10};
    static const size_t order[] = {0, 1};
    struct vd_router_request r = {.request = &request,
                                  .models = order,
                                  .model_count = model_count,
                                  .deadline_mono_ms = vd_loop_now_ms(w->loop) + deadline_ms};
    struct vd_router_call *call;

    assert_int_equal(vd_router_submit(w->router, &r, on_done, done, &call, NULL), VD_OK);
    return call;
}

static void turn_until(struct world *w, const struct done *done, int calls, int64_t most_ms)
{
    int64_t end = vd_mono_ms() + most_ms;

    while (done->calls < calls && vd_mono_ms() < end)
        vd_loop_turn(w->loop, 10);
    assert_int_equal(done->calls, calls);
}

#define GOOD "\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",\"{}\""

static void test_the_router_lets_n_pass_and_the_next_wait_in_order(void **state)
{
    struct world *w = *state;
    struct done done = {0};
    int64_t began = vd_mono_ms();

    open_router(w, (struct vd_quota_limits){.requests_per_minute = 600}, "[" GOOD "]");
    /* 600 at once would pass; 595 are gone. */
    assert_int_equal(reserve(w, requests(595)), 0);
    for (int i = 0; i < 8; i++)
        (void)ask(w, 1, 5000, &done);
    turn_until(w, &done, 8, 5000);
    for (int i = 0; i < 8; i++)
        assert_int_equal(done.outcome[i], VD_MODEL_OK);
    assert_true(done.quota_ms[4] <= 20);
    assert_true(done.quota_ms[7] >= 150); /* three shares of 100 ms behind the fifth */
    assert_true(vd_mono_ms() - began >= 200);
    assert_true(vd_router_status(w->router, 0).quota_ms >= 300);
}

static void test_the_next_model_is_asked_at_once_where_the_quota_takes_too_long(void **state)
{
    struct world *w = *state;
    struct done done = {0};
    int64_t began = vd_mono_ms();

    open_router(w, (struct vd_quota_limits){.requests_per_minute = 2}, "[" GOOD "]");
    for (int i = 0; i < 4; i++)
        (void)ask(w, 2, 1000, &done);
    turn_until(w, &done, 4, 900);
    assert_int_equal(done.model[0] + done.model[1] + done.model[2] + done.model[3], 2);
    assert_true(vd_mono_ms() - began < 500);
    assert_int_equal(vd_router_status(w->router, 0).calls, 2);
    assert_int_equal(vd_router_status(w->router, 0).quota_denied, 2);
}

static void test_without_another_model_the_outcome_is_the_quota(void **state)
{
    struct world *w = *state;
    struct done done = {0};

    /* A dollar a million tokens: each call is estimated at some 50 micro-USD. */
    open_router(w, (struct vd_quota_limits){.cost_microusd_per_hour = 200}, "[" GOOD "]");
    for (int i = 0; i < 20; i++)
        (void)ask(w, 1, 300, &done);
    turn_until(w, &done, 20, 1000);
    for (int i = 0; i < 20; i++)
        assert_true(done.outcome[i] == VD_MODEL_OK || done.outcome[i] == VD_MODEL_QUOTA);
    assert_true(vd_router_status(w->router, 0).outcomes[VD_MODEL_OK] >= 1);
    assert_true(vd_router_status(w->router, 0).quota_denied >= 1);
}

static void test_a_retry_is_a_request_too(void **state)
{
    struct world *w = *state;
    struct done done = {0};

    open_router(w, (struct vd_quota_limits){.requests_per_minute = 2},
                "[{\"outcome\":\"retry\"},{\"outcome\":\"retry\"},\"{}\"]");
    (void)ask(w, 1, 1000, &done);
    turn_until(w, &done, 1, 1500);
    assert_int_equal(done.outcome[0], VD_MODEL_RETRY); /* what the model said last */
    assert_int_equal(vd_router_status(w->router, 0).quota_denied, 1);
    assert_true(reserve(w, requests(1)) > 0);
}

static void test_canceling_ends_each_wait_and_gives_back(void **state)
{
    struct world *w = *state;
    struct done done = {0};
    struct vd_router_call *calls[4];

    open_router(w, (struct vd_quota_limits){.requests_per_minute = 60}, "[" GOOD "]");
    assert_int_equal(reserve(w, requests(59)), 0);
    for (int i = 0; i < 4; i++)
        calls[i] = ask(w, 1, 60000, &done);
    vd_router_cancel(calls[0]); /* ADMITTING: the place is free again */
    turn_until(w, &done, 2, 1000);
    assert_int_equal(done.outcome[0], VD_MODEL_CANCELED);
    assert_int_equal(done.outcome[1], VD_MODEL_OK);
    vd_router_cancel(calls[2]); /* waits for its share */
    turn_until(w, &done, 3, 200);
    assert_int_equal(done.outcome[2], VD_MODEL_CANCELED);
    w->router = vd_router_free(w->router); /* the last one waits still */
    assert_int_equal(done.calls, 4);
    assert_int_equal(done.outcome[3], VD_MODEL_CANCELED);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_n_requests_pass_at_once_and_the_next_waits_for_its_share),
        T(test_tokens_and_money_have_their_own_boundaries),
        T(test_all_limits_are_reserved_or_none),
        T(test_the_estimate_gives_way_to_the_truth),
        T(test_a_canceled_reservation_is_given_back),
        T(test_the_router_lets_n_pass_and_the_next_wait_in_order),
        T(test_the_next_model_is_asked_at_once_where_the_quota_takes_too_long),
        T(test_without_another_model_the_outcome_is_the_quota),
        T(test_a_retry_is_a_request_too),
        T(test_canceling_ends_each_wait_and_gives_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
