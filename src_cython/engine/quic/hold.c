/* hold.c: see hold.h. */
#include "quic/hold.h"

static int waits(const nq_stream *s) { return s->keeps || (s->withheld && !s->opened && !s->outgoing); }

void nq_hold_set(nq_conn *c, unsigned reason, int on) {
  unsigned before = c->hold;
  c->hold = (uint8_t)(on ? before | reason : before & ~reason);
  if (!before && c->hold)
    c->hub->stats.held_connections++;
  else if (before && !c->hold)
    c->hub->stats.held_connections--;
  if (c->hold || !before || !c->open)
    return;
  nq_stream *s = c->streams;
  while (s && s->next)
    s = s->next;
  for (; s; s = s->prev) /* the oldest first */
    if (waits(s) && !s->paused && !s->closed)
      nq_stream_schedule(s);
}
