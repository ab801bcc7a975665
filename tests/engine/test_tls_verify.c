// needs: tls/context.c tls/session.c tls/identity.c tls/load.c tls/roots.c tls/verify.c tls/keylog.c tls/reason.c
// needs: tls/files.c tls/places.c tls/strength.c tls/names.c tls/alert.c tls/random.c tls/hmac.c
// needs: base/environ.c base/fork.c certs.c quic_pair.c
/* Chains that were verified are remembered: for how long, for which names, and for no other chain. */
#include "tls/names.h"
#include "tls_util.h"

#include <openssl/evp.h>
#include <openssl/pool.h>
#include <openssl/ssl.h>

static void test_memory(void) {
  nq_verified *v = nq_verified_new();
  uint8_t key[32] = {0};
  CHECK(!nq_verified_has(v, key, 0)); /* an unused place is no answer */
  key[31] = 1;
  nq_verified_add(v, key, 100, 200);
  CHECK(!nq_verified_has(v, key, 99));
  CHECK(nq_verified_has(v, key, 100));
  CHECK(nq_verified_has(v, key, 199));
  CHECK(!nq_verified_has(v, key, 200));
  for (uint8_t i = 1; i < NQ_VERIFIED_MOST; i++) {
    key[0] = i;
    nq_verified_add(v, key, 0, 300);
  }
  key[0] = 0;
  CHECK(nq_verified_has(v, key, 150)); /* they have all room */
  key[0] = 255;
  nq_verified_add(v, key, 0, 300);
  CHECK(nq_verified_has(v, key, 150));
  key[0] = 0;
  CHECK(!nq_verified_has(v, key, 150)); /* the oldest went */
  key[0] = 1;
  CHECK(nq_verified_has(v, key, 150));
  nq_verified_free(v);
  nq_verified_free(NULL);
}

static int remembered(const nq_tls *t) {
  int n = 0;
  for (const nq_verified_chain *a = t->now->verified->chains; a < t->now->verified->chains + NQ_VERIFIED_MOST; a++)
    n += a->until != 0;
  return n;
}

/* The context forgets whom it trusts: from here on only what it remembers is good. */
static void trust_nobody(nq_tls *t) { SSL_CTX_set_cert_store(t->now->ctx, X509_STORE_new()); }

static void test_only_what_was_verified(void) {
  nq_tls *client = make_client(ca);
  nq_test_cert *other = nq_test_make_leaf(ca, "localhost", "127.0.0.1", 0);
  nq_test_cert *foreign = nq_test_make_leaf(other_ca, "localhost", NULL, 0);
  bad(nq_tls_ref(client), make_server(foreign), "localhost", SSL_AD_UNKNOWN_CA, "no trusted CA signed it");
  bad(nq_tls_ref(client), make_server(leaf), "b.example", SSL_AD_BAD_CERTIFICATE, "not for 'b.example'");
  CHECK_EQ(remembered(client), 0); /* what is bad is never remembered */
  good(nq_tls_ref(client), make_server(leaf), "localhost");
  good(nq_tls_ref(client), make_server(leaf), "localhost");
  CHECK_EQ(remembered(client), 1);
  trust_nobody(client);
  good(nq_tls_ref(client), make_server(leaf), "localhost");
  bad(nq_tls_ref(client), make_server(leaf), "127.0.0.1", SSL_AD_UNKNOWN_CA, "");
  bad(nq_tls_ref(client), make_server(leaf), "b.example", SSL_AD_UNKNOWN_CA, "");
  bad(nq_tls_ref(client), make_server(other), "localhost", SSL_AD_UNKNOWN_CA, "");
  bad(nq_tls_ref(client), make_server(foreign), "localhost", SSL_AD_UNKNOWN_CA, "");
  bad(make_client(other_ca), make_server(leaf), "localhost", SSL_AD_UNKNOWN_CA, ""); /* each context for itself */
  CHECK_EQ(remembered(client), 1);
  client->now->verified->chains[0].until = 1; /* long ago: it is verified anew */
  bad(nq_tls_ref(client), make_server(leaf), "localhost", SSL_AD_UNKNOWN_CA, "");
  nq_test_cert_free(other);
  nq_test_cert_free(foreign);
  nq_tls_unref(client);
}

