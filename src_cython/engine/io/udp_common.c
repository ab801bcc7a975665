/* udp_common.c: what the UDP backends share: opening, addresses, the send queue. */
#ifdef __APPLE__
#define __APPLE_USE_RFC_3542 /* IPV6_PKTINFO; before any header */
#endif

#include "io/udp_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#if defined(__APPLE__) || defined(__FreeBSD__)
#include <sys/sysctl.h>
#endif

#include "base/fork.h"

/* Shared buffers */

int nq_udp_start(void **shared, void *ctx) {
  (void)ctx;
  *shared = calloc(1, sizeof(nq_udp_buffers));
  return *shared ? 0 : -ENOMEM;
}

void nq_udp_stop(void *shared) {
  nq_udp_buffers *b = shared;
  while (b->pool) {
    nq_udp_tx *tx = b->pool;
    b->pool = tx->next;
    free(tx);
  }
  free(b->rx);
  free(b);
}

/* The memory of data[] is left alone: pages that no packet needs are never touched. */
static int rx_allocate(nq_udp_buffers *b) {
  if (b->rx)
    return 0;
  nq_udp_rx *rx = aligned_alloc(64, sizeof *rx);
  if (!rx)
    return -ENOMEM;
  memset(rx, 0, offsetof(nq_udp_rx, data));
#ifdef __linux__
  rx->used = NQ_UDP_RX_MESSAGES;
  for (uint32_t i = 0; i < NQ_UDP_RX_MESSAGES; i++) {
    rx->iov[i] = (struct iovec){rx->data[i], NQ_UDP_RX_SIZE};
    rx->mm[i].msg_hdr = (struct msghdr){
        .msg_name = &rx->remote[i].sa, .msg_iov = &rx->iov[i], .msg_iovlen = 1, .msg_control = rx->control[i]};
  }
#endif
  b->rx = rx;
  return 0;
}

static nq_udp_tx *tx_acquire(nq_udp_buffers *b) {
  nq_udp_tx *tx = b->pool;
  if (tx) {
    b->pool = tx->next;
    b->pooled--;
  } else {
    tx = aligned_alloc(64, sizeof *tx);
    if (!tx)
      return NULL;
    memset(tx, 0, offsetof(nq_udp_tx, data));
#ifdef __linux__
    for (uint32_t i = 0; i < NQ_UDP_TX_MESSAGES; i++)
      tx->mm[i].msg_hdr = (struct msghdr){.msg_iov = &tx->iov[i], .msg_iovlen = 1};
#endif
  }
  tx->count = tx->used = 0;
  tx->head = (nq_udp_cursor){0, 0};
  tx->nobufs = 0;
  tx->again = 0;
  tx->room = 0;
  return tx;
}

static void tx_release(nq_udp *u) {
  nq_udp_buffers *b = u->shared;
  nq_udp_tx *tx = u->tx;
  u->tx = NULL;
  if (b->pooled == NQ_UDP_TX_POOL) {
    free(tx);
    return;
  }
  tx->next = b->pool;
  b->pool = tx;
  b->pooled++;
}

/* Pktinfo: the address of ours that a packet was sent to, or shall be sent from */

int nq_udp_get_pktinfo(const nq_udp *u, struct cmsghdr *c, nq_addr *local) {
  if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
    struct in6_pktinfo info;
    memcpy(&info, CMSG_DATA(c), sizeof info);
    *local = u->io.local;
    local->in6.sin6_addr = info.ipi6_addr;
    local->in6.sin6_scope_id = IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr) ? (uint32_t)info.ipi6_ifindex : 0;
    return 1;
  }
#ifdef IP_PKTINFO
  if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO && !u->v6) {
    struct in_pktinfo info;
    memcpy(&info, CMSG_DATA(c), sizeof info);
    *local = u->io.local;
    local->in.sin_addr = info.ipi_addr;
    return 1;
  }
#endif
  return 0;
}

int nq_udp_get_dropped(nq_udp *u, struct cmsghdr *c) {
#ifdef SO_RXQ_OVFL
  if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
    uint32_t dropped;
    memcpy(&dropped, CMSG_DATA(c), sizeof dropped);
    if ((int32_t)(dropped - u->dropped) > 0) { /* as several threads may have queued them, an older one may follow */
      u->io.stats.rx_kernel_dropped += dropped - u->dropped;
      u->dropped = dropped;
    }
    return 1;
  }
