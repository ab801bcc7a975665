/* hub.h: what connections, streams and endpoints need of the loop that they live in: its clock and randomness, the
 * batch of events, memory, timers, the lists of work for the rest of the tick, and counters. A loop begins with its hub
 * (loop/loop.h); nothing below the loop sees more of it. One thread at a time touches it. */
#ifndef NQ_HUB_H
#define NQ_HUB_H

#include "base/chunk.h"
#include "base/fork.h"
#include "base/table.h"
#include "base/timer.h"
#include "engine.h"
#include "io/backend.h"
#include "quic/event.h"

struct nq_conn;
struct nq_stream;
struct nq_endpoint;
typedef struct nq_hub nq_hub;

/* Whose timer it is: the loop finds the object from it. */
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

/* What the floors below ask of the loop above them. */
typedef struct nq_hub_ops {
  /* Adds a descriptor to what the loop waits for (modify: changes it), for reading and, if asked, for writing; the
   * endpoint's id is given back by the wait. 0, or -1 with errno. */
  int (*watch)(nq_hub *hub, int fd, uint32_t endpoint, int writable, int modify);
  void (*unwatch)(nq_hub *hub, int fd);
  /* Leaves a datagram for the endpoint of this id in another loop. From any thread. 0, or an error: it is not taken. */
  int (*forward)(nq_hub *to, uint32_t endpoint, const nq_datagram *d);
  /* Between two packets of a receive, when some handlers are native: those have their events. Never inside a callback
   * of a native library. */
  void (*run_native)(nq_hub *hub);
} nq_hub_ops;

struct nq_hub {
  const nq_hub_ops *ops;
  nq_env env;          /* clock and randomness */
  unsigned process;    /* the one that made it: a forked child leaves it alone */
  int err;             /* errno of the last NQ_ERR_SYS */
  uint64_t now;        /* ns, read once a tick */
  uint64_t timer_floor; /* ns: timers of connections are not served more often */
  nq_loop_options opts; /* as they were given */

  nq_table conns, streams; /* by handle */
  nq_timers timers;        /* all deadlines of the loop */
  nq_chunk_pool pool;            /* memory of send queues */
  nq_events batch;         /* what the caller is told in this tick */

  struct nq_conn *dirty, **dirty_tail; /* connections that have something to write */
  uint32_t marked;                     /* how many were put there, ever; modulo 2^32 */
  struct nq_conn *blocked;             /* ... whose socket takes nothing now; they count as dirty */
  struct nq_conn *opened;              /* whose CONN_OPEN is in this batch */
  struct nq_conn *dead_conns;          /* whose last event is in this batch */
  struct nq_stream *credits;           /* streams that delivered bytes in this batch */
  struct nq_stream *resumed, **resumed_tail; /* streams whose withheld bytes may go on */
  struct nq_stream *dead_streams;      /* streams whose last event is in this batch */
  uint32_t deferred;                   /* Initial packets that endpoints kept for the next tick */
  uint32_t timing;   /* ticks left in which handlers are timed and connections have their share: see loop/turns.c */
  int requests;      /* this tick has requests or records */
  int natives;       /* some handler is native: look for its events */

  struct nq_endpoint **endpoints; /* by the low half of the id, less 1; NULL: closed */
  uint32_t n_endpoints, cap_endpoints;
  uint32_t endpoint_uses; /* how many ids were given */
  int failed;             /* a socket has datagrams that did not get through: see unreachable.h */
  int unused_endpoints;   /* a socket that a migration opened has no connection any more */
  uint32_t client_ep[2];  /* id of the client socket for IPv4, IPv6 */
  nq_backend_use backend; /* how its own sockets bring packets */

  nq_group *group; /* of the loops that serve one address together; NULL: none */
  uint32_t number; /* of this loop in it */

  nq_loop_stats stats;
  uint64_t calls; /* pending RPC calls */
};

/* A loop begins with its hub. */
static inline nq_hub *nq_hub_of(nq_loop *l) { return (nq_hub *)(void *)l; }
static inline const nq_hub *nq_hub_of_const(const nq_loop *l) { return (const nq_hub *)(const void *)l; }

static inline void nq_hub_random(nq_hub *hub, uint8_t *dst, size_t n) { hub->env.random(hub->env.ctx, dst, n); }
static inline uint64_t nq_hub_clock(const nq_hub *hub) { return hub->env.now(hub->env.ctx); }
/* 1 in a forked child: the loop is its parent's. */
static inline int nq_hub_inherited(const nq_hub *hub) { return hub->process != nq_fork_generation(); }

/* 0, or -1: no memory for its tables. */
int nq_hub_init(nq_hub *hub, const nq_hub_ops *ops, const nq_loop_options *o, const nq_env *system);
/* Once its connections, streams and endpoints are gone. */
void nq_hub_free(nq_hub *hub);
/* A line of the log, as an event. level: 'D', 'I', 'W' or 'E'; the format makes what stands between the braces of a
 * JSON object, NULL: nothing. */
void nq_hub_log(nq_hub *hub, char level, const char *msg, const char *json_fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
