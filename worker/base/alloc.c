/* base/alloc.c - see alloc.h. The only file that names malloc and friends. */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_BYTES 1024 /* what glibc's per-thread cache takes */

static atomic_long fail_countdown = -1;

void vd_alloc_fail_after(long n)
{
    atomic_store(&fail_countdown, n);
}

static int must_fail(void)
{
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) < 0)
        return 0;
    return atomic_fetch_sub(&fail_countdown, 1) == 0;
}

/* glibc's calloc passes its per-thread cache by (until 2.41): malloc and memset take half the time for small blocks. For large
 * ones calloc knows which pages are zero already. */
void *vd_alloc(size_t size)
{
    void *p;

    if (must_fail())
        return NULL;
    if (size > SMALL_BYTES)
        return calloc(1, size);
    p = malloc(size == 0 ? 1 : size);
    return p == NULL ? NULL : memset(p, 0, size);
}

void *vd_alloc_array(size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / size)
        return NULL;
    return vd_alloc(n * size);
}

void *vd_realloc(void *p, size_t size)
{
    if (must_fail())
        return NULL;
    return realloc(p, size == 0 ? 1 : size);
}

void *vd_realloc_array(void *p, size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / size)
        return NULL;
    return vd_realloc(p, n * size);
}

char *vd_strdup(const char *cstr)
{
    return cstr == NULL ? NULL : vd_strndup(vd_span_of(cstr));
}

char *vd_strndup(struct vd_span s)
{
    char *copy = s.len == SIZE_MAX ? NULL : vd_realloc(NULL, s.len + 1);

    if (copy == NULL)
        return NULL;
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

void *vd_free(void *p)
{
    free(p);
    return NULL;
}
