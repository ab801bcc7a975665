/* conn.c: the life of a connection: made, started, fed with packets and timers, released. */
#include "quic/conn.h"

#include <stdlib.h>
#include <string.h>

#include "quic/stream.h"

static const uint32_t versions[] = {NGTCP2_PROTO_VER_V1, NGTCP2_PROTO_VER_V2};

nq_conn *nq_conn_get(const nq_loop *l, nq_handle h) { return nq_table_get(&l->conns, h); }

void nq_conn_mark(nq_conn *c) {
  if (c->dirty)
    return;
  c->dirty = 1;
  c->dirty_next = NULL;
  *c->l->dirty_tail = c;
  c->l->dirty_tail = &c->dirty_next;
  c->l->marked++;
}

void nq_conn_unblock(nq_loop *l, const nq_endpoint *ep) {
  for (nq_conn **at = &l->blocked, *c; (c = *at);) {
    if (c->ep != ep && c->q) {
      at = &c->dirty_next;
      continue;
    }
    *at = c->dirty_next;
    c->dirty = 0;
    nq_conn_mark(c);
  }
}

nq_conn *nq_conn_new(nq_loop *l, const nq_limits *limits) {
  nq_conn *c = calloc(1, sizeof *c);
  if (!c)
    return NULL;
  c->route.kind = NQ_ROUTE_CONN;
  c->l = l;
  c->limits = *limits;
  c->dgrams_tail = &c->dgrams;
  nq_timer_init(&c->timer, NQ_TIMER_CONN);
  if (nq_timers_keep(&l->timers)) {
    free(c);
    return NULL;
  }
  c->h = nq_table_insert(&l->conns, c);
  if (!c->h) {
    nq_timers_unkeep(&l->timers);
    free(c);
    return NULL;
  }
  l->stats.connections++;
  return c;
}

void nq_conn_release(nq_conn *c) {
  nq_loop *l = c->l;
  nq_timer_cancel(&l->timers, &c->timer);
  nq_timers_unkeep(&l->timers);
  for (nq_conn **at = &l->blocked; c->dirty && *at; at = &(*at)->dirty_next)
    if (*at == c) {
      *at = c->dirty_next;
      break;
    }
  nq_table_remove(&l->conns, c->h);
  l->stats.connections--;
  nq_conn_drop_dgrams(c);
  nq_hdmap_unref(c->hdmap);
  nq_tls_unref(c->tls);
  free(c->server_name);
  free(c->token);
  free(c->certs);
  free(c->close_reason);
  free(c);
}

/* ---- starting ---- */

static ngtcp2_conn *conn_of_ref(ngtcp2_crypto_conn_ref *ref) { return ((nq_conn *)ref->user_data)->q; }

/* sizes[NQ_MTU_SIZES] is part of the settings. */
static void settings_of(nq_conn *c, ngtcp2_settings *s, uint16_t *sizes) {
  ngtcp2_settings_default(s);
  s->initial_ts = c->l->now;
  s->rand_ctx.native_handle = c->l;
  s->handshake_timeout = c->limits.handshake_timeout;
  /* A stream's window doubles when the peer fills a quarter of it within two round trips, and the application takes
   * it. The connection's does not grow: a stream that nobody reads would use it up, and the others would wait. */
  s->max_stream_window = c->limits.stream_window;
  nq_mtu_settings(c, s, sizes);
  s->preferred_versions = versions;
  s->preferred_versionslen = 2;
  s->available_versions = versions;
  s->available_versionslen = 2;
  if (c->client && c->version) { /* asked for by name: the server is offered no other (RFC 9368 2.3) */
    s->preferred_versions = s->available_versions = &c->version;
    s->preferred_versionslen = s->available_versionslen = 1;
  }
}

