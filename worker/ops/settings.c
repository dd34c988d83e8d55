/* ops/settings.c - see settings.h. */
#include "ops/settings.h"

#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

#define SECRET_MAX_BYTES 4096

/* What strings live in: the parsed file, and what was read from secret files. */
struct vd_settings_memory {
    struct vd_conf *conf;
    struct vd_arena arena;
    struct vd_kafka_property *properties;
    const char **topic_names;
    struct vd_policy_model *policy_models;
    struct vd_tool_allowed *policy_hosts;
};

#define FIELD(f) offsetof(struct vd_settings, f)

static const char *const delivery_words[] = {"exactly_once", "at_least_once", NULL};
static const char *const start_words[] = {"unset", "earliest", "latest", NULL};
static const char *const assignor_words[] = {"cooperative-sticky", "range", "roundrobin", NULL};
static const char *const level_words[] = {"error", "warn", "info", "debug", NULL};

static const struct vd_conf_row rows[] = {
    {"kafka.brokers", VD_CONF_T_STRING, FIELD(brokers), NULL, 1, 4096, NULL, VD_CONF_REQUIRED,
     "Bootstrap servers, host:port separated by commas.", NULL},
    {"kafka.group", VD_CONF_T_STRING, FIELD(group), "verdict", 1, 249, NULL, 0,
     "Consumer group. Workers of one group share the partitions.", NULL},
    {"kafka.topics", VD_CONF_T_NODE, FIELD(topics_node), NULL, 0, 0, NULL,
     VD_CONF_REQUIRED | VD_CONF_NO_ENV,
     "Topics to consume: a list of groups { name; format; id; type; time; subject; source; }.",
     NULL},
    {"kafka.client_id", VD_CONF_T_STRING, FIELD(client_id), "verdict", 1, 249, NULL, 0,
     "client.id.", NULL},
    {"kafka.instance_id", VD_CONF_T_STRING, FIELD(instance_id), NULL, 0, 249, NULL, 0,
     "group.instance.id: a static member, which keeps its partitions over a restart.", NULL},
    {"kafka.transactional_id", VD_CONF_T_STRING, FIELD(transactional_id), NULL, 0, 249, NULL, 0,
     "One for each worker, the same after a restart. Default: the group and instance_id, or the "
     "group and the host name.",
     NULL},
    {"kafka.delivery", VD_CONF_T_ENUM, FIELD(delivery), "exactly_once", 0, 0, NULL, 0,
     "exactly_once publishes decisions and offsets in one transaction.", delivery_words},
    {"kafka.start", VD_CONF_T_ENUM, FIELD(start), "unset", 0, 0, NULL, 0,
     "Where a group that has committed nothing begins; required for such a group.", start_words},
    {"kafka.assignor", VD_CONF_T_ENUM, FIELD(assignor), "cooperative-sticky", 0, 0, NULL, 0,
     "How partitions are shared.", assignor_words},
    {"kafka.commit_interval_ms", VD_CONF_T_INT, FIELD(commit_interval_ms), "100", 1, 60000, "ms", 0,
     "Longest wait of a finished decision for its transaction.", NULL},
    {"kafka.commit_outcomes", VD_CONF_T_INT, FIELD(commit_outcomes), "500", 1, 100000, NULL, 0,
     "So many finished records begin a transaction earlier.", NULL},
    {"kafka.transaction_timeout_ms", VD_CONF_T_INT, FIELD(transaction_timeout_ms), "10000", 1000,
     900000, "ms", 0, "After this the broker aborts the transaction of a dead worker.", NULL},
    {"kafka.session_timeout_ms", VD_CONF_T_INT, FIELD(session_timeout_ms), "45000", 1000, 1800000,
     "ms", 0, "After this silence the group gives a worker's partitions away.", NULL},
    {"kafka.max_poll_interval_ms", VD_CONF_T_INT, FIELD(max_poll_interval_ms), "300000", 1000,
     86400000, "ms", 0, "max.poll.interval.ms.", NULL},
    {"kafka.prefetch_messages", VD_CONF_T_INT, FIELD(prefetch_messages), "5000", 1, 100000, NULL, 0,
     "Records buffered for each partition. With librdkafka before 2.3 also the most it takes of "
     "one in a second.",
     NULL},
    {"kafka.prefetch_kbytes", VD_CONF_T_INT, FIELD(prefetch_kbytes), "8192", 16, 1048576, "KiB", 0,
     "Bytes buffered for each partition.", NULL},
    {"kafka.max_offset_span", VD_CONF_T_INT, FIELD(max_offset_span), "16384", 8, VD_LEDGER_MAX_SPAN,
     NULL, 0, "How far ahead of the oldest unfinished record of a partition work may go.", NULL},
    {"kafka.properties", VD_CONF_T_STRINGS, FIELD(properties), NULL, 0, 0, NULL, 0,
     "librdkafka properties, \"name=value\"; \"sasl.password_file=/path\" reads a secret from a "
     "file.",
     NULL},

    {"redis.address", VD_CONF_T_STRING, FIELD(redis_address), NULL, 0, 1024, NULL, 0,
     "host:port, unix:/path, redis:// or rediss:// URL. Needed by policies with context.", NULL},
    {"redis.username", VD_CONF_T_STRING, FIELD(redis_username), NULL, 0, 256, NULL, 0, "ACL user.",
     NULL},
    {"redis.password", VD_CONF_T_STRING, FIELD(redis_password), NULL, 0, 1024, NULL, VD_CONF_SECRET,
     "Password; better redis.password_file.", NULL},
    {"redis.password_file", VD_CONF_T_STRING, FIELD(redis_password_file), NULL, 0, 4096, NULL, 0,
     "File that holds the password.", NULL},
    {"redis.ca_file", VD_CONF_T_STRING, FIELD(redis_ca_file), NULL, 0, 4096, NULL, 0,
     "CA certificates for rediss://; default: the system's.", NULL},
    {"redis.connect_timeout_ms", VD_CONF_T_INT, FIELD(redis_connect_timeout_ms), "2000", 10, 60000,
     "ms", 0, "Longest time to connect.", NULL},
    {"redis.timeout_ms", VD_CONF_T_INT, FIELD(redis_timeout_ms), "1000", 10, 60000, "ms", 0,
     "Longest wait for one round trip.", NULL},
    {"redis.require_noeviction", VD_CONF_T_BOOL, FIELD(redis_require_noeviction), "false", 0, 0,
     NULL, 0, "Stay away from a Redis that may evict keys.", NULL},
    {"redis.prefix", VD_CONF_T_STRING, FIELD(redis_prefix), NULL, 0, 256, NULL, 0,
     "Begins every key that verdict itself writes; the same on all workers of a group. Default: "
     "verdict:GROUP: with the group percent-encoded.",
     NULL},
    {"redis.journal", VD_CONF_T_BOOL, FIELD(journal), "true", 0, 0, NULL, 0,
     "Keep every answer of a model until long after its commit, so that a crash pays for none "
     "twice.",
     NULL},
    {"redis.journal_ttl_s", VD_CONF_T_INT, FIELD(journal_ttl_s), "86400", 1, 604800, "s", 0,
     "How long. An entry is as large as the context that the decision read, and its answers.",
     NULL},

    {"models", VD_CONF_T_NODE, FIELD(models_node), NULL, 0, 0, NULL, VD_CONF_NO_ENV,
     "Language models: groups by name { provider; url; model; key_env; ... }. None: fallbacks "
     "decide.",
     NULL},
    {"default_models", VD_CONF_T_STRINGS, FIELD(default_models), NULL, 0, 0, NULL, 0,
     "Models for policies that name none, in order. Default: all, as written.", NULL},

    {"tools.hosts", VD_CONF_T_NODE, FIELD(tool_hosts_node), NULL, 0, 0, NULL, VD_CONF_NO_ENV,
     "Hosts that HTTP tools of policies may reach: a list of groups { host; http; addresses; "
     "token_file; token_header; ca_file; }. Default: none.",
     NULL},

    {"policies.dir", VD_CONF_T_STRING, FIELD(policies_dir), "policies", 1, 4096, NULL, 0,
     "Folder of policies; read again on SIGHUP.", NULL},
    {"policies.schemas", VD_CONF_T_STRING, FIELD(schemas_dir), NULL, 0, 4096, NULL, 0,
     "Folder of JSON Schemas. Default: `schemas` beside the policies' folder, or above it.", NULL},

    {"output.prefix", VD_CONF_T_STRING, FIELD(output.prefix), "decisions", 1, 200, NULL, 0,
     "Decisions go to PREFIX.DOMAIN, unless the policy names a topic.", NULL},
    {"output.review", VD_CONF_T_STRING, FIELD(output.review), "decisions.review", 1, 249, NULL, 0,
     "Topic of decisions that a person has to take.", NULL},
    {"output.shadow", VD_CONF_T_STRING, FIELD(output.shadow), "decisions.shadow", 1, 249, NULL, 0,
     "Topic of policies in shadow mode.", NULL},
    {"output.audit", VD_CONF_T_STRING, FIELD(output.audit), "decisions.audit", 1, 249, NULL, 0,
     "Topic of audit records.", NULL},
    {"output.dead_letter", VD_CONF_T_STRING, FIELD(output.dead_letter), "decisions.dead-letter", 1,
     249, NULL, 0, "Topic of records that were given up.", NULL},

    {"worker.name", VD_CONF_T_STRING, FIELD(worker_name), NULL, 0, 249, NULL, 0,
     "This worker's name, in every decision. Default: the instance id, or the host name.", NULL},
    {"worker.source", VD_CONF_T_STRING, FIELD(source), "/verdict", 1, 1024, NULL, 0,
     "CloudEvents source of decisions, a URI reference.", NULL},
    {"worker.max_in_flight", VD_CONF_T_INT, FIELD(max_in_flight), "2000", 1, 100000, NULL, 0,
     "Records at work at once.", NULL},
    {"worker.max_uncommitted", VD_CONF_T_INT, FIELD(max_uncommitted), "20000", 1, 1000000, NULL, 0,
     "Finished records that may wait for their commit before intake stops.", NULL},
    {"worker.max_event_bytes", VD_CONF_T_INT, FIELD(max_event_bytes), "1048576", 1024,
     VD_JSON_MAX_BYTES, "bytes", 0, "Larger values are dead letters.", NULL},
    {"worker.drain_timeout_ms", VD_CONF_T_INT, FIELD(drain_timeout_ms), "25000", 0, 3600000, "ms",
     0, "After SIGTERM, how long calls may finish. Below Kubernetes' 30 s.", NULL},
    {"worker.max_fallback_ratio", VD_CONF_T_NUMBER, FIELD(max_fallback_ratio), "0.5", 0, 1, NULL, 0,
     "Above this share of fallbacks intake is paused, and a few events at a time try whether "
     "things are better. Stale, overflowing and shadow decisions do not count, nor those under the "
     "kill switch or over a limit or a key's budget. 1: never.",
     NULL},
    {"worker.fallback_window_s", VD_CONF_T_INT, FIELD(fallback_window_s), "300", 1, 86400, "s", 0,
     "The share is that of the last so many seconds.", NULL},
    {"worker.fallback_min_outcomes", VD_CONF_T_INT, FIELD(fallback_min_outcomes), "50", 1, 1000000,
     NULL, 0, "With fewer decisions in that time there is no share.", NULL},
    {"worker.fallback_probe_ms", VD_CONF_T_INT, FIELD(fallback_probe_ms), "10000", 100, 3600000,
     "ms", 0, "How often events are let through while intake is paused.", NULL},
    {"worker.kill_switch_file", VD_CONF_T_STRING, FIELD(kill_switch_file), NULL, 0, 4096, NULL, 0,
     "While this file exists no model is asked: fallbacks decide.", NULL},
    {"worker.marker_key", VD_CONF_T_STRING, FIELD(marker_key), NULL, 0, 1024, NULL, VD_CONF_SECRET,
     "Secret behind the markers around untrusted text; the same on all workers. Default: made once "
     "and kept in Redis.",
     NULL},
    {"worker.marker_key_file", VD_CONF_T_STRING, FIELD(marker_key_file), NULL, 0, 4096, NULL, 0,
     "File that holds it.", NULL},
    {"worker.redact_key", VD_CONF_T_STRING, FIELD(redact_key), NULL, 0, 1024, NULL, VD_CONF_SECRET,
     "Secret behind hashed values; the same on all workers. Default: made once and kept in Redis.",
     NULL},
    {"worker.redact_key_file", VD_CONF_T_STRING, FIELD(redact_key_file), NULL, 0, 4096, NULL, 0,
     "File that holds it.", NULL},

    {"admin.listen", VD_CONF_T_STRING, FIELD(admin_listen), "127.0.0.1:9464", 0, 256, NULL, 0,
     "Address of /healthz, /readyz, /status, /metrics. Beyond loopback /status needs admin.token. "
     "\"off\": none.",
     NULL},
    {"admin.token", VD_CONF_T_STRING, FIELD(admin_token), NULL, 0, 1024, NULL, VD_CONF_SECRET,
     "Bearer token for /status.", NULL},
    {"admin.token_file", VD_CONF_T_STRING, FIELD(admin_token_file), NULL, 0, 4096, NULL, 0,
     "File that holds it.", NULL},

    {"log.level", VD_CONF_T_ENUM, FIELD(log_level), "info", 0, 0, NULL, VD_CONF_RELOAD,
     "error, warn, info or debug.", level_words},
    {.name = NULL},
};

