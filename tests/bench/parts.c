/* tests/bench/parts.c - what each part of a decision costs alone, with the payloads and the libraries of a run: the sum is what the
 * worker's CPU per decision is measured against. Kafka's part is loop.c, HTTP's parts_http.c.
 *
 *   parts FOLDER POLICY SCHEMAS REDIS_PORT MODEL_URL IN_FLIGHT COUNT
 *
 * FOLDER holds what run.py took from a real run: event.json, request.json, response.json, decision.json, audit.json. Prints one line of
 * JSON, CPU microseconds of each part (all threads; the best of several takes for what needs no other process).
 *
 * Each part is the least that must be done: cJSON and hiredis bare, one pass; the checks and the writing with the project's own
 * functions, which no library offers. own_http is no part: it is the project's HTTP client doing what parts_http.c does, to compare.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"
#include "cel/cel.h"
#include "http/client.h"
#include "loop/loop.h"
#include "pipeline/decision.h"
#include "policy/policy.h"

#define ROUNDS      2000
#define TAKES       5
#define REDIS_DEPTH 100

struct work {
    struct vd_buf event, request, response, decision, audit;
    char *answer; /* the model's text inside the response */
    struct vd_policy *policy;
    struct vd_event_reader *reader;
    struct vd_record rec;
    struct vd_event parsed;
    cJSON *audit_tree, *request_tree, *event_tree, *answer_tree, *sub;
    struct vd_arena arena, scratch;
    struct vd_cel_program *rules[8];
    struct vd_cel_value values[3];
    int redis_port;
    struct vd_loop *loop;
    struct vd_http *http;
    struct vd_http_target *target;
    size_t to_send, to_come, bad;
};

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "parts: %s\n", what);
    _exit(1);
}

static void must(enum vd_code rc, const struct vd_err *err)
{
    if (rc != VD_OK)
        die(err->msg);
}

