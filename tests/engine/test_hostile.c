/* test_hostile.c: packets from strangers and from peers that mean no good: every one ends in a counted drop or an
 * answer, no answer is larger than what it answers, and nothing grows. */
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "quic/accept.h"
#include "quic/conn.h"
#include "world.h"

#define MS UINT64_C(1000000)

typedef struct packet {
  size_t len;
  uint8_t data[1500];
} packet;

typedef struct capture {
  packet *v;
  uint32_t n, cap;
  uint8_t only_to; /* host; 0: all */
  uint64_t bytes;
} capture;

typedef struct fixture {
  nq_sim net;
  world w;
  nq_handle conn;
  nq_io *evil;
  uint64_t seed;
} fixture;

static uint32_t rnd(fixture *f, uint32_t n) {
  f->seed = f->seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
  return (uint32_t)(f->seed >> 33) % n;
}

static void begin(fixture *f) {
  nq_sim_init(&f->net, 71);
  f->net.delay = MS;
  f->seed = 99;
  world_open(&f->w, &f->net);
  f->evil = nq_sim_io(&f->net, 66, 6666);
}

static void connect_ok(fixture *f) {
  f->conn = world_connect(&f->w, "localhost");
  REQUIRE(world_until(&f->w, &f->w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  REQUIRE(world_until(&f->w, &f->w.s.count[NQ_EV_CONN_OPEN], 1, 5000));
}

static void listen_again(fixture *f) {
  nq_endpoint_close(f->w.s.l, f->w.s.ep);
  world_listen(&f->w);
}

static void end(fixture *f) {
  f->evil->ops->close(f->evil);
  world_close(&f->w);
  nq_sim_free(&f->net);
}

static void sniff(void *ctx, const uint8_t *data, size_t len, const nq_addr *from, const nq_addr *to) {
  capture *c = ctx;
  (void)from;
  if ((c->only_to && (ntohl(to->in.sin_addr.s_addr) & 0xff) != c->only_to) || len > sizeof c->v->data)
    return;
  if (c->n == c->cap) {
    c->cap = c->cap ? 2 * c->cap : 64;
    c->v = realloc(c->v, c->cap * sizeof *c->v);
    REQUIRE(c->v != NULL);
  }
  c->v[c->n].len = len;
  memcpy(c->v[c->n++].data, data, len);
  c->bytes += len;
}

static void send_to(fixture *f, side *x, const uint8_t *data, size_t len) {
  nq_addr to;
  REQUIRE(nq_endpoint_address(x->l, x->ep, &to) == 0);
  memcpy(f->evil->ops->tx_room(f->evil, 2000), data, len);
  f->evil->ops->tx_push(f->evil, len, len ? len : 1, &to, NULL, 0);
}

/* Takes what came back to the stranger. */
static uint32_t answers(fixture *f, size_t *longest) {
  const nq_datagram *v;
  uint32_t total = 0;
  for (int n; (n = f->evil->ops->recv(f->evil, &v)) > 0; total += (uint32_t)n)
    for (int i = 0; i < n; i++)
      if (longest && v[i].len > *longest)
        *longest = v[i].len;
  return total;
}

static uint64_t outcomes(nq_loop *l) {
  nq_loop_stats s = world_stats(l);
  return s.rx_dropped + s.resets_sent + s.version_negotiations + s.retries_sent + s.refused + s.accepted;
}

static void random_packet(fixture *f, packet *p, size_t len) {
  p->len = len;
  for (size_t i = 0; i < len; i++)
    p->data[i] = (uint8_t)rnd(f, 256);
}

static void call_works(fixture *f) {
  nq_handle rpc = world_stream(&f->w, f->conn, NQ_KIND_RPC, "rpc");
  uint32_t n = f->w.c.count[NQ_EV_RPC_REPLY];
  CHECK(nq_rpc_call(f->w.c.l, rpc, 1, (const uint8_t *)"hello", 5, 0, NULL, NULL) >= 0);
  CHECK(world_until(&f->w, &f->w.c.count[NQ_EV_RPC_REPLY], n + 1, 2000));
  nq_stream_close(f->w.c.l, rpc);
  if (nq_stream_alive(f->w.s.l, f->w.s.stream))
    nq_stream_close(f->w.s.l, f->w.s.stream);
}

/* ---- strangers ---- */

static void test_random_packets(void) {
  fixture f;
  begin(&f);
  connect_ok(&f);
  uint64_t before = outcomes(f.w.s.l), sent = 0, resets = world_stats(f.w.s.l).resets_sent;
  packet p;
  for (size_t len = 1; len <= 1500; len++) {
    for (int kind = 0; kind < 4; kind++) {
      random_packet(&f, &p, len);
      static const uint32_t versions[] = {NGTCP2_PROTO_VER_V1, NGTCP2_PROTO_VER_V2, 0, 0x1a2a3a4a};
      if (kind < 3) { /* long header; the last kind as it comes */
        p.data[0] |= 0xc0;
        uint32_t v = htonl(versions[rnd(&f, 4)]);
        memcpy(p.data + 1, &v, len >= 5 ? 4 : 0);
        if (kind && len > 40) {
          p.data[0] = (uint8_t)(0xc0 | (kind == 1 ? 0 : p.data[0] & 0x3f));
          p.data[5] = (uint8_t)rnd(&f, 24);
          p.data[6 + p.data[5]] = (uint8_t)rnd(&f, 24);
        }
      }
      send_to(&f, &f.w.s, p.data, p.len);
      sent++;
    }
    if (len % 3 == 0)
      world_run(&f.w, 2);
  }
  world_run(&f.w, 5);
  CHECK_EQ(outcomes(f.w.s.l) - before, sent);
  CHECK(world_stats(f.w.s.l).resets_sent > resets);
  CHECK(world_stats(f.w.s.l).version_negotiations > 0);
  call_works(&f);
  answers(&f, NULL);
  world_run(&f.w, 11000); /* whatever was half open is over */
  CHECK_EQ(world_stats(f.w.s.l).connections, 1);
  CHECK_EQ(f.w.s.l->hub.endpoints[0]->half_open, 0);
  /* The client's socket answers no one. */
  uint64_t dropped = world_stats(f.w.c.l).rx_dropped;
  for (size_t len = 1; len <= 1500; len += 7) {
    random_packet(&f, &p, len);
    send_to(&f, &f.w.c, p.data, p.len);
    if (len % 5 == 0)
      world_run(&f.w, 2);
  }
  world_run(&f.w, 5);
  CHECK_EQ(world_stats(f.w.c.l).rx_dropped - dropped, 215);
  CHECK_EQ(answers(&f, NULL), 0);
  call_works(&f);
  end(&f);
}

/* Garbage with the right connection ID: the connection does not mind. */
static void test_garbage_for_a_connection(void) {
  fixture f;
  begin(&f);
  capture c = {0};
  f.net.sniff = sniff;
  f.net.sniff_ctx = &c;
  connect_ok(&f);
  call_works(&f);
  world_run(&f.w, 100);
  f.net.sniff = NULL;
  packet p;
  for (uint32_t round = 0; round < 6000; round++) {
    const packet *like = &c.v[rnd(&f, c.n)];
    int to_server = rnd(&f, 2) == 1;
    random_packet(&f, &p, 1 + rnd(&f, 1400));
    size_t head = like->data[0] & 0x80 ? 7u + like->data[5] + like->data[6 + like->data[5]] : 9;
    memcpy(p.data, like->data, head < p.len ? head : p.len);
    send_to(&f, to_server ? &f.w.s : &f.w.c, p.data, p.len);
    if (round % 16 == 0)
      world_run(&f.w, 2);
  }
  world_run(&f.w, 50);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE] + f.w.s.count[NQ_EV_CONN_CLOSE], 0);
  call_works(&f);
  free(c.v);
  end(&f);
}

