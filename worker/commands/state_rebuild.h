/* commands/state_rebuild.h - `verdict state rebuild`: state and memory in Redis, from what the audit records say.
 *
 * Why:      each audit record has the changes of its decision, and is committed with it: Redis may be lost, the topic is the truth.
 * Thread:   one; blocking.
 */
#ifndef VD_COMMANDS_STATE_REBUILD_H
#define VD_COMMANDS_STATE_REBUILD_H

#include <stdbool.h>

#include "ops/settings.h"

/* policy NULL: all. Prints progress and counts. Exit status by sysexits(3). */
int vd_state_rebuild(const struct vd_settings *settings, const char *policy, bool dry_run);

#endif
