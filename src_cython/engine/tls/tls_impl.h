/* tls_impl.h: what tls.c, tls_load.c, tls_verify.c, tls_keylog.c share. Other modules include tls.h. */
#ifndef NQ_TLS_IMPL_H
#define NQ_TLS_IMPL_H

#include "tls/tls.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct nq_keylog nq_keylog; /* an open key log; lives as long as the process */

#define NQ_VERIFIED_MOST 64 /* chains that a context remembers: the latest */

typedef struct nq_good_chain {
  uint8_t key[32];     /* a digest of all that it depends on */
  int64_t from, until; /* seconds since 1970: good from the first, and before the second */
} nq_good_chain;

typedef struct nq_verified { /* chains that were found good */
  pthread_mutex_t lock;
  unsigned next; /* the oldest */
  nq_good_chain answers[NQ_VERIFIED_MOST];
} nq_verified;

struct nq_tls {
  atomic_uint refs; /* holders of the pointer, and one for every session */
  SSL_CTX *ctx;
  int server, insecure;
  const nq_keylog *keylog; /* NULL: none */
  nq_verified *verified;   /* NULL: nothing is verified */
  size_t alpn_len;
  uint8_t alpn[]; /* wire form, in order of preference */
};

/* Writes the sentence to err (always terminated) and clears the library's error queue. Returns -1: what was given is
 * refused. When that queue says that memory ran out, that is what err tells, and the result is that of nq_tls_lack. */
int nq_tls_fail(char *err, size_t errlen, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Whether the library's error queue says that memory ran out, be it in something that succeeded. Clears it. */
int nq_tls_no_memory(void);
/* The system lacks memory or descriptors (e: ENOMEM, EMFILE or ENFILE) for this: nothing is wrong with what was given,
 * and a later try may succeed. Clears the queue. Returns e, which is above 0. */
int nq_tls_lack(char *err, size_t errlen, int e, const char *what);
static inline int nq_tls_is_lack(int e) { return e == ENOMEM || e == EMFILE || e == ENFILE; }
/* Why the library refused, in its own words; never NULL. To be read before nq_tls_fail is called. */
const char *nq_tls_reason(void);
/* The environment, but not for a setuid program. NULL when unset or empty. */
const char *nq_tls_getenv(const char *name);

static inline int nq_tls_blob_given(const nq_tls_blob *b) { return b->data || (b->path && b->path[0]); }

/* Puts the certificate, its chain and its key into the context. An empty key means that cert holds it too. 0, or as
 * nq_tls_new. */
int nq_tls_load_identity(SSL_CTX *ctx, const nq_tls_blob *cert, const nq_tls_blob *key, char *err, size_t errlen);
/* A new reference to a store of trust anchors. 0, or as nq_tls_new. */
int nq_tls_load_anchors(X509_STORE **out, const nq_tls_blob *ca, char *err, size_t errlen);
/* The same for the system's roots: read once, and again only when the files or the environment have changed. */
int nq_tls_system_roots(X509_STORE **out, char *err, size_t errlen);

nq_verified *nq_verified_new(void); /* NULL: no memory */
void nq_verified_free(nq_verified *v);
/* From any thread. */
int nq_verified_has(nq_verified *v, const uint8_t key[32], int64_t now);
void nq_verified_add(nq_verified *v, const uint8_t key[32], int64_t from, int64_t until);
/* For SSL_CTX_set_cert_verify_callback: X509_verify_cert, which is not called for what is remembered. */
int nq_tls_verify(X509_STORE_CTX *x, void *verified);
/* The name or address that the peer's certificate must be for, "" when there is none. */
const char *nq_tls_host(const SSL *ssl);

/* Opens path for appending, once per process. path NULL: SSLKEYLOGFILE; *out is NULL when that is unset. 0, or as
 * nq_tls_new. */
int nq_keylog_open(const nq_keylog **out, const char *path, char *err, size_t errlen);
/* One line (without its newline), one write(2). From any thread. */
void nq_keylog_write(const nq_keylog *k, const char *line);

#endif
