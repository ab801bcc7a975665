/* hmac.h: keyed hashes. */
#ifndef NQ_TLS_HMAC_H
#define NQ_TLS_HMAC_H

#include <stddef.h>
#include <stdint.h>

/* Constant-time HMAC-SHA256(key, msg). 0, or -1: no memory, and out is not to be used. */
int nq_tls_hmac(uint8_t out[32], const uint8_t *key, size_t keylen, const uint8_t *msg, size_t len);

#endif
