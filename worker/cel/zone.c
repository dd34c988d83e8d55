/* cel/zone.c - see zone.h. */
#include "cel/zone.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "cel/timestamp.h"

#define MAX_NAME 64 /* the longest name of the database has 32 */

/* When in the year a POSIX rule changes the offset. */
struct change {
    char form; /* 'M' month.week.day, 'J' 1-365 without leap day, 'D' 0-365 with it */
    int month;
    int week;
    int day;
    int64_t time; /* seconds after local midnight */
};

struct vd_cel_zone {
    size_t count;
    const int64_t *at;     /* instants, ascending; offset[i] holds from at[i] on */
    const int32_t *offset; /* count of them */
    int32_t first;         /* before at[0] */
    bool has_rule;         /* for instants from the last at[] on */
    int64_t standard;
    int64_t daylight;
    bool has_daylight;
    struct change start; /* of daylight time, in standard time */
    struct change end;   /* in daylight time */
};

/* -- the POSIX rule, "CET-1CEST,M3.5.0,M10.5.0/3" ---------------------------------------------------------------- */

static bool take(struct vd_span *s, char c)
{
    if (s->len == 0 || s->ptr[0] != c)
        return false;
    *s = vd_span_sub(*s, 1, s->len);
    return true;
}

static bool take_number(struct vd_span *s, int max, int *ret)
{
    int v = 0;
    size_t digits = 0;

    for (; s->len > 0 && s->ptr[0] >= '0' && s->ptr[0] <= '9' && digits < 4; digits++) {
        v = v * 10 + (s->ptr[0] - '0');
        *s = vd_span_sub(*s, 1, s->len);
    }
    *ret = v;
    return digits > 0 && v <= max;
}

static bool take_zone_name(struct vd_span *s)
{
    size_t n = 0;

    if (take(s, '<')) {
        while (s->len > 0 && s->ptr[0] != '>')
            *s = vd_span_sub(*s, 1, s->len);
        return take(s, '>');
    }
    while (s->len > 0 &&
           ((s->ptr[0] >= 'a' && s->ptr[0] <= 'z') || (s->ptr[0] >= 'A' && s->ptr[0] <= 'Z'))) {
        *s = vd_span_sub(*s, 1, s->len);
        n++;
    }
    return n >= 3;
}

/* [+-]h[h][h][:mm[:ss]] */
static bool take_time(struct vd_span *s, int64_t *ret)
{
    int64_t sign = take(s, '-') ? -1 : 1;
    int h;
    int m = 0;
    int sec = 0;

    (void)take(s, '+');
    if (!take_number(s, 167, &h))
        return false;
    if (take(s, ':') && !take_number(s, 59, &m))
        return false;
    if (take(s, ':') && !take_number(s, 59, &sec))
        return false;
    *ret = sign * (h * 3600 + m * 60 + sec);
    return true;
}

static bool take_change(struct vd_span *s, struct change *ret)
{
    *ret = (struct change){.form = 'D', .time = 7200};
    if (!take(s, ','))
        return false;
    if (take(s, 'M')) {
        ret->form = 'M';
        if (!take_number(s, 12, &ret->month) || ret->month < 1 || !take(s, '.') ||
            !take_number(s, 5, &ret->week) || ret->week < 1 || !take(s, '.') ||
            !take_number(s, 6, &ret->day))
            return false;
    } else {
        if (take(s, 'J'))
            ret->form = 'J';
        if (!take_number(s, 365, &ret->day) || (ret->form == 'J' && ret->day < 1))
            return false;
    }
    return !take(s, '/') || take_time(s, &ret->time);
}

