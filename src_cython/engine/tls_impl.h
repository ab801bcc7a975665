/* tls_impl.h: what tls.c, tls_load.c and tls_keylog.c share. Not for other modules: they include tls.h. */
#ifndef NQ_TLS_IMPL_H
#define NQ_TLS_IMPL_H

#include "tls.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdatomic.h>

typedef struct nq_keylog nq_keylog; /* an open key log; lives as long as the process */

struct nq_tls {
  atomic_uint refs; /* holders of the pointer, and one for every session */
  SSL_CTX *ctx;
  int server, insecure;
  const nq_keylog *keylog; /* NULL: none */
  size_t alpn_len;
  uint8_t alpn[]; /* wire form, in order of preference */
};

/* Writes the sentence to err (always terminated) and clears the library's error queue. Returns -1. */
int nq_tls_fail(char *err, size_t errlen, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Why the library refused, in its own words; never NULL. To be read before nq_tls_fail is called. */
const char *nq_tls_reason(void);
/* The environment, but not for a setuid program. NULL when unset or empty. */
const char *nq_tls_getenv(const char *name);

static inline int nq_tls_blob_given(const nq_tls_blob *b) { return b->data || (b->path && b->path[0]); }

/* Puts the certificate, its chain and its key into the context. An empty key means that cert holds it too. 0 or -1. */
int nq_tls_load_identity(SSL_CTX *ctx, const nq_tls_blob *cert, const nq_tls_blob *key, char *err, size_t errlen);
/* A new reference to a store of trust anchors, NULL on failure. */
X509_STORE *nq_tls_load_anchors(const nq_tls_blob *ca, char *err, size_t errlen);
/* The same for the system's roots: read once, and again only when the files or the environment have changed. */
X509_STORE *nq_tls_system_roots(char *err, size_t errlen);

/* Opens path for appending, once per process. path NULL: SSLKEYLOGFILE; *out is NULL when that is unset. 0 or -1. */
int nq_keylog_open(const nq_keylog **out, const char *path, char *err, size_t errlen);
/* One line (without its newline), one write(2). From any thread. */
void nq_keylog_write(const nq_keylog *k, const char *line);

#endif
