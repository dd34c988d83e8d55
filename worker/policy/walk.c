/* policy/walk.c - see walk.h. */
#include "policy/walk.h"

#include <limits.h>

#include "base/limits.h"

struct walk {
    const struct vd_path *path;
    vd_walk_fn *fn;
    void *arg;
    size_t left; /* nodes that may still be visited */
};

cJSON *vd_walk_child(const cJSON *node, const struct vd_path_segment *segment)
{
    uint64_t index;

    if (node == NULL)
        return NULL;
    if (vd_json_kind(node) == VD_JSON_OBJECT)
        return (cJSON *)vd_json_get_span(node, segment->name);
    if (vd_json_kind(node) == VD_JSON_ARRAY && vd_parse_u64(segment->name, INT_MAX, &index))
        return cJSON_GetArrayItem(node, (int)index);
    return NULL;
}

bool vd_walk_replace(cJSON *parent, cJSON *node, cJSON *take_instead)
{
    cJSON *fresh = take_instead;

    /* cJSON_ReplaceItemViaPointer() frees the old item with its key and gives the new one none: it gets the key first. */
    if (node->string != NULL) {
        cJSON *holder = cJSON_CreateObject();

        if (holder == NULL || !cJSON_AddItemToObject(holder, node->string, fresh)) {
            cJSON_Delete(holder);
            return false;
        }
        fresh = cJSON_DetachItemViaPointer(holder, fresh);
        cJSON_Delete(holder);
    }
    return cJSON_ReplaceItemViaPointer(parent, node, fresh) != 0;
}

static enum vd_walk_next step(struct walk *w, cJSON *node, size_t depth)
{
    const struct vd_path_segment *segment = &w->path->segments[depth];
    cJSON *child, *next;

    if (node == NULL || w->left == 0)
        return VD_WALK_STOP;
    if (!segment->every) {
        child = vd_walk_child(node, segment);
        if (child == NULL)
            return VD_WALK_ON;
        w->left--;
        return depth + 1 == w->path->count ? w->fn(w->arg, node, child) : step(w, child, depth + 1);
    }
    if (vd_json_kind(node) != VD_JSON_ARRAY)
        return VD_WALK_ON;
    for (child = node->child; child != NULL; child = next) {
        enum vd_walk_next said;

        next = child->next;
        if (w->left == 0)
            return VD_WALK_STOP;
        w->left--;
        said = depth + 1 == w->path->count ? w->fn(w->arg, node, child) : step(w, child, depth + 1);
        if (said == VD_WALK_STOP)
            return VD_WALK_STOP;
    }
    return VD_WALK_ON;
}

void vd_walk(cJSON *document, const struct vd_path *path, vd_walk_fn *fn, void *arg)
{
    struct walk w = {path, fn, arg, VD_SHOW_MAX_NODES};

    (void)step(&w, document, 0);
}
