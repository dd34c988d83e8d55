/* pipeline/event.c - see event.h. */
#include "pipeline/event.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "json/block.h"

/* The attributes that plain JSON is mapped to, in the order of their CEL variables' programs. */
#define ATTRIBUTES_BYTES 480 /* of the tree: five short strings */
enum attribute { ID, TYPE, TIME, SUBJECT, SOURCE, ATTRIBUTES };
static const char *const attribute_names[ATTRIBUTES] = {"id", "type", "time", "subject", "source"};

enum variable { BODY, HEADERS, KEY, TOPIC, VARIABLES };
static const char *const variable_names[VARIABLES] = {"body", "headers", "key", "topic"};

struct vd_event_reader {
    enum vd_event_format format;
    size_t max_bytes;
    struct vd_cel_env *env;
    struct vd_cel_program *mapping[ATTRIBUTES]; /* NULL: the default */
    bool maps;                                  /* one of them is not NULL */
};

/* What one call of vd_event_read() works on. */
struct reading {
    const struct vd_event_reader *reader;
    const struct vd_record *rec;
    struct vd_arena *arena;
    struct vd_event *event;
    struct vd_err *err;
};

/* -- readers ------------------------------------------------------------------------------------------------------- */

enum vd_code vd_event_reader_new(const struct vd_event_reader_conf *conf,
                                 struct vd_event_reader **ret_reader, struct vd_err *err)
{
    const char *const sources[ATTRIBUTES] = {conf->id, conf->type, conf->time, conf->subject,
                                             conf->source};
    struct vd_event_reader *reader = vd_alloc(sizeof(*reader));
    enum vd_code rc = VD_OK;

    if (reader == NULL)
        return vd_err_nomem(err, "event reader");
    reader->format = conf->format;
    reader->max_bytes = conf->max_bytes == 0 ? VD_EVENT_MAX_BYTES : conf->max_bytes;
    reader->env = vd_cel_env_new();
    if (reader->env == NULL) {
        rc = vd_err_nomem(err, "event reader");
        goto out;
    }
    for (size_t i = 0; i < VARIABLES && rc == VD_OK; i++) {
        unsigned slot;

        rc = vd_cel_env_declare(reader->env, variable_names[i], NULL, &slot, err);
    }
    for (size_t i = 0; i < ATTRIBUTES && rc == VD_OK; i++) {
        if (sources[i] == NULL)
            continue;
        reader->maps = true;
        rc = vd_cel_compile(reader->env, vd_span_of(sources[i]), &reader->mapping[i], err);
        if (rc != VD_OK)
            (void)vd_err_wrap(err, rc, "%s", attribute_names[i]);
    }
    if (rc == VD_OK) {
        *ret_reader = reader;
        reader = NULL;
    }
out:
    (void)vd_event_reader_free(reader);
    return rc;
}

void *vd_event_reader_free(struct vd_event_reader *reader)
{
    if (reader == NULL)
        return NULL;
    for (size_t i = 0; i < ATTRIBUTES; i++)
        (void)vd_cel_program_free(reader->mapping[i]);
    (void)vd_cel_env_free(reader->env);
    return vd_free(reader);
}

/* -- headers ------------------------------------------------------------------------------------------------------- */

/* The last header of that name: Kafka allows repeats, and a producer that adds one means to override. */
static struct vd_span header(const struct vd_record *rec, const char *name)
{
    for (size_t i = rec->header_count; i > 0; i--)
        if (vd_span_eq_c(rec->headers[i - 1].name, name))
            return rec->headers[i - 1].value;
    return (struct vd_span){NULL, 0};
}

static bool lower_hex(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!((s.ptr[i] >= '0' && s.ptr[i] <= '9') || (s.ptr[i] >= 'a' && s.ptr[i] <= 'f')))
            return false;
    return true;
}

static bool all_zero(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] != '0')
            return false;
    return true;
}

/* W3C Trace Context 3.2: version-traceid-parentid-flags; a higher version may carry more behind its own dash. */
static bool traceparent_valid(struct vd_span s)
{
    if (s.len < 55 || s.ptr[2] != '-' || s.ptr[35] != '-' || s.ptr[52] != '-' ||
        !lower_hex(vd_span_sub(s, 0, 2)) || !lower_hex(vd_span_sub(s, 3, 32)) ||
        !lower_hex(vd_span_sub(s, 36, 16)) || !lower_hex(vd_span_sub(s, 53, 2)))
        return false;
    if (vd_span_starts(s, VD_LIT("ff")) || all_zero(vd_span_sub(s, 3, 32)) ||
        all_zero(vd_span_sub(s, 36, 16)))
        return false;
    return s.len == 55 || (!vd_span_starts(s, VD_LIT("00")) && s.ptr[55] == '-' && s.len <= 256);
}

