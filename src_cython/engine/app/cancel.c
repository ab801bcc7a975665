/* cancel.c: see cancel.h. */
#include "app/cancel.h"

#include "app/kept.h"
#include "quic/stream_out.h"

#define NQ_CANCEL_IDS 128u /* of one frame: many fit, and no peer has a limit below it, but for the smallest */

static void link_filler(nq_stream *s) {
  nq_stream *first = s->c->fillers;
  nq1(s)->cancels_prev = NULL;
  nq1(s)->cancels_next = first;
  if (first)
    nq1(first)->cancels_prev = s;
  s->c->fillers = s;
}

static int can_send(const nq_stream *s) {
  return !s->closed && !s->fin_wanted && !s->write_reset && !s->reset_wanted && s->c->state != NQ_CONN_CLOSING;
}

void nq_cancel_add(nq_stream *s, uint32_t msgid) {
  nq_bytes *ids = &nq1(s)->cancels;
  const uint8_t id[4] = {(uint8_t)(msgid >> 24), (uint8_t)(msgid >> 16), (uint8_t)(msgid >> 8), (uint8_t)msgid};
  int first = !nq_bytes_size(ids);
  if (!can_send(s) || nq_bytes_append(ids, id, sizeof id)) /* it is a hint: without memory the peer works in vain */
    return;
  if (first) {
    link_filler(s);
    nq_conn_mark(s->c);
  }
}

void nq_cancel_forget(nq_stream *s) {
  nq_stream *next = nq1(s)->cancels_next, *prev = nq1(s)->cancels_prev;
  if (!nq_bytes_size(&nq1(s)->cancels))
    return;
  if (prev)
    nq1(prev)->cancels_next = next;
  else
    s->c->fillers = next;
  if (next)
    nq1(next)->cancels_prev = prev;
  nq_bytes_free(&nq1(s)->cancels);
}

void nq_cancel_fill(nq_conn *c) {
  for (nq_stream *s; (s = c->fillers); nq_cancel_forget(s)) {
    const nq_bytes *ids = &nq1(s)->cancels;
    size_t left = nq_bytes_size(ids), most = 4 * NQ_CANCEL_IDS;
    const uint8_t *p = nq_bytes_at(ids);
    for (size_t n; left && can_send(s); p += n, left -= n) {
      uint8_t head[NQ_WIRE_RPC_MAX];
      n = left < most ? left : most;
      size_t hs = nq_wire_rpc_put(head, NQ_WIRE_CANCEL_TYPE, NQ_WIRE_CANCEL_ID, (uint32_t)n);
      if (nq_stream_put(s, head, hs, p, n) < 0)
        break;
    }
  }
}

void nq_cancel_came(nq_stream *s, const uint8_t *ids, size_t len) {
  for (; len >= 4; ids += 4, len -= 4) {
    nq_event *e = nq_events_push(&s->c->hub->batch, NQ_EV_RPC_CANCEL, s->h);
    e->msgid = (uint32_t)ids[0] << 24 | (uint32_t)ids[1] << 16 | (uint32_t)ids[2] << 8 | ids[3];
    if (s->keeps)
      nq_kept_cancel(s, e->msgid);
  }
}
