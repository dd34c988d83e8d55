/* kafka/embedded.h - a broker inside this process: librdkafka's mock cluster, for the demo and for trying things out.
 *
 * Why:      nothing to install, up within milliseconds. It stores no transactional offsets, fences no producer and shows aborted
 *           records to readers: delivery on it is at least once, and vd_kafka_conf.embedded must be set.
 * Source:   rdkafka_mock.h. Listens on 127.0.0.1, on a free port; any Kafka client can connect (kcat -b).
 * Thread:   loop thread or main thread; the cluster runs a thread of its own.
 */
#ifndef VD_KAFKA_EMBEDDED_H
#define VD_KAFKA_EMBEDDED_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct vd_embedded;

enum vd_code vd_embedded_new(struct vd_embedded **ret, struct vd_err *err) VD_MUST_CHECK;
enum vd_code vd_embedded_create_topic(struct vd_embedded *e, const char *topic, int32_t partitions,
                                      struct vd_err *err) VD_MUST_CHECK;
/* "127.0.0.1:40123"; borrowed. */
const char *vd_embedded_brokers(const struct vd_embedded *e);
/* Every client must be gone, or it reconnects for ever. NULL-safe; returns NULL. */
void *vd_embedded_free(struct vd_embedded *e);

#endif
