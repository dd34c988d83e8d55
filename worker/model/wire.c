/* model/wire.c - see wire.h. One HTTP client for each model entry: its limits, TLS settings and connections are its own. */
#include "model/wire.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "loop/loop.h"
#include "model/extract.h"
#include "model/key.h"

#define CALL_MAGIC  0x4d4f444cu
#define FRAME_BYTES 256 /* around the texts of a request, or of a message; a few escapes */

struct wire {
    struct vd_loop *loop;
    struct vd_model_conf conf; /* strings are copies */
    const struct vd_model_codec *codec;
    struct vd_http *http;
    struct vd_model_key *key;
    struct vd_http_target *target; /* NULL until there is a key */
    struct vd_buf url;
};

struct wire_call {
    unsigned magic;
    struct wire *wire;
    struct vd_http_call *http_call;
    const struct vd_model_request *request;
    vd_model_done_fn *done;
    void *arg;
};

/* -- settings ---------------------------------------------------------------------------------------------------------- */

static bool copy_string(const char **field)
{
    const char *from = *field;

    *field = vd_strdup(from);
    return from == NULL || *field != NULL;
}

/* The pointers to be copied; the others of the entry are values. */
static bool copy_strings(struct vd_model_conf *c)
{
    const char **fields[] = {&c->name,    &c->provider, &c->url,   &c->model,      &c->key_file,
                             &c->key_env, &c->ca_file,  &c->proxy, &c->system_role};
    bool ok = true;

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        ok = copy_string(fields[i]) && ok;
    return ok;
}

static void free_strings(struct vd_model_conf *c)
{
    const char *fields[] = {c->name,    c->provider, c->url,   c->model,      c->key_file,
                            c->key_env, c->ca_file,  c->proxy, c->system_role};

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        (void)vd_free((void *)fields[i]);
}

enum vd_code vd_model_url(const char *base, const char *path, struct vd_buf *out)
{
    struct vd_span b = vd_span_of(base);

    while (b.len > 0 && b.ptr[b.len - 1] == '/')
        b.len--;
    (void)vd_buf_add(out, b);
    /* "https://host" and "https://host/v1" mean the same; a gateway's own path ("/openai/v1", "/api/v3") stays. */
    if (b.len < 3 || !vd_span_eq(vd_span_sub(b, b.len - 3, 3), VD_LIT("/v1"))) {
        size_t scheme = vd_span_find(b, ':');
        struct vd_span rest = vd_span_sub(b, scheme + 3, b.len);

        if (vd_span_find(rest, '/') == rest.len)
            (void)vd_buf_add_c(out, "/v1");
    }
    return vd_buf_add_c(out, path);
}

enum vd_code vd_model_wire_create(struct vd_loop *loop, const struct vd_model_conf *conf,
                                  const struct vd_model_codec *codec, void **ret_instance,
                                  struct vd_err *err)
{
    struct wire *wire = vd_alloc(sizeof(*wire));
    struct vd_http_conf http = {0};
    enum vd_code rc;

    if (wire == NULL)
        return vd_err_nomem(err, "model");
    wire->loop = loop;
    wire->codec = codec;
    wire->conf = *conf;
    vd_buf_init(&wire->url, VD_HTTP_URL_MAX_BYTES);
    rc = copy_strings(&wire->conf) ? VD_OK : vd_err_nomem(err, "model");
    if (rc == VD_OK && (conf->url == NULL || conf->model == NULL))
        rc =
            vd_err_set(err, VD_E_CONFIG, false, "model %s: url and model are required", conf->name);
    if (rc == VD_OK && vd_model_url(conf->url, codec->path, &wire->url) != VD_OK)
        rc = vd_err_set(err, VD_E_CONFIG, false, "model %s: the url is too long", conf->name);
    http.ca_file = wire->conf.ca_file;
    http.proxy = wire->conf.proxy;
    http.http2 = conf->http2;
    http.connect_timeout_ms = conf->connect_timeout_ms;
    /* An answer that is not streamed may be silent to its end: timeout_ms bounds it, and silence earlier does not. */
    if (conf->timeout_ms > 0)
        http.low_speed_s = conf->timeout_ms / 1000 + 1;
    if (rc == VD_OK)
        rc = vd_http_new(loop, &http, &wire->http, err);
    if (rc == VD_OK)
        rc = vd_model_key_new(conf->key_file, conf->key_env, &wire->key, err);
    if (rc == VD_OK) { /* a URL that cannot work is said at start, not at the first event */
        struct vd_http_target *probe = NULL;

        rc = vd_http_target_new(wire->http, vd_buf_span(&wire->url), NULL, 0, &probe, err);
        if (rc != VD_OK)
            (void)vd_err_wrap(err, rc, "model %s", conf->name);
        (void)vd_http_target_free(probe);
    }
    if (rc != VD_OK) {
        vd_model_wire_destroy(wire);
        return rc;
    }
    *ret_instance = wire;
    return VD_OK;
}

