/* test_chaos.c: everything the engine can be asked for, by chance, on handles old and new, from inside and outside of
 * handlers, on a bad network. Nothing crashes; every call ends once; in the end nothing is left. */
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "world.h"

#define MS UINT64_C(1000000)
#define KEEP 16

typedef struct chaos {
  world w;
  nq_sim net;
  uint64_t dice;
  nq_handle streams[2][KEEP], conns[2][KEEP]; /* of the client, of the server */
  uint32_t n_streams[2], n_conns[2];
  uint64_t calls, ends, cancelled;
  int depth, quiet;
} chaos;

static uint32_t rnd(chaos *t, uint32_t n) {
  t->dice = t->dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
  return (uint32_t)(t->dice >> 33) % n;
}

static void keep(nq_handle *v, uint32_t *n, nq_handle h) { v[(*n)++ % KEEP] = h; }

static void client_conn(chaos *t) {
  nq_connect_options o;
  nq_loop_stats st;
  memset(&o, 0, sizeof o);
  nq_loop_get_stats(t->w.c.l, &st);
  if (st.connections > 12 || nq_endpoint_address(t->w.s.l, t->w.s.ep, &o.remote))
    return;
  o.endpoint = t->w.c.ep;
  o.tls = t->w.ctls;
  o.server_name = rnd(t, 12) ? "localhost" : "elsewhere";
  o.hdmap = t->w.c.map;
  o.limits = t->w.c.limits;
  o.version = rnd(t, 4) ? 0 : 0x6b3343cf;
  nq_handle h = 0;
  if ((rnd(t, 4) ? nq_conn_connect : nq_conn_create)(t->w.c.l, &o, &h) == 0)
    keep(t->conns[0], &t->n_conns[0], h);
}

static void end_stream(chaos *t, nq_loop *l, nq_handle s, uint64_t code) {
  switch (rnd(t, 16)) {
  case 0:
    nq_stream_finish(l, s);
    break;
  case 1:
    nq_stream_reset(l, s, code);
    break;
  case 2:
    nq_stream_stop(l, s, code);
    break;
  case 3:
    nq_stream_close(l, s);
    break;
  default:
    break;
  }
}

static uint8_t p[100000]; /* what is sent */

/* What is done on a side to a stream of it, or to open one. */
static void act_on_stream(chaos *t, nq_loop *l, int who, uint32_t what, nq_handle c, size_t n) {
  nq_handle s = t->streams[who][rnd(t, KEEP)];
  uint32_t id = 0;
  switch (what) {
  case 2:
  case 3:
  case 4: {
    static const char *const names[] = {"rpc", "rec", "raw", "nobody"};
    uint32_t k = rnd(t, 4);
    nq_stream_options o = {.kind = (nq_stream_kind[]){NQ_KIND_RPC, NQ_KIND_RECORD, NQ_KIND_RAW, NQ_KIND_RPC}[k],
                           .name = names[k],
                           .name_len = strlen(names[k]),
                           .call_timeout = 200 * MS};
    if (rnd(t, 8) == 0)
      o = (nq_stream_options){.kind = NQ_KIND_RAW, .uni = 1};
    nq_handle h;
    if (!t->quiet && nq_stream_open(l, c, &o, &h) == 0)
      keep(t->streams[who], &t->n_streams[who], h);
    break;
  }
  case 5:
  case 6:
    nq_stream_send(l, s, p, n);
    break;
  case 7:
  case 8:
    world_lend(l, s, p, n);
    break;
  case 9:
  case 10:
  case 11:
  case 12:
  case 13:
  case 14:
    t->calls += nq_rpc_call(l, s, (int16_t)(1 + rnd(t, 2000)), p, n, rnd(t, 3) ? 0 : rnd(t, 100) * MS, t, &id) >= 0;
    if (id && rnd(t, 8) == 0)
      t->cancelled += nq_rpc_cancel(l, s, id) == t;
    break;
  case 15:
    nq_rpc_notify(l, s, 9, p, n);
    break;
  case 16:
    nq_rpc_reply(l, s, 1 + rnd(t, 100), 0, p, n);
    break;
  case 17:
  case 18:
  case 19:
  case 20:
    end_stream(t, l, s, n);
    break;
  case 21:
  case 22:
    nq_stream_pause(l, s);
    break;
  case 23:
  case 24:
    nq_stream_resume(l, s);
    break;
  default:
    break;
  }
}

