/* test_conn.c: how connections begin and end: what fails in the handshake, idling, closing in every state, freeing in
 * every state, reconnecting. test_path.c has what happens on the way. */
#include "certs.h"
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "quic/endpoint.h"
#include "world.h"

#define MS UINT64_C(1000000)

static void begin(sim_world *f) { sim_world_open(f, 51); }

static void begin_open(sim_world *f) {
  begin(f);
  sim_world_connect(f);
}

/* ---- handshakes that fail ---- */

static void test_no_server(void) {
  sim_world f;
  begin(&f);
  f.net.cut = 1;
  f.w.c.limits.handshake_timeout = 700 * MS;
  uint64_t start = f.net.now;
  world_connect(&f.w, "localhost");
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 5000));
  CHECK_EQ(f.w.c.why, NQ_WHY_HANDSHAKE_TIMEOUT);
  CHECK(f.net.now - start >= 700 * MS && f.net.now - start < 710 * MS);
  CHECK(side_order_is(&f.w.c, "C"));
  CHECK_EQ(world_stats(f.w.s.l).connections, 0);
  sim_world_close(&f);
}

/* The server's side of a handshake that the client gave up ends too, and nobody hears of it. */
static void test_half_open_ends(void) {
  sim_world f;
  begin(&f);
  f.w.s.limits.handshake_timeout = 500 * MS;
  nq_endpoint_close(f.w.s.l, f.w.s.ep);
  world_listen(&f.w);
  nq_handle c = world_connect(&f.w, "localhost");
  world_run(&f.w, 1); /* the first flight is there, the answer is on its way */
  nq_conn_close(f.w.c.l, c, 0, "", 0, 1);
  f.net.cut = 1;
  world_tick(&f.w, 1);
  CHECK_EQ(world_stats(f.w.s.l).connections, 1);
  world_run(&f.w, 1000);
  CHECK_EQ(world_stats(f.w.s.l).connections, 0);
  CHECK_EQ(f.w.s.count[NQ_EV_CONN_OPEN] + f.w.s.count[NQ_EV_CONN_CLOSE] + f.w.s.count[NQ_EV_CONN_FREED], 0);
  sim_world_close(&f);
}

static void fails(const char *name, int days, int trusted, unsigned alert) {
  sim_world f;
  begin(&f);
  nq_test_cert *ca = nq_test_make_ca("another CA"), *leaf = nq_test_make_leaf(ca, "localhost", NULL, days);
  nq_tls_unref(f.w.stls);
  f.w.stls = world_tls(ca, leaf);
  if (trusted) {
    nq_tls_unref(f.w.ctls);
    f.w.ctls = world_tls(ca, NULL);
  }
  nq_test_cert_free(ca);
  nq_test_cert_free(leaf);
  nq_endpoint_close(f.w.s.l, f.w.s.ep);
  world_listen(&f.w);
  world_connect(&f.w, name);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 2000));
  CHECK_EQ(f.w.c.why, NQ_WHY_TLS);
  CHECK_EQ(f.w.c.code, 0x100 + alert);
  CHECK(!f.w.c.remote);
  CHECK(strlen(f.w.c.reason) > 10);
  CHECK(side_order_is(&f.w.c, "C"));
  world_run(&f.w, 100);
  CHECK_EQ(f.w.s.count[NQ_EV_CONN_OPEN], 0);
  CHECK_EQ(world_stats(f.w.s.l).connections, 0); /* the alert told the server */
  CHECK_EQ(world_stats(f.w.s.l).handshakes, 0);
  CHECK_EQ(f.w.s.count[NQ_EV_HANDSHAKE_FAILED], 1);
  CHECK_EQ(world_stats(f.w.s.l).handshakes_failed_tls, 1);
  CHECK_EQ(world_stats(f.w.c.l).handshakes_failed_tls, 1);
  sim_world_close(&f);
}

static void test_certificates(void) {
  fails("localhost", 0, 0, 48);      /* unknown_ca */
  fails("example.org", 0, 1, 42);    /* bad_certificate: the name */
  fails("localhost", -60, 1, 45);    /* certificate_expired */
}

/* ---- idling ---- */

