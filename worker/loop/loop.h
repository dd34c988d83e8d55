/* loop/loop.h - the event loop: timers, descriptors, wake-ups, blocking work, end-of-turn callbacks.
 *
 * Why:      the rest of the program must not see libuv; adapters get readiness, timers and threads from here.
 * Source:   libuv 1.44 (uv_poll_t, uv_timer_t, uv_async_t, uv_queue_work, uv_signal_t).
 * Thread:   all functions on the loop thread, except vd_wakeup_send() (any thread, async-signal-safe).
 * Owns:     every object belongs to its creator until its _free(), which is NULL-safe, may be called inside its own callback, stops
 *           further callbacks at once, and releases memory after the turn (timers are kept for the next vd_timer_new()).
 * Units:    milliseconds, monotonic.
 */
#ifndef VD_LOOP_LOOP_H
#define VD_LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct vd_loop;
struct vd_timer;
struct vd_poll;
struct vd_wakeup;

typedef void vd_loop_fn(void *arg);

enum vd_code vd_loop_new(struct vd_loop **ret_loop, struct vd_err *err) VD_MUST_CHECK;
/* Everything made from it must have been freed. */
void *vd_loop_free(struct vd_loop *loop);
/* Runs until vd_loop_stop(); may be called again. */
void vd_loop_run(struct vd_loop *loop);
/* One turn without blocking longer than max_wait_ms: for tests and tools. */
void vd_loop_turn(struct vd_loop *loop, uint64_t max_wait_ms);
void vd_loop_stop(struct vd_loop *loop);
int64_t vd_loop_now_ms(const struct vd_loop *loop); /* monotonic, read once a turn */
/* Bumped once a second by the loop itself; any thread may read it (/healthz). */
int64_t vd_loop_last_tick_mono_ms(const struct vd_loop *loop);

/* Timers. A repeating one fires every period_ms after the first. */
enum vd_code vd_timer_new(struct vd_loop *loop, vd_loop_fn *fn, void *arg,
                          struct vd_timer **ret) VD_MUST_CHECK;
void vd_timer_start(struct vd_timer *timer, uint64_t after_ms, uint64_t period_ms); /* restarts */
void vd_timer_stop(struct vd_timer *timer);
void *vd_timer_free(struct vd_timer *timer);

/* Descriptor readiness, level-triggered. The descriptor stays the caller's and must outlive the poll. */
#define VD_POLL_IN  1
#define VD_POLL_OUT 2
typedef void vd_poll_fn(void *arg,
                        int events); /* an error on the descriptor is reported as IN|OUT */
enum vd_code vd_poll_new(struct vd_loop *loop, int fd, vd_poll_fn *fn, void *arg,
                         struct vd_poll **ret) VD_MUST_CHECK;
void vd_poll_set(struct vd_poll *poll, int events); /* 0 stops */
void *vd_poll_free(struct vd_poll *poll);

/* Wake-ups from other threads; several sends may become one call. */
enum vd_code vd_wakeup_new(struct vd_loop *loop, vd_loop_fn *fn, void *arg,
                           struct vd_wakeup **ret) VD_MUST_CHECK;
void vd_wakeup_send(struct vd_wakeup *wakeup);
void *vd_wakeup_free(struct vd_wakeup *wakeup);

/* Blocking work: work(arg) on a pool thread, then done(arg) on the loop thread, always exactly once. */
enum vd_code vd_loop_work(struct vd_loop *loop, vd_loop_fn *work, vd_loop_fn *done,
                          void *arg) VD_MUST_CHECK;

/* Name resolution on a pool thread: done(arg, addresses, NULL), or done(arg, NULL, why) with static text. Always exactly once, on the
 * loop thread; the list is borrowed until done returns. VD_E_INPUT: host or port
 * are not such. Source: getaddrinfo(3), stream sockets of every family. */
struct addrinfo;
typedef void vd_resolved_fn(void *arg, const struct addrinfo *list, const char *why);
enum vd_code vd_loop_resolve(struct vd_loop *loop, const char *host, const char *port,
                             vd_resolved_fn *done, void *arg) VD_MUST_CHECK;

/* fn(arg) once, at the end of this turn (or in the next one when called from a deferred function). */
enum vd_code vd_loop_defer(struct vd_loop *loop, vd_loop_fn *fn, void *arg) VD_MUST_CHECK;

/* fn(arg, signum) on the loop thread for each of these signals, until the loop is freed. */
typedef void vd_signal_fn(void *arg, int signum);
enum vd_code vd_loop_on_signal(struct vd_loop *loop, int signum, vd_signal_fn *fn,
                               void *arg) VD_MUST_CHECK;

#endif
