// needs: base/addr.c
/* Socket addresses: text to address and back, equality. */
#include "base/addr.h"
#include "check.h"

static void expect(const char *host, uint16_t port, const char *text) {
  nq_addr a;
  char buf[80];
  CHECK_EQ(nq_addr_parse(&a, host, port), 0);
  CHECK_EQ(nq_addr_port(&a), port);
  CHECK(!strcmp(nq_addr_format(&a, buf, sizeof buf), text));
}

static void test_text(void) {
  expect("127.0.0.1", 80, "127.0.0.1:80");
  expect("255.255.255.255", 65535, "255.255.255.255:65535");
  expect("0.0.0.0", 0, "0.0.0.0:0");
  expect("::", 0, "[::]:0");
  expect("::1", 443, "[::1]:443");
  expect("2001:db8:1111:2222:3333:4444:5555:6666", 9, "[2001:db8:1111:2222:3333:4444:5555:6666]:9");
  expect("2001:DB8:0:0::1", 1, "[2001:db8::1]:1");
  expect("::ffff:1.2.3.4", 7, "1.2.3.4:7"); /* as its peer knows itself */
  expect("fe80::1%lo", 5, "[fe80::1%lo]:5");
  expect("fe80::1%4000000000", 5, "[fe80::1%4000000000]:5");
}

static void test_refused(void) {
  static const char *const bad[] = {"",
                                    "localhost",
                                    "1.2.3",
                                    "1.2.3.4.5",
                                    "256.1.1.1",
                                    "0x7f.1",
                                    "[::1]",
                                    "::1::",
                                    "fe80::1%",
                                    "%lo",
                                    "1.2.3.4%lo",
                                    " ::1",
                                    "12345::",
                                    "fe80::1%nosuch0",
                                    "fe80::1%0",
                                    "fe80::1%4294967296",
                                    "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee:ffff"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    nq_addr a;
    memset(&a, 0xff, sizeof a);
    CHECK_EQ(nq_addr_parse(&a, bad[i], 1), -1);
    CHECK_EQ(a.len, 0);
  }
}

static void test_scope_number(void) {
  nq_addr a;
  CHECK_EQ(nq_addr_parse(&a, "fe80::1%4294967295", 1), 0);
  CHECK(a.in6.sin6_scope_id == UINT32_MAX);
}

static void test_equal(void) {
  /* Each differs from every other. */
  static const struct {
    const char *host;
    uint16_t port;
  } all[] = {{"127.0.0.1", 1},  {"127.0.0.2", 1},  {"127.0.0.1", 2},       {"::1", 1}, {"::1", 2}, {"::2", 1},
             {"fe80::1%10", 1}, {"fe80::1%11", 1}, {"::ffff:127.0.0.1", 1}};
  enum { N = sizeof all / sizeof *all };
  nq_addr a[N + 1], b[N + 1];
  memset(a, 0, sizeof a); /* the last: no address */
  memset(b, 0, sizeof b);
  for (int i = 0; i < N; i++) {
    CHECK_EQ(nq_addr_parse(&a[i], all[i].host, all[i].port), 0);
    CHECK_EQ(nq_addr_parse(&b[i], all[i].host, all[i].port), 0);
  }
  b[4].in6.sin6_flowinfo = 77; /* not a part of the address */
  for (int i = 0; i <= N; i++)
    for (int j = 0; j <= N; j++)
      CHECK_EQ(nq_addr_equal(&a[i], &b[j]), i == j);
}

static void test_mapped(void) {
  static const struct {
    const char *host;
    int mapped;
  } all[] = {{"::ffff:1.2.3.4", 1}, {"::ffff:0.0.0.0", 1}, {"1.2.3.4", 0}, {"::1.2.3.4", 0}, {"::fffe:102:304", 0}};
  nq_addr a;
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    CHECK_EQ(nq_addr_parse(&a, all[i].host, 1), 0);
    CHECK_EQ(nq_addr_is_mapped(&a), all[i].mapped);
  }
  memset(&a, 0, sizeof a);
  CHECK_EQ(nq_addr_is_mapped(&a), 0);
}

static void test_wildcard(void) {
  static const char *const yes[] = {"0.0.0.0", "::", "::ffff:0.0.0.0"};
  static const char *const no[] = {"127.0.0.1",      "0.0.0.1", "::1",      "::ffff:127.0.0.1",
                                   "::fffe:0.0.0.0", "1::",     "fe80::1%1"};
  nq_addr a;
  for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
    REQUIRE(nq_addr_parse(&a, yes[i], 4433) == 0);
    CHECK_EQ(nq_addr_is_wildcard(&a), 1);
  }
  for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
    REQUIRE(nq_addr_parse(&a, no[i], 0) == 0);
    CHECK_EQ(nq_addr_is_wildcard(&a), 0);
  }
  memset(&a, 0, sizeof a); /* no address */
  CHECK_EQ(nq_addr_is_wildcard(&a), 0);
}

static void test_short_buffer(void) {
  nq_addr a, none;
  char buf[8];
  memset(&none, 0, sizeof none);
  nq_addr_parse(&a, "127.0.0.1", 80);
  memset(buf, 'x', sizeof buf);
  CHECK(nq_addr_format(&a, buf, 5) == buf);
  CHECK(!memcmp(buf, "127.\0xxx", 8));
  CHECK(nq_addr_format(&a, buf, 0) == buf);
  CHECK_EQ(buf[0], '1');
  CHECK(!strcmp(nq_addr_format(&none, buf, sizeof buf), "-"));
  CHECK_EQ(nq_addr_port(&none), 0);
}

int main(void) {
  RUN(test_text);
  RUN(test_refused);
  RUN(test_scope_number);
  RUN(test_equal);
  RUN(test_mapped);
  RUN(test_wildcard);
  RUN(test_short_buffer);
  CHECK_DONE();
}
