/* verify.c: is the peer's certificate chain a good one? The answer for a chain and a name is remembered while all
 * certificates of the chain are valid: nothing else that it depends on can change, as the trust anchors of a context
 * never do and there are no revocation lists. That the peer has the key is verified in every handshake. */
#include "tls/tls_impl.h"

#include <openssl/pool.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

nq_verified *nq_verified_new(void) {
  nq_verified *v = calloc(1, sizeof *v);
  if (v && pthread_mutex_init(&v->lock, NULL)) {
    free(v);
    return NULL;
  }
  return v;
}

void nq_verified_free(nq_verified *v) {
  if (v)
    pthread_mutex_destroy(&v->lock);
  free(v);
}

int nq_verified_has(nq_verified *v, const uint8_t key[32], int64_t now) {
  int found = 0;
  pthread_mutex_lock(&v->lock);
  for (const nq_good_chain *a = v->answers; a < v->answers + NQ_VERIFIED_MOST && !found; a++)
    found = a->from <= now && now < a->until && memcmp(a->key, key, sizeof a->key) == 0;
  pthread_mutex_unlock(&v->lock);
  return found;
}

void nq_verified_add(nq_verified *v, const uint8_t key[32], int64_t from, int64_t until) {
  pthread_mutex_lock(&v->lock);
  nq_good_chain *a = &v->answers[v->next];
  v->next = (v->next + 1) % NQ_VERIFIED_MOST;
  memcpy(a->key, key, sizeof a->key);
  a->from = from;
  a->until = until;
  pthread_mutex_unlock(&v->lock);
}

/* Of everything that the peer showed and of the name it was to be for. Returns 0 when it showed nothing. */
static int key_of(uint8_t key[32], const SSL *ssl) {
  const STACK_OF(CRYPTO_BUFFER) *chain = ssl ? SSL_get0_peer_certificates(ssl) : NULL;
  const char *host = ssl ? nq_tls_host(ssl) : "";
  SHA256_CTX sum;
  SHA256_Init(&sum);
  SHA256_Update(&sum, host, strlen(host) + 1);
  for (size_t i = 0; chain && i < sk_CRYPTO_BUFFER_num(chain); i++) {
    const CRYPTO_BUFFER *c = sk_CRYPTO_BUFFER_value(chain, i);
    uint64_t len = CRYPTO_BUFFER_len(c);
    SHA256_Update(&sum, &len, sizeof len);
    SHA256_Update(&sum, CRYPTO_BUFFER_data(c), len);
  }
  SHA256_Final(key, &sum);
  return chain && sk_CRYPTO_BUFFER_num(chain);
}

/* When all certificates of the chain that was built are valid, its trust anchor too. 0 when one does not say. */
static int validity(X509_STORE_CTX *x, int64_t *from, int64_t *until) {
  STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(x);
  *from = INT64_MIN;
  *until = INT64_MAX;
  for (size_t i = 0; chain && i < sk_X509_num(chain); i++) {
    const X509 *c = sk_X509_value(chain, i);
    int64_t first, last;
    if (!ASN1_TIME_to_posix(X509_get0_notBefore(c), &first) || !ASN1_TIME_to_posix(X509_get0_notAfter(c), &last))
      return 0;
    *from = first > *from ? first : *from;
    *until = last < *until ? last : *until;
  }
  return chain && sk_X509_num(chain);
}

int nq_tls_verify(X509_STORE_CTX *x, void *verified) {
  uint8_t key[32];
  int64_t from, until;
  int shown = key_of(key, X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx()));
  if (shown && nq_verified_has(verified, key, (int64_t)time(NULL))) {
    X509_STORE_CTX_set_error(x, X509_V_OK);
    return 1;
  }
  int rv = X509_verify_cert(x);
  if (rv == 1 && shown && X509_STORE_CTX_get_error(x) == X509_V_OK && validity(x, &from, &until))
    nq_verified_add(verified, key, from, until);
  return rv;
}
