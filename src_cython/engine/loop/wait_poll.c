/* wait_poll.c: the portable wait: poll() over a pipe and the descriptors. The descriptor for an outside event loop is
 * the pipe: it must watch the others itself (nq_endpoint_fd), and poll the loop at the deadline. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fork.h"
#include "base/timer.h"
#include "loop/wait.h"

typedef struct poll_wait_state {
  nq_wait w;             /* The first member, because an nq_wait is cast to it. */
  int wakefd;            /* The end of the pipe that is written to end a sleep; the other one is the first of all. */
  struct pollfd *all;    /* The pipe, then what is watched. */
  uint32_t *keys;        /* What each of them is watched under. */
  uint32_t n;            /* Their number. */
  uint32_t cap;          /* The number that there is room for: in w.ready, too, so that a sleep needs no memory. */
} state;

static int grow(state *s) {
  uint32_t cap = s->cap ? s->cap * 2 : 8;
  struct pollfd *all = realloc(s->all, cap * sizeof *all);
  if (!all)
    return -1;
  s->all = all;
  uint32_t *keys = realloc(s->keys, cap * sizeof *keys);
  if (!keys)
    return -1;
  s->keys = keys;
  nq_wait_ready *ready = realloc(s->w.ready, cap * sizeof *ready);
  if (!ready)
    return -1;
  s->w.ready = ready;
  s->cap = cap;
  return 0;
}

static void close_wait(nq_wait *w) {
  state *s = (state *)w;
  if (s->wakefd >= 0)
    close(s->wakefd);
  if (s->n)
    close(s->all[0].fd);
  free(s->all);
  free(s->keys);
  free(w->ready);
  free(s);
}

static int make_pipe(state *s) {
  int p[2];
  if (pipe(p))
    return -1;
  s->all[0] = (struct pollfd){.fd = p[0], .events = POLLIN};
  s->n = 1;
  s->wakefd = p[1];
  for (int i = 0; i < 2; i++)
    if (fcntl(p[i], F_SETFL, O_NONBLOCK) || fcntl(p[i], F_SETFD, FD_CLOEXEC))
      return -1;
  return 0;
}

static int open_wait(nq_wait **out) {
  *out = NULL;
  state *s = calloc(1, sizeof *s);
  if (!s)
    return NQ_ERR_NOMEM;
  s->w = (nq_wait){&nq_wait_poll, nq_fork_generation(), 0, NQ_NEVER, NULL, 0};
  s->wakefd = -1;
  int rv = grow(s) ? NQ_ERR_NOMEM : make_pipe(s) ? NQ_ERR_SYS : NQ_DONE;
  if (rv) {
    int error = errno;
    close_wait(&s->w);
    errno = error;
    return rv;
  }
  *out = &s->w;
  return NQ_DONE;
}

static int wake(nq_wait *w) {
  ssize_t n;
  do
    n = write(((state *)w)->wakefd, "", 1);
  while (n < 0 && errno == EINTR);
  return n < 0 && errno != EAGAIN ? -1 : 0; /* full means that it is readable, which is all we want */
}

static void heard(nq_wait *w) {
  char bytes[64];
  while (read(((state *)w)->all[0].fd, bytes, sizeof bytes) == sizeof bytes)
    ;
}

/* Its place; s->n when it is not watched. */
static uint32_t place_of(const state *s, int fd) {
  uint32_t i = 1;
  while (i < s->n && s->all[i].fd != fd)
    i++;
  return i;
}

static int watch(nq_wait *w, int fd, uint32_t key, int writable, int modify) {
  state *s = (state *)w;
  uint32_t i = modify ? place_of(s, fd) : s->n;
  if (i == s->cap && grow(s)) {
    errno = ENOMEM;
    return -1;
  }
  s->all[i] = (struct pollfd){.fd = fd, .events = (short)(writable ? POLLIN | POLLOUT : POLLIN)};
  s->keys[i] = key;
  s->n += i == s->n;
  return 0;
}

static void unwatch(nq_wait *w, int fd) {
  state *s = (state *)w;
  uint32_t i = place_of(s, fd);
  if (i == s->n)
    return;
  s->all[i] = s->all[--s->n]; /* the last one takes its place */
  s->keys[i] = s->keys[s->n];
}

static int sleep_on(nq_wait *w, int64_t ns) {
  const state *s = (state *)w;
  int64_t ms = ns / 1000000 + (ns % 1000000 != 0);
  int n = poll(s->all, (nfds_t)s->n, ms > 3600000 ? 3600000 : (int)ms);
  w->woken = 0;
  w->n_ready = 0;
  if (n < 0)
    return errno == EINTR ? 0 : -1;
  w->woken = (s->all[0].revents & POLLIN) != 0;
  for (uint32_t i = 1; n > w->woken && i < s->n; i++)
    if (s->all[i].revents)
      w->ready[w->n_ready++] =
          (nq_wait_ready){s->keys[i], (s->all[i].revents & (POLLIN | POLLERR | POLLNVAL)) != 0,
                          (s->all[i].revents & POLLOUT) != 0, (s->all[i].revents & (POLLERR | POLLNVAL)) != 0};
  return n;
}

static int descriptor(nq_wait *w) { return ((state *)w)->all[0].fd; }

static int arm(nq_wait *w, uint64_t deadline, uint64_t now) { /* there is no timer behind the pipe */
  (void)w, (void)deadline, (void)now;
  errno = ENOSYS;
  return -1;
}

const nq_wait_ops nq_wait_poll = {"poll",   open_wait, close_wait, watch,      unwatch,
                                  sleep_on, wake,      heard,      descriptor, arm};
