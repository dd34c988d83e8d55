/* redis/limits_lua.h - how limits across decisions are kept in Redis, for the scripts that change them. Nobody else includes it.
 *
 * Why:      reserving (limits.c) and what follows a commit (the effects' script) must keep the same books.
 * Shapes:   base is PREFIX "limit:" POLICY ":" LIMIT; of a limit's key K, by the character after base:
 *             base ":" K       sorted set: holder, by when something of it ends
 *             base "#" K       hash: "sum", all that counts; of each holder H
 *                                "p H"  what it reserved: "amount ends decision"
 *                                "h H"  what it holds, once its decision is published: "amount ends "
 *                                "c H"  what of both is in sum: the larger, so that neither an abandoned nor a smaller new
 *                                       reservation frees what was promised before
 *             base "@" H       hash: "k K" for each key where H holds something; "at": "TOPIC:PARTITION OFFSET" of the last change
 *           Neither a policy's id nor a limit's name has such a character. Times are milliseconds of Redis' own clock.
 * Rules:    limit_count() after every change of "p H" or "h H". Keys live as long as the last thing in them.
 */
#ifndef VD_REDIS_LIMITS_LUA_H
#define VD_REDIS_LIMITS_LUA_H

/* Functions num, clock, limit_count, limit_purge, limit_apply. One that calls them begins with this. */
#define VD_LIMITS_LUA                                                                              \
    "if redis.replicate_commands then redis.replicate_commands() end\n"                            \
    "local function num(n) return string.format('%.0f', n) end\n"                                  \
    "local function clock()\n"                                                                     \
    "  local t = redis.call('TIME')\n"                                                             \
    "  return t[1] * 1000 + math.floor(t[2] / 1000)\n"                                             \
    "end\n"                                                                                        \
    "local function limit_read(amounts, field, now)\n"                                             \
    "  local text = redis.call('HGET', amounts, field)\n"                                          \
    "  if not text then return nil end\n"                                                          \
    "  local amount, ends, by = string.match(text, '^(%d+) (%d+) (.*)$')\n"                        \
    "  if tonumber(ends) <= now then redis.call('HDEL', amounts, field) return nil end\n"          \
    "  return {amount = tonumber(amount), ends = tonumber(ends), by = by}\n"                       \
    "end\n"                                                                                        \
    "local function limit_write(amounts, field, amount, ends, by)\n"                               \
    "  redis.call('HSET', amounts, field, num(amount) .. ' ' .. num(ends) .. ' ' .. by)\n"         \
    "end\n"                                                                                        \
    "local function limit_count(set, amounts, holder, now)\n"                                      \
    "  local p = limit_read(amounts, 'p ' .. holder, now)\n"                                       \
    "  local h = limit_read(amounts, 'h ' .. holder, now)\n"                                       \
    "  local before = tonumber(redis.call('HGET', amounts, 'c ' .. holder) or 0)\n"                \
    "  local after, first, last = 0, nil, nil\n"                                                   \
    "  if p then after, first, last = p.amount, p.ends, p.ends end\n"                              \
    "  if h then\n"                                                                                \
    "    after = math.max(after, h.amount)\n"                                                      \
    "    first, last = math.min(first or h.ends, h.ends), math.max(last or 0, h.ends)\n"           \
    "  end\n"                                                                                      \
    "  if first then\n"                                                                            \
    "    redis.call('ZADD', set, num(first), holder)\n"                                            \
    "    redis.call('HSET', amounts, 'c ' .. holder, num(after))\n"                                \
    "  else\n"                                                                                     \
    "    redis.call('ZREM', set, holder)\n"                                                        \
    "    redis.call('HDEL', amounts, 'c ' .. holder)\n"                                            \
    "  end\n"                                                                                      \
    "  if after ~= before then redis.call('HINCRBY', amounts, 'sum', num(after - before)) end\n"   \
    "  if redis.call('EXISTS', set) == 0 then\n"                                                   \
    "    redis.call('DEL', amounts)\n"                                                             \
    "  elseif last and redis.call('PTTL', set) < last - now then\n"                                \
    "    redis.call('PEXPIREAT', set, num(last))\n"                                                \
    "    redis.call('PEXPIREAT', amounts, num(last))\n"                                            \
    "  end\n"                                                                                      \
    "end\n"                                                                                        \
    "local function limit_purge(set, amounts, now, max)\n"                                         \
    "  local due = redis.call('ZRANGEBYSCORE', set, '-inf', num(now), 'LIMIT', 0, max)\n"          \
    "  for _, holder in ipairs(due) do limit_count(set, amounts, holder, now) end\n"               \
    "  return #due\n"                                                                              \
    "end\n"

