/* The engine alone, driven by C: what Python adds is measured against this, and this against the ceiling.
 *
 *     engine_bench rpc  [-n connections] [-m requests of each] [-w window]
 *     engine_bench bulk [-s seconds]
 *
 * Client and server are two processes. Prints one JSON line. Wants cert.pem and key.pem in the working directory. */
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

static int conns = 100, window = 16;
static uint64_t requests = 5000;
static double seconds = 2;
static const char *mode = "rpc";

static void die(const char *what) {
  fprintf(stderr, "engine_bench: %s\n", what);
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(int cpu) {
  cpu_set_t s;
  CPU_ZERO(&s);
  CPU_SET(cpu, &s);
  sched_setaffinity(0, sizeof s, &s);
}

static nq_tls *context(int server) {
  nq_tls_options o = {.server = server, .alpn = (const uint8_t *)"\x04nq/1", .alpn_len = 5, .insecure = !server};
  if (server) {
    o.cert.path = "cert.pem";
    o.key.path = "key.pem";
  }
  nq_tls *t;
  char err[256];
  if (nq_tls_new(&t, &o, err, sizeof err))
    die(err);
  return t;
}

static nq_loop *loop_new(void) {
  nq_loop *l;
  nq_loop_options o = {0};
  if (nq_loop_new(&l, &o))
    die("loop");
  return l;
}

static void server(int out) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  pin(0);
  nq_loop *l = loop_new();
  nq_endpoint_options o;
  memset(&o, 0, sizeof o);
  nq_addr_parse(&o.local, "127.0.0.1", 0);
  o.tls = context(1);
  o.hdmap = nq_hdmap_new();
  nq_hdmap_add(o.hdmap, "rpc", 3, NQ_KIND_RPC, 0, NULL);
  nq_hdmap_add(o.hdmap, "raw", 3, NQ_KIND_RAW, 0, NULL);
  nq_limits_default(&o.limits);
  uint32_t ep;
  nq_addr a;
  if (nq_endpoint_open(l, &o, &ep) || nq_endpoint_address(l, ep, &a) || write(out, &a, sizeof a) != sizeof a)
    die("listen");
  for (;;) {
    int n = nq_loop_poll(l, INT64_MAX);
    const nq_event *v = nq_loop_events(l);
    for (int i = 0; i < n; i++)
      if (v[i].kind == NQ_EV_RPC_REQUEST)
        nq_rpc_reply(l, v[i].handle, v[i].msgid, 0, v[i].data, v[i].len);
    nq_loop_flush(l);
  }
}

typedef struct client {
  nq_handle stream;
  uint64_t sent, done;
} client;

static void ask(nq_loop *l, client *c) {
  uint64_t v = c->sent++;
  if (nq_rpc_call(l, c->stream, 1, (const uint8_t *)&v, 8, 0, c, NULL) < 0)
    die("call");
}

static void run_client(const nq_addr *to) {
  pin(1);
  nq_loop *l = loop_new();
  nq_connect_options o;
  memset(&o, 0, sizeof o);
  o.remote = *to;
  o.tls = context(0);
  o.server_name = "localhost";
  nq_limits_default(&o.limits);
  int bulk = !strcmp(mode, "bulk"), opened = 0, finished = 0, connected = 0;
  if (bulk)
    conns = 1;
  client *c = calloc((size_t)conns, sizeof *c);
  uint64_t t0 = now_ns(), t1 = 0, sent = 0;
  for (int i = 0; i < conns; i++) {
    nq_handle h;
    if (nq_conn_connect(l, &o, &h))
      die("connect");
    nq_stream_options so = {.kind = bulk ? NQ_KIND_RAW : NQ_KIND_RPC, .name = bulk ? "raw" : "rpc", .name_len = 3,
                            .user = &c[i]};
    if (nq_stream_open(l, h, &so, &c[i].stream))
      die("stream");
  }
  nq_loop_flush(l);
  uint8_t *block = calloc(1, 65536);
  while (finished < conns) {
    int n = nq_loop_poll(l, 1000000000);
    for (int i = 0; i < n; i++) {
      const nq_event *e = &nq_loop_events(l)[i];
      if (e->kind == NQ_EV_CONN_CLOSE)
        die((const char *)e->data);
      connected += e->kind == NQ_EV_CONN_OPEN;
      if (e->kind == NQ_EV_STREAM_OPEN && ++opened == conns) {
        t1 = now_ns();
        if (!bulk)
          for (int k = 0; k < conns; k++)
            for (int w = 0; w < window; w++)
              ask(l, &c[k]);
      }
      if (e->kind == NQ_EV_RPC_REPLY) {
        client *k = e->user;
        uint64_t v;
        memcpy(&v, e->data, 8);
        if (e->flags || v != k->done)
          die("wrong reply");
        if (++k->done == requests)
          finished++;
        else if (k->sent < requests)
          ask(l, k);
      }
    }
    if (bulk && t1) {
      while (nq_stream_queued(l, c[0].stream) < 4u << 20) {
        nq_stream_send(l, c[0].stream, block, 65536);
        sent += 65536;
      }
      if ((double)(now_ns() - t1) > seconds * 1e9)
        break;
    }
    nq_loop_flush(l);
  }
  double dt = (double)(now_ns() - t1) / 1e9;
  nq_loop_stats s;
  nq_loop_get_stats(l, &s);
  if (bulk)
    printf("{\"mode\":\"bulk\",\"gbit_per_second\":%.3f,\"lost\":%lu}\n", (double)sent * 8 / dt / 1e9,
           (unsigned long)s.lost_packets);
  else
    printf("{\"mode\":\"rpc\",\"connections\":%d,\"window\":%d,\"requests_per_second\":%.0f,\"seconds\":%.3f,"
           "\"handshakes_per_second\":%.0f,\"tx_datagrams_per_call\":%.1f,\"ticks\":%lu}\n",
           conns, window, (double)requests * conns / dt, dt, conns / ((double)(t1 - t0) / 1e9),
           (double)s.tx_datagrams / (double)(s.tx_calls + 1), (unsigned long)s.ticks);
}

int main(int argc, char **argv) {
  if (argc > 1 && argv[1][0] != '-')
    mode = argv[1], optind = 2;
  int o;
  while ((o = getopt(argc, argv, "n:m:w:s:")) != -1)
    switch (o) {
    case 'n':
      conns = atoi(optarg);
      break;
    case 'm':
      requests = strtoull(optarg, NULL, 10);
      break;
    case 'w':
      window = atoi(optarg);
      break;
    case 's':
      seconds = atof(optarg);
      break;
    default:
      return 2;
    }
  if ((uint64_t)window > requests)
    window = (int)requests;
  int p[2];
  nq_addr a;
  if (pipe(p))
    die("pipe");
  pid_t pid = fork();
  if (!pid)
    server(p[1]);
  if (read(p[0], &a, sizeof a) != sizeof a)
    die("server");
  run_client(&a);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  return 0;
}
