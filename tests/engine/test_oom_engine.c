/* Memory that runs out at every place in the life of connections and streams: the modules that allocate most are
 * included here on an allocator that fails once, or from some point on. Nothing crashes, nothing is leaked, everything
 * that was accepted is told its end once; and when memory is back, new connections work. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static long allow = -1; /* how many more allocations succeed; below 0: all */
static int once;
static long refusals;

static int refused(void) {
  if (allow < 0)
    return 0;
  if (allow-- > 0)
    return 0;
  refusals++;
  allow = once ? -1 : 0;
  return 1;
}

static void *test_malloc(size_t n) { return refused() ? NULL : malloc(n); }
static void *test_calloc(size_t n, size_t size) { return refused() ? NULL : calloc(n, size); }
static void *test_realloc(void *old, size_t n) { return refused() ? NULL : realloc(old, n); }

#define malloc test_malloc
#define calloc test_calloc
#define realloc test_realloc
#include "base/arena.c"
#include "base/bytes.c"
#include "base/chunk.c"
#include "base/sendq.c"
#include "loop/loop.h"
#include "quic/conn.c"
#include "quic/conn_close.c"
#include "quic/conn_read.c"
#include "quic/dgram.c"
#include "quic/endpoint.c"
#include "quic/event.c"
#define put calls_put /* names that other files have, too */
#define place calls_place
#define grow calls_grow
#define append kept_append
#include "app/calls.c"
#include "app/cancel.c"
#include "app/kept.c"
#include "app/nq1.c"
#include "app/record.c"
#undef put
#undef place
#undef grow
#undef append
#include "base/timer.c"
#include "quic/stream.c"
#include "quic/stream_in.c"
#include "quic/stream_out.c"
#undef malloc
#undef calloc
#undef realloc

#include "check.h"
#include "io/sim.h"
#include "world.h"

static uint64_t n_lent, n_returned;

static void returned(nq_loop *l) {
  while (nq_loop_returned(l))
    n_returned++;
}

/* As side_tick, whether there is memory or not: the loop itself never fails for want of it. */
static void one_tick(side *x) {
  int n = nq_loop_poll(x->l, 0);
  REQUIRE(n >= 0);
  for (int i = 0; i < n; i++) {
    nq_event e = nq_loop_events(x->l)[i];
    void *user;
    if ((e.kind == NQ_EV_RPC_REQUEST || e.kind == NQ_EV_STREAM_FIN) && !nq_rpc_deliver(x->l, &e, &user) &&
        nq_stream_alive(x->l, e.handle))
      continue;
    x->count[e.kind]++;
    if (e.kind == NQ_EV_CONN_OPEN)
      x->conn = e.handle;
    if (e.kind == NQ_EV_RPC_REQUEST && x->count[e.kind] == 3) /* the rest of the batch is put back */
      nq_conn_hold(x->l, x->conn, NQ_HOLD_TASKS, 1);
    if (e.kind == NQ_EV_RETURNED)
      returned(x->l);
    if (e.kind == NQ_EV_RPC_REQUEST)
      nq_rpc_reply(x->l, e.handle, e.msgid, 0, e.data, e.len);
    if (e.kind == NQ_EV_STREAM_RECORD || e.kind == NQ_EV_STREAM_DATA)
      if (x->server)
        nq_stream_send(x->l, e.handle, e.data, e.len);
  }
  nq_loop_flush(x->l);
}

static void tick(world *w) {
  one_tick(&w->s);
  one_tick(&w->c);
  w->sim->now += 500000;
}

/* An alarm and a task of another thread, which are told once each. */
typedef struct alarm_check {
  uint32_t set, posted;
} alarm_check;

static void alarm_begin(alarm_check *a, world *w) {
  nq_handle h;
  a->set = nq_alarm_new(w->c.l, NULL, &h) == 0 && nq_alarm_set(w->c.l, h, nq_loop_now(w->c.l) + 7000000) == 0;
  a->posted = nq_loop_post(w->c.l, NQ_POST_TASK, 0, 0, 0, 0, a, NULL, 0) == 0;
}

/* A connection, and everything on it. 1: it was made; *calls is how many calls were. */
static int use(world *w, const nq_connect_options *o, uint32_t *calls, alarm_check *alarm) {
  static uint8_t p[20000];
  nq_handle conn = 0, s[3] = {0};
  if (nq_conn_connect(w->c.l, o, &conn))
    return 0;
  alarm_begin(alarm, w);
  static const struct {
    nq_stream_kind kind;
    const char *name;
  } kinds[] = {{NQ_KIND_RPC, "rpc"}, {NQ_KIND_RECORD, "rec"}, {NQ_KIND_RAW, "raw"}};
  for (int i = 0; i < 3; i++) {
    nq_stream_options so = {.kind = kinds[i].kind, .name = kinds[i].name, .name_len = 3};
    if (nq_stream_open(w->c.l, conn, &so, &s[i]))
      s[i] = 0;
  }
  for (int i = 0; i < 60; i++) {
    if (i % 5 == 0) {
      *calls += nq_rpc_call(w->c.l, s[0], 1, p, (size_t)i * 100, NQ_SEC(1), NULL, NULL) >= 0;
      nq_stream_send(w->c.l, s[1], p, (size_t)i * 300);
      nq_stream_send(w->c.l, s[2], p, 5000);
      n_lent += nq_stream_lend(w->c.l, s[1], p, 3000, p) >= 0;
      n_lent += nq_stream_lend(w->c.l, s[2], p, 3000, p) >= 0;
      nq_stream_send_marked(w->c.l, s[2], p, 50, p);
      nq_conn_send_datagram(w->c.l, conn, p, 10);
    }
    if (i == 25)
      nq_conn_hold(w->s.l, w->s.conn, NQ_HOLD_TASKS, 0);
    if (i == 30)
      nq_stream_pause(w->c.l, s[2]);
    if (i == 40)
      nq_stream_resume(w->c.l, s[2]);
    tick(w);
  }
  nq_stream_reset(w->c.l, s[1], 1);
  tick(w);
  nq_conn_close(w->c.l, conn, 0, "bye", 3, 0);
  for (int i = 0; i < 10; i++)
    tick(w);
  nq_conn_free(w->c.l, conn);
  return 1;
}

