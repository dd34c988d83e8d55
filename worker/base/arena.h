/* base/arena.h - memory that dies together, with a hard cap.
 *
 * Why:      everything made from one job is freed in one call, and no event can make a job grow without bound.
 * Thread:   one owner at a time.
 * Owns:     all blocks until vd_arena_fini() or vd_arena_reset().
 * Errors:   NULL when the cap is reached or memory is out.
 * Invariants:
 *   I1 pointers stay valid until fini/reset, or until vd_arena_rewind() to an earlier mark.
 */
#ifndef VD_BASE_ARENA_H
#define VD_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct vd_arena_block;

struct vd_arena {
    struct vd_arena_block *head; /* newest block; blocks are linked to older ones */
    size_t used;                 /* bytes handed out, padding included */
    size_t max;
    bool capped; /* the cap refused an allocation: too much was asked, memory is not out */
};

/* A point to rewind to: scratch memory for one evaluation. */
struct vd_arena_mark {
    struct vd_arena_block *block;
    size_t block_used;
    size_t used;
};

void vd_arena_init(struct vd_arena *a, size_t max_bytes);
void vd_arena_fini(struct vd_arena *a);
void vd_arena_reset(struct vd_arena *a); /* empties; keeps one block */

void *vd_arena_alloc(struct vd_arena *a, size_t size); /* zeroed, aligned for any type */
void *vd_arena_bytes(struct vd_arena *a, size_t size); /* the same, not zeroed: for texts */
void *vd_arena_array(struct vd_arena *a, size_t n, size_t size);
char *vd_arena_strndup(struct vd_arena *a, struct vd_span s); /* NUL-terminated copy */
/* Copy as a span (NUL after it); a zero-length span never fails and needs no memory. */
enum vd_code vd_arena_dup(struct vd_arena *a, struct vd_span s, struct vd_span *ret);
char *vd_arena_printf(struct vd_arena *a, const char *fmt, ...) VD_PRINTF(2, 3);

struct vd_arena_mark vd_arena_mark(const struct vd_arena *a);
void vd_arena_rewind(struct vd_arena *a, struct vd_arena_mark mark);

#endif
