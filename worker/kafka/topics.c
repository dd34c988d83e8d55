/* kafka/topics.c - before joining: are the brokers there, do the topics exist, how large may records be?
 *
 * Blocking, on the work pool; tried again with a growing pause until it succeeds.
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/span.h"
#include "kafka/internal.h"

#define TIMEOUT_MS          5000
#define MAX_MESSAGE_DEFAULT 1048588 /* a broker's max.message.bytes where nobody set it */
#define BATCH_OVERHEAD      512     /* what librdkafka's own accounting of a batch may lack */
#define BATCH_MAX           1000000 /* librdkafka's default batch.size */
#define RETRY_MIN_MS        500
#define RETRY_MAX_MS        5000

struct check {
    struct vd_kafka *k;
    rd_kafka_t *rk;
    const struct vd_kafka_conf *conf;
    bool embedded;
    size_t *max_bytes;
    int32_t *partitions; /* of each input topic */
    char *cluster_id;
    bool topic_trouble;
    struct vd_err err;
};

/* ret_partitions may be NULL. */
static bool topic_exists(struct check *c, const char *name, const char *role,
                         int32_t *ret_partitions)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(c->rk, name, NULL);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__INVALID_ARG;

    if (topic != NULL)
        code = rd_kafka_metadata(c->rk, 0, topic, &metadata, TIMEOUT_MS);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        code =
            metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
        c->topic_trouble = code != RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && ret_partitions != NULL)
        *ret_partitions = metadata->topics[0].partition_cnt;
    if (c->topic_trouble)
        (void)vd_err_set(&c->err, VD_E_REMOTE, true, "%s topic %s: %s", role, name,
                         rd_kafka_err2str(code));
    else if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)vd_err_set(&c->err, VD_E_REMOTE, true, "no answer from %s: %s", c->conf->brokers,
                         rd_kafka_err2str(code));
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    if (topic != NULL)
        rd_kafka_topic_destroy(topic);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void read_limit(struct check *c, const rd_kafka_ConfigResource_t *resource)
{
    const rd_kafka_ConfigEntry_t **entries;
    size_t count = 0, i, t;
    uint64_t value;

    if (rd_kafka_ConfigResource_error(resource) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return; /* not allowed to look: the default stands */
    entries = rd_kafka_ConfigResource_configs(resource, &count);
    for (i = 0; i < count; i++) {
        const char *text = rd_kafka_ConfigEntry_value(entries[i]);

        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), "max.message.bytes") != 0 ||
            text == NULL || !vd_parse_u64(vd_span_of(text), UINT32_MAX, &value))
            continue;
        for (t = 0; t < c->conf->output_topic_count; t++)
            if (strcmp(c->conf->output_topics[t], rd_kafka_ConfigResource_name(resource)) == 0)
                c->max_bytes[t] = (size_t)value;
    }
}

/* What cannot be learned keeps the default: rights to describe topics are not needed to run. */
static void read_limits(struct check *c)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(c->rk);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(c->rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_ConfigResource_t **resources =
        vd_alloc_array(c->conf->output_topic_count, sizeof(*resources));
    rd_kafka_event_t *event = NULL;
    char text[128];
    size_t i, count = 0;

    if (resources != NULL) {
        for (i = 0; i < c->conf->output_topic_count; i++)
            resources[i] =
                rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, c->conf->output_topics[i]);
        (void)rd_kafka_AdminOptions_set_request_timeout(options, TIMEOUT_MS, text, sizeof(text));
        rd_kafka_DescribeConfigs(c->rk, resources, c->conf->output_topic_count, options, queue);
        event = rd_kafka_queue_poll(queue, TIMEOUT_MS + 1000);
        rd_kafka_ConfigResource_destroy_array(resources, c->conf->output_topic_count);
    }
    if (event != NULL && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const rd_kafka_ConfigResource_t **results = rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(event), &count);

        for (i = 0; i < count; i++)
            read_limit(c, results[i]);
    }
    if (event != NULL)
        rd_kafka_event_destroy(event);
    (void)vd_free(resources);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
}