/* Of a chain every certificate counts, the order and the number. */
static void test_the_whole_chain(void) {
  nq_tls *client = make_client(ca);
  nq_test_cert *sub = nq_test_make_sub_ca(ca, "sub"), *again = nq_test_make_sub_ca(ca, "sub");
  nq_test_cert *below = nq_test_make_leaf(sub, "localhost", NULL, 0);
  const nq_test_cert *chains[][2] = {{sub, NULL}, {again, NULL}, {sub, again}, {again, sub}, {NULL, NULL}};
  for (size_t i = 0; i < sizeof chains / sizeof *chains; i++) {
    char pem[8192];
    snprintf(pem, sizeof pem, "%s%s%s", below->cert, chains[i][0] ? chains[i][0]->cert : "",
             chains[i][1] ? chains[i][1]->cert : "");
    nq_tls *server = make((nq_tls_options){.server = 1, .cert = text(pem), .key = nq_test_key_blob(below), ALPN(NQ1)});
    if (i == 0)
      good(nq_tls_ref(client), server, "localhost");
    else
      bad(nq_tls_ref(client), server, "localhost", SSL_AD_UNKNOWN_CA, "");
    trust_nobody(client);
  }
  CHECK_EQ(remembered(client), 1);
  nq_test_cert_free(below);
  nq_test_cert_free(again);
  nq_test_cert_free(sub);
  nq_tls_unref(client);
}

static int64_t seconds(const ASN1_TIME *t) {
  int64_t s = 0;
  CHECK(ASN1_TIME_to_posix(t, &s));
  return s;
}

/* The certificates of a chain may end, and begin, one before the other. */
static void test_until_the_first_expires(void) {
  nq_tls *client = make_client(ca);
  for (int days = -10; days <= 10; days += 10) { /* the leaf's; it stays valid for 20 days or more */
    nq_test_cert *c = nq_test_make_leaf(ca, "localhost", NULL, days < 0 ? days : 0);
    if (days > 0) { /* begins later than its CA, ends after it */
      X509_gmtime_adj(X509_getm_notBefore(c->x509), -3600);
      X509_gmtime_adj(X509_getm_notAfter(c->x509), 90 * 86400);
      REQUIRE(X509_sign(c->x509, ca->pkey, EVP_sha256()));
    }
    uint8_t *der = NULL;
    int len = i2d_X509(c->x509, &der);
    REQUIRE(len > 0);
    nq_tls *server =
        make((nq_tls_options){.server = 1, .cert = bytes(der, (size_t)len), .key = nq_test_key_blob(c), ALPN(NQ1)});
    unsigned at = client->now->verified->next;
    good(nq_tls_ref(client), server, "localhost");
    const nq_verified_chain *a = &client->now->verified->chains[at];
    int64_t begins[] = {seconds(X509_get0_notBefore(c->x509)), seconds(X509_get0_notBefore(ca->x509))};
    int64_t ends[] = {seconds(X509_get0_notAfter(c->x509)), seconds(X509_get0_notAfter(ca->x509))};
    CHECK_EQ(a->from, begins[0] > begins[1] ? begins[0] : begins[1]);
    CHECK_EQ(a->until, ends[0] < ends[1] ? ends[0] : ends[1]);
    OPENSSL_free(der);
    nq_test_cert_free(c);
  }
  CHECK_EQ(remembered(client), 3);
  nq_tls_unref(client);
}

static EVP_PKEY *own_key; /* of a server that shows a certificate of somebody else */

static enum ssl_private_key_result_t sign(SSL *ssl, uint8_t *out, size_t *len, size_t most, uint16_t algorithm,
                                          const uint8_t *in, size_t in_len) {
  (void)ssl, (void)algorithm;
  EVP_MD_CTX *md = EVP_MD_CTX_new();
  *len = most;
  int ok = EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, own_key) && EVP_DigestSign(md, out, len, in, in_len);
  EVP_MD_CTX_free(md);
  return ok ? ssl_private_key_success : ssl_private_key_failure;
}

/* A peer that shows a remembered chain must still have its key. */
static void test_the_key_is_verified_each_time(void) {
  static const SSL_PRIVATE_KEY_METHOD signing = {.sign = sign};
  nq_tls *client = make_client(ca);
  good(nq_tls_ref(client), make_server(leaf), "localhost");
  nq_test_cert *thief = nq_test_make_leaf(ca, "localhost", NULL, 0);
  CRYPTO_BUFFER *chain[] = {CRYPTO_BUFFER_new(leaf->der, leaf->der_len, NULL)};
  for (int i = 0; i < 2; i++) {
    nq_tls *server = make_server(thief);
    own_key = i ? thief->pkey : leaf->pkey;
    REQUIRE(SSL_CTX_set_chain_and_key(server->now->ctx, chain, 1, NULL, &signing));
    if (i)
      bad(nq_tls_ref(client), server, "localhost", SSL_AD_DECRYPT_ERROR, "");
    else
      good(nq_tls_ref(client), server, "localhost");
  }
  CHECK_EQ(remembered(client), 1);
  CRYPTO_BUFFER_free(chain[0]);
  nq_tls_unref(client);
  nq_test_cert_free(thief);
}

