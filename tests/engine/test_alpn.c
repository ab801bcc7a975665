/* The protocol of a connection is chosen by ALPN: nq/1, or bare bytes where the name is none of ours. */
#include <string.h>

#include "app/hdmap.h"
#include "app/raw.h"
#include "check.h"
#include "io/sim.h"
#include "quic/stream.h"
#include "world.h"

typedef struct fix {
  nq_sim net;
  world w;
  nq_hdmap *raw; /* what the server serves under "chat/2" */
  nq_handle conn;
} fix;

static const nq_app *spoken; /* by the server under "chat/2"; NULL: bare bytes */
static int raw_handler; /* its address is the user of the handler */

static void begin(fix *f, const char *alpn, int client_raw) {
  memset(f, 0, sizeof *f);
  nq_sim_init(&f->net, 7);
  f->net.delay = NQ_MSEC(1);
  world_alpn = alpn; /* both sides know only this one: which handlers it means is the map's business */
  world_open(&f->w, &f->net);
  world_alpn = "\x04nq/1";
  f->raw = nq_hdmap_new();
  REQUIRE(f->raw != NULL);
  if (spoken)
    nq_hdmap_set_app(f->raw, spoken);
  else
    nq_hdmap_speak_raw(f->raw);
  CHECK_EQ(nq_hdmap_raw(f->raw, NQ_KIND_RAW, &raw_handler), 0);
  CHECK_EQ(nq_hdmap_uni(f->raw, &raw_handler), 0);
  CHECK_EQ(nq_hdmap_alpn(f->w.s.map, "chat/2", 6, f->w.c.map), 0); /* the later one holds */
  CHECK_EQ(nq_hdmap_alpn(f->w.s.map, "chat/2", 6, f->raw), 0);
  if (client_raw)
    nq_hdmap_speak_raw(f->w.c.map);
  f->conn = world_connect(&f->w, "localhost");
  CHECK(world_until(&f->w, &f->w.s.count[NQ_EV_CONN_OPEN], 1, 1000));
}

static void end(fix *f) {
  world_close(&f->w);
  nq_hdmap_unref(f->raw);
  nq_sim_free(&f->net);
}

static nq_handle open_raw(fix *f, int uni) {
  nq_stream_options o = {.kind = NQ_KIND_RAW, .uni = uni};
  nq_handle h = 0;
  CHECK_EQ(nq_stream_open(f->w.c.l, f->conn, &o, &h), 0);
  return h;
}

/* What looks like a name and the frame of a request comes as it is, and back. */
static void test_bare_bytes(void) {
  static const uint8_t bytes[] = "rpc\0\x05\x01\0\x01\x80";
  fix f;
  begin(&f,
        "\x06"
        "chat/2",
        1);
  nq_handle s = open_raw(&f, 0);
  CHECK_EQ(nq_stream_send(f.w.c.l, s, bytes, sizeof bytes), 0);
  CHECK_EQ(nq_stream_finish(f.w.c.l, s), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_FIN], 1, 1000));
  CHECK_EQ(f.w.s.count[NQ_EV_RPC_REQUEST], 0);
  CHECK_EQ(f.w.c.n_kept, sizeof bytes);
  CHECK(!memcmp(f.w.c.kept, bytes, sizeof bytes));
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 1000));
  end(&f);
}

static void test_kinds_that_it_has_not(void) {
  fix f;
  begin(&f,
        "\x06"
        "chat/2",
        1);
  nq_handle h = 0;
  nq_stream_options o = {.kind = NQ_KIND_RPC, .name = "rpc", .name_len = 3};
  CHECK_EQ(nq_stream_open(f.w.c.l, f.conn, &o, &h), NQ_ERR_STATE);
  o.kind = NQ_KIND_RAW;
  CHECK_EQ(nq_stream_open(f.w.c.l, f.conn, &o, &h), NQ_ERR_STATE);
  h = open_raw(&f, 0);
  uint32_t id;
  CHECK_EQ(nq_rpc_call(f.w.c.l, h, 1, NULL, 0, 0, NULL, &id), NQ_ERR_STATE);
  CHECK_EQ(nq_rpc_notify(f.w.c.l, h, 1, NULL, 0), NQ_ERR_STATE);
  CHECK_EQ(nq_rpc_reply(f.w.c.l, h, 1, 0, NULL, 0), NQ_ERR_STATE);
  CHECK(!nq_rpc_cancel(f.w.c.l, h, 1) && !nq_rpc_pending(f.w.c.l, h, 1));
  CHECK_EQ(nq_rpc_max_msgid(f.w.c.l, h, 5), NQ_ERR_STATE);
  CHECK_EQ(nq_rpc_last_msgid(f.w.c.l, h, 5), NQ_ERR_STATE);
  CHECK_EQ(nq_stream_set_native(f.w.c.l, h, NULL), NQ_ERR_STATE);
  end(&f);
}

