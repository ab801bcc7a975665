#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/poison.h"

#define BLOCK (256u << 10)
#define BLOCK_CAP (BLOCK - sizeof(nq_arena_block))
#define ARENA_KEEP (4u << 20)

void nq_arena_init(nq_arena *a) { *a = (nq_arena){0}; }

static void free_blocks(nq_arena_block *b) {
  while (b) {
    nq_arena_block *next = b->next;
    NQ_UNPOISON(b->data, b->cap);
    free(b);
    b = next;
  }
}

void nq_arena_free(nq_arena *a) {
  free_blocks(a->blocks);
  free_blocks(a->spare);
  nq_arena_init(a);
}

/* A spare block of at least n bytes, else a new one. */
static nq_arena_block *block_get(nq_arena *a, size_t n) {
  for (nq_arena_block **at = &a->spare; *at; at = &(*at)->next)
    if ((*at)->cap >= n) {
      nq_arena_block *b = *at;
      *at = b->next;
      return b;
    }
  size_t cap = n > BLOCK_CAP ? n : BLOCK_CAP;
  nq_arena_block *b = malloc(sizeof *b + cap);
  if (!b)
    return NULL;
  b->cap = cap;
  NQ_POISON(b->data, cap);
  return b;
}

static void *alloc_slow(nq_arena *a, size_t n, size_t need) {
  nq_arena_block *b = block_get(a, need);
  if (!b)
    return NULL;
  if (!a->cur || b->cap - need > a->cur->cap - a->off) { /* the next requests go where more is left */
    b->next = a->blocks;
    a->blocks = a->cur = b;
    a->off = need;
  } else {
    b->next = a->cur->next;
    a->cur->next = b;
  }
  a->used += need;
  NQ_UNPOISON(b->data, n);
  return b->data;
}

void *nq_arena_alloc(nq_arena *a, size_t n) {
  if (n > SIZE_MAX / 2)
    return NULL;
  size_t need = n ? (n + 15) & ~(size_t)15 : 16;
  if (!a->cur || need > a->cur->cap - a->off)
    return alloc_slow(a, n, need);
  uint8_t *p = a->cur->data + a->off;
  a->off += need;
  a->used += need;
  NQ_UNPOISON(p, n);
  return p;
}

void nq_arena_reset(nq_arena *a) {
  nq_arena_block *b = a->blocks, *next;
  a->used = a->off = 0;
  /* One block of the usual size, what most batches need. It was new only if there was no spare, so at most 4 MiB are
   * kept still. */
  if (b && !b->next && b->cap == BLOCK_CAP) {
    NQ_POISON(b->data, b->cap);
    return;
  }
  size_t kept = 0;
  nq_arena_block *lists[] = {b, a->spare};
  a->blocks = a->cur = a->spare = NULL;
  for (int i = 0; i < 2; i++)
    for (b = lists[i]; b; b = next) {
      next = b->next;
      NQ_POISON(b->data, b->cap);
      size_t size = b->cap + sizeof *b;
      if (size > ARENA_KEEP - kept) {
        NQ_UNPOISON(b->data, b->cap);
        free(b);
        continue;
      }
      kept += size;
      b->next = a->spare;
      a->spare = b;
    }
}
