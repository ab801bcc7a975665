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

/* So many bytes of a reply were queued. */
static inline void nq_hold_replied(nq_stream *s, uint64_t n) {
  nq_conn *c = s->c;
  s->replies += n;
  c->replies += n;
  if (c->replies > c->replies_most)
    nq_hold_set(c, NQ_HOLD_REPLIES, 1);
}

/* Something of the stream was sent, and so many bytes are left: replies are taken to be the last of them. */
static inline void nq_hold_sent(nq_stream *s, uint64_t unsent) {
  if (s->replies > unsent) {
    s->c->replies -= s->replies - unsent;
    s->replies = unsent;
  }
}

/* Packets were written: how many replies may wait from now on, and whether the connection is held for them still. */
void nq_hold_look(nq_conn *c);
#endif
