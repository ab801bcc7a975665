// needs: base/timer.c
#include "base/timer.h"

#include "check.h"

static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint32_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (uint32_t)(seed >> 32);
}

/* The heap is one, every timer knows where it is, and no key is later than its deadline. */
static int sound(const nq_timers *ts) {
  for (uint32_t i = 0; i < ts->n; i++) {
    const nq_timer *t = ts->heap[i];
    if (t->pos != i + 1 || t->key > t->deadline || t->deadline == NQ_NEVER)
      return 0;
    if (i && ts->heap[(i - 1) / 4]->key > t->key)
      return 0;
  }
  return ts->n <= ts->cap;
}

static void test_empty(void) {
  nq_timers ts;
  nq_timer t;
  nq_timers_init(&ts);
  nq_timer_init(&t, 7);
  CHECK(t.deadline == NQ_NEVER && t.pos == 0 && t.kind == 7);
  CHECK(nq_timers_next(&ts) == NQ_NEVER);
  CHECK(!nq_timers_pop(&ts, NQ_NEVER));
  nq_timer_cancel(&ts, &t); /* not set: nothing happens */
  CHECK_EQ(nq_timer_set(&ts, &t, NQ_NEVER), 0);
  CHECK(t.pos == 0 && ts.n == 0 && t.kind == 7);
  nq_timers_free(&ts);
}

static void test_one(void) {
  nq_timers ts;
  nq_timer t;
  nq_timers_init(&ts);
  nq_timer_init(&t, 3);
  CHECK_EQ(nq_timer_set(&ts, &t, 100), 0);
  CHECK_EQ(nq_timers_next(&ts), 100);
  CHECK(!nq_timers_pop(&ts, 99));
  CHECK(nq_timers_pop(&ts, 100) == &t);
  CHECK(t.deadline == NQ_NEVER && t.pos == 0 && t.kind == 3);
  CHECK(!nq_timers_pop(&ts, NQ_NEVER));
  nq_timer_set(&ts, &t, 0); /* the past, and time 0, are deadlines like any */
  CHECK(nq_timers_pop(&ts, 0) == &t);
  nq_timer_set(&ts, &t, NQ_NEVER - 1);
  CHECK(!nq_timers_pop(&ts, NQ_NEVER - 2));
  CHECK(nq_timers_pop(&ts, NQ_NEVER) == &t);
  nq_timers_free(&ts);
}

static void test_put_off_costs_nothing(void) {
  enum { N = 1000 };
  static nq_timer t[N];
  nq_timers ts;
  nq_timers_init(&ts);
  for (uint32_t i = 0; i < N; i++) {
    nq_timer_init(&t[i], i);
    nq_timer_set(&ts, &t[i], 1000 + i);
  }
  int moved = 0;
  for (int round = 1; round < 50; round++)
    for (uint32_t i = 0; i < N; i++) {
      uint32_t pos = t[i].pos;
      nq_timer_set(&ts, &t[i], 1000 + i + (uint64_t)round * 10);
      moved += t[i].pos != pos || t[i].key != 1000 + i;
    }
  CHECK_EQ(moved, 0);
  CHECK_EQ(nq_timers_next(&ts), 1000); /* earlier than the first deadline: allowed */
  CHECK(!nq_timers_pop(&ts, 1489));
  CHECK(sound(&ts));
  CHECK(nq_timers_next(&ts) >= 1490);
  for (uint32_t i = 0; i < N; i++) {
    nq_timer *due = nq_timers_pop(&ts, 5000);
    REQUIRE(due);
    CHECK_EQ(due->kind, i);
  }
  CHECK_EQ(ts.n, 0);
  nq_timers_free(&ts);
}

static void test_earlier(void) {
  nq_timers ts;
  nq_timer a, b;
  nq_timers_init(&ts);
  nq_timer_init(&a, 0);
  nq_timer_init(&b, 0);
  nq_timer_set(&ts, &a, 100);
  nq_timer_set(&ts, &b, 200);
  nq_timer_set(&ts, &b, 300); /* put off, */
  nq_timer_set(&ts, &b, 250); /* then earlier, but not than the heap believes */
  CHECK_EQ(b.key, 200);
  nq_timer_set(&ts, &b, 50);
  CHECK_EQ(nq_timers_next(&ts), 50);
  CHECK(nq_timers_pop(&ts, 1000) == &b);
  CHECK(nq_timers_pop(&ts, 1000) == &a);
  nq_timers_free(&ts);
}

