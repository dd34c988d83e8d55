/* policy/state.h - a policy's `state`: a few typed values about a key, written by CEL alone.
 *
 * Why:      a negotiation needs to know its round and its last offer, and nothing that a model wrote may decide what they are.
 * Thread:   any; pure.
 * Shapes:   a tree is an object with exactly the declared fields, each of its type. Redis has a hash of texts: integers and numbers
 *           in JSON's digits, "true", "false", strings as they are, and two fields of ours: "@by", the decision that wrote it, and
 *           "@at", when (milliseconds).
 * Errors:   VD_E_INPUT: what is stored is not of its type, so that no rule sees a guess: a dead letter at stage `context`.
 */
#ifndef VD_POLICY_STATE_H
#define VD_POLICY_STATE_H

#include "base/err.h"
#include "json/json.h"
#include "policy/facts.h"
#include "policy/policy.h"

#define VD_STATE_WRITER "@by"
#define VD_STATE_TIME   "@at"

/* raw: what Redis has (an object of texts), or typed values as cases have them; NULL or null: nothing. Fields that are absent have
 * their default, unknown ones are left out. *ret_tree is owned by the caller. */
enum vd_code vd_state_accept(const struct vd_policy_state *state, const cJSON *raw,
                             cJSON **ret_tree, struct vd_err *err) VD_MUST_CHECK;

/* The values after a decision, each from its `next`, which all see the values before. The facts have the state, params, action,
 * evidence and decision bound. One that fails, or gives something that the field cannot hold, keeps its value: *ret_errors
 * (an array of {"field", "error"}) says so. Both are owned by the caller. */
enum vd_code vd_state_next(struct vd_facts *facts, cJSON **ret_tree, cJSON **ret_errors,
                           struct vd_err *err) VD_MUST_CHECK;

/* Appends {"field", "error"}; false when memory is out. */
bool vd_state_error(cJSON *errors, const char *field, const char *text);

/* A tree as Redis keeps it: an object of texts, without the fields of ours. NULL when memory is out. */
cJSON *vd_state_texts(const cJSON *tree);

#endif
