/* world.h: a client loop and a server loop for the tests, over real UDP or over the simulated network, driven by one
 * thread. Handlers are counters and an echo: what arrives is kept to be compared. */
#ifndef NQ_WORLD_H
#define NQ_WORLD_H

#include "engine.h"

#define WORLD_KEEP (1u << 20)

/* What one side has seen. */
typedef struct side {
  nq_loop *l;
  uint32_t ep;
  int server, echo; /* echo: requests are answered, records, bytes and datagrams sent back */
  int holds; /* connections may be held: every event asks whether it is to be delivered, as the binding does */
  nq_hdmap *map;
  nq_limits limits;
  uint32_t count[64];      /* events by kind */
  nq_handle conn, stream;  /* the last opened */
  uint32_t why;            /* of the last CONN_CLOSE */
  uint64_t code;
  char reason[512];
  int remote, delivered;
  uint64_t stream_code;    /* of the last STREAM_CLOSE */
  uint64_t gone, timeouts; /* local replies */
  uint64_t acked, ack_ends, ack_cut, lost; /* of marked sends: bytes, writes done, writes cut off, bytes sent again */
  uint8_t *kept;           /* bytes of DATA, RECORD and REPLY events, as they came */
  size_t n_kept;
  uint64_t bytes;
  char order[256];         /* a letter an event, in order */
  size_t n_order;
  uint64_t rtt;            /* of the last PONG */
  /* Sees every event first; what it returns 1 for is counted and no more. */
  int (*hook)(struct side *x, const nq_event *e);
  void *hook_ctx;
} side;

typedef struct world {
  side s, c;
  nq_tls *stls, *ctls;
  struct nq_sim *sim;
  int always_retry;
  const char *secret; /* of the endpoint, to survive a restart */
  uint32_t version;
} world;

/* Loops are made with these: how packets come and go over real UDP. */
extern nq_loop_options world_loop;
struct nq_test_cert;
/* What world_tls offers and takes by ALPN, in wire form. */
extern const char *world_alpn;
/* A context of a server (leaf given) or a client that trusts ca. */
nq_tls *world_tls(const struct nq_test_cert *ca, const struct nq_test_cert *leaf);
/* name: the server name the client asks for; "localhost" is what the certificate is for. sim may be NULL: real UDP. */
void world_open(world *w, struct nq_sim *sim);
/* Opens the server's endpoint (again), with its limits and settings of now. */
void world_listen(world *w);
void world_close(world *w);
nq_handle world_connect(world *w, const char *name);
/* One tick of both sides; wait: ns that an idle side may sleep (real UDP). */
void world_tick(world *w, int64_t wait);
/* Ticks until *what >= want, or for at most `ms` of (the loop's) time. 1: reached. */
int world_until(world *w, const uint32_t *what, uint32_t want, int ms);
/* Ticks for `ms`. */
void world_run(world *w, int ms);
void side_tick(side *x, int64_t wait);
/* nq_stream_lend of a copy of its own, which is freed once it is given back: who looks at it later is found out. */
int world_lend(nq_loop *l, nq_handle s, const uint8_t *p, size_t n);
extern uint64_t world_lent, world_returned; /* how many, of all worlds; world_close compares them */
nq_handle world_stream(world *w, nq_handle conn, nq_stream_kind kind, const char *name);
nq_loop_stats world_stats(const nq_loop *l);
/* Whether the letters of what a side has seen are these; says so when they are not. */
int side_order_is(side *x, const char *want);
/* Byte i of a pattern; those of other seeds are others. */
uint8_t world_byte(uint64_t seed, uint64_t i);

/* A world on a simulated network, and the last connection in it: what most tests begin with. */
typedef struct sim_world {
  nq_sim net;
  world w;
  nq_handle conn;
} sim_world;

/* Packets take a millisecond; nobody is connected yet. */
void sim_world_open(sim_world *f, uint64_t seed);
/* Opens the server's endpoint anew, with its limits and settings of now. */
void sim_world_listen(sim_world *f);
/* One more connection, open on both sides. */
void sim_world_connect(sim_world *f);
void sim_world_close(sim_world *f);

#endif
