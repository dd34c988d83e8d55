/* ops/worker.c - see worker.h. */
#include "ops/worker.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "loop/loop.h"
#include "model/router.h"
#include "ops/admin.h"
#include "ops/group_keys.h"
#include "ops/reload.h"
#include "ops/status.h"
#include "pipeline/journal.h"
#include "pipeline/limits.h"
#include "pipeline/pipeline.h"
#include "redis/client.h"

#define TICK_MS          250
#define REASON_EVERY_MS  10000 /* how often the log repeats why nothing moves */
#define STOP_DEADLINE_MS 5000
#define FLUSH_LIMIT_MS                                                                             \
    2000 /* what is committed and not changed by then is left to the next owner */
#define FLUSH_TICK_MS    10
#define STATUS_MAX_BYTES (4u << 20)
#define MAX_MODELS       64

enum phase { STARTING, RUNNING, DRAINING, STOPPING, FLUSHING, ENDED };

struct vd_worker {
    const struct vd_settings *settings;
    struct vd_worker_options options;
    struct vd_metrics *metrics;
    struct vd_policy_set *policies;
    struct vd_loop *loop;
    struct vd_timer *tick;
    struct vd_timer *drain_timer, *flush_timer;
    int64_t flush_deadline_mono_ms;
    struct vd_wakeup *stop_wakeup;
    struct vd_redis *redis;
    struct vd_router *router;
    struct vd_tool_hosts *tool_hosts;
    struct vd_kafka *kafka;
    struct vd_pipeline *pipeline;
    struct vd_admin *admin;
    struct vd_event_reader **readers;
    struct vd_pipeline_topic *topics;
    char **output_topics;
    size_t output_topic_count;
    size_t default_models[MAX_MODELS];
    size_t default_model_count;
    struct vd_group_keys *keys;
    struct vd_journal *journal;
    struct vd_limiter *limiter;
    struct vd_quota *quota; /* NULL: no models */
    enum phase phase;
    bool reloading;
    bool redis_keeps; /* it must not evict */
    atomic_uint stop_requests;
    atomic_bool ready;
    int64_t started_mono_ms;
    char noticed[256]; /* the reason at the last tick */
    char said[256];    /* the reason last logged */
    struct vd_log_every said_every;
    uint64_t seen_transactions, seen_aborts, seen_unknown;
    struct vd_err fatal;
    bool failed;
};

/* -- ending ------------------------------------------------------------------------------------------------------------- */

/* Kafka is done; the changes of the last commits may still be on their way to Redis. */
static void on_flush(void *arg)
{
    struct vd_worker *w = arg;

    if (!vd_pipeline_idle(w->pipeline) && vd_mono_ms() < w->flush_deadline_mono_ms)
        return;
    vd_timer_stop(w->flush_timer);
    w->phase = ENDED;
    vd_loop_stop(w->loop);
}

static void on_kafka_stopped(void *arg)
{
    struct vd_worker *w = arg;

    w->phase = FLUSHING;
    w->flush_deadline_mono_ms = vd_mono_ms() + FLUSH_LIMIT_MS;
    vd_timer_start(w->flush_timer, FLUSH_TICK_MS, FLUSH_TICK_MS);
    on_flush(w);
}

static void stop_kafka(struct vd_worker *w)
{
    if (w->phase >= STOPPING)
        return;
    w->phase = STOPPING;
    vd_timer_stop(w->drain_timer);
    vd_kafka_stop(w->kafka, STOP_DEADLINE_MS, on_kafka_stopped, w);
}

static void on_drain_timeout(void *arg)
{
    struct vd_worker *w = arg;
    struct vd_pipeline_status p = vd_pipeline_status(w->pipeline);

    vd_log(VD_WARN, "worker.drain_timeout", VD_F_INT("unfinished", (int64_t)p.in_flight),
           VD_F_STR("note", "they are decided again after the restart"));
    stop_kafka(w);
}

static void begin_drain(struct vd_worker *w)
{
    if (w->phase >= DRAINING) {
        stop_kafka(w);
        return;
    }
    w->phase = DRAINING;
    vd_log(VD_INFO, "worker.draining",
           VD_F_INT("in_flight", (int64_t)vd_pipeline_status(w->pipeline).in_flight),
           VD_F_INT("timeout_ms", w->settings->drain_timeout_ms));
    vd_kafka_drain(w->kafka);
    vd_timer_start(w->drain_timer, (uint64_t)w->settings->drain_timeout_ms, 0);
}

