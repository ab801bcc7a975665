#include "tls/identity.h"

#include "tls/load.h"
#include "tls/reason.h"
#include "tls/strength.h"

static int mismatch(STACK_OF(X509) * certs, EVP_PKEY *key, const nq_load_source *cert, const nq_load_source *keysrc,
                    char *err, size_t errlen) {
  for (size_t i = 1; i < sk_X509_num(certs); i++)
    if (X509_check_private_key(sk_X509_value(certs, i), key))
      return nq_reason_fail(err, errlen,
                            "the key belongs to certificate %zu of %s; put that one first, its chain after", i + 1,
                            cert->name);
  return nq_reason_fail(err, errlen, "%s does not belong to %s; give the key that the certificate was made with",
                        keysrc->name, cert->name);
}

/* Whether peers rely on what is shown: they refuse the same. A signature of one's own counts for nobody. */
static int is_strong(STACK_OF(X509) * certs, char *why, size_t cap) {
  if (!nq_strength_tls13(sk_X509_value(certs, 0), why, cap))
    return 0;
  for (size_t i = 0; i < sk_X509_num(certs); i++) {
    X509 *x = sk_X509_value(certs, i);
    int own = (X509_get_extension_flags(x) & EXFLAG_SS) != 0;
    if (!nq_strength_key(x, why, cap) || (!own && !nq_strength_signature(x, why, cap)))
      return 0;
  }
  return 1;
}

/* The leaf of a kind that is not known is told by its own words: its key would be no readable one. */
static int check_kind(STACK_OF(X509) * certs, const nq_load_source *cert, char *err, size_t errlen) {
  char why[NQ_STRENGTH_SAID];
  X509 *leaf = sk_X509_value(certs, 0);
  if (X509_get0_pubkey(leaf) || nq_strength_key(leaf, why, sizeof why))
    return 0;
  return nq_reason_fail(err, errlen, "%s cannot be used: %s", cert->name, why);
}

static int use(SSL_CTX *ctx, STACK_OF(X509) * certs, EVP_PKEY *key, const nq_load_source *cert,
               const nq_load_source *keysrc, char *err, size_t errlen) {
  X509 *leaf = sk_X509_value(certs, 0);
  char why[NQ_STRENGTH_SAID];
  if (!X509_check_private_key(leaf, key))
    return mismatch(certs, key, cert, keysrc, err, errlen);
  if (!is_strong(certs, why, sizeof why))
    return nq_reason_fail(err, errlen, "%s cannot be used: %s", cert->name, why);
  if (SSL_CTX_use_certificate(ctx, leaf) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1)
    return nq_reason_fail(err, errlen, "%s cannot be used for TLS: %s", cert->name, nq_reason_text());
  for (size_t i = 1; i < sk_X509_num(certs); i++)
    if (SSL_CTX_add1_chain_cert(ctx, sk_X509_value(certs, i)) != 1)
      return nq_reason_fail(err, errlen, "certificate %zu of %s cannot be sent: %s", i + 1, cert->name,
                            nq_reason_text());
  return 0;
}

/* The key of a combined file: cert's own text, when there is one in it. */
static int open_key(nq_load_source *s, const nq_load_source *cert, const nq_tls_blob *key, const nq_tls_blob *cert_blob,
                    char *err, size_t errlen) {
  if (nq_load_given(key))
    return nq_load_open(s, key, "key", err, errlen);
  if (!nq_load_is_pkcs12(cert) && !nq_load_has_text(cert, "PRIVATE KEY-----"))
    return nq_reason_fail(err, errlen, "key is missing and %s holds none; give the certificate's private key",
                          cert->name);
  return nq_load_open(s, cert_blob, "key in certificate", err, errlen);
}

int nq_identity_load(SSL_CTX *ctx, const nq_tls_options *o, char *err, size_t errlen) {
  nq_load_source c, k;
  int rv = nq_load_open(&c, &o->cert, "certificate", err, errlen);
  if (rv)
    return rv;
  rv = open_key(&k, &c, &o->key, &o->cert, err, errlen);
  if (rv) {
    nq_load_close(&c);
    return rv;
  }
  STACK_OF(X509) *certs = NULL;
  EVP_PKEY *pkey = NULL;
  if (!(rv = nq_load_certificates(&certs, &c, o, err, errlen)) && !(rv = check_kind(certs, &c, err, errlen)) &&
      !(rv = nq_load_key(&pkey, &k, o, err, errlen)))
    rv = use(ctx, certs, pkey, &c, &k, err, errlen);
  EVP_PKEY_free(pkey);
  sk_X509_pop_free(certs, X509_free);
  nq_load_close(&k);
  nq_load_close(&c);
  return rv;
}
