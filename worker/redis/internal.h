/* redis/internal.h - what the client's files share. Nobody else includes it.
 *
 * client.c      pipelines: queues, time-outs, done callbacks
 * connection.c  hiredis: resolve, connect, greet, read, write, drop
 * replies.c     replies built into the pipeline's arena, within its cap
 *
 * A pipeline is on `waiting` or `sent` until it is answered, on `deadlines` while it may time out, and on `finished` until its
 * done callback has run. After a time-out or a cancel it stays on `sent` as a ghost until Redis has answered, since answers come
 * in order. It is freed when it is on no list.
 */
#ifndef VD_REDIS_INTERNAL_H
#define VD_REDIS_INTERNAL_H

#include <sys/queue.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/prng.h"
#include "loop/loop.h"
#include "redis/address.h"
#include "redis/client.h"

struct redisAsyncContext;
struct vd_redis_lookup;

enum vd_redis_place { VD_REDIS_NOWHERE, VD_REDIS_WAITING, VD_REDIS_SENT };

struct vd_redis_call {
    unsigned magic;
    struct vd_redis *redis;
    TAILQ_ENTRY(vd_redis_call) link; /* waiting, sent */
    TAILQ_ENTRY(vd_redis_call) by_finish;
    TAILQ_ENTRY(vd_redis_call) by_deadline;
    enum vd_redis_place place;
    bool on_deadlines;
    bool on_finished; /* or done has run: what arrives is dropped */
    bool done_called;
    struct vd_arena arena;
    struct vd_redis_command *commands; /* copies; NULL when it was sent at once and is no script */
    size_t count;
    size_t sent;     /* commands that hiredis took */
    size_t answered; /* of them */
    size_t bytes;    /* of commands, counted while waiting */
    const struct vd_redis_reply **replies;
    size_t reply_bytes;
    size_t reply_max_bytes;
    bool too_large;
    const struct vd_redis_script *script; /* may need a second try with EVAL */
    int64_t submitted_mono_ms;
    int64_t sent_mono_ms;
    uint64_t answers_before; /* of the connection, when it was sent */
    int64_t deadline_mono_ms;
    struct vd_err err;
    bool canceled;
    vd_redis_done_fn *done;
    void *arg;
};

TAILQ_HEAD(vd_redis_calls, vd_redis_call);

struct vd_redis {
    struct vd_loop *loop;
    struct vd_redis_address address;
    char *tls_ca_file;
    uint32_t connect_timeout_ms;
    uint32_t command_timeout_ms;
    size_t reply_max_bytes;
    bool require_noeviction;
    vd_redis_state_fn *on_state;
    void *state_arg;
    struct vd_prng prng;

    /* connection.c */
    struct vd_buf command; /* as it goes to hiredis */
    enum vd_redis_state state;
    int64_t since_mono_ms;
    uint32_t failures;
    uint64_t reconnects;
    char reason[240];
    struct redisAsyncContext *ac; /* NULL: none */
    bool broken;                  /* reason is set; drop it once hiredis is not on the stack */
    bool told_up;                 /* what on_state was told last */
    struct vd_poll *poll;
    int wanted;
    struct vd_timer *attempt; /* ends an attempt, or the pause before one */
    struct vd_redis_lookup *lookup;
    uint64_t answers; /* ever */

    /* replies.c */
    struct vd_redis_reply sink; /* stands for what is not kept */
    void *stray;                /* redisReply: an answer that nobody asked for */

    /* client.c */
    struct vd_redis_calls waiting;
    struct vd_redis_calls sent;
    struct vd_redis_calls finished;
    struct vd_redis_calls deadlines; /* earliest first */
    struct vd_timer *deadline;
    int64_t armed_mono_ms; /* of deadline; 0: not */
    struct vd_timer *soon; /* settles on the next turn */
    uint32_t waiting_count;
    uint32_t sent_count;
    size_t waiting_bytes;
    uint64_t commands;
    uint64_t timeouts;
    bool settling;
    bool closing;
};

/* connection.c */
void vd_redis_connection_begin(struct vd_redis *redis); /* in IDLE: a new attempt */
/* Free what belongs to the attempt or connection; calls on `sent` are answered with err. Back to IDLE, without a next attempt. */
void vd_redis_connection_drop(struct vd_redis *redis);
/* Note why; the drop happens in vd_redis_settle(). */
void vd_redis_connection_break(struct vd_redis *redis, const char *reason);
void vd_redis_connection_pause(
    struct vd_redis *redis); /* IDLE, next attempt after a jittered pause */
/* Hand all commands of call to hiredis. */
void vd_redis_connection_send(struct vd_redis *redis, struct vd_redis_call *call);

/* replies.c */
struct vd_redis_call *
vd_redis_current(struct vd_redis *redis); /* whose answer comes next; may be NULL */
void vd_redis_replies_attach(struct vd_redis *redis);
enum vd_code vd_redis_replies_init(struct vd_redis *redis);
void vd_redis_replies_fini(struct vd_redis *redis);

/* client.c */
void vd_redis_answered(struct vd_redis *redis, struct vd_redis_call *call,
                       const struct vd_redis_reply *reply); /* NULL: there will be none */
void vd_redis_settle(struct vd_redis *redis); /* at the end of every entry from the loop */
/* Make a pipeline that belongs to nobody yet. commands are copied when copy is set. */
enum vd_code vd_redis_call_new(struct vd_redis *redis, const struct vd_redis_command *commands,
                               size_t count, bool copy, struct vd_redis_call **ret_call,
                               struct vd_err *err) VD_MUST_CHECK;
/* One EVALSHA command; after NOSCRIPT it is sent again as EVAL with the text. */
enum vd_code vd_redis_submit_script(struct vd_redis *redis, const struct vd_redis_command *command,
                                    const struct vd_redis_script *script,
                                    const struct vd_redis_options *options, vd_redis_done_fn *done,
                                    void *arg, struct vd_redis_call **ret_call,
                                    struct vd_err *err) VD_MUST_CHECK;

/* script.c */
struct vd_span vd_redis_script_text(const struct vd_redis_script *script);

#endif
