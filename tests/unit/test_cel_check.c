/* What a strict environment refuses before anything is evaluated: names, functions, fields and types that cannot be right. */
#include "cel_unit.h"

static const struct cel_setup plain = {.x = "{\"a\":1}"};

static const struct cel_setup closed = {
    .x = "{\"id\":\"a\",\"count\":2,\"total\":10.5,\"paid\":true,\"note\":null,"
         "\"lines\":[{\"sku\":\"s\",\"price\":3}],\"address\":{\"city\":\"c\"},\"any\":{\"z\":1}}",
    .schema =
        "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
        "\"id\":{\"type\":\"string\"},\"count\":{\"type\":\"integer\"},\"total\":{\"type\":"
        "\"number\"},"
        "\"paid\":{\"type\":\"boolean\"},\"note\":{\"type\":[\"string\",\"null\"]},"
        "\"lines\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/line\"}},"
        "\"address\":{\"allOf\":[{\"type\":\"object\",\"properties\":{\"city\":{\"type\":"
        "\"string\"}}},"
        "{\"properties\":{\"zip\":{\"enum\":[\"1\",\"2\"]}}}],\"unevaluatedProperties\":false},"
        "\"any\":{\"properties\":{\"known\":{\"const\":5}}},"
        "\"byname\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}},"
        "\"either\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]},"
        "\"loop\":{\"$ref\":\"#/properties/loop\"},"
        "\"map\":{\"type\":\"object\",\"patternProperties\":{\"^x\":{}},\"additionalProperties\":"
        "false}},"
        "\"$defs\":{\"line\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
        "\"sku\":{\"type\":\"string\"},\"price\":{\"type\":\"integer\"}}}}}",
};

static void unknown_names_get_a_suggestion(void **state)
{
    (void)state;
    CEL_CHECK(
        &plain, {"y.a == 1", "column 1: unknown name \"y\""},
        {"1 + totl", "column 5: unknown name \"totl\""},
        {"[1].map(item, itme + 1)", "column 15: unknown name \"itme\"; did you mean \"item\"?"},
        {"[1].map(e, 1) == e", "column 18: unknown name \"e\""},
        {"dyn", "column 1: unknown name \"dyn\""});
}

static void unknown_functions_get_a_suggestion(void **state)
{
    (void)state;
    CEL_CHECK(&plain,
              {"x.a.startWith('b')",
               "column 5: unknown function \"startWith\"; did you mean \"startsWith\"?"},
              {"sze(x)", "column 1: unknown function \"sze\"; did you mean \"size\"?"},
              {"frobnicate(x)", "column 1: unknown function \"frobnicate\""},
              {"size(x, 1)", "column 1: no such overload: size() with 2 arguments"},
              {"x.contains()", "column 3: no such overload: x.contains() with 0 arguments"},
              {"contains('a', 'b')", "column 1: no such overload: contains() with 2 arguments"},
              {"x.filter(x)", "column 3: unknown function \"filter\""},
              {"size(1)", "column 6: no such overload: size() does not take int here"},
              {"'a'.indexOf(1)", "column 13: no such overload: indexOf() does not take int here"});
}

static void wrong_operands_are_refused(void **state)
{
    (void)state;
    CEL_CHECK(&plain, {"'a' + 1", "column 5: no such overload: string + int"},
              {"1 + 1.0", "column 3: no such overload: int + double"},
              {"1 == 'a'", "column 3: int and string are never equal"},
              {"dyn(1) == 'a'", "bool false"}, {"1 == 1.0", "bool true"},
              {"'a' < 1", "column 5: no such overload: string < int"},
              {"!1", "column 2: ! needs a bool, this is int"},
              {"1 && true", "column 1: && needs a bool, this is int"},
              {"true || 'a'", "column 9: || needs a bool, this is string"},
              {"1 ? 2 : 3", "column 1: ? : needs a bool, this is int"},
              {"-'a'", "column 1: no such overload: -string"},
              {"1 in 'abc'", "column 3: no such overload: int in string"},
              {"[1]['a']", "column 4: no such overload: list [] string"},
              {"1.all(e, true)", "column 3: a macro needs a list or a map, this is int"},
              {"[1].all(e, 1)", "column 12: a macro's condition needs a bool, this is int"},
              {"1.a", "column 3: no field \"a\": the value is int, not a map"},
              {"int.a", "column 5: a type has no fields"},
              {"duration('1 day')", "column 1: the string is no duration, or out of range"},
              {"1 / 0", "column 3: division by zero"},
              {"timestamp(0).getHours('Mars/Olympus')",
               "column 23: time zone \"Mars/Olympus\": no such time zone"});
}

