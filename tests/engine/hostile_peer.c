/* hostile_peer.c: see hostile_peer.h. */
#include "hostile_peer.h"

#include <ngtcp2/ngtcp2_crypto.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define HOST 66
#define PORT 6666
#define DATAGRAM 1200
#define LONG_HEAD 7 /* type, version and the lengths of both connection IDs */

/* ---- frames ---- */

void hostile_bytes(hostile_frames *f, const void *data, size_t len) {
  if (len > sizeof f->data - f->len)
    len = sizeof f->data - f->len;
  if (len)
    memcpy(f->data + f->len, data, len);
  f->len += len;
}

void hostile_varints(hostile_frames *f, const uint64_t *v, size_t n) {
  for (size_t i = 0; i < n; i++) {
    uint8_t b[8];
    unsigned log = v[i] < 0x40 ? 0 : v[i] < 0x4000 ? 1 : v[i] < 0x40000000 ? 2 : 3;
    size_t len = (size_t)1 << log;
    for (size_t k = 0; k < len; k++)
      b[len - 1 - k] = (uint8_t)(v[i] >> 8 * k);
    b[0] = (uint8_t)((b[0] & 0x3f) | log << 6);
    hostile_bytes(f, b, len);
  }
}

void hostile_stream_frame(hostile_frames *f, uint64_t id, uint64_t offset, const void *data, size_t len, int fin) {
  HOSTILE_FRAME(f, 0x0e | (fin ? 1u : 0u), id, offset, len);
  hostile_bytes(f, data, len);
}

static int has(const hostile_space *s, uint64_t pn) { return s->got[pn / 8] >> pn % 8 & 1; }

void hostile_ack_frame(hostile_frames *f, const hostile_space *s) {
  hostile_frames ranges = {0};
  uint64_t top = s->largest < HOSTILE_PNS ? s->largest : HOSTILE_PNS, n = 0, begin = 0;
  while (top && !has(s, top - 1))
    top--;
  for (uint64_t at = top; at && n < 32; n++) { /* above the range */
    if (n)
      HOSTILE_FRAME(&ranges, begin - at - 1); /* the gap */
    for (begin = at; begin && has(s, begin - 1);)
      begin--;
    HOSTILE_FRAME(&ranges, at - begin - 1);
    for (at = begin; at && !has(s, at - 1);)
      at--;
  }
  if (!n)
    return;
  HOSTILE_FRAME(f, 0x02, top - 1, 0, n - 1);
  hostile_bytes(f, ranges.data, ranges.len);
}

/* ---- packets out ---- */

static size_t put_long_head(const hostile *p, hostile_level level, uint8_t *h) {
  static const uint8_t types[] = {0, 2};
  size_t n = 0;
  h[n++] = (uint8_t)(0xc0 | types[level] << 4 | (HOSTILE_PN - 1));
  memcpy(h + n, "\0\0\0\1", 4);
  n += 4;
  h[n++] = (uint8_t)p->dcid.datalen;
  memcpy(h + n, p->dcid.data, p->dcid.datalen);
  n += p->dcid.datalen;
  h[n++] = (uint8_t)p->scid.datalen;
  memcpy(h + n, p->scid.data, p->scid.datalen);
  n += p->scid.datalen;
  if (level == HOSTILE_INITIAL)
    h[n++] = 0; /* no token */
  return n;
}

static uint64_t number_of(hostile_space *s, unsigned flags) {
  if (flags & HOSTILE_PN_AGAIN)
    return s->next_pn ? s->next_pn - 1 : 0;
  if (flags & HOSTILE_PN_BACK)
    return 0;
  if (flags & HOSTILE_PN_LEAP)
    s->next_pn += 1u << 20;
  return s->next_pn++;
}

