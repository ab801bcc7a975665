#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

/* Under AddressSanitizer memory that waits to be used again is poisoned: a pointer kept too long is found at once. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define NQ_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define NQ_ASAN 1
#endif
#ifdef NQ_ASAN
/* As in sanitizer/asan_interface.h, less a const that makes gcc warn of memory read before it is written. */
void __asan_poison_memory_region(void volatile *p, size_t n);
void __asan_unpoison_memory_region(void volatile *p, size_t n);
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#define POOL_KEEP (4u << 20)
#define TINY_QUEUE 512u  /* a queue that holds less takes tiny chunks */
#define BIG_APPEND 8192u /* appending so much at once takes large chunks */
#define BIG_QUEUE 32768u /* so does a queue that holds this much already */
#define BLOCK (256u << 10)
#define BLOCK_CAP (BLOCK - sizeof(nq_arena_block))
#define ARENA_KEEP (4u << 20)
#define BYTES_KEEP 4096u

/* ---- chunks ---- */

void nq_pool_init(nq_pool *p) {
  *p = (nq_pool){.tiny = {.max = POOL_KEEP / NQ_CHUNK_TINY},
                 .small = {.max = POOL_KEEP / NQ_CHUNK_SMALL},
                 .large = {.max = POOL_KEEP / NQ_CHUNK_LARGE}};
}

static void free_list(nq_freelist *list) {
  while (list->first) {
    nq_chunk *c = list->first;
    list->first = c->next;
    UNPOISON(c->data, c->cap);
    free(c);
  }
  list->n = 0;
}

void nq_pool_free(nq_pool *p) {
  free_list(&p->tiny);
  free_list(&p->small);
  free_list(&p->large);
  while (nq_pool_returned(p))
    ;
}

static inline nq_freelist *list_of(nq_pool *p, uint32_t size) {
  return size == NQ_CHUNK_TINY ? &p->tiny : size == NQ_CHUNK_SMALL ? &p->small : &p->large;
}

static nq_chunk *chunk_get(nq_pool *p, uint32_t size) {
  nq_freelist *list = list_of(p, size);
  nq_chunk *c = list->first;
  if (c) {
    list->first = c->next;
    list->n--;
    UNPOISON(c->data, c->cap);
  } else {
    c = malloc(size);
    if (!c)
      return NULL;
    c->cap = size - (uint32_t)sizeof *c;
    c->data = (uint8_t *)(c + 1);
    c->lender = NULL;
  }
  c->next = NULL;
  c->len = 0;
  p->in_use += size;
  return c;
}

static void chunk_put(nq_pool *p, nq_chunk *c) {
  if (c->lender) {
    p->in_use -= c->len;
    c->next = p->returned;
    p->returned = c;
    return;
  }
  uint32_t size = c->cap + (uint32_t)sizeof *c;
  nq_freelist *list = list_of(p, size);
  p->in_use -= size;
  if (list->n >= list->max) {
    free(c);
    return;
  }
  POISON(c->data, c->cap);
  c->next = list->first;
  list->first = c;
  list->n++;
}

void *nq_pool_returned(nq_pool *p) {
  nq_chunk *c = p->returned;
  if (!c)
    return NULL;
  void *lender = c->lender;
  p->returned = c->next;
  free(c);
  return lender;
}

/* ---- send queue ---- */

void nq_sendq_init(nq_sendq *q) { *q = (nq_sendq){0}; }

