/* test_rpc.c: requests, replies, timeouts and ends over the simulated network. test_calls.c has the table of calls. */
#include "check.h"
#include "io/sim.h"
#include "world.h"

#define MS UINT64_C(1000000)

typedef struct fixture {
  nq_sim net;
  world w;
  nq_handle conn, rpc;
} fixture;

static void begin(fixture *f) {
  nq_sim_init(&f->net, 5);
  f->net.delay = MS;
  world_open(&f->w, &f->net);
  f->conn = world_connect(&f->w, "localhost");
  REQUIRE(world_until(&f->w, &f->w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  f->rpc = world_stream(&f->w, f->conn, NQ_KIND_RPC, "rpc");
}

static void end(fixture *f) {
  nq_loop_stats s;
  nq_loop_get_stats(f->w.c.l, &s);
  CHECK_EQ(s.pending_calls, 0);
  world_close(&f->w);
  nq_sim_free(&f->net);
}

typedef struct seen {
  uint32_t n, wrong;
  int next_type;
} seen;

static int see_types(side *x, const nq_event *e) {
  seen *t = x->hook_ctx;
  if (e->kind == NQ_EV_RPC_REQUEST) {
    t->wrong += e->type != t->next_type || e->len != 2 || memcmp(e->data, &e->type, 2) != 0;
    t->next_type++;
    t->n++;
    nq_rpc_reply(x->l, e->handle, e->msgid, (int16_t)-e->type, e->data, e->len);
    return 1;
  }
  if (e->kind == NQ_EV_RPC_REPLY) {
    uint16_t type;
    t->n++;
    t->wrong += e->flags & NQ_EVF_LOCAL || e->len != 2 || e->user != (void *)(uintptr_t)t->next_type ||
                (memcpy(&type, e->data, 2), type != t->next_type) || e->type != -t->next_type;
    t->next_type++;
    return 1;
  }
  return 0;
}

static void test_all_types(void) {
  fixture f;
  begin(&f);
  seen s = {.next_type = 1}, c = {.next_type = 1};
  f.w.s.hook = f.w.c.hook = see_types;
  f.w.s.hook_ctx = &s;
  f.w.c.hook_ctx = &c;
  for (int type = 1; type <= 32767; type++) {
    int16_t t = (int16_t)type;
    int rv = nq_rpc_call(f.w.c.l, f.rpc, t, (uint8_t *)&t, 2, 0, (void *)(uintptr_t)type, NULL);
    CHECK(rv >= 0);
    if (type % 1000 == 0)
      world_run(&f.w, 3);
  }
  CHECK(world_until(&f.w, &c.n, 32767, 20000));
  CHECK_EQ(s.n, 32767);
  CHECK_EQ(s.wrong, 0);
  CHECK_EQ(c.wrong, 0);
  uint8_t b = 0;
  CHECK_EQ(nq_rpc_call(f.w.c.l, f.rpc, 0, &b, 1, 0, NULL, NULL), NQ_ERR_ARG);
  CHECK_EQ(nq_rpc_call(f.w.c.l, f.rpc, -1, &b, 1, 0, NULL, NULL), NQ_ERR_ARG);
  CHECK_EQ(nq_rpc_notify(f.w.c.l, f.rpc, 0, &b, 1), NQ_ERR_ARG);
  CHECK_EQ(nq_rpc_reply(f.w.c.l, f.rpc, 0, 0, &b, 1), NQ_ERR_ARG);
  CHECK_EQ(nq_rpc_reply(f.w.c.l, f.rpc, 1, 1, &b, 1), NQ_ERR_ARG);
  CHECK_EQ(nq_stream_send(f.w.c.l, f.rpc, &b, 1), NQ_ERR_STATE);
  end(&f);
}

/* Payload of a size: byte i of it. */
static uint8_t byte_of(size_t size, size_t i) { return (uint8_t)((i * 2654435761u + size) >> 11); }

static uint8_t *payload(size_t size) {
  uint8_t *p = malloc(size ? size : 1);
  REQUIRE(p != NULL);
  for (size_t i = 0; i < size; i++)
    p[i] = byte_of(size, i);
  return p;
}

static int right_bytes(const nq_event *e) {
  for (size_t i = 0; i < e->len; i++)
    if (e->data[i] != byte_of(e->len, i))
      return 0;
  return 1;
}

static int see_payload(side *x, const nq_event *e) {
  seen *t = x->hook_ctx;
  if (e->kind == NQ_EV_RPC_REQUEST) {
    t->wrong += !right_bytes(e);
    t->n++;
    CHECK(nq_rpc_reply(x->l, e->handle, e->msgid, 0, e->data, e->len) >= 0);
    return 1;
  }
  if (e->kind == NQ_EV_RPC_REPLY || e->kind == NQ_EV_RPC_NOTIFY) {
    t->wrong += !right_bytes(e) || (e->kind == NQ_EV_RPC_REPLY && e->user != (void *)(uintptr_t)e->len);
    t->n++;
    return 1;
  }
  return 0;
}

static void test_payloads_both_ways(void) {
  static const size_t sizes[] = {0,
                                 1,
                                 2,
                                 127,
                                 128,
                                 1000,
                                 1023,
                                 1024,
                                 1025,
                                 1400,
                                 16383,
                                 16384,
                                 65535,
                                 65536,
                                 1u << 20,
                                 (1u << 21) + 1,
                                 (16u << 20) - 1,
                                 16u << 20};
  const uint32_t n = sizeof sizes / sizeof *sizes;
  fixture f;
  begin(&f);
  seen s = {0}, c = {0};
  f.w.s.hook = f.w.c.hook = see_payload;
  f.w.s.hook_ctx = &s;
  f.w.c.hook_ctx = &c;
  for (uint32_t i = 0; i < n; i++) {
    uint8_t *p = payload(sizes[i]);
    CHECK(nq_rpc_call(f.w.c.l, f.rpc, 7, p, sizes[i], NQ_SEC(100), (void *)sizes[i], NULL) >= 0);
    free(p);
  }
  CHECK(world_until(&f.w, &c.n, n, 60000));
  CHECK_EQ(s.n, n);
  /* and the same from the server to the client, on the client's stream */
  nq_handle back = f.w.s.stream;
  for (uint32_t i = 0; i < n; i++) {
    uint8_t *p = payload(sizes[i]);
    CHECK(nq_rpc_call(f.w.s.l, back, 7, p, sizes[i], NQ_SEC(100), (void *)sizes[i], NULL) >= 0);
    CHECK(nq_rpc_notify(f.w.s.l, back, 8, p, sizes[i]) >= 0);
    if (sizes[i] > 1u << 20) /* the send queue has its bound */
      world_run(&f.w, 500);
    free(p);
  }
  CHECK(world_until(&f.w, &s.n, 2 * n, 60000));
  CHECK_EQ(c.n, 3 * n);
  CHECK_EQ(s.wrong + c.wrong, 0);
  uint8_t *p = payload((16u << 20) + 1);
  CHECK_EQ(nq_rpc_call(f.w.c.l, f.rpc, 7, p, (16u << 20) + 1, 0, NULL, NULL), NQ_ERR_TOOBIG);
  CHECK_EQ(nq_rpc_notify(f.w.c.l, f.rpc, 7, p, (16u << 20) + 1), NQ_ERR_TOOBIG);
  CHECK_EQ(nq_rpc_reply(f.w.c.l, f.rpc, 7, 0, p, (16u << 20) + 1), NQ_ERR_TOOBIG);
  free(p);
  end(&f);
}

typedef struct timed {
  uint32_t n, msgid[8];
  uint64_t at[8], code[8];
  int16_t type[8];
  uint8_t local[8];
} timed;

static int see_times(side *x, const nq_event *e) {
  timed *t = x->hook_ctx;
  if (e->kind != NQ_EV_RPC_REQUEST && e->kind != NQ_EV_RPC_REPLY)
    return 0;
  uint32_t i = e->kind == NQ_EV_RPC_REPLY ? (uint32_t)(uintptr_t)e->user : t->n;
  if (i < 8) {
    t->msgid[i] = e->msgid;
    t->at[i] = nq_loop_now(x->l);
    t->code[i] = e->code;
    t->local[i] = (e->flags & NQ_EVF_LOCAL) != 0;
    t->type[i] = e->type;
  }
  t->n++;
  return 1;
}

static void test_timeouts(void) {
  static const uint64_t ms[] = {500, 20, 100, 20000, 50, 0}; /* the last: the stream's, 300 ms */
  fixture f;
  begin(&f);
  timed s = {0}, c = {0};
  f.w.s.hook = f.w.c.hook = see_times;
  f.w.s.hook_ctx = &s;
  f.w.c.hook_ctx = &c;
  nq_stream_options o = {.kind = NQ_KIND_RPC, .name = "rpc", .name_len = 3, .call_timeout = 300 * MS};
  nq_handle rpc;
  REQUIRE(nq_stream_open(f.w.c.l, f.conn, &o, &rpc) == 0);
  uint64_t start = nq_loop_now(f.w.c.l);
  uint32_t ids[6];
  for (uintptr_t i = 0; i < 6; i++)
    CHECK(nq_rpc_call(f.w.c.l, rpc, 1, (const uint8_t *)"abc", 3, ms[i] * MS, (void *)i, &ids[i]) >= 0);
  CHECK(world_until(&f.w, &s.n, 6, 1000));
  CHECK(world_until(&f.w, &c.n, 3, 1000)); /* 20, 50, 100 */
  /* Late replies to those, a good one to the one with 500 ms, and a wrong ID. */
  nq_handle back = f.w.s.stream;
  for (uint32_t i = 0; i < 5; i++)
    if (i != 3)
      CHECK(nq_rpc_reply(f.w.s.l, back, s.msgid[i], -5, NULL, 0) >= 0);
  CHECK(nq_rpc_reply(f.w.s.l, back, 4711, 0, NULL, 0) >= 0);
  CHECK(world_until(&f.w, &c.n, 5, 1000)); /* the stream's timeout */
  world_run(&f.w, 600);
  CHECK_EQ(c.n, 5);
  const uint32_t timed_out[] = {1, 2, 4, 5};
  for (int k = 0; k < 4; k++) {
    uint32_t i = timed_out[k];
    uint64_t want = (ms[i] ? ms[i] : 300) * MS;
    CHECK(c.local[i]);
    CHECK_EQ(c.code[i], NQ_CALL_TIMEOUT);
    CHECK_EQ(c.msgid[i], ids[i]);
    CHECK(c.at[i] - start >= want && c.at[i] - start <= want + 3 * MS);
  }
  CHECK(!c.local[0]);
  CHECK_EQ(c.type[0], -5);
  CHECK_EQ(c.msgid[0], ids[0]);
  CHECK_EQ(nq_rpc_cancel(f.w.c.l, rpc, ids[3]) == (void *)3, 1);
  CHECK(nq_rpc_cancel(f.w.c.l, rpc, ids[3]) == NULL);
  end(&f);
}

static uint64_t pending(nq_loop *l) {
  nq_loop_stats s;
  nq_loop_get_stats(l, &s);
  return s.pending_calls;
}

/* An ID from outside may be any number: in a table of 3 calls, 13 slots of it are empty. */
static void test_any_id(void) {
  static const uint32_t others[] = {0, 4, 16, 17, 32, 0x80000000u, UINT32_MAX};
  fixture f;
  begin(&f);
  f.w.s.echo = 0;
  uint32_t ids[3];
  for (uintptr_t i = 0; i < 3; i++)
    CHECK(nq_rpc_call(f.w.c.l, f.rpc, 1, NULL, 0, NQ_SEC(1), (void *)(i + 1), &ids[i]) >= 0);
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    CHECK(nq_rpc_pending(f.w.c.l, f.rpc, others[i]) == NULL);
    CHECK(nq_rpc_cancel(f.w.c.l, f.rpc, others[i]) == NULL);
  }
  CHECK_EQ(pending(f.w.c.l), 3);
  for (uintptr_t i = 0; i < 3; i++) {
    CHECK(nq_rpc_pending(f.w.c.l, f.rpc, ids[i]) == (void *)(i + 1));
    CHECK(nq_rpc_cancel(f.w.c.l, f.rpc, ids[i]) == (void *)(i + 1));
    CHECK(nq_rpc_pending(f.w.c.l, f.rpc, ids[i]) == NULL);
  }
  CHECK_EQ(pending(f.w.c.l), 0);
  CHECK(nq_rpc_pending(f.w.c.l, 0, ids[0]) == NULL);
  CHECK(nq_rpc_cancel(f.w.c.l, UINT64_MAX, ids[0]) == NULL);
  end(&f);
}

static void test_cancel(void) {
  fixture f;
  begin(&f);
  uint32_t ids[100];
  for (uintptr_t i = 0; i < 100; i++)
    CHECK(nq_rpc_call(f.w.c.l, f.rpc, 1, NULL, 0, 20 * MS, (void *)(i + 1), &ids[i]) >= 0);
  for (uintptr_t i = 0; i < 100; i += 2)
    CHECK(nq_rpc_cancel(f.w.c.l, f.rpc, ids[i]) == (void *)(i + 1));
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], 50, 1000));
  world_run(&f.w, 100);
  CHECK_EQ(f.w.c.count[NQ_EV_RPC_REPLY], 50);
  CHECK_EQ(f.w.c.timeouts, 0);
  CHECK_EQ(f.w.s.count[NQ_EV_RPC_REQUEST], 100);
  end(&f);
}

