/* commands/state.c - `verdict state`: what policies remember, shown, and brought back from the audit topic. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/limits.h"
#include "commands/commands.h"
#include "commands/redis_session.h"
#include "commands/state_rebuild.h"
#include "policy/prompt.h"
#include "policy/state.h"

#define SCAN_COUNT "500"
#define MAX_KEYS   100000 /* shown: who wants more asks for one policy, or one key */

/* -- finding keys ------------------------------------------------------------------------------------------------ */

struct keys {
    struct vd_arena arena;
    struct vd_span *items;
    size_t count, cap;
    char cursor[24];
    bool more;
};

static bool add_key(struct keys *k, struct vd_span key)
{
    if (k->count == k->cap) {
        size_t cap = k->cap == 0 ? 256 : k->cap * 2;
        struct vd_span *grown = vd_realloc_array(k->items, cap, sizeof(*grown));

        if (grown == NULL)
            return false;
        k->items = grown;
        k->cap = cap;
    }
    return vd_arena_dup(&k->arena, key, &k->items[k->count]) == VD_OK && ++k->count > 0;
}

static enum vd_code on_scan(void *arg, const struct vd_redis_reply *reply, struct vd_err *err)
{
    struct keys *k = arg;

    if (reply->kind != VD_REDIS_ARRAY || reply->count != 2 ||
        reply->items[1]->kind != VD_REDIS_ARRAY)
        return vd_err_set(err, VD_E_REMOTE, false, "Redis answers SCAN with something else");
    (void)snprintf(k->cursor, sizeof(k->cursor), "%.*s", (int)reply->items[0]->s.len,
                   reply->items[0]->s.ptr);
    for (size_t i = 0; i < reply->items[1]->count; i++) {
        if (k->count == MAX_KEYS) {
            k->more = true;
            break;
        }
        if (!add_key(k, reply->items[1]->items[i]->s))
            return vd_err_nomem(err, "keys");
    }
    return VD_OK;
}

/* Literally, in a pattern. */
static void add_literal(struct vd_buf *pattern, const char *text)
{
    for (; *text != '\0'; text++) {
        if (strchr("*?[]\\^-", *text) != NULL)
            (void)vd_buf_add_char(pattern, '\\');
        (void)vd_buf_add_char(pattern, *text);
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct vd_span *)a)->ptr, ((const struct vd_span *)b)->ptr);
}

static enum vd_code find(struct vd_redis_session *session, const struct vd_settings *s,
                         const char *what, const char *policy, const char *key, struct keys *k,
                         struct vd_err *err)
{
    struct vd_buf pattern;
    enum vd_code rc = VD_OK;
    size_t from = k->count;

    vd_buf_init(&pattern, 8192);
    add_literal(&pattern, s->redis_prefix);
    (void)vd_buf_add_c(&pattern, what);
    (void)vd_buf_add_char(&pattern, ':');
    add_literal(&pattern, policy != NULL ? policy : "");
    (void)vd_buf_add_c(&pattern, policy != NULL ? ":" : "*:");
    add_literal(&pattern, key != NULL ? key : "");
    (void)vd_buf_add_c(&pattern, key != NULL ? "" : "*");
    (void)snprintf(k->cursor, sizeof(k->cursor), "0");
    do {
        const struct vd_span argv[] = {VD_LIT("SCAN"),  vd_span_of(k->cursor),
                                       VD_LIT("MATCH"), vd_buf_span(&pattern),
                                       VD_LIT("COUNT"), VD_LIT(SCAN_COUNT)};

        rc = vd_redis_session_call(session, argv, 6, on_scan, k, err);
    } while (rc == VD_OK && strcmp(k->cursor, "0") != 0 && !k->more);
    vd_buf_free(&pattern);
    if (rc == VD_OK && k->count > from)
        qsort(k->items + from, k->count - from, sizeof(*k->items), by_text);
    return rc;
}

/* -- showing ----------------------------------------------------------------------------------------------------- */

/* Remembered text is anybody's: without what a terminal would obey, and quoted. */
static void print_quoted(struct vd_span text)
{
    struct vd_arena arena;
    struct vd_buf quoted;
    struct vd_span clean;

    vd_arena_init(&arena, 1u << 20);
    vd_buf_init(&quoted, 1u << 20);
    if (vd_prompt_clean(&arena, text, &clean) == VD_OK &&
        vd_buf_add_json_string(&quoted, clean) == VD_OK)
        printf("%.*s", (int)quoted.len, quoted.ptr);
    vd_buf_free(&quoted);
    vd_arena_fini(&arena);
}

static void print_time(struct vd_span text)
{
    char time[VD_RFC3339_SIZE];
    int64_t ms = 0;

    if (!vd_parse_i64(text, &ms))
        return;
    vd_rfc3339_format(ms, time);
    printf("  %s", time);
}

static enum vd_code on_state(void *arg, const struct vd_redis_reply *reply, struct vd_err *err)
{
    (void)arg;
    (void)err;
    for (size_t i = 0; i + 1 < reply->count; i += 2) {
        struct vd_span name = reply->items[i]->s, value = reply->items[i + 1]->s;

        if (name.len > 0 && name.ptr[0] == '@')
            continue;
        printf(" %.*s=", (int)name.len, name.ptr);
        print_quoted(value);
    }
    for (size_t i = 0; i + 1 < reply->count; i += 2)
        if (vd_span_eq_c(reply->items[i]->s, VD_STATE_TIME))
            print_time(reply->items[i + 1]->s);
    printf("\n");
    return VD_OK;
}

