/* pipeline/job_internal.h - what the job's files share. Nobody else includes it.
 *
 * job.c          life, and the pipeline's calls
 * job_dedupe.c   is it a duplicate?
 * job_context.c  one round trip to Redis before reasoning
 * job_journal.c  what an earlier run of the same job saw and was answered
 * job_reason.c   the reasoning, driven: models, deadline
 * job_tools.c    what the model looks up
 * job_wait.c     no model can be asked, and the policy waits
 * job_limits.c   limits across decisions and the calls of a key: reserved before they are used
 * job_state.c    state and memory, read before the decision and changed by it
 * job_settle.c   the end of every path: decision, dead letter, skip
 */
#ifndef VD_PIPELINE_JOB_INTERNAL_H
#define VD_PIPELINE_JOB_INTERNAL_H

#include "base/limits.h"
#include "pipeline/ask.h"
#include "pipeline/job.h"
#include "pipeline/limits.h"
#include "pipeline/lookup.h"
#include "pipeline/tools.h"
#include "policy/memory.h"
#include "reason/changes.h"
#include "reason/reason.h"

enum vd_job_state {
    VD_JOB_NEW,
    VD_JOB_MATCHED,
    VD_JOB_WAITING,
    VD_JOB_CONTEXT,
    VD_JOB_REASON,
    VD_JOB_STORE, /* what it changes in Redis is being written down */
    VD_JOB_SETTLED
};

struct vd_job {
    const struct vd_job_services *s;
    struct vd_record *rec;
    const struct vd_event *event;
    struct vd_policy_set *set;
    const struct vd_policy *policy;
    int64_t clock_ms; /* wall clock, pinned when the record was read */
    enum vd_job_state state;
    bool detached; /* canceled or freed by the owner: say nothing any more (I4) */
    bool freed;
    unsigned pending; /* callbacks outstanding */

    struct vd_arena arena;
    struct vd_facts *facts;
    char id[VD_SHA256_HEX_SIZE];
    struct vd_span key;
    struct vd_job_key keys[VD_JOB_MAX_KEYS]; /* the first is the policy's */
    size_t key_count;
    bool
        blind; /* its key's changes are still to be made, and its deadline has passed: Redis is not asked */
    int64_t waiting_since_ms;
    bool forced; /* decide without a model, because of: */
    bool forced_review;
    enum vd_stop forced_stop;
    const char *forced_why;

    struct vd_redis_call *dedupe;
    struct vd_span dedupe_id, dedupe_key; /* empty: the policy does not look */
    bool dedupe_missed;                   /* Redis did not say before the deadline */
    struct vd_lookup *lookup;
    struct vd_read *reads;
    size_t read_count;
    cJSON **contexts;   /* policy->context_count */
    cJSON *journal;     /* the entry of this decision, owned; NULL: none */
    bool journal_asked; /* its read is the last of reads */
    bool journal_read;  /* or not to be read at all */
    bool recalled;      /* the last answer came from there: what its tools gave does too */
    bool journal_begun; /* start is made */
    struct vd_journal_start start;
    struct vd_span state_key, memory_key;
    bool raw_known;
    cJSON *raw_state, *raw_memory; /* as Redis had them; owned */
    cJSON *state_tree;
    struct vd_memory memory;
    struct vd_changes changes;
    cJSON *operations;        /* what the decision changes in Redis; owned. NULL: nothing */
    struct vd_effect *effect; /* the same, written down; the pipeline takes it */
    struct vd_output *ready;  /* STORE: what is published then */
    struct vd_reason *reason;
    struct vd_ask_call *ask;
    struct vd_tools_batch *tools;
    int64_t calls; /* requests sent, retries included */
    struct vd_timer *timer;

    /* budget.on_unavailable = "wait" */
    bool waits; /* for a model, right now */
    bool holds; /* its partition's intake */
    struct vd_timer *wait_timer;
    unsigned wait_rounds, wait_strikes;
    unsigned given_up_asks; /* canceled, their callbacks outstanding */
    int64_t asked_since_ms, wait_until_ms;
    int64_t stood_ms;        /* that its deadline stood still */
    int64_t refused_calls;   /* of calls: not counted against the budget */
    uint64_t answers_before; /* of its models, to anybody, when it asked */

    enum vd_job_health health;

    /* limits */
    struct vd_limiter_call *reserve;
    bool reserved;  /* what is about to be published */
    bool reserving; /* what the reasoning has accepted */
    int64_t reserve_since_ms, reserve_until_ms;
    struct vd_timer *reserve_timer; /* until the next try */
    unsigned quota_step;            /* budget.per_key: of which ask the following are */
    int64_t quota_wanted, quota_granted, quota_spent; /* calls */
    char quota_id[VD_SHA256_HEX_SIZE + 12];
    char quota_base[120];

    struct vd_output *outputs;
    struct vd_job *next;
};

/* job.c: a callback came. False: the owner has gone, and maybe the job with it now. */
bool vd_job_came_back(struct vd_job *job);
/* From the record's fetch (G3), and as much later as it stood still. */
int64_t vd_job_deadline_mono_ms(const struct vd_job *job);

