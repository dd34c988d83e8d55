/* pipeline/dead_letter, pipeline/decision: what is published, and how it is made to fit its topic. */
#include "unit.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"
#include "pipeline/dead_letter.h"
#include "pipeline/decision.h"
#include "pipeline/event.h"

static const struct vd_pipeline_topics topics = {"decisions", "decisions.review",
                                                 "decisions.shadow", "decisions.audit",
                                                 "decisions.dead-letter"};

static struct vd_span header_of(const struct vd_output *out, const char *name)
{
    for (size_t i = 0; i < out->header_count; i++)
        if (vd_span_eq_c(out->headers[i].name, name))
            return out->headers[i].value;
    return (struct vd_span){NULL, 0};
}

static struct vd_dead_letter letter(size_t max_bytes)
{
    return (struct vd_dead_letter){.topic = "dead",
                                   .stage = VD_STAGE_VALIDATE,
                                   .reason = "event/data/n must be at least 1, is 0",
                                   .policy_id = "orders.ops",
                                   .decision_id = "id",
                                   .wall_ms = 0,
                                   .max_bytes = max_bytes};
}

static void a_dead_letter_keeps_bytes_key_and_headers(void **state)
{
    struct vd_header headers[] = {{VD_LIT("ce_id"), VD_LIT("1")},
                                  {VD_LIT("binary"), {"\0\xff", 2}},
                                  {VD_LIT("nothing"), {NULL, 0}},
                                  {VD_LIT("verdict-stage"), VD_LIT("from an earlier pass")},
                                  {VD_LIT("verdict-redriven"), VD_LIT("2")}};
    struct vd_record rec = {.topic = "orders",
                            .partition = 3,
                            .offset = 9,
                            .key = {"k\0y", 3},
                            .value = {"{\0}", 3},
                            .headers = headers,
                            .header_count = 5};
    struct vd_dead_letter l = letter(1000000);
    struct vd_output *out = vd_dead_letter_new(&rec, &l);

    (void)state;
    assert_non_null(out);
    assert_int_equal(out->value.len, 3);
    assert_memory_equal(out->value.ptr, "{\0}", 3);
    assert_memory_equal(out->key.ptr, "k\0y", 3);
    assert_span_equal(header_of(out, "ce_id"), "1");
    assert_int_equal(header_of(out, "binary").len, 2);
    assert_span_equal(header_of(out, "verdict-stage"), "validate");
    assert_span_equal(header_of(out, "verdict-redriven"), "2");
    assert_span_equal(header_of(out, "verdict-reason"), "event/data/n must be at least 1, is 0");
    assert_span_equal(header_of(out, "verdict-topic"), "orders");
    assert_span_equal(header_of(out, "verdict-partition"), "3");
    assert_span_equal(header_of(out, "verdict-offset"), "9");
    assert_span_equal(header_of(out, "verdict-time"), "1970-01-01T00:00:00.000Z");
    assert_span_equal(header_of(out, "verdict-decision-id"), "id");
    assert_null(header_of(out, "verdict-truncated").ptr);
    (void)vd_output_free(out);
}

static void a_dead_letter_too_large_keeps_a_prefix_hash_and_position(void **state)
{
    static char big[100000], header[60000], key[40000];
    struct vd_header headers[] = {{VD_LIT("small"), VD_LIT("1")},
                                  {VD_LIT("large"), {header, sizeof(header)}}};
    struct vd_record rec = {.topic = "orders",
                            .partition = 0,
                            .offset = 1,
                            .key = {key, sizeof(key)},
                            .value = {big, sizeof(big)},
                            .headers = headers,
                            .header_count = 2};
    struct vd_sha256 digest = vd_sha256(rec.value);
    char hex[VD_SHA256_HEX_SIZE];

    (void)state;
    vd_sha256_hex(&digest, hex);
    for (size_t max = 2000; max <= 250000; max += 24800) {
        struct vd_dead_letter l = letter(max);
        struct vd_output *out = vd_dead_letter_new(&rec, &l);

        assert_non_null(out);
        assert_true(vd_output_bytes(out) <= max);
        assert_span_equal(header_of(out, "verdict-offset"), "1");
        assert_span_equal(header_of(out, "small"), "1");
        if (out->value.len < sizeof(big)) {
            assert_span_equal(header_of(out, "verdict-truncated"), "true");
            assert_span_equal(header_of(out, "verdict-value-sha256"), hex);
            assert_span_equal(header_of(out, "verdict-value-bytes"), "100000");
        }
        (void)vd_output_free(out);
    }
}

