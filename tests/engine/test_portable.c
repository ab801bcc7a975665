/* test_portable.c: the same traffic over real UDP by every way packets can come and go: all that the system offers,
 * without GSO, without GRO, the portable calls only; over IPv4 and IPv6. */
#include "check.h"
#include "loop/loop.h"
#include "loop/wait.h"
#include "quic/endpoint.h"
#include "world.h"

static uint8_t byte_at(uint64_t seed, uint64_t i) { return (uint8_t)((i * 2654435761u + seed * 40503u) >> 13); }

typedef struct traffic {
  uint64_t raw, wrong;
  uint32_t records, replies;
} traffic;

static int see(side *x, const nq_event *e) {
  traffic *t = x->hook_ctx;
  uint64_t seed, at = 0;
  switch (e->kind) {
  case NQ_EV_STREAM_DATA:
    seed = 1;
    at = t->raw;
    t->raw += e->len;
    break;
  case NQ_EV_STREAM_RECORD:
    seed = 100 + t->records++;
    break;
  case NQ_EV_RPC_REPLY:
    seed = 5000 + (uint64_t)(uintptr_t)e->user;
    t->wrong += e->flags & NQ_EVF_LOCAL || e->user != (void *)(uintptr_t)t->replies;
    t->replies++;
    break;
  default:
    return 0;
  }
  for (size_t i = 0; i < e->len; i++)
    t->wrong += e->data[i] != byte_at(seed, at + i);
  return !x->echo;
}

static void fill(uint8_t *p, size_t n, uint64_t seed, uint64_t at) {
  for (size_t i = 0; i < n; i++)
    p[i] = byte_at(seed, at + i);
}

#define RECORDS 200u
#define CALLS 3000u
#define BULK (6u << 20)

static void traffic_over(world *w) {
  traffic ts = {0}, tc = {0};
  w->s.hook = w->c.hook = see;
  w->s.hook_ctx = &ts;
  w->c.hook_ctx = &tc;
  nq_handle conn = world_connect(w, "localhost");
  REQUIRE(world_until(w, &w->c.count[NQ_EV_CONN_OPEN], 1, 5000));
  REQUIRE(world_until(w, &w->s.count[NQ_EV_CONN_OPEN], 1, 5000));
  nq_handle raw = world_stream(w, conn, NQ_KIND_RAW, "raw"), rec = world_stream(w, conn, NQ_KIND_RECORD, "rec"),
            rpc = world_stream(w, conn, NQ_KIND_RPC, "rpc");
  static uint8_t p[65536];
  uint32_t records = 0, calls = 0;
  uint64_t bulk = 0, give_up = nq_loop_now(w->c.l) + NQ_SEC(60);
  while (nq_loop_now(w->c.l) < give_up) {
    if (bulk < BULK && nq_stream_queued(w->c.l, raw) < 500000) {
      fill(p, sizeof p, 1, bulk);
      CHECK(nq_stream_send(w->c.l, raw, p, sizeof p) >= 0);
      bulk += sizeof p;
    }
    for (int i = 0; i < 10 && calls < CALLS; i++) {
      size_t n = calls * 7 % 1300;
      fill(p, n, 5000 + calls, 0);
      CHECK(nq_rpc_call(w->c.l, rpc, 1, p, n, NQ_SEC(60), (void *)(uintptr_t)calls, NULL) >= 0);
      calls++;
    }
    if (records < RECORDS) {
      size_t n = records * 331 % 60000;
      fill(p, n, 100 + records++, 0);
      CHECK(nq_stream_send(w->c.l, rec, p, n) >= 0);
    }
    world_tick(w, 100000);
    if (bulk == BULK && tc.raw == BULK && tc.records == RECORDS && tc.replies == CALLS)
      break;
  }
  CHECK_EQ(tc.raw, BULK); /* the echo of it all */
  CHECK_EQ(ts.raw, BULK);
  CHECK_EQ(tc.records, RECORDS);
  CHECK_EQ(ts.records, RECORDS);
  CHECK_EQ(tc.replies, CALLS);
  CHECK_EQ(ts.wrong + tc.wrong, 0);
  CHECK_EQ(nq_conn_close(w->c.l, conn, 1, "", 0, 0), 0);
  CHECK(world_until(w, &w->s.count[NQ_EV_CONN_FREED], 1, 5000));
  world_run(w, 5);
}

