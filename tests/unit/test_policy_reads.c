/* policy/context: which Redis reads a policy may name. Only bounded ones, and nothing that writes, scans or blocks. */
#include "unit.h"

#include "policy/context.h"

static size_t split(const char *text, struct vd_span words[64])
{
    struct vd_span rest = vd_span_of(text);
    size_t n = 0;

    while (rest.len > 0 && n < 64) {
        size_t end = vd_span_find(rest, ' ');

        words[n++] = vd_span_sub(rest, 0, end);
        rest = vd_span_sub(rest, end + 1, rest.len);
    }
    return n;
}

static bool allowed(const char *command)
{
    struct vd_span words[64];
    enum vd_redis_shape shape;

    return vd_redis_read_allowed(words, split(command, words), &shape, NULL) == VD_OK;
}

static void bounded_reads_are_allowed(void **state)
{
    static const char *const good[] = {"GET k",
                                       "get k",
                                       "HGETALL sub:{event.id}",
                                       "HGET k f",
                                       "HMGET k f g",
                                       "MGET a b c",
                                       "LRANGE k 0 49",
                                       "LRANGE k -50 -1",
                                       "LRANGE k 0 1023",
                                       "ZRANGE k 0 9 WITHSCORES",
                                       "ZREVRANGE k 0 9",
                                       "SISMEMBER k m",
                                       "TTL k"};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!allowed(good[i]))
            fail_msg("%s is refused", good[i]);
}

/* One key more than a template may have. */
static const char many_keys[] = "MGET 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 "
                                "24 25 26 27 28 29 30 31 32";

static void everything_else_is_refused(void **state)
{
    static const char *const bad[] = {"SET k v",
                                      "KEYS *",
                                      "SCAN 0",
                                      "BLPOP k 0",
                                      "EVAL x 0",
                                      "{event.c} k",
                                      "GET",
                                      "GET a b",
                                      "HMGET k",
                                      "LRANGE k 0 -1",
                                      "LRANGE k 0 1024",
                                      "LRANGE k -1025 -1",
                                      "LRANGE k 0 {event.n}",
                                      "ZRANGE k {event.a} 3",
                                      "ZRANGE k 0 9 BYSCORE",
                                      "ZRANGE k -9223372036854775808 -1",
                                      "LRANGE k 0 9 WITHSCORES"};

    (void)state;
    assert_false(allowed(many_keys));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (allowed(bad[i]))
            fail_msg("%s is allowed", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounded_reads_are_allowed),
        cmocka_unit_test(everything_else_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
