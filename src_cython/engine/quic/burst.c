/* burst.c: see burst.h. */
#include "quic/burst.h"

#define NQ_TICK_CONNS_MIN 16 /* below it a tick's own cost counts */
#define NQ_BURST_WINDOW (4 * NGTCP2_MILLISECONDS) /* for which connections that write are counted */

/* The connections of one tick, and of one send: half of those that are busy, so that where all wait for replies this
 * side and the peer each work on one half. Of thousands in a tick each would be fetched from memory twice. */
static uint32_t tick_of(const nq_endpoint *ep) {
  uint32_t tick = (ep->busy > ep->busy_now ? ep->busy : ep->busy_now) / 2;
  return tick < NQ_TICK_CONNS_MIN ? NQ_TICK_CONNS_MIN : tick > NQ_TICK_CONNS ? NQ_TICK_CONNS : tick;
}

/* A train may have another connection in each packet. */
void nq_burst_aim(nq_endpoint *ep, uint64_t messages, uint32_t conns) {
  uint64_t most = conns ? messages * tick_of(ep) / conns : 0;
  ep->io->rx_most = most > UINT32_MAX ? UINT32_MAX : most || !conns ? (uint32_t)most : 1;
}

void nq_burst_flush(nq_endpoint *ep) {
  nq_hub *hub = ep->hub;
  ep->written = 0;
  int blocked = ep->io->ops->flush(ep->io);
  hub->failed |= ep->io->n_errors || ep->io->broken != ep->broken;
  if (blocked != ep->watching_write && ep->io->fd >= 0) {
    if (!hub->ops->watch(hub, ep->io->fd, ep->id, blocked, 1))
      ep->watching_write = blocked;
    else if (blocked) /* nothing would wake whoever waits for the socket: every tick flushes, and one comes soon.
                       * What is watched in vain wakes by itself. */
      nq_timer_set(&hub->timers, &ep->again, hub->now + NQ_MSEC(1));
  }
  if (!blocked && hub->blocked)
    nq_conn_unblock(hub, ep);
}

/* Busy are the connections that wrote in the last window or in this one. */
void nq_burst_wrote(nq_endpoint *ep, nq_conn *c) {
  if (ep->hub->now >= ep->burst_window_ends) {
    ep->busy = ep->busy_now;
    ep->busy_now = 0;
    ep->burst_window++;
    ep->burst_window_ends = ep->hub->now + NQ_BURST_WINDOW;
  }
  if (c->burst_window != ep->burst_window) {
    c->burst_window = ep->burst_window;
    ep->busy_now++;
  }
  if (++ep->written >= tick_of(ep))
    nq_burst_flush(ep);
}
