/* timer.h: the deadlines of a loop, in one 4-ary heap of intrusive timers.
 * Putting a deadline off is O(1): the heap keeps the earlier key and looks again when that key is due. */
#ifndef NQ_TIMER_H
#define NQ_TIMER_H

#include <stddef.h>
#include <stdint.h>

#define NQ_NEVER UINT64_MAX

typedef struct nq_timer {
  uint64_t deadline; /* When it is due, in ns; NQ_NEVER when it is not set. */
  uint64_t key;      /* What the heap has it ordered by, at most its deadline. */
  uint32_t pos;      /* Its place in the heap, as index + 1; 0 when it is not in it. */
  uint32_t kind;     /* The owner's own tag, to find the object that a due timer is part of. */
} nq_timer;

typedef struct nq_timers {
  nq_timer **heap; /* The timers, ordered by key. */
  uint32_t n;      /* The timers in the heap. */
  uint32_t cap;    /* The timers that there is room for now. */
  uint32_t kept;   /* The timers that there is room for at any time. */
} nq_timers;

/* No timers. */
void nq_timers_init(nq_timers *ts);
/* Timers still set belong to their owners and are unset. */
void nq_timers_free(nq_timers *ts);
/* A timer that is not set. */
void nq_timer_init(nq_timer *t, uint32_t kind);
/* Room for one more timer, from now on and until it is given back: -1 when there is no memory. An object asks for it
 * when it is made, so that it never lacks memory for a deadline later. */
int nq_timers_keep(nq_timers *ts);
/* Gives back the room that nq_timers_keep has made. */
void nq_timers_unkeep(nq_timers *ts);
/* Sets, moves or (NQ_NEVER) cancels. 0, or -1 when there is no memory for one more timer, and no room was kept. The
 * owner of a set timer cancels it before it goes away. */
int nq_timer_set(nq_timers *ts, nq_timer *t, uint64_t deadline);
/* Unsets it: the heap no longer knows it. */
void nq_timer_cancel(nq_timers *ts, nq_timer *t);
/* Takes out the timer with the earliest deadline <= now, or NULL. Its deadline is NQ_NEVER afterwards. */
nq_timer *nq_timers_pop(nq_timers *ts, uint64_t now);
/* No timer is due before this (it may be earlier than the first real deadline); NQ_NEVER when there is none. */
uint64_t nq_timers_next(const nq_timers *ts);

#endif
