/* commands/trace.c - see trace.h. */
#include "commands/trace.h"

#include <stdio.h>
#include <string.h>

#include "json/json.h"

#define WIDTH 100 /* columns of wrapped text */

struct trace {
    bool colour;
    bool whole; /* what was shown, and rules that passed, too */
};

static const char *paint(const struct trace *t, const char *code)
{
    return t->colour ? code : "";
}

#define RED   "\033[31m"
#define GREEN "\033[32m"
#define BLUE  "\033[36m"
#define DIM   "\033[2m"
#define BOLD  "\033[1m"
#define PLAIN "\033[0m"

/* Text from outside on a terminal: nothing that moves the cursor or changes colours. */
static void put_clean(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        (void)putchar(c < 0x20 || c == 0x7f ? ' ' : c);
    }
}

static void print_json(const cJSON *node, size_t max)
{
    struct vd_buf text;

    vd_buf_init(&text, 1u << 20);
    (void)vd_json_write(&text, node);
    put_clean(vd_span_sub(vd_buf_span(&text), 0, max));
    if (text.len > max)
        printf("...");
    vd_buf_free(&text);
}

static int64_t number(const cJSON *object, const char *key)
{
    int64_t v = 0;

    (void)vd_json_int(vd_json_get(object, key), &v);
    return v;
}

static void line(const struct trace *t, const char *colour, const char *label)
{
    printf("  %s%-10s%s ", paint(t, colour), label, paint(t, PLAIN));
}

static void print_members(const struct trace *t, const cJSON *shown)
{
    const cJSON *binding;

    cJSON_ArrayForEach(binding, shown)
    {
        line(t, DIM, "shown");
        printf("%s = ", binding->string);
        print_json(binding, 600);
        printf("\n");
    }
}

static void print_rules(const struct trace *t, const cJSON *rules)
{
    const cJSON *rule;

    cJSON_ArrayForEach(rule, rules)
    {
        struct vd_span verdict = vd_json_get_string(rule, "verdict"),
                       id = vd_json_get_string(rule, "id");
        bool good = vd_span_eq_c(verdict, "pass");
        double headroom;

        if (good && !t->whole)
            continue;
        line(t, good ? GREEN : RED,
             good                               ? "  pass"
             : vd_span_eq_c(verdict, "clamped") ? "  clamped"
                                                : "  FAIL");
        put_clean(id);
        if (vd_json_double(vd_json_get(rule, "headroom"), &headroom))
            printf("%s  headroom %g%s", paint(t, DIM), headroom, paint(t, PLAIN));
        printf("\n");
    }
}

/* What was said to the model after its proposal was refused: the last user message of the next step. */
static void print_told(const struct trace *t, const cJSON *step)
{
    const cJSON *messages = vd_json_get(step, "messages"), *m, *last = NULL;
    struct vd_span text;

    cJSON_ArrayForEach(m, messages) if (vd_span_eq_c(vd_json_get_string(m, "role"), "user")) last =
        m;
    text = vd_json_get_string(last, "text");
    while (text.len > 0) {
        size_t end = vd_span_find(text, '\n');

        if (end > 0) {
            line(t, RED, "told");
            put_clean(vd_span_sub(text, 0, end < 3 * WIDTH ? end : 3 * WIDTH));
            printf("\n");
        }
        text = vd_span_sub(text, end + 1, text.len);
    }
}

/* What the model looked up, and what it was told. */
static void print_tools(const struct trace *t, const cJSON *calls)
{
    const cJSON *call;

    cJSON_ArrayForEach(call, calls)
    {
        bool answered = vd_span_eq_c(vd_json_get_string(call, "status"), "answered");

        line(t, answered ? BLUE : RED, "tool");
        put_clean(vd_json_get_string(call, "tool"));
        printf(" ");
        print_json(vd_json_get(call, "args"), 400);
        printf(answered ? " -> " : ": ");
        put_clean(vd_span_sub(vd_json_get_string(call, answered ? "result" : "why"), 0, 600));
        printf("%s  (%lld ms)%s\n", paint(t, DIM), (long long)number(call, "ms"), paint(t, PLAIN));
    }
}

static void print_step(const struct trace *t, const cJSON *step, bool first)
{
    const cJSON *answer = vd_json_get(step, "answer");

    if (!first)
        print_told(t, step);
    if (vd_json_kind(answer) == VD_JSON_STRING) {
        line(t, BLUE, "model");
        put_clean(vd_span_sub(vd_json_string(answer), 0, 800));
        printf("%s  (%lld ms, %lld + %lld tokens)%s\n", paint(t, DIM),
               (long long)number(step, "model_ms"), (long long)number(step, "input_tokens"),
               (long long)number(step, "output_tokens"), paint(t, PLAIN));
    }
    if (vd_json_kind(vd_json_get(step, "unreadable")) == VD_JSON_STRING) {
        line(t, RED, "  FAIL");
        put_clean(vd_json_get_string(step, "unreadable"));
        printf("\n");
    }
    print_tools(t, vd_json_get(step, "tools"));
    print_rules(t, vd_json_get(step, "rules"));
}