static enum vd_code on_notes(void *arg, const struct vd_redis_reply *reply, struct vd_err *err)
{
    (void)arg;
    (void)err;
    printf(" %zu notes\n", reply->count);
    for (size_t i = 0; i < reply->count; i++) {
        cJSON *note = NULL;
        char time[VD_RFC3339_SIZE] = "";
        int64_t ms = 0;

        if (vd_json_parse(reply->items[i]->s, &note, NULL) != VD_OK)
            continue;
        if (vd_json_int(vd_json_get(note, "time_ms"), &ms))
            vd_rfc3339_format(ms, time);
        printf("    %s  %.*s  ", time, (int)vd_json_get_string(note, "action").len,
               vd_json_get_string(note, "action").ptr);
        print_quoted(vd_json_get_string(note, "text"));
        printf("\n");
        (void)vd_json_free(note);
    }
    return VD_OK;
}

static enum vd_code show(const struct vd_settings *s, const char *policy, const char *key,
                         struct vd_err *err)
{
    struct vd_redis_session *session = NULL;
    struct keys keys = {0};
    size_t states = 0;
    enum vd_code rc = vd_redis_session_open(s, &session, err);

    vd_arena_init(&keys.arena, 256u << 20);
    if (rc == VD_OK)
        rc = find(session, s, "state", policy, key, &keys, err);
    states = keys.count;
    if (rc == VD_OK)
        rc = find(session, s, "memory", policy, key, &keys, err);
    for (size_t i = 0; i < keys.count && rc == VD_OK; i++) {
        struct vd_span name =
            vd_span_sub(keys.items[i], strlen(s->redis_prefix), keys.items[i].len);
        const struct vd_span hash[] = {VD_LIT("HGETALL"), keys.items[i]};
        const struct vd_span list[] = {VD_LIT("LRANGE"), keys.items[i], VD_LIT("0"), VD_LIT("-1")};

        printf("%.*s", (int)name.len, name.ptr);
        rc = i < states ? vd_redis_session_call(session, hash, 2, on_state, NULL, err)
                        : vd_redis_session_call(session, list, 4, on_notes, NULL, err);
    }
    if (rc == VD_OK)
        printf("%zu states, %zu memories%s\n", states, keys.count - states,
               keys.more ? "; there are more: name a policy or a key" : "");
    (void)vd_free(keys.items);
    vd_arena_fini(&keys.arena);
    (void)vd_redis_session_close(session);
    return rc;
}

/* -- the command ------------------------------------------------------------------------------------------------- */

static void print_diags(const struct vd_diags *diags)
{
    struct vd_buf text;

    vd_buf_init(&text, 1u << 20);
    (void)vd_diags_write(diags, &text);
    if (text.len > 0)
        fprintf(stderr, "%.*s", (int)text.len, text.ptr);
    vd_buf_free(&text);
}

static int run(const struct vd_args *args)
{
    const char *verb = vd_args_operand(args, 0), *policy = vd_args_get(args, "policy", NULL),
               *key = vd_args_get(args, "key", NULL);
    bool rebuilds = strcmp(verb, "rebuild") == 0, dry_run = vd_args_has(args, "dry-run");
    struct vd_settings *settings = NULL;
    struct vd_diags diags;
    struct vd_err err;
    int status;

    if ((!rebuilds && strcmp(verb, "show") != 0) || (rebuilds && key != NULL) ||
        (!rebuilds && dry_run)) {
        fprintf(stderr, "verdict state: show [--key], or rebuild [--dry-run]; see verdict state "
                        "--help\n");
        return EX_USAGE;
    }
    vd_diags_init(&diags);
    status =
        vd_code_exit(vd_settings_load(vd_args_get(args, "config", NULL), &diags, &settings, &err));
    print_diags(&diags);
    if (settings == NULL) {
        fprintf(stderr, "verdict state: %s\n", err.msg);
    } else if (rebuilds) {
        status = vd_state_rebuild(settings, policy, dry_run);
    } else {
        status = vd_code_exit(show(settings, policy, key, &err));
        if (status != 0)
            fprintf(stderr, "verdict state: %s\n", err.msg);
    }
    (void)vd_settings_free(settings);
    vd_diags_fini(&diags);
    return status;
}

static const struct vd_option options[] = {
    {"config", 'c', "FILE", "settings file", false},
    {"policy", 'p', "ID", "only this policy's", false},
    {"key", 'k', "KEY", "show: only this key's", false},
    {"dry-run", 0, NULL, "rebuild: read everything, write nothing", false},
    {.name = NULL},
};

const struct vd_command vd_command_state = {
    .name = "state",
    .usage = "show | rebuild -c FILE [--policy ID] [--key KEY] [--dry-run]",
    .summary = "what policies remember: state and memory",
    .about =
        "  show     state and notes as they are in Redis.\n"
        "  rebuild  read the audit topic from its start and write what its decisions changed back "
        "to Redis: after Redis was\n"
        "           emptied, or came back without its last writes. What is there and newer stays, "
        "so it may be run twice. It\n"
        "           goes back as far as the topic does; workers must be stopped.\n\n"
        "    verdict state show -c verdict.cfg --policy orders.promise --key order-17\n"
        "    verdict state rebuild -c verdict.cfg --dry-run",
    .options = options,
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
