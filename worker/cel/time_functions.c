/* cel/time_functions.c - accessors of timestamps and durations; see function.h.
 *
 * Source:   cel-spec langdef.md, List of Standard Definitions and Timezones. Months, days of the month (getDayOfMonth), of the
 *           week and of the year count from 0; getDate() from 1.
 */
#include "cel/function.h"
#include "cel/timestamp.h"
#include "cel/zone.h"

#define M(kind) VD_CEL_M(VD_CEL_##kind)

/* The calendar that a timestamp shows in the zone of the second argument, UTC without one. */
static bool civil_of(struct vd_cel_run *run, const struct vd_cel_node *node,
                     const struct vd_cel_value *a, struct vd_cel_civil *ret_civil,
                     struct vd_cel_value *ret)
{
    const struct vd_cel_zone *zone = node->u.call.prepared;
    const char *why = "";
    int64_t offset = 0;

    if (node->arg_count > 1) {
        struct vd_arena_mark mark = vd_arena_mark(run->arena);

        if (zone == NULL && vd_cel_zone_is_named(a[1].u.s) &&
            !vd_cel_charge(run, ret, VD_CEL_ZONE_STEPS))
            return false;
        if (zone == NULL && !vd_cel_zone_load(a[1].u.s, run->arena, &zone, &why))
            return vd_cel_fail(run, ret, "time zone \"%.*s\": %s",
                               a[1].u.s.len > 64 ? 64 : (int)a[1].u.s.len, a[1].u.s.ptr, why);
        offset = vd_cel_zone_offset(zone, a->u.t.s);
        vd_arena_rewind(run->arena, mark);
    }
    *ret_civil = vd_cel_civil_from(a->u.t.s + offset);
    return true;
}

#define CIVIL_FUNCTION(name, expression)                                                           \
    static bool name(struct vd_cel_run *run, const struct vd_cel_node *node,                       \
                     const struct vd_cel_value *a, struct vd_cel_value *ret)                       \
    {                                                                                              \
        struct vd_cel_civil c;                                                                     \
                                                                                                   \
        if (!civil_of(run, node, a, &c, ret))                                                      \
            return false;                                                                          \
        *ret = vd_cel_int(expression);                                                             \
        return true;                                                                               \
    }

CIVIL_FUNCTION(call_date, c.day)
CIVIL_FUNCTION(call_day_of_month, c.day - 1)
CIVIL_FUNCTION(call_day_of_week, c.day_of_week)
CIVIL_FUNCTION(call_day_of_year, c.day_of_year)
CIVIL_FUNCTION(call_full_year, c.year)
CIVIL_FUNCTION(call_month, c.month - 1)
CIVIL_FUNCTION(call_civil_hours, c.hour)
CIVIL_FUNCTION(call_civil_minutes, c.minute)
CIVIL_FUNCTION(call_civil_seconds, c.second)

static bool call_hours(struct vd_cel_run *run, const struct vd_cel_node *node,
                       const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    if (a->kind == VD_CEL_TIMESTAMP)
        return call_civil_hours(run, node, a, ret);
    *ret = vd_cel_int(a->u.t.s / 3600);
    return true;
}

static bool call_minutes(struct vd_cel_run *run, const struct vd_cel_node *node,
                         const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    if (a->kind == VD_CEL_TIMESTAMP)
        return call_civil_minutes(run, node, a, ret);
    *ret = vd_cel_int(a->u.t.s / 60);
    return true;
}

static bool call_seconds(struct vd_cel_run *run, const struct vd_cel_node *node,
                         const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    if (a->kind == VD_CEL_TIMESTAMP)
        return call_civil_seconds(run, node, a, ret);
    *ret = vd_cel_int(a->u.t.s);
    return true;
}

/* Of durations too this is the part below a second, as the suite has it. */
static bool call_milliseconds(struct vd_cel_run *run, const struct vd_cel_node *node,
                              const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_cel_civil c;

    if (a->kind == VD_CEL_TIMESTAMP && !civil_of(run, node, a, &c, ret))
        return false;
    *ret = vd_cel_int(a->u.t.ns / 1000000);
    return true;
}

#define TIME M(TIMESTAMP)
#define BOTH (M(TIMESTAMP) | M(DURATION))

const struct vd_cel_function vd_cel_functions_time[] = {
    {"getDate", VD_CEL_METHOD, 1, 2, {TIME, M(STRING)}, M(INT), call_date, 2, VD_CEL_F_ZONE},
    {"getDayOfMonth",
     VD_CEL_METHOD,
     1,
     2,
     {TIME, M(STRING)},
     M(INT),
     call_day_of_month,
     2,
     VD_CEL_F_ZONE},
    {"getDayOfWeek",
     VD_CEL_METHOD,
     1,
     2,
     {TIME, M(STRING)},
     M(INT),
     call_day_of_week,
     2,
     VD_CEL_F_ZONE},
    {"getDayOfYear",
     VD_CEL_METHOD,
     1,
     2,
     {TIME, M(STRING)},
     M(INT),
     call_day_of_year,
     2,
     VD_CEL_F_ZONE},
    {"getFullYear",
     VD_CEL_METHOD,
     1,
     2,
     {TIME, M(STRING)},
     M(INT),
     call_full_year,
     2,
     VD_CEL_F_ZONE},
    {"getMonth", VD_CEL_METHOD, 1, 2, {TIME, M(STRING)}, M(INT), call_month, 2, VD_CEL_F_ZONE},
    {"getHours", VD_CEL_METHOD, 1, 1, {BOTH}, M(INT), call_hours, 2, 0},
    {"getHours",
     VD_CEL_METHOD,
     2,
     2,
     {TIME, M(STRING)},
     M(INT),
     call_civil_hours,
     2,
     VD_CEL_F_ZONE},
    {"getMinutes", VD_CEL_METHOD, 1, 1, {BOTH}, M(INT), call_minutes, 2, 0},
    {"getMinutes",
     VD_CEL_METHOD,
     2,
     2,
     {TIME, M(STRING)},
     M(INT),
     call_civil_minutes,
     2,
     VD_CEL_F_ZONE},
    {"getSeconds", VD_CEL_METHOD, 1, 1, {BOTH}, M(INT), call_seconds, 2, 0},
    {"getSeconds",
     VD_CEL_METHOD,
     2,
     2,
     {TIME, M(STRING)},
     M(INT),
     call_civil_seconds,
     2,
     VD_CEL_F_ZONE},
    {"getMilliseconds", VD_CEL_METHOD, 1, 1, {BOTH}, M(INT), call_milliseconds, 2, 0},
    {"getMilliseconds",
     VD_CEL_METHOD,
     2,
     2,
     {TIME, M(STRING)},
     M(INT),
     call_milliseconds,
     2,
     VD_CEL_F_ZONE},
    {.name = NULL},
};
