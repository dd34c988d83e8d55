/* pipeline/effects_internal.h - what effects.c (the changes of decisions) and owners.c (the partitions) share. Nobody else includes it. */
#ifndef VD_PIPELINE_EFFECTS_INTERNAL_H
#define VD_PIPELINE_EFFECTS_INTERNAL_H

#include <sys/queue.h>

#include "base/hash.h"
#include "pipeline/effects.h"
#include "redis/effects.h"

enum vd_place_state {
    VD_PLACE_IDLE,  /* not ours */
    VD_PLACE_CLAIM, /* to become its owner */
    VD_PLACE_CLEAN, /* ours; entries of earlier owners are being applied or deleted */
    VD_PLACE_OWNED,
};

/* A partition; kept as long as the worker runs, assigned or not. */
struct vd_place {
    struct vd_place *next;
    struct vd_effects *e;
    char *topic;
    int32_t partition;
    int64_t epoch; /* of the assignment; -1: none */
    int32_t generation;
    char cluster[65];
    enum vd_place_state state;
    bool recover; /* earlier entries are looked at, and recovered() is called */
    bool busy;    /* a call of claiming or cleaning is out, asked in call_epoch */
    int64_t call_epoch;
    int64_t since_mono_ms;
    int64_t not_before_mono_ms;
    char token[40], owner[VD_EFFECT_OWNER_SIZE];
    char *memory;           /* of the fields */
    struct vd_span *fields; /* first those to apply, by offset, then those to delete */
    size_t apply_count, field_count, field_at;
    bool ending[2]; /* a batch is out: applying, discarding */
};

enum vd_effect_state {
    VD_EFFECT_NEW,
    VD_EFFECT_STORING,
    VD_EFFECT_STORED,
    VD_EFFECT_APPLYING,
    VD_EFFECT_DISCARDING,
};

struct vd_effect {
    TAILQ_ENTRY(vd_effect) link;
    struct vd_effects *e;
    struct vd_place *place;
    int64_t epoch;
    enum vd_effect_state state;
    struct vd_redis_call *call; /* STORING */
    bool freed, in_call;
    char field[24 + VD_SHA256_HEX_SIZE];
    char *entry; /* until it is stored */
    size_t entry_len;
    int64_t since_mono_ms;
    vd_effect_fn *fn;
    void *arg;
};

TAILQ_HEAD(vd_effect_list, vd_effect);

struct vd_effects {
    struct vd_effects_conf conf;
    struct vd_effect_scripts *scripts;
    struct vd_redis_options options;
    struct vd_timer *retry;
    int64_t wait_ms, not_before_mono_ms; /* after Redis failed */
    char trouble[256];
    struct vd_effect_list storing, ending;
    size_t storing_count, ending_count;
    struct vd_place *places;
    uint64_t claims;
    uint64_t applied, stale, recovered, discarded, emptied;
};

/* effects.c */
void vd_effects_kick(struct vd_effects *e); /* pump in the next turn */
void vd_effects_pump(struct vd_effects *e);
void vd_effects_failed(struct vd_effects *e,
                       const struct vd_err *why); /* all wait, longer each time */
void vd_effects_went_well(struct vd_effects *e);
void vd_effects_count(struct vd_effects *e, const struct vd_place *place,
                      const struct vd_effect_counts *counts);
struct vd_effect_call vd_effects_call(struct vd_effects *e, const struct vd_place *place,
                                      vd_redis_done_fn *done, void *arg);

/* owners.c */
struct vd_place *vd_effects_place(struct vd_effects *e, const char *topic, int32_t partition);
/* rec was delivered without its partition having been claimed, as no policy had effects then: claim it now. */
void vd_effects_adopt(struct vd_effects *e, struct vd_place *place, const struct vd_record *rec);
/* An entry was refused. nobody: Redis was emptied. */
void vd_effects_not_owner(struct vd_effects *e, struct vd_place *place, int64_t epoch, bool nobody);
bool vd_effects_owns(const struct vd_place *place, int64_t epoch);
void vd_effects_pump_places(struct vd_effects *e);
void vd_effects_places_status(const struct vd_effects *e, struct vd_effects_status *s);
void vd_effects_free_places(struct vd_effects *e);

#endif