#else
  (void)u;
  (void)c;
#endif
  return 0;
}

size_t nq_udp_put_pktinfo(const nq_udp *u, struct cmsghdr *c, const nq_addr *local) {
  if (u->v6) {
    struct in6_pktinfo info;
    memset(&info, 0, sizeof info);
    info.ipi6_addr = local->in6.sin6_addr;
    info.ipi6_ifindex = local->in6.sin6_scope_id;
    c->cmsg_level = IPPROTO_IPV6;
    c->cmsg_type = IPV6_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(c), &info, sizeof info);
    return CMSG_SPACE(sizeof info);
  }
#ifdef IP_PKTINFO
  struct in_pktinfo info;
  memset(&info, 0, sizeof info);
  info.ipi_spec_dst = local->in.sin_addr;
  c->cmsg_level = IPPROTO_IP;
  c->cmsg_type = IP_PKTINFO;
  c->cmsg_len = CMSG_LEN(sizeof info);
  memcpy(CMSG_DATA(c), &info, sizeof info);
  return CMSG_SPACE(sizeof info);
#else
  return 0;
#endif
}

/* Receiving */

uint32_t nq_udp_deliver(nq_udp *u, uint32_t count, uint32_t i, uint32_t len, uint32_t segment, uint8_t ecn) {
  nq_udp_rx *rx = u->shared->rx;
  const nq_addr *local = rx->local[i].len ? &rx->local[i] : &u->io.local;
  u->io.stats.rx_messages++;
  if (!segment)
    segment = len;
  uint32_t n = segment ? (len + segment - 1) / segment : 1, offset = 0;
  if (n > NQ_UDP_RX_DATAGRAMS - count) {
    u->io.stats.rx_errors += n;
    return count;
  }
  for (uint32_t k = 0; k < n; k++, offset += segment) {
    uint32_t rest = len - offset;
    rx->out[count++] = (nq_datagram){rx->data[i] + offset, rest < segment ? rest : segment, ecn, &rx->remote[i], local};
  }
  u->io.stats.rx_datagrams += n;
  u->io.stats.rx_bytes += len;
  return count;
}

int nq_udp_recv_again(nq_udp *u, int error, int *tries) {
  if (error == EAGAIN || error == EWOULDBLOCK)
    return 0;
  nq_udp_met(u, error);
  if (error != EINTR) /* an ICMP error of an earlier packet, or no memory: nothing that ends the socket */
    u->io.stats.rx_errors++;
  return ++*tries < NQ_UDP_RX_RETRIES;
}

/* Sending. The queue holds runs of equal packets; how much of a run one system call takes is decided only when it is
 * sent, so that the same queue serves with and without GSO, and survives its loss half-way. */

int nq_udp_next(const nq_udp *u, nq_udp_cursor *c, nq_udp_unit *unit) {
  nq_udp_tx *tx = u->tx;
  if (c->message == tx->count)
    return 0;
  nq_udp_message *m = &tx->messages[c->message];
  uint32_t rest = m->len - c->offset, segments = 1;
  if (u->io.caps.gso && !m->split && m->segment < rest) {
    segments = NQ_UDP_TX_TRAIN / m->segment;
    segments = segments > NQ_UDP_TX_SEGMENTS ? NQ_UDP_TX_SEGMENTS : segments ? segments : 1;
  }
  unit->m = m;
  unit->data = m->data + c->offset;
  if (rest <= m->segment * segments) {
    segments = (rest + m->segment - 1) / m->segment;
    unit->len = rest;
    c->message++;
    c->offset = 0;
  } else {
    unit->len = m->segment * segments;
    c->offset += unit->len;
  }
  unit->segments = segments;
  return 1;
}

uint8_t *nq_udp_tx_room(nq_io *io, size_t need) {
  nq_udp *u = (nq_udp *)io;
  if (io->blocked || need > NQ_UDP_TX_SIZE)
    return NULL;
  if (u->tx && (u->tx->count == NQ_UDP_TX_MESSAGES || u->tx->used + need > NQ_UDP_TX_SIZE) && io->ops->flush(io))
    return NULL;
  if (!u->tx && !(u->tx = tx_acquire(u->shared)))
    return NULL;
  u->tx->room = 1;
  return u->tx->data + u->tx->used;
}

