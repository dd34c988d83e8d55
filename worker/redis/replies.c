/* redis/replies.c - hiredis calls these while it reads, so that a reply is built once, where it belongs, and within its cap.
 *
 * hiredis' own builder copies whatever arrives. Here a pipeline that passes its cap gets `sink` objects instead, which hold
 * nothing: the connection stays in step with Redis and no memory is used.
 */
#include <assert.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "redis/internal.h"

/* hiredis reads `type`, the first member, of what we return, looking for push messages (1.x) and stray errors. */
static_assert(offsetof(struct vd_redis_reply, kind) == 0, "kind stands where redisReply.type does");
static_assert(VD_REDIS_ERROR < 9, "no kind may equal REDIS_REPLY_PUSH (12)");

struct vd_redis_call *vd_redis_current(struct vd_redis *redis)
{
    struct vd_redis_call *call = TAILQ_FIRST(&redis->sent);

    while (call != NULL && call->answered == call->sent)
        call = TAILQ_NEXT(call, link);
    return call;
}

/* Room for size bytes of the current pipeline, or NULL after marking it too large. */
static void *take(struct vd_redis_call *call, size_t size)
{
    void *p;

    if (call == NULL || call->on_finished || call->too_large)
        return NULL;
    if (size > call->reply_max_bytes - call->reply_bytes) {
        call->too_large = true;
        return NULL;
    }
    call->reply_bytes += size;
    p = vd_arena_alloc(&call->arena, size);
    if (p == NULL)
        call->too_large = true;
    return p;
}

static struct vd_redis_reply *make(const redisReadTask *task, enum vd_redis_kind kind)
{
    struct vd_redis *redis = task->privdata;
    struct vd_redis_call *call = vd_redis_current(redis);
    struct vd_redis_reply *parent = task->parent == NULL ? NULL : task->parent->obj;
    struct vd_redis_reply *reply;

    /* A stray array may have begun before this pipeline was sent. */
    if (call == NULL || parent == &redis->sink || (void *)parent == redis->stray)
        return &redis->sink;
    reply = take(call, sizeof(*reply));
    if (reply == NULL)
        return &redis->sink;
    reply->kind = kind;
    if (parent != NULL)
        ((struct vd_redis_reply **)parent->items)[task->idx] = reply;
    return reply;
}

/* An answer to no command: hiredis asserts unless it is an error, and drops the connection then. That is what we want. */
static void *stray(struct vd_redis *redis)
{
    return redis->stray;
}

static bool is_stray(const redisReadTask *task)
{
    return vd_redis_current(task->privdata) == NULL;
}

static void *create_string(const redisReadTask *task, char *text, size_t len)
{
    struct vd_redis *redis = task->privdata;
    struct vd_redis_reply *reply;
    char *copy;

    if (is_stray(task))
        return stray(redis);
    reply = make(task, task->type == REDIS_REPLY_ERROR    ? VD_REDIS_ERROR
                       : task->type == REDIS_REPLY_STATUS ? VD_REDIS_STATUS
                                                          : VD_REDIS_STRING);
    if (reply == &redis->sink)
        return reply;
    copy = take(vd_redis_current(redis), len + 1);
    if (copy == NULL)
        return &redis->sink; /* the parent keeps an empty reply; the pipeline fails as a whole */
    if (len > 0)
        memcpy(copy, text, len);
    reply->s = (struct vd_span){copy, len};
    return reply;
}

static void *make_array(const redisReadTask *task, size_t count)
{
    struct vd_redis *redis = task->privdata;
    struct vd_redis_reply *reply;

    if (is_stray(task))
        return stray(redis);
    reply = make(task, VD_REDIS_ARRAY);
    if (reply == &redis->sink)
        return reply;
    if (count > 0) {
        reply->items = count > VD_REDIS_SOCKET_MAX_BYTES
                           ? take(vd_redis_current(redis), SIZE_MAX)
                           : take(vd_redis_current(redis), count * sizeof(*reply->items));
        if (reply->items == NULL)
            return &redis->sink;
    }
    reply->count = count;
    return reply;
}

static void *create_integer(const redisReadTask *task, long long value)
{
    struct vd_redis *redis = task->privdata;
    struct vd_redis_reply *reply;

    if (is_stray(task))
        return stray(redis);
    reply = make(task, VD_REDIS_INT);
    if (reply != &redis->sink)
        reply->i = value;
    return reply;
}

static void *create_nil(const redisReadTask *task)
{
    return is_stray(task) ? stray(task->privdata) : (void *)make(task, VD_REDIS_NIL);
}

static void free_nothing(void *object)
{
    (void)object; /* everything lives in an arena */
}

#if HIREDIS_MAJOR >= 1
static void *create_array(const redisReadTask *task, size_t count)
{
    return make_array(task, count);
}

/* RESP3 only, which is never asked for; hiredis wants the functions. */
static void *create_double(const redisReadTask *task, double value, char *text, size_t len)
{
    (void)value;
    return create_string(task, text, len);
}

static void *create_bool(const redisReadTask *task, int value)
{
    return create_integer(task, value);
}
#else
static void *create_array(const redisReadTask *task, int count)
{
    return make_array(task, count < 0 ? SIZE_MAX : (size_t)count);
}
#endif

static const redisReplyObjectFunctions functions = {
    .createString = create_string,
    .createArray = create_array,
    .createInteger = create_integer,
    .createNil = create_nil,
    .freeObject = free_nothing,
#if HIREDIS_MAJOR >= 1
    .createDouble = create_double,
    .createBool = create_bool,
#endif
};

void vd_redis_replies_attach(struct vd_redis *redis)
{
    redisReader *reader = redis->ac->c.reader;

    reader->fn = (redisReplyObjectFunctions *)&functions;
    reader->privdata = redis;
}

enum vd_code vd_redis_replies_init(struct vd_redis *redis)
{
    static char text[] = "an answer that nobody asked for";
    redisReply *reply = vd_alloc(sizeof(*reply));

    if (reply == NULL)
        return VD_E_NOMEM;
    reply->type = REDIS_REPLY_ERROR;
    reply->str = text;
    reply->len = sizeof(text) - 1;
    redis->stray = reply;
    redis->sink.kind = VD_REDIS_NIL;
    return VD_OK;
}

void vd_redis_replies_fini(struct vd_redis *redis)
{
    redis->stray = vd_free(redis->stray);
}
