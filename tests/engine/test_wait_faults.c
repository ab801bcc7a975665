/* System calls of the wait by epoll that fail: each failure is told or made good, and keeps no descriptor. Nothing here
 * measures time: a deadline or a wake-up that is forgotten makes the test wait for ever. */
#include "loop/loop.h"
#include "loop/wait.h"

#ifdef NQ_WAIT_EPOLL
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "quic/conn.h"

/* How many calls succeed before one fails (below 0: all do), and how many fail then. */
typedef struct fault {
  int after, times, error;
} fault;

static fault create_fault, event_fault, ctl_fault, timer_fault, settime_fault, write_fault;
static int settimes, modifies, writes;

static int fails(fault *f) {
  if (f->times == 0 || f->after-- > 0)
    return 0;
  f->after = 0;
  f->times--;
  errno = f->error;
  return 1;
}

static int test_epoll_create1(int flags) { return fails(&create_fault) ? -1 : epoll_create1(flags); }
static int test_eventfd(unsigned n, int flags) { return fails(&event_fault) ? -1 : eventfd(n, flags); }
static int test_timerfd_create(int clock, int flags) { return fails(&timer_fault) ? -1 : timerfd_create(clock, flags); }

static int test_epoll_ctl(int epfd, int op, int fd, struct epoll_event *e) {
  modifies += op == EPOLL_CTL_MOD;
  return fails(&ctl_fault) ? -1 : epoll_ctl(epfd, op, fd, e);
}

static int test_timerfd_settime(int fd, int flags, const struct itimerspec *t, struct itimerspec *old) {
  settimes++;
  return fails(&settime_fault) ? -1 : timerfd_settime(fd, flags, t, old);
}

static ssize_t test_write(int fd, const void *p, size_t n) {
  writes++;
  return fails(&write_fault) ? -1 : write(fd, p, n);
}

#define epoll_create1 test_epoll_create1
#define eventfd test_eventfd
#define timerfd_create test_timerfd_create
#define epoll_ctl test_epoll_ctl
#define timerfd_settime test_timerfd_settime
#define write test_write
#include "loop/wait_epoll.c"
#undef epoll_create1
#undef eventfd
#undef timerfd_create
#undef epoll_ctl
#undef timerfd_settime
#undef write

#include "check.h"
#include "world.h"

static int descriptors(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/fd");
  REQUIRE(d != NULL);
  while (readdir(d))
    n++;
  closedir(d);
  return n;
}

static const nq_loop_options by_epoll = {.wait = "epoll"};

static nq_loop *new_loop(void) {
  nq_loop *l = NULL;
  REQUIRE(nq_loop_new(&l, &by_epoll) == 0);
  return l;
}

/* What an outside event loop does: sleeps on the descriptor, for ever if need be. */
static void sleep_on_fd(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  while (poll(&p, 1, -1) < 0)
    REQUIRE(errno == EINTR);
  CHECK(p.revents & POLLIN);
}

/* Ticks until the loop gave this event; `wait` as of nq_loop_poll. */
static void until(nq_loop *l, int kind, int64_t wait) {
  for (int found = 0; !found; nq_loop_flush(l)) {
    int n = nq_loop_poll(l, wait);
    REQUIRE(n >= 0);
    for (int i = 0; i < n; i++)
      found |= nq_loop_events(l)[i].kind == kind;
  }
}

static void test_a_loop_that_cannot_be_made(void) {
  static fault *const all[] = {&create_fault, &event_fault, &ctl_fault};
  static const int errors[] = {EMFILE, ENFILE, ENOSPC};
  int before = descriptors();
  for (int i = 0; i < 3; i++) {
    nq_loop *l = NULL;
    *all[i] = (fault){.times = 1, .error = errors[i]};
    CHECK_EQ(nq_loop_new(&l, &by_epoll), NQ_ERR_SYS);
    CHECK_EQ(nq_loop_errno(NULL), errors[i]);
    CHECK_EQ(descriptors(), before);
    nq_loop_free(new_loop());
  }
  CHECK_EQ(descriptors(), before);
}

