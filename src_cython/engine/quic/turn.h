/* turn.h: the turn of a connection: how many requests and records it has in a tick, beside others. Who is slow is found
 * out by loop/turns.c. */
#ifndef NQ_TURN_H
#define NQ_TURN_H

#include "quic/hub.h"

#define NQ_TIMED_TICKS 64 /* after a long tick, or one in which somebody had to wait */

typedef struct nq_turn {
  uint64_t tick; /* the one that `taken` is of */
  uint32_t most; /* requests that it may have in a tick, beside others or alone */
  uint32_t taken; /* requests and records of the connection in that tick */
  uint32_t share; /* how many it may have in a tick while handlers are timed; 0: not known, all */
  uint64_t cost; /* ns that the handlers of one take, smoothed */
} nq_turn;

/* Whether a request is one too many for this tick, whoever else there is. */
static inline int nq_turn_over(const nq_turn *t, const nq_hub *hub) {
  return t->taken >= t->most && t->tick == hub->stats.ticks;
}

/* Takes one more request or record of this tick: 0, or 1: the connection has had its share, and this one waits for the
 * next tick. Alone, a connection has as many as it likes. */
static inline int nq_turn_take(nq_turn *t, nq_hub *hub) {
  if (t->tick != hub->stats.ticks) {
    t->tick = hub->stats.ticks;
    t->taken = 0;
  }
  if (hub->timing && t->share && t->taken >= t->share && hub->stats.connections > 1) {
    hub->timing = NQ_TIMED_TICKS;
    return 1;
  }
  t->taken++;
  hub->requests = 1;
  return 0;
}

#endif
