/* test_too_big.c: RPC messages above max_message_size: who waits is told, the bytes are dropped as they come in pieces
 * of any size, and the stream lives on. */
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "world.h"

typedef struct seen {
  uint32_t requests, notifies, replies, ok, told, local; /* told: by an error reply; local: this side's own limit */
  uint64_t bytes;
  size_t reply; /* bytes of each reply */
} seen;

static uint8_t payload[100000];

static int watch(side *x, const nq_event *e) {
  seen *t = x->hook_ctx;
  switch (e->kind) {
  case NQ_EV_RPC_REQUEST:
    t->requests++;
    t->bytes += e->len;
    CHECK(nq_rpc_reply(x->l, e->handle, e->msgid, 0, payload, t->reply) >= 0);
    return 1;
  case NQ_EV_RPC_NOTIFY:
    t->notifies++;
    t->bytes += e->len;
    return 1;
  case NQ_EV_RPC_REPLY:
    t->replies++;
    if (e->flags & NQ_EVF_LOCAL) {
      CHECK_EQ(e->code, NQ_CALL_TOOBIG);
      t->local++;
    } else {
      t->ok += e->type == 0;
      t->told += e->type == NQ_RPC_TOOBIG && e->len == 0;
    }
    return 1;
  default:
    return 0;
  }
}

static void begin(sim_world *f, seen *s, seen *c, uint64_t server, uint64_t client) {
  memset(s, 0, sizeof *s);
  memset(c, 0, sizeof *c);
  sim_world_open(f, 51);
  f->w.s.limits.max_message_size = server;
  f->w.c.limits.max_message_size = client;
  sim_world_listen(f);
  f->w.s.hook = f->w.c.hook = watch;
  f->w.s.hook_ctx = s;
  f->w.c.hook_ctx = c;
  sim_world_connect(f);
}

static void test_requests(void) {
  sim_world f;
  seen s, c;
  begin(&f, &s, &c, 1000, sizeof payload);
  nq_handle rpc = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  static const size_t sizes[] = {1000, 1001, 0, 100000, 50000, 999, 1001, 1001, 3};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    CHECK(nq_rpc_call(f.w.c.l, rpc, 1, payload, sizes[i], 0, &f, NULL) >= 0);
    CHECK(nq_rpc_notify(f.w.c.l, rpc, 1, payload, sizes[i]) >= 0);
  }
  CHECK(world_until(&f.w, &c.replies, 9, 5000));
  CHECK_EQ(c.ok, 4);
  CHECK_EQ(c.told, 5);
  CHECK_EQ(c.local, 0);
  CHECK_EQ(s.requests, 4);
  CHECK_EQ(s.notifies, 4);
  CHECK_EQ(s.bytes, 2 * (1000 + 999 + 3));
  CHECK_EQ(world_stats(f.w.s.l).too_big, 10);
  CHECK_EQ(nq_stream_finish(f.w.c.l, rpc), 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_FIN], 1, 1000));
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_RESET], 0);
  sim_world_close(&f);
}

/* The same bytes however they are cut: headers in two packets, a payload of one byte each. */
static void test_pieces(void) {
  static const char bytes[] = "rpc\0"
                              "\x05\x01\0\x01\x8b"
                              "hello world" /* 11: too large */
                              "\0\0\x07\x8c"
                              "hello world!" /* a notification of 12 */
                              "\x05\x01\0\x02\x82ok"
                              "\x05\x01\0\x03\x7f\x87"; /* 1023 bytes, which never come */
  size_t n = sizeof bytes - 1;
  for (size_t step = 1; step < n; step += step < 20 ? 1 : 7) {
    sim_world f;
    seen s, c;
    begin(&f, &s, &c, 10, sizeof payload);
    s.reply = 2;
    nq_handle raw = world_stream(&f.w, f.conn, NQ_KIND_RAW, NULL);
    for (size_t at = 0; at < n; at += step) {
      CHECK(nq_stream_send(f.w.c.l, raw, (const uint8_t *)bytes + at, step < n - at ? step : n - at) >= 0);
      world_run(&f.w, 3);
    }
    static const char first[] = "\x05\xf8\0\x01\x80", ok[] = "\x05\0\0\x02\x82\0\0", third[] = "\x05\xf8\0\x03\x80";
    CHECK_EQ(s.requests, 1);
    CHECK_EQ(s.notifies, 0);
    REQUIRE(f.w.c.n_kept == 17);
    CHECK(memcmp(f.w.c.kept, first, 5) == 0);
    const uint8_t *rest = f.w.c.kept + 5; /* the handler replies after the whole chunk was looked at */
    CHECK((memcmp(rest, ok, 7) == 0 && memcmp(rest + 7, third, 5) == 0) ||
          (memcmp(rest, third, 5) == 0 && memcmp(rest + 5, ok, 7) == 0));
    CHECK_EQ(nq_stream_finish(f.w.c.l, raw), 0); /* in the middle of a message, if an unwanted one */
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_RESET], 1, 1000));
    sim_world_close(&f);
  }
}

