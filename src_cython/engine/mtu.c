#include "mtu.h"

#include <string.h>

#include "conn.h"

#define NQ_MTU_WINDOW 8 /* large packets that a congestion window must hold: few are all lost at once too often */
#define NQ_MTU_HOLES 3             /* as MAX_PROBES of RFC 8899 5.1.2 */
#define NQ_MTU_RAISE NQ_SEC(600)   /* PMTU_RAISE_TIMER of RFC 8899 5.1.1 */
#define NQ_MTU_SUSPECT NQ_SEC(30)  /* a suspicion that old is dropped */

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

size_t nq_mtu_payload(const nq_conn *c) {
  const nq_mtu *m = &c->mtu;
  size_t n = ngtcp2_conn_get_path_max_tx_udp_payload_size2(c->q);
  const ngtcp2_transport_params *p = ngtcp2_conn_get_remote_transport_params2(c->q);
  if (p && p->max_udp_payload_size < n)
    n = (size_t)p->max_udp_payload_size;
  return m->cap && m->cap < n ? m->cap : n;
}

static void begin(nq_mtu_watch *w, uint64_t now, uint32_t acked, uint32_t small_before) {
  w->since = now;
  w->acked_then = acked;
  w->small_then = w->small;
  w->small_before = small_before;
}

/* All that is in flight may be small. */
static void begin_anew(nq_mtu *m, uint64_t now, uint32_t acked, uint32_t in_flight) {
  for (int i = 0; i < 2; i++) {
    m->watch[i].holes = 0;
    begin(&m->watch[i], now, acked, in_flight);
  }
}

/* One step: to the usual size, and from there to the smallest. */
static void fall_back(nq_conn *c, const ngtcp2_conn_info *info) {
  nq_mtu *m = &c->mtu;
  uint16_t was = m->path;
  m->path = m->payload = m->cap = was > NQ_MTU_COMMON ? NQ_MTU_COMMON : NQ_MTU_BASE;
  m->cap_until = c->l->now + NQ_MTU_RAISE;
  m->settling = 1;
  m->sent_then = (uint32_t)info->bytes_sent;
  c->l->stats.mtu_fallbacks++;
  nq_loop_log(c->l, 'I', "the path carries large packets no longer", "\"payload\":%u,\"now\":%u", was, m->cap);
}

/* Is the path a black hole for large packets? ngtcp2 tells how many packets and bytes were sent, lost and are in
 * flight, not which. But when more bytes were acknowledged than the small packets had, a large one was among them; and
 * when more were lost than that many small ones have, a large one was lost. Losses of large packets in NQ_MTU_HOLES
 * round trips without one that arrived are taken for a black hole (RFC 8899 4.3). What is large is watched for both
 * steps at once: a small congestion window has packets of the usual size sent on paths that carry larger ones. */
static void look_for_holes(nq_conn *c, const ngtcp2_conn_info *info) {
  nq_mtu *m = &c->mtu;
  uint64_t now = c->l->now;
  uint32_t gone = (uint32_t)(info->bytes_sent - info->bytes_in_flight), acked = gone - (uint32_t)info->bytes_lost;
  uint32_t packets = (uint32_t)info->pkt_lost - m->lost_packets, bytes = (uint32_t)info->bytes_lost - m->lost_bytes;
  m->lost_packets = (uint32_t)info->pkt_lost;
  m->lost_bytes = (uint32_t)info->bytes_lost;
  if (packets) /* nothing is declared lost before something later was acknowledged */
    m->stalled = 0;
  if (!m->watch[0].base) {
    m->watch[0].base = NQ_MTU_COMMON;
    m->watch[1].base = NQ_MTU_BASE;
    begin_anew(m, now, acked, (uint32_t)info->bytes_in_flight);
    return;
  }
  if (m->settling) { /* what was sent before says nothing about the new size */
    if ((int32_t)(gone - m->sent_then) < 0)
      return;
    m->settling = 0;
    begin_anew(m, now, acked, (uint32_t)info->bytes_in_flight);
    return;
  }
  for (int i = m->path > NQ_MTU_COMMON ? 0 : 1; i < 2; i++) {
    nq_mtu_watch *w = &m->watch[i];
    uint32_t small = w->small - w->small_then;
    if (acked - w->acked_then > small + w->small_before || (w->holes && now - w->hole_at > NQ_MTU_SUSPECT)) {
      w->holes = 0;
    } else if (bytes > packets * w->base && (!w->holes || now - w->hole_at >= info->smoothed_rtt)) {
      w->hole_at = now;
      if (++w->holes == NQ_MTU_HOLES) {
        fall_back(c, info);
        return;
      }
    }
    /* What is in flight after two round trips was sent in them. */
    if (!w->holes && now - w->since >= 2 * info->smoothed_rtt)
      begin(w, now, acked, small);
  }
}

void nq_mtu_look(nq_conn *c, const ngtcp2_conn_info *info) {
  nq_mtu *m = &c->mtu;
  if (!info->bytes_in_flight)
    nq_mtu_acked(m, c->l->now);
  if (m->cap && c->l->now >= m->cap_until)
    m->cap = 0;
  m->path = (uint16_t)nq_mtu_payload(c);
  if (m->path > NQ_MTU_BASE && c->confirmed)
    look_for_holes(c, info);
  uint64_t worth = info->cwnd / NQ_MTU_WINDOW;
  m->payload = m->path > NQ_MTU_COMMON && worth < m->path ? NQ_MTU_COMMON : m->path;
  uint64_t room = m->cap || m->known || worth < m->path ? m->payload : worth;
  uint64_t most = ngtcp2_conn_get_max_tx_udp_payload_size2(c->q);
  if (room < NQ_MTU_COMMON && !m->cap)
    room = NQ_MTU_COMMON;
  m->room = (uint16_t)(room < most ? room : most);
}

void nq_mtu_timer(nq_conn *c) {
  nq_mtu *m = &c->mtu;
  if (m->path <= NQ_MTU_BASE)
    return;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(c->q, &info);
  if (info.bytes_in_flight && c->l->now - m->acked_at >= ngtcp2_conn_get_pto2(c->q))
    m->stalled = 1;
}

void nq_mtu_moved(nq_mtu *m) {
  m->cap = 0;
  m->stalled = m->settling = 0;
  m->watch[0].base = 0;
}
