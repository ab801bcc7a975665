// needs: base/bytes.c
#include "base/bytes.h"

#include "base_util.h"
#include "check.h"

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

int main(void) {
  RUN(test_bytes);
  RUN(test_bytes_random);
  RUN(test_bytes_follow_what_arrived);
  RUN(test_bytes_standing_queue_moves_seldom);
  CHECK_DONE();
}
