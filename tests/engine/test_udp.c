// needs: io/backend.c io/udp.c io/udp_common.c io/udp_error.c io/udp_linux.c io/udp_steer.c base/fork.c base/addr.c
/* UDP sockets over loopback: the same datagrams arrive whole by every path. */
#include <fcntl.h>

#include "udp_util.h"

/* Opening */

static void test_open(void) {
  nq_io *a = open_on("127.0.0.1");
  CHECK(a->fd >= 0);
  CHECK(fcntl(a->fd, F_GETFL) & O_NONBLOCK);
  CHECK(fcntl(a->fd, F_GETFD) & FD_CLOEXEC);
  CHECK(nq_addr_port(&a->local) != 0);
  CHECK_EQ(a->local.len, sizeof a->local.in);
  CHECK_EQ(a->caps.rcvbuf_asked, 16 << 20);
  CHECK(a->caps.rcvbuf > 0 && a->caps.rcvbuf <= a->caps.rcvbuf_asked);
  CHECK(a->caps.sndbuf > 0);
  CHECK(!a->caps.pktinfo);
  expect_nothing(a);
#ifdef __linux__
  CHECK(a->caps.mmsg && a->caps.gso && a->caps.gro && a->caps.ecn);
#endif
  nq_backend_options o = options("127.0.0.1");
  nq_io *b;
  o.local = a->local;
  CHECK_EQ(best.backend->open(&b, best.shared, &o), -EADDRINUSE);
  CHECK(!b);
  o.local.len = 0;
  CHECK_EQ(best.backend->open(&b, best.shared, &o), -EAFNOSUPPORT);
  o = options("192.0.2.1");
  CHECK_EQ(best.backend->open(&b, best.shared, &o), -EADDRNOTAVAIL);
  o = options("127.0.0.1");
  o.buffer_size = 20000;
  use_portable = 1;
  b = open_with(o);
  use_portable = 0;
  CHECK(!b->caps.mmsg && !b->caps.gso && !b->caps.gro && !b->caps.ecn);
  CHECK_EQ(b->caps.rcvbuf_asked, 20000);
  CHECK_EQ(b->caps.rcvbuf, 20000);
  close_both(a, b);
  o = options("127.0.0.1");
  o.no_gso = o.no_gro = o.no_ecn = 1;
  a = open_with(o);
  CHECK(!a->caps.gso && !a->caps.gro && !a->caps.ecn);
  a->ops->close(a);
}

static void test_v6only(void) {
  nq_backend_options o = options("::");
  o.v6only = 1;
  nq_io *six = open_with(o), *four = NULL;
  o = options("0.0.0.0");
  o.local.in.sin_port = six->local.in6.sin6_port;
  CHECK_EQ(best.backend->open(&four, best.shared, &o), 0);
  nq_io *both = NULL;
  o = options("::");
  o.local.in6.sin6_port = six->local.in6.sin6_port;
  CHECK_EQ(best.backend->open(&both, best.shared, &o), -EADDRINUSE);
  REQUIRE(four);
  close_both(six, four);
}

/* A socket of somebody else's: a duplicate of it is used, and what it has that we need not is left alone. */
static void given(void) {
  nq_backend_options o = options("127.0.0.1");
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  REQUIRE(fd >= 0);
  o.has_socket = 1;
  o.socket = fd;
  o.local = addr("192.0.2.1", 1); /* of no account */
  nq_io *a = open_on("127.0.0.1"), *b = NULL;
  CHECK_EQ(used()->backend->open(&b, used()->shared, &o), -EDESTADDRREQ);
  nq_addr own = addr("127.0.0.1", 0);
  REQUIRE(!bind(fd, &own.sa, own.len));
  b = open_with(o);
  CHECK(b->fd != fd);
  CHECK(fcntl(b->fd, F_GETFD) & FD_CLOEXEC);
  CHECK(nq_addr_port(&b->local) != 0);
  push(a, b, 0, 8, 100, 100);
  flush(a);
  expect(b, a, 0, 8, 100, 100);
  push(b, a, 0, 8, 100, 100);
  flush(b);
  expect(a, b, 0, 8, 100, 100);
  b->ops->close(b);
  CHECK(fcntl(fd, F_GETFD) >= 0); /* the caller's own is open still */
  REQUIRE(!connect(fd, &a->local.sa, a->local.len));
  CHECK_EQ(used()->backend->open(&b, used()->shared, &o), -EISCONN);
  close(fd);
  CHECK_EQ(used()->backend->open(&b, used()->shared, &o), -EBADF);
  o.socket = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_EQ(used()->backend->open(&b, used()->shared, &o), -EPROTOTYPE);
  close(o.socket);
  o.socket = socket(AF_UNIX, SOCK_DGRAM, 0);
  CHECK_EQ(used()->backend->open(&b, used()->shared, &o), -EAFNOSUPPORT);
  close(o.socket);
  a->ops->close(a);
}

