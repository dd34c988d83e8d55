/* schema/format_host.c - host names, also internationalised ones; see format.h.
 *
 * Source:   RFC 1123 section 2.1; IDNA2008: RFC 5890 (labels), RFC 5891 section 4.2, RFC 5892 (code points), RFC 3492 (Punycode).
 *
 * The tables of RFC 5892 are derived from Unicode's general categories, which PCRE2 has. Not checked: stability under NFKC of
 * rare compatibility letters, and the Bidi rule (RFC 5893).
 */
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "json/utf8.h"
#include "schema/format.h"
#include "schema/regex.h"

#define LABEL_MAX   63
#define NAME_MAX    253
#define MATCH_BYTES (64u << 10)

struct label {
    uint32_t chars[LABEL_MAX];
    size_t count;
};

/* -- Punycode (RFC 3492 section 6) ------------------------------------------------------------------------------- */

enum { BASE = 36, TMIN = 1, TMAX = 26, SKEW = 38, DAMP = 700, FIRST_BIAS = 72, FIRST_CODE = 128 };

static uint32_t adapt(uint32_t delta, uint32_t points, bool first)
{
    uint32_t k = 0;

    delta = first ? delta / DAMP : delta / 2;
    delta += delta / points;
    for (; delta > ((BASE - TMIN) * TMAX) / 2; k += BASE)
        delta /= BASE - TMIN;
    return k + (BASE - TMIN + 1) * delta / (delta + SKEW);
}

static uint32_t threshold(uint32_t k, uint32_t bias)
{
    if (k <= bias)
        return TMIN;
    return k - bias > TMAX ? TMAX : k - bias;
}

static uint32_t digit_value(char c)
{
    char low = (char)(c | 0x20);

    if (low >= 'a' && low <= 'z')
        return (uint32_t)(low - 'a');
    return c >= '0' && c <= '9' ? (uint32_t)(c - '0') + 26 : BASE;
}

/* A generalised variable-length integer at *at; adds it to *i. */
static bool take_delta(struct vd_span s, size_t *at, uint32_t bias, uint32_t *i)
{
    uint32_t weight = 1;

    for (uint32_t k = BASE;; k += BASE) {
        uint32_t digit = *at < s.len ? digit_value(s.ptr[(*at)++]) : BASE;
        uint32_t t = threshold(k, bias);

        if (digit >= BASE || digit > (UINT32_MAX - *i) / weight)
            return false;
        *i += digit * weight;
        if (digit < t)
            return true;
        if (weight > UINT32_MAX / (BASE - t))
            return false;
        weight *= BASE - t;
    }
}

static bool decode_punycode(struct vd_span s, struct label *ret)
{
    uint32_t n = FIRST_CODE;
    uint32_t bias = FIRST_BIAS;
    uint32_t i = 0;
    size_t at = s.len;

    ret->count = 0;
    while (at > 0 && s.ptr[at - 1] != '-')
        at--;
    for (size_t b = 0; b + 1 < at; b++)
        ret->chars[ret->count++] = (unsigned char)s.ptr[b];
    while (at < s.len) {
        uint32_t old = i;
        uint32_t points = (uint32_t)ret->count + 1;

        if (ret->count == LABEL_MAX || !take_delta(s, &at, bias, &i))
            return false;
        bias = adapt(i - old, points, old == 0);
        if (i / points > 0x10FFFF - n)
            return false;
        n += i / points;
        i %= points;
        memmove(&ret->chars[i + 1], &ret->chars[i], (ret->count - i) * sizeof(ret->chars[0]));
        ret->chars[i++] = n;
        ret->count++;
    }
    return true;
}

/* The length that the label has in Punycode, without "xn--" (RFC 3492 section 6.3, counting only). */
static size_t punycode_length(const struct label *l)
{
    uint32_t n = FIRST_CODE;
    uint32_t bias = FIRST_BIAS;
    uint32_t delta = 0;
    size_t done = 0;
    size_t length;
    size_t basic;

    for (size_t i = 0; i < l->count; i++)
        done += l->chars[i] < 0x80;
    basic = done;
    length = basic + (basic > 0);
    while (done < l->count) {
        uint32_t next = UINT32_MAX;

        for (size_t i = 0; i < l->count; i++)
            if (l->chars[i] >= n && l->chars[i] < next)
                next = l->chars[i];
        delta += (next - n) * (uint32_t)(done + 1);
        n = next;
        for (size_t i = 0; i < l->count; i++) {
            uint32_t q;

            delta += l->chars[i] < n;
            if (l->chars[i] != n)
                continue;
            q = delta;
            for (uint32_t k = BASE;; k += BASE) {
                uint32_t t = threshold(k, bias);

                length++;
                if (q < t)
                    break;
                q = (q - t) / (BASE - t);
            }
            bias = adapt(delta, (uint32_t)done + 1, done == basic);
            delta = 0;
            done++;
        }
        delta++;
        n++;
    }
    return length;
}