void vd_model_wire_destroy(void *instance)
{
    struct wire *wire = instance;

    if (wire == NULL)
        return;
    (void)vd_http_free(wire->http); /* answers what is outstanding, which needs the rest */
    (void)vd_http_target_free(wire->target);
    (void)vd_model_key_free(wire->key);
    vd_buf_free(&wire->url);
    free_strings(&wire->conf);
    (void)vd_free(wire);
}

/* Headers with the key of now. */
static enum vd_code make_target(struct wire *wire, struct vd_err *err)
{
    const struct vd_model_codec *codec = wire->codec;
    struct vd_span key = vd_model_key_get(wire->key);
    struct vd_http_target *target = NULL;
    struct vd_http_header headers[3];
    struct vd_buf value;
    size_t n = 0;
    enum vd_code rc;

    vd_buf_init(&value, VD_MODEL_KEY_MAX_BYTES + 64);
    (void)vd_buf_add_c(&value, codec->key_prefix);
    (void)vd_buf_add(&value, key);
    headers[n++] = (struct vd_http_header){VD_LIT("content-type"), VD_LIT("application/json")};
    if (key.len > 0)
        headers[n++] = (struct vd_http_header){vd_span_of(codec->key_header), vd_buf_span(&value)};
    if (codec->extra_header != NULL)
        headers[n++] = (struct vd_http_header){vd_span_of(codec->extra_header),
                                               vd_span_of(codec->extra_value)};
    rc = value.failed != VD_OK
             ? vd_err_nomem(err, "key")
             : vd_http_target_new(wire->http, vd_buf_span(&wire->url), headers, n, &target, err);
    if (value.ptr != NULL)
        explicit_bzero(value.ptr, value.len);
    vd_buf_free(&value);
    if (rc != VD_OK)
        return rc;
    (void)vd_http_target_free(wire->target);
    wire->target = target;
    return VD_OK;
}

static enum vd_code refresh_target(struct wire *wire, struct vd_err *err)
{
    bool changed = vd_model_key_refresh(wire->key, vd_loop_now_ms(wire->loop));
    const char *missing = vd_model_key_missing(wire->key);

    if (missing != NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "model %s: %s", wire->conf.name, missing);
    if (wire->target == NULL || changed)
        return make_target(wire, err);
    return VD_OK;
}

/* -- one exchange ------------------------------------------------------------------------------------------------------ */

static void from_http_error(const struct vd_http_response *response, struct vd_model_result *result)
{
    if (response->canceled)
        result->outcome = VD_MODEL_CANCELED;
    else if (response->err.code == VD_E_TIMEOUT)
        result->outcome = VD_MODEL_TIMEOUT;
    else if (response->err.code == VD_E_LIMIT)
        result->outcome = VD_MODEL_MALFORMED;
    else
        result->outcome = response->err.retriable ? VD_MODEL_RETRY : VD_MODEL_FATAL;
    result->err = response->err;
}

static void read_retry_headers(const struct vd_http_response *response,
                               struct vd_model_result *result)
{
    struct vd_span should = response->headers[VD_HTTP_SHOULD_RETRY];

    result->should_retry = vd_span_eq_nocase(should, VD_LIT("true"));
    result->should_retry_known = result->should_retry || vd_span_eq_nocase(should, VD_LIT("false"));
    result->retry_after_ms =
        vd_model_retry_after_ms(response->headers[VD_HTTP_RETRY_AFTER_MS],
                                response->headers[VD_HTTP_RETRY_AFTER], vd_wall_ms());
}

static void on_response(void *arg, const struct vd_http_response *response)
{
    struct wire_call *call = arg;
    struct wire *wire = call->wire;
    struct vd_model_result result = {.retry_after_ms = -1};
    struct vd_model_tool_call calls[VD_MODEL_MAX_TOOL_CALLS]; /* borrowed until done returns */
    cJSON *tree = NULL;

    assert(call->magic == CALL_MAGIC);
    if (response->err.code != VD_OK)
        from_http_error(response, &result);
    else if (response->status >= 200 && response->status < 300)
        vd_model_decode(wire->codec, &wire->conf, call->request, response->body, calls, &tree,
                        &result);
    else
        vd_model_classify(response->status, response->body, &result);
    if (response->err.code == VD_OK)
        read_retry_headers(response, &result);
    result.http_status = response->status;
    result.request_id = response->headers[VD_HTTP_REQUEST_ID];
    result.sent = response->sent;
    result.total_us = response->total_us;
    call->done(call->arg, &result);
    (void)vd_json_free(tree);
    call->magic = 0;
    (void)vd_free(call);
}

enum vd_code vd_model_wire_encode(void *instance, const struct vd_model_request *request,
                                  struct vd_buf *out, struct vd_err *err)
{
    struct wire *wire = instance;
    enum vd_code rc = wire->codec->encode(&wire->conf, request, out, err);

    if (rc == VD_OK && out->failed != VD_OK)
        rc = vd_err_set(err, out->failed, false, "model %s: the request is too large",
                        wire->conf.name);
    return rc;
}

