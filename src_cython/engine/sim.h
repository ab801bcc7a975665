/* sim.h: a network in memory with a virtual clock: loss, duplication, delay and reordering by a seed, so that a test of
 * ten minutes of protocol runs in milliseconds and fails the same way twice. */
#ifndef NQ_SIM_H
#define NQ_SIM_H

#include "engine.h"

typedef struct sim_packet {
  struct sim_packet *next;
  uint64_t due;
  nq_addr from, to;
  size_t len;
  uint8_t data[];
} sim_packet;

typedef struct sim {
  uint64_t now, state;
  uint64_t delay, jitter; /* ns; jitter reorders */
  unsigned loss, dup, corrupt; /* per mille */
  int cut; /* nothing passes */
  uint8_t cut_to; /* nothing reaches this host */
  size_t mtu; /* larger UDP payloads vanish; 0: none do */
  uint64_t rate; /* bytes a second in each direction, with a queue of 1/8 s; 0: any */
  uint64_t busy[2]; /* until when a direction is sending, by the lowest bit of the destination host */
  uint8_t nat; /* this host is behind a NAT; 0: none */
  uint16_t nat_port, nat_inner; /* the port it is seen under (what goes to earlier ones is lost), and its own */
  uint64_t sent, lost, duplicated;
  sim_packet *flight, *last; /* by due */
  nq_env env;
  /* Sees every packet that is sent. */
  void (*sniff)(void *ctx, const uint8_t *data, size_t len, const nq_addr *from, const nq_addr *to);
  void *sniff_ctx;
} sim;

void sim_init(sim *s, uint64_t seed);
void sim_free(sim *s);
/* An nq_io on address 10.0.0.<host>:<port>. */
nq_io *sim_io(sim *s, uint8_t host, uint16_t port);
uint64_t sim_random(sim *s);
/* The NAT before a host gives its one socket (`inner` is its port) a new port. */
void sim_rebind(sim *s, uint8_t host, uint16_t inner);
/* When the next packet arrives, UINT64_MAX: none. */
uint64_t sim_next(const sim *s);

#endif
