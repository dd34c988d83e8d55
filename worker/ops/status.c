/* ops/status.c - see status.h. */
#include "ops/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "json/json.h"
#include "model/router.h"
#include "ops/group_keys.h"
#include "pipeline/journal.h"
#include "pipeline/limits.h"
#include "pipeline/quota.h"
#include "policy/canary.h"
#include "redis/client.h"

/* -- a tree that never half-fails: a member that cannot be made is left out ----------------------------------------------- */

static void put_text(cJSON *object, const char *key, const char *value)
{
    (void)vd_json_put(object, key,
                      value == NULL ? cJSON_CreateNull() : vd_json_new_string(vd_span_of(value)));
}

static void put_int(cJSON *object, const char *key, int64_t value)
{
    (void)vd_json_put(object, key, vd_json_new_int(value));
}

static void put_bool(cJSON *object, const char *key, bool value)
{
    (void)vd_json_put(object, key, cJSON_CreateBool(value));
}

static cJSON *put_object(cJSON *parent, const char *key)
{
    cJSON *object = cJSON_CreateObject();

    return vd_json_put(parent, key, object) ? object : NULL;
}

static cJSON *put_array(cJSON *parent, const char *key)
{
    cJSON *array = cJSON_CreateArray();

    return vd_json_put(parent, key, array) ? array : NULL;
}

static cJSON *append_object(cJSON *array)
{
    cJSON *object = cJSON_CreateObject();

    return vd_json_append(array, object) ? object : NULL;
}

/* -- parts ------------------------------------------------------------------------------------------------------------- */

static void write_partition(void *arg, const struct vd_kafka_partition *p)
{
    cJSON *o = append_object(arg);

    put_text(o, "topic", p->topic);
    put_int(o, "partition", p->partition);
    put_int(o, "base", p->base);
    put_int(o, "next", p->next);
    put_int(o, "end", p->end);
    put_int(o, "lag", p->lag);
    put_int(o, "span", p->span);
    put_int(o, "in_flight", (int64_t)p->in_flight);
    put_text(o, "paused", p->paused);
    put_text(o, "refused", p->refused);
}

static void write_kafka(const struct vd_status_sources *s, cJSON *root)
{
    struct vd_kafka_status k;
    cJSON *o = put_object(root, "kafka");

    vd_kafka_status(s->kafka, &k);
    put_text(o, "phase", vd_kafka_phase_name(k.phase));
    put_text(o, "trouble", k.trouble);
    put_text(o, "delivery", k.delivery);
    put_text(o, "cluster_id", k.cluster_id);
    put_text(o, "member_id", k.member_id);
    put_text(o, "transactional_id", k.transactional_id);
    put_bool(o, "joined_once", k.joined_once);
    put_bool(o, "brokers_down", k.brokers_down);
    put_int(o, "ready", (int64_t)k.ready);
    put_int(o, "publishing", (int64_t)k.publishing);
    put_int(o, "delivered", (int64_t)k.delivered);
    put_int(o, "committed_records", (int64_t)k.committed_records);
    put_int(o, "skipped_finished", (int64_t)k.skipped_finished);
    put_int(o, "dropped_records", (int64_t)k.dropped_records);
    put_int(o, "transactions", (int64_t)k.transactions);
    put_int(o, "aborts", (int64_t)k.aborts);
    put_int(o, "unknown_results", (int64_t)k.unknown_results);
    put_int(o, "rebuilds", (int64_t)k.rebuilds);
    put_int(o, "last_commit_us", k.last_commit_took_us);
    vd_kafka_partitions(s->kafka, write_partition, put_array(root, "partitions"));
}

static void write_redis(const struct vd_status_sources *s, cJSON *root)
{
    static const char *const states[] = {"waiting to retry", "resolving", "connecting", "greeting",
                                         "up"};
    struct vd_redis_status r;
    cJSON *o = put_object(root, "redis");

    if (s->redis == NULL) {
        put_text(o, "state", "not configured");
        return;
    }
    r = vd_redis_status(s->redis);
    put_text(o, "state", states[r.state]);
    put_text(o, "address", r.address);
    put_text(o, "reason", r.reason);
    put_int(o, "in_flight", r.in_flight);
    put_int(o, "waiting", r.waiting);
    put_int(o, "commands", (int64_t)r.commands);
    put_int(o, "timeouts", (int64_t)r.timeouts);
    put_int(o, "reconnects", (int64_t)r.reconnects);
    put_bool(o, "keys_shared", vd_group_keys_shared(s->keys));
}

