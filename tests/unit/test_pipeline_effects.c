/* Changes after the commit, on a real redis-server: made once, by whoever may, in order; what a dead owner left. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "loop/loop.h"
#include "pipeline/effects.h"
#include "pipeline/operations.h"
#include "redis/client.h"
#include "redis/effects.h"

#define WAIT_MS 5000

struct world {
    struct vd_loop *loop;
    struct vd_redis *redis;
    struct vd_effect_scripts *scripts;
    struct vd_effects *effects;
    int64_t finished_below; /* what the ledger says */
    int64_t recovered;      /* the last epoch; 0: none */
    char dir[64];
    char address[96];
    pid_t server;
};

/* -- the server ------------------------------------------------------------------------------------------------------ */

static void start_server(struct world *w)
{
    char path[96];

    (void)snprintf(path, sizeof(path), "%s/redis.sock", w->dir);
    w->server = fork();
    if (w->server == 0) {
        int null = open("/dev/null", O_RDWR);

        (void)dup2(null, 1);
        (void)dup2(null, 2);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
               "--appendonly", "no", "--dir", w->dir, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && access(path, F_OK) != 0; i++)
        (void)usleep(10000);
}

static void stop_server(struct world *w)
{
    char path[96];

    (void)kill(w->server, SIGKILL);
    (void)waitpid(w->server, NULL, 0);
    (void)snprintf(path, sizeof(path), "%s/redis.sock", w->dir);
    (void)unlink(path);
}

static bool on_finished(void *arg, const char *topic, int32_t partition, int64_t offset)
{
    const struct world *w = arg;

    assert_string_equal(topic, "t");
    assert_int_equal(partition, 3);
    return offset < w->finished_below;
}

static void on_recovered(void *arg, const char *topic, int32_t partition, int64_t epoch)
{
    struct world *w = arg;

    assert_string_equal(topic, "t");
    assert_int_equal(partition, 3);
    w->recovered = epoch;
}

static struct vd_effects *new_effects(struct world *w)
{
    struct vd_effects_conf conf = {.loop = w->loop,
                                   .redis = w->redis,
                                   .prefix = "g:",
                                   .timeout_ms = 300,
                                   .finished = on_finished,
                                   .recovered = on_recovered,
                                   .arg = w};
    struct vd_effects *effects;

    assert_int_equal(vd_effects_new(&conf, &effects, NULL), VD_OK);
    return effects;
}

