/* udp_util.h: sockets, numbered packets and what is expected of them, for the tests of the UDP backends. */
#ifndef NQ_UDP_UTIL_H
#define NQ_UDP_UTIL_H

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "check.h"
#include "io/udp.h"
#include "io/udp_impl.h"

static nq_backend_use best, portable; /* the best that there is here, and the one that is everywhere */
static int use_portable;              /* which of them opens the next socket */

static inline nq_backend_use *used(void) { return use_portable ? &portable : &best; }

static inline void start_backends(void) {
  REQUIRE(nq_backend_start(&best, NULL, NULL) == 0);
  REQUIRE(nq_backend_start(&portable, &nq_backend_udp, NULL) == 0);
}

static inline void stop_backends(void) {
  nq_backend_stop(&best);
  nq_backend_stop(&portable);
}

/* Packet number `seq`: its bytes follow from number and position, its length is chosen by the test. */
static inline void fill(uint8_t *p, size_t len, uint32_t seq) {
  for (size_t i = 0; i < len; i++)
    p[i] = (uint8_t)(seq * 2654435761u >> 24 ^ seq ^ i * 31 ^ i >> 8);
}

static inline nq_addr addr(const char *host, uint16_t port) {
  nq_addr a;
  REQUIRE(!nq_addr_parse(&a, host, port));
  return a;
}

static inline nq_backend_options options(const char *host) {
  nq_backend_options o;
  memset(&o, 0, sizeof o);
  o.local = addr(host, 0);
  return o;
}

static inline nq_io *open_with(nq_backend_options o) {
  nq_io *io;
  REQUIRE(!used()->backend->open(&io, used()->shared, &o));
  return io;
}

static inline nq_io *open_on(const char *host) { return open_with(options(host)); }

static inline nq_udp_sys *sys_of(nq_io *io) { return &((nq_udp *)io)->sys; }

/* Sends `count` packets as one push: all of `segment` bytes, the last of `last`. */
static inline void push_from(nq_io *io, const nq_io *to, const nq_addr *from, uint32_t seq, uint32_t count,
                             size_t segment, size_t last, uint8_t ecn) {
  size_t len = (count - 1) * segment + last;
  uint8_t *p = io->ops->tx_room(io, len);
  REQUIRE(p);
  for (uint32_t i = 0; i < count; i++)
    fill(p + i * segment, i + 1 < count ? segment : last, seq + i);
  io->ops->tx_push(io, len, segment, &to->local, from, ecn);
}

static inline void push(nq_io *io, const nq_io *to, uint32_t seq, uint32_t count, size_t segment, size_t last) {
  push_from(io, to, NULL, seq, count, segment, last, 0);
}

static inline void flush(nq_io *io) { CHECK_EQ(io->ops->flush(io), 0); }

/* What is left of the batch received last. */
static struct {
  const nq_io *io;
  const nq_datagram *d;
  int n;
} batch;

/* The next datagram, waited for; NULL when none comes. */
static inline const nq_datagram *next(nq_io *io) {
  if (!batch.n) {
    struct pollfd p = {.fd = io->fd, .events = POLLIN};
    if (poll(&p, 1, 2000) != 1)
      return NULL;
    batch.io = io;
    batch.n = io->ops->recv(io, &batch.d);
    if (!batch.n)
      return NULL;
  }
  REQUIRE(batch.io == io);
  batch.n--;
  return batch.d++;
}

static inline int expect_one(nq_io *io, const nq_io *from, uint32_t seq, size_t len) {
  static uint8_t want[65536];
  const nq_datagram *d = next(io);
  CHECK(d);
  if (!d)
    return 0;
  fill(want, len, seq);
  CHECK_EQ(d->len, len);
  CHECK(d->len == len && !memcmp(d->data, want, len));
  CHECK(nq_addr_equal(d->remote, &from->local));
  CHECK(nq_addr_equal(d->local, &io->local));
  return 1;
}

/* What push() sent comes next, whole and in order. */
static inline void expect(nq_io *io, const nq_io *from, uint32_t seq, uint32_t count, size_t segment, size_t last) {
  for (uint32_t i = 0; i < count; i++)
    if (!expect_one(io, from, seq + i, i + 1 < count ? segment : last))
      return;
}

static inline void expect_nothing(nq_io *io) {
  CHECK_EQ(batch.n, 0);
  CHECK_EQ(io->ops->recv(io, &batch.d), 0);
}

static inline void close_both(nq_io *a, nq_io *b) {
  CHECK_EQ(batch.n, 0); /* nothing came that was not expected */
  batch.n = 0;
  a->ops->close(a);
  b->ops->close(b);
}

static inline int count_fds(void) {
  int n = 0;
  DIR *dir = opendir("/proc/self/fd");
  if (!dir)
    return -1;
  while (readdir(dir))
    n++;
  closedir(dir);
  return n;
}

#endif
