/* json/block.c - see block.h.
 *
 *   block   | pieces alive | size | word | node | key | word | string | word | node | ...
 */
#include "json/block.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "json/json.h"

#define LEAST_BYTES 480 /* with what stands in front, just below what an allocator hands out */
#define MOST_BYTES  65536
#define SCOPE_PIECE 1024 /* a larger piece of a scope is an allocation of its own */

struct vd_block {
    size_t alive; /* pieces, and the writer */
    size_t size;
    unsigned char data[];
};

/* In front of each piece. */
union word {
    struct vd_block *block; /* NULL: the piece is an allocation of its own */
    double align;           /* what a node needs */
};

/* cJSON's hooks are given no context: what they write to is the thread's innermost scope. */
static _Thread_local struct vd_block_writer *current;

static size_t rounded(size_t n)
{
    return (n + sizeof(union word) - 1) / sizeof(union word) * sizeof(union word);
}

static void release(struct vd_block *block)
{
    if (--block->alive == 0)
        (void)vd_free(block);
}

void vd_block_writer_init(struct vd_block_writer *w, size_t bytes)
{
    *w = (struct vd_block_writer){.next_bytes = bytes < LEAST_BYTES  ? LEAST_BYTES
                                                : bytes > MOST_BYTES ? MOST_BYTES
                                                                     : bytes};
}

void vd_block_writer_fini(struct vd_block_writer *w)
{
    if (w->block != NULL)
        release(w->block);
    w->block = NULL;
}

/* The writer holds a block, too: a tree that is freed while it is written does not take the block away. */
static bool next_block(struct vd_block_writer *w, size_t least)
{
    size_t size = least > w->next_bytes ? least : w->next_bytes;
    struct vd_block *block = vd_realloc(NULL, sizeof(*block) + size);

    if (block == NULL)
        return false;
    vd_block_writer_fini(w);
    block->alive = 1;
    block->size = size;
    w->block = block;
    w->used = 0;
    w->next_bytes = w->next_bytes / 4 > LEAST_BYTES ? w->next_bytes / 4 : LEAST_BYTES;
    return true;
}

static bool has_room(struct vd_block_writer *w, size_t need)
{
    return (w->block != NULL && w->block->size - w->used >= need) || next_block(w, need);
}

/* The next piece of the block, which has room for it. */
static void *piece(struct vd_block_writer *w, size_t size)
{
    union word *word = (union word *)(void *)(w->block->data + w->used);

    word->block = w->block;
    w->block->alive++;
    w->used += sizeof(*word) + rounded(size);
    return word + 1;
}

cJSON *vd_block_add(struct vd_block_writer *w, size_t key_len, size_t string_len)
{
    size_t key = key_len == SIZE_MAX ? 0 : rounded(key_len + 1);
    size_t string = string_len == SIZE_MAX ? 0 : rounded(string_len + 1);
    cJSON *node;

    if (!has_room(w, sizeof(union word) + sizeof(cJSON) + key +
                         (string > 0 ? sizeof(union word) + string : 0)))
        return NULL;
    node = piece(w, sizeof(*node));
    memset(node, 0, sizeof(*node));
    if (key > 0) {
        node->string = (char *)w->block->data + w->used;
        node->string[key_len] = '\0';
        node->type = cJSON_StringIsConst;
        w->used += key;
    }
    if (string > 0) {
        node->valuestring = piece(w, string_len + 1);
        node->valuestring[string_len] = '\0';
    }
    return node;
}

void vd_json_scope_begin(struct vd_json_scope *scope, size_t bytes)
{
    vd_block_writer_init(&scope->writer, bytes);
    scope->outer = current;
    current = &scope->writer;
}

void vd_json_scope_end(struct vd_json_scope *scope)
{
    assert(current == &scope->writer);
    current = scope->outer;
    vd_block_writer_fini(&scope->writer);
}

/* cJSON's hooks. */
static void *alloc_piece(size_t size)
{
    union word *word;

    if (current != NULL && size <= SCOPE_PIECE)
        return has_room(current, sizeof(*word) + rounded(size)) ? piece(current, size) : NULL;
    word = size > SIZE_MAX - sizeof(*word) ? NULL : vd_realloc(NULL, sizeof(*word) + size);
    if (word == NULL)
        return NULL;
    word->block = NULL;
    return word + 1;
}

static void free_piece(void *p)
{
    union word *word = p;

    if (word == NULL)
        return;
    word--;
    if (word->block != NULL)
        release(word->block);
    else
        (void)vd_free(word);
}

/* Pieces of one block, given back together. */
struct freeing {
    struct vd_block *block;
    size_t count;
};

static void flush(struct freeing *f)
{
    if (f->count > 0 && (f->block->alive -= f->count) == 0)
        (void)vd_free(f->block);
    f->count = 0;
}

static void drop(struct freeing *f, void *p)
{
    union word *word = (union word *)p - 1;

    if (word->block == NULL) {
        (void)vd_free(word);
        return;
    }
    if (word->block != f->block)
        flush(f);
    f->block = word->block;
    f->count++;
}

/* What cJSON_Delete() does, a block at a time. */
static void drop_list(struct freeing *f, cJSON *node)
{
    while (node != NULL) {
        cJSON *next = node->next;

        if (!(node->type & cJSON_IsReference)) {
            drop_list(f, node->child);
            if (node->valuestring != NULL)
                drop(f, node->valuestring);
        }
        if (!(node->type & cJSON_StringIsConst) && node->string != NULL)
            drop(f, node->string);
        drop(f, node);
        node = next;
    }
}

void *vd_json_free(cJSON *tree)
{
    struct freeing f = {NULL, 0};

    drop_list(&f, tree);
    flush(&f);
    return NULL;
}

/* Before anything else runs: a tree of the strict reader that reached free() itself would end the program. */
__attribute__((constructor)) static void give_cjson_its_hooks(void)
{
    cJSON_Hooks hooks = {.malloc_fn = alloc_piece, .free_fn = free_piece};

    cJSON_InitHooks(&hooks);
}
