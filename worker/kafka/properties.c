/* kafka/properties.c - see properties.h. */
#include "kafka/properties.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"

#define VERSION_RACK_FIXED                                                                         \
    0x02010100 /* client.rack could lose records before 2.1.1 (librdkafka #4196) */
#define VERSION_COOPERATIVE_PLAIN                                                                  \
    0x020a0000 /* plain commits kept cooperative assignments from 2.10.0 on (#4908) */

/* Properties that would break a promise, or that have a setting of their own. */
static const struct {
    const char *name;
    const char *why;
} refused[] = {
    {"isolation.level", "records of aborted transactions must stay invisible"},
    {"enable.auto.commit",
     "offsets are committed in the transaction that publishes their outcomes"},
    {"enable.auto.offset.store",
     "offsets are committed in the transaction that publishes their outcomes"},
    {"auto.commit.interval.ms",
     "offsets are committed in the transaction that publishes their outcomes"},
    {"auto.offset.reset",
     "a position that is gone must be decided by a person: use start, and `verdict offsets`"},
    {"transactional.id", "it has a setting of its own: transactional_id"},
    {"transaction.timeout.ms", "it has a setting of its own: transaction_timeout_ms"},
    {"enable.idempotence", "a retried request must not publish twice"},
    {"enable.gapless.guarantee", "errors of the producer are handled by starting it anew"},
    {"acks", "an outcome counts as published when all in-sync replicas have it"},
    {"request.required.acks", "an outcome counts as published when all in-sync replicas have it"},
    {"group.protocol", "the consumer protocol of KIP-848 is not supported yet"},
    {"group.remote.assignor", "the consumer protocol of KIP-848 is not supported yet"},
    {"partition.assignment.strategy", "it has a setting of its own: assignor"},
    {"bootstrap.servers", "it has a setting of its own: brokers"},
    {"metadata.broker.list", "it has a setting of its own: brokers"},
    {"group.id", "it has a setting of its own: group"},
    {"group.instance.id", "it has a setting of its own: instance_id"},
    {"client.id", "it has a setting of its own: client_id"},
    {"session.timeout.ms", "it has a setting of its own: session_timeout_ms"},
    {"max.poll.interval.ms", "it has a setting of its own: max_poll_interval_ms"},
    {"queued.min.messages", "it has a setting of its own: prefetch_messages"},
    {"queued.max.messages.kbytes", "it has a setting of its own: prefetch_kbytes"},
    {"enable.partition.eof", "the end of a partition tells which offsets will never be delivered"},
    {"partitioner", "keys must land where Java producers put them"},
    {"batch.size", "it follows the output topics' max.message.bytes"},
    {"message.max.bytes", "it follows the output topics' max.message.bytes"},
    {"allow.auto.create.topics", "a topic that is missing is an error, not a topic"},
    {"log_level", "librdkafka's messages go into the worker's log at level debug"},
    {"log.queue", "librdkafka's messages go into the worker's log at level debug"},
};

static const char *const secret_parts[] = {"password", "secret", "key.pem", "oauthbearer.config",
                                           "jaas.config"};

bool vd_kafka_property_secret(const char *name)
{
    size_t i, len = strlen(name);

    if (len > 5 && strcmp(name + len - 5, "_file") == 0)
        return false; /* the file's name is none */
    for (i = 0; i < sizeof(secret_parts) / sizeof(secret_parts[0]); i++)
        if (strstr(name, secret_parts[i]) != NULL)
            return true;
    return false;
}

bool vd_properties_exactly_once(const struct vd_kafka_conf *conf)
{
    return conf->delivery == VD_KAFKA_EXACTLY_ONCE && !conf->embedded;
}

static const char *why_refused(const char *name)
{
    size_t i;

    if (strcmp(name, "client.rack") == 0 && rd_kafka_version() < VERSION_RACK_FIXED)
        return "librdkafka before 2.1.1 can lose records when it fetches from the nearest replica";
    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (strcmp(name, refused[i].name) == 0)
            return refused[i].why;
    return NULL;
}

/* "x.y_file" -> name "x.y" and the file's content. Otherwise name and value themselves. buf keeps what was read. */
static enum vd_code resolve(const struct vd_kafka_property *p, char *name, size_t name_size,
                            struct vd_buf *buf, const char **ret_value, struct vd_err *err)
{
    size_t len = strlen(p->name);
    bool file = len > 5 && strcmp(p->name + len - 5, "_file") == 0;
    enum vd_code rc;

