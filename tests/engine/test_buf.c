// needs: buf.c
#include "buf.h"

#include "buf_util.h"
#include "check.h"

/* ---- pool ---- */

/* Of many queues with n bytes each, which take a chunk of this size. */
static void check_kept(nq_pool *p, const nq_freelist *list, uint32_t size, size_t n) {
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
  nq_pool p;
  nq_sendq q;
  nq_pool_init(&p);
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
  nq_pool_free(&p);
  CHECK(!p.tiny.first && !p.small.first && !p.large.first && !p.tiny.n && !p.small.n && !p.large.n);
}

/* ---- bytes ---- */

static void test_bytes(void) {
  nq_bytes b;
  nq_bytes_init(&b);
  CHECK(nq_bytes_size(&b) == 0 && !nq_bytes_at(&b));
  CHECK_EQ(nq_bytes_append(&b, NULL, 0), 0);
  CHECK(!b.data);
  nq_bytes_consume(&b, 0);
  CHECK_EQ(nq_bytes_append(&b, (const uint8_t *)"hello", 5), 0);
  nq_bytes_consume(&b, 2);
  CHECK(nq_bytes_size(&b) == 3 && memcmp(nq_bytes_at(&b), "llo", 3) == 0);
  CHECK_EQ(nq_bytes_append(&b, (const uint8_t *)"!", 1), 0);
  CHECK(nq_bytes_size(&b) == 4 && memcmp(nq_bytes_at(&b), "llo!", 4) == 0);
  CHECK_EQ(nq_bytes_append(&b, (const uint8_t *)"x", SIZE_MAX), -1); /* no such memory, and nothing is lost */
  CHECK_EQ(nq_bytes_append(&b, (const uint8_t *)"x", SIZE_MAX / 2), -1);
  CHECK(nq_bytes_size(&b) == 4 && memcmp(nq_bytes_at(&b), "llo!", 4) == 0);
  nq_bytes_consume(&b, 4);
  CHECK(nq_bytes_size(&b) == 0 && b.data && b.off == 0); /* small: kept */
  uint8_t big[5000];
  fill(big, 0, sizeof big);
  CHECK_EQ(nq_bytes_append(&b, big, sizeof big), 0);
  CHECK(b.cap < 2 * sizeof big + 64);
  nq_bytes_consume(&b, 4999);
  CHECK(nq_bytes_size(&b) == 1 && holds(nq_bytes_at(&b), 4999, 1));
  nq_bytes_consume(&b, 1);
  CHECK(!b.data && b.cap == 0); /* large: not */
  nq_bytes_free(&b);
  nq_bytes_free(&b);
}

static void test_bytes_random(void) {
  static uint8_t data[20000];
  int bad = 0;
  for (int round = 0; round < 20; round++) {
    nq_bytes b;
    uint64_t from = 0, to = 0;
    size_t most = 0;
    nq_bytes_init(&b);
    for (int op = 0; op < 2000; op++) {
      if (rnd() % 2) {
        size_t n = rnd() % 8 ? rnd() % 300 : rnd() % sizeof data;
        if (to - from > 100000)
          continue;
        fill(data, to, n);
        bad += nq_bytes_append(&b, data, n) != 0;
        to += n;
      } else {
        size_t n = rnd() % 4 ? rnd() % 1000 : (size_t)(to - from);
        if (n > to - from)
          n = (size_t)(to - from);
        nq_bytes_consume(&b, n);
        from += n;
      }
      most = to - from > most ? (size_t)(to - from) : most;
      bad += nq_bytes_size(&b) != to - from || b.len > b.cap || b.cap > 3 * most + 4096;
      if (op % 8 == 0)
        bad += !holds(nq_bytes_at(&b), from, (size_t)(to - from));
    }
    bad += !holds(nq_bytes_at(&b), from, (size_t)(to - from));
    nq_bytes_free(&b);
  }
  CHECK_EQ(bad, 0);
}

static void test_bytes_follow_what_arrived(void) {
  nq_bytes b;
  uint8_t piece[1000];
  int bad = 0, moved = 0;
  memset(piece, 1, sizeof piece);
  nq_bytes_init(&b);
  for (size_t n = 0; n < 4 << 20; n += sizeof piece) {
    const uint8_t *before = b.data;
    bad += nq_bytes_append(&b, piece, sizeof piece) != 0;
    moved += b.data != before;
    bad += b.cap > 2 * b.len + 64;
  }
  CHECK_EQ(bad, 0);
  CHECK(moved < 30); /* geometrically */
  nq_bytes_free(&b);
}

static void test_bytes_standing_queue_moves_seldom(void) {
  nq_bytes b;
  uint8_t piece[1000];
  int bad = 0, moved = 0;
  memset(piece, 1, sizeof piece);
  nq_bytes_init(&b);
  bad += nq_bytes_append(&b, piece, sizeof piece) != 0;
  for (int i = 0; i < 100000; i++) {
    nq_bytes_consume(&b, 1);
    bad += nq_bytes_append(&b, piece, 1) != 0;
    moved += b.off == 0;
  }
  CHECK_EQ(bad, 0);
  CHECK(moved <= 101); /* once for as many bytes as it holds */
  CHECK(b.cap <= 2000);
  nq_bytes_free(&b);
}

/* ---- arena ---- */

static size_t arena_memory(const nq_arena *a) {
  size_t n = 0;
  for (const nq_arena_block *b = a->blocks; b; b = b->next)
    n += b->cap + sizeof *b;
  for (const nq_arena_block *b = a->spare; b; b = b->next)
    n += b->cap + sizeof *b;
  return n;
}

