/* pipeline/decision.c - see decision.h. */
#include "pipeline/decision.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/limits.h"
#include "json/members.h"

/* A little below what allocators hand out: outputs wait for their transaction by the thousand. */
#define TYPICAL_BYTES       2500 /* of a decision: rationale and rules decide how long it is */
#define TYPICAL_AUDIT_BYTES 8100
#define MOST_ESCAPED        6 /* bytes that one byte of a JSON string may take */

static void integer_or_null(struct vd_buf *out, const char *key, bool known, int64_t value)
{
    if (known)
        vd_json_integer(out, key, value);
    else
        vd_json_null(out, key);
}

/* Unknown attributes are null, not empty. */
static struct vd_span or_null(struct vd_span s)
{
    return s.len == 0 ? (struct vd_span){NULL, 0} : s;
}

/* -- the decision ---------------------------------------------------------------------------------------------------- */

/* The same text twice: as JSON, and as a string of it. */
static void write_params(const struct vd_decision *d, struct vd_buf *out)
{
    size_t from, len;

    vd_json_key(out, "params");
    from = out->len;
    vd_json_tree_value(out, d->outcome->params);
    len = out->len - from;
    if (d->outcome->params == NULL)
        vd_json_null(out, "params_json");
    else if (vd_buf_reserve(out, MOST_ESCAPED * len + 32) == VD_OK) /* what is read must not move */
        vd_json_text(out, "params_json", (struct vd_span){out->ptr + from, len});
}

static void write_event(const struct vd_decision *d, struct vd_buf *out)
{
    vd_json_open(out, "event", '{');
    vd_json_text(out, "id", or_null(d->event->id));
    vd_json_text(out, "type", or_null(d->event->type));
    vd_json_text(out, "source", or_null(d->event->source));
    vd_json_text(out, "subject", or_null(d->event->subject));
    integer_or_null(out, "time_ms", d->event->time_ms >= 0, d->event->time_ms);
    vd_json_word(out, "topic", d->rec->topic);
    vd_json_integer(out, "partition", d->rec->partition);
    vd_json_integer(out, "offset", d->rec->offset);
    vd_json_close(out, '}');
}

static void write_limits(const struct vd_decision *d, struct vd_buf *out)
{
    const struct vd_limit_plan *plan = d->outcome->plan;

    vd_json_open(out, "limits", '[');
    for (size_t i = 0; plan != NULL && i < plan->want_count; i++) {
        const struct vd_limit_want *want = &plan->wants[i];

        vd_json_next(out);
        (void)vd_buf_add_char(out, '{');
        vd_json_word(out, "id", want->limit->name);
        vd_json_text(out, "key", want->key);
        vd_json_integer(out, "used", d->outcome->reserved[i].used + vd_limit_needed(plan, want));
        vd_json_integer(out, "max", want->max);
        vd_json_close(out, '}');
    }
    vd_json_close(out, ']');
}

static void write_usage(const struct vd_decision *d, struct vd_buf *out)
{
    const struct vd_usage *u = &d->usage;

    vd_json_open(out, "usage", '{');
    vd_json_word(out, "model", u->model);
    vd_json_word(out, "provider", u->provider);
    vd_json_integer(out, "model_calls", u->model_calls);
    vd_json_integer(out, "tool_calls", u->tool_calls);
    vd_json_integer(out, "repairs", u->repairs);
    vd_json_integer(out, "input_tokens", u->input_tokens);
    vd_json_integer(out, "output_tokens", u->output_tokens);
    vd_json_integer(out, "model_ms", u->model_ms);
    vd_json_integer(out, "total_ms", d->total_ms);
    vd_json_close(out, '}');
}

enum vd_code vd_decision_write(const struct vd_decision *d, struct vd_buf *out)
{
    const struct vd_outcome *o = d->outcome;
    bool expires = o->action != NULL && o->action->valid_for_s > 0;
    char time[VD_RFC3339_SIZE];

