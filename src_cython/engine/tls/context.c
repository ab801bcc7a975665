/* context.c: TLS contexts over AWS-LC or BoringSSL, whose common API is all that is used. */
#include "tls/context.h"

#include <ngtcp2/ngtcp2_crypto_boringssl.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls/files.h"
#include "tls/identity.h"
#include "tls/load.h"
#include "tls/reason.h"
#include "tls/roots.h"
#include "tls/tls_impl.h"

/* The library sends a key share for the first group and one for the first post-quantum group, so a client that listed
 * one by default would send a ClientHello of two datagrams. A server takes the client's most preferred group. */
#define CLIENT_GROUPS "X25519:P-256:P-384"
#define SERVER_GROUPS "X25519:P-256:P-384:X25519MLKEM768"

static int select_alpn(SSL *ssl, const uint8_t **out, uint8_t *outlen, const uint8_t *in, unsigned inlen, void *arg) {
  const nq_tls *t = arg;
  (void)ssl;
  for (size_t i = 0; i < t->alpn_len; i += 1u + t->alpn[i])
    for (unsigned j = 0; j < inlen; j += 1u + in[j])
      if (in[j] == t->alpn[i] && memcmp(&in[j + 1], &t->alpn[i + 1], in[j]) == 0) {
        *out = &in[j + 1];
        *outlen = in[j];
        return SSL_TLSEXT_ERR_OK;
      }
  return SSL_TLSEXT_ERR_ALERT_FATAL; /* no_application_protocol */
}

static int accept_any(X509_STORE_CTX *x, void *arg) {
  (void)arg;
  X509_STORE_CTX_set_error(x, X509_V_OK);
  return 1;
}

static void log_key(const SSL *ssl, const char *line) {
  const nq_tls_session_data *s = SSL_get_app_data(ssl);
  if (s && s->credentials->keylog)
    nq_keylog_write(s->credentials->keylog, line);
}

static int alpn_well_formed(const uint8_t *p, size_t n) {
  size_t i = 0;
  while (i < n && p[i])
    i += 1u + p[i];
  return n && n <= 65535 && i == n;
}

static int set_groups(SSL_CTX *ctx, int server, const char *groups, char *err, size_t errlen) {
  const char *g = groups ? groups : server ? SERVER_GROUPS : CLIENT_GROUPS;
  if (SSL_CTX_set1_groups_list(ctx, g) == 1)
    return 0;
  return nq_reason_fail(err, errlen,
                        "groups '%s': a name is unknown or given twice; use names like %s, separated by colons", g,
                        SERVER_GROUPS);
}

/* The library skips names that it does not know, so they are checked here. */
static int ciphersuites_known(const char *s) {
  static const char *const known[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                      "TLS_CHACHA20_POLY1305_SHA256"};
  for (;;) {
    size_t n = strcspn(s, ":"), i = 0;
    while (i < 3 && (strlen(known[i]) != n || memcmp(known[i], s, n) != 0))
      i++;
    if (i == 3)
      return 0;
    if (!s[n])
      return 1;
    s += n + 1;
  }
}

static int set_ciphersuites(SSL_CTX *ctx, const char *s, char *err, size_t errlen) {
  if (!s)
    return 0; /* the library's own: AES-128 first when the CPU has AES, else ChaCha20 */
  if (!ciphersuites_known(s))
    return nq_reason_fail(err, errlen,
                          "ciphersuites '%s': use one or more of TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384 and "
                          "TLS_CHACHA20_POLY1305_SHA256, separated by colons",
                          s);
#ifdef OPENSSL_IS_AWSLC
  if (SSL_CTX_set_ciphersuites(ctx, s) != 1)
    return nq_reason_fail(err, errlen, "ciphersuites '%s' refused by the TLS library: %s", s, nq_reason_text());
  return 0;
#else
  (void)ctx;
  return nq_reason_fail(err, errlen,
                        "ciphersuites '%s': this build's TLS library (%s) has a fixed order; leave them out", s,
                        nq_tls_library());
#endif
}

