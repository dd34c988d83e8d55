/* schema/ops.h - what the keywords do; for this folder only. One function for each way to fail.
 *
 * Source:   JSON Schema Validation 2020-12 section 6, Core sections 10 and 11; draft-07 Validation section 6.
 * Thread:   any; they touch only the run.
 */
#ifndef VD_SCHEMA_OPS_H
#define VD_SCHEMA_OPS_H

#include "schema/model.h"

/* ops_value.c: assertions about one value */
vd_op_fn vd_op_type, vd_op_enum, vd_op_const;
vd_op_fn vd_op_minimum, vd_op_exclusive_minimum, vd_op_maximum, vd_op_exclusive_maximum;
vd_op_fn vd_op_multiple_of;
vd_op_fn vd_op_min_length, vd_op_max_length, vd_op_pattern, vd_op_format;
vd_op_fn vd_op_min_items, vd_op_max_items, vd_op_unique_items;
vd_op_fn vd_op_min_properties, vd_op_max_properties, vd_op_dependent;

/* ops_apply.c: schemas applied to the same value, or to its members or items */
vd_op_fn vd_op_ref, vd_op_dynamic_ref;
vd_op_fn vd_op_all_of, vd_op_any_of, vd_op_one_of, vd_op_not, vd_op_condition;
vd_op_fn vd_op_members, vd_op_property_names, vd_op_unevaluated_properties;
vd_op_fn vd_op_items, vd_op_contains, vd_op_unevaluated_items;

/* Bits of arg.types. An integer may be written 4.0. */
#define VD_TYPE_INTEGER 0x10000u
bool vd_is_whole(const cJSON *number);

#endif