/* What is done on a side to a connection. */
static void act_on_conn(chaos *t, nq_loop *l, uint32_t what, nq_handle c, size_t n) {
  switch (what) {
  case 0:
  case 1:
    if (!t->quiet)
      client_conn(t);
    break;
  case 25:
    if (rnd(t, 40) == 0)
      nq_conn_close(l, c, n, "chaos", 5, (int)rnd(t, 2));
    break;
  case 26:
    if (rnd(t, 40) == 0)
      nq_conn_free(l, c);
    break;
  case 27:
    if (!t->quiet)
      nq_conn_reconnect(l, c, rnd(t, 50) * MS, NULL);
    break;
  case 28: {
    nq_addr a;
    if (nq_endpoint_address(t->w.s.l, t->w.s.ep, &a) == 0)
      nq_conn_start(l, c, &a);
    break;
  }
  case 29:
    nq_conn_flush(l, c);
    break;
  case 30:
    nq_conn_send_datagram(l, c, p, n % 1300);
    break;
  case 31:
    nq_conn_ping(l, c);
    break;
  case 32:
    if (rnd(t, 10) == 0)
      nq_conn_fail(l, c, NQ_WHY_SYSTEM, 1, "chaos");
    break;
  default:
    if (rnd(t, 300) == 0 && t->depth == 0) { /* the server starts again */
      nq_endpoint_close(t->w.s.l, t->w.s.ep);
      t->w.always_retry = (int)rnd(t, 2);
      world_listen(&t->w);
    }
  }
}

static void act(chaos *t) {
  int who = rnd(t, 3) == 0;
  nq_loop *l = who ? t->w.s.l : t->w.c.l;
  nq_handle c = t->conns[who][rnd(t, KEEP)];
  size_t n = rnd(t, 5) ? rnd(t, 300) : rnd(t, sizeof p);
  uint32_t what = rnd(t, 34);
  if (what >= 2 && what < 25)
    act_on_stream(t, l, who, what, c, n);
  else
    act_on_conn(t, l, what, c, n);
}

static uint64_t traffic, opened, answered;

static int see(side *x, const nq_event *e) {
  chaos *t = x->hook_ctx;
  int who = x->server;
  uint64_t sum = 0;
  for (size_t i = 0; i < e->len; i += 97) /* the payload is there to be read */
    sum += e->data[i];
  CHECK(sum < 256 * (e->len + 1));
  if (e->kind == NQ_EV_CONN_OPEN && who)
    keep(t->conns[1], &t->n_conns[1], e->handle);
  if (e->kind == NQ_EV_CONN_OPEN && who && t->quiet) /* its client has lost the handle */
    nq_conn_close(x->l, e->handle, 0, "", 0, 1);
  if (e->kind == NQ_EV_STREAM_OPEN && !(e->flags & NQ_EVF_OUTGOING))
    keep(t->streams[who], &t->n_streams[who], e->handle);
  if (e->kind == NQ_EV_CONN_CLOSE && !who && (t->quiet || rnd(t, 2)))
    CHECK_EQ(nq_conn_free(x->l, e->handle), 0);
  if (e->kind == NQ_EV_RETURNED)
    return 0;
  traffic += e->kind == NQ_EV_RPC_NOTIFY || e->kind == NQ_EV_STREAM_RECORD;
  opened += e->kind == NQ_EV_CONN_OPEN && who;
  answered += e->kind == NQ_EV_RPC_REPLY && !(e->flags & NQ_EVF_LOCAL);
  if (e->kind == NQ_EV_RPC_REPLY)
    t->ends += e->user == t;
  if (e->kind == NQ_EV_RPC_REQUEST && rnd(t, 4))
    nq_rpc_reply(x->l, e->handle, e->msgid, 0, e->data, e->len);
  t->depth++;
  if (!t->quiet)
    for (uint32_t i = rnd(t, 4); i; i--)
      act(t);
  t->depth--;
  return 1;
}