static void test_idle(void) {
  sim_world f;
  begin(&f);
  f.w.c.limits.idle_timeout = 2000 * MS;
  f.conn = world_connect(&f.w, "localhost");
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_CONN_OPEN], 1, 1000));
  world_run(&f.w, 500);
  uint64_t start = f.net.now;
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 5000));
  CHECK(f.net.now - start > 1000 * MS && f.net.now - start < 2100 * MS);
  CHECK_EQ(f.w.c.why, NQ_WHY_IDLE);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_CONN_CLOSE], 1, 1000)); /* the smaller of both */
  CHECK_EQ(f.w.s.why, NQ_WHY_IDLE);
  sim_world_close(&f);
}

static void test_keep_alive(void) {
  sim_world f;
  begin(&f);
  f.w.c.limits.idle_timeout = 2000 * MS;
  f.w.c.limits.keep_alive = 500 * MS;
  f.conn = world_connect(&f.w, "localhost");
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_CONN_OPEN], 1, 1000));
  world_run(&f.w, 10000);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 0);
  f.net.cut = 1; /* nobody there any more */
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 5000));
  CHECK_EQ(f.w.c.why, NQ_WHY_IDLE);
  sim_world_close(&f);
}

/* ---- closing ---- */

static void test_close_from(int server, int now) {
  sim_world f;
  begin_open(&f);
  side *a = server ? &f.w.s : &f.w.c, *b = server ? &f.w.c : &f.w.s;
  nq_handle h = server ? f.w.s.conn : f.conn;
  CHECK_EQ(nq_conn_close(a->l, h, UINT64_C(1) << 62, "", 0, now), NQ_ERR_ARG);
  CHECK_EQ(nq_conn_close(a->l, h, 4242, "good bye", 8, now), 0);
  CHECK_EQ(nq_conn_close(a->l, h, 1, "again", 5, now), 0);
  nq_stream_options o = {.kind = NQ_KIND_RAW};
  nq_handle s;
  CHECK_EQ(nq_stream_open(a->l, h, &o, &s), NQ_ERR_STATE);
  CHECK(world_until(&f.w, &b->count[NQ_EV_CONN_CLOSE], 1, 1000));
  CHECK_EQ(a->count[NQ_EV_CONN_CLOSE], 1);
  CHECK_EQ(a->why, NQ_WHY_APP);
  CHECK_EQ(a->code, 4242);
  CHECK(strcmp(a->reason, "good bye") == 0);
  CHECK(!a->remote);
  CHECK_EQ(b->why, NQ_WHY_APP);
  CHECK_EQ(b->code, 4242);
  CHECK(strcmp(b->reason, "good bye") == 0);
  CHECK(b->remote);
  world_run(&f.w, 500);
  CHECK(side_order_is(&f.w.s, "OCF"));
  CHECK(side_order_is(&f.w.c, "OC"));
  CHECK(!nq_conn_alive(f.w.s.l, f.w.s.conn));
  CHECK(nq_conn_alive(f.w.c.l, f.conn));
  CHECK_EQ(nq_conn_free(f.w.c.l, f.conn), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_FREED], 1, 100));
  world_run(&f.w, 1);
  CHECK(!nq_conn_alive(f.w.c.l, f.conn));
  CHECK_EQ(world_stats(f.w.c.l).connections, 0);
  CHECK_EQ(world_stats(f.w.s.l).connections, 0);
  sim_world_close(&f);
}

static void test_close(void) {
  for (int i = 0; i < 4; i++)
    test_close_from(i & 1, i >> 1);
}

/* Everything queued arrives before the close does, whichever side closes. */
static void test_close_flushes(void) {
  static uint8_t p[4u << 20];
  for (int server = 0; server < 2; server++) {
    sim_world f;
    begin_open(&f);
    f.w.s.echo = 0;
    nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
    nq_stream_send(f.w.c.l, s, p, 1);
    CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_RECORD], 1, 1000));
    side *a = server ? &f.w.s : &f.w.c, *b = server ? &f.w.c : &f.w.s;
    nq_handle h = server ? f.w.s.conn : f.conn, sa = server ? f.w.s.stream : s;
    CHECK(nq_stream_send(a->l, sa, p, sizeof p) >= 0);
    CHECK(nq_stream_send(a->l, sa, p, 77) >= 0);
    CHECK_EQ(nq_conn_close(a->l, h, 6, "", 0, 0), 0);
    CHECK_EQ(nq_stream_send(a->l, sa, p, 1), NQ_ERR_STATE);
    uint64_t before = b->bytes;
    CHECK(world_until(&f.w, &b->count[NQ_EV_CONN_CLOSE], 1, 20000));
    CHECK_EQ(b->bytes - before, sizeof p + 77);
    CHECK_EQ(b->code, 6);
    CHECK_EQ(b->count[NQ_EV_STREAM_CLOSE], 1);
    CHECK_EQ(a->count[NQ_EV_STREAM_CLOSE], 1);
    world_run(&f.w, 50);
    CHECK_EQ(world_stats(a->l).send_buffer_bytes, 0);
    sim_world_close(&f);
  }
}

