/* cel/lexer.c - see lexer.h. */
#include "cel/lexer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/utf8.h"

enum vd_code vd_cel_error_at(struct vd_err *err, unsigned line, unsigned column, const char *fmt,
                             ...)
{
    char text[sizeof(((struct vd_err *)0)->msg)];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (line > 1)
        return vd_err_set(err, VD_E_CONFIG, false, "line %u, column %u: %s", line, column, text);
    return vd_err_set(err, VD_E_CONFIG, false, "column %u: %s", column, text);
}

void vd_cel_lexer_init(struct vd_cel_lexer *lx, struct vd_span source, struct vd_arena *arena,
                       struct vd_err *err)
{
    *lx =
        (struct vd_cel_lexer){.source = source, .line = 1, .column = 1, .arena = arena, .err = err};
}

/* Line and column of byte offset pos, which must not go back. */
static void locate(struct vd_cel_lexer *lx, size_t pos)
{
    for (; lx->column_pos < pos; lx->column_pos++) {
        unsigned char c = (unsigned char)lx->source.ptr[lx->column_pos];

        if (c == '\n') {
            lx->line++;
            lx->column = 1;
        } else if ((c & 0xC0) != 0x80) {
            lx->column++;
        }
    }
}

static enum vd_code fail(struct vd_cel_lexer *lx, const struct vd_cel_token *t, const char *what)
{
    return vd_cel_error_at(lx->err, t->line, t->column, "%s", what);
}

