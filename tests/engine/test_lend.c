/* test_lend.c: bytes sent without a copy (nq_stream_lend): they are given back when all are acknowledged, or when the
 * stream has ended in whatever way; not before, and once. Those of test_chaos.c and test_lossy.c are lent, too. */
#include "check.h"
#include "io/sim.h"
#include "world.h"

#define MS UINT64_C(1000000)
#define SIZE 100000u

typedef struct fixture {
  nq_sim net;
  world w;
  nq_handle conn;
  uint8_t data[SIZE];
} fixture;

static uint64_t lent(void) { return world_lent - world_returned; }

static fixture *begin(void) {
  fixture *f = calloc(1, sizeof *f);
  REQUIRE(f != NULL);
  nq_sim_init(&f->net, 7);
  f->net.delay = 5 * MS;
  world_open(&f->w, &f->net);
  f->w.s.echo = 0;
  f->w.c.limits.idle_timeout = 1000 * MS;
  f->w.c.limits.keep_alive = 0;
  f->conn = world_connect(&f->w, "localhost");
  REQUIRE(world_until(&f->w, &f->w.s.count[NQ_EV_CONN_OPEN], 1, 5000));
  REQUIRE(world_until(&f->w, &f->w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  for (size_t i = 0; i < SIZE; i++)
    f->data[i] = (uint8_t)(i * 2654435761u >> 13);
  CHECK_EQ(lent(), 0);
  return f;
}

static void end(fixture *f) {
  world_close(&f->w);
  CHECK_EQ(lent(), 0);
  nq_sim_free(&f->net);
  free(f);
}

static uint64_t in_use(nq_loop *l) {
  nq_loop_stats s;
  nq_loop_get_stats(l, &s);
  return s.send_buffer_bytes;
}

/* A stream whose first bytes have arrived, with 3 times SIZE lent after them; what of it has left has not come yet. */
static nq_handle lend_some(fixture *f, nq_stream_kind kind) {
  nq_handle s = world_stream(&f->w, f->conn, kind, kind == NQ_KIND_RAW ? "raw" : "rec");
  CHECK_EQ(nq_stream_send(f->w.c.l, s, (const uint8_t *)"x", 1), 0);
  CHECK(world_until(&f->w, &f->w.s.count[NQ_EV_STREAM_OPEN], 1, 1000));
  world_run(&f->w, 50);
  f->w.s.n_kept = 0;
  f->w.c.count[NQ_EV_RETURNED] = 0;
  for (int i = 0; i < 3; i++)
    CHECK(world_lend(f->w.c.l, s, f->data, SIZE) >= 0);
  nq_loop_flush(f->w.c.l);
  world_run(&f->w, 2);
  CHECK_EQ(lent(), 3);
  return s;
}

static void test_acknowledged(void) {
  for (int k = 0; k < 2; k++) {
    fixture *f = begin();
    nq_handle s = lend_some(f, k ? NQ_KIND_RAW : NQ_KIND_RECORD);
    CHECK(in_use(f->w.c.l) >= 3 * SIZE);
    CHECK_EQ(f->w.c.count[NQ_EV_RETURNED], 0);
    f->net.loss = NQ_SIM_ALWAYS / 5; /* what is lost is sent again, from the same bytes */
    world_run(&f->w, 3000);
    CHECK_EQ(nq_stream_queued(f->w.c.l, s), 0);
    CHECK(f->w.c.count[NQ_EV_RETURNED] >= 1 && f->w.c.count[NQ_EV_RETURNED] <= 3);
    CHECK_EQ(lent(), 0);
    CHECK(in_use(f->w.c.l) < SIZE);
    REQUIRE(f->w.s.n_kept == 3 * SIZE);
    for (size_t i = 0; i < 3; i++)
      CHECK(memcmp(f->w.s.kept + i * SIZE, f->data, SIZE) == 0);
    end(f);
  }
}

/* Not while a byte of it may have to be sent again. */
static void test_not_before(void) {
  fixture *f = begin();
  lend_some(f, NQ_KIND_RAW);
  f->net.loss = NQ_SIM_ALWAYS;
  world_run(&f->w, 200);
  CHECK_EQ(lent(), 3);
  CHECK_EQ(f->w.c.count[NQ_EV_CONN_CLOSE], 0);
  f->net.loss = 0;
  world_run(&f->w, 2000);
  CHECK_EQ(lent(), 0);
  end(f);
}

static void test_endings_of_the_stream(void) {
  for (int k = 0; k < 5; k++) {
    fixture *f = begin();
    nq_handle s = lend_some(f, NQ_KIND_RAW);
    nq_loop *c = f->w.c.l, *peer = f->w.s.l;
    switch (k) {
    case 0: /* given up by both */
      CHECK_EQ(nq_stream_reset(c, s, 1), 0);
      CHECK_EQ(nq_stream_stop(c, s, 1), 0);
      break;
    case 1:
      CHECK_EQ(nq_stream_reset(c, s, 1), 0);
      CHECK_EQ(nq_stream_finish(peer, f->w.s.stream), 0);
      break;
    case 2: /* not wanted by the peer */
      CHECK_EQ(nq_stream_stop(peer, f->w.s.stream, 1), 0);
      CHECK_EQ(nq_stream_finish(peer, f->w.s.stream), 0);
      break;
    case 3:
      CHECK_EQ(nq_stream_reset(peer, f->w.s.stream, 1), 0);
      CHECK_EQ(nq_stream_stop(peer, f->w.s.stream, 1), 0);
      break;
    default:
      CHECK_EQ(nq_stream_close(c, s), 0);
      CHECK_EQ(nq_stream_close(peer, f->w.s.stream), 0);
    }
    CHECK(world_until(&f->w, &f->w.c.count[NQ_EV_STREAM_CLOSE], 1, 1000));
    world_run(&f->w, 5); /* nothing but the return is left to be told */
    CHECK_EQ(lent(), 0);
    CHECK_EQ(in_use(c), 0);
    end(f);
  }
}

static void test_endings_of_the_connection(void) {
  for (int k = 0; k < 5; k++) {
    fixture *f = begin();
    lend_some(f, NQ_KIND_RAW);
    switch (k) {
    case 0:
      nq_conn_close(f->w.c.l, f->conn, 1, "bye", 3, 1);
      break;
    case 1: /* once it is delivered */
      nq_conn_free(f->w.c.l, f->conn);
      break;
    case 2:
      nq_conn_close(f->w.s.l, f->w.s.conn, 1, "bye", 3, 0);
      break;
    case 3: /* lost: nothing comes through, until the idle timeout */
      f->net.loss = NQ_SIM_ALWAYS;
      CHECK(world_until(&f->w, &f->w.c.count[NQ_EV_CONN_CLOSE], 1, 60000));
      CHECK_EQ(f->w.c.why, NQ_WHY_IDLE);
      break;
    default:
      nq_conn_fail(f->w.c.l, f->conn, NQ_WHY_SYSTEM, 1, "gone");
    }
    world_run(&f->w, 1000);
    CHECK_EQ(lent(), 0);
    CHECK_EQ(in_use(f->w.c.l), 0);
    end(f);
  }
}

/* Streams that wait for an ID have sent nothing yet; and a connection may never be. */
static void test_never_sent(void) {
  fixture *f = begin();
  nq_handle s[200];
  for (int i = 0; i < 200; i++) {
    s[i] = world_stream(&f->w, f->conn, NQ_KIND_RAW, "raw");
    CHECK(world_lend(f->w.c.l, s[i], f->data, 1000) >= 0);
  }
  nq_stream_close(f->w.c.l, s[199]);
  nq_stream_reset(f->w.c.l, s[198], 1);
  nq_conn_close(f->w.c.l, f->conn, 0, "", 0, 1);
  world_run(&f->w, 1000);
  CHECK_EQ(lent(), 0);
  f->net.loss = NQ_SIM_ALWAYS;
  nq_handle conn = world_connect(&f->w, "localhost");
  CHECK(world_lend(f->w.c.l, world_stream(&f->w, conn, NQ_KIND_RECORD, "rec"), f->data, SIZE) >= 0);
  world_run(&f->w, 1);
  CHECK_EQ(lent(), 1);
  nq_conn_free(f->w.c.l, conn);
  world_run(&f->w, 1000);
  CHECK_EQ(lent(), 0);
  end(f);
}

/* The loop is freed with bytes on their way, and with some given back that nobody has asked for. */
static void test_loop_freed(void) {
  fixture *f = begin();
  nq_handle s = lend_some(f, NQ_KIND_RAW);
  nq_stream_reset(f->w.c.l, s, 1);
  nq_stream_stop(f->w.c.l, s, 1);
  lend_some(f, NQ_KIND_RECORD);
  end(f);
  f = begin();
  lend_some(f, NQ_KIND_RECORD);
  nq_conn_free(f->w.c.l, f->conn);
  end(f);
}

/* Given back by a flush: the next poll does not sleep on it. */
static void test_no_sleep(void) {
  fixture *f = begin();
  nq_loop *l = f->w.c.l;
  lend_some(f, NQ_KIND_RAW);
  nq_conn_close(l, f->conn, 1, "bye", 3, 1);
  uint32_t events = 0;
  for (int i = 0; i < 10 && !events; i++) {
    int n = nq_loop_poll(l, 0);
    for (int k = 0; k < n; k++)
      events += nq_loop_events(l)[k].kind == NQ_EV_RETURNED;
    int more = nq_loop_flush(l);
    CHECK(more || events);
  }
  CHECK_EQ(events, 1);
  CHECK_EQ(nq_loop_flush(l), 1); /* until it is asked for */
  for (void *p; (p = nq_loop_returned(l)); world_returned++)
    free(p);
  CHECK_EQ(lent(), 0);
  CHECK_EQ(nq_loop_flush(l), 0);
  end(f);
}

static void test_refused(void) {
  fixture *f = begin();
  nq_loop *l = f->w.c.l;
  uint8_t *p = f->data;
  nq_handle raw = world_stream(&f->w, f->conn, NQ_KIND_RAW, "raw");
  nq_handle rec = world_stream(&f->w, f->conn, NQ_KIND_RECORD, "rec");
  nq_handle rpc = world_stream(&f->w, f->conn, NQ_KIND_RPC, "rpc");
  CHECK_EQ(nq_stream_lend(l, raw, p, 0, p), NQ_ERR_ARG);
  CHECK_EQ(nq_stream_lend(l, raw, p, 10, NULL), NQ_ERR_ARG);
  CHECK_EQ(nq_stream_lend(l, raw, p, (1u << 30) + 1, p), NQ_ERR_ARG);
  CHECK_EQ(nq_stream_lend(l, raw, p, 1u << 30, p), NQ_ERR_FULL);
  CHECK_EQ(nq_stream_lend(l, rec, p, f->w.c.limits.max_message_size + 1, p), NQ_ERR_TOOBIG);
  CHECK_EQ(nq_stream_lend(l, rpc, p, 10, p), NQ_ERR_STATE);
  CHECK_EQ(nq_stream_lend(l, 777, p, 10, p), NQ_ERR_STALE);
  CHECK_EQ(nq_stream_finish(l, raw), 0);
  CHECK_EQ(nq_stream_lend(l, raw, p, 10, p), NQ_ERR_STATE);
  CHECK(!nq_loop_returned(l));
  world_run(&f->w, 50);
  CHECK_EQ(f->w.c.count[NQ_EV_RETURNED], 0);
  end(f);
}

/* They count as those that are copied. */
static void test_watermarks(void) {
  fixture *f = begin();
  nq_loop *l = f->w.c.l;
  static uint8_t p[1u << 20];
  nq_handle s = world_stream(&f->w, f->conn, NQ_KIND_RAW, "raw");
  CHECK_EQ(world_lend(l, s, p, (1u << 20) - 4), 0); /* with the name: just at the mark */
  CHECK_EQ(nq_stream_queued(l, s), 1u << 20);
  CHECK_EQ(world_lend(l, s, p, 1), 1);
  CHECK(world_until(&f->w, &f->w.c.count[NQ_EV_STREAM_WRITABLE], 1, 5000));
  CHECK(nq_stream_queued(l, s) <= f->w.c.limits.send_low);
  world_run(&f->w, 200);
  CHECK_EQ(lent(), 0);
  uint64_t in = 0;
  int rv = 0;
  while ((rv = world_lend(l, s, p, sizeof p)) >= 0)
    in += sizeof p;
  CHECK_EQ(rv, NQ_ERR_FULL);
  CHECK_EQ(in, f->w.c.limits.max_send_queue);
  nq_conn_info i;
  nq_conn_get_info(l, f->conn, &i);
  CHECK_EQ(i.queued, in);
  CHECK(in_use(l) >= in && in_use(l) < in + 10000);
  end(f);
}

int main(void) {
  RUN(test_acknowledged);
  RUN(test_not_before);
  RUN(test_endings_of_the_stream);
  RUN(test_endings_of_the_connection);
  RUN(test_never_sent);
  RUN(test_loop_freed);
  RUN(test_no_sleep);
  RUN(test_refused);
  RUN(test_watermarks);
  CHECK_DONE();
}
