/* tests/unit/policy_unit.h - a small policy with parts to replace, and what the policy tests do with one. */
#ifndef VD_TESTS_POLICY_UNIT_H
#define VD_TESTS_POLICY_UNIT_H

#include "unit.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "policy/policy.h"

/* Each part is libconfig text; NULL takes the default. */
struct parts {
    const char *head, *input, *let, *context, *actions, *reasoning, *fallback, *more;
};

static inline char *policy_text(const struct parts *p)
{
    struct vd_buf out;

#define PART(field, standard) (p->field != NULL ? p->field : (standard))
    vd_buf_init(&out, 1 << 20);
    (void)vd_buf_addf(
        &out, "%s\n%s\n%s\n%s\n%s\n%s\n%s\n%s\n",
        PART(head, "policy = { id = \"t.policy\"; version = 1; };"),
        PART(input, "input = { topics = [\"t\"]; when = \"event.type == 'x'\"; key = "
                    "\"{event.data.id}\"; };"),
        PART(context, ""), PART(let, ""),
        PART(actions,
             "actions = { go = { params = { n = { type = \"integer\"; min = 1; max = 10; }; }; "
             "require = { small = { expr = \"params.n <= event.data.limit\"; why = \"small\"; }; "
             "}; }; stop = { }; };"),
        PART(reasoning, "reasoning = { goal = \"g\"; show = [\"/event/data\"]; };"),
        PART(fallback, "fallback = { action = \"stop\"; };"), PART(more, ""));
#undef PART
    return vd_buf_take(&out, NULL);
}

static inline enum vd_code try_policy(const struct parts *p, struct vd_policy **ret,
                                      struct vd_buf *says)
{
    char *text = policy_text(p);
    struct vd_diags diags;
    enum vd_code rc;

    assert_non_null(text);
    vd_diags_init(&diags);
    rc = vd_policy_parse(vd_span_of(text), "p.cfg", NULL, &diags, ret, NULL);
    assert_int_equal(vd_diags_write(&diags, says), VD_OK);
    vd_diags_fini(&diags);
    vd_free(text);
    return rc;
}

static inline struct vd_policy *load_policy(const struct parts *p)
{
    struct vd_policy *policy = NULL;
    struct vd_buf says;

    vd_buf_init(&says, 1 << 20);
    if (try_policy(p, &policy, &says) != VD_OK)
        fail_msg("%s", says.ptr);
    vd_buf_free(&says);
    return policy;
}

static inline void refuse_policy(const struct parts *p, const char *says)
{
    struct vd_policy *policy = NULL;
    struct vd_buf out;
    enum vd_code rc;

    vd_buf_init(&out, 1 << 20);
    rc = try_policy(p, &policy, &out);
    if (rc != VD_E_CONFIG || out.ptr == NULL || strstr(out.ptr, says) == NULL)
        fail_msg("rc %d: \"%s\" is not in \"%s\"", (int)rc, says, out.ptr != NULL ? out.ptr : "");
    vd_buf_free(&out);
}

static inline cJSON *json(const char *text)
{
    cJSON *tree = NULL;
    struct vd_err err;

    if (vd_json_parse(vd_span_of(text), &tree, &err) != VD_OK)
        fail_msg("%s in %s", err.msg, text);
    return tree;
}

static inline bool has(struct vd_span text, const char *part)
{
    return memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

#endif
