/* nq1.h: the protocol nq/1: a name at the start of a stream says what it is for, and what it consists of: bare bytes,
 * records, or the frames of RPC (docs/wire.md). nq1.c: bytes to events; record.c: bytes and records out; rpc.c: calls
 * out; rpc_end.c: calls without a reply;
 * kept.c: requests that wait while their connection is held; cancel.c: calls that were given up. */
#ifndef NQ_NQ1_H
#define NQ_NQ1_H

#include "app/app.h"
#include "app/calls.h"
#include "app/wire.h"
#include "quic/stream.h"

extern const nq_app nq_app_nq1;

/* What it keeps of a stream. */
typedef struct nq_nq1 {
  const naquid_handler *native; /* gets its events inside the poll; NULL: none */
  nq_calls calls;          /* of NQ_KIND_RPC */
  nq_bytes in;             /* header or payload of an incomplete message, or of a name */
  nq_frame frame;          /* header of what `in` collects */
  struct nq_kept *kept;    /* of s->keeps */
  uint64_t peer_stop_code; /* of stop_late */
  nq_stream *wait_next, *wait_prev; /* in c->assemblers */
  uint8_t kind;            /* nq_stream_kind; 0: the name has not arrived */
  uint8_t assembling;      /* frame is valid, `in` collects its payload */
  uint8_t promised;        /* the memory of that message: see assembly.h */
  uint32_t dropping;       /* bytes to come of a message that is too large: nobody gets them */
  uint8_t stop_late;       /* the peer wants no more of it, and its name has not arrived */
  nq_bytes cancels;        /* IDs of calls that were given up, for the next packets */
  nq_stream *cancels_next, *cancels_prev; /* in c->fillers, if there are any */
} nq_nq1;

/* Of a stream that speaks nq/1. */
static inline nq_nq1 *nq1(const nq_stream *s) { return nq_stream_state(s); }

/* What a stream of one of our protocols consists of; 0: not known yet. */
static inline nq_stream_kind nq_nq1_kind(const nq_stream *s) {
  return s->app == &nq_app_nq1 ? (nq_stream_kind)nq1(s)->kind : NQ_KIND_RAW;
}

#endif
