/* loop/loop.c - see loop.h. The only file that includes libuv. */
#include "loop/loop.h"

#include <assert.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/clock.h"

#define TICK_MS      1000
#define MAX_SIGNALS  8
#define SPARE_TIMERS 4096

struct deferred {
    struct deferred *next;
    vd_loop_fn *fn;
    void *arg;
};

struct signal_watch {
    uv_signal_t handle; /* first: libuv gives the handle back */
    vd_signal_fn *fn;
    void *arg;
};

struct vd_loop {
    uv_loop_t uv;
    uv_timer_t tick;     /* last_tick for /healthz */
    uv_timer_t turn_end; /* bounds vd_loop_turn() */
    uv_check_t after_io; /* runs the deferred functions */
    uv_idle_t no_wait;   /* keeps the loop from sleeping while there are deferred functions */
    struct deferred *deferred_first;
    struct deferred **deferred_last;
    atomic_llong last_tick_mono_ms;
    struct signal_watch signals[MAX_SIGNALS];
    size_t signal_count;
    struct vd_timer
        *spare_timers; /* stopped: each job has some, and closing a handle takes a turn */
    size_t spare_timer_count;
};

struct vd_timer {
    uv_timer_t handle;
    vd_loop_fn *fn;
    void *arg;
    bool running;        /* then the handle is active, and wakes no later than due */
    uint64_t due, wakes; /* libuv's milliseconds */
    uint64_t period_ms;
    struct vd_timer *next; /* spare */
};

struct vd_poll {
    uv_poll_t handle;
    vd_poll_fn *fn;
    void *arg;
};

struct vd_wakeup {
    uv_async_t handle;
    vd_loop_fn *fn;
    void *arg;
};

struct blocking_work {
    uv_work_t request;
    vd_loop_fn *work;
    vd_loop_fn *done;
    void *arg;
};

struct name_lookup {
    uv_getaddrinfo_t request;
    vd_resolved_fn *done;
    void *arg;
};

static enum vd_code uv_failed(struct vd_err *err, const char *what, int status)
{
    return vd_err_set(err, status == UV_ENOMEM ? VD_E_NOMEM : VD_E_BUG, false, "%s: %s", what,
                      uv_strerror(status));
}

static void on_tick(uv_timer_t *handle)
{
    struct vd_loop *loop = handle->data;

    atomic_store(&loop->last_tick_mono_ms, vd_mono_ms());
}

/* Functions deferred while running wait for the next turn, so that one cannot keep the loop from its descriptors. */
static void run_deferred(struct vd_loop *loop)
{
    struct deferred *list = loop->deferred_first;

    loop->deferred_first = NULL;
    loop->deferred_last = &loop->deferred_first;
    while (list != NULL) {
        struct deferred *next = list->next;

        list->fn(list->arg);
        (void)vd_free(list);
        list = next;
    }
    if (loop->deferred_first == NULL)
        (void)uv_idle_stop(&loop->no_wait);
}

static void on_check(uv_check_t *handle)
{
    run_deferred(handle->data);
}

static void on_idle(uv_idle_t *handle)
{
    (void)handle;
}

static void on_turn_end(uv_timer_t *handle)
{
    (void)handle;
}

/* -- closing: libuv gives a handle back only in its close callback ------------------------------------------------- */

static void free_handle(uv_handle_t *handle)
{
    (void)vd_free(handle->data);
}

static void *close_handle(uv_handle_t *handle)
{
    if (handle != NULL)
        uv_close(handle, free_handle);
    return NULL;
}

/* -- the loop ------------------------------------------------------------------------------------------------------ */

enum vd_code vd_loop_new(struct vd_loop **ret_loop, struct vd_err *err)
{
    struct vd_loop *loop = vd_alloc(sizeof(*loop));
    int status;

