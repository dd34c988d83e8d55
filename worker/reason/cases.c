/* reason/cases.c - see cases.h. */
#include "reason/cases.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/diag.h"
#include "base/file.h"
#include "base/limits.h"
#include "reason/case_like.h"
#include "reason/decide.h"
#include "reason/internal.h"

#define DEFAULT_NOW "2026-01-15T12:00:00Z"

/* What one policy's cases must show: one point each. */
struct point {
    const void *
        what; /* a rule's name, an action, a shortcut's or escalation's name, or the policy for its fallback */
    enum {
        RULE_PASSES,
        RULE_FAILS,
        ACTION_CHOSEN,
        SHORTCUT_TAKEN,
        ESCALATED,
        FALLBACK_TAKEN,
        TOOL_CALLED
    } kind;
    const char *name, *of;
    bool seen;
};

struct run {
    const struct vd_policy *policy;
    struct vd_buf *out;
    struct point *points;
    size_t point_count;
    const char *name; /* of the case */
    bool failed;      /* the case */
};

char *vd_cases_path(const char *policy_path)
{
    size_t n = strlen(policy_path);
    struct vd_buf path;

    if (n > 4 && strcmp(policy_path + n - 4, ".cfg") == 0)
        n -= 4;
    vd_buf_init(&path, n + 32);
    (void)vd_buf_add(&path, (struct vd_span){policy_path, n});
    (void)vd_buf_add_c(&path, ".cases.json");
    return vd_buf_take(&path, NULL);
}

/* -- coverage ---------------------------------------------------------------------------------------------------- */

static void add_point(struct run *run, struct point point)
{
    run->points[run->point_count++] = point;
}

static enum vd_code make_points(struct run *run, struct vd_err *err)
{
    const struct vd_policy *p = run->policy;
    size_t n = 1 + p->action_count + p->shortcut_count + p->escalate_count + p->tool_count +
               2 * p->limit_count;

    for (size_t a = 0; a < p->action_count; a++)
        n += 2 * p->actions[a].rule_count;
    run->points = vd_alloc_array(n, sizeof(*run->points));
    if (run->points == NULL)
        return vd_err_nomem(err, "cases");
    for (size_t a = 0; a < p->action_count; a++) {
        const struct vd_action *action = &p->actions[a];

        add_point(run, (struct point){.what = action, .kind = ACTION_CHOSEN, .name = action->name});
        for (size_t r = 0; r < action->rule_count; r++) {
            const char *name = action->rules[r].name;

            add_point(run,
                      (struct point){
                          .what = name, .kind = RULE_PASSES, .name = name, .of = action->name});
            add_point(run, (struct point){
                               .what = name, .kind = RULE_FAILS, .name = name, .of = action->name});
        }
    }
    for (size_t i = 0; i < p->limit_count; i++) {
        const char *id = p->limits[i].id;

        add_point(run, (struct point){.what = id, .kind = RULE_PASSES, .name = id});
        add_point(run, (struct point){.what = id, .kind = RULE_FAILS, .name = id});
    }
    for (size_t i = 0; i < p->shortcut_count; i++)
        add_point(run, (struct point){.what = p->shortcuts[i].name,
                                      .kind = SHORTCUT_TAKEN,
                                      .name = p->shortcuts[i].name});
    for (size_t i = 0; i < p->escalate_count; i++)
        add_point(run, (struct point){.what = p->escalates[i].name,
                                      .kind = ESCALATED,
                                      .name = p->escalates[i].name});
    for (size_t i = 0; i < p->tool_count; i++)
        add_point(run, (struct point){.what = &p->tools[i],
                                      .kind = TOOL_CALLED,
                                      .name = p->tools[i].name,
                                      .of = "tools"});
    add_point(run, (struct point){.what = p, .kind = FALLBACK_TAKEN, .name = "fallback"});
    return VD_OK;
}

static void see(struct run *run, const void *what, int kind)
{
    for (size_t i = 0; i < run->point_count; i++)
        if (run->points[i].what == what && (int)run->points[i].kind == kind)
            run->points[i].seen = true;
}

