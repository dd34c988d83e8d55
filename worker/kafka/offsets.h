/* kafka/offsets.h - what a group has committed, for the operator: show, accept, reset.
 *
 * Source:   design/delivery.md "The map".
 * Thread:   blocking; for commands.
 * Errors:   VD_E_REMOTE, VD_E_TIMEOUT when the brokers do not answer; VD_E_CONFIG when they do not let us.
 */
#ifndef VD_KAFKA_OFFSETS_H
#define VD_KAFKA_OFFSETS_H

#include "kafka/kafka.h"
#include "kafka/recovery.h"

struct vd_offsets;

struct vd_offsets_row {
    const char *topic;
    int32_t partition;
    uint32_t partitions; /* of the topic */
    int64_t committed;   /* below 0: nothing */
    int64_t low, high;
    size_t finished_above;       /* offsets above committed that the map knows as finished */
    struct vd_recovery recovery; /* what a worker would do */
};

/* A client of conf's group that does not join it. */
enum vd_code vd_offsets_open(const struct vd_kafka_conf *conf, struct vd_offsets **ret,
                             struct vd_err *err) VD_MUST_CHECK;
void *vd_offsets_close(struct vd_offsets *o); /* NULL-safe; returns NULL */
/* Workers that are members of the group now. */
enum vd_code vd_offsets_members(struct vd_offsets *o, const char *group, size_t *ret_count,
                                struct vd_err *err) VD_MUST_CHECK;
/* Calls fn for every partition of topic, in order; the row is borrowed for the call. */
enum vd_code vd_offsets_each(struct vd_offsets *o, const char *topic,
                             void (*fn)(void *arg, const struct vd_offsets_row *row), void *arg,
                             struct vd_err *err) VD_MUST_CHECK;
/* Commits offset with an empty map. Brokers refuse it (VD_E_CONFIG) while the group has members. */
enum vd_code vd_offsets_commit(struct vd_offsets *o, const char *topic, int32_t partition,
                               int64_t offset, uint32_t partitions,
                               struct vd_err *err) VD_MUST_CHECK;

#endif
