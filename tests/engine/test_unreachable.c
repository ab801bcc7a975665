/* test_unreachable.c: datagrams that do not get through, as the system or a host on the way says: a handshake ends at
 * once, an open connection when its peer is silent. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "quic/conn.h"
#include "world.h"

#define MS UINT64_C(1000000)

/* ---- the simulated network: errors are made up ---- */

static nq_io *io_of(const side *x) { return nq_endpoint_get(&x->l->hub, x->ep)->io; }

static void tell(const side *x, int error, const nq_addr *remote, const uint8_t *head, size_t len) {
  nq_io_failed(io_of(x), error, 1, remote, head, len);
  x->l->hub.failed = 1;
}

static nq_addr server_address(const sim_world *f) {
  nq_addr a;
  REQUIRE(nq_endpoint_address(f->w.s.l, f->w.s.ep, &a) == 0);
  return a;
}

static void test_handshake_ends_at_once(void) {
  static const int errors[] = {ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, ENETDOWN, EPERM, EACCES, EADDRNOTAVAIL, EIO};
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
    sim_world f;
    sim_world_open(&f, 91);
    nq_addr a = server_address(&f);
    world_connect(&f.w, "localhost");
    uint64_t start = f.net.now;
    tell(&f.w.c, errors[i], &a, NULL, 0); /* a router that quotes the ports only */
    side_tick(&f.w.c, 0);
    CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 1);
    CHECK_EQ(f.w.c.why, NQ_WHY_SYSTEM);
    CHECK_EQ(f.w.c.code, errors[i]);
    CHECK(strstr(f.w.c.reason, ":443: ") != NULL);
    CHECK(strlen(f.w.c.reason) > 25);
    CHECK_EQ(f.net.now, start);
    CHECK_EQ(world_stats(f.w.c.l).unreachable, 1);
    sim_world_close(&f);
  }
}

/* A quoted long header says of which connection the packet was: that one, and no other, to whatever address. */
static void test_the_header_says_whose(void) {
  sim_world f;
  sim_world_open(&f, 92);
  nq_addr a = server_address(&f);
  f.net.cut = 1;
  nq_handle h = world_connect(&f.w, "localhost");
  const nq_conn *c = nq_conn_get(&f.w.c.l->hub, h);
  ngtcp2_cid scid;
  REQUIRE(c != NULL);
  REQUIRE(ngtcp2_conn_get_scid2(c->quic, &scid) == 1);
  uint8_t head[64] = {0xc0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, (uint8_t)scid.datalen};
  memcpy(head + 15, scid.data, scid.datalen);
  head[15] ^= 1; /* of another time */
  tell(&f.w.c, ECONNREFUSED, &a, head, 15 + scid.datalen);
  side_tick(&f.w.c, 0);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 0);
  head[15] ^= 1;
  for (size_t cut = 1; cut < 15; cut++) { /* of no use, and of no harm */
    if (cut < 7)
      continue; /* it does not say that there is a connection ID: the address counts */
    tell(&f.w.c, ECONNREFUSED, &f.w.c.l->hub.endpoints[0]->io->local, head, cut);
  }
  side_tick(&f.w.c, 0);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 0);
  tell(&f.w.c, ECONNREFUSED, &a, head, 15 + scid.datalen);
  side_tick(&f.w.c, 0);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 1);
  sim_world_close(&f);
}

/* A server's half-open connection ends only by what its own packets quote. */
static void test_strangers_end_no_handshake_of_a_server(void) {
  sim_world f;
  sim_world_open(&f, 93);
  world_connect(&f.w, "localhost");
  world_run(&f.w, 1);
  world_tick(&f.w, 1);
  REQUIRE(world_stats(f.w.s.l).connections == 1);
  tell(&f.w.s, ECONNREFUSED, &io_of(&f.w.c)->local, NULL, 0);
  world_tick(&f.w, 1);
  CHECK_EQ(world_stats(f.w.s.l).connections, 1);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_OPEN], 1, 100));
  sim_world_close(&f);
}

static const uint8_t short_header[] = {0x40, 1, 2, 3};