static void test_replies(void) {
  sim_world f;
  seen s, c;
  begin(&f, &s, &c, sizeof payload, 1000);
  nq_handle rpc = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  static const size_t sizes[] = {1000, 1001, 90000, 5};
  for (int i = 0; i < 4; i++) {
    s.reply = sizes[i];
    CHECK(nq_rpc_call(f.w.c.l, rpc, 1, NULL, 0, 0, &f, NULL) >= 0);
    CHECK(world_until(&f.w, &c.replies, (uint32_t)i + 1, 5000));
  }
  CHECK_EQ(c.ok, 2);
  CHECK_EQ(c.local, 2);
  CHECK_EQ(world_stats(f.w.c.l).pending_calls, 0);
  CHECK_EQ(world_stats(f.w.c.l).too_big, 2);
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_RESET], 0);
  sim_world_close(&f);
}

/* Without end: the credit is given back, and a peer that does not take the error replies is given up. */
static void test_many(void) {
  sim_world f;
  seen s, c;
  begin(&f, &s, &c, 10, sizeof payload);
  nq_handle rpc = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  for (int i = 0; i < 1000; i++) { /* four windows */
    CHECK(nq_rpc_call(f.w.c.l, rpc, 1, payload, 70000, NQ_SEC(600), &f, NULL) >= 0);
    if (i % 100 == 99)
      CHECK(world_until(&f.w, &c.replies, (uint32_t)i + 1, 60000));
  }
  CHECK_EQ(c.told, 1000);
  sim_world_close(&f);

  memset(&s, 0, sizeof s);
  sim_world_open(&f, 52);
  f.w.s.limits.max_message_size = 1;
  f.w.c.limits.stream_window = f.w.c.limits.connection_window = 1024;
  sim_world_listen(&f);
  f.w.s.hook = watch;
  f.w.s.hook_ctx = &s;
  sim_world_connect(&f);
  nq_handle raw = world_stream(&f.w, f.conn, NQ_KIND_RAW, NULL);
  CHECK(nq_stream_send(f.w.c.l, raw, (const uint8_t *)"rpc", 4) >= 0);
  uint64_t most = 0;
  for (int i = 0; i < 3000 && !f.w.c.count[NQ_EV_STREAM_RESET]; i++) {
    for (int k = 0; k < 200; k++)
      nq_stream_send(f.w.c.l, raw, (const uint8_t *)"\x05\x01\0\x01\x82hi", 7);
    world_run(&f.w, 1);
    if (f.w.c.stream || f.w.c.count[NQ_EV_STREAM_DATA])
      nq_stream_pause(f.w.c.l, raw);
    uint64_t queued = world_stats(f.w.s.l).send_buffer_bytes;
    most = queued > most ? queued : most;
  }
  CHECK(f.w.c.count[NQ_EV_STREAM_RESET] + f.w.c.count[NQ_EV_STREAM_STOP] > 0);
  CHECK(most < NQ_MIB(1));
  sim_world_close(&f);
}

int main(void) {
  RUN(test_requests);
  RUN(test_pieces);
  RUN(test_replies);
  RUN(test_many);
  CHECK_DONE();
}
