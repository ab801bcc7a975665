/* test_hostile_peer.c: a peer that has the keys and breaks the protocol: each violation ends the connection with the
 * error that RFC 9000 names, or does nothing; never in a crash, and all is freed. */
#include "check.h"
#include "hostile_peer.h"
#include "loop/loop.h"
#include "quic/conn.h"
#include "world.h"

#define MS UINT64_C(1000000)
#define FROM_PEER(server) ((server) ? 1u : 0u) /* the lowest bit of a stream ID that the peer opens */

typedef struct fixture {
  nq_sim net;
  world w;
  side *x; /* the engine's side */
  SSL_CTX *ctx;
  hostile *p;
  nq_handle conn;
} fixture;

static nq_test_cert *ca, *leaf;

static void tick(void *ctx) { world_tick(ctx, MS); }

/* What is sent to the peer is taken at once: what nobody takes would slow the clock. */
static void run(fixture *f, unsigned ms) {
  for (uint64_t until = f->net.now + ms * MS; f->net.now < until; hostile_read(f->p))
    world_tick(&f->w, (int64_t)(until - f->net.now));
}

static void begin(fixture *f, int hostile_server, hostile_point until) {
  memset(f, 0, sizeof *f);
  nq_sim_init(&f->net, 7);
  f->net.delay = 0;
  world_open(&f->w, &f->net);
  f->x = hostile_server ? &f->w.c : &f->w.s;
  f->ctx = hostile_context(hostile_server ? leaf : NULL);
  nq_addr to;
  if (hostile_server) {
    nq_tls_unref(f->w.ctls); /* it trusts another CA */
    f->w.ctls = world_tls(ca, NULL);
    nq_connect_options o = {.endpoint = f->w.c.ep, .tls = f->w.ctls, .server_name = "localhost", .hdmap = f->w.c.map};
    hostile_address(&o.remote);
    o.limits = f->w.c.limits;
    f->p = hostile_new(&f->net, f->ctx, 1, NULL, NULL);
    REQUIRE(nq_conn_connect(f->w.c.l, &o, &f->conn) == 0);
    nq_loop_flush(f->w.c.l);
  } else {
    REQUIRE(nq_endpoint_address(f->w.s.l, f->w.s.ep, &to) == 0);
    f->p = hostile_new(&f->net, f->ctx, 0, &to, NULL);
  }
  REQUIRE(hostile_shake(f->p, until, tick, &f->w));
  if (until == HOSTILE_CONFIRMED) {
    run(f, 20);
    CHECK_EQ(f->x->count[NQ_EV_CONN_OPEN], 1);
    CHECK_EQ(f->x->count[NQ_EV_CONN_CLOSE], 0);
  }
}

/* Nothing is left, however it ended. */
static void end(fixture *f) {
  nq_loop_stats s;
  if (f->conn)
    CHECK_EQ(nq_conn_free(f->w.c.l, f->conn), 0);
  run(f, 60000);
  nq_loop_get_stats(f->x->l, &s);
  CHECK_EQ(s.connections, 0);
  CHECK_EQ(s.streams, 0);
  CHECK_EQ(s.pending_calls, 0);
  CHECK_EQ(f->x->l->hub.endpoints[0]->half_open, 0);
  CHECK_EQ(f->x->l->hub.endpoints[0]->routes.n, 0);
  CHECK_EQ(f->x->l->hub.endpoints[0]->resets.n, 0);
  hostile_free(f->p);
  SSL_CTX_free(f->ctx);
  world_close(&f->w);
  nq_sim_free(&f->net);
}

/* The engine's side found a transport error, and told the peer. */
static void ended_with(fixture *f, uint64_t code) {
  run(f, 20);
  CHECK_EQ(f->x->count[NQ_EV_CONN_CLOSE], 1);
  CHECK_EQ(f->x->why, NQ_WHY_TRANSPORT);
  CHECK_EQ(f->x->code, code);
  CHECK_EQ(f->x->remote, 0);
  CHECK(f->p->seen[0x1c] > 0);
  CHECK_EQ(f->p->close_code, code);
}

