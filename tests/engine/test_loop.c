/* test_loop.c: a client and a server over real UDP on loopback: the thin thread through every layer. */
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "loop/loop.h"
#include "quic/endpoint.h"
#include "world.h"

static void test_connect_and_call(void) {
  world w;
  world_open(&w, NULL);
  nq_handle conn = world_connect(&w, "localhost");
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  REQUIRE(world_until(&w, &w.s.count[NQ_EV_CONN_OPEN], 1, 5000));
  nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  for (int i = 0; i < 100; i++) {
    char data[32];
    int n = snprintf(data, sizeof data, "call %03d;", i);
    CHECK(nq_rpc_call(w.c.l, rpc, 1, (const uint8_t *)data, (size_t)n, 0, NULL, NULL) >= 0);
  }
  CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 100, 5000));
  CHECK_EQ(w.s.count[NQ_EV_RPC_REQUEST], 100);
  CHECK_EQ(w.c.n_kept, 900);
  for (int i = 0; i < 100 && w.c.n_kept == 900; i++) {
    char data[32];
    snprintf(data, sizeof data, "call %03d;", i);
    CHECK(memcmp(w.c.kept + i * 9, data, 9) == 0);
  }
  nq_loop_stats st;
  nq_loop_get_stats(w.c.l, &st);
  CHECK_EQ(st.pending_calls, 0);
  CHECK_EQ(st.connections, 1);
  CHECK_EQ(st.handshakes, 1);
  nq_conn_info info;
  CHECK_EQ(nq_conn_get_info(w.c.l, conn, &info), 0);
  CHECK(strcmp(info.alpn, "nq/1") == 0 && info.alpn_len == 4);
  CHECK_EQ(nq_conn_close(w.c.l, conn, 42, "bye", 3, 0), 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_CONN_CLOSE], 1, 5000));
  CHECK(world_until(&w, &w.s.count[NQ_EV_CONN_FREED], 1, 5000));
  CHECK_EQ(w.s.why, NQ_WHY_APP);
  CHECK_EQ(w.s.code, 42);
  CHECK(w.s.remote);
  CHECK(strcmp(w.s.reason, "bye") == 0);
  world_close(&w);
}

/* A name may have 255 bytes (RFC 7301 3.1), and is told whole. It outlives the handshake, and the connection's end. */
static void test_longest_alpn(void) {
  world w;
  char wire[257] = "\xff";
  for (int i = 1; i < 256; i++)
    wire[i] = (char)('a' + i % 26);
  world_alpn = wire;
  world_open(&w, NULL);
  world_alpn = "\x04nq/1";
  nq_conn_info info;
  nq_handle conn = world_connect(&w, "localhost");
  CHECK_EQ(nq_conn_get_info(w.c.l, conn, &info), 0);
  CHECK(info.alpn_len == 0 && info.alpn[0] == 0); /* not agreed yet */
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  REQUIRE(world_until(&w, &w.s.count[NQ_EV_CONN_OPEN], 1, 5000));
  CHECK_EQ(nq_conn_close(w.c.l, conn, 0, "", 0, 0), 0);
  for (int i = 0; i < 2; i++) {
    CHECK_EQ(i ? nq_conn_get_info(w.c.l, conn, &info) : nq_conn_get_info(w.s.l, w.s.conn, &info), 0);
    CHECK(info.alpn_len == 255 && strcmp(info.alpn, wire + 1) == 0);
    CHECK(world_until(&w, &w.c.count[NQ_EV_CONN_CLOSE], 1, 5000));
  }
  world_close(&w);
}

/* What other threads ask for is bounded, by number and by bytes, and the bound is free again after a tick. */
static void test_posts_are_bounded(void) {
  world w;
  world_open(&w, NULL);
  nq_loop *l = w.c.l;
  size_t n = 0;
  while (n <= 1u << 20 && nq_loop_post(l, NQ_POST_TASK, 0, 0, 0, 0, &w, NULL, 0) == 0)
    n++;
  CHECK_EQ(n, 1u << 20);
  CHECK_EQ(nq_loop_post(l, NQ_POST_NOTIFY, 0, 1, 0, 0, NULL, NULL, 0), NQ_ERR_FULL);
  CHECK(world_until(&w, &w.c.count[NQ_EV_TASK], (uint32_t)n, 5000));
  static uint8_t data[64u << 20];
  for (n = 0; n < 8 && nq_loop_post(l, NQ_POST_SEND, 0, 0, 0, 0, NULL, data, sizeof data) == 0;)
    n++;
  CHECK_EQ(n, 4);
  CHECK_EQ(nq_loop_post(l, NQ_POST_TASK, 0, 0, 0, 0, &w, NULL, 0), 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_TASK], (1u << 20) + 1, 5000));
  CHECK_EQ(nq_loop_post(l, NQ_POST_SEND, 0, 0, 0, 0, NULL, data, sizeof data), 0);
  world_close(&w);
}

