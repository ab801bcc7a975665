/* unreachable.h: what becomes of connections whose datagrams do not get through, as the system or somebody on the way
 * says. In a handshake nothing else will come: it ends. Later it may be a mistake, a moment's trouble or a lie (ICMP is
 * not authenticated): where somebody on the way says so, the connection asks its peer by a PING, and ends only after
 * two probe timeouts in which nothing was heard; of a server's after 3 s at least. What this machine could not send is
 * logged. */
#ifndef NQ_UNREACHABLE_H
#define NQ_UNREACHABLE_H

#include "quic/conn.h"

/* Looks at what the sockets of the loop have collected. */
void nq_unreachable(nq_hub *hub);
/* The connection ends for this errno, and says in words what it means. */
void nq_conn_unreachable(nq_conn *c, int error);

#endif
