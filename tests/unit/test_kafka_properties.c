/* tests/unit/test_kafka_properties.c - what may be passed through to librdkafka, and what may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kafka/kafka.h"
#include "kafka/ledger.h"
#include "kafka/properties.h"

static const char *const topics[] = {"in"};
static const char *const outputs[] = {"out"};

static struct vd_kafka_conf plain(void)
{
    return (struct vd_kafka_conf){.brokers = "localhost:9092",
                                  .group = "g",
                                  .topics = topics,
                                  .topic_count = 1,
                                  .output_topics = outputs,
                                  .output_topic_count = 1};
}

struct faults {
    size_t count;
    char keys[32][64];
    char whys[32][256];
};

static void collect(void *arg, const char *key, const char *why)
{
    struct faults *f = arg;

    assert_true(f->count < 32);
    (void)snprintf(f->keys[f->count], sizeof(f->keys[0]), "%s", key);
    (void)snprintf(f->whys[f->count], sizeof(f->whys[0]), "%s", why);
    f->count++;
}

static struct faults check(const struct vd_kafka_property *properties, size_t count)
{
    struct vd_kafka_conf conf = plain();
    struct faults f = {0};
    size_t n;

    conf.properties = properties;
    conf.property_count = count;
    n = vd_kafka_conf_check(&conf, collect, &f);
    assert_int_equal(n, f.count);
    return f;
}

static void what_would_break_a_promise_is_refused_by_name_and_reason(void **state)
{
    static const char *const names[] = {
        "isolation.level",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "transactional.id",
        "transaction.timeout.ms",
        "enable.idempotence",
        "acks",
        "group.protocol",
        "partition.assignment.strategy",
        "partitioner",
        "client.rack",
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct vd_kafka_property p = {names[i], "earliest"};
        struct faults f = check(&p, 1);

        if (strcmp(names[i], "client.rack") == 0 && rd_kafka_version() >= 0x02010100)
            continue;
        assert_int_equal(f.count, 1);
        assert_string_equal(f.keys[0], names[i]);
        assert_non_null(strstr(f.whys[0], "refused: "));
        assert_true(strlen(f.whys[0]) > 25);
    }
}

static void all_faults_are_reported_at_once(void **state)
{
    static const struct vd_kafka_property p[] = {{"acks", "1"},
                                                 {"no.such.property", "x"},
                                                 {"fetch.wait.max.ms", "many"},
                                                 {"security.protocol", "plaintext"}};
    struct faults f = check(p, 4);

    (void)state;
    assert_int_equal(f.count, 3);
    assert_string_equal(f.keys[1], "no.such.property");
    assert_string_equal(f.keys[2], "fetch.wait.max.ms");
}

static void a_refused_property_cannot_come_through_a_file(void **state)
{
    char path[] = "/tmp/verdict-property-XXXXXX";
    int fd = mkstemp(path);
    struct vd_kafka_property p = {"acks_file", path};
    struct faults f;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "1\n", 2), 2);
    f = check(&p, 1);
    (void)close(fd);
    (void)unlink(path);
    assert_int_equal(f.count, 1);
    assert_non_null(strstr(f.whys[0], "refused"));
}

static void a_secret_comes_from_a_file_without_its_newline(void **state)
{
    char path[] = "/tmp/verdict-property-XXXXXX", value[64] = "";
    int fd = mkstemp(path);
    struct vd_kafka_property p = {"sasl.password_file", path};
    struct vd_kafka_conf conf = plain();
    rd_kafka_conf_t *rk = NULL;
    size_t size = sizeof(value);
    struct vd_err err;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "s3cret\n", 7), 7);
    conf.properties = &p;
    conf.property_count = 1;
    assert_int_equal(vd_properties_consumer(&conf, &rk, &err), VD_OK);
    (void)close(fd);
    (void)unlink(path);
    assert_int_equal(rd_kafka_conf_get(rk, "sasl.password", value, &size), RD_KAFKA_CONF_OK);
    assert_string_equal(value, "s3cret");
    rd_kafka_conf_destroy(rk);
}

static void a_secret_file_that_is_missing_is_named(void **state)
{
    struct vd_kafka_property p = {"sasl.password_file", "/nonexistent/secret"};
    struct faults f = check(&p, 1);

    (void)state;
    assert_int_equal(f.count, 1);
    assert_string_equal(f.keys[0], "sasl.password_file");
    assert_non_null(strstr(f.whys[0], "/nonexistent/secret"));
}

static void a_secret_file_that_is_too_large_is_refused(void **state)
{
    char path[] = "/tmp/verdict-property-XXXXXX";
    int fd = mkstemp(path);
    struct vd_kafka_property p = {"ssl.key.pem_file", path};
    struct faults f;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, VD_KAFKA_PROPERTY_MAX_BYTES + 1), 0);
    f = check(&p, 1);
    (void)close(fd);
    (void)unlink(path);
    assert_int_equal(f.count, 1);
    assert_string_equal(f.keys[0], "ssl.key.pem_file");
}

static void a_secret_value_is_never_part_of_a_message(void **state)
{
    struct vd_kafka_property p = {"ssl.key.pem", "hunter2"};
    struct faults f = check(&p, 1);

    (void)state;
    if (f.count > 0)
        assert_null(strstr(f.whys[0], "hunter2"));
    assert_true(vd_kafka_property_secret("sasl.password"));
    assert_true(vd_kafka_property_secret("ssl.key.pem"));
    assert_true(vd_kafka_property_secret("sasl.oauthbearer.client.secret"));
    assert_false(vd_kafka_property_secret("sasl.password_file"));
    assert_false(vd_kafka_property_secret("sasl.username"));
}

static void assert_property(rd_kafka_conf_t *rk, const char *name, const char *expected)
{
    char value[256] = "";
    size_t size = sizeof(value);

    assert_int_equal(rd_kafka_conf_get(rk, name, value, &size), RD_KAFKA_CONF_OK);
    assert_string_equal(value, expected);
}

static void both_clients_get_what_the_promises_need(void **state)
{
    struct vd_kafka_conf conf = plain();
    rd_kafka_conf_t *rk = NULL;
    struct vd_err err;

    (void)state;
    conf.transactional_id = "slot-1";
    assert_int_equal(vd_properties_consumer(&conf, &rk, &err), VD_OK);
    assert_property(rk, "isolation.level", "read_committed");
    assert_property(rk, "enable.auto.commit", "false");
    assert_property(rk, "enable.auto.offset.store", "false");
    assert_property(rk, "auto.offset.reset", "error");
    assert_property(rk, "partition.assignment.strategy", "cooperative-sticky");
    assert_property(rk, "enable.partition.eof", "true");
    rd_kafka_conf_destroy(rk);
    assert_int_equal(vd_properties_producer(&conf, 100000, &rk, &err), VD_OK);
    assert_property(rk, "transactional.id", "slot-1");
    assert_property(rk, "transaction.timeout.ms", "10000");
    assert_property(rk, "enable.idempotence", "true");
    assert_property(rk, "partitioner", "murmur2_random");
    assert_property(rk, "batch.size", "100000");
    assert_property(rk, "message.max.bytes", "67108864"); /* VD_KAFKA_MESSAGE_MAX_BYTES */
    rd_kafka_conf_destroy(rk);
}

