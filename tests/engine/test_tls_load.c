// needs: tls/context.c tls/session.c tls/identity.c tls/load.c tls/roots.c tls/verify.c tls/keylog.c tls/reason.c
// needs: tls/files.c tls/places.c tls/strength.c tls/names.c tls/alert.c tls/random.c tls/hmac.c
// needs: base/environ.c base/fork.c certs.c quic_pair.c
/* Certificates, keys and roots in every form, what is refused and how it is said; the key log. */
#include "tls_util.h"

#include <fcntl.h>
#include <openssl/bytestring.h>
#include <openssl/ec_key.h>
#include <openssl/mem.h>
#include <openssl/pem.h>
#include <openssl/pkcs8.h>
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

static nq_tls_blob key_der_locked(EVP_PKEY *p, const char *password) {
  CBB cbb;
  uint8_t *der = NULL;
  size_t n = 0;
  REQUIRE(CBB_init(&cbb, 2048));
  REQUIRE(
      PKCS8_marshal_encrypted_private_key(&cbb, -1, EVP_aes_256_cbc(), password, strlen(password), NULL, 0, 2048, p));
  REQUIRE(CBB_finish(&cbb, &der, &n));
  return bytes(der, n);
}

/* PKCS#12 with the authority before the leaf. */
static nq_tls_blob p12(EVP_PKEY *key, X509 *x, X509 *authority, const char *password) {
  STACK_OF(X509) *more = sk_X509_new_null();
  REQUIRE(more && sk_X509_push(more, authority));
  PKCS12 *p = PKCS12_create(password, NULL, key, x, more, 0, 0, 0, 0, 0);
  uint8_t *der = NULL;
  REQUIRE(p);
  int n = i2d_PKCS12(p, &der);
  REQUIRE(n > 0);
  PKCS12_free(p);
  sk_X509_free(more);
  return bytes(der, (size_t)n);
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

typedef struct refusal {
  nq_tls_blob cert, key;
  const char *says, *names;
} refusal;

static void refuse_all(const refusal *cases, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const char *e = refused((nq_tls_options){.server = 1, .cert = cases[i].cert, .key = cases[i].key});
    CHECK(contains(e, cases[i].says));
    CHECK(contains(e, cases[i].names));
  }
}

