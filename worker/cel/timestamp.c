/* cel/timestamp.c - see timestamp.h. */
#include "cel/timestamp.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_S 1000000000LL

/* -- calendar ---------------------------------------------------------------------------------------------------- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/* Years start in March here, so that the leap day is the last one; 400 years are 146097 days. */
int64_t vd_cel_days_from_civil(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = floor_div(y, 400);
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * 146097 + day_of_era - 719468;
}

struct vd_cel_civil vd_cel_civil_from(int64_t seconds)
{
    int64_t days = floor_div(seconds, 86400);
    int64_t rest = seconds - days * 86400;
    int64_t z = days + 719468;
    int64_t era = floor_div(z, 146097);
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t march_day = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march_month = (5 * march_day + 2) / 153;
    struct vd_cel_civil c;

    c.day = (int)(march_day - (153 * march_month + 2) / 5 + 1);
    c.month = (int)(march_month < 10 ? march_month + 3 : march_month - 9);
    c.year = year_of_era + era * 400 + (c.month <= 2);
    c.day_of_year = (int)(days - vd_cel_days_from_civil(c.year, 1, 1));
    c.day_of_week = (int)((days % 7 + 11) % 7); /* day 0 was a Thursday */
    c.hour = (int)(rest / 3600);
    c.minute = (int)(rest / 60 % 60);
    c.second = (int)(rest % 60);
    return c;
}

/* -- arithmetic -------------------------------------------------------------------------------------------------- */

struct vd_cel_value vd_cel_duration(int64_t ns)
{
    return (struct vd_cel_value){.kind = VD_CEL_DURATION,
                                 .u.t = {.s = ns / NS_PER_S, .ns = (int32_t)(ns % NS_PER_S)}};
}

int64_t vd_cel_duration_ns(const struct vd_cel_value *duration)
{
    return duration->u.t.s * NS_PER_S + duration->u.t.ns;
}

/* s seconds and ns nanoseconds (any sign, |ns| < 2e9) as a timestamp in range. */
static bool make_timestamp(int64_t s, int64_t ns, struct vd_cel_value *ret)
{
    if (ns < 0) {
        ns += NS_PER_S;
        s--;
    }
    if (ns >= NS_PER_S) {
        ns -= NS_PER_S;
        s++;
    }
    if (s < VD_CEL_TIMESTAMP_MIN || s > VD_CEL_TIMESTAMP_MAX)
        return false;
    *ret = (struct vd_cel_value){.kind = VD_CEL_TIMESTAMP, .u.t = {.s = s, .ns = (int32_t)ns}};
    return true;
}

enum vd_cel_time_code vd_cel_time_add(const struct vd_cel_value *a, const struct vd_cel_value *b,
                                      bool subtract, struct vd_cel_value *ret)
{
    int64_t sign = subtract ? -1 : 1;
    int64_t ns;

    if (a->kind == VD_CEL_DURATION && b->kind == VD_CEL_TIMESTAMP && !subtract)
        return vd_cel_time_add(b, a, false, ret);
    if (a->kind == VD_CEL_TIMESTAMP && b->kind == VD_CEL_DURATION)
        return make_timestamp(a->u.t.s + sign * b->u.t.s, (int64_t)a->u.t.ns + sign * b->u.t.ns,
                              ret)
                   ? VD_CEL_TIME_OK
                   : VD_CEL_TIME_RANGE;
    if (a->kind == VD_CEL_DURATION && b->kind == VD_CEL_DURATION) {
        int64_t x = vd_cel_duration_ns(a);
        int64_t y = vd_cel_duration_ns(b);

        if (subtract ? __builtin_sub_overflow(x, y, &ns) : __builtin_add_overflow(x, y, &ns))
            return VD_CEL_TIME_RANGE;
    } else if (a->kind == VD_CEL_TIMESTAMP && b->kind == VD_CEL_TIMESTAMP && subtract) {
        int64_t diff_ns = (int64_t)a->u.t.ns - b->u.t.ns;

        if (__builtin_mul_overflow(a->u.t.s - b->u.t.s, NS_PER_S, &ns) ||
            __builtin_add_overflow(ns, diff_ns, &ns))
            return VD_CEL_TIME_RANGE;
    } else {
        return VD_CEL_TIME_KINDS;
    }
    *ret = vd_cel_duration(ns);
    return VD_CEL_TIME_OK;
}

