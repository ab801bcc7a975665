/* conn.h: one connection, and the client's object that outlives its connections. conn.c: life; conn_read.c: packets and
 * timers in; conn_callbacks.c: what ngtcp2 tells; conn_write.c: packets out; conn_error.c: what ngtcp2 finds wrong;
 * conn_close.c: the end. */
#ifndef NQ_CONN_H
#define NQ_CONN_H

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_ext.h>

#include "quic/dgram.h"
#include "quic/endpoint.h"
#include "quic/mtu.h"
#include "quic/sched.h"
#include "quic/transport.h"
#include "quic/turn.h"
#include "tls/session.h"

struct nq_stream;

enum { NQ_PING_NONE, NQ_PING_WANTED, NQ_PING_SENT };

/* How a connection ended, while there is no memory for the events that tell it. why 0: it is only to be freed.
 * delivered: the peer has acknowledged all that it was to get. */
typedef struct nq_conn_fate {
  uint64_t code;
  uint32_t why;
  uint8_t remote, pending, delivered;
} nq_conn_fate;

typedef struct nq_conn {
  nq_route route; /* first: a route is cast to the connection */
  uint8_t client; /* this side opened it */
  uint8_t state; /* NQ_CONN_* */
  uint8_t connected; /* the transport has it: from the first packet to the end */
  uint8_t dirty; /* in hub->dirty or hub->blocked */
  uint8_t announced; /* CONN_OPEN was pushed */
  uint8_t open; /* ... and dispatched: streams may be delivered */
  uint8_t handshaken; /* the handshake is complete (RFC 9001 4.1.1) */
  uint8_t confirmed; /* ... and confirmed (RFC 9001 4.1.2) */
  uint8_t was_reset; /* by a stateless reset */
  uint8_t close_now; /* close at the next flush */
  uint8_t free_wanted; /* the user gave the object up */
  uint8_t pinned_ep; /* the user chose the endpoint */
  uint8_t pinging; /* NQ_PING_* */
  uint8_t hold; /* NQ_HOLD_*: its new work is not delivered (quic/hold.h) */
  uint8_t shutdowns; /* a stream in `sched` wants RESET_STREAM or STOP_SENDING */
  uint8_t dead; /* in hub->dead_conns */
  uint8_t oom; /* an event was lost for want of memory: it is ended when it is written */
  uint8_t waits; /* it had more to send than the pace allowed */
  uint8_t starved; /* the peer gave the connection no credit to send what was there */
  uint8_t narrow; /* the windows of the peer are small from the start */
  uint8_t probing; /* a PING is wanted, whose answer nobody is told */
  uint8_t burst_window; /* of its endpoint, in which it wrote last */
  nq_hub *hub;
  nq_endpoint *ep; /* NULL: a client that has none yet */
  uint32_t left_ep; /* id of the socket that the connection before had */
  nq_handle h;
  void *user;
  const nq_transport *transport;
  const struct nq_app *app; /* the protocol of streams that the peer opens; chosen by ALPN */
  void *handlers; /* the app's own: who serves what */
  ngtcp2_crypto_conn_ref ref; /* how TLS finds ngtcp2's connection */
  ngtcp2_conn *quic; /* NULL: not connected */
  nq_tls_session *ssl; /* NULL: TLS has nothing more to say */
  nq_timer timer; /* of ngtcp2, or what the state waits for */
  uint64_t deadline; /* closing: give up flushing; waiting: reconnect */
  uint64_t posts_tick; /* closing: what other threads had asked for before is done in this tick; not earlier than it */
  struct nq_conn *dirty_next, *opened_next, *dead_next;

  struct nq_stream *streams; /* all, newest first */
  uint32_t n_streams;
  nq_sched sched; /* streams with something to send */
  struct nq_stream *opening[2], *opening_tail[2]; /* bidi, uni: waiting for an ID */
  uint32_t n_opening;
  nq_dgram *dgrams, **dgrams_tail; /* waiting to be sent */
  uint32_t n_dgrams;
  uint64_t next_dgram_id;
  uint64_t queued; /* bytes in send queues */
  struct nq_stream *fillers; /* whose protocol has something to queue before packets are written (app.h: fill) */
  struct nq_stream *writers, *writers_tail; /* have room, and wait for the connection's queue to have some */
  uint64_t kept; /* bytes of requests that wait though the peer has their credit back (app/kept.c) */
  uint64_t replies; /* bytes of replies that were not sent once */
  uint64_t replies_most; /* above it the connection is held (quic/hold.h) */
  uint64_t calls; /* that wait for a reply */
  uint32_t n_blocked; /* streams that wait for the peer's credit */
  uint32_t owed; /* replies that are promised and not queued yet */
  uint32_t fins; /* streams whose FIN is wanted, and not acknowledged */
  uint64_t assembly; /* bytes of incomplete messages */
  uint64_t promised; /* ... that those which may go on will have when they are whole */
  struct nq_stream *assemblers, *assemblers_tail; /* in the middle of a message, and have to wait for the others */
  uint64_t ping_sent; /* when */
  uint64_t idle; /* ns of silence after which it ends, as agreed with the peer; 0: never, or not agreed yet */
  uint64_t keep_alive, keep_alive_set; /* ns of silence before a PING: as limited, and shorter than that; as set now */
  uint64_t lost_until; /* unless something is heard before, the peer cannot be reached; 0: nothing says so */
  int lost_error; /* the errno that says so */
  nq_turn turn;
  nq_mtu mtu;

  nq_tls *tls;
  nq_limits limits;
  nq_addr remote, local;
  ngtcp2_cid first_dcid; /* server: of the client's first packet. ngtcp2 knows it only once it could read that one */
  uint32_t version; /* the only one that is wanted; 0: any */
  uint32_t offered; /* of those that the server's Version Negotiation named, the one that is tried next */
  uint64_t started; /* when it began to connect */
  char *server_name; /* to ask for, and to verify */
  uint8_t *token; /* of NEW_TOKEN, for the next connection */
  size_t token_len;
  uint8_t *certs; /* DER chain of the peer: (length 4 bytes, bytes)* */
  size_t certs_len;
  const uint8_t *alpn; /* the protocol agreed on, as a length byte and the name, in the context tls; NULL: none yet */
  char cipher[32], group[24];

  uint64_t close_code; /* what the user closes it with */
  char *close_reason;
  size_t close_reason_len;
  nq_conn_fate end;
} nq_conn;

