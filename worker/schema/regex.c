/* schema/regex.c - compiling and matching; see regex.h. The translation is in ecma.c. */
#define PCRE2_CODE_UNIT_WIDTH 8

#include "schema/regex.h"

#include <pcre2.h>

#include "base/alloc.h"
#include "base/limits.h"

#define FIRST_LIMIT                                                                                \
    200 /* most matches need fewer; then more is paid for, in steps of the schema's budget */
#define LIMIT_FACTOR 4
#define GROUPS_DEPTH 64

struct vd_regex {
    pcre2_code *code;
};

struct vd_regex_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

static void *heap_alloc(size_t size, void *arg)
{
    (void)arg;
    return vd_alloc(size);
}

static void heap_free(void *p, void *arg)
{
    (void)arg;
    (void)vd_free(p);
}

/* Not zeroed: PCRE2 asks for 20 KiB of frames at the first match, and uses a few hundred bytes. */
static void *arena_alloc(size_t size, void *arg)
{
    return vd_arena_bytes(arg, size);
}

static void arena_free(void *p, void *arg)
{
    (void)p; /* dies with the arena */
    (void)arg;
}

static enum vd_code compile_translated(struct vd_span text, struct vd_regex *regex,
                                       struct vd_err *err)
{
    pcre2_general_context *general = pcre2_general_context_create(heap_alloc, heap_free, NULL);
    pcre2_compile_context *context = general == NULL ? NULL : pcre2_compile_context_create(general);
    enum vd_code rc = VD_OK;
    int code = 0;
    PCRE2_SIZE at = 0;
    unsigned char reason[128];

    if (context == NULL) {
        rc = vd_err_nomem(err, "regular expression");
        goto out;
    }
    (void)pcre2_set_parens_nest_limit(context, GROUPS_DEPTH);
    regex->code = pcre2_compile((PCRE2_SPTR)text.ptr, text.len,
                                PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_DOLLAR_ENDONLY |
                                    PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF |
                                    PCRE2_NEVER_BACKSLASH_C,
                                &code, &at, context);
    if (regex->code == NULL && code == PCRE2_ERROR_HEAP_FAILED) {
        rc = vd_err_nomem(err, "regular expression");
    } else if (regex->code == NULL) {
        (void)pcre2_get_error_message(code, reason, sizeof(reason));
        rc = vd_err_set(err, VD_E_CONFIG, false, "not a regular expression: %s", (char *)reason);
    }
out:
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    return rc;
}

enum vd_code vd_regex_compile(struct vd_span pattern, struct vd_regex **ret, struct vd_err *err)
{
    struct vd_regex *regex = NULL;
    struct vd_buf text;
    enum vd_code rc;

    if (pattern.len > VD_SCHEMA_MAX_PATTERN_BYTES)
        return vd_err_set(err, VD_E_CONFIG, false, "a regular expression of more than %d bytes",
                          VD_SCHEMA_MAX_PATTERN_BYTES);
    vd_buf_init(&text, 256 * (pattern.len + 1));
    rc = vd_regex_translate(pattern, &text, err);
    if (rc != VD_OK)
        goto out;
    regex = vd_alloc(sizeof(*regex));
    if (regex == NULL) {
        rc = vd_err_nomem(err, "regular expression");
        goto out;
    }
    rc = compile_translated(text.len > 0 ? vd_buf_span(&text) : VD_LIT(""), regex, err);
    if (rc != VD_OK)
        goto out;
    *ret = regex;
    regex = NULL; /* transferred */
out:
    (void)vd_regex_free(regex);
    vd_buf_free(&text);
    return rc;
}

void *vd_regex_free(struct vd_regex *regex)
{
    if (regex != NULL)
        pcre2_code_free(regex->code);
    return vd_free(regex);
}

struct vd_regex_matcher *vd_regex_matcher(struct vd_arena *arena)
{
    struct vd_regex_matcher *m = vd_arena_alloc(arena, sizeof(*m));
    pcre2_general_context *general = pcre2_general_context_create(arena_alloc, arena_free, arena);

    if (m == NULL || general == NULL)
        return NULL;
    m->data = pcre2_match_data_create(1, general);
    m->context = pcre2_match_context_create(general);
    if (m->data == NULL || m->context == NULL)
        return NULL;
    (void)pcre2_set_heap_limit(m->context, VD_SCHEMA_MATCH_HEAP_KIB);
    return m;
}

/* PCRE2 does not say how much work a match was. So it gets little at first, and more as long as it asks for more: what was
 * allowed is what it cost, within the factor. One of its steps takes as long as one of ours. */
enum vd_regex_result vd_regex_search(struct vd_regex_matcher *matcher, const struct vd_regex *regex,
                                     struct vd_span text, unsigned long *ret_steps)
{
    uint32_t limit = FIRST_LIMIT;
    int rc;

    *ret_steps = 1 + text.len / 64;
    for (;;) {
        (void)pcre2_set_match_limit(matcher->context, limit);
        rc = pcre2_match(regex->code, (PCRE2_SPTR)(text.ptr == NULL ? "" : text.ptr), text.len, 0,
                         PCRE2_NO_UTF_CHECK, matcher->data, matcher->context);
        if (rc != PCRE2_ERROR_MATCHLIMIT)
            break;
        *ret_steps += limit;
        if (limit >= VD_SCHEMA_MAX_MATCH_STEPS)
            return VD_REGEX_LIMIT;
        limit *= LIMIT_FACTOR;
    }
    if (rc >= 0)
        return VD_REGEX_YES;
    if (rc == PCRE2_ERROR_NOMATCH)
        return VD_REGEX_NO;
    return rc == PCRE2_ERROR_NOMEMORY ? VD_REGEX_NOMEM : VD_REGEX_LIMIT;
}
