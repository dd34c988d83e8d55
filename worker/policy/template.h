/* policy/template.h - text with {CEL} holes: keys, ids, Redis commands.
 *
 * Why:      a value of an event that ends up in a Redis key must not be able to change which key, or which command, it is.
 * Source:   design: values are percent-encoded outside [A-Za-z0-9_.-]; empty or above 128 bytes is refused.
 * Thread:   const after compiling; rendering belongs to its arena.
 * Shapes:   "{{" and "}}" are literal braces. A hole's value is a string, an integer, a boolean or a double that is whole; anything
 *           else (null, list, map) is refused. VD_TEMPLATE_MAX_VALUE counts bytes after encoding.
 * Errors:   compile: VD_E_CONFIG. render: VD_E_INPUT naming the template and the hole, never the value.
 */
#ifndef VD_POLICY_TEMPLATE_H
#define VD_POLICY_TEMPLATE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"
#include "cel/cel.h"

struct vd_template;

/* name is used in messages ("input.key"); copied. */
enum vd_code vd_template_compile(const struct vd_cel_env *env, const char *name,
                                 struct vd_span source, struct vd_template **ret,
                                 struct vd_err *err) VD_MUST_CHECK;
void *vd_template_free(struct vd_template *template);
bool vd_template_uses(const struct vd_template *template, unsigned slot);
const char *vd_template_literals(const struct vd_template *template); /* all text outside holes */
struct vd_span vd_template_source(const struct vd_template *template);

/* The text, in the context's arena. At most VD_KEY_MAX_BYTES (VD_E_INPUT above). */
enum vd_code vd_template_render(const struct vd_template *template,
                                struct vd_cel_eval_context *context, struct vd_span *ret,
                                struct vd_err *err) VD_MUST_CHECK;

/* A command line, split at blanks when it is compiled, so that a hole never makes an argument. */
struct vd_template_argv {
    struct vd_template **items;
    size_t count;
};

enum vd_code vd_template_argv_compile(const struct vd_cel_env *env, const char *name,
                                      struct vd_span source, struct vd_template_argv *ret,
                                      struct vd_err *err) VD_MUST_CHECK;
void vd_template_argv_fini(struct vd_template_argv *argv);
/* Fills args[argv->count]. */
enum vd_code vd_template_argv_render(const struct vd_template_argv *argv,
                                     struct vd_cel_eval_context *context, struct vd_span *args,
                                     struct vd_err *err) VD_MUST_CHECK;

#endif
