/* commands/offsets.c - `verdict offsets`: what the group has committed, and the two ways to change it on purpose. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/alloc.h"
#include "commands/commands.h"
#include "kafka/offsets.h"
#include "ops/settings.h"

enum verb { SHOW, ACCEPT, RESET };
enum target { TO_EARLIEST, TO_LATEST, TO_OFFSET };

struct job {
    enum verb verb;
    const char *topic; /* NULL: all of the settings' topics */
    int64_t partition; /* -1: all */
    enum target target;
    int64_t to;
    bool dry_run;
    struct vd_offsets *offsets;
    struct vd_err err;
    enum vd_code rc;
    size_t refused, changed;
};

static void show(struct job *j, const struct vd_offsets_row *row)
{
    static const char *const actions[] = {[VD_RECOVERY_RESUME] = "resumes",
                                          [VD_RECOVERY_BEGIN] = "begins",
                                          [VD_RECOVERY_REFUSE] = "REFUSED"};
    char committed[24] = "-";

    if (row->committed >= 0)
        (void)snprintf(committed, sizeof(committed), "%" PRId64, row->committed);
    printf("%-32s %4" PRId32 " %12s %6zu %12" PRId64 " %12" PRId64 "  %s%s%s\n", row->topic,
           row->partition, committed, row->finished_above, row->low, row->high,
           actions[row->recovery.action], row->recovery.action == VD_RECOVERY_REFUSE ? ": " : "",
           row->recovery.why);
    j->refused += row->recovery.action == VD_RECOVERY_REFUSE;
}

static void change(struct job *j, const struct vd_offsets_row *row, int64_t offset)
{
    printf("%s %s[%" PRId32 "] from %" PRId64 " to %" PRId64 "\n",
           j->dry_run ? "would move" : "moving", row->topic, row->partition, row->committed,
           offset);
    if (!j->dry_run)
        j->rc = vd_offsets_commit(j->offsets, row->topic, row->partition, offset, row->partitions,
                                  &j->err);
    j->changed += j->rc == VD_OK;
}

/* Adopting is for an offset that lies in the log and carries no map of ours; what else is wrong needs reset. */
static void accept(struct job *j, const struct vd_offsets_row *row)
{
    if (row->recovery.action != VD_RECOVERY_REFUSE || row->committed < 0)
        return;
    if (row->committed < row->low || row->committed > row->high ||
        strstr(row->recovery.why, "offsets accept") == NULL) {
        printf("not accepted: %s[%" PRId32 "]: %s\n", row->topic, row->partition,
               row->recovery.why);
        j->refused++;
        return;
    }
    change(j, row, row->committed);
}

static void reset(struct job *j, const struct vd_offsets_row *row)
{
    int64_t to = j->target == TO_EARLIEST ? row->low : j->target == TO_LATEST ? row->high : j->to;

    if (to < row->low || to > row->high) {
        j->rc = vd_err_set(&j->err, VD_E_INPUT, false,
                           "%s[%" PRId32 "] has offsets %" PRId64 " to %" PRId64 ", not %" PRId64,
                           row->topic, row->partition, row->low, row->high, to);
        return;
    }
    change(j, row, to);
}

static void on_row(void *arg, const struct vd_offsets_row *row)
{
    struct job *j = arg;

    if (j->rc != VD_OK || (j->partition >= 0 && j->partition != row->partition))
        return;
    if (j->verb == SHOW)
        show(j, row);
    else if (j->verb == ACCEPT)
        accept(j, row);
    else
        reset(j, row);
}

static enum vd_code each_topic(struct job *j, const struct vd_kafka_conf *conf)
{
    bool found = false;
    size_t i;

    if (j->verb == SHOW)
        printf("%-32s %4s %12s %6s %12s %12s  %s\n", "topic", "part", "committed", "above",
               "log start", "log end", "a worker");
    for (i = 0; i < conf->topic_count && j->rc == VD_OK; i++) {
        enum vd_code rc;

        if (j->topic != NULL && strcmp(j->topic, conf->topics[i]) != 0)
            continue;
        found = true;
        rc = vd_offsets_each(j->offsets, conf->topics[i], on_row, j, &j->err);
        if (j->rc == VD_OK)
            j->rc = rc;
    }
    if (!found)
        j->rc = vd_err_set(&j->err, VD_E_INPUT, false, "topic %s is not in the settings", j->topic);
    return j->rc;
}

static void work(struct job *j, const struct vd_settings *settings)
{
    const char *outputs[] = {settings->output.dead_letter};
    struct vd_kafka_conf conf;

    j->rc = vd_settings_kafka(settings, outputs, 1, &conf, &j->err);
    if (j->rc == VD_OK)
        j->rc = vd_offsets_open(&conf, &j->offsets, &j->err);
    if (j->rc == VD_OK)
        (void)each_topic(j, &conf);
    j->offsets = vd_offsets_close(j->offsets);
}

