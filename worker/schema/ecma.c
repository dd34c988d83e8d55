/* schema/ecma.c - ECMA-262 patterns in PCRE2's words; see regex.h.
 *
 * One pass, left to right. What both dialects read alike is copied; what they read differently is rewritten; what only PCRE2
 * knows is refused. Escapes of punctuation that ECMA-262 does not ask for (\- \_ \@) are accepted, since people write them.
 */
#include <string.h>

#include "json/utf8.h"
#include "schema/regex.h"

/* \s: TAB to CR, and every character of category Zs, LS, PS, BOM. */
#define BLANKS                                                                                     \
    "\\x09-\\x0d\\x20\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{"    \
    "3000}\\x{feff}"
#define NOT_BLANKS                                                                                 \
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x9f\\xa1-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}"       \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{d7ff}\\x{e000}-\\x{"   \
    "fefe}"                                                                                        \
    "\\x{ff00}-\\x{10ffff}"

struct translator {
    const char *p;
    const char *end;
    struct vd_buf *out;
    struct vd_err *err;
    bool in_class;
    bool quantifiable; /* something stands before that a quantifier may repeat */
};

static enum vd_code refuse(struct translator *t, const char *reason)
{
    return vd_err_set(t->err, VD_E_CONFIG, false, "not a regular expression: %s", reason);
}

static void add(struct translator *t, const char *text)
{
    (void)vd_buf_add_c(t->out, text);
}

static void add_char(struct translator *t, uint32_t c)
{
    (void)vd_buf_addf(t->out, "\\x{%x}", c);
}

/* -- \p{...} ----------------------------------------------------------------------------------------------------- */

/* Long names of general categories (PropertyValueAliases.txt); PCRE2 10.42 knows only the short ones. */
static const char *const categories[][2] = {
    {"Letter", "L"},
    {"Cased_Letter", "L&"},
    {"LC", "L&"},
    {"Uppercase_Letter", "Lu"},
    {"Lowercase_Letter", "Ll"},
    {"Titlecase_Letter", "Lt"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"Mark", "M"},
    {"Combining_Mark", "M"},
    {"Nonspacing_Mark", "Mn"},
    {"Spacing_Mark", "Mc"},
    {"Enclosing_Mark", "Me"},
    {"Number", "N"},
    {"Decimal_Number", "Nd"},
    {"digit", "Nd"},
    {"Letter_Number", "Nl"},
    {"Other_Number", "No"},
    {"Punctuation", "P"},
    {"punct", "P"},
    {"Connector_Punctuation", "Pc"},
    {"Dash_Punctuation", "Pd"},
    {"Open_Punctuation", "Ps"},
    {"Close_Punctuation", "Pe"},
    {"Initial_Punctuation", "Pi"},
    {"Final_Punctuation", "Pf"},
    {"Other_Punctuation", "Po"},
    {"Symbol", "S"},
    {"Math_Symbol", "Sm"},
    {"Currency_Symbol", "Sc"},
    {"Modifier_Symbol", "Sk"},
    {"Other_Symbol", "So"},
    {"Separator", "Z"},
    {"Space_Separator", "Zs"},
    {"Line_Separator", "Zl"},
    {"Paragraph_Separator", "Zp"},
    {"Other", "C"},
    {"Control", "Cc"},
    {"cntrl", "Cc"},
    {"Format", "Cf"},
    {"Surrogate", "Cs"},
    {"Private_Use", "Co"},
    {"Unassigned", "Cn"},
};

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* What PCRE2 calls the kind of property; NULL: unknown. */
static const char *script_prefix(struct vd_span kind)
{
    if (vd_span_eq_c(kind, "Script") || vd_span_eq_c(kind, "sc"))
        return "sc:";
    if (vd_span_eq_c(kind, "Script_Extensions") || vd_span_eq_c(kind, "scx"))
        return "scx:";
    return vd_span_eq_c(kind, "General_Category") || vd_span_eq_c(kind, "gc") ? "" : NULL;
}

