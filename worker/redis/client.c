/* redis/client.c - see client.h. Pipelines: queues, time-outs, done callbacks. */
#include "redis/client.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "redis/internal.h"

#define CALL_MAGIC         0x52454443u
#define DEFAULT_CONNECT_MS 2000
#define DEFAULT_COMMAND_MS 1000
#define COMMANDS_MAX_BYTES (8u << 20) /* copies of one pipeline's commands */

/* -- lists ----------------------------------------------------------------------------------------------------------- */

/* Nearly all pipelines have the same time-out, so that the place is found at the end. */
static void add_deadline(struct vd_redis *redis, struct vd_redis_call *call)
{
    struct vd_redis_call *after = TAILQ_LAST(&redis->deadlines, vd_redis_calls);

    while (after != NULL && after->deadline_mono_ms > call->deadline_mono_ms)
        after = TAILQ_PREV(after, vd_redis_calls, by_deadline);
    if (after == NULL)
        TAILQ_INSERT_HEAD(&redis->deadlines, call, by_deadline);
    else
        TAILQ_INSERT_AFTER(&redis->deadlines, after, call, by_deadline);
    call->on_deadlines = true;
}

static void remove_deadline(struct vd_redis *redis, struct vd_redis_call *call)
{
    if (call->on_deadlines)
        TAILQ_REMOVE(&redis->deadlines, call, by_deadline);
    call->on_deadlines = false;
}

static void arm_deadline(struct vd_redis *redis)
{
    const struct vd_redis_call *first = TAILQ_FIRST(&redis->deadlines);
    int64_t now = vd_loop_now_ms(redis->loop);

    if (first == NULL ||
        (redis->armed_mono_ms != 0 && redis->armed_mono_ms <= first->deadline_mono_ms))
        return; /* a timer that is too early finds nothing and arms itself again */
    redis->armed_mono_ms = first->deadline_mono_ms;
    vd_timer_start(redis->deadline,
                   first->deadline_mono_ms > now ? (uint64_t)(first->deadline_mono_ms - now) : 0,
                   0);
}

static void leave(struct vd_redis *redis, struct vd_redis_call *call)
{
    if (call->place == VD_REDIS_WAITING) {
        TAILQ_REMOVE(&redis->waiting, call, link);
        redis->waiting_count--;
        redis->waiting_bytes -= call->bytes;
    } else if (call->place == VD_REDIS_SENT) {
        TAILQ_REMOVE(&redis->sent, call, link);
        redis->sent_count--;
    }
    call->place = VD_REDIS_NOWHERE;
}

/* The done callback follows in vd_redis_settle(). What Redis still owes keeps its place on `sent`. */
static void finish(struct vd_redis *redis, struct vd_redis_call *call)
{
    assert(!call->on_finished);
    if (call->place == VD_REDIS_WAITING)
        leave(redis, call);
    remove_deadline(redis, call);
    call->on_finished = true;
    TAILQ_INSERT_TAIL(&redis->finished, call, by_finish);
}

static void free_call(struct vd_redis_call *call)
{
    call->magic = 0;
    vd_arena_fini(&call->arena);
    (void)vd_free(call);
}

static void run_done(struct vd_redis_call *call)
{
    struct vd_redis_result result = {.err = call->err, .canceled = call->canceled};

    if (call->err.code == VD_OK) {
        result.replies = call->replies;
        result.count = call->count;
    }
    result.wait_ms = vd_loop_now_ms(call->redis->loop) - call->submitted_mono_ms;
    call->done_called = true;
    call->done(call->arg, &result);
}

static void fail(struct vd_redis_call *call, enum vd_code code, bool retriable, const char *why)
{
    if (call->err.code != VD_OK)
        return; /* the first failure is the cause */
    (void)vd_err_set(&call->err, code, retriable, "Redis: %s", why);
    call->canceled = call->redis->closing;
}

/* -- answers --------------------------------------------------------------------------------------------------------- */

