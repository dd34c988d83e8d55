/* kafka/record.h - records as this folder keeps them: the pipeline's view, and where they stand.
 *
 * Thread:   loop thread.
 * Owns:     one heap block for each record: it must not keep a whole fetch response of librdkafka alive while it waits seconds
 *           for a model.
 */
#ifndef VD_KAFKA_RECORD_H
#define VD_KAFKA_RECORD_H

#include <librdkafka/rdkafka.h>

#include "kafka/kafka.h"

struct vd_partition;

struct vd_entry {
    struct vd_record record; /* first: the pipeline's pointer is this entry's */
    struct vd_partition *part;
    struct vd_entry *next;  /* in its partition's unsettled list, or in the line of settled ones */
    struct vd_entry **link; /* what points here while unsettled */
    struct vd_output *outputs;
    bool settled;
    bool minimal; /* outputs were replaced by callbacks.minimal */
};

/* A copy of message; its topic is borrowed from part. NULL: out of memory. */
struct vd_entry *vd_entry_new(struct vd_partition *part, const char *topic, int64_t epoch,
                              const rd_kafka_message_t *message);
void *vd_entry_free(struct vd_entry *entry); /* with its outputs; NULL-safe; returns NULL */
struct vd_entry *vd_entry_of(struct vd_record *record);

#endif
