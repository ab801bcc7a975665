/* accept.c: see accept.h. */
#include "quic/accept.h"

#include <ngtcp2/ngtcp2_crypto.h>
#include <stdlib.h>

#include "quic/cid.h"
#include "quic/conn_read.h"
#include "quic/transport.h"

#define NQ_ACCEPT_TIME (NQ_MSEC(1) / 2) /* of a tick, for new connections: the open ones wait for its end */
#define NQ_TOKEN_TIMEOUT (10 * NGTCP2_SECONDS)          /* of Retry */
#define NQ_REGULAR_TOKEN_TIMEOUT (3600 * NGTCP2_SECONDS) /* of NEW_TOKEN */
#define NQ_MIN_INITIAL 1200                              /* RFC 9000 14.1 */
#define NQ_MIN_RESET (NGTCP2_STATELESS_RESET_TOKENLEN + NGTCP2_MIN_STATELESS_RESET_RANDLEN)

static int may_answer(nq_endpoint *ep) {
  if (ep->answered_now++ < NQ_RESETS_PER_TICK)
    return 1;
  ep->hub->stats.rx_dropped++;
  return 0;
}

/* For want of memory: whoever asked asks again. */
static void drop(nq_endpoint *ep) { ep->hub->stats.rx_dropped++; }

static int accepting(const nq_endpoint *ep) {
  return ep->accepting && !(ep->hub->group && nq_group_refusing(ep->hub->group));
}

void nq_accept_negotiate(nq_endpoint *ep, const nq_datagram *d, const ngtcp2_version_cid *vc) {
  nq_hub *hub = ep->hub;
  if (!accepting(ep) || d->len < NQ_MIN_INITIAL) {
    hub->stats.rx_dropped++;
    return;
  }
  if (!may_answer(ep))
    return;
  uint8_t buf[256], random;
  uint32_t sv[] = {0x1a2a3a4au, NGTCP2_PROTO_VER_V1, NGTCP2_PROTO_VER_V2}; /* the first: a reserved one, RFC 9000 6.3 */
  nq_hub_random(hub, &random, 1);
  ngtcp2_ssize n = ngtcp2_pkt_write_version_negotiation(buf, sizeof buf, random, vc->scid, vc->scidlen, vc->dcid,
                                                        vc->dcidlen, sv, 3);
  if (n <= 0) {
    hub->stats.rx_dropped++;
    return;
  }
  nq_endpoint_send(ep, buf, (size_t)n, d->remote, ep->wildcard ? d->local : NULL);
  hub->stats.version_negotiations++;
}

/* A small request or a PING is all that a client may ever send to a server that was restarted, so these are answered
 * too. RFC 9000 10.3: shorter than what it answers, so that two endpoints cannot play ping-pong with it. */
static void stateless_reset(nq_endpoint *ep, const nq_datagram *d, const ngtcp2_version_cid *vc) {
  nq_hub *hub = ep->hub;
  ngtcp2_cid cid;
  ngtcp2_stateless_reset_token token;
  uint8_t random[64], buf[128];
  if (d->len <= NQ_MIN_RESET) {
    hub->stats.rx_dropped++;
    return;
  }
  if (!may_answer(ep))
    return;
  ngtcp2_cid_init(&cid, vc->dcid, vc->dcidlen);
  if (ngtcp2_crypto_generate_stateless_reset_token(token.data, ep->secret, NQ_SECRET_LEN, &cid)) {
    drop(ep);
    return;
  }
  size_t n = d->len - NGTCP2_STATELESS_RESET_TOKENLEN - 1;
  n = n < sizeof random ? n : sizeof random;
  nq_hub_random(hub, random, n);
  ngtcp2_ssize len = ngtcp2_pkt_write_stateless_reset2(buf, sizeof buf, &token, random, n);
  if (len <= 0) {
    drop(ep);
    return;
  }
  nq_endpoint_send(ep, buf, (size_t)len, d->remote, ep->wildcard ? d->local : NULL);
  hub->stats.resets_sent++;
}

static void retry(nq_endpoint *ep, const nq_datagram *d, const ngtcp2_pkt_hd *hd) {
  nq_hub *hub = ep->hub;
  ngtcp2_cid scid;
  uint8_t token[256], buf[512];
  if (!may_answer(ep))
    return;
  nq_cid_make(ep->hub, &scid, NQ_CID_LEN);
  ngtcp2_ssize n = ngtcp2_crypto_generate_retry_token2(token, ep->secret, NQ_SECRET_LEN, hd->version, &d->remote->sa,
                                                       d->remote->len, &scid, &hd->dcid, hub->now);
  if (n > 0)
    n = ngtcp2_crypto_write_retry(buf, sizeof buf, hd->version, &hd->scid, &scid, &hd->dcid, token, (size_t)n);
  if (n <= 0) {
    drop(ep);
    return;
  }
  nq_endpoint_send(ep, buf, (size_t)n, d->remote, ep->wildcard ? d->local : NULL);
  hub->stats.retries_sent++;
}

