/* test_hold.c: connections whose new work is held: what is kept, what passes, what the peer may send meanwhile, and
 * that all of it follows in order. */
#include "app/nq1.h"
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "world.h"

#define MS UINT64_C(1000000)

typedef struct seen {
  int32_t got[4096]; /* what each request (above 0) and notification (below) was, in order */
  uint32_t n, replies;
  uint32_t hold_after; /* the handler of this many holds the connection; 0: none does */
  uint32_t fins, opens;
  int answer;
} seen;

/* The connection of the server's side of the last stream. */
static nq_handle conn_of(const side *x) { return nq_stream_conn(x->l, x->stream); }

static int watch(side *x, const nq_event *e) {
  seen *t = x->hook_ctx;
  int32_t number = 0;
  if (e->len == 4)
    memcpy(&number, e->data, 4);
  switch (e->kind) {
  case NQ_EV_STREAM_OPEN:
    t->opens++;
    return 0;
  case NQ_EV_STREAM_FIN:
    t->fins++;
    return 0;
  case NQ_EV_RPC_REPLY:
    t->replies++;
    return 0;
  case NQ_EV_RPC_REQUEST:
  case NQ_EV_RPC_NOTIFY:
    if (t->n < 4096)
      t->got[t->n] = e->kind == NQ_EV_RPC_REQUEST ? number : -number;
    if (++t->n == t->hold_after)
      CHECK_EQ(nq_conn_hold(x->l, nq_stream_conn(x->l, e->handle), NQ_HOLD_TASKS, 1), 0);
    if (e->kind == NQ_EV_RPC_REQUEST && t->answer)
      CHECK(nq_rpc_reply(x->l, e->handle, e->msgid, 0, e->data, e->len) >= 0);
    return 1;
  default:
    return 0;
  }
}

typedef struct fixture {
  sim_world f;
  seen s, c;
  nq_handle rpc, conn; /* the client's stream, the server's connection */
} fixture;

static void begin_with(fixture *t, uint64_t stream_window, uint64_t connection_window) {
  memset(t, 0, sizeof *t);
  sim_world_open(&t->f, 31);
  if (stream_window) {
    t->f.w.s.limits.stream_window = stream_window;
    t->f.w.s.limits.connection_window = connection_window;
    sim_world_listen(&t->f);
  }
  sim_world_connect(&t->f);
  t->f.w.s.holds = t->f.w.c.holds = 1;
  t->f.w.s.hook = t->f.w.c.hook = watch;
  t->f.w.s.hook_ctx = &t->s;
  t->f.w.c.hook_ctx = &t->c;
  t->s.answer = t->c.answer = 1;
  t->rpc = world_stream(&t->f.w, t->f.conn, NQ_KIND_RPC, "rpc");
  CHECK(nq_rpc_notify(t->f.w.c.l, t->rpc, 9, NULL, 0) >= 0);
  CHECK(world_until(&t->f.w, &t->s.n, 1, 1000));
  t->s.n = 0;
  t->conn = conn_of(&t->f.w.s);
}

static void begin(fixture *t) { begin_with(t, 0, 0); }

static void call(fixture *t, int32_t number) {
  CHECK(nq_rpc_call(t->f.w.c.l, t->rpc, 1, (uint8_t *)&number, 4, NQ_SEC(50), t, NULL) >= 0);
}

static void notify(fixture *t, int32_t number) {
  CHECK(nq_rpc_notify(t->f.w.c.l, t->rpc, 1, (uint8_t *)&number, 4) >= 0);
}

static void hold(fixture *t, int on) { CHECK_EQ(nq_conn_hold(t->f.w.s.l, t->conn, NQ_HOLD_TASKS, on), 0); }

/* All that was sent came, in its order: every third one was a notification. */
static void check_order(const seen *t, uint32_t n) {
  CHECK_EQ(t->n, n);
  for (uint32_t i = 0; i < t->n && i < 4096; i++) {
    int32_t number = (int32_t)i + 1;
    if (t->got[i] != (number % 3 ? number : -number)) {
      CHECK_EQ(t->got[i], number % 3 ? number : -number);
      return;
    }
  }
}

static void send_numbers(fixture *t, int32_t from, int32_t to) {
  for (int32_t i = from; i <= to; i++)
    if (i % 3)
      call(t, i);
    else
      notify(t, i);
}

