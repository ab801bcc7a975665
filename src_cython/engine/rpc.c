#include "rpc.h"

#include <stdlib.h>
#include <string.h>

void nq_calls_init(nq_calls *c, uint64_t timeout, uint32_t timer_kind) {
  memset(c, 0, sizeof *c);
  c->timeout = timeout ? timeout : NQ_SEC(30);
  nq_timer_init(&c->timer, timer_kind);
}

void nq_calls_free(nq_calls *c) {
  free(c->slots);
  c->slots = NULL;
  c->n = c->cap = 0;
}

static nq_call *find(const nq_calls *c, uint32_t msgid) {
  if (!c->n)
    return NULL;
  uint32_t mask = c->cap - 1;
  for (uint32_t i = msgid & mask; c->slots[i].msgid; i = (i + 1) & mask)
    if (c->slots[i].msgid == msgid)
      return &c->slots[i];
  return NULL;
}

static void place(nq_call *slots, uint32_t mask, const nq_call *call) {
  uint32_t i = call->msgid & mask;
  while (slots[i].msgid)
    i = (i + 1) & mask;
  slots[i] = *call;
}

static int resize(nq_calls *c, uint32_t cap) {
  nq_call *slots = calloc(cap, sizeof *slots);
  if (!slots)
    return -1;
  for (uint32_t i = 0; i < c->cap; i++)
    if (c->slots[i].msgid)
      place(slots, cap - 1, &c->slots[i]);
  free(c->slots);
  c->slots = slots;
  c->cap = cap;
  return 0;
}

/* Empties slot i and moves back what had to step over it. */
static void erase(nq_calls *c, uint32_t i) {
  uint32_t mask = c->cap - 1, j = i;
  for (;;) {
    j = (j + 1) & mask;
    if (!c->slots[j].msgid)
      break;
    uint32_t home = c->slots[j].msgid & mask;
    if (((j - home) & mask) >= ((j - i) & mask)) {
      c->slots[i] = c->slots[j];
      i = j;
    }
  }
  c->slots[i].msgid = 0;
  c->n--;
}

uint32_t nq_calls_add(nq_calls *c, void *user, uint64_t deadline) {
  if (c->n * 2 >= c->cap && resize(c, c->cap ? c->cap * 2 : 8))
    return 0;
  uint32_t id = c->last_id;
  do {
    id++;
    id += !id; /* 0 means "no ID" on the wire */
  } while (find(c, id));
  c->last_id = id;
  place(c->slots, c->cap - 1, &(nq_call){.msgid = id, .deadline = deadline, .user = user});
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
