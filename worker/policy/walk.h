/* policy/walk.h - the nodes of a document that a path names.
 *
 * Thread:   any; pure. At most VD_SHOW_MAX_NODES nodes are visited.
 */
#ifndef VD_POLICY_WALK_H
#define VD_POLICY_WALK_H

#include "json/json.h"
#include "policy/path.h"

enum vd_walk_next { VD_WALK_ON, VD_WALK_STOP };

/* node is a member or item of parent; it may be replaced or detached. */
typedef enum vd_walk_next vd_walk_fn(void *arg, cJSON *parent, cJSON *node);

void vd_walk(cJSON *document, const struct vd_path *path, vd_walk_fn *fn, void *arg);
/* Puts take_instead where node is, and frees node. False (nothing taken) when that fails. */
bool vd_walk_replace(cJSON *parent, cJSON *node, cJSON *take_instead);
/* The child of node that a segment names: a member, or an array item by its index. NULL: none. */
cJSON *vd_walk_child(const cJSON *node, const struct vd_path_segment *segment);

#endif
