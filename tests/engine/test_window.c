/* test_window.c: receive windows that grow with what a path holds and a program reads, up to a bound (RFC 9000 4). */
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "quic/conn.h"
#include "quic/stream.h"
#include "world.h"

#define MS UINT64_C(1000000)
#define RATE UINT64_C(125000000) /* bytes a second: 1 Gbit/s */
#define STREAMS 4

typedef struct fixture {
  nq_sim net;
  world w;
  nq_handle conn, out[STREAMS], in[STREAMS];
  uint32_t n_in;
  uint64_t got;
  int pause;
  uint64_t pause_at; /* bytes; 0: never */
} fixture;

static int server_sees(side *x, const nq_event *e) {
  fixture *f = x->hook_ctx;
  if (e->kind == NQ_EV_STREAM_OPEN) {
    REQUIRE(f->n_in < STREAMS);
    f->in[f->n_in++] = e->handle;
  }
  if (e->kind == NQ_EV_STREAM_OPEN && f->pause)
    CHECK_EQ(nq_stream_pause(x->l, e->handle), 0);
  if (e->kind != NQ_EV_STREAM_DATA)
    return 0;
  f->got += e->len;
  if (f->pause_at && f->got >= f->pause_at)
    CHECK_EQ(nq_stream_pause(x->l, e->handle), 0);
  return 1;
}

/* A round trip of 50 ms; the server's windows may grow to these, 0: by default. */
static void begin(fixture *f, uint64_t stream_window, uint64_t connection_window) {
  memset(f, 0, sizeof *f);
  nq_sim_init(&f->net, 1);
  f->net.delay = 25 * MS;
  f->net.rate = RATE;
  world_open(&f->w, &f->net);
  f->w.s.hook = server_sees;
  f->w.s.hook_ctx = f;
  f->w.c.limits.send_high = 64u << 20;
  if (stream_window)
    f->w.s.limits.stream_window = stream_window;
  if (connection_window)
    f->w.s.limits.connection_window = connection_window;
  nq_endpoint_close(f->w.s.l, f->w.s.ep);
  world_listen(&f->w);
  f->conn = world_connect(&f->w, "localhost");
  REQUIRE(world_until(&f->w, &f->w.s.count[NQ_EV_CONN_OPEN], 1, 5000));
}

static void open_streams(fixture *f, int n) {
  for (int i = 0; i < n; i++)
    f->out[i] = world_stream(&f->w, f->conn, NQ_KIND_RAW, "raw");
}

static void end(fixture *f) {
  CHECK_EQ(f->w.c.count[NQ_EV_CONN_CLOSE] + f->w.s.count[NQ_EV_CONN_CLOSE], 0);
  world_close(&f->w);
  nq_sim_free(&f->net);
}

/* For so long with as much queued as a stream may have; the bytes that arrived meanwhile. */
static uint64_t pour(fixture *f, int streams, uint64_t ms) {
  static const uint8_t block[1u << 16];
  uint64_t until = f->net.now + ms * MS, before = f->got;
  while (f->net.now < until) {
    for (int i = 0; i < streams; i++)
      while (nq_stream_queued(f->w.c.l, f->out[i]) < 24u << 20)
        REQUIRE(nq_stream_send(f->w.c.l, f->out[i], block, sizeof block) >= 0);
    world_tick(&f->w, (int64_t)MS);
  }
  return f->got - before;
}

/* Bytes that the server allows the client to send on a stream whose bytes were read: its window. */
static uint64_t allowed(const fixture *f) {
  const nq_stream *s = nq_stream_get(&f->w.c.l->hub, f->out[0]);
  return ngtcp2_conn_get_max_stream_data_left2(s->c->quic, s->id);
}

/* 1 Gbit/s and 50 ms hold 6.25 MB: the defaults fill that, the fixed window of 2 MiB that they were could not. */
static void test_a_long_fat_path(void) {
  fixture f;
  begin(&f, 0, 0);
  open_streams(&f, 1);
  world_run(&f.w, 200); /* its name leaves */
  CHECK(allowed(&f) <= NQ_STREAM_WINDOW);
  pour(&f, 1, 4000);
  uint64_t got = pour(&f, 1, 2000);
  printf("    %llu %% of 1 Gbit/s\n", (unsigned long long)(got * 50 / RATE));
  CHECK(got > 2 * RATE * 85 / 100);
  end(&f);
  begin(&f, 2u << 20, 0);
  open_streams(&f, 1);
  pour(&f, 1, 4000);
  CHECK(pour(&f, 1, 2000) < 2 * RATE * 45 / 100);
  end(&f);
}

