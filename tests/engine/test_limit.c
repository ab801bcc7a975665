// needs: base/limit.c
#include "base/limit.h"

#include "check.h"

static uint64_t *fields(nq_limits *l, int i) { return (uint64_t *)(void *)((char *)l + (size_t)i * sizeof(uint64_t)); }

static int count_rows(void) {
  int n = 0;
  while (nq_limits_row(n))
    n++;
  return n;
}

static void test_rows_describe_the_struct(void) {
  CHECK_EQ(count_rows() * (int)sizeof(uint64_t), sizeof(nq_limits));
  CHECK(!nq_limits_row(-1) && !nq_limits_row(count_rows()) && !nq_limits_row(1 << 30));
  for (int i = 0; i < count_rows(); i++) {
    const nq_limit_info *r = nq_limits_row(i);
    CHECK(r->name[0] && r->unit[0] && r->text[0]);
    CHECK(r->min <= r->dflt && r->dflt <= r->max);
    for (int j = 0; j < i; j++)
      CHECK(strcmp(r->name, nq_limits_row(j)->name) != 0);
  }
}

static void test_defaults(void) {
  nq_limits l;
  memset(&l, 0xa5, sizeof l);
  nq_limits_default(&l);
  for (int i = 0; i < count_rows(); i++)
    CHECK_EQ(*fields(&l, i), nq_limits_row(i)->dflt);
  CHECK(!nq_limits_check(&l));
  CHECK_EQ(l.handshake_timeout, 10000000000);
  CHECK_EQ(l.keep_alive, 0);
  CHECK_EQ(l.max_message_size, 16777216);
  CHECK_EQ(l.max_udp_payload, 16240);
  CHECK_EQ(l.accept_per_tick, 1024);
  CHECK(l.send_low <= l.send_high);
}

static void test_ends_of_each_range(void) {
  for (int i = 0; i < count_rows(); i++) {
    const nq_limit_info *r = nq_limits_row(i);
    nq_limits l;
    nq_limits_default(&l);
    uint64_t *f = fields(&l, i);
    *f = r->min;
    CHECK(!nq_limits_check(&l));
    *f = r->max;
    CHECK(!nq_limits_check(&l));
    *f = r->max + 1;
    CHECK(nq_limits_check(&l) == r);
    *f = UINT64_MAX;
    CHECK(nq_limits_check(&l) == r);
    *f = r->min - 1; /* wraps to the largest number for a smallest of 0 */
    CHECK(nq_limits_check(&l) == r);
  }
}

static void test_first_offender_is_named(void) {
  nq_limits l;
  nq_limits_default(&l);
  l.max_udp_payload = 1199;
  l.stream_window = 0;
  const nq_limit_info *r = nq_limits_check(&l);
  REQUIRE(r);
  CHECK(strcmp(r->name, "stream_window") == 0);
}

int main(void) {
  RUN(test_rows_describe_the_struct);
  RUN(test_defaults);
  RUN(test_ends_of_each_range);
  RUN(test_first_offender_is_named);
  CHECK_DONE();
}
