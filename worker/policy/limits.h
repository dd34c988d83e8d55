/* policy/limits.h - what a decision wants of the limits across decisions, before anybody is asked whether there is so much left.
 *
 * Why:      each of ten thousand decisions may be right, and all together wrong: a limit counts what they use, in Redis (redis/limits.h).
 * Thread:   one owner at a time (the facts').
 * Owns:     everything is in the facts' arena; borrows the policy.
 * Rules:    fails closed: an expression that cannot be evaluated, or gives what is no amount, is a fault, and a fault counts as
 *           exceeded. `confirm` and `release` count as false then.
 */
#ifndef VD_POLICY_LIMITS_H
#define VD_POLICY_LIMITS_H

#include <stdbool.h>

#include "base/err.h"
#include "policy/facts.h"
#include "policy/policy.h"

struct vd_limit {
    const char *name;
    const char *id;   /* "limits.NAME": of its rule results */
    const char *base; /* "limit:POLICY:NAME": of its keys in Redis */
    const char *why;  /* never NULL */
    const struct vd_template *key;
    bool
        holds; /* hold_s: of the policy key, until a later decision confirms or releases it, or it ends */
    int64_t keep_ms;      /* window_s or hold_s */
    int64_t confirmed_ms; /* how long a confirmed hold counts */
    int64_t closed_ms;    /* how long what Redis has lost could have counted */
    int64_t max;          /* where max_program is NULL */
    const struct vd_cel_program *max_program;
    const struct vd_cel_program *measure;           /* NULL: 1 */
    const struct vd_cel_program *each;              /* NULL: one reservation */
    const struct vd_cel_program *when;              /* NULL: always */
    const struct vd_cel_program *confirm, *release; /* NULL: never */
    enum vd_on_fail on_exceed;                      /* REPAIR, REJECT, ESCALATE */
};

/* One reservation. Amounts are from 1 to VD_LIMIT_MAX_AMOUNT: what is zero needs none. */
struct vd_limit_want {
    const struct vd_limit *limit;
    size_t item; /* of `each`, from 1; 0: there is no each */
    struct vd_span key;
    int64_t amount, max;
};

struct vd_limit_fault {
    const struct vd_limit *limit;
    const char *why;
};

/* A hold of the policy key that exists already. */
struct vd_limit_change {
    const struct vd_limit *limit;
    bool confirm, release;
};

struct vd_limit_plan {
    const struct vd_limit_want *wants;
    size_t want_count;
    const struct vd_limit_fault *faults;
    size_t fault_count;
    const struct vd_limit_change *changes; /* only those that say anything */
    size_t change_count;
};

/* params, action and decision are bound in facts to what was accepted. Fails only for memory. */
enum vd_code vd_limits_plan(struct vd_facts *facts, struct vd_limit_plan *ret,
                            struct vd_err *err) VD_MUST_CHECK;

/* Of want's limit and key, all items together. */
int64_t vd_limit_needed(const struct vd_limit_plan *plan, const struct vd_limit_want *want);

/* Does any limit hold something for later decisions of its key? */
bool vd_limits_hold(const struct vd_policy *policy);

#endif
