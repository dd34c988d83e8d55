/* The Redis client against a real redis-server, and against a peer that misbehaves. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "loop/loop.h"
#include "redis/address.h"
#include "redis/client.h"

#define WAIT_MS 5000

struct world {
    struct vd_loop *loop;
    struct vd_redis *redis;
    char dir[64];
    char address[96];
    pid_t server;
};

/* What a done callback saw. */
struct seen {
    int calls;
    struct vd_err err;
    bool canceled;
    size_t count;
    char text[16][64]; /* replies as "string:x", "int:5", "nil", "array:2", "error:..." */
    struct vd_redis *again;
    struct seen *again_seen;
};

static void describe(const struct vd_redis_reply *r, char *out, size_t size)
{
    switch (r->kind) {
    case VD_REDIS_NIL:
        (void)snprintf(out, size, "nil");
        return;
    case VD_REDIS_INT:
        (void)snprintf(out, size, "int:%lld", (long long)r->i);
        return;
    case VD_REDIS_ARRAY:
        (void)snprintf(out, size, "array:%zu", r->count);
        return;
    case VD_REDIS_ERROR:
        (void)snprintf(out, size, "error:%.*s", (int)(r->s.len < 40 ? r->s.len : 40), r->s.ptr);
        return;
    case VD_REDIS_STRING:
    case VD_REDIS_STATUS:
        (void)snprintf(out, size, "%s:%.*s", r->kind == VD_REDIS_STRING ? "string" : "status",
                       (int)(r->s.len < 40 ? r->s.len : 40), r->s.len == 0 ? "" : r->s.ptr);
        return;
    }
}

static void submit_get(struct vd_redis *redis, const char *key, struct seen *seen);

static void on_done(void *arg, const struct vd_redis_result *result)
{
    struct seen *seen = arg;

    seen->calls++;
    seen->err = result->err;
    seen->canceled = result->canceled;
    seen->count = result->count;
    for (size_t i = 0; i < result->count && i < 16; i++)
        describe(result->replies[i], seen->text[i], sizeof(seen->text[i]));
    if (seen->again != NULL)
        submit_get(seen->again, "again", seen->again_seen);
}

static void turn_until(struct world *w, const int *counter, int wanted)
{
    int64_t end = vd_mono_ms() + WAIT_MS;

    while (*counter < wanted && vd_mono_ms() < end)
        vd_loop_turn(w->loop, 20);
    assert_int_equal(*counter, wanted);
}

static void turn_until_state(struct world *w, bool up)
{
    int64_t end = vd_mono_ms() + WAIT_MS;

    while ((vd_redis_status(w->redis).state == VD_REDIS_UP) != up && vd_mono_ms() < end)
        vd_loop_turn(w->loop, 20);
    assert_int_equal(vd_redis_status(w->redis).state == VD_REDIS_UP, up);
}

static void turn_for(struct world *w, int64_t ms)
{
    int64_t end = vd_mono_ms() + ms;

    while (vd_mono_ms() < end)
        vd_loop_turn(w->loop, 10);
}

static struct vd_redis_call *submit1(struct vd_redis *redis, const char *const *words, size_t argc,
                                     const struct vd_redis_options *options, struct seen *seen)
{
    struct vd_span argv[8];
    struct vd_redis_command command = {argv, argc};
    struct vd_redis_call *call = NULL;

    for (size_t i = 0; i < argc; i++)
        argv[i] = vd_span_of(words[i]);
    assert_int_equal(vd_redis_submit(redis, &command, 1, options, on_done, seen, &call, NULL),
                     VD_OK);
    return call;
}

#define SUBMIT(redis, options, seen, ...)                                                          \
    submit1((redis), (const char *const[]){__VA_ARGS__},                                           \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), (options), (seen))

static void submit_get(struct vd_redis *redis, const char *key, struct seen *seen)
{
    (void)SUBMIT(redis, NULL, seen, "GET", key);
}

/* -- a real server --------------------------------------------------------------------------------------------------- */

