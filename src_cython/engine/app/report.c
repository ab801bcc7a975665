/* report.c: see report.h. */
#include "app/report.h"

#include <string.h>

#include "app/hdmap.h"
#include "quic/stream_in.h"

static nq_event *push(nq_stream *s, nq_event_kind kind) { return nq_events_push(&s->c->hub->batch, kind, s->h); }

void nq_report_opened(nq_stream *s) {
  nq_event *e = push(s, NQ_EV_STREAM_OPEN);
  e->flags = (uint8_t)(NQ_EVF_OUTGOING | (s->uni ? NQ_EVF_UNI : 0));
  e->conn = s->c->h;
  e->user = s->user;
}

void nq_report_accepted(nq_stream *s, void *user) {
  s->opened = 1;
  nq_event *e = push(s, NQ_EV_STREAM_OPEN);
  e->flags = s->uni ? NQ_EVF_UNI : 0;
  e->conn = s->c->h;
  e->user = user;
}

void nq_report_fin(nq_stream *s) { push(s, NQ_EV_STREAM_FIN); }

void nq_report_reset(nq_stream *s, uint64_t code) {
  if (s->opened)
    push(s, NQ_EV_STREAM_RESET)->code = code;
}

void nq_report_stopped(nq_stream *s, uint64_t code) { push(s, NQ_EV_STREAM_STOP)->code = code; }

void nq_report_refused(nq_stream *s, uint64_t code) {
  if (!s->opened || s->discard)
    return;
  nq_event *e = push(s, NQ_EV_STREAM_RESET);
  e->flags = NQ_EVF_LOCAL;
  e->code = code;
}

void nq_report_acked(nq_stream *s) { push(s, NQ_EV_STREAM_ACKED); }
void nq_report_writable(nq_stream *s) { push(s, NQ_EV_STREAM_WRITABLE); }

void nq_report_closed(nq_stream *s, uint64_t code) {
  if (s->opened || s->cancelled)
    push(s, NQ_EV_STREAM_CLOSE)->code = code;
}

void nq_report_datagram(nq_conn *c, const uint8_t *data, size_t len) {
  nq_hub *hub = c->hub;
  uint8_t *copy = nq_arena_alloc(&hub->batch.arena, len ? len : 1);
  if (!copy) { /* unreliable by definition */
    hub->stats.datagrams_dropped_memory++;
    return;
  }
  if (len)
    memcpy(copy, data, len);
  if (nq_hdmap_datagram(c->handlers))
    hub->natives = 1;
  nq_event *e = nq_events_push(&hub->batch, NQ_EV_DATAGRAM, c->h);
  e->data = copy;
  e->len = len;
  e->user = c->user;
}

/* The transport reuses its buffer for the next packet; events need theirs until the batch is dispatched. */
const uint8_t *nq_report_keep(nq_stream *s, const uint8_t *data, size_t len) {
  uint8_t *copy = nq_arena_alloc(&s->c->hub->batch.arena, len);
  if (copy)
    memcpy(copy, data, len);
  else
    nq_stream_refuse(s, NQ_CODE_OVERLOAD);
  return copy;
}

void nq_report_bytes(nq_stream *s, const uint8_t *kept, size_t len) {
  nq_event *e = push(s, NQ_EV_STREAM_DATA);
  e->data = kept;
  e->len = len;
}
