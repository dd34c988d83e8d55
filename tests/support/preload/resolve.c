/* tests/support/preload/resolve.c - a resolver that changes its mind, for tests of what a name may lead to.
 *
 * Why:      a name that resolves to an allowed address first and to another one afterwards is how a check of names is passed by.
 * Shapes:   RESOLVE_NAME is the name, RESOLVE_TO a list of IPv4 addresses separated by commas: each look-up takes the next one, the last
 *           one again and again. Other names go to the C library.
 * Use:      cc -shared -fPIC -o resolve.so resolve.c; LD_PRELOAD=resolve.so
 */
#include <dlfcn.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int getaddrinfo_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static atomic_uint lookups;

static void nth_address(const char *list, unsigned n, char *out, size_t size)
{
    const char *comma;

    while (n-- > 0 && (comma = strchr(list, ',')) != NULL)
        list = comma + 1;
    (void)snprintf(out, size, "%.*s", (int)strcspn(list, ","), list);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **res)
{
    getaddrinfo_fn *real = (getaddrinfo_fn *)dlsym(RTLD_NEXT, "getaddrinfo");
    const char *name = getenv("RESOLVE_NAME"), *to = getenv("RESOLVE_TO");
    char address[64];

    if (node == NULL || name == NULL || to == NULL || strcmp(node, name) != 0)
        return real(node, service, hints, res);
    nth_address(to, atomic_fetch_add(&lookups, 1), address, sizeof(address));
    return real(address, service, hints, res);
}
