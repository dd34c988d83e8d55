/* kafka/kafka.h - the worker's Kafka side: records in, outcomes and finished offsets out, exactly once.
 *
 * Why:      the pipeline must not know about offsets, transactions or rebalances. It gets records, settles each once with
 *           everything that record leads to, and hears when that is durable.
 * Source:   design/delivery.md; librdkafka 2.0.2 and newer. KIP-98, KIP-447 (transactions, group metadata), KIP-429 (cooperative).
 * Thread:   every function and every callback on the loop thread, unless it says otherwise. Blocking calls run on one commit
 *           thread, which alone touches the producer, and on the loop's work pool.
 * Owns:     every record from `record` until `committed`, `dropped`, or the return of `revoked`.
 * Errors:   what a person must change (settings, topics, rights) is VD_E_CONFIG; everything else is retried for as long as it
 *           takes, and vd_kafka_status() says why nothing moves.
 * Invariants:
 *   I1 every delivered record gets exactly one of: `committed`, `dropped`, or being forgotten by `revoked` before it was settled.
 *   I2 no callback runs inside vd_kafka_settle(), vd_kafka_resume(), vd_kafka_pause() or vd_kafka_unpause().
 *   I3 outcomes are published in the order in which they were settled; those of an aborted transaction come first again.
 *   I4 outcomes are published again only after their transaction is known not to have been committed.
 *
 *    record() --> pipeline --> vd_kafka_settle() --> ready --> transaction --> committed()
 *        ^            |                                ^            |
 *        |            +-- revoked(): forgotten         +-- aborted -+--> dropped(): partition gone before it was durable
 */
#ifndef VD_KAFKA_KAFKA_H
#define VD_KAFKA_KAFKA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "loop/loop.h"

struct vd_kafka;

/* -- records ----------------------------------------------------------------------------------------------------- */

struct vd_header {
    struct vd_span name;
    struct vd_span value; /* ptr NULL: null value */
};

/* One delivered record. All bytes belong to it and live as long as it does. */
struct vd_record {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;            /* wall clock of the record; -1: none */
    struct vd_span key;              /* ptr NULL: no key */
    struct vd_span value;            /* ptr NULL: null value */
    const struct vd_header *headers; /* in the record's order, repeats included */
    size_t header_count;
    int64_t epoch; /* counts assignments; another one of the same partition has another epoch */
    int32_t generation; /* of the group when the partition was assigned; -1: there is no group */
    int64_t fetched_mono_ms;
    void *user; /* the pipeline's own; NULL at first */
};

/* -- outcomes ---------------------------------------------------------------------------------------------------- */

enum vd_output_kind {
    VD_OUTPUT_DECISION,
    VD_OUTPUT_REVIEW,
    VD_OUTPUT_SHADOW,
    VD_OUTPUT_AUDIT,
    VD_OUTPUT_DEAD_LETTER,
};

/* One record to produce; everything in it is memory of its own (vd_output_free). */
struct vd_output {
    enum vd_output_kind kind;
    const char *topic;
    struct vd_span key;   /* ptr NULL: no key */
    struct vd_span value; /* ptr NULL: null value; on the heap */
    struct vd_header *headers;
    size_t header_count, header_room;
    size_t framing_bytes;   /* all but the value, for vd_output_bytes() */
    struct vd_arena arena;  /* all but the value: a dozen headers are two dozen small texts */
    struct vd_output *next; /* outputs of one record form a list, produced in this order */
};

/* Copies topic, key and value; NULL when memory is out. */
struct vd_output *vd_output_new(enum vd_output_kind kind, const char *topic, struct vd_span key,
                                struct vd_span value);
/* The bytes become the value of an output that has none yet, without a copy; take_value is empty then. */
void vd_output_take_value(struct vd_output *output, struct vd_buf *take_value);
/* Copies; false when memory is out. */
bool vd_output_add_header(struct vd_output *output, struct vd_span name, struct vd_span value);
/* The same, but name is a literal, and not copied. */
bool vd_output_add_known_header(struct vd_output *output, const char *literal,
                                struct vd_span value);
/* Replaces the value by a copy; false when memory is out (the old one stays). */
bool vd_output_set_value(struct vd_output *output, struct vd_span value);
void *vd_output_free(struct vd_output *list); /* the whole list; NULL-safe; returns NULL */
/* Bytes that a broker holds against max.message.bytes, a little more than exact. */
size_t vd_output_bytes(const struct vd_output *output);

/* -- settings ---------------------------------------------------------------------------------------------------- */

enum vd_kafka_delivery { VD_KAFKA_EXACTLY_ONCE, VD_KAFKA_AT_LEAST_ONCE };
enum vd_kafka_start { VD_KAFKA_START_UNSET, VD_KAFKA_START_EARLIEST, VD_KAFKA_START_LATEST };
enum vd_kafka_assignor { VD_KAFKA_COOPERATIVE_STICKY, VD_KAFKA_RANGE, VD_KAFKA_ROUNDROBIN };

/* One librdkafka property. A name that ends in "_file" names a file that holds the value of the property without it (one
 * trailing newline is cut): "sasl.password_file". */
