/* event.h: the batch of a tick: events, and the memory their payloads are in. */
#ifndef NQ_EVENT_H
#define NQ_EVENT_H

#include "base/arena.h"
#include "base/bytes.h"
#include "engine.h"

typedef struct nq_owned {
  struct nq_owned *next;
  uint8_t *data;
} nq_owned;

typedef struct nq_events {
  nq_event *v;
  uint32_t n, cap;
  uint32_t given;   /* the first so many were returned by the poll; calls of the user may have pushed more since */
  uint32_t seen;    /* the first so many were offered to the native handlers */
  int oom; /* an event was lost for want of memory: the connection that is worked on is ended for it */
  nq_arena arena, given_arena; /* payloads of what is pushed now; of what was given */
  struct nq_owned *owned, *given_owned; /* large payloads whose buffer was handed over whole */
} nq_events;

void nq_events_init(nq_events *b);
void nq_events_free(nq_events *b);
/* The events so far go to the caller. What is pushed from now on is the next batch, with memory of its own. */
void nq_events_give(nq_events *b);
/* No event so far is left, and so nothing that their payloads would be kept for. */
void nq_events_forget(nq_events *b);
/* What was given was dispatched, and its payloads are gone; what was pushed since stays for the next poll. */
void nq_events_reset(nq_events *b);
/* Makes room for n more events: 0, or -1: no memory. */
int nq_events_grow(nq_events *b, uint32_t n);
/* The slot that stands for an event for which there is no memory; sets oom. */
nq_event *nq_events_lost(nq_events *b);
/* Takes over the memory of an assembled message until the reset. Returns where its bytes are, NULL: no memory. */
const uint8_t *nq_events_adopt(nq_events *b, nq_bytes *msg);

/* Whether n more events can be pushed now. Who gives something up by an event (a call, a mark, a stream) asks first. */
static inline int nq_events_room(nq_events *b, uint32_t n) { return b->cap - b->n >= n || !nq_events_grow(b, n); }

/* A new event, zeroed but for its kind and handle. Never NULL: without memory it is a scratch slot and oom is set. */
static inline nq_event *nq_events_push(nq_events *b, nq_event_kind kind, nq_handle h) {
  nq_event *e = nq_events_room(b, 1) ? &b->v[b->n++] : nq_events_lost(b);
  *e = (nq_event){.kind = (uint8_t)kind, .handle = h};
  return e;
}

#endif
