/* stats.c: the counters of a loop, and of the sockets it has. */
#include "loop/loop.h"
#include "quic/endpoint.h"

void nq_loop_drop(nq_loop *l, nq_drop why) {
  if (why == NQ_DROP_TASKS)
    l->hub.stats.datagrams_dropped_tasks++;
  else
    l->hub.stats.datagrams_dropped_unhandled++;
}

void nq_loop_get_stats(const nq_loop *l, nq_loop_stats *s) {
  *s = l->hub.stats;
  s->pending_calls = l->hub.calls;
  s->send_buffer_bytes = l->hub.pool.in_use;
  s->datagrams_dropped = s->datagrams_dropped_memory + s->datagrams_dropped_unhandled + s->datagrams_dropped_tasks +
                         s->datagrams_dropped_queue + s->datagrams_dropped_unsent;
  for (uint32_t i = 0; i < l->hub.n_endpoints; i++) {
    const nq_endpoint *ep = l->hub.endpoints[i];
    if (!ep)
      continue;
    const nq_io_stats *t = &ep->io->stats;
    s->rx_calls += t->rx_calls;
    s->rx_messages += t->rx_messages;
    s->rx_datagrams += t->rx_datagrams;
    s->rx_bytes += t->rx_bytes;
    s->rx_dropped += t->rx_truncated + t->rx_errors;
    s->rx_kernel_dropped += t->rx_kernel_dropped;
    s->tx_calls += t->tx_calls;
    s->tx_messages += t->tx_messages;
    s->tx_datagrams += t->tx_datagrams;
    s->tx_bytes += t->tx_bytes;
    s->tx_errors += t->tx_errors;
    s->gso |= ep->io->caps.gso;
    s->gro |= ep->io->caps.gro;
    s->mmsg |= ep->io->caps.mmsg;
    s->ecn |= ep->io->caps.ecn;
  }
}