/* What committed decisions still have to change in Redis. */
static void write_effects(const struct vd_status_sources *s, cJSON *root)
{
    struct vd_effects_status e = vd_pipeline_status(s->pipeline).effects;
    cJSON *o = put_object(root, "changes");

    put_int(o, "storing", (int64_t)e.storing);
    put_int(o, "applying", (int64_t)e.applying);
    put_int(o, "recovering_partitions", (int64_t)e.recovering);
    put_int(o, "oldest_ms", e.oldest_mono_ms == 0 ? 0 : vd_mono_ms() - e.oldest_mono_ms);
    put_text(o, "trouble", e.trouble);
    put_int(o, "applied", (int64_t)e.applied);
    put_int(o, "recovered", (int64_t)e.recovered);
    put_int(o, "stale", (int64_t)e.stale);
    put_int(o, "redis_emptied", (int64_t)e.emptied);
}

static void write_journal(const struct vd_status_sources *s, cJSON *root)
{
    struct vd_journal_status j;
    cJSON *o = put_object(root, "journal");

    if (s->journal == NULL) {
        put_text(o, "state", "off");
        return;
    }
    j = vd_journal_status(s->journal);
    put_text(o, "state", j.away ? "away: reasoning goes on without it" : "on");
    put_int(o, "orphaned", j.orphaned);
    for (int i = 0; i < VD_JOURNAL_EVENT_COUNT; i++)
        put_int(o, vd_journal_event_name((enum vd_journal_event)i), (int64_t)j.events[i]);
}

static void put_time(cJSON *object, const char *key, bool known, int64_t wall_ms)
{
    char text[VD_RFC3339_SIZE];

    vd_rfc3339_format(wall_ms, text);
    put_text(object, key, known ? text : NULL);
}

static void write_limits(const struct vd_status_sources *s, cJSON *root)
{
    struct vd_limiter_status l = vd_limiter_status(s->limiter);
    cJSON *o = put_object(root, "limits");

    put_text(o, "state", vd_limiter_state_name(l.state));
    put_time(o, "closed_since", l.state == VD_LIMITER_CLOSED, l.since_ms);
    put_time(o, "closed_until", l.state == VD_LIMITER_CLOSED, l.until_ms);
}

static void write_quota(const struct vd_status_sources *s, size_t model,
                        const struct vd_router_status *m, cJSON *parent)
{
    struct vd_quota_status q = vd_quota_status(s->quota, model);
    cJSON *o;

    if (q.limits == NULL)
        return;
    o = put_object(parent, "quota");
    put_int(o, "requests_per_minute", q.limits->requests_per_minute);
    put_int(o, "tokens_per_minute", q.limits->tokens_per_minute);
    put_int(o, "cost_microusd_per_hour", q.limits->cost_microusd_per_hour);
    put_text(o, "counted", q.alone ? "by this worker alone: Redis is away" : "for the group");
    put_int(o, "granted", (int64_t)q.granted);
    put_int(o, "refused", (int64_t)q.refused);
    put_int(o, "denied", (int64_t)m->quota_denied);
    put_int(o, "wait_ms", m->quota_wait_ms);
    put_int(o, "waited_ms", (int64_t)m->quota_ms);
}

static void write_models(const struct vd_status_sources *s, cJSON *root)
{
    cJSON *list = put_array(root, "models");

    for (size_t i = 0; s->router != NULL && i < vd_router_model_count(s->router); i++) {
        struct vd_router_status m = vd_router_status(s->router, i);
        cJSON *o = append_object(list);

        put_text(o, "name", m.name);
        put_text(o, "breaker", vd_breaker_state_name(m.breaker));
        put_int(o, "open_for_ms", m.open_for_ms);
        put_bool(o, "quota_exhausted", m.quota_exhausted);
        put_bool(o, "key_missing", m.key_missing);
        put_int(o, "in_flight", m.in_flight);
        put_int(o, "queued", m.queued);
        put_int(o, "concurrency", m.concurrency);
        put_int(o, "max_concurrency", m.max_concurrency);
        put_int(o, "calls", (int64_t)m.calls);
        put_int(o, "retries", (int64_t)m.retries);
        put_int(o, "cost_microusd", (int64_t)m.cost_microusd);
        put_text(o, "last_error", m.last_error);
        write_quota(s, i, &m, o);
    }
}