#define TOPIC(f) offsetof(struct vd_settings_topic, f)
static const char *const format_words[] = {"cloudevents", "json", NULL};
static const struct vd_conf_row topic_rows[] = {
    {"name", VD_CONF_T_STRING, TOPIC(name), NULL, 1, 249, NULL, VD_CONF_REQUIRED, "The topic.",
     NULL},
    {"format", VD_CONF_T_ENUM, TOPIC(format), "json", 0, 0, NULL, 0,
     "cloudevents accepts nothing else; json takes plain JSON, and CloudEvents that say so.",
     format_words},
    {"id", VD_CONF_T_STRING, TOPIC(id), NULL, 0, 1024, NULL, 0,
     "Plain JSON: CEL over body, headers, key, topic. Default: body.id.", NULL},
    {"type", VD_CONF_T_STRING, TOPIC(type), NULL, 0, 1024, NULL, 0,
     "The same for the type. Default: body.type.", NULL},
    {"time", VD_CONF_T_STRING, TOPIC(time), NULL, 0, 1024, NULL, 0,
     "The same for the time. Default: body.time, or body.created in seconds.", NULL},
    {"subject", VD_CONF_T_STRING, TOPIC(subject), NULL, 0, 1024, NULL, 0,
     "The same for the subject. Default: null.", NULL},
    {"source", VD_CONF_T_STRING, TOPIC(source), NULL, 0, 1024, NULL, 0,
     "The same for the source. Default: the topic's name.", NULL},
    {.name = NULL},
};

