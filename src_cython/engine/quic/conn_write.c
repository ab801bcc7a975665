/* conn_write.c: packets out: datagrams first, then the streams in turn. */
#include <stdlib.h>
#include <string.h>

#include "quic/conn.h"
#include "quic/stream.h"

#define NQ_TRAIN_BYTES 65000u /* that one GSO message takes, in up to NQ_TRAIN packets */
#define NQ_TRAIN 64u
#define NQ_TRAINS 4 /* of one connection and tick: no connection starves the others */
#define NQ_VECS 16
#define NQ_FILLED (NQ_MTU_BASE - 64) /* a packet below it had room for all frames that ngtcp2 had for it */
#define NQ_PACE_RTT (2 * NGTCP2_MILLISECONDS) /* below it our timers are too coarse to pace with */

static void next_stream(nq_conn *c, int again) {
  nq_stream *s = c->send;
  if (s == c->send_tail && again)
    return;
  c->send = s->send_next;
  if (!c->send)
    c->send_tail = NULL;
  s->in_send = 0;
  if (again) {
    s->in_send = 1;
    s->send_next = NULL;
    c->send_tail->send_next = s;
    c->send_tail = s;
  }
}

static void drop_dgram(nq_conn *c) {
  nq_dgram *d = c->dgrams;
  c->dgrams = d->next;
  if (!c->dgrams)
    c->dgrams_tail = &c->dgrams;
  c->n_dgrams--;
  free(d);
}

/* What the frame of a datagram needs besides it in a packet: type, length, and the short header with its tag (RFC 9221
 * 5, RFC 9001 5.8). */
#define NQ_DGRAM_OVERHEAD (1 + NGTCP2_MAX_CIDLEN + 4 + 16 + 3)

/* One packet. ngtcp2 may want several calls until it is full (WRITE_MORE). */
static ngtcp2_ssize write_packet(nq_conn *c, ngtcp2_path *path, ngtcp2_pkt_info *pi, uint8_t *dest, size_t room) {
  ngtcp2_conn *q = c->q;
  uint64_t ts = c->l->now;
  int blocked = !c->handshaken;
  size_t most = room < c->mtu.path ? room : c->mtu.path;
  while (c->dgrams && !blocked && c->dgrams->len + NQ_DGRAM_OVERHEAD > c->mtu.path)
    drop_dgram(c); /* the path shrank */
  while (c->dgrams && !blocked && c->dgrams->len + NQ_DGRAM_OVERHEAD <= most) {
    int accepted = 0;
    ngtcp2_ssize n = ngtcp2_conn_write_datagram(q, path, pi, dest, room, &accepted, NGTCP2_WRITE_DATAGRAM_FLAG_MORE,
                                                c->next_dgram_id, c->dgrams->data, c->dgrams->len, ts);
    if (accepted) {
      c->next_dgram_id++;
      drop_dgram(c);
    }
    if (n == NGTCP2_ERR_WRITE_MORE)
      continue;
    if (n == NGTCP2_ERR_INVALID_ARGUMENT || n == NGTCP2_ERR_INVALID_STATE) { /* none allowed */
      drop_dgram(c);
      continue;
    }
    return n;
  }
  for (;;) {
    nq_stream *s = blocked ? NULL : c->send;
    nq_vec v[NQ_VECS];
    size_t nv = 0, total = 0;
    uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_NONE;
    if (s) {
      uint64_t unsent = nq_sendq_unsent(&s->out);
      if (unsent)
        nv = nq_sendq_peek(&s->out, v, NQ_VECS, room, &total);
      if (s->fin_wanted && total == unsent)
        flags |= NGTCP2_WRITE_STREAM_FLAG_FIN;
      if (c->send != c->send_tail && total < room)
        flags |= NGTCP2_WRITE_STREAM_FLAG_MORE; /* others may ride along */
      if (!unsent && (!s->fin_wanted || s->fin_sent)) {
        next_stream(c, 0);
        continue;
      }
    }
    ngtcp2_ssize taken = -1;
    ngtcp2_ssize n = ngtcp2_conn_writev_stream(q, path, pi, dest, room, &taken, flags, s ? s->id : -1,
                                               (const ngtcp2_vec *)v, nv, ts);
    if (s && taken >= 0) {
      nq_sendq_advance(&s->out, (size_t)taken);
      if (flags & NGTCP2_WRITE_STREAM_FLAG_FIN && (size_t)taken == total)
        s->fin_sent = 1;
      int more = nq_sendq_unsent(&s->out) || (s->fin_wanted && !s->fin_sent);
      next_stream(c, more);
    }
    switch (n) {
    case NGTCP2_ERR_WRITE_MORE:
      continue;
    case NGTCP2_ERR_STREAM_DATA_BLOCKED:
      if (!ngtcp2_conn_get_max_data_left2(q))
        blocked = 1; /* the whole connection: the streams keep their turns */
      else
        next_stream(c, 0); /* until MAX_STREAM_DATA */
      continue;
    case NGTCP2_ERR_STREAM_SHUT_WR:
    case NGTCP2_ERR_STREAM_NOT_FOUND:
      next_stream(c, 0);
      continue;
    default:
      return n;
    }
  }
}