    if (len >= name_size)
        return vd_err_set(err, VD_E_CONFIG, false, "the name is too long");
    (void)snprintf(name, name_size, "%.*s", (int)(file ? len - 5 : len), p->name);
    *ret_value = p->value;
    if (!file)
        return VD_OK;
    rc = vd_file_read(p->value, buf, err);
    if (rc != VD_OK)
        return rc;
    if (buf->len > 0 && buf->ptr[buf->len - 1] == '\n')
        buf->ptr[--buf->len] = '\0';
    if (buf->len == 0 || memchr(buf->ptr, '\0', buf->len) != NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "%s is empty or holds a NUL byte", p->value);
    *ret_value = buf->ptr;
    return VD_OK;
}

/* One passed-through property; err says why not, without its value. */
static enum vd_code pass(rd_kafka_conf_t *rk, const struct vd_kafka_property *p, struct vd_err *err)
{
    char name[128], text[256] = "";
    struct vd_buf buf;
    const char *value = NULL, *why;
    enum vd_code rc;

    vd_buf_init(&buf, VD_KAFKA_PROPERTY_MAX_BYTES);
    rc = resolve(p, name, sizeof(name), &buf, &value, err);
    if (rc == VD_OK && (why = why_refused(name)) != NULL)
        rc = vd_err_set(err, VD_E_CONFIG, false, "refused: %s", why);
    if (rc == VD_OK && rd_kafka_conf_set(rk, name, value, text, sizeof(text)) != RD_KAFKA_CONF_OK)
        rc = vd_err_set(err, VD_E_CONFIG, false, "%s",
                        vd_kafka_property_secret(name) ? "librdkafka does not accept the value"
                                                       : text);
    vd_buf_free(&buf);
    return rc;
}

static const char *faulty_setting(const struct vd_kafka_conf *c, const char **ret_why)
{
    const uint32_t session = c->session_timeout_ms == 0 ? 45000 : c->session_timeout_ms;
    const uint32_t poll = c->max_poll_interval_ms == 0 ? 300000 : c->max_poll_interval_ms;

    *ret_why = "is required";
    if (c->brokers == NULL || c->brokers[0] == '\0')
        return "brokers";
    if (c->group == NULL || c->group[0] == '\0')
        return "group";
    if (c->topic_count == 0)
        return "topics";
    if (c->output_topic_count == 0)
        return "output_topics";
    *ret_why = "must not be above max_poll_interval_ms";
    if (session > poll)
        return "session_timeout_ms";
    *ret_why = "must be 1 to 16384: the map of finished offsets has to fit the broker's 4096 bytes";
    if (c->max_offset_span > VD_LEDGER_MAX_SPAN)
        return "max_offset_span";
    return NULL;
}

size_t vd_kafka_conf_check(const struct vd_kafka_conf *conf,
                           void (*fault)(void *arg, const char *key, const char *why), void *arg)
{
    rd_kafka_conf_t *rk = rd_kafka_conf_new();
    const char *key, *why;
    struct vd_err err;
    size_t i, faults = 0;

    key = faulty_setting(conf, &why);
    if (key != NULL) {
        fault(arg, key, why);
        faults++;
    }
    for (i = 0; i < conf->property_count; i++) {
        if (pass(rk, &conf->properties[i], &err) == VD_OK)
            continue;
        fault(arg, conf->properties[i].name, err.msg);
        faults++;
    }
    rd_kafka_conf_destroy(rk);
    return faults;
}

/* -- building ---------------------------------------------------------------------------------------------------- */

struct builder {
    rd_kafka_conf_t *rk;
    enum vd_code rc;
    struct vd_err *err;
};

static void put(struct builder *b, const char *name, const char *value)
{
    char text[256];

    if (b->rc != VD_OK)
        return;
    if (rd_kafka_conf_set(b->rk, name, value, text, sizeof(text)) != RD_KAFKA_CONF_OK)
        b->rc = vd_err_set(b->err, VD_E_CONFIG, false, "%s: %s", name, text);
}

