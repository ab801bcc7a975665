/* stream_out.c: see stream_out.h. */
#include "quic/stream_out.h"

#include <stdlib.h>

#include "app/app.h"
#include "quic/hold.h"

static void marks_acked(nq_stream *s, uint64_t upto) {
  nq_hub *hub = s->c->hub;
  for (nq_mark *m; (m = s->marks) && m->at < upto;) {
    if (!nq_events_room(&hub->batch, 1)) { /* they end with the connection, which goes for this */
      hub->batch.oom = 1;
      return;
    }
    uint64_t to = m->end < upto ? m->end : upto;
    nq_event *e = nq_events_push(&hub->batch, NQ_EV_SEND_ACKED, s->h);
    e->user = m->user;
    e->len = (size_t)(to - m->at);
    e->value = hub->now - m->queued_at;
    m->at = to;
    if (to < m->end)
      break;
    e->flags = NQ_EVF_LAST;
    s->marks = m->next;
    free(m);
  }
  if (!s->marks)
    s->marks_tail = &s->marks;
}

/* The transport counts lost packets of a stream, not bytes: the oldest unacknowledged write is taken to be what was
 * lost. */
static void marks_lost(nq_stream *s) {
  size_t losses = s->c->transport->losses(s->c, s->id);
  if (losses > s->losses && s->marks) {
    uint64_t bytes = (losses - s->losses) * nq_mtu_payload(s->c);
    uint64_t left = s->marks->end - s->marks->at;
    nq_event *e = nq_events_push(&s->c->hub->batch, NQ_EV_SEND_LOST, s->h);
    e->user = s->marks->user;
    e->len = (size_t)(bytes < left ? bytes : left);
  }
  s->losses = losses;
}

void nq_stream_marks_end(nq_stream *s) {
  for (nq_mark *m; (m = s->marks) && nq_events_room(&s->c->hub->batch, 1);) {
    nq_event *e = nq_events_push(&s->c->hub->batch, NQ_EV_SEND_ACKED, s->h);
    e->user = m->user;
    e->flags = NQ_EVF_LAST | NQ_EVF_LOCAL;
    s->marks = m->next;
    free(m);
  }
  if (!s->marks)
    s->marks_tail = &s->marks;
}

void nq_stream_fin_settled(nq_stream *s) {
  s->c->fins -= s->fin_counted;
  s->fin_counted = 0;
}

static void unlink_writer(nq_stream *s) {
  nq_conn *c = s->c;
  if (!s->in_writers)
    return;
  if (s->writers_prev)
    s->writers_prev->writers_next = s->writers_next;
  else
    c->writers = s->writers_next;
  if (s->writers_next)
    s->writers_next->writers_prev = s->writers_prev;
  else
    c->writers_tail = s->writers_prev;
  s->in_writers = 0;
}

static void link_writer(nq_stream *s) {
  nq_conn *c = s->c;
  s->in_writers = 1;
  s->writers_next = NULL;
  s->writers_prev = c->writers_tail;
  if (c->writers_tail)
    c->writers_tail->writers_next = s;
  else
    c->writers = s;
  c->writers_tail = s;
}

void nq_stream_tell_writers(nq_conn *c) {
  uint64_t room = nq_stream_conn_high(c) - nq_stream_conn_low(c);
  if (c->queued > nq_stream_conn_low(c))
    return;
  for (nq_stream *s; (s = c->writers) && nq_events_room(&c->hub->batch, 1);) {
    unlink_writer(s);
    s->over_high = 0;
    s->app->writable(s);
    if (room < 2 * c->limits.send_high) /* each may queue so much, and one message */
      return;
    room -= c->limits.send_high;
  }
}

int nq_stream_wait(nq_stream *s) {
  const nq_conn *c = s->c;
  if (s->over_high)
    return 1;
  if (c->queued <= nq_stream_conn_high(c))
    return 0;
  s->over_high = 1;
  if (nq_sendq_queued(&s->out) <= c->limits.send_low)
    link_writer(s);
  return 1;
}

void nq_stream_no_writes(nq_stream *s) {
  nq_stream_fin_settled(s);
  nq_stream_unblock(s);
  unlink_writer(s);
  nq_hold_sent(s, 0);
  nq_hold_unanswered(s);
}

void nq_stream_drop_queue(nq_stream *s) {
  nq_stream_no_writes(s);
  s->c->queued -= nq_sendq_queued(&s->out);
  nq_sendq_clear(&s->out, &s->c->hub->pool);
  s->over_high = 0;
  nq_stream_marks_end(s);
}