/* The other side does not read: after shutdown_timeout it is closed all the same. */
static void test_close_gives_up(void) {
  static uint8_t p[6u << 20];
  for (int now = 0; now < 2; now++) {
    sim_world f;
    begin(&f);
    f.w.c.limits.shutdown_timeout = 800 * MS;
    f.conn = world_connect(&f.w, "localhost");
    f.w.s.echo = 0;
    nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
    nq_stream_send(f.w.c.l, s, p, 1);
    CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_RECORD], 1, 1000));
    nq_stream_pause(f.w.s.l, f.w.s.stream);
    nq_stream_send(f.w.c.l, s, p, sizeof p);
    world_run(&f.w, 100);
    uint64_t start = f.net.now;
    CHECK_EQ(nq_conn_close(f.w.c.l, f.conn, 6, "", 0, 0), 0);
    if (now) { /* on second thoughts */
      world_run(&f.w, 100);
      CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 0);
      CHECK_EQ(nq_conn_close(f.w.c.l, f.conn, 6, "", 0, 1), 0);
    }
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 5000));
    uint64_t took = f.net.now - start;
    CHECK(now ? took < 110 * MS : took >= 800 * MS && took < 810 * MS);
    CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_CONN_CLOSE], 1, 100));
    sim_world_close(&f);
  }
}

static void test_close_before_handshake(void) {
  for (int when = 0; when < 3; when++) {
    sim_world f;
    begin(&f);
    nq_handle c = world_connect(&f.w, "localhost");
    nq_handle s = world_stream(&f.w, c, NQ_KIND_RECORD, "rec");
    nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1);
    if (when)
      world_run(&f.w, when);
    nq_conn_close(f.w.c.l, c, 9, "never mind", 10, 0);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 100));
    CHECK_EQ(f.w.c.why, NQ_WHY_APP);
    CHECK_EQ(f.w.c.code, 9);
    world_run(&f.w, 200);
    CHECK_EQ(world_stats(f.w.s.l).connections, 0);
    CHECK_EQ(world_stats(f.w.c.l).streams, 0);
    CHECK_EQ(f.w.s.count[NQ_EV_CONN_OPEN], f.w.s.count[NQ_EV_CONN_FREED]);
    sim_world_close(&f);
  }
}

/* Both close at once. */
static void test_close_both(void) {
  sim_world f;
  begin_open(&f);
  nq_conn_close(f.w.c.l, f.conn, 1, "c", 1, 0);
  nq_conn_close(f.w.s.l, f.w.s.conn, 2, "s", 1, 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_CONN_FREED], 1, 1000));
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 1000));
  world_run(&f.w, 500);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 1);
  CHECK_EQ(f.w.s.count[NQ_EV_CONN_CLOSE], 1);
  CHECK_EQ(f.w.c.code, 1);
  CHECK_EQ(f.w.s.code, 2);
  sim_world_close(&f);
}

static int endpoint_closing(const nq_loop *l) { return l->hub.endpoints[0]->closing != NULL; }

/* The CONNECTION_CLOSE is lost: packets of the other side are answered with it, ever more rarely. */
static void test_closing_answers_back_off(void) {
  sim_world f;
  begin_open(&f);
  f.w.s.echo = 0;
  nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
  nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1);
  world_run(&f.w, 100);
  f.net.cut_to = nq_sim_address(2, 0); /* the client hears nothing */
  nq_conn_close(f.w.s.l, f.w.s.conn, 3, "", 0, 1);
  world_run(&f.w, 5);
  CHECK_EQ(f.w.s.count[NQ_EV_CONN_CLOSE], 1);
  CHECK_EQ(f.net.lost, 1);
  uint64_t sent = f.net.sent;
  for (int i = 0; i < 10; i++) {
    nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1);
    world_run(&f.w, 2); /* within three PTOs */
  }
  uint64_t answers = f.net.lost - 1, packets = f.net.sent - sent - answers;
  CHECK(packets >= 10 && packets < 32);
  CHECK(answers >= 4 && answers <= 5); /* packets 1, 2, 4, 8, 16 */
  f.net.cut_to = (nq_addr){.len = 0};
  for (int i = 0; i < 20; i++)
    nq_conn_ping(f.w.c.l, f.conn), nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1), world_run(&f.w, 1);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 1000));
  CHECK(f.w.c.why == NQ_WHY_APP ? f.w.c.code == 3 : f.w.c.why == NQ_WHY_RESET);
  world_run(&f.w, 1000);
  CHECK(!endpoint_closing(f.w.s.l)); /* forgotten after three PTOs */
  sim_world_close(&f);
}

