/* sim.c: see sim.h. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#define ROOM 65536
#define BATCH 64

typedef struct sim_endpoint {
  nq_io io;
  sim *s;
  sim_packet *got; /* handed out by the last recv */
  nq_datagram v[BATCH];
  nq_addr from[BATCH];
  uint8_t room[ROOM];
} sim_endpoint;

uint64_t sim_random(sim *s) { /* xorshift64* */
  s->state ^= s->state >> 12;
  s->state ^= s->state << 25;
  s->state ^= s->state >> 27;
  return s->state * UINT64_C(2685821657736338717);
}

static uint64_t env_now(void *ctx) { return ((sim *)ctx)->now; }

static void env_random(void *ctx, uint8_t *dst, size_t n) {
  for (size_t i = 0; i < n; i++)
    dst[i] = (uint8_t)(sim_random(ctx) >> 24);
}

void sim_init(sim *s, uint64_t seed) {
  memset(s, 0, sizeof *s);
  s->state = seed * 2 + 1;
  s->now = UINT64_C(1000000000000);
  s->delay = 5000000;
  s->env = (nq_env){.ctx = s, .now = env_now, .random = env_random};
}

void sim_free(sim *s) {
  while (s->flight) {
    sim_packet *next = s->flight->next;
    free(s->flight);
    s->flight = next;
  }
}

uint64_t sim_next(const sim *s) {
  if (!s->flight)
    return UINT64_MAX;
  return s->flight->due > s->now ? s->flight->due : s->now + 1000; /* what nobody fetches must not stop the clock */
}

static uint8_t host_of(const nq_addr *a) { return (uint8_t)(ntohl(a->in.sin_addr.s_addr) & 0xff); }

void sim_rebind(sim *s, uint8_t host, uint16_t inner) {
  s->nat = host;
  s->nat_inner = inner;
  s->nat_port = (uint16_t)(s->nat_port ? s->nat_port + 1 : 20000);
}

static void post(sim *s, const uint8_t *data, size_t len, const nq_addr *from, const nq_addr *to) {
  nq_addr outer = *from, inner = *to;
  int nowhere = 0;
  s->sent++;
  if (s->sniff)
    s->sniff(s->sniff_ctx, data, len, from, to);
  if (s->nat && s->nat == host_of(from))
    outer.in.sin_port = htons(s->nat_port);
  if (s->nat && s->nat == host_of(to)) {
    nowhere = to->in.sin_port != htons(s->nat_port);
    inner.in.sin_port = htons(s->nat_inner);
  }
  if (s->cut || nowhere || (s->cut_to && s->cut_to == host_of(to)) || sim_random(s) % 1000 < s->loss ||
      (s->mtu && len > s->mtu)) {
    s->lost++;
    return;
  }
  uint64_t queued = 0;
  if (s->rate) {
    uint64_t *busy = &s->busy[host_of(to) & 1];
    if (*busy < s->now)
      *busy = s->now;
    if (*busy - s->now > 125000000) {
      s->lost++;
      return;
    }
    *busy += (len + 28) * 1000000000u / s->rate;
    queued = *busy - s->now;
  }
  int copies = 1 + (sim_random(s) % 1000 < s->dup);
  s->duplicated += (uint64_t)copies - 1;
  while (copies--) {
    sim_packet *p = malloc(sizeof *p + len);
    if (!p)
      abort();
    p->due = s->now + queued + s->delay + (s->jitter ? sim_random(s) % s->jitter : 0);
    p->from = outer;
    p->to = inner;
    p->len = len;
    memcpy(p->data, data, len);
    if (sim_random(s) % 1000 < s->corrupt)
      p->data[sim_random(s) % len] ^= (uint8_t)(1u << sim_random(s) % 8);
    sim_packet **at = s->last && s->last->due <= p->due ? &s->last->next : &s->flight;
    while (*at && (*at)->due <= p->due)
      at = &(*at)->next;
    p->next = *at;
    *at = p;
    if (!p->next)
      s->last = p;
  }
}

static void drop_got(sim_endpoint *e) {
  while (e->got) {
    sim_packet *next = e->got->next;
    free(e->got);
    e->got = next;
  }
}

static int io_recv(nq_io *io, const nq_datagram **out) {
  sim_endpoint *e = (sim_endpoint *)io;
  drop_got(e);
  int n = 0;
  sim_packet *before = NULL;
  for (sim_packet **at = &e->s->flight; *at && (*at)->due <= e->s->now && n < BATCH;) {
    sim_packet *p = *at;
    if (!nq_addr_equal(&p->to, &io->local)) {
      before = p;
      at = &p->next;
      continue;
    }
    *at = p->next;
    if (p == e->s->last)
      e->s->last = before;
    p->next = e->got;
    e->got = p;
    e->from[n] = p->from;
    e->v[n] = (nq_datagram){.data = p->data, .len = (uint32_t)p->len, .remote = &e->from[n], .local = &io->local};
    n++;
  }
  *out = e->v;
  return n;
}

static uint8_t *io_room(nq_io *io, size_t need) { return need <= ROOM ? ((sim_endpoint *)io)->room : NULL; }

static void io_push(nq_io *io, size_t len, size_t segment, const nq_addr *remote, const nq_addr *local, uint8_t ecn) {
  (void)local, (void)ecn;
  sim_endpoint *e = (sim_endpoint *)io;
  for (size_t off = 0; off < len; off += segment)
    post(e->s, e->room + off, len - off < segment ? len - off : segment, &io->local, remote);
}

static int io_flush(nq_io *io) { return (void)io, 0; }

static void io_close(nq_io *io) {
  drop_got((sim_endpoint *)io);
  free(io);
}

nq_io *sim_io(sim *s, uint8_t host, uint16_t port) {
  static const nq_io_ops ops = {io_recv, io_room, io_push, io_flush, io_close};
  sim_endpoint *e = calloc(1, sizeof *e);
  if (!e)
    abort();
  e->s = s;
  e->io.ops = &ops;
  e->io.fd = -1;
  e->io.local.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
  e->io.local.in.sin_addr.s_addr = htonl(0x0a000000u | host);
  e->io.local.len = sizeof(struct sockaddr_in);
  return &e->io;
}
