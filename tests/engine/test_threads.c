/* test_threads.c: three loops serve one address, each in its thread; four foreign threads post everything there is to
 * post and ask what is alive, while clients come and go. Run it with SAN=tsan too. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/filter.h>
#include <sys/socket.h>
#endif

#include "certs.h"
#include "check.h"
#include "loop/loop.h"
#include "loop/wait.h"
#include "world.h"

#define MS UINT64_C(1000000)
#define WORKERS 3
#define FOREIGN 4
#define KEPT 64

typedef struct worker {
  nq_loop *l;
  uint32_t ep;
  pthread_t thread;
  atomic_int stop;
  _Atomic nq_handle streams[KEPT], records[KEPT], conns[KEPT], alarms[KEPT]; /* seen lately: alive or not */
  _Atomic uint64_t tasks, replies; /* events of what foreign threads posted */
  uint64_t opened, freed, requests, streams_opened, records_opened, streams_closed, heard, notes, closed_by_post, wrong;
} worker;

static int mark; /* user of what foreign threads post */
static int record; /* user of record streams */
static atomic_uint posted_tasks, posted_calls;

static uint64_t clock_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One that is due soon takes the place of another, whose handle foreign threads may hold. */
static void renew_alarm(worker *w, uint64_t i) {
  nq_handle fresh = 0, old = w->alarms[i];
  w->wrong += nq_alarm_new(w->l, &mark, &fresh) != 0;
  w->wrong += nq_alarm_set(w->l, fresh, nq_loop_now(w->l) + i * MS) != 0;
  w->alarms[i] = fresh;
  if (old)
    w->wrong += nq_alarm_free(w->l, old) != &mark;
}

static void serve(worker *w, const nq_event *e) {
  nq_loop *l = w->l;
  switch (e->kind) {
  case NQ_EV_CONN_OPEN:
    w->conns[w->opened++ % KEPT] = e->handle;
    break;
  case NQ_EV_CONN_FREED:
    w->freed++;
    break;
  case NQ_EV_CONN_CLOSE:
    w->closed_by_post += !(e->flags & NQ_EVF_REMOTE) && e->code == 77;
    break;
  case NQ_EV_STREAM_OPEN:
    if (e->user == &record) {
      w->records[w->records_opened++ % KEPT] = e->handle;
      break;
    }
    w->streams[w->streams_opened % KEPT] = e->handle;
    renew_alarm(w, w->streams_opened++ % KEPT);
    break;
  case NQ_EV_STREAM_CLOSE:
    w->streams_closed++;
    break;
  case NQ_EV_STREAM_RECORD: /* of a foreign thread of the other side, or a client's empty first one */
    w->heard += e->len > 0;
    w->wrong += e->len > 0 && (e->data[0] != 1 || (e->len > 3 && e->data[e->len - 1] != 0));
    break;
  case NQ_EV_RPC_NOTIFY:
    w->notes++;
    w->wrong += e->type != 3;
    break;
  case NQ_EV_STREAM_FIN:
    nq_stream_finish(l, e->handle);
    break;
  case NQ_EV_RPC_REQUEST:
    w->requests++;
    nq_rpc_reply(l, e->handle, e->msgid, 0, e->data, e->len);
    break;
  case NQ_EV_RPC_REPLY:
    if (e->user == &mark)
      w->replies++;
    break;
  case NQ_EV_TASK:
    w->wrong += e->user != &mark;
    w->tasks++;
    break;
  default:
    break;
  }
}

static void tick(worker *w, int64_t wait) {
  int n = nq_loop_poll(w->l, wait);
  if (n < 0)
    w->wrong++;
  for (int i = 0; i < n; i++) {
    nq_event e = nq_loop_events(w->l)[i];
    serve(w, &e);
  }
  nq_loop_flush(w->l);
}

static void *work(void *arg) {
  worker *w = arg;
  nq_loop_adopt(w->l);
  w->wrong += !nq_loop_is_owner(w->l);
  while (!atomic_load(&w->stop))
    tick(w, 5 * (int64_t)MS);
  return NULL;
}

/* ---- the servers ---- */

