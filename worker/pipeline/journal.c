/* pipeline/journal.c - see journal.h. */
#include "pipeline/journal.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "json/members.h"
#include "json/utf8.h"
#include "redis/client.h"

#define FORMAT     1
#define KEY_SIZE   512
#define SAY_MS     60000
#define KIND_COUNT ((int64_t)VD_ANSWER_EMPTY + 1)

struct vd_journal {
    struct vd_journal_conf conf;
    char ttl[24];
    struct vd_journal_status status;
    struct vd_log_every said;
};

static const char *const event_names[VD_JOURNAL_EVENT_COUNT] = {
    [VD_JOURNAL_WRITTEN] = "written",
    [VD_JOURNAL_HIT] = "hit",
    [VD_JOURNAL_OTHER_POLICY] = "other_policy",
    [VD_JOURNAL_OTHER_EVENT] = "other_event",
    [VD_JOURNAL_OTHER_REQUEST] = "other_request",
    [VD_JOURNAL_UNREADABLE] = "unreadable",
    [VD_JOURNAL_TOO_LARGE] = "too_large",
    [VD_JOURNAL_FAILED] = "failed",
    [VD_JOURNAL_LATE] = "late",
};

const char *vd_journal_event_name(enum vd_journal_event event)
{
    return event_names[event];
}

void vd_journal_count(struct vd_journal *j, enum vd_journal_event event)
{
    j->status.events[event]++;
    vd_metric_add(j->conf.metrics, VD_M_JOURNAL, event_names[event], "", 1);
}

struct vd_journal_status vd_journal_status(const struct vd_journal *j)
{
    return j->status;
}

void vd_journal_orphaned(struct vd_journal *j, int by)
{
    j->status.orphaned += (unsigned)by;
}

enum vd_code vd_journal_new(const struct vd_journal_conf *conf, struct vd_journal **ret_journal,
                            struct vd_err *err)
{
    struct vd_journal *j = vd_alloc(sizeof(*j));

    if (j == NULL)
        return vd_err_nomem(err, "journal");
    j->conf = *conf;
    (void)snprintf(j->ttl, sizeof(j->ttl), "%u", conf->ttl_s);
    *ret_journal = j;
    return VD_OK;
}

void *vd_journal_free(struct vd_journal *journal)
{
    return vd_free(journal);
}

/* -- writing ------------------------------------------------------------------------------------------------------ */

static void failed(struct vd_journal *j, const char *why)
{
    uint64_t missed;

    j->status.away = true;
    vd_journal_count(j, VD_JOURNAL_FAILED);
    if (vd_log_due(&j->said, SAY_MS, &missed))
        vd_log(VD_WARN, "journal.away", VD_F_STR("why", why),
               VD_F_STR("note", "answers received now are paid for again after a crash"));
}

static void on_written(void *arg, const struct vd_redis_result *result)
{
    struct vd_journal *j = arg;

    if (result->canceled)
        return;
    if (result->err.code != VD_OK) {
        failed(j, result->err.msg);
        return;
    }
    for (size_t i = 0; i < result->count; i++) {
        if (result->replies[i]->kind == VD_REDIS_ERROR) {
            failed(j, "Redis refuses it");
            return;
        }
    }
    if (j->status.away)
        vd_log(VD_INFO, "journal.back", VD_F_INT("written", j->status.events[VD_JOURNAL_WRITTEN]));
    j->status.away = false;
    j->said = (struct vd_log_every){0};
    vd_journal_count(j, VD_JOURNAL_WRITTEN);
}

static const char *make_key(const struct vd_journal *j, const char *decision_id, char key[KEY_SIZE])
{
    struct vd_buf text = {.ptr = key, .cap = KEY_SIZE, .max = KEY_SIZE - 1};

    (void)vd_buf_add_c(&text, j->conf.prefix);
    (void)vd_buf_add(&text, VD_LIT("journal:"));
    (void)vd_buf_add_c(&text, decision_id);
    return key;
}

/* start: not NULL where step 0 goes first. */
static void write_step(struct vd_journal *j, const char *decision_id, const char *step,
                       struct vd_span text, const struct vd_journal_start *start)
{
    char buffer[KEY_SIZE];
    struct vd_span key = vd_span_of(make_key(j, decision_id, buffer));
    struct vd_span hset[6] = {VD_LIT("HSET"), key, vd_span_of(step), text};
    const struct vd_span del[] = {VD_LIT("DEL"), key};
    const struct vd_span expire[] = {VD_LIT("EXPIRE"), key, vd_span_of(j->ttl)};
    const struct vd_redis_command commands[] = {
        {del, 2}, {hset, start != NULL ? 6 : 4}, {expire, 3}};
    struct vd_redis_options options = {.timeout_ms = j->conf.timeout_ms};
    size_t skip = start != NULL && !start->absent ? 0 : 1;
    struct vd_err err;

