// needs: tls/context.c tls/session.c tls/identity.c tls/load.c tls/roots.c tls/verify.c tls/keylog.c tls/reason.c
// needs: tls/files.c tls/places.c tls/strength.c tls/names.c tls/alert.c tls/random.c tls/hmac.c
// needs: base/environ.c base/fork.c certs.c quic_pair.c
/* Contexts and sessions through whole QUIC handshakes in memory; randomness and words. */
#include "tls_util.h"

#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/wait.h>

/* ---- handshakes ---- */

static void test_handshake(void) {
  quic_pair *p = shake(make_client(ca), make_server(leaf), "localhost");
  CHECK(p->client.confirmed && p->server.completed);
  CHECK_EQ(p->first_flight, 1); /* the ClientHello fits one datagram */
  quic_end *ends[] = {&p->client, &p->server};
  for (int i = 0; i < 2; i++) {
    char buf[64];
    const uint8_t *alpn = nq_tls_session_alpn(ends[i]->tls);
    CHECK(alpn && memcmp(alpn, "\x04nq/1", 5) == 0);
    nq_tls_session_cipher(ends[i]->tls, buf, sizeof buf);
    CHECK(strcmp(buf, EVP_has_aes_hardware() ? "TLS_AES_128_GCM_SHA256" : "TLS_CHACHA20_POLY1305_SHA256") == 0);
    nq_tls_session_group(ends[i]->tls, buf, sizeof buf);
    CHECK(strcmp(buf, "X25519") == 0);
    nq_tls_session_group(ends[i]->tls, buf, 3);
    CHECK(strcmp(buf, "X2") == 0);
    nq_verify_error(ends[i]->tls, buf, sizeof buf);
    CHECK(buf[0] == 0);
  }
  CHECK(strcmp(SSL_get_servername(p->server.tls, TLSEXT_NAMETYPE_host_name), "localhost") == 0);
  uint8_t der[4096] = {0};
  CHECK_EQ(nq_tls_session_peer_cert(p->client.tls, 0, NULL, 0), leaf->der_len);
  CHECK_EQ(nq_tls_session_peer_cert(p->client.tls, 0, der, leaf->der_len - 1), leaf->der_len);
  CHECK_EQ(der[0], 0); /* too small: untouched */
  CHECK_EQ(nq_tls_session_peer_cert(p->client.tls, 0, der, sizeof der), leaf->der_len);
  CHECK(memcmp(der, leaf->der, leaf->der_len) == 0);
  CHECK_EQ(nq_tls_session_peer_cert(p->client.tls, 1, der, sizeof der), 0);
  CHECK_EQ(nq_tls_session_peer_cert(p->server.tls, 0, der, sizeof der), 0);
  quic_pair_free(p);
}

static void test_before_the_handshake(void) {
  nq_tls *t = make_client(ca);
  nq_tls_session *s = nq_tls_session_new(t, NULL, "localhost");
  char buf[16] = "x";
  CHECK(!nq_tls_session_alpn(s));
  nq_tls_session_cipher(s, buf, sizeof buf);
  CHECK(buf[0] == 0);
  nq_tls_session_group(s, buf, sizeof buf);
  CHECK(buf[0] == 0);
  nq_verify_error(s, buf, sizeof buf);
  CHECK(buf[0] == 0);
  CHECK_EQ(nq_tls_session_peer_cert(s, 0, NULL, 0), 0);
  nq_tls_session_free(s);
  nq_tls_session_free(NULL);
  CHECK(nq_tls_session_new(t, NULL, NULL) == NULL); /* nothing to verify against */
  CHECK(nq_tls_session_new(t, NULL, "") == NULL);
  CHECK(nq_tls_session_new(t, NULL, ".") == NULL);
  CHECK(!nq_tls_session_name_suffices(t, NULL) && !nq_tls_session_name_suffices(t, "") &&
        !nq_tls_session_name_suffices(t, "."));
  CHECK(nq_tls_session_name_suffices(t, "a") && nq_tls_session_name_suffices(t, "a."));
  nq_tls_unref(t);
  nq_tls_unref(NULL);
}

