/* limit.h: every limit of the engine, in one table: field, default, smallest, largest, unit, what it bounds.
 * The struct, its defaults and its checks are made from these lines; the fields of naquid.Limits and the table of
 * docs/limits.md are written from them by scripts/gen_limits.py. */
#ifndef NQ_LIMITS_H
#define NQ_LIMITS_H

#include <stdint.h>

#define NQ_KIB(n) ((uint64_t)(n) << 10)
#define NQ_MIB(n) ((uint64_t)(n) << 20)
#define NQ_MSEC(n) ((uint64_t)(n) * 1000000u)
#define NQ_SEC(n) ((uint64_t)(n) * 1000000000u)

#define NQ_STREAM_WINDOW NQ_KIB(512) /* the receive window of a stream begins with this, or with its limit */

/* X(field, default, min, max, unit, text) */
#define NQ_LIMITS(X)                                                                                                   \
  X(handshake_timeout, NQ_SEC(10), NQ_MSEC(1), NQ_SEC(3600), "ns", "from the first packet to a completed handshake")   \
  X(idle_timeout, NQ_SEC(30), 0, NQ_SEC(86400 * 7), "ns",                                                              \
    "silence after which a connection is dropped "                                                                     \
    "(RFC 9000 10.1; the smaller of both sides); 0 never")                                                             \
  X(keep_alive, 0, 0, NQ_SEC(86400), "ns", "send a PING after this much silence; 0 never")                             \
  X(max_message_size, NQ_MIB(16), 1, 0xffffffffu, "bytes",                                                             \
    "one record or RPC payload; a larger record closes its stream, a larger message of RPC is dropped")                \
  X(max_assembly, NQ_MIB(64), NQ_KIB(64), NQ_MIB(65536), "bytes",                                                      \
    "incomplete messages of a connection; above it streams wait for each other, at twice as much one is closed")       \
  X(stream_window, NQ_MIB(16), 1024, NQ_MIB(1024), "bytes", "what the receive window of one stream may grow to")       \
  X(connection_window, NQ_MIB(24), 1024, NQ_MIB(4096), "bytes", "receive window of one connection")                    \
  X(max_streams_bidi, 1024, 0, 1u << 20, "streams", "bidirectional streams the peer may have open")                    \
  X(max_streams_uni, 128, 0, 1u << 20, "streams", "unidirectional streams the peer may have open")                     \
  X(max_pending_opens, 65536, 0, 1u << 24, "streams", "local streams waiting for the peer's stream limit")             \
  X(send_high, NQ_MIB(1), 1, NQ_MIB(4096), "bytes", "queued bytes of a stream above which it is not writable")         \
  X(send_low, NQ_KIB(256), 0, NQ_MIB(4096), "bytes", "queued bytes at which it is writable again")                     \
  X(max_send_queue, NQ_MIB(128), NQ_KIB(64), NQ_MIB(65536), "bytes", "unacknowledged bytes queued on a connection")    \
  X(max_pending_calls, 1u << 20, 1, 1u << 26, "calls", "unanswered RPC calls of one stream")                           \
  X(max_datagram_size, 65527, 0, 65527, "bytes", "largest DATAGRAM frame accepted (RFC 9221); 0 refuses them")         \
  X(datagram_queue, 256, 1, 1u << 20, "datagrams", "datagrams waiting to be sent; the oldest is dropped")              \
  X(max_udp_payload, 16240, 1200, 65527, "bytes",                                                                      \
    "largest UDP payload sent, where the path carries it, and wanted from the peer")                                   \
  X(shutdown_timeout, NQ_SEC(5), 0, NQ_SEC(3600), "ns", "time a closing connection has to flush what was queued")      \
  X(max_connections, 1u << 20, 1, 1u << 24, "connections", "accepted connections of one endpoint")                     \
  X(max_half_open, 4096, 0, 1u << 24, "connections", "handshakes under way above which clients must pass Retry")       \
  X(accept_per_tick, 1024, 1, 1u << 20, "connections", "new connections taken in one tick")

typedef struct nq_limits {
#define NQ_LIMIT_FIELD(field, dflt, min, max, unit, text) uint64_t field;
  NQ_LIMITS(NQ_LIMIT_FIELD)
#undef NQ_LIMIT_FIELD
} nq_limits;

typedef struct nq_limit_info {
  const char *name;
  uint64_t dflt, min, max;
  const char *unit, *text;
} nq_limit_info;

/* The defaults. */
void nq_limits_default(nq_limits *l);
/* NULL when every field is in range, else the row of the first that is not. */
const nq_limit_info *nq_limits_check(const nq_limits *l);
/* Row i of the table, NULL past its end. */
const nq_limit_info *nq_limits_row(int i);

#endif
