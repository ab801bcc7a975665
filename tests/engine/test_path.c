/* test_path.c: what happens on the way: Retry and tokens, versions, stateless reset, datagrams, ping, migration. */
#include "certs.h"
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "quic/conn.h"
#include "world.h"

#define MS UINT64_C(1000000)

static void begin(sim_world *f) { sim_world_open(f, 61); }

static void call_works(sim_world *f) {
  nq_handle rpc = world_stream(&f->w, f->conn, NQ_KIND_RPC, "rpc");
  uint32_t n = f->w.c.count[NQ_EV_RPC_REPLY];
  CHECK(nq_rpc_call(f->w.c.l, rpc, 1, (const uint8_t *)"hello", 5, 0, NULL, NULL) >= 0);
  CHECK(world_until(&f->w, &f->w.c.count[NQ_EV_RPC_REPLY], n + 1, 2000));
  CHECK(f->w.c.n_kept >= 5 && memcmp(f->w.c.kept + f->w.c.n_kept - 5, "hello", 5) == 0);
}

/* ---- Retry ---- */

static void test_retry(void) {
  sim_world f;
  begin(&f);
  f.w.always_retry = 1;
  f.w.secret = "a secret";
  sim_world_listen(&f);
  sim_world_connect(&f);
  CHECK_EQ(world_stats(f.w.s.l).retries_sent, 1);
  CHECK_EQ(world_stats(f.w.s.l).accepted, 1);
  call_works(&f);
  /* The token of NEW_TOKEN spares the Retry of the next connection of the same object, also after a restart. */
  for (int i = 0; i < 2; i++) {
    nq_conn_close(f.w.c.l, f.conn, 0, "", 0, 0);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], (uint32_t)i + 1, 1000));
    if (i)
      sim_world_listen(&f);
    CHECK_EQ(nq_conn_reconnect(f.w.c.l, f.conn, 0, NULL), 0);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_OPEN], (uint32_t)i + 2, 1000));
    CHECK_EQ(world_stats(f.w.s.l).retries_sent, 1);
    call_works(&f);
  }
  f.w.secret = "another secret"; /* the token is nobody's now: Retry again, and it works */
  nq_conn_close(f.w.c.l, f.conn, 0, "", 0, 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 3, 1000));
  sim_world_listen(&f);
  CHECK_EQ(nq_conn_reconnect(f.w.c.l, f.conn, 0, NULL), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_OPEN], 4, 1000));
  CHECK_EQ(world_stats(f.w.s.l).retries_sent, 2);
  call_works(&f);
  sim_world_close(&f);
}

static void test_refused(void) {
  sim_world f;
  begin(&f);
  sim_world_connect(&f);
  nq_endpoint_refuse(f.w.s.l, f.w.s.ep);
  world_connect(&f.w, "localhost");
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 1000));
  CHECK_EQ(f.w.c.why, NQ_WHY_TRANSPORT);
  CHECK_EQ(f.w.c.code, NGTCP2_CONNECTION_REFUSED);
  CHECK(world_stats(f.w.s.l).refused >= 1);
  call_works(&f); /* who is in stays in */
  f.w.s.limits.max_connections = 2;
  sim_world_listen(&f);
  f.w.s.count[NQ_EV_CONN_OPEN] = f.w.c.count[NQ_EV_CONN_OPEN] = 0;
  sim_world_connect(&f);
  sim_world_connect(&f);
  uint32_t closed = f.w.c.count[NQ_EV_CONN_CLOSE];
  world_connect(&f.w, "localhost");
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], closed + 1, 1000));
  CHECK_EQ(f.w.c.code, NGTCP2_CONNECTION_REFUSED);
  nq_conn_close(f.w.c.l, f.conn, 0, "", 0, 0);
  world_run(&f.w, 100);
  sim_world_connect(&f); /* one has left */
  sim_world_close(&f);
}

/* ---- versions ---- */

