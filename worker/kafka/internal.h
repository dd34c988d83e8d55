/* kafka/internal.h - the one object behind kafka.h, shared by the files of this folder.
 *
 *   kafka.c      life: new, start, free; phases; what is known
 *   closing.c    life: stop; being fenced
 *   topics.c     before joining: do the topics exist, how large may records be
 *   rebalance.c  assignment, revocation, loss; where each partition goes on
 *   consume.c    the consumer's events; records to the pipeline
 *   outcomes.c   settled records to transactions, and what their results mean
 *
 * Thread:   loop thread, all of it. Blocking work gets its own struct and touches this one only when it is done.
 */
#ifndef VD_KAFKA_INTERNAL_H
#define VD_KAFKA_INTERNAL_H

#include <librdkafka/rdkafka.h>

#include "kafka/kafka.h"
#include "kafka/ledger.h"
#include "kafka/publisher.h"
#include "kafka/record.h"
#include "kafka/sabotage.h"

enum vd_partition_state {
    VD_PARTITION_RECOVERING, /* what was committed is being looked up */
    VD_PARTITION_BEGINNING, /* its first offset must be committed before the first record is delivered */
    VD_PARTITION_RUNNING,
    VD_PARTITION_REFUSED,
};

struct vd_partition {
    size_t refs; /* the table, each settled record, the running transaction */
    char *topic;
    int32_t partition;
    int64_t epoch;
    int32_t generation; /* of the group when it was assigned; -1: none */
    enum vd_partition_state state;
    bool gone;                /* not ours any more; only settled records keep it */
    bool revoking;            /* about to be gone: nothing is delivered */
    bool fetching;            /* librdkafka has it in its assignment */
    bool announced;           /* callbacks.assigned was called */
    bool ready;               /* and it may be delivered */
    bool in_batch;            /* part of the running transaction's offsets */
    struct vd_ledger *ledger; /* NULL until recovered, and when gone */
    rd_kafka_queue_t *queue;  /* NULL unless fetching */
    struct vd_entry *held;    /* polled, but beyond the span */
    struct vd_entry *unsettled;
    size_t unsettled_count;
    size_t settled_count;
    int64_t recovering_since_mono_ms;
    char *paused;
    char *refused;
};

enum vd_trouble {
    VD_TROUBLE_BROKERS,
    VD_TROUBLE_TOPICS,
    VD_TROUBLE_GROUP,
    VD_TROUBLE_PUBLISH,
    VD_TROUBLE_RECOVERY,
    VD_TROUBLE_COUNT
};

struct vd_line { /* first in, first out */
    struct vd_entry *first;
    struct vd_entry *last;
    size_t count;
};

/* The running transaction, or the one whose result is unknown. */
struct vd_running {
    struct vd_batch batch;
    struct vd_line entries;
    struct vd_partition *parts[VD_KAFKA_TRANSACTION_MAX_PARTITIONS];
    size_t part_count;
};

enum vd_closing {
    VD_CLOSING_NO,
    VD_CLOSING_PUBLISH,
    VD_CLOSING_LEAVE,
    VD_CLOSING_END,
    VD_CLOSING_DONE
};

struct vd_kafka {
    struct vd_loop *loop;
    struct vd_kafka_conf conf; /* a deep copy */
    struct vd_sabotage sabotage;
    struct vd_kafka_callbacks callbacks;
    void *arg;
    bool exactly_once;
    char *transactional_id;

    enum vd_kafka_phase phase;
    bool started, draining, subscribed, joined_once, brokers_down, probing;
    char trouble[VD_TROUBLE_COUNT][256];
    size_t works; /* on the work pool, with the consumer in hand */
    struct vd_timer *tick, *retry, *commit_timer, *lookup_timer, *closing_timer;
    vd_loop_fn *retry_fn;

    /* consumer */
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;       /* group events and errors */
    rd_kafka_queue_t *close_queue; /* the same, while leaving */
    int event_fd;
    struct vd_poll *poll;
    bool cooperative;
    struct vd_group *group; /* NULL: send nothing */
    char *member_id;
    int32_t generation;          /* with group; -1: none */
    struct vd_partition **parts; /* by topic and partition */
    size_t part_count;
    int64_t epochs;
    size_t turn; /* round robin */
    bool pump_deferred, resume_deferred;
    bool lookup_running;
    unsigned lookup_failures;

    /* a revocation that waits for its outcomes */
    bool revoke_pending;
    int64_t revoke_deadline_mono_ms;

