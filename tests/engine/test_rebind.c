/* test_rebind.c: a NAT gives the client one new port after the other while packets are lost. When the network is well
 * again, the connection goes on: what was lost on the way to a new path does not fill the congestion window for ever.
 * Nor does what was lost and need not be sent again, without any NAT.
 */
#include "check.h"
#include "io/sim.h"
#include "world.h"

#define MS UINT64_C(1000000)
#define CLIENT 2  /* its host, and the port behind its NAT: see world.c */
#define PORT 5000
#define SEEDS 30

static nq_sim net;

/* The port that the client is seen under from now on. */
static uint16_t rebind(void) {
  nq_addr inner = nq_sim_address(CLIENT, PORT);
  uint16_t port = nq_sim_rebind(&net, &inner);
  REQUIRE(port != 0);
  return port;
}

/* A connection is moved `rebinds` times while `loss` per mille are lost; with `resets`, a stream is given up each time.
 * ms of a well network until a call is answered; no answer is a failed check. */
static uint64_t ms_to_answer(uint64_t seed, unsigned loss, int rebinds, int resets) {
  static const uint8_t given_up[6000];
  world w;
  nq_sim_init(&net, seed);
  net.delay = 2 * MS;
  uint16_t port = rebind();
  world_open(&w, &net);
  w.c.limits.keep_alive = 20 * MS; /* the server hears of a new port without being asked */
  nq_handle conn = world_connect(&w, "localhost");
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  world_run(&w, 100);
  net.loss = 1000 * loss;
  for (int i = 0; i < rebinds; i++) {
    port = rebind();
    world_run(&w, 20 + (int)(nq_sim_random(&net) % 100));
    if (!resets)
      continue;
    nq_handle raw = world_stream(&w, conn, NQ_KIND_RAW, "raw"); /* both sides stop: its echo is under way */
    CHECK(nq_stream_send(w.c.l, raw, given_up, sizeof given_up) >= 0);
    world_run(&w, (int)(nq_sim_random(&net) % 30));
    nq_stream_reset(w.c.l, raw, 7);
    if (i % 2)
      port = rebind();
  }
  CHECK(!loss || net.lost > 0);
  net.loss = 0;
  uint64_t start = net.now;
  CHECK(nq_rpc_call(w.c.l, rpc, 1, (const uint8_t *)"hello", 5, NQ_SEC(60), NULL, NULL) >= 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 1, 40000)); /* longer than the idle timeout */
  uint64_t took = (net.now - start) / MS;
  CHECK_EQ(w.c.gone + w.c.timeouts, 0);
  CHECK_EQ(w.c.count[NQ_EV_CONN_CLOSE], 0);
  CHECK(resets || w.c.n_kept == 5); /* else echoes came, too */
  CHECK(memmem(w.c.kept, w.c.n_kept, "hello", 5) != NULL);
  /* The server knows the last port: what it sends of itself arrives. */
  nq_conn_info info;
  CHECK_EQ(nq_conn_get_info(w.s.l, w.s.conn, &info), 0);
  CHECK_EQ(info.remote.in.sin_port, htons(port));
  world_close(&w);
  nq_sim_free(&net);
  return took;
}

static void under_loss(int resets) {
  static const int rebinds[] = {2, 9, 16, 30};
  for (unsigned loss = 100; loss <= 500; loss += 100)
    for (size_t i = 0; i < sizeof rebinds / sizeof *rebinds; i++) {
      uint64_t worst = 0;
      for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t took = ms_to_answer(seed, loss, rebinds[i], resets);
        worst = took > worst ? took : worst;
      }
      CHECK(worst < 10000); /* of the virtual clock: a few probe timeouts, backed off while nothing arrived */
    }
}

/* With ngtcp2 as it is published (vendor/README.md), up to ten of thirty were silent until the idle timeout. */
static void test_new_ports_under_loss(void) { under_loss(0); }

/* The server runs into its amplification limit on path after path: 22 of 600 were silent when that took its probe timer
 * off for good. */
static void test_streams_given_up(void) { under_loss(1); }

static void test_new_ports(void) { CHECK(ms_to_answer(1, 0, 30, 0) < 100); }

/* A reply is acknowledged late, when copies of it have been sent and lost. Nothing of them is wanted, but they are in
 * flight and fill the window: 4 of these 10 servers did not send again while there was no probe for them. */
static void test_late_acknowledgements(void) {
  static const uint8_t body[3000];
  for (size_t size = 300; size <= sizeof body; size += 300) {
    world w;
    nq_sim_init(&net, 1);
    net.delay = 2 * MS;
    world_open(&w, &net);
    w.c.limits.keep_alive = 20 * MS; /* the client is heard of all the time */
    nq_handle conn = world_connect(&w, "localhost");
    REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
    nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
    world_run(&w, 100);
    /* So much is lost that the server's window is as small as can be (RFC 9002 7.6). */
    net.cut_to = nq_sim_address(CLIENT, 0);
    CHECK(nq_rpc_call(w.c.l, rpc, 1, body, size, NQ_SEC(60), NULL, NULL) >= 0);
    world_run(&w, 500);
    net.cut_to = (nq_addr){.len = 0};
    REQUIRE(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 1, 5000));
    world_run(&w, 200);
    /* The next reply arrives after a while, what is sent after it does not. */
    CHECK(nq_rpc_call(w.c.l, rpc, 1, body, size, NQ_SEC(60), NULL, NULL) >= 0);
    world_run(&w, 1);
    net.delay = 200 * MS;
    world_run(&w, 3);
    net.cut_to = nq_sim_address(CLIENT, 0);
    world_run(&w, 500);
    net.cut_to = (nq_addr){.len = 0};
    net.delay = 2 * MS;
    REQUIRE(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 2, 5000));
    world_run(&w, 1000);
    CHECK(nq_rpc_call(w.c.l, rpc, 1, body, 1, NQ_SEC(60), NULL, NULL) >= 0);
    CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 3, 1000));
    CHECK_EQ(w.c.count[NQ_EV_CONN_CLOSE] + w.c.gone + w.c.timeouts, 0);
    CHECK_EQ(w.c.bytes, 2 * size + 1);
    world_close(&w);
    nq_sim_free(&net);
  }
}

int main(void) {
  RUN(test_new_ports_under_loss);
  RUN(test_streams_given_up);
  RUN(test_new_ports);
  RUN(test_late_acknowledgements);
  CHECK_DONE();
}