/* -- decisions ------------------------------------------------------------------------------------------------------------- */

struct scene {
    struct vd_policy policy;
    struct vd_action action;
    struct vd_outcome outcome;
    struct vd_rule_result rules[1];
    struct vd_record rec;
    struct vd_event event;
    struct vd_decision decision;
    struct vd_buf json;
    cJSON *params;
};

static int setup(void **state)
{
    static struct scene s;

    memset(&s, 0, sizeof(s));
    s.action =
        (struct vd_action){.name = "refund", .valid_for_s = 60, .output_type = "shop.refund"};
    s.policy = (struct vd_policy){
        .id = "orders.ops", .version = 7, .mode = VD_MODE_ENFORCE, .domain = "orders"};
    s.rules[0] = (struct vd_rule_result){
        .id = "ceiling", .verdict = VD_PASS, .has_headroom = true, .headroom = 2.5};
    assert_int_equal(vd_json_parse(VD_LIT("{\"amount\":9007199254740993}"), &s.params, NULL),
                     VD_OK);
    s.outcome = (struct vd_outcome){.status = VD_DECIDED,
                                    .decided_by = VD_BY_MODEL,
                                    .action = &s.action,
                                    .params = s.params,
                                    .rules = s.rules,
                                    .rule_count = 1,
                                    .rationale = VD_LIT("say \"no\"")};
    s.rec =
        (struct vd_record){.topic = "orders.in", .partition = 2, .offset = 5, .timestamp_ms = 1};
    s.event = (struct vd_event){
        .id = VD_LIT("e1"),
        .type = VD_LIT("t"),
        .time_ms = -1,
        .hops = 3,
        .traceparent = VD_LIT("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")};
    s.decision = (struct vd_decision){.id = "abc",
                                      .policy = &s.policy,
                                      .rec = &s.rec,
                                      .event = &s.event,
                                      .outcome = &s.outcome,
                                      .key = VD_LIT("c1"),
                                      .now_ms = 1000,
                                      .total_ms = 12,
                                      .worker = "w",
                                      .source = "/verdict"};
    vd_buf_init(&s.json, VD_DECISION_MAX_BYTES);
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    vd_buf_free(&s->json);
    (void)vd_json_free(s->params);
    return 0;
}

static cJSON *written(struct scene *s)
{
    cJSON *tree = NULL;

    assert_int_equal(vd_decision_write(&s->decision, &s->json), VD_OK);
    assert_int_equal(vd_json_parse(vd_buf_span(&s->json), &tree, NULL), VD_OK);
    return tree;
}

static struct vd_output *decision_output(struct scene *s)
{
    struct vd_buf value;

    vd_buf_init(&value, 10);
    assert_int_equal(vd_buf_add_c(&value, "{}"), VD_OK);
    return vd_decision_output(&s->decision, &topics, &value);
}

static enum vd_code write_tree(void *arg, struct vd_buf *out)
{
    return vd_json_write(out, arg);
}

static void every_field_is_there_and_null_where_it_does_not_apply(void **state)
{
    static const char *const fields[] = {
        "decision_id",    "time",        "time_ms",        "source",          "policy_id",
        "policy_version", "policy_hash", "mode",           "status",          "decided_by",
        "action",         "key",         "correlation_id", "round",           "supersedes",
        "valid_until_ms", "confidence",  "rationale",      "degraded_reason", "cost_microusd",
        "worker",         "params",      "params_json",    "event",           "evidence",
        "rules",          "limits",      "usage"};
    struct scene *s = *state;
    cJSON *tree = written(s);
    int64_t v;

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        assert_non_null(vd_json_get(tree, fields[i]));
    assert_int_equal(cJSON_GetArraySize(tree), sizeof(fields) / sizeof(fields[0]));
    assert_span_equal(vd_json_get_string(tree, "time"), "1970-01-01T00:00:01.000Z");
    assert_span_equal(vd_json_get_string(tree, "params_json"), "{\"amount\":9007199254740993}");
    assert_true(vd_json_int(vd_json_get(vd_json_get(tree, "params"), "amount"), &v));
    assert_true(v == INT64_C(9007199254740993));
    assert_true(vd_json_int(vd_json_get(tree, "valid_until_ms"), &v));
    assert_int_equal(v, 61000);
    assert_span_equal(vd_json_get_string(tree, "rationale"), "say \"no\"");
    assert_int_equal(vd_json_kind(vd_json_get(tree, "confidence")), VD_JSON_NULL);
    assert_int_equal(vd_json_kind(vd_json_pointer(tree, VD_LIT("/event/time_ms"))), VD_JSON_NULL);
    (void)vd_json_free(tree);
}

