/* transport.h: the seam below streams and protocols: what they ask of whatever carries a connection. QUIC by ngtcp2 is
 * the one there is (transport.c). */
#ifndef NQ_TRANSPORT_H
#define NQ_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>

struct nq_conn;
struct nq_stream;

typedef struct nq_transport {
  const char *name;
  /* Gives the stream its ID: 0; 1: the peer allows no more now; negative: the connection is over, with this error. */
  int (*open)(struct nq_conn *c, struct nq_stream *s, int64_t *id);
  /* STOP_SENDING and RESET_STREAM, or what stands for them. */
  void (*stop)(struct nq_conn *c, int64_t id, uint64_t code);
  void (*reset)(struct nq_conn *c, int64_t id, uint64_t code);
  /* The peer may send n bytes more: on this stream (-1: it has ended), and on the connection. */
  void (*credit)(struct nq_conn *c, int64_t id, uint64_t n);
  /* ... on this stream alone. */
  void (*stream_credit)(struct nq_conn *c, int64_t id, uint64_t n);
  /* The peer may open one stream more. */
  void (*more_streams)(struct nq_conn *c, int uni);
  /* Whether the FIN of this stream, and all before it, was acknowledged. */
  int (*fin_acked)(struct nq_conn *c, int64_t id);
  /* Packets with data of this stream that were taken for lost, so far. */
  size_t (*losses)(struct nq_conn *c, int64_t id);
  /* Sends what datagrams and streams have, as far as the peer and the network allow, and sets the timer. */
  void (*write)(struct nq_conn *c);
  void (*on_timer)(struct nq_conn *c);
  /* One packet that says it is over, and no event: the loop goes away. */
  void (*abort)(struct nq_conn *c);
  /* A client goes on from a new local socket: NQ_DONE, NQ_ERR_STATE, NQ_ERR_SYS. */
  int (*migrate)(struct nq_conn *c);
} nq_transport;

extern const nq_transport nq_transport_quic;

#endif
