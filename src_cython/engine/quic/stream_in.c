/* stream_in.c: the bytes of a stream become events. Runs inside ngtcp2's callback, so it only records. */
#include <string.h>

#include "quic/stream.h"

#define NQ_HELD_SLICE 65536u /* of held bytes, decoded at once: the rest may have to wait again */

void nq_stream_credit(nq_stream *s, uint64_t n) {
  nq_loop *l = s->c->l;
  s->credit += n;
  if (!s->in_credits) {
    s->in_credits = 1;
    s->credit_next = l->credits;
    l->credits = s;
  }
}

void nq_stream_discard(nq_stream *s) {
  s->discard = 1;
  size_t held = nq_bytes_size(&s->held);
  if (held)
    nq_stream_credit(s, held);
  if (s->assembling)
    s->c->assembly -= nq_bytes_size(&s->in);
  s->assembling = 0;
  nq_bytes_free(&s->held);
  nq_bytes_free(&s->in);
}

void nq_stream_refuse(nq_stream *s, uint64_t code) {
  if (s->opened && !s->discard) {
    nq_event *e = nq_events_push(&s->c->l->batch, NQ_EV_STREAM_RESET, s->h);
    e->flags = NQ_EVF_LOCAL;
    e->code = code;
  }
  nq_stream_discard(s);
  nq_stream_end_calls(s); /* whether the peer answers STOP_SENDING or not */
  if (!s->peer_fin)
    nq_stream_want_stop(s, code);
  if (!s->uni || s->outgoing)
    nq_stream_want_reset(s, code);
}

static void no_memory(nq_stream *s) { nq_stream_refuse(s, NQ_CODE_OVERLOAD); }

static void accept_as(nq_stream *s, const nq_handler *h) {
  if (h->kind == NQ_KIND_RPC && nq_stream_make_rpc(s, h->call_timeout)) {
    no_memory(s);
    return;
  }
  s->kind = (uint8_t)h->kind;
  if (h->native) {
    s->native = h->native;
    s->c->l->natives = 1;
  }
  s->opened = 1;
  nq_event *e = nq_events_push(&s->c->l->batch, NQ_EV_STREAM_OPEN, s->h);
  e->flags = s->uni ? NQ_EVF_UNI : 0;
  e->conn = s->c->h;
  e->user = h->user;
  if (s->stop_late)
    nq_events_push(&s->c->l->batch, NQ_EV_STREAM_STOP, s->h)->code = s->peer_stop_code;
}

/* The name at the start of an incoming stream. Returns the bytes used. */
static size_t resolve(nq_stream *s, const uint8_t *p, size_t n) {
  const nq_handler *h = nq_hdmap_nameless(s->c->hdmap, s->uni);
  if (h || s->uni) {
    if (h)
      accept_as(s, h);
    else
      nq_stream_refuse(s, NQ_STREAM_UNKNOWN_PROTOCOL);
    return 0;
  }
  size_t had = nq_bytes_size(&s->in), room = NQ_WIRE_NAME_MAX + 1 - had;
  const uint8_t *name = p;
  int len = had ? NQ_WIRE_MORE : nq_wire_name_get(p, n < room ? n : room); /* most arrive whole */
  if (len == NQ_WIRE_MORE) {
    if (nq_bytes_append(&s->in, p, n < room ? n : room)) {
      no_memory(s);
      return n;
    }
    name = nq_bytes_at(&s->in);
    len = nq_wire_name_get(name, nq_bytes_size(&s->in));
    if (len == NQ_WIRE_MORE)
      return n;
  }
  h = len > 0 ? nq_hdmap_find(s->c->hdmap, name, (size_t)len - 1) : NULL;
  nq_bytes_free(&s->in);
  if (!h) {
    nq_stream_refuse(s, NQ_STREAM_UNKNOWN_PROTOCOL);
    return n;
  }
  accept_as(s, h);
  return (size_t)len - had;
}

static void emit(nq_stream *s, const nq_frame *f, const uint8_t *data) {
  nq_loop *l = s->c->l;
  if (s->kind == NQ_KIND_RECORD) {
    nq_event *e = nq_events_push(&l->batch, NQ_EV_STREAM_RECORD, s->h);
    e->data = data;
    e->len = f->length;
    return;
  }
  nq_event_kind kind = f->kind == NQ_FRAME_REQUEST ? NQ_EV_RPC_REQUEST : NQ_EV_RPC_NOTIFY;
  void *user = NULL;
  if (f->kind == NQ_FRAME_REPLY) {
    kind = NQ_EV_RPC_REPLY;
    if (!nq_events_room(&l->batch, 1)) { /* the call stays: it ends with the connection, which goes for this */
      l->batch.oom = 1;
      return;
    }
    if (!nq_calls_take(&s->calls, f->msgid, &user))
      return; /* late, or an answer to nothing */
    l->calls--;
  }
  nq_event *e = nq_events_push(&l->batch, kind, s->h);
  e->type = f->type;
  e->msgid = f->msgid;
  e->user = user;
  e->data = data;
  e->len = f->length;
}