/* Calls end with their stream, after its close; with their connection before its close. */
static void test_gone(void) {
  fixture f;
  begin(&f);
  f.w.s.echo = 0;
  nq_handle never = world_stream(&f.w, f.conn, NQ_KIND_RPC, "rpc");
  for (int i = 0; i < 3; i++)
    CHECK(nq_rpc_call(f.w.c.l, f.rpc, 1, NULL, 0, 0, NULL, NULL) >= 0);
  CHECK(nq_rpc_call(f.w.c.l, never, 1, NULL, 0, 0, NULL, NULL) >= 0);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_RPC_REQUEST], 4, 1000));
  CHECK_EQ(nq_stream_reset(f.w.c.l, f.rpc, 9), 0);
  CHECK_EQ(nq_stream_stop(f.w.c.l, f.rpc, 9), 0);
  uint8_t b = 1;
  CHECK_EQ(nq_rpc_call(f.w.c.l, f.rpc, 1, &b, 1, 0, NULL, NULL), NQ_ERR_STATE);
  CHECK(world_until(&f.w, &f.w.s.count[NQ_EV_STREAM_RESET], 1, 1000));
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_STREAM_CLOSE], 1, 1000));
  CHECK_EQ(f.w.c.gone, 3);
  CHECK_EQ(nq_rpc_call(f.w.c.l, f.rpc, 1, &b, 1, 0, NULL, NULL), NQ_ERR_STALE);
  CHECK_EQ(nq_conn_close(f.w.c.l, f.conn, 0, "", 0, 1), 0);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_CONN_CLOSE], 1, 1000));
  CHECK_EQ(f.w.c.gone, 4);
  f.w.c.order[f.w.c.n_order] = 0;
  CHECK(strcmp(f.w.c.order, "Osscrrr"
                            "crC") == 0);
  end(&f);
}

