/* buf_util.h: what the tests of chunks, queues and arenas share: luck that is the same every time, and bytes whose
 * place in the stream can be told. */
#ifndef NQ_BUF_UTIL_H
#define NQ_BUF_UTIL_H

#include "buf.h"

__attribute__((unused)) static uint64_t seed = 0x9e3779b97f4a7c15u;
__attribute__((unused)) static uint32_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (uint32_t)(seed >> 32);
}

/* The byte at an offset of the stream: the model of all it carries. */
__attribute__((unused)) static uint8_t byte_at(uint64_t off) { return (uint8_t)(off * 0x9e3779b97f4a7c15u >> 56); }

__attribute__((unused)) static void fill(uint8_t *p, uint64_t off, size_t n) {
  for (size_t i = 0; i < n; i++)
    p[i] = byte_at(off + i);
}

__attribute__((unused)) static int holds(const uint8_t *p, uint64_t off, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (p[i] != byte_at(off + i))
      return 0;
  return 1;
}

__attribute__((unused)) static uint32_t listed(const nq_chunk *c) {
  uint32_t n = 0;
  for (; c; c = c->next)
    n++;
  return n;
}

#endif
