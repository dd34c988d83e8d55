/* commands/redis_session.c - see redis_session.h. */
#include "commands/redis_session.h"

#include "base/alloc.h"
#include "loop/loop.h"

#define CALL_TIMEOUT_MS 10000
#define TURN_MS         50

struct vd_redis_session {
    struct vd_loop *loop;
    struct vd_redis *redis;
};

enum vd_code vd_redis_session_open(const struct vd_settings *settings,
                                   struct vd_redis_session **ret_session, struct vd_err *err)
{
    struct vd_redis_conf conf = {
        .address = settings->redis_address,
        .username = settings->redis_username,
        .password = settings->redis_password,
        .db = -1,
        .tls_ca_file = settings->redis_ca_file,
        .connect_timeout_ms = (uint32_t)settings->redis_connect_timeout_ms,
        .command_timeout_ms = CALL_TIMEOUT_MS,
    };
    struct vd_redis_session *s;
    enum vd_code rc;

    if (settings->redis_address == NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "the settings have no redis.address");
    s = vd_alloc(sizeof(*s));
    if (s == NULL)
        return vd_err_nomem(err, "redis");
    rc = vd_loop_new(&s->loop, err);
    if (rc == VD_OK)
        rc = vd_redis_new(s->loop, &conf, NULL, NULL, &s->redis, err);
    if (rc != VD_OK)
        (void)vd_redis_session_close(s);
    else
        *ret_session = s;
    return rc;
}

void *vd_redis_session_close(struct vd_redis_session *session)
{
    if (session == NULL)
        return NULL;
    (void)vd_redis_free(session->redis);
    (void)vd_loop_free(session->loop);
    return vd_free(session);
}

struct waiting {
    vd_redis_reply_fn *on_reply;
    void *arg;
    struct vd_err err;
    enum vd_code rc;
    bool done;
};

static void on_done(void *arg, const struct vd_redis_result *result)
{
    struct waiting *w = arg;

    w->done = true;
    w->err = result->err;
    w->rc = result->err.code;
    if (w->rc != VD_OK)
        return;
    if (result->replies[0]->kind == VD_REDIS_ERROR)
        w->rc = vd_err_set(&w->err, VD_E_REMOTE, false, "Redis: %.*s",
                           (int)(result->replies[0]->s.len > 120 ? 120 : result->replies[0]->s.len),
                           result->replies[0]->s.ptr);
    else
        w->rc = w->on_reply(w->arg, result->replies[0], &w->err);
}

enum vd_code vd_redis_session_call(struct vd_redis_session *session, const struct vd_span *argv,
                                   size_t argc, vd_redis_reply_fn *on_reply, void *arg,
                                   struct vd_err *err)
{
    struct waiting w = {.on_reply = on_reply, .arg = arg};
    const struct vd_redis_command command = {argv, argc};
    enum vd_code rc = vd_redis_submit(session->redis, &command, 1, NULL, on_done, &w, NULL, err);

    if (rc != VD_OK)
        return rc;
    while (!w.done)
        vd_loop_turn(session->loop, TURN_MS);
    if (w.rc != VD_OK && err != NULL)
        *err = w.err;
    return w.rc;
}

struct vd_redis *vd_redis_session_client(struct vd_redis_session *session)
{
    return session->redis;
}

void vd_redis_session_turn(struct vd_redis_session *session)
{
    vd_loop_turn(session->loop, TURN_MS);
}