static void send_frames(fixture *f, hostile_level level, const hostile_frames *fr, unsigned flags) {
  REQUIRE(hostile_packet(f->p, level, fr, flags));
  hostile_send(f->p);
}

/* ---- the peer is right ---- */

static int record_came(const fixture *f, const char *text) {
  return f->x->n_kept == strlen(text) && memcmp(f->x->kept, text, f->x->n_kept) == 0;
}

/* A call and a record in a stream of the hostile client's own. */
static void test_honest_client(void) {
  fixture f;
  begin(&f, 0, HOSTILE_CONFIRMED);
  hostile_frames fr = {0};
  hostile_stream_frame(&fr, 0, 0, "rpc\0\5\1\0\1\x82hi", 11, 0);
  hostile_stream_frame(&fr, 4, 0, "rec\0\x85hello", 10, 1);
  send_frames(&f, HOSTILE_1RTT, &fr, 0);
  run(&f, 20);
  CHECK_EQ(f.w.s.count[NQ_EV_RPC_REQUEST], 1);
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_RECORD], 1);
  CHECK(record_came(&f, "hello"));
  const hostile_stream *rpc = hostile_stream_of(f.p, 0), *rec = hostile_stream_of(f.p, 4);
  CHECK(rpc && rpc->end == 7 && memcmp(rpc->data, "\5\0\0\1\x82hi", 7) == 0);
  CHECK(rec && rec->end == 6 && rec->fin && memcmp(rec->data, "\x85hello", 6) == 0);
  CHECK_EQ(f.p->unopened, 0);
  end(&f);
}

/* The engine's client calls the hostile server. */
static void test_honest_server(void) {
  fixture f;
  begin(&f, 1, HOSTILE_CONFIRMED);
  nq_handle rpc = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  CHECK_EQ(nq_rpc_call(f.w.c.l, rpc, 1, (const uint8_t *)"hi", 2, 0, NULL, NULL), 0);
  run(&f, 20);
  const hostile_stream *s = hostile_stream_of(f.p, 0);
  CHECK(s && s->end == 11 && memcmp(s->data, "rpc\0\5\1\0\1\x82hi", 11) == 0);
  hostile_frames fr = {0};
  hostile_stream_frame(&fr, 0, 0, "\5\0\0\1\x83yes", 8, 0);
  hostile_stream_frame(&fr, 1, 0, "rec\0\x85hello", 10, 0);
  send_frames(&f, HOSTILE_1RTT, &fr, 0);
  run(&f, 20);
  CHECK_EQ(f.w.c.count[NQ_EV_RPC_REPLY], 1);
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_RECORD], 1);
  CHECK(record_came(&f, "yeshello"));
  CHECK_EQ(f.p->unopened, 0);
  CHECK_EQ(nq_stream_close(f.w.c.l, rpc), 0);
  end(&f);
}

/* Both sides change their keys: the peer reads what is sent with the new ones. */
static void test_key_update(void) {
  for (int server = 0; server < 2; server++) {
    fixture f;
    begin(&f, server, HOSTILE_CONFIRMED);
    hostile_honest(f.p);
    hostile_send(f.p);
    run(&f, 2000);
    REQUIRE(hostile_update_keys(f.p));
    hostile_frames fr = {0};
    hostile_stream_frame(&fr, FROM_PEER(server), 0, "rec\0\x85hello", 10, 0);
    send_frames(&f, HOSTILE_1RTT, &fr, 0);
    run(&f, 20);
    CHECK(record_came(&f, "hello"));
    CHECK_EQ(f.p->rx_phase, 1);
    CHECK_EQ(f.p->unopened, 0);
    CHECK_EQ(f.x->count[NQ_EV_CONN_CLOSE], 0);
    end(&f);
  }
}

/* ---- HANDSHAKE_DONE too early ---- */

static const hostile_frames *done_frame(void) {
  static hostile_frames fr;
  fr.len = 0;
  HOSTILE_FRAME(&fr, 0x1e);
  return &fr;
}

