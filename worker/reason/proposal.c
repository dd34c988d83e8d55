/* reason/proposal.c - see proposal.h. */
#include "reason/proposal.h"

#include <string.h>

#include "base/limits.h"
#include "json/utf8.h"
#include "policy/prompt.h"

void vd_proposal_fini(struct vd_read_proposal *proposal)
{
    proposal->tree = vd_json_free(proposal->tree);
}

/* -- rationale --------------------------------------------------------------------------------------------------- */

/* Bytes, whatever the locale; 500 characters of each answer go through these. */
static bool is_word(unsigned char c)
{
    return (unsigned char)((c | 0x20) - 'a') < 26 || (unsigned char)(c - '0') < 10;
}

static bool is_scheme(unsigned char c)
{
    return is_word(c) || c == '+' || c == '-' || c == '.';
}

static bool is_blank(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_markup(unsigned char c)
{
    switch (c) {
    case '<':
    case '>':
    case '*':
    case '`':
    case '#':
    case '[':
    case ']':
    case '|':
    case '{':
    case '}':
    case '\\':
    case '~':
        return true;
    default:
        return false;
    }
}

/* Length of a URL at the start of text, 0 when there is none: a scheme with ://, or www. What is longer than a rationale may be is cut before
 * its colon; without that bound, a.a.a.a would be searched to its end from each a. */
static size_t url_length(struct vd_span text)
{
    size_t i = 0, end = 0;

    while (i < text.len && i < VD_RATIONALE_MAX_CHARS && is_scheme((unsigned char)text.ptr[i]))
        i++;
    if (i == text.len || text.ptr[i] != ':') { /* most words end here */
        if ((text.ptr[0] | 0x20) != 'w' || !vd_span_starts_nocase(text, VD_LIT("www.")))
            return 0;
    } else if (!(i > 1 && vd_span_starts(vd_span_sub(text, i, 3), VD_LIT("://"))) &&
               !vd_span_starts_nocase(text, VD_LIT("www.")) &&
               !vd_span_starts_nocase(text, VD_LIT("mailto:")) &&
               !vd_span_starts_nocase(text, VD_LIT("javascript:"))) {
        return 0;
    }
    while (end < text.len && !is_blank((unsigned char)text.ptr[end]))
        end++;
    return end;
}

/* Length of a tag at the start of text: "<" to ">"; an open one runs to the end. */
static size_t tag_length(struct vd_span text)
{
    size_t close;

    if (text.len < 2 ||
        !(is_word((unsigned char)text.ptr[1]) || strchr("/!?", text.ptr[1]) != NULL) ||
        (text.ptr[1] >= '0' && text.ptr[1] <= '9'))
        return 0;
    close = vd_span_find(text, '>');
    return close < text.len ? close + 1 : text.len;
}

/* How many bytes at the start of text are left out: a tag, a URL, a character of markup. */
static size_t left_out(struct vd_span text, bool word_start)
{
    unsigned char c = text.len > 0 ? (unsigned char)text.ptr[0] : '\0';
    size_t n = c == '<' ? tag_length(text) : 0;

    if (n == 0 && word_start && is_scheme(c))
        n = url_length(text);
    return n == 0 && is_markup(c) ? 1 : n;
}

/* How many letters and digits text starts with, where nothing that is left out begins with them: most of it. */
static size_t word_length(struct vd_span text, bool word_start)
{
    size_t n = 0;

    while (n < text.len && is_word((unsigned char)text.ptr[n]))
        n++;
    if (n > 0 && word_start &&
        ((text.ptr[0] | 0x20) == 'w' || /* www. */
         (n < text.len && (text.ptr[n] == ':' || is_scheme((unsigned char)text.ptr[n])))))
        return 0;
    return n;
}

enum vd_code vd_rationale_clean(struct vd_arena *arena, struct vd_span text, size_t max_chars,
                                struct vd_span *ret)
{
    struct vd_span clean;
    bool blank = true, word_start = true; /* leading blanks go */
    size_t n = 0, chars = 0;
    char *out;

    if (vd_prompt_clean(arena, text, &clean) != VD_OK)
        return VD_E_NOMEM;
    out = vd_arena_bytes(arena, clean.len + 1);
    if (out == NULL)
        return VD_E_NOMEM;
    for (size_t i = 0; i < clean.len && chars < max_chars;) {
        struct vd_span rest = vd_span_sub(clean, i, clean.len);
        unsigned char c = (unsigned char)clean.ptr[i];
        size_t skip, len = 1, word = word_length(rest, word_start);

        if (word > 0) {
            word = word < max_chars - chars ? word : max_chars - chars;
            memcpy(out + n, rest.ptr, word);
            n += word;
            i += word;
            chars += word;
            word_start = blank = false;
            continue;
        }
        skip = left_out(rest, word_start);
        if (skip > 0) {
            i += skip;
            word_start = true;
            continue;
        }
        word_start = !is_word(c);
        if (is_blank(c)) {
            if (!blank)
                out[n++] = ' ';
            chars += !blank;
            blank = true;
        } else {
            if (c >= 0x80)
                (void)vd_utf8_get(clean.ptr + i, &len);
            for (size_t k = 0; k < len; k++)
                out[n++] = clean.ptr[i + k];
            chars++;
            blank = false;
        }
        i += len;
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    *ret = (struct vd_span){out, n};
    return VD_OK;
}

/* -- the answer -------------------------------------------------------------------------------------------------- */

/* The text inside one ``` fence around everything, or all of it. */
static struct vd_span unfence(struct vd_span text)
{
    struct vd_span inside;
    size_t line;

    text = vd_span_trim(text);
    if (!vd_span_starts(text, VD_LIT("```")) || text.len < 7 ||
        memcmp(text.ptr + text.len - 3, "```", 3) != 0)
        return text;
    line = vd_span_find(text, '\n');
    inside = vd_span_sub(text, line + 1, text.len);
    return inside.len < 3 ? text : vd_span_sub(inside, 0, inside.len - 3);
}

static enum vd_code say(struct vd_err *err, const char *what)
{
    return vd_err_set(err, VD_E_INPUT, false, "%s", what);
}

/* In the reduced schemas params has a member for each action. */
static enum vd_code unwrap(const struct vd_policy *policy, struct vd_read_proposal *p,
                           struct vd_err *err)
{
    const struct vd_action *action = vd_policy_action(policy, p->action);
    const cJSON *mine = vd_json_get_span(p->params, p->action);
    const cJSON *member;

    if (action == NULL || mine == NULL)
        return VD_OK;
    for (size_t i = 0; i < action->param_count; i++)
        if (vd_span_eq_c(p->action, action->params[i].name))
            return VD_OK;
    cJSON_ArrayForEach(member, p->params)
    {
        if (vd_policy_action(policy, vd_span_of(member->string)) == NULL)
            return VD_OK; /* not that form: the judge sees it as it is */
        if (member != mine && vd_json_kind(member) != VD_JSON_NULL)
            return say(err, "params has a value for another action");
    }
    if (vd_json_kind(mine) != VD_JSON_OBJECT && vd_json_kind(mine) != VD_JSON_NULL)
        return say(err, "params of the action must be an object");
    p->params = vd_json_kind(mine) == VD_JSON_NULL ? NULL : mine;
    return VD_OK;
}

static enum vd_code read_member(const cJSON *member, struct vd_read_proposal *p,
                                struct vd_span *rationale, struct vd_err *err)
{
    enum vd_json_kind kind = vd_json_kind(member);
    const char *name = member->string;

    if (strcmp(name, "action") == 0) {
        p->action = vd_json_string(member);
        return kind == VD_JSON_STRING ? VD_OK : say(err, "action must be a text");
    }
    if (strcmp(name, "params") == 0) {
        p->params = kind == VD_JSON_NULL ? NULL : member;
        return kind == VD_JSON_OBJECT || kind == VD_JSON_NULL
                   ? VD_OK
                   : say(err, "params must be an object");
    }
    if (strcmp(name, "confidence") == 0)
        return (kind == VD_JSON_INT || kind == VD_JSON_DOUBLE) &&
                       vd_json_double(member, &p->confidence) && p->confidence >= 0 &&
                       p->confidence <= 1
                   ? VD_OK
                   : say(err, "confidence must be a number from 0 to 1");
    if (strcmp(name, "rationale") == 0) {
        *rationale = kind == VD_JSON_STRING ? vd_json_string(member) : *rationale;
        return kind == VD_JSON_STRING ? VD_OK : say(err, "rationale must be a text");
    }
    if (strcmp(name, "evidence") == 0) {
        p->evidence = member;
        return kind == VD_JSON_ARRAY ? VD_OK : say(err, "evidence must be a list of JSON Pointers");
    }
    return say(err, "it has members beside action, params, confidence, rationale and evidence");
}

static enum vd_code read_tree(const struct vd_policy *policy, struct vd_read_proposal *p,
                              struct vd_arena *arena, struct vd_err *err)
{
    struct vd_span rationale = VD_LIT("");
    const cJSON *member;

    if (vd_json_kind(p->tree) != VD_JSON_OBJECT)
        return say(err, "it is not a JSON object");
    p->confidence = -1;
    cJSON_ArrayForEach(member, p->tree)
    {
        enum vd_code rc = read_member(member, p, &rationale, err);

        if (rc != VD_OK)
            return rc;
    }
    if (p->action.len == 0)
        return say(err, "action is missing");
    if (p->confidence < 0)
        return say(err, "confidence is missing");
    if (p->evidence != NULL)
        cJSON_ArrayForEach(
            member,
            p->evidence) if (vd_json_kind(member) !=
                             VD_JSON_STRING) return say(err,
                                                        "evidence must be a list of JSON Pointers");
    if (vd_rationale_clean(arena, rationale, policy->rationale_max_chars, &p->rationale) != VD_OK)
        return vd_err_nomem(err, "rationale");
    return unwrap(policy, p, err);
}

enum vd_code vd_proposal_read(const struct vd_policy *policy, struct vd_span answer,
                              struct vd_arena *arena, struct vd_read_proposal *ret,
                              struct vd_err *err)
{
    struct vd_read_proposal p = {0};
    struct vd_err why;
    enum vd_code rc;

    if (answer.len > VD_ANSWER_MAX_BYTES)
        return vd_err_set(err, VD_E_INPUT, false, "it is longer than %u bytes",
                          VD_ANSWER_MAX_BYTES);
    rc = vd_json_parse(unfence(answer), &p.tree, &why);
    if (rc == VD_E_NOMEM)
        return vd_err_nomem(err, "proposal");
    if (rc != VD_OK)
        return vd_err_set(err, VD_E_INPUT, false, "it is not JSON (%.120s)", why.msg);
    rc = read_tree(policy, &p, arena, err);
    if (rc != VD_OK) {
        vd_proposal_fini(&p);
        return rc;
    }
    *ret = p;
    return VD_OK;
}
