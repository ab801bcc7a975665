/* test_stream_flow.c: streams under pressure: pausing, windows, watermarks, limits, many at once. */
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "quic/stream.h"
#include "world.h"

#define MS UINT64_C(1000000)

static void limits_none(world *w) { (void)w; }

/* Windows as they begin: they do not grow. */
static void fixed_windows(world *w) {
  w->s.limits.stream_window = NQ_STREAM_WINDOW;
  w->s.limits.connection_window = 2 * NQ_STREAM_WINDOW;
}

static void begin_with(sim_world *f, void (*set)(world *)) {
  sim_world_open(f, 21);
  set(&f->w);
  sim_world_listen(f);
  f->w.s.echo = 0;
  sim_world_connect(f);
}

typedef struct flow {
  uint64_t got, wrong, sent;
  int pause_at_open;
  uint32_t fins_early;
} flow;

static int watch(side *x, const nq_event *e) {
  flow *t = x->hook_ctx;
  if (e->kind == NQ_EV_STREAM_OPEN && t->pause_at_open)
    CHECK_EQ(nq_stream_pause(x->l, e->handle), 0);
  if (e->kind != NQ_EV_STREAM_DATA)
    return 0;
  for (size_t i = 0; i < e->len; i++)
    t->wrong += e->data[i] != world_byte(0, t->got + i);
  t->got += e->len;
  return 1;
}

/* Keeps the sender's queue at its high watermark. */
static void feed(sim_world *f, nq_handle s, flow *t, uint64_t upto) {
  static uint8_t p[20000];
  while (t->sent < upto) {
    size_t n = upto - t->sent < sizeof p ? (size_t)(upto - t->sent) : sizeof p;
    for (size_t i = 0; i < n; i++)
      p[i] = world_byte(0, t->sent + i);
    int rv = nq_stream_send(f->w.c.l, s, p, n);
    CHECK(rv >= 0);
    if (rv < 0)
      return;
    t->sent += n;
    if (rv)
      return;
  }
}

/* The reader pauses while a fast sender runs: what is held is no more than a window, and all of it comes in the end. */
static void test_pause(void) {
  const uint64_t total = 12u << 20;
  sim_world f;
  begin_with(&f, fixed_windows);
  flow t = {0};
  f.w.s.hook = watch;
  f.w.s.hook_ctx = &t;
  nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
  feed(&f, s, &t, total);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_DATA], 5, 1000));
  nq_handle in = f.w.s.stream;
  for (int round = 0; round < 5; round++) {
    CHECK_EQ(nq_stream_pause(f.w.s.l, in), 0);
    uint64_t before = t.got;
    for (int i = 0; i < 300; i++) {
      feed(&f, s, &t, total);
      world_run(&f.w, 1);
    }
    CHECK_EQ(t.got, before);
    nq_stream *held = nq_stream_get(&f.w.s.l->hub, in);
    REQUIRE(held != NULL);
    CHECK(nq_bytes_size(&held->held) <= f.w.s.limits.stream_window);
    CHECK(nq_bytes_size(&held->held) >= f.w.s.limits.stream_window / 2);
    CHECK(nq_stream_queued(f.w.c.l, s) >= f.w.c.limits.send_low);
    CHECK_EQ(nq_stream_resume(f.w.s.l, in), 0);
    CHECK_EQ(nq_stream_resume(f.w.s.l, in), 0);
    for (int i = 0; i < 5; i++) {
      feed(&f, s, &t, total);
      world_run(&f.w, 1);
    }
    CHECK(t.got > before);
  }
  while (t.sent < total) {
    feed(&f, s, &t, total);
    world_run(&f.w, 1);
  }
  CHECK_EQ(nq_stream_finish(f.w.c.l, s), 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_FIN], 1, 60000));
  CHECK_EQ(t.got, total);
  CHECK_EQ(t.wrong, 0);
  CHECK(f.w.c.count[NQ_EV_STREAM_WRITABLE] > 0);
  CHECK_EQ(nq_stream_finish(f.w.s.l, in), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 1000));
  sim_world_close(&f);
}