/* t->p is behind \p or \P. */
static enum vd_code add_property(struct translator *t, bool negated)
{
    struct vd_span rest = {t->p, (size_t)(t->end - t->p)};
    struct vd_span name;
    const char *script = "";
    size_t equals;

    if (rest.len == 0 || rest.ptr[0] != '{' || vd_span_find(rest, '}') == rest.len)
        return refuse(t, "\\p needs a property name in braces");
    name = vd_span_sub(rest, 1, vd_span_find(rest, '}') - 1);
    t->p += name.len + 2;
    equals = vd_span_find(name, '=');
    if (equals < name.len) {
        script = script_prefix(vd_span_sub(name, 0, equals));
        name = vd_span_sub(name, equals + 1, name.len);
        if (script == NULL)
            return refuse(t, "unknown kind of property in \\p{}");
    }
    for (size_t i = 0; i < name.len; i++)
        if (!word_char(name.ptr[i]))
            return refuse(t, "unknown property in \\p{}");
    for (size_t i = 0; script[0] == '\0' && i < sizeof(categories) / sizeof(categories[0]); i++)
        if (vd_span_eq_c(name, categories[i][0]))
            name = vd_span_of(categories[i][1]);
    (void)vd_buf_addf(t->out, "\\%c{%s%.*s}", negated ? 'P' : 'p', script, (int)name.len, name.ptr);
    return VD_OK;
}

/* -- escapes ----------------------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(struct translator *t, size_t count, uint32_t *ret)
{
    uint32_t v = 0;

    if ((size_t)(t->end - t->p) < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        int digit = hex_digit(t->p[i]);

        if (digit < 0)
            return false;
        v = v << 4 | (uint32_t)digit;
    }
    t->p += count;
    *ret = v;
    return true;
}

static bool take_braced_hex(struct translator *t, uint32_t *ret)
{
    uint32_t v = 0;
    const char *p = t->p + 1;

    for (; p < t->end && hex_digit(*p) >= 0 && v <= 0x10FFFF; p++)
        v = v << 4 | (uint32_t)hex_digit(*p);
    if (p == t->p + 1 || p == t->end || *p != '}' || v > 0x10FFFF)
        return false;
    t->p = p + 1;
    *ret = v;
    return true;
}

/* t->p is behind \u. A surrogate pair is one character; half of one never occurs in UTF-8 and cannot match. */
static enum vd_code add_unicode(struct translator *t)
{
    uint32_t c;
    uint32_t low;

    if (t->p < t->end && *t->p == '{') {
        if (!take_braced_hex(t, &c))
            return refuse(t, "\\u{} needs a code point");
    } else if (!take_hex(t, 4, &c)) {
        return refuse(t, "\\u needs four hexadecimal digits");
    }
    if (c >= 0xD800 && c <= 0xDBFF && t->end - t->p >= 6 && t->p[0] == '\\' && t->p[1] == 'u') {
        const char *back = t->p;

        t->p += 2;
        if (take_hex(t, 4, &low) && low >= 0xDC00 && low <= 0xDFFF)
            c = 0x10000 + ((c - 0xD800) << 10 | (low - 0xDC00));
        else
            t->p = back;
    }
    if (c >= 0xD800 && c <= 0xDFFF)
        return refuse(t, "half of a surrogate pair");
    add_char(t, c);
    return VD_OK;
}

static enum vd_code add_control(struct translator *t)
{
    char letter = t->p < t->end ? *t->p : '\0';
    char low = (char)(letter | 0x20);

    if (low < 'a' || low > 'z')
        return refuse(t, "\\c needs a letter");
    t->p++;
    add_char(t, (uint32_t)(letter & 0x1F));
    return VD_OK;
}

static enum vd_code add_named_reference(struct translator *t)
{
    struct vd_span rest = {t->p, (size_t)(t->end - t->p)};
    size_t close = vd_span_find(rest, '>');