static void start_server(struct world *w, const char *policy)
{
    char socket_path[96];

    (void)snprintf(socket_path, sizeof(socket_path), "%s/redis.sock", w->dir);
    (void)unlink(socket_path);
    w->server = fork();
    if (w->server == 0) {
        int null = open("/dev/null", O_RDWR);

        (void)dup2(null, 1);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket_path, "--save",
               "", "--appendonly", "no", "--dir", w->dir, "--maxmemory-policy", policy,
               (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && access(socket_path, F_OK) != 0; i++)
        (void)usleep(10000);
    assert_int_equal(access(socket_path, F_OK), 0);
}

static void stop_server(struct world *w)
{
    if (w->server > 0) {
        (void)kill(w->server, SIGCONT);
        (void)kill(w->server, SIGKILL);
        (void)waitpid(w->server, NULL, 0);
    }
    w->server = 0;
}

static void connect_client(struct world *w, struct vd_redis_conf conf)
{
    if (conf.address == NULL)
        conf.address = w->address;
    if (conf.db == 0)
        conf.db = -1;
    assert_int_equal(vd_redis_new(w->loop, &conf, NULL, NULL, &w->redis, NULL), VD_OK);
}

static int set_up(void **state)
{
    struct world *w = vd_alloc(sizeof(*w));

    (void)snprintf(w->dir, sizeof(w->dir), "/tmp/verdict-redis-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    (void)snprintf(w->address, sizeof(w->address), "unix:%s/redis.sock", w->dir);
    assert_int_equal(vd_loop_new(&w->loop, NULL), VD_OK);
    *state = w;
    return 0;
}

static int set_up_server(void **state)
{
    (void)set_up(state);
    start_server(*state, "noeviction");
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char socket_path[96];

    (void)vd_redis_free(w->redis);
    (void)vd_loop_free(w->loop);
    stop_server(w);
    (void)snprintf(socket_path, sizeof(socket_path), "%s/redis.sock", w->dir);
    (void)unlink(socket_path);
    (void)rmdir(w->dir);
    (void)vd_free(w);
    return 0;
}

static void test_a_pipeline_gets_all_its_replies_in_one_callback(void **state)
{
    struct world *w = *state;
    struct vd_span set[] = {VD_LIT("SET"), VD_LIT("k\0\r\n{x} %s"), VD_LIT("a\0b")};
    struct vd_span get[] = {VD_LIT("GET"), VD_LIT("k\0\r\n{x} %s")};
    struct vd_span strlen_[] = {VD_LIT("STRLEN"), VD_LIT("k\0\r\n{x} %s")};
    struct vd_span none[] = {VD_LIT("GET"), VD_LIT("none")};
    struct vd_span wrong[] = {VD_LIT("HGETALL"), VD_LIT("k\0\r\n{x} %s")};
    struct vd_span mget[] = {VD_LIT("MGET"), VD_LIT("none"), VD_LIT("k\0\r\n{x} %s")};
    struct vd_redis_command commands[] = {{set, 3},  {get, 2},   {strlen_, 2},
                                          {none, 2}, {wrong, 2}, {mget, 3}};
    struct seen seen = {0};

    connect_client(w, (struct vd_redis_conf){0});
    assert_int_equal(vd_redis_submit(w->redis, commands, 6, NULL, on_done, &seen, NULL, NULL),
                     VD_OK);
    assert_int_equal(seen.calls, 0);
    turn_until(w, &seen.calls, 1);
    assert_int_equal(seen.err.code, VD_OK);
    assert_int_equal(seen.count, 6);
    assert_string_equal(seen.text[0], "status:OK");
    assert_string_equal(seen.text[2], "int:3"); /* the NUL went there and is counted */
    assert_string_equal(seen.text[3], "nil");
    assert_non_null(strstr(seen.text[4], "error:WRONGTYPE"));
    assert_string_equal(seen.text[5], "array:2");
}

static void test_done_never_runs_inside_submit_when_connected(void **state)
{
    struct world *w = *state;
    struct seen seen = {0};

    connect_client(w, (struct vd_redis_conf){0});
    turn_until_state(w, true);
    submit_get(w->redis, "k", &seen);
    assert_int_equal(seen.calls, 0);
    turn_until(w, &seen.calls, 1);
    assert_string_equal(seen.text[0], "nil");
}

static void test_a_done_callback_may_submit(void **state)
{
    struct world *w = *state;
    struct seen second = {0};
    struct seen first = {.again_seen = &second};

    connect_client(w, (struct vd_redis_conf){0});
    first.again = w->redis;
    submit_get(w->redis, "k", &first);
    turn_until(w, &second.calls, 1);
    assert_int_equal(first.calls, 1);
    assert_int_equal(second.err.code, VD_OK);
}

static void test_a_thousand_pipelines_are_answered_in_order(void **state)
{
    struct world *w = *state;
    struct seen *seen = vd_alloc_array(1000, sizeof(*seen));

    connect_client(w, (struct vd_redis_conf){0});
    for (int i = 0; i < 1000; i++)
        (void)SUBMIT(w->redis, NULL, &seen[i], "INCR", "counter");
    turn_until(w, &seen[999].calls, 1);
    for (int i = 0; i < 1000; i++) {
        char expected[32];

        (void)snprintf(expected, sizeof(expected), "int:%d", i + 1);
        assert_int_equal(seen[i].calls, 1);
        assert_string_equal(seen[i].text[0], expected);
    }
    (void)vd_free(seen);
}

static void test_commands_wait_for_redis_and_then_run(void **state)
{
    struct world *w = *state;
    struct seen seen = {0};
    struct vd_redis_options patient = {.timeout_ms = 4000};

    stop_server(w);
    connect_client(w, (struct vd_redis_conf){0});
    (void)SUBMIT(w->redis, &patient, &seen, "SET", "k", "v");
    turn_for(w, 200);
    assert_int_equal(seen.calls, 0);
    assert_int_equal(vd_redis_status(w->redis).waiting, 1);
    assert_true(vd_redis_status(w->redis).failures > 0);
    assert_true(vd_redis_status(w->redis).reason[0] != '\0');
    start_server(w, "noeviction");
    turn_until(w, &seen.calls, 1);
    assert_string_equal(seen.text[0], "status:OK");
}

static void test_a_command_while_redis_is_away_fails_by_its_timeout(void **state)
{
    struct world *w = *state;
    struct seen seen = {0};
    struct vd_redis_options options = {.timeout_ms = 150};
    int64_t start = vd_mono_ms();

    connect_client(w, (struct vd_redis_conf){0});
    (void)SUBMIT(w->redis, &options, &seen, "GET", "k");
    turn_until(w, &seen.calls, 1);
    assert_int_equal(seen.err.code, VD_E_REMOTE);
    assert_true(seen.err.retriable);
    assert_true(vd_mono_ms() - start >= 140);
    assert_true(vd_mono_ms() - start < 1500);
}

static void
test_what_is_in_flight_when_redis_dies_fails_at_once_and_later_commands_work(void **state)
{
    struct world *w = *state;
    struct seen blocked = {0}, later = {0};
    struct vd_redis_options patient = {.timeout_ms = 20000};

    connect_client(w, (struct vd_redis_conf){0});
    turn_until_state(w, true);
    (void)SUBMIT(w->redis, &patient, &blocked, "BLPOP", "never", "0");
    turn_for(w, 50);
    stop_server(w);
    turn_until(w, &blocked.calls, 1);
    assert_int_equal(blocked.err.code, VD_E_REMOTE);
    assert_true(blocked.err.retriable);
    start_server(w, "noeviction");
    (void)SUBMIT(w->redis, &patient, &later, "PING");
    turn_until(w, &later.calls, 1);
    assert_string_equal(later.text[0], "status:PONG");
    assert_int_equal(vd_redis_status(w->redis).reconnects, 1);
}

static void test_a_stopped_redis_is_noticed_by_its_silence(void **state)
{
    struct world *w = *state;
    struct seen seen = {0}, later = {0};
    struct vd_redis_options quick = {.timeout_ms = 200}, patient = {.timeout_ms = 4500};

    connect_client(w, (struct vd_redis_conf){.connect_timeout_ms = 300});
    turn_until_state(w, true);
    turn_for(w, 20);
    (void)kill(w->server, SIGSTOP);
    (void)SUBMIT(w->redis, &quick, &seen, "GET", "k");
    turn_until(w, &seen.calls, 1);
    assert_int_equal(seen.err.code, VD_E_TIMEOUT);
    assert_int_not_equal(vd_redis_status(w->redis).state, VD_REDIS_UP);
    (void)SUBMIT(w->redis, &patient, &later, "PING");
    turn_for(w, 500);
    assert_non_null(strstr(vd_redis_status(w->redis).reason, "silent"));
    (void)kill(w->server, SIGCONT);
    turn_until(w, &later.calls, 1);
    assert_int_equal(later.err.code, VD_OK);
    assert_int_equal(seen.calls, 1);
}

static void test_a_slow_command_times_out_alone_and_the_order_of_answers_holds(void **state)
{
    struct world *w = *state;
    struct seen slow = {0}, before = {0}, after = {0}, waker = {0};
    struct vd_redis_options quick = {.timeout_ms = 100}, patient = {.timeout_ms = 4000};
    struct vd_redis *other;
    struct vd_redis_conf conf = {.address = w->address, .db = -1};

    connect_client(w, (struct vd_redis_conf){0});
    assert_int_equal(vd_redis_new(w->loop, &conf, NULL, NULL, &other, NULL), VD_OK);
    turn_until_state(w, true);
    (void)SUBMIT(w->redis, &quick, &slow, "BLPOP", "list", "0");
    (void)SUBMIT(w->redis, &patient, &after, "PING");
    /* Something was answered after the slow one was sent?  No: Redis blocks the connection, so it counts as silent. */
    turn_until(w, &slow.calls, 1);
    assert_int_equal(slow.err.code, VD_E_TIMEOUT);
    turn_until(w, &after.calls, 1);
    assert_int_equal(after.err.code, VD_E_REMOTE);
    assert_true(after.err.retriable);
    (void)SUBMIT(other, &patient, &waker, "RPUSH", "list", "x");
    (void)SUBMIT(w->redis, &patient, &before, "PING");
    turn_until(w, &before.calls, 1);
    assert_string_equal(before.text[0], "status:PONG");
    turn_until(w, &waker.calls, 1);
    (void)vd_redis_free(other);
}

static void test_cancel_calls_back_once_later_and_the_connection_stays_in_step(void **state)
{
    struct world *w = *state;
    struct seen canceled = {0}, next = {0};
    struct vd_redis_call *call;

    connect_client(w, (struct vd_redis_conf){0});
    turn_until_state(w, true);
    call = SUBMIT(w->redis, NULL, &canceled, "ECHO", "one");
    (void)SUBMIT(w->redis, NULL, &next, "ECHO", "two");
    vd_redis_cancel(call);
    assert_int_equal(canceled.calls, 0);
    turn_until(w, &next.calls, 1);
    assert_int_equal(canceled.calls, 1);
    assert_true(canceled.canceled);
    assert_string_equal(next.text[0], "string:two");
    turn_for(w, 30);
    assert_int_equal(canceled.calls, 1);
    assert_int_equal(vd_redis_status(w->redis).in_flight, 0);
}

static void test_free_answers_what_is_outstanding(void **state)
{
    struct world *w = *state;
    struct seen sent = {0}, waiting = {0};

    connect_client(w, (struct vd_redis_conf){0});
    turn_until_state(w, true);
    (void)SUBMIT(w->redis, NULL, &sent, "BLPOP", "never", "0");
    turn_for(w, 20);
    w->redis = vd_redis_free(w->redis);
    assert_int_equal(sent.calls, 1);
    assert_true(sent.canceled);
    connect_client(w, (struct vd_redis_conf){0});
    submit_get(w->redis, "k", &waiting);
    w->redis = vd_redis_free(w->redis);
    assert_int_equal(waiting.calls, 1);
    assert_true(waiting.canceled);
}

static void test_replies_above_the_cap_fail_their_pipeline_only(void **state)
{
    struct world *w = *state;
    struct seen stored = {0}, big = {0}, many = {0}, next = {0}, exact = {0};
    struct vd_redis_options small = {.reply_max_bytes = 4096};
    char *value = vd_alloc(200001);

    memset(value, 'x', 200000);
    connect_client(w, (struct vd_redis_conf){0});
    (void)SUBMIT(w->redis, NULL, &stored, "SET", "big", value);
    for (int i = 0; i < 200; i++)
        (void)SUBMIT(w->redis, NULL, &stored, "RPUSH", "many", "x");
    (void)SUBMIT(w->redis, &small, &big, "GET", "big");
    (void)SUBMIT(w->redis, &small, &many, "LRANGE", "many", "0", "-1");
    (void)SUBMIT(w->redis, &small, &exact, "LRANGE", "many", "0", "9");
    (void)SUBMIT(w->redis, &small, &next, "PING");
    turn_until(w, &next.calls, 1);
    assert_int_equal(big.err.code, VD_E_LIMIT);
    assert_false(big.err.retriable);
    assert_int_equal(many.err.code, VD_E_LIMIT);
    assert_int_equal(exact.err.code, VD_OK);
    assert_string_equal(exact.text[0], "array:10");
    assert_string_equal(next.text[0], "status:PONG");
    (void)vd_free(value);
}

static void test_a_script_is_sent_as_text_once(void **state)
{
    struct world *w = *state;
    struct seen first = {0}, second = {0}, after_flush = {0}, flush = {0}, failing = {0};
    struct vd_redis_script *script = NULL, *bad = NULL;
    struct vd_span key = VD_LIT("k"), arg = VD_LIT("7");

    connect_client(w, (struct vd_redis_conf){0});
    assert_int_equal(
        vd_redis_script_new(VD_LIT("return redis.call('INCRBY', KEYS[1], ARGV[1])"), &script, NULL),
        VD_OK);
    assert_int_equal(vd_redis_script_new(VD_LIT("return redis.error_reply('no')"), &bad, NULL),
                     VD_OK);
    assert_int_equal(
        vd_redis_eval(w->redis, script, &key, 1, &arg, 1, NULL, on_done, &first, NULL, NULL),
        VD_OK);
    turn_until(w, &first.calls, 1);
    assert_string_equal(first.text[0], "int:7");
    assert_int_equal(
        vd_redis_eval(w->redis, script, &key, 1, &arg, 1, NULL, on_done, &second, NULL, NULL),
        VD_OK);
    (void)SUBMIT(w->redis, NULL, &flush, "SCRIPT", "FLUSH");
    assert_int_equal(
        vd_redis_eval(w->redis, script, &key, 1, &arg, 1, NULL, on_done, &after_flush, NULL, NULL),
        VD_OK);
    assert_int_equal(
        vd_redis_eval(w->redis, bad, &key, 1, NULL, 0, NULL, on_done, &failing, NULL, NULL), VD_OK);
    turn_until(w, &failing.calls, 1);
    turn_until(w, &after_flush.calls, 1);
    assert_string_equal(second.text[0], "int:14");
    assert_string_equal(after_flush.text[0], "int:21");
    assert_non_null(strstr(failing.text[0], "error:"));
    script = vd_redis_script_free(script);
    bad = vd_redis_script_free(bad);
}

static void test_a_redis_that_evicts_is_refused_when_asked_for(void **state)
{
    struct world *w = *state;
    struct seen seen = {0};
    struct vd_redis_options options = {.timeout_ms = 300};

    start_server(w, "allkeys-lru");
    connect_client(w, (struct vd_redis_conf){.require_noeviction = true});
    (void)SUBMIT(w->redis, &options, &seen, "PING");
    turn_until(w, &seen.calls, 1);
    assert_int_equal(seen.err.code, VD_E_REMOTE);
    assert_non_null(strstr(vd_redis_status(w->redis).reason, "allkeys-lru, must be noeviction"));
    w->redis = vd_redis_free(w->redis);
    connect_client(w, (struct vd_redis_conf){0});
    turn_until_state(w, true);
}

static void test_a_forbidden_config_get_is_a_warning(void **state)
{
    struct world *w = *state;
    struct seen seen = {0};

    connect_client(w, (struct vd_redis_conf){0});
    (void)SUBMIT(w->redis, NULL, &seen, "ACL", "SETUSER", "default", "-config");
    turn_until(w, &seen.calls, 1);
    assert_string_equal(seen.text[0], "status:OK");
    w->redis = vd_redis_free(w->redis);
    connect_client(w, (struct vd_redis_conf){.require_noeviction = true});
    turn_until_state(w, true);
    assert_non_null(strstr(vd_redis_status(w->redis).reason, "CONFIG GET is not allowed"));
}

static void test_password_user_and_database_are_used(void **state)
{
    struct world *w = *state;
    struct seen seen = {0}, denied = {0}, info = {0};
    struct vd_redis_options options = {.timeout_ms = 200};

    connect_client(w, (struct vd_redis_conf){0});
    (void)SUBMIT(w->redis, NULL, &seen, "ACL", "SETUSER", "worker", "on", ">p@ss", "~*", "+@all");
    turn_until(w, &seen.calls, 1);
    w->redis = vd_redis_free(w->redis);
    connect_client(w, (struct vd_redis_conf){.username = "worker", .password = "wrong"});
    (void)SUBMIT(w->redis, &options, &denied, "PING");
    turn_until(w, &denied.calls, 1);
    assert_non_null(strstr(vd_redis_status(w->redis).reason, "AUTH: WRONGPASS"));
    assert_null(strstr(vd_redis_status(w->redis).reason, "wrong\""));
    w->redis = vd_redis_free(w->redis);
    connect_client(w, (struct vd_redis_conf){.username = "worker", .password = "p@ss", .db = 3});
    (void)SUBMIT(w->redis, NULL, &info, "ACL", "WHOAMI");
    turn_until(w, &info.calls, 1);
    assert_string_equal(info.text[0], "string:worker");
    w->redis = vd_redis_free(w->redis);
}

/* -- a peer that misbehaves ------------------------------------------------------------------------------------------ */

/* Serves one connection after another in a child: answers the greeting, then sends `junk` and closes. */
static void start_liar(struct world *w, const char *greeting, const char *junk)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s/redis.sock", w->dir);
    (void)unlink(at.sun_path);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(listener, 8), 0);
    w->server = fork();
    if (w->server == 0) {
        for (;;) {
            char buf[4096];
            int fd = accept(listener, NULL, NULL);

            (void)!read(fd, buf, sizeof(buf));
            (void)!write(fd, greeting, strlen(greeting));
            (void)!read(fd, buf, sizeof(buf));
            (void)!write(fd, junk, strlen(junk));
            (void)usleep(20000);
            (void)close(fd);
        }
    }
    (void)close(listener);
}

