/* model/key.h - an API key from a file or the environment, read again when the file changes.
 *
 * Why:      keys are rotated while workers run; a key is never in the settings, a log line, or an error message.
 * Thread:   one owner.
 */
#ifndef VD_MODEL_KEY_H
#define VD_MODEL_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct vd_model_key;

/* Both NULL: there is no key, and none is missing. Copies. */
enum vd_code vd_model_key_new(const char *file, const char *env, struct vd_model_key **ret_key,
                              struct vd_err *err) VD_MUST_CHECK;
void *vd_model_key_free(struct vd_model_key *key); /* wipes it */

/* Look at the file again, at most once a second. True when the key is another than at the last call, or at the first call. */
bool vd_model_key_refresh(struct vd_model_key *key, int64_t mono_ms);
/* Borrowed until the next refresh; empty when there is none. Visible ASCII, at most VD_MODEL_KEY_MAX_BYTES. */
struct vd_span vd_model_key_get(const struct vd_model_key *key);
/* Why a wanted key is not there ("cannot read the key file: No such file or directory"); NULL when nothing is missing. */
const char *vd_model_key_missing(const struct vd_model_key *key);

#endif
