/* Timestamps, durations and time zones. */
#include <unistd.h>

#include "cel/timestamp.h"
#include "cel/zone.h"
#include "cel_unit.h"

static const struct cel_setup z = {
    .x = "{\"t\":\"2024-03-31T00:59:59Z\",\"zone\":\"Europe/Paris\",\"bad\":\"../../etc/passwd\"}"};

static void timestamps_are_rfc_3339(void **state)
{
    (void)state;
    CEL_CHECK(&z,
              {"timestamp('2024-02-29T23:59:59.123456789+01:30')",
               "timestamp \"2024-02-29T22:29:59.123456789Z\""},
              {"timestamp('1969-12-31T23:59:59.5Z')", "timestamp \"1969-12-31T23:59:59.5Z\""},
              {"int(timestamp('1969-12-31T23:59:59Z'))", "int -1"},
              {"timestamp(0)", "timestamp \"1970-01-01T00:00:00Z\""},
              {"timestamp('2024-01-01t00:00:00z')", "timestamp \"2024-01-01T00:00:00Z\""},
              {"timestamp(x.t) < timestamp('2024-03-31T01:00:00Z')", "bool true"},
              {"timestamp(253402300800)", "column 1: timestamp out of range"});
}

static void texts_that_are_no_timestamps_are_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "2024",
                                        "2024-01-01",
                                        "2024-01-01T00:00:00",
                                        "2024-01-01 00:00:00Z",
                                        "2023-02-29T00:00:00Z",
                                        "2024-13-01T00:00:00Z",
                                        "2024-00-01T00:00:00Z",
                                        "2024-01-32T00:00:00Z",
                                        "2024-01-01T24:00:00Z",
                                        "2024-01-01T00:60:00Z",
                                        "2024-06-30T23:59:60Z",
                                        "2024-01-01T00:00:00.Z",
                                        "2024-01-01T00:00:00.1234567890Z",
                                        "2024-01-01T00:00:00+24:00",
                                        "2024-01-01T00:00:00+01:60",
                                        "2024-01-01T00:00:00+0100",
                                        "0000-01-01T00:00:00Z",
                                        "0001-01-01T00:00:00+00:01",
                                        "9999-12-31T23:59:59-00:01",
                                        "10000-01-01T00:00:00Z",
                                        "2024-01-01T00:00:00Zx"};
    struct vd_cel_value v;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (vd_cel_timestamp_parse(vd_span_of(texts[i]), &v))
            fail_msg("%s is taken", texts[i]);
}

static void durations_have_units(void **state)
{
    (void)state;
    CEL_CHECK(&z, {"duration('1h30m')", "duration \"5400s\""},
              {"duration('-1.5s')", "duration \"-1.5s\""},
              {"duration('1ms2us3ns')", "duration \"0.001002003s\""},
              {"duration('0')", "duration \"0s\""}, {"duration('+.5h')", "duration \"1800s\""},
              {"duration('1')", "column 1: the string is no duration, or out of range"},
              {"duration('')", "column 1: the string is no duration, or out of range"},
              {"duration('1d')", "column 1: the string is no duration, or out of range"},
              {"duration('.s')", "column 1: the string is no duration, or out of range"},
              {"duration('9223372036854775807ns')", "duration \"9223372036.854775807s\""},
              {"duration('-9223372036854775808ns')", "duration \"-9223372036.854775808s\""},
              {"duration('9223372036854775808ns')",
               "column 1: the string is no duration, or out of range"},
              {"duration('90s').getMinutes() + duration('-3h').getHours()", "int -2"},
              {"duration('1.25s').getMilliseconds() + duration('1m').getSeconds()", "int 310"},
              {"duration('1s') > duration('999ms')", "bool true"});
}

