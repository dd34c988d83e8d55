/* pipeline/pipeline.h - records in, jobs for each matching policy, one settled outcome for each record.
 *
 * Why:      the middle of the worker: it knows Kafka's records and the policies' jobs, and keeps order by key and the bound on what
 *           is in flight.
 * Thread:   loop thread.
 * Owns:     one `work` for each record that is not settled, its jobs and its event. Borrows services, readers and Kafka.
 *
 * One record's way, and where it is written:
 *     record() -> event.c decode -> job.c match (each policy) -> validate, key -> keys.c queue -> job.c context, reason, judge
 *     -> decision.c records -> vd_kafka_settle() once all jobs of the record are done
 *
 * Invariants:
 *   I1 a record is settled once, with the outputs of all its jobs together: half of them published, then a crash, would repeat them.
 *   I2 a key's next job starts after the record of its predecessor is settled, so that outputs of one key keep its order.
 *      With state or memory: after the changes of its predecessor are made (effects.h), or without them at its deadline.
 *   I3 at most max_in_flight records are unsettled, and at most as many more of partitions that wait for a model; in memory at most
 *      those and max_uncommitted.
 */
#ifndef VD_PIPELINE_PIPELINE_H
#define VD_PIPELINE_PIPELINE_H

#include "base/metrics.h"
#include "kafka/kafka.h"
#include "pipeline/effects.h"
#include "pipeline/event.h"
#include "pipeline/guard.h"
#include "pipeline/job.h"
#include "policy/set.h"

struct vd_pipeline;

struct vd_pipeline_topic {
    const char *name;
    const struct vd_event_reader *reader; /* borrowed */
};

struct vd_pipeline_conf {
    const struct vd_pipeline_topic *topics; /* copied; the readers are borrowed */
    size_t topic_count;
    size_t max_in_flight;
    size_t max_uncommitted;
    struct vd_guard_conf guard; /* max_fallback_ratio */
    struct vd_job_services
        services; /* copied; settled, arg and what Kafka knows are filled in here */
    void (*fatal)(void *arg, const struct vd_err *err);
    void *arg;
};

/* Services' effects are the pipeline's own, where there is Redis. */

/* set is retained. */
enum vd_code vd_pipeline_new(const struct vd_pipeline_conf *conf, struct vd_policy_set *set,
                             struct vd_pipeline **ret_pipeline, struct vd_err *err) VD_MUST_CHECK;
/* After Kafka was stopped: no record is left. NULL-safe. */
void *vd_pipeline_free(struct vd_pipeline *p);
/* Kafka's callbacks; their argument is the pipeline. Give the kafka object before it starts. */
struct vd_kafka_callbacks vd_pipeline_callbacks(void);
void vd_pipeline_set_kafka(struct vd_pipeline *p, struct vd_kafka *kafka);

/* New records are judged by set from now on; jobs finish under the one they began with. Retained. */
void vd_pipeline_set_policies(struct vd_pipeline *p, struct vd_policy_set *set);
/* Kill switch: no model is asked; fallbacks decide. */
void vd_pipeline_stop_models(struct vd_pipeline *p, bool stop);

/* From time to time: what waits past its deadline for changes that cannot be made goes on without them. */
void vd_pipeline_tick(struct vd_pipeline *p);
/* Are all changes of committed decisions made? After Kafka was stopped, what is not is left to the next owner. */
bool vd_pipeline_idle(const struct vd_pipeline *p);

struct vd_pipeline_status {
    size_t in_flight; /* records not settled, */
    size_t
        immovable; /* and of them, those of partitions that wait for a model: they take no room */
    size_t uncommitted;                               /* settled, not durable */
    size_t waiting_key, waiting_redis, waiting_model; /* jobs, by what they wait for */
    size_t waiting_outage;                            /* no model can be asked */
    size_t keys;
    struct vd_effects_status effects;
    int64_t oldest_age_ms; /* since the fetch of the oldest unsettled record; 0: none */
    uint64_t records, settled, committed, dropped;
    bool models_stopped;
    bool intake_paused;    /* too many fallbacks, */
    double fallback_ratio; /* this share (paused: when the pause began) */
    uint64_t outcomes;     /* of so many decisions */
};
struct vd_pipeline_status vd_pipeline_status(const struct vd_pipeline *p);

#endif