static double cpu_us(void)
{
    struct rusage u;

    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static double best_of(void (*part)(struct work *), struct work *w)
{
    double best = 0;

    for (int take = 0; take < TAKES; take++) {
        double start = cpu_us(), each;

        for (int i = 0; i < ROUNDS; i++)
            part(w);
        each = (cpu_us() - start) / ROUNDS;
        if (take == 0 || each < best)
            best = each;
    }
    return best;
}

/* -- parts that need nobody else -------------------------------------------------------------------------------------- */

static void parse(const char *text, size_t len)
{
    cJSON *tree = cJSON_ParseWithLength(text, len + 1); /* with the NUL: CVE-2023-53154 */

    if (tree == NULL)
        die("a payload is not JSON");
    cJSON_Delete(tree);
}

/* In: the event, the response, the model's text. Out: the request. The records are the writing's part. */
static void json(struct work *w)
{
    char *text;

    parse(w->event.ptr, w->event.len);
    parse(w->response.ptr, w->response.len);
    parse(w->answer, strlen(w->answer));
    text = cJSON_PrintUnformatted(w->request_tree);
    if (text == NULL)
        die("print");
    cJSON_free(text);
}

static void schema(struct work *w)
{
    struct vd_schema_result result;

    vd_arena_reset(&w->scratch);
    if (vd_schema_validate(w->policy->event_schema, w->event_tree, 0, &w->scratch, &result, NULL) !=
            VD_OK ||
        !result.valid ||
        vd_schema_validate(w->policy->contexts[0].schema, w->sub, 0, &w->scratch, &result, NULL) !=
            VD_OK ||
        !result.valid)
        die("schema");
}

static const char *const rule_texts[] = {
    "event.type == 'invoice.payment_failed'",
    "!(sub.last_decline in ['lost_card', 'stolen_card', 'pickup_card'])",
    "event.data.object.attempt_count < 4",
    "params.method != 'backup' || sub.has_backup_method",
    "params.after_hours >= 1 && params.after_hours <= 168",
    "params.method in ['same', 'backup']",
};
#define RULES (sizeof(rule_texts) / sizeof(rule_texts[0]))

static void rules(struct work *w)
{
    struct vd_cel_eval_context context = {.values = w->values, .count = 3, .arena = &w->scratch};

    vd_arena_reset(&w->scratch);
    for (size_t i = 0; i < RULES; i++) {
        struct vd_cel_value v;

        if (vd_cel_eval(w->rules[i], &context, &v, NULL) != VD_OK || v.kind != VD_CEL_BOOL ||
            !v.u.b)
            die(rule_texts[i]);
    }
}

/* The event's hash, and one over a part of the audit record as large as all of them together. */
static void hash(struct work *w)
{
    (void)vd_sha256(vd_buf_span(&w->event));
    (void)vd_sha256(vd_buf_span(&w->audit));
}

static struct vd_decision decision_of(const struct work *w, struct vd_outcome *outcome,
                                      const struct vd_rule_result *results, size_t count)
{
    *outcome = (struct vd_outcome){
        .status = VD_DECIDED,
        .decided_by = VD_BY_MODEL,
        .action = &w->policy->actions[0],
        .params = vd_json_get(w->answer_tree, "params"),
        .rules = results,
        .rule_count = count,
        .has_confidence = true,
        .confidence = 0.83,
        .rationale = vd_json_get_string(w->answer_tree, "rationale"),
        .evidence = vd_json_get(w->answer_tree, "evidence"),
    };
    return (struct vd_decision){
        .id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        .policy = w->policy,
        .rec = &w->rec,
        .event = &w->parsed,
        .outcome = outcome,
        .usage = {.model = "main", .provider = "openai", .model_calls = 1},
        .key = VD_LIT("cus_00000000"),
        .now_ms = 1700000000000,
        .total_ms = 200,
        .worker = "worker",
        .source = "/verdict",
    };
}

static enum vd_code write_tree(void *arg, struct vd_buf *out)
{
    return vd_json_write(out, arg);
}

/* Both records of a decision, as JSON and as Kafka records with their headers, from trees that are there. */
static void records(struct work *w)
{
    static const struct vd_pipeline_topics topics = {"decisions", "r", "s", "a", "d"};
    static const struct vd_rule_result results[] = {
        {.id = "retry.ceiling", .verdict = VD_PASS, .has_headroom = true, .headroom = 2},
        {.id = "retry.live", .verdict = VD_PASS},
        {.id = "retry.backup", .verdict = VD_PASS},
        {.id = "params.after_hours", .verdict = VD_PASS, .has_headroom = true, .headroom = 35},
    };
    struct vd_outcome outcome;
    struct vd_decision d = decision_of(w, &outcome, results, 4);
    struct vd_audit_parts parts = {
        .reasoning = {write_tree, (void *)vd_json_get(w->audit_tree, "reasoning")},
        .context = {write_tree, (void *)vd_json_get(w->audit_tree, "context")},
        .clock_ms = 1700000000000};
    struct vd_output *a, *b;
    struct vd_buf text;

    vd_buf_init(&text, VD_DECISION_MAX_BYTES);
    if (vd_decision_write(&d, &text) != VD_OK)
        die("decision");
    b = vd_audit_output(&d, &parts, &topics, vd_buf_span(&text), 1u << 20);
    a = vd_decision_output(&d, &topics, &text);
    if (a == NULL || b == NULL)
        die("records");
    (void)vd_output_free(a);
    (void)vd_output_free(b);
    vd_buf_free(&text);
}

/* -- parts against a server ------------------------------------------------------------------------------------------- */

static double redis(struct work *w, size_t count)
{
    redisContext *c = redisConnect("127.0.0.1", w->redis_port);
    double start;

    if (c == NULL || c->err != 0)
        die("redis");
    start = cpu_us();
    for (size_t sent = 0; sent < count; sent += REDIS_DEPTH) {
        for (size_t i = 0; i < REDIS_DEPTH; i++)
            if (redisAppendCommand(c, "HGETALL sub:sub_%08u", (unsigned)((sent + i) % 10000)) !=
                REDIS_OK)
                die("redis");
        for (size_t i = 0; i < REDIS_DEPTH; i++) {
            redisReply *reply = NULL;

            if (redisGetReply(c, (void **)&reply) != REDIS_OK || reply->elements == 0)
                die("redis reply");
            freeReplyObject(reply);
        }
    }
    start = (cpu_us() - start) / (double)count;
    redisFree(c);
    return start;
}

static void on_response(void *arg, const struct vd_http_response *response);

static void submit(struct work *w)
{
    struct vd_http_request request = {
        .target = w->target, .post = true, .body = vd_buf_span(&w->request), .timeout_ms = 60000};
    struct vd_http_call *call;
    struct vd_err err;

    w->to_send--;
    must(vd_http_submit(w->http, &request, on_response, w, &call, &err), &err);
}

static void on_response(void *arg, const struct vd_http_response *response)
{
    struct work *w = arg;

    w->bad += response->err.code != VD_OK || response->status != 200;
    if (w->to_send > 0)
        submit(w);
    if (--w->to_come == 0)
        vd_loop_stop(w->loop);
}

static void exchange(struct work *w, size_t count, size_t in_flight)
{
    w->to_send = w->to_come = count;
    for (size_t i = 0; i < in_flight && w->to_send > 0; i++)
        submit(w);
    vd_loop_run(w->loop);
    if (w->bad > 0)
        die("a request failed");
}

static double own_http(struct work *w, const char *url, size_t count, size_t in_flight)
{
    static const struct vd_http_header headers[] = {
        {{"content-type", 12}, {"application/json", 16}}};
    struct vd_http_conf conf = {.max_in_flight = (uint32_t)in_flight};
    struct vd_err err;
    double start;

    must(vd_loop_new(&w->loop, &err), &err);
    must(vd_http_new(w->loop, &conf, &w->http, &err), &err);
    must(vd_http_target_new(w->http, vd_span_of(url), headers, 1, &w->target, &err), &err);
    exchange(w, in_flight, in_flight); /* connections are made once in a worker's life */
    start = cpu_us();
    exchange(w, count, in_flight);
    start = (cpu_us() - start) / (double)count;
    w->target = vd_http_target_free(w->target);
    w->http = vd_http_free(w->http);
    w->loop = vd_loop_free(w->loop);
    return start;
}

/* -- setting up ------------------------------------------------------------------------------------------------------- */

static void read_payload(const char *folder, const char *name, struct vd_buf *out)
{
    char *path = vd_path_join(folder, name);
    struct vd_err err;

    vd_buf_init(out, 1u << 20);
    must(vd_file_read(path, out, &err), &err);
    (void)vd_free(path);
}

static cJSON *tree_of(const struct vd_buf *text)
{
    struct vd_err err;
    cJSON *tree;

    must(vd_json_parse(vd_buf_span(text), &tree, &err), &err);
    return tree;
}

static void load_policy(struct work *w, const char *file, const char *schemas)
{
    struct vd_policy_options options = {.schemas_dir = schemas};
    struct vd_event_reader_conf reader = {.format = VD_FORMAT_JSON};
    struct vd_diags diags;
    struct vd_err err = {.msg = "policy"};

    vd_diags_init(&diags);
    must(vd_policy_load(file, &options, &diags, &w->policy, &err), &err);
    vd_diags_fini(&diags);
    must(vd_event_reader_new(&reader, &w->reader, &err), &err);
    w->rec = (struct vd_record){.topic = "bench.in",
                                .value = vd_buf_span(&w->event),
                                .key = VD_LIT("cus_00000000"),
                                .timestamp_ms = 1700000000000};
    must(vd_event_read(w->reader, &w->rec, &w->arena, &w->parsed, &err), &err);
    w->event_tree = w->parsed.tree;
}

static void compile_rules(struct work *w)
{
    struct vd_cel_env *env = vd_cel_env_new();
    struct vd_err err;

    must(vd_cel_env_declare(env, "event", NULL, NULL, &err), &err);
    must(vd_cel_env_declare(env, "params", NULL, NULL, &err), &err);
    must(vd_cel_env_declare(env, "sub", NULL, NULL, &err), &err);
    for (size_t i = 0; i < RULES; i++)
        must(vd_cel_compile(env, vd_span_of(rule_texts[i]), &w->rules[i], &err), &err);
    (void)vd_cel_env_free(env);
    w->values[0] = vd_cel_from_json(w->event_tree);
    w->values[1] = vd_cel_from_json(vd_json_get(w->answer_tree, "params"));
    w->values[2] = vd_cel_from_json(w->sub);
}

/* choices[0].message.content of the response, and it parsed. With the strict form, params has a member for each action. */
static void find_answer(struct work *w)
{
    cJSON *response = tree_of(&w->response);
    const cJSON *choice = vd_json_get(response, "choices")->child;
    struct vd_span text = vd_json_get_string(vd_json_get(choice, "message"), "content");
    struct vd_err err;
    cJSON *params;

    w->answer = vd_strndup(text);
    must(vd_json_parse(text, &w->answer_tree, &err), &err);
    params = cJSON_DetachItemFromObjectCaseSensitive((cJSON *)vd_json_get(w->answer_tree, "params"),
                                                     "retry");
    if (params != NULL) {
        cJSON_DeleteItemFromObjectCaseSensitive(w->answer_tree, "params");
        (void)vd_json_put(w->answer_tree, "params", params);
    }
    (void)vd_json_free(response);
}

static size_t number(const char *text)
{
    uint64_t v;

    if (!vd_parse_u64(vd_span_of(text), 100000000, &v))
        die(text);
    return (size_t)v;
}

int main(int argc, char **argv)
{
    static struct work w;
    struct {
        double own_http, redis, json, schema, rules, hash, records;
    } us;

    if (argc != 8)
        die("usage: see the source");
    vd_arena_init(&w.arena, VD_JOB_ARENA_MAX_BYTES);
    vd_arena_init(&w.scratch, VD_JOB_ARENA_MAX_BYTES);
    read_payload(argv[1], "event.json", &w.event);
    read_payload(argv[1], "request.json", &w.request);
    read_payload(argv[1], "response.json", &w.response);
    read_payload(argv[1], "decision.json", &w.decision);
    read_payload(argv[1], "audit.json", &w.audit);
    w.redis_port = (int)number(argv[4]);
    w.request_tree = tree_of(&w.request);
    w.audit_tree = tree_of(&w.audit);
    w.sub = vd_json_copy(vd_json_get(vd_json_get(w.audit_tree, "context"), "sub"));
    find_answer(&w);
    load_policy(&w, argv[2], argv[3]);
    compile_rules(&w);
    us.own_http = own_http(&w, argv[5], number(argv[7]), number(argv[6]));
    us.redis = redis(&w, 10000);
    us.json = best_of(json, &w);
    us.records = best_of(records, &w);
    us.hash = best_of(hash, &w);
    us.rules = best_of(rules, &w);
    us.schema = best_of(schema, &w);
    printf("{\"own_http\":%.2f,\"json\":%.2f,\"redis\":%.2f,\"schema\":%.2f,\"rules\":%.2f,"
           "\"hash\":%.2f,\"records\":%.2f}\n",
           us.own_http, us.json, us.redis, us.schema, us.rules, us.hash, us.records);
    return 0;
}