    vd_rfc3339_format(d->now_ms, time);
    (void)vd_buf_reserve(out, TYPICAL_BYTES);
    (void)vd_buf_add_char(out, '{');
    vd_json_word(out, "decision_id", d->id);
    vd_json_word(out, "time", time);
    vd_json_integer(out, "time_ms", d->now_ms);
    vd_json_word(out, "source", d->source);
    vd_json_word(out, "policy_id", d->policy->id);
    vd_json_integer(out, "policy_version", d->policy->version);
    vd_json_word(out, "policy_hash", d->policy->hash_hex);
    vd_json_word(out, "mode", vd_mode_name(d->policy->mode));
    vd_json_word(out, "status", vd_status_name(o->status));
    vd_json_word(out, "decided_by", vd_decided_by_name(o->decided_by));
    vd_json_word(out, "action", o->action == NULL ? NULL : o->action->name);
    vd_json_text(out, "key", d->key);
    vd_json_text(out, "correlation_id",
                 or_null(vd_json_get_string(d->event->tree, "correlationid")));
    integer_or_null(out, "round", d->has_round, d->round);
    vd_json_null(out, "supersedes");
    integer_or_null(out, "valid_until_ms", expires,
                    d->now_ms + (expires ? o->action->valid_for_s * 1000 : 0));
    vd_json_number(out, "confidence", o->has_confidence, o->confidence);
    vd_json_text(out, "rationale", o->rationale);
    vd_json_word(out, "degraded_reason", o->degraded_reason);
    vd_json_integer(out, "cost_microusd", d->usage.cost_microusd);
    vd_json_word(out, "worker", d->worker);
    write_params(d, out);
    write_event(d, out);
    vd_json_key(out, "evidence");
    if (o->evidence == NULL)
        (void)vd_buf_add(out, VD_LIT("[]"));
    else
        vd_json_tree_value(out, o->evidence);
    vd_json_key(out, "rules");
    vd_rules_write(out, o->rules, o->rule_count);
    write_limits(d, out);
    write_usage(d, out);
    (void)vd_buf_add_char(out, '}');
    return out->failed;
}

/* -- its record ------------------------------------------------------------------------------------------------------- */

static enum vd_output_kind kind_of(const struct vd_decision *d)
{
    if (d->policy->mode == VD_MODE_SHADOW)
        return VD_OUTPUT_SHADOW;
    return d->outcome->status == VD_ESCALATED ? VD_OUTPUT_REVIEW : VD_OUTPUT_DECISION;
}

static struct vd_output *new_output(const struct vd_decision *d,
                                    const struct vd_pipeline_topics *topics,
                                    enum vd_output_kind kind)
{
    char domain[256];
    const char *topic = topics->review;

    if (kind == VD_OUTPUT_SHADOW) {
        topic = topics->shadow;
    } else if (kind == VD_OUTPUT_AUDIT) {
        topic = topics->audit;
    } else if (kind == VD_OUTPUT_DECISION) {
        topic = d->policy->output_topic;
        if (topic == NULL) {
            (void)snprintf(domain, sizeof(domain), "%s.%s", topics->prefix, d->policy->domain);
            topic = domain;
        }
    }
    return vd_output_new(kind, topic, d->key, (struct vd_span){NULL, 0});
}

static bool header(struct vd_output *out, const char *literal, struct vd_span value)
{
    return value.len == 0 || vd_output_add_known_header(out, literal, value);
}

static bool number_header(struct vd_output *out, const char *literal, int64_t value)
{
    char room[24];
    struct vd_buf text = {.ptr = room, .cap = sizeof(room), .max = sizeof(room) - 1};

    return vd_buf_add_i64(&text, value) == VD_OK && header(out, literal, vd_buf_span(&text));
}

static bool cloudevent_headers(struct vd_output *out, const struct vd_decision *d, const char *type)
{
    char time[VD_RFC3339_SIZE];

    vd_rfc3339_format(d->now_ms, time);
    return header(out, "ce_specversion", VD_LIT("1.0")) &&
           header(out, "ce_id", vd_span_of(d->id)) &&
           header(out, "ce_source", vd_span_of(d->source)) &&
           header(out, "ce_type", vd_span_of(type)) && header(out, "ce_time", vd_span_of(time)) &&
           header(out, "ce_policyid", vd_span_of(d->policy->id)) &&
           number_header(out, "ce_policyrev", d->policy->version) &&
           header(out, "content-type", VD_LIT("application/json")) &&
           header(out, "traceparent", d->event->traceparent) &&
           header(out, "tracestate", d->event->tracestate) &&
           number_header(out, "verdict-hops", (int64_t)d->event->hops + 1);
}

struct vd_output *vd_decision_output(const struct vd_decision *d,
                                     const struct vd_pipeline_topics *topics,
                                     struct vd_buf *take_value)
{
    struct vd_output *out = new_output(d, topics, kind_of(d));
    const struct vd_action *action = d->outcome->action;
    const char *type =
        action != NULL && action->output_type != NULL ? action->output_type : "verdict.decision.v1";

    if (out == NULL || !cloudevent_headers(out, d, type))
        return vd_output_free(out);
    vd_output_take_value(out, take_value);
    return out;
}

/* -- the audit record -------------------------------------------------------------------------------------------------- */

/* One part of the audit record: where it stands in the text, or what it was when it still did. */
struct part {
    const char *name;
    struct vd_audit_part source;
    size_t bytes;
    struct vd_sha256 digest;
    bool omitted; /* replaced by its hash */
};

enum { PART_DECISION, PART_REASONING, PART_CONTEXT, PART_CHANGES, PART_COUNT };

