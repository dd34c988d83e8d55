/* schema/metaschemas.h - the schemas of schemas, so that no validation needs a network.
 *
 * Source:   json-schema.org: draft 2020-12 with all its vocabularies, and draft-07.
 * Thread:   any; constants.
 */
#ifndef VD_SCHEMA_METASCHEMAS_H
#define VD_SCHEMA_METASCHEMAS_H

#include "base/span.h"

/* The text of the metaschema with this URI (no fragment), or the empty span. */
struct vd_span vd_metaschema(struct vd_span uri);

#endif
