/* reason/record.c - see reason.h: what happened, for the audit record. */
#include <stdio.h>
#include <string.h>

#include "json/members.h"
#include "policy/redact.h"
#include "reason/internal.h"

static const char *const kind_names[] = {"text", "tool", "cut", "refused", "empty"};

void vd_rules_write(struct vd_buf *out, const struct vd_rule_result *rules, size_t count)
{
    (void)vd_buf_add_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        vd_json_next(out);
        (void)vd_buf_add_char(out, '{');
        vd_json_word(out, "id", rules[i].id);
        vd_json_word(out, "verdict", vd_verdict_name(rules[i].verdict));
        vd_json_number(out, "headroom", rules[i].has_headroom, rules[i].headroom);
        vd_json_close(out, '}');
    }
    vd_json_close(out, ']');
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

static void fail(struct vd_buf *out, enum vd_code code)
{
    if (out->failed == VD_OK)
        out->failed = code;
}

/* A text as the audit may have it. */
static void redacted(const struct vd_reason *r, struct vd_buf *out, const char *key,
                     struct vd_span text)
{
    struct vd_buf clean;
    enum vd_code rc;

    if (text.ptr == NULL)
        text = VD_LIT("");
    if (!vd_redacts(vd_facts_policy(r->facts), VD_REDACT_AUDIT)) {
        vd_json_text(out, key, text);
        return;
    }
    rc = vd_reason_redact_text(r, text, &clean, NULL);
    if (rc == VD_OK)
        vd_json_text(out, key, clean.len > 0 ? vd_buf_span(&clean) : VD_LIT(""));
    else
        fail(out, rc);
    vd_buf_free(&clean);
}

/* Each step shows the messages that it added; those before it are in the steps before. */
static void write_messages(const struct vd_reason *r, size_t from, size_t to, struct vd_buf *out)
{
    bool redacts = vd_redacts(vd_facts_policy(r->facts), VD_REDACT_AUDIT);

    vd_json_open(out, "messages", '[');
    for (size_t i = from; i < to; i++) {
        vd_json_next(out);
        (void)vd_buf_add_char(out, '{');
        vd_json_word(out, "role", vd_role_name(r->messages[i].role));
        if (r->messages[i].json.len > 0 && !redacts) {
            vd_json_key(out, "text");
            (void)vd_buf_add(out, r->messages[i].json);
        } else {
            redacted(r, out, "text", r->messages[i].text);
        }
        vd_json_close(out, '}');
    }
    vd_json_close(out, ']');
}

/* Arguments that were allowed, as they are; those that were refused, as text: they may be anything. */
static void write_arguments(const struct vd_reason *r, const struct called *c, struct vd_buf *out)
{
    struct vd_buf text, clean;
    enum vd_code rc;

    if (c->args == NULL) {
        redacted(r, out, "args", c->said.arguments);
        return;
    }
    vd_buf_init(&text, VD_TOOL_ARGS_MAX_BYTES * 8);
    rc = vd_json_write(&text, c->args);
    if (rc == VD_OK) {
        rc = vd_reason_redact_text(r, vd_buf_span(&text), &clean, NULL);
        if (rc == VD_OK && vd_json_check(vd_buf_span(&clean), NULL) == VD_OK) {
            vd_json_key(out, "args");
            (void)vd_buf_add(out, vd_buf_span(&clean));
        } else if (rc == VD_OK) {
            vd_json_text(out, "args", vd_buf_span(&clean));
        }
        vd_buf_free(&clean);
    }
    if (rc != VD_OK)
        fail(out, rc);
    vd_buf_free(&text);
}

/* The answer itself where it is short; always its length and hash, so that a copy of it can be recognised. */
static void write_result(const struct vd_reason *r, const struct called *c, struct vd_buf *out)
{
    struct vd_buf text;
    char hex[VD_SHA256_HEX_SIZE];
    struct vd_sha256 digest;
    enum vd_code rc;

    if (c->refused != NULL || !c->answered || c->failed != NULL) {
        vd_json_null(out, "result");
        vd_json_null(out, "result_sha256");
        vd_json_integer(out, "result_bytes", 0);
        return;
    }
    rc = vd_reason_redact_text(r, c->shown.audit, &text, NULL);
    if (rc != VD_OK)
        fail(out, rc);
    digest = vd_sha256(vd_buf_span(&text));
    vd_sha256_hex(&digest, hex);
    if (text.len > VD_TOOL_RECORD_MAX_BYTES)
        vd_json_null(out, "result");
    else
        vd_json_text(out, "result", text.len > 0 ? vd_buf_span(&text) : VD_LIT(""));
    vd_json_word(out, "result_sha256", hex);
    vd_json_integer(out, "result_bytes", (int64_t)text.len);
    vd_buf_free(&text);
}

static void write_calls(const struct vd_reason *r, size_t step, struct vd_buf *out)
{
    vd_json_open(out, "tools", '[');
    for (size_t i = 0; i < r->steps[step].call_count; i++) {
        const struct called *c = &r->steps[step].calls[i];
        const char *status = c->refused != NULL  ? "refused"
                             : !c->answered      ? "stopped"
                             : c->failed != NULL ? "failed"
                                                 : "answered";
        char name[48];

        (void)snprintf(name, sizeof(name), "%zu.t%zu", step + 1, i);
        vd_json_next(out);
        (void)vd_buf_add_char(out, '{');
        vd_json_word(out, "call", name);
        vd_json_text(out, "tool", c->said.name.ptr != NULL ? c->said.name : VD_LIT(""));
        write_arguments(r, c, out);
        vd_json_word(out, "status", status);
        vd_json_word(out, "why", c->refused != NULL ? c->refused : c->failed);
        write_result(r, c, out);
        vd_json_boolean(out, "cut", c->shown.cut);
        vd_json_integer(out, "ms", c->ms);
        vd_json_boolean(out, "from_journal", c->from_journal);
        vd_json_close(out, '}');
    }
    vd_json_close(out, ']');
}

