/* model/anthropic.c - Anthropic's messages API; the proposal is a tool call, unless the entry says schema = none.
 *
 * Source:   Messages API 2023-06-01.
 * Quirks:   input_tokens leaves cached tokens out; results of tools are user content, several in one message; tool schemas take no
 *           minimum, maximum, minLength or pattern, so the reduced form is sent and the judge checks the full one;
 *           messages that refer to a tool are refused where no tool is listed.
 */
#include <string.h>

#include "base/limits.h"
#include "model/ops.h"
#include "model/wire.h"

static bool as_tool(const struct vd_model_conf *conf, const struct vd_model_request *request)
{
    return request->schema != NULL && conf->schema_mode != VD_MODEL_SCHEMA_NONE &&
           conf->schema_mode != VD_MODEL_SCHEMA_OBJECT;
}

/* -- request ------------------------------------------------------------------------------------------------------------ */

static void add_tool(struct vd_buf *out, struct vd_span name, struct vd_span description,
                     struct vd_span schema, bool strict)
{
    (void)vd_buf_add_c(out, "{\"name\":");
    (void)vd_buf_add_json_string(out, name);
    (void)vd_buf_add_c(out, ",\"description\":");
    (void)vd_buf_add_json_string(out, description);
    if (strict)
        (void)vd_buf_add_c(out, ",\"strict\":true");
    (void)vd_buf_add_c(out, ",\"input_schema\":");
    (void)vd_buf_add(out, schema);
    (void)vd_buf_add_char(out, '}');
}

static void add_tools(struct vd_buf *out, const struct vd_model_conf *conf,
                      const struct vd_model_request *request)
{
    bool propose = as_tool(conf, request);
    size_t count = request->tools_closed && propose ? 0 : request->tool_count;
    const char *choice = propose ? "any" : request->tools_closed ? "none" : "auto";

    if (count == 0 && !propose)
        return;
    (void)vd_buf_add_c(out, ",\"tools\":[");
    for (size_t i = 0; i < count; i++) {
        const struct vd_model_tool *tool = &request->tools[i];

        if (i > 0)
            (void)vd_buf_add_char(out, ',');
        add_tool(out, tool->name, tool->description,
                 tool->reduced.len > 0 ? tool->reduced : tool->schema, false);
    }
    if (propose) {
        if (count > 0)
            (void)vd_buf_add_char(out, ',');
        add_tool(out, request->schema->name, VD_LIT("Propose the decision."),
                 vd_model_schema_text(conf, request, true),
                 conf->schema_mode == VD_MODEL_SCHEMA_STRICT);
    }
    (void)vd_buf_addf(out, "],\"tool_choice\":{\"type\":\"%s\"%s}", choice,
                      choice[0] == 'n' ? "" : ",\"disable_parallel_tool_use\":true");
}

static void add_tool_result(struct vd_buf *out, const struct vd_model_message *m)
{
    (void)vd_buf_add_c(out, "{\"type\":\"tool_result\",\"tool_use_id\":");
    (void)vd_buf_add_json_string(out, m->tool_call_id);
    if (m->failed)
        (void)vd_buf_add_c(out, ",\"is_error\":true");
    (void)vd_buf_add_c(out, ",\"content\":");
    (void)vd_buf_add_json_string(out, m->text);
    (void)vd_buf_add_char(out, '}');
}

static void add_assistant(struct vd_buf *out, const struct vd_model_message *m)
{
    bool first = true;

    if (m->text.len > 0) {
        (void)vd_buf_add_c(out, "{\"type\":\"text\",\"text\":");
        (void)vd_buf_add_json_string(out, m->text);
        (void)vd_buf_add_char(out, '}');
        first = false;
    }
    for (size_t i = 0; i < m->tool_call_count; i++) {
        const struct vd_model_tool_call *c = &m->tool_calls[i];
        struct vd_span input = vd_span_trim(c->arguments);

        (void)vd_buf_add_c(out, first ? "{\"type\":\"tool_use\",\"id\":"
                                      : ",{\"type\":\"tool_use\",\"id\":");
        (void)vd_buf_add_json_string(out, c->id);
        (void)vd_buf_add_c(out, ",\"name\":");
        (void)vd_buf_add_json_string(out, c->name);
        (void)vd_buf_add_c(out, ",\"input\":");
        /* The API takes an object only; what was none is shown as empty, and its result says what was wrong. */
        (void)vd_buf_add(out,
                         vd_span_starts(input, VD_LIT("{")) && vd_json_check(input, NULL) == VD_OK
                             ? input
                             : VD_LIT("{}"));
        (void)vd_buf_add_char(out, '}');
        first = false;
    }
}