int hostile_packet(hostile *p, hostile_level level, const hostile_frames *f, unsigned flags) {
  hostile_space *s = &p->space[level];
  uint8_t *h = p->packet.data + p->packet.len;
  size_t room = sizeof p->packet.data - p->packet.len, len = f->len, n = 0;
  size_t head = level == HOSTILE_1RTT ? 1 + p->dcid.datalen : LONG_HEAD + p->dcid.datalen + p->scid.datalen + 3;
  size_t most = head + HOSTILE_PN + HOSTILE_TAG;
  if (!s->tx.ready || room < most + len)
    return 0;
  hostile_frames padded = *f;
  if (flags & HOSTILE_PAD && p->packet.len + most + len < DATAGRAM) {
    len = DATAGRAM - p->packet.len - most + (level == HOSTILE_HANDSHAKE);
    memset(padded.data + f->len, 0, len - f->len);
  }
  if (level == HOSTILE_1RTT) {
    h[n++] = (uint8_t)(0x40 | (p->tx_phase ? 4 : 0) | (HOSTILE_PN - 1));
    memcpy(h + n, p->dcid.data, p->dcid.datalen);
    n += p->dcid.datalen;
  } else {
    n = put_long_head(p, level, h);
    size_t rest = HOSTILE_PN + len + HOSTILE_TAG;
    h[n++] = (uint8_t)(0x40 | rest >> 8);
    h[n++] = (uint8_t)rest;
  }
  if (flags & HOSTILE_PHASE && level == HOSTILE_1RTT)
    h[0] ^= 4;
  if (flags & HOSTILE_RESERVED)
    h[0] |= level == HOSTILE_1RTT ? 0x18 : 0x0c;
  if (flags & HOSTILE_UNFIXED)
    h[0] &= (uint8_t)~0x40;
  uint64_t pn = number_of(s, flags);
  for (int i = HOSTILE_PN; i--;)
    h[n++] = (uint8_t)(pn >> 8 * i);
  n = hostile_keys_seal(&s->tx, h, n, pn, padded.data, len);
  if (flags & HOSTILE_BAD_TAG)
    h[n - 1] ^= 1;
  p->packet.len += n;
  return 1;
}

void hostile_raw(hostile *p, const uint8_t *data, size_t len) { hostile_bytes(&p->packet, data, len); }

void hostile_send(hostile *p) {
  if (!p->packet.len)
    return;
  memcpy(p->io->ops->tx_room(p->io, p->packet.len), p->packet.data, p->packet.len);
  p->io->ops->tx_push(p->io, p->packet.len, p->packet.len, &p->to, NULL, 0);
  p->packet.len = 0;
}

int hostile_update_keys(hostile *p) {
  hostile_keys next, *k = &p->space[HOSTILE_1RTT].tx;
  if (!k->ready)
    return 0;
  hostile_keys_next(&next, k);
  hostile_keys_free(k);
  *k = next;
  p->tx_phase = !p->tx_phase;
  return 1;
}

void hostile_retry(hostile *p, const uint8_t *token, size_t len) {
  uint8_t buf[1024];
  if (!len)
    return;
  ngtcp2_ssize n = ngtcp2_crypto_write_retry(buf, sizeof buf, NGTCP2_PROTO_VER_V1, &p->dcid, &p->scid, &p->odcid, token,
                                             len < 512 ? len : 512);
  if (n > 0)
    hostile_raw(p, buf, (size_t)n);
}

/* ---- TLS ---- */

static hostile_space *space_of(SSL *ssl, enum ssl_encryption_level_t level) {
  hostile *p = SSL_get_app_data(ssl);
  return level == ssl_encryption_initial       ? &p->space[HOSTILE_INITIAL]
         : level == ssl_encryption_handshake   ? &p->space[HOSTILE_HANDSHAKE]
         : level == ssl_encryption_application ? &p->space[HOSTILE_1RTT]
                                               : NULL;
}

static int set_keys(hostile_keys *k, const SSL_CIPHER *cipher, const uint8_t *secret, size_t len) {
  REQUIRE(SSL_CIPHER_get_protocol_id(cipher) == 0x1301 && len == 32); /* TLS_AES_128_GCM_SHA256 */
  hostile_keys_set(k, secret);
  return 1;
}

static int set_read_secret(SSL *ssl, enum ssl_encryption_level_t level, const SSL_CIPHER *cipher, const uint8_t *secret,
                           size_t len) {
  hostile_space *s = space_of(ssl, level);
  return s && set_keys(&s->rx, cipher, secret, len);
}

static int set_write_secret(SSL *ssl, enum ssl_encryption_level_t level, const SSL_CIPHER *cipher,
                            const uint8_t *secret, size_t len) {
  hostile_space *s = space_of(ssl, level);
  return s && set_keys(&s->tx, cipher, secret, len);
}

static int add_handshake_data(SSL *ssl, enum ssl_encryption_level_t level, const uint8_t *data, size_t len) {
  hostile_space *s = space_of(ssl, level);
  if (!s || len > sizeof s->out - s->out_len)
    return 0;
  memcpy(s->out + s->out_len, data, len);
  s->out_len += len;
  return 1;
}

static int flush_flight(SSL *ssl) { return (void)ssl, 1; }

