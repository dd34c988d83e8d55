/* kafka/embedded.c - see embedded.h. */
#include "kafka/embedded.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/alloc.h"
#include "kafka/client.h"

struct vd_embedded {
    rd_kafka_t *host; /* the mock cluster lives in a client instance */
    rd_kafka_mock_cluster_t *cluster;
};

enum vd_code vd_embedded_new(struct vd_embedded **ret_broker, struct vd_err *err)
{
    struct vd_embedded *b = vd_alloc(sizeof(*b));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum vd_code rc = VD_OK;
    char text[200];

    if (b == NULL) {
        rd_kafka_conf_destroy(conf);
        return vd_err_nomem(err, "embedded broker");
    }
    rd_kafka_conf_set_log_cb(conf, vd_client_log);
    b->host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (b->host == NULL) {
        rd_kafka_conf_destroy(conf);
        rc = vd_err_set(err, VD_E_BUG, false, "embedded broker: %s", text);
        goto out;
    }
    b->cluster = rd_kafka_mock_cluster_new(b->host, 1);
    if (b->cluster == NULL) {
        rc = vd_err_set(err, VD_E_BUG, false, "the embedded broker cannot listen on 127.0.0.1");
        goto out;
    }
    *ret_broker = b;
    b = NULL;
out:
    (void)vd_embedded_free(b);
    return rc;
}

enum vd_code vd_embedded_create_topic(struct vd_embedded *b, const char *topic, int partitions,
                                      struct vd_err *err)
{
    rd_kafka_resp_err_t code = rd_kafka_mock_topic_create(b->cluster, topic, partitions, 1);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return VD_OK;
    return vd_err_set(err, VD_E_CONFIG, false, "topic %s: %s", topic, rd_kafka_err2str(code));
}

const char *vd_embedded_brokers(const struct vd_embedded *b)
{
    return rd_kafka_mock_cluster_bootstraps(b->cluster);
}

void *vd_embedded_free(struct vd_embedded *b)
{
    if (b == NULL)
        return NULL;
    if (b->cluster != NULL)
        rd_kafka_mock_cluster_destroy(b->cluster);
    if (b->host != NULL)
        rd_kafka_destroy(b->host);
    return vd_free(b);
}
