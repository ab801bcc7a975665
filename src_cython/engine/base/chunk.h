/* chunk.h: pieces of memory of three sizes, taken from and returned to freelists of the loop. */
#ifndef NQ_CHUNK_H
#define NQ_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#define NQ_CHUNK_TINY 512u /* whole allocation, header included: of thousands of streams each has a few messages */
#define NQ_CHUNK_SMALL 2048u
#define NQ_CHUNK_LARGE 65536u

typedef struct nq_chunk {
  struct nq_chunk *next;
  uint32_t cap, len; /* bytes of data, bytes filled */
  uint8_t *data;
  void *lender; /* whose bytes they are; NULL: the chunk's own, which follow it */
} nq_chunk;

typedef struct nq_chunk_list {
  nq_chunk *first;
  uint32_t n, max;
} nq_chunk_list;

typedef struct nq_chunk_pool {
  nq_chunk_list tiny, small, large;
  uint64_t in_use; /* bytes handed out, and those lent to queues */
  nq_chunk *returned; /* lent ones that no queue holds any more */
} nq_chunk_pool;

void nq_chunk_pool_init(nq_chunk_pool *p); /* keeps at most 4 MiB of each size */
void nq_chunk_pool_free(nq_chunk_pool *p); /* what is on the freelists; queues give theirs back first */
/* A lender whose bytes no queue holds any more, once for each nq_sendq_lend; NULL: no more of them now. */
void *nq_chunk_returned(nq_chunk_pool *p);

/* An empty chunk of one of the three sizes, or NULL: no memory. */
nq_chunk *nq_chunk_get(nq_chunk_pool *p, uint32_t size);
/* No queue holds it any more. */
void nq_chunk_put(nq_chunk_pool *p, nq_chunk *c);

#endif