static void test_given(void) {
  given();
  use_portable = 1;
  given();
  use_portable = 0;
}

/* What the kernel drops as the receive buffer is full: it says so beside the next datagram that fits. */
static void overflows(void) {
#ifdef SO_RXQ_OVFL
  nq_backend_options o = options("127.0.0.1");
  o.buffer_size = 1; /* as small as it gets */
  o.no_gro = 1;
  nq_io *a = open_on("127.0.0.1"), *b = open_with(o);
  const nq_datagram *v;
  uint32_t got = 0;
  for (int i = 0; i < 100; i++) {
    push(a, b, 0, 1, 1000, 1000);
    flush(a);
  }
  for (int n; (n = b->ops->recv(b, &v)) > 0;)
    got += (uint32_t)n;
  CHECK(got > 0 && got < 100);
  CHECK_EQ(b->stats.rx_kernel_dropped, 0); /* those came before the first loss */
  push(a, b, 0, 1, 1000, 1000);
  flush(a);
  expect(b, a, 0, 1, 1000, 1000);
  CHECK_EQ(b->stats.rx_kernel_dropped, 100 - got);
  push(a, b, 0, 1, 1000, 1000);
  flush(a);
  expect(b, a, 0, 1, 1000, 1000);
  CHECK_EQ(b->stats.rx_kernel_dropped, 100 - got); /* once each */
  close_both(a, b);
#endif
}

static void test_overflows(void) {
  overflows();
  use_portable = 1;
  overflows();
  use_portable = 0;
}

/* The same datagrams by every path */

static void trains(const char *host, nq_backend_options o) {
  static const size_t sizes[] = {1, 2, 63, 64, 500, 1199, 1200, 1452, 1472, 8900, 32000};
  o.local = addr(host, 0);
  nq_io *a = open_with(o), *b = open_with(o);
  uint32_t seq = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t s = sizes[i], lasts[] = {s, 1, (s + 1) / 2};
    for (uint32_t count = 1; count <= 70 && count * s <= 65535; count = count < 4 ? count + 1 : count * 2 - 1)
      for (int k = 0; k < 3; k++, seq += count) {
        push(a, b, seq, count, s, lasts[k]);
        flush(a);
        expect(b, a, seq, count, s, lasts[k]);
      }
  }
  expect_nothing(b);
  CHECK_EQ(a->stats.tx_datagrams, seq);
  CHECK_EQ(b->stats.rx_datagrams, seq);
  CHECK_EQ(a->stats.tx_bytes, b->stats.rx_bytes);
  CHECK_EQ(a->stats.tx_errors + b->stats.rx_errors + b->stats.rx_truncated, 0);
  if (a->caps.gso && b->caps.gro) {
    CHECK_EQ(a->stats.tx_messages, b->stats.rx_messages);
    CHECK(a->stats.tx_messages < a->stats.tx_datagrams / 4);
  }
  close_both(a, b);
}

