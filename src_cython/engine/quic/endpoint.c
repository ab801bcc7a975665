/* endpoint.c: see endpoint.h. */
#include "quic/endpoint.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "app/app.h"
#include "quic/cid.h"
#include "quic/closing.h"
#include "tls/derive.h"
#include "tls/hmac.h"

/* Bytes of receive buffer that hold a burst of several connections. */
#define BUFFER_ENOUGH (1u << 20)

nq_endpoint *nq_endpoint_get(const nq_hub *hub, uint32_t id) {
  uint32_t i = (id & NQ_EP_INDEX) - 1;
  return i < hub->n_endpoints && hub->endpoints[i] && hub->endpoints[i]->id == id ? hub->endpoints[i] : NULL;
}

/* A place in the list, with a number that grows at each use: a stale id finds nothing. Members of a group open the
 * same endpoints in the same order, and so have the same ids. */
static int register_id(nq_hub *hub, nq_endpoint *ep) {
  for (uint32_t i = 0; i < hub->n_endpoints; i++)
    if (!hub->endpoints[i]) {
      hub->endpoints[i] = ep;
      ep->id = ++hub->endpoint_uses << NQ_EP_SHIFT | (i + 1);
      return NQ_DONE;
    }
  if (hub->n_endpoints == NQ_EP_INDEX)
    return NQ_ERR_FULL;
  if (hub->n_endpoints == hub->cap_endpoints) {
    uint32_t cap = hub->cap_endpoints ? hub->cap_endpoints * 2 : 4;
    nq_endpoint **v = realloc(hub->endpoints, cap * sizeof(nq_endpoint *));
    if (!v)
      return NQ_ERR_NOMEM;
    hub->endpoints = v;
    hub->cap_endpoints = cap;
  }
  hub->endpoints[hub->n_endpoints++] = ep;
  ep->id = hub->n_endpoints;
  return NQ_DONE;
}

/* Sockets of this side that only its own connections use: those bring their own. */
static void *no_handlers(void *handlers) { return handlers; }
static void forget_handlers(void *handlers) { (void)handlers; }
static const nq_app nq_app_none = {.name = "none", .retain = no_handlers, .release = forget_handlers};

/* Of tokens and stateless resets. Without one that was given, a server derives it from its private key: started again,
 * it can tell the peers of before that their connections are gone (RFC 9000 10.3.2). The address is part of it: an
 * endpoint answers for its own connections only, and whoever sees one of them learns nothing from another endpoint that
 * has the same key (RFC 9000 21.11). */
static int make_secret(nq_endpoint *ep, const nq_endpoint_options *o) {
  nq_hub *hub = ep->hub;
  if (o->secret)
    return nq_tls_hmac(ep->secret, (const uint8_t *)o->secret, o->secret_len, (const uint8_t *)"naquid endpoint", 15)
               ? NQ_ERR_NOMEM
               : NQ_DONE;
  char where[80];
  nq_addr_format(&ep->io->local, where, sizeof where);
  int rv = ep->tls ? nq_tls_derive(ep->secret, ep->tls, "naquid endpoint", (const uint8_t *)where, strlen(where)) : 1;
  if (rv < 0)
    return NQ_ERR_NOMEM;
  if (rv && hub->group)
    memcpy(ep->secret, nq_group_secret(hub->group), NQ_SECRET_LEN);
  else if (rv)
    nq_hub_random(hub, ep->secret, NQ_SECRET_LEN);
  return NQ_DONE;
}

int nq_endpoint_new(nq_hub *hub, nq_io *io, const nq_endpoint_options *o, const nq_app *app, nq_endpoint **out) {
  if (o->tls && (!nq_tls_is_server(o->tls) || nq_limits_check(&o->limits))) {
    io->ops->close(io);
    return NQ_ERR_ARG;
  }
  nq_endpoint *ep = calloc(1, sizeof *ep);
  if (ep)
    ep->hub = hub;
  int rv = ep ? NQ_DONE : NQ_ERR_NOMEM;
  if (!rv && nq_timers_keep(&hub->timers))
    rv = NQ_ERR_NOMEM;
  else if (!rv && (rv = register_id(hub, ep)))
    nq_timers_unkeep(&hub->timers);
  if (rv) {
    io->ops->close(io);
    free(ep);
    return rv;
  }
  ep->io = io;
  nq_timer_init(&ep->again, NQ_TIMER_ENDPOINT);
  ep->tls = o->tls ? nq_tls_ref(o->tls) : NULL;
  ep->app = app;
  ep->handlers = app->retain(o->hdmap);
  ep->accepting = o->tls != NULL;
  ep->deferred_tail = &ep->deferred;
  ep->always_retry = o->always_retry;
  ep->limits = o->limits;
  ep->user = o->user;
  ep->wildcard = nq_addr_is_wildcard(&io->local);
  uint8_t seed[16];
  nq_hub_random(hub, seed, sizeof seed);
  nq_cidmap_init(&ep->routes, seed);
  nq_cidmap_init(&ep->resets, seed);
  rv = make_secret(ep, o);
  if (!rv && io->fd >= 0 && hub->ops->watch(hub, io->fd, ep->id, 0, 0))
    rv = NQ_ERR_SYS;
  if (rv) {
    nq_endpoint_free(ep);
    return rv;
  }
  *out = ep;
  return NQ_DONE;
}

/* A socket of the loop's backend, which is chosen with the first one. 0, or -errno. */
static int steer(const nq_hub *hub, nq_io *io) {
  nq_steering s = nq_cid_steering(nq_group_members(hub->group));
  return hub->backend.backend->steer(io, &s);
}

