/* route.c: see route.h. */
#include "quic/route.h"

#include <stdlib.h>

#include "quic/conn.h"

#define NQ_CIDS 32 /* connection IDs that are looked at one by one; more are rare */

/* A peer that retires connection IDs fast may have made many: no fixed number, and no memory to fail for want of. */
void nq_route_forget(nq_endpoint *ep, nq_conn *c) {
  ngtcp2_cid cids[NQ_CIDS];
  size_t n = ngtcp2_conn_get_scid2(c->quic, NULL);
  if (n > NQ_CIDS) {
    nq_cidmap_forget(&ep->routes, &c->route);
  } else {
    n = ngtcp2_conn_get_scid2(c->quic, cids);
    for (size_t i = 0; i <= n; i++) {
      const ngtcp2_cid *cid = i < n ? &cids[i] : &c->first_dcid;
      if (nq_cidmap_get(&ep->routes, cid->data, cid->datalen) == &c->route)
        nq_cidmap_del(&ep->routes, cid->data, cid->datalen);
    }
  }
  ngtcp2_cid_token2 peers[NQ_CIDS];
  n = ngtcp2_conn_get_active_dcid2(c->quic, NULL);
  if (n > NQ_CIDS) {
    nq_cidmap_forget(&ep->resets, c);
    return;
  }
  n = ngtcp2_conn_get_active_dcid2(c->quic, peers);
  for (size_t i = 0; i < n; i++)
    if (peers[i].token_present && nq_cidmap_get(&ep->resets, peers[i].token.data, sizeof peers[i].token.data) == c)
      nq_cidmap_del(&ep->resets, peers[i].token.data, sizeof peers[i].token.data);
}

void nq_route_move(nq_endpoint *from, nq_endpoint *to, nq_conn *c) {
  nq_route_forget(from, c);
  /* Without memory the connection hears nothing any more, and times out. */
  size_t n = ngtcp2_conn_get_scid2(c->quic, NULL);
  ngtcp2_cid *cids = calloc(n + 1, sizeof *cids);
  if (cids) {
    n = ngtcp2_conn_get_scid2(c->quic, cids);
    for (size_t i = 0; i < n; i++)
      nq_cidmap_put(&to->routes, cids[i].data, cids[i].datalen, &c->route);
    free(cids);
  }
  n = ngtcp2_conn_get_active_dcid2(c->quic, NULL);
  ngtcp2_cid_token2 *peers = calloc(n + 1, sizeof *peers);
  if (peers) {
    n = ngtcp2_conn_get_active_dcid2(c->quic, peers);
    for (size_t i = 0; i < n; i++)
      if (peers[i].token_present)
        nq_cidmap_put(&to->resets, peers[i].token.data, sizeof peers[i].token.data, c);
    free(peers);
  }
  from->conns--;
  to->conns++;
  c->ep = to;
  c->pinned_ep = 0;
  nq_endpoint_left(from);
}
