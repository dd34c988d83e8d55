/* commands/sim_server.c - see sim_server.h. libmicrohttpd serves; a heap of due times wakes suspended connections.
 *
 * A waiting request costs its connection and one heap entry: no thread, no timer. `lock` guards all below it in struct vd_sim;
 * libmicrohttpd's thread reads requests and makes answers, the waker resumes connections when their time has come.
 */
#include "commands/sim_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "commands/sim_answer.h"
#include "commands/sim_behaviour.h"

#define BODY_MAX         (16u << 20)
#define ANSWER_MAX       (4u << 20)
#define CONNECTION_MAX   20000
#define CONNECTION_BYTES 16384
#define BACKLOG          4096
#define HANG_US          (INT64_C(120) * 1000000) /* a suspended connection's end is not noticed */
#define SEEN_SLOTS       (1u << 20)               /* request hashes for `repeated`; power of two */
#define MARKER_MAX       200000

enum fate { FATE_ANSWER, FATE_RESET, FATE_TRUNCATE };

/* One HTTP request. */
struct exchange {
    struct vd_sim *sim;
    struct MHD_Connection *connection;
    struct vd_buf body;
    struct vd_buf answer;
    struct MHD_Response *response;
    unsigned status;
    enum fate fate;
    bool ready; /* answer is made */
    bool counted;
    int64_t due_us;
    size_t heap_at; /* index + 1; 0: not in the heap */
};

struct vd_sim {
    struct MHD_Daemon *daemon;
    pthread_t waker;
    bool waker_runs;
    char url[64];
    pthread_mutex_t lock;
    pthread_cond_t due;
    bool stopping;
    struct vd_sim_behaviour *behaviour;
    struct exchange **heap; /* earliest first */
    size_t heap_len, heap_cap;
    uint64_t *seen;
    cJSON *markers;
    size_t marker_count;
    uint64_t requests, openai, anthropic, repeated, answered, bytes_in;
    uint64_t statuses[600];
    uint64_t resets, hangs, truncated;
    uint64_t waiting, most_waiting;
};

/* -- the heap of due times --------------------------------------------------------------------------------------------------- */

static void put_at(struct vd_sim *sim, size_t i, struct exchange *x)
{
    sim->heap[i] = x;
    x->heap_at = i + 1;
}

static void sift_up(struct vd_sim *sim, size_t i)
{
    struct exchange *x = sim->heap[i];

    for (; i > 0 && sim->heap[(i - 1) / 2]->due_us > x->due_us; i = (i - 1) / 2)
        put_at(sim, i, sim->heap[(i - 1) / 2]);
    put_at(sim, i, x);
}

static void sift_down(struct vd_sim *sim, size_t i)
{
    struct exchange *x = sim->heap[i];

    for (size_t child; (child = 2 * i + 1) < sim->heap_len; i = child) {
        if (child + 1 < sim->heap_len && sim->heap[child + 1]->due_us < sim->heap[child]->due_us)
            child++;
        if (sim->heap[child]->due_us >= x->due_us)
            break;
        put_at(sim, i, sim->heap[child]);
    }
    put_at(sim, i, x);
}

static bool heap_add(struct vd_sim *sim, struct exchange *x)
{
    if (sim->heap_len == sim->heap_cap) {
        size_t cap = sim->heap_cap * 2 + 64;
        struct exchange **grown = vd_realloc_array(sim->heap, cap, sizeof(struct exchange *));

        if (grown == NULL)
            return false;
        sim->heap = grown;
        sim->heap_cap = cap;
    }
    sim->heap[sim->heap_len++] = x;
    sift_up(sim, sim->heap_len - 1);
    return true;
}

static void heap_remove(struct vd_sim *sim, struct exchange *x)
{
    size_t i = x->heap_at - 1;
    struct exchange *last = sim->heap[--sim->heap_len];

    x->heap_at = 0;
    if (last == x)
        return;
    put_at(sim, i, last);
    sift_up(sim, i);
    sift_down(sim, last->heap_at - 1);
}