/* Paused from the first event on; the sender ends the stream meanwhile: FIN, RESET or the whole connection. */
static void test_paused_to_the_end(void) {
  for (int how = 0; how < 5; how++) {
    sim_world f;
    begin_with(&f, limits_none);
    flow t = {.pause_at_open = 1};
    f.w.s.hook = watch;
    f.w.s.hook_ctx = &t;
    nq_stream_options o = {.kind = NQ_KIND_RAW, .uni = 1};
    nq_handle s;
    REQUIRE(nq_stream_open(f.w.c.l, f.conn, &o, &s) == 0);
    feed(&f, s, &t, 1);
    CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_OPEN], 1, 1000));
    uint64_t first = t.got; /* was in the batch already */
    feed(&f, s, &t, 30000);
    world_run(&f.w, 50);
    if (how == 1)
      CHECK_EQ(nq_stream_reset(f.w.c.l, s, 5), 0);
    else
      CHECK_EQ(nq_stream_finish(f.w.c.l, s), 0);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 1000));
    world_run(&f.w, 50);
    CHECK_EQ(t.got, first);
    CHECK_EQ(f.w.s.count[NQ_EV_STREAM_CLOSE], 0);
    CHECK_EQ(f.w.s.count[NQ_EV_STREAM_FIN], 0);
    nq_handle in = f.w.s.stream;
    CHECK(nq_stream_alive(f.w.s.l, in));
    if (how == 0 || how == 1) {
      CHECK_EQ(nq_stream_resume(f.w.s.l, in), 0);
    } else if (how == 2) { /* the peer closes the connection: what had come is delivered first */
      CHECK_EQ(nq_conn_close(f.w.c.l, f.conn, 3, "", 0, 1), 0);
    } else if (how == 3) { /* not wanted any more */
      CHECK_EQ(nq_stream_stop(f.w.s.l, in, 5), 0);
    } else {
      CHECK_EQ(nq_stream_close(f.w.s.l, in), 0);
      CHECK_EQ(nq_stream_resume(f.w.s.l, in), 0);
    }
    CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_CLOSE], 1, 1000));
    if (how < 3) {
      CHECK_EQ(t.got, 30000);
      CHECK_EQ(f.w.s.count[NQ_EV_STREAM_FIN], how != 1);
      CHECK_EQ(f.w.s.count[NQ_EV_STREAM_RESET], how == 1);
    } else {
      CHECK_EQ(f.w.s.count[NQ_EV_STREAM_FIN], 0);
    }
    CHECK_EQ(t.wrong, 0);
    world_run(&f.w, 50);
    CHECK_EQ(world_stats(f.w.s.l).streams, 0);
    sim_world_close(&f);
  }
}

static int touch_in_close(side *x, const nq_event *e) {
  if (e->kind == NQ_EV_STREAM_CLOSE) { /* everything about a stream that is over: harmless */
    nq_stream_pause(x->l, e->handle);
    nq_stream_resume(x->l, e->handle);
    nq_stream_finish(x->l, e->handle);
    nq_stream_reset(x->l, e->handle, 1);
    nq_stream_stop(x->l, e->handle, 1);
    CHECK_EQ(nq_stream_send(x->l, e->handle, (const uint8_t *)"x", 1), NQ_ERR_STALE);
    nq_stream_close(x->l, e->handle);
    CHECK_EQ(nq_stream_queued(x->l, e->handle), 0);
  }
  if (e->kind == NQ_EV_CONN_CLOSE && x->server) { /* and a connection */
    nq_stream_options o = {.kind = NQ_KIND_RAW, .name = "raw", .name_len = 3};
    nq_handle h;
    CHECK_EQ(nq_stream_open(x->l, e->handle, &o, &h), NQ_ERR_STATE);
    CHECK_EQ(nq_conn_send_datagram(x->l, e->handle, NULL, 0), NQ_ERR_STATE);
    CHECK_EQ(nq_conn_ping(x->l, e->handle), NQ_ERR_STATE);
    nq_conn_flush(x->l, e->handle);
    nq_conn_close(x->l, e->handle, 0, "", 0, 1);
    nq_conn_free(x->l, e->handle);
    nq_conn_reconnect(x->l, e->handle, 0, NULL);
  }
  return 0;
}

