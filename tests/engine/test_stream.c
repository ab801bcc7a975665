/* test_stream.c: what streams carry and how they end: raw, record and unidirectional, FIN, RESET and STOP from both
 * sides, names, frame errors. test_stream_flow.c has pausing, limits and numbers. */
#include "check.h"
#include "io/sim.h"
#include "world.h"

#define MS UINT64_C(1000000)

static void begin(sim_world *f) {
  sim_world_open(f, 11);
  f->w.s.echo = 0;
  sim_world_connect(f);
}

static uint64_t queued(nq_loop *l, nq_handle conn) {
  nq_conn_info i;
  CHECK_EQ(nq_conn_get_info(l, conn, &i), 0);
  return i.queued;
}

/* Everything is over, and nothing is left behind. */
static void end(sim_world *f) {
  world_run(&f->w, 50);
  CHECK_EQ(world_stats(f->w.c.l).streams, 0);
  CHECK_EQ(world_stats(f->w.s.l).streams, 0);
  CHECK_EQ(queued(f->w.c.l, f->conn), 0);
  CHECK_EQ(queued(f->w.s.l, f->w.s.conn), 0);
  CHECK_EQ(f->w.c.count[NQ_EV_CONN_CLOSE], 0);
  sim_world_close(f);
}

static uint8_t *bytes(uint64_t seed, size_t n) {
  uint8_t *p = malloc(n ? n : 1);
  REQUIRE(p != NULL);
  for (size_t i = 0; i < n; i++)
    p[i] = world_byte(seed, i);
  return p;
}

/* Checks what comes against the pattern: raw bytes as one run, records one by one with the seed of their number. */
typedef struct expect {
  uint64_t got, wrong;
  uint32_t records;
} expect;

static int compare(side *x, const nq_event *e) {
  expect *t = x->hook_ctx;
  if (e->kind == NQ_EV_STREAM_DATA) {
    for (size_t i = 0; i < e->len; i++)
      t->wrong += e->data[i] != world_byte(1, t->got + i);
    t->got += e->len;
    return 1;
  }
  if (e->kind == NQ_EV_STREAM_RECORD) {
    for (size_t i = 0; i < e->len; i++)
      t->wrong += e->data[i] != world_byte(t->records, i);
    t->got += e->len;
    t->records++;
    return 1;
  }
  return 0;
}

static void test_raw(void) {
  static const size_t sizes[] = {0, 1, 100, 1199, 1200, 70000, 5u << 20, 16u << 20};
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
    for (int uni = 0; uni < 2; uni++) {
      sim_world f;
      begin(&f);
      expect t = {0};
      f.w.s.hook = compare;
      f.w.s.hook_ctx = &t;
      nq_stream_options o = {.kind = NQ_KIND_RAW, .uni = uni, .name = uni ? NULL : "raw", .name_len = uni ? 0 : 3};
      nq_handle s;
      REQUIRE(nq_stream_open(f.w.c.l, f.conn, &o, &s) == 0);
      uint8_t *p = bytes(1, sizes[k]);
      int rv = nq_stream_send(f.w.c.l, s, p, sizes[k]);
      CHECK_EQ(rv, sizes[k] > f.w.c.limits.send_high - 100);
      CHECK_EQ(nq_stream_finish(f.w.c.l, s), 0);
      CHECK_EQ(nq_stream_send(f.w.c.l, s, p, sizes[k]), NQ_ERR_STATE);
      free(p);
      CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_FIN], 1, 60000));
      CHECK_EQ(t.got, sizes[k]);
      CHECK_EQ(t.wrong, 0);
      CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_ACKED], 1, 1000));
      CHECK_EQ(f.w.c.count[NQ_EV_STREAM_WRITABLE], rv);
      if (uni) {
        CHECK_EQ(nq_stream_send(f.w.s.l, f.w.s.stream, (const uint8_t *)"x", 1), NQ_ERR_STALE);
      } else { /* half-closed: the other direction still works */
        CHECK(nq_stream_send(f.w.s.l, f.w.s.stream, (const uint8_t *)"back", 4) == 0);
        CHECK_EQ(nq_stream_finish(f.w.s.l, f.w.s.stream), 0);
        CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_FIN], 1, 1000));
        CHECK_EQ(f.w.c.n_kept, 4);
        CHECK(memcmp(f.w.c.kept, "back", 4) == 0);
      }
      CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 1000));
      CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_CLOSE], 1, 1000));
      CHECK_EQ(f.w.c.stream_code, 0);
      CHECK(side_order_is(&f.w.s, "Osfc"));
      CHECK(side_order_is(&f.w.c, uni ? "Osc" : "Osfc"));
      end(&f);
    }
}