/* A verdict's id is the rule's own name, the same pointer: rules of one name in two actions stay apart. */
static void see_rules(struct run *run, const struct vd_rule_result *rules, size_t count)
{
    for (size_t i = 0; i < count; i++)
        see(run, rules[i].id,
            rules[i].verdict == VD_PASS || rules[i].verdict == VD_CLAMPED ? RULE_PASSES
                                                                          : RULE_FAILS);
}

static void see_outcome(struct run *run, const struct vd_reason *reason)
{
    const struct vd_outcome *o = vd_reason_outcome(reason);

    for (size_t i = 0; i < reason->step_count; i++) {
        const struct step *s = &reason->steps[i];

        see_rules(run, s->rules, s->rule_count);
        for (size_t k = 0; k < s->call_count; k++)
            if (s->calls[k].answered && s->calls[k].failed == NULL)
                see(run, s->calls[k].tool, TOOL_CALLED);
    }
    see_rules(run, o->rules, o->rule_count);
    if (o->status != VD_ESCALATED)
        see(run, o->action, ACTION_CHOSEN);
    if (o->status == VD_FALLBACK)
        see(run, run->policy, FALLBACK_TAKEN);
    if (o->decided_by == VD_BY_SHORTCUT)
        see(run, o->source, SHORTCUT_TAKEN);
    if (o->status == VD_ESCALATED)
        see(run, o->source, ESCALATED);
}

static void report_points(struct run *run, struct vd_cases_report *ret)
{
    static const char *const words[] = {
        [RULE_PASSES] = "never passed",       [RULE_FAILS] = "never failed",
        [ACTION_CHOSEN] = "was never chosen", [SHORTCUT_TAKEN] = "was never taken",
        [ESCALATED] = "never escalated",      [FALLBACK_TAKEN] = "was never taken",
        [TOOL_CALLED] = "never answered",
    };

    for (size_t i = 0; i < run->point_count; i++) {
        const struct point *p = &run->points[i];

        ret->points++;
        ret->covered += p->seen ? 1 : 0;
        if (!p->seen)
            (void)vd_buf_addf(run->out, "  not covered: %s%s%s %s\n", p->of != NULL ? p->of : "",
                              p->of != NULL ? "." : "", p->name, words[p->kind]);
    }
}

/* -- expectations ------------------------------------------------------------------------------------------------ */

static void fail(struct run *run)
{
    if (!run->failed)
        (void)vd_buf_addf(run->out, "  FAIL %s\n", run->name);
    run->failed = true;
}

static void differ(struct run *run, const char *what, struct vd_span expected, struct vd_span got)
{
    fail(run);
    (void)vd_buf_addf(run->out, "    %s: expected %.*s, got %.*s\n", what,
                      (int)(expected.len > 400 ? 400 : expected.len), expected.ptr,
                      (int)(got.len > 400 ? 400 : got.len), got.ptr);
}

static void expect_word(struct run *run, const cJSON *expect, const char *what, const char *got)
{
    const cJSON *node = vd_json_get(expect, what);
    struct vd_span wanted;

    if (node == NULL)
        return;
    wanted = vd_json_kind(node) == VD_JSON_STRING ? vd_json_string(node) : VD_LIT("null");
    if (!vd_span_eq_c(wanted, got != NULL ? got : "null"))
        differ(run, what, wanted, vd_span_of(got != NULL ? got : "null"));
}

static void expect_tree(struct run *run, const cJSON *expect, const char *what, const cJSON *got)
{
    const cJSON *wanted = vd_json_get(expect, what);
    struct vd_buf left, right;

    if (wanted == NULL || (got != NULL && vd_json_equal(wanted, got)) ||
        (got == NULL && vd_json_kind(wanted) == VD_JSON_NULL))
        return;
    vd_buf_init(&left, VD_CONF_MAX_BYTES);
    vd_buf_init(&right, VD_CONF_MAX_BYTES);
    (void)vd_json_write_canonical(&left, wanted);
    (void)(got != NULL ? vd_json_write_canonical(&right, got) : vd_buf_add_c(&right, "null"));
    differ(run, what, vd_buf_span(&left), vd_buf_span(&right));
    vd_buf_free(&left);
    vd_buf_free(&right);
}

