/* What goes over the wire and what is made of the answers: pure functions, no network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/prng.h"
#include "model/breaker.h"
#include "model/extract.h"
#include "model/wire.h"

#define S(s)                                                                                       \
    {                                                                                              \
        (s), sizeof(s) - 1                                                                         \
    } /* VD_LIT is no constant expression */

static const struct vd_model_schema schema = {S("propose"), S("{\"full\":1}"), S("{\"strict\":1}"),
                                              S("{\"reduced\":1}")};
static const struct vd_model_tool tool = {
    .name = S("orders"), .description = S("Look up."), .schema = S("{\"type\":\"object\"}")};
static const struct vd_model_tool_call call = {S("c1"), S("orders"), S("{\"id\":\"7\"}")};
static const struct vd_model_message messages[] = {
    {.role = VD_MODEL_USER, .text = S("a \"quoted\"\n\x01 text")},
    {.role = VD_MODEL_ASSISTANT, .tool_calls = &call, .tool_call_count = 1},
    {.role = VD_MODEL_TOOL, .text = S("none"), .tool_call_id = S("c1"), .failed = true},
    {.role = VD_MODEL_TOOL, .text = S("two"), .tool_call_id = S("c2")},
};
static const struct vd_model_request full_request = {.system = S("S"),
                                                     .messages = messages,
                                                     .message_count = 4,
                                                     .tools = &tool,
                                                     .tool_count = 1,
                                                     .schema = &schema,
                                                     .max_output_tokens = 50,
                                                     .temperature = 0.2,
                                                     .user_hash = S("u")};

static void check_bytes(const struct vd_model_codec *codec, const struct vd_model_conf *conf,
                        const struct vd_model_request *request, const char *expected)
{
    struct vd_buf out;

    vd_buf_init(&out, 1 << 20);
    assert_int_equal(codec->encode(conf, request, &out, NULL), VD_OK);
    assert_string_equal(out.ptr, expected);
    assert_int_equal(vd_json_check(vd_buf_span(&out), NULL), VD_OK);
    vd_buf_free(&out);
}

static void test_openai_requests_are_exactly_these_bytes(void **state)
{
    struct vd_model_conf conf = {.name = "m", .model = "gpt"};
    struct vd_model_request small = {
        .system = VD_LIT("S"), .max_output_tokens = 9, .temperature = -1, .schema = &schema};

    (void)state;
    check_bytes(&vd_model_openai_codec, &conf, &full_request,
                "{\"model\":\"gpt\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
                "\"name\":\"propose\","
                "\"strict\":true,\"schema\":{\"strict\":1}}},\"tools\":[{\"type\":\"function\","
                "\"function\":{\"name\":"
                "\"orders\",\"description\":\"Look "
                "up.\",\"parameters\":{\"type\":\"object\"}}}],\"parallel_tool_calls\":"
                "false,\"max_completion_tokens\":50,\"temperature\":0.2,\"messages\":[{\"role\":"
                "\"system\",\"content\":"
                "\"S\"},{\"role\":\"user\",\"content\":\"a \\\"quoted\\\"\\n\\u0001 "
                "text\"},{\"role\":\"assistant\","
                "\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\","
                "\"function\":{\"name\":\"orders\","
                "\"arguments\":\"{\\\"id\\\":\\\"7\\\"}\"}}]},{\"role\":\"tool\",\"content\":"
                "\"none\",\"tool_call_id\":"
                "\"c1\"},{\"role\":\"tool\",\"content\":\"two\",\"tool_call_id\":\"c2\"}],\"safety_"
                "identifier\":\"u\"}");
    conf.max_tokens_param = VD_MAX_TOKENS;
    conf.system_role = "developer";
    conf.schema_mode = VD_MODEL_SCHEMA_TOOL;
    check_bytes(
        &vd_model_openai_codec, &conf, &small,
        "{\"model\":\"gpt\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"propose\","
        "\"description\":"
        "\"Propose the "
        "decision.\",\"parameters\":{\"full\":1}}}],\"parallel_tool_calls\":false,\"tool_choice\":"
        "\"required\",\"max_tokens\":9,\"messages\":[{\"role\":\"developer\",\"content\":\"S\"}]}");
    conf.schema_mode = VD_MODEL_SCHEMA_NONE;
    check_bytes(&vd_model_openai_codec, &conf, &small,
                "{\"model\":\"gpt\",\"max_tokens\":9,\"messages\":[{\"role\":\"developer\","
                "\"content\":\"S\\n\\nAnswer with "
                "one JSON object and nothing else. It must be valid against this JSON "
                "Schema:\\n{\\\"full\\\":1}\"}]}");
}

