/* nq1.c: the bytes of a stream become events, by what its name says. */
#include "app/nq1.h"

#include <string.h>

#include "app/assembly.h"
#include "app/cancel.h"
#include "app/hdmap.h"
#include "app/kept.h"
#include "app/report.h"
#include "app/rpc_end.h"
#include "quic/hold.h"
#include "quic/stream_in.h"
#include "quic/stream_out.h"

#define NQ_REFUSALS 4 /* times the mark of replies: above it a peer that sends what is too large is given up */

static int make_rpc(nq_stream *s, uint64_t timeout) {
  if (nq_timers_keep(&s->c->hub->timers))
    return -1;
  nq_calls_init(&nq1(s)->calls, timeout, NQ_TIMER_CALLS);
  nq1(s)->calls.owner = s;
  return 0;
}

static void accept_as(nq_stream *s, const nq_handler *h) {
  if (h->kind == NQ_KIND_RPC && make_rpc(s, h->call_timeout)) {
    nq_stream_refuse(s, NQ_CODE_OVERLOAD);
    return;
  }
  nq1(s)->kind = (uint8_t)h->kind;
  if (h->native) {
    nq1(s)->native = h->native;
    s->c->hub->natives = 1;
  }
  nq_report_accepted(s, h->user);
  if (nq1(s)->stop_late)
    nq_report_stopped(s, nq1(s)->peer_stop_code);
}

/* The name at the start of an incoming stream. Returns the bytes used. */
static size_t resolve(nq_stream *s, const uint8_t *p, size_t n) {
  const nq_handler *h = nq_hdmap_nameless(s->c->handlers, s->uni);
  if (h || s->uni) {
    if (h)
      accept_as(s, h);
    else
      nq_stream_refuse(s, NQ_STREAM_UNKNOWN_PROTOCOL);
    return 0;
  }
  size_t had = nq_bytes_size(&nq1(s)->in), room = NQ_WIRE_NAME_MAX + 1 - had;
  const uint8_t *name = p;
  int len = had ? NQ_WIRE_MORE : nq_wire_name_get(p, n < room ? n : room); /* most arrive whole */
  if (len == NQ_WIRE_MORE) {
    if (nq_bytes_append(&nq1(s)->in, p, n < room ? n : room)) {
      nq_stream_refuse(s, NQ_CODE_OVERLOAD);
      return n;
    }
    name = nq_bytes_at(&nq1(s)->in);
    len = nq_wire_name_get(name, nq_bytes_size(&nq1(s)->in));
    if (len == NQ_WIRE_MORE)
      return n;
  }
  h = len > 0 ? nq_hdmap_find(s->c->handlers, name, (size_t)len - 1) : NULL;
  nq_bytes_free(&nq1(s)->in);
  if (!h) {
    nq_stream_refuse(s, NQ_STREAM_UNKNOWN_PROTOCOL);
    return n;
  }
  accept_as(s, h);
  return (size_t)len - had;
}

static inline void emit(nq_stream *s, const nq_frame *f, const uint8_t *data) {
  nq_hub *hub = s->c->hub;
  if (nq1(s)->kind == NQ_KIND_RECORD) {
    nq_event *e = nq_events_push(&hub->batch, NQ_EV_STREAM_RECORD, s->h);
    e->data = data;
    e->len = f->length;
    return;
  }
  nq_event_kind kind = f->kind == NQ_FRAME_REQUEST ? NQ_EV_RPC_REQUEST : NQ_EV_RPC_NOTIFY;
  void *user = NULL;
  if (f->kind == NQ_FRAME_REPLY) {
    kind = NQ_EV_RPC_REPLY;
    if (!nq_events_room(&hub->batch, 1)) { /* the call stays: it ends with the connection, which goes for this */
      hub->batch.oom = 1;
      return;
    }
    if (!nq_calls_take(&nq1(s)->calls, f->msgid, &user)) {
      if (f->msgid == NQ_WIRE_CANCEL_ID && f->type == NQ_WIRE_CANCEL_TYPE)
        nq_cancel_came(s, data, f->length);
      return; /* late, or an answer to nothing */
    }
    hub->calls--;
    s->c->calls--;
  }
  nq_event *e = nq_events_push(&hub->batch, kind, s->h);
  e->type = f->type;
  e->msgid = f->msgid;
  e->user = user;
  e->data = data;
  e->len = f->length;
}