/* Whatever comes first opens the stream: bytes, FIN, RESET_STREAM, STOP_SENDING. */
static void test_whatever_comes_first(void) {
  for (int what = 0; what < 4; what++) {
    fix f;
    begin(&f,
          "\x06"
          "chat/2",
          1);
    f.w.s.echo = 0;
    nq_handle s = open_raw(&f, 0);
    world_run(&f.w, 5); /* it has its ID: one that is reset before is never heard of */
    if (what == 0)
      CHECK_EQ(nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1), 0);
    else if (what == 1)
      CHECK_EQ(nq_stream_finish(f.w.c.l, s), 0);
    else if (what == 2)
      CHECK_EQ(nq_stream_reset(f.w.c.l, s, 77), 0);
    else
      CHECK_EQ(nq_stream_stop(f.w.c.l, s, 78), 0);
    static const nq_event_kind kinds[] = {NQ_EV_STREAM_DATA, NQ_EV_STREAM_FIN, NQ_EV_STREAM_RESET, NQ_EV_STREAM_STOP};
    CHECK(world_until(&f.w, &f.w.s.count[kinds[what]], 1, 1000));
    CHECK_EQ(f.w.s.count[NQ_EV_STREAM_OPEN], 1);
    end(&f);
  }
}

static void test_unidirectional(void) {
  fix f;
  begin(&f,
        "\x06"
        "chat/2",
        1);
  nq_handle s = open_raw(&f, 1);
  CHECK_EQ(nq_stream_send(f.w.c.l, s, (const uint8_t *)"one way", 7), 0);
  CHECK_EQ(nq_stream_finish(f.w.c.l, s), 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_FIN], 1, 1000));
  CHECK(f.w.s.n_kept == 7 && !memcmp(f.w.s.kept, "one way", 7));
  end(&f);
}

/* The client's map has no handler without a name: what the server opens is refused. */
static void test_nobody_serves_it(void) {
  fix f;
  begin(&f,
        "\x06"
        "chat/2",
        1);
  nq_stream_options o = {.kind = NQ_KIND_RAW};
  nq_handle s = 0;
  CHECK_EQ(nq_stream_open(f.w.s.l, f.w.s.conn, &o, &s), 0);
  CHECK_EQ(nq_stream_send(f.w.s.l, s, (const uint8_t *)"x", 1), 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_STOP], 1, 1000));
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_CLOSE], 1, 1000));
  CHECK_EQ(f.w.s.stream_code, NQ_STREAM_UNKNOWN_PROTOCOL);
  end(&f);
}

/* A name that the map has no other handlers for: it serves itself, as nq/1. */
static void test_another_name(void) {
  fix f;
  begin(&f,
        "\x05"
        "other",
        0);
  nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  CHECK(nq_rpc_call(f.w.c.l, s, 1, (const uint8_t *)"hi", 2, 0, NULL, NULL) >= 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], 1, 1000));
  CHECK(f.w.c.n_kept == 2 && !memcmp(f.w.c.kept, "hi", 2));
  end(&f);
}

static uint32_t begun, filled;

static void count_begin(nq_conn *c) {
  CHECK(c->announced && !begun);
  begun++;
}

static void count_fill(nq_conn *c) {
  CHECK(c->connected);
  filled++;
}

/* A protocol with something of its own to say does so when the connection is open, and before packets are written. */
static void test_begin_and_fill(void) {
  nq_app own = nq_app_raw;
  own.begin = count_begin;
  own.fill = count_fill;
  begun = filled = 0;
  spoken = &own;
  fix f;
  begin(&f,
        "\x06"
        "chat/2",
        1);
  spoken = NULL;
  CHECK_EQ(begun, 1);
  uint32_t before = filled;
  CHECK_EQ(nq_stream_send(f.w.c.l, open_raw(&f, 0), (const uint8_t *)"x", 1), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_DATA], 1, 1000));
  CHECK(filled > before && begun == 1);
  end(&f);
}

static void test_arguments(void) {
  nq_hdmap *a = nq_hdmap_new(), *b = nq_hdmap_new();
  REQUIRE(a && b);
  char name[256];
  memset(name, 'x', sizeof name);
  CHECK_EQ(nq_hdmap_alpn(a, "", 0, b), NQ_ERR_ARG);
  CHECK_EQ(nq_hdmap_alpn(a, name, 256, b), NQ_ERR_ARG);
  CHECK_EQ(nq_hdmap_alpn(a, "x", 1, a), NQ_ERR_ARG);
  CHECK_EQ(nq_hdmap_alpn(a, name, 255, b), 0);
  nq_hdmap_unref(b); /* a has it still */
  nq_hdmap_unref(a);
}

int main(void) {
  RUN(test_bare_bytes);
  RUN(test_kinds_that_it_has_not);
  RUN(test_whatever_comes_first);
  RUN(test_unidirectional);
  RUN(test_nobody_serves_it);
  RUN(test_another_name);
  RUN(test_begin_and_fill);
  RUN(test_arguments);
  CHECK_DONE();
}
