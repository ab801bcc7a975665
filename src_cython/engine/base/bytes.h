/* bytes.h: growable bytes: an incomplete message, or a stream held back. */
#ifndef NQ_BYTES_H
#define NQ_BYTES_H

#include <stddef.h>
#include <stdint.h>

typedef struct nq_bytes {
  uint8_t *data; /* The memory; NULL as long as nothing was appended. */
  size_t off;    /* Where the bytes begin. */
  size_t len;    /* Where they end. */
  size_t cap;    /* Where the memory ends. */
} nq_bytes;

/* No bytes, and no memory yet. */
void nq_bytes_init(nq_bytes *b);
/* Frees the memory; the bytes are then as after init. */
void nq_bytes_free(nq_bytes *b);
/* Grows geometrically, so what is allocated follows what has really arrived. 0, or -1: no memory, nothing appended. */
int nq_bytes_append(nq_bytes *b, const uint8_t *data, size_t n);
/* Drops n bytes from the front; at the end the memory is kept only when it is small (<= 4 KiB). */
void nq_bytes_consume(nq_bytes *b, size_t n);
/* How many bytes there are, and where. */
static inline size_t nq_bytes_size(const nq_bytes *b) { return b->len - b->off; }
static inline const uint8_t *nq_bytes_at(const nq_bytes *b) { return b->off ? b->data + b->off : b->data; }

#endif