static void test_anthropic_requests_are_exactly_these_bytes(void **state)
{
    struct vd_model_conf conf = {.name = "m", .model = "claude"};

    (void)state;
    check_bytes(&vd_model_anthropic_codec, &conf, &full_request,
                "{\"model\":\"claude\",\"tools\":[{\"name\":\"orders\",\"description\":\"Look "
                "up.\",\"input_schema\":{"
                "\"type\":\"object\"}},{\"name\":\"propose\",\"description\":\"Propose the "
                "decision.\",\"strict\":true,"
                "\"input_schema\":{\"reduced\":1}}],\"tool_choice\":{\"type\":\"any\",\"disable_"
                "parallel_tool_use\":true},"
                "\"max_tokens\":50,\"temperature\":0.2,\"system\":\"S\",\"messages\":[{\"role\":"
                "\"user\",\"content\":[{"
                "\"type\":\"text\",\"text\":\"a \\\"quoted\\\"\\n\\u0001 "
                "text\"}]},{\"role\":\"assistant\",\"content\":[{"
                "\"type\":\"tool_use\",\"id\":\"c1\",\"name\":\"orders\",\"input\":{\"id\":\"7\"}}]"
                "},{\"role\":\"user\","
                "\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"c1\",\"is_error\":true,"
                "\"content\":\"none\"},{"
                "\"type\":\"tool_result\",\"tool_use_id\":\"c2\",\"content\":\"two\"}]}],"
                "\"metadata\":{\"user_id\":\"u\"}}");
}

static struct vd_span encoded(const struct vd_model_codec *codec, const struct vd_model_conf *conf,
                              const struct vd_model_request *request, struct vd_buf *out)
{
    vd_buf_clear(out);
    assert_int_equal(codec->encode(conf, request, out, NULL), VD_OK);
    assert_int_equal(vd_json_check(vd_buf_span(out), NULL), VD_OK);
    return vd_buf_span(out);
}

