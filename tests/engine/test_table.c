// needs: base/table.c
#include "base/table.h"

#include <pthread.h>

#include "check.h"

static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint32_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (uint32_t)(seed >> 32);
}

static int objects[1 << 16];

static void test_invalid_handles(void) {
  nq_table t;
  REQUIRE(nq_table_init(&t) == 0);
  const nq_handle gen1 = 1ull << 32;
  const nq_handle never[] = {
      0,
      1,
      gen1,
      2 * gen1,
      ~0ull,
      0xffffffffull,
      1ull << 63,
      3ull << 32,
      gen1 | 0xffffff,
      gen1 | 0x1000000,
      gen1 | 0xffffffff,
      ~0ull << 32,
  };
  for (int filled = 0; filled < 2; filled++) {
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
      CHECK(!nq_table_get(&t, never[i]) || (filled && never[i] == gen1));
      CHECK(!nq_table_alive(&t, never[i]) || (filled && never[i] == gen1));
      if (never[i] != gen1)
        CHECK(!nq_table_remove(&t, never[i]));
    }
    CHECK_EQ(nq_table_insert(&t, &objects[filled]), 1ull << 32 | (unsigned)filled);
  }
  CHECK_EQ(t.live, 2);
  nq_table_free(&t);
  CHECK(!nq_table_get(&t, 1ull << 32) && !nq_table_alive(&t, 1ull << 32) && !nq_table_insert(&t, objects));
}

static void test_reuse_is_lifo_and_stale_handles_find_nothing(void) {
  nq_table t;
  REQUIRE(nq_table_init(&t) == 0);
  nq_handle a = nq_table_insert(&t, &objects[0]), b = nq_table_insert(&t, &objects[1]);
  CHECK(a && b && a != b);
  CHECK(nq_table_get(&t, a) == &objects[0] && nq_table_get(&t, b) == &objects[1]);
  CHECK(nq_table_remove(&t, a) == &objects[0]);
  CHECK(!nq_table_remove(&t, a) && !nq_table_get(&t, a) && !nq_table_alive(&t, a));
  CHECK(nq_table_remove(&t, b) == &objects[1]);
  nq_handle b2 = nq_table_insert(&t, &objects[2]), a2 = nq_table_insert(&t, &objects[3]);
  CHECK_EQ((uint32_t)b2, (uint32_t)b); /* the last freed is the first taken */
  CHECK_EQ((uint32_t)a2, (uint32_t)a);
  CHECK(a2 != a && b2 != b);
  CHECK(!nq_table_get(&t, a) && !nq_table_get(&t, b) && !nq_table_remove(&t, b));
  CHECK(nq_table_get(&t, b2) == &objects[2] && nq_table_get(&t, a2) == &objects[3]);
  CHECK(!nq_table_get(&t, b2 + (1ull << 32)) && !nq_table_get(&t, b2 - (1ull << 32))); /* even generations */
  CHECK_EQ(t.live, 2);
  nq_table_free(&t);
}

static void test_slot_is_retired_when_its_generation_ends(void) {
  nq_table t;
  REQUIRE(nq_table_init(&t) == 0);
  nq_handle h = nq_table_insert(&t, &objects[0]);
  uint32_t i = (uint32_t)h;
  atomic_store(&t.dir[0][i].gen, UINT32_MAX);
  nq_handle last = (nq_handle)UINT32_MAX << 32 | i;
  CHECK(nq_table_alive(&t, last) && nq_table_get(&t, last) == &objects[0]);
  CHECK(nq_table_remove(&t, last) == &objects[0]);
  CHECK(!nq_table_alive(&t, last) && !nq_table_alive(&t, i) && !nq_table_get(&t, i));
  int again = 0;
  for (int k = 0; k < 1000; k++)
    again += (uint32_t)nq_table_insert(&t, &objects[k]) == i;
  CHECK_EQ(again, 0);
  CHECK_EQ(t.live, 1000);
  nq_table_free(&t);
}

static void test_full(void) {
  nq_table t;
  REQUIRE(nq_table_init(&t) == 0);
  t.chunks = NQ_TABLE_DIR; /* as if */
  CHECK_EQ(nq_table_insert(&t, objects), 0);
  CHECK_EQ(t.live, 0);
  t.chunks = 0;
  CHECK(nq_table_insert(&t, objects) != 0);
  nq_table_free(&t);
}

static void test_handles_are_never_given_twice(void) {
  enum { N = 1000000, LIVE = 5000 };
  static nq_handle held[LIVE];
  nq_table t;
  REQUIRE(nq_table_init(&t) == 0);
  nq_handle *old = malloc(N * sizeof *old);
  REQUIRE(old);
  int n_old = 0, bad = 0, live = 0;
  memset(held, 0, sizeof held);
  for (int op = 0; op < 2 * N && n_old < N; op++) {
    uint32_t i = rnd() % LIVE;
    if (held[i]) {
      bad += nq_table_get(&t, held[i]) != &objects[i] || !nq_table_alive(&t, held[i]);
      bad += nq_table_remove(&t, held[i]) != &objects[i];
      old[n_old++] = held[i];
      held[i] = 0;
      live--;
    } else {
      held[i] = nq_table_insert(&t, &objects[i]);
      bad += !held[i] || !(held[i] >> 32 & 1);
      live++;
    }
    bad += t.live != (uint32_t)live;
    if (n_old) {
      nq_handle h = old[rnd() % (uint32_t)n_old];
      bad += nq_table_get(&t, h) != NULL || nq_table_alive(&t, h) || nq_table_remove(&t, h) != NULL;
    }
  }
  CHECK_EQ(bad, 0);
  CHECK(n_old > N / 2);
  CHECK(t.chunks <= LIVE / NQ_TABLE_CHUNK + 1);
  for (int i = 0; i < n_old; i++)
    bad += nq_table_get(&t, old[i]) != NULL || nq_table_alive(&t, old[i]);
  for (int i = 0; i < LIVE; i++)
    if (held[i])
      bad += nq_table_get(&t, held[i]) != &objects[i];
  CHECK_EQ(bad, 0);
  free(old);
  nq_table_free(&t);
}

