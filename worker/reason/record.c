/* reason/record.c - see reason.h: what happened, for the audit record. */
#include <stdio.h>
#include <string.h>

#include "policy/redact.h"
#include "reason/internal.h"

static const char *const kind_names[] = {"text", "tool", "cut", "refused", "empty"};

static bool put_text(cJSON *object, const char *key, struct vd_span text)
{
    return vd_json_put(object, key, vd_json_new_string(text));
}

static bool put_word(cJSON *object, const char *key, const char *word)
{
    return vd_json_put(object, key,
                       word != NULL ? vd_json_new_string(vd_span_of(word)) : cJSON_CreateNull());
}

static bool put_int(cJSON *object, const char *key, int64_t v)
{
    return vd_json_put(object, key, vd_json_new_int(v));
}

cJSON *vd_rules_to_json(const struct vd_rule_result *rules, size_t count)
{
    cJSON *array = cJSON_CreateArray();

    for (size_t i = 0; i < count && array != NULL; i++) {
        cJSON *rule = cJSON_CreateObject();
        bool ok = put_word(rule, "id", rules[i].id) &&
                  put_word(rule, "verdict", vd_verdict_name(rules[i].verdict)) &&
                  vd_json_put(rule, "headroom",
                              rules[i].has_headroom ? vd_json_new_double(rules[i].headroom)
                                                    : cJSON_CreateNull());

        if (!vd_json_append(array, ok ? rule : vd_json_free(rule)))
            return vd_json_free(array);
    }
    return array;
}

/* -- redaction --------------------------------------------------------------------------------------------------- */

/* Every binding as a document: where the values come from that must not be in a text. */
static cJSON *all_bindings(const struct vd_reason *r)
{
    const struct vd_policy *p = vd_facts_policy(r->facts);
    cJSON *document = cJSON_CreateObject();

    for (unsigned slot = 0; slot < p->slot_count && document != NULL; slot++) {
        const cJSON *tree = slot == VD_SLOT_NOW ? NULL : vd_facts_tree(r->facts, slot);

        if (tree != NULL && !vd_json_put_borrowed(document, p->slot_names[slot], tree))
            document = vd_json_free(document);
    }
    return document;
}

/* What the answers of tools hold, in out's place. */
static enum vd_code redact_answers(const struct vd_reason *r, unsigned at, struct vd_buf *out,
                                   struct vd_err *err)
{
    const struct vd_policy *p = vd_facts_policy(r->facts);
    enum vd_code rc = VD_OK;

    for (size_t s = 0; s < r->step_count; s++)
        for (size_t i = 0; i < r->steps[s].call_count && rc == VD_OK; i++) {
            const struct called *c = &r->steps[s].calls[i];
            cJSON *document = cJSON_CreateObject(), *tools = cJSON_CreateObject();
            struct vd_buf next;

            if (c->shown.tree == NULL) {
                vd_json_free(document);
                vd_json_free(tools);
                continue;
            }
            vd_buf_init(&next, out->len * 3 + 64);
            if (tools == NULL || !vd_json_put_borrowed(tools, c->tool->name, c->shown.tree))
                tools = vd_json_free(tools);
            rc = !vd_json_put(document, "tools", tools)
                     ? vd_err_nomem(err, "redaction")
                     : vd_redact_text(p, at, document, vd_buf_span(out), &next, err);
            vd_json_free(document);
            vd_buf_free(out);
            *out = next;
        }
    return rc;
}

enum vd_code vd_reason_redact_at(const struct vd_reason *r, unsigned at, struct vd_span text,
                                 struct vd_buf *out, struct vd_err *err)
{
    const struct vd_policy *p = vd_facts_policy(r->facts);
    cJSON *document;
    enum vd_code rc;

    vd_buf_init(out, text.len * 3 + 64);
    if (!vd_redacts(p, at))
        return vd_buf_add(out, text) == VD_OK ? VD_OK : vd_err_nomem(err, "redaction");
    document = all_bindings(r);
    rc = document == NULL ? vd_err_nomem(err, "redaction")
                          : vd_redact_text(p, at, document, text, out, err);
    vd_json_free(document);
    return rc == VD_OK ? redact_answers(r, at, out, err) : rc;
}

enum vd_code vd_reason_redact_text(const struct vd_reason *r, struct vd_span text,
                                   struct vd_buf *out, struct vd_err *err)
{
    return vd_reason_redact_at(r, VD_REDACT_AUDIT, text, out, err);
}

