/* ops/group_keys.h - the secrets that all workers of a group share: behind markers, and behind hashed values.
 *
 * Why:      a job that runs again, maybe on another worker, must send the same bytes, or the journal does not know its answers; and
 *           hashes of redacted values can be joined only where their key is the same.
 * Thread:   loop thread.
 * Owns:     the keys' bytes, at a fixed place until vd_group_keys_free(). Borrows Redis, which must be freed first.
 * Shapes:   64 lower-case hexadecimal digits where a key was not set; the settings' own text where it was.
 *
 * A key that the settings do not have is made by the first worker (SET NX under PREFIX:key:NAME) and read by all. Asking is the
 * first that is submitted to Redis, so that it is answered before any job's reads. Until then, and while Redis is away, the key is
 * random and this process' own.
 */
#ifndef VD_OPS_GROUP_KEYS_H
#define VD_OPS_GROUP_KEYS_H

#include <stdbool.h>

#include "base/err.h"
#include "base/span.h"

struct vd_loop;
struct vd_redis;
struct vd_group_keys;

enum vd_group_key { VD_GROUP_KEY_MARKER, VD_GROUP_KEY_REDACT, VD_GROUP_KEY_COUNT };

struct vd_group_keys_conf {
    const char *given[VD_GROUP_KEY_COUNT]; /* from the settings, borrowed; NULL: none */
    const char *prefix;                    /* of keys in Redis; borrowed */
    struct vd_redis *redis;                /* NULL: none, keys that are not given stay random */
};

enum vd_code vd_group_keys_new(struct vd_loop *loop, const struct vd_group_keys_conf *conf,
                               struct vd_group_keys **ret_keys, struct vd_err *err) VD_MUST_CHECK;
void *vd_group_keys_free(struct vd_group_keys *keys); /* NULL-safe; returns NULL */

/* Points at the same place for ever; the bytes there change at most once, when Redis has answered. */
struct vd_span vd_group_key(const struct vd_group_keys *keys, enum vd_group_key which);
/* Does the whole group have them? False: Redis has not answered yet. */
bool vd_group_keys_shared(const struct vd_group_keys *keys);

#endif
