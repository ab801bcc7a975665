/* udp_error.c: what the system was told of datagrams that did not get through: the error queue of Linux (ip(7),
 * IP_RECVERR), which says for each which one it was. Elsewhere a socket that is not connected is told nothing. */
#include <errno.h>
#include <string.h>

#include "io/udp_impl.h"

#ifdef __linux__
#include <linux/errqueue.h>

#define ASKED 64 /* that are read at once: who sends more of them does not hold up the packets */

void nq_udp_want_errors(const nq_udp *u) {
  int on = 1;
  setsockopt(u->io.fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on); /* also for the mapped addresses of an IPv6 socket */
  if (u->v6)
    setsockopt(u->io.fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on);
}

/* 1: it came by ICMP. */
static unsigned keep(nq_udp *u, struct msghdr *m, const uint8_t *head, size_t len, const nq_addr *remote) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
    if ((c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_RECVERR) &&
        (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_RECVERR))
      continue;
    struct sock_extended_err e;
    memcpy(&e, CMSG_DATA(c), sizeof e);
    unsigned told = e.ee_origin == SO_EE_ORIGIN_ICMP || e.ee_origin == SO_EE_ORIGIN_ICMP6;
    /* Too long for the path: that is for the search of its MTU, which sends packets to find it out. */
    if ((told || e.ee_origin == SO_EE_ORIGIN_LOCAL) && e.ee_errno != EMSGSIZE)
      nq_io_failed(&u->io, (int)e.ee_errno, (int)told, remote, head, len);
    return told;
  }
  return 0;
}

unsigned nq_udp_take_errors(nq_udp *u) {
  unsigned told = 0;
  for (int i = 0; i < ASKED; i++) {
    uint8_t head[NQ_IO_ERROR_HEAD];
    _Alignas(struct cmsghdr) uint8_t control[512];
    nq_addr remote;
    struct iovec iov = {head, sizeof head};
    struct msghdr m = {.msg_name = &remote.sa,
                       .msg_namelen = sizeof remote.in6,
                       .msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof control};
    ssize_t n = recvmsg(u->io.fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (n < 0)
      break;
    remote.len = m.msg_namelen;
    told += keep(u, &m, head, (size_t)n, &remote);
  }
  return told;
}
#else
void nq_udp_want_errors(const nq_udp *u) { (void)u; }
unsigned nq_udp_take_errors(nq_udp *u) {
  (void)u;
  return 0;
}
#endif

/* A descriptor that was closed may be another socket by now. */
void nq_udp_ask_errors(nq_io *io) {
  nq_addr local;
  nq_udp_take_errors((nq_udp *)io);
  local.len = sizeof local.in6;
  if (getsockname(io->fd, &local.sa, &local.len))
    nq_udp_met((nq_udp *)io, errno);
  else if (!nq_addr_equal(&local, &io->local))
    io->broken = EBADF;
}
