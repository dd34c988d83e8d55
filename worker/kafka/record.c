/* kafka/record.c - see record.h, and the outputs of kafka.h. */
#include "kafka/record.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

#define RECORD_OVERHEAD 70 /* record framing and batch header of message format v2, rounded up */
#define HEADER_OVERHEAD 10 /* two varint lengths */
#define TYPICAL_HEADERS 12 /* a decision's */

/* -- records ----------------------------------------------------------------------------------------------------- */

struct headers {
    const rd_kafka_headers_t *list; /* NULL: none */
    size_t count;
    size_t bytes;
};

static struct headers measure_headers(const rd_kafka_message_t *message)
{
    struct headers h = {0};
    rd_kafka_headers_t *list = NULL;
    const char *name;
    const void *value;
    size_t size;

    if (rd_kafka_message_headers(message, &list) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return h;
    h.list = list;
    while (rd_kafka_header_get_all(list, h.count, &name, &value, &size) ==
           RD_KAFKA_RESP_ERR_NO_ERROR) {
        h.bytes += strlen(name) + size;
        h.count++;
    }
    return h;
}

static struct vd_span copy_to(char **at, const void *bytes, size_t len)
{
    struct vd_span s = {NULL, 0};

    if (bytes == NULL)
        return s;
    if (len != 0)
        memcpy(*at, bytes, len);
    s = (struct vd_span){*at, len};
    *at += len;
    return s;
}

struct vd_entry *vd_entry_new(struct vd_partition *part, const char *topic, int64_t epoch,
                              const rd_kafka_message_t *message)
{
    struct headers h = measure_headers(message);
    rd_kafka_timestamp_type_t type;
    struct vd_entry *e;
    struct vd_header *headers;
    const char *name;
    const void *value;
    size_t size, i;
    char *at;

    /* One byte more, so that an empty value at the end points into the block. */
    e = vd_alloc(sizeof(*e) + h.count * sizeof(*headers) + h.bytes + message->key_len +
                 message->len + 1);
    if (e == NULL)
        return NULL;
    headers = (struct vd_header *)(e + 1);
    at = (char *)(headers + h.count);
    for (i = 0; i < h.count; i++) {
        (void)rd_kafka_header_get_all(h.list, i, &name, &value, &size);
        headers[i].name = copy_to(&at, name, strlen(name));
        headers[i].value = copy_to(&at, value, size);
    }
    e->part = part;
    e->record = (struct vd_record){
        .topic = topic,
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &type),
        .key = copy_to(&at, message->key, message->key_len),
        .value = copy_to(&at, message->payload, message->len),
        .headers = headers,
        .header_count = h.count,
        .epoch = epoch,
        .fetched_mono_ms = vd_mono_ms(),
    };
    return e;
}

void *vd_entry_free(struct vd_entry *entry)
{
    if (entry == NULL)
        return NULL;
    (void)vd_output_free(entry->outputs);
    return vd_free(entry);
}

struct vd_entry *vd_entry_of(struct vd_record *record)
{
    return (struct vd_entry *)record;
}

/* -- outputs ----------------------------------------------------------------------------------------------------- */

/* A copy on the heap; ptr is NULL only for NULL or without memory. */
static struct vd_span dup_span(struct vd_span s)
{
    struct vd_span copy = {NULL, 0};
    char *bytes;

    if (s.ptr == NULL)
        return copy;
    bytes = vd_strndup(s);
    if (bytes != NULL)
        copy = (struct vd_span){bytes, s.len};
    return copy;
}

static void free_span(struct vd_span *s)
{
    (void)vd_free((void *)(uintptr_t)s->ptr);
    *s = (struct vd_span){NULL, 0};
}

/* The same in the output's arena; false when memory is out. */
static bool keep(struct vd_output *o, struct vd_span s, struct vd_span *ret)
{
    *ret = (struct vd_span){NULL, 0};
    return s.ptr == NULL || vd_arena_dup(&o->arena, s, ret) == VD_OK;
}

struct vd_output *vd_output_new(enum vd_output_kind kind, const char *topic, struct vd_span key,
                                struct vd_span value)
{
    struct vd_output *o = vd_alloc(sizeof(*o));

    if (o == NULL)
        return NULL;
    vd_arena_init(&o->arena, SIZE_MAX); /* whoever made what is copied had a bound for it */
    o->kind = kind;
    o->topic = vd_arena_strndup(&o->arena, vd_span_of(topic));
    o->value = dup_span(value);
    if (o->topic == NULL || !keep(o, key, &o->key) || (value.ptr != NULL && o->value.ptr == NULL))
        return vd_output_free(o);
    o->framing_bytes = RECORD_OVERHEAD + o->key.len;
    return o;
}

static bool make_header_room(struct vd_output *o)
{
    size_t room = o->header_room == 0 ? TYPICAL_HEADERS : 2 * o->header_room;
    struct vd_header *grown = vd_arena_array(&o->arena, room, sizeof(*grown));

    if (grown == NULL)
        return false;
    if (o->header_count > 0)
        memcpy(grown, o->headers, o->header_count * sizeof(*grown));
    o->headers = grown;
    o->header_room = room;
    return true;
}

bool vd_output_add_known_header(struct vd_output *output, const char *literal, struct vd_span value)
{
    struct vd_header *h;

    if (output->header_count == output->header_room && !make_header_room(output))
        return false;
    h = &output->headers[output->header_count];
    h->name = vd_span_of(literal);
    if (!keep(output, value, &h->value))
        return false;
    output->header_count++;
    output->framing_bytes += HEADER_OVERHEAD + h->name.len + h->value.len;
    return true;
}

bool vd_output_add_header(struct vd_output *output, struct vd_span name, struct vd_span value)
{
    struct vd_span copy;

    return keep(output, name, &copy) && vd_output_add_known_header(output, copy.ptr, value);
}

void vd_output_take_value(struct vd_output *output, struct vd_buf *take_value)
{
    assert(output->value.ptr == NULL);
    output->value = vd_buf_span(take_value);
    vd_buf_init(take_value, take_value->max);
}

bool vd_output_set_value(struct vd_output *output, struct vd_span value)
{
    struct vd_span copy = dup_span(value);

    if (value.ptr != NULL && copy.ptr == NULL)
        return false;
    free_span(&output->value);
    output->value = copy;
    return true;
}

void *vd_output_free(struct vd_output *list)
{
    while (list != NULL) {
        struct vd_output *next = list->next;

        free_span(&list->value);
        vd_arena_fini(&list->arena);
        (void)vd_free(list);
        list = next;
    }
    return NULL;
}

size_t vd_output_bytes(const struct vd_output *output)
{
    return output->framing_bytes + output->value.len;
}
