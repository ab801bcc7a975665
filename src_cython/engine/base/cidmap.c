#include "base/cidmap.h"

#include <stdlib.h>
#include <string.h>

#define CAP_MIN 16u

/* A key as three words and its length: loads of 8 bytes that overlap, so that none needs a loop or padding. */
typedef struct key {
  uint64_t w[3];
  size_t len;
} key;

static inline uint64_t load(const uint8_t *p) {
  uint64_t w;
  memcpy(&w, p, sizeof w);
  return w;
}

static inline key key_of(const uint8_t *cid, size_t len) {
  if (len >= 16)
    return (key){{load(cid), load(cid + 8), load(cid + len - 8)}, len};
  if (len >= 8)
    return (key){{load(cid), load(cid + len - 8), 0}, len};
  key k = {{0}, len};
  for (size_t i = 0; i < len; i++)
    k.w[0] = k.w[0] << 8 | cid[i];
  return k;
}

static inline uint64_t rotl(uint64_t x, int n) { return x << n | x >> (64 - n); }

#define SIP_ROUND                                                                                                      \
  do {                                                                                                                 \
    a += b, b = rotl(b, 13) ^ a, a = rotl(a, 32);                                                                      \
    c += d, d = rotl(d, 16) ^ c;                                                                                       \
    a += d, d = rotl(d, 21) ^ a;                                                                                       \
    c += b, b = rotl(b, 17) ^ c, c = rotl(c, 32);                                                                      \
  } while (0)

/* SipHash-1-3 of the words: the peer chooses keys, and must not be able to choose where they fall. */
static inline uint32_t hash(const nq_cidmap *m, const key *k) {
  uint64_t a = m->seed[0] ^ 0x736f6d6570736575u, b = m->seed[1] ^ 0x646f72616e646f6du;
  uint64_t c = m->seed[0] ^ 0x6c7967656e657261u, d = m->seed[1] ^ 0x7465646279746573u;
  for (int i = 0; i < 3; i++) {
    d ^= k->w[i];
    SIP_ROUND;
    a ^= k->w[i];
  }
  c ^= 0xff ^ (uint64_t)k->len << 56;
  SIP_ROUND;
  SIP_ROUND;
  SIP_ROUND;
  uint64_t h = a ^ b ^ c ^ d;
  return (uint32_t)(h ^ h >> 32);
}

static inline key key_of_entry(const nq_cidmap_entry *e) { return key_of(e->cid, e->len); }

static inline int equal(const nq_cidmap_entry *e, const key *k) {
  if (e->len != k->len)
    return 0;
  key other = key_of_entry(e);
  return ((other.w[0] ^ k->w[0]) | (other.w[1] ^ k->w[1]) | (other.w[2] ^ k->w[2])) == 0;
}

/* Where k is, or the empty entry where it would be. There is always an empty one. */
static inline uint32_t find(const nq_cidmap *m, const key *k) {
  uint32_t mask = m->cap - 1, i = hash(m, k) & mask;
  while (m->entries[i].value && !equal(&m->entries[i], k))
    i = (i + 1) & mask;
  return i;
}

static int resize(nq_cidmap *m, uint32_t cap) {
  nq_cidmap old = *m;
  nq_cidmap_entry *entries = calloc(cap, sizeof *entries);
  if (!entries)
    return -1;
  m->entries = entries;
  m->cap = cap;
  for (uint32_t i = 0; i < old.cap; i++)
    if (old.entries[i].value) {
      key k = key_of_entry(&old.entries[i]);
      m->entries[find(m, &k)] = old.entries[i];
    }
  free(old.entries);
  return 0;
}

void nq_cidmap_init(nq_cidmap *m, const uint8_t seed[16]) {
  *m = (nq_cidmap){0};
  memcpy(m->seed, seed, sizeof m->seed);
}

void nq_cidmap_free(nq_cidmap *m) {
  free(m->entries);
  m->entries = NULL;
  m->n = m->cap = 0;
}

int nq_cidmap_put(nq_cidmap *m, const uint8_t *cid, size_t len, void *value) {
  if (len > NQ_CID_MAX || !value)
    return -1;
  key k = key_of(cid, len);
  if (m->cap) {
    nq_cidmap_entry *e = &m->entries[find(m, &k)];
    if (e->value) {
      e->value = value;
      return 0;
    }
  }
  if (m->n >= m->cap - m->cap / 4) {
    if (m->cap > UINT32_MAX / 4 || resize(m, m->cap ? 2 * m->cap : CAP_MIN) < 0)
      return -1;
  }
  nq_cidmap_entry *e = &m->entries[find(m, &k)];
  e->value = value;
  e->len = (uint8_t)len;
  if (len)
    memcpy(e->cid, cid, len);
  m->n++;
  return 0;
}

void nq_cidmap_prefetch(const nq_cidmap *m, const uint8_t *cid, size_t len) {
  if (m->n == 0 || len > NQ_CID_MAX)
    return;
  key k = key_of(cid, len);
  const nq_cidmap_entry *e = &m->entries[hash(m, &k) & (m->cap - 1)];
  __builtin_prefetch(e);
  __builtin_prefetch(e + 1); /* its end, or the next one, is in another line */
}

void *nq_cidmap_get(const nq_cidmap *m, const uint8_t *cid, size_t len) {
  if (m->n == 0 || len > NQ_CID_MAX)
    return NULL;
  key k = key_of(cid, len);
  return m->entries[find(m, &k)].value;
}

void *nq_cidmap_del(nq_cidmap *m, const uint8_t *cid, size_t len) {
  if (m->n == 0 || len > NQ_CID_MAX)
    return NULL;
  key k = key_of(cid, len);
  uint32_t mask = m->cap - 1, hole = find(m, &k);
  void *value = m->entries[hole].value;
  if (!value)
    return NULL;
  /* Each later entry of the run moves into the hole, unless its home lies behind the hole: there it would be lost. */
  for (uint32_t i = (hole + 1) & mask; m->entries[i].value; i = (i + 1) & mask) {
    key next = key_of_entry(&m->entries[i]);
    if (((i - hash(m, &next)) & mask) >= ((i - hole) & mask)) {
      m->entries[hole] = m->entries[i];
      hole = i;
    }
  }
  m->entries[hole] = (nq_cidmap_entry){0};
  m->n--;
  if (m->cap > CAP_MIN && m->n < m->cap / 8)
    (void)resize(m, m->cap / 4 > CAP_MIN ? m->cap / 4 : CAP_MIN); /* without memory it stays as large as it is */
  return value;
}

void nq_cidmap_forget(nq_cidmap *m, const void *value) {
  for (uint32_t i = 0; i < m->cap;) {
    if (m->entries[i].value != value) {
      i++;
      continue;
    }
    nq_cidmap_entry e = m->entries[i]; /* what follows may move here, or the whole map elsewhere */
    uint32_t cap = m->cap;
    nq_cidmap_del(m, e.cid, e.len);
    if (m->cap != cap)
      i = 0;
  }
}
