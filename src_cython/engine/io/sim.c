/* sim.c: see sim.h. */
#include "io/sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOM 65536
#define BATCH 64
#define FIRST_PORT 49152 /* of those that the system chooses (RFC 6335 6) */
#define FIRST_OUTER 20000
#define HEADERS 28 /* of IPv4 and UDP */
#define QUEUE_NS 125000000u
#define NS_PER_SEC 1000000000u

struct nq_sim_packet {
  nq_sim_packet *next;
  uint64_t due;
  nq_addr from, to;
  size_t len;
  uint8_t data[];
};

struct nq_sim_socket {
  nq_io io;
  nq_sim *s;
  nq_sim_host *host; /* NULL: of no host, and bound to one address */
  nq_sim_socket *next;
  int wildcard; /* bound to every address of its host; of IPv6: of both families */
  int exact; /* bound to one address, and not in the mapped form: nothing is to be translated */
  nq_addr plain; /* what it is bound to, not in the mapped form */
  uint64_t busy; /* until when the link towards it sends */
  nq_sim_packet *got; /* handed out by the last recv */
  nq_datagram v[BATCH];
  nq_addr from[BATCH], to[BATCH];
  uint8_t room[ROOM];
};

struct nq_sim_nat {
  nq_sim_nat *next;
  nq_addr inner, outer;
};

uint64_t nq_sim_random(nq_sim *s) { /* xorshift64* */
  s->state ^= s->state >> 12;
  s->state ^= s->state << 25;
  s->state ^= s->state >> 27;
  return s->state * UINT64_C(2685821657736338717);
}

static int happens(nq_sim *s, uint32_t chance) { return nq_sim_random(s) % NQ_SIM_ALWAYS < chance; }

static uint64_t env_now(void *ctx) { return ((nq_sim *)ctx)->now; }

static void env_random(void *ctx, uint8_t *dst, size_t n) {
  for (size_t i = 0; i < n; i++)
    dst[i] = (uint8_t)(nq_sim_random(ctx) >> 24);
}

void nq_sim_init(nq_sim *s, uint64_t seed) {
  memset(s, 0, sizeof *s);
  s->state = seed * 2 + 1;
  s->now = UINT64_C(1000000000000);
  s->delay = 5000000;
  s->next_port = FIRST_PORT;
  s->next_outer = FIRST_OUTER;
  s->env = (nq_env){.ctx = s, .now = env_now, .random = env_random};
}

void nq_sim_free(nq_sim *s) {
  while (s->flight) {
    nq_sim_packet *next = s->flight->next;
    free(s->flight);
    s->flight = next;
  }
  while (s->nats) {
    nq_sim_nat *next = s->nats->next;
    free(s->nats);
    s->nats = next;
  }
}

uint64_t nq_sim_next(const nq_sim *s) {
  if (!s->flight)
    return UINT64_MAX;
  return s->flight->due > s->now ? s->flight->due : s->now + 1000; /* what nobody fetches must not stop the clock */
}

/* ---- addresses ---- */

nq_addr nq_sim_address(uint8_t host, uint16_t port) {
  nq_addr a;
  memset(&a, 0, sizeof a);
  a.in.sin_family = AF_INET;
  a.in.sin_port = htons(port);
  a.in.sin_addr.s_addr = htonl(0x0a000000u | host);
  a.len = sizeof a.in;
  return a;
}

static nq_addr with_port(const nq_addr *a, uint16_t port) {
  nq_addr b = *a;
  if (b.sa.sa_family == AF_INET)
    b.in.sin_port = htons(port);
  else
    b.in6.sin6_port = htons(port);
  return b;
}

static int same_host(const nq_addr *a, const nq_addr *b) {
  if (!a->len || a->sa.sa_family != b->sa.sa_family)
    return 0;
  if (a->sa.sa_family == AF_INET)
    return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
  return !memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr);
}

