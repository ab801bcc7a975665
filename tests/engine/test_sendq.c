// needs: buf.c
#include "buf.h"

#include "buf_util.h"
#include "check.h"

static int empty(const nq_sendq *q) {
  return !q->head && !q->tail && !q->cur && !q->cur_off && !q->head_off && !q->acked && !q->sent && !q->end;
}

static void test_sendq_life_of_a_frame(void) {
  nq_pool p;
  nq_sendq q;
  nq_vec v[4];
  size_t total = 99;
  nq_pool_init(&p);
  nq_sendq_init(&q);
  CHECK(empty(&q));
  CHECK_EQ(nq_sendq_peek(&q, v, 4, 1000, &total), 0);
  CHECK_EQ(total, 0);
  nq_sendq_advance(&q, 10); /* nothing to send, nothing to acknowledge */
  nq_sendq_ack(&q, &p, 10);
  CHECK(empty(&q));

  uint8_t *room = nq_sendq_reserve(&q, &p, 100);
  REQUIRE(room);
  fill(room, 0, 60);
  CHECK_EQ(nq_sendq_peek(&q, v, 4, 1000, &total), 0); /* reserved is not queued */
  nq_sendq_commit(&q, 60);
  CHECK(nq_sendq_unsent(&q) == 60 && nq_sendq_queued(&q) == 60);
  CHECK(nq_sendq_reserve(&q, &p, 100) == room + 60); /* the rest of the room was given back */
  CHECK_EQ(nq_sendq_peek(&q, v, 4, 1000, &total), 1);
  CHECK(total == 60 && v[0].base == room && v[0].len == 60);
  CHECK_EQ(nq_sendq_peek(&q, v, 0, 1000, &total), 0);
  CHECK_EQ(total, 0);
  CHECK_EQ(nq_sendq_peek(&q, v, 4, 0, &total), 0);

  nq_sendq_advance(&q, 25);
  CHECK_EQ(nq_sendq_peek(&q, v, 4, 1000, &total), 1);
  CHECK(total == 35 && v[0].base == room + 25 && v[0].len == 35);
  nq_sendq_ack(&q, &p, 1000); /* more than was sent: only that */
  CHECK(q.acked == 25 && nq_sendq_queued(&q) == 35 && q.head);
  nq_sendq_advance(&q, 1000);
  CHECK(q.sent == 60 && nq_sendq_unsent(&q) == 0);
  CHECK_EQ(nq_sendq_peek(&q, v, 4, 1000, &total), 0);
  nq_sendq_ack(&q, &p, 59);
  CHECK(q.head && holds(room, 0, 60));
  nq_sendq_ack(&q, &p, 30); /* old news */
  CHECK_EQ(q.acked, 59);
  nq_sendq_ack(&q, &p, 60);
  CHECK(!q.head && !q.tail && p.in_use == 0 && q.end == 60);

  CHECK_EQ(nq_sendq_append(&q, &p, (const uint8_t *)"abc", 3), 0);
  CHECK_EQ(nq_sendq_peek(&q, v, 4, 1000, &total), 1);
  CHECK(total == 3 && memcmp(v[0].base, "abc", 3) == 0 && q.end == 63);
  CHECK_EQ(nq_sendq_append(&q, &p, NULL, 0), 0);
  CHECK_EQ(q.end, 63);
  nq_sendq_clear(&q, &p);
  CHECK(empty(&q) && p.in_use == 0);
  nq_pool_free(&p);
}

static void test_sendq_reserve_sizes(void) {
  nq_pool p;
  nq_sendq q;
  nq_pool_init(&p);
  nq_sendq_init(&q);
  uint64_t end = 0;
  for (size_t n = 1; n <= NQ_SENDQ_RESERVE_MAX; n++) {
    uint8_t *room = nq_sendq_reserve(&q, &p, n);
    REQUIRE(room);
    fill(room, end, n); /* AddressSanitizer: n bytes are really there */
    nq_sendq_commit(&q, n);
    end += n;
  }
  CHECK_EQ(q.end, end);
  CHECK(!nq_sendq_reserve(&q, &p, 1u << 20));
  nq_sendq_commit(&q, 0);
  CHECK_EQ(q.end, end);
  CHECK(p.in_use < 3 * end);
  nq_sendq_clear(&q, &p);
  nq_pool_free(&p);
}

