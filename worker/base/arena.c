/* base/arena.c - see arena.h. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/* Thousands of arenas wait for models at once, and most hold little: blocks begin small, and double once there is much. With what stands
 * in front they just fit what an allocator hands out. */
#define FIRST_BLOCK_BYTES 480
#define NEXT_BLOCK_BYTES  992
#define MUCH_BYTES        4096
#define BLOCK_BYTES       8192
#define ALIGN             alignof(max_align_t)

struct vd_arena_block {
    struct vd_arena_block *older;
    size_t size;
    size_t used;
    alignas(max_align_t) unsigned char data[];
};

void vd_arena_init(struct vd_arena *a, size_t max_bytes)
{
    *a = (struct vd_arena){.max = max_bytes};
}

static void drop_blocks(struct vd_arena *a, const struct vd_arena_block *until)
{
    while (a->head != until) {
        struct vd_arena_block *older = a->head->older;

        (void)vd_free(a->head);
        a->head = older;
    }
}

void vd_arena_fini(struct vd_arena *a)
{
    drop_blocks(a, NULL);
    a->used = 0;
}

void vd_arena_reset(struct vd_arena *a)
{
    while (a->head != NULL && a->head->older != NULL) {
        struct vd_arena_block *older = a->head->older;

        (void)vd_free(a->head);
        a->head = older;
    }
    if (a->head != NULL)
        a->head->used = 0;
    a->used = 0;
}

static struct vd_arena_block *push_block(struct vd_arena *a, size_t size)
{
    size_t room = a->head == NULL        ? FIRST_BLOCK_BYTES
                  : a->used < MUCH_BYTES ? NEXT_BLOCK_BYTES
                                         : 2 * a->head->size;
    struct vd_arena_block *block;

    if (room > BLOCK_BYTES)
        room = BLOCK_BYTES;
    if (room < size)
        room = size;

    /* Not vd_alloc(): zeroing happens per allocation, so that a rewound block is clean too. */
    block = vd_realloc(NULL, sizeof(*block) + room);
    if (block == NULL)
        return NULL;
    block->older = a->head;
    block->size = room;
    block->used = 0;
    a->head = block;
    return block;
}

void *vd_arena_bytes(struct vd_arena *a, size_t size)
{
    struct vd_arena_block *block = a->head;
    void *p;

    if (size > a->max || a->used > a->max - size) {
        a->capped = true;
        return NULL;
    }
    size = size == 0 ? ALIGN : (size + ALIGN - 1) / ALIGN * ALIGN;
    if (block == NULL || block->size - block->used < size)
        block = push_block(a, size);
    if (block == NULL)
        return NULL;
    p = block->data + block->used;
    block->used += size;
    a->used += size;
    return p;
}

void *vd_arena_alloc(struct vd_arena *a, size_t size)
{
    void *p = vd_arena_bytes(a, size);

    return p == NULL ? NULL : memset(p, 0, size);
}

void *vd_arena_array(struct vd_arena *a, size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / size)
        return NULL;
    return vd_arena_alloc(a, n * size);
}

char *vd_arena_strndup(struct vd_arena *a, struct vd_span s)
{
    char *copy = s.len == SIZE_MAX ? NULL : vd_arena_bytes(a, s.len + 1);

    if (copy == NULL)
        return NULL;
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

enum vd_code vd_arena_dup(struct vd_arena *a, struct vd_span s, struct vd_span *ret)
{
    char *copy;

    if (s.len == 0) {
        *ret = VD_LIT("");
        return VD_OK;
    }
    copy = vd_arena_strndup(a, s);
    if (copy == NULL)
        return VD_E_NOMEM;
    *ret = (struct vd_span){copy, s.len};
    return VD_OK;
}

char *vd_arena_printf(struct vd_arena *a, const char *fmt, ...)
{
    va_list ap;
    char *out;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return NULL;
    out = vd_arena_bytes(a, (size_t)n + 1);
    if (out == NULL)
        return NULL;
    va_start(ap, fmt);
    (void)vsnprintf(out, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return out;
}

struct vd_arena_mark vd_arena_mark(const struct vd_arena *a)
{
    return (struct vd_arena_mark){a->head, a->head == NULL ? 0 : a->head->used, a->used};
}

void vd_arena_rewind(struct vd_arena *a, struct vd_arena_mark mark)
{
    /* A mark of the still empty arena keeps nothing to rewind into: drop all. */
    drop_blocks(a, mark.block);
    if (a->head != NULL)
        a->head->used = mark.block_used;
    a->used = mark.used;
}
