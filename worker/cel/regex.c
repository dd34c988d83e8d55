/* cel/regex.c - see regex.h. The only file of cel/ that knows PCRE2. */
#include "cel/regex.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/alloc.h"

#define NEST_LIMIT    60 /* groups in groups; PCRE2's compiler recurses this deep */
#define UNKNOWN_START SIZE_MAX

struct vd_cel_regex {
    pcre2_code *code;
    struct vd_cel_regex *next;
};

/* -- RE2's language ---------------------------------------------------------------------------------------------- */

/* What follows "(?" in RE2: flags, with or without a group, or a named group. */
static const char *check_group(struct vd_span p, size_t at)
{
    size_t i = at;

    if (p.len - at >= 2 && p.ptr[at] == 'P' && p.ptr[at + 1] == '<')
        return NULL;
    if (p.len - at >= 2 && p.ptr[at] == '<' && p.ptr[at + 1] != '=' && p.ptr[at + 1] != '!')
        return NULL;
    while (i < p.len && strchr("imsU-", p.ptr[i]) != NULL && p.ptr[i] != '\0')
        i++;
    if (i < p.len && (p.ptr[i] == ':' || p.ptr[i] == ')'))
        return NULL;
    return "only (?:...), (?P<name>...) and the flags i m s U may follow \"(?\"";
}

/* The numbers of a {n,m}; what is none is literal text, in RE2 as in PCRE2. */
static const char *check_repeat(struct vd_span p, size_t at, size_t *ret_end)
{
    unsigned n = 0;
    size_t i = at;

    *ret_end = 0;
    for (; i < p.len && ((p.ptr[i] >= '0' && p.ptr[i] <= '9') || p.ptr[i] == ','); i++) {
        n = p.ptr[i] == ',' ? 0 : n * 10 + (unsigned)(p.ptr[i] - '0');
        if (n > VD_CEL_MAX_PATTERN_REPEAT)
            return "a repetition is above 1000";
    }
    if (i > at && p.ptr[at] != ',' && i < p.len && p.ptr[i] == '}')
        *ret_end = i + 1;
    return NULL;
}

static size_t skip_class(struct vd_span p, size_t at)
{
    size_t i = at + 1;

    if (i < p.len && p.ptr[i] == '^')
        i++;
    if (i < p.len && p.ptr[i] == ']')
        i++;
    while (i < p.len && p.ptr[i] != ']') {
        if (p.ptr[i] == '[' && i + 1 < p.len && p.ptr[i + 1] == ':') {
            const char *end = memmem(p.ptr + i, p.len - i, ":]", 2);

            i = end != NULL ? (size_t)(end - p.ptr) + 1 : i;
        } else if (p.ptr[i] == '\\') {
            i++;
        }
        i++;
    }
    return i + 1;
}

/* Reason why RE2 would not take the pattern, NULL when it would. PCRE2 finds what is wrong in both. */
static const char *check_re2(struct vd_span p)
{
    bool repeated = false; /* the last thing was a quantifier */
    bool lazy = false;     /* and had its "?" */

    for (size_t i = 0; i < p.len;) {
        char c = p.ptr[i];
        size_t end = 0;
        const char *why = NULL;

        if (c == '\\') {
            char e = i + 1 < p.len ? p.ptr[i + 1] : '\\';
            bool is_word =
                (e >= '0' && e <= '9') || (e >= 'a' && e <= 'z') || (e >= 'A' && e <= 'Z');

            if (is_word && strchr("0afntrvxdDsSwWpPAbBzQE", e) == NULL)
                why = e >= '1' && e <= '9' ? "back-references are not supported"
                                           : "an escape is none of RE2's";
            end = i + 2;
            if (e == 'Q') {
                const char *close = memmem(p.ptr + end, p.len - end, "\\E", 2);

                end = close != NULL ? (size_t)(close - p.ptr) + 2 : p.len;
            }
        } else if (c == '[') {
            end = skip_class(p, i);
        } else if (c == '(' && i + 1 < p.len && p.ptr[i + 1] == '?') {
            why = check_group(p, i + 2);
            end = i + 2;
            while (why == NULL && end < p.len && strchr(":)<", p.ptr[end]) == NULL)
                end++;
            end++;
        } else if (c == '(' && i + 1 < p.len && p.ptr[i + 1] == '*') {
            why = "\"(*\" has nothing to repeat";
        } else if (c == '{') {
            why = check_repeat(p, i + 1, &end);
        }
        if (why != NULL)
            return why;
        if (c == '*' || c == '+' || c == '?' || (c == '{' && end != 0)) {
            if (repeated && (c != '?' || lazy))
                return "a quantifier stands after a quantifier";
            lazy = repeated;
            repeated = true;
        } else {
            repeated = lazy = false;
        }
        i = end != 0 ? end : i + 1;
    }
    return NULL;
}

