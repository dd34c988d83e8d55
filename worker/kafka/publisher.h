/* kafka/publisher.h - the producer and its commit thread.
 *
 * Why:      transaction calls block for whole round trips; the loop must not. One thread owns the producer, and answers.
 * Source:   KIP-98, KIP-447; librdkafka "Transactional producer API".
 * Thread:   the functions are for the loop thread; between submit and answer the batch is the commit thread's. One request at a time.
 *
 *    closed --open()--> opening --OPENED--> open --publish()--> publishing --COMMITTED, ABORTED, UNCOMMITTED--> open
 *      ^                   |                                        |
 *      +----- NOT_OPENED --+                                        +--UNKNOWN, FENCED--> (the producer is of no use: open() again)
 *
 * Invariants:
 *   I1 ABORTED is answered only when the transaction is known not to be committed: commit was not called, and the abort succeeded or
 *      nothing was begun.
 *   I2 COMMITTED is answered only after the broker confirmed it.
 *   I3 delivery reports are drained by this thread before commit is called: commit itself never waits for them.
 */
#ifndef VD_KAFKA_PUBLISHER_H
#define VD_KAFKA_PUBLISHER_H

#include <stdatomic.h>

#include <librdkafka/rdkafka.h>

#include "kafka/kafka.h"
#include "kafka/sabotage.h"

enum vd_publisher_answer {
    VD_PUBLISHER_OPENED,
    VD_PUBLISHER_NOT_OPENED, /* err says why; ask again later */
    VD_PUBLISHER_COMMITTED,
    VD_PUBLISHER_ABORTED, /* err says why; publish again */
    VD_PUBLISHER_UNCOMMITTED, /* at least once: everything is delivered, the offsets are not committed */
    VD_PUBLISHER_UNKNOWN, /* err; committed or not, only the brokers know: open(), then look */
    VD_PUBLISHER_FENCED,  /* err; another producer uses the transactional.id */
};

/* Group metadata of one moment: captured at a rebalance event, shared by the snapshots taken until the next one. */
struct vd_group {
    rd_kafka_consumer_group_metadata_t *metadata;
    size_t refs; /* loop thread only */
};

struct vd_batch {
    /* Filled by the loop. */
    struct vd_output **outputs; /* borrowed; in the order of publication */
    size_t output_count;
    rd_kafka_topic_partition_list_t *offsets; /* owned; with the maps as metadata */
    struct vd_group *group; /* a reference of the batch's own; NULL when at least once */
    rd_kafka_t *consumer;   /* borrowed, for at least once; outlives the answer */
    atomic_bool cancel;     /* set by the loop: the partitions are lost, do not commit */
    /* Filled by the thread. */
    bool
        record_refused; /* ABORTED because a broker does not take one of the records: the same again would end the same way */
    rd_kafka_resp_err_t code;
    int64_t took_us;
};

typedef void vd_publisher_fn(void *arg, enum vd_publisher_answer answer, const struct vd_err *err);

struct vd_publisher;

/* conf is borrowed. done runs on the loop thread, once for each open() and publish(). */
enum vd_code vd_publisher_new(struct vd_loop *loop, const struct vd_kafka_conf *conf,
                              const struct vd_sabotage *sabotage, vd_publisher_fn *done, void *arg,
                              struct vd_publisher **ret, struct vd_err *err) VD_MUST_CHECK;
/* Ends the producer if there is one, makes a new one, and initialises it: whatever the old one left open is decided by then.
 * batch_bytes: largest batch that every output topic takes. */
void vd_publisher_open(struct vd_publisher *p, size_t batch_bytes);
void vd_publisher_publish(struct vd_publisher *p, struct vd_batch *batch);
bool vd_publisher_busy(const struct vd_publisher *p);
/* Hurry: what is running answers within about two seconds, as UNKNOWN or NOT_OPENED if need be. */
void vd_publisher_hurry(struct vd_publisher *p);
/* Not while busy. Joins the thread, which ends the producer: blocking, for the work pool. */
void vd_publisher_close(struct vd_publisher *p);
void *vd_publisher_free(
    struct vd_publisher *p); /* after close, or never opened; NULL-safe; returns NULL */

void vd_group_unref(struct vd_group *group); /* NULL-safe; loop thread */

#endif
