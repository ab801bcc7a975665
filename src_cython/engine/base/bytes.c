#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

#define BYTES_KEEP 4096u

void nq_bytes_init(nq_bytes *b) { *b = (nq_bytes){0}; }

void nq_bytes_free(nq_bytes *b) {
  free(b->data);
  nq_bytes_init(b);
}

static inline void to_front(nq_bytes *b) {
  if (b->off == 0)
    return;
  memmove(b->data, b->data + b->off, b->len - b->off);
  b->len -= b->off;
  b->off = 0;
}

/* Room for n more bytes at the end. */
static int make_room(nq_bytes *b, size_t n) {
  size_t size = nq_bytes_size(b);
  if (n > SIZE_MAX / 4 - size)
    return -1;
  size_t need = size + n;
  if (need <= b->cap && b->off >= size) { /* moves at most what was consumed since the last move */
    to_front(b);
    return 0;
  }
  size_t cap = 2 * size > need ? 2 * size : need;
  if (cap < 64)
    cap = 64;
  if (b->off) { /* a new block: realloc would copy what was consumed as well */
    uint8_t *data = malloc(cap);
    if (!data)
      return -1;
    memcpy(data, b->data + b->off, size);
    free(b->data);
    *b = (nq_bytes){data, 0, size, cap};
    return 0;
  }
  uint8_t *data = realloc(b->data, cap);
  if (!data)
    return -1;
  b->data = data;
  b->cap = cap;
  return 0;
}

int nq_bytes_append(nq_bytes *b, const uint8_t *data, size_t n) {
  if (n == 0)
    return 0;
  if (n > b->cap - b->len && make_room(b, n) < 0)
    return -1;
  memcpy(b->data + b->len, data, n);
  b->len += n;
  return 0;
}

void nq_bytes_consume(nq_bytes *b, size_t n) {
  if (n < nq_bytes_size(b)) {
    b->off += n;
    return;
  }
  b->off = b->len = 0;
  if (b->cap > BYTES_KEEP)
    nq_bytes_free(b);
}
