/* native.h: handlers that are C functions of the user's: they get their events inside the poll. */
#ifndef NQ_NATIVE_H
#define NQ_NATIVE_H

#include "loop/loop.h"

/* Gives every event that has a native handler to it, and takes it out of the batch. */
void nq_native_run(nq_loop *l);

#define NQ_NATIVE_EVENTS 256u /* that many, and their payloads, are still in the nearest cache */

/* Between two packets: never inside a callback of ngtcp2. */
static inline void nq_native_run_some(nq_loop *l) {
  if (l->natives && l->batch.n - l->batch.seen >= NQ_NATIVE_EVENTS)
    nq_native_run(l);
}

#endif
