/* dgram.h: datagrams (RFC 9221) that wait to be sent. */
#ifndef NQ_DGRAM_H
#define NQ_DGRAM_H

#include <ngtcp2/ngtcp2.h>

struct nq_conn;

/* What the frame of a datagram needs besides it in a packet: type, length, and the short header with its tag (RFC 9221
 * 5, RFC 9001 5.8). */
#define NQ_DGRAM_OVERHEAD (1 + NGTCP2_MAX_CIDLEN + 4 + 16 + 3)

typedef struct nq_dgram {
  struct nq_dgram *next;
  size_t len;
  uint8_t data[];
} nq_dgram;

/* Queues a copy. 0; 1: the oldest was dropped for it; NQ_ERR_STATE, NQ_ERR_TOOBIG, NQ_ERR_NOMEM. */
int nq_dgram_send(struct nq_conn *c, const uint8_t *data, size_t len);
/* The largest payload now; 0: not negotiated. */
size_t nq_dgram_max(const struct nq_conn *c);
void nq_dgram_drop(struct nq_conn *c);  /* the oldest */
void nq_dgram_clear(struct nq_conn *c); /* all */

#endif
