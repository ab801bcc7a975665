/* stream.h: one stream, and what the files of its name share. stream.c: life; stream_in.c: bytes to the protocol;
 * stream_out.c: what is queued, and acknowledged; stream_end.c: the end, after which the flush of the loop frees it. */
#ifndef NQ_STREAM_H
#define NQ_STREAM_H

#include "base/bytes.h"
#include "base/sendq.h"
#include "quic/conn.h"

/* A write whose fate its sender wants to know: offsets [at, end) of the stream are not acknowledged yet. */
typedef struct nq_mark {
  struct nq_mark *next;
  uint64_t at, end;
  uint64_t queued_at; /* ns */
  void *user;
} nq_mark;

/* What its messages touch comes first: of 10,000 streams each has left the caches when its turn comes again. */
typedef struct nq_stream {
  nq_conn *c;
  nq_handle h;
  int64_t id; /* -1: none yet, or no longer known to the transport */
  void *user;
  const struct nq_app *app; /* the protocol that it speaks */
  struct nq_stream *send_next;   /* in c->sched */
  struct nq_stream *credit_next; /* in hub->credits */
  uint64_t credit;      /* wire bytes delivered in this batch */
  uint64_t owed;        /* that the peer has back on the connection, and not yet on the stream */
  nq_sendq out;         /* what is not acknowledged */
  nq_mark *marks, **marks_tail; /* tracked writes, by offset */
  uint16_t preface; /* bytes at the start of out that do not leave alone: a name waits for what is written behind it */
  uint8_t uni, outgoing; /* unidirectional; opened by this side */
  uint8_t opened; /* STREAM_OPEN was pushed */
  uint8_t paused; /* by the user */
  uint8_t withheld; /* what comes is put into `held` */
  uint8_t keeps; /* the protocol keeps messages of it, for its connection is held */
  uint8_t peer_fin, fin_pushed; /* the peer's FIN arrived; was given to the protocol */
  uint8_t discard; /* we sent STOP_SENDING, or refused: drop what comes */
  uint8_t fin_wanted, fin_sent;
  uint8_t write_reset; /* our side was reset */
  uint8_t in_send, in_credits, in_opening, in_resumed; /* in which lists it is */
  uint8_t over_high; /* the send queue has been above its high mark, and not yet below the low one */
  uint8_t acked_all; /* the protocol was told so */
  uint8_t fin_counted; /* in c->fins */
  uint8_t blocked; /* in c->n_blocked */
  uint8_t cancelled; /* reset before it had an ID: its end is told though its begin was not */
  uint8_t in_writers; /* in c->writers */
  uint8_t owing; /* the protocol wants no more of it for now: its own credit is withheld */
  uint8_t late; /* the peer opened it while the connection was closing */
  uint8_t closed; /* its end was told */
  uint8_t cut; /* its connection is closing, and something that came too late was refused */
  uint8_t stop_wanted, reset_wanted; /* STOP_SENDING, RESET_STREAM go out with the next write */
  uint8_t extend; /* the peer may open another one once this one has ended */
  uint8_t reset_late, close_late; /* the peer reset it, the transport forgot it, while bytes were still withheld */
  int64_t public_id; /* the ID it has or had, for the user */
  struct nq_stream *next, *prev; /* of the connection */
  struct nq_stream *open_next, *open_prev; /* in c->opening */
  struct nq_stream *resume_next; /* in hub->resumed */
  struct nq_stream *dead_next; /* in hub->dead_streams */
  uint64_t stop_code, reset_code; /* that this side sends */
  uint64_t peer_reset_code, close_code; /* of reset_late, close_late */
  nq_bytes held; /* arrived while withheld, not given to the protocol */
  uint32_t asked; /* requests that have no reply yet, of those that were counted: in c->asked */
  uint64_t replies; /* bytes of replies in `out` that were not sent once: in c->replies */
  struct nq_stream *writers_next, *writers_prev; /* in c->writers */
  size_t losses; /* packets with our data that were counted as lost */
} nq_stream;

/* What the protocol keeps of the stream: its stream_size bytes. */
static inline void *nq_stream_state(const nq_stream *s) {
  union {
    const nq_stream *c;
    nq_stream *s;
  } at = {.c = s};
  return at.s + 1;
}

static inline nq_stream *nq_stream_get(const nq_hub *hub, nq_handle h) { return nq_table_get(&hub->streams, h); }

/* So many bytes that came were consumed: the peer may send as many again once the batch was dispatched. */
static inline void nq_stream_credit(nq_stream *s, uint64_t n) {
  nq_hub *hub = s->c->hub;
  s->credit += n;
  if (!s->in_credits) {
    s->in_credits = 1;
    s->credit_next = hub->credits;
    hub->credits = s;
  }
}

/* It has credit, or nothing to send any more. */
static inline void nq_stream_unblock(nq_stream *s) {
  s->c->n_blocked -= s->blocked;
  s->blocked = 0;
}

/* Held bytes go on at the start of the next tick. */
static inline void nq_stream_schedule(nq_stream *s) {
  nq_hub *hub = s->c->hub;
  if (s->in_resumed)
    return;
  s->in_resumed = 1;
  s->resume_next = NULL;
  *hub->resumed_tail = s;
  hub->resumed_tail = &s->resume_next;
}

/* NULL: no memory. */
nq_stream *nq_stream_new(nq_conn *c, int uni, int outgoing, const struct nq_app *app);
void nq_stream_release(nq_stream *s); /* frees it: at the flush, once its end was dispatched */
/* Frees one that no event has named: it could not be opened. */
void nq_stream_undo(nq_stream *s);
void nq_stream_unlink(nq_stream *s); /* from its connection */
/* A stream of this side waits for its ID. */
void nq_stream_wait_open(nq_stream *s);
void nq_stream_unlink_opening(nq_stream *s);
/* Gives waiting streams their IDs, as far as the peer's limits go. Not 0: the connection is over, with this error of
 * its transport. */
int nq_streams_open_waiting(nq_conn *c);

#endif
