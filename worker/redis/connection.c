/* redis/connection.c - one hiredis connection after another: resolve, connect, greet, keep, drop, try again.
 *
 * hiredis frees its context by itself after a failed connect and after a disconnect, and calls back while it does; so nothing is
 * dropped while hiredis is on the stack. Callbacks note, vd_redis_settle() acts.
 *
 * Quirks: 0.14 has no connect time-out for async contexts and resolves names by blocking: names are resolved on a pool thread
 * first, and the `attempt` timer bounds all of it.
 */
#include <assert.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "redis/internal.h"
#include "redis/tls.h"

#define PAUSE_BASE_MS      50
#define PAUSE_CAP_MS       5000
#define COMMAND_KEPT_BYTES (64u << 10) /* a buffer that one large command made is not kept */

/* -- resolving ----------------------------------------------------------------------------------------------------- */

/* Outlives the client when that is freed while the pool thread is busy. */
struct vd_redis_lookup {
    struct vd_redis *redis; /* NULL: nobody waits any more */
    char host[256];
    uint32_t attempt; /* the next address is tried after a failed connect */
    char numeric[NI_MAXHOST];
    char reason[128];
};

static void connect_to(struct vd_redis *redis, const char *numeric);

static void resolve(void *arg)
{
    struct vd_redis_lookup *lookup = arg;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL, *at;
    uint32_t count = 0;
    int status = getaddrinfo(lookup->host, NULL, &hints, &list);

    if (status == 0) {
        for (at = list; at != NULL; at = at->ai_next)
            count++;
        at = list;
        for (uint32_t i = lookup->attempt % count; i > 0; i--)
            at = at->ai_next;
        status = getnameinfo(at->ai_addr, at->ai_addrlen, lookup->numeric, sizeof(lookup->numeric),
                             NULL, 0, NI_NUMERICHOST);
        freeaddrinfo(list);
    }
    if (status != 0)
        (void)snprintf(lookup->reason, sizeof(lookup->reason), "cannot resolve the host: %s",
                       gai_strerror(status));
}

static void resolved(void *arg)
{
    struct vd_redis_lookup *lookup = arg;
    struct vd_redis *redis = lookup->redis;

    if (redis != NULL) {
        redis->lookup = NULL;
        if (lookup->reason[0] != '\0')
            vd_redis_connection_break(redis, lookup->reason);
        else
            connect_to(redis, lookup->numeric);
        vd_redis_settle(redis);
    }
    (void)vd_free(lookup);
}

static void start_lookup(struct vd_redis *redis)
{
    struct vd_redis_lookup *lookup = vd_alloc(sizeof(*lookup));

    if (lookup == NULL) {
        vd_redis_connection_break(redis, "out of memory");
        return;
    }
    lookup->redis = redis;
    lookup->attempt = redis->failures;
    (void)snprintf(lookup->host, sizeof(lookup->host), "%s", redis->address.host);
    if (vd_loop_work(redis->loop, resolve, resolved, lookup) != VD_OK) {
        (void)vd_free(lookup);
        vd_redis_connection_break(redis, "out of memory");
        return;
    }
    redis->lookup = lookup;
}

/* -- readiness ------------------------------------------------------------------------------------------------------ */

static void want(struct vd_redis *redis, int events)
{
    if (redis->poll == NULL || redis->wanted == events)
        return;
    redis->wanted = events;
    vd_poll_set(redis->poll, events);
}

static void add_read(void *arg)
{
    struct vd_redis *redis = arg;

    want(redis, redis->wanted | VD_POLL_IN);
}

static void del_read(void *arg)
{
    struct vd_redis *redis = arg;

    want(redis, redis->wanted & ~VD_POLL_IN);
}

static void add_write(void *arg)
{
    struct vd_redis *redis = arg;

    want(redis, redis->wanted | VD_POLL_OUT);
}