struct vd_kafka_property {
    const char *name;
    const char *value;
};

/* Copied by vd_kafka_new(). A zero where a number stands means its default. */
struct vd_kafka_conf {
    const char *brokers;
    const char *group;
    const char *client_id;   /* NULL: "verdict" */
    const char *instance_id; /* group.instance.id (static membership); NULL: none */
    const char *
        transactional_id; /* one for each slot, stable over restarts. NULL: group and instance_id, or group and host name;
                                     two workers on one host then need one each, or they fence each other */
    const char *const *topics; /* to consume */
    size_t topic_count;
    const char *const *output_topics; /* every topic that an output may name */
    size_t output_topic_count;
    enum vd_kafka_delivery delivery;
    bool
        embedded; /* the brokers are an embedded mock cluster: at least once, whatever delivery says */
    enum vd_kafka_start start; /* for a group that has committed nothing yet */
    enum vd_kafka_assignor assignor;
    uint32_t commit_interval_ms; /* 100 */
    uint32_t
        commit_outcomes; /* 500 ready outcomes start a transaction before the interval is over */
    uint32_t transaction_timeout_ms;            /* 10000 */
    uint32_t session_timeout_ms;                /* 45000 */
    uint32_t max_poll_interval_ms;              /* 300000 */
    uint32_t prefetch_messages;                 /* 5000 for each partition */
    uint32_t prefetch_kbytes;                   /* 8192 for each partition */
    uint32_t max_offset_span;                   /* VD_LEDGER_MAX_SPAN, its maximum */
    const struct vd_kafka_property *properties; /* passed through to librdkafka; some are refused */
    size_t property_count;
};

/* Every fault of conf's settings and properties, one call of fault() each (key: the setting or property; why: a sentence). Returns
 * how many. Needs no broker. */
size_t vd_kafka_conf_check(const struct vd_kafka_conf *conf,
                           void (*fault)(void *arg, const char *key, const char *why), void *arg);
/* Is the value of this property a secret, to be masked when settings are shown? */
bool vd_kafka_property_secret(const char *name);

/* -- callbacks --------------------------------------------------------------------------------------------------- */

struct vd_kafka_callbacks {
    /* How many more records may be delivered now. Asked before each delivery. */
    size_t (*room)(void *arg);
    /* A new record, in offset order within its partition. May settle it, but only from a later turn on or by vd_kafka_settle()
     * right here: both work. */
    void (*record)(void *arg, struct vd_record *rec);
    /* Optional. A partition was assigned, and the group has committed nothing on any of its topics: nobody has decided anything yet. */
    void (*first_start)(void *arg);
    /* Optional (NULL: true). It is known where the partition goes on, and nothing of it was delivered yet: what earlier owners left
     * behind can be finished now, none of them can commit any more (delivery.md). True: deliver; false: when
     * vd_kafka_ready() is called. */
    bool (*assigned)(void *arg, const char *topic, int32_t partition, int64_t epoch,
                     int32_t generation);
    /* The partition goes to another worker. Cancel the jobs of its records that are not settled and forget those records: they are
     * freed when this returns. Settled ones still end in committed() or dropped(). lost: it is gone already. */
    void (*revoked)(void *arg, const char *topic, int32_t partition, int64_t epoch, bool lost);
    /* The record's outcome and its finished offset are durable. Freed when this returns. */
    void (*committed)(void *arg, struct vd_record *rec);
    /* A settled record whose partition was taken away before its outcome was known to be durable: whoever has the partition now goes by
     * the committed map. Freed when this returns. */
    void (*dropped)(void *arg, struct vd_record *rec);
    /* The brokers keep refusing the outcome of rec (why). Returns what to publish instead, something that fits; owned by kafka. */
    struct vd_output *(*minimal)(void *arg, struct vd_record *rec, const char *why);
    /* Optional (NULL): a transaction begins with these outputs, in the order of publication. Values may still be changed
     * (vd_output_set_value, vd_output_add_header): the audit chain is linked here. session changes when there is a new producer,
     * and the chain begins anew. Called again for outputs of an aborted transaction. */
    void (*sealing)(void *arg, uint64_t session, struct vd_output *const *outputs, size_t count);
    /* Optional: how that transaction ended, before committed() is called for its records. */
    void (*sealed)(void *arg, uint64_t session, bool committed);
    /* Optional: vd_kafka_status() says something new. */
    void (*status)(void *arg);
    /* Nothing helps any more; stop the worker with this error. VD_E_CONFIG ends in exit 78, a shared transactional.id in 75 (VD_E_TIMEOUT). */
    void (*fatal)(void *arg, const struct vd_err *err);
};

/* -- life -------------------------------------------------------------------------------------------------------- */

/* Checks conf; connects to nothing. callbacks is copied. */
enum vd_code vd_kafka_new(struct vd_loop *loop, const struct vd_kafka_conf *conf,
                          const struct vd_kafka_callbacks *callbacks, void *arg,
                          struct vd_kafka **ret_kafka, struct vd_err *err) VD_MUST_CHECK;
