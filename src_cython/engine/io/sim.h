/* sim.h: a network in memory with a virtual clock: loss, duplication, delay and reordering by a seed, so that ten
 * minutes of protocol run in milliseconds and fail the same way twice. It is the packet I/O, the clock and the
 * randomness of loops that are made for it; one thread runs all of them. */
#ifndef NQ_SIM_H
#define NQ_SIM_H

#include "io/backend.h"

#define NQ_SIM_ALWAYS 1000000u /* of the chances below, which are parts in a million */

typedef struct nq_sim_packet nq_sim_packet;
typedef struct nq_sim_socket nq_sim_socket;
typedef struct nq_sim_nat nq_sim_nat;

typedef struct nq_sim {
  uint64_t now; /* ns; whoever drives the loops moves it */
  uint64_t state; /* of the random numbers */
  uint64_t delay, jitter; /* ns from one socket to the other; up to jitter more, which reorders */
  uint32_t loss, dup, corrupt; /* chance of a packet to vanish, to come twice, to have one bit changed */
  int cut; /* nothing passes */
  nq_addr cut_to; /* nothing reaches this host, whatever the port; no address: everything does */
  size_t mtu; /* larger UDP payloads vanish; 0: none do */
  uint64_t rate; /* bytes a second towards each socket, IP and UDP headers included, with a queue of 1/8 s; 0: any */
  uint64_t sent, lost, duplicated; /* packets; lost: whatever the reason */
  nq_sim_packet *flight, *last; /* on their way, by the time at which they arrive */
  nq_sim_socket *sockets; /* that are open */
  nq_sim_nat *nats;
  uint16_t next_port; /* that a socket gets which asks for none */
  uint16_t next_outer; /* that a NAT gives out */
  nq_env env; /* for the loops */
  /* Sees every packet that is sent. */
  void (*sniff)(void *ctx, const uint8_t *data, size_t len, const nq_addr *from, const nq_addr *to);
  void *sniff_ctx;
} nq_sim;

/* A machine of the network: what the sockets of one loop are bound to. */
typedef struct nq_sim_host {
  nq_sim *sim;
  nq_addr v4, v6; /* its addresses, of port 0; no address: it has none of that family */
  int any; /* its sockets may be bound to any other address, too */
} nq_sim_host;

void nq_sim_init(nq_sim *s, uint64_t seed);
/* Frees the packets on their way. Sockets are closed before. */
void nq_sim_free(nq_sim *s);
uint64_t nq_sim_random(nq_sim *s);
/* 10.0.0.<host>:<port> */
nq_addr nq_sim_address(uint8_t host, uint16_t port);
/* A socket on that address; NULL: no memory. */
nq_io *nq_sim_io(nq_sim *s, uint8_t host, uint16_t port);
/* The backend of loops on a host, which is their backend_ctx. */
extern const nq_backend nq_sim_backend;
/* The NAT before a socket, which need not be open yet, gives it a new port; what goes to earlier ones is lost. The
 * port, or 0: no memory. */
uint16_t nq_sim_rebind(nq_sim *s, const nq_addr *inner);
/* The same for every open socket of the host with that address. How many, or -1: no memory. */
int nq_sim_rebind_host(nq_sim *s, const nq_addr *host);
/* When the next packet arrives, UINT64_MAX: none. */
uint64_t nq_sim_next(const nq_sim *s);
/* Moves the clock on, never back. What arrives where nothing listens is lost. */
void nq_sim_advance(nq_sim *s, uint64_t to);
/* When the next packet arrives at a socket of the host, which may have passed; UINT64_MAX: none is on its way. */
uint64_t nq_sim_arrival(const nq_sim_host *h);

#endif