/* After traffic, and only then, it looks for packets before it sleeps; a wake-up ends that, and the time can be taken
 * away. */
static void test_busy_poll(void) {
  world w;
  world_loop.busy_poll = NQ_SEC(3600);
  world_open(&w, NULL);
  nq_loop *l = w.c.l;
  CHECK_EQ(nq_loop_spin_left(l), 0);
  nq_handle conn = world_connect(&w, "localhost");
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  for (uint32_t i = 1; i <= 100; i++) {
    CHECK(nq_rpc_call(l, rpc, 1, NULL, 0, 0, NULL, NULL) >= 0);
    CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], i, 5000));
  }
  CHECK(nq_loop_spin_left(l) > 0);
  nq_loop_stats before, after;
  nq_loop_get_stats(l, &before);
  CHECK(before.busy_poll_hits > 0);
  CHECK(before.busy_poll_hits <= before.busy_polls);
  world_run(&w, 50); /* until the last acknowledgement */
  nq_loop_get_stats(l, &before);
  nq_loop_wake(l);
  side_tick(&w.c, INT64_MAX); /* the wake-up is known at once */
  nq_loop_get_stats(l, &after);
  CHECK_EQ(after.busy_polls, before.busy_polls);
  side_tick(&w.c, 1000); /* no longer than that */
  nq_loop_get_stats(l, &after);
  CHECK(after.busy_polls > before.busy_polls);
  nq_loop_set_busy_poll(l, 0);
  CHECK_EQ(nq_loop_spin_left(l), 0);
  nq_loop_get_stats(l, &before);
  CHECK(nq_rpc_call(l, rpc, 1, NULL, 0, 0, NULL, NULL) >= 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 101, 5000));
  nq_loop_get_stats(l, &after);
  CHECK_EQ(after.busy_polls, before.busy_polls);
  world_loop.busy_poll = 0;
  world_close(&w);
}

/* A forked child shares sockets and keys with its parent: whatever it does, nothing leaves and nothing is taken. */
static void test_fork(void) {
  world w;
  world_open(&w, NULL);
  nq_handle conn = world_connect(&w, "localhost");
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], 1, 5000));
  nq_handle rpc = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  fflush(NULL);
  pid_t pid = fork();
  if (!pid) {
    nq_rpc_call(w.c.l, rpc, 1, (const uint8_t *)"child", 5, 0, NULL, NULL);
    int good = nq_loop_inherited(w.c.l) && nq_loop_poll(w.c.l, 0) == NQ_ERR_FORKED && nq_loop_flush(w.c.l) == 0;
    good &= nq_loop_post(w.s.l, NQ_POST_TASK, 0, 0, 0, 0, NULL, NULL, 0) == NQ_ERR_FORKED;
    nq_conn_close(w.c.l, conn, 42, "bye", 3, 0);
    nq_loop_free(w.c.l);
    nq_loop_free(w.s.l);
    _exit(!good);
  }
  int status = -1;
  REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
  CHECK_EQ(status, 0);
  CHECK(!nq_loop_inherited(w.c.l));
  CHECK(nq_rpc_call(w.c.l, rpc, 1, (const uint8_t *)"parent", 6, 0, NULL, NULL) >= 0);
  CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], 1, 5000));
  CHECK_EQ(w.s.count[NQ_EV_RPC_REQUEST], 1);
  CHECK_EQ(w.c.count[NQ_EV_CONN_CLOSE] + w.s.count[NQ_EV_CONN_CLOSE], 0);
  world_close(&w);
}

/* Small packets of many connections to one address leave in few messages. */
static void test_shared_messages(void) {
  enum { N = 16 };
  static const uint8_t data[100];
  world w;
  nq_handle conns[N];
  nq_loop_stats before, after;
  world_open(&w, NULL);
  for (uint32_t i = 0; i < N; i++) {
    conns[i] = world_connect(&w, "localhost");
    REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], i + 1, 5000));
  }
  world_run(&w, 100); /* handshakes are confirmed, packet sizes probed */
  nq_loop_get_stats(w.c.l, &before);
  for (int i = 0; i < N; i++)
    CHECK_EQ(nq_conn_send_datagram(w.c.l, conns[i], data, sizeof data), 0);
  nq_loop_flush(w.c.l);
  nq_loop_get_stats(w.c.l, &after);
  CHECK(after.tx_datagrams - before.tx_datagrams >= N);
  if (after.gso)
    CHECK(after.tx_messages - before.tx_messages <= N / 4);
  CHECK(world_until(&w, &w.c.count[NQ_EV_DATAGRAM], N, 5000));
  world_close(&w);
}

/* More connections than the caches hold: what is asked for ahead of their packets is right also of those that have
 * ended, as many messages are taken next as had 128 connections (of a train each packet may be another one's), and what
 * as many have written is sent before the others write. */
