/* pipeline/holds.h - partitions whose records wait for a model, and for how long they have.
 *
 * Why:      budget.on_unavailable = "wait" must stop the partition's intake, not the worker: what waits there takes no room from
 *           others, and no deadline there runs.
 * Thread:   loop thread.
 * Owns:     one entry for each partition seen, until the end: a handful of bytes each, and the sum of time must not be lost.
 * Units:    milliseconds, monotonic; the caller's clock.
 * Invariants:
 *   I1 vd_holds_immovable() is the sum of the records of all partitions that are held.
 */
#ifndef VD_PIPELINE_HOLDS_H
#define VD_PIPELINE_HOLDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vd_holds;
struct vd_hold; /* one partition; lives as long as the vd_holds */

struct vd_holds *vd_holds_new(void);         /* NULL without memory */
void *vd_holds_free(struct vd_holds *holds); /* NULL-safe */
/* Made when it is new; NULL without memory. topic is copied. */
struct vd_hold *vd_holds_at(struct vd_holds *holds, const char *topic, int32_t partition);

/* A record of the partition is at work, or is not any more. */
void vd_hold_enter(struct vd_hold *hold);
void vd_hold_leave(struct vd_hold *hold);
/* One job more waits. True: the first; stop the partition's intake. */
bool vd_hold_begin(struct vd_hold *hold, int64_t now_ms);
/* One job less. True: the last; go on. */
bool vd_hold_end(struct vd_hold *hold, int64_t now_ms);
/* How long the partition has been held, ever. */
int64_t vd_hold_stood_ms(const struct vd_hold *hold, int64_t now_ms);

size_t vd_holds_immovable(const struct vd_holds *holds);

#endif
