/* kafka/embedded.c - see embedded.h. */
#include "kafka/embedded.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/alloc.h"
#include "kafka/client.h"

struct vd_embedded {
    rd_kafka_t *rk; /* the mock cluster lives in a client instance */
    rd_kafka_mock_cluster_t *cluster;
};

enum vd_code vd_embedded_new(struct vd_embedded **ret, struct vd_err *err)
{
    struct vd_embedded *e = vd_alloc(sizeof(*e));
    rd_kafka_conf_t *conf;
    char text[256];

    if (e == NULL)
        return vd_err_nomem(err, "embedded broker");
    conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, vd_client_log);
    e->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (e->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        (void)vd_free(e);
        return vd_err_set(err, VD_E_NOMEM, false, "embedded broker: %s", text);
    }
    e->cluster = rd_kafka_mock_cluster_new(e->rk, 1);
    if (e->cluster == NULL) {
        (void)vd_embedded_free(e);
        return vd_err_set(err, VD_E_NOMEM, false, "embedded broker: cannot listen on 127.0.0.1");
    }
    *ret = e;
    return VD_OK;
}

enum vd_code vd_embedded_create_topic(struct vd_embedded *e, const char *topic, int32_t partitions,
                                      struct vd_err *err)
{
    rd_kafka_resp_err_t code = rd_kafka_mock_topic_create(e->cluster, topic, partitions, 1);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
        return VD_OK;
    return vd_err_set(err, VD_E_CONFIG, false, "embedded broker: topic %s: %s", topic,
                      rd_kafka_err2str(code));
}

const char *vd_embedded_brokers(const struct vd_embedded *e)
{
    return rd_kafka_mock_cluster_bootstraps(e->cluster);
}

void *vd_embedded_free(struct vd_embedded *e)
{
    if (e == NULL)
        return NULL;
    if (e->cluster != NULL)
        rd_kafka_mock_cluster_destroy(e->cluster);
    rd_kafka_destroy(e->rk);
    return vd_free(e);
}
