/* quic_pair.c: see quic_pair.h. */
#include "quic_pair.h"

#include "tls/random.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PACKETS 16
#define PACKET 1452

static void need(int ok, const char *what) {
  if (ok)
    return;
  fprintf(stderr, "quic_pair.c: %s\n", what);
  exit(1);
}

static ngtcp2_conn *get_conn(ngtcp2_crypto_conn_ref *ref) { return ((quic_end *)ref->user_data)->conn; }

static void cb_rand(uint8_t *dst, size_t n, const ngtcp2_rand_ctx *ctx) {
  (void)ctx;
  nq_tls_random(dst, n);
}

static int cb_new_cid(ngtcp2_conn *conn, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token, size_t len, void *user) {
  (void)conn, (void)user;
  nq_tls_random(cid->data, len);
  cid->datalen = len;
  nq_tls_random(token->data, sizeof token->data);
  return 0;
}

static int cb_completed(ngtcp2_conn *conn, void *user) {
  (void)conn;
  ((quic_end *)user)->completed = 1;
  return 0;
}

static int cb_confirmed(ngtcp2_conn *conn, void *user) {
  (void)conn;
  ((quic_end *)user)->confirmed = 1;
  return 0;
}

static const ngtcp2_callbacks callbacks = {
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
    .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
    .handshake_completed = cb_completed,
    .handshake_confirmed = cb_confirmed,
    .encrypt = ngtcp2_crypto_encrypt_cb,
    .decrypt = ngtcp2_crypto_decrypt_cb,
    .hp_mask = ngtcp2_crypto_hp_mask_cb,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
    .rand = cb_rand,
    .get_new_connection_id2 = cb_new_cid,
    .update_key = ngtcp2_crypto_update_key_cb,
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
    .get_path_challenge_data2 = ngtcp2_crypto_get_path_challenge_data2_cb,
    .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
};

static void init_end(quic_end *e, uint16_t local, uint16_t remote) {
  e->local.sin_family = e->remote.sin_family = AF_INET;
  e->local.sin_port = htons(local);
  e->remote.sin_port = htons(remote);
  e->local.sin_addr.s_addr = e->remote.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  e->path.local = (ngtcp2_addr){(struct sockaddr *)&e->local, sizeof e->local};
  e->path.remote = (ngtcp2_addr){(struct sockaddr *)&e->remote, sizeof e->remote};
  e->ref.get_conn = get_conn;
  e->ref.user_data = e;
}

static void make_settings(ngtcp2_settings *s, ngtcp2_transport_params *params, uint64_t now) {
  ngtcp2_settings_default(s);
  s->initial_ts = now;
  s->max_tx_udp_payload_size = PACKET;
  s->no_tx_udp_payload_size_shaping = 1;
  s->no_pmtud = 1;
  ngtcp2_transport_params_default(params);
  params->initial_max_data = 65536;
  params->initial_max_streams_bidi = 4;
}

static ngtcp2_cid random_cid(void) {
  ngtcp2_cid cid = {.datalen = 8};
  nq_tls_random(cid.data, cid.datalen);
  return cid;
}

quic_pair *quic_pair_new(nq_tls *client, nq_tls *server, const char *server_name) {
  quic_pair *p = calloc(1, sizeof *p);
  need(p != NULL, "no memory");
  p->now = 1000000000;
  p->server_tls = nq_tls_ref(server);
  init_end(&p->client, 1111, 2222);
  init_end(&p->server, 2222, 1111);
  ngtcp2_settings settings;
  ngtcp2_transport_params params;
  make_settings(&settings, &params, p->now);
  ngtcp2_cid dcid = random_cid(), scid = random_cid();
  quic_end *e = &p->client;
  e->tls = nq_tls_session_new(client, &e->ref, server_name);
  need(e->tls != NULL, "client session");
  need(ngtcp2_conn_client_new(&e->conn, &dcid, &scid, &e->path, NGTCP2_PROTO_VER_V1, &callbacks, &settings, &params,
                              NULL, e) == 0,
       "ngtcp2_conn_client_new");
  ngtcp2_conn_set_tls_native_handle(e->conn, e->tls);
  return p;
}

