/* strength.h: what a certificate must have to be relied on. For the files of this folder. */
#ifndef NQ_STRENGTH_H
#define NQ_STRENGTH_H

#include <openssl/x509.h>
#include <stddef.h>

#define NQ_STRENGTH_SAID 256 /* The bytes that one of these sentences takes at most. */

/* Each function below returns 1 when there is nothing to say against the certificate; else 0, and a sentence in why. */

/* Whether its key has 112 bits of strength, as OpenSSL's security level 2 asks: RSA and DSA of 2048 bits, elliptic
 * curves of 224. */
int nq_strength_key(X509 *x, char *why, size_t cap);
/* Whether its signature is by a digest with 112 bits of strength: MD5 and SHA-1 are none. */
int nq_strength_signature(X509 *x, char *why, size_t cap);
/* Whether a peer that shows it can sign with its key in TLS 1.3 (RFC 8446 4.2.3, 4.4.2.2). */
int nq_strength_tls13(X509 *x, char *why, size_t cap);
/* Whether a whole chain, from the leaf to its trust anchor, is strong, and no longer than each of its authorities
 * allows (RFC 5280 4.2.1.9). *error is then X509_V_OK, else the number of what is wrong. */
int nq_strength_chain(STACK_OF(X509) * chain, int *error, char *why, size_t cap);

#endif
