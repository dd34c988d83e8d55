/* kafka/ledger.h - which offsets of one partition are finished, and how that is written into the committed offset.
 *
 * Why:      answers come out of order. Committing only the contiguous prefix would hold back, or repeat, finished work, so
 *           the committed offset carries a map of what is finished above it.
 * Source:   design/delivery.md "The ledger", "The map".
 * Thread:   any; one owner (the loop thread). No Kafka types, no clock, no I/O.
 * Owns:     nothing outside its own memory.
 *
 *                     deliver()                stage()               commit()
 *      not seen ------------------> delivered ---------> staged ------------------> finished
 *         |                            ^                   |
 *         | gap(), or in the           +------ abort() ----+
 *         | restored map
 *         +------------------------------------------------------------------------> finished
 *
 * Shapes:   base    lowest offset that is not finished; what is committed
 *           next    lowest offset that was not seen yet; base <= next, unless the restored map covers what follows
 * Invariants:
 *   I1 every delivered and every staged offset is in [base, base + span): the map always fits the broker's 4,096 bytes.
 *   I2 an offset never leaves "finished".
 *   I3 encode() after stage() describes exactly what is true once commit() is called.
 */
#ifndef VD_KAFKA_LEDGER_H
#define VD_KAFKA_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/span.h"

/* Longest text of vd_ledger_encode(), with its NUL: base64 of 23 bytes of header and checksum and the bits. */
#define VD_LEDGER_TEXT_SIZE (((23 + VD_LEDGER_MAX_SPAN / 8 + 2) / 3) * 4 + 1)
#define VD_LEDGER_VERSION   1

struct vd_ledger;

enum vd_ledger_verdict {
    VD_LEDGER_TAKE, /* now delivered: the caller owes a stage() and a commit() */
    VD_LEDGER_SKIP, /* finished already, or seen already: drop it */
    VD_LEDGER_FULL, /* at or beyond base + span: offer it again after base moved; the gap before it is recorded */
};

/* What a committed map says, before it is believed. */
struct vd_ledger_map {
    int64_t base;
    uint32_t
        partitions; /* partitions the topic had when the group first read it; see vd_ledger_set_partitions() */
    uint32_t bit_count; /* offsets covered, from base on; 0, or the last of them is finished */
    uint8_t bits[VD_LEDGER_MAX_SPAN /
                 8]; /* bit i (least significant first): base + i is finished; bit 0 is never set */
};

/* A ledger that starts at base with nothing finished above. span: 1 to VD_LEDGER_MAX_SPAN. NULL: out of memory. */
struct vd_ledger *vd_ledger_new(int64_t base, uint32_t span);
/* One that goes on where map ended. A map wider than span is taken whole: no finished offset is forgotten. */
struct vd_ledger *vd_ledger_restore(const struct vd_ledger_map *map, uint32_t span);
void *vd_ledger_free(struct vd_ledger *ledger); /* NULL-safe; returns NULL */

/* The consumer handed over offset. Offsets between the last one and this one do not exist any more: finished. */
enum vd_ledger_verdict vd_ledger_deliver(struct vd_ledger *ledger, int64_t offset);
/* The log goes on at next at the earliest (end of partition): what was not delivered below it is finished. */
void vd_ledger_gap(struct vd_ledger *ledger, int64_t next);
/* May the next offset in sequence be delivered? False: stop polling until base moves. */
bool vd_ledger_has_room(const struct vd_ledger *ledger);

/* All jobs of a delivered offset are settled and its outcome goes into the running transaction. False: not delivered. */
bool vd_ledger_stage(struct vd_ledger *ledger, int64_t offset);
/* The running transaction is confirmed: everything staged is finished. Returns how many. */
size_t vd_ledger_commit(struct vd_ledger *ledger);
/* It is confirmed aborted: everything staged is delivered again. Returns how many. */
size_t vd_ledger_abort(struct vd_ledger *ledger);

int64_t vd_ledger_base(const struct vd_ledger *ledger);
int64_t vd_ledger_next(const struct vd_ledger *ledger);
size_t vd_ledger_open(const struct vd_ledger *ledger); /* delivered, staged ones included */
uint32_t
vd_ledger_span(const struct vd_ledger *ledger); /* offsets from base to the highest delivered one */
bool vd_ledger_finished(const struct vd_ledger *ledger, int64_t offset);
/* Is there something finished that the last committed map does not say? */
bool vd_ledger_dirty(const struct vd_ledger *ledger);

/* Partitions the topic had when the group first read it. A partition at or above this number that has no commit is new and is
 * read from its start; one below it belongs to a group whose first start is still going on. Kept in every map. */
void vd_ledger_set_partitions(struct vd_ledger *ledger, uint32_t count);
uint32_t vd_ledger_partitions(const struct vd_ledger *ledger);

/* The map with the staged offsets as finished, NUL-terminated; *ret_base is the offset to commit with it. Returns the length. */
size_t vd_ledger_encode(struct vd_ledger *ledger, char text[VD_LEDGER_TEXT_SIZE],
                        int64_t *ret_base);
/* Map of a group that has finished everything below base and nothing above. */
size_t vd_ledger_encode_plain(int64_t base, uint32_t partitions, char text[VD_LEDGER_TEXT_SIZE]);

enum vd_ledger_read {
    VD_LEDGER_READ_OK,
    VD_LEDGER_READ_NONE,    /* empty: a commit without a map */
    VD_LEDGER_READ_FOREIGN, /* not a map of this program, or damaged */
    VD_LEDGER_READ_NEWER,   /* written by a newer version */
};
/* Strict: exactly what vd_ledger_encode() writes. ret is filled on OK only. */
enum vd_ledger_read vd_ledger_decode(struct vd_span text, struct vd_ledger_map *ret);
bool vd_ledger_map_finished(const struct vd_ledger_map *map, int64_t offset);

#endif