/* W3C Trace Context 3.3: at most 512 printable ASCII characters here; the list's own grammar is the tracing system's matter. */
static bool tracestate_valid(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < 0x20 || s.ptr[i] > 0x7e)
            return false;
    return s.len > 0 && s.len <= 512;
}

static bool is_sha256_hex(struct vd_span s)
{
    return s.len == VD_SHA256_HEX_SIZE - 1 && lower_hex(s);
}

static enum vd_code read_own_headers(struct reading *r)
{
    struct vd_span hops = header(r->rec, "verdict-hops");
    struct vd_span original = header(r->rec, "verdict-decision-id");
    struct vd_span traceparent = header(r->rec, "traceparent");
    struct vd_span tracestate = header(r->rec, "tracestate");
    uint64_t n = 0;

    if (hops.len > 0 && !vd_parse_u64(hops, UINT32_MAX, &n))
        return vd_err_set(r->err, VD_E_INPUT, false, "header verdict-hops is not a number");
    if (n >= VD_HOPS_MAX)
        return vd_err_set(
            r->err, VD_E_LIMIT, false,
            "%u decisions lead to this one: policies feed each other in a loop (limit %d)",
            (unsigned)n, VD_HOPS_MAX);
    r->event->hops = (unsigned)n;
    if (header(r->rec, "verdict-redriven").len > 0) {
        r->event->only_policy = header(r->rec, "verdict-policy");
        if (is_sha256_hex(original))
            r->event->original_id = original;
    }
    if (traceparent_valid(traceparent)) {
        r->event->traceparent = traceparent;
        if (tracestate_valid(tracestate))
            r->event->tracestate = tracestate;
    }
    return VD_OK;
}

/* -- the value's bytes ----------------------------------------------------------------------------------------------- */

static bool looks_like_json(struct vd_span s)
{
    s = vd_span_trim(s);
    return s.len > 0 && strchr("{[\"", s.ptr[0]) != NULL && s.ptr[0] != '\0';
}

/* Confluent's framing: 0x00 and a 4-byte schema id, or 0x01 and a 16-byte GUID. JSON never begins so. */
static enum vd_code strip_framing(struct reading *r, struct vd_span *text)
{
    unsigned char magic = text->len > 0 ? (unsigned char)text->ptr[0] : 0xff;
    size_t frame = magic == 0 ? 5 : 17;
    struct vd_span rest;

    if (magic > 1)
        return VD_OK;
    rest = vd_span_sub(*text, frame, text->len);
    if (text->len < frame || !looks_like_json(rest)) {
        unsigned id = 0;

        for (size_t i = 1; i <= 4 && i < text->len; i++)
            id = id << 8 | (unsigned char)text->ptr[i];
        return vd_err_set(r->err, VD_E_INPUT, false,
                          "Confluent-framed value (schema id %u) that is not JSON, so Avro or "
                          "Protobuf: only framed "
                          "JSON is read; produce JSON, or convert it with a connector",
                          magic == 0 ? id : 0);
    }
    *text = rest;
    return VD_OK;
}

static enum vd_code parse(struct reading *r, struct vd_span text, cJSON **ret)
{
    enum vd_code rc;

    if (text.len > r->reader->max_bytes)
        return vd_err_set(r->err, VD_E_LIMIT, false,
                          "value of %zu bytes, the limit is %zu (max_event_bytes)", text.len,
                          r->reader->max_bytes);
    rc = strip_framing(r, &text);
    if (rc != VD_OK)
        return rc;
    rc = vd_json_parse(text, ret, r->err);
    return rc == VD_E_INPUT ? vd_err_wrap(r->err, rc, "not valid JSON") : rc;
}

/* -- CloudEvents ----------------------------------------------------------------------------------------------------- */

/* Attribute names are lower-case letters and digits (CloudEvents 3.1); anything else is not one. */
static bool attribute_name(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!((s.ptr[i] >= 'a' && s.ptr[i] <= 'z') || (s.ptr[i] >= '0' && s.ptr[i] <= '9')))
            return false;
    return s.len > 0 && s.len <= 40;
}