static void many(const char *host, nq_backend_options o) {
  o.local = addr(host, 0);
  nq_io *a = open_with(o), *b = open_with(o);
  for (uint32_t seq = 0; seq < 10000; seq += 20) {
    size_t size = 20 + seq * 7919u % 1400;
    push(a, b, seq, 8, size, size);
    push(a, b, seq + 8, 1, size, size);
    push(a, b, seq + 9, 11, size, 1 + seq % size);
    flush(a);
    expect(b, a, seq, 20, size, 1 + seq % size);
  }
  CHECK_EQ(b->stats.rx_datagrams, 10000);
  expect_nothing(b);
  close_both(a, b);
}

static void every_path(void (*test)(const char *, nq_backend_options)) {
  nq_backend_options o;
  memset(&o, 0, sizeof o);
  test("127.0.0.1", o);
  test("::1", o);
  o.no_gso = 1;
  test("127.0.0.1", o);
  o.no_gso = 0;
  o.no_gro = 1;
  test("127.0.0.1", o);
  use_portable = 1;
  test("127.0.0.1", o);
  test("::1", o);
  use_portable = 0;
}

static void test_trains(void) { every_path(trains); }

static void test_many(void) { every_path(many); }

/* No more messages than asked for, where several are taken at once; the rest stays for the next time. */
static void test_few_at_a_time(void) {
  nq_backend_options o = options("127.0.0.1");
  o.no_gro = 1;
  nq_io *a = open_on("127.0.0.1"), *b = open_with(o);
  const nq_datagram *v;
  static const uint32_t most[] = {1, 3, 0, UINT32_MAX};
  for (uint32_t i = 0; i < 4; i++) {
    push(a, b, 0, 8, 100, 100);
    flush(a);
    struct pollfd p = {.fd = b->fd, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 1000), 1);
    b->rx_most = most[i];
    int n = b->ops->recv(b, &v), expected = b->caps.mmsg && most[i] && most[i] < 8 ? (int)most[i] : 8;
    CHECK_EQ(n, expected);
    b->rx_most = 0;
    if (n < 8)
      CHECK_EQ(b->ops->recv(b, &v), 8 - n);
  }
  expect_nothing(b);
  close_both(a, b);
}

static void test_full_queue(void) {
  /* More than the queue holds, in bytes and in messages, without a flush by the caller. */
  nq_io *a = open_on("127.0.0.1"), *b = open_on("127.0.0.1");
  for (uint32_t i = 0; i < 70; i++)
    push(a, b, i, 1, 100 + i, 100 + i);
  CHECK_EQ(a->stats.tx_messages, NQ_UDP_TX_MESSAGES);
  flush(a);
  for (uint32_t i = 0; i < 70; i++)
    expect_one(b, a, i, 100 + i);
  for (uint32_t i = 0; i < 5; i++)
    push(a, b, i * 65, 65, 1000, 1000);
  CHECK(a->stats.tx_datagrams > 70);
  flush(a);
  expect(b, a, 0, 325, 1000, 1000);
  CHECK(!a->ops->tx_room(a, NQ_UDP_TX_SIZE + 1));
  close_both(a, b);
}

static void merge(nq_io *a, nq_io *b, nq_io *c) {
  for (uint32_t i = 0; i < 10; i++) /* equal packets, pushed one by one: one train */
    push(a, b, i, 1, 1200, 1200);
  push(a, b, 10, 1, 700, 700); /* a shorter one ends it */
  flush(a);
  CHECK_EQ(a->stats.tx_messages, 1);
  expect(b, a, 0, 11, 1200, 700);
  CHECK_EQ(b->stats.rx_messages, 1);

  push(a, b, 0, 2, 1200, 700);
  push(a, b, 2, 1, 700, 700); /* nothing after the short one */
  push(a, b, 3, 1, 800, 800); /* no longer one after a shorter */
  push(a, b, 4, 2, 300, 300); /* two shorter ones are no end */
  push_from(a, b, NULL, 6, 1, 300, 300, 1);
  push(a, c, 7, 1, 300, 300);
  flush(a);
  CHECK_EQ(a->stats.tx_messages, 1 + 6);
  static const size_t sizes[] = {1200, 700, 700, 800, 300, 300, 300};
  for (uint32_t i = 0; i < 7; i++) {
    expect_one(b, a, i, sizes[i]);
    CHECK_EQ(batch.d[-1].ecn, i == 6 && b->caps.ecn);
  }
  expect(c, a, 7, 1, 300, 300);

  uint64_t before = a->stats.tx_messages;
  for (uint32_t i = 0; i < 5; i++) /* a run longer than a train may be */
    push(a, b, i * 30, 30, 1000, 1000);
  flush(a);
  CHECK_EQ(a->stats.tx_messages - before, 3); /* 64 + 64 + 22 */
  expect(b, a, 0, 150, 1000, 1000);
}

