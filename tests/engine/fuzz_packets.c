/* fuzz_packets.c: fuzzes a connection from inside its packet protection. The input is a program for a hostile peer, in
 * either role, and for the application opposite: instructions of six bytes. Whatever it does, nothing crashes, leaks or
 * grows, every call gets one reply and every stream ends once.
 * With clang -fsanitize=fuzzer it is a libFuzzer target; otherwise main runs the files it is given, or as many random
 * programs as -runs=N says. */
#include <string.h>

#include "app/wire.h"
#include "hostile_peer.h"
#include "hostile_side.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_PROGRAM 4096
#define STEP 6
#define OFFSETS 32 /* streams whose bytes are sent in order */

enum { OP_FRAME, OP_NOW, OP_TICK, OP_WAIT, OP_SIDE, OP_HONEST, OP_PACKET, OP_SEND, OP_RAW, OP_HOLD, OP_PEER, OPS };

typedef struct machine {
  nq_sim net;
  hostile_side x;
  hostile *p;
  int server; /* the hostile peer is one */
  ngtcp2_transport_params params;
  hostile_frames frames;     /* of the next packet */
  hostile_frames last, held; /* datagrams: for once more, and for later */
  uint64_t offsets[OFFSETS];
  const uint8_t *at, *end;
} machine;

static nq_tls *server_tls, *client_tls;
static SSL_CTX *server_ctx, *client_ctx;
static nq_hdmap *map;

static nq_tls *make_tls(const nq_test_cert *ca, const nq_test_cert *leaf) {
  nq_tls_options o = {.server = leaf != NULL, .alpn = (const uint8_t *)"\x04nq/1", .alpn_len = 5, .groups = "X25519"};
  char err[256];
  nq_tls *t = NULL;
  if (leaf) {
    o.cert = nq_test_cert_blob(leaf);
    o.key = nq_test_key_blob(leaf);
  } else {
    o.ca = nq_test_cert_blob(ca);
  }
  MUST(nq_tls_new(&t, &o, err, sizeof err) == 0);
  return t;
}

static void start(void) {
  if (map)
    return;
  nq_test_cert *ca = nq_test_make_ca("test CA"), *leaf = nq_test_make_leaf(ca, "localhost", NULL, 0);
  server_tls = make_tls(ca, leaf);
  client_tls = make_tls(ca, NULL);
  server_ctx = hostile_context(leaf);
  client_ctx = hostile_context(NULL);
  nq_test_cert_free(leaf);
  nq_test_cert_free(ca);
  map = nq_hdmap_new();
  MUST(map && !nq_hdmap_add(map, "rpc", 3, NQ_KIND_RPC, 0, NULL) &&
       !nq_hdmap_add(map, "rec", 3, NQ_KIND_RECORD, 0, NULL) && !nq_hdmap_add(map, "raw", 3, NQ_KIND_RAW, 0, NULL) &&
       !nq_hdmap_uni(map, NULL));
}

#ifndef __clang__
static void stop(void) {
  nq_hdmap_unref(map);
  nq_tls_unref(server_tls);
  nq_tls_unref(client_tls);
  SSL_CTX_free(server_ctx);
  SSL_CTX_free(client_ctx);
}
#endif

/* ---- frames ---- */

/* A value from two bytes: small ones, those at limits, and any magnitude. */
static uint64_t value(const uint8_t b[2]) {
  static const uint64_t limits[] = {64,
                                    128,
                                    300,
                                    1024,
                                    2048,
                                    4096,
                                    1 << 14,
                                    1 << 16,
                                    1 << 18,
                                    1 << 19,
                                    (1 << 20),
                                    1 << 24,
                                    1 << 30,
                                    24 << 20,
                                    4095 * 4,
                                    UINT64_C(1) << 60,
                                    UINT64_C(1) << 61,
                                    UINT64_C(1) << 62};
  uint64_t v;
  if (b[0] < 128)
    return b[0] < 64 ? b[1] : (uint64_t)(b[0] & 63) << 8 | b[1];
  if (b[0] < 224)
    v = limits[b[0] % (sizeof limits / sizeof *limits)] + b[1] - 128;
  else
    v = (UINT64_C(1) << (b[0] & 31) * 2) + b[1] - 1;
  return v & ((UINT64_C(1) << 62) - 1);
}

static uint64_t stream_id(uint8_t b) { return b < 240 ? b % OFFSETS : (uint64_t)(b - 239) << b % 60; }

