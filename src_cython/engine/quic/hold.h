/* hold.h: a connection that is held: its new work is not delivered, and the credit of the bytes that ask for it is not
 * given back, so that the peer waits. A stream that the peer opens is withheld before anybody is told of it; of streams
 * that are open already the protocol keeps what is work (app.h: go_on) and delivers everything else. */
#ifndef NQ_HOLD_H
#define NQ_HOLD_H

#include "quic/stream.h"

/* The peer opened it, and nobody is to be told of it now. */
static inline int nq_hold_unannounced(const nq_stream *s) { return s->c->hold && !s->opened && !s->outgoing; }

/* Sets or clears one reason; with the last one everything goes on, from the next tick. */
void nq_hold_set(nq_conn *c, unsigned reason, int on);

#endif
