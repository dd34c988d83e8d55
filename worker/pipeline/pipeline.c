/* pipeline/pipeline.c - see pipeline.h. */
#include "pipeline/pipeline.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "pipeline/dead_letter.h"
#include "pipeline/holds.h"
#include "pipeline/keys.h"
#include "pipeline/limits.h"
#include "policy/canary.h"
#include "policy/facts.h"
#include "policy/limits.h"

/* One record that is not settled. */
struct work {
    struct work *next, *prev; /* oldest first */
    struct vd_pipeline *p;
    struct vd_record *rec;
    struct vd_arena arena; /* of the event */
    struct vd_event event;
    struct vd_job *jobs;
    size_t job_count;
    struct vd_hold *hold; /* of its partition */
    size_t open;          /* jobs not settled, and one while jobs are still being made */
};

/* A settled record: since when it waits for its commit, and what it changes then. */
struct settled {
    int64_t since_mono_ms;
    struct change *changes;
};

/* The changes of one decision, and the places of its job in the queues of its keys, until they are made. */
struct change {
    struct change *next, *prev; /* all of the pipeline */
    struct change *of_record;   /* the next one of the same record */
    struct vd_pipeline *p;
    struct vd_effect *effect;
    struct vd_key_entry entries[VD_JOB_MAX_KEYS];
    size_t entry_count;
};

struct vd_pipeline {
    struct vd_job_services services;
    struct vd_effects *effects;
    struct change *changes; /* of all settled records */
    struct vd_kafka *kafka;
    struct vd_pipeline_topic *topics;
    size_t topic_count;
    size_t max_in_flight, max_uncommitted;
    struct vd_guard guard;
    struct vd_timer *probe; /* while the guard holds intake */
    void (*fatal)(void *arg, const struct vd_err *err);
    void *arg;
    struct vd_policy_set *set;
    struct vd_keys *keys;
    struct vd_holds *holds;
    struct work *first, *last;
    size_t in_flight, uncommitted;
    uint64_t records, settled, committed, dropped;
    struct vd_job **ready; /* came to the head of their key while a record was being settled */
    size_t ready_count, ready_cap;
    bool starting;
    bool revoking;
};

/* -- life ------------------------------------------------------------------------------------------------------------ */

static void on_job_settled(void *arg, struct vd_job *job);
static void on_job_hold(void *arg, struct vd_job *job, bool on);
static int64_t on_job_stood_ms(void *arg, struct vd_job *job);
static void on_key_ready(void *arg, void *job);
static void on_probe(void *arg);
static void drop_change(struct change *c);

static void on_fatal(void *arg, const struct vd_err *err)
{
    struct vd_pipeline *p = arg;

    p->fatal(p->arg, err);
}

static bool on_finished(void *arg, const char *topic, int32_t partition, int64_t offset)
{
    const struct vd_pipeline *p = arg;

    return vd_kafka_finished(p->kafka, topic, partition, offset);
}

static void on_recovered(void *arg, const char *topic, int32_t partition, int64_t epoch)
{
    const struct vd_pipeline *p = arg;

    vd_kafka_ready(p->kafka, topic, partition, epoch);
}

static enum vd_code make_effects(struct vd_pipeline *p, struct vd_err *err)
{
    struct vd_effects_conf conf = {
        .loop = p->services.loop,
        .redis = p->services.redis,
        .metrics = p->services.metrics,
        .prefix = p->services.redis_prefix,
        .timeout_ms = p->services.redis_timeout_ms,
        .finished = on_finished,
        .recovered = on_recovered,
        .arg = p,
    };
    enum vd_code rc = VD_OK;

    if (conf.redis != NULL)
        rc = vd_effects_new(&conf, &p->effects, err);
    p->services.effects = p->effects;
    return rc;
}

enum vd_code vd_pipeline_new(const struct vd_pipeline_conf *conf, struct vd_policy_set *set,
                             struct vd_pipeline **ret_pipeline, struct vd_err *err)
{
    struct vd_pipeline *p = vd_alloc(sizeof(*p));
    enum vd_code rc;

