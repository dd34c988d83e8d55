/* Limits across decisions, on a real redis-server: what fits, to the unit; what is given back; what is closed. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "loop/loop.h"
#include "redis/limits.h"
#include "redis/limits_lua.h"

#define WAIT_MS 5000
#define HOUR_MS 3600000

struct world {
    struct vd_loop *loop;
    struct vd_redis *redis;
    struct vd_limit_script *script;
    char dir[64];
    char address[96];
    pid_t server;
};

/* -- the server ------------------------------------------------------------------------------------------------------ */

static int set_up(void **state)
{
    struct world *w = vd_alloc(sizeof(*w));
    struct vd_redis_conf conf = {.db = -1};
    char path[80];

    (void)snprintf(w->dir, sizeof(w->dir), "/tmp/verdict-limits-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    (void)snprintf(path, sizeof(path), "%s/redis.sock", w->dir);
    (void)snprintf(w->address, sizeof(w->address), "unix:%s", path);
    w->server = fork();
    if (w->server == 0) {
        int null = open("/dev/null", O_RDWR);

        (void)dup2(null, 1);
        (void)dup2(null, 2);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
               "--appendonly", "no", "--dir", w->dir, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && access(path, F_OK) != 0; i++)
        (void)usleep(10000);
    assert_int_equal(vd_loop_new(&w->loop, NULL), VD_OK);
    conf.address = w->address;
    assert_int_equal(vd_redis_new(w->loop, &conf, NULL, NULL, &w->redis, NULL), VD_OK);
    assert_int_equal(vd_limit_script_new(&w->script, NULL), VD_OK);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char path[96];

    (void)vd_redis_free(w->redis);
    (void)vd_limit_script_free(w->script);
    (void)vd_loop_free(w->loop);
    (void)kill(w->server, SIGKILL);
    (void)waitpid(w->server, NULL, 0);
    (void)snprintf(path, sizeof(path), "%s/redis.sock", w->dir);
    (void)unlink(path);
    (void)rmdir(w->dir);
    (void)vd_free(w);
    return 0;
}

/* -- asking ---------------------------------------------------------------------------------------------------------- */

struct seen {
    bool came;
    size_t count;
    enum vd_code rc;
    enum vd_limit_answer answer;
    struct vd_limit_used used[VD_LIMIT_MAX_ITEMS];
    char text[200]; /* of any other command */
    int64_t number;
};

static void on_reserved(void *arg, const struct vd_redis_result *result)
{
    struct seen *seen = arg;
    struct vd_err err = {.msg = ""};

    seen->came = true;
    assert_int_equal(result->err.code, VD_OK);
    seen->rc = vd_limit_read(result->replies[0], seen->used, seen->count, &seen->answer, &err);
    if (seen->rc != VD_OK)
        fail_msg("%s", err.msg);
}

static void turn(struct world *w, const struct seen *seen)
{
    int64_t end = vd_mono_ms() + WAIT_MS;

    while (!seen->came && vd_mono_ms() < end)
        vd_loop_turn(w->loop, 20);
    assert_true(seen->came);
}

static struct seen ask(struct world *w, const struct vd_limit_request *request)
{
    struct seen seen = {.count = request->count};
    struct vd_limit_request mine = *request;

    mine.prefix = VD_LIT("g:");
    assert_int_equal(
        vd_limit_reserve(w->redis, w->script, &mine, NULL, on_reserved, &seen, NULL, NULL), VD_OK);
    turn(w, &seen);
    return seen;
}

static struct vd_limit_item item(const char *key, const char *holder, int64_t amount, int64_t max)
{
    return (struct vd_limit_item){.base = VD_LIT("limit:p:l"),
                                  .key = vd_span_of(key),
                                  .holder = vd_span_of(holder),
                                  .amount = amount,
                                  .max = max,
                                  .keep_ms = HOUR_MS,
                                  .closed_ms = HOUR_MS};
}

/* One decision that wants amount of key "k" out of max. */
static struct seen want(struct world *w, const char *decision, int64_t amount, int64_t max)
{
    struct vd_limit_item one = item("k", decision, amount, max);

    return ask(
        w, &(struct vd_limit_request){.decision = vd_span_of(decision), .items = &one, .count = 1});
}

static void give_back(struct world *w, const char *decision)
{
    assert_int_equal(ask(w, &(struct vd_limit_request){.decision = vd_span_of(decision)}).answer,
                     VD_LIMIT_RESERVED);
}

static void on_command(void *arg, const struct vd_redis_result *result)
{
    struct seen *seen = arg;
    const struct vd_redis_reply *r = result->replies[0];

    seen->came = true;
    assert_int_equal(result->err.code, VD_OK);
    if (r->kind == VD_REDIS_ERROR)
        fail_msg("%.*s", (int)r->s.len, r->s.ptr);
    seen->number = r->kind == VD_REDIS_ARRAY ? (int64_t)r->count : r->i;
    (void)snprintf(seen->text, sizeof(seen->text), "%.*s", (int)r->s.len,
                   r->s.ptr == NULL ? "" : r->s.ptr);
}

static struct seen command(struct world *w, const char *line)
{
    struct vd_span argv[16];
    struct vd_redis_command one = {argv, 0};
    struct vd_span rest = vd_span_of(line);
    struct seen seen = {0};

    while (rest.len > 0) {
        size_t n = vd_span_find(rest, ' ');

        argv[one.argc++] = vd_span_sub(rest, 0, n);
        rest = vd_span_sub(rest, n + 1, rest.len);
    }
    assert_int_equal(vd_redis_submit(w->redis, &one, 1, NULL, on_command, &seen, NULL, NULL),
                     VD_OK);
    turn(w, &seen);
    return seen;
}

/* An effect, as it is applied after the commit of "dN", whose record has offset N. Was it overtaken? */
static bool apply(struct world *w, const char *op, const char *decision)
{
    struct vd_redis_script *script;
    char whole[300];
    struct vd_span args[] = {{whole, 0}, vd_span_of(decision)};
    struct seen seen = {0};
    struct vd_buf text;

    args[0].len = (size_t)snprintf(whole, sizeof(whole), "%.*s,\"t:0\",%s]", (int)strlen(op) - 1,
                                   op, decision + 1);
    vd_buf_init(&text, 65536);
    (void)vd_buf_add_c(&text, VD_LIMITS_LUA);
    (void)vd_buf_add_c(&text, VD_LIMITS_APPLY_LUA);
    (void)vd_buf_add_c(&text, "return limit_apply('g:', cjson.decode(ARGV[1]), ARGV[2], clock())");
    assert_int_equal(vd_redis_script_new(vd_buf_span(&text), &script, NULL), VD_OK);
    assert_int_equal(
        vd_redis_eval(w->redis, script, NULL, 0, args, 2, NULL, on_command, &seen, NULL, NULL),
        VD_OK);
    turn(w, &seen);
    (void)vd_redis_script_free(script);
    vd_buf_free(&text);
    return seen.number == 1;
}

/* Is nothing counted or held any more? What is left only knows which record came last. */
static void assert_nothing_held(struct world *w)
{
    assert_int_equal(command(w, "KEYS g:limit:p:l:*").number, 0);
    assert_int_equal(command(w, "KEYS g:limit:p:l#*").number, 0);
}

static void assert_left(struct world *w, const char *key, int64_t used)
{
    struct vd_limit_item one = item(key, "nobody", 1, VD_LIMIT_MAX_AMOUNT);
    struct seen seen =
        ask(w, &(struct vd_limit_request){
                   .decision = VD_LIT("nobody"), .dry = true, .items = &one, .count = 1});

    assert_int_equal(seen.answer, VD_LIMIT_RESERVED);
    assert_int_equal(seen.used[0].used, used);
}

/* -- what fits ------------------------------------------------------------------------------------------------------- */

static void test_what_exactly_fits_is_reserved_and_one_more_is_not(void **state)
{
    struct seen seen = want(*state, "a", 4, 10);

    assert_int_equal(seen.answer, VD_LIMIT_RESERVED);
    assert_int_equal(seen.used[0].used, 0);
    seen = want(*state, "b", 7, 10);
    assert_int_equal(seen.answer, VD_LIMIT_EXCEEDED);
    assert_false(seen.used[0].ok);
    assert_int_equal(seen.used[0].used, 4);
    assert_int_equal(want(*state, "b", 6, 10).answer, VD_LIMIT_RESERVED);
    assert_int_equal(want(*state, "c", 1, 10).answer, VD_LIMIT_EXCEEDED);
    assert_left(*state, "k", 10);
}

static void test_a_replay_reserves_nothing_twice(void **state)
{
    for (int i = 0; i < 3; i++) {
        struct seen seen = want(*state, "a", 10, 10);

        assert_int_equal(seen.answer, VD_LIMIT_RESERVED);
        assert_int_equal(seen.used[0].used, 0);
    }
    assert_left(*state, "k", 10);
}

static void test_a_changed_amount_replaces_the_old_one(void **state)
{
    assert_int_equal(want(*state, "a", 8, 10).answer, VD_LIMIT_RESERVED);
    assert_int_equal(want(*state, "a", 3, 10).answer, VD_LIMIT_RESERVED);
    assert_left(*state, "k", 3);
    assert_int_equal(want(*state, "b", 7, 10).answer, VD_LIMIT_RESERVED);
    /* Refused: it has nothing any more, not even what it had. */
    assert_int_equal(want(*state, "a", 4, 10).answer, VD_LIMIT_EXCEEDED);
    assert_left(*state, "k", 7);
}

static void test_nothing_stays_behind_what_was_given_back(void **state)
{
    assert_int_equal(want(*state, "a", 8, 10).answer, VD_LIMIT_RESERVED);
    assert_int_equal(command(*state, "DBSIZE").number, 3);
    give_back(*state, "a");
    assert_int_equal(command(*state, "DBSIZE").number, 0);
    assert_int_equal(want(*state, "a", 11, 10).answer, VD_LIMIT_EXCEEDED);
    assert_int_equal(command(*state, "DBSIZE").number, 0);
}

static void test_another_key_moves_the_reservation(void **state)
{
    struct vd_limit_item one = item("old", "a", 5, 10);
    struct vd_limit_request request = {.decision = VD_LIT("a"), .items = &one, .count = 1};

    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_RESERVED);
    one.key = VD_LIT("new");
    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_RESERVED);
    assert_left(*state, "old", 0);
    assert_left(*state, "new", 5);
}

