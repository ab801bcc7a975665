/* conn_close.c: the end of a connection, whoever wanted it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quic/conn.h"
#include "quic/stream.h"
#include "tls/verify.h"

/* ---- closing and draining (RFC 9000 10.2) ---- */

nq_closing *nq_conn_linger(nq_conn *c, const uint8_t *packet, size_t len) {
  size_t n = ngtcp2_conn_get_scid2(c->q, NULL);
  nq_closing *z = calloc(1, sizeof *z + (n + 1) * sizeof(ngtcp2_cid));
  if (!z)
    return NULL;
  if (packet) {
    z->packet = malloc(len);
    if (!z->packet) {
      free(z);
      return NULL;
    }
    memcpy(z->packet, packet, len);
    z->packet_len = (uint16_t)len;
  }
  z->n_cids = (uint16_t)ngtcp2_conn_get_scid2(c->q, z->cids);
  if (!c->client)
    z->cids[z->n_cids++] = c->first_dcid;
  z->remote = c->remote;
  z->local = c->local;
  return z;
}

/* A peer that retires connection IDs fast may have made many: no fixed number, and no memory to fail for want of. */
void nq_conn_forget_routes(nq_endpoint *ep, nq_conn *c) {
  ngtcp2_cid cids[NQ_CIDS];
  size_t n = ngtcp2_conn_get_scid2(c->q, NULL);
  if (n > NQ_CIDS) {
    nq_cidmap_forget(&ep->routes, &c->route);
  } else {
    n = ngtcp2_conn_get_scid2(c->q, cids);
    for (size_t i = 0; i <= n; i++) {
      const ngtcp2_cid *cid = i < n ? &cids[i] : &c->first_dcid;
      if (nq_cidmap_get(&ep->routes, cid->data, cid->datalen) == &c->route)
        nq_cidmap_del(&ep->routes, cid->data, cid->datalen);
    }
  }
  ngtcp2_cid_token2 peers[NQ_CIDS];
  n = ngtcp2_conn_get_active_dcid2(c->q, NULL);
  if (n > NQ_CIDS) {
    nq_cidmap_forget(&ep->resets, c);
    return;
  }
  n = ngtcp2_conn_get_active_dcid2(c->q, peers);
  for (size_t i = 0; i < n; i++)
    if (peers[i].token_present && nq_cidmap_get(&ep->resets, peers[i].token.data, sizeof peers[i].token.data) == c)
      nq_cidmap_del(&ep->resets, peers[i].token.data, sizeof peers[i].token.data);
}

/* What stands for the connection in its endpoint goes, or is handed to the closing record. */
static void leave_endpoint(nq_conn *c, nq_closing *z) {
  nq_endpoint *ep = c->ep;
  nq_conn_forget_routes(ep, c);
  if (z)
    nq_closing_add(ep, z, c->l->now + 3 * ngtcp2_conn_get_pto2(c->q));
}

void nq_conn_drop_quic(nq_conn *c, nq_closing *z) {
  nq_endpoint *ep = c->ep;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(c->q, &info);
  c->l->stats.lost_packets += info.pkt_lost;
  leave_endpoint(c, z);
  nq_tls_session_free(c->ssl);
  c->ssl = NULL;
  ngtcp2_conn_del(c->q);
  c->q = NULL;
  ep->conns--;
  if (!c->client && !c->announced)
    ep->half_open--;
  if (c->client && !c->pinned_ep) {
    c->left_ep = ep->id;
    c->ep = NULL; /* it may be closed before the next connection */
  }
  nq_endpoint_left(ep);
}

void nq_conn_drop_dgrams(nq_conn *c) {
  while (c->dgrams) {
    nq_dgram *next = c->dgrams->next;
    free(c->dgrams);
    c->dgrams = next;
  }
  c->dgrams_tail = &c->dgrams;
  c->n_dgrams = 0;
}

static void make_dead(nq_conn *c) {
  if (c->dead)
    return;
  c->dead = 1;
  c->dead_next = c->l->dead_conns;
  c->l->dead_conns = c;
}

