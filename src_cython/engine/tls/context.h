/* context.h: TLS contexts. With session.h and the others of this folder the only place that names the TLS library,
 * besides ngtcp2's own glue. */
#ifndef NQ_TLS_CONTEXT_H
#define NQ_TLS_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

typedef struct nq_tls nq_tls; /* A context: certificates, trust, ALPN. Connections and threads share it. */

/* Certificates and keys may be given as a file's path or as bytes: PEM, or DER (certificate; PKCS#8, PKCS#1 or SEC1
 * key), or PKCS#12. A path is used when the bytes are NULL. */
typedef struct nq_tls_blob {
  const char *path;    /* The file; NULL or "" when there is none. */
  const uint8_t *data; /* The bytes; NULL when the path counts. */
  size_t len;          /* The number of the bytes. */
} nq_tls_blob;

typedef struct nq_tls_options {
  int server;            /* The role: 1 accepts, 0 connects. */
  nq_tls_blob cert;      /* The leaf, then its chain. A server must have one, a client may, for mutual TLS. */
  nq_tls_blob key;       /* The private key of the leaf. It may be empty when the PEM or PKCS#12 of cert holds it. */
  /* Trust anchors, one or more, not only roots; a path may be that of a directory, every file of which counts. A client
   * without takes the system's roots. */
  nq_tls_blob ca;
  const char *password; /* Of an encrypted key or PKCS#12; NULL: none. */
  size_t password_len; /* Its bytes. */
  int insecure; /* A client accepts any certificate; the caller logs a warning. */
  int verify_client; /* A server asks for and requires a client certificate signed by ca. */
  const uint8_t *alpn; /* Protocols in order of preference, each a length byte and a name (RFC 7301). Required. */
  size_t alpn_len; /* The bytes of alpn. */
  /* Key exchange, e.g. "X25519:P-256". NULL: X25519, P-256, P-384; a server also takes X25519MLKEM768 from a client
   * that prefers it. A client that lists a post-quantum group sends a key share for it: two datagrams of ClientHello.
   * The client's order decides. */
  const char *groups;
  /* NULL: TLS_AES_128_GCM_SHA256 first if the CPU has AES. The client's order decides. */
  const char *ciphersuites;
  /* The file that secrets are appended to, a line a write. NULL: the environment's SSLKEYLOGFILE, if any. */
  const char *keylog_path;
} nq_tls_options;

/* Files are read here, and again before a session of later begins, when they have changed on the disk (renewed
 * certificates). What is then no good is not used: sessions begin with what was read before, and nq_tls_trouble tells.
 *
 * 0, or one sentence in err: -1: it names the file or option at fault and what to do; ENOMEM, EMFILE or ENFILE (above
 * 0): nothing is at fault, but the system lacks memory or descriptors. */
int nq_tls_new(nq_tls **out, const nq_tls_options *o, char *err, size_t errlen);
/* One more holder, or one less; the last one frees it. From any thread; NULL may be given to unref. */
nq_tls *nq_tls_ref(nq_tls *t);
void nq_tls_unref(nq_tls *t);
/* Whether it is one for a server. */
int nq_tls_is_server(const nq_tls *t);
/* Why files that have changed could not be used when a session began last, in a sentence; "" when they are. Copied to
 * buf, always terminated. From any thread. */
void nq_tls_trouble(nq_tls *t, char *buf, size_t cap);
/* The same, once for each: 1, or 0 when there is nothing to tell that was not told. From any thread. */
int nq_tls_trouble_news(nq_tls *t, char *buf, size_t cap);

/* The TLS library and its version: "AWS-LC 5.1.0". */
const char *nq_tls_library(void);

#endif
