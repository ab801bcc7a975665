/* burst.h: how many connections have their turn at once: those of one receive, and of one send. */
#ifndef NQ_BURST_H
#define NQ_BURST_H

#include "quic/conn.h"

/* What a tick touches of a connection is 10 KiB: so many are in the cache still when their replies are written and, if
 * there are no more, in the next tick. */
#define NQ_TICK_CONNS 128

/* After a receive of so many messages, which gave so many connections something to write: the next one takes as many
 * as had the connections of a tick. */
void nq_burst_aim(nq_endpoint *ep, uint64_t messages, uint32_t conns);
/* A connection wrote: what was pushed is sent when it is as much as a tick's: the peer need not wait for all. */
void nq_burst_wrote(nq_endpoint *ep, nq_conn *c);
/* Sends what was pushed; arms the wait for writability when blocked. */
void nq_burst_flush(nq_endpoint *ep);

#endif