/* Resumes connections whose time has come. CLOCK_MONOTONIC is set on the condition. */
static void *wake(void *arg)
{
    struct vd_sim *sim = arg;

    (void)pthread_mutex_lock(&sim->lock);
    while (!sim->stopping) {
        int64_t now = vd_mono_us();

        if (sim->heap_len == 0) {
            (void)pthread_cond_wait(&sim->due, &sim->lock);
        } else if (sim->heap[0]->due_us <= now) {
            struct exchange *x = sim->heap[0];

            heap_remove(sim, x);
            sim->waiting--;
            MHD_resume_connection(x->connection);
        } else {
            int64_t at = sim->heap[0]->due_us;
            struct timespec until = {.tv_sec = at / 1000000, .tv_nsec = at % 1000000 * 1000};

            (void)pthread_cond_timedwait(&sim->due, &sim->lock, &until);
        }
    }
    (void)pthread_mutex_unlock(&sim->lock);
    return NULL;
}

/* -- answers ------------------------------------------------------------------------------------------------------------------- */

static void add_usage(struct exchange *x, bool anthropic, size_t out_bytes)
{
    unsigned in = (unsigned)(x->body.len / 4 + 1), out = (unsigned)(out_bytes / 4 + 1);

    if (anthropic)
        (void)vd_buf_addf(&x->answer, "\"usage\":{\"input_tokens\":%u,\"output_tokens\":%u}", in,
                          out);
    else
        (void)vd_buf_addf(
            &x->answer,
            "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u}", in,
            out, in + out);
}

static void openai_answer(struct exchange *x, const struct vd_sim_request *r,
                          struct vd_span content, const cJSON *calls, struct vd_span refusal,
                          struct vd_span finish)
{
    struct vd_buf *out = &x->answer;
    const cJSON *call;
    unsigned n = 0;

    (void)vd_buf_addf(
        out, "{\"id\":\"chatcmpl-sim\",\"object\":\"chat.completion\",\"created\":0,\"model\":");
    (void)vd_buf_add_json_string(out, vd_json_get_string(r->body, "model"));
    (void)vd_buf_add_c(
        out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    if (calls != NULL || refusal.len > 0)
        (void)vd_buf_add_c(out, "null");
    else
        (void)vd_buf_add_json_string(out, content);
    (void)vd_buf_add_c(out, ",\"refusal\":");
    if (refusal.len > 0)
        (void)vd_buf_add_json_string(out, refusal);
    else
        (void)vd_buf_add_c(out, "null");
    if (calls != NULL) {
        (void)vd_buf_add_c(out, ",\"tool_calls\":[");
        cJSON_ArrayForEach(call, calls)
        {
            (void)vd_buf_addf(out,
                              "%s{\"id\":\"call_%u\",\"type\":\"function\",\"function\":{\"name\":",
                              n > 0 ? "," : "", n);
            n++;
            (void)vd_buf_add_json_string(out, vd_json_get_string(call, "name"));
            (void)vd_buf_add_c(out, ",\"arguments\":");
            (void)vd_buf_add_json_string(out, vd_json_get_string(call, "arguments"));
            (void)vd_buf_add_c(out, "}}");
        }
        (void)vd_buf_add_char(out, ']');
    }
    (void)vd_buf_add_c(out, "},\"logprobs\":null,\"finish_reason\":");
    (void)vd_buf_add_json_string(out, finish.len > 0  ? finish
                                      : calls != NULL ? VD_LIT("tool_calls")
                                                      : VD_LIT("stop"));
    (void)vd_buf_add_c(out, "}],");
    add_usage(x, false, content.len);
    (void)vd_buf_add_char(out, '}');
}

static void anthropic_answer(struct exchange *x, const struct vd_sim_request *r,
                             struct vd_span content, const cJSON *calls, struct vd_span refusal,
                             struct vd_span finish)
{
    struct vd_buf *out = &x->answer;
    const cJSON *call;
    unsigned n = 0;

