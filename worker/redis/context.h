/* redis/context.h - what JSON the replies to a policy's reads become. Which reads are allowed: policy/context.h.
 *
 * Why:      jobs see plain trees, never Redis replies.
 * Source:   design/policies.md ("What a value means"), design/reasoning.md ("Hostile text").
 * Thread:   any; pure.
 * Shapes:   GET: JSON object or array when the text is one, else a string. HGETALL: object of strings. HMGET: object by field.
 *           ZRANGE ... WITHSCORES: array of {"member","score"}. Other lists: arrays of strings. Numbers: numbers. EXISTS and
 *           SISMEMBER: booleans. TTL: seconds, null when the key never expires.
 *           Absent (nil, no such key, an empty HGETALL or list) is NULL, told apart from an empty string.
 * Errors:   VD_E_INPUT for a reply that is not what it must be (names WRONGTYPE and the
 *           like), VD_E_LIMIT above max_bytes.
 */
#ifndef VD_REDIS_CONTEXT_H
#define VD_REDIS_CONTEXT_H

#include <stddef.h>

#include "base/err.h"
#include "base/span.h"
#include "json/json.h"
#include "redis/client.h"

/* The value of one reply to argv (with its values filled in). *ret_value: NULL when absent, else an owned tree (vd_json_free).
 * max_bytes 0: no bound but the pipeline's. */
enum vd_code vd_redis_read_value(const struct vd_span *argv, size_t argc,
                                 const struct vd_redis_reply *reply, size_t max_bytes,
                                 cJSON **ret_value, struct vd_err *err) VD_MUST_CHECK;

#endif
