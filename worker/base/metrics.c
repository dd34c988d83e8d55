/* base/metrics.c - see metrics.h. */
#include "base/metrics.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define LABELS     3
#define LABEL_SIZE 96

enum type { COUNTER, COUNTER_MS, GAUGE, HISTOGRAM };

static const struct {
    enum type type;
    const char *name;
    const char *labels;
    const char *help;
} table[VD_M_COUNT] = {
#define VD_METRIC_ROW(id, type, name, labels, help) {type, name, labels, help},
    VD_METRICS(VD_METRIC_ROW)
#undef VD_METRIC_ROW
};

/* Milliseconds; the same bounds serve commits (5 ms) and slow models (a minute). */
static const int64_t bucket_ms[] = {5,    10,   25,   50,    100,   250,  500,
                                    1000, 2500, 5000, 10000, 20000, 60000};
#define BUCKETS (sizeof(bucket_ms) / sizeof(bucket_ms[0]))

struct child {
    struct child *next;
    char labels[LABELS][LABEL_SIZE];
    atomic_uint_fast64_t count; /* counters; observations of a histogram */
    _Atomic double gauge;
    atomic_uint_fast64_t sum_ms;
    atomic_uint_fast64_t buckets[BUCKETS];
};

struct vd_metrics {
    pthread_mutex_t lock; /* adding a child */
    _Atomic(struct child *) children[VD_M_COUNT];
};

struct vd_metrics *vd_metrics_new(void)
{
    struct vd_metrics *m = vd_alloc(sizeof(*m));

    if (m != NULL && pthread_mutex_init(&m->lock, NULL) != 0)
        m = vd_free(m);
    return m;
}

void *vd_metrics_free(struct vd_metrics *m)
{
    if (m == NULL)
        return NULL;
    for (size_t i = 0; i < VD_M_COUNT; i++) {
        struct child *c = atomic_load(&m->children[i]);

        while (c != NULL) {
            struct child *next = c->next;

            (void)vd_free(c);
            c = next;
        }
    }
    (void)pthread_mutex_destroy(&m->lock);
    return vd_free(m);
}

static bool same(const struct child *c, const char *const labels[LABELS])
{
    for (size_t i = 0; i < LABELS; i++)
        if (strncmp(c->labels[i], labels[i], LABEL_SIZE - 1) != 0)
            return false;
    return true;
}

static struct child *find(struct vd_metrics *m, enum vd_metric_id id,
                          const char *const labels[LABELS])
{
    struct child *c = atomic_load_explicit(&m->children[id], memory_order_acquire);

    while (c != NULL && !same(c, labels))
        c = c->next;
    return c;
}

/* The child of these labels, made when absent; NULL when memory is out. */
static struct child *child_of(struct vd_metrics *m, enum vd_metric_id id, const char *l1,
                              const char *l2, const char *l3)
{
    const char *const labels[LABELS] = {l1, l2, l3};
    struct child *c;

    if (m == NULL)
        return NULL;
    c = find(m, id, labels);
    if (c != NULL)
        return c;
    (void)pthread_mutex_lock(&m->lock);
    c = find(m, id, labels);
    if (c == NULL && (c = vd_alloc(sizeof(*c))) != NULL) {
        for (size_t i = 0; i < LABELS; i++)
            memcpy(c->labels[i], labels[i], strnlen(labels[i], LABEL_SIZE - 1));
        c->next = atomic_load(&m->children[id]);
        atomic_store_explicit(&m->children[id], c, memory_order_release);
    }
    (void)pthread_mutex_unlock(&m->lock);
    return c;
}

void vd_metric_add(struct vd_metrics *m, enum vd_metric_id id, const char *l1, const char *l2,
                   uint64_t by)
{
    struct child *c = child_of(m, id, l1, l2, "");

    if (c != NULL)
        atomic_fetch_add_explicit(&c->count, by, memory_order_relaxed);
}

void vd_metric_set(struct vd_metrics *m, enum vd_metric_id id, const char *l1, const char *l2,
                   const char *l3, double value)
{
    struct child *c = child_of(m, id, l1, l2, l3);

    if (c != NULL)
        atomic_store_explicit(&c->gauge, value, memory_order_relaxed);
}

void vd_metric_observe_ms(struct vd_metrics *m, enum vd_metric_id id, const char *l1, int64_t ms)
{
    struct child *c = child_of(m, id, l1, "", "");

    if (c == NULL)
        return;
    if (ms < 0)
        ms = 0;
    atomic_fetch_add_explicit(&c->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->sum_ms, (uint64_t)ms, memory_order_relaxed);
    for (size_t i = 0; i < BUCKETS; i++) {
        if (ms <= bucket_ms[i]) {
            atomic_fetch_add_explicit(&c->buckets[i], 1, memory_order_relaxed);
            break;
        }
    }
}

