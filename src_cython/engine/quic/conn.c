/* conn.c: the life of a connection: made, started, released. */
#include "quic/conn.h"

#include <stdlib.h>

#include "app/app.h"
#include "quic/cid.h"
#include "quic/hold.h"
#include "quic/stream.h"

static const uint32_t versions[] = {NGTCP2_PROTO_VER_V1, NGTCP2_PROTO_VER_V2};

void nq_conn_unblock(nq_hub *hub, const nq_endpoint *ep) {
  for (nq_conn **at = &hub->blocked, *c; (c = *at);) {
    if (c->ep != ep && c->quic) {
      at = &c->dirty_next;
      continue;
    }
    *at = c->dirty_next;
    c->dirty = 0;
    nq_conn_mark(c);
  }
}

nq_conn *nq_conn_new(nq_hub *hub, const nq_limits *limits, const nq_transport *transport) {
  nq_conn *c = calloc(1, sizeof *c);
  if (!c)
    return NULL;
  c->route.kind = NQ_ROUTE_CONN;
  c->hub = hub;
  c->transport = transport;
  c->limits = *limits;
  c->dgrams_tail = &c->dgrams;
  nq_timer_init(&c->timer, NQ_TIMER_CONN);
  if (nq_timers_keep(&hub->timers)) {
    free(c);
    return NULL;
  }
  c->h = nq_table_insert(&hub->conns, c);
  if (!c->h) {
    nq_timers_unkeep(&hub->timers);
    free(c);
    return NULL;
  }
  hub->stats.connections++;
  nq_hold_look(c);
  return c;
}

void nq_conn_speak(nq_conn *c, const nq_app *app, void *handlers) {
  void *mine = app->retain(handlers);
  if (c->app)
    c->app->release(c->handlers);
  c->app = app;
  c->handlers = mine;
}

void nq_conn_release(nq_conn *c) {
  nq_hub *hub = c->hub;
  nq_timer_cancel(&hub->timers, &c->timer);
  nq_timers_unkeep(&hub->timers);
  for (nq_conn **at = &hub->blocked; c->dirty && *at; at = &(*at)->dirty_next)
    if (*at == c) {
      *at = c->dirty_next;
      break;
    }
  nq_table_remove(&hub->conns, c->h);
  hub->stats.connections--;
  nq_dgram_clear(c);
  if (c->app)
    c->app->release(c->handlers);
  nq_tls_unref(c->tls);
  free(c->server_name);
  free(c->token);
  free(c->certs);
  free(c->close_reason);
  free(c);
}

/* ---- starting ---- */

static ngtcp2_conn *conn_of_ref(ngtcp2_crypto_conn_ref *ref) { return ((nq_conn *)ref->user_data)->quic; }

