/* pipeline/decision.c - see decision.h. */
#include "pipeline/decision.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/limits.h"

#define TYPICAL_BYTES     2560 /* of a decision: rationale and rules decide how long it is */
#define AUDIT_FRAME_BYTES 1536 /* around the parts of an audit record */
#define EXACT_DIGITS      1e15 /* what %.15g writes without an exponent */

/* -- a JSON object, member by member --------------------------------------------------------------------------------- */

/* Keys are this file's own words: nothing to escape, and no format to read, twenty times a record. */
static void name(struct vd_buf *out, const char *key)
{
    (void)vd_buf_add_c(out, out->len > 0 && out->ptr[out->len - 1] != '{' ? ",\"" : "\"");
    (void)vd_buf_add_c(out, key);
    (void)vd_buf_add_c(out, "\":");
}

static void text(struct vd_buf *out, const char *key, struct vd_span value)
{
    name(out, key);
    if (value.ptr == NULL)
        (void)vd_buf_add_c(out, "null");
    else
        (void)vd_buf_add_json_string(out, value);
}

static void word(struct vd_buf *out, const char *key, const char *value)
{
    text(out, key, (struct vd_span){value, vd_span_of(value).len});
}

static void integer(struct vd_buf *out, const char *key, int64_t value)
{
    name(out, key);
    (void)vd_buf_add_i64(out, value);
}

static void integer_or_null(struct vd_buf *out, const char *key, bool known, int64_t value)
{
    if (known)
        integer(out, key, value);
    else
        word(out, key, NULL);
}

static void number_or_null(struct vd_buf *out, const char *key, bool known, double value)
{
    if (!known || !isfinite(value)) {
        word(out, key, NULL);
    } else if (value == trunc(value) && fabs(value) < EXACT_DIGITS && value != 0) {
        integer(out, key, (int64_t)value); /* the same text; most headrooms are whole */
    } else {
        name(out, key);
        (void)vd_buf_addf(out, "%.15g", value);
    }
}

/* Unknown attributes are null, not empty. */
static struct vd_span or_null(struct vd_span s)
{
    return s.len == 0 ? (struct vd_span){NULL, 0} : s;
}

/* -- the decision ---------------------------------------------------------------------------------------------------- */

static void write_params(const struct vd_decision *d, struct vd_buf *out)
{
    struct vd_buf json;

    vd_buf_init(&json, out->max);
    if (d->outcome->params != NULL)
        (void)vd_json_write(&json, d->outcome->params);
    name(out, "params");
    if (d->outcome->params == NULL)
        (void)vd_buf_add_c(out, "null");
    else
        (void)vd_buf_add(out, vd_buf_span(&json));
    text(out, "params_json",
         d->outcome->params == NULL ? (struct vd_span){NULL, 0} : vd_buf_span(&json));
    if (json.failed != VD_OK)
        out->failed = json.failed;
    vd_buf_free(&json);
}

static void write_event(const struct vd_decision *d, struct vd_buf *out)
{
    name(out, "event");
    (void)vd_buf_add_char(out, '{');
    text(out, "id", or_null(d->event->id));
    text(out, "type", or_null(d->event->type));
    text(out, "source", or_null(d->event->source));
    text(out, "subject", or_null(d->event->subject));
    integer_or_null(out, "time_ms", d->event->time_ms >= 0, d->event->time_ms);
    word(out, "topic", d->rec->topic);
    integer(out, "partition", d->rec->partition);
    integer(out, "offset", d->rec->offset);
    (void)vd_buf_add_char(out, '}');
}

static void write_rules(const struct vd_decision *d, struct vd_buf *out)
{
    name(out, "rules");
    (void)vd_buf_add_char(out, '[');
    for (size_t i = 0; i < d->outcome->rule_count; i++) {
        const struct vd_rule_result *r = &d->outcome->rules[i];

        (void)vd_buf_add_c(out, i > 0 ? ",{" : "{");
        word(out, "id", r->id);
        word(out, "verdict", vd_verdict_name(r->verdict));
        number_or_null(out, "headroom", r->has_headroom, r->headroom);
        (void)vd_buf_add_char(out, '}');
    }
    (void)vd_buf_add_char(out, ']');
}

