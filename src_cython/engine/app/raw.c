/* raw.c: see raw.h. Handlers are those of a nq_hdmap that have no name. */
#include "app/raw.h"

#include "app/hdmap.h"
#include "app/report.h"
#include "quic/hold.h"
#include "quic/stream_in.h"

static int raw_open(nq_conn *c, const nq_stream_options *o, nq_stream **out) {
  if (o->kind != NQ_KIND_RAW || o->name)
    return NQ_ERR_STATE;
  *out = nq_stream_new(c, o->uni, 1, &nq_app_raw);
  return *out ? NQ_DONE : NQ_ERR_NOMEM;
}

/* 1: it is open, and has a handler. 0: it has none, and was refused. */
static int accepted(nq_stream *s) {
  if (s->opened)
    return 1;
  if (nq_hold_unannounced(s)) /* it is told when the connection is held no more */
    return 0;
  const nq_handler *h = nq_hdmap_nameless(s->c->handlers, s->uni);
  if (h)
    nq_report_accepted(s, h->user);
  else
    nq_stream_refuse(s, NQ_STREAM_UNKNOWN_PROTOCOL);
  return h != NULL;
}

static size_t raw_bytes(nq_stream *s, const uint8_t *data, size_t len) {
  const uint8_t *kept = accepted(s) ? nq_report_keep(s, data, len) : NULL;
  if (kept)
    nq_report_bytes(s, kept, len);
  return len;
}

static void raw_fin(nq_stream *s) {
  if (accepted(s)) /* an empty stream is a stream */
    nq_report_fin(s);
}

static void raw_reset(nq_stream *s, uint64_t code) {
  if (accepted(s))
    nq_report_reset(s, code);
}

static void raw_stopped(nq_stream *s, uint64_t code) {
  if (accepted(s))
    nq_report_stopped(s, code);
}

static uint64_t close_events(const nq_stream *s) {
  (void)s;
  return 1;
}

const nq_app nq_app_raw = {
    .name = "raw",
    .retain = nq_hdmap_retain,
    .release = nq_hdmap_release,
    .choose = nq_hdmap_choose,
    .open = raw_open,
    .opened = nq_report_opened,
    .bytes = raw_bytes,
    .fin = raw_fin,
    .reset = raw_reset,
    .stopped = raw_stopped,
    .refused = nq_report_refused,
    .acked = nq_report_acked,
    .writable = nq_report_writable,
    .close = nq_report_closed,
    .close_events = close_events,
    .datagram = nq_report_datagram,
};
