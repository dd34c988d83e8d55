/* Formats and regular expressions, also where the public suite says nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/limits.h"
#include "schema/format.h"
#include "schema/regex.h"
#include "schema/uri.h"

struct row {
    const char *format;
    const char *good[12];
    const char *bad[16];
};

static const struct row rows[] = {
    {"date",
     {"2026-11-23", "2024-02-29", "2000-02-29"},
     {"2026-02-29", "1900-02-29", "2026-13-01", "2026-00-01", "2026-01-00", "2026-1-1",
      "2026-01-011", ""}},
    {"time",
     {"08:30:00Z", "23:59:60Z", "08:30:00.123456789+05:30", "15:59:60-08:00", "00:29:60+00:30"},
     {"08:30:00", "24:00:00Z", "08:60:00Z", "22:59:60Z", "08:30:00.Z", "08:30:00+24:00", "8:30:00Z",
      "08:30:00 Z"}},
    {"date-time",
     {"2026-11-23T08:30:00Z", "2026-11-23t08:30:00z", "1998-12-31T15:59:60.123-08:00"},
     {"2026-11-23 08:30:00Z", "2026-11-23T08:30:00", "2026-02-30T00:00:00Z", "2026-11-23"}},
    {"duration",
     {"P1Y", "P3DT4H", "PT1M", "P2W", "P1Y2M3D", "P1Y2M", "PT0S", "PT36H"},
     {"P", "PT", "1D", "P1", "P1D2H", "P1Y2D", "P1W1D", "PT1H2S", "P1S", "PT1D", "P-1D", "P1.5D"}},
    {"email",
     {"a@b.example", "a.b+c@example.com", "\"a b\"@example.com", "\"a\\\"b\"@x", "a@[127.0.0.1]",
      "a@[IPv6:::1]"},
     {"a", "@b", "a@", "a..b@c", ".a@b", "a.@b", "a b@c", "a@b_c", "\"a\"b\"@c", "a@[300.0.0.1]",
      "a@-b", "\xC3\xA9@b"}},
    {"idn-email", {"\xC3\xA9@\xC3\xA9.example", "a@b"}, {"a", "@", "a@"}},
    {"hostname",
     {"a", "example.com", "a-b.c1", "xn--bcher-kva.example"},
     {"", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "ab--c", "xn--", "xn--X",
      "\xC3\xA9.example"}},
    {"idn-hostname",
     {"b\xC3\xBC"
      "cher.example",
      "example.com", "\xE4\xBE\x8B\xE3\x80\x82\xE4\xBE\x8B", "a.b"},
     {"",
      "\xE3\x80\xAE"
      "a",
      "-\xC3\xA9",
      "\xCC\x80"
      "a",
      "l\xC2\xB7"
      "a"}},
    {"ipv4",
     {"0.0.0.0", "255.255.255.255"},
     {"256.0.0.0", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.", "1.2.3.4 ", "0x1.2.3.4", ""}},
    {"ipv6",
     {"::", "::1", "1::", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1::8"},
     {":", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::1::", ":::", "12345::", "1:2:3:4:5:6:7::8",
      "::1.2.3", "1.2.3.4::", "::1%eth0", "1:2:3:4:5:6:7:1.2.3.4"}},
    {"uri",
     {"http://a/b?c#d", "urn:a:b", "http://[::1]:80/", "http://u:p@h:1/", "a:", "mailto:a@b"},
     {"", "a/b", "//a/b", "http://a b/", "http://[::1", "http://a:x/", "http://a/%zz",
      "http://\xC3\xA9/", "1a://b", "http://a/\\", "a:b#c#d"}},
    {"uri-reference",
     {"", "a/b", "//a/b", "#f", "?q", "../x", "./a:b"},
     {"a b", "%", "#a#b", "1:b"}},
    {"iri", {"http://\xC3\xA9/\xC3\xA9"}, {"\xC3\xA9", "http://\xC2\x80/"}},
    {"iri-reference", {"\xC3\xA9", "#\xC3\xA9"}, {"a b"}},
    {"uri-template",
     {"", "http://a/{b}", "{+a,b*,c:3}", "{a.b}", "{%41}"},
     {"{", "}", "{}", "{a", "{a{b}}", "{a:0}", "{a:10000}", "{.}", "{a..b}", "a b", "%4", "{a,}",
      "{*}"}},
    {"uuid",
     {"2EB8AA08-aa98-11ea-b4aa-73b441d16380", "00000000-0000-0000-0000-000000000000"},
     {"", "2eb8aa08-aa98-11ea-b4aa-73b441d1638", "2eb8aa08aa9811eab4aa73b441d16380",
      "2eb8aa08-aa98-11ea-b4aa-73b441d1638g"}},
    {"json-pointer", {"", "/", "/a~0~1", "//"}, {"a", "/~", "/~2", "#/a"}},
    {"relative-json-pointer", {"0", "1/a", "10#", "0/"}, {"", "01", "-1", "a", "1#a", "1a"}},
    {"regex",
     {"a|b", "^[\\w-.]+$", "\\p{Letter}", "(?<n>a)\\k<n>", "[^]", "a{,3}"},
     {"(", "a**", "*", "\\a", "\\Z", "(?i)a", "[b-a]", "a++", "\\", "[a", "(?#c)",
      "\\p{Nonsense}"}},
};

static void formats_are_what_their_standards_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct vd_format *format = vd_format_find(vd_span_of(rows[i].format));

        assert_non_null(format);
        assert_true(strlen(vd_format_about(format)) > 0);
        for (const char *const *good = rows[i].good; *good != NULL; good++)
            if (!vd_format_check(format, vd_span_of(*good)))
                fail_msg("%s refuses \"%s\"", rows[i].format, *good);
        for (const char *const *bad = rows[i].bad; *bad != NULL; bad++)
            if (vd_format_check(format, vd_span_of(*bad)))
                fail_msg("%s accepts \"%s\"", rows[i].format, *bad);
    }
    assert_null(vd_format_find(VD_LIT("colour")));
}

static void a_nul_byte_is_in_no_format(void **state)
{
    (void)state;
    assert_false(vd_is_ipv4((struct vd_span){"1.2.3.4\0", 8}));
    assert_false(vd_is_hostname((struct vd_span){"a\0b", 3}));
    assert_false(vd_is_uri((struct vd_span){"a:\0", 3}));
    assert_false(vd_is_email((struct vd_span){"a\0@b", 4}));
    assert_false(vd_is_uri_template((struct vd_span){"a\0", 2}));
}

static bool matches(const char *pattern, struct vd_span text)
{
    struct vd_regex *regex = NULL;
    struct vd_err err = {.msg = ""};
    struct vd_arena arena;
    unsigned long steps;
    enum vd_regex_result result;

    if (vd_regex_compile(vd_span_of(pattern), &regex, &err) != VD_OK)
        fail_msg("%s: %s", pattern, err.msg);
    vd_arena_init(&arena, 1u << 20);
    result = vd_regex_search(vd_regex_matcher(&arena), regex, text, &steps);
    vd_arena_fini(&arena);
    (void)vd_regex_free(regex);
    return result == VD_REGEX_YES;
}

static void patterns_are_read_as_ecma_262_reads_them(void **state)
{
    static const struct {
        const char *pattern;
        const char *text;
        bool found;
    } cases[] = {
        {"^\\d$", "\xD9\xA1", false}, /* ARABIC-INDIC DIGIT ONE is no \d */
        {"^\\w$", "\xC3\xA9", false},
        {"^\\W$", "\xC3\xA9", true},
        {"^\\s$", "\xC2\xA0", true}, /* NO-BREAK SPACE is \s */
        {"^\\s$", "\xEF\xBB\xBF", true},
        {"^\\S$", "\xE2\x80\x83", false}, /* EM SPACE */
        {"^[\\S]$", "\xE2\x80\x83", false},
        {"^[\\S]$", "x", true},
        {"^[^\\s]$", "\xE2\x80\x83", false},
        {"^a$", "a\n", false},          /* $ is the very end */
        {"^.$", "\xE2\x80\xA8", false}, /* LINE SEPARATOR ends a line */
        {"^.$", "\r", false},
        {"^.$", "\xF0\x9F\x98\x80", true}, /* one character, not two halves */
        {"^\\uD83D\\uDE00$", "\xF0\x9F\x98\x80", true},
        {"^\\u{1F600}$", "\xF0\x9F\x98\x80", true},
        {"^\\x41\\u0042\\cJ\\0?$", "AB\n", true},
        {"^\\p{Letter}\\p{Lu}\\P{Lu}$", "\xC3\xA9Xx", true},
        {"^\\p{Script=Greek}+$", "\xCE\xB1\xCE\xB2", true},
        {"^\\p{sc=Greek}+$", "ab", false},
        {"^[[:alpha:]]$", "a", false}, /* no POSIX classes: a set of [ : a l p h, and a ] */
        {"^[[:alpha:]]$", "a]", true},
        {"^[\\w-.]+$", "a-.", true},
        {"^[+--]$", ",", true},
        {"^[a\\-z]$", "b", false},
        {"^[\\b]$", "\b", true},
        {"\\bfoo\\b", "a foo b", true},
        {"^(a)?\\1b$", "b", true}, /* a group that took no part is empty */
        {"^(?<x>a)\\k<x>$", "aa", true},
        {"^(?:a(?=b)b(?!c))$", "ab", true},
        {"(?<=\\$)5", "$5", true},
        {"^a{2}$", "aa", true},
        {"^a{,2}$", "a{,2}", true}, /* no quantifier there */
        {"^{$", "{", true},
        {"^[^]$", "\n", true},
        {"[]", "", false},
        {"^\\/\\-\\@\\_$", "/-@_", true},
        {"^\\v\\f$", "\x0B\f", true},
        {"", "", true},
        {"^(?:)$", "", true},
        {"^\xC3\xA9+$", "\xC3\xA9\xC3\xA9", true},
        {"^\\\xC3\xA9$", "\xC3\xA9", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (matches(cases[i].pattern, vd_span_of(cases[i].text)) != cases[i].found)
            fail_msg("%s on \"%s\"", cases[i].pattern, cases[i].text);
    assert_true(matches("^a\\0b$", (struct vd_span){"a\0b", 3}));
}

