/* test_mtu.c: how large packets become, on paths of any MTU, and what happens when a path's MTU shrinks (RFC 8899, RFC
 * 9000 14): everything arrives, and the size follows. */
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "quic/conn.h"
#include "world.h"

#define MS UINT64_C(1000000)
#define BIG (3u << 20)

typedef struct fixture {
  nq_sim net;
  world w;
  nq_handle conn, raw;
  uint64_t out, in, wrong, datagrams;
  size_t largest; /* UDP payload that the client sent */
} fixture;

static uint8_t byte_at(uint64_t i) { return (uint8_t)((i * 2654435761u) >> 13); }

static void sniff(void *ctx, const uint8_t *data, size_t len, const nq_addr *from, const nq_addr *to) {
  fixture *f = ctx;
  (void)data, (void)to;
  if ((ntohl(from->in.sin_addr.s_addr) & 0xff) == 2 && len > f->largest)
    f->largest = len;
}

static int server_sees(side *x, const nq_event *e) {
  fixture *f = x->hook_ctx;
  if (e->kind == NQ_EV_DATAGRAM)
    return f->datagrams++, 1;
  if (e->kind != NQ_EV_STREAM_DATA)
    return 0;
  for (size_t i = 0; i < e->len; i++)
    f->wrong += e->data[i] != byte_at(f->in + i);
  f->in += e->len;
  return 1;
}

static void begin(fixture *f, uint64_t seed, size_t mtu, uint64_t limit) {
  memset(f, 0, sizeof *f);
  nq_sim_init(&f->net, seed);
  f->net.delay = 10 * MS;
  f->net.mtu = mtu;
  f->net.rate = 50000000;
  f->net.sniff = sniff;
  f->net.sniff_ctx = f;
  world_open(&f->w, &f->net);
  f->w.s.hook = server_sees;
  f->w.s.hook_ctx = f;
  f->w.c.limits.max_udp_payload = limit;
}

static void open_stream(fixture *f) {
  f->conn = world_connect(&f->w, "localhost");
  f->raw = world_stream(&f->w, f->conn, NQ_KIND_RAW, "raw");
  REQUIRE(world_until(&f->w, &f->w.c.count[NQ_EV_STREAM_OPEN], 1, 30000));
  world_run(&f->w, 2000);
}

static void put(fixture *f, size_t n) {
  static uint8_t block[1 << 16];
  while (n) {
    size_t part = n < sizeof block ? n : sizeof block;
    for (size_t i = 0; i < part; i++)
      block[i] = byte_at(f->out + i);
    CHECK(nq_stream_send(f->w.c.l, f->raw, block, part) >= 0);
    f->out += part;
    n -= part;
  }
}

/* Ticks until all has arrived; the time it took, in ms. */
static uint64_t arrive(fixture *f, int most_ms) {
  uint64_t begin = f->net.now;
  while (f->in < f->out && f->net.now - begin < (uint64_t)most_ms * MS && !f->w.c.count[NQ_EV_CONN_CLOSE])
    world_tick(&f->w, 1000000);
  CHECK_EQ(f->in, f->out);
  CHECK_EQ(f->wrong, 0);
  return (f->net.now - begin) / MS;
}

static void transfer(fixture *f, size_t n, int most_ms) {
  put(f, n);
  arrive(f, most_ms);
}

static uint64_t payload(fixture *f) {
  nq_conn_info i;
  CHECK_EQ(nq_conn_get_info(f->w.c.l, f->conn, &i), 0);
  return i.max_udp_payload;
}

static uint64_t fallbacks(fixture *f) {
  nq_loop_stats s;
  nq_loop_get_stats(f->w.c.l, &s);
  return s.mtu_fallbacks;
}

static void end(fixture *f) {
  CHECK_EQ(f->w.c.count[NQ_EV_CONN_CLOSE] + f->w.s.count[NQ_EV_CONN_CLOSE], 0);
  world_close(&f->w);
  nq_sim_free(&f->net);
}

