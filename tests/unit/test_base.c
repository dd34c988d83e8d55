/* base: spans, buffers, arenas, errors, hashes, times, metrics, allocation faults. */
#include "unit.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/metrics.h"
#include "base/prng.h"

static void numbers_are_whole_and_in_range(void **state)
{
    uint64_t u = 7;
    int64_t i = 7;
    double d = 7;

    (void)state;
    assert_true(vd_parse_u64(VD_LIT("18446744073709551615"), UINT64_MAX, &u));
    assert_true(u == UINT64_MAX);
    assert_false(vd_parse_u64(VD_LIT("18446744073709551616"), UINT64_MAX, &u));
    assert_false(vd_parse_u64(VD_LIT("11"), 10, &u));
    assert_false(vd_parse_u64(VD_LIT(""), 10, &u));
    assert_false(vd_parse_u64(VD_LIT("+1"), 10, &u));
    assert_false(vd_parse_u64(VD_LIT(" 1"), 10, &u));
    assert_true(u == UINT64_MAX);
    assert_true(vd_parse_i64(VD_LIT("-9223372036854775808"), &i));
    assert_true(i == INT64_MIN);
    assert_false(vd_parse_i64(VD_LIT("9223372036854775808"), &i));
    assert_false(vd_parse_i64(VD_LIT("-"), &i));
    assert_true(vd_parse_double(VD_LIT("-1.5e3"), &d));
    assert_true(d < -1499 && d > -1501);
    assert_false(vd_parse_double(VD_LIT("1e999"), &d));
    assert_false(vd_parse_double(VD_LIT("0x10"), &d));
    assert_false(vd_parse_double(VD_LIT("nan"), &d));
}

static void add_over_limit_keeps_content(void **state)
{
    struct vd_buf b;

    (void)state;
    vd_buf_init(&b, 4);
    assert_int_equal(vd_buf_add(&b, VD_LIT("abcd")), VD_OK);
    assert_int_equal(vd_buf_add(&b, VD_LIT("e")), VD_E_LIMIT);
    assert_span_equal(vd_buf_span(&b), "abcd");
    assert_int_equal(b.failed, VD_E_LIMIT);
    vd_buf_clear(&b);
    assert_int_equal(vd_buf_addf(&b, "%d", 12345), VD_E_LIMIT);
    assert_int_equal(b.len, 0);
    vd_buf_free(&b);
}

static void json_strings_escape_what_must_be(void **state)
{
    struct vd_buf b;

    (void)state;
    vd_buf_init(&b, 100);
    assert_int_equal(vd_buf_add_json_string(&b, (struct vd_span){"a\"\\\n\x01\0z", 7}), VD_OK);
    assert_span_equal(vd_buf_span(&b), "\"a\\\"\\\\\\n\\u0001\\u0000z\"");
    vd_buf_free(&b);
}

/* Whatever stands where in eight bytes: the same as one byte after the other. */
static void json_strings_are_escaped_at_every_place(void **state)
{
    static const char bytes[] = "a\x1f \"!#\\[]\x7f\x80\xa2\xdc\xff\x01z";
    struct vd_prng random;

    (void)state;
    vd_prng_init(&random, 5);
    for (int round = 0; round < 20000; round++) {
        char text[40];
        size_t len = (size_t)vd_prng_below(&random, sizeof(text));
        struct vd_buf whole, single;

        vd_buf_init(&whole, 1024);
        vd_buf_init(&single, 1024);
        for (size_t i = 0; i < len; i++)
            text[i] = vd_prng_below(&random, 4) > 0
                          ? 'x'
                          : bytes[vd_prng_below(&random, sizeof(bytes) - 1)];
        (void)vd_buf_add_json_string(&whole, (struct vd_span){text, len});
        (void)vd_buf_add_char(&single, '"');
        for (size_t i = 0; i < len; i++) {
            struct vd_buf one;

            vd_buf_init(&one, 16);
            (void)vd_buf_add_json_string(&one, (struct vd_span){text + i, 1});
            (void)vd_buf_add(&single, vd_span_sub(vd_buf_span(&one), 1, one.len - 2));
            vd_buf_free(&one);
        }
        (void)vd_buf_add_char(&single, '"');
        assert_true(vd_span_eq(vd_buf_span(&whole), vd_buf_span(&single)));
        vd_buf_free(&whole);
        vd_buf_free(&single);
    }
}

static void an_arena_stops_at_its_cap(void **state)
{
    struct vd_arena a;
    struct vd_arena_mark mark;

    (void)state;
    vd_arena_init(&a, 100000);
    assert_non_null(vd_arena_alloc(&a, 10));
    mark = vd_arena_mark(&a);
    assert_non_null(vd_arena_alloc(&a, 90000));
    assert_false(a.capped);
    assert_null(vd_arena_alloc(&a, 20000));
    assert_true(a.capped);
    vd_arena_rewind(&a, mark);
    assert_non_null(vd_arena_alloc(&a, 20000));
    assert_null(vd_arena_array(&a, SIZE_MAX / 2, 4));
    vd_arena_fini(&a);
}