static int scenario(long fail_at, int only_once) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 3);
  net.delay = 1000000;
  world_loop.returned = returned;
  world_open(&w, &net);
  allow = fail_at;
  once = only_once;
  refusals = 0;
  nq_connect_options o;
  memset(&o, 0, sizeof o);
  nq_endpoint_address(w.s.l, w.s.ep, &o.remote);
  o.endpoint = w.c.ep;
  o.tls = w.ctls;
  o.server_name = "localhost";
  o.limits = w.c.limits;
  o.limits.handshake_timeout = 100000000;
  alarm_check alarm = {0};
  uint32_t calls = 0, connected = (uint32_t)use(&w, &o, &calls, &alarm);
  int failed = refusals > 0;
  allow = -1; /* memory is back */
  for (int i = 0; i < 2500; i++)
    tick(&w);
  /* Whatever was accepted has had its one end. */
  CHECK_EQ(w.c.count[NQ_EV_RPC_REPLY], calls);
  CHECK_EQ(w.c.count[NQ_EV_CONN_CLOSE], connected);
  CHECK_EQ(w.c.count[NQ_EV_CONN_FREED], connected);
  CHECK_EQ(w.s.count[NQ_EV_CONN_FREED], w.s.count[NQ_EV_CONN_CLOSE]);
  CHECK_EQ(w.c.count[NQ_EV_ALARM], alarm.set);
  CHECK_EQ(w.c.count[NQ_EV_TASK], alarm.posted);
  nq_loop_stats st;
  nq_loop_get_stats(w.c.l, &st);
  CHECK_EQ(st.connections + st.streams + st.pending_calls + st.send_buffer_bytes, 0);
  nq_loop_get_stats(w.s.l, &st);
  CHECK_EQ(st.connections + st.streams + st.pending_calls + st.send_buffer_bytes, 0);
  uint32_t before = w.c.count[NQ_EV_CONN_OPEN];
  o.limits.handshake_timeout = NQ_SEC(5);
  nq_handle conn;
  CHECK_EQ(nq_conn_connect(w.c.l, &o, &conn), 0);
  for (int i = 0; i < 5000 && w.c.count[NQ_EV_CONN_OPEN] == before; i++)
    tick(&w);
  CHECK_EQ(w.c.count[NQ_EV_CONN_OPEN], before + 1);
  world_close(&w);
  CHECK_EQ(n_lent, n_returned);
  nq_sim_free(&net);
  return failed;
}

static void test_every_allocation_once(void) {
  long n = 0;
  while (scenario(n, 1))
    n++;
  CHECK(n > 40);
  printf("    %ld places\n", n);
}

static void test_none_from_some_point_on(void) {
  for (long n = 0; n < 300 && scenario(n, 0); n += 1 + n / 20)
    ;
}

#define MANY 600 /* more events than the first batch has room for */

/* Hundreds of calls, and no memory at all while their replies, or the end of their connection, come. */
static void many_calls(int answered) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 4);
  net.delay = 1000000;
  world_loop.returned = returned;
  world_open(&w, &net);
  nq_handle conn = world_connect(&w, "localhost");
  nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  for (int i = 0; i < 60; i++)
    tick(&w);
  REQUIRE(w.c.count[NQ_EV_CONN_OPEN] == 1);
  for (int i = 0; i < MANY; i++)
    REQUIRE(nq_rpc_call(w.c.l, rpc, 1, (const uint8_t *)"12345678", 8, NQ_SEC(5), NULL, NULL) >= 0);
  nq_loop_flush(w.c.l);
  for (int i = 0; i < 4 && answered; i++) { /* the server answers, the client does not look */
    net.now += 500000;
    one_tick(&w.s);
  }
  allow = 0;
  once = 0;
  if (!answered)
    nq_conn_close(w.c.l, conn, 0, "", 0, 1);
  for (int i = 0; i < 100; i++) {
    net.now += 500000;
    one_tick(&w.c);
  }
  CHECK(w.c.count[NQ_EV_RPC_REPLY] < MANY);
  allow = -1;
  for (int i = 0; i < 2500; i++)
    tick(&w);
  CHECK_EQ(w.c.count[NQ_EV_RPC_REPLY], MANY);
  CHECK_EQ(w.c.count[NQ_EV_STREAM_CLOSE], 1);
  CHECK_EQ(w.c.count[NQ_EV_CONN_CLOSE], 1);
  CHECK_EQ(w.c.l->hub.calls, 0);
  world_close(&w);
  nq_sim_free(&net);
}

static void test_many_replies(void) { many_calls(1); }
static void test_the_end_of_many_calls(void) { many_calls(0); }

int main(void) {
  RUN(test_many_replies);
  RUN(test_the_end_of_many_calls);
  RUN(test_every_allocation_once);
  RUN(test_none_from_some_point_on);
  CHECK_DONE();
}
