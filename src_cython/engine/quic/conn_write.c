/* conn_write.c: see conn_write.h. */
#include "quic/conn_write.h"

#include "app/app.h"
#include "quic/conn_close.h"
#include "quic/conn_error.h"
#include "quic/hold.h"
#include "quic/stream.h"
#include "quic/stream_out.h"

#define NQ_TRAIN_BYTES 65000u /* that one GSO message takes, in up to NQ_TRAIN packets */
#define NQ_TRAIN 64u
#define NQ_TRAINS 4 /* of one connection and tick: no connection starves the others */
#define NQ_VECS 16
#define NQ_FILLED (NQ_MTU_BASE - 64) /* a packet below it had room for all frames that ngtcp2 had for it */
#define NQ_PACE_RTT (2 * NGTCP2_MILLISECONDS) /* below it our timers are too coarse to pace with */

/* The stream whose turn it is waits for MAX_STREAM_DATA. */
static void wait_credit(nq_conn *c) {
  nq_stream *s = c->sched.first;
  nq_sched_next(&c->sched, 0);
  c->n_blocked += !s->blocked;
  s->blocked = 1;
}

/* One packet. ngtcp2 may want several calls until it is full (WRITE_MORE). */
static ngtcp2_ssize write_packet(nq_conn *c, ngtcp2_path *path, ngtcp2_pkt_info *pi, uint8_t *dest, size_t room) {
  ngtcp2_conn *q = c->quic;
  uint64_t ts = c->hub->now;
  int blocked = !c->handshaken;
  size_t most = room < c->mtu.path ? room : c->mtu.path;
  while (c->dgrams && !blocked && c->dgrams->len + NQ_DGRAM_OVERHEAD > c->mtu.path) { /* the path shrank */
    nq_dgram_drop(c);
    c->hub->stats.datagrams_dropped_unsent++;
  }
  while (c->dgrams && !blocked && c->dgrams->len + NQ_DGRAM_OVERHEAD <= most) {
    int accepted = 0;
    ngtcp2_ssize n = ngtcp2_conn_write_datagram(q, path, pi, dest, room, &accepted, NGTCP2_WRITE_DATAGRAM_FLAG_MORE,
                                                c->next_dgram_id, c->dgrams->data, c->dgrams->len, ts);
    if (accepted) {
      c->next_dgram_id++;
      nq_dgram_drop(c);
    }
    if (n == NGTCP2_ERR_WRITE_MORE)
      continue;
    if (n == NGTCP2_ERR_INVALID_ARGUMENT || n == NGTCP2_ERR_INVALID_STATE) { /* none allowed */
      nq_dgram_drop(c);
      c->hub->stats.datagrams_dropped_unsent++;
      continue;
    }
    return n;
  }
  for (;;) {
    nq_stream *s = blocked ? NULL : c->sched.first;
    nq_vec v[NQ_VECS];
    size_t nv = 0, total = 0;
    uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_NONE;
    if (s) {
      uint64_t unsent = nq_sendq_unsent(&s->out);
      if (unsent)
        nv = nq_sendq_peek(&s->out, v, NQ_VECS, room, &total);
      if (s->fin_wanted && total == unsent)
        flags |= NGTCP2_WRITE_STREAM_FLAG_FIN;
      if (c->sched.first != c->sched.last && total < room)
        flags |= NGTCP2_WRITE_STREAM_FLAG_MORE; /* others may ride along */
      if (!unsent && (!s->fin_wanted || s->fin_sent)) {
        nq_sched_next(&c->sched, 0);
        continue;
      }
    }
    ngtcp2_ssize taken = -1;
    ngtcp2_ssize n = ngtcp2_conn_writev_stream(q, path, pi, dest, room, &taken, flags, s ? s->id : -1,
                                               (const ngtcp2_vec *)v, nv, ts);
    if (s && taken >= 0) {
      nq_sendq_advance(&s->out, (size_t)taken);
      nq_hold_sent(s, nq_sendq_unsent(&s->out));
      if (flags & NGTCP2_WRITE_STREAM_FLAG_FIN && (size_t)taken == total)
        s->fin_sent = 1;
      int more = nq_sendq_unsent(&s->out) || (s->fin_wanted && !s->fin_sent);
      nq_sched_next(&c->sched, more);
    }
    switch (n) {
    case NGTCP2_ERR_WRITE_MORE:
      continue;
    case NGTCP2_ERR_STREAM_DATA_BLOCKED:
      if (!ngtcp2_conn_get_max_data_left2(q))
        blocked = c->starved = 1; /* the whole connection: the streams keep their turns */
      else
        wait_credit(c);
      continue;
    case NGTCP2_ERR_STREAM_SHUT_WR:
    case NGTCP2_ERR_STREAM_NOT_FOUND:
      nq_sched_next(&c->sched, 0);
      continue;
    default:
      return n;
    }
  }
}

