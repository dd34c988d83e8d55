/* commands/decide.c - `verdict decide`: one event, one policy, the whole trace on the terminal. No Kafka. */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "commands/commands.h"
#include "commands/trace.h"
#include "model/router.h"
#include "ops/settings.h"
#include "pipeline/job.h"
#include "pipeline/limits.h"
#include "redis/client.h"

#define MAX_MODELS 64

/* Everything that one decision stands on, freed together. */
struct deciding {
    struct vd_settings *settings; /* NULL: none were given */
    struct vd_diags diags;
    struct vd_policy_set *set;
    struct vd_loop *loop;
    struct vd_redis *redis;
    struct vd_limiter *limiter; /* NULL: without Redis */
    struct vd_router *router;
    struct vd_tool_hosts *tool_hosts;
    struct vd_event_reader *reader;
    struct vd_arena arena;
    struct vd_buf value;
    struct vd_event event;
    struct vd_record rec;
    cJSON *context;
    cJSON *answers;
    size_t models[MAX_MODELS];
    struct vd_job_services services;
    struct vd_job *job;
    struct vd_err fatal;
    bool failed;
};

static const struct vd_pipeline_topics topics = {"decisions", "decisions.review",
                                                 "decisions.shadow", "decisions.audit",
                                                 "decisions.dead-letter"};

static void on_settled(void *arg, struct vd_job *job)
{
    struct deciding *d = arg;

    (void)job;
    vd_loop_stop(d->loop);
}

static void on_fatal(void *arg, const struct vd_err *err)
{
    struct deciding *d = arg;

    d->fatal = *err;
    d->failed = true;
    if (d->loop != NULL)
        vd_loop_stop(d->loop);
}

/* -- what the command line names ------------------------------------------------------------------------------------------ */

static enum vd_code read_json_file(const char *path, cJSON **ret, struct vd_err *err)
{
    struct vd_buf text;
    enum vd_code rc;

    vd_buf_init(&text, VD_JSON_MAX_BYTES);
    rc = vd_file_read(path, &text, err);
    if (rc == VD_OK)
        rc = vd_json_parse(vd_buf_span(&text), ret, err);
    if (rc == VD_E_INPUT || rc == VD_E_LIMIT)
        (void)vd_err_wrap(err, rc, "%s", path);
    vd_buf_free(&text);
    return rc;
}

static enum vd_code load_policy(struct deciding *d, const char *path, struct vd_err *err)
{
    struct vd_policy_options options = {0};
    enum vd_code rc;

    if (d->settings != NULL) {
        options.schemas_dir = d->settings->schemas_dir;
        options.tool_hosts = vd_settings_policy_options(d->settings).tool_hosts;
        options.tool_host_count = d->settings->tool_host_count;
    }
    rc = vd_policy_set_load(&path, 1, &options, &d->diags, &d->set, err);
    /* The candidate of a canary is loaded with its current version; the file that was named is the first. */
    if (rc == VD_OK && vd_policy_set_count(d->set) != 1 &&
        vd_policy_set_get(d->set, 0)->candidate == NULL)
        rc = vd_err_set(err, VD_E_CONFIG, false, "%s holds %zu policies; name one file", path,
                        vd_policy_set_count(d->set));
    return rc;
}

/* The reader of --topic in the settings, or plain JSON by default. */
static enum vd_code make_reader(struct deciding *d, const char *topic, struct vd_err *err)
{
    struct vd_event_reader_conf conf = {.format = VD_FORMAT_JSON};

    d->rec.topic = topic != NULL ? topic : vd_policy_set_get(d->set, 0)->topics[0];
    for (size_t i = 0; d->settings != NULL && i < d->settings->topic_count; i++)
        if (strcmp(d->settings->topics[i].name, d->rec.topic) == 0)
            conf = vd_settings_reader(d->settings, i);
    return vd_event_reader_new(&conf, &d->reader, err);
}

static struct vd_header headers_of(const struct vd_args *args, size_t i, bool *ret_ok)
{
    struct vd_span text = vd_span_of(vd_args_nth(args, "header", i));
    size_t eq = vd_span_find(text, '=');

    *ret_ok = eq > 0 && eq < text.len;
    return (struct vd_header){vd_span_sub(text, 0, eq), vd_span_sub(text, eq + 1, text.len)};
}

