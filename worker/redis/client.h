/* redis/client.h - one Redis connection on the loop: pipelines in, one answer for each.
 *
 * Why:      nothing above may see hiredis; a job wants one round trip, one callback, and an end to the waiting.
 * Source:   hiredis async API (0.14 and >= 1.0), RESP2.
 * Thread:   loop thread. Names are resolved on a pool thread.
 * Owns:     the connection, and every reply until the done callback returns.
 * Shapes:   commands are argv spans of any bytes; never a format string, so no value can become a command.
 * Units:    milliseconds, monotonic.
 * Errors:   VD_E_REMOTE retriable when Redis is away or the connection broke (the commands may or may not have run), VD_E_TIMEOUT
 *           retriable, VD_E_LIMIT when replies are larger than allowed or too much is waiting, VD_E_CONFIG for a bad address.
 *           An error *reply* (WRONGTYPE, NOSCRIPT, ...) is a reply of kind VD_REDIS_ERROR, not a failure of the pipeline.
 * Invariants:
 *   I1 each accepted pipeline gets exactly one done callback, also on cancel, time-out, disconnect and free.
 *   I2 done never runs inside vd_redis_submit() or vd_redis_cancel(); it runs on a later loop turn, or inside vd_redis_free().
 *   I3 commands reach Redis in the order of their submits.
 *
 * Connection:
 *
 *   IDLE -> RESOLVING -> CONNECTING -> GREETING -> UP
 *     ^________________________________________|  any failure: wait (full jitter, doubling up to 5 s), then again
 *
 * GREETING is AUTH, SELECT, and the check of maxmemory-policy: UP means that Redis has answered. While not UP, pipelines wait in
 * order until the connection is up or their time-out passes.
 */
#ifndef VD_REDIS_CLIENT_H
#define VD_REDIS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct vd_loop;
struct vd_redis;
struct vd_redis_call; /* one accepted pipeline; valid until its done callback returns */

struct vd_redis_conf {
    const char *
        address; /* "host:port", "unix:/path", "/path", "redis://[user[:password]@]host[:port][/db]", "rediss://" */
    const char *username; /* NULL: none; these three override what the URL says */
    const char *password;
    int db;                      /* -1: what the URL says, else 0 */
    const char *tls_ca_file;     /* rediss:// only; NULL: the system's */
    uint32_t connect_timeout_ms; /* 0: 2000; covers resolving, connecting and greeting */
    uint32_t command_timeout_ms; /* 0: 1000; for pipelines that give none */
    size_t reply_max_bytes;      /* 0: VD_REDIS_REPLY_MAX_BYTES; for pipelines that give none */
    bool require_noeviction;     /* stay down, and say why, while Redis may evict keys */
};

enum vd_redis_state {
    VD_REDIS_IDLE, /* waiting before the next attempt */
    VD_REDIS_RESOLVING,
    VD_REDIS_CONNECTING,
    VD_REDIS_GREETING,
    VD_REDIS_UP,
};

/* Why nothing moves. Strings are borrowed until the client changes state. */
struct vd_redis_status {
    enum vd_redis_state state;
    const char *address; /* without credentials */
    const char *
        reason; /* not UP: the last failure; UP: "" or a warning, such as that CONFIG GET is not allowed */
    int64_t since_mono_ms;
    uint32_t failures;  /* attempts that failed since it was last UP */
    uint32_t in_flight; /* pipelines sent and not answered */
    uint32_t waiting;   /* pipelines not sent yet */
    uint64_t commands;  /* sent, ever */
    uint64_t timeouts;  /* pipelines, ever */
    uint64_t reconnects;
};

typedef void vd_redis_state_fn(void *arg, const struct vd_redis_status *status);

/* Copies conf. Connecting begins on the next turn. on_state may be NULL; it is called at each UP and each end of UP, never inside
 * a function of this header. */
enum vd_code vd_redis_new(struct vd_loop *loop, const struct vd_redis_conf *conf,
                          vd_redis_state_fn *on_state, void *arg, struct vd_redis **ret_redis,
                          struct vd_err *err) VD_MUST_CHECK;
/* Outstanding pipelines get their done callback (canceled) inside this call. Not from inside a done callback. NULL-safe. */
void *vd_redis_free(struct vd_redis *redis);
struct vd_redis_status vd_redis_status(const struct vd_redis *redis);

/* -- pipelines --------------------------------------------------------------------------------------------------- */

enum vd_redis_kind {
    VD_REDIS_NIL = 1,
    VD_REDIS_STRING, /* s */
    VD_REDIS_STATUS, /* s: "OK" */
    VD_REDIS_INT,    /* i */
    VD_REDIS_ARRAY,  /* items, count */
    VD_REDIS_ERROR,  /* s: "WRONGTYPE Operation against ..." */
};

struct vd_redis_reply {
    enum vd_redis_kind kind;
    int64_t i;
    struct vd_span s;
    struct vd_redis_reply *const *items;
    size_t count;
};

struct vd_redis_command {
    const struct vd_span *argv; /* argv[0] is the command's name */
    size_t argc;                /* 1 to VD_REDIS_MAX_ARGC */
};

struct vd_redis_result {
    struct vd_err err; /* err.code VD_OK: replies has one reply for each command, in order */
    bool canceled;     /* by vd_redis_cancel() or vd_redis_free() */
    const struct vd_redis_reply *const *replies; /* borrowed until done returns */
    size_t count;
    int64_t wait_ms; /* from submit to this callback */
};

typedef void vd_redis_done_fn(void *arg, const struct vd_redis_result *result);

struct vd_redis_options {
    uint32_t timeout_ms;    /* 0: the client's */
    size_t reply_max_bytes; /* all replies of the pipeline together; 0: the client's */
};

/* Submit count commands as one pipeline (1 to VD_REDIS_MAX_PIPELINE). argv is copied. options may be NULL. ret_call may be NULL.
 * When this does not return VD_OK, done will not be called. */
enum vd_code vd_redis_submit(struct vd_redis *redis, const struct vd_redis_command *commands,
                             size_t count, const struct vd_redis_options *options,
                             vd_redis_done_fn *done, void *arg, struct vd_redis_call **ret_call,
                             struct vd_err *err) VD_MUST_CHECK;
/* done comes on a later turn with canceled set. What was sent may still run in Redis. */
void vd_redis_cancel(struct vd_redis_call *call);

/* -- scripts ----------------------------------------------------------------------------------------------------- */

/* A Lua script with its SHA-1, made once; the same object may be used by any client. */
struct vd_redis_script;

enum vd_code vd_redis_script_new(struct vd_span text, struct vd_redis_script **ret_script,
                                 struct vd_err *err) VD_MUST_CHECK;
void *vd_redis_script_free(struct vd_redis_script *script);

/* One script call: EVALSHA, and after NOSCRIPT the same with EVAL, unseen by the caller. The script must outlive the call. */
enum vd_code vd_redis_eval(struct vd_redis *redis, const struct vd_redis_script *script,
                           const struct vd_span *keys, size_t key_count, const struct vd_span *args,
                           size_t arg_count, const struct vd_redis_options *options,
                           vd_redis_done_fn *done, void *arg, struct vd_redis_call **ret_call,
                           struct vd_err *err) VD_MUST_CHECK;

#endif
