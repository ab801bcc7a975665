// needs: io/backend.c io/udp.c io/udp_common.c io/udp_error.c io/udp_linux.c io/udp_steer.c base/fork.c base/addr.c
/* UDP sockets whose system calls fail on demand: what can be sent is, what cannot is counted, nothing hangs. */
#include "udp_util.h"

#ifdef __linux__

/* Sending */

static struct {
  int error;        /* the next `times` calls fail with it; -1 times: always */
  int times;
  int only_trains;  /* fail only on a message with UDP_SEGMENT */
  int only_len;     /* and only on one of this length */
  unsigned at_most; /* take no more messages than this; 0: all */
  unsigned failures;
} fault;

static int has_segment(const struct msghdr *m) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)m, c))
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == 103)
      return 1;
  return 0;
}

static int matches(const struct msghdr *m) {
  return fault.times && (!fault.only_trains || has_segment(m)) &&
         (!fault.only_len || m->msg_iov->iov_len == (size_t)fault.only_len);
}

static int faulty(const struct msghdr *m) {
  if (!matches(m))
    return 0;
  if (fault.times > 0)
    fault.times--;
  fault.failures++;
  errno = fault.error;
  return 1;
}

/* As the kernel: an error is reported only when it meets the first message. */
static int faulty_sendmmsg(int fd, struct mmsghdr *m, unsigned n) {
  if (faulty(&m->msg_hdr))
    return -1;
  unsigned sent = 0, most = fault.at_most && fault.at_most < n ? fault.at_most : n;
  for (; sent < most && !matches(&m[sent].msg_hdr); sent++)
    if (sendmsg(fd, &m[sent].msg_hdr, MSG_DONTWAIT) < 0)
      break;
  return sent ? (int)sent : -1;
}

static ssize_t faulty_sendmsg(int fd, const struct msghdr *m) { return faulty(m) ? -1 : sendmsg(fd, m, MSG_DONTWAIT); }

static nq_io *open_faulty(int of_portable, int error, int times) {
  nq_backend_options o = options("127.0.0.1");
  use_portable = of_portable;
  nq_io *io = open_with(o);
  use_portable = 0;
  sys_of(io)->sendmmsg = faulty_sendmmsg;
  sys_of(io)->sendmsg = faulty_sendmsg;
  memset(&fault, 0, sizeof fault);
  fault.error = error;
  fault.times = times;
  return io;
}

static void gso_fails(int error, int times) {
  nq_io *a = open_faulty(0, error, times), *b = open_on("127.0.0.1");
  fault.only_trains = 1;
  push(a, b, 0, 1, 300, 300);
  push(a, b, 1, 40, 1000, 900);
  push(a, b, 41, 30, 1100, 1);
  flush(a);
  CHECK_EQ(fault.failures, 1);
  CHECK(!a->caps.gso);
  expect(b, a, 0, 1, 300, 300);
  expect(b, a, 1, 40, 1000, 900);
  expect(b, a, 41, 30, 1100, 1);
  expect_nothing(b);
  CHECK_EQ(a->stats.tx_datagrams, 71);
  if (times < 0) /* else the second train may have gone along with the first packets of the refused one */
    CHECK_EQ(a->stats.tx_messages, 71);
  CHECK_EQ(a->stats.tx_errors, 0);
  push(a, b, 0, 20, 1000, 900);
  flush(a);
  expect(b, a, 0, 20, 1000, 900);
  close_both(a, b);
}

static void test_gso_fails(void) {
  gso_fails(EIO, 1);
  gso_fails(EIO, -1);
  gso_fails(EINVAL, -1);
}

/* The path refuses packets of 1400 bytes, alone or in trains; the short last one still goes, and GSO stays. */
static void path_fails(int error) {
  nq_io *a = open_faulty(0, error, 4), *b = open_on("127.0.0.1");
  push(a, b, 0, 4, 1400, 10);
  push(a, b, 4, 4, 1000, 10);
  flush(a);
  CHECK_EQ(fault.failures, 4); /* the train and its three long packets */
  CHECK_EQ(a->stats.tx_errors, 3);
  CHECK_EQ(a->stats.tx_datagrams, 5);
  CHECK(a->caps.gso);
  expect(b, a, 3, 1, 10, 10);
  expect(b, a, 4, 4, 1000, 10);
  expect_nothing(b);
  close_both(a, b);
}

static void test_path_fails_not_gso(void) {
  path_fails(EINVAL);
  path_fails(EMSGSIZE);
}

static void test_late_train_fails(void) {
  /* A run of several trains of which the second is refused: nothing is sent twice. */
  nq_io *a = open_faulty(0, EIO, 1), *b = open_on("127.0.0.1");
  fault.only_len = 700 * 36;
  push(a, b, 0, 50, 700, 700);
  push(a, b, 50, 50, 700, 700);
  fault.at_most = 1;
  flush(a);
  CHECK_EQ(fault.failures, 1);
  CHECK(!a->caps.gso);
  CHECK_EQ(a->stats.tx_datagrams, 100);
  CHECK_EQ(a->stats.tx_messages, 1 + 36);
  expect(b, a, 0, 100, 700, 700);
  expect_nothing(b);
  close_both(a, b);
}