static enum vd_code read_event(struct deciding *d, const struct vd_args *args, const char *path,
                               struct vd_err *err)
{
    struct vd_header *headers = vd_arena_array(&d->arena, VD_EVENT_MAX_HEADERS, sizeof(*headers));
    enum vd_code rc = vd_file_read(strcmp(path, "-") == 0 ? "/dev/stdin" : path, &d->value, err);
    size_t n = 0;

    if (rc == VD_OK && headers == NULL)
        rc = vd_err_nomem(err, "event");
    for (; rc == VD_OK && vd_args_nth(args, "header", n) != NULL && n < VD_EVENT_MAX_HEADERS; n++) {
        bool ok;

        headers[n] = headers_of(args, n, &ok);
        if (!ok)
            rc = vd_err_set(err, VD_E_INPUT, false, "--header must be NAME=VALUE");
    }
    if (rc != VD_OK)
        return rc;
    d->rec.value = vd_span_trim(vd_buf_span(&d->value));
    d->rec.headers = headers;
    d->rec.header_count = n;
    d->rec.timestamp_ms = -1;
    rc = vd_event_read(d->reader, &d->rec, &d->arena, &d->event, err);
    return rc == VD_OK ? VD_OK : vd_err_wrap(err, rc, "%s", path);
}

/* An answer as the script has it: {"tool": NAME, "args": {...}} is a call, anything else is what the model wrote. */
static cJSON *scripted_answer(const char *text)
{
    cJSON *tree = NULL, *item = cJSON_CreateObject(), *calls = cJSON_CreateArray(),
          *call = cJSON_CreateObject();
    const cJSON *args;
    bool ok;

    if (vd_json_parse(vd_span_of(text), &tree, NULL) != VD_OK ||
        vd_json_get_string(tree, "tool").len == 0) {
        vd_json_free(tree);
        vd_json_free(item);
        vd_json_free(calls);
        vd_json_free(call);
        return vd_json_new_string(vd_span_of(text));
    }
    args = vd_json_get(tree, "args");
    ok = vd_json_put(call, "name", vd_json_new_string(vd_json_get_string(tree, "tool"))) &&
         vd_json_put(call, "arguments", args != NULL ? vd_json_copy(args) : cJSON_CreateObject());
    ok = vd_json_append(calls, call) && ok;
    ok = vd_json_put(item, "tool_calls", calls) && ok;
    vd_json_free(tree);
    return ok ? item : vd_json_free(item);
}

/* --answer stands in for the model; otherwise the settings' models are asked. */
static enum vd_code make_router(struct deciding *d, const struct vd_args *args, struct vd_err *err)
{
    struct vd_model_conf models[MAX_MODELS];
    struct vd_router_conf conf = {.models = models};
    enum vd_code rc;

    if (vd_args_has(args, "answer")) {
        d->answers = cJSON_CreateArray();
        for (size_t i = 0; vd_args_nth(args, "answer", i) != NULL; i++)
            if (!vd_json_append(d->answers, scripted_answer(vd_args_nth(args, "answer", i))))
                return vd_err_set(err, VD_E_INPUT, false, "--answer is not UTF-8");
        models[0] = (struct vd_model_conf){
            .name = "scripted", .provider = "scripted", .script = d->answers};
        conf.model_count = 1;
    } else if (d->settings != NULL) {
        conf.model_count =
            d->settings->model_count < MAX_MODELS ? d->settings->model_count : MAX_MODELS;
        for (size_t i = 0; i < conf.model_count; i++)
            models[i] = vd_settings_model(d->settings, i);
    }
    if (conf.model_count == 0)
        return VD_OK;
    rc = vd_router_new(d->loop, &conf, &d->router, err);
    for (size_t i = 0; rc == VD_OK && i < conf.model_count; i++)
        d->models[d->services.default_model_count++] = i;
    return rc;
}

static enum vd_code make_redis(struct deciding *d, const char *context_path, struct vd_err *err)
{
    struct vd_redis_conf conf = {.db = -1};

