/* model/provider.h - what the program asks a language model, and what comes back, whoever serves it.
 *
 * Why:      reasoning must not know providers; providers must not know retries, budgets, policies.
 * Source:   OpenAI chat completions, Anthropic messages (shared notes, "LLM APIs"); design/reasoning.md "Providers".
 * Thread:   loop thread.
 * Owns:     the caller's request is borrowed until done; a result is borrowed until done returns.
 * Shapes:   request bytes are reproducible: the same request and entry give the same bytes, with the parts that never change
 *           between events (system text, schema, tools) first.
 * Invariants:
 *   I1 each accepted request gets exactly one done callback, also on cancel and destroy.
 *   I2 done never runs inside submit or cancel; it runs on a later loop turn, or inside destroy.
 */
#ifndef VD_MODEL_PROVIDER_H
#define VD_MODEL_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "json/json.h"

struct vd_loop;

/* -- what is asked ----------------------------------------------------------------------------------------------- */

enum vd_model_role {
    VD_MODEL_USER,
    VD_MODEL_ASSISTANT, /* what the model said before: text, or tool calls */
    VD_MODEL_TOOL,      /* the result of the tool call tool_call_id */
};

struct vd_model_tool_call {
    struct vd_span id;
    struct vd_span name;
    struct vd_span arguments; /* JSON text as the model wrote it; not checked */
};

struct vd_model_message {
    enum vd_model_role role;
    struct vd_span text;
    const struct vd_model_tool_call *tool_calls; /* ASSISTANT only */
    size_t tool_call_count;
    struct vd_span tool_call_id; /* TOOL only */
    bool failed;                 /* TOOL only: text says why */
};

struct vd_model_tool {
    struct vd_span name; /* [A-Za-z0-9_-]{1,64} */
    struct vd_span description;
    struct vd_span schema;  /* JSON text of its parameters' schema, an object */
    struct vd_span reduced; /* without the keywords that Anthropic refuses; empty: use schema */
};

/* The proposal's JSON Schema as text, spliced into requests unchanged. An empty form means: use full. */
struct vd_model_schema {
    struct vd_span name;    /* [A-Za-z0-9_-]{1,64} */
    struct vd_span full;    /* what the judge checks */
    struct vd_span strict;  /* OpenAI's strict subset */
    struct vd_span reduced; /* without the keywords that Anthropic refuses */
};

struct vd_model_request {
    struct vd_span system;      /* trusted text only */
    struct vd_span system_json; /* the same as a JSON string, where it is known; else empty */
    const struct vd_model_message *messages;
    size_t message_count;
    const struct vd_model_tool *tools; /* may be empty */
    size_t tool_count;
    bool tools_closed; /* messages may refer to them, but none is to be called any more */
    const struct vd_model_schema *schema; /* NULL: free text */
    uint32_t max_output_tokens;
    double temperature; /* below 0: the model's default */
    struct vd_span
        user_hash; /* safety identifier of the end customer, at most 64 characters; empty: none */
};

/* -- what comes back --------------------------------------------------------------------------------------------- */

enum vd_model_outcome {
    VD_MODEL_OK,        /* answer or tool calls */
    VD_MODEL_RETRY,     /* overloaded, rate limited, reset, 5xx: the same call may succeed */
    VD_MODEL_TIMEOUT,   /* no whole answer in time */
    VD_MODEL_QUOTA,     /* paid quota or credit is exhausted: a person must act */
    VD_MODEL_FATAL,     /* bad request, key, model name, certificate: the same call fails again */
    VD_MODEL_TOO_LARGE, /* the request does not fit the model */
    VD_MODEL_REFUSED,   /* the model declined */
    VD_MODEL_CONTENT_FILTER, /* the provider's filter stopped it */
    VD_MODEL_LENGTH,         /* cut at max_output_tokens */
    VD_MODEL_MALFORMED,      /* 200 with a body that is not what the API says */
    VD_MODEL_UNAVAILABLE, /* nothing was sent: breakers open, no room before the deadline, no key */
    VD_MODEL_CANCELED,
};
#define VD_MODEL_OUTCOME_COUNT (VD_MODEL_CANCELED + 1)

struct vd_model_usage {
    uint64_t input_tokens; /* all of them, cached ones included, whatever the API counts */
    uint64_t cached_tokens;
    uint64_t output_tokens; /* all of them, reasoning included */
    uint64_t reasoning_tokens;
};