static void blocks(int of_portable, int error) {
  nq_io *a = open_faulty(of_portable, error, 3), *b = open_on("127.0.0.1");
  push(a, b, 0, 40, 1000, 900);
  push(a, b, 40, 1, 50, 50);
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(a->ops->flush(a), 1);
    CHECK_EQ(a->blocked, 1);
    CHECK(!a->ops->tx_room(a, 1));
    CHECK_EQ(a->stats.tx_blocked, i + 1);
  }
  a->ops->tx_push(a, 40, 40, &b->local, NULL, 0); /* no room was given */
  flush(a);
  CHECK_EQ(a->blocked, 0);
  CHECK(a->ops->tx_room(a, 1));
  expect(b, a, 0, 40, 1000, 900);
  expect(b, a, 40, 1, 50, 50);
  expect_nothing(b);
  /* In the middle of the queue and in the middle of a run, found by tx_room. */
  fault.times = 1;
  fault.only_len = of_portable ? 9 : 999 * 35 + 9;
  for (uint32_t i = 0; i < NQ_UDP_TX_MESSAGES - 1; i++)
    push(a, b, i, 1, 17 + i % 2 * 20, 17 + i % 2 * 20);
  for (uint32_t i = 0; i < 100; i += 50)
    push(a, b, 63 + i, 50, 999, i ? 9 : 999);
  CHECK(!a->ops->tx_room(a, NQ_UDP_TX_SIZE));
  CHECK_EQ(a->blocked, 1);
  CHECK_EQ(fault.failures, 4);
  flush(a);
  for (uint32_t i = 0; i < NQ_UDP_TX_MESSAGES - 1; i++)
    expect_one(b, a, i, 17 + i % 2 * 20);
  expect(b, a, 63, 100, 999, 9);
  expect_nothing(b);
  CHECK_EQ(a->stats.tx_errors, 0);
  push(a, b, 0, 1, 20, 20);
  fault.times = -1;
  fault.only_len = 0;
  CHECK_EQ(a->ops->flush(a), 1);
  close_both(a, b); /* blocked for good: close does not hang */
}

static void test_blocked(void) {
  blocks(0, EAGAIN);
  blocks(0, ENOBUFS);
  blocks(1, EAGAIN);
  blocks(1, ENOBUFS);
}

static void test_no_buffers_for_ever(void) {
  nq_io *a = open_faulty(0, ENOBUFS, -1), *b = open_on("127.0.0.1");
  fault.only_len = 30;
  push(a, b, 0, 1, 30, 30);
  push(a, b, 1, 1, 40, 40);
  int i = 0;
  while (a->ops->flush(a) && i < 1000)
    i++;
  CHECK_EQ(i, NQ_UDP_TX_NOBUFS);
  CHECK_EQ(a->stats.tx_errors, 1);
  expect(b, a, 1, 1, 40, 40);
  close_both(a, b);
}

/* Errors that may be those of an earlier datagram, told by ICMP: the one that meets them is tried once more. */
static int tries_of(int error) {
#ifdef __linux__
  return error == ECONNREFUSED || error == ENETUNREACH || error == EHOSTUNREACH ? 2 : 1;
#else
  return 1;
#endif
}

static void error_drops_one(int of_portable, int error) {
  nq_io *a = open_faulty(of_portable, error, -1), *b = open_on("127.0.0.1");
  fault.only_len = 55;
  push(a, b, 0, 3, 100, 100);
  push(a, b, 3, 2, 101, 51);
  push(a, b, 5, 1, 55, 55);
  push(a, b, 6, 3, 102, 102);
  flush(a);
  CHECK_EQ(fault.failures, tries_of(error));
  CHECK_EQ(a->n_errors, error != EMSGSIZE); /* that one is for the search of the path's MTU */
  if (a->n_errors) {
    CHECK_EQ(a->errors[0].error, error);
    CHECK(!a->errors[0].told);
    CHECK(nq_addr_equal(&a->errors[0].remote, &b->local));
    CHECK_EQ(a->errors[0].head_len, 55);
  }
  CHECK_EQ(a->stats.tx_errors, 1);
  CHECK_EQ(a->stats.tx_datagrams, 8);
  expect(b, a, 0, 3, 100, 100);
  expect(b, a, 3, 2, 101, 51);
  expect(b, a, 6, 3, 102, 102);
  expect_nothing(b);
  CHECK(of_portable || a->caps.gso);
  close_both(a, b);
}

static void test_errors_drop_one(void) {
  static const int errors[] = {EMSGSIZE, EPERM, ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, EINVAL, EIO, ENOMEM, EBADF};
  for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
    error_drops_one(0, errors[e]);
    error_drops_one(1, errors[e]);
  }
}