static void test_done_before_the_flight(void) {
  fixture f;
  begin(&f, 1, HOSTILE_FLIGHT);
  send_frames(&f, HOSTILE_1RTT, done_frame(), 0);
  hostile_honest(f.p);
  hostile_send(f.p);
  ended_with(&f, NGTCP2_PROTOCOL_VIOLATION);
  CHECK_EQ(f.x->count[NQ_EV_CONN_OPEN], 0);
  end(&f);
}

static void test_done_in_the_flight(void) {
  fixture f;
  begin(&f, 1, HOSTILE_FLIGHT);
  hostile_honest(f.p);
  send_frames(&f, HOSTILE_1RTT, done_frame(), 0);
  ended_with(&f, NGTCP2_PROTOCOL_VIOLATION);
  end(&f);
}

static void test_done_after_the_flight(void) {
  fixture f;
  begin(&f, 1, HOSTILE_SENT);
  send_frames(&f, HOSTILE_1RTT, done_frame(), 0);
  ended_with(&f, NGTCP2_PROTOCOL_VIOLATION);
  end(&f);
}

static void test_done_before_a_handshake_packet(void) {
  fixture f;
  begin(&f, 1, HOSTILE_SENT);
  hostile_frames ping = {0};
  HOSTILE_FRAME(&ping, 0x01);
  send_frames(&f, HOSTILE_1RTT, done_frame(), 0);
  send_frames(&f, HOSTILE_HANDSHAKE, &ping, 0);
  ended_with(&f, NGTCP2_PROTOCOL_VIOLATION);
  end(&f);
}

/* ---- one wrong frame ---- */

enum { TO_SERVER = 1, TO_CLIENT = 2, TO_BOTH = 3 };

#define NOTHING UINT64_MAX /* the connection goes on */
/* Stream IDs of which the lowest bit is that of the peer, and of the engine's side. */
#define THEIRS UINT64_C(0xf000000000000000)
#define OURS UINT64_C(0xe000000000000000)
#define HUGE (UINT64_C(1) << 61)
#define ZEROS8 0, 0, 0, 0, 0, 0, 0, 0
#define NEW_CID(seq, retire, len) 0x18, seq, retire, len, 9, 9, 9, 9, 9, 9, 9, (seq), ZEROS8, ZEROS8

typedef struct wrong {
  const char *what;
  int to;
  uint64_t code; /* of RFC 9000 20.1 */
  unsigned flags, n;
  uint64_t v[64]; /* the frames: integers, and bytes below 64 */
} wrong;

#define N(...)                                                                                                         \
  0, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), { __VA_ARGS__ }
#define PING(flags) (flags), 1, {1}