static void push_freed(nq_conn *c) {
  if (c->dead)
    return;
  nq_events_push(&c->l->batch, NQ_EV_CONN_FREED, c->h)->user = c->user;
  make_dead(c);
}

static nq_stream *oldest(const nq_conn *c) {
  nq_stream *s = c->streams;
  while (s && s->next)
    s = s->next;
  return s;
}

/* Nothing is sent any more. What had arrived and was held back is still delivered. */
static void stop_streams(nq_conn *c) {
  for (nq_stream *s = c->send; s; s = s->send_next)
    s->in_send = 0;
  c->send = c->send_tail = NULL;
  for (nq_stream *s = oldest(c), *prev; s; s = prev) {
    prev = s->prev;
    s->id = -1;
    if (s->holding && c->announced && c->state != NQ_CONN_CLOSING)
      nq_stream_continue(s);
  }
}

static void end_streams(nq_conn *c, uint64_t code) {
  for (nq_stream *s = oldest(c), *prev; s; s = prev) {
    prev = s->prev;
    nq_stream_ended(s, code);
  }
}

/* Whether all events of the end can be pushed now: half an end is none. If not, it is tried again a little later. */
static int end_fits(nq_conn *c) {
  nq_loop *l = c->l;
  uint64_t n = 2; /* CONN_CLOSE, CONN_FREED */
  for (const nq_stream *s = c->streams; s; s = s->next)
    n += nq_stream_end_events(s);
  if (n <= UINT32_MAX && nq_events_room(&l->batch, (uint32_t)n))
    return 1;
  nq_timer_set(&l->timers, &c->timer, l->now + NQ_NO_MEMORY_PAUSE);
  return 0;
}

/* A client's object without a connection: its streams waited for the next one. */
static void free_closed(nq_conn *c) {
  c->end.pending = 0;
  end_streams(c, NQ_CODE_OK);
  push_freed(c);
}

/* All that follows is in memory already, or needs none. */
static void tell_end(nq_conn *c, const char *reason) {
  nq_loop *l = c->l;
  uint32_t why = c->end.why;
  uint64_t code = c->end.code;
  end_streams(c, why == NQ_WHY_APP ? code : NQ_CODE_OK);
  c->queued = c->assembly = 0;
  c->state = NQ_CONN_CLOSED;
  if (c->client || c->announced) { /* a server says nothing of clients that never got through */
    size_t len = strlen(reason);
    char *copy = nq_arena_alloc(&l->batch.arena, len + 1);
    nq_event *e = nq_events_push(&l->batch, NQ_EV_CONN_CLOSE, c->h);
    e->flags = (uint8_t)((c->client ? NQ_EVF_CLIENT : 0) | (c->end.remote ? NQ_EVF_REMOTE : NQ_EVF_LOCAL));
    e->msgid = why;
    e->code = code;
    e->user = c->user;
    if (copy) {
      memcpy(copy, reason, len + 1);
      e->data = (const uint8_t *)copy;
      e->len = len;
    }
    if (!c->client || c->free_wanted)
      push_freed(c);
  } else {
    make_dead(c);
  }
}

void nq_conn_end(nq_conn *c, uint32_t why, uint64_t code, const char *reason, int remote, nq_closing *linger) {
  nq_loop *l = c->l;
  nq_timer_set(&l->timers, &c->timer, NQ_NEVER);
  if (c->q)
    nq_conn_drop_quic(c, linger);
  stop_streams(c);
  nq_conn_drop_dgrams(c);
  if (l->batch.oom || c->oom) { /* something that had arrived could not be told: no end in order */
    l->batch.oom = c->oom = 0;
    why = NQ_WHY_SYSTEM;
    code = 0;
    remote = 0;
    reason = nq_strerror(NQ_ERR_NOMEM);
  }
  c->end = (nq_conn_fate){.why = why, .code = code, .remote = remote != 0, .pending = 1};
  if (!end_fits(c)) {
    c->state = NQ_CONN_CLOSING;
    return;
  }
  c->end.pending = 0;
  tell_end(c, reason);
}