static void test_records(void) {
  static const size_t sizes[] = {0, 0, 1, 127, 128, 3, 1200, 16383, 16384, 0, 65536, 2097152, 16u << 20, 5, 0};
  const uint32_t n = sizeof sizes / sizeof *sizes;
  for (int dir = 0; dir < 2; dir++) {
    sim_world f;
    begin(&f);
    expect t = {0};
    nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
    CHECK_EQ(nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1), 0);
    CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_RECORD], 1, 1000));
    side *from = dir ? &f.w.s : &f.w.c, *to = dir ? &f.w.c : &f.w.s;
    nq_handle out = dir ? f.w.s.stream : s;
    to->hook = compare;
    to->hook_ctx = &t;
    uint64_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
      uint8_t *p = bytes(i, sizes[i]);
      CHECK(nq_stream_send(from->l, out, p, sizes[i]) >= 0);
      free(p);
      total += sizes[i];
    }
    CHECK_EQ(nq_stream_finish(from->l, out), 0);
    CHECK(world_until(&f.w, &to->count[NQ_EV_STREAM_FIN], 1, 60000));
    CHECK_EQ(t.records, n);
    CHECK_EQ(t.got, total);
    CHECK_EQ(t.wrong, 0);
    uint8_t *p = bytes(1, (16u << 20) + 1);
    nq_handle other = dir ? s : f.w.s.stream;
    CHECK_EQ(nq_stream_send(to->l, other, p, (16u << 20) + 1), NQ_ERR_TOOBIG);
    free(p);
    CHECK_EQ(nq_stream_finish(to->l, other), 0);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 1000));
    end(&f);
  }
}

/* The four ways of ending early, each from the opener and from the acceptor. */
static void test_reset_and_stop(void) {
  for (int who = 0; who < 2; who++)
    for (int how = 0; how < 4; how++) {
      sim_world f;
      begin(&f);
      nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
      CHECK_EQ(nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1), 0);
      CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_DATA], 1, 1000));
      side *a = who ? &f.w.s : &f.w.c, *b = who ? &f.w.c : &f.w.s;
      nq_handle sa = who ? f.w.s.stream : s, sb = who ? s : f.w.s.stream;
      uint8_t *p = bytes(1, 3u << 20); /* more than a window: something is always queued */
      CHECK_EQ(nq_stream_send(a->l, sa, p, 3u << 20), 1);
      CHECK_EQ(nq_stream_send(b->l, sb, p, 3u << 20), 1);
      world_run(&f.w, 2);
      if (how == 0) { /* RESET, and FIN the other way */
        CHECK_EQ(nq_stream_reset(a->l, sa, 77), 0);
        CHECK(world_until(&f.w, &b->count[NQ_EV_STREAM_RESET], 1, 1000));
        CHECK_EQ(nq_stream_finish(b->l, sb), 0);
        CHECK(world_until(&f.w, &a->count[NQ_EV_STREAM_FIN], 1, 5000));
        CHECK(world_until(&f.w, &a->count[NQ_EV_STREAM_CLOSE], 1, 5000));
        CHECK_EQ(b->count[NQ_EV_STREAM_FIN], 0);
      } else if (how == 1) { /* STOP, FIN of our own */
        CHECK_EQ(nq_stream_stop(a->l, sa, 78), 0);
        CHECK_EQ(nq_stream_finish(a->l, sa), 0);
        CHECK(world_until(&f.w, &b->count[NQ_EV_STREAM_STOP], 1, 5000));
        CHECK(world_until(&f.w, &b->count[NQ_EV_STREAM_FIN], 1, 5000));
        CHECK_EQ(nq_stream_send(b->l, sb, p, 1), b->count[NQ_EV_STREAM_CLOSE] ? NQ_ERR_STALE : NQ_ERR_STATE);
        CHECK_EQ(a->count[NQ_EV_STREAM_RESET], 0); /* whoever stopped does not care any more */
      } else if (how == 2) { /* both */
        CHECK_EQ(nq_stream_reset(a->l, sa, 79), 0);
        CHECK_EQ(nq_stream_stop(a->l, sa, 79), 0);
        CHECK(world_until(&f.w, &b->count[NQ_EV_STREAM_RESET], 1, 1000));
        CHECK(world_until(&f.w, &b->count[NQ_EV_STREAM_STOP], 1, 1000));
        CHECK(world_until(&f.w, &b->count[NQ_EV_STREAM_CLOSE], 1, 1000));
        CHECK_EQ(b->stream_code, 79);
      } else { /* close: what is queued is delivered */
        CHECK_EQ(nq_stream_close(a->l, sa), 0);
        CHECK_EQ(nq_stream_close(a->l, sa), 0);
        CHECK(world_until(&f.w, &b->count[NQ_EV_STREAM_FIN], 1, 5000));
        CHECK(world_until(&f.w, &b->count[NQ_EV_STREAM_CLOSE], 1, 1000));
        CHECK(b->bytes >= 3u << 20);
      }
      free(p);
      CHECK(world_until(&f.w, &a->count[NQ_EV_STREAM_CLOSE], 1, 5000));
      CHECK(world_until(&f.w, &b->count[NQ_EV_STREAM_CLOSE], 1, 5000));
      end(&f);
    }
}