/* A call on a stream that never got its ID is gone with the connection too. */
static void test_gone_before_open(void) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 6);
  world_open(&w, &net);
  net.cut = 1;
  w.c.limits.handshake_timeout = 200 * MS;
  nq_handle conn = world_connect(&w, "localhost");
  nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  for (int i = 0; i < 5; i++)
    CHECK(nq_rpc_call(w.c.l, rpc, 1, NULL, 0, i == 4 ? 50 * MS : 0, NULL, NULL) >= 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 1, 100));
  CHECK_EQ(w.c.timeouts, 1);
  CHECK(world_until(&w, &w.c.count[NQ_EV_CONN_CLOSE], 1, 1000));
  CHECK_EQ(w.c.gone, 4);
  CHECK_EQ(w.c.why, NQ_WHY_HANDSHAKE_TIMEOUT);
  world_close(&w);
  nq_sim_free(&net);
}

static void test_pending_limit(void) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 7);
  world_open(&w, &net);
  w.c.limits.max_pending_calls = 10;
  w.s.echo = 0;
  nq_handle conn = world_connect(&w, "localhost");
  nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  uint32_t id = 0;
  for (int i = 0; i < 10; i++)
    CHECK(nq_rpc_call(w.c.l, rpc, 1, NULL, 0, 0, &w, &id) >= 0);
  CHECK_EQ(nq_rpc_call(w.c.l, rpc, 1, NULL, 0, 0, NULL, NULL), NQ_ERR_FULL);
  CHECK(nq_rpc_cancel(w.c.l, rpc, id) == &w);
  CHECK(nq_rpc_call(w.c.l, rpc, 1, NULL, 0, 0, NULL, NULL) >= 0);
  world_close(&w); /* with calls pending */
  nq_sim_free(&net);
}