/* ---- freeing and reconnecting ---- */

static int touch_handles(side *x, const nq_event *e) {
  if (e->kind == NQ_EV_CONN_CLOSE || e->kind == NQ_EV_CONN_FREED) {
    CHECK(nq_conn_alive(x->l, e->handle));
    CHECK(nq_conn_user(x->l, e->handle) == e->user);
    CHECK_EQ(nq_conn_free(x->l, e->handle), 0);
  }
  return 0;
}

static void test_free_in_every_state(void) {
  for (int state = 0; state < 8; state++) {
    sim_world f;
    begin(&f);
    f.w.c.hook = touch_handles;
    nq_connect_options o;
    memset(&o, 0, sizeof o);
    o.endpoint = f.w.c.ep;
    o.tls = f.w.ctls;
    o.server_name = "localhost";
    o.limits = f.w.c.limits;
    o.user = &f;
    nq_handle c = 0;
    REQUIRE(nq_conn_create(f.w.c.l, &o, &c) == 0);
    CHECK_EQ(nq_conn_send_datagram(f.w.c.l, c, NULL, 0), NQ_ERR_STATE);
    nq_handle rpc = world_stream(&f.w, c, NQ_KIND_RPC, "rpc");
    CHECK(nq_rpc_call(f.w.c.l, rpc, 1, NULL, 0, 0, &o, NULL) >= 0);
    nq_addr remote;
    REQUIRE(nq_endpoint_address(f.w.s.l, f.w.s.ep, &remote) == 0);
    if (state >= 1) { /* connecting */
      CHECK_EQ(nq_conn_start(f.w.c.l, c, &remote), 0);
      CHECK_EQ(nq_conn_start(f.w.c.l, c, &remote), NQ_ERR_STATE);
      CHECK_EQ(nq_conn_fail(f.w.c.l, c, NQ_WHY_SYSTEM, 0, ""), NQ_ERR_STATE);
    }
    if (state >= 2) /* open */
      CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], 1, 1000));
    if (state >= 3) /* closing */
      nq_conn_close(f.w.c.l, c, 0, "", 0, 0);
    if (state >= 4) { /* closed; freed by its handler in the hook unless it is taken away */
      f.w.c.hook = NULL;
      CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 1000));
      f.w.c.hook = touch_handles;
    }
    if (state >= 5) { /* waiting to reconnect */
      CHECK_EQ(nq_conn_reconnect(f.w.c.l, c, NQ_SEC(5), NULL), 0);
      CHECK(nq_conn_reconnect_wait(f.w.c.l, c) > 4000 * MS);
    }
    if (state == 6) /* called off */
      CHECK_EQ(nq_conn_close(f.w.c.l, c, 0, "", 0, 0), 0);
    if (state == 7) /* a stream opened meanwhile */
      world_stream(&f.w, c, NQ_KIND_RPC, "rpc");
    CHECK_EQ(nq_conn_free(f.w.c.l, c), 0);
    CHECK_EQ(nq_conn_free(f.w.c.l, c), 0);
    CHECK_EQ(nq_conn_reconnect(f.w.c.l, c, 0, NULL), NQ_ERR_STATE);
    nq_stream_options so = {.kind = NQ_KIND_RAW};
    nq_handle s;
    CHECK_EQ(nq_stream_open(f.w.c.l, c, &so, &s), NQ_ERR_STATE);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_FREED], 1, 1000));
    CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 1);
    CHECK_EQ(f.w.c.count[NQ_EV_RPC_REPLY], 1);
    CHECK_EQ(f.w.c.gone, state < 2);
    world_run(&f.w, 20);
    CHECK(!nq_conn_alive(f.w.c.l, c));
    CHECK_EQ(nq_conn_free(f.w.c.l, c), NQ_ERR_STALE);
    CHECK_EQ(world_stats(f.w.c.l).connections, 0);
    CHECK_EQ(world_stats(f.w.c.l).streams, 0);
    world_run(&f.w, 6000); /* no reconnect comes */
    CHECK_EQ(f.w.c.count[NQ_EV_CONN_FREED], 1);
    sim_world_close(&f);
  }
}