static void test_cancel_forgets(void) {
  nq_timers ts;
  nq_timers_init(&ts);
  nq_timer *t[200];
  for (uint32_t i = 0; i < 200; i++) {
    REQUIRE((t[i] = malloc(sizeof **t)));
    nq_timer_init(t[i], i);
    nq_timer_set(&ts, t[i], rnd() % 1000);
    nq_timer_set(&ts, t[i], t[i]->deadline + rnd() % 1000);
  }
  for (uint32_t i = 0; i < 200; i++) { /* AddressSanitizer sees it if the heap still knows a freed one */
    uint32_t k = i * 77 % 200;
    if (i & 1)
      nq_timer_cancel(&ts, t[k]);
    else
      nq_timer_set(&ts, t[k], NQ_NEVER);
    CHECK(t[k]->pos == 0 && t[k]->deadline == NQ_NEVER);
    memset(t[k], 0xdd, sizeof **t);
    free(t[k]);
    CHECK_EQ(ts.n, 199 - i);
    CHECK(sound(&ts));
  }
  CHECK(nq_timers_next(&ts) == NQ_NEVER);
  nq_timers_free(&ts);
}

static void test_free_unsets(void) {
  nq_timers ts;
  nq_timer t[3];
  nq_timers_init(&ts);
  for (uint32_t i = 0; i < 3; i++) {
    nq_timer_init(&t[i], i);
    nq_timer_set(&ts, &t[i], i);
  }
  nq_timers_free(&ts);
  for (uint32_t i = 0; i < 3; i++) {
    CHECK(t[i].pos == 0 && t[i].deadline == NQ_NEVER);
    nq_timer_cancel(&ts, &t[i]); /* harmless afterwards */
  }
  CHECK_EQ(ts.n, 0);
}

static void test_sorts(void) {
  enum { N = 100000 };
  nq_timer *t = malloc(N * sizeof *t);
  nq_timers ts;
  REQUIRE(t);
  nq_timers_init(&ts);
  for (uint32_t i = 0; i < N; i++) {
    nq_timer_init(&t[i], i);
    CHECK(nq_timer_set(&ts, &t[i], rnd() % 50000) == 0);
  }
  CHECK(sound(&ts));
  uint64_t last = 0;
  for (uint32_t i = 0; i < N; i++) {
    uint64_t next = nq_timers_next(&ts);
    nq_timer *due = nq_timers_pop(&ts, next);
    REQUIRE(due);
    CHECK(next >= last && due->deadline == NQ_NEVER);
    last = next;
  }
  CHECK_EQ(ts.n, 0);
  nq_timers_free(&ts);
  free(t);
}

/* ---- against an array that is searched ---- */

enum { TIMERS = 400 };
static nq_timer timers[TIMERS];
static uint64_t model[TIMERS];

static uint64_t model_first(void) {
  uint64_t first = NQ_NEVER;
  for (int i = 0; i < TIMERS; i++)
    if (model[i] < first)
      first = model[i];
  return first;
}

/* Takes out all that is due, in order. Returns how many results were wrong. */
static int pop_all(nq_timers *ts, uint64_t now, long *popped) {
  int bad = 0;
  for (;;) {
    uint64_t first = model_first();
    nq_timer *t = nq_timers_pop(ts, now);
    if (!t)
      return bad + (first <= now) + (nq_timers_next(ts) <= now);
    uint32_t i = t->kind;
    bad += t != &timers[i] || model[i] != first || first > now || t->deadline != NQ_NEVER || t->pos != 0;
    model[i] = NQ_NEVER;
    ++*popped;
  }
}

static void test_random(void) {
  nq_timers ts;
  uint64_t now = 0;
  long popped = 0;
  int bad = 0;
  nq_timers_init(&ts);
  for (uint32_t i = 0; i < TIMERS; i++) {
    nq_timer_init(&timers[i], i);
    model[i] = NQ_NEVER;
  }
  for (int op = 0; op < 100000; op++) {
    uint32_t i = rnd() % TIMERS, what = rnd() % 16;
    if (what < 6) { /* anywhere near, also in the past */
      model[i] = now + rnd() % 2000 - (now > 100 ? 100 : 0);
      bad += nq_timer_set(&ts, &timers[i], model[i]) != 0;
    } else if (what < 10) { /* put off, as an idle timer is */
      model[i] = now + 1000;
      bad += nq_timer_set(&ts, &timers[i], model[i]) != 0;
    } else if (what < 12) {
      model[i] = NQ_NEVER;
      nq_timer_cancel(&ts, &timers[i]);
    } else if (what < 13) {
      model[i] = NQ_NEVER;
      bad += nq_timer_set(&ts, &timers[i], NQ_NEVER) != 0;
    } else {
      now += rnd() % 20;
      bad += pop_all(&ts, now, &popped);
    }
    bad += timers[i].deadline != model[i];
    bad += nq_timers_next(&ts) > model_first();
    if (op % 64 == 0)
      bad += !sound(&ts);
  }
  CHECK_EQ(bad, 0);
  CHECK(popped > 5000);
  bad = pop_all(&ts, NQ_NEVER - 1, &popped);
  CHECK_EQ(bad, 0);
  CHECK_EQ(ts.n, 0);
  nq_timers_free(&ts);
}

int main(void) {
  RUN(test_empty);
  RUN(test_one);
  RUN(test_put_off_costs_nothing);
  RUN(test_earlier);
  RUN(test_cancel_forgets);
  RUN(test_free_unsets);
  RUN(test_sorts);
  RUN(test_random);
  CHECK_DONE();
}