/* As many calls as there are IDs, no more; then the replies make room. */
static void test_largest_id(void) {
  fixture f;
  begin(&f);
  nq_loop *l = f.w.c.l;
  CHECK_EQ(nq_rpc_max_msgid(l, f.rpc, 0), NQ_ERR_ARG);
  CHECK_EQ(nq_rpc_max_msgid(l, f.rpc + 1000, 4), NQ_ERR_STALE);
  CHECK_EQ(nq_rpc_max_msgid(l, world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec"), 4), NQ_ERR_STATE);
  CHECK_EQ(nq_rpc_max_msgid(l, f.rpc, 4), NQ_DONE);
  for (int round = 0; round < 5; round++) {
    uint32_t before = f.w.c.count[NQ_EV_RPC_REPLY], ids = 0;
    for (int i = 0; i < 4; i++) {
      uint32_t id;
      CHECK(nq_rpc_call(l, f.rpc, 1, NULL, 0, 0, NULL, &id) >= 0);
      CHECK(id >= 1 && id <= 4);
      ids |= 1u << id;
    }
    CHECK_EQ(ids, 0x1e);
    CHECK_EQ(nq_rpc_call(l, f.rpc, 1, NULL, 0, 0, NULL, NULL), NQ_ERR_FULL);
    CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], before + 4, 5000));
  }
  end(&f);
}