/* -- IDNA2008 ---------------------------------------------------------------------------------------------------- */

static bool matches(const struct label *l, const char *pattern)
{
    char text[LABEL_MAX * 4];
    size_t len = 0;
    struct vd_regex *regex = NULL;
    struct vd_regex_matcher *matcher;
    struct vd_arena arena;
    unsigned long steps;
    bool ok = false;

    for (size_t i = 0; i < l->count; i++)
        len += vd_utf8_put(text + len, l->chars[i]);
    vd_arena_init(&arena, MATCH_BYTES);
    matcher = vd_regex_matcher(&arena);
    if (matcher != NULL && vd_regex_compile(vd_span_of(pattern), &regex, NULL) == VD_OK)
        ok = vd_regex_search(matcher, regex, (struct vd_span){text, len}, &steps) == VD_REGEX_YES;
    (void)vd_regex_free(regex);
    vd_arena_fini(&arena);
    return ok;
}

/* PVALID, CONTEXTJ and CONTEXTO of RFC 5892 section 3; none of its exceptions that are disallowed (section 2.6); no old
 * Hangul Jamo (2.9); no letter that normalisation would replace (2.2), as far as blocks tell. */
#define ALLOWED                                                                                    \
    "^[-\\u00b7\\u0375\\u05f3\\u05f4\\u30fb\\u200c\\u200d\\u06fd\\u06fe\\u0f0b\\u3007"             \
    "\\p{Ll}\\p{Lo}\\p{Lm}\\p{Mn}\\p{Mc}\\p{Nd}]+$"
#define DISALLOWED                                                                                 \
    "[\\u0640\\u07fa\\u302e\\u302f\\u3031-\\u3035\\u303b\\u1100-\\u11ff\\ua960-\\ua97f\\ud7b0-"    \
    "\\ud7ff"                                                                                      \
    "\\uff00-\\uffef\\ufb00-\\ufdff\\ufe70-\\ufefc]"
#define STARTS_WITH_MARK "^\\p{M}"
#define VIRAMA                                                                                     \
    "[\\u094d\\u09cd\\u0a4d\\u0acd\\u0b4d\\u0bcd\\u0c4d\\u0ccd\\u0d3b\\u0d3c\\u0d4d\\u0dca\\u0e3a" \
    "\\u0eba"                                                                                      \
    "\\u0f84\\u1039\\u103a\\u1714\\u1734\\u17d2\\u1a60\\u1b44\\u1baa\\u1bab\\u1bf2\\u1bf3\\u2d7f"  \
    "\\ua806"                                                                                      \
    "\\ua8c4\\ua953\\ua9c0\\uaaf6\\uabed]"

/* RFC 5892 appendix A: a character that is only allowed in company. Each pattern finds an offence. */
static const struct {
    uint32_t from;
    uint32_t to;
    const char *offence;
} contexts[] = {
    {0x00B7, 0x00B7, "(?<!l)\\u00b7|\\u00b7(?!l)"},
    {0x0375, 0x0375, "\\u0375(?!\\p{Script=Greek})"},
    {0x05F3, 0x05F4, "(?<!\\p{Script=Hebrew})[\\u05f3\\u05f4]"},
    {0x0660, 0x0669, "[\\u06f0-\\u06f9]"},
    /* ZERO WIDTH NON-JOINER: after a virama, or between letters that join (Arabic script stands for joining types) */
    {0x200C, 0x200C,
     "(?<!" VIRAMA ")(?<![\\p{Script=Arabic}\\p{Script=Syriac}])\\u200c|"
     "(?<!" VIRAMA ")\\u200c(?![\\p{Script=Arabic}\\p{Script=Syriac}])"},
    {0x200D, 0x200D, "(?<!" VIRAMA ")\\u200d"},
};

