/* closing.h: a connection that is over, for three PTOs (RFC 9000 10.2). */
#ifndef NQ_CLOSING_H
#define NQ_CLOSING_H

#include "quic/endpoint.h"

/* closing answers with its CONNECTION_CLOSE, draining is silent. */
typedef struct nq_closing {
  nq_route route; /* first: a route is cast to the record */
  nq_timer timer; /* the end of the three PTOs */
  nq_endpoint *ep;
  struct nq_closing *next, *prev; /* of the endpoint */
  nq_addr remote, local;          /* of the connection when it ended */
  uint32_t received, answer_at;   /* answers back off: packet 1, 2, 4, 8... */
  uint16_t packet_len, n_cids;
  uint8_t kept;       /* there is room for its timer */
  uint8_t *packet;    /* what it answers with; NULL: draining */
  ngtcp2_cid cids[];  /* that it stands for */
} nq_closing;

/* The record takes the place of its connection until the deadline; without memory for that it is freed. */
void nq_closing_add(nq_endpoint *ep, nq_closing *z, uint64_t deadline);
void nq_closing_free(nq_closing *z);
/* A packet for the connection that was. */
void nq_closing_packet(nq_closing *z);

#endif
