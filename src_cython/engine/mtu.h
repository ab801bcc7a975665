/* mtu.h: how large a connection's UDP payloads may be (RFC 9000 14, RFC 8899). ngtcp2 searches upwards with probes;
 * what it leaves out is here: payloads above the usual ones only for connections whose congestion window holds many of
 * them, and the way down when a path that carried large packets carries them no longer. */
#ifndef NQ_MTU_H
#define NQ_MTU_H

#include <ngtcp2/ngtcp2.h>

#include "limit.h"

#define NQ_MTU_BASE 1200u   /* every path that carries QUIC carries these: RFC 9000 14 */
#define NQ_MTU_COMMON 1452u /* Ethernet's 1500 bytes, less IPv6 and UDP */
#define NQ_MTU_SIZES 8

struct nq_conn;

/* Whether packets larger than a size still arrive. Bytes modulo 2^32; only differences are looked at. */
typedef struct nq_mtu_watch {
  uint16_t base;         /* the size */
  uint8_t holes;         /* times in a row that larger packets were lost, and none of them was acknowledged */
  uint32_t small;        /* bytes sent in packets that are not larger */
  uint32_t small_then, small_before, acked_then; /* at `since`; unacknowledged then; acknowledged then */
  uint64_t since, hole_at;
} nq_mtu_watch;

typedef struct nq_mtu {
  uint8_t known;    /* loopback: the interface told its MTU, nothing to search for */
  uint8_t stalled;  /* a probe timeout: what goes out now must arrive whatever the path's MTU is */
  uint8_t settling; /* packets from before a black hole was found are in flight: those up to sent_then */
  uint16_t cap;     /* after a black hole; 0: none */
  uint16_t path;    /* the largest that the path carries */
  uint16_t payload; /* the largest of stream data for now */
  uint16_t room;    /* for a packet: as much, or more that ngtcp2 may probe */
  uint32_t sent_then, lost_packets, lost_bytes; /* lost: when looked at last */
  uint64_t cap_until, acked_at;
  nq_mtu_watch watch[2]; /* NQ_MTU_COMMON, NQ_MTU_BASE */
} nq_mtu;

/* Settings for a new connection; sizes[NQ_MTU_SIZES] is read until it is made. */
void nq_mtu_settings(struct nq_conn *c, ngtcp2_settings *s, uint16_t *sizes);
/* The largest payload that the path is thought to carry. */
size_t nq_mtu_payload(const struct nq_conn *c);
/* At the start of each write, with what ngtcp2 counts. */
void nq_mtu_look(struct nq_conn *c, const ngtcp2_conn_info *info);
/* A packet of n bytes was written. */
static inline void nq_mtu_wrote(nq_mtu *m, size_t n) {
  for (int i = 0; i < 2; i++)
    if (n <= m->watch[i].base || n > m->path) /* larger: a probe, whose loss says nothing */
      m->watch[i].small += (uint32_t)n;
}
/* Something was acknowledged, or nothing is left to be. */
static inline void nq_mtu_acked(nq_mtu *m, uint64_t now) {
  m->acked_at = now;
  m->stalled = 0;
}
/* A timer of the connection ran out. */
void nq_mtu_timer(struct nq_conn *c);
/* A new path: what was learnt of the old one is void. */
void nq_mtu_moved(nq_mtu *m);

#endif