typedef struct servers {
  worker w[WORKERS];
  nq_group *group;
  nq_hdmap *map;
  nq_tls *stls, *ctls;
  nq_limits limits;
  nq_addr address;
} servers;

static void servers_open(servers *s) {
  memset(s, 0, sizeof *s);
  nq_test_cert *ca = nq_test_make_ca("test CA"), *leaf = nq_test_make_leaf(ca, "localhost", NULL, 0);
  s->stls = world_tls(ca, leaf);
  s->ctls = world_tls(ca, NULL);
  nq_test_cert_free(leaf);
  nq_test_cert_free(ca);
  nq_limits_default(&s->limits);
  s->map = nq_hdmap_new();
  nq_hdmap_add(s->map, "rpc", 3, NQ_KIND_RPC, 500 * MS, NULL);
  nq_hdmap_add(s->map, "rec", 3, NQ_KIND_RECORD, 0, &record);
  s->group = nq_group_new(WORKERS);
  REQUIRE(nq_addr_parse(&s->address, "127.0.0.1", 0) == 0);
  for (uint32_t i = 0; i < WORKERS; i++) {
    worker *w = &s->w[i];
    REQUIRE(nq_loop_new(&w->l, &world_loop) == 0);
    REQUIRE(nq_group_join(s->group, w->l, i) == 0);
    CHECK_EQ(nq_group_join(s->group, w->l, i), NQ_ERR_ARG);
    nq_endpoint_options o;
    memset(&o, 0, sizeof o);
    o.local = s->address;
    o.reuseport = 1;
    o.tls = s->stls;
    o.hdmap = s->map;
    o.limits = s->limits;
    REQUIRE(nq_endpoint_open(w->l, &o, &w->ep) == 0);
    CHECK_EQ(w->ep, 1);
    REQUIRE(nq_endpoint_address(w->l, w->ep, &s->address) == 0);
  }
}

/* Every datagram goes to a socket chosen by chance, whatever its connection ID says. */
static int scatter(servers *s) {
#if defined(__linux__) && defined(SO_ATTACH_REUSEPORT_CBPF)
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM)),
      BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, WORKERS),
      BPF_STMT(BPF_RET | BPF_A, 0),
  };
  struct sock_fprog program = {3, code};
  int fd = nq_endpoint_fd(s->w[0].l, s->w[0].ep);
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) == 0;
#else
  (void)s;
  return 0;
#endif
}

static void servers_start(servers *s) {
  for (int i = 0; i < WORKERS; i++)
    REQUIRE(pthread_create(&s->w[i].thread, NULL, work, &s->w[i]) == 0);
}

static void servers_stop(servers *s) {
  for (int i = 0; i < WORKERS; i++) {
    atomic_store(&s->w[i].stop, 1);
    nq_loop_wake(s->w[i].l);
  }
  for (int i = 0; i < WORKERS; i++)
    pthread_join(s->w[i].thread, NULL);
}

static void servers_close(servers *s) {
  for (int i = 0; i < WORKERS; i++)
    nq_loop_free(s->w[i].l);
  nq_group_unref(s->group);
  nq_hdmap_unref(s->map);
  nq_tls_unref(s->stls);
  nq_tls_unref(s->ctls);
}

/* ---- clients, all in one loop of the main thread ---- */

#define CLIENTS 24

typedef struct clients {
  worker w; /* its loop can be posted to as well */
  nq_handle conn[CLIENTS], rpc[CLIENTS];
  uint32_t calls[CLIENTS], replies[CLIENTS];
  uint64_t rounds, broken;
} clients;

static void client_open(clients *c, servers *s, uintptr_t i) {
  nq_connect_options o;
  memset(&o, 0, sizeof o);
  o.remote = s->address;
  o.tls = s->ctls;
  o.server_name = "localhost";
  o.limits = s->limits;
  o.user = (void *)(i + 1);
  REQUIRE(nq_conn_connect(c->w.l, &o, &c->conn[i]) == 0);
  nq_stream_options so = {.kind = NQ_KIND_RPC, .name = "rpc", .name_len = 3, .call_timeout = NQ_SEC(20)};
  REQUIRE(nq_stream_open(c->w.l, c->conn[i], &so, &c->rpc[i]) == 0);
  nq_stream_options ro = {.kind = NQ_KIND_RECORD, .name = "rec", .name_len = 3, .user = &record};
  nq_handle rec;
  REQUIRE(nq_stream_open(c->w.l, c->conn[i], &ro, &rec) == 0);
  REQUIRE(nq_stream_send(c->w.l, rec, NULL, 0) >= 0); /* so that the server hears of it */
  c->calls[i] = c->replies[i] = 0;
}