/* A property that older versions do not know. */
static void put_if_known(struct builder *b, const char *name, const char *value)
{
    char text[256];

    if (b->rc == VD_OK)
        (void)rd_kafka_conf_set(b->rk, name, value, text, sizeof(text));
}

static void put_number(struct builder *b, const char *name, uint32_t value, uint32_t fallback)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%u", value == 0 ? fallback : value);
    put(b, name, text);
}

static void put_common(struct builder *b, const struct vd_kafka_conf *conf)
{
    size_t i;

    put(b, "client.id", conf->client_id == NULL ? "verdict" : conf->client_id);
    put(b, "bootstrap.servers", conf->brokers);
    put(b, "log.connection.close", "false");
    put(b, "reconnect.backoff.max.ms",
        "2000"); /* 10 s by default: too long for a stall to end after a restart */
    for (i = 0; i < conf->property_count && b->rc == VD_OK; i++) {
        b->rc = pass(b->rk, &conf->properties[i], b->err);
        if (b->rc != VD_OK)
            (void)vd_err_wrap(b->err, VD_E_CONFIG, "%s", conf->properties[i].name);
    }
}

static const char *assignor(const struct vd_kafka_conf *conf)
{
    if (conf->assignor == VD_KAFKA_COOPERATIVE_STICKY && !vd_properties_exactly_once(conf) &&
        rd_kafka_version() < VERSION_COOPERATIVE_PLAIN)
        return "range,roundrobin";
    switch (conf->assignor) {
    case VD_KAFKA_RANGE:
        return "range";
    case VD_KAFKA_ROUNDROBIN:
        return "roundrobin";
    case VD_KAFKA_COOPERATIVE_STICKY:
        break;
    }
    return "cooperative-sticky";
}

static enum vd_code built(struct builder *b, rd_kafka_conf_t **ret)
{
    if (b->rc != VD_OK) {
        rd_kafka_conf_destroy(b->rk);
        return b->rc;
    }
    *ret = b->rk;
    return VD_OK;
}

enum vd_code vd_properties_consumer(const struct vd_kafka_conf *conf, rd_kafka_conf_t **ret,
                                    struct vd_err *err)
{
    struct builder b = {rd_kafka_conf_new(), VD_OK, err};

    put_common(&b, conf);
    put(&b, "group.id", conf->group);
    if (conf->instance_id != NULL)
        put(&b, "group.instance.id", conf->instance_id);
    put(&b, "partition.assignment.strategy", assignor(conf));
    put_number(&b, "session.timeout.ms", conf->session_timeout_ms, 45000);
    put_number(&b, "max.poll.interval.ms", conf->max_poll_interval_ms, 300000);
    put(&b, "enable.auto.commit", "false");
    put(&b, "enable.auto.offset.store", "false");
    put(&b, "auto.offset.reset", "error");
    put(&b, "isolation.level", "read_committed");
    put(&b, "enable.partition.eof", "true");
    put(&b, "allow.auto.create.topics", "false");
    put_number(&b, "queued.min.messages", conf->prefetch_messages, 5000);
    put_number(&b, "queued.max.messages.kbytes", conf->prefetch_kbytes, 8192);
    /* Behind a full queue librdkafka looks again only after a second: what is buffered would cap a partition's rate. 2.0 cannot be told
     * otherwise, so that the buffer must last a second. */
    put_if_known(&b, "fetch.queue.backoff.ms", "50");
    return built(&b, ret);
}

static void put_transactional_id(struct builder *b, const struct vd_kafka_conf *conf)
{
    char host[65] = "", id[512];

    if (conf->transactional_id != NULL) {
        put(b, "transactional.id", conf->transactional_id);
        return;
    }
    (void)gethostname(host, sizeof(host) - 1);
    (void)snprintf(id, sizeof(id), "%s-%s", conf->group,
                   conf->instance_id != NULL ? conf->instance_id : host);
    put(b, "transactional.id", id);
}

