#include "base/sendq.h"

#include <stdlib.h>
#include <string.h>

#define TINY_QUEUE 512u  /* a queue that holds less takes tiny chunks */
#define BIG_APPEND 8192u /* appending so much at once takes large chunks */
#define BIG_QUEUE 32768u /* so does a queue that holds this much already */

void nq_sendq_init(nq_sendq *q) { *q = (nq_sendq){0}; }

void nq_sendq_clear(nq_sendq *q, nq_chunk_pool *p) {
  while (q->head) {
    nq_chunk *c = q->head;
    q->head = c->next;
    nq_chunk_put(p, c);
  }
  nq_sendq_init(q);
}

static inline void link_chunks(nq_sendq *q, nq_chunk *first, nq_chunk *last) {
  if (q->tail)
    q->tail->next = first;
  else
    q->head = first;
  q->tail = last;
}

/* The size of the next chunk, for n bytes. Behind lent bytes a little is copied into little: the room in a chunk ends
 * where the next are lent. */
static inline uint32_t chunk_size(const nq_sendq *q, size_t n) {
  int lent = q->tail && q->tail->lender;
  uint64_t had = lent ? 0 : nq_sendq_queued(q);
  if (had >= BIG_QUEUE || n >= BIG_APPEND)
    return NQ_CHUNK_LARGE;
  return had < TINY_QUEUE && n <= NQ_CHUNK_TINY - sizeof(nq_chunk) ? NQ_CHUNK_TINY : NQ_CHUNK_SMALL;
}

uint8_t *nq_sendq_reserve_slow(nq_sendq *q, nq_chunk_pool *p, size_t n) {
  if (n > NQ_SENDQ_RESERVE_MAX)
    return NULL;
  nq_chunk *c = nq_chunk_get(p, chunk_size(q, n));
  if (!c)
    return NULL;
  link_chunks(q, c, c);
  return c->data;
}

/* Chunks for n more bytes, linked; all of them or none. */
static int chunks_for(nq_sendq *q, nq_chunk_pool *p, size_t n, nq_chunk **first, nq_chunk **last) {
  *first = *last = NULL;
  while (n > 0) {
    nq_chunk *c = nq_chunk_get(p, chunk_size(q, n));
    if (!c) {
      while ((c = *first)) {
        *first = c->next;
        nq_chunk_put(p, c);
      }
      return -1;
    }
    *(*last ? &(*last)->next : first) = c;
    *last = c;
    n -= n < c->cap ? n : c->cap;
  }
  return 0;
}

int nq_sendq_append(nq_sendq *q, nq_chunk_pool *p, const uint8_t *data, size_t n) {
  size_t room = q->tail ? q->tail->cap - q->tail->len : 0;
  if (n > room) { /* first all the memory, so that what fails has appended nothing */
    nq_chunk *first, *last;
    if (chunks_for(q, p, n - room, &first, &last) < 0)
      return -1;
    if (room) {
      memcpy(q->tail->data + q->tail->len, data, room);
      nq_sendq_commit(q, room);
      data += room;
      n -= room;
    }
    while (first != last) {
      nq_chunk *c = first;
      first = c->next;
      c->next = NULL;
      link_chunks(q, c, c);
      memcpy(c->data, data, c->cap);
      nq_sendq_commit(q, c->cap);
      data += c->cap;
      n -= c->cap;
    }
    link_chunks(q, last, last);
  }
  if (n) {
    memcpy(q->tail->data + q->tail->len, data, n);
    nq_sendq_commit(q, n);
  }
  return 0;
}

int nq_sendq_lend(nq_sendq *q, nq_chunk_pool *p, const uint8_t *head, size_t headlen, const uint8_t *data, size_t n,
                  void *lender) {
  nq_chunk *c = malloc(sizeof *c);
  if (!c || (headlen && nq_sendq_append(q, p, head, headlen))) {
    free(c);
    return -1;
  }
  *c = (nq_chunk){.cap = (uint32_t)n, .data = (uint8_t *)(uintptr_t)data, .lender = lender}; /* full once committed */
  p->in_use += n;
  link_chunks(q, c, c);
  nq_sendq_commit(q, n);
  return 0;
}

size_t nq_sendq_peek(const nq_sendq *q, nq_vec *v, size_t max, size_t limit, size_t *total) {
  size_t k = 0, sum = 0;
  uint32_t off = q->cur_off;
  for (nq_chunk *c = q->cur; c && k < max && sum < limit; c = c->next, off = 0) {
    if (c->len == off)
      continue; /* reserved, nothing committed */
    v[k].base = c->data + off;
    v[k].len = c->len - off;
    sum += v[k++].len;
  }
  *total = sum;
  return k;
}

void nq_sendq_advance(nq_sendq *q, size_t n) {
  uint64_t unsent = nq_sendq_unsent(q);
  if (n >= unsent) {
    q->sent = q->end;
    q->cur = NULL;
    q->cur_off = 0;
    return;
  }
  q->sent += n;
  n += q->cur_off;
  while (n >= q->cur->len) {
    n -= q->cur->len;
    q->cur = q->cur->next;
  }
  q->cur_off = (uint32_t)n;
}

void nq_sendq_ack(nq_sendq *q, nq_chunk_pool *p, uint64_t upto) {
  if (upto > q->sent)
    upto = q->sent;
  if (upto <= q->acked)
    return;
  uint64_t n = upto - q->acked + q->head_off; /* from the start of head */
  q->acked = upto;
  while (q->head && n >= q->head->len) {
    nq_chunk *c = q->head;
    if (n == 0)
      break; /* an empty chunk at the end: it is reserved */
    n -= c->len;
    q->head = c->next;
    nq_chunk_put(p, c);
  }
  if (!q->head)
    q->tail = NULL;
  q->head_off = (uint32_t)n;
}