/* What a path carries is found, and no more is sent once it is; without bulk nothing above Ethernet's size is tried. */
static void test_discovery(void) {
  static const struct {
    size_t mtu;
    uint64_t limit, usual, bulk;
  } paths[] = {
      {1200, 16240, 1200, 1200}, {1280, 16240, 1232, 1232}, {1400, 16240, 1342, 1342},   {1451, 16240, 1444, 1444},
      {1452, 16240, 1452, 1452}, {9000, 16240, 1452, 8952}, {65535, 16240, 1452, 16240}, {65535, 65527, 1452, 65527},
      {65535, 1452, 1452, 1452}, {65535, 1200, 1200, 1200}, {65535, 1201, 1201, 1201},   {9000, 8000, 1452, 8000},
  };
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    fixture f;
    begin(&f, 1, paths[i].mtu, paths[i].limit);
    f.w.s.limits.max_udp_payload = 65527;
    nq_endpoint_close(f.w.s.l, f.w.s.ep);
    world_listen(&f.w);
    open_stream(&f);
    world_run(&f.w, 10000);
    CHECK_EQ(payload(&f), paths[i].usual);
    CHECK(f.largest <= 1452);
    transfer(&f, BIG, 10000);
    world_run(&f.w, 10000);
    transfer(&f, BIG, 2000);
    CHECK_EQ(payload(&f), paths[i].bulk);
    CHECK(f.largest <= paths[i].limit && f.largest >= paths[i].bulk);
    CHECK_EQ(fallbacks(&f), 0);
    f.largest = 0;
    transfer(&f, BIG, 2000);
    CHECK_EQ(f.largest, paths[i].bulk);
    end(&f);
  }
}

/* The peer's transport parameter is a bound too: ours says what we are willing to get. */
static void test_the_peers_bound(void) {
  fixture f;
  begin(&f, 2, 65535, 65527);
  f.w.s.limits.max_udp_payload = 3000;
  nq_endpoint_close(f.w.s.l, f.w.s.ep);
  world_listen(&f.w);
  open_stream(&f);
  transfer(&f, BIG, 5000);
  world_run(&f.w, 5000);
  transfer(&f, BIG, 5000);
  CHECK(f.largest <= 3000);
  CHECK(payload(&f) <= 3000);
  end(&f);
}

/* The path shrinks in mid-transfer, once and again: the rest arrives, in smaller packets. */
static void test_shrinking(void) {
  for (uint64_t seed = 42; seed <= 54; seed++)
    for (unsigned loss = 0; loss <= 50; loss += 50) {
      fixture f;
      begin(&f, seed, 9000, 16240);
      open_stream(&f);
      transfer(&f, BIG, 20000);
      world_run(&f.w, 2000);
      CHECK_EQ(payload(&f), 8952);
      f.net.loss = 1000 * loss;
      put(&f, BIG);
      world_run(&f.w, 15);
      CHECK(f.in < f.out);
      f.net.mtu = 1472;
      arrive(&f, 60000);
      if (!loss) { /* loss may keep the congestion window so small that nothing larger is sent again */
        CHECK_EQ(payload(&f), 1452);
        CHECK_EQ(fallbacks(&f), 1);
      }
      CHECK(fallbacks(&f) <= 1);
      put(&f, BIG);
      world_run(&f.w, 15);
      f.net.mtu = 1252;
      uint64_t took = arrive(&f, 60000);
      CHECK_EQ(payload(&f), 1200);
      CHECK_EQ(fallbacks(&f), 2);
      if (!loss)
        CHECK(took < 3000); /* a few probe timeouts, not minutes */
      end(&f);
    }
}

/* Small packets that pass all the time do not hide that large ones do not. */
static void test_small_traffic_hides_nothing(void) {
  fixture f;
  begin(&f, 3, 9000, 16240);
  open_stream(&f);
  transfer(&f, BIG, 5000);
  world_run(&f.w, 2000);
  CHECK_EQ(payload(&f), 8952);
  f.net.mtu = 1472;
  put(&f, BIG);
  uint64_t begin = f.net.now;
  nq_handle small = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  while (f.in < f.out && f.net.now - begin < 20000 * MS) {
    CHECK(nq_conn_send_datagram(f.w.c.l, f.conn, (const uint8_t *)"here", 4) >= 0);
    CHECK(nq_rpc_call(f.w.c.l, small, 1, (const uint8_t *)"hello", 5, 0, NULL, NULL) >= 0);
    world_run(&f.w, 5);
  }
  CHECK_EQ(f.in, f.out);
  CHECK(f.net.now - begin < 5000 * MS);
  CHECK_EQ(f.wrong, 0);
  CHECK_EQ(fallbacks(&f), 1);
  CHECK_EQ(payload(&f), 1452);
  end(&f);
}

