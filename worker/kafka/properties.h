/* kafka/properties.h - librdkafka's configuration of the two clients, from our settings and what is passed through.
 *
 * Why:      a property that breaks a promise must be refused by name, with the reason, before anything runs.
 * Source:   design/delivery.md; librdkafka CONFIGURATION.md.
 * Thread:   any; reads the files that `_file` properties name.
 */
#ifndef VD_KAFKA_PROPERTIES_H
#define VD_KAFKA_PROPERTIES_H

#include <librdkafka/rdkafka.h>

#include "kafka/kafka.h"

/* Owned by the caller until rd_kafka_new() takes it. batch_bytes 0: librdkafka's default. */
enum vd_code vd_properties_consumer(const struct vd_kafka_conf *conf, rd_kafka_conf_t **ret,
                                    struct vd_err *err) VD_MUST_CHECK;
enum vd_code vd_properties_producer(const struct vd_kafka_conf *conf, size_t batch_bytes,
                                    rd_kafka_conf_t **ret, struct vd_err *err) VD_MUST_CHECK;

/* What delivery comes down to, embedded broker included. */
bool vd_properties_exactly_once(const struct vd_kafka_conf *conf);

/* A deep copy with every default filled in; false without memory: vd_properties_free() frees what there is. */
bool vd_properties_copy(struct vd_kafka_conf *to, const struct vd_kafka_conf *from);
void vd_properties_free(struct vd_kafka_conf *conf);

#endif
