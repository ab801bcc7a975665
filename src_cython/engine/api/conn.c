/* conn.c: connections, as engine.h has them: handles in, results out. */
#include <stdlib.h>
#include <string.h>

#include "app/hdmap.h"
#include "app/nq1.h"
#include "loop/loop.h"
#include "quic/burst.h"
#include "quic/conn_close.h"
#include "quic/hold.h"

static nq_conn *client_new(nq_loop *l, const nq_connect_options *o, int *err) {
  *err = NQ_ERR_ARG;
  if (!o->tls || nq_tls_is_server(o->tls) || nq_limits_check(&o->limits) ||
      (o->version && !ngtcp2_is_supported_version(o->version)))
    return NULL;
  nq_endpoint *ep = NULL;
  if (o->endpoint && !(ep = nq_endpoint_get(&l->hub, o->endpoint)))
    return NULL;
  *err = NQ_ERR_NOMEM;
  nq_conn *c = nq_conn_new(&l->hub, &o->limits, &nq_transport_quic);
  if (!c)
    return NULL;
  c->client = 1;
  c->ep = ep;
  c->pinned_ep = ep != NULL;
  c->version = o->version;
  c->user = o->user;
  c->tls = nq_tls_ref(o->tls);
  nq_conn_speak(c, o->hdmap ? nq_hdmap_app(o->hdmap) : &nq_app_nq1, o->hdmap);
  c->server_name = o->server_name ? strdup(o->server_name) : NULL;
  if (o->server_name && !c->server_name) {
    nq_conn_release(c);
    return NULL;
  }
  return c;
}

int nq_conn_create(nq_loop *l, const nq_connect_options *o, nq_handle *conn) {
  int err;
  nq_conn *c = client_new(l, o, &err);
  if (!c)
    return err;
  *conn = c->h;
  return NQ_DONE;
}

int nq_conn_hold(nq_loop *l, nq_handle h, unsigned reason, int on) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return NQ_ERR_STALE;
  if (!reason || reason & ~(unsigned)(NQ_HOLD_TASKS | NQ_HOLD_REPLIES))
    return NQ_ERR_ARG;
  nq_hold_set(c, reason, on && c->state != NQ_CONN_CLOSED && c->state != NQ_CONN_WAITING);
  return NQ_DONE;
}

int nq_conn_start(nq_loop *l, nq_handle h, const nq_addr *remote) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return NQ_ERR_STALE;
  if (!c->client || c->connected || c->state != NQ_CONN_IDLE || c->free_wanted)
    return NQ_ERR_STATE;
  c->remote = *remote;
  return nq_conn_start_client(c);
}

int nq_conn_connect(nq_loop *l, const nq_connect_options *o, nq_handle *conn) {
  int err;
  nq_conn *c = client_new(l, o, &err);
  if (!c)
    return err;
  c->remote = o->remote;
  err = nq_conn_start_client(c);
  if (err) {
    nq_conn_release(c);
    return err;
  }
  *conn = c->h;
  return NQ_DONE;
}

int nq_conn_alive(const nq_loop *l, nq_handle h) { return nq_table_alive(&l->hub.conns, h); }

void *nq_conn_user(const nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  return c ? c->user : NULL;
}

int nq_conn_set_user(nq_loop *l, nq_handle h, void *user) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return NQ_ERR_STALE;
  c->user = user;
  return NQ_DONE;
}

int nq_conn_set_hdmap(nq_loop *l, nq_handle h, nq_hdmap *m) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return NQ_ERR_STALE;
  nq_conn_speak(c, m ? nq_hdmap_app(m) : &nq_app_nq1, m);
  return NQ_DONE;
}

int nq_conn_is_client(const nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  return c && c->client;
}

int nq_conn_fd(const nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  return c && c->ep ? c->ep->io->fd : -1;
}

int nq_conn_get_info(const nq_loop *l, nq_handle h, nq_conn_info *info) {
  memset(info, 0, sizeof *info);
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return NQ_ERR_STALE;
  info->state = c->state;
  info->local = c->local;
  info->remote = c->remote;
  info->streams = c->n_streams;
  info->queued = c->queued;
  if (c->alpn)
    memcpy(info->alpn, c->alpn + 1, info->alpn_len = c->alpn[0]);
  memcpy(info->cipher, c->cipher, sizeof c->cipher);
  memcpy(info->group, c->group, sizeof c->group);
  if (!c->connected)
    return NQ_DONE;
  const ngtcp2_path *path = ngtcp2_conn_get_path2(c->quic);
  memcpy(&info->local, path->local.addr, path->local.addrlen);
  info->local.len = (socklen_t)path->local.addrlen;
  memcpy(&info->remote, path->remote.addr, path->remote.addrlen);
  info->remote.len = (socklen_t)path->remote.addrlen;
  info->version = ngtcp2_conn_get_negotiated_version2(c->quic);
  info->max_udp_payload = nq_mtu_payload(c);
  ngtcp2_conn_info i;
  ngtcp2_conn_get_conn_info2(c->quic, &i);
  info->smoothed_rtt = i.smoothed_rtt;
  info->latest_rtt = i.latest_rtt;
  info->min_rtt = i.min_rtt == UINT64_MAX ? 0 : i.min_rtt;
  info->rttvar = i.rttvar;
  info->cwnd = i.cwnd;
  info->bytes_in_flight = i.bytes_in_flight;
  info->packets_sent = i.pkt_sent;
  info->packets_received = i.pkt_recv;
  info->packets_lost = i.pkt_lost;
  info->bytes_sent = i.bytes_sent;
  info->bytes_received = i.bytes_recv;
  info->bytes_lost = i.bytes_lost;
  return NQ_DONE;
}

