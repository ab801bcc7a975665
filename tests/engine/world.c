/* world.c: see world.h. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs.h"
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"

nq_loop_options world_loop;
uint64_t world_lent, world_returned;

static void take_returned(nq_loop *l) {
  for (void *p; (p = nq_loop_returned(l)); world_returned++)
    free(p);
}

int world_lend(nq_loop *l, nq_handle s, const uint8_t *p, size_t n) {
  uint8_t *copy = malloc(n ? n : 1);
  REQUIRE(copy != NULL);
  memcpy(copy, p, n);
  int rv = nq_stream_lend(l, s, copy, n, copy);
  if (rv < 0)
    free(copy);
  else
    world_lent++;
  return rv;
}

static void keep(side *x, const nq_event *e) {
  x->bytes += e->len;
  if (x->n_kept + e->len <= WORLD_KEEP && e->len) {
    memcpy(x->kept + x->n_kept, e->data, e->len);
    x->n_kept += e->len;
  }
}

static void note(side *x, char c) {
  if (x->n_order < sizeof x->order - 1)
    x->order[x->n_order++] = c;
}

static void dispatch(side *x, const nq_event *e) {
  nq_loop *l = x->l;
  x->count[e->kind]++;
  if (x->hook && x->hook(x, e))
    return;
  switch (e->kind) {
  case NQ_EV_CONN_OPEN:
    x->conn = e->handle;
    note(x, 'O');
    break;
  case NQ_EV_CONN_CLOSE:
    x->why = e->msgid;
    x->code = e->code;
    x->remote = (e->flags & NQ_EVF_REMOTE) != 0;
    x->delivered = (e->flags & NQ_EVF_DELIVERED) != 0;
    snprintf(x->reason, sizeof x->reason, "%s", e->data ? (const char *)e->data : "");
    note(x, 'C');
    break;
  case NQ_EV_CONN_FREED:
    note(x, 'F');
    break;
  case NQ_EV_STREAM_OPEN:
    x->stream = e->handle;
    note(x, 's');
    break;
  case NQ_EV_STREAM_DATA:
  case NQ_EV_STREAM_RECORD:
    keep(x, e);
    if (x->echo)
      nq_stream_send(l, e->handle, e->data, e->len);
    break;
  case NQ_EV_STREAM_FIN:
    if (x->echo)
      nq_stream_finish(l, e->handle);
    note(x, 'f');
    break;
  case NQ_EV_STREAM_CLOSE:
    x->stream_code = e->code;
    note(x, 'c');
    break;
  case NQ_EV_RPC_REQUEST:
    if (x->echo)
      nq_rpc_reply(l, e->handle, e->msgid, (int16_t)(e->type >= 1000 ? -7 : 0), e->data, e->len);
    break;
  case NQ_EV_RPC_REPLY:
    if (e->flags & NQ_EVF_LOCAL) {
      x->gone += e->code == NQ_CALL_GONE;
      x->timeouts += e->code == NQ_CALL_TIMEOUT;
    } else {
      keep(x, e);
    }
    note(x, 'r');
    break;
  case NQ_EV_SEND_ACKED:
    x->acked += e->len;
    x->ack_ends += (e->flags & NQ_EVF_LAST) != 0;
    x->ack_cut += (e->flags & NQ_EVF_LOCAL) != 0;
    break;
  case NQ_EV_SEND_LOST:
    x->lost += e->len;
    break;
  case NQ_EV_DATAGRAM:
    keep(x, e);
    if (x->echo)
      nq_conn_send_datagram(l, e->handle, e->data, e->len);
    break;
  case NQ_EV_PONG:
    x->rtt = e->value;
    break;
  case NQ_EV_RETURNED:
    take_returned(l);
    break;
  default:
    break;
  }
}

void side_tick(side *x, int64_t wait) {
  int n = nq_loop_poll(x->l, wait);
  REQUIRE(n >= 0);
  int timed = nq_loop_timing(x->l);
  for (int i = 0; i < n; i++) {
    nq_event e = nq_loop_events(x->l)[i]; /* a copy: handlers may push events, and the batch may move */
    if (timed)
      nq_loop_time(x->l, &e);
    void *user;
    if (x->holds &&
        (e.kind == NQ_EV_RPC_REQUEST || e.kind == NQ_EV_RPC_NOTIFY || e.kind == NQ_EV_RPC_CANCEL ||
         e.kind == NQ_EV_STREAM_FIN) &&
        !nq_rpc_deliver(x->l, &e, &user) && nq_stream_alive(x->l, e.handle))
      continue;
    dispatch(x, &e);
  }
  if (timed)
    nq_loop_time(x->l, NULL);
  nq_loop_flush(x->l);
}