static void test_a_peer_that_lies_costs_the_connection_and_nothing_else(void **state)
{
    static const char *const junk[] = {
        "?what\r\n",
        "$99999999999999999999\r\n",
        "*2147483647\r\n$1\r\nx\r\n",
        "*-5\r\n",
        "$-7\r\nabc",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n$1\r\nx\r\n",
        ":12a\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "+OK\r\n+stray\r\n+stray\r\n",
        "-LOADING wait\r\n*2\r\n:1\r\n",
        "",
    };
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
        struct seen seen = {0};
        struct vd_redis_options options = {.timeout_ms = 400};

        start_liar(w, "+PONG\r\n", junk[i]);
        connect_client(w, (struct vd_redis_conf){0});
        turn_until_state(w, true);
        (void)SUBMIT(w->redis, &options, &seen, "GET", "k");
        turn_until(w, &seen.calls, 1);
        turn_for(w, 40);
        assert_int_equal(seen.calls, 1);
        w->redis = vd_redis_free(w->redis);
        stop_server(w);
    }
}

static void test_a_stray_answer_after_the_greeting_does_not_crash(void **state)
{
    struct world *w = *state;
    struct seen seen = {0};
    struct vd_redis_options options = {.timeout_ms = 400};

    start_liar(w, "+PONG\r\n+stray\r\n*2\r\n:1\r\n", ":2\r\n+X\r\n");
    connect_client(w, (struct vd_redis_conf){0});
    (void)SUBMIT(w->redis, &options, &seen, "GET", "k");
    turn_until(w, &seen.calls, 1);
    assert_int_not_equal(seen.err.code, VD_OK);
}