static void what_ecma_262_does_not_know_is_refused_with_a_reason(void **state)
{
    static const struct {
        const char *pattern;
        const char *reason;
    } cases[] = {
        {"\\Z", "\\Z means nothing in ECMA-262"},
        {"a++", "nothing to repeat"},
        {"(*UTF)a", "nothing to repeat"},
        {"(?i)a", "unknown kind of group after (?"},
        {"(?>a)", "unknown kind of group after (?"},
        {"(?<x", "unknown kind of group after (?"},
        {"\\u12", "\\u needs four hexadecimal digits"},
        {"\\u{110000}", "\\u{} needs a code point"},
        {"\\uD800", "half of a surrogate pair"},
        {"\\x4", "\\x needs two hexadecimal digits"},
        {"\\c1", "\\c needs a letter"},
        {"\\01", "octal escape"},
        {"[\\1]", "a back reference in a class"},
        {"[\\B]", "\\B in a class"},
        {"\\k", "\\k needs a group name in <>"},
        {"\\p", "\\p needs a property name in braces"},
        {"\\p{a-b}", "unknown property in \\p{}"},
        {"\\p{Age=3}", "unknown kind of property in \\p{}"},
        {"[a", "a class is not closed"},
        {"a\\", "it ends with a backslash"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vd_regex *regex = NULL;
        struct vd_err err = {.msg = ""};
        char expected[120];

        (void)snprintf(expected, sizeof(expected), "not a regular expression: %s", cases[i].reason);
        assert_int_equal(vd_regex_compile(vd_span_of(cases[i].pattern), &regex, &err), VD_E_CONFIG);
        assert_string_equal(err.msg, expected);
        assert_null(regex);
    }
}

static void compiling_a_pattern_survives_failing_allocations(void **state)
{
    enum vd_code rc = VD_E_NOMEM;
    struct vd_regex *regex = NULL;

    (void)state;
    for (long n = 0; rc != VD_OK; n++) {
        assert_true(n < 100);
        vd_alloc_fail_after(n);
        rc = vd_regex_compile(VD_LIT("^(?<a>[\\w-]+)\\k<a>$"), &regex, NULL);
        vd_alloc_fail_after(-1);
        assert_true(rc == VD_OK || rc == VD_E_NOMEM);
    }
    (void)vd_regex_free(regex);
}

/* RFC 3986 section 5.4, without fragments. */
static void references_resolve_as_in_rfc_3986(void **state)
{
    static const char *const cases[][2] = {
        {"g:h", "g:h"},
        {"g", "http://a/b/c/g"},
        {"./g", "http://a/b/c/g"},
        {"g/", "http://a/b/c/g/"},
        {"/g", "http://a/g"},
        {"//g", "http://g"},
        {"?y", "http://a/b/c/d;p?y"},
        {"g?y", "http://a/b/c/g?y"},
        {"#s", "http://a/b/c/d;p?q"},
        {";x", "http://a/b/c/;x"},
        {"", "http://a/b/c/d;p?q"},
        {".", "http://a/b/c/"},
        {"./", "http://a/b/c/"},
        {"..", "http://a/b/"},
        {"../g", "http://a/b/g"},
        {"../..", "http://a/"},
        {"../../g", "http://a/g"},
        {"../../../g", "http://a/g"},
        {"/./g", "http://a/g"},
        {"/../g", "http://a/g"},
        {"g.", "http://a/b/c/g."},
        {"..g", "http://a/b/c/..g"},
        {"./../g", "http://a/b/g"},
        {"./g/.", "http://a/b/c/g/"},
        {"g/./h", "http://a/b/c/g/h"},
        {"g/../h", "http://a/b/c/h"},
        {"g;x=1/../y", "http://a/b/c/y"},
        {"http:g", "http:g"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vd_buf out;

        vd_buf_init(&out, 200);
        assert_int_equal(
            vd_uri_resolve(&out, VD_LIT("http://a/b/c/d;p?q"), vd_span_of(cases[i][0])), VD_OK);
        assert_string_equal(out.ptr, cases[i][1]);
        vd_buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_are_what_their_standards_say),
        cmocka_unit_test(a_nul_byte_is_in_no_format),
        cmocka_unit_test(patterns_are_read_as_ecma_262_reads_them),
        cmocka_unit_test(what_ecma_262_does_not_know_is_refused_with_a_reason),
        cmocka_unit_test(compiling_a_pattern_survives_failing_allocations),
        cmocka_unit_test(references_resolve_as_in_rfc_3986),
    };

    return cmocka_run_group_tests_name("schema_format", tests, NULL, NULL);
}
