/* http/address.c - see address.h. */
#include "http/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

/* First match decides: metadata addresses stand before the ranges they are in. */
static const struct range4 {
    uint32_t net;
    unsigned bits;
    enum vd_address_kind kind;
} ranges4[] = {
    {0xa9fea9fe, 32, VD_ADDRESS_METADATA}, /* 169.254.169.254: AWS, GCP, Azure, and most others */
    {0xa9feaa02, 32, VD_ADDRESS_METADATA}, /* 169.254.170.2: ECS credentials */
    {0xa9feaa17, 32, VD_ADDRESS_METADATA}, /* 169.254.170.23: EKS pod identity */
    {0x646464c8, 32, VD_ADDRESS_METADATA}, /* 100.100.100.200: Alibaba */
    {0xc00000c0, 32, VD_ADDRESS_METADATA}, /* 192.0.0.192: Oracle */
    {0xa83f8110, 32,
     VD_ADDRESS_METADATA},                /* 168.63.129.16: Azure's wire server, a public address */
    {0x00000000, 8, VD_ADDRESS_RESERVED}, /* "this network"; Linux connects 0.0.0.0 to itself */
    {0x0a000000, 8, VD_ADDRESS_PRIVATE},  /* RFC 1918 */
    {0x64400000, 10, VD_ADDRESS_PRIVATE}, /* RFC 6598 */
    {0x7f000000, 8, VD_ADDRESS_LOOPBACK}, /* */
    {0xa9fe0000, 16, VD_ADDRESS_LINK_LOCAL}, /* RFC 3927 */
    {0xac100000, 12, VD_ADDRESS_PRIVATE},    /* RFC 1918 */
    {0xc0000000, 24, VD_ADDRESS_RESERVED},   /* RFC 6890 */
    {0xc0000200, 24, VD_ADDRESS_RESERVED},   /* TEST-NET-1 */
    {0xc0586300, 24, VD_ADDRESS_RESERVED},   /* 6to4 relays, RFC 7526 */
    {0xc0a80000, 16, VD_ADDRESS_PRIVATE},    /* RFC 1918 */
    {0xc6120000, 15, VD_ADDRESS_RESERVED},   /* benchmarking, RFC 2544 */
    {0xc6336400, 24, VD_ADDRESS_RESERVED},   /* TEST-NET-2 */
    {0xcb007100, 24, VD_ADDRESS_RESERVED},   /* TEST-NET-3 */
    {0xe0000000, 4, VD_ADDRESS_RESERVED},    /* multicast */
    {0xf0000000, 4, VD_ADDRESS_RESERVED},    /* reserved, broadcast */
};

static const struct range6 {
    unsigned char net[16];
    unsigned bits;
    enum vd_address_kind kind;
    int v4_at; /* index of an IPv4 address inside, -1: none */
} ranges6[] = {
    {{[15] = 1}, 128, VD_ADDRESS_LOOPBACK, -1},                 /* ::1 */
    {{0}, 128, VD_ADDRESS_RESERVED, -1},                        /* :: */
    {{[10] = 0xff, [11] = 0xff}, 96, VD_ADDRESS_PUBLIC, 12},    /* mapped, ::ffff:0:0/96 */
    {{[8] = 0xff, [9] = 0xff}, 96, VD_ADDRESS_PUBLIC, 12},      /* translated, ::ffff:0:0:0/96 */
    {{0}, 96, VD_ADDRESS_PUBLIC, 12},                           /* compatible, deprecated */
    {{0, 0x64, 0xff, 0x9b}, 96, VD_ADDRESS_PUBLIC, 12},         /* NAT64, RFC 6052 */
    {{0, 0x64, 0xff, 0x9b, 0, 1}, 48, VD_ADDRESS_RESERVED, -1}, /* local NAT64, RFC 8215 */
    {{0x20, 0x02}, 16, VD_ADDRESS_PUBLIC, 2},                   /* 6to4, RFC 3056 */
    {{0x20, 0x01, 0, 0}, 32, VD_ADDRESS_RESERVED, -1},          /* Teredo, RFC 4380 */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, VD_ADDRESS_RESERVED, -1},    /* documentation */
    {{0x20, 0x01}, 23, VD_ADDRESS_RESERVED, -1},                /* IETF protocol assignments */
    {{0x3f, 0xff}, 20, VD_ADDRESS_RESERVED, -1},                /* documentation, RFC 9637 */
    {{0x01}, 64, VD_ADDRESS_RESERVED, -1},                      /* discard, RFC 6666 */
    {{0xfd, 0, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}, 128, VD_ADDRESS_METADATA, -1}, /* AWS */
    {{0xfd, 0x20, 0, 0xce, [14] = 0x02, [15] = 0x54}, 128, VD_ADDRESS_METADATA, -1}, /* GCP */
    {{0xfc}, 7, VD_ADDRESS_PRIVATE, -1},           /* unique local, RFC 4193 */
    {{0xfe, 0x80}, 10, VD_ADDRESS_LINK_LOCAL, -1}, /* */
    {{0xfe, 0xc0}, 10, VD_ADDRESS_LINK_LOCAL, -1}, /* site-local, deprecated */
    {{0xff}, 8, VD_ADDRESS_RESERVED, -1},          /* multicast */
};

static enum vd_address_kind kind4(uint32_t address)
{
    for (size_t i = 0; i < sizeof(ranges4) / sizeof(ranges4[0]); i++) {
        uint32_t mask = UINT32_MAX << (32 - ranges4[i].bits);

        if ((address & mask) == ranges4[i].net)
            return ranges4[i].kind;
    }
    return VD_ADDRESS_PUBLIC;
}

static bool has_prefix(const unsigned char *address, const unsigned char *net, unsigned bits)
{
    unsigned char mask = (unsigned char)(0xff << (8 - bits % 8));

    return memcmp(address, net, bits / 8) == 0 &&
           (bits % 8 == 0 || ((address[bits / 8] ^ net[bits / 8]) & mask) == 0);
}

static enum vd_address_kind kind6(const unsigned char *address)
{
    for (size_t i = 0; i < sizeof(ranges6) / sizeof(ranges6[0]); i++) {
        const struct range6 *r = &ranges6[i];
        uint32_t inner;

        if (!has_prefix(address, r->net, r->bits))
            continue;
        if (r->v4_at < 0)
            return r->kind;
        memcpy(&inner, address + r->v4_at, sizeof(inner));
        return kind4(ntohl(inner));
    }
    /* Only 2000::/3 is assigned for public use. */
    return (address[0] & 0xe0) == 0x20 ? VD_ADDRESS_PUBLIC : VD_ADDRESS_RESERVED;
}

enum vd_address_kind vd_address_kind(const struct sockaddr *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    switch (address->sa_family) {
    case AF_INET:
        memcpy(&v4, address, sizeof(v4));
        return kind4(ntohl(v4.sin_addr.s_addr));
    case AF_INET6:
        memcpy(&v6, address, sizeof(v6));
        return kind6(v6.sin6_addr.s6_addr);
    default:
        return VD_ADDRESS_RESERVED;
    }
}

const char *vd_address_kind_name(enum vd_address_kind kind)
{
    static const char *const names[] = {
        [VD_ADDRESS_PUBLIC] = "public",
        [VD_ADDRESS_LOOPBACK] = "loopback",
        [VD_ADDRESS_PRIVATE] = "private",
        [VD_ADDRESS_LINK_LOCAL] = "link-local",
        [VD_ADDRESS_METADATA] = "metadata service",
        [VD_ADDRESS_RESERVED] = "reserved",
    };

    return names[kind];
}
