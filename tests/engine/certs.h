/* certs.h: certificates made inside a test, so that none is ever checked in or expires. */
#ifndef NQ_TEST_CERTS_H
#define NQ_TEST_CERTS_H

#include "tls/context.h"

typedef enum nq_test_key {
  NQ_TEST_P256,
  NQ_TEST_P384,
  NQ_TEST_RSA,
  NQ_TEST_ED25519,
  NQ_TEST_P224,
  NQ_TEST_RSA_1024
} nq_test_key;

typedef struct nq_test_cert {
  struct x509_st *x509;
  struct evp_pkey_st *pkey;
  char *cert, *key; /* PEM (the key as PKCS#8), terminated */
  uint8_t *der;     /* the certificate */
  size_t der_len;
} nq_test_cert;

/* Nothing here returns NULL: what fails ends the program. All are valid from a day ago for 30 days. */
nq_test_cert *nq_test_make_ca(const char *name);
/* A CA signed by another: an intermediate. */
nq_test_cert *nq_test_make_sub_ca(const nq_test_cert *ca, const char *name);
/* names and ips become subject alternative names, separated by commas ("localhost,*.example.com", "127.0.0.1,::1"),
 * NULL for none; the common name is always "naquid test". The validity is moved by days (-60: expired a month ago).
 * ca NULL: signed by itself. */
nq_test_cert *nq_test_make_leaf(const nq_test_cert *ca, const char *names, const char *ips, int days);
nq_test_cert *nq_test_make_leaf_key(const nq_test_cert *ca, const char *names, const char *ips, int days,
                                    nq_test_key kind);

/* One that is odd; what is 0 is as above. */
typedef struct nq_test_spec {
  const nq_test_cert *ca;     /* Who signs; NULL: itself. */
  const char *cn, *names;     /* NULL: "naquid test", none. */
  int is_ca;                  /* Whether it is an authority. */
  int path_length;            /* Of an authority: the most below it, and one; 0: without a bound. */
  int no_signing;             /* keyEncipherment stands where digitalSignature would. */
  int sha1;                   /* It is signed with SHA-1. */
  nq_test_key kind;           /* Of its key. */
} nq_test_spec;
nq_test_cert *nq_test_make_odd(const nq_test_spec *s);
void nq_test_cert_free(nq_test_cert *c);

/* As the options of a context want them; valid as long as c. */
nq_tls_blob nq_test_cert_blob(const nq_test_cert *c);
nq_tls_blob nq_test_key_blob(const nq_test_cert *c);

#endif
