/* model/openai.c - OpenAI's chat completions, as OpenAI, vLLM, llama.cpp, Ollama and gateways serve them.
 *
 * Source:   openai/openai-openapi 2.3.0, CreateChatCompletionRequest and Response.
 * Quirks:   vLLM and llama.cpp want json_schema.schema; llama.cpp takes a named tool_choice for "auto"; Ollama ends a tool call
 *           with finish_reason "stop"; o-series models know only max_completion_tokens and no temperature.
 */
#include <string.h>

#include "base/limits.h"
#include "model/ops.h"
#include "model/wire.h"

static bool as_tool(const struct vd_model_conf *conf, const struct vd_model_request *request)
{
    return request->schema != NULL && conf->schema_mode == VD_MODEL_SCHEMA_TOOL;
}

/* -- request ------------------------------------------------------------------------------------------------------------ */

static void add_response_format(struct vd_buf *out, const struct vd_model_conf *conf,
                                const struct vd_model_request *request)
{
    bool strict = conf->schema_mode == VD_MODEL_SCHEMA_STRICT;

    if (request->schema == NULL)
        return;
    if (conf->schema_mode == VD_MODEL_SCHEMA_OBJECT) {
        (void)vd_buf_add_c(out, ",\"response_format\":{\"type\":\"json_object\"}");
    } else if (strict || conf->schema_mode == VD_MODEL_SCHEMA_LOOSE) {
        (void)vd_buf_add_c(
            out, ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":");
        (void)vd_buf_add_json_string(out, request->schema->name);
        (void)vd_buf_add_c(out, strict ? ",\"strict\":true" : ",\"strict\":false");
        (void)vd_buf_add_c(out, ",\"schema\":");
        (void)vd_buf_add(out, vd_model_schema_text(conf, request, false));
        (void)vd_buf_add_c(out, "}}");
    }
}

static void add_function(struct vd_buf *out, struct vd_span name, struct vd_span description,
                         struct vd_span schema)
{
    (void)vd_buf_add_c(out, "{\"type\":\"function\",\"function\":{\"name\":");
    (void)vd_buf_add_json_string(out, name);
    (void)vd_buf_add_c(out, ",\"description\":");
    (void)vd_buf_add_json_string(out, description);
    (void)vd_buf_add_c(out, ",\"parameters\":");
    (void)vd_buf_add(out, schema);
    (void)vd_buf_add_c(out, "}}");
}

static void add_tools(struct vd_buf *out, const struct vd_model_conf *conf,
                      const struct vd_model_request *request)
{
    bool propose = as_tool(conf, request);
    size_t count = request->tools_closed ? 0 : request->tool_count;

    if (count == 0 && !propose)
        return;
    (void)vd_buf_add_c(out, ",\"tools\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            (void)vd_buf_add_char(out, ',');
        add_function(out, request->tools[i].name, request->tools[i].description,
                     request->tools[i].schema);
    }
    if (propose) {
        if (count > 0)
            (void)vd_buf_add_char(out, ',');
        add_function(out, request->schema->name, VD_LIT("Propose the decision."),
                     vd_model_schema_text(conf, request, false));
    }
    (void)vd_buf_add_c(out, "],\"parallel_tool_calls\":false");
    if (propose)
        (void)vd_buf_add_c(out, ",\"tool_choice\":\"required\"");
}

