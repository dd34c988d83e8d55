/* kafka/outcomes.c - settled records to transactions, and what their results mean.
 *
 *   settle --> ready --begin()--> running --+-- COMMITTED --> committed()
 *                ^                          +-- ABORTED ----> front of ready again
 *                |                          +-- UNKNOWN ----> a new producer --> look up what is committed --+
 *                +------------------------------------------------ not in the map -------------------------+--> in the map: committed()
 *
 * The snapshot is taken here, on the loop thread, in one go: outcomes, base and map of each of their partitions, and the group
 * metadata captured at the last rebalance event.
 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "kafka/internal.h"
#include "kafka/lookup.h"

#define DIRTY_INTERVAL_MS 2000 /* gaps alone move base so often: nobody waits for them */
#define BACKOFF_MAX_MS    5000

/* -- lines ------------------------------------------------------------------------------------------------------- */

void vd_line_push(struct vd_line *line, struct vd_entry *entry)
{
    entry->next = NULL;
    if (line->last == NULL)
        line->first = entry;
    else
        line->last->next = entry;
    line->last = entry;
    line->count++;
}

struct vd_entry *vd_line_pop(struct vd_line *line)
{
    struct vd_entry *e = line->first;

    if (e == NULL)
        return NULL;
    line->first = e->next;
    if (line->first == NULL)
        line->last = NULL;
    line->count--;
    e->next = NULL;
    return e;
}

/* front, then back; both are taken. */
static struct vd_line join(struct vd_line front, struct vd_line back)
{
    if (front.first == NULL)
        return back;
    if (back.first == NULL)
        return front;
    front.last->next = back.first;
    front.last = back.last;
    front.count += back.count;
    return front;
}

bool vd_outcomes_idle(const struct vd_kafka *k)
{
    return k->ready.count == 0 && k->running == NULL;
}

/* -- the end of a record ----------------------------------------------------------------------------------------- */

static void finish_entry(struct vd_kafka *k, struct vd_entry *e, bool committed)
{
    struct vd_partition *part = e->part;

    part->settled_count--;
    if (committed) {
        k->counts.committed_records++;
        k->callbacks.committed(k->arg, &e->record);
    } else {
        k->counts.dropped_records++;
        k->callbacks.dropped(k->arg, &e->record);
    }
    (void)vd_entry_free(e);
    vd_partition_unref(part);
}

void vd_outcomes_drop(struct vd_kafka *k, struct vd_partition *part)
{
    struct vd_line kept = {0}, all = k->ready;
    struct vd_entry *e;

    k->ready = (struct vd_line){0};
    while ((e = vd_line_pop(&all)) != NULL) {
        if (part == NULL || e->part == part)
            finish_entry(k, e, false);
        else
            vd_line_push(&kept, e);
    }
    k->ready = join(kept, k->ready);
}

static void free_running(struct vd_running *r)
{
    size_t i;

    for (i = 0; i < r->part_count; i++) {
        r->parts[i]->in_batch = false;
        vd_partition_unref(r->parts[i]);
    }
    (void)vd_free(r->batch.outputs);
    if (r->batch.offsets != NULL)
        rd_kafka_topic_partition_list_destroy(r->batch.offsets);
    vd_group_unref(r->batch.group);
    (void)vd_free(r);
}

void vd_outcomes_drop_running(struct vd_kafka *k)
{
    struct vd_running *r = k->running;
    struct vd_entry *e;

    if (r == NULL)
        return;
    k->running = NULL;
    k->unresolved = false;
    while ((e = vd_line_pop(&r->entries)) != NULL)
        finish_entry(k, e, false);
    free_running(r);
}

/* -- settling ---------------------------------------------------------------------------------------------------- */

