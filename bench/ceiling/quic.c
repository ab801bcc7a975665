#include "quic.h"

#include <ngtcp2/ngtcp2_crypto_boringssl.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

quic_hooks quic_on;
bool quic_verifies;

_Noreturn void die(const char *what, const char *why) {
  fprintf(stderr, "ceiling: %s: %s\n", what, why);
  _exit(1);
}

/* RAND_bytes costs hundreds of ns a call, so it is drawn in blocks. */
void quic_random(uint8_t *into, size_t size) {
  static uint8_t block[4096];
  static size_t used = sizeof block;
  while (size) {
    if (used == sizeof block) {
      if (RAND_bytes(block, sizeof block) != 1)
        die("random", "no bytes");
      used = 0;
    }
    size_t n = sizeof block - used < size ? sizeof block - used : size;
    memcpy(into, block + used, n);
    used += n, into += n, size -= n;
  }
}

/* ---- the ring ---- */

static void ring_init(ring *r, size_t size) {
  r->bytes = malloc(size);
  r->mask = size - 1;
  if (!r->bytes)
    die("ring", "out of memory");
}

void ring_put(ring *r, const void *bytes, size_t size) {
  if (size > ring_room(r))
    die("ring", "full");
  uint64_t at = r->end & r->mask, straight = r->mask + 1 - at;
  if (size <= straight) {
    memcpy(r->bytes + at, bytes, size);
  } else {
    memcpy(r->bytes + at, bytes, straight);
    memcpy(r->bytes, (const uint8_t *)bytes + straight, size - straight);
  }
  r->end += size;
}

/* The unsent bytes as one or two pieces. */
static size_t ring_pieces(const ring *r, ngtcp2_vec v[2]) {
  uint64_t size = ring_unsent(r), at = r->sent & r->mask, straight = r->mask + 1 - at;
  v[0].base = r->bytes + at;
  v[0].len = size < straight ? size : straight;
  if (size <= straight)
    return size ? 1 : 0;
  v[1].base = r->bytes;
  v[1].len = size - straight;
  return 2;
}

/* ---- TLS ---- */

typedef struct identity {
  X509 *cert;
  EVP_PKEY *key;
} identity;

static identity authority, server_identity;

static void add_extension(X509 *cert, int nid, const char *value) {
  X509_EXTENSION *e = X509V3_EXT_nconf_nid(NULL, NULL, nid, value);
  if (!e || !X509_add_ext(cert, e, -1))
    die("certificate", "no extension");
  X509_EXTENSION_free(e);
}

/* signer NULL: signed by itself. */
static identity make_identity(const char *name, int nid, const char *extension, const identity *signer) {
  identity id = {X509_new(), NULL};
  EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
  EVP_PKEY_keygen_init(make);
  EVP_PKEY_CTX_set_ec_paramgen_curve_nid(make, NID_X9_62_prime256v1);
  if (EVP_PKEY_keygen(make, &id.key) != 1)
    die("certificate", "no key");
  EVP_PKEY_CTX_free(make);
  X509_set_version(id.cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(id.cert), 1);
  X509_gmtime_adj(X509_getm_notBefore(id.cert), -86400);
  X509_gmtime_adj(X509_getm_notAfter(id.cert), 86400 * 30L);
  X509_NAME *subject = X509_get_subject_name(id.cert);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0);
  X509_set_issuer_name(id.cert, signer ? X509_get_subject_name(signer->cert) : subject);
  X509_set_pubkey(id.cert, id.key);
  add_extension(id.cert, nid, extension);
  if (!X509_sign(id.cert, signer ? signer->key : id.key, EVP_sha256()))
    die("certificate", "not signed");
  return id;
}

void quic_identity(void) {
  authority = make_identity("authority", NID_basic_constraints, "critical,CA:TRUE", NULL);
  server_identity = make_identity("localhost", NID_subject_alt_name, "DNS:localhost", &authority);
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                       unsigned in_len, void *arg) {
  (void)ssl, (void)arg;
  if (in_len < 2)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = in + 1;
  *out_len = in[0];
  return SSL_TLSEXT_ERR_OK;
}

