/* commands/run.c - `verdict run`: the worker. */
#include <signal.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "commands/commands.h"
#include "ops/worker.h"

/* Everything a person has to correct, on stderr. */
static void print_diags(const struct vd_diags *diags)
{
    struct vd_buf text;

    vd_buf_init(&text, 1u << 20);
    (void)vd_diags_write(diags, &text);
    if (text.len > 0)
        fputs(text.ptr, stderr);
    vd_buf_free(&text);
}

static int print(const struct vd_settings *settings, bool reference)
{
    struct vd_buf out;
    enum vd_code rc;

    vd_buf_init(&out, 1u << 20);
    rc = reference ? vd_settings_reference(&out) : vd_settings_dump(settings, &out);
    if (rc == VD_OK)
        fputs(out.ptr, stdout);
    vd_buf_free(&out);
    return vd_code_exit(rc);
}

static int run_worker(const struct vd_settings *settings, struct vd_diags *diags, bool check_only)
{
    struct vd_worker_options options = {.own_signals = true};
    struct vd_worker *worker = NULL;
    struct vd_err err;
    enum vd_code rc = vd_worker_new(settings, &options, diags, &worker, &err);

    print_diags(diags);
    if (rc != VD_OK) {
        fprintf(stderr, "verdict run: %s\n", err.msg);
        return vd_code_exit(rc);
    }
    if (check_only) {
        printf("settings and policies are fine\n");
    } else {
        vd_log(VD_INFO, "worker.start", VD_F_STR("version", VD_VERSION),
               VD_F_STR("name", settings->worker_name), VD_F_STR("brokers", settings->brokers),
               VD_F_STR("group", settings->group), VD_F_STR("admin", vd_worker_admin_url(worker)));
        rc = vd_worker_run(worker, &err);
        if (rc != VD_OK)
            fprintf(stderr, "verdict run: %s\n", err.msg);
    }
    (void)vd_worker_free(worker);
    return vd_code_exit(rc);
}

static int run(const struct vd_args *args)
{
    struct vd_settings *settings = NULL;
    struct vd_diags diags;
    struct vd_err err;
    enum vd_code rc;
    int status;

    if (vd_args_has(args, "reference"))
        return print(NULL, true);
    vd_diags_init(&diags);
    rc = vd_settings_load(vd_args_get(args, "config", NULL), &diags, &settings, &err);
    if (rc != VD_OK) {
        print_diags(&diags);
        fprintf(stderr, "verdict run: %s\n", err.msg);
        status = vd_code_exit(rc);
    } else {
        vd_log_setup(STDERR_FILENO, (enum vd_log_level)settings->log_level);
        status = vd_args_has(args, "dump-config")
                     ? print(settings, false)
                     : run_worker(settings, &diags, vd_args_has(args, "check-config"));
    }
    (void)vd_settings_free(settings);
    vd_diags_fini(&diags);
    return status;
}

static const struct vd_option options[] = {
    {"config", 'c', "FILE",
     "settings file (libconfig); every setting has an environment variable too", false},
    {"check-config", 0, NULL, "check settings and policies, say everything that is wrong, and end",
     false},
    {"dump-config", 0, NULL, "print the settings in force, secrets masked, and end", false},
    {"reference", 0, NULL, "print the reference of all settings (Markdown), and end", false},
    {.name = NULL},
};

const struct vd_command vd_command_run = {
    .name = "run",
    .usage = "-c FILE",
    .summary = "the worker: consume events, decide, publish",
    .about = "Consumes the topics of the settings file as a member of a consumer group, decides "
             "each event by the\n"
             "policies that match it, and publishes decisions, audit records and offsets in one "
             "Kafka transaction.\n\n"
             "The smallest settings file:\n\n"
             "    kafka    = { brokers = \"localhost:9092\"; start = \"earliest\";\n"
             "                 topics = ( { name = \"stripe.events\"; format = \"json\"; } ); };\n"
             "    redis    = { address = \"localhost:6379\"; };\n"
             "    models   = { main = { url = \"http://localhost:11434/v1\"; model = \"llama3.2\"; "
             "schema = \"loose\"; }; };\n"
             "    policies = { dir = \"policies\"; };\n\n"
             "    verdict run -c verdict.cfg\n\n"
             "SIGTERM or Ctrl-C: take nothing new, let calls finish (worker.drain_timeout_ms), "
             "publish, leave; a second one\n"
             "does not wait for calls. SIGHUP: read policies and settings again; the running ones "
             "stay when "
             "anything is wrong.\n"
             "http://127.0.0.1:9464 has /healthz, /readyz, /status and /metrics (admin.listen).\n\n"
             "Ends with 0 after a drain, 64 usage, 78 settings or policies, 69 a peer that cannot "
             "be used, 75 fenced by\n"
             "another worker with the same transactional id.",
    .options = options,
    .run = run,
};
