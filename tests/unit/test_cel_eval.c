/* What expressions evaluate to, over JSON and by themselves. */
#include "cel_unit.h"

static const struct cel_setup none = {.x = NULL};
static const struct cel_setup json = {
    .x =
        "{\"i\":4,\"d\":4.0,\"s\":\"a\\u0000b\",\"n\":null,\"t\":true,\"big\":12345678901234567890,"
        "\"huge\":123456789012345678901234567890,\"l\":[1,2.5,\"z\",[3],{\"k\":5}],"
        "\"o\":{\"a\":1,\"b\":{\"c\":2}},\"id\":9007199254740993}"};

static void logic_absorbs_errors_on_both_sides(void **state)
{
    (void)state;
    CEL_CHECK(&json, {"x.nope == 1 || true", "bool true"}, {"true || x.nope == 1", "bool true"},
              {"x.nope == 1 && false", "bool false"}, {"false && x.nope == 1", "bool false"},
              {"x.nope == 1 || false", "error no such key: nope"},
              {"x.nope == 1 && true", "error no such key: nope"}, {"x.i && false", "bool false"},
              {"x.i && true", "error no such overload: int && ..."}, {"x.s || true", "bool true"},
              {"x.nope == 1 ? true : true", "error no such key: nope"},
              {"x.t ? 1 : x.nope", "int 1"},
              {"x.i ? 1 : 2", "error no such overload: int ? ... : ..."},
              {"!x.i", "error no such overload: !int"});
}

static void quantifiers_absorb_errors_like_logic(void **state)
{
    (void)state;
    CEL_CHECK(&json, {"x.l.exists(e, e > 2)", "bool true"},
              {"x.l.exists(e, e > 3)", "error no such overload: string > int"},
              {"x.l.all(e, e > 2)", "bool false"},
              {"x.l.all(e, e > 0)", "error no such overload: string > int"},
              {"x.l.exists_one(e, e == 1)", "bool true"},
              {"x.l.exists_one(e, e > 2)", "error no such overload: string > int"},
              {"x.l.all(e, e)", "error no such overload: the condition of a macro is int"},
              {"x.i.all(e, true)", "error no such overload: a macro over int"},
              {"[].all(e, e / 0 > 0)", "bool true"});
}

static void overflow_and_division_are_errors(void **state)
{
    (void)state;
    CEL_CHECK(&json, {"9223372036854775807 + (x.i - 3)", "error int overflow"},
              {"-9223372036854775807 - 2 * (x.i - 3)", "error int overflow"},
              {"x.i * 9223372036854775807", "error int overflow"},
              {"-9223372036854775808 / (3 - x.i)", "error int overflow"},
              {"-9223372036854775808 % (3 - x.i)", "error int overflow"},
              {"-(x.i - 4 - 9223372036854775807 - 1)", "error int overflow"},
              {"x.i / 0", "error division by zero"}, {"x.i % 0", "error modulus by zero"},
              {"uint(x.i) - 5u", "error uint overflow"},
              {"uint(x.i) / 0u", "error division by zero"}, {"x.d / 0.0", "double \"Infinity\""},
              {"x.d % x.d", "error no such overload: double % double"}, {"-7 / 2", "int -3"},
              {"-7 % 2", "int -1"});
}

static void types_do_not_mix_in_arithmetic(void **state)
{
    (void)state;
    CEL_CHECK(&json, {"x.i + x.d", "error no such overload: int + double"},
              {"x.s + x.i", "error no such overload: string + int"},
              {"x.l + [1]", "list [1,2.5,\"z\",[3],{\"k\":5},1]"},
              {"b'a' + b'b'", "bytes \"YWI=\""}, {"x.o + x.o", "error no such overload: map + map"},
              {"-x.s", "error no such overload: -string"});
}

static void numbers_compare_across_types(void **state)
{
    (void)state;
    CEL_CHECK(&json, {"x.i == x.d && x.d == 4u && 4u == x.i", "bool true"},
              {"x.i < 4.5 && 3u < x.i && x.d >= 4u", "bool true"},
              {"-1 < 18446744073709551615u && 18446744073709551615u > -1", "bool true"},
              {"x.n == null && x.i != null", "bool true"}, {"x.i == x.s", "bool false"},
              {"x.i < x.s", "error no such overload: int < string"},
              {"x.n < x.n", "error no such overload: null < null"},
              {"0.0 / 0.0 == 0.0 / 0.0", "bool false"}, {"0.0 / 0.0 < 1.0", "bool false"},
              {"x.l == [1u, 2.5, 'z', [3.0], {'k': 5}]", "bool true"},
              {"x.o == {'b': {'c': 2}, 'a': 1.0}", "bool true"},
              {"x.o == {'a': 1, 'c': {'c': 2}}", "bool false"});
}