static void test_an_open_connection_asks(void) {
  sim_world f;
  sim_world_open(&f, 94);
  sim_world_connect(&f);
  nq_addr a = server_address(&f);
  world_run(&f.w, 500);
  for (int i = 0; i < 20; i++) { /* its peer is there: it answers */
    tell(&f.w.c, EHOSTUNREACH, &a, short_header, sizeof short_header);
    world_run(&f.w, 100);
  }
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 0);
  CHECK_EQ(f.w.c.count[NQ_EV_PONG], 0); /* nobody asked for it */
  CHECK_EQ(f.w.c.count[NQ_EV_LOG], 20);
  CHECK_EQ(world_stats(f.w.c.l).unreachable, 20);
  f.net.cut = 1; /* it is gone */
  const nq_conn *c = nq_conn_get(&f.w.c.l->hub, f.conn);
  uint64_t pto = ngtcp2_conn_get_pto2(c->quic), start = f.net.now;
  tell(&f.w.c, ECONNREFUSED, &a, short_header, sizeof short_header);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 5000));
  CHECK(f.net.now - start >= 2 * pto && f.net.now - start < 2 * pto + 5 * MS);
  CHECK_EQ(f.w.c.why, NQ_WHY_SYSTEM);
  CHECK_EQ(f.w.c.code, ECONNREFUSED);
  sim_world_close(&f);
}

/* ---- real sockets ---- */

static void test_closed_port(void) {
  for (int portable = 0; portable < 2; portable++) {
    world w;
    world_loop.portable = portable;
    world_open(&w, NULL);
    nq_handle open = world_connect(&w, "localhost");
    REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
    nq_handle s = world_stream(&w, open, NQ_KIND_RPC, "rpc");
    nq_connect_options o;
    memset(&o, 0, sizeof o);
    nq_endpoint_options gone;
    memset(&gone, 0, sizeof gone);
    uint32_t id;
    REQUIRE(nq_addr_parse(&gone.local, "127.0.0.1", 0) == 0);
    REQUIRE(nq_endpoint_open(w.s.l, &gone, &id) == 0);
    REQUIRE(nq_endpoint_address(w.s.l, id, &o.remote) == 0);
    nq_endpoint_close(w.s.l, id); /* a port at which nothing listens */
    o.tls = w.ctls;
    o.server_name = "localhost";
    o.limits = w.c.limits;
    for (uint32_t i = 1; i <= 5; i++) { /* beside a connection whose packets leave by the same socket */
      nq_handle h;
      uint32_t replies = w.c.count[NQ_EV_RPC_REPLY];
      REQUIRE(nq_conn_connect(w.c.l, &o, &h) == 0);
      for (int k = 0; k < 50; k++)
        REQUIRE(nq_rpc_call(w.c.l, s, 1, (const uint8_t[1000]){0}, 1000, 0, NULL, NULL) >= 0);
      CHECK(world_until(&w, &w.c.count[NQ_EV_CONN_CLOSE], i, 5000));
      CHECK_EQ(w.c.why, NQ_WHY_SYSTEM);
      CHECK_EQ(w.c.code, ECONNREFUSED);
      CHECK(strstr(w.c.reason, "port unreachable") != NULL);
      CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], replies + 50, 5000));
    }
    CHECK(nq_conn_alive(w.c.l, open));
    CHECK_EQ(w.c.gone, 0);
    nq_conn_info info;
    nq_conn_get_info(w.c.l, open, &info);
    CHECK_EQ(info.packets_lost, 0); /* none was dropped for the error of another */
    world_close(&w);
  }
  world_loop.portable = 0;
}

/* A server that was killed: its port is closed, and nothing was said. */
static void test_killed_server(void) {
  world w;
  world_open(&w, NULL);
  nq_handle c = world_connect(&w, "localhost");
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  nq_handle s = world_stream(&w, c, NQ_KIND_RPC, "rpc");
  REQUIRE(nq_rpc_call(w.c.l, s, 1, NULL, 0, 0, NULL, NULL) == 0);
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 1, 5000));
  int other = socket(AF_INET, SOCK_DGRAM, 0);
  REQUIRE(other >= 0 && dup2(other, nq_endpoint_fd(w.s.l, w.s.ep)) >= 0);
  close(other);
  REQUIRE(nq_rpc_call(w.c.l, s, 1, NULL, 0, 0, NULL, NULL) == 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_CONN_CLOSE], 1, 5000)); /* the idle timeout is 30 s */
  CHECK_EQ(w.c.why, NQ_WHY_SYSTEM);
  CHECK_EQ(w.c.code, ECONNREFUSED);
  CHECK_EQ(w.c.gone, 1);
  world_close(&w);
}