static void test_arena(void) {
  nq_arena a;
  nq_arena_init(&a);
  nq_arena_reset(&a);
  CHECK_EQ(arena_memory(&a), 0);
  uint8_t *zero = nq_arena_alloc(&a, 0), *one = nq_arena_alloc(&a, 1), *two = nq_arena_alloc(&a, 17);
  CHECK(zero && one && two && one >= zero && two == one + 16);
  CHECK_EQ((uintptr_t)one % 16, 0);
  CHECK(a.used >= 18 && a.used <= 64);
  CHECK_EQ(arena_memory(&a), 256 << 10);
  CHECK(!nq_arena_alloc(&a, SIZE_MAX) && !nq_arena_alloc(&a, SIZE_MAX - 15) && !nq_arena_alloc(&a, SIZE_MAX / 2 + 1));
  CHECK(nq_arena_alloc(&a, 16) == two + 32); /* and it goes on */
  nq_arena_reset(&a);
  CHECK_EQ(a.used, 0);
  CHECK(nq_arena_alloc(&a, 1) == zero); /* the same warm memory again */
  nq_arena_free(&a);
  nq_arena_free(&a);
}

static void test_arena_large(void) {
  nq_arena a;
  nq_arena_init(&a);
  uint8_t *small = nq_arena_alloc(&a, 100);
  uint8_t *big = nq_arena_alloc(&a, 1 << 20);
  REQUIRE(small && big);
  memset(big, 7, 1 << 20);
  CHECK(nq_arena_alloc(&a, 100) == small + 112); /* the block in use is still the one */
  CHECK(arena_memory(&a) < (1 << 20) + (257 << 10));
  nq_arena_reset(&a);
  CHECK(nq_arena_alloc(&a, 1 << 20) == big); /* kept, found */
  nq_arena_reset(&a);
  REQUIRE(nq_arena_alloc(&a, 5 << 20));
  nq_arena_reset(&a);
  CHECK(arena_memory(&a) <= 4 << 20); /* too large to keep */
  nq_arena_free(&a);

  REQUIRE((big = nq_arena_alloc(&a, 300 << 10))); /* first of all a large one */
  CHECK(nq_arena_alloc(&a, 1) != NULL && a.blocks->next);
  nq_arena_free(&a);
}

static void test_arena_random(void) {
  static struct {
    uint8_t *p, tag;
    size_t n;
  } given[3000];
  nq_arena a;
  int bad = 0;
  nq_arena_init(&a);
  for (int round = 0; round < 200; round++) {
    int count = round % 3 ? 1 + (int)(rnd() % 100) : (int)(rnd() % 3000);
    size_t asked = 0;
    for (int i = 0; i < count; i++) {
      uint32_t r = rnd() % 1000;
      size_t n = r < 900 ? rnd() % 300 : r < 990 ? rnd() % 5000 : r < 997 ? rnd() % 270000 : rnd() % 900000;
      given[i].n = n;
      given[i].tag = (uint8_t)rnd();
      given[i].p = nq_arena_alloc(&a, n);
      REQUIRE(given[i].p);
      bad += (uintptr_t)given[i].p % 16 != 0;
      memset(given[i].p, given[i].tag, n);
      asked += n;
    }
    bad += a.used < asked || a.used > asked + 16 * (size_t)count;
    for (int i = 0; i < count; i++) /* nobody else wrote there: no two overlap */
      for (size_t k = 0; k < given[i].n; k++)
        bad += given[i].p[k] != given[i].tag;
    nq_arena_reset(&a);
    bad += a.used != 0 || arena_memory(&a) > 4 << 20;
  }
  CHECK_EQ(bad, 0);
  nq_arena_free(&a);
}

/* ---- a pointer kept too long is found by AddressSanitizer ---- */

#ifdef __SANITIZE_ADDRESS__
int __asan_address_is_poisoned(void const volatile *p);

static void test_idle_memory_is_poisoned(void) {
  nq_pool p;
  nq_sendq q;
  nq_arena a;
  nq_pool_init(&p);
  nq_sendq_init(&q);
  nq_arena_init(&a);
  for (int round = 0; round < 3; round++) { /* new memory, and the same again */
    uint8_t *room = nq_sendq_reserve(&q, &p, 100), *x = nq_arena_alloc(&a, 20);
    REQUIRE(room && x);
    CHECK(!__asan_address_is_poisoned(room) && !__asan_address_is_poisoned(room + 99));
    CHECK(!__asan_address_is_poisoned(x) && !__asan_address_is_poisoned(x + 19));
    CHECK(__asan_address_is_poisoned(x + 20)); /* between two payloads, too */
    nq_sendq_commit(&q, 100);
    nq_sendq_advance(&q, 100);
    nq_sendq_ack(&q, &p, q.end);
    nq_arena_reset(&a);
    CHECK(__asan_address_is_poisoned(room) && __asan_address_is_poisoned(x));
  }
  nq_arena_free(&a);
  nq_pool_free(&p);
}
#endif

int main(void) {
  RUN(test_pool_keeps_a_bounded_number);
  RUN(test_bytes);
  RUN(test_bytes_random);
  RUN(test_bytes_follow_what_arrived);
  RUN(test_bytes_standing_queue_moves_seldom);
  RUN(test_arena);
  RUN(test_arena_large);
  RUN(test_arena_random);
#ifdef __SANITIZE_ADDRESS__
  RUN(test_idle_memory_is_poisoned);
#endif
  CHECK_DONE();
}
