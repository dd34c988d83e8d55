/* commands/redrive.c - `verdict redrive`: put dead letters back to where they came from. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "commands/commands.h"
#include "kafka/tool.h"
#include "ops/settings.h"

#define READ_WAIT_MS  2000
#define FLUSH_WAIT_MS 60000

struct filter {
    const char *policy, *stage;
    int64_t since_ms, until_ms; /* of verdict-time */
    uint64_t limit;
    bool dry_run;
};

struct counts {
    uint64_t seen, matched, redriven, truncated;
};

static struct vd_span header(const struct vd_record *rec, const char *name)
{
    for (size_t i = rec->header_count; i > 0; i--)
        if (vd_span_eq_c(rec->headers[i - 1].name, name))
            return rec->headers[i - 1].value;
    return (struct vd_span){NULL, 0};
}

static bool matches(const struct filter *f, const struct vd_record *rec)
{
    int64_t at = 0;

    if (header(rec, "verdict-topic").len == 0)
        return false;
    if (f->policy != NULL && !vd_span_eq_c(header(rec, "verdict-policy"), f->policy))
        return false;
    if (f->stage != NULL && !vd_span_eq_c(header(rec, "verdict-stage"), f->stage))
        return false;
    if (!vd_rfc3339_parse(header(rec, "verdict-time"), &at))
        return false;
    return at >= f->since_ms && at <= f->until_ms;
}

/* The original's headers, and what a redrive carries: how often, for which policy, under which decision id. */
static size_t headers_back(const struct vd_record *rec, struct vd_header out[VD_EVENT_MAX_HEADERS],
                           char count[24])
{
    uint64_t times = 0;
    size_t n = 0;

    (void)vd_parse_u64(header(rec, "verdict-redriven"), UINT32_MAX, &times);
    (void)snprintf(count, 24, "%" PRIu64, times + 1);
    for (size_t i = 0; i < rec->header_count && n + 3 < VD_EVENT_MAX_HEADERS; i++)
        if (!vd_span_starts(rec->headers[i].name, VD_LIT("verdict-")) ||
            vd_span_eq_c(rec->headers[i].name, "verdict-hops"))
            out[n++] = rec->headers[i];
    out[n++] = (struct vd_header){VD_LIT("verdict-redriven"), vd_span_of(count)};
    if (header(rec, "verdict-policy").len > 0)
        out[n++] = (struct vd_header){VD_LIT("verdict-policy"), header(rec, "verdict-policy")};
    if (header(rec, "verdict-decision-id").len > 0)
        out[n++] =
            (struct vd_header){VD_LIT("verdict-decision-id"), header(rec, "verdict-decision-id")};
    return n;
}

static void show(const struct vd_record *rec, const char *what)
{
    struct vd_span topic = header(rec, "verdict-topic"),
                   partition = header(rec, "verdict-partition"),
                   offset = header(rec, "verdict-offset"), stage = header(rec, "verdict-stage"),
                   policy = header(rec, "verdict-policy");

    printf("%s %.*s/%.*s/%.*s stage=%.*s policy=%.*s\n", what, (int)topic.len, topic.ptr,
           (int)partition.len, partition.ptr, (int)offset.len, offset.ptr, (int)stage.len,
           stage.ptr, (int)policy.len, policy.ptr);
}

static enum vd_code put_back(struct vd_kafka_writer *writer, const struct vd_record *rec,
                             struct vd_err *err)
{
    struct vd_header headers[VD_EVENT_MAX_HEADERS];
    struct vd_span topic = header(rec, "verdict-topic");
    char name[256], times[24];
    uint64_t partition = 0;
    size_t n = headers_back(rec, headers, times);

    (void)snprintf(name, sizeof(name), "%.*s", (int)topic.len, topic.ptr);
    /* The partition it came from, so that the order of its key is that of one partition. */
    if (!vd_parse_u64(header(rec, "verdict-partition"), INT32_MAX, &partition))
        return vd_err_set(err, VD_E_INPUT, false, "a dead letter without verdict-partition");
    return vd_kafka_writer_send(writer, name, (int32_t)partition, rec->key, rec->value, headers, n,
                                err);
}