/* Returns how many messages went into one of the API's. */
static size_t add_message(struct vd_buf *out, const struct vd_model_message *m, size_t left)
{
    size_t n = 1;

    (void)vd_buf_addf(out, "{\"role\":\"%s\",\"content\":[",
                      m->role == VD_MODEL_ASSISTANT ? "assistant" : "user");
    if (m->role == VD_MODEL_ASSISTANT) {
        add_assistant(out, m);
    } else if (m->role == VD_MODEL_USER) {
        (void)vd_buf_add_c(out, "{\"type\":\"text\",\"text\":");
        (void)vd_buf_add_json_string(out, m->text);
        (void)vd_buf_add_char(out, '}');
    } else {
        add_tool_result(out, m);
        for (; n < left && m[n].role == VD_MODEL_TOOL; n++) {
            (void)vd_buf_add_char(out, ',');
            add_tool_result(out, &m[n]);
        }
    }
    (void)vd_buf_add_c(out, "]}");
    return n;
}

static enum vd_code encode(const struct vd_model_conf *conf, const struct vd_model_request *request,
                           struct vd_buf *out, struct vd_err *err)
{
    if ((request->tool_count > 0 || as_tool(conf, request)) && conf->no_tools)
        return vd_err_set(err, VD_E_CONFIG, false, "model %s has no tools", conf->name);
    (void)vd_buf_reserve(out, vd_model_request_bytes(request));
    (void)vd_buf_add_c(out, "{\"model\":");
    (void)vd_buf_add_json_string(out, vd_span_of(conf->model));
    add_tools(out, conf, request);
    (void)vd_buf_addf(out, ",\"max_tokens\":%u", request->max_output_tokens);
    if (request->temperature >= 0 && !conf->no_temperature)
        (void)vd_buf_addf(out, ",\"temperature\":%.3g", request->temperature);
    (void)vd_buf_add_c(out, ",\"system\":");
    vd_model_add_system(out, conf, request);
    (void)vd_buf_add_c(out, ",\"messages\":[");
    for (size_t i = 0; i < request->message_count;) {
        if (i > 0)
            (void)vd_buf_add_char(out, ',');
        i += add_message(out, &request->messages[i], request->message_count - i);
    }
    (void)vd_buf_add_char(out, ']');
    if (request->user_hash.len > 0) {
        (void)vd_buf_add_c(out, ",\"metadata\":{\"user_id\":");
        (void)vd_buf_add_json_string(out, request->user_hash);
        (void)vd_buf_add_char(out, '}');
    }
    (void)vd_buf_add_char(out, '}');
    return VD_OK;
}

/* -- response ----------------------------------------------------------------------------------------------------------- */

static void read_usage(const cJSON *body, struct vd_model_result *result)
{
    const cJSON *usage = vd_json_get(body, "usage");
    uint64_t read = vd_model_count(usage, "cache_read_input_tokens");

    result->usage_known = usage != NULL && vd_json_kind(usage) == VD_JSON_OBJECT;
    result->usage.cached_tokens = read;
    result->usage.input_tokens = vd_model_count(usage, "input_tokens") + read +
                                 vd_model_count(usage, "cache_creation_input_tokens");
    result->usage.output_tokens = vd_model_count(usage, "output_tokens");
}

/* Arguments are written back as text: the interface's tool calls carry text. It hangs on the node, which lives as long. */
static bool add_input_text(cJSON *block, struct vd_span *ret)
{
    struct vd_buf text;
    const cJSON *input = vd_json_get(block, "input");
    cJSON *node;
    bool ok;

    vd_buf_init(&text, VD_MODEL_RESPONSE_MAX_BYTES);
    if (input == NULL || vd_json_kind(input) != VD_JSON_OBJECT ||
        vd_json_write(&text, input) != VD_OK) {
        vd_buf_free(&text);
        return false;
    }
    node = vd_json_new_string(vd_buf_span(&text));
    vd_buf_free(&text);
    ok = vd_json_put(block, "input as text", node);
    if (ok)
        *ret = vd_json_string(node);
    return ok;
}