static int header(const nq_stream *s, const uint8_t *p, size_t n, nq_frame *f) {
  return nq1(s)->kind == NQ_KIND_RPC ? nq_wire_rpc_get(p, n, f) : nq_wire_length_get(p, n, &f->length);
}

/* Whether the connection has had its share of this tick; if not, takes one more of it. Replies are as many as were
 * asked for: they are not counted, and do not wait for anything but what came before them. */
static int had_share(const nq_stream *s, const nq_frame *f) {
  if ((nq1(s)->kind == NQ_KIND_RPC && f->kind == NQ_FRAME_REPLY) || !s->c->connected)
    return 0;
  return nq_turn_take(&s->c->turn, s->c->hub);
}

/* As emit, for what is rare: of the many messages of a chunk each is given in place. */
static __attribute__((noinline)) void emit_one(nq_stream *s, const nq_frame *f, const uint8_t *data) {
  emit(s, f, data);
}

/* A header is known: whether its message may not come. */
static inline int is_too_big(const nq_stream *s, const nq_frame *f) {
  return f->length > s->c->limits.max_message_size;
}

/* To a request whose payload this side does not take; the handlers never see it. */
static void reply_too_big(nq_stream *s, uint32_t msgid) {
  uint8_t head[NQ_WIRE_RPC_MAX];
  size_t n = nq_wire_rpc_put(head, NQ_RPC_TOOBIG, msgid, 0);
  if (s->fin_wanted || s->write_reset || s->reset_wanted)
    return;
  if (nq_stream_put(s, head, n, NULL, 0) >= 0)
    nq_hold_replied(s, n);
}

/* Records are part of an order, so their stream ends. Of RPC one message does without the others: who waits for an
 * answer to it is told, its bytes are dropped as they come, and the stream lives on. */
static void drop_too_big(nq_stream *s, const nq_frame *f) {
  nq_hub *hub = s->c->hub;
  void *user;
  if (nq1(s)->kind != NQ_KIND_RPC || s->c->replies > NQ_REFUSALS * s->c->replies_most) {
    nq_stream_refuse(s, NQ_CODE_TOO_BIG);
    return;
  }
  if (f->kind == NQ_FRAME_REPLY && !nq_events_room(&hub->batch, 1)) { /* the call stays, as in emit */
    hub->batch.oom = 1;
    return;
  }
  nq1(s)->dropping = f->length;
  hub->stats.too_big++;
  if (f->kind == NQ_FRAME_REQUEST) {
    reply_too_big(s, f->msgid);
  } else if (f->kind == NQ_FRAME_REPLY && nq_calls_take(&nq1(s)->calls, f->msgid, &user)) {
    hub->calls--;
    s->c->calls--;
    nq_event *e = nq_events_push(&hub->batch, NQ_EV_RPC_REPLY, s->h);
    e->flags = NQ_EVF_LOCAL;
    e->msgid = f->msgid;
    e->user = user;
    e->code = NQ_CALL_TOOBIG;
  }
}

/* Returns how many of the bytes belong to such a message. */
static size_t drop(nq_stream *s, size_t n) {
  uint32_t left = nq1(s)->dropping;
  size_t gone = n < left ? n : left;
  nq1(s)->dropping -= (uint32_t)gone;
  return gone;
}

