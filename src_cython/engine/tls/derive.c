/* derive.c: see derive.h. */
#include "tls/derive.h"

#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/x509.h>
#include <string.h>

#include "tls/hmac.h"
#include "tls/tls_impl.h"

int nq_tls_derive(uint8_t out[32], nq_tls *t, const char *label, const uint8_t *info, size_t len) {
  nq_credentials *now = nq_credentials_current(t);
  EVP_PKEY *key = SSL_CTX_get0_privatekey(now->ctx);
  uint8_t *der = NULL, secret[32];
  int n = key ? i2d_PrivateKey(key, &der) : 0, none = !key;
  ERR_clear_error();
  nq_credentials_unref(now);
  if (none)
    return 1;
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