static void test_sendq_empty_commit_and_unused_room(void) {
  nq_pool p;
  nq_sendq q;
  nq_vec v[8];
  size_t total;
  nq_pool_init(&p);
  nq_sendq_init(&q);
  REQUIRE(nq_sendq_reserve(&q, &p, 1024)); /* never committed: an empty chunk */
  CHECK_EQ(nq_sendq_peek(&q, v, 8, 9999, &total), 0);
  nq_sendq_advance(&q, 1);
  nq_sendq_ack(&q, &p, 1);
  CHECK_EQ(q.end, 0);
  uint8_t big[40000];
  fill(big, 0, sizeof big);
  CHECK_EQ(nq_sendq_append(&q, &p, big, 2000), 0); /* 16 bytes are left, not enough for this: */
  REQUIRE(nq_sendq_reserve(&q, &p, 1024));
  CHECK_EQ(nq_sendq_peek(&q, v, 8, 9999, &total), 1); /* no empty vectors */
  CHECK_EQ(total, 2000);
  nq_sendq_advance(&q, 2000);
  nq_sendq_ack(&q, &p, 2000); /* the empty one stays */
  CHECK(q.head && q.head == q.tail && q.head->len == 0 && !q.cur);
  CHECK_EQ(nq_sendq_append(&q, &p, big + 2000, 38000), 0);
  size_t n = nq_sendq_peek(&q, v, 8, 99999, &total);
  CHECK_EQ(total, 38000);
  uint64_t off = 2000;
  for (size_t i = 0; i < n; i++) {
    CHECK(v[i].len > 0 && holds(v[i].base, off, v[i].len));
    off += v[i].len;
  }
  nq_sendq_advance(&q, 38000);
  nq_sendq_ack(&q, &p, 40000);
  CHECK(!q.head && p.in_use == 0);
  nq_sendq_clear(&q, &p);
  nq_pool_free(&p);
}

static void test_sendq_chunk_sizes(void) {
  nq_pool p;
  nq_sendq q;
  static uint8_t data[300000];
  nq_pool_init(&p);
  nq_sendq_init(&q);
  CHECK_EQ(nq_sendq_append(&q, &p, data, 100), 0);
  CHECK_EQ(p.in_use, NQ_CHUNK_TINY); /* a little takes little */
  CHECK_EQ(nq_sendq_append(&q, &p, data, 500), 0);
  CHECK_EQ(p.in_use, 2 * NQ_CHUNK_TINY); /* 364 bytes fitted the first */
  CHECK_EQ(nq_sendq_append(&q, &p, data, 500), 0);
  CHECK_EQ(p.in_use, 2 * NQ_CHUNK_TINY + NQ_CHUNK_SMALL); /* more takes more */
  nq_sendq_clear(&q, &p);
  CHECK_EQ(nq_sendq_append(&q, &p, data, 100), 0);
  CHECK_EQ(nq_sendq_append(&q, &p, data, 300000), 0);
  CHECK(p.in_use <= NQ_CHUNK_TINY + 5 * NQ_CHUNK_LARGE); /* much takes few */
  uint32_t chunks = listed(q.head);
  CHECK(chunks <= 6);
  REQUIRE(nq_sendq_reserve(&q, &p, 1024));
  nq_sendq_clear(&q, &p);
  for (int i = 0; i < 1000; i++) /* small frames on a queue that stands */
    CHECK_EQ(nq_sendq_append(&q, &p, data, 100), 0);
  CHECK(listed(q.head) < 22 && p.in_use < 2 * 100000); /* two tiny ones, 17 small ones, then large ones */
  nq_sendq_clear(&q, &p);
  for (int i = 0; i < 1000; i++) {
    REQUIRE(nq_sendq_reserve(&q, &p, 1000));
    nq_sendq_commit(&q, 1000);
  }
  CHECK(listed(q.head) < 40 && p.in_use < 1200000);
  nq_sendq_clear(&q, &p);
  nq_pool_free(&p);
}

