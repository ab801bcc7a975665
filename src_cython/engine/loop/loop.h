/* loop.h: one loop: the tick, and what it is made of. Everything of a loop is touched by one thread at a time; what
 * other threads may touch stands in its own struct (nq_inbox) or is atomic. */
#ifndef NQ_LOOP_H
#define NQ_LOOP_H

#include <pthread.h>
#include <stdatomic.h>

#include "loop/inbox.h"
#include "loop/wait.h"
#include "quic/hub.h"

struct nq_loop {
  nq_hub hub; /* first: what is below the loop knows it by this */
  uint64_t busy_poll;  /* ns that a wait after traffic is spent looking */
  uint64_t spin_until; /* until when */
  int traffic;         /* something came since the last flush */
  void *ctx;           /* the caller's */
  nq_table alarms;

  struct nq_stream *dispatched_streams; /* their end was given by the poll: free at flush */
  struct nq_conn *dispatched_conns;
  uint32_t rx_again;   /* an endpoint gave a full batch: look again without waiting */
  uint64_t given_at;   /* when the batch went to the caller, if it has requests */
  nq_handle timed;     /* stream whose events run now */
  uint32_t timed_events; /* how many of them */
  uint64_t timed_since;

  nq_wait *wait; /* how it sleeps */

  nq_inbox inbox;
  nq_timer inbox_timer; /* set while posts wait for memory */
  _Atomic(pthread_t) owner;
};

_Static_assert(offsetof(struct nq_loop, hub) == 0, "a loop begins with its hub");

#endif