static void test_several_are_all_or_nothing(void **state)
{
    struct vd_limit_item items[] = {item("x", "a", 5, 5), item("y", "a", 6, 5)};
    struct vd_limit_request request = {.decision = VD_LIT("a"), .items = items, .count = 2};
    struct seen seen = ask(*state, &request);

    assert_int_equal(seen.answer, VD_LIMIT_EXCEEDED);
    assert_true(seen.used[0].ok);
    assert_false(seen.used[1].ok);
    assert_left(*state, "x", 0);
    items[1].amount = 5;
    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_RESERVED);
    assert_left(*state, "x", 5);
    assert_left(*state, "y", 5);
}

static void test_items_of_one_key_count_together(void **state)
{
    struct vd_limit_item items[] = {item("x", "a", 3, 5), item("x", "a", 3, 5)};
    struct vd_limit_request request = {.decision = VD_LIT("a"), .items = items, .count = 2};

    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_EXCEEDED);
    items[1].amount = 2;
    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_RESERVED);
    assert_left(*state, "x", 5);
}

static void test_amounts_are_exact_up_to_two_to_the_53(void **state)
{
    assert_int_equal(want(*state, "a", VD_LIMIT_MAX_AMOUNT - 1, VD_LIMIT_MAX_AMOUNT).answer,
                     VD_LIMIT_RESERVED);
    assert_int_equal(want(*state, "b", 2, VD_LIMIT_MAX_AMOUNT).answer, VD_LIMIT_EXCEEDED);
    assert_int_equal(want(*state, "b", 1, VD_LIMIT_MAX_AMOUNT).answer, VD_LIMIT_RESERVED);
    assert_int_equal(want(*state, "c", 1, VD_LIMIT_MAX_AMOUNT).used[0].used, VD_LIMIT_MAX_AMOUNT);
}