#define MODEL(f) offsetof(struct vd_settings_model, f)
static const char *const schema_words[] = {"strict", "loose", "object", "tool", "none", NULL};
static const char *const temperature_words[] = {"auto", "send", "omit", NULL};
static const char *const max_tokens_words[] = {"max_completion_tokens", "max_tokens", NULL};
static const struct vd_conf_row model_rows[] = {
    {"provider", VD_CONF_T_STRING, MODEL(provider), "openai", 1, 64, NULL, 0,
     "openai (any compatible endpoint) or anthropic.", NULL},
    {"url", VD_CONF_T_STRING, MODEL(url), NULL, 1, 1024, NULL, VD_CONF_REQUIRED,
     "Base URL, with or without /v1.", NULL},
    {"model", VD_CONF_T_STRING, MODEL(model), NULL, 1, 256, NULL, VD_CONF_REQUIRED,
     "Name of the model.", NULL},
    {"key_file", VD_CONF_T_STRING, MODEL(key_file), NULL, 0, 4096, NULL, 0,
     "File with the API key; read again when it changes.", NULL},
    {"key_env", VD_CONF_T_STRING, MODEL(key_env), NULL, 0, 256, NULL, 0,
     "Environment variable with the API key.", NULL},
    {"ca_file", VD_CONF_T_STRING, MODEL(ca_file), NULL, 0, 4096, NULL, 0,
     "CA certificates; default: the system's.", NULL},
    {"proxy", VD_CONF_T_STRING, MODEL(proxy), NULL, 0, 1024, NULL, 0, "HTTP proxy; default: none.",
     NULL},
    {"system_role", VD_CONF_T_STRING, MODEL(system_role), NULL, 0, 32, NULL, 0,
     "Role of the system message.", NULL},
    {"schema", VD_CONF_T_ENUM, MODEL(schema), "strict", 0, 0, NULL, 0,
     "How the endpoint is held to the proposal's schema.", schema_words},
    {"max_tokens_param", VD_CONF_T_ENUM, MODEL(max_tokens_param), "max_completion_tokens", 0, 0,
     NULL, 0, "Name of the parameter.", max_tokens_words},
    {"tools", VD_CONF_T_BOOL, MODEL(tools), "true", 0, 0, NULL, 0, "The endpoint has tool calls.",
     NULL},
    {"temperature", VD_CONF_T_ENUM, MODEL(temperature), "auto", 0, 0, NULL, 0,
     "Ask with temperature 0; auto: but Anthropic, whose newest API refuses it.",
     temperature_words},
    {"http2", VD_CONF_T_BOOL, MODEL(http2), "false", 0, 0, NULL, 0, "HTTP/2 over TLS.", NULL},
    {"timeout_ms", VD_CONF_T_INT, MODEL(timeout_ms), "60000", 10, 600000, "ms", 0,
     "One request at most.", NULL},
    {"connect_timeout_ms", VD_CONF_T_INT, MODEL(connect_timeout_ms), "3000", 10, 60000, "ms", 0,
     "Connecting at most.", NULL},
    {"response_max_bytes", VD_CONF_T_INT, MODEL(response_max_bytes), "1048576", 1024, 67108864,
     "bytes", 0, "Larger answers are refused.", NULL},
    {"max_concurrency", VD_CONF_T_INT, MODEL(max_concurrency), "1000", 1, 20000, NULL, 0,
     "Requests at once.", NULL},
    {"price_input", VD_CONF_T_INT, MODEL(price_input), "0", 0, 1000000000000, "micro-USD", 0,
     "For a million input tokens.", NULL},
    {"price_cached_input", VD_CONF_T_INT, MODEL(price_cached_input), "0", 0, 1000000000000,
     "micro-USD", 0, "For a million cached input tokens; 0: as input.", NULL},
    {"price_output", VD_CONF_T_INT, MODEL(price_output), "0", 0, 1000000000000, "micro-USD", 0,
     "For a million output tokens.", NULL},
    {"quota.requests_per_minute", VD_CONF_T_INT, MODEL(quota.requests_per_minute), "0", 0,
     1000000000, NULL, 0,
     "Of all workers of the group together; so many may go at once. 0: no bound.", NULL},
    {"quota.tokens_per_minute", VD_CONF_T_INT, MODEL(quota.tokens_per_minute), "0", 0,
     1000000000000, NULL, 0,
     "The same, input and output: estimated before a request, corrected after it.", NULL},
    {"quota.cost_microusd_per_hour", VD_CONF_T_INT, MODEL(quota.cost_microusd_per_hour), "0", 0,
     1000000000000, "micro-USD", 0, "The same for money, by the prices above, which it needs.",
     NULL},
    {.name = NULL},
};

