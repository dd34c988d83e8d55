/* redis/script.c - Lua scripts: named by SHA-1, sent as text only when Redis does not know them. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"
#include "redis/client.h"
#include "redis/internal.h"

struct vd_redis_script {
    char *text;
    size_t len;
    char sha1[VD_SHA1_HEX_SIZE];
};

enum vd_code vd_redis_script_new(struct vd_span text, struct vd_redis_script **ret_script,
                                 struct vd_err *err)
{
    struct vd_redis_script *script = vd_alloc(sizeof(*script));

    if (script == NULL || (script->text = vd_strndup(text)) == NULL) {
        (void)vd_free(script);
        return vd_err_nomem(err, "script");
    }
    script->len = text.len;
    vd_sha1_hex(text, script->sha1);
    *ret_script = script;
    return VD_OK;
}

void *vd_redis_script_free(struct vd_redis_script *script)
{
    if (script != NULL)
        (void)vd_free(script->text);
    return vd_free(script);
}

struct vd_span vd_redis_script_text(const struct vd_redis_script *script)
{
    return (struct vd_span){script->text, script->len};
}

enum vd_code vd_redis_eval(struct vd_redis *redis, const struct vd_redis_script *script,
                           const struct vd_span *keys, size_t key_count, const struct vd_span *args,
                           size_t arg_count, const struct vd_redis_options *options,
                           vd_redis_done_fn *done, void *arg, struct vd_redis_call **ret_call,
                           struct vd_err *err)
{
    struct vd_span argv[VD_REDIS_MAX_ARGC];
    struct vd_redis_command command = {argv, 3 + key_count + arg_count};
    char count[24];

    if (key_count > VD_REDIS_MAX_ARGC || arg_count > VD_REDIS_MAX_ARGC ||
        command.argc > VD_REDIS_MAX_ARGC)
        return vd_err_set(err, VD_E_LIMIT, false, "a script call of more than %d words",
                          VD_REDIS_MAX_ARGC);
    (void)snprintf(count, sizeof(count), "%zu", key_count);
    argv[0] = VD_LIT("EVALSHA");
    argv[1] = vd_span_of(script->sha1);
    argv[2] = vd_span_of(count);
    for (size_t i = 0; i < key_count; i++)
        argv[3 + i] = keys[i];
    for (size_t i = 0; i < arg_count; i++)
        argv[3 + key_count + i] = args[i];
    return vd_redis_submit_script(redis, &command, script, options, done, arg, ret_call, err);
}