static void arithmetic_stays_in_range(void **state)
{
    (void)state;
    CEL_CHECK(
        &z,
        {"timestamp('2024-02-28T23:00:00Z') + duration('25h')",
         "timestamp \"2024-03-01T00:00:00Z\""},
        {"duration('1ns') + timestamp(x.t) - timestamp(x.t)", "duration \"0.000000001s\""},
        {"timestamp('9999-12-31T23:59:59.999999999Z') + duration('1ns')",
         "column 45: timestamp out of range"},
        {"timestamp('0001-01-01T00:00:00Z') - duration('1ns')",
         "column 35: timestamp out of range"},
        {"duration('9223372036s') + duration('1s')", "column 25: duration out of range"},
        {"timestamp(253402300799) - timestamp(-62135596800)", "column 25: duration out of range"},
        {"timestamp(0) + timestamp(0)", "column 14: no such overload: timestamp + timestamp"},
        {"duration('1s') * 2", "column 16: no such overload: duration * int"},
        {"duration('1s') - timestamp(0)", "column 16: no such overload: duration - timestamp"});
}

static void accessors_look_through_a_zone(void **state)
{
    (void)state;
    if (access(VD_CEL_ZONE_DIR "Europe/Paris", R_OK) != 0)
        skip();
    CEL_CHECK(
        &z, {"timestamp(x.t).getHours(x.zone)", "int 1"},
        {"(timestamp(x.t) + duration('1s')).getHours(x.zone)", "int 3"},
        {"timestamp(x.t).getHours('Europe/Paris')", "int 1"},
        {"timestamp(x.t).getHours('-03:30')", "int 21"},
        {"timestamp(x.t).getDate('-03:30')", "int 30"},
        {"timestamp(x.t).getDayOfMonth('+05:45')", "int 30"},
        {"timestamp(x.t).getMonth('-03:30') + timestamp(x.t).getFullYear()", "int 2026"},
        {"timestamp(x.t).getDayOfWeek() + timestamp(x.t).getDayOfYear()", "int 90"},
        {"timestamp(x.t).getMinutes('05:45')", "int 44"},
        {"timestamp(x.t).getSeconds('UTC') + timestamp(x.t).getMilliseconds('UTC')", "int 59"},
        {"timestamp('2050-07-01T12:00:00Z').getHours('America/New_York')", "int 8"},
        {"timestamp('2050-01-01T12:00:00Z').getHours('America/New_York')", "int 7"},
        {"timestamp('1900-01-01T12:00:00Z').getHours('Asia/Tokyo')", "int 21"},
        {"timestamp('2030-01-01T12:00:00Z').getHours('Australia/Sydney')", "int 23"},
        {"timestamp(x.t).getHours(x.bad)",
         "error time zone \"../../etc/passwd\": no such time zone"},
        {"timestamp(x.t).getHours('+24:00')", "column 25: time zone \"+24:00\": no such time zone"},
        {"timestamp(x.t).getHours('/etc/localtime')",
         "column 25: time zone \"/etc/localtime\": no such time zone"},
        {"timestamp(x.t).getHours('zone.tab')",
         "column 25: time zone \"zone.tab\": no such time zone"},
        {"timestamp(x.t).getHours('Europe')",
         "column 25: time zone \"Europe\": no such time zone"});
}

/* A version 2 file with no transitions and a rule. */
static bool offset_by_rule(const char *rule, int64_t at, int64_t *ret)
{
    static const char head[44] = "TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                 "\0\0\0\0"
                                 "\0\0\0\0"
                                 "\0\0\0\0"
                                 "\0\0\0\0"
                                 "\0\0\0\1"
                                 "\0\0\0\4";
    static const char body[10] = "\0\0\0\0\0\0"
                                 "UTC";
    const struct vd_cel_zone *zone;
    struct vd_arena arena;
    char file[300];
    bool ok;
    int n;

    memcpy(file, head, 44);
    memcpy(file + 44, body, 10);
    memcpy(file + 54, file, 54);
    n = snprintf(file + 108, sizeof(file) - 108, "\n%s\n", rule);
    vd_arena_init(&arena, 1u << 16);
    ok = vd_cel_zone_parse((struct vd_span){file, 108 + (size_t)n}, &arena, &zone);
    if (ok)
        *ret = vd_cel_zone_offset(zone, at);
    vd_arena_fini(&arena);
    return ok;
}

