/* pipeline/quota.c - see quota.h. */
#include "pipeline/quota.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/log.h"
#include "loop/loop.h"
#include "redis/client.h"

#define LIMITS      3
#define MINUTE_US   60000000.0
#define HOUR_US     3600000000.0
#define SLACK_US    50.0 /* N times period/N is the period but for rounding */
#define SAY_MS      60000
#define NUMBER_SIZE 40

/* One limit of one model. */
struct limit {
    const char *field;
    double each_us; /* one unit keeps the bucket busy so long; 0: unlimited */
    double burst_us;
    double
        full_us; /* this worker's own count: when the bucket is full again, on the loop's clock */
};

struct model {
    char *key;
    struct vd_quota_limits conf;
    struct limit limits[LIMITS];
    bool limited;
    uint64_t granted, refused;
};

struct reservation {
    TAILQ_ENTRY(reservation) link;
    struct vd_quota *quota;
    size_t model;
    struct vd_router_use use;
    vd_router_admit_fn *done; /* NULL: canceled */
    void *arg;
};

TAILQ_HEAD(reservations, reservation);

struct vd_quota {
    struct vd_loop *loop;
    struct vd_redis *redis;
    uint32_t timeout_ms;
    struct model *models;
    size_t model_count;
    struct vd_redis_script *reserve, *correct;
    struct reservations deferred; /* answered by this worker's own count on the next turn */
    struct vd_timer *soon;
    bool alone;
    struct vd_log_every said;
};

/* ARGV: four for each limit: field, microseconds a unit, microseconds of burst, units. */
static const char reserve_text[] =
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000000 + t[2]\n"
    "local set, wait, each, last = {}, 0, 0, now\n"
    "for i = 1, #ARGV, 4 do\n"
    "  local full = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0)\n"
    "  local burst, cost = tonumber(ARGV[i + 2]), ARGV[i + 1] * ARGV[i + 3]\n"
    "  if cost > burst + 50 then return {-1, 0} end\n"
    "  full = math.max(full, now) + cost\n"
    "  if full - now - burst > math.max(wait, 50) then\n"
    "    wait = full - now - burst\n"
    "    each = cost\n"
    "  end\n"
    "  set[#set + 1] = ARGV[i]\n"
    "  set[#set + 1] = string.format('%.3f', full)\n"
    "  last = math.max(last, full)\n"
    "end\n"
    "if wait > 0 then return {math.ceil(wait), math.ceil(each)} end\n"
    "redis.call('HSET', KEYS[1], unpack(set))\n"
    "redis.call('PEXPIRE', KEYS[1], math.ceil((last - now) / 1000) + 1000)\n"
    "return {0, 0}\n";

/* ARGV: three for each limit: field, microseconds a unit, units more (or less) than were reserved. */
static const char correct_text[] =
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000000 + t[2]\n"
    "local last = now\n"
    "for i = 1, #ARGV, 3 do\n"
    "  local full = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0)\n"
    "  full = math.max(full, now) + ARGV[i + 1] * ARGV[i + 2]\n"
    "  redis.call('HSET', KEYS[1], ARGV[i], string.format('%.3f', full))\n"
    "  last = math.max(last, full)\n"
    "end\n"
    "redis.call('PEXPIRE', KEYS[1], math.ceil((last - now) / 1000) + 1000)\n"
    "return 0\n";

static void units_of(const struct vd_router_use *use, double out[LIMITS])
{
    out[0] = (double)use->requests;
    out[1] = (double)use->tokens;
    out[2] = (double)use->cost_microusd;
}

/* -- this worker's own count ---------------------------------------------------------------------------------------- */

static double now_us(const struct vd_quota *q)
{
    return (double)vd_loop_now_ms(q->loop) * 1000.0;
}

static struct vd_router_admission in_ms(double wait_us, double each_us)
{
    return (struct vd_router_admission){(int64_t)ceil(wait_us / 1000.0),
                                        (int64_t)ceil(each_us / 1000.0)};
}