/* sizes[NQ_MTU_SIZES] is part of the settings. */
static void settings_of(nq_conn *c, ngtcp2_settings *s, uint16_t *sizes) {
  ngtcp2_settings_default(s);
  s->initial_ts = c->hub->now;
  s->rand_ctx.native_handle = c->hub;
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

/* What both roles need once c->quic exists. The packets with these connection IDs come to it from now on. */
static int attach(nq_conn *c, const ngtcp2_cid *scid, const ngtcp2_cid *first) {
  nq_cidmap *routes = &c->ep->routes;
  c->ref.get_conn = conn_of_ref;
  c->ref.user_data = c;
  c->ssl = nq_tls_session_new(c->tls, &c->ref, c->server_name);
  int rv = c->ssl ? NQ_DONE : nq_tls_session_name_suffices(c->tls, c->server_name) ? NQ_ERR_NOMEM : NQ_ERR_ARG;
  if (!rv && nq_cidmap_put(routes, scid->data, scid->datalen, &c->route))
    rv = NQ_ERR_NOMEM;
  if (!rv && first && nq_cidmap_put(routes, first->data, first->datalen, &c->route)) {
    nq_cidmap_del(routes, scid->data, scid->datalen);
    rv = NQ_ERR_NOMEM;
  }
  if (rv) {
    nq_tls_session_free(c->ssl);
    c->ssl = NULL;
    ngtcp2_conn_del(c->quic);
    c->quic = NULL;
    return rv;
  }
  ngtcp2_conn_set_tls_native_handle(c->quic, c->ssl);
  ngtcp2_ext_set_pkt_outcome(c->quic, nq_conn_pkt_outcome);
  c->idle = 0;
  c->keep_alive = c->keep_alive_set = c->limits.keep_alive;
  if (c->keep_alive)
    ngtcp2_conn_set_keep_alive_timeout(c->quic, c->keep_alive);
  c->handshaken = c->confirmed = c->announced = c->open = 0;
  c->pinging = NQ_PING_NONE;
  c->was_reset = c->close_now = c->probing = 0;
  c->lost_until = 0;
  c->state = NQ_CONN_CONNECTING;
  c->connected = 1;
  c->ep->conns++;
  nq_conn_mark(c);
  return NQ_DONE;
}

int nq_conn_start_version(nq_conn *c, uint32_t version, uint32_t refused) {
  nq_hub *hub = c->hub;
  if (!c->ep) {
    c->ep = nq_endpoint_client(hub, c->remote.sa.sa_family, c->left_ep);
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
  s.original_version = refused; /* by it ngtcp2 finds out a Version Negotiation that was forged (RFC 9368 4) */
  s.handshake_timeout -= hub->now - c->started;
  ngtcp2_cid dcid = {.datalen = 16}, scid;
  nq_hub_random(hub, dcid.data, dcid.datalen);
  nq_cid_make(c->hub, &scid, NQ_CID_LEN);
  ngtcp2_path path = path_of(c);
  int rv = ngtcp2_conn_client_new(&c->quic, &dcid, &scid, &path, version, &nq_conn_callbacks, &s, &p, NULL, c);
  if (rv)
    return rv == NGTCP2_ERR_NOMEM ? NQ_ERR_NOMEM : NQ_ERR_ARG;
  return attach(c, &scid, NULL);
}

int nq_conn_start_client(nq_conn *c) {
  nq_addr_to_loopback(&c->remote);
  c->started = c->hub->now;
  c->offered = 0;
  return nq_conn_start_version(c, c->version ? c->version : NGTCP2_PROTO_VER_V1, 0);
}

int nq_conn_start_server(nq_conn *c, nq_endpoint *ep, const ngtcp2_pkt_hd *hd, const nq_datagram *d,
                         const ngtcp2_cid *odcid, int retried) {
  c->ep = ep;
  c->remote = *d->remote;
  c->local = *d->local;
  c->user = ep->user;
  nq_conn_speak(c, ep->app, ep->handlers);
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
  nq_cid_make(ep->hub, &scid, NQ_CID_LEN);
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
  int rv = ngtcp2_conn_server_new(&c->quic, &hd->scid, &scid, &path, hd->version, &nq_conn_callbacks, &s, &p, NULL, c);
  if (rv)
    return rv == NGTCP2_ERR_NOMEM ? NQ_ERR_NOMEM : NQ_ERR_ARG;
  c->first_dcid = hd->dcid;
  rv = attach(c, &scid, &hd->dcid);
  if (!rv)
    ep->half_open++;
  return rv;
}

/* ---- running ---- */

/* CONN_OPEN was dispatched: what its streams brought meanwhile may be delivered. */
void nq_conn_opened(nq_conn *c) {
  c->open = 1;
  for (nq_stream *s = c->streams; s; s = s->next)
    if (s->withheld && !s->paused)
      nq_stream_schedule(s);
}

void nq_conn_arm(nq_conn *c, int waits) {
  nq_hub *hub = c->hub;
  uint64_t t = ngtcp2_ext_unpaced_expiry(c->quic);
  c->waits = waits != 0;
  if (waits && ngtcp2_ext_pacing_expiry(c->quic) < t)
    t = ngtcp2_ext_pacing_expiry(c->quic);
  /* Timers of a few µs (the ACK delay of a loopback path) would cost a packet each: let ACKs ride on data. */
  if (t < hub->now + hub->timer_floor)
    t = hub->now + hub->timer_floor;
  if (c->state == NQ_CONN_CLOSING && c->deadline < t)
    t = c->deadline;
  if (c->ease_at && c->ease_at < t)
    t = c->ease_at;
  if (c->lost_until && c->lost_until < t)
    t = c->lost_until;
  nq_timer_set(&hub->timers, &c->timer, t);
}
