/* app.h: the seam between a connection and what speaks on it: the table that an application protocol fills. A
 * connection has one, by the ALPN name that its handshake agreed on (RFC 7301); its streams have what the protocol
 * keeps of each behind them (nq_stream_state). Nothing in quic/ knows more of a protocol than this.
 *
 * The functions are called inside callbacks of a native library: they record, by events and by what they put into send
 * queues, and do not write packets. */
#ifndef NQ_APP_H
#define NQ_APP_H

#include <stddef.h>
#include <stdint.h>

struct nq_conn;
struct nq_stream;
struct nq_stream_options;

typedef struct nq_app {
  const char *name;
  /* Bytes that it keeps of each stream, zeroed when that is made. */
  size_t stream_size;

  /* Handlers, whatever they are to the protocol: one more reference, which is returned; and one less. NULL is none. */
  void *(*retain)(void *handlers);
  void (*release)(void *handlers);
  /* The handshake of a server's connection agreed on this ALPN name: another protocol, with handlers of its own, may
   * take over by nq_conn_speak. Before any stream is there. */
  void (*choose)(struct nq_conn *c, const char *alpn, size_t len);
  /* NULL, or: the connection is open, and begins to speak: control streams. */
  void (*begin)(struct nq_conn *c);

  /* The user opens a stream (nq_stream_open): it is made, and waits for its ID. NQ_DONE, NQ_ERR_ARG, NQ_ERR_STATE: the
   * protocol has none of this kind; NQ_ERR_NOMEM. */
  int (*open)(struct nq_conn *c, const struct nq_stream_options *o, struct nq_stream **out);
  /* A stream of this side has its ID now. */
  void (*opened)(struct nq_stream *s);
  /* Bytes of the stream, in order. Returns how many it took: what is left comes again in the next tick, before what
   * follows. data is good only until it returns. */
  size_t (*bytes)(struct nq_stream *s, const uint8_t *data, size_t len);
  /* The peer's FIN, and everything before it was taken. */
  void (*fin)(struct nq_stream *s);
  /* The peer's RESET_STREAM with this code, and everything that came before it was taken. */
  void (*reset)(struct nq_stream *s, uint64_t code);
  /* The peer's STOP_SENDING: this side of the stream was reset for it. */
  void (*stopped)(struct nq_stream *s, uint64_t code);
  /* This side gives the stream up with this code, both directions: what came is no message, is too large, or could not
   * be kept. s->discard: it wanted no more of it anyway. */
  void (*refused)(struct nq_stream *s, uint64_t code);
  /* NULL, or: the connection is held no more (quic/hold.h): what was kept of the stream meanwhile goes on, in order, as
   * far as the connection has a share of this tick. It clears s->keeps once nothing of it is left. */
  void (*go_on)(struct nq_stream *s);
  /* NULL, or: whatever comes from now on is dropped, so what it keeps of an unfinished message is freed. */
  void (*discard)(struct nq_stream *s);
  /* Everything that was sent, the FIN included, is acknowledged. */
  void (*acked)(struct nq_stream *s);
  /* The send queue is below its low mark again. */
  void (*writable)(struct nq_stream *s);
  /* Both directions have ended, with this code. There is room for as many events as close_events said. */
  void (*close)(struct nq_stream *s, uint64_t code);
  /* How many events the close will push. */
  uint64_t (*close_events)(const struct nq_stream *s);
  /* NULL, or: the memory that it keeps of the stream goes. */
  void (*free)(struct nq_stream *s);
  /* NULL, or: asks the processor for the memory that the next bytes of the stream will touch. */
  void (*prefetch)(const struct nq_stream *s);

  /* A datagram (RFC 9221). data is good only until it returns. */
  void (*datagram)(struct nq_conn *c, const uint8_t *data, size_t len);
  /* NULL, or: packets are about to be written; it queues what it wants in them. */
  void (*fill)(struct nq_conn *c);
} nq_app;

#endif