static void test_clients(void) {
  nq_tls *server = make((nq_tls_options){.server = 1,
                                         .cert = nq_test_cert_blob(leaf),
                                         .key = nq_test_key_blob(leaf),
                                         .ca = nq_test_cert_blob(ca),
                                         .verify_client = 1,
                                         ALPN(NQ1)});
  nq_test_cert *mine = nq_test_make_leaf(ca, "player", NULL, 0),
               *strange = nq_test_make_leaf(other_ca, "player", NULL, 0);
  nq_tls_options o = {.ca = nq_test_cert_blob(ca), ALPN(NQ1)};
  const nq_test_cert *who[] = {mine, mine, strange, mine, strange};
  for (size_t i = 0; i < sizeof who / sizeof *who; i++) {
    if (i == 3)
      trust_nobody(server);
    o.cert = nq_test_cert_blob(who[i]);
    o.key = nq_test_key_blob(who[i]);
    quic_pair *p = shake(make(o), nq_tls_ref(server), "localhost");
    CHECK_EQ(p->server.completed != 0, who[i] == mine);
    quic_pair_free(p);
  }
  CHECK_EQ(remembered(server), 1);
  nq_test_cert_free(mine);
  nq_test_cert_free(strange);
  nq_tls_unref(server);
}

/* A server that shows whatever it is told to, be it weak. */
static nq_tls *show(const nq_test_cert *c, const nq_test_cert *sub) {
  /* The library keeps a certificate for each kind of key, so one of this kind is replaced. */
  int rsa = EVP_PKEY_id(c->pkey) == EVP_PKEY_RSA;
  nq_test_cert *strong = nq_test_make_leaf_key(ca, "localhost", NULL, 0, rsa ? NQ_TEST_RSA : NQ_TEST_P256);
  nq_tls *t = make_server(strong);
  nq_test_cert_free(strong);
  CRYPTO_BUFFER *chain[] = {CRYPTO_BUFFER_new(c->der, c->der_len, NULL),
                            sub ? CRYPTO_BUFFER_new(sub->der, sub->der_len, NULL) : NULL};
  REQUIRE(SSL_CTX_set_chain_and_key(t->now->ctx, chain, sub ? 2 : 1, c->pkey, NULL));
  CRYPTO_BUFFER_free(chain[0]);
  CRYPTO_BUFFER_free(chain[1]);
  return t;
}

