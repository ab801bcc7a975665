/* conn_callbacks.c: what ngtcp2 tells about a connection. Callbacks record; nothing here acts on the connection. */
#include <stdlib.h>

#include "app/app.h"
#include "quic/cid.h"
#include "quic/conn.h"
#include "quic/hold.h"
#include "quic/stream_end.h"
#include "quic/stream_in.h"
#include "quic/stream_out.h"

#define NQ_CLIENT_CIDS 4 /* connection IDs that a server has of a client */

static void cb_rand(uint8_t *dst, size_t n, const ngtcp2_rand_ctx *ctx) { nq_hub_random(ctx->native_handle, dst, n); }

static int cb_new_cid(ngtcp2_conn *q, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token, size_t len, void *user) {
  (void)q;
  nq_conn *c = user;
  nq_cid_make(c->hub, cid, len);
  if (ngtcp2_crypto_generate_stateless_reset_token(token->data, c->ep->secret, NQ_SECRET_LEN, cid) ||
      nq_cidmap_put(&c->ep->routes, cid->data, cid->datalen, &c->route))
    return NGTCP2_ERR_CALLBACK_FAILURE;
  return 0;
}

static int cb_remove_cid(ngtcp2_conn *q, const ngtcp2_cid *cid, void *user) {
  (void)q;
  nq_conn *c = user;
  nq_cidmap_del(&c->ep->routes, cid->data, cid->datalen);
  return 0;
}

/* The peer's connection IDs come with the tokens of its stateless resets. */
static int cb_dcid_status(ngtcp2_conn *q, ngtcp2_connection_id_status_type type, uint64_t seq, const ngtcp2_cid *cid,
                          const ngtcp2_stateless_reset_token *token, void *user) {
  (void)q;
  (void)seq;
  (void)cid;
  nq_conn *c = user;
  if (!token)
    return 0;
  if (type == NGTCP2_CONNECTION_ID_STATUS_TYPE_ACTIVATE)
    return nq_cidmap_put(&c->ep->resets, token->data, sizeof token->data, c) ? NGTCP2_ERR_CALLBACK_FAILURE : 0;
  if (nq_cidmap_get(&c->ep->resets, token->data, sizeof token->data) == c)
    nq_cidmap_del(&c->ep->resets, token->data, sizeof token->data);
  return 0;
}

static int cb_handshake_completed(ngtcp2_conn *q, void *user) {
  nq_conn *c = user;
  /* A client gives its server fewer connection IDs than that allows: see params_of in conn.c. With 8 of them out, a
   * change of address that the server saw first and a migration right after it would still end the connection. */
  if (c->client)
    ngtcp2_ext_limit_scids(q, NQ_CLIENT_CIDS);
  c->alpn = nq_tls_session_alpn(c->ssl);
  if (!c->client && c->alpn) /* before anything of its streams is read */
    c->app->choose(c, (const char *)c->alpn + 1, c->alpn[0]);
  c->handshaken = 1;
  c->confirmed |= !c->client; /* RFC 9001 4.1.2; the callback of that name is for clients only */
  return 0;
}

static int cb_handshake_confirmed(ngtcp2_conn *q, void *user) {
  (void)q;
  ((nq_conn *)user)->confirmed = 1;
  return 0;
}

static int cb_crypto_data(ngtcp2_conn *q, ngtcp2_encryption_level level, uint64_t offset, const uint8_t *data,
                          size_t len, void *user) {
  nq_conn *c = user;
  if (!c->ssl) { /* freed after the handshake: a server expects nothing more, a client ignores tickets */
    if (c->client)
      return 0;
    ngtcp2_conn_set_tls_alert(q, 10); /* unexpected_message */
    return NGTCP2_ERR_CRYPTO;
  }
  return ngtcp2_crypto_recv_crypto_data_cb(q, level, offset, data, len, user);
}

static int cb_stream_open(ngtcp2_conn *q, int64_t id, void *user) {
  nq_conn *c = user;
  nq_stream *s = nq_stream_new(c, !ngtcp2_is_bidi_stream(id), 0, c->app);
  if (!s)
    return NGTCP2_ERR_CALLBACK_FAILURE;
  s->id = s->public_id = id;
  if (c->state == NQ_CONN_CLOSING) { /* nobody will serve it */
    s->late = 1;
    nq_stream_discard(s);
    nq_stream_want_stop(s, NQ_CODE_SHUTDOWN);
    if (!s->uni)
      nq_stream_want_reset(s, NQ_CODE_SHUTDOWN);
  }
  ngtcp2_conn_set_stream_user_data(q, id, s);
  return 0;
}

