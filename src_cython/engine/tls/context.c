/* context.c: TLS contexts and sessions over AWS-LC or BoringSSL, whose common API is all that is used. */
#include "tls/tls_impl.h"

#include "base/fork.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_boringssl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/mem.h>
#include <openssl/pool.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The library sends a key share for the first group and one for the first post-quantum group, so a client that listed
 * one by default would send a ClientHello of two datagrams. A server takes the client's most preferred group. */
#define CLIENT_GROUPS "X25519:P-256:P-384"
#define SERVER_GROUPS "X25519:P-256:P-384:X25519MLKEM768"

/* ---- errors ---- */

int nq_tls_no_memory(void) {
  int found = 0;
  for (uint32_t e; (e = ERR_get_error());)
    found |= ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE;
  return found;
}

int nq_tls_fail(char *err, size_t errlen, const char *fmt, ...) {
  if (nq_tls_no_memory())
    return nq_tls_lack(err, errlen, ENOMEM, "a certificate, a key or a TLS context");
  va_list ap;
  va_start(ap, fmt);
  if (errlen)
    vsnprintf(err, errlen, fmt, ap);
  va_end(ap);
  return -1;
}

int nq_tls_lack(char *err, size_t errlen, int e, const char *what) {
  ERR_clear_error();
  if (errlen && e == ENOMEM)
    snprintf(err, errlen, "no memory for %s", what);
  else if (errlen)
    snprintf(err, errlen, "no descriptor is left to open %s", what);
  return e;
}

const char *nq_tls_reason(void) {
  const char *r = ERR_reason_error_string(ERR_peek_error());
  return r ? r : "no reason given";
}

const char *nq_tls_getenv(const char *name) {
#ifdef __linux__
  const char *v = secure_getenv(name);
#else
  const char *v = getenv(name);
#endif
  return v && v[0] ? v : NULL;
}

static void copy_string(char *buf, size_t cap, const char *s) {
  if (cap)
    snprintf(buf, cap, "%s", s ? s : "");
}

/* ---- what belongs to a session ---- */

/* The library's callbacks find this at the SSL. It is kept there and not under an index of its own: the library needs
 * memory to free what is under one, and without memory leaks it. */
typedef struct session {
  ngtcp2_crypto_conn_ref ref; /* first: ngtcp2 takes the whole for it */
  ngtcp2_crypto_conn_ref *engine;
  nq_tls *tls;
  char host[]; /* a client's: the name that was asked for, without a dot at its end */
} session;

static ngtcp2_conn *conn_of_session(ngtcp2_crypto_conn_ref *ref) {
  ngtcp2_crypto_conn_ref *engine = ((session *)(void *)ref)->engine;
  return engine->get_conn(engine);
}

const char *nq_tls_host(const SSL *ssl) {
  const session *s = SSL_get_app_data(ssl);
  return s ? s->host : "";
}

/* ---- context ---- */

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
  const session *s = SSL_get_app_data(ssl);
  if (s && s->tls->keylog)
    nq_keylog_write(s->tls->keylog, line);
}

static int alpn_well_formed(const uint8_t *p, size_t n) {
  size_t i = 0;
  while (i < n && p[i])
    i += 1u + p[i];
  return n && n <= 65535 && i == n;
}

