/* pipeline/dead_letter.c - see dead_letter.h. */
#include "pipeline/dead_letter.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"

static const char *const stage_names[] = {
    [VD_STAGE_DECODE] = "decode", [VD_STAGE_ROUTE] = "route",     [VD_STAGE_VALIDATE] = "validate",
    [VD_STAGE_KEY] = "key",       [VD_STAGE_CONTEXT] = "context", [VD_STAGE_REASON] = "reason",
    [VD_STAGE_JUDGE] = "judge",   [VD_STAGE_PUBLISH] = "publish",
};

const char *vd_stage_name(enum vd_stage stage)
{
    return stage_names[stage];
}

static bool add_text(struct vd_output *out, const char *name, const char *value)
{
    return vd_output_add_header(out, vd_span_of(name), vd_span_of(value));
}

static bool add_number(struct vd_output *out, const char *name, int64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    return add_text(out, name, text);
}

/* Our own headers are written anew on each pass, but for the ones that count over passes. */
static bool kept(struct vd_span name)
{
    return !vd_span_starts(name, VD_LIT("verdict-")) || vd_span_eq_c(name, "verdict-redriven") ||
           vd_span_eq_c(name, "verdict-hops");
}

/* As many of the original's headers as fit in max_bytes. */
static bool add_original_headers(struct vd_output *out, const struct vd_record *rec,
                                 size_t max_bytes)
{
    size_t used = 0;

    for (size_t i = 0; i < rec->header_count; i++) {
        const struct vd_header *h = &rec->headers[i];

        if (!kept(h->name))
            continue;
        used += h->name.len + h->value.len + 16;
        if (used > max_bytes)
            return add_text(out, "verdict-headers-truncated", "true");
        if (!vd_output_add_header(out, h->name, h->value))
            return false;
    }
    return true;
}

static bool add_own_headers(struct vd_output *out, const struct vd_record *rec,
                            const struct vd_dead_letter *letter)
{
    char time[VD_RFC3339_SIZE];

    vd_rfc3339_format(letter->wall_ms, time);
    return add_text(out, "verdict-stage", vd_stage_name(letter->stage)) &&
           add_text(out, "verdict-reason", letter->reason) &&
           add_text(out, "verdict-policy", letter->policy_id != NULL ? letter->policy_id : "") &&
           add_text(out, "verdict-topic", rec->topic) &&
           add_number(out, "verdict-partition", rec->partition) &&
           add_number(out, "verdict-offset", rec->offset) && add_text(out, "verdict-time", time) &&
           (letter->decision_id == NULL ||
            add_text(out, "verdict-decision-id", letter->decision_id));
}

static bool truncate_value(struct vd_output *out, const struct vd_record *rec, size_t max_bytes)
{
    char hex[VD_SHA256_HEX_SIZE];
    struct vd_sha256 digest = vd_sha256(rec->value);
    size_t fixed;

    vd_sha256_hex(&digest, hex);
    if (!vd_output_set_value(out, VD_LIT("")) || !add_text(out, "verdict-truncated", "true") ||
        !add_text(out, "verdict-value-sha256", hex) ||
        !add_number(out, "verdict-value-bytes", (int64_t)rec->value.len))
        return false;
    fixed = vd_output_bytes(out);
    if (fixed >= max_bytes)
        return true;
    return vd_output_set_value(out, vd_span_sub(rec->value, 0, max_bytes - fixed));
}

struct vd_output *vd_dead_letter_new(const struct vd_record *rec,
                                     const struct vd_dead_letter *letter)
{
    /* A key that would fill the record alone is cut with the value: its bytes are found at the source position. */
    struct vd_span key =
        rec->key.len > letter->max_bytes / 4 ? (struct vd_span){NULL, 0} : rec->key;
    struct vd_output *out = vd_output_new(VD_OUTPUT_DEAD_LETTER, letter->topic, key, rec->value);
    bool ok = out != NULL && add_own_headers(out, rec, letter) &&
              add_original_headers(out, rec, letter->max_bytes / 2);

    if (ok && vd_output_bytes(out) > letter->max_bytes)
        ok = truncate_value(out, rec, letter->max_bytes);
    if (!ok)
        out = vd_output_free(out);
    return out;
}
