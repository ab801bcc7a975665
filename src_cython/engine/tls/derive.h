/* derive.h: keys of other uses, from the private key of a context. */
#ifndef NQ_TLS_DERIVE_H
#define NQ_TLS_DERIVE_H

#include "tls/context.h"

/* The same for the same private key, label and info, and for nobody without that key: a server that is started again
 * has what it had before, with nothing configured. HMAC-SHA256, so it tells nothing of the private key. 0; 1: the
 * context has no private key; -1: no memory. */
int nq_tls_derive(uint8_t out[32], nq_tls *t, const char *label, const uint8_t *info, size_t len);

#endif
