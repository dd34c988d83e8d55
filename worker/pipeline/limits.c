/* pipeline/limits.c - see limits.h. */
#include "pipeline/limits.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "loop/loop.h"
#include "policy/limits.h"

#define EPOCH_GRACE_MS                                                                             \
    7000 /* longer than the client's longest pause between attempts to connect, 5 s */
#define EPOCH_SOON_MS  500
#define EPOCH_LATER_MS 5000

struct vd_limiter {
    struct vd_limiter_conf conf;
    struct vd_limit_script *script;
    struct vd_redis_script *notice;
    char epoch_key[320];
    struct vd_timer *timer; /* looks at the epoch */
    bool looking;
    bool used;              /* a policy in force has limits */
    bool first;             /* the group's first start; until that is written */
    bool known;             /* the epoch has been read */
    int64_t since_ms;       /* the epoch; 0: trusted */
    int64_t absent_mono_ms; /* since when it is known to be gone; 0: it is not */
    int64_t longest_ms;     /* that a limit in force is closed */
    bool said_closed;
};

struct vd_limiter_call {
    struct vd_limiter *limiter;
    struct vd_redis_call *call;
    struct vd_limit_request request;
    struct vd_limit_item *items;
    struct vd_limit_used *used;
    int64_t began_mono_ms, until_mono_ms;
    bool canceled;
    vd_limiter_fn *done; /* NULL: nobody waits */
    void *arg;
    char words[2][VD_KEY_MAX_BYTES + 1]; /* of a call that nobody waits for: decision, key */
    char base[160];
};

/* Nobody knows that it is gone, or one came first: SET NX with Redis' own time. */
static const char notice_lua[] = "if redis.replicate_commands then redis.replicate_commands() end\n"
                                 "local t = redis.call('TIME')\n"
                                 "redis.call('SET', KEYS[1], string.format('%.0f', t[1] * 1000 + "
                                 "math.floor(t[2] / 1000)), 'NX')\n"
                                 "return redis.call('GET', KEYS[1])\n";

/* -- the epoch ------------------------------------------------------------------------------------------------------ */

static void look(void *arg);

static int64_t until_ms(const struct vd_limiter *l)
{
    return l->since_ms + l->longest_ms;
}

static bool is_closed(const struct vd_limiter *l)
{
    return l->used && l->known && l->since_ms > 0 && vd_wall_ms() < until_ms(l);
}

static void say(struct vd_limiter *l)
{
    bool closed = is_closed(l);
    char until[VD_RFC3339_SIZE];

    vd_metric_set(l->conf.metrics, VD_M_LIMITS_CLOSED, "", "", "", closed ? 1 : 0);
    if (closed == l->said_closed)
        return;
    l->said_closed = closed;
    vd_rfc3339_format(until_ms(l), until);
    if (closed)
        vd_log(VD_ERROR, "limits.closed", VD_F_STR("until", until),
               VD_F_STR("why", "Redis has lost what was reserved"),
               VD_F_STR("epoch", l->epoch_key));
    else
        vd_log(VD_INFO, "limits.open", VD_F_STR("epoch", l->epoch_key));
}

static void on_epoch(void *arg, const struct vd_redis_result *result)
{
    struct vd_limiter *l = arg;
    const struct vd_redis_reply *reply;
    uint64_t since;
    int64_t later_ms;

    l->looking = false;
    if (result->canceled)
        return;
    vd_timer_start(l->timer, EPOCH_SOON_MS, 0);
    if (result->err.code != VD_OK)
        return;
    reply = result->replies[result->count - 1];
    if (reply->kind == VD_REDIS_STRING) {
        l->first = false;
        l->known = true;
        l->absent_mono_ms = 0;
        /* What is no number closes the limits: redis/limits.c reads it so, too. */
        l->since_ms = vd_parse_u64(reply->s, INT64_MAX, &since) ? (int64_t)since : vd_wall_ms();
        later_ms = until_ms(l) - vd_wall_ms();
        vd_timer_start(
            l->timer,
            later_ms > 0 && later_ms < EPOCH_LATER_MS ? (uint64_t)later_ms + 1 : EPOCH_LATER_MS, 0);
    } else if (reply->kind == VD_REDIS_NIL) {
        l->known = false;
        if (l->absent_mono_ms == 0)
            l->absent_mono_ms = vd_mono_ms();
        if (l->first)
            vd_timer_start(l->timer, 0, 0);
    }
    say(l);
}

