/* addr.h: socket addresses. */
#ifndef NQ_ADDR_H
#define NQ_ADDR_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

typedef struct nq_addr {
  union { /* The address as the system has it; which member counts is said by sa.sa_family. */
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
  };
  socklen_t len; /* The bytes of the union that are in use; 0: there is no address. */
} nq_addr;

/* Whether both name the same family, address, port and scope, or both name nothing. */
int nq_addr_equal(const nq_addr *a, const nq_addr *b);
/* Whether a socket bound to it receives what is sent to every address of the machine: 0.0.0.0, ::, or the former as an
 * IPv6 socket writes it, ::ffff:0.0.0.0. 0 for no address. */
int nq_addr_is_wildcard(const nq_addr *a);
/* Whoever sends to a wildcard address reaches this machine, which answers from another one: makes it the loopback
 * address of its family, with the port as it was. What is no wildcard stays as it is. */
void nq_addr_to_loopback(nq_addr *a);
/* Whether it is an IPv4 address as a socket of IPv6 writes it (RFC 4291 2.5.5.2). 0 for no address. */
int nq_addr_is_mapped(const nq_addr *a);
/* Reads "127.0.0.1" or "fe80::1%eth0", with a port. 0, or -1 when host is no numeric address. */
int nq_addr_parse(nq_addr *a, const char *host, uint16_t port);
/* Writes "127.0.0.1:80", "[::1]:80" or, for no address, "-"; always terminated. A mapped address is written as what it
 * is, IPv4. Returns buf. */
char *nq_addr_format(const nq_addr *a, char *buf, size_t cap);
/* The port, 0 for no address. */
uint16_t nq_addr_port(const nq_addr *a);

#endif
