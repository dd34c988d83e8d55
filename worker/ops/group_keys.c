/* ops/group_keys.c - see group_keys.h. */
#include "ops/group_keys.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "loop/loop.h"
#include "redis/client.h"

#define KEY_CHARS  (VD_SHA256_HEX_SIZE - 1)
#define RETRY_MS   500
#define SAY_MS     60000
#define TIMEOUT_MS 3600000u /* it waits in front of all others for Redis to come up */

static const char *const names[VD_GROUP_KEY_COUNT] = {"marker", "redact"};

struct vd_group_keys {
    struct vd_group_keys_conf conf;
    struct vd_timer *retry;
    char keys[VD_GROUP_KEY_COUNT][VD_SHA256_HEX_SIZE];
    bool shared;
    struct vd_log_every said;
};

static void ask(void *arg);

static bool is_key(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!((s.ptr[i] >= '0' && s.ptr[i] <= '9') || (s.ptr[i] >= 'a' && s.ptr[i] <= 'f')))
            return false;
    return s.len == KEY_CHARS;
}

static void try_again(struct vd_group_keys *k, const char *why)
{
    uint64_t missed;

    if (vd_log_due(&k->said, SAY_MS, &missed))
        vd_log(VD_WARN, "group_keys.not_shared", VD_F_STR("why", why),
               VD_F_STR("note", "markers and hashes are this process' own until Redis answers"));
    vd_timer_start(k->retry, RETRY_MS, 0);
}

static void on_keys(void *arg, const struct vd_redis_result *result)
{
    struct vd_group_keys *k = arg;
    size_t reply = 0;

    if (result->canceled)
        return;
    if (result->err.code != VD_OK) {
        try_again(k, result->err.msg);
        return;
    }
    for (size_t i = 0; i < VD_GROUP_KEY_COUNT; i++) {
        const struct vd_redis_reply *r;

        if (k->conf.given[i] != NULL)
            continue;
        r = result->replies[reply + 1];
        reply += 2;
        if (r->kind != VD_REDIS_STRING || !is_key(r->s)) {
            try_again(k, r->kind == VD_REDIS_ERROR ? "Redis refuses to keep them"
                                                   : "what Redis has there is no key");
            return;
        }
        memcpy(k->keys[i], r->s.ptr, KEY_CHARS);
    }
    k->shared = true;
}

/* SET name random NX, GET name: whoever came first has made it. */
static void ask(void *arg)
{
    struct vd_group_keys *k = arg;
    struct vd_redis_options options = {.timeout_ms = TIMEOUT_MS};
    struct vd_redis_command commands[2 * VD_GROUP_KEY_COUNT];
    struct vd_span set[VD_GROUP_KEY_COUNT][4], get[VD_GROUP_KEY_COUNT][2];
    char key[VD_GROUP_KEY_COUNT][512];
    size_t count = 0;
    struct vd_err err;

    for (size_t i = 0; i < VD_GROUP_KEY_COUNT; i++) {
        if (k->conf.given[i] != NULL)
            continue;
        (void)snprintf(key[i], sizeof(key[i]), "%skey:%s", k->conf.prefix, names[i]);
        set[i][0] = VD_LIT("SET");
        set[i][1] = vd_span_of(key[i]);
        set[i][2] = (struct vd_span){k->keys[i], KEY_CHARS};
        set[i][3] = VD_LIT("NX");
        get[i][0] = VD_LIT("GET");
        get[i][1] = vd_span_of(key[i]);
        commands[count++] = (struct vd_redis_command){set[i], 4};
        commands[count++] = (struct vd_redis_command){get[i], 2};
    }
    if (vd_redis_submit(k->conf.redis, commands, count, &options, on_keys, k, NULL, &err) != VD_OK)
        try_again(k, err.msg);
}

enum vd_code vd_group_keys_new(struct vd_loop *loop, const struct vd_group_keys_conf *conf,
                               struct vd_group_keys **ret_keys, struct vd_err *err)
{
    struct vd_group_keys *k = vd_alloc(sizeof(*k));
    struct vd_sha256 random[VD_GROUP_KEY_COUNT];
    bool missing = false;

    if (k == NULL || vd_timer_new(loop, ask, k, &k->retry) != VD_OK) {
        (void)vd_free(k);
        return vd_err_nomem(err, "group keys");
    }
    k->conf = *conf;
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        (void)vd_group_keys_free(k);
        return vd_err_set(err, VD_E_BUG, false, "getrandom failed");
    }
    for (size_t i = 0; i < VD_GROUP_KEY_COUNT; i++) {
        vd_sha256_hex(&random[i], k->keys[i]);
        missing = missing || conf->given[i] == NULL;
    }
    k->shared = !missing;
    if (missing && conf->redis != NULL)
        ask(k);
    *ret_keys = k;
    return VD_OK;
}

void *vd_group_keys_free(struct vd_group_keys *keys)
{
    if (keys != NULL)
        (void)vd_timer_free(keys->retry);
    return vd_free(keys);
}

struct vd_span vd_group_key(const struct vd_group_keys *keys, enum vd_group_key which)
{
    if (keys->conf.given[which] != NULL)
        return vd_span_of(keys->conf.given[which]);
    return (struct vd_span){keys->keys[which], KEY_CHARS};
}

bool vd_group_keys_shared(const struct vd_group_keys *keys)
{
    return keys->shared;
}
