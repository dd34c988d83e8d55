/* cel/zone.h - time zones: fixed offsets and the system's tz database.
 *
 * Why:      the C library knows one zone per process, through setenv(TZ); the worker has many at once.
 * Source:   RFC 8536 (TZif, versions 1 to 4) with the POSIX TZ rule of its footer; cel-spec langdef.md, Timezones.
 * Thread:   any. Reads a file of VD_CEL_ZONE_DIR: blocking, so constant names are read at compile time.
 * Errors:   false, with a static reason, for a name that is none, a zone that is not installed, a file that is broken.
 */
#ifndef VD_CEL_ZONE_H
#define VD_CEL_ZONE_H

#include "base/arena.h"

#define VD_CEL_ZONE_DIR "/usr/share/zoneinfo/"

struct vd_cel_zone; /* const once made; lives in the arena it was made in */

/* "UTC", "+02:00", "-09:30", "02:00", "Europe/Paris". */
bool vd_cel_zone_load(struct vd_span name, struct vd_arena *arena,
                      const struct vd_cel_zone **ret_zone, const char **ret_why);
/* The zone in TZif data. For tests and fuzzing; vd_cel_zone_load() uses it. */
bool vd_cel_zone_parse(struct vd_span tzif, struct vd_arena *arena,
                       const struct vd_cel_zone **ret_zone);
/* Seconds east of UTC at an instant. */
int64_t vd_cel_zone_offset(const struct vd_cel_zone *zone, int64_t seconds);
/* Would loading this name open a file? */
bool vd_cel_zone_is_named(struct vd_span name);

#endif