size_t nq_conn_peer_cert(const nq_loop *l, nq_handle h, unsigned i, uint8_t *buf, size_t cap) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return 0;
  for (size_t off = 0; off < c->certs_len; i--) {
    uint32_t n;
    memcpy(&n, c->certs + off, 4);
    if (i == 0) {
      if (n <= cap)
        memcpy(buf, c->certs + off + 4, n);
      return n;
    }
    off += 4 + n;
  }
  return 0;
}

/* conn_write.c makes ngtcp2 send a PING, conn.c watches for its acknowledgement. Calls before the answer share it. */
int nq_conn_ping(nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return NQ_ERR_STALE;
  if (c->state != NQ_CONN_OPEN)
    return NQ_ERR_STATE;
  if (!c->pinging) {
    c->pinging = NQ_PING_WANTED;
    nq_conn_mark(c);
  }
  return NQ_DONE;
}

/* A new socket, and the connection goes on from there at once (RFC 9000 9.2). */
int nq_conn_migrate(nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return NQ_ERR_STALE;
  if (!c->client || !c->connected || !c->confirmed || c->state != NQ_CONN_OPEN)
    return NQ_ERR_STATE;
  return c->transport->migrate ? c->transport->migrate(c) : NQ_ERR_STATE;
}

int nq_conn_close(nq_loop *l, nq_handle h, uint64_t code, const char *reason, size_t len, int now) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return NQ_ERR_STALE;
  int closing = c->state == NQ_CONN_CLOSING;
  int rv = nq_conn_shutdown(c, code, reason, len, now);
  if (!closing && nq_inbox_waits(&l->inbox))
    c->posts_tick = l->hub.stats.ticks + 1;
  return rv;
}

int nq_conn_owe(nq_loop *l, nq_handle h, int n) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return NQ_ERR_STALE;
  if (n < 0 ? c->owed < (uint32_t)-n : c->owed > UINT32_MAX - (uint32_t)n)
    return NQ_ERR_ARG;
  c->owed += (uint32_t)n;
  if (c->state == NQ_CONN_CLOSING)
    nq_conn_mark(c);
  return NQ_DONE;
}

int nq_conn_fail(nq_loop *l, nq_handle h, uint32_t why, uint64_t code, const char *reason) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return NQ_ERR_STALE;
  if (c->connected || c->state != NQ_CONN_IDLE)
    return NQ_ERR_STATE;
  if (!why)
    return NQ_ERR_ARG;
  nq_conn_end(c, why, code, reason, 0, NULL);
  return NQ_DONE;
}

int nq_conn_free(nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  return c ? nq_conn_discard(c) : NQ_ERR_STALE;
}

int nq_conn_reconnect(nq_loop *l, nq_handle h, uint64_t delay, const nq_addr *remote) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return NQ_ERR_STALE;
  if (!c->client || c->free_wanted || (c->state != NQ_CONN_CLOSED && c->state != NQ_CONN_WAITING))
    return NQ_ERR_STATE;
  if (remote)
    c->remote = *remote;
  if (!c->remote.len)
    return NQ_ERR_ARG;
  if (c->ep && !c->pinned_ep)
    c->ep = NULL;
  c->state = NQ_CONN_WAITING;
  c->deadline = delay > NQ_NEVER - l->hub.now ? NQ_NEVER : l->hub.now + delay;
  nq_timer_set(&l->hub.timers, &c->timer, c->deadline);
  return NQ_DONE;
}

uint64_t nq_conn_reconnect_wait(const nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  return c && c->state == NQ_CONN_WAITING && c->deadline > l->hub.now ? c->deadline - l->hub.now : 0;
}

int nq_conn_flush(nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  if (!c)
    return NQ_ERR_STALE;
  c->transport->write(c);
  if (c->ep)
    nq_burst_flush(c->ep);
  return NQ_DONE;
}

int nq_conn_send_datagram(nq_loop *l, nq_handle h, const uint8_t *data, size_t len) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  return c ? nq_dgram_send(c, data, len) : NQ_ERR_STALE;
}

size_t nq_conn_max_datagram(const nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(&l->hub, h);
  return c ? nq_dgram_max(c) : 0;
}