static void give_up(void *l, nq_handle h, void *obj) {
  (void)obj;
  nq_conn_close(l, h, 0, "", 0, 1);
}

static void run(uint64_t seed) {
  chaos *t = calloc(1, sizeof *t);
  REQUIRE(t != NULL);
  nq_sim_init(&t->net, seed);
  t->dice = seed;
  t->net.delay = MS;
  world_open(&t->w, &t->net);
  t->w.s.limits.max_streams_bidi = 9;
  t->w.s.limits.stream_window = 40000;
  t->w.s.limits.idle_timeout = t->w.c.limits.idle_timeout = 400 * MS;
  t->w.s.limits.shutdown_timeout = t->w.c.limits.shutdown_timeout = 500 * MS;
  t->w.s.limits.max_assembly = 65536;
  nq_endpoint_close(t->w.s.l, t->w.s.ep);
  world_listen(&t->w);
  t->net.loss = 1000 * rnd(t, 80);
  t->net.dup = 1000 * rnd(t, 80);
  t->net.jitter = rnd(t, 5) * MS;
  t->w.s.hook = t->w.c.hook = see;
  t->w.s.hook_ctx = t->w.c.hook_ctx = t;
  for (int i = 0; i < 3; i++)
    client_conn(t);
  for (int i = 0; i < 4000; i++) {
    for (uint32_t k = rnd(t, 5); k; k--)
      act(t);
    world_tick(&t->w, 5 * MS);
  }
  t->quiet = 1; /* all is given up */
  for (uint32_t i = 0; i < KEEP; i++)
    nq_conn_free(t->w.c.l, t->conns[0][i]);
  nq_table_each(&t->w.s.l->hub.conns, give_up, t->w.s.l); /* a call under way keeps one alive for as long as it takes */
  world_run(&t->w, 15000);
  CHECK_EQ(world_stats(t->w.s.l).connections, 0);
  CHECK_EQ(world_stats(t->w.s.l).streams, 0);
  CHECK_EQ(world_stats(t->w.s.l).pending_calls, 0);
  CHECK_EQ(world_stats(t->w.s.l).send_buffer_bytes, 0);
  CHECK(world_lent > 20);
  CHECK_EQ(t->w.s.count[NQ_EV_CONN_OPEN], t->w.s.count[NQ_EV_CONN_FREED]);
  uint64_t left =
      world_stats(t->w.c.l).connections; /* objects whose handles were overwritten: closed, with nothing on them */
  CHECK(left < 12);
  if (!left) {
    CHECK_EQ(world_stats(t->w.c.l).streams, 0);
    CHECK_EQ(world_stats(t->w.c.l).send_buffer_bytes, 0);
    CHECK_EQ(world_lent, world_returned);
    CHECK_EQ(t->ends + t->cancelled, t->calls);
  }
  CHECK_EQ(world_stats(t->w.c.l).pending_calls + t->ends + t->cancelled, t->calls);
  world_close(&t->w);
  nq_sim_free(&t->net);
  free(t);
}

static uint64_t seeds = 80;

static void test_chaos(void) {
  for (uint64_t seed = 1; seed <= seeds; seed++) {
    int before = check_failed;
    run(seed * 77);
    if (check_failed != before)
      fprintf(stderr, "  ... with seed %u\n", (unsigned)seed);
  }
  printf("    %u messages, %u connections, %u calls answered\n", (unsigned)traffic, (unsigned)opened,
         (unsigned)answered);
  CHECK(traffic > 50 * seeds && answered > 20 * seeds);
}

int main(int argc, char **argv) {
  if (argc > 1) /* more of them than by default */
    seeds = strtoull(argv[1], NULL, 10);
  RUN(test_chaos);
  CHECK_DONE();
}
