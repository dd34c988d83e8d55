/* kafka/offsets.c - see offsets.h. */
#include "kafka/offsets.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "kafka/client.h"
#include "kafka/lookup.h"
#include "kafka/properties.h"

#define TIMEOUT_MS 10000

struct vd_offsets {
    rd_kafka_t *rk;
    enum vd_kafka_start start;
};

enum vd_code vd_offsets_open(const struct vd_kafka_conf *conf, struct vd_offsets **ret,
                             struct vd_err *err)
{
    struct vd_offsets *o = vd_alloc(sizeof(*o));
    rd_kafka_conf_t *rk_conf = NULL;
    char text[256];
    enum vd_code rc;

    if (o == NULL)
        return vd_err_nomem(err, "offsets");
    o->start = conf->start;
    rc = vd_properties_consumer(conf, &rk_conf, err);
    if (rc != VD_OK)
        goto out;
    rd_kafka_conf_set_log_cb(rk_conf, vd_client_log);
    o->rk = rd_kafka_new(RD_KAFKA_CONSUMER, rk_conf, text, sizeof(text));
    if (o->rk == NULL) {
        rd_kafka_conf_destroy(rk_conf);
        rc = vd_err_set(err, VD_E_CONFIG, false, "kafka: %s", text);
        goto out;
    }
    *ret = o;
    o = NULL;
out:
    (void)vd_offsets_close(o);
    return rc;
}

void *vd_offsets_close(struct vd_offsets *o)
{
    if (o == NULL)
        return NULL;
    if (o->rk != NULL)
        rd_kafka_destroy_flags(o->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return vd_free(o);
}

enum vd_code vd_offsets_members(struct vd_offsets *o, const char *group, size_t *ret_count,
                                struct vd_err *err)
{
    const struct rd_kafka_group_list *list = NULL;
    rd_kafka_resp_err_t code = rd_kafka_list_groups(o->rk, group, &list, TIMEOUT_MS);
    size_t count = 0;

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return vd_err_set(err, VD_E_REMOTE, true, "group %s: %s", group, rd_kafka_err2str(code));
    for (int i = 0; i < list->group_cnt; i++)
        count += (size_t)list->groups[i].member_cnt;
    rd_kafka_group_list_destroy(list);
    *ret_count = count;
    return VD_OK;
}

static enum vd_code want_all(struct vd_offsets *o, const char *topic,
                             rd_kafka_topic_partition_list_t *list, struct vd_err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(o->rk, topic, NULL);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__INVALID_ARG;
    int i;

    if (handle != NULL)
        code = rd_kafka_metadata(o->rk, 0, handle, &metadata, TIMEOUT_MS);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code =
            metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    for (i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < metadata->topics[0].partition_cnt; i++)
        (void)rd_kafka_topic_partition_list_add(list, topic, i);
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    if (handle != NULL)
        rd_kafka_topic_destroy(handle);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return VD_OK;
    return vd_err_set(err,
                      code == RD_KAFKA_RESP_ERR__TIMED_OUT || code == RD_KAFKA_RESP_ERR__TRANSPORT
                          ? VD_E_TIMEOUT
                          : VD_E_REMOTE,
                      true, "topic %s: %s", topic, rd_kafka_err2str(code));
}

static size_t count_bits(const struct vd_ledger_map *map)
{
    size_t n = 0, i;

    for (i = 0; i < sizeof(map->bits); i++)
        n += (size_t)__builtin_popcount(map->bits[i]);
    return n;
}

static void describe(const struct vd_offsets *o, const struct vd_lookup *l, int i,
                     struct vd_offsets_row *row)
{
    struct vd_recovery_facts facts = {.start = o->start};

    vd_lookup_facts(l, i, &facts);
    vd_recovery_decide(&facts, &row->recovery);
    row->topic = facts.topic;
    row->partition = facts.partition;
    row->partitions = facts.partitions;
    row->committed = facts.committed;
    row->low = facts.low;
    row->high = facts.high;
    row->finished_above =
        row->recovery.action == VD_RECOVERY_RESUME ? count_bits(&row->recovery.map) : 0;
}

enum vd_code vd_offsets_each(struct vd_offsets *o, const char *topic,
                             void (*fn)(void *arg, const struct vd_offsets_row *row), void *arg,
                             struct vd_err *err)
{
    struct vd_lookup l = {.rk = o->rk, .marks = true};
    struct vd_offsets_row *row = vd_alloc(sizeof(*row));
    enum vd_code rc = VD_OK;
    int i;

    l.wanted = rd_kafka_topic_partition_list_new(16);
    rc = row == NULL ? vd_err_nomem(err, "offsets") : want_all(o, topic, l.wanted, err);
    if (rc == VD_OK) {
        vd_lookup_run(&l);
        if (l.err.code != VD_OK)
            rc = vd_err_set(err, l.err.code, true, "%s", l.err.msg);
    }
    for (i = 0; rc == VD_OK && i < l.wanted->cnt; i++) {
        describe(o, &l, i, row);
        fn(arg, row);
    }
    vd_lookup_fini(&l);
    (void)vd_free(row);
    return rc;
}

enum vd_code vd_offsets_commit(struct vd_offsets *o, const char *topic, int32_t partition,
                               int64_t offset, uint32_t partitions, struct vd_err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_add(list, topic, partition);
    char text[VD_LEDGER_TEXT_SIZE];
    rd_kafka_resp_err_t code;

    tp->offset = offset;
    tp->metadata_size = vd_ledger_encode_plain(offset, partitions, text);
    tp->metadata = rd_kafka_mem_malloc(NULL, tp->metadata_size);
    memcpy(tp->metadata, text, tp->metadata_size);
    code = rd_kafka_commit(o->rk, list, 0);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = tp->err;
    rd_kafka_topic_partition_list_destroy(list);
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return VD_OK;
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
        return vd_err_set(err, VD_E_CONFIG, false,
                          "%s[%" PRId32 "]: the group has members: stop its workers first", topic,
                          partition);
    default:
        return vd_err_set(err, VD_E_REMOTE, true, "%s[%" PRId32 "]: %s", topic, partition,
                          rd_kafka_err2str(code));
    }
}