/* Stream 0 or 1 has sent "rec" and five bytes, stream 4 or 5 the same and FIN. */
static const wrong wrongs[] = {
    {"HANDSHAKE_DONE from a client", TO_SERVER, NGTCP2_PROTOCOL_VIOLATION, N(0x1e)},
    {"HANDSHAKE_DONE once more", TO_CLIENT, NOTHING, N(0x1e, 0x1e)},
    {"NEW_TOKEN from a client", TO_SERVER, NGTCP2_PROTOCOL_VIOLATION, N(0x07, 2, 1, 1)},
    {"NEW_TOKEN", TO_CLIENT, NOTHING, N(0x07, 2, 1, 1, 0x07, 2, 1, 1)},
    {"NEW_TOKEN that is empty", TO_CLIENT, NGTCP2_FRAME_ENCODING_ERROR, N(0x07, 0)},
    {"NEW_TOKEN beyond the packet", TO_CLIENT, NGTCP2_FRAME_ENCODING_ERROR, N(0x07, 50, 1)},
    {"CRYPTO far ahead", TO_BOTH, NGTCP2_CRYPTO_BUFFER_EXCEEDED, N(0x06, 1u << 20, 1, 0)},
    {"CRYPTO beyond all offsets", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(0x06, 2 * HUGE - 1, 1, 0)},
    {"ACK of what was never sent", TO_BOTH, NGTCP2_PROTOCOL_VIOLATION, N(0x02, 5000, 0, 0, 0)},
    {"ACK below zero", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(0x02, 0, 0, 0, 5)},
    {"ACK with more ranges than bytes", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(0x02, 0, 0, HUGE, 0)},
    {"STREAM beyond its limit", TO_BOTH, NGTCP2_FLOW_CONTROL_ERROR, N(0x0e, THEIRS, 1u << 24, 1, 0)},
    {"STREAM beyond all offsets", TO_BOTH, NGTCP2_FLOW_CONTROL_ERROR, N(0x0e, THEIRS, 2 * HUGE - 1, 1, 0)},
    {"STREAM of one too many", TO_BOTH, NGTCP2_STREAM_LIMIT_ERROR, N(0x0a, THEIRS + 4 * 1024, 1, 0)},
    {"STREAM of far too many", TO_BOTH, NGTCP2_STREAM_LIMIT_ERROR, N(0x0a, THEIRS + HUGE / 4, 1, 0)},
    {"STREAM of one that this side did not open", TO_BOTH, NGTCP2_STREAM_STATE_ERROR, N(0x0a, OURS + 40, 1, 0)},
    {"STREAM of one that only this side sends on", TO_BOTH, NGTCP2_STREAM_STATE_ERROR, N(0x0a, OURS + 2, 1, 0)},
    {"STREAM after its end", TO_BOTH, NGTCP2_FINAL_SIZE_ERROR, N(0x0e, THEIRS + 4, 20, 1, 0)},
    {"STREAM that ends earlier", TO_BOTH, NGTCP2_FINAL_SIZE_ERROR, N(0x0f, THEIRS + 4, 3, 0)},
    {"STREAM that ends before what came", TO_BOTH, NGTCP2_FINAL_SIZE_ERROR, N(0x0f, THEIRS, 3, 0)},
    {"RESET_STREAM of another size", TO_BOTH, NGTCP2_FINAL_SIZE_ERROR, N(0x04, THEIRS + 4, 1, 50)},
    {"RESET_STREAM below what came", TO_BOTH, NGTCP2_FINAL_SIZE_ERROR, N(0x04, THEIRS, 1, 2)},
    {"RESET_STREAM beyond the limit", TO_BOTH, NGTCP2_FLOW_CONTROL_ERROR, N(0x04, THEIRS, 1, 1u << 24)},
    /* ngtcp2 says this instead of STREAM_STATE_ERROR; it may (RFC 9000 11). */
    {"RESET_STREAM of one that only this side sends on", TO_BOTH, NGTCP2_PROTOCOL_VIOLATION, N(0x04, OURS + 2, 1, 0)},
    {"RESET_STREAM of one too many", TO_BOTH, NGTCP2_STREAM_LIMIT_ERROR, N(0x04, THEIRS + 4 * 1024, 1, 0)},
    {"STOP_SENDING where nothing is sent", TO_BOTH, NGTCP2_STREAM_STATE_ERROR, N(0x05, THEIRS + 2, 1)},
    {"STOP_SENDING of one that this side did not open", TO_BOTH, NGTCP2_STREAM_STATE_ERROR, N(0x05, OURS + 40, 1)},
    {"STOP_SENDING of one too many", TO_BOTH, NGTCP2_STREAM_LIMIT_ERROR, N(0x05, THEIRS + 4 * 1024, 1)},
    {"MAX_STREAM_DATA where nothing is sent", TO_BOTH, NGTCP2_STREAM_STATE_ERROR, N(0x11, THEIRS + 2, 1)},
    {"MAX_STREAM_DATA of one not opened", TO_BOTH, NGTCP2_STREAM_STATE_ERROR, N(0x11, OURS + 40, 1)},
    {"STREAM_DATA_BLOCKED where nothing is received", TO_BOTH, NGTCP2_STREAM_STATE_ERROR, N(0x15, OURS + 2, 1)},
    {"MAX_DATA and MAX_STREAM_DATA, less than before", TO_BOTH, NOTHING, N(0x10, 1, 0x11, THEIRS, 1)},
    {"MAX_STREAMS, all there are", TO_BOTH, NOTHING, N(0x12, HUGE / 2, 0x13, HUGE / 2)},
    {"MAX_STREAMS, more than there are", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(0x12, HUGE / 2 + 1)},
    {"MAX_STREAMS, more than there are", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(0x13, 2 * HUGE - 1)},
    {"STREAMS_BLOCKED beyond what there are", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(0x16, HUGE)},
    {"NEW_CONNECTION_ID, one and the same again", TO_BOTH, NOTHING, N(NEW_CID(1, 0, 8), NEW_CID(1, 0, 8))},
    {"NEW_CONNECTION_ID, one ID with two numbers", TO_BOTH, NGTCP2_PROTOCOL_VIOLATION,
     N(NEW_CID(1, 0, 8), 0x18, 2, 0, 8, 9, 9, 9, 9, 9, 9, 9, 1, ZEROS8, ZEROS8)},
    {"NEW_CONNECTION_ID, one number with two IDs", TO_BOTH, NGTCP2_PROTOCOL_VIOLATION,
     N(NEW_CID(1, 0, 8), 0x18, 1, 0, 8, 9, 9, 9, 9, 9, 9, 9, 2, ZEROS8, ZEROS8)},
    {"NEW_CONNECTION_ID retires what comes later", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(NEW_CID(1, 2, 8))},
    {"NEW_CONNECTION_ID without an ID", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(0x18, 1, 0, 0, ZEROS8, ZEROS8)},
    {"NEW_CONNECTION_ID that is too long", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(NEW_CID(1, 0, 21), ZEROS8)},
    {"RETIRE_CONNECTION_ID of none", TO_BOTH, NGTCP2_PROTOCOL_VIOLATION, N(0x19, 3000)},
    {"RETIRE_CONNECTION_ID of the packet's own", TO_BOTH, NGTCP2_PROTOCOL_VIOLATION, N(0x19, 0)},
    {"PATH_RESPONSE to nothing", TO_BOTH, NOTHING, N(0x1b, ZEROS8)},
    {"PATH_CHALLENGE, several", TO_BOTH, NOTHING, N(0x1a, ZEROS8, 0x1a, ZEROS8, 0x1a, ZEROS8)},
    {"CONNECTION_CLOSE with a reason beyond the packet", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(0x1d, 0, 50, 1)},
    {"a frame of no known type", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(0x21)},
    {"a frame of a type of two bytes", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(0x4021)},
    {"half a frame", TO_BOTH, NGTCP2_FRAME_ENCODING_ERROR, N(0x04, THEIRS)},
    {"no frame", TO_BOTH, NGTCP2_PROTOCOL_VIOLATION, 0, 0, {0}},
    {"reserved bits", TO_BOTH, NGTCP2_PROTOCOL_VIOLATION, PING(HOSTILE_RESERVED)},
    {"a packet number twice", TO_BOTH, NOTHING, PING(HOSTILE_PN_AGAIN)},
    {"packet number 0 once more", TO_BOTH, NOTHING, PING(HOSTILE_PN_BACK)},
    {"a packet number far ahead", TO_BOTH, NOTHING, PING(HOSTILE_PN_LEAP)},
    {"the other key phase without its keys", TO_BOTH, NOTHING, PING(HOSTILE_PHASE)},
    {"without the fixed bit", TO_BOTH, NOTHING, PING(HOSTILE_UNFIXED)},
    {"a wrong tag", TO_BOTH, NOTHING, PING(HOSTILE_BAD_TAG)},
};