static int end_every_third(side *x, const nq_event *e) {
  if (e->kind != NQ_EV_RPC_REQUEST || !x->hook_ctx)
    return 0;
  nq_handle conn = nq_stream_conn(x->l, e->handle);
  if ((uint32_t)conn % 3 == 0)
    nq_conn_close(x->l, conn, 7, "enough", 6, 1);
  return 0;
}

static void test_many_connections(void) {
  enum { N = 300, ROUNDS = 4, TICK = 128 };
  world w;
  nq_handle rpcs[N];
  world_open(&w, NULL);
  w.s.hook = end_every_third;
  for (uint32_t i = 0; i < N; i++) {
    nq_handle conn = world_connect(&w, "localhost");
    REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], i + 1, 5000));
    rpcs[i] = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  }
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_STREAM_OPEN], N, 5000));
  world_run(&w, 100); /* handshakes are confirmed, packet sizes known */
  const nq_io *io = nq_endpoint_get(&w.s.l->hub, w.s.ep)->io;
  for (uint32_t round = 1; round <= ROUNDS; round++) {
    if (round == ROUNDS)
      w.s.hook_ctx = &w; /* now some end, while requests of theirs are on their way */
    for (int i = 0; i < N; i++)
      for (int k = 0; k < 8; k++)
        CHECK(nq_rpc_call(w.c.l, rpcs[i], 1, (const uint8_t *)"abcdefgh", 8, 0, NULL, NULL) >= 0);
    nq_loop_stats before, after;
    nq_loop_get_stats(w.c.l, &before);
    nq_loop_flush(w.c.l);
    nq_loop_get_stats(w.c.l, &after);
    CHECK(after.tx_datagrams - before.tx_datagrams <= TICK * (after.tx_calls - before.tx_calls));
    for (int waits = 0; w.c.count[NQ_EV_RPC_REPLY] < N * 8 * round && waits < 5000; waits++) {
      uint64_t messages = io->stats.rx_messages, requests = w.s.count[NQ_EV_RPC_REQUEST];
      side_tick(&w.s, 1000000);
      messages = io->stats.rx_messages - messages;
      requests = w.s.count[NQ_EV_RPC_REQUEST] - requests;
      if (requests) { /* of that many connections, an eighth, or more: so many messages next */
        CHECK(io->rx_most >= 1);
        CHECK(io->rx_most <= 1 || io->rx_most <= messages * TICK * 8 / requests);
      }
      side_tick(&w.c, 0);
    }
    CHECK_EQ(w.c.count[NQ_EV_RPC_REPLY], N * 8 * round); /* those of the ended ones are told too */
  }
  CHECK(w.c.count[NQ_EV_CONN_CLOSE] >= N / 3);
  CHECK(w.c.count[NQ_EV_CONN_CLOSE] < N / 2);
  CHECK_EQ(w.c.code, 7);
  world_close(&w);
}

/* Of many connections few are busy: one half of them writes and is sent, then the other. */
static void test_few_busy(void) {
  enum { N = 200, BUSY = 60 };
  world w;
  nq_handle rpcs[BUSY];
  world_open(&w, NULL);
  for (uint32_t i = 0; i < N; i++) {
    nq_handle conn = world_connect(&w, "localhost");
    REQUIRE(world_until(&w, &w.c.count[NQ_EV_CONN_OPEN], i + 1, 5000));
    if (i < BUSY)
      rpcs[i] = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  }
  REQUIRE(world_until(&w, &w.c.count[NQ_EV_STREAM_OPEN], BUSY, 5000));
  world_run(&w, 100); /* handshakes are confirmed, packet sizes known */
  nq_loop_stats before, after;
  for (uint32_t round = 1; round <= 20; round++) {
    for (int i = 0; i < BUSY; i++)
      CHECK(nq_rpc_call(w.c.l, rpcs[i], 1, (const uint8_t *)"abcdefgh", 8, 0, NULL, NULL) >= 0);
    nq_loop_get_stats(w.c.l, &before);
    nq_loop_flush(w.c.l);
    nq_loop_get_stats(w.c.l, &after);
    CHECK(world_until(&w, &w.c.count[NQ_EV_RPC_REPLY], round * BUSY, 5000));
  }
  CHECK(after.tx_datagrams - before.tx_datagrams <= (BUSY / 2 + 1) * (after.tx_calls - before.tx_calls));
  world_close(&w);
}

int main(void) {
  RUN(test_connect_and_call);
  RUN(test_longest_alpn);
  RUN(test_posts_are_bounded);
  RUN(test_busy_poll);
  RUN(test_fork);
  RUN(test_shared_messages);
  RUN(test_many_connections);
  RUN(test_few_busy);
  CHECK_DONE();
}
