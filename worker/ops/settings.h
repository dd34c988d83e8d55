/* ops/settings.h - the worker's settings file: one table drives loading, environment, checking, dump, reference.
 *
 * Why:      an operator finds every setting in one place, and every mistake in one go.
 * Source:   design/operations.md "Settings"; libconfig through base/conf.h.
 * Thread:   load anywhere; const afterwards.
 * Owns:     everything it points at, until vd_settings_free().
 * Shapes:   kafka.brokers is overridden by VERDICT_KAFKA_BROKERS, and so on. Secrets also by a `_file` sibling.
 */
#ifndef VD_OPS_SETTINGS_H
#define VD_OPS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/conf.h"
#include "base/diag.h"
#include "base/err.h"
#include "kafka/kafka.h"
#include "model/provider.h"
#include "pipeline/event.h"
#include "pipeline/quota.h"
#include "pipeline/tool_hosts.h"
#include "pipeline/topics.h"

/* One consumed topic. */
struct vd_settings_topic {
    const char *name;
    int format;                                      /* enum vd_event_format */
    const char *id, *type, *time, *subject, *source; /* CEL; NULL: the default */
};

/* One entry of models. */
struct vd_settings_model {
    const char *name;
    const char *provider, *url, *model, *key_file, *key_env, *ca_file, *proxy, *system_role;
    int schema, max_tokens_param, temperature;
    bool tools, http2;
    int64_t timeout_ms, connect_timeout_ms, response_max_bytes, max_concurrency;
    int64_t price_input, price_cached_input, price_output; /* micro-USD for a million tokens */
    struct vd_quota_limits quota;
};

/* One host of tools.hosts. */
struct vd_settings_tool_host {
    const char *host, *token_file, *token_header, *ca_file;
    bool http;
    struct vd_conf_strings addresses;
    struct vd_tool_host_conf conf; /* of the above; strings borrowed */
};

struct vd_settings {
    /* kafka */
    const char *brokers, *group, *client_id, *instance_id, *transactional_id;
    int delivery, start, assignor;
    int64_t commit_interval_ms, commit_outcomes, transaction_timeout_ms, session_timeout_ms,
        max_poll_interval_ms, prefetch_messages, prefetch_kbytes, max_offset_span;
    struct vd_conf_strings properties; /* "name=value" */
    const struct vd_conf_node *topics_node;
    struct vd_settings_topic *topics;
    size_t topic_count;

    /* redis */
    const char *redis_address, *redis_username, *redis_password, *redis_password_file,
        *redis_ca_file, *redis_prefix;
    int64_t redis_connect_timeout_ms, redis_timeout_ms;
    bool redis_require_noeviction, journal;
    int64_t journal_ttl_s;

    /* models */
    const struct vd_conf_node *models_node;
    struct vd_settings_model *models;
    size_t model_count;
    struct vd_conf_strings default_models;

    /* tools */
    const struct vd_conf_node *tool_hosts_node;
    struct vd_settings_tool_host *tool_hosts;
    size_t tool_host_count;

    /* policies */
    const char *policies_dir, *schemas_dir;

    /* output */
    struct vd_pipeline_topics output;

    /* worker */
    const char *worker_name, *source, *kill_switch_file;
    const char *marker_key, *marker_key_file, *redact_key, *redact_key_file;
    double max_fallback_ratio;
    int64_t fallback_window_s, fallback_min_outcomes, fallback_probe_ms;
    int64_t max_in_flight, max_uncommitted, max_event_bytes, drain_timeout_ms;

    /* admin */
    const char *admin_listen, *admin_token, *admin_token_file;

    /* log */
    int log_level;

    const char *path;                  /* the file it was read from; NULL: none */
    struct vd_settings_memory *memory; /* what the strings live in */
};

/* path NULL: only the environment. Problems: VD_E_CONFIG, all of them in diags. */
enum vd_code vd_settings_load(const char *path, struct vd_diags *diags,
                              struct vd_settings **ret_settings, struct vd_err *err) VD_MUST_CHECK;
void *vd_settings_free(struct vd_settings *settings);

/* fn(arg, row) for each setting that differs; row->flags says whether it may change while running (VD_CONF_RELOAD). */
void vd_settings_diff(const struct vd_settings *a, const struct vd_settings *b,
                      vd_conf_changed_fn *fn, void *arg);

/* The settings in force as a file that reads back equal; secrets masked. */
enum vd_code vd_settings_dump(const struct vd_settings *settings, struct vd_buf *out);
/* The reference of all settings, as Markdown. */
enum vd_code vd_settings_reference(struct vd_buf *out);

/* Views for the parts. Arrays they point at live as long as the settings. */
enum vd_code vd_settings_kafka(const struct vd_settings *s, const char *const *output_topics,
                               size_t output_topic_count, struct vd_kafka_conf *ret,
                               struct vd_err *err) VD_MUST_CHECK;
struct vd_model_conf vd_settings_model(const struct vd_settings *s, size_t i);
/* What policies are checked against: models, hosts, the schemas' folder. */
struct vd_policy_options vd_settings_policy_options(const struct vd_settings *s);
struct vd_event_reader_conf vd_settings_reader(const struct vd_settings *s, size_t topic);

#endif
