/* stream_in.h: the bytes of a stream on their way to its protocol. They are withheld while the stream is paused, or
 * while its connection has had its share; their credit too. */
#ifndef NQ_STREAM_IN_H
#define NQ_STREAM_IN_H

#include "quic/stream.h"

void nq_stream_receive(nq_stream *s, const uint8_t *data, size_t len, int fin);
void nq_stream_continue(nq_stream *s); /* held bytes may go on */
/* From now on what comes is dropped and credited. */
void nq_stream_discard(nq_stream *s);
/* The user wants no more of what comes: STOP_SENDING, unless all of it is here. */
void nq_stream_end_reading(nq_stream *s, uint64_t code);
/* Both: FIN after what is queued, STOP_SENDING for what comes. */
void nq_stream_end(nq_stream *s);
/* This side cannot go on with the stream: both directions end with the code. */
void nq_stream_refuse(nq_stream *s, uint64_t code);
/* The peer reset its side, and everything before that was delivered. */
void nq_stream_was_reset(nq_stream *s, uint64_t code);

#endif
