/* calls.h: the unanswered calls of one stream, by message ID: a reply is matched to its call by nq_calls_take, which
 * nq1.c asks when the frame has come. */
#ifndef NQ_CALLS_H
#define NQ_CALLS_H

#include "base/timer.h"
#include "engine.h"

#define NQ_CALLS_MAX_ID (UINT32_MAX - 1) /* the one above it tells of calls that were given up (app/wire.h) */

typedef struct nq_call {
  uint32_t msgid; /* 0: empty slot */
  uint64_t deadline;
  void *user;
} nq_call;

/* Open addressing with the ID itself as hash: IDs are handed out in sequence, so neighbours in time are neighbours in
 * memory, and a call that is never answered costs one slot. */
typedef struct nq_calls {
  nq_call *slots;
  uint32_t n, cap; /* cap: 0 or a power of two; at most three quarters full, up to 32 slots entirely */
  uint32_t made;   /* slots that were ever written: the rest of the memory is as malloc gave it */
  uint32_t last_id, max_id; /* after max_id comes 1 */
  uint64_t timeout; /* default, ns */
  nq_timer timer;   /* the earliest deadline, or before */
  void *owner;      /* the stream */
} nq_calls;

void nq_calls_init(nq_calls *c, uint64_t timeout, uint32_t timer_kind);
void nq_calls_free(nq_calls *c);
/* A new call; returns its message ID, 0: no memory. IDs still in use are skipped; fewer than max_id are in use. */
uint32_t nq_calls_add(nq_calls *c, void *user, uint64_t deadline);
/* The ID that the next call will get; fewer than max_id are in use. */
uint32_t nq_calls_next(const nq_calls *c);
/* 1 and the user of the call with this ID; 0 when there is none. The ID may be any number. */
int nq_calls_look(const nq_calls *c, uint32_t msgid, void **user);
/* Takes the call out: 1 and its user, or 0 when there is none (a late reply, any number). */
int nq_calls_take(nq_calls *c, uint32_t msgid, void **user);
/* Takes out one call whose deadline <= now: its ID, or 0. *scan is where to go on (start with 0); when it returns 0
 * *next is the earliest deadline left. */
uint32_t nq_calls_expire(nq_calls *c, uint64_t now, uint32_t *scan, void **user, uint64_t *next);
/* Takes out any one call: its ID, or 0. *scan as above. */
uint32_t nq_calls_drain(nq_calls *c, uint32_t *scan, void **user);

#endif
