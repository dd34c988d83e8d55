/* pipeline/tools.c - see tools.h. */
#include "pipeline/tools.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "json/utf8.h"
#include "loop/loop.h"
#include "pipeline/lookup.h"
#include "pipeline/tool_hosts.h"

struct call {
    struct vd_tools_batch *batch;
    const struct vd_tool_request *request;
    int64_t started_ms;
    struct vd_lookup *lookup;
    struct vd_http_call *http;
    cJSON *value;
    char failed[80]; /* "": answered */
    bool kept;       /* in an earlier run */
    int64_t ms;
};

struct vd_tools_batch {
    struct vd_tools_services s;
    struct call calls[VD_TOOL_MAX_TURN];
    size_t count;
    size_t open;           /* calls not ended, and one while they are being started */
    struct vd_timer *soon; /* for done, where every call has failed at once */
    vd_tools_fn *done;
    void *arg;
};

/* -- ending ------------------------------------------------------------------------------------------------------------ */

static void finish(void *arg)
{
    struct vd_tools_batch *b = arg;
    struct vd_tool_result results[VD_TOOL_MAX_TURN];

    for (size_t i = 0; i < b->count; i++)
        results[i] = (struct vd_tool_result){
            .failed = b->calls[i].failed[0] != '\0' ? b->calls[i].failed : NULL,
            .value = b->calls[i].value,
            .ms = b->calls[i].ms,
            .from_journal = b->calls[i].kept};
    b->done(b->arg, results, b->count);
    for (size_t i = 0; i < b->count; i++)
        (void)vd_json_free(b->calls[i].value);
    (void)vd_timer_free(b->soon);
    (void)vd_free(b);
}

/* why NULL: answered. */
static void end(struct call *c, const char *why)
{
    struct vd_tools_batch *b = c->batch;

    if (why != NULL)
        (void)snprintf(c->failed, sizeof(c->failed), "%s", why);
    c->lookup = NULL;
    c->http = NULL;
    c->ms = vd_mono_ms() - c->started_ms;
    vd_metric_add(b->s.metrics, VD_M_TOOL_CALLS, b->s.policy_id,
                  c->failed[0] != '\0' ? "failed" : "answered", 1);
    vd_metric_add(b->s.metrics, VD_M_WAIT, "tools", "", (uint64_t)c->ms);
    if (--b->open == 0)
        finish(b);
}

/* -- Redis ------------------------------------------------------------------------------------------------------------- */

static void on_values(void *arg, struct vd_lookup_result *result)
{
    struct call *c = arg;

    switch (result->err.code) {
    case VD_OK:
        c->value = result->values[0];
        result->values[0] = NULL;
        end(c, NULL);
        break;
    case VD_E_TIMEOUT:
        end(c, "it took too long");
        break;
    case VD_E_REMOTE:
        end(c, "Redis cannot be reached");
        break;
    case VD_E_LIMIT:
        end(c, "the answer is too large");
        break;
    default:
        end(c, "what is stored there is not what the tool reads");
        break;
    }
}

static const char *begin_redis(struct call *c, uint32_t timeout_ms)
{
    const struct vd_tool_request *r = c->request;
    struct vd_read read = {
        .argv = r->target.argv, .argc = r->target.argc, .max_bytes = r->tool->max_bytes};
    struct vd_err err;

    if (c->batch->s.redis == NULL)
        return "there is no Redis";
    if (vd_lookup_start(c->batch->s.redis, &read, 1, timeout_ms, on_values, c, &c->lookup, &err) !=
        VD_OK)
        return "Redis cannot be reached";
    return NULL;
}

/* -- HTTP -------------------------------------------------------------------------------------------------------------- */

static bool is_json(struct vd_span type)
{
    size_t end = vd_span_find(type, ';');
    struct vd_span media = vd_span_trim(vd_span_sub(type, 0, end));

    return vd_span_eq_nocase(media, VD_LIT("application/json")) ||
           (media.len > 5 &&
            vd_span_eq_nocase(vd_span_sub(media, media.len - 5, 5), VD_LIT("+json")));
}

/* Why the body is no answer; NULL: *ret is it. */
static const char *read_body(const struct vd_http_response *response, cJSON **ret)
{
    struct vd_span type = response->headers[VD_HTTP_CONTENT_TYPE];

    if (response->status == 204 || response->body.len == 0)
        return NULL; /* nothing is there */
    if (is_json(type))
        return vd_json_parse(response->body, ret, NULL) == VD_OK ? NULL
                                                                 : "the answer is no valid JSON";
    if (!vd_span_starts_nocase(type, VD_LIT("text/")))
        return "the answer is neither JSON nor text";
    if (!vd_utf8_valid(response->body))
        return "the answer is no UTF-8 text";
    *ret = vd_json_new_string(response->body);
    return *ret != NULL ? NULL : "memory is short";
}