static void status_and_mode_choose_the_topic(void **state)
{
    struct scene *s = *state;
    struct vd_output *out = decision_output(s);

    assert_string_equal(out->topic, "decisions.orders");
    assert_span_equal(header_of(out, "ce_type"), "shop.refund");
    assert_span_equal(header_of(out, "verdict-hops"), "4");
    assert_int_equal(header_of(out, "traceparent").len, 55);
    assert_span_equal(out->key, "c1");
    (void)vd_output_free(out);
    s->policy.output_topic = "refunds";
    out = decision_output(s);
    assert_string_equal(out->topic, "refunds");
    (void)vd_output_free(out);
    s->outcome.status = VD_ESCALATED;
    out = decision_output(s);
    assert_string_equal(out->topic, "decisions.review");
    (void)vd_output_free(out);
    s->policy.mode = VD_MODE_SHADOW;
    out = decision_output(s);
    assert_string_equal(out->topic, "decisions.shadow");
    assert_int_equal(out->kind, VD_OUTPUT_SHADOW);
    (void)vd_output_free(out);
}

static void an_audit_record_too_large_drops_its_largest_parts_first(void **state)
{
    struct scene *s = *state;
    cJSON *reasoning = cJSON_CreateObject(), *context = cJSON_CreateObject(), *tree = NULL;
    cJSON *changes = cJSON_CreateObject();
    char *text = vd_alloc(50001);
    struct vd_audit_parts parts = {.reasoning = {write_tree, reasoning},
                                   .context = {write_tree, context},
                                   .changes = {write_tree, changes},
                                   .clock_ms = 77};
    struct vd_output *out;

    memset(text, 'x', 50000);
    assert_true(
        vd_json_put(reasoning, "prompt", vd_json_new_string((struct vd_span){text, 50000})));
    assert_true(vd_json_put(context, "profile", vd_json_new_string((struct vd_span){text, 2000})));
    assert_true(vd_json_put(changes, "state", vd_json_new_string((struct vd_span){text, 4000})));
    out = vd_audit_output(&s->decision, &parts, &topics, VD_LIT("{\"a\":1}"), 10000);
    assert_true(vd_output_bytes(out) <= 10000);
    assert_int_equal(vd_json_parse(out->value, &tree, NULL), VD_OK);
    assert_int_equal(vd_json_kind(vd_json_get(tree, "reasoning")), VD_JSON_NULL);
    assert_int_equal(vd_json_kind(vd_json_get(tree, "context")), VD_JSON_OBJECT);
    assert_int_equal(vd_json_kind(vd_json_get(tree, "decision")), VD_JSON_OBJECT);
    assert_true(cJSON_IsTrue(vd_json_pointer(tree, VD_LIT("/parts/1/omitted"))));
    assert_true(cJSON_IsFalse(vd_json_pointer(tree, VD_LIT("/parts/2/omitted"))));
    (void)vd_json_free(tree);
    (void)vd_output_free(out);
    /* Redis is rebuilt from the changes: they stay, whatever else goes. */
    out = vd_audit_output(&s->decision, &parts, &topics, VD_LIT("{\"a\":1}"), 100);
    assert_int_equal(vd_json_parse(out->value, &tree, NULL), VD_OK);
    assert_int_equal(vd_json_kind(vd_json_get(tree, "context")), VD_JSON_NULL);
    assert_int_equal(vd_json_string(vd_json_pointer(tree, VD_LIT("/changes/state"))).len, 4000);
    (void)vd_json_free(tree);
    (void)vd_output_free(out);
    (void)vd_json_free(changes);
    (void)vd_json_free(reasoning);
    (void)vd_json_free(context);
    (void)vd_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_letter_keeps_bytes_key_and_headers),
        cmocka_unit_test(a_dead_letter_too_large_keeps_a_prefix_hash_and_position),
        cmocka_unit_test_setup_teardown(every_field_is_there_and_null_where_it_does_not_apply,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(status_and_mode_choose_the_topic, setup, teardown),
        cmocka_unit_test_setup_teardown(an_audit_record_too_large_drops_its_largest_parts_first,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
