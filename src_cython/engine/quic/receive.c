/* receive.c: see receive.h. */
#include "quic/receive.h"

#include <stdlib.h>

#include "quic/accept.h"
#include "quic/burst.h"
#include "quic/cid.h"
#include "quic/closing.h"
#include "quic/conn_read.h"

#define NQ_NATIVE_EVENTS 256u /* that many, and their payloads, are still in the nearest cache */

static void routed(nq_route *r, const nq_datagram *d) {
  if (r->kind == NQ_ROUTE_CONN)
    nq_conn_packet((nq_conn *)r, d);
  else
    nq_closing_packet((nq_closing *)r);
}

static int looks_like_reset(nq_endpoint *ep, const nq_datagram *d) {
  if (d->len < 21)
    return 0;
  nq_conn *c =
      nq_cidmap_get(&ep->resets, d->data + d->len - NGTCP2_STATELESS_RESET_TOKENLEN, NGTCP2_STATELESS_RESET_TOKENLEN);
  if (!c)
    return 0;
  nq_conn_packet(c, d); /* ngtcp2 compares the token itself and says draining */
  return 1;
}

void nq_receive_packet(nq_endpoint *ep, const nq_datagram *d) {
  nq_hub *hub = ep->hub;
  ngtcp2_version_cid vc;
  int rv = nq_cid_of_packet(&vc, d->data, d->len);
  if (rv == NGTCP2_ERR_VERSION_NEGOTIATION) {
    nq_accept_negotiate(ep, d, &vc);
    return;
  }
  if (rv) {
    hub->stats.rx_dropped++;
    return;
  }
  nq_route *r = nq_cidmap_get(&ep->routes, vc.dcid, vc.dcidlen);
  if (r) {
    routed(r, d);
    return;
  }
  if (hub->group && vc.dcidlen && nq_group_forward(hub, vc.dcid[0], ep->id, d))
    return;
  if (!(d->data[0] & 0x80) && looks_like_reset(ep, d))
    return;
  nq_accept_unrouted(ep, d, &vc);
}

/* The connection ID that packet i has, unless it is that of the packet before. NULL: none yet. */
static const uint8_t *cid_ahead(const nq_datagram *v, int n, int i) {
  if (i < 0 || i >= n || v[i].len < 1 + NQ_CID_LEN || v[i].data[0] & 0x80)
    return NULL;
  if (i && v[i - 1].len >= 1 + NQ_CID_LEN && !memcmp(v[i].data + 1, v[i - 1].data + 1, NQ_CID_LEN))
    return NULL;
  return v[i].data + 1;
}

/* Packet i is about to be handled (below 0: soon): the connections of those after it are prefetched, the nearest one in
 * the last of the steps. What a route pointed at stays until the flush. */
static void look_ahead(const nq_endpoint *ep, const nq_datagram *v, int n, int i,
                       const nq_route *ahead[NQ_PREFETCH_STEPS]) {
  int last = i + NQ_PREFETCH_STEPS;
  const uint8_t *cid = cid_ahead(v, n, last + 1);
  if (cid)
    nq_cidmap_prefetch(&ep->routes, cid, NQ_CID_LEN);
  cid = cid_ahead(v, n, last);
  ahead[(last + NQ_PREFETCH_STEPS) % NQ_PREFETCH_STEPS] = cid ? nq_cidmap_get(&ep->routes, cid, NQ_CID_LEN) : NULL;
  for (int step = 0; step < NQ_PREFETCH_STEPS; step++) {
    const nq_route *r = ahead[(last - step + NQ_PREFETCH_STEPS) % NQ_PREFETCH_STEPS];
    if (r)
      nq_conn_prefetch(r, step);
  }
}

static int has_open(const nq_datagram *v, int n) {
  for (int i = 0; i < n; i++)
    if (v[i].len && !(v[i].data[0] & 0x80)) /* a short header */
      return 1;
  return 0;
}

static inline void run_native(nq_hub *hub) {
  if (hub->natives && hub->batch.n - hub->batch.seen >= NQ_NATIVE_EVENTS)
    hub->ops->run_native(hub);
}

int nq_receive(nq_endpoint *ep) {
  const nq_datagram *v;
  const nq_route *ahead[NQ_PREFETCH_STEPS] = {NULL};
  int waited = 0;
  ep->accepted_now = ep->answered_now = 0;
  ep->accepting_for = 0;
  ep->open_now = 0;
  while (ep->deferred && nq_accept_takes_more(ep)) {
    nq_deferred *p = nq_endpoint_take_deferred(ep);
    nq_datagram d = {.data = p->data, .len = p->len, .ecn = p->ecn, .remote = &p->remote, .local = &p->local};
    nq_receive_packet(ep, &d);
    free(p);
    waited++;
  }
  uint64_t messages = ep->io->stats.rx_messages;
  uint32_t marked = ep->hub->marked;
  int n = ep->io->ops->recv(ep->io, &v);
  ep->hub->failed |= ep->io->broken != ep->broken;
  ep->open_now = has_open(v, n);
  int cold = n > 1 && ep->conns > NQ_TICK_CONNS;
  for (int i = -NQ_PREFETCH_STEPS - 1; cold && i < 0; i++)
    look_ahead(ep, v, n, i, ahead);
  for (int i = 0; i < n; i++) {
    if (cold)
      look_ahead(ep, v, n, i, ahead);
    nq_receive_packet(ep, &v[i]);
    run_native(ep->hub);
  }
  nq_burst_aim(ep, ep->io->stats.rx_messages - messages, ep->hub->marked - marked);
  return n + waited;
}