static int send_alert(SSL *ssl, enum ssl_encryption_level_t level, uint8_t alert) {
  (void)level;
  ((hostile *)SSL_get_app_data(ssl))->failed = alert + 1;
  return 1;
}

static int select_alpn(SSL *ssl, const uint8_t **out, uint8_t *len, const uint8_t *in, unsigned n, void *arg) {
  (void)ssl, (void)arg;
  if (n < 5 || memcmp(in, "\x04nq/1", 5) != 0)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = in + 1;
  *len = 4;
  return SSL_TLSEXT_ERR_OK;
}

SSL_CTX *hostile_context(const nq_test_cert *leaf) {
  static const SSL_QUIC_METHOD method = {set_read_secret, set_write_secret, add_handshake_data, flush_flight,
                                         send_alert};
  SSL_CTX *ctx = SSL_CTX_new(TLS_method());
  REQUIRE(ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) && SSL_CTX_set_quic_method(ctx, &method));
#ifdef OPENSSL_IS_AWSLC
  REQUIRE(SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") == 1);
#endif
  REQUIRE(SSL_CTX_set1_groups_list(ctx, "X25519") == 1);
  SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
  if (leaf) {
    REQUIRE(SSL_CTX_use_certificate(ctx, leaf->x509) == 1 && SSL_CTX_use_PrivateKey(ctx, leaf->pkey) == 1);
    SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
  } else {
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    REQUIRE(SSL_CTX_set_alpn_protos(ctx, (const uint8_t *)"\x04nq/1", 5) == 0);
  }
  return ctx;
}

void hostile_set_params(hostile *p) {
  uint8_t buf[512];
  p->params.initial_scid = p->scid;
  p->params.initial_scid_present = 1;
  p->params.original_dcid = p->odcid;
  p->params.original_dcid_present = (uint8_t)(p->server != 0);
  ngtcp2_ssize n = ngtcp2_transport_params_encode(buf, sizeof buf, &p->params);
  REQUIRE(n > 0 && SSL_set_quic_transport_params(p->ssl, buf, (size_t)n) == 1);
}

static void handshake(hostile *p) {
  if (p->failed || p->complete)
    return;
  int rv = SSL_do_handshake(p->ssl);
  if (rv == 1)
    p->complete = 1;
  else if (SSL_get_error(p->ssl, rv) == SSL_ERROR_SSL && !p->failed)
    p->failed = 1;
  ERR_clear_error();
}

void hostile_crypto(hostile *p, hostile_level level, uint64_t offset, const uint8_t *data, size_t len) {
  static const enum ssl_encryption_level_t levels[] = {ssl_encryption_initial, ssl_encryption_handshake};
  hostile_space *s = &p->space[level];
  if (level == HOSTILE_1RTT || offset > HOSTILE_CRYPTO || len > HOSTILE_CRYPTO - offset)
    return;
  memcpy(s->in + offset, data, len);
  memset(s->have + offset, 1, len);
  size_t end = s->in_read;
  while (end < HOSTILE_CRYPTO && s->have[end])
    end++;
  if (end == s->in_read || p->failed)
    return;
  p->hello = 1;
  if (SSL_provide_quic_data(p->ssl, levels[level], s->in + s->in_read, end - s->in_read) != 1)
    p->failed = 1;
  s->in_read = end;
  handshake(p);
}

/* ---- an honest handshake ---- */

hostile_point hostile_at(const hostile *p) {
  const hostile_space *last = &p->space[HOSTILE_HANDSHAKE];
  if (p->done)
    return HOSTILE_CONFIRMED;
  if (p->server ? p->complete : last->out_len && last->out_sent == last->out_len)
    return HOSTILE_COMPLETE;
  if (last->out_len && last->out_sent == last->out_len)
    return HOSTILE_SENT;
  return last->out_len ? HOSTILE_FLIGHT : HOSTILE_HELLO;
}

