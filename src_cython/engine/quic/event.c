#include "quic/event.h"

#include <stdlib.h>
#include <string.h>

#define NQ_EVENTS_KEEP 131072u /* capacity kept from one tick to the next */

static _Thread_local nq_event scratch;

void nq_events_init(nq_events *b) {
  memset(b, 0, sizeof *b);
  nq_arena_init(&b->arena);
}

static void owned_free(nq_owned **list) {
  while (*list) {
    nq_owned *next = (*list)->next;
    free((*list)->data);
    free(*list);
    *list = next;
  }
}

void nq_events_free(nq_events *b) {
  owned_free(&b->owned);
  owned_free(&b->given_owned);
  nq_arena_free(&b->arena);
  nq_arena_free(&b->given_arena);
  free(b->v);
  memset(b, 0, sizeof *b);
}

static void swap_arenas(nq_events *b) {
  nq_arena a = b->arena;
  b->arena = b->given_arena;
  b->given_arena = a;
}

void nq_events_give(nq_events *b) {
  if (b->given_owned || b->given_arena.used) { /* given, and never reset: there was no event for it */
    owned_free(&b->given_owned);
    nq_arena_reset(&b->given_arena);
  }
  b->given = b->n;
  b->given_owned = b->owned;
  b->owned = NULL;
  swap_arenas(b);
}

void nq_events_forget(nq_events *b) {
  b->n = b->seen = 0;
  owned_free(&b->owned);
  nq_arena_reset(&b->arena);
}

void nq_events_reset(nq_events *b) {
  b->n -= b->given;
  b->seen = 0;
  if (b->n)
    memmove(b->v, b->v + b->given, b->n * sizeof *b->v);
  b->given = 0;
  owned_free(&b->given_owned);
  nq_arena_reset(&b->given_arena);
  if (!b->arena.used) /* the memory just used is still in the cache */
    swap_arenas(b);
  if (b->cap > NQ_EVENTS_KEEP && !b->n) {
    free(b->v);
    b->v = NULL;
    b->cap = 0;
  }
}

int nq_events_grow(nq_events *b, uint32_t n) {
  uint64_t cap = b->cap ? b->cap * UINT64_C(2) : 256;
  while (cap < (uint64_t)b->n + n)
    cap *= 2;
  if (cap > UINT32_MAX)
    return -1;
  nq_event *v;
  if (b->given) { /* the caller walks this array: it stays until the reset */
    nq_owned *o = malloc(sizeof *o);
    v = o ? malloc(cap * sizeof *v) : NULL;
    if (v) {
      memcpy(v, b->v, b->n * sizeof *v);
      *o = (nq_owned){.next = b->given_owned, .data = (uint8_t *)b->v};
      b->given_owned = o;
    } else {
      free(o);
    }
  } else {
    v = realloc(b->v, cap * sizeof *v);
  }
  if (!v)
    return -1;
  b->v = v;
  b->cap = (uint32_t)cap;
  return 0;
}

nq_event *nq_events_lost(nq_events *b) {
  b->oom = 1;
  return &scratch;
}

const uint8_t *nq_events_adopt(nq_events *b, nq_bytes *msg) {
  size_t n = nq_bytes_size(msg);
  if (n <= 4096) { /* copying is cheaper than giving the buffer away */
    uint8_t *p = nq_arena_alloc(&b->arena, n ? n : 1);
    if (p && n)
      memcpy(p, nq_bytes_at(msg), n);
    nq_bytes_consume(msg, n);
    return p;
  }
  nq_owned *o = malloc(sizeof *o);
  if (!o)
    return NULL;
  *o = (nq_owned){.next = b->owned, .data = msg->data};
  b->owned = o;
  const uint8_t *p = nq_bytes_at(msg);
  nq_bytes_init(msg);
  return p;
}