enum vd_code vd_properties_producer(const struct vd_kafka_conf *conf, size_t batch_bytes,
                                    rd_kafka_conf_t **ret, struct vd_err *err)
{
    struct builder b = {rd_kafka_conf_new(), VD_OK, err};

    put_common(&b, conf);
    put(&b, "enable.idempotence", "true");
    put(&b, "acks", "all");
    put(&b, "partitioner", "murmur2_random");
    put_number(&b, "message.max.bytes", VD_KAFKA_MESSAGE_MAX_BYTES, 0);
    if (batch_bytes != 0)
        put_number(&b, "batch.size", (uint32_t)batch_bytes, 0);
    put(&b, "linger.ms", "2"); /* enough for the outcomes of one transaction to meet in a batch */
    if (vd_properties_exactly_once(conf)) {
        put_transactional_id(&b, conf);
        put_number(&b, "transaction.timeout.ms", conf->transaction_timeout_ms, 10000);
    } else {
        put(&b, "message.timeout.ms", "30000");
    }
    return built(&b, ret);
}

/* -- the settings' copy ------------------------------------------------------------------------------------------ */

static void free_strings(const char *const *list, size_t count)
{
    size_t i;

    for (i = 0; list != NULL && i < count; i++)
        (void)vd_free((void *)(uintptr_t)list[i]);
    (void)vd_free((void *)(uintptr_t)list);
}

void vd_properties_free(struct vd_kafka_conf *c)
{
    struct vd_kafka_property *p = (struct vd_kafka_property *)(uintptr_t)c->properties;
    size_t i;

    for (i = 0; p != NULL && i < c->property_count; i++) {
        (void)vd_free((void *)(uintptr_t)p[i].name);
        (void)vd_free((void *)(uintptr_t)p[i].value);
    }
    (void)vd_free(p);
    free_strings(c->topics, c->topic_count);
    free_strings(c->output_topics, c->output_topic_count);
    (void)vd_free((void *)(uintptr_t)c->brokers);
    (void)vd_free((void *)(uintptr_t)c->group);
    (void)vd_free((void *)(uintptr_t)c->client_id);
    (void)vd_free((void *)(uintptr_t)c->instance_id);
    (void)vd_free((void *)(uintptr_t)c->transactional_id);
    *c = (struct vd_kafka_conf){0};
}

static bool copy_string(const char **at)
{
    const char *from = *at;

    *at = vd_strdup(from);
    return from == NULL || *at != NULL;
}

static bool copy_strings(const char *const **at, size_t count)
{
    const char *const *from = *at;
    const char **to = vd_alloc_array(count, sizeof(*to));
    bool ok = to != NULL;
    size_t i;

    *at = to;
    for (i = 0; ok && i < count; i++) {
        to[i] = from[i];
        ok = copy_string(&to[i]);
    }
    return ok;
}

static bool copy_properties(struct vd_kafka_conf *c)
{
    const struct vd_kafka_property *from = c->properties;
    struct vd_kafka_property *to = vd_alloc_array(c->property_count, sizeof(*to));
    bool ok = to != NULL;
    size_t i;

    c->properties = to;
    for (i = 0; ok && i < c->property_count; i++) {
        to[i] = from[i];
        ok = copy_string(&to[i].name);
        ok = copy_string(&to[i].value) && ok;
    }
    return ok;
}

static void fill(uint32_t *at, uint32_t fallback)
{
    if (*at == 0)
        *at = fallback;
}

/* False without memory; then free_conf() frees what there is: every pointer of from was replaced. */
bool vd_properties_copy(struct vd_kafka_conf *to, const struct vd_kafka_conf *from)
{
    bool ok = true;

    *to = *from;
    ok = copy_string(&to->brokers) && ok;
    ok = copy_string(&to->group) && ok;
    ok = copy_string(&to->client_id) && ok;
    ok = copy_string(&to->instance_id) && ok;
    ok = copy_string(&to->transactional_id) && ok;
    ok = copy_strings(&to->topics, to->topic_count) && ok;
    ok = copy_strings(&to->output_topics, to->output_topic_count) && ok;
    ok = copy_properties(to) && ok;
    fill(&to->commit_interval_ms, 100);
    fill(&to->commit_outcomes, 500);
    fill(&to->transaction_timeout_ms, 10000);
    fill(&to->session_timeout_ms, 45000);
    fill(&to->max_poll_interval_ms, 300000);
    fill(&to->prefetch_messages, 5000);
    fill(&to->prefetch_kbytes, 8192);
    fill(&to->max_offset_span, VD_LEDGER_MAX_SPAN);
    return ok;
}
