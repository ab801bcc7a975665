// needs: base/cidmap.c
#include "base/cidmap.h"

#include "check.h"

static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint32_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (uint32_t)(seed >> 32);
}

static const uint8_t seed0[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static char objects[1 << 16];

/* As many entries as it says, none lost, free places zero. */
static int sound(const nq_cidmap *m) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < m->cap; i++) {
    const nq_cidmap_entry *e = &m->entries[i];
    if (e->value && nq_cidmap_get(m, e->cid, e->len) != e->value)
      return 0;
    n += e->value != NULL;
  }
  return n == m->n && (m->cap == 0 || n <= m->cap - m->cap / 4) && (m->cap & (m->cap - 1)) == 0;
}

static void test_empty(void) {
  nq_cidmap m;
  nq_cidmap_init(&m, seed0);
  CHECK(!nq_cidmap_get(&m, seed0, 8) && !nq_cidmap_del(&m, seed0, 8));
  CHECK(!nq_cidmap_get(&m, NULL, 0) && !nq_cidmap_del(&m, NULL, 0));
  nq_cidmap_prefetch(&m, seed0, 8);
  CHECK_EQ(m.cap, 0);
  nq_cidmap_free(&m);
  nq_cidmap_free(&m);
}

static void test_bad_arguments(void) {
  nq_cidmap m;
  uint8_t cid[256] = {0};
  nq_cidmap_init(&m, seed0);
  CHECK_EQ(nq_cidmap_put(&m, cid, 20, objects), 0);
  for (size_t n = 21; n <= 256; n++) {
    CHECK_EQ(nq_cidmap_put(&m, cid, n, objects), -1);
    CHECK(!nq_cidmap_get(&m, cid, n) && !nq_cidmap_del(&m, cid, n));
  }
  CHECK_EQ(nq_cidmap_put(&m, cid, 8, NULL), -1);
  CHECK_EQ(m.n, 1);
  nq_cidmap_free(&m);
}

static void test_length_is_part_of_the_key(void) {
  nq_cidmap m;
  static const uint8_t zeros[20];
  nq_cidmap_init(&m, seed0);
  for (size_t n = 0; n <= 20; n++) {
    CHECK(!nq_cidmap_get(&m, zeros, n));
    CHECK_EQ(nq_cidmap_put(&m, n ? zeros : NULL, n, &objects[n]), 0);
  }
  CHECK_EQ(m.n, 21);
  for (size_t n = 0; n <= 20; n++)
    CHECK(nq_cidmap_get(&m, zeros, n) == &objects[n]);
  for (size_t n = 0; n <= 20; n++) {
    CHECK(nq_cidmap_del(&m, zeros, n) == &objects[n]);
    CHECK(!nq_cidmap_del(&m, zeros, n));
    CHECK(sound(&m));
  }
  nq_cidmap_free(&m);
}

static void test_every_byte_counts(void) {
  nq_cidmap m;
  nq_cidmap_init(&m, seed0);
  for (size_t len = 1; len <= 20; len++) {
    uint8_t cid[20];
    memset(cid, 0x55, sizeof cid);
    CHECK_EQ(nq_cidmap_put(&m, cid, len, &objects[len]), 0);
    for (size_t i = 0; i < len; i++)
      for (int bit = 0; bit < 8; bit++) {
        cid[i] ^= (uint8_t)(1 << bit);
        CHECK(!nq_cidmap_get(&m, cid, len));
        cid[i] ^= (uint8_t)(1 << bit);
      }
  }
  nq_cidmap_free(&m);
}

static void test_replace(void) {
  nq_cidmap m;
  nq_cidmap_init(&m, seed0);
  for (int i = 0; i < 1000; i++)
    CHECK_EQ(nq_cidmap_put(&m, seed0, 16, &objects[i]), 0);
  CHECK(m.n == 1 && nq_cidmap_get(&m, seed0, 16) == &objects[999]);
  CHECK(nq_cidmap_del(&m, seed0, 16) == &objects[999]);
  CHECK(m.n == 0 && !nq_cidmap_get(&m, seed0, 16));
  nq_cidmap_free(&m);
}

static void test_grows_and_shrinks(void) {
  nq_cidmap m;
  nq_cidmap_init(&m, seed0);
  uint32_t largest = 0;
  for (uint32_t i = 0; i < 50000; i++) {
    uint8_t cid[8] = {0};
    memcpy(cid, &i, 4);
    CHECK(nq_cidmap_put(&m, cid, 8, &objects[i]) == 0);
    largest = m.cap;
  }
  CHECK(sound(&m));
  CHECK_EQ(largest, 1 << 17); /* 50000 is more than 3/4 of 2^16 */
  int bad = 0;
  for (uint32_t i = 0; i < 50000; i++) {
    uint8_t cid[8] = {0};
    memcpy(cid, &i, 4);
    bad += nq_cidmap_get(&m, cid, 8) != &objects[i];
    bad += nq_cidmap_del(&m, cid, 8) != &objects[i];
    bad += nq_cidmap_get(&m, cid, 8) != NULL;
  }
  CHECK_EQ(bad, 0);
  CHECK_EQ(m.n, 0);
  CHECK(m.cap <= 16);
  nq_cidmap_free(&m);
}

