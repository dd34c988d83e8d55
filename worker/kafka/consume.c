/* kafka/consume.c - the consumer's events: group and errors first, then records, in turns.
 *
 * Each partition has its own queue, and is polled only while its span and the pipeline have room: not polling is how a partition is
 * paused, and librdkafka's prefetch bound is all that piles up meanwhile. rd_kafka_pause_partitions() is not used: its
 * position handling skipped records in some versions.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "kafka/internal.h"

#define TURN_BUDGET      256 /* records a loop turn: other events of the loop must get their turn */
#define PARTITION_BUDGET 16  /* of them in a row from one partition */
#define SERVE_BUDGET     64  /* group events a turn */

/* -- records ----------------------------------------------------------------------------------------------------- */

static void link_unsettled(struct vd_partition *part, struct vd_entry *e)
{
    e->next = part->unsettled;
    e->link = &part->unsettled;
    if (e->next != NULL)
        e->next->link = &e->next;
    part->unsettled = e;
    part->unsettled_count++;
}

/* Negative control: count offsets that do not exist as unfinished. */
static void spoil_gap(struct vd_partition *part, int64_t offset)
{
    int64_t o;

    for (o = vd_ledger_next(part->ledger); o < offset; o++)
        if (vd_ledger_deliver(part->ledger, o) != VD_LEDGER_TAKE)
            break;
}

/* False: beyond the span; the entry is held until base moves. */
static bool offer(struct vd_kafka *k, struct vd_partition *part, struct vd_entry *e)
{
    if (k->sabotage.gaps_unfinished)
        spoil_gap(part, e->record.offset);
    switch (vd_ledger_deliver(part->ledger, e->record.offset)) {
    case VD_LEDGER_FULL:
        part->held = e;
        return false;
    case VD_LEDGER_SKIP:
        k->counts.skipped_finished++;
        (void)vd_entry_free(e);
        return true;
    case VD_LEDGER_TAKE:
        break;
    }
    k->counts.delivered++;
    if (k->trouble[VD_TROUBLE_TOPICS][0] != '\0')
        vd_kafka_trouble(k, VD_TROUBLE_TOPICS, NULL);
    link_unsettled(part, e);
    k->callbacks.record(k->arg, &e->record);
    return true;
}

static void partition_error(struct vd_kafka *k, struct vd_partition *part, rd_kafka_resp_err_t code,
                            const char *text, int64_t offset)
{
    char why[200];

    switch (code) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        if (!k->sabotage.gaps_unfinished)
            vd_ledger_gap(part->ledger, offset);
        return;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        (void)snprintf(why, sizeof(why),
                       "the log has no offset %" PRId64
                       " any more, from there on records were deleted before they were read: "
                       "`verdict offsets reset` gives them up",
                       vd_ledger_next(part->ledger));
        vd_partition_refuse(k, part, why);
        return;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        vd_kafka_trouble(k, VD_TROUBLE_TOPICS, "topic %s: %s", part->topic, rd_kafka_err2str(code));
        return; /* librdkafka goes on where it was */
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
        /* Going on would take what cannot be read for a gap. */
        (void)snprintf(why, sizeof(why), "records from offset %" PRId64 " on cannot be read: %s",
                       vd_ledger_next(part->ledger), text);
        vd_partition_refuse(k, part, why);
        return;
    default:
        vd_log(VD_DEBUG, "kafka.partition_error", VD_F_STR("topic", part->topic),
               VD_F_INT("partition", part->partition), VD_F_STR("error", rd_kafka_err2name(code)),
               VD_F_STR("text", text));
    }
}

static void deliver_event(struct vd_kafka *k, struct vd_partition *part, rd_kafka_event_t *event)
{
    const rd_kafka_message_t *message;

    while ((message = rd_kafka_event_message_next(event)) != NULL) {
        struct vd_entry *e;

        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            partition_error(k, part, message->err, rd_kafka_message_errstr(message),
                            message->offset);
            continue;
        }
        e = vd_entry_new(part, part->topic, part->epoch, message);
        if (e == NULL) {
            /* Dropping it silently would make it a gap. */
            vd_partition_refuse(k, part, "out of memory while taking a record");
            return;
        }
        e->record.generation = part->generation;
        (void)offer(k, part, e);
    }
}