    if (vd_span_eq_c(finish, "length"))
        finish = VD_LIT("max_tokens");
    if (refusal.len > 0)
        finish = VD_LIT("refusal");
    (void)vd_buf_add_c(
        out, "{\"id\":\"msg_sim\",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    (void)vd_buf_add_json_string(out, vd_json_get_string(r->body, "model"));
    (void)vd_buf_add_c(out, ",\"content\":[");
    if (calls == NULL) {
        (void)vd_buf_add_c(out, "{\"type\":\"text\",\"text\":");
        (void)vd_buf_add_json_string(out, refusal.len > 0 ? refusal : content);
        (void)vd_buf_add_char(out, '}');
    } else {
        cJSON_ArrayForEach(call, calls)
        {
            (void)vd_buf_addf(
                out, "%s{\"type\":\"tool_use\",\"id\":\"toolu_%u\",\"name\":", n > 0 ? "," : "", n);
            n++;
            (void)vd_buf_add_json_string(out, vd_json_get_string(call, "name"));
            (void)vd_buf_add_c(out, ",\"input\":");
            (void)vd_buf_add(out, vd_json_get_string(call, "arguments"));
            (void)vd_buf_add_char(out, '}');
        }
    }
    (void)vd_buf_add_c(out, "],\"stop_reason\":");
    (void)vd_buf_add_json_string(out, finish.len > 0  ? finish
                                      : calls != NULL ? VD_LIT("tool_use")
                                                      : VD_LIT("end_turn"));
    (void)vd_buf_add_c(out, ",\"stop_sequence\":null,");
    add_usage(x, true, content.len);
    (void)vd_buf_add_char(out, '}');
}

static void error_answer(struct exchange *x, bool anthropic, unsigned status, struct vd_span code)
{
    static const struct {
        unsigned status;
        const char *type;
    } types[] = {
        {400, "invalid_request_error"}, {401, "authentication_error"}, {403, "permission_error"},
        {404, "not_found_error"},       {413, "request_too_large"},    {429, "rate_limit_error"},
        {529, "overloaded_error"},
    };
    const char *type = "api_error";

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (types[i].status == status)
            type = types[i].type;
    x->status = status;
    vd_buf_clear(&x->answer);
    (void)vd_buf_addf(&x->answer,
                      anthropic ? "{\"type\":\"error\",\"error\":{\"type\":\"%s\","
                                : "{\"error\":{\"type\":\"%s\",",
                      type);
    (void)vd_buf_add_c(&x->answer, "\"message\":\"simulated\",\"code\":");
    (void)vd_buf_add_json_string(&x->answer, code);
    (void)vd_buf_add_c(&x->answer, ",\"param\":null}}");
}

/* [{"name", "arguments": text}] from what a script or the sim itself wants called. Owned. */
static cJSON *as_calls(const cJSON *list)
{
    cJSON *out = cJSON_CreateArray();
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        const cJSON *arguments = vd_json_get(item, "arguments");
        cJSON *call = cJSON_CreateObject();
        struct vd_buf text;

        vd_buf_init(&text, ANSWER_MAX);
        if (arguments != NULL && vd_json_kind(arguments) == VD_JSON_STRING)
            (void)vd_buf_add(&text, vd_json_string(arguments));
        else if (arguments != NULL)
            (void)vd_json_write(&text, arguments);
        if (vd_json_append(out, call)) {
            (void)vd_json_put(call, "name", vd_json_new_string(vd_json_get_string(item, "name")));
            (void)vd_json_put(call, "arguments", vd_json_new_string(vd_buf_span(&text)));
        }
        vd_buf_free(&text);
    }
    return out;
}

static cJSON *one_call(struct vd_span name, cJSON *take_arguments)
{
    cJSON *list = cJSON_CreateArray(), *call = cJSON_CreateObject(), *calls;

    (void)vd_json_put(call, "name", vd_json_new_string(name));
    (void)vd_json_put(call, "arguments", take_arguments);
    (void)vd_json_append(list, call);
    calls = as_calls(list);
    (void)vd_json_free(list);
    return calls;
}

static void write_answer(struct exchange *x, const struct vd_sim_request *r, struct vd_span content,
                         const cJSON *calls, struct vd_span refusal, struct vd_span finish)
{
    x->status = 200;
    if (r->anthropic)
        anthropic_answer(x, r, content, calls, refusal, finish);
    else
        openai_answer(x, r, content, calls, refusal, finish);
}

/* A proposal goes where the request wants it. */
static void write_proposal(struct exchange *x, const struct vd_sim_request *r,
                           const cJSON *proposal)
{
    struct vd_buf text;
    cJSON *calls = NULL;

    vd_buf_init(&text, ANSWER_MAX);
    if (r->tool.len > 0)
        calls = one_call(r->tool, vd_json_copy(proposal));
    else
        (void)vd_json_write(&text, proposal);
    write_answer(x, r, vd_buf_span(&text), calls, (struct vd_span){0}, (struct vd_span){0});
    (void)vd_json_free(calls);
    vd_buf_free(&text);
}

static void write_own(struct exchange *x, const struct vd_sim_request *r, bool obey, bool use_tools)
{
    cJSON *proposal;

    if (use_tools && r->first_tool != NULL && !r->has_tool_result) {
        const cJSON *function = vd_json_get(r->first_tool, "function");
        cJSON *calls =
            one_call(vd_json_get_string(function != NULL ? function : r->first_tool, "name"),
                     vd_sim_arguments(r, r->first_tool));

        write_answer(x, r, (struct vd_span){0}, calls, (struct vd_span){0}, (struct vd_span){0});
        (void)vd_json_free(calls);
        return;
    }
    if (r->schema == NULL) {
        write_answer(x, r, VD_LIT("I am a simulated model; ask me with a JSON Schema."), NULL,
                     (struct vd_span){0}, (struct vd_span){0});
        return;
    }
    proposal = vd_sim_propose(r, obey);
    write_proposal(x, r, proposal);
    (void)vd_json_free(proposal);
}

static bool is_set(const cJSON *answer, const char *name)
{
    const cJSON *node = vd_json_get(answer, name);
    bool on = false;

    return node != NULL && vd_json_bool(node, &on) && on;
}

/* What a script or chance says. Returns microseconds of hanging to add. */
static int64_t write_scripted(struct exchange *x, const struct vd_sim_request *r,
                              const cJSON *answer, const cJSON **ret_headers)
{
    const cJSON *status = vd_json_get(answer, "status"), *calls = vd_json_get(answer, "tool_calls");
    int64_t code;

    if (vd_json_kind(answer) == VD_JSON_STRING) {
        write_answer(x, r, vd_json_string(answer), NULL, (struct vd_span){0}, (struct vd_span){0});
    } else if (is_set(answer, "hang")) {
        x->sim->hangs++;
        return HANG_US;
    } else if (is_set(answer, "reset")) {
        x->fate = FATE_RESET;
        x->sim->resets++;
    } else if (is_set(answer, "garbage")) {
        x->status = 200;
        (void)vd_buf_add_c(&x->answer, "<html>not what you asked for</html>");
    } else if (status != NULL && vd_json_int(status, &code) && code >= 100 && code <= 599) {
        error_answer(x, r->anthropic, (unsigned)code, vd_json_get_string(answer, "code"));
        if (vd_json_get(answer, "body") != NULL) {
            vd_buf_clear(&x->answer);
            (void)vd_buf_add(&x->answer, vd_json_get_string(answer, "body"));
        }
        *ret_headers = vd_json_get(answer, "headers");
    } else if (vd_json_get(answer, "body") != NULL) {
        x->status = 200;
        (void)vd_buf_add(&x->answer, vd_json_get_string(answer, "body"));
    } else if (calls != NULL && cJSON_IsArray(calls)) {
        cJSON *made = as_calls(calls);

        write_answer(x, r, (struct vd_span){0}, made, (struct vd_span){0},
                     vd_json_get_string(answer, "finish_reason"));
        (void)vd_json_free(made);
    } else if (vd_json_get(answer, "content") != NULL || vd_json_get(answer, "refusal") != NULL) {
        write_answer(x, r, vd_json_get_string(answer, "content"), NULL,
                     vd_json_get_string(answer, "refusal"),
                     vd_json_get_string(answer, "finish_reason"));
    } else {
        if (is_set(answer, "truncate")) {
            x->fate = FATE_TRUNCATE;
            x->sim->truncated++;
            write_own(x, r, false, false);
        } else {
            write_proposal(x, r, answer);
        }
    }
    return 0;
}

/* -- counting ------------------------------------------------------------------------------------------------------------------ */

/* Was this very request seen before? A full table forgets nothing but notes no more. */
static bool seen_before(struct vd_sim *sim, struct vd_span body)
{
    uint64_t hash = vd_hash64(7, body) | 1;

    for (size_t i = 0; i < 64; i++) {
        uint64_t *slot = &sim->seen[(hash + i) & (SEEN_SLOTS - 1)];

        if (*slot == hash)
            return true;
        if (*slot == 0) {
            *slot = hash;
            return false;
        }
    }
    return false;
}

static void count_marker(struct vd_sim *sim, struct vd_span marker)
{
    char name[160];
    cJSON *node;

    if (marker.len == 0 || marker.len >= sizeof(name))
        return;
    memcpy(name, marker.ptr, marker.len);
    name[marker.len] = '\0';
    node = cJSON_GetObjectItemCaseSensitive(sim->markers, name);
    if (node != NULL)
        (void)cJSON_SetNumberHelper(node, node->valuedouble + 1);
    else if (sim->marker_count++ < MARKER_MAX)
        (void)vd_json_put(sim->markers, name, vd_json_new_int(1));
}

enum vd_code vd_sim_stats(struct vd_sim *sim, struct vd_buf *out)
{
    const struct {
        const char *name;
        const uint64_t *value;
    } rows[] = {
        {"requests", &sim->requests},   {"openai", &sim->openai},
        {"anthropic", &sim->anthropic}, {"repeated", &sim->repeated},
        {"answered", &sim->answered},   {"resets", &sim->resets},
        {"hangs", &sim->hangs},         {"truncated", &sim->truncated},
        {"waiting", &sim->waiting},     {"most_waiting", &sim->most_waiting},
        {"bytes_in", &sim->bytes_in},
    };
    bool first = true;