static void params_of(const nq_conn *c, ngtcp2_transport_params *p) {
  ngtcp2_transport_params_default(p);
  uint64_t window = c->limits.stream_window < NQ_STREAM_WINDOW ? c->limits.stream_window : NQ_STREAM_WINDOW;
  p->initial_max_stream_data_bidi_local = window;
  p->initial_max_stream_data_bidi_remote = window;
  p->initial_max_stream_data_uni = window;
  p->initial_max_data = c->limits.connection_window;
  p->initial_max_streams_bidi = c->limits.max_streams_bidi;
  p->initial_max_streams_uni = c->limits.max_streams_uni;
  p->max_idle_timeout = c->limits.idle_timeout;
  p->max_datagram_frame_size = c->limits.max_datagram_size;
  p->max_udp_payload_size = c->limits.max_udp_payload;
  /* ngtcp2 keeps at most 8. A server that validates a client's new path while another one begins counts a connection ID
   * which it has retired already: it needs the room. */
  p->active_connection_id_limit = c->client ? 4 : 8;
}

static ngtcp2_path path_of(nq_conn *c) {
  ngtcp2_path p;
  memset(&p, 0, sizeof p);
  ngtcp2_addr_init(&p.local, &c->local.sa, c->local.len);
  ngtcp2_addr_init(&p.remote, &c->remote.sa, c->remote.len);
  return p;
}

/* The TLS session and what else both roles need once c->q exists. */
static int attach(nq_conn *c) {
  c->ref.get_conn = conn_of_ref;
  c->ref.user_data = c;
  c->ssl = nq_tls_session_new(c->tls, &c->ref, c->server_name);
  if (!c->ssl) {
    ngtcp2_conn_del(c->q);
    c->q = NULL;
    return nq_tls_session_name_suffices(c->tls, c->server_name) ? NQ_ERR_NOMEM : NQ_ERR_ARG;
  }
  ngtcp2_conn_set_tls_native_handle(c->q, c->ssl);
  if (c->limits.keep_alive)
    ngtcp2_conn_set_keep_alive_timeout(c->q, c->limits.keep_alive);
  c->handshaken = c->confirmed = c->announced = c->open = 0;
  c->pinging = NQ_PING_NONE;
  c->was_reset = c->close_now = 0;
  c->state = NQ_CONN_CONNECTING;
  c->ep->conns++;
  nq_conn_mark(c);
  return NQ_DONE;
}

/* original: the version that the server did not take, or 0. */
static int start_client(nq_conn *c, uint32_t version, uint32_t original) {
  nq_loop *l = c->l;
  if (!c->ep) {
    c->ep = nq_endpoint_client(l, c->remote.sa.sa_family, c->left_ep);
    if (!c->ep)
      return NQ_ERR_SYS;
  }
  c->local = c->ep->io->local;
  ngtcp2_settings s;
  ngtcp2_transport_params p;
  uint16_t sizes[NQ_MTU_SIZES];
  settings_of(c, &s, sizes);
  params_of(c, &p);
  s.token = c->token;
  s.tokenlen = c->token_len;
  s.original_version = original; /* by it ngtcp2 finds out a Version Negotiation that was forged (RFC 9368 4) */
  s.handshake_timeout -= l->now - c->started;
  ngtcp2_cid dcid = {.datalen = 16}, scid;
  nq_loop_random(l, dcid.data, dcid.datalen);
  nq_endpoint_new_cid(c->ep, &scid, NQ_CID_LEN);
  ngtcp2_path path = path_of(c);
  int rv = ngtcp2_conn_client_new(&c->q, &dcid, &scid, &path, version, &nq_conn_callbacks, &s, &p, NULL, c);
  if (rv)
    return rv == NGTCP2_ERR_NOMEM ? NQ_ERR_NOMEM : NQ_ERR_ARG;
  rv = attach(c);
  if (rv)
    return rv;
  if (nq_cidmap_put(&c->ep->routes, scid.data, scid.datalen, &c->route)) {
    nq_conn_end(c, NQ_WHY_SYSTEM, 0, nq_strerror(NQ_ERR_NOMEM), 0, NULL);
    return NQ_DONE; /* the end is told by its event */
  }
  return NQ_DONE;
}

