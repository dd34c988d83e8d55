/* Redis reads: what is allowed, what a reply becomes, and types by schema. No server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "json/json.h"
#include "redis/context.h"

static size_t split(const char *command, struct vd_span *argv, size_t max)
{
    struct vd_span rest = vd_span_of(command);
    size_t n = 0;

    while (rest.len > 0 && n < max) {
        size_t at = vd_span_find(rest, ' ');

        argv[n++] = vd_span_sub(rest, 0, at);
        rest = vd_span_sub(rest, at + 1, rest.len);
    }
    return n;
}

static void test_only_bounded_reads_are_allowed(void **state)
{
    static const struct {
        const char *command;
        const char *error; /* NULL: allowed */
    } rows[] = {
        {"GET k:{event.id}", NULL},
        {"get k", NULL},
        {"HGETALL sub:{event.data.object.subscription}", NULL},
        {"HMGET k a b c", NULL},
        {"MGET a b", NULL},
        {"LRANGE k 0 49", NULL},
        {"LRANGE k -50 -1", NULL},
        {"ZRANGE k 0 1023", NULL},
        {"ZRANGE k 0 9 WITHSCORES", NULL},
        {"SISMEMBER k {event.x}", NULL},
        {"ZSCORE k {event.x}", NULL},
        {"TTL k", NULL},
        {"SET k v", "may not use"},
        {"KEYS *", "may not use"},
        {"EVAL x 0", "may not use"},
        {"SCAN 0", "may not use"},
        {"SORT k", "may not use"},
        {"BLPOP k 0", "may not use"},
        {"CONFIG GET x", "may not use"},
        {"{event.cmd} k", "cannot be filled in"},
        {"GET", "takes 1 words"},
        {"GET a b", "takes 1 words"},
        {"HMGET k", "at least 2"},
        {"LRANGE k 0 -1", "bounded"},
        {"LRANGE k 0 1024", "bounded"},
        {"LRANGE k -1025 -1", "bounded"},
        {"LRANGE k 0 {event.n}", "literal whole numbers"},
        {"ZRANGE k {event.a} 3", "literal whole numbers"},
        {"ZRANGE k 0 9 BYSCORE", "takes 3 words"},
        {"ZRANGE k -9223372036854775808 -1", "bounded"},
        {"LRANGE k 0 9 WITHSCORES", "takes 3 words"},
        {"", "may not use"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vd_span argv[8];
        struct vd_err err = {0};
        size_t argc = split(rows[i].command, argv, 8);
        enum vd_code rc = vd_redis_read_check(argv, argc, &err);

        if (rows[i].error == NULL) {
            assert_int_equal(rc, VD_OK);
        } else {
            assert_int_equal(rc, VD_E_CONFIG);
            assert_non_null(strstr(err.msg, rows[i].error));
        }
    }
}

/* -- replies ------------------------------------------------------------------------------------------------------------- */

/* "n" nil, "s<text>" string, "i<n>" integer, "e<text>" error; several joined by '|' make an array, "[]" an empty one. */
static struct vd_redis_reply scalar(struct vd_span s)
{
    struct vd_redis_reply r = {.kind = VD_REDIS_NIL};

    if (s.ptr[0] == 's' || s.ptr[0] == 'e') {
        r.kind = s.ptr[0] == 's' ? VD_REDIS_STRING : VD_REDIS_ERROR;
        r.s = vd_span_sub(s, 1, s.len);
    } else if (s.ptr[0] == 'i') {
        r.kind = VD_REDIS_INT;
        assert_true(vd_parse_i64(vd_span_sub(s, 1, s.len), &r.i));
    }
    return r;
}

