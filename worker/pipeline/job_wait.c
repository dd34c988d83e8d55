/* pipeline/job_wait.c - see job.h: no model can be asked, and the policy waits (budget.on_unavailable = "wait").
 *
 *     asking --no model answers--> waiting --one may be asked again--> asking --an answer--> on it goes
 *        ^                            |                                   |
 *        |                            +------ kill switch: fallback       |
 *        +----------------------------------------------------------------+
 *
 * From the first failure to the answer the partition's intake is held, and the deadline stands still while no model is there: while
 * waiting, while asking in vain, and for the jobs that queue behind. Calls that a model refused are not counted against the budget;
 * those that timed out are, since they may have been paid for. A job whose calls fail while others' are answered is at fault itself:
 * after a few such rounds the fallback decides.
 */
#include "pipeline/job_internal.h"

#include "base/clock.h"
#include "base/hash.h"

#define FIRST_PAUSE_MS 500  /* after a round that asked in vain; doubles */
#define LAST_DOUBLING  4    /* 8 s */
#define LOOK_EVERY_MS  1000 /* at most: the kill switch must be seen */
#define STRIKES        3    /* rounds that failed while others were answered */

static bool waits(const struct vd_job *job)
{
    return job->policy->budget.wait && job->s->hold != NULL && job->s->router != NULL &&
           !job->s->stop_models;
}

static int64_t pause_ms(const struct vd_job *job)
{
    unsigned doublings = job->wait_rounds < LAST_DOUBLING ? job->wait_rounds : LAST_DOUBLING;
    int64_t most = (int64_t)FIRST_PAUSE_MS << doublings;

    /* Half of it by chance, so that what failed together does not ask together. */
    return most / 2 +
           (int64_t)(vd_hash64(job->wait_rounds, vd_span_of(job->id)) % (uint64_t)(most / 2 + 1));
}

static void look(void *arg);

static void look_in(struct vd_job *job, int64_t after_ms)
{
    vd_timer_start(job->wait_timer, (uint64_t)(after_ms < LOOK_EVERY_MS ? after_ms : LOOK_EVERY_MS),
                   0);
}

/* failed: it asked, or tried to (no key, no quota); again only after a pause. */
static void begin(struct vd_job *job, int64_t since_ms, bool failed)
{
    struct vd_err err;

    if (job->wait_timer == NULL &&
        vd_timer_new(job->s->loop, look, job, &job->wait_timer) != VD_OK) {
        (void)vd_err_nomem(&err, "timer");
        vd_job_failed(job, &err);
        return;
    }
    vd_timer_stop(job->timer);
    job->waits = true;
    job->waiting_since_ms = since_ms;
    job->wait_until_ms = vd_mono_ms() + (failed ? pause_ms(job) : 0);
    job->wait_rounds += failed ? 1 : 0;
    if (!job->holds) {
        job->holds = true;
        job->s->hold(job->s->arg, job, true);
    }
    look_in(job, failed ? job->wait_until_ms - vd_mono_ms() : 0);
}

static void end(struct vd_job *job)
{
    int64_t now = vd_mono_ms(), left_ms;

    job->waits = false;
    job->stood_ms += now - job->waiting_since_ms;
    vd_metric_add(job->s->metrics, VD_M_WAIT, "model_unavailable", "",
                  (uint64_t)(now - job->waiting_since_ms));
    left_ms = vd_job_deadline_mono_ms(job) - now;
    vd_timer_start(job->timer, left_ms > 0 ? (uint64_t)left_ms : 0, 0);
    vd_job_ask(job);
}

static void look(void *arg)
{
    struct vd_job *job = arg;
    struct vd_ask_request request = vd_job_ask_request(job);
    int64_t now = vd_mono_ms(), retry_ms;

    if (!job->waits)
        return;
    if (job->given_up_asks > 0)
        look_in(job, 10);
    else if (waits(job) && !vd_ask_available(&request, &retry_ms))
        look_in(job, retry_ms);
    else if (waits(job) && now < job->wait_until_ms)
        look_in(job, job->wait_until_ms - now);
    else
        end(job);
}

bool vd_job_wait_before(struct vd_job *job, const struct vd_ask_request *request)
{
    int64_t retry_ms;

    if (!waits(job))
        return false;
    job->asked_since_ms = vd_mono_ms();
    job->answers_before = vd_ask_answers(request);
    if (vd_ask_available(request, &retry_ms))
        return false;
    begin(job, job->asked_since_ms, false);
    return true;
}

bool vd_job_wait_after(struct vd_job *job, const struct vd_ask_result *result)
{
    struct vd_ask_request request = vd_job_ask_request(job);

    if (!waits(job) || !result->no_model)
        return false;
    if (result->calls > 0 && vd_ask_answers(&request) > job->answers_before &&
        ++job->wait_strikes >= STRIKES)
        return false;
    job->refused_calls += result->refused;
    begin(job, job->asked_since_ms, true);
    return true;
}

bool vd_job_wait_at_deadline(struct vd_job *job)
{
    struct vd_ask_request request = vd_job_ask_request(job);
    int64_t retry_ms;

    if (!waits(job) || job->ask == NULL || vd_ask_available(&request, &retry_ms))
        return false;
    job->calls += vd_ask_sent(job->ask);
    vd_job_calls_made(job, vd_ask_sent(job->ask));
    vd_ask_cancel(job->ask);
    job->ask = NULL;
    job->given_up_asks++; /* its callback follows, and must not be taken for the next one's */
    begin(job, job->asked_since_ms, true);
    return true;
}

void vd_job_wait_over(struct vd_job *job)
{
    job->waits = false;
    job->wait_timer = vd_timer_free(job->wait_timer);
    if (job->holds) {
        job->holds = false;
        job->s->hold(job->s->arg, job, false);
    }
}
