// needs: base/chunk.c base/sendq.c
#include "base/chunk.h"

#include "base/sendq.h"
#include "check.h"

static uint32_t listed(const nq_chunk *c) {
  uint32_t n = 0;
  for (; c; c = c->next)
    n++;
  return n;
}

/* Of many queues with n bytes each, which take a chunk of this size. */
static void check_kept(nq_chunk_pool *p, const nq_chunk_list *list, uint32_t size, size_t n) {
  static nq_sendq queues[9000];
  static const uint8_t data[NQ_CHUNK_SMALL];
  for (uint32_t i = 0; i < 9000; i++) {
    nq_sendq_init(&queues[i]);
    CHECK_EQ(nq_sendq_append(&queues[i], p, data, n), 0);
  }
  CHECK_EQ(p->in_use, 9000 * size);
  CHECK(!list->n && !list->first);
  for (uint32_t i = 0; i < 9000; i++)
    nq_sendq_clear(&queues[i], p);
  CHECK_EQ(list->n, list->max);
  CHECK_EQ(listed(list->first), list->n);
  CHECK_EQ(p->in_use, 0);
}

static void test_pool_keeps_a_bounded_number(void) {
  nq_chunk_pool p;
  nq_sendq q;
  nq_chunk_pool_init(&p);
  nq_sendq_init(&q);
  CHECK_EQ(p.tiny.max * NQ_CHUNK_TINY, 4 << 20);
  CHECK_EQ(p.small.max * NQ_CHUNK_SMALL, 4 << 20);
  CHECK_EQ(p.large.max * NQ_CHUNK_LARGE, 4 << 20);
  uint8_t *data = calloc(1, 20 << 20);
  REQUIRE(data);
  for (int round = 0; round < 3; round++) {
    CHECK_EQ(nq_sendq_append(&q, &p, data, 20 << 20), 0);
    CHECK(p.in_use >= 20 << 20 && p.in_use < 21 << 20);
    CHECK(p.large.n == 0 && !p.large.first);
    nq_sendq_clear(&q, &p);
    CHECK_EQ(p.in_use, 0);
    CHECK_EQ(p.large.n, p.large.max);
    CHECK_EQ(listed(p.large.first), p.large.n);
  }
  free(data);
  check_kept(&p, &p.tiny, NQ_CHUNK_TINY, 1);
  check_kept(&p, &p.small, NQ_CHUNK_SMALL, 500);
  nq_chunk_pool_free(&p);
  CHECK(!p.tiny.first && !p.small.first && !p.large.first && !p.tiny.n && !p.small.n && !p.large.n);
}

#ifdef __SANITIZE_ADDRESS__
int __asan_address_is_poisoned(void const volatile *p);

static void test_idle_memory_is_poisoned(void) { /* a pointer kept too long is found */
  nq_chunk_pool p;
  nq_sendq q;
  nq_chunk_pool_init(&p);
  nq_sendq_init(&q);
  for (int round = 0; round < 3; round++) { /* new memory, and the same again */
    uint8_t *room = nq_sendq_reserve(&q, &p, 100);
    REQUIRE(room);
    CHECK(!__asan_address_is_poisoned(room) && !__asan_address_is_poisoned(room + 99));
    nq_sendq_commit(&q, 100);
    nq_sendq_advance(&q, 100);
    nq_sendq_ack(&q, &p, q.end);
    CHECK(__asan_address_is_poisoned(room));
  }
  nq_chunk_pool_free(&p);
}
#endif

int main(void) {
  RUN(test_pool_keeps_a_bounded_number);
#ifdef __SANITIZE_ADDRESS__
  RUN(test_idle_memory_is_poisoned);
#endif
  CHECK_DONE();
}