static void test_merge(void) {
  nq_io *a = open_on("127.0.0.1"), *b = open_on("127.0.0.1"), *c = open_on("127.0.0.1");
  if (a->caps.gso)
    merge(a, b, c);
  a->ops->close(a);
  close_both(b, c);
}

static void test_interleaved(void) {
  /* Room of two sockets at once; queues are given back; a push without room is nothing. */
  nq_io *a = open_on("127.0.0.1"), *b = open_on("127.0.0.1"), *c = open_on("127.0.0.1");
  uint8_t *pa = a->ops->tx_room(a, 100), *pb = b->ops->tx_room(b, 100);
  REQUIRE(pa && pb && pa != pb);
  fill(pa, 100, 1);
  fill(pb, 100, 2);
  a->ops->tx_push(a, 100, 100, &c->local, NULL, 0);
  b->ops->tx_push(b, 100, 0, &c->local, NULL, 0);
  a->ops->tx_push(a, 100, 100, &c->local, NULL, 0);
  flush(b);
  expect(c, b, 2, 1, 100, 100);
  flush(a);
  expect(c, a, 1, 1, 100, 100);
  CHECK(!((nq_udp *)a)->tx && !((nq_udp *)b)->tx);
  REQUIRE(a->ops->tx_room(a, 100));
  flush(a);
  a->ops->tx_push(a, 100, 100, &c->local, NULL, 0);
  flush(a);
  expect_nothing(c);
  push(a, c, 5, 1, 10, 10); /* close sends what is queued */
  nq_io from = *a;
  a->ops->close(a);
  expect(c, &from, 5, 1, 10, 10);
  close_both(b, c);
}

/* ECN and local addresses */

static void ecn_between(const char *client, const char *server, const char *target) {
  nq_io *a = open_on(client), *b = open_on(server);
  nq_io to = *b;
  to.local = addr(target, nq_addr_port(&b->local));
  for (uint8_t ecn = 0; ecn < 4; ecn++) {
    const nq_datagram *d = NULL;
    push_from(a, &to, NULL, ecn, 3, 50, 50, ecn);
    flush(a);
    for (int i = 0; i < 3; i++) {
      REQUIRE(d = next(b));
      CHECK_EQ(d->ecn, ecn);
      CHECK(nq_addr_equal(d->local, &to.local));
    }
    nq_addr remote = *d->remote, local = *d->local;
    uint8_t *p = b->ops->tx_room(b, 10);
    REQUIRE(p);
    fill(p, 10, 9);
    b->ops->tx_push(b, 10, 10, &remote, &local, ecn);
    flush(b);
    REQUIRE(d = next(a));
    CHECK_EQ(d->ecn, ecn);
    CHECK(nq_addr_port(d->remote) == nq_addr_port(&to.local));
  }
  close_both(a, b);
}

static void test_ecn(void) {
  nq_io *a = open_on("127.0.0.1");
  if (a->caps.ecn) {
    ecn_between("127.0.0.1", "127.0.0.1", "127.0.0.1");
    ecn_between("::1", "::1", "::1");
    ecn_between("0.0.0.0", "0.0.0.0", "127.0.0.5");
    ecn_between("::", "::", "::1");
    ecn_between("::", "::", "::ffff:127.0.0.1");
  }
  a->ops->close(a);
}

