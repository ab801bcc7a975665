/* closing.c: see closing.h. */
#include "quic/closing.h"

#include <stdlib.h>

void nq_closing_add(nq_endpoint *ep, nq_closing *z, uint64_t deadline) {
  z->route.kind = NQ_ROUTE_CLOSING;
  z->ep = ep;
  z->answer_at = 1;
  z->next = ep->closing;
  if (z->next)
    z->next->prev = z;
  ep->closing = z;
  nq_timer_init(&z->timer, NQ_TIMER_CLOSING);
  for (unsigned i = 0; i < z->n_cids; i++)
    nq_cidmap_put(&ep->routes, z->cids[i].data, z->cids[i].datalen, &z->route);
  z->kept = !nq_timers_keep(&ep->hub->timers);
  if (!z->kept || nq_timer_set(&ep->hub->timers, &z->timer, deadline))
    nq_closing_free(z);
}

void nq_closing_free(nq_closing *z) {
  nq_endpoint *ep = z->ep;
  nq_timer_cancel(&ep->hub->timers, &z->timer);
  if (z->kept)
    nq_timers_unkeep(&ep->hub->timers);
  for (unsigned i = 0; i < z->n_cids; i++)
    if (nq_cidmap_get(&ep->routes, z->cids[i].data, z->cids[i].datalen) == &z->route)
      nq_cidmap_del(&ep->routes, z->cids[i].data, z->cids[i].datalen);
  if (z->prev)
    z->prev->next = z->next;
  else
    ep->closing = z->next;
  if (z->next)
    z->next->prev = z->prev;
  free(z->packet);
  free(z);
  nq_endpoint_left(ep);
}

void nq_closing_packet(nq_closing *z) {
  nq_endpoint *ep = z->ep;
  z->received++;
  if (!z->packet || z->received < z->answer_at)
    return;
  z->answer_at = z->received * 2; /* RFC 9000 10.2.1: answer ever more rarely */
  nq_endpoint_send(ep, z->packet, z->packet_len, &z->remote, ep->wildcard ? &z->local : NULL);
}