static bool has(struct vd_span text, const char *part)
{
    return memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

/* No tool may be called any more, though messages refer to one: Anthropic's API wants such a tool listed, OpenAI's does not. */
static void test_closed_tools_are_not_offered(void **state)
{
    struct vd_model_conf conf = {.name = "m", .model = "x"};
    struct vd_model_request closed = full_request;
    struct vd_span text;
    struct vd_buf out;

    (void)state;
    closed.tools_closed = true;
    vd_buf_init(&out, 1 << 20);
    text = encoded(&vd_model_openai_codec, &conf, &closed, &out);
    assert_false(has(text, "\"tools\""));
    text = encoded(&vd_model_anthropic_codec, &conf, &closed, &out);
    assert_false(has(text, "Look up."));
    assert_true(has(text, "\"name\":\"propose\"") && has(text, "\"type\":\"any\""));
    conf.schema_mode = VD_MODEL_SCHEMA_TOOL;
    text = encoded(&vd_model_openai_codec, &conf, &closed, &out);
    assert_false(has(text, "Look up."));
    assert_true(has(text, "\"name\":\"propose\"") && has(text, "\"required\""));
    conf.schema_mode = VD_MODEL_SCHEMA_NONE;
    text = encoded(&vd_model_openai_codec, &conf, &closed, &out);
    assert_false(has(text, "\"tools\""));
    text = encoded(&vd_model_anthropic_codec, &conf, &closed, &out);
    assert_true(has(text, "Look up.") && has(text, "\"tool_choice\":{\"type\":\"none\"}"));
    vd_buf_free(&out);
}

static void test_anthropic_gets_the_reduced_schema_of_a_tool(void **state)
{
    struct vd_model_conf conf = {.name = "m", .model = "x"};
    struct vd_model_tool two = tool;
    struct vd_model_request request = full_request;
    struct vd_span text;
    struct vd_buf out;

    (void)state;
    two.reduced = VD_LIT("{\"less\":1}");
    request.tools = &two;
    vd_buf_init(&out, 1 << 20);
    text = encoded(&vd_model_anthropic_codec, &conf, &request, &out);
    assert_true(has(text, "\"input_schema\":{\"less\":1}"));
    text = encoded(&vd_model_openai_codec, &conf, &request, &out);
    assert_true(has(text, "\"parameters\":{\"type\":\"object\"}"));
    vd_buf_free(&out);
}

static void test_an_endpoint_without_tools_is_not_sent_any(void **state)
{
    struct vd_model_conf conf = {.name = "m", .model = "x", .no_tools = true};
    struct vd_buf out;

    (void)state;
    vd_buf_init(&out, 1 << 20);
    assert_int_equal(vd_model_openai_codec.encode(&conf, &full_request, &out, NULL), VD_E_CONFIG);
    assert_int_equal(vd_model_anthropic_codec.encode(&conf, &full_request, &out, NULL),
                     VD_E_CONFIG);
    vd_buf_free(&out);
}

/* -- answers ---------------------------------------------------------------------------------------------------------------- */

static void check_answer(const struct vd_model_codec *codec, enum vd_model_schema_mode mode,
                         const char *body, enum vd_model_outcome outcome, const char *answer,
                         size_t calls)
{
    struct vd_model_conf conf = {.name = "m", .schema_mode = mode};
    struct vd_model_tool_call room[VD_MODEL_MAX_TOOL_CALLS];
    struct vd_model_result r = {0};
    cJSON *tree = NULL;

    vd_model_decode(codec, &conf, &full_request, vd_span_of(body), room, &tree, &r);
    if (r.outcome != outcome || !vd_span_eq_c(r.answer, answer) || r.tool_call_count != calls)
        fail_msg("%s: %s \"%.*s\" %zu", body, vd_model_outcome_name(r.outcome), (int)r.answer.len,
                 r.answer.len > 0 ? r.answer.ptr : "", r.tool_call_count);
    assert_int_equal(r.err.code == VD_OK, outcome == VD_MODEL_OK);
    (void)vd_json_free(tree);
}

#define CHOICE(message, finish)                                                                    \
    "{\"choices\":[{\"message\":" message ",\"finish_reason\":\"" finish "\"}]}"

static void test_openai_answers(void **state)
{
    const struct vd_model_codec *c = &vd_model_openai_codec;

    (void)state;
    check_answer(c, VD_MODEL_SCHEMA_STRICT, CHOICE("{\"content\":\" {\\\"a\\\":1} \"}", "stop"),
                 VD_MODEL_OK, "{\"a\":1}", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT, CHOICE("{\"content\":\"{\\\"a\\\":1e999}\"}", "stop"),
                 VD_MODEL_OK, "{\"a\":1e999}", 0);
    check_answer(c, VD_MODEL_SCHEMA_NONE,
                 CHOICE("{\"content\":\"Sure!\\n```json\\n{\\\"a\\\":1}\\n```\"}", "stop"),
                 VD_MODEL_OK, "{\"a\":1}", 0);
    check_answer(c, VD_MODEL_SCHEMA_NONE,
                 CHOICE("{\"content\":\"either {\\\"a\\\":1} or {\\\"a\\\":2}\"}", "stop"),
                 VD_MODEL_OK, "either {\"a\":1} or {\"a\":2}", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT,
                 CHOICE("{\"content\":null,\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":"
                        "\"orders\",\"arguments\":\"{}\"}}]}",
                        "stop"),
                 VD_MODEL_OK, "", 1);
    check_answer(c, VD_MODEL_SCHEMA_TOOL,
                 CHOICE("{\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":\"propose\","
                        "\"arguments\":\"{\\\"a\\\":1}\"}}]}",
                        "tool_calls"),
                 VD_MODEL_OK, "{\"a\":1}", 0);
    check_answer(c, VD_MODEL_SCHEMA_TOOL,
                 CHOICE("{\"tool_calls\":[{\"function\":{}}]}", "tool_calls"), VD_MODEL_MALFORMED,
                 "", 0);
    check_answer(c, VD_MODEL_SCHEMA_TOOL, CHOICE("{\"tool_calls\":7}", "tool_calls"),
                 VD_MODEL_MALFORMED, "", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT, CHOICE("{\"content\":\"  \"}", "stop"),
                 VD_MODEL_MALFORMED, "", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT,
                 CHOICE("{\"content\":\"{}\",\"refusal\":\"no\"}", "stop"), VD_MODEL_REFUSED, "",
                 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT, "{\"choices\":{}}", VD_MODEL_MALFORMED, "", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT, "{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}",
                 VD_MODEL_MALFORMED, "", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT, "", VD_MODEL_MALFORMED, "", 0);
}

#define CONTENT(blocks, stop) "{\"content\":[" blocks "],\"stop_reason\":\"" stop "\"}"

static void test_anthropic_answers(void **state)
{
    const struct vd_model_codec *c = &vd_model_anthropic_codec;

    (void)state;
    check_answer(c, VD_MODEL_SCHEMA_STRICT,
                 CONTENT("{\"type\":\"thinking\"},{\"type\":\"text\",\"text\":\"Let "
                         "me.\"},{\"type\":\"tool_use\",\"id\":\"1\","
                         "\"name\":\"propose\",\"input\":{\"n\":12345678901234567890,\"d\":1.50}}",
                         "tool_use"),
                 VD_MODEL_OK, "{\"n\":12345678901234567890,\"d\":1.5}", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT,
                 CONTENT("{\"type\":\"tool_use\",\"id\":\"1\",\"name\":\"orders\",\"input\":{}}",
                         "tool_use"),
                 VD_MODEL_OK, "", 1);
    check_answer(c, VD_MODEL_SCHEMA_NONE,
                 CONTENT("{\"type\":\"text\",\"text\":\"{\\\"a\\\":1}\"}", "end_turn"), VD_MODEL_OK,
                 "{\"a\":1}", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT,
                 CONTENT("{\"type\":\"tool_use\",\"name\":\"propose\",\"input\":3}", "tool_use"),
                 VD_MODEL_MALFORMED, "", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT, CONTENT("", "end_turn"), VD_MODEL_MALFORMED, "", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT, CONTENT("", "max_tokens"), VD_MODEL_LENGTH, "", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT, CONTENT("", "refusal"), VD_MODEL_REFUSED, "", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT, CONTENT("", "model_context_window_exceeded"),
                 VD_MODEL_TOO_LARGE, "", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT, CONTENT("", "pause_turn"), VD_MODEL_MALFORMED, "", 0);
    check_answer(c, VD_MODEL_SCHEMA_STRICT, "{\"content\":7,\"stop_reason\":\"end_turn\"}",
                 VD_MODEL_MALFORMED, "", 0);
}

static void test_too_many_tool_calls_are_a_broken_model(void **state)
{
    char body[8192];
    int n =
        snprintf(body, sizeof(body),
                 "{\"choices\":[{\"finish_reason\":\"tool_calls\",\"message\":{\"tool_calls\":[");

    (void)state;
    for (int i = 0; i <= VD_MODEL_MAX_TOOL_CALLS; i++)
        n += snprintf(body + n, sizeof(body) - (size_t)n, "%s{\"function\":{\"name\":\"orders\"}}",
                      i > 0 ? "," : "");
    (void)snprintf(body + n, sizeof(body) - (size_t)n, "]}}]}");
    check_answer(&vd_model_openai_codec, VD_MODEL_SCHEMA_STRICT, body, VD_MODEL_MALFORMED, "",
                 VD_MODEL_MAX_TOOL_CALLS);
}

static void test_usage_counts_cached_tokens_as_input_for_both_apis(void **state)
{
    static const char *const bodies[] = {
        "{\"choices\":[{\"message\":{\"content\":\"{}\"},\"finish_reason\":\"stop\"}],\"usage\":{"
        "\"prompt_tokens\":100,"
        "\"completion_tokens\":7,\"prompt_tokens_details\":{\"cached_tokens\":60}}}",
        "{\"content\":[{\"type\":\"text\",\"text\":\"{}\"}],\"stop_reason\":\"end_turn\",\"usage\":"
        "{\"input_tokens\":30,"
        "\"cache_read_input_tokens\":60,\"cache_creation_input_tokens\":10,\"output_tokens\":7}}"};
    const struct vd_model_codec *const codecs[] = {&vd_model_openai_codec,
                                                   &vd_model_anthropic_codec};
    const struct vd_model_prices prices = {
        .input = 1000000, .cached_input = 100000, .output = 3000000};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct vd_model_conf conf = {.name = "m"};
        struct vd_model_tool_call room[VD_MODEL_MAX_TOOL_CALLS];
        struct vd_model_result r = {0};
        cJSON *tree = NULL;
        uint64_t cost = 0;

        vd_model_decode(codecs[i], &conf, &full_request, vd_span_of(bodies[i]), room, &tree, &r);
        assert_int_equal(r.usage.input_tokens, 100);
        assert_int_equal(r.usage.cached_tokens, 60);
        assert_int_equal(r.usage.output_tokens, 7);
        assert_true(vd_model_cost_microusd(&prices, &r.usage, &cost));
        assert_int_equal(cost, 40 + 6 + 21);
        (void)vd_json_free(tree);
    }
}

