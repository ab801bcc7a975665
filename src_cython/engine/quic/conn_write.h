/* conn_write.h: packets out: datagrams first, then the streams in turn. */
#ifndef NQ_CONN_WRITE_H
#define NQ_CONN_WRITE_H

#include "quic/conn.h"

void nq_conn_write(nq_conn *c);

#endif
