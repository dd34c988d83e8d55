/* base/tls.h - a client's TLS session that verifies its peer, for libraries that take one from outside.
 *
 * Why:      hiredis checks the certificate's chain but not the name in it.
 * Thread:   any.
 */
#ifndef VD_BASE_TLS_H
#define VD_BASE_TLS_H

struct ssl_st; /* OpenSSL's SSL */

/* TLS 1.2 or later, chain and host name verified. ca_file NULL: the system's. NULL when it cannot be set up. Owned by the caller, who
 * gives it to a library that frees it. */
struct ssl_st *vd_tls_client_new(const char *host, const char *ca_file);

#endif
