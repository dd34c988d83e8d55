/* kafka/rebalance.c - assignment, revocation and loss, and where each partition goes on.
 *
 *   ASSIGN --> RECOVERING --lookup--> BEGINNING --first commit--> RUNNING      REVOKE --> publish what is settled, at most 5 s
 *                  |                      ^                          |                  --> gone --> unassign
 *                  +--> REFUSED           +-- or straight to RUNNING +--> REFUSED  LOST --> gone at once
 *
 * The rebalance is acknowledged at once, with nothing: looking up what is committed may wait for a dead worker's transaction, and the
 * group must not wait for that. Partitions are added to librdkafka's assignment when they are recovered; the eager protocol
 * replaces whole assignments, so there all of them are added together.
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "kafka/internal.h"
#include "kafka/lookup.h"
#include "kafka/recovery.h"

#define REVOKE_LIMIT_MS 5000

/* -- the table --------------------------------------------------------------------------------------------------- */

static int order(const struct vd_partition *p, const char *topic, int32_t partition)
{
    int by_topic = strcmp(p->topic, topic);

    return by_topic != 0 ? by_topic : (p->partition > partition) - (p->partition < partition);
}

static size_t place(const struct vd_kafka *k, const char *topic, int32_t partition)
{
    size_t i = 0;

    while (i < k->part_count && order(k->parts[i], topic, partition) < 0)
        i++;
    return i;
}

struct vd_partition *vd_partition_find(const struct vd_kafka *k, const char *topic,
                                       int32_t partition)
{
    size_t i = place(k, topic, partition);

    return i < k->part_count && order(k->parts[i], topic, partition) == 0 ? k->parts[i] : NULL;
}

void vd_partition_unref(struct vd_partition *part)
{
    if (--part->refs > 0)
        return;
    (void)vd_free(part->topic);
    (void)vd_free(part->paused);
    (void)vd_free(part->refused);
    (void)vd_ledger_free(part->ledger);
    (void)vd_free(part);
}

static struct vd_partition *add(struct vd_kafka *k, const char *topic, int32_t partition)
{
    size_t at = place(k, topic, partition);
    struct vd_partition *part = vd_alloc(sizeof(*part));
    struct vd_partition **grown =
        vd_realloc_array(k->parts, k->part_count + 1, sizeof(struct vd_partition *));

    if (grown != NULL)
        k->parts = grown;
    if (part != NULL)
        part->topic = vd_strdup(topic);
    if (grown == NULL || part == NULL || part->topic == NULL) {
        (void)vd_free(part);
        return NULL;
    }
    part->refs = 1;
    part->partition = partition;
    part->epoch = ++k->epochs;
    part->generation = k->generation;
    part->state = VD_PARTITION_RECOVERING;
    part->recovering_since_mono_ms = vd_mono_ms();
    memmove(grown + at + 1, grown + at, (k->part_count - at) * sizeof(struct vd_partition *));
    grown[at] = part;
    k->part_count++;
    return part;
}

static void forget_unsettled(struct vd_partition *part)
{
    while (part->unsettled != NULL) {
        struct vd_entry *e = part->unsettled;

        part->unsettled = e->next;
        (void)vd_entry_free(e);
    }
    part->unsettled_count = 0;
    part->held = vd_entry_free(part->held);
}

/* The pipeline lets go of everything that is not settled. */
static void stop_delivering(struct vd_kafka *k, struct vd_partition *part, bool lost)
{
    if (part->revoking)
        return;
    part->revoking = true;
    k->callbacks.revoked(k->arg, part->topic, part->partition, part->epoch, lost);
    forget_unsettled(part);
}

/* Out of the table. Settled records that are in a running transaction keep it alive. */
static void remove_part(struct vd_kafka *k, struct vd_partition *part)
{
    size_t at = place(k, part->topic, part->partition);

    k->part_count--;
    memmove(k->parts + at, k->parts + at + 1, (k->part_count - at) * sizeof(struct vd_partition *));
    part->gone = true;
    if (!k->sabotage.ignore_epochs)
        vd_outcomes_drop(k, part);
    if (part->queue != NULL)
        rd_kafka_queue_destroy(part->queue);
    part->queue = NULL;
    part->ledger = vd_ledger_free(part->ledger);
    vd_partition_unref(part);
}

