/* Any bytes as a model's HTTP answer, for both APIs and every schema mode: no crash, and what comes out holds its promises. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/limits.h"
#include "model/extract.h"
#include "model/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct vd_model_schema schema = {.name = {"propose", 7}, .full = {"{}", 2}};
static const struct vd_model_request request = {.schema = &schema};

static void check(const struct vd_model_codec *codec, enum vd_model_schema_mode mode,
                  struct vd_span body)
{
    struct vd_model_conf conf = {.name = "m", .schema_mode = mode};
    struct vd_model_tool_call calls[VD_MODEL_MAX_TOOL_CALLS];
    struct vd_model_result r = {0};
    cJSON *tree = NULL;
    size_t sum = 0;

    vd_model_decode(codec, &conf, &request, body, calls, &tree, &r);
    assert((r.outcome == VD_MODEL_OK) == (r.err.code == VD_OK));
    assert(r.outcome != VD_MODEL_OK || r.answer.len > 0 || r.tool_call_count > 0);
    assert(r.tool_call_count <= VD_MODEL_MAX_TOOL_CALLS);
    for (size_t i = 0; r.outcome == VD_MODEL_OK && i < r.tool_call_count; i++)
        sum += r.tool_calls[i].name.len;
    for (size_t i = 0; i < r.answer.len; i++) /* every byte can be read */
        sum += (unsigned char)r.answer.ptr[i];
    (void)vd_json_free(tree);
    if (sum == SIZE_MAX)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vd_span body = {(const char *)data, size}, object;
    struct vd_model_result r = {0};

    check(&vd_model_openai_codec, VD_MODEL_SCHEMA_STRICT, body);
    check(&vd_model_openai_codec, VD_MODEL_SCHEMA_TOOL, body);
    check(&vd_model_anthropic_codec, VD_MODEL_SCHEMA_TOOL, body);
    vd_model_classify(429, body, &r);
    assert(r.outcome != VD_MODEL_OK);
    if (vd_model_extract(body, &object))
        assert(vd_json_check(object, NULL) == VD_OK);
    (void)vd_model_retry_after_ms(body, body, 0);
    return 0;
}
