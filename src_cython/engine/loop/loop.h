/* loop.h: one loop: the tick, its timers, its tables, its batch. Everything of a loop is touched by one thread at a
 * time; what other threads may touch stands in its own struct (nq_inbox) or is atomic. */
#ifndef NQ_LOOP_H
#define NQ_LOOP_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/chunk.h"
#include "base/table.h"
#include "base/timer.h"
#include "engine.h"
#include "io/backend.h"
#include "quic/event.h"

struct nq_conn;
struct nq_stream;
struct nq_endpoint;

/* kinds of timers */
enum {
  NQ_TIMER_CONN = 1,
  NQ_TIMER_CALLS,
  NQ_TIMER_ALARM,
  NQ_TIMER_CLOSING,
  NQ_TIMER_INBOX,
  NQ_TIMER_ENDPOINT,
  NQ_TIMER_KINDS
};
#define NQ_NO_MEMORY_PAUSE NQ_MSEC(10) /* before an event is tried again for which there was no memory */

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
#define NQ_TIMED_TICKS 64
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

typedef struct nq_alarm {
  nq_timer timer;
  nq_handle h;
  void *user;
} nq_alarm;

struct nq_loop {
  nq_env env;
  unsigned process; /* that made it */
  uint64_t now; /* ns, read once a tick */
  uint64_t timer_floor, busy_poll;
  uint64_t spin_until; /* a wait before it is spent looking */
  int traffic;         /* something came since the last flush */
  nq_loop_options opts;
  void *ctx;
  int err;

  nq_table conns, streams, alarms;
  nq_timers timers;
  nq_chunk_pool pool;
  nq_events batch;

  struct nq_conn *dirty, **dirty_tail;      /* connections that have something to write */
  uint32_t marked;                          /* how many were put there, ever; modulo 2^32 */
  struct nq_conn *blocked;                  /* ... whose socket takes nothing now; they count as dirty */
  struct nq_stream *credits;                /* streams that delivered bytes in this batch */
  struct nq_stream *resumed, **resumed_tail; /* held streams that may go on */
  struct nq_stream *dead_streams, *told_streams; /* their end is in the batch; was given by the poll: free at flush */
  struct nq_conn *opened;                   /* CONN_OPEN is in this batch */
  struct nq_conn *dead_conns, *told_conns;
  uint32_t rx_again; /* an endpoint gave a full batch: look again without waiting */
  uint32_t surplus;  /* packets that endpoints kept for the next tick */
  uint32_t timing;   /* ticks left in which handlers are timed and connections have their share: see take_turns */
  int requests;      /* this tick has requests or records, */
  uint64_t given_at; /* given to the caller at this time */
  nq_handle timed;   /* stream whose events run now, how many of them, since when */
  uint32_t timed_events;
  uint64_t timed_since;
  int natives; /* some handler is native: look for its events */

  struct nq_endpoint **endpoints; /* by the low half of the id, less 1; NULL: closed */
  uint32_t endpoint_uses;
  int unused_endpoints; /* a socket that a migration opened has no connection any more */
  uint32_t n_endpoints, cap_endpoints;
  uint32_t client_ep[2]; /* id of the client socket for IPv4, IPv6 */
  nq_backend_use backend; /* How its own sockets bring packets. */
  int epfd, wakefd, timerfd;
  uint64_t timer_armed; /* deadline the timerfd (kqueue: its timer) is set to */
  int timer_wanted;     /* kqueue: an outside event loop waits */

  nq_inbox inbox;
  nq_timer inbox_timer; /* set while posts wait for memory */
  _Atomic(pthread_t) owner;
  nq_group *group;
  uint32_t number;

  nq_loop_stats stats;
  uint64_t calls; /* pending RPC calls */
};

static inline void nq_loop_random(nq_loop *l, uint8_t *dst, size_t n) { l->env.random(l->env.ctx, dst, n); }
void nq_loop_log(nq_loop *l, char level, const char *msg, const char *json_fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Adds/removes a descriptor to what the loop waits for; data is given back by the wait. */
int nq_loop_watch(nq_loop *l, int fd, uint32_t endpoint, int writable, int modify);
void nq_loop_unwatch(nq_loop *l, int fd);

/* inbox.c */
int nq_inbox_init(nq_inbox *b);
void nq_inbox_free(nq_loop *l);
void nq_inbox_run(nq_loop *l); /* does what other threads asked for */
int nq_inbox_add(nq_loop *l, nq_post *p);

/* group.c: the loop that packets with this connection ID belong to; NULL: this one */
int nq_group_forward(nq_loop *l, uint8_t first_cid_byte, uint32_t endpoint, const nq_datagram *d);
uint32_t nq_group_members(const nq_group *g);
int nq_group_refusing(nq_group *g);
nq_group *nq_group_ref(nq_group *g);
void nq_group_leave(nq_group *g, nq_loop *l, uint32_t number);
/* The secret all members derive tokens and reset tokens from. */
const uint8_t *nq_group_secret(const nq_group *g);

#endif
