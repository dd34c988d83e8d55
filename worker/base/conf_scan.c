/* base/conf_scan.c - see conf_scan.h.
 *
 * A lexer for libconfig's syntax that only complains: the parser proper is libconfig's. Quirks, by version:
 *   - 1.5 reads an integer without L by atoi(): 3000000000 becomes -1294967296, without a word; 1.7 promotes it.
 *   - 1.5 refuses a trailing comma in ( ) and [ ]; 1.7 accepts it.
 *   - all let a string run over lines, so that a forgotten quote is reported at the end of some later string.
 *   - 1.8 reads 0b and 0o integers and 010 as octal; 1.5 does not.
 *   - \xHH puts any byte into a string.
 */
#include "base/conf_scan.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/limits.h"

struct scan {
    const char *p;
    const char *end;
    const char *file;
    unsigned line;
    struct vd_diags *diags;
    vd_conf_include_fn *include;
    void *arg;
    struct {
        char opener;
        unsigned line;
    } open[VD_CONF_MAX_DEPTH];
    size_t depth;
    const char *comma; /* the last token was this comma; NULL otherwise */
    unsigned comma_line;
    bool line_start; /* only blanks since the line began */
};

static struct vd_span shorten(const char *from, const char *to)
{
    size_t n = (size_t)(to - from);

    return (struct vd_span){from, n > 40 ? 40 : n};
}

static bool name_start(char c)
{
    return isalpha((unsigned char)c) || c == '*';
}

static bool name_char(char c)
{
    return isalnum((unsigned char)c) || c == '*' || c == '-' || c == '_';
}

