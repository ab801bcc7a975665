#include "quic/stream.h"

#include <stdlib.h>
#include <string.h>

nq_stream *nq_stream_get(const nq_loop *l, nq_handle h) { return nq_table_get(&l->streams, h); }

nq_stream *nq_stream_new(nq_conn *c, int uni, int outgoing) {
  nq_stream *s = calloc(1, sizeof *s);
  if (!s)
    return NULL;
  s->h = nq_table_insert(&c->l->streams, s);
  if (!s->h) {
    free(s);
    return NULL;
  }
  s->c = c;
  s->id = s->public_id = -1;
  s->uni = (uint8_t)uni;
  s->outgoing = (uint8_t)outgoing;
  s->holding = !c->open;
  nq_sendq_init(&s->out);
  nq_bytes_init(&s->in);
  nq_bytes_init(&s->held);
  s->next = c->streams;
  if (c->streams)
    c->streams->prev = s;
  c->streams = s;
  c->n_streams++;
  c->l->stats.streams++;
  return s;
}

int nq_stream_make_rpc(nq_stream *s, uint64_t timeout) {
  if (nq_timers_keep(&s->c->l->timers))
    return -1;
  nq_calls_init(&s->calls, timeout, NQ_TIMER_CALLS);
  s->calls.owner = s;
  return 0;
}

void nq_stream_release(nq_stream *s) {
  nq_loop *l = s->c->l;
  nq_sendq_clear(&s->out, &l->pool);
  nq_bytes_free(&s->in);
  nq_bytes_free(&s->held);
  while (s->marks) {
    nq_mark *next = s->marks->next;
    free(s->marks);
    s->marks = next;
  }
  if (s->calls.owner) {
    nq_timer_cancel(&l->timers, &s->calls.timer);
    nq_timers_unkeep(&l->timers);
    nq_calls_free(&s->calls);
  }
  nq_table_remove(&l->streams, s->h);
  l->stats.streams--;
  free(s);
}

static void unlink_conn(nq_stream *s) {
  if (s->prev)
    s->prev->next = s->next;
  else
    s->c->streams = s->next;
  if (s->next)
    s->next->prev = s->prev;
  s->c->n_streams--;
}

static void unlink_opening(nq_stream *s) {
  nq_conn *c = s->c;
  nq_stream **at = &c->opening[s->uni], *prev = NULL;
  while (*at && *at != s) {
    prev = *at;
    at = &(*at)->open_next;
  }
  if (*at) {
    *at = s->open_next;
    if (c->opening_tail[s->uni] == s)
      c->opening_tail[s->uni] = prev;
    c->n_opening--;
  }
  s->in_opening = 0;
}

static void unlink_resumed(nq_stream *s) {
  nq_stream **at = &s->c->l->resumed;
  while (*at != s)
    at = &(*at)->resume_next;
  *at = s->resume_next;
  if (s->c->l->resumed_tail == &s->resume_next)
    s->c->l->resumed_tail = at;
  s->in_resumed = 0;
}

void nq_stream_end_calls(nq_stream *s) {
  nq_loop *l = s->c->l;
  uint32_t scan = 0, id;
  void *user;
  if (!s->calls.n)
    return;
  if (!nq_events_room(&l->batch, s->calls.n)) { /* they end with the connection, which goes for this */
    l->batch.oom = 1;
    return;
  }
  while ((id = nq_calls_drain(&s->calls, &scan, &user))) {
    nq_event *e = nq_events_push(&l->batch, NQ_EV_RPC_REPLY, s->h);
    e->flags = NQ_EVF_LOCAL;
    e->msgid = id;
    e->user = user;
    e->code = NQ_CALL_GONE;
    l->calls--;
  }
}

uint64_t nq_stream_end_events(const nq_stream *s) {
  uint64_t n = 1 + (uint64_t)s->calls.n;
  for (const nq_mark *m = s->marks; m; m = m->next)
    n++;
  return n;
}

