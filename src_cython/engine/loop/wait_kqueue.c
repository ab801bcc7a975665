/* wait_kqueue.c: the wait of macOS and the BSDs: a kqueue holds descriptors, timer and wake-up, so that it is one
 * descriptor that an outside event loop can watch. */
#include "loop/wait.h"
#ifdef NQ_WAIT_KQUEUE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/types.h>

#include <sys/event.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fork.h"
#include "base/timer.h"

enum { WAKE = 0, TIMER = 1 }; /* idents of the filters that are no descriptors */
enum { READY = 64 };          /* that one sleep finds at most */
#define LONGEST (3600 * INT64_C(1000000000)) /* that a sleep or a timer is asked for */

typedef struct kqueue_wait_state {
  nq_wait w;                  /* The first member, because an nq_wait is cast to it. */
  int kq;                     /* The kqueue. */
  int timer_wanted;           /* Whether an outside event loop waits on it. */
  nq_wait_ready found[READY]; /* Where w.ready points to. */
} state;

static struct kevent change(uintptr_t ident, int filter, unsigned flags, unsigned fflags, int64_t data,
                            uintptr_t udata) {
  struct kevent k;
  EV_SET(&k, ident, (int16_t)filter, (uint16_t)flags, fflags, (intptr_t)data, (void *)udata);
  return k;
}

/* A forked child has no kqueue: its descriptor's number may be of something else. */
static int apply(const state *s, struct kevent k) {
  return s->w.process == nq_fork_generation() ? kevent(s->kq, &k, 1, NULL, 0, NULL) : 0;
}

static void close_wait(nq_wait *w) {
  state *s = (state *)w;
  if (s->kq >= 0 && w->process == nq_fork_generation())
    close(s->kq);
  free(s);
}

static int open_wait(nq_wait **out) {
  *out = NULL;
  state *s = calloc(1, sizeof *s);
  if (!s)
    return NQ_ERR_NOMEM;
  s->w = (nq_wait){&nq_wait_kqueue, nq_fork_generation(), 0, NQ_NEVER, s->found, 0};
  s->kq = kqueue();
  if (s->kq < 0 || fcntl(s->kq, F_SETFD, FD_CLOEXEC) ||
      apply(s, change(WAKE, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, 0))) {
    int error = errno;
    close_wait(&s->w);
    errno = error;
    return NQ_ERR_SYS;
  }
  *out = &s->w;
  return NQ_DONE;
}

static int wake(nq_wait *w) {
  int rv;
  do
    rv = apply((state *)w, change(WAKE, EVFILT_USER, 0, NOTE_TRIGGER, 0, 0));
  while (rv && errno == EINTR);
  return rv;
}

static void heard(nq_wait *w) { (void)w; } /* EV_CLEAR has done it */

static int watch(nq_wait *w, int fd, uint32_t key, int writable, int modify) {
  const state *s = (state *)w;
  uintptr_t ident = (uintptr_t)fd;
  if (!modify && apply(s, change(ident, EVFILT_READ, EV_ADD, 0, 0, key)))
    return -1;
  if (writable)
    return apply(s, change(ident, EVFILT_WRITE, EV_ADD, 0, 0, key));
  /* not there: it is as it shall be */
  return modify && apply(s, change(ident, EVFILT_WRITE, EV_DELETE, 0, 0, 0)) && errno != ENOENT ? -1 : 0;
}

static void unwatch(nq_wait *w, int fd) {
  apply((state *)w, change((uintptr_t)fd, EVFILT_READ, EV_DELETE, 0, 0, 0));
  apply((state *)w, change((uintptr_t)fd, EVFILT_WRITE, EV_DELETE, 0, 0, 0)); /* not there, as a rule */
}

static int sleep_on(nq_wait *w, int64_t ns) {
  const state *s = (state *)w;
  struct kevent ev[READY];
  if (ns > LONGEST)
    ns = LONGEST;
  struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
  int n = kevent(s->kq, NULL, 0, ev, READY, &t);
  w->woken = 0;
  w->n_ready = 0;
  if (n < 0)
    return errno == EINTR ? 0 : -1;
  for (int i = 0; i < n; i++) {
    if (ev[i].filter == EVFILT_USER)
      w->woken = 1;
    else if (ev[i].filter == EVFILT_TIMER)
      w->armed = NQ_NEVER;
    else
      w->ready[w->n_ready++] = (nq_wait_ready){(uint32_t)(uintptr_t)ev[i].udata, ev[i].filter == EVFILT_READ,
                                               ev[i].filter == EVFILT_WRITE, 0};
  }
  return n;
}

static int descriptor(nq_wait *w) {
  state *s = (state *)w;
  s->timer_wanted = 1;
  return s->kq;
}

static int arm(nq_wait *w, uint64_t deadline, uint64_t now) {
  const state *s = (state *)w;
  if (!s->timer_wanted)
    return 0;
  int64_t left = deadline <= now ? 1 : deadline - now > LONGEST ? LONGEST : (int64_t)(deadline - now);
  if (apply(s, change(TIMER, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, left, 0)))
    return -1;
  w->armed = deadline;
  return 0;
}

const nq_wait_ops nq_wait_kqueue = {"kqueue", open_wait, close_wait, watch,      unwatch,
                                    sleep_on, wake,      heard,      descriptor, arm};
#endif
typedef int nq_wait_kqueue_unit; /* a translation unit may not be empty */