static int collect(nq_stream *s, const uint8_t *p, size_t n) {
  if (!nq1(s)->promised && !s->owing)
    nq_assembly_begin(s);
  if (nq_assembly_keep(s, n)) {
    nq_stream_refuse(s, NQ_CODE_OVERLOAD);
    return -1;
  }
  if (nq_bytes_append(&nq1(s)->in, p, n)) {
    s->c->assembly -= n;
    nq_stream_refuse(s, NQ_CODE_OVERLOAD);
    return -1;
  }
  if (nq_kept_needed(s, &nq1(s)->frame))
    nq_kept_owe(s, n);
  return 0;
}

/* One more request than the replies in the queue allow in this tick: it waits, as if the connection was held. */
static int is_too_many(nq_stream *s, const nq_frame *f) {
  if (!nq_turn_over(&s->c->turn, s->c->hub) || nq1(s)->kind != NQ_KIND_RPC || f->kind == NQ_FRAME_REPLY)
    return 0;
  nq_stream_schedule(s);
  return 1;
}

/* Continues the message that an earlier chunk began. Returns the bytes used. */
static size_t assemble(nq_stream *s, const uint8_t *p, size_t n) {
  size_t used = 0;
  if (!nq1(s)->assembling) { /* part of a header waits in nq1(s)->in */
    uint8_t head[2 * NQ_WIRE_RPC_MAX];
    size_t had = nq_bytes_size(&nq1(s)->in), more = n < NQ_WIRE_RPC_MAX ? n : NQ_WIRE_RPC_MAX;
    memcpy(head, nq_bytes_at(&nq1(s)->in), had);
    memcpy(head + had, p, more);
    int hs = header(s, head, had + more, &nq1(s)->frame);
    if (hs == NQ_WIRE_MORE) {
      if (nq_bytes_append(&nq1(s)->in, p, n))
        nq_stream_refuse(s, NQ_CODE_OVERLOAD);
      return n;
    }
    nq_bytes_consume(&nq1(s)->in, had);
    if (hs < 0) {
      nq_stream_refuse(s, NQ_CODE_FRAME_ERROR);
      return n;
    }
    used = (size_t)hs - had;
    if (is_too_big(s, &nq1(s)->frame)) {
      drop_too_big(s, &nq1(s)->frame);
      return used;
    }
    nq1(s)->assembling = 1;
  }
  size_t have = nq_bytes_size(&nq1(s)->in), want = nq1(s)->frame.length - have, left = n - used;
  const uint8_t *data = p + used;
  if (have || left < want) {
    if (collect(s, data, left < want ? left : want))
      return n;
    if (left < want)
      return n;
    nq_assembly_end(s);
    data = nq_events_adopt(&s->c->hub->batch, &nq1(s)->in);
    if (!data) {
      nq1(s)->assembling = 0;
      nq_stream_refuse(s, NQ_CODE_OVERLOAD);
      return n;
    }
  } else {
    nq_assembly_end(s);
  }
  nq1(s)->assembling = 0;
  if (nq_kept_needed(s, &nq1(s)->frame) || is_too_many(s, &nq1(s)->frame)) {
    if (!have)
      nq_kept_owe(s, want);
    nq_kept_add(s, &nq1(s)->frame, data);
    return used + want;
  }
  had_share(s, &nq1(s)->frame); /* it is whole: it goes in any case */
  emit_one(s, &nq1(s)->frame, data);
  return used + want;
}

static void keep_whole(nq_stream *s, const nq_frame *f, const uint8_t *payload, size_t head) {
  nq_kept_owe(s, head + f->length);
  nq_kept_add(s, f, payload);
}

#define NQ_KEPT_MOST 64 /* messages of one stream that go on in one tick */

