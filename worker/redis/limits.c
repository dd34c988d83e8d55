/* redis/limits.c - see limits.h. */
#include "redis/limits.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "redis/limits_lua.h"

#define FIXED_ARGS 4
#define ITEM_ARGS  6
#define PURGE_MAX  "2000" /* about 20 ms of Redis' time */

/* KEYS: the epoch, the decision's list, each item's base. ARGV: decision, generation, epoch?, dry?, then of each item key, holder,
 * amount, max, keep, closed. The list is a hash: "generation", and the holder of each "base LF key" with a reservation. */
static const char items_lua[] =
    "local epoch_key, list = KEYS[1], KEYS[2]\n"
    "local decision, generation, dry = ARGV[1], tonumber(ARGV[2]), ARGV[4] == '1'\n"
    "local now, since, items = clock(), 0, {}\n"
    "if ARGV[3] == '1' and #KEYS > 2 then\n"
    "  local epoch = redis.call('GET', epoch_key)\n"
    "  if not epoch and not dry then return {'absent'} end\n"
    "  since = epoch and (tonumber(epoch) or now) or 0\n"
    "end\n"
    "if tonumber(redis.call('HGET', list, 'generation') or -1) > generation then\n"
    "  return {'fenced'}\n"
    "end\n"
    "for i = 1, #KEYS - 2 do\n"
    "  local base, at = KEYS[2 + i], 4 + (i - 1) * 6\n"
    "  local key = ARGV[at + 1]\n"
    "  items[i] = {name = base .. '\\n' .. key, set = base .. ':' .. key, amounts = base .. '#' .. "
    "key,\n"
    "    holder = ARGV[at + 2], amount = tonumber(ARGV[at + 3]), max = tonumber(ARGV[at + 4]),\n"
    "    keep = tonumber(ARGV[at + 5]), closed = tonumber(ARGV[at + 6])}\n"
    "  if limit_purge(items[i].set, items[i].amounts, now, " PURGE_MAX ") == " PURGE_MAX " then\n"
    "    return {'again'}\n"
    "  end\n"
    "end\n";

static const char reserve_lua[] =
    "if not dry then\n"
    "  local before = redis.call('HGETALL', list)\n"
    "  for i = 1, #before, 2 do\n"
    "    local base, key = string.match(before[i], '^(.-)\\n(.*)$')\n"
    "    if base then\n"
    "      local holder, set, amounts = before[i + 1], base .. ':' .. key, base .. '#' .. key\n"
    "      local p = limit_read(amounts, 'p ' .. holder, now)\n"
    "      if p and p.by == decision then redis.call('HDEL', amounts, 'p ' .. holder) end\n"
    "      limit_count(set, amounts, holder, now)\n"
    "    end\n"
    "  end\n"
    "  redis.call('DEL', list)\n"
    "end\n"
    "local need, others, ok, reply = {}, {}, true, {'reserved'}\n"
    "for _, item in ipairs(items) do\n"
    "  local own = tonumber(redis.call('HGET', item.amounts, 'c ' .. item.holder) or 0)\n"
    "  need[item.set] = (need[item.set] or 0) + item.amount\n"
    "  others[item.set] = tonumber(redis.call('HGET', item.amounts, 'sum') or 0) - own\n"
    "end\n"
    "for _, item in ipairs(items) do\n"
    "  local closed = since > 0 and now < since + item.closed\n"
    /* not others + need <= max: that sum may be beyond what a double has exactly */
    "  local fits = not closed and need[item.set] <= item.max - others[item.set]\n"
    "  ok = ok and fits\n"
    "  reply[#reply + 1] = num(others[item.set])\n"
    "  reply[#reply + 1] = fits and '1' or '0'\n"
    "  reply[#reply + 1] = num(closed and since + item.closed or 0)\n"
    "end\n"
    "if not ok then reply[1] = 'exceeded' end\n"
    "if not ok or dry or #items == 0 then return reply end\n"
    "local longest = 0\n"
    "for _, item in ipairs(items) do\n"
    "  limit_write(item.amounts, 'p ' .. item.holder, need[item.set], now + item.keep, decision)\n"
    "  limit_count(item.set, item.amounts, item.holder, now)\n"
    "  redis.call('HSET', list, item.name, item.holder)\n"
    "  longest = math.max(longest, item.keep)\n"
    "end\n"
    "redis.call('HSET', list, 'generation', num(generation))\n"
    "redis.call('PEXPIRE', list, num(longest))\n"
    "return reply\n";

struct vd_limit_script {
    struct vd_redis_script *reserve;
};

enum vd_code vd_limit_script_new(struct vd_limit_script **ret_script, struct vd_err *err)
{
    struct vd_limit_script *s = vd_alloc(sizeof(*s));
    struct vd_buf text;
    enum vd_code rc;

    if (s == NULL)
        return vd_err_nomem(err, "script");
    vd_buf_init(&text, 65536);
    (void)vd_buf_add_c(&text, VD_LIMITS_LUA);
    (void)vd_buf_add_c(&text, items_lua);
    (void)vd_buf_add_c(&text, reserve_lua);
    rc = text.failed == VD_OK ? vd_redis_script_new(vd_buf_span(&text), &s->reserve, err)
                              : vd_err_nomem(err, "script");
    vd_buf_free(&text);
    if (rc != VD_OK) {
        (void)vd_free(s);
        return rc;
    }
    *ret_script = s;
    return VD_OK;
}

