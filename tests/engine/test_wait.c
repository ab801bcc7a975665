/* test_wait.c: the ways to sleep, each of those that were compiled: they find the same, whatever the system calls it.
 * What a failing system call does: test_wait_faults.c. */
#include "loop/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/limit.h"
#include "base/timer.h"
#include "check.h"
#include "engine.h"

static const nq_wait_ops *ops; /* the one that is tested now */

static nq_wait *new_wait(void) {
  nq_wait *w = NULL;
  REQUIRE(ops->open(&w) == 0);
  CHECK(w->ops == ops && w->armed == NQ_NEVER);
  return w;
}

static void pair_of(int fd[2]) {
  REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd) == 0);
  for (int i = 0; i < 2; i++)
    REQUIRE(fcntl(fd[i], F_SETFL, O_NONBLOCK) == 0);
}

static void put(int fd) { REQUIRE(write(fd, "x", 1) == 1); }

static void take(int fd) {
  char byte;
  REQUIRE(read(fd, &byte, 1) == 1);
}

/* What the last sleep found under this key: 1 readable, 2 writable, both, or nothing. */
static int found(const nq_wait *w, uint32_t key) {
  int what = 0;
  for (uint32_t i = 0; i < w->n_ready; i++)
    if (w->ready[i].key == key)
      what |= w->ready[i].readable | w->ready[i].writable << 1;
  return what;
}

static void test_reading_and_writing(void) {
  nq_wait *w = new_wait();
  int a[2], b[2];
  pair_of(a);
  pair_of(b);
  CHECK_EQ(ops->sleep(w, 0), 0);
  CHECK_EQ(ops->watch(w, a[0], 7, 0, 0), 0);
  CHECK_EQ(ops->watch(w, b[0], UINT32_MAX, 0, 0), 0);
  CHECK_EQ(ops->sleep(w, 1), 0); /* neither can be read */
  CHECK(w->n_ready == 0 && !w->woken);
  put(b[1]);
  CHECK_EQ(ops->sleep(w, INT64_MAX), 1);
  CHECK(found(w, UINT32_MAX) == 1 && found(w, 7) == 0);
  put(a[1]);
  CHECK_EQ(ops->sleep(w, 0), 2); /* as long as nobody reads */
  CHECK(found(w, UINT32_MAX) == 1 && found(w, 7) == 1);
  take(b[0]);
  CHECK_EQ(ops->watch(w, b[0], UINT32_MAX, 1, 1), 0);
  CHECK(ops->sleep(w, INT64_MAX) >= 2);
  CHECK(found(w, UINT32_MAX) == 2 && found(w, 7) == 1);
  put(b[1]);
  CHECK(ops->sleep(w, INT64_MAX) >= 2);
  CHECK(found(w, UINT32_MAX) == 3);
  CHECK_EQ(ops->watch(w, b[0], UINT32_MAX, 0, 1), 0); /* for reading only, again */
  CHECK_EQ(ops->watch(w, b[0], UINT32_MAX, 0, 1), 0); /* as it is */
  CHECK_EQ(ops->sleep(w, INT64_MAX), 2);
  CHECK(found(w, UINT32_MAX) == 1 && found(w, 7) == 1);
  ops->unwatch(w, a[0]);
  CHECK_EQ(ops->sleep(w, 0), 1);
  CHECK(found(w, UINT32_MAX) == 1 && found(w, 7) == 0);
  ops->unwatch(w, b[0]);
  CHECK_EQ(ops->sleep(w, 1), 0);
  CHECK_EQ(ops->watch(w, b[0], 8, 1, 0), 0); /* under another key, both from the start */
  CHECK(ops->sleep(w, INT64_MAX) >= 1);
  CHECK(found(w, 8) == 3 && found(w, UINT32_MAX) == 0);
  ops->close(w);
  for (int i = 0; i < 2; i++)
    close(a[i]), close(b[i]);
}

/* However many there are, none is forgotten: those that one sleep does not name, the next ones do. */
static void test_many(void) {
  enum { MANY = 300 };
  static int fd[MANY][2], heard[MANY];
  struct rlimit limit;
  if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < 2 * MANY + 50 && limit.rlim_max >= 2 * MANY + 50) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  nq_wait *w = new_wait();
  memset(heard, 0, sizeof heard);
  for (uint32_t i = 0; i < MANY; i++) {
    pair_of(fd[i]);
    CHECK_EQ(ops->watch(w, fd[i][0], i, 0, 0), 0);
    put(fd[i][1]);
  }
  for (uint32_t i = 0; i < MANY; i += 3) /* not the last ones first: what moves up is still heard */
    ops->unwatch(w, fd[i][0]);
  uint32_t total = 0;
  for (int n; (n = ops->sleep(w, 0)) > 0;) {
    CHECK_EQ((uint32_t)n, w->n_ready);
    for (uint32_t i = 0; i < w->n_ready; i++) {
      uint32_t key = w->ready[i].key;
      CHECK(key < MANY && key % 3 && w->ready[i].readable && !heard[key]);
      heard[key]++;
      total++;
      take(fd[key][0]);
    }
  }
  CHECK_EQ(total, MANY / 3 * 2);
  ops->close(w);
  for (int i = 0; i < MANY; i++)
    close(fd[i][0]), close(fd[i][1]);
}