static void over(nq_loop_options o) {
  world w;
  world_loop = o;
  world_open(&w, NULL);
  traffic_over(&w);
  nq_loop_stats c, s;
  nq_loop_get_stats(w.c.l, &c);
  nq_loop_get_stats(w.s.l, &s);
  CHECK(!c.gso || !(o.portable || o.no_gso));
  CHECK(!s.gro || !(o.portable || o.no_gro));
  CHECK(!c.mmsg || !o.portable);
  CHECK_EQ(c.connections, 1); /* the client's object; the connection is over */
  CHECK_EQ(s.connections, 0);
  CHECK_EQ(s.streams + c.streams, 0);
  CHECK_EQ(s.send_buffer_bytes + c.send_buffer_bytes, 0);
  CHECK_EQ(c.tx_errors + s.tx_errors, 0);
  printf("    gso %d gro %d mmsg %d: %u datagrams in %u messages and %u calls, %u lost\n", c.gso, s.gro, c.mmsg,
         (unsigned)c.tx_datagrams, (unsigned)c.tx_messages, (unsigned)c.tx_calls,
         (unsigned)(c.lost_packets + s.lost_packets));
  world_close(&w);
  memset(&world_loop, 0, sizeof world_loop);
}

static void test_all(void) { over((nq_loop_options){0}); }
static void test_no_gso(void) { over((nq_loop_options){.no_gso = 1}); }
static void test_no_gro(void) { over((nq_loop_options){.no_gro = 1}); }
/* Every way to sleep, the first of which is that of all other tests. */
static void test_every_wait(void) {
  for (uint32_t i = 0; nq_wait_at(i); i++) {
    printf("    by %s\n", nq_wait_at(i)->name);
    over((nq_loop_options){.wait = nq_wait_at(i)->name});
  }
}
static void test_portable_calls(void) { over((nq_loop_options){.portable = 1}); }
/* So little room that the kernel drops, and says EAGAIN to what is sent. */
static void test_small_buffers(void) { over((nq_loop_options){.socket_buffer = 20000}); }

/* A server on all addresses answers from the one that was asked: else a client would not know the answer for its own.
 */
static void answers_from(const char *address, int portable, const char *const *hosts, uint32_t n) {
  world w;
  world_loop.portable = portable;
  world_open(&w, NULL);
  nq_endpoint_close(w.s.l, w.s.ep);
  nq_endpoint_options o;
  memset(&o, 0, sizeof o);
  o.tls = w.stls;
  o.hdmap = w.s.map;
  o.limits = w.s.limits;
  REQUIRE(nq_addr_parse(&o.local, address, 0) == 0);
  if (nq_endpoint_open(w.s.l, &o, &w.s.ep)) { /* no IPv6 here */
    printf("    %s cannot be bound here: skipped\n", address);
    n = 0;
  }
  for (uint32_t i = 0; i < n; i++) {
    nq_addr bound;
    REQUIRE(nq_endpoint_address(w.s.l, w.s.ep, &bound) == 0);
    nq_connect_options co;
    memset(&co, 0, sizeof co);
    REQUIRE(nq_addr_parse(&co.remote, hosts[i], nq_addr_port(&bound)) == 0);
    co.tls = w.ctls;
    co.server_name = "localhost";
    co.limits = w.c.limits;
    nq_handle conn;
    REQUIRE(nq_conn_connect(w.c.l, &co, &conn) == 0);
    CHECK(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], i + 1, 3000));
    nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
    CHECK(nq_rpc_call(w.c.l, rpc, 1, (const uint8_t *)"hi", 2, 0, NULL, NULL) >= 0);
    CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], i + 1, 3000));
    nq_conn_info info;
    CHECK_EQ(nq_conn_get_info(w.s.l, w.s.conn, &info), 0);
    char local[64];
    nq_addr_format(&info.local, local, sizeof local);
    CHECK(strstr(local, hosts[i]) != NULL);
  }
  world_close(&w);
  world_loop.portable = 0;
}