static void json_keeps_what_its_text_said(void **state)
{
    (void)state;
    CEL_CHECK(&json, {"type(x.i) == int && type(x.d) == double", "bool true"},
              {"x.big", "uint \"12345678901234567890\""}, {"type(x.huge) == double", "bool true"},
              {"x.id", "int 9007199254740993"}, {"size(x.s)", "int 3"},
              {"x.s", "string \"a\\u0000b\""}, {"x.l[4].k + x.o.b.c", "int 7"},
              {"size(x.l) + size(x.o)", "int 7"});
}

static void absent_fields_are_errors_and_has_asks(void **state)
{
    (void)state;
    CEL_CHECK(
        &json, {"x.o.nope", "error no such key: nope"}, {"x.nope.a.b", "error no such key: nope"},
        {"x.i.a", "error no such overload: int.a"}, {"x.o.a.b", "error no such overload: int.b"},
        {"has(x.o.a) && !has(x.o.z)", "bool true"}, {"has(x.nope.a)", "error no such key: nope"},
        {"has(x.i.a)", "error no such overload: has(int.a)"}, {"has(x.n)", "bool true"},
        {"x['o']['b'].c", "int 2"}, {"x.s in x.o || 'a\\u0000' in x.o", "bool false"},
        {"'a' in x.o && !('z' in x.o)", "bool true"}, {"{'k': 1}['z']", "column 9: no such key: z"},
        {"x.o[1]", "error no such key: 1"}, {"x.o[x.n]", "error no such overload: map[null]"});
}

static void indexes_are_whole_and_in_bounds(void **state)
{
    (void)state;
    CEL_CHECK(&json, {"x.l[0]", "int 1"}, {"x.l[1u]", "double 2.5"}, {"x.l[2.0]", "string \"z\""},
              {"x.l[5]", "error index out of bounds: 5"},
              {"x.l[-1]", "error index out of bounds: -1"},
              {"x.l[0.5]", "error list index is not a whole number"},
              {"x.l[x.s]", "error no such overload: list[string]"},
              {"x.l[x.huge]", "error list index is not a whole number"});
}

static void maps_have_distinct_keys_of_four_types(void **state)
{
    (void)state;
    CEL_CHECK(
        &json, {"{1: 'a', true: 'b', 'c': 'd'}[1.0]", "string \"a\""},
        {"{x.i: 1, x.d: 2}", "error a map's key must be a bool, int, uint or string, not double"},
        {"{x.i: 1, 4u: 2}", "error a map has the same key twice"},
        {"{x.n: 1}", "error a map's key must be a bool, int, uint or string, not null"},
        {"{1: 2, '1': 3}", "map, no JSON: two keys of a map are the same as JSON: 1"});
}

static void macros_make_lists_and_maps(void **state)
{
    (void)state;
    CEL_CHECK(
        &json, {"[1, 2, 3].map(e, e * x.i)", "list [4,8,12]"},
        {"[1, 2, 3].map(e, e > 1, e * 10)", "list [20,30]"},
        {"[1, 2, 3].filter(e, e != 2)", "list [1,3]"}, {"x.o.map(k, k)", "list [\"a\",\"b\"]"},
        {"x.o.filter(k, k == 'b')", "list [\"b\"]"},
        {"[5, 6].transformList(i, v, i + v)", "list [5,7]"},
        {"[5, 6].transformList(i, v, i > 0, i + v)", "list [7]"},
        {"['p', 'q'].transformMap(i, v, v + '!')", "map {\"0\":\"p!\",\"1\":\"q!\"}"},
        {"x.o.transformMap(k, v, k != 'b', v)", "map {\"a\":1}"},
        {"['p', 'q'].transformMapEntry(i, v, {v: i})", "map {\"p\":0,\"q\":1}"},
        {"['p', 'p'].transformMapEntry(i, v, {v: i})", "error a map has the same key twice"},
        {"['p'].transformMapEntry(i, v, v)", "error no such overload: transformMapEntry to string"},
        {"x.o.all(k, v, k in ['a', 'b'])", "bool true"},
        {"[[1, 2], [3]].map(l, l.map(e, e + size(l)))", "list [[3,4],[4]]"},
        {"[1, 2].map(e, x.nope)", "error no such key: nope"}, {"[3].map(x, x)", "list [3]"},
        {"[3].map(e, .x.i + e)", "list [7]"});
}

