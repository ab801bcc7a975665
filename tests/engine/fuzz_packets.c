/* fuzz_packets.c: fuzzes a connection from inside its packet protection. The input is a program for a hostile peer, in
 * either role, and for the application opposite: instructions of six bytes. Whatever it does, nothing crashes, leaks or
 * grows, every call gets one reply and every stream ends once.
 * With clang -fsanitize=fuzzer it is a libFuzzer target; otherwise main runs the files it is given, or as many random
 * programs as -runs=N says. */
#include <string.h>

#include "hostile_peer.h"
#include "hostile_side.h"
#include "hostile_writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_PROGRAM 4096
#define STEP 6

enum { OP_FRAME, OP_NOW, OP_TICK, OP_WAIT, OP_SIDE, OP_HONEST, OP_PACKET, OP_SEND, OP_RAW, OP_HOLD, OP_PEER, OPS };

typedef struct machine {
  nq_sim net;
  hostile_side x;
  hostile *p;
  int server; /* the hostile peer is one */
  ngtcp2_transport_params params;
  hostile_writer w;          /* its frames are those of the next packet; its bytes, what is left of the program */
  hostile_frames last, held; /* datagrams: for once more, and for later */
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

/* ---- packets and datagrams ---- */

static void put_packet(machine *m, uint8_t level, uint8_t flags) {
  hostile_level l = level < 220 ? HOSTILE_1RTT : level % 2 ? HOSTILE_HANDSHAKE : HOSTILE_INITIAL;
  hostile_packet(m->p, l, &m->w.frames,
                 (flags >= 192 ? 1u << flags % 8 : 0u) | (l == HOSTILE_INITIAL ? HOSTILE_PAD : 0u));
  m->w.frames.len = 0;
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
      p->data[hostile_value(v + 1) % p->len] ^= v[3];
    break;
  default:
    if (p->len)
      p->len -= hostile_value(v + 1) % p->len;
  }
}

/* Bytes that are no protected packet: Version Negotiation, Retry, headers, stateless resets. */
static void put_raw(machine *m, const uint8_t v[5]) {
  uint8_t head[64] = {(uint8_t)(v[1] | (v[0] & 1 ? 0xc0 : 0x40))};
  size_t n = 1;
  if (v[0] & 2) {
    hostile_retry(m->p, m->w.at, (size_t)(m->w.end - m->w.at) % 64);
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
  for (size_t i = v[3]; i && m->w.at < m->w.end; i--)
    hostile_raw(m->p, m->w.at + i % (size_t)(m->w.end - m->w.at), 1);
}

static void new_peer(machine *m) {
  nq_addr to;
  if (m->p)
    hostile_free(m->p);
  hostile_side_address(&m->x, &to);
  memset(m->w.offsets, 0, sizeof m->w.offsets);
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
    p->space[HOSTILE_1RTT].next_pn += hostile_value(v + 1);
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
    hostile_write_frame(&m->w, m->p, v + 1);
    break;
  case OP_NOW: /* a frame in a packet of its own, which is taken in at once */
    hostile_write_frame(&m->w, m->p, v + 1);
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
  memset(&m, 0, offsetof(machine, w));
  m.w.frames.len = m.last.len = m.held.len = 0;
  m.server = data[0] & 1;
  m.w.at = data + 2;
  m.w.end = data + size;
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
  while (m.w.end - m.w.at >= STEP) {
    const uint8_t *v = m.w.at;
    m.w.at += STEP;
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
