// needs: tls/context.c tls/session.c tls/identity.c tls/load.c tls/roots.c tls/verify.c tls/keylog.c tls/reason.c
// needs: tls/alert.c tls/random.c tls/hmac.c base/environ.c base/fork.c certs.c quic_pair.c
/* Certificates, keys and roots in every form, what is refused and how it is said; the key log. */
#include "tls_util.h"

#include <fcntl.h>
#include <openssl/bytestring.h>
#include <openssl/ec_key.h>
#include <openssl/mem.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <signal.h>

/* ---- loading ---- */

static nq_tls_blob key_der(EVP_PKEY *p, int pkcs8) { /* ends in drop() */
  uint8_t *der = NULL;
  size_t n = 0;
  CBB cbb;
  REQUIRE(CBB_init(&cbb, 2048));
  if (pkcs8)
    REQUIRE(EVP_marshal_private_key(&cbb, p));
  else if (EVP_PKEY_id(p) == EVP_PKEY_RSA)
    REQUIRE(RSA_marshal_private_key(&cbb, EVP_PKEY_get0_RSA(p)));
  else
    REQUIRE(EC_KEY_marshal_private_key(&cbb, EVP_PKEY_get0_EC_KEY(p), 0));
  REQUIRE(CBB_finish(&cbb, &der, &n));
  return bytes(der, n);
}

static nq_tls_blob key_pem(EVP_PKEY *p, const char *password) {
  BIO *b = BIO_new(BIO_s_mem());
  char *s = NULL;
  if (password)
    REQUIRE(PEM_write_bio_PKCS8PrivateKey(b, p, EVP_aes_256_cbc(), password, (int)strlen(password), NULL, NULL));
  else if (EVP_PKEY_id(p) == EVP_PKEY_RSA)
    REQUIRE(PEM_write_bio_RSAPrivateKey(b, EVP_PKEY_get0_RSA(p), NULL, NULL, 0, NULL, NULL));
  else
    REQUIRE(PEM_write_bio_ECPrivateKey(b, EVP_PKEY_get0_EC_KEY(p), NULL, NULL, 0, NULL, NULL));
  long n = BIO_get_mem_data(b, &s);
  nq_tls_blob r = bytes(OPENSSL_memdup(s, (size_t)n), (size_t)n);
  BIO_free(b);
  return r;
}

static void drop(nq_tls_blob b) { OPENSSL_free((void *)(uintptr_t)b.data); }

static void test_forms(void) {
  static const nq_test_key kinds[] = {NQ_TEST_P256, NQ_TEST_P384, NQ_TEST_RSA, NQ_TEST_ED25519};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    nq_test_cert *c = nq_test_make_leaf_key(ca, "localhost", NULL, 0, kinds[i]);
    int has_own = kinds[i] != NQ_TEST_ED25519; /* a form from before PKCS#8 */
    nq_tls_blob p8 = key_der(c->pkey, 1), own = has_own ? key_der(c->pkey, 0) : (nq_tls_blob){0};
    nq_tls_blob own_pem = has_own ? key_pem(c->pkey, NULL) : (nq_tls_blob){0};
    nq_tls_blob certs[] = {nq_test_cert_blob(c), bytes(c->der, c->der_len),
                           write_file("cert.pem", nq_test_cert_blob(c)),
                           write_file("cert.der", bytes(c->der, c->der_len))};
    nq_tls_blob keys[] = {nq_test_key_blob(c),       p8,  write_file("key.pem", nq_test_key_blob(c)),
                          write_file("key.der", p8), own, own_pem};
    for (size_t j = 0; j < 6; j++)
      for (size_t k = 0; k < 4; k++)
        if (keys[j].data || keys[j].path) {
          nq_tls_blob anchor = k & 1 ? bytes(ca->der, ca->der_len) : nq_test_cert_blob(ca);
          nq_tls *s = make((nq_tls_options){.server = 1, .cert = certs[k], .key = keys[j], ALPN(NQ1)});
          if (k == j % 4)
            good(make((nq_tls_options){.ca = anchor, ALPN(NQ1)}), nq_tls_ref(s), "localhost");
          nq_tls_unref(s);
        }
    drop(p8);
    drop(own);
    drop(own_pem);
    nq_test_cert_free(c);
  }
  char both[8192]; /* one file with everything, with a byte order mark and CRLF line ends */
  snprintf(both, sizeof both, "\xef\xbb\xbf%s%s", leaf->key, leaf->cert);
  good(make_client(ca), make((nq_tls_options){.server = 1, .cert = text(both), ALPN(NQ1)}), "localhost");
  size_t n = 0;
  for (const char *s = leaf->cert; *s; s++) {
    if (*s == '\n')
      both[n++] = '\r';
    both[n++] = *s;
  }
  both[n] = 0;
  good(make_client(ca),
       make((nq_tls_options){.server = 1, .cert = text(both), .key = nq_test_key_blob(leaf), ALPN(NQ1)}), "localhost");
}