/* Bytes of a stream in the order that they are sent in: from the program, or messages that are right. */
static void put_stream(machine *m, const uint8_t v[5]) {
  static const char *const names[] = {"rpc", "rec", "raw", "no"};
  uint8_t data[400];
  size_t n = 0, len = v[3] < 200 ? v[3] % 40 : (size_t)(v[3] - 199) * 6;
  uint64_t id = v[1] % OFFSETS, *offset = &m->offsets[id];
  switch (v[2] % 8) {
  case 0:
  case 1:
    memcpy(data, names[v[3] % 4], strlen(names[v[3] % 4]) + 1);
    n = strlen(names[v[3] % 4]) + 1;
    len = 0;
    break;
  case 2:
    n = nq_wire_rpc_put(data, (int16_t)(1 + v[4] % 4), 1 + v[3] % 8, (uint32_t)len);
    break;
  case 3:
    n = nq_wire_rpc_put(data, (int16_t)(0 - v[4] % 3), 1 + v[3] % 8, (uint32_t)len);
    break;
  case 4:
    n = nq_wire_rpc_put(data, 7, 0, (uint32_t)len);
    break;
  case 5:
    n = nq_wire_length_put(data, (uint32_t)len);
    break;
  case 6:
    n = nq_wire_length_put(data, (uint32_t)value(v + 3));
    len = len % 8;
    break;
  default:
    data[n++] = v[4];
  }
  for (; len; len--)
    data[n++] = m->at < m->end ? m->at[len % (size_t)(m->end - m->at)] : 0;
  hostile_stream_frame(&m->frames, id, *offset, data, n, v[2] >= 248 || v[2] / 8 == 5);
  *offset += n;
}

static void put_new_cid(machine *m, const uint8_t v[5]) {
  hostile_frames *f = &m->frames;
  uint64_t seq = value(v + 1);
  uint8_t cid[37] = {(uint8_t)(v[4] < 250 ? 8 : v[4] - 236), 9, 9, 9, v[4] == 249};
  memcpy(cid + 5, &seq, 4);
  memcpy(cid + 1 + cid[0] % 20, &seq, 8); /* the token differs, too */
  HOSTILE_FRAME(f, 0x18, seq, v[3] < 128 ? (v[3] < 64 ? 0 : seq) : value(v + 3));
  hostile_bytes(f, cid, 1u + cid[0] % 21 + 16);
}

static void put_ack(machine *m, const uint8_t v[5]) {
  HOSTILE_FRAME(&m->frames, v[4] & 64 ? 3 : 2, value(v + 1), v[3], v[4] & 3);
  HOSTILE_FRAME(&m->frames, v[3] & 15);
  for (int i = 0; i < (v[4] & 3); i++)
    HOSTILE_FRAME(&m->frames, v[3] >> 4 & 7, v[3] & 7);
  if (v[4] & 64)
    HOSTILE_FRAME(&m->frames, v[3], v[2], v[1]);
}

static void put_data(machine *m, uint64_t n) {
  for (; n; n--)
    hostile_bytes(&m->frames, m->at < m->end ? m->at + n % (uint64_t)(m->end - m->at) : (const uint8_t *)"", 1);
}

