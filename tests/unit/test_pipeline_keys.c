/* pipeline/keys: order within a key, none between keys. */
#include "unit.h"

#include <stdio.h>

#include "pipeline/keys.h"

#define MAX 1000

struct log {
    void *ready[MAX];
    size_t count;
};

static void on_ready(void *arg, void *job)
{
    struct log *log = arg;

    log->ready[log->count++] = job;
}

static size_t enter(struct vd_keys *keys, int32_t partition, const char *policy, const char *key,
                    struct vd_key_entry *entry)
{
    size_t ahead = 99;

    entry->job = entry;
    assert_int_equal(vd_keys_enter(keys, VD_LIT("orders"), partition, vd_span_of(policy),
                                   vd_span_of(key), entry, &ahead),
                     VD_OK);
    return ahead;
}

static void the_next_of_a_key_starts_when_the_first_leaves(void **state)
{
    struct log log = {.count = 0};
    struct vd_keys *keys = vd_keys_new(on_ready, &log);
    struct vd_key_entry a, b, c;

    (void)state;
    assert_int_equal(enter(keys, 0, "p", "k", &a), 0);
    assert_int_equal(enter(keys, 0, "p", "k", &b), 1);
    assert_int_equal(enter(keys, 0, "p", "k", &c), 2);
    assert_int_equal(log.count, 0);
    vd_keys_leave(keys, &a);
    assert_int_equal(log.count, 1);
    assert_ptr_equal(log.ready[0], &b);
    vd_keys_leave(keys, &c); /* from the middle: nobody starts */
    assert_int_equal(log.count, 1);
    vd_keys_leave(keys, &b);
    assert_int_equal(log.count, 1);
    assert_int_equal(vd_keys_count(keys), 0);
    (void)vd_keys_free(keys);
}

static void different_keys_policies_and_partitions_never_wait(void **state)
{
    struct log log = {.count = 0};
    struct vd_keys *keys = vd_keys_new(on_ready, &log);
    struct vd_key_entry e[4];

    (void)state;
    assert_int_equal(enter(keys, 0, "p", "k", &e[0]), 0);
    assert_int_equal(enter(keys, 0, "p", "k2", &e[1]), 0);
    assert_int_equal(enter(keys, 1, "p", "k", &e[2]), 0);
    assert_int_equal(enter(keys, 0, "pk", "", &e[3]), 0);
    for (int i = 0; i < 4; i++)
        vd_keys_leave(keys, &e[i]);
    assert_int_equal(log.count, 0);
    (void)vd_keys_free(keys);
}

static void thousands_of_keys_are_found_again(void **state)
{
    static struct vd_key_entry first[MAX], second[MAX];
    struct log log = {.count = 0};
    struct vd_keys *keys = vd_keys_new(on_ready, &log);
    char name[16];

    (void)state;
    for (int i = 0; i < MAX; i++) {
        (void)snprintf(name, sizeof(name), "key-%d", i);
        assert_int_equal(enter(keys, 0, "p", name, &first[i]), 0);
    }
    for (int i = 0; i < MAX; i++) {
        (void)snprintf(name, sizeof(name), "key-%d", i);
        assert_int_equal(enter(keys, 0, "p", name, &second[i]), 1);
    }
    for (int i = 0; i < MAX; i++) {
        vd_keys_leave(keys, &first[i]);
        assert_ptr_equal(log.ready[i], &second[i]);
        vd_keys_leave(keys, &second[i]);
    }
    assert_int_equal(vd_keys_count(keys), 0);
    (void)vd_keys_free(keys);
}

static void a_key_on_another_partition_is_noticed(void **state)
{
    struct log log = {.count = 0};
    struct vd_keys *keys = vd_keys_new(on_ready, &log);

    (void)state;
    assert_false(vd_keys_moved(keys, VD_LIT("p"), VD_LIT("k"), 0));
    assert_false(vd_keys_moved(keys, VD_LIT("p"), VD_LIT("k"), 0));
    assert_true(vd_keys_moved(keys, VD_LIT("p"), VD_LIT("k"), 1));
    assert_false(vd_keys_moved(keys, VD_LIT("q"), VD_LIT("k"), 0));
    (void)vd_keys_free(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_of_a_key_starts_when_the_first_leaves),
        cmocka_unit_test(different_keys_policies_and_partitions_never_wait),
        cmocka_unit_test(thousands_of_keys_are_found_again),
        cmocka_unit_test(a_key_on_another_partition_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