static void test_interrupted_and_partial(void) {
  nq_io *a = open_faulty(0, EINTR, 5), *b = open_on("127.0.0.1");
  fault.at_most = 3;
  for (uint32_t i = 0; i < 60; i += 2)
    push(a, b, i, 2, 100 + i, 100 + i);
  flush(a);
  CHECK_EQ(a->stats.tx_calls, 10 + 5);
  for (uint32_t i = 0; i < 60; i++)
    expect_one(b, a, i, 100 + i / 2 * 2);
  close_both(a, b);
}

/* Receiving */

static int (*real_recvmmsg)(int, struct mmsghdr *, unsigned);
static int truncate_next, tiny_next, refuse_next;

static int odd_recvmmsg(int fd, struct mmsghdr *m, unsigned n) {
  if (refuse_next) {
    refuse_next -= refuse_next > 0;
    errno = ECONNREFUSED;
    return -1;
  }
  int got = real_recvmmsg(fd, m, n);
  if (got > 0 && truncate_next) {
    m[0].msg_hdr.msg_flags |= MSG_TRUNC;
    truncate_next = 0;
  }
  if (got > 0 && tiny_next) {
    int segment = 1;
    struct cmsghdr *c = m[0].msg_hdr.msg_control;
    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = 104;
    c->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(c), &segment, sizeof segment);
    m[0].msg_hdr.msg_controllen = CMSG_SPACE(sizeof segment);
    m[0].msg_len = (unsigned)tiny_next;
    tiny_next = 0;
  }
  return got;
}

static void test_receive_oddities(void) {
  nq_io *a = open_on("127.0.0.1"), *b = open_on("127.0.0.1");
  const nq_datagram *d;
  real_recvmmsg = sys_of(b)->recvmmsg;
  sys_of(b)->recvmmsg = odd_recvmmsg;
  push(a, b, 0, 1, 90, 90);
  push(a, b, 1, 1, 100, 100);
  flush(a);
  truncate_next = 1; /* dropped; the next one is handed out */
  expect(b, a, 1, 1, 100, 100);
  CHECK_EQ(b->stats.rx_truncated, 1);

  push(a, b, 2, 1, 90, 90);
  push(a, b, 3, 1, 100, 100);
  flush(a);
  tiny_next = 65535; /* more datagrams than the array holds */
  expect(b, a, 3, 1, 100, 100);
  CHECK_EQ(b->stats.rx_errors, 65535);
  b->stats.rx_errors = 0;

  push(a, b, 4, 1, 90, 90);
  push(a, b, 5, 1, 100, 100);
  flush(a);
  tiny_next = NQ_UDP_RX_DATAGRAMS; /* exactly what it holds: no place for the next */
  for (int i = 0; i < NQ_UDP_RX_DATAGRAMS; i++) {
    REQUIRE(d = next(b));
    CHECK_EQ(d->len, 1);
  }
  CHECK_EQ(batch.n, 0);
  CHECK_EQ(b->stats.rx_errors, 1);
  b->stats.rx_errors = 0;

  push(a, b, 6, 1, 90, 90);
  flush(a);
  refuse_next = 2;
  expect(b, a, 6, 1, 90, 90);
  CHECK_EQ(b->stats.rx_errors, 2);
  refuse_next = -1;
  expect_nothing(b); /* and comes back */
  refuse_next = 0;
  CHECK_EQ(sendto(a->fd, "", 0, 0, &b->local.sa, b->local.len), 0);
  REQUIRE(d = next(b));
  CHECK_EQ(d->len, 0);
  close_both(a, b);
}

static void test_both_kinds(void) {
  /* Pairs of sockets of each kind in turns, and two pairs that share their buffers. */
  nq_io *a = open_on("127.0.0.1"), *b = open_on("127.0.0.1"), *e = open_on("::1"), *f = open_on("::1");
  use_portable = 1;
  nq_io *c = open_on("::1"), *d = open_on("::1");
  use_portable = 0;
  for (uint32_t i = 0; i < 20; i++) {
    push(a, b, i, 5, 100, 100);
    push(c, d, i, 5, 100, 100);
    push(e, f, i + 7, 3, 200, 100);
    flush(a);
    flush(c);
    flush(e);
    expect(b, a, i, 5, 100, 100);
    expect(d, c, i, 5, 100, 100);
    expect(f, e, i + 7, 3, 200, 100);
  }
  close_both(a, b);
  close_both(c, d);
  close_both(e, f);
}

#endif

int main(void) {
  int before = count_fds();
  start_backends();
#ifdef __linux__
  RUN(test_gso_fails);
  RUN(test_path_fails_not_gso);
  RUN(test_late_train_fails);
  RUN(test_blocked);
  RUN(test_no_buffers_for_ever);
  RUN(test_errors_drop_one);
  RUN(test_interrupted_and_partial);
  RUN(test_receive_oddities);
  RUN(test_both_kinds);
#endif
  CHECK_EQ(count_fds(), before);
  stop_backends();
  CHECK_DONE();
}