static void refuse(nq_endpoint *ep, const nq_datagram *d, const ngtcp2_pkt_hd *hd, uint64_t code) {
  uint8_t buf[256];
  ep->hub->stats.refused++;
  if (!may_answer(ep))
    return;
  ngtcp2_ssize n =
      ngtcp2_crypto_write_connection_close(buf, sizeof buf, hd->version, &hd->scid, &hd->dcid, code, NULL, 0);
  if (n > 0)
    nq_endpoint_send(ep, buf, (size_t)n, d->remote, ep->wildcard ? d->local : NULL);
}

typedef enum { TOKEN_NONE, TOKEN_RETRY, TOKEN_REGULAR, TOKEN_BAD, TOKEN_UNKNOWN } token_kind;

static token_kind check_token(nq_endpoint *ep, const nq_datagram *d, const ngtcp2_pkt_hd *hd, ngtcp2_cid *odcid) {
  nq_hub *hub = ep->hub;
  if (!hd->tokenlen)
    return TOKEN_NONE;
  if (hd->token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2) {
    int rv = ngtcp2_crypto_verify_retry_token2(odcid, hd->token, hd->tokenlen, ep->secret, NQ_SECRET_LEN, hd->version,
                                               &d->remote->sa, d->remote->len, &hd->dcid, NQ_TOKEN_TIMEOUT, hub->now);
    /* unreadable: perhaps somebody else's NEW_TOKEN; invalid: ours, but wrong (RFC 9000 8.1.3); internal: there was no
     * memory to look at it */
    return rv == 0                                    ? TOKEN_RETRY
           : rv == NGTCP2_CRYPTO_ERR_UNREADABLE_TOKEN ? TOKEN_NONE
           : rv == NGTCP2_CRYPTO_ERR_INTERNAL         ? TOKEN_UNKNOWN
                                                      : TOKEN_BAD;
  }
  if (ngtcp2_crypto_verify_regular_token2(NULL, 0, hd->token, hd->tokenlen, ep->secret, NQ_SECRET_LEN, &d->remote->sa,
                                          d->remote->len, NQ_REGULAR_TOKEN_TIMEOUT, hub->now) >= 0)
    return TOKEN_REGULAR;
  return TOKEN_NONE;
}

int nq_accept_takes_more(const nq_endpoint *ep) {
  return !ep->open_now && ep->accepted_now < ep->limits.accept_per_tick && ep->accepting_for < NQ_ACCEPT_TIME;
}

/* For the next tick. Dropped, it would be sent again only after a timeout of the client, and then together with all
 * others that were dropped with it. */
static void defer(nq_endpoint *ep, const nq_datagram *d) {
  nq_deferred *p = ep->n_deferred < NQ_MAX_DEFERRED ? malloc(sizeof *p + d->len) : NULL;
  if (!p) {
    ep->hub->stats.rx_dropped++;
    return;
  }
  p->next = NULL;
  p->remote = *d->remote;
  p->local = *d->local;
  p->ecn = d->ecn;
  p->len = d->len;
  memcpy(p->data, d->data, d->len);
  *ep->deferred_tail = p;
  ep->deferred_tail = &p->next;
  ep->n_deferred++;
  ep->hub->deferred++;
}

static void accept_new(nq_endpoint *ep, const nq_datagram *d, ngtcp2_pkt_hd *hd) {
  nq_hub *hub = ep->hub;
  ngtcp2_cid odcid;
  if (!accepting(ep) || ep->conns >= ep->limits.max_connections) {
    refuse(ep, d, hd, NGTCP2_CONNECTION_REFUSED);
    return;
  }
  if (!nq_accept_takes_more(ep)) {
    defer(ep, d);
    return;
  }
  token_kind kind = check_token(ep, d, hd, &odcid);
  if (kind == TOKEN_UNKNOWN) {
    drop(ep);
    return;
  }
  if (kind == TOKEN_BAD) {
    refuse(ep, d, hd, NGTCP2_INVALID_TOKEN);
    return;
  }
  if (kind == TOKEN_NONE && (ep->always_retry || ep->half_open >= ep->limits.max_half_open)) {
    retry(ep, d, hd);
    return;
  }
  if (kind == TOKEN_NONE)
    hd->tokenlen = 0;
  uint64_t begin = hub->env.now(hub->env.ctx);
  nq_conn *c = nq_conn_new(hub, &ep->limits, &nq_transport_quic);
  if (!c) {
    hub->stats.refused++;
    return;
  }
  if (nq_conn_start_server(c, ep, hd, d, kind == TOKEN_RETRY ? &odcid : NULL, kind == TOKEN_RETRY)) {
    nq_conn_release(c);
    hub->stats.refused++;
    return;
  }
  ep->accepted_now++;
  hub->stats.accepted++;
  nq_conn_packet(c, d);
  ep->accepting_for += hub->env.now(hub->env.ctx) - begin;
}

void nq_accept_unrouted(nq_endpoint *ep, const nq_datagram *d, const ngtcp2_version_cid *vc) {
  ngtcp2_pkt_hd hd;
  if (!ep->tls) { /* a client's socket answers no one */
    ep->hub->stats.rx_dropped++;
    return;
  }
  if (!(d->data[0] & 0x80)) {
    stateless_reset(ep, d, vc);
    return;
  }
  if (ngtcp2_accept(&hd, d->data, d->len) == 0) {
    accept_new(ep, d, &hd);
    return;
  }
  ep->hub->stats.rx_dropped++;
}
