/* test_lossy.c: ten minutes of traffic over a network that loses, repeats, reorders and damages packets; everything
 * arrives once, whole and in order, and the same seed gives the same trace. */
#include "certs.h"
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "world.h"

#define MS UINT64_C(1000000)

static uint8_t byte_at(uint64_t seed, uint64_t i) { return (uint8_t)((i * 2654435761u + seed * 40503u) >> 13); }

/* What one side sends and what it must see. */
typedef struct traffic {
  uint64_t trace; /* hash of all its events */
  nq_handle raw, rec, rpc;
  uint32_t records_in, records_out, calls, replies, requests, fins;
  uint64_t raw_in, raw_out, wrong, lost_calls;
} traffic;

static size_t record_size(uint32_t i) { return i % 9 == 8 ? 20000 + i % 5000 : (i * 37) % 1500; }

static void fill(uint8_t *p, size_t n, uint64_t seed, uint64_t at) {
  for (size_t i = 0; i < n; i++)
    p[i] = byte_at(seed, at + i);
}

static int right(const nq_event *e, uint64_t seed, uint64_t at) {
  for (size_t i = 0; i < e->len; i++)
    if (e->data[i] != byte_at(seed, at + i))
      return 0;
  return 1;
}

static void mix(traffic *t, uint64_t v) {
  t->trace = (t->trace ^ v) * UINT64_C(1099511628211);
  t->trace ^= t->trace >> 29;
}

static int see(side *x, const nq_event *e) {
  traffic *t = x->hook_ctx;
  mix(t, e->kind);
  mix(t, nq_loop_now(x->l));
  mix(t, e->len);
  mix(t, e->handle);
  switch (e->kind) {
  case NQ_EV_STREAM_OPEN:
    if (!(e->flags & NQ_EVF_OUTGOING)) /* in the order of opening, but packets may come in another */
      *(nq_stream_id(x->l, e->handle) == 0   ? &t->raw
        : nq_stream_id(x->l, e->handle) == 4 ? &t->rec
                                             : &t->rpc) = e->handle;
    return 0;
  case NQ_EV_STREAM_DATA:
    t->wrong += !right(e, 1, t->raw_in);
    t->raw_in += e->len;
    return 1;
  case NQ_EV_STREAM_RECORD:
    t->wrong += e->len != record_size(t->records_in) || !right(e, t->records_in, 0);
    t->records_in++;
    return 1;
  case NQ_EV_RPC_REQUEST:
    t->wrong += !right(e, (uint64_t)e->type, 0);
    t->requests++;
    CHECK(nq_rpc_reply(x->l, e->handle, e->msgid, (int16_t)-e->type, e->data, e->len) >= 0);
    return 1;
  case NQ_EV_RPC_REPLY:
    if (e->flags & NQ_EVF_LOCAL) {
      t->lost_calls++;
      return 1;
    }
    t->wrong += e->type != -(int16_t)(uintptr_t)e->user || !right(e, (uint64_t)(uintptr_t)e->user, 0);
    t->replies++;
    return 1;
  case NQ_EV_STREAM_FIN:
    t->fins++;
    return 1;
  default:
    return 0;
  }
}

static void act(side *x, traffic *t, uint32_t step) {
  static uint8_t p[32768];
  nq_loop *l = x->l;
  if (t->rec && step % 2 == 0) {
    size_t n = record_size(t->records_out);
    fill(p, n, t->records_out, 0);
    int rv = n && step % 4 ? world_lend(l, t->rec, p, n) : nq_stream_send(l, t->rec, p, n);
    CHECK(rv >= 0);
    t->records_out++;
  }
  if (t->rpc) {
    uint32_t type = 1 + t->calls % 32767;
    size_t n = step % 11 == 10 ? 9000 : step % 300;
    fill(p, n, type, 0);
    CHECK(nq_rpc_call(l, t->rpc, (int16_t)type, p, n, NQ_SEC(300), (void *)(uintptr_t)type, NULL) >= 0);
    t->calls++;
  }
  if (t->raw && step % 50 == 3) { /* a burst */
    for (int i = 0; i < 4; i++) {
      fill(p, sizeof p, 1, t->raw_out);
      CHECK((i % 2 ? world_lend : nq_stream_send)(l, t->raw, p, sizeof p) >= 0);
      t->raw_out += sizeof p;
    }
  }
}

