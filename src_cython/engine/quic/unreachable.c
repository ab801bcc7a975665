/* unreachable.c: see unreachable.h. */
#include "quic/unreachable.h"

#include <errno.h>
#include <stdio.h>

#include "quic/conn_close.h"

#define NQ_FEW_CONNS 64          /* these are looked at for each error */
/* What a server learns of a client's address may be old news: the client may have another one by now (RFC 9000 9), and
 * tells so with its next packet. */
#define NQ_CLIENT_MOVES NQ_SEC(3)
#define NQ_SEARCH_EVERY NQ_MSEC(50) /* more are looked at so often: who makes errors up makes us search, too */

/* What happened, and what to do. */
static const char *advice(int error, int client) {
  switch (error) {
  case ECONNREFUSED:
    return client
               ? "port unreachable: nothing listens there; is the server running, and is this its port (UDP, not TCP)?"
               : "port unreachable: nothing listens there any more";
  case ENETUNREACH:
    return "network is unreachable: there is no route to it; is this machine online, with this kind of address (IPv4, "
           "IPv6)?";
  case EHOSTUNREACH:
#ifdef EHOSTDOWN
  case EHOSTDOWN:
#endif
    return "host is unreachable: nobody answers for this address; is it right, and is the machine up?";
  case ENETDOWN:
    return "network is down: the interface is switched off";
  case EPERM:
    return "not permitted: a firewall or sandbox of this machine forbids to send there";
  case EACCES:
    return "permission denied: a firewall, here or on the way, forbids to send there, or it is a broadcast address";
  case EADDRNOTAVAIL:
    return "cannot assign the address: this machine has none, of this kind (IPv4, IPv6), that it could send from";
  default:
    return strerror(error);
  }
}

void nq_conn_unreachable(nq_conn *c, int error) {
  char where[80], reason[320];
  snprintf(reason, sizeof reason, "%s: %s", nq_addr_format(&c->remote, where, sizeof where), advice(error, c->client));
  nq_conn_end(c, NQ_WHY_SYSTEM, (uint64_t)error, reason, 0, NULL);
}

/* That this machine cannot send is no news of the peer: it may be on its way from one network to another. */
static void doubt(nq_conn *c, const nq_io_error *e) {
  if (c->lost_until || (!e->told && c->lost_error == e->error)) /* once until something is heard again */
    return;
  char where[80];
  nq_hub_log(c->hub, 'I', "a datagram did not get through", "\"remote\":\"%s\",\"errno\":%d,\"icmp\":%d",
             nq_addr_format(&e->remote, where, sizeof where), e->error, e->told);
  c->lost_error = e->error;
  if (!e->told)
    return;
  uint64_t patience = 2 * ngtcp2_conn_get_pto2(c->quic);
  c->lost_until = c->hub->now + (c->client || patience > NQ_CLIENT_MOVES ? patience : NQ_CLIENT_MOVES);
  c->probing = 1;
  nq_conn_mark(c);
}

static void failed(nq_conn *c, const nq_io_error *e) {
  if (!c->quic || c->state == NQ_CONN_CLOSED)
    return;
  if (c->handshaken)
    doubt(c, e);
  else
    nq_conn_unreachable(c, e->error);
}

/* Long headers say which connection of this side sent the datagram, and nobody else knows that (RFC 8999 5.1). 1: it is
 * one, and is handled. */
static int by_header(nq_endpoint *ep, const nq_io_error *e) {
  if (e->head_len < 7 || !(e->head[0] & 0x80))
    return 0;
  unsigned dcid = e->head[5], at = 6 + dcid;
  if (at >= e->head_len || at + 1 + e->head[at] > e->head_len)
    return 0;
  nq_route *r = nq_cidmap_get(&ep->routes, e->head + at + 1, e->head[at]);
  if (r && r->kind == NQ_ROUTE_CONN)
    failed((nq_conn *)r, e);
  return 1;
}

typedef struct search {
  const nq_endpoint *ep;
  const nq_io_error *e;
} search;

static void compare(void *ctx, nq_handle h, void *obj) {
  (void)h;
  const search *s = ctx;
  nq_conn *c = obj;
  if (c->ep != s->ep || !c->quic || (!c->handshaken && !c->client))
    return;
  const ngtcp2_path *path = ngtcp2_conn_get_path2(c->quic);
  nq_addr remote;
  memcpy(&remote, path->remote.addr, path->remote.addrlen);
  remote.len = (socklen_t)path->remote.addrlen;
  if (nq_addr_equal(&remote, &s->e->remote))
    failed(c, s->e);
}

/* Short headers have only the peer's connection ID, and a router may quote no more than the ports. */
static void by_address(nq_endpoint *ep, const nq_io_error *e) {
  nq_hub *hub = ep->hub;
  if (ep->conns > NQ_FEW_CONNS && ep->looked_for && hub->now < ep->looked_for + NQ_SEARCH_EVERY)
    return;
  ep->looked_for = hub->now;
  search s = {ep, e};
  nq_table_each(&hub->conns, compare, &s);
}

/* Somebody has closed the descriptor: nothing comes any more. It may be another one of the loop's by now. */
static void broken(nq_endpoint *ep) {
  nq_hub *hub = ep->hub;
  char where[80];
  int fd = ep->io->fd, others = 0;
  ep->broken = ep->io->broken;
  nq_hub_log(hub, 'E', "the socket was closed by somebody else: nothing is received on this address any more",
             "\"local\":\"%s\",\"errno\":%d", nq_addr_format(&ep->io->local, where, sizeof where), ep->broken);
  for (uint32_t i = 0; i < hub->n_endpoints; i++)
    others += hub->endpoints[i] && hub->endpoints[i] != ep && hub->endpoints[i]->io->fd == fd;
  if (!others)
    hub->ops->unwatch(hub, fd);
}

void nq_unreachable(nq_hub *hub) {
  hub->failed = 0;
  for (uint32_t i = 0; i < hub->n_endpoints; i++) {
    nq_endpoint *ep = hub->endpoints[i];
    uint32_t n = ep ? ep->io->n_errors : 0;
    if (ep && ep->io->broken != ep->broken)
      broken(ep);
    for (uint32_t k = 0; k < n; k++) {
      const nq_io_error *e = &ep->io->errors[k];
      hub->stats.unreachable++;
      if (!by_header(ep, e))
        by_address(ep, e);
    }
    if (n)
      ep->io->n_errors = 0;
  }
}
