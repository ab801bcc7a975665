#include "tls/session.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pool.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls/reason.h"
#include "tls/tls_impl.h"

static void copy_string(char *buf, size_t cap, const char *s) {
  if (cap)
    snprintf(buf, cap, "%s", s ? s : "");
}

static ngtcp2_conn *conn_of_session(ngtcp2_crypto_conn_ref *ref) {
  ngtcp2_crypto_conn_ref *engine = ((nq_tls_session_data *)(void *)ref)->engine;
  return engine->get_conn(engine);
}

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

int nq_tls_session_name_suffices(const nq_tls *t, const char *server_name) {
  return t->server || t->insecure || name_length(server_name) > 0;
}

nq_tls_session *nq_tls_session_new(nq_tls *t, void *conn_ref, const char *server_name) {
  if (!nq_tls_session_name_suffices(t, server_name))
    return NULL;
  size_t n = t->server ? 0 : name_length(server_name);
  nq_tls_session_data *s = calloc(1, sizeof *s + n + 1);
  if (s)
    s->credentials = nq_credentials_current(t);
  ERR_clear_error(); /* of what this thread did before */
  SSL *ssl = s ? SSL_new(s->credentials->ctx) : NULL;
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
  if ((n && !set_host(ssl, t, s->host)) || nq_reason_no_memory())
    goto no_memory;
  SSL_set_shed_handshake_config(ssl, 1);
  s->tls = nq_tls_ref(t);
  return ssl;
no_memory:
  SSL_free(ssl);
  nq_credentials_unref(s ? s->credentials : NULL);
  free(s);
  ERR_clear_error();
  return NULL;
}

void nq_tls_session_free(nq_tls_session *native) {
  if (!native)
    return;
  SSL *ssl = native;
  nq_tls_session_data *s = SSL_get_app_data(ssl);
  nq_tls *t = s->tls;
  SSL_free(ssl); /* before its context, which it looks at, and before what its callbacks look at */
  nq_credentials_unref(s->credentials);
  free(s);
  nq_tls_unref(t);
}

const uint8_t *nq_tls_session_alpn(nq_tls_session *s) {
  const nq_tls_session_data *data = SSL_get_app_data((const SSL *)s);
  const nq_tls *t = data->tls;
  const uint8_t *p = NULL;
  unsigned n = 0;
  SSL_get0_alpn_selected(s, &p, &n);
  for (size_t i = 0; n && i < t->alpn_len; i += 1u + t->alpn[i])
    if (t->alpn[i] == n && memcmp(&t->alpn[i + 1], p, n) == 0)
      return &t->alpn[i];
  return NULL;
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
