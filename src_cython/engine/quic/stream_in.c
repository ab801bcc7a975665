/* stream_in.c: see stream_in.h. Runs inside the transport's callbacks, so it only records. */
#include "quic/stream_in.h"

#include "app/app.h"
#include "quic/hold.h"
#include "quic/stream_end.h"
#include "quic/stream_out.h"

#define NQ_HELD_SLICE 65536u /* of held bytes, given at once: the rest may have to wait again */

void nq_stream_discard(nq_stream *s) {
  s->discard = 1;
  size_t held = nq_bytes_size(&s->held);
  if (held)
    nq_stream_credit(s, held);
  nq_bytes_free(&s->held);
  if (s->app->discard)
    s->app->discard(s);
}

void nq_stream_refuse(nq_stream *s, uint64_t code) {
  s->app->refused(s, code);
  nq_stream_discard(s);
  if (!s->peer_fin)
    nq_stream_want_stop(s, code);
  if (!s->uni || s->outgoing)
    nq_stream_want_reset(s, code);
}

/* Returns the bytes taken; after fewer than n the stream withholds what comes, the caller keeps the rest. */
static size_t give(nq_stream *s, const uint8_t *p, size_t n) {
  size_t used = s->app->bytes(s, p, n);
  nq_stream_credit(s, used);
  if (used < n) {
    s->withheld = 1;
    nq_stream_schedule(s);
  }
  return used;
}

/* The peer's FIN is reported once everything before it was. */
static void report_fin(nq_stream *s) {
  if (!s->peer_fin || s->fin_pushed || s->discard)
    return;
  s->fin_pushed = 1;
  s->app->fin(s);
}

void nq_stream_was_reset(nq_stream *s, uint64_t code) {
  if (s->discard)
    return;
  if (nq_hold_unannounced(s)) { /* nobody will hear of it */
    nq_stream_refuse(s, NQ_CODE_CLOSED);
    return;
  }
  s->app->reset(s, code);
  nq_stream_discard(s); /* half a message will never be whole */
}

/* Keeps what cannot be given now. Bytes that nobody keeps are the peer's to send again: their credit is given back.
 */
static void hold(nq_stream *s, const uint8_t *data, size_t len) {
  if (len && nq_bytes_append(&s->held, data, len)) {
    nq_stream_refuse(s, NQ_CODE_OVERLOAD);
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
  if (s->withheld || nq_hold_unannounced(s)) {
    s->withheld = 1;
    hold(s, data, len);
    return;
  }
  if (len) {
    size_t used = give(s, data, len);
    if (used < len) {
      hold(s, data + used, len - used);
      return;
    }
  }
  report_fin(s);
}

void nq_stream_continue(nq_stream *s) {
  if (nq_hold_unannounced(s))
    return;
  if (s->keeps)
    s->app->go_on(s);
  s->withheld = 0;
  nq_bytes held = s->held;
  nq_bytes_init(&s->held);
  while (!s->withheld && !s->discard && nq_bytes_size(&held)) {
    size_t left = nq_bytes_size(&held);
    nq_bytes_consume(&held, give(s, nq_bytes_at(&held), left < NQ_HELD_SLICE ? left : NQ_HELD_SLICE));
  }
  if (s->discard && nq_bytes_size(&held))
    nq_stream_credit(s, nq_bytes_size(&held));
  if (s->withheld) { /* until the next tick */
    s->held = held;
    return;
  }
  nq_bytes_free(&held);
  report_fin(s);
  if (s->reset_late) {
    s->reset_late = 0;
    nq_stream_was_reset(s, s->peer_reset_code);
  }
  if (s->close_late && !s->keeps)
    nq_stream_ended(s, s->close_code);
}

void nq_stream_end_reading(nq_stream *s, uint64_t code) {
  if (s->closed || s->discard)
    return;
  nq_stream_discard(s);
  if (s->close_late) { /* it waited only for the held bytes */
    s->paused = 0;
    nq_stream_schedule(s);
  } else if (!s->peer_fin) {
    nq_stream_want_stop(s, code);
  }
}

void nq_stream_end(nq_stream *s) {
  if (nq_stream_has_writable_side(s))
    nq_stream_end_writing(s);
  if (nq_stream_has_readable_side(s))
    nq_stream_end_reading(s, NQ_CODE_CLOSED);
}
