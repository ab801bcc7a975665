/* test_marks.c: sends whose sender is told how they fare. */
#include "check.h"
#include "engine.h"
#include "io/sim.h"
#include "world.h"

static const uint8_t data[100000];

static nq_handle open_record(world *w, nq_handle *conn) {
  *conn = world_connect(w, "localhost");
  REQUIRE(world_until(w, &w->c.count[NQ_EV_CONN_OPEN], 1, 10000));
  return world_stream(w, *conn, NQ_KIND_RECORD, "rec");
}

static void test_every_byte_is_acknowledged_once(void) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 1);
  world_open(&w, &net);
  nq_handle conn, s = open_record(&w, &conn);
  CHECK(nq_stream_send_marked(w.c.l, s, (const uint8_t *)"hogehogehoge", 12, &w) >= 0);
  CHECK(nq_stream_send(w.c.l, s, data, 1000) >= 0); /* not marked: nothing is told of it */
  CHECK(nq_stream_send_marked(w.c.l, s, data, sizeof data, &w) >= 0);
  world_run(&w, 2000);
  CHECK_EQ(w.c.ack_ends, 2);
  CHECK_EQ(w.c.ack_cut, 0);
  CHECK_EQ(w.c.acked, 13 + 3 + sizeof data); /* with the length of each record, without the name */
  CHECK_EQ(w.c.lost, 0);
  world_close(&w);
  nq_sim_free(&net);
}

static void test_losses_are_told(void) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 7);
  world_open(&w, &net);
  nq_handle conn, s = open_record(&w, &conn);
  net.loss = NQ_SIM_ALWAYS / 10;
  for (int i = 0; i < 20; i++)
    CHECK(nq_stream_send_marked(w.c.l, s, data, sizeof data, &w) >= 0);
  CHECK(world_until(&w, &w.s.count[NQ_EV_STREAM_RECORD], 20, 60000));
  world_run(&w, 5000);
  CHECK_EQ(w.c.ack_ends, 20);
  CHECK_EQ(w.c.acked, 20 * (3 + sizeof data));
  CHECK(w.c.lost > 0);
  world_close(&w);
  nq_sim_free(&net);
}

static void test_the_end_of_the_stream_is_told(void) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 3);
  world_open(&w, &net);
  nq_handle conn, s = open_record(&w, &conn);
  world_run(&w, 100);
  net.cut = 1;
  CHECK(nq_stream_send_marked(w.c.l, s, data, 500, &w) >= 0);
  CHECK(nq_stream_send_marked(w.c.l, s, data, 500, &w) >= 0);
  nq_conn_close(w.c.l, conn, 0, "", 0, 1);
  world_run(&w, 100);
  CHECK_EQ(w.c.ack_ends, 2);
  CHECK_EQ(w.c.ack_cut, 2);
  CHECK(nq_stream_send_marked(w.c.l, s, data, 500, &w) == NQ_ERR_STALE);
  world_close(&w);
  nq_sim_free(&net);
}

int main(void) {
  RUN(test_every_byte_is_acknowledged_once);
  RUN(test_losses_are_told);
  RUN(test_the_end_of_the_stream_is_told);
  CHECK_DONE();
}
