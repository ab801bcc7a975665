/* test_given_up.c: streams that one side gives up: by a message that is none or too large, by what could not be
 * delivered, by RESET_STREAM and STOP_SENDING. Whoever waits is told at once, and what nobody will send is freed. */
#include "app/nq1.h"
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "quic/stream.h"
#include "world.h"

#define MS UINT64_C(1000000)

static void begin(sim_world *f) {
  sim_world_open(f, 17);
  f->w.s.echo = 0;
  sim_world_connect(f);
}

/* ---- messages that are none ---- */

/* The last STREAM_RESET of a side. */
typedef struct reset {
  unsigned flags;
  uint64_t code;
} reset;

static int keep_reset(side *x, const nq_event *e) {
  if (e->kind == NQ_EV_STREAM_RESET)
    *(reset *)x->hook_ctx = (reset){.flags = e->flags, .code = e->code};
  return 0;
}

/* The server answers calls with bytes that are no frame, or that announce too much, and hears nothing after it. */
static void broken_reply(const char *reply, size_t n, uint64_t code) {
  sim_world f;
  reset r = {0};
  begin(&f);
  f.w.c.hook = keep_reset;
  f.w.c.hook_ctx = &r;
  nq_handle rpc = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  for (int i = 0; i < 3; i++)
    CHECK(nq_rpc_call(f.w.c.l, rpc, 1, NULL, 0, NQ_SEC(30), NULL, NULL) >= 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_RPC_REQUEST], 3, 1000));
  nq_stream *s = nq_stream_get(&f.w.s.l->hub, f.w.s.stream);
  REQUIRE(s != NULL);
  nq1(s)->kind = NQ_KIND_RAW; /* so that it sends what it likes */
  CHECK(nq_stream_send(f.w.s.l, f.w.s.stream, (const uint8_t *)reply, n) >= 0);
  nq1(s)->kind = NQ_KIND_RPC;
  nq_loop_flush(f.w.s.l);
  f.net.cut_to = nq_sim_address(1, 0); /* STOP_SENDING and RESET_STREAM are not answered */
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_RESET], 1, 100));
  CHECK_EQ(r.flags, NQ_EVF_LOCAL);
  CHECK_EQ(r.code, code);
  CHECK_EQ(f.w.c.gone, 3);
  CHECK_EQ(world_stats(f.w.c.l).pending_calls, 0);
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_CLOSE], 0);
  CHECK_EQ(nq_rpc_call(f.w.c.l, rpc, 1, NULL, 0, 0, NULL, NULL), NQ_ERR_STATE);
  f.net.cut_to = (nq_addr){.len = 0};
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 5000));
  CHECK_EQ(f.w.c.count[NQ_EV_RPC_REPLY], 3); /* none is told twice */
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_RESET], 1);
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_STOP], 1);
  sim_world_close(&f);
}

static void test_broken_replies(void) { broken_reply("\x07\0\0\0\0\1\x80", 7, NQ_CODE_FRAME_ERROR); }

/* A reset by the peer is told as the peer's. */
static void test_reset_by_the_peer(void) {
  sim_world f;
  reset r = {.flags = 99};
  begin(&f);
  f.w.c.hook = keep_reset;
  f.w.c.hook_ctx = &r;
  nq_handle raw = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
  CHECK(nq_stream_send(f.w.c.l, raw, (const uint8_t *)"x", 1) >= 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_OPEN], 1, 1000));
  CHECK_EQ(nq_stream_reset(f.w.s.l, f.w.s.stream, 77), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_RESET], 1, 1000));
  CHECK_EQ(r.flags, 0);
  CHECK_EQ(r.code, 77);
  sim_world_close(&f);
}

/* ---- what could not be delivered ---- */

/* Refuses the n-th event of a kind; keeps how many of that kind, and ends in order, came after it. */
typedef struct refusal {
  nq_event_kind kind;
  uint32_t n, after, fins;
  int done;
} refusal;

