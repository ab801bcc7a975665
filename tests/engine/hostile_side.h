/* hostile_side.h: the engine's side opposite a hostile peer, driven by a program of bytes, with the promises that must
 * hold whatever the peer sends. */
#ifndef NQ_TEST_HOSTILE_SIDE_H
#define NQ_TEST_HOSTILE_SIDE_H

#include <stdio.h>
#include <stdlib.h>

#include "engine.h"
#include "io/sim.h"

#define MUST(cond)                                                                                                     \
  do {                                                                                                                 \
    if (!(cond)) {                                                                                                     \
      fprintf(stderr, "%s:%d: MUST(%s)\n", __FILE__, __LINE__, #cond);                                                 \
      abort();                                                                                                         \
    }                                                                                                                  \
  } while (0)

#define SIDE_STREAMS 64
#define SIDE_USERS 256 /* calls, and marked sends: each is told of once */

/* What handlers do. */
enum {
  SIDE_SILENT = 1,       /* requests are not answered, nothing is sent back */
  SIDE_PAUSES = 2,       /* streams are paused when they open */
  SIDE_CLOSES = 4,       /* streams are closed at their first message */
  SIDE_HANGS_UP = 8,     /* the connection is closed at the first message */
  SIDE_OPENS = 16,       /* a stream is opened and used at CONN_OPEN */
  SIDE_RECONNECTS = 32   /* a client connects again, once */
};

typedef struct hostile_side {
  nq_sim *net;
  nq_loop *l;
  uint32_t ep;
  nq_tls *tls;
  nq_hdmap *map;
  int client;
  unsigned policy;
  nq_handle conn; /* the last one; 0: none */
  int conn_open, reconnected; /* conn_open: how many */
  struct {
    nq_handle h;
    uint8_t open, closed, fin;
  } streams[SIDE_STREAMS];
  uint32_t n_streams;
  uint8_t calls[SIDE_USERS], replies[SIDE_USERS]; /* accepted; told of */
  uint32_t n_calls;
  uint8_t marks[SIDE_USERS], ends[SIDE_USERS];
  uint32_t n_marks;
  uint64_t lent, returned;
} hostile_side;

/* tls and map are kept by the caller. small: limits that are reached soon. */
void hostile_side_open(hostile_side *x, nq_sim *net, nq_tls *tls, nq_hdmap *map, int client, int small);
void hostile_side_address(const hostile_side *x, nq_addr *a);
/* A client connects to the hostile peer. */
void hostile_side_connect(hostile_side *x);
void hostile_side_tick(hostile_side *x);
/* Does something that an application might do: v[0] says what, the others to what and how. */
void hostile_side_do(hostile_side *x, const uint8_t v[5]);
/* Gives everything up, waits until all timeouts are over and checks that nothing is left. drop: takes what is sent to
 * the peer. */
void hostile_side_close(hostile_side *x, void (*drop)(void *ctx), void *ctx);

#endif