static void open_streams(fixture *f, int server) {
  hostile_frames fr = {0};
  hostile_stream_frame(&fr, FROM_PEER(server), 0, "rec\0\x85hello", 10, 0);
  hostile_stream_frame(&fr, 4 + FROM_PEER(server), 0, "rec\0\x85hello", 10, 1);
  send_frames(f, HOSTILE_1RTT, &fr, 0);
  run(f, 20);
  CHECK(record_came(f, "hellohello"));
}

static void still_works(fixture *f, int server) {
  hostile_frames fr = {0};
  hostile_stream_frame(&fr, FROM_PEER(server), 10, "\x83yes", 4, 0);
  hostile_honest(f->p);
  hostile_send(f->p);
  send_frames(f, HOSTILE_1RTT, &fr, 0);
  run(f, 20);
  CHECK(record_came(f, "hellohelloyes"));
  CHECK_EQ(f->x->count[NQ_EV_CONN_CLOSE], 0);
}

static void test_wrong_frames(void) {
  for (size_t i = 0; i < 2 * sizeof wrongs / sizeof *wrongs; i++) {
    const wrong *w = &wrongs[i / 2];
    int server = i % 2 == 1, before = check_failed;
    if (!(w->to & (server ? TO_CLIENT : TO_SERVER)))
      continue;
    fixture f;
    begin(&f, server, HOSTILE_CONFIRMED);
    open_streams(&f, server);
    hostile_frames fr = {0};
    for (unsigned k = 0; k < w->n; k++) {
      uint64_t v = w->v[k], top = v >> 60;
      if (top >= 0xe)
        v = (v & (HUGE / 2 - 1)) | (top == 0xf ? FROM_PEER(server) : FROM_PEER(!server));
      HOSTILE_FRAME(&fr, v);
    }
    send_frames(&f, HOSTILE_1RTT, &fr, w->flags);
    if (w->code == NOTHING)
      still_works(&f, server);
    else
      ended_with(&f, w->code);
    end(&f);
    if (check_failed != before)
      fprintf(stderr, "  %s, to a %s\n", w->what, server ? "client" : "server");
  }
}

