/* kept.h: requests and notifications that came while their connection was held (quic/hold.h). They are kept as the
 * bytes of their frames, in order, and the peer does not get their credit back: a window of the stream bounds them.
 * Replies are not kept: they pass. As those may stand behind more requests than a window takes, a stream on which this
 * side waits for replies gives credit for what it keeps, as far as a window of the connection goes. */
#ifndef NQ_KEPT_H
#define NQ_KEPT_H

#include "app/nq1.h"

/* Whether such a message has to be kept now. */
static inline int nq_kept_needed(const nq_stream *s, const nq_frame *f) {
  return (s->c->hold | s->keeps) && nq1(s)->kind == NQ_KIND_RPC && f->kind != NQ_FRAME_REPLY;
}

/* Keeps a whole message. Without memory for it the stream is refused. */
void nq_kept_add(nq_stream *s, const nq_frame *f, const uint8_t *payload);
/* n of the bytes that the protocol is taking just now belong to messages that are kept: they get no credit. */
void nq_kept_owe(nq_stream *s, size_t n);
/* The peer gave up the call of this ID: if its request is kept, it is not delivered. */
void nq_kept_cancel(nq_stream *s, uint32_t msgid);
/* This side has made a call on a stream that keeps requests: its reply may come behind more of them. */
void nq_kept_lend(nq_stream *s);
/* The oldest message that is kept: its size with its header, 0: there is none. */
size_t nq_kept_first(nq_stream *s, nq_frame *f, const uint8_t **payload);
/* Whether the peer gave up the call of this request: once, as its ID may be used again. */
int nq_kept_is_cancelled(nq_stream *s, const nq_frame *f);
/* The oldest one, of this size, was delivered. */
void nq_kept_delivered(nq_stream *s, size_t n);
/* Frees what is kept. end: the peer gets all the credit back; 1: its FIN came behind what was kept. */
void nq_kept_free(nq_stream *s);
int nq_kept_end(nq_stream *s);
/* The peer's FIN came: 1: it is told once all that is kept is delivered. */
int nq_kept_fin(nq_stream *s);

#endif