static bool json_media_type(struct vd_span s)
{
    size_t end = vd_span_find(s, ';');

    s = vd_span_trim(vd_span_sub(s, 0, end));
    return s.len == 0 || vd_span_eq_nocase(s, VD_LIT("application/json")) ||
           vd_span_eq_nocase(s, VD_LIT("text/json")) ||
           (s.len > 5 && vd_span_eq_nocase(vd_span_sub(s, s.len - 5, 5), VD_LIT("+json")));
}

/* The checks that both modes share, on the finished tree. */
static enum vd_code check_cloudevent(struct reading *r)
{
    static const char *const required[] = {"id", "source", "specversion", "type"};
    static const char *const optional[] = {"subject", "time"};
    cJSON *tree = r->event->tree;

    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
        const cJSON *at = vd_json_get(tree, required[i]);

        if (at == NULL)
            return vd_err_set(r->err, VD_E_INPUT, false,
                              "CloudEvent without the required attribute \"%s\"", required[i]);
        if (vd_json_kind(at) != VD_JSON_STRING || vd_json_string(at).len == 0)
            return vd_err_set(r->err, VD_E_INPUT, false,
                              "CloudEvent attribute \"%s\" must be a non-empty string",
                              required[i]);
    }
    if (!vd_span_eq_c(vd_json_get_string(tree, "specversion"), "1.0"))
        return vd_err_set(r->err, VD_E_INPUT, false, "CloudEvents specversion is not \"1.0\"");
    for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
        if (vd_json_get(tree, optional[i]) == NULL &&
            !vd_json_put(tree, optional[i], cJSON_CreateNull()))
            return vd_err_nomem(r->err, "event");
    return VD_OK;
}

static enum vd_code read_structured(struct reading *r)
{
    cJSON *tree = NULL;
    enum vd_code rc = parse(r, r->rec->value, &tree);

    if (rc != VD_OK)
        return rc;
    r->event->tree = tree;
    if (vd_json_kind(tree) != VD_JSON_OBJECT)
        return vd_err_set(r->err, VD_E_INPUT, false, "structured CloudEvent is not a JSON object");
    return check_cloudevent(r);
}

static enum vd_code add_attribute_header(struct reading *r, const struct vd_header *h)
{
    struct vd_span name = vd_span_sub(h->name, 3, h->name.len);
    char key[48];
    cJSON *value;

    if (!vd_span_starts(h->name, VD_LIT("ce_")) || !attribute_name(name) ||
        vd_span_eq_c(name, "data"))
        return VD_OK;
    memcpy(key, name.ptr, name.len);
    key[name.len] = '\0';
    if (vd_json_get(r->event->tree, key) != NULL)
        return vd_err_set(r->err, VD_E_INPUT, false, "header ce_%s appears twice", key);
    value = vd_json_new_string(h->value);
    if (value == NULL)
        return vd_err_set(r->err, VD_E_INPUT, false, "header ce_%s is not UTF-8", key);
    return vd_json_put(r->event->tree, key, value) ? VD_OK : vd_err_nomem(r->err, "event");
}

static enum vd_code read_binary(struct reading *r)
{
    struct vd_span media = header(r->rec, "content-type");
    cJSON *data = NULL;
    enum vd_code rc;

    if (!json_media_type(media))
        return vd_err_set(r->err, VD_E_INPUT, false,
                          "CloudEvent data is \"%.*s\"; only JSON is read",
                          (int)(media.len < 60 ? media.len : 60), media.ptr);
    r->event->tree = cJSON_CreateObject();
    if (r->event->tree == NULL)
        return vd_err_nomem(r->err, "event");
    for (size_t i = 0; i < r->rec->header_count; i++) {
        rc = add_attribute_header(r, &r->rec->headers[i]);
        if (rc != VD_OK)
            return rc;
    }
    rc = check_cloudevent(r);
    if (rc == VD_OK)
        rc = parse(r, r->rec->value, &data);
    if (rc == VD_OK && !vd_json_put(r->event->tree, "data", data))
        rc = vd_err_nomem(r->err, "event");
    return rc;
}

/* -- plain JSON ------------------------------------------------------------------------------------------------------ */

static cJSON *headers_tree(const struct vd_record *rec)
{
    cJSON *tree = cJSON_CreateObject();

    for (size_t i = 0; tree != NULL && i < rec->header_count && i < VD_EVENT_MAX_HEADERS; i++) {
        char name[128];
        struct vd_span s = rec->headers[i].name;
        cJSON *value = vd_json_new_string(rec->headers[i].value);

        if (value == NULL || s.len == 0 || s.len >= sizeof(name) ||
            memchr(s.ptr, '\0', s.len) != NULL) {
            (void)vd_json_free(
                value); /* not UTF-8, or no usable name: the expression sees no such header */
            continue;
        }
        memcpy(name, s.ptr, s.len);
        name[s.len] = '\0';
        if (vd_json_get(tree, name) != NULL)
            cJSON_DeleteItemFromObjectCaseSensitive(tree, name);
        (void)vd_json_put(tree, name, value);
    }
    return tree;
}