static void the_string_extension_counts_code_points(void **state)
{
    (void)state;
    CEL_CHECK(&none, {"'h\xc3\xa9llo'.charAt(1)", "string \"\xc3\xa9\""},
              {"'abc'.charAt(3)", "string \"\""},
              {"'abc'.charAt(4)", "column 7: index out of range: 4"},
              {"'\xc3\xa9"
               "a\xc3\xa9'.indexOf('\xc3\xa9', 1)",
               "int 2"},
              {"'abcabc'.lastIndexOf('bc')", "int 4"}, {"'abc'.lastIndexOf('abcd')", "int -1"},
              {"'\xc3\xa9tude'.substring(1)", "string \"tude\""},
              {"'abc'.substring(2, 1)", "column 7: invalid substring range. start: 2, end: 1"},
              {"'aXbX'.replace('X', '--')", "string \"a--b--\""},
              {"'aXbX'.replace('X', '', 1)", "string \"abX\""},
              {"'ab'.replace('', '-')", "string \"-a-b-\""},
              {"'ab'.replace('', '-', 1)", "string \"-ab\""},
              {"'a,b,c'.split(',')", "list [\"a\",\"b\",\"c\"]"},
              {"'a,b,c'.split(',', 2)", "list [\"a\",\"b,c\"]"},
              {"'ab'.split('')", "list [\"a\",\"b\"]"}, {"'ab'.split('', 0)", "list []"},
              {"''.split(',')", "list [\"\"]"}, {"['a', 'b'].join('-')", "string \"a-b\""},
              {"[1].join()", "column 5: no such overload: join of a list with int"},
              {"' \\t x\\u00a0'.trim()", "string \"x\""}, {"'  '.trim()", "string \"\""},
              {"'a\xc3\xa9"
               "b'.reverse()",
               "string \"b\xc3\xa9"
               "a\""},
              {"'aZ\xc3\x89'.lowerAscii() + 'aZ'.upperAscii()", "string \"az\xc3\x89"
                                                                "AZ\""},
              {"strings.quote('a\"\\n')", "string \"\\\"a\\\\\\\"\\\\n\\\"\""});
}

static void format_follows_its_clauses(void **state)
{
    (void)state;
    CEL_CHECK(
        &none, {"'%s %d %%'.format(['a', 1])", "string \"a 1 %\""},
        {"'%.2f|%e|%.0f'.format([1.005, 1234.5, 2])", "string \"1.00|1.234500e+03|2\""},
        {"'%b %o %x %X %x'.format([-5, 8u, 255, 255, 'hi'])", "string \"-101 10 ff FF 6869\""},
        {"'%s'.format([{'b': [1, 2.5], 'a': null}])", "string \"{a: null, b: [1, 2.5]}\""},
        {"'%s'.format([duration('90s')])", "string \"90s\""},
        {"'%d'.format(['a'])", "column 6: error during formatting: decimal clause can only be used "
                               "on integers, was given string"},
        {"'%d %d'.format([1])", "column 9: index 1 out of range"},
        {"'%q'.format([1])",
         "column 6: could not parse formatting clause: unrecognized formatting clause \"q\""},
        {"'%'.format([1])",
         "column 5: could not parse formatting clause: unexpected end of string"},
        {"'%.1001f'.format([1.0])",
         "column 11: could not parse formatting clause: precision is above 1000"});
}

static void conversions_check_their_range(void **state)
{
    (void)state;
    CEL_CHECK(&none, {"int('-42') + int(3.9) + int(-3.9) + int(2u)", "int -40"},
              {"int(1e19)", "column 1: int overflow (range error)"},
              {"int(-9223372036854775808.0)", "column 1: int overflow (range error)"},
              {"int('1.5')", "column 1: the string is no int"},
              {"uint(-1)", "column 1: uint overflow (range error)"},
              {"uint(1.9e19)", "column 1: uint overflow (range error)"},
              {"uint(-0.5)", "column 1: uint overflow (range error)"},
              {"uint(18446744073709551615.0)", "column 1: uint overflow (range error)"},
              {"double('1e3') + double('+.5') + double('5.')", "double 1005.5"},
              {"double('1e400')", "column 1: the string is no double"},
              {"double('x')", "column 1: the string is no double"},
              {"double('NaN') == 1.0", "bool false"},
              {"string(1.0) + string(1e21) + string(-0.001) + string(123456789.25)",
               "string \"11e+21-0.001123456789.25\""},
              {"string(b'\\xff')", "column 1: invalid UTF-8 in bytes, cannot convert to string"},
              {"string(true) + string(1u) + string(-1)", "string \"true1-1\""},
              {"bool('True') && !bool('f')", "bool true"},
              {"bool('yes')", "column 1: the string is no bool"},
              {"type(type(1)) == type && type(1) == int && string(type(1) == int) == 'true'",
               "bool true"},
              {"size('h\xc3\xa9') + size(bytes('h\xc3\xa9')) + [1].size()", "int 6"});
}