/* Packets of real handshakes and of real traffic, changed and sent again, from the same address and another. */
static void test_mutated(void) {
  fixture f;
  begin(&f);
  f.w.s.limits.handshake_timeout = 2000 * MS;
  listen_again(&f);
  capture c = {0};
  f.net.sniff = sniff;
  f.net.sniff_ctx = &c;
  connect_ok(&f);
  call_works(&f);
  nq_handle raw = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
  static uint8_t big[20000];
  nq_stream_send(f.w.c.l, raw, big, sizeof big);
  nq_conn_send_datagram(f.w.c.l, f.conn, big, 100);
  world_run(&f.w, 100);
  f.net.sniff = NULL;
  CHECK(c.n > 20);
  uint32_t routes = 0, timers = 0;
  for (uint32_t round = 0; round < 20000; round++) {
    packet p = c.v[rnd(&f, c.n)];
    for (uint32_t changes = rnd(&f, 4); changes; changes--)
      switch (rnd(&f, 5)) {
      case 0:
        p.data[rnd(&f, (uint32_t)p.len)] ^= (uint8_t)(1u << rnd(&f, 8));
        break;
      case 1: /* in the header most of all */
        p.data[rnd(&f, p.len < 40 ? (uint32_t)p.len : 40)] = (uint8_t)rnd(&f, 256);
        break;
      case 2:
        p.len = 1 + rnd(&f, (uint32_t)p.len);
        break;
      case 3:
        p.len = p.len + rnd(&f, (uint32_t)(sizeof p.data - p.len) + 1);
        break;
      default: {
        const packet *q = &c.v[rnd(&f, c.n)];
        size_t at = rnd(&f, (uint32_t)(p.len < q->len ? p.len : q->len));
        memcpy(p.data + at, q->data + at, q->len - at);
        p.len = q->len;
      }
      }
    send_to(&f, rnd(&f, 3) ? &f.w.s : &f.w.c, p.data, p.len);
    if (round % 8 == 0)
      world_run(&f.w, 2);
    if (round % 500 == 499)
      answers(&f, NULL);
    if (round == 10000 || round == 19999) {
      world_run(&f.w, 3000);
      if (round == 19999) {
        CHECK(f.w.s.l->hub.endpoints[0]->routes.n <= routes);
        CHECK(f.w.s.l->hub.timers.n <= timers);
      }
      routes = f.w.s.l->hub.endpoints[0]->routes.n;
      timers = f.w.s.l->hub.timers.n;
    }
  }
  answers(&f, NULL);
  CHECK_EQ(f.w.s.l->hub.endpoints[0]->half_open, 0);
  CHECK(f.w.s.l->hub.endpoints[0]->closing == NULL);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 0);
  CHECK_EQ(f.w.s.count[NQ_EV_CONN_CLOSE], 0);
  CHECK_EQ(world_stats(f.w.s.l).connections, 1);
  call_works(&f);
  free(c.v);
  end(&f);
}