static void test_extraction_takes_the_only_object_or_nothing(void **state)
{
    static const struct {
        const char *text, *object;
    } rows[] = {
        {"{\"a\":{\"b\":\"}\"}}", "{\"a\":{\"b\":\"}\"}}"},
        {"```\n{\"a\":1}\n```", "{\"a\":1}"},
        {"Set {x} means {\"a\":1}.", "{\"a\":1}"},
        {"{\"a\":1}{\"a\":1}", NULL},
        {"{\"a\":1", NULL},
        {"{'a':1}", NULL},
        {"{\"a\":1,}", NULL},
        {"[1,2]", NULL},
        {"\"{\" {\"a\":1}", "{\"a\":1}"},
        {"", NULL},
    };
    char many[400];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vd_span object = {0};
        bool found = vd_model_extract(vd_span_of(rows[i].text), &object);

        assert_int_equal(found, rows[i].object != NULL);
        if (found)
            assert_true(vd_span_eq_c(object, rows[i].object));
    }
    /* The bound on tries, exactly: 31 false starts are looked past, 32 are not. */
    for (int starts = VD_MODEL_EXTRACT_MAX_TRIES - 1; starts <= VD_MODEL_EXTRACT_MAX_TRIES;
         starts++) {
        struct vd_span object;
        int n = 0;

        for (int i = 0; i < starts; i++)
            n += snprintf(many + n, sizeof(many) - (size_t)n, "{x} ");
        (void)snprintf(many + n, sizeof(many) - (size_t)n, "{\"a\":1}");
        assert_int_equal(vd_model_extract(vd_span_of(many), &object),
                         starts < VD_MODEL_EXTRACT_MAX_TRIES);
    }
}

