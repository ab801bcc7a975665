/* test_idle.c: silence. Who waits for the peer keeps the connection; what keeps it alive is shorter than what ends it.
 */
#include <string.h>

#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "world.h"

#define MS UINT64_C(1000000)
#define IDLE 2000 /* ms */

static void begin(sim_world *f, void (*set)(nq_limits *server)) {
  sim_world_open(f, 61);
  f->w.s.limits.idle_timeout = IDLE * MS;
  if (set)
    set(&f->w.s.limits);
  sim_world_listen(f);
  f->w.s.echo = 0;
  sim_world_connect(f);
}

/* It lives for long, and ends in time when nobody is there any more. */
static void outlives(sim_world *f) {
  world_run(&f->w, 10 * IDLE);
  CHECK_EQ(f->w.c.count[NQ_EV_CONN_CLOSE] + f->w.s.count[NQ_EV_CONN_CLOSE], 0);
  CHECK_EQ(f->w.c.count[NQ_EV_PONG], 0);
  f->net.cut = 1;
  CHECK(world_until(&f->w, &f->w.c.count[NQ_EV_CONN_CLOSE], 1, 2 * IDLE));
  CHECK_EQ(f->w.c.why, NQ_WHY_IDLE);
  CHECK(world_until(&f->w, &f->w.s.count[NQ_EV_CONN_CLOSE], 1, 2 * IDLE));
  sim_world_close(f);
}

static void test_idle_ends(void) {
  sim_world f;
  begin(&f, NULL);
  world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc"); /* its name waits for a first call: nobody waits for the peer */
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 2 * IDLE));
  sim_world_close(&f);
}

static int pause_it(side *x, const nq_event *e) {
  if (e->kind == NQ_EV_STREAM_OPEN)
    nq_stream_pause(x->l, e->handle);
  return 0;
}

static void small_connection(nq_limits *l) { l->connection_window = 100000; }

/* A reader that takes its time: the credit of the stream, or of the connection, is used up. */
static void test_blocked_by_credit(void) {
  for (int whole = 0; whole < 2; whole++) {
    sim_world f;
    begin(&f, whole ? small_connection : NULL);
    f.w.s.hook = pause_it;
    nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
    for (int i = 0; i < 60; i++)
      nq_stream_send(f.w.c.l, s, (const uint8_t[20000]){0}, 20000);
    world_run(&f.w, 1000);
    CHECK(nq_stream_queued(f.w.c.l, s) > 500000);
    outlives(&f);
  }
}

static void one_stream(nq_limits *l) { l->max_streams_bidi = 1; }

static void test_blocked_by_streams(void) {
  sim_world f;
  begin(&f, one_stream);
  for (int i = 0; i < 2; i++)
    nq_stream_send(f.w.c.l, world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw"), (const uint8_t *)"x", 1);
  world_run(&f.w, 100);
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_OPEN], 1);
  outlives(&f);
}

static void test_call_under_way(void) {
  sim_world f;
  begin(&f, NULL);
  nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  uint32_t id;
  REQUIRE(nq_rpc_call(f.w.c.l, s, 1, NULL, 0, 3600000 * MS, NULL, &id) == 0);
  outlives(&f);
  begin(&f, NULL);
  s = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  REQUIRE(nq_rpc_call(f.w.c.l, s, 1, NULL, 0, 3600000 * MS, NULL, &id) == 0);
  world_run(&f.w, 3 * IDLE);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 0);
  nq_rpc_cancel(f.w.c.l, s, id); /* nobody waits any more */
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 3 * IDLE));
  CHECK_EQ(f.w.c.why, NQ_WHY_IDLE);
  sim_world_close(&f);
}

/* keep_alive at or above what holds for both sides is corrected, and that is said. */
static void test_keep_alive_is_corrected(void) {
  static const int cases[][2] = {{500, 0}, {IDLE, 1}, {IDLE + 1000, 1}};
  for (int i = 0; i < 3; i++) {
    sim_world f;
    sim_world_open(&f, 62);
    f.w.s.limits.idle_timeout = IDLE * MS;
    sim_world_listen(&f);
    f.w.c.limits.keep_alive = (uint64_t)cases[i][0] * MS;
    sim_world_connect(&f);
    CHECK_EQ(f.w.c.count[NQ_EV_LOG], cases[i][1]);
    outlives(&f);
  }
}

static void test_off(void) {
  for (int sides = 1; sides <= 2; sides++) {
    sim_world f;
    sim_world_open(&f, 63);
    f.w.s.limits.idle_timeout = 0;
    f.w.c.limits.idle_timeout = sides == 2 ? 0 : IDLE * MS;
    f.w.c.limits.keep_alive = sides == 2 ? 5000 * MS : 0;
    sim_world_listen(&f);
    sim_world_connect(&f);
    CHECK_EQ(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 100 * IDLE), sides == 1); /* the one that has one */
    CHECK_EQ(f.w.c.count[NQ_EV_LOG], 0);
    sim_world_close(&f);
  }
}

int main(void) {
  RUN(test_idle_ends);
  RUN(test_blocked_by_credit);
  RUN(test_blocked_by_streams);
  RUN(test_call_under_way);
  RUN(test_keep_alive_is_corrected);
  RUN(test_off);
  CHECK_DONE();
}