static void nq1_go_on(nq_stream *s) {
  nq_frame f;
  const uint8_t *payload;
  size_t n;
  for (uint32_t i = 0; !s->c->hold && (n = nq_kept_first(s, &f, &payload)); i++) {
    if (s->c->connected && (i == NQ_KEPT_MOST || nq_turn_over(&s->c->turn, s->c->hub) || had_share(s, &f))) {
      nq_stream_schedule(s);
      return;
    }
    if (nq_kept_is_cancelled(s, &f)) {
      nq_kept_delivered(s, n);
      continue;
    }
    const uint8_t *data = f.length ? nq_report_keep(s, payload, f.length) : payload;
    if (!data)
      return;
    emit_one(s, &f, data);
    nq_kept_delivered(s, n);
  }
  if (s->c->hold || s->discard)
    return;
  if (nq_kept_end(s))
    nq_report_fin(s);
}

/* Returns the bytes taken: fewer than n when the rest has to wait for the next tick. */
static size_t frames(nq_stream *s, const uint8_t *p, size_t n) {
  const uint8_t *begin = p;
  size_t all = n;
  if (nq1(s)->assembling || nq_bytes_size(&nq1(s)->in)) {
    size_t used = assemble(s, p, n);
    p += used;
    n -= used;
  }
  if (nq1(s)->dropping) {
    size_t gone = drop(s, n);
    p += gone;
    n -= gone;
  }
  while (n && !s->discard) {
    nq_frame f;
    int hs = header(s, p, n, &f);
    if (hs < 0) {
      nq_stream_refuse(s, NQ_CODE_FRAME_ERROR);
      return all;
    }
    if (hs == NQ_WIRE_MORE) {
      if (nq_bytes_append(&nq1(s)->in, p, n))
        nq_stream_refuse(s, NQ_CODE_OVERLOAD);
      return all;
    }
    if (is_too_big(s, &f)) {
      drop_too_big(s, &f);
      size_t gone = (size_t)hs + drop(s, n - (size_t)hs);
      p += gone;
      n -= gone;
      continue;
    }
    int keep = nq_kept_needed(s, &f) || is_too_many(s, &f);
    if (!keep && had_share(s, &f))
      return (size_t)(p - begin);
    p += hs;
    n -= (size_t)hs;
    if (n < f.length) {
      nq1(s)->frame = f;
      nq1(s)->assembling = 1;
      collect(s, p, n);
      return all;
    }
    if (keep)
      keep_whole(s, &f, p, (size_t)hs);
    else
      emit(s, &f, p);
    p += f.length;
    n -= f.length;
  }
  return all;
}

/* Returns the bytes taken: fewer than n when the rest has to wait for the next tick. */
static size_t nq1_bytes(nq_stream *s, const uint8_t *p, size_t n) {
  size_t used = nq1(s)->kind ? 0 : resolve(s, p, n), left = n - used;
  if (!left || s->discard)
    return n;
  const uint8_t *kept = nq_report_keep(s, p + used, left);
  if (!kept)
    return n;
  if (nq1(s)->kind != NQ_KIND_RAW)
    return used + frames(s, kept, left);
  nq_report_bytes(s, kept, left);
  return n;
}

static void nq1_fin(nq_stream *s) {
  if (!nq1(s)->kind) {
    const nq_handler *h = nq_hdmap_nameless(s->c->handlers, s->uni);
    if (!h) {
      nq_stream_refuse(s, NQ_STREAM_UNKNOWN_PROTOCOL); /* ended before its name did */
      return;
    }
    accept_as(s, h); /* an empty stream is a stream */
  }
  if (nq1(s)->assembling || nq1(s)->dropping || nq_bytes_size(&nq1(s)->in)) {
    nq_stream_refuse(s, NQ_CODE_FRAME_ERROR); /* ended in the middle of a message */
    return;
  }
  if (!nq_kept_fin(s))
    nq_report_fin(s);
}

static void nq1_reset(nq_stream *s, uint64_t code) {
  if (nq1(s)->kind)
    nq_report_reset(s, code);
  else /* before its name was there: nobody else will end our side */
    nq_stream_refuse(s, NQ_STREAM_UNKNOWN_PROTOCOL);
}

