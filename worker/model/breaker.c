/* model/breaker.c - see breaker.h. */
#include "model/breaker.h"

#include <assert.h>

#define OPEN_CAP_MS 60000
#define CUT         0.7
#define START_SHARE 4 /* of max_concurrency */
#define START_LEAST 16.0
#define LEAST       1.0

void vd_breaker_init(struct vd_breaker *b, const struct vd_router_conf *conf)
{
    *b = (struct vd_breaker){
        .state = VD_BREAKER_CLOSED,
        .min = conf->breaker_min,
        .percent = conf->breaker_percent,
        .window_ms = conf->breaker_window_ms,
        .open_ms = conf->breaker_open_ms,
    };
}

bool vd_breaker_allows(struct vd_breaker *b, int64_t now_ms)
{
    if (b->state == VD_BREAKER_OPEN && now_ms >= b->open_until_ms) {
        b->state = VD_BREAKER_HALF_OPEN;
        b->probing = false;
    }
    return b->state == VD_BREAKER_CLOSED || (b->state == VD_BREAKER_HALF_OPEN && !b->probing);
}

bool vd_breaker_begin(struct vd_breaker *b)
{
    assert(b->state != VD_BREAKER_OPEN);
    if (b->state != VD_BREAKER_HALF_OPEN)
        return false;
    b->probing = true;
    return true;
}

void vd_breaker_forget(struct vd_breaker *b, bool probe)
{
    if (probe)
        b->probing = false;
}

static void open_for(struct vd_breaker *b, int64_t now_ms, int64_t for_ms)
{
    b->state = VD_BREAKER_OPEN;
    b->open_until_ms = now_ms + for_ms;
    b->probing = false;
    b->opens++;
}

/* Half of the time is fixed, half is chance, so that workers do not probe together. */
static int64_t open_time(const struct vd_breaker *b, struct vd_prng *prng)
{
    uint64_t ms = b->open_ms;

    for (uint32_t i = 0; i < b->reopened && ms < OPEN_CAP_MS; i++)
        ms *= 2;
    if (ms > OPEN_CAP_MS)
        ms = OPEN_CAP_MS;
    return (int64_t)(ms / 2 + vd_prng_below(prng, ms / 2 + 1));
}

static void forget_window(struct vd_breaker *b)
{
    for (int i = 0; i < VD_BREAKER_BUCKETS; i++)
        b->buckets[i].good = b->buckets[i].bad = 0;
}

static void count(struct vd_breaker *b, bool good, int64_t now_ms)
{
    int64_t part_ms = b->window_ms / VD_BREAKER_BUCKETS > 0 ? b->window_ms / VD_BREAKER_BUCKETS : 1;
    int64_t slot = now_ms / part_ms;
    int at = (int)(slot % VD_BREAKER_BUCKETS);

    for (int i = 0; i < VD_BREAKER_BUCKETS; i++)
        if (b->buckets[i].slot <= slot - VD_BREAKER_BUCKETS ||
            (i == at && b->buckets[i].slot != slot))
            b->buckets[i].good = b->buckets[i].bad = 0;
    b->buckets[at].slot = slot;
    if (good)
        b->buckets[at].good++;
    else
        b->buckets[at].bad++;
}

bool vd_breaker_end(struct vd_breaker *b, bool good, bool probe, int64_t now_ms,
                    struct vd_prng *prng)
{
    uint64_t all = 0, bad = 0;

    if (probe) {
        b->probing = false;
        if (b->state != VD_BREAKER_HALF_OPEN)
            return false; /* tripped meanwhile */
        if (good) {
            b->state = VD_BREAKER_CLOSED;
            b->reopened = 0;
            forget_window(b);
            return false;
        }
        b->reopened++;
        open_for(b, now_ms, open_time(b, prng));
        return true;
    }
    if (b->state != VD_BREAKER_CLOSED)
        return false; /* sent before it opened: known already */
    count(b, good, now_ms);
    for (int i = 0; i < VD_BREAKER_BUCKETS; i++) {
        all += b->buckets[i].good + b->buckets[i].bad;
        bad += b->buckets[i].bad;
    }
    if (all < b->min || bad * 100 < all * b->percent)
        return false;
    open_for(b, now_ms, open_time(b, prng));
    return true;
}

void vd_breaker_trip(struct vd_breaker *b, int64_t now_ms, int64_t for_ms)
{
    open_for(b, now_ms, for_ms);
}

void vd_aimd_init(struct vd_aimd *a, uint32_t max)
{
    double start = (double)max / START_SHARE;

    if (start < START_LEAST)
        start = START_LEAST;
    a->max = max;
    a->limit = start < (double)max ? start : (double)max;
    a->threshold = (double)max;
    a->last_cut_ms = -1;
}

uint32_t vd_aimd_limit(const struct vd_aimd *a)
{
    return (uint32_t)a->limit;
}

void vd_aimd_success(struct vd_aimd *a, uint32_t in_flight)
{
    if ((double)in_flight < a->limit / 2)
        return; /* the limit was not what held it back: it proves nothing */
    a->limit += a->limit < a->threshold ? 1.0 : 1.0 / a->limit;
    if (a->limit > (double)a->max)
        a->limit = (double)a->max;
}

void vd_aimd_congestion(struct vd_aimd *a, int64_t began_ms, int64_t now_ms)
{
    if (began_ms <= a->last_cut_ms)
        return;
    a->last_cut_ms = now_ms;
    a->limit *= CUT;
    if (a->limit < LEAST)
        a->limit = LEAST;
    a->threshold = a->limit;
}
