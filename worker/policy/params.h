/* policy/params.h - parameters: what a value must be, as the judge checks it and as a model is told.
 *
 * Why:      one definition gives the check in C, the JSON Schema for the model, and the words of a repair message.
 * Thread:   the facts' owner.
 * Invariants:
 *   I1 what vd_params_check() accepts is within every bound that could be computed; a bound that could not be computed refuses.
 */
#ifndef VD_POLICY_PARAMS_H
#define VD_POLICY_PARAMS_H

#include "policy/facts.h"
#include "policy/judge.h"
#include "policy/prompt.h"

const char *vd_param_type_name(enum vd_param_type type); /* as JSON Schema has it */

/* Check value by param. ret->id and on_fail are set by the caller. *ret_value: an owned copy, integers written as 4.0 made 4 and
 * clamped where allowed; NULL when the verdict is FAIL or ERROR. */
enum vd_code vd_param_check(struct vd_facts *facts, const struct vd_param *param,
                            const cJSON *value, struct vd_rule_result *ret, cJSON **ret_value,
                            struct vd_err *err) VD_MUST_CHECK;

/* Types only, for the CEL checker: an object with all params. Owned. NULL: out of memory. */
cJSON *vd_params_types(const struct vd_param *params, size_t count);

/* For the model, with this event's bounds and choices; only the keywords that form takes. *ret_possible: false when a `from` is empty or
 * cannot be evaluated now, so that no value could pass. Owned. */
enum vd_code vd_params_schema(struct vd_facts *facts, const struct vd_param *params, size_t count,
                              enum vd_schema_form form, cJSON **ret_schema, bool *ret_possible,
                              struct vd_err *err) VD_MUST_CHECK;

#endif