#define CALLS 30 /* of one connection, before it makes way for the next */

static void client_call(clients *c, uintptr_t i) {
  uint8_t p[300];
  memset(p, (int)(c->calls[i] * 7 + i), sizeof p);
  size_t n = (c->calls[i] * 31 + i) % sizeof p;
  if (nq_rpc_call(c->w.l, c->rpc[i], 5, p, n, 0, (void *)(i + 1), NULL) >= 0)
    c->calls[i]++;
}

static void client_event(clients *c, servers *s, const nq_event *e) {
  if (e->kind == NQ_EV_CONN_CLOSE)
    nq_conn_free(c->w.l, e->handle);
  if (e->kind == NQ_EV_CONN_FREED) {
    uintptr_t i = (uintptr_t)e->user - 1;
    c->broken += c->calls[i] != CALLS;
    c->rounds++;
    client_open(c, s, i);
    return;
  }
  if (e->kind == NQ_EV_STREAM_OPEN && e->flags & NQ_EVF_OUTGOING)
    for (uintptr_t i = 0; i < CLIENTS; i++)
      if (c->rpc[i] == e->handle)
        client_call(c, i);
  uintptr_t i = (uintptr_t)e->user - 1;
  if (e->kind == NQ_EV_RPC_REPLY && e->user != &mark && i < CLIENTS && !(e->flags & NQ_EVF_LOCAL)) {
    uint32_t call = c->replies[i]++;
    if (e->handle == c->rpc[i]) {
      c->w.wrong += e->len != (call * 31 + i) % 300;
      for (size_t k = 0; k < e->len; k++)
        c->w.wrong += e->data[k] != (uint8_t)(call * 7 + i);
      if (c->calls[i] < CALLS)
        client_call(c, i);
      else
        nq_conn_close(c->w.l, c->conn[i], 0, "", 0, 0);
    }
    return;
  }
  serve(&c->w, e);
}

static void clients_run(clients *c, servers *s, uint64_t ms) {
  uint64_t until = clock_now() + ms * MS;
  while (clock_now() < until) {
    int n = nq_loop_poll(c->w.l, 2 * (int64_t)MS);
    REQUIRE(n >= 0);
    for (int i = 0; i < n; i++) {
      nq_event e = nq_loop_events(c->w.l)[i];
      client_event(c, s, &e);
    }
    nq_loop_flush(c->w.l);
  }
}

static clients *clients_open(servers *s) {
  clients *c = calloc(1, sizeof *c);
  REQUIRE(c != NULL);
  REQUIRE(nq_loop_new(&c->w.l, &world_loop) == 0);
  for (uintptr_t i = 0; i < CLIENTS; i++)
    client_open(c, s, i);
  return c;
}

static void clients_close(clients *c) {
  nq_loop_free(c->w.l);
  free(c);
}

/* ---- tests ---- */

static void group(int scattered) {
  servers s;
  servers_open(&s);
  int made = scattered && scatter(&s);
  servers_start(&s);
  clients *c = clients_open(&s);
  clients_run(c, &s, 1500);
  servers_stop(&s);
  CHECK(c->rounds > CLIENTS);
  CHECK_EQ(c->broken, 0);
  CHECK_EQ(c->w.wrong, 0);
  uint64_t forwarded = 0, opened = 0;
  for (int i = 0; i < WORKERS; i++) {
    nq_loop_stats st;
    nq_loop_get_stats(s.w[i].l, &st);
    forwarded += st.forwarded;
    opened += s.w[i].opened;
    CHECK(s.w[i].opened > 0); /* each has its share */
    CHECK_EQ(s.w[i].wrong, 0);
    CHECK_EQ(st.resets_sent, 0);
  }
  CHECK(opened >= c->rounds);
  if (made)
    CHECK(forwarded > 1000);
  printf("    %u connections, %u packets forwarded\n", (unsigned)opened, (unsigned)forwarded);
  clients_close(c);
  servers_close(&s);
}

