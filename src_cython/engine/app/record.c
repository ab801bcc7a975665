/* record.c: what the user sends on a stream: bytes, or records with their length before them. */
#include <stdlib.h>

#include "app/nq1.h"
#include "quic/stream_out.h"

static int send_message(nq_loop *l, nq_handle h, const uint8_t *data, size_t len, void *lender) {
  int err;
  uint8_t head[NQ_WIRE_LENGTH_MAX];
  size_t headlen = 0;
  nq_stream *s = nq_stream_sendable(nq_hub_of_const(l), h, &err);
  if (!s)
    return err;
  nq_stream_kind kind = nq_nq1_kind(s);
  if (kind == NQ_KIND_RECORD) {
    if (len > s->c->limits.max_message_size)
      return NQ_ERR_TOOBIG;
    headlen = nq_wire_length_put(head, (uint32_t)len);
  } else if (kind != NQ_KIND_RAW) {
    return NQ_ERR_STATE;
  } else if (!len) {
    return s->over_high;
  }
  if (nq_stream_full(s, headlen + len))
    return NQ_ERR_FULL;
  return lender ? nq_stream_put_lent(s, head, headlen, data, len, lender) : nq_stream_put(s, head, headlen, data, len);
}

int nq_stream_send(nq_loop *l, nq_handle h, const uint8_t *data, size_t len) {
  return send_message(l, h, data, len, NULL);
}

int nq_stream_lend(nq_loop *l, nq_handle h, const uint8_t *data, size_t len, void *lender) {
  return lender && len && len <= NQ_SENDQ_LEND_MAX ? send_message(l, h, data, len, lender) : NQ_ERR_ARG;
}

int nq_stream_send_marked(nq_loop *l, nq_handle h, const uint8_t *data, size_t len, void *user) {
  nq_stream *s = nq_stream_get(nq_hub_of(l), h);
  nq_mark *m = malloc(sizeof *m);
  if (!m)
    return NQ_ERR_NOMEM;
  uint64_t at = s ? s->out.end : 0;
  int rv = nq_stream_send(l, h, data, len);
  if (rv < 0 || s->out.end == at) { /* nothing was queued, so nothing will be acknowledged */
    free(m);
    return rv < 0 ? rv : NQ_ERR_ARG;
  }
  nq_stream_track(s, m, at, user);
  return rv;
}
