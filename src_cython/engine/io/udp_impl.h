/* udp_impl.h: what udp.c and udp_<os>.c share. For them and for their tests only. */
#ifndef NQ_UDP_IMPL_H
#define NQ_UDP_IMPL_H

#include <sys/types.h>
#include <sys/uio.h>

#include "io/udp.h"

enum {
  NQ_UDP_RX_MESSAGES = 32, /* taken by one recvmmsg */
  NQ_UDP_RX_BYTES = 384 << 10, /* aimed at by one recvmmsg of long trains: what a tick touches stays in the cache */
  NQ_UDP_RX_LEAST = 4,
  NQ_UDP_RX_SIZE = 65536,  /* no UDP datagram or GRO train is longer */
  NQ_UDP_RX_DATAGRAMS = 32 * 128, /* the kernel makes no train of more than 128; what exceeds the array is dropped */
  NQ_UDP_RX_RETRIES = 8, /* errors in a row before recv gives up until called again */
  NQ_UDP_RX_CONTROL = 128,
  NQ_UDP_TX_MESSAGES = 64, /* handed to one sendmmsg, and queued at most */
  NQ_UDP_TX_SIZE = 256 << 10,
  NQ_UDP_TX_SEGMENTS = 64, /* the limit of UDP_SEGMENT before Linux 6.9 */
  NQ_UDP_TX_TRAIN = 65000, /* bytes in one train: 65535 less headers, options included */
  NQ_UDP_TX_CONTROL = 96,
  NQ_UDP_TX_NOBUFS = 100, /* times a message may meet ENOBUFS before it is dropped */
  NQ_UDP_TX_POOL = 16     /* free send queues kept by a loop */
};

/* Packets queued for sending: equal segments, the last may be shorter, any number of them. */
typedef struct nq_udp_message {
  const uint8_t *data;
  uint32_t len, segment;
  uint32_t split_at; /* the offset at which the kernel refused a train */
  uint8_t split;     /* from there on, segments go one by one */
  uint8_t ecn;
  nq_addr remote, local; /* local.len 0: whatever the kernel picks */
} nq_udp_message;

/* A place in the queue, and what one send takes from it: a single packet or a train. */
typedef struct nq_udp_cursor {
  uint32_t message, offset;
} nq_udp_cursor;

typedef struct nq_udp_unit {
  nq_udp_message *m;
  const uint8_t *data;
  uint32_t len, segments;
} nq_udp_unit;

/* The send queue of a socket that has something to send; an idle one has none. */
typedef struct nq_udp_tx {
  struct nq_udp_tx *next; /* in the pool */
  uint32_t count, used;   /* messages; bytes of data */
  nq_udp_cursor head;
  unsigned nobufs;
  int room; /* tx_room gave some out */
  nq_udp_message messages[NQ_UDP_TX_MESSAGES];
#ifdef __linux__
  struct mmsghdr mm[NQ_UDP_TX_MESSAGES];
  struct iovec iov[NQ_UDP_TX_MESSAGES];
  _Alignas(struct cmsghdr) uint8_t control[NQ_UDP_TX_MESSAGES][NQ_UDP_TX_CONTROL];
#endif
  _Alignas(64) uint8_t data[NQ_UDP_TX_SIZE];
} nq_udp_tx;

typedef struct nq_udp_rx {
  nq_addr remote[NQ_UDP_RX_MESSAGES], local[NQ_UDP_RX_MESSAGES];
  nq_datagram out[NQ_UDP_RX_DATAGRAMS];
#ifdef __linux__
  uint32_t used; /* headers that the kernel has written into */
  uint32_t want; /* messages to ask for next; 0: not known */
  struct mmsghdr mm[NQ_UDP_RX_MESSAGES];
  struct iovec iov[NQ_UDP_RX_MESSAGES];
#endif
  _Alignas(struct cmsghdr) uint8_t control[NQ_UDP_RX_MESSAGES][NQ_UDP_RX_CONTROL];
  _Alignas(64) uint8_t data[NQ_UDP_RX_MESSAGES][NQ_UDP_RX_SIZE];
} nq_udp_rx;

struct nq_udp_buffers {
  nq_udp_rx *rx;
  nq_udp_tx *pool;
  unsigned pooled;
};

/* The system calls; the tests put failing ones here. */
typedef struct nq_udp_sys {
  ssize_t (*sendmsg)(int fd, const struct msghdr *m);
  ssize_t (*recvmsg)(int fd, struct msghdr *m);
#ifdef __linux__
  int (*sendmmsg)(int fd, struct mmsghdr *m, unsigned n);
  int (*recvmmsg)(int fd, struct mmsghdr *m, unsigned n);
#endif
} nq_udp_sys;

typedef struct nq_udp {
  nq_io io;
  nq_udp_buffers *shared;
  nq_udp_tx *tx;
  nq_udp_sys sys;
  uint8_t v6, wildcard;
  unsigned process; /* that opened it: a forked child neither sends nor receives with it */
} nq_udp;

/* udp.c */
int nq_udp_set(int fd, int level, int name, int value); /* setsockopt of an int; 0 or -1 */
/* If c is pktinfo, *local is the address with the socket's port, and the result 1. */
int nq_udp_get_pktinfo(const nq_udp *u, struct cmsghdr *c, nq_addr *local);
/* Writes pktinfo at c and returns the space taken. */
size_t nq_udp_put_pktinfo(const nq_udp *u, struct cmsghdr *c, const nq_addr *local);
/* Appends the datagrams of received message i (len bytes in segments) to rx->out, of which count are in use. Returns
 * the new count. */
uint32_t nq_udp_deliver(nq_udp *u, uint32_t count, uint32_t i, uint32_t len, uint32_t segment, uint8_t ecn);
/* 1 when recv should be called again after this errno; counts and limits. */
int nq_udp_recv_again(nq_udp *u, int error, int *tries);
/* The unit at *c, which moves on; 0 at the end of the queue. */
int nq_udp_next(const nq_udp *u, nq_udp_cursor *c, nq_udp_unit *unit);

/* udp_<os>.c */
#ifdef __linux__
/* Probes and switches on what o does not forbid; sets io.caps. */
void nq_udp_linux_init(nq_udp *u, const nq_udp_options *o);
/* Sends the queue from its head with one call: the number of units sent, or -errno. */
int nq_udp_linux_send(nq_udp *u);
int nq_udp_linux_recv(nq_udp *u, const nq_datagram **out);
#endif

#endif