/* NOSCRIPT: Redis was restarted or flushed since. The same call goes out again, with the text. */
static bool try_with_text(struct vd_redis *redis, struct vd_redis_call *call)
{
    const struct vd_redis_reply *reply = call->replies[0];
    struct vd_span *argv;

    if (call->script == NULL || reply->kind != VD_REDIS_ERROR ||
        !vd_span_starts(reply->s, VD_LIT("NOSCRIPT")) || redis->broken ||
        redis->state != VD_REDIS_UP)
        return false;
    argv = (struct vd_span *)call->commands[0].argv;
    argv[0] = VD_LIT("EVAL");
    argv[1] = vd_redis_script_text(call->script);
    call->script = NULL;
    vd_redis_connection_send(redis, call);
    return true;
}

/* All that will be answered has been. */
static void complete(struct vd_redis *redis, struct vd_redis_call *call)
{
    leave(redis, call);
    if (call->done_called) {
        free_call(call);
        return;
    }
    if (call->on_finished)
        return;
    if (call->sent < call->count)
        fail(call, VD_E_REMOTE, true, redis->reason);
    if (call->too_large)
        fail(call, VD_E_LIMIT, false, "replies are larger than allowed");
    if (call->err.code != VD_OK || !try_with_text(redis, call))
        finish(redis, call);
}

void vd_redis_answered(struct vd_redis *redis, struct vd_redis_call *call,
                       const struct vd_redis_reply *reply)
{
    assert(call->magic == CALL_MAGIC && call->place == VD_REDIS_SENT);
    assert(call->answered < call->sent);
    call->replies[call->answered++] = reply;
    if (reply == NULL)
        fail(call, call->too_large ? VD_E_LIMIT : VD_E_REMOTE, !call->too_large,
             redis->reason[0] != '\0' ? redis->reason : "disconnected");
    if (call->answered == call->sent)
        complete(redis, call);
}

/* -- settling -------------------------------------------------------------------------------------------------------- */

static void send_waiting(struct vd_redis *redis)
{
    struct vd_redis_call *call;

    while (redis->state == VD_REDIS_UP && !redis->broken &&
           (call = TAILQ_FIRST(&redis->waiting)) != NULL) {
        leave(redis, call);
        vd_redis_connection_send(redis, call);
    }
}

/* What hiredis took nothing of gets no answer from it. */
static void complete_unsent(struct vd_redis *redis)
{
    struct vd_redis_call *call, *next;

    for (call = TAILQ_FIRST(&redis->sent); call != NULL; call = next) {
        next = TAILQ_NEXT(call, link);
        if (call->answered == call->sent)
            complete(redis, call);
    }
}

static void run_finished(struct vd_redis *redis)
{
    struct vd_redis_call *call;

    while ((call = TAILQ_FIRST(&redis->finished)) != NULL) {
        TAILQ_REMOVE(&redis->finished, call, by_finish);
        run_done(call);
        if (call->place == VD_REDIS_NOWHERE)
            free_call(call);
    }
}

static void tell_state(struct vd_redis *redis)
{
    bool up = redis->state == VD_REDIS_UP;
    struct vd_redis_status status;

    if (redis->told_up == up)
        return;
    redis->told_up = up;
    if (redis->on_state == NULL)
        return;
    status = vd_redis_status(redis);
    redis->on_state(redis->state_arg, &status);
}

void vd_redis_settle(struct vd_redis *redis)
{
    assert(!redis->settling);
    redis->settling = true;
    do {
        run_finished(redis); /* the greeting's answer may bring the connection up, or break it */
        if (redis->broken) {
            vd_redis_connection_drop(redis);
            complete_unsent(redis);
            redis->broken = false;
            vd_redis_connection_pause(redis);
        }
        tell_state(redis);
        send_waiting(redis);
    } while (redis->broken || !TAILQ_EMPTY(&redis->finished));
    redis->settling = false;
    arm_deadline(redis);
}

static void on_soon(void *arg)
{
    vd_redis_settle(arg);
}

/* -- time ------------------------------------------------------------------------------------------------------------ */

/* The end of an attempt that took too long, or of the pause before the next. */
static void on_attempt(void *arg)
{
    struct vd_redis *redis = arg;

    if (redis->state == VD_REDIS_IDLE)
        vd_redis_connection_begin(redis);
    else if (redis->state != VD_REDIS_UP)
        vd_redis_connection_break(redis, redis->state == VD_REDIS_GREETING ? "connected, but silent"
                                         : redis->state == VD_REDIS_RESOLVING
                                             ? "resolving the host takes too long"
                                             : "connecting takes too long");
    vd_redis_settle(redis);
}