/* A wildcard socket sees which of its addresses was meant, and answers from it. */
static void pktinfo(const char *client, const char *wildcard, const char *seen, const char *target) {
  nq_backend_options o = options(wildcard);
  nq_io *a = open_on(client), *b = open_with(o);
  CHECK(b->caps.pktinfo);
  nq_io to = *b;
  to.local = addr(target, nq_addr_port(&b->local));
  push(a, &to, 1, 2, 600, 600);
  flush(a);
  nq_addr want = addr(seen, nq_addr_port(&b->local)), remote = {.len = 0};
  for (int i = 0; i < 2; i++) {
    const nq_datagram *d = next(b);
    REQUIRE(d);
    CHECK(nq_addr_equal(d->local, &want));
    remote = *d->remote;
  }
  uint8_t *p = b->ops->tx_room(b, 1200);
  REQUIRE(p);
  fill(p, 600, 3);
  fill(p + 600, 600, 4);
  b->ops->tx_push(b, 1200, 600, &remote, &want, 0);
  flush(b);
  CHECK_EQ(b->stats.tx_errors, 0);
  expect(a, &to, 3, 2, 600, 600);
  close_both(a, b);
}

static void test_pktinfo(void) {
  for (use_portable = 0; use_portable < 2; use_portable++) {
    pktinfo("127.0.0.1", "0.0.0.0", "127.0.0.7", "127.0.0.7");
    pktinfo("127.0.0.9", "0.0.0.0", "127.0.0.1", "127.0.0.1");
    pktinfo("::1", "::", "::1", "::1");
    pktinfo("127.0.0.1", "::", "::ffff:127.0.0.8", "127.0.0.8");
  }
  use_portable = 0;
}

static void test_local_ignored(void) {
  /* Bound to one address, or of the other family: the local address is not asked of the kernel. */
  nq_io *a = open_on("127.0.0.1"), *b = open_on("127.0.0.1"), *w = open_on("0.0.0.0");
  nq_addr other = addr("127.0.0.9", 1), six = addr("::1", 1);
  push_from(a, b, &other, 1, 1, 10, 10, 0);
  flush(a);
  expect(b, a, 1, 1, 10, 10);
  push_from(w, b, &six, 2, 1, 10, 10, 0);
  flush(w);
  CHECK(next(b));
  CHECK_EQ(w->stats.tx_errors, 0);
  a->ops->close(a);
  close_both(b, w);
}

/* Things that go wrong, with a real kernel */

static void test_closed_port(void) {
  nq_io *a = open_on("127.0.0.1"), *b = open_on("127.0.0.1"), *gone = open_on("127.0.0.1");
  nq_io ghost = *gone;
  gone->ops->close(gone);
  for (uint32_t i = 0; i < 20; i++) {
    push(a, &ghost, i, 1 + i % 3, 100, 100);
    push(a, b, i, 1, 200, 200);
    flush(a);
    expect_nothing(a);
    expect(b, a, i, 1, 200, 200);
  }
  close_both(a, b);
}

static void test_bad_destinations(void) {
  /* Each fails alone: an address not ours to send from, a wrong family, a broadcast, a port 0. */
  nq_io *a = open_on("0.0.0.0"), *b = open_on("127.0.0.1");
  nq_addr not_ours = addr("192.0.2.1", 1), local = addr("127.0.0.1", 0);
  nq_io to6 = *b, all = *b, zero = *b;
  to6.local = addr("::1", nq_addr_port(&b->local));
  all.local = addr("255.255.255.255", 9);
  zero.local.in.sin_port = 0;
  push_from(a, b, &local, 0, 1, 100, 100, 0);
  push_from(a, b, &not_ours, 1, 3, 100, 50, 0);
  push_from(a, &to6, &local, 2, 1, 100, 100, 0);
  push_from(a, &all, &local, 3, 2, 100, 100, 0);
  push_from(a, &zero, &local, 4, 1, 100, 100, 0);
  push_from(a, b, &local, 5, 1, 60, 60, 0);
  flush(a);
  CHECK_EQ(a->stats.tx_errors, 3 + 1 + 2 + 1);
  CHECK_EQ(a->stats.tx_datagrams, 2);
  nq_io from = *a;
  from.local = addr("127.0.0.1", nq_addr_port(&a->local));
  expect(b, &from, 0, 1, 100, 100);
  expect(b, &from, 5, 1, 60, 60);
#ifdef __linux__
  CHECK(a->caps.gso); /* the train was refused for its address, not for being one */
#endif
  close_both(a, b);
}