static void add_message(struct vd_buf *out, const struct vd_model_message *m)
{
    static const char *const starts[] = {
        ",{\"role\":\"user\",\"content\":",
        ",{\"role\":\"assistant\",\"content\":",
        ",{\"role\":\"tool\",\"content\":",
    };

    (void)vd_buf_add_c(out, starts[m->role]);
    if (m->role == VD_MODEL_ASSISTANT && m->text.len == 0)
        (void)vd_buf_add_c(out, "null");
    else
        (void)vd_buf_add_json_string(out, m->text);
    if (m->role == VD_MODEL_TOOL) {
        (void)vd_buf_add_c(out, ",\"tool_call_id\":");
        (void)vd_buf_add_json_string(out, m->tool_call_id);
    }
    for (size_t i = 0; i < m->tool_call_count; i++) {
        const struct vd_model_tool_call *c = &m->tool_calls[i];

        (void)vd_buf_add_c(out, i == 0 ? ",\"tool_calls\":[{\"id\":" : ",{\"id\":");
        (void)vd_buf_add_json_string(out, c->id);
        (void)vd_buf_add_c(out, ",\"type\":\"function\",\"function\":{\"name\":");
        (void)vd_buf_add_json_string(out, c->name);
        (void)vd_buf_add_c(out, ",\"arguments\":");
        (void)vd_buf_add_json_string(out, c->arguments);
        (void)vd_buf_add_c(out, "}}");
    }
    (void)vd_buf_add_c(out, m->tool_call_count > 0 ? "]}" : "}");
}

static enum vd_code encode(const struct vd_model_conf *conf, const struct vd_model_request *request,
                           struct vd_buf *out, struct vd_err *err)
{
    if ((request->tool_count > 0 || as_tool(conf, request)) && conf->no_tools)
        return vd_err_set(err, VD_E_CONFIG, false, "model %s has no tools", conf->name);
    (void)vd_buf_reserve(out, vd_model_request_bytes(request));
    (void)vd_buf_add_c(out, "{\"model\":");
    (void)vd_buf_add_json_string(out, vd_span_of(conf->model));
    add_response_format(out, conf, request);
    add_tools(out, conf, request);
    (void)vd_buf_add_c(out, conf->max_tokens_param == VD_MAX_TOKENS
                                ? ",\"max_tokens\":"
                                : ",\"max_completion_tokens\":");
    (void)vd_buf_add_i64(out, request->max_output_tokens);
    if (request->temperature == 0 && !conf->no_temperature) /* nearly all of them */
        (void)vd_buf_add(out, VD_LIT(",\"temperature\":0"));
    else if (request->temperature > 0 && !conf->no_temperature)
        (void)vd_buf_addf(out, ",\"temperature\":%.3g", request->temperature);
    (void)vd_buf_add_c(out, ",\"messages\":[{\"role\":");
    (void)vd_buf_add_json_string(
        out, vd_span_of(conf->system_role != NULL ? conf->system_role : "system"));
    (void)vd_buf_add_c(out, ",\"content\":");
    vd_model_add_system(out, conf, request);
    (void)vd_buf_add_char(out, '}');
    for (size_t i = 0; i < request->message_count; i++)
        add_message(out, &request->messages[i]);
    (void)vd_buf_add_char(out, ']');
    if (request->user_hash.len > 0) {
        (void)vd_buf_add_c(out, ",\"safety_identifier\":");
        (void)vd_buf_add_json_string(out, request->user_hash);
    }
    (void)vd_buf_add_char(out, '}');
    return VD_OK;
}

/* -- response ----------------------------------------------------------------------------------------------------------- */

static void read_usage(const cJSON *body, struct vd_model_result *result)
{
    const cJSON *usage = vd_json_get(body, "usage");

    result->usage_known = usage != NULL && vd_json_kind(usage) == VD_JSON_OBJECT;
    result->usage.input_tokens = vd_model_count(usage, "prompt_tokens");
    result->usage.output_tokens = vd_model_count(usage, "completion_tokens");
    result->usage.cached_tokens =
        vd_model_count(vd_json_get(usage, "prompt_tokens_details"), "cached_tokens");
    result->usage.reasoning_tokens =
        vd_model_count(vd_json_get(usage, "completion_tokens_details"), "reasoning_tokens");
}

/* False after setting the failure. A call of the proposal's tool is the answer, not a tool call. */
static bool read_tool_calls(const struct vd_model_conf *conf,
                            const struct vd_model_request *request, const cJSON *message,
                            struct vd_model_tool_call *calls, struct vd_model_result *result)
{
    const cJSON *list = vd_json_get(message, "tool_calls");
    const cJSON *item;