static inline nq_conn *nq_conn_get(const nq_hub *hub, nq_handle h) { return nq_table_get(&hub->conns, h); }

/* It has something to write. */
static inline void nq_conn_mark(nq_conn *c) {
  if (c->dirty)
    return;
  c->dirty = 1;
  c->dirty_next = NULL;
  *c->hub->dirty_tail = c;
  c->hub->dirty_tail = &c->dirty_next;
  c->hub->marked++;
}

nq_conn *nq_conn_new(nq_hub *hub, const nq_limits *limits, const nq_transport *transport);
void nq_conn_release(nq_conn *c); /* the object itself; its QUIC connection is gone already */
/* The protocol of the connection, and its handlers: retained here. */
void nq_conn_speak(nq_conn *c, const struct nq_app *app, void *handlers);
/* The client's first packet is written at the flush. NQ_ERR_SYS: hub->err; NQ_ERR_NOMEM, NQ_ERR_ARG. */
int nq_conn_start_client(nq_conn *c);
/* The same with another version of QUIC than the server refused. */
int nq_conn_start_version(nq_conn *c, uint32_t version, uint32_t refused);
int nq_conn_start_server(nq_conn *c, nq_endpoint *ep, const ngtcp2_pkt_hd *hd, const nq_datagram *d,
                         const ngtcp2_cid *odcid, int retried);
void nq_conn_opened(nq_conn *c); /* CONN_OPEN was dispatched */
/* Its socket takes packets again: those that waited for it are dirty. */
void nq_conn_unblock(nq_hub *hub, const nq_endpoint *ep);
/* The timer is set. waits: it has more to send than the pace allows now. */
void nq_conn_arm(nq_conn *c, int waits);

/* conn_callbacks.c */
extern const ngtcp2_callbacks nq_conn_callbacks;
/* What became of a packet: not one of those, as no published ngtcp2 tells it. */
void nq_conn_pkt_outcome(ngtcp2_tstamp sent, size_t len, int lost, void *user);

#endif