/* Requests and notifications wait, replies of the same stream pass them; then all follows, and the FIN last. */
static void test_replies_pass(void) {
  fixture t;
  begin(&t);
  hold(&t, 1);
  CHECK_EQ(world_stats(t.f.w.s.l).held_connections, 1);
  send_numbers(&t, 1, 600);
  world_run(&t.f.w, 20);
  CHECK_EQ(t.s.n, 0);
  for (int i = 0; i < 100; i++)
    CHECK(nq_rpc_call(t.f.w.s.l, t.f.w.s.stream, 1, (const uint8_t *)"back", 4, NQ_SEC(5), &t, NULL) >= 0);
  CHECK(world_until(&t.f.w, &t.s.replies, 100, 1000));
  CHECK_EQ(t.f.w.s.timeouts, 0);
  CHECK_EQ(t.s.n, 0);
  send_numbers(&t, 601, 1000);
  CHECK_EQ(nq_stream_finish(t.f.w.c.l, t.rpc), 0);
  world_run(&t.f.w, 20);
  CHECK_EQ(t.s.fins, 0);
  hold(&t, 0);
  CHECK_EQ(world_stats(t.f.w.s.l).held_connections, 0);
  CHECK(world_until(&t.f.w, &t.s.n, 1000, 1000));
  check_order(&t.s, 1000);
  CHECK(world_until(&t.f.w, &t.c.replies, 667, 1000));
  CHECK_EQ(t.s.fins, 1);
  sim_world_close(&t.f);
}

/* A handler in the middle of a batch holds the connection: not one more is delivered, and none is lost or turned. */
static void test_the_rest_of_the_batch(void) {
  for (uint32_t at = 1; at <= 400; at += 57) {
    fixture t;
    begin(&t);
    t.s.hold_after = at;
    send_numbers(&t, 1, 500);
    CHECK(world_until(&t.f.w, &t.s.n, at, 1000));
    CHECK_EQ(nq_stream_finish(t.f.w.c.l, t.rpc), 0);
    world_run(&t.f.w, 30);
    CHECK_EQ(t.s.n, at);
    CHECK_EQ(t.s.fins, 0);
    t.s.hold_after = at + 70 < 500 ? at + 70 : 0; /* and again, while what was kept is delivered */
    hold(&t, 0);
    world_run(&t.f.w, 30);
    if (t.s.hold_after) {
      CHECK_EQ(t.s.n, t.s.hold_after);
      hold(&t, 0);
    }
    CHECK(world_until(&t.f.w, &t.s.n, 500, 1000));
    check_order(&t.s, 500);
    CHECK(world_until(&t.f.w, &t.c.replies, 334, 1000));
    CHECK_EQ(t.s.fins, 1);
    CHECK(world_until(&t.f.w, &t.f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 1000));
    CHECK_EQ(t.f.w.c.gone, 0);
    sim_world_close(&t.f);
  }
}

/* Large requests, in pieces: the peer gets no credit for them, so that it stops after a window; half of one that was on
 * its way goes on afterwards. */
static void test_a_window(void) {
  static uint8_t p[100000];
  fixture t;
  begin_with(&t, NQ_STREAM_WINDOW, 2 * NQ_STREAM_WINDOW);
  t.s.answer = 0;
  hold(&t, 1);
  for (int i = 0; i < 40; i++)
    CHECK(nq_rpc_notify(t.f.w.c.l, t.rpc, 1, p, sizeof p) >= 0);
  world_run(&t.f.w, 200);
  CHECK_EQ(t.s.n, 0);
  CHECK(nq_stream_queued(t.f.w.c.l, t.rpc) > 40 * sizeof p - NQ_STREAM_WINDOW);
  hold(&t, 0);
  CHECK(world_until(&t.f.w, &t.s.n, 40, 5000));
  world_run(&t.f.w, 50);
  CHECK_EQ(nq_stream_queued(t.f.w.c.l, t.rpc), 0);
  sim_world_close(&t.f);
}

/* Replies pass more requests than a window takes: a stream that waits for them goes on reading. */
static void test_replies_behind_more_than_a_window(void) {
  static uint8_t p[100000];
  fixture t;
  begin_with(&t, NQ_STREAM_WINDOW, NQ_MIB(8));
  t.s.answer = 0;
  hold(&t, 1);
  for (int i = 0; i < 40; i++) /* 4 MB */
    CHECK(nq_rpc_notify(t.f.w.c.l, t.rpc, 1, p, sizeof p) >= 0);
  world_run(&t.f.w, 100);
  CHECK(nq_stream_queued(t.f.w.c.l, t.rpc) > 30 * sizeof p);
  CHECK(nq_rpc_call(t.f.w.s.l, t.f.w.s.stream, 1, (const uint8_t *)"back", 4, NQ_SEC(50), &t, NULL) >= 0);
  CHECK(world_until(&t.f.w, &t.s.replies, 1, 2000));
  CHECK_EQ(t.f.w.s.timeouts, 0);
  CHECK_EQ(t.s.n, 0);
  for (int i = 0; i < 200; i++) /* above the bound the peer waits again: nothing is read without end */
    CHECK(nq_rpc_notify(t.f.w.c.l, t.rpc, 1, p, sizeof p) >= 0);
  CHECK(nq_rpc_call(t.f.w.s.l, t.f.w.s.stream, 1, (const uint8_t *)"back", 4, NQ_SEC(5), &t, NULL) >= 0);
  world_run(&t.f.w, 1000);
  CHECK_EQ(t.s.replies, 1);
  CHECK(nq_stream_queued(t.f.w.c.l, t.rpc) > 200 * sizeof p - NQ_MIB(8));
  hold(&t, 0);
  CHECK(world_until(&t.f.w, &t.s.n, 240, 5000));
  CHECK(world_until(&t.f.w, &t.s.replies, 2, 1000));
  CHECK_EQ(nq_stream_get(&t.f.w.s.l->hub, t.f.w.s.stream)->c->kept, 0);
  sim_world_close(&t.f);
}