static void test_fail(void) {
  sim_world f;
  begin(&f);
  nq_connect_options o;
  memset(&o, 0, sizeof o);
  o.endpoint = f.w.c.ep;
  o.tls = f.w.ctls;
  o.limits = f.w.c.limits;
  nq_handle c = 0;
  REQUIRE(nq_conn_create(f.w.c.l, &o, &c) == 0);
  nq_handle rpc = world_stream(&f.w, c, NQ_KIND_RPC, "rpc");
  CHECK(nq_rpc_call(f.w.c.l, rpc, 1, NULL, 0, 0, NULL, NULL) >= 0);
  CHECK_EQ(nq_conn_fail(f.w.c.l, c, NQ_WHY_SYSTEM, 17, "no such host"), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 10));
  CHECK_EQ(f.w.c.why, NQ_WHY_SYSTEM);
  CHECK_EQ(f.w.c.code, 17);
  CHECK(strcmp(f.w.c.reason, "no such host") == 0);
  CHECK(side_order_is(&f.w.c, "rC"));
  CHECK_EQ(nq_conn_reconnect(f.w.c.l, c, 0, NULL), NQ_ERR_ARG); /* no address yet */
  nq_addr remote;
  REQUIRE(nq_endpoint_address(f.w.s.l, f.w.s.ep, &remote) == 0);
  CHECK_EQ(nq_conn_reconnect(f.w.c.l, c, 0, &remote), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 2, 1000)); /* no server name: nothing to verify against */
  sim_world_close(&f);
}

/* What the loops hold after so many connections of one object. */
static void test_reconnect_many_times(void) {
  sim_world f;
  begin_open(&f);
  size_t timers = 0, routes = 0, events = 0;
  for (uint32_t i = 1; i <= 200; i++) {
    nq_handle rpc = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
    CHECK(nq_rpc_call(f.w.c.l, rpc, 1, (const uint8_t *)"x", 1, 0, NULL, NULL) >= 0);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], i, 1000));
    if (i % 3)
      nq_conn_close(f.w.c.l, f.conn, i, "", 0, (int)i & 1);
    else
      nq_conn_close(f.w.s.l, f.w.s.conn, i, "", 0, 0);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], i, 1000));
    CHECK_EQ(f.w.c.code, i);
    uint64_t delay = i % 7 * 100 * MS, start = f.net.now;
    CHECK_EQ(nq_conn_reconnect(f.w.c.l, f.conn, delay, NULL), 0);
    nq_conn_info info;
    CHECK_EQ(nq_conn_get_info(f.w.c.l, f.conn, &info), 0);
    CHECK_EQ(info.state, NQ_CONN_WAITING);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_OPEN], i + 1, 2000));
    CHECK(f.net.now - start >= delay && f.net.now - start < delay + 20 * MS);
    CHECK_EQ(nq_conn_reconnect(f.w.c.l, f.conn, 0, NULL), NQ_ERR_STATE);
    if (i == 50 || i == 200) {
      world_run(&f.w, 500);
      if (i == 200) {
        CHECK(f.w.c.l->hub.timers.n + f.w.s.l->hub.timers.n <= timers);
        CHECK(f.w.s.l->hub.endpoints[0]->routes.n <= routes);
        CHECK(f.w.c.l->hub.batch.cap + f.w.s.l->hub.batch.cap <= events);
      }
      timers = f.w.c.l->hub.timers.n + f.w.s.l->hub.timers.n;
      routes = f.w.s.l->hub.endpoints[0]->routes.n;
      events = f.w.c.l->hub.batch.cap + f.w.s.l->hub.batch.cap;
    }
  }
  CHECK_EQ(world_stats(f.w.c.l).connections, 1);
  CHECK_EQ(world_stats(f.w.s.l).connections, 1);
  CHECK_EQ(f.w.s.l->hub.endpoints[0]->half_open, 0);
  CHECK_EQ(f.w.s.l->hub.endpoints[0]->conns, 1);
  sim_world_close(&f);
}