static void test_versions(void) {
  static const uint32_t asked[] = {0, NGTCP2_PROTO_VER_V1, NGTCP2_PROTO_VER_V2};
  for (int i = 0; i < 3; i++) {
    sim_world f;
    begin(&f);
    f.w.version = asked[i];
    sim_world_connect(&f);
    nq_conn_info c, s;
    CHECK_EQ(nq_conn_get_info(f.w.c.l, f.conn, &c), 0);
    CHECK_EQ(nq_conn_get_info(f.w.s.l, f.w.s.conn, &s), 0);
    CHECK_EQ(c.version, s.version);
    CHECK(c.version == NGTCP2_PROTO_VER_V1 || c.version == NGTCP2_PROTO_VER_V2);
    if (asked[i] == NGTCP2_PROTO_VER_V2)
      CHECK_EQ(c.version, NGTCP2_PROTO_VER_V2);
    call_works(&f);
    sim_world_close(&f);
  }
  sim_world f;
  begin(&f);
  nq_connect_options o;
  memset(&o, 0, sizeof o);
  o.tls = f.w.ctls;
  o.limits = f.w.c.limits;
  o.version = 0x0a0a0a0a;
  nq_handle h;
  CHECK_EQ(nq_conn_connect(f.w.c.l, &o, &h), NQ_ERR_ARG);
  sim_world_close(&f);
}

/* A packet from somewhere else on the network; what comes back is read from `io`. */
static void inject(sim_world *f, nq_io *io, const uint8_t *p, size_t n) {
  nq_addr to;
  REQUIRE(nq_endpoint_address(f->w.s.l, f->w.s.ep, &to) == 0);
  uint8_t *room = io->ops->tx_room(io, n);
  REQUIRE(room != NULL);
  memcpy(room, p, n);
  io->ops->tx_push(io, n, n, &to, NULL, 0);
  world_run(&f->w, 2);
}

static void test_unknown_version(void) {
  sim_world f;
  begin(&f);
  nq_io *io = nq_sim_io(&f.net, 9, 999);
  uint8_t p[1300] = {0xc0, 0x0a, 0x1a, 0x2a, 0x3a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 9, 9, 7};
  const nq_datagram *v;
  inject(&f, io, p, 1199); /* too short to be answered */
  CHECK_EQ(io->ops->recv(io, &v), 0);
  inject(&f, io, p, 1200);
  REQUIRE(io->ops->recv(io, &v) == 1);
  CHECK(v[0].len > 20 && v[0].len < 100);
  CHECK(v[0].data[0] & 0x80);
  CHECK(memcmp(v[0].data + 1, "\0\0\0\0", 4) == 0);
  CHECK(memcmp(v[0].data + 5, "\x04\x09\x09\x09\x07\x08\x01\x02\x03\x04\x05\x06\x07\x08", 14) == 0); /* IDs swapped */
  int v1 = 0, v2 = 0;
  for (size_t i = 19; i + 4 <= v[0].len; i += 4) {
    v1 |= memcmp(v[0].data + i, "\0\0\0\1", 4) == 0;
    v2 |= memcmp(v[0].data + i, "\x6b\x33\x43\xcf", 4) == 0;
  }
  CHECK(v1 && v2);
  CHECK_EQ(world_stats(f.w.s.l).version_negotiations, 1);
  CHECK_EQ(world_stats(f.w.s.l).connections, 0);
  CHECK_EQ(world_stats(f.w.s.l).rx_dropped, 1);
  io->ops->close(io);
  sim_world_close(&f);
}

/* A server's answer to the client's first packet: Version Negotiation with these. The server itself comes back then. */
static void only_offers(sim_world *f, uint32_t asked, const uint32_t *sv, size_t nsv) {
  begin(f);
  nq_endpoint_close(f->w.s.l, f->w.s.ep);
  nq_io *io = nq_sim_io(&f->net, 1, 443);
  nq_connect_options o;
  memset(&o, 0, sizeof o);
  o.remote = io->local;
  o.endpoint = f->w.c.ep;
  o.tls = f->w.ctls;
  o.limits = f->w.c.limits;
  o.version = asked;
  o.server_name = "localhost";
  nq_handle h;
  REQUIRE(nq_conn_connect(f->w.c.l, &o, &h) == 0);
  nq_stream_options so = {.kind = NQ_KIND_RPC, .name = "rpc", .name_len = 3};
  nq_handle rpc;
  REQUIRE(nq_stream_open(f->w.c.l, h, &so, &rpc) == 0);
  REQUIRE(nq_rpc_call(f->w.c.l, rpc, 1, NULL, 0, 0, NULL, NULL) >= 0);
  world_run(&f->w, 3);
  const nq_datagram *v;
  REQUIRE(io->ops->recv(io, &v) >= 1);
  uint8_t dl = v[0].data[5], sl = v[0].data[6 + dl];
  uint8_t *room = io->ops->tx_room(io, 200);
  ngtcp2_ssize n =
      ngtcp2_pkt_write_version_negotiation(room, 200, 1, v[0].data + 7 + dl, sl, v[0].data + 6, dl, sv, nsv);
  REQUIRE(n > 0);
  io->ops->tx_push(io, (size_t)n, (size_t)n, v[0].remote, NULL, 0);
  io->ops->close(io);
  world_listen(&f->w);
  world_run(&f->w, 2000);
}