static int set_groups(nq_tls *t, const char *groups, char *err, size_t errlen) {
  const char *g = groups ? groups : t->server ? SERVER_GROUPS : CLIENT_GROUPS;
  if (SSL_CTX_set1_groups_list(t->ctx, g) == 1)
    return 0;
  return nq_tls_fail(err, errlen,
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

static int set_ciphersuites(nq_tls *t, const char *s, char *err, size_t errlen) {
  if (!s)
    return 0; /* the library's own: AES-128 first when the CPU has AES, else ChaCha20 */
  if (!ciphersuites_known(s))
    return nq_tls_fail(err, errlen,
                       "ciphersuites '%s': use one or more of TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384 and "
                       "TLS_CHACHA20_POLY1305_SHA256, separated by colons",
                       s);
#ifdef OPENSSL_IS_AWSLC
  if (SSL_CTX_set_ciphersuites(t->ctx, s) != 1)
    return nq_tls_fail(err, errlen, "ciphersuites '%s' refused by the TLS library: %s", s, nq_tls_reason());
  return 0;
#else
  (void)t;
  return nq_tls_fail(err, errlen, "ciphersuites '%s': this build's TLS library (%s) has a fixed order; leave them out",
                     s, nq_tls_library());
#endif
}

/* The library's preferences, plus Ed25519, which it signs with but does not accept unasked. */
static int set_signatures(nq_tls *t, char *err, size_t errlen) {
  static const uint16_t prefs[] = {
      SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_ED25519,
      SSL_SIGN_RSA_PSS_RSAE_SHA256,    SSL_SIGN_RSA_PKCS1_SHA256,
      SSL_SIGN_ECDSA_SECP384R1_SHA384, SSL_SIGN_RSA_PSS_RSAE_SHA384,
      SSL_SIGN_RSA_PKCS1_SHA384,       SSL_SIGN_ECDSA_SECP521R1_SHA512,
      SSL_SIGN_RSA_PSS_RSAE_SHA512,    SSL_SIGN_RSA_PKCS1_SHA512,
  };
  if (SSL_CTX_set_verify_algorithm_prefs(t->ctx, prefs, sizeof prefs / sizeof *prefs) == 1)
    return 0;
  return nq_tls_fail(err, errlen, "signature algorithms refused by the TLS library: %s", nq_tls_reason());
}

static int set_verification(nq_tls *t, const nq_tls_options *o, char *err, size_t errlen) {
  if (t->server ? !o->verify_client : o->insecure) {
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_cert_verify_callback(t->ctx, accept_any, NULL);
    return 0;
  }
  X509_STORE *store = NULL;
  if (!nq_tls_blob_given(&o->ca) && t->server)
    return nq_tls_fail(err, errlen, "verify_client needs ca: give the CA that signs the clients' certificates");
  int rv = nq_tls_blob_given(&o->ca) ? nq_tls_load_anchors(&store, &o->ca, err, errlen)
                                     : nq_tls_system_roots(&store, err, errlen);
  if (rv)
    return rv;
  SSL_CTX_set_cert_store(t->ctx, store); /* takes the reference */
  SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER | (t->server ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
  t->verified = nq_verified_new();
  if (!t->verified)
    return nq_tls_lack(err, errlen, ENOMEM, "a TLS context");
  SSL_CTX_set_cert_verify_callback(t->ctx, nq_tls_verify, t->verified);
  return 0;
}

static int set_identity(nq_tls *t, const nq_tls_options *o, char *err, size_t errlen) {
  int cert = nq_tls_blob_given(&o->cert), key = nq_tls_blob_given(&o->key);
  if (cert)
    return nq_tls_load_identity(t->ctx, &o->cert, &o->key, err, errlen);
  if (t->server)
    return nq_tls_fail(err, errlen, "a server needs a certificate: give cert and key (PEM or DER, path or bytes)");
  if (key)
    return nq_tls_fail(err, errlen, "key was given without cert: give the client certificate that it belongs to");
  return 0;
}

static int configure(nq_tls *t, const nq_tls_options *o, char *err, size_t errlen) {
  int rv = t->server ? ngtcp2_crypto_boringssl_configure_server_context(t->ctx)
                     : ngtcp2_crypto_boringssl_configure_client_context(t->ctx);
  if (rv)
    return nq_tls_fail(err, errlen, "the TLS library refused the QUIC configuration: %s", nq_tls_reason());
  SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
  /* No client of ours keeps sessions yet, and a ticket costs every handshake a packet. */
  SSL_CTX_set_options(t->ctx, SSL_OP_NO_TICKET);
  /* The chain is sent as it was given, never made up from the trust anchors. */
  SSL_CTX_set_mode(t->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  if (t->server)
    SSL_CTX_set_alpn_select_cb(t->ctx, select_alpn, t);
  else if (SSL_CTX_set_alpn_protos(t->ctx, t->alpn, (unsigned)t->alpn_len) != 0)
    return nq_tls_fail(err, errlen, "alpn refused by the TLS library: %s", nq_tls_reason());
  if ((rv = set_groups(t, o->groups, err, errlen)) || (rv = set_ciphersuites(t, o->ciphersuites, err, errlen)) ||
      (rv = set_signatures(t, err, errlen)) || (rv = set_identity(t, o, err, errlen)) ||
      (rv = set_verification(t, o, err, errlen)) || (rv = nq_keylog_open(&t->keylog, o->keylog_path, err, errlen)))
    return rv;
  if (t->keylog)
    SSL_CTX_set_keylog_callback(t->ctx, log_key);
  return 0;
}

int nq_tls_new(nq_tls **out, const nq_tls_options *o, char *err, size_t errlen) {
  *out = NULL;
  if (errlen)
    err[0] = 0;
  ERR_clear_error(); /* of what this thread did before */
  if (!o->alpn || !alpn_well_formed(o->alpn, o->alpn_len))
    return nq_tls_fail(err, errlen, "alpn is missing or malformed: give at least one name of 1 to 255 bytes");
  nq_tls *t = calloc(1, sizeof *t + o->alpn_len);
  if (!t)
    return nq_tls_lack(err, errlen, ENOMEM, "a TLS context");
  atomic_init(&t->refs, 1);
  t->server = o->server;
  t->insecure = !o->server && o->insecure;
  t->alpn_len = o->alpn_len;
  memcpy(t->alpn, o->alpn, o->alpn_len);
  t->ctx = SSL_CTX_new(TLS_method());
  int rv = 0;
  /* It may succeed and yet have had no memory for a part, which is missing then. */
  if (nq_tls_no_memory() || !t->ctx || (!(rv = configure(t, o, err, errlen)) && nq_tls_no_memory()))
    rv = nq_tls_lack(err, errlen, ENOMEM, "a TLS context");
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
  SSL_CTX_free(t->ctx);
  nq_verified_free(t->verified);
  free(t);
}

int nq_tls_is_server(const nq_tls *t) { return t->server; }

/* ---- session ---- */

/* The bytes of an address literal: 4, 16 or, for a name, 0. "[::1]" and "fe80::1%eth0" are literals too. */
static size_t parse_ip(const char *host, uint8_t ip[16]) {
  char s[64];
  size_t n = strlen(host);
  if (n > 1 && host[0] == '[' && host[n - 1] == ']')
    host++, n -= 2;
  const char *zone = memchr(host, '%', n);
  if (zone)
    n = (size_t)(zone - host);
  if (n >= sizeof s)
    return 0;
  memcpy(s, host, n);
  s[n] = 0;
  return inet_pton(AF_INET, s, ip) == 1 ? 4 : inet_pton(AF_INET6, s, ip) == 1 ? 16 : 0;
}

/* RFC 6066: only what can be a DNS name is sent as one. */
static int is_dns_name(const char *s) {
  size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
  return n && n < 254 && !s[n] && s[0] != '.';
}

/* Returns 0 when there is no memory. */
static int set_host(SSL *ssl, const nq_tls *t, const char *host) {
  uint8_t ip[16];
  size_t iplen = parse_ip(host, ip);
  if (!iplen && is_dns_name(host) && !SSL_set_tlsext_host_name(ssl, host))
    return 0;
  if (t->insecure)
    return 1;
  X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  return iplen ? X509_VERIFY_PARAM_set1_ip(param, ip, iplen) : X509_VERIFY_PARAM_set1_host(param, host, strlen(host));
}

/* The length of a name without the dot at its end. */
static size_t name_length(const char *name) {
  size_t n = name ? strlen(name) : 0;
  return n && name[n - 1] == '.' ? n - 1 : n;
}

int nq_tls_name_suffices(const nq_tls *t, const char *server_name) {
  return t->server || t->insecure || name_length(server_name) > 0;
}

nq_tls_session *nq_tls_session_new(nq_tls *t, void *conn_ref, const char *server_name) {
  if (!nq_tls_name_suffices(t, server_name))
    return NULL;
  size_t n = t->server ? 0 : name_length(server_name);
  ERR_clear_error(); /* of what this thread did before */
  session *s = calloc(1, sizeof *s + n + 1);
  SSL *ssl = s ? SSL_new(t->ctx) : NULL;
  if (!ssl || !SSL_set_app_data(ssl, s))
    goto no_memory;
  s->ref.get_conn = conn_of_session;
  s->engine = conn_ref;
  if (n)
    memcpy(s->host, server_name, n);
  if (t->server)
    SSL_set_accept_state(ssl);
  else
    SSL_set_connect_state(ssl);
  if ((n && !set_host(ssl, t, s->host)) || nq_tls_no_memory())
    goto no_memory;
  SSL_set_shed_handshake_config(ssl, 1);
  s->tls = nq_tls_ref(t);
  return ssl;
no_memory:
  SSL_free(ssl);
  free(s);
  ERR_clear_error();
  return NULL;
}

void nq_tls_session_free(nq_tls_session *native) {
  if (!native)
    return;
  SSL *ssl = native;
  session *s = SSL_get_app_data(ssl);
  nq_tls *t = s->tls;
  SSL_free(ssl); /* before its context, which it looks at, and before what its callbacks look at */
  free(s);
  nq_tls_unref(t);
}

void nq_tls_session_alpn(nq_tls_session *s, char *buf, size_t cap) {
  const uint8_t *p = NULL;
  unsigned n = 0;
  SSL_get0_alpn_selected(s, &p, &n);
  if (cap)
    snprintf(buf, cap, "%.*s", (int)n, p ? (const char *)p : "");
}

void nq_tls_session_cipher(nq_tls_session *s, char *buf, size_t cap) {
  const SSL_CIPHER *c = SSL_get_current_cipher(s);
  copy_string(buf, cap, c ? SSL_CIPHER_standard_name(c) : NULL);
}

void nq_tls_session_group(nq_tls_session *s, char *buf, size_t cap) {
  uint16_t id = SSL_get_group_id(s);
  copy_string(buf, cap, id ? SSL_get_group_name(id) : NULL);
}

size_t nq_tls_session_peer_cert(nq_tls_session *s, unsigned i, uint8_t *buf, size_t cap) {
  const STACK_OF(CRYPTO_BUFFER) *chain = SSL_get0_peer_certificates(s);
  if (!chain || i >= sk_CRYPTO_BUFFER_num(chain))
    return 0;
  const CRYPTO_BUFFER *c = sk_CRYPTO_BUFFER_value(chain, i);
  size_t n = CRYPTO_BUFFER_len(c);
  if (buf && cap >= n)
    memcpy(buf, CRYPTO_BUFFER_data(c), n);
  return n;
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

/* One subject alternative name, with what the peer might have hidden in it made visible. Returns 0 for other kinds. */
static int add_name(text *t, const char *before, const GENERAL_NAME *g) {
  char s[256];
  if (g->type == GEN_DNS) {
    const uint8_t *p = ASN1_STRING_get0_data(g->d.dNSName);
    int n = ASN1_STRING_length(g->d.dNSName);
    n = n < (int)sizeof s ? n : (int)sizeof s - 1;
    for (int i = 0; i < n; i++)
      s[i] = (char)(p[i] > 32 && p[i] < 127 ? p[i] : '?');
    s[n] = 0;
  } else if (g->type == GEN_IPADD) {
    int n = ASN1_STRING_length(g->d.iPAddress);
    if (n != 4 && n != 16)
      return 0;
    inet_ntop(n == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(g->d.iPAddress), s, sizeof s);
  } else {
    return 0;
  }
  text_add(t, "%s'%s'", before, s);
  return 1;
}

static void add_mismatch(text *t, SSL *ssl) {
  text_add(t, "certificate is not for '%s'", nq_tls_host(ssl));
  X509 *leaf = SSL_get_peer_certificate(ssl);
  int found = 0; /* -1: there are none */
  GENERAL_NAMES *names = leaf ? X509_get_ext_d2i(leaf, NID_subject_alt_name, &found, NULL) : NULL;
  int shown = 0;
  for (size_t i = 0; names && i < sk_GENERAL_NAME_num(names) && shown < 5; i++)
    shown += add_name(t, shown ? ", " : " but for ", sk_GENERAL_NAME_value(names, i));
  if (names && shown == 5 && sk_GENERAL_NAME_num(names) > 5)
    text_add(t, " and others");
  else if (!shown && (names || found == -1)) /* else there was no memory to look */
    text_add(t, ": it has no subject alternative names (its common name does not count)");
  GENERAL_NAMES_free(names);
  X509_free(leaf);
}

void nq_tls_session_error(nq_tls_session *s, char *buf, size_t cap) {
  long e = SSL_get_verify_result(s);
  text t = {buf, cap, 0};
  text_add(&t, "%s", "");
  if (e == X509_V_OK || e == X509_V_ERR_INVALID_CALL) /* the second: nothing was verified yet */
    return;
  if (e == X509_V_ERR_HOSTNAME_MISMATCH || e == X509_V_ERR_IP_ADDRESS_MISMATCH)
    add_mismatch(&t, s);
  else
    text_add(&t, "%s", X509_verify_cert_error_string(e));
  if (e == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT || e == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
      e == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT || e == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
      e == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE)
    text_add(&t, ": no trusted CA signed it");
  text_add(&t, " (X509 error %ld)", e);
  ERR_clear_error();
}

const char *nq_tls_alert_name(unsigned alert, char *buf, size_t cap) {
  static const struct {
    uint8_t alert;
    const char *name;
  } names[] = {
      {0, "close_notify"},
      {10, "unexpected_message"},
      {20, "bad_record_mac"},
      {21, "decryption_failed"},
      {22, "record_overflow"},
      {30, "decompression_failure"},
      {40, "handshake_failure"},
      {41, "no_certificate"},
      {42, "bad_certificate"},
      {43, "unsupported_certificate"},
      {44, "certificate_revoked"},
      {45, "certificate_expired"},
      {46, "certificate_unknown"},
      {47, "illegal_parameter"},
      {48, "unknown_ca"},
      {49, "access_denied"},
      {50, "decode_error"},
      {51, "decrypt_error"},
      {60, "export_restriction"},
      {70, "protocol_version"},
      {71, "insufficient_security"},
      {80, "internal_error"},
      {86, "inappropriate_fallback"},
      {90, "user_canceled"},
      {100, "no_renegotiation"},
      {109, "missing_extension"},
      {110, "unsupported_extension"},
      {111, "certificate_unobtainable"},
      {112, "unrecognized_name"},
      {113, "bad_certificate_status_response"},
      {114, "bad_certificate_hash_value"},
      {115, "unknown_psk_identity"},
      {116, "certificate_required"},
      {120, "no_application_protocol"},
      {121, "ech_required"},
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].alert == alert)
      return names[i].name;
  if (!cap)
    return "";
  snprintf(buf, cap, "alert %u", alert);
  return buf;
}

/* ---- randomness, HMAC ---- */

#define RANDOM_BUFFER 4096u

static _Thread_local struct {
  unsigned process; /* that filled it; 0: never filled */
  size_t left;         /* unused bytes, at the end of buf */
  uint8_t buf[RANDOM_BUFFER];
} pool;

void nq_tls_random(uint8_t *dst, size_t n) {
  unsigned process = nq_fork_generation(); /* a forked child must not repeat its parent's bytes */
  if (pool.process != process || pool.left < n) {
    if (n > RANDOM_BUFFER / 8 || !process) {
      RAND_bytes(dst, n); /* cannot fail: it aborts */
      return;
    }
    RAND_bytes(pool.buf, sizeof pool.buf);
    pool.process = process;
    pool.left = sizeof pool.buf;
  }
  uint8_t *p = pool.buf + (sizeof pool.buf - pool.left);
  memcpy(dst, p, n);
  OPENSSL_cleanse(p, n);
  pool.left -= n;
}

int nq_tls_hmac(uint8_t out[32], const uint8_t *key, size_t keylen, const uint8_t *msg, size_t len) {
  unsigned n = 32;
  if (HMAC(EVP_sha256(), key, keylen, msg, len, out, &n))
    return 0;
  ERR_clear_error();
  return -1;
}

const char *nq_tls_library(void) {
#ifdef OPENSSL_IS_AWSLC
  return "AWS-LC " AWSLC_VERSION_NUMBER_STRING;
#else
#define STR_(x) #x
#define STR(x) STR_(x)
  return "BoringSSL (API " STR(BORINGSSL_API_VERSION) ")";
#endif
}
