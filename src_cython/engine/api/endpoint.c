/* endpoint.c: endpoints and groups of loops, as engine.h has them. */
#include "app/hdmap.h"
#include "app/nq1.h"
#include "loop/loop.h"
#include "quic/conn_close.h"
#include "quic/group.h"

static const nq_app *app_of(const nq_endpoint_options *o) { return o->hdmap ? nq_hdmap_app(o->hdmap) : &nq_app_nq1; }

int nq_endpoint_open(nq_loop *l, const nq_endpoint_options *o, uint32_t *id) {
  nq_endpoint *ep;
  int rv = nq_endpoint_bind(&l->hub, o, app_of(o), &ep);
  if (!rv)
    *id = ep->id;
  return rv;
}

int nq_endpoint_attach(nq_loop *l, nq_io *io, const nq_endpoint_options *o, uint32_t *id) {
  nq_endpoint *ep;
  int rv = nq_endpoint_new(&l->hub, io, o, app_of(o), &ep);
  if (!rv)
    *id = ep->id;
  return rv;
}

int nq_endpoint_address(const nq_loop *l, uint32_t id, nq_addr *local) {
  nq_endpoint *ep = nq_endpoint_get(&l->hub, id);
  if (!ep)
    return NQ_ERR_STALE;
  *local = ep->io->local;
  return NQ_DONE;
}

int nq_endpoint_refuse(nq_loop *l, uint32_t id) {
  nq_endpoint *ep = nq_endpoint_get(&l->hub, id);
  if (!ep)
    return NQ_ERR_STALE;
  ep->accepting = 0;
  return NQ_DONE;
}

int nq_endpoint_error(nq_loop *l, uint32_t id) {
  nq_endpoint *ep = nq_endpoint_get(&l->hub, id);
  if (!ep)
    return NQ_ERR_STALE;
  if (ep->io->ops->ask_errors)
    ep->io->ops->ask_errors(ep->io);
  l->hub.failed |= ep->io->n_errors || ep->io->broken != ep->broken;
  return ep->io->broken;
}

int nq_endpoint_fd(const nq_loop *l, uint32_t id) {
  nq_endpoint *ep = nq_endpoint_get(&l->hub, id);
  return ep ? ep->io->fd : -1;
}

static void end_if_here(void *ctx, nq_handle h, void *obj) {
  (void)h;
  nq_conn *c = obj;
  if (c->ep == ctx && c->connected)
    nq_conn_close_now(c, NQ_WHY_SYSTEM, "the local endpoint was closed");
}

static void forget_if_here(void *ctx, nq_handle h, void *obj) {
  (void)h;
  nq_conn *c = obj;
  if (c->ep == ctx)
    c->ep = NULL;
}

int nq_endpoint_close(nq_loop *l, uint32_t id) {
  nq_endpoint *ep = nq_endpoint_get(&l->hub, id);
  if (!ep)
    return NQ_ERR_STALE;
  nq_table_each(&l->hub.conns, end_if_here, ep);
  nq_table_each(&l->hub.conns, forget_if_here, ep);
  ep->io->ops->flush(ep->io);
  nq_endpoint_free(ep);
  return NQ_DONE;
}

int nq_group_join(nq_group *g, nq_loop *l, uint32_t number) { return nq_group_enter(g, &l->hub, number); }