static void time_out(struct vd_redis *redis, struct vd_redis_call *call, int64_t now)
{
    redis->timeouts++;
    if (call->place == VD_REDIS_WAITING) {
        fail(call, VD_E_REMOTE, true,
             redis->reason[0] != '\0' ? redis->reason : "not connected yet");
        finish(redis, call);
        return;
    }
    (void)vd_err_set(&call->err, VD_E_TIMEOUT, true, "Redis: no answer in %lld ms",
                     (long long)(call->deadline_mono_ms - call->submitted_mono_ms));
    finish(redis, call);
    /* Nothing at all since it was sent: the connection is dead or Redis is stopped. A new one will tell. */
    if (redis->answers == call->answers_before) {
        char reason[64];

        (void)snprintf(reason, sizeof(reason), "no answer for %lld ms",
                       (long long)(now - call->sent_mono_ms));
        vd_redis_connection_break(redis, reason);
    }
}

static void on_deadline(void *arg)
{
    struct vd_redis *redis = arg;
    int64_t now = vd_loop_now_ms(redis->loop);
    struct vd_redis_call *call;

    redis->armed_mono_ms = 0;
    while ((call = TAILQ_FIRST(&redis->deadlines)) != NULL && call->deadline_mono_ms <= now)
        time_out(redis, call, now);
    vd_redis_settle(redis);
}

/* -- client ---------------------------------------------------------------------------------------------------------- */

static enum vd_code set_up(struct vd_redis *redis, const struct vd_redis_conf *conf,
                           struct vd_err *err)
{
    struct vd_redis_address *a = &redis->address;
    enum vd_code rc = vd_redis_address_parse(conf->address, a, err);

    if (rc != VD_OK)
        return rc;
    if (conf->username != NULL)
        (void)snprintf(a->username, sizeof(a->username), "%s", conf->username);
    if (conf->password != NULL && strlen(conf->password) >= sizeof(a->password))
        return vd_err_set(err, VD_E_CONFIG, false, "the Redis password is longer than %zu bytes",
                          sizeof(a->password) - 1);
    if (conf->password != NULL)
        (void)snprintf(a->password, sizeof(a->password), "%s", conf->password);
    if (conf->db >= 0)
        a->db = conf->db > 0 ? conf->db : a->db;
    redis->connect_timeout_ms =
        conf->connect_timeout_ms != 0 ? conf->connect_timeout_ms : DEFAULT_CONNECT_MS;
    redis->command_timeout_ms =
        conf->command_timeout_ms != 0 ? conf->command_timeout_ms : DEFAULT_COMMAND_MS;
    redis->reply_max_bytes =
        conf->reply_max_bytes != 0 ? conf->reply_max_bytes : VD_REDIS_REPLY_MAX_BYTES;
    redis->require_noeviction = conf->require_noeviction;
    redis->tls_ca_file = vd_strdup(conf->tls_ca_file);
    if (conf->tls_ca_file != NULL && redis->tls_ca_file == NULL)
        return vd_err_nomem(err, "Redis settings");
    return VD_OK;
}

enum vd_code vd_redis_new(struct vd_loop *loop, const struct vd_redis_conf *conf,
                          vd_redis_state_fn *on_state, void *arg, struct vd_redis **ret_redis,
                          struct vd_err *err)
{
    struct vd_redis *redis = vd_alloc(sizeof(*redis));
    enum vd_code rc;

    if (redis == NULL)
        return vd_err_nomem(err, "Redis client");
    TAILQ_INIT(&redis->waiting);
    TAILQ_INIT(&redis->sent);
    TAILQ_INIT(&redis->finished);
    TAILQ_INIT(&redis->deadlines);
    redis->loop = loop;
    redis->on_state = on_state;
    redis->state_arg = arg;
    redis->since_mono_ms = vd_loop_now_ms(loop);
    vd_buf_init(&redis->command, VD_REDIS_MAX_BYTES + 32u * VD_REDIS_MAX_ARGC);
    vd_prng_init(&redis->prng, 0);
    rc = set_up(redis, conf, err);
    if (rc != VD_OK)
        goto out;
    if (vd_timer_new(loop, on_attempt, redis, &redis->attempt) != VD_OK ||
        vd_timer_new(loop, on_deadline, redis, &redis->deadline) != VD_OK ||
        vd_timer_new(loop, on_soon, redis, &redis->soon) != VD_OK ||
        vd_redis_replies_init(redis) != VD_OK) {
        rc = vd_err_nomem(err, "Redis client");
        goto out;
    }
    vd_timer_start(redis->attempt, 0, 0);
    *ret_redis = redis;
    redis = NULL;
out:
    (void)vd_redis_free(redis);
    return rc;
}

