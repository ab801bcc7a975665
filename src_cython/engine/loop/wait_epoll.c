#include "loop/wait.h"
#ifdef NQ_WAIT_EPOLL
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fork.h"
#include "base/timer.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#define WAKE (UINT64_C(1) << 32) /* above all keys, which have 32 bits */
#define TIMER (UINT64_C(2) << 32)

enum { READY = 64 }; /* that one sleep finds at most */

typedef struct epoll_wait_state {
  nq_wait w;                  /* The first member, because an nq_wait is cast to it. */
  int epfd;                   /* The epoll instance. */
  int wakefd;                 /* The eventfd that ends a sleep. */
  int timerfd;                /* The timer for an outside event loop; -1 as long as there is none. */
  nq_wait_ready found[READY]; /* Where w.ready points to. */
} state;

/* The kernel objects behind the descriptors are shared with a forked child, which must leave them alone. */
static int control(const state *s, int fd, uint64_t data, uint32_t events, int op) {
  if (s->w.process != nq_fork_generation())
    return 0;
  struct epoll_event e = {.events = events, .data.u64 = data};
  return epoll_ctl(s->epfd, op, fd, &e);
}

static void close_wait(nq_wait *w) {
  state *s = (state *)w;
  if (s->timerfd >= 0)
    close(s->timerfd);
  if (s->wakefd >= 0)
    close(s->wakefd);
  if (s->epfd >= 0)
    close(s->epfd);
  free(s);
}

static int open_wait(nq_wait **out) {
  *out = NULL;
  state *s = calloc(1, sizeof *s);
  if (!s)
    return NQ_ERR_NOMEM;
  s->w = (nq_wait){&nq_wait_epoll, nq_fork_generation(), 0, NQ_NEVER, s->found, 0};
  s->timerfd = -1;
  s->epfd = epoll_create1(EPOLL_CLOEXEC);
  s->wakefd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (s->epfd < 0 || s->wakefd < 0 || control(s, s->wakefd, WAKE, EPOLLIN, EPOLL_CTL_ADD)) {
    int error = errno;
    close_wait(&s->w);
    errno = error;
    return NQ_ERR_SYS;
  }
  *out = &s->w;
  return NQ_DONE;
}

static int wake(nq_wait *w) {
  uint64_t one = 1;
  ssize_t n;
  do
    n = write(((state *)w)->wakefd, &one, sizeof one);
  while (n < 0 && errno == EINTR);
  return n < 0 && errno != EAGAIN ? -1 : 0; /* full means that it is readable, which is all we want */
}

static void heard(nq_wait *w) {
  uint64_t n;
  ssize_t rv = read(((state *)w)->wakefd, &n, sizeof n);
  (void)rv; /* nothing there: the thread that wakes has not written yet; the next wait ends at once, at the cost of a
               tick */
}

static int watch(nq_wait *w, int fd, uint32_t key, int writable, int modify) {
  uint32_t events = writable ? EPOLLIN | EPOLLOUT : EPOLLIN;
  return control((state *)w, fd, key, events, modify ? EPOLL_CTL_MOD : EPOLL_CTL_ADD);
}

static void unwatch(nq_wait *w, int fd) { control((state *)w, fd, 0, 0, EPOLL_CTL_DEL); }

/* Nanoseconds where the kernel has them (5.11), else milliseconds, rounded up. */
static int wait_for(const state *s, struct epoll_event *ev, int64_t ns) {
  static _Atomic int no_pwait2;
  if (ns > 0 && !atomic_load_explicit(&no_pwait2, memory_order_relaxed)) {
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    long n = syscall(SYS_epoll_pwait2, s->epfd, ev, READY, &t, NULL, 0);
    if (n >= 0 || (errno != ENOSYS && errno != EPERM))
      return (int)n;
    atomic_store_explicit(&no_pwait2, 1, memory_order_relaxed);
  }
  int64_t ms = ns / 1000000 + (ns % 1000000 != 0);
  return epoll_wait(s->epfd, ev, READY, ms > 3600000 ? 3600000 : (int)ms);
}

static int sleep_on(nq_wait *w, int64_t ns) {
  state *s = (state *)w;
  struct epoll_event ev[READY];
  int n = wait_for(s, ev, ns);
  w->woken = 0;
  w->n_ready = 0;
  if (n < 0)
    return errno == EINTR ? 0 : -1;
  for (int i = 0; i < n; i++) {
    uint64_t data = ev[i].data.u64;
    if (data == WAKE) { /* the inbox reads it, also when it was emptied before this write came */
      w->woken = 1;
    } else if (data == TIMER) {
      uint64_t ticks;
      ssize_t rv = read(s->timerfd, &ticks, sizeof ticks);
      (void)rv; /* nothing there: it was armed anew; where it is left readable the next wait comes here again */
      w->armed = NQ_NEVER;
    } else {
      w->ready[w->n_ready++] = (nq_wait_ready){(uint32_t)data, (ev[i].events & (EPOLLIN | EPOLLERR)) != 0,
                                               (ev[i].events & EPOLLOUT) != 0, (ev[i].events & EPOLLERR) != 0};
    }
  }
  return n;
}

static int descriptor(nq_wait *w) {
  state *s = (state *)w;
  if (s->timerfd >= 0)
    return s->epfd;
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (fd < 0)
    return -1;
  if (control(s, fd, TIMER, EPOLLIN, EPOLL_CTL_ADD)) {
    int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  s->timerfd = fd;
  return s->epfd;
}

static int arm(nq_wait *w, uint64_t deadline, uint64_t now) {
  state *s = (state *)w;
  (void)now;
  if (s->timerfd < 0 || w->process != nq_fork_generation())
    return 0;
  uint64_t at = deadline ? deadline : 1; /* 0 would disarm it */
  struct itimerspec t = {.it_value = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)}};
  if (timerfd_settime(s->timerfd, TFD_TIMER_ABSTIME, &t, NULL))
    return -1;
  w->armed = deadline;
  return 0;
}

const nq_wait_ops nq_wait_epoll = {"epoll",  open_wait, close_wait, watch,      unwatch,
                                   sleep_on, wake,      heard,      descriptor, arm};
#endif
typedef int nq_wait_epoll_unit; /* a translation unit may not be empty */