/* All addresses of both IPs over one socket, or those of IPv4, in both ways to write them. */
static void test_wildcard(void) {
  static const char *const hosts[] = {"127.0.0.1", "127.0.0.9", "::1"};
  for (int portable = 0; portable < 2; portable++) {
    answers_from("::", portable, hosts, 3);
    answers_from("0.0.0.0", portable, hosts, 2);
    answers_from("::ffff:0.0.0.0", portable, hosts, 2);
  }
}

/* ---- a socket that takes nothing for a while ---- */

typedef struct stubborn {
  nq_io_ops ops;
  const nq_io_ops *real;
  int blocked;
  uint64_t refused;
} stubborn;

static stubborn st;

static uint8_t *room(nq_io *io, size_t need) {
  if (!st.blocked)
    return st.real->tx_room(io, need);
  st.refused++;
  return NULL;
}

static int flush(nq_io *io) { return io->blocked = st.blocked ? 1 : st.real->flush(io); }

static void test_blocked_socket(void) {
  world w;
  world_open(&w, NULL);
  nq_handle conn = world_connect(&w, "localhost");
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  world_run(&w, 20);
  nq_io *io = w.c.l->hub.endpoints[0]->io;
  st = (stubborn){.ops = *io->ops, .real = io->ops};
  st.ops.tx_room = room;
  st.ops.flush = flush;
  io->ops = &st.ops;
  nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  CHECK(nq_rpc_call(w.c.l, rpc, 1, (const uint8_t *)"x", 1, 0, NULL, NULL) >= 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 1, 1000));
  world_run(&w, 20);
  for (uint32_t round = 1; round < 6; round++) {
    st.blocked = io->blocked = 1;
    st.refused = 0;
    CHECK(nq_rpc_call(w.c.l, rpc, 1, (const uint8_t *)"x", 1, 0, NULL, NULL) >= 0);
    nq_loop_flush(w.c.l);
    CHECK_EQ(st.refused, 1);
    CHECK(w.c.l->hub.blocked != NULL);
    CHECK_EQ(nq_loop_flush(w.c.l), 0); /* nothing to do until the socket is writable */
    CHECK_EQ(st.refused, 1);
    st.blocked = 0; /* which it is at once: the loop is told by the wait */
    CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], round + 1, 1000));
    CHECK(w.c.l->hub.blocked == NULL);
  }
  /* It goes away while it waits. */
  st.blocked = io->blocked = 1;
  CHECK(nq_rpc_call(w.c.l, rpc, 1, (const uint8_t *)"x", 1, 0, NULL, NULL) >= 0);
  nq_loop_flush(w.c.l);
  nq_conn_free(w.c.l, conn);
  nq_conn_close(w.c.l, conn, 0, "", 0, 1);
  nq_endpoint_close(w.c.l, w.c.l->hub.endpoints[0]->id);
  CHECK(world_until(&w, &w.c.count[NQ_EV_CONN_FREED], 1, 1000));
  world_run(&w, 10);
  world_close(&w);
}

int main(void) {
  RUN(test_all);
  RUN(test_no_gso);
  RUN(test_no_gro);
  RUN(test_every_wait);
  RUN(test_portable_calls);
  RUN(test_small_buffers);
  RUN(test_wildcard);
  RUN(test_blocked_socket);
  CHECK_DONE();
}
