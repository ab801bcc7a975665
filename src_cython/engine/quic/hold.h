/* hold.h: a connection that is held: its new work is not delivered, and the credit of the bytes that ask for it is not
 * given back, so that the peer waits. A stream that the peer opens is withheld before anybody is told of it; of streams
 * that are open already the protocol keeps what is work (app.h: go_on) and delivers everything else. */
#ifndef NQ_HOLD_H
#define NQ_HOLD_H

#include "quic/stream.h"

/* The peer opened it, and nobody is to be told of it now. */
static inline int nq_hold_unannounced(const nq_stream *s) { return s->c->hold && !s->opened && !s->outgoing; }

/* Like NQ_HOLD_REPLIES, for those that are still to come: the engine's own. */
#define NQ_HOLD_ASKED 4
/* These hold what is in the batch, too. */
#define NQ_HOLD_BATCH (NQ_HOLD_TASKS | NQ_HOLD_REPLIES)

/* Sets or clears one reason; with the last one everything goes on, from the next tick. */
void nq_hold_set(nq_conn *c, unsigned reason, int on);

/* Of a peer that gives little credit: a request more is to be answered; one less is, by so many bytes; none of those of
 * the stream will be. */
void nq_hold_asked(nq_stream *s);
void nq_hold_answered(nq_stream *s, uint64_t n);
void nq_hold_unanswered(nq_stream *s);

/* So many bytes of a reply were queued. */
static inline void nq_hold_replied(nq_stream *s, uint64_t n) {
  nq_conn *c = s->c;
  s->replies += n;
  c->replies += n;
  if (c->replies > c->replies_most)
    nq_hold_set(c, NQ_HOLD_REPLIES, 1);
  if (s->asked)
    nq_hold_answered(s, n);
}

/* A request is given to its handler. */
static inline void nq_hold_delivered(nq_stream *s) {
  if (s->c->turn.most != UINT32_MAX)
    nq_hold_asked(s);
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