static void write_limits(const struct vd_decision *d, struct vd_buf *out)
{
    const struct vd_limit_plan *plan = d->outcome->plan;

    name(out, "limits");
    (void)vd_buf_add_char(out, '[');
    for (size_t i = 0; plan != NULL && i < plan->want_count; i++) {
        const struct vd_limit_want *want = &plan->wants[i];

        (void)vd_buf_add_c(out, i > 0 ? ",{" : "{");
        word(out, "id", want->limit->name);
        text(out, "key", want->key);
        integer(out, "used", d->outcome->reserved[i].used + vd_limit_needed(plan, want));
        integer(out, "max", want->max);
        (void)vd_buf_add_char(out, '}');
    }
    (void)vd_buf_add_char(out, ']');
}

static void write_usage(const struct vd_decision *d, struct vd_buf *out)
{
    const struct vd_usage *u = &d->usage;

    name(out, "usage");
    (void)vd_buf_add_char(out, '{');
    word(out, "model", u->model);
    word(out, "provider", u->provider);
    integer(out, "model_calls", u->model_calls);
    integer(out, "tool_calls", u->tool_calls);
    integer(out, "repairs", u->repairs);
    integer(out, "input_tokens", u->input_tokens);
    integer(out, "output_tokens", u->output_tokens);
    integer(out, "model_ms", u->model_ms);
    integer(out, "total_ms", d->total_ms);
    (void)vd_buf_add_char(out, '}');
}

enum vd_code vd_decision_write(const struct vd_decision *d, struct vd_buf *out)
{
    const struct vd_outcome *o = d->outcome;
    bool expires = o->action != NULL && o->action->valid_for_s > 0;
    char time[VD_RFC3339_SIZE];

    vd_rfc3339_format(d->now_ms, time);
    (void)vd_buf_reserve(out, TYPICAL_BYTES);
    (void)vd_buf_add_char(out, '{');
    word(out, "decision_id", d->id);
    word(out, "time", time);
    integer(out, "time_ms", d->now_ms);
    word(out, "source", d->source);
    word(out, "policy_id", d->policy->id);
    integer(out, "policy_version", d->policy->version);
    word(out, "policy_hash", d->policy->hash_hex);
    word(out, "mode", vd_mode_name(d->policy->mode));
    word(out, "status", vd_status_name(o->status));
    word(out, "decided_by", vd_decided_by_name(o->decided_by));
    word(out, "action", o->action == NULL ? NULL : o->action->name);
    text(out, "key", d->key);
    text(out, "correlation_id", or_null(vd_json_get_string(d->event->tree, "correlationid")));
    integer_or_null(out, "round", d->has_round, d->round);
    word(out, "supersedes", NULL);
    integer_or_null(out, "valid_until_ms", expires,
                    d->now_ms + (expires ? o->action->valid_for_s * 1000 : 0));
    number_or_null(out, "confidence", o->has_confidence, o->confidence);
    text(out, "rationale", o->rationale);
    word(out, "degraded_reason", o->degraded_reason);
    integer(out, "cost_microusd", d->usage.cost_microusd);
    word(out, "worker", d->worker);
    write_params(d, out);
    write_event(d, out);
    name(out, "evidence");
    if (o->evidence == NULL)
        (void)vd_buf_add_c(out, "[]");
    else
        (void)vd_json_write(out, o->evidence);
    write_rules(d, out);
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
                                    enum vd_output_kind kind, struct vd_span value)
{
    char domain[256];
    const char *topic = topics->review;

