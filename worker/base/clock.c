/* base/clock.c - see clock.h. Calendar arithmetic after RFC 3339 appendix and the proleptic Gregorian calendar. */
#include "base/clock.h"

#include <string.h>
#include <time.h>

#define MS_PER_DAY 86400000
/* 0001-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z */
#define MIN_WALL_MS (-INT64_C(62135596800000))
#define MAX_WALL_MS INT64_C(253402300799999)

static int64_t read_us(clockid_t id)
{
    struct timespec ts;

    (void)clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t vd_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

int64_t vd_mono_ms(void)
{
    return read_us(CLOCK_MONOTONIC) / 1000;
}

int64_t vd_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000;
}

/* Years are counted from March, so that the leap day is the last of its year; 400 years are 146,097 days. */
int64_t vd_days_from_civil(int64_t year, unsigned month, unsigned day)
{
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year =
        (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + (int64_t)day - 1;

    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

void vd_civil_from_days(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;

    *ret_day = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
    *ret_month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
    *ret_year = yoe + era * 400 + (*ret_month <= 2);
}

static void write_digits(char *out, size_t count, unsigned value)
{
    for (; count > 0; value /= 10)
        out[--count] = (char)('0' + value % 10);
}

/* Digit by digit: four times a decision, and snprintf takes ten times as long. */
void vd_rfc3339_format(int64_t wall_ms, char out[VD_RFC3339_SIZE])
{
    static const char pattern[VD_RFC3339_SIZE] = "0000-00-00T00:00:00.000Z";
    int64_t days, year;
    unsigned month, day, in_day;

    if (wall_ms < MIN_WALL_MS)
        wall_ms = MIN_WALL_MS;
    if (wall_ms > MAX_WALL_MS)
        wall_ms = MAX_WALL_MS;
    days = wall_ms / MS_PER_DAY - (wall_ms % MS_PER_DAY < 0);
    in_day = (unsigned)(wall_ms - days * MS_PER_DAY);
    vd_civil_from_days(days, &year, &month, &day);
    memcpy(out, pattern, sizeof(pattern));
    write_digits(out, 4, (unsigned)year);
    write_digits(out + 5, 2, month);
    write_digits(out + 8, 2, day);
    write_digits(out + 11, 2, in_day / 3600000);
    write_digits(out + 14, 2, in_day / 60000 % 60);
    write_digits(out + 17, 2, in_day / 1000 % 60);
    write_digits(out + 20, 3, in_day % 1000);
}

/* Exactly n digits at text[*at]; moves *at. */
static bool digits(struct vd_span text, size_t *at, size_t n, unsigned *ret)
{
    uint64_t v;

    if (text.len < *at + n || !vd_parse_u64(vd_span_sub(text, *at, n), UINT32_MAX, &v))
        return false;
    *at += n;
    *ret = (unsigned)v;
    return true;
}

static bool literal(struct vd_span text, size_t *at, char c)
{
    if (*at >= text.len || text.ptr[*at] != c)
        return false;
    (*at)++;
    return true;
}

static bool letter(struct vd_span text, size_t *at, char upper)
{
    return literal(text, at, upper) || literal(text, at, (char)(upper + ('a' - 'A')));
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (unsigned)(month == 2 && leap);
}

static bool parse_fraction(struct vd_span text, size_t *at, unsigned *ret_ms)
{
    unsigned scale = 100, count = 0;

    *ret_ms = 0;
    if (!literal(text, at, '.'))
        return true;
    for (; *at < text.len && text.ptr[*at] >= '0' && text.ptr[*at] <= '9'; (*at)++, count++) {
        *ret_ms += (unsigned)(text.ptr[*at] - '0') * scale;
        scale /= 10;
    }
    return count > 0 && count <= 9;
}

static bool parse_offset(struct vd_span text, size_t *at, int64_t *ret_ms)
{
    unsigned hours, minutes;
    int64_t sign = 1;

    *ret_ms = 0;
    if (letter(text, at, 'Z'))
        return true;
    if (literal(text, at, '-'))
        sign = -1;
    else if (!literal(text, at, '+'))
        return false;
    if (!digits(text, at, 2, &hours) || !literal(text, at, ':') || !digits(text, at, 2, &minutes) ||
        hours > 23 || minutes > 59)
        return false;
    *ret_ms = sign * ((int64_t)hours * 60 + minutes) * 60000;
    return true;
}

bool vd_rfc3339_parse(struct vd_span text, int64_t *ret_wall_ms)
{
    unsigned year, month, day, hour, minute, second, ms;
    int64_t offset_ms;
    size_t at = 0;

    if (!digits(text, &at, 4, &year) || !literal(text, &at, '-') || !digits(text, &at, 2, &month) ||
        !literal(text, &at, '-') || !digits(text, &at, 2, &day) ||
        !(letter(text, &at, 'T') || literal(text, &at, ' ')) || !digits(text, &at, 2, &hour) ||
        !literal(text, &at, ':') || !digits(text, &at, 2, &minute) || !literal(text, &at, ':') ||
        !digits(text, &at, 2, &second) || !parse_fraction(text, &at, &ms) ||
        !parse_offset(text, &at, &offset_ms) || at != text.len)
        return false;
    /* second 60 is a leap second: RFC 3339 allows it, POSIX time folds it into the next second */
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 ||
        minute > 59 || second > 60)
        return false;
    *ret_wall_ms = vd_days_from_civil(year, month, day) * MS_PER_DAY +
                   (((int64_t)hour * 60 + minute) * 60 + second) * 1000 + ms - offset_ms;
    return true;
}
