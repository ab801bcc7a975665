#include "quic/mtu.h"

#include <string.h>

#include "io/udp.h"
#include "quic/conn.h"

#define NQ_MTU_WINDOW 8 /* large packets that a congestion window must hold: few are all lost at once too often */
#define NQ_MTU_HOLES 3             /* as MAX_PROBES of RFC 8899 5.1.2 */
#define NQ_MTU_RAISE NQ_SEC(600)   /* PMTU_RAISE_TIMER of RFC 8899 5.1.1 */
#define NQ_MTU_TRIAL NQ_SEC(10)    /* until the first trial, twice as long until each further one */
#define NQ_MTU_SUSPECT NQ_SEC(30)  /* a suspicion that old is dropped */

static const uint16_t bases[] = {NQ_MTU_COMMON, NQ_MTU_BASE};

static int is_loopback(const nq_addr *a) {
  if (a->sa.sa_family == AF_INET)
    return (ntohl(a->in.sin_addr.s_addr) >> 24) == 127;
  return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

/* Searched in this order; ngtcp2 skips what a success or a failure before has decided. The usual ones first: Ethernet,
 * PPPoE and tunnels in it; then jumbo frames; then what the limit allows. */
static size_t sizes_for(uint64_t limit, uint16_t *sizes) {
  static const uint16_t usual[] = {NQ_MTU_COMMON, 1444, 1406, 1342, 1232, 8952};
  size_t n = 0;
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
    if (usual[i] < limit)
      sizes[n++] = usual[i];
  if (limit > NQ_MTU_BASE)
    sizes[n++] = (uint16_t)limit;
  return n;
}

void nq_mtu_settings(nq_conn *c, ngtcp2_settings *s, uint16_t *sizes) {
  nq_mtu *m = &c->mtu;
  memset(m, 0, sizeof *m);
  s->max_tx_udp_payload_size = c->limits.max_udp_payload;
  if (!is_loopback(&c->remote)) {
    s->pmtud_probes = sizes;
    s->pmtud_probeslen = sizes_for(c->limits.max_udp_payload, sizes);
    s->no_pmtud = !s->pmtud_probeslen;
    return;
  }
  /* Full packets from the first, nothing to probe, and no 333 ms guess. */
  s->initial_rtt = 10 * NGTCP2_MILLISECONDS;
  s->no_tx_udp_payload_size_shaping = 1;
  s->no_pmtud = 1;
  m->known = 1;
  size_t carried = nq_udp_loopback_payload(c->ep->io);
  carried = !carried ? NQ_MTU_COMMON : carried < NQ_MTU_BASE ? NQ_MTU_BASE : carried;
  if (s->max_tx_udp_payload_size > carried)
    s->max_tx_udp_payload_size = carried;
}

/* What ngtcp2 and the peer allow. */
static size_t allowed(const nq_conn *c) {
  size_t n = ngtcp2_conn_get_path_max_tx_udp_payload_size2(c->quic);
  const ngtcp2_transport_params *p = ngtcp2_conn_get_remote_transport_params2(c->quic);
  return p && p->max_udp_payload_size < n ? (size_t)p->max_udp_payload_size : n;
}

size_t nq_mtu_payload(const nq_conn *c) {
  size_t n = allowed(c);
  return c->mtu.cap && c->mtu.cap < n ? c->mtu.cap : n;
}

/* What a trial is of, and the bound once that has arrived: one step up. */
static size_t step_up(const nq_conn *c) {
  size_t n = allowed(c);
  return c->mtu.cap < NQ_MTU_COMMON && n > NQ_MTU_COMMON ? NQ_MTU_COMMON : n;
}

static void forget(nq_mtu *m) {
  m->lately = 0;
  for (int i = 0; i < 2; i++)
    m->watch[i].holes = m->watch[i].found = m->watch[i].lost = 0;
}

/* One step: to the usual size, and from there to the smallest. */
static void fall_back(nq_conn *c) {
  nq_mtu *m = &c->mtu;
  uint64_t now = c->hub->now;
  uint16_t was = m->path;
  forget(m);
  m->path = m->cap = was > NQ_MTU_COMMON ? NQ_MTU_COMMON : NQ_MTU_BASE;
  if (now >= m->cap_until) /* the last time is long ago */
    m->wait = NQ_MTU_TRIAL;
  m->cap_at = now;
  m->cap_until = now + NQ_MTU_RAISE;
  m->trial_at = now + m->wait;
  c->hub->stats.mtu_fallbacks++;
  nq_hub_log(c->hub, 'I', "the path carries large packets no longer", "\"payload\":%u,\"now\":%u", was, m->cap);
}

/* A packet larger than the base was lost. As a loss is told when a later packet was acknowledged (RFC 9002 6.1), and no
 * large one sent later was, a small one arrived. Is the path a black hole for large ones (RFC 8899 4.3)? It takes three
 * round trips without a large one that arrived, and more large ones lost than others were lately: where small packets
 * get lost as well, or seem to because they overtake each other, size is not why. */
static int is_hole(const nq_mtu *m, nq_mtu_watch *w, uint64_t sent, uint64_t now) {
  if (w->holes && now - w->hole_at > NQ_MTU_SUSPECT)
    w->holes = w->lost = 0;
  if (w->lost < UINT16_MAX)
    w->lost++;
  if (!w->holes || sent >= w->hole_at) { /* sent when the one before was known */
    w->hole_at = now;
    w->hole_sent = sent;
    if (w->holes < NQ_MTU_HOLES)
      w->holes++;
  }
  int others = __builtin_popcountll(m->lately) - w->lost;
  return w->holes == NQ_MTU_HOLES && w->lost >= NQ_MTU_HOLES + others;
}

void nq_mtu_outcome(nq_conn *c, uint64_t sent, size_t n, int lost) {
  nq_mtu *m = &c->mtu;
  if (!lost)
    nq_mtu_acked(m, c->hub->now);
  if (!c->confirmed || (lost && n > m->path)) /* from before a fallback, or a trial */
    return;
  if (m->cap && n > m->cap && sent >= m->cap_at)
    m->raised = 1;
  m->lately = m->lately << 1 | (uint64_t)lost;
  for (int i = m->path > NQ_MTU_COMMON ? 0 : 1; i < 2; i++) {
    nq_mtu_watch *w = &m->watch[i];
    int large = n > bases[i];
    if (large && !lost)
      w->holes = w->found = w->lost = 0;
    if (large != lost) {
      if (sent > w->clear)
        w->clear = sent;
      if (w->holes && sent == w->hole_sent) { /* the small one that went ahead was lost, too: an outage */
        w->holes--;
        w->found = 0;
      }
    } else if (large && sent > w->clear) {
      w->found = (uint16_t)is_hole(m, w, sent, c->hub->now);
    }
  }
}

static void raise_cap(nq_conn *c) {
  nq_mtu *m = &c->mtu;
  size_t up = step_up(c);
  m->raised = 0;
  m->cap = up < allowed(c) ? (uint16_t)up : 0;
  forget(m);
}

void nq_mtu_look(nq_conn *c, const ngtcp2_conn_info *info) {
  nq_mtu *m = &c->mtu;
  if (!info->bytes_in_flight)
    nq_mtu_acked(m, c->hub->now);
  if (m->raised)
    raise_cap(c);
  if (m->cap && c->hub->now >= m->cap_until)
    m->cap = 0;
  m->path = (uint16_t)nq_mtu_payload(c);
  if ((m->watch[0].found || m->watch[1].found) && m->path > NQ_MTU_BASE)
    fall_back(c);
  uint64_t worth = info->cwnd / NQ_MTU_WINDOW;
  m->payload = m->path > NQ_MTU_COMMON && worth < m->path ? NQ_MTU_COMMON : m->path;
  uint64_t room = m->cap || m->known || worth < m->path ? m->payload : worth;
  uint64_t most = ngtcp2_conn_get_max_tx_udp_payload_size2(c->quic);
  if (room < NQ_MTU_COMMON && !m->cap)
    room = NQ_MTU_COMMON;
  if (m->cap && c->hub->now >= m->trial_at) {
    size_t up = step_up(c);
    if (up <= NQ_MTU_COMMON || worth >= up)
      room = up;
  }
  m->room = (uint16_t)(room < most ? room : most);
  m->doubted = m->watch[0].holes || m->watch[1].holes;
}

void nq_mtu_tried(nq_mtu *m, uint64_t now) {
  m->room = m->payload;
  m->wait = m->wait < NQ_MTU_RAISE / 2 ? 2 * m->wait : NQ_MTU_RAISE;
  m->trial_at = now + m->wait;
}

void nq_mtu_timer(nq_conn *c) {
  nq_mtu *m = &c->mtu;
  if (m->path <= NQ_MTU_BASE)
    return;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(c->quic, &info);
  if (info.bytes_in_flight && c->hub->now - m->acked_at >= ngtcp2_conn_get_pto2(c->quic))
    m->stalled = 1;
}

void nq_mtu_moved(nq_mtu *m) {
  m->cap = 0;
  m->cap_until = 0;
  m->stalled = m->raised = 0;
  forget(m);
}