    if (kind == VD_OUTPUT_SHADOW) {
        topic = topics->shadow;
    } else if (kind == VD_OUTPUT_AUDIT) {
        topic = topics->audit;
    } else if (kind == VD_OUTPUT_DECISION) {
        (void)snprintf(domain, sizeof(domain), "%s.%s", topics->prefix, d->policy->domain);
        topic = d->policy->output_topic != NULL ? d->policy->output_topic : domain;
    }
    return vd_output_new(kind, topic, d->key, value);
}

static bool header(struct vd_output *out, const char *key, struct vd_span value)
{
    return value.len == 0 || vd_output_add_header(out, vd_span_of(key), value);
}

static bool cloudevent_headers(struct vd_output *out, const struct vd_decision *d, const char *type)
{
    char time[VD_RFC3339_SIZE], hops[16], version[24];

    vd_rfc3339_format(d->now_ms, time);
    (void)snprintf(hops, sizeof(hops), "%u", d->event->hops + 1);
    (void)snprintf(version, sizeof(version), "%" PRId64, d->policy->version);
    return header(out, "ce_specversion", VD_LIT("1.0")) &&
           header(out, "ce_id", vd_span_of(d->id)) &&
           header(out, "ce_source", vd_span_of(d->source)) &&
           header(out, "ce_type", vd_span_of(type)) && header(out, "ce_time", vd_span_of(time)) &&
           header(out, "ce_policyid", vd_span_of(d->policy->id)) &&
           header(out, "ce_policyrev", vd_span_of(version)) &&
           header(out, "content-type", VD_LIT("application/json")) &&
           header(out, "traceparent", d->event->traceparent) &&
           header(out, "tracestate", d->event->tracestate) &&
           header(out, "verdict-hops", vd_span_of(hops));
}

struct vd_output *vd_decision_output(const struct vd_decision *d,
                                     const struct vd_pipeline_topics *topics, struct vd_span value)
{
    struct vd_output *out = new_output(d, topics, kind_of(d), value);
    const struct vd_action *action = d->outcome->action;
    const char *type =
        action != NULL && action->output_type != NULL ? action->output_type : "verdict.decision.v1";

    if (out != NULL && !cloudevent_headers(out, d, type))
        out = vd_output_free(out);
    return out;
}

/* -- the audit record -------------------------------------------------------------------------------------------------- */

/* One part of the audit record: its JSON text, and whether it was replaced by its hash. */
struct part {
    const char *name;
    struct vd_span json; /* the caller's, or in memory */
    struct vd_buf memory;
    struct vd_sha256 digest;
    bool omitted;
};

enum { PART_DECISION, PART_REASONING, PART_CONTEXT, PART_CHANGES, PART_COUNT };

static void write_part_entry(struct vd_buf *out, const struct part *p)
{
    char hex[VD_SHA256_HEX_SIZE];

    vd_sha256_hex(&p->digest, hex);
    (void)vd_buf_add_char(out, '{');
    word(out, "name", p->name);
    word(out, "sha256", hex);
    integer(out, "bytes", (int64_t)p->json.len);
    name(out, "omitted");
    (void)vd_buf_add_c(out, p->omitted ? "true}" : "false}");
}