    if (list == NULL || vd_json_kind(list) == VD_JSON_NULL)
        return true;
    if (vd_json_kind(list) != VD_JSON_ARRAY) {
        vd_model_fail(result, VD_MODEL_MALFORMED, "tool_calls is not a list");
        return false;
    }
    cJSON_ArrayForEach(item, list)
    {
        const cJSON *function = vd_json_get(item, "function");
        struct vd_model_tool_call call = {vd_json_get_string(item, "id"),
                                          vd_json_get_string(function, "name"),
                                          vd_json_get_string(function, "arguments")};

        if (call.name.len == 0 || result->tool_call_count == VD_MODEL_MAX_TOOL_CALLS) {
            vd_model_fail(result, VD_MODEL_MALFORMED, "tool calls without names, or too many");
            return false;
        }
        if (as_tool(conf, request) && vd_span_eq(call.name, request->schema->name)) {
            result->raw = result->answer = call.arguments;
            result->tool_call_count = 0;
            return true;
        }
        calls[result->tool_call_count++] = call;
    }
    result->tool_calls = result->tool_call_count > 0 ? calls : NULL;
    return true;
}

static enum vd_model_outcome finish_outcome(struct vd_span reason)
{
    static const struct {
        const char *reason;
        enum vd_model_outcome outcome;
    } rows[] = {
        {"stop", VD_MODEL_OK},
        {"tool_calls", VD_MODEL_OK},
        {"function_call", VD_MODEL_OK},
        {"length", VD_MODEL_LENGTH},
        {"content_filter", VD_MODEL_CONTENT_FILTER},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (vd_span_eq_c(reason, rows[i].reason))
            return rows[i].outcome;
    return VD_MODEL_MALFORMED;
}

static void decode(const struct vd_model_conf *conf, const struct vd_model_request *request,
                   const cJSON *body, struct vd_model_tool_call *calls,
                   struct vd_model_result *result)
{
    const cJSON *choices = vd_json_get(body, "choices");
    const cJSON *choice = cJSON_IsArray(choices) ? choices->child : NULL;
    const cJSON *message = vd_json_get(choice, "message");
    struct vd_span refusal = vd_json_get_string(message, "refusal");
    enum vd_model_outcome outcome;

    read_usage(body, result);
    result->model = vd_json_get_string(body, "model");
    result->finish_reason = vd_json_get_string(choice, "finish_reason");
    result->raw = vd_json_get_string(message, "content");
    if (message == NULL || vd_json_kind(message) != VD_JSON_OBJECT) {
        vd_model_fail(result, VD_MODEL_MALFORMED, "no choices");
        return;
    }
    outcome = finish_outcome(result->finish_reason);
    if (refusal.len > 0) {
        result->raw = refusal;
        vd_model_fail(result, VD_MODEL_REFUSED, "refused");
    } else if (outcome == VD_MODEL_MALFORMED) {
        vd_model_fail(result, outcome, "an unknown finish_reason");
    } else if (outcome != VD_MODEL_OK) {
        vd_model_fail(result, outcome, vd_model_outcome_name(outcome));
    } else if (read_tool_calls(conf, request, message, calls, result) &&
               result->tool_call_count == 0 && vd_span_trim(result->raw).len == 0) {
        vd_model_fail(result, VD_MODEL_MALFORMED, "an empty answer");
    }
}

const struct vd_model_codec vd_model_openai_codec = {
    .path = "/chat/completions",
    .key_header = "authorization",
    .key_prefix = "Bearer ",
    .encode = encode,
    .decode = decode,
};

static enum vd_code create(struct vd_loop *loop, const struct vd_model_conf *conf,
                           void **ret_instance, struct vd_err *err)
{
    return vd_model_wire_create(loop, conf, &vd_model_openai_codec, ret_instance, err);
}

const struct vd_model_ops vd_model_openai = {
    .name = "openai",
    .create = create,
    .encode = vd_model_wire_encode,
    .submit = vd_model_wire_submit,
    .cancel = vd_model_wire_cancel,
    .destroy = vd_model_wire_destroy,
};