    if (rest.len == 0 || rest.ptr[0] != '<' || close == rest.len)
        return refuse(t, "\\k needs a group name in <>");
    add(t, "\\k");
    (void)vd_buf_add(t->out, vd_span_sub(rest, 0, close + 1));
    t->p += close + 1;
    return VD_OK;
}

static enum vd_code add_letter_escape(struct translator *t, char c)
{
    static const char same[] = "dDwWfnrt";
    uint32_t v;

    if (memchr(same, c, sizeof(same) - 1) != NULL) {
        (void)vd_buf_addf(t->out, "\\%c", c);
        return VD_OK;
    }
    switch (c) {
    case 's':
        add(t, t->in_class ? BLANKS : "[" BLANKS "]");
        return VD_OK;
    case 'S':
        add(t, t->in_class ? NOT_BLANKS : "[^" BLANKS "]");
        return VD_OK;
    case 'v':
        add_char(t, 0x0B);
        return VD_OK;
    case 'b':
    case 'B':
        if (c == 'B' && t->in_class)
            return refuse(t, "\\B in a class");
        t->quantifiable = t->in_class;
        (void)vd_buf_addf(t->out, "\\%c", c);
        return VD_OK;
    case 'x':
        if (!take_hex(t, 2, &v))
            return refuse(t, "\\x needs two hexadecimal digits");
        add_char(t, v);
        return VD_OK;
    case 'u':
        return add_unicode(t);
    case 'c':
        return add_control(t);
    case 'p':
    case 'P':
        return add_property(t, c == 'P');
    case 'k':
        return add_named_reference(t);
    default:
        return vd_err_set(t->err, VD_E_CONFIG, false,
                          "not a regular expression: \\%c means nothing in ECMA-262", c);
    }
}

static enum vd_code add_digit_escape(struct translator *t, char c)
{
    if (c == '0') {
        if (t->p < t->end && *t->p >= '0' && *t->p <= '9')
            return refuse(t, "octal escape");
        add_char(t, 0);
        return VD_OK;
    }
    if (t->in_class)
        return refuse(t, "a back reference in a class");
    (void)vd_buf_addf(t->out, "\\g{%c", c);
    while (t->p < t->end && *t->p >= '0' && *t->p <= '9')
        (void)vd_buf_add_char(t->out, *t->p++);
    (void)vd_buf_add_char(t->out, '}');
    return VD_OK;
}

/* t->p is on the backslash. */
static enum vd_code add_escape(struct translator *t)
{
    char c;

    if (++t->p == t->end)
        return refuse(t, "it ends with a backslash");
    c = *t->p++;
    t->quantifiable = true;
    if (c >= '0' && c <= '9')
        return add_digit_escape(t, c);
    if (word_char(c) && c != '_')
        return add_letter_escape(t, c);
    if ((unsigned char)c >= 0x80) {
        t->p--; /* a character outside ASCII stands for itself; the main loop copies it */
        return VD_OK;
    }
    (void)vd_buf_addf(t->out, "\\x{%x}", (unsigned)(unsigned char)c);
    return VD_OK;
}

/* -- the rest ---------------------------------------------------------------------------------------------------- */

/* Is p on an escape that stands for a set: \d \w \s \p{} and their opposites? */
static bool on_set(const struct translator *t, const char *p)
{
    return t->end - p >= 2 && p[0] == '\\' && memchr("dDwWsSpP", p[1], 8) != NULL;
}

/* A hyphen beside a set cannot be a range: it stands for itself, as in [\w-.] */
static enum vd_code add_class_item(struct translator *t)
{
    bool set = on_set(t, t->p);
    enum vd_code rc = VD_OK;

    if (*t->p == '\\') {
        rc = add_escape(t);
    } else if (*t->p == '[' || (*t->p == '-' && on_set(t, t->p + 1))) {
        (void)vd_buf_addf(t->out, "\\%c", *t->p++); /* [: would start a POSIX class */
    } else {
        (void)vd_buf_add_char(t->out, *t->p++);
    }
    if (set && rc == VD_OK && t->p < t->end && *t->p == '-') {
        add(t, "\\-");
        t->p++;
    }
    return rc;
}