static enum vd_code redrive(struct vd_kafka_reader *reader, struct vd_kafka_writer *writer,
                            const struct filter *f, struct counts *c, struct vd_err *err)
{
    for (;;) {
        const struct vd_record *rec;
        enum vd_code rc = vd_kafka_reader_next(reader, READ_WAIT_MS, &rec, err);

        if (rc != VD_OK)
            return rc;
        if (rec == NULL)
            break; /* read to the end */
        c->seen++;
        if (!matches(f, rec))
            continue;
        c->matched++;
        if (header(rec, "verdict-truncated").len > 0) {
            c->truncated++;
            show(rec, "truncated, cannot be put back:");
            continue;
        }
        show(rec, f->dry_run ? "would put back" : "put back");
        rc = f->dry_run ? VD_OK : put_back(writer, rec, err);
        if (rc != VD_OK)
            return rc;
        if (++c->redriven == f->limit)
            break;
    }
    return f->dry_run ? VD_OK : vd_kafka_writer_flush(writer, FLUSH_WAIT_MS, err);
}

static enum vd_code work(const struct vd_settings *settings, const struct filter *f,
                         struct counts *c, struct vd_err *err)
{
    const char *topics[] = {settings->output.dead_letter};
    struct vd_kafka_conf conf;
    struct vd_kafka_reader *reader = NULL;
    struct vd_kafka_writer *writer = NULL;
    enum vd_code rc = vd_settings_kafka(settings, topics, 1, &conf, err);

    if (rc == VD_OK)
        rc = vd_kafka_writer_new(&conf, &writer, err);
    if (rc == VD_OK)
        rc = vd_kafka_reader_new(&conf, topics, 1, VD_KAFKA_UP_TO_NOW, &reader, err);
    if (rc == VD_OK)
        rc = redrive(reader, writer, f, c, err);
    (void)vd_kafka_reader_free(reader);
    (void)vd_kafka_writer_free(writer);
    return rc;
}

static bool read_time(const struct vd_args *args, const char *option, int64_t fallback,
                      int64_t *ret)
{
    const char *text = vd_args_get(args, option, NULL);

    *ret = fallback;
    if (text == NULL || vd_rfc3339_parse(vd_span_of(text), ret))
        return true;
    fprintf(stderr,
            "verdict redrive: --%s must be a time like 2026-01-31T12:00:00Z, not \"%.40s\"\n",
            option, text);
    return false;
}

static int run(const struct vd_args *args)
{
    struct filter f = {.policy = vd_args_get(args, "policy", NULL),
                       .stage = vd_args_get(args, "stage", NULL),
                       .dry_run = vd_args_has(args, "dry-run")};
    struct vd_settings *settings = NULL;
    struct counts c = {0};
    unsigned long long limit;
    struct vd_diags diags;
    struct vd_err err;
    enum vd_code rc;

    if (!read_time(args, "since", INT64_MIN, &f.since_ms) ||
        !read_time(args, "until", INT64_MAX, &f.until_ms) ||
        !vd_args_u64(args, "limit", 1, UINT32_MAX, 0, &limit))
        return EX_USAGE;
    f.limit = limit;
    vd_diags_init(&diags);
    rc = vd_settings_load(vd_args_get(args, "config", NULL), &diags, &settings, &err);
    if (rc == VD_OK)
        rc = work(settings, &f, &c, &err);
    if (rc == VD_OK)
        printf("%" PRIu64 " dead letters read, %" PRIu64 " matched, %" PRIu64 " %s, %" PRIu64
               " truncated\n",
               c.seen, c.matched, c.redriven, f.dry_run ? "would be put back" : "put back",
               c.truncated);
    else
        fprintf(stderr, "verdict redrive: %s (%" PRIu64 " were put back before that)\n", err.msg,
                f.dry_run ? 0 : c.redriven);
    (void)vd_settings_free(settings);
    vd_diags_fini(&diags);
    return vd_code_exit(rc);
}

static const struct vd_option options[] = {
    {"config", 'c', "FILE", "settings file", false},
    {"policy", 0, "ID", "only those that this policy gave up", false},
    {"stage", 0, "STAGE", "only those of this stage: decode, validate, context, ...", false},
    {"since", 0, "TIME", "only those given up at or after this time (RFC 3339)", false},
    {"until", 0, "TIME", "only those given up at or before this time", false},
    {"limit", 0, "N", "stop after so many", false},
    {"dry-run", 0, NULL, "show what would be put back, and put nothing back", false},
    {.name = NULL},
};

const struct vd_command vd_command_redrive = {
    .name = "redrive",
    .usage = "-c FILE [FILTERS] [--dry-run]",
    .summary = "put dead letters back to where they came from",
    .about =
        "Reads the dead-letter topic to its end and writes what the filters choose back to the "
        "topic and partition it\n"
        "came from: the original bytes, key and headers, with verdict-redriven counting how often. "
        "Only the policy that\n"
        "gave a record up decides it again, under the decision id it would have had.\n\n"
        "    verdict redrive -c verdict.cfg --policy billing.dunning --stage context --dry-run\n\n"
        "Running it twice puts records back twice; narrow it with --since.",
    .options = options,
    .run = run,
};
