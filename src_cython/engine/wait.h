/* wait.h: how a loop sleeps: on its sockets, its timer and its wake-up. wait_epoll.c on Linux, wait_poll.c elsewhere.
 */
#ifndef NQ_WAIT_H
#define NQ_WAIT_H

#include "loop.h"

int nq_wait_open(nq_loop *l); /* 0, or -1 with errno */
void nq_wait_close(nq_loop *l);
/* Sleeps at most ns (0: only looks) and marks the endpoints that can be read or written. 0, or -1 with l->err. */
int nq_wait(nq_loop *l, int64_t ns);

#endif