/* Its result is NULL when it woke: checks are counted by the main thread alone. */
static void *wake_later(void *w) {
  usleep(2000); /* as a rule it sleeps by then; when it does not yet, the test says the same */
  return ops->wake(w) ? w : NULL;
}

static void test_waking(void) {
  nq_wait *w = new_wait();
  CHECK_EQ(ops->wake(w), 0); /* before the sleep */
  CHECK_EQ(ops->wake(w), 0);
  CHECK_EQ(ops->sleep(w, INT64_MAX), 1);
  CHECK(w->woken && w->n_ready == 0);
  ops->heard(w);
  CHECK_EQ(ops->sleep(w, 1), 0); /* it was heard: both of them */
  CHECK(!w->woken);
  pthread_t t; /* in it */
  REQUIRE(pthread_create(&t, NULL, wake_later, w) == 0);
  CHECK_EQ(ops->sleep(w, INT64_MAX), 1);
  CHECK(w->woken);
  void *failed = w;
  pthread_join(t, &failed);
  CHECK(!failed);
  for (int i = 0; i < 100000; i++) /* more than a pipe holds */
    REQUIRE(ops->wake(w) == 0);
  CHECK_EQ(ops->sleep(w, 0), 1);
  CHECK(w->woken);
  ops->heard(w);
  CHECK_EQ(ops->sleep(w, 0), 0);
  ops->close(w);
}

static uint64_t clock_now(void *ctx) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  if (ctx)
    ++*(int *)ctx;
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The descriptor for an outside event loop becomes readable at a deadline, where there is a timer behind it. */
static void test_timer(void) {
  nq_wait *w = new_wait();
  int asked = 0;
  CHECK_EQ(nq_wait_arm(w, NQ_NEVER, clock_now, &asked), 0); /* there is no deadline */
  CHECK_EQ(asked, 0);
  int fd = ops->descriptor(w);
  CHECK(fd >= 0 && ops->descriptor(w) == fd);
  if (ops == &nq_wait_poll) {
    CHECK(nq_wait_arm(w, clock_now(NULL), clock_now, NULL) == -1 && errno == ENOSYS);
    ops->close(w);
    return;
  }
  uint64_t deadline = clock_now(NULL) + NQ_MSEC(5);
  CHECK_EQ(nq_wait_arm(w, deadline, clock_now, NULL), 0);
  CHECK_EQ(w->armed, deadline);
  asked = 0;
  CHECK_EQ(nq_wait_arm(w, deadline + NQ_SEC(3600), clock_now, &asked), 0); /* it comes early enough */
  CHECK(w->armed == deadline && asked == 0);
  struct pollfd p = {.fd = fd, .events = POLLIN};
  while (poll(&p, 1, -1) < 0)
    REQUIRE(errno == EINTR);
  CHECK(clock_now(NULL) >= deadline);
  CHECK_EQ(ops->sleep(w, 0), 1);
  CHECK(w->n_ready == 0 && !w->woken && w->armed == NQ_NEVER);
  CHECK_EQ(ops->sleep(w, 1), 0); /* once */
  ops->close(w);
}

/* A forked child shares what the system keeps of it, and leaves that alone. */
static void test_forked(void) {
  nq_wait *w = new_wait();
  int a[2], status = -1;
  pair_of(a);
  CHECK_EQ(ops->watch(w, a[0], 5, 0, 0), 0);
  pid_t child = fork();
  REQUIRE(child >= 0);
  if (!child) {
    ops->unwatch(w, a[0]);
    ops->close(w);
    _exit(0);
  }
  REQUIRE(waitpid(child, &status, 0) == child && status == 0);
  put(a[1]);
  CHECK_EQ(ops->sleep(w, INT64_MAX), 1);
  CHECK_EQ(found(w, 5), 1);
  ops->close(w);
  close(a[0]);
  close(a[1]);
}

static void test_names(void) {
  CHECK(nq_wait_find(NULL) == nq_wait_at(0) && nq_wait_at(0));
  CHECK(nq_wait_find("poll") == &nq_wait_poll);
  CHECK(!nq_wait_find("") && !nq_wait_find("select"));
  uint32_t n = 0;
  for (; nq_wait_at(n); n++)
    CHECK(nq_wait_find(nq_wait_at(n)->name) == nq_wait_at(n));
#ifdef __linux__
  CHECK(n >= 2);
#endif
  nq_loop *l = NULL;
  CHECK_EQ(nq_loop_new(&l, &(nq_loop_options){.wait = "select"}), NQ_ERR_ARG);
  CHECK(!l);
}

int main(void) {
  RUN(test_names);
  for (uint32_t i = 0; (ops = nq_wait_at(i)); i++) {
    printf("  %s:\n", ops->name);
    RUN(test_reading_and_writing);
    RUN(test_many);
    RUN(test_waking);
    RUN(test_timer);
    RUN(test_forked);
  }
  CHECK_DONE();
}