void vd_kafka_settle(struct vd_kafka *k, struct vd_record *rec, struct vd_output *take_outputs)
{
    struct vd_entry *e = vd_entry_of(rec);

    assert(!e->settled && !e->part->gone);
    *e->link = e->next;
    if (e->next != NULL)
        e->next->link = e->link;
    e->link = NULL;
    e->settled = true;
    e->outputs = take_outputs;
    e->part->unsettled_count--;
    e->part->settled_count++;
    e->part->refs++;
    vd_line_push(&k->ready, e);
    vd_outcomes_kick(k);
}

/* -- the snapshot ------------------------------------------------------------------------------------------------ */

static bool include_part(struct vd_running *r, struct vd_partition *part)
{
    if (part->in_batch)
        return true;
    if (r->part_count == VD_KAFKA_TRANSACTION_MAX_PARTITIONS)
        return false;
    part->in_batch = true;
    part->refs++;
    r->parts[r->part_count++] = part;
    return true;
}

/* Outcomes from the front of the line, as many as one transaction may hold. A partition that does not fit waits with all of its
 * outcomes, so that its order is kept. */
static size_t take_ready(struct vd_kafka *k, struct vd_running *r)
{
    struct vd_line left = {0};
    size_t outputs = 0, bytes = 0;
    struct vd_entry *e;

    while (r->entries.count < k->limit && bytes < VD_KAFKA_TRANSACTION_MAX_BYTES &&
           (e = vd_line_pop(&k->ready)) != NULL) {
        const struct vd_output *o;

        if (!e->part->gone && !include_part(r, e->part)) {
            vd_line_push(&left, e);
            continue;
        }
        for (o = e->outputs; o != NULL; o = o->next) {
            outputs++;
            bytes += vd_output_bytes(o);
        }
        vd_line_push(&r->entries, e);
        if (!e->part->gone) {
            bool staged = vd_ledger_stage(e->part->ledger, e->record.offset);

            assert(staged);
            (void)staged;
        }
    }
    k->ready = join(left, k->ready);
    return outputs;
}

static bool list_outputs(struct vd_running *r, size_t count)
{
    struct vd_entry *e;
    struct vd_output *o;

    r->batch.outputs = vd_alloc_array(count, sizeof(struct vd_output *));
    if (r->batch.outputs == NULL)
        return false;
    for (e = r->entries.first; e != NULL; e = e->next)
        for (o = e->outputs; o != NULL; o = o->next)
            r->batch.outputs[r->batch.output_count++] = o;
    return true;
}

static bool add_offset(struct vd_kafka *k, struct vd_running *r, struct vd_partition *part)
{
    char text[VD_LEDGER_TEXT_SIZE];
    rd_kafka_topic_partition_t *tp;
    int64_t base;
    size_t len = vd_ledger_encode(part->ledger, text, &base);

    if (k->sabotage.drop_map)
        len = vd_ledger_encode_plain(base, vd_ledger_partitions(part->ledger), text);
    tp = rd_kafka_topic_partition_list_add(r->batch.offsets, part->topic, part->partition);
    tp->offset = base;
    tp->metadata = rd_kafka_mem_malloc(NULL, len);
    if (tp->metadata == NULL)
        return false;
    memcpy(tp->metadata, text, len);
    tp->metadata_size = len;
    return true;
}

/* Partitions whose map moved without outcomes: the first offset of a beginning one at once, gaps now and then. */
static void take_dirty(struct vd_kafka *k, struct vd_running *r, int64_t now)
{
    bool gaps = now - k->last_dirty_mono_ms >= DIRTY_INTERVAL_MS;
    size_t i;

    for (i = 0; i < k->part_count; i++) {
        struct vd_partition *part = k->parts[i];

        if (part->ledger == NULL)
            continue;
        if (part->state == VD_PARTITION_BEGINNING || (gaps && vd_ledger_dirty(part->ledger)))
            (void)include_part(r, part);
    }
    if (gaps)
        k->last_dirty_mono_ms = now;
}