static void shutdowns(nq_conn *c) {
  c->shutdowns = 0;
  for (nq_stream *s = c->sched.first, *next; s; s = next) {
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
  c->dirty_next = c->hub->blocked;
  c->hub->blocked = c;
}

/* A PING is to be sent now. */
static int wants_ping(nq_conn *c, const ngtcp2_conn_info *info) {
  if (info->bytes_in_flight) /* there will be an answer anyway */
    c->probing = 0;
  return (c->pinging == NQ_PING_WANTED || c->probing) && c->confirmed; /* handshake packets may go unacknowledged */
}

/* Something to be acknowledged was written: it stands for the PING, or is it. An ACK alone is neither. */
static void look_for_ping(nq_conn *c, uint64_t in_flight) {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(c->quic, &info);
  if (info.bytes_in_flight > in_flight) {
    c->probing = 0;
    if (c->pinging == NQ_PING_WANTED) {
      c->pinging = NQ_PING_SENT;
      c->ping_sent = c->hub->now;
    }
  }
}

/* Whoever waits for the peer keeps the connection: for credit (RFC 9000 4.1), for room for a stream, for the reply
 * to a call. Then, at the latest, half of the time is over when a PING is sent. */
static void keep_alive(nq_conn *c) {
  uint64_t t = c->keep_alive;
  if (c->idle && (c->n_blocked || c->sched.first || c->calls || c->n_opening) && (!t || t > c->idle / 2))
    t = c->idle / 2;
  if (t == c->keep_alive_set)
    return;
  c->keep_alive_set = t;
  ngtcp2_conn_set_keep_alive_timeout(c->quic, t);
}

/* The pace allows no packet now, but for acknowledgements and probes. */
static int is_held(const nq_conn *c) {
  uint64_t next = ngtcp2_ext_pacing_expiry(c->quic);
  return next != UINT64_MAX && next > c->hub->now;
}

static void write_packets(nq_conn *c) {
  nq_hub *hub = c->hub;
  int rv;
  if (c->handshaken && c->n_opening && (rv = nq_streams_open_waiting(c))) {
    nq_conn_ngtcp2_error(c, rv);
    return;
  }
  if (c->app && c->app->fill)
    c->app->fill(c);
  if (c->shutdowns)
    shutdowns(c);
  nq_io *io = c->ep->io;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(c->quic, &info);
  nq_mtu_look(c, &info);
  int pace = c->confirmed && info.smoothed_rtt >= NQ_PACE_RTT, more = 0;
  int ping = wants_ping(c, &info);
  if (ping) /* due 1 ns after the last packet of either side */
    ngtcp2_conn_set_keep_alive_timeout(c->quic, c->keep_alive_set = 1);
  size_t turn = pace ? ngtcp2_conn_get_send_quantum2(c->quic) : turn_of(c), last = 0;
  if (!c->waits) /* there was nothing to send: no time to make up for */
    ngtcp2_ext_restart_pacing(c->quic, hub->now);
  int held = is_held(c);
  int ahead = c->mtu.doubted;
  c->starved = 0;
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
      nq_conn_ngtcp2_error(c, (int)n);
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
    nq_mtu_wrote(&c->mtu, (size_t)n, hub->now);
    sent += last = (size_t)n;
    if (pace && (size_t)n < c->mtu.payload && !ahead)
      break;
    ahead = 0;
    more = !pace && sent >= turn && (c->sched.first || c->dgrams);
  }
  if (pace)
    ngtcp2_conn_update_pkt_tx_time(c->quic, hub->now);
  if (ping)
    look_for_ping(c, info.bytes_in_flight);
  keep_alive(c);
  nq_conn_arm(c, held || c->sched.first || c->dgrams || sent >= turn || last >= NQ_FILLED);
  if (ping && (c->pinging == NQ_PING_WANTED || c->probing)) /* not yet: the clock has not moved since the last packet */
    nq_timer_set(&hub->timers, &c->timer, hub->now + hub->timer_floor);
  if (more)
    nq_conn_mark(c);
}

void nq_conn_write(nq_conn *c) {
  if (c->quic && c->state == NQ_CONN_CLOSING)
    nq_conn_close_step(c, 0);
  if (c->quic)
    write_packets(c);
  if (c->quic && c->state == NQ_CONN_CLOSING)
    nq_conn_close_step(c, 1);
  if (c->quic)
    nq_hold_look(c);
  if (c->writers)
    nq_stream_tell_writers(c);
  if (c->hub->batch.oom || c->oom)
    nq_conn_no_memory(c);
}
