#include "base/timer.h"

#include <stdlib.h>

/* Slot i has its children at 4i+1 .. 4i+4: half the levels of a binary heap, and the four are neighbours. */

void nq_timers_init(nq_timers *ts) { *ts = (nq_timers){0}; }

void nq_timers_free(nq_timers *ts) {
  for (uint32_t i = 0; i < ts->n; i++) { /* owners may outlive the loop: a later cancel must not touch the heap */
    ts->heap[i]->pos = 0;
    ts->heap[i]->deadline = ts->heap[i]->key = NQ_NEVER;
  }
  free(ts->heap);
  nq_timers_init(ts);
}

void nq_timer_init(nq_timer *t, uint32_t kind) { *t = (nq_timer){NQ_NEVER, NQ_NEVER, 0, kind}; }

static inline void place(nq_timers *ts, uint32_t i, nq_timer *t) {
  ts->heap[i] = t;
  t->pos = i + 1;
}

static void sift_up(nq_timers *ts, uint32_t i, nq_timer *t) {
  while (i > 0) {
    uint32_t parent = (i - 1) / 4;
    if (ts->heap[parent]->key <= t->key)
      break;
    place(ts, i, ts->heap[parent]);
    i = parent;
  }
  place(ts, i, t);
}

static void sift_down(nq_timers *ts, uint32_t i, nq_timer *t) {
  for (;;) {
    uint64_t first = 4 * (uint64_t)i + 1, end = first + 4 < ts->n ? first + 4 : ts->n;
    if (first >= ts->n)
      break;
    uint32_t best = (uint32_t)first;
    uint64_t key = ts->heap[best]->key;
    for (uint32_t c = best + 1; c < end; c++)
      if (ts->heap[c]->key < key) {
        best = c;
        key = ts->heap[c]->key;
      }
    if (t->key <= key)
      break;
    place(ts, i, ts->heap[best]);
    i = best;
  }
  place(ts, i, t);
}

static int grow(nq_timers *ts) {
  if (ts->cap > UINT32_MAX / 4)
    return -1;
  uint32_t cap = ts->cap ? 2 * ts->cap : 64;
  nq_timer **heap = realloc(ts->heap, cap * sizeof *heap);
  if (!heap)
    return -1;
  ts->heap = heap;
  ts->cap = cap;
  return 0;
}

int nq_timers_keep(nq_timers *ts) {
  if (ts->kept >= ts->cap && grow(ts) < 0)
    return -1;
  ts->kept++;
  return 0;
}

void nq_timers_unkeep(nq_timers *ts) { ts->kept--; }

static void take_out(nq_timers *ts, nq_timer *t) {
  uint32_t i = t->pos - 1;
  nq_timer *last = ts->heap[--ts->n];
  t->pos = 0;
  t->deadline = t->key = NQ_NEVER;
  if (last == t)
    return;
  if (i > 0 && last->key < ts->heap[(i - 1) / 4]->key)
    sift_up(ts, i, last);
  else
    sift_down(ts, i, last);
}

int nq_timer_set(nq_timers *ts, nq_timer *t, uint64_t deadline) {
  if (deadline == NQ_NEVER) {
    nq_timer_cancel(ts, t);
    return 0;
  }
  if (t->pos) {
    t->deadline = deadline;
    if (deadline < t->key) {
      t->key = deadline;
      sift_up(ts, t->pos - 1, t);
    }
    return 0;
  }
  if (ts->n == ts->cap && grow(ts) < 0)
    return -1;
  t->deadline = t->key = deadline;
  sift_up(ts, ts->n++, t);
  return 0;
}

void nq_timer_cancel(nq_timers *ts, nq_timer *t) {
  if (t->pos)
    take_out(ts, t);
}

nq_timer *nq_timers_pop(nq_timers *ts, uint64_t now) {
  while (ts->n > 0 && ts->heap[0]->key <= now) {
    nq_timer *t = ts->heap[0];
    if (t->deadline == t->key) {
      take_out(ts, t);
      return t;
    }
    t->key = t->deadline; /* it was put off: it waits its turn anew, so timers come out in the order of deadlines */
    sift_down(ts, 0, t);
  }
  return NULL;
}

uint64_t nq_timers_next(const nq_timers *ts) { return ts->n > 0 ? ts->heap[0]->key : NQ_NEVER; }
