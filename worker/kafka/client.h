/* kafka/client.h - what both clients share: librdkafka's messages, names of its errors.
 *
 * Thread:   any.
 */
#ifndef VD_KAFKA_CLIENT_H
#define VD_KAFKA_CLIENT_H

#include <librdkafka/rdkafka.h>

/* rd_kafka_conf_set_log_cb(): into the worker's log at level debug; the state callbacks say what matters. */
void vd_client_log(const rd_kafka_t *rk, int level, const char *facility, const char *text);

#endif