/* The members that are expected, whatever others there are. */
static void expect_members(struct run *run, const cJSON *expect, const char *what, const cJSON *got)
{
    const cJSON *wanted = vd_json_get(expect, what);
    cJSON *part = vd_json_copy(got);
    cJSON *member = part == NULL || vd_json_kind(wanted) != VD_JSON_OBJECT ? NULL : part->child;

    while (member != NULL) {
        cJSON *next = member->next;

        if (vd_json_get(wanted, member->string) == NULL)
            vd_json_free(cJSON_DetachItemViaPointer(part, member));
        member = next;
    }
    expect_tree(run, expect, what, part);
    vd_json_free(part);
}

/* null: no note; a string: its text; an object: members of it. */
static void expect_note(struct run *run, const cJSON *expect, const cJSON *note)
{
    if (vd_json_kind(vd_json_get(expect, "note")) == VD_JSON_STRING && note != NULL)
        expect_tree(run, expect, "note", vd_json_get(note, "text"));
    else
        expect_members(run, expect, "note", note);
}

static bool verdict_seen(const struct vd_rule_result *rules, size_t count, const char *id,
                         struct vd_span verdict, const char **ret_other)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rules[i].id, id) != 0)
            continue;
        if (vd_span_eq_c(verdict, vd_verdict_name(rules[i].verdict)))
            return true;
        *ret_other = vd_verdict_name(rules[i].verdict);
    }
    return false;
}

static void expect_rules(struct run *run, const cJSON *expect, const struct vd_reason *reason)
{
    const struct vd_outcome *o = vd_reason_outcome(reason);
    const cJSON *rule;

    cJSON_ArrayForEach(rule, vd_json_get(expect, "rules"))
    {
        struct vd_span wanted = vd_json_string(rule);
        const char *other = "not judged";
        bool seen = verdict_seen(o->rules, o->rule_count, rule->string, wanted, &other);

        for (size_t i = 0; i < reason->step_count && !seen; i++)
            seen = verdict_seen(reason->steps[i].rules, reason->steps[i].rule_count, rule->string,
                                wanted, &other);
        if (!seen)
            differ(run, rule->string, wanted, vd_span_of(other));
    }
}

/* Why it came out so: what a person needs when a case fails. */
static void explain(struct run *run, const struct vd_reason *reason)
{
    const struct vd_outcome *o = vd_reason_outcome(reason);

    if (o->degraded_reason != NULL)
        (void)vd_buf_addf(run->out, "    degraded_reason: %s\n", o->degraded_reason);
    if (o->reason_text != NULL)
        (void)vd_buf_addf(run->out, "    because: %s\n", o->reason_text);
    for (size_t i = 0; i < reason->step_count; i++) {
        const struct step *s = &reason->steps[i];

        if (s->unreadable != NULL)
            (void)vd_buf_addf(run->out, "    answer %zu: %s\n", i + 1, s->unreadable);
        for (size_t k = 0; k < s->call_count; k++)
            if (s->calls[k].refused != NULL || s->calls[k].failed != NULL)
                (void)vd_buf_addf(run->out, "    answer %zu: tool %.*s: %s\n", i + 1,
                                  (int)s->calls[k].said.name.len, s->calls[k].said.name.ptr,
                                  s->calls[k].refused != NULL ? s->calls[k].refused
                                                              : s->calls[k].failed);
        for (size_t k = 0; k < s->rule_count; k++)
            if (s->rules[k].verdict == VD_FAIL || s->rules[k].verdict == VD_ERROR_VERDICT)
                (void)vd_buf_addf(run->out, "    answer %zu: %s %s: %s%s%s\n", i + 1,
                                  s->rules[k].id, vd_verdict_name(s->rules[k].verdict),
                                  s->rules[k].why, s->rules[k].detail != NULL ? ": " : "",
                                  s->rules[k].detail != NULL ? s->rules[k].detail : "");
    }
}

static void expect_count(struct run *run, const cJSON *expect, const char *what, int64_t got)
{
    int64_t wanted;

    if (!vd_json_int(vd_json_get(expect, what), &wanted) || wanted == got)
        return;
    fail(run);
    (void)vd_buf_addf(run->out, "    %s: expected %lld, got %lld\n", what, (long long)wanted,
                      (long long)got);
}