/* GET, or make it: SET NX 0 by the first worker of all, the time once it was gone for long enough. */
static void look(void *arg)
{
    struct vd_limiter *l = arg;
    struct vd_redis_options options = {.timeout_ms = l->conf.timeout_ms};
    struct vd_span key = vd_span_of(l->epoch_key);
    struct vd_span set[] = {VD_LIT("SET"), key, VD_LIT("0"), VD_LIT("NX")};
    struct vd_span get[] = {VD_LIT("GET"), key};
    bool gone =
        l->absent_mono_ms > 0 && vd_mono_ms() - l->absent_mono_ms >= EPOCH_GRACE_MS && l->used;
    struct vd_redis_command commands[] = {{set, 4}, {get, 2}};
    struct vd_err err;
    enum vd_code rc;

    say(l); /* a limit may have opened meanwhile */
    if (l->looking || (!l->used && !l->first))
        return;
    if (gone && !l->first)
        rc = vd_redis_eval(l->conf.redis, l->notice, &key, 1, NULL, 0, &options, on_epoch, l, NULL,
                           &err);
    else if (l->first && l->absent_mono_ms > 0)
        rc = vd_redis_submit(l->conf.redis, commands, 2, &options, on_epoch, l, NULL, &err);
    else
        rc = vd_redis_submit(l->conf.redis, commands + 1, 1, &options, on_epoch, l, NULL, &err);
    l->looking = rc == VD_OK;
    if (!l->looking)
        vd_timer_start(l->timer, EPOCH_SOON_MS, 0);
}

void vd_limiter_first_start(struct vd_limiter *l)
{
    if (l == NULL || l->first || l->known)
        return;
    l->first = true;
    vd_timer_start(l->timer, 0, 0);
}

void vd_limiter_watch(struct vd_limiter *l, const struct vd_policy_set *set)
{
    if (l == NULL)
        return;
    l->used = false;
    l->longest_ms = 0;
    for (size_t i = 0; i < vd_policy_set_count(set); i++) {
        const struct vd_policy *p = vd_policy_set_get(set, i);

        if (p->mode == VD_MODE_OFF || p->mode == VD_MODE_SHADOW)
            continue;
        for (size_t n = 0; n < p->limit_count; n++) {
            l->used = true;
            if (p->limits[n].closed_ms > l->longest_ms)
                l->longest_ms = p->limits[n].closed_ms;
        }
    }
    if (l->used)
        vd_timer_start(l->timer, 0, 0);
}

/* -- reservations ---------------------------------------------------------------------------------------------------- */

static void answer(struct vd_limiter_call *call, const struct vd_limiter_result *result)
{
    if (call->done != NULL)
        call->done(call->arg, result);
    (void)vd_free(call->items);
    (void)vd_free(call->used);
    (void)vd_free(call);
}

static enum vd_code submit(struct vd_limiter_call *call, struct vd_err *err);

static void on_reserved(void *arg, const struct vd_redis_result *reply)
{
    struct vd_limiter_call *call = arg;
    struct vd_limiter *l = call->limiter;
    struct vd_limiter_result result = {.used = call->used,
                                       .wait_ms = vd_mono_ms() - call->began_mono_ms};
    enum vd_limit_answer said = VD_LIMIT_FENCED;
    struct vd_err err = reply->err;

    call->call = NULL;
    if (err.code == VD_OK)
        (void)!vd_limit_read(reply->replies[0], call->used, call->request.count, &said, &err);
    if (reply->canceled || call->canceled) {
        result.canceled = true;
        answer(call, &result);
        return;
    }
    if (err.code == VD_OK && said == VD_LIMIT_AGAIN && vd_mono_ms() < call->until_mono_ms &&
        submit(call, &err) == VD_OK)
        return;
    if (err.code != VD_OK)
        vd_metric_add(l->conf.metrics, VD_M_REDIS_ERRORS, "", "", 1);
    else if (said == VD_LIMIT_ABSENT && !l->looking)
        vd_timer_start(l->timer, 0, 0); /* noticed before its turn */
    result.known = err.code == VD_OK && (said == VD_LIMIT_RESERVED || said == VD_LIMIT_EXCEEDED);
    result.ok = result.known && said == VD_LIMIT_RESERVED;
    answer(call, &result);
}

static enum vd_code submit(struct vd_limiter_call *call, struct vd_err *err)
{
    int64_t left_ms = call->until_mono_ms - vd_mono_ms();
    struct vd_redis_options options = {.timeout_ms = left_ms > 1 ? (uint32_t)left_ms : 1};

    return vd_limit_reserve(call->limiter->conf.redis, call->limiter->script, &call->request,
                            &options, on_reserved, call, &call->call, err);
}

