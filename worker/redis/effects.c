/* redis/effects.c - see effects.h. */
#include "redis/effects.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "redis/limits_lua.h"

/* -- the scripts ------------------------------------------------------------------------------------------------- */

/* Each function does one operation of the decision `by` and returns 1 where somebody else's write has overtaken it, else 0. A key that
 * holds something else than ours is thrown away: the prefix is ours. */
#define LUA_OPERATIONS                                                                             \
    "local function ours(key, kind)\n"                                                             \
    "  local is = redis.call('TYPE', key)\n"                                                       \
    "  is = type(is) == 'table' and is.ok or is\n"                                                 \
    "  if is ~= kind and is ~= 'none' then redis.call('DEL', key) end\n"                           \
    "end\n"                                                                                        \
    "local function state_write(key, op, by)\n"                                                    \
    "  local words = {'@by', by, '@at', op[5]}\n"                                                  \
    "  for name, text in pairs(op[4]) do\n"                                                        \
    "    words[#words + 1] = name\n"                                                               \
    "    words[#words + 1] = text\n"                                                               \
    "  end\n"                                                                                      \
    "  redis.call('DEL', key)\n"                                                                   \
    "  redis.call('HSET', key, unpack(words))\n"                                                   \
    "end\n"                                                                                        \
    "local function state_set(key, op, by)\n"                                                      \
    "  ours(key, 'hash')\n"                                                                        \
    "  local last = redis.call('HGET', key, '@by')\n"                                              \
    "  if last == by then return 0 end\n"                                                          \
    "  if last and last ~= op[6] then return 1 end\n"                                              \
    "  state_write(key, op, by)\n"                                                                 \
    "  redis.call('EXPIRE', key, op[3])\n"                                                         \
    "  return 0\n"                                                                                 \
    "end\n"                                                                                        \
    "local function note_add(key, op, by)\n"                                                       \
    "  ours(key, 'list')\n"                                                                        \
    "  for _, note in ipairs(redis.call('LRANGE', key, 0, op[4] - 1)) do\n"                        \
    "    if string.find(note, by, 1, true) then return 0 end\n"                                    \
    "  end\n"                                                                                      \
    "  redis.call('LPUSH', key, op[3])\n"                                                          \
    "  redis.call('LTRIM', key, 0, op[4] - 1)\n"                                                   \
    "  redis.call('EXPIRE', key, op[5])\n"                                                         \
    "  return 0\n"                                                                                 \
    "end\n"

/* Behind the operations of all modules. ARGV: prefix, fields... The table is the place for another module's operation. */
static const char apply_lua[] =
    "local prefix, applied, absent, stale = ARGV[1], 0, 0, 0\n"
    "local operations = {\n"
    "  set = function(op, by) return state_set(prefix .. op[2], op, by) end,\n"
    "  note = function(op, by) return note_add(prefix .. op[2], op, by) end,\n"
    "  limit = function(op, by) return limit_apply(prefix, op, by, clock()) end,\n"
    "}\n"
    "local failed, why = {}, ''\n"
    "for i = 2, #ARGV do\n"
    "  local entry = redis.call('HGET', KEYS[1], ARGV[i])\n"
    "  local by = string.match(ARGV[i], '^%d+:(.*)$')\n"
    "  local ok, problem = true, nil\n"
    "  if entry then\n"
    "    ok, problem = pcall(function()\n"
    "      for _, op in ipairs(cjson.decode(entry)) do stale = stale + operations[op[1]](op, by) "
    "end\n"
    "      redis.call('HDEL', KEYS[1], ARGV[i])\n"
    "      applied = applied + 1\n"
    "    end)\n"
    "  else\n"
    "    absent = absent + 1\n"
    "  end\n"
    "  if not ok then\n"
    "    failed[#failed + 1] = ARGV[i]\n"
    "    why = type(problem) == 'table' and problem.err or tostring(problem)\n"
    "  end\n"
    "end\n"
    "return {applied, absent, stale, why, unpack(failed)}\n";