    if (loop == NULL)
        return vd_err_nomem(err, "loop");
    status = uv_loop_init(&loop->uv);
    if (status != 0) {
        (void)vd_free(loop);
        return uv_failed(err, "uv_loop_init", status);
    }
    loop->uv.data = loop;
    loop->deferred_last = &loop->deferred_first;
    /* These cannot fail on an initialised loop. */
    (void)uv_timer_init(&loop->uv, &loop->tick);
    (void)uv_timer_init(&loop->uv, &loop->turn_end);
    (void)uv_check_init(&loop->uv, &loop->after_io);
    (void)uv_idle_init(&loop->uv, &loop->no_wait);
    loop->tick.data = loop->after_io.data = loop;
    (void)uv_timer_start(&loop->tick, on_tick, 0, TICK_MS);
    (void)uv_check_start(&loop->after_io, on_check);
    atomic_store(&loop->last_tick_mono_ms, vd_mono_ms());
    *ret_loop = loop;
    return VD_OK;
}

void *vd_loop_free(struct vd_loop *loop)
{
    if (loop == NULL)
        return NULL;
    while (loop->deferred_first != NULL)
        run_deferred(loop);
    for (struct vd_timer *t = loop->spare_timers, *next; t != NULL; t = next) {
        next = t->next;
        (void)close_handle((uv_handle_t *)t);
    }
    loop->spare_timer_count = SPARE_TIMERS; /* work that ends below keeps none */
    for (size_t i = 0; i < loop->signal_count; i++)
        uv_close((uv_handle_t *)&loop->signals[i].handle, NULL);
    uv_close((uv_handle_t *)&loop->tick, NULL);
    uv_close((uv_handle_t *)&loop->turn_end, NULL);
    uv_close((uv_handle_t *)&loop->after_io, NULL);
    uv_close((uv_handle_t *)&loop->no_wait, NULL);
    /* A vd_loop_stop() that no run has seen yet ends the first of these at once. */
    (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    {
        int status = uv_loop_close(&loop->uv);

        assert(status == 0); /* something made from the loop was not freed */
        (void)status;
    }
    return vd_free(loop);
}

void vd_loop_run(struct vd_loop *loop)
{
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void vd_loop_turn(struct vd_loop *loop, uint64_t max_wait_ms)
{
    uv_update_time(&loop->uv);
    (void)uv_timer_start(&loop->turn_end, on_turn_end, max_wait_ms, 0);
    (void)uv_run(&loop->uv, UV_RUN_ONCE);
    (void)uv_timer_stop(&loop->turn_end);
}

void vd_loop_stop(struct vd_loop *loop)
{
    uv_stop(&loop->uv);
}

int64_t vd_loop_now_ms(const struct vd_loop *loop)
{
    return (int64_t)uv_now(&loop->uv);
}

int64_t vd_loop_last_tick_mono_ms(const struct vd_loop *loop)
{
    return atomic_load(&loop->last_tick_mono_ms);
}

/* -- timers -------------------------------------------------------------------------------------------------------- */

/* Most timers are bounds: started for seconds, stopped within milliseconds, started again. Taking each out of libuv's heap and putting it
 * back was a walk through cold memory, so that a timer which is stopped, or started again for later, stays where it is, wakes once in
 * vain, and goes on from there. */
static void on_timer(uv_timer_t *handle);

static void wake(struct vd_timer *t, uint64_t now)
{
    t->wakes = t->due;
    (void)uv_timer_start(&t->handle, on_timer, t->due - now, 0);
}

static void on_timer(uv_timer_t *handle)
{
    struct vd_timer *t = handle->data;
    uint64_t now = uv_now(handle->loop);

    if (!t->running)
        return;
    if (t->due > now) {
        wake(t, now);
        return;
    }
    t->running = t->period_ms > 0;
    if (t->running) {
        t->due = now + t->period_ms;
        wake(t, now);
    }
    t->fn(t->arg);
}

enum vd_code vd_timer_new(struct vd_loop *loop, vd_loop_fn *fn, void *arg, struct vd_timer **ret)
{
    struct vd_timer *timer = loop->spare_timers;

    if (timer != NULL) {
        loop->spare_timers = timer->next;
        loop->spare_timer_count--;
    } else {
        timer = vd_alloc(sizeof(*timer));
        if (timer == NULL)
            return VD_E_NOMEM;
        (void)uv_timer_init(&loop->uv, &timer->handle);
        timer->handle.data = timer;
    }
    timer->fn = fn;
    timer->arg = arg;
    *ret = timer;
    return VD_OK;
}

void vd_timer_start(struct vd_timer *timer, uint64_t after_ms, uint64_t period_ms)
{
    uv_loop_t *uv = timer->handle.loop;
    uint64_t now;

    if (timer->running && timer->period_ms == 0 && after_ms == 0 && period_ms == 0 &&
        timer->due <= uv_now(uv))
        return; /* what is to be done soon is asked for many times in a turn */
    /* libuv counts from the time it read at the start of the turn; a long turn would make timers early. */
    uv_update_time(uv);
    now = uv_now(uv);
    timer->due = after_ms > UINT64_MAX - now ? UINT64_MAX : now + after_ms;
    timer->period_ms = period_ms;
    timer->running = true;
    if (!uv_is_active((uv_handle_t *)&timer->handle) || timer->wakes > timer->due)
        wake(timer, now);
}

void vd_timer_stop(struct vd_timer *timer)
{
    timer->running = false;
}

void *vd_timer_free(struct vd_timer *timer)
{
    struct vd_loop *loop;

    if (timer == NULL)
        return NULL;
    loop = timer->handle.loop->data;
    if (loop->spare_timer_count >= SPARE_TIMERS)
        return close_handle((uv_handle_t *)timer);
    timer->running = false;
    timer->next = loop->spare_timers;
    loop->spare_timers = timer;
    loop->spare_timer_count++;
    return NULL;
}

/* -- descriptors --------------------------------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct vd_poll *poll = handle->data;
    int ready = 0;

    if (status < 0 || (events & UV_READABLE))
        ready |= VD_POLL_IN;
    if (status < 0 || (events & UV_WRITABLE))
        ready |= VD_POLL_OUT;
    poll->fn(poll->arg, ready);
}

enum vd_code vd_poll_new(struct vd_loop *loop, int fd, vd_poll_fn *fn, void *arg,
                         struct vd_poll **ret)
{
    struct vd_poll *poll = vd_alloc(sizeof(*poll));

    if (poll == NULL)
        return VD_E_NOMEM;
    poll->fn = fn;
    poll->arg = arg;
    if (uv_poll_init(&loop->uv, &poll->handle, fd) != 0) {
        (void)vd_free(poll);
        return VD_E_BUG;
    }
    poll->handle.data = poll;
    *ret = poll;
    return VD_OK;
}

void vd_poll_set(struct vd_poll *poll, int events)
{
    int wanted = (events & VD_POLL_IN ? UV_READABLE : 0) | (events & VD_POLL_OUT ? UV_WRITABLE : 0);

    if (wanted == 0)
        (void)uv_poll_stop(&poll->handle);
    else
        (void)uv_poll_start(&poll->handle, wanted, on_poll);
}

void *vd_poll_free(struct vd_poll *poll)
{
    return close_handle((uv_handle_t *)poll);
}

/* -- wake-ups ------------------------------------------------------------------------------------------------------ */

static void on_wakeup(uv_async_t *handle)
{
    struct vd_wakeup *wakeup = handle->data;

    wakeup->fn(wakeup->arg);
}

enum vd_code vd_wakeup_new(struct vd_loop *loop, vd_loop_fn *fn, void *arg, struct vd_wakeup **ret)
{
    struct vd_wakeup *wakeup = vd_alloc(sizeof(*wakeup));

    if (wakeup == NULL)
        return VD_E_NOMEM;
    wakeup->fn = fn;
    wakeup->arg = arg;
    if (uv_async_init(&loop->uv, &wakeup->handle, on_wakeup) != 0) {
        (void)vd_free(wakeup);
        return VD_E_NOMEM;
    }
    wakeup->handle.data = wakeup;
    *ret = wakeup;
    return VD_OK;
}

void vd_wakeup_send(struct vd_wakeup *wakeup)
{
    (void)uv_async_send(&wakeup->handle);
}

void *vd_wakeup_free(struct vd_wakeup *wakeup)
{
    return close_handle((uv_handle_t *)wakeup);
}

/* -- blocking work ------------------------------------------------------------------------------------------------- */

static void on_work(uv_work_t *request)
{
    struct blocking_work *work = request->data;

    work->work(work->arg);
}

static void on_work_done(uv_work_t *request, int status)
{
    struct blocking_work *work = request->data;

    (void)status; /* work is never cancelled */
    work->done(work->arg);
    (void)vd_free(work);
}

enum vd_code vd_loop_work(struct vd_loop *loop, vd_loop_fn *work, vd_loop_fn *done, void *arg)
{
    struct blocking_work *w = vd_alloc(sizeof(*w));

    if (w == NULL)
        return VD_E_NOMEM;
    *w = (struct blocking_work){.work = work, .done = done, .arg = arg};
    w->request.data = w;
    if (uv_queue_work(&loop->uv, &w->request, on_work, on_work_done) != 0) {
        (void)vd_free(w);
        return VD_E_BUG;
    }
    return VD_OK;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct name_lookup *lookup = request->data;

    lookup->done(lookup->arg, status == 0 ? list : NULL, status == 0 ? NULL : uv_strerror(status));
    uv_freeaddrinfo(list);
    (void)vd_free(lookup);
}

enum vd_code vd_loop_resolve(struct vd_loop *loop, const char *host, const char *port,
                             vd_resolved_fn *done, void *arg)
{
    static const struct addrinfo streams = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct name_lookup *lookup = vd_alloc(sizeof(*lookup));
    int status;

    if (lookup == NULL)
        return VD_E_NOMEM;
    *lookup = (struct name_lookup){.done = done, .arg = arg};
    lookup->request.data = lookup;
    status = uv_getaddrinfo(&loop->uv, &lookup->request, on_resolved, host, port, &streams);
    if (status == 0)
        return VD_OK;
    (void)vd_free(lookup);
    return status == UV_ENOMEM ? VD_E_NOMEM : VD_E_INPUT;
}

enum vd_code vd_loop_defer(struct vd_loop *loop, vd_loop_fn *fn, void *arg)
{
    struct deferred *d = vd_alloc(sizeof(*d));

    if (d == NULL)
        return VD_E_NOMEM;
    *d = (struct deferred){.fn = fn, .arg = arg};
    *loop->deferred_last = d;
    loop->deferred_last = &d->next;
    (void)uv_idle_start(&loop->no_wait, on_idle);
    return VD_OK;
}

/* -- signals ------------------------------------------------------------------------------------------------------- */

static void on_signal(uv_signal_t *handle, int signum)
{
    struct signal_watch *watch = (struct signal_watch *)handle;

    watch->fn(watch->arg, signum);
}

enum vd_code vd_loop_on_signal(struct vd_loop *loop, int signum, vd_signal_fn *fn, void *arg)
{
    struct signal_watch *watch;

    if (loop->signal_count == MAX_SIGNALS)
        return VD_E_BUG;
    watch = &loop->signals[loop->signal_count];
    if (uv_signal_init(&loop->uv, &watch->handle) != 0)
        return VD_E_NOMEM;
    loop->signal_count++;
    watch->fn = fn;
    watch->arg = arg;
    return uv_signal_start(&watch->handle, on_signal, signum) == 0 ? VD_OK : VD_E_BUG;
}
