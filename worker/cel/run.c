/* cel/run.c - what evaluation and functions share: failing, charging, allocating; see eval.h. */
#include "cel/eval.h"

#include <stdio.h>
#include <string.h>

/* -- failing ----------------------------------------------------------------------------------------------------- */

static void set_error(struct vd_cel_run *run, struct vd_cel_value *ret, struct vd_span message)
{
    *ret = (struct vd_cel_value){.kind = VD_CEL_ERROR, .u.s = message};
    if (run->node != NULL) {
        ret->line = run->node->line;
        ret->column = run->node->column;
    }
}

bool vd_cel_fail(struct vd_cel_run *run, struct vd_cel_value *ret, const char *fmt, ...)
{
    char text[sizeof(((struct vd_err *)0)->msg)];
    struct vd_span kept;
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (vd_arena_dup(run->arena, vd_span_of(text), &kept) != VD_OK)
        return vd_cel_fail_nomem(run, ret);
    set_error(run, ret, kept);
    return false;
}

bool vd_cel_fail_nomem(struct vd_cel_run *run, struct vd_cel_value *ret)
{
    if (run->fatal == VD_OK)
        run->fatal = VD_E_NOMEM;
    set_error(run, ret, VD_LIT("out of memory (cel evaluation)"));
    return false;
}

bool vd_cel_fail_limit(struct vd_cel_run *run, struct vd_cel_value *ret, const char *what)
{
    if (run->fatal == VD_OK)
        run->fatal = VD_E_LIMIT;
    set_error(run, ret, vd_span_of(what)); /* static text */
    return false;
}

bool vd_cel_fail_overload(struct vd_cel_run *run, struct vd_cel_value *ret, const char *sign,
                          const struct vd_cel_value *a, const struct vd_cel_value *b)
{
    return vd_cel_fail(run, ret, "no such overload: %s %s %s", vd_cel_kind_name(a->kind), sign,
                       vd_cel_kind_name(b->kind));
}

/* -- paying ------------------------------------------------------------------------------------------------------ */

bool vd_cel_charge(struct vd_cel_run *run, struct vd_cel_value *ret, size_t steps)
{
    if (steps >= (size_t)INT64_MAX || run->left < (int64_t)steps) {
        run->left = 0;
        return vd_cel_fail_limit(run, ret, "evaluation takes too many steps");
    }
    run->left -= (int64_t)steps;
    return true;
}

void *vd_cel_alloc(struct vd_cel_run *run, struct vd_cel_value *ret, size_t count, size_t size)
{
    void *p;

    if (size > 0 && count > SIZE_MAX / size) {
        (void)vd_cel_fail_nomem(run, ret);
        return NULL;
    }
    if (!vd_cel_charge(run, ret, count * size / 64))
        return NULL;
    p = vd_arena_alloc(run->arena, count * size);
    if (p == NULL)
        (void)vd_cel_fail_nomem(run, ret);
    return p;
}

bool vd_cel_run_equal(struct vd_cel_run *run, const struct vd_cel_value *a,
                      const struct vd_cel_value *b, bool *ret_equal, struct vd_cel_value *ret)
{
    *ret_equal = vd_cel_equal_within(a, b, &run->left);
    if (run->left >= 0)
        return true;
    run->left = 0;
    return vd_cel_fail_limit(run, ret, "evaluation takes too many steps");
}

/* -- text -------------------------------------------------------------------------------------------------------- */

void vd_cel_text_init(struct vd_cel_text *t, struct vd_cel_run *run, struct vd_cel_value *ret)
{
    *t = (struct vd_cel_text){.run = run, .ret = ret};
}

void vd_cel_text_add(struct vd_cel_text *t, struct vd_span s)
{
    if (t->failed || s.len == 0)
        return;
    if (s.len > t->cap - t->len) {
        size_t want = t->cap < 64 ? 64 : t->cap;
        char *bigger;

        while (want - t->len < s.len && want <= SIZE_MAX / 4)
            want *= 2;
        bigger = want - t->len < s.len ? NULL : vd_cel_alloc(t->run, t->ret, want, 1);
        if (bigger == NULL) {
            t->failed = true;
            if (t->run->fatal == VD_OK)
                (void)vd_cel_fail_nomem(t->run, t->ret);
            return;
        }
        if (t->len > 0)
            memcpy(bigger, t->ptr, t->len);
        t->ptr = bigger;
        t->cap = want;
    }
    memcpy(t->ptr + t->len, s.ptr, s.len);
    t->len += s.len;
}

void vd_cel_text_add_c(struct vd_cel_text *t, const char *cstr)
{
    vd_cel_text_add(t, vd_span_of(cstr));
}

bool vd_cel_text_finish(struct vd_cel_text *t)
{
    if (t->failed)
        return false;
    *t->ret = vd_cel_string((struct vd_span){t->len > 0 ? t->ptr : "", t->len});
    return true;
}