SSL_CTX *quic_tls(bool server) {
  SSL_CTX *tls = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
  if (!tls || SSL_CTX_set1_curves_list(tls, "X25519") != 1)
    die("TLS", "no context");
  SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION);
  SSL_CTX_set_max_proto_version(tls, TLS1_3_VERSION);
  SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
  if (server) {
    if (SSL_CTX_use_certificate(tls, server_identity.cert) != 1 ||
        SSL_CTX_use_PrivateKey(tls, server_identity.key) != 1)
      die("certificate", "not taken");
    SSL_CTX_set_alpn_select_cb(tls, choose_alpn, NULL);
    ngtcp2_crypto_boringssl_configure_server_context(tls);
  } else {
    SSL_CTX_set_verify(tls, quic_verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    /* Without an anchor no signature would be verified: the library gives up before, and the mode lets that pass. */
    if (quic_verifies && X509_STORE_add_cert(SSL_CTX_get_cert_store(tls), authority.cert) != 1)
      die("certificate", "not trusted");
    ngtcp2_crypto_boringssl_configure_client_context(tls);
  }
  return tls;
}

static ngtcp2_conn *conn_of(ngtcp2_crypto_conn_ref *ref) { return ((conn *)ref->user_data)->quic; }

static void attach_tls(conn *c, SSL_CTX *tls, bool server) {
  c->ssl = SSL_new(tls);
  c->ref.get_conn = conn_of;
  c->ref.user_data = c;
  SSL_set_app_data(c->ssl, &c->ref);
  if (server) {
    SSL_set_accept_state(c->ssl);
  } else {
    SSL_set_connect_state(c->ssl);
    SSL_set_alpn_protos(c->ssl,
                        (const uint8_t *)"\x05"
                                         "bench",
                        6);
    SSL_set_tlsext_host_name(c->ssl, "localhost");
    if (quic_verifies && SSL_set1_host(c->ssl, "localhost") != 1)
      die("TLS", "no name");
  }
  ngtcp2_conn_set_tls_native_handle(c->quic, c->ssl);
}

/* ---- ngtcp2's callbacks: they only record ---- */

static void on_random(uint8_t *into, size_t size, const ngtcp2_rand_ctx *ctx) {
  (void)ctx;
  quic_random(into, size);
}

static int on_new_cid(ngtcp2_conn *quic, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token, size_t size,
                      void *user) {
  (void)quic;
  quic_random(cid->data, size);
  cid->datalen = size;
  quic_random(token->data, sizeof token->data);
  quic_on.cid_added(user, cid);
  return 0;
}

static int on_old_cid(ngtcp2_conn *quic, const ngtcp2_cid *cid, void *user) {
  (void)quic;
  quic_on.cid_removed(user, cid);
  return 0;
}

static int on_confirmed(ngtcp2_conn *quic, void *user) {
  (void)quic;
  ((conn *)user)->confirmed = true;
  return 0;
}

static int on_stream_data(ngtcp2_conn *quic, uint32_t flags, int64_t stream, uint64_t offset, const uint8_t *data,
                          size_t size, void *user, void *stream_user) {
  (void)flags, (void)offset, (void)stream_user;
  conn *c = user;
  c->stream = stream;
  quic_on.data(c, data, size);
  ngtcp2_conn_extend_max_stream_offset(quic, stream, size);
  ngtcp2_conn_extend_max_offset(quic, size);
  return 0;
}

static int on_acked(ngtcp2_conn *quic, int64_t stream, uint64_t offset, uint64_t size, void *user, void *stream_user) {
  (void)quic, (void)stream, (void)stream_user;
  ((conn *)user)->out.acked = offset + size;
  return 0;
}

static const ngtcp2_callbacks callbacks = {
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
    .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
    .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
    .handshake_confirmed = on_confirmed,
    .encrypt = ngtcp2_crypto_encrypt_cb,
    .decrypt = ngtcp2_crypto_decrypt_cb,
    .hp_mask = ngtcp2_crypto_hp_mask_cb,
    .update_key = ngtcp2_crypto_update_key_cb,
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
    .rand = on_random,
    .get_new_connection_id2 = on_new_cid,
    .remove_connection_id = on_old_cid,
    .get_path_challenge_data2 = ngtcp2_crypto_get_path_challenge_data2_cb,
    .recv_stream_data = on_stream_data,
    .acked_stream_data_offset = on_acked,
};

/* ---- connections ---- */