void nq_sendq_clear(nq_sendq *q, nq_pool *p) {
  while (q->head) {
    nq_chunk *c = q->head;
    q->head = c->next;
    chunk_put(p, c);
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

uint8_t *nq_sendq_reserve_slow(nq_sendq *q, nq_pool *p, size_t n) {
  if (n > NQ_SENDQ_RESERVE_MAX)
    return NULL;
  nq_chunk *c = chunk_get(p, chunk_size(q, n));
  if (!c)
    return NULL;
  link_chunks(q, c, c);
  return c->data;
}

/* Chunks for n more bytes, linked; all of them or none. */
static int chunks_for(nq_sendq *q, nq_pool *p, size_t n, nq_chunk **first, nq_chunk **last) {
  *first = *last = NULL;
  while (n > 0) {
    nq_chunk *c = chunk_get(p, chunk_size(q, n));
    if (!c) {
      while ((c = *first)) {
        *first = c->next;
        chunk_put(p, c);
      }
      return -1;
    }
    *(*last ? &(*last)->next : first) = c;
    *last = c;
    n -= n < c->cap ? n : c->cap;
  }
  return 0;
}

int nq_sendq_append(nq_sendq *q, nq_pool *p, const uint8_t *data, size_t n) {
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

int nq_sendq_lend(nq_sendq *q, nq_pool *p, const uint8_t *head, size_t headlen, const uint8_t *data, size_t n,
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

void nq_sendq_ack(nq_sendq *q, nq_pool *p, uint64_t upto) {
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
    chunk_put(p, c);
  }
  if (!q->head)
    q->tail = NULL;
  q->head_off = (uint32_t)n;
}

/* ---- growable bytes ---- */

void nq_bytes_init(nq_bytes *b) { *b = (nq_bytes){0}; }

void nq_bytes_free(nq_bytes *b) {
  free(b->data);
  nq_bytes_init(b);
}

static inline void to_front(nq_bytes *b) {
  if (b->off == 0)
    return;
  memmove(b->data, b->data + b->off, b->len - b->off);
  b->len -= b->off;
  b->off = 0;
}

/* Room for n more bytes at the end. */
static int make_room(nq_bytes *b, size_t n) {
  size_t size = nq_bytes_size(b);
  if (n > SIZE_MAX / 4 - size)
    return -1;
  size_t need = size + n;
  if (need <= b->cap && b->off >= size) { /* moves at most what was consumed since the last move */
    to_front(b);
    return 0;
  }
  size_t cap = 2 * size > need ? 2 * size : need;
  if (cap < 64)
    cap = 64;
  if (b->off) { /* a new block: realloc would copy what was consumed as well */
    uint8_t *data = malloc(cap);
    if (!data)
      return -1;
    memcpy(data, b->data + b->off, size);
    free(b->data);
    *b = (nq_bytes){data, 0, size, cap};
    return 0;
  }
  uint8_t *data = realloc(b->data, cap);
  if (!data)
    return -1;
  b->data = data;
  b->cap = cap;
  return 0;
}

int nq_bytes_append(nq_bytes *b, const uint8_t *data, size_t n) {
  if (n == 0)
    return 0;
  if (n > b->cap - b->len && make_room(b, n) < 0)
    return -1;
  memcpy(b->data + b->len, data, n);
  b->len += n;
  return 0;
}

void nq_bytes_consume(nq_bytes *b, size_t n) {
  if (n < nq_bytes_size(b)) {
    b->off += n;
    return;
  }
  b->off = b->len = 0;
  if (b->cap > BYTES_KEEP)
    nq_bytes_free(b);
}

/* ---- arena ---- */

void nq_arena_init(nq_arena *a) { *a = (nq_arena){0}; }

static void free_blocks(nq_arena_block *b) {
  while (b) {
    nq_arena_block *next = b->next;
    UNPOISON(b->data, b->cap);
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
  POISON(b->data, cap);
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
  UNPOISON(b->data, n);
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
  UNPOISON(p, n);
  return p;
}

void nq_arena_reset(nq_arena *a) {
  nq_arena_block *b = a->blocks, *next;
  a->used = a->off = 0;
  /* One block of the usual size, what most batches need. It was new only if there was no spare, so at most 4 MiB are
   * kept still. */
  if (b && !b->next && b->cap == BLOCK_CAP) {
    POISON(b->data, b->cap);
    return;
  }
  size_t kept = 0;
  nq_arena_block *lists[] = {b, a->spare};
  a->blocks = a->cur = a->spare = NULL;
  for (int i = 0; i < 2; i++)
    for (b = lists[i]; b; b = next) {
      next = b->next;
      POISON(b->data, b->cap);
      size_t size = b->cap + sizeof *b;
      if (size > ARENA_KEEP - kept) {
        UNPOISON(b->data, b->cap);
        free(b);
        continue;
      }
      kept += size;
      b->next = a->spare;
      a->spare = b;
    }
}