static int header(const nq_stream *s, const uint8_t *p, size_t n, nq_frame *f) {
  return s->kind == NQ_KIND_RPC ? nq_wire_rpc_get(p, n, f) : nq_wire_length_get(p, n, &f->length);
}

/* Whether the connection has had its share of this tick; if not, takes one more of it. Replies are as many as were
 * asked for: they are not counted, and do not wait for anything but what came before them. */
static int had_share(const nq_stream *s, const nq_frame *f) {
  nq_conn *c = s->c;
  nq_loop *l = c->l;
  if ((s->kind == NQ_KIND_RPC && f->kind == NQ_FRAME_REPLY) || !c->q)
    return 0;
  if (c->turn != l->stats.ticks) {
    c->turn = l->stats.ticks;
    c->taken = 0;
  }
  if (l->timing && c->share && c->taken >= c->share && l->stats.connections > 1) {
    l->timing = NQ_TIMED_TICKS;
    return 1;
  }
  c->taken++;
  l->requests = 1;
  return 0;
}

/* A header is known: 0 when its message may come. */
static int admit(nq_stream *s, const nq_frame *f) {
  if (f->length <= s->c->limits.max_message_size)
    return 0;
  nq_stream_refuse(s, NQ_CODE_TOO_BIG);
  return -1;
}

static int collect(nq_stream *s, const uint8_t *p, size_t n) {
  if (s->c->assembly + n > s->c->limits.max_assembly || nq_bytes_append(&s->in, p, n)) {
    no_memory(s);
    return -1;
  }
  s->c->assembly += n;
  return 0;
}

/* Continues the message that an earlier chunk began. Returns the bytes used. */
static size_t assemble(nq_stream *s, const uint8_t *p, size_t n) {
  size_t used = 0;
  if (!s->assembling) { /* part of a header waits in s->in */
    uint8_t head[2 * NQ_WIRE_RPC_MAX];
    size_t had = nq_bytes_size(&s->in), more = n < NQ_WIRE_RPC_MAX ? n : NQ_WIRE_RPC_MAX;
    memcpy(head, nq_bytes_at(&s->in), had);
    memcpy(head + had, p, more);
    int hs = header(s, head, had + more, &s->frame);
    if (hs == NQ_WIRE_MORE) {
      if (nq_bytes_append(&s->in, p, n))
        no_memory(s);
      return n;
    }
    nq_bytes_consume(&s->in, had);
    if (hs < 0) {
      nq_stream_refuse(s, NQ_CODE_FRAME_ERROR);
      return n;
    }
    if (admit(s, &s->frame))
      return n;
    used = (size_t)hs - had;
    s->assembling = 1;
  }
  size_t have = nq_bytes_size(&s->in), want = s->frame.length - have, left = n - used;
  const uint8_t *data = p + used;
  if (have || left < want) {
    if (collect(s, data, left < want ? left : want))
      return n;
    if (left < want)
      return n;
    s->c->assembly -= s->frame.length;
    data = nq_events_adopt(&s->c->l->batch, &s->in);
    if (!data) {
      s->assembling = 0;
      no_memory(s);
      return n;
    }
  }
  s->assembling = 0;
  had_share(s, &s->frame); /* it is whole: it goes in any case */
  emit(s, &s->frame, data);
  return used + want;
}

/* Returns the bytes used: fewer than n when the rest has to wait for the next tick. */
static size_t frames(nq_stream *s, const uint8_t *p, size_t n) {
  const uint8_t *begin = p;
  size_t all = n;
  if (s->assembling || nq_bytes_size(&s->in)) {
    size_t used = assemble(s, p, n);
    p += used;
    n -= used;
  }
  while (n && !s->discard) {
    nq_frame f;
    int hs = header(s, p, n, &f);
    if (hs < 0) {
      nq_stream_refuse(s, NQ_CODE_FRAME_ERROR);
      return all;
    }
    if (hs == NQ_WIRE_MORE) {
      if (nq_bytes_append(&s->in, p, n))
        no_memory(s);
      return all;
    }
    if (admit(s, &f))
      return all;
    if (had_share(s, &f))
      return (size_t)(p - begin);
    p += hs;
    n -= (size_t)hs;
    if (n < f.length) {
      s->frame = f;
      s->assembling = 1;
      collect(s, p, n);
      return all;
    }
    emit(s, &f, p);
    p += f.length;
    n -= f.length;
  }
  return all;
}