void vd_metric_zero(struct vd_metrics *m, enum vd_metric_id id)
{
    if (m == NULL)
        return;
    for (struct child *c = atomic_load(&m->children[id]); c != NULL; c = c->next)
        atomic_store(&c->gauge, 0);
}

uint64_t vd_metric_sum(struct vd_metrics *m, enum vd_metric_id id, const char *l1, const char *l2)
{
    uint64_t sum = 0;

    if (m == NULL)
        return 0;
    for (struct child *c = atomic_load(&m->children[id]); c != NULL; c = c->next)
        if ((l1 == NULL || strcmp(l1, c->labels[0]) == 0) &&
            (l2 == NULL || strcmp(l2, c->labels[1]) == 0))
            sum += atomic_load(&c->count);
    return sum;
}

/* -- text exposition ----------------------------------------------------------------------------------------------- */

/* `{policy="a",status="b"}`, with extra (such as le="0.5") last; nothing when there are none. */
static void add_labels(struct vd_buf *out, const char *names, const struct child *c,
                       const char *extra)
{
    struct vd_span rest = vd_span_of(names);
    const char *open = "{";

    for (size_t i = 0; i < LABELS && rest.len > 0; i++) {
        size_t comma = vd_span_find(rest, ',');

        (void)vd_buf_add_c(out, open);
        (void)vd_buf_add(out, vd_span_sub(rest, 0, comma));
        (void)vd_buf_add_char(out, '=');
        /* JSON escapes are a superset of what the exposition format asks for in printable label values. */
        (void)vd_buf_add_json_string(out, vd_span_of(c->labels[i]));
        rest = vd_span_sub(rest, comma + 1, rest.len);
        open = ",";
    }
    if (extra[0] != '\0') {
        (void)vd_buf_add_c(out, open);
        (void)vd_buf_add_c(out, extra);
        open = ",";
    }
    if (open[0] == ',')
        (void)vd_buf_add_char(out, '}');
}

static void add_histogram(struct vd_buf *out, const char *name, const char *names,
                          const struct child *c)
{
    uint64_t cumulated = 0;
    char le[32];

    for (size_t i = 0; i <= BUCKETS; i++) {
        if (i < BUCKETS) {
            cumulated += atomic_load(&c->buckets[i]);
            (void)snprintf(le, sizeof(le), "le=\"%g\"", (double)bucket_ms[i] / 1000);
        } else {
            cumulated = atomic_load(&c->count);
            (void)snprintf(le, sizeof(le), "le=\"+Inf\"");
        }
        (void)vd_buf_addf(out, "%s_bucket", name);
        add_labels(out, names, c, le);
        (void)vd_buf_addf(out, " %" PRIu64 "\n", cumulated);
    }
    (void)vd_buf_addf(out, "%s_sum", name);
    add_labels(out, names, c, "");
    (void)vd_buf_addf(out, " %.3f\n%s_count", (double)atomic_load(&c->sum_ms) / 1000, name);
    add_labels(out, names, c, "");
    (void)vd_buf_addf(out, " %" PRIu64 "\n", (uint64_t)atomic_load(&c->count));
}

static void add_child(struct vd_buf *out, size_t id, const struct child *c)
{
    if (table[id].type == HISTOGRAM) {
        add_histogram(out, table[id].name, table[id].labels, c);
        return;
    }
    (void)vd_buf_add_c(out, table[id].name);
    add_labels(out, table[id].labels, c, "");
    if (table[id].type == COUNTER)
        (void)vd_buf_addf(out, " %" PRIu64 "\n", (uint64_t)atomic_load(&c->count));
    else if (table[id].type == COUNTER_MS)
        (void)vd_buf_addf(out, " %.3f\n", (double)atomic_load(&c->count) / 1000);
    else
        (void)vd_buf_addf(out, " %.15g\n", atomic_load(&c->gauge));
}

enum vd_code vd_metrics_render(struct vd_metrics *m, struct vd_buf *out)
{
    static const char *const types[] = {"counter", "counter", "gauge", "histogram"};

    for (size_t i = 0; i < VD_M_COUNT; i++) {
        (void)vd_buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", table[i].name, table[i].help,
                          table[i].name, types[table[i].type]);
        for (struct child *c = atomic_load(&m->children[i]); c != NULL; c = c->next)
            add_child(out, i, c);
    }
    return out->failed;
}
