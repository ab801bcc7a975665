/* stream_out.h: what a stream sends: queueing, watermarks, acknowledgements. */
#ifndef NQ_STREAM_OUT_H
#define NQ_STREAM_OUT_H

#include <string.h>

#include "quic/stream.h"

static inline int nq_stream_has_writable_side(const nq_stream *s) { return s->outgoing || !s->uni; }
static inline int nq_stream_has_readable_side(const nq_stream *s) { return !s->outgoing || !s->uni; }

/* The stream, if a reply can be queued on it, also while its connection is closing; NULL and *err: NQ_ERR_STALE,
 * NQ_ERR_STATE. */
static inline nq_stream *nq_stream_repliable(const nq_hub *hub, nq_handle h, int *err) {
  nq_stream *s = nq_stream_get(hub, h);
  if (!s || s->closed) {
    *err = NQ_ERR_STALE;
    return NULL;
  }
  if (s->fin_wanted || s->write_reset || s->reset_wanted || !nq_stream_has_writable_side(s)) {
    *err = NQ_ERR_STATE;
    return NULL;
  }
  return s;
}

/* The same for whatever is queued: while its connection is closing only in the tick in which it is done what other
 * threads had asked for before. Once something was refused so is all that follows: the peer must not see a gap. */
static inline nq_stream *nq_stream_sendable(const nq_hub *hub, nq_handle h, int *err) {
  nq_stream *s = nq_stream_repliable(hub, h, err);
  if (s && s->c->state == NQ_CONN_CLOSING && (s->cut || s->c->posts_tick != hub->stats.ticks)) {
    s->cut = 1;
    *err = NQ_ERR_STATE;
    return NULL;
  }
  return s;
}

/* Above the first the streams of a connection are not writable, whatever they have queued; at the second they are. */
static inline uint64_t nq_stream_conn_high(const nq_conn *c) { return c->limits.max_send_queue / 2; }
static inline uint64_t nq_stream_conn_low(const nq_conn *c) { return c->limits.max_send_queue / 4; }

/* Whether n bytes more may not be queued: the connection's queue is full, and whoever sends on this stream was told to
 * wait. Who was not told, or has waited, always has one message more, of at most that size. */
static inline int nq_stream_full(const nq_stream *s, size_t n) {
  uint64_t most = s->c->limits.max_send_queue;
  return s->c->queued + n > most && (s->over_high || n > most);
}

/* n bytes were committed to the send queue. 0, or 1: above the high watermark. */
static inline int nq_stream_queued_more(nq_stream *s, size_t n) {
  nq_conn *c = s->c;
  c->queued += n;
  if (!s->in_send)
    nq_sched_add(s);
  if (nq_sendq_queued(&s->out) > c->limits.send_high || c->queued > nq_stream_conn_high(c))
    s->over_high = 1;
  return s->over_high;
}

/* Most messages are a few bytes: a call of memcpy would take longer than they do. */
static inline void nq_stream_copy(uint8_t *to, const uint8_t *from, size_t n) {
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

/* Appends a header and its payload to the send queue, full or not. 0, 1 (above the high watermark) or NQ_ERR_NOMEM. */
int nq_stream_put(nq_stream *s, const uint8_t *head, size_t headlen, const uint8_t *data, size_t len);
/* The same, for bytes that stay where they are until the lender is given back. */
int nq_stream_put_lent(nq_stream *s, const uint8_t *head, size_t headlen, const uint8_t *data, size_t len,
                       void *lender);
/* What was queued from offset `at` on is a tracked write; m is taken over. */
void nq_stream_track(nq_stream *s, nq_mark *m, uint64_t at, void *user);

/* 1: it is not writable, and will be told when it is. 0: it is. */
int nq_stream_wait(nq_stream *s);
/* Streams that wait for the connection's queue are told, oldest first, as many as it has room for. */
void nq_stream_tell_writers(nq_conn *c);
/* Everything below the offset was acknowledged, or a FIN was. */
void nq_stream_acked(nq_stream *s, uint64_t upto);
/* Its FIN is acknowledged, or none will be. */
void nq_stream_fin_settled(nq_stream *s);
/* Nothing is sent on it any more: it waits for nobody. */
void nq_stream_no_writes(nq_stream *s);
/* It is reset: what was queued will not be sent, or sent again, and is freed. The peer cannot make us keep it by not
 * ending its own half; ngtcp2 looks at no byte of a stream that it has reset. */
void nq_stream_drop_queue(nq_stream *s);
/* Sending is over: what was not acknowledged will not be. Those for whose events there is no memory end with the
 * stream. */
void nq_stream_marks_end(nq_stream *s);
/* FIN after what is queued. */
void nq_stream_end_writing(nq_stream *s);
/* STOP_SENDING or RESET_STREAM goes out with the next write: callbacks of ngtcp2 may want it too. */
void nq_stream_want_stop(nq_stream *s, uint64_t code);
void nq_stream_want_reset(nq_stream *s, uint64_t code);
/* What was wanted is carried out. */
void nq_stream_shutdowns(nq_stream *s);

#endif