/* The first of them stands for all; vd_kafka_partitions() has each. */
static void show_refused(struct vd_kafka *k)
{
    size_t i;

    for (i = 0; i < k->part_count; i++) {
        const struct vd_partition *part = k->parts[i];

        if (part->refused == NULL)
            continue;
        vd_kafka_trouble(k, VD_TROUBLE_RECOVERY, "%s[%" PRId32 "] is refused: %s", part->topic,
                         part->partition, part->refused);
        return;
    }
    vd_kafka_trouble(k, VD_TROUBLE_RECOVERY, NULL);
}

void vd_partition_refuse(struct vd_kafka *k, struct vd_partition *part, const char *why)
{
    if (part->state == VD_PARTITION_REFUSED)
        return;
    part->state = VD_PARTITION_REFUSED;
    (void)vd_free(part->refused);
    part->refused = vd_strdup(why);
    vd_log(VD_ERROR, "kafka.refused", VD_F_STR("topic", part->topic),
           VD_F_INT("partition", part->partition), VD_F_STR("reason", why));
    show_refused(k);
}

/* -- group metadata ---------------------------------------------------------------------------------------------- */

/* Generation and member id out of the serialized form: "CGMDv2:", int32 generation, group id NUL, member id NUL, ... (librdkafka
 * 1.6 to 2.x; there is no accessor). False for a form that is not known, or for no member. */
static bool usable(const rd_kafka_consumer_group_metadata_t *metadata, int32_t *ret_generation)
{
    static const char magic[] = "CGMDv2:";
    rd_kafka_error_t *error;
    void *bytes = NULL;
    size_t size = 0, at = sizeof(magic) - 1 + sizeof(int32_t);
    int32_t generation = -1;
    bool member = false;

    error = rd_kafka_consumer_group_metadata_write(metadata, &bytes, &size);
    if (error != NULL) {
        rd_kafka_error_destroy(error);
        return false;
    }
    if (size > at && memcmp(bytes, magic, sizeof(magic) - 1) == 0) {
        memcpy(&generation, (char *)bytes + sizeof(magic) - 1, sizeof(generation));
        while (at < size && ((char *)bytes)[at] != '\0')
            at++;
        member = at + 1 < size && ((char *)bytes)[at + 1] != '\0';
    }
    rd_kafka_mem_free(NULL, bytes);
    member = member && generation >= 0;
    if (member)
        *ret_generation = generation;
    return member;
}

static void drop_group(struct vd_kafka *k)
{
    vd_group_unref(k->group);
    k->group = NULL;
    k->generation = -1;
    k->member_id = vd_free(k->member_id);
}

/* At a rebalance event, while it is unanswered, the client cannot have joined again: its metadata is this assignment's. */
static void capture_group(struct vd_kafka *k)
{
    rd_kafka_consumer_group_metadata_t *metadata = rd_kafka_consumer_group_metadata(k->rk);
    char *member;

    drop_group(k);
    if (metadata == NULL)
        return;
    if (usable(metadata, &k->generation)) {
        k->group = vd_alloc(sizeof(*k->group));
        if (k->group != NULL) {
            *k->group = (struct vd_group){.metadata = metadata, .refs = 1};
            metadata = NULL;
        }
        member = rd_kafka_memberid(k->rk);
        k->member_id = vd_strdup(member);
        rd_kafka_mem_free(k->rk, member);
    }
    if (metadata != NULL)
        rd_kafka_consumer_group_metadata_destroy(metadata);
}

/* -- what librdkafka is told ------------------------------------------------------------------------------------- */

