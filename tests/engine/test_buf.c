// needs: base/buf.c
#include "base/buf.h"

#include "check.h"

static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint32_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (uint32_t)(seed >> 32);
}

/* The byte at an offset of the stream: the model of all it carries. */
static uint8_t byte_at(uint64_t off) { return (uint8_t)(off * 0x9e3779b97f4a7c15u >> 56); }

static void fill(uint8_t *p, uint64_t off, size_t n) {
  for (size_t i = 0; i < n; i++)
    p[i] = byte_at(off + i);
}

static int holds(const uint8_t *p, uint64_t off, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (p[i] != byte_at(off + i))
      return 0;
  return 1;
}

/* ---- pool ---- */

static uint32_t listed(const nq_chunk *c) {
  uint32_t n = 0;
  for (; c; c = c->next)
    n++;
  return n;
}

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

/* ---- send queue ---- */

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
  RUN(test_sendq_life_of_a_frame);
  RUN(test_sendq_reserve_sizes);
  RUN(test_sendq_empty_commit_and_unused_room);
  RUN(test_sendq_chunk_sizes);
  RUN(test_sendq_lent);
  RUN(test_sendq_random);
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
