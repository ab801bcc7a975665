/* net.h: one UDP socket and the connections behind it: GRO in, GSO out, connection IDs, timers. */
#ifndef CEILING_NET_H
#define CEILING_NET_H

#include "quic.h"

typedef struct net_options {
  unsigned segments;    /* of one GSO message; 1: no GSO, no GRO */
  bool trains;          /* packets of different connections to one address share a GSO message */
  uint64_t timer_floor; /* ns: timers are not served more often */
  bool busy;            /* never sleep */
  bool closes; /* the client closes a connection that is confirmed */
  size_t ring_size;
} net_options;

typedef struct net_counts {
  uint64_t rx_calls, rx_datagrams, tx_calls, tx_datagrams, ended;
} net_counts;

extern net_options net_opt;
extern net_counts net_count;

/* Opens a socket on the loopback address; its port in *self. */
void net_open(struct sockaddr_in *self);
/* tls: new connections are accepted with it; NULL: none are. */
void net_accept(SSL_CTX *tls);
conn *net_connect(SSL_CTX *tls, const struct sockaddr_in *server, uint64_t now);
/* Its packets are written at the end of the next turn. */
void net_mark(conn *c);
/* Receives what is there, serves timers, writes, and sleeps when nothing came. Returns the time. */
uint64_t net_turn(void);
size_t net_connections(void);
conn *net_connection(size_t i);

#endif
