/* accept.h: packets that belong to no connection. Each has one outcome: a new connection, Retry, version negotiation,
 * CONNECTION_REFUSED, stateless reset, or a drop that is counted. The answers are bounded per tick. */
#ifndef NQ_ACCEPT_H
#define NQ_ACCEPT_H

#include "quic/endpoint.h"

#define NQ_MAX_DEFERRED 1024  /* Initial packets that wait for a tick that may take them */
#define NQ_RESETS_PER_TICK 16 /* stateless resets, Retry and version negotiation: answers that cost a peer nothing */

int nq_accept_takes_more(const nq_endpoint *ep); /* new connections in this tick */
void nq_accept_unrouted(nq_endpoint *ep, const nq_datagram *d, const ngtcp2_version_cid *vc);
/* RFC 9000 6: of a version that this side does not speak. */
void nq_accept_negotiate(nq_endpoint *ep, const nq_datagram *d, const ngtcp2_version_cid *vc);

#endif