static void test_many_at_once(void) {
  enum { N = 1000000 };
  nq_table t;
  REQUIRE(nq_table_init(&t) == 0);
  nq_handle *h = malloc(N * sizeof *h);
  REQUIRE(h);
  int bad = 0;
  for (size_t i = 0; i < N; i++)
    h[i] = nq_table_insert(&t, &objects[i % 65536]);
  for (size_t i = 0; i < N; i++)
    bad += nq_table_get(&t, h[i]) != &objects[i % 65536] || (uint32_t)h[i] != i;
  CHECK_EQ(t.live, N);
  for (size_t i = 0; i < N; i++)
    bad += nq_table_remove(&t, h[i]) != &objects[i % 65536];
  CHECK_EQ(bad, 0);
  CHECK_EQ(t.live, 0);
  free(h);
  nq_table_free(&t);
}

/* ---- each ---- */

typedef struct visit {
  nq_table *t;
  int seen[1000], bad, remove;
} visit;

static void visit_one(void *ctx, nq_handle h, void *obj) {
  visit *v = ctx;
  ptrdiff_t i = (int *)obj - objects;
  v->bad += nq_table_get(v->t, h) != obj || i < 0 || i >= 1000;
  v->seen[i]++;
  if (v->remove && i % 3 == 0)
    v->bad += nq_table_remove(v->t, h) != obj;
}

static void test_each(void) {
  static visit v;
  nq_table t;
  REQUIRE(nq_table_init(&t) == 0);
  v.t = &t;
  nq_table_each(&t, visit_one, &v);
  nq_handle h[1000];
  for (int i = 0; i < 1000; i++)
    h[i] = nq_table_insert(&t, &objects[i]);
  for (int i = 0; i < 1000; i += 2)
    nq_table_remove(&t, h[i]);
  v.remove = 1;
  nq_table_each(&t, visit_one, &v);
  v.remove = 0;
  nq_table_each(&t, visit_one, &v);
  for (int i = 0; i < 1000; i++)
    CHECK_EQ(v.seen[i], i % 2 == 0 ? 0 : i % 3 == 0 ? 1 : 2);
  CHECK_EQ(v.bad, 0);
  nq_table_free(&t);
}

/* ---- nq_table_alive from other threads, while the owner works ---- */

typedef struct shared {
  nq_table t;
  nq_handle kept[64];       /* alive all the time */
  _Atomic nq_handle gone;   /* removed before it was put here */
  _Atomic nq_handle recent; /* alive or not: only asked */
  atomic_int stop;
} shared;

static void *ask(void *arg) {
  shared *s = arg;
  intptr_t bad = 0;
  for (uint32_t i = 0; !atomic_load_explicit(&s->stop, memory_order_relaxed); i++) {
    bad += !nq_table_alive(&s->t, s->kept[i % 64]);
    bad += nq_table_alive(&s->t, atomic_load(&s->gone));
    (void)nq_table_alive(&s->t, atomic_load_explicit(&s->recent, memory_order_relaxed));
    bad += nq_table_alive(&s->t, (nq_handle)1 << 32 | (0xf00000u + i % 4096)); /* a chunk that is never there */
  }
  return (void *)bad;
}

static void test_alive_from_other_threads(void) {
  enum { N = 200000, LIVE = 20000 };
  static shared s;
  static nq_handle held[LIVE];
  pthread_t threads[2];
  REQUIRE(nq_table_init(&s.t) == 0);
  for (int i = 0; i < 64; i++)
    s.kept[i] = nq_table_insert(&s.t, &objects[i]);
  for (int i = 0; i < 2; i++)
    REQUIRE(pthread_create(&threads[i], NULL, ask, &s) == 0);
  for (int op = 0; op < N; op++) { /* grows to dozens of chunks under the readers' eyes */
    uint32_t i = rnd() % LIVE;
    if (held[i]) {
      nq_table_remove(&s.t, held[i]);
      atomic_store(&s.gone, held[i]);
      held[i] = 0;
    } else {
      held[i] = nq_table_insert(&s.t, &objects[i]);
      atomic_store_explicit(&s.recent, held[i], memory_order_relaxed);
    }
  }
  atomic_store(&s.stop, 1);
  for (int i = 0; i < 2; i++) {
    void *bad = NULL;
    pthread_join(threads[i], &bad);
    CHECK_EQ((intptr_t)bad, 0);
  }
  CHECK(s.t.chunks > 10);
  nq_table_free(&s.t);
}

int main(void) {
  RUN(test_invalid_handles);
  RUN(test_reuse_is_lifo_and_stale_handles_find_nothing);
  RUN(test_slot_is_retired_when_its_generation_ends);
  RUN(test_full);
  RUN(test_handles_are_never_given_twice);
  RUN(test_many_at_once);
  RUN(test_each);
  RUN(test_alive_from_other_threads);
  CHECK_DONE();
}