/* -- compiling --------------------------------------------------------------------------------------------------- */

static pcre2_code *compile(struct vd_span pattern, pcre2_general_context *general,
                           struct vd_err *err)
{
    const uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C |
                             PCRE2_NO_AUTO_CAPTURE | PCRE2_AUTO_CALLOUT;
    const char *why = pattern.len > VD_CEL_MAX_PATTERN_BYTES ? "it is longer than 1024 bytes"
                                                             : check_re2(pattern);
    pcre2_compile_context *context;
    PCRE2_UCHAR reason[120];
    PCRE2_SIZE offset;
    pcre2_code *code;
    int number;

    if (why != NULL) {
        (void)vd_err_set(err, VD_E_INPUT, false, "invalid regular expression: %s", why);
        return NULL;
    }
    context = general == NULL ? NULL : pcre2_compile_context_create(general);
    if (context == NULL) {
        (void)vd_err_nomem(err, "regular expression");
        return NULL;
    }
    (void)pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    (void)pcre2_set_parens_nest_limit(context, NEST_LIMIT);
    code = pcre2_compile((PCRE2_SPTR)(pattern.ptr != NULL ? pattern.ptr : ""), pattern.len, options,
                         &number, &offset, context);
    pcre2_compile_context_free(context);
    if (code == NULL && number == PCRE2_ERROR_HEAP_FAILED) {
        (void)vd_err_nomem(err, "regular expression");
    } else if (code == NULL) {
        (void)pcre2_get_error_message(number, reason, sizeof(reason));
        (void)vd_err_set(err, VD_E_INPUT, false, "invalid regular expression: %s (at byte %zu)",
                         (const char *)reason, (size_t)offset);
    }
    return code;
}

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

enum vd_code vd_cel_regex_new(struct vd_span pattern, struct vd_cel_regex **ret_regex,
                              struct vd_err *err)
{
    pcre2_general_context *general = pcre2_general_context_create(heap_alloc, heap_free, NULL);
    struct vd_cel_regex *regex = vd_alloc(sizeof(*regex));
    struct vd_err cause = {.code = VD_E_NOMEM};
    enum vd_code rc = VD_OK;

    if (general == NULL || regex == NULL) {
        rc = vd_err_nomem(err, "regular expression");
        goto out;
    }
    regex->code = compile(pattern, general, &cause);
    if (regex->code == NULL) {
        rc = vd_err_set(err, cause.code, cause.retriable, "%s", cause.msg);
        goto out;
    }
    *ret_regex = regex;
    regex = NULL; /* transferred */
out:
    (void)vd_free(regex);
    pcre2_general_context_free(general);
    return rc;
}

void vd_cel_regex_free_all(struct vd_cel_regex *list)
{
    while (list != NULL) {
        struct vd_cel_regex *next = list->next;

        pcre2_code_free(list->code);
        (void)vd_free(list);
        list = next;
    }
}

