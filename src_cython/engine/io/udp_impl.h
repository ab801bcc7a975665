/* udp_impl.h: what the UDP backends share. For them and for their tests only. */
#ifndef NQ_UDP_IMPL_H
#define NQ_UDP_IMPL_H

#include <errno.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "io/backend.h"

enum {
  NQ_UDP_RX_MESSAGES = 32,        /* Messages that one recvmmsg takes. */
  NQ_UDP_RX_BYTES = 384 << 10, /* Bytes that one recvmmsg of long trains takes: what a tick touches stays cached. */
  NQ_UDP_RX_LEAST = 4, /* Messages that one recvmmsg takes however long they are. */
  NQ_UDP_RX_SIZE = 65536, /* Bytes for one message: no UDP datagram or GRO train is longer. */
  NQ_UDP_RX_DATAGRAMS = 32 * 128, /* The kernel makes no train of more than 128; what exceeds the array is dropped. */
  NQ_UDP_RX_RETRIES = 8, /* Errors in a row before recv gives up until it is called again. */
  NQ_UDP_RX_CONTROL = 128, /* Bytes for the control messages of one received message. */
  NQ_UDP_TX_MESSAGES = 64, /* Messages that are queued at most, and handed to one sendmmsg. */
  NQ_UDP_TX_SIZE = 256 << 10, /* Bytes of packets that are queued at most. */
  NQ_UDP_TX_SEGMENTS = 64, /* Packets in one train: the limit of UDP_SEGMENT before Linux 6.9. */
  NQ_UDP_TX_TRAIN = 65000, /* Bytes in one train: 65535 less headers, options included. */
  NQ_UDP_TX_CONTROL = 96, /* Bytes for the control messages of one sent message. */
  NQ_UDP_TX_NOBUFS = 100, /* Times that a message may meet ENOBUFS before it is dropped. */
  NQ_UDP_TX_AGAIN = 8, /* Times that a message is tried again after an error that may be of another one. */
  NQ_UDP_TX_POOL = 16 /* Free send queues that a loop keeps. */
};

/* Packets queued for sending: equal segments, the last may be shorter, any number of them. */
typedef struct nq_udp_message {
  const uint8_t *data; /* The packets, one behind the other. */
  uint32_t len; /* The bytes of all of them. */
  uint32_t segment; /* The bytes of each; the last may have fewer. */
  uint32_t split_at; /* The offset at which the kernel refused a train. */
  uint8_t split; /* Whether it did: from there on, packets go one by one. */
  uint8_t ecn; /* The ECN bits that they carry. */
  nq_addr remote; /* Where they go. */
  nq_addr local; /* Where they come from; no address: what the kernel picks. */
} nq_udp_message;

/* A place in the queue, and what one send takes from it: a single packet or a train. */
typedef struct nq_udp_cursor {
  uint32_t message; /* The index of the message. */
  uint32_t offset; /* The bytes of it that lie before the place. */
} nq_udp_cursor;

typedef struct nq_udp_unit {
  nq_udp_message *m; /* The message that it is a part of. */
  const uint8_t *data; /* Its first byte. */
  uint32_t len; /* Its bytes. */
  uint32_t segments; /* Its packets. */
} nq_udp_unit;

/* The send queue of a socket that has something to send; an idle one has none. */
typedef struct nq_udp_tx {
  struct nq_udp_tx *next; /* The next free queue in the pool. */
  uint32_t count; /* The messages that are queued. */
  uint32_t used; /* The bytes of data that they take. */
  nq_udp_cursor head; /* What is sent next. */
  unsigned nobufs; /* How often in a row the head has met ENOBUFS. */
  unsigned again; /* How often the head was tried again after an error that may have been of another datagram. */
  int room; /* Whether tx_room gave some out, which was not pushed yet. */
  nq_udp_message messages[NQ_UDP_TX_MESSAGES]; /* The messages, in the order in which they were pushed. */
#ifdef __linux__
  struct mmsghdr mm[NQ_UDP_TX_MESSAGES];
  struct iovec iov[NQ_UDP_TX_MESSAGES];
  _Alignas(struct cmsghdr) uint8_t control[NQ_UDP_TX_MESSAGES][NQ_UDP_TX_CONTROL];
#endif
  _Alignas(64) uint8_t data[NQ_UDP_TX_SIZE];
} nq_udp_tx;

