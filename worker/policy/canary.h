/* policy/canary.h - two versions of one policy at once: some keys get the candidate, the others the current version.
 *
 * Why:      a new version is seen deciding real events before it decides all of them.
 * Source:   design/policies.md, canary = { percent; candidate = "next.cfg" }.
 * Thread:   any; pure.
 * Invariants:
 *   I1 a key's version depends on the policy's id, the key and percent alone: the same on every worker and after every restart.
 *   I2 a key that has the candidate keeps it while percent only grows.
 *   I3 both versions have the same topics and the same key template, so one key has one order.
 */
#ifndef VD_POLICY_CANARY_H
#define VD_POLICY_CANARY_H

#include "policy/policy.h"

#define VD_CANARY_SHARES 10000 /* hundredths of a percent */

/* The share that a key falls into, 0 to VD_CANARY_SHARES - 1: the candidate's when it is below policy->canary_share. First 8 bytes of
 * SHA-256 over the id, a NUL, and the key, big-endian, modulo VD_CANARY_SHARES. */
unsigned vd_canary_share_of(const char *policy_id, struct vd_span key);
/* policy, or its candidate. */
const struct vd_policy *vd_canary_choose(const struct vd_policy *policy, struct vd_span key);

/* What of candidate keeps it from being one of current: false after diagnostics. */
bool vd_canary_check(const struct vd_policy *current, const struct vd_policy *candidate,
                     struct vd_diags *diags);

#endif