/* Both sides reset and stop in the same moment, with data queued: nothing is counted twice. */
static void test_both_at_once(void) {
  sim_world f;
  begin(&f);
  nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
  CHECK_EQ(nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1), 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_DATA], 1, 1000));
  uint8_t *p = bytes(1, 3u << 20);
  CHECK_EQ(nq_stream_send(f.w.c.l, s, p, 3u << 20), 1);
  CHECK_EQ(nq_stream_send(f.w.s.l, f.w.s.stream, p, 3u << 20), 1);
  free(p);
  world_run(&f.w, 1);
  nq_stream_stop(f.w.c.l, s, 1);
  nq_stream_reset(f.w.s.l, f.w.s.stream, 2);
  nq_stream_stop(f.w.s.l, f.w.s.stream, 3);
  nq_stream_reset(f.w.c.l, s, 4);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 5000));
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_CLOSE], 1, 5000));
  end(&f);
}

/* ---- what a handler may do at once ---- */

static int refuse_at_open(side *x, const nq_event *e) {
  if (e->kind == NQ_EV_STREAM_OPEN && !(e->flags & NQ_EVF_OUTGOING)) {
    CHECK_EQ(nq_stream_reset(x->l, e->handle, NQ_CODE_REFUSED), 0);
    CHECK_EQ(nq_stream_stop(x->l, e->handle, NQ_CODE_REFUSED), 0);
  }
  return 0;
}

static void test_refuse_in_open(void) {
  sim_world f;
  begin(&f);
  f.w.s.hook = refuse_at_open;
  nq_handle s = world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
  for (int i = 0; i < 10; i++)
    CHECK(nq_stream_send(f.w.c.l, s, (const uint8_t *)"0123456789", 10) >= 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_RESET], 1, 1000));
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_STOP], 1, 1000));
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 1000));
  CHECK_EQ(f.w.c.stream_code, NQ_CODE_REFUSED);
  end(&f);
}

static int reset_outgoing(side *x, const nq_event *e) {
  if (e->kind == NQ_EV_STREAM_OPEN) {
    nq_stream_reset(x->l, e->handle, NQ_CODE_REFUSED);
    nq_stream_stop(x->l, e->handle, NQ_CODE_REFUSED);
  }
  return 0;
}

/* The opener gives its own stream up when it hears of it: nothing need ever reach the other side. */
static void test_refuse_own(void) {
  sim_world f;
  begin(&f);
  f.w.c.hook = reset_outgoing;
  world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec");
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 1000));
  end(&f);
}

/* ---- names and frames, written by hand on a nameless raw stream ---- */

