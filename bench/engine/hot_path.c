/* hot_path.c: the engine's hot path in one process over the simulated network, so that its instructions
 * can be counted (bench/counts.py) and its time taken without a kernel (bench/micro).
 *
 *     hot_path NAME OPERATIONS     runs it; prints one JSON line. NAME "list": the names
 *
 * What is set up comes before `measured`, where callgrind begins to count. As a shared library: hot_path_open and
 * hot_path_run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cidmap.h"
#include "engine.h"
#include "app/hdmap.h"
#include "io/sim.h"
#include "base/timer.h"
#include "world.h"

/* What is set up before is not looked at: 10,000 handshakes would take callgrind minutes. */
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION
#endif

enum { CONNECTIONS = 16, AT_ONCE = 100 };

static nq_sim net;
static world both;
static nq_handle conns[CONNECTIONS], streams[CONNECTIONS];
static int busy = CONNECTIONS; /* of them, how many have requests */
static uint64_t left, window, done; /* requests, records or datagrams */
static uint32_t size;

static void fail(const char *what) {
  fprintf(stderr, "hot_path: %s\n", what);
  exit(1);
}

/* ---- requests, records, datagrams, handshakes: both ends ---- */

static void one_more(side *x, nq_handle stream) {
  uint64_t bytes = left--;
  if (nq_rpc_call(x->l, stream, 1, (const uint8_t *)&bytes, sizeof bytes, 0, NULL, NULL) < 0)
    fail("call");
}

static int client_event(side *x, const nq_event *e) {
  if (e->kind == NQ_EV_RPC_REPLY) {
    done++;
    if (left)
      one_more(x, e->handle);
    return 1;
  }
  if (e->kind == NQ_EV_STREAM_RECORD) {
    done++;
    if (left && left--)
      nq_stream_send(x->l, e->handle, e->data, e->len);
    return 1;
  }
  if (e->kind == NQ_EV_DATAGRAM) {
    done++;
    return 1;
  }
  return 0;
}

static int server_event(side *x, const nq_event *e) {
  if (e->kind == NQ_EV_RPC_REQUEST)
    return nq_rpc_reply(x->l, e->handle, e->msgid, 0, e->data, e->len), 1;
  if (e->kind == NQ_EV_STREAM_RECORD)
    return nq_stream_send(x->l, e->handle, e->data, e->len), 1;
  if (e->kind == NQ_EV_DATAGRAM)
    return nq_conn_send_datagram(x->l, e->handle, e->data, e->len), 1;
  return 0;
}

static void open_world(uint64_t connections, nq_stream_kind kind) {
  nq_sim_init(&net, 1);
  net.delay = 50000;
  world_open(&both, &net);
  both.c.hook = client_event;
  both.s.hook = server_event;
  for (uint64_t i = 0; i < connections; i++) {
    conns[i] = world_connect(&both, "localhost");
    if (!world_until(&both, &both.c.count[NQ_EV_CONN_OPEN], (uint32_t)i + 1, 1000))
      fail("no connection");
    if (kind) {
      streams[i] = world_stream(&both, conns[i], kind, kind == NQ_KIND_RPC ? "rpc" : "rec");
      if (!world_until(&both, &both.c.count[NQ_EV_STREAM_OPEN], (uint32_t)i + 1, 1000))
        fail("no stream");
    }
  }
  world_run(&both, 200); /* until the handshakes are confirmed and path MTU discovery is over */
}

static void until_done(uint64_t wanted) {
  for (uint64_t ticks = 0; done < wanted; ticks++) {
    world_tick(&both, 1000000);
    if (ticks > 1000000)
      fail("it does not end");
  }
}

static void open_requests(uint64_t w) {
  window = w;
  open_world(CONNECTIONS, NQ_KIND_RPC);
}

/* One connection has requests, the others only exist: on both ends, whose loops must not look at them. */
static void open_beside(uint64_t idle) {
  window = 1;
  busy = 1;
  open_world(1, NQ_KIND_RPC);
  for (uint32_t opened = 1; opened <= idle;) {
    for (int i = 0; i < AT_ONCE && opened <= idle; i++, opened++)
      world_connect(&both, "localhost");
    if (!world_until(&both, &both.c.count[NQ_EV_CONN_OPEN], opened, 1000))
      fail("no connection");
  }
  world_run(&both, 200);
}

static void run_requests(uint64_t n) {
  left = n;
  done = 0;
  for (int i = 0; i < busy; i++)
    for (uint64_t k = 0; k < window && left; k++)
      one_more(&both.c, streams[i]);
  nq_loop_flush(both.c.l);
  until_done(n);
}

static void open_records(uint64_t bytes) {
  size = (uint32_t)bytes;
  open_world(CONNECTIONS, NQ_KIND_RECORD);
}

static void run_records(uint64_t n) {
  static uint8_t block[1 << 16];
  left = n;
  done = 0;
  for (int i = 0; i < CONNECTIONS; i++)
    for (int k = 0; k < 16 && left; k++, left--)
      if (nq_stream_send(both.c.l, streams[i], block, size) < 0)
        fail("record");
  nq_loop_flush(both.c.l);
  until_done(n);
}

static void open_datagrams(uint64_t bytes) {
  size = (uint32_t)bytes;
  open_world(CONNECTIONS, 0);
}

static void run_datagrams(uint64_t n) {
  static uint8_t block[2048];
  done = 0;
  for (uint64_t sent = 0; sent < n;) {
    for (int i = 0; i < CONNECTIONS && sent < n; i++, sent++)
      if (nq_conn_send_datagram(both.c.l, conns[i], block, size) < 0)
        fail("datagram");
    nq_loop_flush(both.c.l);
    until_done(sent);
  }
}