static void test_names(void) {
  nq_test_cert *c = nq_test_make_leaf(ca, "a.example,*.wild.example", "127.0.0.1,::1,fe80::1", 0);
  static const char *const right[] = {"a.example", "A.Example", "a.example.",      "x.wild.example", "127.0.0.1",
                                      "::1",       "[::1]",     "0:0:0:0:0:0:0:1", "fe80::1%eth0"};
  for (size_t i = 0; i < sizeof right / sizeof *right; i++)
    good(make_client(ca), make_server(c), right[i]);
  bad(make_client(ca), make_server(c), "b.example", SSL_AD_BAD_CERTIFICATE,
      "certificate is not for 'b.example' but for 'a.example', '*.wild.example', '127.0.0.1', '::1', 'fe80::1' (X509");
  bad(make_client(ca), make_server(c), "x.y.wild.example", SSL_AD_BAD_CERTIFICATE, "not for 'x.y.wild.example'");
  bad(make_client(ca), make_server(c), "wild.example", SSL_AD_BAD_CERTIFICATE, "not for 'wild.example'");
  bad(make_client(ca), make_server(c), "127.0.0.2", SSL_AD_BAD_CERTIFICATE, "not for '127.0.0.2' but for");
  bad(make_client(ca), make_server(c), "::2", SSL_AD_BAD_CERTIFICATE, "not for '::2'");
  nq_test_cert_free(c);
  c = nq_test_make_leaf(ca, "one.example,2.example,3.example,4.example,5.example,6.example", NULL, 0);
  bad(make_client(ca), make_server(c), "b.example", SSL_AD_BAD_CERTIFICATE, "'5.example' and others");
  nq_test_cert_free(c);
  c = nq_test_make_leaf(ca, NULL, NULL, 0); /* only a common name */
  bad(make_client(ca), make_server(c), "naquid test", SSL_AD_BAD_CERTIFICATE, "no subject alternative names");
  nq_test_cert_free(c);
}

/* SNI carries names, never addresses, and nothing that is no name. */
static void test_sni(void) {
  static const char *const hosts[][2] = {{"127.0.0.1", NULL},         {"::1", NULL}, {"[::1]", NULL}, {"a b", NULL},
                                         {"a.example.", "a.example"}, {"X_1", "X_1"}};
  for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
    nq_tls *t = make((nq_tls_options){.insecure = 1, ALPN(NQ1)});
    quic_pair *p = shake(t, make_server(leaf), hosts[i][0]);
    CHECK(p->client.confirmed);
    const char *sni = SSL_get_servername(p->server.tls, TLSEXT_NAMETYPE_host_name);
    CHECK(hosts[i][1] ? sni && strcmp(sni, hosts[i][1]) == 0 : sni == NULL);
    quic_pair_free(p);
  }
}

static void test_trust(void) {
  bad(make_client(other_ca), make_server(leaf), "localhost", SSL_AD_UNKNOWN_CA, "no trusted CA signed it");
  nq_test_cert *expired = nq_test_make_leaf(ca, "localhost", NULL, -60);
  nq_test_cert *early = nq_test_make_leaf(ca, "localhost", NULL, 60);
  bad(make_client(ca), make_server(expired), "localhost", SSL_AD_CERTIFICATE_EXPIRED,
      "certificate has expired (X509 error 10)");
  bad(make_client(ca), make_server(early), "localhost", SSL_AD_CERTIFICATE_EXPIRED, "not yet valid");
  good(make((nq_tls_options){.insecure = 1, ALPN(NQ1)}), make_server(expired), "elsewhere");
  good(make((nq_tls_options){.insecure = 1, ALPN(NQ1)}), make_server(leaf), NULL);
  nq_test_cert_free(expired);
  nq_test_cert_free(early);
  nq_test_cert *self = nq_test_make_leaf(NULL, "localhost", NULL, 0);
  bad(make_client(ca), make_server(self), "localhost", SSL_AD_UNKNOWN_CA, "no trusted CA signed it");
  good(make_client(self), make_server(self), "localhost"); /* a certificate can be trusted by itself */
  bad(make_client(self), make_server(self), "b.example", SSL_AD_BAD_CERTIFICATE, "not for 'b.example'");
  nq_test_cert_free(self);
  good(make_client(leaf), make_server(leaf), "localhost"); /* pinned, without its CA */
}