static void test_no_descriptor_for_the_timer(void) {
  nq_loop *l = new_loop();
  nq_handle a = 0;
  REQUIRE(nq_alarm_new(l, NULL, &a) == 0);
  int before = descriptors();
  timer_fault = (fault){.times = 1, .error = EMFILE};
  CHECK_EQ(nq_loop_fd(l), -1);
  CHECK_EQ(nq_loop_errno(l), EMFILE);
  ctl_fault = (fault){.times = 1, .error = ENOSPC};
  CHECK_EQ(nq_loop_fd(l), -1);
  CHECK_EQ(nq_loop_errno(l), ENOSPC);
  CHECK_EQ(descriptors(), before);
  int fd = nq_loop_fd(l);
  CHECK(fd >= 0 && nq_loop_fd(l) == fd);
  CHECK_EQ(descriptors(), before + 1);
  CHECK_EQ(nq_alarm_set(l, a, nq_loop_now(l) + NQ_MSEC(5)), 0); /* and it is watched */
  CHECK_EQ(nq_loop_arm(l), 0);
  sleep_on_fd(fd);
  until(l, NQ_EV_ALARM, 0);
  nq_loop_free(l);
}

static void test_a_timer_that_is_not_armed(void) {
  nq_loop *l = new_loop();
  nq_handle a = 0;
  REQUIRE(nq_alarm_new(l, NULL, &a) == 0);
  int fd = nq_loop_fd(l);
  CHECK_EQ(nq_loop_deadline_in(l), UINT64_MAX);
  settimes = 0;
  CHECK_EQ(nq_loop_arm(l), 0);
  CHECK_EQ(settimes, 0);
  CHECK_EQ(nq_alarm_set(l, a, nq_loop_now(l) + NQ_SEC(3600)), 0);
  settime_fault = (fault){.times = 2, .error = EIO};
  for (int i = 0; i < 2; i++) { /* told each time, and the deadline is there to be kept by another */
    CHECK_EQ(nq_loop_arm(l), NQ_ERR_SYS);
    CHECK_EQ(nq_loop_errno(l), EIO);
    CHECK(nq_loop_deadline_in(l) > NQ_SEC(1800) && nq_loop_deadline_in(l) <= NQ_SEC(3600));
  }
  CHECK_EQ(nq_loop_arm(l), 0); /* tried again */
  CHECK_EQ(settimes, 3);
  CHECK_EQ(nq_loop_arm(l), 0); /* it is set: no need to */
  CHECK_EQ(settimes, 3);
  settime_fault = (fault){.times = 1, .error = EIO};
  CHECK_EQ(nq_alarm_set(l, a, nq_loop_now(l) + NQ_MSEC(5)), 0);
  CHECK_EQ(nq_loop_arm(l), NQ_ERR_SYS);
  while (nq_loop_deadline_in(l))
    usleep(1000);
  until(l, NQ_EV_ALARM, 0);
  CHECK_EQ(nq_alarm_set(l, a, nq_loop_now(l) + NQ_MSEC(5)), 0);
  CHECK_EQ(nq_loop_arm(l), 0);
  sleep_on_fd(fd);
  until(l, NQ_EV_ALARM, 0);
  nq_loop_free(l);
}

static void test_a_deadline_of_zero(void) {
  for (uint64_t deadline = 0; deadline < 2; deadline++) {
    nq_loop *l = new_loop();
    nq_handle a = 0;
    REQUIRE(nq_alarm_new(l, NULL, &a) == 0);
    int fd = nq_loop_fd(l);
    CHECK_EQ(nq_alarm_set(l, a, deadline), 0);
    CHECK_EQ(nq_loop_deadline_in(l), 0);
    CHECK_EQ(nq_loop_arm(l), 0);
    sleep_on_fd(fd);
    until(l, NQ_EV_ALARM, INT64_MAX);
    nq_loop_free(l);
  }
}

/* ---- a socket that takes nothing ---- */

static int blocked, flushes;

static int no_recv(nq_io *io, const nq_datagram **out) {
  (void)io;
  *out = NULL;
  return 0;
}

static uint8_t *no_room(nq_io *io, size_t need) {
  (void)io, (void)need;
  return NULL;
}

static void no_push(nq_io *io, size_t len, size_t segment, const nq_addr *remote, const nq_addr *local, uint8_t ecn) {
  (void)io, (void)len, (void)segment, (void)remote, (void)local, (void)ecn;
}

