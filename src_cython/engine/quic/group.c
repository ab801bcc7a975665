/* group.c: see group.h. */
#include "quic/group.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "quic/cid.h"
#include "tls/random.h"

struct nq_group {
  atomic_int refs, refusing;
  uint32_t n;
  uint8_t secret[NQ_SECRET_LEN];
  pthread_mutex_t lock; /* of members: a loop leaves while another one forwards to it */
  nq_hub *members[];
};

nq_group *nq_group_new(uint32_t n) {
  if (n < 1 || n > 128)
    return NULL;
  nq_group *g = calloc(1, sizeof *g + n * sizeof(nq_hub *));
  if (!g)
    return NULL;
  atomic_init(&g->refs, 1);
  atomic_init(&g->refusing, 0);
  g->n = n;
  if (pthread_mutex_init(&g->lock, NULL)) {
    free(g);
    return NULL;
  }
  nq_tls_random(g->secret, sizeof g->secret);
  return g;
}

static nq_group *ref(nq_group *g) {
  atomic_fetch_add(&g->refs, 1);
  return g;
}

void nq_group_unref(nq_group *g) {
  if (!g || atomic_fetch_sub(&g->refs, 1) != 1)
    return;
  pthread_mutex_destroy(&g->lock);
  free(g);
}

uint32_t nq_group_members(const nq_group *g) { return g->n; }
const uint8_t *nq_group_secret(const nq_group *g) { return g->secret; }
void nq_group_refuse(nq_group *g) { atomic_store(&g->refusing, 1); }
int nq_group_refusing(nq_group *g) { return atomic_load_explicit(&g->refusing, memory_order_relaxed); }

int nq_group_enter(nq_group *g, nq_hub *hub, uint32_t number) {
  if (number >= g->n || hub->group)
    return NQ_ERR_ARG;
  hub->group = ref(g);
  hub->number = number;
  pthread_mutex_lock(&g->lock);
  g->members[number] = hub;
  pthread_mutex_unlock(&g->lock);
  return NQ_DONE;
}

void nq_group_leave(nq_hub *hub) {
  nq_group *g = hub->group;
  pthread_mutex_lock(&g->lock);
  if (g->members[hub->number] == hub)
    g->members[hub->number] = NULL;
  pthread_mutex_unlock(&g->lock);
  hub->group = NULL;
  nq_group_unref(g);
}

int nq_group_forward(nq_hub *hub, uint8_t first, uint32_t endpoint, const nq_datagram *d) {
  nq_group *g = hub->group;
  uint32_t to = nq_cid_owner(first, g->n);
  if (to == hub->number)
    return 0;
  pthread_mutex_lock(&g->lock);
  nq_hub *owner = g->members[to];
  int rv = owner ? owner->ops->forward(owner, endpoint, d) : NQ_DONE;
  pthread_mutex_unlock(&g->lock);
  if (!owner)
    return 0;
  if (rv)
    hub->stats.rx_dropped++;
  else
    hub->stats.forwarded++;
  return 1;
}
