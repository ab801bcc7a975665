/* conn.h: one QUIC connection: the glue to ngtcp2, paths, closing; and the client's object that outlives its
 * connections. conn.c: life; conn_callbacks.c: what ngtcp2 tells; conn_write.c: packets out; conn_close.c: the end. */
#ifndef NQ_CONN_H
#define NQ_CONN_H

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include "app/hdmap.h"
#include "quic/endpoint.h"
#include "quic/mtu.h"
#include "tls/session.h"

struct nq_stream;

typedef struct nq_dgram {
  struct nq_dgram *next;
  size_t len;
  uint8_t data[];
} nq_dgram;

enum { NQ_PING_NONE, NQ_PING_WANTED, NQ_PING_SENT };

/* How a connection ended, while there is no memory for the events that tell it. why 0: it is only to be freed. */
typedef struct nq_conn_fate {
  uint64_t code;
  uint32_t why;
  uint8_t remote, pending;
} nq_conn_fate;

typedef struct nq_conn {
  nq_route route; /* first: a route is cast to the connection */
  uint8_t client, state; /* NQ_CONN_* */
  uint8_t dirty;      /* in l->dirty */
  uint8_t announced;  /* CONN_OPEN was pushed */
  uint8_t open;       /* ... and dispatched: streams may be delivered */
  uint8_t handshaken, confirmed;
  uint8_t was_reset;  /* by a stateless reset */
  uint8_t close_now;  /* close at the next flush */
  uint8_t free_wanted; /* the user gave the object up */
  uint8_t pinned_ep;  /* the user chose the endpoint */
  uint8_t pinging;    /* NQ_PING_* */
  uint8_t shutdowns;  /* a stream in `send` wants RESET_STREAM or STOP_SENDING */
  uint8_t dead;       /* in l->dead_conns */
  uint8_t oom;        /* an event was lost for want of memory: it is ended when it is written */
  uint8_t waits;      /* it had more to send than the pace allowed */
  uint8_t spell;      /* of its endpoint, in which it wrote last */
  nq_loop *l;
  nq_endpoint *ep;
  uint32_t left_ep; /* id of the socket that the connection before had */
  nq_handle h;
  void *user;
  ngtcp2_crypto_conn_ref ref;
  ngtcp2_conn *q;
  nq_tls_session *ssl;
  nq_timer timer;    /* of ngtcp2, or what the state waits for */
  uint64_t deadline; /* closing: give up flushing; waiting: reconnect */
  struct nq_conn *dirty_next, *opened_next, *dead_next;

  struct nq_stream *streams; /* all, newest first */
  uint32_t n_streams;
  struct nq_stream *send, *send_tail;     /* round robin of streams with something to send */
  struct nq_stream *opening[2], *opening_tail[2]; /* bidi, uni: waiting for an ID */
  uint32_t n_opening;
  nq_dgram *dgrams, **dgrams_tail;
  uint32_t n_dgrams;
  uint64_t next_dgram_id;
  uint64_t queued;    /* bytes in send queues */
  uint64_t assembly;  /* bytes of incomplete messages */
  uint64_t ping_sent;
  uint64_t turn;      /* the tick in which it has `taken` so many requests and records */
  uint32_t taken, share; /* ... and may take, while the loop is timing; 0: not known, all */
  uint64_t cost;      /* ns that the handlers of one take, smoothed */
  nq_mtu mtu;

  nq_hdmap *hdmap;
  nq_tls *tls;
  nq_limits limits;
  nq_addr remote, local;
  ngtcp2_cid first_dcid; /* server: of the client's first packet. ngtcp2 knows it only once it could read that one */
  uint32_t version;   /* the only one that is wanted; 0: any */
  uint32_t offered;   /* of those that the server's Version Negotiation named, the one that is tried next */
  uint64_t started;   /* when it began to connect */
  char *server_name;
  uint8_t *token;
  size_t token_len;
  uint8_t *certs; /* DER chain of the peer: (length 4 bytes, bytes)* */
  size_t certs_len;
  const uint8_t *alpn; /* The protocol agreed on, as a length byte and the name, in the context tls; NULL: none yet. */
  char cipher[32], group[24];

  uint64_t close_code;
  char *close_reason;
  size_t close_reason_len;
  nq_conn_fate end;
} nq_conn;