static void accept_client(quic_pair *p, const uint8_t *pkt, size_t len) {
  ngtcp2_pkt_hd hd;
  need(ngtcp2_accept(&hd, pkt, len) == 0, "ngtcp2_accept");
  ngtcp2_settings settings;
  ngtcp2_transport_params params;
  make_settings(&settings, &params, p->now);
  params.original_dcid = hd.dcid;
  params.original_dcid_present = 1;
  ngtcp2_cid scid = random_cid();
  quic_end *e = &p->server;
  e->tls = nq_tls_session_new(p->server_tls, &e->ref, NULL);
  need(e->tls != NULL, "server session");
  need(ngtcp2_conn_server_new(&e->conn, &hd.scid, &scid, &e->path, hd.version, &callbacks, &settings, &params, NULL,
                              e) == 0,
       "ngtcp2_conn_server_new");
  ngtcp2_conn_set_tls_native_handle(e->conn, e->tls);
}

/* What a real endpoint does with a failed connection: tell the other side. */
static ngtcp2_ssize write_close(quic_end *e, uint8_t *dst, uint64_t now) {
  ngtcp2_ccerr ccerr;
  ngtcp2_ccerr_default(&ccerr);
  if (e->error == NGTCP2_ERR_CRYPTO)
    ngtcp2_ccerr_set_tls_alert(&ccerr, (uint8_t)e->alert, NULL, 0);
  else
    ngtcp2_ccerr_set_liberr(&ccerr, e->error, NULL, 0);
  return ngtcp2_conn_write_connection_close(e->conn, NULL, NULL, dst, PACKET, &ccerr, now);
}

static void note_error(quic_end *e, int rv) {
  e->error = rv;
  if (rv == NGTCP2_ERR_CRYPTO)
    e->alert = ngtcp2_conn_get_tls_alert(e->conn);
  const ngtcp2_ccerr *cc = ngtcp2_conn_get_ccerr(e->conn);
  if (rv == NGTCP2_ERR_DRAINING && cc->error_code >= NGTCP2_CRYPTO_ERROR && cc->error_code < NGTCP2_CRYPTO_ERROR + 256)
    e->peer_alert = (unsigned)(cc->error_code - NGTCP2_CRYPTO_ERROR);
}

/* Moves what `from` has to say. Returns how many datagrams that was. */
static int pump(quic_pair *p, quic_end *from, quic_end *to, int fresh_error) {
  uint8_t buf[MAX_PACKETS][PACKET];
  ngtcp2_ssize len[MAX_PACKETS];
  int n = 0;
  ngtcp2_pkt_info pi = {0};
  while (from->conn && !from->error && n < MAX_PACKETS) {
    ngtcp2_ssize w = ngtcp2_conn_write_pkt(from->conn, NULL, &pi, buf[n], PACKET, p->now);
    if (w < 0)
      note_error(from, (int)w);
    if (w <= 0)
      break;
    len[n++] = w;
  }
  if (fresh_error && from->error != NGTCP2_ERR_DRAINING && n < MAX_PACKETS) {
    len[n] = write_close(from, buf[n], p->now);
    if (len[n] > 0)
      n++;
  }
  for (int i = 0; i < n && !to->error; i++) {
    if (!to->conn)
      accept_client(p, buf[i], (size_t)len[i]);
    int rv = ngtcp2_conn_read_pkt(to->conn, &to->path, &pi, buf[i], (size_t)len[i], p->now);
    if (rv)
      note_error(to, rv);
  }
  return n;
}

void quic_pair_run(quic_pair *p) {
  int told_server = 0, told_client = 0; /* whether each has sent its CONNECTION_CLOSE */
  p->first_flight = pump(p, &p->client, &p->server, 0);
  for (int i = 0; i < 60; i++) {
    p->now += 1000000;
    int moved = pump(p, &p->server, &p->client, p->server.error && !told_server);
    told_server |= p->server.error != 0;
    moved += pump(p, &p->client, &p->server, p->client.error && !told_client);
    told_client |= p->client.error != 0;
    if (p->client.confirmed && p->server.completed && !moved)
      return;
    if (p->client.error && p->server.error)
      return;
  }
}

static void free_end(quic_end *e) {
  ngtcp2_conn_del(e->conn);
  nq_tls_session_free(e->tls);
}

void quic_pair_free(quic_pair *p) {
  free_end(&p->client);
  free_end(&p->server);
  nq_tls_unref(p->server_tls);
  free(p);
}