    if (start != NULL) {
        hset[4] = VD_LIT("0");
        hset[5] = start->seen;
    }
    if (vd_redis_submit(j->conf.redis, commands + skip, 3 - skip, &options, on_written, j, NULL,
                        &err) != VD_OK)
        failed(j, err.msg);
}

void vd_journal_see(struct vd_journal *j, struct vd_journal_start *start, struct vd_span text,
                    struct vd_arena *arena)
{
    if (text.len > VD_JOURNAL_SEEN_MAX_BYTES || vd_arena_dup(arena, text, &start->seen) != VD_OK)
        vd_journal_count(j, VD_JOURNAL_TOO_LARGE);
}

void vd_journal_put(struct vd_journal *j, const char *decision_id, const char *step,
                    struct vd_span text)
{
    if (text.len > VD_JOURNAL_STEP_MAX_BYTES)
        vd_journal_count(j, VD_JOURNAL_TOO_LARGE);
    else
        write_step(j, decision_id, step, text, NULL);
}

/* -- answers ------------------------------------------------------------------------------------------------------ */

/* A model may write any bytes; Redis gives back text. */
static void add_bytes(struct vd_buf *out, struct vd_span bytes)
{
    if (vd_utf8_valid(bytes)) {
        vd_json_text(out, "text", bytes.len > 0 ? bytes : VD_LIT(""));
        return;
    }
    vd_json_key(out, "base64");
    (void)vd_buf_add_char(out, '"');
    (void)vd_base64_encode(out, bytes);
    (void)vd_buf_add_char(out, '"');
}

/* Tools that were called; nothing where there were none. */
static void add_calls(struct vd_buf *out, const struct vd_answer *answer)
{
    if (answer->call_count == 0)
        return;
    vd_json_open(out, "tool_calls", '[');
    for (size_t i = 0; i < answer->call_count; i++) {
        const struct vd_tool_call *c = &answer->calls[i];

        vd_json_next(out);
        (void)vd_buf_add_char(out, '{');
        vd_json_text(out, "name", c->name.len > 0 ? c->name : VD_LIT(""));
        vd_json_text(out, "arguments", c->arguments.len > 0 ? c->arguments : VD_LIT(""));
        vd_json_close(out, '}');
    }
    vd_json_close(out, ']');
}

void vd_journal_put_answer(struct vd_journal *j, const char *decision_id, unsigned step,
                           const struct vd_journal_answer *a, struct vd_journal_start *start)
{
    const struct vd_answer *answer = &a->answer;
    char hash[VD_SHA256_HEX_SIZE], name[16];
    struct vd_buf out;

    if (!start->written && start->seen.ptr == NULL)
        return;
    vd_sha256_hex(&a->request, hash);
    (void)snprintf(name, sizeof(name), "%u", step);
    vd_buf_init(&out, VD_JOURNAL_STEP_MAX_BYTES);
    (void)vd_buf_add_char(&out, '{');
    vd_json_word(&out, "request", hash);
    vd_json_text(&out, "model", vd_span_of(answer->model));
    vd_json_integer(&out, "kind", (int64_t)answer->kind);
    vd_json_integer(&out, "input_tokens", answer->input_tokens);
    vd_json_integer(&out, "output_tokens", answer->output_tokens);
    vd_json_integer(&out, "cost_microusd", answer->cost_microusd);
    vd_json_integer(&out, "model_ms", answer->model_ms);
    vd_json_integer(&out, "calls", a->calls);
    add_bytes(&out, answer->text);
    add_calls(&out, answer);
    (void)vd_buf_add_char(&out, '}');
    if (out.failed == VD_OK) {
        write_step(j, decision_id, name, vd_buf_span(&out), start->written ? NULL : start);
        start->written = true;
    } else {
        vd_journal_count(j, VD_JOURNAL_TOO_LARGE);
    }
    vd_buf_free(&out);
}

static bool get_int(const cJSON *o, const char *name, int64_t most, int64_t *ret)
{
    return vd_json_int(vd_json_get(o, name), ret) && *ret >= 0 && *ret <= most;
}