static void put_frame(machine *m, const uint8_t v[5]) {
  hostile_frames *f = &m->frames;
  uint64_t id = stream_id(v[1]), n = value(v + 2);
  switch (v[0] % 32) {
  case 0:
    HOSTILE_FRAME(f, 0x01);
    break;
  case 1:
    hostile_ack_frame(f, &m->p->space[v[1] < 200 ? HOSTILE_1RTT : v[1] % 3]);
    break;
  case 2:
    put_ack(m, v);
    break;
  case 3: /* RESET_STREAM, mostly of the right size */
    HOSTILE_FRAME(f, 0x04, id, v[4], v[3] < 200 && id < OFFSETS ? m->offsets[id] : n);
    break;
  case 4:
    HOSTILE_FRAME(f, 0x05, id, n);
    break;
  case 5:
    HOSTILE_FRAME(f, 0x06, n, v[4]);
    put_data(m, v[4]);
    break;
  case 6:
    HOSTILE_FRAME(f, 0x07, v[4] % 64);
    put_data(m, v[4] % 64);
    break;
  case 7: /* STREAM anywhere, with each combination of bits */
    HOSTILE_FRAME(f, 0x08u | v[4] % 8, id);
    if (v[4] & 4)
      HOSTILE_FRAME(f, n);
    if (v[4] & 2)
      HOSTILE_FRAME(f, v[4] >> 3);
    put_data(m, v[4] >> 3);
    break;
  case 8:
    HOSTILE_FRAME(f, 0x10, n);
    break;
  case 9:
    HOSTILE_FRAME(f, 0x11, id, n);
    break;
  case 10:
    HOSTILE_FRAME(f, 0x12u | (v[1] & 1), n);
    break;
  case 11:
    HOSTILE_FRAME(f, v[4] & 1 ? 0x14 : 0x16u | (v[1] & 1), n);
    break;
  case 12:
    HOSTILE_FRAME(f, 0x15, id, n);
    break;
  case 13:
    put_new_cid(m, v);
    break;
  case 14:
    HOSTILE_FRAME(f, 0x19, v[1] < 200 ? v[1] % 16 : n);
    break;
  case 15:
    HOSTILE_FRAME(f, 0x1a);
    hostile_bytes(f, "abcdefgh", 8);
    break;
  case 16:
    HOSTILE_FRAME(f, 0x1b);
    hostile_bytes(f, v[1] < 200 ? m->p->challenge : (const uint8_t *)"abcdefgh", 8);
    break;
  case 17:
    if (v[4] & 1)
      HOSTILE_FRAME(f, 0x1d, n, v[1] % 32);
    else
      HOSTILE_FRAME(f, 0x1c, n, v[4], v[1] % 32);
    put_data(m, v[1] % 32);
    break;
  case 18:
    HOSTILE_FRAME(f, 0x1e);
    break;
  case 19:
    HOSTILE_FRAME(f, 0x30u | (v[1] & 1));
    if (v[1] & 1)
      HOSTILE_FRAME(f, v[4]);
    put_data(m, v[4]);
    break;
  case 20:
    HOSTILE_FRAME(f, n);
    break;
  case 21:
    for (int i = v[1]; i--;)
      HOSTILE_FRAME(f, 0);
    break;
  case 22: /* generous limits */
    HOSTILE_FRAME(f, 0x10, 1u << 30, 0x12, 1000, 0x13, 1000, 0x11, id, 1u << 30);
    break;
  case 23:
    put_data(m, v[1] % 40);
    break;
  default:
    put_stream(m, v);
  }
}

/* ---- packets and datagrams ---- */

static void put_packet(machine *m, uint8_t level, uint8_t flags) {
  hostile_level l = level < 220 ? HOSTILE_1RTT : level % 2 ? HOSTILE_HANDSHAKE : HOSTILE_INITIAL;
  hostile_packet(m->p, l, &m->frames,
                 (flags >= 192 ? 1u << flags % 8 : 0u) | (l == HOSTILE_INITIAL ? HOSTILE_PAD : 0u));
  m->frames.len = 0;
}

static void send_datagram(machine *m) {
  if (m->p->packet.len)
    m->last = m->p->packet;
  hostile_send(m->p);
}

static void hold(machine *m, const uint8_t v[5]) {
  hostile_frames *p = &m->p->packet;
  switch (v[0] % 5) {
  case 0: /* for later */
    m->held = *p;
    p->len = 0;
    break;
  case 1:
    hostile_send(m->p);
    hostile_raw(m->p, m->held.data, m->held.len);
    hostile_send(m->p);
    break;
  case 2: /* again, as it was */
    hostile_send(m->p);
    hostile_raw(m->p, m->last.data, m->last.len);
    hostile_send(m->p);
    break;
  case 3:
    if (p->len)
      p->data[value(v + 1) % p->len] ^= v[3];
    break;
  default:
    if (p->len)
      p->len -= value(v + 1) % p->len;
  }
}

/* Bytes that are no protected packet: Version Negotiation, Retry, headers, stateless resets. */
static void put_raw(machine *m, const uint8_t v[5]) {
  uint8_t head[64] = {(uint8_t)(v[1] | (v[0] & 1 ? 0xc0 : 0x40))};
  size_t n = 1;
  if (v[0] & 2) {
    hostile_retry(m->p, m->at, (size_t)(m->end - m->at) % 64);
    return;
  }
  if (v[0] & 1) {
    head[4] = v[2] & 3; /* version 0 is negotiation */
    head[n += 4] = (uint8_t)m->p->dcid.datalen;
    n++;
  }
  memcpy(head + n, m->p->dcid.data, m->p->dcid.datalen);
  n += m->p->dcid.datalen;
  if (v[0] & 1) {
    head[n++] = (uint8_t)m->p->scid.datalen;
    memcpy(head + n, m->p->scid.data, m->p->scid.datalen);
    n += m->p->scid.datalen;
  }
  hostile_raw(m->p, head, n);
  for (size_t i = v[3]; i && m->at < m->end; i--)
    hostile_raw(m->p, m->at + i % (size_t)(m->end - m->at), 1);
}