static struct vd_limiter_call *call_new(struct vd_limiter *l,
                                        const struct vd_limit_request *request, uint32_t timeout_ms)
{
    struct vd_limiter_call *call = vd_alloc(sizeof(*call));

    if (call == NULL)
        return NULL;
    call->limiter = l;
    call->request = *request;
    call->request.prefix = vd_span_of(l->conf.prefix);
    call->began_mono_ms = vd_mono_ms();
    call->until_mono_ms = call->began_mono_ms + timeout_ms;
    call->items = vd_alloc_array(request->count + 1, sizeof(*call->items));
    call->used = vd_alloc_array(request->count + 1, sizeof(*call->used));
    if (call->items == NULL || call->used == NULL) {
        (void)vd_free(call->items);
        (void)vd_free(call->used);
        return vd_free(call);
    }
    if (request->count > 0)
        memcpy(call->items, request->items, request->count * sizeof(*call->items));
    call->request.items = call->items;
    return call;
}

enum vd_code vd_limiter_reserve(struct vd_limiter *l, const struct vd_limit_request *request,
                                uint32_t timeout_ms, vd_limiter_fn *done, void *arg,
                                struct vd_limiter_call **ret_call, struct vd_err *err)
{
    struct vd_limiter_call *call = call_new(l, request, timeout_ms);
    enum vd_code rc;

    if (call == NULL)
        return vd_err_nomem(err, "reservation");
    call->done = done;
    call->arg = arg;
    rc = submit(call, err);
    if (rc != VD_OK) {
        call->done = NULL;
        answer(call, NULL);
        return rc;
    }
    *ret_call = call;
    return VD_OK;
}

void vd_limiter_cancel(struct vd_limiter_call *call)
{
    call->canceled = true;
    vd_redis_cancel(call->call);
}

/* The words of a request that outlive it; false when they are too long, which no id and no key is. */
static bool keep_words(struct vd_limiter_call *call)
{
    struct vd_limit_request *r = &call->request;

    if (r->decision.len >= sizeof(call->words[0]))
        return false;
    memcpy(call->words[0], r->decision.ptr, r->decision.len);
    r->decision.ptr = call->words[0];
    if (r->count == 0)
        return true;
    if (r->count > 1 || call->items->key.len >= sizeof(call->words[1]) ||
        call->items->base.len >= sizeof(call->base))
        return false;
    memcpy(call->words[1], call->items->key.ptr, call->items->key.len);
    memcpy(call->base, call->items->base.ptr, call->items->base.len);
    call->items->key.ptr = call->words[1];
    call->items->base.ptr = call->base;
    call->items->holder = r->decision;
    return true;
}

void vd_limiter_set(struct vd_limiter *l, const struct vd_limit_request *request)
{
    struct vd_limiter_call *call = call_new(l, request, l->conf.timeout_ms);
    struct vd_err err;

    if (call != NULL && (!keep_words(call) || submit(call, &err) != VD_OK))
        answer(call, NULL);
}

/* -- life ------------------------------------------------------------------------------------------------------------ */

enum vd_code vd_limiter_new(const struct vd_limiter_conf *conf, struct vd_limiter **ret_limiter,
                            struct vd_err *err)
{
    struct vd_limiter *l = vd_alloc(sizeof(*l));
    enum vd_code rc;

    if (l == NULL)
        return vd_err_nomem(err, "limits");
    l->conf = *conf;
    (void)snprintf(l->epoch_key, sizeof(l->epoch_key), "%sepoch", conf->prefix);
    rc = vd_limit_script_new(&l->script, err);
    if (rc == VD_OK)
        rc = vd_redis_script_new(vd_span_of(notice_lua), &l->notice, err);
    if (rc == VD_OK && vd_timer_new(conf->loop, look, l, &l->timer) != VD_OK)
        rc = vd_err_nomem(err, "limits");
    if (rc != VD_OK) {
        (void)vd_limiter_free(l);
        return rc;
    }
    *ret_limiter = l;
    return VD_OK;
}

void *vd_limiter_free(struct vd_limiter *l)
{
    if (l == NULL)
        return NULL;
    (void)vd_timer_free(l->timer);
    (void)vd_limit_script_free(l->script);
    (void)vd_redis_script_free(l->notice);
    return vd_free(l);
}

struct vd_limiter_status vd_limiter_status(const struct vd_limiter *l)
{
    struct vd_limiter_status s = {.state = VD_LIMITER_UNUSED};

    if (l == NULL || !l->used)
        return s;
    s.state = !l->known ? VD_LIMITER_UNKNOWN : is_closed(l) ? VD_LIMITER_CLOSED : VD_LIMITER_OPEN;
    s.since_ms = l->since_ms;
    s.until_ms = until_ms(l);
    return s;
}

const char *vd_limiter_state_name(enum vd_limiter_state state)
{
    static const char *const names[] = {"unused", "unknown", "open", "closed"};

    return names[state];
}
