// needs: app/wire.c
/* Memory that runs out, at every place where it can. The modules under test are not linked but included here, on an
 * allocator that fails when told to and counts what is not given back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static long allow = -1; /* how many more allocations succeed; below 0: all */
static long held;

static int refused(void) { return allow == 0 || (allow > 0 && allow-- == 0); }

static void *test_malloc(size_t n) {
  void *p = refused() ? NULL : malloc(n);
  held += p != NULL;
  return p;
}

static void *test_calloc(size_t n, size_t size) {
  void *p = refused() ? NULL : calloc(n, size);
  held += p != NULL;
  return p;
}

static void *test_realloc(void *old, size_t n) {
  void *p = refused() ? NULL : realloc(old, n);
  held += p && !old;
  return p;
}

static void test_free(void *p) {
  held -= p != NULL;
  free(p);
}

#define malloc test_malloc
#define calloc test_calloc
#define realloc test_realloc
#define free test_free
#include "base/arena.c"
#include "base/bytes.c"
#include "base/chunk.c"
#include "base/cidmap.c"
#include "base/sendq.c"
#include "base/table.c"
#include "base/timer.c"
#undef malloc
#undef calloc
#undef realloc
#undef free

#include "check.h"

static void test_sendq_append_all_or_nothing(void) {
  static uint8_t data[400000];
  for (size_t n = 1; n < sizeof data; n = n * 2 + 77)
    for (int before = 0; before < 3; before++)
      for (allow = 0;; allow++) {
        long limit = allow;
        nq_chunk_pool p;
        nq_sendq q;
        nq_chunk_pool_init(&p);
        nq_sendq_init(&q);
        allow = -1;
        size_t had = before == 0 ? 0 : before == 1 ? 100 : 40000;
        CHECK_EQ(nq_sendq_append(&q, &p, data, had), 0);
        nq_chunk *tail = q.tail;
        uint64_t in_use = p.in_use;
        allow = limit;
        int r = nq_sendq_append(&q, &p, data, n);
        allow = -1;
        CHECK_EQ(q.end, r == 0 ? had + n : had);
        if (r < 0) {
          CHECK(q.tail == tail && (!tail || !tail->next) && p.in_use == in_use);
          CHECK_EQ(nq_sendq_append(&q, &p, data, n), 0); /* afterwards, with what was taken and given back */
          CHECK_EQ(q.end, had + n);
        }
        nq_sendq_clear(&q, &p);
        CHECK_EQ(p.in_use, 0);
        nq_chunk_pool_free(&p);
        CHECK_EQ(held, 0);
        allow = limit;
        if (r == 0)
          break;
        CHECK(limit < 20);
      }
  allow = -1;
}

static void test_sendq_lend_all_or_nothing(void) {
  static uint8_t data[100000];
  for (int before = 0; before < 3; before++)
    for (long limit = 0;; limit++) {
      nq_chunk_pool p;
      nq_sendq q;
      nq_chunk_pool_init(&p);
      nq_sendq_init(&q);
      size_t had = before == 0 ? 0 : before == 1 ? 100 : 40000;
      CHECK_EQ(nq_sendq_append(&q, &p, data, had), 0);
      nq_chunk *tail = q.tail;
      uint64_t in_use = p.in_use;
      allow = limit;
      int r = nq_sendq_lend(&q, &p, data, had == 100 ? 2000 : 4, data, sizeof data, data);
      allow = -1;
      if (r < 0)
        CHECK(q.tail == tail && (!tail || !tail->next) && p.in_use == in_use && q.end == had);
      else
        CHECK(q.end == had + (had == 100 ? 2000 : 4) + sizeof data && q.tail->data == data);
      nq_sendq_clear(&q, &p);
      CHECK_EQ(p.in_use, 0);
      CHECK(nq_chunk_returned(&p) == (r < 0 ? NULL : (void *)data));
      CHECK(!nq_chunk_returned(&p));
      nq_chunk_pool_free(&p);
      CHECK_EQ(held, 0);
      if (r == 0)
        break;
      CHECK(limit < 3);
    }
}

static void test_sendq_reserve(void) {
  nq_chunk_pool p;
  nq_sendq q;
  nq_chunk_pool_init(&p);
  nq_sendq_init(&q);
  allow = 0;
  CHECK(!nq_sendq_reserve(&q, &p, 10));
  CHECK(!q.head && !q.tail && p.in_use == 0);
  allow = 1;
  for (int i = 0; i < 2; i++) {
    CHECK(nq_sendq_reserve(&q, &p, 1000) != NULL);
    nq_sendq_commit(&q, 1000);
  }
  CHECK(!nq_sendq_reserve(&q, &p, 1000));
  CHECK(q.end == 2000 && !q.tail->next);
  allow = -1;
  nq_sendq_clear(&q, &p);
  nq_chunk_pool_free(&p);
  CHECK_EQ(held, 0);
}

static void test_bytes(void) {
  nq_bytes b;
  uint8_t data[1000];
  for (size_t i = 0; i < sizeof data; i++)
    data[i] = (uint8_t)i;
  nq_bytes_init(&b);
  allow = 0;
  CHECK_EQ(nq_bytes_append(&b, data, 10), -1);
  CHECK(nq_bytes_size(&b) == 0);
  for (size_t consumed = 0; consumed <= 1; consumed++) {
    allow = -1;
    CHECK_EQ(nq_bytes_append(&b, data, 100), 0);
    nq_bytes_consume(&b, consumed);
    allow = 0;
    CHECK_EQ(nq_bytes_append(&b, data, 1000), -1);
    CHECK(nq_bytes_size(&b) == 100 - consumed && memcmp(nq_bytes_at(&b), data + consumed, 100 - consumed) == 0);
    allow = -1;
    nq_bytes_free(&b);
  }
  CHECK_EQ(held, 0);
}

