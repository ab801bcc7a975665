/* test_backpressure.c: replies above their mark hold back requests, and writers wait for the queue of their connection
 * as well as for their own. */
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "quic/conn.h"
#include "world.h"

#define MS UINT64_C(1000000)

typedef struct answers {
  size_t size; /* of each reply */
  uint32_t requests, replies, errors;
  uint64_t most; /* bytes in the server's send queues, at any time */
  nq_handle later[64]; /* streams of requests that are answered by the test */
  uint32_t ids[64], n_later;
  int defer;
} answers;

static uint8_t payload[1u << 20];

static int serve(side *x, const nq_event *e) {
  answers *a = x->hook_ctx;
  if (e->kind == NQ_EV_RPC_REQUEST) {
    a->requests++;
    if (a->defer) {
      if (a->n_later < 64) {
        a->later[a->n_later] = e->handle;
        a->ids[a->n_later++] = e->msgid;
      }
      return 1;
    }
    CHECK(nq_rpc_reply(x->l, e->handle, e->msgid, 0, payload, a->size) >= 0);
    uint64_t queued = world_stats(x->l).send_buffer_bytes;
    a->most = queued > a->most ? queued : a->most;
    return 1;
  }
  if (e->kind == NQ_EV_RPC_REPLY) {
    a->replies++;
    a->errors += e->type != 0 || e->len != a->size;
    return 1;
  }
  return 0;
}

static void begin(sim_world *f, answers *a, size_t size, uint64_t window) {
  memset(a, 0, sizeof *a);
  a->size = size;
  sim_world_open(f, 41);
  if (window)
    f->w.c.limits.stream_window = f->w.c.limits.connection_window = window;
  f->w.s.holds = f->w.c.holds = 1;
  f->w.s.hook = f->w.c.hook = serve;
  f->w.s.hook_ctx = f->w.c.hook_ctx = a;
  sim_world_connect(f);
}

static void ask(sim_world *f, nq_handle rpc, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    CHECK(nq_rpc_call(f->w.c.l, rpc, 1, NULL, 0, NQ_SEC(3600), f, NULL) >= 0);
}

/* A peer with windows of 1 KiB asks for replies of any size: it has all of them, and at no time is more than a share of
 * them in memory. */
static void test_narrow_windows(void) {
  static const size_t sizes[] = {100, 1024, 65536};
  static const uint32_t counts[] = {20000, 3000, 60};
  for (int i = 0; i < 3; i++) {
    sim_world f;
    answers a;
    begin(&f, &a, sizes[i], 1024);
    nq_handle rpc = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
    ask(&f, rpc, counts[i]);
    CHECK(world_until(&f.w, &a.replies, counts[i], 60000));
    CHECK_EQ(a.errors, 0);
    CHECK(a.most <= NQ_KIB(512));
    CHECK(i == 0 || world_stats(f.w.s.l).reply_holds > 0);
    world_run(&f.w, 10);
    CHECK_EQ(world_stats(f.w.s.l).held_connections, 0);
    sim_world_close(&f);
  }
}

