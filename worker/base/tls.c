/* base/tls.c - see tls.h. Only builds whose hiredis has TLS need it, and libssl. */
#include "base/tls.h"

#ifdef VD_HAVE_HIREDIS_SSL

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct ssl_st *vd_tls_client_new(const char *host, const char *ca_file)
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
    SSL_CTX_free(ctx); /* the session holds its own reference */
    if (ssl != NULL &&
        (SSL_set1_host(ssl, host) != 1 || SSL_set_tlsext_host_name(ssl, host) != 1)) {
        SSL_free(ssl);
        ssl = NULL;
    }
    return ssl;
}
#endif
