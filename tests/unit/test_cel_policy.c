/* The functions that policies have beside CEL's own. */
#include "cel_unit.h"

static bool is_yes(void *arg, const struct vd_cel_value *evidence)
{
    (void)arg;
    return evidence->kind == VD_CEL_STRING && vd_span_eq_c(evidence->u.s, "yes");
}

static const struct cel_setup s = {
    .x = "{\"l\":[3,1.5,2],\"s\":\"yes\",\"items\":[{\"n\":\"a\",\"p\":3},{\"n\":\"b\",\"p\":1},{"
         "\"n\":\"c\",\"p\":3},{\"n\":\"d\",\"p\":1}]}",
    .verified = is_yes};

static void sums_keep_ints_and_widen_to_doubles(void **state)
{
    (void)state;
    CEL_CHECK(&s, {"sum([1, 2, 3])", "int 6"}, {"x.l.sum()", "double 6.5"}, {"sum([])", "int 0"},
              {"sum([1u, 2u])", "uint 3"},
              {"sum([duration('1s'), duration('2s')])", "duration \"3s\""},
              {"sum([9223372036854775807, 1])", "column 1: int overflow"},
              {"sum(['a'])", "column 1: no such overload: sum of a list with string"},
              {"sum([1, 2u])", "column 1: no such overload: int + uint"},
              {"sum([1, null])", "column 1: no such overload: sum of a list with null"},
              {"sum(x.items.map(i, i.p))", "int 8"});
}

static void extremes_are_the_first_of_equals(void **state)
{
    (void)state;
    CEL_CHECK(&s, {"min(x.l)", "double 1.5"}, {"max(x.l)", "int 3"}, {"x.l.max()", "int 3"},
              {"max(1, 2.5, 2u)", "double 2.5"}, {"min('b', 'a')", "string \"a\""},
              {"max(2, 2.0)", "int 2"}, {"min([])", "column 1: min of an empty list"},
              {"max([1, 'a'])", "column 1: no such overload: max of int and string"},
              {"min([[1]])", "column 1: no such overload: min of list and list"},
              {"abs(-3) + abs(3)", "int 6"}, {"abs(-1.5)", "double 1.5"},
              {"abs(-9223372036854775808)", "column 1: int overflow"},
              {"abs('a')", "column 5: no such overload: abs() does not take string here"},
              {"x.items.min_by(i, i.p).n + x.items.max_by(i, i.p).n", "string \"ba\""},
              {"[].min_by(i, i)", "error min_by of an empty list"},
              {"[1, 'a'].max_by(i, i)", "error no such overload: order by int and string"});
}

static void sorting_is_stable(void **state)
{
    (void)state;
    CEL_CHECK(&s, {"x.items.sort_by(i, i.p).map(i, i.n)", "list [\"b\",\"d\",\"a\",\"c\"]"},
              {"x.items.sort_by(i, -i.p).map(i, i.n)", "list [\"a\",\"c\",\"b\",\"d\"]"},
              {"[].sort_by(i, i)", "list []"},
              {"[5, 3, 9, 1, 7, 2, 8, 6, 4].sort_by(i, i)", "list [1,2,3,4,5,6,7,8,9]"},
              {"[1].sort_by(i, [i])", "error no such overload: order by list and list"},
              {"x.l.index_of(1.5) + index_of(x.l, 2.0) + x.l.index_of('z')", "int 2"});
}

static const struct cel_setup deep = {
    .x = "{\"a\":{\"b\":{\"c\":7},\"n\":null,\"z\":0},\"s\":\"t\"}",
    .schema =
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":[\"object\",\"null\"],\"properties\":"
        "{\"b\":{\"type\":[\"object\",\"null\"],\"properties\":{\"c\":{\"type\":[\"integer\","
        "\"null\"]}}},\"n\":{\"type\":[\"object\",\"null\"],\"properties\":{\"m\":{\"type\":"
        "\"string\"}}},\"z\":{\"type\":\"integer\"}}},\"s\":{\"type\":\"string\"},\"q\":{\"type\":"
        "\"string\"}}}"};

