/* certs.c: see certs.h. */
#include "certs.h"
#include "tls/tls_impl.h"

#include <arpa/inet.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/ec_key.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEED(x) ((x) ? (void)0 : die(#x))
static void die(const char *what) {
  fprintf(stderr, "certs.c: %s\n", what);
  exit(1);
}

static EVP_PKEY *make_key(nq_test_key kind) {
  static const int types[] = {EVP_PKEY_EC, EVP_PKEY_EC, EVP_PKEY_RSA, EVP_PKEY_ED25519, EVP_PKEY_EC, EVP_PKEY_RSA};
  static const int curves[] = {NID_X9_62_prime256v1, NID_secp384r1, 0, 0, NID_secp224r1, 0};
  EVP_PKEY_CTX *k = EVP_PKEY_CTX_new_id(types[kind], NULL);
  EVP_PKEY *p = NULL;
  NEED(k && EVP_PKEY_keygen_init(k) == 1);
  if (types[kind] == EVP_PKEY_RSA)
    NEED(EVP_PKEY_CTX_set_rsa_keygen_bits(k, kind == NQ_TEST_RSA ? 2048 : 1024) == 1);
  else if (types[kind] == EVP_PKEY_EC)
    NEED(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(k, curves[kind]) == 1);
  NEED(EVP_PKEY_keygen(k, &p) == 1);
  EVP_PKEY_CTX_free(k);
  return p;
}

static char *bio_text(BIO *b) {
  char nul = 0, *s = NULL;
  NEED(BIO_write(b, &nul, 1) == 1);
  long n = BIO_get_mem_data(b, &s);
  char *copy = malloc((size_t)n);
  NEED(n > 0 && copy);
  memcpy(copy, s, (size_t)n);
  BIO_free(b);
  return copy;
}

static void add_name(GENERAL_NAMES *all, int type, const void *data, size_t len) {
  GENERAL_NAME *g = GENERAL_NAME_new();
  ASN1_STRING *s = ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);
  NEED(g && s && ASN1_STRING_set(s, data, (int)len));
  GENERAL_NAME_set0_value(g, type, s);
  NEED(sk_GENERAL_NAME_push(all, g));
}

static void add_names(GENERAL_NAMES *all, const char *list, int type) {
  while (list && *list) {
    size_t n = strcspn(list, ",");
    char s[256];
    uint8_t ip[16];
    snprintf(s, sizeof s, "%.*s", (int)n, list);
    if (type == GEN_DNS)
      add_name(all, type, s, strlen(s));
    else if (inet_pton(AF_INET, s, ip) == 1)
      add_name(all, type, ip, 4);
    else if (inet_pton(AF_INET6, s, ip) == 1)
      add_name(all, type, ip, 16);
    else
      die(s);
    list += n + (list[n] == ',');
  }
}

static void set_subject(X509 *x, const char *cn) {
  X509_NAME *n = X509_NAME_new();
  NEED(n && X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0));
  NEED(X509_set_subject_name(x, n));
  X509_NAME_free(n);
}

static void set_usage(X509 *x, const nq_test_spec *s) {
  int is_ca = s->is_ca;
  BASIC_CONSTRAINTS *bc = BASIC_CONSTRAINTS_new();
  NEED(bc);
  bc->ca = is_ca ? 0xff : 0;
  if (s->path_length)
    NEED((bc->pathlen = ASN1_INTEGER_new()) && ASN1_INTEGER_set(bc->pathlen, s->path_length - 1));
  NEED(X509_add1_ext_i2d(x, NID_basic_constraints, bc, 1, X509V3_ADD_DEFAULT) == 1);
  BASIC_CONSTRAINTS_free(bc);
  ASN1_BIT_STRING *ku = ASN1_BIT_STRING_new();
  /* keyCertSign, keyEncipherment, digitalSignature */
  NEED(ku && ASN1_BIT_STRING_set_bit(ku, is_ca ? 5 : s->no_signing ? 2 : 0, 1));
  NEED(X509_add1_ext_i2d(x, NID_key_usage, ku, 1, X509V3_ADD_DEFAULT) == 1);
  ASN1_BIT_STRING_free(ku);
}