static void test_use_after_close(void) {
  sim_world f;
  begin_with(&f, limits_none);
  f.w.s.hook = f.w.c.hook = touch_in_close;
  for (int i = 0; i < 3; i++) {
    nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
    nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1);
  }
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_DATA], 3, 1000));
  nq_stream_pause(f.w.c.l, f.w.c.stream);
  nq_stream_pause(f.w.s.l, f.w.s.stream);
  nq_conn_close(f.w.c.l, f.conn, 0, "", 0, 1);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_CONN_FREED], 1, 1000));
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_CLOSE], 3);
  world_run(&f.w, 20);
  CHECK_EQ(world_stats(f.w.s.l).streams, 0);
  CHECK_EQ(world_stats(f.w.c.l).streams, 0);
  sim_world_close(&f);
}

static void test_watermarks(void) {
  sim_world f;
  begin_with(&f, limits_none);
  flow t = {0};
  f.w.s.hook = watch;
  f.w.s.hook_ctx = &t;
  static uint8_t p[1u << 20];
  nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
  CHECK_EQ(nq_stream_send(f.w.c.l, s, p, (1u << 20) - 4), 0); /* with the name: just at the mark */
  CHECK_EQ(nq_stream_queued(f.w.c.l, s), 1u << 20);
  CHECK_EQ(nq_stream_send(f.w.c.l, s, p, 1), 1);
  CHECK_EQ(nq_stream_send(f.w.c.l, s, p, 0), 1);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_WRITABLE], 1, 1000));
  CHECK(nq_stream_queued(f.w.c.l, s) <= f.w.c.limits.send_low);
  CHECK_EQ(nq_stream_send(f.w.c.l, s, p, 100), 0);
  world_run(&f.w, 100);
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_WRITABLE], 1);
  CHECK_EQ(nq_stream_queued(f.w.c.l, s), 0);
  /* The connection's bound: 128 MiB in all, and not one byte more. */
  CHECK_EQ(nq_stream_pause(f.w.s.l, f.w.s.stream), 0);
  uint64_t in = 0;
  int rv = 0;
  while ((rv = nq_stream_send(f.w.c.l, s, p, sizeof p)) >= 0)
    in += sizeof p;
  CHECK_EQ(rv, NQ_ERR_FULL);
  CHECK_EQ(in, f.w.c.limits.max_send_queue);
  CHECK_EQ(nq_stream_send(f.w.c.l, s, p, 1), NQ_ERR_FULL);
  nq_conn_info i;
  nq_conn_get_info(f.w.c.l, f.conn, &i);
  CHECK_EQ(i.queued, f.w.c.limits.max_send_queue);
  CHECK_EQ(nq_stream_reset(f.w.c.l, s, 1), 0);
  world_run(&f.w, 20);
  nq_conn_get_info(f.w.c.l, f.conn, &i);
  CHECK_EQ(i.queued, 0);
  sim_world_close(&f);
}

/* ---- many ---- */

static void small_windows(world *w) {
  w->s.limits.stream_window = w->c.limits.stream_window = 20000;
  w->s.limits.connection_window = w->c.limits.connection_window = 60000;
}

