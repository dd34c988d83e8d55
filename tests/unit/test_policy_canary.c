/* Two versions of one policy: who decides which key, and what may be a candidate. */
#include "policy_unit.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/canary.h"
#include "policy/set.h"

static const char canary_head[] =
    "policy = { id = \"t.policy\"; version = 3; mode = \"canary\"; };";
static const char next_head[] = "policy = { id = \"t.policy\"; version = 4; mode = \"enforce\"; };";

/* -- which key ------------------------------------------------------------------------------------------------------- */

static size_t chosen(unsigned share, bool *was_chosen)
{
    struct vd_policy candidate = {.id = "t.policy", .version = 4};
    struct vd_policy current = {
        .id = "t.policy", .version = 3, .canary_share = share, .candidate = &candidate};
    size_t count = 0;

    for (int i = 0; i < 10000; i++) {
        char key[16];
        bool is = false;

        (void)snprintf(key, sizeof(key), "cus_%d", i);
        is = vd_canary_choose(&current, vd_span_of(key)) == &candidate;
        if (was_chosen[i])
            assert_true(is); /* I2 */
        was_chosen[i] = is;
        count += is;
    }
    return count;
}

static void test_a_share_of_ten_thousand_keys_is_what_percent_says(void **state)
{
    static const unsigned shares[] = {0, 1, 100, 1000, 2500, 5000, 9999, 10000};
    bool was_chosen[10000] = {false};

    (void)state;
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        double p = (double)shares[i] / VD_CANARY_SHARES, expected = 10000 * p;
        double off = (double)chosen(shares[i], was_chosen) - expected;

        /* Four standard deviations of 10,000 independent keys; exact at both ends. */
        assert_true(off * off <= 16 * expected * (1 - p));
    }
}

static void test_a_key_falls_where_it_always_did(void **state)
{
    (void)state;
    /* First 8 bytes of: printf 't.policy\0cus_1' | sha256sum, modulo 10000. Another number here moves customers of a running canary. */
    assert_int_equal(vd_canary_share_of("t.policy", VD_LIT("cus_1")), 687);
    assert_int_equal(vd_canary_share_of("t.policy", VD_LIT("cus_2")), 5688);
    assert_int_equal(vd_canary_share_of("t.other", VD_LIT("cus_1")), 8110);
    assert_int_equal(vd_canary_share_of("", VD_LIT("")), 3192);
}

/* -- loading --------------------------------------------------------------------------------------------------------- */

struct folder {
    char path[64], main[96], next[96];
};

static int set_up(void **state)
{
    struct folder *f = vd_alloc(sizeof(*f));

    (void)snprintf(f->path, sizeof(f->path), "/tmp/verdict-canary-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    (void)snprintf(f->main, sizeof(f->main), "%s/main.cfg", f->path);
    (void)snprintf(f->next, sizeof(f->next), "%s/next.cfg", f->path);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct folder *f = *state;

    (void)unlink(f->main);
    (void)unlink(f->next);
    (void)rmdir(f->path);
    (void)vd_free(f);
    return 0;
}

static void write_policy(const char *path, const struct parts *parts)
{
    char *text = policy_text(parts);
    FILE *out = fopen(path, "w");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
    vd_free(text);
}

static void write_pair(const struct folder *f, const char *canary, const struct parts *next)
{
    write_policy(f->main, &(struct parts){.head = canary_head, .more = canary});
    if (next != NULL)
        write_policy(f->next, next);
}

/* Loads path; says gets what was said. NULL: refused. */
static struct vd_policy_set *load_set(const char *path, struct vd_buf *says)
{
    struct vd_policy_set *set = NULL;
    struct vd_diags diags;

    vd_diags_init(&diags);
    vd_buf_init(says, 1 << 16);
    if (vd_policy_set_load(&path, 1, NULL, &diags, &set, NULL) != VD_OK)
        set = NULL;
    assert_int_equal(vd_diags_write(&diags, says), VD_OK);
    vd_diags_fini(&diags);
    return set;
}

static void check_pair(const struct vd_policy_set *set)
{
    const struct vd_policy *current = vd_policy_set_find(set, VD_LIT("t.policy"));

    assert_int_equal(vd_policy_set_count(set), 2);
    assert_int_equal(current->version, 3);
    assert_int_equal(current->mode, VD_MODE_ENFORCE);
    assert_int_equal(current->canary_share, 1250);
    assert_int_equal(current->candidate->version, 4);
    assert_int_equal(current->candidate->mode, VD_MODE_CANARY);
    assert_string_not_equal(current->candidate->hash_hex, current->hash_hex);
}

static void test_a_folder_and_a_single_file_load_the_candidate_once(void **state)
{
    struct folder *f = *state;
    const char *paths[] = {f->path, f->main};

    write_pair(f, "canary = { percent = 12.5; candidate = \"next.cfg\"; };",
               &(struct parts){.head = next_head});
    for (size_t i = 0; i < 2; i++) {
        struct vd_buf says;
        struct vd_policy_set *set = load_set(paths[i], &says);

        if (set == NULL)
            fail_msg("%s", says.ptr);
        check_pair(set);
        vd_policy_set_release(set);
        vd_buf_free(&says);
    }
}

static void test_what_cannot_be_a_candidate_is_said(void **state)
{
    static const char good[] = "canary = { percent = 5; candidate = \"next.cfg\"; };";
    static const struct {
        const char *canary;
        struct parts next;
        const char *says;
    } rows[] = {
        {"", {.head = next_head}, "there is no canary section"},
        {"canary = { percent = 5; candidate = \"gone.cfg\"; };", {.head = next_head}, "no usable"},
        {"canary = { percent = 5; candidate = \"../next.cfg\"; };", {0}, "not the name of a .cfg"},
        {"canary = { percent = 5; candidate = \"main.cfg\"; };", {.head = next_head}, "version 3"},
        {"canary = { percent = 101; candidate = \"next.cfg\"; };", {.head = next_head}, "percent"},
        {"canary = { candidate = \"next.cfg\"; };", {.head = next_head}, "percent"},
        {good, {.head = "policy = { id = \"t.other\"; version = 4; };"}, "names this file"},
        {good,
         {.head = "policy = { id = \"t.policy\"; version = 3; mode = \"enforce\"; };"},
         "version 3"},
        {good,
         {.head = "policy = { id = \"t.policy\"; version = 4; };"},
         "the mode that it will have"},
        {good,
         {.head = next_head,
          .input = "input = { topics = [\"t\"]; when = \"true || event.type == ''\"; key = "
                   "\"{event.data.other}\"; };"},
         "lose their order"},
        {good,
         {.head = next_head,
          .input = "input = { topics = [\"u\"]; when = \"event.type == 'x'\"; key = "
                   "\"{event.data.id}\"; };"},
         "input.topics differ"},
        {good, {.head = next_head, .fallback = "fallback = { action = \"nothing\"; };"}, "nothing"},
    };
    struct folder *f = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vd_policy_set *set;
        struct vd_buf says;

        write_pair(f, rows[i].canary, &rows[i].next);
        set = load_set(f->path, &says);
        if (set != NULL || strstr(says.ptr, rows[i].says) == NULL)
            fail_msg("row %zu: \"%s\" is not in \"%s\"", i, rows[i].says, says.ptr);
        vd_policy_set_release(set);
        vd_buf_free(&says);
    }
}

