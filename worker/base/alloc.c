/* base/alloc.c - see alloc.h. The only file that names malloc and friends. */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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

void *vd_alloc(size_t size)
{
    if (must_fail())
        return NULL;
    return calloc(1, size == 0 ? 1 : size);
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