void nq_conn_end_again(nq_conn *c) {
  if (!end_fits(c))
    return;
  if (c->end.why) {
    c->end.pending = 0;
    tell_end(c, nq_strerror(NQ_ERR_NOMEM)); /* what was in the way when there was another reason, too */
  } else {
    free_closed(c);
  }
}

void nq_conn_no_memory(nq_conn *c) {
  c->l->batch.oom = c->oom = 0;
  if (!c->q)
    return;
  ngtcp2_ccerr e;
  ngtcp2_ccerr_default(&e);
  ngtcp2_ccerr_set_liberr(&e, NGTCP2_ERR_NOMEM, NULL, 0);
  nq_closing *z = nq_conn_close_write(c, &e);
  nq_conn_end(c, NQ_WHY_SYSTEM, 0, nq_strerror(NQ_ERR_NOMEM), 0, z);
}

nq_closing *nq_conn_close_write(nq_conn *c, const ngtcp2_ccerr *err) {
  nq_io *io = c->ep->io;
  uint8_t *buf = io->ops->tx_room(io, 1500);
  if (!buf)
    return nq_conn_linger(c, NULL, 0);
  nq_addr local, remote;
  ngtcp2_path path = {.local = {.addr = &local.sa, .addrlen = sizeof local.in6},
                      .remote = {.addr = &remote.sa, .addrlen = sizeof remote.in6}};
  ngtcp2_pkt_info pi = {0};
  ngtcp2_ssize n = ngtcp2_conn_write_connection_close(c->q, &path, &pi, buf, 1500, err, c->l->now);
  if (n <= 0)
    return NULL;
  local.len = (socklen_t)path.local.addrlen;
  remote.len = (socklen_t)path.remote.addrlen;
  nq_closing *z = nq_conn_linger(c, buf, (size_t)n);
  io->ops->tx_push(io, (size_t)n, (size_t)n, &remote, c->ep->wildcard && !c->client ? &local : NULL, pi.ecn);
  return z;
}

/* ---- what ngtcp2 found ---- */

static void peer_closed(nq_conn *c) {
  const ngtcp2_ccerr *e = ngtcp2_conn_get_ccerr2(c->q);
  uint32_t why = NQ_WHY_TRANSPORT;
  if (c->was_reset)
    why = NQ_WHY_RESET;
  else if (e->type == NGTCP2_CCERR_TYPE_APPLICATION)
    why = NQ_WHY_APP;
  else if (e->error_code >= 0x100 && e->error_code < 0x200)
    why = NQ_WHY_TLS;
  char reason[512], alert[32];
  size_t n = e->reasonlen < sizeof reason - 1 ? e->reasonlen : sizeof reason - 1;
  if (n)
    memcpy(reason, e->reason, n);
  reason[n] = 0;
  if (!n && why == NQ_WHY_TLS)
    snprintf(reason, sizeof reason, "the peer sent TLS alert %s",
             nq_tls_alert_name((unsigned)(e->error_code - 0x100), alert, sizeof alert));
  if (!n && why == NQ_WHY_RESET)
    snprintf(reason, sizeof reason, "stateless reset: the peer no longer knows this connection");
  nq_conn_end(c, why, c->was_reset ? 0 : e->error_code, reason, 1, nq_conn_linger(c, NULL, 0));
}

static void tls_failed(nq_conn *c) {
  unsigned alert = ngtcp2_conn_get_tls_alert2(c->q);
  char reason[512], name[32], why[400] = "";
  if (c->ssl)
    nq_verify_error(c->ssl, why, sizeof why);
  snprintf(reason, sizeof reason, "%s%s%s", why, *why ? "; TLS alert " : "TLS alert ",
           nq_tls_alert_name(alert, name, sizeof name));
  ngtcp2_ccerr e;
  ngtcp2_ccerr_default(&e);
  ngtcp2_ccerr_set_tls_alert(&e, (uint8_t)alert, NULL, 0);
  nq_closing *z = nq_conn_close_write(c, &e);
  nq_conn_end(c, NQ_WHY_TLS, 0x100 + alert, reason, 0, z);
}

