/* conn_error.c: see conn_error.h. */
#include "quic/conn_error.h"

#include <stdio.h>

#include "quic/conn_close.h"
#include "tls/verify.h"

/* The server's Version Negotiation named a version that this client speaks and has not tried (RFC 9000 6.2, RFC 9368
 * 2.1): starts with that one. 0 when there is none. */
static int try_offered(nq_conn *c) {
  uint32_t version = c->offered;
  if (!version || c->hub->now - c->started >= c->limits.handshake_timeout)
    return 0;
  c->offered = 0;
  uint32_t left = c->left_ep;
  nq_conn_drop_quic(c, NULL);
  c->left_ep = left; /* its socket is as good as before */
  int rv = nq_conn_start_version(c, version, NGTCP2_PROTO_VER_V1);
  if (rv)
    nq_conn_end(c, NQ_WHY_SYSTEM, 0, nq_strerror(rv), 0, NULL);
  return 1;
}

static void peer_closed(nq_conn *c) {
  const ngtcp2_ccerr *e = ngtcp2_conn_get_ccerr2(c->quic);
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
  unsigned alert = ngtcp2_conn_get_tls_alert2(c->quic);
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

void nq_conn_ngtcp2_error(nq_conn *c, int error) {
  ngtcp2_ccerr e;
  switch (error) {
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
    if (try_offered(c))
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
    ngtcp2_ccerr_set_liberr(&e, error, NULL, 0);
    nq_closing *z = nq_conn_close_write(c, &e);
    nq_conn_end(c, NQ_WHY_TRANSPORT, e.error_code, ngtcp2_strerror(error), 0, z);
  }
}