static void expect_outcome(struct run *run, const cJSON *expect, const struct vd_decide *d)
{
    const struct vd_outcome *o = vd_reason_outcome(d->reason);

    expect_word(run, expect, "status", vd_status_name(o->status));
    expect_word(run, expect, "action", o->action != NULL ? o->action->name : NULL);
    expect_word(run, expect, "decided_by", vd_decided_by_name(o->decided_by));
    expect_word(run, expect, "degraded_reason", o->degraded_reason);
    expect_word(run, expect, "source", o->source);
    expect_tree(run, expect, "params", o->params);
    expect_rules(run, expect, d->reason);
    expect_members(run, expect, "state", d->changes.after);
    expect_note(run, expect, d->changes.note);
    if (vd_json_get(expect, "key") != NULL &&
        !vd_span_eq(d->key, vd_json_get_string(expect, "key")))
        differ(run, "key", vd_json_get_string(expect, "key"), d->key);
    expect_count(run, expect, "model_calls", o->usage.model_calls);
    expect_count(run, expect, "tool_calls", o->usage.tool_calls);
    if (run->failed)
        explain(run, d->reason);
}

/* -- running ----------------------------------------------------------------------------------------------------- */

static bool known_members(struct run *run, const cJSON *object, const char *const *names,
                          const char *what)
{
    bool ok = true;
    const cJSON *member;

    cJSON_ArrayForEach(member, object)
    {
        bool known = false;
        const char *like;

        for (size_t i = 0; names[i] != NULL; i++)
            known = known || strcmp(names[i], member->string) == 0;
        if (known)
            continue;
        ok = false;
        fail(run);
        like = vd_closest(member->string, names);
        (void)vd_buf_addf(run->out, "    unknown name \"%.40s\" in %s%s%s\n", member->string, what,
                          like != NULL ? ", write " : "", like != NULL ? like : "");
    }
    return ok;
}

/* The names of limits, and whole numbers. */
static bool limits_known(struct run *run, const cJSON *limits)
{
    const char *names[VD_POLICY_MAX_NAMES + 1] = {NULL};
    const cJSON *member;
    int64_t used;

    for (size_t i = 0; i < run->policy->limit_count; i++)
        names[i] = run->policy->limits[i].name;
    cJSON_ArrayForEach(member, limits)
    {
        if (vd_json_int(member, &used) && used >= 0)
            continue;
        fail(run);
        (void)vd_buf_addf(run->out, "    limits.%.40s: what others use is a whole number\n",
                          member->string != NULL ? member->string : "");
        return false;
    }
    return known_members(run, limits, names, "limits");
}

static bool well_formed(struct run *run, const cJSON *one)
{
    static const char *const names[] = {"name",   "event", "context", "state",  "memory", "tools",
                                        "limits", "now",   "model",   "expect", NULL};
    static const char *const expects[] = {
        "status",          "action", "params", "rules", "decided_by",
        "degraded_reason", "source", "key",    "stage", "model_calls",
        "tool_calls",      "state",  "note",   NULL};
    const cJSON *expect = vd_json_get(one, "expect"), *model = vd_json_get(one, "model");

    if (vd_json_kind(one) != VD_JSON_OBJECT || vd_json_get(one, "event") == NULL ||
        expect == NULL || vd_json_kind(expect) != VD_JSON_OBJECT ||
        vd_json_get_string(expect, "status").len == 0 ||
        (model != NULL && vd_json_kind(model) != VD_JSON_ARRAY)) {
        fail(run);
        (void)vd_buf_add_c(run->out, "    a case is {\"name\", \"event\", \"context\", \"model\": "
                                     "[...], \"expect\": {\"status\"}}\n");
        return false;
    }
    return known_members(run, one, names, "the case") &&
           limits_known(run, vd_json_get(one, "limits")) &&
           known_members(run, expect, expects, "expect");
}

static enum vd_code run_case(struct run *run, const cJSON *one, struct vd_err *err)
{
    struct vd_decide_input input = {.policy = run->policy,
                                    .event = vd_json_get(one, "event"),
                                    .context = vd_json_get(one, "context"),
                                    .state = vd_json_get(one, "state"),
                                    .memory = vd_json_get(one, "memory"),
                                    .answers = vd_json_get(one, "model"),
                                    .tools = vd_json_get(one, "tools"),
                                    .limits = vd_json_get(one, "limits")};
    const cJSON *expect = vd_json_get(one, "expect");
    struct vd_span now = vd_json_get_string(one, "now");
    struct vd_decide d;
    struct vd_err why = {0};
    enum vd_code rc;

