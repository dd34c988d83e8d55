/* kafka/lookup.c - see lookup.h. */
#include "kafka/lookup.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"

#define LOOKUP_TIMEOUT_MS 5000

static bool add_topic(struct vd_lookup *l, const char *name)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(l->rk, name, NULL);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__FAIL;
    int i;

    if (topic != NULL)
        code = rd_kafka_metadata(l->rk, 0, topic, &metadata, LOOKUP_TIMEOUT_MS);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code =
            metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        for (i = 0; i < metadata->topics[0].partition_cnt; i++)
            (void)rd_kafka_topic_partition_list_add(l->all, name,
                                                    metadata->topics[0].partitions[i].id);
    else
        (void)vd_err_set(&l->err, VD_E_REMOTE, true, "topic %s: %s", name, rd_kafka_err2str(code));
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    if (topic != NULL)
        rd_kafka_topic_destroy(topic);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static bool any_committed(const rd_kafka_topic_partition_list_t *list)
{
    bool any = false;
    int i;

    for (i = 0; i < list->cnt; i++)
        any = any || list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR || list->elems[i].offset >= 0;
    return any;
}

/* Has the group committed anything on any topic? Asked only where nothing is committed on those of `all`. */
static void look_at_group(struct vd_lookup *l)
{
    rd_kafka_topic_partition_list_t *mine = l->all;
    size_t i;

    l->group_committed = l->topics == NULL || any_committed(mine);
    if (l->group_committed)
        return;
    l->all = rd_kafka_topic_partition_list_new(16);
    for (i = 0; i < l->topic_count && !l->group_committed; i++)
        l->group_committed = !add_topic(l, l->topics[i]);
    if (!l->group_committed)
        l->group_committed =
            rd_kafka_committed(l->rk, l->all, LOOKUP_TIMEOUT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR ||
            any_committed(l->all);
    rd_kafka_topic_partition_list_destroy(l->all);
    l->all = mine;
    l->err.code = VD_OK;
}

void vd_lookup_run(struct vd_lookup *l)
{
    rd_kafka_resp_err_t code;
    int i;

    l->err.code = VD_OK;
    l->all = rd_kafka_topic_partition_list_new(l->wanted->cnt);
    for (i = 0; i < l->wanted->cnt; i++) /* sorted by topic */
        if ((i == 0 || strcmp(l->wanted->elems[i].topic, l->wanted->elems[i - 1].topic) != 0) &&
            !add_topic(l, l->wanted->elems[i].topic))
            return;
    code = rd_kafka_committed(l->rk, l->all, LOOKUP_TIMEOUT_MS);
    for (i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < l->all->cnt; i++)
        code = l->all->elems[i]
                   .err; /* an unstable offset comes as an error of its element, with no offset */
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        (void)vd_err_set(&l->err, VD_E_REMOTE, true, "committed offsets: %s (%s)",
                         rd_kafka_err2str(code), rd_kafka_err2name(code));
        return;
    }
    if (!l->marks)
        return;
    look_at_group(l);
    l->low = vd_alloc_array((size_t)l->wanted->cnt, sizeof(*l->low));
    l->high = vd_alloc_array((size_t)l->wanted->cnt, sizeof(*l->high));
    if (l->low == NULL || l->high == NULL) {
        (void)vd_err_nomem(&l->err, "offsets");
        return;
    }
    for (i = 0; i < l->wanted->cnt; i++) {
        code = rd_kafka_query_watermark_offsets(l->rk, l->wanted->elems[i].topic,
                                                l->wanted->elems[i].partition, &l->low[i],
                                                &l->high[i], LOOKUP_TIMEOUT_MS);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            (void)vd_err_set(&l->err, VD_E_REMOTE, true, "offsets of %s[%" PRId32 "]: %s",
                             l->wanted->elems[i].topic, l->wanted->elems[i].partition,
                             rd_kafka_err2str(code));
            return;
        }
    }
}

void vd_lookup_fini(struct vd_lookup *l)
{
    if (l->wanted != NULL)
        rd_kafka_topic_partition_list_destroy(l->wanted);
    if (l->all != NULL)
        rd_kafka_topic_partition_list_destroy(l->all);
    (void)vd_free(l->low);
    (void)vd_free(l->high);
    *l = (struct vd_lookup){0};
}

void vd_lookup_facts(const struct vd_lookup *l, int i, struct vd_recovery_facts *f)
{
    const rd_kafka_topic_partition_t *w = &l->wanted->elems[i];
    struct vd_ledger_map *map = vd_alloc(sizeof(*map));
    int j;

    f->topic = w->topic;
    f->partition = w->partition;
    f->committed = -1;
    f->low = l->low[i];
    f->high = l->high[i];
    for (j = 0; j < l->all->cnt; j++) {
        const rd_kafka_topic_partition_t *tp = &l->all->elems[j];
        struct vd_span metadata = {tp->metadata, tp->metadata_size};

        if (strcmp(tp->topic, w->topic) != 0)
            continue;
        f->partitions++;
        if (tp->offset < 0)
            continue;
        if (tp->partition == w->partition) {
            f->committed = tp->offset;
            f->metadata = metadata;
            continue;
        }
        f->sibling_committed = true;
        if (map != NULL && vd_ledger_decode(metadata, map) == VD_LEDGER_READ_OK &&
            map->partitions > f->sibling_partitions)
            f->sibling_partitions = map->partitions;
    }
    (void)vd_free(map);
}