static void test_too_long(void) {
  nq_io *a = open_on("127.0.0.1"), *b = open_on("127.0.0.1");
  push(a, b, 0, 1, 65508, 65508); /* one more than UDP over IPv4 can carry */
  push(a, b, 1, 1, 65507, 65507);
  flush(a);
  CHECK_EQ(a->stats.tx_errors, 1);
  expect(b, a, 1, 1, 65507, 65507);
  close_both(a, b);
}

#ifdef __linux__
static void steered(nq_io *const *s, const nq_io *a, const uint8_t *p, size_t len, int want) {
  const nq_datagram *d;
  REQUIRE(sendto(a->fd, p, len, 0, &s[0]->local.sa, s[0]->local.len) == (ssize_t)len);
  for (int i = 0; i < 3; i++) {
    int n = s[i]->ops->recv(s[i], &d);
    CHECK_EQ(n, i == want);
    if (n == 1)
      CHECK(d->len == len && !memcmp(d->data, p, len));
  }
}

static void steer(const char *host) {
  nq_io *s[3], *a = open_on(host);
  nq_backend_options o = options(host);
  o.reuseport = 1;
  for (int i = 0; i < 3; i++) {
    s[i] = open_with(o);
    o.local = s[0]->local;
  }
  CHECK_EQ(used()->backend->steer(s[0], &(nq_steering){0, 1, 6, 5}), -EINVAL);
  CHECK_EQ(used()->backend->steer(s[0], &(nq_steering){3, 1, 6, 5}), 0);
  for (int id = 0; id < 256; id++) {
    uint8_t one[30] = {(uint8_t)(0x40 | (id & 0x3f)), (uint8_t)id}, initial[30] = {0xc0, 0, 0, 0, 1, 8, (uint8_t)id};
    uint8_t empty[30] = {0xc0, 0, 0, 0, 1, 0, (uint8_t)id}, cut[30] = {0xff, 7, 7, 7, 7, 8, (uint8_t)id};
    steered(s, a, one, sizeof one, id % 3);
    steered(s, a, one, 2, id % 3);
    steered(s, a, one, 1, 0);
    steered(s, a, initial, sizeof initial, id % 3);
    steered(s, a, initial, 7, id % 3);
    steered(s, a, empty, sizeof empty, 0);
    steered(s, a, cut, 1 + (size_t)id % 6, 0);
  }
  for (int i = 0; i < 3; i++)
    s[i]->ops->close(s[i]);
  CHECK_EQ(used()->backend->steer(a, &(nq_steering){2, 1, 6, 5}), -EINVAL); /* no reuseport group */
  a->ops->close(a);
}
#endif

static void test_steer(void) {
#ifdef __linux__
  steer("127.0.0.1");
  steer("::1");
#else
  nq_io *a = open_on("127.0.0.1");
  CHECK_EQ(used()->backend->steer(a, &(nq_steering){2, 1, 6, 5}), -EOPNOTSUPP);
  a->ops->close(a);
#endif
}

int main(void) {
  int before = count_fds();
  start_backends();
  RUN(test_open);
  RUN(test_v6only);
  RUN(test_given);
  RUN(test_overflows);
  RUN(test_trains);
  RUN(test_many);
  RUN(test_few_at_a_time);
  RUN(test_full_queue);
  RUN(test_merge);
  RUN(test_interleaved);
  RUN(test_ecn);
  RUN(test_pktinfo);
  RUN(test_local_ignored);
  RUN(test_closed_port);
  RUN(test_bad_destinations);
  RUN(test_too_long);
  RUN(test_steer);
  CHECK_EQ(count_fds(), before);
  stop_backends();
  stop_backends(); /* once more does no harm */
  CHECK_DONE();
}