#define TOOL(f) offsetof(struct vd_settings_tool_host, f)
static const struct vd_conf_row tool_host_rows[] = {
    {"host", VD_CONF_T_STRING, TOOL(host), NULL, 1, 300, NULL, VD_CONF_REQUIRED,
     "name:port, in the one spelling that policies use. Default port: 443, with http 80.", NULL},
    {"http", VD_CONF_T_BOOL, TOOL(http), "false", 0, 0, NULL, 0,
     "Allow http:// too: keys and answers are readable on the way.", NULL},
    {"addresses", VD_CONF_T_STRINGS, TOOL(addresses), NULL, 0, 0, NULL, 0,
     "Kinds of addresses that the host may have beside public ones: loopback, private, link-local, "
     "metadata. Looked at when the connection is opened.",
     NULL},
    {"token_file", VD_CONF_T_STRING, TOOL(token_file), NULL, 0, 4096, NULL, 0,
     "File with the secret that is sent to it; read again when it changes.", NULL},
    {"token_header", VD_CONF_T_STRING, TOOL(token_header), NULL, 0, 128, NULL, 0,
     "Header of the secret. Default: authorization, as \"Bearer SECRET\".", NULL},
    {"ca_file", VD_CONF_T_STRING, TOOL(ca_file), NULL, 0, 4096, NULL, 0,
     "CA certificates; default: the system's.", NULL},
    {.name = NULL},
};

static const struct vd_conf_env environment = {vd_conf_getenv, NULL, "VERDICT"};

/* -- loading --------------------------------------------------------------------------------------------------------- */