static bool parse_rule(struct vd_span s, struct vd_cel_zone *z)
{
    int64_t west;

    if (!take_zone_name(&s) || !take_time(&s, &west))
        return false;
    z->standard = -west;
    z->daylight = -west + 3600;
    z->has_daylight = s.len > 0;
    if (!z->has_daylight)
        return true;
    if (!take_zone_name(&s))
        return false;
    if (s.len > 0 && s.ptr[0] != ',') {
        if (!take_time(&s, &west))
            return false;
        z->daylight = -west;
    }
    return take_change(&s, &z->start) && take_change(&s, &z->end) && s.len == 0;
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* The change of that year, as local seconds since the epoch. */
static int64_t change_in_year(const struct change *c, int64_t year)
{
    int64_t first = vd_cel_days_from_civil(year, c->form == 'M' ? c->month : 1, 1);
    int64_t day;

    if (c->form == 'M') {
        int64_t next = c->month == 12 ? vd_cel_days_from_civil(year + 1, 1, 1)
                                      : vd_cel_days_from_civil(year, c->month + 1, 1);
        int64_t weekday = (first % 7 + 11) % 7; /* of the first; day 0 was a Thursday */

        day = first + (c->day - weekday + 7) % 7 + (c->week - 1) * 7;
        if (day >= next)
            day -= 7;
    } else if (c->form == 'J') {
        day = first + c->day - 1 + (c->day >= 60 && is_leap(year));
    } else {
        day = first + c->day;
    }
    return day * 86400 + c->time;
}

static int64_t rule_offset(const struct vd_cel_zone *z, int64_t seconds)
{
    int64_t year;
    int64_t start;
    int64_t end;
    bool is_daylight;

    if (!z->has_daylight)
        return z->standard;
    year = vd_cel_civil_from(seconds + z->standard).year;
    start = change_in_year(&z->start, year) - z->standard;
    end = change_in_year(&z->end, year) - z->daylight;
    is_daylight =
        start < end ? seconds >= start && seconds < end : seconds >= start || seconds < end;
    return is_daylight ? z->daylight : z->standard;
}

int64_t vd_cel_zone_offset(const struct vd_cel_zone *z, int64_t seconds)
{
    size_t low = 0;
    size_t high = z->count;

    if (z->has_rule && (z->count == 0 || seconds >= z->at[z->count - 1]))
        return rule_offset(z, seconds);
    while (low < high) { /* the first change after seconds */
        size_t mid = low + (high - low) / 2;

        if (z->at[mid] <= seconds)
            low = mid + 1;
        else
            high = mid;
    }
    return low == 0 ? z->first : z->offset[low - 1];
}

/* -- TZif -------------------------------------------------------------------------------------------------------- */

static int64_t big_endian(const char *p, size_t n)
{
    uint64_t v = (unsigned char)p[0] & 0x80 ? UINT64_MAX : 0;

    for (size_t i = 0; i < n; i++)
        v = v << 8 | (unsigned char)p[i];
    return (int64_t)v;
}

struct header {
    char version;
    size_t isutc;
    size_t isstd;
    size_t leap;
    size_t times;
    size_t types;
    size_t chars;
};

static bool read_header(struct vd_span s, struct header *ret)
{
    size_t n[6];

    if (s.len < 44 || memcmp(s.ptr, "TZif", 4) != 0)
        return false;
    for (size_t i = 0; i < 6; i++) {
        n[i] = (size_t)(big_endian(s.ptr + 20 + 4 * i, 4) & 0xFFFFFFFF);
        if (n[i] > VD_CEL_MAX_ZONE_BYTES)
            return false;
    }
    *ret = (struct header){s.ptr[4], n[0], n[1], n[2], n[3], n[4], n[5]};
    return ret->types > 0;
}

static size_t body_len(const struct header *h, size_t time_size)
{
    return h->times * time_size + h->times + h->types * 6 + h->chars + h->leap * (time_size + 4) +
           h->isstd + h->isutc;
}

static bool read_body(struct vd_span s, const struct header *h, size_t time_size,
                      struct vd_arena *arena, struct vd_cel_zone *z)
{
    int64_t *at = vd_arena_array(arena, h->times, sizeof(*at));
    int32_t *offset = vd_arena_array(arena, h->times, sizeof(*offset));
    const char *indexes = s.ptr + h->times * time_size;
    const char *types = indexes + h->times;

    if (at == NULL || offset == NULL)
        return false;
    for (size_t i = 0; i < h->times; i++) {
        size_t type = (unsigned char)indexes[i];

        at[i] = big_endian(s.ptr + i * time_size, time_size);
        if (type >= h->types || (i > 0 && at[i] <= at[i - 1]))
            return false;
        offset[i] = (int32_t)big_endian(types + 6 * type, 4);
    }
    z->count = h->times;
    z->at = at;
    z->offset = offset;
    z->first = (int32_t)big_endian(types, 4);
    for (size_t i = 0; i < h->types; i++)
        if (big_endian(types + 6 * i, 4) < -172800 || big_endian(types + 6 * i, 4) > 172800)
            return false;
    return true;
}

bool vd_cel_zone_parse(struct vd_span s, struct vd_arena *arena,
                       const struct vd_cel_zone **ret_zone)
{
    struct vd_cel_zone *z = vd_arena_alloc(arena, sizeof(*z));
    struct header h;
    size_t time_size = 4;
    size_t len;

    if (z == NULL || !read_header(s, &h))
        return false;
    if (h.version >= '2') { /* a second header and body with 64-bit times follow */
        len = 44 + body_len(&h, 4);
        if (len > s.len)
            return false;
        s = vd_span_sub(s, len, s.len);
        time_size = 8;
        if (!read_header(s, &h))
            return false;
    }
    len = 44 + body_len(&h, time_size);
    if (len > s.len || !read_body(vd_span_sub(s, 44, s.len), &h, time_size, arena, z))
        return false;
    s = vd_span_sub(s, len, s.len);
    if (time_size == 8 && take(&s, '\n') && s.len > 0 && s.ptr[0] != '\n') {
        z->has_rule = parse_rule(vd_span_sub(s, 0, vd_span_find(s, '\n')), z);
        if (!z->has_rule)
            return false;
    }
    *ret_zone = z;
    return true;
}

/* -- names ------------------------------------------------------------------------------------------------------- */

/* [+-]hh:mm */
static bool parse_fixed(struct vd_span s, int32_t *ret)
{
    int sign = take(&s, '-') ? -1 : 1;
    int h;
    int m;

    if (sign == 1)
        (void)take(&s, '+');
    if (s.len != 5 || s.ptr[2] != ':' || !take_number(&s, 23, &h) || !take(&s, ':') ||
        !take_number(&s, 59, &m) || s.len != 0)
        return false;
    *ret = sign * (h * 3600 + m * 60);
    return true;
}

static bool is_utc(struct vd_span name)
{
    return name.len == 0 || vd_span_eq_c(name, "UTC") || vd_span_eq_c(name, "Z");
}

bool vd_cel_zone_is_named(struct vd_span name)
{
    int32_t offset;

    return !is_utc(name) && !parse_fixed(name, &offset);
}

/* Words of letters, digits, _ + -, each beginning with a letter, joined by single slashes: nothing that climbs out. */
static bool is_zone_name(struct vd_span name)
{
    bool at_start = true;

    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        if (at_start ? !is_letter
                     : !(is_letter || (c >= '0' && c <= '9') || strchr("_+-/", c) != NULL))
            return false;
        at_start = c == '/';
    }
    return name.len > 0 && name.len <= MAX_NAME && !at_start;
}