static void print_limits(const struct trace *t, const cJSON *limits)
{
    const cJSON *limit;

    cJSON_ArrayForEach(limit, limits)
    {
        line(t, DIM, "limit");
        put_clean(vd_json_get_string(limit, "id"));
        printf(" of ");
        put_clean(vd_json_get_string(limit, "key"));
        printf(": %lld of %lld used with this decision\n", (long long)number(limit, "used"),
               (long long)number(limit, "max"));
    }
}

static void print_outcome(const struct trace *t, const cJSON *decision)
{
    struct vd_span status = vd_json_get_string(decision, "status"),
                   why = vd_json_get_string(decision, "degraded_reason"),
                   by = vd_json_get_string(decision, "decided_by"),
                   rationale = vd_json_get_string(decision, "rationale");

    line(t, BOLD, "outcome");
    printf("%s", paint(t, BOLD));
    put_clean(status);
    printf(": ");
    put_clean(vd_json_get_string(decision, "action"));
    printf(" ");
    print_json(vd_json_get(decision, "params"), 400);
    printf("%s", paint(t, PLAIN));
    if (by.len > 0) {
        printf("  by ");
        put_clean(by);
    }
    if (why.len > 0) {
        printf(", because ");
        put_clean(why);
    }
    printf("\n");
    if (rationale.len > 0) {
        line(t, DIM, "because");
        put_clean(rationale);
        printf("\n");
    }
}

/* Notes that the model was shown. */
static void print_notes(const struct trace *t, const cJSON *shown)
{
    const cJSON *note;

    cJSON_ArrayForEach(note, vd_json_get(shown, "memory"))
    {
        line(t, DIM, "remembers");
        put_clean(vd_json_get_string(note, "text"));
        printf("\n");
    }
}

/* "round 1 -> 2" */
static void print_state(const struct trace *t, const cJSON *state)
{
    const cJSON *before = vd_json_get(state, "before"), *after = vd_json_get(state, "after"),
                *field;
    const char *separator = "";

    if (after == NULL || vd_json_equal(before, after))
        return;
    line(t, DIM, "state");
    cJSON_ArrayForEach(field, after)
    {
        const cJSON *old = vd_json_get(before, field->string);

        if (vd_json_equal(old, field))
            continue;
        printf("%s%s ", separator, field->string);
        print_json(old, 80);
        printf(" -> ");
        print_json(field, 80);
        separator = ", ";
    }
    printf("\n");
}

enum vd_code vd_trace_print(struct vd_span audit_json, bool whole, bool colour, struct vd_err *err)
{
    struct trace t = {colour, whole};
    cJSON *audit = NULL;
    const cJSON *decision, *reasoning, *step;
    enum vd_code rc = vd_json_parse(audit_json, &audit, err);
    bool first = true;

    if (rc != VD_OK)
        return rc;
    decision = vd_json_get(audit, "decision");
    reasoning = vd_json_get(audit, "reasoning");
    if (decision == NULL || reasoning == NULL) {
        (void)vd_json_free(audit);
        return vd_err_set(err, VD_E_INPUT, false, "no audit record");
    }
    line(&t, BOLD, "policy");
    put_clean(vd_json_get_string(decision, "policy_id"));
    printf(" version %lld, key ", (long long)number(decision, "policy_version"));
    put_clean(vd_json_get_string(decision, "key"));
    printf("\n");
    if (whole)
        print_members(&t, vd_json_get(reasoning, "shown"));
    print_notes(&t, vd_json_get(reasoning, "shown"));
    cJSON_ArrayForEach(step, vd_json_get(reasoning, "steps"))
    {
        print_step(&t, step, first);
        first = false;
    }
    if (first)
        print_rules(&t, vd_json_get(decision, "rules"));
    print_limits(&t, vd_json_get(decision, "limits"));
    print_outcome(&t, decision);
    print_state(&t, vd_json_get(vd_json_get(audit, "changes"), "state"));
    (void)vd_json_free(audit);
    return VD_OK;
}

void vd_trace_print_dead_letter(const struct vd_output *letter)
{
    printf("  dead letter\n");
    for (size_t i = 0; i < letter->header_count; i++) {
        const struct vd_header *h = &letter->headers[i];

        if (!vd_span_starts(h->name, VD_LIT("verdict-")))
            continue;
        printf("  %-20.*s ", (int)h->name.len, h->name.ptr);
        put_clean(h->value);
        printf("\n");
    }
}
