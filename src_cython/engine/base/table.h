/* table.h: objects by generation-checked handle. A handle names one object for ever: once removed, it finds nothing.
 * Lookup is two loads; slots never move, so any thread may ask nq_table_alive while the owner inserts and removes. */
#ifndef NQ_TABLE_H
#define NQ_TABLE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t nq_handle; /* generation (high 32 bits, odd while alive), index (low 32); 0 is never valid */

#define NQ_TABLE_SHIFT 8 /* slots a chunk: 256 */
#define NQ_TABLE_CHUNK (1u << NQ_TABLE_SHIFT)
#define NQ_TABLE_DIR 65536u /* chunks at most: 16.7 million objects */

typedef struct nq_slot {
  _Atomic uint32_t gen; /* The generation, odd while the slot holds an object. */
  uint32_t next;        /* The next free slot, as index + 1; 0 at the end of the list. */
  void *obj;            /* The object. */
} nq_slot;

typedef struct nq_table {
  _Atomic(nq_slot *) *dir; /* NQ_TABLE_DIR pointers to chunks of slots; pages that hold none are never touched. */
  uint32_t chunks;         /* The chunks that there are. */
  uint32_t free;           /* The first free slot, as index + 1; 0 when there is none. */
  uint32_t live;           /* The objects in the table. */
} nq_table;

/* An empty table. 0, or -1 when there is no memory. */
int nq_table_init(nq_table *t);
/* Frees the table, but not the objects in it. */
void nq_table_free(nq_table *t);
/* Handle of obj (never NULL), or 0 when there is no memory. Owner thread only, as are remove and get. Freed slots are
 * taken again in LIFO order; a slot whose generation would wrap is retired. */
nq_handle nq_table_insert(nq_table *t, void *obj);
/* The object that was there, or NULL for a stale handle. */
void *nq_table_remove(nq_table *t, nq_handle h);
/* Whether the handle names an object. From any thread. */
int nq_table_alive(const nq_table *t, nq_handle h);
/* Calls fn for every live object; fn may remove the object it is given. */
void nq_table_each(nq_table *t, void (*fn)(void *ctx, nq_handle h, void *obj), void *ctx);

/* The object, or NULL for a stale handle. */
static inline void *nq_table_get(const nq_table *t, nq_handle h) {
  uint32_t i = (uint32_t)h, c = i >> NQ_TABLE_SHIFT;
  if (c >= t->chunks)
    return NULL;
  nq_slot *s = &atomic_load_explicit(&t->dir[c], memory_order_relaxed)[i & (NQ_TABLE_CHUNK - 1)];
  return atomic_load_explicit(&s->gen, memory_order_relaxed) == (uint32_t)(h >> 32) && (h >> 32 & 1) ? s->obj : NULL;
}

#endif