static void write_policies(const struct vd_status_sources *s, cJSON *root)
{
    cJSON *list = put_array(root, "policies");

    for (size_t i = 0; i < vd_policy_set_count(s->policies); i++) {
        const struct vd_policy *p = vd_policy_set_get(s->policies, i);
        cJSON *o = append_object(list);

        put_text(o, "id", p->id);
        put_int(o, "version", p->version);
        put_text(o, "hash", p->hash_hex);
        put_text(o, "mode", vd_mode_name(p->mode));
        if (p->candidate != NULL)
            (void)vd_json_put(o, "canary_percent",
                              vd_json_new_double((double)p->canary_share * 100 / VD_CANARY_SHARES));
        put_text(o, "file", p->file);
    }
}

static void write_pipeline(const struct vd_status_sources *s, cJSON *root)
{
    struct vd_pipeline_status p = vd_pipeline_status(s->pipeline);
    cJSON *o = put_object(root, "work");

    put_int(o, "in_flight", (int64_t)p.in_flight);
    put_int(o, "in_flight_limit", (int64_t)s->inflight_limit);
    put_int(o, "uncommitted", (int64_t)p.uncommitted);
    put_int(o, "waiting_key", (int64_t)p.waiting_key);
    put_int(o, "waiting_redis", (int64_t)p.waiting_redis);
    put_int(o, "waiting_model", (int64_t)p.waiting_model);
    put_int(o, "waiting_outage", (int64_t)p.waiting_outage);
    put_int(o, "oldest_age_ms", p.oldest_age_ms);
    put_int(o, "records", (int64_t)p.records);
    put_int(o, "settled", (int64_t)p.settled);
    put_int(o, "committed", (int64_t)p.committed);
    put_bool(o, "kill_switch", p.models_stopped);
    put_bool(o, "intake_paused", p.intake_paused);
    (void)vd_json_put(o, "fallback_ratio", vd_json_new_double(p.fallback_ratio));
    put_int(o, "outcomes", (int64_t)p.outcomes);
}

/* -- why nothing moves --------------------------------------------------------------------------------------------------- */

static size_t models_down(const struct vd_router *router, const char **ret_why)
{
    size_t down = 0;

    for (size_t i = 0; i < vd_router_model_count(router); i++) {
        struct vd_router_status m = vd_router_status(router, i);

        if (m.breaker == VD_BREAKER_CLOSED && !m.quota_exhausted && !m.key_missing)
            continue;
        down++;
        *ret_why = m.quota_exhausted ? "quota exhausted"
                   : m.key_missing   ? "no API key"
                                     : m.last_error;
    }
    return down;
}

void vd_status_reason(const struct vd_status_sources *s, char *out, size_t size)
{
    struct vd_kafka_status k;
    struct vd_pipeline_status p = vd_pipeline_status(s->pipeline);
    struct vd_limiter_status limits = vd_limiter_status(s->limiter);
    char until[VD_RFC3339_SIZE];
    const char *why = "";

    out[0] = '\0';
    vd_rfc3339_format(limits.until_ms, until);
    vd_kafka_status(s->kafka, &k);
    if (k.trouble[0] != '\0')
        (void)snprintf(out, size, "kafka: %s", k.trouble);
    else if (s->redis != NULL && vd_redis_status(s->redis).state != VD_REDIS_UP)
        (void)snprintf(out, size, "redis: %s", vd_redis_status(s->redis).reason);
    else if (p.intake_paused)
        (void)snprintf(out, size,
                       "fallbacks: %d %% of decisions; intake is paused "
                       "(worker.max_fallback_ratio), a few events at a time try again",
                       (int)(p.fallback_ratio * 100));
    else if (p.effects.trouble[0] != '\0')
        (void)snprintf(out, size, "redis: %s", p.effects.trouble);
    else if (p.models_stopped)
        (void)snprintf(out, size, "kill switch: no model is asked");
    else if (s->router != NULL && models_down(s->router, &why) == vd_router_model_count(s->router))
        (void)snprintf(out, size, "models: none can be asked (%s)", why);
    else if (p.uncommitted > 0 && p.in_flight == 0 && k.last_commit_mono_ms > 0 &&
             vd_mono_ms() - k.last_commit_mono_ms > 5000)
        (void)snprintf(out, size, "commit: the last one was %" PRId64 " ms ago",
                       vd_mono_ms() - k.last_commit_mono_ms);
    else if (limits.state == VD_LIMITER_CLOSED)
        (void)snprintf(out, size, "limits: closed until %s, Redis had lost what was reserved",
                       until);
    else if (p.in_flight - p.immovable >= s->inflight_limit)
        (void)snprintf(out, size, "in flight: at worker.max_in_flight");
}