void *vd_limit_script_free(struct vd_limit_script *script)
{
    if (script != NULL)
        (void)vd_redis_script_free(script->reserve);
    return vd_free(script);
}

/* -- asking ---------------------------------------------------------------------------------------------------------- */

/* prefix, name and rest as one key; NULL when memory is out. */
static struct vd_span key_of(struct vd_arena *arena, struct vd_span prefix, const char *name,
                             struct vd_span rest)
{
    return vd_span_of(vd_arena_printf(arena, "%.*s%s%.*s", (int)prefix.len, prefix.ptr, name,
                                      (int)rest.len, rest.ptr));
}

static struct vd_span number(struct vd_arena *arena, int64_t n)
{
    return vd_span_of(vd_arena_printf(arena, "%lld", (long long)n));
}

static void put_item(struct vd_arena *arena, const struct vd_limit_item *item, struct vd_span *args)
{
    args[0] = item->key;
    args[1] = item->holder;
    args[2] = number(arena, item->amount);
    args[3] = number(arena, item->max);
    args[4] = number(arena, item->keep_ms);
    args[5] = number(arena, item->closed_ms);
}

/* Memory that was out left an empty span. */
static bool complete(const struct vd_span *keys, const struct vd_span *args, size_t items)
{
    bool all = keys[0].len > 0 && keys[1].len > 0 && args[1].len > 0;

    for (size_t i = 0; i < items; i++)
        for (size_t a = 2; a < ITEM_ARGS; a++)
            all = all && keys[2 + i].len > 0 && args[FIXED_ARGS + ITEM_ARGS * i + a].len > 0;
    return all;
}

enum vd_code vd_limit_reserve(struct vd_redis *redis, const struct vd_limit_script *script,
                              const struct vd_limit_request *request,
                              const struct vd_redis_options *options, vd_redis_done_fn *done,
                              void *arg, struct vd_redis_call **ret_call, struct vd_err *err)
{
    struct vd_span keys[2 + VD_LIMIT_MAX_ITEMS];
    struct vd_span args[FIXED_ARGS + ITEM_ARGS * VD_LIMIT_MAX_ITEMS];
    size_t n = request->count;
    struct vd_arena arena;
    enum vd_code rc;

    if (n > VD_LIMIT_MAX_ITEMS)
        return vd_err_set(err, VD_E_LIMIT, false, "%zu reservations of one decision, at most %d", n,
                          VD_LIMIT_MAX_ITEMS);
    vd_arena_init(&arena, 1u << 20);
    keys[0] = key_of(&arena, request->prefix, "epoch", VD_LIT(""));
    keys[1] = key_of(&arena, request->prefix, "reserved:", request->decision);
    args[0] = request->decision;
    args[1] = number(&arena, request->generation);
    args[2] = request->epoch ? VD_LIT("1") : VD_LIT("0");
    args[3] = request->dry ? VD_LIT("1") : VD_LIT("0");
    for (size_t i = 0; i < n; i++) {
        keys[2 + i] = key_of(&arena, request->prefix, "", request->items[i].base);
        put_item(&arena, &request->items[i], &args[FIXED_ARGS + ITEM_ARGS * i]);
    }
    if (!complete(keys, args, n))
        rc = vd_err_nomem(err, "reservation");
    else
        rc = vd_redis_eval(redis, script->reserve, keys, 2 + n, args, FIXED_ARGS + ITEM_ARGS * n,
                           options, done, arg, ret_call, err);
    vd_arena_fini(&arena);
    return rc;
}

/* -- the answer ------------------------------------------------------------------------------------------------------ */

static bool read_number(const struct vd_redis_reply *reply, int64_t *ret)
{
    uint64_t value;

    if (reply->kind != VD_REDIS_STRING || !vd_parse_u64(reply->s, INT64_MAX, &value))
        return false;
    *ret = (int64_t)value;
    return true;
}

static bool read_item(struct vd_redis_reply *const *items, struct vd_limit_used *ret)
{
    int64_t ok;

    if (!read_number(items[0], &ret->used) || !read_number(items[1], &ok) ||
        !read_number(items[2], &ret->closed_until_ms))
        return false;
    ret->ok = ok != 0;
    return true;
}

enum vd_code vd_limit_read(const struct vd_redis_reply *reply, struct vd_limit_used *ret_used,
                           size_t count, enum vd_limit_answer *ret_answer, struct vd_err *err)
{
    static const char *const words[] = {"reserved", "exceeded", "absent", "fenced", "again"};
    bool good = reply->kind == VD_REDIS_ARRAY && reply->count > 0;

    if (reply->kind == VD_REDIS_ERROR)
        return vd_err_set(err, VD_E_REMOTE, true, "Redis: %.*s",
                          (int)(reply->s.len < 120 ? reply->s.len : 120), reply->s.ptr);
    for (size_t i = 0; good && i < sizeof(words) / sizeof(words[0]); i++) {
        if (!vd_span_eq_c(reply->items[0]->s, words[i]))
            continue;
        *ret_answer = (enum vd_limit_answer)i;
        if (i > VD_LIMIT_EXCEEDED)
            return VD_OK;
        good = reply->count == 1 + 3 * count;
        for (size_t n = 0; good && n < count; n++)
            good = read_item(&reply->items[1 + 3 * n], &ret_used[n]);
        if (good)
            return VD_OK;
    }
    return vd_err_set(err, VD_E_BUG, false, "the limits' script gave a strange answer");
}
