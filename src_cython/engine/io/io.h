/* io.h: how packets come and go: a socket as a table of functions, which is all that an endpoint sees of it. A backend
 * opens it (io/backend.h). */
#ifndef NQ_IO_H
#define NQ_IO_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/addr.h"

/* One received UDP datagram (trains from GRO come already split). */
typedef struct nq_datagram {
  const uint8_t *data;   /* The payload. */
  uint32_t len;          /* Its bytes. */
  uint8_t ecn;           /* The two ECN bits of the IP header. */
  const nq_addr *remote; /* The address that it came from. */
  const nq_addr *local;  /* The address that it was sent to: pktinfo, else the socket's own. */
} nq_datagram;

/* What a socket has done since it was opened. */
typedef struct nq_io_stats {
  uint64_t rx_calls;     /* System calls that asked for datagrams. */
  uint64_t rx_messages;  /* Messages that came; a GRO train is one. */
  uint64_t rx_datagrams; /* Datagrams that were handed out. */
  uint64_t rx_bytes;     /* Their bytes. */
  uint64_t rx_truncated; /* Messages that were longer than the room for them, and were dropped. */
  uint64_t rx_errors;    /* Calls that failed, and datagrams that were lost while receiving. */
  uint64_t rx_kernel_dropped; /* Datagrams that the kernel dropped before, as far as it said. */
  uint64_t tx_calls;     /* System calls that sent. */
  uint64_t tx_messages;  /* Messages that left; a GSO train is one. */
  uint64_t tx_datagrams; /* Datagrams that left. */
  uint64_t tx_bytes;     /* Their bytes. */
  uint64_t tx_blocked;   /* Times that the socket took nothing. */
  uint64_t tx_errors;    /* Datagrams that could not be sent, and were dropped. */
} nq_io_stats;

/* What is in use right now: what fails later is switched off. */
typedef struct nq_io_caps {
  uint8_t mmsg;          /* Whether one system call takes many messages. */
  uint8_t gso;           /* Whether trains of packets are sent as one message. */
  uint8_t gro;           /* Whether they may be received as one. */
  uint8_t ecn;           /* Whether the ECN bits are read and written. */
  uint8_t pktinfo;       /* Whether the local address of each datagram is known, and can be chosen. */
  uint32_t rcvbuf;       /* The bytes of receive buffer that the kernel granted. */
  uint32_t sndbuf;       /* The bytes of send buffer that it granted. */
  uint32_t rcvbuf_asked; /* The bytes of receive buffer that were asked for. */
} nq_io_caps;

#define NQ_IO_ERRORS 8     /* that a socket keeps until they are looked at; more of them are not kept */
#define NQ_IO_ERROR_HEAD 64 /* bytes of the datagram that an error keeps: the connection IDs of a long header */

/* A datagram that did not get through, as far as the system was told. */
typedef struct nq_io_error {
  int error;                      /* The errno. */
  uint8_t told;                   /* 1: a host or a router told it by ICMP; 0: the system did not send. */
  uint8_t head_len;               /* Bytes of head. */
  uint8_t head[NQ_IO_ERROR_HEAD]; /* Its first bytes, as far as they are known. */
  nq_addr remote;                 /* Where it was to go. */
} nq_io_error;

typedef struct nq_io nq_io;

typedef struct nq_io_ops {
  /* Receives what is there, at most one batch, without blocking. Returns the number of datagrams, 0 when nothing is
   * there (or all of it was dropped). *out is valid until the next recv on any io that shares its buffers. */
  int (*recv)(nq_io *io, const nq_datagram **out);
  /* Room for at least `need` (<= 65535) bytes to write packets into, or NULL while the socket is blocked or when there
   * is no memory. Flushes by itself when its own buffer is full. Nothing is sent before tx_push, and tx_push comes
   * before the next tx_room or flush: those take the room back. */
  uint8_t *(*tx_room)(nq_io *io, size_t need);
  /* The first len bytes of the room are packets of `segment` bytes each (the last may be shorter) to remote, sent
   * from local when it is given. Equal packets in a row to one address may leave as one train. */
  void (*tx_push)(nq_io *io, size_t len, size_t segment, const nq_addr *remote, const nq_addr *local, uint8_t ecn);
  /* Sends all that was pushed. 0, or 1 when the socket is blocked (the rest stays queued: wait for writability). */
  int (*flush)(nq_io *io);
  /* Tries once more to send what was pushed, closes and frees. */
  void (*close)(nq_io *io);
  /* NULL, or: asks the system which datagrams did not get through, and puts them into nq_io.errors, as sending does
   * with those that it could not send; and whether the socket is still there: nq_io.broken. */
  void (*ask_errors)(nq_io *io);
} nq_io_ops;

struct nq_io {
  const nq_io_ops *ops; /* What it does. */
  int fd;               /* The descriptor to wait on; -1 when there is none. */
  int blocked;          /* Whether the socket took nothing at the last flush. */
  uint32_t rx_most;     /* The messages that one receive should take, where it takes several; 0: as many as it can. */
  nq_addr local;        /* The address that it is bound to. */
  nq_io_stats stats;    /* What it has done. */
  nq_io_caps caps;      /* What it uses. */
  int broken; /* The errno that says that fd is not its socket any more: somebody has closed it. 0: it is. */
  uint32_t n_errors; /* How many of the next ones there are; whoever has looked at them sets it to 0. */
  nq_io_error errors[NQ_IO_ERRORS]; /* Datagrams that did not get through. */
};

/* One more of them; data and len: as many of its bytes as are known. */
static inline void nq_io_failed(nq_io *io, int error, int told, const nq_addr *remote, const uint8_t *data,
                                size_t len) {
  if (io->n_errors == NQ_IO_ERRORS)
    return;
  nq_io_error *e = &io->errors[io->n_errors++];
  e->error = error;
  e->told = told != 0;
  e->remote = *remote;
  e->head_len = (uint8_t)(len < NQ_IO_ERROR_HEAD ? len : NQ_IO_ERROR_HEAD);
  if (e->head_len)
    memcpy(e->head, data, e->head_len);
}

/* The clock and the randomness of a loop; the simulated network has its own (io/sim.h). */
typedef struct nq_env {
  void *ctx; /* What both functions are given. */
  uint64_t (*now)(void *ctx); /* The monotonic time, in ns. */
  void (*random)(void *ctx, uint8_t *dst, size_t n); /* Fills dst with cryptographically secure bytes. */
} nq_env;

#endif
