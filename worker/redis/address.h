/* redis/address.h - where Redis is, read from a setting.
 *
 * Thread:   any; pure.
 * Shapes:   "host", "host:port", "[v6]:port", "unix:/path", "/path", "redis://[user[:password]@]host[:port][/db]", "rediss://..."
 *           (TLS). User and password of a URL are percent-decoded.
 */
#ifndef VD_REDIS_ADDRESS_H
#define VD_REDIS_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct vd_redis_address {
    char host[256]; /* empty: a unix socket */
    char path[108]; /* sun_path */
    uint16_t port;
    bool tls;
    char username[128];
    char password[512];
    int db;
    char shown[300]; /* for people: no credentials */
};

/* Messages never quote the text, which may hold a password. */
enum vd_code vd_redis_address_parse(const char *text, struct vd_redis_address *ret,
                                    struct vd_err *err) VD_MUST_CHECK;

#endif
