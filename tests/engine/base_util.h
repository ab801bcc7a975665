/* base_util.h: random numbers that are the same in every run, bytes that can be told from their offset. */
#ifndef BASE_UTIL_H
#define BASE_UTIL_H

#include <stddef.h>
#include <stdint.h>

static uint64_t seed = 0x9e3779b97f4a7c15u;
static inline uint32_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (uint32_t)(seed >> 32);
}

/* The byte at an offset of the stream: the model of all it carries. */
static inline uint8_t byte_at(uint64_t off) { return (uint8_t)(off * 0x9e3779b97f4a7c15u >> 56); }

static inline void fill(uint8_t *p, uint64_t off, size_t n) {
  for (size_t i = 0; i < n; i++)
    p[i] = byte_at(off + i);
}

static inline int holds(const uint8_t *p, uint64_t off, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (p[i] != byte_at(off + i))
      return 0;
  return 1;
}

#endif
