/* stream.h: one stream. stream.c: life and the calls of the user; stream_in.c: bytes to events; stream_out.c: queueing
 * and what ngtcp2 is given to send. */
#ifndef NQ_STREAM_H
#define NQ_STREAM_H

#include "app/calls.h"
#include "app/wire.h"
#include "base/bytes.h"
#include "base/sendq.h"
#include "quic/conn.h"

/* A write whose fate its sender wants to know: offsets [at, end) of the stream are not acknowledged yet. */
typedef struct nq_mark {
  struct nq_mark *next;
  uint64_t at, end, queued_at;
  void *user;
} nq_mark;

/* What its messages touch comes first: of 10,000 streams each has left the caches when its turn comes again. */
typedef struct nq_stream {
  nq_conn *c;
  nq_handle h;
  int64_t id; /* -1: none yet, or no longer known to ngtcp2 */
  void *user;
  const naquid_handler *native;
  struct nq_stream *send_next, *credit_next; /* in c->send */
  uint64_t credit;      /* wire bytes delivered in this batch */
  nq_sendq out;
  nq_mark *marks, **marks_tail;
  uint8_t kind;         /* nq_stream_kind; 0: the name has not arrived */
  uint8_t uni, outgoing;
  uint8_t opened;       /* STREAM_OPEN was pushed */
  uint8_t assembling;   /* frame is valid, `in` collects payload */
  uint8_t paused, holding, in_resumed; /* holding: what comes is put into `held` */
  uint8_t peer_fin, fin_pushed; /* the peer's FIN arrived; was reported */
  uint8_t discard;      /* we sent STOP_SENDING, or refused: drop what comes */
  uint8_t fin_wanted, fin_sent, shut; /* shut: our side was reset */
  uint8_t in_send, in_credits, in_opening;
  uint8_t above;        /* over the high watermark */
  uint8_t acked_all;
  uint8_t closed;       /* STREAM_CLOSE was pushed */
  uint8_t stop_wanted, reset_wanted;
  uint8_t extend;       /* the peer may open another one once this one has ended */
  uint8_t reset_late, close_late; /* the peer reset it, ngtcp2 forgot it, while bytes were still held back */
  uint8_t stop_late;    /* the peer wants no more of it, and its name has not arrived */
  uint16_t name_bytes;  /* of out: the protocol name */
  nq_bytes in;          /* header or payload of an incomplete message, name, or held-back bytes */
  nq_calls calls;       /* of NQ_KIND_RPC */
  nq_frame frame;       /* header of what `in` collects */
  int64_t public_id;    /* the ID it has or had, for the user */
  struct nq_stream *next, *prev; /* of the connection */
  struct nq_stream *open_next;   /* in c->opening */
  struct nq_stream *resume_next, *dead_next;
  uint64_t stop_code, reset_code, peer_reset_code, peer_stop_code, close_code;
  nq_bytes held;        /* arrived while paused, not decoded */
  size_t losses;        /* packets with our data that ngtcp2 had counted as lost */
} nq_stream;

nq_stream *nq_stream_get(const nq_loop *l, nq_handle h);
nq_stream *nq_stream_new(nq_conn *c, int uni, int outgoing);
void nq_stream_release(nq_stream *s);
/* Gives waiting streams their IDs, as far as the peer's limits go. */
void nq_streams_open_waiting(nq_conn *c);
/* STREAM_CLOSE and the end of its calls; freed after the batch. Without memory for those events it stays, and batch.oom
 * is set. */
void nq_stream_ended(nq_stream *s, uint64_t code);
uint64_t nq_stream_end_events(const nq_stream *s); /* how many those are */
void nq_stream_on_timer(nq_stream *s);
int nq_stream_make_rpc(nq_stream *s, uint64_t timeout); /* -1: no memory */
/* No reply can come any more: each waiting call ends with NQ_CALL_GONE. */
void nq_stream_end_calls(nq_stream *s);

/* stream_in.c */
void nq_stream_receive(nq_stream *s, const uint8_t *data, size_t len, int fin);
void nq_stream_continue(nq_stream *s); /* held bytes may go on */
void nq_stream_credit(nq_stream *s, uint64_t n);
/* From now on what comes is dropped and credited. */
void nq_stream_discard(nq_stream *s);
/* This side cannot go on with the stream: both directions end with the code. */
void nq_stream_refuse(nq_stream *s, uint64_t code);
/* The peer reset its side, and everything before that was delivered. */
void nq_stream_was_reset(nq_stream *s, uint64_t code);
/* Held bytes are decoded at the start of the next tick. */
void nq_stream_schedule(nq_stream *s);

/* stream_out.c */
/* There is something to send: data, FIN, RESET or STOP. */
void nq_stream_mark(nq_stream *s);
void nq_stream_unmark(nq_stream *s); /* out of c->send */
void nq_stream_acked(nq_stream *s, uint64_t upto);
/* It is reset: what was queued will not be sent, or sent again, and is freed. The peer cannot make us keep it by not
 * ending its own half; ngtcp2 looks at no byte of a stream that it has reset. */
void nq_stream_drop_queue(nq_stream *s);
/* Sending is over: what was not acknowledged will not be. Those for whose events there is no memory end with the
 * stream. */
void nq_stream_marks_end(nq_stream *s);
/* STOP_SENDING or RESET_STREAM goes out with the next write: callbacks of ngtcp2 may want it too. */
void nq_stream_want_stop(nq_stream *s, uint64_t code);
void nq_stream_want_reset(nq_stream *s, uint64_t code);
/* What was wanted is carried out. */
void nq_stream_shutdowns(nq_stream *s);

#endif