static size_t decode_some(nq_stream *s, const uint8_t *p, size_t n) {
  nq_loop *l = s->c->l;
  size_t used = s->kind ? 0 : resolve(s, p, n), left = n - used;
  if (!left || s->discard)
    return n;
  /* ngtcp2 reuses its buffer for the next packet; events need theirs until the batch is dispatched. */
  uint8_t *copy = nq_arena_alloc(&l->batch.arena, left);
  if (!copy) {
    no_memory(s);
    return n;
  }
  memcpy(copy, p + used, left);
  if (s->kind != NQ_KIND_RAW)
    return used + frames(s, copy, left);
  nq_event *e = nq_events_push(&l->batch, NQ_EV_STREAM_DATA, s->h);
  e->data = copy;
  e->len = left;
  return n;
}

/* Returns the bytes used; after fewer than n the stream holds back what comes, the caller the rest. */
static size_t decode(nq_stream *s, const uint8_t *p, size_t n) {
  size_t used = decode_some(s, p, n);
  nq_stream_credit(s, used);
  if (used < n) {
    s->holding = 1;
    nq_stream_schedule(s);
  }
  return used;
}

/* The peer's FIN is reported once everything before it was. */
static void report_fin(nq_stream *s) {
  if (!s->peer_fin || s->fin_pushed || s->discard)
    return;
  s->fin_pushed = 1;
  if (!s->kind) {
    const nq_handler *h = nq_hdmap_nameless(s->c->hdmap, s->uni);
    if (!h) {
      nq_stream_refuse(s, NQ_STREAM_UNKNOWN_PROTOCOL); /* ended before its name did */
      return;
    }
    accept_as(s, h); /* an empty stream is a stream */
  }
  if (s->assembling || nq_bytes_size(&s->in)) {
    nq_stream_refuse(s, NQ_CODE_FRAME_ERROR); /* ended in the middle of a message */
    return;
  }
  nq_events_push(&s->c->l->batch, NQ_EV_STREAM_FIN, s->h);
}

void nq_stream_was_reset(nq_stream *s, uint64_t code) {
  if (s->discard)
    return;
  if (!s->kind) { /* before its name was there: nobody else will end our side */
    nq_stream_refuse(s, NQ_STREAM_UNKNOWN_PROTOCOL);
    return;
  }
  if (s->opened)
    nq_events_push(&s->c->l->batch, NQ_EV_STREAM_RESET, s->h)->code = code;
  nq_stream_discard(s); /* half a message will never be whole */
}

/* Keeps what cannot be decoded now. Bytes that nobody keeps are the peer's to send again: their credit is given back.
 */
static void hold(nq_stream *s, const uint8_t *data, size_t len) {
  if (len && nq_bytes_append(&s->held, data, len)) {
    no_memory(s);
    nq_stream_credit(s, len);
  }
}

void nq_stream_receive(nq_stream *s, const uint8_t *data, size_t len, int fin) {
  if (fin)
    s->peer_fin = 1;
  if (s->discard) {
    if (len)
      nq_stream_credit(s, len);
    return;
  }
  if (s->holding) {
    hold(s, data, len);
    return;
  }
  if (len) {
    size_t used = decode(s, data, len);
    if (used < len) {
      hold(s, data + used, len - used);
      return;
    }
  }
  report_fin(s);
}

void nq_stream_schedule(nq_stream *s) {
  nq_loop *l = s->c->l;
  if (s->in_resumed)
    return;
  s->in_resumed = 1;
  s->resume_next = NULL;
  *l->resumed_tail = s;
  l->resumed_tail = &s->resume_next;
}

void nq_stream_continue(nq_stream *s) {
  s->holding = 0;
  nq_bytes held = s->held;
  nq_bytes_init(&s->held);
  while (!s->holding && !s->discard && nq_bytes_size(&held)) {
    size_t left = nq_bytes_size(&held);
    nq_bytes_consume(&held, decode(s, nq_bytes_at(&held), left < NQ_HELD_SLICE ? left : NQ_HELD_SLICE));
  }
  if (s->discard && nq_bytes_size(&held))
    nq_stream_credit(s, nq_bytes_size(&held));
  if (s->holding) { /* until the next tick */
    s->held = held;
    return;
  }
  nq_bytes_free(&held);
  report_fin(s);
  if (s->reset_late) {
    s->reset_late = 0;
    nq_stream_was_reset(s, s->peer_reset_code);
  }
  if (s->close_late)
    nq_stream_ended(s, s->close_code);
}
