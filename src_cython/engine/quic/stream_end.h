/* stream_end.h: the end of a stream, both directions. What has ended waits in hub->dead_streams until its events were
 * dispatched; then nq_loop_flush frees it (nq_stream_release). */
#ifndef NQ_STREAM_END_H
#define NQ_STREAM_END_H

#include "quic/stream.h"

/* The events of its end; freed after the batch. Without memory for those events it stays, and batch.oom is set. */
void nq_stream_ended(nq_stream *s, uint64_t code);
/* One that was reset before it had an ID: the peer never hears of it, and it uses up none. It ends now. */
void nq_stream_cancel(nq_stream *s);
uint64_t nq_stream_end_events(const nq_stream *s); /* how many those are */

#endif