    if (p == NULL)
        return vd_err_nomem(err, "pipeline");
    p->services = conf->services;
    p->services.settled = on_job_settled;
    p->services.hold = on_job_hold;
    p->services.stood_ms = on_job_stood_ms;
    p->services.fatal = on_fatal;
    p->services.arg = p;
    p->max_in_flight = conf->max_in_flight;
    p->max_uncommitted = conf->max_uncommitted;
    vd_guard_init(&p->guard, &conf->guard);
    p->fatal = conf->fatal;
    p->arg = conf->arg;
    p->topic_count = conf->topic_count;
    p->topics = vd_alloc_array(conf->topic_count, sizeof(*p->topics));
    p->keys = vd_keys_new(on_key_ready, p);
    p->holds = vd_holds_new();
    p->set = vd_policy_set_retain(set);
    if (p->topics == NULL || p->keys == NULL || p->holds == NULL ||
        vd_timer_new(conf->services.loop, on_probe, p, &p->probe) != VD_OK) {
        (void)vd_pipeline_free(p);
        return vd_err_nomem(err, "pipeline");
    }
    rc = make_effects(p, err);
    if (rc != VD_OK) {
        (void)vd_pipeline_free(p);
        return rc;
    }
    memcpy(p->topics, conf->topics, conf->topic_count * sizeof(*p->topics));
    vd_limiter_watch(p->services.limiter, set);
    *ret_pipeline = p;
    return VD_OK;
}

void *vd_pipeline_free(struct vd_pipeline *p)
{
    if (p == NULL)
        return NULL;
    assert(p->first == NULL);
    (void)vd_timer_free(p->probe);
    while (p->changes != NULL)
        drop_change(p->changes);
    (void)vd_effects_free(p->effects);
    (void)vd_keys_free(p->keys);
    (void)vd_holds_free(p->holds);
    (void)vd_policy_set_release(p->set);
    (void)vd_free(p->topics);
    (void)vd_free(p->ready);
    return vd_free(p);
}

void vd_pipeline_set_kafka(struct vd_pipeline *p, struct vd_kafka *kafka)
{
    p->kafka = kafka;
}

void vd_pipeline_set_policies(struct vd_pipeline *p, struct vd_policy_set *set)
{
    struct vd_policy_set *old = p->set;

    p->set = vd_policy_set_retain(set);
    vd_limiter_watch(p->services.limiter, set);
    (void)vd_policy_set_release(old);
}

void vd_pipeline_stop_models(struct vd_pipeline *p, bool stop)
{
    p->services.stop_models = stop;
}

/* -- work ------------------------------------------------------------------------------------------------------------- */

static struct work *work_new(struct vd_pipeline *p, struct vd_record *rec)
{
    struct work *w = vd_alloc(sizeof(*w));
    struct vd_hold *hold = vd_holds_at(p->holds, rec->topic, rec->partition);

    if (w == NULL || hold == NULL)
        return vd_free(w);
    w->hold = hold;
    vd_hold_enter(hold);
    w->p = p;
    w->rec = rec;
    w->open = 1;
    vd_arena_init(&w->arena, VD_JOB_ARENA_MAX_BYTES);
    w->prev = p->last;
    if (p->last != NULL)
        p->last->next = w;
    else
        p->first = w;
    p->last = w;
    rec->user = w;
    p->in_flight++;
    return w;
}

/* Jobs of w that were about to start will not. */
static void forget_ready(struct vd_pipeline *p, const struct work *w)
{
    size_t kept = 0;

    for (size_t i = 0; i < p->ready_count; i++)
        if (vd_job_record(p->ready[i]) != w->rec)
            p->ready[kept++] = p->ready[i];
    p->ready_count = kept;
}

/* Free with all its jobs; those still in a key's queue leave it, and their successors may become ready. */
static void work_free(struct work *w)
{
    struct vd_pipeline *p = w->p;

    forget_ready(p, w);
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        p->first = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    else
        p->last = w->prev;
    while (w->jobs != NULL) {
        struct vd_job *job = w->jobs;

        w->jobs = vd_job_next(job);
        for (size_t i = 0; i < vd_job_key_count(job); i++)
            vd_keys_leave(p->keys, &vd_job_key_at(job, i)->entry);
        (void)vd_job_free(job);
    }
    vd_event_fini(&w->event);
    vd_arena_fini(&w->arena);
    vd_hold_leave(w->hold);
    p->in_flight--;
    w->rec->user = NULL;
    (void)vd_free(w);
}