/* A stream that stands for another goes on with its IDs. */
static void test_last_id(void) {
  fixture f;
  uint32_t id;
  begin(&f);
  nq_loop *l = f.w.c.l;
  CHECK_EQ(nq_rpc_last_msgid(l, f.rpc + 1000, 4), NQ_ERR_STALE);
  CHECK_EQ(nq_rpc_last_msgid(l, world_stream(&f.w, f.conn, NQ_KIND_RECORD, "rec"), 4), NQ_ERR_STATE);
  CHECK_EQ(nq_rpc_last_msgid(l, f.rpc, 70000), NQ_DONE);
  CHECK(nq_rpc_call(l, f.rpc, 1, NULL, 0, 0, NULL, &id) >= 0);
  CHECK_EQ(id, 70001);
  CHECK_EQ(nq_rpc_last_msgid(l, f.rpc, UINT32_MAX), NQ_DONE);
  CHECK(nq_rpc_call(l, f.rpc, 1, NULL, 0, 0, NULL, &id) >= 0);
  CHECK_EQ(id, 1);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], 2, 5000));
  end(&f);
}

/* A row of calls: as many as the limits allow, with one user and with IDs in a row; the next row tells when it does not
 * follow. */
static void test_row(void) {
  fixture f;
  begin(&f);
  nq_loop *l = f.w.c.l;
  static const uint8_t p[1024];
  nq_payload v[6];
  for (size_t i = 0; i < 6; i++)
    v[i] = (nq_payload){p, (size_t[]){0, 7, 8, 16, 17, sizeof p}[i]};
  uint32_t id = 0, made = 9, single;
  CHECK_EQ(nq_rpc_call_row(l, f.rpc, 0, v, 6, 0, &f, &id, &made), NQ_ERR_ARG);
  CHECK_EQ(made, 0);
  CHECK_EQ(nq_rpc_call_row(l, f.rpc, 1, v, 6, 0, &f, &id, &made), 0);
  CHECK_EQ(id, 1);
  CHECK_EQ(made, 6);
  CHECK_EQ(nq_rpc_call(l, f.rpc, 1, NULL, 0, 0, NULL, &single), 0);
  CHECK_EQ(single, 7);
  id = 7; /* somebody else has it */
  CHECK_EQ(nq_rpc_call_row(l, f.rpc, 1, v, 6, 0, &f, &id, &made), 0);
  CHECK_EQ(made, 0);
  CHECK(nq_rpc_cancel(l, f.rpc, 3) == &f);
  CHECK_EQ(nq_rpc_max_msgid(l, f.rpc, 10), NQ_DONE);
  id = 8;
  CHECK_EQ(nq_rpc_call_row(l, f.rpc, 1, v, 6, 0, &f, &id, &made), 0);
  CHECK_EQ(made, 3); /* after 10 comes the ID that is free: 3 */
  id = 0;
  CHECK_EQ(nq_rpc_call_row(l, f.rpc, 1, v, 6, 0, &f, &id, &made), NQ_ERR_FULL);
  CHECK_EQ(id, 3);
  CHECK_EQ(made, 1);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], 10, 5000));
  CHECK_EQ(nq_rpc_max_msgid(l, f.rpc, UINT32_MAX), NQ_DONE);
  id = 0;
  v[2].len = (16u << 20) + 1;
  CHECK_EQ(nq_rpc_call_row(l, f.rpc, 1, v, 6, 0, &f, &id, &made), NQ_ERR_TOOBIG);
  CHECK_EQ(made, 2);
  CHECK(world_until(&f.w, &f.w.c.count[NQ_EV_RPC_REPLY], 12, 5000));
  end(&f);
}