static void on_fatal(void *arg, const struct vd_err *err)
{
    struct vd_worker *w = arg;

    if (w->failed)
        return;
    w->failed = true;
    w->fatal = *err;
    vd_log(VD_ERROR, "worker.fatal", VD_F_STR("code", vd_code_name(err->code)),
           VD_F_STR("error", err->msg));
    stop_kafka(w);
}

static void on_stop_wakeup(void *arg)
{
    struct vd_worker *w = arg;
    unsigned n = atomic_exchange(&w->stop_requests, 0);

    while (n-- > 0)
        begin_drain(w);
}

void vd_worker_stop(struct vd_worker *w)
{
    atomic_fetch_add(&w->stop_requests, 1);
    vd_wakeup_send(w->stop_wakeup);
}

/* -- reload --------------------------------------------------------------------------------------------------------------- */

static void log_diags(const struct vd_diags *diags)
{
    for (size_t i = 0; i < diags->count; i++)
        vd_log(diags->items[i].level == VD_DIAG_ERROR ? VD_ERROR : VD_WARN, "policy.problem",
               VD_F_STR("file", diags->items[i].file), VD_F_INT("line", diags->items[i].line),
               VD_F_STR("what", diags->items[i].what));
}

static void on_setting_changed(void *arg, const struct vd_conf_row *row)
{
    (void)arg;
    if ((row->flags & VD_CONF_RELOAD) == 0)
        vd_log(VD_WARN, "settings.needs_restart", VD_F_STR("setting", row->name));
}

/* What may change while running is applied; for the rest the operator hears that it waits for a restart. */
static void apply_settings(const struct vd_worker *w, const struct vd_settings *now)
{
    vd_settings_diff(w->settings, now, on_setting_changed, NULL);
    vd_log_set_level((enum vd_log_level)now->log_level);
}

static void on_tick(void *arg);

static void on_reloaded(void *arg, const struct vd_reload_result *result)
{
    struct vd_worker *w = arg;
    bool ok = result->rc == VD_OK;

    log_diags(result->diags);
    if (ok && result->settings != NULL)
        apply_settings(w, result->settings);
    if (ok) {
        vd_pipeline_set_policies(w->pipeline, result->take_next);
        (void)vd_policy_set_release(w->policies);
        w->policies = result->take_next;
        vd_log(VD_INFO, "policy.reloaded",
               VD_F_INT("policies", (int64_t)vd_policy_set_count(w->policies)));
    } else {
        vd_log(VD_ERROR, "policy.reload_refused", VD_F_STR("error", result->err->msg),
               VD_F_STR("note", "the running policies stay"));
    }
    w->reloading = false;
    on_tick(w); /* who sees the reload counted sees the new policies too */
    vd_metric_add(w->metrics, VD_M_POLICY_RELOADS, ok ? "swapped" : "refused", "", 1);
    if (w->phase == ENDED)
        vd_loop_stop(w->loop);
}

static void begin_reload(struct vd_worker *w)
{
    struct vd_reload_conf conf = {
        .settings = w->settings,
        .running = w->policies,
        .output_topics = (const char *const *)w->output_topics,
        .output_topic_count = w->output_topic_count,
        .redis_keeps = w->redis_keeps,
    };

    if (!w->reloading)
        w->reloading = vd_reload_start(w->loop, &conf, on_reloaded, w, NULL) == VD_OK;
}

static void on_signal(void *arg, int signum)
{
    struct vd_worker *w = arg;

    if (signum == SIGHUP)
        begin_reload(w);
    else
        begin_drain(w);
}

/* -- the tick --------------------------------------------------------------------------------------------------------------- */

static struct vd_status_sources sources_of(const struct vd_worker *w)
{
    return (struct vd_status_sources){
        .worker = w->settings->worker_name,
        .kafka = w->kafka,
        .pipeline = w->pipeline,
        .redis = w->redis,
        .keys = w->keys,
        .journal = w->journal,
        .limiter = w->limiter,
        .quota = w->quota,
        .router = w->router,
        .policies = w->policies,
        .metrics = w->metrics,
        .inflight_limit = (size_t)w->settings->max_in_flight,
        .draining = w->phase >= DRAINING,
        .started_mono_ms = w->started_mono_ms,
    };
}

