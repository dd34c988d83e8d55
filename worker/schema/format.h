/* schema/format.h - the formats of JSON Schema.
 *
 * Source:   JSON Schema Validation section 7.3: RFC 3339 (dates), RFC 5321/6531 (email), RFC 1123/5890 (host names), RFC 2673/4291 (IP
 *           addresses), RFC 3986/3987 (URI, IRI), RFC 6570 (templates), RFC 9562 (UUID), RFC 6901 (JSON Pointer), ECMA-262 (regex).
 * Thread:   any; pure. Text is UTF-8.
 */
#ifndef VD_SCHEMA_FORMAT_H
#define VD_SCHEMA_FORMAT_H

#include <stdbool.h>

#include "base/span.h"

struct vd_format;

const struct vd_format *vd_format_find(struct vd_span name); /* NULL: unknown */
bool vd_format_check(const struct vd_format *format, struct vd_span text);
const char *vd_format_about(const struct vd_format *format); /* "a date as in 2026-11-23" */

/* One function for each; in format_time.c, format_net.c, format_uri.c and format.c. */
bool vd_is_date(struct vd_span text);
bool vd_is_time(struct vd_span text);
bool vd_is_date_time(struct vd_span text);
bool vd_is_duration(struct vd_span text);
bool vd_is_email(struct vd_span text);
bool vd_is_idn_email(struct vd_span text);
bool vd_is_hostname(struct vd_span text);
bool vd_is_idn_hostname(struct vd_span text);
bool vd_is_ipv4(struct vd_span text);
bool vd_is_ipv6(struct vd_span text);
bool vd_is_uri(struct vd_span text);
bool vd_is_uri_reference(struct vd_span text);
bool vd_is_iri(struct vd_span text);
bool vd_is_iri_reference(struct vd_span text);
bool vd_is_uri_template(struct vd_span text);
bool vd_is_uuid(struct vd_span text);
bool vd_is_json_pointer(struct vd_span text);
bool vd_is_relative_json_pointer(struct vd_span text);
bool vd_is_regex(struct vd_span text);

#endif
