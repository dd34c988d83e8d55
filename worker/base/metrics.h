/* base/metrics.h - counters, gauges and histograms, all in one table.
 *
 * Why:      every layer counts; one table gives each metric its name, labels and help, and ops/ renders it for Prometheus.
 * Source:   Prometheus text exposition format 0.0.4.
 * Thread:   values may be changed and rendered from any thread. A label combination is added under a lock the first time it is
 *           seen and never removed.
 * Rules:    label values come from closed sets (policy and rule names, topics, reasons), never from events: no keys, no ids.
 */
#ifndef VD_BASE_METRICS_H
#define VD_BASE_METRICS_H

#include <stdint.h>

#include "base/buf.h"

/* id, type, name, labels (comma separated), help. Durations are observed in milliseconds and shown in seconds. */
#define VD_METRICS(ROW)                                                                            \
    ROW(EVENTS, COUNTER, "verdict_events_total", "topic", "Records taken from Kafka.")             \
    ROW(SKIPPED, COUNTER, "verdict_events_skipped_total", "reason",                                \
        "Records that need no decision.")                                                          \
    ROW(DECISIONS, COUNTER, "verdict_decisions_total", "policy,status", "Decisions made.")         \
    ROW(CANARY, COUNTER, "verdict_canary_decisions_total", "policy,status",                        \
        "Of these, made by a canary's candidate.")                                                 \
    ROW(DEAD_LETTERS, COUNTER, "verdict_dead_letters_total", "stage",                              \
        "Records given up with a reason.")                                                         \
    ROW(RULE_FAILURES, COUNTER, "verdict_rule_failures_total", "policy,rule",                      \
        "Proposals that a rule refused, before repair.")                                           \
    ROW(DEGRADED, COUNTER, "verdict_degraded_total", "policy,reason",                              \
        "Decisions by fallback, by cause.")                                                        \
    ROW(REPAIRS, COUNTER, "verdict_repairs_total", "policy", "Proposals sent back to the model.")  \
    ROW(MODEL_CALLS, COUNTER, "verdict_model_calls_total", "model,outcome",                        \
        "Requests sent to models.")                                                                \
    ROW(TOOL_CALLS, COUNTER, "verdict_tool_calls_total", "policy,outcome",                         \
        "Tools called by models.")                                                                 \
    ROW(TOKENS, COUNTER, "verdict_model_tokens_total", "model,type",                               \
        "Tokens, as models report them.")                                                          \
    ROW(COST, COUNTER, "verdict_cost_microusd_total", "policy,model",                              \
        "Money spent, by configured prices.")                                                      \
    ROW(BACKLOG, GAUGE, "verdict_backlog_events", "topic",                                         \
        "Records not finished up to the log's end; unlike group lag, without those finished "      \
        "above base.")                                                                             \
    ROW(OLDEST_AGE, GAUGE, "verdict_oldest_event_age_seconds", "",                                 \
        "Age of the oldest record at work.")                                                       \
    ROW(INFLIGHT, GAUGE, "verdict_inflight", "", "Records at work.")                               \
    ROW(INFLIGHT_LIMIT, GAUGE, "verdict_inflight_limit", "", "Most records at work at once.")      \
    ROW(UNCOMMITTED, GAUGE, "verdict_uncommitted", "",                                             \
        "Settled records that wait for their commit.")                                             \
    ROW(INTAKE_PAUSED, GAUGE, "verdict_intake_paused", "",                                         \
        "1 while too many fallbacks hold intake back (worker.max_fallback_ratio).")                \
    ROW(PARTITIONS, GAUGE, "verdict_partitions", "state", "Assigned partitions, by state.")        \
    ROW(WAIT, COUNTER_MS, "verdict_wait_seconds_total", "reason",                                  \
        "Time that jobs waited, by cause.")                                                        \
    ROW(COMMITS, COUNTER, "verdict_commits_total", "outcome", "Transactions, by outcome.")         \
    ROW(COMMIT_TIME, HISTOGRAM, "verdict_commit_duration_seconds", "", "Time of one transaction.") \
    ROW(MODEL_TIME, HISTOGRAM, "verdict_model_duration_seconds", "model",                          \
        "Time of one model request.")                                                              \
    ROW(DECISION_TIME, HISTOGRAM, "verdict_decision_duration_seconds", "policy",                   \
        "Fetch to settled.")                                                                       \
    ROW(KEY_REPARTITION, COUNTER, "verdict_key_repartition_total", "topic",                        \
        "Policy keys seen on more than one partition: their order is not kept.")                   \
    ROW(LIMIT_EXCEEDED, COUNTER, "verdict_limit_exceeded_total", "policy,limit",                   \
        "Proposals that a limit across decisions did not let through.")                            \
    ROW(LIMITS_CLOSED, GAUGE, "verdict_limits_closed", "",                                         \
        "1 while limits are closed, since Redis has lost what was reserved.")                      \
    ROW(REDIS_ERRORS, COUNTER, "verdict_redis_errors_total", "", "Redis requests that failed.")    \
    ROW(JOURNAL, COUNTER, "verdict_journal_total", "event",                                        \
        "Journal of paid answers: written, hit, or why not.")                                      \
    ROW(EFFECTS, COUNTER, "verdict_effects_total", "outcome",                                      \
        "Changes of committed decisions in Redis: applied, or stale and left out.")                \
    ROW(POLICY_INFO, GAUGE, "verdict_policy_info", "id,version,hash",                              \
        "Policies in force, always 1.")                                                            \
    ROW(POLICY_RELOADS, COUNTER, "verdict_policy_reloads_total", "outcome",                        \
        "Reloads of the policy folder.")                                                           \
    ROW(UP, GAUGE, "verdict_dependency_up", "dependency",                                          \
        "1 while broker, Redis or a model answers.")

enum vd_metric_id {
#define VD_METRIC_ENUM(id, type, name, labels, help) VD_M_##id,
    VD_METRICS(VD_METRIC_ENUM)
#undef VD_METRIC_ENUM
        VD_M_COUNT
};

struct vd_metrics;

struct vd_metrics *vd_metrics_new(void); /* NULL when memory is out */
void *vd_metrics_free(struct vd_metrics *m);

/* Label values in the table's order; pass "" for the ones a metric does not have. m may be NULL: nothing happens. When memory
 * is out for a new label combination the change is dropped. */
void vd_metric_add(struct vd_metrics *m, enum vd_metric_id id, const char *l1, const char *l2,
                   uint64_t by);
void vd_metric_set(struct vd_metrics *m, enum vd_metric_id id, const char *l1, const char *l2,
                   const char *l3, double value);
void vd_metric_observe_ms(struct vd_metrics *m, enum vd_metric_id id, const char *l1, int64_t ms);
/* Set every combination of a gauge to 0 before setting the current ones. */
void vd_metric_zero(struct vd_metrics *m, enum vd_metric_id id);
/* Sum over all combinations whose first label is l1 (NULL: any) and second is l2 (NULL: any). */
uint64_t vd_metric_sum(struct vd_metrics *m, enum vd_metric_id id, const char *l1, const char *l2);

enum vd_code vd_metrics_render(struct vd_metrics *m, struct vd_buf *out);

#endif
