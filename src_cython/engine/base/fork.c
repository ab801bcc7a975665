#include "base/fork.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_uint generation = 1;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int watched;

static void forked(void) { atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed); }
static void init(void) { watched = pthread_atfork(NULL, NULL, forked) == 0; }

unsigned nq_fork_generation(void) {
  pthread_once(&once, init);
  return watched ? atomic_load_explicit(&generation, memory_order_relaxed) : 0;
}
