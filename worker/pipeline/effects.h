/* pipeline/effects.h - what a decision changes in Redis, made once it is committed, and not lost when the worker dies in between.
 *
 * Why:      the decision and the offset are committed by Kafka in one transaction that Redis has no part in.
 * Source:   design/reasoning.md "State and memory", "Limits across decisions"; design/delivery.md. The scripts: redis/effects.h.
 * Thread:   loop thread.
 *
 *     vd_effect_new() --store--> entry in the partition's pending hash --settle, commit--> vd_effect_apply(): made, entry deleted
 *                                       |                                  |
 *     freed: revoked, dropped           +---- worker died: the next owner --+--> applies what the ledger shows finished,
 *     (the entry stays for the next owner)                                       deletes the rest, before the first delivery
 *
 * Invariants:
 *   I1 an outcome with effects is settled only after its entry is in Redis: what is committed has its entry, or is applied.
 *   I2 a partition is delivered only after every entry of its earlier owners is applied or deleted.
 *   I3 applying is atomic with deleting the entry; an entry that is not there was applied. Applying twice changes nothing.
 *
 * Why an entry that a new owner deletes was never committed, and one that it applies was. The ledger is read from offsets that are
 * stable: no transaction of an earlier owner is open on them. An earlier owner cannot begin another one that counts: its group
 * metadata is of an older generation, which the broker refuses (delivery.md, "The transaction"). So what is unfinished then can only be
 * finished by the new owner or its successors. Entries are listed after that, in the same script that makes the new owner
 * the only one who may add entries: a zombie's late entry is refused, and so is a zombie's late claim, by the generation, and its late
 * deletion, by the owner. So each listed entry of a finished offset was written before the commit of that offset (I1) by whoever
 * committed it: an owner in between would have deleted another one's entry first. A zombie's late *apply* does no harm: only what was
 * committed is ever asked to be applied (I3). A lost answer may let one command run after its repetition was applied and its entry
 * deleted; the entry that comes back this way names the decision before it, which is not the last one any more, and is left out.
 * All this with delivery = "at_least_once" too, where a replayed decision has the same id, and its changes replace the first ones.
 *
 * Redis away: entries are stored and applied when it is back; the jobs and keys that need them wait, no other. What was not
 * decided for lack of state is decided by the fallback at its deadline, like any missing context. Redis emptied: what it held is
 * lost, and said; `verdict state rebuild` brings state and memory back.
 */
#ifndef VD_PIPELINE_EFFECTS_H
#define VD_PIPELINE_EFFECTS_H

#include <stdbool.h>

#include "base/err.h"
#include "base/metrics.h"
#include "json/json.h"
#include "kafka/kafka.h"
#include "loop/loop.h"

struct vd_redis;
struct vd_effects;
struct vd_effect;

struct vd_effects_conf {
    struct vd_loop *loop;
    struct vd_redis *redis;
    struct vd_metrics *metrics;
    const char *prefix; /* of every key; borrowed */
    const char *worker; /* this worker's name, for the owner's token */
    uint32_t timeout_ms;
    /* Is the offset finished by what is committed? Asked for assigned partitions. */
    bool (*finished)(void *arg, const char *topic, int32_t partition, int64_t offset);
    /* The partition's earlier entries are done with. */
    void (*recovered)(void *arg, const char *topic, int32_t partition, int64_t epoch);
    void *arg;
};

/* conf is copied. */
enum vd_code vd_effects_new(const struct vd_effects_conf *conf, struct vd_effects **ret_effects,
                            struct vd_err *err) VD_MUST_CHECK;
/* After the Redis client is gone, or has answered everything. Effects that are left are forgotten, their callbacks not called. */
void *vd_effects_free(struct vd_effects *e);

/* -- partitions -------------------------------------------------------------------------------------------------- */

/* Finish what earlier owners left; recovered() is called on a later turn. generation -1: there is no group. */
enum vd_code vd_effects_assigned(struct vd_effects *e, const char *topic, int32_t partition,
                                 int64_t epoch, int32_t generation, const char *cluster,
                                 struct vd_err *err) VD_MUST_CHECK;
void vd_effects_revoked(struct vd_effects *e, const char *topic, int32_t partition, int64_t epoch);

/* -- one decision's changes -------------------------------------------------------------------------------------- */

typedef void vd_effect_fn(void *arg);

/* operations: an array as redis/effects.h describes; borrowed for the call. rec's partition need not have been assigned with effects:
 * it is claimed then. */
enum vd_code vd_effect_new(struct vd_effects *e, const struct vd_record *rec,
                           const char *decision_id, const cJSON *operations,
                           struct vd_effect **ret_effect, struct vd_err *err) VD_MUST_CHECK;
/* Write the entry, however long it takes; stored(arg) once, on a later turn. Once for each effect. */
void vd_effect_store(struct vd_effect *effect, vd_effect_fn *stored, void *arg);
/* Stored, and committed: make the changes, however long it takes; applied(arg) once, on a later turn. The effect is freed after it. */
void vd_effect_apply(struct vd_effect *effect, vd_effect_fn *applied, void *arg);
/* Stored, and something else will be committed instead: delete the entry; discarded(arg) as above. */
void vd_effect_discard(struct vd_effect *effect, vd_effect_fn *discarded, void *arg);
/* Forget it: an entry that is stored is left to the partition's next owner. Not after apply or discard. NULL-safe; returns NULL. */
void *vd_effect_free(struct vd_effect *effect);

struct vd_effects_status {
    size_t storing, applying; /* effects */
    size_t recovering;        /* partitions */
    int64_t oldest_mono_ms;   /* since when the oldest of them waits; 0: none */
    const char *trouble; /* why, a sentence; "" when all is well. Borrowed until the next turn */
    uint64_t applied, stale, recovered, discarded, emptied;
};
struct vd_effects_status vd_effects_status(const struct vd_effects *e); /* NULL: all zero */

#endif