static bool get_hash(const cJSON *o, struct vd_sha256 *ret)
{
    struct vd_span hex = vd_json_get_string(o, "request");

    if (hex.len != VD_SHA256_HEX_SIZE - 1)
        return false;
    for (size_t i = 0; i < VD_SHA256_BYTES; i++) {
        unsigned v = 0;

        for (size_t n = 0; n < 2; n++) {
            char c = hex.ptr[2 * i + n];

            if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
                return false;
            v = v * 16 + (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        ret->bytes[i] = (unsigned char)v;
    }
    return true;
}

static bool get_bytes(const cJSON *o, struct vd_arena *arena, struct vd_span *ret)
{
    const cJSON *plain = vd_json_get(o, "text");
    struct vd_span encoded = vd_json_get_string(o, "base64");
    char *bytes;

    if (vd_json_kind(plain) == VD_JSON_STRING)
        return vd_arena_dup(arena, vd_json_string(plain), ret) == VD_OK;
    bytes = vd_arena_alloc(arena, encoded.len + 1);
    ret->ptr = bytes;
    return bytes != NULL && encoded.len > 0 && vd_base64_decode_to(bytes, encoded, &ret->len);
}

static bool get_calls(const cJSON *o, struct vd_arena *arena, struct vd_answer *answer)
{
    const cJSON *list = vd_json_get(o, "tool_calls"), *one;
    struct vd_tool_call *calls = vd_arena_array(arena, VD_TOOL_MAX_TURN, sizeof(*calls));
    bool ok = calls != NULL;

    cJSON_ArrayForEach(one, list)
    {
        struct vd_tool_call *c = &calls[answer->call_count];

        if (!ok || answer->call_count == VD_TOOL_MAX_TURN)
            return false;
        ok = vd_arena_dup(arena, vd_json_get_string(one, "name"), &c->name) == VD_OK &&
             vd_arena_dup(arena, vd_json_get_string(one, "arguments"), &c->arguments) == VD_OK;
        answer->call_count++;
    }
    answer->calls = calls;
    return ok;
}

bool vd_journal_get_answer(struct vd_journal *j, const cJSON *entry, unsigned step,
                           struct vd_arena *arena, struct vd_journal_answer *ret)
{
    struct vd_journal_answer a = {.answer.from_journal = true};
    cJSON *o = NULL;
    struct vd_span text, model;
    int64_t kind = 0;
    char name[16];
    bool ok;

    (void)snprintf(name, sizeof(name), "%u", step);
    text = vd_journal_get(entry, name);
    if (text.ptr == NULL)
        return false;
    ok = vd_json_parse(text, &o, NULL) == VD_OK && get_hash(o, &a.request) &&
         get_int(o, "kind", KIND_COUNT - 1, &kind) &&
         get_int(o, "input_tokens", INT64_MAX / 4, &a.answer.input_tokens) &&
         get_int(o, "output_tokens", INT64_MAX / 4, &a.answer.output_tokens) &&
         get_int(o, "cost_microusd", INT64_MAX / 4, &a.answer.cost_microusd) &&
         get_int(o, "model_ms", INT64_MAX / 4, &a.answer.model_ms) &&
         get_int(o, "calls", VD_REASON_MAX_CALLS * 64, &a.calls) &&
         get_bytes(o, arena, &a.answer.text) &&
         (vd_json_get(o, "tool_calls") == NULL || get_calls(o, arena, &a.answer));
    model = vd_json_get_string(o, "model");
    if (ok) {
        a.answer.kind = (enum vd_answer_kind)kind;
        a.answer.model = vd_arena_strndup(arena, model);
        ok = a.answer.model != NULL;
    }
    (void)vd_json_free(o);
    if (!ok) {
        vd_journal_count(j, VD_JOURNAL_UNREADABLE);
        return false;
    }
    *ret = a;
    return true;
}

/* -- reading ------------------------------------------------------------------------------------------------------ */

enum vd_code vd_journal_read(const struct vd_journal *j, const char *decision_id,
                             struct vd_arena *arena, const struct vd_span **ret_argv,
                             size_t *ret_argc)
{
    struct vd_span *argv = vd_arena_array(arena, 2, sizeof(*argv));
    char key[KEY_SIZE];

    if (argv == NULL ||
        vd_arena_dup(arena, vd_span_of(make_key(j, decision_id, key)), &argv[1]) != VD_OK)
        return VD_E_NOMEM;
    argv[0] = VD_LIT("HGETALL");
    *ret_argv = argv;
    *ret_argc = 2;
    return VD_OK;
}

bool vd_journal_readable(const struct vd_journal *j)
{
    struct vd_redis_status s = vd_redis_status(j->conf.redis);

    return s.state == VD_REDIS_UP || s.failures == 0;
}

struct vd_span vd_journal_get(const cJSON *entry, const char *step)
{
    const cJSON *text = vd_json_get(entry, step);

    return vd_json_kind(text) == VD_JSON_STRING ? vd_json_string(text) : (struct vd_span){0};
}

cJSON *vd_journal_seen(struct vd_journal *j, const cJSON *entry, const char *policy_hash,
                       const char *event_hash)
{
    struct vd_span text = vd_journal_get(entry, "0");
    cJSON *seen = NULL;
    int64_t version = 0;

    if (text.ptr == NULL)
        return NULL;
    if (vd_json_parse(text, &seen, NULL) != VD_OK || !get_int(seen, "v", FORMAT, &version) ||
        version != FORMAT)
        vd_journal_count(j, VD_JOURNAL_UNREADABLE);
    else if (!vd_span_eq_c(vd_json_get_string(seen, "policy"), policy_hash))
        vd_journal_count(j, VD_JOURNAL_OTHER_POLICY);
    else if (!vd_span_eq_c(vd_json_get_string(seen, "event"), event_hash))
        vd_journal_count(j, VD_JOURNAL_OTHER_EVENT);
    else
        return seen;
    return vd_json_free(seen);
}
