/* mtu.h: how large a connection's UDP payloads may be (RFC 9000 14, RFC 8899). ngtcp2 searches upwards with probes;
 * what it leaves out is here: payloads above the usual ones only for connections whose congestion window holds many of
 * them, and the way down when a path that carried large packets carries them no longer. */
#ifndef NQ_MTU_H
#define NQ_MTU_H

#include <ngtcp2/ngtcp2.h>

#include "base/limit.h"

#define NQ_MTU_BASE 1200u   /* every path that carries QUIC carries these: RFC 9000 14 */
#define NQ_MTU_COMMON 1452u /* Ethernet's 1500 bytes, less IPv6 and UDP */
#define NQ_MTU_SIZES 8

struct nq_conn;

/* Whether packets larger than a size still arrive. */
typedef struct nq_mtu_watch {
  uint16_t holes; /* round trips in a row of which larger packets were lost, and none of them arrived */
  uint16_t found; /* the path carries them no longer */
  uint16_t lost;  /* of them */
  uint64_t clear; /* when the last was sent that arrived though it is larger, or was lost though it is not */
  uint64_t hole_at, hole_sent; /* when the last was found, and when what was lost then was sent */
} nq_mtu_watch;

typedef struct nq_mtu {
  uint8_t known;    /* loopback: the interface told its MTU, nothing to search for */
  uint8_t stalled;  /* a probe timeout: what goes out now must arrive whatever the path's MTU is */
  uint8_t doubted;  /* it may be a black hole: a small packet goes ahead of large ones, to tell it from an outage */
  uint8_t raised;   /* a packet larger than the cap arrived */
  uint16_t cap;     /* after a black hole; 0: none */
  uint16_t path;    /* the largest that the path carries */
  uint16_t payload; /* the largest of stream data for now */
  uint16_t room;    /* for a packet: as much, or more that ngtcp2 may probe, or a trial */
  uint64_t lately;  /* the last 64 packets of known outcome, a bit each: was it lost? */
  uint64_t cap_at, cap_until, acked_at;
  uint64_t trial_at, wait; /* the next packet larger than the cap, and ns between the last two */
  nq_mtu_watch watch[2];   /* NQ_MTU_COMMON, NQ_MTU_BASE */
} nq_mtu;

/* Settings for a new connection; sizes[NQ_MTU_SIZES] is read until it is made. */
void nq_mtu_settings(struct nq_conn *c, ngtcp2_settings *s, uint16_t *sizes);
/* The largest payload that the path is thought to carry. */
size_t nq_mtu_payload(const struct nq_conn *c);
/* At the start of each write, with what ngtcp2 counts. */
void nq_mtu_look(struct nq_conn *c, const ngtcp2_conn_info *info);
/* A trial was written: one packet of data larger than the cap, to see whether it arrives. */
void nq_mtu_tried(nq_mtu *m, uint64_t now);
/* A packet of n bytes was written. */
static inline void nq_mtu_wrote(nq_mtu *m, size_t n, uint64_t now) {
  if (m->cap && n > m->cap)
    nq_mtu_tried(m, now);
}
/* A packet of n bytes, sent then, arrived or is taken for lost; both if that was a mistake. */
void nq_mtu_outcome(struct nq_conn *c, uint64_t sent, size_t n, int lost);
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
