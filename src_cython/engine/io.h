/* io.h: how packets come and go. The endpoint sees only this; udp.c is the real one, sim.c a simulated one. */
#ifndef NQ_IO_H
#define NQ_IO_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

typedef struct nq_addr {
  union {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
  };
  socklen_t len; /* 0: no address */
} nq_addr;

int nq_addr_equal(const nq_addr *a, const nq_addr *b); /* family, address, port (and scope) */
/* "127.0.0.1" or "fe80::1%eth0" with a port. 0, or -1 when host is no numeric address. */
int nq_addr_parse(nq_addr *a, const char *host, uint16_t port);
/* "127.0.0.1:80", "[::1]:80"; always terminated. Returns buf. */
char *nq_addr_format(const nq_addr *a, char *buf, size_t cap);
uint16_t nq_addr_port(const nq_addr *a);

/* One received UDP datagram (trains from GRO come already split). */
typedef struct nq_datagram {
  const uint8_t *data;
  uint32_t len;
  uint8_t ecn; /* the two ECN bits of the IP header */
  const nq_addr *remote;
  const nq_addr *local; /* the address it was sent to: pktinfo, else the socket's own */
} nq_datagram;

typedef struct nq_io_stats {
  /* Messages: a GRO or GSO train counts once. Errors: failed calls and datagrams lost while receiving; datagrams that
   * could not be sent and were dropped. */
  uint64_t rx_calls, rx_messages, rx_datagrams, rx_bytes, rx_truncated, rx_errors;
  uint64_t tx_calls, tx_messages, tx_datagrams, tx_bytes, tx_blocked, tx_errors;
} nq_io_stats;

typedef struct nq_io_caps {
  uint8_t mmsg, gso, gro, ecn, pktinfo; /* 1 when in use right now */
  uint32_t rcvbuf, sndbuf; /* bytes the kernel granted */
  uint32_t rcvbuf_asked;
} nq_io_caps;

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
} nq_io_ops;

struct nq_io {
  const nq_io_ops *ops;
  int fd; /* to wait on, or -1 */
  int blocked;
  uint32_t rx_most; /* messages that a receive should take, where it takes several; 0: as many as it can */
  nq_addr local; /* bound address */
  nq_io_stats stats;
  nq_io_caps caps;
};

/* Who opens the sockets of a loop in place of the system: a simulated network. open: 0, or -errno. */
typedef struct nq_io_opener {
  void *ctx;
  int (*open)(void *ctx, nq_io **out, const nq_addr *local);
} nq_io_opener;

/* The clock and the randomness of a loop; a simulated network has its own. */
typedef struct nq_env {
  void *ctx;
  uint64_t (*now)(void *ctx); /* monotonic, ns */
  void (*random)(void *ctx, uint8_t *dst, size_t n); /* cryptographic */
} nq_env;

#endif