static void test_group_steered(void) { group(0); }
static void test_group_forwarding(void) { group(1); }

typedef struct foreign {
  servers *s;
  clients *c;
  atomic_int *stop;
  unsigned seed;
  uint64_t streams, conns, alarms, posts, wrong;
} foreign;

static void *meddle(void *arg) {
  foreign *f = arg;
  uint8_t data[200] = {1, 2, 3};
  while (!atomic_load(f->stop)) {
    unsigned r = f->seed = f->seed * 1103515245u + 12345u;
    worker *w = (r >> 8) % 4 == 3 ? &f->c->w : &f->s->w[(r >> 8) % 4];
    nq_handle st = w->streams[(r >> 12) % KEPT], co = w->conns[(r >> 12) % KEPT];
    nq_handle rec = r & 2 ? w->records[(r >> 12) % KEPT] : st; /* or of the wrong kind: dropped */
    size_t n = (r >> 16) % sizeof data;
    nq_loop *l = w->l;
    switch ((r >> 20) % 16) {
    case 0:
    case 1:
    case 2:
      f->wrong += nq_loop_post(l, NQ_POST_CALL, st, 3, 0, 300 * MS, &mark, data, n) != 0;
      posted_calls++;
      break;
    case 3:
    case 4:
      f->wrong += nq_loop_post(l, NQ_POST_NOTIFY, st, 3, 0, 0, NULL, data, n) != 0;
      break;
    case 5:
      f->wrong += nq_loop_post(l, NQ_POST_REPLY, st, 0, 1000000 + r % 50, 0, NULL, data, n) != 0; /* to nothing */
      break;
    case 6:
      f->wrong += nq_loop_post(l, NQ_POST_SEND, rec, 0, 0, 0, NULL, data, n) != 0;
      break;
    case 7:
    case 8:
    case 9:
      f->wrong += nq_loop_post(l, NQ_POST_TASK, r & 1 ? st : 0, 0, 0, 0, &mark, NULL, 0) != 0;
      posted_tasks++;
      break;
    case 10:
      if (r % 8 == 0)
        f->wrong += nq_loop_post(l, NQ_POST_STREAM_CLOSE, rec, 0, 0, 0, NULL, NULL, 0) != 0;
      break;
    case 11:
      if (r % 16 == 0)
        f->wrong += nq_loop_post(l, NQ_POST_CONN_CLOSE, co, 0, 77, 0, NULL, (const uint8_t *)"foreign", 7) != 0;
      break;
    case 12:
      nq_loop_wake(l);
      break;
    case 13:
      f->streams += (unsigned)nq_stream_alive(l, rec);
      f->conns += (unsigned)nq_conn_alive(l, co);
      f->alarms += (unsigned)nq_alarm_alive(l, w->alarms[(r >> 12) % KEPT]);
      f->wrong += nq_loop_is_owner(l) != 0;
      break;
    case 14:
      f->wrong += nq_loop_post(l, (nq_post_op)99, st, 0, 0, 0, NULL, NULL, 0) != NQ_ERR_ARG;
      break;
    default: {
      struct timespec t = {0, (long)(r % 200000)};
      nanosleep(&t, NULL);
    }
    }
    f->posts++;
  }
  return NULL;
}