/* -- parts ------------------------------------------------------------------------------------------------------- */

static bool put_redacted(const struct vd_reason *r, cJSON *object, const char *key,
                         struct vd_span text)
{
    struct vd_buf out;
    bool ok = vd_reason_redact_text(r, text, &out, NULL) == VD_OK &&
              put_text(object, key, vd_buf_span(&out));

    vd_buf_free(&out);
    return ok;
}

/* Each step shows the messages that it added; those before it are in the steps before. */
static cJSON *messages_json(const struct vd_reason *r, size_t from, size_t to)
{
    cJSON *array = cJSON_CreateArray();

    for (size_t i = from; i < to && array != NULL; i++) {
        cJSON *m = cJSON_CreateObject();
        bool ok = put_word(m, "role", vd_role_name(r->messages[i].role)) &&
                  put_redacted(r, m, "text", r->messages[i].text);

        if (!vd_json_append(array, ok ? m : vd_json_free(m)))
            return vd_json_free(array);
    }
    return array;
}

/* Arguments that were allowed, as they are; those that were refused, as text: they may be anything. */
static bool put_arguments(const struct vd_reason *r, cJSON *object, const struct called *c)
{
    struct vd_buf text, out;
    cJSON *args = NULL;
    bool ok;

    if (c->args == NULL)
        return put_redacted(r, object, "args", c->said.arguments);
    vd_buf_init(&text, VD_TOOL_ARGS_MAX_BYTES * 8);
    ok = vd_json_write(&text, c->args) == VD_OK;
    if (ok && vd_reason_redact_text(r, vd_buf_span(&text), &out, NULL) == VD_OK) {
        ok = vd_json_parse(vd_buf_span(&out), &args, NULL) == VD_OK
                 ? vd_json_put(object, "args", args)
                 : put_text(object, "args", vd_buf_span(&out));
        vd_buf_free(&out);
    }
    vd_buf_free(&text);
    return ok;
}

/* The answer itself where it is short; always its length and hash, so that a copy of it can be recognised. */
static bool put_result(const struct vd_reason *r, cJSON *object, const struct called *c)
{
    struct vd_buf text;
    char hex[VD_SHA256_HEX_SIZE];
    struct vd_sha256 digest;
    bool ok;

    if (c->refused != NULL || !c->answered || c->failed != NULL)
        return vd_json_put(object, "result", cJSON_CreateNull()) &&
               vd_json_put(object, "result_sha256", cJSON_CreateNull()) &&
               put_int(object, "result_bytes", 0);
    ok = vd_reason_redact_text(r, c->shown.audit, &text, NULL) == VD_OK;
    digest = vd_sha256(vd_buf_span(&text));
    vd_sha256_hex(&digest, hex);
    ok = ok &&
         (text.len <= VD_TOOL_RECORD_MAX_BYTES
              ? put_text(object, "result", vd_buf_span(&text))
              : vd_json_put(object, "result", cJSON_CreateNull())) &&
         put_word(object, "result_sha256", hex) &&
         put_int(object, "result_bytes", (int64_t)text.len);
    vd_buf_free(&text);
    return ok;
}

static cJSON *calls_json(const struct vd_reason *r, size_t step)
{
    cJSON *array = cJSON_CreateArray();

    for (size_t i = 0; i < r->steps[step].call_count && array != NULL; i++) {
        const struct called *c = &r->steps[step].calls[i];
        const char *status = c->refused != NULL  ? "refused"
                             : !c->answered      ? "stopped"
                             : c->failed != NULL ? "failed"
                                                 : "answered";
        char name[48];
        cJSON *o = cJSON_CreateObject();
        bool ok;

        (void)snprintf(name, sizeof(name), "%zu.t%zu", step + 1, i);
        ok = put_word(o, "call", name) && put_text(o, "tool", c->said.name) &&
             put_arguments(r, o, c) && put_word(o, "status", status) &&
             put_word(o, "why", c->refused != NULL ? c->refused : c->failed) &&
             put_result(r, o, c) && vd_json_put(o, "cut", cJSON_CreateBool(c->shown.cut)) &&
             put_int(o, "ms", c->ms) &&
             vd_json_put(o, "from_journal", cJSON_CreateBool(c->from_journal));
        if (!vd_json_append(array, ok ? o : vd_json_free(o)))
            return vd_json_free(array);
    }
    return array;
}