static void nq1_stopped(nq_stream *s, uint64_t code) {
  if (s->opened) {
    nq_report_stopped(s, code);
    return;
  }
  nq1(s)->stop_late = 1;
  nq1(s)->peer_stop_code = code;
}

static void nq1_refused(nq_stream *s, uint64_t code) {
  nq_report_refused(s, code);
  nq_rpc_end_calls(s); /* whether the peer answers STOP_SENDING or not */
}

static void forget_assembly(nq_stream *s) {
  if (nq1(s)->assembling)
    nq_assembly_end(s);
  nq1(s)->assembling = 0;
}

static void nq1_discard(nq_stream *s) {
  forget_assembly(s);
  nq_kept_end(s);
  nq_bytes_free(&nq1(s)->in);
}

static void nq1_close(nq_stream *s, uint64_t code) {
  forget_assembly(s);
  nq_kept_end(s);
  nq_cancel_forget(s);
  nq_report_closed(s, code);
  nq_rpc_end_calls(s); /* after the close, as in the original library */
}

static uint64_t nq1_close_events(const nq_stream *s) { return 1 + (uint64_t)nq1(s)->calls.n; }

static void nq1_free(nq_stream *s) {
  nq_hub *hub = s->c->hub;
  nq_bytes_free(&nq1(s)->in);
  nq_bytes_free(&nq1(s)->cancels);
  nq_kept_free(s);
  if (!nq1(s)->calls.owner)
    return;
  nq_timer_cancel(&hub->timers, &nq1(s)->calls.timer);
  nq_timers_unkeep(&hub->timers);
  nq_calls_free(&nq1(s)->calls);
}

#define NQ_PREFETCH_CALLS 32 /* of many more the next is not known */

static void nq1_prefetch(const nq_stream *s) {
  const nq_calls *calls = &nq1(s)->calls;
  uint32_t n = calls->made < NQ_PREFETCH_CALLS ? calls->made : NQ_PREFETCH_CALLS;
  for (uint32_t i = 0; i < n; i += 64 / sizeof *calls->slots)
    __builtin_prefetch(&calls->slots[i]);
}

/* The name goes out with the first write. */
static int queue_name(nq_stream *s, const char *name, size_t len) {
  uint8_t *p = nq_sendq_reserve(&s->out, &s->c->hub->pool, len + 1);
  if (!p)
    return -1;
  memcpy(p, name, len);
  p[len] = 0;
  nq_sendq_commit(&s->out, len + 1);
  s->c->queued += len + 1;
  s->preface = (uint16_t)(len + 1);
  return 0;
}

static int nq1_open(nq_conn *c, const nq_stream_options *o, nq_stream **out) {
  nq_stream *s = nq_stream_new(c, o->uni, 1, &nq_app_nq1);
  if (!s)
    return NQ_ERR_NOMEM;
  nq1(s)->kind = (uint8_t)o->kind;
  if ((o->kind == NQ_KIND_RPC && make_rpc(s, o->call_timeout)) || (o->name && queue_name(s, o->name, o->name_len))) {
    nq_stream_undo(s);
    return NQ_ERR_NOMEM;
  }
  *out = s;
  return NQ_DONE;
}

const nq_app nq_app_nq1 = {
    .name = "nq/1",
    .stream_size = sizeof(nq_nq1),
    .retain = nq_hdmap_retain,
    .release = nq_hdmap_release,
    .choose = nq_hdmap_choose,
    .open = nq1_open,
    .opened = nq_report_opened,
    .bytes = nq1_bytes,
    .fin = nq1_fin,
    .reset = nq1_reset,
    .stopped = nq1_stopped,
    .refused = nq1_refused,
    .go_on = nq1_go_on,
    .discard = nq1_discard,
    .acked = nq_report_acked,
    .writable = nq_report_writable,
    .close = nq1_close,
    .close_events = nq1_close_events,
    .free = nq1_free,
    .prefetch = nq1_prefetch,
    .datagram = nq_report_datagram,
    .fill = nq_cancel_fill,
};