    if (context_path != NULL)
        return read_json_file(context_path, &d->context, err);
    if (d->settings == NULL || d->settings->redis_address == NULL) {
        d->context = cJSON_CreateObject(); /* nothing is known */
        return d->context != NULL ? VD_OK : vd_err_nomem(err, "context");
    }
    conf.address = d->settings->redis_address;
    conf.username = d->settings->redis_username;
    conf.password = d->settings->redis_password;
    return vd_redis_new(d->loop, &conf, NULL, NULL, &d->redis, err);
}

static enum vd_code make_tool_hosts(struct deciding *d, struct vd_err *err)
{
    struct vd_tool_host_conf confs[VD_TOOL_MAX_HOSTS];
    size_t count = d->settings != NULL ? d->settings->tool_host_count : 0;

    for (size_t i = 0; i < count; i++)
        confs[i] = d->settings->tool_hosts[i].conf;
    return vd_tool_hosts_new(d->loop, confs, count, &d->tool_hosts, err);
}

static enum vd_code make_limiter(struct deciding *d, struct vd_err *err)
{
    struct vd_limiter_conf conf = {.loop = d->loop, .redis = d->redis, .timeout_ms = 2000};

    if (d->redis == NULL)
        return VD_OK;
    conf.prefix = d->settings->redis_prefix;
    return vd_limiter_new(&conf, &d->limiter, err);
}

static enum vd_code prepare(struct deciding *d, const struct vd_args *args, struct vd_err *err)
{
    const char *config = vd_args_get(args, "config", NULL);
    enum vd_code rc =
        config == NULL ? VD_OK : vd_settings_load(config, &d->diags, &d->settings, err);

    if (rc == VD_OK)
        rc = load_policy(d, vd_args_operand(args, 0), err);
    if (rc == VD_OK)
        rc = make_reader(d, vd_args_get(args, "topic", NULL), err);
    if (rc == VD_OK)
        rc = read_event(d, args, vd_args_operand(args, 1), err);
    if (rc == VD_OK)
        rc = vd_loop_new(&d->loop, err);
    if (rc == VD_OK)
        rc = make_router(d, args, err);
    if (rc == VD_OK)
        rc = make_tool_hosts(d, err);
    if (rc == VD_OK)
        rc = make_redis(d, vd_args_get(args, "context", NULL), err);
    if (rc == VD_OK)
        rc = make_limiter(d, err);
    return rc;
}

/* -- deciding -------------------------------------------------------------------------------------------------------------- */

static enum vd_code decide(struct deciding *d, struct vd_err *err)
{
    const struct vd_policy *policy = vd_policy_set_get(d->set, 0);
    enum vd_code rc;

    d->services.loop = d->loop;
    d->services.redis = d->redis;
    d->services.limiter = d->limiter;
    d->services.limits_dry = true;
    d->services.router = d->router;
    d->services.tool_hosts = d->tool_hosts;
    d->services.context = d->context;
    d->services.topics = &topics;
    d->services.worker = "decide";
    d->services.source = "/verdict/decide";
    d->services.marker_key = d->services.redact_key = VD_LIT("verdict decide");
    d->services.default_models = d->models;
    d->services.audit_max_bytes = d->services.dead_letter_max_bytes = VD_AUDIT_MAX_BYTES;
    d->services.redis_timeout_ms = 2000;
    d->services.settled = on_settled;
    d->services.fatal = on_fatal;
    d->services.arg = d;
    d->rec.fetched_mono_ms = vd_mono_ms();
    rc = vd_job_new(&d->services, &d->rec, &d->event, d->set, policy, vd_wall_ms(), &d->job, err);
    if (rc != VD_OK)
        return rc;
    if (!vd_job_match(d->job)) {
        printf("input.when does not match: this policy does not decide this event\n");
        return VD_OK;
    }
    if (!vd_job_settled(d->job) && vd_job_admit(d->job)) {
        vd_job_start(d->job);
        while (!vd_job_settled(d->job) && !d->failed)
            vd_loop_run(d->loop);
    }
    if (d->failed) {
        *err = d->fatal;
        return err->code;
    }
    return VD_OK;
}

static enum vd_code show(struct deciding *d, bool json, struct vd_err *err)
{
    struct vd_output *outputs = vd_job_take_outputs(d->job);
    enum vd_code rc = VD_OK;