/* Loss and outages are not taken for a path that shrank. */
static void test_bad_weather(void) {
  for (uint64_t seed = 1; seed <= 10; seed++) {
    fixture f;
    begin(&f, seed, 9000, 16240);
    open_stream(&f);
    transfer(&f, BIG, 5000);
    world_run(&f.w, 2000);
    CHECK_EQ(payload(&f), 8952);
    f.net.loss = seed % 2 ? 30000 : 150000;
    transfer(&f, BIG, 60000);
    CHECK_EQ(fallbacks(&f), 0);
    f.net.loss = 0;
    put(&f, BIG);
    for (int i = 0; i < 3; i++) {
      world_run(&f.w, 30);
      f.net.cut = 1;
      world_run(&f.w, 1500);
      f.net.cut = 0;
    }
    arrive(&f, 30000);
    CHECK_EQ(fallbacks(&f), 0);
    CHECK_EQ(payload(&f), 8952);
    end(&f);
  }
}

/* Outages of any length, at any time, under a transfer that has small packets beside the large ones, or none. Short
 * ones again and again may hit what is large each time. */
static void test_outages(void) {
  for (uint64_t seed = 1; seed <= 150; seed++) {
    fixture f;
    begin(&f, seed, seed % 4 < 2 ? 9000 : 1472, 16240);
    open_stream(&f);
    transfer(&f, BIG / 2, 5000);
    world_run(&f.w, 1000);
    uint64_t size = payload(&f);
    CHECK_EQ(size, seed % 4 < 2 ? 8952 : 1452);
    uint64_t longest = seed % 5 == 0 ? 1500 : seed % 5 == 1 ? 300 : 40; /* ms */
    for (int i = 0; i < (longest > 1000 ? 8 : 30); i++) { /* not for so long that the connection idles */
      int rest = 5 + (int)(nq_sim_random(&f.net) % 60), out = 1 + (int)(nq_sim_random(&f.net) % longest);
      for (int k = 0; k < rest + out; k += 5) {
        f.net.cut = k >= rest;
        if (f.out - f.in < 300000)
          put(&f, 60000);
        if (seed % 2)
          nq_conn_send_datagram(f.w.c.l, f.conn, (const uint8_t *)"here", 4);
        world_run(&f.w, 5);
      }
      f.net.cut = 0;
    }
    arrive(&f, 60000);
    CHECK_EQ(fallbacks(&f), 0);
    CHECK_EQ(payload(&f), size);
    end(&f);
  }
}

/* Is a path a black hole when this became of packets? A letter each: s and l arrived, S and L are lost, L and l are
 * large. A bar ends a burst; each is sent when it is known what became of the one before. Losses are told last, of the
 * last packet first, as ngtcp2 does. */
static int found_after(const char *bursts) {
  nq_hub l = {.now = 1000 * MS};
  nq_conn c = {.hub = &l, .confirmed = 1, .mtu.path = 1452};
  for (; *bursts; bursts += *bursts == '|') {
    uint64_t sent = l.now;
    size_t n = strcspn(bursts, "|");
    l.now += 20 * MS;
    for (size_t i = 0; i < n; i++)
      if (strchr("sl", bursts[i]))
        nq_mtu_outcome(&c, sent, bursts[i] == 'l' ? 1452 : 1200, 0);
    for (size_t i = n; i--;)
      if (strchr("SL", bursts[i]))
        nq_mtu_outcome(&c, sent, bursts[i] == 'L' ? 1452 : 1200, 1);
    bursts += n;
  }
  return c.mtu.watch[0].found || c.mtu.watch[1].found;
}

static void test_evidence(void) {
  CHECK(!found_after("sLLLL|sLLLL"));
  CHECK(found_after("sLLLL|sLLLL|sLLLL"));
  CHECK(found_after("L|L|L"));
  CHECK(!found_after("sLLLL|sLLLl|sLLLL|sLLLL"));  /* one arrived */
  CHECK(!found_after("sLLLL|lLLLL|sLLLL|sLLLL"));
  CHECK(!found_after("sLLLL|sLLLL|sLLLL|l"));      /* at last: it was late only */
  CHECK(!found_after("SLLLL|SLLLL|SLLLL|SLLLL"));  /* small ones of the same time are lost, too */
  CHECK(!found_after("LLLLS|LLLLS|LLLLS|LLLLS"));
  CHECK(!found_after("sLLLL|SLLLL|sLLLL"));
  CHECK(found_after("sLLLL|SLLLL|sLLLL|sLLLL"));   /* that proves nothing, and takes nothing back */
  CHECK(!found_after("sSsSsSsSsS|sL|sL|sL|sL"));   /* everything gets lost lately */
  CHECK(found_after("sSsSsSsSsS|sL|sL|sL|sL|sL|sL|sL|sL"));
}

