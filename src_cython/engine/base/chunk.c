#include "base/chunk.h"

#include <stdlib.h>

#include "base/poison.h"

#define POOL_KEEP (4u << 20)

void nq_chunk_pool_init(nq_chunk_pool *p) {
  *p = (nq_chunk_pool){.tiny = {.max = POOL_KEEP / NQ_CHUNK_TINY},
                       .small = {.max = POOL_KEEP / NQ_CHUNK_SMALL},
                       .large = {.max = POOL_KEEP / NQ_CHUNK_LARGE}};
}

static void free_list(nq_chunk_list *list) {
  while (list->first) {
    nq_chunk *c = list->first;
    list->first = c->next;
    NQ_UNPOISON(c->data, c->cap);
    free(c);
  }
  list->n = 0;
}

void nq_chunk_pool_free(nq_chunk_pool *p) {
  free_list(&p->tiny);
  free_list(&p->small);
  free_list(&p->large);
  while (nq_chunk_returned(p))
    ;
}

static inline nq_chunk_list *list_of(nq_chunk_pool *p, uint32_t size) {
  return size == NQ_CHUNK_TINY ? &p->tiny : size == NQ_CHUNK_SMALL ? &p->small : &p->large;
}

nq_chunk *nq_chunk_get(nq_chunk_pool *p, uint32_t size) {
  nq_chunk_list *list = list_of(p, size);
  nq_chunk *c = list->first;
  if (c) {
    list->first = c->next;
    list->n--;
    NQ_UNPOISON(c->data, c->cap);
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

void nq_chunk_put(nq_chunk_pool *p, nq_chunk *c) {
  if (c->lender) {
    p->in_use -= c->len;
    c->next = p->returned;
    p->returned = c;
    return;
  }
  uint32_t size = c->cap + (uint32_t)sizeof *c;
  nq_chunk_list *list = list_of(p, size);
  p->in_use -= size;
  if (list->n >= list->max) {
    free(c);
    return;
  }
  NQ_POISON(c->data, c->cap);
  c->next = list->first;
  list->first = c;
  list->n++;
}

void *nq_chunk_returned(nq_chunk_pool *p) {
  nq_chunk *c = p->returned;
  if (!c)
    return NULL;
  void *lender = c->lender;
  p->returned = c->next;
  free(c);
  return lender;
}