void nq_stream_ended(nq_stream *s, uint64_t code) {
  nq_conn *c = s->c;
  nq_loop *l = c->l;
  if (s->closed)
    return;
  uint64_t events = nq_stream_end_events(s);
  if (events > UINT32_MAX || !nq_events_room(&l->batch, (uint32_t)events)) {
    l->batch.oom = 1; /* it ends with the connection, which goes for this */
    return;
  }
  s->closed = 1;
  if (s->in_send)
    nq_stream_unmark(s);
  if (s->in_opening)
    unlink_opening(s);
  if (s->in_resumed)
    unlink_resumed(s);
  if (!s->shut)
    c->queued -= nq_sendq_queued(&s->out);
  if (s->assembling)
    c->assembly -= nq_bytes_size(&s->in);
  nq_stream_marks_end(s);
  if (s->opened) {
    nq_event *e = nq_events_push(&l->batch, NQ_EV_STREAM_CLOSE, s->h);
    e->code = code;
  }
  nq_stream_end_calls(s); /* after the close, as in the original */
  unlink_conn(s);
  if (s->extend && c->q) { /* a held stream keeps its place: what is held is bounded by the limit of streams */
    if (s->uni)
      ngtcp2_conn_extend_max_streams_uni(c->q, 1);
    else
      ngtcp2_conn_extend_max_streams_bidi(c->q, 1);
    nq_conn_mark(c);
  }
  s->dead_next = l->dead_streams;
  l->dead_streams = s;
}

/* One timer a stream, armed for the earliest deadline at the time of the last scan. */
void nq_stream_on_timer(nq_stream *s) {
  nq_loop *l = s->c->l;
  uint32_t scan = 0, id;
  void *user;
  uint64_t next = NQ_NEVER;
  while (nq_events_room(&l->batch, 1) && (id = nq_calls_expire(&s->calls, l->now, &scan, &user, &next))) {
    nq_event *e = nq_events_push(&l->batch, NQ_EV_RPC_REPLY, s->h);
    e->flags = NQ_EVF_LOCAL;
    e->msgid = id;
    e->user = user;
    e->code = NQ_CALL_TIMEOUT;
    l->calls--;
  }
  if (!nq_events_room(&l->batch, 1)) { /* the others are told later */
    nq_timer_set(&l->timers, &s->calls.timer, l->now + NQ_NO_MEMORY_PAUSE);
    return;
  }
  /* A scan walks the whole table: a large one is looked at more rarely, whatever the deadlines in it. */
  uint64_t soonest = l->now + l->timer_floor + s->calls.cap * UINT64_C(50);
  if (next != NQ_NEVER)
    nq_timer_set(&l->timers, &s->calls.timer, next > soonest ? next : soonest);
}

/* ---- opening ---- */

void nq_streams_open_waiting(nq_conn *c) {
  for (int uni = 0; uni < 2; uni++) {
    nq_stream *s;
    while ((s = c->opening[uni])) {
      int rv = uni ? ngtcp2_conn_open_uni_stream(c->q, &s->id, s) : ngtcp2_conn_open_bidi_stream(c->q, &s->id, s);
      if (rv) {
        s->id = -1;
        if (rv != NGTCP2_ERR_STREAM_ID_BLOCKED)
          nq_conn_liberr(c, rv);
        break;
      }
      s->public_id = s->id;
      c->opening[uni] = s->open_next;
      if (!s->open_next)
        c->opening_tail[uni] = NULL;
      c->n_opening--;
      s->in_opening = 0;
      s->opened = 1;
      nq_event *e = nq_events_push(&c->l->batch, NQ_EV_STREAM_OPEN, s->h);
      e->flags = (uint8_t)(NQ_EVF_OUTGOING | (uni ? NQ_EVF_UNI : 0));
      e->conn = c->h;
      e->user = s->user;
      c->shutdowns |= s->reset_wanted | s->stop_wanted;
      /* the name alone waits for the first write */
      if (nq_sendq_unsent(&s->out) > s->name_bytes || s->fin_wanted || s->reset_wanted || s->stop_wanted)
        nq_stream_mark(s);
    }
  }
}

int nq_stream_open(nq_loop *l, nq_handle conn, const nq_stream_options *o, nq_handle *stream) {
  nq_conn *c = nq_conn_get(l, conn);
  if (!c)
    return NQ_ERR_STALE;
  if (o->kind < NQ_KIND_RAW || o->kind > NQ_KIND_RPC || o->name_len > NQ_WIRE_NAME_MAX || (o->uni && o->name) ||
      (o->uni && o->kind != NQ_KIND_RAW) || (o->name && (!o->name_len || memchr(o->name, 0, o->name_len))))
    return NQ_ERR_ARG;
  if (c->state == NQ_CONN_CLOSING || c->free_wanted || c->dead)
    return NQ_ERR_STATE;
  if (c->n_opening >= c->limits.max_pending_opens)
    return NQ_ERR_FULL;
  nq_stream *s = nq_stream_new(c, o->uni, 1);
  if (!s)
    return NQ_ERR_NOMEM;
  s->kind = (uint8_t)o->kind;
  s->user = o->user;
  if (o->kind == NQ_KIND_RPC && nq_stream_make_rpc(s, o->call_timeout)) {
    unlink_conn(s);
    nq_stream_release(s);
    return NQ_ERR_NOMEM;
  }
  if (o->name) { /* goes out with the first write */
    uint8_t *p = nq_sendq_reserve(&s->out, &l->pool, o->name_len + 1);
    if (!p) {
      unlink_conn(s);
      nq_stream_release(s);
      return NQ_ERR_NOMEM;
    }
    memcpy(p, o->name, o->name_len);
    p[o->name_len] = 0;
    nq_sendq_commit(&s->out, o->name_len + 1);
    c->queued += o->name_len + 1;
    s->name_bytes = (uint16_t)(o->name_len + 1);
  }
  s->in_opening = 1;
  if (c->opening_tail[s->uni])
    c->opening_tail[s->uni]->open_next = s;
  else
    c->opening[s->uni] = s;
  c->opening_tail[s->uni] = s;
  c->n_opening++;
  if (c->handshaken)
    nq_conn_mark(c); /* gets its ID when the connection is written */
  *stream = s->h;
  return NQ_DONE;
}