static void tick_refusing(side *x, refusal *r) {
  int n = nq_loop_poll(x->l, 0);
  REQUIRE(n >= 0);
  for (int i = 0; i < n; i++) {
    const nq_event *e = nq_loop_events(x->l) + i;
    x->count[e->kind]++;
    if (e->kind == NQ_EV_STREAM_OPEN)
      x->stream = e->handle;
    r->fins += e->kind == NQ_EV_STREAM_FIN;
    if (e->kind != r->kind)
      continue;
    r->after += r->done != 0;
    if (x->count[e->kind] == r->n) {
      nq_loop_undelivered(x->l, (uint32_t)i);
      r->done = 1;
    }
  }
  nq_loop_flush(x->l);
}

static void undelivered(nq_stream_kind kind, nq_event_kind event) {
  sim_world f;
  begin(&f);
  refusal r = {.kind = event, .n = 2};
  nq_handle s = world_stream(&f.w, f.conn, kind, kind == NQ_KIND_RPC ? "rpc" : kind == NQ_KIND_RAW ? "raw" : "rec");
  static uint8_t p[3000];
  for (int i = 0; i < 5; i++) {
    if (event == NQ_EV_RPC_REQUEST)
      CHECK(nq_rpc_call(f.w.c.l, s, 1, p, sizeof p, 0, NULL, NULL) >= 0);
    else if (event == NQ_EV_RPC_NOTIFY)
      CHECK(nq_rpc_notify(f.w.c.l, s, 1, p, sizeof p) >= 0);
    else
      CHECK(nq_stream_send(f.w.c.l, s, p, sizeof p) >= 0);
  }
  nq_stream_finish(f.w.c.l, s);
  for (int i = 0; i < 40; i++) {
    f.net.now += MS / 2;
    tick_refusing(&f.w.s, &r);
    side_tick(&f.w.c, 0);
  }
  CHECK(r.done);
  CHECK_EQ(r.after, 0); /* nothing behind the gap, */
  CHECK_EQ(r.fins, 0);  /* and no end in order */
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_RESET], 1);
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_RESET], 1);
  CHECK_EQ(f.w.c.stream_code, NQ_CODE_OVERLOAD);
  CHECK_EQ(f.w.c.gone, event == NQ_EV_RPC_REQUEST ? 5 : 0);
  CHECK_EQ(world_stats(f.w.s.l).streams, 0);
  CHECK_EQ(f.w.s.count[NQ_EV_CONN_CLOSE], 0);
  sim_world_close(&f);
}

static void test_undelivered(void) {
  undelivered(NQ_KIND_RAW, NQ_EV_STREAM_DATA);
  undelivered(NQ_KIND_RECORD, NQ_EV_STREAM_RECORD);
  undelivered(NQ_KIND_RPC, NQ_EV_RPC_REQUEST);
  undelivered(NQ_KIND_RPC, NQ_EV_RPC_NOTIFY);
}

static void test_undelivered_datagram(void) {
  sim_world f;
  begin(&f);
  refusal r = {.kind = NQ_EV_DATAGRAM, .n = 1};
  for (int i = 0; i < 3; i++)
    CHECK_EQ(nq_conn_send_datagram(f.w.c.l, f.conn, (const uint8_t *)"hello", 5), 0);
  for (int i = 0; i < 10; i++) {
    f.net.now += MS / 2;
    tick_refusing(&f.w.s, &r);
    side_tick(&f.w.c, 0);
  }
  CHECK_EQ(f.w.s.count[NQ_EV_DATAGRAM], 3);
  CHECK_EQ(r.after, 2);
  CHECK_EQ(world_stats(f.w.s.l).datagrams_dropped, 1);
  nq_loop_undelivered(f.w.s.l, 0); /* no batch is given: nothing */
  nq_loop_undelivered(f.w.s.l, UINT32_MAX);
  CHECK_EQ(world_stats(f.w.s.l).datagrams_dropped, 1);
  CHECK_EQ(world_stats(f.w.s.l).datagrams_dropped_memory, 1);
  nq_loop_drop(f.w.s.l, NQ_DROP_UNHANDLED);
  nq_loop_drop(f.w.s.l, NQ_DROP_TASKS);
  nq_loop_drop(f.w.s.l, NQ_DROP_TASKS);
  CHECK_EQ(world_stats(f.w.s.l).datagrams_dropped_unhandled, 1);
  CHECK_EQ(world_stats(f.w.s.l).datagrams_dropped_tasks, 2);
  for (int i = 0; i < 260; i++)
    CHECK_EQ(nq_conn_send_datagram(f.w.c.l, f.conn, (const uint8_t *)"hello", 5), i >= 256);
  CHECK_EQ(world_stats(f.w.c.l).datagrams_dropped_queue, 4);
  CHECK_EQ(nq_conn_close(f.w.c.l, f.conn, 0, "", 0, 1), 0);
  side_tick(&f.w.c, 0);
  CHECK_EQ(world_stats(f.w.c.l).datagrams_dropped_queue, 4);
  CHECK_EQ(world_stats(f.w.c.l).datagrams_dropped, 4 + world_stats(f.w.c.l).datagrams_dropped_unsent);
  CHECK_EQ(world_stats(f.w.s.l).datagrams_dropped, 4);
  sim_world_close(&f);
}