void nq_stream_acked(nq_stream *s, uint64_t upto) {
  nq_conn *c = s->c;
  if (s->write_reset)
    return;
  if (upto > s->out.acked) {
    if (s->marks) {
      if (s->id >= 0)
        marks_lost(s);
      marks_acked(s, upto);
    }
    c->queued -= upto - s->out.acked;
    nq_sendq_ack(&s->out, &c->hub->pool, upto);
  }
  if (s->over_high && !s->in_writers && nq_sendq_queued(&s->out) <= c->limits.send_low) {
    if (c->queued <= nq_stream_conn_high(c) && !c->writers) {
      s->over_high = 0;
      s->app->writable(s);
    } else {
      link_writer(s);
    }
  }
  if (s->fin_sent && !s->acked_all && s->out.acked == s->out.end && (s->id < 0 || c->transport->fin_acked(c, s->id))) {
    s->acked_all = 1;
    nq_stream_fin_settled(s);
    s->app->acked(s);
  }
}

void nq_stream_want_stop(nq_stream *s, uint64_t code) {
  s->stop_wanted = 1;
  s->stop_code = code;
  s->c->shutdowns = 1;
  nq_sched_add(s);
}

void nq_stream_want_reset(nq_stream *s, uint64_t code) {
  s->reset_wanted = 1;
  s->reset_code = code;
  if (s->in_opening) /* ngtcp2 has not seen it yet */
    nq_stream_drop_queue(s);
  s->c->shutdowns = 1;
  nq_sched_add(s);
}

void nq_stream_shutdowns(nq_stream *s) {
  nq_conn *c = s->c;
  if (s->stop_wanted) {
    s->stop_wanted = 0;
    c->transport->stop(c, s->id, s->stop_code);
  }
  if (s->reset_wanted) {
    s->reset_wanted = 0;
    if (s->write_reset) /* the peer stopped it in the meantime */
      return;
    s->write_reset = 1;
    c->transport->reset(c, s->id, s->reset_code);
    nq_stream_drop_queue(s);
  }
}

/* ---- queueing ---- */

/* Appends header and payload, which do not fit a reservation together. As put. */
static int put_long(nq_stream *s, const uint8_t *head, size_t headlen, const uint8_t *data, size_t len) {
  nq_conn *c = s->c;
  nq_chunk_pool *pool = &c->hub->pool;
  if (headlen) {
    uint8_t *p = nq_sendq_reserve(&s->out, pool, headlen);
    if (!p)
      return NQ_ERR_NOMEM;
    memcpy(p, head, headlen);
    nq_sendq_commit(&s->out, headlen);
  }
  if (nq_sendq_append(&s->out, pool, data, len)) {
    if (headlen) { /* half a message is queued: the stream cannot go on */
      c->queued += headlen;
      nq_stream_want_reset(s, NQ_CODE_OVERLOAD);
    }
    return NQ_ERR_NOMEM;
  }
  return nq_stream_queued_more(s, headlen + len);
}

int nq_stream_put(nq_stream *s, const uint8_t *head, size_t headlen, const uint8_t *data, size_t len) {
  nq_conn *c = s->c;
  size_t n = headlen + len;
  if (n > NQ_SENDQ_RESERVE_MAX)
    return put_long(s, head, headlen, data, len);
  uint8_t *p = nq_sendq_reserve(&s->out, &c->hub->pool, n);
  if (!p)
    return NQ_ERR_NOMEM;
  if (headlen)
    memcpy(p, head, headlen);
  nq_stream_copy(p + headlen, data, len);
  nq_sendq_commit(&s->out, n);
  return nq_stream_queued_more(s, n);
}

/* As put, for bytes that stay where they are. */
int nq_stream_put_lent(nq_stream *s, const uint8_t *head, size_t headlen, const uint8_t *data, size_t len,
                       void *lender) {
  if (nq_sendq_lend(&s->out, &s->c->hub->pool, head, headlen, data, len, lender))
    return NQ_ERR_NOMEM;
  return nq_stream_queued_more(s, headlen + len);
}

void nq_stream_track(nq_stream *s, nq_mark *m, uint64_t at, void *user) {
  *m = (nq_mark){.at = at, .end = s->out.end, .queued_at = s->c->hub->now, .user = user};
  if (!s->marks)
    s->marks_tail = &s->marks;
  *s->marks_tail = m;
  s->marks_tail = &m->next;
}

void nq_stream_end_writing(nq_stream *s) {
  if (s->closed || s->write_reset || s->fin_wanted)
    return;
  s->fin_wanted = s->fin_counted = 1;
  s->c->fins++;
  nq_sched_add(s);
}
