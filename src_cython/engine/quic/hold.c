/* hold.c: see hold.h. */
#include "quic/hold.h"

#include "quic/stream_out.h"

#define NQ_REPLIES_MOST NQ_MIB(1) /* bytes of replies that wait to be sent */
#define NQ_REPLIES_SCARCE NQ_KIB(64) /* ... to a peer that gives no credit for them */
#define NQ_ASKED_MOST NQ_KIB(256) /* ... and that its requests may still be answered by */
#define NQ_REPLY_FIRST NQ_KIB(64) /* what a reply is taken to have before there was one */
#define NQ_REPLY_LEAST NQ_KIB(4) /* and at least: the next one may be another handler's */
#define NQ_EASE NQ_MSEC(100) /* handlers that wait for a request to come do not wait for ever */
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
  if (!scarce && c->hold & NQ_HOLD_ASKED)
    nq_hold_set(c, NQ_HOLD_ASKED, 0);
}

static uint64_t size_of(const nq_conn *c) {
  return !c->reply_size ? NQ_REPLY_FIRST : c->reply_size < NQ_REPLY_LEAST ? NQ_REPLY_LEAST : c->reply_size;
}

void nq_hold_asked(nq_stream *s) {
  nq_conn *c = s->c;
  s->asked++;
  if (++c->asked * size_of(c) < NQ_ASKED_MOST)
    return;
  nq_hold_set(c, NQ_HOLD_ASKED, 1);
  c->ease_at = c->hub->now + NQ_EASE;
  nq_conn_mark(c); /* its timer is set when it is written */
}

void nq_hold_answered(nq_stream *s, uint64_t n) {
  nq_conn *c = s->c;
  uint64_t had = size_of(c), now = n > had ? n : had - (had - n) / 8;
  c->reply_size = now > UINT32_MAX ? UINT32_MAX : (uint32_t)now;
  s->asked--;
  c->asked--;
  if (c->hold & NQ_HOLD_ASKED && c->asked * size_of(c) <= NQ_ASKED_MOST / 2)
    nq_hold_set(c, NQ_HOLD_ASKED, 0);
}

void nq_hold_unanswered(nq_stream *s) {
  nq_conn *c = s->c;
  c->asked -= s->asked;
  s->asked = 0;
  if (c->hold & NQ_HOLD_ASKED && c->asked * size_of(c) <= NQ_ASKED_MOST / 2)
    nq_hold_set(c, NQ_HOLD_ASKED, 0);
}

void nq_hold_set(nq_conn *c, unsigned reason, int on) {
  unsigned before = c->hold;
  c->hold = (uint8_t)(on ? before | reason : before & ~reason);
  if (!(c->hold & NQ_HOLD_ASKED))
    c->ease_at = 0;
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