static void test_a_value_larger_than_the_socket_cap_is_not_collected(void **state)
{
    struct world *w = *state;
    struct seen seen = {0}, later = {0};
    struct vd_redis_options patient = {.timeout_ms = 4000};
    struct vd_span grow[] = {VD_LIT("SETRANGE"), VD_LIT("huge"), VD_LIT("40000000"), VD_LIT("x")};
    struct vd_redis_command command = {grow, 4};

    connect_client(w, (struct vd_redis_conf){0});
    assert_int_equal(vd_redis_submit(w->redis, &command, 1, &patient, on_done, &later, NULL, NULL),
                     VD_OK);
    turn_until(w, &later.calls, 1);
    (void)SUBMIT(w->redis, &patient, &seen, "GET", "huge");
    turn_until(w, &seen.calls, 1);
    assert_int_equal(seen.err.code, VD_E_LIMIT);
    later.calls = 0;
    (void)SUBMIT(w->redis, &patient, &later, "PING");
    turn_until(w, &later.calls, 1);
    assert_string_equal(later.text[0], "status:PONG");
}

static void test_a_host_name_that_does_not_resolve_is_said(void **state)
{
    struct world *w = *state;
    struct seen seen = {0};
    struct vd_redis_options options = {.timeout_ms = 1500};

    connect_client(w, (struct vd_redis_conf){.address = "no-such-host.invalid:6379"});
    (void)SUBMIT(w->redis, &options, &seen, "PING");
    turn_until(w, &seen.calls, 1);
    assert_int_equal(seen.err.code, VD_E_REMOTE);
    assert_true(seen.err.retriable);
}

