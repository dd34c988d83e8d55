/* pipeline/event.h - a Kafka record's bytes as an event: CloudEvents (binary, structured) or plain JSON.
 *
 * Why:      policies see one shape, whatever a producer sends.
 * Source:   CloudEvents 1.0 Kafka protocol binding and JSON format; Confluent wire format; W3C Trace Context.
 * Thread:   loop thread; pure.
 * Owns:     an event owns its tree; spans point into the tree, the record or the arena and live as long as these.
 * Shapes:   `event` in CEL is an object with id, type, source, subject, time (strings, or null when unknown) and
 *             - CloudEvents: the other attributes, and data;
 *             - plain JSON whose body has a string `type` and an object `data` (an envelope, as Stripe's): the body's own members;
 *             - any other plain JSON: data = the body.
 * Errors:   VD_E_INPUT / VD_E_LIMIT with a reason that a person can act on; never quotes the payload.
 */
#ifndef VD_PIPELINE_EVENT_H
#define VD_PIPELINE_EVENT_H

#include "base/arena.h"
#include "base/err.h"
#include "base/hash.h"
#include "cel/cel.h"
#include "json/json.h"
#include "kafka/kafka.h"

enum vd_event_format {
    VD_FORMAT_CLOUDEVENTS, /* nothing else is accepted */
    VD_FORMAT_JSON,        /* plain JSON; a record that says it is a CloudEvent is read as one */
};

/* How the records of one topic are read; const after building. */
struct vd_event_reader;

struct vd_event_reader_conf {
    enum vd_event_format format;
    size_t max_bytes; /* 0: VD_EVENT_MAX_BYTES */
    /* CEL over body, headers (name to string), key (string or null), topic; NULL: the default of the attribute:
     * body.id, body.type, body.time or body.created (seconds), null, and the topic's name. */
    const char *id, *type, *time, *subject, *source;
};

enum vd_code vd_event_reader_new(const struct vd_event_reader_conf *conf,
                                 struct vd_event_reader **ret_reader,
                                 struct vd_err *err) VD_MUST_CHECK;
void *vd_event_reader_free(struct vd_event_reader *reader);

struct vd_event {
    cJSON *tree;                              /* owned */
    struct vd_span id, type, source, subject; /* empty when unknown */
    int64_t time_ms;             /* the event's own time, else the record's; -1 unknown */
    struct vd_sha256 value_hash; /* of the record's value as it arrived */
    struct vd_span traceparent, tracestate; /* valid ones, else empty */
    unsigned hops;              /* decisions this event descends from (header verdict-hops) */
    struct vd_span original_id; /* decision id that a redriven record carries, else empty */
    struct vd_span only_policy; /* a redriven record: the one policy that gave it up; else empty */
};

/* rec's value must not be NULL (a null value is no event). On failure *ret is untouched. */
enum vd_code vd_event_read(const struct vd_event_reader *reader, const struct vd_record *rec,
                           struct vd_arena *arena, struct vd_event *ret,
                           struct vd_err *err) VD_MUST_CHECK;
void vd_event_fini(struct vd_event *event); /* zeroed events are fine */

#endif
