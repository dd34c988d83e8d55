/* base/conf_scan.h - the scan in front of libconfig's parser: what its versions read differently or report badly.
 *
 * Thread:   any; pure, but for looking at included files.
 */
#ifndef VD_BASE_CONF_SCAN_H
#define VD_BASE_CONF_SCAN_H

#include <stddef.h>

#include "base/diag.h"
#include "base/span.h"

/* Called for each @include with the name as written; where is its line. */
typedef void vd_conf_include_fn(void *arg, struct vd_span name, unsigned line);

/* Scan text, which was read from file. include NULL: @include is an error. */
void vd_conf_scan(struct vd_span text, const char *file, struct vd_diags *diags,
                  vd_conf_include_fn *include, void *arg);

#endif