/* limit_apply(prefix, op, by, now) does one effect of the decision `by`, decoded from
 *     ["limit", "limit:POLICY:LIMIT", "keep" | "confirm" | "release", holder, {key: amount}, keep_ms, "TOPIC:PARTITION", offset]
 * keep     what the decision reserved is held for keep_ms from now on, instead of whatever the holder held before;
 * confirm  what the holder holds counts for keep_ms from now;
 * release  the holder holds nothing any more.
 * 1 and nothing done where a later record of the same partition came first: an answer was lost, and this one is done again. */
#define VD_LIMITS_APPLY_LUA                                                                        \
    "local function limit_apply(prefix, op, by, now)\n"                                            \
    "  local base, what, holder, ends = prefix .. op[2], op[3], op[4], now + op[6]\n"              \
    "  local index = base .. '@' .. holder\n"                                                      \
    "  local place, offset = string.match(redis.call('HGET', index, 'at') or '', '^(.*) "          \
    "(%d+)$')\n"                                                                                   \
    "  if place == op[7] and tonumber(offset) > op[8] then return 1 end\n"                         \
    "  redis.call('HSET', index, 'at', op[7] .. ' ' .. num(op[8]))\n"                              \
    "  for _, field in ipairs(redis.call('HKEYS', index)) do\n"                                    \
    "    local key = string.match(field, '^k (.*)$')\n"                                            \
    "    if key then\n"                                                                            \
    "      local set, amounts = base .. ':' .. key, base .. '#' .. key\n"                          \
    "      local held = limit_read(amounts, 'h ' .. holder, now)\n"                                \
    "      if what == 'confirm' and held then\n"                                                   \
    "        limit_write(amounts, 'h ' .. holder, held.amount, ends, '')\n"                        \
    "      else\n"                                                                                 \
    "        redis.call('HDEL', amounts, 'h ' .. holder)\n"                                        \
    "        redis.call('HDEL', index, field)\n"                                                   \
    "      end\n"                                                                                  \
    "      limit_count(set, amounts, holder, now)\n"                                               \
    "    end\n"                                                                                    \
    "  end\n"                                                                                      \
    "  if what == 'keep' then\n"                                                                   \
    "    for key, amount in pairs(op[5]) do\n"                                                     \
    "      local set, amounts = base .. ':' .. key, base .. '#' .. key\n"                          \
    "      local p = limit_read(amounts, 'p ' .. holder, now)\n"                                   \
    "      if p and p.by == by then redis.call('HDEL', amounts, 'p ' .. holder) end\n"             \
    "      limit_write(amounts, 'h ' .. holder, amount, ends, '')\n"                               \
    "      limit_count(set, amounts, holder, now)\n"                                               \
    "      redis.call('HSET', index, 'k ' .. key, '1')\n"                                          \
    "    end\n"                                                                                    \
    "  end\n"                                                                                      \
    "  if redis.call('PTTL', index) < ends - now then\n"                                           \
    "    redis.call('PEXPIREAT', index, num(ends))\n"                                              \
    "  end\n"                                                                                      \
    "  return 0\n"                                                                                 \
    "end\n"

#endif
