/* test_close.c: closing in order delivers everything: what the peer has not acknowledged, and what it cannot. */
#include <string.h>

#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "world.h"

#define MS UINT64_C(1000000)

/* What the other side has been told of a stream: what the close must not swallow. */
typedef struct told {
  uint32_t fins, resets, stops;
  uint64_t reset_code, stop_code;
} told;

static int listen_to(side *x, const nq_event *e) {
  told *t = x->hook_ctx;
  t->fins += e->kind == NQ_EV_STREAM_FIN;
  if (e->kind == NQ_EV_STREAM_RESET) {
    t->resets++;
    t->reset_code = e->code;
  } else if (e->kind == NQ_EV_STREAM_STOP) {
    t->stops++;
    t->stop_code = e->code;
  }
  return 0;
}

/* A stream of this kind that the server knows, and whose bytes it has acknowledged. */
static nq_handle begin(sim_world *f, told *t, nq_stream_kind kind) {
  memset(t, 0, sizeof *t);
  sim_world_open(f, 77);
  f->w.s.echo = 0;
  f->w.s.hook = listen_to;
  f->w.s.hook_ctx = t;
  sim_world_connect(f);
  nq_handle s = world_stream(&f->w, f->conn, kind, kind == NQ_KIND_RAW ? "raw" : kind == NQ_KIND_RPC ? "rpc" : "rec");
  if (kind == NQ_KIND_RPC)
    nq_rpc_notify(f->w.c.l, s, 1, (const uint8_t *)"data", 4);
  else
    nq_stream_send(f->w.c.l, s, (const uint8_t *)"data", 4);
  world_run(&f->w, 200);
  REQUIRE(nq_stream_queued(f->w.c.l, s) == 0);
  REQUIRE(f->w.s.count[NQ_EV_STREAM_OPEN] == 1);
  return s;
}

/* The first packets after the close are lost, if `lost`. */
static void close_client(sim_world *f, int lost) {
  nq_conn_close(f->w.c.l, f->conn, 5, "done", 4, 0);
  f->net.cut = lost;
  nq_loop_flush(f->w.c.l);
  world_run(&f->w, lost ? 2 : 0);
  f->net.cut = 0;
  CHECK(world_until(&f->w, &f->w.s.count[NQ_EV_CONN_CLOSE], 1, 2000));
  CHECK(world_until(&f->w, &f->w.c.count[NQ_EV_CONN_CLOSE], 1, 2000));
  CHECK_EQ(f->w.s.why, NQ_WHY_APP);
  CHECK_EQ(f->w.s.code, 5);
  CHECK(f->w.c.delivered);
}

static void test_fin(void) {
  for (int lost = 0; lost < 2; lost++)
    for (nq_stream_kind kind = NQ_KIND_RAW; kind <= NQ_KIND_RPC; kind++) {
      sim_world f;
      told t;
      nq_handle s = begin(&f, &t, kind);
      nq_stream_finish(f.w.c.l, s);
      close_client(&f, lost);
      CHECK_EQ(t.fins, 1);
      CHECK_EQ(t.resets, 0);
      sim_world_close(&f);
    }
}

/* The FIN leaves behind its bytes, whose acknowledgement comes first. */
static void test_fin_behind_its_bytes(void) {
  sim_world f;
  told t;
  nq_handle s = begin(&f, &t, NQ_KIND_RAW);
  nq_stream_send(f.w.c.l, s, (const uint8_t[5000]){0}, 5000); /* more than one packet: acknowledged without delay */
  nq_loop_flush(f.w.c.l);
  nq_stream_finish(f.w.c.l, s);
  f.net.cut = 1;
  nq_loop_flush(f.w.c.l); /* the FIN is lost */
  f.net.cut = 0;
  uint32_t acked = f.w.c.count[NQ_EV_STREAM_ACKED];
  while (nq_stream_queued(f.w.c.l, s))
    world_tick(&f.w, 100000);
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_ACKED], acked); /* the FIN was not */
  close_client(&f, 0);
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_ACKED], acked + 1);
  CHECK_EQ(t.fins, 1);
  sim_world_close(&f);
}

static void test_reset_and_stop(void) {
  for (int lost = 0; lost < 2; lost++) {
    sim_world f;
    told t;
    nq_handle s = begin(&f, &t, NQ_KIND_RAW);
    nq_stream_reset(f.w.c.l, s, 77);
    close_client(&f, lost);
    CHECK_EQ(t.resets, 1);
    CHECK_EQ(t.reset_code, 77);
    sim_world_close(&f);
    s = begin(&f, &t, NQ_KIND_RAW);
    nq_stream_stop(f.w.c.l, s, 33);
    close_client(&f, lost);
    CHECK_EQ(t.stops, 1);
    CHECK_EQ(t.stop_code, 33);
    sim_world_close(&f);
  }
}