/* What is not read stays within the bounds, of each stream and of all, however large the windows have grown. */
static void test_bounds(void) {
  static const struct {
    uint64_t stream, connection;
  } bounds[] = {{0, 0}, {1000000, 0}, {3u << 20, 5u << 20}, {0, 300000}, {20000, 60000}};
  for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
    fixture f;
    begin(&f, bounds[i].stream, bounds[i].connection);
    open_streams(&f, STREAMS);
    pour(&f, STREAMS, 3000);
    CHECK(f.got > 0 && f.n_in == STREAMS);
    for (int k = 0; k < STREAMS; k++)
      CHECK_EQ(nq_stream_pause(f.w.s.l, f.in[k]), 0);
    uint64_t got = f.got, held = 0;
    pour(&f, STREAMS, 2000);
    CHECK_EQ(f.got, got);
    for (int k = 0; k < STREAMS; k++) {
      uint64_t n = nq_bytes_size(&nq_stream_get(&f.w.s.l->hub, f.in[k])->held);
      CHECK(n <= f.w.s.limits.stream_window);
      held += n;
    }
    CHECK(held <= f.w.s.limits.connection_window);
    CHECK(held >= 20000); /* something was */
    for (int k = 0; k < STREAMS; k++)
      CHECK_EQ(nq_stream_resume(f.w.s.l, f.in[k]), 0);
    CHECK(pour(&f, STREAMS, 1000) > held);
    end(&f);
  }
}

/* A program that reads nothing never has more than what the streams' windows begin with. */
static void test_unread_from_the_start(void) {
  fixture f;
  begin(&f, 0, 0);
  f.pause = 1;
  open_streams(&f, STREAMS);
  pour(&f, STREAMS, 3000);
  uint64_t held = f.got; /* was in the batch that opened them */
  for (uint32_t k = 0; k < f.n_in; k++)
    held += nq_bytes_size(&nq_stream_get(&f.w.s.l->hub, f.in[k])->held);
  CHECK(f.n_in == STREAMS && held > STREAMS * NQ_STREAM_WINDOW / 2 && held <= STREAMS * NQ_STREAM_WINDOW + f.got);
  end(&f);
}

/* Traffic that needs no larger window gets none. */
static void test_a_trickle(void) {
  static const uint8_t block[20000];
  fixture f;
  begin(&f, 0, 0);
  open_streams(&f, 1);
  for (int i = 0; i < 200; i++) { /* 4 MB in 20 s */
    CHECK(nq_stream_send(f.w.c.l, f.out[0], block, sizeof block) >= 0);
    world_run(&f.w, 100);
  }
  CHECK_EQ(f.got, 200 * sizeof block);
  CHECK(allowed(&f) <= NQ_STREAM_WINDOW);
  end(&f);
}

/* A stream that is read for a while and then no more leaves the others something, whenever that is. */
static void test_others_go_on(void) {
  for (uint64_t taken = 32u << 10; taken <= 16u << 20; taken *= 2) {
    fixture f;
    begin(&f, 0, 0);
    f.net.delay = MS / 10;
    f.net.rate *= 10;
    f.pause_at = taken;
    open_streams(&f, 1);
    pour(&f, 1, 500);
    CHECK(f.got >= taken);
    f.pause_at = 0;
    uint64_t got = f.got;
    f.out[1] = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
    CHECK(nq_stream_send(f.w.c.l, f.out[1], (const uint8_t *)"others", 6) >= 0);
    world_run(&f.w, 100);
    CHECK_EQ(f.got - got, 6);
    CHECK_EQ(nq_stream_resume(f.w.s.l, f.in[0]), 0);
    CHECK(pour(&f, 1, 500) > NQ_STREAM_WINDOW);
    end(&f);
  }
}

int main(void) {
  RUN(test_a_long_fat_path);
  RUN(test_bounds);
  RUN(test_unread_from_the_start);
  RUN(test_a_trickle);
  RUN(test_others_go_on);
  CHECK_DONE();
}