static void open_handshakes(uint64_t n) {
  (void)n;
  open_world(1, 0);
}

static void run_handshakes(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    uint32_t opened = both.c.count[NQ_EV_CONN_OPEN], freed = both.c.count[NQ_EV_CONN_FREED];
    nq_handle h = world_connect(&both, "localhost");
    if (!world_until(&both, &both.c.count[NQ_EV_CONN_OPEN], opened + 1, 1000))
      fail("no connection");
    nq_conn_close(both.c.l, h, 0, NULL, 0, 0);
    nq_conn_free(both.c.l, h);
    if (!world_until(&both, &both.c.count[NQ_EV_CONN_FREED], freed + 1, 10000))
      fail("it does not close");
  }
}

/* ---- what must not grow with the number of things ---- */

static nq_timers heap;
static nq_timer *timers;
static uint64_t things, clock_now;

static void open_timers(uint64_t n) {
  things = n;
  nq_timers_init(&heap);
  timers = calloc(n, sizeof *timers);
  for (uint64_t i = 0; i < n; i++) {
    nq_timer_init(&timers[i], 0);
    nq_timer_set(&heap, &timers[i], 1000000 + i * 1000);
  }
}

static void run_timers(uint64_t n) { /* what a busy connection does: put its deadline off, again and again */
  for (uint64_t i = 0; i < n; i++) {
    clock_now += 10;
    nq_timer_set(&heap, &timers[i * 7919 % things], 1000000 + things * 1000 + clock_now);
    nq_timers_next(&heap);
  }
}

static nq_cidmap map;
static volatile uintptr_t found;

static void cid_of(uint64_t i, uint8_t cid[16]) {
  uint64_t a = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
  memcpy(cid, &a, 8);
  memcpy(cid + 8, &i, 8);
}

static void open_cids(uint64_t n) {
  static const uint8_t seed[16] = "0123456789abcde";
  uint8_t cid[16];
  things = n;
  nq_cidmap_init(&map, seed);
  for (uint64_t i = 0; i < n; i++) {
    cid_of(i, cid);
    nq_cidmap_put(&map, cid, 16, &map);
  }
}

static void run_cids(uint64_t n) {
  uint8_t cid[16];
  for (uint64_t i = 0; i < n; i++) {
    cid_of(i * 7919 % things, cid);
    found += (uintptr_t)nq_cidmap_get(&map, cid, 16);
  }
}

static nq_hdmap *names;

static void open_handlers(uint64_t n) {
  char name[32];
  things = n;
  names = nq_hdmap_new();
  for (uint64_t i = 0; i < n; i++) {
    snprintf(name, sizeof name, "handler-%08llu", (unsigned long long)i);
    nq_hdmap_add(names, name, 16, NQ_KIND_RPC, 0, NULL);
  }
}

static void run_handlers(uint64_t n) {
  uint8_t name[16];
  memcpy(name, "handler-", 8);
  for (uint64_t i = 0; i < n; i++) {
    uint64_t k = i * 7919 % things;
    for (int d = 7; d >= 0; d--, k /= 10)
      name[8 + d] = (uint8_t)('0' + k % 10);
    found += (uintptr_t)nq_hdmap_find(names, name, 16);
  }
}

static const struct scenario {
  const char *name;
  void (*open)(uint64_t);
  uint64_t with;
  void (*run)(uint64_t);
} scenarios[] = {
    {"request", open_requests, 16, run_requests},        {"request, one outstanding", open_requests, 1, run_requests},
    {"record of 8 bytes", open_records, 8, run_records}, {"record of 1,000 bytes", open_records, 1000, run_records},
    {"datagram", open_datagrams, 100, run_datagrams},    {"handshake", open_handshakes, 0, run_handshakes},
    {"beside 100 idle", open_beside, 100, run_requests}, {"beside 10,000 idle", open_beside, 10000, run_requests},
    {"timers, 1", open_timers, 1, run_timers},           {"timers, 10,000", open_timers, 10000, run_timers},
    {"connection IDs, 1", open_cids, 1, run_cids},       {"connection IDs, 10,000", open_cids, 10000, run_cids},
    {"handlers, 1", open_handlers, 1, run_handlers},     {"handlers, 10,000", open_handlers, 10000, run_handlers},
};
enum { SCENARIOS = sizeof scenarios / sizeof *scenarios };

static const struct scenario *chosen;

__attribute__((visibility("default"))) int hot_path_open(const char *name) {
  for (int i = 0; i < SCENARIOS; i++)
    if (!strcmp(name, scenarios[i].name)) {
      chosen = &scenarios[i];
      chosen->open(chosen->with);
      return 0;
    }
  return -1;
}

__attribute__((visibility("default"), noinline)) void hot_path_run(uint64_t operations) { chosen->run(operations); }

/* callgrind counts from here to its return. */
__attribute__((visibility("default"), noinline, noipa)) void measured(uint64_t operations) { chosen->run(operations); }

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "list")) {
    for (int i = 0; i < SCENARIOS; i++)
      puts(scenarios[i].name);
    return 0;
  }
  uint64_t n = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
  if (!n || hot_path_open(argv[1])) {
    fprintf(stderr, "usage: hot_path NAME OPERATIONS, or hot_path list\n");
    return 2;
  }
  chosen->run(n < 1000 ? n : 1000); /* buffers have their sizes now */
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  CALLGRIND_START_INSTRUMENTATION;
  measured(n);
  clock_gettime(CLOCK_MONOTONIC, &b);
  double ns = (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
  printf("{\"name\": \"%s\", \"operations\": %llu, \"ns\": %.1f}\n", chosen->name, (unsigned long long)n,
         ns / (double)n);
  return 0;
}