struct vd_model_result {
    enum vd_model_outcome outcome;
    struct vd_err err; /* VD_OK with VD_MODEL_OK; never a payload */
    struct vd_span
        raw; /* what the model wrote, unchanged: content, refusal, or the proposal tool's arguments */
    struct vd_span
        answer; /* of raw, the JSON value of the proposal where one was found, else all of raw. Not checked further */
    const struct vd_model_tool_call *tool_calls;
    size_t tool_call_count;
    struct vd_span finish_reason; /* as the API says it */
    struct vd_model_usage usage;
    bool usage_known;
    struct vd_span model;      /* as the API names it */
    struct vd_span request_id; /* for the provider's support */
    int http_status;           /* 0: no HTTP response */
    bool sent;                 /* the request may have reached the model: it may have cost money */
    bool should_retry_known;   /* the provider said whether to retry, */
    bool should_retry;         /* thus */
    int64_t retry_after_ms;    /* as the provider said, -1: it did not */
    int64_t total_us;
};

typedef void vd_model_done_fn(void *arg, const struct vd_model_result *result);

const char *vd_model_outcome_name(enum vd_model_outcome outcome); /* "ok", "retry", ...; static */

/* -- a model entry of the settings ------------------------------------------------------------------------------- */

enum vd_model_schema_mode {
    VD_MODEL_SCHEMA_STRICT, /* json_schema with strict: the provider decodes by it */
    VD_MODEL_SCHEMA_LOOSE,  /* json_schema without strict */
    VD_MODEL_SCHEMA_OBJECT, /* json_object: any JSON object; the schema goes into the prompt */
    VD_MODEL_SCHEMA_TOOL,   /* the proposal is a tool call */
    VD_MODEL_SCHEMA_NONE,   /* the schema goes into the prompt, the JSON is found in the text */
};

enum vd_model_max_tokens_param { VD_MAX_COMPLETION_TOKENS, VD_MAX_TOKENS };

struct vd_model_prices { /* micro-USD for a million tokens; all 0: unknown */
    uint64_t input;
    uint64_t cached_input; /* 0: as input */
    uint64_t output;
};

struct vd_model_conf {
    const char *name;     /* the entry's name */
    const char *provider; /* "openai", "anthropic", "scripted" */
    const char *url;      /* with or without /v1 */
    const char *model;
    const char *key_file; /* read again when it changes */
    const char *key_env;  /* name of an environment variable; used when key_file is NULL */
    const char *ca_file;
    const char *proxy;
    enum vd_model_schema_mode schema_mode;
    enum vd_model_max_tokens_param max_tokens_param;
    const char *system_role; /* NULL: "system" */
    bool no_tools;       /* the endpoint has none: a request with tools goes to the next model */
    bool no_temperature; /* the endpoint refuses the parameter */
    bool http2;
    uint32_t timeout_ms;         /* one call at most; 0: 60000 */
    uint32_t connect_timeout_ms; /* 0: 3000 */
    size_t response_max_bytes;   /* 0: VD_MODEL_RESPONSE_MAX_BYTES */
    uint32_t max_concurrency;    /* 0: 256 */
    struct vd_model_prices prices;
    const cJSON *
        script; /* scripted: answers in order, see model/scripted.h; borrowed while the instance lives */
};

/* -- the interface ------------------------------------------------------------------------------------------------ */

struct vd_model_ops {
    const char *name;
    /* Copies conf, but for script. */
    enum vd_code (*create)(struct vd_loop *loop, const struct vd_model_conf *conf,
                           void **ret_instance, struct vd_err *err);
    /* The bytes that submit would send (for the journal's hash and the budget's measure); appended to out. */
    enum vd_code (*encode)(void *instance, const struct vd_model_request *request,
                           struct vd_buf *out, struct vd_err *err);
    /* Send body, made by encode of this request, which is borrowed until done; body until submit returns. Does no retries. */
    enum vd_code (*submit)(void *instance, const struct vd_model_request *request,
                           struct vd_span body, uint32_t timeout_ms, vd_model_done_fn *done,
                           void *arg, void **ret_call, struct vd_err *err);
    void (*cancel)(void *instance, void *call);
    void (*destroy)(void *instance);
};

/* NULL when there is no provider of that name. */
const struct vd_model_ops *vd_model_ops_find(const char *provider);
const char *vd_model_provider_names(void); /* "openai, anthropic, scripted"; static */

/* Tokens times prices, rounded up; *ret 0 when the usage is 0. False when prices are unknown. */
bool vd_model_cost_microusd(const struct vd_model_prices *prices,
                            const struct vd_model_usage *usage, uint64_t *ret);
/* A careful estimate of the tokens in so many bytes of text, for budgets before the call: bytes / 3, rounded up. */
uint64_t vd_model_estimate_tokens(size_t bytes);

#endif