/* Looks for brokers and topics, warms the producer up, then joins the group. Returns at once; retries for as long as it takes. */
enum vd_code vd_kafka_start(struct vd_kafka *k, struct vd_err *err) VD_MUST_CHECK;
/* No more records. What settles is still published. */
void vd_kafka_drain(struct vd_kafka *k);
/* Publishes what is settled, drops the rest, leaves the group (static members do not), and calls done(arg) once. Takes at most
 * about deadline_ms and 6 s more; works in every state, also before start. Afterwards only vd_kafka_free() may follow. */
void vd_kafka_stop(struct vd_kafka *k, uint32_t deadline_ms, vd_loop_fn *done, void *arg);
/* Only before start, or after stop's done was called. NULL-safe; returns NULL. */
void *vd_kafka_free(struct vd_kafka *k);

/* -- work -------------------------------------------------------------------------------------------------------- */

/* All jobs of rec are done. take_outputs: everything it leads to, published together with its offset in one transaction; NULL: a
 * counted skip. Both are kafka's now. */
void vd_kafka_settle(struct vd_kafka *k, struct vd_record *rec, struct vd_output *take_outputs);
/* room() may have grown. */
void vd_kafka_resume(struct vd_kafka *k);
/* Stop delivering from one partition; reason is copied and shown. Ends with unpause or with the assignment. False: not assigned. */
bool vd_kafka_pause(struct vd_kafka *k, const char *topic, int32_t partition, const char *reason);
bool vd_kafka_unpause(struct vd_kafka *k, const char *topic, int32_t partition);

/* The partition of `assigned` may be delivered now. Ignored when that assignment has ended. */
void vd_kafka_ready(struct vd_kafka *k, const char *topic, int32_t partition, int64_t epoch);
/* Is offset finished, by what is committed? False for a partition that is not assigned, or not known yet. */
bool vd_kafka_finished(const struct vd_kafka *k, const char *topic, int32_t partition,
                       int64_t offset);

/* -- what is known ----------------------------------------------------------------------------------------------- */

enum vd_kafka_phase {
    VD_KAFKA_IDLE,       /* not started */
    VD_KAFKA_CONNECTING, /* no broker has answered yet */
    VD_KAFKA_TOPICS,     /* a topic is missing or denied */
    VD_KAFKA_WARMING,    /* the producer is being initialised */
    VD_KAFKA_JOINING,    /* waiting for the group */
    VD_KAFKA_RUNNING,    /* member of the group */
    VD_KAFKA_RECOVERING, /* the result of a transaction is unknown, or the worker was fenced: being resolved */
    VD_KAFKA_CLOSING,
    VD_KAFKA_CLOSED,
};

struct vd_kafka_status {
    enum vd_kafka_phase phase;
    bool joined_once;  /* for /readyz */
    bool brokers_down; /* no broker is reachable right now */
    const char *
        trouble; /* why nothing moves, a sentence; "" when all is well. Borrowed until the next turn */
    const char *cluster_id; /* NULL until known */
    const char *member_id;  /* NULL while not a member */
    const char *transactional_id;
    const char *delivery; /* "exactly once", "at least once", "at least once (embedded broker)" */
    uint64_t session;     /* producer session */
    size_t ready;         /* settled, waiting for a transaction */
    size_t publishing;    /* in the running transaction */
    uint64_t delivered, skipped_finished, committed_records, dropped_records;
    uint64_t transactions, aborts, unknown_results, rebuilds, fenced, culprits;
    int64_t last_commit_mono_ms; /* 0: none yet */
    int64_t last_commit_took_us;
};
void vd_kafka_status(const struct vd_kafka *k, struct vd_kafka_status *ret);
const char *vd_kafka_phase_name(enum vd_kafka_phase phase);

struct vd_kafka_partition {
    const char *topic;
    int32_t partition;
    int64_t epoch;
    int64_t base; /* -1 until known */
    int64_t next; /* next offset to be delivered; -1 until known */
    int64_t end;  /* end of the log, as last seen; -1 until known */
    int64_t lag;  /* end - next and the records in flight, -1 until known */
    uint32_t span;
    size_t in_flight; /* delivered, not durable */
    const char *
        paused; /* reason, NULL when not paused; "span" when the cap is reached, "assigned" until vd_kafka_ready() */
    const char *refused; /* why it is not consumed, NULL when it is */
};
/* Calls fn for each assigned partition, ordered by topic and partition; everything borrowed for the call. */
void vd_kafka_partitions(const struct vd_kafka *k,
                         void (*fn)(void *arg, const struct vd_kafka_partition *p), void *arg);

/* Largest vd_output_bytes() that topic takes; the broker's default where it does not say. */
size_t vd_kafka_max_record_bytes(const struct vd_kafka *k, const char *topic);
const char *
vd_kafka_cluster_id(const struct vd_kafka *k); /* NULL until known; known before the first record */
/* False on an embedded broker and with delivery = "at_least_once". */
bool vd_kafka_exactly_once(const struct vd_kafka *k);
/* librdkafka's version at run time, "2.0.2". */
const char *vd_kafka_library_version(void);

#endif
