/* rpc_end.h: calls that get no reply: in time, or at all. */
#ifndef NQ_RPC_END_H
#define NQ_RPC_END_H

#include "quic/stream.h"

/* The timer of a stream's calls: those whose deadline has passed end with NQ_CALL_TIMEOUT. */
void nq_rpc_on_timer(nq_stream *s);
/* No reply can come any more: each waiting call ends with NQ_CALL_GONE. */
void nq_rpc_end_calls(nq_stream *s);

#endif