/* The connection has its credit back after streams that were reset, stopped or closed while they were held: many more
 * bytes than its window pass. */
static void test_ends_while_held(void) {
  static uint8_t p[30000];
  fixture t;
  begin_with(&t, NQ_KIB(64), NQ_KIB(128));
  t.s.answer = 0;
  for (int i = 0; i < 60; i++) {
    hold(&t, 1);
    int fresh = i % 2; /* the server knows nothing of it yet */
    nq_handle rpc = world_stream(&t.f.w, t.f.conn, NQ_KIND_RPC, "rpc"), in = 0;
    if (!fresh) {
      hold(&t, 0);
      CHECK(nq_rpc_notify(t.f.w.c.l, rpc, 1, NULL, 0) >= 0);
      uint32_t opens = t.s.opens;
      CHECK(world_until(&t.f.w, &t.s.opens, opens + 1, 1000));
      in = t.f.w.s.stream;
      hold(&t, 1);
    }
    CHECK(nq_rpc_notify(t.f.w.c.l, rpc, 1, p, sizeof p) >= 0);
    CHECK(nq_rpc_call(t.f.w.c.l, rpc, 1, p, sizeof p, 0, &t, NULL) >= 0);
    world_run(&t.f.w, 5);
    uint32_t n = t.s.n, opens = t.s.opens;
    if (i % 4 < 2) {
      CHECK_EQ(nq_stream_reset(t.f.w.c.l, rpc, 3), 0);
      CHECK_EQ(nq_stream_stop(t.f.w.c.l, rpc, 3), 0);
    } else if (fresh) {
      CHECK_EQ(nq_stream_stop(t.f.w.c.l, rpc, 3), 0);
      CHECK_EQ(nq_stream_finish(t.f.w.c.l, rpc), 0);
    } else {
      CHECK_EQ(nq_stream_close(t.f.w.s.l, in), 0);
    }
    world_run(&t.f.w, 5);
    CHECK_EQ(t.s.n, n);
    CHECK_EQ(t.s.opens, opens);
    hold(&t, 0);
    world_run(&t.f.w, 10);
  }
  t.s.answer = 1;
  send_numbers(&t, 1, 1);
  uint32_t replies = t.c.replies;
  CHECK(world_until(&t.f.w, &t.c.replies, replies + 1, 1000));
  sim_world_close(&t.f);
}

/* Streams that the peer opens meanwhile, of every kind, are told afterwards, the oldest first; what comes on streams
 * that are open passes. */
static void test_new_streams(void) {
  fixture t;
  begin(&t);
  nq_handle rec = world_stream(&t.f.w, t.f.conn, NQ_KIND_RECORD, "rec");
  CHECK(nq_stream_send(t.f.w.c.l, rec, (const uint8_t *)"a", 1) >= 0);
  CHECK(world_until(&t.f.w, &t.f.w.s.count[NQ_EV_STREAM_RECORD], 1, 1000));
  hold(&t, 1);
  uint32_t opens = t.s.opens;
  nq_handle s[3] = {world_stream(&t.f.w, t.f.conn, NQ_KIND_RAW, "raw"),
                    world_stream(&t.f.w, t.f.conn, NQ_KIND_RPC, "rpc"),
                    world_stream(&t.f.w, t.f.conn, NQ_KIND_RECORD, "rec")};
  CHECK(nq_stream_send(t.f.w.c.l, s[0], (const uint8_t *)"b", 1) >= 0);
  CHECK(nq_rpc_call(t.f.w.c.l, s[1], 1, (const uint8_t *)"c", 1, 0, &t, NULL) >= 0);
  CHECK_EQ(nq_stream_finish(t.f.w.c.l, s[2]), 0); /* nothing but its name and its end */
  for (int i = 0; i < 10; i++)
    CHECK(nq_stream_send(t.f.w.c.l, rec, (const uint8_t *)"a", 1) >= 0);
  CHECK(world_until(&t.f.w, &t.f.w.s.count[NQ_EV_STREAM_RECORD], 11, 1000));
  world_run(&t.f.w, 20);
  CHECK_EQ(t.s.opens, opens);
  CHECK_EQ(t.f.w.s.count[NQ_EV_STREAM_DATA], 0);
  hold(&t, 0);
  CHECK(world_until(&t.f.w, &t.s.opens, opens + 3, 1000));
  CHECK(world_until(&t.f.w, &t.c.replies, 1, 1000));
  CHECK(world_until(&t.f.w, &t.f.w.s.count[NQ_EV_STREAM_DATA], 1, 1000));
  CHECK(world_until(&t.f.w, &t.s.fins, 1, 1000));
  sim_world_close(&t.f);
}

