/* test_cancel.c: calls that their caller has given up: the peer is told, what waits there is not delivered, and a peer
 * that knows nothing of it is not disturbed. */
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "world.h"

#define MS UINT64_C(1000000)

typedef struct seen {
  uint32_t requests[8192], n_requests, cancels[8192], n_cancels, replies;
  int answer;
} seen;

static int watch(side *x, const nq_event *e) {
  seen *t = x->hook_ctx;
  switch (e->kind) {
  case NQ_EV_RPC_REQUEST:
    if (t->n_requests < 8192)
      t->requests[t->n_requests++] = e->msgid;
    if (t->answer)
      CHECK(nq_rpc_reply(x->l, e->handle, e->msgid, 0, NULL, 0) >= 0);
    return 1;
  case NQ_EV_RPC_CANCEL:
    if (t->n_cancels < 8192)
      t->cancels[t->n_cancels++] = e->msgid;
    return 1;
  case NQ_EV_RPC_REPLY:
    t->replies++;
    return 0;
  default:
    return 0;
  }
}

typedef struct fixture {
  sim_world f;
  seen s, c;
  nq_handle rpc;
} fixture;

static fixture fix; /* large */

static fixture *begin(void) {
  fixture *t = &fix;
  memset(t, 0, sizeof *t);
  sim_world_open(&t->f, 61);
  t->f.w.s.holds = t->f.w.c.holds = 1;
  t->f.w.s.hook = t->f.w.c.hook = watch;
  t->f.w.s.hook_ctx = &t->s;
  t->f.w.c.hook_ctx = &t->c;
  sim_world_connect(&t->f);
  t->rpc = world_stream(&t->f.w, t->f.conn, NQ_KIND_RPC, "rpc");
  return t;
}

static uint32_t call(fixture *t, uint64_t timeout) {
  uint32_t id = 0;
  CHECK(nq_rpc_call(t->f.w.c.l, t->rpc, 1, NULL, 0, timeout, t, &id) >= 0);
  return id;
}

static void give_up(fixture *t, uint32_t id) { CHECK(nq_rpc_cancel(t->f.w.c.l, t->rpc, id) == t); }

/* Cancelled calls, and those that had no reply in time. */
static void test_told(void) {
  fixture *t = begin();
  uint32_t ids[300];
  for (int i = 0; i < 300; i++)
    ids[i] = call(t, i % 3 == 2 ? 20 * MS : 0);
  CHECK(world_until(&t->f.w, &t->s.n_requests, 300, 1000));
  for (int i = 0; i < 300; i += 3)
    give_up(t, ids[i]);
  CHECK(world_until(&t->f.w, &t->s.n_cancels, 200, 1000));
  world_run(&t->f.w, 50);
  CHECK_EQ(t->s.n_cancels, 200);
  uint8_t cancelled[301] = {0};
  for (uint32_t i = 0; i < t->s.n_cancels; i++)
    if (t->s.cancels[i] <= 300)
      cancelled[t->s.cancels[i]]++;
  for (int i = 0; i < 300; i++)
    CHECK_EQ(cancelled[ids[i]], i % 3 != 1);
  CHECK_EQ(t->c.replies, 100); /* those that timed out */
  for (int i = 1; i < 300; i += 3) /* the others are answered as ever */
    CHECK(nq_rpc_reply(t->f.w.s.l, t->f.w.s.stream, ids[i], 0, NULL, 0) >= 0);
  CHECK(world_until(&t->f.w, &t->c.replies, 200, 1000));
  sim_world_close(&t->f);
}

/* What goes over the wire: one frame for all of a flush, after the requests that it is about; none for streams that
 * end. */
static void test_frames(void) {
  fixture *t = begin();
  CHECK_EQ(nq_conn_set_hdmap(t->f.w.s.l, t->f.w.s.conn, NULL), 0);
  nq_hdmap *raw = nq_hdmap_new();
  REQUIRE(raw && nq_hdmap_raw(raw, NQ_KIND_RAW, NULL) == 0);
  CHECK_EQ(nq_conn_set_hdmap(t->f.w.s.l, t->f.w.s.conn, raw), 0);
  nq_hdmap_unref(raw);
  t->f.w.s.echo = 0;
  uint32_t first = call(t, 0), second = call(t, 0), third = call(t, 0);
  give_up(t, first);
  give_up(t, third);
  static const char want[] = "rpc\0"
                             "\x05\x01\0\x01\x80\x05\x01\0\x02\x80\x05\x01\0\x03\x80"
                             "\x02\x80\0\xff\xff\xff\xff\x88\0\0\0\x01\0\0\0\x03";
  world_run(&t->f.w, 20);
  CHECK_EQ(t->f.w.s.n_kept, sizeof want - 1);
  CHECK(t->f.w.s.n_kept == sizeof want - 1 && memcmp(t->f.w.s.kept, want, sizeof want - 1) == 0);
  CHECK_EQ(nq_stream_finish(t->f.w.c.l, t->rpc), 0);
  give_up(t, second);
  world_run(&t->f.w, 20);
  CHECK_EQ(t->f.w.s.n_kept, sizeof want - 1);
  sim_world_close(&t->f);
}

/* Requests that wait while the connection is held are not delivered once they are given up; an ID that is used again is
 * another call. */
