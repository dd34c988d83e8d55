/* cel/regex.h - regular expressions for matches(): RE2's language on PCRE2, with bounded work.
 *
 * Why:      a pattern may come from a policy or, joined from strings, from an event; backtracking must not eat the worker.
 * Source:   github.com/google/re2/wiki/Syntax; pcre2api(3), pcre2callout(3).
 * Thread:   a compiled regex is const. Matching uses memory of the run's arena only.
 * Errors:   what RE2 has not (back-references, lookaround, atomic groups, possessive quantifiers, recursion, verbs) is refused.
 *           Work is counted by a callout at each item of the pattern, so that the step budget of the run ends any match.
 */
#ifndef VD_CEL_REGEX_H
#define VD_CEL_REGEX_H

#include "cel/eval.h"

struct vd_cel_regex;

/* For a pattern known at compile time; heap. *ret_regex: free with vd_cel_regex_free(), or link into a program's list. */
enum vd_code vd_cel_regex_new(struct vd_span pattern, struct vd_cel_regex **ret_regex,
                              struct vd_err *err) VD_MUST_CHECK;
void vd_cel_regex_free_all(struct vd_cel_regex *list);
void vd_cel_regex_link(struct vd_cel_regex **list, struct vd_cel_regex *take_regex);

/* Does text contain a match? regex NULL: compile pattern for this one match, in the arena. BOOL in *ret. */
bool vd_cel_regex_match(struct vd_cel_run *run, const struct vd_cel_regex *regex,
                        struct vd_span pattern, struct vd_span text, struct vd_cel_value *ret);

#endif
