/* pipeline/lookup.c - see lookup.h. */
#include "pipeline/lookup.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "redis/client.h"
#include "redis/context.h"

struct vd_lookup {
    struct vd_redis_call *call;
    struct vd_read reads[VD_LOOKUP_MAX];
    size_t count;
    vd_lookup_fn *done;
    void *arg;
};

static size_t max_bytes(const struct vd_read *read)
{
    return read->max_bytes > 0 ? read->max_bytes : VD_REDIS_REPLY_MAX_BYTES;
}

static void on_replies(void *arg, const struct vd_redis_result *replies)
{
    struct vd_lookup *lookup = arg;
    cJSON *values[VD_LOOKUP_MAX] = {NULL};
    struct vd_lookup_result result = {.err = replies->err,
                                      .values = values,
                                      .wait_ms = replies->wait_ms,
                                      .canceled = replies->canceled};

    for (size_t i = 0; i < lookup->count && result.err.code == VD_OK; i++) {
        const struct vd_read *read = &lookup->reads[i];
        struct vd_err err;

        if (vd_redis_read_value(read->argv, read->argc, replies->replies[i], max_bytes(read),
                                &values[i], &err) == VD_OK ||
            (read->optional && err.code != VD_E_NOMEM))
            continue;
        result.err = err;
        result.failed = i;
    }
    lookup->done(lookup->arg, &result);
    for (size_t i = 0; i < lookup->count; i++)
        (void)vd_json_free(values[i]);
    (void)vd_free(lookup);
}

enum vd_code vd_lookup_start(struct vd_redis *redis, const struct vd_read *reads, size_t count,
                             uint32_t timeout_ms, vd_lookup_fn *done, void *arg,
                             struct vd_lookup **ret, struct vd_err *err)
{
    struct vd_redis_command commands[VD_LOOKUP_MAX];
    struct vd_redis_options options = {.timeout_ms = timeout_ms,
                                       .reply_max_bytes = VD_REDIS_REPLY_MAX_BYTES};
    struct vd_lookup *lookup;
    enum vd_code rc;

    if (count > VD_LOOKUP_MAX)
        return vd_err_set(err, VD_E_LIMIT, false, "%zu Redis reads, the limit is %d", count,
                          VD_LOOKUP_MAX);
    lookup = vd_alloc(sizeof(*lookup));
    if (lookup == NULL)
        return vd_err_nomem(err, "lookup");
    lookup->count = count;
    lookup->done = done;
    lookup->arg = arg;
    for (size_t i = 0; i < count; i++) {
        lookup->reads[i] = reads[i];
        if (reads[i].optional)
            options.reply_max_bytes += max_bytes(&reads[i]);
        commands[i] = (struct vd_redis_command){reads[i].argv, reads[i].argc};
    }
    rc = vd_redis_submit(redis, commands, count, &options, on_replies, lookup, &lookup->call, err);
    if (rc != VD_OK) {
        (void)vd_free(lookup);
        return rc;
    }
    *ret = lookup;
    return VD_OK;
}

void vd_lookup_cancel(struct vd_lookup *lookup)
{
    vd_redis_cancel(lookup->call);
}
