/* pipeline/operations.c - see operations.h. */
#include "pipeline/operations.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/limits.h"
#include "policy/state.h"

cJSON *vd_state_operation(const char *policy_id, struct vd_span key, const cJSON *after,
                          int64_t ttl_s, int64_t at_ms, struct vd_span previous)
{
    cJSON *op = cJSON_CreateArray();
    struct vd_buf text;
    char at[24];
    bool ok = op != NULL && vd_json_append(op, vd_json_new_string(VD_LIT("set")));

    (void)snprintf(at, sizeof(at), "%lld", (long long)at_ms);
    vd_buf_init(&text, VD_KEY_MAX_BYTES * 2);
    (void)vd_buf_addf(&text, "state:%s:", policy_id);
    (void)vd_buf_add(&text, key);
    ok = ok && text.failed == VD_OK && vd_json_append(op, vd_json_new_string(vd_buf_span(&text))) &&
         vd_json_append(op, vd_json_new_int(ttl_s)) && vd_json_append(op, vd_state_texts(after)) &&
         vd_json_append(op, vd_json_new_string(vd_span_of(at))) &&
         vd_json_append(op, vd_json_new_string(previous));
    vd_buf_free(&text);
    return ok ? op : vd_json_free(op);
}

cJSON *vd_note_operation(const char *policy_id, struct vd_span key, const cJSON *note,
                         int64_t max_notes, int64_t ttl_s)
{
    cJSON *op = cJSON_CreateArray();
    struct vd_buf name, text;
    bool ok = op != NULL && vd_json_append(op, vd_json_new_string(VD_LIT("note")));

    vd_buf_init(&name, VD_KEY_MAX_BYTES * 2);
    vd_buf_init(&text, VD_EFFECT_ENTRY_MAX_BYTES);
    (void)vd_buf_addf(&name, "memory:%s:", policy_id);
    (void)vd_buf_add(&name, key);
    ok = ok && name.failed == VD_OK && vd_json_write(&text, note) == VD_OK &&
         vd_json_append(op, vd_json_new_string(vd_buf_span(&name))) &&
         vd_json_append(op, vd_json_new_string(vd_buf_span(&text))) &&
         vd_json_append(op, vd_json_new_int(max_notes)) &&
         vd_json_append(op, vd_json_new_int(ttl_s));
    vd_buf_free(&name);
    vd_buf_free(&text);
    return ok ? op : vd_json_free(op);
}