static void matches_is_re2(void **state)
{
    (void)state;
    CEL_CHECK(
        &json, {"'ORD-1234'.matches('^[A-Z]{3}-[0-9]+$')", "bool true"},
        {"'xabcx'.matches('abc')", "bool true"}, {"matches('a', 'b')", "bool false"},
        {"'a\\n'.matches('a$')", "bool false"}, {"'A'.matches('(?i)a')", "bool true"},
        {"'\xc3\xa9'.matches('^.$')", "bool true"}, {"'a.b'.matches('^a\\\\.b$')", "bool true"},
        {"'x'.matches(x.o.b.c == 2 ? '[x' : '')",
         "error invalid regular expression: missing terminating ] for character class (at byte 2)"},
        {"'x'.matches('(a)\\\\1')",
         "column 13: invalid regular expression: back-references are not supported"},
        {"'x'.matches('(?=a)')", "column 13: invalid regular expression: only (?:...), "
                                 "(?P<name>...) and the flags i m s U may follow \"(?\""},
        {"'x'.matches('(?<!a)b')", "column 13: invalid regular expression: only (?:...), "
                                   "(?P<name>...) and the flags i m s U may follow \"(?\""},
        {"'x'.matches('a++')",
         "column 13: invalid regular expression: a quantifier stands after a quantifier"},
        {"'x'.matches('a{1001}')",
         "column 13: invalid regular expression: a repetition is above 1000"},
        {"'x'.matches('(*UTF)a')",
         "column 13: invalid regular expression: \"(*\" has nothing to repeat"},
        {"'x'.matches('\\\\K')",
         "column 13: invalid regular expression: an escape is none of RE2's"},
        {"'[x]'.matches('[[:punct:]]x\\\\]') && 'a{,2}'.matches('^a{,2}$') && "
         "'aab'.matches('^a{1,2}?b')",
         "bool true"});
}

static void names_resolve_in_the_container_first(void **state)
{
    struct vd_cel_env *env = vd_cel_env_new();
    static const char *const names[] = {"a", "p.a", "p.q.a", "a.b", "p.q.f"};
    static const struct {
        const char *expr;
        int64_t value;
    } cases[] = {{"a", 2}, {".a", 0}, {"a + .p.a", 3}, {"q.a", 2}, {"f", 4}, {".a.b", 3}};
    struct vd_cel_value values[5];
    struct vd_arena arena;

    (void)state;
    vd_arena_init(&arena, 1u << 16);
    for (unsigned i = 0; i < 5; i++) {
        unsigned slot = 99;

        assert_int_equal(vd_cel_env_declare(env, names[i], NULL, &slot, NULL), VD_OK);
        assert_int_equal(slot, i);
        values[i] = (struct vd_cel_value){.kind = VD_CEL_INT, .u.i = i};
    }
    assert_int_equal(vd_cel_env_declare(env, "a", NULL, NULL, NULL), VD_E_CONFIG);
    assert_int_equal(vd_cel_env_set_container(env, "p.q"), VD_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vd_cel_eval_context context = {.values = values, .count = 5, .arena = &arena};
        struct vd_cel_program *program = NULL;
        struct vd_err err = {.msg = ""};
        struct vd_cel_value v;

        if (vd_cel_compile(env, vd_span_of(cases[i].expr), &program, &err) != VD_OK)
            fail_msg("%s: %s", cases[i].expr, err.msg);
        assert_int_equal(vd_cel_eval(program, &context, &v, &err), VD_OK);
        assert_int_equal(v.u.i, cases[i].value);
        (void)vd_cel_program_free(program);
    }
    (void)vd_cel_env_free(env);
    vd_arena_fini(&arena);
}