void nq_udp_tx_push(nq_io *io, size_t size, size_t segment, const nq_addr *remote, const nq_addr *local, uint8_t ecn) {
  nq_udp *u = (nq_udp *)io;
  nq_udp_tx *tx = u->tx;
  if (!tx || !tx->room || !size || size > NQ_UDP_TX_SIZE - tx->used)
    return;
  tx->room = 0;
  uint32_t len = (uint32_t)size, seg = segment && segment < size ? (uint32_t)segment : len;
  if (local && (!u->wildcard || !io->caps.pktinfo || !local->len || local->sa.sa_family != io->local.sa.sa_family))
    local = NULL;
  if (!io->caps.ecn)
    ecn = 0;
  uint8_t *data = tx->data + tx->used;
  tx->used += len;
  if (tx->count) { /* of whichever connection: docs/performance.md has what that saves, with loss and without */
    nq_udp_message *m = &tx->messages[tx->count - 1];
    if ((seg == m->segment || (seg == len && len < m->segment)) && m->len % m->segment == 0 && m->ecn == ecn &&
        nq_addr_equal(&m->remote, remote) && (local ? nq_addr_equal(&m->local, local) : !m->local.len)) {
      m->len += len;
      return;
    }
  }
  nq_udp_message *m = &tx->messages[tx->count++];
  m->data = data;
  m->len = len;
  m->segment = seg;
  m->split_at = 0;
  m->split = 0;
  m->ecn = ecn;
  m->remote = *remote;
  if (local)
    m->local = *local;
  else
    m->local.len = 0;
}

/* The first `units` of the queue have left. */
static void sent(nq_udp *u, int units) {
  nq_io_stats *s = &u->io.stats;
  nq_udp_tx *tx = u->tx;
  int trains_fail = 0;
  tx->nobufs = 0;
  tx->again = 0;
  for (int i = 0; i < units; i++) {
    nq_udp_cursor at = tx->head;
    nq_udp_unit unit;
    if (!nq_udp_next(u, &tx->head, &unit))
      return;
    s->tx_messages++;
    s->tx_datagrams += unit.segments;
    s->tx_bytes += unit.len;
    /* A packet passes where the train that began with it did not: trains are to blame. */
    trains_fail |= unit.m->split && unit.m->split_at == at.offset;
  }
  if (trains_fail)
    u->io.caps.gso = 0;
}

/* Whether the error may be that of an earlier datagram, which came back by ICMP: Linux gives it to the next call,
 * whatever that sends. The head is tried again then: where the queue of errors had one, and else once, for that may
 * have been full. */
static int is_foreign(nq_udp *u, int error) {
#ifdef __linux__
  static const int by_icmp[] = {EMSGSIZE, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EACCES,
                                EPROTO,   ENOPROTOOPT,  EHOSTDOWN,    ENONET,      EOPNOTSUPP};
  for (size_t i = 0; i < sizeof by_icmp / sizeof *by_icmp && u->tx->again < NQ_UDP_TX_AGAIN; i++)
    if (error == by_icmp[i] && (nq_udp_take_errors(u) || (error != EMSGSIZE && !u->tx->again))) {
      u->tx->again++;
      return 1;
    }
#else
  (void)u;
  (void)error;
#endif
  return 0;
}

/* The head of the queue met an error. 1: the socket is blocked. */
static int failed(nq_udp *u, int error) {
  nq_udp_tx *tx = u->tx;
  nq_udp_cursor next = tx->head;
  nq_udp_unit unit;
  if (error == EINTR)
    return 0;
  if (error == EAGAIN || error == EWOULDBLOCK || (error == ENOBUFS && ++tx->nobufs <= NQ_UDP_TX_NOBUFS)) {
    u->io.stats.tx_blocked++;
    return 1;
  }
  if (is_foreign(u, error))
    return 0;
  nq_udp_next(u, &next, &unit);
  if (unit.segments > 1 && (error == EIO || error == EINVAL || error == EMSGSIZE)) {
    unit.m->split = 1;
    unit.m->split_at = tx->head.offset;
    tx->again = 0;
    return 0;
  }
  nq_udp_met(u, error);
  u->io.stats.tx_errors += unit.segments;
  if (error != EMSGSIZE) /* that one is for the search of the path's MTU */
    nq_io_failed(&u->io, error, 0, &unit.m->remote, unit.data, unit.m->segment);
  tx->head = next;
  tx->nobufs = 0;
  tx->again = 0;
  return 0;
}

