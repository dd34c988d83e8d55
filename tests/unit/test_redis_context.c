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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies_become_json),
        cmocka_unit_test(test_max_bytes_stops_at_its_exact_boundary),
    };

    return cmocka_run_group_tests_name("redis context", tests, NULL, NULL);
}
