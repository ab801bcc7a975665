#include "loop/wait.h"
#ifdef NQ_WAIT_EPOLL
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "quic/burst.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#define WAKE UINT64_C(0)
#define TIMER UINT64_MAX

/* The kernel objects behind the descriptors are shared with a forked child, which must leave them alone. */
static int watch(nq_loop *l, int fd, uint64_t data, uint32_t events, int op) {
  if (nq_hub_inherited(&l->hub))
    return 0;
  struct epoll_event e = {.events = events, .data.u64 = data};
  return epoll_ctl(l->epfd, op, fd, &e);
}

int nq_wait_open(nq_loop *l) {
  l->epfd = epoll_create1(EPOLL_CLOEXEC);
  l->wakefd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return l->epfd < 0 || l->wakefd < 0 || watch(l, l->wakefd, WAKE, EPOLLIN, EPOLL_CTL_ADD) ? -1 : 0;
}

void nq_wait_close(nq_loop *l) {
  if (l->timerfd >= 0)
    close(l->timerfd);
  if (l->wakefd >= 0)
    close(l->wakefd);
  if (l->epfd >= 0)
    close(l->epfd);
}

int nq_wait_wake(nq_loop *l) {
  uint64_t one = 1;
  ssize_t n;
  do
    n = write(l->wakefd, &one, sizeof one);
  while (n < 0 && errno == EINTR);
  return n < 0 && errno != EAGAIN ? -1 : 0; /* full means that it is readable, which is all we want */
}

void nq_wait_woken(nq_loop *l) {
  uint64_t n;
  ssize_t rv = read(l->wakefd, &n, sizeof n);
  (void)rv; /* nothing there: whoever wakes has not written yet; then the next wait ends at once, which costs a tick */
}

int nq_loop_watch(nq_loop *l, int fd, uint32_t endpoint, int writable, int modify) {
  if (watch(l, fd, endpoint, writable ? EPOLLIN | EPOLLOUT : EPOLLIN, modify ? EPOLL_CTL_MOD : EPOLL_CTL_ADD)) {
    l->hub.err = errno;
    return -1;
  }
  return 0;
}

void nq_loop_unwatch(nq_loop *l, int fd) { watch(l, fd, 0, 0, EPOLL_CTL_DEL); }

/* Nanoseconds where the kernel has them (5.11), else milliseconds, rounded up. */
static int sleep_on(nq_loop *l, struct epoll_event *ev, int max, int64_t ns) {
  static _Atomic int no_pwait2;
  if (ns > 0 && !atomic_load_explicit(&no_pwait2, memory_order_relaxed)) {
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    long n = syscall(SYS_epoll_pwait2, l->epfd, ev, max, &t, NULL, 0);
    if (n >= 0 || (errno != ENOSYS && errno != EPERM))
      return (int)n;
    atomic_store_explicit(&no_pwait2, 1, memory_order_relaxed);
  }
  int64_t ms = ns / 1000000 + (ns % 1000000 != 0);
  return epoll_wait(l->epfd, ev, max, ms > 3600000 ? 3600000 : (int)ms);
}

static void writable(nq_endpoint *ep) {
  if (ep->watching_write)
    nq_burst_flush(ep);
}

int nq_wait(nq_loop *l, int64_t ns) {
  struct epoll_event ev[64];
  int n = sleep_on(l, ev, 64, ns);
  if (n < 0) {
    if (errno == EINTR)
      return 0;
    l->hub.err = errno;
    return -1;
  }
  for (int i = 0; i < n; i++) {
    if (ev[i].data.u64 == WAKE) { /* the inbox reads it, also when it was emptied before this write came */
      atomic_store_explicit(&l->inbox.woken, NQ_WOKEN, memory_order_release);
      continue;
    }
    if (ev[i].data.u64 == TIMER) {
      uint64_t ticks;
      ssize_t rv = read(l->timerfd, &ticks, sizeof ticks);
      (void)rv; /* nothing there: it was armed anew; where it is left readable the next wait comes here again */
      l->timer_armed = NQ_NEVER;
      continue;
    }
    nq_endpoint *ep = nq_endpoint_get(&l->hub, (uint32_t)ev[i].data.u64);
    if (!ep)
      continue;
    if (ev[i].events & (EPOLLIN | EPOLLERR))
      ep->readable = 1;
    if (ev[i].events & EPOLLOUT)
      writable(ep);
  }
  return n;
}

int nq_loop_fd(nq_loop *l) {
  if (l->timerfd >= 0)
    return l->epfd;
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (fd < 0 || watch(l, fd, TIMER, EPOLLIN, EPOLL_CTL_ADD)) {
    l->hub.err = errno;
    if (fd >= 0)
      close(fd);
    return -1;
  }
  l->timerfd = fd;
  return l->epfd;
}

int nq_loop_arm(nq_loop *l) {
  uint64_t next = nq_timers_next(&l->hub.timers);
  /* An earlier wake-up than needed costs nothing but itself: only an earlier deadline is worth a system call. */
  if (l->timerfd < 0 || next >= l->timer_armed || nq_hub_inherited(&l->hub))
    return NQ_DONE;
  uint64_t at = next ? next : 1; /* 0 would disarm it */
  struct itimerspec t = {.it_value = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)}};
  if (timerfd_settime(l->timerfd, TFD_TIMER_ABSTIME, &t, NULL)) {
    l->hub.err = errno;
    return NQ_ERR_SYS;
  }
  l->timer_armed = next;
  return NQ_DONE;
}
#endif
typedef int nq_wait_epoll_unit; /* a translation unit may not be empty */