enum vd_code vd_status_write(const struct vd_status_sources *s, struct vd_buf *out)
{
    cJSON *root = cJSON_CreateObject();
    char why[256];

    vd_status_reason(s, why, sizeof(why));
    put_text(root, "version", VD_VERSION);
    put_text(root, "worker", s->worker);
    put_int(root, "uptime_ms", vd_mono_ms() - s->started_mono_ms);
    put_bool(root, "draining", s->draining);
    put_text(root, "waiting_for", why);
    put_text(root, "librdkafka", vd_kafka_library_version());
    write_pipeline(s, root);
    write_kafka(s, root);
    write_redis(s, root);
    write_effects(s, root);
    write_journal(s, root);
    write_limits(s, root);
    write_models(s, root);
    write_policies(s, root);
    (void)vd_json_write(out, root);
    (void)vd_json_free(root);
    return out->failed;
}

/* -- gauges --------------------------------------------------------------------------------------------------------------- */

struct partition_sums {
    struct vd_metrics *metrics;
    struct {
        const char *topic;
        double backlog;
    } topics[64];
    size_t topic_count;
    unsigned running, paused, refused;
};

static void sum_partition(void *arg, const struct vd_kafka_partition *p)
{
    struct partition_sums *sums = arg;
    size_t i = 0;

    sums->refused += p->refused != NULL;
    sums->paused += p->refused == NULL && p->paused != NULL;
    sums->running += p->refused == NULL && p->paused == NULL;
    while (i < sums->topic_count && strcmp(sums->topics[i].topic, p->topic) != 0)
        i++;
    if (i == sizeof(sums->topics) / sizeof(sums->topics[0]))
        return;
    if (i == sums->topic_count) {
        sums->topics[i].topic = p->topic;
        sums->topics[i].backlog = 0;
        sums->topic_count++;
    }
    if (p->lag > 0)
        sums->topics[i].backlog += (double)p->lag;
}

void vd_status_gauges(const struct vd_status_sources *s)
{
    struct partition_sums sums = {.metrics = s->metrics};
    struct vd_pipeline_status p = vd_pipeline_status(s->pipeline);
    struct vd_metrics *m = s->metrics;
    struct vd_kafka_status k;
    const char *why = "";

    vd_kafka_status(s->kafka, &k);
    vd_metric_zero(m, VD_M_BACKLOG);
    vd_kafka_partitions(s->kafka, sum_partition, &sums);
    for (size_t i = 0; i < sums.topic_count; i++)
        vd_metric_set(m, VD_M_BACKLOG, sums.topics[i].topic, "", "", sums.topics[i].backlog);
    vd_metric_set(m, VD_M_PARTITIONS, "running", "", "", sums.running);
    vd_metric_set(m, VD_M_PARTITIONS, "paused", "", "", sums.paused);
    vd_metric_set(m, VD_M_PARTITIONS, "refused", "", "", sums.refused);
    vd_metric_set(m, VD_M_OLDEST_AGE, "", "", "", (double)p.oldest_age_ms / 1000);
    vd_metric_set(m, VD_M_INFLIGHT, "", "", "", (double)p.in_flight);
    vd_metric_set(m, VD_M_INFLIGHT_LIMIT, "", "", "", (double)s->inflight_limit);
    vd_metric_set(m, VD_M_INTAKE_PAUSED, "", "", "", p.intake_paused ? 1 : 0);
    vd_metric_set(m, VD_M_UNCOMMITTED, "", "", "", (double)p.uncommitted);
    vd_metric_set(m, VD_M_UP, "kafka", "", "", k.brokers_down ? 0 : 1);
    if (s->redis != NULL)
        vd_metric_set(m, VD_M_UP, "redis", "", "",
                      vd_redis_status(s->redis).state == VD_REDIS_UP ? 1 : 0);
    if (s->router != NULL)
        vd_metric_set(m, VD_M_UP, "model", "", "",
                      models_down(s->router, &why) < vd_router_model_count(s->router) ? 1 : 0);
    vd_metric_zero(m, VD_M_POLICY_INFO);
    for (size_t i = 0; i < vd_policy_set_count(s->policies); i++) {
        const struct vd_policy *policy = vd_policy_set_get(s->policies, i);
        char version[24];

        (void)snprintf(version, sizeof(version), "%" PRId64, policy->version);
        vd_metric_set(m, VD_M_POLICY_INFO, policy->id, version, policy->hash_hex, 1);
    }
}
