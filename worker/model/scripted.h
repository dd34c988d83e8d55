/* model/scripted.h - a model that answers from a list, for `verdict test` and unit tests. No network.
 *
 * Shapes:   the entry's script is a JSON array, used up in order. An item is
 *             - a string: what the model wrote, unchanged (so that broken JSON is an ordinary case);
 *             - {"tool_calls": [{"name": ..., "arguments": object or string}, ...]};
 *             - {"outcome": "timeout"} or another name of vd_model_outcome_name(): a failure;
 *             - any other object: a proposal, as its JSON text.
 *           Past the end every call fails with VD_MODEL_FATAL, "the script has no more answers".
 */
#ifndef VD_MODEL_SCRIPTED_H
#define VD_MODEL_SCRIPTED_H

#include <stddef.h>

/* How many answers of the script were given. */
size_t vd_model_scripted_used(const void *instance);

#endif
