/* tls_impl.h: the structs that the files of this folder share. Others include context.h, session.h and the like. */
#ifndef NQ_TLS_IMPL_H
#define NQ_TLS_IMPL_H

#include <ngtcp2/ngtcp2_crypto.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tls/context.h"
#include "tls/keylog.h"
#include "tls/verify.h"

struct nq_tls {
  atomic_uint refs; /* holders of the pointer, and one for every session */
  SSL_CTX *ctx;
  int server, insecure;
  const nq_keylog *keylog; /* NULL: none */
  nq_verified *verified;   /* NULL: nothing is verified */
  size_t alpn_len;
  uint8_t alpn[]; /* wire form, in order of preference */
};

#define NQ_VERIFIED_MOST 64 /* chains that a context remembers: the latest */

typedef struct nq_verified_chain {
  uint8_t key[32];     /* a digest of all that it depends on */
  int64_t from, until; /* seconds since 1970: good from the first, and before the second */
} nq_verified_chain;

struct nq_verified {
  pthread_mutex_t lock;
  unsigned next; /* the oldest */
  nq_verified_chain answers[NQ_VERIFIED_MOST];
};

/* The library's callbacks find this at the SSL. It is kept there and not under an index of its own: the library needs
 * memory to free what is under one, and without memory leaks it. */
typedef struct nq_tls_session_data {
  ngtcp2_crypto_conn_ref ref; /* first: ngtcp2 takes the whole for it */
  ngtcp2_crypto_conn_ref *engine;
  nq_tls *tls;
  char host[]; /* a client's: the name that was asked for, without a dot at its end */
} nq_tls_session_data;

/* The name or address that the peer's certificate must be for, "" when there is none. */
static inline const char *nq_tls_session_host(const SSL *ssl) {
  const nq_tls_session_data *s = SSL_get_app_data(ssl);
  return s ? s->host : "";
}

#endif
