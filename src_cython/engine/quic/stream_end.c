/* stream_end.c: see stream_end.h. */
#include "quic/stream_end.h"

#include "app/app.h"
#include "quic/stream_out.h"

static void unlink_resumed(nq_stream *s) {
  nq_stream **at = &s->c->hub->resumed;
  while (*at != s)
    at = &(*at)->resume_next;
  *at = s->resume_next;
  if (s->c->hub->resumed_tail == &s->resume_next)
    s->c->hub->resumed_tail = at;
  s->in_resumed = 0;
}

uint64_t nq_stream_end_events(const nq_stream *s) {
  uint64_t n = s->app->close_events(s);
  for (const nq_mark *m = s->marks; m; m = m->next)
    n++;
  return n;
}

void nq_stream_ended(nq_stream *s, uint64_t code) {
  nq_conn *c = s->c;
  nq_hub *hub = c->hub;
  if (s->closed)
    return;
  uint64_t events = nq_stream_end_events(s);
  if (events > UINT32_MAX || !nq_events_room(&hub->batch, (uint32_t)events)) {
    hub->batch.oom = 1; /* it ends with the connection, which goes for this */
    return;
  }
  s->closed = 1;
  if (s->in_send)
    nq_sched_remove(s);
  if (s->in_opening)
    nq_stream_unlink_opening(s);
  if (s->in_resumed)
    unlink_resumed(s);
  nq_stream_no_writes(s);
  if (!s->write_reset)
    c->queued -= nq_sendq_queued(&s->out);
  nq_stream_marks_end(s);
  s->app->close(s, code);
  nq_stream_unlink(s);
  if (s->extend &&
      c->connected) { /* a withheld stream keeps its place: what is held is bounded by the limit of streams */
    c->transport->more_streams(c, s->uni);
    nq_conn_mark(c);
  }
  s->dead_next = hub->dead_streams;
  hub->dead_streams = s;
}

void nq_stream_cancel(nq_stream *s) {
  uint64_t events = nq_stream_end_events(s);
  if (events > UINT32_MAX || !nq_events_room(&s->c->hub->batch, (uint32_t)events))
    return; /* it is opened, and reset */
  s->cancelled = 1;
  s->write_reset = 1; /* its queue is empty */
  nq_stream_ended(s, s->reset_code);
}