/* ---- floods ---- */

static void test_initial_flood(void) {
  fixture f;
  begin(&f);
  f.w.s.limits.max_half_open = 20;
  f.w.s.limits.handshake_timeout = 3000 * MS;
  listen_again(&f);
  capture c = {.only_to = 1}; /* first flights of many clients, who hear nothing back */
  f.net.sniff = sniff;
  f.net.sniff_ctx = &c;
  f.net.cut = 1;
  nq_handle clients[200];
  for (int i = 0; i < 200; i++)
    clients[i] = world_connect(&f.w, "localhost");
  world_tick(&f.w, 1);
  f.net.sniff = NULL;
  for (int i = 0; i < 200; i++)
    CHECK_EQ(nq_conn_free(f.w.c.l, clients[i]), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_FREED], 200, 10));
  f.net.cut = 0;
  CHECK(c.n >= 200);
  capture back = {.only_to = 66};
  f.net.sniff = sniff;
  f.net.sniff_ctx = &back;
  uint64_t in = 0;
  for (uint32_t i = 0; i < c.n; i++) {
    send_to(&f, &f.w.s, c.v[i].data, c.v[i].len);
    in += c.v[i].len;
    if (i % 10 == 0)
      world_run(&f.w, 1);
  }
  world_run(&f.w, 1);
  nq_endpoint *ep = f.w.s.l->hub.endpoints[0];
  CHECK_EQ(ep->half_open, 20);
  CHECK_EQ(world_stats(f.w.s.l).connections, 20);
  CHECK(world_stats(f.w.s.l).retries_sent >= 100);
  for (int more = 0; more < 50; more++) { /* more of the same takes nothing more */
    for (uint32_t i = 0; i < 100; i++) {
      uint8_t p[1500];
      memcpy(p, c.v[i].data, c.v[i].len);
      p[6 + rnd(&f, 16)] ^= (uint8_t)(1 + rnd(&f, 255)); /* another connection ID */
      send_to(&f, &f.w.s, p, c.v[i].len);
      in += c.v[i].len;
    }
    world_run(&f.w, 3);
    CHECK(ep->half_open <= 20);
    CHECK(world_stats(f.w.s.l).connections <= 20);
    CHECK(ep->routes.n <= 20 * 8);
  }
  answers(&f, NULL);
  CHECK(back.bytes < 3 * in); /* RFC 9000 8.1 */
  CHECK(back.bytes < in / 2);
  f.net.sniff = NULL;
  world_run(&f.w, 4000);
  CHECK_EQ(ep->half_open, 0);
  CHECK_EQ(world_stats(f.w.s.l).connections, 0);
  CHECK_EQ(ep->routes.n, 0);
  for (int i = 0; i < 10; i++) /* and those who answer get through */
    f.conn = world_connect(&f.w, "localhost");
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_OPEN], 10, 1000));
  call_works(&f);
  free(c.v);
  free(back.v);
  end(&f);
}