static void give_back(struct vd_kafka *k, struct vd_running *r)
{
    size_t i;

    for (i = 0; i < r->part_count; i++)
        if (r->parts[i]->ledger != NULL)
            (void)vd_ledger_abort(r->parts[i]->ledger);
    k->ready = join(r->entries, k->ready);
    r->entries = (struct vd_line){0};
}

static struct vd_running *snapshot(struct vd_kafka *k)
{
    struct vd_running *r = vd_alloc(sizeof(*r));
    bool ok;
    size_t i, outputs;

    if (r == NULL)
        return NULL;
    outputs = take_ready(k, r);
    take_dirty(k, r, vd_mono_ms());
    r->batch.offsets = rd_kafka_topic_partition_list_new((int)r->part_count);
    ok = list_outputs(r, outputs);
    for (i = 0; ok && i < r->part_count; i++)
        ok = add_offset(k, r, r->parts[i]);
    if (!ok || (r->entries.count == 0 && r->part_count == 0)) {
        give_back(k, r);
        free_running(r);
        return NULL;
    }
    r->batch.group = k->group;
    if (k->group != NULL)
        k->group->refs++;
    r->batch.consumer = k->rk;
    return r;
}

static bool has_dirty(const struct vd_kafka *k)
{
    size_t i;

    for (i = 0; i < k->part_count; i++) {
        const struct vd_partition *part = k->parts[i];

        if (part->ledger != NULL && !part->revoking &&
            (part->state == VD_PARTITION_BEGINNING ||
             (vd_ledger_dirty(part->ledger) &&
              vd_mono_ms() - k->last_dirty_mono_ms >= DIRTY_INTERVAL_MS)))
            return true;
    }
    return false;
}

static void begin(struct vd_kafka *k)
{
    struct vd_running *r;

    if (k->running != NULL || !k->publisher_open || vd_publisher_busy(k->publisher) ||
        k->rk == NULL || (k->exactly_once && k->group == NULL) || k->rebuilding ||
        k->closing >= VD_CLOSING_END)
        return;
    /* A plain commit beside the end of its consumer: closing.c says why not. What is revoked is committed before that. */
    if (k->closing == VD_CLOSING_LEAVE && !k->exactly_once && !k->revoke_pending)
        return;
    if (k->ready.count == 0 && !has_dirty(k))
        return;
    r = snapshot(k);
    if (r == NULL)
        return;
    k->running = r;
    k->next_begin_mono_ms = vd_mono_ms() + k->conf.commit_interval_ms;
    k->counts.transactions++;
    if (k->callbacks.sealing != NULL)
        k->callbacks.sealing(k->arg, k->counts.session, r->batch.outputs, r->batch.output_count);
    vd_publisher_publish(k->publisher, &r->batch);
}

static void begin_deferred(void *arg)
{
    struct vd_kafka *k = arg;

    k->commit_deferred = false;
    begin(k);
}

void vd_outcomes_now(struct vd_kafka *k)
{
    if (!k->commit_deferred && vd_loop_defer(k->loop, begin_deferred, k) == VD_OK)
        k->commit_deferred = true;
}

void vd_outcomes_kick(struct vd_kafka *k)
{
    int64_t wait = k->next_begin_mono_ms - vd_mono_ms();

    if (k->running != NULL || !k->publisher_open)
        return;
    if (k->ready.count == 0 && !has_dirty(k)) {
        if (!k->unresolved && k->ready.count == 0)
            vd_kafka_trouble(k, VD_TROUBLE_PUBLISH, NULL);
        return;
    }
    if (k->closing != VD_CLOSING_NO && k->aborts_in_row == 0)
        wait = 0;
    if (wait <= 0 || (k->ready.count >= k->conf.commit_outcomes && k->aborts_in_row == 0))
        vd_outcomes_now(k);
    else
        vd_timer_start(k->commit_timer, (uint64_t)wait, 0);
}

/* -- results ----------------------------------------------------------------------------------------------------- */