static void del_write(void *arg)
{
    struct vd_redis *redis = arg;

    want(redis, redis->wanted & ~VD_POLL_OUT);
}

static void cleanup(void *arg)
{
    struct vd_redis *redis = arg;

    redis->poll = vd_poll_free(redis->poll);
    redis->wanted = 0;
}

static void on_ready(void *arg, int events)
{
    struct vd_redis *redis = arg;

    if (events & VD_POLL_IN)
        redisAsyncHandleRead(redis->ac);
    /* One value may not fill the memory: hiredis collects it whole before it hands it over. */
    if (redis->ac != NULL && redis->ac->c.reader->len > VD_REDIS_SOCKET_MAX_BYTES) {
        struct vd_redis_call *call = vd_redis_current(redis);

        if (call != NULL)
            call->too_large = true;
        vd_redis_connection_break(redis, "a reply is larger than can be received");
    }
    if ((events & VD_POLL_OUT) && redis->ac != NULL && !redis->broken)
        redisAsyncHandleWrite(redis->ac);
    vd_redis_settle(redis);
}

/* -- hiredis' callbacks ---------------------------------------------------------------------------------------------- */

static void on_reply(redisAsyncContext *ac, void *reply, void *arg)
{
    struct vd_redis_call *call = arg;
    struct vd_redis *redis = call->redis;

    (void)ac;
    if (reply != NULL && reply == redis->stray) {
        vd_redis_connection_break(redis, "Redis answers out of step");
        reply = NULL;
    }
    if (reply != NULL)
        redis->answers++;
    vd_redis_answered(redis, call, reply);
}

/* hiredis frees ac after each of the next two, unless status is REDIS_OK in the first. */
static void on_connect(const redisAsyncContext *ac, int status)
{
    struct vd_redis *redis = ac->data;

    if (status == REDIS_OK)
        return;
    vd_redis_connection_break(redis, ac->errstr);
    redis->ac = NULL;
}

static void on_disconnect(const redisAsyncContext *ac, int status)
{
    struct vd_redis *redis = ac->data;

    if (redis->ac == NULL)
        return; /* our own drop */
    vd_redis_connection_break(redis, status == REDIS_OK ? "disconnected" : ac->errstr);
    redis->ac = NULL;
}

/* -- greeting -------------------------------------------------------------------------------------------------------- */

static bool reply_failed(struct vd_redis *redis, const char *what,
                         const struct vd_redis_reply *reply)
{
    char reason[160];

    if (reply->kind != VD_REDIS_ERROR)
        return false;
    (void)snprintf(reason, sizeof(reason), "%s: %.*s", what,
                   (int)(reply->s.len < 100 ? reply->s.len : 100), reply->s.ptr);
    vd_redis_connection_break(redis, reason);
    return true;
}

/* CONFIG GET is often forbidden on hosted Redis: that is a warning, and another answer than noeviction a refusal. */
static void check_eviction(struct vd_redis *redis, const struct vd_redis_reply *reply)
{
    struct vd_span policy;
    char reason[160];

    if (reply->kind != VD_REDIS_ARRAY || reply->count < 2) {
        (void)snprintf(redis->reason, sizeof(redis->reason),
                       "maxmemory-policy cannot be read (CONFIG GET is not allowed): make sure it "
                       "is noeviction");
        return;
    }
    policy = reply->items[1]->s;
    if (vd_span_eq_c(policy, "noeviction"))
        return;
    (void)snprintf(reason, sizeof(reason), "maxmemory-policy is %.*s, must be noeviction",
                   (int)(policy.len < 40 ? policy.len : 40), policy.ptr);
    vd_redis_connection_break(redis, reason);
}