/* One UTF-8 character at p: its length, 0 when malformed (RFC 3629). */
static size_t utf8_len(const char *p, const char *end)
{
    const unsigned char *u = (const unsigned char *)p;
    size_t n = u[0] < 0x80   ? 1
               : u[0] < 0xC2 ? 0
               : u[0] < 0xE0 ? 2
               : u[0] < 0xF0 ? 3
               : u[0] < 0xF5 ? 4
                             : 0;

    if (n == 0 || (size_t)(end - p) < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((u[i] & 0xC0) != 0x80)
            return 0;
    if ((u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F) ||
        (u[0] == 0xF0 && u[1] < 0x90) || (u[0] == 0xF4 && u[1] > 0x8F))
        return 0;
    return n;
}

static void check_bytes(struct scan *s, struct vd_span text)
{
    const char *p = text.ptr, *end = text.ptr + text.len;
    unsigned line = 1;

    while (p < end) {
        size_t n = utf8_len(p, end);

        if (n == 0 || *p == '\0') {
            vd_diag_error(s->diags, s->file, line, "UTF-8 text", "%s byte 0x%02X",
                          n == 0 ? "not UTF-8:" : "a NUL ends the file for the parser:",
                          (unsigned)(unsigned char)*p);
            n = 1;
        }
        if (*p == '\n')
            line++;
        p += n;
    }
}

static void skip_block_comment(struct scan *s)
{
    unsigned opened = s->line;

    for (s->p += 2; s->p < s->end; s->p++) {
        if (*s->p == '\n')
            s->line++;
        if (*s->p == '*' && s->p + 1 < s->end && s->p[1] == '/') {
            s->p += 2;
            return;
        }
    }
    vd_diag_error(s->diags, s->file, opened, "*/ where the comment ends",
                  "a comment that opens here is never closed");
}

static void skip_line(struct scan *s)
{
    while (s->p < s->end && *s->p != '\n')
        s->p++;
}

static void check_escape(struct scan *s)
{
    if (s->p + 1 < s->end && s->p[1] == 'x')
        vd_diag_error(s->diags, s->file, s->line, "the character itself, in UTF-8",
                      "\\x in a string makes a byte that may not be UTF-8");
}

/* At the opening quote; stops behind the closing one, or at the end of the line. */
static void scan_string(struct scan *s)
{
    const char *from = s->p++;

    while (s->p < s->end && *s->p != '"' && *s->p != '\n') {
        if (*s->p == '\\') {
            check_escape(s);
            s->p++;
            if (s->p >= s->end || *s->p == '\n')
                break;
        }
        s->p++;
    }
    if (s->p < s->end && *s->p == '"') {
        s->p++;
        return;
    }
    vd_diag_error(
        s->diags, s->file, s->line,
        "the closing quote on this line; long text as \"several \" \"strings\" side by side",
        "a quote that opens here is not closed on its line: %.*s", (int)shorten(from, s->p).len,
        from);
}

/* The digits from p to end, in the base; saturates. */
static uint64_t magnitude(const char *p, const char *end, unsigned base)
{
    uint64_t v = 0;

    for (; p < end; p++) {
        unsigned digit = isdigit((unsigned char)*p)
                             ? (unsigned)(*p - '0')
                             : (unsigned)(tolower((unsigned char)*p) - 'a') + 10;

        if (v > (UINT64_MAX - digit) / base)
            return UINT64_MAX;
        v = v * base + digit;
    }
    return v;
}

static void check_integer(struct scan *s, const char *from, const char *to)
{
    const char *digits = from + (*from == '-' || *from == '+' ? 1 : 0);
    const char *end = to;
    bool negative = *from == '-', hex = false;
    size_t suffix = 0;
    uint64_t v, most;

    while (end > digits && end[-1] == 'L') {
        end--;
        suffix++;
    }
    if (end - digits > 2 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X')) {
        hex = true;
        digits += 2;
    }
    for (const char *p = digits; p < end; p++)
        if (!(hex ? isxdigit((unsigned char)*p) : isdigit((unsigned char)*p))) {
            vd_diag_error(s->diags, s->file, s->line, "a decimal number, or text in quotes",
                          "not a number: %.*s", (int)shorten(from, to).len, from);
            return;
        }
    if (!hex && end - digits > 1 && *digits == '0')
        vd_diag_error(s->diags, s->file, s->line, "the number without leading zeros",
                      "leading zeros are read differently by versions of libconfig: %.*s",
                      (int)shorten(from, to).len, from);
    v = magnitude(digits, end, hex ? 16 : 10);
    most = (uint64_t)INT64_MAX + (negative ? 1u : 0u);
    if (v > most)
        vd_diag_error(s->diags, s->file, s->line, "a number that fits 64 bits", "too large: %.*s",
                      (int)shorten(from, to).len, from);
    else if (suffix == 0 && v > (uint64_t)INT32_MAX + (negative ? 1u : 0u))
        vd_diag_error(s->diags, s->file, s->line, "the same number with an L behind it",
                      "needs an L, else libconfig 1.5 wraps it silently to 32 bits: %.*s",
                      (int)shorten(from, to).len, from);
}

static void scan_number(struct scan *s)
{
    const char *from = s->p;
    bool real = false, hex;

    if (*s->p == '-' || *s->p == '+')
        s->p++;
    hex = s->end - s->p > 1 && s->p[0] == '0' && (s->p[1] == 'x' || s->p[1] == 'X');
    while (s->p < s->end) {
        char c = *s->p;

        if (c == '.' || (!hex && (c == 'e' || c == 'E')))
            real = true;
        else if ((c == '-' || c == '+') && real && (s->p[-1] == 'e' || s->p[-1] == 'E'))
            ;
        else if (!isalnum((unsigned char)c))
            break;
        s->p++;
    }
    if (!real)
        check_integer(s, from, s->p);
}

static void scan_name(struct scan *s)
{
    const char *from = s->p;

    while (s->p < s->end && name_char(*s->p))
        s->p++;
    if (s->p < s->end && *s->p == '.') {
        while (s->p < s->end && (name_char(*s->p) || *s->p == '.'))
            s->p++;
        vd_diag_error(s->diags, s->file, s->line, "a group: a = { b = ...; };",
                      "a name has no dots: %.*s", (int)shorten(from, s->p).len, from);
    }
}

static char closer_of(char opener)
{
    return opener == '{' ? '}' : opener == '[' ? ']' : ')';
}

static void open_bracket(struct scan *s)
{
    if (s->depth == VD_CONF_MAX_DEPTH)
        vd_diag_error(s->diags, s->file, s->line, "fewer groups and lists in each other",
                      "nested deeper than %d", VD_CONF_MAX_DEPTH);
    if (s->depth < VD_CONF_MAX_DEPTH) {
        s->open[s->depth].opener = *s->p;
        s->open[s->depth].line = s->line;
    }
    s->depth++;
}

static void close_bracket(struct scan *s)
{
    char c = *s->p;

    if (c != '}' && s->comma != NULL)
        vd_diag_error(s->diags, s->file, s->comma_line, "the list without its last comma",
                      "a comma before \"%c\": libconfig 1.5 refuses it, 1.7 accepts it", c);
    if (s->depth == 0) {
        vd_diag_error(s->diags, s->file, s->line, NULL, "\"%c\" closes nothing", c);
        return;
    }
    s->depth--;
    if (s->depth < VD_CONF_MAX_DEPTH && closer_of(s->open[s->depth].opener) != c)
        vd_diag_error(s->diags, s->file, s->line, NULL, "\"%c\" where \"%c\" of line %u must close",
                      c, closer_of(s->open[s->depth].opener), s->open[s->depth].line);
}

/* At '@'. */
static void scan_directive(struct scan *s)
{
    struct vd_span rest = {s->p, (size_t)(s->end - s->p)};
    const char *quote, *name, *end;

    if (!s->line_start || !vd_span_starts(rest, VD_LIT("@include"))) {
        vd_diag_error(s->diags, s->file, s->line, "@include \"file\" on a line of its own",
                      "only @include may start with @");
        s->p++;
        return;
    }
    end = s->p + vd_span_find(rest, '\n');
    for (quote = s->p + 8; quote < end && (*quote == ' ' || *quote == '\t'); quote++)
        ;
    name = quote + 1;
    if (quote >= end || *quote != '"' || quote == s->p + 8 ||
        memchr(name, '"', (size_t)(end - name)) == NULL) {
        vd_diag_error(s->diags, s->file, s->line, "@include \"file\"", "@include without a name");
        s->p = end;
        return;
    }
    end = memchr(name, '"', (size_t)(end - name));
    s->p = end + 1;
    if (s->include == NULL)
        vd_diag_error(s->diags, s->file, s->line, "the text of that file here",
                      "@include is not possible here");
    else
        s->include(s->arg, (struct vd_span){name, (size_t)(end - name)}, s->line);
}

static bool skip_blank(struct scan *s)
{
    char c = *s->p;
    char next = s->p + 1 < s->end ? s->p[1] : '\0';

    if (c == '\n') {
        s->line++;
        s->line_start = true;
        s->p++;
    } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f') {
        s->p++;
    } else if (c == '#' || (c == '/' && next == '/')) {
        skip_line(s);
    } else if (c == '/' && next == '*') {
        skip_block_comment(s);
    } else {
        return false;
    }
    return true;
}