/* The library's preferences, plus Ed25519, which it signs with but does not accept unasked. */
static int set_signatures(SSL_CTX *ctx, char *err, size_t errlen) {
  static const uint16_t prefs[] = {
      SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_ED25519,
      SSL_SIGN_RSA_PSS_RSAE_SHA256,    SSL_SIGN_RSA_PKCS1_SHA256,
      SSL_SIGN_ECDSA_SECP384R1_SHA384, SSL_SIGN_RSA_PSS_RSAE_SHA384,
      SSL_SIGN_RSA_PKCS1_SHA384,       SSL_SIGN_ECDSA_SECP521R1_SHA512,
      SSL_SIGN_RSA_PSS_RSAE_SHA512,    SSL_SIGN_RSA_PKCS1_SHA512,
  };
  if (SSL_CTX_set_verify_algorithm_prefs(ctx, prefs, sizeof prefs / sizeof *prefs) == 1)
    return 0;
  return nq_reason_fail(err, errlen, "signature algorithms refused by the TLS library: %s", nq_reason_text());
}

static int set_verification(nq_credentials *c, const nq_tls_options *o, char *err, size_t errlen) {
  if (o->server ? !o->verify_client : o->insecure) {
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_cert_verify_callback(c->ctx, accept_any, NULL);
    return 0;
  }
  X509_STORE *store = NULL;
  if (!nq_load_given(&o->ca) && o->server)
    return nq_reason_fail(err, errlen, "verify_client needs ca: give the CA that signs the clients' certificates");
  int rv = nq_load_given(&o->ca) ? nq_roots_load(&store, o, err, errlen)
                                 : nq_roots_system(&store, c->missing, sizeof c->missing, err, errlen);
  if (rv)
    return rv;
  SSL_CTX_set_cert_store(c->ctx, store); /* takes the reference */
  SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER | (o->server ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
  c->verified = nq_verified_new();
  if (!c->verified)
    return nq_reason_lack(err, errlen, ENOMEM, "a TLS context");
  SSL_CTX_set_cert_verify_callback(c->ctx, nq_verify_chain, c->verified);
  return 0;
}

static int set_identity(SSL_CTX *ctx, const nq_tls_options *o, char *err, size_t errlen) {
  int cert = nq_load_given(&o->cert), key = nq_load_given(&o->key);
  if (cert)
    return nq_identity_load(ctx, o, err, errlen);
  if (o->server)
    return nq_reason_fail(err, errlen, "a server needs a certificate: give cert and key (PEM or DER, path or bytes)");
  if (key)
    return nq_reason_fail(err, errlen, "key was given without cert: give the client certificate that it belongs to");
  return 0;
}

static int configure(nq_tls *t, nq_credentials *c, const nq_tls_options *o, char *err, size_t errlen) {
  int rv = o->server ? ngtcp2_crypto_boringssl_configure_server_context(c->ctx)
                     : ngtcp2_crypto_boringssl_configure_client_context(c->ctx);
  if (rv)
    return nq_reason_fail(err, errlen, "the TLS library refused the QUIC configuration: %s", nq_reason_text());
  SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_OFF);
  /* No client of ours keeps sessions yet, and a ticket costs every handshake a packet. */
  SSL_CTX_set_options(c->ctx, SSL_OP_NO_TICKET);
  /* The chain is sent as it was given, never made up from the trust anchors. */
  SSL_CTX_set_mode(c->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  if (o->server)
    SSL_CTX_set_alpn_select_cb(c->ctx, select_alpn, t);
  else if (SSL_CTX_set_alpn_protos(c->ctx, t->alpn, (unsigned)t->alpn_len) != 0)
    return nq_reason_fail(err, errlen, "alpn refused by the TLS library: %s", nq_reason_text());
  if ((rv = set_groups(c->ctx, o->server, o->groups, err, errlen)) ||
      (rv = set_ciphersuites(c->ctx, o->ciphersuites, err, errlen)) || (rv = set_signatures(c->ctx, err, errlen)) ||
      (rv = set_identity(c->ctx, o, err, errlen)) || (rv = set_verification(c, o, err, errlen)) ||
      (rv = nq_keylog_open(&c->keylog, o->keylog_path, err, errlen)))
    return rv;
  if (c->keylog)
    SSL_CTX_set_keylog_callback(c->ctx, log_key);
  return 0;
}

/* ---- what was read, and reading it again ---- */

void nq_credentials_unref(nq_credentials *c) {
  if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
    return;
  SSL_CTX_free(c->ctx);
  nq_verified_free(c->verified);
  free(c);
}

static int credentials_new(nq_credentials **out, nq_tls *t, const nq_tls_options *o, char *err, size_t errlen) {
  ERR_clear_error(); /* of what this thread did before */
  nq_credentials *c = calloc(1, sizeof *c);
  if (!c)
    return nq_reason_lack(err, errlen, ENOMEM, "a TLS context");
  atomic_init(&c->refs, 1);
  c->ctx = SSL_CTX_new(TLS_method());
  int rv = 0;
  /* It may succeed and yet have had no memory for a part, which is missing then. */
  if (nq_reason_no_memory() || !c->ctx || (!(rv = configure(t, c, o, err, errlen)) && nq_reason_no_memory()))
    rv = nq_reason_lack(err, errlen, ENOMEM, "a TLS context");
  if (rv) {
    nq_credentials_unref(c);
    return rv;
  }
  *out = c;
  return 0;
}

/* Called with the lock held. What is lacking for a moment is tried again at the next session, what is refused when the
 * files have changed again. */
static void refresh(nq_tls *t) {
  nq_files_state state;
  nq_credentials *fresh = NULL;
  nq_files_look(&state, t->options);
  if (t->state.settled && memcmp(state.sum, t->state.sum, sizeof state.sum) == 0)
    return;
  char err[sizeof t->trouble] = "";
  int rv = credentials_new(&fresh, t, t->options, err, sizeof err);
  if (rv <= 0)
    t->state = state;
  t->told &= strcmp(err, t->trouble) == 0;
  memcpy(t->trouble, err, sizeof err);
  if (rv)
    return;
  t->trouble[0] = 0;
  nq_credentials_unref(t->now);
  t->now = fresh;
}

nq_credentials *nq_credentials_current(nq_tls *t) {
  pthread_mutex_lock(&t->lock);
  if (t->options)
    refresh(t);
  nq_credentials *c = t->now;
  atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  pthread_mutex_unlock(&t->lock);
  return c;
}

void nq_tls_trouble(nq_tls *t, char *buf, size_t cap) {
  pthread_mutex_lock(&t->lock);
  if (cap)
    snprintf(buf, cap, "%s", t->trouble);
  pthread_mutex_unlock(&t->lock);
}

int nq_tls_trouble_news(nq_tls *t, char *buf, size_t cap) {
  pthread_mutex_lock(&t->lock);
  int news = t->trouble[0] && !t->told;
  if (news && cap)
    snprintf(buf, cap, "%s", t->trouble);
  t->told |= news;
  pthread_mutex_unlock(&t->lock);
  return news;
}

/* ---- contexts ---- */

int nq_tls_new(nq_tls **out, const nq_tls_options *o, char *err, size_t errlen) {
  *out = NULL;
  if (errlen)
    err[0] = 0;
  if (!o->alpn || !alpn_well_formed(o->alpn, o->alpn_len))
    return nq_reason_fail(err, errlen, "alpn is missing or malformed: give at least one name of 1 to 255 bytes");
  nq_tls *t = calloc(1, sizeof *t + o->alpn_len);
  if (!t || pthread_mutex_init(&t->lock, NULL)) {
    free(t);
    return nq_reason_lack(err, errlen, ENOMEM, "a TLS context");
  }
  atomic_init(&t->refs, 1);
  t->server = o->server;
  t->insecure = !o->server && o->insecure;
  t->alpn_len = o->alpn_len;
  memcpy(t->alpn, o->alpn, o->alpn_len);
  int rv = 0;
  if (nq_files_any(o)) {
    nq_files_look(&t->state, o); /* before they are read: what changes meanwhile is read again */
    t->options = nq_files_copy(o);
    rv = t->options ? 0 : nq_reason_lack(err, errlen, ENOMEM, "a TLS context");
  }
  if (!rv)
    rv = credentials_new(&t->now, t, o, err, errlen);
  if (rv) {
    nq_tls_unref(t);
    return rv;
  }
  *out = t;
  return 0;
}

nq_tls *nq_tls_ref(nq_tls *t) {
  atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
  return t;
}

void nq_tls_unref(nq_tls *t) {
  if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
    return;
  nq_credentials_unref(t->now);
  nq_files_free(t->options);
  pthread_mutex_destroy(&t->lock);
  free(t);
}

int nq_tls_is_server(const nq_tls *t) { return t->server; }

const char *nq_tls_library(void) {
#ifdef OPENSSL_IS_AWSLC
  return "AWS-LC " AWSLC_VERSION_NUMBER_STRING;
#else
#define STR_(x) #x
#define STR(x) STR_(x)
  return "BoringSSL (API " STR(BORINGSSL_API_VERSION) ")";
#endif
}