/* ARGV: generation, cluster, owner. */
static const char claim_lua[] =
    "local owner = redis.call('HGET', KEYS[1], '@owner')\n"
    "if owner then\n"
    "  local generation, cluster = string.match(owner, '^(-?%d+):([^:]*):')\n"
    "  if cluster == ARGV[2] and tonumber(generation) > tonumber(ARGV[1]) then return owner end\n"
    "end\n"
    "local fields = redis.call('HKEYS', KEYS[1])\n"
    "redis.call('HSET', KEYS[1], '@owner', ARGV[3])\n"
    "redis.call('EXPIRE', KEYS[1], 2592000)\n"
    "return fields\n";

/* ARGV: owner, field, entry. */
static const char store_lua[] = "local owner = redis.call('HGET', KEYS[1], '@owner')\n"
                                "if owner ~= ARGV[1] then return owner or '' end\n"
                                "redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])\n"
                                "redis.call('EXPIRE', KEYS[1], 2592000)\n"
                                "return 1\n";

/* ARGV: owner, fields... */
static const char discard_lua[] = "local owner = redis.call('HGET', KEYS[1], '@owner')\n"
                                  "if owner ~= ARGV[1] then return owner or '' end\n"
                                  "for i = 2, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end\n"
                                  "return 1\n";

/* ARGV: prefix, decision id, operation, age in seconds. Notes are put where their time says, so that what is there already stays. */
static const char restore_lua[] =
    "if redis.replicate_commands then redis.replicate_commands() end\n" LUA_OPERATIONS
    "local op, by, age = cjson.decode(ARGV[3]), ARGV[2], tonumber(ARGV[4])\n"
    "local key, ttl = ARGV[1] .. op[2], tonumber(op[1] == 'set' and op[3] or op[5])\n"
    "local nothing = {0, 0, 1, ''}\n"
    "if age >= ttl then return nothing end\n"
    "if op[1] == 'set' then\n"
    "  ours(key, 'hash')\n"
    "  local last = redis.call('HMGET', key, '@by', '@at')\n"
    "  local later = tonumber(last[2] or '0') > tonumber(op[5])\n"
    "  if last[1] == by or (last[1] and last[1] ~= op[6] and later) then return nothing end\n"
    "  state_write(key, op, by)\n"
    "else\n"
    "  ours(key, 'list')\n"
    "  local notes, at = redis.call('LRANGE', key, 0, -1), 1\n"
    "  local time = cjson.decode(op[3]).time_ms\n"
    "  for i, note in ipairs(notes) do\n"
    "    if string.find(note, by, 1, true) then return nothing end\n"
    "    if cjson.decode(note).time_ms > time then at = i + 1 end\n"
    "  end\n"
    "  if at > op[4] then return nothing end\n"
    "  if at > #notes then\n"
    "    redis.call('RPUSH', key, op[3])\n"
    "  else\n"
    "    redis.call('LINSERT', key, 'BEFORE', notes[at], op[3])\n"
    "  end\n"
    "  redis.call('LTRIM', key, 0, op[4] - 1)\n"
    "end\n"
    "local left = ttl - age\n"
    "if redis.call('TTL', key) < left then redis.call('EXPIRE', key, left) end\n"
    "return {1, 0, 0, ''}\n";

struct vd_effect_scripts {
    struct vd_redis_script *apply, *claim, *store, *discard, *restore;
};

void *vd_effect_scripts_free(struct vd_effect_scripts *s)
{
    if (s == NULL)
        return NULL;
    (void)vd_redis_script_free(s->apply);
    (void)vd_redis_script_free(s->claim);
    (void)vd_redis_script_free(s->store);
    (void)vd_redis_script_free(s->discard);
    (void)vd_redis_script_free(s->restore);
    return vd_free(s);
}

/* Each module's part is as long as a string literal may be. */
static enum vd_code make_apply(struct vd_redis_script **ret, struct vd_err *err)
{
    struct vd_buf text;
    enum vd_code rc;