static nq_handle by_hand(sim_world *f, const uint8_t *data, size_t n, size_t chunk, int fin) {
  nq_stream_options o = {.kind = NQ_KIND_RAW};
  nq_handle s = 0;
  REQUIRE(nq_stream_open(f->w.c.l, f->conn, &o, &s) == 0);
  for (size_t off = 0; off < n; off += chunk) {
    int rv = nq_stream_send(f->w.c.l, s, data + off, n - off < chunk ? n - off : chunk);
    CHECK(rv == 0 || (off && (rv == NQ_ERR_STATE || rv == NQ_ERR_STALE))); /* it may have been stopped already */
    if (chunk < n)
      world_run(&f->w, 1);
  }
  if (fin)
    nq_stream_finish(f->w.c.l, s);
  return s;
}

static void refused(const char *data, size_t n, size_t chunk, int fin, uint64_t code, int opened) {
  sim_world f;
  begin(&f);
  f.w.s.limits.max_message_size = NQ_MIB(16);
  nq_handle s = by_hand(&f, (const uint8_t *)data, n, chunk, fin);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_RESET], 1, 1000));
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_OPEN], opened);
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_CLOSE], opened ? f.w.s.count[NQ_EV_STREAM_CLOSE] : 0);
  nq_stream_close(f.w.c.l, s);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 1000));
  CHECK_EQ(f.w.c.stream_code, code);
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_FIN], 0);
  if (opened)
    CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_CLOSE], 1, 1000));
  end(&f);
}

static void test_names(void) {
  char longest[300];
  memset(longest, 'a', sizeof longest);
  longest[255] = 0;
  refused("nobody\0hello", 12, 12, 0, NQ_STREAM_UNKNOWN_PROTOCOL, 0);
  refused("nobody\0hello", 12, 1, 0, NQ_STREAM_UNKNOWN_PROTOCOL, 0);
  refused("\0hello", 6, 6, 0, NQ_STREAM_UNKNOWN_PROTOCOL, 0);       /* empty */
  refused(longest, 256, 256, 0, NQ_STREAM_UNKNOWN_PROTOCOL, 0);     /* 255: allowed, but not known */
  longest[255] = 'a';
  refused(longest, 256, 256, 0, NQ_STREAM_UNKNOWN_PROTOCOL, 0);     /* longer */
  refused(longest, 300, 7, 0, NQ_STREAM_UNKNOWN_PROTOCOL, 0);
  refused("re", 2, 2, 1, NQ_STREAM_UNKNOWN_PROTOCOL, 0);            /* ended before the name did */
  refused("", 0, 1, 1, NQ_STREAM_UNKNOWN_PROTOCOL, 0);              /* nothing at all */
}

/* A name, a header and a payload that come byte by byte are what they are at once. */
static void test_split_name(void) {
  for (size_t chunk = 1; chunk <= 16; chunk++) {
    sim_world f;
    begin(&f);
    nq_handle s = by_hand(&f,
                          (const uint8_t *)"rec\0\x83"
                                           "abc\x80\x85"
                                           "defgh",
                          15, chunk, 1);
    CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_FIN], 1, 1000));
    CHECK_EQ(f.w.s.count[NQ_EV_STREAM_RECORD], 3);
    CHECK_EQ(f.w.s.n_kept, 8);
    CHECK(memcmp(f.w.s.kept, "abcdefgh", 8) == 0);
    nq_stream_close(f.w.c.l, s);
    nq_stream_close(f.w.s.l, f.w.s.stream);
    end(&f);
  }
}

static void test_longest_name(void) {
  char name[256];
  memset(name, 'n', sizeof name);
  sim_world f;
  begin(&f);
  CHECK_EQ(nq_hdmap_add(f.w.s.map, name, 256, NQ_KIND_RAW, 0, NULL), NQ_ERR_ARG);
  CHECK_EQ(nq_hdmap_add(f.w.s.map, name, 255, NQ_KIND_RAW, 0, &f), 0);
  nq_stream_options o = {.kind = NQ_KIND_RAW, .name = name, .name_len = 256};
  nq_handle s;
  CHECK_EQ(nq_stream_open(f.w.c.l, f.conn, &o, &s), NQ_ERR_ARG);
  o.name_len = 255;
  CHECK_EQ(nq_stream_open(f.w.c.l, f.conn, &o, &s), 0);
  CHECK_EQ(nq_stream_send(f.w.c.l, s, (const uint8_t *)"hi", 2), 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_DATA], 1, 1000));
  CHECK_EQ(f.w.s.n_kept, 2);
  nq_stream_close(f.w.c.l, s);
  nq_stream_close(f.w.s.l, f.w.s.stream);
  end(&f);
}