static void test_a_window_ends(void **state)
{
    struct vd_limit_item one = item("k", "a", 10, 10);
    struct vd_limit_request request = {.decision = VD_LIT("a"), .items = &one, .count = 1};

    one.keep_ms = 300;
    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_RESERVED);
    assert_int_equal(want(*state, "b", 1, 10).answer, VD_LIMIT_EXCEEDED);
    (void)usleep(310000);
    assert_int_equal(want(*state, "b", 1, 10).used[0].used, 0);
    assert_left(*state, "k", 1);
    give_back(*state, "b");
    assert_int_equal(command(*state, "KEYS g:limit*").number, 0);
}

static void test_keys_end_with_what_is_in_them(void **state)
{
    struct vd_limit_item one = item("k", "a", 1, 10);

    one.keep_ms = 150;
    assert_int_equal(
        ask(*state, &(struct vd_limit_request){.decision = VD_LIT("a"), .items = &one, .count = 1})
            .answer,
        VD_LIMIT_RESERVED);
    (void)usleep(200000);
    assert_int_equal(command(*state, "KEYS g:limit*").number, 0);
}

/* -- whose it is ----------------------------------------------------------------------------------------------------- */

static void test_a_worker_that_lost_the_partition_changes_nothing(void **state)
{
    struct vd_limit_item one = item("k", "a", 5, 10);
    struct vd_limit_request request = {
        .decision = VD_LIT("a"), .generation = 7, .items = &one, .count = 1};

    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_RESERVED);
    request.generation = 6;
    one.amount = 1;
    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_FENCED);
    request.count = 0;
    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_FENCED);
    assert_left(*state, "k", 5);
    request.generation = 8;
    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_RESERVED);
    assert_left(*state, "k", 0);
}