int nq_conn_start_client(nq_conn *c) {
  c->started = c->l->now;
  c->offered = 0;
  return start_client(c, c->version ? c->version : NGTCP2_PROTO_VER_V1, 0);
}

int nq_conn_try_offered(nq_conn *c) {
  uint32_t version = c->offered;
  if (!version || c->l->now - c->started >= c->limits.handshake_timeout)
    return 0;
  c->offered = 0;
  uint32_t left = c->left_ep;
  nq_conn_drop_quic(c, NULL);
  c->left_ep = left; /* its socket is as good as before */
  int rv = start_client(c, version, NGTCP2_PROTO_VER_V1);
  if (rv)
    nq_conn_end(c, NQ_WHY_SYSTEM, 0, nq_strerror(rv), 0, NULL);
  return 1;
}

int nq_conn_start_server(nq_conn *c, nq_endpoint *ep, const ngtcp2_pkt_hd *hd, const nq_datagram *d,
                         const ngtcp2_cid *odcid, int retried) {
  c->ep = ep;
  c->remote = *d->remote;
  c->local = *d->local;
  c->user = ep->user;
  c->hdmap = nq_hdmap_ref(ep->hdmap);
  c->tls = nq_tls_ref(ep->tls);
  ngtcp2_settings s;
  ngtcp2_transport_params p;
  uint16_t sizes[NQ_MTU_SIZES];
  settings_of(c, &s, sizes);
  params_of(c, &p);
  s.token = hd->token;
  s.tokenlen = hd->tokenlen;
  if (hd->tokenlen)
    s.token_type = retried ? NGTCP2_TOKEN_TYPE_RETRY : NGTCP2_TOKEN_TYPE_NEW_TOKEN;
  ngtcp2_cid scid;
  nq_endpoint_new_cid(ep, &scid, NQ_CID_LEN);
  p.original_dcid = odcid ? *odcid : hd->dcid;
  p.original_dcid_present = 1;
  if (retried) {
    p.retry_scid = hd->dcid;
    p.retry_scid_present = 1;
  }
  p.stateless_reset_token_present = 1;
  if (ngtcp2_crypto_generate_stateless_reset_token(p.stateless_reset_token, ep->secret, NQ_SECRET_LEN, &scid))
    return NQ_ERR_NOMEM; /* rather than a token that all connections share */
  ngtcp2_path path = path_of(c);
  int rv = ngtcp2_conn_server_new(&c->q, &hd->scid, &scid, &path, hd->version, &nq_conn_callbacks, &s, &p, NULL, c);
  if (rv)
    return rv == NGTCP2_ERR_NOMEM ? NQ_ERR_NOMEM : NQ_ERR_ARG;
  rv = attach(c);
  if (rv)
    return rv;
  ep->half_open++;
  c->first_dcid = hd->dcid;
  if (nq_cidmap_put(&ep->routes, scid.data, scid.datalen, &c->route) ||
      nq_cidmap_put(&ep->routes, hd->dcid.data, hd->dcid.datalen, &c->route)) {
    nq_conn_end(c, NQ_WHY_SYSTEM, 0, nq_strerror(NQ_ERR_NOMEM), 0, NULL);
    return NQ_DONE;
  }
  return NQ_DONE;
}

/* ---- running ---- */

static void keep_certs(nq_conn *c) {
  size_t total = 0, len;
  for (unsigned i = 0; i < 8 && (len = nq_tls_session_peer_cert(c->ssl, i, NULL, 0)); i++)
    total += 4 + len;
  free(c->certs);
  c->certs_len = 0;
  c->certs = total && total <= 65536 ? malloc(total) : NULL;
  if (!c->certs)
    return;
  for (unsigned i = 0; i < 8 && (len = nq_tls_session_peer_cert(c->ssl, i, NULL, 0)); i++) {
    uint32_t n = (uint32_t)len;
    memcpy(c->certs + c->certs_len, &n, 4);
    nq_tls_session_peer_cert(c->ssl, i, c->certs + c->certs_len + 4, len);
    c->certs_len += 4 + len;
  }
}