static void check_run(void *arg)
{
    struct check *c = arg;
    size_t i;
    char *id;

    for (i = 0; i < c->conf->topic_count; i++)
        if (!topic_exists(c, c->conf->topics[i], "input", &c->partitions[i]))
            return;
    for (i = 0; i < c->conf->output_topic_count; i++) {
        c->max_bytes[i] = MAX_MESSAGE_DEFAULT;
        if (!topic_exists(c, c->conf->output_topics[i], "output", NULL))
            return;
    }
    if (!c->embedded)
        read_limits(c);
    id = rd_kafka_clusterid(c->rk, TIMEOUT_MS);
    c->cluster_id = vd_strdup(id == NULL ? "unknown" : id);
    if (id != NULL)
        rd_kafka_mem_free(c->rk, id);
}

static void use_limits(struct vd_kafka *k, const size_t *max_bytes)
{
    size_t i;

    k->batch_bytes = BATCH_MAX;
    for (i = 0; i < k->conf.output_topic_count; i++) {
        size_t fits =
            max_bytes[i] > 2 * BATCH_OVERHEAD ? max_bytes[i] - BATCH_OVERHEAD : BATCH_OVERHEAD;

        k->max_bytes[i] = fits < VD_KAFKA_MESSAGE_MAX_BYTES ? fits : VD_KAFKA_MESSAGE_MAX_BYTES;
        if (fits < k->batch_bytes)
            k->batch_bytes = fits;
    }
}

static void check_again(void *arg)
{
    vd_topics_check(arg);
}

static void check_done(void *arg)
{
    struct check *c = arg;
    struct vd_kafka *k = c->k;

    k->works--;
    if (k->rk == c->rk && k->closing == VD_CLOSING_NO && c->err.code == VD_OK &&
        c->cluster_id != NULL) {
        k->topic_checks = 0;
        vd_kafka_trouble(k, VD_TROUBLE_TOPICS, NULL);
        vd_kafka_trouble(k, VD_TROUBLE_BROKERS, NULL);
        (void)vd_free(k->cluster_id);
        k->cluster_id = c->cluster_id;
        c->cluster_id = NULL;
        use_limits(k, c->max_bytes);
        memcpy(k->input_partitions, c->partitions, k->conf.topic_count * sizeof(*c->partitions));
        vd_kafka_set_phase(k, VD_KAFKA_WARMING);
        vd_kafka_open_publisher(k);
    } else if (k->rk == c->rk && k->closing == VD_CLOSING_NO) {
        uint64_t wait =
            k->topic_checks < 4 ? (uint64_t)RETRY_MIN_MS << k->topic_checks : RETRY_MAX_MS;

        k->topic_checks++;
        vd_kafka_set_phase(k, c->topic_trouble ? VD_KAFKA_TOPICS : VD_KAFKA_CONNECTING);
        vd_kafka_trouble(k, c->topic_trouble ? VD_TROUBLE_TOPICS : VD_TROUBLE_BROKERS, "%s",
                         c->err.msg);
        vd_kafka_retry_in(k, wait, check_again);
    }
    (void)vd_free(c->cluster_id);
    (void)vd_free(c->max_bytes);
    (void)vd_free(c->partitions);
    (void)vd_free(c);
    vd_kafka_closing_step(k);
}

void vd_topics_check(struct vd_kafka *k)
{
    struct check *c = vd_alloc(sizeof(*c));

    if (c != NULL) {
        c->max_bytes = vd_alloc_array(k->conf.output_topic_count, sizeof(*c->max_bytes));
        c->partitions = vd_alloc_array(k->conf.topic_count, sizeof(*c->partitions));
    }
    if (c != NULL && c->max_bytes != NULL && c->partitions != NULL) {
        c->k = k;
        c->rk = k->rk;
        c->conf = &k->conf;
        c->embedded = k->conf.embedded;
        if (vd_loop_work(k->loop, check_run, check_done, c) == VD_OK) {
            k->works++;
            return;
        }
    }
    if (c != NULL) {
        (void)vd_free(c->max_bytes);
        (void)vd_free(c->partitions);
    }
    (void)vd_free(c);
    vd_kafka_retry_in(k, RETRY_MAX_MS, check_again);
}

size_t vd_kafka_max_record_bytes(const struct vd_kafka *k, const char *topic)
{
    size_t i;

    for (i = 0; i < k->conf.output_topic_count; i++)
        if (strcmp(k->conf.output_topics[i], topic) == 0 && k->max_bytes[i] != 0)
            return k->max_bytes[i];
    return MAX_MESSAGE_DEFAULT - BATCH_OVERHEAD;
}