static int is_wildcard(const nq_addr *a) {
  return a->sa.sa_family == AF_INET ? a->in.sin_addr.s_addr == htonl(INADDR_ANY)
                                    : IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

/* An IPv4 address as a socket of both families has it (RFC 4291 2.5.5.2). */
static nq_addr mapped(const nq_addr *a) {
  if (a->sa.sa_family != AF_INET)
    return *a;
  nq_addr b;
  memset(&b, 0, sizeof b);
  b.in6.sin6_family = AF_INET6;
  b.in6.sin6_port = a->in.sin_port;
  b.in6.sin6_addr.s6_addr[10] = b.in6.sin6_addr.s6_addr[11] = 0xff;
  memcpy(&b.in6.sin6_addr.s6_addr[12], &a->in.sin_addr, 4);
  b.len = sizeof b.in6;
  return b;
}

static nq_addr unmapped(const nq_addr *a) {
  if (a->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
    return *a;
  nq_addr b;
  memset(&b, 0, sizeof b);
  b.in.sin_family = AF_INET;
  b.in.sin_port = a->in6.sin6_port;
  memcpy(&b.in.sin_addr, &a->in6.sin6_addr.s6_addr[12], 4);
  b.len = sizeof b.in;
  return b;
}

/* Whether the socket is bound to this address, which is none of the mapped form. */
static inline int bound(const nq_sim_socket *e, const nq_addr *to) {
  if (!e->wildcard)
    return nq_addr_equal(&e->plain, to);
  if (nq_addr_port(&e->io.local) != nq_addr_port(to))
    return 0;
  return same_host(&e->host->v4, to) || (e->io.local.sa.sa_family == AF_INET6 && same_host(&e->host->v6, to));
}

static nq_sim_socket *find(const nq_sim *s, const nq_addr *to) {
  nq_sim_socket *e = s->sockets;
  while (e && !bound(e, to))
    e = e->next;
  return e;
}

/* ---- NATs ---- */

uint16_t nq_sim_rebind(nq_sim *s, const nq_addr *inner) {
  nq_sim_nat *n = s->nats;
  while (n && !nq_addr_equal(&n->inner, inner))
    n = n->next;
  if (!n) {
    n = malloc(sizeof *n);
    if (!n)
      return 0;
    n->inner = *inner;
    n->next = s->nats;
    s->nats = n;
  }
  uint16_t port = s->next_outer++;
  if (s->next_outer >= FIRST_PORT)
    s->next_outer = FIRST_OUTER;
  n->outer = with_port(inner, port);
  return port;
}

int nq_sim_rebind_host(nq_sim *s, const nq_addr *host) {
  int n = 0;
  for (nq_sim_socket *e = s->sockets; e; e = e->next) {
    nq_addr inner = with_port(host, nq_addr_port(&e->io.local));
    if (!bound(e, &inner))
      continue;
    if (!nq_sim_rebind(s, &inner))
      return -1;
    n++;
  }
  return n;
}

/* What the address is behind its NAT. 0: the NAT knows the port no longer. */
static int inside(const nq_sim *s, nq_addr *to) {
  int natted = 0;
  for (const nq_sim_nat *n = s->nats; n; n = n->next) {
    if (nq_addr_equal(&n->outer, to)) {
      *to = n->inner;
      return 1;
    }
    if (nq_addr_equal(&n->inner, to))
      return 0;
    natted |= same_host(&n->inner, to);
  }
  return !natted || find(s, to) != NULL;
}

static nq_addr outside(const nq_sim *s, const nq_addr *from) {
  for (const nq_sim_nat *n = s->nats; n; n = n->next)
    if (nq_addr_equal(&n->inner, from))
      return n->outer;
  return *from;
}

/* ---- packets ---- */

static void fly(nq_sim *s, nq_sim_packet *p) {
  nq_sim_packet **at = s->last && s->last->due <= p->due ? &s->last->next : &s->flight;
  while (*at && (*at)->due <= p->due)
    at = &(*at)->next;
  p->next = *at;
  *at = p;
  if (!p->next)
    s->last = p;
}

/* How long a packet waits before a link of limited rate. 0: the queue is full. */
static int wait_for_link(nq_sim *s, nq_sim_socket *to, size_t len, uint64_t *queued) {
  if (!to)
    return 1;
  if (to->busy < s->now)
    to->busy = s->now;
  if (to->busy - s->now > QUEUE_NS)
    return 0;
  to->busy += (len + HEADERS) * NS_PER_SEC / s->rate;
  *queued = to->busy - s->now;
  return 1;
}

static void post(nq_sim *s, const uint8_t *data, size_t len, const nq_addr *from, const nq_addr *to) {
  nq_addr outer = *from, inner = *to;
  uint64_t queued = 0;
  int nowhere = 0;
  s->sent++;
  if (s->sniff)
    s->sniff(s->sniff_ctx, data, len, from, to);
  if (s->nats) {
    outer = outside(s, from);
    nowhere = !inside(s, &inner);
  }
  if (s->cut || nowhere || (s->cut_to.len && same_host(&s->cut_to, to)) || happens(s, s->loss) ||
      (s->mtu && len > s->mtu) || (s->rate && !wait_for_link(s, find(s, &inner), len, &queued))) {
    s->lost++;
    return;
  }
  int copies = 1 + happens(s, s->dup);
  s->duplicated += (uint64_t)copies - 1;
  while (copies--) {
    nq_sim_packet *p = malloc(sizeof *p + len);
    if (!p) {
      s->lost++;
      continue;
    }
    p->due = s->now + queued + s->delay + (s->jitter ? nq_sim_random(s) % s->jitter : 0);
    p->from = outer;
    p->to = inner;
    p->len = len;
    memcpy(p->data, data, len);
    if (happens(s, s->corrupt))
      p->data[nq_sim_random(s) % len] ^= (uint8_t)(1u << nq_sim_random(s) % 8);
    fly(s, p);
  }
}

/* Takes *at out of those on their way; before is the one ahead of it. */
static nq_sim_packet *take(nq_sim *s, nq_sim_packet **at, nq_sim_packet *before) {
  nq_sim_packet *p = *at;
  *at = p->next;
  if (p == s->last)
    s->last = before;
  return p;
}

void nq_sim_advance(nq_sim *s, uint64_t to) {
  if (s->now < to)
    s->now = to;
  nq_sim_packet *before = NULL;
  for (nq_sim_packet **at = &s->flight; *at && (*at)->due <= s->now;) {
    if (find(s, &(*at)->to)) {
      before = *at;
      at = &before->next;
      continue;
    }
    free(take(s, at, before));
    s->lost++;
  }
}

uint64_t nq_sim_arrival(const nq_sim_host *h) {
  for (const nq_sim_packet *p = h->sim->flight; p; p = p->next) {
    const nq_sim_socket *e = find(h->sim, &p->to);
    if (e && e->host == h)
      return p->due;
  }
  return UINT64_MAX;
}

/* ---- sockets ---- */

static void drop_got(nq_sim_socket *e) {
  while (e->got) {
    nq_sim_packet *next = e->got->next;
    free(e->got);
    e->got = next;
  }
}

/* Datagram n as the socket has it: to which of its addresses, and of IPv4 in the mapped form where it is of IPv6. */
static void translate(nq_sim_socket *e, const nq_sim_packet *p, int n) {
  int v6 = e->io.local.sa.sa_family == AF_INET6;
  e->from[n] = v6 ? mapped(&p->from) : p->from;
  e->to[n] = v6 ? mapped(&p->to) : p->to;
  e->v[n].remote = &e->from[n];
  e->v[n].local = &e->to[n];
}

static int io_recv(nq_io *io, const nq_datagram **out) {
  nq_sim_socket *e = (nq_sim_socket *)io;
  drop_got(e);
  int n = 0;
  nq_sim_packet *before = NULL;
  for (nq_sim_packet **at = &e->s->flight; *at && (*at)->due <= e->s->now && n < BATCH;) {
    if (!bound(e, &(*at)->to)) {
      before = *at;
      at = &before->next;
      continue;
    }
    nq_sim_packet *p = take(e->s, at, before);
    p->next = e->got;
    e->got = p;
    e->v[n] = (nq_datagram){.data = p->data, .len = (uint32_t)p->len, .remote = &p->from, .local = &io->local};
    if (!e->exact)
      translate(e, p, n);
    io->stats.rx_bytes += p->len;
    n++;
  }
  io->stats.rx_datagrams += (uint64_t)n;
  *out = e->v;
  return n;
}

static uint8_t *io_room(nq_io *io, size_t need) { return need <= ROOM ? ((nq_sim_socket *)io)->room : NULL; }

/* Where a packet to `remote` comes from; 0: the host has no address of that family. */
static int source(const nq_sim_socket *e, const nq_addr *remote, const nq_addr *local, nq_addr *from) {
  *from = unmapped(local && local->len ? local : &e->io.local);
  if (!is_wildcard(from))
    return 1;
  const nq_addr *own = remote->sa.sa_family == AF_INET ? &e->host->v4 : &e->host->v6;
  if (!own->len)
    return 0;
  *from = with_port(own, nq_addr_port(&e->io.local));
  return 1;
}

static void io_push(nq_io *io, size_t len, size_t segment, const nq_addr *remote, const nq_addr *local, uint8_t ecn) {
  (void)ecn;
  nq_sim_socket *e = (nq_sim_socket *)io;
  nq_addr to, from;
  if (!e->exact) {
    to = unmapped(remote);
    remote = &to;
    if (!source(e, &to, e->wildcard ? local : NULL, &from)) {
      io->stats.tx_errors++;
      return;
    }
  }
  for (size_t off = 0; off < len; off += segment) {
    post(e->s, e->room + off, len - off < segment ? len - off : segment, e->exact ? &io->local : &from, remote);
    io->stats.tx_datagrams++;
  }
  io->stats.tx_bytes += len;
}

static int io_flush(nq_io *io) { return (void)io, 0; }

static void io_close(nq_io *io) {
  nq_sim_socket *e = (nq_sim_socket *)io, **at = &e->s->sockets;
  while (*at != e)
    at = &(*at)->next;
  *at = e->next;
  drop_got(e);
  free(e);
}

static nq_sim_socket *socket_on(nq_sim *s, nq_sim_host *h, const nq_addr *local) {
  static const nq_io_ops ops = {io_recv, io_room, io_push, io_flush, io_close, NULL};
  nq_sim_socket *e = calloc(1, sizeof *e);
  if (!e)
    return NULL;
  e->s = s;
  e->host = h;
  e->wildcard = h && is_wildcard(local);
  e->io.ops = &ops;
  e->io.fd = -1;
  e->io.local = *local;
  e->plain = unmapped(local);
  e->exact = !e->wildcard && nq_addr_equal(local, &e->plain);
  e->next = s->sockets;
  s->sockets = e;
  return e;
}

nq_io *nq_sim_io(nq_sim *s, uint8_t host, uint16_t port) {
  nq_addr local = nq_sim_address(host, port);
  nq_sim_socket *e = socket_on(s, NULL, &local);
  return e ? &e->io : NULL;
}

/* Whether another socket of the network has this address, or one of those that a wildcard stands for. */
static int in_use(const nq_sim_host *h, const nq_addr *local) {
  nq_addr plain = unmapped(local);
  if (!is_wildcard(local))
    return find(h->sim, &plain) != NULL;
  uint16_t port = nq_addr_port(local);
  nq_addr v4 = with_port(&h->v4, port), v6 = with_port(&h->v6, port);
  return (h->v4.len && find(h->sim, &v4)) || (h->v6.len && local->sa.sa_family == AF_INET6 && find(h->sim, &v6));
}

static int reachable(const nq_sim_host *h, const nq_addr *local) {
  nq_addr plain = unmapped(local);
  if (is_wildcard(local))
    return local->sa.sa_family == AF_INET ? h->v4.len > 0 : h->v4.len || h->v6.len;
  return h->any || same_host(&h->v4, &plain) || same_host(&h->v6, &plain);
}

static int open_socket(nq_io **out, void *shared, const nq_backend_options *o) {
  nq_sim_host *h = shared;
  const nq_addr *local = &o->local;
  nq_addr at = *local;
  if (o->has_socket)
    return -EOPNOTSUPP;
  if (!reachable(h, local))
    return -EADDRNOTAVAIL;
  for (int tries = 0; !nq_addr_port(local) && (!tries || in_use(h, &at)); tries++) {
    if (tries > 65535 - FIRST_PORT)
      return -EADDRINUSE;
    at = with_port(local, h->sim->next_port);
    h->sim->next_port = h->sim->next_port == 65535 ? FIRST_PORT : (uint16_t)(h->sim->next_port + 1);
  }
  if (in_use(h, &at))
    return -EADDRINUSE;
  nq_sim_socket *e = socket_on(h->sim, h, &at);
  if (!e)
    return -ENOMEM;
  *out = &e->io;
  return 0;
}

static int probe(void) { return 0; }

static int start(void **shared, void *ctx) {
  *shared = ctx;
  return ctx ? 0 : -EINVAL;
}

static void stop(void *shared) { (void)shared; }

static int steer(nq_io *io, const nq_steering *s) {
  (void)io;
  (void)s;
  return -ENOTSUP;
}

const nq_backend nq_sim_backend = {
    .name = "sim", .probe = probe, .start = start, .stop = stop, .open = open_socket, .steer = steer};