/* An idle loop with a held connection sleeps: nothing is tried again and again. */
static void test_no_busy_loop(void) {
  fixture t;
  begin(&t);
  hold(&t, 1);
  send_numbers(&t, 1, 100);
  nq_handle fresh = world_stream(&t.f.w, t.f.conn, NQ_KIND_RPC, "rpc");
  CHECK(nq_rpc_notify(t.f.w.c.l, fresh, 1, NULL, 0) >= 0);
  world_run(&t.f.w, 100);
  nq_loop_poll(t.f.w.s.l, 0);
  CHECK_EQ(nq_loop_flush(t.f.w.s.l), 0);
  CHECK_EQ(nq_conn_hold(t.f.w.s.l, t.conn, NQ_HOLD_REPLIES, 1), 0);
  hold(&t, 0); /* the other reason still holds it */
  world_run(&t.f.w, 20);
  CHECK_EQ(t.s.n, 0);
  CHECK_EQ(nq_conn_hold(t.f.w.s.l, t.conn, NQ_HOLD_REPLIES, 0), 0);
  CHECK(world_until(&t.f.w, &t.s.n, 101, 1000));
  sim_world_close(&t.f);
}

/* The connection ends while it is held: its streams end, nothing stays. */
static void test_end_of_the_connection(void) {
  for (int how = 0; how < 3; how++) {
    fixture t;
    begin(&t);
    hold(&t, 1);
    send_numbers(&t, 1, 300);
    nq_handle fresh = world_stream(&t.f.w, t.f.conn, NQ_KIND_RPC, "rpc");
    CHECK(nq_rpc_notify(t.f.w.c.l, fresh, 1, NULL, 0) >= 0);
    world_run(&t.f.w, 20);
    CHECK_EQ(nq_conn_close(how ? t.f.w.s.l : t.f.w.c.l, how ? t.conn : t.f.conn, 0, "", 0, how == 2), 0);
    CHECK(world_until(&t.f.w, &t.f.w.s.count[NQ_EV_CONN_CLOSE], 1, 20000));
    CHECK_EQ(t.s.n, 0);
    world_run(&t.f.w, 20);
    nq_loop_stats st = world_stats(t.f.w.s.l);
    CHECK_EQ(st.held_connections + st.connections + st.streams, 0);
    CHECK_EQ(nq_conn_hold(t.f.w.s.l, t.conn, NQ_HOLD_TASKS, 1), NQ_ERR_STALE);
    sim_world_close(&t.f);
  }
}

static void test_arguments(void) {
  fixture t;
  begin(&t);
  CHECK_EQ(nq_conn_hold(t.f.w.s.l, 0, NQ_HOLD_TASKS, 1), NQ_ERR_STALE);
  CHECK_EQ(nq_conn_hold(t.f.w.s.l, t.conn, 0, 1), NQ_ERR_ARG);
  CHECK_EQ(nq_conn_hold(t.f.w.s.l, t.conn, 4, 1), NQ_ERR_ARG);
  hold(&t, 1);
  hold(&t, 1);
  CHECK_EQ(world_stats(t.f.w.s.l).held_connections, 1);
  hold(&t, 0);
  hold(&t, 0);
  CHECK_EQ(world_stats(t.f.w.s.l).held_connections, 0);
  sim_world_close(&t.f);
}

int main(void) {
  RUN(test_replies_pass);
  RUN(test_the_rest_of_the_batch);
  RUN(test_a_window);
  RUN(test_replies_behind_more_than_a_window);
  RUN(test_ends_while_held);
  RUN(test_new_streams);
  RUN(test_no_busy_loop);
  RUN(test_end_of_the_connection);
  RUN(test_arguments);
  CHECK_DONE();
}