static void test_a_dry_question_reserves_nothing(void **state)
{
    struct vd_limit_item one = item("k", "a", 5, 10);
    struct vd_limit_request request = {
        .decision = VD_LIT("a"), .epoch = true, .dry = true, .items = &one, .count = 1};

    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_RESERVED);
    assert_int_equal(command(*state, "DBSIZE").number, 0);
}

/* -- holds ----------------------------------------------------------------------------------------------------------- */

/* The customer's decision wants amount, and what follows is applied as after its commit. */
static void hold(struct world *w, const char *decision, int64_t amount, int64_t keep_ms)
{
    struct vd_limit_item one = item("k", "customer", amount, 10);
    char op[200];

    one.keep_ms = keep_ms;
    assert_int_equal(
        ask(w,
            &(struct vd_limit_request){.decision = vd_span_of(decision), .items = &one, .count = 1})
            .answer,
        VD_LIMIT_RESERVED);
    (void)snprintf(op, sizeof(op),
                   "[\"limit\",\"limit:p:l\",\"keep\",\"customer\",{\"k\":%lld},%lld]",
                   (long long)amount, (long long)keep_ms);
    (void)apply(w, op, decision);
}

#define KEEP    "[\"limit\",\"limit:p:l\",\"keep\",\"customer\",{\"k\":6},3600000]"
#define CONFIRM "[\"limit\",\"limit:p:l\",\"confirm\",\"customer\",{},3600000]"
#define RELEASE "[\"limit\",\"limit:p:l\",\"release\",\"customer\",{},3600000]"

static void test_a_hold_ends_by_itself(void **state)
{
    hold(*state, "d1", 6, 200);
    assert_left(*state, "k", 6);
    (void)usleep(250000);
    assert_left(*state, "k", 0);
    assert_nothing_held(*state);
}