static void get_takes_the_other_where_a_step_is_absent_or_null(void **state)
{
    (void)state;
    CEL_CHECK(&deep, {"get(x.a.b.c, 1)", "int 7"}, {"get(x.a.z, 1)", "int 0"},
              {"get(x.a.n.m, 'none')", "string \"none\""}, {"get(x.q, 'none')", "string \"none\""},
              {"get(x.a.n, get(x.a.b.c, 0) + 1)", "int 8"}, {"get(x.a.b.c, 1) + 1", "int 8"},
              {"get(x.q, 'none').size()", "int 4"},
              {"[x].map(y, get(y.a.n.m, 'w'))", "list [\"w\"]"},
              {"get(x, 1)", "column 1: get() needs a path of names: get(a.b, other)"},
              {"get(x.a[0].b, 1)", "column 1: get() needs a path of names: get(a.b, other)"},
              {"get(x.a)", "column 1: unknown function \"get\""},
              {"get(x.q, 1) + 'a'", "error no such overload: int + string"});
    CEL_CHECK(&s, {"get(x.s.t, 1)", "error no such overload: has(string.t)"},
              {"get(x.none.t, 1)", "int 1"}, {"get(x.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p, 1)", "int 1"},
              {"get(x.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q, 1)",
               "column 1: get() needs a path of names: get(a.b, other)"});
}

static void money_is_exact(void **state)
{
    (void)state;
    CEL_CHECK(
        &s, {"minor_units('19.99', 'USD')", "int 1999"}, {"minor_units('19.9', 'eur')", "int 1990"},
        {"minor_units('-0.01', 'USD')", "int -1"}, {"minor_units('1000', 'JPY')", "int 1000"},
        {"minor_units('1.234', 'KWD')", "int 1234"}, {"minor_units('1.2345', 'CLF')", "int 12345"},
        {"minor_units('5.000', 'USD')", "int 500"}, {"minor_units('5.00', 'JPY')", "int 5"},
        {"minor_units('92233720368547758.07', 'USD')", "int 9223372036854775807"},
        {"minor_units('-92233720368547758.08', 'USD')", "int -9223372036854775808"},
        {"minor_units('92233720368547758.08', 'USD')",
         "column 1: minor_units: the string is no amount with at most 2 places"},
        {"minor_units('1.999', 'USD')",
         "column 1: minor_units: the string is no amount with at most 2 places"},
        {"minor_units('', 'USD')",
         "column 1: minor_units: the string is no amount with at most 2 places"},
        {"minor_units('1.', 'USD')",
         "column 1: minor_units: the string is no amount with at most 2 places"},
        {"minor_units('.5', 'USD')",
         "column 1: minor_units: the string is no amount with at most 2 places"},
        {"minor_units('1e2', 'USD')",
         "column 1: minor_units: the string is no amount with at most 2 places"},
        {"minor_units('1,000.00', 'USD')",
         "column 1: minor_units: the string is no amount with at most 2 places"},
        {"minor_units(' 1', 'USD')",
         "column 1: minor_units: the string is no amount with at most 2 places"},
        {"minor_units('1', 'XXX')", "column 1: minor_units: unknown currency \"XXX\""},
        {"minor_units('1', '')", "column 1: minor_units: unknown currency \"\""},
        {"minor_units(1, 'USD')",
         "column 13: no such overload: minor_units() does not take int here"});
}

static void evidence_is_what_the_caller_says(void **state)
{
    static const struct cel_setup without = {.x = "1"};

    (void)state;
    CEL_CHECK(&s, {"verified(x.s)", "bool true"}, {"verified('no')", "bool false"},
              {"verified('yes')", "bool true"});
    CEL_CHECK(&without, {"verified('yes')", "error verified() has no evidence to look at here"},
              {"verified(x) || true", "bool true"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_keep_ints_and_widen_to_doubles),
        cmocka_unit_test(extremes_are_the_first_of_equals),
        cmocka_unit_test(sorting_is_stable),
        cmocka_unit_test(get_takes_the_other_where_a_step_is_absent_or_null),
        cmocka_unit_test(money_is_exact),
        cmocka_unit_test(evidence_is_what_the_caller_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
