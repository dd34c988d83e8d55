/* policy/redact.h - what leaves the process without what must not leave it.
 *
 * Why:      personal data is removed, masked or replaced by a keyed hash before a prompt, an audit record or a log line is made.
 * Thread:   any; pure.
 * Shapes:   a document is an object of bindings: {"event": ..., "sub": ...}; paths start with the binding.
 *           hash:   "hmac:" and 32 hex digits of HMAC-SHA-256 over the value's JSON: can be joined, not guessed
 *           mask:   "***"; remove: the member goes; an array item becomes null, so that indexes stay
 */
#ifndef VD_POLICY_REDACT_H
#define VD_POLICY_REDACT_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "json/json.h"
#include "policy/policy.h"

/* Is there any rule for `at` (one VD_REDACT_*)? */
bool vd_redacts(const struct vd_policy *policy, unsigned at);

/* Changes document in place by the rules for `at` (one VD_REDACT_*). key: the settings' redaction key. *ret_count: values changed. */
enum vd_code vd_redact(const struct vd_policy *policy, unsigned at, struct vd_span key,
                       cJSON *document, size_t *ret_count, struct vd_err *err) VD_MUST_CHECK;

/* Text that came from outside (a model's answer, a rationale): every string value that the rules for `at` would change, of at least
 * VD_REDACT_MIN_TEXT bytes, is replaced by "***" wherever it occurs. document is the unredacted one. */
enum vd_code vd_redact_text(const struct vd_policy *policy, unsigned at, const cJSON *document,
                            struct vd_span text, struct vd_buf *out,
                            struct vd_err *err) VD_MUST_CHECK;

#endif