static void greeted(void *arg, const struct vd_redis_result *result)
{
    struct vd_redis *redis = arg;
    size_t at = 0;

    if (redis->state != VD_REDIS_GREETING)
        return; /* dropped meanwhile */
    if (result->err.code != VD_OK) {
        vd_redis_connection_break(redis, result->err.msg);
        return;
    }
    redis->reason[0] = '\0';
    if (redis->address.password[0] != '\0' && reply_failed(redis, "AUTH", result->replies[at++]))
        return;
    if (redis->address.db != 0 && reply_failed(redis, "SELECT", result->replies[at++]))
        return;
    if (reply_failed(redis, "PING", result->replies[at++]))
        return;
    if (redis->require_noeviction)
        check_eviction(redis, result->replies[at]);
    if (redis->broken)
        return;
    vd_timer_stop(redis->attempt);
    redis->state = VD_REDIS_UP;
    redis->since_mono_ms = vd_loop_now_ms(redis->loop);
    redis->failures = 0;
    redis->reconnects++;
}

static void greet(struct vd_redis *redis)
{
    char db[16];
    const struct vd_redis_address *a = &redis->address;
    struct vd_span auth[3] = {VD_LIT("AUTH"), vd_span_of(a->username), vd_span_of(a->password)};
    struct vd_span auth_old[2] = {VD_LIT("AUTH"), vd_span_of(a->password)};
    struct vd_span select[2] = {VD_LIT("SELECT"), {db, 0}};
    struct vd_span ping[1] = {VD_LIT("PING")};
    struct vd_span policy[3] = {VD_LIT("CONFIG"), VD_LIT("GET"), VD_LIT("maxmemory-policy")};
    struct vd_redis_command commands[4];
    struct vd_redis_call *call = NULL;
    size_t n = 0;

    select[1].len = (size_t)snprintf(db, sizeof(db), "%d", a->db);
    if (a->password[0] != '\0')
        commands[n++] = a->username[0] != '\0' ? (struct vd_redis_command){auth, 3}
                                               : (struct vd_redis_command){auth_old, 2};
    if (a->db != 0)
        commands[n++] = (struct vd_redis_command){select, 2};
    commands[n++] = (struct vd_redis_command){ping, 1};
    if (redis->require_noeviction)
        commands[n++] = (struct vd_redis_command){policy, 3};
    if (vd_redis_call_new(redis, commands, n, true, &call, NULL) != VD_OK) {
        vd_redis_connection_break(redis, "out of memory");
        return;
    }
    call->done = greeted;
    call->arg = redis;
    call->reply_max_bytes = 4096;
    redis->state = VD_REDIS_GREETING;
    vd_redis_connection_send(redis, call);
}

/* -- life ------------------------------------------------------------------------------------------------------------ */

static void connect_to(struct vd_redis *redis, const char *numeric)
{
    redisAsyncContext *ac = numeric == NULL ? redisAsyncConnectUnix(redis->address.path)
                                            : redisAsyncConnect(numeric, redis->address.port);
    struct vd_err err;

    redis->state = VD_REDIS_CONNECTING;
    if (ac == NULL || ac->err != 0) {
        vd_redis_connection_break(redis, ac == NULL ? "out of memory" : ac->errstr);
        if (ac != NULL)
            redisAsyncFree(ac);
        return;
    }
    redis->ac = ac;
    ac->data = redis;
    vd_redis_replies_attach(redis);
    if (redis->address.tls &&
        vd_redis_tls_start(&ac->c, redis->address.host, redis->tls_ca_file, &err) != VD_OK) {
        vd_redis_connection_break(redis, err.msg);
        return;
    }
    if (vd_poll_new(redis->loop, ac->c.fd, on_ready, redis, &redis->poll) != VD_OK) {
        vd_redis_connection_break(redis, "cannot watch the socket");
        return;
    }
    ac->ev.data = redis;
    ac->ev.addRead = add_read;
    ac->ev.delRead = del_read;
    ac->ev.addWrite = add_write;
    ac->ev.delWrite = del_write;
    ac->ev.cleanup = cleanup;
    (void)redisAsyncSetConnectCallback(ac, on_connect);
    (void)redisAsyncSetDisconnectCallback(ac, on_disconnect);
    greet(redis); /* hiredis keeps it until the socket is writable */
}

