#include "app/calls.h"

#include <stdlib.h>
#include <string.h>

void nq_calls_init(nq_calls *c, uint64_t timeout, uint32_t timer_kind) {
  memset(c, 0, sizeof *c);
  c->max_id = NQ_CALLS_MAX_ID;
  c->timeout = timeout ? timeout : NQ_SEC(30);
  nq_timer_init(&c->timer, timer_kind);
}

void nq_calls_free(nq_calls *c) {
  free(c->slots);
  c->slots = NULL;
  c->n = c->cap = c->made = 0;
}

/* Robin Hood probing: in a run, whoever is further from its home slot comes first. So a search ends at the first that
 * is nearer to its own home, and a removal at the first that is at home: with IDs in sequence, at the very next. */
static inline uint32_t distance(const nq_calls *c, uint32_t i) { return (i - c->slots[i].msgid) & (c->cap - 1); }

/* Slots from `made` on were never written: they are empty, whatever their memory holds. */
static inline int taken(const nq_calls *c, uint32_t i) { return i < c->made && c->slots[i].msgid; }

static nq_call *find_further(const nq_calls *c, uint32_t msgid) {
  uint32_t mask = c->cap - 1, i = msgid & mask;
  for (uint32_t d = 0; taken(c, i) && d <= distance(c, i); d++, i = (i + 1) & mask)
    if (c->slots[i].msgid == msgid)
      return &c->slots[i];
  return NULL;
}

static inline nq_call *find(const nq_calls *c, uint32_t msgid) {
  if (!c->n || !msgid) /* 0 is what empty slots have: it names no call */
    return NULL;
  uint32_t i = msgid & (c->cap - 1);
  if (i < c->made && c->slots[i].msgid == msgid)
    return &c->slots[i];
  return find_further(c, msgid);
}

static inline void put(nq_calls *c, uint32_t i, const nq_call *call) {
  while (c->made <= i)
    c->slots[c->made++].msgid = 0;
  c->slots[i] = *call;
}

static void place(nq_calls *c, nq_call call) {
  uint32_t mask = c->cap - 1, i = call.msgid & mask;
  for (uint32_t d = 0; taken(c, i); d++, i = (i + 1) & mask) {
    uint32_t other = distance(c, i);
    if (other < d) {
      nq_call swap = c->slots[i];
      c->slots[i] = call;
      call = swap;
      d = other;
    }
  }
  put(c, i, &call);
}

#define FIRST_CAP 16u /* the next IDs find the slots of those before: of thousands of streams each has a few calls */
#define SMALL_CAP 32u /* it may be full: a search passes few slots */

/* While it is small it grows fast: memory is not touched before it is used. */
static int grow(nq_calls *c) {
  uint32_t times = c->cap < SMALL_CAP || c->cap >= 8192 ? 2 : 4, had = c->cap, n = c->made;
  uint32_t cap = had ? had * times : FIRST_CAP;
  nq_call *slots = cap ? malloc(cap * sizeof *slots) : NULL, *old = c->slots;
  if (!slots)
    return -1;
  c->slots = slots;
  c->cap = cap;
  c->made = 0;
  for (uint32_t i = 0; i < n; i++)
    if (old[i].msgid)
      place(c, old[i]);
  free(old);
  return 0;
}

static inline void erase(nq_calls *c, uint32_t i) {
  uint32_t mask = c->cap - 1, next = (i + 1) & mask;
  while (taken(c, next) && distance(c, next)) {
    c->slots[i] = c->slots[next];
    i = next;
    next = (next + 1) & mask;
  }
  c->slots[i].msgid = 0;
  c->n--;
}

uint32_t nq_calls_next(const nq_calls *c) {
  uint32_t id = c->last_id;
  do
    id = id < c->max_id ? id + 1 : 1; /* 0 means "no ID" on the wire */
  while (taken(c, id & (c->cap - 1)) && find(c, id)); /* who is not at home has another one there */
  return id;
}

uint32_t nq_calls_add(nq_calls *c, void *user, uint64_t deadline) {
  if (c->n >= (c->cap > SMALL_CAP ? c->cap - c->cap / 4 : c->cap) && grow(c))
    return 0;
  uint32_t id = nq_calls_next(c), i = id & (c->cap - 1);
  c->last_id = id;
  nq_call call = {.msgid = id, .deadline = deadline, .user = user};
  if (taken(c, i))
    place(c, call);
  else
    put(c, i, &call);
  c->n++;
  return id;
}

int nq_calls_look(const nq_calls *c, uint32_t msgid, void **user) {
  const nq_call *call = find(c, msgid);
  if (!call)
    return 0;
  *user = call->user;
  return 1;
}

int nq_calls_take(nq_calls *c, uint32_t msgid, void **user) {
  nq_call *call = find(c, msgid);
  if (!call)
    return 0;
  *user = call->user;
  erase(c, (uint32_t)(call - c->slots));
  if (!c->n && c->cap > 1024) /* a burst is over */
    nq_calls_free(c);
  return 1;
}

uint32_t nq_calls_expire(nq_calls *c, uint64_t now, uint32_t *scan, void **user, uint64_t *next) {
  if (*scan == 0)
    *next = NQ_NEVER;
  while (*scan < c->made) {
    nq_call *call = &c->slots[*scan];
    if (call->msgid && call->deadline <= now) {
      uint32_t id = call->msgid;
      *user = call->user;
      erase(c, *scan); /* may move another call here: look at the same slot again */
      return id;
    }
    if (call->msgid && call->deadline < *next)
      *next = call->deadline;
    ++*scan;
  }
  return 0;
}

uint32_t nq_calls_drain(nq_calls *c, uint32_t *scan, void **user) {
  uint64_t next;
  return nq_calls_expire(c, NQ_NEVER, scan, user, &next);
}
