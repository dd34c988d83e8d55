/* kafka/lookup.h - what a group has committed, and where the logs begin and end.
 *
 * Thread:   vd_lookup_run() blocks: the work pool, or a command. Everything else is pure.
 * Owns:     its lists and arrays, until vd_lookup_fini().
 */
#ifndef VD_KAFKA_LOOKUP_H
#define VD_KAFKA_LOOKUP_H

#include <librdkafka/rdkafka.h>

#include "base/err.h"
#include "kafka/recovery.h"

struct vd_lookup {
    rd_kafka_t *rk; /* borrowed; its group is asked */
    bool marks;     /* ask for low and high as well */
    const char *const
        *topics; /* all that the group consumes, borrowed; has the group committed anything? */
    size_t topic_count;
    bool group_committed; /* it has, or that is not known; without topics: true */
    rd_kafka_topic_partition_list_t *wanted; /* filled by the caller, sorted; owned */
    rd_kafka_topic_partition_list_t
        *all;            /* every partition of the wanted ones' topics, with what is committed */
    int64_t *low, *high; /* of each wanted one */
    struct vd_err err;   /* code VD_OK: everything is there. Otherwise try again */
};

void vd_lookup_run(struct vd_lookup *l);
/* What is known about the i-th wanted one, borrowed from l; facts->start is left alone, the rest must be zero. */
void vd_lookup_facts(const struct vd_lookup *l, int i, struct vd_recovery_facts *facts);
void vd_lookup_fini(struct vd_lookup *l);

#endif
