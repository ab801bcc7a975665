/* wait.h: how a loop sleeps: on its sockets, its timer and its wake-up. By epoll on Linux, by kqueue on macOS and the
 * BSDs that have its user events, by poll() elsewhere; -DNQ_WAIT_KQUEUE or -DNQ_WAIT_POLL chooses. */
#ifndef NQ_WAIT_H
#define NQ_WAIT_H

#include "loop/loop.h"

#if !defined NQ_WAIT_POLL && !defined NQ_WAIT_KQUEUE
#ifdef __linux__
#define NQ_WAIT_EPOLL
#elif defined __APPLE__ || defined __FreeBSD__
#define NQ_WAIT_KQUEUE
#else
#define NQ_WAIT_POLL
#endif
#endif

int nq_wait_open(nq_loop *l); /* 0, or -1 with errno */
void nq_wait_close(nq_loop *l);
/* Sleeps at most ns (0: only looks) and marks the endpoints that can be read or written. How many things were ready
 * (sockets, wake-up, timer), or -1 with l->err. */
int nq_wait(nq_loop *l, int64_t ns);
/* Ends a sleep, or lets the next one end at once. From any thread. 0, or -1: it did not. */
int nq_wait_wake(nq_loop *l);
/* In the loop's thread, before it does what it was woken for: a wake from now on counts anew. */
void nq_wait_woken(nq_loop *l);

#endif
