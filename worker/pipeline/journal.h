/* pipeline/journal.h - what a decision has paid for already, kept in Redis until long after its commit.
 *
 * Why:      a worker that dies between an answer and its commit must not pay for the same answer again; and the decision that is
 *           made again must be the one that was paid for.
 * Source:   design/reasoning.md "Journal".
 * Thread:   loop thread.
 * Owns:     counters only. Borrows Redis and the metrics, which must outlive every call that writes here.
 * Shapes:   one hash, PREFIXjournal:DECISION_ID, its fields are steps:
 *             "0"            written with the first answer, what the job saw: {"v":1, "event", "policy": hashes, "clock_ms", "context": [as bound, in order], ...}
 *             "1", "2", ...  the answer to that ask of the reasoning, with the SHA-256 of the provider request it answers
 *             "1.t0", ...    anything else that a step had to fetch; text
 * Rules:    a write is never waited for: it is submitted when the answer is received, before the answer is judged. An entry whose
 *           policy or event is another one is ignored, an answer whose request is another one too; both are counted.
 * Errors:   none. Without Redis reasoning goes on without the journal; status, metric and one log line a minute say so.
 */
#ifndef VD_PIPELINE_JOURNAL_H
#define VD_PIPELINE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/metrics.h"
#include "json/json.h"
#include "reason/reason.h"

struct vd_journal;
struct vd_redis;

struct vd_journal_conf {
    struct vd_redis *redis;
    const char *prefix; /* borrowed */
    uint32_t ttl_s;
    uint32_t timeout_ms; /* of one write */
    struct vd_metrics *metrics;
};

enum vd_code vd_journal_new(const struct vd_journal_conf *conf, struct vd_journal **ret_journal,
                            struct vd_err *err) VD_MUST_CHECK;
/* After Redis was freed: writes that are still out end then. NULL-safe; returns NULL. */
void *vd_journal_free(struct vd_journal *journal);

/* -- writing ------------------------------------------------------------------------------------------------------ */

/* Step 0 of a decision. It goes with the first answer: without one there is nothing to see again. */
struct vd_journal_start {
    struct vd_span
        seen;     /* its text; ptr NULL: too large, so that nothing of this decision is kept */
    bool absent;  /* the entry is known not to be there yet; otherwise it is replaced */
    bool written; /* it stands there, this one or the one that was taken over */
};

/* text as step 0, in arena; more than VD_JOURNAL_SEEN_MAX_BYTES is counted. */
void vd_journal_see(struct vd_journal *journal, struct vd_journal_start *start, struct vd_span text,
                    struct vd_arena *arena);
/* Add a step: UTF-8 text of at most VD_JOURNAL_STEP_MAX_BYTES; more is not kept, and counted. */
void vd_journal_put(struct vd_journal *journal, const char *decision_id, const char *step,
                    struct vd_span text);

struct vd_journal_answer {
    struct vd_answer answer;  /* model: the entry of the settings that gave it */
    struct vd_sha256 request; /* of the provider request's bytes */
    int64_t calls;            /* requests sent for it, retries included */
};

void vd_journal_put_answer(struct vd_journal *journal, const char *decision_id, unsigned step,
                           const struct vd_journal_answer *answer, struct vd_journal_start *start);

/* -- reading ------------------------------------------------------------------------------------------------------ */

/* The words of the command that reads an entry; in arena. */
enum vd_code vd_journal_read(const struct vd_journal *journal, const char *decision_id,
                             struct vd_arena *arena, const struct vd_span **ret_argv,
                             size_t *ret_argc) VD_MUST_CHECK;
/* Is Redis there, or may it come any moment? False: it is known to be away; nothing is worth waiting for. */
bool vd_journal_readable(const struct vd_journal *journal);

/* entry: what that command gave, an object of strings; NULL: none. Step 0 when it is of this policy and this event, owned by the
 * caller; else NULL. */
cJSON *vd_journal_seen(struct vd_journal *journal, const cJSON *entry, const char *policy_hash,
                       const char *event_hash);
/* Text of a step; ptr NULL: none. Borrowed from entry. */
struct vd_span vd_journal_get(const cJSON *entry, const char *step);
/* False: none, or unreadable. The strings are in arena. */
bool vd_journal_get_answer(struct vd_journal *journal, const cJSON *entry, unsigned step,
                           struct vd_arena *arena, struct vd_journal_answer *ret);

/* -- counting ----------------------------------------------------------------------------------------------------- */

/* What became of an answer; metric verdict_journal_total. */
enum vd_journal_event {
    VD_JOURNAL_WRITTEN,
    VD_JOURNAL_HIT,
    VD_JOURNAL_OTHER_POLICY,  /* the entry is of another policy hash */
    VD_JOURNAL_OTHER_EVENT,   /* of another event */
    VD_JOURNAL_OTHER_REQUEST, /* the answer is to another request */
    VD_JOURNAL_UNREADABLE,
    VD_JOURNAL_TOO_LARGE, /* not kept */
    VD_JOURNAL_FAILED,    /* Redis did not take it, or did not answer */
    VD_JOURNAL_LATE,      /* its job was gone; kept for who decides next */
    VD_JOURNAL_EVENT_COUNT
};
void vd_journal_count(struct vd_journal *journal, enum vd_journal_event event);

struct vd_journal_status {
    bool away;         /* the last write or read failed */
    unsigned orphaned; /* calls whose job is gone, still waited for */
    uint64_t events[VD_JOURNAL_EVENT_COUNT];
};
struct vd_journal_status vd_journal_status(const struct vd_journal *journal);
const char *vd_journal_event_name(enum vd_journal_event event);
/* A call goes on without its job (by 1), or has ended (by -1). */
void vd_journal_orphaned(struct vd_journal *journal, int by);

#endif
