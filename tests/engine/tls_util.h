/* tls_util.h: what test_tls.c and test_tls_load.c share: a CA, a folder for files, and handshakes good and bad. */
#ifndef NQ_TEST_TLS_UTIL_H
#define NQ_TEST_TLS_UTIL_H

#include "certs.h"
#include "check.h"
#include "quic_pair.h"
#include "tls/alert.h"
#include "tls/hmac.h"
#include "tls/random.h"
#include "tls/tls_impl.h"

#include <openssl/err.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALPN(s) .alpn = (const uint8_t *)(s), .alpn_len = sizeof(s) - 1
#define NQ1 "\x04nq/1"

static nq_test_cert *ca, *other_ca, *leaf;
static char dir[] = "/tmp/nq-test-tls-XXXXXX";
static char err[1024];

static inline int contains(const char *s, const char *part) {
  int ok = strstr(s, part) != NULL;
  if (!ok)
    fprintf(stderr, "  '%s' does not contain '%s'\n", s, part);
  return ok;
}

static inline const char *path_of(const char *name) {
  static char buf[64][256]; /* a few dozen are in use at once */
  static unsigned turn;
  char *p = buf[turn++ % 64];
  snprintf(p, sizeof buf[0], "%s/%s", dir, name);
  return p;
}

static inline nq_tls_blob bytes(const void *data, size_t len) { return (nq_tls_blob){NULL, data, len}; }
static inline nq_tls_blob text(const char *s) { return bytes(s, strlen(s)); }
static inline nq_tls_blob file(const char *name) { return (nq_tls_blob){path_of(name), NULL, 0}; }

static inline nq_tls_blob write_file(const char *name, nq_tls_blob b) {
  FILE *f = fopen(path_of(name), "wb");
  REQUIRE(f && fwrite(b.data, 1, b.len, f) == b.len && fclose(f) == 0);
  return file(name);
}

static inline nq_tls *make(nq_tls_options o) {
  nq_tls *t = NULL;
  if (nq_tls_new(&t, &o, err, sizeof err))
    fprintf(stderr, "  nq_tls_new: %s\n", err);
  REQUIRE(t);
  CHECK(err[0] == 0);
  return t;
}

/* The sentence of a context that cannot be made. */
static inline const char *refused(nq_tls_options o) {
  nq_tls *t = NULL;
  if (!o.alpn) {
    o.alpn = (const uint8_t *)NQ1;
    o.alpn_len = 5;
  }
  CHECK_EQ(nq_tls_new(&t, &o, err, sizeof err), -1);
  CHECK(t == NULL);
  CHECK(strchr(err, '\n') == NULL);
  CHECK_EQ(ERR_peek_error(), 0);
  return err;
}

static inline nq_tls *make_server(const nq_test_cert *c) {
  return make((nq_tls_options){.server = 1, .cert = nq_test_cert_blob(c), .key = nq_test_key_blob(c), ALPN(NQ1)});
}

static inline nq_tls *make_client(const nq_test_cert *trusted) {
  return make((nq_tls_options){.ca = nq_test_cert_blob(trusted), ALPN(NQ1)});
}

/* One handshake. Takes over both contexts. */
static inline quic_pair *shake(nq_tls *client, nq_tls *server, const char *host) {
  quic_pair *p = quic_pair_new(client, server, host);
  nq_tls_unref(client); /* the sessions hold them */
  nq_tls_unref(server);
  quic_pair_run(p);
  return p;
}

static inline void good(nq_tls *client, nq_tls *server, const char *host) {
  quic_pair *p = shake(client, server, host);
  char buf[256];
  CHECK(p->client.confirmed && p->server.completed);
  nq_verify_error(p->client.tls, buf, sizeof buf);
  CHECK(buf[0] == 0);
  nq_verify_error(p->server.tls, buf, sizeof buf);
  CHECK(buf[0] == 0);
  quic_pair_free(p);
}

/* The client refuses the server's certificate, and says why. */
static inline void bad(nq_tls *client, nq_tls *server, const char *host, unsigned alert, const char *why) {
  quic_pair *p = shake(client, server, host);
  char buf[256];
  CHECK(!p->client.completed && !p->client.confirmed);
  CHECK_EQ(p->client.alert, alert);
  CHECK_EQ(p->server.peer_alert, alert);
  nq_verify_error(p->client.tls, buf, sizeof buf);
  CHECK(contains(buf, why));
  quic_pair_free(p);
}

static inline void setup(void) {
  unsetenv("SSLKEYLOGFILE");
  unsetenv("SSL_CERT_FILE");
  unsetenv("SSL_CERT_DIR");
  REQUIRE(mkdtemp(dir));
  ca = nq_test_make_ca("naquid test CA");
  other_ca = nq_test_make_ca("another naquid test CA");
  leaf = nq_test_make_leaf(ca, "localhost", "127.0.0.1", 0);
}

static inline void teardown(void) {
  static const char *const names[] = {
      "cert.pem",  "cert.der", "key.pem",      "key.der",         "locked.pem",  "empty.pem",   "secret.pem",
      "roots.pem", "pipe",     "roots/readme", "roots/other.pem", "client.keys", "server.keys", "env.keys",
      "old.keys",  "new.pem",  "both.p12",     "cas/one.pem",     "cas/two.pem", "cas/readme",
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    unlink(path_of(names[i]));
  rmdir(path_of("cas"));
  rmdir(path_of("roots"));
  rmdir(path_of("empty"));
  CHECK(rmdir(dir) == 0);
  nq_test_cert_free(leaf);
  nq_test_cert_free(ca);
  nq_test_cert_free(other_ca);
}

#endif
