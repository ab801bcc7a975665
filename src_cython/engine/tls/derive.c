/* derive.c: see derive.h. */
#include "tls/derive.h"

#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/x509.h>
#include <string.h>

#include "tls/hmac.h"
#include "tls/tls_impl.h"

int nq_tls_derive(uint8_t out[32], const nq_tls *t, const char *label, const uint8_t *info, size_t len) {
  EVP_PKEY *key = SSL_CTX_get0_privatekey(t->ctx);
  uint8_t *der = NULL, secret[32];
  if (!key)
    return 1;
  int n = i2d_PrivateKey(key, &der);
  ERR_clear_error();
  if (n <= 0)
    return -1;
  int rv = nq_tls_hmac(secret, der, (size_t)n, (const uint8_t *)label, strlen(label));
  OPENSSL_cleanse(der, (size_t)n);
  OPENSSL_free(der);
  if (!rv)
    rv = nq_tls_hmac(out, secret, sizeof secret, info, len);
  OPENSSL_cleanse(secret, sizeof secret);
  return rv;
}
