/* pipeline/holds.c - see holds.h. */
#include "pipeline/holds.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"

struct vd_hold {
    struct vd_holds *holds;
    struct vd_hold *next;
    char *topic;
    int32_t partition;
    size_t records;
    size_t jobs; /* that wait */
    int64_t since_ms;
    int64_t stood_ms; /* before since_ms */
};

struct vd_holds {
    struct vd_hold *first;
    size_t immovable;
};

struct vd_holds *vd_holds_new(void)
{
    return vd_alloc(sizeof(struct vd_holds));
}

void *vd_holds_free(struct vd_holds *holds)
{
    if (holds == NULL)
        return NULL;
    while (holds->first != NULL) {
        struct vd_hold *hold = holds->first;

        holds->first = hold->next;
        (void)vd_free(hold->topic);
        (void)vd_free(hold);
    }
    return vd_free(holds);
}

struct vd_hold *vd_holds_at(struct vd_holds *holds, const char *topic, int32_t partition)
{
    struct vd_hold *hold = holds->first;

    while (hold != NULL && (hold->partition != partition || strcmp(hold->topic, topic) != 0))
        hold = hold->next;
    if (hold != NULL)
        return hold;
    hold = vd_alloc(sizeof(*hold));
    if (hold == NULL)
        return NULL;
    hold->topic = vd_strdup(topic);
    if (hold->topic == NULL)
        return vd_free(hold);
    hold->holds = holds;
    hold->partition = partition;
    hold->next = holds->first;
    holds->first = hold;
    return hold;
}

void vd_hold_enter(struct vd_hold *hold)
{
    hold->records++;
    hold->holds->immovable += hold->jobs > 0 ? 1 : 0;
}

void vd_hold_leave(struct vd_hold *hold)
{
    assert(hold->records > 0);
    hold->records--;
    hold->holds->immovable -= hold->jobs > 0 ? 1 : 0; /* I1 */
}

bool vd_hold_begin(struct vd_hold *hold, int64_t now_ms)
{
    if (hold->jobs++ > 0)
        return false;
    hold->since_ms = now_ms;
    hold->holds->immovable += hold->records;
    return true;
}

bool vd_hold_end(struct vd_hold *hold, int64_t now_ms)
{
    assert(hold->jobs > 0);
    if (--hold->jobs > 0)
        return false;
    hold->stood_ms += now_ms - hold->since_ms;
    hold->holds->immovable -= hold->records;
    return true;
}

int64_t vd_hold_stood_ms(const struct vd_hold *hold, int64_t now_ms)
{
    return hold->stood_ms + (hold->jobs > 0 ? now_ms - hold->since_ms : 0);
}

size_t vd_holds_immovable(const struct vd_holds *holds)
{
    return holds->immovable;
}