static void test_frame_errors(void) {
  refused("rec\0\0\x80", 6, 6, 0, NQ_CODE_FRAME_ERROR, 1);              /* overlong length */
  refused("rec\0\x7f\x7f\x7f\x7f\x9f", 9, 9, 0, NQ_CODE_FRAME_ERROR, 1); /* above 2^32-1 */
  refused("rec\0\x7f\x7f\x7f\x7f\x9f", 9, 1, 0, NQ_CODE_FRAME_ERROR, 1);
  refused("rec\0\x7f\x7f\x7f\x7f\x8f", 9, 9, 0, NQ_CODE_TOO_BIG, 1);    /* 2^32-1 */
  refused("rec\0\x7f\x7f\x7f\x7f\x8f", 9, 2, 0, NQ_CODE_TOO_BIG, 1);
  refused("rpc\0\x03", 5, 5, 0, NQ_CODE_FRAME_ERROR, 1);                /* both ID flags */
  refused("rpc\0\x80\0\0\0\0\0", 10, 1, 0, NQ_CODE_FRAME_ERROR, 1);
  refused("rpc\0\x04\0\x80", 7, 7, 0, NQ_CODE_FRAME_ERROR, 1);          /* a notify of type 0 */
  refused("rpc\0\x05\x01\0\0\x80", 9, 9, 0, NQ_CODE_FRAME_ERROR, 1);    /* ID 0 */
  refused("rec\0\x85"
          "ab",
          7, 7, 1, NQ_CODE_FRAME_ERROR, 1);           /* ends in a payload */
  refused("rec\0\x05", 5, 5, 1, NQ_CODE_FRAME_ERROR, 1);                /* ends in a header */
  refused("rpc\0\x05\x01\0", 7, 1, 1, NQ_CODE_FRAME_ERROR, 1);
}

/* A stream that is reset before its name was complete leaves nothing behind. */
static void test_reset_before_name(void) {
  sim_world f;
  begin(&f);
  nq_handle s = by_hand(&f, (const uint8_t *)"re", 2, 2, 0);
  world_run(&f.w, 5);
  nq_stream_reset(f.w.c.l, s, 5);
  nq_stream_stop(f.w.c.l, s, 5);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 1000));
  s = by_hand(&f, (const uint8_t *)"re", 2, 2, 0); /* and without STOP */
  world_run(&f.w, 5);
  nq_stream_reset(f.w.c.l, s, 5);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 2, 1000));
  CHECK_EQ(f.w.s.count[NQ_EV_STREAM_OPEN], 0);
  end(&f);
}

static void test_uni_has_one_direction(void) {
  sim_world f;
  begin(&f);
  nq_stream_options o = {.kind = NQ_KIND_RAW, .uni = 1};
  nq_handle s;
  REQUIRE(nq_stream_open(f.w.c.l, f.conn, &o, &s) == 0);
  CHECK_EQ(nq_stream_send(f.w.c.l, s, (const uint8_t *)"x", 1), 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_DATA], 1, 1000));
  CHECK_EQ(nq_stream_stop(f.w.c.l, s, 1), NQ_ERR_STATE);
  CHECK_EQ(nq_stream_send(f.w.s.l, f.w.s.stream, (const uint8_t *)"x", 1), NQ_ERR_STATE);
  CHECK_EQ(nq_stream_finish(f.w.s.l, f.w.s.stream), NQ_ERR_STATE);
  CHECK_EQ(nq_stream_reset(f.w.s.l, f.w.s.stream, 1), NQ_ERR_STATE);
  CHECK_EQ(nq_stream_close(f.w.s.l, f.w.s.stream), 0); /* asks for STOP */
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_STOP], 1, 1000));
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_CLOSE], 1, 1000));
  end(&f);
}

