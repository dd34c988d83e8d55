/* schema/uri.h - URI references: parts, and what a reference means beside a base.
 *
 * Source:   RFC 3986 sections 3 and 5.
 * Thread:   any; pure.
 * Shapes:   parts are borrowed from the text. Nothing is decoded or normalised, except that dot segments are removed.
 */
#ifndef VD_SCHEMA_URI_H
#define VD_SCHEMA_URI_H

#include "base/buf.h"
#include "base/span.h"

struct vd_uri {
    struct vd_span scheme;
    struct vd_span authority;
    struct vd_span path;
    struct vd_span query;
    struct vd_span fragment;
    bool has_scheme;
    bool has_authority;
    bool has_query;
    bool has_fragment;
};

void vd_uri_split(struct vd_span text, struct vd_uri *ret);
/* The absolute form of reference beside base, without its fragment, added to out. */
enum vd_code vd_uri_resolve(struct vd_buf *out, struct vd_span base, struct vd_span reference);
/* Add text to out with %XX decoded; false when a % is not followed by two hexadecimal digits. */
bool vd_uri_decode(struct vd_buf *out, struct vd_span text);

#endif