/* Say why nothing moves when it changes, and again from time to time. What lasts less than a tick is not worth a line. */
static void say_reason(struct vd_worker *w, const char *why)
{
    uint64_t missed;
    bool lasts = strcmp(why, w->noticed) == 0;

    (void)snprintf(w->noticed, sizeof(w->noticed), "%s", why);
    if (!lasts)
        return;
    if (strcmp(why, w->said) == 0 &&
        (why[0] == '\0' || !vd_log_due(&w->said_every, REASON_EVERY_MS, &missed)))
        return;
    if (why[0] != '\0')
        vd_log(VD_WARN, "worker.waiting", VD_F_STR("for", why));
    else
        vd_log(VD_INFO, "worker.moving", VD_F_STR("after", w->said));
    if (strcmp(why, w->said) != 0)
        w->said_every = (struct vd_log_every){.next_mono_ms = vd_mono_ms() + REASON_EVERY_MS};
    (void)snprintf(w->said, sizeof(w->said), "%s", why);
}

static void count_commits(struct vd_worker *w)
{
    struct vd_kafka_status k;

    vd_kafka_status(w->kafka, &k);
    vd_metric_add(w->metrics, VD_M_COMMITS, "committed", "", k.transactions - w->seen_transactions);
    vd_metric_add(w->metrics, VD_M_COMMITS, "aborted", "", k.aborts - w->seen_aborts);
    vd_metric_add(w->metrics, VD_M_COMMITS, "unknown", "", k.unknown_results - w->seen_unknown);
    if (k.transactions > w->seen_transactions)
        vd_metric_observe_ms(w->metrics, VD_M_COMMIT_TIME, "", k.last_commit_took_us / 1000);
    w->seen_transactions = k.transactions;
    w->seen_aborts = k.aborts;
    w->seen_unknown = k.unknown_results;
}

static void look_at_kill_switch(struct vd_worker *w)
{
    bool on =
        w->settings->kill_switch_file != NULL && access(w->settings->kill_switch_file, F_OK) == 0;

    if (on != vd_pipeline_status(w->pipeline).models_stopped)
        vd_log(VD_WARN, on ? "kill_switch.on" : "kill_switch.off",
               VD_F_STR("file", w->settings->kill_switch_file));
    vd_pipeline_stop_models(w->pipeline, on);
}

/* Nothing is at work, or only what waits for a model that cannot be asked, and what queues behind that: the next owner has it. */
static bool nothing_moves(const struct vd_worker *w)
{
    struct vd_pipeline_status p = vd_pipeline_status(w->pipeline);

    return p.in_flight == 0 ||
           (p.waiting_outage > 0 && p.waiting_model == 0 && p.waiting_redis == 0);
}

static void on_tick(void *arg)
{
    struct vd_worker *w = arg;
    struct vd_status_sources sources = sources_of(w);
    struct vd_kafka_status k;
    struct vd_buf status;
    char why[256];

    look_at_kill_switch(w);
    vd_pipeline_tick(w->pipeline);
    count_commits(w);
    vd_status_gauges(&sources);
    vd_status_reason(&sources, why, sizeof(why));
    say_reason(w, why);
    vd_kafka_status(w->kafka, &k);
    if (k.joined_once && w->phase == STARTING) {
        w->phase = RUNNING;
        atomic_store(&w->ready, true);
        vd_log(VD_INFO, "worker.ready", VD_F_STR("delivery", k.delivery),
               VD_F_INT("policies", (int64_t)vd_policy_set_count(w->policies)),
               VD_F_INT("after_ms", vd_mono_ms() - w->started_mono_ms));
    }
    if (w->admin != NULL) {
        vd_buf_init(&status, STATUS_MAX_BYTES);
        (void)vd_status_write(&sources, &status);
        vd_admin_publish(w->admin, vd_buf_take(&status, NULL), k.joined_once && w->phase < STOPPING,
                         w->phase >= STOPPING ? "stopping"
                         : why[0] != '\0'     ? why
                                              : "joining the group");
        vd_buf_free(&status);
    }
    if (w->phase == DRAINING && nothing_moves(w))
        stop_kafka(w);
}

/* -- making ------------------------------------------------------------------------------------------------------------------ */

static bool topic_known(const struct vd_worker *w, const char *topic)
{
    for (size_t i = 0; i < w->output_topic_count; i++)
        if (strcmp(w->output_topics[i], topic) == 0)
            return true;
    return false;
}

