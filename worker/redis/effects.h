/* redis/effects.h - the scripts behind pipeline/effects.h: what a committed decision changes in Redis, once.
 *
 * Why:      a change must be neither lost nor made twice when a worker dies between its commit and the change.
 * Source:   design/reasoning.md "State and memory". Who may write when, and why that is enough: pipeline/effects.h.
 * Thread:   loop thread.
 * Shapes:   PREFIX "pending:" TOPIC ":" PARTITION is a hash
 *               OFFSET ":" DECISION_ID   an entry: a JSON array of operations
 *               "@owner"                 GENERATION ":" CLUSTER ":" TOKEN of the worker that may add entries
 *           Operations; keys are without the prefix, texts are texts also where they are numbers, since Lua has only doubles:
 *               ["set", key, ttl_s, {field: text}, at_ms, previous]   the state, if `previous` (a decision id, or "") wrote it last, or
 *                                                                     nobody did
 *               ["note", key, text, max_notes, ttl_s]                 memory, once for each decision
 *               ["limit", ...]                                        what limits hold for later: limits_lua.h
 *           Another module's operation is a row in effects.c.
 * Errors:   the calls are vd_redis_eval()'s; the readers give VD_E_REMOTE for an error reply, VD_E_BUG for a strange one.
 */
#ifndef VD_REDIS_EFFECTS_H
#define VD_REDIS_EFFECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "redis/client.h"

struct vd_effect_scripts;

enum vd_code vd_effect_scripts_new(struct vd_effect_scripts **ret_scripts,
                                   struct vd_err *err) VD_MUST_CHECK;
void *vd_effect_scripts_free(struct vd_effect_scripts *scripts); /* NULL-safe; returns NULL */

/* One call: which hash, and who asks. */
struct vd_effect_call {
    struct vd_redis *redis;
    const struct vd_effect_scripts *scripts;
    struct vd_span prefix;
    const char *topic;
    int32_t partition;
    const struct vd_redis_options *options;
    vd_redis_done_fn *done;
    void *arg;
    struct vd_redis_call **ret_call; /* may be NULL */
};

#define VD_EFFECT_MAX_FIELDS 500 /* of one apply or discard: Redis does nothing else meanwhile */

/* Become the owner, unless one of a later generation of the same cluster is there. The answer has the fields of all entries. */
enum vd_code vd_effect_claim(const struct vd_effect_call *call, int32_t generation,
                             struct vd_span cluster, struct vd_span token,
                             struct vd_err *err) VD_MUST_CHECK;
/* ret_owned: false when another one is the owner. ret_fields: an array of strings, borrowed from the reply. */
enum vd_code vd_effect_read_claim(const struct vd_redis_reply *reply, bool *ret_owned,
                                  const struct vd_redis_reply **ret_fields,
                                  struct vd_err *err) VD_MUST_CHECK;

/* Add or replace an entry, if `owner` (as vd_effect_owner() writes it) is the owner. */
enum vd_code vd_effect_store_entry(const struct vd_effect_call *call, struct vd_span owner,
                                   struct vd_span field, struct vd_span entry,
                                   struct vd_err *err) VD_MUST_CHECK;
enum vd_code vd_effect_read_store(const struct vd_redis_reply *reply, bool *ret_stored,
                                  bool *ret_nobody, struct vd_err *err) VD_MUST_CHECK;

/* Do what the entries say, in this order, and delete them; those that are not there are done already. Anybody may. Doing one twice, or
 * again after it was done in part, changes nothing. */
enum vd_code vd_effect_apply_entries(const struct vd_effect_call *call,
                                     const struct vd_span *fields, size_t count,
                                     struct vd_err *err) VD_MUST_CHECK;
struct vd_effect_counts {
    int64_t applied; /* entries */
    int64_t absent;  /* entries that were not there */
    int64_t stale;   /* operations that somebody else's write has overtaken */
    struct vd_redis_reply *const
        *failed; /* fields of entries that Redis could not do; they are still there. Borrowed */
    size_t failed_count;
    struct vd_span why; /* what it said of the last of them */
};
enum vd_code vd_effect_read_apply(const struct vd_redis_reply *reply, struct vd_effect_counts *ret,
                                  struct vd_err *err) VD_MUST_CHECK;

/* Delete entries without doing what they say, if `owner` is the owner. The answer is vd_effect_read_store()'s. */
enum vd_code vd_effect_discard_entries(const struct vd_effect_call *call, struct vd_span owner,
                                       const struct vd_span *fields, size_t count,
                                       struct vd_err *err) VD_MUST_CHECK;

#define VD_EFFECT_OWNER_SIZE 200
void vd_effect_owner(int32_t generation, struct vd_span cluster, struct vd_span token,
                     char out[VD_EFFECT_OWNER_SIZE]);

/* `verdict state rebuild`: an operation that an audit record tells of is done as if its entry were applied now; `age_s` is how long
 * ago that was. One that is older than what is there, or than its time to live, is left out (vd_effect_read_apply(): stale). */
enum vd_code vd_effect_restore(const struct vd_effect_call *call, struct vd_span decision_id,
                               struct vd_span operation, int64_t age_s,
                               struct vd_err *err) VD_MUST_CHECK;

#endif
