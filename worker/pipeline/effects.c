/* pipeline/effects.c - see effects.h: the lists of what has to be written, and what became of it. The partitions: owners.c. */
#include "pipeline/effects_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"

#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 2000

/* -- life -------------------------------------------------------------------------------------------------------- */

static void on_retry(void *arg)
{
    vd_effects_pump(arg);
}

enum vd_code vd_effects_new(const struct vd_effects_conf *conf, struct vd_effects **ret_effects,
                            struct vd_err *err)
{
    struct vd_effects *e = vd_alloc(sizeof(*e));
    enum vd_code rc;

    if (e == NULL)
        return vd_err_nomem(err, "effects");
    e->conf = *conf;
    TAILQ_INIT(&e->storing);
    TAILQ_INIT(&e->ending);
    rc = vd_effect_scripts_new(&e->scripts, err);
    if (rc == VD_OK && vd_timer_new(conf->loop, on_retry, e, &e->retry) != VD_OK)
        rc = vd_err_nomem(err, "effects");
    if (rc != VD_OK)
        (void)vd_effects_free(e);
    else
        *ret_effects = e;
    return rc;
}

static void release(struct vd_effect *effect)
{
    (void)vd_free(effect->entry);
    (void)vd_free(effect);
}

void *vd_effects_free(struct vd_effects *e)
{
    struct vd_effect *effect;

    if (e == NULL)
        return NULL;
    while ((effect = TAILQ_FIRST(&e->storing)) != NULL) {
        TAILQ_REMOVE(&e->storing, effect, link);
        release(effect);
    }
    while ((effect = TAILQ_FIRST(&e->ending)) != NULL) {
        TAILQ_REMOVE(&e->ending, effect, link);
        release(effect);
    }
    vd_effects_free_places(e);
    (void)vd_effect_scripts_free(e->scripts);
    (void)vd_timer_free(e->retry);
    return vd_free(e);
}

/* -- again ------------------------------------------------------------------------------------------------------- */

/* The timer, and nothing deferred, which would outlive us. pump() arms it again for whatever has to wait longer. */
void vd_effects_kick(struct vd_effects *e)
{
    vd_timer_start(e->retry, 0, 0);
}

void vd_effects_failed(struct vd_effects *e, const struct vd_err *why)
{
    e->wait_ms = e->wait_ms == 0                 ? RETRY_MIN_MS
                 : e->wait_ms * 2 < RETRY_MAX_MS ? e->wait_ms * 2
                                                 : RETRY_MAX_MS;
    e->not_before_mono_ms = vd_mono_ms() + e->wait_ms;
    (void)snprintf(e->trouble, sizeof(e->trouble),
                   "Redis does not take what decisions change: %.190s", why->msg);
    vd_metric_add(e->conf.metrics, VD_M_REDIS_ERRORS, "", "", 1);
    vd_timer_start(e->retry, (uint64_t)e->wait_ms, 0);
}

void vd_effects_went_well(struct vd_effects *e)
{
    e->wait_ms = 0;
    e->trouble[0] = '\0';
}

struct vd_effect_call vd_effects_call(struct vd_effects *e, const struct vd_place *place,
                                      vd_redis_done_fn *done, void *arg)
{
    e->options = (struct vd_redis_options){.timeout_ms = e->conf.timeout_ms,
                                           .reply_max_bytes = VD_EFFECTS_REPLY_MAX_BYTES};
    return (struct vd_effect_call){.redis = e->conf.redis,
                                   .scripts = e->scripts,
                                   .prefix = vd_span_of(e->conf.prefix),
                                   .topic = place->topic,
                                   .partition = place->partition,
                                   .options = &e->options,
                                   .done = done,
                                   .arg = arg};
}

/* -- storing ----------------------------------------------------------------------------------------------------- */

enum vd_code vd_effect_new(struct vd_effects *e, const struct vd_record *rec,
                           const char *decision_id, const cJSON *operations,
                           struct vd_effect **ret_effect, struct vd_err *err)
{
    struct vd_effect *effect = vd_alloc(sizeof(*effect));
    struct vd_place *place = vd_effects_place(e, rec->topic, rec->partition);
    struct vd_buf text;

    vd_buf_init(&text, VD_EFFECT_ENTRY_MAX_BYTES);
    if (effect == NULL || place == NULL || vd_json_write(&text, operations) != VD_OK) {
        bool large = text.failed == VD_E_LIMIT;

        vd_buf_free(&text);
        (void)vd_free(effect);
        if (large)
            return vd_err_set(err, VD_E_LIMIT, false, "it changes more than %u bytes",
                              VD_EFFECT_ENTRY_MAX_BYTES);
        return vd_err_nomem(err, "effects");
    }
    effect->e = e;
    effect->place = place;
    effect->epoch = rec->epoch;
    effect->since_mono_ms = vd_mono_ms();
    (void)snprintf(effect->field, sizeof(effect->field), "%" PRId64 ":%s", rec->offset,
                   decision_id);
    effect->entry = vd_buf_take(&text, &effect->entry_len);
    if (effect->entry == NULL) {
        release(effect);
        return vd_err_nomem(err, "effects");
    }
    vd_effects_adopt(e, place, rec);
    *ret_effect = effect;
    return VD_OK;
}