void *vd_redis_free(struct vd_redis *redis)
{
    struct vd_redis_call *call;

    if (redis == NULL)
        return NULL;
    assert(!redis->settling);
    redis->closing = true;
    if (redis->attempt != NULL) {
        vd_redis_connection_break(redis, "shutting down");
        vd_redis_connection_drop(redis);
    }
    complete_unsent(redis);
    while ((call = TAILQ_FIRST(&redis->waiting)) != NULL) {
        fail(call, VD_E_REMOTE, true, "shutting down");
        finish(redis, call);
    }
    run_finished(redis);
    redis->attempt = vd_timer_free(redis->attempt);
    redis->deadline = vd_timer_free(redis->deadline);
    redis->soon = vd_timer_free(redis->soon);
    vd_redis_replies_fini(redis);
    redis->tls_ca_file = vd_free(redis->tls_ca_file);
    if (redis->command.ptr != NULL)
        explicit_bzero(redis->command.ptr, redis->command.cap);
    vd_buf_free(&redis->command);
    explicit_bzero(redis->address.password, sizeof(redis->address.password));
    return vd_free(redis);
}

struct vd_redis_status vd_redis_status(const struct vd_redis *redis)
{
    return (struct vd_redis_status){
        .state = redis->state,
        .address = redis->address.shown,
        .reason = redis->reason,
        .since_mono_ms = redis->since_mono_ms,
        .failures = redis->failures,
        .in_flight = redis->sent_count,
        .waiting = redis->waiting_count,
        .commands = redis->commands,
        .timeouts = redis->timeouts,
        .reconnects = redis->reconnects > 0 ? redis->reconnects - 1 : 0,
    };
}

/* -- pipelines ------------------------------------------------------------------------------------------------------- */

static enum vd_code copy_commands(struct vd_redis_call *call,
                                  const struct vd_redis_command *commands, struct vd_err *err)
{
    call->commands = vd_arena_array(&call->arena, call->count, sizeof(*call->commands));
    if (call->commands == NULL)
        return vd_err_nomem(err, "Redis command");
    for (size_t i = 0; i < call->count; i++) {
        size_t argc = commands[i].argc;
        struct vd_span *argv = vd_arena_array(&call->arena, argc, sizeof(*argv));

        if (argv == NULL)
            return vd_err_nomem(err, "Redis command");
        for (size_t j = 0; j < argc; j++)
            if (vd_arena_dup(&call->arena, commands[i].argv[j], &argv[j]) != VD_OK)
                return vd_err_nomem(err, "Redis command");
        call->commands[i] = (struct vd_redis_command){argv, argc};
    }
    return VD_OK;
}

enum vd_code vd_redis_call_new(struct vd_redis *redis, const struct vd_redis_command *commands,
                               size_t count, bool copy, struct vd_redis_call **ret_call,
                               struct vd_err *err)
{
    struct vd_redis_call *call = vd_alloc(sizeof(*call));
    enum vd_code rc = VD_OK;

    if (call == NULL)
        return vd_err_nomem(err, "Redis pipeline");
    call->magic = CALL_MAGIC;
    call->redis = redis;
    call->count = count;
    call->reply_max_bytes = redis->reply_max_bytes;
    vd_arena_init(&call->arena, SIZE_MAX / 2); /* commands and replies are bounded one by one */
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < commands[i].argc; j++)
            call->bytes += commands[i].argv[j].len + 32;
    if (call->bytes > COMMANDS_MAX_BYTES)
        rc = vd_err_set(err, VD_E_LIMIT, false, "Redis: a pipeline of %zu bytes is too large",
                        call->bytes);
    call->replies = vd_arena_array(&call->arena, count, sizeof(*call->replies));
    if (rc == VD_OK && call->replies == NULL)
        rc = vd_err_nomem(err, "Redis pipeline");
    if (rc == VD_OK && copy)
        rc = copy_commands(call, commands, err);
    if (rc != VD_OK) {
        free_call(call);
        return rc;
    }
    call->submitted_mono_ms = vd_loop_now_ms(redis->loop);
    *ret_call = call;
    return VD_OK;
}

