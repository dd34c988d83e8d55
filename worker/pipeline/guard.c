/* pipeline/guard.c - see guard.h. */
#include "pipeline/guard.h"

#include <string.h>

void vd_guard_init(struct vd_guard *g, const struct vd_guard_conf *conf)
{
    memset(g, 0, sizeof(*g));
    g->conf = *conf;
}

static int64_t step_of(const struct vd_guard *g, int64_t now_ms)
{
    int64_t step_ms = g->conf.window_ms / VD_GUARD_BUCKETS;

    return now_ms / (step_ms > 0 ? step_ms : 1) + 1; /* 0 is an empty bucket's */
}

double vd_guard_ratio(const struct vd_guard *g, int64_t now_ms, uint64_t *ret_outcomes)
{
    int64_t now = step_of(g, now_ms);
    uint64_t outcomes = 0, fallbacks = 0;

    for (size_t i = 0; i < VD_GUARD_BUCKETS; i++) {
        if (g->buckets[i].number == 0 || g->buckets[i].number <= now - VD_GUARD_BUCKETS)
            continue;
        outcomes += g->buckets[i].outcomes;
        fallbacks += g->buckets[i].fallbacks;
    }
    *ret_outcomes = outcomes;
    return outcomes == 0 ? 0 : (double)fallbacks / (double)outcomes;
}

static void count(struct vd_guard *g, int64_t now_ms, bool fallback)
{
    int64_t number = step_of(g, now_ms);
    size_t at = (size_t)(number % VD_GUARD_BUCKETS);

    if (g->buckets[at].number != number) {
        g->buckets[at].number = number;
        g->buckets[at].outcomes = g->buckets[at].fallbacks = 0;
    }
    g->buckets[at].outcomes++;
    g->buckets[at].fallbacks += fallback;
}

static bool probed(struct vd_guard *g, int64_t fetched_ms, bool fallback)
{
    if (fetched_ms <= g->paused_since_ms)
        return false;
    g->round_outcomes++;
    g->round_fallbacks += fallback;
    if ((double)g->round_fallbacks > g->conf.max_ratio * (double)g->round_outcomes)
        return false;
    g->paused = false;
    memset(g->buckets, 0, sizeof(g->buckets));
    return true;
}

bool vd_guard_outcome(struct vd_guard *g, int64_t now_ms, int64_t fetched_ms, bool fallback)
{
    uint64_t outcomes;
    double ratio;

    if (g->paused)
        return probed(g, fetched_ms, fallback);
    count(g, now_ms, fallback);
    ratio = vd_guard_ratio(g, now_ms, &outcomes);
    if (outcomes < g->conf.min_outcomes || ratio <= g->conf.max_ratio)
        return false;
    g->paused = true;
    g->paused_since_ms = now_ms;
    g->paused_at = ratio;
    g->next_round_ms = now_ms + g->conf.probe_ms;
    g->probes_left = 0;
    g->pauses++;
    return true;
}

size_t vd_guard_room(struct vd_guard *g, int64_t now_ms, size_t room)
{
    if (!g->paused)
        return room;
    if (now_ms >= g->next_round_ms) {
        g->next_round_ms = now_ms + g->conf.probe_ms;
        g->probes_left = VD_GUARD_PROBES;
        g->round_outcomes = g->round_fallbacks = 0;
    }
    return room < g->probes_left ? room : g->probes_left;
}

void vd_guard_took(struct vd_guard *g)
{
    if (g->paused && g->probes_left > 0)
        g->probes_left--;
}
