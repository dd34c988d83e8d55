/* commands/model_sim.c - `verdict model-sim`: the simulated model as a program. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>

#include "base/buf.h"
#include "base/file.h"
#include "commands/commands.h"
#include "commands/sim_server.h"
#include "json/json.h"

#define SCRIPT_MAX (16u << 20)

static const struct vd_option options[] = {
    {"listen", 'l', "HOST:PORT", "where to listen (127.0.0.1:8089; port 0 chooses one)", false},
    {"latency", 0, "LAW", "milliseconds: 200, uniform:50:400, lognormal:1500:0.7 (0)", false},
    {"errors", 0, "LIST", "shares of requests: 429=0.05,500=0.01,reset=0.01,hang=0.001", false},
    {"retry-after", 0, "SECONDS", "sent with 429 and 503", false},
    {"script", 0, "FILE", "JSON: a behaviour, see below", false},
    {"obey", 0, NULL, "do what hostile text in the user's message says", false},
    {"use-tools", 0, NULL, "call the first tool once before proposing", false},
    {"count-by", 0, "TEXT", "count requests by the id that follows TEXT (GET /stats)", false},
    {"seed", 0, "N", "of latencies and errors (1)", false},
    {NULL, 0, NULL, NULL, false},
};

static bool put_errors(cJSON *behaviour, const char *list)
{
    struct vd_span rest = vd_span_of(list);
    cJSON *errors = cJSON_CreateObject();

    while (rest.len > 0) {
        size_t comma = vd_span_find(rest, ',');
        struct vd_span pair = vd_span_sub(rest, 0, comma);
        size_t equals = vd_span_find(pair, '=');
        char name[16];
        double share;

        rest = vd_span_sub(rest, comma + 1, rest.len);
        if (equals >= sizeof(name) ||
            !vd_parse_double(vd_span_sub(pair, equals + 1, pair.len), &share)) {
            (void)vd_json_free(errors);
            fprintf(stderr,
                    "verdict model-sim: --errors is a list such as 429=0.05,reset=0.01, not "
                    "\"%.60s\"\n",
                    list);
            return false;
        }
        memcpy(name, pair.ptr, equals);
        name[equals] = '\0';
        (void)vd_json_put(errors, name, vd_json_new_double(share));
    }
    return vd_json_put(behaviour, "errors", errors);
}

/* A script first; what the options say stands above it. */
static int read_behaviour(const struct vd_args *args, cJSON **ret_behaviour)
{
    const char *script = vd_args_get(args, "script", NULL), *text;
    cJSON *behaviour = NULL;
    struct vd_err err = {0};
    unsigned long long n;

    if (script != NULL) {
        struct vd_buf file;

        vd_buf_init(&file, SCRIPT_MAX);
        if (vd_file_read(script, &file, &err) != VD_OK ||
            vd_json_parse(vd_buf_span(&file), &behaviour, &err) != VD_OK) {
            fprintf(stderr, "verdict model-sim: %s: %s\n", script, err.msg);
            vd_buf_free(&file);
            return EX_DATAERR;
        }
        vd_buf_free(&file);
    } else {
        behaviour = cJSON_CreateObject();
    }
    *ret_behaviour = behaviour;
    text = vd_args_get(args, "latency", NULL);
    if (text != NULL)
        (void)vd_json_put(behaviour, "latency", vd_json_new_string(vd_span_of(text)));
    text = vd_args_get(args, "count-by", NULL);
    if (text != NULL)
        (void)vd_json_put(behaviour, "count_by", vd_json_new_string(vd_span_of(text)));
    text = vd_args_get(args, "errors", NULL);
    if (text != NULL && !put_errors(behaviour, text))
        return EX_USAGE;
    if (vd_args_has(args, "obey"))
        (void)vd_json_put(behaviour, "obey", cJSON_CreateTrue());
    if (vd_args_has(args, "use-tools"))
        (void)vd_json_put(behaviour, "use_tools", cJSON_CreateTrue());
    if (!vd_args_u64(args, "seed", 1, INT64_MAX, 1, &n))
        return EX_USAGE;
    if (vd_args_has(args, "seed"))
        (void)vd_json_put(behaviour, "seed", vd_json_new_int((int64_t)n));
    if (!vd_args_u64(args, "retry-after", 0, 86400, 0, &n))
        return EX_USAGE;
    if (vd_args_has(args, "retry-after"))
        (void)vd_json_put(behaviour, "retry_after", vd_json_new_int((int64_t)n));
    return EX_OK;
}