static void report(struct vd_kafka *k, const char *what, rd_kafka_error_t *error)
{
    if (error == NULL)
        return;
    vd_kafka_trouble(k, VD_TROUBLE_GROUP, "%s: %s", what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
}

static void tell_assign(struct vd_kafka *k, const rd_kafka_topic_partition_list_t *list)
{
    if (k->cooperative)
        report(k, "incremental_assign", rd_kafka_incremental_assign(k->rk, list));
    else if (rd_kafka_assign(k->rk, list) != RD_KAFKA_RESP_ERR_NO_ERROR)
        vd_kafka_trouble(k, VD_TROUBLE_GROUP, "assign failed");
}

/* The partition's own queue, not forwarded to the consumer's; what an earlier assignment left in it is thrown away. */
static void open_queue(struct vd_kafka *k, struct vd_partition *part)
{
    static const uint64_t one = 1;
    rd_kafka_event_t *event;

    part->queue = rd_kafka_queue_get_partition(k->rk, part->topic, part->partition);
    if (part->queue == NULL)
        return;
    rd_kafka_queue_forward(part->queue, NULL);
    while ((event = rd_kafka_queue_poll(part->queue, 0)) != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_io_event_enable(part->queue, k->event_fd, &one, sizeof(one));
}

/* Give everything that is recovered and not fetching yet to librdkafka. */
static void fetch_recovered(struct vd_kafka *k)
{
    rd_kafka_topic_partition_list_t *list;
    size_t i;

    for (i = 0; !k->cooperative && i < k->part_count; i++)
        if (k->parts[i]->state == VD_PARTITION_RECOVERING)
            return; /* the eager protocol takes them all at once */
    list = rd_kafka_topic_partition_list_new((int)k->part_count);
    for (i = 0; i < k->part_count; i++) {
        struct vd_partition *part = k->parts[i];

        if (part->ledger == NULL || part->revoking || part->fetching)
            continue;
        open_queue(k, part);
        part->fetching = true;
        rd_kafka_topic_partition_list_add(list, part->topic, part->partition)->offset =
            vd_ledger_base(part->ledger);
    }
    if (list->cnt > 0)
        tell_assign(k, list);
    rd_kafka_topic_partition_list_destroy(list);
}

/* -- events ------------------------------------------------------------------------------------------------------ */

static void on_assign(struct vd_kafka *k, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *nothing = rd_kafka_topic_partition_list_new(0);
    int i;

    capture_group(k);
    tell_assign(k, nothing);
    rd_kafka_topic_partition_list_destroy(nothing);
    k->joined_once = true;
    k->brokers_down = false;
    vd_kafka_trouble(k, VD_TROUBLE_BROKERS, NULL);
    vd_kafka_trouble(k, VD_TROUBLE_GROUP, NULL);
    vd_log(VD_INFO, "kafka.assigned", VD_F_STR("group", k->conf.group),
           VD_F_INT("partitions", list->cnt));
    for (i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *tp = &list->elems[i];

        if (vd_partition_find(k, tp->topic, tp->partition) != NULL)
            continue;
        if (add(k, tp->topic, tp->partition) == NULL)
            vd_kafka_fail(k, VD_E_NOMEM, "out of memory: partition");
    }
    if (k->phase == VD_KAFKA_JOINING)
        vd_kafka_set_phase(k, VD_KAFKA_RUNNING);
    vd_rebalance_lookup(k);
    vd_outcomes_kick(k);
}

void vd_rebalance_take_all(struct vd_kafka *k)
{
    size_t i;
    int32_t p;

    k->cooperative = false;
    k->joined_once = true;
    for (i = 0; i < k->conf.topic_count; i++)
        for (p = 0; p < k->input_partitions[i]; p++)
            if (add(k, k->conf.topics[i], p) == NULL)
                vd_kafka_fail(k, VD_E_NOMEM, "out of memory: partition");
    vd_kafka_set_phase(k, VD_KAFKA_RUNNING);
    vd_rebalance_lookup(k);
}

static void finish_revoke(struct vd_kafka *k)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    size_t i = 0;

    k->revoke_pending = false;
    while (i < k->part_count) {
        struct vd_partition *part = k->parts[i];

        if (!part->revoking) {
            i++;
            continue;
        }
        if (part->fetching)
            (void)rd_kafka_topic_partition_list_add(list, part->topic, part->partition);
        remove_part(k, part);
    }
    if (k->cooperative)
        report(k, "incremental_unassign", rd_kafka_incremental_unassign(k->rk, list));
    else
        (void)rd_kafka_assign(k->rk, NULL);
    rd_kafka_topic_partition_list_destroy(list);
    show_refused(k);
}

static bool outcomes_pending(const struct vd_kafka *k)
{
    size_t i;

    for (i = 0; i < k->part_count; i++)
        if (k->parts[i]->revoking && (k->parts[i]->settled_count > 0 || k->parts[i]->in_batch))
            return true;
    return false;
}

static void on_revoke(struct vd_kafka *k, const rd_kafka_topic_partition_list_t *list, bool lost)
{
    int i;

    if (k->revoke_pending)
        finish_revoke(k);
    if (lost) {
        drop_group(k);
        if (k->running != NULL)
            atomic_store(&k->running->batch.cancel, true);
    } else {
        capture_group(k); /* cooperative: this event already belongs to the next generation */
    }
    vd_log(lost ? VD_WARN : VD_INFO, lost ? "kafka.lost" : "kafka.revoked",
           VD_F_STR("group", k->conf.group), VD_F_INT("partitions", list->cnt));
    for (i = 0; i < list->cnt; i++) {
        struct vd_partition *part =
            vd_partition_find(k, list->elems[i].topic, list->elems[i].partition);

        if (part != NULL)
            stop_delivering(k, part, lost);
    }
    k->revoke_pending = true;
    k->revoke_deadline_mono_ms = vd_mono_ms() + (lost ? 0 : REVOKE_LIMIT_MS);
    if (lost)
        finish_revoke(k);
    else
        vd_outcomes_now(k);
    vd_rebalance_step(k);
}

void vd_rebalance_step(struct vd_kafka *k)
{
    if (k->revoke_pending && (!outcomes_pending(k) || vd_mono_ms() >= k->revoke_deadline_mono_ms))
        finish_revoke(k);
}

void vd_rebalance_lose_all(struct vd_kafka *k)
{
    size_t i;

    drop_group(k);
    k->revoke_pending = false;
    for (i = 0; i < k->part_count; i++)
        stop_delivering(k, k->parts[i], true);
    while (k->part_count > 0)
        remove_part(k, k->parts[0]);
    vd_kafka_trouble(k, VD_TROUBLE_RECOVERY, NULL);
}

void vd_rebalance_event(struct vd_kafka *k, rd_kafka_event_t *event)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);

    k->cooperative = strcmp(rd_kafka_rebalance_protocol(k->rk), "COOPERATIVE") == 0;
    switch (rd_kafka_event_error(event)) {
    case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS:
        on_assign(k, list);
        break;
    case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
        on_revoke(k, list, rd_kafka_assignment_lost(k->rk) != 0);
        break;
    default:
        vd_kafka_trouble(k, VD_TROUBLE_GROUP, "rebalance: %s",
                         rd_kafka_err2str(rd_kafka_event_error(event)));
        (void)rd_kafka_assign(k->rk, NULL);
    }
}