    if (!vd_rfc3339_parse(now.len > 0 ? now : VD_LIT(DEFAULT_NOW), &input.now_ms)) {
        fail(run);
        (void)vd_buf_add_c(run->out, "    now is not RFC 3339\n");
        return VD_OK;
    }
    rc = vd_decide(&input, &d, &why);
    if (rc == VD_E_CONFIG) {
        fail(run);
        (void)vd_buf_addf(run->out, "    %s\n", why.msg);
        rc = VD_OK;
    } else if (rc == VD_OK && d.failed_stage != NULL) {
        expect_word(run, expect, "status", "dead_letter");
        expect_word(run, expect, "stage", d.failed_stage);
        if (run->failed)
            (void)vd_buf_addf(run->out, "    because: %s: %s\n", d.failed_stage, why.msg);
    } else if (rc == VD_OK && !d.matched) {
        expect_word(run, expect, "status", "skip");
    } else if (rc == VD_OK) {
        expect_outcome(run, expect, &d);
        see_outcome(run, d.reason);
    } else if (err != NULL) {
        *err = why;
    }
    vd_decide_fini(&d);
    return rc;
}

/* A case that cannot be written out fails; the others run. */
static enum vd_code write_out(struct run *run, const cJSON *cases, cJSON *one, bool *ret_written,
                              struct vd_err *err)
{
    struct vd_err why = {0};
    enum vd_code rc =
        vd_json_kind(one) == VD_JSON_OBJECT ? vd_case_write_out(cases, one, &why) : VD_OK;

    *ret_written = rc == VD_OK;
    if (rc == VD_E_CONFIG) {
        fail(run);
        (void)vd_buf_addf(run->out, "    %s\n", why.msg);
        return VD_OK;
    }
    if (rc != VD_OK && err != NULL)
        *err = why;
    return rc;
}

static enum vd_code run_all(struct run *run, const cJSON *cases, struct vd_cases_report *ret,
                            struct vd_err *err)
{
    cJSON *one;

    cJSON_ArrayForEach(one, cases)
    {
        struct vd_span name = vd_json_get_string(one, "name");
        bool written = false;
        enum vd_code rc;
        char *copy = vd_strndup(name.len > 0 ? name : VD_LIT("(a case without a name)"));

        if (copy == NULL)
            return vd_err_nomem(err, "cases");
        run->name = copy;
        run->failed = false;
        ret->cases++;
        rc = write_out(run, cases, one, &written, err);
        if (rc == VD_OK && written && well_formed(run, one))
            rc = run_case(run, one, err);
        ret->failed += run->failed ? 1 : 0;
        run->name = NULL;
        vd_free(copy);
        if (rc != VD_OK)
            return rc;
    }
    return VD_OK;
}

enum vd_code vd_cases_run(const struct vd_policy *policy, const char *path, struct vd_buf *out,
                          struct vd_cases_report *ret, struct vd_err *err)
{
    struct run run = {.policy = policy, .out = out};
    struct vd_cases_report report = {0};
    struct vd_buf text;
    cJSON *cases = NULL;
    enum vd_code rc;

    vd_buf_init(&text, VD_JSON_MAX_BYTES);
    rc = vd_file_read(path, &text, err);
    if (rc == VD_OK) {
        rc = vd_json_parse(vd_buf_span(&text), &cases, err);
        if (rc == VD_E_INPUT || rc == VD_E_LIMIT) {
            (void)vd_err_wrap(err, VD_E_CONFIG, "%s", path);
            rc = VD_E_CONFIG;
        }
    }
    if (rc == VD_OK && vd_json_kind(cases) != VD_JSON_ARRAY)
        rc = vd_err_set(err, VD_E_CONFIG, false, "%s: must be a list of cases", path);
    if (rc == VD_OK)
        rc = make_points(&run, err);
    if (rc == VD_OK)
        rc = run_all(&run, cases, &report, err);
    if (rc == VD_OK) {
        report_points(&run, &report);
        *ret = report;
    }
    vd_free(run.points);
    vd_json_free(cases);
    vd_buf_free(&text);
    return rc;
}