/* What one receive fills: the messages, and the headers that recvmmsg is given. */
typedef struct nq_udp_rx {
  nq_addr remote[NQ_UDP_RX_MESSAGES];   /* Where each message came from. */
  nq_addr local[NQ_UDP_RX_MESSAGES];    /* Where it was sent to; no address: to the socket's own. */
  nq_datagram out[NQ_UDP_RX_DATAGRAMS]; /* What is handed out: the messages, trains taken apart. */
#ifdef __linux__
  uint32_t used; /* Headers that the kernel has written into. */
  uint32_t want; /* Messages to ask for next; 0 when that is not known. */
  struct mmsghdr mm[NQ_UDP_RX_MESSAGES];
  struct iovec iov[NQ_UDP_RX_MESSAGES];
#endif
  _Alignas(struct cmsghdr) uint8_t control[NQ_UDP_RX_MESSAGES][NQ_UDP_RX_CONTROL];
  _Alignas(64) uint8_t data[NQ_UDP_RX_MESSAGES][NQ_UDP_RX_SIZE];
} nq_udp_rx;

/* What the sockets of one loop share. */
typedef struct nq_udp_buffers {
  nq_udp_rx *rx; /* Where all of them receive; NULL before the first one opens. */
  nq_udp_tx *pool; /* Free send queues. */
  unsigned pooled; /* Their number. */
} nq_udp_buffers;

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
  nq_io io; /* The first member, because an nq_io is cast to its socket. */
  nq_udp_buffers *shared; /* What it shares with the other sockets of its loop. */
  nq_udp_tx *tx; /* Its send queue; NULL when there is nothing to send. */
  nq_udp_sys sys; /* The system calls that it uses. */
  uint8_t v6; /* Whether it is one of IPv6. */
  uint8_t wildcard; /* Whether it is bound to all addresses. */
  uint8_t overflow; /* Whether the kernel says how many datagrams it dropped (SO_RXQ_OVFL). */
  uint32_t dropped; /* What it said last: of this socket, since it was made, modulo 2^32. */
  unsigned process; /* The process that opened it: a forked child neither sends nor receives with it. */
} nq_udp;

/* udp_common.c */

/* setsockopt of an int: 0 or -1. */
int nq_udp_set(int fd, int level, int name, int value);
/* If c is pktinfo, *local is the address with the socket's port, and the result 1. */
int nq_udp_get_pktinfo(const nq_udp *u, struct cmsghdr *c, nq_addr *local);
/* If c says how many datagrams the kernel dropped, they are counted, and the result is 1. */
int nq_udp_get_dropped(nq_udp *u, struct cmsghdr *c);
/* Writes pktinfo at c and returns the space taken. */
size_t nq_udp_put_pktinfo(const nq_udp *u, struct cmsghdr *c, const nq_addr *local);
/* Appends the datagrams of received message i (len bytes in segments) to rx->out, of which count are in use. Returns
 * the new count. */
uint32_t nq_udp_deliver(nq_udp *u, uint32_t count, uint32_t i, uint32_t len, uint32_t segment, uint8_t ecn);
/* 1 when recv should be called again after this errno; counts and limits. */
int nq_udp_recv_again(nq_udp *u, int error, int *tries);
/* The unit at *c, which moves on; 0 at the end of the queue. */
int nq_udp_next(const nq_udp *u, nq_udp_cursor *c, nq_udp_unit *unit);
/* Sends the whole queue: `send` sends from its head, and returns the number of units that have left, or -errno. 0, or
 * 1 when the socket is blocked. */
int nq_udp_flush(nq_udp *u, int (*send)(nq_udp *u));
/* Those of nq_io_ops that all backends have in common. */
uint8_t *nq_udp_tx_room(nq_io *io, size_t need);
void nq_udp_tx_push(nq_io *io, size_t size, size_t segment, const nq_addr *remote, const nq_addr *local, uint8_t ecn);
void nq_udp_close(nq_io *io);
/* Those of nq_backend. The sockets of a loop share receive buffers (2 MiB, made when the first one opens; pages are
 * touched only as needed) and free send queues (256 KiB; a socket holds one only while it has something to send). */
int nq_udp_start(void **shared, void *ctx);
void nq_udp_stop(void *shared);
/* As nq_backend.open. `more` sets what the backend has of its own, before the socket is bound: the first datagram has
 * it already. */
int nq_udp_open(nq_io **out, void *shared, const nq_backend_options *o, const nq_io_ops *ops, const nq_udp_sys *sys,
                void (*more)(nq_udp *u, const nq_backend_options *o));

/* udp_error.c: the socket is to be told of datagrams that did not get through. */
void nq_udp_want_errors(const nq_udp *u);
/* Keeps what it was told; how many of them came by ICMP. */
unsigned nq_udp_take_errors(nq_udp *u);
/* An error of a call may say that the descriptor is not the socket any more. */
static inline void nq_udp_met(nq_udp *u, int error) {
  if (error == EBADF || error == ENOTSOCK)
    u->io.broken = error;
}
/* nq_io_ops.ask_errors. */
void nq_udp_ask_errors(nq_io *io);

/* udp_steer.c: nq_backend.steer, a classic BPF program where the system has that. */
int nq_udp_steer(nq_io *io, const nq_steering *s);

#endif