/* The script's arithmetic. */
static struct vd_router_admission reserve_alone(struct vd_quota *q, struct model *m,
                                                const struct vd_router_use *use)
{
    double units[LIMITS], wait = 0, each = 0, now = now_us(q);

    units_of(use, units);
    for (size_t i = 0; i < LIMITS; i++) {
        const struct limit *l = &m->limits[i];
        double cost = units[i] * l->each_us, late;

        if (l->each_us <= 0)
            continue;
        if (cost > l->burst_us + SLACK_US)
            return (struct vd_router_admission){-1, 0};
        late = fmax(l->full_us, now) + cost - now - l->burst_us;
        if (late > fmax(wait, SLACK_US)) {
            wait = late;
            each = cost;
        }
    }
    if (wait > 0)
        return in_ms(wait, each);
    for (size_t i = 0; i < LIMITS; i++)
        m->limits[i].full_us = fmax(m->limits[i].full_us, now) + units[i] * m->limits[i].each_us;
    return (struct vd_router_admission){0, 0};
}

static void correct_alone(struct vd_quota *q, struct model *m, const double more[LIMITS])
{
    double now = now_us(q);

    for (size_t i = 0; i < LIMITS; i++)
        m->limits[i].full_us = fmax(m->limits[i].full_us, now) + more[i] * m->limits[i].each_us;
}

/* -- answering ------------------------------------------------------------------------------------------------------- */

static void give_back(struct vd_quota *q, size_t model, const struct vd_router_use *use);

static void answer(struct reservation *r, const struct vd_router_admission *a)
{
    struct model *m = &r->quota->models[r->model];

    if (r->done == NULL) {
        if (a->wait_ms == 0)
            give_back(r->quota, r->model, &r->use);
    } else {
        m->granted += a->wait_ms == 0;
        m->refused += a->wait_ms != 0;
        r->done(r->arg, a);
    }
    (void)vd_free(r);
}

static void answer_alone(struct reservation *r, const char *why)
{
    struct vd_quota *q = r->quota;
    struct vd_router_admission a = reserve_alone(q, &q->models[r->model], &r->use);
    uint64_t missed;

    q->alone = true;
    if (q->redis != NULL && vd_log_due(&q->said, SAY_MS, &missed))
        vd_log(VD_WARN, "quota.alone", VD_F_STR("why", why),
               VD_F_STR("note", "this worker holds itself to the group's quotas by its own count"));
    answer(r, &a);
}

static void on_soon(void *arg)
{
    struct vd_quota *q = arg;
    struct reservations now = TAILQ_HEAD_INITIALIZER(now);
    struct reservation *r;

    TAILQ_CONCAT(&now, &q->deferred, link);
    while ((r = TAILQ_FIRST(&now)) != NULL) {
        TAILQ_REMOVE(&now, r, link);
        answer_alone(r, "Redis is away");
    }
}

static void on_reserved(void *arg, const struct vd_redis_result *result)
{
    struct reservation *r = arg;
    const struct vd_redis_reply *reply = result->err.code == VD_OK ? result->replies[0] : NULL;
    struct vd_router_admission a;

    if (result->canceled) { /* Redis is being freed: the router has gone before */
        assert(r->done == NULL);
        (void)vd_free(r);
        return;
    }
    if (reply == NULL || reply->kind != VD_REDIS_ARRAY || reply->count != 2 ||
        reply->items[0]->kind != VD_REDIS_INT || reply->items[1]->kind != VD_REDIS_INT) {
        answer_alone(r, reply == NULL ? result->err.msg : "Redis refuses the script");
        return;
    }
    if (r->quota->alone)
        vd_log(VD_INFO, "quota.together", VD_F_STR("model", r->quota->models[r->model].key));
    r->quota->alone = false;
    r->quota->said = (struct vd_log_every){0};
    if (reply->items[0]->i < 0)
        a = (struct vd_router_admission){-1, 0};
    else
        a = in_ms((double)reply->items[0]->i, (double)reply->items[1]->i);
    answer(r, &a);
}