static void test_base_urls_with_and_without_v1(void **state)
{
    static const char *const rows[][2] = {
        {"https://api.openai.com", "https://api.openai.com/v1/chat/completions"},
        {"https://api.openai.com/", "https://api.openai.com/v1/chat/completions"},
        {"https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"},
        {"https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"},
        {"http://localhost:11434", "http://localhost:11434/v1/chat/completions"},
        {"https://gw/openai/v1", "https://gw/openai/v1/chat/completions"},
        {"https://gw/api/v3", "https://gw/api/v3/chat/completions"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vd_buf out;

        vd_buf_init(&out, 4096);
        assert_int_equal(vd_model_url(rows[i][0], "/chat/completions", &out), VD_OK);
        assert_string_equal(out.ptr, rows[i][1]);
        vd_buf_free(&out);
    }
}

static void test_retry_after_in_all_its_forms(void **state)
{
    const int64_t now = 784111777000; /* Sun, 06 Nov 1994 08:49:37 GMT */
    static const struct {
        const char *ms, *plain;
        int64_t expected;
    } rows[] = {
        {"", "", -1},
        {"20", "", 20},
        {"20.7", "5", 20},
        {"-5", "5", 5000},
        {"x", "", -1},
        {"", "0", 0},
        {"", "1.5", 1500},
        {"", "-1", -1},
        {"", "99999999999", -1},
        {"1e999", "", -1},
        {"", "Sun, 06 Nov 1994 08:49:47 GMT", 10000},
        {"", "Sun, 06 Nov 1994 08:49:27 GMT", 0},
        {"", "Sun, 06 Nov 2094 08:49:27 GMT", -1},
        {"", "Sun, 06 Xxx 1994 08:49:47 GMT", -1},
        {"", "Sunday, 06-Nov-94 08:49:37 GMT", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(
            vd_model_retry_after_ms(vd_span_of(rows[i].ms), vd_span_of(rows[i].plain), now),
            rows[i].expected);
}

static void test_an_error_s_words_reach_messages_only_when_they_look_like_codes(void **state)
{
    struct vd_model_result r = {0};

    (void)state;
    vd_model_classify(
        400, VD_LIT("{\"error\":{\"code\":\"context_length_exceeded\",\"message\":\"secret\"}}"),
        &r);
    assert_int_equal(r.outcome, VD_MODEL_TOO_LARGE);
    assert_string_equal(r.err.msg, "model: HTTP 400 context_length_exceeded");
    vd_model_classify(500, VD_LIT("{\"error\":{\"code\":\"a\\nb secret\"}}"), &r);
    assert_string_equal(r.err.msg, "model: HTTP 500");
    vd_model_classify(503, VD_LIT("<html>secret"), &r);
    assert_string_equal(r.err.msg, "model: HTTP 503");
    assert_int_equal(r.outcome, VD_MODEL_RETRY);
}

static void test_memory_running_out_while_decoding_is_an_outcome(void **state)
{
    static const char body[] = CONTENT(
        "{\"type\":\"tool_use\",\"id\":\"1\",\"name\":\"propose\",\"input\":{\"a\":[1,\"b\"]}}",
        "tool_use");
    int good = 0;

    (void)state;
    for (long n = 0; n < 80; n++) {
        struct vd_model_conf conf = {.name = "m"};
        struct vd_model_tool_call room[VD_MODEL_MAX_TOOL_CALLS];
        struct vd_model_result r = {0};
        cJSON *tree = NULL;
        struct vd_buf out;

        vd_buf_init(&out, 1 << 20);
        vd_alloc_fail_after(n);
        (void)vd_model_anthropic_codec.encode(&conf, &full_request, &out, NULL);
        vd_alloc_fail_after(n);
        vd_model_decode(&vd_model_anthropic_codec, &conf, &full_request, VD_LIT(body), room, &tree,
                        &r);
        vd_alloc_fail_after(-1);
        good += r.outcome == VD_MODEL_OK && out.failed == VD_OK;
        assert_true(r.outcome == VD_MODEL_OK ? r.answer.len > 0 : r.err.code != VD_OK);
        (void)vd_json_free(tree);
        vd_buf_free(&out);
    }
    assert_true(good > 0 && good < 80);
}

/* -- breaker ----------------------------------------------------------------------------------------------------------------- */

static void test_the_breaker_counts_its_window_and_doubles_its_pause(void **state)
{
    struct vd_router_conf conf = {.breaker_min = 10,
                                  .breaker_percent = 50,
                                  .breaker_window_ms = 10000,
                                  .breaker_open_ms = 1000};
    struct vd_prng prng;
    struct vd_breaker b;
    int64_t now = 1000000, last = 0;

    (void)state;
    vd_prng_init(&prng, 1);
    vd_breaker_init(&b, &conf);
    for (int i = 0; i < 9; i++)
        assert_false(vd_breaker_end(&b, false, false, now, &prng));
    now += 20000; /* all forgotten */
    for (int i = 0; i < 5; i++)
        assert_false(vd_breaker_end(&b, true, false, now, &prng));
    for (int i = 0; i < 4; i++)
        assert_false(vd_breaker_end(&b, false, false, now + 3000, &prng));
    assert_true(vd_breaker_end(&b, false, false, now + 3000, &prng)); /* 5 of 10 */
    now += 3000;
    for (int i = 0; i < 4; i++) {
        int64_t pause = b.open_until_ms - now;

        assert_in_range((uint64_t)pause, (uint64_t)(500 << i), (uint64_t)(1000 << i));
        assert_true(pause > last / 2);
        last = pause;
        assert_false(vd_breaker_allows(&b, b.open_until_ms - 1));
        now = b.open_until_ms;
        assert_true(vd_breaker_allows(&b, now));
        assert_true(vd_breaker_begin(&b));
        assert_false(vd_breaker_allows(&b, now)); /* one probe at a time */
        assert_true(vd_breaker_end(&b, false, true, now, &prng));
    }
    now = b.open_until_ms;
    assert_true(vd_breaker_allows(&b, now));
    assert_true(vd_breaker_begin(&b));
    assert_false(vd_breaker_end(&b, true, true, now, &prng));
    assert_int_equal(b.state, VD_BREAKER_CLOSED);
    assert_false(vd_breaker_end(&b, false, false, now, &prng)); /* the window began anew */
}

static void test_concurrency_grows_fast_then_slowly_and_is_cut_once_a_round(void **state)
{
    struct vd_aimd a;

    (void)state;
    vd_aimd_init(&a, 1000);
    assert_int_equal(vd_aimd_limit(&a), 250);
    vd_aimd_success(&a, 10);
    assert_int_equal(vd_aimd_limit(&a), 250); /* it was not what held back */
    for (int i = 0; i < 250; i++)
        vd_aimd_success(&a, 250);
    assert_int_equal(vd_aimd_limit(&a), 500);
    vd_aimd_congestion(&a, 100, 200);
    assert_int_equal(vd_aimd_limit(&a), 350);
    vd_aimd_congestion(&a, 150, 210); /* sent before the cut */
    assert_int_equal(vd_aimd_limit(&a), 350);
    for (int i = 0; i < 350; i++)
        vd_aimd_success(&a, 350);
    assert_in_range(vd_aimd_limit(&a), 350, 351);
    for (int i = 0; i < 100; i++)
        vd_aimd_congestion(&a, 1000 + i, 1000 + i);
    assert_int_equal(vd_aimd_limit(&a), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openai_requests_are_exactly_these_bytes),
        cmocka_unit_test(test_anthropic_requests_are_exactly_these_bytes),
        cmocka_unit_test(test_closed_tools_are_not_offered),
        cmocka_unit_test(test_anthropic_gets_the_reduced_schema_of_a_tool),
        cmocka_unit_test(test_an_endpoint_without_tools_is_not_sent_any),
        cmocka_unit_test(test_openai_answers),
        cmocka_unit_test(test_anthropic_answers),
        cmocka_unit_test(test_too_many_tool_calls_are_a_broken_model),
        cmocka_unit_test(test_usage_counts_cached_tokens_as_input_for_both_apis),
        cmocka_unit_test(test_extraction_takes_the_only_object_or_nothing),
        cmocka_unit_test(test_base_urls_with_and_without_v1),
        cmocka_unit_test(test_retry_after_in_all_its_forms),
        cmocka_unit_test(test_an_error_s_words_reach_messages_only_when_they_look_like_codes),
        cmocka_unit_test(test_memory_running_out_while_decoding_is_an_outcome),
        cmocka_unit_test(test_the_breaker_counts_its_window_and_doubles_its_pause),
        cmocka_unit_test(test_concurrency_grows_fast_then_slowly_and_is_cut_once_a_round),
    };

    return cmocka_run_group_tests_name("model codec", tests, NULL, NULL);
}
