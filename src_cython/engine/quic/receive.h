/* receive.h: packets in: from the socket to the connection they belong to, or to whoever answers for none. */
#ifndef NQ_RECEIVE_H
#define NQ_RECEIVE_H

#include "quic/endpoint.h"

/* What waited from the tick before, then one batch of packets. Number of datagrams. */
int nq_receive(nq_endpoint *ep);
/* One datagram, be it forwarded by another loop of the group. */
void nq_receive_packet(nq_endpoint *ep, const nq_datagram *d);

#endif
