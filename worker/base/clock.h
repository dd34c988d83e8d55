/* base/clock.h - the two clocks, and RFC 3339 times.
 *
 * Why:      waiting uses the monotonic clock, payloads the wall clock; tests bring their own.
 * Thread:   any.
 * Units:    mono_ms and wall_ms are milliseconds; wall_ms since the Unix epoch, UTC.
 */
#ifndef VD_BASE_CLOCK_H
#define VD_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

int64_t vd_mono_ms(void);
int64_t vd_mono_us(void);
int64_t vd_wall_ms(void);

#define VD_RFC3339_SIZE 32 /* "9999-12-31T23:59:59.999Z" and a NUL */

/* UTC with exactly three decimals. wall_ms is clamped to the years 0001 to 9999. */
void vd_rfc3339_format(int64_t wall_ms, char out[VD_RFC3339_SIZE]);
/* RFC 3339 section 5.6 date-time, any offset, up to nine decimals (cut to milliseconds). False when malformed. */
bool vd_rfc3339_parse(struct vd_span text, int64_t *ret_wall_ms);
/* Days since 1970-01-01 of a proleptic Gregorian date, and back. */
int64_t vd_days_from_civil(int64_t year, unsigned month, unsigned day);
void vd_civil_from_days(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day);

#endif
