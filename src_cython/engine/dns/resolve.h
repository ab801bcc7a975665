/* resolve.h: names to addresses by chosen DNS servers. A resolver has no thread of its own: the caller lends it one as
 * long as there are lookups. */
#ifndef NQ_RESOLVE_H
#define NQ_RESOLVE_H

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum {
  NQ_RESOLVE_SERVERS = 16,   /* Servers of one resolver. */
  NQ_RESOLVE_ACTIVE = 64,    /* Lookups at a time; the others wait, and their time has not begun. */
  NQ_RESOLVE_WAITING = 1024, /* Lookups that wait at most. */
  NQ_RESOLVE_ADDRESSES = 32  /* Addresses of one name, half of them IPv6; what is above is dropped. */
};

typedef struct nq_resolver nq_resolver;

typedef struct nq_resolver_options {
  const nq_addr *servers; /* The servers, asked in this order, by UDP, then by TCP when an answer was cut off. */
  size_t nservers;        /* Their number, 1 to NQ_RESOLVE_SERVERS. */
  uint64_t timeout;       /* In ns: a lookup takes at most this times the number of servers. 0: 5 s; at most a day. */
  int rotate;             /* Whether every lookup begins with the next server. */
  const char *hosts_file; /* The file that is asked before the servers; NULL: the system's. */
} nq_resolver_options;

typedef struct nq_answer {
  uint64_t id;                        /* What the lookup was asked with. */
  int status;                         /* 0, or c-ares' number: 1 no address, 4 no such name, 12 timeout, ... */
  size_t n;                           /* The number of addresses. */
  nq_addr addr[NQ_RESOLVE_ADDRESSES]; /* The addresses, IPv6 first; their port is 0. */
} nq_answer;

/* 0; NQ_ERR_ARG, NQ_ERR_NOMEM, or NQ_ERR_SYS with errno. */
int nq_resolver_new(nq_resolver **out, const nq_resolver_options *o);
/* No thread may be in nq_resolver_wait. Lookups that are left end without an answer. */
void nq_resolver_free(nq_resolver *r);
/* [any thread] Looks an ASCII name up, both families. 1: nobody waits for answers: one thread must now call
 * nq_resolver_wait until that returns 0. 0: somebody does. NQ_ERR_FULL, NQ_ERR_NOMEM; NQ_ERR_STATE: it is closed. */
int nq_resolver_ask(nq_resolver *r, const char *name, size_t len, uint64_t id);
/* Blocks. 1: *a is the answer of one lookup; each has exactly one. 0: no lookup is left, or the resolver is closed. */
int nq_resolver_wait(nq_resolver *r, nq_answer *a);
/* [any thread] No more answers: nq_resolver_wait returns 0 at once. */
void nq_resolver_close(nq_resolver *r);
/* The version of c-ares. */
const char *nq_resolver_library(void);

#endif