/* -- hooks ------------------------------------------------------------------------------------------------------------ */

static bool redis_may_answer(const struct vd_quota *q)
{
    struct vd_redis_status s;

    if (q->redis == NULL)
        return false;
    s = vd_redis_status(q->redis);
    return s.state == VD_REDIS_UP || s.failures == 0;
}

struct words {
    struct vd_span args[4 * LIMITS];
    size_t count;
    char numbers[3 * LIMITS][NUMBER_SIZE];
    size_t number_count;
};

static void add_number(struct words *w, double v)
{
    char *out = w->numbers[w->number_count++];

    (void)snprintf(out, NUMBER_SIZE, "%.17g", v);
    w->args[w->count++] = vd_span_of(out);
}

static enum vd_code submit_reserve(struct vd_quota *q, struct reservation *r)
{
    struct model *m = &q->models[r->model];
    struct vd_redis_options options = {.timeout_ms = q->timeout_ms};
    struct vd_span key = vd_span_of(m->key);
    struct words w = {.count = 0};
    double units[LIMITS];

    units_of(&r->use, units);
    for (size_t i = 0; i < LIMITS; i++) {
        if (m->limits[i].each_us <= 0)
            continue;
        w.args[w.count++] = vd_span_of(m->limits[i].field);
        add_number(&w, m->limits[i].each_us);
        add_number(&w, m->limits[i].burst_us);
        add_number(&w, units[i]);
    }
    return vd_redis_eval(q->redis, q->reserve, &key, 1, w.args, w.count, &options, on_reserved, r,
                         NULL, NULL);
}

static bool hook_limited(void *arg, size_t model)
{
    const struct vd_quota *q = arg;

    return model < q->model_count && q->models[model].limited;
}

static enum vd_code hook_reserve(void *arg, size_t model, const struct vd_router_use *use,
                                 vd_router_admit_fn *done, void *done_arg, void **ret_handle)
{
    struct vd_quota *q = arg;
    struct reservation *r = vd_alloc(sizeof(*r));

    if (r == NULL)
        return VD_E_NOMEM;
    *r = (struct reservation){
        .quota = q, .model = model, .use = *use, .done = done, .arg = done_arg};
    if (!redis_may_answer(q) || submit_reserve(q, r) != VD_OK) {
        TAILQ_INSERT_TAIL(&q->deferred, r, link);
        vd_timer_start(q->soon, 0, 0);
    }
    *ret_handle = r;
    return VD_OK;
}

static void hook_cancel(void *arg, void *handle)
{
    struct reservation *r = handle;

    (void)arg;
    r->done = NULL;
}

static void on_corrected(void *arg, const struct vd_redis_result *result)
{
    (void)arg; /* the estimate stays where it is not: it was above the truth */
    (void)result;
}

static void correct(struct vd_quota *q, size_t model, const double more[LIMITS])
{
    struct model *m = &q->models[model];
    struct vd_redis_options options = {.timeout_ms = q->timeout_ms};
    struct vd_span key = vd_span_of(m->key);
    struct words w = {.count = 0};

    if (q->alone || !redis_may_answer(q)) {
        correct_alone(q, m, more);
        return;
    }
    for (size_t i = 0; i < LIMITS; i++) {
        if (m->limits[i].each_us <= 0 || more[i] == 0)
            continue;
        w.args[w.count++] = vd_span_of(m->limits[i].field);
        add_number(&w, m->limits[i].each_us);
        add_number(&w, more[i]);
    }
    if (w.count > 0)
        (void)!vd_redis_eval(q->redis, q->correct, &key, 1, w.args, w.count, &options, on_corrected,
                             q, NULL, NULL);
}

static void give_back(struct vd_quota *q, size_t model, const struct vd_router_use *use)
{
    double more[LIMITS];

    units_of(use, more);
    for (size_t i = 0; i < LIMITS; i++)
        more[i] = -more[i];
    correct(q, model, more);
}

