/* test_turns.c: handlers take turns: a connection whose requests take long has fewer of them in a tick. */
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "world.h"

#define MS UINT64_C(1000000)

static void begin(sim_world *f) {
  sim_world_open(f, 21);
  f->w.s.echo = 0;
  sim_world_connect(f);
}

typedef struct turns {
  nq_sim *net;
  uint32_t n_slow, n_quick, wrong, now_slow, now_quick, most_slow;
} turns;

/* Requests of 2 bytes; those of type 1 take a millisecond, the others a microsecond. */
static int take_long(side *x, const nq_event *e) {
  turns *t = x->hook_ctx;
  if (e->kind != NQ_EV_RPC_REQUEST)
    return 0;
  uint32_t *n = e->type == 1 ? &t->n_slow : &t->n_quick;
  t->wrong += e->len != 2 || (uint32_t)(e->data[0] | e->data[1] << 8) != *n;
  ++*n;
  e->type == 1 ? t->now_slow++ : t->now_quick++;
  t->net->now += e->type == 1 ? MS : 1000;
  nq_rpc_reply(x->l, e->handle, e->msgid, 0, e->data, e->len); /* in test_turns_closed to nobody */
  return 1;
}

static void ask(sim_world *f, nq_handle s, int16_t type, uint32_t first, uint32_t n) {
  for (uint32_t i = first; i < first + n; i++) {
    uint8_t p[2] = {(uint8_t)i, (uint8_t)(i >> 8)};
    CHECK(nq_rpc_call(f->w.c.l, s, type, p, 2, NQ_SEC(1000), NULL, NULL) >= 0);
  }
}

/* A connection with slow handlers has its requests one in a tick, while the other one has all of its own; nothing is
 * lost or out of order, and the end of the stream comes last. */
static void test_turns(void) {
  sim_world f;
  begin(&f);
  turns t = {.net = &f.net};
  f.w.s.hook = take_long;
  f.w.s.hook_ctx = &t;
  nq_handle other = world_connect(&f.w, "localhost");
  REQUIRE(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_OPEN], 2, 5000));
  nq_handle slow = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc"),
            quick = world_stream(&f.w, other, NQ_KIND_RPC, "rpc");
  ask(&f, slow, 1, 0, 20); /* nothing is known of it yet: a long tick */
  ask(&f, quick, 2, 0, 20);
  REQUIRE(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], 40, 5000));
  CHECK(nq_loop_timing(f.w.s.l));
  ask(&f, slow, 1, 20, 2); /* timed */
  REQUIRE(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], 42, 5000));
  ask(&f, slow, 1, 22, 1000);
  CHECK_EQ(nq_stream_finish(f.w.c.l, slow), 0);
  uint32_t asked = 20;
  for (int i = 0; i < 3000 && t.n_slow < 1022; i++) {
    if (asked < 1020) {
      ask(&f, quick, 2, asked, 5);
      asked += 5;
    }
    t.now_slow = 0;
    world_tick(&f.w, 100000);
    t.most_slow = t.now_slow > t.most_slow ? t.now_slow : t.most_slow;
    if (t.n_slow < 1021)
      CHECK_EQ(f.w.s.count[NQ_EV_STREAM_FIN], 0);
  }
  CHECK_EQ(t.most_slow, 1);
  CHECK_EQ(t.n_slow, 1022);
  CHECK(t.n_quick > 900); /* it did not wait for the end of the slow ones */
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_FIN], 1, 100));
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], 1022 + asked, 5000));
  CHECK_EQ(t.wrong, 0);
  sim_world_close(&f);
}

/* Alone a connection has no turns: nobody waits for it. */
static void test_turns_alone(void) {
  sim_world f;
  begin(&f);
  turns t = {.net = &f.net};
  f.w.s.hook = take_long;
  f.w.s.hook_ctx = &t;
  nq_handle slow = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  uint32_t asked = 0;
  for (int round = 0; round < 3; round++) {
    ask(&f, slow, 1, asked, 20);
    asked += 20;
    t.most_slow = 0;
    for (int i = 0; i < 100 && t.n_slow < asked; i++) {
      t.now_slow = 0;
      world_tick(&f.w, 100000);
      t.most_slow = t.now_slow > t.most_slow ? t.now_slow : t.most_slow;
    }
    CHECK(t.most_slow > 10);
  }
  CHECK_EQ(t.wrong, 0);
  CHECK_EQ(t.n_slow, 60);
  sim_world_close(&f);
}

/* What waits for its turn when the peer closes the connection is delivered before the end. */
static void test_turns_closed(void) {
  sim_world f;
  begin(&f);
  turns t = {.net = &f.net};
  f.w.s.hook = take_long;
  f.w.s.hook_ctx = &t;
  world_connect(&f.w, "localhost");
  REQUIRE(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_OPEN], 2, 5000));
  nq_handle slow = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  for (uint32_t n = 0; n < 60; n += 20) {
    ask(&f, slow, 1, n, 20);
    REQUIRE(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], n + 20, 5000));
  }
  ask(&f, slow, 1, 60, 100);
  for (int i = 0; i < 100 && t.n_slow < 70; i++)
    world_tick(&f.w, 100000);
  CHECK(t.n_slow >= 70 && t.n_slow < 160);
  nq_conn_close(f.w.c.l, f.conn, 5, NULL, 0, 1);
  REQUIRE(world_until(&f.w, &f.w.s.count[NQ_EV_CONN_CLOSE], 1, 1000));
  CHECK_EQ(t.n_slow, 160);
  CHECK_EQ(t.wrong, 0);
  sim_world_close(&f);
}

int main(void) {
  RUN(test_turns);
  RUN(test_turns_alone);
  RUN(test_turns_closed);
  CHECK_DONE();
}