/* Jobs in the order of their policies: their outputs are published so. */
static void add_job(struct work *w, struct vd_job *job)
{
    struct vd_job *last = w->jobs;

    vd_job_set_next(job, NULL);
    if (last == NULL) {
        w->jobs = job;
    } else {
        while (vd_job_next(last) != NULL)
            last = vd_job_next(last);
        vd_job_set_next(last, job);
    }
    w->job_count++;
}

static void start_ready(struct vd_pipeline *p)
{
    if (p->starting)
        return;
    p->starting = true;
    while (p->ready_count > 0) {
        struct vd_job *job = p->ready[--p->ready_count];

        vd_job_start(job); /* may settle it, and make more ready */
    }
    p->starting = false;
}

/* job has come to the head of one of its queues; at the head of all of them it starts. */
static void on_key_ready(void *arg, void *job)
{
    struct vd_pipeline *p = arg;

    if (!vd_job_waits(job))
        return; /* it went on without what was before it */
    for (size_t i = 0; i < vd_job_key_count(job); i++)
        if (!vd_keys_is_head(&vd_job_key_at(job, i)->entry))
            return;
    if (p->ready_count == p->ready_cap) {
        size_t cap = p->ready_cap == 0 ? 64 : p->ready_cap * 2;
        struct vd_job **grown = vd_realloc_array(p->ready, cap, sizeof(struct vd_job *));
        struct vd_err err;

        if (grown == NULL) {
            (void)vd_err_nomem(&err, "key queue");
            p->fatal(p->arg, &err);
            return;
        }
        p->ready = grown;
        p->ready_cap = cap;
    }
    p->ready[p->ready_count++] = job;
}

static void out_of_memory(struct vd_pipeline *p, const char *what)
{
    struct vd_err err;

    (void)vd_err_nomem(&err, what);
    p->fatal(p->arg, &err);
}

/* -- changes ---------------------------------------------------------------------------------------------------------- */

/* The effect is somebody else's already, or freed. Jobs behind it may become ready. */
static void drop_change(struct change *c)
{
    struct vd_pipeline *p = c->p;

    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        p->changes = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    for (size_t i = 0; i < c->entry_count; i++)
        vd_keys_leave(p->keys, &c->entries[i]);
    (void)vd_free(c);
}

/* The job's effect, and with it its places. False: memory is out. */
static bool keep_change(struct vd_pipeline *p, struct settled *settled, struct vd_job *job)
{
    struct vd_effect *effect = vd_job_take_effect(job);
    struct change *c;

    if (effect == NULL)
        return true;
    c = vd_alloc(sizeof(*c));
    if (c == NULL) {
        (void)vd_effect_free(effect);
        return false;
    }
    c->p = p;
    c->effect = effect;
    c->entry_count = vd_job_holds_keys(job) ? vd_job_key_count(job) : 0;
    for (size_t i = 0; i < c->entry_count; i++)
        vd_keys_replace(&vd_job_key_at(job, i)->entry, &c->entries[i]);
    c->next = p->changes;
    if (c->next != NULL)
        c->next->prev = c;
    p->changes = c;
    c->of_record = settled->changes;
    settled->changes = c;
    return true;
}

static void on_changed(void *arg)
{
    struct change *c = arg;
    struct vd_pipeline *p = c->p;

    drop_change(c);
    start_ready(p);
    vd_kafka_resume(p->kafka);
}

/* How the record ended, for its changes. */
enum ending { COMMITTED, DROPPED, REPLACED };

static void end_changes(struct settled *settled, enum ending ending)
{
    while (settled->changes != NULL) {
        struct change *c = settled->changes;

        settled->changes = c->of_record;
        if (ending == COMMITTED) {
            vd_effect_apply(c->effect, on_changed, c);
        } else if (ending == REPLACED) {
            vd_effect_discard(c->effect, on_changed, c);
        } else {
            (void)vd_effect_free(c->effect); /* whoever has the partition now goes by the ledger */
            drop_change(c);
        }
    }
}

/* Nothing but changes that cannot be made stands before the job. */
static bool only_held(struct vd_job *job)
{
    for (size_t i = 0; i < vd_job_key_count(job); i++)
        for (const struct vd_key_entry *e = vd_job_key_at(job, i)->entry.prev; e != NULL;
             e = e->prev)
            if (e->job != NULL)
                return false;
    return true;
}

