/* load.h: certificates and keys, from files or memory, PEM, DER or PKCS#12. For the files of this folder. */
#ifndef NQ_LOAD_H
#define NQ_LOAD_H

#include <openssl/x509.h>

#include "tls/context.h"

/* What a blob holds. */
typedef struct nq_load_source {
  const uint8_t *data; /* The bytes, without a byte order mark. */
  size_t len;          /* Their number, at least one. */
  uint8_t *own;        /* The memory that a file was read into, which is wiped and freed at the end; else NULL. */
  size_t own_cap;      /* The bytes of that memory. */
  char name[512];      /* What a sentence calls it: "certificate file '/etc/x.pem'", "key (given as bytes)". */
} nq_load_source;

/* Whether anything was given at all. */
static inline int nq_load_given(const nq_tls_blob *b) { return b->data || (b->path && b->path[0]); }

/* Reads a blob, which a sentence calls `what`. 0, or as nq_tls_new; nothing is to be closed then. */
int nq_load_open(nq_load_source *s, const nq_tls_blob *b, const char *what, char *err, size_t errlen);
/* Wipes and frees what was read. */
void nq_load_close(nq_load_source *s);
/* Whether this word is in it. */
int nq_load_has_text(const nq_load_source *s, const char *word);
/* All certificates in it, in their order (of PKCS#12: first the one that its key belongs to), for the caller to free;
 * at least one. o has the password. 0, or as nq_tls_new. */
int nq_load_certificates(STACK_OF(X509) * *out, const nq_load_source *s, const nq_tls_options *o, char *err,
                         size_t errlen);
/* Whether it is PKCS#12, which may hold a key beside certificates. */
int nq_load_is_pkcs12(const nq_load_source *s);
/* The private key in it, for the caller to free. o has the password. 0, or as nq_tls_new. */
int nq_load_key(EVP_PKEY **out, const nq_load_source *s, const nq_tls_options *o, char *err, size_t errlen);

#endif
