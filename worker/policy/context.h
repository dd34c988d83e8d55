/* policy/context.h - what Redis answered, as the policy's schema says it is.
 *
 * Why:      Redis has only strings; the context schema's types convert them before validation, so that rules see numbers as numbers.
 * Thread:   any; pure.
 * Errors:   VD_E_INPUT: required context absent, larger than max_bytes, not convertible, not valid: a dead letter at stage `context`.
 */
#ifndef VD_POLICY_CONTEXT_H
#define VD_POLICY_CONTEXT_H

#include "base/arena.h"
#include "base/err.h"
#include "policy/policy.h"

/* raw is the reply as a plain tree: NULL or null (nil, or an empty hash or list), a string, an array of strings and nulls, an object of
 * strings (HGETALL, HMGET zipped with its field names), or an integer. Values that already have their JSON type are kept, so that cases
 * may be written either way. *ret_tree is owned by the caller (vd_json_free); NULL when the context is absent and has no default. */
enum vd_code vd_context_accept(const struct vd_policy_context *context, const cJSON *raw,
                               struct vd_arena *arena, cJSON **ret_tree,
                               struct vd_err *err) VD_MUST_CHECK;

/* Is this a read that a policy may use, and what does its reply look like? words: the sources of the argv's templates. Only a key, a
 * field or a member may have holes; ranges are literal and bounded. VD_E_CONFIG says what to write instead. The Redis adapter checks again,
 * with the values filled in. */
enum vd_code vd_redis_read_allowed(const struct vd_span *words, size_t count,
                                   enum vd_redis_shape *ret_shape,
                                   struct vd_err *err) VD_MUST_CHECK;

#endif