static bool usage(const char *what)
{
    fprintf(stderr, "verdict offsets: %s; see verdict offsets --help\n", what);
    return false;
}

static bool parse(const struct vd_args *args, struct job *j)
{
    const char *verb = vd_args_operand(args, 0), *to = vd_args_get(args, "to", NULL);
    unsigned long long partition;
    uint64_t offset;

    j->topic = vd_args_get(args, "topic", NULL);
    j->dry_run = vd_args_has(args, "dry-run");
    if (!vd_args_u64(args, "partition", 0, INT32_MAX, UINT32_MAX, &partition))
        return false;
    j->partition = partition == UINT32_MAX ? -1 : (int64_t)partition;
    if (strcmp(verb, "show") == 0) {
        j->verb = SHOW;
        return true;
    }
    if (strcmp(verb, "accept") == 0) {
        j->verb = ACCEPT;
        return true;
    }
    if (strcmp(verb, "reset") != 0)
        return usage("show, accept or reset is expected");
    j->verb = RESET;
    if (to == NULL || j->topic == NULL)
        return usage("reset needs --topic and --to");
    if (strcmp(to, "earliest") == 0) {
        j->target = TO_EARLIEST;
    } else if (strcmp(to, "latest") == 0) {
        j->target = TO_LATEST;
    } else {
        if (!vd_parse_u64(vd_span_of(to), INT64_MAX, &offset))
            return usage("--to is earliest, latest or an offset");
        if (j->partition < 0)
            return usage("--to an offset needs --partition");
        j->target = TO_OFFSET;
        j->to = (int64_t)offset;
    }
    return true;
}

static void print_diags(const struct vd_diags *diags)
{
    struct vd_buf text;

    vd_buf_init(&text, 1u << 20);
    (void)vd_diags_write(diags, &text);
    if (text.len > 0)
        fprintf(stderr, "%.*s", (int)text.len, text.ptr);
    vd_buf_free(&text);
}

static int run(const struct vd_args *args)
{
    struct vd_settings *settings = NULL;
    struct vd_diags diags;
    struct job j = {0};

    if (!parse(args, &j))
        return EX_USAGE;
    vd_diags_init(&diags);
    j.rc = vd_settings_load(vd_args_get(args, "config", NULL), &diags, &settings, &j.err);
    print_diags(&diags);
    if (j.rc == VD_OK)
        work(&j, settings);
    if (j.rc != VD_OK)
        fprintf(stderr, "verdict offsets: %s\n", j.err.msg);
    else if (j.verb != SHOW)
        printf("%zu %s\n", j.changed, j.dry_run ? "would be changed" : "changed");
    (void)vd_settings_free(settings);
    vd_diags_fini(&diags);
    if (j.rc == VD_OK && j.refused > 0)
        return EX_CONFIG;
    return vd_code_exit(j.rc);
}

static const struct vd_option options[] = {
    {"config", 'c', "FILE", "settings file", false},
    {"topic", 't', "TOPIC", "only this topic", false},
    {"partition", 'p', "N", "only this partition", false},
    {"to", 0, "WHERE", "reset: earliest, latest, or an offset", false},
    {"dry-run", 0, NULL, "say what would be committed, and commit nothing", false},
    {.name = NULL},
};

const struct vd_command vd_command_offsets = {
    .name = "offsets",
    .usage =
        "show | accept | reset -c FILE [--topic TOPIC] [--partition N] [--to WHERE] [--dry-run]",
    .summary = "what the group has committed, map included",
    .about =
        "Each committed offset carries a map of what is finished above it. A worker refuses a "
        "partition whose commit it\n"
        "cannot believe, and goes on with the others; these commands are how a person decides.\n\n"
        "  show    every partition: what is committed, how many offsets above it are finished, "
        "where the log begins and\n"
        "          ends, and what a worker would do. Exits with 78 when one would be refused.\n"
        "  accept  adopt offsets that another program committed: everything below is finished, "
        "nothing above is.\n"
        "  reset   give up what is committed and go on elsewhere. What lies between is never "
        "decided, or decided again.\n\n"
        "    verdict offsets show -c verdict.cfg\n"
        "    verdict offsets accept -c verdict.cfg --dry-run\n"
        "    verdict offsets reset -c verdict.cfg --topic orders --partition 3 --to earliest\n\n"
        "accept and reset need the group's workers to be stopped: brokers refuse the commit "
        "otherwise.",
    .options = options,
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
