/* kafka/recovery.h - where a partition that was just assigned goes on, or why it does not.
 *
 * Source:   design/delivery.md "The map", its table. Pure: what the brokers said comes in, a decision comes out.
 * Thread:   any.
 */
#ifndef VD_KAFKA_RECOVERY_H
#define VD_KAFKA_RECOVERY_H

#include "kafka/kafka.h"
#include "kafka/ledger.h"

/* What the brokers say about one partition. */
struct vd_recovery_facts {
    const char *topic;
    int32_t partition;
    int64_t committed; /* below 0: the group has committed nothing here */
    struct vd_span metadata;
    int64_t low, high;      /* the log: first offset, offset after the last */
    bool sibling_committed; /* the group has committed on another partition of the topic */
    uint32_t
        sibling_partitions; /* largest number of partitions named by the siblings' maps; 0: none has a map */
    uint32_t partitions; /* that the topic has now */
    enum vd_kafka_start start;
};

enum vd_recovery_action {
    VD_RECOVERY_RESUME, /* map says what is finished */
    VD_RECOVERY_BEGIN, /* map is empty and must be committed before the first record is delivered */
    VD_RECOVERY_REFUSE,
};

struct vd_recovery {
    enum vd_recovery_action action;
    struct vd_ledger_map map; /* not for REFUSE */
    char why[200];            /* REFUSE: a sentence with what to do about it */
};

void vd_recovery_decide(const struct vd_recovery_facts *facts, struct vd_recovery *ret);

#endif