    vd_buf_init(&text, 65536);
    (void)vd_buf_add_c(&text, VD_LIMITS_LUA);
    (void)vd_buf_add_c(&text, VD_LIMITS_APPLY_LUA);
    (void)vd_buf_add_c(&text, LUA_OPERATIONS);
    (void)vd_buf_add_c(&text, apply_lua);
    rc = text.failed == VD_OK ? vd_redis_script_new(vd_buf_span(&text), ret, err)
                              : vd_err_nomem(err, "effects");
    vd_buf_free(&text);
    return rc;
}

enum vd_code vd_effect_scripts_new(struct vd_effect_scripts **ret_scripts, struct vd_err *err)
{
    struct vd_effect_scripts *s = vd_alloc(sizeof(*s));
    enum vd_code rc = s == NULL ? vd_err_nomem(err, "effects") : VD_OK;

    if (rc == VD_OK)
        rc = make_apply(&s->apply, err);
    if (rc == VD_OK)
        rc = vd_redis_script_new(VD_LIT(claim_lua), &s->claim, err);
    if (rc == VD_OK)
        rc = vd_redis_script_new(VD_LIT(store_lua), &s->store, err);
    if (rc == VD_OK)
        rc = vd_redis_script_new(VD_LIT(discard_lua), &s->discard, err);
    if (rc == VD_OK)
        rc = vd_redis_script_new(VD_LIT(restore_lua), &s->restore, err);
    if (rc != VD_OK)
        (void)vd_effect_scripts_free(s);
    else
        *ret_scripts = s;
    return rc;
}

/* -- calls ------------------------------------------------------------------------------------------------------- */

static enum vd_code eval(const struct vd_effect_call *c, const struct vd_redis_script *script,
                         const struct vd_span *args, size_t count, struct vd_err *err)
{
    struct vd_buf text;
    struct vd_span key;
    enum vd_code rc;

    vd_buf_init(&text, VD_KEY_MAX_BYTES * 2);
    (void)vd_buf_add(&text, c->prefix);
    (void)vd_buf_addf(&text, "pending:%s:%" PRId32, c->topic, c->partition);
    key = vd_buf_span(&text);
    rc = text.failed != VD_OK ? vd_err_nomem(err, "effects")
                              : vd_redis_eval(c->redis, script, &key, 1, args, count, c->options,
                                              c->done, c->arg, c->ret_call, err);
    vd_buf_free(&text);
    return rc;
}

void vd_effect_owner(int32_t generation, struct vd_span cluster, struct vd_span token,
                     char out[VD_EFFECT_OWNER_SIZE])
{
    cluster = vd_span_sub(cluster, 0, 64);
    token = vd_span_sub(token, 0, 64);
    (void)snprintf(out, VD_EFFECT_OWNER_SIZE, "%" PRId32 ":%.*s:%.*s", generation, (int)cluster.len,
                   cluster.len > 0 ? cluster.ptr : "", (int)token.len,
                   token.len > 0 ? token.ptr : "");
}

enum vd_code vd_effect_claim(const struct vd_effect_call *call, int32_t generation,
                             struct vd_span cluster, struct vd_span token, struct vd_err *err)
{
    char owner[VD_EFFECT_OWNER_SIZE], number[16];

    vd_effect_owner(generation, cluster, token, owner);
    (void)snprintf(number, sizeof(number), "%" PRId32, generation);
    return eval(call, call->scripts->claim,
                (const struct vd_span[]){vd_span_of(number), vd_span_sub(cluster, 0, 64),
                                         vd_span_of(owner)},
                3, err);
}

enum vd_code vd_effect_store_entry(const struct vd_effect_call *call, struct vd_span owner,
                                   struct vd_span field, struct vd_span entry, struct vd_err *err)
{
    return eval(call, call->scripts->store, (const struct vd_span[]){owner, field, entry}, 3, err);
}

