/* tests/support/kafka_tool.c - what the tests' Python client cannot do: commit an offset with metadata, delete records.
 *
 *   kafka_tool BROKERS commit GROUP TOPIC PARTITION OFFSET METADATA      as another program of the group would
 *   kafka_tool BROKERS delete TOPIC PARTITION OFFSET                     what retention does: everything below OFFSET
 *   kafka_tool BROKERS metadata GROUP TOPIC PARTITION                    prints what is committed: "OFFSET METADATA"
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "kafka_tool: %s\n", what);
    _exit(1);
}

static void put(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];

    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) != RD_KAFKA_CONF_OK)
        die(text);
}

static rd_kafka_t *open_client(const char *brokers, const char *group)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[256];
    rd_kafka_t *rk;

    put(conf, "bootstrap.servers", brokers);
    put(conf, "group.id", group);
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (rk == NULL)
        die(text);
    return rk;
}

static rd_kafka_topic_partition_list_t *one(const char *topic, const char *partition)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    (void)rd_kafka_topic_partition_list_add(list, topic, (int32_t)strtol(partition, NULL, 10));
    return list;
}

static void check(rd_kafka_resp_err_t code, const rd_kafka_topic_partition_list_t *list)
{
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = list->elems[0].err;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(rd_kafka_err2str(code));
}

static void delete_records(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_DeleteRecords_t *request = rd_kafka_DeleteRecords_new(list);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_event_t *event;

    rd_kafka_DeleteRecords(rk, &request, 1, NULL, queue);
    event = rd_kafka_queue_poll(queue, 20000);
    if (event == NULL)
        die("no answer");
    check(rd_kafka_event_error(event),
          rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event)));
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteRecords_destroy(request);
}

int main(int argc, char **argv)
{
    const char *command = argc < 3 ? "" : argv[2];
    bool deletes = strcmp(command, "delete") == 0;
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_t *rk;

    if (argc != (deletes || strcmp(command, "metadata") == 0 ? 6 : 8))
        die("usage: see the source");
    rk = open_client(argv[1], deletes ? "kafka-tool" : argv[3]);
    list = deletes ? one(argv[3], argv[4]) : one(argv[4], argv[5]);
    if (deletes) {
        list->elems[0].offset = strtoll(argv[5], NULL, 10);
        delete_records(rk, list);
    } else if (strcmp(command, "commit") == 0) {
        list->elems[0].offset = strtoll(argv[6], NULL, 10);
        list->elems[0].metadata = strdup(argv[7]);
        list->elems[0].metadata_size = strlen(argv[7]);
        check(rd_kafka_commit(rk, list, 0), list);
    } else if (strcmp(command, "metadata") == 0) {
        check(rd_kafka_committed(rk, list, 20000), list);
        printf("%" PRId64 " %.*s\n", list->elems[0].offset, (int)list->elems[0].metadata_size,
               (const char *)list->elems[0].metadata);
    } else {
        die("usage: see the source");
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return 0;
}