/* A mapped value as the text an attribute holds: strings as they are, integers as digits, for time also timestamps. */
static enum vd_code attribute_text(struct reading *r, enum attribute which,
                                   const struct vd_cel_value *v, struct vd_span *ret)
{
    char time[VD_RFC3339_SIZE];
    const char *text = NULL;

    switch (v->kind) {
    case VD_CEL_NULL:
        *ret = (struct vd_span){NULL, 0};
        return VD_OK;
    case VD_CEL_STRING:
        *ret = v->u.s;
        return VD_OK;
    case VD_CEL_INT:
        text = vd_arena_printf(r->arena, "%lld", (long long)v->u.i);
        break;
    case VD_CEL_UINT:
        text = vd_arena_printf(r->arena, "%llu", (unsigned long long)v->u.u);
        break;
    case VD_CEL_TIMESTAMP:
        vd_rfc3339_format(v->u.t.s * 1000 + v->u.t.ns / 1000000, time);
        text = vd_arena_strndup(r->arena, vd_span_of(time));
        break;
    default:
        return vd_err_set(r->err, VD_E_INPUT, false,
                          "the topic's expression for %s gives a %s, not a string",
                          attribute_names[which], vd_cel_kind_name(v->kind));
    }
    *ret = vd_span_of(text);
    return text == NULL ? vd_err_nomem(r->err, "event") : VD_OK;
}

static enum vd_code mapped_attribute(struct reading *r, enum attribute which,
                                     struct vd_cel_value *values, struct vd_span *ret)
{
    struct vd_cel_eval_context context = {.values = values, .count = VARIABLES, .arena = r->arena};
    struct vd_cel_value v;
    enum vd_code rc = vd_cel_eval(r->reader->mapping[which], &context, &v, r->err);

    if (rc != VD_OK)
        return vd_err_wrap(r->err, rc, "the topic's expression for %s", attribute_names[which]);
    return attribute_text(r, which, &v, ret);
}

static enum vd_code default_attribute(struct reading *r, enum attribute which, const cJSON *body,
                                      struct vd_span *ret)
{
    const cJSON *at = vd_json_get(body, attribute_names[which]);
    struct vd_cel_value v = vd_cel_from_json(at);
    int64_t seconds;

    *ret = (struct vd_span){NULL, 0};
    if (which == SOURCE) {
        *ret = vd_span_of(r->rec->topic);
    } else if (which == SUBJECT) {
        return VD_OK;
    } else if (which == TIME && at == NULL && vd_json_int(vd_json_get(body, "created"), &seconds)) {
        v = (struct vd_cel_value){.kind = VD_CEL_TIMESTAMP, .u.t = {seconds, 0}};
        return attribute_text(r, which, &v, ret);
    } else if (at != NULL && (v.kind == VD_CEL_STRING || v.kind == VD_CEL_INT)) {
        return attribute_text(r, which, &v, ret);
    }
    return VD_OK;
}

static enum vd_code put_attributes_from(struct reading *r, const cJSON *body)
{
    cJSON *headers = NULL, *key = NULL;
    struct vd_cel_value values[VARIABLES];
    enum vd_code rc = VD_OK;

    if (r->reader->maps) {
        headers = headers_tree(r->rec);
        key = r->rec->key.ptr == NULL ? cJSON_CreateNull() : vd_json_new_string(r->rec->key);
        if (headers == NULL)
            rc = vd_err_nomem(r->err, "event");
    }
    values[BODY] = vd_cel_from_json(body);
    values[HEADERS] = vd_cel_from_json(headers);
    values[KEY] = vd_cel_from_json(key); /* a key that is not UTF-8 reads as null */
    values[TOPIC] = (struct vd_cel_value){.kind = VD_CEL_STRING, .u.s = vd_span_of(r->rec->topic)};
    for (enum attribute i = 0; i < ATTRIBUTES && rc == VD_OK; i++) {
        const cJSON *there;
        struct vd_span text;
        cJSON *value;

        rc = r->reader->mapping[i] != NULL ? mapped_attribute(r, i, values, &text)
                                           : default_attribute(r, i, body, &text);
        if (rc != VD_OK)
            break;
        there = vd_json_get(r->event->tree, attribute_names[i]);
        if (there != NULL && text.len == 0)
            continue; /* the envelope's own member, of another type */
        if (there != NULL && vd_json_kind(there) == VD_JSON_STRING &&
            vd_span_eq(vd_json_string(there), text))
            continue;
        value = text.len == 0 ? cJSON_CreateNull() : vd_json_new_string(text);
        cJSON_DeleteItemFromObjectCaseSensitive(r->event->tree, attribute_names[i]);
        if (!vd_json_put(r->event->tree, attribute_names[i], value))
            rc = vd_err_nomem(r->err, "event");
    }
    (void)vd_json_free(headers);
    (void)vd_json_free(key);
    return rc;
}

