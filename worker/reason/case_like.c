/* reason/case_like.c - see case_like.h. */
#include "reason/case_like.h"

#include <string.h>

#include "base/buf.h"
#include "base/limits.h"

static const char *const own[] = {"name", "like", "set", "unset", "expect", NULL};

static bool is_own(const char *member)
{
    for (size_t i = 0; own[i] != NULL; i++)
        if (strcmp(own[i], member) == 0)
            return true;
    return false;
}

static enum vd_code take_over(const cJSON *cases, cJSON *one, struct vd_span like,
                              struct vd_err *err)
{
    const cJSON *earlier, *member;

    for (earlier = cases->child; earlier != one && earlier != NULL; earlier = earlier->next)
        if (vd_span_eq(vd_json_get_string(earlier, "name"), like))
            break;
    if (earlier == one || earlier == NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "like: there is no earlier case \"%.*s\"",
                          (int)(like.len > 80 ? 80 : like.len), like.ptr);
    cJSON_ArrayForEach(member, earlier)
    {
        if (!is_own(member->string) && vd_json_get(one, member->string) == NULL &&
            !vd_json_put(one, member->string, vd_json_copy(member)))
            return vd_err_nomem(err, "case");
    }
    return VD_OK;
}

/* -- places -------------------------------------------------------------------------------------------------------- */

struct place {
    cJSON *holder;      /* an object or an array of the case */
    const cJSON *there; /* what stands at the place; NULL: nothing */
    struct vd_buf key;  /* the pointer's last token, unescaped */
};

static enum vd_code unescape(struct vd_buf *out, struct vd_span token)
{
    enum vd_code rc = vd_buf_add_c(out, "");

    for (size_t i = 0; i < token.len && rc == VD_OK; i++) {
        char c = token.ptr[i];

        if (c == '~' && i + 1 < token.len)
            c = token.ptr[++i] == '1' ? '/' : '~';
        rc = vd_buf_add_char(out, c);
    }
    return rc;
}

static enum vd_code find(cJSON *one, struct vd_span pointer, struct place *ret, struct vd_err *err)
{
    size_t last = pointer.len;
    enum vd_json_kind kind;

    *ret = (struct place){0};
    vd_buf_init(&ret->key, VD_JSON_MAX_BYTES);
    while (last > 0 && pointer.ptr[last - 1] != '/')
        last--;
    if (last > 0)
        ret->holder = (cJSON *)(uintptr_t)vd_json_pointer(one, vd_span_sub(pointer, 0, last - 1));
    kind = vd_json_kind(ret->holder);
    ret->there = vd_json_pointer(one, pointer);
    if (ret->there == one || (kind != VD_JSON_OBJECT && ret->there == NULL))
        return vd_err_set(err, VD_E_CONFIG, false, "there is no place %.*s in the case",
                          (int)(pointer.len > 100 ? 100 : pointer.len), pointer.ptr);
    if (unescape(&ret->key, vd_span_sub(pointer, last, pointer.len)) != VD_OK)
        return vd_err_nomem(err, "case");
    return VD_OK;
}

static enum vd_code set(cJSON *one, const cJSON *value, struct vd_err *err)
{
    struct place place;
    cJSON *copy = vd_json_copy(value);
    enum vd_code rc = copy == NULL ? vd_err_nomem(err, "case") : VD_OK;

    if (rc == VD_OK)
        rc = find(one, vd_span_of(value->string), &place, err);
    else
        vd_buf_init(&place.key, 1);
    if (rc == VD_OK && vd_json_kind(place.holder) == VD_JSON_ARRAY) {
        (void)cJSON_ReplaceItemViaPointer(place.holder, (cJSON *)(uintptr_t)place.there, copy);
        copy = NULL; /* taken */
    } else if (rc == VD_OK) {
        if (place.there != NULL)
            vd_json_free(cJSON_DetachItemViaPointer(place.holder, (cJSON *)(uintptr_t)place.there));
        rc = vd_json_put(place.holder, place.key.ptr, copy) ? VD_OK : vd_err_nomem(err, "case");
        copy = NULL; /* taken, also when it failed */
    }
    vd_json_free(copy);
    vd_buf_free(&place.key);
    return rc;
}

static enum vd_code unset(cJSON *one, const cJSON *pointer, struct vd_err *err)
{
    struct vd_span text = vd_json_string(pointer);
    struct place place;
    enum vd_code rc = find(one, text, &place, err);

    if (rc == VD_OK && place.there == NULL)
        rc = vd_err_set(err, VD_E_CONFIG, false, "unset: there is no %.*s in the case",
                        (int)(text.len > 100 ? 100 : text.len), text.ptr);
    if (rc == VD_OK)
        vd_json_free(cJSON_DetachItemViaPointer(place.holder, (cJSON *)(uintptr_t)place.there));
    vd_buf_free(&place.key);
    return rc;
}

/* Detached from the case before anything is set, so that no pointer leads into them. NULL: absent. */
static cJSON *detach(cJSON *one, const char *member)
{
    return cJSON_DetachItemFromObjectCaseSensitive(one, member);
}

enum vd_code vd_case_write_out(const cJSON *cases, cJSON *one, struct vd_err *err)
{
    cJSON *like = detach(one, "like"), *sets = detach(one, "set"), *unsets = detach(one, "unset");
    const cJSON *item;
    enum vd_code rc = VD_OK;

    if (like == NULL && (sets != NULL || unsets != NULL))
        rc = vd_err_set(err, VD_E_CONFIG, false, "set and unset change the case named by like");
    else if ((sets != NULL && vd_json_kind(sets) != VD_JSON_OBJECT) ||
             (unsets != NULL && vd_json_kind(unsets) != VD_JSON_ARRAY))
        rc = vd_err_set(err, VD_E_CONFIG, false,
                        "set is an object of values by pointer, unset a list of pointers");
    else if (like != NULL)
        rc = take_over(cases, one, vd_json_string(like), err);
    cJSON_ArrayForEach(item, sets)
    {
        if (rc == VD_OK)
            rc = set(one, item, err);
    }
    cJSON_ArrayForEach(item, unsets)
    {
        if (rc == VD_OK)
            rc = unset(one, item, err);
    }
    vd_json_free(like);
    vd_json_free(sets);
    vd_json_free(unsets);
    return rc;
}
