/* cel/schema_type.h - what a JSON Schema lets the checker know about the values it describes.
 *
 * Why:      a rule that reads a field which can never be there, or compares an amount with a string, is found when the policy loads.
 * Source:   JSON Schema draft 2020-12 and 07: type, properties, additionalProperties, items, prefixItems, allOf, anyOf, oneOf,
 *           enum, const, $ref within the document.
 * Thread:   any; pure.
 * Shapes:   what is not understood allows everything: the checker only reports what cannot be right. schema NULL is such a one;
 *           root is the document that $ref points into.
 */
#ifndef VD_CEL_SCHEMA_TYPE_H
#define VD_CEL_SCHEMA_TYPE_H

#include "cel/value.h"

/* Kinds as VD_CEL_M bits; VD_CEL_M_DYN when anything may be. "integer" is INT, "number" INT or DOUBLE. */
uint32_t vd_cel_schema_kinds(const cJSON *schema, const cJSON *root);

/* May an object described by schema have the member? *ret_schema describes it, NULL when unknown. */
bool vd_cel_schema_field(const cJSON *schema, const cJSON *root, struct vd_span name,
                         const cJSON **ret_schema);
/* Describes every item of an array; NULL when unknown. */
const cJSON *vd_cel_schema_items(const cJSON *schema, const cJSON *root);
/* The properties it names, for "did you mean". */
void vd_cel_schema_names(const cJSON *schema, const cJSON *root,
                         void (*visit)(void *arg, const char *name), void *arg);

#endif