static enum vd_code put_attributes(struct reading *r, const cJSON *body)
{
    struct vd_json_scope scope;
    enum vd_code rc;

    vd_json_scope_begin(&scope, ATTRIBUTES_BYTES);
    rc = put_attributes_from(r, body);
    vd_json_scope_end(&scope);
    return rc;
}

static enum vd_code read_plain(struct reading *r)
{
    cJSON *body = NULL;
    enum vd_code rc = parse(r, r->rec->value, &body);
    const cJSON *data;
    bool envelope;

    if (rc != VD_OK)
        return rc;
    data = vd_json_get(body, "data");
    envelope = data != NULL && vd_json_kind(data) == VD_JSON_OBJECT &&
               vd_json_get_string(body, "type").len > 0;
    if (envelope) {
        r->event->tree = body;
        return put_attributes(r, body);
    }
    r->event->tree = cJSON_CreateObject();
    if (r->event->tree == NULL || !vd_json_put(r->event->tree, "data", body)) {
        return vd_err_nomem(r->err, "event");
    }
    return put_attributes(r, body);
}

/* -- all of it ------------------------------------------------------------------------------------------------------- */

static enum vd_code read_by_mode(struct reading *r)
{
    struct vd_span media = header(r->rec, "content-type");

    if (vd_span_starts_nocase(media, VD_LIT("application/cloudevents-batch")))
        return vd_err_set(r->err, VD_E_INPUT, false,
                          "CloudEvents batch mode is not defined for Kafka: one event a record");
    if (vd_span_starts_nocase(media, VD_LIT("application/cloudevents")))
        return read_structured(r);
    if (header(r->rec, "ce_specversion").len > 0)
        return read_binary(r);
    if (r->reader->format == VD_FORMAT_JSON)
        return read_plain(r);
    for (size_t i = 0; i < r->rec->header_count; i++)
        if (vd_span_starts(r->rec->headers[i].name, VD_LIT("ce_")))
            return vd_err_set(r->err, VD_E_INPUT, false,
                              "CloudEvent without the required attribute \"specversion\" (header "
                              "ce_specversion)");
    return vd_err_set(
        r->err, VD_E_INPUT, false,
        "not a CloudEvent: neither a ce_specversion header nor content-type "
        "application/cloudevents+json; for plain JSON set the topic's format = \"json\"");
}

enum vd_code vd_event_read(const struct vd_event_reader *reader, const struct vd_record *rec,
                           struct vd_arena *arena, struct vd_event *ret, struct vd_err *err)
{
    struct vd_event event = {.time_ms = -1};
    struct reading r = {reader, rec, arena, &event, err};
    enum vd_code rc;

    event.value_hash = vd_sha256(rec->value);
    if (rec->header_count > VD_EVENT_MAX_HEADERS)
        rc = vd_err_set(err, VD_E_LIMIT, false, "%zu headers, the limit is %d", rec->header_count,
                        VD_EVENT_MAX_HEADERS);
    else
        rc = read_own_headers(&r);
    if (rc == VD_OK)
        rc = read_by_mode(&r);
    if (rc != VD_OK) {
        vd_event_fini(&event);
        return rc;
    }
    event.id = vd_json_get_string(event.tree, "id");
    event.type = vd_json_get_string(event.tree, "type");
    event.source = vd_json_get_string(event.tree, "source");
    event.subject = vd_json_get_string(event.tree, "subject");
    if (!vd_rfc3339_parse(vd_json_get_string(event.tree, "time"), &event.time_ms))
        event.time_ms = rec->timestamp_ms;
    *ret = event;
    return VD_OK;
}

void vd_event_fini(struct vd_event *event)
{
    event->tree = vd_json_free(event->tree);
}