static cJSON *step_json(const struct vd_reason *r, size_t i)
{
    const struct step *s = &r->steps[i];
    cJSON *o = cJSON_CreateObject();
    bool ok = put_int(o, "step", (int64_t)i + 1) &&
              vd_json_put(
                  o, "messages",
                  messages_json(r, i == 0 ? 0 : r->steps[i - 1].message_count, s->message_count)) &&
              put_word(o, "kind", s->answered ? kind_names[s->kind] : NULL);

    ok = ok && (s->answered ? put_redacted(r, o, "answer", s->answer)
                            : vd_json_put(o, "answer", cJSON_CreateNull()));
    ok = ok && put_int(o, "answer_bytes", (int64_t)s->answer_bytes) &&
         vd_json_put(o, "tools", calls_json(r, i)) && put_word(o, "unreadable", s->unreadable) &&
         put_word(o, "judged", s->was_judged ? vd_judged_name(s->judged) : NULL) &&
         vd_json_put(o, "rules", vd_rules_to_json(s->rules, s->rule_count)) &&
         put_word(o, "model", s->model) && put_word(o, "provider", s->provider) &&
         put_int(o, "input_tokens", s->input_tokens) &&
         put_int(o, "output_tokens", s->output_tokens) &&
         put_int(o, "cost_microusd", s->cost_microusd) && put_int(o, "model_ms", s->model_ms) &&
         vd_json_put(o, "from_journal", cJSON_CreateBool(s->from_journal));
    return ok ? o : vd_json_free(o);
}

static cJSON *cuts_json(const struct vd_reason *r)
{
    cJSON *array = cJSON_CreateArray();

    for (size_t i = 0; i < r->shown.cut_count && array != NULL; i++) {
        const struct vd_prompt_cut *c = &r->shown.cuts[i];
        cJSON *o = cJSON_CreateObject();
        bool ok = put_word(o, "path", c->path) && put_int(o, "kept", (int64_t)c->kept) &&
                  put_int(o, "of", (int64_t)c->of) &&
                  put_word(o, "unit", c->items ? "items" : "bytes");

        if (!vd_json_append(array, ok ? o : vd_json_free(o)))
            return vd_json_free(array);
    }
    return array;
}

/* What was shown, redacted once more for the audit: a copy, or borrowed where nothing is redacted. */
static bool put_shown(const struct vd_reason *r, cJSON *record)
{
    const struct vd_policy *p = vd_facts_policy(r->facts);
    cJSON *copy;
    size_t changed;

    if (!r->has_shown)
        return vd_json_put(record, "shown", cJSON_CreateNull());
    if (!vd_redacts(p, VD_REDACT_AUDIT))
        return vd_json_put_borrowed(record, "shown", r->shown.document);
    copy = vd_json_copy(r->shown.document);
    if (copy != NULL &&
        vd_redact(p, VD_REDACT_AUDIT, vd_buf_span(&r->redact_key), copy, &changed, NULL) != VD_OK)
        copy = vd_json_free(copy);
    return vd_json_put(record, "shown", copy);
}

enum vd_code vd_reason_record(const struct vd_reason *reason, cJSON **ret_record,
                              struct vd_err *err)
{
    const struct vd_outcome *o = &reason->outcome;
    cJSON *record = cJSON_CreateObject(), *steps = cJSON_CreateArray();
    bool ok = record != NULL && steps != NULL;

    for (size_t i = 0; i < reason->step_count && ok; i++)
        ok = vd_json_append(steps, step_json(reason, i));
    ok = vd_json_put(record, "steps", ok ? steps : vd_json_free(steps)) && ok;
    ok = ok && vd_json_put(record, "limits", vd_reserve_record(reason));
    ok = ok && put_shown(reason, record) && vd_json_put(record, "cuts", cuts_json(reason)) &&
         put_int(record, "redacted", (int64_t)reason->shown.redacted) &&
         put_word(record, "source", o->source) && put_word(record, "reason_text", o->reason_text) &&
         put_int(record, "journal_hits", o->usage.journal_hits) &&
         put_int(record, "cost_microusd", o->usage.cost_microusd) &&
         put_int(record, "cel_steps", (int64_t)vd_facts_steps(reason->facts));
    if (!ok) {
        vd_json_free(record);
        return vd_err_nomem(err, "audit record");
    }
    *ret_record = record;
    return VD_OK;
}