static void a_program_tells_what_it_reads_and_gives(void **state)
{
    struct vd_cel_env *env = vd_cel_env_new();
    struct vd_cel_program *program = NULL;
    struct vd_cel_value values[2] = {{.kind = VD_CEL_ERROR, .u.s = VD_LIT("a failed to load")},
                                     {.kind = VD_CEL_INT, .u.i = 1}};
    struct vd_cel_eval_context context = {.values = values, .count = 2};
    struct vd_err err;
    struct vd_arena arena;
    struct vd_cel_value v;

    (void)state;
    vd_arena_init(&arena, 1u << 16);
    context.arena = &arena;
    assert_int_equal(vd_cel_env_declare(env, "a", NULL, NULL, NULL), VD_OK);
    assert_int_equal(vd_cel_env_declare(env, "b", NULL, NULL, NULL), VD_OK);
    assert_int_equal(vd_cel_env_count(env), 2);
    assert_int_equal(vd_cel_compile(env, VD_LIT("[1].all(b, b > 0) && a.x == 2"), &program, &err),
                     VD_OK);
    assert_true(vd_cel_uses(program, 0));
    assert_false(vd_cel_uses(program, 1)); /* the macro's own b */
    assert_false(vd_cel_uses(program, 7));
    assert_int_equal(vd_cel_result_kind(program), VD_CEL_BOOL);
    assert_span_equal(vd_cel_source(program), "[1].all(b, b > 0) && a.x == 2");
    assert_int_equal(vd_cel_eval(program, &context, &v, &err), VD_E_INPUT);
    assert_string_equal(err.msg, "a failed to load");
    (void)vd_cel_program_free(program);
    assert_int_equal(vd_cel_compile(env, VD_LIT("b == 2 ? a : \n b / 0"), &program, &err), VD_OK);
    assert_int_equal(vd_cel_result_kind(program), VD_CEL_ERROR); /* anything, or an int */
    assert_int_equal(vd_cel_eval(program, &context, &v, &err), VD_E_INPUT);
    assert_int_equal(context.error_line, 2);
    assert_int_equal(context.error_column, 4);
    (void)vd_cel_program_free(program);
    (void)vd_cel_env_free(env);
    vd_arena_fini(&arena);
}

static void a_lenient_environment_fails_only_when_it_evaluates(void **state)
{
    static const struct cel_setup lenient = {.x = "1", .lenient = true};

    (void)state;
    CEL_CHECK(&lenient, {"y", "error unknown name \"y\""}, {"y.z || true", "bool true"},
              {"f(x) || true", "bool true"}, {"x.foo() && false", "bool false"},
              {"'a' + 1", "error no such overload: string + int"}, {"'a' < 1 || true", "bool true"},
              {"size(1, 2)", "error no such overload: size() with 2 arguments"},
              {"'a'.matches('(')",
               "error invalid regular expression: missing closing parenthesis (at byte 1)"},
              {"1 +", "column 4: the expression ends; a value is missing"});
}

static void values_can_be_looked_at_from_outside(void **state)
{
    cJSON *tree = cel_json("[1,\"b\",{\"k\":2}]");
    struct vd_cel_value list = vd_cel_from_json(tree);
    struct vd_cel_value one = {.kind = VD_CEL_DOUBLE, .u.d = 1.0};
    struct vd_cel_value item = vd_cel_item(&list, 0);
    int c = 9;

    (void)state;
    assert_int_equal(vd_cel_size(&list), 3);
    assert_true(vd_cel_equal(&item, &one));
    assert_true(vd_cel_compare(&item, &one, &c));
    assert_int_equal(c, 0);
    assert_false(vd_cel_compare(&list, &list, &c));
    assert_int_equal(vd_cel_item(&list, 3).kind, VD_CEL_ERROR);
    assert_int_equal(vd_cel_item(&one, 0).kind, VD_CEL_ERROR);
    assert_int_equal(vd_cel_from_json(NULL).kind, VD_CEL_NULL);
    assert_string_equal(vd_cel_kind_name(VD_CEL_UINT), "uint");
    (void)vd_json_free(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logic_absorbs_errors_on_both_sides),
        cmocka_unit_test(quantifiers_absorb_errors_like_logic),
        cmocka_unit_test(overflow_and_division_are_errors),
        cmocka_unit_test(types_do_not_mix_in_arithmetic),
        cmocka_unit_test(numbers_compare_across_types),
        cmocka_unit_test(json_keeps_what_its_text_said),
        cmocka_unit_test(absent_fields_are_errors_and_has_asks),
        cmocka_unit_test(indexes_are_whole_and_in_bounds),
        cmocka_unit_test(maps_have_distinct_keys_of_four_types),
        cmocka_unit_test(macros_make_lists_and_maps),
        cmocka_unit_test(the_string_extension_counts_code_points),
        cmocka_unit_test(format_follows_its_clauses),
        cmocka_unit_test(conversions_check_their_range),
        cmocka_unit_test(matches_is_re2),
        cmocka_unit_test(names_resolve_in_the_container_first),
        cmocka_unit_test(a_program_tells_what_it_reads_and_gives),
        cmocka_unit_test(a_lenient_environment_fails_only_when_it_evaluates),
        cmocka_unit_test(values_can_be_looked_at_from_outside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