static int flush_blocked(nq_io *io) {
  flushes++;
  return io->blocked = blocked;
}

static void close_io(nq_io *io) { close(io->fd); }

static void test_writability_that_is_not_watched(void) {
  static const nq_io_ops ops = {no_recv, no_room, no_push, flush_blocked, close_io, NULL};
  int pair[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
  nq_io io = {.ops = &ops, .fd = pair[0]};
  nq_endpoint_options o;
  memset(&o, 0, sizeof o);
  REQUIRE(nq_addr_parse(&io.local, "127.0.0.1", 1) == 0);
  nq_loop *l = new_loop();
  uint32_t id = 0;
  blocked = 0;
  REQUIRE(nq_endpoint_attach(l, &io, &o, &id) == 0);
  const nq_endpoint *ep = nq_endpoint_get(&l->hub, id);
  nq_loop_flush(l);
  CHECK_EQ(modifies, 0);
  blocked = 1;
  ctl_fault = (fault){.times = 3, .error = ENOMEM};
  nq_loop_flush(l);
  CHECK(!ep->watching_write);
  CHECK(nq_loop_deadline_in(l) <= NQ_MSEC(1)); /* an outside event loop is woken as well */
  while (!ep->watching_write) { /* no packet comes, and yet it is tried again */
    REQUIRE(nq_loop_poll(l, INT64_MAX) >= 0);
    nq_loop_flush(l);
  }
  CHECK_EQ(modifies, 4);
  ctl_fault = (fault){.times = 3, .error = ENOMEM}; /* it takes packets again, and is watched no more */
  blocked = 0;
  while (ep->watching_write) {
    REQUIRE(nq_loop_poll(l, INT64_MAX) >= 0);
    nq_loop_flush(l);
  }
  CHECK_EQ(modifies, 8);
  nq_loop_free(l);
  close(pair[1]);
}

/* ---- waking ---- */

static void test_a_wake_up_that_fails(void) {
  nq_loop *l = new_loop();
  nq_loop_wake(l);
  nq_loop_wake(l);
  CHECK_EQ(writes, 1); /* one is enough */
  CHECK_EQ(nq_loop_poll(l, INT64_MAX), 0);
  nq_loop_flush(l);
  write_fault = (fault){.times = 1, .error = EINTR}; /* tried again at once */
  nq_loop_wake(l);
  CHECK_EQ(writes, 3);
  CHECK_EQ(nq_loop_poll(l, INT64_MAX), 0);
  nq_loop_flush(l);
  write_fault = (fault){.times = 1, .error = EAGAIN}; /* it is full, so readable */
  nq_loop_wake(l);
  nq_loop_wake(l);
  CHECK_EQ(writes, 4);
  CHECK_EQ(nq_loop_poll(l, INT64_MAX), 0);
  nq_loop_flush(l);
  int task;
  write_fault = (fault){.times = 1, .error = EIO}; /* the next one tries again */
  CHECK_EQ(nq_loop_post(l, NQ_POST_TASK, 0, 0, 0, 0, &task, NULL, 0), 0);
  CHECK_EQ(writes, 5);
  nq_loop_wake(l);
  CHECK_EQ(writes, 6);
  until(l, NQ_EV_TASK, INT64_MAX);
  write_fault = (fault){.times = 1, .error = EIO}; /* a tick does what was asked for, and does not sleep before */
  CHECK_EQ(nq_loop_post(l, NQ_POST_TASK, 0, 0, 0, 0, &task, NULL, 0), 0);
  until(l, NQ_EV_TASK, INT64_MAX);
  nq_loop_free(l);
}

int main(void) {
  RUN(test_a_loop_that_cannot_be_made);
  RUN(test_no_descriptor_for_the_timer);
  RUN(test_a_timer_that_is_not_armed);
  RUN(test_a_deadline_of_zero);
  RUN(test_writability_that_is_not_watched);
  RUN(test_a_wake_up_that_fails);
  CHECK_DONE();
}

#else
#include "check.h"

int main(void) {
  CHECK(1); /* it is of the wait by epoll */
  CHECK_DONE();
}
#endif
