#include "tls/hmac.h"

#include <openssl/err.h>
#include <openssl/hmac.h>

int nq_tls_hmac(uint8_t out[32], const uint8_t *key, size_t keylen, const uint8_t *msg, size_t len) {
  unsigned n = 32;
  if (HMAC(EVP_sha256(), key, keylen, msg, len, out, &n))
    return 0;
  ERR_clear_error();
  return -1;
}
