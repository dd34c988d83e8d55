/* http/address.h - what kind of place an IP address is.
 *
 * Why:      a URL in a policy must not reach the machine itself, the network behind it, or the cloud's metadata service; the
 *           address that is connected to decides, since a name can resolve to anything and change its mind.
 * Source:   IANA special-purpose address registries (RFC 6890), RFC 4291, RFC 6052, RFC 3056, RFC 4380.
 * Thread:   any; pure.
 */
#ifndef VD_HTTP_ADDRESS_H
#define VD_HTTP_ADDRESS_H

#include <stdbool.h>

#include "base/span.h"

struct sockaddr;

enum vd_address_kind {
    VD_ADDRESS_PUBLIC,
    VD_ADDRESS_LOOPBACK,
    VD_ADDRESS_PRIVATE,    /* RFC 1918, RFC 6598 shared, unique local */
    VD_ADDRESS_LINK_LOCAL, /* and site-local */
    VD_ADDRESS_METADATA,   /* the clouds' well-known metadata addresses */
    VD_ADDRESS_RESERVED, /* unspecified, multicast, broadcast, documentation, benchmarking, unknown families */
};

/* IPv4 addresses inside IPv6 (mapped, compatible, NAT64, 6to4, Teredo) are judged as the IPv4 address. */
enum vd_address_kind vd_address_kind(const struct sockaddr *address);
const char *vd_address_kind_name(enum vd_address_kind kind);

#endif