/* Each waiting request is a descriptor. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static bool parse_listen(const char *text, char *host, size_t size, uint16_t *ret_port)
{
    struct vd_span s = vd_span_of(text);
    size_t colon = vd_span_find(s, ':');
    uint64_t port;

    if (colon == 0 || colon >= size ||
        !vd_parse_u64(vd_span_sub(s, colon + 1, s.len), UINT16_MAX, &port)) {
        fprintf(stderr,
                "verdict model-sim: --listen is HOST:PORT, such as 127.0.0.1:8089, not \"%.60s\"\n",
                text);
        return false;
    }
    memcpy(host, text, colon);
    host[colon] = '\0';
    *ret_port = (uint16_t)port;
    return true;
}

static int run(const struct vd_args *args)
{
    char host[64];
    uint16_t port;
    struct vd_sim *sim = NULL;
    struct vd_err err = {0};
    cJSON *behaviour = NULL;
    sigset_t stop;
    enum vd_code rc;
    int status, got;

    if (!parse_listen(vd_args_get(args, "listen", "127.0.0.1:8089"), host, sizeof(host), &port))
        return EX_USAGE;
    status = read_behaviour(args, &behaviour);
    if (status != EX_OK) {
        (void)vd_json_free(behaviour);
        return status;
    }
    raise_descriptors();
    (void)sigemptyset(&stop);
    (void)sigaddset(&stop, SIGINT);
    (void)sigaddset(&stop, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &stop, NULL); /* before threads start: they inherit it */
    (void)signal(SIGPIPE, SIG_IGN);
    rc = vd_sim_start(host, port, behaviour, &sim, &err);
    (void)vd_json_free(behaviour);
    if (rc != VD_OK) {
        fprintf(stderr, "verdict model-sim: %s\n", err.msg);
        return rc == VD_E_INPUT ? EX_USAGE : vd_code_exit(rc);
    }
    printf("listening on %s\n", vd_sim_url(sim));
    (void)fflush(stdout);
    (void)sigwait(&stop, &got);
    (void)vd_sim_stop(sim);
    return EX_OK;
}

const struct vd_command vd_command_model_sim = {
    .name = "model-sim",
    .usage = "[--listen HOST:PORT] [--latency LAW] [--errors LIST] [--script FILE]",
    .summary = "a simulated model that speaks the OpenAI and Anthropic APIs",
    .about =
        "Answers POST /v1/chat/completions and POST /v1/messages with a proposal that fits the "
        "JSON Schema of the\n"
        "request, the same one for the same request. It is no model: it shows that everything "
        "around one works.\n"
        "\n"
        "  verdict model-sim --latency lognormal:1500:0.7 --errors 429=0.05,500=0.01 --retry-after "
        "1\n"
        "  curl -s localhost:8089/stats\n"
        "  curl -s localhost:8089/control -d '{\"latency\": 0, \"errors\": {\"503\": 1}}'\n"
        "\n"
        "--script and POST /control take a behaviour; members that are left out stay as they are:\n"
        "  {\"latency\": \"uniform:50:400\", \"seed\": 7, \"errors\": {\"429\": 0.1}, "
        "\"retry_after\": 1,\n"
        "   \"obey\": false, \"use_tools\": false, \"count_by\": \"event_id: \",\n"
        "   \"rules\": [{\"match\": \"text in the user's message\", \"cycle\": false, \"answers\": "
        "[\n"
        "      \"what the model writes\",\n"
        "      {\"action\": \"refund\", \"params\": {\"amount_minor\": 500}, \"confidence\": 0.9, "
        "\"rationale\": \"\", \"evidence\": []},\n"
        "      {\"status\": 429, \"code\": \"insufficient_quota\", \"headers\": "
        "{\"retry-after-ms\": \"20\"}},\n"
        "      {\"tool_calls\": [{\"name\": \"orders\", \"arguments\": {\"id\": \"7\"}}]},\n"
        "      {\"content\": \"{\\\"acti\", \"finish_reason\": \"length\"}, {\"refusal\": \"I will "
        "not.\"},\n"
        "      {\"body\": \"any bytes\"}, {\"reset\": true}, {\"hang\": true}, {\"truncate\": "
        "true}, {\"garbage\": true}]}]}\n",
    .options = options,
    .run = run,
};
