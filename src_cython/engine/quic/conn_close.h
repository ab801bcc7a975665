/* conn_close.h: the end of a connection, whoever wanted it. */
#ifndef NQ_CONN_CLOSE_H
#define NQ_CONN_CLOSE_H

#include "quic/closing.h"
#include "quic/conn.h"

/* The QUIC connection ends: its streams' events, then CONN_CLOSE. linger: stands in for it from now on, or NULL. */
void nq_conn_end(nq_conn *c, uint32_t why, uint64_t code, const char *reason, int remote, nq_closing *linger);
/* A record that stands in for the connection for three PTOs. packet NULL: draining. NULL: no memory. */
nq_closing *nq_conn_linger(nq_conn *c, const uint8_t *packet, size_t len);
/* Sends CONNECTION_CLOSE; the record that answers with it again, or NULL. */
nq_closing *nq_conn_close_write(nq_conn *c, const ngtcp2_ccerr *err);
/* ngtcp2's connection and what stands for it in the endpoint go; the record, if any, takes their place. */
void nq_conn_drop_quic(nq_conn *c, nq_closing *z);
/* Again, when there was no memory for the events of the end. */
void nq_conn_end_again(nq_conn *c);
/* An event of the connection was lost for want of memory: it cannot go on as if nothing had been. */
void nq_conn_no_memory(nq_conn *c);
/* No events, one CONNECTION_CLOSE: the loop goes away. */
void nq_conn_abort(nq_conn *c);
/* In state CLOSING, written: before it is written, because there is no more time; or behind it. Closes when the peer
 * has all that it was to get, or when that may not be waited for. */
void nq_conn_close_step(nq_conn *c, int written);
/* The peer has acknowledged all that it was to get: bytes, FIN, RESET_STREAM, STOP_SENDING; and no datagram waits. */
int nq_conn_delivered(nq_conn *c);
/* Closes it at once, by a packet and the events of its end. One that is closing has its code and reason; another ends
 * for what is given here, and its peer is told NQ_CODE_SHUTDOWN. */
void nq_conn_close_now(nq_conn *c, uint32_t why, const char *reason);
/* The user closes it: see nq_conn_close. NQ_DONE, NQ_ERR_ARG. */
int nq_conn_shutdown(nq_conn *c, uint64_t code, const char *reason, size_t len, int now);
/* The user gives a client's object up: see nq_conn_free. */
int nq_conn_discard(nq_conn *c);

#endif