static void check_value(const char *command, const char *reply_text, bool array, size_t max_bytes,
                        const char *expected)
{
    struct vd_span argv[8], rest = vd_span_of(reply_text);
    size_t argc = split(command, argv, 8);
    struct vd_redis_reply items[8], reply;
    struct vd_redis_reply *pointers[8];
    struct vd_err err = {0};
    cJSON *value = NULL;
    struct vd_buf out;
    enum vd_code rc;

    if (array) {
        reply = (struct vd_redis_reply){.kind = VD_REDIS_ARRAY, .items = pointers};
        while (rest.len > 0) {
            size_t at = vd_span_find(rest, '|');

            items[reply.count] = scalar(vd_span_sub(rest, 0, at));
            pointers[reply.count] = &items[reply.count];
            reply.count++;
            rest = vd_span_sub(rest, at + 1, rest.len);
        }
    } else {
        reply = scalar(rest);
    }
    rc = vd_redis_read_value(argv, argc, &reply, max_bytes, &value, &err);
    vd_buf_init(&out, 4096);
    if (rc != VD_OK)
        (void)vd_buf_addf(&out, "%s: %s", vd_code_name(rc), err.msg);
    else if (value == NULL)
        (void)vd_buf_add_c(&out, "absent");
    else
        assert_int_equal(vd_json_write(&out, value), VD_OK);
    if (expected[0] == '~')
        assert_non_null(strstr(out.ptr, expected + 1));
    else
        assert_string_equal(out.ptr, expected);
    vd_buf_free(&out);
    (void)vd_json_free(value);
}

static void test_replies_become_json(void **state)
{
    (void)state;
    check_value("GET k", "n", false, 0, "absent");
    check_value("GET k", "s", false, 0, "\"\"");
    check_value("GET k", "s{\"a\": 12345678901234567890}", false, 0,
                "{\"a\":12345678901234567890}");
    check_value("GET k", "s[1,2]", false, 0, "[1,2]");
    check_value("GET k", "s{broken", false, 0, "\"{broken\"");
    check_value("GET k", "s12", false, 0, "\"12\"");
    check_value("GET k", "s\xff", false, 0, "~not UTF-8");
    check_value("GET k", "eWRONGTYPE Operation against secret", false, 0, "~Redis says WRONGTYPE");
    check_value("HGET k f", "s{\"a\":1}", false, 0, "\"{\\\"a\\\":1}\"");
    check_value("HGETALL k", "", true, 0, "absent");
    check_value("HGETALL k", "sa|s1|sb|s", true, 0, "{\"a\":\"1\",\"b\":\"\"}");
    check_value("HGETALL k", "s\xff|s1", true, 0, "~not UTF-8");
    check_value("HMGET k a b", "s1|n", true, 0, "{\"a\":\"1\"}");
    check_value("HMGET k a b", "n|n", true, 0, "absent");
    check_value("MGET a b", "s1|n", true, 0, "[\"1\",null]");
    check_value("LRANGE k 0 9", "sx|sy", true, 0, "[\"x\",\"y\"]");
    check_value("SMEMBERS k", "", true, 0, "absent");
    check_value("ZRANGE k 0 9 WITHSCORES", "sm|s1.5", true, 0,
                "[{\"member\":\"m\",\"score\":1.5}]");
    check_value("ZRANGE k 0 9 WITHSCORES", "sm|sinf", true, 0, "~not a finite number");
    check_value("ZSCORE k m", "s17", false, 0, "17");
    check_value("ZSCORE k m", "n", false, 0, "absent");
    check_value("EXISTS k", "i1", false, 0, "true");
    check_value("SISMEMBER k m", "i0", false, 0, "false");
    check_value("HLEN k", "i3", false, 0, "3");
    check_value("TTL k", "i-2", false, 0, "absent");
    check_value("TTL k", "i-1", false, 0, "null");
    check_value("TTL k", "i60", false, 0, "60");
    check_value("HLEN k", "sx", false, 0, "~not a number");
}

static void test_max_bytes_stops_at_its_exact_boundary(void **state)
{
    (void)state;
    check_value("GET k", "s12345", false, 5, "\"12345\"");
    check_value("GET k", "s123456", false, 5, "~more than max_bytes = 5");
    check_value("HGETALL k", "sab|s345", true, 5, "{\"ab\":\"345\"}");
    check_value("HGETALL k", "sab|s3456", true, 5, "~more than max_bytes = 5");
}

/* -- conversion ---------------------------------------------------------------------------------------------------------- */