static void new_peer(machine *m) {
  nq_addr to;
  if (m->p)
    hostile_free(m->p);
  hostile_side_address(&m->x, &to);
  memset(m->offsets, 0, sizeof m->offsets);
  m->p = hostile_new(&m->net, m->server ? server_ctx : client_ctx, m->server, &to, &m->params);
}

static void peer_op(machine *m, const uint8_t v[5]) {
  hostile *p = m->p;
  switch (v[0] % 7) {
  case 0:
    hostile_update_keys(p);
    break;
  case 1: /* the connection ID that came last */
    if (p->cid.datalen)
      p->dcid = p->cid;
    break;
  case 2: /* another address */
    p->io->local.in.sin_port = htons((uint16_t)(6666 + v[1] % 4));
    break;
  case 3: /* what the engine sends is lost for a while */
    m->net.cut_to = m->net.cut_to.len || v[1] & 1 ? (nq_addr){.len = 0} : nq_sim_address(66, 0);
    break;
  case 4:
    new_peer(m);
    break;
  case 5:
    hostile_read(p);
    break;
  default:
    p->space[HOSTILE_1RTT].next_pn += value(v + 1);
  }
}

/* ---- the machine ---- */

static void tick(void *ctx) {
  machine *m = ctx;
  m->net.now += 1000000;
  hostile_side_tick(&m->x);
}

static void drop(void *ctx) {
  const nq_datagram *v;
  machine *m = ctx;
  while (m->p->io->ops->recv(m->p->io, &v) > 0)
    ;
}

static void honest(machine *m) {
  hostile_read(m->p);
  hostile_honest(m->p);
  send_datagram(m);
}

static void step(machine *m, const uint8_t v[STEP]) {
  static const uint64_t waits[] = {
      1000, 100000, 1000000, 26000000, 100000000, 1000000000, UINT64_C(11000000000), UINT64_C(31000000000)};
  switch (v[0] % OPS) {
  case OP_FRAME:
    put_frame(m, v + 1);
    break;
  case OP_NOW: /* a frame in a packet of its own, which is taken in at once */
    put_frame(m, v + 1);
    put_packet(m, v[0], 0);
    send_datagram(m);
    if (v[0] & 1)
      hostile_side_tick(&m->x);
    break;
  case OP_TICK:
    tick(m);
    break;
  case OP_WAIT:
    m->net.now += waits[v[1] % 8];
    hostile_side_tick(&m->x);
    break;
  case OP_SIDE:
    hostile_side_do(&m->x, v + 1);
    break;
  case OP_HONEST:
    honest(m);
    tick(m);
    break;
  case OP_PACKET:
    put_packet(m, v[1], v[2]);
    break;
  case OP_SEND:
    send_datagram(m);
    break;
  case OP_RAW:
    put_raw(m, v + 1);
    break;
  case OP_HOLD:
    hold(m, v + 1);
    break;
  default:
    peer_op(m, v + 1);
  }
}