static void defaults(conn *c, ngtcp2_settings *s, ngtcp2_transport_params *p, uint64_t now, size_t ring_size) {
  ring_init(&c->out, ring_size);
  c->stream = -1;
  c->path = (ngtcp2_path){.local = {(struct sockaddr *)&c->local, sizeof c->local},
                          .remote = {(struct sockaddr *)&c->remote, sizeof c->remote}};
  ngtcp2_settings_default(s);
  s->initial_ts = now;
  s->initial_rtt = 10 * NGTCP2_MILLISECONDS;
  s->max_tx_udp_payload_size = PACKET; /* the path is loopback: full packets from the first */
  s->no_tx_udp_payload_size_shaping = 1;
  s->no_pmtud = 1;
  ngtcp2_transport_params_default(p);
  p->initial_max_stream_data_bidi_local = p->initial_max_stream_data_bidi_remote = 8u << 20;
  p->initial_max_data = 16u << 20;
  p->initial_max_streams_bidi = 100;
  p->max_idle_timeout = 120 * NGTCP2_SECONDS;
}

void quic_client(conn *c, SSL_CTX *tls, uint64_t now, size_t ring_size) {
  ngtcp2_settings settings;
  ngtcp2_transport_params params;
  ngtcp2_cid destination = {.datalen = CID_LEN}, source = {.datalen = CID_LEN};
  defaults(c, &settings, &params, now, ring_size);
  quic_random(destination.data, CID_LEN);
  quic_random(source.data, CID_LEN);
  int failed = ngtcp2_conn_client_new(&c->quic, &destination, &source, &c->path, NGTCP2_PROTO_VER_V1, &callbacks,
                                      &settings, &params, NULL, c);
  if (failed)
    die("client connection", ngtcp2_strerror(failed));
  attach_tls(c, tls, false);
  quic_on.cid_added(c, &source);
}

void quic_server(conn *c, SSL_CTX *tls, const ngtcp2_pkt_hd *first, uint64_t now, size_t ring_size) {
  ngtcp2_settings settings;
  ngtcp2_transport_params params;
  ngtcp2_cid source = {.datalen = CID_LEN};
  defaults(c, &settings, &params, now, ring_size);
  quic_random(source.data, CID_LEN);
  params.original_dcid = first->dcid;
  params.original_dcid_present = 1;
  int failed = ngtcp2_conn_server_new(&c->quic, &first->scid, &source, &c->path, first->version, &callbacks, &settings,
                                      &params, NULL, c);
  if (failed)
    die("server connection", ngtcp2_strerror(failed));
  attach_tls(c, tls, true);
  quic_on.cid_added(c, &source);
  quic_on.cid_added(c, &first->dcid);
  c->first_cid = first->dcid;
}

ngtcp2_ssize quic_write_close(conn *c, uint8_t *into, size_t room, ngtcp2_tstamp now) {
  ngtcp2_path_storage path;
  ngtcp2_pkt_info info;
  ngtcp2_ccerr nothing_wrong;
  if (ngtcp2_conn_in_draining_period2(c->quic))
    return 0;
  ngtcp2_path_storage_zero(&path);
  ngtcp2_ccerr_set_application_error(&nothing_wrong, 0, NULL, 0);
  return ngtcp2_conn_write_connection_close(c->quic, &path.path, &info, into, room, &nothing_wrong, now);
}

void quic_free(conn *c) {
  ngtcp2_cid cids[32];
  size_t known = ngtcp2_conn_get_scid(c->quic, NULL);
  if (known > sizeof cids / sizeof *cids)
    die("connection IDs", "more than expected");
  ngtcp2_conn_get_scid(c->quic, cids);
  for (size_t i = 0; i < known; i++)
    quic_on.cid_removed(c, &cids[i]);
  if (c->first_cid.datalen)
    quic_on.cid_removed(c, &c->first_cid);
  ngtcp2_conn_del(c->quic);
  SSL_free(c->ssl);
  free(c->out.bytes);
  free(c->stamps);
  free(c);
}

ngtcp2_ssize quic_write_packet(ngtcp2_conn *quic, ngtcp2_path *path, ngtcp2_pkt_info *info, uint8_t *into, size_t room,
                               ngtcp2_tstamp now, void *connection) {
  conn *c = connection;
  ngtcp2_vec pieces[2];
  ngtcp2_ssize taken = -1, size;
  size_t count = c->stream < 0 ? 0 : ring_pieces(&c->out, pieces);
  size = ngtcp2_conn_writev_stream(quic, path, info, into, room, &taken, c->write_flags, count ? c->stream : -1, pieces,
                                   count, now);
  if (taken > 0)
    c->out.sent += (uint64_t)taken;
  if (size == NGTCP2_ERR_STREAM_DATA_BLOCKED) /* no credit: still ACKs and the like */
    size = ngtcp2_conn_writev_stream(quic, path, info, into, room, &taken, 0, -1, NULL, 0, now);
  return size;
}
