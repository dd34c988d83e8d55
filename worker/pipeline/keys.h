/* pipeline/keys.h - one queue for each (topic, partition, policy, key): order within it, none between.
 *
 * Why:      promise G4. Two events of one key are never decided at the same time or out of order; different keys never wait.
 * Thread:   loop thread.
 * Owns:     queues; borrows entries, which live in jobs.
 * Invariants:
 *   I1 an entry is at the head of its queue exactly when vd_keys_enter() returned true or `ready` was called for it.
 *   I2 a queue exists only while it has entries, so memory follows what is in flight.
 *   I3 entries of a record leave together, after the record is settled: outputs of one key are then published in its order.
 */
#ifndef VD_PIPELINE_KEYS_H
#define VD_PIPELINE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct vd_keys;
struct vd_key_queue;

/* Embedded in a job. */
struct vd_key_entry {
    struct vd_key_queue *queue; /* NULL: in none */
    struct vd_key_entry *next, *prev;
    void *job; /* NULL: a place that is kept for one that has gone */
};

/* job may start: it came to the head of its queue. Never called inside vd_keys_enter(). */
typedef void vd_keys_ready_fn(void *arg, void *job);

struct vd_keys *vd_keys_new(vd_keys_ready_fn *ready, void *arg); /* NULL when memory is out */
void *vd_keys_free(struct vd_keys *keys);                        /* no entry may be left */

/* Append. *ret_ahead: entries in front of it; 0 means it may start at once. */
enum vd_code vd_keys_enter(struct vd_keys *keys, struct vd_span topic, int32_t partition,
                           struct vd_span policy_id, struct vd_span key, struct vd_key_entry *entry,
                           size_t *ret_ahead) VD_MUST_CHECK;
/* Take out, from wherever it stands; the next one may start. NULL-safe for entries in no queue. */
void vd_keys_leave(struct vd_keys *keys, struct vd_key_entry *entry);
/* taker, in no queue, takes the place of entry. Its job stays NULL where it is no job's: `ready` is never called for one at the head. */
void vd_keys_replace(struct vd_key_entry *entry, struct vd_key_entry *taker);
bool vd_keys_is_head(const struct vd_key_entry *entry);
size_t vd_keys_count(const struct vd_keys *keys); /* queues */

/* Was this key last seen on another partition? Remembers 65,536 keys by fingerprint; a miss only costs a count. */
bool vd_keys_moved(struct vd_keys *keys, struct vd_span policy_id, struct vd_span key,
                   int32_t partition);

#endif