void vd_cel_regex_link(struct vd_cel_regex **list, struct vd_cel_regex *take_regex)
{
    take_regex->next = *list;
    *list = take_regex;
}

/* -- matching ---------------------------------------------------------------------------------------------------- */

/* PCRE2's memory for one match; all of it goes when the arena is rewound. */
static void *arena_alloc(size_t size, void *arg)
{
    return vd_arena_bytes(arg, size); /* PCRE2 needs no zeros */
}

static void arena_free(void *p, void *arg)
{
    (void)p;
    (void)arg;
}

struct work {
    struct vd_cel_run *run;
    size_t last; /* position of the last callout */
};

/* Called at each item of the pattern: one step, and one for each 16 bytes that the item before went over. */
static int count_work(pcre2_callout_block *block, void *arg)
{
    struct work *work = arg;
    size_t at = block->current_position;
    size_t moved = work->last == UNKNOWN_START ? 0
                   : at > work->last           ? at - work->last
                                               : work->last - at;

    work->last = at;
    work->run->left -= 1 + (int64_t)(moved / 16);
    return work->run->left < 0 ? PCRE2_ERROR_CALLOUT : 0;
}

static bool match(struct vd_cel_run *run, const pcre2_code *code, pcre2_general_context *general,
                  struct vd_span text, struct vd_cel_value *ret)
{
    struct work work = {run, UNKNOWN_START};
    pcre2_match_data *data = pcre2_match_data_create(1, general);
    pcre2_match_context *context = data == NULL ? NULL : pcre2_match_context_create(general);
    int n;

    if (context == NULL)
        return vd_cel_fail_nomem(run, ret);
    (void)pcre2_set_heap_limit(context, VD_CEL_MATCH_HEAP_KIB);
    (void)pcre2_set_callout(context, count_work, &work);
    n = pcre2_match(code, (PCRE2_SPTR)(text.ptr != NULL ? text.ptr : ""), text.len, 0,
                    PCRE2_NO_UTF_CHECK, data, context);
    if (run->left < 0) {
        run->left = 0;
        return vd_cel_fail_limit(run, ret, "evaluation takes too many steps (matches)");
    }
    if (n == PCRE2_ERROR_NOMEMORY)
        return vd_cel_fail_nomem(run, ret);
    if (n == PCRE2_ERROR_MATCHLIMIT || n == PCRE2_ERROR_HEAPLIMIT || n == PCRE2_ERROR_DEPTHLIMIT)
        return vd_cel_fail_limit(run, ret, "a regular expression backtracks too much");
    *ret = vd_cel_bool(n >= 0);
    return n >= 0 || n == PCRE2_ERROR_NOMATCH ||
           vd_cel_fail(run, ret, "regular expression fails (PCRE2 error %d)", n);
}

bool vd_cel_regex_match(struct vd_cel_run *run, const struct vd_cel_regex *regex,
                        struct vd_span pattern, struct vd_span text, struct vd_cel_value *ret)
{
    struct vd_arena_mark mark = vd_arena_mark(run->arena);
    pcre2_general_context *general =
        pcre2_general_context_create(arena_alloc, arena_free, run->arena);
    const pcre2_code *code = regex != NULL ? regex->code : NULL;
    struct vd_err err = {.code = VD_OK, .msg = ""};
    bool ok = false;

    if (code == NULL && general != NULL && vd_cel_charge(run, ret, 50 + pattern.len * 4))
        code = compile(pattern, general, &err);
    else if (code == NULL && general != NULL)
        return false;
    if (general == NULL || err.code == VD_E_NOMEM)
        return vd_cel_fail_nomem(run, ret);
    if (code != NULL)
        ok = match(run, code, general, text, ret);
    if (!ok && code != NULL)
        return false; /* the message may stand in the arena */
    vd_arena_rewind(run->arena, mark);
    return ok || vd_cel_fail(run, ret, "%s", err.msg);
}
