/* cidmap.h: connection ID (0..20 bytes) to pointer, open addressing, seeded hash: the peer chooses some of the
 * keys. IDs longer than 20 bytes are in no map. */
#ifndef NQ_CIDMAP_H
#define NQ_CIDMAP_H

#include <stddef.h>
#include <stdint.h>

#define NQ_CID_MAX 20

typedef struct nq_cidmap_entry {
  void *value;             /* What the ID stands for; NULL when the entry is empty. */
  uint8_t len;             /* The bytes of the ID. */
  uint8_t cid[NQ_CID_MAX]; /* The ID. */
} nq_cidmap_entry;

typedef struct nq_cidmap {
  nq_cidmap_entry *entries; /* The entries, each at or behind the place that its hash names. */
  uint32_t n;               /* The IDs in the map. */
  uint32_t cap;             /* The entries that there are: 0 or a power of two. */
  uint64_t seed[2];         /* The key of the hash. */
} nq_cidmap;

/* An empty map, without memory yet. */
void nq_cidmap_init(nq_cidmap *m, const uint8_t seed[16]);
/* Frees the map, but not what its IDs stand for. */
void nq_cidmap_free(nq_cidmap *m);
/* Adds or replaces. 0, or -1: no memory (or too long an ID, or a NULL value). Grows at 3/4 full, shrinks when
 * far too large. */
int nq_cidmap_put(nq_cidmap *m, const uint8_t *cid, size_t len, void *value);
/* What the ID stands for; NULL when it is not in the map. */
void *nq_cidmap_get(const nq_cidmap *m, const uint8_t *cid, size_t len);
/* Asks the processor for the memory that nq_cidmap_get will look at. */
void nq_cidmap_prefetch(const nq_cidmap *m, const uint8_t *cid, size_t len);
/* Removes the entry (backward-shift, no tombstones) and returns what it held. */
void *nq_cidmap_del(nq_cidmap *m, const uint8_t *cid, size_t len);
/* Removes every entry that holds this value. Walks the whole map. */
void nq_cidmap_forget(nq_cidmap *m, const void *value);

#endif
