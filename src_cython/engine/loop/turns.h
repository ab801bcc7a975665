/* turns.h: handlers take turns. What they do cannot be interrupted: others wait until all that came in a tick was
 * handled. So after a long tick the caller is asked to time them, and a connection whose requests take long has fewer
 * of them in a tick, down to one; what it sent beyond waits, and its credit is withheld. While it is alone it has as
 * many as it likes. The share is taken in quic/turn.h. */
#ifndef NQ_TURNS_H
#define NQ_TURNS_H

#include "loop/loop.h"

/* The caller has handled a batch with requests or records. */
void nq_turns_end_tick(nq_loop *l);

#endif