/* ---- what the user asks ---- */

int nq_stream_alive(const nq_loop *l, nq_handle h) { return nq_table_alive(&l->streams, h); }

void *nq_stream_user(const nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(l, h);
  return s ? s->user : NULL;
}

int nq_stream_set_user(nq_loop *l, nq_handle h, void *user) {
  nq_stream *s = nq_stream_get(l, h);
  if (!s)
    return NQ_ERR_STALE;
  s->user = user;
  return NQ_DONE;
}

nq_handle nq_stream_conn(const nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(l, h);
  return s ? s->c->h : 0;
}

int64_t nq_stream_id(const nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(l, h);
  return s ? s->public_id : -1;
}

int nq_stream_is_outgoing(const nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(l, h);
  return s ? s->outgoing : 0;
}

uint64_t nq_stream_queued(const nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(l, h);
  return s && !s->closed ? nq_sendq_queued(&s->out) : 0;
}

static int writable_side(const nq_stream *s) { return s->outgoing || !s->uni; }
static int readable_side(const nq_stream *s) { return !s->outgoing || !s->uni; }

int nq_stream_finish(nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(l, h);
  if (!s)
    return NQ_ERR_STALE;
  if (!writable_side(s))
    return NQ_ERR_STATE;
  if (s->closed || s->shut || s->fin_wanted)
    return NQ_DONE;
  s->fin_wanted = 1;
  nq_stream_mark(s);
  return NQ_DONE;
}

int nq_stream_reset(nq_loop *l, nq_handle h, uint64_t code) {
  nq_stream *s = nq_stream_get(l, h);
  if (!s)
    return NQ_ERR_STALE;
  if (!writable_side(s))
    return NQ_ERR_STATE;
  if (code >= UINT64_C(1) << 62)
    return NQ_ERR_ARG;
  if (s->closed || s->shut || s->reset_wanted) /* the first code stands */
    return NQ_DONE;
  nq_stream_want_reset(s, code);
  return NQ_DONE;
}

int nq_stream_stop(nq_loop *l, nq_handle h, uint64_t code) {
  nq_stream *s = nq_stream_get(l, h);
  if (!s)
    return NQ_ERR_STALE;
  if (!readable_side(s))
    return NQ_ERR_STATE;
  if (code >= UINT64_C(1) << 62)
    return NQ_ERR_ARG;
  if (s->closed || s->discard)
    return NQ_DONE;
  nq_stream_discard(s);
  if (s->close_late) { /* it waited only for the held bytes */
    s->paused = 0;
    nq_stream_schedule(s);
  } else if (!s->peer_fin) {
    nq_stream_want_stop(s, code);
  }
  return NQ_DONE;
}

int nq_stream_close(nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(l, h);
  if (!s)
    return NQ_ERR_STALE;
  if (writable_side(s))
    nq_stream_finish(l, h);
  if (readable_side(s))
    nq_stream_stop(l, h, NQ_CODE_CLOSED);
  return NQ_DONE;
}

int nq_stream_pause(nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(l, h);
  if (!s)
    return NQ_ERR_STALE;
  if (s->closed)
    return NQ_DONE;
  s->paused = 1;
  s->holding = 1;
  return NQ_DONE;
}

int nq_stream_resume(nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(l, h);
  if (!s)
    return NQ_ERR_STALE;
  if (s->closed) /* its memory goes at the flush: no list may have it */
    return NQ_DONE;
  s->paused = 0;
  if (s->holding && s->c->open)
    nq_stream_schedule(s);
  return NQ_DONE;
}