static enum vd_code body_again(void *arg, struct vd_buf *out)
{
    const struct wire_call *call = arg;

    return vd_model_wire_encode(call->wire, call->request, out, NULL);
}

enum vd_code vd_model_wire_submit(void *instance, const struct vd_model_request *request,
                                  struct vd_span body, uint32_t timeout_ms, vd_model_done_fn *done,
                                  void *arg, void **ret_call, struct vd_err *err)
{
    struct wire *wire = instance;
    struct wire_call *call;
    struct vd_http_request http = {
        .post = true, .body = body, .body_again = body_again, .timeout_ms = timeout_ms};
    enum vd_code rc = refresh_target(wire, err);

    if (rc != VD_OK)
        return rc;
    call = vd_alloc(sizeof(*call));
    if (call == NULL)
        return vd_err_nomem(err, "model call");
    call->magic = CALL_MAGIC;
    call->wire = wire;
    call->request = request;
    call->done = done;
    call->arg = arg;
    http.target = wire->target;
    http.body_max_bytes = wire->conf.response_max_bytes != 0 ? wire->conf.response_max_bytes
                                                             : VD_MODEL_RESPONSE_MAX_BYTES;
    rc = vd_http_submit(wire->http, &http, on_response, call, &call->http_call, err);
    if (rc != VD_OK) {
        (void)vd_free(call);
        return rc;
    }
    *ret_call = call;
    return VD_OK;
}

void vd_model_wire_cancel(void *instance, void *arg)
{
    struct wire_call *call = arg;

    (void)instance;
    assert(call->magic == CALL_MAGIC);
    vd_http_cancel(call->http_call);
}

/* -- codecs' helpers --------------------------------------------------------------------------------------------------- */

void vd_model_decode(const struct vd_model_codec *codec, const struct vd_model_conf *conf,
                     const struct vd_model_request *request, struct vd_span body,
                     struct vd_model_tool_call *calls, cJSON **ret_tree,
                     struct vd_model_result *result)
{
    cJSON *tree = NULL;
    struct vd_span object;

    if (vd_json_parse(body, &tree, NULL) != VD_OK || vd_json_kind(tree) != VD_JSON_OBJECT) {
        vd_model_fail(result, VD_MODEL_MALFORMED, "the response is not a JSON object");
        (void)vd_json_free(tree);
        return;
    }
    *ret_tree = tree;
    codec->decode(conf, request, tree, calls, result);
    if (result->outcome == VD_MODEL_OK && result->answer.len == 0 && result->tool_call_count == 0) {
        result->answer = vd_span_trim(result->raw);
        if (request->schema != NULL && vd_model_extract(result->answer, &object))
            result->answer = object;
    }
}

struct vd_span vd_model_schema_text(const struct vd_model_conf *conf,
                                    const struct vd_model_request *request, bool reduced)
{
    const struct vd_model_schema *s = request->schema;

    if (reduced && s->reduced.len > 0)
        return s->reduced;
    if (!reduced && conf->schema_mode == VD_MODEL_SCHEMA_STRICT && s->strict.len > 0)
        return s->strict;
    return s->full;
}

size_t vd_model_request_bytes(const struct vd_model_request *request)
{
    size_t n = FRAME_BYTES +
               (request->system_json.len > 0 ? request->system_json.len : request->system.len);

    if (request->schema != NULL)
        n += request->schema->full.len;
    for (size_t i = 0; i < request->message_count; i++)
        n += request->messages[i].text.len + FRAME_BYTES;
    for (size_t i = 0; i < request->tool_count; i++)
        n += request->tools[i].schema.len + request->tools[i].description.len;
    return n;
}

void vd_model_add_system(struct vd_buf *out, const struct vd_model_conf *conf,
                         const struct vd_model_request *request)
{
    struct vd_buf text;

    if (request->schema == NULL || (conf->schema_mode != VD_MODEL_SCHEMA_OBJECT &&
                                    conf->schema_mode != VD_MODEL_SCHEMA_NONE)) {
        if (request->system_json.len > 0)
            (void)vd_buf_add(out, request->system_json);
        else
            (void)vd_buf_add_json_string(out, request->system);
        return;
    }
    vd_buf_init(&text, VD_MODEL_REQUEST_MAX_BYTES);
    (void)vd_buf_add(&text, request->system);
    (void)vd_buf_add_c(&text, "\n\nAnswer with one JSON object and nothing else. It must be valid "
                              "against this JSON Schema:\n");
    (void)vd_buf_add(&text, request->schema->full);
    if (text.failed != VD_OK)
        out->failed = text.failed;
    else
        (void)vd_buf_add_json_string(out, vd_buf_span(&text));
    vd_buf_free(&text);
}

uint64_t vd_model_count(const cJSON *object, const char *key)
{
    const cJSON *node = vd_json_get(object, key);
    int64_t v;

    return node != NULL && vd_json_int(node, &v) && v > 0 ? (uint64_t)v : 0;
}