static enum vd_code read_topics(struct vd_settings *s, struct vd_diags *diags, struct vd_err *err)
{
    const struct vd_conf_node *list = s->topics_node;
    size_t i = 0;

    if (list == NULL)
        return VD_OK; /* said already */
    if (list->kind != VD_CONF_LIST || list->count == 0) {
        vd_diag_error(diags, list->file, list->line,
                      "topics = ( { name = \"orders\"; format = \"json\"; } );",
                      "kafka.topics must be a list of groups, not %s",
                      vd_conf_kind_name(list->kind));
        return VD_OK;
    }
    s->topics = vd_alloc_array(list->count, sizeof(*s->topics));
    s->memory->topic_names = vd_alloc_array(list->count, sizeof(char *));
    if (s->topics == NULL || s->memory->topic_names == NULL)
        return vd_err_nomem(err, "settings");
    s->topic_count = list->count;
    for (const struct vd_conf_node *n = list->first; n != NULL; n = n->next, i++) {
        struct vd_event_reader_conf reader;
        struct vd_event_reader *made = NULL;
        struct vd_err why;
        enum vd_code rc;

        if (n->kind != VD_CONF_GROUP) {
            vd_diag_error(diags, n->file, n->line, "{ name = \"orders\"; format = \"json\"; }",
                          "an item of kafka.topics must be a group, not %s",
                          vd_conf_kind_name(n->kind));
            continue;
        }
        rc = vd_conf_read(s->memory->conf, n, topic_rows, &s->topics[i], NULL, diags, err);
        if (rc != VD_OK)
            return rc;
        s->memory->topic_names[i] = s->topics[i].name;
        for (size_t j = 0; j < i; j++)
            if (s->topics[i].name != NULL && s->topics[j].name != NULL &&
                strcmp(s->topics[i].name, s->topics[j].name) == 0)
                vd_diag_error(diags, n->file, n->line, NULL,
                              "topic \"%s\" stands twice in kafka.topics", s->topics[i].name);
        reader = vd_settings_reader(s, i);
        if (vd_event_reader_new(&reader, &made, &why) != VD_OK)
            vd_diag_error(diags, n->file, n->line, NULL, "kafka.topics, \"%s\": %s",
                          s->topics[i].name, why.msg);
        (void)vd_event_reader_free(made);
    }
    return VD_OK;
}

static enum vd_code read_models(struct vd_settings *s, struct vd_diags *diags, struct vd_err *err)
{
    const struct vd_conf_node *group = s->models_node;
    size_t i = 0;

    if (group == NULL)
        return VD_OK;
    if (group->kind != VD_CONF_GROUP) {
        vd_diag_error(diags, group->file, group->line,
                      "models = { main = { url = \"...\"; model = \"...\"; }; };",
                      "models must be a group of named groups, not %s",
                      vd_conf_kind_name(group->kind));
        return VD_OK;
    }
    s->models = vd_alloc_array(group->count, sizeof(*s->models));
    if (s->models == NULL)
        return vd_err_nomem(err, "settings");
    s->model_count = group->count;
    for (const struct vd_conf_node *n = group->first; n != NULL; n = n->next, i++) {
        enum vd_code rc =
            vd_conf_read(s->memory->conf, n, model_rows, &s->models[i], NULL, diags, err);

        if (rc != VD_OK)
            return rc;
        s->models[i].name = n->name;
        if (s->models[i].quota.cost_microusd_per_hour > 0 &&
            s->models[i].price_input + s->models[i].price_output == 0)
            vd_diag_error(diags, n->file, n->line, "set price_input and price_output",
                          "model %s has a quota of money and no prices", n->name);
        if (s->models[i].provider != NULL && (vd_model_ops_find(s->models[i].provider) == NULL ||
                                              strcmp(s->models[i].provider, "scripted") == 0))
            vd_diag_error(diags, n->file, n->line, "provider = \"openai\"; or \"anthropic\"",
                          "unknown provider \"%s\" of model %s", s->models[i].provider, n->name);
    }
    for (size_t d = 0; d < s->default_models.count; d++) {
        bool found = false;

        for (i = 0; i < s->model_count; i++)
            found = found || strcmp(s->models[i].name, s->default_models.items[d]) == 0;
        if (!found)
            vd_diag_error(diags, group->file, group->line, NULL,
                          "default_models names \"%s\", which is not in models",
                          s->default_models.items[d]);
    }
    return VD_OK;
}

static void read_tool_host(struct vd_settings_tool_host *h, const struct vd_conf_node *n,
                           struct vd_diags *diags)
{
    struct vd_tool_host_conf *c = &h->conf;
    struct vd_err why;

    *c = (struct vd_tool_host_conf){.allowed.plain_http = h->http,
                                    .token_file = h->token_file,
                                    .token_header = h->token_header,
                                    .ca_file = h->ca_file};
    if (h->host != NULL && vd_tool_host_parse(vd_span_of(h->host), h->http ? 80 : 443,
                                              &c->allowed.host, &why) != VD_OK)
        vd_diag_error(diags, n->file, n->line, NULL, "tools.hosts, \"%.80s\": %s", h->host,
                      why.msg);
    for (size_t i = 0; i < h->addresses.count; i++) {
        unsigned bit = vd_tool_address_bit(vd_span_of(h->addresses.items[i]));

        if (bit == 0)
            vd_diag_error(diags, n->file, n->line, "loopback, private, link-local or metadata",
                          "tools.hosts, \"%.80s\": \"%.40s\" is no kind of address", h->host,
                          h->addresses.items[i]);
        c->addresses |= bit;
    }
}

