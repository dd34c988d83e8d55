/* redis/tls.h - TLS on a hiredis connection, where hiredis has it (1.0 and later, built with its SSL library).
 *
 * Thread:   loop thread.
 */
#ifndef VD_REDIS_TLS_H
#define VD_REDIS_TLS_H

#include "base/err.h"

struct redisContext;

/* Start TLS with the peer's certificate and name verified. VD_E_CONFIG when this build has no TLS. ca_file NULL: the system's. */
enum vd_code vd_redis_tls_start(struct redisContext *context, const char *host, const char *ca_file,
                                struct vd_err *err) VD_MUST_CHECK;

#endif