/* -- the pipeline's part ----------------------------------------------------------------------------------------- */

/* False: no partition was left to tell of. A callback may change the table, so each search begins anew. */
static bool announce_one(struct vd_kafka *k)
{
    size_t i;

    for (i = 0; i < k->part_count; i++) {
        struct vd_partition *part = k->parts[i];

        if (part->state != VD_PARTITION_RUNNING || part->announced || part->revoking)
            continue;
        part->announced = true;
        if (k->callbacks.assigned == NULL ||
            k->callbacks.assigned(k->arg, part->topic, part->partition, part->epoch,
                                  part->generation))
            part->ready = true;
        return true;
    }
    return false;
}

void vd_rebalance_announce(struct vd_kafka *k)
{
    while (announce_one(k)) {
    }
}

void vd_kafka_ready(struct vd_kafka *k, const char *topic, int32_t partition, int64_t epoch)
{
    struct vd_partition *part = vd_partition_find(k, topic, partition);

    if (part == NULL || part->epoch != epoch || part->ready)
        return;
    part->ready = true;
    vd_kafka_resume(k);
}

bool vd_kafka_finished(const struct vd_kafka *k, const char *topic, int32_t partition,
                       int64_t offset)
{
    const struct vd_partition *part = vd_partition_find(k, topic, partition);

    return part != NULL && part->ledger != NULL && vd_ledger_finished(part->ledger, offset);
}

/* -- recovery ---------------------------------------------------------------------------------------------------- */

struct recovery_work {
    struct vd_lookup lookup; /* first */
    struct vd_kafka *k;
    int64_t *epochs; /* of each wanted one */
};

static void recovery_run(void *arg)
{
    vd_lookup_run(&((struct recovery_work *)arg)->lookup);
}

static void recover(struct vd_kafka *k, struct vd_partition *part, const struct vd_lookup *l, int i)
{
    struct vd_recovery_facts facts = {.start = k->conf.start};
    struct vd_recovery *r = vd_alloc(sizeof(*r));

    if (r == NULL) {
        vd_partition_refuse(k, part, "out of memory");
        return;
    }
    vd_lookup_facts(l, i, &facts);
    vd_recovery_decide(&facts, r);
    if (r->action == VD_RECOVERY_REFUSE) {
        vd_partition_refuse(k, part, r->why);
    } else {
        part->ledger = vd_ledger_restore(&r->map, k->conf.max_offset_span);
        part->state =
            r->action == VD_RECOVERY_BEGIN ? VD_PARTITION_BEGINNING : VD_PARTITION_RUNNING;
        vd_log(VD_INFO, "kafka.partition", VD_F_STR("topic", part->topic),
               VD_F_INT("partition", part->partition), VD_F_INT("base", r->map.base),
               VD_F_INT("finished_above", r->map.bit_count),
               VD_F_INT("begins", r->action == VD_RECOVERY_BEGIN));
        if (part->ledger == NULL)
            vd_partition_refuse(k, part, "out of memory");
    }
    (void)vd_free(r);
}