/* job_dedupe.c: claim the event's id, then read the context; or skip. */
void vd_job_begin_dedupe(struct vd_job *job);

/* job_context.c: read what the policy names, then reason. */
void vd_job_begin_context(struct vd_job *job);

/* job_journal.c. May there be an entry worth reading? */
bool vd_job_journals(const struct vd_job *job);
/* The read of the entry, to be added to a lookup. False: none, go on without. */
bool vd_job_journal_read(struct vd_job *job, struct vd_read *ret_read);
/* The entry came (NULL: there is none); taken. True: the job now sees what it saw before, contexts are bound. */
bool vd_job_journal_take(struct vd_job *job, cJSON *take_entry, struct vd_err *err);
/* Step 0, before the first request of this job is sent. */
void vd_job_journal_begin(struct vd_job *job);

/* job_state.c. Does what the policy remembers change with this decision? Not in shadow mode, not in `verdict decide`. */
bool vd_job_writes(const struct vd_job *job);
/* The keys of state and memory, and a place in their queues. VD_E_INPUT names the template. */
enum vd_code vd_job_state_keys(struct vd_job *job, struct vd_err *err) VD_MUST_CHECK;
/* Appends the reads of state and memory. */
enum vd_code vd_job_state_reads(struct vd_job *job, struct vd_read *reads, size_t *count,
                                struct vd_err *err) VD_MUST_CHECK;
/* Takes what they gave, from values[at] on; or what `verdict decide` was given. */
void vd_job_state_keep(struct vd_job *job, cJSON **values, size_t at);
void vd_job_state_given(struct vd_job *job, const cJSON *given);
/* Binds it to the facts. Again after these were made anew. VD_E_INPUT: what is stored is unusable. */
enum vd_code vd_job_state_bind(struct vd_job *job, struct vd_err *err) VD_MUST_CHECK;
/* The reasoning is DONE: what changes, as the audit record has it (owned by the caller; NULL: the policy remembers nothing). */
enum vd_code vd_job_changes(struct vd_job *job, cJSON **ret_part, struct vd_err *err) VD_MUST_CHECK;
/* Appends the operations of these changes. */
enum vd_code vd_job_state_operations(struct vd_job *job, cJSON *operations,
                                     struct vd_err *err) VD_MUST_CHECK;
void vd_job_state_release(struct vd_job *job);

/* job_reason.c: context_missing: Redis did not answer before the deadline. */
void vd_job_begin_reasoning(struct vd_job *job, bool context_missing);

struct vd_ask_request vd_job_ask_request(struct vd_job *job);
/* Ask, call tools, reserve, or settle: whatever the reasoning waits for. */
void vd_job_ask(struct vd_job *job);

/* job_wait.c. True: it waits now, and vd_job_ask() follows; or memory was out, and it has settled. */
bool vd_job_wait_before(struct vd_job *job, const struct vd_ask_request *request);
bool vd_job_wait_after(struct vd_job *job, const struct vd_ask_result *result);
bool vd_job_wait_at_deadline(struct vd_job *job);
/* A model has answered, or the job has ended. */
void vd_job_wait_over(struct vd_job *job);

/* job_tools.c: the reasoning is in TOOLS; vd_job_ask() follows when all calls have ended. */
void vd_job_call_tools(struct vd_job *job);

/* The fallback decides, or what there is no time for is left out. */
void vd_job_stop(struct vd_job *job, enum vd_stop stop);

/* job_limits.c: reserve what the reasoning (RESERVE) has accepted; vd_job_ask() follows. Again while it is under way: nothing. */
void vd_job_reserve(struct vd_job *job);
/* The job is settled. reserved: what it reserved is published; else it is given back. */
void vd_job_limits_over(struct vd_job *job, bool reserved);
void vd_job_limits_cancel(struct vd_job *job);
/* Appends what becomes of the key's holds. */
enum vd_code vd_job_limit_operations(struct vd_job *job, cJSON *operations,
                                     struct vd_err *err) VD_MUST_CHECK;
/* budget.per_key. True: the calls of this ask must be counted first, and vd_job_ask() follows; false: request may make so many. */
bool vd_job_count_calls(struct vd_job *job, struct vd_ask_request *request);
/* So many were made after all. */
void vd_job_calls_made(struct vd_job *job, int64_t calls);

/* job_settle.c. started: the pipeline waits for settled(). */
void vd_job_settle(struct vd_job *job, struct vd_output *take_outputs, bool started);
void vd_job_settle_outcome(struct vd_job *job); /* the reasoning is DONE */
void vd_job_dead_letter(struct vd_job *job, enum vd_stage stage, const struct vd_err *why,
                        bool started);
/* An event that needs more than a job may have is a dead letter; only memory that is really out stops the worker. */
void vd_job_failed(struct vd_job *job, const struct vd_err *err);
void vd_job_fatal(struct vd_job *job, const struct vd_err *err);

#endif