static void one_event(struct vd_kafka *k, struct vd_partition *part, rd_kafka_event_t *event)
{
    rd_kafka_topic_partition_t *at;

    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_FETCH:
        deliver_event(k, part, event);
        break;
    case RD_KAFKA_EVENT_ERROR:
        at = rd_kafka_event_topic_partition(event);
        partition_error(k, part, rd_kafka_event_error(event), rd_kafka_event_error_string(event),
                        at == NULL ? -1 : at->offset);
        if (at != NULL)
            rd_kafka_topic_partition_destroy(at);
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(event);
}

static bool may_poll(const struct vd_partition *part)
{
    return part->state == VD_PARTITION_RUNNING && part->ready && part->queue != NULL &&
           !part->revoking && part->paused == NULL && vd_ledger_has_room(part->ledger);
}

/* Up to budget events of one partition. Returns how many there were. */
static size_t poll_partition(struct vd_kafka *k, struct vd_partition *part, size_t budget)
{
    size_t n = 0;

    while (n < budget && may_poll(part) && k->callbacks.room(k->arg) > 0) {
        rd_kafka_event_t *event;

        if (part->held != NULL) {
            struct vd_entry *e = part->held;

            part->held = NULL;
            if (!offer(k, part, e))
                break;
            n++;
            continue;
        }
        event = rd_kafka_queue_poll(part->queue, 0);
        if (event == NULL)
            break;
        one_event(k, part, event);
        n++;
    }
    return n;
}

static void pump_again(void *arg)
{
    struct vd_kafka *k = arg;

    k->pump_deferred = false;
    vd_consume_pump(k);
}

void vd_consume_pump(struct vd_kafka *k)
{
    size_t spent = 0, idle = 0;

    if (k->draining || k->closing != VD_CLOSING_NO || k->pump_deferred)
        return;
    while (idle < k->part_count && spent < TURN_BUDGET) {
        size_t n;

        k->turn = k->turn + 1 < k->part_count ? k->turn + 1 : 0;
        n = poll_partition(k, k->parts[k->turn], PARTITION_BUDGET);
        spent += n;
        idle = n == 0 ? idle + 1 : 0;
    }
    if (idle < k->part_count && vd_loop_defer(k->loop, pump_again, k) == VD_OK)
        k->pump_deferred = true;
}

/* -- group events and errors ------------------------------------------------------------------------------------- */

static void client_error(struct vd_kafka *k, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);
    char fatal[200];

    if (rd_kafka_event_error_is_fatal(event)) {
        code = rd_kafka_fatal_error(k->rk, fatal, sizeof(fatal));
        if (code == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
            vd_kafka_fenced(k, "group.instance.id", k->conf.instance_id);
        else
            vd_kafka_fenced(k, fatal, NULL);
        return;
    }
    switch (code) {
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        k->brokers_down = true;
        vd_kafka_trouble(k, VD_TROUBLE_BROKERS, "no broker of %s is reachable: %s", k->conf.brokers,
                         text);
        break;
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
        vd_kafka_trouble(k, VD_TROUBLE_BROKERS, "%s", text);
        break;
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL:
    case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
    case RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED:
        vd_kafka_trouble(k, VD_TROUBLE_GROUP, "%s", text);
        break;
    default:
        vd_log(VD_DEBUG, "kafka.client_error", VD_F_STR("error", rd_kafka_err2name(code)),
               VD_F_STR("text", text));
    }
}

static void serve_queue(struct vd_kafka *k, rd_kafka_queue_t *queue)
{
    rd_kafka_t *rk = k->rk;
    size_t budget = SERVE_BUDGET;
    rd_kafka_event_t *event;

    while (k->rk == rk && rk != NULL && budget-- > 0 &&
           (event = rd_kafka_queue_poll(queue, 0)) != NULL) {
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_REBALANCE:
            vd_rebalance_event(k, event);
            break;
        case RD_KAFKA_EVENT_ERROR:
            client_error(k, event);
            break;
        default:
            break;
        }
        rd_kafka_event_destroy(event);
    }
}

void vd_consume_serve(struct vd_kafka *k)
{
    if (k->rk != NULL && k->close_queue != NULL)
        serve_queue(k, k->close_queue);
    else if (k->rk != NULL && k->queue != NULL)
        serve_queue(k, k->queue);
    vd_rebalance_step(k);
    vd_consume_pump(k);
    vd_kafka_closing_step(k);
}

void vd_consume_on_fd(void *arg, int events)
{
    struct vd_kafka *k = arg;
    uint64_t count;

    (void)events;
    while (read(k->event_fd, &count, sizeof(count)) > 0) {
    }
    vd_consume_serve(k);
}
