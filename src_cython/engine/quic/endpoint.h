/* endpoint.h: one local UDP address: what stands for it, and for whom its packets are. What becomes of a packet is
 * receive.c's business; burst.c sends. */
#ifndef NQ_ENDPOINT_H
#define NQ_ENDPOINT_H

#include <ngtcp2/ngtcp2.h>
#include <string.h>

#include "base/cidmap.h"
#include "quic/group.h"
#include "quic/hub.h"
#include "quic/route.h"

struct nq_app;
struct nq_closing;

#define NQ_EP_SHIFT 16 /* of an endpoint's id: the place in the list below, a number of use above */
#define NQ_EP_INDEX 0xffffu

/* An Initial packet that this tick does not take: looked at again in the next tick, as if it came then. */
typedef struct nq_deferred {
  struct nq_deferred *next;
  nq_addr remote, local;
  uint32_t len;
  uint8_t ecn, data[];
} nq_deferred;

typedef struct nq_endpoint {
  nq_hub *hub;
  uint32_t id;
  nq_io *io;
  int accepting;    /* new connections */
  int always_retry; /* every client validates its address first */
  int wildcard;     /* bound to all addresses: an answer says from which it comes */
  int is_client;    /* opened for connections of this side */
  nq_tls *tls;      /* of a server; NULL: of a client */
  const struct nq_app *app; /* what its connections speak, until their ALPN says otherwise */
  void *handlers;           /* the app's own: who serves what */
  nq_limits limits;         /* of accepted connections */
  void *user;               /* of accepted connections */
  uint8_t secret[NQ_SECRET_LEN]; /* of tokens and stateless resets */
  nq_cidmap routes;              /* connection ID -> nq_route */
  nq_cidmap resets;              /* stateless reset token of a peer -> nq_conn */
  struct nq_closing *closing;    /* connections that are over */
  uint32_t half_open, conns;     /* whose handshake is under way; all */
  uint32_t written;              /* connections that wrote since the last flush */
  uint32_t busy, busy_now;       /* connections that wrote in the last burst window, and in this one */
  uint8_t burst_window;          /* its number, modulo 256 */
  uint64_t burst_window_ends;
  uint32_t accepted_now, answered_now; /* in this tick: new connections, answers that are none */
  int open_now; /* the batch has packets of open connections: new ones wait until those have their answers */
  uint64_t accepting_for;                /* ns of this tick spent on new connections */
  nq_deferred *deferred, **deferred_tail; /* in the order in which they came */
  uint32_t n_deferred;
  int readable; /* the kernel says so, or the last receive found something */
  int watching_write;
  int broken; /* io->broken was told */
  uint64_t looked_for;  /* when its connections were last searched for those that cannot be reached */
  nq_timer again; /* the wait for writability could not be armed: a tick that does is due */
} nq_endpoint;

nq_endpoint *nq_endpoint_get(const nq_hub *hub, uint32_t id);
/* Over a given nq_io, which is taken over also when it fails. What its connections speak is the app's. */
int nq_endpoint_new(nq_hub *hub, nq_io *io, const nq_endpoint_options *o, const struct nq_app *app, nq_endpoint **out);
/* Opens a socket, binds it and makes an endpoint of it. NQ_ERR_SYS: hub->err. */
int nq_endpoint_bind(nq_hub *hub, const nq_endpoint_options *o, const struct nq_app *app, nq_endpoint **out);
/* The client socket of that family, opened when first needed; NULL: hub->err says why. It is another one than `left`,
 * the id of what the connection had before (0: nothing): a NAT's binding that has died is left behind. Those that come
 * back together share the new one. */
nq_endpoint *nq_endpoint_client(nq_hub *hub, int family, uint32_t left);
/* Another client socket, for a migration. */
nq_endpoint *nq_endpoint_fresh(nq_hub *hub, int family);
/* Its connections are gone, or on their way to another one. */
void nq_endpoint_free(nq_endpoint *ep);
/* Takes out the oldest Initial that was deferred; the caller frees it. */
nq_deferred *nq_endpoint_take_deferred(nq_endpoint *ep);
/* Closes the sockets that migrations opened, when nothing runs on them. */
void nq_endpoint_sweep(nq_hub *hub);

/* A socket that was opened for a migration, or left for a new one, and is of no more use. */
static inline int nq_endpoint_unused(const nq_endpoint *ep) {
  const uint32_t *shared = ep->hub->client_ep;
  return ep->is_client && ep->id != shared[0] && ep->id != shared[1] && !ep->conns && !ep->closing;
}

/* A connection or a closing record has left. */
static inline void nq_endpoint_left(nq_endpoint *ep) {
  if (nq_endpoint_unused(ep))
    ep->hub->unused_endpoints = 1;
}

/* One packet to one address, not part of a connection any more or not yet. Dropped while the socket is blocked: who
 * asked will ask again. */
static inline void nq_endpoint_send(nq_endpoint *ep, const uint8_t *data, size_t len, const nq_addr *remote,
                                    const nq_addr *local) {
  uint8_t *buf = ep->io->ops->tx_room(ep->io, len);
  if (!buf)
    return;
  memcpy(buf, data, len);
  ep->io->ops->tx_push(ep->io, len, len, remote, local, 0);
}

#endif
