/* pipeline/identity.c - see identity.h. */
#include "pipeline/identity.h"

#include <string.h>

bool vd_decision_id(const char *cluster_id, const struct vd_record *rec,
                    const struct vd_event *event, const char *policy_id,
                    char out[VD_SHA256_HEX_SIZE])
{
    struct vd_hasher *h;
    struct vd_sha256 digest;

    if (event->original_id.len == VD_SHA256_HEX_SIZE - 1) {
        memcpy(out, event->original_id.ptr, event->original_id.len);
        out[event->original_id.len] = '\0';
        return true;
    }
    h = vd_hasher_new();
    if (h == NULL)
        return false;
    vd_hasher_part(h, vd_span_of(cluster_id));
    vd_hasher_part(h, vd_span_of(rec->topic));
    vd_hasher_part_i64(h, rec->partition);
    vd_hasher_part_i64(h, rec->offset);
    vd_hasher_part_i64(h, rec->timestamp_ms);
    vd_hasher_part(h, event->source);
    vd_hasher_part(h, event->id);
    vd_hasher_part(h, (struct vd_span){(const char *)event->value_hash.bytes, VD_SHA256_BYTES});
    vd_hasher_part(h, vd_span_of(policy_id));
    digest = vd_hasher_finish(h);
    vd_sha256_hex(&digest, out);
    return true;
}
