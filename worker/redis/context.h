/* redis/context.h - which Redis reads a policy may name, and what JSON their replies become.
 *
 * Why:      context comes from other services' keys: only bounded reads, nothing that writes, scans or blocks; and rules want typed
 *           values where Redis has only strings.
 * Source:   design/policies.md ("What a value means"), design/reasoning.md ("Hostile text").
 * Thread:   any; pure.
 * Shapes:   GET: JSON object or array when the text is one, else a string. HGETALL: object of strings. HMGET: object by field.
 *           ZRANGE ... WITHSCORES: array of {"member","score"}. Other lists: arrays of strings. Numbers: numbers. EXISTS and
 *           SISMEMBER: booleans. TTL: seconds, null when the key never expires.
 *           Absent (nil, no such key, an empty HGETALL or list) is NULL, told apart from an empty string.
 * Errors:   VD_E_CONFIG for a read that is not allowed, VD_E_INPUT for a reply that is not what it must be (names WRONGTYPE and the
 *           like), VD_E_LIMIT above max_bytes.
 */
#ifndef VD_REDIS_CONTEXT_H
#define VD_REDIS_CONTEXT_H

#include <stddef.h>

#include "base/err.h"
#include "base/span.h"
#include "json/json.h"
#include "redis/client.h"

/* May a policy or a tool use this read? argv are the words of its template: a word with a '{' is filled in later and is only
 * allowed where a key, field or member stands, never as the command, an option, or a bound. The message says what to write instead. */
enum vd_code vd_redis_read_check(const struct vd_span *argv, size_t argc,
                                 struct vd_err *err) VD_MUST_CHECK;

/* The allowed commands, for messages and documentation: "EXISTS, GET, HGET, ...". Static. */
const char *vd_redis_read_names(void);

/* The value of one reply to argv (with its values filled in). *ret_value: NULL when absent, else an owned tree (vd_json_free).
 * max_bytes 0: no bound but the pipeline's. */
enum vd_code vd_redis_read_value(const struct vd_span *argv, size_t argc,
                                 const struct vd_redis_reply *reply, size_t max_bytes,
                                 cJSON **ret_value, struct vd_err *err) VD_MUST_CHECK;

/* Convert the strings in value to the types that schema wants (integer, number, boolean, null, array, object), through properties,
 * items, additionalProperties, local $ref, allOf and type unions; what does not convert stays as it is, so that validation names it.
 * schema may be NULL (nothing is converted). Consumes *value on success only; the result is in *value. */
enum vd_code vd_redis_convert(cJSON **value, const cJSON *schema, struct vd_err *err) VD_MUST_CHECK;

#endif
