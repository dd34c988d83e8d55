/* kafka/client.c - see client.h. */
#include "kafka/client.h"

#include "base/log.h"
#include "kafka/kafka.h"

void vd_client_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    if (vd_log_enabled(VD_DEBUG))
        vd_log(VD_DEBUG, "librdkafka", VD_F_STR("client", rd_kafka_name(rk)),
               VD_F_INT("severity", level), VD_F_STR("facility", facility), VD_F_STR("text", text));
}

const char *vd_kafka_library_version(void)
{
    return rd_kafka_version_str();
}