static void write_audit(const struct vd_decision *d, const struct vd_audit_parts *parts,
                        const struct part *list, struct vd_buf *out)
{
    struct vd_hasher *h = vd_hasher_new();
    struct vd_sha256 digest;
    char hex[VD_SHA256_HEX_SIZE];
    size_t bytes = 0;

    if (h == NULL) {
        out->failed = VD_E_NOMEM;
        return;
    }
    for (size_t i = 0; i < PART_COUNT; i++) {
        bytes += list[i].omitted ? 0 : list[i].json.len;
        vd_hasher_part(h, vd_span_of(list[i].name));
        vd_hasher_part(h, (struct vd_span){(const char *)list[i].digest.bytes, VD_SHA256_BYTES});
    }
    digest = vd_hasher_finish(h);
    vd_sha256_hex(&digest, hex);
    (void)vd_buf_reserve(out, AUDIT_FRAME_BYTES + bytes);
    (void)vd_buf_add_char(out, '{');
    word(out, "decision_id", d->id);
    integer(out, "time_ms", d->now_ms);
    integer(out, "clock_ms", parts->clock_ms);
    word(out, "policy_id", d->policy->id);
    integer(out, "policy_version", d->policy->version);
    word(out, "policy_hash", d->policy->hash_hex);
    vd_sha256_hex(&d->event->value_hash, hex);
    word(out, "event_sha256", hex);
    for (size_t i = 0; i < PART_COUNT; i++) {
        name(out, list[i].name);
        if (list[i].omitted || list[i].json.len == 0)
            (void)vd_buf_add_c(out, "null");
        else
            (void)vd_buf_add(out, list[i].json);
    }
    name(out, "parts");
    (void)vd_buf_add_char(out, '[');
    for (size_t i = 0; i < PART_COUNT; i++) {
        if (i > 0)
            (void)vd_buf_add_char(out, ',');
        write_part_entry(out, &list[i]);
    }
    (void)vd_buf_add_char(out, ']');
    vd_sha256_hex(&digest, hex);
    word(out, "record_sha256", hex);
    (void)vd_buf_add_char(out, '}');
}

/* Leave the largest part that is still there out. False when none is left. */
static bool omit_largest(struct part *list)
{
    struct part *largest = NULL;

    for (size_t i = 0; i < PART_COUNT; i++)
        if (i != PART_CHANGES && !list[i].omitted &&
            (largest == NULL || list[i].json.len > largest->json.len))
            largest = &list[i];
    if (largest != NULL)
        largest->omitted = true;
    return largest != NULL;
}

static enum vd_code write_part(struct part *part, const cJSON *tree)
{
    enum vd_code rc = tree == NULL ? VD_OK : vd_json_write(&part->memory, tree);

    part->json = vd_buf_span(&part->memory);
    return rc;
}

static enum vd_code fill_parts(const struct vd_audit_parts *parts, struct vd_span decision_json,
                               struct part *list)
{
    static const char *const names[PART_COUNT] = {"decision", "reasoning", "context", "changes"};
    enum vd_code rc;

    for (size_t i = 0; i < PART_COUNT; i++) {
        list[i] = (struct part){.name = names[i]};
        vd_buf_init(&list[i].memory, VD_AUDIT_MAX_BYTES);
    }
    list[PART_DECISION].json = decision_json;
    rc = write_part(&list[PART_REASONING], parts->reasoning);
    if (rc == VD_OK)
        rc = write_part(&list[PART_CONTEXT], parts->context);
    if (rc == VD_OK)
        rc = write_part(&list[PART_CHANGES], parts->changes);
    for (size_t i = 0; i < PART_COUNT; i++)
        list[i].digest = vd_sha256(list[i].json);
    return rc;
}

struct vd_output *vd_audit_output(const struct vd_decision *d, const struct vd_audit_parts *parts,
                                  const struct vd_pipeline_topics *topics,
                                  struct vd_span decision_json, size_t max_bytes)
{
    struct part list[PART_COUNT];
    struct vd_output *out = NULL;
    struct vd_buf json;
    enum vd_code rc = fill_parts(parts, decision_json, list);

    vd_buf_init(&json, 4 * VD_AUDIT_MAX_BYTES);
    while (rc == VD_OK) {
        vd_buf_clear(&json);
        write_audit(d, parts, list, &json);
        rc = json.failed;
        if (rc != VD_OK)
            break;
        out = vd_output_free(out);
        out = new_output(d, topics, VD_OUTPUT_AUDIT, vd_buf_span(&json));
        if (out == NULL || !cloudevent_headers(out, d, "verdict.audit.v1")) {
            out = vd_output_free(out);
            break;
        }
        if (vd_output_bytes(out) <= max_bytes || !omit_largest(list))
            break;
    }
    for (size_t i = 0; i < PART_COUNT; i++)
        vd_buf_free(&list[i].memory);
    vd_buf_free(&json);
    return out;
}