typedef struct network {
  unsigned loss, dup, corrupt;
  uint64_t delay, jitter;
} network;

/* ECDSA signatures vary in length, and with them what a pacer does: one certificate for all runs, and RSA. */
static nq_test_cert *ca, *leaf;
static void same_sizes(world *w) {
  if (!ca) {
    ca = nq_test_make_ca("test CA");
    leaf = nq_test_make_leaf_key(ca, "localhost", NULL, 0, NQ_TEST_RSA);
  }
  nq_tls_unref(w->stls);
  nq_tls_unref(w->ctls);
  w->stls = world_tls(ca, leaf);
  w->ctls = world_tls(ca, NULL);
  nq_endpoint_close(w->s.l, w->s.ep);
  world_listen(w);
}

static uint64_t run(uint64_t seed, const network *n, uint32_t steps, uint64_t step_ms, uint64_t *lost) {
  nq_sim net;
  world w;
  traffic tc = {.trace = 14695981039346656037u}, ts = tc;
  nq_sim_init(&net, seed);
  world_open(&w, &net);
  same_sizes(&w);
  net.loss = 1000 * n->loss;
  net.dup = 1000 * n->dup;
  net.corrupt = 1000 * n->corrupt;
  net.delay = n->delay;
  net.jitter = n->jitter;
  w.s.hook = w.c.hook = see;
  w.s.hook_ctx = &ts;
  w.c.hook_ctx = &tc;
  uint64_t start = net.now;
  nq_handle conn = world_connect(&w, "localhost");
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 9900));
  REQUIRE(world_until(&w, &w.s.count[NQ_EV_CONN_OPEN], 1, 9900));
  tc.raw = world_stream(&w, conn, NQ_KIND_RAW, "raw");
  tc.rec = world_stream(&w, conn, NQ_KIND_RECORD, "rec");
  tc.rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  for (uint32_t i = 0; i < steps && !w.c.count[NQ_EV_CONN_CLOSE]; i++) {
    act(&w.c, &tc, i);
    act(&w.s, &ts, i);
    world_run(&w, (int)step_ms);
  }
  nq_stream_finish(w.c.l, tc.raw);
  nq_stream_finish(w.c.l, tc.rec);
  nq_stream_finish(w.s.l, ts.raw);
  nq_stream_finish(w.s.l, ts.rec);
  uint64_t give_up = net.now + 300000 * MS;
  while (net.now < give_up && (tc.fins + ts.fins < 4 || tc.replies < tc.calls || ts.replies < ts.calls))
    world_run(&w, 10);
  CHECK_EQ(tc.wrong + ts.wrong, 0);
  CHECK_EQ(tc.lost_calls + ts.lost_calls, 0);
  CHECK_EQ(tc.records_in, ts.records_out);
  CHECK_EQ(ts.records_in, tc.records_out);
  CHECK_EQ(tc.raw_in, ts.raw_out);
  CHECK_EQ(ts.raw_in, tc.raw_out);
  CHECK_EQ(tc.replies, tc.calls);
  CHECK_EQ(ts.replies, ts.calls);
  CHECK_EQ(tc.requests, ts.calls);
  CHECK_EQ(ts.requests, tc.calls);
  CHECK_EQ(tc.fins + ts.fins, 4);
  CHECK(tc.calls > steps / 2 && ts.calls > steps / 2 && ts.raw_out > 0);
  CHECK_EQ(w.c.count[NQ_EV_CONN_CLOSE] + w.s.count[NQ_EV_CONN_CLOSE], 0);
  nq_conn_close(w.c.l, conn, 5, "done", 4, 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_CONN_CLOSE], 1, 10000));
  world_run(&w, 40000); /* should the close be lost, the idle timeout ends the other side */
  CHECK_EQ(w.s.count[NQ_EV_CONN_FREED], 1);
  nq_loop_stats st;
  nq_loop_get_stats(w.s.l, &st);
  CHECK_EQ(st.connections, 0);
  CHECK_EQ(st.streams, 0);
  CHECK_EQ(st.send_buffer_bytes, 0);
  nq_loop_get_stats(w.c.l, &st);
  CHECK_EQ(st.streams, 0);
  CHECK_EQ(st.send_buffer_bytes, 0);
  *lost = net.lost;
  printf("    seed %u: %u s, %u packets, %u lost, %u repeated, trace %016llx\n", (unsigned)seed,
         (unsigned)((net.now - start) / (1000 * MS)), (unsigned)net.sent, (unsigned)net.lost, (unsigned)net.duplicated,
         (unsigned long long)(tc.trace ^ ts.trace));
  world_close(&w);
  nq_sim_free(&net);
  return tc.trace ^ ts.trace * 3;
}

