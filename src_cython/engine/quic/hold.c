/* hold.c: see hold.h. */
#include "quic/hold.h"

#include "quic/stream_out.h"

#define NQ_REPLIES_MOST NQ_MIB(1) /* bytes of replies that wait to be sent */
#define NQ_REPLIES_SCARCE NQ_KIB(64) /* ... to a peer that gives no credit for them */
#define NQ_TURN_SCARCE 4 /* its requests in a tick: what their handlers reply is known only afterwards */

static int waits(const nq_stream *s) { return s->keeps || (s->withheld && !s->opened && !s->outgoing); }

void nq_hold_look(nq_conn *c) {
  int scarce = c->narrow || (c->replies && (c->n_blocked || c->starved));
  uint64_t most = scarce ? NQ_REPLIES_SCARCE : NQ_REPLIES_MOST, bound = c->limits.max_send_queue / 2;
  c->replies_most = most < bound ? most : bound;
  c->turn.most = scarce ? NQ_TURN_SCARCE : UINT32_MAX;
  if (c->hold & NQ_HOLD_REPLIES && c->replies <= c->replies_most / 2 && c->queued <= nq_stream_conn_high(c))
    nq_hold_set(c, NQ_HOLD_REPLIES, 0);
  else if (c->queued > c->limits.max_send_queue && c->replies)
    nq_hold_set(c, NQ_HOLD_REPLIES, 1);
}

void nq_hold_set(nq_conn *c, unsigned reason, int on) {
  unsigned before = c->hold;
  c->hold = (uint8_t)(on ? before | reason : before & ~reason);
  if (c->hold & ~before & NQ_HOLD_REPLIES)
    c->hub->stats.reply_holds++;
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