static void part_committed(struct vd_partition *part)
{
    if (part->gone || part->ledger == NULL)
        return;
    (void)vd_ledger_commit(part->ledger);
    if (part->state == VD_PARTITION_BEGINNING)
        part->state = VD_PARTITION_RUNNING;
}

static void after_result(struct vd_kafka *k)
{
    vd_rebalance_announce(k);
    vd_rebalance_step(k);
    vd_outcomes_kick(k);
    vd_consume_pump(k);
    vd_kafka_closing_step(k);
}

static void committed(struct vd_kafka *k)
{
    struct vd_running *r = k->running;
    struct vd_entry *e;
    size_t i;

    k->running = NULL;
    k->aborts_in_row = 0;
    k->refused_count = 0;
    k->brokers_down = false;
    if (k->limit < VD_KAFKA_TRANSACTION_MAX_OUTCOMES)
        k->limit *= 2;
    k->counts.last_commit_mono_ms = vd_mono_ms();
    k->counts.last_commit_took_us = r->batch.took_us;
    vd_kafka_trouble(k, VD_TROUBLE_PUBLISH, NULL);
    vd_kafka_trouble(k, VD_TROUBLE_BROKERS, NULL);
    for (i = 0; i < r->part_count; i++)
        part_committed(r->parts[i]);
    if (k->callbacks.sealed != NULL)
        k->callbacks.sealed(k->arg, k->counts.session, true);
    while ((e = vd_line_pop(&r->entries)) != NULL)
        finish_entry(k, e, true);
    free_running(r);
}

/* Outcomes of partitions that are gone are dropped, the others come first again. */
static void requeue(struct vd_kafka *k, struct vd_running *r)
{
    struct vd_line kept = {0};
    struct vd_entry *e;
    size_t i;

    for (i = 0; i < r->part_count; i++)
        if (r->parts[i]->ledger != NULL)
            (void)vd_ledger_abort(r->parts[i]->ledger);
    while ((e = vd_line_pop(&r->entries)) != NULL) {
        if (e->part->gone && !k->sabotage.ignore_epochs)
            finish_entry(k, e, false);
        else
            vd_line_push(&kept, e);
    }
    k->ready = join(kept, k->ready);
}

static void back_off(struct vd_kafka *k)
{
    int64_t wait = k->aborts_in_row < 7 ? INT64_C(50) << k->aborts_in_row : BACKOFF_MAX_MS;

    k->aborts_in_row++;
    k->next_begin_mono_ms = vd_mono_ms() + (wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS);
}

static void replace_culprit(struct vd_kafka *k, struct vd_entry *e, const char *why)
{
    struct vd_output *minimal;

    if (e->minimal) {
        back_off(k); /* what replaced it is refused as well: keep trying, and keep saying why */
        return;
    }
    minimal = k->callbacks.minimal(k->arg, &e->record, why);
    k->counts.culprits++;
    vd_log(VD_WARN, "kafka.culprit", VD_F_STR("topic", e->record.topic),
           VD_F_INT("partition", e->record.partition), VD_F_INT("offset", e->record.offset),
           VD_F_STR("reason", why));
    (void)vd_output_free(e->outputs);
    e->outputs = minimal;
    e->minimal = true;
}

/* The brokers refuse one of these records: the second time look for it by halves. */
static void record_refused(struct vd_kafka *k, struct vd_running *r, const char *why)
{
    k->refused_count = k->refused_code == r->batch.code ? k->refused_count + 1 : 1;
    k->refused_code = r->batch.code;
    if (k->refused_count < 2 && r->entries.count > 1)
        return;
    if (r->entries.count == 1)
        replace_culprit(k, r->entries.first, why);
    else
        k->limit = r->entries.count / 2;
}