static enum vd_code read_tool_hosts(struct vd_settings *s, struct vd_diags *diags,
                                    struct vd_err *err)
{
    const struct vd_conf_node *list = s->tool_hosts_node;
    size_t i = 0;

    if (list == NULL)
        return VD_OK;
    if (list->kind != VD_CONF_LIST || list->count > VD_TOOL_MAX_HOSTS) {
        vd_diag_error(diags, list->file, list->line,
                      "tools = { hosts = ( { host = \"api.example.com:443\"; } ); };",
                      "tools.hosts must be a list of at most %d groups, not %s", VD_TOOL_MAX_HOSTS,
                      vd_conf_kind_name(list->kind));
        return VD_OK;
    }
    s->tool_hosts = vd_alloc_array(list->count, sizeof(*s->tool_hosts));
    if (s->tool_hosts == NULL)
        return vd_err_nomem(err, "settings");
    s->tool_host_count = list->count;
    for (const struct vd_conf_node *n = list->first; n != NULL; n = n->next, i++) {
        enum vd_code rc;

        if (n->kind != VD_CONF_GROUP) {
            vd_diag_error(diags, n->file, n->line, "{ host = \"api.example.com:443\"; }",
                          "an item of tools.hosts must be a group, not %s",
                          vd_conf_kind_name(n->kind));
            continue;
        }
        rc = vd_conf_read(s->memory->conf, n, tool_host_rows, &s->tool_hosts[i], NULL, diags, err);
        if (rc != VD_OK)
            return rc;
        read_tool_host(&s->tool_hosts[i], n, diags);
    }
    return VD_OK;
}

/* What policies may refer to. */
static enum vd_code list_for_policies(struct vd_settings *s, struct vd_err *err)
{
    struct vd_settings_memory *m = s->memory;

    m->policy_models = vd_alloc_array(s->model_count + 1, sizeof(*m->policy_models));
    m->policy_hosts = vd_alloc_array(s->tool_host_count + 1, sizeof(*m->policy_hosts));
    if (m->policy_models == NULL || m->policy_hosts == NULL)
        return vd_err_nomem(err, "settings");
    for (size_t i = 0; i < s->model_count; i++)
        m->policy_models[i] = (struct vd_policy_model){
            s->models[i].name, s->models[i].price_input + s->models[i].price_output > 0,
            !s->models[i].tools};
    for (size_t i = 0; i < s->tool_host_count; i++)
        m->policy_hosts[i] = s->tool_hosts[i].conf.allowed;
    return VD_OK;
}

/* NAME_file read into NAME; both at once is an error. */
static void read_secret(struct vd_settings *s, const char *what, const char *file,
                        const char **value, struct vd_diags *diags)
{
    struct vd_buf text;
    struct vd_err err;
    const char *copy = NULL;

    if (file == NULL || file[0] == '\0')
        return;
    if (*value != NULL && (*value)[0] != '\0') {
        vd_diag_error(diags, NULL, 0, "keep the _file one", "both %s and %s_file are set", what,
                      what);
        return;
    }
    vd_buf_init(&text, SECRET_MAX_BYTES);
    if (vd_file_read(file, &text, &err) != VD_OK)
        vd_diag_error(diags, NULL, 0, NULL, "%s_file: %s", what, err.msg);
    else
        copy = vd_arena_strndup(&s->memory->arena, vd_span_trim(vd_buf_span(&text)));
    vd_buf_free(&text);
    if (copy != NULL)
        *value = copy;
}

/* An empty string in the file means: not set. */
static void empty_is_unset(const char **value)
{
    if (*value != NULL && (*value)[0] == '\0')
        *value = NULL;
}

