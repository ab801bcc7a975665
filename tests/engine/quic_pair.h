/* quic_pair.h: two ngtcp2 connections that shake hands in memory, with nothing of the engine but its TLS. */
#ifndef NQ_TEST_QUIC_PAIR_H
#define NQ_TEST_QUIC_PAIR_H

#include "tls/session.h"

#include <netinet/in.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

typedef struct quic_end {
  ngtcp2_crypto_conn_ref ref;
  ngtcp2_conn *conn;
  nq_tls_session *tls;
  struct sockaddr_in local, remote;
  ngtcp2_path path;
  int completed, confirmed;
  int error;           /* ngtcp2's, from reading or writing; 0 */
  unsigned alert;      /* that this side raised */
  unsigned peer_alert; /* that the other side's CONNECTION_CLOSE carried */
} quic_end;

typedef struct quic_pair {
  quic_end client, server;
  nq_tls *server_tls;
  uint64_t now;
  int first_flight; /* datagrams of the client's first flight */
} quic_pair;

/* Both connections hold the contexts; the server's begins with the first packet. */
quic_pair *quic_pair_new(nq_tls *client, nq_tls *server, const char *server_name);
/* Until the handshake is confirmed, has failed on both sides, or nothing moves. */
void quic_pair_run(quic_pair *p);
void quic_pair_free(quic_pair *p);

#endif
