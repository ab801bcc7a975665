/* conn_close.c: see conn_close.h. */
#include "quic/conn_close.h"

#include <stdlib.h>

#include "quic/hold.h"
#include "quic/stream_end.h"
#include "quic/stream_in.h"
#include "quic/stream_out.h"

/* ---- closing and draining (RFC 9000 10.2) ---- */

nq_closing *nq_conn_linger(nq_conn *c, const uint8_t *packet, size_t len) {
  size_t n = ngtcp2_conn_get_scid2(c->quic, NULL);
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
  z->n_cids = (uint16_t)ngtcp2_conn_get_scid2(c->quic, z->cids);
  if (!c->client)
    z->cids[z->n_cids++] = c->first_dcid;
  z->remote = c->remote;
  z->local = c->local;
  return z;
}

/* What stands for the connection in its endpoint goes, or is handed to the closing record. */
static void leave_endpoint(nq_conn *c, nq_closing *z) {
  nq_endpoint *ep = c->ep;
  nq_route_forget(ep, c);
  if (z)
    nq_closing_add(ep, z, c->hub->now + 3 * ngtcp2_conn_get_pto2(c->quic));
}

void nq_conn_drop_quic(nq_conn *c, nq_closing *z) {
  nq_endpoint *ep = c->ep;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(c->quic, &info);
  c->hub->stats.lost_packets += info.pkt_lost;
  leave_endpoint(c, z);
  nq_tls_session_free(c->ssl);
  c->ssl = NULL;
  ngtcp2_conn_del(c->quic);
  c->quic = NULL;
  c->connected = 0;
  ep->conns--;
  if (!c->client && !c->announced)
    ep->half_open--;
  if (c->client && !c->pinned_ep) {
    c->left_ep = ep->id;
    c->ep = NULL; /* it may be closed before the next connection */
  }
  nq_endpoint_left(ep);
}

static void make_dead(nq_conn *c) {
  if (c->dead)
    return;
  c->dead = 1;
  c->dead_next = c->hub->dead_conns;
  c->hub->dead_conns = c;
}

