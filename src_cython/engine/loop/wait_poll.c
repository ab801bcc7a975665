/* wait_poll.c: the portable wait: poll() over a pipe and the sockets. nq_loop_fd is the pipe: an outside event loop
 * must watch the sockets itself (nq_endpoint_fd) and call poll at the deadline. */
#include "loop/wait.h"
#ifdef NQ_WAIT_POLL
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "quic/burst.h"

int nq_wait_open(nq_loop *l) {
  int p[2];
  if (pipe(p))
    return -1;
  l->epfd = p[0];
  l->wakefd = p[1];
  for (int i = 0; i < 2; i++)
    if (fcntl(p[i], F_SETFL, O_NONBLOCK) || fcntl(p[i], F_SETFD, FD_CLOEXEC))
      return -1;
  return 0;
}

void nq_wait_close(nq_loop *l) {
  if (l->wakefd >= 0)
    close(l->wakefd);
  if (l->epfd >= 0)
    close(l->epfd);
}

int nq_wait_wake(nq_loop *l) {
  ssize_t n;
  do
    n = write(l->wakefd, "", 1);
  while (n < 0 && errno == EINTR);
  return n < 0 && errno != EAGAIN ? -1 : 0; /* full means that it is readable, which is all we want */
}

void nq_wait_woken(nq_loop *l) {
  char bytes[64];
  while (read(l->epfd, bytes, sizeof bytes) == sizeof bytes)
    ;
}

int nq_loop_watch(nq_loop *l, int fd, uint32_t endpoint, int writable, int modify) {
  (void)l, (void)fd, (void)endpoint, (void)writable, (void)modify;
  return 0;
}
void nq_loop_unwatch(nq_loop *l, int fd) { (void)l, (void)fd; }

int nq_wait(nq_loop *l, int64_t ns) {
  struct pollfd p[64] = {{.fd = l->epfd, .events = POLLIN}};
  uint32_t id[64];
  nfds_t n = 1;
  for (uint32_t i = 0; i < l->hub.n_endpoints && n < 64; i++)
    if (l->hub.endpoints[i] && l->hub.endpoints[i]->io->fd >= 0) {
      p[n] = (struct pollfd){.fd = l->hub.endpoints[i]->io->fd, .events = POLLIN};
      if (l->hub.endpoints[i]->watching_write)
        p[n].events |= POLLOUT;
      id[n++] = i;
    }
  int64_t ms = ns / 1000000 + (ns % 1000000 != 0);
  int ready = poll(p, n, ms > 3600000 ? 3600000 : (int)ms);
  if (ready < 0) {
    if (errno == EINTR)
      return 0;
    l->hub.err = errno;
    return -1;
  }
  if (p[0].revents & POLLIN)
    atomic_store_explicit(&l->inbox.woken, NQ_WOKEN, memory_order_release);
  for (nfds_t i = 1; i < n; i++) {
    if (p[i].revents & (POLLIN | POLLERR))
      l->hub.endpoints[id[i]]->readable = 1;
    if (p[i].revents & POLLOUT)
      nq_burst_flush(l->hub.endpoints[id[i]]);
  }
  return ready;
}

int nq_loop_fd(nq_loop *l) { return l->epfd; }
int nq_loop_arm(nq_loop *l) { /* there is no timer behind the pipe: the caller keeps the deadlines */
  if (nq_timers_next(&l->hub.timers) == NQ_NEVER)
    return NQ_DONE;
  l->hub.err = ENOSYS;
  return NQ_ERR_SYS;
}
#endif
typedef int nq_wait_poll_unit; /* a translation unit may not be empty */
