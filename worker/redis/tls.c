/* redis/tls.c - see tls.h. VD_HAVE_HIREDIS_SSL is set by the build where pkg-config knows hiredis_ssl. */
#include "redis/tls.h"

#ifdef VD_HAVE_HIREDIS_SSL
#include <hiredis/hiredis_ssl.h>

#include "base/tls.h"

enum vd_code vd_redis_tls_start(struct redisContext *context, const char *host, const char *ca_file,
                                struct vd_err *err)
{
    struct ssl_st *ssl = vd_tls_client_new(host, ca_file);

    if (ssl == NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "TLS cannot be set up; is the CA file right?");
    if (redisInitiateSSL(context, ssl) != REDIS_OK) /* frees ssl with the context */
        return vd_err_set(err, VD_E_REMOTE, true, "TLS: %s", context->errstr);
    return VD_OK;
}
#else
enum vd_code vd_redis_tls_start(struct redisContext *context, const char *host, const char *ca_file,
                                struct vd_err *err)
{
    (void)context;
    (void)host;
    (void)ca_file;
    return vd_err_set(
        err, VD_E_CONFIG, false,
        "this build has no TLS for Redis (it needs hiredis 1.0 with its SSL library)");
}
#endif
