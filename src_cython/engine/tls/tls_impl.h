/* tls_impl.h: the structs that the files of this folder share. Others include context.h, session.h and the like. */
#ifndef NQ_TLS_IMPL_H
#define NQ_TLS_IMPL_H

#include <ngtcp2/ngtcp2_crypto.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tls/context.h"
#include "tls/files.h"
#include "tls/keylog.h"
#include "tls/strength.h"
#include "tls/verify.h"

/* What was read from files and bytes. A session keeps those that it began with. */
typedef struct nq_credentials {
  atomic_uint refs;            /* The context, and one for every session. */
  SSL_CTX *ctx;                /* The library's context. */
  const nq_keylog *keylog;     /* Where secrets are written; NULL: nowhere. */
  nq_verified *verified;       /* The chains that were found good; NULL when nothing is verified. */
  char missing[NQ_FILES_SAID]; /* What of the system's roots could not be read, "" for nothing. */
} nq_credentials;

struct nq_tls {
  atomic_uint refs;         /* Holders of the pointer, and one for every session. */
  int server;               /* Whether it is one for a server. */
  int insecure;             /* Whether a client accepts any certificate. */
  pthread_mutex_t lock;     /* Of now, options, state and trouble. */
  nq_credentials *now;      /* What new sessions begin with. */
  nq_tls_options *options;  /* What it was made from, its own copy; NULL when no file can change. */
  nq_files_state state;     /* Of the files when they were read last, be it without success. */
  int told;                /* Whether somebody was told of trouble. */
  char trouble[512];        /* Why they could not be used then; "" when they are in use. */
  size_t alpn_len;          /* The bytes of alpn. */
  uint8_t alpn[];           /* Protocols in order of preference, each a length byte and a name. */
};

/* One more holder of what new sessions begin with; files that have changed on the disk are read first. */
nq_credentials *nq_credentials_current(nq_tls *t);
/* One holder less; NULL may be given. */
void nq_credentials_unref(nq_credentials *c);

#define NQ_VERIFIED_MOST 64 /* The chains that a context remembers: the latest ones. */

typedef struct nq_verified_chain {
  uint8_t key[32]; /* A digest of all that the answer depends on. */
  int64_t from;    /* When it becomes good, in seconds since 1970. */
  int64_t until;   /* When it is no longer good. */
} nq_verified_chain;

struct nq_verified {
  pthread_mutex_t lock;                        /* Of all that follows: connections of all threads ask. */
  unsigned next;                               /* The place of the oldest chain, which the next one takes. */
  nq_verified_chain chains[NQ_VERIFIED_MOST]; /* The chains, in a ring. */
};

/* The library's callbacks find this at the SSL. It is kept there and not under an index of its own: the library needs
 * memory to free what is under one, and without memory leaks it. */
typedef struct nq_tls_session_data {
  ngtcp2_crypto_conn_ref ref;     /* The first member, because ngtcp2 takes the whole for it. */
  ngtcp2_crypto_conn_ref *engine; /* The one that the engine gave, which finds the connection. */
  nq_tls *tls;                    /* The context, of which this is a holder. */
  nq_credentials *credentials;    /* What it began with, of which this is a holder. */
  char found[NQ_STRENGTH_SAID]; /* Why the peer's chain was refused when the library has no words for it, else "". */
  char host[]; /* The name that a client asked for, without a dot at its end; "" on a server. */
} nq_tls_session_data;

/* The name or address that the peer's certificate must be for, "" when there is none. */
static inline const char *nq_tls_session_host(const SSL *ssl) {
  const nq_tls_session_data *s = SSL_get_app_data(ssl);
  return s ? s->host : "";
}

#endif