static enum vd_code add_output_topic(struct vd_worker *w, const char *topic, struct vd_err *err)
{
    if (topic_known(w, topic))
        return VD_OK;
    w->output_topics[w->output_topic_count] = vd_strdup(topic);
    if (w->output_topics[w->output_topic_count] == NULL)
        return vd_err_nomem(err, "topics");
    w->output_topic_count++;
    return VD_OK;
}

static enum vd_code make_output_topics(struct vd_worker *w, struct vd_err *err)
{
    const struct vd_pipeline_topics *t = &w->settings->output;
    size_t policies = vd_policy_set_count(w->policies);
    enum vd_code rc = VD_OK;

    w->output_topics = vd_alloc_array(policies + 4, sizeof(char *));
    if (w->output_topics == NULL)
        return vd_err_nomem(err, "topics");
    for (size_t i = 0; i < policies && rc == VD_OK; i++) {
        const struct vd_policy *p = vd_policy_set_get(w->policies, i);
        char topic[320];

        (void)snprintf(topic, sizeof(topic), "%s.%s", t->prefix, p->domain);
        rc = add_output_topic(w, p->output_topic != NULL ? p->output_topic : topic, err);
    }
    if (rc == VD_OK)
        rc = add_output_topic(w, t->review, err);
    if (rc == VD_OK)
        rc = add_output_topic(w, t->shadow, err);
    if (rc == VD_OK)
        rc = add_output_topic(w, t->audit, err);
    if (rc == VD_OK)
        rc = add_output_topic(w, t->dead_letter, err);
    return rc;
}

static bool has_redis_tool(const struct vd_policy *p)
{
    bool has = false;

    for (size_t i = 0; i < p->tool_count; i++)
        has = has || p->tools[i].kind == VD_TOOL_REDIS;
    return has;
}

static void check_policies(const struct vd_worker *w, struct vd_diags *diags)
{
    for (size_t i = 0; i < vd_policy_set_count(w->policies); i++) {
        const struct vd_policy *p = vd_policy_set_get(w->policies, i);
        bool read = false;

        if (p->context_count > 0 && w->settings->redis_address == NULL)
            vd_diag_error(diags, p->file, 0, "redis = { address = \"127.0.0.1:6379\"; };",
                          "policy %s reads context, and no redis.address is set", p->id);
        if ((p->state != NULL || p->notes != NULL) && w->settings->redis_address == NULL)
            vd_diag_error(diags, p->file, 0, "redis = { address = \"127.0.0.1:6379\"; };",
                          "policy %s remembers something, and no redis.address is set", p->id);
        if (p->dedupe_id != NULL && w->settings->redis_address == NULL)
            vd_diag_error(diags, p->file, 0, "redis = { address = \"127.0.0.1:6379\"; };",
                          "policy %s has input.dedupe, and no redis.address is set", p->id);
        if (has_redis_tool(p) && w->settings->redis_address == NULL)
            vd_diag_error(diags, p->file, 0, "redis = { address = \"127.0.0.1:6379\"; };",
                          "policy %s has a Redis tool, and no redis.address is set", p->id);
        if ((p->limit_count > 0 || p->budget.per_key.window_s > 0) &&
            w->settings->redis_address == NULL)
            vd_diag_error(diags, p->file, 0, "redis = { address = \"127.0.0.1:6379\"; };",
                          "policy %s has %s, and no redis.address is set", p->id,
                          p->limit_count > 0 ? "limits" : "budget.per_key");
        for (size_t t = 0; t < w->settings->topic_count; t++)
            read = read || vd_policy_reads(p, vd_span_of(w->settings->topics[t].name));
        if (!read && p->mode != VD_MODE_OFF)
            vd_diag_warning(diags, p->file, 0, "add the topic to kafka.topics",
                            "policy %s reads no topic that this worker consumes", p->id);
    }
}

static void on_redis_state(void *arg, const struct vd_redis_status *status)
{
    (void)arg;
    if (status->state == VD_REDIS_UP)
        vd_log(VD_INFO, "redis.up", VD_F_STR("address", status->address),
               VD_F_STR("warning", status->reason));
    else
        vd_log(VD_WARN, "redis.down", VD_F_STR("address", status->address),
               VD_F_STR("reason", status->reason));
}