static void read_block(const struct vd_model_conf *conf, const struct vd_model_request *request,
                       cJSON *block, struct vd_model_tool_call *calls,
                       struct vd_model_result *result)
{
    struct vd_span type = vd_json_get_string(block, "type");
    struct vd_model_tool_call call;

    if (vd_span_eq_c(type, "text") && result->raw.len == 0)
        result->raw = vd_json_get_string(block, "text");
    if (!vd_span_eq_c(type, "tool_use"))
        return; /* thinking blocks and what comes later */
    call.id = vd_json_get_string(block, "id");
    call.name = vd_json_get_string(block, "name");
    if (call.name.len == 0 || result->tool_call_count == VD_MODEL_MAX_TOOL_CALLS ||
        !add_input_text(block, &call.arguments)) {
        vd_model_fail(result, VD_MODEL_MALFORMED, "tool calls without name or input, or too many");
        return;
    }
    if (as_tool(conf, request) && vd_span_eq(call.name, request->schema->name))
        result->raw = result->answer = call.arguments;
    else
        calls[result->tool_call_count++] = call;
}

static enum vd_model_outcome stop_outcome(struct vd_span reason)
{
    static const struct {
        const char *reason;
        enum vd_model_outcome outcome;
    } rows[] = {
        {"end_turn", VD_MODEL_OK},      {"tool_use", VD_MODEL_OK},
        {"stop_sequence", VD_MODEL_OK}, {"max_tokens", VD_MODEL_LENGTH},
        {"refusal", VD_MODEL_REFUSED},  {"model_context_window_exceeded", VD_MODEL_TOO_LARGE},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (vd_span_eq_c(reason, rows[i].reason))
            return rows[i].outcome;
    return VD_MODEL_MALFORMED; /* pause_turn among them: server tools are never asked for */
}

static void decode(const struct vd_model_conf *conf, const struct vd_model_request *request,
                   const cJSON *body, struct vd_model_tool_call *calls,
                   struct vd_model_result *result)
{
    const cJSON *content = vd_json_get(body, "content");
    enum vd_model_outcome outcome;

    read_usage(body, result);
    result->model = vd_json_get_string(body, "model");
    result->finish_reason = vd_json_get_string(body, "stop_reason");
    if (content == NULL || vd_json_kind(content) != VD_JSON_ARRAY) {
        vd_model_fail(result, VD_MODEL_MALFORMED, "no content");
        return;
    }
    outcome = stop_outcome(result->finish_reason);
    if (outcome != VD_MODEL_OK) {
        vd_model_fail(result, outcome,
                      outcome == VD_MODEL_MALFORMED ? "an unknown stop_reason"
                                                    : vd_model_outcome_name(outcome));
        return;
    }
    for (cJSON *block = content->child; block != NULL && result->outcome == VD_MODEL_OK;
         block = block->next)
        read_block(conf, request, block, calls, result);
    if (result->outcome != VD_MODEL_OK)
        return;
    if (result->answer.len > 0)
        result->tool_call_count = 0; /* a proposal ends the turn, whatever else was called */
    result->tool_calls = result->tool_call_count > 0 ? calls : NULL;
    if (result->tool_call_count == 0 && vd_span_trim(result->raw).len == 0)
        vd_model_fail(result, VD_MODEL_MALFORMED, "an empty answer");
}

const struct vd_model_codec vd_model_anthropic_codec = {
    .path = "/messages",
    .key_header = "x-api-key",
    .key_prefix = "",
    .extra_header = "anthropic-version",
    .extra_value = "2023-06-01",
    .encode = encode,
    .decode = decode,
};

static enum vd_code create(struct vd_loop *loop, const struct vd_model_conf *conf,
                           void **ret_instance, struct vd_err *err)
{
    return vd_model_wire_create(loop, conf, &vd_model_anthropic_codec, ret_instance, err);
}

const struct vd_model_ops vd_model_anthropic = {
    .name = "anthropic",
    .create = create,
    .encode = vd_model_wire_encode,
    .submit = vd_model_wire_submit,
    .cancel = vd_model_wire_cancel,
    .destroy = vd_model_wire_destroy,
};
