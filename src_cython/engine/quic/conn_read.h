/* conn_read.h: what comes to a connection: packets, and the end of its timer. */
#ifndef NQ_CONN_READ_H
#define NQ_CONN_READ_H

#include "quic/conn.h"

void nq_conn_packet(nq_conn *c, const nq_datagram *d);
void nq_conn_on_timer(nq_conn *c);

#define NQ_PREFETCH_STEPS (1 + NGTCP2_EXT_PREFETCH_STEPS) /* first its own object */
/* Asks the processor for the memory that its next packet will touch, if it is a connection. Each step follows pointers
 * that the one before has fetched: in between, packets of other connections are handled. */
void nq_conn_prefetch(const nq_route *r, int step);

#endif