static void rewound_memory_is_zeroed_again(void **state)
{
    struct vd_arena a;
    struct vd_arena_mark mark;
    char *p;

    (void)state;
    vd_arena_init(&a, 1000);
    mark = vd_arena_mark(&a);
    p = vd_arena_strndup(&a, VD_LIT("secret"));
    assert_string_equal(p, "secret");
    vd_arena_rewind(&a, mark);
    p = vd_arena_alloc(&a, 6);
    assert_memory_equal(p, "\0\0\0\0\0\0", 6);
    vd_arena_fini(&a);
}

static void errors_wrap_and_truncate(void **state)
{
    struct vd_err err;
    char deep[400];

    (void)state;
    assert_int_equal(vd_err_set(&err, VD_E_INPUT, false, "bad %s", "thing"), VD_E_INPUT);
    assert_int_equal(vd_err_wrap(&err, VD_E_INPUT, "file %d", 3), VD_E_INPUT);
    assert_string_equal(err.msg, "file 3: bad thing");
    assert_int_equal(vd_err_wrap(NULL, VD_E_LIMIT, "file %d", 3), VD_E_LIMIT);
    memset(deep, 'x', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    (void)vd_err_set(&err, VD_E_INPUT, false, "%s", deep);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
    assert_int_equal(vd_code_exit(VD_E_CONFIG), 78);
    assert_int_equal(vd_code_exit(VD_E_TIMEOUT), 75);
}

static void base64_is_strict_and_round_trips(void **state)
{
    static const char *const bad[] = {
        "a", "ab=c", "====", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "Z g="};
    struct vd_buf text, bytes;

    (void)state;
    vd_buf_init(&text, 100);
    vd_buf_init(&bytes, 100);
    for (size_t n = 0; n <= 6; n++) {
        vd_buf_clear(&text);
        vd_buf_clear(&bytes);
        assert_int_equal(vd_base64_encode(&text, (struct vd_span){"fo\0bar", n}), VD_OK);
        assert_int_equal(vd_base64_decode(&bytes, vd_buf_span(&text)), VD_OK);
        assert_int_equal(bytes.len, n);
        assert_memory_equal(n == 0 ? "" : bytes.ptr, "fo\0bar", n);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        vd_buf_clear(&bytes);
        assert_int_equal(vd_base64_decode(&bytes, vd_span_of(bad[i])), VD_E_INPUT);
        assert_int_equal(bytes.len, 0);
    }
    vd_buf_free(&text);
    vd_buf_free(&bytes);
}

static void digests_are_the_standards(void **state)
{
    struct vd_sha256 d = vd_sha256(VD_LIT("abc"));
    char hex[VD_SHA256_HEX_SIZE];
    char long_key[131], text[1000];
    struct vd_hasher *a = vd_hasher_new(), *b = vd_hasher_new();
    struct vd_sha256 da, db;

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 7);
    vd_sha256_hex(&d, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    d = vd_hmac_sha256(VD_LIT("Jefe"),
                       VD_LIT("what do ya want for nothing?")); /* RFC 4231, case 2 */
    vd_sha256_hex(&d, hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(long_key, 0xaa, sizeof(long_key)); /* case 6: a key longer than a block */
    d = vd_hmac_sha256((struct vd_span){long_key, sizeof(long_key)},
                       VD_LIT("Test Using Larger Than Block-Size Key - Hash Key First"));
    vd_sha256_hex(&d, hex);
    assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    assert_int_equal(vd_crc32(VD_LIT("123456789")), 0xcbf43926);
    vd_hasher_part(a, VD_LIT("ab"));
    vd_hasher_part(a, VD_LIT("c"));
    vd_hasher_part(b, VD_LIT("a"));
    vd_hasher_part(b, VD_LIT("bc"));
    da = vd_hasher_finish(a);
    db = vd_hasher_finish(b);
    assert_memory_not_equal(da.bytes, db.bytes, sizeof(da.bytes));
    /* However it is added, it is the hash of all of it. */
    for (size_t step = 1; step <= sizeof(text); step += step < 260 ? 1 : 97) {
        a = vd_hasher_new();
        for (size_t at = 0; at < sizeof(text); at += step)
            vd_hasher_add(a, vd_span_sub((struct vd_span){text, sizeof(text)}, at, step));
        da = vd_hasher_finish(a);
        db = vd_sha256((struct vd_span){text, sizeof(text)});
        assert_memory_equal(da.bytes, db.bytes, sizeof(da.bytes));
    }
}

static void times_read_and_write_as_rfc3339(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2024-02-29T23:59:60.9999Z", 1709251200999},
        {"1985-04-12t23:20:50.52z", 482196050520},
        {"1996-12-19T16:39:57-08:00", 851042397000},
        {"1937-01-01T12:00:27.87+00:20", -1041337172130},
    };
    static const char *const bad[] = {
        "2023-02-29T00:00:00Z",  "2023-13-01T00:00:00Z",  "2023-01-01",
        "2023-01-01T24:00:00Z",  "2023-01-01T00:00:00",   "2023-01-01T00:00:00.Z",
        "2023-01-01T00:00:00+1", "2023-01-01T00:00:00Zx", "23-01-01T00:00:00Z"};
    char text[VD_RFC3339_SIZE];
    int64_t ms;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(vd_rfc3339_parse(vd_span_of(good[i].text), &ms));
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(vd_rfc3339_parse(vd_span_of(bad[i]), &ms));
    vd_rfc3339_format(482196050520, text);
    assert_string_equal(text, "1985-04-12T23:20:50.520Z");
    vd_rfc3339_format(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    vd_rfc3339_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

static void metrics_render_as_prometheus_reads_them(void **state)
{
    struct vd_metrics *m = vd_metrics_new();
    struct vd_buf out;

    (void)state;
    vd_metric_add(m, VD_M_DECISIONS, "billing.dunning", "decided", 2);
    vd_metric_add(m, VD_M_DECISIONS, "billing.dunning", "decided", 1);
    vd_metric_add(m, VD_M_WAIT, "redis", "", 1500);
    vd_metric_observe_ms(m, VD_M_MODEL_TIME, "main", 30);
    assert_int_equal(vd_metric_sum(m, VD_M_DECISIONS, NULL, "decided"), 3);
    vd_buf_init(&out, 1u << 20);
    assert_int_equal(vd_metrics_render(m, &out), VD_OK);
    assert_non_null(strstr(
        out.ptr, "verdict_decisions_total{policy=\"billing.dunning\",status=\"decided\"} 3\n"));
    assert_non_null(strstr(out.ptr, "verdict_wait_seconds_total{reason=\"redis\"} 1.500\n"));
    assert_non_null(
        strstr(out.ptr, "verdict_model_duration_seconds_bucket{model=\"main\",le=\"0.025\"} 0\n"));
    assert_non_null(
        strstr(out.ptr, "verdict_model_duration_seconds_bucket{model=\"main\",le=\"0.05\"} 1\n"));
    assert_non_null(
        strstr(out.ptr, "verdict_model_duration_seconds_bucket{model=\"main\",le=\"+Inf\"} 1\n"));
    vd_buf_free(&out);
    (void)vd_metrics_free(m);
}

static void formatted_text_and_numbers_arrive_whole_at_every_fill(void **state)
{
    (void)state;
    for (size_t filled = 0; filled < 300; filled++) {
        char expected[400];
        struct vd_buf b;
        int n;

        vd_buf_init(&b, 1000);
        for (size_t i = 0; i < filled; i++)
            assert_int_equal(vd_buf_add_char(&b, 'x'), VD_OK);
        assert_int_equal(vd_buf_addf(&b, "%s-%d", "middle", 42), VD_OK);
        assert_int_equal(vd_buf_add_i64(&b, INT64_MIN), VD_OK);
        assert_int_equal(vd_buf_add_i64(&b, 0), VD_OK);
        memset(expected, 'x', filled);
        n = snprintf(expected + filled, sizeof(expected) - filled,
                     "middle-42-92233720368547758080");
        assert_int_equal(b.len, filled + (size_t)n);
        assert_string_equal(b.ptr, expected);
        vd_buf_free(&b);
    }
}

static void formatted_text_above_the_maximum_leaves_the_content(void **state)
{
    struct vd_buf b;

    (void)state;
    vd_buf_init(&b, 6);
    assert_int_equal(vd_buf_reserve(&b, 6), VD_OK);
    assert_int_equal(vd_buf_addf(&b, "%s", "abcd"), VD_OK);
    assert_int_equal(vd_buf_addf(&b, "%s", "efg"), VD_E_LIMIT);
    assert_string_equal(b.ptr, "abcd");
    vd_buf_free(&b);
    vd_buf_init(&b, 6);
    assert_int_equal(vd_buf_reserve(&b, 7), VD_E_LIMIT);
    vd_buf_free(&b);
}

static void the_nth_allocation_fails_once(void **state)
{
    void *a, *b, *c;

    (void)state;
    vd_alloc_fail_after(1);
    a = vd_alloc(1);
    b = vd_alloc(1);
    c = vd_alloc(1);
    vd_alloc_fail_after(-1);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    (void)vd_free(a);
    (void)vd_free(c);
    assert_null(vd_alloc_array(SIZE_MAX, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_whole_and_in_range),
        cmocka_unit_test(add_over_limit_keeps_content),
        cmocka_unit_test(json_strings_escape_what_must_be),
        cmocka_unit_test(json_strings_are_escaped_at_every_place),
        cmocka_unit_test(an_arena_stops_at_its_cap),
        cmocka_unit_test(rewound_memory_is_zeroed_again),
        cmocka_unit_test(errors_wrap_and_truncate),
        cmocka_unit_test(base64_is_strict_and_round_trips),
        cmocka_unit_test(digests_are_the_standards),
        cmocka_unit_test(times_read_and_write_as_rfc3339),
        cmocka_unit_test(metrics_render_as_prometheus_reads_them),
        cmocka_unit_test(formatted_text_and_numbers_arrive_whole_at_every_fill),
        cmocka_unit_test(formatted_text_above_the_maximum_leaves_the_content),
        cmocka_unit_test(the_nth_allocation_fails_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