static void on_stored(void *arg, const struct vd_redis_result *result)
{
    struct vd_effect *effect = arg;
    struct vd_effects *e = effect->e;
    struct vd_err why = result->err;
    bool stored = false, nobody = false;

    effect->call = NULL;
    if (effect->freed) {
        release(effect);
        return;
    }
    if (result->canceled)
        return;
    if (why.code == VD_OK)
        (void)!vd_effect_read_store(result->replies[0], &stored, &nobody, &why);
    if (why.code != VD_OK) {
        vd_effects_failed(e, &why);
        return;
    }
    vd_effects_went_well(e);
    if (!stored) {
        vd_effects_not_owner(e, effect->place, effect->epoch, nobody);
        return;
    }
    TAILQ_REMOVE(&e->storing, effect, link);
    e->storing_count--;
    effect->state = VD_EFFECT_STORED;
    effect->entry = vd_free(effect->entry);
    effect->fn(effect->arg);
}

static void submit_store(struct vd_effects *e, struct vd_effect *effect)
{
    struct vd_effect_call call = vd_effects_call(e, effect->place, on_stored, effect);
    struct vd_err why;

    call.ret_call = &effect->call;
    if (vd_effect_store_entry(&call, vd_span_of(effect->place->owner), vd_span_of(effect->field),
                              (struct vd_span){effect->entry, effect->entry_len}, &why) != VD_OK)
        vd_effects_failed(e, &why);
}

void vd_effect_store(struct vd_effect *effect, vd_effect_fn *stored, void *arg)
{
    assert(effect->state == VD_EFFECT_NEW);
    effect->state = VD_EFFECT_STORING;
    effect->fn = stored;
    effect->arg = arg;
    TAILQ_INSERT_TAIL(&effect->e->storing, effect, link);
    effect->e->storing_count++;
    vd_effects_kick(effect->e);
}

void *vd_effect_free(struct vd_effect *effect)
{
    if (effect == NULL)
        return NULL;
    assert(effect->state != VD_EFFECT_APPLYING && effect->state != VD_EFFECT_DISCARDING);
    if (effect->state == VD_EFFECT_STORING) {
        TAILQ_REMOVE(&effect->e->storing, effect, link);
        effect->e->storing_count--;
    }
    if (effect->call == NULL) {
        release(effect);
    } else {
        effect->freed = true;
        vd_redis_cancel(effect->call);
    }
    return NULL;
}

/* -- applying ---------------------------------------------------------------------------------------------------- */

/* One call for effects of one partition that end the same way. */
struct batch {
    struct vd_effects *e;
    struct vd_place *place;
    enum vd_effect_state state; /* APPLYING or DISCARDING */
    struct vd_effect *effects[VD_EFFECT_MAX_FIELDS];
    size_t count;
};

static bool failed_one(const struct vd_effect_counts *counts, const struct vd_effect *effect)
{
    for (size_t i = 0; i < counts->failed_count; i++)
        if (vd_span_eq_c(counts->failed[i]->s, effect->field))
            return true;
    return false;
}

void vd_effects_count(struct vd_effects *e, const struct vd_place *place,
                      const struct vd_effect_counts *counts)
{
    e->applied += (uint64_t)counts->applied;
    e->stale += (uint64_t)counts->stale;
    if (counts->applied > 0)
        vd_metric_add(e->conf.metrics, VD_M_EFFECTS, "applied", "", (uint64_t)counts->applied);
    if (counts->stale == 0)
        return;
    vd_metric_add(e->conf.metrics, VD_M_EFFECTS, "stale", "", (uint64_t)counts->stale);
    vd_log(VD_WARN, "effects.stale", VD_F_STR("topic", place->topic),
           VD_F_INT("partition", place->partition), VD_F_INT("changes", counts->stale),
           VD_F_STR("note", "another partition's decision has changed the same state"));
}

/* Whoever waits for these hears of it; they are gone afterwards. */
static void end_batch(struct batch *b, const struct vd_effect_counts *counts)
{
    for (size_t i = 0; i < b->count; i++) {
        struct vd_effect *effect = b->effects[i];

        if (failed_one(counts, effect))
            continue;
        TAILQ_REMOVE(&b->e->ending, effect, link);
        b->e->ending_count--;
        effect->fn(effect->arg);
        release(effect);
    }
}