/* Version 2 is offered alone, and tried. That the server does speak version 1, the client learns by the handshake: the
 * packet was forged, and nothing of the connection stands (RFC 9368 4). */
static void test_forged_version_negotiation(void) {
  static const uint32_t v2[] = {0x1a2a3a4a, NGTCP2_PROTO_VER_V2};
  sim_world f;
  only_offers(&f, 0, v2, 2);
  CHECK_EQ(world_stats(f.w.s.l).accepted, 1);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_OPEN], 0);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 1);
  CHECK_EQ(f.w.c.why, NQ_WHY_TRANSPORT);
  CHECK_EQ(f.w.c.code, NGTCP2_VERSION_NEGOTIATION_ERROR);
  CHECK_EQ(f.w.c.gone, 1);
  sim_world_close(&f);
}

/* Who asked for a version by name gets no other. */
static void test_version_by_name(void) {
  static const uint32_t v2[] = {NGTCP2_PROTO_VER_V2};
  sim_world f;
  only_offers(&f, NGTCP2_PROTO_VER_V1, v2, 1);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 1);
  CHECK_EQ(f.w.c.why, NQ_WHY_VERSION);
  sim_world_close(&f);
}

/* A packet that names the version which the client began with is left out (RFC 9000 6.2). */
static void test_version_negotiation_with_what_was_asked(void) {
  static const uint32_t both[] = {NGTCP2_PROTO_VER_V2, NGTCP2_PROTO_VER_V1};
  sim_world f;
  only_offers(&f, 0, both, 2);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_OPEN], 1);
  CHECK_EQ(f.w.c.count[NQ_EV_RPC_REPLY], 1);
  CHECK_EQ(f.w.c.gone, 0);
  sim_world_close(&f);
}

/* A client that hears only of versions it does not speak. */
static void test_no_common_version(void) {
  sim_world f;
  begin(&f);
  nq_endpoint_close(f.w.s.l, f.w.s.ep);
  nq_io *io = nq_sim_io(&f.net, 1, 443);
  nq_connect_options o;
  memset(&o, 0, sizeof o);
  o.remote = io->local;
  o.endpoint = f.w.c.ep;
  o.tls = f.w.ctls;
  o.limits = f.w.c.limits;
  nq_handle h;
  CHECK_EQ(nq_conn_connect(f.w.c.l, &o, &h), NQ_ERR_ARG); /* no name to verify */
  o.server_name = "localhost";
  REQUIRE(nq_conn_connect(f.w.c.l, &o, &h) == 0);
  world_run(&f.w, 3);
  const nq_datagram *v;
  REQUIRE(io->ops->recv(io, &v) >= 1);
  uint8_t dl = v[0].data[5], sl = v[0].data[6 + dl];
  uint32_t sv[] = {0x1a2a3a4a, 0xff00001d};
  uint8_t *room = io->ops->tx_room(io, 200);
  ngtcp2_ssize n = ngtcp2_pkt_write_version_negotiation(room, 200, 1, v[0].data + 7 + dl, sl, v[0].data + 6, dl, sv, 2);
  REQUIRE(n > 0);
  io->ops->tx_push(io, (size_t)n, (size_t)n, v[0].remote, NULL, 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 1000));
  CHECK_EQ(f.w.c.why, NQ_WHY_VERSION);
  io->ops->close(io);
  sim_world_close(&f);
}

/* ---- stateless reset ---- */