static void test_thousand_at_once(void) {
  sim_world f;
  begin_with(&f, small_windows);
  f.w.s.echo = 1;
  enum { N = 1000 };
  nq_handle s[N];
  uint8_t p[500];
  uint64_t total = 0;
  for (int i = 0; i < N; i++) {
    s[i] = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
    for (int k = 0; k < 3; k++) {
      size_t n = (size_t)(i * 7 + k * 31) % sizeof p;
      memset(p, i, n);
      CHECK(nq_stream_send(f.w.c.l, s[i], p, n) >= 0);
      total += n;
    }
    nq_stream_finish(f.w.c.l, s[i]);
  }
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], N, 20000));
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_RECORD], 3 * N);
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_FIN], N);
  CHECK_EQ(f.w.c.bytes, total);
  world_run(&f.w, 50);
  CHECK_EQ(world_stats(f.w.c.l).streams, 0);
  CHECK_EQ(world_stats(f.w.s.l).streams, 0);
  sim_world_close(&f);
}

static void few_streams(world *w) {
  small_windows(w);
  w->s.limits.max_streams_bidi = 7;
  w->s.limits.max_streams_uni = 3;
  w->c.limits.max_pending_opens = 100;
  w->c.limits.stream_window = w->s.limits.stream_window = 4000;
}

/* Whichever way streams end, the credit for the next one, and for bytes, comes back: 500 through a limit of 7. */
static void test_credits_come_back(void) {
  sim_world f;
  begin_with(&f, few_streams);
  uint8_t p[3000];
  memset(p, 9, sizeof p);
  uint32_t closed = 0;
  for (uint32_t i = 0; i < 600; i++) {
    nq_stream_options o = {.kind = NQ_KIND_RAW, .uni = i % 4 == 3};
    o.name = o.uni ? NULL : i % 5 ? "raw" : "nobody";
    o.name_len = o.name ? strlen(o.name) : 0;
    nq_handle s;
    REQUIRE(nq_stream_open(f.w.c.l, f.conn, &o, &s) == 0);
    CHECK(nq_stream_send(f.w.c.l, s, p, i * 13 % sizeof p) >= 0);
    if (i % 7 == 6)
      nq_stream_reset(f.w.c.l, s, 1); /* perhaps before it is open at all */
    uint32_t data = f.w.s.count[NQ_EV_STREAM_OPEN];
    if (i % 3)
      world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_OPEN], data + 1, 10);
    nq_handle in = f.w.s.stream;
    switch (i % 8) {
    case 0:
      nq_stream_finish(f.w.c.l, s);
      nq_stream_stop(f.w.s.l, in, 4);
      break;
    case 1:
      nq_stream_reset(f.w.c.l, s, 4);
      break;
    case 2:
      nq_stream_pause(f.w.s.l, in);
      nq_stream_send(f.w.c.l, s, p, 2000);
      nq_stream_finish(f.w.c.l, s);
      world_run(&f.w, 5);
      nq_stream_resume(f.w.s.l, in);
      break;
    case 3:
      nq_stream_pause(f.w.s.l, in);
      nq_stream_send(f.w.c.l, s, p, 2000);
      nq_stream_finish(f.w.c.l, s);
      world_run(&f.w, 5);
      nq_stream_stop(f.w.s.l, in, 3);
      break;
    case 4:
      nq_stream_send(f.w.s.l, in, p, 3000);
      nq_stream_reset(f.w.s.l, in, 8);
      nq_stream_send(f.w.c.l, s, p, 3000);
      nq_stream_reset(f.w.c.l, s, 8);
      break;
    case 5:
      nq_stream_send(f.w.c.l, s, p, 3000);
      nq_stream_stop(f.w.s.l, in, 8);
      world_run(&f.w, 5);
      break;
    default:
      nq_stream_finish(f.w.c.l, s);
      break;
    }
    nq_stream_close(f.w.c.l, s);
    nq_stream_close(f.w.s.l, in);
    if (nq_stream_alive(f.w.s.l, f.w.s.stream))
      nq_stream_close(f.w.s.l, f.w.s.stream);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], ++closed, 2000));
    if (f.w.c.count[NQ_EV_STREAM_CLOSE] < closed)
      break;
  }
  world_run(&f.w, 100);
  CHECK_EQ(world_stats(f.w.c.l).streams, 0);
  CHECK_EQ(world_stats(f.w.s.l).streams, 0);
  /* As many streams as at first, and as many bytes on them as at first. */
  nq_conn *c = nq_conn_get(&f.w.c.l->hub, f.conn);
  CHECK_EQ(ngtcp2_conn_get_streams_bidi_left2(c->quic), 7);
  CHECK_EQ(ngtcp2_conn_get_streams_uni_left2(c->quic), 3);
  CHECK(ngtcp2_conn_get_max_data_left2(c->quic) > 30000);
  CHECK_EQ(c->queued, 0);
  CHECK_EQ(c->assembly, 0);
  nq_conn *sc = nq_conn_get(&f.w.s.l->hub, f.w.s.conn);
  CHECK_EQ(sc->queued, 0);
  CHECK_EQ(sc->assembly, 0);
  sim_world_close(&f);
}

