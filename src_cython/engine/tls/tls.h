/* tls.h: TLS contexts and sessions. The only module that names the TLS library (besides ngtcp2's own glue). */
#ifndef NQ_TLS_H
#define NQ_TLS_H

#include <stddef.h>
#include <stdint.h>

typedef struct nq_tls nq_tls;   /* a context: certificates, trust, ALPN; shared by connections and threads */
typedef void nq_tls_session;    /* one handshake: what ngtcp2 calls the native handle */

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

/* A session. conn_ref is the ngtcp2_crypto_conn_ref that ngtcp2's TLS callbacks find through the session. server_name
 * (client): SNI and the name or IP address the certificate must be for. NULL: no memory, or the name does not suffice.
 * The session holds t. */
nq_tls_session *nq_tls_session_new(nq_tls *t, void *conn_ref, const char *server_name);
/* 0: a client that verifies was given no name that the certificate could be for. */
int nq_tls_name_suffices(const nq_tls *t, const char *server_name);
void nq_tls_session_free(nq_tls_session *s);

/* After the handshake. Strings are copied to buf, always terminated, "" when there is none. */
void nq_tls_session_alpn(nq_tls_session *s, char *buf, size_t cap);
void nq_tls_session_cipher(nq_tls_session *s, char *buf, size_t cap); /* "TLS_AES_128_GCM_SHA256" */
void nq_tls_session_group(nq_tls_session *s, char *buf, size_t cap);  /* "X25519" */
/* Certificate i (0 = leaf) of the peer as DER: its size, 0 when there is none; copies when cap suffices. */
size_t nq_tls_session_peer_cert(nq_tls_session *s, unsigned i, uint8_t *buf, size_t cap);
/* Why verification failed, in words ("certificate has expired (X509 error 10)", "certificate is not for 'a.example' but
 * for 'b.example' (X509 error 62)"), "" when it did not. */
void nq_tls_session_error(nq_tls_session *s, char *buf, size_t cap);
/* "unknown_ca" for alert 48, "alert 200" for one without a name. Static or written to buf. */
const char *nq_tls_alert_name(unsigned alert, char *buf, size_t cap);

/* Random bytes from the TLS library's generator, through a per-thread buffer (one call to it is several hundred ns). A
 * byte is handed out once, across fork too. */
void nq_tls_random(uint8_t *dst, size_t n);
/* Constant-time HMAC-SHA256(key, msg). 0, or -1: no memory, and out is not to be used. */
int nq_tls_hmac(uint8_t out[32], const uint8_t *key, size_t keylen, const uint8_t *msg, size_t len);
const char *nq_tls_library(void); /* "AWS-LC 5.1.0" */

#endif