static void on_response(void *arg, const struct vd_http_response *response)
{
    struct call *c = arg;
    char text[80];

    if (response->canceled)
        end(c, "canceled");
    else if (response->refused)
        end(c, "its address is not allowed");
    else if (response->err.code == VD_E_TIMEOUT)
        end(c, "it took too long");
    else if (response->err.code == VD_E_LIMIT)
        end(c, "the answer is too large");
    else if (response->err.code != VD_OK)
        end(c, "it cannot be reached");
    else if (response->status >= 300 && response->status < 400)
        end(c, "it points to another place, which is not followed");
    else if (response->status < 200 || response->status >= 300) {
        (void)snprintf(text, sizeof(text), "it says HTTP %d", response->status);
        end(c, text);
    } else {
        end(c, read_body(response, &c->value));
    }
}

static const char *begin_http(struct call *c, uint32_t timeout_ms)
{
    const struct vd_tool_request *r = c->request;
    struct vd_err err;
    enum vd_code rc = vd_tool_hosts_get(c->batch->s.hosts, r->tool, r->target.url, timeout_ms,
                                        on_response, c, &c->http, &err);

    if (rc == VD_OK)
        return NULL;
    return rc == VD_E_CONFIG ? "its host is not set up" : "it cannot be reached";
}

/* -- the journal ------------------------------------------------------------------------------------------------------- */

cJSON *vd_tools_keep(const struct vd_tool_result *result)
{
    cJSON *o = cJSON_CreateObject();
    bool ok =
        result->failed != NULL
            ? vd_json_put(o, "failed", vd_json_new_string(vd_span_of(result->failed)))
            : vd_json_put(o, "value",
                          result->value != NULL ? vd_json_copy(result->value) : cJSON_CreateNull());

    ok = ok && vd_json_put(o, "ms", vd_json_new_int(result->ms));
    return ok ? o : vd_json_free(o);
}

/* False: it is not what vd_tools_keep() makes. */
static bool take_kept(struct call *c, const cJSON *kept)
{
    const cJSON *value = vd_json_get(kept, "value");
    struct vd_span failed = vd_json_get_string(kept, "failed");

    if (!vd_json_int(vd_json_get(kept, "ms"), &c->ms) || (value == NULL) == (failed.len == 0) ||
        failed.len >= sizeof(c->failed))
        return false;
    if (value != NULL && vd_json_kind(value) != VD_JSON_NULL) {
        c->value = vd_json_copy(value);
        if (c->value == NULL)
            return false;
    }
    memcpy(c->failed, failed.ptr != NULL ? failed.ptr : "", failed.len);
    c->kept = true;
    c->batch->open--;
    return true;
}

/* -- a batch ----------------------------------------------------------------------------------------------------------- */

static void begin(struct call *c, int64_t deadline_mono_ms)
{
    const struct vd_tool *tool = c->request->tool;
    int64_t left_ms = deadline_mono_ms - c->started_ms;
    uint32_t timeout_ms = tool->timeout_ms;
    const char *why = "there is no time left";

    if (left_ms < (int64_t)timeout_ms)
        timeout_ms = left_ms > 0 ? (uint32_t)left_ms : 0;
    if (timeout_ms > 0)
        why = tool->kind == VD_TOOL_REDIS ? begin_redis(c, timeout_ms) : begin_http(c, timeout_ms);
    if (why != NULL)
        end(c, why);
}

enum vd_code vd_tools_start(const struct vd_tools_services *services,
                            const struct vd_tool_request *requests, size_t count,
                            const cJSON *const *kept, int64_t deadline_mono_ms, vd_tools_fn *done,
                            void *arg, struct vd_tools_batch **ret, struct vd_err *err)
{
    struct vd_tools_batch *b = vd_alloc(sizeof(*b));

    if (b == NULL || vd_timer_new(services->loop, finish, b, &b->soon) != VD_OK) {
        (void)vd_free(b);
        return vd_err_nomem(err, "tools");
    }
    b->s = *services;
    b->done = done;
    b->arg = arg;
    b->count = count;
    b->open = count + 1;
    for (size_t i = 0; i < count; i++)
        b->calls[i] =
            (struct call){.batch = b, .request = &requests[i], .started_ms = vd_mono_ms()};
    for (size_t i = 0; i < count; i++)
        if (kept[i] == NULL || !take_kept(&b->calls[i], kept[i]))
            begin(&b->calls[i], deadline_mono_ms);
    if (--b->open == 0)
        vd_timer_start(b->soon, 0, 0);
    *ret = b;
    return VD_OK;
}

void vd_tools_cancel(struct vd_tools_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->calls[i].lookup != NULL)
            vd_lookup_cancel(batch->calls[i].lookup);
        if (batch->calls[i].http != NULL)
            vd_http_cancel(batch->calls[i].http);
    }
}