/* Frames fill the connection's send queue to the last byte, and what does not fit leaves nothing behind. */
static void test_full_queue(void) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 8);
  world_open(&w, &net);
  w.c.limits.max_send_queue = 65536; /* "rpc" and its NUL, 5040 calls of 13 bytes, one of 12 */
  nq_handle conn = world_connect(&w, "localhost");
  nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  uint8_t p[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (int i = 0; i < 5040; i++) /* from half of it on the caller is told to wait */
    CHECK_EQ(nq_rpc_call(w.c.l, rpc, 1, p, 8, 0, NULL, NULL), 4 + 13 * (i + 1) > 32768);
  CHECK_EQ(nq_rpc_call(w.c.l, rpc, 1, p, 8, 0, NULL, NULL), NQ_ERR_FULL);
  CHECK_EQ(nq_rpc_call(w.c.l, rpc, 1, p, 7, 0, NULL, NULL), 1);
  CHECK_EQ(nq_rpc_call(w.c.l, rpc, 1, NULL, 0, 0, NULL, NULL), NQ_ERR_FULL);
  nq_conn_info i;
  nq_conn_get_info(w.c.l, conn, &i);
  CHECK_EQ(i.queued, w.c.limits.max_send_queue);
  CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 5041, 5000));
  world_close(&w);
  nq_sim_free(&net);
}

/* Acknowledgements ride on requests and replies, however long the round trip is: no packets of their own. */
static void test_acks_ride(void) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 9);
  net.delay = 25 * MS;
  world_open(&w, &net);
  nq_handle conn = world_connect(&w, "localhost");
  nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  CHECK_EQ(nq_rpc_call(w.c.l, rpc, 1, NULL, 0, 0, NULL, NULL), 0);
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 1, 5000));
  world_run(&w, 1000);
  nq_conn_info before, after;
  nq_conn_get_info(w.c.l, conn, &before);
  for (uint32_t i = 0; i < 100; i++) {
    CHECK_EQ(nq_rpc_call(w.c.l, rpc, 1, NULL, 0, 0, NULL, NULL), 0);
    REQUIRE(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], i + 2, 5000));
  }
  nq_conn_get_info(w.c.l, conn, &after);
  CHECK(after.packets_sent - before.packets_sent <= 110);
  CHECK(after.packets_received - before.packets_received <= 110);
  world_close(&w);
  nq_sim_free(&net);
}

/* Of so many connections the memory is asked for ahead: whoever ends, or has several streams, in between. */
static void test_many_connections(void) {
  enum { MANY = 200 };
  nq_sim net;
  world w;
  nq_handle conns[MANY], rpc[MANY];
  nq_sim_init(&net, 10);
  net.delay = 5 * MS;
  world_open(&w, &net);
  for (int i = 0; i < MANY; i++)
    conns[i] = world_connect(&w, "localhost");
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], MANY, 20000));
  for (int i = 0; i < MANY; i++)
    rpc[i] = world_stream(&w, conns[i], NQ_KIND_RPC, "rpc");
  uint32_t asked = 0;
  for (int round = 0; round < 4; round++) {
    for (int i = round * 20; i < MANY; i++)
      for (int k = 0; k < 20; k++, asked++)
        REQUIRE(nq_rpc_call(w.c.l, rpc[i], 1, NULL, 0, 0, NULL, NULL) >= 0);
    CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], asked, 5000));
    for (int i = round * 20; i < round * 20 + 20; i++)
      CHECK_EQ(nq_conn_close(w.c.l, conns[i], 0, NULL, 0, 0), 0);
    for (int i = round * 20 + 20; i < MANY; i += 7)
      rpc[i] = world_stream(&w, conns[i], NQ_KIND_RPC, "rpc");
  }
  CHECK_EQ(w.c.count[NQ_EV_RPC_REPLY], asked);
  world_close(&w);
  nq_sim_free(&net);
}

int main(void) {
  RUN(test_all_types);
  RUN(test_payloads_both_ways);
  RUN(test_timeouts);
  RUN(test_any_id);
  RUN(test_cancel);
  RUN(test_gone);
  RUN(test_gone_before_open);
  RUN(test_pending_limit);
  RUN(test_largest_id);
  RUN(test_last_id);
  RUN(test_row);
  RUN(test_full_queue);
  RUN(test_acks_ride);
  RUN(test_many_connections);
  CHECK_DONE();
}