static void on_ended(void *arg, const struct vd_redis_result *result)
{
    struct batch *b = arg;
    struct vd_effects *e = b->e;
    struct vd_effect_counts counts = {0};
    struct vd_err why = result->err;
    bool stored = false, nobody = false;

    b->place->ending[b->state == VD_EFFECT_DISCARDING] = false;
    for (size_t i = 0; i < b->count; i++)
        b->effects[i]->in_call = false;
    if (result->canceled) {
        (void)vd_free(b);
        return;
    }
    if (why.code == VD_OK && b->state == VD_EFFECT_APPLYING)
        (void)!vd_effect_read_apply(result->replies[0], &counts, &why);
    else if (why.code == VD_OK)
        (void)!vd_effect_read_store(result->replies[0], &stored, &nobody, &why);
    if (why.code == VD_OK) {
        vd_effects_went_well(e);
        vd_effects_count(e, b->place, &counts);
        if (counts.failed_count > 0)
            (void)vd_err_set(&why, VD_E_REMOTE, true, "%.*s",
                             (int)(counts.why.len > 120 ? 120 : counts.why.len), counts.why.ptr);
        end_batch(b, &counts);
    }
    if (why.code != VD_OK)
        vd_effects_failed(e, &why);
    else
        vd_effects_kick(e);
    (void)vd_free(b);
}

static void submit_ending(struct vd_effects *e, struct vd_effect *first)
{
    struct batch *b = vd_alloc(sizeof(*b));
    struct vd_span fields[VD_EFFECT_MAX_FIELDS];
    struct vd_effect_call call;
    struct vd_err why;
    enum vd_code rc;

    if (b == NULL) {
        (void)vd_err_nomem(&why, "effects");
        vd_effects_failed(e, &why);
        return;
    }
    *b = (struct batch){.e = e, .place = first->place, .state = first->state};
    for (struct vd_effect *x = first; x != NULL && b->count < VD_EFFECT_MAX_FIELDS;
         x = TAILQ_NEXT(x, link)) {
        if (x->place != b->place || x->state != b->state)
            continue;
        fields[b->count] = vd_span_of(x->field);
        b->effects[b->count++] = x;
        x->in_call = true;
    }
    call = vd_effects_call(e, b->place, on_ended, b);
    rc =
        b->state == VD_EFFECT_APPLYING
            ? vd_effect_apply_entries(&call, fields, b->count, &why)
            : vd_effect_discard_entries(&call, vd_span_of(b->place->owner), fields, b->count, &why);
    if (rc == VD_OK) {
        b->place->ending[b->state == VD_EFFECT_DISCARDING] = true;
        return;
    }
    for (size_t i = 0; i < b->count; i++)
        b->effects[i]->in_call = false;
    (void)vd_free(b);
    vd_effects_failed(e, &why);
}

static void end(struct vd_effect *effect, enum vd_effect_state state, vd_effect_fn *fn, void *arg)
{
    assert(effect->state == VD_EFFECT_STORED);
    effect->state = state;
    effect->fn = fn;
    effect->arg = arg;
    effect->since_mono_ms = vd_mono_ms();
    TAILQ_INSERT_TAIL(&effect->e->ending, effect, link);
    effect->e->ending_count++;
    vd_effects_kick(effect->e);
}

void vd_effect_apply(struct vd_effect *effect, vd_effect_fn *applied, void *arg)
{
    end(effect, VD_EFFECT_APPLYING, applied, arg);
}

void vd_effect_discard(struct vd_effect *effect, vd_effect_fn *discarded, void *arg)
{
    end(effect, VD_EFFECT_DISCARDING, discarded, arg);
}

/* -- everything that can be sent now ----------------------------------------------------------------------------- */

void vd_effects_pump(struct vd_effects *e)
{
    struct vd_effect *effect;

    if (vd_mono_ms() < e->not_before_mono_ms) {
        vd_timer_start(e->retry, (uint64_t)(e->not_before_mono_ms - vd_mono_ms()), 0);
        return;
    }
    e->not_before_mono_ms = 0;
    vd_effects_pump_places(e);
    TAILQ_FOREACH(effect, &e->storing, link)
    {
        if (e->not_before_mono_ms != 0)
            return; /* Redis takes nothing more now */
        if (effect->call == NULL && vd_effects_owns(effect->place, effect->epoch))
            submit_store(e, effect);
    }
    TAILQ_FOREACH(effect, &e->ending, link)
    {
        if (e->not_before_mono_ms != 0)
            return;
        if (!effect->in_call && !effect->place->ending[effect->state == VD_EFFECT_DISCARDING])
            submit_ending(e, effect);
    }
}

struct vd_effects_status vd_effects_status(const struct vd_effects *e)
{
    struct vd_effects_status s = {.trouble = ""};
    const struct vd_effect *heads[2];

    if (e == NULL)
        return s;
    s = (struct vd_effects_status){.storing = e->storing_count,
                                   .applying = e->ending_count,
                                   .trouble = e->trouble,
                                   .applied = e->applied,
                                   .stale = e->stale,
                                   .recovered = e->recovered,
                                   .discarded = e->discarded,
                                   .emptied = e->emptied};
    heads[0] = TAILQ_FIRST(&e->storing);
    heads[1] = TAILQ_FIRST(&e->ending);
    for (size_t i = 0; i < 2; i++)
        if (heads[i] != NULL &&
            (s.oldest_mono_ms == 0 || heads[i]->since_mono_ms < s.oldest_mono_ms))
            s.oldest_mono_ms = heads[i]->since_mono_ms;
    vd_effects_places_status(e, &s);
    return s;
}