static void scan_token(struct scan *s)
{
    char c = *s->p;
    char next = s->p + 1 < s->end ? s->p[1] : '\0';
    bool comma = c == ',';

    if (c == '"') {
        scan_string(s);
    } else if (name_start(c)) {
        scan_name(s);
    } else if (isdigit((unsigned char)c) || c == '.' ||
               ((c == '-' || c == '+') && (isdigit((unsigned char)next) || next == '.'))) {
        scan_number(s);
    } else if (c == '@') {
        scan_directive(s);
    } else if (strchr("{[(", c) != NULL) {
        open_bracket(s);
        s->p++;
    } else if (strchr("}])", c) != NULL) {
        close_bracket(s);
        s->p++;
    } else {
        if (strchr("=:;,", c) == NULL)
            vd_diag_error(s->diags, s->file, s->line, "text in double quotes",
                          "\"%.1s\" means nothing here", isprint((unsigned char)c) ? s->p : "?");
        s->p++;
    }
    s->comma = comma ? s->p : NULL;
    s->comma_line = s->line;
    s->line_start = false;
}

void vd_conf_scan(struct vd_span text, const char *file, struct vd_diags *diags,
                  vd_conf_include_fn *include, void *arg)
{
    struct scan s = {.p = text.ptr,
                     .end = text.ptr + text.len,
                     .file = file,
                     .line = 1,
                     .diags = diags,
                     .include = include,
                     .arg = arg,
                     .line_start = true};

    if (text.len == 0)
        return;
    check_bytes(&s, text);
    while (s.p < s.end)
        if (!skip_blank(&s))
            scan_token(&s);
    while (s.depth > 0) {
        s.depth--;
        if (s.depth < VD_CONF_MAX_DEPTH)
            vd_diag_error(diags, file, s.open[s.depth].line, NULL,
                          "\"%c\" that opens here is never closed", s.open[s.depth].opener);
    }
}
