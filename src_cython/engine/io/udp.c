/* udp.c: the portable backend: one packet for each system call. It is compiled everywhere. */
#ifdef __APPLE__
#define __APPLE_USE_RFC_3542 /* IPV6_PKTINFO; before any header */
#endif

#include "io/udp.h"

#include <errno.h>

#include "io/udp_impl.h"

static int receive(nq_io *io, const nq_datagram **out) {
  nq_udp *u = (nq_udp *)io;
  nq_udp_rx *rx = u->shared->rx;
  uint32_t count = 0, i = 0;
  int tries = 0;
  *out = rx->out;
  while (i < NQ_UDP_RX_MESSAGES) {
    struct iovec iov = {rx->data[i], NQ_UDP_RX_SIZE};
    struct msghdr m = {.msg_name = &rx->remote[i].sa, .msg_namelen = sizeof rx->remote[i].in6, .msg_iov = &iov};
    m.msg_iovlen = 1;
    if (io->caps.pktinfo || u->overflow) {
      m.msg_control = rx->control[i];
      m.msg_controllen = NQ_UDP_RX_CONTROL;
    }
    ssize_t n = u->sys.recvmsg(io->fd, &m);
    io->stats.rx_calls++;
    if (n < 0) {
      if (nq_udp_recv_again(u, errno, &tries))
        continue;
      break;
    }
    tries = 0;
    rx->remote[i].len = m.msg_namelen;
    rx->local[i].len = 0;
    if (m.msg_flags & MSG_TRUNC) {
      io->stats.rx_messages++;
      io->stats.rx_truncated++;
    } else {
      for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        if (!nq_udp_get_dropped(u, c))
          nq_udp_get_pktinfo(u, c, &rx->local[i]);
      count = nq_udp_deliver(u, count, i, (uint32_t)n, 0, 0);
    }
    i++;
  }
  return (int)count;
}

static int send_one(nq_udp *u) {
  nq_udp_cursor c = u->tx->head;
  nq_udp_unit unit;
  if (!nq_udp_next(u, &c, &unit))
    return 0;
  _Alignas(struct cmsghdr) uint8_t control[NQ_UDP_TX_CONTROL];
  struct iovec iov = {(void *)(uintptr_t)unit.data, unit.len};
  struct msghdr m = {.msg_name = &unit.m->remote.sa, .msg_namelen = unit.m->remote.len, .msg_iov = &iov};
  m.msg_iovlen = 1;
  if (unit.m->local.len) {
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    size_t used = nq_udp_put_pktinfo(u, CMSG_FIRSTHDR(&m), &unit.m->local);
    m.msg_controllen = (socklen_t)used;
  }
  u->io.stats.tx_calls++;
  return u->sys.sendmsg(u->io.fd, &m) < 0 ? -errno : 1;
}

static int flush(nq_io *io) { return nq_udp_flush((nq_udp *)io, send_one); }

static const nq_io_ops ops = {receive, nq_udp_tx_room, nq_udp_tx_push, flush, nq_udp_close, nq_udp_ask_errors};

static ssize_t sys_sendmsg(int fd, const struct msghdr *m) { return sendmsg(fd, m, MSG_DONTWAIT); }

static ssize_t sys_recvmsg(int fd, struct msghdr *m) { return recvmsg(fd, m, MSG_DONTWAIT); }

static int probe(void) { return 0; }

static int open_socket(nq_io **out, void *shared, const nq_backend_options *o) {
  static const nq_udp_sys sys = {.sendmsg = sys_sendmsg, .recvmsg = sys_recvmsg};
  return nq_udp_open(out, shared, o, &ops, &sys, NULL);
}

const nq_backend nq_backend_udp = {"udp", probe, nq_udp_start, nq_udp_stop, open_socket, nq_udp_steer};
