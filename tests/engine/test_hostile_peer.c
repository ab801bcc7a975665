/* test_hostile_peer.c: a peer that has the keys and breaks the protocol: each violation ends the connection with the
 * error that RFC 9000 names, or does nothing; never in a crash, and all is freed. */
#include "check.h"
#include "conn.h"
#include "hostile_peer.h"
#include "world.h"

#define MS UINT64_C(1000000)
#define FROM_PEER(server) ((server) ? 1u : 0u) /* the lowest bit of a stream ID that the peer opens */

typedef struct fixture {
  sim net;
  world w;
  side *x; /* the engine's side */
  SSL_CTX *ctx;
  hostile *p;
  nq_handle conn;
} fixture;

static nq_test_cert *ca, *leaf;

static void tick(void *ctx) { world_tick(ctx, MS); }

static void begin(fixture *f, int hostile_server, hostile_point until) {
  memset(f, 0, sizeof *f);
  sim_init(&f->net, 7);
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
    world_run(&f->w, 20);
    hostile_read(f->p);
    CHECK_EQ(f->x->count[NQ_EV_CONN_OPEN], 1);
    CHECK_EQ(f->x->count[NQ_EV_CONN_CLOSE], 0);
  }
}

static void run(fixture *f, int ms) {
  world_run(&f->w, ms);
  hostile_read(f->p);
}

/* Nothing is left, however it ended. */
static void end(fixture *f) {
  nq_loop_stats s;
  if (f->conn)
    CHECK_EQ(nq_conn_free(f->w.c.l, f->conn), 0);
  world_run(&f->w, 60000);
  nq_loop_get_stats(f->x->l, &s);
  CHECK_EQ(s.connections, 0);
  CHECK_EQ(s.streams, 0);
  CHECK_EQ(s.pending_calls, 0);
  CHECK_EQ(f->x->l->endpoints[0]->half_open, 0);
  CHECK_EQ(f->x->l->endpoints[0]->routes.n, 0);
  CHECK_EQ(f->x->l->endpoints[0]->resets.n, 0);
  hostile_free(f->p);
  SSL_CTX_free(f->ctx);
  world_close(&f->w);
  sim_free(&f->net);
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
  nq_test_cert_free(leaf);
  nq_test_cert_free(ca);
  CHECK_DONE();
}