/* As TCP: whoever connects to the address that a server listens on everywhere reaches this machine. */
static void test_wildcard(void) {
  static const char *const hosts[] = {"0.0.0.0", "::", "::ffff:0.0.0.0"};
  for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
    world w;
    world_open(&w, NULL);
    nq_endpoint_options all;
    memset(&all, 0, sizeof all);
    REQUIRE(nq_addr_parse(&all.local, i ? "::" : "0.0.0.0", 0) == 0);
    all.tls = w.stls;
    all.hdmap = w.s.map;
    all.limits = w.s.limits;
    uint32_t id;
    nq_connect_options o;
    memset(&o, 0, sizeof o);
    if (nq_endpoint_open(w.s.l, &all, &id) == 0) { /* there may be no IPv6 */
      REQUIRE(nq_endpoint_address(w.s.l, id, &o.remote) == 0);
      REQUIRE(nq_addr_parse(&o.remote, hosts[i], nq_addr_port(&o.remote)) == 0);
      o.tls = w.ctls;
      o.server_name = "localhost";
      o.limits = w.c.limits;
      nq_handle h;
      REQUIRE(nq_conn_connect(w.c.l, &o, &h) == 0);
      CHECK(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
    }
    world_close(&w);
  }
}

static int keep_level(side *x, const nq_event *e) {
  if (e->kind == NQ_EV_LOG)
    *(int *)x->hook_ctx = e->type;
  return 0;
}

/* Somebody closes the descriptor of the server: that is found out when it is used, or asked for. */
static void test_broken_socket(void) {
  for (int kind = 0; kind < 3; kind++) { /* asked for; used; used, by a loop that sleeps in poll() */
    world w;
    int level = 0;
    world_loop.wait = kind == 2 ? "poll" : NULL;
    world_open(&w, NULL);
    world_loop.wait = NULL;
    w.s.hook = keep_level;
    w.s.hook_ctx = &level;
    world_connect(&w, "localhost");
    REQUIRE(world_until(&w, &w.s.count[NQ_EV_CONN_OPEN], 1, 5000));
    CHECK_EQ(nq_endpoint_error(w.s.l, w.s.ep), 0);
    CHECK_EQ(nq_endpoint_error(w.s.l, w.s.ep + 77), NQ_ERR_STALE);
    level = 0;
    int other = socket(AF_INET, SOCK_DGRAM, 0), pair[2];
    REQUIRE(other >= 0 && pipe(pair) == 0);
    REQUIRE(dup2(kind ? pair[0] : other, nq_endpoint_fd(w.s.l, w.s.ep)) >= 0);
    if (kind)
      nq_conn_ping(w.s.l, w.s.conn);
    else
      CHECK_EQ(nq_endpoint_error(w.s.l, w.s.ep), EBADF);
    uint32_t logs = w.s.count[NQ_EV_LOG];
    CHECK(world_until(&w, &w.s.count[NQ_EV_LOG], logs + 1, 5000));
    CHECK_EQ(level, 'E');
    CHECK_EQ(nq_endpoint_error(w.s.l, w.s.ep), kind ? ENOTSOCK : EBADF);
    close(other);
    close(pair[0]);
    close(pair[1]);
    world_close(&w);
  }
}

int main(void) {
  RUN(test_handshake_ends_at_once);
  RUN(test_the_header_says_whose);
  RUN(test_strangers_end_no_handshake_of_a_server);
  RUN(test_an_open_connection_asks);
  RUN(test_closed_port);
  RUN(test_killed_server);
  RUN(test_wildcard);
  RUN(test_broken_socket);
  CHECK_DONE();
}