static void set_params(ngtcp2_transport_params *p, unsigned how) {
  hostile_params(p);
  if (how == 0) { /* next to nothing is allowed */
    p->initial_max_data = p->initial_max_stream_data_bidi_local = p->initial_max_stream_data_bidi_remote = 10;
    p->initial_max_streams_bidi = 1;
    p->initial_max_streams_uni = p->max_datagram_frame_size = 0;
    p->active_connection_id_limit = 2;
    p->max_udp_payload_size = 1200;
  } else if (how == 1) { /* without bounds */
    p->initial_max_data = p->initial_max_stream_data_bidi_local = (UINT64_C(1) << 62) - 1;
    p->initial_max_stream_data_bidi_remote = p->initial_max_stream_data_uni = (UINT64_C(1) << 62) - 1;
    p->initial_max_streams_bidi = p->initial_max_streams_uni = UINT64_C(1) << 60;
    p->active_connection_id_limit = (UINT64_C(1) << 62) - 1;
    p->max_idle_timeout = 0;
  } else if (how == 2) {
    p->ack_delay_exponent = 20;
    p->max_ack_delay = 16383 * NGTCP2_MILLISECONDS;
    p->max_idle_timeout = NGTCP2_MILLISECONDS;
    p->disable_active_migration = 1;
    p->stateless_reset_token_present = 1;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static machine m;
  start();
  if (size < 2 || size > MAX_PROGRAM)
    return 0;
  memset(&m, 0, offsetof(machine, frames));
  memset(m.offsets, 0, sizeof m.offsets);
  m.frames.len = m.last.len = m.held.len = 0;
  m.server = data[0] & 1;
  m.at = data + 2;
  m.end = data + size;
  nq_sim_init(&m.net, 7);
  m.net.delay = 0;
  set_params(&m.params, data[1] & 7);
  m.params.stateless_reset_token_present &= (uint8_t)m.server;
  hostile_side_open(&m.x, &m.net, m.server ? client_tls : server_tls, map, m.server, data[1] & 8);
  m.x.policy = data[1] >> 4;
  new_peer(&m);
  if (m.server)
    hostile_side_connect(&m.x);
  hostile_shake(m.p, (hostile_point)((data[0] >> 1) % 8 < 5 ? (data[0] >> 1) % 8 : HOSTILE_CONFIRMED), tick, &m);
  while (m.end - m.at >= STEP) {
    const uint8_t *v = m.at;
    m.at += STEP;
    step(&m, v);
  }
  send_datagram(&m);
  hostile_side_tick(&m.x);
  hostile_side_close(&m.x, drop, &m);
  hostile_free(m.p);
  nq_sim_free(&m.net);
  return 0;
}

static uint64_t luck = 88172645463325252u;
static uint32_t draw(void) {
  luck ^= luck << 13;
  luck ^= luck >> 7;
  luck ^= luck << 17;
  return (uint32_t)(luck >> 20);
}

/* A step that mostly does what goes on: streams with messages, calls, ticks. */
static void likely_step(uint8_t v[STEP]) {
  static const uint8_t likely[] = {OP_FRAME, OP_FRAME, OP_NOW, OP_NOW, OP_NOW, OP_TICK, OP_SIDE, OP_SIDE, OP_HONEST};
  for (int i = 0; i < STEP; i++)
    v[i] = (uint8_t)draw();
  if (draw() % 8)
    v[0] = (uint8_t)(likely[draw() % sizeof likely] + OPS * (draw() % 18));
  if (draw() % 2 && (v[0] % OPS == OP_FRAME || v[0] % OPS == OP_NOW)) {
    v[1] = 24;
    v[2] = (uint8_t)(draw() % 3 * 4);
  }
  if (v[0] % OPS == OP_WAIT)
    v[1] = (uint8_t)(draw() % 10 ? v[1] % 4 : v[1]);
}

/* Mostly after a whole handshake, with the usual limits. */
static size_t likely_program(uint8_t *p, size_t cap) {
  size_t n = 2;
  p[0] = (uint8_t)(draw() % 4 ? draw() | 0x0e : draw());
  p[1] = (uint8_t)(draw() % 4 ? (draw() & 0xf8) | 7 : draw());
  for (; n + STEP <= cap && draw() % 60; n += STEP)
    likely_step(p + n);
  return n;
}

#ifdef __clang__
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t cap);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t cap, unsigned seed);

/* Whole steps come, go and move: otherwise all that follows a change of length would mean something else. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t cap, unsigned seed) {
  luck = UINT64_C(88172645463325252) ^ (uint64_t)seed << 16;
  draw();
  if (cap < 2 + STEP || size > cap || size < 2 + STEP || draw() % 50 == 0)
    return likely_program(data, cap);
  size_t steps = (size - 2) / STEP, from = draw() % steps, to = draw() % steps;
  uint8_t step[STEP], *at = data + 2 + to * STEP;
  memcpy(step, data + 2 + from * STEP, STEP);
  switch (draw() % 8) {
  case 0:
    likely_step(at);
    return size;
  case 1:
    likely_step(step); /* falls through */
  case 2:
    if (size + STEP > cap)
      break;
    memmove(at + STEP, at, (size_t)(data + size - at));
    memcpy(at, step, STEP);
    return size + STEP;
  case 3:
    memmove(at, at + STEP, (size_t)(data + size - at) - STEP);
    return size - STEP;
  case 4: /* one byte */
    at[draw() % STEP] = (uint8_t)draw();
    return size;
  default:
    break;
  }
  return LLVMFuzzerMutate(data, size, cap);
}
#else
static size_t fuzz_random(uint8_t *p, size_t cap) { return likely_program(p, cap); }

#define FUZZ_MAX MAX_PROGRAM
#define FUZZ_RUNS 2000
#include "fuzz_main.h"

int main(int argc, char **argv) {
  int failed = fuzz_main(argc, argv);
  if (map)
    stop();
  return failed;
}
#endif
