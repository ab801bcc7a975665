/* dgram.c: see dgram.h. */
#include "quic/dgram.h"

#include <stdlib.h>

#include "quic/conn.h"

void nq_dgram_drop(nq_conn *c) {
  nq_dgram *d = c->dgrams;
  c->dgrams = d->next;
  if (!c->dgrams)
    c->dgrams_tail = &c->dgrams;
  c->n_dgrams--;
  free(d);
}

void nq_dgram_clear(nq_conn *c) {
  while (c->dgrams) {
    nq_dgram *next = c->dgrams->next;
    free(c->dgrams);
    c->hub->stats.datagrams_dropped_unsent++;
    c->dgrams = next;
  }
  c->dgrams_tail = &c->dgrams;
  c->n_dgrams = 0;
}

size_t nq_dgram_max(const nq_conn *c) {
  if (!c->quic || !c->handshaken)
    return 0;
  const ngtcp2_transport_params *p = ngtcp2_conn_get_remote_transport_params2(c->quic);
  if (!p || !p->max_datagram_frame_size)
    return 0;
  size_t path = nq_mtu_payload(c);
  if (path > NQ_MTU_COMMON) /* its size depends on the path's MTU alone, not on how busy it is: see mtu.h */
    path = NQ_MTU_COMMON;
  path -= NQ_DGRAM_OVERHEAD;
  size_t frame = p->max_datagram_frame_size > 5 ? (size_t)p->max_datagram_frame_size - 5 : 0;
  return path < frame ? path : frame;
}

int nq_dgram_send(nq_conn *c, const uint8_t *data, size_t len) {
  if (c->state != NQ_CONN_OPEN)
    return NQ_ERR_STATE;
  size_t most = nq_dgram_max(c);
  if (!most || len > most)
    return NQ_ERR_TOOBIG;
  nq_dgram *d = malloc(sizeof *d + len);
  if (!d)
    return NQ_ERR_NOMEM;
  int full = c->n_dgrams >= c->limits.datagram_queue;
  if (full) {
    nq_dgram_drop(c); /* the oldest: newer is better */
    c->hub->stats.datagrams_dropped_queue++;
  }
  d->next = NULL;
  d->len = len;
  if (len)
    memcpy(d->data, data, len);
  *c->dgrams_tail = d;
  c->dgrams_tail = &d->next;
  c->n_dgrams++;
  nq_conn_mark(c);
  return full;
}