static int open_socket(nq_hub *hub, const nq_endpoint_options *o, nq_io **io) {
  nq_backend_use *u = &hub->backend;
  const nq_backend *wanted = hub->opts.portable ? nq_backend_find("udp") : hub->opts.backend;
  int rv = u->backend ? 0 : nq_backend_start(u, wanted, hub->opts.backend_ctx);
  nq_backend_options b = {.local = o->local,
                          .reuseport = o->reuseport,
                          .no_gso = hub->opts.no_gso,
                          .no_gro = hub->opts.no_gro,
                          .has_socket = o->has_socket,
                          .socket = o->socket,
                          .buffer_size = hub->opts.socket_buffer};
  return rv ? rv : u->backend->open(io, u->shared, &b);
}

/* A burst that outgrows a small buffer is lost: that is a warning, but one for the process, not one for each socket. */
static void log_clamped(nq_hub *hub, const nq_io_caps *caps) {
  static atomic_flag warned = ATOMIC_FLAG_INIT;
  char level = caps->rcvbuf < BUFFER_ENOUGH && !atomic_flag_test_and_set(&warned) ? 'W' : 'D';
  nq_hub_log(hub, level, "the kernel clamps the socket's receive buffer; raise net.core.rmem_max",
             "\"granted\":%u,\"asked\":%u", caps->rcvbuf, caps->rcvbuf_asked);
}

int nq_endpoint_bind(nq_hub *hub, const nq_endpoint_options *o, const nq_app *app, nq_endpoint **out) {
  if (nq_hub_inherited(hub))
    return NQ_ERR_FORKED;
  nq_io *io;
  int rv = open_socket(hub, o, &io);
  if (rv == -ENOMEM && !hub->backend.backend)
    return NQ_ERR_NOMEM;
  if (rv) {
    hub->err = -rv;
    return NQ_ERR_SYS;
  }
  if (o->reuseport && hub->group && steer(hub, io))
    nq_hub_log(hub, 'W', "no connection-ID steering by the kernel: datagrams are forwarded between workers", NULL);
  if (io->caps.rcvbuf < io->caps.rcvbuf_asked)
    log_clamped(hub, &io->caps);
  return nq_endpoint_new(hub, io, o, app, out);
}

nq_endpoint *nq_endpoint_fresh(nq_hub *hub, int family) {
  nq_endpoint_options o;
  memset(&o, 0, sizeof o);
  if (family == AF_INET) {
    o.local.in.sin_family = AF_INET;
    o.local.len = sizeof o.local.in;
  } else {
    o.local.in6.sin6_family = AF_INET6;
    o.local.len = sizeof o.local.in6;
  }
  nq_endpoint *ep;
  int rv = nq_endpoint_bind(hub, &o, &nq_app_none, &ep);
  if (rv) {
    if (rv != NQ_ERR_SYS)
      hub->err = rv == NQ_ERR_NOMEM ? ENOMEM : rv == NQ_ERR_FULL ? ENOSPC : EPERM;
    return NULL;
  }
  ep->is_client = 1;
  return ep;
}

nq_endpoint *nq_endpoint_client(nq_hub *hub, int family, uint32_t left) {
  int i = family == AF_INET6;
  nq_endpoint *ep = nq_endpoint_get(hub, hub->client_ep[i]);
  if (ep && ep->id != left)
    return ep;
  nq_endpoint *fresh = nq_endpoint_fresh(hub, family);
  if (!fresh)
    return ep; /* no descriptor is left: rather the same socket than none */
  hub->client_ep[i] = fresh->id;
  if (ep)
    nq_endpoint_left(ep);
  return fresh;
}

static void keep_stats(nq_hub *hub, const nq_io_stats *s) {
  hub->stats.rx_calls += s->rx_calls;
  hub->stats.rx_messages += s->rx_messages;
  hub->stats.rx_datagrams += s->rx_datagrams;
  hub->stats.rx_bytes += s->rx_bytes;
  hub->stats.rx_dropped += s->rx_truncated + s->rx_errors;
  hub->stats.rx_kernel_dropped += s->rx_kernel_dropped;
  hub->stats.tx_calls += s->tx_calls;
  hub->stats.tx_messages += s->tx_messages;
  hub->stats.tx_datagrams += s->tx_datagrams;
  hub->stats.tx_bytes += s->tx_bytes;
  hub->stats.tx_errors += s->tx_errors;
}

nq_deferred *nq_endpoint_take_deferred(nq_endpoint *ep) {
  nq_deferred *p = ep->deferred;
  ep->deferred = p->next;
  if (!p->next)
    ep->deferred_tail = &ep->deferred;
  ep->n_deferred--;
  ep->hub->deferred--;
  return p;
}

void nq_endpoint_free(nq_endpoint *ep) {
  nq_hub *hub = ep->hub;
  nq_timer_cancel(&hub->timers, &ep->again);
  nq_timers_unkeep(&hub->timers);
  while (ep->closing)
    nq_closing_free(ep->closing);
  while (ep->deferred)
    free(nq_endpoint_take_deferred(ep));
  keep_stats(hub, &ep->io->stats);
  if (ep->io->fd >= 0)
    hub->ops->unwatch(hub, ep->io->fd);
  ep->io->ops->close(ep->io);
  hub->endpoints[(ep->id & NQ_EP_INDEX) - 1] = NULL;
  nq_cidmap_free(&ep->routes);
  nq_cidmap_free(&ep->resets);
  nq_tls_unref(ep->tls);
  ep->app->release(ep->handlers);
  free(ep);
}

void nq_endpoint_sweep(nq_hub *hub) {
  hub->unused_endpoints = 0;
  for (uint32_t i = 0; i < hub->n_endpoints; i++)
    if (hub->endpoints[i] && nq_endpoint_unused(hub->endpoints[i]))
      nq_endpoint_free(hub->endpoints[i]);
}
