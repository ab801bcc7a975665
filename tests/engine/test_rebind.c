/* test_rebind.c: a NAT gives the client one new port after the other while packets are lost. When the network is well
 * again, the connection goes on: what was lost on the way to a new path does not fill the congestion window for ever.
 */
#include "check.h"
#include "sim.h"
#include "world.h"

#define MS UINT64_C(1000000)
#define CLIENT 2  /* its host, and the port behind its NAT: see world.c */
#define PORT 5000
#define SEEDS 30

/* A connection is moved `rebinds` times while `loss` per mille are lost. ms of a well network until a call is answered;
 * no answer is a failed check. */
static uint64_t ms_to_answer(uint64_t seed, unsigned loss, int rebinds) {
  sim net;
  world w;
  sim_init(&net, seed);
  net.delay = 2 * MS;
  sim_rebind(&net, CLIENT, PORT);
  world_open(&w, &net);
  w.c.limits.keep_alive = 20 * MS; /* the server hears of a new port without being asked */
  nq_handle conn = world_connect(&w, "localhost");
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  world_run(&w, 100);
  net.loss = loss;
  for (int i = 0; i < rebinds; i++) {
    sim_rebind(&net, CLIENT, PORT);
    world_run(&w, 20 + (int)(sim_random(&net) % 100));
  }
  CHECK(!loss || net.lost > 0);
  net.loss = 0;
  uint64_t start = net.now;
  CHECK(nq_rpc_call(w.c.l, rpc, 1, (const uint8_t *)"hello", 5, NQ_SEC(60), NULL, NULL) >= 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 1, 40000)); /* longer than the idle timeout */
  uint64_t took = (net.now - start) / MS;
  CHECK_EQ(w.c.gone + w.c.timeouts, 0);
  CHECK_EQ(w.c.count[NQ_EV_CONN_CLOSE], 0);
  CHECK(w.c.n_kept == 5 && memcmp(w.c.kept, "hello", 5) == 0);
  /* The server knows the last port: what it sends of itself arrives. */
  nq_conn_info info;
  CHECK_EQ(nq_conn_get_info(w.s.l, w.s.conn, &info), 0);
  CHECK_EQ(info.remote.in.sin_port, htons(net.nat_port));
  world_close(&w);
  sim_free(&net);
  return took;
}

/* Before ngtcp2 was mended (vendor/README.md), up to ten of thirty of them were silent until the idle timeout. */
static void test_new_ports_under_loss(void) {
  static const int rebinds[] = {2, 9, 16, 30};
  for (unsigned loss = 100; loss <= 500; loss += 100)
    for (size_t i = 0; i < sizeof rebinds / sizeof *rebinds; i++) {
      uint64_t worst = 0;
      for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t took = ms_to_answer(seed, loss, rebinds[i]);
        worst = took > worst ? took : worst;
      }
      CHECK(worst < 10000); /* of the virtual clock: a few probe timeouts, backed off while nothing arrived */
    }
}

static void test_new_ports(void) { CHECK(ms_to_answer(1, 0, 30) < 100); }

int main(void) {
  RUN(test_new_ports_under_loss);
  RUN(test_new_ports);
  CHECK_DONE();
}