static void test_a_confirmed_hold_stays(void **state)
{
    hold(*state, "d1", 6, 300);
    (void)apply(*state, CONFIRM, "d2");
    (void)usleep(350000);
    assert_left(*state, "k", 6);
    (void)apply(*state, RELEASE, "d3");
    assert_left(*state, "k", 0);
    assert_nothing_held(*state);
}

static void test_a_released_hold_frees_at_once(void **state)
{
    hold(*state, "d1", 6, HOUR_MS);
    (void)apply(*state, RELEASE, "d2");
    assert_left(*state, "k", 0);
    (void)apply(*state, CONFIRM, "d3"); /* nothing to confirm */
    assert_left(*state, "k", 0);
    assert_nothing_held(*state);
}

static void test_a_later_decision_of_the_holder_replaces_its_hold(void **state)
{
    hold(*state, "d1", 6, HOUR_MS);
    hold(*state, "d2", 9, HOUR_MS);
    assert_left(*state, "k", 9);
    hold(*state, "d3", 2, HOUR_MS);
    assert_left(*state, "k", 2);
}

/* Until it is published, a smaller new hold frees nothing, and abandoned it takes nothing of the old one away. */
static void test_an_unpublished_hold_leaves_the_old_one(void **state)
{
    struct vd_limit_item one = item("k", "customer", 2, 10);
    struct vd_limit_request request = {.decision = VD_LIT("d2"), .items = &one, .count = 1};

    hold(*state, "d1", 6, HOUR_MS);
    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_RESERVED);
    assert_left(*state, "k", 6);
    one.amount = 8;
    assert_int_equal(ask(*state, &request).answer, VD_LIMIT_RESERVED);
    assert_left(*state, "k", 8);
    give_back(*state, "d2");
    assert_left(*state, "k", 6);
}

/* An answer was lost, and the same is applied again, maybe after what came later. */
static void test_what_is_applied_again_changes_nothing(void **state)
{
    hold(*state, "d1", 6, HOUR_MS);
    assert_false(apply(*state, KEEP, "d1"));
    assert_left(*state, "k", 6);
    assert_false(apply(*state, RELEASE, "d2"));
    assert_true(apply(*state, KEEP, "d1"));
    assert_left(*state, "k", 0);
    hold(*state, "d3", 6, HOUR_MS);
    assert_true(apply(*state, RELEASE, "d2"));
    assert_left(*state, "k", 6);
    assert_false(apply(*state, RELEASE, "d10"));
    assert_left(*state, "k", 0);
}

static void test_a_hold_moves_with_its_key(void **state)
{
    hold(*state, "d1", 6, HOUR_MS);
    (void)apply(*state,
                "[\"limit\",\"limit:p:l\",\"keep\",\"customer\",{\"other\":4,\"third\":1},3600000]",
                "d2");
    assert_left(*state, "k", 0);
    assert_left(*state, "other", 4);
    assert_left(*state, "third", 1);
    (void)apply(*state, RELEASE, "d3");
    assert_nothing_held(*state);
}

/* -- trust ----------------------------------------------------------------------------------------------------------- */

static struct seen checked(struct world *w, int64_t closed_ms)
{
    struct vd_limit_item one = item("k", "a", 1, 10);

    one.closed_ms = closed_ms;
    return ask(w, &(struct vd_limit_request){
                      .decision = VD_LIT("a"), .epoch = true, .items = &one, .count = 1});
}

static void test_without_an_epoch_nothing_is_looked_at(void **state)
{
    assert_int_equal(checked(*state, HOUR_MS).answer, VD_LIMIT_ABSENT);
    assert_int_equal(command(*state, "DBSIZE").number, 0);
    (void)command(*state, "SET g:epoch 0");
    assert_int_equal(checked(*state, HOUR_MS).answer, VD_LIMIT_RESERVED);
}