static void test_uni_refused(void) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 3);
  world_open(&w, &net);
  nq_hdmap_unref(w.s.map);
  w.s.map = nq_hdmap_new(); /* no handler for anything */
  nq_endpoint_close(w.s.l, w.s.ep);
  world_listen(&w);
  nq_handle conn = world_connect(&w, "localhost"), s;
  nq_stream_options o = {.kind = NQ_KIND_RAW, .uni = 1};
  REQUIRE(nq_stream_open(w.c.l, conn, &o, &s) == 0);
  CHECK_EQ(nq_stream_send(w.c.l, s, (const uint8_t *)"x", 1), 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_STREAM_STOP], 1, 2000));
  CHECK(world_until(&w, &w.c.count[NQ_EV_STREAM_CLOSE], 1, 2000));
  CHECK_EQ(w.c.stream_code, NQ_STREAM_UNKNOWN_PROTOCOL);
  CHECK_EQ(w.s.count[NQ_EV_STREAM_OPEN], 0);
  world_run(&w, 100);
  CHECK_EQ(world_stats(w.s.l).streams, 0);
  world_close(&w);
  nq_sim_free(&net);
}

static void test_arguments(void) {
  sim_world f;
  begin(&f);
  nq_handle s;
  nq_stream_options o = {.kind = (nq_stream_kind)9};
  CHECK_EQ(nq_stream_open(f.w.c.l, f.conn, &o, &s), NQ_ERR_ARG);
  o = (nq_stream_options){.kind = NQ_KIND_RECORD, .uni = 1};
  CHECK_EQ(nq_stream_open(f.w.c.l, f.conn, &o, &s), NQ_ERR_ARG);
  o = (nq_stream_options){.kind = NQ_KIND_RAW, .name = "a\0b", .name_len = 3};
  CHECK_EQ(nq_stream_open(f.w.c.l, f.conn, &o, &s), NQ_ERR_ARG);
  o = (nq_stream_options){.kind = NQ_KIND_RAW, .name = "", .name_len = 0};
  CHECK_EQ(nq_stream_open(f.w.c.l, f.conn, &o, &s), NQ_ERR_ARG);
  o = (nq_stream_options){.kind = NQ_KIND_RAW};
  CHECK_EQ(nq_stream_open(f.w.c.l, 12345, &o, &s), NQ_ERR_STALE);
  CHECK_EQ(nq_stream_send(f.w.c.l, 777, NULL, 0), NQ_ERR_STALE);
  CHECK_EQ(nq_stream_finish(f.w.c.l, 777), NQ_ERR_STALE);
  CHECK_EQ(nq_stream_reset(f.w.c.l, 777, 0), NQ_ERR_STALE);
  CHECK_EQ(nq_stream_pause(f.w.c.l, 777), NQ_ERR_STALE);
  CHECK_EQ(nq_stream_resume(f.w.c.l, 777), NQ_ERR_STALE);
  CHECK(nq_stream_user(f.w.c.l, 777) == NULL);
  CHECK_EQ(nq_stream_id(f.w.c.l, 777), -1);
  CHECK_EQ(nq_stream_queued(f.w.c.l, 777), 0);
  s = world_stream(&f.w, f.conn, NQ_KIND_RAW, "raw");
  CHECK_EQ(nq_stream_id(f.w.c.l, s), -1);
  CHECK_EQ(nq_stream_queued(f.w.c.l, s), 4);
  CHECK_EQ(nq_stream_reset(f.w.c.l, s, UINT64_C(1) << 62), NQ_ERR_ARG);
  CHECK_EQ(nq_stream_stop(f.w.c.l, s, UINT64_C(1) << 62), NQ_ERR_ARG);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_OPEN], 1, 100));
  CHECK_EQ(nq_stream_id(f.w.c.l, s), 0);
  CHECK(nq_stream_is_outgoing(f.w.c.l, s));
  CHECK_EQ(nq_stream_conn(f.w.c.l, s) == f.conn, 1);
  nq_stream_reset(f.w.c.l, s, 0);
  nq_stream_stop(f.w.c.l, s, 0);
  end(&f);
}

int main(void) {
  RUN(test_raw);
  RUN(test_records);
  RUN(test_reset_and_stop);
  RUN(test_both_at_once);
  RUN(test_refuse_in_open);
  RUN(test_refuse_own);
  RUN(test_names);
  RUN(test_split_name);
  RUN(test_longest_name);
  RUN(test_frame_errors);
  RUN(test_reset_before_name);
  RUN(test_uni_has_one_direction);
  RUN(test_uni_refused);
  RUN(test_arguments);
  CHECK_DONE();
}
