/* stream.c: streams, as engine.h has them. What is sent on them is app/record.c's and app/rpc.c's. */
#include <string.h>

#include "app/app.h"
#include "app/wire.h"
#include "loop/loop.h"
#include "quic/stream_end.h"
#include "quic/stream_in.h"
#include "quic/stream_out.h"

int nq_stream_open(nq_loop *l, nq_handle conn, const nq_stream_options *o, nq_handle *stream) {
  nq_conn *c = nq_conn_get(&l->hub, conn);
  if (!c)
    return NQ_ERR_STALE;
  if (o->kind < NQ_KIND_RAW || o->kind > NQ_KIND_RPC || o->name_len > NQ_WIRE_NAME_MAX || (o->uni && o->name) ||
      (o->uni && o->kind != NQ_KIND_RAW) || (o->name && (!o->name_len || memchr(o->name, 0, o->name_len))))
    return NQ_ERR_ARG;
  if (c->state == NQ_CONN_CLOSING || c->free_wanted || c->dead)
    return NQ_ERR_STATE;
  if (c->n_opening >= c->limits.max_pending_opens)
    return NQ_ERR_FULL;
  nq_stream *s;
  int rv = c->app->open(c, o, &s);
  if (rv)
    return rv;
  s->user = o->user;
  nq_stream_wait_open(s);
  *stream = s->h;
  return NQ_DONE;
}

int nq_stream_alive(const nq_loop *l, nq_handle h) { return nq_table_alive(&l->hub.streams, h); }

void *nq_stream_user(const nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(&l->hub, h);
  return s ? s->user : NULL;
}

int nq_stream_set_user(nq_loop *l, nq_handle h, void *user) {
  nq_stream *s = nq_stream_get(&l->hub, h);
  if (!s)
    return NQ_ERR_STALE;
  s->user = user;
  return NQ_DONE;
}

nq_handle nq_stream_conn(const nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(&l->hub, h);
  return s ? s->c->h : 0;
}

int64_t nq_stream_id(const nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(&l->hub, h);
  return s ? s->public_id : -1;
}

int nq_stream_is_outgoing(const nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(&l->hub, h);
  return s ? s->outgoing : 0;
}

uint64_t nq_stream_queued(const nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(&l->hub, h);
  return s && !s->closed ? nq_sendq_queued(&s->out) : 0;
}

int nq_stream_finish(nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(&l->hub, h);
  if (!s)
    return NQ_ERR_STALE;
  if (!nq_stream_has_writable_side(s))
    return NQ_ERR_STATE;
  nq_stream_end_writing(s);
  return NQ_DONE;
}

int nq_stream_reset(nq_loop *l, nq_handle h, uint64_t code) {
  nq_stream *s = nq_stream_get(&l->hub, h);
  if (!s)
    return NQ_ERR_STALE;
  if (!nq_stream_has_writable_side(s))
    return NQ_ERR_STATE;
  if (code >= UINT64_C(1) << 62)
    return NQ_ERR_ARG;
  if (s->closed || s->write_reset || s->reset_wanted) /* the first code stands */
    return NQ_DONE;
  nq_stream_want_reset(s, code);
  if (s->in_opening)
    nq_stream_cancel(s);
  return NQ_DONE;
}

int nq_stream_stop(nq_loop *l, nq_handle h, uint64_t code) {
  nq_stream *s = nq_stream_get(&l->hub, h);
  if (!s)
    return NQ_ERR_STALE;
  if (!nq_stream_has_readable_side(s))
    return NQ_ERR_STATE;
  if (code >= UINT64_C(1) << 62)
    return NQ_ERR_ARG;
  nq_stream_end_reading(s, code);
  return NQ_DONE;
}

int nq_stream_close(nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(&l->hub, h);
  if (!s)
    return NQ_ERR_STALE;
  nq_stream_end(s);
  return NQ_DONE;
}

int nq_stream_writable(nq_loop *l, nq_handle h) {
  int err;
  nq_stream *s = nq_stream_sendable(&l->hub, h, &err);
  return s ? nq_stream_wait(s) : err;
}

int nq_stream_pause(nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(&l->hub, h);
  if (!s)
    return NQ_ERR_STALE;
  if (s->closed)
    return NQ_DONE;
  s->paused = 1;
  s->withheld = 1;
  return NQ_DONE;
}

int nq_stream_resume(nq_loop *l, nq_handle h) {
  nq_stream *s = nq_stream_get(&l->hub, h);
  if (!s)
    return NQ_ERR_STALE;
  if (s->closed) /* its memory goes at the flush: no list may have it */
    return NQ_DONE;
  s->paused = 0;
  if (s->withheld && s->c->open)
    nq_stream_schedule(s);
  return NQ_DONE;
}