static void aborted(struct vd_kafka *k, const struct vd_err *err)
{
    struct vd_running *r = k->running;

    k->running = NULL;
    k->counts.aborts++;
    vd_log(VD_DEBUG, "kafka.aborted", VD_F_INT("outcomes", r->entries.count),
           VD_F_STR("error", err->msg));
    if (k->callbacks.sealed != NULL)
        k->callbacks.sealed(k->arg, k->counts.session, false);
    if (r->batch.record_refused)
        record_refused(k, r, err->msg);
    else
        back_off(k);
    if (k->aborts_in_row > 3 || k->refused_count > 1)
        vd_kafka_trouble(k, VD_TROUBLE_PUBLISH, "%s", err->msg);
    requeue(k, r);
    free_running(r);
}

/* At least once: everything was delivered, only the offsets are missing. They go with the next transaction. */
static void uncommitted(struct vd_kafka *k, const struct vd_err *err)
{
    struct vd_entry *e;

    for (e = k->running->entries.first; e != NULL; e = e->next)
        e->outputs = vd_output_free(e->outputs);
    aborted(k, err);
}

static void reopen(void *arg)
{
    vd_kafka_open_publisher(arg);
}

void vd_outcomes_answer(void *arg, enum vd_publisher_answer answer, const struct vd_err *err)
{
    struct vd_kafka *k = arg;

    switch (answer) {
    case VD_PUBLISHER_OPENED:
    case VD_PUBLISHER_NOT_OPENED:
        vd_kafka_opened(k, answer == VD_PUBLISHER_OPENED, err);
        return;
    case VD_PUBLISHER_COMMITTED:
        committed(k);
        break;
    case VD_PUBLISHER_ABORTED:
        aborted(k, err);
        break;
    case VD_PUBLISHER_UNCOMMITTED:
        uncommitted(k, err);
        break;
    case VD_PUBLISHER_UNKNOWN:
        k->counts.unknown_results++;
        k->publisher_open = false;
        k->unresolved = true;
        vd_log(VD_WARN, "kafka.unknown_result", VD_F_INT("outcomes", k->running->entries.count),
               VD_F_STR("error", err->msg));
        vd_kafka_trouble(k, VD_TROUBLE_PUBLISH, "the result of a transaction is unknown: %s",
                         err->msg);
        vd_kafka_set_phase(k, VD_KAFKA_RECOVERING);
        if (k->closing == VD_CLOSING_NO || vd_mono_ms() < k->closing_deadline_mono_ms)
            reopen(k);
        break;
    case VD_PUBLISHER_FENCED:
        k->publisher_open = false;
        k->unresolved = true;
        vd_kafka_fenced(k, "transactional.id", k->transactional_id);
        break;
    }
    after_result(k);
}

/* -- the unknown result ------------------------------------------------------------------------------------------ */

struct resolve_work {
    struct vd_lookup lookup; /* first */
    struct vd_kafka *k;
    struct vd_running *running;
};

static void resolve_run(void *arg)
{
    vd_lookup_run(&((struct resolve_work *)arg)->lookup);
}

static const rd_kafka_topic_partition_t *found(const struct vd_lookup *l,
                                               const struct vd_partition *part)
{
    return rd_kafka_topic_partition_list_find(l->all, part->topic, part->partition);
}

/* True when the transaction was committed. It was or was not as a whole: any partition that is still ours tells. */
static bool was_committed(struct vd_kafka *k, const struct vd_lookup *l, const struct vd_running *r)
{
    struct vd_ledger_map *map = vd_alloc(sizeof(*map));
    const struct vd_entry *e;
    bool in = false;
    int i;

    /* A beginning partition had no commit at all, and what it sent is its own. */
    for (i = 0; i < r->batch.offsets->cnt && !in; i++) {
        const rd_kafka_topic_partition_t *sent = &r->batch.offsets->elems[i];
        const rd_kafka_topic_partition_t *tp = r->parts[i]->gone ? NULL : found(l, r->parts[i]);

        in = tp != NULL && tp->offset == sent->offset && tp->metadata_size == sent->metadata_size &&
             memcmp(tp->metadata, sent->metadata, sent->metadata_size) == 0;
    }
    for (e = r->entries.first; e != NULL && !in && map != NULL; e = e->next) {
        const rd_kafka_topic_partition_t *tp = e->part->gone ? NULL : found(l, e->part);

        in = tp != NULL && tp->offset >= 0 &&
             vd_ledger_decode((struct vd_span){tp->metadata, tp->metadata_size}, map) ==
                 VD_LEDGER_READ_OK &&
             vd_ledger_map_finished(map, e->record.offset);
    }
    if (map == NULL)
        vd_kafka_fail(k, VD_E_NOMEM, "out of memory: map");
    (void)vd_free(map);
    return in;
}