void vd_pipeline_tick(struct vd_pipeline *p)
{
    struct change *c = p->changes;

    while (c != NULL) {
        struct vd_job *job = NULL;

        for (size_t i = 0; i < c->entry_count && job == NULL; i++)
            if (c->entries[i].next != NULL)
                job = c->entries[i].next->job;
        /* Starting may settle records, and so add holds; none goes away meanwhile. */
        if (job != NULL && only_held(job))
            (void)vd_job_start_blind(job);
        c = c->next;
    }
}

bool vd_pipeline_idle(const struct vd_pipeline *p)
{
    struct vd_effects_status s = vd_effects_status(p->effects);

    return s.applying == 0;
}

/* All jobs are done: hand everything to Kafka, then let the next jobs of these keys begin (I2). */
static void settle(struct work *w, struct vd_output *extra)
{
    struct vd_pipeline *p = w->p;
    struct vd_record *rec = w->rec;
    struct settled *settled = vd_alloc(sizeof(*settled));
    struct vd_output *list = extra;
    struct vd_output **end = &list;
    bool ok = settled != NULL;

    while (*end != NULL)
        end = &(*end)->next;
    for (struct vd_job *job = w->jobs; job != NULL; job = vd_job_next(job)) {
        *end = vd_job_take_outputs(job);
        while (*end != NULL)
            end = &(*end)->next;
        ok = ok && keep_change(p, settled, job);
    }
    if (!ok) {
        (void)vd_output_free(list);
        out_of_memory(p, "record");
        return;
    }
    p->uncommitted++;
    p->settled++;
    work_free(w);
    settled->since_mono_ms = vd_mono_ms();
    rec->user = settled;
    vd_kafka_settle(p->kafka, rec, list);
    start_ready(p);
    vd_kafka_resume(p->kafka);
}

static void job_done(struct work *w)
{
    assert(w->open > 0);
    if (--w->open == 0)
        settle(w, NULL);
}

static void on_probe(void *arg)
{
    struct vd_pipeline *p = arg;

    vd_kafka_resume(p->kafka); /* on_room() says how many */
}

static void say_guard(struct vd_pipeline *p)
{
    uint64_t outcomes;

    if (p->guard.paused) {
        (void)vd_guard_ratio(&p->guard, vd_mono_ms(), &outcomes);
        vd_log(VD_ERROR, "intake.paused",
               VD_F_INT("fallback_percent", (int64_t)(p->guard.paused_at * 100)),
               VD_F_INT("decisions", (int64_t)outcomes),
               VD_F_STR("note", "too many fallbacks (worker.max_fallback_ratio); a few events at a "
                                "time try whether things are better"));
        vd_timer_start(p->probe, (uint64_t)p->guard.conf.probe_ms + 1,
                       (uint64_t)p->guard.conf.probe_ms + 1);
        return;
    }
    vd_log(VD_INFO, "intake.resumed",
           VD_F_INT("after_ms", vd_mono_ms() - p->guard.paused_since_ms));
    vd_timer_stop(p->probe);
}

static void on_job_settled(void *arg, struct vd_job *job)
{
    struct vd_pipeline *p = arg;
    enum vd_job_health health = vd_job_health(job);

    if (health != VD_JOB_UNCOUNTED &&
        vd_guard_outcome(&p->guard, vd_mono_ms(), vd_job_record(job)->fetched_mono_ms,
                         health == VD_JOB_FELL_BACK))
        say_guard(p);
    job_done(vd_job_record(job)->user);
}

/* A job waits for a model: what else the partition has must wait in the broker, not here. */
static void on_job_hold(void *arg, struct vd_job *job, bool on)
{
    struct vd_pipeline *p = arg;
    const struct vd_record *rec = vd_job_record(job);
    struct work *w = rec->user;
    int64_t now = vd_mono_ms();

    if (on && vd_hold_begin(w->hold, now)) {
        (void)vd_kafka_pause(p->kafka, rec->topic, rec->partition,
                             "no model can be asked, and a policy waits for one");
        vd_log(VD_WARN, "partition.waits_for_model", VD_F_STR("policy", vd_job_policy(job)->id),
               VD_F_STR("topic", rec->topic), VD_F_INT("partition", rec->partition));
        vd_kafka_resume(p->kafka); /* its records take no room from the others any more */
    } else if (!on && vd_hold_end(w->hold, now) && !p->revoking) {
        (void)vd_kafka_unpause(p->kafka, rec->topic, rec->partition);
        vd_log(VD_INFO, "partition.goes_on", VD_F_STR("topic", rec->topic),
               VD_F_INT("partition", rec->partition));
    }
}