static void shutdowns(nq_conn *c) {
  c->shutdowns = 0;
  for (nq_stream *s = c->send, *next; s; s = next) {
    next = s->send_next;
    if (s->stop_wanted || s->reset_wanted)
      nq_stream_shutdowns(s);
  }
}

/* Bytes of one turn: whole trains. */
static size_t turn_of(const nq_conn *c) {
  size_t train = NQ_TRAIN_BYTES / c->mtu.payload;
  return NQ_TRAINS * c->mtu.payload * (train > NQ_TRAIN ? NQ_TRAIN : train ? train : 1);
}

/* Not in the dirty list, which would keep the loop busy until the socket takes packets again. */
static void wait_writable(nq_conn *c) {
  if (c->dirty)
    return;
  c->dirty = 1;
  c->dirty_next = c->l->blocked;
  c->l->blocked = c;
}

/* Something to be acknowledged was written: it stands for the PING, or is it. An ACK alone is neither. */
static void look_for_ping(nq_conn *c, uint64_t in_flight) {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(c->q, &info);
  if (info.bytes_in_flight > in_flight) {
    c->pinging = NQ_PING_SENT;
    c->ping_sent = c->l->now;
  }
  ngtcp2_conn_set_keep_alive_timeout(c->q, c->limits.keep_alive);
}

/* The pace allows no packet now, but for acknowledgements and probes. */
static int is_held(const nq_conn *c) {
  uint64_t next = ngtcp2_ext_pacing_expiry(c->q);
  return next != UINT64_MAX && next > c->l->now;
}

