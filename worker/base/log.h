/* base/log.h - one line an event: time, level, event name, context, key=value.
 *
 * Why:      an operator greps; a payload or a secret in a log is a leak.
 * Thread:   any; a line is written with one write(2).
 * Shapes:   `2026-01-02T03:04:05.678Z info kafka.assigned topic=orders partition=3 base=17`
 * Rules:    base, adapters and providers do not log above debug; they return vd_err, and the layer that decides logs once. Values
 *           are quoted and escaped when they hold anything but [A-Za-z0-9_.:/@%+-].
 * The logger is one of the two mutable globals of the program (STYLE.md 1).
 */
#ifndef VD_BASE_LOG_H
#define VD_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

enum vd_log_level { VD_ERROR, VD_WARN, VD_INFO, VD_DEBUG };

enum vd_log_value_kind { VD_LOG_END, VD_LOG_STR, VD_LOG_SPAN, VD_LOG_INT };

/* One key=value; made with the macros below. */
struct vd_log_field {
    const char *key; /* NULL ends the list */
    enum vd_log_value_kind kind;
    struct vd_span s;
    int64_t i;
};

#define VD_F_STR(k, cstr)  ((struct vd_log_field){(k), VD_LOG_STR, vd_span_of(cstr), 0})
#define VD_F_SPAN(k, span) ((struct vd_log_field){(k), VD_LOG_SPAN, (span), 0})
#define VD_F_INT(k, v)     ((struct vd_log_field){(k), VD_LOG_INT, {NULL, 0}, (int64_t)(v)})

/* vd_log(VD_WARN, "http.retry", VD_F_INT("status", 503), VD_F_INT("wait_ms", 120)); at least one field; errno is preserved. */
#define vd_log(level, event, ...)                                                                  \
    vd_log_fields((level), (event),                                                                \
                  (const struct vd_log_field[]){__VA_ARGS__, {NULL, VD_LOG_END, {NULL, 0}, 0}})
void vd_log_fields(enum vd_log_level level, const char *event, const struct vd_log_field *fields);
bool vd_log_enabled(enum vd_log_level level);

/* Set before threads start. fd -1 silences; the default is info to stderr. */
void vd_log_setup(int fd, enum vd_log_level level);
void vd_log_set_level(enum vd_log_level level); /* any time, any thread */

/* Repeats: true at most once per interval for one key (owned by the caller, zeroed at first); *ret_missed counts the others. */
struct vd_log_every {
    int64_t next_mono_ms;
    uint64_t missed;
};
bool vd_log_due(struct vd_log_every *every, int64_t interval_ms, uint64_t *ret_missed);

#endif