static enum vd_code make_redis(struct vd_worker *w, struct vd_err *err)
{
    const struct vd_settings *s = w->settings;
    struct vd_redis_conf conf = {
        .address = s->redis_address,
        .username = s->redis_username,
        .password = s->redis_password,
        .db = -1,
        .tls_ca_file = s->redis_ca_file,
        .connect_timeout_ms = (uint32_t)s->redis_connect_timeout_ms,
        .command_timeout_ms = (uint32_t)s->redis_timeout_ms,
        .require_noeviction = s->redis_require_noeviction || vd_reload_keeps(w->policies),
    };

    if (s->redis_address == NULL)
        return VD_OK;
    w->redis_keeps = conf.require_noeviction;
    return vd_redis_new(w->loop, &conf, on_redis_state, w, &w->redis, err);
}

static enum vd_code make_limiter(struct vd_worker *w, struct vd_err *err)
{
    struct vd_limiter_conf conf = {
        .loop = w->loop,
        .redis = w->redis,
        .prefix = w->settings->redis_prefix,
        .metrics = w->metrics,
        .timeout_ms = (uint32_t)w->settings->redis_timeout_ms,
    };

    return w->redis == NULL ? VD_OK : vd_limiter_new(&conf, &w->limiter, err);
}

static enum vd_code make_journal(struct vd_worker *w, struct vd_err *err)
{
    const struct vd_settings *s = w->settings;
    struct vd_journal_conf conf = {
        .redis = w->redis,
        .prefix = s->redis_prefix,
        .ttl_s = (uint32_t)s->journal_ttl_s,
        .timeout_ms = (uint32_t)s->redis_timeout_ms,
        .metrics = w->metrics,
    };

    if (w->redis == NULL || s->model_count == 0 || !s->journal)
        return VD_OK;
    return vd_journal_new(&conf, &w->journal, err);
}

static enum vd_code make_quota(struct vd_worker *w, struct vd_err *err)
{
    const struct vd_settings *s = w->settings;
    struct vd_quota_model models[MAX_MODELS];
    struct vd_quota_conf conf = {
        .models = models,
        .model_count = s->model_count < MAX_MODELS ? s->model_count : MAX_MODELS,
        .redis = w->redis,
        .prefix = s->redis_prefix,
        .timeout_ms = (uint32_t)s->redis_timeout_ms,
    };

    for (size_t i = 0; i < conf.model_count; i++)
        models[i] = (struct vd_quota_model){s->models[i].name, s->models[i].quota};
    return vd_quota_new(w->loop, &conf, &w->quota, err);
}

static enum vd_code make_router(struct vd_worker *w, struct vd_err *err)
{
    const struct vd_settings *s = w->settings;
    struct vd_model_conf models[MAX_MODELS];
    struct vd_router_conf conf = {.models = models, .model_count = s->model_count};
    struct vd_router_quota quota;
    enum vd_code rc;

    if (s->model_count == 0)
        return VD_OK;
    if (s->model_count > MAX_MODELS)
        return vd_err_set(err, VD_E_CONFIG, false, "%zu models, the limit is %d", s->model_count,
                          MAX_MODELS);
    for (size_t i = 0; i < s->model_count; i++)
        models[i] = vd_settings_model(s, i);
    rc = make_quota(w, err);
    if (rc != VD_OK)
        return rc;
    quota = vd_quota_hooks(w->quota);
    conf.quota = &quota;
    rc = vd_router_new(w->loop, &conf, &w->router, err);
    for (size_t i = 0; rc == VD_OK && i < s->model_count; i++)
        if (s->default_models.count == 0)
            w->default_models[w->default_model_count++] = i;
    for (size_t i = 0; rc == VD_OK && i < s->default_models.count && i < MAX_MODELS; i++)
        w->default_models[w->default_model_count++] =
            (size_t)vd_router_find(w->router, vd_span_of(s->default_models.items[i]));
    return rc;
}

static enum vd_code make_tool_hosts(struct vd_worker *w, struct vd_err *err)
{
    struct vd_tool_host_conf confs[VD_TOOL_MAX_HOSTS];

    for (size_t i = 0; i < w->settings->tool_host_count; i++)
        confs[i] = w->settings->tool_hosts[i].conf;
    return vd_tool_hosts_new(w->loop, confs, w->settings->tool_host_count, &w->tool_hosts, err);
}

