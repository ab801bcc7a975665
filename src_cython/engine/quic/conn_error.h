/* conn_error.h: what ngtcp2 finds wrong with a connection. */
#ifndef NQ_CONN_ERROR_H
#define NQ_CONN_ERROR_H

#include "quic/conn.h"

/* ngtcp2 said, by one of its error codes, that the connection is over: the peer is told, and the user. */
void nq_conn_ngtcp2_error(nq_conn *c, int error);

#endif
