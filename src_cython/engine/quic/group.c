/* group.c: loops that serve one address together. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "quic/endpoint.h"
#include "tls/random.h"

struct nq_group {
  atomic_int refs, refusing;
  uint32_t n;
  uint8_t secret[NQ_SECRET_LEN];
  pthread_mutex_t lock; /* of members: a loop leaves while another one forwards to it */
  nq_loop *members[];
};

nq_group *nq_group_new(uint32_t n) {
  if (n < 1 || n > 128)
    return NULL;
  nq_group *g = calloc(1, sizeof *g + n * sizeof(nq_loop *));
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

nq_group *nq_group_ref(nq_group *g) {
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

int nq_group_join(nq_group *g, nq_loop *l, uint32_t number) {
  if (number >= g->n || l->group)
    return NQ_ERR_ARG;
  l->group = nq_group_ref(g);
  l->number = number;
  pthread_mutex_lock(&g->lock);
  g->members[number] = l;
  pthread_mutex_unlock(&g->lock);
  return NQ_DONE;
}

void nq_group_leave(nq_group *g, nq_loop *l, uint32_t number) {
  pthread_mutex_lock(&g->lock);
  if (g->members[number] == l)
    g->members[number] = NULL;
  pthread_mutex_unlock(&g->lock);
  nq_group_unref(g);
}

/* 1: the packet is another member's, and was given to it (or dropped: its inbox is full). 0 too when that one has left:
 * whoever is still there tells a stranger how things are. */
int nq_group_forward(nq_loop *l, uint8_t first, uint32_t endpoint, const nq_datagram *d) {
  nq_group *g = l->group;
  uint32_t to = first % g->n;
  if (to == l->number)
    return 0;
  nq_post *p = malloc(sizeof *p + d->len);
  if (!p)
    return 1;
  memset(p, 0, sizeof *p);
  p->op = NQ_POST_PACKET;
  p->msgid = endpoint;
  p->type = d->ecn;
  p->remote = *d->remote;
  p->local = *d->local;
  p->len = d->len;
  memcpy(p->data, d->data, d->len);
  pthread_mutex_lock(&g->lock);
  int left = !g->members[to];
  int given = !left && nq_inbox_add(g->members[to], p) == 0;
  pthread_mutex_unlock(&g->lock);
  if (given)
    l->stats.forwarded++;
  else
    free(p);
  if (!given && !left)
    l->stats.rx_dropped++;
  return !left;
}