static enum vd_code add_class(struct translator *t)
{
    enum vd_code rc = VD_OK;

    (void)vd_buf_add_char(t->out, *t->p++);
    if (t->p < t->end && *t->p == '^')
        (void)vd_buf_add_char(t->out, *t->p++);
    t->in_class = true;
    while (rc == VD_OK && t->p < t->end && *t->p != ']')
        rc = add_class_item(t);
    t->in_class = false;
    if (rc != VD_OK)
        return rc;
    if (t->p == t->end)
        return refuse(t, "a class is not closed");
    (void)vd_buf_add_char(t->out, *t->p++);
    t->quantifiable = true;
    return VD_OK;
}

static enum vd_code add_group(struct translator *t)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!"};
    struct vd_span rest = {t->p, (size_t)(t->end - t->p)};

    t->quantifiable = false;
    if (rest.len < 2 || rest.ptr[1] != '?') {
        (void)vd_buf_add_char(t->out, *t->p++);
        return VD_OK;
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (vd_span_starts(rest, vd_span_of(known[i]))) {
            add(t, known[i]);
            t->p += strlen(known[i]);
            return VD_OK;
        }
    }
    if (vd_span_starts(rest, VD_LIT("(?<"))) {
        size_t close = vd_span_find(rest, '>');

        if (close < rest.len) {
            (void)vd_buf_add(t->out, vd_span_sub(rest, 0, close + 1));
            t->p += close + 1;
            return VD_OK;
        }
    }
    return refuse(t, "unknown kind of group after (?");
}

/* Length of {n}, {n,} or {n,m} at p, or 0. */
static size_t counted(const char *p, const char *end)
{
    const char *q = p + 1;
    size_t digits = 0;

    for (; q < end && *q >= '0' && *q <= '9'; q++)
        digits++;
    if (digits == 0 || q == end)
        return 0;
    if (*q == ',')
        for (q++; q < end && *q >= '0' && *q <= '9'; q++)
            ;
    return q < end && *q == '}' ? (size_t)(q - p) + 1 : 0;
}

static enum vd_code add_quantifier(struct translator *t)
{
    size_t len = *t->p == '{' ? counted(t->p, t->end) : 1;

    if (len == 0) {
        add(t, "\\{");
        t->p++;
        t->quantifiable = true;
        return VD_OK;
    }
    if (!t->quantifiable)
        return refuse(t, "nothing to repeat");
    (void)vd_buf_add(t->out, (struct vd_span){t->p, len});
    t->p += len;
    if (t->p < t->end && *t->p == '?')
        (void)vd_buf_add_char(t->out, *t->p++);
    t->quantifiable = false; /* a+ + is no possessive quantifier here */
    return VD_OK;
}

static enum vd_code add_other(struct translator *t)
{
    char c = *t->p++;

    t->quantifiable = c != '|' && c != '^' && c != '$';
    if (c == '.')
        add(t, "[^\\n\\r\\x{2028}\\x{2029}]");
    else
        (void)vd_buf_add_char(t->out, c);
    return VD_OK;
}

static enum vd_code add_next(struct translator *t)
{
    switch (*t->p) {
    case '\\':
        return add_escape(t);
    case '[':
        return add_class(t);
    case '(':
        return add_group(t);
    case '*':
    case '+':
    case '?':
    case '{':
        return add_quantifier(t);
    default:
        return add_other(t);
    }
}

enum vd_code vd_regex_translate(struct vd_span pattern, struct vd_buf *out, struct vd_err *err)
{
    struct translator t = {.p = pattern.ptr,
                           .end = pattern.ptr == NULL ? NULL : pattern.ptr + pattern.len,
                           .out = out,
                           .err = err};

    while (t.p < t.end) {
        enum vd_code rc = add_next(&t);

        if (rc != VD_OK)
            return rc;
    }
    return out->failed == VD_OK ? VD_OK : vd_err_nomem(err, "regular expression");
}