static void write_packets(nq_conn *c) {
  nq_loop *l = c->l;
  if (!c->q)
    return;
  if (c->state == NQ_CONN_CLOSING) {
    nq_conn_close_step(c);
    if (!c->q)
      return;
  }
  if (c->handshaken && c->n_opening)
    nq_streams_open_waiting(c);
  if (!c->q)
    return;
  if (c->shutdowns)
    shutdowns(c);
  nq_io *io = c->ep->io;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(c->q, &info);
  nq_mtu_look(c, &info);
  int pace = c->confirmed && info.smoothed_rtt >= NQ_PACE_RTT, more = 0;
  int ping = c->pinging == NQ_PING_WANTED && c->confirmed; /* handshake packets may go unacknowledged */
  if (ping) /* due 1 ns after the last packet of either side */
    ngtcp2_conn_set_keep_alive_timeout(c->q, 1);
  size_t turn = pace ? ngtcp2_conn_get_send_quantum2(c->q) : turn_of(c), last = 0;
  if (!c->waits) /* there was nothing to send: no time to make up for */
    ngtcp2_ext_restart_pacing(c->q, l->now);
  int held = is_held(c);
  int ahead = c->mtu.doubted;
  size_t sent = 0;
  while (sent < turn) {
    size_t room = c->mtu.stalled || ahead ? NQ_MTU_BASE : c->mtu.room;
    uint8_t *buf = io->ops->tx_room(io, room);
    if (!buf) {
      if (io->blocked)
        wait_writable(c);
      else
        more = 1;
      break;
    }
    nq_addr local, remote;
    ngtcp2_path path = {.local = {.addr = &local.sa, .addrlen = sizeof local.in6},
                        .remote = {.addr = &remote.sa, .addrlen = sizeof remote.in6}};
    ngtcp2_pkt_info pi = {0};
    ngtcp2_ssize n = write_packet(c, &path, &pi, buf, room);
    if (n < 0) {
      nq_conn_liberr(c, (int)n);
      return;
    }
    if (n == 0 && ahead) {
      ahead = 0;
      continue;
    }
    if (n == 0) {
      last = 0;
      break;
    }
    local.len = (socklen_t)path.local.addrlen;
    remote.len = (socklen_t)path.remote.addrlen;
    io->ops->tx_push(io, (size_t)n, (size_t)n, &remote, c->ep->wildcard && !c->client ? &local : NULL, pi.ecn);
    nq_mtu_wrote(&c->mtu, (size_t)n, l->now);
    sent += last = (size_t)n;
    if (pace && (size_t)n < c->mtu.payload && !ahead)
      break;
    ahead = 0;
    more = !pace && sent >= turn && (c->send || c->dgrams);
  }
  if (pace)
    ngtcp2_conn_update_pkt_tx_time(c->q, l->now);
  if (ping)
    look_for_ping(c, info.bytes_in_flight);
  nq_conn_arm(c, held || c->send || c->dgrams || sent >= turn || last >= NQ_FILLED);
  if (ping && c->pinging == NQ_PING_WANTED) /* not yet: the clock has not moved since the last packet */
    nq_timer_set(&l->timers, &c->timer, l->now + l->timer_floor);
  if (more)
    nq_conn_mark(c);
}

void nq_conn_write(nq_conn *c) {
  write_packets(c);
  if (c->l->batch.oom || c->oom)
    nq_conn_no_memory(c);
}

int nq_conn_flush(nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(l, h);
  if (!c)
    return NQ_ERR_STALE;
  nq_conn_write(c);
  if (c->ep)
    nq_endpoint_flush(c->ep);
  return NQ_DONE;
}

int nq_conn_send_datagram(nq_loop *l, nq_handle h, const uint8_t *data, size_t len) {
  nq_conn *c = nq_conn_get(l, h);
  if (!c)
    return NQ_ERR_STALE;
  if (c->state != NQ_CONN_OPEN)
    return NQ_ERR_STATE;
  size_t most = nq_conn_max_datagram(l, h);
  if (!most || len > most)
    return NQ_ERR_TOOBIG;
  nq_dgram *d = malloc(sizeof *d + len);
  if (!d)
    return NQ_ERR_NOMEM;
  int full = c->n_dgrams >= c->limits.datagram_queue;
  if (full)
    drop_dgram(c); /* the oldest: newer is better */
  d->next = NULL;
  d->len = len;
  if (len)
    memcpy(d->data, data, len);
  *c->dgrams_tail = d;
  c->dgrams_tail = &d->next;
  c->n_dgrams++;
  nq_conn_mark(c);
  return full;
}

size_t nq_conn_max_datagram(const nq_loop *l, nq_handle h) {
  nq_conn *c = nq_conn_get(l, h);
  if (!c || !c->q || !c->handshaken)
    return 0;
  const ngtcp2_transport_params *p = ngtcp2_conn_get_remote_transport_params2(c->q);
  if (!p || !p->max_datagram_frame_size)
    return 0;
  size_t path = nq_mtu_payload(c);
  if (path > NQ_MTU_COMMON) /* its size depends on the path's MTU alone, not on how busy it is: see mtu.h */
    path = NQ_MTU_COMMON;
  path -= NQ_DGRAM_OVERHEAD;
  size_t frame = p->max_datagram_frame_size > 5 ? (size_t)p->max_datagram_frame_size - 5 : 0;
  return path < frame ? path : frame;
}