void vd_redis_connection_begin(struct vd_redis *redis)
{
    assert(redis->ac == NULL && redis->lookup == NULL);
    redis->broken = false;
    vd_timer_start(redis->attempt, redis->connect_timeout_ms, 0);
    if (redis->address.host[0] == '\0') {
        connect_to(redis, NULL);
    } else {
        redis->state = VD_REDIS_RESOLVING;
        start_lookup(redis);
    }
}

void vd_redis_connection_break(struct vd_redis *redis, const char *reason)
{
    if (redis->broken)
        return;
    redis->broken = true;
    (void)snprintf(redis->reason, sizeof(redis->reason), "%s", reason);
}

void vd_redis_connection_drop(struct vd_redis *redis)
{
    redisAsyncContext *ac = redis->ac;

    redis->ac = NULL;
    if (ac != NULL)
        redisAsyncFree(ac); /* answers every pending command with NULL */
    redis->poll = vd_poll_free(redis->poll);
    redis->wanted = 0;
    if (redis->lookup != NULL)
        redis->lookup->redis = NULL;
    redis->lookup = NULL;
    vd_timer_stop(redis->attempt);
    if (redis->state == VD_REDIS_UP)
        redis->since_mono_ms = vd_loop_now_ms(redis->loop);
    redis->state = VD_REDIS_IDLE;
}

void vd_redis_connection_pause(struct vd_redis *redis)
{
    uint32_t doublings = redis->failures < 7 ? redis->failures : 7;
    uint64_t most = (uint64_t)PAUSE_BASE_MS << doublings;

    redis->failures++;
    if (most > PAUSE_CAP_MS)
        most = PAUSE_CAP_MS;
    vd_timer_start(redis->attempt, 1 + vd_prng_below(&redis->prng, most), 0);
}

/* A command as the protocol has it: an array of bulk strings. hiredis would measure, allocate and print it. */
static bool write_command(const struct vd_redis_command *command, struct vd_buf *out)
{
    vd_buf_clear(out);
    (void)vd_buf_add_char(out, '*');
    (void)vd_buf_add_i64(out, (int64_t)command->argc);
    for (size_t i = 0; i < command->argc; i++) {
        (void)vd_buf_add(out, VD_LIT("\r\n$"));
        (void)vd_buf_add_i64(out, (int64_t)command->argv[i].len);
        (void)vd_buf_add(out, VD_LIT("\r\n"));
        (void)vd_buf_add(out, command->argv[i]);
    }
    return vd_buf_add(out, VD_LIT("\r\n")) == VD_OK;
}

/* hiredis copies what it takes. When it refuses (it is disconnecting, or memory is out) the rest is never answered. */
static bool send_one(struct vd_redis *redis, struct vd_redis_call *call,
                     const struct vd_redis_command *command)
{
    struct vd_buf *text = &redis->command;
    bool sent =
        write_command(command, text) &&
        redisAsyncFormattedCommand(redis->ac, on_reply, call, text->ptr, text->len) == REDIS_OK;

    if (text->cap > COMMAND_KEPT_BYTES)
        vd_buf_free(text);
    return sent;
}

void vd_redis_connection_send(struct vd_redis *redis, struct vd_redis_call *call)
{
    call->place = VD_REDIS_SENT;
    call->sent_mono_ms = vd_loop_now_ms(redis->loop);
    call->answers_before = redis->answers;
    call->sent = call->answered = 0;
    TAILQ_INSERT_TAIL(&redis->sent, call, link);
    redis->sent_count++;
    while (call->sent < call->count && send_one(redis, call, &call->commands[call->sent]))
        call->sent++;
    redis->commands += call->sent;
    if (call->sent < call->count)
        vd_redis_connection_break(redis, "hiredis refused a command");
}
