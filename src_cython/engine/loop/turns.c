/* turns.c: see turns.h. */
#include "loop/turns.h"

#include "quic/stream.h"

#define NQ_LONG_TICK NQ_MSEC(2) /* of handlers: above it they are timed */
#define NQ_SHARE_TIME NQ_MSEC(1) /* of a tick, for the handlers of one connection: but one request it always has */

void nq_turns_end_tick(nq_loop *l) {
  l->hub.requests = 0;
  if (nq_hub_clock(&l->hub) - l->given_at > NQ_LONG_TICK)
    l->hub.timing = NQ_TIMED_TICKS;
  else if (l->hub.timing)
    l->hub.timing--;
}

int nq_loop_timing(const nq_loop *l) { return l->hub.timing != 0; }

static void spent(nq_loop *l, uint64_t ns) {
  nq_stream *s = nq_stream_get(&l->hub, l->timed);
  if (!s)
    return;
  nq_turn *t = &s->c->turn;
  uint64_t one = ns / l->timed_events;
  /* Faster down than up: what the system did meanwhile is in it too. */
  t->cost = !t->cost ? one : one < t->cost ? (t->cost + one) / 2 : (3 * t->cost + one) / 4;
  uint64_t share = NQ_SHARE_TIME / (t->cost ? t->cost : 1);
  t->share = share < 1 ? 1 : share > UINT32_MAX ? UINT32_MAX : (uint32_t)share;
}

/* Events of one stream in a row are timed together: the clock costs as much as a fast handler. */
void nq_loop_time(nq_loop *l, const nq_event *next) {
  int counts =
      next && (next->kind == NQ_EV_RPC_REQUEST || next->kind == NQ_EV_RPC_NOTIFY || next->kind == NQ_EV_STREAM_RECORD);
  nq_handle h = counts ? next->handle : 0;
  if (h && h == l->timed) {
    l->timed_events++;
    return;
  }
  if (!h && !l->timed)
    return;
  uint64_t now = nq_hub_clock(&l->hub);
  if (l->timed)
    spent(l, now - l->timed_since);
  l->timed = h;
  l->timed_since = now;
  l->timed_events = 1;
}
