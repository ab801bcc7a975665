/* udp_linux.c: many datagrams per system call: recvmmsg, sendmmsg, UDP_SEGMENT, UDP_GRO; ECN. */
#include "io/udp_linux.h"

#ifdef __linux__

#include <errno.h>
#include <string.h>

#include "io/udp_impl.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static int sys_sendmmsg(int fd, struct mmsghdr *m, unsigned n) { return sendmmsg(fd, m, n, MSG_DONTWAIT); }

static int sys_recvmmsg(int fd, struct mmsghdr *m, unsigned n) { return recvmmsg(fd, m, n, MSG_DONTWAIT, NULL); }

static void switch_on(nq_udp *u, const nq_backend_options *o) {
  int fd = u->io.fd, segment = 0;
  nq_io_caps *caps = &u->io.caps;
  caps->mmsg = 1;
  socklen_t len = sizeof segment;
  caps->gso = !o->no_gso && !getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, &len);
  caps->gro = !o->no_gro && !nq_udp_set(fd, IPPROTO_UDP, UDP_GRO, 1);
  if (!o->no_ecn) {
    /* An IPv6 socket needs both: IPv4 packets reach it with mapped addresses. */
    int v4 = !nq_udp_set(fd, IPPROTO_IP, IP_RECVTOS, 1);
    caps->ecn = (uint8_t)(u->v6 ? !nq_udp_set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1) : v4);
  }
}

/* Receiving */

typedef struct control {
  uint32_t segment;
  uint8_t ecn;
} control;

static control read_control(nq_udp *u, struct msghdr *m, nq_addr *local) {
  control r = {0, 0};
  local->len = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
    int value;
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      memcpy(&value, CMSG_DATA(c), sizeof value);
      r.segment = value > 0 ? (uint32_t)value : 0;
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
      r.ecn = *CMSG_DATA(c) & 3;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      memcpy(&value, CMSG_DATA(c), sizeof value);
      r.ecn = (uint8_t)(value & 3);
    } else if (!nq_udp_get_dropped(u, c)) {
      nq_udp_get_pktinfo(u, c, local);
    }
  }
  return r;
}

static int receive(nq_io *io, const nq_datagram **out) {
  nq_udp *u = (nq_udp *)io;
  nq_udp_rx *rx = u->shared->rx;
  int n, tries = 0;
  uint32_t most = rx->want ? rx->want : NQ_UDP_RX_MESSAGES;
  if (u->io.rx_most && u->io.rx_most < most)
    most = u->io.rx_most;
  *out = rx->out;
  for (uint32_t i = 0; i < rx->used; i++) {
    rx->mm[i].msg_hdr.msg_namelen = sizeof rx->remote[i].in6;
    rx->mm[i].msg_hdr.msg_controllen = NQ_UDP_RX_CONTROL;
  }
  rx->used = 0;
  do {
    n = u->sys.recvmmsg(u->io.fd, rx->mm, most);
    u->io.stats.rx_calls++;
  } while (n < 0 && nq_udp_recv_again(u, errno, &tries));
  if (n <= 0)
    return 0;
  uint32_t count = 0;
  size_t bytes = 0;
  rx->used = (uint32_t)n;
  for (uint32_t i = 0; i < (uint32_t)n; i++) {
    struct msghdr *m = &rx->mm[i].msg_hdr;
    if (m->msg_flags & MSG_TRUNC) {
      u->io.stats.rx_messages++;
      u->io.stats.rx_truncated++;
      continue;
    }
    bytes += rx->mm[i].msg_len;
    control c = read_control(u, m, &rx->local[i]);
    rx->remote[i].len = m->msg_namelen;
    count = nq_udp_deliver(u, count, i, rx->mm[i].msg_len, c.segment, c.ecn);
  }
  size_t fit = NQ_UDP_RX_BYTES / (bytes / (size_t)n + 1);
  rx->want = fit >= NQ_UDP_RX_MESSAGES ? NQ_UDP_RX_MESSAGES : fit > NQ_UDP_RX_LEAST ? (uint32_t)fit : NQ_UDP_RX_LEAST;
  return (int)count;
}

