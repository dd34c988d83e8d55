/* kafka/tool.h - a plain producer and a plain reader, for commands that put records in or look at topics.
 *
 * Why:      the demo and the operator's commands need a client of their own; the worker's publishes only outcomes.
 * Thread:   one at a time each; calls block, at most for the time they are given.
 * Errors:   VD_E_CONFIG for settings librdkafka refuses, VD_E_REMOTE and VD_E_TIMEOUT for brokers.
 */
#ifndef VD_KAFKA_TOOL_H
#define VD_KAFKA_TOOL_H

#include "kafka/kafka.h"

/* -- writing: idempotent, acks=all ------------------------------------------------------------------------------- */

struct vd_kafka_writer;

enum vd_code vd_kafka_writer_new(const struct vd_kafka_conf *conf,
                                 struct vd_kafka_writer **ret_writer,
                                 struct vd_err *err) VD_MUST_CHECK;
/* Copies everything. partition -1: by key. Waits for room in the queue at most 10 s. */
enum vd_code vd_kafka_writer_send(struct vd_kafka_writer *writer, const char *topic,
                                  int32_t partition, struct vd_span key, struct vd_span value,
                                  const struct vd_header *headers, size_t header_count,
                                  struct vd_err *err) VD_MUST_CHECK;
/* Waits until everything sent is acknowledged; the first failure is the error. */
enum vd_code vd_kafka_writer_flush(struct vd_kafka_writer *writer, uint32_t timeout_ms,
                                   struct vd_err *err) VD_MUST_CHECK;
void *vd_kafka_writer_free(struct vd_kafka_writer *writer);

/* -- reading: all partitions of some topics from their start, read_committed, without a group ------------------------- */

struct vd_kafka_reader;

/* How far a reader goes: on and on, or up to what was there when it was made. Whoever writes into what it reads takes the second. */
enum vd_kafka_extent { VD_KAFKA_FOLLOW, VD_KAFKA_UP_TO_NOW };

enum vd_code vd_kafka_reader_new(const struct vd_kafka_conf *conf, const char *const *topics,
                                 size_t topic_count, enum vd_kafka_extent extent,
                                 struct vd_kafka_reader **ret_reader,
                                 struct vd_err *err) VD_MUST_CHECK;
/* The next record, borrowed until the next call; *ret_record NULL: none within timeout_ms. */
enum vd_code vd_kafka_reader_next(struct vd_kafka_reader *reader, uint32_t timeout_ms,
                                  const struct vd_record **ret_record,
                                  struct vd_err *err) VD_MUST_CHECK;
/* Was the end of every partition seen (VD_KAFKA_UP_TO_NOW: the end as it was), with nothing after it? */
bool vd_kafka_reader_at_end(const struct vd_kafka_reader *reader);
void *vd_kafka_reader_free(struct vd_kafka_reader *reader);

#endif