static void test_pending_opens(void) {
  sim_world f;
  begin_with(&f, few_streams);
  nq_handle s[120];
  nq_stream_options o = {.kind = NQ_KIND_RAW, .name = "raw", .name_len = 3};
  world_run(&f.w, 5);
  int n = 0;
  while (n < 120 && nq_stream_open(f.w.c.l, f.conn, &o, &s[n]) == 0)
    n++;
  CHECK_EQ(n, 100);
  world_run(&f.w, 5); /* seven get their IDs */
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_OPEN], 7);
  while (n < 120 && nq_stream_open(f.w.c.l, f.conn, &o, &s[n]) == 0)
    n++;
  CHECK_EQ(n, 107);
  CHECK_EQ(nq_stream_open(f.w.c.l, f.conn, &o, &s[n]), NQ_ERR_FULL);
  /* What is sent and finished before is sent when its turn comes, in the order of opening. */
  for (int i = 0; i < n; i++) {
    CHECK(nq_stream_send(f.w.c.l, s[i], (uint8_t[]){(uint8_t)i}, 1) >= 0);
    nq_stream_finish(f.w.c.l, s[i]);
  }
  f.w.s.echo = 1;
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 107, 5000));
  CHECK_EQ(f.w.s.n_kept, 107);
  int first_seven_first = 1;
  for (int i = 0; i < 7; i++)
    first_seven_first &= f.w.s.kept[i] < 7;
  CHECK(first_seven_first);
  sim_world_close(&f);
}

/* Streams, calls and datagrams before the handshake: kept, and sent once it is done. */
static void test_open_before_connected(void) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 31);
  world_open(&w, &net);
  nq_handle conn = world_connect(&w, "localhost");
  nq_handle rec = world_stream(&w, conn, NQ_KIND_RECORD, "rec"), rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  CHECK_EQ(nq_stream_send(w.c.l, rec, (const uint8_t *)"early", 5), 0);
  CHECK_EQ(nq_rpc_call(w.c.l, rpc, 1, (const uint8_t *)"call", 4, 0, NULL, NULL), 0);
  CHECK_EQ(nq_conn_send_datagram(w.c.l, conn, (const uint8_t *)"d", 1), NQ_ERR_STATE);
  nq_stream_finish(w.c.l, rec);
  nq_handle paused = world_stream(&w, conn, NQ_KIND_RECORD, "rec");
  nq_stream_pause(w.c.l, paused);
  nq_stream_send(w.c.l, paused, (const uint8_t *)"never", 5);
  CHECK(world_until(&w, &w.c.count[NQ_EV_STREAM_FIN], 1, 5000));
  CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 1, 5000));
  world_run(&w, 100);
  CHECK_EQ(w.c.n_kept, 9);
  w.c.order[w.c.n_order] = 0;
  CHECK(memcmp(w.c.order, "Osss", 4) == 0);
  nq_stream_resume(w.c.l, paused);
  CHECK(world_until(&w, &w.c.count[NQ_EV_STREAM_RECORD], 2, 1000));
  w.s.order[w.s.n_order] = 0;
  CHECK_EQ(w.s.order[0], 'O');
  world_close(&w);
  nq_sim_free(&net);
}