static void test_a_canary_section_in_another_mode_is_refused(void **state)
{
    (void)state;
    refuse_policy(&(struct parts){.more = "canary = { percent = 5; candidate = \"n.cfg\"; };"},
                  "canary says nothing unless");
}

/* Found by the fuzzer: what is missing is said, not taken for missing memory. */
static void test_a_canary_without_a_policy_is_refused(void **state)
{
    struct vd_policy *policy = NULL;
    struct vd_diags diags;

    (void)state;
    vd_diags_init(&diags);
    assert_int_equal(vd_policy_parse(VD_LIT("canary = { percent = 5; candidate = \"n.cfg\"; };"),
                                     "t.cfg", NULL, &diags, &policy, NULL),
                     VD_E_CONFIG);
    assert_null(policy);
    vd_diags_fini(&diags);
}

/* -- changing -------------------------------------------------------------------------------------------------------- */

static enum vd_code may_replace(const struct vd_policy_set *running,
                                const struct vd_policy_set *next)
{
    struct vd_diags diags;
    enum vd_code rc;

    vd_diags_init(&diags);
    rc = vd_policy_set_may_replace(running, next, &diags, NULL);
    vd_diags_fini(&diags);
    return rc;
}

static void test_a_reload_moves_percent_ends_and_promotes_but_changes_no_version(void **state)
{
    static const struct parts changed = {
        .head = next_head, .fallback = "fallback = { action = \"go\"; params = { n = 1; }; };"};
    static const struct parts next = {.head = next_head};
    static const struct {
        struct parts main;
        const struct parts *next;
        enum vd_code rc;
    } rows[] = {
        {{.head = canary_head, .more = "canary = { percent = 50; candidate = \"next.cfg\"; };"},
         &next,
         VD_OK},
        {{.head = canary_head, .more = "canary = { percent = 5; candidate = \"next.cfg\"; };"},
         &changed,
         VD_E_CONFIG},
        {{.head = "policy = { id = \"t.policy\"; version = 3; mode = \"enforce\"; };"},
         NULL,
         VD_OK},
        {{.head = next_head}, NULL, VD_OK},
        {{.head = next_head, .fallback = "fallback = { action = \"go\"; params = { n = 1; }; };"},
         NULL,
         VD_E_CONFIG},
    };
    struct folder *f = *state;
    struct vd_policy_set *running;
    struct vd_buf says;

    write_pair(f, "canary = { percent = 5; candidate = \"next.cfg\"; };", &next);
    running = load_set(f->path, &says);
    vd_buf_free(&says);
    assert_non_null(running);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vd_policy_set *set;

        write_policy(f->main, &rows[i].main);
        (void)unlink(f->next);
        if (rows[i].next != NULL)
            write_policy(f->next, rows[i].next);
        set = load_set(f->path, &says);
        if (set == NULL)
            fail_msg("row %zu: %s", i, says.ptr);
        if (may_replace(running, set) != rows[i].rc)
            fail_msg("row %zu", i);
        vd_policy_set_release(set);
        vd_buf_free(&says);
    }
    vd_policy_set_release(running);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_share_of_ten_thousand_keys_is_what_percent_says),
        cmocka_unit_test(test_a_key_falls_where_it_always_did),
        cmocka_unit_test(test_a_canary_section_in_another_mode_is_refused),
        cmocka_unit_test(test_a_canary_without_a_policy_is_refused),
        T(test_a_folder_and_a_single_file_load_the_candidate_once),
        T(test_what_cannot_be_a_candidate_is_said),
        T(test_a_reload_moves_percent_ends_and_promotes_but_changes_no_version),
    };

    return cmocka_run_group_tests_name("canary", tests, NULL, NULL);
}