/* Initials beyond max_connections are refused, however often they come. */
static void test_connection_limit_flood(void) {
  fixture f;
  begin(&f);
  f.w.s.limits.max_connections = 5;
  listen_again(&f);
  for (int i = 0; i < 60; i++)
    world_connect(&f.w, "localhost");
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 55, 30000));
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_OPEN], 5);
  CHECK_EQ(f.w.c.code, NGTCP2_CONNECTION_REFUSED);
  CHECK_EQ(world_stats(f.w.s.l).connections, 5);
  CHECK_EQ(world_stats(f.w.c.l).handshakes, 5);
  end(&f);
}

static void test_accept_per_tick(void) {
  fixture f;
  begin(&f);
  f.w.s.limits.accept_per_tick = 10;
  listen_again(&f);
  for (int i = 0; i < 30; i++)
    world_connect(&f.w, "localhost");
  uint64_t before = 0;
  for (int i = 0; i < 50 && before < 30; i++) {
    world_tick(&f.w, 1000000);
    CHECK(world_stats(f.w.s.l).accepted <= before + 10);
    before = world_stats(f.w.s.l).accepted;
  }
  CHECK_EQ(before, 30); /* the others wait for the next ticks, not for the clients to ask again */
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_OPEN], 30, 300));
  end(&f);
}

static nq_sim *creeping;

static uint64_t creep(void *ctx) {
  (void)ctx;
  return creeping->now += 300000; /* ns, at each look */
}

/* New connections have half a millisecond of a tick: here two of them, as a look at the clock takes 0.3 ms. */
static void test_accept_time(void) {
  fixture f;
  begin(&f);
  for (int i = 0; i < 30; i++)
    world_connect(&f.w, "localhost");
  creeping = &f.net;
  f.w.s.l->hub.env.now = creep;
  uint64_t before = 0;
  for (int i = 0; i < 50 && before < 30; i++) {
    world_tick(&f.w, 1000000);
    uint64_t now = world_stats(f.w.s.l).accepted;
    CHECK(now <= before + 2);
    before = now;
  }
  CHECK_EQ(before, 30);
  f.w.s.l->hub.env.now = f.net.env.now;
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_OPEN], 30, 1000));
  end(&f);
}

