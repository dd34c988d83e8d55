/* pipeline/event: what is read as an event, and why other things are not. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "pipeline/event.h"
#include "pipeline/identity.h"

static struct vd_arena arena;
static struct vd_event event;
static struct vd_err err;

static int setup(void **state)
{
    (void)state;
    vd_arena_init(&arena, 1u << 20);
    memset(&event, 0, sizeof(event));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vd_event_fini(&event);
    vd_arena_fini(&arena);
    return 0;
}

static struct vd_header header(const char *name, const char *value)
{
    return (struct vd_header){vd_span_of(name), vd_span_of(value)};
}

static enum vd_code read_with(const struct vd_event_reader_conf *conf, struct vd_span value,
                              const struct vd_header *headers, size_t count)
{
    struct vd_record rec = {.topic = "orders",
                            .partition = 3,
                            .offset = 7,
                            .timestamp_ms = 1000,
                            .key = VD_LIT("k1"),
                            .value = value,
                            .headers = headers,
                            .header_count = count};
    struct vd_event_reader *reader = NULL;
    enum vd_code rc;

    assert_int_equal(vd_event_reader_new(conf, &reader, &err), VD_OK);
    err.msg[0] = '\0';
    rc = vd_event_read(reader, &rec, &arena, &event, &err);
    (void)vd_event_reader_free(reader);
    return rc;
}

static enum vd_code read_json(const char *value)
{
    return read_with(&(struct vd_event_reader_conf){.format = VD_FORMAT_JSON}, vd_span_of(value),
                     NULL, 0);
}

static enum vd_code read_ce(const char *value, const struct vd_header *headers, size_t count)
{
    return read_with(&(struct vd_event_reader_conf){.format = VD_FORMAT_CLOUDEVENTS},
                     vd_span_of(value), headers, count);
}

static void assert_reason(const char *part)
{
    if (strstr(err.msg, part) == NULL)
        fail_msg("reason \"%s\" does not say \"%s\"", err.msg, part);
}

static void a_bare_body_becomes_data(void **state)
{
    int64_t id;

    (void)state;
    assert_int_equal(read_json("{\"id\": 450789469, \"total_price\": \"598.94\"}"), VD_OK);
    assert_span_equal(event.id, "450789469");
    assert_int_equal(event.type.len, 0);
    assert_span_equal(event.source, "orders");
    assert_true(vd_json_int(vd_json_pointer(event.tree, VD_LIT("/data/id")), &id));
    assert_int_equal(id, 450789469);
    assert_int_equal(vd_json_kind(vd_json_get(event.tree, "type")), VD_JSON_NULL);
    assert_int_equal(event.time_ms, 1000);
}

static void an_envelope_keeps_its_members(void **state)
{
    (void)state;
    assert_int_equal(
        read_json("{\"id\":\"evt_1\",\"type\":\"invoice.payment_failed\",\"created\":1700000000,"
                  "\"data\":{\"object\":{\"amount_due\":5}}}"),
        VD_OK);
    assert_span_equal(event.type, "invoice.payment_failed");
    assert_non_null(vd_json_pointer(event.tree, VD_LIT("/data/object/amount_due")));
    assert_non_null(vd_json_get(event.tree, "created"));
    assert_span_equal(vd_json_get_string(event.tree, "time"), "2023-11-14T22:13:20.000Z");
    assert_int_equal(event.time_ms, 1700000000000);
    assert_int_equal(vd_json_kind(vd_json_get(event.tree, "subject")), VD_JSON_NULL);
}

static void the_topics_expressions_give_the_attributes(void **state)
{
    const struct vd_event_reader_conf conf = {
        .format = VD_FORMAT_JSON,
        .type = "headers['X-Shopify-Topic']",
        .subject = "'order-' + string(body.id)",
        .source = "'/' + topic + '/' + key",
        .time = "timestamp('2024-01-01T00:00:00Z')",
    };
    struct vd_header headers[] = {header("X-Shopify-Topic", "orders/create")};

    (void)state;
    assert_int_equal(read_with(&conf, VD_LIT("{\"id\":5}"), headers, 1), VD_OK);
    assert_span_equal(event.type, "orders/create");
    assert_span_equal(event.subject, "order-5");
    assert_span_equal(event.source, "/orders/k1");
    assert_int_equal(event.time_ms, 1704067200000);
    assert_int_equal(read_with(&conf, VD_LIT("{\"id\":5}"), NULL, 0), VD_E_INPUT);
    assert_reason("expression for type");
}

static void binary_and_structured_cloudevents_look_the_same(void **state)
{
    struct vd_header binary[] = {header("ce_specversion", "1.0"),
                                 header("ce_id", "a1"),
                                 header("ce_source", "/s"),
                                 header("ce_type", "t"),
                                 header("ce_time", "2024-01-01T00:00:00Z"),
                                 header("ce_tenant", "acme"),
                                 header("content-type", "application/json; charset=utf-8")};
    struct vd_header structured[] = {
        header("content-type", "Application/CloudEvents+JSON; charset=UTF-8")};

    (void)state;
    assert_int_equal(read_ce("{\"x\":1}", binary, 7), VD_OK);
    assert_span_equal(event.id, "a1");
    assert_span_equal(vd_json_get_string(event.tree, "tenant"), "acme");
    assert_non_null(vd_json_pointer(event.tree, VD_LIT("/data/x")));
    assert_int_equal(vd_json_kind(vd_json_get(event.tree, "subject")), VD_JSON_NULL);
    vd_event_fini(&event);
    assert_int_equal(read_ce("{\"specversion\":\"1.0\",\"id\":\"a1\",\"source\":\"/"
                             "s\",\"type\":\"t\",\"tenant\":\"acme\","
                             "\"time\":\"2024-01-01T00:00:00Z\",\"data\":{\"x\":1}}",
                             structured, 1),
                     VD_OK);
    assert_span_equal(event.id, "a1");
    assert_int_equal(event.time_ms, 1704067200000);
    assert_non_null(vd_json_pointer(event.tree, VD_LIT("/data/x")));
}

static void a_cloudevent_without_a_required_attribute_is_refused(void **state)
{
    struct vd_header h[] = {header("ce_specversion", "1.0"), header("ce_id", "a"),
                            header("ce_type", "t")};
    struct vd_header no_version[] = {header("ce_id", "a")};
    struct vd_header old[] = {header("ce_specversion", "0.3"), header("ce_id", "a"),
                              header("ce_type", "t"), header("ce_source", "/s")};
    struct vd_header batch[] = {header("content-type", "application/cloudevents-batch+json")};

    (void)state;
    assert_int_equal(read_ce("{}", h, 3), VD_E_INPUT);
    assert_reason("\"source\"");
    assert_int_equal(read_ce("{}", no_version, 1), VD_E_INPUT);
    assert_reason("specversion");
    assert_int_equal(read_ce("{}", NULL, 0), VD_E_INPUT);
    assert_reason("not a CloudEvent");
    assert_int_equal(read_ce("{}", old, 4), VD_E_INPUT);
    assert_reason("1.0");
    assert_int_equal(read_ce("[]", batch, 1), VD_E_INPUT);
    assert_reason("batch");
}

static void confluent_framing_is_stripped_or_named(void **state)
{
    const struct vd_event_reader_conf conf = {.format = VD_FORMAT_JSON};

    (void)state;
    assert_int_equal(read_with(&conf, (struct vd_span){"\0\0\0\0\1{\"id\":\"x\"}", 15}, NULL, 0),
                     VD_OK);
    assert_span_equal(event.id, "x");
    vd_event_fini(&event);
    assert_int_equal(read_with(&conf,
                               (struct vd_span){"\1"
                                                "0123456789abcdef"
                                                "{\"id\":\"y\"}",
                                                27},
                               NULL, 0),
                     VD_OK);
    assert_span_equal(event.id, "y");
    vd_event_fini(&event);
    assert_int_equal(read_with(&conf,
                               (struct vd_span){"\0\0\0\0\52\x02\x0c"
                                                "abc",
                                                10},
                               NULL, 0),
                     VD_E_INPUT);
    assert_reason("Avro or Protobuf");
    assert_reason("42");
    assert_int_equal(read_with(&conf, (struct vd_span){"\0", 1}, NULL, 0), VD_E_INPUT);
}

static void hostile_bytes_are_refused_with_a_reason(void **state)
{
    char *deep = vd_alloc(20001);
    static const struct {
        const char *value;
        const char *reason;
    } bad[] = {{"not json", "line 1"},
               {"{\"a\":1", "line 1"},
               {"{\"a\":\"\xff\"}", "UTF-8"},
               {"{\"a\":1,\"a\":2}", "twice"},
               {"", "line 1"}};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(read_json(bad[i].value), VD_E_INPUT);
        if (strcmp(bad[i].reason, "twice") == 0)
            assert_true(strstr(err.msg, "twice") != NULL || strstr(err.msg, "duplicate") != NULL);
        else
            assert_reason(bad[i].reason);
    }
    memset(deep, '[', 10000);
    memset(deep + 10000, ']', 10000);
    assert_int_not_equal(read_json(deep), VD_OK);
    assert_reason("64");
    (void)vd_free(deep);
}

static void a_value_over_the_limit_is_refused(void **state)
{
    const struct vd_event_reader_conf conf = {.format = VD_FORMAT_JSON, .max_bytes = 10};

    (void)state;
    assert_int_equal(read_with(&conf, VD_LIT("{\"a\":1234}"), NULL, 0), VD_OK);
    vd_event_fini(&event);
    assert_int_equal(read_with(&conf, VD_LIT("{\"a\":12345}"), NULL, 0), VD_E_LIMIT);
    assert_reason("11 bytes");
}

static void only_valid_trace_context_is_carried(void **state)
{
    static const char *const bad[] = {"00-00000000000000000000000000000000-b7ad6b7169203331-01",
                                      "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                                      "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                      "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
                                      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
                                      "junk"};
    struct vd_header h[] = {
        header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        header("tracestate", "congo=t61rcWkgMzE")};
    const struct vd_event_reader_conf conf = {.format = VD_FORMAT_JSON};

    (void)state;
    assert_int_equal(read_with(&conf, VD_LIT("{}"), h, 2), VD_OK);
    assert_int_equal(event.traceparent.len, 55);
    assert_span_equal(event.tracestate, "congo=t61rcWkgMzE");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        vd_event_fini(&event);
        h[0] = header("traceparent", bad[i]);
        assert_int_equal(read_with(&conf, VD_LIT("{}"), h, 2), VD_OK);
        assert_int_equal(event.traceparent.len, 0);
        assert_int_equal(event.tracestate.len, 0);
    }
}

static void policies_that_feed_each_other_end(void **state)
{
    struct vd_header h[] = {header("verdict-hops", "7")};
    const struct vd_event_reader_conf conf = {.format = VD_FORMAT_JSON};

    (void)state;
    assert_int_equal(read_with(&conf, VD_LIT("{}"), h, 1), VD_OK);
    assert_int_equal(event.hops, 7);
    vd_event_fini(&event);
    h[0] = header("verdict-hops", "8");
    assert_int_equal(read_with(&conf, VD_LIT("{}"), h, 1), VD_E_LIMIT);
    assert_reason("loop");
    h[0] = header("verdict-hops", "x");
    assert_int_equal(read_with(&conf, VD_LIT("{}"), h, 1), VD_E_INPUT);
}

static void the_decision_id_is_stable_and_particular(void **state)
{
    struct vd_record rec = {.topic = "orders", .partition = 3, .offset = 7, .timestamp_ms = 1000};
    char a[VD_SHA256_HEX_SIZE], b[VD_SHA256_HEX_SIZE];
    struct vd_header h[] = {
        header("verdict-decision-id",
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        header("verdict-redriven", "1"), header("verdict-policy", "p")};

    (void)state;
    assert_int_equal(read_json("{\"id\":\"1\"}"), VD_OK);
    assert_true(vd_decision_id("c", &rec, &event, "p", a));
    assert_true(vd_decision_id("c", &rec, &event, "p", b));
    assert_string_equal(a, b);
    assert_true(vd_decision_id("c", &rec, &event, "q", b));
    assert_string_not_equal(a, b);
    rec.offset = 8;
    assert_true(vd_decision_id("c", &rec, &event, "p", b));
    assert_string_not_equal(a, b);
    vd_event_fini(&event);
    assert_int_equal(
        read_with(&(struct vd_event_reader_conf){.format = VD_FORMAT_JSON}, VD_LIT("{}"), h, 3),
        VD_OK);
    assert_true(vd_decision_id("c", &rec, &event, "p", b));
    assert_memory_equal(b, h[0].value.ptr, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_bare_body_becomes_data, setup, teardown),
        cmocka_unit_test_setup_teardown(an_envelope_keeps_its_members, setup, teardown),
        cmocka_unit_test_setup_teardown(the_topics_expressions_give_the_attributes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(binary_and_structured_cloudevents_look_the_same, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_cloudevent_without_a_required_attribute_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(confluent_framing_is_stripped_or_named, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_bytes_are_refused_with_a_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(a_value_over_the_limit_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(only_valid_trace_context_is_carried, setup, teardown),
        cmocka_unit_test_setup_teardown(policies_that_feed_each_other_end, setup, teardown),
        cmocka_unit_test_setup_teardown(the_decision_id_is_stable_and_particular, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