/* ---- at other levels and other times ---- */

static void raw_frame(hostile_frames *f, const void *bytes, size_t n) {
  f->len = 0;
  hostile_bytes(f, bytes, n);
}

/* Frames that Handshake packets cannot have (RFC 9000 12.4), to a client and to a server that waits for Finished. */
static void test_frames_in_handshake_packets(void) {
  static const struct {
    const char *bytes;
    size_t n;
    uint64_t code;
  } v[] = {
      {"\x0a\0\1x", 4, NGTCP2_PROTOCOL_VIOLATION},    /* STREAM */
      {"\x1e", 1, NGTCP2_PROTOCOL_VIOLATION},         /* HANDSHAKE_DONE */
      {"\x10\0", 2, NGTCP2_PROTOCOL_VIOLATION},       /* MAX_DATA */
      {"\x1d\0\0", 3, NGTCP2_PROTOCOL_VIOLATION},     /* CONNECTION_CLOSE of an application */
      {"\x30x", 2, NGTCP2_PROTOCOL_VIOLATION},        /* DATAGRAM */
      {"", 0, NGTCP2_PROTOCOL_VIOLATION},             /* none */
      {"\x21", 1, NGTCP2_FRAME_ENCODING_ERROR},       /* unknown */
      {"\x02\x32\0\0\0", 5, NGTCP2_PROTOCOL_VIOLATION}, /* ACK of what was never sent */
  };
  for (size_t i = 0; i < 2 * sizeof v / sizeof *v; i++) {
    fixture f;
    hostile_frames fr;
    int server = i % 2 == 1, before = check_failed;
    begin(&f, server, HOSTILE_FLIGHT);
    raw_frame(&fr, v[i / 2].bytes, v[i / 2].n);
    if (server) { /* the client has the keys once it has read ServerHello */
      hostile_honest(f.p);
      hostile_send(f.p);
    }
    send_frames(&f, HOSTILE_HANDSHAKE, &fr, 0);
    run(&f, 20);
    CHECK_EQ(f.x->count[NQ_EV_CONN_CLOSE], server); /* a server does not tell of connections that never opened */
    CHECK_EQ(f.p->close_code, v[i / 2].code);
    if (server)
      CHECK(f.x->why == NQ_WHY_TRANSPORT && f.x->code == v[i / 2].code && !f.x->remote);
    if (check_failed != before)
      fprintf(stderr, "  frame %zu, to a %s\n", i / 2, server ? "client" : "server");
    end(&f);
  }
}

