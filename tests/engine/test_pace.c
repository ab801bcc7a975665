/* test_pace.c: packets of a long path keep their distance (RFC 9002 7.7), and who has nothing to send does not wait. */
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "quic/conn.h"
#include "world.h"

#define MS UINT64_C(1000000)

typedef struct fixture {
  nq_sim net;
  world w;
  nq_handle conn, raw;
  uint64_t sent; /* bytes of the client */
} fixture;

static void sniff(void *ctx, const uint8_t *data, size_t len, const nq_addr *from, const nq_addr *to) {
  (void)data;
  (void)to;
  fixture *f = ctx;
  if (from->in.sin_port == htons(5000))
    f->sent += len;
}

static void give(fixture *f, size_t n) {
  static const uint8_t block[4u << 20];
  REQUIRE(n <= sizeof block);
  CHECK(nq_stream_send(f->w.c.l, f->raw, block, n) >= 0);
  nq_loop_flush(f->w.c.l);
}

static void begin(fixture *f) {
  memset(f, 0, sizeof *f);
  nq_sim_init(&f->net, 1);
  f->net.delay = 25 * MS;
  f->net.sniff = sniff;
  f->net.sniff_ctx = f;
  world_open(&f->w, &f->net);
  f->w.s.echo = 0;
  f->conn = world_connect(&f->w, "localhost");
  f->raw = world_stream(&f->w, f->conn, NQ_KIND_RAW, "raw");
  REQUIRE(world_until(&f->w, &f->w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  give(f, 1); /* with the stream's name */
  REQUIRE(world_until(&f->w, &f->w.s.count[NQ_EV_STREAM_OPEN], 1, 5000));
  world_run(&f->w, 500);
}

static void end(fixture *f) {
  CHECK_EQ(f->w.c.count[NQ_EV_CONN_CLOSE] + f->w.s.count[NQ_EV_CONN_CLOSE], 0);
  world_close(&f->w);
  nq_sim_free(&f->net);
}

static const nq_conn *client(const fixture *f) { return nq_conn_get(&f->w.c.l->hub, f->conn); }

/* ns until the client's connection wakes. */
static uint64_t sleeps(const fixture *f) { return client(f)->timer.deadline - nq_loop_now(f->w.c.l); }

/* ns until the pace allows another packet. */
static uint64_t paced(const fixture *f) {
  uint64_t next = ngtcp2_ext_pacing_expiry(client(f)->quic);
  return next == UINT64_MAX || next < nq_loop_now(f->w.c.l) ? 0 : next - nq_loop_now(f->w.c.l);
}

/* All was sent: the next packet has to keep its distance, but there is none. What comes too early waits. */
static void test_nothing_waits(void) {
  fixture f;
  begin(&f);
  give(&f, 1000);
  CHECK(paced(&f) > 0);
  CHECK(sleeps(&f) >= 40 * MS);
  uint64_t sent = f.sent;
  give(&f, 1000);
  CHECK_EQ(f.sent, sent);
  CHECK(sleeps(&f) <= (paced(&f) > MS ? paced(&f) : MS));
  world_run(&f.w, 20);
  CHECK(f.sent >= sent + 1000);
  CHECK(sleeps(&f) >= 20 * MS);
  end(&f);
}

/* The congestion window grows. */
static void grow(fixture *f) {
  for (int i = 0; i < 6; i++) {
    give(f, 400000);
    world_run(&f->w, 500);
  }
}

/* More than may leave at once leaves bit by bit. */
static void test_much_waits(void) {
  fixture f;
  begin(&f);
  grow(&f);
  uint64_t before = f.w.s.bytes;
  give(&f, 300000);
  uint64_t sent = f.sent;
  CHECK(paced(&f) > 0);
  CHECK(sleeps(&f) <= (paced(&f) > MS ? paced(&f) : MS));
  world_run(&f.w, 20); /* no acknowledgement has come */
  CHECK(f.sent > sent);
  world_run(&f.w, 1000);
  CHECK_EQ(f.w.s.bytes - before, 300000);
  end(&f);
}

/* Time in which there was nothing to send is not made up for by packets in quick succession. */
static void test_idle_is_not_made_up_for(void) {
  fixture f;
  begin(&f);
  grow(&f);
  give(&f, 1);
  world_run(&f.w, 20000);
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(client(&f)->quic, &info);
  uint64_t sent = f.sent, most = info.cwnd * (20 * MS) / info.smoothed_rtt;
  give(&f, 4000000);
  world_run(&f.w, 20);
  sent = f.sent - sent;
  printf("    %llu bytes, by the window %llu\n", (unsigned long long)sent, (unsigned long long)most);
  CHECK(sent >= most * 3 / 4);
  CHECK(sent <= most * 2); /* a quarter faster (RFC 9002 7.7), and a turn more */
  end(&f);
}

int main(void) {
  RUN(test_nothing_waits);
  RUN(test_much_waits);
  RUN(test_idle_is_not_made_up_for);
  CHECK_DONE();
}