void nq_conn_liberr(nq_conn *c, int liberr) {
  ngtcp2_ccerr e;
  switch (liberr) {
  case NGTCP2_ERR_DRAINING:
  case NGTCP2_ERR_CLOSING:
    peer_closed(c);
    return;
  case NGTCP2_ERR_IDLE_CLOSE:
    nq_conn_end(c, NQ_WHY_IDLE, 0, "idle timeout", 0, NULL);
    return;
  case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
    nq_conn_end(c, NQ_WHY_HANDSHAKE_TIMEOUT, 0, "no answer that completes the handshake", 0, NULL);
    return;
  case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
    if (nq_conn_try_offered(c))
      return;
    nq_conn_end(c, NQ_WHY_VERSION, 0, "the server speaks none of our QUIC versions", 1, NULL);
    return;
  case NGTCP2_ERR_DROP_CONN:
  case NGTCP2_ERR_RETRY:
    nq_conn_end(c, NQ_WHY_TRANSPORT, 0, "dropped", 0, NULL);
    return;
  case NGTCP2_ERR_CRYPTO:
    tls_failed(c);
    return;
  default:
    ngtcp2_ccerr_default(&e);
    ngtcp2_ccerr_set_liberr(&e, liberr, NULL, 0);
    nq_closing *z = nq_conn_close_write(c, &e);
    nq_conn_end(c, NQ_WHY_TRANSPORT, e.error_code, ngtcp2_strerror(liberr), 0, z);
  }
}

/* ---- what the user wants ---- */

/* A client that closes before its Finished has left: a CONNECTION_CLOSE alone would reach a server that can read only
 * Handshake packets, whose code is not the application's (RFC 9000 10.2.3). */
static void finish_handshake(nq_conn *c) {
  nq_io *io = c->ep->io;
  uint8_t *buf;
  while ((buf = io->ops->tx_room(io, 1500))) { /* a large certificate takes several packets, at most a window of them */
    nq_addr local, remote;
    ngtcp2_path path = {.local = {.addr = &local.sa, .addrlen = sizeof local.in6},
                        .remote = {.addr = &remote.sa, .addrlen = sizeof remote.in6}};
    ngtcp2_pkt_info pi = {0};
    ngtcp2_ssize n = ngtcp2_conn_write_pkt(c->q, &path, &pi, buf, 1500, c->l->now);
    if (n <= 0)
      return;
    remote.len = (socklen_t)path.remote.addrlen;
    io->ops->tx_push(io, (size_t)n, (size_t)n, &remote, NULL, pi.ecn);
  }
}

void nq_conn_close_step(nq_conn *c) {
  if (!c->close_now && c->handshaken && c->queued && c->l->now < c->deadline)
    return;
  ngtcp2_ccerr e;
  ngtcp2_ccerr_default(&e);
  const char *reason = c->close_reason ? c->close_reason : "";
  if (c->handshaken)
    ngtcp2_ccerr_set_application_error(&e, c->close_code, (const uint8_t *)reason, c->close_reason_len);
  else /* an application code is not for the handshake: RFC 9000 10.2.3 */
    ngtcp2_ccerr_set_transport_error(&e, NGTCP2_APPLICATION_ERROR, NULL, 0);
  if (c->client && c->handshaken && !c->confirmed)
    finish_handshake(c);
  nq_closing *z = nq_conn_close_write(c, &e);
  nq_conn_end(c, NQ_WHY_APP, c->close_code, reason, 0, z);
}

