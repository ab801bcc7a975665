/* wait.h: how a loop sleeps: on its descriptors, its timer and its wake-up. By epoll on Linux, by kqueue on macOS and
 * the BSDs that have its user events, by poll() everywhere: the best of them, or the one that was asked for by its
 * name. */
#ifndef NQ_WAIT_H
#define NQ_WAIT_H

#include <stdint.h>

typedef struct nq_wait nq_wait;

/* A descriptor that the last sleep found ready. */
typedef struct nq_wait_ready {
  uint32_t key;     /* What it is watched under. */
  uint8_t readable; /* Whether it can be read, or has an error to tell. */
  uint8_t writable; /* Whether it can be written. */
  uint8_t failed;   /* Whether it has an error to tell. */
} nq_wait_ready;

typedef struct nq_wait_ops {
  const char *name; /* What a user asks for it by. */
  /* 0, NQ_ERR_NOMEM, or NQ_ERR_SYS with errno. */
  int (*open)(nq_wait **out);
  void (*close)(nq_wait *w);
  /* Watches a descriptor for reading and, if asked, for writing; modify: it is watched already, and this is changed. 0,
   * or -1 with errno. */
  int (*watch)(nq_wait *w, int fd, uint32_t key, int writable, int modify);
  /* Watches it no more. It is still open. */
  void (*unwatch)(nq_wait *w, int fd);
  /* Sleeps at most ns (0: only looks) and fills w->ready, w->woken and w->armed. How many things were ready
   * (descriptors, wake-up, timer), or -1 with errno. */
  int (*sleep)(nq_wait *w, int64_t ns);
  /* Ends a sleep, or lets the next one end at once. From any thread. 0, or -1: it did not. */
  int (*wake)(nq_wait *w);
  /* In the loop's thread, before it does what it was woken for: a wake from now on counts anew. */
  void (*heard)(nq_wait *w);
  /* A descriptor that an outside event loop can watch. -1 with errno: there is none; a later call tries again. */
  int (*descriptor)(nq_wait *w);
  /* Makes that descriptor readable at this time, if it was ever asked for. now: what the clock says. 0, or -1 with
   * errno: the caller keeps the deadline. */
  int (*arm)(nq_wait *w, uint64_t deadline, uint64_t now);
} nq_wait_ops;

/* What all of them have. Each has a struct of its own, which begins with this. */
struct nq_wait {
  const nq_wait_ops *ops; /* What it does. */
  unsigned process;       /* The process that made it. What a forked child shares with it, that must leave alone. */
  int woken;              /* Whether the last sleep was ended by a wake-up. */
  uint64_t armed;         /* The deadline that its timer is set to; NQ_NEVER when it is not. */
  nq_wait_ready *ready;   /* The descriptors that the last sleep found ready. */
  uint32_t n_ready;       /* Their number. */
};

extern const nq_wait_ops nq_wait_poll; /* "poll" */
#if defined __linux__
#define NQ_WAIT_EPOLL
extern const nq_wait_ops nq_wait_epoll; /* "epoll" */
#endif
#if !defined NQ_WAIT_KQUEUE && (defined __APPLE__ || defined __FreeBSD__)
#define NQ_WAIT_KQUEUE
#endif
#ifdef NQ_WAIT_KQUEUE
extern const nq_wait_ops nq_wait_kqueue; /* "kqueue" */
#endif

/* Wait number i of those that were compiled, the default first; NULL past the last. */
const nq_wait_ops *nq_wait_at(uint32_t i);
/* The wait of that name, NULL when it was not compiled; the default for the name NULL. */
const nq_wait_ops *nq_wait_find(const char *name);
/* Arms the timer for the next deadline (NQ_NEVER: there is none) where that is earlier than what it is set to: an
 * earlier wake-up than needed costs nothing but itself. 0, or -1 with errno. */
int nq_wait_arm(nq_wait *w, uint64_t deadline, uint64_t (*clock)(void *ctx), void *ctx);

#endif