/* What people give by mistake, each told by what it is. */
static void test_what_was_found(void) {
  nq_tls_blob cert = nq_test_cert_blob(leaf), key = nq_test_key_blob(leaf);
  static const char one_line[] = "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n",
                    indented[] = "  -----BEGIN PRIVATE KEY-----\n  AAAA\n  -----END PRIVATE KEY-----\n";
  static const uint8_t wide[] = {0xff, 0xfe, '-', 0, '-', 0}, jks[] = {0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2};
  nq_test_cert *odd[] = {
      nq_test_make_odd(&(nq_test_spec){.ca = ca, .cn = "old curve", .kind = NQ_TEST_P224}),
      nq_test_make_odd(&(nq_test_spec){.ca = ca, .cn = "short", .kind = NQ_TEST_RSA_1024}),
      nq_test_make_odd(&(nq_test_spec){.ca = ca, .cn = "old digest", .sha1 = 1}),
      nq_test_make_odd(&(nq_test_spec){.ca = ca, .cn = "no signing", .no_signing = 1, .kind = NQ_TEST_RSA}),
      nq_test_make_odd(&(nq_test_spec){.ca = ca, .cn = "old sub", .is_ca = 1, .sha1 = 1}),
  };
  char weak_chain[8192];
  snprintf(weak_chain, sizeof weak_chain, "%s%s", leaf->cert, odd[4]->cert);
  const refusal cases[] = {
      {cert, text(indented), "is indented", "textwrap.dedent"},
      {text("  -----BEGIN CERTIFICATE-----\n  AAAA\n  -----END CERTIFICATE-----\n"), key, "it is indented",
       "textwrap.dedent"},
      {text(one_line), key, "two characters where lines end", "certificate"},
      {cert, text(one_line), "two characters where lines end", "key"},
      {bytes(wide, sizeof wide), key, "UTF-16", "PowerShell"},
      {text("-----BEGIN CERTIFICATE-----\nAAAA\n"), key, "cut off", "certificate"},
      {text("-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n"), key, "PKCS#7", "openssl pkcs7"},
      {bytes(jks, sizeof jks), key, "Java keystore", "keytool"},
      {nq_test_cert_blob(odd[0]), nq_test_key_blob(odd[0]), "a key (secp224r1) that TLS 1.3 cannot sign with",
       "certificate of 'old curve'"},
      {nq_test_cert_blob(odd[1]), nq_test_key_blob(odd[1]), "a key of 1024 bits, which is too weak", "2048 or more"},
      {nq_test_cert_blob(odd[2]), nq_test_key_blob(odd[2]), "is signed with SHA-1, which is too weak", "'old digest'"},
      {nq_test_cert_blob(odd[3]), nq_test_key_blob(odd[3]), "keyUsage lacks digitalSignature", "'no signing'"},
      {text(weak_chain), key, "is signed with SHA-1", "'old sub'"},
  };
  refuse_all(cases, sizeof cases / sizeof *cases);
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
    nq_test_cert_free(odd[i]);
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
  const refusal cases[] = {
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
  refuse_all(cases, sizeof cases / sizeof *cases);
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

/* Encrypted keys in every form, PKCS#12, and what is said when the password is no good. */
static void test_passwords(void) {
  nq_tls_blob cert = nq_test_cert_blob(leaf), none = {0};
  nq_tls_blob pem = key_pem(leaf->pkey, "s\xc3\xa9same"), der = key_der_locked(leaf->pkey, "s\xc3\xa9same");
  nq_tls_blob chain = p12(leaf->pkey, leaf->x509, ca->x509, "s\xc3\xa9same"),
              plain = p12(leaf->pkey, leaf->x509, ca->x509, "");
  nq_tls_blob anchors = p12(NULL, NULL, ca->x509, "s\xc3\xa9same");
  const struct {
    nq_tls_blob cert, key;
    int password; /* 0: needs none */
  } forms[] = {{cert, pem, 1},
               {cert, der, 1},
               {chain, none, 1},
               {cert, chain, 1},
               {chain, pem, 1},
               {plain, none, 0},
               {cert, write_file("locked.pem", pem), 1},
               {write_file("both.p12", chain), none, 1}};
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
    nq_tls_options o = {.server = 1, .cert = forms[i].cert, .key = forms[i].key, ALPN(NQ1)};
    if (forms[i].password) {
      CHECK(contains(refused(o), "is encrypted; give password"));
      o.password = "wrong";
      o.password_len = 5;
      CHECK(contains(refused(o), "the password does not open"));
    }
    o.password = "s\xc3\xa9same";
    o.password_len = forms[i].password ? 7 : 0;
    o.password = forms[i].password ? o.password : NULL;
    good(make_client(ca), make(o), "localhost");
  }
  nq_tls_options o = {.ca = anchors, .password = "s\xc3\xa9same", .password_len = 7, ALPN(NQ1)};
  good(make(o), make_server(leaf), "localhost");
  o.password = NULL;
  CHECK(contains(refused(o), "CA (given as bytes) is encrypted"));
  nq_tls_options nul = {.server = 1, .cert = chain, .password = "a\0b", .password_len = 3};
  CHECK(contains(refused(nul), "NUL"));
  nq_tls_options keyless = {.server = 1, .cert = anchors, .password = "s\xc3\xa9same", .password_len = 7};
  CHECK(contains(refused(keyless), "holds no private key"));
  drop(pem);
  drop(der);
  drop(chain);
  drop(plain);
  drop(anchors);
}

/* Every file in a directory of authorities counts. */
static void test_ca_directory(void) {
  nq_test_cert *foreign = nq_test_make_leaf(other_ca, "localhost", NULL, 0);
  const nq_tls_options o = {.ca = file("cas"), ALPN(NQ1)};
  REQUIRE(mkdir(path_of("cas"), 0700) == 0);
  CHECK(contains(refused(o), "holds no certificate"));
  write_file("cas/one.pem", nq_test_cert_blob(ca));
  write_file("cas/readme", text("no certificate"));
  nq_tls *client = make(o);
  good(nq_tls_ref(client), make_server(leaf), "localhost");
  bad(nq_tls_ref(client), make_server(foreign), "localhost", SSL_AD_UNKNOWN_CA, "no trusted CA signed it");
  write_file("cas/two.pem", nq_test_cert_blob(other_ca)); /* and what comes later */
  good(nq_tls_ref(client), make_server(foreign), "localhost");
  nq_tls_unref(client);
  nq_test_cert_free(foreign);
}

/* ---- files that change while they are in use ---- */

static const char *trouble(nq_tls *t) {
  static char said[512];
  nq_tls_trouble(t, said, sizeof said);
  return said;
}

/* As `mv new.pem cert.pem` does it, and as an editor does that writes in place. */
static void replace(const char *name, nq_tls_blob b, int in_place) {
  if (in_place) {
    write_file(name, b);
    return;
  }
  write_file("new.pem", b);
  REQUIRE(rename(path_of("new.pem"), path_of(name)) == 0);
}

static void test_a_server_reads_renewed_files(void) {
  nq_test_cert *renewed = nq_test_make_leaf(other_ca, "localhost", NULL, 0);
  for (int in_place = 0; in_place < 2; in_place++) {
    nq_tls *server = make((nq_tls_options){.server = 1,
                                           .cert = write_file("cert.pem", nq_test_cert_blob(leaf)),
                                           .key = write_file("key.pem", nq_test_key_blob(leaf)),
                                           ALPN(NQ1)});
    good(make_client(ca), nq_tls_ref(server), "localhost");
    nq_tls *mine = make_client(ca);
    ngtcp2_crypto_conn_ref ref = {0};
    nq_tls_session *held = nq_tls_session_new(server, &ref, NULL); /* a handshake that began before */
    replace("cert.pem", nq_test_cert_blob(renewed), in_place); /* its key is not there yet */
    good(nq_tls_ref(mine), nq_tls_ref(server), "localhost");
    CHECK(contains(trouble(server), "does not belong to"));
    char news[512];
    CHECK_EQ(nq_tls_trouble_news(server, news, sizeof news), 1);
    CHECK(contains(news, "does not belong to"));
    good(nq_tls_ref(mine), nq_tls_ref(server), "localhost");
    CHECK_EQ(nq_tls_trouble_news(server, news, sizeof news), 0); /* told once */
    replace("key.pem", nq_test_key_blob(renewed), in_place);
    good(make_client(other_ca), nq_tls_ref(server), "localhost");
    CHECK_EQ(strlen(trouble(server)), 0);
    unlink(path_of("key.pem")); /* what is gone is still in use */
    good(make_client(other_ca), nq_tls_ref(server), "localhost");
    CHECK(contains(trouble(server), "No such file"));
    CHECK_EQ(X509_cmp(SSL_get_certificate(held), leaf->x509), 0);
    nq_tls_session_free(held);
    nq_tls_unref(mine);
    nq_tls_unref(server);
  }
  nq_test_cert_free(renewed);
}

static void test_a_client_reads_renewed_files(void) {
  nq_test_cert *foreign = nq_test_make_leaf(other_ca, "localhost", NULL, 0);
  nq_tls *client = make((nq_tls_options){.ca = write_file("roots.pem", nq_test_cert_blob(ca)), ALPN(NQ1)});
  good(nq_tls_ref(client), make_server(leaf), "localhost");
  bad(nq_tls_ref(client), make_server(foreign), "localhost", SSL_AD_UNKNOWN_CA, "no trusted CA signed it");
  replace("roots.pem", nq_test_cert_blob(other_ca), 0);
  good(nq_tls_ref(client), make_server(foreign), "localhost");
  bad(nq_tls_ref(client), make_server(leaf), "localhost", SSL_AD_UNKNOWN_CA, "no trusted CA signed it");
  nq_tls_unref(client);
  setenv("SSL_CERT_FILE", path_of("roots.pem"), 1); /* the same for the system's */
  setenv("SSL_CERT_DIR", path_of("empty"), 1);
  client = make((nq_tls_options){ALPN(NQ1)});
  good(nq_tls_ref(client), make_server(foreign), "localhost");
  replace("roots.pem", nq_test_cert_blob(ca), 0);
  good(nq_tls_ref(client), make_server(leaf), "localhost");
  bad(nq_tls_ref(client), make_server(foreign), "localhost", SSL_AD_UNKNOWN_CA, "no trusted CA signed it");
  unsetenv("SSL_CERT_FILE");
  unsetenv("SSL_CERT_DIR");
  nq_tls_unref(client);
  nq_test_cert_free(foreign);
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
  char list[600];
  REQUIRE(mkdir(path_of("roots"), 0700) == 0 && mkdir(path_of("empty"), 0700) == 0);
  write_file("roots/other.pem", nq_test_cert_blob(other_ca));
  write_file("roots/readme", text("no certificate"));
  snprintf(list, sizeof list, "%s:%s", path_of("empty"), path_of("roots"));
  setenv("SSL_CERT_DIR", list, 1); /* both count */
  good(make(o), make_server(leaf), "localhost");
  good(make(o), make_server(foreign), "localhost");
  setenv("SSL_CERT_FILE", path_of("absent.pem"), 1); /* and each does without the other */
  good(make(o), make_server(foreign), "localhost");
  bad(make(o), make_server(leaf), "localhost", SSL_AD_UNKNOWN_CA,
      "no trusted CA signed it; SSL_CERT_FILE names '/tmp/nq-test-tls-");
  setenv("SSL_CERT_DIR", path_of("empty"), 1);
  CHECK(contains(refused(o), "no trusted roots found on this system: SSL_CERT_"));
  unsetenv("SSL_CERT_FILE"); /* now the default bundle is beside the directory: this machine may have one or not */
  setenv("SSL_CERT_DIR", path_of("roots"), 1);
  good(make(o), make_server(foreign), "localhost");
  bad(make(o), make_server(leaf), "localhost", SSL_AD_UNKNOWN_CA, "no trusted CA signed it");
  unsetenv("SSL_CERT_DIR");
  nq_tls *t; /* either way it is decided, and its roots did not sign ours */
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
  RUN(test_what_was_found);
  RUN(test_passwords);
  RUN(test_ca_directory);
  RUN(test_pipe);
  RUN(test_system_roots);
  RUN(test_a_server_reads_renewed_files);
  RUN(test_a_client_reads_renewed_files);
  RUN(test_keylog);
  RUN(test_keylog_rotates);
  RUN(test_keylog_in_a_folder);
  RUN(test_keylog_fifo);
  teardown();
  CHECK_DONE();
}
