/* cel/names.h - qualified names: which run of a.b.c is declared.
 *
 * Why:      a.b.c may be a variable "a.b.c", a field of "a.b", or a field of a field of "a".
 * Source:   cel-spec langdef.md, Name Resolution: the longest declared name wins, in the innermost container first.
 * Thread:   any; pure.
 */
#ifndef VD_CEL_NAMES_H
#define VD_CEL_NAMES_H

#include "base/limits.h"
#include "cel/check.h"

enum vd_cel_found { VD_CEL_FOUND_NOTHING, VD_CEL_FOUND_SLOT, VD_CEL_FOUND_TYPE };

/* The nodes of a selection a.b.c from a plain name, from the name on, and their number; 0 when n is none. */
size_t vd_cel_chain_gather(struct vd_cel_node *n, struct vd_cel_node *chain[VD_CEL_MAX_HEIGHT]);
/* The chain's first `count` names with dots, behind a container ("" for none); false when that is no name. */
bool vd_cel_chain_join(struct vd_cel_node *const *chain, size_t count, struct vd_span prefix,
                       char text[VD_CEL_MAX_NAME_LEN]);
/* What the first *ret_len names of the chain are: a variable (its slot) or a type (its value). */
enum vd_cel_found vd_cel_chain_resolve(const struct vd_cel_env *env,
                                       struct vd_cel_node *const *chain, size_t count,
                                       size_t *ret_len, uint16_t *ret_slot,
                                       struct vd_cel_value *ret_type);

#endif