static int64_t on_job_stood_ms(void *arg, struct vd_job *job)
{
    const struct work *w = vd_job_record(job)->user;

    (void)arg;
    return vd_hold_stood_ms(w->hold, vd_mono_ms());
}

static void skip(struct work *w, const char *reason)
{
    vd_metric_add(w->p->services.metrics, VD_M_SKIPPED, reason, "", 1);
}

/* -- records in ------------------------------------------------------------------------------------------------------- */

static const struct vd_event_reader *reader_of(const struct vd_pipeline *p, const char *topic)
{
    for (size_t i = 0; i < p->topic_count; i++)
        if (strcmp(p->topics[i].name, topic) == 0)
            return p->topics[i].reader;
    return NULL;
}

/* A record that no policy can be blamed for. */
static struct vd_output *dead_letter(struct vd_pipeline *p, const struct vd_record *rec,
                                     enum vd_stage stage, const char *reason)
{
    const char *topic = p->services.topics->dead_letter;
    struct vd_dead_letter letter = {
        .topic = topic,
        .stage = stage,
        .reason = reason,
        .wall_ms = vd_wall_ms(),
        .max_bytes = vd_kafka_max_record_bytes(p->kafka, topic),
    };
    struct vd_output *out = vd_dead_letter_new(rec, &letter);

    vd_metric_add(p->services.metrics, VD_M_DEAD_LETTERS, vd_stage_name(stage), "", 1);
    vd_log(VD_WARN, "event.dead_letter", VD_F_STR("stage", vd_stage_name(stage)),
           VD_F_STR("topic", rec->topic), VD_F_INT("partition", rec->partition),
           VD_F_INT("offset", rec->offset));
    return out;
}

/* Put an admitted job into its key's queue. */
static void enqueue(struct work *w, struct vd_job *job)
{
    struct vd_pipeline *p = w->p;
    const struct vd_policy *policy = vd_job_policy(job);
    struct vd_span id = vd_span_of(policy->id);
    size_t ahead = 0, others = 0;
    enum vd_code rc = VD_OK;

    for (size_t i = 0; i < vd_job_key_count(job) && rc == VD_OK; i++) {
        struct vd_job_key *k = vd_job_key_at(job, i);

        rc = vd_keys_enter(p->keys, vd_span_of(w->rec->topic), w->rec->partition, k->scope, k->key,
                           &k->entry, i == 0 ? &ahead : &others);
    }
    if (rc != VD_OK) {
        out_of_memory(p, "key queue");
        return;
    }
    if (vd_keys_moved(p->keys, id, vd_job_key(job), w->rec->partition))
        vd_metric_add(p->services.metrics, VD_M_KEY_REPARTITION, w->rec->topic, "", 1);
    if (ahead > (size_t)policy->max_queue_per_key)
        vd_job_overflow(job);
    w->open++;
    on_key_ready(p, job);
}

/* The version of a policy that decides this event's key. Without a key it is the current one, which says what is wrong. */
static enum vd_code choose_version(struct work *w, int64_t now_ms, const struct vd_policy **policy,
                                   struct vd_err *err)
{
    struct vd_facts *facts;
    struct vd_span key;
    enum vd_code rc;

    if ((*policy)->candidate == NULL)
        return VD_OK;
    rc = vd_facts_new(*policy, w->event.tree, now_ms, &w->arena, &facts, err);
    if (rc != VD_OK)
        return rc;
    rc = vd_facts_key(facts, &key, err);
    if (rc == VD_OK)
        *policy = vd_canary_choose(*policy, key);
    (void)vd_facts_free(facts);
    return rc == VD_E_NOMEM ? rc : VD_OK;
}

