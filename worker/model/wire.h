/* model/wire.h - what HTTP providers share: one exchange, its key, its time, and what a failure means.
 *
 * Why:      OpenAI's and Anthropic's APIs differ in the JSON they speak (a codec) and in nothing else.
 * Source:   shared notes, "Retry semantics"; RFC 9110 section 10.2.3 (Retry-After).
 * Thread:   loop thread. The functions below the line are pure.
 */
#ifndef VD_MODEL_WIRE_H
#define VD_MODEL_WIRE_H

#include "http/client.h"
#include "model/provider.h"

/* Pure: request to JSON, JSON to result. */
struct vd_model_codec {
    const char *path;         /* under the base URL with /v1: "/chat/completions" */
    const char *key_header;   /* "authorization", */
    const char *key_prefix;   /* "Bearer " */
    const char *extra_header; /* NULL: none */
    const char *extra_value;
    enum vd_code (*encode)(const struct vd_model_conf *conf, const struct vd_model_request *request,
                           struct vd_buf *out, struct vd_err *err);
    /* A 2xx body, parsed. Fills outcome and what comes with it; spans point into body. calls has room for VD_MODEL_MAX_TOOL_CALLS. */
    void (*decode)(const struct vd_model_conf *conf, const struct vd_model_request *request,
                   const cJSON *body, struct vd_model_tool_call *calls,
                   struct vd_model_result *result);
};

/* The parts of vd_model_ops for a codec; provider files wrap them. */
enum vd_code vd_model_wire_create(struct vd_loop *loop, const struct vd_model_conf *conf,
                                  const struct vd_model_codec *codec, void **ret_instance,
                                  struct vd_err *err) VD_MUST_CHECK;
enum vd_code vd_model_wire_encode(void *instance, const struct vd_model_request *request,
                                  struct vd_buf *out, struct vd_err *err) VD_MUST_CHECK;
enum vd_code vd_model_wire_submit(void *instance, const struct vd_model_request *request,
                                  struct vd_span body, uint32_t timeout_ms, vd_model_done_fn *done,
                                  void *arg, void **ret_call, struct vd_err *err) VD_MUST_CHECK;
void vd_model_wire_cancel(void *instance, void *call);
void vd_model_wire_destroy(void *instance);

/* -- pure ------------------------------------------------------------------------------------------------------------ */

/* Base URL with or without a trailing slash and /v1, plus path. */
enum vd_code vd_model_url(const char *base, const char *path, struct vd_buf *out) VD_MUST_CHECK;

/* What a response that is not 2xx means; body may be anything. Sets outcome, err, http_status, retry fields. */
void vd_model_classify(int status, struct vd_span body, struct vd_model_result *result);

/* retry-after-ms, else retry-after (seconds, or a date against now_wall_ms); -1 when neither makes sense. */
int64_t vd_model_retry_after_ms(struct vd_span retry_after_ms, struct vd_span retry_after,
                                int64_t now_wall_ms);

/* Decode a whole response body into result: parse, then the codec. *ret_tree is the caller's, the result points into it. */
void vd_model_decode(const struct vd_model_codec *codec, const struct vd_model_conf *conf,
                     const struct vd_model_request *request, struct vd_span body,
                     struct vd_model_tool_call *calls, cJSON **ret_tree,
                     struct vd_model_result *result);

/* For codecs: set outcome, with "model: why" as the error's message. */
void vd_model_fail(struct vd_model_result *result, enum vd_model_outcome outcome, const char *why);
/* For codecs: the schema in the form that this entry takes. */
struct vd_span vd_model_schema_text(const struct vd_model_conf *conf,
                                    const struct vd_model_request *request, bool reduced);
/* For codecs: the system text, with the schema in words where the endpoint takes it no other way. JSON string with quotes. */
/* About how long the request becomes, escapes aside. */
size_t vd_model_request_bytes(const struct vd_model_request *request);
void vd_model_add_system(struct vd_buf *out, const struct vd_model_conf *conf,
                         const struct vd_model_request *request);
/* For codecs: a whole number at key, 0 when there is none. */
uint64_t vd_model_count(const cJSON *object, const char *key);

extern const struct vd_model_codec vd_model_openai_codec;
extern const struct vd_model_codec vd_model_anthropic_codec;

#endif