static void write_part(struct vd_buf *out, struct part *p)
{
    size_t from;
    enum vd_code rc = VD_OK;

    vd_json_key(out, p->name);
    if (p->omitted) {
        (void)vd_buf_add(out, VD_LIT("null"));
        return;
    }
    from = out->len;
    if (p->source.write != NULL)
        rc = p->source.write(p->source.arg, out);
    if (rc != VD_OK && out->failed == VD_OK)
        out->failed = rc;
    p->bytes = out->len - from;
    p->digest = vd_sha256((struct vd_span){out->ptr + from, p->bytes});
    if (p->bytes == 0)
        (void)vd_buf_add(out, VD_LIT("null"));
}

static void write_part_entry(struct vd_buf *out, const struct part *p)
{
    char hex[VD_SHA256_HEX_SIZE];

    vd_sha256_hex(&p->digest, hex);
    vd_json_next(out);
    (void)vd_buf_add_char(out, '{');
    vd_json_word(out, "name", p->name);
    vd_json_word(out, "sha256", hex);
    vd_json_integer(out, "bytes", (int64_t)p->bytes);
    vd_json_boolean(out, "omitted", p->omitted);
    vd_json_close(out, '}');
}

/* Over the digests of the parts, so that a part may be erased later. */
static bool record_digest(const struct part *list, struct vd_sha256 *ret)
{
    struct vd_hasher *h = vd_hasher_new();

    if (h == NULL)
        return false;
    for (size_t i = 0; i < PART_COUNT; i++) {
        vd_hasher_part(h, vd_span_of(list[i].name));
        vd_hasher_part(h, (struct vd_span){(const char *)list[i].digest.bytes, VD_SHA256_BYTES});
    }
    *ret = vd_hasher_finish(h);
    return true;
}

static void write_audit(const struct vd_decision *d, int64_t clock_ms, struct part *list,
                        struct vd_buf *out)
{
    struct vd_sha256 digest;
    char hex[VD_SHA256_HEX_SIZE];

    vd_buf_clear(out);
    (void)vd_buf_reserve(out, TYPICAL_AUDIT_BYTES);
    (void)vd_buf_add_char(out, '{');
    vd_json_word(out, "decision_id", d->id);
    vd_json_integer(out, "time_ms", d->now_ms);
    vd_json_integer(out, "clock_ms", clock_ms);
    vd_json_word(out, "policy_id", d->policy->id);
    vd_json_integer(out, "policy_version", d->policy->version);
    vd_json_word(out, "policy_hash", d->policy->hash_hex);
    vd_sha256_hex(&d->event->value_hash, hex);
    vd_json_word(out, "event_sha256", hex);
    for (size_t i = 0; i < PART_COUNT; i++)
        write_part(out, &list[i]);
    vd_json_open(out, "parts", '[');
    for (size_t i = 0; i < PART_COUNT; i++)
        write_part_entry(out, &list[i]);
    vd_json_close(out, ']');
    if (!record_digest(list, &digest)) {
        out->failed = VD_E_NOMEM;
        return;
    }
    vd_sha256_hex(&digest, hex);
    vd_json_word(out, "record_sha256", hex);
    vd_json_close(out, '}');
}

/* Leave the largest part that is still there out. False when none is left. */
static bool omit_largest(struct part *list)
{
    struct part *largest = NULL;

    for (size_t i = 0; i < PART_COUNT; i++)
        if (i != PART_CHANGES && !list[i].omitted &&
            (largest == NULL || list[i].bytes > largest->bytes))
            largest = &list[i];
    if (largest != NULL)
        largest->omitted = true;
    return largest != NULL;
}

static enum vd_code write_span(void *arg, struct vd_buf *out)
{
    return vd_buf_add(out, *(const struct vd_span *)arg);
}

struct vd_output *vd_audit_output(const struct vd_decision *d, const struct vd_audit_parts *parts,
                                  const struct vd_pipeline_topics *topics,
                                  struct vd_span decision_json, size_t max_bytes)
{
    struct part list[PART_COUNT] = {
        {.name = "decision", .source = {write_span, &decision_json}},
        {.name = "reasoning", .source = parts->reasoning},
        {.name = "context", .source = parts->context},
        {.name = "changes", .source = parts->changes},
    };
    struct vd_output *out = new_output(d, topics, VD_OUTPUT_AUDIT);
    struct vd_buf json;

    if (out == NULL || !cloudevent_headers(out, d, "verdict.audit.v1"))
        return vd_output_free(out);
    vd_buf_init(&json, 4 * VD_AUDIT_MAX_BYTES);
    do
        write_audit(d, parts->clock_ms, list, &json);
    while (json.failed == VD_OK && vd_output_bytes(out) + json.len > max_bytes &&
           omit_largest(list));
    if (json.failed != VD_OK) {
        vd_buf_free(&json);
        return vd_output_free(out);
    }
    vd_output_take_value(out, &json);
    return out;
}
