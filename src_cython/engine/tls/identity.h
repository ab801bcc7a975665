/* identity.h: the certificate that this side shows, its chain and its key. For the files of this folder. */
#ifndef NQ_IDENTITY_H
#define NQ_IDENTITY_H

#include <openssl/ssl.h>

#include "tls/context.h"

/* Puts the certificate of o, its chain and its key into the context. An empty key means that cert holds it too. What is
 * too weak, or of a kind that TLS 1.3 cannot use, is refused. 0, or as nq_tls_new. */
int nq_identity_load(SSL_CTX *ctx, const nq_tls_options *o, char *err, size_t errlen);

#endif