    for (const struct vd_output *o = outputs; o != NULL && rc == VD_OK; o = o->next) {
        if (json)
            printf("%.*s\n", (int)o->value.len, o->value.ptr);
        else if (o->kind == VD_OUTPUT_AUDIT)
            rc = vd_trace_print(o->value, true, isatty(STDOUT_FILENO) != 0, err);
        else if (o->kind == VD_OUTPUT_DEAD_LETTER)
            vd_trace_print_dead_letter(o);
    }
    (void)vd_output_free(outputs);
    if (vd_policy_set_get(d->set, 0)->limit_count > 0 && d->limiter == NULL && !json)
        printf("  Without Redis, limits are taken as unused by others.\n");
    return rc;
}

static void tear_down(struct deciding *d)
{
    (void)vd_job_free(d->job);
    (void)vd_router_free(d->router);
    (void)vd_tool_hosts_free(d->tool_hosts);
    (void)vd_redis_free(d->redis);
    (void)vd_limiter_free(d->limiter);
    (void)vd_loop_free(d->loop);
    (void)vd_event_reader_free(d->reader);
    vd_event_fini(&d->event);
    vd_buf_free(&d->value);
    vd_arena_fini(&d->arena);
    (void)vd_json_free(d->context);
    (void)vd_json_free(d->answers);
    (void)vd_policy_set_release(d->set);
    (void)vd_settings_free(d->settings);
    vd_diags_fini(&d->diags);
}

static int run(const struct vd_args *args)
{
    struct deciding d;
    struct vd_buf problems;
    struct vd_err err;
    enum vd_code rc;

    memset(&d, 0, sizeof(d));
    vd_diags_init(&d.diags);
    vd_arena_init(&d.arena, VD_JOB_ARENA_MAX_BYTES);
    vd_buf_init(&d.value, VD_JSON_MAX_BYTES);
    vd_log_setup(STDERR_FILENO, VD_ERROR);
    rc = prepare(&d, args, &err);
    if (rc == VD_OK)
        rc = decide(&d, &err);
    if (rc == VD_OK && vd_job_settled(d.job))
        rc = show(&d, vd_args_has(args, "json"), &err);
    if (rc != VD_OK) {
        vd_buf_init(&problems, 1u << 20);
        (void)vd_diags_write(&d.diags, &problems);
        fprintf(stderr, "%sverdict decide: %s\n", problems.ptr != NULL ? problems.ptr : "",
                err.msg);
        vd_buf_free(&problems);
    }
    tear_down(&d);
    return vd_code_exit(rc);
}

static const struct vd_option options[] = {
    {"config", 'c', "FILE", "settings: models, Redis and topics are taken from here", false},
    {"context", 0, "FILE", "context values, a JSON object by name, instead of Redis", false},
    {"answer", 'a', "TEXT",
     "what the model answers, instead of asking one; again for the answer to a repair. "
     "{\"tool\": NAME, \"args\": {...}} calls a tool",
     true},
    {"topic", 0, "NAME", "the topic the event came from: its settings say how it is read", false},
    {"header", 'H', "NAME=VALUE", "a Kafka header of the event", true},
    {"json", 0, NULL, "print the decision and the audit record as JSON lines", false},
    {.name = NULL},
};

const struct vd_command vd_command_decide = {
    .name = "decide",
    .usage = "POLICY.cfg EVENT.json [-c SETTINGS | --answer TEXT] [--context FILE]",
    .summary = "one event, one policy, the whole trace on the terminal",
    .about =
        "Decides one event as the worker would, and shows every step: what the model was shown, "
        "what it answered, which\n"
        "rules it passed or broke, what became of it. Without Kafka. EVENT.json may be - for "
        "standard input.\n\n"
        "    verdict decide policies/billing/dunning.cfg event.json --context context.json \\\n"
        "        --answer "
        "'{\"action\":\"stop\",\"params\":{},\"confidence\":0.9,\"rationale\":\"\",\"evidence\":[]}"
        "' \\\n"
        "        --answer "
        "'{\"action\":\"ask_new_card\",\"params\":{\"channel\":\"email\"},\"confidence\":0.9,"
        "\"rationale\":\"\",\"evidence\":[]}'\n\n"
        "With -c and without --answer the models of the settings are asked, and context comes from "
        "Redis.",
    .options = options,
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};