/* ---- what nobody will send ---- */

#define STREAMS 40
#define EACH 1000000

/* The client asks to stop, and keeps its own half open for ever. */
static void test_stopped_streams_hold_nothing(void) {
  sim_world f;
  begin(&f);
  uint8_t *p = calloc(1, EACH);
  REQUIRE(p != NULL);
  for (int i = 0; i < STREAMS; i++) {
    nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
    CHECK(nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1) >= 0);
    CHECK_EQ(nq_stream_pause(f.w.c.l, s), 0); /* the client takes a window, and no more */
    CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_OPEN], (uint32_t)i + 1, 1000));
    CHECK(nq_stream_send(f.w.s.l, f.w.s.stream, p, EACH) >= 0);
    CHECK(nq_stream_send_marked(f.w.s.l, f.w.s.stream, p, EACH, p) >= 0);
    CHECK(world_lend(f.w.s.l, f.w.s.stream, p, EACH) >= 0);
    world_run(&f.w, 5);
    CHECK_EQ(nq_stream_stop(f.w.c.l, s, 5), 0);
  }
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_STOP], STREAMS, 5000));
  world_run(&f.w, 50);
  nq_conn_info info;
  CHECK_EQ(nq_conn_get_info(f.w.s.l, f.w.s.conn, &info), 0);
  CHECK_EQ(info.streams, STREAMS); /* as the client wants it */
  CHECK_EQ(info.queued, 0);
  CHECK_EQ(world_stats(f.w.s.l).send_buffer_bytes, 0);
  CHECK_EQ(world_lent, world_returned);
  CHECK_EQ(f.w.s.ack_ends, STREAMS);
  CHECK_EQ(f.w.s.ack_cut, STREAMS);
  CHECK_EQ(nq_stream_send(f.w.s.l, f.w.s.stream, p, 1), NQ_ERR_STATE);
  free(p);
  sim_world_close(&f);
}

/* This side resets, and the bound of the queue counts what is held: there is room again. */
static void test_reset_streams_hold_nothing(void) {
  sim_world f;
  begin(&f);
  nq_conn *c = nq_conn_get(&f.w.c.l->hub, f.conn);
  c->limits.max_send_queue = 3 * EACH;
  uint8_t *p = calloc(1, EACH);
  REQUIRE(p != NULL);
  for (int i = 0; i < 20; i++) {
    nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
    if (i % 2)
      world_run(&f.w, 2); /* it has its ID */
    CHECK(nq_stream_send(f.w.c.l, s, p, EACH) >= 0);
    CHECK(world_lend(f.w.c.l, s, p, EACH) >= 0);
    CHECK_EQ(nq_stream_send(f.w.c.l, s, p, EACH), NQ_ERR_FULL);
    CHECK_EQ(nq_stream_reset(f.w.c.l, s, 3), 0);
    nq_loop_flush(f.w.c.l);
    CHECK_EQ(world_stats(f.w.c.l).send_buffer_bytes, 0);
    CHECK_EQ(c->queued, 0);
  }
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 20, 1000));
  world_run(&f.w, 50);
  CHECK_EQ(world_stats(f.w.s.l).streams, 0);
  free(p);
  sim_world_close(&f);
}

int main(void) {
  RUN(test_broken_replies);
  RUN(test_reset_by_the_peer);
  RUN(test_undelivered);
  RUN(test_undelivered_datagram);
  RUN(test_stopped_streams_hold_nothing);
  RUN(test_reset_streams_hold_nothing);
  CHECK_DONE();
}