/* -- reading ----------------------------------------------------------------------------------------------------- */

/* Exactly n digits at the start of *s, which moves on. */
static bool take_digits(struct vd_span *s, size_t n, int *ret)
{
    int v = 0;

    if (s->len < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s->ptr[i] < '0' || s->ptr[i] > '9')
            return false;
        v = v * 10 + (s->ptr[i] - '0');
    }
    *s = vd_span_sub(*s, n, s->len);
    *ret = v;
    return true;
}

static bool take_char(struct vd_span *s, const char *allowed, char *ret)
{
    if (s->len == 0 || strchr(allowed, s->ptr[0]) == NULL || s->ptr[0] == '\0')
        return false;
    *ret = s->ptr[0];
    *s = vd_span_sub(*s, 1, s->len);
    return true;
}

/* ".123": up to nine digits as nanoseconds. */
static bool take_fraction(struct vd_span *s, int64_t *ret_ns)
{
    int64_t ns = 0;
    int64_t unit = NS_PER_S;

    *ret_ns = 0;
    if (s->len == 0 || s->ptr[0] != '.')
        return true;
    *s = vd_span_sub(*s, 1, s->len);
    while (s->len > 0 && s->ptr[0] >= '0' && s->ptr[0] <= '9') {
        unit /= 10;
        if (unit == 0)
            return false;
        ns += (s->ptr[0] - '0') * unit;
        *s = vd_span_sub(*s, 1, s->len);
    }
    *ret_ns = ns;
    return unit < NS_PER_S;
}

static bool take_offset(struct vd_span *s, int *ret_seconds)
{
    char sign;
    char c;
    int hours;
    int minutes;

    *ret_seconds = 0;
    if (take_char(s, "Zz", &c))
        return true;
    if (!take_char(s, "+-", &sign) || !take_digits(s, 2, &hours) || !take_char(s, ":", &c) ||
        !take_digits(s, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_seconds = (hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return month == 2 && is_leap ? 29 : days[month - 1];
}

bool vd_cel_timestamp_parse(struct vd_span text, struct vd_cel_value *ret)
{
    struct vd_span s = text;
    int year;
    int month;
    int day;
    int hour;
    int minute;
    int second;
    int offset;
    int64_t ns;
    char c;

    if (!take_digits(&s, 4, &year) || !take_char(&s, "-", &c) || !take_digits(&s, 2, &month) ||
        !take_char(&s, "-", &c) || !take_digits(&s, 2, &day) || !take_char(&s, "Tt", &c) ||
        !take_digits(&s, 2, &hour) || !take_char(&s, ":", &c) || !take_digits(&s, 2, &minute) ||
        !take_char(&s, ":", &c) || !take_digits(&s, 2, &second) || !take_fraction(&s, &ns) ||
        !take_offset(&s, &offset) || s.len != 0)
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 ||
        minute > 59 || second > 59)
        return false;
    return make_timestamp(vd_cel_days_from_civil(year, month, day) * 86400 + hour * 3600 +
                              minute * 60 + second - offset,
                          ns, ret);
}

/* The unit at the start of *s, in nanoseconds; 0 when there is none. */
static int64_t take_unit(struct vd_span *s)
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {/* longer names first: "ms" before "m" */
                 {"ns", 1},       {"us", 1000},    {"\xC2\xB5s", 1000},  {"\xCE\xBCs", 1000},
                 {"ms", 1000000}, {"s", NS_PER_S}, {"m", 60 * NS_PER_S}, {"h", 3600 * NS_PER_S}};

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (vd_span_starts(*s, vd_span_of(units[i].name))) {
            *s = vd_span_sub(*s, strlen(units[i].name), s->len);
            return units[i].ns;
        }
    }
    return 0;
}