static void test_strings_become_what_the_schema_wants(void **state)
{
    static const struct {
        const char *value, *schema, *expected;
    } rows[] = {
        {"{\"n\":\"12\"}", "{\"properties\":{\"n\":{\"type\":\"integer\"}}}", "{\"n\":12}"},
        {"{\"n\":\"12.0\"}", "{\"properties\":{\"n\":{\"type\":\"integer\"}}}", "{\"n\":\"12.0\"}"},
        {"{\"n\":\"-0.5\"}", "{\"properties\":{\"n\":{\"type\":\"number\"}}}", "{\"n\":-0.5}"},
        {"{\"n\":\"12\"}", "{\"properties\":{\"n\":{\"type\":\"number\"}}}", "{\"n\":12}"},
        {"{\"n\":\"0x1f\"}", "{\"properties\":{\"n\":{\"type\":\"number\"}}}", "{\"n\":\"0x1f\"}"},
        {"{\"n\":\" 1\"}", "{\"properties\":{\"n\":{\"type\":\"boolean\"}}}", "{\"n\":\" 1\"}"},
        {"{\"b\":\"true\",\"c\":\"0\",\"d\":\"yes\"}",
         "{\"additionalProperties\":{\"type\":\"boolean\"}}",
         "{\"b\":true,\"c\":false,\"d\":\"yes\"}"},
        {"{\"n\":\"\"}", "{\"properties\":{\"n\":{\"type\":[\"integer\",\"null\"]}}}",
         "{\"n\":null}"},
        {"{\"n\":\"\"}", "{\"properties\":{\"n\":{\"type\":[\"string\",\"null\"]}}}",
         "{\"n\":\"\"}"},
        {"{\"n\":\"7\"}", "{\"properties\":{\"n\":{\"type\":\"string\"}}}", "{\"n\":\"7\"}"},
        {"{\"n\":\"7\"}", "{}", "{\"n\":\"7\"}"},
        {"{\"l\":\"[1,2]\"}", "{\"properties\":{\"l\":{\"type\":\"array\"}}}", "{\"l\":[1,2]}"},
        {"{\"o\":\"{\\\"a\\\":1}\"}", "{\"properties\":{\"o\":{\"type\":\"object\"}}}",
         "{\"o\":{\"a\":1}}"},
        {"{\"o\":\"[1]\"}", "{\"properties\":{\"o\":{\"type\":\"object\"}}}", "{\"o\":\"[1]\"}"},
        {"{\"n\":\"900719925474099312345\"}", "{\"properties\":{\"n\":{\"type\":\"integer\"}}}",
         "{\"n\":900719925474099312345}"},
        {"{\"n\":\"1\"}",
         "{\"$defs\":{\"i\":{\"type\":\"integer\"}},\"properties\":{\"n\":{\"$ref\":\"#/$defs/"
         "i\"}}}",
         "{\"n\":1}"},
        {"{\"n\":\"1\"}", "{\"allOf\":[{\"properties\":{\"n\":{\"type\":\"integer\"}}}]}",
         "{\"n\":1}"},
        {"{\"n\":\"1\"}",
         "{\"properties\":{\"n\":{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"null\"}]}}}",
         "{\"n\":1}"},
        {"{\"n\":\"1\"}", "{\"properties\":{\"n\":{\"$ref\":\"#/properties/n\"}}}",
         "{\"n\":\"1\"}"},
        {"[\"1\",\"x\",\"3\"]", "{\"items\":{\"type\":\"integer\"}}", "[1,\"x\",3]"},
        {"\"5\"", "{\"type\":\"integer\"}", "5"},
        {"\"5\"", "true", "\"5\""},
        {"{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\"}",
         "{\"properties\":{\"a\":{\"type\":\"integer\"},\"c\":{\"type\":\"integer\"}}}",
         "{\"a\":1,\"b\":\"2\",\"c\":3}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cJSON *value = NULL, *schema = NULL;
        struct vd_buf out;

        assert_int_equal(vd_json_parse(vd_span_of(rows[i].value), &value, NULL), VD_OK);
        assert_int_equal(vd_json_parse(vd_span_of(rows[i].schema), &schema, NULL), VD_OK);
        assert_int_equal(vd_redis_convert(&value, schema, NULL), VD_OK);
        vd_buf_init(&out, 4096);
        assert_int_equal(vd_json_write(&out, value), VD_OK);
        assert_string_equal(out.ptr, rows[i].expected);
        vd_buf_free(&out);
        (void)vd_json_free(value);
        (void)vd_json_free(schema);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_bounded_reads_are_allowed),
        cmocka_unit_test(test_replies_become_json),
        cmocka_unit_test(test_max_bytes_stops_at_its_exact_boundary),
        cmocka_unit_test(test_strings_become_what_the_schema_wants),
    };

    return cmocka_run_group_tests_name("redis context", tests, NULL, NULL);
}