/* After the packet that completed the handshake. */
void nq_conn_handshaken(nq_conn *c) {
  nq_loop *l = c->l;
  c->announced = 1;
  if (c->state == NQ_CONN_CONNECTING)
    c->state = NQ_CONN_OPEN;
  c->alpn = nq_tls_session_alpn(c->ssl);
  nq_tls_session_cipher(c->ssl, c->cipher, sizeof c->cipher);
  nq_tls_session_group(c->ssl, c->group, sizeof c->group);
  keep_certs(c);
  l->stats.handshakes++;
  if (!c->client) {
    c->ep->half_open--;
    uint8_t token[256]; /* NGTCP2_CRYPTO_MAX_REGULAR_TOKENLEN, and some */
    ngtcp2_ssize n = ngtcp2_crypto_generate_regular_token2(token, c->ep->secret, NQ_SECRET_LEN, &c->remote.sa,
                                                           c->remote.len, NULL, 0, l->now);
    if (n > 0)
      ngtcp2_conn_submit_new_token(c->q, token, (size_t)n);
  }
  nq_event *e = nq_events_push(&l->batch, NQ_EV_CONN_OPEN, c->h);
  e->flags = c->client ? NQ_EVF_CLIENT : 0;
  e->user = c->user;
  c->opened_next = l->opened;
  l->opened = c;
}

/* CONN_OPEN was dispatched: what its streams brought meanwhile may be delivered. */
void nq_conn_opened(nq_conn *c) {
  c->open = 1;
  for (nq_stream *s = c->streams; s; s = s->next)
    if (s->holding && !s->paused)
      nq_stream_schedule(s);
}

/* The newest packet acknowledged just now left latest_rtt ago: was that the PING, or one after it? On a new path
   nothing is in flight and no round trip is known (RFC 9002 9.4, the PING went out before): then ask again. */
static void look_for_pong(nq_conn *c, const ngtcp2_conn_info *before) {
  nq_loop *l = c->l;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(c->q, &info);
  if (info.bytes_in_flight >= before->bytes_in_flight || !info.latest_rtt || l->now - info.latest_rtt < c->ping_sent) {
    if (info.bytes_in_flight == 0) {
      c->pinging = NQ_PING_WANTED;
      nq_conn_mark(c);
    }
    return;
  }
  c->pinging = NQ_PING_NONE;
  nq_event *e = nq_events_push(&l->batch, NQ_EV_PONG, c->h);
  e->value = l->now - c->ping_sent;
  e->user = c->user;
}

#define NQ_PREFETCH_CALLS 32 /* of many more the next is not known */
#define NQ_PREFETCH_ROOM 256 /* bytes of a few replies */

static inline void prefetch(const void *p, size_t n) {
  uintptr_t end = (uintptr_t)p + n;
  for (uintptr_t at = (uintptr_t)p & ~(uintptr_t)63; p && at < end; at += 64)
    __builtin_prefetch((const void *)at);
}

void nq_conn_prefetch(const nq_route *r, int step) {
  const nq_conn *c = (const nq_conn *)r;
  if (step == 0) { /* what is behind it is for its beginning and its end */
    prefetch(c, offsetof(nq_conn, remote));
    return;
  }
  if (r->kind != NQ_ROUTE_CONN || !c->q)
    return;
  const nq_stream *s = c->streams; /* the newest, often the only one */
  if (step == 1) {
    prefetch(s, sizeof *s);
  } else if (step == 2 && s) {
    prefetch(s->out.tail, sizeof *s->out.tail);
    prefetch(s->user, 256); /* whatever it is, its events are handled in this tick */
  } else if (step == 3 && s) {
    uint32_t calls = s->calls.made;
    if (calls)
      prefetch(s->calls.slots, (calls < NQ_PREFETCH_CALLS ? calls : NQ_PREFETCH_CALLS) * sizeof *s->calls.slots);
    if (s->out.tail) /* what is sent next is put there */
      prefetch(s->out.tail->data + s->out.tail->len, NQ_PREFETCH_ROOM);
  }
  ngtcp2_conn_prefetch(c->q, s ? s->id : -1, step - 1);
}