/* Right after Redis: what is submitted first is answered before any job reads. */
static enum vd_code make_group_keys(struct vd_worker *w, struct vd_err *err)
{
    struct vd_group_keys_conf conf = {
        .given = {w->settings->marker_key, w->settings->redact_key},
        .prefix = w->settings->redis_prefix,
        .redis = w->redis,
    };

    return vd_group_keys_new(w->loop, &conf, &w->keys, err);
}

static enum vd_code make_pipeline(struct vd_worker *w, struct vd_err *err)
{
    const struct vd_settings *s = w->settings;
    struct vd_pipeline_conf conf = {
        .topic_count = s->topic_count,
        .max_in_flight = (size_t)s->max_in_flight,
        .max_uncommitted = (size_t)s->max_uncommitted,
        .guard = {.max_ratio = s->max_fallback_ratio,
                  .min_outcomes = (uint64_t)s->fallback_min_outcomes,
                  .window_ms = s->fallback_window_s * 1000,
                  .probe_ms = s->fallback_probe_ms},
        .fatal = on_fatal,
        .arg = w,
    };
    enum vd_code rc = VD_OK;

    w->readers = vd_alloc_array(s->topic_count, sizeof(struct vd_event_reader *));
    w->topics = vd_alloc_array(s->topic_count, sizeof(*w->topics));
    if (w->readers == NULL || w->topics == NULL)
        return vd_err_nomem(err, "topics");
    for (size_t i = 0; i < s->topic_count && rc == VD_OK; i++) {
        struct vd_event_reader_conf reader = vd_settings_reader(s, i);

        rc = vd_event_reader_new(&reader, &w->readers[i], err);
        w->topics[i] = (struct vd_pipeline_topic){s->topics[i].name, w->readers[i]};
    }
    if (rc != VD_OK)
        return rc;
    conf.topics = w->topics;
    conf.services = (struct vd_job_services){
        .loop = w->loop,
        .redis = w->redis,
        .journal = w->journal,
        .limiter = w->limiter,
        .router = w->router,
        .tool_hosts = w->tool_hosts,
        .metrics = w->metrics,
        .topics = &s->output,
        .worker = s->worker_name,
        .source = s->source,
        .redis_prefix = s->redis_prefix,
        .marker_key = vd_group_key(w->keys, VD_GROUP_KEY_MARKER),
        .redact_key = vd_group_key(w->keys, VD_GROUP_KEY_REDACT),
        .default_models = w->default_models,
        .default_model_count = w->default_model_count,
        .redis_timeout_ms = (uint32_t)s->redis_timeout_ms,
    };
    return vd_pipeline_new(&conf, w->policies, &w->pipeline, err);
}

static enum vd_code make_kafka(struct vd_worker *w, struct vd_err *err)
{
    struct vd_kafka_callbacks callbacks = vd_pipeline_callbacks();
    struct vd_kafka_conf conf;
    enum vd_code rc = vd_settings_kafka(w->settings, (const char *const *)w->output_topics,
                                        w->output_topic_count, &conf, err);

    if (rc != VD_OK)
        return rc;
    conf.embedded = w->options.embedded;
    rc = vd_kafka_new(w->loop, &conf, &callbacks, w->pipeline, &w->kafka, err);
    if (rc == VD_OK)
        vd_pipeline_set_kafka(w->pipeline, w->kafka);
    return rc;
}

static enum vd_code make_loop(struct vd_worker *w, struct vd_err *err)
{
    enum vd_code rc = vd_loop_new(&w->loop, err);

    if (rc == VD_OK)
        rc = vd_timer_new(w->loop, on_tick, w, &w->tick);
    if (rc == VD_OK)
        rc = vd_timer_new(w->loop, on_drain_timeout, w, &w->drain_timer);
    if (rc == VD_OK)
        rc = vd_timer_new(w->loop, on_flush, w, &w->flush_timer);
    if (rc == VD_OK)
        rc = vd_wakeup_new(w->loop, on_stop_wakeup, w, &w->stop_wakeup);
    for (int i = 0; i < 3 && rc == VD_OK && w->options.own_signals; i++)
        rc = vd_loop_on_signal(w->loop, (const int[]){SIGTERM, SIGINT, SIGHUP}[i], on_signal, w);
    return rc == VD_OK ? VD_OK : vd_err_set(err, rc, false, "cannot make the event loop");
}

static enum vd_code make_admin(struct vd_worker *w, struct vd_err *err)
{
    struct vd_admin_conf conf = {
        .listen = w->settings->admin_listen,
        .token = w->settings->admin_token,
        .metrics = w->metrics,
        .loop = w->loop,
    };

