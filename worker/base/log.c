/* base/log.c - see log.h. */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

#define LINE_MAX_BYTES  2048 /* below PIPE_BUF: lines of several threads never mix */
#define VALUE_MAX_BYTES 512

static atomic_int log_fd = STDERR_FILENO;
static atomic_int log_level = VD_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void vd_log_setup(int fd, enum vd_log_level level)
{
    atomic_store(&log_fd, fd);
    atomic_store(&log_level, (int)level);
}

void vd_log_set_level(enum vd_log_level level)
{
    atomic_store(&log_level, (int)level);
}

bool vd_log_enabled(enum vd_log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed) &&
           atomic_load_explicit(&log_fd, memory_order_relaxed) >= 0;
}

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

static void add(struct line *line, struct vd_span s)
{
    size_t room = sizeof(line->text) - 1 - line->len;
    size_t n = s.len < room ? s.len : room;

    if (n > 0)
        memcpy(line->text + line->len, s.ptr, n);
    line->len += n;
}

static bool bare(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c != 0 && strchr("_.:/@%+-", c) != NULL)))
            return false;
    }
    return s.len > 0;
}

/* Anything unusual is quoted; controls and bytes above ASCII become \xNN, so that no value forges a line or a colour. */
static void add_quoted(struct line *line, struct vd_span s)
{
    add(line, VD_LIT("\""));
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        char esc[5];

        if (c == '"' || c == '\\') {
            esc[0] = '\\';
            esc[1] = (char)c;
            add(line, (struct vd_span){esc, 2});
        } else if (c >= 0x20 && c < 0x7f) {
            add(line, vd_span_sub(s, i, 1));
        } else {
            (void)snprintf(esc, sizeof(esc), "\\x%02x", c);
            add(line, (struct vd_span){esc, 4});
        }
    }
    add(line, VD_LIT("\""));
}

static void add_field(struct line *line, const struct vd_log_field *f)
{
    char number[24];

    add(line, VD_LIT(" "));
    add(line, vd_span_of(f->key));
    add(line, VD_LIT("="));
    if (f->kind == VD_LOG_INT) {
        (void)snprintf(number, sizeof(number), "%" PRId64, f->i);
        add(line, vd_span_of(number));
    } else {
        struct vd_span value = vd_span_sub(f->s, 0, VALUE_MAX_BYTES);

        if (bare(value))
            add(line, value);
        else
            add_quoted(line, value);
    }
}

void vd_log_fields(enum vd_log_level level, const char *event, const struct vd_log_field *fields)
{
    int saved = errno;
    char now[VD_RFC3339_SIZE];
    struct line line;

    if (!vd_log_enabled(level))
        return;
    line.len = 0;
    vd_rfc3339_format(vd_wall_ms(), now);
    add(&line, vd_span_of(now));
    add(&line, VD_LIT(" "));
    add(&line, vd_span_of(level_names[level]));
    add(&line, VD_LIT(" "));
    add(&line, vd_span_of(event));
    for (; fields->key != NULL; fields++)
        add_field(&line, fields);
    line.text[line.len++] = '\n';
    /* A full disk or a closed pipe must not stop decisions. */
    if (write(atomic_load(&log_fd), line.text, line.len) < 0)
        errno = 0;
    errno = saved;
}

bool vd_log_due(struct vd_log_every *every, int64_t interval_ms, uint64_t *ret_missed)
{
    int64_t now = vd_mono_ms();

    if (now < every->next_mono_ms) {
        every->missed++;
        return false;
    }
    *ret_missed = every->missed;
    *every = (struct vd_log_every){.next_mono_ms = now + interval_ms};
    return true;
}
