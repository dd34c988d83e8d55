/* schema/schema.h - JSON Schema, compiled once, applied many times.
 *
 * Why:      events, context values and model proposals are checked against published schemas before anything trusts them.
 * Source:   JSON Schema draft 2020-12 (Core, Validation) and draft-07; conformance: JSON-Schema-Test-Suite.
 * Thread:   compile anywhere; a compiled schema is const and may be used by any thread.
 * Owns:     a compiled schema owns copies of all it needs; the source tree may be freed.
 * Errors:   compile: VD_E_CONFIG for a schema that means nothing (names the place as a JSON Pointer), VD_E_LIMIT for one that is too
 *           large or refers to too many documents. validate: VD_E_LIMIT past its step budget, a $ref cycle or a pattern that backtracks
 *           too much, VD_E_NOMEM when the arena is full; every caller treats both as invalid.
 * Shapes:   $schema of 2020-12, draft-07 and draft-06 (as draft-07) is known; another one must come from resolve(), or is refused.
 *           content* are annotations; so is format, unless assert_format or the metaschema's vocabulary says otherwise.
 */
#ifndef VD_SCHEMA_SCHEMA_H
#define VD_SCHEMA_SCHEMA_H

#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "json/json.h"

struct vd_schema;

enum vd_schema_draft {
    VD_SCHEMA_2020_12, /* the default where "$schema" is absent */
    VD_SCHEMA_DRAFT_07,
};

struct vd_schema_options {
    enum vd_schema_draft draft; /* used where a schema has no "$schema" */
    bool assert_format;         /* "format" fails validation instead of being an annotation */
    const char *base_uri;       /* may be NULL */
    /* Finds a document that a $ref names (uri without fragment). Borrowed tree or NULL. No network, ever. May be NULL. */
    const cJSON *(*resolve)(void *arg, const char *uri);
    void *resolve_arg;
};

/* options may be NULL. *ret_schema: vd_schema_free(). */
enum vd_code vd_schema_compile(const cJSON *source, const struct vd_schema_options *options,
                               struct vd_schema **ret_schema, struct vd_err *err) VD_MUST_CHECK;
void *vd_schema_free(struct vd_schema *schema);

struct vd_schema_error {
    const char *instance_path; /* JSON Pointer into the instance, "" is the whole */
    const char *schema_path;   /* JSON Pointer of the keyword in the schema */
    const char *keyword;       /* where the schema is false: the name it stands under */
    const char *
        reason; /* reads well: "must be at least 1, is -3"; never quotes more than 60 bytes of a value */
};

struct vd_schema_result {
    bool valid;
    size_t error_count;                   /* kept ones, at most max_errors */
    const struct vd_schema_error *errors; /* in the arena */
};

/* Validate. What lasts is in the arena: the errors of an invalid instance, and nothing where it is valid. max_errors 0: only the verdict,
 * fastest. The verdict is found first; only an invalid instance is walked again to say why. */
enum vd_code vd_schema_validate(const struct vd_schema *schema, const cJSON *instance,
                                size_t max_errors, struct vd_arena *arena,
                                struct vd_schema_result *ret, struct vd_err *err) VD_MUST_CHECK;

#endif