static int set_up(void **state)
{
    struct world *w = vd_alloc(sizeof(*w));
    struct vd_redis_conf conf = {.db = -1};

    (void)snprintf(w->dir, sizeof(w->dir), "/tmp/verdict-effects-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    start_server(w);
    (void)snprintf(w->address, sizeof(w->address), "unix:%s/redis.sock", w->dir);
    assert_int_equal(vd_loop_new(&w->loop, NULL), VD_OK);
    conf.address = w->address;
    assert_int_equal(vd_redis_new(w->loop, &conf, NULL, NULL, &w->redis, NULL), VD_OK);
    assert_int_equal(vd_effect_scripts_new(&w->scripts, NULL), VD_OK);
    w->effects = new_effects(w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    (void)vd_redis_free(w->redis);
    (void)vd_effects_free(w->effects);
    (void)vd_effect_scripts_free(w->scripts);
    (void)vd_loop_free(w->loop);
    stop_server(w);
    (void)rmdir(w->dir);
    (void)vd_free(w);
    return 0;
}

/* -- asking Redis ---------------------------------------------------------------------------------------------------- */

struct seen {
    bool came;
    struct vd_buf text; /* of the reply: items separated by blanks */
};

static void add_reply(struct vd_buf *out, const struct vd_redis_reply *r)
{
    if (r->kind == VD_REDIS_ARRAY)
        for (size_t i = 0; i < r->count; i++) {
            if (i > 0)
                (void)vd_buf_add_char(out, ' ');
            add_reply(out, r->items[i]);
        }
    else if (r->kind == VD_REDIS_INT)
        (void)vd_buf_add_i64(out, r->i);
    else if (r->kind == VD_REDIS_NIL)
        (void)vd_buf_add_c(out, "nil");
    else
        (void)vd_buf_add(out, r->s);
}

static void on_reply(void *arg, const struct vd_redis_result *result)
{
    struct seen *seen = arg;

    seen->came = true;
    assert_int_equal(result->err.code, VD_OK);
    add_reply(&seen->text, result->replies[0]);
}

static char *finish(struct world *w, struct seen *seen)
{
    int64_t end = vd_mono_ms() + WAIT_MS;

    while (!seen->came && vd_mono_ms() < end)
        vd_loop_turn(w->loop, 20);
    assert_true(seen->came);
    (void)vd_buf_add_c(&seen->text, "");
    return vd_buf_take(&seen->text, NULL);
}

/* A command of words separated by blanks; the reply must be `wants`. */
static void expect(struct world *w, const char *command, const char *wants)
{
    struct seen seen = {0};
    struct vd_span argv[16];
    struct vd_redis_command one = {argv, 0};
    char copy[400], *save = NULL, *got;

    (void)snprintf(copy, sizeof(copy), "%s", command);
    for (char *word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save))
        argv[one.argc++] = vd_span_of(word);
    vd_buf_init(&seen.text, 1 << 20);
    assert_int_equal(vd_redis_submit(w->redis, &one, 1, NULL, on_reply, &seen, NULL, NULL), VD_OK);
    got = finish(w, &seen);
    if (strcmp(got, wants) != 0)
        fail_msg("%s: \"%s\" is not \"%s\"", command, got, wants);
    vd_free(got);
}

static struct vd_effect_call call_of(struct world *w, struct seen *seen)
{
    *seen = (struct seen){0};
    vd_buf_init(&seen->text, 1 << 20);
    return (struct vd_effect_call){.redis = w->redis,
                                   .scripts = w->scripts,
                                   .prefix = VD_LIT("g:"),
                                   .topic = "t",
                                   .partition = 3,
                                   .done = on_reply,
                                   .arg = seen};
}

static void ends(struct world *w, struct seen *seen, enum vd_code rc, const char *wants)
{
    char *got;

    assert_int_equal(rc, VD_OK);
    got = finish(w, seen);
    if (strcmp(got, wants) != 0)
        fail_msg("\"%s\" is not \"%s\"", got, wants);
    vd_free(got);
}

static void claim(struct world *w, int32_t generation, const char *cluster, const char *token,
                  const char *wants)
{
    struct seen seen;
    struct vd_effect_call call = call_of(w, &seen);

    ends(w, &seen, vd_effect_claim(&call, generation, vd_span_of(cluster), vd_span_of(token), NULL),
         wants);
}

static void store(struct world *w, const char *owner, const char *field, const char *entry,
                  const char *wants)
{
    struct seen seen;
    struct vd_effect_call call = call_of(w, &seen);

    ends(
        w, &seen,
        vd_effect_store_entry(&call, vd_span_of(owner), vd_span_of(field), vd_span_of(entry), NULL),
        wants);
}

static void apply2(struct world *w, const char *first, const char *second, const char *wants)
{
    struct seen seen;
    struct vd_effect_call call = call_of(w, &seen);
    struct vd_span fields[] = {vd_span_of(first), vd_span_of(second)};

    ends(w, &seen, vd_effect_apply_entries(&call, fields, second == NULL ? 1 : 2, NULL), wants);
}

#define SET(round, at, previous)                                                                   \
    "[[\"set\",\"state:p:k\",600,{\"round\":\"" round "\"},\"" at "\",\"" previous "\"]]"
#define NOTE(text, max) "[[\"note\",\"memory:p:k\",\"" text "\"," max ",600]]"

/* -- the scripts ----------------------------------------------------------------------------------------------------- */

static void only_a_later_generation_takes_over(void **state)
{
    struct world *w = *state;

    claim(w, 4, "c1", "a", "");
    expect(w, "HGET g:pending:t:3 @owner", "4:c1:a");
    claim(w, 3, "c1", "late", "4:c1:a");
    expect(w, "HGET g:pending:t:3 @owner", "4:c1:a");
    claim(w, 4, "c1", "again", "@owner");
    claim(w, 5, "c1", "b", "@owner");
    expect(w, "HGET g:pending:t:3 @owner", "5:c1:b");
    claim(w, 1, "c2", "c", "@owner"); /* another cluster counts its generations anew */
    expect(w, "HGET g:pending:t:3 @owner", "1:c2:c");
}

static void only_the_owner_adds_and_deletes_entries(void **state)
{
    struct world *w = *state;
    struct seen seen;
    struct vd_effect_call call;
    struct vd_span field = VD_LIT("7:d1");

    store(w, "4:c:a", "7:d1", "[]", ""); /* nobody is: Redis was emptied */
    claim(w, 4, "c", "a", "");
    store(w, "4:c:a", "7:d1", "[]", "1");
    claim(w, 5, "c", "b", "@owner 7:d1");
    store(w, "4:c:a", "8:d2", "[]", "5:c:b");
    call = call_of(w, &seen);
    ends(w, &seen, vd_effect_discard_entries(&call, VD_LIT("4:c:a"), &field, 1, NULL), "5:c:b");
    expect(w, "HKEYS g:pending:t:3", "@owner 7:d1");
    call = call_of(w, &seen);
    ends(w, &seen, vd_effect_discard_entries(&call, VD_LIT("5:c:b"), &field, 1, NULL), "1");
    expect(w, "HKEYS g:pending:t:3", "@owner");
}

static void changes_are_made_once(void **state)
{
    struct world *w = *state;

    claim(w, 1, "c", "a", "");
    store(w, "1:c:a", "7:d1", SET("1", "70", ""), "1");
    apply2(w, "7:d1", NULL, "1 0 0 ");
    expect(w, "HMGET g:state:p:k round @by @at", "1 d1 70");
    expect(w, "TTL g:state:p:k", "600");
    apply2(w, "7:d1", NULL, "0 1 0 "); /* an answer was lost */
    store(w, "1:c:a", "8:d2", SET("2", "80", "d1"), "1");
    store(w, "1:c:a", "9:d3", SET("3", "90", "d2"), "1");
    apply2(w, "8:d2", "9:d3", "2 0 0 ");
    expect(w, "HMGET g:state:p:k round @by", "3 d3");
    /* An old entry that came back after it was applied: not the last one's successor any more. */
    store(w, "1:c:a", "8:d2", SET("2", "80", "d1"), "1");
    apply2(w, "8:d2", NULL, "1 0 1 ");
    expect(w, "HMGET g:state:p:k round @by", "3 d3");
    /* The last one again: nothing. Forgotten meanwhile: written. */
    store(w, "1:c:a", "9:d3", SET("3", "90", "d2"), "1");
    apply2(w, "9:d3", NULL, "1 0 0 ");
    expect(w, "DEL g:state:p:k", "1");
    store(w, "1:c:a", "10:d4", SET("4", "100", "d3"), "1");
    apply2(w, "10:d4", NULL, "1 0 0 ");
    expect(w, "HGET g:state:p:k round", "4");
}

static void notes_are_few_and_each_is_there_once(void **state)
{
    struct world *w = *state;

    claim(w, 1, "c", "a", "");
    for (int i = 1; i <= 4; i++) {
        char field[32], entry[200];

        (void)snprintf(field, sizeof(field), "%d:d%d", i, i);
        (void)snprintf(entry, sizeof(entry), NOTE("note-of-d%d", "3"), i);
        store(w, "1:c:a", field, entry, "1");
        apply2(w, field, NULL, "1 0 0 ");
        store(w, "1:c:a", field, entry, "1");
        apply2(w, field, NULL, "1 0 0 ");
    }
    expect(w, "LRANGE g:memory:p:k 0 -1", "note-of-d4 note-of-d3 note-of-d2");
    expect(w, "TTL g:memory:p:k", "600");
}

static void what_stands_in_the_way_is_replaced(void **state)
{
    struct world *w = *state;

    expect(w, "SET g:state:p:k x", "OK");
    expect(w, "SET g:memory:p:k x", "OK");
    claim(w, 1, "c", "a", "");
    store(w, "1:c:a", "7:d1", SET("1", "70", ""), "1");
    store(w, "1:c:a", "8:d2", NOTE("n-d2", "3"), "1");
    apply2(w, "7:d1", "8:d2", "2 0 0 ");
    expect(w, "HGET g:state:p:k round", "1");
    expect(w, "LRANGE g:memory:p:k 0 -1", "n-d2");
}

static void one_entry_that_cannot_be_done_stops_no_other(void **state)
{
    struct world *w = *state;
    struct seen seen;
    struct vd_effect_call call = call_of(w, &seen);
    struct vd_span fields[] = {VD_LIT("6:d0"), VD_LIT("7:d1")};
    char *got;

    claim(w, 1, "c", "a", "");
    store(w, "1:c:a", "6:d0", "[[\"unheard of\"]]", "1");
    store(w, "1:c:a", "7:d1", SET("1", "70", ""), "1");
    assert_int_equal(vd_effect_apply_entries(&call, fields, 2, NULL), VD_OK);
    got = finish(w, &seen);
    assert_true(strncmp(got, "1 0 0 ", 6) == 0 && strstr(got, " 6:d0") != NULL);
    vd_free(got);
    expect(w, "HKEYS g:pending:t:3", "@owner 6:d0");
    expect(w, "HGET g:state:p:k round", "1");
}

static void restore(struct world *w, const char *id, const char *op, int64_t age_s,
                    const char *wants)
{
    struct seen seen;
    struct vd_effect_call call = call_of(w, &seen);

    ends(w, &seen, vd_effect_restore(&call, vd_span_of(id), vd_span_of(op), age_s, NULL), wants);
}

#define SET1(round, at, previous)                                                                  \
    "[\"set\",\"state:p:k\",600,{\"round\":\"" round "\"},\"" at "\",\"" previous "\"]"
#define NOTE1(id, time)                                                                            \
    "[\"note\",\"memory:p:k\",\"{\\\"decision_id\\\":\\\"" id "\\\",\\\"time_ms\\\":" time         \
    "}\",3,600]"

static void restoring_leaves_what_is_newer(void **state)
{
    struct world *w = *state;

    restore(w, "d1", SET1("1", "70", ""), 100, "1 0 0 ");
    expect(w, "TTL g:state:p:k", "500");
    restore(w, "d2", SET1("2", "60", "d1"), 90,
            "1 0 0 "); /* the successor, whatever its clock says */
    restore(w, "d1", SET1("1", "50", ""), 100, "0 0 1 ");
    expect(w, "HGET g:state:p:k round", "2");
    restore(w, "d2", SET1("2", "60", "d1"), 90, "0 0 1 ");
    restore(w, "d9", SET1("9", "99", "d8"), 600, "0 0 1 "); /* it would be gone by now */
    expect(w, "HGET g:state:p:k round", "2");
    restore(w, "n2", NOTE1("n2", "20"), 5, "1 0 0 ");
    restore(w, "n1", NOTE1("n1", "10"), 9, "1 0 0 ");
    restore(w, "n3", NOTE1("n3", "30"), 1, "1 0 0 ");
    restore(w, "n2", NOTE1("n2", "20"), 5, "0 0 1 ");
    restore(w, "n0", NOTE1("n0", "5"), 9, "0 0 1 ");
    expect(w, "LRANGE g:memory:p:k 0 -1",
           "{\"decision_id\":\"n3\",\"time_ms\":30} {\"decision_id\":\"n2\",\"time_ms\":20} "
           "{\"decision_id\":\"n1\",\"time_ms\":10}");
    restore(w, "n4", NOTE1("n4", "40"), 1, "1 0 0 ");
    expect(w, "LLEN g:memory:p:k", "3");
    expect(w, "TTL g:memory:p:k", "599");
}

/* -- the engine ------------------------------------------------------------------------------------------------------ */

static void count(void *arg)
{
    (*(int *)arg)++;
}

static void turn_until(struct world *w, const int *counter, int wanted)
{
    int64_t end = vd_mono_ms() + WAIT_MS;

    while (*counter < wanted && vd_mono_ms() < end)
        vd_loop_turn(w->loop, 20);
    assert_int_equal(*counter, wanted);
}

static void assign(struct world *w, struct vd_effects *e, int64_t epoch, int32_t generation)
{
    int64_t end = vd_mono_ms() + WAIT_MS;

    w->recovered = 0;
    assert_int_equal(vd_effects_assigned(e, "t", 3, epoch, generation, "c", NULL), VD_OK);
    assert_int_equal(w->recovered, 0); /* on a later turn */
    while (w->recovered != epoch && vd_mono_ms() < end)
        vd_loop_turn(w->loop, 20);
    assert_int_equal(w->recovered, epoch);
}

static struct vd_effect *effect(struct vd_effects *e, int64_t epoch, int64_t offset, const char *id,
                                const char *round, const char *previous)
{
    struct vd_record rec = {.topic = "t",
                            .partition = 3,
                            .offset = offset,
                            .epoch = epoch,
                            .generation = (int32_t)epoch};
    cJSON *after = cJSON_CreateObject(), *operations = cJSON_CreateArray();
    struct vd_effect *made;

    assert_true(vd_json_put(after, "round", vd_json_new_string(vd_span_of(round))));
    assert_true(vd_json_append(operations, vd_state_operation("p", VD_LIT("k"), after, 600, offset,
                                                              vd_span_of(previous))));
    assert_int_equal(vd_effect_new(e, &rec, id, operations, &made, NULL), VD_OK);
    vd_json_free(after);
    vd_json_free(operations);
    return made;
}

static void a_change_is_stored_then_applied(void **state)
{
    struct world *w = *state;
    struct vd_effect *first, *second;
    int stored = 0, applied = 0;

    assign(w, w->effects, 1, 1);
    first = effect(w->effects, 1, 7, "d1", "1", "");
    vd_effect_store(first, count, &stored);
    assert_int_equal(stored, 0);
    turn_until(w, &stored, 1);
    expect(w, "EXISTS g:state:p:k", "0");
    vd_effect_apply(first, count, &applied);
    turn_until(w, &applied, 1);
    expect(w, "HGET g:state:p:k round", "1");
    expect(w, "HKEYS g:pending:t:3", "@owner");
    /* Another outcome is published instead: the entry goes, nothing changes. */
    second = effect(w->effects, 1, 8, "d2", "2", "d1");
    vd_effect_store(second, count, &stored);
    turn_until(w, &stored, 2);
    vd_effect_discard(second, count, &applied);
    turn_until(w, &applied, 2);
    expect(w, "HGET g:state:p:k round", "1");
    expect(w, "HKEYS g:pending:t:3", "@owner");
    assert_int_equal(vd_effects_status(w->effects).applying, 0);
}

static void the_next_owner_applies_what_is_finished_and_deletes_the_rest(void **state)
{
    struct world *w = *state;
    struct vd_effects *dead = new_effects(w);
    struct vd_effect *left[3];
    int stored = 0;

    assign(w, dead, 1, 1);
    left[0] = effect(dead, 1, 9, "d1", "1", "");
    left[1] = effect(dead, 1, 10, "d2", "2", "d1");
    left[2] = effect(dead, 1, 11, "d3", "3", "d2");
    for (int i = 0; i < 3; i++)
        vd_effect_store(left[i], count, &stored);
    turn_until(w, &stored, 3);
    w->finished_below = 11;
    assign(w, w->effects, 2, 2);
    expect(w, "HMGET g:state:p:k round @by", "2 d2");
    expect(w, "HKEYS g:pending:t:3", "@owner");
    assert_int_equal(vd_effects_status(w->effects).recovered, 2);
    for (int i = 0; i < 3; i++)
        (void)vd_effect_free(left[i]);
    (void)vd_effects_free(dead);
}

static void an_owner_that_was_replaced_adds_nothing(void **state)
{
    struct world *w = *state;
    struct vd_effects *zombie = new_effects(w);
    struct vd_effect *late;
    int stored = 0;
    int64_t end;

    assign(w, zombie, 1, 1);
    assign(w, w->effects, 2, 2);
    late = effect(zombie, 1, 7, "d1", "1", "");
    vd_effect_store(late, count, &stored);
    end = vd_mono_ms() + 300;
    while (vd_mono_ms() < end)
        vd_loop_turn(w->loop, 20);
    assert_int_equal(stored, 0);
    expect(w, "HKEYS g:pending:t:3", "@owner");
    assert_true(vd_effects_status(zombie).recovering == 1);
    vd_effects_revoked(zombie, "t", 3, 1);
    (void)vd_effect_free(late);
    end = vd_mono_ms() + 100;
    while (vd_mono_ms() < end)
        vd_loop_turn(w->loop, 20);
    (void)vd_effects_free(zombie);
}

static void redis_away_is_waited_for(void **state)
{
    struct world *w = *state;
    struct vd_effect *first, *second;
    int stored = 0, applied = 0;
    int64_t end;

    assign(w, w->effects, 1, 1);
    first = effect(w->effects, 1, 7, "d1", "1", "");
    vd_effect_store(first, count, &stored);
    turn_until(w, &stored, 1);
    (void)kill(w->server, SIGSTOP);
    vd_effect_apply(first, count, &applied);
    second = effect(w->effects, 1, 8, "d2", "2", "d1");
    vd_effect_store(second, count, &stored);
    end = vd_mono_ms() + 1000;
    while (vd_mono_ms() < end)
        vd_loop_turn(w->loop, 20);
    assert_int_equal(stored + applied, 1);
    assert_true(vd_effects_status(w->effects).trouble[0] != '\0');
    (void)kill(w->server, SIGCONT);
    turn_until(w, &applied, 1);
    turn_until(w, &stored, 2);
    vd_effect_apply(second, count, &applied);
    turn_until(w, &applied, 2);
    expect(w, "HMGET g:state:p:k round @by", "2 d2");
    assert_string_equal(vd_effects_status(w->effects).trouble, "");
}

static void an_emptied_redis_is_noticed_and_gone_on_with(void **state)
{
    struct world *w = *state;
    struct vd_effect *one;
    int stored = 0, applied = 0;

    assign(w, w->effects, 1, 1);
    expect(w, "FLUSHALL", "OK");
    one = effect(w->effects, 1, 7, "d1", "1", "d0");
    vd_effect_store(one, count, &stored);
    turn_until(w, &stored, 1);
    assert_int_equal(vd_effects_status(w->effects).emptied, 1);
    vd_effect_apply(one, count, &applied);
    turn_until(w, &applied, 1);
    expect(w, "HGET g:state:p:k round", "1");
}

static void a_change_has_a_size(void **state)
{
    struct world *w = *state;
    struct vd_record rec = {.topic = "t", .partition = 3, .offset = 1, .epoch = 1};
    char *text = vd_alloc(VD_EFFECT_ENTRY_MAX_BYTES + 1);
    cJSON *operations = cJSON_CreateArray();
    struct vd_effect *made = NULL;
    struct vd_err err;

    memset(text, 'x', VD_EFFECT_ENTRY_MAX_BYTES);
    assert_true(vd_json_append(
        operations, vd_json_new_string((struct vd_span){text, VD_EFFECT_ENTRY_MAX_BYTES - 4})));
    assert_int_equal(vd_effect_new(w->effects, &rec, "d", operations, &made, &err), VD_OK);
    (void)vd_effect_free(made);
    assert_true(vd_json_append(operations, vd_json_new_int(1)));
    assert_int_equal(vd_effect_new(w->effects, &rec, "d", operations, &made, &err), VD_E_LIMIT);
    (void)vd_json_free(operations);
    (void)vd_free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(only_a_later_generation_takes_over),
        TEST(only_the_owner_adds_and_deletes_entries),
        TEST(changes_are_made_once),
        TEST(notes_are_few_and_each_is_there_once),
        TEST(what_stands_in_the_way_is_replaced),
        TEST(one_entry_that_cannot_be_done_stops_no_other),
        TEST(restoring_leaves_what_is_newer),
        TEST(a_change_is_stored_then_applied),
        TEST(the_next_owner_applies_what_is_finished_and_deletes_the_rest),
        TEST(an_owner_that_was_replaced_adds_nothing),
        TEST(redis_away_is_waited_for),
        TEST(an_emptied_redis_is_noticed_and_gone_on_with),
        TEST(a_change_has_a_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
