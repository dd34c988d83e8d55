/* schema/format_time.c - dates, times and durations; see format.h. RFC 3339 section 5.6 and appendix A. */
#include "schema/format.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Exactly count digits at the start of *s, which moves behind them. */
static bool take_digits(struct vd_span *s, size_t count, unsigned *ret)
{
    unsigned v = 0;

    if (s->len < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!is_digit(s->ptr[i]))
            return false;
        v = v * 10 + (unsigned)(s->ptr[i] - '0');
    }
    *s = vd_span_sub(*s, count, s->len);
    *ret = v;
    return true;
}

static bool take_char(struct vd_span *s, char c)
{
    if (s->len == 0 || s->ptr[0] != c)
        return false;
    *s = vd_span_sub(*s, 1, s->len);
    return true;
}

static unsigned days_in(unsigned year, unsigned month)
{
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

static bool take_date(struct vd_span *s)
{
    unsigned year;
    unsigned month;
    unsigned day;

    return take_digits(s, 4, &year) && take_char(s, '-') && take_digits(s, 2, &month) &&
           take_char(s, '-') && take_digits(s, 2, &day) && month >= 1 && month <= 12 && day >= 1 &&
           day <= days_in(year, month);
}

/* Minutes east of UTC; Z is 0. */
static bool take_offset(struct vd_span *s, int *ret)
{
    bool east = s->len > 0 && s->ptr[0] == '+';
    unsigned hour;
    unsigned minute;

    *ret = 0;
    if (take_char(s, 'Z') || take_char(s, 'z'))
        return true;
    if ((!take_char(s, '+') && !take_char(s, '-')) || !take_digits(s, 2, &hour) ||
        !take_char(s, ':') || !take_digits(s, 2, &minute) || hour > 23 || minute > 59)
        return false;
    *ret = (int)(hour * 60 + minute) * (east ? 1 : -1);
    return true;
}

/* A leap second can only be the last of a day in UTC. */
static bool take_time(struct vd_span *s)
{
    unsigned hour;
    unsigned minute;
    unsigned second;
    int offset;

    if (!take_digits(s, 2, &hour) || !take_char(s, ':') || !take_digits(s, 2, &minute) ||
        !take_char(s, ':') || !take_digits(s, 2, &second) || hour > 23 || minute > 59 ||
        second > 60)
        return false;
    if (take_char(s, '.')) {
        size_t n = 0;

        while (n < s->len && is_digit(s->ptr[n]))
            n++;
        if (n == 0)
            return false;
        *s = vd_span_sub(*s, n, s->len);
    }
    if (!take_offset(s, &offset))
        return false;
    return second < 60 || ((int)(hour * 60 + minute) - offset + 2 * 1440) % 1440 == 1439;
}

bool vd_is_date(struct vd_span text)
{
    return take_date(&text) && text.len == 0;
}

bool vd_is_time(struct vd_span text)
{
    return take_time(&text) && text.len == 0;
}

bool vd_is_date_time(struct vd_span text)
{
    return take_date(&text) && (take_char(&text, 'T') || take_char(&text, 't')) &&
           take_time(&text) && text.len == 0;
}

static bool take_number(struct vd_span *s)
{
    size_t n = 0;

    while (n < s->len && is_digit(s->ptr[n]))
        n++;
    *s = vd_span_sub(*s, n, s->len);
    return n > 0;
}

/* Numbers with these units, in this order, none left out between two that are there; at least one. */
static bool take_units(struct vd_span *s, const char *units)
{
    bool any = false;

    while (s->len > 0 && is_digit(s->ptr[0])) {
        if (!take_number(s) || s->len == 0)
            return false;
        while (*units != '\0' && *units != s->ptr[0]) {
            if (any)
                return false; /* P1Y2D: the months between are missing */
            units++;
        }
        if (*units == '\0')
            return false;
        units++;
        any = true;
        *s = vd_span_sub(*s, 1, s->len);
    }
    return any;
}

bool vd_is_duration(struct vd_span text)
{
    struct vd_span weeks;

    if (!take_char(&text, 'P'))
        return false;
    weeks = text;
    if (take_number(&weeks) && take_char(&weeks, 'W'))
        return weeks.len == 0;
    if (!vd_span_starts(text, VD_LIT("T")) && !take_units(&text, "YMD"))
        return false;
    return text.len == 0 || (take_char(&text, 'T') && take_units(&text, "HMS") && text.len == 0);
}