/* Sending */

static int is_v4(const nq_addr *a) { return a->sa.sa_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr); }

static size_t put_ecn(struct cmsghdr *c, const nq_addr *remote, int ecn) {
  c->cmsg_level = is_v4(remote) ? IPPROTO_IP : IPPROTO_IPV6;
  c->cmsg_type = is_v4(remote) ? IP_TOS : IPV6_TCLASS;
  c->cmsg_len = CMSG_LEN(sizeof ecn);
  memcpy(CMSG_DATA(c), &ecn, sizeof ecn);
  return CMSG_SPACE(sizeof ecn);
}

static size_t put_segment(struct cmsghdr *c, uint16_t segment) {
  c->cmsg_level = IPPROTO_UDP;
  c->cmsg_type = UDP_SEGMENT;
  c->cmsg_len = CMSG_LEN(sizeof segment);
  memcpy(CMSG_DATA(c), &segment, sizeof segment);
  return CMSG_SPACE(sizeof segment);
}

static void prepare(nq_udp *u, uint32_t i, const nq_udp_unit *unit) {
  nq_udp_tx *tx = u->tx;
  nq_udp_message *m = unit->m;
  struct msghdr *h = &tx->mm[i].msg_hdr;
  uint8_t *c = tx->control[i];
  tx->iov[i] = (struct iovec){(void *)(uintptr_t)unit->data, unit->len};
  h->msg_name = &m->remote.sa;
  h->msg_namelen = m->remote.len;
  if (unit->segments > 1)
    c += put_segment((struct cmsghdr *)(void *)c, (uint16_t)m->segment);
  if (m->ecn)
    c += put_ecn((struct cmsghdr *)(void *)c, &m->remote, m->ecn);
  if (m->local.len)
    c += nq_udp_put_pktinfo(u, (struct cmsghdr *)(void *)c, &m->local);
  h->msg_controllen = (socklen_t)(c - tx->control[i]);
  h->msg_control = h->msg_controllen ? tx->control[i] : NULL;
}

/* Sends the queue from its head with one call: the number of units sent, or -errno. */
static int send_many(nq_udp *u) {
  nq_udp_tx *tx = u->tx;
  nq_udp_cursor c = tx->head;
  nq_udp_unit unit;
  uint32_t n = 0;
  while (n < NQ_UDP_TX_MESSAGES && nq_udp_next(u, &c, &unit))
    prepare(u, n++, &unit);
  u->io.stats.tx_calls++;
  int sent = u->sys.sendmmsg(u->io.fd, tx->mm, n);
  return sent < 0 ? -errno : sent;
}

static int flush(nq_io *io) { return nq_udp_flush((nq_udp *)io, send_many); }

static const nq_io_ops ops = {receive, nq_udp_tx_room, nq_udp_tx_push, flush, nq_udp_close, nq_udp_ask_errors};

/* Calls without a descriptor: that there is none is found only by a system that has them. A sandbox may not. */
static int probe(void) {
  struct mmsghdr none;
  memset(&none, 0, sizeof none);
  if (sys_sendmmsg(-1, &none, 0) >= 0 || errno != EBADF)
    return -EOPNOTSUPP;
  return sys_recvmmsg(-1, &none, 0) >= 0 || errno != EBADF ? -EOPNOTSUPP : 0;
}

static int open_socket(nq_io **out, void *shared, const nq_backend_options *o) {
  static const nq_udp_sys sys = {.sendmmsg = sys_sendmmsg, .recvmmsg = sys_recvmmsg};
  return nq_udp_open(out, shared, o, &ops, &sys, switch_on);
}

const nq_backend nq_backend_udp_linux = {"udp_linux", probe, nq_udp_start, nq_udp_stop, open_socket, nq_udp_steer};

#else
typedef int nq_udp_linux_is_elsewhere; /* C forbids an empty file */
#endif