void vd_rebalance_on_timer(void *k)
{
    vd_rebalance_lookup(k);
}

static void lookup_failed(struct vd_kafka *k, const struct vd_err *err)
{
    int64_t now = vd_mono_ms(), oldest = now;
    uint64_t wait = k->lookup_failures < 4 ? UINT64_C(250) << k->lookup_failures : 5000;
    size_t i;

    k->lookup_failures++;
    for (i = 0; i < k->part_count; i++)
        if (k->parts[i]->state == VD_PARTITION_RECOVERING &&
            k->parts[i]->recovering_since_mono_ms < oldest)
            oldest = k->parts[i]->recovering_since_mono_ms;
    /* Until then it is most likely the open transaction of a worker that died. */
    if (now - oldest > (int64_t)k->conf.transaction_timeout_ms + 15000)
        vd_kafka_trouble(k, VD_TROUBLE_RECOVERY, "what the group has committed cannot be read: %s",
                         err->msg);
    vd_timer_start(k->lookup_timer, wait, 0);
}

static void recovery_done(void *arg)
{
    struct recovery_work *w = arg;
    struct vd_kafka *k = w->k;
    /* Once the consumer leaves the group, an assignment is no help any more: librdkafka 2.0.2 ends the program over one that comes while
     * it terminates (rd_kafka_cgrp_terminated asserts that none is in progress). */
    bool current = k->rk == w->lookup.rk && k->closing < VD_CLOSING_LEAVE;
    int i;

    k->works--;
    k->lookup_running = false;
    if (current && w->lookup.err.code != VD_OK) {
        lookup_failed(k, &w->lookup.err);
    } else if (current) {
        k->lookup_failures = 0;
        if (!w->lookup.group_committed && k->callbacks.first_start != NULL)
            k->callbacks.first_start(k->arg);
        for (i = 0; i < w->lookup.wanted->cnt; i++) {
            const rd_kafka_topic_partition_t *tp = &w->lookup.wanted->elems[i];
            struct vd_partition *part = vd_partition_find(k, tp->topic, tp->partition);

            if (part != NULL && part->epoch == w->epochs[i] &&
                part->state == VD_PARTITION_RECOVERING && !part->revoking)
                recover(k, part, &w->lookup, i);
        }
        show_refused(k);
        vd_rebalance_announce(k);
        fetch_recovered(k);
        vd_outcomes_kick(k);
        vd_rebalance_lookup(k); /* those that were assigned meanwhile */
        vd_consume_pump(k);
    }
    vd_lookup_fini(&w->lookup);
    (void)vd_free(w->epochs);
    (void)vd_free(w);
    vd_kafka_closing_step(k);
}

void vd_rebalance_lookup(struct vd_kafka *k)
{
    struct recovery_work *w;
    size_t i;

    if (k->lookup_running || k->rk == NULL || k->closing >= VD_CLOSING_LEAVE)
        return;
    w = vd_alloc(sizeof(*w));
    if (w == NULL)
        return;
    w->k = k;
    w->lookup.rk = k->rk;
    w->lookup.marks = true;
    w->lookup.topics = k->conf.topics;
    w->lookup.topic_count = k->conf.topic_count;
    w->lookup.wanted = rd_kafka_topic_partition_list_new((int)k->part_count);
    w->epochs = vd_alloc_array(k->part_count, sizeof(*w->epochs));
    for (i = 0; w->epochs != NULL && i < k->part_count; i++) {
        const struct vd_partition *part = k->parts[i];

        if (part->state != VD_PARTITION_RECOVERING || part->revoking)
            continue;
        w->epochs[w->lookup.wanted->cnt] = part->epoch;
        (void)rd_kafka_topic_partition_list_add(w->lookup.wanted, part->topic, part->partition);
    }
    if (w->lookup.wanted->cnt == 0 ||
        vd_loop_work(k->loop, recovery_run, recovery_done, w) != VD_OK) {
        vd_lookup_fini(&w->lookup);
        (void)vd_free(w->epochs);
        (void)vd_free(w);
        return;
    }
    k->works++;
    k->lookup_running = true;
}