static void push_freed(nq_conn *c) {
  if (c->dead)
    return;
  nq_events_push(&c->hub->batch, NQ_EV_CONN_FREED, c->h)->user = c->user;
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
  nq_sched_clear(&c->sched);
  nq_hold_set(c, NQ_HOLD_REPLIES, 0);
  for (nq_stream *s = oldest(c), *prev; s; s = prev) {
    prev = s->prev;
    s->id = -1;
    if ((s->withheld || s->keeps) && c->announced && c->state != NQ_CONN_CLOSING)
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
  nq_hub *hub = c->hub;
  uint64_t n = 2; /* CONN_CLOSE, CONN_FREED */
  for (const nq_stream *s = c->streams; s; s = s->next)
    n += nq_stream_end_events(s);
  if (n <= UINT32_MAX && nq_events_room(&hub->batch, (uint32_t)n))
    return 1;
  nq_timer_set(&hub->timers, &c->timer, hub->now + NQ_NO_MEMORY_PAUSE);
  return 0;
}

static int counts(const void *stream) { return !stream || !((const nq_stream *)stream)->late; }

int nq_conn_delivered(nq_conn *c) {
  return !c->owed && !c->queued && !c->fins && !c->dgrams && !c->shutdowns &&
         (!c->quic || !ngtcp2_ext_shutdown_unacked(c->quic, counts));
}

/* A client's object without a connection: its streams waited for the next one. */
static void free_closed(nq_conn *c) {
  c->end.pending = 0;
  end_streams(c, NQ_CODE_OK);
  push_freed(c);
}

/* A handshake that was not completed is counted, but not what this side gave up, as a client does with the addresses
 * that it does not need. */
static void count_failure(nq_conn *c) {
  nq_loop_stats *s = &c->hub->stats;
  switch (c->end.why) {
  case NQ_WHY_TLS:
    s->handshakes_failed_tls++;
    break;
  case NQ_WHY_IDLE:
  case NQ_WHY_HANDSHAKE_TIMEOUT:
    s->handshakes_failed_timeout++;
    break;
  case NQ_WHY_SYSTEM:
    s->handshakes_failed_system++;
    break;
  case NQ_WHY_APP:
    s->handshakes_failed_closed += c->end.remote;
    break;
  default: /* a client that closes before it can be read as one of an application says APPLICATION_ERROR */
    if (c->end.remote && (c->end.code == NGTCP2_APPLICATION_ERROR || c->end.code == NGTCP2_NO_ERROR))
      s->handshakes_failed_closed++;
    else
      s->handshakes_failed_protocol++;
  }
}

/* For who asked for connections: a client that never got through has no object, only an address. */
static void tell_failure(nq_conn *c, const char *reason) {
  nq_hub *hub = c->hub;
  size_t len = strlen(reason);
  uint8_t *copy = nq_arena_alloc(&hub->batch.arena, sizeof c->remote + len + 1);
  if (!copy)
    return; /* it is counted */
  memcpy(copy, &c->remote, sizeof c->remote);
  memcpy(copy + sizeof c->remote, reason, len + 1);
  nq_event *e = nq_events_push(&hub->batch, NQ_EV_HANDSHAKE_FAILED, 0);
  e->flags = c->end.remote ? NQ_EVF_REMOTE : NQ_EVF_LOCAL;
  e->msgid = c->end.why;
  e->code = c->end.code;
  e->user = c->user;
  e->data = copy;
  e->len = sizeof c->remote + len;
}

/* All that follows is in memory already, or needs none. */
static void tell_end(nq_conn *c, const char *reason) {
  nq_hub *hub = c->hub;
  uint32_t why = c->end.why;
  uint64_t code = c->end.code;
  end_streams(c, why == NQ_WHY_APP ? code : NQ_CODE_OK);
  nq_hold_set(c, c->hold, 0);
  c->queued = c->assembly = c->promised = 0;
  c->state = NQ_CONN_CLOSED;
  if (!c->announced)
    count_failure(c);
  if (c->client || c->announced) {
    size_t len = strlen(reason);
    char *copy = nq_arena_alloc(&hub->batch.arena, len + 1);
    nq_event *e = nq_events_push(&hub->batch, NQ_EV_CONN_CLOSE, c->h);
    e->flags = (uint8_t)((c->client ? NQ_EVF_CLIENT : 0) | (c->end.remote ? NQ_EVF_REMOTE : NQ_EVF_LOCAL) |
                         (c->end.delivered ? NQ_EVF_DELIVERED : 0));
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
    tell_failure(c, reason);
    make_dead(c);
  }
}

void nq_conn_end(nq_conn *c, uint32_t why, uint64_t code, const char *reason, int remote, nq_closing *linger) {
  nq_hub *hub = c->hub;
  nq_timer_set(&hub->timers, &c->timer, NQ_NEVER);
  int delivered = nq_conn_delivered(c);
  if (c->quic)
    nq_conn_drop_quic(c, linger);
  stop_streams(c);
  nq_dgram_clear(c);
  if (hub->batch.oom || c->oom) { /* something that had arrived could not be told: no end in order */
    hub->batch.oom = c->oom = 0;
    why = NQ_WHY_SYSTEM;
    code = 0;
    remote = 0;
    reason = nq_strerror(NQ_ERR_NOMEM);
    delivered = 0;
  }
  c->end = (nq_conn_fate){.why = why, .code = code, .remote = remote != 0, .pending = 1, .delivered = delivered != 0};
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

nq_closing *nq_conn_close_write(nq_conn *c, const ngtcp2_ccerr *err) {
  nq_io *io = c->ep->io;
  uint8_t *buf = io->ops->tx_room(io, 1500);
  if (!buf)
    return nq_conn_linger(c, NULL, 0);
  nq_addr local, remote;
  ngtcp2_path path = {.local = {.addr = &local.sa, .addrlen = sizeof local.in6},
                      .remote = {.addr = &remote.sa, .addrlen = sizeof remote.in6}};
  ngtcp2_pkt_info pi = {0};
  ngtcp2_ssize n = ngtcp2_conn_write_connection_close(c->quic, &path, &pi, buf, 1500, err, c->hub->now);
  if (n <= 0)
    return NULL;
  local.len = (socklen_t)path.local.addrlen;
  remote.len = (socklen_t)path.remote.addrlen;
  nq_closing *z = nq_conn_linger(c, buf, (size_t)n);
  io->ops->tx_push(io, (size_t)n, (size_t)n, &remote, c->ep->wildcard && !c->client ? &local : NULL, pi.ecn);
  return z;
}

void nq_conn_no_memory(nq_conn *c) {
  c->hub->batch.oom = c->oom = 0;
  if (!c->quic)
    return;
  ngtcp2_ccerr e;
  ngtcp2_ccerr_default(&e);
  ngtcp2_ccerr_set_liberr(&e, NGTCP2_ERR_NOMEM, NULL, 0);
  nq_closing *z = nq_conn_close_write(c, &e);
  nq_conn_end(c, NQ_WHY_SYSTEM, 0, nq_strerror(NQ_ERR_NOMEM), 0, z);
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
    ngtcp2_ssize n = ngtcp2_conn_write_pkt(c->quic, &path, &pi, buf, 1500, c->hub->now);
    if (n <= 0)
      return;
    remote.len = (socklen_t)path.remote.addrlen;
    io->ops->tx_push(io, (size_t)n, (size_t)n, &remote, NULL, pi.ecn);
  }
}

/* An application's code where its packets can be read: a server has the keys before the handshake is complete, and
 * ngtcp2 puts a Handshake packet without the code beside it until that is confirmed (RFC 9000 10.2.3). */
static void close_error(const nq_conn *c, ngtcp2_ccerr *e, uint64_t code, const char *reason, size_t len) {
  ngtcp2_ccerr_default(e);
  if (c->handshaken || (!c->client && ngtcp2_ext_has_1rtt_tx(c->quic)))
    ngtcp2_ccerr_set_application_error(e, code, (const uint8_t *)reason, len);
  else
    ngtcp2_ccerr_set_transport_error(e, NGTCP2_APPLICATION_ERROR, NULL, 0);
}

void nq_conn_close_now(nq_conn *c, uint32_t why, const char *reason) {
  ngtcp2_ccerr e;
  uint64_t code = 0;
  if (c->state == NQ_CONN_CLOSING) {
    why = NQ_WHY_APP;
    code = c->close_code;
    reason = c->close_reason ? c->close_reason : "";
    close_error(c, &e, code, reason, c->close_reason_len);
  } else {
    close_error(c, &e, NQ_CODE_SHUTDOWN, NULL, 0);
  }
  if (c->client && c->handshaken && !c->confirmed)
    finish_handshake(c);
  nq_closing *z = nq_conn_close_write(c, &e);
  nq_conn_end(c, why, code, reason, 0, z);
}

void nq_conn_close_step(nq_conn *c, int written) {
  nq_hub *hub = c->hub;
  if (!c->close_now && c->handshaken && hub->now < c->deadline) {
    if (!written)
      return;
    if (hub->stats.ticks < c->posts_tick) { /* a thread asked for something before: it may be a reply */
      nq_conn_mark(c);
      return;
    }
    if (!nq_conn_delivered(c))
      return;
  }
  nq_conn_close_now(c, NQ_WHY_APP, "");
}

int nq_conn_shutdown(nq_conn *c, uint64_t code, const char *reason, size_t len, int now) {
  if (code >= UINT64_C(1) << 62 || len > 1024)
    return NQ_ERR_ARG;
  if (c->end.pending)
    return NQ_DONE;
  if (c->state == NQ_CONN_CLOSED || c->state == NQ_CONN_WAITING) { /* only the reconnect is to be called off */
    c->state = NQ_CONN_CLOSED;
    nq_timer_set(&c->hub->timers, &c->timer, NQ_NEVER);
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
    c->deadline = c->hub->now + c->limits.shutdown_timeout;
    c->posts_tick = 0;
    if (!c->quic) { /* never started */
      nq_conn_end(c, NQ_WHY_APP, code, c->close_reason ? c->close_reason : "", 0, NULL);
      return NQ_DONE;
    }
    c->state = NQ_CONN_CLOSING;
    for (nq_stream *s = c->streams; s; s = s->next)
      if (s->preface && !s->write_reset && !s->fin_wanted && !s->out.sent && s->out.end == s->preface) {
        s->write_reset = 1; /* never written: its name will not be sent any more */
        nq_stream_drop_queue(s);
      } else if (s->in_opening && s->reset_wanted && !s->write_reset) {
        s->write_reset = 1; /* given up before it was opened */
      }
  }
  if (now)
    c->close_now = 1;
  nq_conn_mark(c);
  return NQ_DONE;
}

int nq_conn_discard(nq_conn *c) {
  nq_hub *hub = c->hub;
  if (!c->client)
    return nq_conn_shutdown(c, NQ_CODE_OK, "", 0, 0);
  if (c->free_wanted)
    return NQ_DONE;
  c->free_wanted = 1;
  if (c->quic)
    return nq_conn_shutdown(c, NQ_CODE_OK, "", 0, 0);
  if (c->state == NQ_CONN_IDLE) { /* its streams have events to come */
    nq_conn_end(c, NQ_WHY_APP, NQ_CODE_OK, "", 0, NULL);
    return NQ_DONE;
  }
  if (c->end.pending) /* its last events are still to come, and this one with them */
    return NQ_DONE;
  nq_timer_set(&hub->timers, &c->timer, NQ_NEVER);
  c->state = NQ_CONN_CLOSED;
  stop_streams(c);
  c->end = (nq_conn_fate){.pending = 1};
  if (end_fits(c))
    free_closed(c);
  return NQ_DONE;
}

/* The loop goes away: one packet, no events. */
void nq_conn_abort(nq_conn *c) {
  if (!c->quic)
    return;
  ngtcp2_ccerr e;
  close_error(c, &e, NQ_CODE_SHUTDOWN, NULL, 0);
  nq_closing *z = nq_conn_close_write(c, &e);
  nq_conn_drop_quic(c, z);
}
