/* arena.h: bump allocation, freed as one: the payloads of one batch of events. */
#ifndef NQ_ARENA_H
#define NQ_ARENA_H

#include <stddef.h>
#include <stdint.h>

typedef struct nq_arena_block {
  struct nq_arena_block *next; /* The next block of the list that holds this one. */
  size_t cap;                  /* The bytes at data. */
  uint8_t data[];              /* What is handed out. */
} nq_arena_block;

typedef struct nq_arena {
  nq_arena_block *blocks; /* The blocks in use. */
  nq_arena_block *cur;    /* The first of them, which is being filled. */
  nq_arena_block *spare;  /* Blocks kept for the next batch. */
  size_t off;             /* The bytes of cur that were handed out. */
  size_t used;            /* The bytes that were handed out since the last reset. */
} nq_arena;

/* An empty arena without a block. */
void nq_arena_init(nq_arena *a);
/* Frees all blocks; the arena is then as after init. */
void nq_arena_free(nq_arena *a);
/* n bytes, 16-aligned, valid until the reset; NULL: no memory. Blocks are 256 KiB, larger requests get their own. */
void *nq_arena_alloc(nq_arena *a, size_t n);
/* Everything handed out is gone; keeps at most 4 MiB of blocks for the next batch. */
void nq_arena_reset(nq_arena *a);

#endif