static enum vd_code check_room(const struct vd_redis *redis,
                               const struct vd_redis_command *commands, size_t count,
                               struct vd_err *err)
{
    assert(count >= 1 && count <= VD_REDIS_MAX_PIPELINE);
    for (size_t i = 0; i < count; i++)
        assert(commands[i].argc >= 1 && commands[i].argc <= VD_REDIS_MAX_ARGC);
    if (redis->closing)
        return vd_err_set(err, VD_E_REMOTE, true, "Redis: shutting down");
    if (redis->waiting_count + redis->sent_count >= VD_REDIS_MAX_PIPELINES ||
        redis->waiting_bytes > VD_REDIS_MAX_BYTES)
        return vd_err_set(err, VD_E_LIMIT, true, "Redis: too many commands are waiting");
    return VD_OK;
}

static enum vd_code submit(struct vd_redis *redis, const struct vd_redis_command *commands,
                           size_t count, const struct vd_redis_options *options,
                           const struct vd_redis_script *script, vd_redis_done_fn *done, void *arg,
                           struct vd_redis_call **ret_call, struct vd_err *err)
{
    bool now = redis->state == VD_REDIS_UP && !redis->broken && redis->ac != NULL &&
               TAILQ_EMPTY(&redis->waiting);
    struct vd_redis_call *call = NULL;
    uint32_t timeout_ms = redis->command_timeout_ms;
    enum vd_code rc = check_room(redis, commands, count, err);

    if (rc == VD_OK)
        rc = vd_redis_call_new(redis, commands, count, !now || script != NULL, &call, err);
    if (rc != VD_OK)
        return rc;
    if (options != NULL && options->timeout_ms != 0)
        timeout_ms = options->timeout_ms;
    if (options != NULL && options->reply_max_bytes != 0)
        call->reply_max_bytes = options->reply_max_bytes;
    call->script = script;
    call->done = done;
    call->arg = arg;
    call->deadline_mono_ms = call->submitted_mono_ms + timeout_ms;
    add_deadline(redis, call);
    if (now) {
        if (call->commands == NULL)
            call->commands = (struct vd_redis_command *)commands;
        vd_redis_connection_send(redis, call);
        if (script == NULL)
            call->commands = NULL; /* borrowed until here */
        if (redis->broken)
            vd_timer_start(redis->soon, 0, 0);
    } else {
        call->place = VD_REDIS_WAITING;
        TAILQ_INSERT_TAIL(&redis->waiting, call, link);
        redis->waiting_count++;
        redis->waiting_bytes += call->bytes;
    }
    if (!redis->settling)
        arm_deadline(redis);
    if (ret_call != NULL)
        *ret_call = call;
    return VD_OK;
}

enum vd_code vd_redis_submit(struct vd_redis *redis, const struct vd_redis_command *commands,
                             size_t count, const struct vd_redis_options *options,
                             vd_redis_done_fn *done, void *arg, struct vd_redis_call **ret_call,
                             struct vd_err *err)
{
    return submit(redis, commands, count, options, NULL, done, arg, ret_call, err);
}

enum vd_code vd_redis_submit_script(struct vd_redis *redis, const struct vd_redis_command *command,
                                    const struct vd_redis_script *script,
                                    const struct vd_redis_options *options, vd_redis_done_fn *done,
                                    void *arg, struct vd_redis_call **ret_call, struct vd_err *err)
{
    return submit(redis, command, 1, options, script, done, arg, ret_call, err);
}

void vd_redis_cancel(struct vd_redis_call *call)
{
    struct vd_redis *redis = call->redis;

    assert(call->magic == CALL_MAGIC && !call->done_called);
    if (call->on_finished)
        return; /* its done callback is on the way */
    fail(call, VD_E_REMOTE, true, "canceled");
    call->canceled = true;
    finish(redis, call);
    vd_timer_start(redis->soon, 0, 0);
}