/* of vendor/recipe/ngtcp2.py */
void ngtcp2_conn_prefetch(const ngtcp2_conn *q, int64_t stream, int step);
ngtcp2_tstamp ngtcp2_conn_get_pacing_expiry(const ngtcp2_conn *q);
ngtcp2_tstamp ngtcp2_conn_get_unpaced_expiry(const ngtcp2_conn *q);
void ngtcp2_conn_rested(ngtcp2_conn *q, ngtcp2_tstamp ts);

nq_conn *nq_conn_get(const nq_loop *l, nq_handle h);
void nq_conn_mark(nq_conn *c); /* has something to write */
/* The socket takes packets again: who waited for it is dirty. */
void nq_conn_unblock(nq_loop *l, const nq_endpoint *ep);

/* conn.c */
nq_conn *nq_conn_new(nq_loop *l, const nq_limits *limits);
int nq_conn_start_client(nq_conn *c);
/* The server's Version Negotiation named a version that this client speaks and has not tried (RFC 9000 6.2, RFC 9368
 * 2.1): starts with that one. 0 when there is none. */
int nq_conn_try_offered(nq_conn *c);
int nq_conn_start_server(nq_conn *c, nq_endpoint *ep, const ngtcp2_pkt_hd *hd, const nq_datagram *d,
                         const ngtcp2_cid *odcid, int retried);
void nq_conn_packet(nq_conn *c, const nq_datagram *d);
#define NQ_PREFETCH_STEPS 6
/* Asks the processor for the memory that its next packet will touch, if it is a connection. Each step follows pointers
 * that the one before has fetched: in between, packets of other connections are handled. */
void nq_conn_prefetch(const nq_route *r, int step);
void nq_conn_on_timer(nq_conn *c);
/* The timer is set. waits: it has more to send than the pace allows now. */
void nq_conn_arm(nq_conn *c, int waits);
void nq_conn_release(nq_conn *c); /* the object itself; its QUIC connection is gone already */
void nq_conn_opened(nq_conn *c); /* CONN_OPEN was dispatched */
void nq_conn_handshaken(nq_conn *c);

/* conn_callbacks.c */
extern const ngtcp2_callbacks nq_conn_callbacks;

/* conn_write.c */
void nq_conn_write(nq_conn *c);

/* conn_close.c */
/* ngtcp2 said that the connection is over. */
void nq_conn_liberr(nq_conn *c, int liberr);
/* The QUIC connection ends: its streams' events, then CONN_CLOSE. */
void nq_conn_end(nq_conn *c, uint32_t why, uint64_t code, const char *reason, int remote, nq_closing *linger);
/* A record that stands in for the connection for three PTOs. packet NULL: draining. */
nq_closing *nq_conn_linger(nq_conn *c, const uint8_t *packet, size_t len);
/* Sends CONNECTION_CLOSE; the record that answers with it again, or NULL. */
nq_closing *nq_conn_close_write(nq_conn *c, const ngtcp2_ccerr *err);
#define NQ_CIDS 32
/* Nothing in the endpoint stands for the connection any more. */
void nq_conn_forget_routes(nq_endpoint *ep, nq_conn *c);
/* ngtcp2's connection and what stands for it in the endpoint go; the record, if any, takes their place. */
void nq_conn_drop_quic(nq_conn *c, nq_closing *z);
/* Again, when there was no memory for the events of the end. */
void nq_conn_end_again(nq_conn *c);
/* An event of the connection was lost for want of memory: it cannot go on as if nothing had been. */
void nq_conn_no_memory(nq_conn *c);
void nq_conn_drop_dgrams(nq_conn *c);
/* No events, one CONNECTION_CLOSE: the loop goes away. */
void nq_conn_abort(nq_conn *c);
/* In state CLOSING: closes when everything is flushed. */
void nq_conn_close_step(nq_conn *c);

#endif
