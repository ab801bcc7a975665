/* udp_linux.h: UDP sockets of Linux, many packets for each system call (recvmmsg, sendmmsg), with GSO, GRO and ECN.
 * Each of the latter is probed when a socket opens, and can fail later without loss. */
#ifndef NQ_UDP_LINUX_H
#define NQ_UDP_LINUX_H

#include "io/backend.h"

#ifdef __linux__
extern const nq_backend nq_backend_udp_linux; /* "udp_linux" */
#endif

#endif