static void test_datagrams(void) {
  sim_world f;
  told t;
  begin(&f, &t, NQ_KIND_RAW);
  for (int i = 0; i < 100; i++) /* more than one congestion window carries */
    REQUIRE(nq_conn_send_datagram(f.w.c.l, f.conn, (const uint8_t[1000]){0}, 1000) == 0);
  close_client(&f, 0);
  CHECK_EQ(f.w.s.count[NQ_EV_DATAGRAM], 100);
  sim_world_close(&f);
}

/* Closing at once, or giving up, is told as what it is. */
static void test_not_delivered(void) {
  for (int now = 0; now < 2; now++) {
    sim_world f;
    told t;
    nq_handle s = begin(&f, &t, NQ_KIND_RAW);
    nq_stream_finish(f.w.c.l, s);
    f.net.cut = 1;
    uint64_t start = f.net.now;
    nq_conn_close(f.w.c.l, f.conn, 0, "", 0, now);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 10000));
    CHECK(!f.w.c.delivered);
    CHECK_EQ(f.net.now - start >= f.w.c.limits.shutdown_timeout, !now);
    sim_world_close(&f);
  }
}

static void test_idle_close_is_delivered(void) {
  sim_world f;
  told t;
  begin(&f, &t, NQ_KIND_RAW);
  nq_conn_close(f.w.c.l, f.conn, 0, "", 0, 0);
  nq_loop_flush(f.w.c.l); /* nothing to wait for */
  side_tick(&f.w.c, 0);
  CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 1);
  CHECK(f.w.c.delivered);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_CONN_CLOSE], 1, 10));
  CHECK(f.w.s.delivered);
  sim_world_close(&f);
}

/* Streams that the peer goes on to open do not hold the close up: what it is told of them need not arrive. */
static void test_new_streams_do_not_hold_it(void) {
  sim_world f;
  told t;
  begin(&f, &t, NQ_KIND_RAW);
  nq_conn_close(f.w.s.l, f.w.s.conn, 3, "", 0, 0);
  nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
  nq_stream_send(f.w.c.l, s, (const uint8_t *)"late", 4);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 20));
  CHECK_EQ(f.w.c.code, 3);
  sim_world_close(&f);
}

/* ---- replies ---- */

typedef struct deferred {
  nq_handle stream;
  uint32_t msgid;
} deferred;

static int defer(side *x, const nq_event *e) {
  deferred *d = x->hook_ctx;
  if (e->kind == NQ_EV_TASK)
    CHECK_EQ(nq_rpc_reply(x->l, d->stream, d->msgid, 0, (const uint8_t *)"late", 4), 0);
  if (e->kind != NQ_EV_RPC_REQUEST)
    return 0;
  d->stream = e->handle;
  d->msgid = e->msgid;
  return 1;
}

enum { REPLY_POSTED, TASK_POSTED, WHILE_CLOSING, CLOSE_POSTED };

/* A request whose reply is asked for just before, or just after, its connection is closed. */
static void replies(int how) {
  sim_world f;
  deferred d = {0, 0};
  sim_world_open(&f, 78);
  f.w.s.hook = defer;
  f.w.s.hook_ctx = &d;
  sim_world_connect(&f);
  nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  REQUIRE(nq_rpc_call(f.w.c.l, s, 1, (const uint8_t *)"?", 1, 0, NULL, NULL) == 0);
  REQUIRE(world_until(&f.w, &f.w.s.count[NQ_EV_RPC_REQUEST], 1, 100));
  world_run(&f.w, 100);
  nq_loop *l = f.w.s.l;
  if (how == REPLY_POSTED)
    nq_loop_post(l, NQ_POST_REPLY, d.stream, 0, d.msgid, 0, NULL, (const uint8_t *)"late", 4);
  if (how == TASK_POSTED || how == CLOSE_POSTED)
    nq_loop_post(l, NQ_POST_TASK, 0, 0, 0, 0, NULL, NULL, 0);
  if (how == CLOSE_POSTED)
    nq_loop_post(l, NQ_POST_CONN_CLOSE, f.w.s.conn, 0, 0, 0, NULL, NULL, 0);
  else
    nq_conn_close(l, f.w.s.conn, 0, "", 0, 0);
  if (how == WHILE_CLOSING)
    CHECK_EQ(nq_rpc_reply(l, d.stream, d.msgid, 0, (const uint8_t *)"late", 4), 0);
  else if (how != CLOSE_POSTED) /* what is new is refused at once */
    CHECK_EQ(nq_rpc_notify(l, d.stream, 1, NULL, 0), NQ_ERR_STATE);
  nq_loop_flush(l);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 1000));
  CHECK_EQ(f.w.c.count[NQ_EV_RPC_REPLY], 1);
  CHECK_EQ(f.w.c.gone, 0);
  CHECK_EQ(f.w.c.n_kept, 4);
  CHECK(!memcmp(f.w.c.kept, "late", 4));
  CHECK(f.w.s.delivered);
  sim_world_close(&f);
}

static void test_replies(void) {
  for (int how = REPLY_POSTED; how <= CLOSE_POSTED; how++)
    replies(how);
}

