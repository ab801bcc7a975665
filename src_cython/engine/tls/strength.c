/* The TLS library has no security levels: it verifies with keys and digests of any strength, and does not look at the
 * constraints of a trust anchor that issued itself. */
#include "tls/strength.h"

#include <openssl/digest.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/obj.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#define RSA_BITS 2048    /* 112 bits of strength, as in OpenSSL's level 2. */
#define EC_BITS 224      /* The same for elliptic curves. */
#define DIGEST_BYTES 28  /* The same for digests. */

/* The name of the subject in quotes, with what might be hidden in it made visible. */
static const char *name_of(const X509 *x, char *buf, size_t cap) {
  static const int kinds[] = {NID_commonName, NID_organizationalUnitName, NID_organizationName};
  const X509_NAME *subject = X509_get_subject_name(x);
  const ASN1_STRING *s = NULL;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !s; i++) {
    int at = X509_NAME_get_index_by_NID(subject, kinds[i], -1);
    s = at < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
  }
  if (!s || ASN1_STRING_length(s) <= 0) {
    snprintf(buf, cap, "a subject without a name");
    return buf;
  }
  size_t n = (size_t)ASN1_STRING_length(s), at = 0;
  const uint8_t *p = ASN1_STRING_get0_data(s);
  buf[at++] = '\'';
  for (size_t i = 0; i < n && at < cap - 2; i++)
    buf[at++] = (char)(p[i] >= 32 && p[i] < 127 ? p[i] : '?');
  buf[at++] = '\'';
  buf[at] = 0;
  return buf;
}

/* The kind of a key that the library cannot use, by its name or its number. */
static void kind_of(X509 *x, char *buf, size_t cap) {
  ASN1_OBJECT *kind = NULL;
  X509_ALGOR *algorithm = NULL;
  const void *value = NULL;
  int type = V_ASN1_UNDEF;
  snprintf(buf, cap, "an unknown kind");
  if (!X509_PUBKEY_get0_param(&kind, NULL, NULL, &algorithm, X509_get_X509_PUBKEY(x)))
    return;
  X509_ALGOR_get0(NULL, &type, &value, algorithm);
  if (type == V_ASN1_OBJECT) /* a named curve says more than that it is one */
    OBJ_obj2txt(buf, (int)cap, value, 0);
  else
    OBJ_obj2txt(buf, (int)cap, kind, 0);
}

int nq_strength_key(X509 *x, char *why, size_t cap) {
  EVP_PKEY *key = X509_get0_pubkey(x);
  char name[80], kind[64];
  if (!key) {
    kind_of(x, kind, sizeof kind);
    snprintf(why, cap,
             "the certificate of %s has a key of a kind that is not supported (%s); use ECDSA, RSA or Ed25519",
             name_of(x, name, sizeof name), kind);
    ERR_clear_error();
    return 0;
  }
  int bits = EVP_PKEY_bits(key), id = EVP_PKEY_id(key), most = 0;
  if (id == EVP_PKEY_RSA || id == EVP_PKEY_RSA_PSS || id == EVP_PKEY_DSA)
    most = RSA_BITS;
  else if (id == EVP_PKEY_EC)
    most = EC_BITS;
  if (bits >= most)
    return 1;
  snprintf(why, cap, "the certificate of %s has a key of %d bits, which is too weak (%s): %d or more are needed",
           name_of(x, name, sizeof name), bits, id == EVP_PKEY_EC ? "EC" : "RSA", most);
  return 0;
}

int nq_strength_signature(X509 *x, char *why, size_t cap) {
  int digest = NID_undef, nid = X509_get_signature_nid(x);
  char name[80];
  if (!OBJ_find_sigid_algs(nid, &digest, NULL))
    return 1; /* of no kind that the library could have verified */
#ifdef OPENSSL_IS_AWSLC
  if (digest == NID_undef && nid == NID_rsassaPss && !X509_get_signature_info(x, &digest, NULL, NULL, NULL))
    digest = NID_undef;
#endif
  const EVP_MD *md = digest == NID_undef ? NULL : EVP_get_digestbynid(digest);
  if (digest == NID_undef || (md && EVP_MD_size(md) >= DIGEST_BYTES))
    return 1;
  snprintf(why, cap, "the certificate of %s is signed with %s, which is too weak: have it signed with SHA-256",
           name_of(x, name, sizeof name), digest == NID_sha1 ? "SHA-1" : OBJ_nid2sn(digest));
  return 0;
}

int nq_strength_tls13(X509 *x, char *why, size_t cap) {
  EVP_PKEY *key = X509_get0_pubkey(x);
  char name[80];
  const char *kind = NULL;
  int id = key ? EVP_PKEY_id(key) : NID_undef;
  if (!nq_strength_key(x, why, cap))
    return 0;
  if (id == EVP_PKEY_EC) {
    int curve = EC_GROUP_get_curve_name(EC_KEY_get0_group(EVP_PKEY_get0_EC_KEY(key)));
    if (curve != NID_X9_62_prime256v1 && curve != NID_secp384r1 && curve != NID_secp521r1)
      kind = OBJ_nid2sn(curve);
  } else if (id != EVP_PKEY_RSA && id != EVP_PKEY_ED25519) {
    kind = OBJ_nid2sn(id);
  }
  if (kind) {
    snprintf(
        why, cap,
        "the certificate of %s has a key (%s) that TLS 1.3 cannot sign with; use ECDSA with P-256, P-384 or P-521, "
        "RSA or Ed25519",
        name_of(x, name, sizeof name), kind);
    return 0;
  }
  if (X509_get_key_usage(x) & X509v3_KU_DIGITAL_SIGNATURE)
    return 1; /* or it says nothing of its use, which the library gives as every bit */
  snprintf(why, cap,
           "the certificate of %s is not for signing: its keyUsage lacks digitalSignature, which TLS 1.3 needs",
           name_of(x, name, sizeof name));
  return 0;
}

int nq_strength_chain(STACK_OF(X509) * chain, int *error, char *why, size_t cap) {
  size_t n = chain ? sk_X509_num(chain) : 0;
  long below = 0; /* intermediates between the leaf and this one, without those that issued themselves */
  char name[80];
  *error = X509_V_ERR_CERT_REJECTED;
  for (size_t i = 0; i < n; i++) {
    X509 *x = sk_X509_value(chain, i);
    /* An anchor is trusted for what it is, whoever signed it. */
    if (!nq_strength_key(x, why, cap) || (i + 1 < n && !nq_strength_signature(x, why, cap)))
      return 0;
    long most = i ? X509_get_pathlen(x) : -1;
    if (most >= 0 && below > most) {
      snprintf(why, cap, "%s may have at most %ld authorities below it (path length), and there are %ld",
               name_of(x, name, sizeof name), most, below);
      *error = X509_V_ERR_PATH_LENGTH_EXCEEDED;
      return 0;
    }
    below += i && !(X509_get_extension_flags(x) & EXFLAG_SI);
  }
  *error = X509_V_OK;
  return 1;
}
