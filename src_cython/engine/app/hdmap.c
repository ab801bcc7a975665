#include "app/hdmap.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "app/wire.h"
#include "quic/conn.h"

/* Handlers of the connections that agreed on another ALPN name. */
typedef struct alternative {
  struct alternative *next;
  nq_hdmap *map;
  size_t len;
  char alpn[];
} alternative;

struct nq_hdmap {
  atomic_int refs;
  nq_handler **buckets; /* chained; as many buckets as handlers, at least 8 */
  uint32_t n, cap;
  nq_handler *raw, *uni; /* nameless */
  const naquid_handler *datagram;
  const nq_app *app; /* what its connections speak */
  alternative *alternatives;
};

static uint32_t name_hash(const void *name, size_t len) { /* FNV-1a: only our own side fills the map */
  const uint8_t *p = name;
  uint32_t h = 2166136261u;
  for (size_t i = 0; i < len; i++)
    h = (h ^ p[i]) * 16777619u;
  return h;
}

nq_hdmap *nq_hdmap_make(const nq_app *app) {
  nq_hdmap *m = calloc(1, sizeof *m);
  if (!m)
    return NULL;
  m->app = app;
  m->cap = 8;
  m->buckets = calloc(m->cap, sizeof(nq_handler *));
  if (!m->buckets) {
    free(m);
    return NULL;
  }
  atomic_init(&m->refs, 1);
  return m;
}

nq_hdmap *nq_hdmap_ref(nq_hdmap *m) {
  if (m)
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
  return m;
}

void nq_hdmap_unref(nq_hdmap *m) {
  if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
    return;
  for (uint32_t i = 0; i < m->cap; i++)
    for (nq_handler *h = m->buckets[i], *next; h; h = next) {
      next = h->next;
      free(h);
    }
  for (alternative *a = m->alternatives, *next; a; a = next) {
    next = a->next;
    nq_hdmap_unref(a->map);
    free(a);
  }
  free(m->raw);
  free(m->uni);
  free(m->buckets);
  free(m);
}

static void grow(nq_hdmap *m) {
  uint32_t cap = m->cap * 2;
  nq_handler **b = calloc(cap, sizeof *b);
  if (!b)
    return; /* longer chains, nothing worse */
  for (uint32_t i = 0; i < m->cap; i++)
    for (nq_handler *h = m->buckets[i], *next; h; h = next) {
      next = h->next;
      nq_handler **at = &b[name_hash(h->name, h->name_len) & (cap - 1)];
      h->next = *at;
      *at = h;
    }
  free(m->buckets);
  m->buckets = b;
  m->cap = cap;
}

const nq_handler *nq_hdmap_find(const nq_hdmap *m, const uint8_t *name, size_t len) {
  if (!m)
    return NULL;
  nq_handler *h = m->buckets[name_hash(name, len) & (m->cap - 1)];
  while (h && (h->name_len != len || memcmp(h->name, name, len) != 0))
    h = h->next;
  return h;
}

const nq_handler *nq_hdmap_nameless(const nq_hdmap *m, int uni) {
  if (!m)
    return NULL;
  if (uni)
    return m->uni;
  return m->raw;
}

int nq_hdmap_add(nq_hdmap *m, const char *name, size_t len, nq_stream_kind kind, uint64_t call_timeout, void *user) {
  if (!len || len > NQ_WIRE_NAME_MAX || memchr(name, 0, len) || kind < NQ_KIND_RAW || kind > NQ_KIND_RPC)
    return NQ_ERR_ARG;
  union {
    const nq_handler *c;
    nq_handler *h;
  } at = {.c = nq_hdmap_find(m, (const uint8_t *)name, len)};
  nq_handler *h = at.h;
  if (!h) {
    h = calloc(1, sizeof *h + len);
    if (!h)
      return NQ_ERR_NOMEM;
    memcpy(h->name, name, len);
    h->name_len = (uint16_t)len;
    if (++m->n > m->cap)
      grow(m);
    nq_handler **b = &m->buckets[name_hash(name, len) & (m->cap - 1)];
    h->next = *b;
    *b = h;
  }
  h->kind = kind;
  h->call_timeout = call_timeout;
  h->user = user;
  return NQ_DONE;
}

/* In place when there is one already: streams may hold it. */
static int set_nameless(nq_handler **at, nq_stream_kind kind, void *user) {
  if (!*at && !(*at = calloc(1, sizeof **at)))
    return NQ_ERR_NOMEM;
  (*at)->kind = kind;
  (*at)->user = user;
  return NQ_DONE;
}

int nq_hdmap_raw(nq_hdmap *m, nq_stream_kind kind, void *user) {
  if (kind != NQ_KIND_RAW && kind != NQ_KIND_RECORD)
    return NQ_ERR_ARG;
  return set_nameless(&m->raw, kind, user);
}

int nq_hdmap_uni(nq_hdmap *m, void *user) { return set_nameless(&m->uni, NQ_KIND_RAW, user); }

const naquid_handler *nq_hdmap_datagram(const nq_hdmap *m) { return m ? m->datagram : NULL; }

int nq_hdmap_native(nq_hdmap *m, const char *name, size_t len, const naquid_handler *native) {
  if (native && native->version != NAQUID_NATIVE_VERSION)
    return NQ_ERR_ARG;
  if (!name) {
    m->datagram = native;
    return NQ_DONE;
  }
  nq_handler *h = m->buckets[name_hash(name, len) & (m->cap - 1)];
  while (h && (h->name_len != len || memcmp(h->name, name, len) != 0))
    h = h->next;
  if (!h)
    return NQ_ERR_ARG;
  h->native = native;
  return NQ_DONE;
}

void nq_hdmap_set_app(nq_hdmap *m, const nq_app *app) { m->app = app; }

int nq_hdmap_alpn(nq_hdmap *m, const char *alpn, size_t len, nq_hdmap *other) {
  if (!len || len > 255 || other == m)
    return NQ_ERR_ARG;
  alternative *a = calloc(1, sizeof *a + len);
  if (!a)
    return NQ_ERR_NOMEM;
  memcpy(a->alpn, alpn, len);
  a->len = len;
  a->map = nq_hdmap_ref(other);
  a->next = m->alternatives; /* the last write wins */
  m->alternatives = a;
  return NQ_DONE;
}

const nq_app *nq_hdmap_app(const nq_hdmap *m) { return m->app; }
void *nq_hdmap_retain(void *handlers) { return nq_hdmap_ref(handlers); }
void nq_hdmap_release(void *handlers) { nq_hdmap_unref(handlers); }

void nq_hdmap_choose(nq_conn *c, const char *alpn, size_t len) {
  const nq_hdmap *m = c->handlers;
  for (const alternative *a = m ? m->alternatives : NULL; a; a = a->next)
    if (a->len == len && !memcmp(a->alpn, alpn, len)) {
      nq_conn_speak(c, nq_hdmap_app(a->map), a->map);
      return;
    }
}
