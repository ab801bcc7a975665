/* hdmap.h: which stream names exist, and what kind of stream each is; and where a server has several protocols, which
 * map is for which ALPN name. */
#ifndef NQ_HDMAP_H
#define NQ_HDMAP_H

#include "app/app.h"
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

/* An empty map; app: what connections with these handlers speak, until their ALPN chooses another map. NULL: no memory.
 */
nq_hdmap *nq_hdmap_make(const nq_app *app);
void nq_hdmap_set_app(nq_hdmap *m, const nq_app *app);
const nq_app *nq_hdmap_app(const nq_hdmap *m);
/* For the tables of protocols whose handlers are a map. */
void *nq_hdmap_retain(void *handlers);
void nq_hdmap_release(void *handlers);
void nq_hdmap_choose(struct nq_conn *c, const char *alpn, size_t len);

/* The native handler of datagrams, or NULL. */
const naquid_handler *nq_hdmap_datagram(const nq_hdmap *m);

#endif