static nq_test_cert *make_as(const nq_test_spec *spec, const char *ips, int days) {
  static long serial;
  nq_test_cert *c = calloc(1, sizeof *c);
  X509 *x = X509_new();
  EVP_PKEY *p = make_key(spec->kind);
  const nq_test_cert *ca = spec->ca;
  NEED(c && x && X509_set_version(x, X509_VERSION_3) && ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial));
  NEED(X509_gmtime_adj(X509_getm_notBefore(x), (days - 1) * 86400L));
  NEED(X509_gmtime_adj(X509_getm_notAfter(x), (days + 30) * 86400L));
  set_subject(x, spec->cn ? spec->cn : "naquid test");
  NEED(X509_set_issuer_name(x, X509_get_subject_name(ca ? ca->x509 : x)) && X509_set_pubkey(x, p));
  set_usage(x, spec);
  GENERAL_NAMES *all = GENERAL_NAMES_new();
  NEED(all);
  add_names(all, spec->names, GEN_DNS);
  add_names(all, ips, GEN_IPADD);
  if (sk_GENERAL_NAME_num(all))
    NEED(X509_add1_ext_i2d(x, NID_subject_alt_name, all, 0, X509V3_ADD_DEFAULT) == 1);
  GENERAL_NAMES_free(all);
  EVP_PKEY *signer = ca ? ca->pkey : p;
  const EVP_MD *md = spec->sha1 ? EVP_sha1() : EVP_sha256();
  NEED(X509_sign(x, signer, EVP_PKEY_id(signer) == EVP_PKEY_ED25519 ? NULL : md));
  c->x509 = x;
  c->pkey = p;
  BIO *b = BIO_new(BIO_s_mem());
  NEED(b && PEM_write_bio_X509(b, x));
  c->cert = bio_text(b);
  b = BIO_new(BIO_s_mem());
  NEED(b && PEM_write_bio_PKCS8PrivateKey(b, p, NULL, NULL, 0, NULL, NULL));
  c->key = bio_text(b);
  int n = i2d_X509(x, &c->der);
  NEED(n > 0);
  c->der_len = (size_t)n;
  return c;
}

static nq_test_cert *make(const nq_test_cert *ca, const char *cn, const char *names, const char *ips, int days,
                          int is_ca, nq_test_key kind) {
  return make_as(&(nq_test_spec){.ca = ca, .cn = cn, .names = names, .is_ca = is_ca, .kind = kind}, ips, days);
}

nq_test_cert *nq_test_make_odd(const nq_test_spec *s) { return make_as(s, NULL, 0); }

nq_test_cert *nq_test_make_ca(const char *name) { return make(NULL, name, NULL, NULL, 0, 1, NQ_TEST_P256); }

nq_test_cert *nq_test_make_sub_ca(const nq_test_cert *ca, const char *name) {
  return make(ca, name, NULL, NULL, 0, 1, NQ_TEST_P256);
}

nq_test_cert *nq_test_make_leaf(const nq_test_cert *ca, const char *names, const char *ips, int days) {
  return make(ca, "naquid test", names, ips, days, 0, NQ_TEST_P256);
}

nq_test_cert *nq_test_make_leaf_key(const nq_test_cert *ca, const char *names, const char *ips, int days,
                                    nq_test_key kind) {
  return make(ca, "naquid test", names, ips, days, 0, kind);
}

void nq_test_cert_free(nq_test_cert *c) {
  if (!c)
    return;
  X509_free(c->x509);
  EVP_PKEY_free(c->pkey);
  OPENSSL_free(c->der);
  free(c->cert);
  free(c->key);
  free(c);
}

nq_tls_blob nq_test_cert_blob(const nq_test_cert *c) {
  return (nq_tls_blob){NULL, (const uint8_t *)c->cert, strlen(c->cert)};
}

nq_tls_blob nq_test_key_blob(const nq_test_cert *c) {
  return (nq_tls_blob){NULL, (const uint8_t *)c->key, strlen(c->key)};
}