static void test_memory_running_out_anywhere_ends_in_an_error_not_a_crash(void **state)
{
    struct world *w = *state;
    int answered = 0;

    for (long n = 0; n < 40; n++) {
        struct vd_redis_conf conf = {.address = w->address, .db = -1};
        struct vd_redis *redis = NULL;
        struct seen seen = {0};
        struct vd_span argv[] = {VD_LIT("PING")};
        struct vd_redis_command command = {argv, 1};
        int64_t end = vd_mono_ms() + 1500;

        vd_alloc_fail_after(n);
        if (vd_redis_new(w->loop, &conf, NULL, NULL, &redis, NULL) == VD_OK) {
            if (vd_redis_submit(redis, &command, 1, NULL, on_done, &seen, NULL, NULL) == VD_OK) {
                while (seen.calls == 0 && vd_mono_ms() < end)
                    vd_loop_turn(w->loop, 10);
                assert_int_equal(seen.calls, 1);
                answered += seen.err.code == VD_OK;
            }
        }
        vd_alloc_fail_after(-1);
        (void)vd_redis_free(redis);
    }
    assert_true(answered > 10); /* a failure after the last allocation changes nothing */
}

static void test_what_waits_for_redis_is_bounded(void **state)
{
    struct world *w = *state;
    char *value = vd_alloc(VD_REDIS_MAX_BYTES / 10);
    struct seen seen = {0};
    struct vd_span argv[] = {VD_LIT("SET"), VD_LIT("k"), {value, VD_REDIS_MAX_BYTES / 10}};
    struct vd_span huge[] = {VD_LIT("SET"),
                             VD_LIT("k"),
                             {value, VD_REDIS_MAX_BYTES / 10},
                             {value, VD_REDIS_MAX_BYTES / 10}};
    struct vd_redis_command command = {argv, 3}, too_large = {huge, 4};
    struct vd_err err = {0};
    int taken = 0;

    connect_client(w, (struct vd_redis_conf){0});
    assert_int_equal(vd_redis_submit(w->redis, &too_large, 1, NULL, on_done, &seen, NULL, &err),
                     VD_E_LIMIT);
    assert_false(err.retriable);
    while (taken < 50 &&
           vd_redis_submit(w->redis, &command, 1, NULL, on_done, &seen, NULL, &err) == VD_OK)
        taken++;
    assert_int_equal(taken, 10); /* the tenth passes the bound, the eleventh is refused */
    assert_true(err.retriable);
    w->redis = vd_redis_free(w->redis);
    assert_int_equal(seen.calls, 10);
    (void)vd_free(value);
}