static void at_least_once_is_eager_where_librdkafka_could_lose_assignments(void **state)
{
    struct vd_kafka_conf conf = plain();
    rd_kafka_conf_t *rk = NULL;
    struct vd_err err;

    (void)state;
    conf.delivery = VD_KAFKA_AT_LEAST_ONCE;
    assert_int_equal(vd_properties_consumer(&conf, &rk, &err), VD_OK);
    assert_property(rk, "partition.assignment.strategy",
                    rd_kafka_version() < 0x020a0000 ? "range,roundrobin" : "cooperative-sticky");
    rd_kafka_conf_destroy(rk);
    assert_int_equal(vd_properties_producer(&conf, 0, &rk, &err), VD_OK);
    assert_property(rk, "enable.idempotence", "true");
    rd_kafka_conf_destroy(rk);
}

static void settings_that_cannot_be_are_named(void **state)
{
    struct vd_kafka_conf conf = plain();
    struct faults f = {0};

    (void)state;
    conf.max_offset_span = VD_LEDGER_MAX_SPAN + 1;
    assert_int_equal(vd_kafka_conf_check(&conf, collect, &f), 1);
    assert_string_equal(f.keys[0], "max_offset_span");
    conf = plain();
    conf.group = NULL;
    assert_int_equal(vd_kafka_conf_check(&conf, collect, &f), 1);
    assert_string_equal(f.keys[1], "group");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_would_break_a_promise_is_refused_by_name_and_reason),
        cmocka_unit_test(all_faults_are_reported_at_once),
        cmocka_unit_test(a_refused_property_cannot_come_through_a_file),
        cmocka_unit_test(a_secret_comes_from_a_file_without_its_newline),
        cmocka_unit_test(a_secret_file_that_is_missing_is_named),
        cmocka_unit_test(a_secret_file_that_is_too_large_is_refused),
        cmocka_unit_test(a_secret_value_is_never_part_of_a_message),
        cmocka_unit_test(both_clients_get_what_the_promises_need),
        cmocka_unit_test(at_least_once_is_eager_where_librdkafka_could_lose_assignments),
        cmocka_unit_test(settings_that_cannot_be_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