static bool read_file(const char *path, char *data, size_t cap, size_t *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    size_t len = 0;
    ssize_t n = 1;

    if (fd < 0)
        return false;
    while (len < cap && (n = read(fd, data + len, cap - len)) > 0)
        len += (size_t)n;
    (void)close(fd);
    *ret_len = len;
    return n == 0 && len < cap; /* as large as the limit is too large */
}

bool vd_cel_zone_load(struct vd_span name, struct vd_arena *arena,
                      const struct vd_cel_zone **ret_zone, const char **ret_why)
{
    char path[sizeof(VD_CEL_ZONE_DIR) + MAX_NAME];
    struct vd_cel_zone *fixed;
    int32_t offset = 0;
    char data[VD_CEL_MAX_ZONE_BYTES];
    size_t len;

    if (is_utc(name) || parse_fixed(name, &offset)) {
        fixed = vd_arena_alloc(arena, sizeof(*fixed));
        *ret_why = "out of memory";
        if (fixed == NULL)
            return false;
        fixed->first = offset;
        *ret_zone = fixed;
        return true;
    }
    *ret_why = "no such time zone";
    if (!is_zone_name(name))
        return false;
    (void)snprintf(path, sizeof(path), VD_CEL_ZONE_DIR "%.*s", (int)name.len, name.ptr);
    if (!read_file(path, data, sizeof(data), &len)) {
        if (access(VD_CEL_ZONE_DIR "UTC", R_OK) != 0)
            *ret_why = "the time zone database is not installed in " VD_CEL_ZONE_DIR;
        return false;
    }
    *ret_why = "broken file in the time zone database"; /* or no memory for it */
    return vd_cel_zone_parse((struct vd_span){data, len}, arena, ret_zone);
}