/* What OpenSSL refuses at security level 2, and how it is said. */
static void test_weak_chains(void) {
  const nq_test_spec cas[] = {{.cn = "strong", .is_ca = 1},
                              {.cn = "short CA", .is_ca = 1, .kind = NQ_TEST_RSA_1024},
                              {.cn = "old root", .is_ca = 1, .sha1 = 1},
                              {.cn = "narrow", .is_ca = 1, .path_length = 1}};
  const struct {
    int ca; /* Which of those. */
    nq_test_spec sub; /* An intermediate, when it has a name. */
    nq_test_spec leaf;
    unsigned alert; /* 0: it is good. */
    const char *says;
  } cases[] = {
      {0, {0}, {.cn = "x"}, 0, ""},
      {0, {.cn = "sub"}, {.cn = "x"}, 0, ""},
      {0, {0}, {.cn = "x", .sha1 = 1}, SSL_AD_BAD_CERTIFICATE, "certificate of 'x' is signed with SHA-1"},
      {0, {0}, {.cn = "x\x01y", .kind = NQ_TEST_RSA_1024}, SSL_AD_BAD_CERTIFICATE, "'x?y' has a key of 1024 bits"},
      {0, {.cn = "sub", .sha1 = 1}, {.cn = "x"}, SSL_AD_BAD_CERTIFICATE, "certificate of 'sub' is signed with SHA-1"},
      {0, {.cn = "sub", .kind = NQ_TEST_RSA_1024}, {.cn = "x"}, SSL_AD_BAD_CERTIFICATE, "'sub' has a key of 1024"},
      {1, {0}, {.cn = "x"}, SSL_AD_BAD_CERTIFICATE, "certificate of 'short CA' has a key of 1024 bits"},
      {2, {0}, {.cn = "x"}, 0, ""}, /* whoever trusts it does so for what it is */
      {3, {0}, {.cn = "x"}, 0, ""},
      {3, {.cn = "sub"}, {.cn = "x"}, SSL_AD_UNKNOWN_CA, "'narrow' may have at most 0 authorities below it"},
      {0, {.cn = "sub", .path_length = 1}, {.cn = "x"}, 0, ""},
      {0,
       {0},
       {.cn = "x", .no_signing = 1, .kind = NQ_TEST_RSA},
       SSL_AD_ILLEGAL_PARAMETER,
       "keyUsage lacks digitalSignature"},
  };
  nq_test_cert *made[4];
  for (size_t i = 0; i < 4; i++)
    made[i] = nq_test_make_odd(&cas[i]);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    nq_test_spec sub = cases[i].sub, end = cases[i].leaf;
    sub.is_ca = 1;
    end.ca = sub.ca = made[cases[i].ca];
    nq_test_cert *between = sub.cn ? nq_test_make_odd(&sub) : NULL;
    end.ca = between ? between : end.ca;
    end.names = "localhost";
    nq_test_cert *shown = nq_test_make_odd(&end);
    nq_tls *client = make_client(made[cases[i].ca]);
    for (int again = 0; again < 2; again++) { /* what was refused is not remembered as good */
      if (cases[i].alert)
        bad(nq_tls_ref(client), show(shown, between), "localhost", cases[i].alert, cases[i].says);
      else
        good(nq_tls_ref(client), show(shown, between), "localhost");
    }
    nq_tls_unref(client);
    nq_test_cert_free(shown);
    nq_test_cert_free(between);
  }
  for (size_t i = 0; i < 4; i++)
    nq_test_cert_free(made[i]);
}

/* A host name that looks like an address is called one. */
static void test_the_kind_of_a_name(void) {
  nq_test_cert *c = nq_test_make_leaf(ca, "127.0.0.1", NULL, 0);
  bad(make_client(ca), make_server(c), "127.0.0.1", SSL_AD_BAD_CERTIFICATE,
      "but for the host name '127.0.0.1': an address must be in it as an IP address");
  nq_test_cert_free(c);
}

/* ---- names ---- */

typedef struct names {
  char text[256];
  int most; /* How many are wanted; below 0: all. */
} names;

static int take(void *u, int kind, const uint8_t *name, size_t n) {
  names *all = u;
  size_t len = strlen(all->text);
  if (!all->most--)
    return 7;
  if (kind == NQ_TLS_NAME_IP)
    snprintf(all->text + len, sizeof all->text - len, "%d:%zu ", kind, n);
  else
    snprintf(all->text + len, sizeof all->text - len, "%d:%.*s ", kind, (int)n, (const char *)name);
  return 0;
}

static void test_names(void) {
  nq_test_cert *c = nq_test_make_leaf(ca, "one.example,*.two.example", "127.0.0.1,::1", 0);
  names all = {"", -1}, one = {"", 1}, none = {"", -1};
  CHECK_EQ(nq_tls_names(c->der, c->der_len, take, &all), 0);
  CHECK_EQ(strcmp(all.text, "0:naquid test 1:one.example 1:*.two.example 2:4 2:16 "), 0);
  CHECK_EQ(nq_tls_names(c->der, c->der_len, take, &one), 7);
  CHECK_EQ(strcmp(one.text, "0:naquid test "), 0);
  CHECK_EQ(nq_tls_names(c->der, c->der_len - 1, take, &none), -1);
  CHECK_EQ(nq_tls_names(ca->der, ca->der_len, take, &none), 0); /* without alternative names */
  CHECK_EQ(strcmp(none.text, "0:naquid test CA "), 0);
  CHECK_EQ(ERR_peek_error(), 0);
  nq_test_cert_free(c);
}

int main(void) {
  setup();
  RUN(test_memory);
  RUN(test_only_what_was_verified);
  RUN(test_the_whole_chain);
  RUN(test_until_the_first_expires);
  RUN(test_the_key_is_verified_each_time);
  RUN(test_clients);
  RUN(test_weak_chains);
  RUN(test_the_kind_of_a_name);
  RUN(test_names);
  teardown();
  CHECK_DONE();
}
