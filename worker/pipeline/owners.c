/* pipeline/owners.c - see effects.h: who may add entries to a partition's pending hash, and what its earlier owners left there.
 *
 *   assigned --> CLAIM --list of entries--> CLEAN --all applied or deleted--> OWNED --> recovered()
 *                  ^                          |                                |
 *                  +---- another one owns it -+------ an entry was refused ----+
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "pipeline/effects_internal.h"

#define REFUSED_WAIT_MS                                                                            \
    1000 /* another owner is of a later generation: the group will tell us soon */

/* -- the table --------------------------------------------------------------------------------------------------- */

struct vd_place *vd_effects_place(struct vd_effects *e, const char *topic, int32_t partition)
{
    struct vd_place *place = e->places;

    while (place != NULL && (place->partition != partition || strcmp(place->topic, topic) != 0))
        place = place->next;
    if (place != NULL)
        return place;
    place = vd_alloc(sizeof(*place));
    if (place == NULL || (place->topic = vd_strdup(topic)) == NULL)
        return vd_free(place);
    place->e = e;
    place->partition = partition;
    place->epoch = -1;
    place->next = e->places;
    e->places = place;
    return place;
}

static void forget_fields(struct vd_place *place)
{
    place->fields = vd_free(place->fields);
    place->memory = vd_free(place->memory);
    place->apply_count = place->field_count = place->field_at = 0;
}

void vd_effects_free_places(struct vd_effects *e)
{
    while (e->places != NULL) {
        struct vd_place *place = e->places;

        e->places = place->next;
        forget_fields(place);
        (void)vd_free(place->topic);
        (void)vd_free(place);
    }
}

bool vd_effects_owns(const struct vd_place *place, int64_t epoch)
{
    return place->state == VD_PLACE_OWNED && place->epoch == epoch;
}

void vd_effects_places_status(const struct vd_effects *e, struct vd_effects_status *s)
{
    for (const struct vd_place *place = e->places; place != NULL; place = place->next) {
        if (place->state != VD_PLACE_CLAIM && place->state != VD_PLACE_CLEAN)
            continue;
        s->recovering++;
        if (s->oldest_mono_ms == 0 || place->since_mono_ms < s->oldest_mono_ms)
            s->oldest_mono_ms = place->since_mono_ms;
    }
}

/* -- assignment -------------------------------------------------------------------------------------------------- */

static void begin_claim(struct vd_effects *e, struct vd_place *place)
{
    place->state = VD_PLACE_CLAIM;
    place->since_mono_ms = vd_mono_ms();
    forget_fields(place);
    vd_effects_kick(e);
}

enum vd_code vd_effects_assigned(struct vd_effects *e, const char *topic, int32_t partition,
                                 int64_t epoch, int32_t generation, const char *cluster,
                                 struct vd_err *err)
{
    struct vd_place *place = vd_effects_place(e, topic, partition);

    if (place == NULL)
        return vd_err_nomem(err, "effects");
    place->epoch = epoch;
    place->generation = generation;
    (void)snprintf(place->cluster, sizeof(place->cluster), "%s", cluster != NULL ? cluster : "");
    place->recover = true;
    begin_claim(e, place);
    return VD_OK;
}

void vd_effects_revoked(struct vd_effects *e, const char *topic, int32_t partition, int64_t epoch)
{
    struct vd_place *place = vd_effects_place(e, topic, partition);

    if (place == NULL || place->epoch != epoch)
        return;
    place->epoch = -1;
    place->state = VD_PLACE_IDLE;
    forget_fields(place);
}

void vd_effects_adopt(struct vd_effects *e, struct vd_place *place, const struct vd_record *rec)
{
    if (place->epoch >= rec->epoch)
        return;
    place->epoch = rec->epoch;
    place->generation = rec->generation;
    place->recover = false;
    begin_claim(e, place);
}