/* One policy and one record: a job, or nothing. */
static void try_policy(struct work *w, const struct vd_policy *policy, int64_t now_ms)
{
    struct vd_pipeline *p = w->p;
    struct vd_job *job;
    struct vd_err err;

    if (policy->mode == VD_MODE_CANARY)
        return; /* comes through its current version */
    /* The others have decided it already, when it was new. */
    if (w->event.only_policy.len > 0 && !vd_span_eq_c(w->event.only_policy, policy->id))
        return;
    if (policy->mode == VD_MODE_OFF || !vd_policy_reads(policy, vd_span_of(w->rec->topic)))
        return;
    if (choose_version(w, now_ms, &policy, &err) != VD_OK ||
        vd_job_new(&p->services, w->rec, &w->event, p->set, policy, now_ms, &job, &err) != VD_OK) {
        p->fatal(p->arg, &err);
        return;
    }
    if (!vd_job_match(job)) {
        (void)vd_job_free(job);
        return;
    }
    add_job(w, job);
    if (!vd_job_settled(job) && vd_job_admit(job))
        enqueue(w, job);
}

static void on_record(void *arg, struct vd_record *rec)
{
    struct vd_pipeline *p = arg;
    struct work *w = work_new(p, rec);
    int64_t now_ms = vd_wall_ms();
    struct vd_err err;

    if (w == NULL) {
        out_of_memory(p, "record");
        return;
    }
    p->records++;
    p->services.cluster_id = vd_kafka_cluster_id(p->kafka);
    p->services.audit_max_bytes = vd_kafka_max_record_bytes(p->kafka, p->services.topics->audit);
    p->services.dead_letter_max_bytes =
        vd_kafka_max_record_bytes(p->kafka, p->services.topics->dead_letter);
    vd_metric_add(p->services.metrics, VD_M_EVENTS, rec->topic, "", 1);
    if (rec->value.ptr == NULL) {
        skip(w, "null_value");
        settle(w, NULL);
        return;
    }
    if (vd_event_read(reader_of(p, rec->topic), rec, &w->arena, &w->event, &err) != VD_OK) {
        struct vd_output *letter =
            err.code == VD_E_NOMEM ? NULL : dead_letter(p, rec, VD_STAGE_DECODE, err.msg);

        if (letter == NULL)
            out_of_memory(p, "event");
        else
            settle(w, letter);
        return;
    }
    for (size_t i = 0; i < vd_policy_set_count(p->set); i++)
        try_policy(w, vd_policy_set_get(p->set, i), now_ms);
    if (w->job_count == 0)
        skip(w, "no_policy");
    else
        vd_guard_took(&p->guard);
    job_done(w);
    start_ready(p);
}

/* -- Kafka's other callbacks -------------------------------------------------------------------------------------------- */

/* Records of held partitions take no room, as long as they are no more than may be at work (I3). */
static size_t immovable(const struct vd_pipeline *p)
{
    size_t n = vd_holds_immovable(p->holds);

    return n < p->max_in_flight ? n : p->max_in_flight;
}

static size_t on_room(void *arg)
{
    struct vd_pipeline *p = arg;

    size_t moving = p->in_flight - immovable(p);

    if (moving >= p->max_in_flight || p->uncommitted >= p->max_uncommitted)
        return 0;
    return vd_guard_room(&p->guard, vd_mono_ms(), p->max_in_flight - moving);
}

/* Does a policy of this set change something in Redis? */
static bool has_effects(const struct vd_policy_set *set)
{
    for (size_t i = 0; i < vd_policy_set_count(set); i++) {
        const struct vd_policy *policy = vd_policy_set_get(set, i);

        if (policy->mode != VD_MODE_OFF &&
            (policy->state != NULL || policy->notes != NULL || vd_limits_hold(policy)))
            return true;
    }
    return false;
}

static bool on_assigned(void *arg, const char *topic, int32_t partition, int64_t epoch,
                        int32_t generation)
{
    struct vd_pipeline *p = arg;
    struct vd_err err;

    if (p->effects == NULL || !has_effects(p->set))
        return true;
    if (vd_effects_assigned(p->effects, topic, partition, epoch, generation,
                            vd_kafka_cluster_id(p->kafka), &err) != VD_OK)
        p->fatal(p->arg, &err);
    return false;
}

