/* endpoint.h: one local UDP address: which connection a packet belongs to, and what becomes of packets that belong to
 * none: a new connection, Retry, version negotiation, stateless reset, or a counted drop. */
#ifndef NQ_ENDPOINT_H
#define NQ_ENDPOINT_H

#include <ngtcp2/ngtcp2.h>

#include "base/cidmap.h"
#include "loop/loop.h"

#define NQ_EP_SHIFT 16 /* of an endpoint's id: the place in the list below, a number of use above */
#define NQ_EP_INDEX 0xffffu
#define NQ_CID_LEN 8      /* of the connection IDs we choose; the first byte names the worker */
#define NQ_SECRET_LEN 32
#define NQ_MAX_SURPLUS 1024 /* Initial packets that wait for a tick that may take them */
#define NQ_RESETS_PER_TICK 16 /* stateless resets, Retry and version negotiation answers to strangers */

/* What a connection ID stands for. */
typedef enum nq_route_kind { NQ_ROUTE_CONN = 1, NQ_ROUTE_CLOSING } nq_route_kind;
typedef struct nq_route {
  nq_route_kind kind;
} nq_route;

/* A connection that is over, for three PTOs (RFC 9000 10.2): closing answers with its CONNECTION_CLOSE, draining is
 * silent. */
typedef struct nq_closing {
  nq_route route;
  nq_timer timer;
  struct nq_endpoint *ep;
  struct nq_closing *next, *prev;
  nq_addr remote, local;
  uint32_t received, answer_at; /* answers back off: packet 1, 2, 4, 8... */
  uint16_t packet_len, n_cids;
  uint8_t kept;    /* there is room for its timer */
  uint8_t *packet; /* NULL: draining */
  ngtcp2_cid cids[];
} nq_closing;

/* An Initial packet that this tick does not take: looked at again in the next tick, as if it came then. */
typedef struct nq_surplus {
  struct nq_surplus *next;
  nq_addr remote, local;
  uint32_t len;
  uint8_t ecn, data[];
} nq_surplus;

typedef struct nq_endpoint {
  nq_loop *l;
  uint32_t id;
  nq_io *io;
  int accepting, always_retry, wildcard, is_client;
  nq_tls *tls;
  nq_hdmap *hdmap;
  nq_limits limits;
  void *user;
  uint8_t secret[NQ_SECRET_LEN];
  nq_cidmap routes; /* connection ID -> nq_route */
  nq_cidmap resets; /* stateless reset token of a peer -> nq_conn */
  nq_closing *closing;
  uint32_t half_open, conns;
  uint32_t written; /* connections that wrote since the last flush */
  uint32_t busy, busy_now; /* ... in the last spell, and in this one */
  uint8_t spell;           /* its number, modulo 256 */
  uint64_t spell_ends;
  uint32_t accepted_now, answered_now; /* in this tick */
  int open_now; /* the batch has packets of open connections: new ones wait until those have their answers */
  uint64_t accepting_for;              /* ns of this tick spent on new connections */
  nq_surplus *surplus, **surplus_tail;
  uint32_t n_surplus;
  int readable; /* the kernel says so, or the last receive found something */
  int watching_write;
  nq_timer again; /* the wait for writability could not be armed: a tick that does is due */
} nq_endpoint;

nq_endpoint *nq_endpoint_get(const nq_loop *l, uint32_t id);
/* The client socket of that family, opened when first needed; NULL: l->err says why. It is another one than `left`, the
 * id of what the connection had before (0: nothing): a NAT's binding that has died is left behind. Those that come back
 * together share the new one. */
nq_endpoint *nq_endpoint_client(nq_loop *l, int family, uint32_t left);
/* Another client socket, for a migration. */
nq_endpoint *nq_endpoint_fresh(nq_loop *l, int family);
void nq_endpoint_free(nq_endpoint *ep);
/* What waited from the tick before, then one batch of packets. Number of datagrams. */
int nq_endpoint_receive(nq_endpoint *ep);
void nq_endpoint_packet(nq_endpoint *ep, const nq_datagram *d);
/* A connection wrote: what was pushed is sent when it is as much as a tick's: the peer need not wait for all. */
void nq_endpoint_wrote(nq_endpoint *ep, struct nq_conn *c);
/* Sends what was pushed; arms the wait for writability when blocked. */
void nq_endpoint_flush(nq_endpoint *ep);
void nq_endpoint_new_cid(nq_endpoint *ep, ngtcp2_cid *cid, size_t len);
/* One packet to one address, not part of a connection any more or not yet. */
void nq_endpoint_send(nq_endpoint *ep, const uint8_t *data, size_t len, const nq_addr *remote, const nq_addr *local);
/* A client connection goes on from another socket: its routes go with it. */
void nq_endpoint_move(nq_endpoint *from, nq_endpoint *to, struct nq_conn *c);
/* A connection or a closing record has left: a socket opened for a migration may be of no more use. */
void nq_endpoint_left(nq_endpoint *ep);
/* Closes those, when nothing runs on them. */
void nq_endpoint_sweep(nq_loop *l);
void nq_closing_free(nq_closing *z);
void nq_closing_add(nq_endpoint *ep, nq_closing *z, uint64_t deadline);

/* accept.c: a packet that no route knows */
int nq_endpoint_takes_more(const nq_endpoint *ep); /* new connections in this tick */
void nq_endpoint_stranger(nq_endpoint *ep, const nq_datagram *d, const ngtcp2_version_cid *vc);
void nq_endpoint_negotiate(nq_endpoint *ep, const nq_datagram *d, const ngtcp2_version_cid *vc);

#endif