    if (conf.listen == NULL || strcmp(conf.listen, "off") == 0)
        return VD_OK;
    return vd_admin_start(&conf, &w->admin, err);
}

enum vd_code vd_worker_new(const struct vd_settings *settings,
                           const struct vd_worker_options *options, struct vd_diags *diags,
                           struct vd_worker **ret_worker, struct vd_err *err)
{
    struct vd_worker *w = vd_alloc(sizeof(*w));
    enum vd_code rc;

    if (w == NULL)
        return vd_err_nomem(err, "worker");
    w->settings = settings;
    if (options != NULL)
        w->options = *options;
    w->started_mono_ms = vd_mono_ms();
    w->metrics = vd_metrics_new();
    rc = w->metrics == NULL ? vd_err_nomem(err, "metrics")
                            : vd_reload_policies(settings, diags, &w->policies, err);
    if (rc == VD_OK) {
        check_policies(w, diags);
        rc = vd_diags_result(diags, err);
    }
    if (rc == VD_OK)
        rc = make_output_topics(w, err);
    if (rc == VD_OK)
        rc = make_loop(w, err);
    if (rc == VD_OK)
        rc = make_redis(w, err);
    if (rc == VD_OK)
        rc = make_group_keys(w, err);
    if (rc == VD_OK)
        rc = make_journal(w, err);
    if (rc == VD_OK)
        rc = make_limiter(w, err);
    if (rc == VD_OK)
        rc = make_router(w, err);
    if (rc == VD_OK)
        rc = make_tool_hosts(w, err);
    if (rc == VD_OK)
        rc = make_pipeline(w, err);
    if (rc == VD_OK)
        rc = make_kafka(w, err);
    if (rc == VD_OK)
        rc = make_admin(w, err);
    if (rc != VD_OK) {
        (void)vd_worker_free(w);
        return rc;
    }
    *ret_worker = w;
    return VD_OK;
}

void *vd_worker_free(struct vd_worker *w)
{
    if (w == NULL)
        return NULL;
    (void)vd_admin_stop(w->admin);
    (void)vd_router_free(w->router);
    (void)vd_tool_hosts_free(w->tool_hosts);
    (void)vd_redis_free(w->redis);
    (void)vd_group_keys_free(w->keys);
    (void)vd_journal_free(w->journal);
    (void)vd_limiter_free(w->limiter);
    (void)vd_quota_free(w->quota);
    (void)vd_kafka_free(w->kafka);
    (void)vd_pipeline_free(w->pipeline);
    for (size_t i = 0; w->readers != NULL && i < w->settings->topic_count; i++)
        (void)vd_event_reader_free(w->readers[i]);
    for (size_t i = 0; i < w->output_topic_count; i++)
        (void)vd_free(w->output_topics[i]);
    (void)vd_free(w->readers);
    (void)vd_free(w->topics);
    (void)vd_free(w->output_topics);
    (void)vd_timer_free(w->tick);
    (void)vd_timer_free(w->drain_timer);
    (void)vd_timer_free(w->flush_timer);
    (void)vd_wakeup_free(w->stop_wakeup);
    (void)vd_loop_free(w->loop);
    (void)vd_policy_set_release(w->policies);
    (void)vd_metrics_free(w->metrics);
    return vd_free(w);
}

enum vd_code vd_worker_run(struct vd_worker *w, struct vd_err *err)
{
    enum vd_code rc = vd_kafka_start(w->kafka, err);

    if (rc != VD_OK)
        return rc;
    on_tick(w); /* /status says something from the first moment */
    vd_timer_start(w->tick, TICK_MS, TICK_MS);
    do {
        vd_loop_run(w->loop);
    } while (w->phase != ENDED || w->reloading);
    vd_timer_stop(w->tick);
    if (!w->failed) {
        vd_log(VD_INFO, "worker.stopped",
               VD_F_INT("settled", (int64_t)vd_pipeline_status(w->pipeline).settled));
        return VD_OK;
    }
    if (err != NULL)
        *err = w->fatal;
    return w->fatal.code;
}

const char *vd_worker_admin_url(const struct vd_worker *w)
{
    return w->admin == NULL ? NULL : vd_admin_url(w->admin);
}

bool vd_worker_ready(const struct vd_worker *w)
{
    return atomic_load(&w->ready);
}
