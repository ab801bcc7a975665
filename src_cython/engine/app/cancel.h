/* cancel.h: calls that were given up: this side tells the peer, and its calls are told of (docs/wire.md, extension). */
#ifndef NQ_CANCEL_H
#define NQ_CANCEL_H

#include "app/nq1.h"

/* A call of this side was cancelled, or had no reply in time: the peer is told with the next packets. */
void nq_cancel_add(nq_stream *s, uint32_t msgid);
/* Nobody is told any more. */
void nq_cancel_forget(nq_stream *s);
/* Packets are about to be written: queues the frames of all streams of the connection. */
void nq_cancel_fill(nq_conn *c);
/* The peer gave these calls up: an event for each. */
void nq_cancel_came(nq_stream *s, const uint8_t *ids, size_t len);

#endif
