/* context.h: TLS contexts. With session.h and the others of this folder the only place that names the TLS library,
 * besides ngtcp2's own glue. */
#ifndef NQ_TLS_CONTEXT_H
#define NQ_TLS_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

typedef struct nq_tls nq_tls; /* a context: certificates, trust, ALPN; shared by connections and threads */

/* Certificates and keys may be given as a file's path or as bytes: PEM, or DER (certificate; PKCS#8, PKCS#1 or SEC1
 * key). A path is used when the bytes are NULL. */
typedef struct nq_tls_blob {
  const char *path;
  const uint8_t *data;
  size_t len;
} nq_tls_blob;

typedef struct nq_tls_options {
  int server;
  /* Server: required; client: optional, for mutual TLS. cert is the leaf, then its chain. key may be empty when the PEM
   * text of cert holds the key too. */
  nq_tls_blob cert, key;
  nq_tls_blob ca;        /* trust anchors, one or more, not only roots; empty on a client: the system's roots */
  int insecure;          /* client: accept any certificate (the caller logs a warning) */
  int verify_client;     /* server: ask for and require a client certificate signed by ca */
  const uint8_t *alpn;   /* wire form: length byte, name, ... in order of preference; required */
  size_t alpn_len;
  /* Key exchange, e.g. "X25519:P-256". NULL: X25519, P-256, P-384; a server also takes X25519MLKEM768 from a client
   * that prefers it. A client that lists a post-quantum group sends a key share for it: two datagrams of ClientHello.
   * The client's order decides. */
  const char *groups;
  const char *ciphersuites; /* NULL: TLS_AES_128_GCM_SHA256 first if the CPU has AES; the client's order decides */
  const char *keylog_path;  /* NULL: the environment's SSLKEYLOGFILE, if any; appended to, a line a write */
} nq_tls_options;

/* 0, or one sentence in err: -1: it names the file or option at fault and what to do; ENOMEM, EMFILE or ENFILE (above
 * 0): nothing is at fault, but the system lacks memory or descriptors. */
int nq_tls_new(nq_tls **out, const nq_tls_options *o, char *err, size_t errlen);
nq_tls *nq_tls_ref(nq_tls *t);
void nq_tls_unref(nq_tls *t); /* thread-safe; NULL is fine */
int nq_tls_is_server(const nq_tls *t);

const char *nq_tls_library(void); /* "AWS-LC 5.1.0" */

#endif
