/* sendq.h: the send queue of one stream: it keeps what was written until it is acknowledged. */
#ifndef NQ_SENDQ_H
#define NQ_SENDQ_H

#include <stddef.h>
#include <stdint.h>

#include "base/chunk.h"

typedef struct nq_vec { /* Laid out as ngtcp2_vec, which it is cast to. */
  uint8_t *base;        /* The first byte. */
  size_t len;           /* The number of bytes. */
} nq_vec;

typedef struct nq_sendq {
  nq_chunk *head, *tail; /* The chunks, from the oldest byte that is not acknowledged to the newest. */
  nq_chunk *cur;         /* The chunk that holds the byte at offset `sent`; NULL when all is sent. */
  uint32_t cur_off;      /* Where in it that byte is. */
  uint32_t head_off;     /* The bytes of head that are acknowledged. */
  uint64_t acked;        /* The stream offset below which all bytes are acknowledged. */
  uint64_t sent;         /* The stream offset of the next byte to send; acked <= sent <= end. */
  uint64_t end;          /* The stream offset behind the last byte. */
} nq_sendq;

/* An empty queue at offset 0. */
void nq_sendq_init(nq_sendq *q);
/* Gives all chunks back; the queue is then as after init. */
void nq_sendq_clear(nq_sendq *q, nq_chunk_pool *p);
#define NQ_SENDQ_RESERVE_MAX 1024u

/* nq_sendq_reserve where the last chunk has no room: in a new one. */
uint8_t *nq_sendq_reserve_slow(nq_sendq *q, nq_chunk_pool *p, size_t n);

/* Contiguous room for n <= 1024 bytes (a frame with a short payload), or NULL: no memory. */
static inline uint8_t *nq_sendq_reserve(nq_sendq *q, nq_chunk_pool *p, size_t n) {
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
int nq_sendq_append(nq_sendq *q, nq_chunk_pool *p, const uint8_t *data, size_t n);
#define NQ_SENDQ_LEND_MAX (1u << 30)
/* Copies a header of at most 1024 bytes, and takes n more (1 to 1 GiB) where they are: there they stay, unchanged,
 * until nq_chunk_returned gives back the lender. 0, or -1 with nothing appended when there is no memory. */
int nq_sendq_lend(nq_sendq *q, nq_chunk_pool *p, const uint8_t *head, size_t headlen, const uint8_t *data, size_t n,
                  void *lender);
/* Unsent bytes as vectors: fills at most max, returns how many; *total is their sum (at most `limit`, roughly: whole
 * chunks are taken until it is reached). */
size_t nq_sendq_peek(const nq_sendq *q, nq_vec *v, size_t max, size_t limit, size_t *total);
/* The first n unsent bytes (at most all) are sent. They stay where they are until they are acknowledged. */
void nq_sendq_advance(nq_sendq *q, size_t n);
/* All bytes below `upto` (at most those sent) are acknowledged: frees the chunks that hold nothing else. */
void nq_sendq_ack(nq_sendq *q, nq_chunk_pool *p, uint64_t upto);

/* The bytes that are not sent, and those that are not acknowledged. */
static inline uint64_t nq_sendq_unsent(const nq_sendq *q) { return q->end - q->sent; }
static inline uint64_t nq_sendq_queued(const nq_sendq *q) { return q->end - q->acked; }

#endif
