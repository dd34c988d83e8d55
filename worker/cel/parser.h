/* cel/parser.h - source text to a tree in the program's arena; macros are recognised here.
 *
 * Source:   cel-spec langdef.md, Syntax and Macros.
 * Thread:   any; pure.
 * Errors:   VD_E_CONFIG "column N: ..." for syntax and for limits of the source, VD_E_NOMEM.
 */
#ifndef VD_CEL_PARSER_H
#define VD_CEL_PARSER_H

#include "cel/ast.h"

/* The tree of program->source, into program->root. */
enum vd_code vd_cel_parse(struct vd_cel_program *program, struct vd_err *err) VD_MUST_CHECK;

/* Nodes outside the parser: NULL when memory is out. */
struct vd_cel_node *vd_cel_node_new(struct vd_arena *arena, enum vd_cel_op op, unsigned line,
                                    unsigned column);

/* get(path, other), cel/get_macro.c. Is path a.b...: a name and 1 to VD_CEL_MAX_GET_STEPS fields? */
bool vd_cel_is_get_path(const struct vd_cel_node *path);
/* The tree of it, which takes both nodes; its height is not checked. NULL when memory is out. */
struct vd_cel_node *vd_cel_make_get(struct vd_arena *arena, struct vd_cel_node *path,
                                    struct vd_cel_node *other);

#endif
