/* schema/regex.h - the regular expressions of JSON Schema on PCRE2.
 *
 * Why:      schemas are written in ECMA-262's dialect; PCRE2's differs in what \d, \s, $ and . match, and has constructs (recursion,
 *           verbs, callouts) that a schema must not use.
 * Source:   ECMA-262 section 22.2 with the u flag; pcre2pattern(3). Not supported: lookbehind of variable length.
 * Thread:   a compiled expression is const. A matcher belongs to one validation.
 * Owns:     an expression until vd_regex_free(); a matcher is in its arena.
 * Errors:   VD_E_CONFIG for an expression that is not ECMA-262.
 */
#ifndef VD_SCHEMA_REGEX_H
#define VD_SCHEMA_REGEX_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

struct vd_regex;
struct vd_regex_matcher;

/* The PCRE2 form of an ECMA-262 pattern, added to out. */
enum vd_code vd_regex_translate(struct vd_span pattern, struct vd_buf *out,
                                struct vd_err *err) VD_MUST_CHECK;
enum vd_code vd_regex_compile(struct vd_span pattern, struct vd_regex **ret,
                              struct vd_err *err) VD_MUST_CHECK;
void *vd_regex_free(struct vd_regex *regex);

enum vd_regex_result {
    VD_REGEX_NO,
    VD_REGEX_YES,
    VD_REGEX_LIMIT, /* too much backtracking */
    VD_REGEX_NOMEM, /* the arena is full */
};

/* Memory to match with; NULL when the arena is full. */
struct vd_regex_matcher *vd_regex_matcher(struct vd_arena *arena);
/* Does regex match somewhere in text (UTF-8)? *ret_steps: a bound on the work done, in steps of the schema's budget. */
enum vd_regex_result vd_regex_search(struct vd_regex_matcher *matcher, const struct vd_regex *regex,
                                     struct vd_span text, unsigned long *ret_steps);

#endif