/* ---- messages that come in parts ---- */

static void small_assembly(world *w) {
  w->s.limits.max_assembly = NQ_KIB(256);
  w->s.limits.stream_window = 4096;
}

static const nq_conn *server_side(const sim_world *f) { return nq_conn_get(&f->w.s.l->hub, f->w.s.conn); }

/* Many large records at once, far more than may be assembled: the senders wait for each other, and all arrive. */
static void test_assembly_waits(void) {
  enum { STREAMS = 40, SIZE = 200000 };
  sim_world f;
  static uint8_t p[SIZE];
  begin_with(&f, small_assembly);
  nq_handle s[STREAMS];
  for (int i = 0; i < STREAMS; i++) {
    s[i] = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
    CHECK(nq_stream_send(f.w.c.l, s[i], p, sizeof p) >= 0);
  }
  uint64_t most = 0;
  for (int ms = 0; ms < 60000 && f.w.s.count[NQ_EV_STREAM_RECORD] < STREAMS; ms += 5) {
    world_run(&f.w, 5);
    most = server_side(&f)->assembly > most ? server_side(&f)->assembly : most;
    if (ms == 200) { /* two of those under way are given up: the others go on */
      nq_stream_reset(f.w.c.l, s[0], 1);
      nq_stream_reset(f.w.c.l, s[STREAMS - 1], 1);
    }
    if (f.w.s.count[NQ_EV_STREAM_RECORD] == STREAMS - 2)
      break;
  }
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_RECORD], STREAMS - 2);
  CHECK_EQ(f.w.s.bytes, (uint64_t)(STREAMS - 2) * SIZE);
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_RESET] + f.w.c.count[NQ_EV_STREAM_STOP], 0);
  CHECK(most > NQ_KIB(128) && most <= NQ_KIB(256) + STREAMS * UINT64_C(4096));
  world_run(&f.w, 100);
  CHECK_EQ(server_side(&f)->assembly, 0);
  CHECK_EQ(server_side(&f)->promised, 0);
  CHECK(!server_side(&f)->assemblers);
  for (int i = 1; i < STREAMS - 1; i++) /* nothing is left of it: their credit is as before */
    CHECK(nq_stream_send(f.w.c.l, s[i], p, 100000) >= 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_RECORD], 2 * (STREAMS - 2), 60000));
  sim_world_close(&f);
}

