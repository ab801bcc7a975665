/* buf.h: bytes on their way. nq_sendq keeps what was written until it is acknowledged; nq_bytes collects what was
 * received and is not complete; nq_arena holds the payloads of one batch of events. */
#ifndef NQ_BUF_H
#define NQ_BUF_H

#include <stddef.h>
#include <stdint.h>

/* ---- chunks, taken from and returned to freelists of the loop ---- */
#define NQ_CHUNK_TINY 512u /* whole allocation, header included: of thousands of streams each has a few messages */
#define NQ_CHUNK_SMALL 2048u
#define NQ_CHUNK_LARGE 65536u

typedef struct nq_chunk {
  struct nq_chunk *next;
  uint32_t cap, len; /* bytes of data, bytes filled */
  uint8_t *data;
  void *lender; /* whose bytes they are; NULL: the chunk's own, which follow it */
} nq_chunk;

typedef struct nq_freelist {
  nq_chunk *first;
  uint32_t n, max;
} nq_freelist;

typedef struct nq_pool {
  nq_freelist tiny, small, large;
  uint64_t in_use; /* bytes handed out, and those lent to queues */
  nq_chunk *returned; /* lent ones that no queue holds any more */
} nq_pool;

void nq_pool_init(nq_pool *p); /* keeps at most 4 MiB of each size */
void nq_pool_free(nq_pool *p); /* what is on the freelists; queues give theirs back first */
/* A lender whose bytes no queue holds any more, once for each nq_sendq_lend; NULL: no more of them now. */
void *nq_pool_returned(nq_pool *p);

/* ---- send queue of one stream ---- */
typedef struct nq_vec {
  uint8_t *base;
  size_t len;
} nq_vec; /* layout of ngtcp2_vec */

typedef struct nq_sendq {
  nq_chunk *head, *tail;
  nq_chunk *cur;      /* chunk that holds offset `sent` (NULL when all is sent) */
  uint32_t cur_off;   /* offset in it */
  uint32_t head_off;  /* acknowledged bytes of head */
  uint64_t acked, sent, end; /* stream offsets: acked <= sent <= end */
} nq_sendq;

void nq_sendq_init(nq_sendq *q);
/* Gives all chunks back; the queue is then as after init. */
void nq_sendq_clear(nq_sendq *q, nq_pool *p);
#define NQ_SENDQ_RESERVE_MAX 1024u

uint8_t *nq_sendq_reserve_slow(nq_sendq *q, nq_pool *p, size_t n); /* a new chunk, for reserve */

/* Contiguous room for n <= 1024 bytes (a frame with a short payload), or NULL: no memory. */
static inline uint8_t *nq_sendq_reserve(nq_sendq *q, nq_pool *p, size_t n) {
  nq_chunk *t = q->tail;
  return t && t->cap - t->len >= n ? t->data + t->len : nq_sendq_reserve_slow(q, p, n);
}

/* n bytes of the room just reserved are now part of the queue. Nothing else may happen to the queue in between. */
static inline void nq_sendq_commit(nq_sendq *q, size_t n) {
  if (n == 0)
    return;
  if (!q->cur) {
    q->cur = q->tail;
    q->cur_off = q->tail->len;
  }
  q->tail->len += (uint32_t)n;
  q->end += n;
}

/* Copies n bytes to the end: 0, or -1 with nothing appended when there is no memory. */
int nq_sendq_append(nq_sendq *q, nq_pool *p, const uint8_t *data, size_t n);
#define NQ_SENDQ_LEND_MAX (1u << 30)
/* Copies a header of at most 1024 bytes, and takes n more (1 to 1 GiB) where they are: there they stay, unchanged,
 * until nq_pool_returned gives back the lender. 0, or -1 with nothing appended when there is no memory. */
int nq_sendq_lend(nq_sendq *q, nq_pool *p, const uint8_t *head, size_t headlen, const uint8_t *data, size_t n,
                  void *lender);
/* Unsent bytes as vectors: fills at most max, returns how many; *total is their sum (at most `limit`, roughly: whole
 * chunks are taken until it is reached). */
size_t nq_sendq_peek(const nq_sendq *q, nq_vec *v, size_t max, size_t limit, size_t *total);
/* The first n unsent bytes (at most all) are sent. They stay where they are until they are acknowledged. */
void nq_sendq_advance(nq_sendq *q, size_t n);
/* All bytes below `upto` (at most those sent) are acknowledged: frees the chunks that hold nothing else. */
void nq_sendq_ack(nq_sendq *q, nq_pool *p, uint64_t upto);

static inline uint64_t nq_sendq_unsent(const nq_sendq *q) { return q->end - q->sent; }
static inline uint64_t nq_sendq_queued(const nq_sendq *q) { return q->end - q->acked; }

/* ---- growable bytes: an incomplete message, or a stream held back ---- */
typedef struct nq_bytes {
  uint8_t *data;
  size_t off, len, cap; /* bytes [off, len) are there */
} nq_bytes;

void nq_bytes_init(nq_bytes *b);
void nq_bytes_free(nq_bytes *b);
/* Grows geometrically, so what is allocated follows what has really arrived. 0, or -1: no memory, nothing appended. */
int nq_bytes_append(nq_bytes *b, const uint8_t *data, size_t n);
/* Drops n bytes from the front; at the end the memory is kept only when it is small (<= 4 KiB). */
void nq_bytes_consume(nq_bytes *b, size_t n);
static inline size_t nq_bytes_size(const nq_bytes *b) { return b->len - b->off; }
static inline const uint8_t *nq_bytes_at(const nq_bytes *b) { return b->off ? b->data + b->off : b->data; }

/* ---- arena: bump allocation, freed as one ---- */
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
