/* arena.h: bump allocation, freed as one: the payloads of one batch of events. */
#ifndef NQ_ARENA_H
#define NQ_ARENA_H

#include <stddef.h>
#include <stdint.h>

typedef struct nq_arena_block {
  struct nq_arena_block *next;
  size_t cap;
  uint8_t data[];
} nq_arena_block;

typedef struct nq_arena {
  nq_arena_block *blocks, *cur, *spare; /* in use, the one being filled (first of blocks), kept for the next batch */
  size_t off;                           /* in cur */
  size_t used;                          /* handed out since the last reset */
} nq_arena;

void nq_arena_init(nq_arena *a);
void nq_arena_free(nq_arena *a);
/* n bytes, 16-aligned, valid until the reset; NULL: no memory. Blocks are 256 KiB, larger requests get their own. */
void *nq_arena_alloc(nq_arena *a, size_t n);
/* Everything handed out is gone; keeps at most 4 MiB of blocks for the next batch. */
void nq_arena_reset(nq_arena *a);

#endif