static void fields_are_checked_against_the_schema(void **state)
{
    (void)state;
    CEL_CHECK(
        &closed,
        {"x.totl > 1", "column 3: the schema has no field \"totl\" here; did you mean \"total\"?"},
        {"x.lines[0].prise",
         "column 12: the schema has no field \"prise\" here; did you mean \"price\"?"},
        {"x.lines.exists(l, l.skew == 'a')",
         "column 21: the schema has no field \"skew\" here; did you mean \"sku\"?"},
        {"x.lines.exists(i, l, l.sku == 's')", "bool true"},
        {"x.lines.filter(l, true)[0].price", "int 3"},
        {"x.lines.min_by(l, l.price).pric",
         "column 28: the schema has no field \"pric\" here; did you mean \"price\"?"},
        {"x['id'] == 'a' && x['idd'] == 'a'",
         "column 20: the schema has no field \"idd\" here; did you mean \"id\"?"},
        {"has(x.cont)", "column 7: the schema has no field \"cont\" here; did you mean \"count\"?"},
        {"get(x.cont, 1)",
         "column 7: the schema has no field \"cont\" here; did you mean \"count\"?"},
        {"x.address.cty",
         "column 11: the schema has no field \"cty\" here; did you mean \"city\"?"},
        {"x.address.city", "string \"c\""}, {"has(x.address.zip)", "bool false"},
        {"x.any.z", "int 1"},
        {"x.any.known.a", "column 13: no field \"a\": the value is int, not a map"},
        {"has(x.map.whatever)", "error no such key: map"},
        {"x.byname.q.r", "column 12: no field \"r\": the value is int, not a map"},
        {"x.loop.any.thing", "error no such key: loop"},
        {"x.id.a", "column 6: no field \"a\": the value is string, not a map"});
}

static void operands_are_checked_against_the_schema(void **state)
{
    (void)state;
    CEL_CHECK(&closed, {"x.id == 1", "column 6: string and int are never equal"},
              {"x.count + 1 > 2", "bool true"},
              {"x.count + 'a'", "column 9: no such overload: int + string"},
              {"x.count > '1'", "column 9: no such overload: int > string"},
              {"x.paid == 'yes'", "column 8: bool and string are never equal"},
              {"x.note == null || x.note == 'a'", "bool true"},
              {"x.note == 1", "column 8: null or string and int are never equal"},
              {"x.total > 10", "bool true"},
              {"x.total * 2",
               "column 9: no such overload for some numbers: int or double * int; a JSON number "
               "may be an int (10) or a double (10.5), write double(...) around it"},
              {"double(x.total) * 2.0", "double 21.0"},
              {"x.count && true", "column 3: && needs a bool, this is int"},
              {"x.lines + 1", "column 9: no such overload: list + int"},
              {"x.id.startsWith('a') && x.count.startsWith('a')",
               "column 27: no such overload: startsWith() does not take int here"},
              {"x.address.zip == 1", "column 15: string and int are never equal"},
              {"x.either == true", "column 10: int or string and bool are never equal"},
              {"x.lines == null", "bool false"});
}

static void the_result_kind_is_known_where_types_are(void **state)
{
    static const struct {
        const char *expr;
        enum vd_cel_kind kind;
    } cases[] = {{"x.id", VD_CEL_STRING},
                 {"x.count * 2", VD_CEL_INT},
                 {"x.total", VD_CEL_ERROR},
                 {"x.lines", VD_CEL_LIST},
                 {"x.lines[0].price", VD_CEL_INT},
                 {"x.any.z", VD_CEL_ERROR},
                 {"x.count > 1", VD_CEL_BOOL},
                 {"size(x.lines)", VD_CEL_INT},
                 {"x.lines.map(l, l.sku)", VD_CEL_LIST},
                 {"x.paid ? 1 : 2", VD_CEL_INT},
                 {"x.paid ? 1 : 'a'", VD_CEL_ERROR},
                 {"dyn(1)", VD_CEL_ERROR}};
    struct vd_cel_env *env = vd_cel_env_new();
    cJSON *schema = cel_json(closed.schema);

    (void)state;
    assert_int_equal(vd_cel_env_declare(env, "x", schema, NULL, NULL), VD_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vd_cel_program *program = NULL;
        struct vd_err err = {.msg = ""};

        if (vd_cel_compile(env, vd_span_of(cases[i].expr), &program, &err) != VD_OK)
            fail_msg("%s: %s", cases[i].expr, err.msg);
        if (vd_cel_result_kind(program) != cases[i].kind)
            fail_msg("%s is %s", cases[i].expr, vd_cel_kind_name(vd_cel_result_kind(program)));
        (void)vd_cel_program_free(program);
    }
    (void)vd_cel_env_free(env);
    (void)vd_json_free(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_names_get_a_suggestion),
        cmocka_unit_test(unknown_functions_get_a_suggestion),
        cmocka_unit_test(wrong_operands_are_refused),
        cmocka_unit_test(fields_are_checked_against_the_schema),
        cmocka_unit_test(operands_are_checked_against_the_schema),
        cmocka_unit_test(the_result_kind_is_known_where_types_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