static void test_after_a_loss_a_limit_is_closed_for_its_window(void **state)
{
    char line[64];
    struct seen seen;
    int64_t since = vd_wall_ms();

    (void)snprintf(line, sizeof(line), "SET g:epoch %lld", (long long)since);
    (void)command(*state, line);
    seen = checked(*state, HOUR_MS);
    assert_int_equal(seen.answer, VD_LIMIT_EXCEEDED);
    assert_int_equal(seen.used[0].closed_until_ms, since + HOUR_MS);
    assert_int_equal(checked(*state, 100).answer, VD_LIMIT_EXCEEDED);
    (void)usleep(150000);
    assert_int_equal(checked(*state, 100).answer, VD_LIMIT_RESERVED);
    (void)command(*state, "SET g:epoch nonsense");
    assert_int_equal(checked(*state, 100).answer, VD_LIMIT_EXCEEDED);
}

/* -- bounds ---------------------------------------------------------------------------------------------------------- */

static void test_one_decision_has_a_bounded_number_of_reservations(void **state)
{
    struct vd_limit_item items[VD_LIMIT_MAX_ITEMS + 1];
    char keys[VD_LIMIT_MAX_ITEMS + 1][16];
    struct vd_limit_request request = {.prefix = VD_LIT("g:"),
                                       .decision = VD_LIT("a"),
                                       .items = items,
                                       .count = VD_LIMIT_MAX_ITEMS};
    struct world *w = *state;

    for (int i = 0; i <= VD_LIMIT_MAX_ITEMS; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "%d", i);
        items[i] = item(keys[i], "a", 1, 1);
    }
    assert_int_equal(ask(w, &request).answer, VD_LIMIT_RESERVED);
    request.count++;
    assert_int_equal(
        vd_limit_reserve(w->redis, w->script, &request, NULL, on_reserved, NULL, NULL, NULL),
        VD_E_LIMIT);
    give_back(w, "a");
    assert_int_equal(command(w, "DBSIZE").number, 0);
}

/* Thousands that ended at once are cleared away a part at a time. */
static void test_many_that_ended_are_cleared_away_in_parts(void **state)
{
    int again = 0;
    struct seen seen;

    (void)command(*state,
                  "EVAL for\ni=1,5000\ndo\nredis.call('ZADD','g:limit:p:l:k',i,'d'..i)\nend 0");
    (void)command(*state, "HSET g:limit:p:l#k sum 0");
    do {
        seen = want(*state, "a", 1, 1);
    } while (seen.answer == VD_LIMIT_AGAIN && ++again < 10);
    assert_int_equal(again, 2);
    assert_int_equal(seen.answer, VD_LIMIT_RESERVED);
    assert_int_equal(command(*state, "ZCARD g:limit:p:l:k").number, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_exactly_fits_is_reserved_and_one_more_is_not),
        TEST(test_a_replay_reserves_nothing_twice),
        TEST(test_a_changed_amount_replaces_the_old_one),
        TEST(test_nothing_stays_behind_what_was_given_back),
        TEST(test_another_key_moves_the_reservation),
        TEST(test_several_are_all_or_nothing),
        TEST(test_items_of_one_key_count_together),
        TEST(test_amounts_are_exact_up_to_two_to_the_53),
        TEST(test_a_window_ends),
        TEST(test_keys_end_with_what_is_in_them),
        TEST(test_a_worker_that_lost_the_partition_changes_nothing),
        TEST(test_a_dry_question_reserves_nothing),
        TEST(test_a_hold_ends_by_itself),
        TEST(test_a_confirmed_hold_stays),
        TEST(test_a_released_hold_frees_at_once),
        TEST(test_a_later_decision_of_the_holder_replaces_its_hold),
        TEST(test_an_unpublished_hold_leaves_the_old_one),
        TEST(test_what_is_applied_again_changes_nothing),
        TEST(test_a_hold_moves_with_its_key),
        TEST(test_without_an_epoch_nothing_is_looked_at),
        TEST(test_after_a_loss_a_limit_is_closed_for_its_window),
        TEST(test_one_decision_has_a_bounded_number_of_reservations),
        TEST(test_many_that_ended_are_cleared_away_in_parts),
    };

    return cmocka_run_group_tests_name("redis limits", tests, NULL, NULL);
}
