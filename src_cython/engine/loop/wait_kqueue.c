/* wait_kqueue.c: the wait of macOS and the BSDs: a kqueue holds sockets, timer and wake-up, so that nq_loop_fd is one
 * descriptor that an outside event loop can watch. */
#include "loop/wait.h"
#ifdef NQ_WAIT_KQUEUE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/types.h>

#include <sys/event.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "quic/burst.h"

enum { WAKE = 0, TIMER = 1 }; /* idents of the filters that are no descriptors */

static struct kevent change(uintptr_t ident, int filter, unsigned flags, unsigned fflags, int64_t data,
                            uintptr_t udata) {
  struct kevent k;
  EV_SET(&k, ident, (int16_t)filter, (uint16_t)flags, fflags, (intptr_t)data, (void *)udata);
  return k;
}

#define LONGEST (3600 * INT64_C(1000000000)) /* that a wait or a timer is asked for */

/* A forked child has no kqueue: its descriptor's number may be of something else. */
static int apply(nq_loop *l, struct kevent k) {
  return nq_hub_inherited(&l->hub) ? 0 : kevent(l->epfd, &k, 1, NULL, 0, NULL);
}

int nq_wait_open(nq_loop *l) {
  l->epfd = kqueue();
  if (l->epfd < 0)
    return -1;
  if (fcntl(l->epfd, F_SETFD, FD_CLOEXEC))
    return -1;
  return apply(l, change(WAKE, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, 0));
}

void nq_wait_close(nq_loop *l) {
  if (l->epfd >= 0 && !nq_hub_inherited(&l->hub))
    close(l->epfd);
}

int nq_wait_wake(nq_loop *l) {
  int rv;
  do
    rv = apply(l, change(WAKE, EVFILT_USER, 0, NOTE_TRIGGER, 0, 0));
  while (rv && errno == EINTR);
  return rv;
}
void nq_wait_woken(nq_loop *l) { (void)l; } /* EV_CLEAR has done it */

int nq_loop_watch(nq_loop *l, int fd, uint32_t endpoint, int writable, int modify) {
  uintptr_t ident = (uintptr_t)fd;
  int failed = !modify && apply(l, change(ident, EVFILT_READ, EV_ADD, 0, 0, endpoint));
  if (!failed && writable)
    failed = apply(l, change(ident, EVFILT_WRITE, EV_ADD, 0, 0, endpoint));
  else if (!failed && modify) /* not there: it is as it shall be */
    failed = apply(l, change(ident, EVFILT_WRITE, EV_DELETE, 0, 0, 0)) && errno != ENOENT;
  if (failed)
    l->hub.err = errno;
  return failed ? -1 : 0;
}

void nq_loop_unwatch(nq_loop *l, int fd) {
  apply(l, change((uintptr_t)fd, EVFILT_READ, EV_DELETE, 0, 0, 0));
  apply(l, change((uintptr_t)fd, EVFILT_WRITE, EV_DELETE, 0, 0, 0)); /* not there, as a rule */
}

int nq_wait(nq_loop *l, int64_t ns) {
  struct kevent ev[64];
  if (ns > LONGEST)
    ns = LONGEST;
  struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
  int n = kevent(l->epfd, NULL, 0, ev, 64, &t);
  if (n < 0) {
    if (errno == EINTR)
      return 0;
    l->hub.err = errno;
    return -1;
  }
  for (int i = 0; i < n; i++) {
    if (ev[i].filter == EVFILT_USER) {
      atomic_store_explicit(&l->inbox.woken, NQ_WOKEN, memory_order_release);
      continue;
    }
    if (ev[i].filter == EVFILT_TIMER) {
      l->timer_armed = NQ_NEVER;
      continue;
    }
    nq_endpoint *ep = nq_endpoint_get(&l->hub, (uint32_t)(uintptr_t)ev[i].udata);
    if (!ep)
      continue;
    if (ev[i].filter == EVFILT_READ)
      ep->readable = 1;
    else if (ep->watching_write)
      nq_burst_flush(ep);
  }
  return n;
}

int nq_loop_fd(nq_loop *l) {
  l->timer_wanted = 1;
  return l->epfd;
}

int nq_loop_arm(nq_loop *l) {
  uint64_t next = nq_timers_next(&l->hub.timers);
  /* An earlier wake-up than needed costs nothing but itself: only an earlier deadline is worth a system call. */
  if (!l->timer_wanted || next >= l->timer_armed)
    return NQ_DONE;
  uint64_t now = nq_hub_clock(&l->hub);
  int64_t left = next <= now ? 1 : next - now > LONGEST ? LONGEST : (int64_t)(next - now);
  if (apply(l, change(TIMER, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, left, 0))) {
    l->hub.err = errno;
    return NQ_ERR_SYS;
  }
  l->timer_armed = next;
  return NQ_DONE;
}
#endif
typedef int nq_wait_kqueue_unit; /* a translation unit may not be empty */