/* DIGITS [. DIGITS] UNIT, added to *total_ns (never above 2^63, so that the least duration can be written). */
static bool take_part(struct vd_span *s, uint64_t *total_ns)
{
    uint64_t whole = 0;
    double fraction = 0;
    double place = 1;
    uint64_t ns;
    int64_t unit;
    size_t digits = 0;

    for (; s->len > 0 && s->ptr[0] >= '0' && s->ptr[0] <= '9'; digits++) {
        if (__builtin_mul_overflow(whole, 10u, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)(s->ptr[0] - '0'), &whole))
            return false;
        *s = vd_span_sub(*s, 1, s->len);
    }
    if (s->len > 0 && s->ptr[0] == '.') {
        *s = vd_span_sub(*s, 1, s->len);
        for (; s->len > 0 && s->ptr[0] >= '0' && s->ptr[0] <= '9'; digits++) {
            place /= 10;
            fraction += place * (s->ptr[0] - '0');
            *s = vd_span_sub(*s, 1, s->len);
        }
    }
    unit = take_unit(s);
    if (digits == 0 || unit == 0 || __builtin_mul_overflow(whole, (uint64_t)unit, &ns) ||
        __builtin_add_overflow(ns, (uint64_t)(fraction * (double)unit + 0.5), &ns) ||
        __builtin_add_overflow(ns, *total_ns, &ns))
        return false;
    *total_ns = ns;
    return ns <= (uint64_t)INT64_MAX + 1;
}

bool vd_cel_duration_parse(struct vd_span text, struct vd_cel_value *ret)
{
    struct vd_span s = text;
    uint64_t ns = 0;
    char sign = '+';

    (void)take_char(&s, "+-", &sign);
    if (vd_span_eq_c(s, "0")) {
        *ret = vd_cel_duration(0);
        return true;
    }
    if (s.len == 0)
        return false;
    while (s.len > 0)
        if (!take_part(&s, &ns))
            return false;
    if (sign == '+' && ns > (uint64_t)INT64_MAX)
        return false;
    *ret = vd_cel_duration(sign == '-' ? (int64_t)(0 - ns) : (int64_t)ns);
    return true;
}

/* -- writing ----------------------------------------------------------------------------------------------------- */

/* ".5" for 500000000 nanoseconds, "" for none. */
static void fraction_text(int32_t ns, char ret[16])
{
    size_t n;

    if (ns == 0) {
        ret[0] = '\0';
        return;
    }
    n = (size_t)snprintf(ret, 16, ".%09d", ns < 0 ? -ns : ns);
    while (n > 1 && ret[n - 1] == '0')
        ret[--n] = '\0';
}

size_t vd_cel_time_text(const struct vd_cel_value *v, char ret[VD_CEL_TIME_TEXT])
{
    char fraction[16];
    struct vd_cel_civil c;

    fraction_text(v->u.t.ns, fraction);
    if (v->kind == VD_CEL_DURATION) {
        bool is_negative = v->u.t.s < 0 || v->u.t.ns < 0;

        return (size_t)snprintf(ret, VD_CEL_TIME_TEXT, "%s%lld%ss", is_negative ? "-" : "",
                                (long long)(v->u.t.s < 0 ? -v->u.t.s : v->u.t.s), fraction);
    }
    c = vd_cel_civil_from(v->u.t.s);
    return (size_t)snprintf(ret, VD_CEL_TIME_TEXT, "%04d-%02d-%02dT%02d:%02d:%02d%sZ", (int)c.year,
                            c.month, c.day, c.hour, c.minute, c.second, fraction);
}