static void hook_correct(void *arg, size_t model, const struct vd_router_use *reserved,
                         const struct vd_router_use *used)
{
    double was[LIMITS], is[LIMITS];

    units_of(reserved, was);
    units_of(used, is);
    for (size_t i = 0; i < LIMITS; i++)
        is[i] -= was[i];
    correct(arg, model, is);
}

struct vd_router_quota vd_quota_hooks(struct vd_quota *quota)
{
    return (struct vd_router_quota){hook_limited, hook_reserve, hook_cancel, hook_correct, quota};
}

/* -- life ------------------------------------------------------------------------------------------------------------ */

static struct limit limit_of(const char *field, int64_t most, double period_us)
{
    return (struct limit){
        .field = field, .each_us = most > 0 ? period_us / (double)most : 0, .burst_us = period_us};
}

static bool set_up(struct model *m, const char *prefix, const struct vd_quota_model *conf)
{
    struct vd_buf key;

    m->conf = conf->limits;
    m->limits[0] = limit_of("requests", conf->limits.requests_per_minute, MINUTE_US);
    m->limits[1] = limit_of("tokens", conf->limits.tokens_per_minute, MINUTE_US);
    m->limits[2] = limit_of("cost", conf->limits.cost_microusd_per_hour, HOUR_US);
    for (size_t i = 0; i < LIMITS; i++)
        m->limited = m->limited || m->limits[i].each_us > 0;
    vd_buf_init(&key, 1024);
    (void)vd_buf_addf(&key, "%squota:%s", prefix, conf->name);
    m->key = vd_buf_take(&key, NULL);
    return m->key != NULL;
}

enum vd_code vd_quota_new(struct vd_loop *loop, const struct vd_quota_conf *conf,
                          struct vd_quota **ret_quota, struct vd_err *err)
{
    struct vd_quota *q = vd_alloc(sizeof(*q));
    bool ok = q != NULL;

    if (ok) {
        q->loop = loop;
        q->redis = conf->redis;
        q->timeout_ms = conf->timeout_ms;
        TAILQ_INIT(&q->deferred);
        q->models = vd_alloc_array(conf->model_count, sizeof(*q->models));
        ok = q->models != NULL && vd_timer_new(loop, on_soon, q, &q->soon) == VD_OK &&
             vd_redis_script_new(vd_span_of(reserve_text), &q->reserve, NULL) == VD_OK &&
             vd_redis_script_new(vd_span_of(correct_text), &q->correct, NULL) == VD_OK;
    }
    for (size_t i = 0; ok && i < conf->model_count; i++) {
        ok = set_up(&q->models[i], conf->prefix, &conf->models[i]);
        q->model_count += ok;
    }
    if (!ok) {
        (void)vd_quota_free(q);
        return vd_err_nomem(err, "quota");
    }
    *ret_quota = q;
    return VD_OK;
}

void *vd_quota_free(struct vd_quota *q)
{
    struct reservation *r;

    if (q == NULL)
        return NULL;
    while ((r = TAILQ_FIRST(&q->deferred)) != NULL) {
        assert(r->done == NULL); /* the router has gone before */
        TAILQ_REMOVE(&q->deferred, r, link);
        (void)vd_free(r);
    }
    for (size_t i = 0; i < q->model_count; i++)
        (void)vd_free(q->models[i].key);
    (void)vd_free(q->models);
    (void)vd_redis_script_free(q->reserve);
    (void)vd_redis_script_free(q->correct);
    (void)vd_timer_free(q->soon);
    return vd_free(q);
}

struct vd_quota_status vd_quota_status(const struct vd_quota *q, size_t model)
{
    const struct model *m = &q->models[model];

    return (struct vd_quota_status){
        .limits = m->limited ? &m->conf : NULL,
        .alone = q->alone || q->redis == NULL,
        .granted = m->granted,
        .refused = m->refused,
    };
}
