/* redis/tls.c - see tls.h. VD_HAVE_HIREDIS_SSL is set by the build where pkg-config knows hiredis_ssl. */
#include "redis/tls.h"

#ifdef VD_HAVE_HIREDIS_SSL
#include <hiredis/hiredis_ssl.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

/* hiredis verifies the chain but not the name (its own context sets no verify host), so the SSL object is made here. */
static SSL *make_ssl(const char *host, const char *ca_file)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = NULL;
    int trusted;

    if (ctx == NULL)
        return NULL;
    trusted = ca_file != NULL ? SSL_CTX_load_verify_locations(ctx, ca_file, NULL)
                              : SSL_CTX_set_default_verify_paths(ctx);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (trusted == 1 && SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1)
        ssl = SSL_new(ctx);
    SSL_CTX_free(ctx); /* the SSL holds its own reference */
    if (ssl != NULL &&
        (SSL_set1_host(ssl, host) != 1 || SSL_set_tlsext_host_name(ssl, host) != 1)) {
        SSL_free(ssl);
        ssl = NULL;
    }
    return ssl;
}

enum vd_code vd_redis_tls_start(struct redisContext *context, const char *host, const char *ca_file,
                                struct vd_err *err)
{
    SSL *ssl = make_ssl(host, ca_file);

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
