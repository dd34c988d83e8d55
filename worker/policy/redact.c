/* policy/redact.c - see redact.h. */
#include "policy/redact.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"
#include "policy/walk.h"

struct redacting {
    const struct vd_redact_rule *rule;
    struct vd_span key;
    size_t count;
    bool nomem;
};

/* "hmac:" and the first 16 bytes: enough to join, and no dictionary helps without the key. */
static cJSON *hashed(struct redacting *r, const cJSON *node)
{
    char text[5 + 32 + 1] = "hmac:";
    char hex[VD_SHA256_HEX_SIZE];
    struct vd_sha256 digest;
    struct vd_buf json;

    vd_buf_init(&json, VD_EVENT_MAX_BYTES * 2);
    if (vd_json_write_canonical(&json, node) != VD_OK) {
        vd_buf_free(&json);
        return NULL;
    }
    digest = vd_hmac_sha256(r->key, vd_buf_span(&json));
    vd_buf_free(&json);
    vd_sha256_hex(&digest, hex);
    memcpy(text + 5, hex, 32);
    text[37] = '\0';
    return vd_json_new_string((struct vd_span){text, 37});
}

static enum vd_walk_next change(void *arg, cJSON *parent, cJSON *node)
{
    struct redacting *r = arg;
    bool in_array = vd_json_kind(parent) == VD_JSON_ARRAY;
    cJSON *instead = NULL;

    r->count++;
    if (r->rule->op == VD_REDACT_REMOVE && !in_array) {
        vd_json_free(cJSON_DetachItemViaPointer(parent, node));
        return VD_WALK_ON;
    }
    if (r->rule->op == VD_REDACT_REMOVE)
        instead = cJSON_CreateNull();
    else if (r->rule->op == VD_REDACT_HASH)
        instead = hashed(r, node);
    else
        instead = vd_json_new_string(VD_LIT("***"));
    if (instead == NULL || !vd_walk_replace(parent, node, instead)) {
        vd_json_free(instead);
        r->nomem = true;
        return VD_WALK_STOP;
    }
    return VD_WALK_ON;
}

bool vd_redacts(const struct vd_policy *policy, unsigned at)
{
    for (size_t i = 0; i < policy->redact_count; i++)
        if (policy->redacts[i].at & at)
            return true;
    return false;
}

enum vd_code vd_redact(const struct vd_policy *policy, unsigned at, struct vd_span key,
                       cJSON *document, size_t *ret_count, struct vd_err *err)
{
    struct redacting r = {.key = key};

    for (size_t i = 0; i < policy->redact_count; i++) {
        if (!(policy->redacts[i].at & at))
            continue;
        r.rule = &policy->redacts[i];
        vd_walk(document, &r.rule->path, change, &r);
        if (r.nomem)
            return vd_err_nomem(err, "redaction");
    }
    if (ret_count != NULL)
        *ret_count = r.count;
    return VD_OK;
}

/* -- text -------------------------------------------------------------------------------------------------------- */

#define MAX_SECRETS 256

struct secrets {
    struct vd_span items[MAX_SECRETS];
    size_t count;
    char *escaped[MAX_SECRETS]; /* owned: a value as it stands inside JSON, where that differs */
    size_t escaped_count;
    bool nomem;
};

static void add_secret(struct secrets *s, struct vd_span text)
{
    struct vd_buf json;
    char *copy;

    if (text.len < VD_REDACT_MIN_TEXT || s->count + 2 > MAX_SECRETS)
        return;
    s->items[s->count++] = text;
    vd_buf_init(&json, text.len * 6 + 2);
    if (vd_buf_add_json_string(&json, text) != VD_OK) {
        s->nomem = true;
    } else if (json.len != text.len + 2) {
        size_t len = json.len;

        copy = vd_buf_take(&json, NULL);
        s->nomem = s->nomem || copy == NULL;
        if (copy != NULL) {
            s->escaped[s->escaped_count++] = copy;
            s->items[s->count++] = (struct vd_span){copy + 1, len - 2};
        }
    }
    vd_buf_free(&json);
}

/* Every string in node is a secret. */
static void collect(struct secrets *s, const cJSON *node)
{
    const cJSON *child;

    if (vd_json_kind(node) == VD_JSON_STRING)
        add_secret(s, vd_json_string(node));
    if (vd_json_kind(node) == VD_JSON_OBJECT || vd_json_kind(node) == VD_JSON_ARRAY)
        cJSON_ArrayForEach(child, node) collect(s, child);
}

static enum vd_walk_next gather(void *arg, cJSON *parent, cJSON *node)
{
    (void)parent;
    collect(arg, node);
    return VD_WALK_ON;
}

static size_t secret_at(const struct secrets *s, struct vd_span text, size_t i)
{
    size_t longest = 0;

    for (size_t k = 0; k < s->count; k++)
        if (s->items[k].len > longest && text.len - i >= s->items[k].len &&
            memcmp(text.ptr + i, s->items[k].ptr, s->items[k].len) == 0)
            longest = s->items[k].len;
    return longest;
}

enum vd_code vd_redact_text(const struct vd_policy *policy, unsigned at, const cJSON *document,
                            struct vd_span text, struct vd_buf *out, struct vd_err *err)
{
    struct secrets s = {.count = 0};
    enum vd_code rc = VD_OK;

    for (size_t i = 0; i < policy->redact_count; i++)
        if (policy->redacts[i].at & at)
            vd_walk((cJSON *)document, &policy->redacts[i].path, gather,
                    &s); /* gather changes nothing */
    for (size_t i = 0; i < text.len;) {
        size_t len = s.count > 0 ? secret_at(&s, text, i) : 0;

        if (len > 0)
            (void)vd_buf_add_c(out, "***");
        else
            (void)vd_buf_add_char(out, text.ptr[i]);
        i += len > 0 ? len : 1;
    }
    if (out->failed != VD_OK || s.nomem)
        rc = vd_err_nomem(err, "redaction");
    for (size_t i = 0; i < s.escaped_count; i++)
        vd_free(s.escaped[i]);
    return rc;
}
