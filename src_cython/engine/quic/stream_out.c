/* stream_out.c: what a stream sends: queueing, watermarks, acknowledgements, and the calls of RPC. */
#include <stdlib.h>
#include <string.h>

#include "quic/stream.h"

void nq_stream_mark(nq_stream *s) {
  nq_conn *c = s->c;
  if (s->in_send || s->in_opening || s->closed || s->id < 0)
    return;
  s->in_send = 1;
  s->send_next = NULL;
  if (c->send)
    c->send_tail->send_next = s;
  else
    c->send = s;
  c->send_tail = s;
  nq_conn_mark(c);
}

void nq_stream_unmark(nq_stream *s) {
  nq_conn *c = s->c;
  nq_stream **at = &c->send, *prev = NULL;
  while (*at && *at != s) {
    prev = *at;
    at = &(*at)->send_next;
  }
  if (*at) {
    *at = s->send_next;
    if (c->send_tail == s)
      c->send_tail = prev;
  }
  s->in_send = 0;
}

static void marks_acked(nq_stream *s, uint64_t upto) {
  nq_loop *l = s->c->l;
  for (nq_mark *m; (m = s->marks) && m->at < upto;) {
    if (!nq_events_room(&l->batch, 1)) { /* they end with the connection, which goes for this */
      l->batch.oom = 1;
      return;
    }
    uint64_t to = m->end < upto ? m->end : upto;
    nq_event *e = nq_events_push(&l->batch, NQ_EV_SEND_ACKED, s->h);
    e->user = m->user;
    e->len = (size_t)(to - m->at);
    e->value = l->now - m->queued_at;
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

/* ngtcp2 counts lost packets of a stream, not bytes: the oldest unacknowledged write is taken to be what was lost. */
static void marks_lost(nq_stream *s) {
  size_t losses = ngtcp2_conn_get_stream_loss_count2(s->c->q, s->id);
  if (losses > s->losses && s->marks) {
    uint64_t bytes = (losses - s->losses) * nq_mtu_payload(s->c);
    uint64_t left = s->marks->end - s->marks->at;
    nq_event *e = nq_events_push(&s->c->l->batch, NQ_EV_SEND_LOST, s->h);
    e->user = s->marks->user;
    e->len = (size_t)(bytes < left ? bytes : left);
  }
  s->losses = losses;
}

void nq_stream_marks_end(nq_stream *s) {
  for (nq_mark *m; (m = s->marks) && nq_events_room(&s->c->l->batch, 1);) {
    nq_event *e = nq_events_push(&s->c->l->batch, NQ_EV_SEND_ACKED, s->h);
    e->user = m->user;
    e->flags = NQ_EVF_LAST | NQ_EVF_LOCAL;
    s->marks = m->next;
    free(m);
  }
  if (!s->marks)
    s->marks_tail = &s->marks;
}

void nq_stream_drop_queue(nq_stream *s) {
  s->c->queued -= nq_sendq_queued(&s->out);
  nq_sendq_clear(&s->out, &s->c->l->pool);
  s->above = 0;
  nq_stream_marks_end(s);
}

void nq_stream_acked(nq_stream *s, uint64_t upto) {
  nq_conn *c = s->c;
  if (s->shut)
    return;
  if (upto > s->out.acked) {
    if (s->marks) {
      if (s->id >= 0)
        marks_lost(s);
      marks_acked(s, upto);
    }
    c->queued -= upto - s->out.acked;
    nq_sendq_ack(&s->out, &c->l->pool, upto);
  }
  if (s->above && nq_sendq_queued(&s->out) <= c->limits.send_low) {
    s->above = 0;
    nq_events_push(&c->l->batch, NQ_EV_STREAM_WRITABLE, s->h);
  }
  if (s->fin_sent && !s->acked_all && s->out.acked == s->out.end) {
    s->acked_all = 1;
    nq_events_push(&c->l->batch, NQ_EV_STREAM_ACKED, s->h);
  }
}

void nq_stream_want_stop(nq_stream *s, uint64_t code) {
  s->stop_wanted = 1;
  s->stop_code = code;
  s->c->shutdowns = 1;
  nq_stream_mark(s);
}

void nq_stream_want_reset(nq_stream *s, uint64_t code) {
  s->reset_wanted = 1;
  s->reset_code = code;
  if (s->in_opening) /* ngtcp2 has not seen it yet */
    nq_stream_drop_queue(s);
  s->c->shutdowns = 1;
  nq_stream_mark(s);
}

void nq_stream_shutdowns(nq_stream *s) {
  const nq_conn *c = s->c;
  if (s->stop_wanted) {
    s->stop_wanted = 0;
    ngtcp2_conn_shutdown_stream_read(c->q, 0, s->id, s->stop_code);
  }
  if (s->reset_wanted) {
    s->reset_wanted = 0;
    if (s->shut) /* the peer stopped it in the meantime */
      return;
    s->shut = 1;
    ngtcp2_conn_shutdown_stream_write(c->q, 0, s->id, s->reset_code);
    nq_stream_drop_queue(s);
  }
}

/* ---- queueing ---- */

static nq_stream *sendable(const nq_loop *l, nq_handle h, int *err) {
  nq_stream *s = nq_stream_get(l, h);
  if (!s || s->closed) {
    *err = NQ_ERR_STALE;
    return NULL;
  }
  if (s->fin_wanted || s->shut || s->reset_wanted || (s->uni && !s->outgoing) || s->c->state == NQ_CONN_CLOSING) {
    *err = NQ_ERR_STATE;
    return NULL;
  }
  return s;
}

/* n bytes were committed. 0, or 1: above the high watermark. */
static inline int queued(nq_stream *s, size_t n) {
  nq_conn *c = s->c;
  c->queued += n;
  if (!s->in_send)
    nq_stream_mark(s);
  if (nq_sendq_queued(&s->out) > c->limits.send_high)
    s->above = 1;
  return s->above;
}

/* Most messages are a few bytes: a call of memcpy would take longer than they do. */
static inline void copy(uint8_t *to, const uint8_t *from, size_t n) {
  if (n >= 8 && n <= 16) {
    uint64_t first, last;
    memcpy(&first, from, 8);
    memcpy(&last, from + n - 8, 8);
    memcpy(to, &first, 8);
    memcpy(to + n - 8, &last, 8);
  } else if (n) {
    memcpy(to, from, n);
  }
}

/* Appends header and payload, which do not fit a reservation together. As put. */
static int put_long(nq_stream *s, const uint8_t *head, size_t headlen, const uint8_t *data, size_t len) {
  nq_conn *c = s->c;
  nq_chunk_pool *pool = &c->l->pool;
  if (c->queued + headlen + len > c->limits.max_send_queue)
    return NQ_ERR_FULL;
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
  return queued(s, headlen + len);
}

/* Appends header and payload. 0, 1 (above the high watermark) or an error. */
static int put(nq_stream *s, const uint8_t *head, size_t headlen, const uint8_t *data, size_t len) {
  nq_conn *c = s->c;
  size_t n = headlen + len;
  if (n > NQ_SENDQ_RESERVE_MAX)
    return put_long(s, head, headlen, data, len);
  if (c->queued + n > c->limits.max_send_queue)
    return NQ_ERR_FULL;
  uint8_t *p = nq_sendq_reserve(&s->out, &c->l->pool, n);
  if (!p)
    return NQ_ERR_NOMEM;
  if (headlen)
    memcpy(p, head, headlen);
  copy(p + headlen, data, len);
  nq_sendq_commit(&s->out, n);
  return queued(s, n);
}

/* As put, for bytes that stay where they are. */
static int put_lent(nq_stream *s, const uint8_t *head, size_t headlen, const uint8_t *data, size_t len, void *lender) {
  nq_conn *c = s->c;
  if (c->queued + headlen + len > c->limits.max_send_queue)
    return NQ_ERR_FULL;
  if (nq_sendq_lend(&s->out, &c->l->pool, head, headlen, data, len, lender))
    return NQ_ERR_NOMEM;
  return queued(s, headlen + len);
}

static int send_message(nq_loop *l, nq_handle h, const uint8_t *data, size_t len, void *lender) {
  int err;
  uint8_t head[NQ_WIRE_LENGTH_MAX];
  size_t headlen = 0;
  nq_stream *s = sendable(l, h, &err);
  if (!s)
    return err;
  if (s->kind == NQ_KIND_RECORD) {
    if (len > s->c->limits.max_message_size)
      return NQ_ERR_TOOBIG;
    headlen = nq_wire_length_put(head, (uint32_t)len);
  } else if (s->kind != NQ_KIND_RAW) {
    return NQ_ERR_STATE;
  } else if (!len) {
    return s->above;
  }
  return lender ? put_lent(s, head, headlen, data, len, lender) : put(s, head, headlen, data, len);
}

int nq_stream_send(nq_loop *l, nq_handle h, const uint8_t *data, size_t len) {
  return send_message(l, h, data, len, NULL);
}

int nq_stream_lend(nq_loop *l, nq_handle h, const uint8_t *data, size_t len, void *lender) {
  return lender && len && len <= NQ_SENDQ_LEND_MAX ? send_message(l, h, data, len, lender) : NQ_ERR_ARG;
}

void *nq_loop_returned(nq_loop *l) { return nq_chunk_returned(&l->pool); }

int nq_stream_send_marked(nq_loop *l, nq_handle h, const uint8_t *data, size_t len, void *user) {
  nq_stream *s = nq_stream_get(l, h);
  nq_mark *m = malloc(sizeof *m);
  if (!m)
    return NQ_ERR_NOMEM;
  uint64_t at = s ? s->out.end : 0;
  int rv = nq_stream_send(l, h, data, len);
  if (rv < 0 || s->out.end == at) { /* nothing was queued, so nothing will be acknowledged */
    free(m);
    return rv < 0 ? rv : NQ_ERR_ARG;
  }
  *m = (nq_mark){.at = at, .end = s->out.end, .queued_at = l->now, .user = user};
  if (!s->marks)
    s->marks_tail = &s->marks;
  *s->marks_tail = m;
  s->marks_tail = &m->next;
  return rv;
}

static inline int put_frame(nq_stream *s, int16_t type, uint32_t msgid, const uint8_t *data, size_t len) {
  nq_conn *c = s->c;
  if (len > NQ_SENDQ_RESERVE_MAX - NQ_WIRE_RPC_MAX || c->queued + NQ_WIRE_RPC_MAX + len > c->limits.max_send_queue) {
    uint8_t head[NQ_WIRE_RPC_MAX];
    return put(s, head, nq_wire_rpc_put(head, type, msgid, (uint32_t)len), data, len);
  }
  uint8_t *p = nq_sendq_reserve(&s->out, &c->l->pool, NQ_WIRE_RPC_MAX + len); /* the header is written in place */
  if (!p)
    return NQ_ERR_NOMEM;
  size_t n = nq_wire_rpc_put(p, type, msgid, (uint32_t)len);
  copy(p + n, data, len);
  nq_sendq_commit(&s->out, n + len);
  return queued(s, n + len);
}

/* The stream, when a call of this type can be made on it; *timeout becomes the deadline. */
static inline nq_stream *callable(const nq_loop *l, nq_handle h, int16_t type, uint64_t *timeout, int *err) {
  nq_stream *s = sendable(l, h, err);
  if (!s)
    return NULL;
  if (s->kind != NQ_KIND_RPC || type <= 0) {
    *err = s->kind != NQ_KIND_RPC ? NQ_ERR_STATE : NQ_ERR_ARG;
    return NULL;
  }
  uint64_t ns = *timeout ? *timeout : s->calls.timeout;
  *timeout = ns > NQ_NEVER - l->now ? NQ_NEVER : l->now + ns;
  return s;
}

static inline int has_room(const nq_stream *s) {
  const nq_calls *calls = &s->calls;
  return calls->n < s->c->limits.max_pending_calls && calls->n < calls->max_id;
}

static inline int call(nq_stream *s, int16_t type, const uint8_t *data, size_t len, uint64_t deadline, void *user,
                       uint32_t *msgid) {
  nq_calls *calls = &s->calls;
  if (len > s->c->limits.max_message_size)
    return NQ_ERR_TOOBIG;
  if (!has_room(s))
    return NQ_ERR_FULL;
  uint32_t id = nq_calls_add(calls, user, deadline);
  if (!id)
    return NQ_ERR_NOMEM;
  int rv = put_frame(s, type, id, data, len);
  if (rv < 0) {
    nq_calls_take(calls, id, &user);
    return rv;
  }
  s->c->l->calls++;
  *msgid = id;
  return rv;
}

static inline void arm(nq_stream *s, uint64_t deadline) {
  if (deadline < s->calls.timer.deadline)
    nq_timer_set(&s->c->l->timers, &s->calls.timer, deadline);
}

int nq_rpc_call(nq_loop *l, nq_handle h, int16_t type, const uint8_t *data, size_t len, uint64_t timeout, void *user,
                uint32_t *msgid) {
  int err;
  uint32_t id;
  nq_stream *s = callable(l, h, type, &timeout, &err);
  if (!s)
    return err;
  err = call(s, type, data, len, timeout, user, &id);
  if (err < 0)
    return err;
  arm(s, timeout);
  if (msgid)
    *msgid = id;
  return err;
}

int nq_rpc_call_row(nq_loop *l, nq_handle h, int16_t type, const nq_payload *v, uint32_t n, uint64_t timeout,
                    void *user, uint32_t *msgid, uint32_t *made) {
  int rv;
  uint32_t id, i = 0;
  *made = 0;
  nq_stream *s = callable(l, h, type, &timeout, &rv);
  if (!s)
    return rv;
  rv = s->above;
  for (; i < n && rv >= 0; i++) {
    if (*msgid && has_room(s) && nq_calls_next(&s->calls) != *msgid + i)
      break;
    rv = call(s, type, v[i].data, v[i].len, timeout, user, &id);
    if (rv < 0)
      break;
    if (!i)
      *msgid = id;
  }
  *made = i;
  if (i)
    arm(s, timeout);
  return rv;
}

int nq_rpc_max_msgid(nq_loop *l, nq_handle h, uint32_t max) {
  nq_stream *s = nq_stream_get(l, h);
  if (!s)
    return NQ_ERR_STALE;
  if (s->kind != NQ_KIND_RPC)
    return NQ_ERR_STATE;
  if (!max)
    return NQ_ERR_ARG;
  s->calls.max_id = max;
  return NQ_DONE;
}

int nq_rpc_last_msgid(nq_loop *l, nq_handle h, uint32_t last) {
  nq_stream *s = nq_stream_get(l, h);
  if (!s)
    return NQ_ERR_STALE;
  if (s->kind != NQ_KIND_RPC)
    return NQ_ERR_STATE;
  s->calls.last_id = last;
  return NQ_DONE;
}

void *nq_rpc_pending(const nq_loop *l, nq_handle h, uint32_t msgid) {
  nq_stream *s = nq_stream_get(l, h);
  void *user = NULL;
  return s && s->kind == NQ_KIND_RPC && nq_calls_look(&s->calls, msgid, &user) ? user : NULL;
}

void *nq_rpc_cancel(nq_loop *l, nq_handle h, uint32_t msgid) {
  nq_stream *s = nq_stream_get(l, h);
  void *user = NULL;
  if (s && s->kind == NQ_KIND_RPC && nq_calls_take(&s->calls, msgid, &user))
    l->calls--;
  return user;
}

int nq_rpc_notify(nq_loop *l, nq_handle h, int16_t type, const uint8_t *data, size_t len) {
  int err;
  nq_stream *s = sendable(l, h, &err);
  if (!s)
    return err;
  if (s->kind != NQ_KIND_RPC)
    return NQ_ERR_STATE;
  if (type <= 0)
    return NQ_ERR_ARG;
  return len > s->c->limits.max_message_size ? NQ_ERR_TOOBIG : put_frame(s, type, 0, data, len);
}

int nq_rpc_reply(nq_loop *l, nq_handle h, uint32_t msgid, int16_t result, const uint8_t *data, size_t len) {
  int err;
  nq_stream *s = sendable(l, h, &err);
  if (!s)
    return err;
  if (s->kind != NQ_KIND_RPC)
    return NQ_ERR_STATE;
  if (!msgid || result > 0)
    return NQ_ERR_ARG;
  return len > s->c->limits.max_message_size ? NQ_ERR_TOOBIG : put_frame(s, result, msgid, data, len);
}
