/* policy/memory.c - see memory.h. */
#include "policy/memory.h"

#include <ctype.h>
#include <math.h>

#include "base/clock.h"
#include "base/limits.h"
#include "json/utf8.h"
#include "policy/prompt.h"
#include "policy/state.h"

/* -- fields ------------------------------------------------------------------------------------------------------ */

static bool is_word(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!isalnum((unsigned char)s.ptr[i]) && s.ptr[i] != '_' && s.ptr[i] != '.' &&
            s.ptr[i] != '-')
            return false;
    return s.len > 0 && s.len <= VD_NOTE_WORD_MAX;
}

/* What rules may read of it: a number, a boolean, a word; everything else is null. */
static cJSON *scalar(const cJSON *value)
{
    switch (vd_json_kind(value)) {
    case VD_JSON_BOOL:
    case VD_JSON_INT:
    case VD_JSON_DOUBLE:
        return vd_json_copy(value);
    case VD_JSON_STRING:
        return is_word(vd_json_string(value)) ? vd_json_copy(value) : cJSON_CreateNull();
    default:
        return cJSON_CreateNull();
    }
}

/* -- reading ----------------------------------------------------------------------------------------------------- */

static bool put_text(cJSON *object, const char *key, struct vd_span text)
{
    return vd_json_put(object, key, text.len > 0 ? vd_json_new_string(text) : cJSON_CreateNull());
}

/* One note in both views. False: memory is out. */
static bool add_note(const struct vd_policy_notes *notes, const cJSON *note, int64_t now_ms,
                     struct vd_memory *m)
{
    cJSON *views[2] = {cJSON_CreateObject(), cJSON_CreateObject()};
    int64_t time_ms = now_ms, age_s = 0;
    char time[VD_RFC3339_SIZE];
    bool ok = views[0] != NULL && views[1] != NULL;

    if (vd_json_int(vd_json_get(note, "age_s"), &age_s) && age_s >= 0 &&
        age_s < INT64_C(1000000000000))
        time_ms = now_ms - age_s * 1000;
    (void)vd_json_int(vd_json_get(note, "time_ms"), &time_ms);
    vd_rfc3339_format(time_ms, time);
    age_s = now_ms > time_ms ? (now_ms - time_ms) / 1000 : 0;
    for (size_t v = 0; v < 2 && ok; v++) {
        ok = put_text(views[v], "decision_id", vd_json_get_string(note, "decision_id")) &&
             put_text(views[v], "time", vd_span_of(time)) &&
             vd_json_put(views[v], "age_s", vd_json_new_int(age_s)) &&
             put_text(views[v], "action", vd_json_get_string(note, "action")) &&
             put_text(views[v], "status", vd_json_get_string(note, "status"));
        for (size_t i = 0; i < notes->field_count && ok; i++)
            ok = vd_json_put(views[v], notes->fields[i].name,
                             scalar(vd_json_get(note, notes->fields[i].name)));
    }
    ok = ok && vd_json_put(views[1], "text",
                           vd_json_new_string(vd_json_kind(note) == VD_JSON_STRING
                                                  ? vd_json_string(note)
                                                  : vd_json_get_string(note, "text")));
    if (!ok) {
        vd_json_free(views[0]);
        vd_json_free(views[1]);
        return false;
    }
    if (vd_json_append(m->rules, views[0]))
        return vd_json_append(m->shown, views[1]);
    vd_json_free(views[1]);
    return false;
}

static enum vd_code read_note(const struct vd_policy_notes *notes, const cJSON *raw, int64_t now_ms,
                              struct vd_memory *m, struct vd_err *err)
{
    struct vd_span text = vd_json_string(raw);
    cJSON *parsed = NULL;
    enum vd_code rc = VD_OK;
    bool ok;

    if (vd_json_kind(raw) == VD_JSON_STRING && text.len > 0 && text.ptr[0] == '{')
        rc = vd_json_parse(text, &parsed, NULL);
    else if (vd_json_kind(raw) != VD_JSON_OBJECT && vd_json_kind(raw) != VD_JSON_STRING)
        rc = VD_E_INPUT;
    if (rc == VD_E_NOMEM)
        return vd_err_nomem(err, "memory");
    if (rc != VD_OK)
        return vd_err_set(err, VD_E_INPUT, false, "memory: a stored note is unreadable");
    ok = add_note(notes, parsed != NULL ? parsed : raw, now_ms, m);
    vd_json_free(parsed);
    return ok ? VD_OK : vd_err_nomem(err, "memory");
}

enum vd_code vd_memory_accept(const struct vd_policy_notes *notes, const cJSON *raw, int64_t now_ms,
                              struct vd_memory *ret, struct vd_err *err)
{
    struct vd_memory m = {cJSON_CreateArray(), cJSON_CreateArray()};
    enum vd_code rc = m.rules == NULL || m.shown == NULL ? vd_err_nomem(err, "memory") : VD_OK;
    const cJSON *note;
    size_t n = 0;

