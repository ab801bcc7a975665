/* The answer for a chain and a name is remembered while all
 * certificates of the chain are valid: nothing else that it depends on can change, as the trust anchors of a context
 * never do and there are no revocation lists. That the peer has the key is verified in every handshake. */
#include "tls/verify.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pool.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tls/strength.h"
#include "tls/tls_impl.h"

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
  for (const nq_verified_chain *a = v->chains; a < v->chains + NQ_VERIFIED_MOST && !found; a++)
    found = a->from <= now && now < a->until && memcmp(a->key, key, sizeof a->key) == 0;
  pthread_mutex_unlock(&v->lock);
  return found;
}

void nq_verified_add(nq_verified *v, const uint8_t key[32], int64_t from, int64_t until) {
  pthread_mutex_lock(&v->lock);
  nq_verified_chain *a = &v->chains[v->next];
  v->next = (v->next + 1) % NQ_VERIFIED_MOST;
  memcpy(a->key, key, sizeof a->key);
  a->from = from;
  a->until = until;
  pthread_mutex_unlock(&v->lock);
}

/* Of everything that the peer showed and of the name it was to be for. Returns 0 when it showed nothing. */
static int key_of(uint8_t key[32], const SSL *ssl) {
  const STACK_OF(CRYPTO_BUFFER) *chain = ssl ? SSL_get0_peer_certificates(ssl) : NULL;
  const char *host = ssl ? nq_tls_session_host(ssl) : "";
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

/* The library's verification, and what it leaves out. Why the chain was refused is kept at the session when the library
 * has no words for it. */
static int verify(X509_STORE_CTX *x, SSL *ssl) {
  nq_tls_session_data *s = ssl ? SSL_get_app_data(ssl) : NULL;
  char said[NQ_STRENGTH_SAID];
  char *found = s ? s->found : said;
  int rv = X509_verify_cert(x), error = X509_STORE_CTX_get_error(x);
  STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(x);
  if (rv == 1 && error == X509_V_OK) {
    if (nq_strength_chain(chain, &error, found, NQ_STRENGTH_SAID))
      return 1;
    X509_STORE_CTX_set_error(x, error);
    return 0;
  }
  /* A key of an unknown kind is all that the library says nothing of. */
  for (size_t i = 0; error == X509_V_ERR_UNSPECIFIED && chain && i < sk_X509_num(chain); i++)
    if (!X509_get0_pubkey(sk_X509_value(chain, i)) &&
        !nq_strength_key(sk_X509_value(chain, i), found, NQ_STRENGTH_SAID)) {
      X509_STORE_CTX_set_error(x, X509_V_ERR_CERT_REJECTED);
      return 0;
    }
  return rv;
}

int nq_verify_chain(X509_STORE_CTX *x, void *verified) {
  uint8_t key[32];
  int64_t from, until;
  SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
  int shown = key_of(key, ssl);
  if (shown && nq_verified_has(verified, key, (int64_t)time(NULL))) {
    X509_STORE_CTX_set_error(x, X509_V_OK);
    return 1;
  }
  int rv = verify(x, ssl);
  if (rv == 1 && shown && X509_STORE_CTX_get_error(x) == X509_V_OK && validity(x, &from, &until))
    nq_verified_add(verified, key, from, until);
  return rv;
}

/* ---- why verification failed ---- */

typedef struct text {
  char *buf;
  size_t cap, len;
} text;

static void text_add(text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void text_add(text *t, const char *fmt, ...) {
  if (t->len >= t->cap)
    return;
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(t->buf + t->len, t->cap - t->len, fmt, ap);
  va_end(ap);
  if (n > 0)
    t->len += (size_t)n;
}

static int is_address(const char *s) {
  uint8_t ip[16];
  return inet_pton(AF_INET, s, ip) == 1 || inet_pton(AF_INET6, s, ip) == 1;
}

/* One subject alternative name, with what the peer might have hidden in it made visible. Returns 0 for other kinds. A
 * host name that looks like an address is called one, as it does not count for that address (RFC 9110 4.3.5). */
static int add_name(text *t, const char *before, const GENERAL_NAME *g) {
  char s[256];
  const char *kind = "";
  if (g->type == GEN_DNS) {
    const uint8_t *p = ASN1_STRING_get0_data(g->d.dNSName);
    int n = ASN1_STRING_length(g->d.dNSName);
    n = n < (int)sizeof s ? n : (int)sizeof s - 1;
    for (int i = 0; i < n; i++)
      s[i] = (char)(p[i] > 32 && p[i] < 127 ? p[i] : '?');
    s[n] = 0;
    kind = is_address(s) ? "the host name " : "";
  } else if (g->type == GEN_IPADD) {
    int n = ASN1_STRING_length(g->d.iPAddress);
    if (n != 4 && n != 16)
      return 0;
    inet_ntop(n == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(g->d.iPAddress), s, sizeof s);
  } else {
    return 0;
  }
  text_add(t, "%s%s'%s'", before, kind, s);
  return *kind ? 2 : 1;
}

static void add_mismatch(text *t, SSL *ssl) {
  text_add(t, "certificate is not for '%s'", nq_tls_session_host(ssl));
  X509 *leaf = SSL_get_peer_certificate(ssl);
  int found = 0; /* -1: there are none */
  GENERAL_NAMES *names = leaf ? X509_get_ext_d2i(leaf, NID_subject_alt_name, &found, NULL) : NULL;
  int shown = 0, odd = 0;
  for (size_t i = 0; names && i < sk_GENERAL_NAME_num(names) && shown < 5; i++) {
    int kind = add_name(t, shown ? ", " : " but for ", sk_GENERAL_NAME_value(names, i));
    shown += kind > 0;
    odd |= kind > 1;
  }
  if (names && shown == 5 && sk_GENERAL_NAME_num(names) > 5)
    text_add(t, " and others");
  else if (!shown && (names || found == -1)) /* else there was no memory to look */
    text_add(t, ": it has no subject alternative names (its common name does not count)");
  if (odd && is_address(nq_tls_session_host(ssl)))
    text_add(t, ": an address must be in it as an IP address (subjectAltName=IP:...)");
  GENERAL_NAMES_free(names);
  X509_free(leaf);
}

void nq_verify_error(nq_tls_session *s, char *buf, size_t cap) {
  long e = SSL_get_verify_result(s);
  text t = {buf, cap, 0};
  text_add(&t, "%s", "");
  if (e == X509_V_OK || e == X509_V_ERR_INVALID_CALL) { /* the second: nothing was verified yet */
    uint32_t last = ERR_peek_last_error();
    if (ERR_GET_LIB(last) == ERR_LIB_SSL && ERR_GET_REASON(last) == SSL_R_KEY_USAGE_BIT_INCORRECT)
      text_add(&t,
               "the peer's certificate is not for signing: its keyUsage lacks digitalSignature, which TLS 1.3 needs");
    return;
  }
  const nq_tls_session_data *data = SSL_get_app_data((const SSL *)s);
  if (data && data->found[0])
    text_add(&t, "%s", data->found);
  else if (e == X509_V_ERR_HOSTNAME_MISMATCH || e == X509_V_ERR_IP_ADDRESS_MISMATCH)
    add_mismatch(&t, s);
  else
    text_add(&t, "%s", X509_verify_cert_error_string(e));
  if (e == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT || e == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
      e == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT || e == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
      e == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE)
    text_add(&t, ": no trusted CA signed it%s%s", data && data->credentials->missing[0] ? "; " : "",
             data ? data->credentials->missing : "");
  text_add(&t, " (X509 error %ld)", e);
  ERR_clear_error();
}