/* Packets overtake each other by many times the round trip's least: many are taken for lost, and arrive. */
static void test_reordering(void) {
  static uint8_t block[NQ_MTU_COMMON];
  for (uint64_t seed = 1; seed <= 24; seed++) {
    fixture f;
    begin(&f, seed, seed % 2 ? 9000 : 1472, 16240);
    f.net.delay = 5 * MS;
    f.net.rate = 0;
    open_stream(&f);
    nq_handle small = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
    world_run(&f.w, 1000);
    size_t large = nq_conn_max_datagram(f.w.c.l, f.conn);
    CHECK(large <= sizeof block);
    f.net.jitter = 60 * MS;
    for (int i = 0; i < 300; i++) { /* like a game's: large now and then, small all the time */
      if (i % 4 == 0)
        CHECK(nq_conn_send_datagram(f.w.c.l, f.conn, block, large) >= 0);
      CHECK(nq_conn_send_datagram(f.w.c.l, f.conn, block, 40) >= 0);
      CHECK(nq_rpc_call(f.w.c.l, small, 1, block, 8, 0, NULL, NULL) >= 0);
      world_run(&f.w, 5);
      if (seed % 3 == 0 && i % 10 == 0)
        put(&f, 30000);
    }
    CHECK_EQ(fallbacks(&f), 0);
    transfer(&f, BIG / 8, 60000);
    CHECK_EQ(fallbacks(&f), 0);
    CHECK(payload(&f) >= 1452);
    end(&f);
  }
}

/* A black hole is found within a few round trips, even if one packet in twenty is lost besides. */
static void test_found_soon(void) {
  for (uint64_t seed = 1; seed <= 20; seed++)
    for (unsigned loss = 0; loss <= 50; loss += 50) {
      fixture f;
      begin(&f, seed, 1472, 16240);
      open_stream(&f);
      transfer(&f, BIG / 4, 5000);
      CHECK_EQ(payload(&f), 1452);
      f.net.mtu = 1252;
      f.net.loss = 1000 * loss;
      nq_handle small = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
      put(&f, BIG / 4);
      uint64_t since = f.net.now;
      while (!fallbacks(&f) && f.net.now - since < 10000 * MS) {
        if (seed % 2)
          CHECK(nq_rpc_call(f.w.c.l, small, 1, NULL, 0, 0, NULL, NULL) >= 0);
        world_run(&f.w, 5);
      }
      CHECK(f.net.now - since < (loss ? 2000 : 400) * MS); /* of 20 ms, and up to 145 with the queue of the path */
      arrive(&f, 30000);
      CHECK_EQ(fallbacks(&f), 1);
      CHECK_EQ(payload(&f), 1200);
      end(&f);
    }
}

/* A path of 9,000 bytes carries 1,252 now, and that was found in two steps. */
static void begin_fallen(fixture *f, uint64_t seed) {
  begin(f, seed, 9000, 16240);
  open_stream(f);
  transfer(f, BIG, 5000);
  world_run(&f->w, 2000);
  f->net.mtu = 1252;
  transfer(f, BIG, 20000);
  CHECK_EQ(payload(f), 1200);
}

/* Seconds after a fallback one large packet is tried, and again after twice the time: when it arrives, large ones are
 * sent again, in as many steps as it went down. */
