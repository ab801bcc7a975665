/* udp.h: UDP sockets of the system: the backend that works everywhere, one packet for each system call. */
#ifndef NQ_UDP_H
#define NQ_UDP_H

#include "io/backend.h"

extern const nq_backend nq_backend_udp; /* "udp" */

/* The largest UDP payload that the loopback interface carries in one piece over either IP; 0: the system does not say.
 */
size_t nq_udp_loopback_payload(const nq_io *io);

#endif
