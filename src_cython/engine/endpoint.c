#include "endpoint.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "native.h"

/* Bytes of receive buffer that hold a burst of several connections. */
#define BUFFER_ENOUGH (1u << 20)
/* What a tick touches of a connection is 10 KiB: so many are in the cache still when their replies are written and, if
 * there are no more, in the next tick. */
#define NQ_TICK_CONNS 128
#define NQ_TICK_CONNS_MIN 16 /* below it a tick's own cost counts */
#define NQ_SPELL (4 * NGTCP2_MILLISECONDS) /* for which connections that write are counted */

nq_endpoint *nq_endpoint_get(const nq_loop *l, uint32_t id) {
  uint32_t i = (id & NQ_EP_INDEX) - 1;
  return i < l->n_endpoints && l->endpoints[i] && l->endpoints[i]->id == id ? l->endpoints[i] : NULL;
}

static int is_wildcard(const nq_addr *a) {
  if (a->sa.sa_family == AF_INET)
    return a->in.sin_addr.s_addr == htonl(INADDR_ANY);
  return IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

/* A place in the list, with a number that grows at each use: a stale id finds nothing. Members of a group open the
 * same endpoints in the same order, and so have the same ids. */
static int register_id(nq_loop *l, nq_endpoint *ep) {
  for (uint32_t i = 0; i < l->n_endpoints; i++)
    if (!l->endpoints[i]) {
      l->endpoints[i] = ep;
      ep->id = ++l->endpoint_uses << NQ_EP_SHIFT | (i + 1);
      return NQ_DONE;
    }
  if (l->n_endpoints == NQ_EP_INDEX)
    return NQ_ERR_FULL;
  if (l->n_endpoints == l->cap_endpoints) {
    uint32_t cap = l->cap_endpoints ? l->cap_endpoints * 2 : 4;
    nq_endpoint **v = realloc(l->endpoints, cap * sizeof(nq_endpoint *));
    if (!v)
      return NQ_ERR_NOMEM;
    l->endpoints = v;
    l->cap_endpoints = cap;
  }
  l->endpoints[l->n_endpoints++] = ep;
  ep->id = l->n_endpoints;
  return NQ_DONE;
}

int nq_endpoint_attach(nq_loop *l, nq_io *io, const nq_endpoint_options *o, uint32_t *id) {
  if (o->tls && (!nq_tls_is_server(o->tls) || nq_limits_check(&o->limits))) {
    io->ops->close(io);
    return NQ_ERR_ARG;
  }
  nq_endpoint *ep = calloc(1, sizeof *ep);
  if (ep)
    ep->l = l;
  int rv = ep ? NQ_DONE : NQ_ERR_NOMEM;
  if (!rv && nq_timers_keep(&l->timers))
    rv = NQ_ERR_NOMEM;
  else if (!rv && (rv = register_id(l, ep)))
    nq_timers_unkeep(&l->timers);
  if (rv) {
    io->ops->close(io);
    free(ep);
    return rv;
  }
  ep->io = io;
  nq_timer_init(&ep->again, NQ_TIMER_ENDPOINT);
  ep->tls = o->tls ? nq_tls_ref(o->tls) : NULL;
  ep->hdmap = nq_hdmap_ref(o->hdmap);
  ep->accepting = o->tls != NULL;
  ep->surplus_tail = &ep->surplus;
  ep->always_retry = o->always_retry;
  ep->limits = o->limits;
  ep->user = o->user;
  ep->wildcard = is_wildcard(&io->local);
  uint8_t seed[16];
  nq_loop_random(l, seed, sizeof seed);
  nq_cidmap_init(&ep->routes, seed);
  nq_cidmap_init(&ep->resets, seed);
  if (o->secret)
    rv = nq_tls_hmac(ep->secret, (const uint8_t *)o->secret, o->secret_len, (const uint8_t *)"naquid endpoint", 15)
             ? NQ_ERR_NOMEM
             : NQ_DONE;
  else if (l->group)
    memcpy(ep->secret, nq_group_secret(l->group), NQ_SECRET_LEN);
  else
    nq_loop_random(l, ep->secret, NQ_SECRET_LEN);
  if (!rv && io->fd >= 0 && nq_loop_watch(l, io->fd, ep->id, 0, 0))
    rv = NQ_ERR_SYS;
  if (rv) {
    nq_endpoint_close(l, ep->id);
    return rv;
  }
  *id = ep->id;
  return NQ_DONE;
}

static nq_udp_options udp_options(nq_loop *l, const nq_addr *local) {
  return (nq_udp_options){.local = *local,
                          .portable = l->opts.portable,
                          .no_gso = l->opts.no_gso,
                          .no_gro = l->opts.no_gro,
                          .buffer_size = l->opts.socket_buffer};
}

/* A burst that outgrows a small buffer is lost: that is a warning, but one for the process, not one for each socket. */
static void log_clamped(nq_loop *l, const nq_io_caps *caps) {
  static atomic_flag warned = ATOMIC_FLAG_INIT;
  char level = caps->rcvbuf < BUFFER_ENOUGH && !atomic_flag_test_and_set(&warned) ? 'W' : 'D';
  nq_loop_log(l, level, "the kernel clamps the socket's receive buffer; raise net.core.rmem_max",
              "\"granted\":%u,\"asked\":%u", caps->rcvbuf, caps->rcvbuf_asked);
}

/* A socket of the network that the loop was made for, which is not the system's. */
static int open_elsewhere(nq_loop *l, const nq_endpoint_options *o, uint32_t *id) {
  nq_io *io;
  int rv = l->opts.opener->open(l->opts.opener->ctx, &io, &o->local);
  if (!rv)
    return nq_endpoint_attach(l, io, o, id);
  l->err = -rv;
  return rv == -ENOMEM ? NQ_ERR_NOMEM : NQ_ERR_SYS;
}

int nq_endpoint_open(nq_loop *l, const nq_endpoint_options *o, uint32_t *id) {
  if (nq_loop_inherited(l))
    return NQ_ERR_FORKED;
  if (l->opts.opener)
    return open_elsewhere(l, o, id);
  if (!l->udp && !(l->udp = nq_udp_buffers_new()))
    return NQ_ERR_NOMEM;
  nq_udp_options u = udp_options(l, &o->local);
  u.reuseport = o->reuseport;
  nq_io *io;
  int rv = nq_udp_open(&io, l->udp, &u);
  if (rv) {
    l->err = -rv;
    return NQ_ERR_SYS;
  }
  if (o->reuseport && l->group && nq_udp_steer(io, nq_group_members(l->group)))
    nq_loop_log(l, 'W', "no connection-ID steering by the kernel: datagrams are forwarded between workers", NULL);
  if (io->caps.rcvbuf < io->caps.rcvbuf_asked)
    log_clamped(l, &io->caps);
  return nq_endpoint_attach(l, io, o, id);
}

nq_endpoint *nq_endpoint_fresh(nq_loop *l, int family) {
  nq_endpoint_options o;
  memset(&o, 0, sizeof o);
  if (family == AF_INET) {
    o.local.in.sin_family = AF_INET;
    o.local.len = sizeof o.local.in;
  } else {
    o.local.in6.sin6_family = AF_INET6;
    o.local.len = sizeof o.local.in6;
  }
  uint32_t id;
  int rv = nq_endpoint_open(l, &o, &id);
  if (rv) {
    if (rv != NQ_ERR_SYS)
      l->err = rv == NQ_ERR_NOMEM ? ENOMEM : rv == NQ_ERR_FULL ? ENOSPC : EPERM;
    return NULL;
  }
  nq_endpoint *ep = nq_endpoint_get(l, id);
  ep->is_client = 1;
  return ep;
}

nq_endpoint *nq_endpoint_client(nq_loop *l, int family, uint32_t left) {
  int i = family == AF_INET6;
  nq_endpoint *ep = nq_endpoint_get(l, l->client_ep[i]);
  if (ep && ep->id != left)
    return ep;
  nq_endpoint *fresh = nq_endpoint_fresh(l, family);
  if (!fresh)
    return ep; /* no descriptor is left: rather the same socket than none */
  l->client_ep[i] = fresh->id;
  if (ep)
    nq_endpoint_left(ep);
  return fresh;
}

int nq_endpoint_address(const nq_loop *l, uint32_t id, nq_addr *local) {
  nq_endpoint *ep = nq_endpoint_get(l, id);
  if (!ep)
    return NQ_ERR_STALE;
  *local = ep->io->local;
  return NQ_DONE;
}

int nq_endpoint_refuse(nq_loop *l, uint32_t id) {
  nq_endpoint *ep = nq_endpoint_get(l, id);
  if (!ep)
    return NQ_ERR_STALE;
  ep->accepting = 0;
  return NQ_DONE;
}

int nq_endpoint_fd(const nq_loop *l, uint32_t id) {
  nq_endpoint *ep = nq_endpoint_get(l, id);
  return ep ? ep->io->fd : -1;
}

static void end_if_here(void *ctx, nq_handle h, void *obj) {
  (void)h;
  nq_conn *c = obj;
  if (c->ep == ctx && c->q)
    nq_conn_end(c, NQ_WHY_SYSTEM, 0, "the local endpoint was closed", 0, NULL);
}

static void forget_if_here(void *ctx, nq_handle h, void *obj) {
  (void)h;
  nq_conn *c = obj;
  if (c->ep == ctx)
    c->ep = NULL;
}

int nq_endpoint_close(nq_loop *l, uint32_t id) {
  nq_endpoint *ep = nq_endpoint_get(l, id);
  if (!ep)
    return NQ_ERR_STALE;
  nq_table_each(&l->conns, end_if_here, ep);
  nq_table_each(&l->conns, forget_if_here, ep);
  ep->io->ops->flush(ep->io);
  nq_endpoint_free(ep);
  return NQ_DONE;
}

static void keep_stats(nq_loop *l, const nq_io_stats *s) {
  l->stats.rx_calls += s->rx_calls;
  l->stats.rx_messages += s->rx_messages;
  l->stats.rx_datagrams += s->rx_datagrams;
  l->stats.rx_bytes += s->rx_bytes;
  l->stats.rx_dropped += s->rx_truncated + s->rx_errors;
  l->stats.tx_calls += s->tx_calls;
  l->stats.tx_messages += s->tx_messages;
  l->stats.tx_datagrams += s->tx_datagrams;
  l->stats.tx_bytes += s->tx_bytes;
  l->stats.tx_errors += s->tx_errors;
}

static nq_surplus *take_surplus(nq_endpoint *ep) {
  nq_surplus *p = ep->surplus;
  ep->surplus = p->next;
  if (!p->next)
    ep->surplus_tail = &ep->surplus;
  ep->n_surplus--;
  ep->l->surplus--;
  return p;
}

void nq_endpoint_free(nq_endpoint *ep) {
  nq_loop *l = ep->l;
  nq_timer_cancel(&l->timers, &ep->again);
  nq_timers_unkeep(&l->timers);
  while (ep->closing)
    nq_closing_free(ep->closing);
  while (ep->surplus)
    free(take_surplus(ep));
  keep_stats(l, &ep->io->stats);
  if (ep->io->fd >= 0)
    nq_loop_unwatch(l, ep->io->fd);
  ep->io->ops->close(ep->io);
  l->endpoints[(ep->id & NQ_EP_INDEX) - 1] = NULL;
  nq_cidmap_free(&ep->routes);
  nq_cidmap_free(&ep->resets);
  nq_tls_unref(ep->tls);
  nq_hdmap_unref(ep->hdmap);
  free(ep);
}

void nq_endpoint_new_cid(nq_endpoint *ep, ngtcp2_cid *cid, size_t len) {
  nq_loop *l = ep->l;
  cid->datalen = len;
  nq_loop_random(l, cid->data, len);
  if (l->group && len) { /* the first byte says whose it is: any value that is `number` modulo the members */
    uint32_t n = nq_group_members(l->group);
    cid->data[0] = (uint8_t)(cid->data[0] % (256 / n) * n + l->number);
  }
}

/* ---- packets in ---- */

static void closing_packet(nq_endpoint *ep, nq_closing *z) {
  z->received++;
  if (!z->packet || z->received < z->answer_at)
    return;
  z->answer_at = z->received * 2; /* RFC 9000 10.2.1: answer ever more rarely */
  nq_endpoint_send(ep, z->packet, z->packet_len, &z->remote, ep->wildcard ? &z->local : NULL);
}

static void routed(nq_endpoint *ep, nq_route *r, const nq_datagram *d) {
  if (r->kind == NQ_ROUTE_CONN)
    nq_conn_packet((nq_conn *)r, d);
  else
    closing_packet(ep, (nq_closing *)r);
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

void nq_endpoint_packet(nq_endpoint *ep, const nq_datagram *d) {
  nq_loop *l = ep->l;
  ngtcp2_version_cid vc = {0};
  if (d->len < 1 + NQ_CID_LEN) {
    l->stats.rx_dropped++;
    return;
  }
  if (!(d->data[0] & 0x80)) { /* short header: ours is the only length there is */
    vc.dcid = d->data + 1;
    vc.dcidlen = NQ_CID_LEN;
  } else {
    int rv = ngtcp2_pkt_decode_version_cid(&vc, d->data, d->len, NQ_CID_LEN);
    if (rv == NGTCP2_ERR_VERSION_NEGOTIATION) {
      nq_endpoint_negotiate(ep, d, &vc);
      return;
    }
    if (rv) {
      l->stats.rx_dropped++;
      return;
    }
  }
  nq_route *r = nq_cidmap_get(&ep->routes, vc.dcid, vc.dcidlen);
  if (r) {
    routed(ep, r, d);
    return;
  }
  if (l->group && vc.dcidlen && nq_group_forward(l, vc.dcid[0], ep->id, d))
    return;
  if (!(d->data[0] & 0x80) && looks_like_reset(ep, d))
    return;
  nq_endpoint_stranger(ep, d, &vc);
}

/* The connections of one tick, and of one send: half of those that are busy, so that where all wait for replies this
 * side and the peer each work on one half. Of thousands in a tick each would be fetched from memory twice. */
static uint32_t tick_of(const nq_endpoint *ep) {
  uint32_t tick = (ep->busy > ep->busy_now ? ep->busy : ep->busy_now) / 2;
  return tick < NQ_TICK_CONNS_MIN ? NQ_TICK_CONNS_MIN : tick > NQ_TICK_CONNS ? NQ_TICK_CONNS : tick;
}

/* After a receive: the next one takes as many messages as had the connections of a tick in this one. A train may have
 * another connection in each packet. */
static void aim(nq_endpoint *ep, uint64_t messages, uint32_t conns) {
  uint64_t most = conns ? messages * tick_of(ep) / conns : 0;
  ep->io->rx_most = most > UINT32_MAX ? UINT32_MAX : most || !conns ? (uint32_t)most : 1;
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

int nq_endpoint_receive(nq_endpoint *ep) {
  const nq_datagram *v;
  const nq_route *ahead[NQ_PREFETCH_STEPS] = {NULL};
  int waited = 0;
  ep->accepted_now = ep->answered_now = 0;
  ep->accepting_for = 0;
  ep->open_now = 0;
  while (ep->surplus && nq_endpoint_takes_more(ep)) {
    nq_surplus *p = take_surplus(ep);
    nq_datagram d = {.data = p->data, .len = p->len, .ecn = p->ecn, .remote = &p->remote, .local = &p->local};
    nq_endpoint_packet(ep, &d);
    free(p);
    waited++;
  }
  uint64_t messages = ep->io->stats.rx_messages;
  uint32_t marked = ep->l->marked;
  int n = ep->io->ops->recv(ep->io, &v);
  ep->open_now = has_open(v, n);
  int cold = n > 1 && ep->conns > NQ_TICK_CONNS;
  for (int i = -NQ_PREFETCH_STEPS - 1; cold && i < 0; i++)
    look_ahead(ep, v, n, i, ahead);
  for (int i = 0; i < n; i++) {
    if (cold)
      look_ahead(ep, v, n, i, ahead);
    nq_endpoint_packet(ep, &v[i]);
    nq_native_run_some(ep->l);
  }
  aim(ep, ep->io->stats.rx_messages - messages, ep->l->marked - marked);
  return n + waited;
}

/* ---- packets out ---- */

/* Busy is who wrote in the last spell or in this one. */
void nq_endpoint_wrote(nq_endpoint *ep, nq_conn *c) {
  if (ep->l->now >= ep->spell_ends) {
    ep->busy = ep->busy_now;
    ep->busy_now = 0;
    ep->spell++;
    ep->spell_ends = ep->l->now + NQ_SPELL;
  }
  if (c->spell != ep->spell) {
    c->spell = ep->spell;
    ep->busy_now++;
  }
  if (++ep->written >= tick_of(ep))
    nq_endpoint_flush(ep);
}

void nq_endpoint_flush(nq_endpoint *ep) {
  ep->written = 0;
  int blocked = ep->io->ops->flush(ep->io);
  if (blocked != ep->watching_write && ep->io->fd >= 0) {
    if (!nq_loop_watch(ep->l, ep->io->fd, ep->id, blocked, 1))
      ep->watching_write = blocked;
    else if (blocked) /* nothing would wake whoever waits for the socket: every tick flushes, and one comes soon.
                       * What is watched in vain wakes by itself. */
      nq_timer_set(&ep->l->timers, &ep->again, ep->l->now + NQ_MSEC(1));
  }
  if (!blocked && ep->l->blocked)
    nq_conn_unblock(ep->l, ep);
}

void nq_endpoint_send(nq_endpoint *ep, const uint8_t *data, size_t len, const nq_addr *remote, const nq_addr *local) {
  uint8_t *buf = ep->io->ops->tx_room(ep->io, len);
  if (!buf)
    return; /* the socket is blocked; who asked will ask again */
  memcpy(buf, data, len);
  ep->io->ops->tx_push(ep->io, len, len, remote, local, 0);
}

/* ---- connections that are over ---- */

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
  z->kept = !nq_timers_keep(&ep->l->timers);
  if (!z->kept || nq_timer_set(&ep->l->timers, &z->timer, deadline))
    nq_closing_free(z);
}

void nq_closing_free(nq_closing *z) {
  nq_endpoint *ep = z->ep;
  nq_timer_cancel(&ep->l->timers, &z->timer);
  if (z->kept)
    nq_timers_unkeep(&ep->l->timers);
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

/* ---- migration ---- */

void nq_endpoint_move(nq_endpoint *from, nq_endpoint *to, nq_conn *c) {
  nq_conn_forget_routes(from, c);
  /* Without memory the connection hears nothing any more, and times out. */
  size_t n = ngtcp2_conn_get_scid2(c->q, NULL);
  ngtcp2_cid *cids = calloc(n + 1, sizeof *cids);
  if (cids) {
    n = ngtcp2_conn_get_scid2(c->q, cids);
    for (size_t i = 0; i < n; i++)
      nq_cidmap_put(&to->routes, cids[i].data, cids[i].datalen, &c->route);
    free(cids);
  }
  n = ngtcp2_conn_get_active_dcid2(c->q, NULL);
  ngtcp2_cid_token2 *peers = calloc(n + 1, sizeof *peers);
  if (peers) {
    n = ngtcp2_conn_get_active_dcid2(c->q, peers);
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

static int unused(const nq_endpoint *ep) {
  const uint32_t *shared = ep->l->client_ep;
  return ep->is_client && ep->id != shared[0] && ep->id != shared[1] && !ep->conns && !ep->closing;
}

void nq_endpoint_left(nq_endpoint *ep) {
  if (unused(ep))
    ep->l->unused_endpoints = 1;
}

void nq_endpoint_sweep(nq_loop *l) {
  l->unused_endpoints = 0;
  for (uint32_t i = 0; i < l->n_endpoints; i++)
    if (l->endpoints[i] && unused(l->endpoints[i]))
      nq_endpoint_free(l->endpoints[i]);
}