static void resolve_again(void *arg)
{
    vd_outcomes_resolve(arg);
}

static void resolved(struct vd_kafka *k, bool in)
{
    static const struct vd_err not_in = {VD_E_REMOTE, true, "it was not committed"};

    k->unresolved = false;
    vd_log(VD_INFO, "kafka.resolved", VD_F_INT("outcomes", k->running->entries.count),
           VD_F_INT("committed", in));
    if (in)
        committed(k);
    else
        aborted(k, &not_in);
    vd_kafka_set_phase(k, VD_KAFKA_RUNNING);
    vd_kafka_trouble(k, VD_TROUBLE_PUBLISH, NULL);
    k->next_begin_mono_ms = vd_mono_ms();
    after_result(k);
}

static void resolve_done(void *arg)
{
    struct resolve_work *w = arg;
    struct vd_kafka *k = w->k;

    k->works--;
    k->resolving = false;
    if (k->running == w->running && k->rk == w->lookup.rk && k->unresolved) {
        if (w->lookup.err.code == VD_OK) {
            resolved(k, was_committed(k, &w->lookup, k->running));
        } else {
            vd_kafka_trouble(k, VD_TROUBLE_PUBLISH, "the result of a transaction is unknown: %s",
                             w->lookup.err.msg);
            vd_kafka_retry_in(k, 1000, resolve_again);
        }
    }
    vd_lookup_fini(&w->lookup);
    (void)vd_free(w);
    vd_kafka_closing_step(k);
}

void vd_outcomes_resolve(struct vd_kafka *k)
{
    struct resolve_work *w;
    size_t i;

    if (k->running == NULL || !k->unresolved || k->resolving || k->rk == NULL)
        return;
    if (k->sabotage.republish_unknown) {
        resolved(k, false);
        return;
    }
    w = vd_alloc(sizeof(*w));
    if (w == NULL) {
        vd_kafka_retry_in(k, 1000, resolve_again);
        return;
    }
    w->k = k;
    w->running = k->running;
    w->lookup.rk = k->rk;
    w->lookup.wanted = rd_kafka_topic_partition_list_new((int)k->running->part_count);
    for (i = 0; i < k->running->part_count; i++)
        if (!k->running->parts[i]->gone)
            (void)rd_kafka_topic_partition_list_add(w->lookup.wanted, k->running->parts[i]->topic,
                                                    k->running->parts[i]->partition);
    rd_kafka_topic_partition_list_sort(w->lookup.wanted, NULL, NULL);
    if (w->lookup.wanted->cnt == 0) {
        /* Nothing of it is ours any more: whoever has the partitions goes by the committed maps. */
        vd_outcomes_drop_running(k);
        vd_kafka_set_phase(k, VD_KAFKA_RUNNING);
        vd_kafka_trouble(k, VD_TROUBLE_PUBLISH, NULL);
        after_result(k);
    } else if (vd_loop_work(k->loop, resolve_run, resolve_done, w) == VD_OK) {
        k->works++;
        k->resolving = true;
        return;
    } else {
        vd_kafka_retry_in(k, 1000, resolve_again);
    }
    vd_lookup_fini(&w->lookup);
    (void)vd_free(w);
}