void vd_effects_not_owner(struct vd_effects *e, struct vd_place *place, int64_t epoch, bool nobody)
{
    if (!vd_effects_owns(place, epoch))
        return; /* already being claimed again */
    if (nobody) {
        e->emptied++;
        vd_log(VD_ERROR, "redis.emptied", VD_F_STR("topic", place->topic),
               VD_F_INT("partition", place->partition),
               VD_F_STR("note",
                        "state and memory are lost; `verdict state rebuild` brings them back"));
    }
    place->recover = false; /* what is there now is our own */
    begin_claim(e, place);
}

/* -- claiming ---------------------------------------------------------------------------------------------------- */

static int64_t offset_of(struct vd_span field)
{
    int64_t offset;

    return vd_parse_i64(vd_span_sub(field, 0, vd_span_find(field, ':')), &offset) ? offset : -1;
}

static int by_offset(const void *a, const void *b)
{
    int64_t left = offset_of(*(const struct vd_span *)a),
            right = offset_of(*(const struct vd_span *)b);

    return (left > right) - (left < right);
}

/* Copies of the fields, those of finished offsets first, by offset. False: memory is out. */
static bool take_fields(struct vd_effects *e, struct vd_place *place,
                        const struct vd_redis_reply *reply)
{
    size_t bytes = 0, n = 0;
    char *at;

    forget_fields(place);
    for (size_t i = 0; i < reply->count; i++)
        bytes += reply->items[i]->s.len + 1;
    place->memory = vd_alloc(bytes + 1);
    place->fields = vd_alloc_array(reply->count + 1, sizeof(*place->fields));
    if (place->memory == NULL || place->fields == NULL)
        return false;
    at = place->memory;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < reply->count; i++) {
            struct vd_span field = reply->items[i]->s;
            int64_t offset = offset_of(field);

            if (offset < 0 || e->conf.finished(e->conf.arg, place->topic, place->partition,
                                               offset) != (pass == 0))
                continue;
            memcpy(at, field.ptr, field.len);
            place->fields[n++] = (struct vd_span){at, field.len};
            at += field.len + 1;
        }
        if (pass == 0)
            place->apply_count = n;
    }
    place->field_count = n;
    qsort(place->fields, place->apply_count, sizeof(*place->fields), by_offset);
    return true;
}

static void owned(struct vd_effects *e, struct vd_place *place)
{
    bool recovered = place->recover;

    if (place->field_count > 0)
        vd_log(VD_INFO, "effects.recovered", VD_F_STR("topic", place->topic),
               VD_F_INT("partition", place->partition),
               VD_F_INT("applied", (int64_t)place->apply_count),
               VD_F_INT("deleted", (int64_t)(place->field_count - place->apply_count)));
    e->recovered += place->apply_count;
    e->discarded += place->field_count - place->apply_count;
    forget_fields(place);
    place->state = VD_PLACE_OWNED;
    vd_effects_kick(e);
    if (recovered)
        e->conf.recovered(e->conf.arg, place->topic, place->partition, place->epoch);
}

/* A call of claiming or cleaning came back. False: it is of no use any more. */
static bool came_back(struct vd_place *place, const struct vd_redis_result *result,
                      enum vd_place_state state)
{
    place->busy = false;
    if (result->canceled)
        return false;
    if (place->call_epoch == place->epoch && place->state == state)
        return true;
    vd_effects_kick(place->e);
    return false;
}

static void on_claimed(void *arg, const struct vd_redis_result *result)
{
    struct vd_place *place = arg;
    struct vd_effects *e = place->e;
    const struct vd_redis_reply *fields = NULL;
    struct vd_err why = result->err;
    bool is_ours = false;

    if (!came_back(place, result, VD_PLACE_CLAIM))
        return;
    if (why.code == VD_OK)
        (void)!vd_effect_read_claim(result->replies[0], &is_ours, &fields, &why);
    if (why.code == VD_OK && is_ours && place->recover && !take_fields(e, place, fields))
        (void)vd_err_nomem(&why, "effects");
    if (why.code != VD_OK) {
        vd_effects_failed(e, &why);
        return;
    }
    vd_effects_went_well(e);
    if (!is_ours) {
        (void)snprintf(e->trouble, sizeof(e->trouble),
                       "a worker that joined later owns what decisions of %s[%" PRId32 "] change",
                       place->topic, place->partition);
        place->not_before_mono_ms = vd_mono_ms() + REFUSED_WAIT_MS;
        vd_timer_start(e->retry, REFUSED_WAIT_MS, 0);
    } else if (place->field_count == 0) {
        owned(e, place);
    } else {
        place->state = VD_PLACE_CLEAN;
        vd_effects_kick(e);
    }
}