/* One packet of a level, if there is anything for it. */
static int honest_packet(hostile *p, hostile_level level) {
  hostile_space *s = &p->space[level];
  hostile_frames f = {0};
  if (!s->tx.ready)
    return 0;
  if (s->ack_owed)
    hostile_ack_frame(&f, s);
  size_t used = p->packet.len + f.len + 100, left = s->out_len - s->out_sent; /* 100: all headers and the tag */
  if (left && used + 100 > DATAGRAM) {
    hostile_send(p);
    used = f.len + 100;
  }
  if (left) {
    size_t n = left < DATAGRAM - used ? left : DATAGRAM - used;
    HOSTILE_FRAME(&f, 0x06, s->out_sent, n);
    hostile_bytes(&f, s->out + s->out_sent, n);
    s->out_sent += n;
  }
  if (level == HOSTILE_1RTT && p->server && p->complete && !p->done) {
    HOSTILE_FRAME(&f, 0x1e);
    p->done = 1;
  }
  if (!f.len)
    return 0;
  s->ack_owed = 0;
  /* A client's datagram with an Initial packet has 1200 bytes (RFC 9000 14.1). */
  return hostile_packet(p, level, &f, level == HOSTILE_INITIAL && !p->server ? HOSTILE_PAD : 0);
}

int hostile_honest(hostile *p) {
  int any = 0;
  for (int level = 0; level < HOSTILE_LEVELS; level++)
    while (honest_packet(p, (hostile_level)level))
      any = 1;
  return any;
}

int hostile_shake(hostile *p, hostile_point until, void (*tick)(void *ctx), void *ctx) {
  hostile_read(p);
  for (int i = 0; i < 50 && hostile_at(p) < until && !p->failed; i++) {
    if (hostile_honest(p)) {
      hostile_send(p);
      if (hostile_at(p) >= until)
        break;
    }
    tick(ctx);
    hostile_read(p);
  }
  return hostile_at(p) >= until;
}

/* ---- life ---- */

void hostile_address(nq_addr *a) {
  memset(a, 0, sizeof *a);
  a->in.sin_family = AF_INET;
  a->in.sin_port = htons(PORT);
  a->in.sin_addr.s_addr = htonl(0x0a000000u | HOST);
  a->len = sizeof a->in;
}

void hostile_params(ngtcp2_transport_params *params) {
  ngtcp2_transport_params_default(params);
  params->initial_max_data = 1u << 20;
  params->initial_max_stream_data_bidi_local = params->initial_max_stream_data_bidi_remote = 1u << 18;
  params->initial_max_stream_data_uni = 1u << 18;
  params->initial_max_streams_bidi = params->initial_max_streams_uni = 100;
  params->max_idle_timeout = 30 * NGTCP2_SECONDS;
  params->max_datagram_frame_size = 65535;
  params->active_connection_id_limit = 8;
}

static void random_cid(hostile *p, ngtcp2_cid *cid) {
  cid->datalen = HOSTILE_CID;
  for (size_t i = 0; i < HOSTILE_CID; i++)
    cid->data[i] = (uint8_t)(nq_sim_random(p->net) >> 24);
}

hostile *hostile_new(nq_sim *net, SSL_CTX *ctx, int server, const nq_addr *to, const ngtcp2_transport_params *params) {
  hostile *p = calloc(1, sizeof *p);
  REQUIRE(p != NULL);
  p->net = net;
  p->io = nq_sim_io(net, HOST, PORT);
  p->server = server;
  for (int i = 0; i < HOSTILE_STREAMS; i++)
    p->streams[i].id = -1;
  if (to)
    p->to = *to;
  if (params)
    p->params = *params;
  else
    hostile_params(&p->params);
  random_cid(p, &p->scid);
  p->ssl = SSL_new(ctx);
  REQUIRE(p->ssl != NULL);
  SSL_set_app_data(p->ssl, p);
  if (server) {
    SSL_set_accept_state(p->ssl);
    return p;
  }
  SSL_set_connect_state(p->ssl);
  REQUIRE(SSL_set_tlsext_host_name(p->ssl, "localhost") == 1);
  random_cid(p, &p->dcid);
  p->odcid = p->dcid;
  hostile_keys_initial(&p->space[HOSTILE_INITIAL].tx, &p->space[HOSTILE_INITIAL].rx, p->dcid.data, p->dcid.datalen);
  hostile_set_params(p);
  handshake(p);
  REQUIRE(p->space[HOSTILE_INITIAL].out_len > 0);
  return p;
}

void hostile_free(hostile *p) {
  for (int i = 0; i < HOSTILE_LEVELS; i++) {
    hostile_keys_free(&p->space[i].tx);
    hostile_keys_free(&p->space[i].rx);
  }
  SSL_free(p->ssl);
  p->io->ops->close(p->io);
  free(p);
}

const hostile_stream *hostile_stream_of(const hostile *p, int64_t id) {
  for (int i = 0; i < HOSTILE_STREAMS; i++)
    if (p->streams[i].id == id)
      return &p->streams[i];
  return NULL;
}