static void test_sendq_lent(void) {
  nq_pool p;
  nq_sendq q;
  nq_vec v[4];
  size_t total;
  static uint8_t mine[100000], other[3];
  nq_pool_init(&p);
  nq_sendq_init(&q);
  CHECK_EQ(nq_sendq_append(&q, &p, mine, 10), 0);
  CHECK_EQ(nq_sendq_lend(&q, &p, (const uint8_t *)"head", 4, mine, sizeof mine, mine), 0);
  CHECK_EQ(p.in_use, NQ_CHUNK_TINY + sizeof mine);
  CHECK_EQ(nq_sendq_append(&q, &p, mine, 1), 0);
  CHECK_EQ(p.in_use, 2 * NQ_CHUNK_TINY + sizeof mine); /* a little, though the queue is long */
  CHECK_EQ(nq_sendq_lend(&q, &p, NULL, 0, other, 3, other), 0);
  CHECK_EQ(nq_sendq_queued(&q), 14 + sizeof mine + 4);
  CHECK_EQ(nq_sendq_peek(&q, v, 4, SIZE_MAX, &total), 4);
  CHECK_EQ(total, 14 + sizeof mine + 4);
  CHECK(v[0].len == 14 && v[1].base == mine && v[1].len == sizeof mine && v[2].len == 1 && v[3].base == other);
  nq_sendq_advance(&q, total);
  nq_sendq_ack(&q, &p, 13 + sizeof mine);
  CHECK(!nq_pool_returned(&p)); /* its last byte is not acknowledged */
  nq_sendq_ack(&q, &p, 14 + sizeof mine);
  CHECK(nq_pool_returned(&p) == mine && !nq_pool_returned(&p));
  CHECK_EQ(p.in_use, NQ_CHUNK_TINY + 3);
  nq_sendq_clear(&q, &p);
  CHECK(nq_pool_returned(&p) == other && !nq_pool_returned(&p));
  CHECK_EQ(p.in_use, 0);
  for (int i = 0; i < 100; i++) { /* a byte between them costs a tiny chunk at most */
    CHECK_EQ(nq_sendq_lend(&q, &p, NULL, 0, mine, sizeof mine, mine), 0);
    CHECK(nq_sendq_reserve(&q, &p, 1));
    nq_sendq_commit(&q, 1);
  }
  CHECK_EQ(p.in_use, 100 * (NQ_CHUNK_TINY + sizeof mine));
  nq_sendq_clear(&q, &p);
  uint32_t n = 0;
  while (n < 50 && nq_pool_returned(&p) == mine)
    n++;
  nq_pool_free(&p); /* the others, too */
  CHECK(n == 50 && !nq_pool_returned(&p));
}

/* What has been handed to the network and is not acknowledged: its bytes must stay where they were. */
enum { FLIGHT = 4096 };
typedef struct flight {
  nq_vec v[FLIGHT];
  uint64_t off[FLIGHT];
  size_t n;
} flight;

static int flight_intact(flight *f, uint64_t acked) {
  size_t kept = 0;
  int bad = 0;
  for (size_t i = 0; i < f->n; i++) {
    uint64_t off = f->off[i], skip = acked > off ? acked - off : 0;
    if (skip >= f->v[i].len)
      continue;
    bad += !holds(f->v[i].base + skip, off + skip, f->v[i].len - skip);
    f->v[kept] = f->v[i];
    f->off[kept++] = off;
  }
  f->n = kept;
  return bad;
}

static size_t random_size(void) {
  static const size_t edges[] = {1, 2015, 2016, 2017, 8191, 8192, 8193, 65503, 65504, 65505, 131008, 200000};
  uint32_t r = rnd() % 64;
  return r < 40 ? rnd() % 200 : r < 60 ? rnd() % 4000 : r < 63 ? edges[rnd() % 12] : rnd() % 150000;
}

static int random_send(nq_sendq *q, flight *f) {
  nq_vec v[16];
  size_t max = 1 + rnd() % 16, limit = random_size(), total, sum = 0;
  size_t n = nq_sendq_peek(q, v, max, limit, &total);
  int bad = n > max || (limit > 0 && n == 0 && nq_sendq_unsent(q) > 0);
  uint64_t off = q->sent;
  for (size_t i = 0; i < n; i++) {
    bad += sum >= limit || v[i].len == 0 || !holds(v[i].base, off, v[i].len);
    sum += v[i].len;
    off += v[i].len;
  }
  bad += sum != total || off > q->end;
  if (n < max && total < limit)
    bad += off != q->end; /* there was nothing more */
  size_t go = rnd() % 4 ? total : total ? rnd() % total : 0, left = go;
  off = q->sent;
  for (size_t i = 0; i < n && left && f->n < FLIGHT; i++) {
    size_t take = v[i].len < left ? v[i].len : left;
    f->v[f->n] = (nq_vec){v[i].base, take};
    f->off[f->n++] = off;
    off += take;
    left -= take;
  }
  nq_sendq_advance(q, go);
  return bad;
}