static void test_chain(void) {
  nq_test_cert *sub = nq_test_make_sub_ca(ca, "naquid test intermediate");
  nq_test_cert *c = nq_test_make_leaf(sub, "localhost", NULL, 0);
  char both[16384];
  snprintf(both, sizeof both, "a comment\n%s\n%s", c->cert, sub->cert);
  nq_tls_options o = {.server = 1, .cert = text(both), .key = nq_test_key_blob(c), ALPN(NQ1)};
  quic_pair *p = shake(make_client(ca), make(o), "localhost");
  CHECK(p->client.confirmed);
  uint8_t der[4096];
  CHECK_EQ(nq_tls_session_peer_cert(p->client.tls, 1, der, sizeof der), sub->der_len);
  CHECK(memcmp(der, sub->der, sub->der_len) == 0);
  quic_pair_free(p);
  bad(make_client(ca), make_server(c), "localhost", SSL_AD_UNKNOWN_CA, "no trusted CA signed it"); /* chain left out */
  good(make_client(sub), make_server(c), "localhost"); /* an intermediate as anchor */
  snprintf(both, sizeof both, "%s%s", sub->cert, ca->cert);
  good(make((nq_tls_options){.ca = text(both), ALPN(NQ1)}), make_server(c), "localhost"); /* several anchors */
  /* Two DER certificates in a row are a chain too. */
  uint8_t ders[8192];
  memcpy(ders, c->der, c->der_len);
  memcpy(ders + c->der_len, sub->der, sub->der_len);
  o.cert = bytes(ders, c->der_len + sub->der_len);
  good(make_client(ca), make(o), "localhost");
  nq_test_cert_free(c);
  nq_test_cert_free(sub);
}