static bool in_context(const struct label *l)
{
    for (size_t i = 0; i < l->count; i++) {
        for (size_t c = 0; c < sizeof(contexts) / sizeof(contexts[0]); c++)
            if (l->chars[i] >= contexts[c].from && l->chars[i] <= contexts[c].to &&
                matches(l, contexts[c].offence))
                return false;
        /* KATAKANA MIDDLE DOT needs Japanese somewhere */
        if (l->chars[i] == 0x30FB &&
            !matches(l, "[\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Han}]"))
            return false;
    }
    return true;
}

/* RFC 5891 section 4.2 */
static bool is_u_label(const struct label *l)
{
    if (l->count == 0 || l->chars[0] == '-' || l->chars[l->count - 1] == '-')
        return false;
    if (l->count >= 4 && l->chars[2] == '-' && l->chars[3] == '-')
        return false;
    if (4 + punycode_length(l) > LABEL_MAX)
        return false;
    return matches(l, ALLOWED) && !matches(l, DISALLOWED) && !matches(l, STARTS_WITH_MARK) &&
           in_context(l);
}

static bool is_a_label(struct vd_span s)
{
    struct label l;
    bool ascii = true;

    if (!decode_punycode(vd_span_sub(s, 4, s.len), &l))
        return false;
    for (size_t i = 0; i < l.count; i++) {
        ascii = ascii && l.chars[i] < 0x80;
        if (l.chars[i] >= 0xD800 && l.chars[i] <= 0xDFFF)
            return false;
        if (l.chars[i] >= 'A' && l.chars[i] <= 'Z')
            l.chars[i] |= 0x20; /* DNS ignores case */
    }
    return !ascii && is_u_label(&l);
}

/* -- names ------------------------------------------------------------------------------------------------------- */

/* Letters, digits and inner hyphens; "xn--" must hold what it promises. */
static bool is_ascii_label(struct vd_span s)
{
    if (s.len == 0 || s.len > LABEL_MAX || s.ptr[0] == '-' || s.ptr[s.len - 1] == '-')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char low = (char)(s.ptr[i] | 0x20);

        if (!(low >= 'a' && low <= 'z') && !(s.ptr[i] >= '0' && s.ptr[i] <= '9') && s.ptr[i] != '-')
            return false;
    }
    if (vd_span_starts_nocase(s, VD_LIT("xn--")))
        return is_a_label(s);
    /* Other labels with hyphens in third and fourth place are reserved (RFC 5890 section 2.3.1). */
    return s.len < 4 || s.ptr[2] != '-' || s.ptr[3] != '-';
}

bool vd_is_hostname(struct vd_span text)
{
    if (text.len > NAME_MAX)
        return false;
    for (;;) {
        size_t dot = vd_span_find(text, '.');

        if (!is_ascii_label(vd_span_sub(text, 0, dot)))
            return false;
        if (dot == text.len)
            return true;
        text = vd_span_sub(text, dot + 1, text.len);
    }
}

static bool is_any_label(struct vd_span s)
{
    struct label l = {.count = 0};
    bool ascii = true;

    for (size_t i = 0; i < s.len;) {
        size_t len;

        if (l.count == LABEL_MAX)
            return false;
        l.chars[l.count] = vd_utf8_get(s.ptr + i, &len);
        ascii = ascii && l.chars[l.count] < 0x80;
        l.count++;
        i += len;
    }
    return ascii ? is_ascii_label(s) : is_u_label(&l);
}

/* Bytes of the label separator at s, 0 if there is none: RFC 3490 section 3.1 knows four dots. */
static size_t separator(struct vd_span s)
{
    static const char *const dots[] = {".", "\xE3\x80\x82", "\xEF\xBC\x8E", "\xEF\xBD\xA1"};

    for (size_t i = 0; i < sizeof(dots) / sizeof(dots[0]); i++)
        if (vd_span_starts(s, vd_span_of(dots[i])))
            return strlen(dots[i]);
    return 0;
}

bool vd_is_idn_hostname(struct vd_span text)
{
    size_t from = 0;
    size_t at = 0;

    if (text.len > NAME_MAX * 4)
        return false;
    while (at < text.len) {
        size_t dot = separator(vd_span_sub(text, at, text.len));

        if (dot == 0) {
            at++;
            continue;
        }
        if (!is_any_label(vd_span_sub(text, from, at - from)))
            return false;
        at += dot;
        from = at;
    }
    return is_any_label(vd_span_sub(text, from, text.len));
}