int nq_udp_flush(nq_udp *u, int (*send)(nq_udp *u)) {
  if (!u->tx)
    return 0;
  u->tx->room = 0;
  if (u->process != nq_fork_generation())
    u->tx->head.message = u->tx->count;
  while (u->tx->head.message < u->tx->count) {
    int n = send(u);
    if (n > 0)
      sent(u, n);
    else if (failed(u, n ? -n : EAGAIN))
      return u->io.blocked = 1;
  }
  tx_release(u);
  return u->io.blocked = 0;
}

void nq_udp_close(nq_io *io) {
  nq_udp *u = (nq_udp *)io;
  if (u->tx && io->ops->flush(io))
    tx_release(u);
  if (io->fd >= 0)
    close(io->fd);
  free(u);
}

/* Opening */

int nq_udp_set(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof value); }

static int non_blocking_socket(int family) {
#ifdef SOCK_NONBLOCK
  return socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
#else
  int fd = socket(family, SOCK_DGRAM, 0);
  if (fd >= 0 && (fcntl(fd, F_SETFL, O_NONBLOCK) || fcntl(fd, F_SETFD, FD_CLOEXEC))) {
    int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
#endif
}

/* Asks for `want` bytes and returns what was granted. */
static uint32_t set_buffer(int fd, int name, int force, uint32_t want) {
  int size = want > INT32_MAX / 2 ? INT32_MAX / 2 : (int)want, granted = 0;
  if (!force || nq_udp_set(fd, SOL_SOCKET, force, size))
    while (nq_udp_set(fd, SOL_SOCKET, name, size) && size > 65536) /* some systems refuse instead of clamping */
      size /= 2;
  socklen_t len = sizeof granted;
  if (getsockopt(fd, SOL_SOCKET, name, &granted, &len) || granted < 0)
    return 0;
#ifdef __linux__
  granted /= 2; /* it doubles what is asked, for its own use */
#endif
  return (uint32_t)granted;
}

static void set_buffers(nq_udp *u, uint32_t want) {
  int rcvforce = 0, sndforce = 0;
#ifdef __linux__
  rcvforce = SO_RCVBUFFORCE;
  sndforce = SO_SNDBUFFORCE;
#endif
  u->io.caps.rcvbuf_asked = want;
  u->io.caps.rcvbuf = set_buffer(u->io.fd, SO_RCVBUF, rcvforce, want);
  u->io.caps.sndbuf = set_buffer(u->io.fd, SO_SNDBUF, sndforce, want);
}

/* QUIC forbids fragments (RFC 9000 14): packets carry DF, and what is too long fails with EMSGSIZE. */
static void set_dont_fragment(const nq_udp *u) {
  int fd = u->io.fd;
#if defined(IP_PMTUDISC_PROBE)
  nq_udp_set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE); /* also for the mapped addresses of an IPv6 socket */
#elif defined(IP_DONTFRAG)
  nq_udp_set(fd, IPPROTO_IP, IP_DONTFRAG, 1);
#endif
  if (!u->v6)
    return;
#if defined(IPV6_PMTUDISC_PROBE)
  nq_udp_set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
#elif defined(IPV6_DONTFRAG)
  nq_udp_set(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
#endif
}

static void set_pktinfo(nq_udp *u) {
  if (!u->wildcard)
    return;
  if (u->v6)
    u->io.caps.pktinfo = !nq_udp_set(u->io.fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
#ifdef IP_PKTINFO
  else
    u->io.caps.pktinfo = !nq_udp_set(u->io.fd, IPPROTO_IP, IP_PKTINFO, 1);
#endif
}

static void set_overflow(nq_udp *u) {
#ifdef SO_RXQ_OVFL
  u->overflow = !nq_udp_set(u->io.fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
#else
  u->overflow = 0;
#endif
}

/* Whether a socket that was given is one of UDP, bound and not connected: 0, or -errno. *local: its address. */
static int check_given(int fd, nq_addr *local) {
  int type = 0;
  socklen_t len = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len))
    return -errno;
  if (type != SOCK_DGRAM)
    return -EPROTOTYPE;
  local->len = sizeof local->in6;
  if (getsockname(fd, &local->sa, &local->len))
    return -errno;
  if (local->sa.sa_family != AF_INET && local->sa.sa_family != AF_INET6)
    return -EAFNOSUPPORT;
  nq_addr peer;
  peer.len = sizeof peer.in6;
  if (!getpeername(fd, &peer.sa, &peer.len))
    return -EISCONN;
  return nq_addr_port(local) ? 0 : -EDESTADDRREQ;
}

/* Options come before bind, so that the first datagram already has its pktinfo and ECN. */
static int set_up(nq_udp *u, const nq_backend_options *o, void (*more)(nq_udp *u, const nq_backend_options *o)) {
  int fd = u->io.fd;
  if (u->v6 && !o->has_socket && nq_udp_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->v6only != 0))
    return -errno;
#ifdef SO_REUSEPORT
  if (o->reuseport && !o->has_socket && nq_udp_set(fd, SOL_SOCKET, SO_REUSEPORT, 1))
    return -errno;
#else
  if (o->reuseport)
    return -EOPNOTSUPP;
#endif
  set_buffers(u, o->buffer_size ? o->buffer_size : 16u << 20);
  set_dont_fragment(u);
  set_pktinfo(u);
  nq_udp_want_errors(u);
  set_overflow(u);
  if (more)
    more(u, o);
  if (!o->has_socket && bind(fd, &o->local.sa, o->local.len))
    return -errno;
  u->io.local.len = sizeof u->io.local.in6;
  return getsockname(fd, &u->io.local.sa, &u->io.local.len) ? -errno : 0;
}

