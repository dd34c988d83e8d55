/* cel/timestamp.h - instants and durations: text, calendar, arithmetic.
 *
 * Source:   RFC 3339 (leap seconds are refused); protobuf's JSON form of Duration; Go's form of durations ("1h30m", "-1.5s").
 * Thread:   any; pure.
 * Units:    seconds since 1970-01-01T00:00:00Z and nanoseconds 0..999999999; a duration's parts have the same sign.
 * Shapes:   timestamps run from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z. Durations are those whose nanoseconds
 *           fit int64, about 292 years: the suite refuses the difference of the first and the last timestamp.
 */
#ifndef VD_CEL_TIMESTAMP_H
#define VD_CEL_TIMESTAMP_H

#include "cel/value.h"

#define VD_CEL_TIMESTAMP_MIN (-62135596800LL)
#define VD_CEL_TIMESTAMP_MAX 253402300799LL

enum vd_cel_time_code {
    VD_CEL_TIME_OK,
    VD_CEL_TIME_RANGE,
    VD_CEL_TIME_KINDS, /* these two kinds do not add */
};

/* a + b or a - b for timestamps and durations. */
enum vd_cel_time_code vd_cel_time_add(const struct vd_cel_value *a, const struct vd_cel_value *b,
                                      bool subtract, struct vd_cel_value *ret);

/* A duration of so many nanoseconds, and back. */
struct vd_cel_value vd_cel_duration(int64_t ns);
int64_t vd_cel_duration_ns(const struct vd_cel_value *duration);

bool vd_cel_timestamp_parse(struct vd_span text, struct vd_cel_value *ret);
bool vd_cel_duration_parse(struct vd_span text, struct vd_cel_value *ret);

/* "2009-02-13T23:31:30.5Z", "-1.5s": fraction without trailing zeros. Returns the length. */
#define VD_CEL_TIME_TEXT 40
size_t vd_cel_time_text(const struct vd_cel_value *v, char ret[VD_CEL_TIME_TEXT]);

struct vd_cel_civil {
    int64_t year;
    int month;       /* 1 to 12 */
    int day;         /* 1 to 31 */
    int day_of_year; /* 0 to 365 */
    int day_of_week; /* 0 is Sunday */
    int hour;
    int minute;
    int second;
};

/* The calendar at so many seconds since the epoch (proleptic Gregorian), and days since the epoch of a date. */
struct vd_cel_civil vd_cel_civil_from(int64_t seconds);
int64_t vd_cel_days_from_civil(int64_t year, int month, int day);

#endif