static void test_trials(void) {
  fixture f;
  begin_fallen(&f, 6);
  CHECK_EQ(fallbacks(&f), 2);
  uint64_t at = f.net.now, tried[8] = {0}, small = f.largest = 0;
  unsigned n = 0;
  while (f.net.now - at < 500000 * MS) {
    f.largest = 0;
    transfer(&f, 20000, 5000);
    if (f.largest > 1200 && n < 8)
      tried[n++] = (f.net.now - at) / MS;
    small += f.largest <= 1200;
    world_run(&f.w, 500);
  }
  CHECK_EQ(n, 5); /* after 10, 30, 70, 150 and 310 s */
  for (unsigned i = 0, s = 10; i < n; i++, s += 10u << i)
    CHECK(tried[i] + 2000 > s * 1000 && tried[i] < s * 1000 + 4000);
  CHECK(small > 500);
  CHECK_EQ(fallbacks(&f), 2); /* a trial that is lost is none */
  CHECK_EQ(payload(&f), 1200);
  end(&f);

  begin_fallen(&f, 7);
  f.net.mtu = 9000;
  at = f.net.now;
  for (uint64_t was = 1200; payload(&f) < 8952 && f.net.now - at < 60000 * MS;) {
    transfer(&f, BIG / 4, 5000);
    world_run(&f.w, 100);
    CHECK(payload(&f) == was || (was == 1200 && payload(&f) == 1452) || (was == 1452 && payload(&f) == 8952));
    was = payload(&f);
  }
  CHECK(f.net.now - at < 45000 * MS);
  f.largest = 0;
  transfer(&f, BIG, 5000);
  CHECK_EQ(f.largest, 8952);
  CHECK_EQ(fallbacks(&f), 2);
  end(&f);
}

/* After ten minutes a path is given another chance (PMTU_RAISE_TIMER), and may lose it again. */
static void test_another_chance(void) {
  fixture f;
  begin(&f, 4, 9000, 16240);
  open_stream(&f);
  transfer(&f, BIG, 5000);
  world_run(&f.w, 2000);
  f.net.mtu = 1472;
  transfer(&f, BIG, 20000);
  CHECK_EQ(payload(&f), 1452);
  for (int i = 0; i < 70; i++) {
    world_run(&f.w, 10000);
    put(&f, 10000);
    arrive(&f, 5000);
  }
  transfer(&f, BIG, 20000);
  CHECK_EQ(fallbacks(&f), 2);
  CHECK_EQ(payload(&f), 1452);
  f.net.mtu = 9000;
  for (int i = 0; i < 70; i++) {
    world_run(&f.w, 10000);
    put(&f, 100);
    arrive(&f, 5000);
  }
  transfer(&f, BIG, 5000);
  CHECK_EQ(payload(&f), 8952);
  CHECK_EQ(fallbacks(&f), 2);
  end(&f);
}

/* Datagrams are of the usual size however large a path is; when it has shrunk, those of yesterday's size are refused
 * and stop nothing. */
static void test_datagrams(void) {
  static uint8_t block[9000];
  fixture f;
  begin(&f, 5, 9000, 16240);
  open_stream(&f);
  transfer(&f, BIG, 5000);
  world_run(&f.w, 2000);
  CHECK_EQ(payload(&f), 8952);
  size_t large = nq_conn_max_datagram(f.w.c.l, f.conn);
  CHECK(large > 1350 && large < 1452);
  CHECK(nq_conn_send_datagram(f.w.c.l, f.conn, block, large) >= 0);
  world_run(&f.w, 100);
  CHECK_EQ(f.datagrams, 1);
  end(&f);
  begin(&f, 5, 1472, 16240);
  open_stream(&f);
  world_run(&f.w, 2000);
  CHECK_EQ(nq_conn_max_datagram(f.w.c.l, f.conn), large);
  f.net.mtu = 1252;
  uint64_t begin = f.net.now;
  while (!fallbacks(&f) && f.net.now - begin < 10000 * MS) { /* datagrams alone tell, too */
    CHECK(nq_conn_send_datagram(f.w.c.l, f.conn, block, large) >= 0);
    world_run(&f.w, 20);
  }
  CHECK_EQ(fallbacks(&f), 1);
  CHECK_EQ(nq_conn_send_datagram(f.w.c.l, f.conn, block, large), NQ_ERR_TOOBIG);
  size_t small = nq_conn_max_datagram(f.w.c.l, f.conn);
  CHECK(small > 1100 && small < 1200);
  CHECK(nq_conn_send_datagram(f.w.c.l, f.conn, block, small) >= 0);
  CHECK(nq_conn_send_datagram(f.w.c.l, f.conn, block, small) >= 0);
  world_run(&f.w, 100);
  CHECK_EQ(f.datagrams, 2);
  transfer(&f, 100000, 5000);
  end(&f);
}

int main(void) {
  RUN(test_discovery);
  RUN(test_the_peers_bound);
  RUN(test_shrinking);
  RUN(test_small_traffic_hides_nothing);
  RUN(test_bad_weather);
  RUN(test_outages);
  RUN(test_evidence);
  RUN(test_reordering);
  RUN(test_found_soon);
  RUN(test_trials);
  RUN(test_another_chance);
  RUN(test_datagrams);
  CHECK_DONE();
}