const char *world_alpn = "\x04nq/1";

nq_tls *world_tls(const nq_test_cert *ca, const nq_test_cert *leaf) {
  nq_tls_options o = {.server = leaf != NULL, .alpn = (const uint8_t *)world_alpn, .alpn_len = strlen(world_alpn)};
  char err[256];
  nq_tls *t = NULL;
  if (leaf) {
    o.cert = nq_test_cert_blob(leaf);
    o.key = nq_test_key_blob(leaf);
  } else {
    o.ca = nq_test_cert_blob(ca);
  }
  if (nq_tls_new(&t, &o, err, sizeof err))
    fprintf(stderr, "%s\n", err);
  REQUIRE(t != NULL);
  return t;
}

static void side_open(side *x, nq_sim *s, int server) {
  memset(x, 0, sizeof *x);
  nq_loop_options lo = world_loop;
  lo.env = s ? &s->env : NULL;
  if (!lo.returned)
    lo.returned = take_returned;
  REQUIRE(nq_loop_new(&x->l, &lo) == 0);
  x->server = server;
  x->echo = server;
  x->kept = malloc(WORLD_KEEP);
  x->map = nq_hdmap_new();
  nq_limits_default(&x->limits);
  nq_hdmap_add(x->map, "rpc", 3, NQ_KIND_RPC, 0, NULL);
  nq_hdmap_add(x->map, "rec", 3, NQ_KIND_RECORD, 0, NULL);
  nq_hdmap_add(x->map, "raw", 3, NQ_KIND_RAW, 0, NULL);
  nq_hdmap_uni(x->map, NULL);
}

void world_open(world *w, nq_sim *s) {
  memset(w, 0, sizeof *w);
  w->sim = s;
  nq_test_cert *ca = nq_test_make_ca("test CA"), *leaf = nq_test_make_leaf(ca, "localhost", "127.0.0.1", 0);
  w->stls = world_tls(ca, leaf);
  w->ctls = world_tls(ca, NULL);
  nq_test_cert_free(leaf);
  nq_test_cert_free(ca);
  side_open(&w->s, s, 1);
  side_open(&w->c, s, 0);
  world_listen(w);
}

void world_listen(world *w) {
  nq_endpoint_options o;
  memset(&o, 0, sizeof o);
  o.tls = w->stls;
  o.hdmap = w->s.map;
  o.limits = w->s.limits;
  o.always_retry = w->always_retry;
  o.secret = w->secret;
  o.secret_len = w->secret ? strlen(w->secret) : 0;
  if (w->sim) {
    REQUIRE(nq_endpoint_attach(w->s.l, nq_sim_io(w->sim, 1, 443), &o, &w->s.ep) == 0);
    memset(&o, 0, sizeof o);
    if (!w->c.ep)
      REQUIRE(nq_endpoint_attach(w->c.l, nq_sim_io(w->sim, 2, 5000), &o, &w->c.ep) == 0);
  } else {
    REQUIRE(nq_addr_parse(&o.local, "127.0.0.1", 0) == 0);
    REQUIRE(nq_endpoint_open(w->s.l, &o, &w->s.ep) == 0);
  }
}

static void side_close(side *x) {
  nq_loop_free(x->l);
  nq_hdmap_unref(x->map);
  free(x->kept);
}