/* The server is killed, and started again: its port is closed without a word. */
static void restart(sim_world *f) {
  f->net.cut = 1;
  nq_endpoint_close(f->w.s.l, f->w.s.ep);
  f->net.cut = 0;
  world_listen(&f->w);
}

enum { SAME_SECRET, SAME_KEY, OTHER_SECRET, OTHER_KEY, RESTARTS };

static void test_restart(void) {
  for (int kind = 0; kind < RESTARTS; kind++) {
    sim_world f;
    begin(&f);
    int same = kind == SAME_SECRET || kind == SAME_KEY;
    f.w.secret = kind == SAME_SECRET || kind == OTHER_SECRET ? "kept over the restart" : NULL;
    sim_world_listen(&f);
    sim_world_connect(&f);
    world_run(&f.w, 100);
    if (kind == OTHER_SECRET)
      f.w.secret = "not kept";
    if (kind == OTHER_KEY) {
      nq_test_cert *ca = nq_test_make_ca("test CA"), *leaf = nq_test_make_leaf(ca, "localhost", "127.0.0.1", 0);
      nq_tls_unref(f.w.stls);
      f.w.stls = world_tls(ca, leaf);
      nq_test_cert_free(leaf);
      nq_test_cert_free(ca);
    }
    restart(&f);
    nq_handle rpc = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
    uint8_t p[100] = {0}; /* a packet worth an answer */
    CHECK(nq_rpc_call(f.w.c.l, rpc, 1, p, sizeof p, 0, NULL, NULL) >= 0);
    CHECK_EQ(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 3000), same);
    CHECK(world_stats(f.w.s.l).resets_sent >= 1);
    if (same) {
      CHECK_EQ(f.w.c.why, NQ_WHY_RESET);
      CHECK(f.w.c.remote);
      CHECK_EQ(f.w.c.gone, 1);
      CHECK(strlen(f.w.c.reason) > 0);
      f.w.s.count[NQ_EV_CONN_OPEN] = 0;
      CHECK_EQ(nq_conn_reconnect(f.w.c.l, f.conn, 0, NULL), 0);
      CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_CONN_OPEN], 1, 3000));
      call_works(&f);
    }
    sim_world_close(&f);
  }
}

/* ---- datagrams ---- */

static int size_of_datagrams(side *x, const nq_event *e) {
  uint64_t *sizes = x->hook_ctx;
  if (e->kind == NQ_EV_DATAGRAM) {
    for (size_t i = 0; i < e->len; i++)
      sizes[1] += e->data[i] != (uint8_t)(e->len + i);
    sizes[0] += e->len;
  }
  return e->kind == NQ_EV_DATAGRAM;
}

static void test_datagrams(void) {
  sim_world f;
  begin(&f);
  sim_world_connect(&f);
  uint64_t sizes[2] = {0};
  f.w.s.hook = size_of_datagrams;
  f.w.s.hook_ctx = sizes;
  size_t max = nq_conn_max_datagram(f.w.c.l, f.conn);
  CHECK(max >= 1150 && max < 1452);
  uint8_t p[2000];
  uint64_t total = 0;
  uint32_t n = 0;
  for (size_t len = 0; len <= max; len += len < 5 || len + 7 > max ? 1 : 7) {
    for (size_t i = 0; i < len; i++)
      p[i] = (uint8_t)(len + i);
    CHECK_EQ(nq_conn_send_datagram(f.w.c.l, f.conn, p, len), 0);
    total += len;
    n++;
    if (n % 50 == 0)
      world_run(&f.w, 20);
  }
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_DATAGRAM], n, 1000));
  CHECK_EQ(sizes[0], total);
  CHECK_EQ(sizes[1], 0);
  max = nq_conn_max_datagram(f.w.c.l, f.conn); /* the path may have been found to carry more */
  CHECK_EQ(nq_conn_send_datagram(f.w.c.l, f.conn, p, max + 1), NQ_ERR_TOOBIG);
  /* A full queue drops its oldest, and says so. */
  uint32_t before = f.w.s.count[NQ_EV_DATAGRAM];
  f.w.s.hook = NULL;
  for (uint32_t i = 0; i < 300; i++)
    CHECK_EQ(nq_conn_send_datagram(f.w.c.l, f.conn, (uint8_t *)&i, 4), i >= 256);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_DATAGRAM], before + 256, 1000));
  world_run(&f.w, 50);
  CHECK_EQ(f.w.s.count[NQ_EV_DATAGRAM], before + 256);
  uint32_t first;
  memcpy(&first, f.w.s.kept, 4);
  CHECK_EQ(first, 300 - 256);
  /* Left in the queue when the connection ends. */
  nq_conn_send_datagram(f.w.c.l, f.conn, p, 100);
  nq_conn_close(f.w.c.l, f.conn, 0, "", 0, 1);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 100));
  CHECK_EQ(nq_conn_send_datagram(f.w.c.l, f.conn, p, 100), NQ_ERR_STATE);
  sim_world_close(&f);
}

