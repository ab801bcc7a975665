#include "base/table.h"

#include <stdlib.h>

static inline nq_slot *slot_at(const nq_table *t, uint32_t i) {
  nq_slot *chunk = atomic_load_explicit(&t->dir[i >> NQ_TABLE_SHIFT], memory_order_relaxed);
  return &chunk[i & (NQ_TABLE_CHUNK - 1)];
}

int nq_table_init(nq_table *t) {
  *t = (nq_table){0};
  t->dir = calloc(NQ_TABLE_DIR, sizeof *t->dir); /* large enough to be pages that cost nothing until touched */
  return t->dir ? 0 : -1;
}

void nq_table_free(nq_table *t) {
  for (uint32_t c = 0; c < t->chunks; c++)
    free(atomic_load_explicit(&t->dir[c], memory_order_relaxed));
  free(t->dir);
  *t = (nq_table){0};
}

/* One more chunk, its slots on the free list, lowest first. */
static int add_chunk(nq_table *t) {
  if (!t->dir || t->chunks == NQ_TABLE_DIR)
    return -1;
  nq_slot *chunk = calloc(NQ_TABLE_CHUNK, sizeof *chunk);
  if (!chunk)
    return -1;
  uint32_t base = t->chunks << NQ_TABLE_SHIFT;
  for (uint32_t i = 0; i < NQ_TABLE_CHUNK; i++)
    chunk[i].next = i + 1 < NQ_TABLE_CHUNK ? base + i + 2 : t->free;
  /* Other threads read dir without a lock: the zeroed generations must be there before the pointer is. */
  atomic_store_explicit(&t->dir[t->chunks++], chunk, memory_order_release);
  t->free = base + 1;
  return 0;
}

nq_handle nq_table_insert(nq_table *t, void *obj) {
  if (!t->free && add_chunk(t) < 0)
    return 0;
  uint32_t i = t->free - 1;
  nq_slot *s = slot_at(t, i);
  uint32_t gen = atomic_load_explicit(&s->gen, memory_order_relaxed) + 1;
  t->free = s->next;
  t->live++;
  s->obj = obj;
  atomic_store_explicit(&s->gen, gen, memory_order_release);
  return (nq_handle)gen << 32 | i;
}

void *nq_table_remove(nq_table *t, nq_handle h) {
  void *obj = nq_table_get(t, h);
  if (!obj)
    return NULL;
  uint32_t i = (uint32_t)h, gen = (uint32_t)(h >> 32) + 1;
  nq_slot *s = slot_at(t, i);
  atomic_store_explicit(&s->gen, gen, memory_order_release);
  s->obj = NULL;
  t->live--;
  if (gen != 0) { /* 0: it wrapped; used again, the slot would give out handles it has given before */
    s->next = t->free;
    t->free = i + 1;
  }
  return obj;
}

int nq_table_alive(const nq_table *t, nq_handle h) {
  uint32_t i = (uint32_t)h, c = i >> NQ_TABLE_SHIFT, gen = (uint32_t)(h >> 32);
  if (!(gen & 1) || c >= NQ_TABLE_DIR || !t->dir)
    return 0;
  nq_slot *chunk = atomic_load_explicit(&t->dir[c], memory_order_acquire);
  return chunk && atomic_load_explicit(&chunk[i & (NQ_TABLE_CHUNK - 1)].gen, memory_order_acquire) == gen;
}

void nq_table_each(nq_table *t, void (*fn)(void *ctx, nq_handle h, void *obj), void *ctx) {
  for (uint32_t i = 0; i < t->chunks << NQ_TABLE_SHIFT; i++) {
    nq_slot *s = slot_at(t, i);
    uint32_t gen = atomic_load_explicit(&s->gen, memory_order_relaxed);
    if (gen & 1)
      fn(ctx, (nq_handle)gen << 32 | i, s->obj);
  }
}