static int cb_stream_data(ngtcp2_conn *q, uint32_t flags, int64_t id, uint64_t offset, const uint8_t *data, size_t len,
                          void *user, void *stream_user) {
  (void)q;
  (void)id;
  (void)offset;
  (void)user;
  nq_stream_receive(stream_user, data, len, (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0);
  return 0;
}

static int cb_acked(ngtcp2_conn *q, int64_t id, uint64_t offset, uint64_t len, void *user, void *stream_user) {
  (void)q;
  (void)id;
  (void)user;
  nq_stream_acked(stream_user, offset + len);
  return 0;
}

void nq_conn_pkt_outcome(ngtcp2_tstamp sent, size_t len, int lost, void *user) {
  nq_mtu_outcome(user, sent, len, lost);
}

static int cb_stream_reset(ngtcp2_conn *q, int64_t id, uint64_t final_size, uint64_t code, void *user,
                           void *stream_user) {
  (void)q;
  (void)id;
  (void)final_size;
  (void)user;
  nq_stream *s = stream_user;
  if (!s || s->discard)
    return 0;
  if (s->withheld && nq_bytes_size(&s->held) && !nq_hold_unannounced(s)) { /* after what it sent before */
    s->reset_late = 1;
    s->peer_reset_code = code;
    return 0;
  }
  nq_stream_was_reset(s, code);
  return 0;
}

static int cb_stop_sending(ngtcp2_conn *q, int64_t id, uint64_t code, void *user, void *stream_user) {
  (void)q;
  (void)id;
  (void)user;
  nq_stream *s = stream_user;
  if (!s || s->write_reset || s->acked_all) /* it has everything already: nothing is reset */
    return 0;
  s->write_reset = 1; /* ngtcp2 resets our side with that code */
  nq_stream_drop_queue(s);
  s->app->stopped(s, code);
  return 0;
}

static int cb_stream_close(ngtcp2_conn *q, uint32_t flags, int64_t id, uint64_t code, void *user, void *stream_user) {
  (void)q;
  (void)id;
  nq_conn *c = user;
  nq_stream *s = stream_user;
  if (!s)
    return 0;
  s->extend = !s->outgoing;
  if (!(flags & NGTCP2_STREAM_CLOSE_FLAG_APP_ERROR_CODE_SET))
    code = NQ_CODE_OK;
  if (s->in_send)
    nq_sched_remove(s);
  s->id = -1; /* it has ended in order, or its FIN does not matter any more */
  if (s->fin_sent && !s->write_reset && !s->acked_all)
    nq_stream_acked(s, s->out.end);
  if (!s->discard && c->state != NQ_CONN_CLOSING &&
      (s->keeps || (s->withheld && (nq_bytes_size(&s->held) || s->peer_fin)))) {
    s->close_late = 1; /* the user has not had everything yet */
    s->close_code = code;
    return 0;
  }
  nq_stream_ended(s, code);
  return 0;
}

static int cb_stream_credit(ngtcp2_conn *q, int64_t id, uint64_t max, void *user, void *stream_user) {
  (void)q;
  (void)id;
  (void)max;
  (void)user;
  if (!stream_user)
    return 0;
  nq_stream_unblock(stream_user);
  nq_sched_add(stream_user);
  return 0;
}

static int cb_more_streams(ngtcp2_conn *q, uint64_t max, void *user) {
  (void)q;
  (void)max;
  nq_conn_mark(user); /* waiting streams get their IDs when it is written */
  return 0;
}

/* ngtcp2 has left out a packet that names the version this client began with. */
static int cb_version_negotiation(ngtcp2_conn *q, const ngtcp2_pkt_hd *hd, const uint32_t *sv, size_t n, void *user) {
  (void)q;
  (void)hd;
  nq_conn *c = user;
  for (size_t i = 0; i < n && !c->version; i++)
    if (sv[i] == NGTCP2_PROTO_VER_V2)
      c->offered = NGTCP2_PROTO_VER_V2;
  return 0;
}

static int cb_stateless_reset(ngtcp2_conn *q, const ngtcp2_pkt_stateless_reset2 *sr, void *user) {
  (void)q;
  (void)sr;
  ((nq_conn *)user)->was_reset = 1;
  return 0;
}

static int cb_new_token(ngtcp2_conn *q, const uint8_t *token, size_t len, void *user) {
  (void)q;
  nq_conn *c = user;
  uint8_t *copy = len && len <= 512 ? malloc(len) : NULL;
  if (!copy)
    return 0;
  memcpy(copy, token, len);
  free(c->token);
  c->token = copy;
  c->token_len = len;
  return 0;
}

static int cb_datagram(ngtcp2_conn *q, uint32_t flags, const uint8_t *data, size_t len, void *user) {
  (void)q;
  (void)flags;
  nq_conn *c = user;
  c->app->datagram(c, data, len);
  return 0;
}

const ngtcp2_callbacks nq_conn_callbacks = {
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
    .recv_crypto_data = cb_crypto_data,
    .handshake_completed = cb_handshake_completed,
    .handshake_confirmed = cb_handshake_confirmed,
    .encrypt = ngtcp2_crypto_encrypt_cb,
    .decrypt = ngtcp2_crypto_decrypt_cb,
    .hp_mask = ngtcp2_crypto_hp_mask_cb,
    .recv_stream_data = cb_stream_data,
    .acked_stream_data_offset = cb_acked,
    .stream_open = cb_stream_open,
    .stream_close = cb_stream_close,
    .stream_reset = cb_stream_reset,
    .recv_stop_sending = cb_stop_sending,
    .extend_max_local_streams_bidi = cb_more_streams,
    .extend_max_local_streams_uni = cb_more_streams,
    .extend_max_stream_data = cb_stream_credit,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
    .rand = cb_rand,
    .get_new_connection_id2 = cb_new_cid,
    .remove_connection_id = cb_remove_cid,
    .dcid_status2 = cb_dcid_status,
    .update_key = ngtcp2_crypto_update_key_cb,
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
    .get_path_challenge_data2 = ngtcp2_crypto_get_path_challenge_data2_cb,
    .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
    .recv_version_negotiation = cb_version_negotiation,
    .recv_stateless_reset2 = cb_stateless_reset,
    .recv_new_token = cb_new_token,
    .recv_datagram = cb_datagram,
};