/* The same on many streams: the bound is of the connection. */
static void test_narrow_windows_of_many_streams(void) {
  sim_world f;
  answers a;
  begin(&f, &a, 10000, 1024);
  for (int i = 0; i < 200; i++)
    ask(&f, world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc"), 5);
  CHECK(world_until(&f.w, &a.replies, 50, 60000));
  CHECK(a.most <= NQ_KIB(512));
  CHECK_EQ(a.errors, 0);
  sim_world_close(&f);
}

/* Large replies to a peer that takes them: none is refused, and their requests wait meanwhile. */
static void test_large_replies(void) {
  sim_world f;
  answers a;
  begin(&f, &a, sizeof payload, 0);
  nq_handle rpc = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  ask(&f, rpc, 400);
  CHECK(world_until(&f.w, &a.replies, 400, 60000));
  CHECK_EQ(a.errors, 0);
  CHECK(a.most < NQ_MIB(16));
  sim_world_close(&f);
}

/* A reply is queued however much there is already: what was delivered is answered. */
static void test_no_reply_is_refused(void) {
  sim_world f;
  answers a;
  memset(&a, 0, sizeof a);
  sim_world_open(&f, 42);
  f.w.s.limits.max_send_queue = NQ_KIB(64);
  sim_world_listen(&f);
  f.w.s.holds = f.w.c.holds = 1;
  f.w.s.hook = f.w.c.hook = serve;
  f.w.s.hook_ctx = f.w.c.hook_ctx = &a;
  sim_world_connect(&f);
  a.size = 100000;
  a.defer = 1;
  nq_handle rpc = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  ask(&f, rpc, 20);
  CHECK(world_until(&f.w, &a.n_later, 20, 1000));
  for (uint32_t i = 0; i < 20; i++)
    CHECK(nq_rpc_reply(f.w.s.l, a.later[i], a.ids[i], 0, payload, a.size) >= 0);
  CHECK_EQ(world_stats(f.w.s.l).held_connections, 1);
  ask(&f, rpc, 1);
  CHECK(world_until(&f.w, &a.replies, 20, 10000));
  CHECK(world_until(&f.w, &a.n_later, 21, 1000));
  CHECK_EQ(a.errors, 0);
  CHECK_EQ(world_stats(f.w.s.l).held_connections, 0);
  sim_world_close(&f);
}

/* The held connection's own calls get their replies: two peers that ask each other for more than either takes go on. */
static void test_both_ways(void) {
  sim_world f;
  answers a;
  begin(&f, &a, 40000, 0);
  nq_handle rpc = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  ask(&f, rpc, 1);
  CHECK(world_until(&f.w, &a.replies, 1, 1000));
  for (int i = 0; i < 300; i++) {
    ask(&f, rpc, 1);
    CHECK(nq_rpc_call(f.w.s.l, f.w.s.stream, 1, NULL, 0, NQ_SEC(3600), &f, NULL) >= 0);
  }
  CHECK(world_until(&f.w, &a.replies, 601, 60000));
  CHECK_EQ(a.errors, 0);
  sim_world_close(&f);
}

#define WRITERS 200

typedef struct writers {
  nq_handle s[WRITERS];
  uint32_t left[WRITERS]; /* messages to send */
  uint32_t told[WRITERS * 8], n_told;
  uint64_t most;
} writers;

static uint32_t number_of(const writers *t, nq_handle h) {
  for (uint32_t i = 0; i < WRITERS; i++)
    if (t->s[i] == h)
      return i;
  return WRITERS;
}

/* As a program that awaits its sends. */
static void write_on(side *x, writers *t, uint32_t i) {
  while (t->left[i] && nq_stream_writable(x->l, t->s[i]) == 0) {
    CHECK(nq_stream_send(x->l, t->s[i], payload, 500000) >= 0);
    t->left[i]--;
  }
  uint64_t queued = world_stats(x->l).send_buffer_bytes;
  t->most = queued > t->most ? queued : t->most;
}

static int see_writable(side *x, const nq_event *e) {
  writers *t = x->hook_ctx;
  if (e->kind != NQ_EV_STREAM_WRITABLE)
    return 0;
  uint32_t i = number_of(t, e->handle);
  if (i < WRITERS && t->n_told < WRITERS * 8)
    t->told[t->n_told++] = i;
  if (i < WRITERS)
    write_on(x, t, i);
  return 1;
}

/* Many streams that wait before each message: the connection's bound fails none, and each has its turn. */
static void test_many_writers(void) {
  static writers t;
  memset(&t, 0, sizeof t);
  sim_world f;
  sim_world_open(&f, 43);
  f.w.s.echo = 0;
  f.w.c.limits.max_send_queue = NQ_MIB(16);
  sim_world_connect(&f);
  f.w.s.echo = 0;
  f.w.c.hook = see_writable;
  f.w.c.hook_ctx = &t;
  for (uint32_t i = 0; i < WRITERS; i++) {
    t.s[i] = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
    t.left[i] = 3;
    write_on(&f.w.c, &t, i);
  }
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_RECORD], 3 * WRITERS, 600000));
  CHECK(t.most <= NQ_MIB(20));
  uint8_t seen[WRITERS] = {0};
  uint32_t different = 0;
  for (uint32_t k = 0; k < t.n_told && different < WRITERS - 20; k++) { /* nobody twice before nearly all had a turn */
    different += !seen[t.told[k]];
    CHECK(seen[t.told[k]]++ <= 1);
  }
  world_run(&f.w, 100);
  for (uint32_t i = 0; i < WRITERS; i++)
    CHECK_EQ(nq_stream_queued(f.w.c.l, t.s[i]), 0);
  sim_world_close(&f);
}

/* Streams that end, or are reset, while they wait for the connection are waited for by nobody. */
static void test_writers_that_end(void) {
  sim_world f;
  sim_world_open(&f, 44);
  f.w.c.limits.max_send_queue = NQ_KIB(256);
  sim_world_connect(&f);
  f.w.s.echo = 0;
  nq_handle big = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec"), s[4];
  CHECK(nq_stream_send(f.w.c.l, big, payload, 200000) > 0);
  for (int i = 0; i < 4; i++) {
    s[i] = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
    CHECK_EQ(nq_stream_writable(f.w.c.l, s[i]), 1);
    CHECK_EQ(nq_stream_writable(f.w.c.l, s[i]), 1);
  }
  CHECK_EQ(nq_stream_reset(f.w.c.l, s[0], 1), 0);
  CHECK_EQ(nq_stream_close(f.w.c.l, s[2]), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_WRITABLE], 3, 2000));
  world_run(&f.w, 50);
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_WRITABLE], 3); /* big, 1 and 3: the others have ended */
  CHECK_EQ(nq_stream_writable(f.w.c.l, s[1]), 0);
  CHECK_EQ(nq_stream_writable(f.w.c.l, s[2]), NQ_ERR_STALE);
  CHECK_EQ(nq_stream_writable(f.w.c.l, 0), NQ_ERR_STALE);
  CHECK(nq_stream_send(f.w.c.l, big, payload, 200000) >= 0);
  CHECK_EQ(nq_stream_writable(f.w.c.l, s[1]), 1); /* and with the connection */
  CHECK_EQ(nq_conn_close(f.w.c.l, f.conn, 0, "", 0, 1), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 1000));
  sim_world_close(&f);
}

int main(void) {
  RUN(test_narrow_windows);
  RUN(test_narrow_windows_of_many_streams);
  RUN(test_large_replies);
  RUN(test_no_reply_is_refused);
  RUN(test_both_ways);
  RUN(test_many_writers);
  RUN(test_writers_that_end);
  CHECK_DONE();
}
