// needs: base/arena.c
#include "base/arena.h"

#include "base_util.h"
#include "check.h"

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

#ifdef __SANITIZE_ADDRESS__
int __asan_address_is_poisoned(void const volatile *p);

static void test_idle_memory_is_poisoned(void) { /* a pointer kept too long is found */
  nq_arena a;
  nq_arena_init(&a);
  for (int round = 0; round < 3; round++) { /* new memory, and the same again */
    uint8_t *x = nq_arena_alloc(&a, 20);
    REQUIRE(x);
    CHECK(!__asan_address_is_poisoned(x) && !__asan_address_is_poisoned(x + 19));
    CHECK(__asan_address_is_poisoned(x + 20)); /* between two payloads, too */
    nq_arena_reset(&a);
    CHECK(__asan_address_is_poisoned(x));
  }
  nq_arena_free(&a);
}
#endif

int main(void) {
  RUN(test_arena);
  RUN(test_arena_large);
  RUN(test_arena_random);
#ifdef __SANITIZE_ADDRESS__
  RUN(test_idle_memory_is_poisoned);
#endif
  CHECK_DONE();
}