/* The server's endpoint goes while clients are on it; a client's loop goes away with everything open. */
static void test_endpoint_close(void) {
  sim_world f;
  begin_open(&f);
  nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
  nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_RECORD], 1, 1000));
  CHECK_EQ(nq_endpoint_close(f.w.s.l, f.w.s.ep), 0);
  CHECK_EQ(nq_endpoint_close(f.w.s.l, f.w.s.ep), NQ_ERR_STALE);
  CHECK_EQ(nq_endpoint_fd(f.w.s.l, f.w.s.ep), -1);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_CONN_FREED], 1, 100));
  CHECK_EQ(f.w.s.why, NQ_WHY_SYSTEM);
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_CLOSE], 1);
  world_listen(&f.w);
  world_run(&f.w, 10);
  nq_loop_free(f.w.s.l); /* with a connection open elsewhere, nothing here */
  REQUIRE(nq_loop_new(&f.w.s.l, &(nq_loop_options){.env = &f.net.env}) == 0);
  sim_world_close(&f);
}

static void test_loop_free_tells_peers(void) {
  sim_world f;
  begin_open(&f);
  nq_loop_free(f.w.s.l);
  REQUIRE(nq_loop_new(&f.w.s.l, &(nq_loop_options){.env = &f.net.env}) == 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 1000));
  CHECK_EQ(f.w.c.why, NQ_WHY_APP);
  CHECK_EQ(f.w.c.code, NQ_CODE_SHUTDOWN);
  sim_world_close(&f);
}

/* ---- events that handlers cause ---- */

typedef struct late {
  world *w;
  uint32_t made, wrong;
} late;

/* Every request makes and frees a connection: its events come with the next batch, batch after batch. */
static int make_events(side *x, const nq_event *e) {
  late *t = x->hook_ctx;
  if (e->kind == NQ_EV_CONN_CLOSE && e->msgid == NQ_WHY_SYSTEM)
    t->wrong += e->code != 5 || e->len != 9 || memcmp(e->data, "no reason", 9) != 0;
  if (e->kind != NQ_EV_RPC_REPLY)
    return 0;
  nq_connect_options o;
  memset(&o, 0, sizeof o);
  o.tls = t->w->ctls;
  o.server_name = "localhost";
  o.limits = x->limits;
  const nq_event *before = nq_loop_events(x->l);
  uint8_t first = before[0].kind;
  for (int i = 0; i < 40; i++) {
    nq_handle h;
    CHECK_EQ(nq_conn_create(x->l, &o, &h), 0);
    CHECK_EQ(nq_conn_fail(x->l, h, NQ_WHY_SYSTEM, 5, "no reason"), 0);
    CHECK_EQ(nq_conn_free(x->l, h), 0);
    t->made++;
  }
  t->wrong += before[0].kind != first; /* still there, although the array has grown */
  return 0;
}

static void test_late_events(void) {
  sim_world f;
  begin_open(&f);
  late t = {.w = &f.w};
  f.w.c.hook = make_events;
  f.w.c.hook_ctx = &t;
  nq_handle rpc = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  static uint8_t p[3000];
  size_t most = 0;
  for (int i = 0; i < 2000; i++) {
    CHECK(nq_rpc_call(f.w.c.l, rpc, 1, p, sizeof p, 0, NULL, NULL) >= 0);
    world_tick(&f.w, 100000);
    size_t used = f.w.c.l->hub.batch.arena.used + f.w.c.l->hub.batch.given_arena.used;
    most = used > most ? used : most;
  }
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], 2000, 1000));
  world_run(&f.w, 10);
  CHECK_EQ(t.wrong, 0);
  CHECK_EQ(t.made, 80000);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], t.made);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_FREED], t.made);
  CHECK(most < 1u << 20); /* 6 MB have passed */
  CHECK_EQ(world_stats(f.w.c.l).connections, 1);
  sim_world_close(&f);
}

int main(void) {
  RUN(test_no_server);
  RUN(test_half_open_ends);
  RUN(test_certificates);
  RUN(test_idle);
  RUN(test_keep_alive);
  RUN(test_close);
  RUN(test_close_flushes);
  RUN(test_close_gives_up);
  RUN(test_close_before_handshake);
  RUN(test_close_both);
  RUN(test_closing_answers_back_off);
  RUN(test_free_in_every_state);
  RUN(test_fail);
  RUN(test_reconnect_many_times);
  RUN(test_endpoint_close);
  RUN(test_loop_free_tells_peers);
  RUN(test_late_events);
  CHECK_DONE();
}