/* "verdict:GROUP:"; NULL when memory is out. */
static const char *default_prefix(const struct vd_settings *s)
{
    struct vd_buf text;
    const char *prefix = NULL;

    vd_buf_init(&text, 1024);
    (void)vd_buf_add_c(&text, "verdict:");
    for (const char *c = s->group; c != NULL && *c != '\0'; c++) {
        bool plain = (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z') ||
                     (*c >= '0' && *c <= '9') || strchr("_.-", *c) != NULL;

        (void)(plain ? vd_buf_add_char(&text, *c)
                     : vd_buf_addf(&text, "%%%02X", (unsigned char)*c));
    }
    (void)vd_buf_add_char(&text, ':');
    if (text.failed == VD_OK)
        prefix = vd_arena_strndup(&s->memory->arena, vd_buf_span(&text));
    vd_buf_free(&text);
    return prefix;
}

static enum vd_code derive(struct vd_settings *s, struct vd_diags *diags, struct vd_err *err)
{
    const char **optional[] = {
        &s->client_id,      &s->instance_id,    &s->transactional_id, &s->redis_address,
        &s->redis_username, &s->redis_password, &s->redis_ca_file,    &s->redis_prefix,
        &s->schemas_dir,    &s->worker_name,    &s->kill_switch_file, &s->marker_key,
        &s->redact_key,     &s->admin_listen,   &s->admin_token,
    };
    char host[128] = "worker";

    read_secret(s, "redis.password", s->redis_password_file, &s->redis_password, diags);
    read_secret(s, "worker.marker_key", s->marker_key_file, &s->marker_key, diags);
    read_secret(s, "worker.redact_key", s->redact_key_file, &s->redact_key, diags);
    read_secret(s, "admin.token", s->admin_token_file, &s->admin_token, diags);
    for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
        empty_is_unset(optional[i]);
    if (s->worker_name == NULL)
        s->worker_name = s->instance_id;
    if (s->worker_name == NULL) {
        (void)gethostname(host, sizeof(host) - 1);
        s->worker_name = vd_arena_strndup(&s->memory->arena, vd_span_of(host));
        if (s->worker_name == NULL)
            return vd_err_nomem(err, "settings");
    }
    if (s->redis_prefix == NULL)
        s->redis_prefix = default_prefix(s);
    if (s->redis_prefix == NULL)
        return vd_err_nomem(err, "settings");
    s->memory->properties = vd_alloc_array(s->properties.count, sizeof(*s->memory->properties));
    if (s->memory->properties == NULL)
        return vd_err_nomem(err, "settings");
    for (size_t i = 0; i < s->properties.count; i++) {
        struct vd_span text = vd_span_of(s->properties.items[i]);
        size_t eq = vd_span_find(text, '=');

        if (eq == 0 || eq == text.len) {
            vd_diag_error(diags, NULL, 0, "\"security.protocol=SASL_SSL\"",
                          "kafka.properties: \"%.60s\" is not name=value", s->properties.items[i]);
            continue;
        }
        s->memory->properties[i].name =
            vd_arena_strndup(&s->memory->arena, vd_span_trim(vd_span_sub(text, 0, eq)));
        s->memory->properties[i].value =
            vd_arena_strndup(&s->memory->arena, vd_span_trim(vd_span_sub(text, eq + 1, text.len)));
        if (s->memory->properties[i].name == NULL || s->memory->properties[i].value == NULL)
            return vd_err_nomem(err, "settings");
    }
    return VD_OK;
}

static void kafka_fault(void *arg, const char *key, const char *why)
{
    vd_diag_error(arg, NULL, 0, NULL, "kafka: %s: %s", key, why);
}

static void check_kafka(const struct vd_settings *s, struct vd_diags *diags)
{
    const char *const topics[] = {s->output.review, s->output.shadow, s->output.audit,
                                  s->output.dead_letter};
    struct vd_kafka_conf conf;
    struct vd_err err;

    if (vd_settings_kafka(s, topics, sizeof(topics) / sizeof(topics[0]), &conf, &err) == VD_OK)
        (void)vd_kafka_conf_check(&conf, kafka_fault, diags);
}

enum vd_code vd_settings_load(const char *path, struct vd_diags *diags,
                              struct vd_settings **ret_settings, struct vd_err *err)
{
    struct vd_settings *s = vd_alloc(sizeof(*s));
    enum vd_code rc;

    if (s == NULL || (s->memory = vd_alloc(sizeof(*s->memory))) == NULL) {
        (void)vd_free(s);
        return vd_err_nomem(err, "settings");
    }
    vd_arena_init(&s->memory->arena, 1u << 20);
    s->path = path == NULL ? NULL : vd_arena_strndup(&s->memory->arena, vd_span_of(path));
    rc = path == NULL ? vd_conf_empty(&s->memory->conf, err)
                      : vd_conf_load(path, NULL, diags, &s->memory->conf, err);
    if (rc == VD_OK)
        rc = vd_conf_read(s->memory->conf, vd_conf_root(s->memory->conf), rows, s, &environment,
                          diags, err);
    if (rc == VD_OK)
        rc = derive(s, diags, err);
    if (rc == VD_OK)
        rc = read_topics(s, diags, err);
    if (rc == VD_OK)
        rc = read_models(s, diags, err);
    if (rc == VD_OK)
        rc = read_tool_hosts(s, diags, err);
    if (rc == VD_OK)
        rc = list_for_policies(s, err);
    if (rc == VD_OK && diags->errors == 0)
        check_kafka(s, diags);
    if (rc == VD_OK)
        rc = vd_diags_result(diags, err);
    if (rc == VD_OK) {
        *ret_settings = s;
        s = NULL;
    }
    (void)vd_settings_free(s);
    return rc;
}

void *vd_settings_free(struct vd_settings *s)
{
    if (s == NULL)
        return NULL;
    (void)vd_conf_free(s->memory->conf);
    vd_arena_fini(&s->memory->arena);
    (void)vd_free(s->memory->properties);
    (void)vd_free(s->memory->topic_names);
    (void)vd_free(s->memory->policy_models);
    (void)vd_free(s->memory->policy_hosts);
    (void)vd_free(s->memory);
    (void)vd_free(s->topics);
    (void)vd_free(s->models);
    (void)vd_free(s->tool_hosts);
    return vd_free(s);
}

void vd_settings_diff(const struct vd_settings *a, const struct vd_settings *b,
                      vd_conf_changed_fn *fn, void *arg)
{
    vd_conf_diff(rows, a, b, fn, arg);
}

/* A librdkafka property may be a secret too: "sasl.password=...". */
static const char *masked_property(const char *text, struct vd_arena *arena)
{
    size_t eq = vd_span_find(vd_span_of(text), '=');
    const char *name = vd_arena_printf(arena, "%.*s", (int)eq, text);

    if (name == NULL || !vd_kafka_property_secret(name))
        return name == NULL ? NULL : text;
    return vd_arena_printf(arena, "%s=********", name);
}

enum vd_code vd_settings_dump(const struct vd_settings *s, struct vd_buf *out)
{
    struct vd_settings shown = *s;
    struct vd_arena arena;
    enum vd_code rc = VD_OK;

    vd_arena_init(&arena, 1u << 20);
    shown.properties.items = vd_arena_array(&arena, s->properties.count, sizeof(char *));
    if (shown.properties.items == NULL)
        rc = VD_E_NOMEM;
    for (size_t i = 0; i < s->properties.count && rc == VD_OK; i++) {
        shown.properties.items[i] = masked_property(s->properties.items[i], &arena);
        if (shown.properties.items[i] == NULL)
            rc = VD_E_NOMEM;
    }
    if (rc == VD_OK)
        rc = vd_conf_dump(rows, &shown, out);
    vd_arena_fini(&arena);
    return rc;
}

enum vd_code vd_settings_reference(struct vd_buf *out)
{
    (void)vd_buf_add_c(out, "# Settings\n\nGenerated by `verdict run --reference`.\n\n");
    (void)vd_conf_reference(rows, "VERDICT", out);
    (void)vd_buf_add_c(out, "\n## Each topic of kafka.topics\n\n");
    (void)vd_conf_reference(topic_rows, NULL, out);
    (void)vd_buf_add_c(out, "\n## Each model of models\n\n");
    (void)vd_conf_reference(model_rows, NULL, out);
    (void)vd_buf_add_c(out, "\n## Each host of tools.hosts\n\n");
    (void)vd_conf_reference(tool_host_rows, NULL, out);
    return out->failed;
}

/* -- views ----------------------------------------------------------------------------------------------------------- */

enum vd_code vd_settings_kafka(const struct vd_settings *s, const char *const *output_topics,
                               size_t output_topic_count, struct vd_kafka_conf *ret,
                               struct vd_err *err)
{
    if (s->topic_count == 0)
        return vd_err_set(err, VD_E_CONFIG, false, "no topics");
    *ret = (struct vd_kafka_conf){
        .brokers = s->brokers,
        .group = s->group,
        .client_id = s->client_id,
        .instance_id = s->instance_id,
        .transactional_id = s->transactional_id,
        .topics = s->memory->topic_names,
        .topic_count = s->topic_count,
        .output_topics = output_topics,
        .output_topic_count = output_topic_count,
        .delivery = (enum vd_kafka_delivery)s->delivery,
        .start = (enum vd_kafka_start)s->start,
        .assignor = (enum vd_kafka_assignor)s->assignor,
        .commit_interval_ms = (uint32_t)s->commit_interval_ms,
        .commit_outcomes = (uint32_t)s->commit_outcomes,
        .transaction_timeout_ms = (uint32_t)s->transaction_timeout_ms,
        .session_timeout_ms = (uint32_t)s->session_timeout_ms,
        .max_poll_interval_ms = (uint32_t)s->max_poll_interval_ms,
        .prefetch_messages = (uint32_t)s->prefetch_messages,
        .prefetch_kbytes = (uint32_t)s->prefetch_kbytes,
        .max_offset_span = (uint32_t)s->max_offset_span,
        .properties = s->memory->properties,
        .property_count = s->properties.count,
    };
    return VD_OK;
}

static bool omits_temperature(const struct vd_settings_model *m)
{
    if (strcmp(temperature_words[m->temperature], "auto") == 0)
        return strcmp(m->provider, "anthropic") == 0;
    return strcmp(temperature_words[m->temperature], "omit") == 0;
}

struct vd_model_conf vd_settings_model(const struct vd_settings *s, size_t i)
{
    const struct vd_settings_model *m = &s->models[i];

    return (struct vd_model_conf){
        .name = m->name,
        .provider = m->provider,
        .url = m->url,
        .model = m->model,
        .key_file = m->key_file,
        .key_env = m->key_env,
        .ca_file = m->ca_file,
        .proxy = m->proxy,
        .schema_mode = (enum vd_model_schema_mode)m->schema,
        .max_tokens_param = (enum vd_model_max_tokens_param)m->max_tokens_param,
        .system_role = m->system_role,
        .no_tools = !m->tools,
        .no_temperature = omits_temperature(m),
        .http2 = m->http2,
        .timeout_ms = (uint32_t)m->timeout_ms,
        .connect_timeout_ms = (uint32_t)m->connect_timeout_ms,
        .response_max_bytes = (size_t)m->response_max_bytes,
        .max_concurrency = (uint32_t)m->max_concurrency,
        .prices = {(uint64_t)m->price_input, (uint64_t)m->price_cached_input,
                   (uint64_t)m->price_output},
    };
}

struct vd_policy_options vd_settings_policy_options(const struct vd_settings *s)
{
    return (struct vd_policy_options){
        .schemas_dir = s->schemas_dir,
        .models = s->memory->policy_models,
        .model_count = s->model_count,
        .tool_hosts = s->memory->policy_hosts,
        .tool_host_count = s->tool_host_count,
    };
}

struct vd_event_reader_conf vd_settings_reader(const struct vd_settings *s, size_t topic)
{
    const struct vd_settings_topic *t = &s->topics[topic];

    return (struct vd_event_reader_conf){
        .format = (enum vd_event_format)t->format,
        .max_bytes = (size_t)s->max_event_bytes,
        .id = t->id,
        .type = t->type,
        .time = t->time,
        .subject = t->subject,
        .source = t->source,
    };
}
