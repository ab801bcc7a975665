/* inbox.h: what other threads ask of a loop. */
#ifndef NQ_INBOX_H
#define NQ_INBOX_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine.h"

/* What other threads leave for the loop. */
typedef struct nq_post {
  struct nq_post *next;
  uint8_t op; /* nq_post_op, or NQ_POST_PACKET */
  int16_t type;
  uint32_t msgid;
  nq_handle h;
  uint64_t timeout;
  void *user;
  nq_addr remote, local; /* NQ_POST_PACKET */
  size_t len;
  uint8_t data[];
} nq_post;
enum { NQ_POST_PACKET = 100 };
#define NQ_MAX_FORWARDS 4096          /* packets of other workers waiting in one inbox */
#define NQ_MAX_POSTS (1u << 20)       /* what other threads may ask for in one tick */
#define NQ_MAX_POST_BYTES (256u << 20) /* the data of it */

/* A wake-up: none; on its way, no second one is needed; wanted, but the system did not take it. */
enum { NQ_WOKEN = 1, NQ_UNHEARD };

typedef struct nq_inbox {
  pthread_mutex_t lock;
  nq_post *head, **tail;
  uint32_t packets, posts;
  size_t bytes; /* of posts, not of packets */
  _Atomic int woken; /* 0, NQ_WOKEN, NQ_UNHEARD */
} nq_inbox;

int nq_inbox_init(nq_inbox *b);
void nq_inbox_free(nq_inbox *b);
void nq_inbox_run(nq_loop *l); /* does what other threads asked for */
/* Whether they have asked for something that the next nq_inbox_run does. */
static inline int nq_inbox_waits(const nq_inbox *b) {
  return atomic_load_explicit(&b->woken, memory_order_acquire) != 0;
}
/* A datagram for the endpoint of this id, from another loop. From any thread. */
int nq_inbox_forward(nq_loop *l, uint32_t endpoint, const nq_datagram *d);

#endif
