#include "io/backend.h"

#include <string.h>

#include "io/udp.h"
#include "io/udp_linux.h"

/* In the order in which they are preferred. */
static const nq_backend *const backends[] = {
#ifdef __linux__
    &nq_backend_udp_linux,
#endif
    &nq_backend_udp,
};

const nq_backend *nq_backend_at(uint32_t i) { return i < sizeof backends / sizeof *backends ? backends[i] : NULL; }

const nq_backend *nq_backend_find(const char *name) {
  const nq_backend *b = NULL;
  for (uint32_t i = 0; (b = nq_backend_at(i)) && strcmp(b->name, name) != 0;)
    i++;
  return b;
}

static const nq_backend *best(void) {
  uint32_t i = 0;
  while (nq_backend_at(i + 1) && nq_backend_at(i)->probe())
    i++;
  return nq_backend_at(i); /* the last one is everywhere */
}

int nq_backend_start(nq_backend_use *u, const nq_backend *b, void *ctx) {
  if (!b)
    b = best();
  int rv = b->probe();
  if (!rv)
    rv = b->start(&u->shared, ctx);
  if (!rv)
    u->backend = b;
  return rv;
}

void nq_backend_stop(nq_backend_use *u) {
  if (u->backend)
    u->backend->stop(u->shared);
  *u = (nq_backend_use){0};
}