    /* outcomes */
    struct vd_publisher *publisher;
    bool publisher_open;
    struct vd_line ready;
    struct vd_running *running;
    bool unresolved; /* running's result is unknown */
    bool resolving;  /* being looked up */
    int64_t next_begin_mono_ms;
    int64_t last_dirty_mono_ms;
    size_t limit; /* outcomes in one transaction: halved to find a culprit */
    unsigned aborts_in_row;
    rd_kafka_resp_err_t refused_code;
    unsigned refused_count;
    bool commit_deferred;

    /* fenced */
    int64_t fenced_mono_ms[3];
    size_t fenced_count;
    bool rebuilding;

    /* topics */
    char *cluster_id;
    size_t *max_bytes; /* of each output topic */
    unsigned topic_checks;
    int32_t *input_partitions; /* of each input topic */
    size_t batch_bytes;

    /* closing */
    enum vd_closing closing;
    int64_t closing_deadline_mono_ms;
    vd_loop_fn *closed_fn;
    void *closed_arg;

    struct vd_kafka_status counts; /* counters only */
};

/* kafka.c */
void vd_kafka_set_phase(struct vd_kafka *k, enum vd_kafka_phase phase);
/* fmt NULL: that trouble is over. */
void vd_kafka_trouble(struct vd_kafka *k, enum vd_trouble which, const char *fmt, ...)
    VD_PRINTF(3, 4);
void vd_kafka_retry_in(struct vd_kafka *k, uint64_t ms, vd_loop_fn *fn);
void vd_kafka_fail(struct vd_kafka *k, enum vd_code code, const char *fmt, ...) VD_PRINTF(3, 4);
enum vd_code vd_kafka_open_consumer(struct vd_kafka *k, struct vd_err *err) VD_MUST_CHECK;
/* Another worker uses our transactional.id or group.instance.id: leave, wait, begin anew; the third time within ten minutes, stop. */
void vd_kafka_fenced(struct vd_kafka *k, const char *what, const char *id);
void vd_kafka_open_publisher(struct vd_kafka *k);
void vd_kafka_opened(struct vd_kafka *k, bool opened, const struct vd_err *err);
/* Something ended that closing may have waited for. */
void vd_kafka_closing_step(struct vd_kafka *k);

void vd_kafka_close_queues(struct vd_kafka *k);

/* closing.c */
void vd_kafka_rebuild_step(
    struct vd_kafka *k); /* fenced: once nothing uses the consumer any more, end it */
void vd_kafka_on_closing_timer(void *k);

/* topics.c */
void vd_topics_check(struct vd_kafka *k); /* ends in vd_kafka_open_publisher(), or tries again */

/* rebalance.c */
void vd_rebalance_event(struct vd_kafka *k, rd_kafka_event_t *event);
/* After a transaction ended, and on the tick: is the pending revocation done? */
void vd_rebalance_step(struct vd_kafka *k);
/* Embedded broker: take every partition, without a group, whose first join takes the mock cluster three seconds. */
void vd_rebalance_take_all(struct vd_kafka *k);
void vd_rebalance_lose_all(struct vd_kafka *k);
void vd_rebalance_lookup(struct vd_kafka *k);
void vd_rebalance_on_timer(void *k);
struct vd_partition *vd_partition_find(const struct vd_kafka *k, const char *topic,
                                       int32_t partition);
/* Tell the pipeline of partitions that are RUNNING since a moment. */
void vd_rebalance_announce(struct vd_kafka *k);
void vd_partition_unref(struct vd_partition *part);
void vd_partition_refuse(struct vd_kafka *k, struct vd_partition *part, const char *why);

/* consume.c */
void vd_consume_serve(struct vd_kafka *k); /* group events, then records */
void vd_consume_pump(struct vd_kafka *k);
void vd_consume_on_fd(void *arg, int events);

/* outcomes.c */
void vd_outcomes_answer(void *arg, enum vd_publisher_answer answer, const struct vd_err *err);
void vd_outcomes_kick(struct vd_kafka *k); /* arm the next transaction, or begin it when due */
void vd_outcomes_now(struct vd_kafka *k);  /* begin it as soon as possible */
void vd_outcomes_resolve(
    struct vd_kafka *k); /* the publisher is open again: what became of the unknown one? */
void vd_outcomes_drop(struct vd_kafka *k,
                      struct vd_partition *part); /* ready ones of a partition, NULL: all */
void vd_outcomes_drop_running(struct vd_kafka *k);
bool vd_outcomes_idle(const struct vd_kafka *k);
void vd_line_push(struct vd_line *line, struct vd_entry *entry);
struct vd_entry *vd_line_pop(struct vd_line *line);

#endif