/* What other threads had asked for before is still sent, but nothing behind what was refused: the peer hears the
 * beginning of what was said, not pieces of it. */
static void test_no_gap(void) {
  for (int refused = 0; refused < 2; refused++) {
    sim_world f;
    deferred d = {0, 0};
    sim_world_open(&f, 80);
    f.w.s.hook = defer;
    f.w.s.hook_ctx = &d;
    sim_world_connect(&f);
    nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
    REQUIRE(nq_rpc_call(f.w.c.l, s, 1, (const uint8_t *)"?", 1, 0, NULL, NULL) == 0);
    REQUIRE(world_until(&f.w, &f.w.s.count[NQ_EV_RPC_REQUEST], 1, 100));
    nq_loop *l = f.w.s.l;
    nq_loop_post(l, NQ_POST_NOTIFY, d.stream, 2, 0, 0, NULL, (const uint8_t *)"second", 6);
    nq_conn_close(l, f.w.s.conn, 0, "", 0, 0);
    if (refused)
      CHECK_EQ(nq_rpc_notify(l, d.stream, 1, (const uint8_t *)"first", 5), NQ_ERR_STATE);
    nq_loop_flush(l);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 1000));
    CHECK_EQ(f.w.c.count[NQ_EV_RPC_NOTIFY], (uint64_t)!refused);
    sim_world_close(&f);
  }
}

/* A reply that was promised before the close, and is given while the connection waits for it. */
static void test_promised_reply(void) {
  for (int given = 0; given < 2; given++) {
    sim_world f;
    deferred d = {0, 0};
    sim_world_open(&f, 79);
    f.w.s.hook = defer;
    f.w.s.hook_ctx = &d;
    sim_world_connect(&f);
    nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
    REQUIRE(nq_rpc_call(f.w.c.l, s, 1, (const uint8_t *)"?", 1, 0, NULL, NULL) == 0);
    REQUIRE(world_until(&f.w, &f.w.s.count[NQ_EV_RPC_REQUEST], 1, 100));
    nq_loop *l = f.w.s.l;
    CHECK_EQ(nq_conn_owe(l, f.w.s.conn, 1), 0);
    CHECK_EQ(nq_conn_owe(l, f.w.s.conn, -2), NQ_ERR_ARG);
    nq_conn_close(l, f.w.s.conn, 0, "", 0, 0);
    nq_loop_flush(l);
    world_run(&f.w, 500);
    CHECK_EQ(f.w.c.count[NQ_EV_CONN_CLOSE], 0);
    if (given)
      CHECK_EQ(nq_rpc_reply(l, d.stream, d.msgid, 0, (const uint8_t *)"late", 4), 0);
    CHECK_EQ(nq_conn_owe(l, f.w.s.conn, -1), 0);
    nq_loop_flush(l);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 1000));
    CHECK_EQ(f.w.c.count[NQ_EV_RPC_REPLY], 1);
    CHECK_EQ(f.w.c.gone, (uint32_t)!given);
    CHECK_EQ(f.w.c.n_kept, given ? 4u : 0u);
    CHECK(f.w.s.delivered);
    CHECK_EQ(nq_conn_owe(l, f.w.s.conn, 1), NQ_ERR_STALE);
    sim_world_close(&f);
  }
}

/* ---- a server that ends ---- */

/* Wherever its handshake is: the client hears of the end within a round trip of its next packet. */
static void test_server_ends(void) {
  for (int ms = 1; ms < 6; ms++)
    for (int all = 0; all < 2; all++) {
      sim_world f;
      sim_world_open(&f, 79);
      f.conn = world_connect(&f.w, "localhost");
      world_run(&f.w, ms);
      if (world_stats(f.w.s.l).connections == 0) { /* its first packet is still under way */
        sim_world_close(&f);
        continue;
      }
      if (all)
        nq_endpoint_close(f.w.s.l, f.w.s.ep);
      else
        nq_conn_close(f.w.s.l, f.w.s.conn, 8, "", 0, 0);
      if (!all && !f.w.s.count[NQ_EV_CONN_OPEN]) { /* nobody knows it yet: it cannot be closed by its handle */
        sim_world_close(&f);
        continue;
      }
      nq_loop_flush(f.w.s.l);
      CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 4));
      CHECK(f.w.c.remote);
      CHECK(f.w.c.why == NQ_WHY_TRANSPORT || (f.w.c.why == NQ_WHY_APP && f.w.c.code == 8));
      sim_world_close(&f);
    }
}

int main(void) {
  RUN(test_fin);
  RUN(test_fin_behind_its_bytes);
  RUN(test_reset_and_stop);
  RUN(test_datagrams);
  RUN(test_not_delivered);
  RUN(test_idle_close_is_delivered);
  RUN(test_new_streams_do_not_hold_it);
  RUN(test_replies);
  RUN(test_promised_reply);
  RUN(test_no_gap);
  RUN(test_server_ends);
  CHECK_DONE();
}