/* Initial packets can be made by anyone on the path: what is wrong in them is dropped, and the handshake goes on. */
static void test_frames_in_initial_packets(void) {
  static const char *const frames[] = {"\x0a\0\1x", "\x1e", "\x1d\0\0", "\x21", "\x02\x32\0\0\0"};
  for (size_t i = 0; i < 2 * sizeof frames / sizeof *frames; i++) {
    fixture f;
    hostile_frames fr;
    int server = i % 2 == 1, before = check_failed;
    begin(&f, server, HOSTILE_FLIGHT);
    raw_frame(&fr, frames[i / 2], i / 2 == 0 ? 4 : i / 2 == 2 ? 3 : i / 2 == 4 ? 5 : 1);
    send_frames(&f, HOSTILE_INITIAL, &fr, HOSTILE_PAD);
    REQUIRE(hostile_shake(f.p, HOSTILE_CONFIRMED, tick, &f.w));
    run(&f, 20);
    CHECK_EQ(f.x->count[NQ_EV_CONN_OPEN], 1);
    CHECK_EQ(f.x->count[NQ_EV_CONN_CLOSE], 0);
    if (check_failed != before)
      fprintf(stderr, "  frame %zu, to a %s\n", i / 2, server ? "client" : "server");
    end(&f);
  }
}

/* CONNECTION_CLOSE at each level, and of the application where it may be. */
static void test_close_at_each_level(void) {
  static const struct {
    hostile_level level;
    hostile_point at;
    int app;
  } v[] = {{HOSTILE_INITIAL, HOSTILE_FLIGHT, 0},
           {HOSTILE_HANDSHAKE, HOSTILE_FLIGHT, 0},
           {HOSTILE_1RTT, HOSTILE_CONFIRMED, 0},
           {HOSTILE_1RTT, HOSTILE_CONFIRMED, 1}};
  for (size_t i = 0; i < 2 * sizeof v / sizeof *v; i++) {
    fixture f;
    int server = i % 2 == 1;
    begin(&f, server, v[i / 2].at);
    if (server && v[i / 2].level == HOSTILE_HANDSHAKE) { /* the client has the keys once it has read ServerHello */
      hostile_honest(f.p);
      hostile_send(f.p);
    }
    hostile_frames fr = {0};
    if (v[i / 2].app)
      HOSTILE_FRAME(&fr, 0x1d, 77, 0);
    else
      HOSTILE_FRAME(&fr, 0x1c, NGTCP2_CONNECTION_REFUSED, 0, 0);
    REQUIRE(hostile_packet(f.p, v[i / 2].level, &fr, v[i / 2].level == HOSTILE_INITIAL ? HOSTILE_PAD : 0));
    hostile_send(f.p);
    run(&f, 20);
    int told = server || v[i / 2].at == HOSTILE_CONFIRMED; /* a server is silent about who never got through */
    CHECK_EQ(f.x->count[NQ_EV_CONN_CLOSE], told);
    if (told) {
      CHECK_EQ(f.x->why, v[i / 2].app ? NQ_WHY_APP : NQ_WHY_TRANSPORT);
      CHECK_EQ(f.x->code, v[i / 2].app ? 77 : NGTCP2_CONNECTION_REFUSED);
      CHECK_EQ(f.x->remote, 1);
    }
    CHECK_EQ(f.p->seen[0x1c] + f.p->seen[0x1d], 0); /* it is not answered in kind */
    end(&f);
  }
}

/* RFC 9001 4.1.3 and 6: nothing comes in CRYPTO after the handshake but tickets, which a client ignores. */
static void test_crypto_after_the_handshake(void) {
  for (int server = 0; server < 2; server++) {
    fixture f;
    begin(&f, server, HOSTILE_CONFIRMED);
    open_streams(&f, server);
    hostile_frames fr = {0};
    HOSTILE_FRAME(&fr, 0x06, 0, 8, 4, 0, 0, 4, 1, 2, 3, 4);
    send_frames(&f, HOSTILE_1RTT, &fr, 0);
    if (server) {
      still_works(&f, server);
    } else {
      run(&f, 20);
      CHECK_EQ(f.x->why, NQ_WHY_TLS);
      CHECK_EQ(f.x->code, 0x100 + 10); /* unexpected_message */
      CHECK_EQ(f.p->close_code, 0x100 + 10);
    }
    end(&f);
  }
}