void nq_conn_packet(nq_conn *c, const nq_datagram *d) {
  if (!c->q)
    return;
  ngtcp2_path path;
  memset(&path, 0, sizeof path);
  const nq_addr *local = c->client ? &c->ep->io->local : d->local;
  union { /* ngtcp2 does not write to them */
    const struct sockaddr *c;
    struct sockaddr *p;
  } la = {.c = &local->sa}, ra = {.c = &d->remote->sa};
  path.local.addr = la.p;
  path.local.addrlen = local->len;
  path.remote.addr = ra.p;
  path.remote.addrlen = d->remote->len;
  ngtcp2_pkt_info pi = {.ecn = d->ecn};
  ngtcp2_conn_info before;
  if (c->pinging == NQ_PING_SENT)
    ngtcp2_conn_get_conn_info2(c->q, &before);
  int rv = ngtcp2_conn_read_pkt(c->q, &path, &pi, d->data, d->len, c->l->now);
  if (rv) {
    nq_conn_liberr(c, rv);
    return;
  }
  if (c->pinging == NQ_PING_SENT)
    look_for_pong(c, &before);
  if (c->handshaken && !c->announced)
    nq_conn_handshaken(c);
  if (c->l->batch.oom) {
    nq_conn_no_memory(c);
    return;
  }
  /* TLS has nothing more to say: 5 KB less per connection */
  if (c->ssl && (c->client ? c->confirmed : c->announced)) {
    ngtcp2_conn_set_tls_native_handle(c->q, NULL);
    nq_tls_session_free(c->ssl);
    c->ssl = NULL;
  }
  nq_conn_mark(c);
}

void nq_conn_on_timer(nq_conn *c) {
  nq_loop *l = c->l;
  if (c->end.pending) {
    nq_conn_end_again(c);
    return;
  }
  if (c->state == NQ_CONN_WAITING) {
    c->state = NQ_CONN_IDLE;
    int rv = nq_conn_start_client(c);
    if (rv)
      nq_conn_end(c, NQ_WHY_SYSTEM, 0, rv == NQ_ERR_SYS ? strerror(l->err) : nq_strerror(rv), 0, NULL);
    return;
  }
  if (!c->q)
    return;
  if (c->state == NQ_CONN_CLOSING && l->now >= c->deadline)
    c->close_now = 1;
  int rv = ngtcp2_conn_handle_expiry(c->q, l->now);
  if (rv) {
    nq_conn_liberr(c, rv);
    return;
  }
  nq_mtu_timer(c);
  nq_conn_mark(c);
  if (l->batch.oom)
    nq_conn_no_memory(c);
}

void nq_conn_arm(nq_conn *c, int waits) {
  nq_loop *l = c->l;
  uint64_t t = ngtcp2_conn_get_unpaced_expiry(c->q);
  c->waits = waits != 0;
  if (waits && ngtcp2_conn_get_pacing_expiry(c->q) < t)
    t = ngtcp2_conn_get_pacing_expiry(c->q);
  /* Timers of a few µs (the ACK delay of a loopback path) would cost a packet each: let ACKs ride on data. */
  if (t < l->now + l->timer_floor)
    t = l->now + l->timer_floor;
  if (c->state == NQ_CONN_CLOSING && c->deadline < t)
    t = c->deadline;
  nq_timer_set(&l->timers, &c->timer, t);
}