static void test_refusals(void) {
  nq_tls_blob cert = nq_test_cert_blob(leaf), key = nq_test_key_blob(leaf), none = {0};
  nq_test_cert *other = nq_test_make_leaf(ca, "localhost", NULL, 0);
  nq_tls_blob locked = key_pem(leaf->pkey, "secret"), locked_file = write_file("locked.pem", locked);
  nq_tls_blob locked_der = none;
  BIO *b = BIO_new_mem_buf(locked.data, (int)locked.len);
  long n = 0;
  char *name = NULL, *header = NULL;
  REQUIRE(PEM_read_bio(b, &name, &header, (uint8_t **)(uintptr_t)&locked_der.data, &n));
  locked_der.len = (size_t)n;
  OPENSSL_free(name);
  OPENSSL_free(header);
  BIO_free(b);
  char damaged[8192], swapped[8192];
  snprintf(damaged, sizeof damaged, "%s%s", leaf->cert, leaf->cert);
  memset(damaged + strlen(leaf->cert) + 100, 'A', 40);
  snprintf(swapped, sizeof swapped, "%s%s", ca->cert, leaf->cert);
  write_file("empty.pem", bytes("", 0));
  static const char ssh[] = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
  const struct {
    nq_tls_blob cert, key;
    const char *says, *names;
  } cases[] = {
      {none, none, "needs a certificate", "cert"},
      {none, key, "needs a certificate", "cert"},
      {cert, none, "key is missing and certificate (given as bytes) holds none", "private key"},
      {cert, nq_test_key_blob(other), "does not belong to", "key (given as bytes)"},
      {cert, file("absent.pem"), "No such file", "absent.pem"},
      {file("absent.pem"), key, "No such file", "absent.pem"},
      {(nq_tls_blob){dir, NULL, 0}, key, "Is a directory", dir},
      {(nq_tls_blob){"/dev/null", NULL, 0}, key, "not a plain file", "/dev/null"},
      {file("empty.pem"), key, "is empty", "empty.pem"},
      {bytes("x", 0), key, "is empty", "certificate"},
      {text("hello"), key, "holds no certificate", "certificate"},
      {bytes("\x30\x82\x01\x00 not DER", 12), key, "no certificate", "certificate"},
      {key, cert, "swapped", "certificate (given as bytes)"},
      {text("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"), key, "signing request",
       "certificate"},
      {text(damaged), key, "certificate 2 in certificate (given as bytes) is damaged", ""},
      {bytes(leaf->der, leaf->der_len - 1), key, "no certificate", ""},
      {text(swapped), key, "certificate 2", "put that one first"},
      {cert, cert, "holds no private key", "key (given as bytes)"},
      {cert, locked_file, "is encrypted", "locked.pem"},
      {cert, locked, "is encrypted", "key"},
      {cert, locked_der, "is encrypted", "key"},
      {cert, text(ssh), "OpenSSH", "ssh-keygen"},
      {cert, text("garbage"), "no readable private key", "key"},
      {cert, bytes(leaf->der, leaf->der_len), "no readable private key", "key"},
      {cert, text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "no readable private key", "key"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *e = refused((nq_tls_options){.server = 1, .cert = cases[i].cert, .key = cases[i].key});
    CHECK(contains(e, cases[i].says));
    CHECK(contains(e, cases[i].names));
  }
  CHECK(contains(refused((nq_tls_options){.ca = file("absent.pem")}), "cannot read CA file '"));
  CHECK(contains(refused((nq_tls_options){.ca = text("x")}), "CA (given as bytes) holds no certificate"));
  if (geteuid() != 0) {
    write_file("secret.pem", key);
    REQUIRE(chmod(path_of("secret.pem"), 0) == 0);
    CHECK(contains(refused((nq_tls_options){.server = 1, .cert = cert, .key = file("secret.pem")}), "ermission"));
  }
  char tiny[8]; /* a sentence that does not fit is cut, and errlen 0 writes nothing */
  nq_tls *t;
  nq_tls_options o = {.server = 1, ALPN(NQ1)};
  CHECK_EQ(nq_tls_new(&t, &o, tiny, sizeof tiny), -1);
  CHECK_EQ(strlen(tiny), sizeof tiny - 1);
  CHECK_EQ(nq_tls_new(&t, &o, NULL, 0), -1);
  drop(locked);
  drop(locked_der);
  nq_test_cert_free(other);
}

/* Keys come by pipe too: <(decrypt key) in a shell. */
static void test_pipe(void) {
  REQUIRE(mkfifo(path_of("pipe"), 0600) == 0);
  int hold = open(path_of("pipe"), O_RDONLY | O_NONBLOCK); /* what is written stays while somebody could read it */
  int fd = open(path_of("pipe"), O_WRONLY);
  REQUIRE(hold >= 0 && fd >= 0 && write(fd, leaf->key, strlen(leaf->key)) == (ssize_t)strlen(leaf->key));
  close(fd);
  nq_tls_unref(make((nq_tls_options){.server = 1, .cert = nq_test_cert_blob(leaf), .key = file("pipe"), ALPN(NQ1)}));
  close(hold);
}

static void test_system_roots(void) {
  const nq_tls_options o = {ALPN(NQ1)};
  write_file("roots.pem", nq_test_cert_blob(ca));
  setenv("SSL_CERT_FILE", path_of("roots.pem"), 1);
  good(make(o), make_server(leaf), "localhost");
  nq_test_cert *foreign = nq_test_make_leaf(other_ca, "localhost", NULL, 0);
  bad(make(o), make_server(foreign), "localhost", SSL_AD_UNKNOWN_CA, "no trusted CA signed it");
  setenv("SSL_CERT_FILE", path_of("absent.pem"), 1);
  CHECK(contains(refused(o), "absent.pem"));
  unsetenv("SSL_CERT_FILE");
  char list[600];
  REQUIRE(mkdir(path_of("roots"), 0700) == 0 && mkdir(path_of("empty"), 0700) == 0);
  write_file("roots/other.pem", nq_test_cert_blob(other_ca));
  write_file("roots/readme", text("no certificate"));
  snprintf(list, sizeof list, "%s:%s", path_of("empty"), path_of("roots"));
  setenv("SSL_CERT_DIR", list, 1);
  good(make(o), make_server(foreign), "localhost");
  bad(make(o), make_server(leaf), "localhost", SSL_AD_UNKNOWN_CA, "no trusted CA signed it");
  setenv("SSL_CERT_DIR", path_of("empty"), 1);
  CHECK(contains(refused(o), "no trusted roots found in '"));
  unsetenv("SSL_CERT_DIR");
  nq_tls *t; /* this machine may have roots or not: either way it is decided, and its roots did not sign ours */
  if (nq_tls_new(&t, &o, err, sizeof err) == 0)
    bad(t, make_server(leaf), "localhost", SSL_AD_UNKNOWN_CA, "no trusted CA signed it");
  else
    CHECK(contains(err, "no trusted roots found"));
  nq_test_cert_free(foreign);
}

/* ---- key log ---- */

static int is_hex(const char *s, size_t n) { return strspn(s, "0123456789abcdef") >= n; }

static void check_keylog(const char *path, int handshakes) {
  static const char *const labels[] = {"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET",
                                       "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0", "EXPORTER_SECRET"};
  int seen[5] = {0};
  char line[512], label[64], secret[200], random[100];
  FILE *f = fopen(path, "r");
  REQUIRE(f);
  while (fgets(line, sizeof line, f)) {
    REQUIRE(line[strlen(line) - 1] == '\n');
    REQUIRE(sscanf(line, "%63s %99s %199s", label, random, secret) == 3);
    CHECK(strlen(random) == 64 && is_hex(random, 64));
    CHECK((strlen(secret) == 64 || strlen(secret) == 96) && is_hex(secret, strlen(secret)));
    CHECK_EQ(strlen(line), strlen(label) + strlen(random) + strlen(secret) + 3);
    int i = 0;
    while (i < 5 && strcmp(labels[i], label) != 0)
      i++;
    CHECK(i < 5);
    seen[i % 5]++;
  }
  fclose(f);
  for (int i = 0; i < 5; i++)
    CHECK_EQ(seen[i], handshakes);
}

static void test_keylog(void) {
  nq_tls_options c = {.ca = nq_test_cert_blob(ca), .keylog_path = path_of("client.keys"), ALPN(NQ1)};
  nq_tls_options s = {.server = 1,
                      .cert = nq_test_cert_blob(leaf),
                      .key = nq_test_key_blob(leaf),
                      .keylog_path = path_of("server.keys"),
                      ALPN(NQ1)};
  good(make(c), make(s), "localhost");
  check_keylog(path_of("client.keys"), 1);
  check_keylog(path_of("server.keys"), 1);
  struct stat st;
  CHECK(stat(path_of("client.keys"), &st) == 0 && (st.st_mode & 0777) == 0600);
  good(make(c), make_server(leaf), "localhost"); /* appended, by the same file */
  check_keylog(path_of("client.keys"), 2);
  write_file("old.keys", text("# kept\n"));
  nq_tls_options e = {.insecure = 1, .keylog_path = path_of("old.keys"), ALPN(NQ1)};
  good(make(e), make_server(leaf), "localhost");
  char line[16] = "";
  FILE *f = fopen(path_of("old.keys"), "r");
  CHECK(f && fgets(line, sizeof line, f) && strcmp(line, "# kept\n") == 0);
  CHECK(fgets(line, sizeof line, f));
  fclose(f);
  setenv("SSLKEYLOGFILE", path_of("env.keys"), 1);
  good(make_client(ca), make_server(leaf), "localhost");
  check_keylog(path_of("env.keys"), 2); /* both sides wrote */
  setenv("SSLKEYLOGFILE", path_of("absent/env.keys"), 1);
  CHECK(contains(refused((nq_tls_options){.insecure = 1}), "named by SSLKEYLOGFILE"));
  good(make(c), make(s), "localhost"); /* an explicit path goes before the environment */
  unsetenv("SSLKEYLOGFILE");
  c.keylog_path = dir;
  CHECK(contains(refused(c), "cannot open the key log"));
}

/* A log that was moved or removed is made anew, also by those who have it open. */
static void test_keylog_rotates(void) {
  nq_tls_options c = {.ca = nq_test_cert_blob(ca), .keylog_path = path_of("rotated.keys"), ALPN(NQ1)};
  nq_tls *client = make(c), *again = make(c);
  char old[512];
  snprintf(old, sizeof old, "%s", path_of("rotated.keys.1"));
  CHECK(rename(path_of("rotated.keys"), old) == 0);
  good(client, make_server(leaf), "localhost");
  check_keylog(path_of("rotated.keys"), 1);
  struct stat st;
  CHECK(stat(old, &st) == 0 && st.st_size == 0);
  CHECK(unlink(path_of("rotated.keys")) == 0);
  good(again, make_server(leaf), "localhost");
  check_keylog(path_of("rotated.keys"), 1);
  good(make(c), make_server(leaf), "localhost");
  check_keylog(path_of("rotated.keys"), 2);
  CHECK(unlink(path_of("rotated.keys")) == 0 && unlink(old) == 0);
}

/* A relative name means the folder in which the context was made. */
static void test_keylog_in_a_folder(void) {
  int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  REQUIRE(here >= 0);
  for (int i = 0; i < 2; i++) {
    char folder[512], file[600];
    snprintf(folder, sizeof folder, "%s", path_of(i ? "two" : "one"));
    snprintf(file, sizeof file, "%s/relative.keys", folder);
    REQUIRE(mkdir(folder, 0700) == 0 && chdir(folder) == 0);
    nq_tls *client = make((nq_tls_options){.ca = nq_test_cert_blob(ca), .keylog_path = "relative.keys", ALPN(NQ1)});
    REQUIRE(fchdir(here) == 0);
    good(client, make_server(leaf), "localhost");
    check_keylog(file, 1);
    CHECK(unlink(file) == 0 && rmdir(folder) == 0);
  }
  close(here);
}

/* A FIFO never makes anybody wait: without a reader, with one, with one that has left, with one that is slow. */
static void test_keylog_fifo(void) {
  char path[512], line[16384];
  snprintf(path, sizeof path, "%s", path_of("fifo.keys"));
  REQUIRE(mkfifo(path, 0600) == 0);
  signal(SIGPIPE, SIG_IGN);
  nq_tls_options c = {.ca = nq_test_cert_blob(ca), .keylog_path = path, ALPN(NQ1)};
  good(make(c), make_server(leaf), "localhost");
  for (int i = 0; i < 2; i++) {
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    REQUIRE(reader >= 0);
    good(make(c), make_server(leaf), "localhost");
    ssize_t n = read(reader, line, sizeof line - 1);
    REQUIRE(n > 0);
    line[n] = 0;
    CHECK(contains(line, "CLIENT_TRAFFIC_SECRET_0 ") && line[n - 1] == '\n');
    close(reader);
    good(make(c), make_server(leaf), "localhost");
  }
  int slow = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  REQUIRE(slow >= 0);
  for (int i = 0; i < 100; i++) /* 75 KB, more than a FIFO of Linux holds */
    good(make(c), make_server(leaf), "localhost");
  while (read(slow, line, sizeof line) > 0)
    continue;
  good(make(c), make_server(leaf), "localhost");
  CHECK(read(slow, line, sizeof line) > 0);
  close(slow);
  CHECK(unlink(path) == 0);
}

int main(void) {
  setup();
  RUN(test_forms);
  RUN(test_refusals);
  RUN(test_pipe);
  RUN(test_system_roots);
  RUN(test_keylog);
  RUN(test_keylog_rotates);
  RUN(test_keylog_in_a_folder);
  RUN(test_keylog_fifo);
  teardown();
  CHECK_DONE();
}
