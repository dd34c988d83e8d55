/* json/block.h - where cJSON's nodes and strings lie.
 *
 * Why:      an event, or what is shown of it, is a hundred nodes and strings that come and go together. Each as an allocation of its own cost
 *           more than reading the text, and they lay all over memory. Here they stand behind each other in blocks.
 * Thread:   any; a block belongs to the thread that owns the trees in it.
 * Owns:     a block goes when the last of its pieces is freed, so that a tree may be taken apart, moved and kept like any other of cJSON's;
 *           a piece that is kept longer than the others keeps its block.
 *           Keys that vd_block_add() makes are no pieces: they go with the node in front of them, which is marked cJSON_StringIsConst.
 * Invariants:
 *   I1 whatever cJSON frees has a word in front that names its block, or NULL. cJSON allocates through base/alloc.h that way, too.
 */
#ifndef VD_JSON_BLOCK_H
#define VD_JSON_BLOCK_H

#include <cjson/cJSON.h>

#include "base/span.h"

struct vd_block;

/* What one reader fills: the block in use, and how large the next shall be. */
struct vd_block_writer {
    struct vd_block *block; /* NULL: none yet */
    size_t used;
    size_t next_bytes;
};

/* bytes: about how much is written. */
void vd_block_writer_init(struct vd_block_writer *w, size_t bytes);
/* No more is written: what is there belongs to its pieces. */
void vd_block_writer_fini(struct vd_block_writer *w);

/* A node with room for a key of key_len bytes, if it has one (key_len is not SIZE_MAX), and for a string of string_len bytes, if it has one.
 * Both are NUL-terminated and filled by the caller. NULL when memory is out. */
cJSON *vd_block_add(struct vd_block_writer *w, size_t key_len, size_t string_len);

/* From begin to end, all that cJSON makes on this thread goes into blocks: for functions that make a tree node by node. Scopes nest. */
struct vd_json_scope {
    struct vd_block_writer writer;
    struct vd_block_writer *outer;
};
void vd_json_scope_begin(struct vd_json_scope *scope, size_t bytes);
void vd_json_scope_end(struct vd_json_scope *scope);

#endif