static void test_datagrams_refused(void) {
  sim_world f;
  begin(&f);
  f.w.s.limits.max_datagram_size = 0;
  sim_world_listen(&f);
  sim_world_connect(&f);
  CHECK_EQ(nq_conn_max_datagram(f.w.c.l, f.conn), 0);
  CHECK_EQ(nq_conn_send_datagram(f.w.c.l, f.conn, (const uint8_t *)"x", 1), NQ_ERR_TOOBIG);
  CHECK(nq_conn_max_datagram(f.w.s.l, f.w.s.conn) > 1000);
  CHECK_EQ(nq_conn_send_datagram(f.w.s.l, f.w.s.conn, (const uint8_t *)"x", 1), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_DATAGRAM], 1, 100));
  sim_world_close(&f);
}

/* ---- ping ---- */

static void test_ping(void) {
  sim_world f;
  begin(&f);
  f.net.delay = 30 * MS;
  f.conn = world_connect(&f.w, "localhost");
  CHECK_EQ(nq_conn_ping(f.w.c.l, f.conn), NQ_ERR_STATE);
  CHECK_EQ(nq_conn_ping(f.w.c.l, 99), NQ_ERR_STALE);
  REQUIRE(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  world_run(&f.w, 1000);
  for (uint32_t i = 1; i <= 5; i++) { /* on a silent connection */
    uint64_t sent = f.net.sent;
    CHECK_EQ(nq_conn_ping(f.w.c.l, f.conn), 0);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_PONG], i, 200));
    CHECK(f.w.c.rtt >= 60 * MS && f.w.c.rtt <= 90 * MS); /* with max_ack_delay */
    CHECK(f.net.sent - sent <= 3);
    world_run(&f.w, 300);
  }
  CHECK_EQ(f.w.c.count[NQ_EV_PONG], 5);
  CHECK_EQ(nq_conn_ping(f.w.s.l, f.w.s.conn), 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_PONG], 1, 200));
  CHECK(f.w.s.rtt >= 60 * MS && f.w.s.rtt <= 90 * MS);
  /* A lost one is asked again; two at once share an answer. */
  f.net.cut = 1;
  CHECK_EQ(nq_conn_ping(f.w.c.l, f.conn), 0);
  CHECK_EQ(nq_conn_ping(f.w.c.l, f.conn), 0);
  world_run(&f.w, 20);
  f.net.cut = 0;
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_PONG], 6, 2000));
  CHECK(f.w.c.rtt > 100 * MS);
  /* With traffic all the time: never sooner than the path allows. */
  nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
  for (uint32_t i = 0; i < 200; i++) {
    nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1);
    if (i % 20 == 0)
      CHECK_EQ(nq_conn_ping(f.w.c.l, f.conn), 0);
    world_run(&f.w, 5);
    if (f.w.c.count[NQ_EV_PONG] > 6)
      CHECK(f.w.c.rtt >= 60 * MS && f.w.c.rtt <= 100 * MS);
  }
  CHECK(f.w.c.count[NQ_EV_PONG] >= 15);
  sim_world_close(&f);
}

/* ---- migration, over real sockets ---- */

static uint8_t byte_at(uint64_t i) { return (uint8_t)((i * 2654435761u) >> 13); }

static int raw_run(side *x, const nq_event *e) {
  uint64_t *t = x->hook_ctx;
  if (e->kind != NQ_EV_STREAM_DATA)
    return 0;
  for (size_t i = 0; i < e->len; i++)
    t[1] += e->data[i] != byte_at(t[0] + i);
  t[0] += e->len;
  return 1;
}