/* Neither sequential nor sparse keys pile up, whatever the seed; and the seed decides where a key falls. */
static void test_spread(void) {
  for (int form = 0; form < 3; form++) {
    nq_cidmap m;
    uint8_t s[16];
    for (int i = 0; i < 16; i++)
      s[i] = (uint8_t)rnd();
    nq_cidmap_init(&m, s);
    for (uint32_t i = 0; i < 12000; i++) {
      uint8_t cid[20] = {0};
      memcpy(cid + 8 * form, &i, 4);
      nq_cidmap_put(&m, cid, 20, &objects[i]);
    }
    uint32_t run = 0, longest = 0;
    for (uint32_t i = 0; i < 2 * m.cap; i++) {
      run = m.entries[i & (m.cap - 1)].value ? run + 1 : 0;
      longest = run > longest ? run : longest;
    }
    CHECK_EQ(m.cap, 16384);
    CHECK(longest < 300); /* linear probing at 73 % has runs of about 100 */
    nq_cidmap_free(&m);
  }
}

static void test_seed_matters(void) {
  nq_cidmap a, b;
  uint8_t s[16];
  memcpy(s, seed0, 16);
  for (int byte = 0; byte < 16; byte++) {
    s[byte] ^= 1;
    nq_cidmap_init(&a, seed0);
    nq_cidmap_init(&b, s);
    int same = 0;
    for (uint32_t i = 0; i < 100; i++) {
      nq_cidmap_put(&a, (uint8_t *)&i, 4, &objects[i]);
      nq_cidmap_put(&b, (uint8_t *)&i, 4, &objects[i]);
    }
    for (uint32_t i = 0; i < a.cap; i++)
      same += a.entries[i].value && a.entries[i].value == b.entries[i].value;
    CHECK(same < 20);
    nq_cidmap_free(&a);
    nq_cidmap_free(&b);
    s[byte] ^= 1;
  }
}

/* ---- against an array ---- */

typedef struct key {
  uint8_t len, cid[20];
  void *value;
} key;

static void random_ops(uint32_t keys, int ops) {
  key *model = calloc(keys, sizeof *model);
  nq_cidmap m;
  uint32_t n = 0;
  int bad = 0;
  REQUIRE(model);
  uint8_t s[16];
  for (int i = 0; i < 16; i++)
    s[i] = (uint8_t)rnd();
  nq_cidmap_init(&m, s);
  for (uint32_t i = 0; i < keys; i++) { /* distinct: the number is in them */
    model[i].len = (uint8_t)(4 + rnd() % 17);
    for (int k = 4; k < model[i].len; k++)
      model[i].cid[k] = (uint8_t)(rnd() & 1);
    memcpy(model[i].cid, &i, 4);
  }
  for (int op = 0; op < ops; op++) {
    key *k = &model[rnd() % keys];
    uint32_t what = rnd() % 8, fill = (uint32_t)op / 5000 % 4; /* fuller and emptier by turns */
    if (what < 2 + fill) {
      void *v = &objects[rnd() % sizeof objects];
      n += !k->value;
      k->value = v;
      bad += nq_cidmap_put(&m, k->cid, k->len, v) != 0;
    } else if (what < 7) {
      bad += nq_cidmap_del(&m, k->cid, k->len) != k->value;
      n -= k->value != NULL;
      k->value = NULL;
    } else {
      bad += nq_cidmap_get(&m, k->cid, k->len) != k->value;
    }
    bad += m.n != n;
    if (op % 1000 == 0 || keys < 50) { /* small: after every operation, all of them */
      bad += !sound(&m);
      for (uint32_t i = 0; i < keys; i++)
        bad += nq_cidmap_get(&m, model[i].cid, model[i].len) != model[i].value;
    }
  }
  CHECK_EQ(bad, 0);
  nq_cidmap_free(&m);
  free(model);
}

static void test_random_small(void) { /* nearly full tables of 16: runs that wrap, and deletes in the midst of them */
  for (int round = 0; round < 40; round++)
    random_ops(8 + (uint32_t)round % 8, 5000);
}

static void test_random_large(void) { random_ops(20000, 400000); }

static void test_forget(void) {
  for (uint32_t n = 1; n < 3000; n = n * 2 + 1)
    for (uint32_t each = 1; each < 9; each++) {
      nq_cidmap m;
      nq_cidmap_init(&m, seed0);
      nq_cidmap_forget(&m, objects);
      uint32_t mine = 0;
      for (uint32_t i = 0; i < n; i++) {
        uint8_t cid[8];
        for (int k = 0; k < 8; k++)
          cid[k] = (uint8_t)rnd();
        memcpy(cid, &i, 4); /* no two alike */
        mine += i % each == 0;
        CHECK_EQ(nq_cidmap_put(&m, cid, 8, i % each == 0 ? objects : objects + 1), 0);
      }
      nq_cidmap_forget(&m, objects);
      CHECK_EQ(m.n, n - mine);
      CHECK(sound(&m));
      for (uint32_t i = 0; i < m.cap; i++)
        CHECK(m.entries[i].value != objects);
      nq_cidmap_free(&m);
    }
}

int main(void) {
  RUN(test_empty);
  RUN(test_bad_arguments);
  RUN(test_length_is_part_of_the_key);
  RUN(test_every_byte_counts);
  RUN(test_replace);
  RUN(test_grows_and_shrinks);
  RUN(test_spread);
  RUN(test_seed_matters);
  RUN(test_forget);
  RUN(test_random_small);
  RUN(test_random_large);
  CHECK_DONE();
}
