#include "loop/wait.h"

#include <stddef.h>
#include <string.h>

#include "base/timer.h"

/* -DNQ_WAIT_POLL or -DNQ_WAIT_KQUEUE makes another one than the system's own the default. */
static const nq_wait_ops *const waits[] = {
#ifdef NQ_WAIT_POLL
    &nq_wait_poll,
#endif
#ifdef NQ_WAIT_KQUEUE
    &nq_wait_kqueue,
#endif
#ifdef NQ_WAIT_EPOLL
    &nq_wait_epoll,
#endif
#ifndef NQ_WAIT_POLL
    &nq_wait_poll,
#endif
};

const nq_wait_ops *nq_wait_at(uint32_t i) { return i < sizeof waits / sizeof *waits ? waits[i] : NULL; }

const nq_wait_ops *nq_wait_find(const char *name) {
  const nq_wait_ops *ops;
  for (uint32_t i = 0; (ops = nq_wait_at(i)) && name && strcmp(ops->name, name) != 0;)
    i++;
  return ops;
}

int nq_wait_arm(nq_wait *w, uint64_t deadline, uint64_t (*clock)(void *ctx), void *ctx) {
  return deadline < w->armed ? w->ops->arm(w, deadline, clock(ctx)) : 0;
}