static void on_revoked(void *arg, const char *topic, int32_t partition, int64_t epoch, bool lost)
{
    struct vd_pipeline *p = arg;
    struct work *w = p->first;
    size_t count = 0;

    (void)lost;
    if (p->effects != NULL)
        vd_effects_revoked(p->effects, topic, partition, epoch);
    p->starting = true; /* successors in the same partition go too: start none of them */
    p->revoking = true;
    while (w != NULL) {
        struct work *next = w->next;

        if (w->rec->partition == partition && w->rec->epoch == epoch &&
            strcmp(w->rec->topic, topic) == 0) {
            work_free(w);
            count++;
        }
        w = next;
    }
    p->starting = false;
    p->revoking = false;
    vd_log(VD_INFO, "partition.revoked", VD_F_STR("topic", topic), VD_F_INT("partition", partition),
           VD_F_INT("canceled", (int64_t)count), VD_F_STR("lost", lost ? "yes" : "no"));
    start_ready(p);
}

static void on_committed(void *arg, struct vd_record *rec)
{
    struct vd_pipeline *p = arg;
    struct settled *settled = rec->user;
    int64_t waited_ms = vd_mono_ms() - settled->since_mono_ms;

    end_changes(settled, COMMITTED);
    rec->user = vd_free(settled);
    vd_metric_add(p->services.metrics, VD_M_WAIT, "commit", "", (uint64_t)waited_ms);
    p->uncommitted--;
    p->committed++;
}

static void on_dropped(void *arg, struct vd_record *rec)
{
    struct vd_pipeline *p = arg;

    end_changes(rec->user, DROPPED);
    rec->user = vd_free(rec->user);
    p->uncommitted--;
    p->dropped++;
    start_ready(p);
}

static struct vd_output *on_minimal(void *arg, struct vd_record *rec, const char *why)
{
    struct vd_pipeline *p = arg;
    struct vd_record bare = *rec;

    end_changes(rec->user, REPLACED);
    /* The brokers keep refusing this record's outcome: its headers may be the cause. The source position finds it again. */
    bare.header_count = 0;
    bare.value = vd_span_sub(rec->value, 0, 1024);
    return dead_letter(p, &bare, VD_STAGE_PUBLISH, why);
}

static void on_first_start(void *arg)
{
    struct vd_pipeline *p = arg;

    vd_limiter_first_start(p->services.limiter);
}

static void on_kafka_fatal(void *arg, const struct vd_err *err)
{
    struct vd_pipeline *p = arg;

    p->fatal(p->arg, err);
}

struct vd_kafka_callbacks vd_pipeline_callbacks(void)
{
    return (struct vd_kafka_callbacks){
        .room = on_room,
        .record = on_record,
        .assigned = on_assigned,
        .revoked = on_revoked,
        .committed = on_committed,
        .dropped = on_dropped,
        .minimal = on_minimal,
        .first_start = on_first_start,
        .fatal = on_kafka_fatal,
    };
}

struct vd_pipeline_status vd_pipeline_status(const struct vd_pipeline *p)
{
    struct vd_pipeline_status s = {
        .in_flight = p->in_flight,
        .immovable = immovable(p),
        .uncommitted = p->uncommitted,
        .keys = vd_keys_count(p->keys),
        .effects = vd_effects_status(p->effects),
        .records = p->records,
        .settled = p->settled,
        .committed = p->committed,
        .dropped = p->dropped,
        .models_stopped = p->services.stop_models,
    };

    s.intake_paused = p->guard.paused;
    s.fallback_ratio = vd_guard_ratio(&p->guard, vd_mono_ms(), &s.outcomes);
    if (s.intake_paused)
        s.fallback_ratio = p->guard.paused_at;
    if (p->first != NULL)
        s.oldest_age_ms = vd_mono_ms() - p->first->rec->fetched_mono_ms;
    for (const struct work *w = p->first; w != NULL; w = w->next) {
        for (struct vd_job *job = w->jobs; job != NULL; job = vd_job_next(job)) {
            const char *state = vd_job_state_name(job);

            s.waiting_key += strcmp(state, "key") == 0;
            s.waiting_redis += strcmp(state, "redis") == 0;
            s.waiting_model += strcmp(state, "model") == 0;
            s.waiting_outage += strcmp(state, "outage") == 0;
        }
    }
    return s;
}