static void test_arena(void) {
  nq_arena a;
  nq_arena_init(&a);
  allow = 0;
  CHECK(!nq_arena_alloc(&a, 10) && !nq_arena_alloc(&a, 1 << 20));
  allow = 1;
  uint8_t *first = nq_arena_alloc(&a, 10);
  CHECK(first && !nq_arena_alloc(&a, 1 << 20) && !nq_arena_alloc(&a, 262120));
  CHECK(nq_arena_alloc(&a, 10) == first + 16); /* what there is still serves */
  CHECK_EQ(a.used, 32);
  allow = -1;
  nq_arena_free(&a);
  CHECK_EQ(held, 0);
}

static void test_table(void) {
  nq_table t;
  int obj;
  allow = 0;
  CHECK_EQ(nq_table_init(&t), -1);
  allow = 1;
  CHECK_EQ(nq_table_init(&t), 0);
  CHECK_EQ(nq_table_insert(&t, &obj), 0);
  CHECK(t.live == 0 && t.chunks == 0 && !nq_table_alive(&t, 1ull << 32));
  allow = 1;
  for (uint32_t i = 0; i < NQ_TABLE_CHUNK; i++)
    CHECK(nq_table_insert(&t, &obj) != 0);
  CHECK_EQ(nq_table_insert(&t, &obj), 0);
  CHECK_EQ(t.live, NQ_TABLE_CHUNK);
  CHECK(nq_table_remove(&t, 1ull << 32 | 7) == &obj); /* a freed slot needs no memory */
  CHECK_EQ(nq_table_insert(&t, &obj), 3ull << 32 | 7);
  allow = -1;
  CHECK(nq_table_insert(&t, &obj) != 0);
  nq_table_free(&t);
  CHECK_EQ(held, 0);
}

static void test_cidmap(void) {
  nq_cidmap m;
  static const uint8_t seed[16];
  uint8_t cid[8] = {0};
  nq_cidmap_init(&m, seed);
  allow = 0;
  CHECK_EQ(nq_cidmap_put(&m, cid, 8, &m), -1);
  CHECK(m.n == 0 && !nq_cidmap_get(&m, cid, 8));
  allow = 1;
  uint8_t n = 0;
  for (; nq_cidmap_put(&m, cid, 8, &m) == 0; cid[0] = ++n)
    CHECK(n < 16);
  CHECK_EQ(n, 12);
  CHECK_EQ(m.n, 12);
  CHECK(!nq_cidmap_get(&m, cid, 8));
  for (cid[0] = 0; cid[0] < n; cid[0]++) {
    CHECK(nq_cidmap_get(&m, cid, 8) == &m);
    CHECK_EQ(nq_cidmap_put(&m, cid, 8, &cid), 0); /* replacing needs no memory */
  }
  allow = -1;
  for (uint32_t i = 0; i < 1000; i++)
    CHECK_EQ(nq_cidmap_put(&m, (uint8_t *)&i, 4, &m), 0);
  allow = 0; /* it cannot shrink: it stays large, and right */
  for (uint32_t i = 0; i < 1000; i++)
    CHECK(nq_cidmap_del(&m, (uint8_t *)&i, 4) == &m);
  CHECK_EQ(m.n, n);
  for (cid[0] = 0; cid[0] < n; cid[0]++)
    CHECK(nq_cidmap_get(&m, cid, 8) == &cid);
  allow = -1;
  nq_cidmap_free(&m);
  CHECK_EQ(held, 0);
}

static void test_timers(void) {
  static nq_timer t[65];
  nq_timers ts;
  nq_timers_init(&ts);
  allow = 0;
  nq_timer_init(&t[0], 0);
  CHECK_EQ(nq_timer_set(&ts, &t[0], 5), -1);
  CHECK(t[0].pos == 0 && t[0].deadline == NQ_NEVER && nq_timers_next(&ts) == NQ_NEVER);
  allow = 1;
  for (uint32_t i = 0; i < 65; i++) {
    nq_timer_init(&t[i], i);
    CHECK_EQ(nq_timer_set(&ts, &t[i], 100 - i), i < 64 ? 0 : -1);
  }
  CHECK(t[64].pos == 0 && t[64].deadline == NQ_NEVER);
  CHECK_EQ(nq_timer_set(&ts, &t[3], 1), 0); /* moving needs no memory */
  CHECK(nq_timers_pop(&ts, 50) == &t[3]);
  CHECK_EQ(nq_timer_set(&ts, &t[64], 2), 0); /* and there is room for one again */
  CHECK_EQ(nq_timers_next(&ts), 2);
  allow = -1;
  nq_timers_free(&ts);
  CHECK_EQ(held, 0);
}

int main(void) {
  RUN(test_sendq_append_all_or_nothing);
  RUN(test_sendq_lend_all_or_nothing);
  RUN(test_sendq_reserve);
  RUN(test_bytes);
  RUN(test_arena);
  RUN(test_table);
  RUN(test_cidmap);
  RUN(test_timers);
  CHECK_DONE();
}