    (void)pthread_mutex_lock(&sim->lock);
    (void)vd_buf_add_char(out, '{');
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        (void)vd_buf_addf(out, "\"%s\":%llu,", rows[i].name, (unsigned long long)*rows[i].value);
    (void)vd_buf_add_c(out, "\"statuses\":{");
    for (size_t i = 0; i < 600; i++)
        if (sim->statuses[i] > 0) {
            (void)vd_buf_addf(out, "%s\"%zu\":%llu", first ? "" : ",", i,
                              (unsigned long long)sim->statuses[i]);
            first = false;
        }
    (void)vd_buf_add_c(out, "},\"markers\":");
    (void)vd_json_write(out, sim->markers);
    (void)vd_buf_add_char(out, '}');
    (void)pthread_mutex_unlock(&sim->lock);
    return out->failed;
}

/* -- requests ------------------------------------------------------------------------------------------------------------------ */

static ssize_t half_body(void *arg, uint64_t at, char *out, size_t max)
{
    const struct exchange *x = arg;
    size_t half = x->answer.len / 2;
    size_t n = at < half ? half - (size_t)at : 0;

    if (n == 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    n = n < max ? n : max;
    memcpy(out, x->answer.ptr + at, n);
    return (ssize_t)n;
}

static struct MHD_Response *make_response(struct exchange *x, const cJSON *headers)
{
    struct MHD_Response *response;
    const cJSON *header;

    if (x->fate == FATE_TRUNCATE)
        response = MHD_create_response_from_callback(x->answer.len, 4096, half_body, x, NULL);
    else
        response = MHD_create_response_from_buffer(x->answer.len,
                                                   x->answer.len > 0 ? x->answer.ptr : (char[]){""},
                                                   MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return NULL;
    (void)MHD_add_response_header(response, "content-type", "application/json");
    (void)MHD_add_response_header(response, "x-request-id", "sim");
    if (headers != NULL) {
        cJSON_ArrayForEach(header, headers)
        {
            if (vd_json_kind(header) == VD_JSON_STRING && header->string != NULL)
                (void)MHD_add_response_header(response, header->string, header->valuestring);
        }
    }
    return response;
}

/* Make the answer of a model request; how late it is comes back, in microseconds. */
static int64_t answer_model(struct vd_sim *sim, struct exchange *x, bool anthropic)
{
    struct vd_sim_request r;
    const cJSON *scripted, *headers = NULL;
    cJSON *body = NULL;
    int64_t late;

    if (vd_json_parse(vd_buf_span(&x->body), &body, NULL) != VD_OK || !cJSON_IsObject(body) ||
        !cJSON_IsArray(vd_json_get(body, "messages"))) {
        error_answer(x, anthropic, 400, VD_LIT("invalid_request"));
        x->response = make_response(x, NULL);
        (void)vd_json_free(body);
        return 0;
    }
    vd_sim_request_init(&r, body, anthropic);
    (void)pthread_mutex_lock(&sim->lock);
    sim->requests++;
    sim->openai += !anthropic;
    sim->anthropic += anthropic;
    sim->bytes_in += x->body.len;
    sim->repeated += seen_before(sim, vd_buf_span(&x->body));
    count_marker(sim, vd_sim_behaviour_marker(sim->behaviour, vd_buf_span(&r.text)));
    scripted = vd_sim_behaviour_answer(sim->behaviour, vd_buf_span(&r.text));
    late = vd_sim_behaviour_latency_us(sim->behaviour, scripted);
    if (scripted != NULL)
        late += write_scripted(x, &r, scripted, &headers);
    else
        write_own(x, &r, vd_sim_behaviour_obeys(sim->behaviour),
                  vd_sim_behaviour_uses_tools(sim->behaviour));
    x->response = make_response(x, headers);
    (void)pthread_mutex_unlock(&sim->lock);
    vd_sim_request_fini(&r);
    (void)vd_json_free(body);
    return late;
}

static void answer_plain(struct exchange *x, unsigned status, const char *text)
{
    x->status = status;
    vd_buf_clear(&x->answer);
    (void)vd_buf_add_c(&x->answer, text);
    x->response = make_response(x, NULL);
}

static void answer_control(struct vd_sim *sim, struct exchange *x)
{
    cJSON *change = NULL;
    struct vd_err err = {0};

    if (vd_json_parse(vd_buf_span(&x->body), &change, &err) != VD_OK ||
        vd_sim_control(sim, change, &err) != VD_OK) {
        x->status = 400;
        (void)vd_buf_add_c(&x->answer, "{\"error\":");
        (void)vd_buf_add_json_string(&x->answer, vd_span_of(err.msg));
        (void)vd_buf_add_char(&x->answer, '}');
        x->response = make_response(x, NULL);
    } else {
        answer_plain(x, 200, "{\"ok\":true}");
    }
    (void)vd_json_free(change);
}

static int64_t route(struct vd_sim *sim, struct exchange *x, const char *method, const char *url)
{
    bool post = strcmp(method, "POST") == 0;

    if (strncmp(url, "/v1/", 4) == 0)
        url += 3;
    if (post && strcmp(url, "/chat/completions") == 0)
        return answer_model(sim, x, false);
    if (post && strcmp(url, "/messages") == 0)
        return answer_model(sim, x, true);
    if (post && strcmp(url, "/control") == 0) {
        answer_control(sim, x);
    } else if (!post && strcmp(url, "/stats") == 0) {
        x->status = vd_sim_stats(sim, &x->answer) == VD_OK ? 200 : 500;
        x->response = make_response(x, NULL);
    } else if (!post && strcmp(url, "/models") == 0) {
        answer_plain(
            x, 200, "{\"object\":\"list\",\"data\":[{\"id\":\"simulated\",\"object\":\"model\"}]}");
    } else {
        answer_plain(x, 404,
                     "{\"error\":{\"type\":\"not_found_error\",\"code\":\"not_found\",\"message\":"
                     "\"POST /v1/chat/completions, "
                     "POST /v1/messages, GET /stats, POST /control\"}}");
    }
    return 0;
}

static enum MHD_Result reset_connection(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    if (info != NULL)
        (void)setsockopt(info->connect_fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    return MHD_NO;
}

static enum MHD_Result send_answer(struct exchange *x)
{
    (void)pthread_mutex_lock(&x->sim->lock);
    x->sim->answered++;
    x->sim->statuses[x->fate == FATE_RESET || x->status > 599 ? 0 : x->status]++;
    (void)pthread_mutex_unlock(&x->sim->lock);
    if (x->fate == FATE_RESET || x->response == NULL)
        return reset_connection(x->connection);
    return MHD_queue_response(x->connection, x->status, x->response);
}

/* Suspend until due_us; false when it must be sent now. */
static bool wait_for(struct vd_sim *sim, struct exchange *x, int64_t late_us)
{
    bool waits = false;

    if (late_us <= 0)
        return false;
    (void)pthread_mutex_lock(&sim->lock);
    x->due_us = vd_mono_us() + late_us;
    if (!sim->stopping && heap_add(sim, x)) {
        waits = true;
        MHD_suspend_connection(x->connection);
        if (++sim->waiting > sim->most_waiting)
            sim->most_waiting = sim->waiting;
        if (x->heap_at == 1)
            (void)pthread_cond_signal(&sim->due);
    }
    (void)pthread_mutex_unlock(&sim->lock);
    return waits;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
    struct vd_sim *sim = arg;
    struct exchange *x = *state;

    (void)version;
    if (x == NULL) {
        x = vd_alloc(sizeof(*x));
        if (x == NULL)
            return MHD_NO;
        x->sim = sim;
        x->connection = connection;
        vd_buf_init(&x->body, BODY_MAX);
        vd_buf_init(&x->answer, ANSWER_MAX + BODY_MAX);
        *state = x;
        return MHD_YES;
    }
    if (*size > 0) {
        if (vd_buf_add(&x->body, (struct vd_span){data, *size}) != VD_OK)
            return MHD_NO;
        *size = 0;
        return MHD_YES;
    }
    if (!x->ready) {
        x->ready = true;
        if (wait_for(sim, x, route(sim, x, method, url)))
            return MHD_YES;
    }
    return send_answer(x);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why)
{
    struct vd_sim *sim = arg;
    struct exchange *x = *state;

    (void)connection;
    (void)why;
    if (x == NULL)
        return;
    (void)pthread_mutex_lock(&sim->lock);
    if (x->heap_at != 0) {
        heap_remove(sim, x);
        sim->waiting--;
    }
    (void)pthread_mutex_unlock(&sim->lock);
    if (x->response != NULL)
        MHD_destroy_response(x->response);
    vd_buf_free(&x->body);
    vd_buf_free(&x->answer);
    (void)vd_free(x);
    *state = NULL;
}

/* -- life ---------------------------------------------------------------------------------------------------------------------- */

static enum vd_code start_daemon(struct vd_sim *sim, const char *host, uint16_t port,
                                 struct vd_err *err)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    const union MHD_DaemonInfo *info;

    if (inet_pton(AF_INET, host, &at.sin_addr) != 1)
        return vd_err_set(err, VD_E_CONFIG, false, "\"%.40s\" is no IPv4 address to listen on",
                          host);
    sim->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, port, NULL, NULL,
        on_request, sim, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&at, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, sim, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTION_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
        MHD_OPTION_LISTEN_BACKLOG_SIZE, (unsigned)BACKLOG, MHD_OPTION_END);
    if (sim->daemon == NULL)
        return vd_err_set(err, VD_E_REMOTE, true, "cannot listen on %s:%u", host, port);
    info = MHD_get_daemon_info(sim->daemon, MHD_DAEMON_INFO_BIND_PORT);
    (void)snprintf(sim->url, sizeof(sim->url), "http://%s:%u", host,
                   info != NULL ? info->port : port);
    return VD_OK;
}

static enum vd_code init_lock(struct vd_sim *sim)
{
    pthread_condattr_t attr;

    if (pthread_condattr_init(&attr) != 0)
        return VD_E_NOMEM;
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&sim->lock, NULL);
    (void)pthread_cond_init(&sim->due, &attr);
    (void)pthread_condattr_destroy(&attr);
    return VD_OK;
}

enum vd_code vd_sim_start(const char *host, uint16_t port, const cJSON *behaviour,
                          struct vd_sim **ret_sim, struct vd_err *err)
{
    struct vd_sim *sim = vd_alloc(sizeof(*sim));
    enum vd_code rc = VD_OK;