static enum vd_code submit_claim(struct vd_effects *e, struct vd_place *place, struct vd_err *err)
{
    struct vd_effect_call call = vd_effects_call(e, place, on_claimed, place);

    /* Another token each time: an entry that was sent under the one before, and arrives late, is refused. */
    (void)snprintf(place->token, sizeof(place->token), "%d.%" PRIx64 ".%" PRIu64, (int)getpid(),
                   (uint64_t)vd_mono_us(), ++e->claims);
    vd_effect_owner(place->generation, vd_span_of(place->cluster), vd_span_of(place->token),
                    place->owner);
    return vd_effect_claim(&call, place->generation, vd_span_of(place->cluster),
                           vd_span_of(place->token), err);
}

/* -- cleaning ---------------------------------------------------------------------------------------------------- */

/* As many as one call takes, all of one kind. */
static size_t chunk(const struct vd_place *place)
{
    size_t end = place->field_at < place->apply_count ? place->apply_count : place->field_count;
    size_t n = end - place->field_at;

    return n < VD_EFFECT_MAX_FIELDS ? n : VD_EFFECT_MAX_FIELDS;
}

static void on_cleaned(void *arg, const struct vd_redis_result *result)
{
    struct vd_place *place = arg;
    struct vd_effects *e = place->e;
    bool applying = place->field_at < place->apply_count, stored = true, nobody = false;
    struct vd_effect_counts counts = {0};
    struct vd_err why = result->err;

    if (!came_back(place, result, VD_PLACE_CLEAN))
        return;
    if (why.code == VD_OK && applying)
        (void)!vd_effect_read_apply(result->replies[0], &counts, &why);
    else if (why.code == VD_OK)
        (void)!vd_effect_read_store(result->replies[0], &stored, &nobody, &why);
    if (why.code == VD_OK && counts.failed_count > 0)
        (void)vd_err_set(&why, VD_E_REMOTE, true, "%.*s",
                         (int)(counts.why.len > 120 ? 120 : counts.why.len), counts.why.ptr);
    if (why.code != VD_OK) {
        vd_effects_failed(e, &why);
        return;
    }
    vd_effects_went_well(e);
    vd_effects_count(e, place, &counts);
    if (!stored) {
        begin_claim(e, place);
        return;
    }
    place->field_at += chunk(place);
    if (place->field_at == place->field_count)
        owned(e, place);
    else
        vd_effects_kick(e);
}

static enum vd_code submit_clean(struct vd_effects *e, struct vd_place *place, struct vd_err *err)
{
    struct vd_effect_call call = vd_effects_call(e, place, on_cleaned, place);
    const struct vd_span *fields = place->fields + place->field_at;

    return place->field_at < place->apply_count
               ? vd_effect_apply_entries(&call, fields, chunk(place), err)
               : vd_effect_discard_entries(&call, vd_span_of(place->owner), fields, chunk(place),
                                           err);
}

void vd_effects_pump_places(struct vd_effects *e)
{
    for (struct vd_place *place = e->places; place != NULL; place = place->next) {
        bool claims = place->state == VD_PLACE_CLAIM;
        struct vd_err why;
        enum vd_code rc;

        if (place->busy || (!claims && place->state != VD_PLACE_CLEAN))
            continue;
        if (e->not_before_mono_ms != 0)
            return; /* Redis takes nothing more now */
        if (vd_mono_ms() < place->not_before_mono_ms) {
            vd_timer_start(e->retry, REFUSED_WAIT_MS, 0);
            continue;
        }
        rc = claims ? submit_claim(e, place, &why) : submit_clean(e, place, &why);
        if (rc != VD_OK) {
            vd_effects_failed(e, &why);
            continue;
        }
        place->busy = true;
        place->call_epoch = place->epoch;
    }
}