static void test_migrate(void) {
  world w;
  world_open(&w, NULL);
  nq_handle conn = world_connect(&w, "localhost");
  CHECK_EQ(nq_conn_migrate(w.c.l, conn), NQ_ERR_STATE);
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  REQUIRE(world_until(&w, &w.s.count[NQ_EV_CONN_OPEN], 1, 5000));
  world_run(&w, 20);
  uint64_t t[2] = {0}, sent = 0;
  w.s.hook = raw_run;
  w.s.hook_ctx = t;
  nq_handle s = world_stream(&w, conn, NQ_KIND_RAW, "raw"), rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  static uint8_t p[50000];
  uint32_t calls = 0, migrated = 0;
  for (uint32_t i = 0; i < 400; i++) {
    for (size_t k = 0; k < sizeof p; k++)
      p[k] = byte_at(sent + k);
    if (nq_stream_queued(w.c.l, s) < 1000000) {
      CHECK(nq_stream_send(w.c.l, s, p, sizeof p) >= 0);
      sent += sizeof p;
    }
    CHECK(nq_rpc_call(w.c.l, rpc, 1, (uint8_t *)&i, 4, NQ_SEC(60), NULL, NULL) >= 0);
    calls++;
    world_tick(&w, 0);
    if (i % 20 == 10) {
      int fd = nq_conn_fd(w.c.l, conn), rv = nq_conn_migrate(w.c.l, conn);
      for (int k = 0; k < 200 && rv == NQ_ERR_STATE; k++) { /* the peer's spare connection IDs are on their way */
        world_tick(&w, 1000000);
        rv = nq_conn_migrate(w.c.l, conn);
      }
      CHECK_EQ(rv, 0);
      migrated++;
      CHECK(nq_conn_fd(w.c.l, conn) != fd);
    }
  }
  nq_stream_finish(w.c.l, s);
  CHECK(world_until(&w, &w.s.count[NQ_EV_STREAM_FIN], 1, 30000));
  CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], calls, 30000));
  CHECK_EQ(t[0], sent);
  CHECK_EQ(t[1], 0);
  CHECK_EQ(w.c.n_kept, 4 * calls);
  for (uint32_t i = 0; i < calls && w.c.n_kept == 4 * calls; i++)
    CHECK(memcmp(w.c.kept + 4 * i, &i, 4) == 0);
  CHECK_EQ(migrated, 20);
  CHECK(w.c.l->hub.n_endpoints <= 4); /* the sockets left behind are closed, and their places used again */
  nq_conn_info info;
  CHECK_EQ(nq_conn_get_info(w.s.l, w.s.conn, &info), 0);
  CHECK_EQ(nq_conn_close(w.c.l, conn, 0, "", 0, 0), 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_CONN_CLOSE], 1, 5000));
  uint32_t open = 0; /* of the sockets that were left, until they close */
  for (int waits = 0; waits < 5000 && (open != 1 || w.s.l->hub.endpoints[0]->resets.n); waits++) {
    world_tick(&w, 1000000);
    open = 0;
    for (uint32_t i = 0; i < w.c.l->hub.n_endpoints; i++)
      open += w.c.l->hub.endpoints[i] != NULL;
  }
  CHECK_EQ(open, 1);
  CHECK_EQ(w.c.l->hub.endpoints[0]->resets.n, 0);
  CHECK_EQ(w.s.l->hub.endpoints[0]->resets.n, 0);
  CHECK_EQ(nq_conn_reconnect(w.c.l, conn, 0, NULL), 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 2, 5000));
  world_close(&w);
}

int main(void) {
  RUN(test_retry);
  RUN(test_refused);
  RUN(test_versions);
  RUN(test_unknown_version);
  RUN(test_forged_version_negotiation);
  RUN(test_version_by_name);
  RUN(test_version_negotiation_with_what_was_asked);
  RUN(test_no_common_version);
  RUN(test_restart);
  RUN(test_datagrams);
  RUN(test_datagrams_refused);
  RUN(test_ping);
  RUN(test_migrate);
  CHECK_DONE();
}