    if (rc == VD_OK && vd_json_kind(raw) != VD_JSON_NULL && vd_json_kind(raw) != VD_JSON_ARRAY)
        rc = vd_err_set(err, VD_E_INPUT, false, "memory: what is stored is no list");
    if (rc == VD_OK && vd_json_kind(raw) == VD_JSON_ARRAY)
        cJSON_ArrayForEach(note, raw) if (rc == VD_OK && n++ < notes->read_last) rc =
            read_note(notes, note, now_ms, &m, err);
    if (rc != VD_OK)
        vd_memory_fini(&m);
    else
        *ret = m;
    return rc;
}

void vd_memory_fini(struct vd_memory *memory)
{
    memory->rules = vd_json_free(memory->rules);
    memory->shown = vd_json_free(memory->shown);
}

/* -- writing ----------------------------------------------------------------------------------------------------- */

/* Without hidden characters, and cut between two characters. */
static enum vd_code clean(struct vd_facts *facts, struct vd_span text, size_t max_chars,
                          struct vd_span *ret)
{
    struct vd_span whole;
    const char *p, *end;

    if (vd_prompt_clean(vd_facts_arena(facts), text, &whole) != VD_OK)
        return VD_E_NOMEM;
    p = whole.ptr;
    end = whole.ptr + whole.len;
    for (size_t n = 0; n < max_chars && p < end; n++)
        p += vd_utf8_len(p, end);
    *ret = (struct vd_span){whole.ptr, (size_t)(p - whole.ptr)};
    return VD_OK;
}

/* False: memory is out. *ret_text stays empty where there is none. */
static bool text_of(struct vd_facts *facts, cJSON *errors, struct vd_span *ret_text)
{
    const struct vd_policy_notes *notes = vd_facts_policy(facts)->notes;
    struct vd_cel_value value;
    struct vd_err why = {0};
    enum vd_code rc = vd_facts_eval(facts, notes->note, &value, &why);

    if (rc != VD_OK)
        return rc != VD_E_NOMEM && vd_state_error(errors, "note", why.msg);
    if (value.kind != VD_CEL_STRING)
        return vd_state_error(errors, "note", "it is no string");
    return clean(facts, value.u.s, notes->note_max_chars, ret_text) == VD_OK;
}

static bool put_fields(struct vd_facts *facts, cJSON *note, cJSON *errors)
{
    const struct vd_policy_notes *notes = vd_facts_policy(facts)->notes;
    bool ok = true;

    for (size_t i = 0; i < notes->field_count && ok; i++) {
        struct vd_cel_value value;
        struct vd_err why = {0};
        cJSON *node = NULL, *kept;

        if (vd_facts_eval(facts, notes->fields[i].value, &value, &why) != VD_OK ||
            vd_cel_to_json(&value, &node, &why) != VD_OK)
            ok = vd_state_error(errors, notes->fields[i].name, why.msg);
        kept = scalar(node);
        if (ok && node != NULL && vd_json_kind(node) != VD_JSON_NULL &&
            vd_json_kind(kept) == VD_JSON_NULL)
            ok = vd_state_error(errors, notes->fields[i].name, "it is no number, boolean or word");
        ok = vd_json_put(note, notes->fields[i].name, kept) && ok;
        vd_json_free(node);
    }
    return ok;
}

enum vd_code vd_memory_note(struct vd_facts *facts, struct vd_span decision_id,
                            struct vd_span action, struct vd_span status, cJSON **ret_note,
                            cJSON *errors, struct vd_err *err)
{
    const struct vd_policy_notes *notes = vd_facts_policy(facts)->notes;
    struct vd_span text = {NULL, 0};
    struct vd_err why = {0};
    bool wanted = true, ok = true;
    cJSON *note;

    *ret_note = NULL;
    if (notes->when != NULL && vd_facts_test(facts, notes->when, &wanted, &why) != VD_OK) {
        wanted = false;
        ok = vd_state_error(errors, "when", why.msg);
    }
    if (ok && wanted)
        ok = text_of(facts, errors, &text);
    if (!ok)
        return vd_err_nomem(err, "memory");
    if (!wanted || text.len == 0)
        return VD_OK;
    note = cJSON_CreateObject();
    ok = note != NULL && put_text(note, "decision_id", decision_id) &&
         vd_json_put(note, "time_ms", vd_json_new_int(vd_facts_now_ms(facts))) &&
         put_text(note, "action", action) && put_text(note, "status", status) &&
         put_text(note, "text", text) && put_fields(facts, note, errors);
    if (!ok) {
        vd_json_free(note);
        return vd_err_nomem(err, "memory");
    }
    *ret_note = note;
    return VD_OK;
}