static void test_posts(void) {
  servers s;
  servers_open(&s);
  servers_start(&s);
  clients *c = clients_open(&s);
  pthread_t t[FOREIGN];
  foreign f[FOREIGN];
  atomic_int stop = 0;
  for (unsigned i = 0; i < FOREIGN; i++) {
    f[i] = (foreign){.s = &s, .c = c, .stop = &stop, .seed = i * 7 + 1};
    REQUIRE(pthread_create(&t[i], NULL, meddle, &f[i]) == 0);
  }
  const char *seconds = getenv("NAQUID_TEST_SECONDS"); /* the thread sanitizer's run takes 20 */
  clients_run(c, &s, seconds ? (uint64_t)(atof(seconds) * 1000) : 3000);
  atomic_store(&stop, 1);
  for (int i = 0; i < FOREIGN; i++) {
    pthread_join(t[i], NULL);
    CHECK(f[i].posts > 100);
    CHECK(f[i].streams > 0 && f[i].conns > 0 && f[i].alarms > 0);
    CHECK_EQ(f[i].wrong, 0);
  }
  clients_run(c, &s, 1000); /* the last calls time out */
  servers_stop(&s);
  uint64_t tasks = c->w.tasks, replies = c->w.replies, heard = 0, notes = 0, closed = 0;
  for (int i = 0; i < WORKERS; i++) {
    tasks += s.w[i].tasks;
    replies += s.w[i].replies;
    heard += s.w[i].heard;
    notes += s.w[i].notes;
    closed += s.w[i].closed_by_post;
    CHECK(s.w[i].opened > 1 && s.w[i].freed > 0 && s.w[i].streams_closed > 0); /* they come and go */
    CHECK_EQ(s.w[i].wrong, 0);
  }
  CHECK_EQ(tasks, posted_tasks); /* each exactly once */
  CHECK_EQ(replies, posted_calls);
  CHECK_EQ(c->w.wrong, 0);
  CHECK(c->rounds > 0);
  CHECK(c->w.heard > 0 && c->w.notes > 0); /* what was posted to a server has come */
  CHECK(heard > 0 && notes > 0 && closed > 0);
  printf("    %u tasks, %u calls, %u records, %u notifies, %u connections\n", (unsigned)tasks, (unsigned)replies,
         (unsigned)(heard + c->w.heard), (unsigned)(notes + c->w.notes), (unsigned)c->rounds);
  clients_close(c);
  servers_close(&s);
}

static void *wake_later(void *arg) {
  struct timespec t = {0, 50000000};
  nanosleep(&t, NULL);
  nq_loop_wake(arg);
  return NULL;
}

static void *wake_a_lot(void *arg) {
  for (int i = 0; i < 20000; i++)
    nq_loop_wake(arg);
  return NULL;
}

static void test_wake(void) {
  nq_loop *l;
  REQUIRE(nq_loop_new(&l, &world_loop) == 0);
  pthread_t t[FOREIGN];
  REQUIRE(pthread_create(&t[0], NULL, wake_later, l) == 0);
  uint64_t start = clock_now();
  CHECK_EQ(nq_loop_poll(l, INT64_MAX), 0); /* would sleep for ever */
  nq_loop_flush(l);
  CHECK(clock_now() - start >= 45 * MS);
  pthread_join(t[0], NULL);
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < FOREIGN; i++)
      REQUIRE(pthread_create(&t[i], NULL, wake_a_lot, l) == 0);
    for (int i = 0; i < 2000; i++) {
      nq_loop_poll(l, 0);
      nq_loop_flush(l);
    }
    for (int i = 0; i < FOREIGN; i++)
      pthread_join(t[i], NULL);
    nq_loop_poll(l, 0);
    nq_loop_flush(l);
    nq_loop_poll(l, 0);
    nq_loop_flush(l);
    start = clock_now(); /* what is over does not keep it awake */
    nq_loop_poll(l, 20 * (int64_t)MS);
    nq_loop_flush(l);
    CHECK(clock_now() - start >= 19 * MS);
  }
  /* The write of a wake-up that lands after the inbox was emptied for it: one more look, then sleep. */
  l->wait->ops->wake(l->wait);
  nq_loop_poll(l, 0);
  nq_loop_flush(l);
  start = clock_now();
  nq_loop_poll(l, 20 * (int64_t)MS);
  nq_loop_flush(l);
  CHECK(clock_now() - start >= 19 * MS);
  /* A loop that goes away with posts in its inbox. */
  CHECK_EQ(nq_loop_post(l, NQ_POST_TASK, 0, 0, 0, 0, NULL, (const uint8_t *)"x", 1), 0);
  nq_loop_free(l);
}

int main(void) {
  RUN(test_wake);
  RUN(test_group_steered);
  RUN(test_group_forwarding);
  RUN(test_posts);
  CHECK_DONE();
}
