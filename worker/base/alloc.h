/* base/alloc.h - the one way to get heap memory.
 *
 * Why:      every allocation can be made to fail in tests, sizes are checked for overflow, and lint can ban the rest.
 * Thread:   any. vd_alloc_fail_after() is for single-threaded tests only.
 * Errors:   NULL when memory is out; nothing aborts here.
 */
#ifndef VD_BASE_ALLOC_H
#define VD_BASE_ALLOC_H

#include <stddef.h>

#include "base/span.h"

void *vd_alloc(size_t size);                 /* zeroed; size 0 gives a valid pointer */
void *vd_alloc_array(size_t n, size_t size); /* zeroed; NULL on overflow */
void *vd_realloc(void *p, size_t size);      /* as realloc(3); new bytes are not zeroed */
void *vd_realloc_array(void *p, size_t n, size_t size);
char *vd_strdup(const char *cstr);  /* NULL for NULL */
char *vd_strndup(struct vd_span s); /* NUL-terminated copy; embedded NULs are kept */
void *vd_free(void *p);             /* NULL-safe; returns NULL: p = vd_free(p) */

/* Tests: let n allocations pass, fail the next one, then pass again. A negative n turns it off. */
void vd_alloc_fail_after(long n);

#endif