/* New connections that came together with a packet of an open one are taken in the tick after it, all of them. */
static void test_accept_behind(void) {
  fixture f;
  begin(&f);
  connect_ok(&f);
  world_run(&f.w, 100); /* nothing is on its way */
  for (int i = 0; i < 5; i++)
    world_connect(&f.w, "localhost");
  CHECK_EQ(nq_conn_send_datagram(f.w.c.l, f.conn, (const uint8_t *)"first", 5), 0);
  for (int i = 0; i < 10; i++) { /* meanwhile the server is busy */
    f.net.now += MS;
    side_tick(&f.w.c, 0);
  }
  side_tick(&f.w.s, 0);
  CHECK_EQ(f.w.s.count[NQ_EV_DATAGRAM], 1);
  CHECK_EQ(world_stats(f.w.s.l).accepted, 1);
  CHECK_EQ(f.w.s.l->hub.deferred, 5);
  side_tick(&f.w.s, 0);
  CHECK_EQ(world_stats(f.w.s.l).accepted, 6);
  CHECK_EQ(f.w.s.l->hub.deferred, 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_CONN_OPEN], 6, 1000));
  CHECK_EQ(world_stats(f.w.s.l).rx_dropped, 0);
  end(&f);
}

/* ---- stateless resets ---- */

static void test_reset_limits(void) {
  fixture f;
  begin(&f);
  capture back = {.only_to = 66};
  f.net.sniff = sniff;
  f.net.sniff_ctx = &back;
  packet p;
  for (size_t len = 9; len < 1500; len = len < 120 ? len + 1 : len + 50) {
    random_packet(&f, &p, len);
    p.data[0] = 0x40 | (p.data[0] & 0x3f);
    uint32_t before = back.n;
    send_to(&f, &f.w.s, p.data, len);
    world_run(&f.w, 3);
    CHECK_EQ(back.n - before, len >= 22);
    if (back.n > before) {
      const packet *r = &back.v[before];
      CHECK(r->len < len);
      CHECK(r->len >= 21 && r->len < 100);
      CHECK((r->data[0] & 0xc0) == 0x40); /* looks like any other packet */
    }
    answers(&f, NULL);
  }
  /* A thousand at once: no more than a few are answered. */
  uint32_t before = back.n;
  for (int i = 0; i < 1000; i++) {
    random_packet(&f, &p, 100);
    p.data[0] = 0x40;
    send_to(&f, &f.w.s, p.data, 100);
  }
  world_run(&f.w, 3);
  uint32_t batches = 1000 / 64 + 2;
  CHECK(back.n - before >= NQ_RESETS_PER_TICK);
  CHECK(back.n - before <= NQ_RESETS_PER_TICK * batches);
  /* A reset that comes to us is not answered by another for ever. */
  answers(&f, NULL);
  size_t rounds = 0, len = 1000;
  random_packet(&f, &p, len);
  p.data[0] = 0x40;
  for (; rounds < 100; rounds++) {
    before = back.n;
    send_to(&f, &f.w.s, p.data, len);
    world_run(&f.w, 3);
    if (back.n == before)
      break;
    p = back.v[back.n - 1];
    len = p.len;
    answers(&f, NULL);
  }
  CHECK(rounds > 1 && rounds < 100);
  free(back.v);
  end(&f);
}

/* A reset with a token that is nobody's, and one for another connection of the same socket. */
static void test_forged_reset(void) {
  fixture f;
  begin(&f);
  connect_ok(&f);
  packet p;
  for (int i = 0; i < 200; i++) {
    random_packet(&f, &p, 40 + rnd(&f, 100));
    p.data[0] = 0x40;
    send_to(&f, &f.w.c, p.data, p.len);
  }
  world_run(&f.w, 20);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 0);
  CHECK(f.w.c.l->hub.endpoints[0]->resets.n >= 1);
  call_works(&f);
  nq_conn_close(f.w.c.l, f.conn, 0, "", 0, 0);
  world_run(&f.w, 1000);
  CHECK_EQ(f.w.c.l->hub.endpoints[0]->resets.n, 0);
  CHECK_EQ(f.w.c.l->hub.endpoints[0]->routes.n, 0);
  CHECK_EQ(f.w.s.l->hub.endpoints[0]->routes.n, 0);
  end(&f);
}

int main(void) {
  RUN(test_random_packets);
  RUN(test_garbage_for_a_connection);
  RUN(test_mutated);
  RUN(test_initial_flood);
  RUN(test_connection_limit_flood);
  RUN(test_accept_per_tick);
  RUN(test_accept_time);
  RUN(test_accept_behind);
  RUN(test_reset_limits);
  RUN(test_forged_reset);
  CHECK_DONE();
}
