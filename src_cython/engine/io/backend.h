/* backend.h: ways for packets to come and go. A loop takes one of them when it opens its first socket: the one that it
 * was made with (nq_loop_options), or the best that the system has of those in the list of backend.c, where a new one
 * goes. The portable one is always there, and passes the same tests. */
#ifndef NQ_BACKEND_H
#define NQ_BACKEND_H

#include "io/io.h"

/* What a socket shall be like. */
typedef struct nq_backend_options {
  nq_addr local;        /* The address to bind; port 0 picks one. */
  int no_gso;           /* Never send several packets as one train (UDP_SEGMENT). */
  int no_gro;           /* Never receive several packets as one train (UDP_GRO). */
  int no_ecn;           /* Neither read nor write the ECN bits. */
  int reuseport;        /* Join the group of sockets that are bound to this port. */
  int has_socket;       /* A duplicate of `socket`, which is bound already, is used instead of opening one. */
  int socket;           /* That descriptor. It stays the caller's. */
  int v6only;           /* An IPv6 wildcard refuses IPv4-mapped addresses. */
  uint32_t buffer_size; /* The bytes to ask for, for the receive and for the send buffer each; 0: 16 MiB. */
} nq_backend_options;

/* To which socket of a group a datagram goes: to socket (one of its bytes) % members, by the kind of its header (RFC
 * 8999 5). To socket 0 where there is no such byte. */
typedef struct nq_steering {
  uint32_t members;      /* The sockets of the group, at least 1. */
  uint32_t short_byte;   /* Where that byte is in a packet with a short header, */
  uint32_t long_byte;    /* ... and with a long one, */
  uint32_t long_present; /* ... in which the byte here is 0 if there is none. */
} nq_steering;

typedef struct nq_backend {
  const char *name; /* What a user asks for it by. */
  /* Whether this system has it: 0, or -errno. Opens nothing. */
  int (*probe)(void);
  /* Makes what all its sockets of one loop share, which is not thread-safe. ctx is that of nq_backend_start. 0, or
   * -errno. */
  int (*start)(void **shared, void *ctx);
  /* Frees that, once the last socket was closed. */
  void (*stop)(void *shared);
  /* Opens a non-blocking, close-on-exec socket. What the system does not have of what is not forbidden is left out:
   * nq_io.caps says what there is. 0, or -errno. */
  int (*open)(nq_io **out, void *shared, const nq_backend_options *o);
  /* Has the system steer the datagrams of a reuseport group, whose sockets count in the order in which they were bound.
   * One call serves the group. When a socket of the group closes, the last one takes its place. 0, or -errno. */
  int (*steer)(nq_io *io, const nq_steering *s);
} nq_backend;

/* A backend that a loop has taken. All zero: none yet. */
typedef struct nq_backend_use {
  const nq_backend *backend; /* The one; NULL: none yet. */
  void *shared;              /* What its sockets share. */
} nq_backend_use;

/* The backend of that name, be it usable on this system or not; NULL when there is none. */
const nq_backend *nq_backend_find(const char *name);
/* The backend number i in the order in which they are preferred; NULL past the last, which is the portable one. */
const nq_backend *nq_backend_at(uint32_t i);
/* Takes b, or the first in that order that the system has when b is NULL. 0, or -errno. */
int nq_backend_start(nq_backend_use *u, const nq_backend *b, void *ctx);
/* Gives it back, be there one or not. */
void nq_backend_stop(nq_backend_use *u);

#endif