int nq_conn_close(nq_loop *l, nq_handle h, uint64_t code, const char *reason, size_t len, int now) {
  nq_conn *c = nq_conn_get(l, h);
  if (!c)
    return NQ_ERR_STALE;
  if (code >= UINT64_C(1) << 62 || len > 1024)
    return NQ_ERR_ARG;
  if (c->end.pending)
    return NQ_DONE;
  if (c->state == NQ_CONN_CLOSED || c->state == NQ_CONN_WAITING) { /* only the reconnect is to be called off */
    c->state = NQ_CONN_CLOSED;
    nq_timer_set(&l->timers, &c->timer, NQ_NEVER);
    return NQ_DONE;
  }
  if (c->state != NQ_CONN_CLOSING) {
    free(c->close_reason);
    c->close_reason_len = 0;
    c->close_reason = calloc(1, len + 1);
    if (c->close_reason && len) {
      memcpy(c->close_reason, reason, len);
      c->close_reason_len = len;
    }
    c->close_code = code;
    c->deadline = l->now + c->limits.shutdown_timeout;
    if (!c->q) { /* never started */
      nq_conn_end(c, NQ_WHY_APP, code, c->close_reason ? c->close_reason : "", 0, NULL);
      return NQ_DONE;
    }
    c->state = NQ_CONN_CLOSING;
    for (nq_stream *s = c->streams; s; s = s->next)
      if (s->name_bytes && !s->shut && !s->fin_wanted && !s->out.sent && s->out.end == s->name_bytes) {
        s->shut = 1; /* never written: its name will not be sent any more */
        nq_stream_drop_queue(s);
      } else if (s->in_opening && s->reset_wanted && !s->shut) {
        s->shut = 1; /* given up before it was opened */
      }
  }
  if (now)
    c->close_now = 1;
  nq_conn_mark(c);
  return NQ_DONE;
}

int nq_conn_fail(nq_loop *l, nq_handle h, uint32_t why, uint64_t code, const char *reason) {
  nq_conn *c = nq_conn_get(l, h);
  if (!c)
    return NQ_ERR_STALE;
  if (c->q || c->state != NQ_CONN_IDLE)
    return NQ_ERR_STATE;
  if (!why)
    return NQ_ERR_ARG;
  nq_conn_end(c, why, code, reason, 0, NULL);
  return NQ_DONE;
}

int nq_conn_free(nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(l, h);
  if (!c)
    return NQ_ERR_STALE;
  if (!c->client)
    return nq_conn_close(l, h, NQ_CODE_OK, "", 0, 0);
  if (c->free_wanted)
    return NQ_DONE;
  c->free_wanted = 1;
  if (c->q)
    return nq_conn_close(l, h, NQ_CODE_OK, "", 0, 0);
  if (c->state == NQ_CONN_IDLE) { /* its streams have events to come */
    nq_conn_end(c, NQ_WHY_APP, NQ_CODE_OK, "", 0, NULL);
    return NQ_DONE;
  }
  if (c->end.pending) /* its last events are still to come, and this one with them */
    return NQ_DONE;
  nq_timer_set(&l->timers, &c->timer, NQ_NEVER);
  c->state = NQ_CONN_CLOSED;
  stop_streams(c);
  c->end = (nq_conn_fate){.pending = 1};
  if (end_fits(c))
    free_closed(c);
  return NQ_DONE;
}

int nq_conn_reconnect(nq_loop *l, nq_handle h, uint64_t delay, const nq_addr *remote) {
  nq_conn *c = nq_conn_get(l, h);
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
  c->deadline = delay > NQ_NEVER - l->now ? NQ_NEVER : l->now + delay;
  nq_timer_set(&l->timers, &c->timer, c->deadline);
  return NQ_DONE;
}

uint64_t nq_conn_reconnect_wait(const nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(l, h);
  return c && c->state == NQ_CONN_WAITING && c->deadline > l->now ? c->deadline - l->now : 0;
}

/* The loop goes away: one packet, no events. */
void nq_conn_abort(nq_conn *c) {
  if (!c->q)
    return;
  ngtcp2_ccerr e;
  ngtcp2_ccerr_default(&e);
  if (c->handshaken)
    ngtcp2_ccerr_set_application_error(&e, NQ_CODE_SHUTDOWN, NULL, 0);
  else
    ngtcp2_ccerr_set_transport_error(&e, NGTCP2_APPLICATION_ERROR, NULL, 0);
  nq_closing *z = nq_conn_close_write(c, &e);
  nq_conn_drop_quic(c, z);
}
