/* What expressions may be written, and what is said about those that may not. */
#include "cel_unit.h"

static const struct cel_setup with_x = {.x = "{\"a\":{\"b-c\":1,\"for\":2},\"n\":7}"};

static void literals_have_their_types(void **state)
{
    (void)state;
    CEL_CHECK(&with_x, {"42", "int 42"}, {"0x2A", "int 42"}, {"-0x2a", "int -42"},
              {"42u", "uint 42"}, {"0xFFU", "uint 255"},
              {"18446744073709551615u", "uint \"18446744073709551615\""},
              {"-9223372036854775808", "int -9223372036854775808"}, {"1.5", "double 1.5"},
              {".5", "double 0.5"}, {"1e3", "double 1000.0"}, {"-2.5E-1", "double -0.25"},
              {"true", "bool true"}, {"null", "null null"}, {"[]", "list []"}, {"{}", "map {}"},
              {"[1, 2,]", "list [1,2]"}, {"{'a': 1,}", "map {\"a\":1}"});
}

static void strings_and_bytes_know_their_escapes(void **state)
{
    (void)state;
    CEL_CHECK(&with_x, {"'a\\tb\\\"'", "string \"a\\tb\\\"\""}, {"r'a\\tb'", "string \"a\\\\tb\""},
              {"'''a\n'b'''", "string \"a\\n'b\""}, {"\"\"\"\"\"\"", "string \"\""},
              {"'\\u00e9' == '\\351' && '\\xe9' == '\xc3\xa9'", "bool true"},
              {"'\\U0001F600' == '\\ud83d\\ude00'", "bool true"},
              {"b'\\xff\\377' == b'\\u0041'", "column 16: \\u and \\U are not for bytes literals"},
              {"b'\xc3\xa9' == b'\\303\\251'", "bool true"}, {"size(b'\\000\\xff')", "int 2"},
              {"'\\ud83d'", "column 1: escape is not a Unicode code point"},
              {"'\\U00110000'", "column 1: escape is not a Unicode code point"},
              {"'\\q'", "column 1: unknown escape in string"},
              {"'\\400'", "column 1: unknown escape in string"},
              {"'\\u12'", "column 1: \\u needs four hexadecimal digits"},
              {"'abc", "column 1: this string is never closed"},
              {"'a\nb'", "column 1: this string is never closed"},
              {"'abc\\'", "column 1: this string is never closed"});
}

static void operators_bind_as_the_standard_says(void **state)
{
    (void)state;
    CEL_CHECK(&with_x, {"1 + 2 * 3", "int 7"}, {"(1 + 2) * 3", "int 9"}, {"10 - 4 - 3", "int 3"},
              {"100 / 10 / 5", "int 2"}, {"-3 + 5", "int 2"}, {"1 + 1 == 2 && !false", "bool true"},
              {"1 < 2 == true", "bool true"}, {"true || false && false", "bool true"},
              {"false ? 1 : true ? 2 : 3", "int 2"}, {"2 in [1, 2] ? 'y' : 'n'", "string \"y\""},
              {"!!true", "bool true"}, {"--1", "int 1"}, {"[1, 2][1] + {'k': 3}['k']", "int 5"},
              {"1 // comment\n+ 2", "int 3"}, {"\t1\r\n+\f2", "int 3"});
}

static void fields_may_be_reserved_words_or_quoted(void **state)
{
    (void)state;
    CEL_CHECK(&with_x, {"x.a.`b-c`", "int 1"}, {"x.a.for", "int 2"}, {".x.n", "int 7"},
              {"for", "column 1: \"for\" is a reserved word"},
              {"x.in", "column 3: unexpected in; a field's name is missing"},
              {"x.``", "column 3: a name in backquotes is empty"},
              {"x.`a\"`",
               "column 3: a name in backquotes holds letters, digits, _ . - / and blanks only"});
}

static void mistakes_are_told_with_their_place(void **state)
{
    (void)state;
    CEL_CHECK(&with_x, {"", "column 1: the expression ends; a value is missing"},
              {"1 +", "column 4: the expression ends; a value is missing"},
              {"(1", "column 3: the expression ends; \")\" is missing"},
              {"[1 2]", "column 4: unexpected 2; \",\" or \"]\" is missing"},
              {"{1}", "column 3: unexpected }; \":\" is missing"},
              {"f(1,)", "column 5: unexpected ); a value is missing"},
              {"1 = 2", "column 3: \"=\" is no operator; write \"==\" to compare"},
              {"a & b", "column 3: write \"&&\""},
              {"1 2", "column 3: unexpected 2; an operator is missing"},
              {"#", "column 1: unexpected character \"#\""},
              {"1x", "column 1: a number runs into a word"},
              {"'\xc3\xa9' #", "column 5: unexpected character \"#\""},
              {"1 +\n\n  #", "line 3, column 3: unexpected character \"#\""},
              {"9223372036854775808", "column 1: integer literal is too large for int"},
              {"18446744073709551616u", "column 1: integer literal is too large for uint"},
              {"0x1FFFFFFFFFFFFFFFF", "column 1: integer literal is too large for int"},
              {"1e400", "column 1: number is too large for a double"},
              {"x{a: 1}", "column 2: messages are not supported, only maps"},
              {"true ? 1", "column 9: the expression ends; \":\" is missing"},
              {"\xff", "the expression is not UTF-8"});
}

static void macros_want_new_names(void **state)
{
    (void)state;
    CEL_CHECK(&with_x,
              {"[1].all(1, true)", "column 9: this argument must be a new variable's name"},
              {"[1].all(x.y, true)", "column 11: this argument must be a new variable's name"},
              {"[1].all(a, a, true)", "column 5: the two variables must have different names"},
              {"has(x)", "column 1: has() needs a field: has(a.b)"},
              {"has(x['a'])", "column 1: has() needs a field: has(a.b)"});
}

static void an_error_knows_its_place(void **state)
{
    struct vd_err err = {.msg = "line 2, column 14: unknown name"};
    unsigned line = 0;
    unsigned column = 0;

    (void)state;
    assert_true(vd_cel_error_place(&err, &line, &column));
    assert_int_equal(line, 2);
    assert_int_equal(column, 14);
    (void)vd_err_set(&err, VD_E_CONFIG, false, "column 3: x");
    assert_true(vd_cel_error_place(&err, &line, &column));
    assert_int_equal(line, 1);
    assert_int_equal(column, 3);
    (void)vd_err_set(&err, VD_E_CONFIG, false, "division by zero");
    assert_false(vd_cel_error_place(&err, &line, &column));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_have_their_types),
        cmocka_unit_test(strings_and_bytes_know_their_escapes),
        cmocka_unit_test(operators_bind_as_the_standard_says),
        cmocka_unit_test(fields_may_be_reserved_words_or_quoted),
        cmocka_unit_test(mistakes_are_told_with_their_place),
        cmocka_unit_test(macros_want_new_names),
        cmocka_unit_test(an_error_knows_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
