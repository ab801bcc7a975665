/* verify.h: is the peer's certificate chain a good one, and if not, why? */
#ifndef NQ_VERIFY_H
#define NQ_VERIFY_H

#include <openssl/base.h>

#include "tls/session.h"

typedef struct nq_verified nq_verified; /* Chains that were found good. */

/* Why verification failed, in words ("certificate has expired (X509 error 10)", "certificate is not for 'a.example' but
 * for 'b.example' (X509 error 62)"), "" when it did not. */
void nq_verify_error(nq_tls_session *s, char *buf, size_t cap);

/* No chains; NULL when there is no memory. */
nq_verified *nq_verified_new(void);
void nq_verified_free(nq_verified *v);
/* Whether the chain with this digest was found good, and still is at this time (seconds since 1970). From any thread.
 */
int nq_verified_has(nq_verified *v, const uint8_t key[32], int64_t now);
/* Remembers it in the place of the oldest. From any thread. */
void nq_verified_add(nq_verified *v, const uint8_t key[32], int64_t from, int64_t until);
/* For SSL_CTX_set_cert_verify_callback: X509_verify_cert, which is not called for what is remembered. */
int nq_verify_chain(X509_STORE_CTX *x, void *verified);

#endif