/* first, then the fields. */
static enum vd_code eval_fields(const struct vd_effect_call *call,
                                const struct vd_redis_script *script, struct vd_span first,
                                const struct vd_span *fields, size_t count, struct vd_err *err)
{
    struct vd_span args[VD_EFFECT_MAX_FIELDS + 1];

    if (count > VD_EFFECT_MAX_FIELDS)
        return vd_err_set(err, VD_E_LIMIT, false, "%zu entries in one call, the limit is %d", count,
                          VD_EFFECT_MAX_FIELDS);
    args[0] = first;
    for (size_t i = 0; i < count; i++)
        args[1 + i] = fields[i];
    return eval(call, script, args, count + 1, err);
}

enum vd_code vd_effect_apply_entries(const struct vd_effect_call *call,
                                     const struct vd_span *fields, size_t count, struct vd_err *err)
{
    return eval_fields(call, call->scripts->apply, call->prefix, fields, count, err);
}

enum vd_code vd_effect_discard_entries(const struct vd_effect_call *call, struct vd_span owner,
                                       const struct vd_span *fields, size_t count,
                                       struct vd_err *err)
{
    return eval_fields(call, call->scripts->discard, owner, fields, count, err);
}

enum vd_code vd_effect_restore(const struct vd_effect_call *call, struct vd_span decision_id,
                               struct vd_span operation, int64_t age_s, struct vd_err *err)
{
    char age[24];

    (void)snprintf(age, sizeof(age), "%" PRId64, age_s > 0 ? age_s : 0);
    return eval(call, call->scripts->restore,
                (const struct vd_span[]){call->prefix, decision_id, operation, vd_span_of(age)}, 4,
                err);
}

/* -- answers ----------------------------------------------------------------------------------------------------- */

static enum vd_code unusable(const struct vd_redis_reply *reply, struct vd_err *err)
{
    if (reply->kind == VD_REDIS_ERROR)
        return vd_err_set(err, VD_E_REMOTE, true, "Redis: %.*s",
                          (int)(reply->s.len > 120 ? 120 : reply->s.len), reply->s.ptr);
    return vd_err_set(err, VD_E_BUG, false, "Redis answers a script with something else");
}

enum vd_code vd_effect_read_claim(const struct vd_redis_reply *reply, bool *ret_owned,
                                  const struct vd_redis_reply **ret_fields, struct vd_err *err)
{
    if (reply->kind != VD_REDIS_ARRAY && reply->kind != VD_REDIS_STRING)
        return unusable(reply, err);
    *ret_owned = reply->kind == VD_REDIS_ARRAY;
    *ret_fields = *ret_owned ? reply : NULL;
    return VD_OK;
}

enum vd_code vd_effect_read_store(const struct vd_redis_reply *reply, bool *ret_stored,
                                  bool *ret_nobody, struct vd_err *err)
{
    if (reply->kind != VD_REDIS_INT && reply->kind != VD_REDIS_STRING)
        return unusable(reply, err);
    *ret_stored = reply->kind == VD_REDIS_INT;
    *ret_nobody = reply->kind == VD_REDIS_STRING && reply->s.len == 0;
    return VD_OK;
}

enum vd_code vd_effect_read_apply(const struct vd_redis_reply *reply, struct vd_effect_counts *ret,
                                  struct vd_err *err)
{
    if (reply->kind != VD_REDIS_ARRAY || reply->count < 4)
        return unusable(reply, err);
    for (size_t i = 0; i < reply->count; i++)
        if (reply->items[i]->kind != (i < 3 ? VD_REDIS_INT : VD_REDIS_STRING))
            return unusable(reply, err);
    *ret = (struct vd_effect_counts){.applied = reply->items[0]->i,
                                     .absent = reply->items[1]->i,
                                     .stale = reply->items[2]->i,
                                     .why = reply->items[3]->s,
                                     .failed = reply->items + 4,
                                     .failed_count = reply->count - 4};
    return VD_OK;
}
