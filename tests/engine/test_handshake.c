/* Handshakes that are begun and not completed: what a server is told of them, and what is counted. */
#include <string.h>

#include "check.h"
#include "io/sim.h"
#include "world.h"

/* What the server is told of a client that never got through. */
static struct {
  uint32_t why, n;
  uint64_t code;
  int remote;
  nq_addr from;
  char reason[200];
  void *user;
} failure;

static int keep_failure(side *x, const nq_event *e) {
  (void)x;
  if (e->kind != NQ_EV_HANDSHAKE_FAILED)
    return 0;
  failure.n++;
  failure.why = e->msgid;
  failure.code = e->code;
  failure.remote = (e->flags & NQ_EVF_REMOTE) != 0;
  failure.user = e->user;
  CHECK_EQ(e->handle, 0);
  REQUIRE(e->len >= sizeof failure.from && e->len - sizeof failure.from < sizeof failure.reason);
  memcpy(&failure.from, e->data, sizeof failure.from);
  memcpy(failure.reason, e->data + sizeof failure.from, e->len - sizeof failure.from);
  failure.reason[e->len - sizeof failure.from] = 0;
  return 1;
}

/* A client that falls silent, one that gives up, and one that completes its handshake: no event for the last one. */
static void test_failed_handshakes(void) {
  sim_world f;
  nq_addr local;
  sim_world_open(&f, 7);
  memset(&failure, 0, sizeof failure);
  f.w.s.hook = keep_failure;
  nq_handle c = world_connect(&f.w, "localhost");
  for (int i = 0; i < 1000 && !world_stats(f.w.s.l).accepted; i++)
    world_tick(&f.w, 0);
  CHECK_EQ(world_stats(f.w.s.l).accepted, 1);
  nq_conn_info info;
  CHECK_EQ(nq_conn_get_info(f.w.c.l, c, &info), 0);
  local = info.local;
  f.net.cut = 1;
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_HANDSHAKE_FAILED], 1, 60000));
  CHECK_EQ(failure.why, NQ_WHY_HANDSHAKE_TIMEOUT);
  CHECK(!failure.remote);
  CHECK_EQ(nq_addr_port(&failure.from), nq_addr_port(&local));
  CHECK_EQ(world_stats(f.w.s.l).handshakes_failed_timeout, 1);
  uint64_t closed = f.w.c.count[NQ_EV_CONN_CLOSE];
  world_connect(&f.w, "localhost"); /* which nobody hears */
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], (uint32_t)closed + 1, 60000));
  CHECK_EQ(world_stats(f.w.c.l).handshakes_failed_timeout, 1);
  f.net.cut = 0;
  c = world_connect(&f.w, "localhost");
  side_tick(&f.w.c, 0);
  CHECK_EQ(nq_conn_close(f.w.c.l, c, 5, "", 0, 1), 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_HANDSHAKE_FAILED], 2, 60000));
  CHECK(failure.remote);
  CHECK_EQ(world_stats(f.w.s.l).handshakes_failed_closed, 1);
  CHECK_EQ(world_stats(f.w.c.l).handshakes_failed_closed, 0); /* it did it itself */
  world_connect(&f.w, "localhost");
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_CONN_OPEN], 1, 1000));
  world_run(&f.w, 100);
  CHECK_EQ(f.w.s.count[NQ_EV_HANDSHAKE_FAILED], 2);
  nq_loop_stats s = world_stats(f.w.s.l);
  CHECK_EQ(s.handshakes_failed_tls + s.handshakes_failed_protocol + s.handshakes_failed_system, 0);
  sim_world_close(&f);
}

int main(void) {
  RUN(test_failed_handshakes);
  CHECK_DONE();
}