/* AddressSanitizer: whoever looks at them from now on is found out. */
static uint32_t free_returned(nq_pool *p) {
  uint32_t n = 0;
  for (void *mine; (mine = nq_pool_returned(p)); n++)
    free(mine);
  return n;
}

static void sendq_random(int ops) {
  static flight f;
  static uint8_t data[200000];
  nq_pool p;
  nq_sendq q;
  uint64_t end = 0, acked = 0;
  int bad = 0;
  uint32_t lent = 0, returned = 0;
  f.n = 0;
  nq_pool_init(&p);
  nq_sendq_init(&q);
  for (int op = 0; op < ops; op++) {
    uint32_t what = rnd() % 8;
    if (what == 0 && nq_sendq_queued(&q) < 1000000) {
      /* Of shorter ones there would be more chunks between, and much of them unused. */
      size_t head = rnd() % 20, n = NQ_CHUNK_LARGE + random_size();
      uint8_t *mine = malloc(n);
      REQUIRE(mine);
      fill(data, end, head);
      fill(mine, end + head, n);
      bad += nq_sendq_lend(&q, &p, data, head, mine, n, mine) != 0;
      end += head + n;
      lent++;
    } else if (what < 2 && nq_sendq_queued(&q) < 1000000) {
      size_t n = random_size();
      fill(data, end, n);
      bad += nq_sendq_append(&q, &p, data, n) != 0;
      memset(data, 0xdd, n); /* it was copied */
      end += n;
    } else if (what < 4) {
      size_t n = 1 + rnd() % NQ_SENDQ_RESERVE_MAX, used = rnd() % 8 ? n : rnd() % (n + 1);
      uint8_t *room = nq_sendq_reserve(&q, &p, n);
      REQUIRE(room);
      memset(room, 0xee, n);
      fill(room, end, used);
      nq_sendq_commit(&q, used);
      end += used;
    } else if (what < 6) {
      bad += random_send(&q, &f);
    } else {
      uint64_t unacked = q.sent - acked, upto = acked + (rnd() % 3 && unacked ? rnd() % unacked : unacked);
      if (rnd() % 16 == 0) /* late news, or wrong */
        nq_sendq_ack(&q, &p, rnd() & 1 ? acked / 2 : acked);
      nq_sendq_ack(&q, &p, upto);
      acked = upto > acked ? upto : acked;
      bad += flight_intact(&f, acked);
      returned += free_returned(&p);
    }
    bad += q.acked != acked || q.end != end || q.sent < acked || q.sent > end;
    bad += p.in_use > 3 * nq_sendq_queued(&q) + 3 * NQ_CHUNK_LARGE;
  }
  CHECK_EQ(bad, 0);
  CHECK(end > 100000);
  while (nq_sendq_unsent(&q))
    bad += random_send(&q, &f);
  nq_sendq_ack(&q, &p, end);
  CHECK_EQ(bad, 0);
  CHECK(nq_sendq_queued(&q) == 0 && p.in_use <= NQ_CHUNK_LARGE);
  nq_sendq_clear(&q, &p);
  CHECK_EQ(p.in_use, 0);
  returned += free_returned(&p);
  CHECK(lent > 100 && returned == lent);
  nq_pool_free(&p);
}

static void test_sendq_random(void) {
  for (int i = 0; i < 30; i++)
    sendq_random(3000);
}

int main(void) {
  RUN(test_sendq_life_of_a_frame);
  RUN(test_sendq_reserve_sizes);
  RUN(test_sendq_empty_commit_and_unused_room);
  RUN(test_sendq_chunk_sizes);
  RUN(test_sendq_lent);
  RUN(test_sendq_random);
  CHECK_DONE();
}
