#include "tls/names.h"

#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/x509v3.h>

static int common_names(const X509 *x, nq_tls_on_name on_name, void *u) {
  const X509_NAME *subject = X509_get_subject_name(x);
  int rv = 0;
  for (int at = -1; !rv && (at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0;) {
    uint8_t *utf8 = NULL;
    int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    rv = n < 0 ? -1 : on_name(u, NQ_TLS_NAME_COMMON, utf8, (size_t)n);
    OPENSSL_free(utf8);
  }
  return rv;
}

static int kind_of(const GENERAL_NAME *g) {
  switch (g->type) {
  case GEN_DNS:
    return NQ_TLS_NAME_DNS;
  case GEN_IPADD:
    return NQ_TLS_NAME_IP;
  case GEN_EMAIL:
    return NQ_TLS_NAME_EMAIL;
  case GEN_URI:
    return NQ_TLS_NAME_URI;
  default:
    return -1;
  }
}

static int alternative_names(const X509 *x, nq_tls_on_name on_name, void *u) {
  int found = 0, rv = 0; /* found: -1 when there are none */
  GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, &found, NULL);
  for (size_t i = 0; !rv && all && i < sk_GENERAL_NAME_num(all); i++) {
    const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
    int kind = kind_of(g);
    if (kind >= 0) /* the union's members of these kinds are all strings */
      rv = on_name(u, kind, ASN1_STRING_get0_data(g->d.ia5), (size_t)ASN1_STRING_length(g->d.ia5));
  }
  GENERAL_NAMES_free(all);
  return rv ? rv : !all && found != -1 ? -1 : 0;
}

int nq_tls_names(const uint8_t *der, size_t len, nq_tls_on_name on_name, void *u) {
  const uint8_t *p = der;
  X509 *x = d2i_X509(NULL, &p, (long)len);
  int rv = x ? common_names(x, on_name, u) : -1;
  if (!rv)
    rv = alternative_names(x, on_name, u);
  X509_free(x);
  ERR_clear_error();
  return rv;
}