/* More connection IDs than wanted, and new ones that retire those before them, without end. */
static void test_connection_id_floods(void) {
  for (int i = 0; i < 4; i++) {
    fixture f;
    int server = i & 1, retire = i & 2;
    begin(&f, server, HOSTILE_CONFIRMED);
    for (uint64_t seq = 1; seq < 2000 && !f.x->count[NQ_EV_CONN_CLOSE]; seq++) {
      hostile_frames fr = {0};
      HOSTILE_FRAME(&fr, 0x18, seq, retire ? seq : 0, 8, 7, 7, 7, 7, 7, 7, seq / 64, seq % 64, ZEROS8, ZEROS8);
      fr.data[fr.len - 1] = (uint8_t)seq;
      fr.data[fr.len - 2] = (uint8_t)(seq >> 8);
      send_frames(&f, HOSTILE_1RTT, &fr, 0);
      if (seq % 16 == 0)
        run(&f, 2); /* its RETIRE_CONNECTION_ID frames are never acknowledged */
      CHECK(f.x->l->hub.endpoints[0]->resets.n <= 64);
    }
    ended_with(&f, NGTCP2_CONNECTION_ID_LIMIT_ERROR);
    end(&f);
  }
}

/* Packets that look like a stateless reset: with a token that is nobody's, and with one that was given. */
static void test_reset_lookalike(void) {
  for (int given = 0; given < 2; given++) {
    fixture f;
    begin(&f, 1, HOSTILE_CONFIRMED);
    open_streams(&f, 1);
    hostile_frames fr = {0};
    HOSTILE_FRAME(&fr, 0x18, 1, 1, 8, 9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8);
    send_frames(&f, HOSTILE_1RTT, &fr, 0);
    run(&f, 20); /* the client now uses this connection ID */
    uint8_t look[60] = {0x41};
    memcpy(look + 1, f.p->dcid.data, 8);
    for (size_t i = 9; i < sizeof look; i++)
      look[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < 16 && given; i++)
      look[sizeof look - 16 + i] = (uint8_t)(1 + i % 8);
    hostile_raw(f.p, look, sizeof look);
    hostile_send(f.p);
    if (given) {
      run(&f, 20);
      CHECK_EQ(f.x->count[NQ_EV_CONN_CLOSE], 1);
      CHECK_EQ(f.x->why, NQ_WHY_RESET);
    } else {
      still_works(&f, 1);
    }
    end(&f);
  }
}

/* Twenty key updates without waiting for an acknowledgement: the second cannot be read, and nothing breaks. */
static void test_key_updates_right_away(void) {
  for (int server = 0; server < 2; server++) {
    fixture f;
    begin(&f, server, HOSTILE_CONFIRMED);
    hostile_frames fr = {0};
    HOSTILE_FRAME(&fr, 0x01);
    for (int i = 0; i < 20; i++) {
      REQUIRE(hostile_update_keys(f.p));
      send_frames(&f, HOSTILE_1RTT, &fr, 0);
      if (i % 3 == 0)
        run(&f, 1);
    }
    run(&f, 20);
    CHECK(f.x->count[NQ_EV_CONN_CLOSE] == 0 || f.x->code == NGTCP2_KEY_UPDATE_ERROR);
    end(&f);
  }
}

int main(void) {
  ca = nq_test_make_ca("test CA");
  leaf = nq_test_make_leaf(ca, "localhost", NULL, 0);
  RUN(test_honest_client);
  RUN(test_honest_server);
  RUN(test_key_update);
  RUN(test_done_before_the_flight);
  RUN(test_done_in_the_flight);
  RUN(test_done_after_the_flight);
  RUN(test_done_before_a_handshake_packet);
  RUN(test_wrong_frames);
  RUN(test_frames_in_handshake_packets);
  RUN(test_frames_in_initial_packets);
  RUN(test_close_at_each_level);
  RUN(test_crypto_after_the_handshake);
  RUN(test_connection_id_floods);
  RUN(test_reset_lookalike);
  RUN(test_key_updates_right_away);
  nq_test_cert_free(leaf);
  nq_test_cert_free(ca);
  CHECK_DONE();
}