static void posix_rules_go_on_after_the_last_transition(void **state)
{
    static const struct {
        const char *rule;
        const char *at;
        int64_t offset;
    } cases[] = {{"CET-1CEST,M3.5.0,M10.5.0/3", "2040-03-25T00:59:59Z", 3600},
                 {"CET-1CEST,M3.5.0,M10.5.0/3", "2040-03-25T01:00:00Z", 7200},
                 {"CET-1CEST,M3.5.0,M10.5.0/3", "2040-10-28T00:59:59Z", 7200},
                 {"CET-1CEST,M3.5.0,M10.5.0/3", "2040-10-28T01:00:00Z", 3600},
                 {"AEST-10AEDT,M10.1.0,M4.1.0/3", "2040-01-01T00:00:00Z", 39600},
                 {"AEST-10AEDT,M10.1.0,M4.1.0/3", "2040-07-01T00:00:00Z", 36000},
                 {"<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", "2040-03-25T00:59:59Z", -10800},
                 {"<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", "2040-03-25T01:00:00Z", -7200},
                 {"<+0545>-5:45", "2040-01-01T00:00:00Z", 20700},
                 {"XXX0YYY,J60,J300", "2040-02-29T12:00:00Z", 0},
                 {"XXX0YYY,J60,J300", "2040-03-01T12:00:00Z", 3600},
                 {"XXX0YYY,59,300", "2040-02-29T12:00:00Z", 3600},
                 {"XXX0YYY-2,J60,J300", "2040-06-01T00:00:00Z", 7200}};
    static const char *const bad[] = {"CET",
                                      "CE-1",
                                      "CET-1CEST",
                                      "CET-1CEST,M13.5.0,M10.5.0",
                                      "CET-1CEST,M3.6.0,M10.5.0",
                                      "CET-1CEST,M3.5.7,M10.5.0",
                                      "CET-1CEST,M3.5.0",
                                      "<CET-1",
                                      "CET-1CEST,J0,J1",
                                      "CET-200",
                                      "CET-1CEST,M3.5.0,M10.5.0/3x"};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vd_cel_value t;
        int64_t offset = 1;

        assert_true(vd_cel_timestamp_parse(vd_span_of(cases[i].at), &t));
        assert_true(offset_by_rule(cases[i].rule, t.u.t.s, &offset));
        if (offset != cases[i].offset)
            fail_msg("%s at %s gives %d", cases[i].rule, cases[i].at, (int)offset);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t offset;

        if (offset_by_rule(bad[i], 0, &offset))
            fail_msg("%s is taken", bad[i]);
    }
}

static void the_calendar_is_right_for_every_day(void **state)
{
    int64_t day = VD_CEL_TIMESTAMP_MIN / 86400;
    int last_week_day = 0;

    (void)state;
    for (; day * 86400 <= VD_CEL_TIMESTAMP_MAX; day++) {
        struct vd_cel_civil c = vd_cel_civil_from(day * 86400 + 86399);

        if (vd_cel_days_from_civil(c.year, c.month, c.day) != day || c.month < 1 || c.month > 12 ||
            c.day < 1 || c.day > 31 || c.hour != 23 || c.second != 59 ||
            (day > VD_CEL_TIMESTAMP_MIN / 86400 && c.day_of_week != (last_week_day + 1) % 7))
            fail_msg("day %d", (int)day);
        last_week_day = c.day_of_week;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timestamps_are_rfc_3339),
        cmocka_unit_test(texts_that_are_no_timestamps_are_refused),
        cmocka_unit_test(durations_have_units),
        cmocka_unit_test(arithmetic_stays_in_range),
        cmocka_unit_test(accessors_look_through_a_zone),
        cmocka_unit_test(posix_rules_go_on_after_the_last_transition),
        cmocka_unit_test(the_calendar_is_right_for_every_day),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
