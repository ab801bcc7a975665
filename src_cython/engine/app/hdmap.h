/* hdmap.h: which protocol names exist, and what kind of stream each is. */
#ifndef NQ_HDMAP_H
#define NQ_HDMAP_H

#include "engine.h"

typedef struct nq_handler {
  struct nq_handler *next; /* same hash bucket */
  nq_stream_kind kind;
  uint64_t call_timeout;
  void *user;
  const naquid_handler *native;
  uint16_t name_len;
  char name[];
} nq_handler;

/* The handler of an incoming stream with this name, or NULL. */
const nq_handler *nq_hdmap_find(const nq_hdmap *m, const uint8_t *name, size_t len);
/* The handler of nameless bidirectional (uni: unidirectional) streams, or NULL. */
const nq_handler *nq_hdmap_nameless(const nq_hdmap *m, int uni);

/* The native handler of datagrams, or NULL. */
const naquid_handler *nq_hdmap_datagram(const nq_hdmap *m);

#endif