static void write_step(const struct vd_reason *r, size_t i, struct vd_buf *out)
{
    const struct step *s = &r->steps[i];

    vd_json_next(out);
    (void)vd_buf_add_char(out, '{');
    vd_json_integer(out, "step", (int64_t)i + 1);
    write_messages(r, i == 0 ? 0 : r->steps[i - 1].message_count, s->message_count, out);
    vd_json_word(out, "kind", s->answered ? kind_names[s->kind] : NULL);
    if (s->answered)
        redacted(r, out, "answer", s->answer);
    else
        vd_json_null(out, "answer");
    vd_json_integer(out, "answer_bytes", (int64_t)s->answer_bytes);
    write_calls(r, i, out);
    vd_json_word(out, "unreadable", s->unreadable);
    vd_json_word(out, "judged", s->was_judged ? vd_judged_name(s->judged) : NULL);
    vd_json_key(out, "rules");
    vd_rules_write(out, s->rules, s->rule_count);
    vd_json_word(out, "model", s->model);
    vd_json_word(out, "provider", s->provider);
    vd_json_integer(out, "input_tokens", s->input_tokens);
    vd_json_integer(out, "output_tokens", s->output_tokens);
    vd_json_integer(out, "cost_microusd", s->cost_microusd);
    vd_json_integer(out, "model_ms", s->model_ms);
    vd_json_boolean(out, "from_journal", s->from_journal);
    vd_json_close(out, '}');
}

static void write_cuts(const struct vd_reason *r, struct vd_buf *out)
{
    vd_json_open(out, "cuts", '[');
    for (size_t i = 0; i < r->shown.cut_count; i++) {
        const struct vd_prompt_cut *c = &r->shown.cuts[i];

        vd_json_next(out);
        (void)vd_buf_add_char(out, '{');
        vd_json_word(out, "path", c->path);
        vd_json_integer(out, "kept", (int64_t)c->kept);
        vd_json_integer(out, "of", (int64_t)c->of);
        vd_json_word(out, "unit", c->items ? "items" : "bytes");
        vd_json_close(out, '}');
    }
    vd_json_close(out, ']');
}

/* What was shown, redacted once more for the audit. */
static void write_shown(const struct vd_reason *r, struct vd_buf *out)
{
    const struct vd_policy *p = vd_facts_policy(r->facts);
    cJSON *copy;
    size_t changed;
    enum vd_code rc = VD_E_NOMEM;

    if (!r->has_shown || !vd_redacts(p, VD_REDACT_AUDIT)) {
        vd_json_tree(out, "shown", r->has_shown ? r->shown.document : NULL);
        return;
    }
    copy = vd_json_copy(r->shown.document);
    if (copy != NULL)
        rc = vd_redact(p, VD_REDACT_AUDIT, vd_buf_span(&r->redact_key), copy, &changed, NULL);
    if (rc == VD_OK)
        vd_json_tree(out, "shown", copy);
    else
        fail(out, rc);
    vd_json_free(copy);
}

enum vd_code vd_reason_record(const struct vd_reason *reason, struct vd_buf *out)
{
    const struct vd_outcome *o = &reason->outcome;

    (void)vd_buf_add_char(out, '{');
    vd_json_open(out, "steps", '[');
    for (size_t i = 0; i < reason->step_count; i++)
        write_step(reason, i, out);
    vd_json_close(out, ']');
    vd_reserve_record(reason, out);
    write_shown(reason, out);
    write_cuts(reason, out);
    vd_json_integer(out, "redacted", (int64_t)reason->shown.redacted);
    vd_json_word(out, "source", o->source);
    vd_json_word(out, "reason_text", o->reason_text);
    vd_json_integer(out, "journal_hits", o->usage.journal_hits);
    vd_json_integer(out, "cost_microusd", o->usage.cost_microusd);
    vd_json_integer(out, "cel_steps", (int64_t)vd_facts_steps(reason->facts));
    vd_json_close(out, '}');
    return out->failed;
}

/* -- what was refused ---------------------------------------------------------------------------------------------- */

static void each_refusing(const struct vd_rule_result *rules, size_t count, vd_rule_fn *fn,
                          void *arg)
{
    for (size_t i = 0; i < count; i++)
        if (rules[i].verdict == VD_FAIL || rules[i].verdict == VD_ERROR_VERDICT)
            fn(arg, &rules[i]);
}

void vd_reason_each_failure(const struct vd_reason *reason, vd_rule_fn *fn, void *arg)
{
    for (size_t i = 0; i < reason->step_count; i++)
        each_refusing(reason->steps[i].rules, reason->steps[i].rule_count, fn, arg);
    if (reason->step_count == 0) /* without a model there is only the outcome's own */
        each_refusing(reason->outcome.rules, reason->outcome.rule_count, fn, arg);
}