static int peek(const struct vd_cel_lexer *lx, size_t ahead)
{
    size_t at = lx->pos + ahead;

    return at < lx->source.len ? (unsigned char)lx->source.ptr[at] : -1;
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

static int hex_value(int c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void skip_blanks(struct vd_cel_lexer *lx)
{
    for (;;) {
        int c = peek(lx, 0);

        if (c == '/' && peek(lx, 1) == '/')
            while (peek(lx, 0) != -1 && peek(lx, 0) != '\n' && peek(lx, 0) != '\r')
                lx->pos++;
        else if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f')
            lx->pos++;
        else
            return;
    }
}

/* -- numbers ----------------------------------------------------------------------------------------------------- */

static enum vd_code finish_integer(struct vd_cel_lexer *lx, struct vd_cel_token *t, bool in_range,
                                   uint64_t u)
{
    bool is_uint = peek(lx, 0) == 'u' || peek(lx, 0) == 'U';

    if (is_uint)
        lx->pos++;
    if (is_word(peek(lx, 0)))
        return fail(lx, t, "a number runs into a word");
    if (is_uint) {
        t->value = vd_cel_uint(u);
        return in_range ? VD_OK : fail(lx, t, "integer literal is too large for uint");
    }
    t->is_min_int = in_range && u == (uint64_t)INT64_MAX + 1;
    t->value = vd_cel_int(t->is_min_int ? INT64_MAX : (int64_t)(u & INT64_MAX));
    if (!in_range || u > (uint64_t)INT64_MAX + 1)
        return fail(lx, t, "integer literal is too large for int");
    return VD_OK;
}

static enum vd_code lex_hex(struct vd_cel_lexer *lx, struct vd_cel_token *t)
{
    uint64_t u = 0;
    bool in_range = true;
    size_t digits = 0;

    for (lx->pos += 2; hex_value(peek(lx, 0)) >= 0; lx->pos++, digits++) {
        in_range = in_range && u >> 60 == 0;
        u = u << 4 | (uint64_t)hex_value(peek(lx, 0));
    }
    if (digits == 0)
        return fail(lx, t, "0x needs hexadecimal digits");
    return finish_integer(lx, t, in_range, u);
}

/* Skip an exponent if one stands here. */
static bool skip_exponent(struct vd_cel_lexer *lx)
{
    size_t n = 1;

    if (peek(lx, 0) != 'e' && peek(lx, 0) != 'E')
        return false;
    if (peek(lx, n) == '+' || peek(lx, n) == '-')
        n++;
    if (!is_digit(peek(lx, n)))
        return false;
    for (lx->pos += n; is_digit(peek(lx, 0));)
        lx->pos++;
    return true;
}

static enum vd_code lex_number(struct vd_cel_lexer *lx, struct vd_cel_token *t)
{
    size_t start = lx->pos;
    bool is_double = false;
    char *text;
    uint64_t u = 0;
    struct vd_span digits;

    t->kind = VD_CEL_T_CONST;
    if (peek(lx, 0) == '0' && (peek(lx, 1) == 'x' || peek(lx, 1) == 'X'))
        return lex_hex(lx, t);
    while (is_digit(peek(lx, 0)))
        lx->pos++;
    if (peek(lx, 0) == '.' && is_digit(peek(lx, 1))) {
        is_double = true;
        for (lx->pos++; is_digit(peek(lx, 0));)
            lx->pos++;
    }
    is_double = skip_exponent(lx) || is_double;
    digits = (struct vd_span){lx->source.ptr + start, lx->pos - start};
    if (!is_double) {
        bool in_range = vd_parse_u64(digits, UINT64_MAX, &u);

        return finish_integer(lx, t, in_range, u);
    }
    if (is_word(peek(lx, 0)))
        return fail(lx, t, "a number runs into a word");
    text = vd_arena_strndup(lx->arena, digits);
    if (text == NULL)
        return vd_err_nomem(lx->err, "cel literal");
    t->value = vd_cel_double(strtod(text, NULL));
    return isfinite(t->value.u.d) ? VD_OK : fail(lx, t, "number is too large for a double");
}

/* -- strings ----------------------------------------------------------------------------------------------------- */

struct string_form {
    bool is_raw;
    bool is_bytes;
    bool is_triple;
    int quote;
};

/* Is this the start of a string, with its prefixes? Moves nothing. Returns the length of prefix and opening quote, 0 if not. */
static size_t string_start(const struct vd_cel_lexer *lx, struct string_form *ret)
{
    size_t n = 0;
    int c;

    *ret = (struct string_form){0};
    for (; n < 2; n++) {
        c = peek(lx, n);
        if ((c == 'r' || c == 'R') && !ret->is_raw)
            ret->is_raw = true;
        else if ((c == 'b' || c == 'B') && !ret->is_bytes && !ret->is_raw)
            ret->is_bytes = true;
        else
            break;
    }
    c = peek(lx, n);
    if (c != '"' && c != '\'')
        return 0;
    ret->quote = c;
    ret->is_triple = peek(lx, n + 1) == c && peek(lx, n + 2) == c;
    return n + (ret->is_triple ? 3 : 1);
}

static bool read_digits(const struct vd_cel_lexer *lx, size_t at, size_t n, unsigned base,
                        uint32_t *ret)
{
    uint32_t v = 0;

    for (size_t i = 0; i < n; i++) {
        int d = hex_value(peek(lx, at + i));

        if (d < 0 || (unsigned)d >= base)
            return false;
        v = v * base + (uint32_t)d;
    }
    *ret = v;
    return true;
}

/* The code point of \uXXXX or \UXXXXXXXX; a pair of \u surrogates is one code point. Moves over it. */
static enum vd_code lex_unicode(struct vd_cel_lexer *lx, const struct vd_cel_token *t, size_t n,
                                uint32_t *ret)
{
    uint32_t low;

    if (!read_digits(lx, 2, n, 16, ret))
        return fail(lx, t,
                    n == 4 ? "\\u needs four hexadecimal digits"
                           : "\\U needs eight hexadecimal digits");
    lx->pos += 2 + n;
    if (n == 4 && *ret >= 0xD800 && *ret <= 0xDBFF && peek(lx, 0) == '\\' && peek(lx, 1) == 'u' &&
        read_digits(lx, 2, 4, 16, &low) && low >= 0xDC00 && low <= 0xDFFF) {
        *ret = 0x10000 + ((*ret - 0xD800) << 10) + (low - 0xDC00);
        lx->pos += 6;
    }
    if (*ret > 0x10FFFF || (*ret >= 0xD800 && *ret <= 0xDFFF))
        return fail(lx, t, "escape is not a Unicode code point");
    return VD_OK;
}

static int simple_escape(int c)
{
    static const char from[] = "\\?\"'`abfnrtv";
    static const char to[] = "\\?\"'`\a\b\f\n\r\t\v";
    const char *at = c > 0 ? strchr(from, c) : NULL;

    return at == NULL ? -1 : to[at - from];
}

/* One escape at pos: its bytes to out. Octets in bytes, code points in strings. */
static enum vd_code lex_escape(struct vd_cel_lexer *lx, const struct vd_cel_token *t, bool is_bytes,
                               char *out, size_t *len)
{
    int c = peek(lx, 1);
    uint32_t v = 0;
    enum vd_code rc;

    if (simple_escape(c) >= 0) {
        lx->pos += 2;
        out[(*len)++] = (char)simple_escape(c);
        return VD_OK;
    }
    if (c == 'u' || c == 'U') {
        if (is_bytes)
            return fail(lx, t, "\\u and \\U are not for bytes literals");
        rc = lex_unicode(lx, t, c == 'u' ? 4 : 8, &v);
        if (rc != VD_OK)
            return rc;
    } else if ((c == 'x' || c == 'X') && read_digits(lx, 2, 2, 16, &v)) {
        lx->pos += 4;
    } else if (c >= '0' && c <= '3' && read_digits(lx, 1, 3, 8, &v)) {
        lx->pos += 4;
    } else {
        return fail(lx, t, "unknown escape in string");
    }
    if (is_bytes)
        out[(*len)++] = (char)v;
    else
        *len += vd_utf8_put(out + *len, v);
    return VD_OK;
}

static bool is_close(const struct vd_cel_lexer *lx, const struct string_form *f, size_t ahead)
{
    if (peek(lx, ahead) != f->quote)
        return false;
    return !f->is_triple || (peek(lx, ahead + 1) == f->quote && peek(lx, ahead + 2) == f->quote);
}

/* Bytes from pos to the closing quote, SIZE_MAX when there is none. */
static size_t find_close(const struct vd_cel_lexer *lx, const struct string_form *f)
{
    size_t n = 0;

    while (!is_close(lx, f, n)) {
        int c = peek(lx, n);

        if (c == -1 || (!f->is_triple && (c == '\n' || c == '\r')))
            return SIZE_MAX;
        n += c == '\\' && !f->is_raw ? 2 : 1;
    }
    return n;
}

static enum vd_code lex_string(struct vd_cel_lexer *lx, struct vd_cel_token *t, size_t opening,
                               const struct string_form *f)
{
    size_t len = 0;
    size_t written;
    size_t end;
    char *out;

    lx->pos += opening;
    written = find_close(lx, f);
    if (written == SIZE_MAX)
        return fail(lx, t, "this string is never closed");
    end = lx->pos + written;
    out = vd_arena_alloc(lx->arena, written + 1); /* no escape is shorter than what it stands for */
    if (out == NULL)
        return vd_err_nomem(lx->err, "cel literal");
    while (lx->pos < end) {
        enum vd_code rc = VD_OK;

        if (peek(lx, 0) == '\\' && !f->is_raw)
            rc = lex_escape(lx, t, f->is_bytes, out, &len);
        else
            out[len++] = lx->source.ptr[lx->pos++];
        if (rc != VD_OK)
            return rc;
    }
    lx->pos += f->is_triple ? 3 : 1;
    t->kind = VD_CEL_T_CONST;
    t->value = vd_cel_string((struct vd_span){out, len});
    if (f->is_bytes)
        t->value.kind = VD_CEL_BYTES;
    return VD_OK;
}

/* -- words and signs --------------------------------------------------------------------------------------------- */

static bool is_reserved(struct vd_span word)
{
    static const char *const words[] = {
        "as",  "break", "const",     "continue", "else",   "for", "function", "if",   "import",
        "let", "loop",  "namespace", "package",  "return", "var", "void",     "while"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (vd_span_eq_c(word, words[i]))
            return true;
    return false;
}

static void lex_word(struct vd_cel_lexer *lx, struct vd_cel_token *t)
{
    size_t start = lx->pos;

    while (is_word(peek(lx, 0)))
        lx->pos++;
    t->text = (struct vd_span){lx->source.ptr + start, lx->pos - start};
    t->kind = VD_CEL_T_CONST;
    if (vd_span_eq_c(t->text, "true") || vd_span_eq_c(t->text, "false")) {
        t->value = vd_cel_bool(t->text.len == 4);
    } else if (vd_span_eq_c(t->text, "null")) {
        t->value = (struct vd_cel_value){.kind = VD_CEL_NULL};
    } else {
        t->kind = vd_span_eq_c(t->text, "in") ? VD_CEL_T_IN : VD_CEL_T_IDENT;
        t->is_reserved = is_reserved(t->text);
    }
}

static enum vd_code lex_quoted(struct vd_cel_lexer *lx, struct vd_cel_token *t)
{
    size_t start = ++lx->pos;

    for (;; lx->pos++) {
        int c = peek(lx, 0);

        if (c == '`')
            break;
        if (!is_word(c) && c != '.' && c != '-' && c != '/' && c != ' ')
            return fail(lx, t,
                        "a name in backquotes holds letters, digits, _ . - / and blanks only");
    }
    t->kind = VD_CEL_T_QUOTED;
    t->text = (struct vd_span){lx->source.ptr + start, lx->pos++ - start};
    return t->text.len > 0 ? VD_OK : fail(lx, t, "a name in backquotes is empty");
}

static enum vd_code lex_sign(struct vd_cel_lexer *lx, struct vd_cel_token *t)
{
    static const struct {
        char text[3];
        enum vd_cel_token_kind kind;
    } pairs[] = {
        {"&&", VD_CEL_T_AND}, {"||", VD_CEL_T_OR}, {"==", VD_CEL_T_EQ},
        {"!=", VD_CEL_T_NE},  {"<=", VD_CEL_T_LE}, {">=", VD_CEL_T_GE},
    };
    int c = peek(lx, 0);

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (c == pairs[i].text[0] && peek(lx, 1) == pairs[i].text[1]) {
            t->kind = pairs[i].kind;
            t->text = vd_span_of(pairs[i].text);
            lx->pos += 2;
            return VD_OK;
        }
    }
    if (c == '=')
        return fail(lx, t, "\"=\" is no operator; write \"==\" to compare");
    if (c == '&' || c == '|')
        return vd_cel_error_at(lx->err, t->line, t->column, "write \"%c%c\"", c, c);
    if (c == 0 || strchr("+-*/%<>!?:.,()[]{}", c) == NULL)
        return c > 0x20 && c < 0x7F
                   ? vd_cel_error_at(lx->err, t->line, t->column, "unexpected character \"%c\"", c)
                   : vd_cel_error_at(lx->err, t->line, t->column, "unexpected byte 0x%02x", c);
    t->kind = VD_CEL_T_CHAR;
    t->c = (char)c;
    t->text = (struct vd_span){lx->source.ptr + lx->pos++, 1};
    return VD_OK;
}

enum vd_code vd_cel_lexer_next(struct vd_cel_lexer *lx, struct vd_cel_token *ret)
{
    struct vd_cel_token t = {.kind = VD_CEL_T_END, .text = VD_LIT("the end")};
    struct string_form form;
    size_t start;
    size_t opening;
    enum vd_code rc = VD_OK;
    int c;

    skip_blanks(lx);
    locate(lx, lx->pos);
    t.line = lx->line;
    t.column = lx->column;
    start = lx->pos;
    c = peek(lx, 0);
    opening = string_start(lx, &form);
    if (c == -1)
        rc = VD_OK;
    else if (opening > 0)
        rc = lex_string(lx, &t, opening, &form);
    else if (is_digit(c) || (c == '.' && is_digit(peek(lx, 1))))
        rc = lex_number(lx, &t);
    else if (is_word(c))
        lex_word(lx, &t);
    else if (c == '`')
        rc = lex_quoted(lx, &t);
    else
        rc = lex_sign(lx, &t);
    if (rc != VD_OK)
        return rc;
    if (t.kind == VD_CEL_T_CONST)
        t.text = (struct vd_span){lx->source.ptr + start, lx->pos - start};
    *ret = t;
    return VD_OK;
}