static void test_addresses_are_read_or_refused(void **state)
{
    static const struct {
        const char *text, *shown, *user, *password;
        int db;
        bool tls, ok;
    } rows[] = {
        {"localhost", "localhost:6379", "", "", 0, false, true},
        {"10.0.0.1:7000", "10.0.0.1:7000", "", "", 0, false, true},
        {"[::1]:7000", "[::1]:7000", "", "", 0, false, true},
        {"unix:/run/redis.sock", "unix:/run/redis.sock", "", "", 0, false, true},
        {"/run/redis.sock", "unix:/run/redis.sock", "", "", 0, false, true},
        {"redis://h:1/5", "h:1", "", "", 5, false, true},
        {"redis://u:p%40%3a@h", "h:6379", "u", "p@:", 0, false, true},
        {"rediss://:pw@h:6380", "h:6380", "", "pw", 0, true, true},
        {"redis://u:a@b@h", "h:6379", "u", "a@b", 0, false, true},
        {"", "", "", "", 0, false, false},
        {":6379", "", "", "", 0, false, false},
        {"h:0", "", "", "", 0, false, false},
        {"h:65536", "", "", "", 0, false, false},
        {"h:x", "", "", "", 0, false, false},
        {"[::1", "", "", "", 0, false, false},
        {"redis://h/x", "", "", "", 0, false, false},
        {"redis://u:%4@h", "", "", "", 0, false, false},
        {"redis://u:%00@h", "", "", "", 0, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vd_redis_address a;
        struct vd_err err = {0};
        enum vd_code rc = vd_redis_address_parse(rows[i].text, &a, &err);

        assert_int_equal(rc == VD_OK, rows[i].ok);
        if (!rows[i].ok)
            continue;
        assert_string_equal(a.shown, rows[i].shown);
        assert_string_equal(a.username, rows[i].user);
        assert_string_equal(a.password, rows[i].password);
        assert_int_equal(a.db, rows[i].db);
        assert_int_equal(a.tls, rows[i].tls);
    }
}

#define WITH_SERVER(f) cmocka_unit_test_setup_teardown(f, set_up_server, tear_down)
#define WITHOUT(f)     cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_a_pipeline_gets_all_its_replies_in_one_callback),
        WITH_SERVER(test_done_never_runs_inside_submit_when_connected),
        WITH_SERVER(test_a_done_callback_may_submit),
        WITH_SERVER(test_a_thousand_pipelines_are_answered_in_order),
        WITH_SERVER(test_commands_wait_for_redis_and_then_run),
        WITHOUT(test_a_command_while_redis_is_away_fails_by_its_timeout),
        WITH_SERVER(test_what_is_in_flight_when_redis_dies_fails_at_once_and_later_commands_work),
        WITH_SERVER(test_a_stopped_redis_is_noticed_by_its_silence),
        WITH_SERVER(test_a_slow_command_times_out_alone_and_the_order_of_answers_holds),
        WITH_SERVER(test_cancel_calls_back_once_later_and_the_connection_stays_in_step),
        WITH_SERVER(test_free_answers_what_is_outstanding),
        WITH_SERVER(test_replies_above_the_cap_fail_their_pipeline_only),
        WITH_SERVER(test_a_script_is_sent_as_text_once),
        WITHOUT(test_a_redis_that_evicts_is_refused_when_asked_for),
        WITH_SERVER(test_a_forbidden_config_get_is_a_warning),
        WITH_SERVER(test_password_user_and_database_are_used),
        WITHOUT(test_a_peer_that_lies_costs_the_connection_and_nothing_else),
        WITHOUT(test_a_stray_answer_after_the_greeting_does_not_crash),
        WITH_SERVER(test_a_value_larger_than_the_socket_cap_is_not_collected),
        WITHOUT(test_a_host_name_that_does_not_resolve_is_said),
        WITH_SERVER(test_memory_running_out_anywhere_ends_in_an_error_not_a_crash),
        WITHOUT(test_what_waits_for_redis_is_bounded),
        cmocka_unit_test(test_addresses_are_read_or_refused),
    };

    if (system("redis-server --version >/dev/null 2>&1") != 0) {
        printf("skipped: there is no redis-server\n");
        return 0;
    }
    (void)alarm(120); /* a failed test may leave the loop with something open */
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("redis client", tests, NULL, NULL);
}
