#include "rpc.h"

#include <stdlib.h>
#include <string.h>

void nq_calls_init(nq_calls *c, uint64_t timeout, uint32_t timer_kind) {
  memset(c, 0, sizeof *c);
  c->max_id = UINT32_MAX;
  c->timeout = timeout ? timeout : NQ_SEC(30);
  nq_timer_init(&c->timer, timer_kind);
}

void nq_calls_free(nq_calls *c) {
  free(c->slots);
  c->slots = NULL;
  c->n = c->cap = 0;
}

/* Robin Hood probing: in a run, whoever is further from its home slot comes first. So a search ends at the first that
 * is nearer to its own home, and a removal at the first that is at home: with IDs in sequence, at the very next. */
static uint32_t distance(const nq_calls *c, uint32_t i) { return (i - c->slots[i].msgid) & (c->cap - 1); }

static nq_call *find(const nq_calls *c, uint32_t msgid) {
  if (!c->n)
    return NULL;
  uint32_t mask = c->cap - 1, i = msgid & mask;
  for (uint32_t d = 0; c->slots[i].msgid && d <= distance(c, i); d++, i = (i + 1) & mask)
    if (c->slots[i].msgid == msgid)
      return &c->slots[i];
  return NULL;
}

static void place(nq_calls *c, nq_call call) {
  uint32_t mask = c->cap - 1, i = call.msgid & mask;
  for (uint32_t d = 0; c->slots[i].msgid; d++, i = (i + 1) & mask) {
    uint32_t other = distance(c, i);
    if (other < d) {
      nq_call swap = c->slots[i];
      c->slots[i] = call;
      call = swap;
      d = other;
    }
  }
  c->slots[i] = call;
}

static int resize(nq_calls *c, uint32_t cap) {
  nq_call *old = c->slots;
  uint32_t n = c->cap;
  nq_call *slots = calloc(cap, sizeof *slots);
  if (!slots)
    return -1;
  c->slots = slots;
  c->cap = cap;
  for (uint32_t i = 0; i < n; i++)
    if (old[i].msgid)
      place(c, old[i]);
  free(old);
  return 0;
}

static void erase(nq_calls *c, uint32_t i) {
  uint32_t mask = c->cap - 1, next = (i + 1) & mask;
  while (c->slots[next].msgid && distance(c, next)) {
    c->slots[i] = c->slots[next];
    i = next;
    next = (next + 1) & mask;
  }
  c->slots[i].msgid = 0;
  c->n--;
}

uint32_t nq_calls_add(nq_calls *c, void *user, uint64_t deadline) {
  if (c->n * 2 >= c->cap && resize(c, c->cap ? c->cap * 2 : 8))
    return 0;
  uint32_t id = c->last_id;
  do {
    id = id < c->max_id ? id + 1 : 1; /* 0 means "no ID" on the wire */
  } while (find(c, id));
  c->last_id = id;
  place(c, (nq_call){.msgid = id, .deadline = deadline, .user = user});
  c->n++;
  return id;
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
  while (*scan < c->cap) {
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