static void test_alpn(void) {
  nq_tls_options s = {.server = 1, .cert = nq_test_cert_blob(leaf), .key = nq_test_key_blob(leaf)};
  nq_tls_options c = {.ca = nq_test_cert_blob(ca)};
  char longest[257] = "\xff";
  memset(longest + 1, 'x', 255);
  const struct {
    const char *client, *server, *chosen;
  } cases[] = {
      {"\x02h3\x04nq/1", "\x04nq/1\x02h3", "nq/1"}, /* the server's preference */
      {"\x04nq/1\x02h3", "\x02h3", "h3"},           {"\x04nq/1", "\x04nq/2", NULL},
      {"\x04nq/1", "\x02nq\x05nq/12", NULL},        {longest, longest, longest + 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    c.alpn = (const uint8_t *)cases[i].client;
    c.alpn_len = strlen(cases[i].client);
    s.alpn = (const uint8_t *)cases[i].server;
    s.alpn_len = strlen(cases[i].server);
    quic_pair *p = shake(make(c), make(s), "localhost");
    const uint8_t *alpn = nq_tls_session_alpn(p->client.tls);
    if (cases[i].chosen) {
      size_t len = strlen(cases[i].chosen);
      CHECK(p->client.confirmed && alpn && alpn[0] == len && memcmp(alpn + 1, cases[i].chosen, len) == 0);
    } else {
      CHECK_EQ(p->server.alert, 120);
      CHECK_EQ(p->client.peer_alert, 120);
      CHECK(!p->client.completed && !p->server.completed);
    }
    quic_pair_free(p);
  }
  const struct {
    const char *wire;
    size_t len;
  } wrong[] = {{NULL, 0}, {"", 0}, {"\x04nq", 3}, {"\x00", 1}, {"\x02h3\x00", 4}, {"\x05nq/1", 5}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    nq_tls *t = NULL;
    nq_tls_options o = {.insecure = 1, .alpn = (const uint8_t *)wrong[i].wire, .alpn_len = wrong[i].len};
    CHECK_EQ(nq_tls_new(&t, &o, err, sizeof err), -1);
    CHECK(contains(err, "alpn"));
  }
}

static void test_mutual(void) {
  nq_test_cert *me = nq_test_make_leaf(other_ca, "player", NULL, 0);
  nq_tls_options s = {.server = 1,
                      .cert = nq_test_cert_blob(leaf),
                      .key = nq_test_key_blob(leaf),
                      .ca = nq_test_cert_blob(other_ca),
                      .verify_client = 1,
                      ALPN(NQ1)};
  nq_tls_options c = {
      .ca = nq_test_cert_blob(ca), .cert = nq_test_cert_blob(me), .key = nq_test_key_blob(me), ALPN(NQ1)};
  quic_pair *p = shake(make(c), make(s), "localhost");
  CHECK(p->client.confirmed);
  uint8_t der[4096];
  CHECK_EQ(nq_tls_session_peer_cert(p->server.tls, 0, der, sizeof der), me->der_len);
  CHECK(memcmp(der, me->der, me->der_len) == 0);
  quic_pair_free(p);

  p = shake(make_client(ca), make(s), "localhost"); /* none given */
  CHECK_EQ(p->server.alert, SSL_AD_CERTIFICATE_REQUIRED);
  CHECK_EQ(p->client.peer_alert, SSL_AD_CERTIFICATE_REQUIRED);
  CHECK(!p->server.completed && !p->client.confirmed);
  char buf[128];
  nq_verify_error(p->server.tls, buf, sizeof buf);
  CHECK(buf[0] == 0);
  quic_pair_free(p);

  c.cert = nq_test_cert_blob(leaf); /* signed by the wrong one */
  c.key = nq_test_key_blob(leaf);
  p = shake(make(c), make(s), "localhost");
  CHECK_EQ(p->server.alert, SSL_AD_UNKNOWN_CA);
  nq_verify_error(p->server.tls, buf, sizeof buf);
  CHECK(contains(buf, "no trusted CA signed it"));
  quic_pair_free(p);

  s.ca = (nq_tls_blob){0};
  CHECK(contains(refused(s), "verify_client needs ca"));
  c.cert = (nq_tls_blob){0};
  CHECK(contains(refused(c), "key was given without cert"));
  nq_test_cert_free(me);
}

static void test_groups(void) {
  nq_tls_options s = {.server = 1, .cert = nq_test_cert_blob(leaf), .key = nq_test_key_blob(leaf), ALPN(NQ1)};
  nq_tls_options c = {.ca = nq_test_cert_blob(ca), ALPN(NQ1)};
  static const struct {
    const char *client, *server, *chosen;
    int flight;
  } cases[] = {
      {NULL, NULL, "X25519", 1},
      {"X25519MLKEM768:X25519", NULL, "X25519MLKEM768", 2},
      {"X25519:X25519MLKEM768", NULL, "X25519", 2},
      {"P-256", NULL, "P-256", 1},
      {NULL, "P-384", "P-384", 1}, /* by HelloRetryRequest */
      {"P-256", "X25519", NULL, 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    c.groups = cases[i].client;
    s.groups = cases[i].server;
    quic_pair *p = shake(make(c), make(s), "localhost");
    CHECK_EQ(p->first_flight, cases[i].flight);
    char buf[32];
    nq_tls_session_group(p->client.tls, buf, sizeof buf);
    if (cases[i].chosen)
      CHECK(p->client.confirmed && contains(buf, cases[i].chosen));
    else
      CHECK_EQ(p->server.alert, SSL_AD_HANDSHAKE_FAILURE);
    quic_pair_free(p);
  }
  c.groups = "X25519:nonsense";
  CHECK(contains(refused(c), "groups 'X25519:nonsense'"));
}

/* Ours send no tickets; others' clients and servers do, after the handshake, when much of a session is already gone. */
static void test_tickets(void) {
  nq_tls *s = make_server(leaf), *c = make_client(ca);
  SSL_CTX_clear_options(s->now->ctx, SSL_OP_NO_TICKET);
  quic_pair *p = shake(c, s, "localhost");
  CHECK(p->client.confirmed && !p->client.error && !p->server.error);
  char buf[64];
  nq_tls_session_cipher(p->client.tls, buf, sizeof buf);
  CHECK(buf[0]);
  CHECK_EQ(nq_tls_session_peer_cert(p->client.tls, 0, NULL, 0), leaf->der_len);
  quic_pair_free(p);
}

static void test_ciphersuites(void) {
  nq_tls_options c = {.ca = nq_test_cert_blob(ca), ALPN(NQ1)};
  static const char *const wrong[] = {"", "TLS_AES_128_GCM_SHA25", "TLS_AES_128_GCM_SHA256:", "AES128-SHA",
                                      "TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    c.ciphersuites = wrong[i];
    CHECK(contains(refused(c), "ciphersuites '"));
  }
  static const char *const names[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                      "TLS_CHACHA20_POLY1305_SHA256"};
  for (size_t i = 0; i < 3; i++) {
    c.ciphersuites = names[i];
#ifdef OPENSSL_IS_AWSLC
    quic_pair *p = shake(make(c), make_server(leaf), "localhost");
    char buf[64];
    CHECK(p->client.confirmed);
    nq_tls_session_cipher(p->server.tls, buf, sizeof buf);
    CHECK(strcmp(buf, names[i]) == 0);
    quic_pair_free(p);
#else
    CHECK(contains(refused(c), "fixed order"));
#endif
  }
}

/* ---- the rest ---- */

static void test_refs(void) {
  nq_tls *c = make_client(ca), *s = make_server(leaf);
  CHECK(nq_tls_is_server(s) && !nq_tls_is_server(c));
  nq_tls_unref(nq_tls_ref(c));
  good(c, s, "localhost"); /* drops both before the handshake; ALPN selection still finds its context */
}

#define ROUNDS 20

/* How many handshakes succeeded, as a pointer: the counters of check.h are for one thread. */
static void *shake_many(void *arg) {
  nq_tls **pair = arg;
  uintptr_t confirmed = 0;
  for (int i = 0; i < ROUNDS; i++) {
    quic_pair *p = shake(nq_tls_ref(pair[0]), nq_tls_ref(pair[1]), "localhost");
    confirmed += p->client.confirmed && p->server.completed;
    quic_pair_free(p);
  }
  return (void *)confirmed;
}

static void test_threads(void) {
  nq_tls *pair[2] = {make_client(ca), make_server(leaf)};
  pthread_t th[3];
  for (int i = 0; i < 3; i++)
    REQUIRE(pthread_create(&th[i], NULL, shake_many, pair) == 0);
  for (int i = 0; i < 3; i++) {
    void *confirmed;
    pthread_join(th[i], &confirmed);
    CHECK_EQ((uintptr_t)confirmed, ROUNDS);
  }
  nq_tls_unref(pair[0]);
  nq_tls_unref(pair[1]);
}

static void *random_here(void *dst) {
  nq_tls_random(dst, 32);
  return NULL;
}

static void test_random(void) {
  static uint8_t a[20000], b[20000];
  nq_tls_random(a, 0);
  for (size_t n = 1; n < sizeof a; n = n * 3 + 1) { /* small ones, the buffer's end, larger than the buffer */
    nq_tls_random(a, n);
    nq_tls_random(b, n);
    CHECK(n < 12 || memcmp(a, b, n) != 0);
  }
  unsigned ones = 0;
  for (int i = 0; i < 3000; i++) {
    nq_tls_random(a, 7);
    for (int j = 0; j < 7; j++)
      ones += (unsigned)__builtin_popcount(a[j]);
  }
  CHECK(ones > 82000 && ones < 86000); /* 168000 bits; 2000 is ten deviations */
  uint64_t last = 0, part[3]; /* no byte comes twice, none is one that was already wiped */
  for (int i = 0; i < 2000; i++) {
    nq_tls_random((uint8_t *)part, sizeof part);
    CHECK(part[0] && part[1] && part[2]);
    CHECK(part[0] != last && part[0] != part[1] && part[1] != part[2] && part[0] != part[2]);
    last = part[2];
  }
  pthread_t th;
  pthread_create(&th, NULL, random_here, a);
  pthread_join(th, NULL);
  nq_tls_random(b, 32);
  CHECK(memcmp(a, b, 32) != 0);
  int fds[2];
  REQUIRE(pipe(fds) == 0);
  pid_t child = fork();
  if (child == 0) {
    nq_tls_random(a, 32);
    _exit(write(fds[1], a, 32) != 32);
  }
  nq_tls_random(b, 32);
  CHECK(read(fds[0], a, 32) == 32);
  CHECK(memcmp(a, b, 32) != 0);
  waitpid(child, NULL, 0);
  close(fds[0]);
  close(fds[1]);
}

static void test_hmac(void) { /* RFC 4231, test case 2 */
  static const uint8_t want[32] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24,
                                   0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27,
                                   0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
  uint8_t out[32];
  const char *msg = "what do ya want for nothing?";
  CHECK_EQ(nq_tls_hmac(out, (const uint8_t *)"Jefe", 4, (const uint8_t *)msg, strlen(msg)), 0);
  CHECK(memcmp(out, want, 32) == 0);
}

static void test_words(void) {
  char buf[32];
  CHECK(strcmp(nq_tls_alert_name(48, buf, sizeof buf), "unknown_ca") == 0);
  CHECK(strcmp(nq_tls_alert_name(0, buf, sizeof buf), "close_notify") == 0);
  CHECK(strcmp(nq_tls_alert_name(120, NULL, 0), "no_application_protocol") == 0);
  CHECK(strcmp(nq_tls_alert_name(200, buf, sizeof buf), "alert 200") == 0);
  CHECK(strcmp(nq_tls_alert_name(304, buf, sizeof buf), "alert 304") == 0); /* 304 - 256 is another */
  CHECK(strcmp(nq_tls_alert_name(200, NULL, 0), "") == 0);
  CHECK(contains(nq_tls_library(), "L"));
  printf("  %s\n", nq_tls_library());
}

int main(void) {
  setup();
  RUN(test_handshake);
  RUN(test_before_the_handshake);
  RUN(test_names);
  RUN(test_sni);
  RUN(test_trust);
  RUN(test_chain);
  RUN(test_alpn);
  RUN(test_mutual);
  RUN(test_groups);
  RUN(test_tickets);
  RUN(test_ciphersuites);
  RUN(test_refs);
  RUN(test_threads);
  RUN(test_random);
  RUN(test_hmac);
  RUN(test_words);
  teardown();
  CHECK_DONE();
}