static void test_held(void) {
  fixture *t = begin();
  call(t, 0);
  CHECK(world_until(&t->f.w, &t->s.n_requests, 1, 1000));
  nq_handle conn = nq_stream_conn(t->f.w.s.l, t->f.w.s.stream);
  CHECK_EQ(nq_conn_hold(t->f.w.s.l, conn, NQ_HOLD_TASKS, 1), 0);
  CHECK_EQ(nq_rpc_max_msgid(t->f.w.c.l, t->rpc, 100), 0);
  t->s.n_requests = 0;
  t->s.answer = 1;
  for (uint32_t i = 2; i <= 100; i++)
    CHECK_EQ(call(t, 0), i);
  world_run(&t->f.w, 20);
  for (uint32_t i = 100; i >= 2; i -= 2)
    give_up(t, i);
  CHECK_EQ(call(t, 0), 2);
  CHECK_EQ(call(t, 0), 4);
  world_run(&t->f.w, 20);
  CHECK_EQ(t->s.n_cancels, 50);
  CHECK_EQ(t->s.n_requests, 0);
  CHECK_EQ(nq_conn_hold(t->f.w.s.l, conn, NQ_HOLD_TASKS, 0), 0);
  CHECK(world_until(&t->f.w, &t->c.replies, 51, 1000));
  CHECK_EQ(t->s.n_requests, 51);
  for (uint32_t i = 0; i < 49; i++)
    CHECK_EQ(t->s.requests[i], 3 + 2 * i);
  CHECK_EQ(t->s.requests[49], 2);
  CHECK_EQ(t->s.requests[50], 4);
  sim_world_close(&t->f);
}

static int hold_at_first(side *x, const nq_event *e) {
  if (e->kind == NQ_EV_RPC_REQUEST && !((seen *)x->hook_ctx)->n_requests)
    CHECK_EQ(nq_conn_hold(x->l, nq_stream_conn(x->l, e->handle), NQ_HOLD_TASKS, 1), 0);
  return watch(x, e);
}

/* Request and cancellation are in one batch, whose first handler holds the connection. */
static void test_held_in_the_batch(void) {
  fixture *t = begin();
  t->f.w.s.hook = hold_at_first;
  call(t, 0);
  uint32_t second = call(t, 0);
  call(t, 0);
  give_up(t, second);
  CHECK(world_until(&t->f.w, &t->s.n_requests, 1, 1000));
  world_run(&t->f.w, 10);
  CHECK_EQ(t->s.n_cancels, 1);
  CHECK_EQ(nq_conn_hold(t->f.w.s.l, nq_stream_conn(t->f.w.s.l, t->f.w.s.stream), NQ_HOLD_TASKS, 0), 0);
  CHECK(world_until(&t->f.w, &t->s.n_requests, 2, 1000));
  world_run(&t->f.w, 10);
  CHECK_EQ(t->s.n_requests, 2);
  CHECK_EQ(t->s.requests[1], 3);
  sim_world_close(&t->f);
}

/* More than fit a frame, or the memory of what is held; and frames that are no list of IDs. */
static void test_many_and_broken(void) {
  fixture *t = begin();
  static uint32_t ids[8000];
  call(t, 0);
  CHECK(world_until(&t->f.w, &t->s.n_requests, 1, 1000));
  nq_handle conn = nq_stream_conn(t->f.w.s.l, t->f.w.s.stream);
  CHECK_EQ(nq_conn_hold(t->f.w.s.l, conn, NQ_HOLD_TASKS, 1), 0);
  for (int i = 0; i < 8000; i++)
    ids[i] = call(t, 0);
  for (int i = 7999; i >= 0; i--)
    give_up(t, ids[i]);
  CHECK(world_until(&t->f.w, &t->s.n_cancels, 8000, 2000));
  CHECK_EQ(nq_conn_hold(t->f.w.s.l, conn, NQ_HOLD_TASKS, 0), 0);
  world_run(&t->f.w, 500);
  CHECK_EQ(t->s.n_requests, 1 + 8000 - 4096); /* of more the engine takes no note */
  nq_handle raw = world_stream(&t->f.w, t->f.conn, NQ_KIND_RAW, NULL);
  t->s.n_cancels = 0;
  t->s.n_requests = 0;
  t->s.answer = 1;
  static const char bytes[] = "rpc\0"
                              "\x02\x80\0\xff\xff\xff\xff\x80"
                              "\x02\x80\0\xff\xff\xff\xff\x83\0\0\0"
                              "\x02\x80\0\xff\xff\xff\xff\x85\0\0\0\x07\x09"
                              "\x06\0\xff\xff\xff\xff\x84\0\0\0\x01" /* an answer to nothing */
                              "\x05\x01\0\x01\x80";
  CHECK(nq_stream_send(t->f.w.c.l, raw, (const uint8_t *)bytes, sizeof bytes - 1) >= 0);
  CHECK(world_until(&t->f.w, &t->s.n_requests, 1, 1000));
  CHECK_EQ(t->s.n_cancels, 1);
  CHECK_EQ(t->s.cancels[0], 7);
  sim_world_close(&t->f);
}

/* The one ID that no call has. */
static void test_no_call_has_it(void) {
  fixture *t = begin();
  CHECK_EQ(nq_rpc_max_msgid(t->f.w.c.l, t->rpc, UINT32_MAX), 0);
  CHECK_EQ(nq_rpc_last_msgid(t->f.w.c.l, t->rpc, UINT32_MAX - 2), 0);
  CHECK_EQ(call(t, 0), UINT32_MAX - 1);
  CHECK_EQ(call(t, 0), 1);
  sim_world_close(&t->f);
}

int main(void) {
  RUN(test_told);
  RUN(test_frames);
  RUN(test_held);
  RUN(test_held_in_the_batch);
  RUN(test_many_and_broken);
  RUN(test_no_call_has_it);
  CHECK_DONE();
}
