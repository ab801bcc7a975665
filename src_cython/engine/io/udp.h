/* udp.h: UDP sockets with batched receive and send. Each fast path (recvmmsg/sendmmsg, UDP_SEGMENT, UDP_GRO, ECN,
 * pktinfo) is probed when the socket opens and can fail later without loss; the portable path is always compiled. */
#ifndef NQ_UDP_H
#define NQ_UDP_H

#include "io/io.h"

/* What the sockets of one loop share: receive buffers (2 MiB, made when the first socket opens; pages are touched only
 * as needed) and free send queues (256 KiB; a socket holds one only while it has something to send). Outlives its
 * sockets. Not thread-safe. */
typedef struct nq_udp_buffers nq_udp_buffers;
nq_udp_buffers *nq_udp_buffers_new(void); /* NULL: no memory */
void nq_udp_buffers_free(nq_udp_buffers *b);

typedef struct nq_udp_options {
  nq_addr local;        /* where to bind; port 0 picks one */
  int portable;         /* use only recvmsg/sendmsg: no batching, GSO, GRO */
  int no_gso, no_gro, no_ecn;
  int reuseport;        /* join a group of sockets on this port */
  int v6only;           /* for an IPv6 wildcard: refuse IPv4-mapped */
  uint32_t buffer_size; /* SO_RCVBUF/SO_SNDBUF to ask for; 0: 16 MiB */
} nq_udp_options;

/* Opens a non-blocking, close-on-exec socket. 0, or -errno. */
int nq_udp_open(nq_io **out, nq_udp_buffers *shared, const nq_udp_options *o);

/* Attaches a classic BPF program to a reuseport group: datagrams go to socket (first byte of the destination
 * connection ID) % n, in the order in which the sockets were bound; to socket 0 when there is no such byte. One call
 * serves the group. When a socket of the group closes, the last one takes its place. 0, or -errno. */
int nq_udp_steer(nq_io *io, uint32_t n);

/* The largest UDP payload that the loopback interface carries in one piece over either IP; 0: the system does not say.
 */
size_t nq_udp_loopback_payload(const nq_io *io);

#endif
