/* kafka/embedded.h - a broker inside this process, for the demo: librdkafka's mock cluster.
 *
 * Why:      a stranger should see the worker work without installing a broker.
 * Source:   rdkafka_mock.h.
 * Thread:   create and free on one thread; it runs on librdkafka's own.
 * Limits:   it accepts transactions, but stores no transactional offsets, fences nobody and shows aborted records to everybody: on it the
 *           worker runs at least once, and says so. A proof of exactly-once needs a real broker. Listens on 127.0.0.1 only, keeps
 *           5 MiB for each partition.
 */
#ifndef VD_KAFKA_EMBEDDED_H
#define VD_KAFKA_EMBEDDED_H

#include "base/err.h"

struct vd_embedded;

enum vd_code vd_embedded_new(struct vd_embedded **ret_broker, struct vd_err *err) VD_MUST_CHECK;
enum vd_code vd_embedded_create_topic(struct vd_embedded *broker, const char *topic, int partitions,
                                      struct vd_err *err) VD_MUST_CHECK;
/* Bootstrap servers, "127.0.0.1:40123". */
const char *vd_embedded_brokers(const struct vd_embedded *broker);
/* After all its clients are gone. NULL-safe; returns NULL. */
void *vd_embedded_free(struct vd_embedded *broker);

#endif