void world_close(world *w) {
  side_close(&w->c);
  side_close(&w->s);
  CHECK_EQ(world_lent, world_returned);
  nq_tls_unref(w->stls);
  nq_tls_unref(w->ctls);
}

nq_handle world_connect(world *w, const char *name) {
  nq_connect_options o;
  memset(&o, 0, sizeof o);
  REQUIRE(nq_endpoint_address(w->s.l, w->s.ep, &o.remote) == 0);
  o.endpoint = w->c.ep;
  o.tls = w->ctls;
  o.server_name = name;
  o.hdmap = w->c.map;
  o.limits = w->c.limits;
  o.version = w->version;
  nq_handle h = 0;
  REQUIRE(nq_conn_connect(w->c.l, &o, &h) == 0);
  nq_loop_flush(w->c.l);
  return h;
}

void world_tick(world *w, int64_t wait) {
  if (!w->sim) {
    side_tick(&w->c, wait);
    side_tick(&w->s, wait);
    return;
  }
  uint64_t a = nq_timers_next(&w->c.l->hub.timers), b = nq_timers_next(&w->s.l->hub.timers), t = nq_sim_next(w->sim);
  t = a < t ? a : t;
  t = b < t ? b : t;
  uint64_t limit = w->sim->now + (uint64_t)(wait > 0 ? wait : 1000);
  if (t > limit)
    t = limit;
  if (t > w->sim->now)
    w->sim->now = t;
  side_tick(&w->s, 0);
  side_tick(&w->c, 0);
}

static uint64_t time_of(const world *w) { return w->sim ? w->sim->now : nq_loop_now(w->c.l); }

int world_until(world *w, const uint32_t *what, uint32_t want, int ms) {
  uint64_t end = time_of(w) + (uint64_t)ms * 1000000u;
  while (*what < want && time_of(w) < end)
    world_tick(w, w->sim ? 1000000 : 200000);
  return *what >= want;
}

void world_run(world *w, int ms) {
  static const uint32_t never;
  world_until(w, &never, 1, ms);
}

nq_handle world_stream(world *w, nq_handle conn, nq_stream_kind kind, const char *name) {
  nq_stream_options o = {.kind = kind, .name = name, .name_len = name ? strlen(name) : 0};
  nq_handle h = 0;
  REQUIRE(nq_stream_open(w->c.l, conn, &o, &h) == 0);
  return h;
}

nq_loop_stats world_stats(const nq_loop *l) {
  nq_loop_stats s;
  nq_loop_get_stats(l, &s);
  return s;
}

int side_order_is(side *x, const char *want) {
  x->order[x->n_order] = 0;
  if (!strcmp(x->order, want))
    return 1;
  fprintf(stderr, "order %s, expected %s\n", x->order, want);
  return 0;
}

uint8_t world_byte(uint64_t seed, uint64_t i) { return (uint8_t)((i * 2654435761u + seed * 40503u) >> 13); }

void sim_world_open(sim_world *f, uint64_t seed) {
  nq_sim_init(&f->net, seed);
  f->net.delay = 1000000;
  world_open(&f->w, &f->net);
}

void sim_world_listen(sim_world *f) {
  nq_endpoint_close(f->w.s.l, f->w.s.ep);
  world_listen(&f->w);
}

void sim_world_connect(sim_world *f) {
  uint32_t n = f->w.c.count[NQ_EV_CONN_OPEN], m = f->w.s.count[NQ_EV_CONN_OPEN];
  f->conn = world_connect(&f->w, "localhost");
  REQUIRE(world_until(&f->w, &f->w.s.count[NQ_EV_CONN_OPEN], m + 1, 5000));
  REQUIRE(world_until(&f->w, &f->w.c.count[NQ_EV_CONN_OPEN], n + 1, 5000));
}

void sim_world_close(sim_world *f) {
  world_close(&f->w);
  nq_sim_free(&f->net);
}