    if (sim == NULL || init_lock(sim) != VD_OK) {
        (void)vd_free(sim);
        return vd_err_nomem(err, "model simulator");
    }
    sim->behaviour = vd_sim_behaviour_new();
    sim->markers = cJSON_CreateObject();
    sim->seen = vd_alloc_array(SEEN_SLOTS, sizeof(*sim->seen));
    if (sim->behaviour == NULL || sim->markers == NULL || sim->seen == NULL)
        rc = vd_err_nomem(err, "model simulator");
    if (rc == VD_OK && behaviour != NULL)
        rc = vd_sim_behaviour_change(sim->behaviour, behaviour, err);
    if (rc == VD_OK)
        rc = start_daemon(sim, host, port, err);
    if (rc == VD_OK && pthread_create(&sim->waker, NULL, wake, sim) != 0)
        rc = vd_err_nomem(err, "thread");
    else if (rc == VD_OK)
        sim->waker_runs = true;
    if (rc != VD_OK) {
        (void)vd_sim_stop(sim);
        return rc;
    }
    *ret_sim = sim;
    return VD_OK;
}

void *vd_sim_stop(struct vd_sim *sim)
{
    if (sim == NULL)
        return NULL;
    (void)pthread_mutex_lock(&sim->lock);
    sim->stopping = true;
    (void)pthread_cond_signal(&sim->due);
    (void)pthread_mutex_unlock(&sim->lock);
    if (sim->waker_runs)
        (void)pthread_join(sim->waker, NULL);
    (void)pthread_mutex_lock(&sim->lock);
    while (sim->heap_len > 0) { /* libmicrohttpd does not stop with suspended connections */
        struct exchange *x = sim->heap[0];

        heap_remove(sim, x);
        sim->waiting--;
        x->fate = FATE_RESET;
        MHD_resume_connection(x->connection);
    }
    (void)pthread_mutex_unlock(&sim->lock);
    if (sim->daemon != NULL)
        MHD_stop_daemon(sim->daemon);
    (void)vd_sim_behaviour_free(sim->behaviour);
    (void)vd_json_free(sim->markers);
    (void)vd_free(sim->seen);
    (void)vd_free(sim->heap);
    (void)pthread_cond_destroy(&sim->due);
    (void)pthread_mutex_destroy(&sim->lock);
    return vd_free(sim);
}

const char *vd_sim_url(const struct vd_sim *sim)
{
    return sim->url;
}

enum vd_code vd_sim_control(struct vd_sim *sim, const cJSON *change, struct vd_err *err)
{
    enum vd_code rc;

    (void)pthread_mutex_lock(&sim->lock);
    rc = vd_sim_behaviour_change(sim->behaviour, change, err);
    (void)pthread_mutex_unlock(&sim->lock);
    return rc;
}