/* One message may be larger than the bound: it goes on alone. */
static void test_assembly_of_one(void) {
  sim_world f;
  static uint8_t p[1000000];
  begin_with(&f, small_assembly);
  for (int i = 0; i < 3; i++)
    CHECK(nq_stream_send(f.w.c.l, world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec"), p, sizeof p) >= 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_RECORD], 3, 60000));
  sim_world_close(&f);
}

static void tiny_assembly(world *w) { w->s.limits.max_assembly = NQ_KIB(64); }

/* A connection whose half of a message never comes holds no more than twice max_assembly of them, whatever credit its
 * streams had. */
static void test_assembly_bound(void) {
  sim_world f;
  begin_with(&f, tiny_assembly);
  nq_stream_options o = {.kind = NQ_KIND_RAW, .name = "rec", .name_len = 3};
  static uint8_t p[30004];
  nq_handle s[9];
  p[0] = 0x40, p[1] = 0x40, p[2] = 0x84; /* 64 + 64*128 + 4*16384 = 73792 bytes to come */
  for (int i = 0; i < 9; i++) {
    REQUIRE(nq_stream_open(f.w.c.l, f.conn, &o, &s[i]) == 0);
    CHECK(nq_stream_send(f.w.c.l, s[i], p, sizeof p) >= 0);
    world_run(&f.w, 30);
    CHECK(server_side(&f)->assembly <= NQ_KIB(128));
  }
  CHECK_EQ(f.w.c.count[NQ_EV_STREAM_RESET], 5);
  for (int i = 0; i < 9; i++)
    if (nq_stream_alive(f.w.c.l, s[i]))
      nq_stream_reset(f.w.c.l, s[i], 1);
  world_run(&f.w, 30);
  CHECK_EQ(server_side(&f)->assembly, 0);
  CHECK_EQ(server_side(&f)->promised, 0);
  sim_world_close(&f);
}

/* A stream that is reset before it had an ID leaves nothing behind: no place in the queue, no ID, no word to the peer.
 */
static void test_cancelled_opens(void) {
  for (int first_connect = 0; first_connect < 2; first_connect++) {
    sim_world f;
    sim_world_open(&f, 23);
    f.w.s.limits.max_streams_bidi = 1;
    sim_world_listen(&f);
    f.w.s.echo = 0;
    f.w.c.limits.max_pending_opens = 8;
    nq_handle busy = 0, waits[8];
    if (first_connect)
      sim_world_connect(&f);
    else
      f.conn = world_connect(&f.w, "localhost");
    if (first_connect) {
      busy = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
      nq_stream_send(f.w.c.l, busy, (const uint8_t *)"busy", 4);
      world_run(&f.w, 100);
      REQUIRE(f.w.s.count[NQ_EV_STREAM_OPEN] == 1);
    }
    uint32_t closed = f.w.c.count[NQ_EV_STREAM_CLOSE];
    for (int round = 0; round < 50; round++) { /* in every order */
      for (int i = 0; i < 8; i++) {
        waits[i] = world_stream(&f.w, f.conn, i % 2 ? NQ_KIND_RECORD : NQ_KIND_RPC, i % 2 ? "rec" : "rpc");
        if (i % 2)
          nq_stream_send(f.w.c.l, waits[i], (const uint8_t *)"never sent", 10);
        else
          CHECK_EQ(nq_rpc_call(f.w.c.l, waits[i], 1, NULL, 0, 0, NULL, NULL), 0);
      }
      for (int i = 0; i < 8; i++) {
        nq_handle s = waits[(i * 5 + round) % 8];
        CHECK_EQ(nq_stream_reset(f.w.c.l, s, 9), 0);
        CHECK_EQ(nq_stream_close(f.w.c.l, s), 0);
        CHECK(nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1) < 0);
      }
      side_tick(&f.w.c, 0);
    }
    side_tick(&f.w.c, 0);
    CHECK_EQ(f.w.c.count[NQ_EV_STREAM_CLOSE], closed + 400);
    CHECK_EQ(f.w.c.stream_code, 9);
    CHECK_EQ(f.w.c.gone, 200);
    CHECK_EQ(world_stats(f.w.c.l).streams, (uint64_t)first_connect);
    CHECK_EQ(world_stats(f.w.c.l).pending_calls, 0);
    CHECK_EQ(nq_conn_get(&f.w.c.l->hub, f.conn)->queued, 0);
    if (first_connect)
      nq_stream_close(f.w.c.l, busy);
    nq_handle next = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
    nq_stream_send(f.w.c.l, next, (const uint8_t *)"next", 4);
    world_run(&f.w, 200);
    CHECK_EQ(nq_stream_id(f.w.c.l, next), first_connect ? 4 : 0);
    CHECK_EQ(f.w.s.count[NQ_EV_STREAM_OPEN], 1 + (uint32_t)first_connect);
    CHECK_EQ(f.w.s.count[NQ_EV_STREAM_RESET], 0);
    sim_world_close(&f);
  }
}

int main(void) {
  RUN(test_pause);
  RUN(test_paused_to_the_end);
  RUN(test_use_after_close);
  RUN(test_watermarks);
  RUN(test_thousand_at_once);
  RUN(test_credits_come_back);
  RUN(test_pending_opens);
  RUN(test_open_before_connected);
  RUN(test_cancelled_opens);
  RUN(test_assembly_waits);
  RUN(test_assembly_of_one);
  RUN(test_assembly_bound);
  CHECK_DONE();
}