static void test_networks(void) {
  static const network nets[] = {
      {0, 0, 0, 10 * MS, 0},          {10, 10, 5, 10 * MS, 5 * MS},     {50, 20, 20, 20 * MS, 20 * MS},
      {100, 50, 50, 5 * MS, 30 * MS}, {200, 100, 50, 15 * MS, 15 * MS}, {0, 500, 0, 10 * MS, 50 * MS},
      {0, 0, 200, 10 * MS, 0},
  };
  for (uint32_t i = 0; i < sizeof nets / sizeof *nets; i++)
    for (uint64_t seed = 1; seed <= 3; seed++) {
      uint64_t lost;
      run(seed * 100 + i, &nets[i], 300, 20, &lost);
      CHECK((lost > 0) == (nets[i].loss > 0));
    }
}

static void test_ten_minutes(void) {
  static const network n = {50, 20, 10, 20 * MS, 10 * MS};
  uint64_t lost;
  run(7, &n, 6000, 100, &lost);
  CHECK(lost > 1000);
}

static void test_same_seed_same_trace(void) {
  static const network n = {100, 50, 20, 10 * MS, 20 * MS};
  uint64_t lost[2], a = run(42, &n, 200, 20, &lost[0]), b = run(42, &n, 200, 20, &lost[1]);
  CHECK_EQ(a, b);
  CHECK_EQ(lost[0], lost[1]);
  CHECK(run(43, &n, 200, 20, &lost[1]) != a);
}

/* Nothing passes for a while, in one direction or both: the connection lives on when the network comes back. */
static void test_outages(void) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 9);
  world_open(&w, &net);
  nq_handle conn = world_connect(&w, "localhost");
  nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  for (uint32_t i = 0; i < 10; i++) {
    CHECK(nq_rpc_call(w.c.l, rpc, 1, (const uint8_t *)"ping", 4, 0, NULL, NULL) >= 0);
    net.cut = 1;
    world_run(&w, (int)(100 + i * 700));
    net.cut = 0;
    CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], i + 1, 10000));
  }
  CHECK_EQ(w.c.count[NQ_EV_CONN_CLOSE], 0);
  CHECK_EQ(w.s.count[NQ_EV_RPC_REQUEST], 10);
  world_close(&w);
  nq_sim_free(&net);
}

int main(void) {
  RUN(test_networks);
  RUN(test_same_seed_same_trace);
  RUN(test_outages);
  RUN(test_ten_minutes);
  nq_test_cert_free(leaf);
  nq_test_cert_free(ca);
  CHECK_DONE();
}