int nq_udp_open(nq_io **out, void *shared, const nq_backend_options *o, const nq_io_ops *ops, const nq_udp_sys *sys,
                void (*more)(nq_udp *u, const nq_backend_options *o)) {
  *out = NULL;
  nq_addr local = o->local;
  int rv = o->has_socket ? check_given(o->socket, &local) : 0;
  if (rv)
    return rv;
  int family = local.len ? local.sa.sa_family : AF_UNSPEC;
  if (family != AF_INET && family != AF_INET6)
    return -EAFNOSUPPORT;
  rv = rx_allocate(shared);
  nq_udp *u = rv ? NULL : calloc(1, sizeof *u);
  if (!u)
    return -ENOMEM;
  u->io.ops = ops;
  u->shared = shared;
  u->process = nq_fork_generation();
  u->sys = *sys;
  u->v6 = family == AF_INET6;
  u->wildcard = (uint8_t)nq_addr_is_wildcard(&local);
  u->io.fd = o->has_socket ? fcntl(o->socket, F_DUPFD_CLOEXEC, 0) : non_blocking_socket(family);
  rv = u->io.fd < 0 ? -errno : set_up(u, o, more);
  if (rv) {
    if (u->io.fd >= 0)
      close(u->io.fd);
    free(u);
    return rv;
  }
  *out = &u->io;
  return 0;
}

size_t nq_udp_loopback_payload(const nq_io *io) {
  struct ifreq r;
  memset(&r, 0, sizeof r);
#ifdef __linux__
  memcpy(r.ifr_name, "lo", 3);
#else
  memcpy(r.ifr_name, "lo0", 4);
#endif
  if (io->fd < 0 || ioctl(io->fd, SIOCGIFMTU, &r) || r.ifr_mtu <= 48)
    return 0;
  size_t payload = (size_t)r.ifr_mtu - 48;
#if defined(__APPLE__) || defined(__FreeBSD__)
  int most; /* 9216 by default, whatever the interface carries */
  size_t len = sizeof most;
  if (!sysctlbyname("net.inet.udp.maxdgram", &most, &len, NULL, 0) && most > 0 && (size_t)most < payload)
    payload = (size_t)most;
#endif
  return payload;
}
