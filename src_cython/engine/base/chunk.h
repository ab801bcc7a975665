/* chunk.h: pieces of memory of three sizes, and the pool of a loop that they are taken from and returned to. */
#ifndef NQ_CHUNK_H
#define NQ_CHUNK_H

#include <stddef.h>
#include <stdint.h>

/* Whole allocations, header included. The smallest is for thousands of streams each of which has a few messages. */
#define NQ_CHUNK_TINY 512u
#define NQ_CHUNK_SMALL 2048u
#define NQ_CHUNK_LARGE 65536u

typedef struct nq_chunk {
  struct nq_chunk *next; /* The next chunk of the queue or of the list that holds this one. */
  uint32_t cap;          /* The bytes that there is room for at data. */
  uint32_t len;          /* The bytes of it that are filled. */
  uint8_t *data;         /* The bytes: the memory behind this struct, or those that a lender keeps alive. */
  void *lender;          /* The lender of data; NULL when the bytes are the chunk's own. */
} nq_chunk;

typedef struct nq_chunk_list {
  nq_chunk *first; /* The chunk that was returned last. */
  uint32_t n;      /* The chunks in the list. */
  uint32_t max;    /* The chunks that are kept; one more is freed. */
} nq_chunk_list;

typedef struct nq_chunk_pool {
  nq_chunk_list tiny, small, large; /* Free chunks of each size. */
  uint64_t in_use;                  /* Bytes of the chunks that were handed out, and of those lent to queues. */
  nq_chunk *returned;               /* Lent chunks that no queue holds any more, for nq_chunk_returned. */
} nq_chunk_pool;

/* An empty pool, which will keep at most 4 MiB of each size. */
void nq_chunk_pool_init(nq_chunk_pool *p);
/* Frees the chunks in the pool's lists. Queues return theirs first. */
void nq_chunk_pool_free(nq_chunk_pool *p);
/* An empty chunk of one of the three sizes, or NULL when there is no memory. */
nq_chunk *nq_chunk_get(nq_chunk_pool *p, uint32_t size);
/* Takes back a chunk that no queue holds any more. A lent one waits for nq_chunk_returned. */
void nq_chunk_put(nq_chunk_pool *p, nq_chunk *c);
/* A lender whose bytes no queue holds any more, once for each nq_sendq_lend; NULL when there is none now. */
void *nq_chunk_returned(nq_chunk_pool *p);

#endif
