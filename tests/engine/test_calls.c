/* test_calls.c: the table of calls that wait for their reply, against a model. */
#include "app/calls.h"
#include "check.h"
#include "world.h"

#define MODEL 5000

typedef struct model {
  uint32_t id[MODEL];
  uint64_t deadline[MODEL];
  uintptr_t user[MODEL];
  uint32_t n;
} model;

static uint64_t seed = 1;
static uint32_t rnd(uint32_t n) {
  seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
  return (uint32_t)(seed >> 33) % n;
}

static uint32_t model_find(const model *m, uint32_t id) {
  uint32_t i = 0;
  while (i < m->n && m->id[i] != id)
    i++;
  return i;
}

static void model_take(model *m, uint32_t i) {
  m->n--;
  m->id[i] = m->id[m->n];
  m->deadline[i] = m->deadline[m->n];
  m->user[i] = m->user[m->n];
}

static void model_run(uint32_t ops, uint32_t room, uint32_t first_id) {
  nq_calls c;
  nq_calls_init(&c, 0, 1);
  CHECK_EQ(c.timeout, NQ_SEC(30));
  c.last_id = first_id;
  model *m = calloc(1, sizeof *m);
  REQUIRE(m != NULL);
  uint64_t now = 1000;
  uintptr_t users = 1;
  for (uint32_t op = 0; op < ops; op++) {
    uint32_t what = rnd(100);
    if (what < 50 && m->n < room) {
      uint64_t deadline = rnd(10) ? now + 1 + rnd(500) : NQ_NEVER;
      uint32_t id = nq_calls_add(&c, (void *)users, deadline);
      CHECK(id != 0);
      CHECK_EQ(model_find(m, id), m->n); /* not in use */
      m->id[m->n] = id;
      m->deadline[m->n] = deadline;
      m->user[m->n++] = users++;
    } else if (what < 85 && m->n) {
      uint32_t i = rnd(2) ? rnd(m->n) : 0;
      void *user = NULL;
      CHECK_EQ(nq_calls_take(&c, m->id[i], &user), 1);
      CHECK_EQ((uintptr_t)user, m->user[i]);
      CHECK_EQ(nq_calls_take(&c, m->id[i], &user), 0); /* once only */
      model_take(m, i);
    } else if (what < 92) {
      void *user = &seed;
      uint32_t id = rnd(UINT32_MAX);
      if (model_find(m, id) == m->n)
        CHECK_EQ(nq_calls_take(&c, id, &user), 0);
      CHECK(user == &seed);
    } else {
      now += rnd(200);
      uint32_t scan = 0, id;
      uint64_t next = 7;
      void *user;
      while ((id = nq_calls_expire(&c, now, &scan, &user, &next))) {
        uint32_t i = model_find(m, id);
        CHECK(i < m->n && m->deadline[i] <= now && m->user[i] == (uintptr_t)user);
        if (i < m->n)
          model_take(m, i);
      }
      uint64_t first = NQ_NEVER;
      for (uint32_t i = 0; i < m->n; i++) {
        CHECK(m->deadline[i] > now);
        first = m->deadline[i] < first ? m->deadline[i] : first;
      }
      CHECK_EQ(next, first);
    }
    CHECK_EQ(c.n, m->n);
  }
  uint32_t scan = 0, id, drained = 0, left = m->n;
  void *user;
  while ((id = nq_calls_drain(&c, &scan, &user))) {
    uint32_t i = model_find(m, id);
    CHECK(i < m->n && m->user[i] == (uintptr_t)user);
    if (i < m->n)
      model_take(m, i);
    drained++;
  }
  CHECK_EQ(drained, left);
  CHECK_EQ(c.n, 0);
  nq_calls_free(&c);
  free(m);
}

static void test_table(void) {
  model_run(20000, 10, 0);
  model_run(20000, 16, 0); /* full */
  model_run(20000, 32, UINT32_MAX - 5000); /* full, with IDs that wrap round */
  model_run(20000, 700, 0);
  model_run(20000, 3000, UINT32_MAX - 2000); /* IDs wrap round and miss 0 */
}

/* One call that is never answered and a million that are: its ID is skipped when its turn comes again. */
static void test_table_skips_ids_in_use(void) {
  nq_calls c;
  nq_calls_init(&c, 5, 1);
  void *user;
  uint32_t old = nq_calls_add(&c, &c, NQ_NEVER);
  CHECK_EQ(old, 1);
  for (int i = 0; i < 100000; i++) {
    uint32_t id = nq_calls_add(&c, NULL, NQ_NEVER);
    CHECK_EQ(id, i + 2);
    CHECK(nq_calls_take(&c, id, &user));
  }
  CHECK(c.cap <= 16);
  c.last_id = UINT32_MAX - 2;
  CHECK_EQ(nq_calls_add(&c, NULL, 9), UINT32_MAX - 1); /* the one after it is no call's */
  CHECK_EQ(nq_calls_add(&c, NULL, 9), 2);
  CHECK(nq_calls_take(&c, 1, &user) && user == &c);
  nq_calls_free(&c);
}

/* A largest ID: 1 comes after it, and IDs in use are skipped there as well. */
static void test_table_with_a_largest_id(void) {
  nq_calls c;
  nq_calls_init(&c, 5, 1);
  c.max_id = 0xfffe;
  void *user;
  CHECK_EQ(nq_calls_add(&c, &c, NQ_NEVER), 1);
  for (uint32_t i = 2; i <= 0xfffe; i++) {
    CHECK_EQ(nq_calls_add(&c, NULL, NQ_NEVER), i);
    CHECK(i == 70 || nq_calls_take(&c, i, &user));
  }
  CHECK_EQ(nq_calls_add(&c, NULL, NQ_NEVER), 2);
  c.last_id = 69;
  CHECK_EQ(nq_calls_add(&c, NULL, NQ_NEVER), 71);
  while (c.n < 0xfffe)
    CHECK(nq_calls_add(&c, NULL, NQ_NEVER) != 0);
  for (uint32_t i = 1; i <= 0xfffe; i++) /* each is there once */
    CHECK(nq_calls_take(&c, i, &user));
  CHECK_EQ(c.n, 0);
  nq_calls_free(&c);
}

int main(void) {
  RUN(test_table);
  RUN(test_table_skips_ids_in_use);
  RUN(test_table_with_a_largest_id);
  CHECK_DONE();
}
