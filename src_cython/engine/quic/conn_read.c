/* conn_read.c: see conn_read.h. */
#include "quic/conn_read.h"

#include <stdlib.h>

#include "app/app.h"
#include "quic/conn_close.h"
#include "quic/conn_error.h"
#include "quic/hold.h"
#include "quic/stream.h"
#include "quic/unreachable.h"

#define NQ_PREFETCH_STATE 128 /* bytes of what a protocol has of a stream */
#define NQ_SMALL_WINDOW NQ_KIB(128) /* of a stream or a connection: below it a peer can take few replies at once */
#define NQ_PREFETCH_ROOM 256  /* bytes of a few replies */

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

/* The shorter of both idle timeouts holds (RFC 9000 10.1), and no PING that comes later keeps anything alive. */
static void agree_idle(nq_conn *c) {
  const ngtcp2_transport_params *p = ngtcp2_conn_get_remote_transport_params2(c->quic);
  c->idle = c->limits.idle_timeout;
  if (p && p->max_idle_timeout && (!c->idle || p->max_idle_timeout < c->idle))
    c->idle = p->max_idle_timeout;
  if (!c->idle || c->keep_alive < c->idle)
    return;
  nq_hub_log(c->hub, 'W', "keep_alive is not below the idle timeout that holds for both sides: half of that is taken",
             "\"keep_alive_ms\":%u,\"idle_timeout_ms\":%u", (unsigned)(c->keep_alive / NQ_MSEC(1)),
             (unsigned)(c->idle / NQ_MSEC(1)));
  c->keep_alive = c->idle / 2;
}

/* Then a reply of a few bytes to each request in a packet is more than it has asked to get. */
static uint8_t has_small_windows(const nq_conn *c) {
  const ngtcp2_transport_params *p = ngtcp2_conn_get_remote_transport_params2(c->quic);
  return p && (p->initial_max_data < NQ_SMALL_WINDOW || p->initial_max_stream_data_bidi_local < NQ_SMALL_WINDOW ||
               p->initial_max_stream_data_bidi_remote < NQ_SMALL_WINDOW);
}

/* After the packet that completed the handshake. */
static void handshaken(nq_conn *c) {
  nq_hub *hub = c->hub;
  c->announced = 1;
  if (c->state == NQ_CONN_CONNECTING)
    c->state = NQ_CONN_OPEN;
  nq_tls_session_cipher(c->ssl, c->cipher, sizeof c->cipher);
  nq_tls_session_group(c->ssl, c->group, sizeof c->group);
  keep_certs(c);
  agree_idle(c);
  c->narrow = has_small_windows(c);
  hub->stats.handshakes++;
  if (!c->client) {
    c->ep->half_open--;
    uint8_t token[256]; /* NGTCP2_CRYPTO_MAX_REGULAR_TOKENLEN, and some */
    ngtcp2_ssize n = ngtcp2_crypto_generate_regular_token2(token, c->ep->secret, NQ_SECRET_LEN, &c->remote.sa,
                                                           c->remote.len, NULL, 0, hub->now);
    if (n > 0)
      ngtcp2_conn_submit_new_token(c->quic, token, (size_t)n);
  }
  nq_event *e = nq_events_push(&hub->batch, NQ_EV_CONN_OPEN, c->h);
  e->flags = c->client ? NQ_EVF_CLIENT : 0;
  e->user = c->user;
  c->opened_next = hub->opened;
  hub->opened = c;
  if (c->app->begin)
    c->app->begin(c);
}

/* The newest packet acknowledged just now left latest_rtt ago: was that the PING, or one after it? On a new path
   nothing is in flight and no round trip is known (RFC 9002 9.4, the PING went out before): then ask again. */
static void look_for_pong(nq_conn *c, const ngtcp2_conn_info *before) {
  nq_hub *hub = c->hub;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(c->quic, &info);
  if (info.bytes_in_flight >= before->bytes_in_flight || !info.latest_rtt ||
      hub->now - info.latest_rtt < c->ping_sent) {
    if (info.bytes_in_flight == 0) {
      c->pinging = NQ_PING_WANTED;
      nq_conn_mark(c);
    }
    return;
  }
  c->pinging = NQ_PING_NONE;
  nq_event *e = nq_events_push(&hub->batch, NQ_EV_PONG, c->h);
  e->value = hub->now - c->ping_sent;
  e->user = c->user;
}

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
  if (r->kind != NQ_ROUTE_CONN || !c->quic)
    return;
  const nq_stream *s = c->streams; /* the newest, often the only one */
  if (step == 1) {
    prefetch(s, sizeof *s + NQ_PREFETCH_STATE);
  } else if (step == 2 && s) {
    prefetch(s->out.tail, sizeof *s->out.tail);
    prefetch(s->user, 256); /* whatever it is, its events are handled in this tick */
  } else if (step == 3 && s) {
    if (s->app->prefetch)
      s->app->prefetch(s);
    if (s->out.tail) /* what is sent next is put there */
      prefetch(s->out.tail->data + s->out.tail->len, NQ_PREFETCH_ROOM);
  }
  ngtcp2_ext_prefetch(c->quic, s ? s->id : -1, step - 1);
}

void nq_conn_packet(nq_conn *c, const nq_datagram *d) {
  if (!c->quic)
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
    ngtcp2_conn_get_conn_info2(c->quic, &before);
  int rv = ngtcp2_conn_read_pkt(c->quic, &path, &pi, d->data, d->len, c->hub->now);
  if (rv) {
    nq_conn_ngtcp2_error(c, rv);
    return;
  }
  c->lost_until = 0;
  c->lost_error = 0;
  if (c->pinging == NQ_PING_SENT)
    look_for_pong(c, &before);
  if (c->handshaken && !c->announced)
    handshaken(c);
  if (c->hub->batch.oom) {
    nq_conn_no_memory(c);
    return;
  }
  /* TLS has nothing more to say: 5 KB less per connection */
  if (c->ssl && (c->client ? c->confirmed : c->announced)) {
    ngtcp2_conn_set_tls_native_handle(c->quic, NULL);
    nq_tls_session_free(c->ssl);
    c->ssl = NULL;
  }
  nq_conn_mark(c);
}

void nq_conn_on_timer(nq_conn *c) {
  nq_hub *hub = c->hub;
  if (c->end.pending) {
    nq_conn_end_again(c);
    return;
  }
  if (c->state == NQ_CONN_WAITING) {
    c->state = NQ_CONN_IDLE;
    int rv = nq_conn_start_client(c);
    if (rv)
      nq_conn_end(c, NQ_WHY_SYSTEM, 0, rv == NQ_ERR_SYS ? strerror(hub->err) : nq_strerror(rv), 0, NULL);
    return;
  }
  if (!c->quic)
    return;
  if (c->state == NQ_CONN_CLOSING && hub->now >= c->deadline)
    c->close_now = 1;
  if (c->lost_until && hub->now >= c->lost_until) {
    nq_conn_unreachable(c, c->lost_error);
    return;
  }
  if (c->ease_at && hub->now >= c->ease_at)
    nq_hold_set(c, NQ_HOLD_ASKED, 0);
  int rv = ngtcp2_conn_handle_expiry(c->quic, hub->now);
  if (rv) {
    nq_conn_ngtcp2_error(c, rv);
    return;
  }
  nq_mtu_timer(c);
  nq_conn_mark(c);
  if (hub->batch.oom)
    nq_conn_no_memory(c);
}
